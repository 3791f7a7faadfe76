"""Recipients whose placements say more about themselves than about who wrote to them.

A mailbox whose own rules (or owner) put warmup mail into Junk lowers every sender that meets it. It
is told by this: senders whose mail lands in the inbox elsewhere are junked there. Then it stops
being a sensor: its placements are shown, and no longer judged. A whole domain or provider that
junks is no such case: there the senders are not clean elsewhere either, and they shall be lowered.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from uuid import UUID

from mailhearth_core.warmup.health import wilson

EVERYONE_ELSE = UUID(int=0)
"""In place of a recipient: all those together that are not looked at one by one. No sensor is
excluded under this name."""
MIN_ELSEWHERE = 5
"""Placements of a sender with others, without which nobody knows whether it is clean there."""
CLEAN_PERCENT = 10
"""A sender is clean elsewhere with a lower junk rate than this."""
MIN_SENDERS = 3
"""Clean senders that a recipient must have junked: one of them proves nothing about it."""
Counts = tuple[int, int]
"""Placed, and of these in Junk."""
JUNKS_PERCENT = 20
"""What of all its mail such a recipient junks, and of that of clean senders surely: the lower bound
of that rate decides."""
SURELY = JUNKS_PERCENT / 100
SUSPECT_JUNK = 3
"""Junked messages below which a recipient need not be looked at: `MIN_SENDERS` are not there."""


@dataclass(frozen=True, slots=True)
class SensorCounts:
    """What one recipient saw of one sender in seven days.

    Attributes:
        placed: first observations, wherever they were.
        junk: of these, in Junk.
    """

    recipient: UUID
    sender: UUID
    placed: int
    junk: int


def excluded_sensors(observations: Sequence[SensorCounts]) -> frozenset[UUID]:
    """The recipients that are no sensors; the order of the observations does not matter.

    It goes in rounds: whoever is found is left out of what the next round calls elsewhere, else
    two of them would make each other's senders look bad.
    """
    by_recipient: dict[UUID, dict[UUID, Counts]] = defaultdict(dict)
    totals: dict[UUID, Counts] = defaultdict(lambda: (0, 0))
    for seen in observations:
        old = by_recipient[seen.recipient].get(seen.sender, (0, 0))
        by_recipient[seen.recipient][seen.sender] = _plus(old, (seen.placed, seen.junk))
        totals[seen.sender] = _plus(totals[seen.sender], (seen.placed, seen.junk))
    suspects = {id_ for id_, senders in by_recipient.items() if _is_suspect(id_, senders)}
    excluded: set[UUID] = set()
    while True:
        found = {id_ for id_ in suspects if _certainty(by_recipient[id_], totals) >= SURELY}
        if not found:
            return frozenset(excluded)
        excluded |= found
        suspects -= found
        for id_ in found:
            for sender, (placed, junk) in by_recipient[id_].items():
                totals[sender] = _plus(totals[sender], (-placed, -junk))


def _is_suspect(recipient: UUID, senders: Mapping[UUID, Counts]) -> bool:
    placed = sum(placed for placed, _ in senders.values())
    junk = sum(junk for _, junk in senders.values())
    enough = junk >= SUSPECT_JUNK and 100 * junk >= JUNKS_PERCENT * placed
    return recipient != EVERYONE_ELSE and enough


def _certainty(senders: dict[UUID, tuple[int, int]], totals: dict[UUID, tuple[int, int]]) -> float:
    """The lower bound of a recipient's junk rate over senders that are clean elsewhere; 0 when
    these are too few."""
    placed = junk = junked = 0
    for sender, (here, here_junk) in senders.items():
        elsewhere, bad = _plus(totals[sender], (-here, -here_junk))
        if elsewhere >= MIN_ELSEWHERE and 100 * bad < CLEAN_PERCENT * elsewhere:
            placed, junk = placed + here, junk + here_junk
            junked += here_junk > 0
    return wilson(junk, placed)[0] if junked >= MIN_SENDERS else 0.0


def _plus(one: Counts, other: Counts) -> Counts:
    return one[0] + other[0], one[1] + other[1]
