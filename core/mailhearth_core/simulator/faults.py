"""What goes wrong and when: drawn from the seed alone, so every rule meets the same faults."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from random import Random
from typing import TypeVar

from mailhearth_core.simulator.scenario import PROVIDERS, Mailbox, Scenario
from mailhearth_core.warmup.chance import between, stream

T = TypeVar("T")

DEAD_DOMAINS, DEAD_DAYS = 0.05, (2.0, 6.0)
"""bounce: domains whose mail server is gone for some days (all mail to them bounces)."""
DEAD_MAILBOXES, FULL_DAYS = 0.04, (3.0, 8.0)
"""bounce: mailboxes that are disabled for some days."""
LISTED_DOMAINS, LISTED_DAYS, LISTED_TRUST = 0.15, (3.0, 8.0), 2.5
"""junk: domains that every provider distrusts for some days (a blocklist, a bad neighbour)."""
JUNK_HAPPY, JUNK_HAPPY_RATE = 0.03, 0.9
"""junk: recipients that find almost everything in Junk, whoever wrote it."""
ANNOYED = 10.0
"""junk: how many times more often readers put mail into Junk by hand."""
LOCKED, LOCKED_DAYS = 0.08, (0.5, 4.0)
"""auth: mailboxes whose password stops working, until somebody connects them again."""
PROVIDER_OUTAGES, OUTAGE_HOURS = 3, (1.0, 8.0)
"""outage: a provider's servers refuse every connection."""
OWN_OUTAGE_HOURS = (4.0, 30.0)
"""outage: once, Mailhearth itself is down."""


@dataclass(frozen=True, slots=True)
class Spell:
    """From `start` until before `end`."""

    start: datetime
    end: datetime


@dataclass(slots=True)
class Spells:
    """Times at which something is wrong with something."""

    of: dict[Hashable, list[Spell]] = field(default_factory=lambda: defaultdict(list))

    def until(self, key: Hashable, at: datetime) -> datetime | None:
        """When the trouble that holds at a moment ends; None where there is none."""
        for spell in self.of.get(key, ()):
            if spell.start <= at < spell.end:
                return spell.end
        return None


@dataclass(slots=True)
class FaultPlan:
    """Every fault of a run.

    Attributes:
        dead: domains and mailbox indices to which mail bounces.
        listed: domains that are distrusted.
        junk_happy: mailbox indices.
        annoyed: how many times the usual share of readers complains.
        locked: mailbox indices that cannot sign in.
        down: providers, and "mailhearth" for ourselves.
    """

    dead: Spells = field(default_factory=Spells)
    listed: Spells = field(default_factory=Spells)
    junk_happy: frozenset[int] = frozenset()
    annoyed: float = 1.0
    locked: Spells = field(default_factory=Spells)
    down: Spells = field(default_factory=Spells)


def plan_faults(scenario: Scenario, mailboxes: Sequence[Mailbox], start: datetime) -> FaultPlan:
    """The faults that the scenario names; `start` is when its first day begins."""
    plan = FaultPlan()
    domains = list(dict.fromkeys(mailbox.domain for mailbox in mailboxes))
    length = timedelta(days=scenario.days)

    def spell(chance: Random, bounds: tuple[float, float], unit: timedelta) -> Spell:
        begins = start + length * (0.1 + 0.8 * chance.random())
        return Spell(begins, begins + unit * between(chance, *bounds))

    day, hour = timedelta(days=1), timedelta(hours=1)
    if "bounce" in scenario.faults:
        chance = stream(scenario.seed, "fault", "bounce")
        for domain in _some(domains, DEAD_DOMAINS, chance):
            plan.dead.of[domain].append(spell(chance, DEAD_DAYS, day))
        for mailbox in _some(mailboxes, DEAD_MAILBOXES, chance):
            plan.dead.of[mailbox.index].append(spell(chance, FULL_DAYS, day))
    if "junk" in scenario.faults:
        chance = stream(scenario.seed, "fault", "junk")
        plan.annoyed = ANNOYED
        for domain in _some(domains, LISTED_DOMAINS, chance):
            plan.listed.of[domain].append(spell(chance, LISTED_DAYS, day))
        plan.junk_happy = frozenset(m.index for m in _some(mailboxes, JUNK_HAPPY, chance))
    if "auth" in scenario.faults:
        chance = stream(scenario.seed, "fault", "auth")
        for mailbox in _some(mailboxes, LOCKED, chance):
            plan.locked.of[mailbox.index].append(spell(chance, LOCKED_DAYS, day))
    if "outage" in scenario.faults:
        chance = stream(scenario.seed, "fault", "outage")
        for _ in range(PROVIDER_OUTAGES):
            provider = PROVIDERS[int(chance.random() * len(PROVIDERS))][0]
            plan.down.of[provider].append(spell(chance, OUTAGE_HOURS, hour))
        plan.down.of["mailhearth"].append(spell(chance, OWN_OUTAGE_HOURS, hour))
    return plan


def _some(things: Sequence[T], share: float, chance: Random) -> Iterator[T]:
    """Each thing with the same chance; one at least, so that a small pool meets the fault too."""
    picked = [thing for thing in things if chance.random() < share]
    yield from picked or things[int(chance.random() * len(things)) :][:1]
