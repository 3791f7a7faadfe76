"""What is simulated: the mailboxes, the days, the receivers, the faults; all drawn from a seed."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import date
from math import cos, log, pi, sqrt
from random import Random
from typing import Any
from uuid import UUID

from mailhearth_core.errors import InvalidValue
from mailhearth_core.simulator.receivers import MODELS, Receivers
from mailhearth_core.warmup.chance import stream
from mailhearth_core.warmup.policy import Policy

FAULTS = ("bounce", "junk", "auth", "outage")
FIRST_DAY = date(2026, 3, 2)
"""A Monday; within the four weeks after it clocks change in America and in Europe."""
PER_DOMAIN = 3
"""Mailboxes of one domain, as outreach teams have them."""
MOST_MAILBOXES, MOST_DAYS = 5000, 366
PROVIDERS = (("gmail", 0.45), ("microsoft", 0.35), ("other", 0.20))
"""Who runs the domains' mail, with shares."""
TIMEZONES = ("America/New_York", "America/Los_Angeles", "Europe/Berlin", "Europe/London")


@dataclass(frozen=True, slots=True)
class Scenario:
    """One run's inputs: the same ones always give the same result.

    Attributes:
        mailboxes: how many; all are in one pool.
        days: local dates, from the Monday `FIRST_DAY`.
        seed: of everything that is drawn.
        faults: names out of `FAULTS`.
        receivers: the model of reputation.
        policy: the pool's.
        rule: which rule decides the volume; see `rules.RULES`.
        without_consent: so many of the mailboxes have no consent to warmup.
    """

    mailboxes: int = 200
    days: int = 30
    seed: int = 1
    faults: frozenset[str] = frozenset()
    receivers: Receivers = MODELS["engagement"]
    policy: Policy = field(default_factory=Policy)
    rule: str = "closed-loop"
    without_consent: int = 0

    def __post_init__(self) -> None:
        for name, low, high in (
            ("mailboxes", 2, MOST_MAILBOXES),
            ("days", 1, MOST_DAYS),
            ("without_consent", 0, self.mailboxes),
        ):
            value = getattr(self, name)
            if not low <= value <= high:
                raise InvalidValue(name, value, f"{low} to {high}")
        for fault in sorted(self.faults - set(FAULTS)):
            raise InvalidValue("faults", fault, ", ".join(FAULTS))

    def to_json(self) -> dict[str, Any]:
        return {
            "mailboxes": self.mailboxes,
            "days": self.days,
            "first_day": FIRST_DAY.isoformat(),
            "seed": self.seed,
            "faults": [fault for fault in FAULTS if fault in self.faults],
            "rule": self.rule,
            "without_consent": self.without_consent,
            "receivers": self.receivers.to_json(),
            "policy": self.policy.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Mailbox:
    """A simulated mailbox; `index` counts from 0, `id` and `seed` are the product's."""

    index: int
    id: UUID
    address: str
    domain: str
    provider: str
    timezone: str
    seed: int
    consent: bool


def population(scenario: Scenario) -> tuple[Mailbox, ...]:
    """The mailboxes of a scenario; the rule and the faults play no part in them."""
    chance = stream(scenario.seed, "population")
    providers = [_provider(chance) for _ in range(-(-scenario.mailboxes // PER_DOMAIN))]
    refusing = {int(chance.random() * scenario.mailboxes) for _ in range(scenario.without_consent)}
    while len(refusing) < scenario.without_consent:
        refusing.add(int(chance.random() * scenario.mailboxes))
    made = []
    for index in range(scenario.mailboxes):
        number = index // PER_DOMAIN
        domain = f"d{number:04}.example"
        made.append(
            Mailbox(
                index=index,
                id=UUID(int=(number_of(scenario.seed) << 32) | (index + 1)),
                address=f"m{index:04}@{domain}",
                domain=domain,
                provider=providers[number],
                timezone=TIMEZONES[number % len(TIMEZONES)],
                seed=int(chance.random() * 2**52),
                consent=index not in refusing,
            )
        )
    return tuple(made)


def leanings(scenario: Scenario) -> dict[tuple[int, str], float]:
    """How each provider takes to each mailbox before it knows it: standard normal numbers."""
    chance = stream(scenario.seed, "leanings")
    return {
        (index, provider): normal(chance)
        for index in range(scenario.mailboxes)
        for provider, _ in PROVIDERS
    }


def normal(chance: Random) -> float:
    """From a standard normal distribution (G. E. P. Box, M. E. Muller, 1958)."""
    return sqrt(-2 * log(1 - chance.random())) * cos(2 * pi * chance.random())


def number_of(seed: int) -> int:
    """64 bits of a seed, for identifiers."""
    return int(stream(seed, "ids").random() * 2**53)


def _provider(chance: Random) -> str:
    left = chance.random()
    for name, share in PROVIDERS:
        left -= share
        if left < 0:
            return name
    return PROVIDERS[-1][0]
