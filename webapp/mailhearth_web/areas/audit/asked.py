"""What a page of the audit trail was asked for, and the file it gives; for both kinds of chain."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from threading import BoundedSemaphore
from uuid import UUID

from flask import Response, abort, request

from mailhearth_core.errors import NotYet
from mailhearth_core.verbs import audit_trail
from mailhearth_core.verbs.audit_trail import MIME, Found, Trail, Wanted
from mailhearth_web.frame.services import services

LONGEST = 200
EXPORTS_AT_ONCE = 2
"""Of one process: each holds a database connection for as long as its reader takes."""
_exports = BoundedSemaphore(EXPORTS_AT_ONCE)


@dataclass(frozen=True)
class Asked:
    """The filter form as it was sent, with its mistakes by field."""

    wanted: Wanted
    since: str = ""
    until: str = ""
    mistakes: Mapping[str, str] = field(default_factory=dict)

    @property
    def is_filtered(self) -> bool:
        return self.wanted != Wanted(after=self.wanted.after)


def asked() -> Asked:
    """Reads the query of the current request; `until` counts as a whole day, in UTC."""
    mistakes: dict[str, str] = {}
    since = _day("since", mistakes)
    until = _day("until", mistakes)
    if since and until and until < since:
        mistakes["until"] = "This is before the first day."
        until = None
    kind = _word("kind")
    return Asked(
        Wanted(
            kind=kind if kind in audit_trail.KINDS else "",
            action=_word("action"),
            actor=_word("actor"),
            text=_word("text"),
            since=_midnight(since) if since else None,
            until=_midnight(until + timedelta(days=1)) if until else None,
            after=_cursor(request.args.get("after", "")),
        ),
        _word("since"),
        _word("until"),
        mistakes,
    )


def next_page(found: Found) -> str:
    """What `?after=` must be for the page behind this one."""
    last = found.events[-1]
    return f"{last['at'].astimezone(UTC).isoformat()}_{last['id']}"


def download(trail: Trail, form: str, name: str) -> Response:
    """A whole chain as a file, streamed; what is looked for on the page does not narrow it."""
    if form not in MIME:
        abort(404)
    if not _exports.acquire(blocking=False):
        raise NotYet("Two exports are being made already.", hint="Try again when they are done.")
    chosen: audit_trail.Form = "csv" if form == "csv" else "ndjson"
    now = services().clock.now()
    chunks = audit_trail.export(trail, chosen, now=now)
    response = Response(chunks, content_type=f"{MIME[chosen]}; charset=utf-8")
    response.call_on_close(chunks.close)
    response.call_on_close(_exports.release)
    response.headers["Content-Disposition"] = (
        f'attachment; filename="{name}-audit-{now:%Y-%m-%d}.{chosen}"'
    )
    return response


def _word(name: str) -> str:
    return request.args.get(name, "").strip().replace("\0", "")[:LONGEST]


def _day(name: str, mistakes: dict[str, str]) -> date | None:
    text = _word(name)
    try:
        found = date.fromisoformat(text) if text else None
    except ValueError:
        found = None
    if text and (found is None or not 2000 <= found.year <= 9000):
        mistakes[name] = "This is not a day, as in 2026-11-25."
        return None
    return found


def _midnight(day: date) -> datetime:
    return datetime(day.year, day.month, day.day, tzinfo=UTC)


def _cursor(text: str) -> tuple[datetime, UUID] | None:
    at, _, event = text.partition("_")
    try:
        moment = datetime.fromisoformat(at.replace(" ", "+"))
        return (moment if moment.tzinfo else moment.replace(tzinfo=UTC)), UUID(event)
    except ValueError:
        return None
