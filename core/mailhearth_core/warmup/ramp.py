"""The controller: one row per mailbox and local date, a pure function of the row before it.

Up by `step` on each sending day while nothing surely speaks against it, by up to twice that (but no
more than a fifth of the volume, which receivers would call a surge) on proven placements and on
the way back to a volume that it had. Held on bad ones, then down by `watch_factor_percent`, and no
further on the same evidence: after that the volume is held until the week looked at lies wholly
after the decrease, or what it shows has become graver. Holding is preferred to lowering, and that
to stopping: who sends nothing is not rescued and earns nothing back. Only very bad placements, and
bounces, stop it: quarantine for some days, a block until some days are over and somebody has looked
at it. After both comes probation: it begins as low as a new mailbox and ends with clean
placements, however long that takes.

The first `EARLY_DAYS` sending days may rise on few data while nothing is bad, to `unproven_cap` at
most. After that no data holds; a mailbox that is too small to show the floor's placements in a week
is judged, for a raise or for the end of its probation, on the weeks since it was judged last.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, timedelta
from typing import Any, Literal, get_args

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.learning import NOTHING, RULE, Finding, Grade, Placements, judge
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.reasons import Reason

__all__ = ["ControllerRow", "DaySignals", "Placements", "limited", "next_day", "state_of"]

Phase = Literal["healthy", "probation", "quarantined", "blocked"]
State = Literal[
    "healthy",
    "probation",
    "quarantined",
    "blocked",
    "draining",
    "needs_reauth",
    "excluded",
    "off",
]
PHASES: tuple[Phase, ...] = get_args(Phase)
STATES: tuple[State, ...] = get_args(State)

BLOCKED: Mapping[State, str] = {
    "quarantined": "in quarantine: nothing new is sent, what was sent is still watched",
    "blocked": "blocked: nothing new is sent, and nobody writes to it, until it is reviewed",
    "draining": "the mailbox is paused: nothing new is sent, what was sent is still watched",
    "needs_reauth": "signing in fails: connect the mailbox again",
    "excluded": "signing in has failed too often: out of warmup until it is connected again",
    "off": "nobody has agreed to warmup for this mailbox",
}
"""Why each state but `healthy` and `probation` sends nothing."""

EARLY_DAYS = 14
"""Sending days on which few data are enough for a raise."""
SURGE = 5
"""More than a fifth of its volume at once is for no mailbox that its step does not give it."""
WEEK = timedelta(days=7)
"""The cohorts that placements are of: those of the seven dates before."""


@dataclass(frozen=True, slots=True)
class DaySignals:
    """What is known of a mailbox as its day begins.

    Attributes:
        placements: of the seven dates before; None when nothing is known of them.
        review_passed: somebody has looked at the mailbox since it was blocked.
    """

    consented: bool = True
    paused: bool = False
    needs_reauth: bool = False
    auth_failures: int = 0
    placements: Placements | None = None
    review_passed: bool = False

    def to_json(self) -> dict[str, Any]:
        return {
            "consented": self.consented,
            "paused": self.paused,
            "needs_reauth": self.needs_reauth,
            "auth_failures": self.auth_failures,
            "placements": self.placements.to_json() if self.placements else None,
            "review_passed": self.review_passed,
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> DaySignals:
        placements = data["placements"]
        return cls(
            data["consented"],
            data["paused"],
            data["needs_reauth"],
            data["auth_failures"],
            Placements.from_json(placements) if placements else None,
            data["review_passed"],
        )


@dataclass(frozen=True, slots=True)
class ControllerRow:
    """The controller's decision for one mailbox and local date.

    Attributes:
        day: the mailbox's local date.
        day_number: sending days so far, this one included; 0 before the first.
        target_volume: mails a day that the ramp allows, 0 in quarantine and while blocked; what
            else stops sending (a pause, a refused sign-in) does not change it.
        state: its phase, or what stops it from sending besides.
        reasons: how the target came about.
        phase: what its placements have led to.
        since: the day on which the phase began; None while it has always been healthy.
        cause: the finding that ended the last healthy phase.
        acted_on: the day of the last decrease; mail sent from then on is new evidence.
        grade: how grave the finding was on which that was done.
        tally: placements of the weeks since it was judged last, where a week has too few.
        tallied: the day up to which the tally counts; later cohorts are not in it yet.
        peak: the volume that it was lowered from, until it is there again; else 0.
        rule: by which of the rules it was decided (see `learning`).
    """

    day: date
    day_number: int
    target_volume: int
    state: State
    reasons: tuple[Reason, ...]
    phase: Phase = "healthy"
    since: date | None = None
    cause: str = ""
    acted_on: date | None = None
    grade: int = 0
    tally: Placements = NOTHING
    tallied: date | None = None
    peak: int = 0
    rule: int = RULE

    def to_json(self) -> dict[str, Any]:
        since_rule_2 = {"peak": self.peak, "rule": self.rule} if self.rule > 1 else {}
        return since_rule_2 | {
            "day": self.day.isoformat(),
            "day_number": self.day_number,
            "target_volume": self.target_volume,
            "state": self.state,
            "reasons": [reason.to_json() for reason in self.reasons],
            "phase": self.phase,
            "since": _text(self.since),
            "cause": self.cause,
            "acted_on": _text(self.acted_on),
            "grade": self.grade,
            "tally": self.tally.to_json(),
            "tallied": _text(self.tallied),
        }

    @classmethod
    def from_json(cls, data: Mapping[str, Any]) -> ControllerRow:
        """A stored row; one of a version without phases is healthy, one that names no rule is of
        the first.

        Raises:
            InvalidValue: its state or phase is none that this version knows.
        """
        state, phase = data["state"], data.get("phase", "healthy")
        if state not in STATES:
            raise InvalidValue("state", state, ", ".join(STATES))
        if phase not in PHASES:
            raise InvalidValue("phase", phase, ", ".join(PHASES))
        return cls(
            date.fromisoformat(data["day"]),
            data["day_number"],
            data["target_volume"],
            state,
            tuple(Reason.from_json(reason) for reason in data["reasons"]),
            phase,
            _date(data.get("since")),
            data.get("cause", ""),
            _date(data.get("acted_on")),
            data.get("grade", 0),
            Placements.from_json(data.get("tally") or NOTHING.to_json()),
            _date(data.get("tallied")),
            data.get("peak", 0),
            data.get("rule", 1),
        )


def state_of(signals: DaySignals, policy: Policy, phase: Phase = "healthy") -> State:
    """The state of a mailbox; where several hold, the one that forbids most."""
    if not signals.consented:
        return "off"
    if signals.auth_failures >= policy.exclude_after_failures:
        return "excluded"
    if signals.needs_reauth or signals.auth_failures >= policy.reauth_after_failures:
        return "needs_reauth"
    return "draining" if signals.paused else phase


def ends_on(row: ControllerRow, policy: Policy) -> date | None:
    """The day on which a quarantine ends, or a block may end; None in another phase."""
    if row.since is None or row.phase not in ("quarantined", "blocked"):
        return None
    days = policy.quarantine_days if row.phase == "quarantined" else policy.block_days
    return row.since + timedelta(days=days)


def next_day(
    previous: ControllerRow | None,
    policy: Policy,
    day: date,
    signals: DaySignals,
    rule: int = RULE,
) -> ControllerRow:
    """The row for `day`. Days missed in between (an outage) raise nothing.

    A stored row is replayed by its own `rule`; new ones are decided by the newest.

    Raises:
        InvalidValue: `day` is not after the previous row's.
    """
    if previous is not None and day <= previous.day:
        raise InvalidValue("day", day.isoformat(), f"a date after {previous.day.isoformat()}")
    row = previous or ControllerRow(day, 0, policy.start_volume, "healthy", ())
    if row.day_number == 0 and row.phase == "healthy":
        row = replace(row, target_volume=policy.start_volume)
    found = judge(signals.placements, policy, rule)
    is_fresh = row.acted_on is None or day - WEEK >= row.acted_on
    is_graver = found.grade > (Grade.CLEAN if is_fresh else row.grade)
    row = _tallied(replace(row, day=day, reasons=(), rule=rule), found, signals.placements)

    if row.phase in ("quarantined", "blocked"):
        row = _rested(row, policy, signals, found if is_graver else None)
    elif is_graver:
        row = _lowered(row, policy, found)
    row = replace(row, state=state_of(signals, policy, row.phase))
    return limited(_begun(row, policy, found, is_fresh), policy)


def limited(row: ControllerRow, policy: Policy) -> ControllerRow:
    """The row under a policy that may have changed since: a lower cap binds at once, nothing else.

    Returns the row itself when nothing is lowered.
    """
    if row.target_volume <= policy.cap:
        return row
    reason = Reason("cap", f"the policy's cap is {policy.cap} a day", policy.cap)
    return replace(row, target_volume=policy.cap, reasons=(*row.reasons, reason))


def _tallied(row: ControllerRow, found: Finding, placements: Placements | None) -> ControllerRow:
    """Adds a week that is too thin by itself, once it lies wholly after what was counted."""
    if found.enough or row.tallied is None:
        return replace(row, tally=NOTHING, tallied=row.day)
    if row.day - WEEK < row.tallied:
        return row
    return replace(row, tally=row.tally + (placements or NOTHING), tallied=row.day)


def _lowered(row: ControllerRow, policy: Policy, found: Finding) -> ControllerRow:
    """What a bad finding leads to in a mailbox that sends."""
    row = replace(row, acted_on=row.day, grade=int(found.grade), tally=NOTHING, tallied=row.day)
    if found.grade > Grade.LOWERED:
        return _stopped(row, policy, found)
    target = max(1, row.target_volume * policy.watch_factor_percent // 100)
    text = f"lowered to {policy.watch_factor_percent} %: {found.text}"
    peak = max(row.peak, row.target_volume) if row.rule > 1 else 0
    return replace(row, target_volume=target, peak=peak, reasons=(Reason("lowered", text, target),))


def _stopped(row: ControllerRow, policy: Policy, found: Finding) -> ControllerRow:
    phase: Phase = "blocked" if found.grade is Grade.BLOCK else "quarantined"
    row = replace(row, phase=phase, since=row.day, cause=found.text, target_volume=0, peak=0)
    until = f"until {ends_on(row, policy)}" + " and a review" * (phase == "blocked")
    return replace(row, reasons=(Reason(phase, f"{phase} {until}: {found.text}", 0),))


def _rested(
    row: ControllerRow, policy: Policy, signals: DaySignals, worse: Finding | None
) -> ControllerRow:
    """A day in quarantine or blocked: it may end, or turn into a block."""
    if worse and worse.grade is Grade.BLOCK and row.phase == "quarantined":
        row = replace(row, acted_on=row.day, grade=int(worse.grade))
        return _stopped(row, policy, worse)
    until = ends_on(row, policy)
    assert until is not None
    if row.day < until:
        return replace(row, reasons=(Reason(row.phase, f"{row.phase} until {until}", 0),))
    if row.phase == "blocked" and not signals.review_passed:
        text = "blocked: its days are over, a review is not"
        return replace(row, reasons=(Reason("review_due", text, 0),))
    target = min(policy.start_volume, policy.cap)
    text = f"on probation after it was {row.phase}: as low as a new mailbox"
    return replace(
        row,
        phase="probation",
        since=row.day,
        target_volume=target,
        reasons=(Reason("probation", text, target),),
        tally=NOTHING,
        tallied=row.day,
    )


def _begun(row: ControllerRow, policy: Policy, found: Finding, is_fresh: bool) -> ControllerRow:
    """Counts the day if it sends, and raises it if nothing speaks against it.

    A day on which the volume was changed already is only counted.
    """
    if row.phase in ("quarantined", "blocked"):
        return row
    target, number = row.target_volume, row.day_number
    if row.state != row.phase:
        held = Reason("held", f"no raise: {BLOCKED[row.state]}", target)
    elif not policy.sends_on(row.day):
        held = Reason("rest_day", "no raise: not a sending weekday", target)
    else:
        row = replace(row, day_number=number + 1)
        if row.reasons:
            return row
        if number == 0:
            return replace(row, reasons=(Reason("start", "the first sending day", target),))
        return _raised(row, policy, found, is_fresh)
    return row if row.reasons else replace(row, reasons=(held,))


def _raised(row: ControllerRow, policy: Policy, found: Finding, is_fresh: bool) -> ControllerRow:
    """A sending day after the first, on which nothing was lowered."""
    finding, is_tally = found, False
    if not found.enough and row.tally.placed >= policy.signal_floor:
        finding, is_tally = judge(row.tally, policy, row.rule), True
        row = replace(row, tally=NOTHING)
    target, reasons = row.target_volume, row.reasons
    if row.phase == "probation":
        if not (finding.clean and (is_fresh or is_tally)):
            return _held(row, "probation", f"on probation until clean: {finding.text}")
        ended = Reason("probation_over", f"the probation is over: {finding.text}", target)
        row = replace(row, phase="healthy", state="healthy", since=row.day, cause="")
        reasons = (ended,)
    if found.grade > Grade.CLEAN:
        text = f"waits for placements of mail sent from {row.acted_on} on: {found.text}"
        return _held(row, "waiting", text)
    if not finding.rises:
        if finding.enough:
            return _held(row, "unclean", finding.text)
        if finding.suspect:
            return _held(row, "suspect", f"few data, and bad: {finding.text}")
        if row.day_number > EARLY_DAYS:
            return _held(row, "no_data", f"not enough data: {finding.text}")
    step = _step(row, policy, finding) if target < policy.cap else 0
    text = f"sending day {row.day_number}: {step} more than before; {finding.text}"
    raised = Reason("raised" if step else "held", text, target + step)
    peak = row.peak if row.peak > target + step else 0
    return replace(row, target_volume=target + step, peak=peak, reasons=(*reasons, raised))


def _step(row: ControllerRow, policy: Policy, finding: Finding) -> int:
    """How much more than before a day may bring on which nothing speaks against it."""
    step, volume = policy.step, row.target_volume
    if row.rule == 1:
        return step
    if not finding.enough:
        return max(0, min(step, policy.unproven_cap - volume))
    if volume < row.peak:
        return max(step, min(2 * step, row.peak - volume))
    return max(step, min(2 * step, volume // SURGE)) if finding.proven else step


def _held(row: ControllerRow, code: str, text: str) -> ControllerRow:
    return replace(row, reasons=(Reason(code, f"no raise: {text}", row.target_volume),))


def _text(day: date | None) -> str | None:
    return day.isoformat() if day else None


def _date(text: str | None) -> date | None:
    return date.fromisoformat(text) if text else None
