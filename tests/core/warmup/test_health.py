"""Inbox rates with their uncertainty, and the score made of them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.health import Troubles, health, inbox_rate, wilson

EVERYTHING = Troubles(needs_reauth=True, domain_blocked=True, bounce_rate_high=True)


@pytest.mark.parametrize(
    ("successes", "total", "low", "high"),
    [
        (10, 20, 0.299, 0.701),
        (0, 10, 0.000, 0.278),
        (20, 20, 0.839, 1.000),
        (1, 10, 0.018, 0.404),
        (81, 263, 0.255, 0.366),  # R. G. Newcombe, Statistics in Medicine 17 (1998) 857, table I
        (15, 148, 0.062, 0.160),
        (0, 20, 0.000, 0.161),
        (1, 29, 0.006, 0.172),
        (0, 0, 0.0, 1.0),
    ],
)
def test_intervals_are_those_published(successes: int, total: int, low: float, high: float) -> None:
    found = wilson(successes, total)
    assert found == pytest.approx((low, high), abs=0.0006)


@given(st.integers(0, 400).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))))
def test_an_interval_holds_its_share_mirrors_and_narrows(counts: tuple[int, int]) -> None:
    some, total = counts
    low, high = wilson(some, total)
    assert 0 <= low <= high <= 1
    assert wilson(total - some, total) == pytest.approx((1 - high, 1 - low))
    if total:
        assert low <= some / total <= high
        narrow = wilson(4 * some, 4 * total)
        assert narrow[1] - narrow[0] < high - low
        rate = inbox_rate(some, total)
        assert rate
        assert (rate.low, rate.point, rate.high, rate.n) == (low, some / total, high, total)
    else:
        assert inbox_rate(some, total) is None


@pytest.mark.parametrize(("successes", "total"), [(-1, 5), (6, 5), (0, -1)])
def test_counts_that_cannot_be_are_refused(successes: int, total: int) -> None:
    with pytest.raises(InvalidValue) as caught:
        wilson(successes, total)
    assert (caught.value.field, caught.value.value) == ("successes", successes)


def test_below_the_floor_there_is_no_score_but_the_rate_and_the_troubles() -> None:
    found = health(19, 19, Troubles(domain_blocked=True))
    assert found.score is None
    assert found.rate == inbox_rate(19, 19)
    assert [penalty.code for penalty in found.penalties] == ["domain_blocked"]
    assert found.text == "not enough data: 19 of 20 placements in 7 days"
    assert health(0, 0, Troubles()).text == "not enough data: 0 of 20 placements in 7 days"
    assert health(0, 0, Troubles(), floor=0).score is None
    assert health(19, 19, Troubles(), floor=19).score == 83
    assert health(20, 20, Troubles(), floor=21).score is None


def test_the_score_is_the_lower_bound_less_what_is_wrong() -> None:
    assert health(20, 20, Troubles()).score == 84
    assert health(20, 20, Troubles()).text == "20 of 20 in the inbox; surely at least 84 %"
    assert health(20, 20, Troubles(needs_reauth=True)).score == 64
    assert health(20, 20, Troubles(domain_blocked=True)).score == 64
    assert health(20, 20, Troubles(bounce_rate_high=True)).score == 69
    worst = health(20, 20, EVERYTHING)
    assert worst.score == 84 - sum(penalty.points for penalty in worst.penalties) == 29
    assert all(penalty.text for penalty in worst.penalties)
    assert health(2, 20, EVERYTHING).score == 0, "never below nothing"
