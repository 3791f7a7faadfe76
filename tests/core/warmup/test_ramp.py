"""The controller's row of a day follows from the row before, and says why."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import (
    BLOCKED,
    ControllerRow,
    DaySignals,
    State,
    limited,
    next_day,
    state_of,
)

MONDAY = date(2026, 3, 2)
DAY = timedelta(days=1)
WELL = DaySignals()
SIGNALS: dict[State, DaySignals] = {
    "draining": DaySignals(paused=True),
    "needs_reauth": DaySignals(needs_reauth=True),
    "excluded": DaySignals(auth_failures=10),
    "off": DaySignals(consented=False),
}


def _policy(**values: Any) -> Policy:
    return Policy.parse({"start_volume": 5, "step": 1, "cap": 20} | values)


def _row(number: int, target: int, day: date = MONDAY) -> ControllerRow:
    return ControllerRow(day, number, target, "healthy", ())


def _steps(row: ControllerRow) -> list[tuple[str, int | None]]:
    return [(reason.code, reason.value) for reason in row.reasons]


def test_a_mailbox_starts_rises_on_sending_days_and_is_held_at_the_cap() -> None:
    policy = _policy(start_volume=5, step=3, cap=12)
    row, seen = None, []
    for offset in range(9):
        row = next_day(row, policy, MONDAY + offset * DAY, WELL)
        seen.append((row.day_number, row.target_volume, _steps(row)))
    assert seen == [
        (1, 5, [("start", 5)]),
        (2, 8, [("raised", 8)]),
        (3, 11, [("raised", 11)]),
        (4, 12, [("raised", 14), ("cap", 12)]),
        (5, 12, [("held", 12)]),
        (5, 12, [("rest_day", 12)]),
        (5, 12, [("rest_day", 12)]),
        (6, 12, [("held", 12)]),
        (7, 12, [("held", 12)]),
    ]


def test_it_starts_on_the_first_day_that_sends() -> None:
    row = next_day(None, _policy(), MONDAY + 5 * DAY, WELL)
    assert (row.day_number, row.target_volume, _steps(row)) == (0, 5, [("rest_day", 5)])
    row = next_day(row, _policy(start_volume=3), MONDAY + 7 * DAY, WELL)
    assert (row.day_number, row.target_volume, _steps(row)) == (1, 3, [("start", 3)])


def test_a_start_above_the_cap_is_lowered_to_it() -> None:
    row = next_day(None, _policy(start_volume=9, cap=4), MONDAY, WELL)
    assert (row.target_volume, _steps(row)) == (4, [("start", 9), ("cap", 4)])


def test_a_step_of_nothing_holds() -> None:
    row = next_day(_row(3, 7), _policy(step=0), MONDAY + DAY, WELL)
    assert (row.day_number, row.target_volume, _steps(row)) == (4, 7, [("held", 7)])


@pytest.mark.parametrize("signals", [WELL, *SIGNALS.values()])
@pytest.mark.parametrize("days", [1, 5])
def test_a_lower_cap_binds_at_once_whatever_the_day(signals: DaySignals, days: int) -> None:
    lower = _policy(cap=6)
    row = next_day(_row(9, 13), lower, MONDAY + days * DAY, signals)
    assert row.target_volume == 6
    assert _steps(row)[-1] == ("cap", 6)
    today = limited(_row(9, 13), lower)
    assert (today.day_number, today.target_volume, _steps(today)) == (9, 6, [("cap", 6)])
    assert limited(today, lower) is today
    assert limited(today, _policy(cap=40)) is today, "a higher cap raises nothing today"
    assert next_day(today, _policy(cap=40), MONDAY + DAY, WELL).target_volume == 7


@pytest.mark.parametrize("state", SIGNALS)
def test_a_blocked_mailbox_keeps_its_place_and_says_why(state: State) -> None:
    row = next_day(_row(3, 7), _policy(), MONDAY + DAY, SIGNALS[state])
    assert (row.state, row.day_number, row.target_volume) == (state, 3, 7)
    assert _steps(row) == [("held", 7)]
    assert BLOCKED[state] in row.reasons[0].text
    again = next_day(row, _policy(), MONDAY + 2 * DAY, WELL)
    assert (again.state, again.day_number, again.target_volume) == ("healthy", 4, 8)


def test_of_several_states_the_one_that_forbids_most_holds() -> None:
    policy = _policy(reauth_after_failures=3, exclude_after_failures=10)
    everything = DaySignals(consented=False, paused=True, needs_reauth=True, auth_failures=10)
    assert state_of(everything, policy) == "off"
    failing = [state_of(DaySignals(paused=True, auth_failures=n), policy) for n in (2, 3, 9, 10)]
    assert failing == ["draining", "needs_reauth", "needs_reauth", "excluded"]
    assert state_of(DaySignals(needs_reauth=True, paused=True), policy) == "needs_reauth"
    assert state_of(DaySignals(auth_failures=2), policy) == "healthy"


def test_days_of_an_outage_raise_nothing() -> None:
    row = next_day(_row(3, 7), _policy(), MONDAY + 14 * DAY, WELL)
    assert (row.day_number, row.target_volume) == (4, 8)


@pytest.mark.parametrize("back", [0, 1, 400])
def test_a_day_follows_the_one_before(back: int) -> None:
    with pytest.raises(InvalidValue) as caught:
        next_day(_row(3, 7), _policy(), MONDAY - back * DAY, WELL)
    assert (caught.value.field, caught.value.allowed) == ("day", "a date after 2026-03-02")


def test_a_state_of_another_version_is_refused() -> None:
    for field in ("state", "phase"):
        stored = _row(3, 7).to_json() | {field: "improved"}
        with pytest.raises(InvalidValue) as caught:
            ControllerRow.from_json(stored)
        assert (caught.value.field, caught.value.value) == (field, "improved")


def test_a_row_of_the_first_version_is_healthy() -> None:
    stored = _row(3, 7).to_json()
    old = {k: stored[k] for k in ("day", "day_number", "target_volume", "state", "reasons")}
    assert ControllerRow.from_json(old) == replace(_row(3, 7), rule=1)
