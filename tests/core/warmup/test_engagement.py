"""What is done with a message, in which order and when."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from itertools import pairwise
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from mailhearth_core.warmup.engagement import Engagement, plan_engagement
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.polling import WAKE_SLOT, wake_slot

SEEN = datetime(2026, 3, 2, 9, 17, 23, 456789, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def _plan(seed: int, policy: Policy | None = None, **changes: Any) -> Engagement:
    given: dict[str, Any] = {
        "placement": "inbox",
        "observed_at": SEEN,
        "auto_submitted": False,
        "turns_left": 2,
    }
    return plan_engagement(seed=seed, policy=policy or Policy(), **(given | changes))


@given(
    seed=st.integers(0, 2**63),
    retention=st.sampled_from([2, 3, 6, 12, 120, 336]) | st.integers(2, 2160),
    dwell=st.tuples(st.integers(0, 720), st.integers(1, 720)).filter(lambda d: d[0] < d[1]),
    delay=st.tuples(st.integers(5, 1440), st.integers(10, 20160)).filter(lambda d: d[0] < d[1]),
    placement=st.sampled_from(["inbox", "tab", "junk", "other"]),
    seen=st.datetimes(datetime(2025, 1, 1), datetime(2027, 1, 1)),
)
@settings(max_examples=500, deadline=None)
def test_deeds_keep_their_order_however_short_the_retention(
    seed: int,
    retention: int,
    dwell: tuple[int, int],
    delay: tuple[int, int],
    placement: str,
    seen: datetime,
) -> None:
    seen = seen.replace(tzinfo=UTC)
    policy = Policy(
        retention_hours=retention,
        read_dwell_min_minutes=dwell[0],
        read_dwell_max_minutes=dwell[1],
        reply_delay_min_minutes=min(delay[0], 60 * retention - 60),
        reply_delay_max_minutes=delay[1],
        reply_rate_percent=50,
        flag_percent=50,
    )
    plan = _plan(seed, policy, placement=placement, observed_at=seen)
    assert plan == _plan(seed, policy, placement=placement, observed_at=seen)
    assert (plan.rescue_at is not None) == (placement == "junk")
    ends = seen + retention * HOUR
    assert plan.read_at
    assert plan.file_at
    assert plan.expunge_at == wake_slot(ends)
    deeds = [at for at in (plan.rescue_at, plan.read_at, plan.file_at, plan.expunge_at) if at]
    assert seen <= deeds[0]
    assert all(a < b for a, b in pairwise(deeds))
    if plan.flag_at:
        assert plan.read_at <= plan.flag_at < plan.file_at
        deeds.append(plan.flag_at)
    assert all(at == wake_slot(at) for at in deeds)
    if plan.reply_at:
        low, high = policy.reply_delay_min_minutes, policy.reply_delay_max_minutes
        assert low * MINUTE <= plan.reply_at - seen <= high * MINUTE
        assert plan.reply_at <= ends - HOUR


def test_usual_times_are_those_of_a_person() -> None:
    plans = [_plan(seed, placement="junk") for seed in range(500)]
    for plan in plans:
        assert plan.rescue_at
        assert plan.read_at
        assert plan.file_at
        assert 2 * MINUTE <= plan.rescue_at - SEEN < 25 * MINUTE + WAKE_SLOT
        assert 3 * MINUTE <= plan.read_at - plan.rescue_at < 90 * MINUTE + WAKE_SLOT
        assert HOUR <= plan.file_at - plan.read_at < 12 * HOUR + WAKE_SLOT
        assert plan.reply_at is None or plan.reply_at > plan.read_at
    assert 0.22 < sum(plan.reply_at is not None for plan in plans) / 500 < 0.38
    assert 0.09 < sum(plan.flag_at is not None for plan in plans) / 500 < 0.21
    delays = sorted(plan.reply_at - SEEN for plan in plans if plan.reply_at)
    assert delays[len(delays) // 2] < timedelta(days=2), "most answers come soon"
    assert delays[-1] > timedelta(days=4), "some come late"


def test_answers_come_only_from_people_with_something_left_to_say() -> None:
    policy = Policy(reply_rate_percent=50)
    answered = [seed for seed in range(100) if _plan(seed, policy).reply_at]
    assert answered
    for seed in answered:
        whole = _plan(seed, policy)
        for changes in ({"auto_submitted": True}, {"turns_left": 0}):
            silent = _plan(seed, policy, **changes)
            assert silent.reply_at is None
            assert silent.read_at == whole.read_at
    never = Policy(reply_rate_percent=0, flag_percent=0)
    assert not any(_plan(seed, never).reply_at or _plan(seed, never).flag_at for seed in range(100))


def test_the_shortest_retention_leaves_time_for_an_answer() -> None:
    policy = Policy(retention_hours=2, reply_delay_min_minutes=60, reply_rate_percent=50)
    assert any(_plan(seed, policy).reply_at for seed in range(50))
