"""Finding what was done to a chain behind the product's back.

Within the chain: an edited, removed, reordered or put-in row. Where a whole end was rewritten or
cut off, the links alone cannot tell: a checkpoint tells, as far as it reaches.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from uuid import UUID

from mailhearth_core.audit.checkpoints import Checkpoint
from mailhearth_core.audit.digests import (
    ERASED,
    PERSONAL,
    Event,
    Scope,
    Sealed,
    field_digest,
    genesis,
    link,
    scope_name,
)

ERASURE = "audit.erased"
"""The event that says what was erased: `{"erased": {event id: [field, ...]}}`."""
PRUNING = "audit.pruned"
"""The event that says how far retention went: `{"through": seq}`."""


@dataclass(frozen=True)
class Fault:
    """One thing that is wrong.

    Args:
        kind: edited, removed, broken, repeated, erased, cut_off, rewritten, forged or unknown.
        seq, event_id: the row, where there is one.
    """

    scope: str
    kind: str
    text: str
    seq: int | None = None
    event_id: UUID | None = None


@dataclass
class Report:
    """What was found in one chain."""

    scope: str
    first: int = 0
    last: int = 0
    events: int = 0
    unsealed: int = 0
    erased_fields: int = 0
    checkpoint: int = 0
    """The highest place that a checkpoint vouches for."""
    faults: list[Fault] = field(default_factory=list)


def verify(
    scope: Scope,
    rows: Iterable[Sealed],
    unsealed: Sequence[Event],
    checkpoints: Sequence[Checkpoint],
    anchors: Sequence[Checkpoint],
) -> Report:
    """Walks one chain from its beginning, or from the checkpoint that retention left.

    Args:
        rows: the sealed events, by rising `seq`.
        unsealed: those that wait for the sealer.
        checkpoints: the database's own, of this chain.
        anchors: those kept outside, of this chain; their keys are the ones that are trusted.
    """
    return _Walk(scope, checkpoints, anchors).over(rows, unsealed)


class _Walk:
    def __init__(
        self, scope: Scope, checkpoints: Sequence[Checkpoint], anchors: Sequence[Checkpoint]
    ) -> None:
        self._scope = scope
        self._report = Report(scope_name(scope))
        self._trusted = {anchor.public_key for anchor in anchors}
        self._stored = [point for point in checkpoints if self._is_good(point, "database's")]
        self._kept = [point for point in anchors if self._is_good(point, "anchor's")]
        self._erased: list[tuple[int, UUID, str]] = []
        self._records: set[tuple[str, str]] = set()
        self._pruned = 0

    def over(self, rows: Iterable[Sealed], unsealed: Sequence[Event]) -> Report:
        report = self._report
        before: bytes | None = None
        links: dict[int, bytes] = {}
        wanted = {point.seq for point in (*self._stored, *self._kept)}
        for row in rows:
            if report.events == 0:
                before = self._beginning(row.seq)
            elif row.seq <= report.last:
                self._fault("repeated", f"place {row.seq} is taken twice", row)
                continue
            elif row.seq > report.last + 1:
                self._missing(report.last + 1, row.seq - 1)
                before = None
            self._look_at(row, before)
            before = row.link
            report.events += 1
            report.last = row.seq
            if row.seq in wanted:
                links[row.seq] = row.link
        report.unsealed = len(unsealed)
        for event in unsealed:
            self._note(event)
        self._judge_erasures()
        self._judge_beginning()
        self._judge_checkpoints(links)
        return report

    def _is_good(self, point: Checkpoint, whose: str) -> bool:
        if not point.is_genuine():
            self._fault("forged", f"the {whose} checkpoint at {point.seq} has a false signature")
        elif self._trusted and point.public_key not in self._trusted:
            self._fault(
                "forged",
                f"the {whose} checkpoint at {point.seq} is signed by a key the anchor does not "
                f"know ({point.public_key.hex()[:16]})",
            )
        else:
            return True
        return False

    def _beginning(self, first: int) -> bytes | None:
        """The link before the first event that is left."""
        self._report.first = first
        if first == 1:
            return genesis(self._scope)
        for point in (*self._stored, *self._kept):
            if point.seq == first - 1:
                return point.link
        return None

    def _judge_beginning(self) -> None:
        report = self._report
        gone = report.first - 1 if report.events else 0
        if gone > self._pruned:
            self._missing(self._pruned + 1, gone)
        elif gone and all(p.seq != gone for p in (*self._stored, *self._kept)):
            self._fault("removed", f"the checkpoint at {gone}, behind which was pruned, is missing")

    def _look_at(self, row: Sealed, before: bytes | None) -> None:
        """Judges a row by itself and by the link before it (None: that is gone, so not judged)."""
        event = row.event
        whole = True
        values = (event.actor, event.subject, event.detail)
        for name, value, salt, digest in zip(PERSONAL, values, row.salts, row.digests, strict=True):
            if salt is None:
                self._erased.append((row.seq, event.id, name))
                if value != ERASED[name]:
                    whole = False
                    self._fault("edited", f"its {name} was erased and is there again", row)
            elif field_digest(name, salt, value) != digest:
                whole = False
                self._fault("edited", f"its {name} is not what was sealed", row)
        if before is not None and row.link != link(
            before, row.seq, event, row.digests, row.sealed_at
        ):
            whole = False
            self._fault("broken", "it does not follow the event before it: edited or moved", row)
        if whole:
            self._note(event)

    def _note(self, event: Event) -> None:
        """Keeps what an event says was erased or pruned."""
        if event.action not in (ERASURE, PRUNING):
            return
        try:
            detail = json.loads(event.detail)
            if event.action == PRUNING:
                self._pruned = max(self._pruned, int(detail["through"]))
            else:
                for event_id, names in detail["erased"].items():
                    self._records |= {(event_id, name) for name in names}
        except (ValueError, KeyError, TypeError, AttributeError):
            return  # it says nothing, so it excuses nothing

    def _judge_erasures(self) -> None:
        self._report.erased_fields = len(self._erased)
        for seq, event_id, name in self._erased:
            if (str(event_id), name) not in self._records:
                text = f"its {name} was erased, and no {ERASURE} event says so"
                self._report.faults.append(Fault(self._report.scope, "erased", text, seq, event_id))

    def _judge_checkpoints(self, links: dict[int, bytes]) -> None:
        report = self._report
        beginning = report.first if report.events else self._pruned + 1
        sound = report.first - 1 if report.events else 0
        for point in sorted((*self._stored, *self._kept), key=lambda p: p.seq):
            report.checkpoint = max(report.checkpoint, point.seq)
            if point.seq < beginning:
                continue
            if point.seq > report.last:
                self._fault(
                    "cut_off",
                    f"events {report.last + 1} to {point.seq} are gone: a checkpoint of "
                    f"{point.at:%Y-%m-%d %H:%M:%SZ} vouches for them",
                    seq=point.seq,
                )
                return
            found = links.get(point.seq)
            if found is not None and found != point.link:
                self._fault(
                    "rewritten",
                    f"the chain is another one than at the checkpoint: events {sound + 1} to "
                    f"{point.seq} were written anew",
                    seq=point.seq,
                )
                return
            sound = point.seq

    def _missing(self, first: int, last: int) -> None:
        what = (
            f"event {first} is missing"
            if first == last
            else f"events {first} to {last} are missing"
        )
        self._fault("removed", what, seq=first)

    def _fault(
        self, kind: str, text: str, row: Sealed | None = None, *, seq: int | None = None
    ) -> None:
        self._report.faults.append(
            Fault(
                self._report.scope,
                kind,
                text,
                row.seq if row else seq,
                row.event.id if row else None,
            )
        )
