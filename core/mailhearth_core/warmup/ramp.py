"""The controller: one row per mailbox and local date, a pure function of the row before it.

In this version the target rises by `step` on each sending day and is held otherwise. Lowering on
bad signals joins here: `DaySignals` then carries placements, and `next_day` answers with other
states.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date
from typing import Any, Literal, get_args

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.reasons import Reason

State = Literal["healthy", "draining", "needs_reauth", "excluded", "off"]
STATES: tuple[State, ...] = get_args(State)

BLOCKED: Mapping[State, str] = {
    "draining": "the mailbox is paused: nothing new is sent, what was sent is still watched",
    "needs_reauth": "signing in fails: connect the mailbox again",
    "excluded": "signing in has failed too often: out of warmup until it is connected again",
    "off": "nobody has agreed to warmup for this mailbox",
}
"""Why each state but `healthy` sends nothing."""


@dataclass(frozen=True, slots=True)
class DaySignals:
    """What is known of a mailbox as its day begins."""

    consented: bool = True
    paused: bool = False
    needs_reauth: bool = False
    auth_failures: int = 0


@dataclass(frozen=True, slots=True)
class ControllerRow:
    """The controller's decision for one mailbox and local date.

    Attributes:
        day: the mailbox's local date.
        day_number: sending days so far, this one included; 0 before the first.
        target_volume: mails a day that the ramp allows; what blocks sending does not change it.
        state: `healthy`, or what blocks sending.
        reasons: how the target came about.
    """

    day: date
    day_number: int
    target_volume: int
    state: State
    reasons: tuple[Reason, ...]

    def to_json(self) -> dict[str, Any]:
        return {
            "day": self.day.isoformat(),
            "day_number": self.day_number,
            "target_volume": self.target_volume,
            "state": self.state,
            "reasons": [reason.to_json() for reason in self.reasons],
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ControllerRow:
        """A stored row.

        Raises:
            InvalidValue: its state is none that this version knows.
        """
        state = data["state"]
        if state not in STATES:
            raise InvalidValue("state", state, ", ".join(STATES))
        return cls(
            date.fromisoformat(data["day"]),
            data["day_number"],
            data["target_volume"],
            state,
            tuple(Reason.from_json(reason) for reason in data["reasons"]),
        )


def state_of(signals: DaySignals, policy: Policy) -> State:
    """The state of a mailbox; where several hold, the one that forbids most."""
    if not signals.consented:
        return "off"
    if signals.auth_failures >= policy.exclude_after_failures:
        return "excluded"
    if signals.needs_reauth or signals.auth_failures >= policy.reauth_after_failures:
        return "needs_reauth"
    return "draining" if signals.paused else "healthy"


def next_day(
    previous: ControllerRow | None, policy: Policy, day: date, signals: DaySignals
) -> ControllerRow:
    """The row for `day`. Days missed in between (an outage) raise nothing.

    Raises:
        InvalidValue: `day` is not after the previous row's.
    """
    if previous is not None and day <= previous.day:
        raise InvalidValue("day", day.isoformat(), f"a date after {previous.day.isoformat()}")
    state = state_of(signals, policy)
    number = previous.day_number if previous else 0
    target = previous.target_volume if previous and number else policy.start_volume
    if state != "healthy":
        reason = Reason("held", f"no raise: {BLOCKED[state]}", target)
    elif not policy.sends_on(day):
        reason = Reason("rest_day", "no raise: not a sending weekday", target)
    elif number == 0:
        number = 1
        reason = Reason("start", "the first sending day", target)
    else:
        number += 1
        step = policy.step if target < policy.cap else 0
        target += step
        code = "raised" if step else "held"
        reason = Reason(code, f"sending day {number}: {step} more than before", target)
    return limited(ControllerRow(day, number, target, state, (reason,)), policy)


def limited(row: ControllerRow, policy: Policy) -> ControllerRow:
    """The row under a policy that may have changed since: a lower cap binds at once, nothing else.

    Returns the row itself when nothing is lowered.
    """
    if row.target_volume <= policy.cap:
        return row
    reason = Reason("cap", f"the policy's cap is {policy.cap} a day", policy.cap)
    return replace(row, target_volume=policy.cap, reasons=(*row.reasons, reason))
