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


CLEAN, WATCH, BAD, WORST = (_seen(junk) for junk in (5, 20, 30, 55))
"""Under `_policy`: proven, and surely at each of the limits of junk."""
NO_DATA = DaySignals()


def _policy(**values: Any) -> Policy:
    plain = {"start_volume": 5, "step": 1, "cap": 20, "weekdays": EVERY_DAY}
    limits = {"lower_junk_percent": 12, "quarantine_junk_percent": 20, "block_junk_percent": 40}
    return Policy.parse(plain | limits | values)


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
    ("junk", "total", "grade", "rises", "clean", "proven"),
    [
        (0, 20, Grade.CLEAN, True, True, True),  # at most 16 %
        (1, 20, Grade.CLEAN, True, True, False),  # at most 24 %
        (2, 20, Grade.CLEAN, True, False, False),  # 10 %, and it may be chance
        (4, 20, Grade.CLEAN, True, False, False),  # at least 8 %
        (5, 20, Grade.CLEAN, False, False, False),  # at least 11 %
        (6, 20, Grade.LOWERED, False, False, False),  # at least 15 %
        (9, 100, Grade.CLEAN, True, True, True),
        (15, 100, Grade.CLEAN, True, False, False),
        (16, 100, Grade.CLEAN, False, False, False),
        (19, 100, Grade.LOWERED, False, False, False),
        (27, 100, Grade.LOWERED, False, False, False),
        (28, 100, Grade.QUARANTINE, False, False, False),
        (49, 100, Grade.QUARANTINE, False, False, False),
        (50, 100, Grade.BLOCK, False, False, False),
        (19, 19, Grade.CLEAN, False, False, False),  # below the floor nothing is a finding
    ],
)
def test_evidence_decides_from_the_floor_on(
    junk: int, total: int, grade: Grade, rises: bool, clean: bool, proven: bool
) -> None:
    found = judge(_seen(junk, total).placements, _policy())
    assert (found.grade, found.rises, found.clean, found.proven) == (grade, rises, clean, proven)
    assert found.enough == (total >= 20)


@pytest.mark.parametrize(
    ("bounced", "sent", "grade"),
    [
        (2, 20, Grade.CLEAN),  # at least 3 %
        (3, 20, Grade.QUARANTINE),  # at least 5.2 %
        (10, 100, Grade.QUARANTINE),
        (9, 100, Grade.CLEAN),
        (17, 100, Grade.BLOCK),
        (19, 19, Grade.CLEAN),
        (20, 20, Grade.BLOCK),
    ],
)
def test_what_comes_back_has_limits_and_a_floor_of_its_own(
    bounced: int, sent: int, grade: Grade
) -> None:
    assert judge(Placements(bounced=bounced, sent=sent), Policy()).grade == grade


def test_nothing_is_lowered_below_the_limit_that_holds() -> None:
    """A policy of before there were two limits may watch higher than what now lowers."""
    policy = _policy(watch_junk_percent=19)
    assert judge(_seen(25).placements, policy).grade == Grade.CLEAN
    assert judge(_seen(27).placements, policy).grade == Grade.LOWERED


def test_both_the_rate_and_its_interval_are_stated() -> None:
    text = judge(Placements(inbox=45, junk=5, bounced=2, sent=52), Policy()).text
    assert text == (
        "5 of 50 in junk: 10.0 % (4.3 to 21.4 %); 2 of 52 came back: 3.8 % (1.1 to 13.0 %)"
    )
    few = judge(Placements(inbox=3, sent=3), Policy())
    assert few.text == "0 of 3 in junk: 0.0 % (0.0 to 56.2 %); 20 placements are needed"
    assert judge(None, Policy()).text == "0 of 0 in junk; 20 placements are needed"


def test_much_mail_that_is_never_found_lowers_nothing_and_raises_nothing() -> None:
    found = judge(Placements(inbox=90, missing=10, sent=100), Policy())
    assert (found.grade, found.rises, found.clean) == (Grade.CLEAN, True, False)
    assert "10 of 100 not found" in found.text
    much = judge(Placements(inbox=80, missing=20, sent=100), Policy())
    assert (much.grade, much.rises) == (Grade.CLEAN, False)


