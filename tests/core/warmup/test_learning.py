"""Down on bad placements, up on clean ones, never without data; and the whole way back."""

from __future__ import annotations

import json
import random
from collections.abc import Iterable
from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailhearth_core.warmup.learning import Grade, judge
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import (
    EARLY_DAYS,
    ControllerRow,
    DaySignals,
    Placements,
    limited,
    next_day,
)

MONDAY = date(2026, 3, 2)
DAY = timedelta(days=1)
EVERY_DAY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


def _seen(junk: int = 0, total: int = 100, **more: int) -> DaySignals:
    values = {"sent": total} | more
    return DaySignals(placements=Placements(inbox=total - junk, junk=junk, **values))


CLEAN, WATCH, BAD, WORST = (_seen(junk) for junk in (5, 10, 20, 40))
NO_DATA = DaySignals()


def _policy(**values: Any) -> Policy:
    return Policy.parse({"weekdays": EVERY_DAY} | values)


def _grown(target: int = 20, number: int = 30, **more: Any) -> ControllerRow:
    return replace(ControllerRow(MONDAY, number, target, "healthy", ()), **more)


def _run(
    days: Iterable[DaySignals], policy: Policy, row: ControllerRow | None = None
) -> list[ControllerRow]:
    """The rows of consecutive days, each from the JSON of the one before."""
    rows, day = [], row.day if row else MONDAY - DAY
    for signals in days:
        day += DAY
        row = next_day(row, policy, day, signals)
        rows.append(row)
        row = ControllerRow.from_json(json.loads(json.dumps(row.to_json())))
        assert row == rows[-1]
    return rows


def _codes(row: ControllerRow) -> list[str]:
    return [reason.code for reason in row.reasons]


# -- what a week says -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("junk", "total", "grade"),
    [
        (1, 20, Grade.CLEAN),
        (2, 20, Grade.WATCH),
        (9, 100, Grade.CLEAN),
        (10, 100, Grade.WATCH),
        (19, 100, Grade.WATCH),
        (20, 100, Grade.QUARANTINE),
        (39, 100, Grade.QUARANTINE),
        (40, 100, Grade.BLOCK),
        (19, 19, Grade.CLEAN),  # below the floor nothing is a finding
    ],
)
def test_the_rate_decides_from_the_floor_on(junk: int, total: int, grade: Grade) -> None:
    found = judge(_seen(junk, total).placements, Policy())
    assert found.grade == grade
    assert found.enough == (total >= 20)
    assert found.clean == (found.enough and grade == Grade.CLEAN)


@pytest.mark.parametrize(
    ("bounced", "sent", "grade"),
    [
        (4, 100, Grade.CLEAN),
        (5, 100, Grade.QUARANTINE),
        (10, 100, Grade.BLOCK),
        (19, 19, Grade.CLEAN),
        (20, 20, Grade.BLOCK),
    ],
)
def test_what_comes_back_has_limits_and_a_floor_of_its_own(
    bounced: int, sent: int, grade: Grade
) -> None:
    assert judge(Placements(bounced=bounced, sent=sent), Policy()).grade == grade


def test_both_the_rate_and_its_interval_are_stated() -> None:
    text = judge(Placements(inbox=45, junk=5, bounced=2, sent=52), Policy()).text
    assert text == (
        "5 of 50 in junk: 10.0 % (4.3 to 21.4 %); 2 of 52 came back: 3.8 % (1.1 to 13.0 %)"
    )
    few = judge(Placements(inbox=3, sent=3), Policy())
    assert few.text == "0 of 3 in junk: 0.0 % (0.0 to 56.2 %); 20 placements are needed"
    assert judge(None, Policy()).text == "0 of 0 in junk; 20 placements are needed"


def test_mail_that_is_never_found_lowers_nothing_and_raises_nothing() -> None:
    found = judge(Placements(inbox=90, missing=10, sent=100), Policy())
    assert (found.grade, found.clean) == (Grade.CLEAN, False)
    assert "10 of 100 not found" in found.text


# -- up -------------------------------------------------------------------------------------------


