"""What the placements of a week say about a sender: nothing yet, clean, or how bad.

Rates decide, and only from `signal_floor` observations on; the 95 % interval (Wilson's) is stated
beside each. To decide on a bound of the interval instead would be wrong in both directions: on the
upper one every mailbox of twenty messages looks bad (0 of 20 may still be 16 %), on the lower one a
mailbox with a fifth of its mail in junk is let run for weeks, and its name is what that costs. The
floor keeps chance out, the interval tells a person how much of it may be left. Below the floor a
rate is no finding; there the lower bound alone speaks: what is bad at its best is bad.

Mail that was accepted and never found (`missing`) lowers nothing, for it may have been sorted away;
but a week with much of it is not clean, and nothing rises on it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from enum import IntEnum
from typing import Any

from mailhearth_core.warmup.health import wilson
from mailhearth_core.warmup.policy import Policy


class Grade(IntEnum):
    """How bad a finding is, and what is due on it."""

    CLEAN = 0
    WATCH = 1
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
        enough: there are as many placements as the policy's floor asks for.
        grade: what is due on it; CLEAN while there is not enough data to say otherwise.
        clean: enough data, and none of it speaks against sending more.
        suspect: not enough data, but even its best reading is bad.
        text: the rates with their samples and intervals.
    """

    enough: bool
    grade: Grade
    clean: bool
    suspect: bool
    text: str


def judge(placements: Placements | None, policy: Policy) -> Finding:
    """The finding on a week's placements under a policy."""
    seen = placements or NOTHING
    left = max(seen.sent, seen.bounced)
    enough = seen.placed >= policy.signal_floor
    grade, text = Grade.CLEAN, rate_text("in junk", seen.junk, seen.placed)
    if enough:
        grade = _junk_grade(seen, policy)
    if left >= policy.signal_floor:
        grade = max(grade, _bounce_grade(seen.bounced, left, policy))
    if seen.bounced:
        text += "; " + rate_text("came back", seen.bounced, left)
    if seen.missing:
        text += "; " + rate_text("not found", seen.missing, seen.placed)
    if not enough:
        text += f"; {policy.signal_floor} placements are needed"
    unseen = seen.junk + seen.missing
    clean = (
        enough and grade is Grade.CLEAN and not _at(unseen, seen.placed, policy.watch_junk_percent)
    )
    suspect = not enough and (
        100 * wilson(unseen, seen.placed)[0] >= policy.watch_junk_percent
        or 100 * wilson(seen.bounced, left)[0] >= policy.quarantine_bounce_percent
    )
    return Finding(enough, grade, clean, suspect, text)


def rate_text(what: str, part: int, whole: int) -> str:
    """A share for a person: counts, percent, interval."""
    if not whole:
        return f"{part} of {whole} {what}"
    low, high = (100 * bound for bound in wilson(part, whole))
    return f"{part} of {whole} {what}: {100 * part / whole:.1f} % ({low:.1f} to {high:.1f} %)"


def _junk_grade(seen: Placements, policy: Policy) -> Grade:
    for grade, percent in (
        (Grade.BLOCK, policy.block_junk_percent),
        (Grade.QUARANTINE, policy.quarantine_junk_percent),
        (Grade.WATCH, policy.watch_junk_percent),
    ):
        if _at(seen.junk, seen.placed, percent):
            return grade
    return Grade.CLEAN


def _bounce_grade(bounced: int, left: int, policy: Policy) -> Grade:
    if _at(bounced, left, policy.block_bounce_percent):
        return Grade.BLOCK
    if _at(bounced, left, policy.quarantine_bounce_percent):
        return Grade.QUARANTINE
    return Grade.CLEAN


def _at(part: int, whole: int, percent: int) -> bool:
    """Whether a share has reached so many percent, in whole numbers: no rounding decides."""
    return 100 * part >= percent * whole