# -- up -------------------------------------------------------------------------------------------


UNPROVEN = _seen(10)
"""A tenth in junk: nothing that holds it, nothing that proves it."""


@given(start=st.integers(1, 10), step=st.integers(1, 5), cap=st.integers(1, 50))
@settings(deadline=None)
def test_a_mailbox_reaches_its_cap_in_as_many_days_as_steps(
    start: int, step: int, cap: int
) -> None:
    policy = _policy(start_volume=start, step=step, cap=cap)
    steps = max(0, -(-(cap - start) // step))
    targets = [row.target_volume for row in _run([UNPROVEN] * 60, policy)]
    assert targets[: steps + 1] == [min(start + n * step, cap) for n in range(steps + 1)]
    assert set(targets[steps:]) == {cap}


def test_a_proven_mailbox_rises_by_a_fifth_and_by_two_steps_at_most() -> None:
    targets = [row.target_volume for row in _run([CLEAN] * 12, _policy(step=2, cap=40))]
    assert targets == [5, 7, 9, 11, 13, 15, 18, 21, 25, 29, 33, 37]
    junked = replace(CLEAN, placements=Placements(inbox=80, junk=12, sent=92))
    row = _grown(20, 30)
    assert next_day(row, _policy(step=2, cap=40), MONDAY + DAY, junked).target_volume == 22


def test_a_young_mailbox_with_few_placements_rises_to_what_needs_no_proof() -> None:
    policy = _policy(step=4, cap=40, unproven_cap=15)
    rows = _run([_seen(0, 5)] * EARLY_DAYS, policy)
    assert [row.target_volume for row in rows] == [5, 9, 13] + [15] * 11
    assert _codes(rows[-1]) == ["held"]
    assert next_day(rows[-1], policy, rows[-1].day + DAY, UNPROVEN).target_volume == 19
    above = next_day(_grown(18, 3), policy, MONDAY + DAY, NO_DATA)
    assert above.target_volume == 18, "it is not lowered for lack of data"


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
    # 0 of 24 proves it, and two steps of 1 are more than a fifth of 3.
    assert [row.target_volume for row in rows] == [3] * 14 + [4] * 14 + [5]
    assert _codes(rows[14]) == ["raised"]
    assert "0 of 24 in junk" in rows[14].reasons[0].text
    bad = _run([_seen(4, 12)] * 29, policy, _grown(3))
    assert {row.target_volume for row in bad} == {3}


# -- down -----------------------------------------------------------------------------------------


def test_what_surely_is_watched_is_held() -> None:
    rows = _run([_seen(17)] * 9, _policy(), _grown(20))
    assert {row.target_volume for row in rows} == {20}
    assert {_codes(row)[0] for row in rows} == {"unclean"}


def test_a_decrease_waits_for_new_evidence_and_the_way_back_is_quick() -> None:
    rows = _run([WATCH] * 15, _policy(), _grown(20))
    assert [row.target_volume for row in rows] == [14] * 7 + [9] * 7 + [6]
    assert [_codes(row)[0] for row in rows] == (["lowered"] + ["waiting"] * 6) * 2 + ["lowered"]
    assert rows[0].reasons[0].text == (
        "lowered to 70 %: 20 of 100 in junk: 20.0 % (13.3 to 28.9 %)"
    )
    assert rows[-1].peak == 20
    # By two steps to where it was, proven or not; then as before.
    back = _run([UNPROVEN] * 6, _policy(step=4, cap=40), rows[-1])
    assert [row.target_volume for row in back] == [14, 20, 24, 28, 32, 36]
    assert [row.peak for row in back] == [20, 0, 0, 0, 0, 0]
    nearly = _run([UNPROVEN] * 2, _policy(step=3, cap=40), replace(rows[-1], target_volume=19))
    assert [(row.target_volume, row.peak) for row in nearly] == [(22, 0), (25, 0)]


def test_graver_evidence_does_not_wait() -> None:
    rows = _run([WATCH, WATCH, BAD, BAD, WORST], _policy(), _grown(20))
    assert [row.phase for row in rows] == ["healthy"] * 2 + ["quarantined"] * 2 + ["blocked"]
    assert [row.target_volume for row in rows] == [14, 14, 0, 0, 0]


def test_a_decrease_comes_on_rest_days_too_and_ends_at_one() -> None:
    friday = replace(_grown(20), day=MONDAY + 4 * DAY)
    row = next_day(friday, _policy(weekdays=EVERY_DAY[:5]), MONDAY + 5 * DAY, WATCH)
    assert (row.day_number, row.target_volume, _codes(row)) == (30, 14, ["lowered"])
    assert _run([WATCH], _policy(watch_factor_percent=10), _grown(3))[0].target_volume == 1


def test_quarantine_probation_and_the_way_back() -> None:
    policy = _policy()
    rows = _run([BAD] + [NO_DATA] * 6, policy, _grown(20))
    assert {(row.state, row.target_volume, row.day_number) for row in rows} == {
        ("quarantined", 0, 30)
    }
    assert "until 2026-03-10: 30 of 100 in junk" in rows[0].reasons[0].text
    assert rows[-1].reasons[0].text == "quarantined until 2026-03-10"
    # Not days end a probation: without enough placements it goes on.
    rows += _run([NO_DATA, *[_seen(0, 2)] * 40], policy, rows[-1])
    assert {(row.state, row.target_volume) for row in rows[7:]} == {("probation", 5)}
    assert rows[7].day_number == 31
    assert rows[-1].cause.startswith("30 of 100 in junk")
    over = next_day(rows[-1], policy, rows[-1].day + DAY, _seen(1, 50))
    assert (over.state, over.target_volume) == ("healthy", 6)
    assert _codes(over) == ["probation_over", "raised"]
    # Nor do placements that are not clean, be it by chance.
    still = next_day(rows[-1], policy, rows[-1].day + DAY, UNPROVEN)
    assert (still.state, still.target_volume, _codes(still)) == ("probation", 5, ["probation"])
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
    stricter = _policy(watch_junk_percent=1, lower_junk_percent=2)
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
    unproven_cap=st.integers(1, 50),
    signal_floor=st.integers(10, 40),
    lower_junk_percent=st.integers(8, 22),
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
        rise = 2 * policy.step if row.day_number > max(number, 1) else 0
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


@given(seed=st.integers(), policy=POLICIES, first=st.integers(0, 365))
@settings(max_examples=10, deadline=None)
def test_a_year_is_replayed_from_what_was_stored(seed: int, policy: Policy, first: int) -> None:
    """Also where the rule changed within it: each row names the one that decided it."""
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
        rule = 1 if offset < first else 2
        previous = next_day(previous, policy, MONDAY + offset * DAY, signals, rule)
        stored.append(json.dumps([previous.to_json(), signals.to_json()]))
    read = Policy.from_json(json.loads(json.dumps(policy.to_json())))
    row: ControllerRow | None = None
    for text in stored:
        decided, known = json.loads(text)
        day = date.fromisoformat(decided["day"])
        rule = ControllerRow.from_json(decided).rule
        row = next_day(row, read, day, DaySignals.from_json(known), rule)
        assert json.dumps([row.to_json(), known]) == text


def test_what_the_first_rule_decided_is_decided_again() -> None:
    """Rows and signals of a version that judged by the rate itself, as it stored them."""
    policy = Policy.parse({"start_volume": 5, "step": 1, "cap": 20, "weekdays": EVERY_DAY})
    policy = policy.model_copy(update={"quarantine_junk_percent": 20, "block_junk_percent": 40})
    days = [_seen(10), _seen(9), *[_seen(5)] * 2, _seen(20), _seen(40)]
    row, targets = _grown(20, rule=1), []
    for n, signals in enumerate(days):
        row = next_day(row, policy, MONDAY + (1 + n) * DAY, signals, 1)
        targets.append((row.target_volume, row.phase))
        assert not {"rule", "peak"} & set(row.to_json())
    assert targets == [
        (14, "healthy"), (15, "healthy"), (16, "healthy"), (17, "healthy"),
        (0, "quarantined"), (0, "blocked"),
    ]  # fmt: skip
    assert row.reasons[0].text.startswith("blocked until 2026-04-07 and a review: 40 of 100")
