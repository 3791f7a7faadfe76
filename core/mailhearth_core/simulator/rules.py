"""What decides a mailbox's volume from day to day: our closed loop, and three rules beside it.

Each rule sees the same signals and answers with a controller row that the same sizing takes.
What needs a person (consent, a working sign-in) blocks sending under every rule alike.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date, timedelta
from types import MappingProxyType
from typing import Protocol

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.learning import NOTHING, Placements
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import ControllerRow, DaySignals, next_day, state_of
from mailhearth_core.warmup.reasons import Reason

RESTS = ("quarantined", "blocked")
"""Phases of the controller that count as mailbox-days in quarantine."""


@dataclass(frozen=True, slots=True)
class Ruling:
    """A day's row, and whether the mailbox rests in quarantine.

    Attributes:
        row: for sizing.
        rests: whether the rule itself (not a person) keeps the mailbox from sending.
        until: when that ends, for rules that keep it themselves.
    """

    row: ControllerRow
    rests: bool = False
    until: date | None = None


class Rule(Protocol):
    """Decides one mailbox's next day."""

    def decide(
        self, last: Ruling | None, policy: Policy, day: date, signals: DaySignals
    ) -> Ruling: ...


class ClosedLoop:
    """The product's own."""

    def decide(self, last: Ruling | None, policy: Policy, day: date, signals: DaySignals) -> Ruling:
        row = next_day(last.row if last else None, policy, day, signals)
        return Ruling(row, row.phase in RESTS)


@dataclass(frozen=True, slots=True)
class Ramp:
    """A fixed ramp: `start`, `step` more on each sending day up to `cap`, whatever happens."""

    start: int
    step: int
    cap: int

    def decide(self, last: Ruling | None, policy: Policy, day: date, signals: DaySignals) -> Ruling:
        before = last.row if last else None
        number = before.day_number if before else 0
        target = before.target_volume if before and number else self.start
        state = state_of(signals, policy)
        if state == "healthy" and policy.sends_on(day):
            target = min(self.cap, target + self.step) if number else target
            number += 1
        return Ruling(ControllerRow(day, number, target, state, (Reason("ramp", "fixed", target),)))


@dataclass(frozen=True, slots=True)
class StateMachine:
    """A ramp with thresholds, as Warmbly publishes them: watch, quarantine, block.

    With `floor` placements in seven days: at `watch` junk the volume is times `factor`; at
    `quarantine` junk or `bounces` nothing is sent for `days`; at `block` junk or `block_bounces`
    for `block_days`, and the review after it is taken as passed. Then it starts at `restart` a day.
    """

    ramp: Ramp = Ramp(10, 1, 40)
    floor: int = 20
    watch: float = 0.10
    factor: float = 0.7
    quarantine: float = 0.20
    bounces: float = 0.05
    days: int = 7
    block: float = 0.40
    block_bounces: float = 0.10
    block_days: int = 30
    restart: int = 5

    def decide(self, last: Ruling | None, policy: Policy, day: date, signals: DaySignals) -> Ruling:
        if last and last.until is not None:
            if day < last.until:
                return Ruling(_resting(last.row, day), True, last.until)
            last = Ruling(_at(last.row, self.restart - self.ramp.step))
        junk, bounced = self._rates(signals.placements or NOTHING)
        rest = 0
        if junk >= self.block or bounced >= self.block_bounces:
            rest = self.block_days
        elif junk >= self.quarantine or bounced >= self.bounces:
            rest = self.days
        if last and rest:
            return Ruling(_resting(last.row, day), True, day + timedelta(days=rest))
        if last and junk >= self.watch:
            # Held on the ramp; the cut is of the day's volume only.
            held = Ramp(self.ramp.start, 0, self.ramp.cap).decide(last, policy, day, signals)
            lowered = max(1, int(self.factor * held.row.target_volume + 0.5))
            return Ruling(_at(held.row, lowered))
        return self.ramp.decide(last, policy, day, signals)

    def _rates(self, placements: Placements) -> tuple[float, float]:
        placed = placements.placed
        junk = placements.junk / placed if placed >= self.floor else 0.0
        enough = placements.sent >= self.floor
        return junk, placements.bounced / placements.sent if enough else 0.0


def _at(row: ControllerRow, target: int) -> ControllerRow:
    return ControllerRow(row.day, row.day_number, target, row.state, row.reasons)


def _resting(row: ControllerRow, day: date) -> ControllerRow:
    reason = Reason("rest", "quarantined", row.target_volume)
    return ControllerRow(day, row.day_number, row.target_volume, "draining", (reason,))


RULES: Mapping[str, Rule] = MappingProxyType(
    {
        "closed-loop": ClosedLoop(),
        "plus-one": Ramp(5, 1, 20),
        "aggressive": Ramp(7, 2, 28),
        "state-machine": StateMachine(),
    }
)
"""By name; the numbers of the three rivals are fixed, whatever our policy is."""


def rule(name: str) -> Rule:
    """One of `RULES`.

    Raises:
        InvalidValue: there is none of that name.
    """
    if name not in RULES:
        raise InvalidValue("rule", name, ", ".join(RULES))
    return RULES[name]
