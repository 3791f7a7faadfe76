"""What the placements of a week say about a sender: nothing yet, clean, or surely how bad.

Evidence decides, not chance. From `signal_floor` observations on a rate is judged by the bounds of
its 95 % interval (Wilson's): a limit is passed when even the lower bound reaches it, so that two
junk placements of twenty, or one bounce, stop nobody. A rate that may be bad or may be chance lets
a mailbox rise by its step; one whose upper bound is low too lets it rise by more. What surely is at
the watch limit holds it, and only what surely is at the next one lowers it. Below the floor only
what is bad at its best is heeded: then a young mailbox does not rise.

Mail that was accepted and never found (`missing`) lowers nothing, for it may have been sorted away;
but with much of it nothing rises.

Rule 1, by which the first controller rows were decided, judged by the rate itself. It is kept for
these to be replayed.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any

from mailhearth_core.warmup.health import wilson
from mailhearth_core.warmup.policy import Policy

RULE = 2
"""The rule that decides now. A row says by which one it was decided."""


class Grade(IntEnum):
    """How bad a finding is, and what is due on it."""

    CLEAN = 0
    LOWERED = 1
    QUARANTINE = 2
    BLOCK = 3


@dataclass(frozen=True, slots=True)
class Placements:
    """What became of the mail that a mailbox sent on the seven dates before a day.

    Mail to recipients that are no sensors (see `sensors`) is counted in `sent` and `bounced` only.

    Attributes:
        inbox: seen in the inbox or one of its tabs.
        junk, other, missing: in Junk, in another folder, in none though both were looked through.
        bounced: came back.
        sent: all that left, what came back included.
    """

    inbox: int = 0
    junk: int = 0
    other: int = 0
    missing: int = 0
    bounced: int = 0
    sent: int = 0

    @property
    def placed(self) -> int:
        return self.inbox + self.junk + self.other + self.missing

    def __add__(self, more: Placements) -> Placements:
        return Placements(*(getattr(self, f) + getattr(more, f) for f in FIELDS))

    def to_json(self) -> dict[str, int]:
        return asdict(self)

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> Placements:
        return cls(*(int(data[name]) for name in FIELDS))


FIELDS = tuple(field.name for field in fields(Placements))
NOTHING = Placements()


@dataclass(frozen=True, slots=True)
class Finding:
    """What placements say.

    Attributes:
        enough: so many placements that a rate is worth something.
        grade: how bad it surely is; CLEAN as well when there is not enough data to say otherwise.
        clean: enough data, and the rate itself is below every limit: what ends a probation.
        rises: enough data, and nothing in it surely speaks against sending more.
        proven: besides, even the upper bound is below twice the limit at which it is watched.
        suspect: not enough data, but even its best reading is bad.
        text: the rates with their samples and intervals.
    """

    enough: bool
    grade: Grade
    clean: bool
    rises: bool
    proven: bool
    suspect: bool
    text: str


def judge(placements: Placements | None, policy: Policy, rule: int = RULE) -> Finding:
    """The finding on a week's placements under a policy."""
    seen = placements or NOTHING
    left = max(seen.sent, seen.bounced)
    enough = seen.placed >= policy.signal_floor
    passes = _at if rule == 1 else _surely
    watch = policy.watch_junk_percent
    lowered = watch if rule == 1 else max(watch, policy.lower_junk_percent)
    grade = Grade.CLEAN
    if enough:
        limits = (lowered, policy.quarantine_junk_percent, policy.block_junk_percent)
        reached = [n for n, limit in enumerate(limits) if passes(seen.junk, seen.placed, limit)]
        grade = Grade(1 + reached[-1]) if reached else grade
    if left >= policy.signal_floor:
        if passes(seen.bounced, left, policy.block_bounce_percent):
            grade = Grade.BLOCK
        elif passes(seen.bounced, left, policy.quarantine_bounce_percent):
            grade = max(grade, Grade.QUARANTINE)
    unseen = seen.junk + seen.missing
    fine = enough and grade is Grade.CLEAN
    clean = fine and not _at(unseen, seen.placed, watch)
    low, high = (100 * bound for bound in wilson(unseen, seen.placed))
    suspect = not enough and (
        low >= watch or 100 * wilson(seen.bounced, left)[0] >= policy.quarantine_bounce_percent
    )
    return Finding(
        enough=enough,
        grade=grade,
        clean=clean,
        rises=clean if rule == 1 else fine and low < watch,
        proven=rule > 1 and clean and high < 2 * watch,
        suspect=suspect,
        text=_text(seen, left, policy),
    )


def _text(seen: Placements, left: int, policy: Policy) -> str:
    text = rate_text("in junk", seen.junk, seen.placed)
    if seen.bounced:
        text += "; " + rate_text("came back", seen.bounced, left)
    if seen.missing:
        text += "; " + rate_text("not found", seen.missing, seen.placed)
    if seen.placed < policy.signal_floor:
        text += f"; {policy.signal_floor} placements are needed"
    return text


def rate_text(what: str, part: int, whole: int) -> str:
    """A share for a person: counts, percent, interval."""
    if not whole:
        return f"{part} of {whole} {what}"
    low, high = (100 * bound for bound in wilson(part, whole))
    return f"{part} of {whole} {what}: {100 * part / whole:.1f} % ({low:.1f} to {high:.1f} %)"


def _surely(part: int, whole: int, percent: int) -> bool:
    """Whether even the lower bound of a share has reached so many percent."""
    return 100 * wilson(part, whole)[0] >= percent


def _at(part: int, whole: int, percent: int) -> bool:
    """Whether a share itself has reached so many percent."""
    return 100 * part >= percent * whole
