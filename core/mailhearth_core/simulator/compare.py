"""Rules side by side: each on the same receivers, faults and seeds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from mailhearth_core.simulator.receivers import Receivers
from mailhearth_core.simulator.result import Result, days_to_full, placed_of
from mailhearth_core.simulator.rules import RULES
from mailhearth_core.simulator.run import run
from mailhearth_core.simulator.scenario import Scenario
from mailhearth_core.warmup.health import wilson

OURS = "closed-loop"
NEAR = 0.01
"""A rule whose inbox rate is this much below ours, or better, is to be beaten in volume."""
COUNTS = ("sent", "inbox", "junk", "missing")


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one run contributes to the comparison."""

    rule: str
    model: str
    mailbox_days: int
    sent: int
    inbox: int
    junk: int
    missing: int
    resting: int
    full_on: tuple[int | None, ...]


@dataclass(frozen=True, slots=True)
class Line:
    """One rule over all runs.

    Attributes:
        mail_per_mailbox_day: sent, over all mailboxes and calendar days.
        inbox_rate: of the mail that was accepted; None when there was none.
        inbox_rate_low, inbox_rate_high: its 95 % interval (Wilson).
        quarantine_mailbox_days: in one run, on average.
        days_to_full: median day on which a mailbox had sent at full volume with 90 % of seven
            days' mail in the inbox; None when most never did. See `result`.
    """

    name: str
    mail_per_mailbox_day: float
    inbox_rate: float | None
    inbox_rate_low: float
    inbox_rate_high: float
    inboxed_per_mailbox_day: float
    quarantine_mailbox_days: float
    days_to_full: int | None

    def to_json(self) -> dict[str, Any]:
        """The upper bound is left out: what may be relied on is the lower one."""
        return {key: value for key, value in asdict(self).items() if key != "inbox_rate_high"}


def scenarios(base: Scenario, models: Sequence[Receivers], seeds: int) -> list[Scenario]:
    """Every run of a comparison: `seeds` seeds from the base's on, for each model and rule."""
    return [
        replace(base, seed=base.seed + number, receivers=receivers, rule=name)
        for number in range(seeds)
        for receivers in models
        for name in RULES
    ]


def outcome(scenario: Scenario) -> Outcome:
    """Runs one of them. (A function of a module, for other processes to call.)"""
    return outcome_of(run(scenario))


def outcome_of(result: Result) -> Outcome:
    sums = {name: result.total(name) for name in (*COUNTS, "resting")}
    return Outcome(
        result.scenario.rule,
        result.scenario.receivers.name,
        result.mailbox_days,
        full_on=tuple(result.full_days()),
        **sums,
    )


def lines(outcomes: Iterable[Outcome]) -> list[Line]:
    """One line for each rule, ours first; the order of the outcomes does not matter."""
    kept = list(outcomes)
    found = ([o for o in kept if o.rule == name] for name in RULES)
    return [_line(some[0].rule, some) for some in found if some]


def rivals_ahead(table: Sequence[Line]) -> list[str]:
    """The rules with about our inbox rate or better that put no less mail into inboxes."""
    ours = next(line for line in table if line.name == OURS)
    return [
        line.name
        for line in table
        if line.name != OURS
        and (line.inbox_rate or 0) >= (ours.inbox_rate or 0) - NEAR
        and line.inboxed_per_mailbox_day >= ours.inboxed_per_mailbox_day
    ]


def _line(name: str, outcomes: Sequence[Outcome]) -> Line:
    sums = {count: sum(getattr(o, count) for o in outcomes) for count in COUNTS}
    days = sum(o.mailbox_days for o in outcomes)
    placed = placed_of(sums)
    low, high = wilson(sums["inbox"], placed)
    return Line(
        name=name,
        mail_per_mailbox_day=round(sums["sent"] / days, 3),
        inbox_rate=round(sums["inbox"] / placed, 4) if placed else None,
        inbox_rate_low=round(low, 4),
        inbox_rate_high=round(high, 4),
        inboxed_per_mailbox_day=round(sums["inbox"] / days, 3),
        quarantine_mailbox_days=round(sum(o.resting for o in outcomes) / len(outcomes), 1),
        days_to_full=days_to_full([day for o in outcomes for day in o.full_on]),
    )
