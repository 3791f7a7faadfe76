"""What a run came to: by day, by mailbox and in sum, as values for tables, pages and JSON."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import timedelta
from statistics import median
from typing import Any

from mailhearth_core.simulator.mail import Box, Tally
from mailhearth_core.simulator.scenario import FIRST_DAY, Scenario
from mailhearth_core.warmup.health import wilson

FULL_VOLUME = 20
"""Mails a day that are full volume for every rule alike; a lower cap of the policy, if it is."""
FULL_INBOX_PERCENT = 90
"""Full means: at full volume, with so many percent of seven days' mail in the inbox."""
FULL_VOLUME_PERCENT = 90
"""A day that falls a little short of the ramp's end (a peer missing) is at full volume."""
SENDS = ("healthy", "probation")
"""States of a mailbox that sends."""
ENOUGH = 20
"""Placements without which no rate is taken for one."""


@dataclass(frozen=True, slots=True)
class Day:
    """All mailboxes' sends of one local date.

    Attributes:
        day: counted from 1.
        target: mean of what the ramp allows the mailboxes that may send, in mails a day.
        planned, sent, inbox, junk, missing, bounced, replies, skipped: messages. `sent` is what
            left; each of these is in the inbox, in Junk, missing, or came back.
        sending, resting, blocked: mailboxes that send, that the rule keeps from sending, that
            cannot send for another reason (sign-in, consent).
    """

    day: int
    date: str
    weekday: str
    target: float
    planned: int
    sent: int
    inbox: int
    junk: int
    missing: int
    bounced: int
    replies: int
    skipped: int
    sending: int
    resting: int
    blocked: int


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of one mailbox.

    Attributes:
        full_on: the first day on which it sends at full volume into the inbox, or None.
    """

    address: str
    provider: str
    consent: bool
    sent: int
    inbox: int
    junk: int
    missing: int
    bounced: int
    resting_days: int
    full_on: int | None


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to."""

    scenario: Scenario
    days: tuple[Day, ...]
    mailboxes: tuple[Fate, ...]

    @classmethod
    def of(cls, scenario: Scenario, boxes: Sequence[Box]) -> Result:
        full = min(scenario.policy.cap, FULL_VOLUME)
        return cls(
            scenario,
            tuple(_day(number, boxes) for number in range(scenario.days)),
            tuple(_fate(box, scenario.days, full) for box in boxes),
        )

    @property
    def mailbox_days(self) -> int:
        return self.scenario.mailboxes * self.scenario.days

    def total(self, name: str) -> int:
        """The sum of a count over all days."""
        return sum(getattr(day, name) for day in self.days)

    def full_days(self) -> list[int | None]:
        return [fate.full_on for fate in self.mailboxes]

    def to_json(self) -> dict[str, Any]:
        return {
            "scenario": self.scenario.to_json(),
            "totals": self.totals(),
            "days": [asdict(day) for day in self.days],
            "mailboxes": [asdict(fate) for fate in self.mailboxes],
        }

    def totals(self) -> dict[str, Any]:
        sums = {
            name: self.total(name)
            for name in ("sent", "inbox", "junk", "missing", "bounced", "replies", "skipped")
        }
        placed = placed_of(sums)
        low, high = wilson(sums["inbox"], placed)
        return {
            **sums,
            "mail_per_mailbox_day": round(sums["sent"] / self.mailbox_days, 3),
            "inbox_rate": round(sums["inbox"] / placed, 4) if placed else None,
            "inbox_rate_low": round(low, 4),
            "inbox_rate_high": round(high, 4),
            "inboxed_per_mailbox_day": round(sums["inbox"] / self.mailbox_days, 3),
            "quarantine_mailbox_days": self.total("resting"),
            "days_to_full": days_to_full(self.full_days()),
        }


def placed_of(sums: dict[str, int]) -> int:
    """Messages that were accepted: what bounced has no placement."""
    return sums["inbox"] + sums["junk"] + sums["missing"]


def days_to_full(days: Sequence[int | None]) -> int | None:
    """The median; None when fewer than half of the mailboxes get there."""
    reached = sorted(10**6 if day is None else day for day in days)
    middle = median(reached) if reached else 10**6
    return int(middle) if middle < 10**5 else None


def _day(number: int, boxes: Sequence[Box]) -> Day:
    date = FIRST_DAY + timedelta(days=number)
    tallies = [box.tallies.get(date, Tally()) for box in boxes]
    healthy = [t for t in tallies if t.state in SENDS and not t.rests]
    resting = sum(t.rests for t in tallies)
    targets = [t.target for t in healthy]
    return Day(
        day=number + 1,
        date=date.isoformat(),
        weekday=date.strftime("%a"),
        target=round(sum(targets) / len(targets), 2) if targets else 0.0,
        **{
            name: sum(getattr(tally, name) for tally in tallies)
            for name in (
                "planned", "sent", "inbox", "junk", "missing", "bounced", "replies", "skipped",
            )
        },
        sending=len(healthy),
        resting=resting,
        blocked=len(boxes) - len(healthy) - resting,
    )  # fmt: skip


def _fate(box: Box, days: int, full: int) -> Fate:
    tallies = [box.tallies.get(FIRST_DAY + timedelta(days=n), Tally()) for n in range(days)]
    sums = {
        name: sum(getattr(tally, name) for tally in tallies)
        for name in ("sent", "inbox", "junk", "missing", "bounced")
    }
    return Fate(
        address=box.mailbox.address,
        provider=box.mailbox.provider,
        consent=box.mailbox.consent,
        **sums,
        resting_days=sum(tally.rests for tally in tallies),
        full_on=_full_on(tallies, full),
    )


def _full_on(tallies: Sequence[Tally], full: int) -> int | None:
    for number, tally in enumerate(tallies):
        if 100 * tally.sent < FULL_VOLUME_PERCENT * full:
            continue
        week = tallies[max(0, number - 6) : number + 1]
        inbox = sum(t.inbox for t in week)
        placed = inbox + sum(t.junk + t.missing for t in week)
        if placed >= ENOUGH and 100 * inbox >= FULL_INBOX_PERCENT * placed:
            return number + 1
    return None
