"""A chain as a file: written so that whoever receives it can verify it without the database.

Two forms of the same. As JSON, one object per line: a head, the events (oldest first), checkpoints
as the scheduler writes them, an end. As CSV, a column `kind` tells these apart, and the JSON of
head, checkpoints and end stands in the column `detail`. Without its end the file was cut short.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from mailhearth_core.audit import checkpoints as points
from mailhearth_core.audit.checkpoints import Checkpoint
from mailhearth_core.audit.digests import PERSONAL, Event, Scope, Sealed, scope_name
from mailhearth_core.audit.verify import Fault, Report, verify
from mailhearth_core.errors import InvalidValue

FORMAT = "mailhearth-audit/1"
COLUMNS = (
    *("kind", "seq", "id", "at", "action", "actor", "subject", "detail"),
    *(f"{name}_salt" for name in PERSONAL),
    *(f"{name}_digest" for name in PERSONAL),
    *("sealed_at", "link"),
)
FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n")
"""How a cell begins that a spreadsheet may take for a formula."""
MARK = "'"

Item = Sealed | Event | Checkpoint


@dataclass(frozen=True)
class Head:
    """Whose chain it is, and when it was read (machine time)."""

    installation: UUID
    scope: Scope
    at: datetime

    def to_json(self) -> dict[str, Any]:
        return {
            "format": FORMAT,
            "installation": str(self.installation),
            "scope": scope_name(self.scope),
            "exported_at": _time(self.at),
        }


@dataclass(frozen=True)
class Export:
    """What a file holds.

    Attributes:
        end: how many events it says it has; None where the end is missing.
    """

    head: Head
    sealed: Sequence[Sealed]
    unsealed: Sequence[Event]
    checkpoints: Sequence[Checkpoint]
    end: int | None


def json_lines(head: Head, items: Iterable[Item]) -> Iterator[str]:
    """The JSON form, line by line without newlines."""
    yield json.dumps(head.to_json())
    count = 0
    for item in items:
        if isinstance(item, Checkpoint):
            yield item.to_line()
            continue
        count += 1
        yield json.dumps(_event_json(head.scope, item), ensure_ascii=False)
    yield json.dumps({"end": count})


def csv_lines(head: Head, items: Iterable[Item]) -> Iterator[str]:
    """The CSV form, in lines that end with a newline (RFC 4180, UTF-8). No cell is a formula."""
    yield _csv(COLUMNS)
    yield _csv(_row("head", json.dumps(head.to_json())))
    count = 0
    for item in items:
        if isinstance(item, Checkpoint):
            yield _csv(_row("checkpoint", item.to_line()))
            continue
        count += 1
        sealed = item if isinstance(item, Sealed) else None
        event = sealed.event if sealed else item
        assert isinstance(event, Event)
        yield _csv(
            [
                "event",
                sealed.seq if sealed else "",
                event.id,
                _time(event.at),
                *(event.action, event.actor, event.subject, event.detail),
                *(_hex(salt) for salt in (sealed.salts if sealed else (None,) * len(PERSONAL))),
                *(_hex(d) for d in (sealed.digests if sealed else (None,) * len(PERSONAL))),
                _time(sealed.sealed_at) if sealed else "",
                _hex(sealed.link) if sealed else "",
            ]
        )
    yield _csv(_row("end", json.dumps({"end": count})))


def neutral(text: str) -> str:
    """A cell that a spreadsheet takes for text; `plain` turns it back."""
    return MARK + text if text.startswith((*FORMULA, MARK)) else text


def plain(cell: str) -> str:
    return cell.removeprefix(MARK)


def read(text: str, where: str) -> Export:
    """An exported file, of either form.

    Args:
        where: the file's name, for the message.
    Raises:
        InvalidValue: it is no export, or a line of it cannot be read.
    """
    number = 0
    head: Head | None = None
    sealed: list[Sealed] = []
    unsealed: list[Event] = []
    found: list[Checkpoint] = []
    end: int | None = None
    try:
        for body in _bodies(text):
            number += 1
            if head is None:
                head = _head(body)
            elif "end" in body:
                end = int(body["end"])
            elif body.get("format") == points.FORMAT:
                found += points.read_lines(json.dumps(body), where)
            else:
                item = _item(body)
                if isinstance(item, Sealed):
                    sealed.append(item)
                else:
                    unsealed.append(item)
    except (ValueError, KeyError, TypeError, AttributeError, csv.Error) as error:
        if isinstance(error, InvalidValue):
            raise
        raise InvalidValue(where, f"line {number + 1}", "an audit export as it was made") from None
    if head is None:
        raise InvalidValue(where, "nothing in it", "an audit export as it was made")
    return Export(head, sealed, unsealed, found, end)


def examine(export: Export, anchors: Sequence[Checkpoint] = ()) -> Report:
    """Verifies an exported chain by itself.

    Args:
        anchors: checkpoints kept elsewhere; those of other chains are passed over.
    Raises:
        InvalidValue: an anchor is of another installation.
    """
    head = export.head
    for anchor in anchors:
        if anchor.installation != head.installation:
            raise InvalidValue(
                "anchor", str(anchor.installation), f"checkpoints of {head.installation}"
            )
    own = (head.installation, head.scope)
    report = verify(
        head.scope,
        export.sealed,
        export.unsealed,
        [point for point in export.checkpoints if (point.installation, point.scope) == own],
        [anchor for anchor in anchors if anchor.scope == head.scope],
    )
    events = len(export.sealed) + len(export.unsealed)
    if export.end != events:
        said = "has no end" if export.end is None else f"says it has {export.end} events"
        text = f"the file {said} and holds {events}: it was cut short or changed"
        report.faults.append(Fault(report.scope, "cut_off", text))
    return report


# -- writing ---------------------------------------------------------------------------------------


def _event_json(scope: Scope, item: Sealed | Event) -> dict[str, Any]:
    event = item.event if isinstance(item, Sealed) else item
    body: dict[str, Any] = {
        "scope": scope_name(scope),
        "seq": item.seq if isinstance(item, Sealed) else None,
        "id": str(event.id),
        "at": _time(event.at),
        "action": event.action,
        "actor": event.actor,
        "subject": event.subject,
        "detail": json.loads(event.detail),
    }
    if isinstance(item, Sealed):
        body["sealed"] = {
            # The very text that was sealed: numbers and spaces count.
            "detail": event.detail,
            "salts": [_hex(salt) or None for salt in item.salts],
            "digests": [_hex(digest) for digest in item.digests],
            "at": _time(item.sealed_at),
            "link": _hex(item.link),
        }
    return body


def _row(kind: str, detail: str) -> list[str]:
    return [{"kind": kind, "detail": detail}.get(column, "") for column in COLUMNS]


def _csv(cells: Iterable[object]) -> str:
    held = io.StringIO()
    csv.writer(held, lineterminator="\r\n").writerow([neutral(str(cell)) for cell in cells])
    return held.getvalue()


def _hex(value: bytes | None) -> str:
    return value.hex() if value is not None else ""


def _time(at: datetime) -> str:
    return at.astimezone(UTC).isoformat(timespec="microseconds")


# -- reading ---------------------------------------------------------------------------------------


def _bodies(text: str) -> Iterator[dict[str, Any]]:
    if text.lstrip("\ufeff").startswith("{"):
        for line in text.lstrip("\ufeff").split("\n"):
            if line.strip():
                yield json.loads(line)
        return
    rows = csv.DictReader(io.StringIO(text.lstrip("\ufeff"), newline=""), strict=True)
    for row in rows:
        cells = {column: plain(row[column]) for column in COLUMNS}
        if cells["kind"] != "event":
            yield json.loads(cells["detail"])
            continue
        yield {
            **{name: cells[name] for name in ("id", "at", "action", "actor", "subject")},
            "seq": int(cells["seq"]) if cells["seq"] else None,
            "detail": json.loads(cells["detail"]),
            "sealed": {
                "detail": cells["detail"],
                "salts": [cells[f"{name}_salt"] for name in PERSONAL],
                "digests": [cells[f"{name}_digest"] for name in PERSONAL],
                "at": cells["sealed_at"],
                "link": cells["link"],
            },
        }


def _head(body: dict[str, Any]) -> Head:
    if body["format"] != FORMAT:
        raise ValueError(body["format"])
    scope = None if body["scope"] == "platform" else UUID(body["scope"])
    return Head(UUID(body["installation"]), scope, datetime.fromisoformat(body["exported_at"]))


def _item(body: dict[str, Any]) -> Sealed | Event:
    sealed = body.get("sealed") if body["seq"] is not None else None
    detail = sealed["detail"] if sealed else json.dumps(body["detail"])
    if json.loads(detail) != body["detail"]:
        raise ValueError("the detail that is shown is not the one that was sealed")
    event = Event(
        UUID(body["id"]),
        body["action"],
        body["actor"],
        body["subject"],
        detail,
        datetime.fromisoformat(body["at"]),
    )
    if sealed is None:
        return event
    return Sealed(
        event,
        int(body["seq"]),
        tuple(bytes.fromhex(salt) if salt else None for salt in sealed["salts"]),
        tuple(bytes.fromhex(digest) for digest in sealed["digests"]),
        datetime.fromisoformat(sealed["at"]),
        bytes.fromhex(sealed["link"]),
    )