@given(
    start=st.integers(1, 10), step=st.integers(1, 5), cap=st.integers(1, 50), early=st.booleans()
)
@settings(deadline=None)
def test_a_clean_mailbox_reaches_its_cap_in_as_many_days_as_steps(
    start: int, step: int, cap: int, early: bool
) -> None:
    policy = _policy(start_volume=start, step=step, cap=cap)
    steps = max(0, -(-(cap - start) // step))
    # While it is young, placements may be few.
    rows = _run([_seen(0, 5) if early and n < EARLY_DAYS else CLEAN for n in range(60)], policy)
    targets = [row.target_volume for row in rows]
    assert targets[: steps + 1] == [min(start + n * step, cap) for n in range(steps + 1)]
    assert set(targets[steps:]) == {cap}


def test_a_young_mailbox_rises_on_few_data_unless_they_are_bad_at_their_best() -> None:
    policy = _policy()
    for few, code in (
        (None, "raised"),
        (Placements(inbox=4, junk=1, sent=5), "raised"),
        (Placements(inbox=3, junk=4, sent=7), "suspect"),
        (Placements(missing=4, sent=4), "suspect"),
        (Placements(bounced=3, sent=3), "suspect"),
    ):
        row = next_day(_grown(7, 3), policy, MONDAY + DAY, DaySignals(placements=few))
        assert _codes(row) == [code], few
        old = next_day(_grown(7, EARLY_DAYS), policy, MONDAY + DAY, DaySignals(placements=few))
        assert _codes(old)[0] in {"no_data", "suspect"}
        assert old.target_volume == 7


@given(
    weeks=st.lists(st.tuples(st.integers(0, 19), st.integers(0, 19)), min_size=8, max_size=60),
    number=st.integers(EARLY_DAYS, 100),
)
@settings(deadline=None)
def test_no_raise_without_data(weeks: list[tuple[int, int]], number: int) -> None:
    """Past the early days each raise has the floor's placements behind it, of mail sent since the
    raise before: of one week, or of as many as it takes."""
    signals = [_seen(min(junk, total), total) for junk, total in weeks]
    rows = _run(signals, _policy(cap=50), _grown(5, number))
    before, since = 5, 0
    for at, row in enumerate(rows):
        if row.target_volume > before:
            # Weeks that do not overlap: at most every seventh of these counts.
            most = sum(max(total for _, total in weeks[n : n + 7]) for n in range(since, at + 1, 7))
            assert most >= 20
            since = at + 1
        before = row.target_volume
    assert not [
        row for row in _run([NO_DATA] * 60, _policy(), _grown(5, number)) if row.target_volume > 5
    ]


def test_a_small_mailbox_is_judged_on_as_many_weeks_as_it_takes() -> None:
    policy = _policy()
    rows = _run([_seen(0, 12)] * 29, policy, _grown(3))
    assert [row.target_volume for row in rows] == [3] * 14 + [4] * 14 + [5]
    assert _codes(rows[14]) == ["raised"]
    assert "0 of 24 in junk" in rows[14].reasons[0].text
    bad = _run([_seen(3, 12)] * 29, policy, _grown(3))
    assert {row.target_volume for row in bad} == {3}


# -- down -----------------------------------------------------------------------------------------


def test_a_decrease_waits_for_new_evidence() -> None:
    rows = _run([WATCH] * 15, _policy(), _grown(20))
    assert [row.target_volume for row in rows] == [14] * 7 + [9] * 7 + [6]
    assert [_codes(row)[0] for row in rows] == (["lowered"] + ["waiting"] * 6) * 2 + ["lowered"]
    assert "10 of 100 in junk: 10.0 % (5.5 to 17.4 %)" in rows[0].reasons[0].text
    clean_again = next_day(rows[3], _policy(), rows[3].day + DAY, CLEAN)
    assert (_codes(clean_again), clean_again.target_volume) == (["raised"], 15)


def test_graver_evidence_does_not_wait() -> None:
    rows = _run([WATCH, WATCH, BAD, BAD, WORST], _policy(), _grown(20))
    assert [row.phase for row in rows] == ["healthy"] * 2 + ["quarantined"] * 2 + ["blocked"]
    assert [row.target_volume for row in rows] == [14, 14, 0, 0, 0]


def test_a_decrease_comes_on_rest_days_too_and_ends_at_one() -> None:
    friday = replace(_grown(20), day=MONDAY + 4 * DAY)
    row = next_day(friday, Policy(), MONDAY + 5 * DAY, WATCH)
    assert (row.day_number, row.target_volume, _codes(row)) == (30, 14, ["lowered"])
    assert _run([WATCH], _policy(watch_factor_percent=10), _grown(3))[0].target_volume == 1


def test_quarantine_probation_and_the_way_back() -> None:
    policy = _policy()
    rows = _run([BAD] + [NO_DATA] * 6, policy, _grown(20))
    assert {(row.state, row.target_volume, row.day_number) for row in rows} == {
        ("quarantined", 0, 30)
    }
    assert "until 2026-03-10: 20 of 100 in junk" in rows[0].reasons[0].text
    assert rows[-1].reasons[0].text == "quarantined until 2026-03-10"
    # Not days end a probation: without enough placements it goes on.
    rows += _run([NO_DATA, *[_seen(0, 2)] * 40], policy, rows[-1])
    assert {(row.state, row.target_volume) for row in rows[7:]} == {("probation", 5)}
    assert rows[7].day_number == 31
    assert rows[-1].cause.startswith("20 of 100 in junk")
    over = next_day(rows[-1], policy, rows[-1].day + DAY, _seen(1, 50))
    assert (over.state, over.target_volume) == ("healthy", 6)
    assert _codes(over) == ["probation_over", "raised"]
    # Nor do placements that are not clean.
    watched = next_day(rows[-1], policy, rows[-1].day + DAY, WATCH)
    assert (watched.state, watched.target_volume, _codes(watched)) == ("probation", 3, ["lowered"])
    again = next_day(rows[-1], policy, rows[-1].day + DAY, BAD)
    assert (again.state, again.target_volume) == ("quarantined", 0)


def test_a_probation_does_not_end_on_mail_of_before() -> None:
    """A quarantine shorter than a week leaves the old placements in sight for a while."""
    policy = _policy(quarantine_days=2)
    rows = _run([BAD, NO_DATA, BAD, BAD, CLEAN, CLEAN, CLEAN, CLEAN], policy, _grown(20))
    assert [row.phase for row in rows] == ["quarantined"] * 2 + ["probation"] * 5 + ["healthy"]
    assert [row.target_volume for row in rows] == [0, 0, 5, 5, 5, 5, 5, 6]


def test_a_block_ends_with_its_days_and_a_review() -> None:
    policy = _policy(block_days=3)
    reviewed = replace(NO_DATA, review_passed=True)
    rows = _run([WORST, reviewed, reviewed, NO_DATA, NO_DATA, reviewed], policy, _grown(20))
    assert [row.state for row in rows] == ["blocked"] * 5 + ["probation"]
    assert [_codes(row) for row in rows[3:]] == [["review_due"]] * 2 + [["probation"]]
    assert [row.target_volume for row in rows] == [0] * 5 + [5]


def test_a_pause_does_not_hide_a_quarantine_nor_stretch_it() -> None:
    paused = DaySignals(paused=True)
    rows = _run([BAD] + [paused] * 9 + [NO_DATA], _policy(), _grown(20))
    assert [row.state for row in rows] == ["quarantined"] + ["draining"] * 9 + ["probation"]
    assert [row.phase for row in rows] == ["quarantined"] * 7 + ["probation"] * 4
    assert [row.day_number for row in rows] == [30] * 10 + [31]


def test_lower_limits_of_a_changed_policy_bind_at_once() -> None:
    """The day is sized again: its row stands under the new cap; a new threshold holds tomorrow."""
    row = _run([CLEAN], _policy(), _grown(20))[0]
    assert limited(row, _policy(cap=8)).target_volume == 8
    stricter = _policy(watch_junk_percent=4)
    assert next_day(row, stricter, row.day + DAY, CLEAN).target_volume == 14
    resting = _run([BAD, NO_DATA, NO_DATA], _policy(), _grown(20))[-1]
    shorter = next_day(resting, _policy(quarantine_days=3), resting.day + DAY, NO_DATA)
    assert shorter.phase == "probation"
    lowest = next_day(resting, _policy(quarantine_days=3, cap=2), resting.day + DAY, NO_DATA)
    assert lowest.target_volume == 2


# -- invariants -----------------------------------------------------------------------------------

POLICIES = st.builds(
    _policy,
    start_volume=st.integers(1, 10),
    step=st.integers(0, 5),
    cap=st.integers(1, 50),
    weekdays=st.sampled_from([EVERY_DAY, ("mon", "tue", "wed", "thu", "fri"), ("sun",)]),
    signal_floor=st.integers(10, 40),
    watch_factor_percent=st.integers(10, 95),
    quarantine_days=st.integers(1, 20),
    block_days=st.integers(1, 40),
)


@st.composite
def _placements(draw: st.DrawFn) -> Placements:
    """Any week; more often than not one with little in junk."""
    total = draw(st.sampled_from([0, 7, 19, 20, 60, 140]))
    junk = draw(st.integers(0, max(0, total // draw(st.sampled_from([1, 4, 10, 50])))))
    missing = draw(st.integers(0, (total - junk) // 10))
    bounced = draw(st.sampled_from([0, 0, 0, 1, 4, 9]))
    return Placements(total - junk - missing, junk, 0, missing, bounced, total + bounced)


SIGNALS = st.builds(
    DaySignals,
    consented=st.sampled_from([True] * 9 + [False]),
    paused=st.sampled_from([False] * 9 + [True]),
    needs_reauth=st.sampled_from([False] * 9 + [True]),
    auth_failures=st.sampled_from([0] * 9 + [3, 10]),
    placements=st.none() | _placements(),
    review_passed=st.booleans(),
)
HISTORIES = st.lists(st.tuples(st.integers(1, 3), SIGNALS, POLICIES), min_size=1, max_size=40)


@given(history=HISTORIES)
@settings(deadline=None)
def test_any_history_is_bounded_and_explained(
    history: list[tuple[int, DaySignals, Policy]],
) -> None:
    previous, day = None, MONDAY
    for gap, signals, policy in history:
        day += gap * DAY
        row = next_day(previous, policy, day, signals)
        resting = row.phase in ("quarantined", "blocked")
        begun = previous is not None and (previous.day_number or previous.phase != "healthy")
        before = previous.target_volume if previous and begun else policy.start_volume
        number = previous.day_number if previous else 0
        assert 0 <= row.target_volume <= policy.cap
        assert (row.target_volume == 0) == resting
        assert row.state in (row.phase, "off", "excluded", "needs_reauth", "draining")
        assert row.day_number - number == (
            row.state == row.phase and not resting and policy.sends_on(day)
        )
        begins_again = row.phase == "probation" and row.since == day
        rise = policy.step if row.day_number > max(number, 1) else 0
        assert row.target_volume <= (policy.start_volume if begins_again else before + rise)
        assert row.reasons[-1].value == row.target_volume
        assert all(reason.text for reason in row.reasons)
        assert ControllerRow.from_json(json.loads(json.dumps(row.to_json()))) == row
        previous = row


@given(history=HISTORIES, last=SIGNALS, policy=POLICIES, more=st.integers(1, 140))
@settings(deadline=None)
def test_more_junk_never_gives_more(
    history: list[tuple[int, DaySignals, Policy]], last: DaySignals, policy: Policy, more: int
) -> None:
    previous, day = None, MONDAY
    for gap, signals, before in history:
        day += gap * DAY
        previous = next_day(previous, before, day, signals)
    seen = last.placements or Placements(inbox=60, sent=60)
    moved = min(more, seen.inbox)
    worse = replace(seen, inbox=seen.inbox - moved, junk=seen.junk + moved)
    bounced = replace(seen, bounced=min(seen.sent, seen.bounced + more))
    targets = [
        next_day(previous, policy, day + DAY, replace(last, placements=placements)).target_volume
        for placements in (seen, worse, bounced)
    ]
    assert targets[0] >= max(targets[1:])


@given(history=HISTORIES, policy=POLICIES)
@settings(deadline=None)
def test_quarantine_always_ends(
    history: list[tuple[int, DaySignals, Policy]], policy: Policy
) -> None:
    """With nothing sent there is no new evidence: it ends on its day, whatever came before."""
    previous, day = None, MONDAY
    for gap, signals, before in history:
        day += gap * DAY
        previous = next_day(previous, before, day, signals)
    assert previous is not None
    previous = next_day(replace(previous, phase="healthy", acted_on=None), policy, day + DAY, BAD)
    for offset in range(policy.quarantine_days):
        assert previous.phase == "quarantined"
        previous = next_day(previous, policy, day + (2 + offset) * DAY, NO_DATA)
    assert previous.phase == "probation"


@given(seed=st.integers(), policy=POLICIES)
@settings(max_examples=10, deadline=None)
def test_a_year_is_replayed_from_what_was_stored(seed: int, policy: Policy) -> None:
    chance, stored, previous = random.Random(seed), [], None
    for offset in range(365):
        total = chance.choice((0, 8, 25, 60, 120))
        junk = min(total, int(chance.expovariate(12 / (total or 1))))
        bounced = int(chance.random() < 0.05)
        signals = DaySignals(
            paused=chance.random() < 0.02,
            placements=Placements(total - junk, junk, 0, 0, bounced, total + bounced),
            review_passed=chance.random() < 0.1,
        )
        previous = next_day(previous, policy, MONDAY + offset * DAY, signals)
        stored.append(json.dumps([previous.to_json(), signals.to_json()]))
    read = Policy.from_json(json.loads(json.dumps(policy.to_json())))
    row: ControllerRow | None = None
    for text in stored:
        decided, known = json.loads(text)
        day = date.fromisoformat(decided["day"])
        row = next_day(row, read, day, DaySignals.from_json(known))
        assert json.dumps([row.to_json(), known]) == text
