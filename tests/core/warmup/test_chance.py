"""Chance that is replayed, and identifiers that are not."""

from __future__ import annotations

import os
import time
from datetime import date
from itertools import pairwise
from uuid import RFC_4122, UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhearth_core.ids import uuid7
from mailhearth_core.warmup.chance import between, stream


def _numbers(*parts: object) -> list[float]:
    rng = stream(*parts)
    return [rng.random() for _ in range(4)]


def test_a_stream_is_the_same_on_every_machine_and_version() -> None:
    """Days that are stored replay only while these numbers stay what they are."""
    assert _numbers(42, "mailbox", date(2026, 3, 2)) == [
        0.6822562164707883,
        0.5620947429178841,
        0.7648719220777758,
        0.7029257162179252,
    ]
    rng = stream(42, "mailbox", 7)
    assert [between(rng, 9, 17, skew=skew) for skew in (1, 2, 3)] == [
        14.080808057083384,
        11.717377015176663,
        9.780989017231363,
    ]
    assert stream().random() == 0.6048192170315362


@given(
    one=st.lists(st.text(max_size=3), max_size=4), other=st.lists(st.text(max_size=3), max_size=4)
)
def test_streams_differ_when_their_parts_do(one: list[str], other: list[str]) -> None:
    assert (_numbers(*one) == _numbers(*other)) == (one == other)


def test_parts_are_told_apart_by_where_one_ends_and_by_their_order() -> None:
    heads = [("ab", "c"), ("a", "bc"), ("abc",), ("c", "ab"), ("abc", ""), ("", "abc"), ("é",)]
    assert len({tuple(_numbers(*parts)) for parts in heads}) == len(heads)
    assert _numbers(7, None) == _numbers("7", "None"), "a part is what it is written as"


def test_drawing_from_one_stream_leaves_the_others() -> None:
    expected = _numbers(42, "b")
    first, second = stream(42, "a"), stream(42, "b")
    mixed = [(first.random(), second.random())[1] for _ in range(4)]
    assert mixed == expected


def test_streams_of_neighbouring_seeds_are_spread_evenly() -> None:
    firsts = [stream(seed, "send").random() for seed in range(2000)]
    tenths = [sum(int(number * 10) == tenth for number in firsts) for tenth in range(10)]
    assert all(150 < count < 250 for count in tenths)
    pairs = sum((a < 0.5) == (b < 0.5) for a, b in pairwise(firsts))
    assert 900 < pairs < 1100


@given(
    seed=st.integers(),
    low=st.floats(-1e6, 1e6),
    width=st.floats(0, 1e6),
    skew=st.integers(1, 5),
)
def test_a_number_lies_between_its_bounds(seed: int, low: float, width: float, skew: int) -> None:
    assert low <= between(stream(seed), low, low + width, skew=skew) <= low + width


def test_a_skew_makes_low_values_likelier() -> None:
    def middle(skew: int) -> float:
        return sorted(between(stream(n), 10, 20, skew=skew) for n in range(1001))[500]

    assert [middle(skew) for skew in (1, 2, 3)] == pytest.approx([15, 12.5, 11.25], abs=0.4)


def test_an_identifier_is_laid_out_as_the_rfc_has_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """The example of RFC 9562, appendix A.6: 2022-02-22 14:22:22 at UTC-5."""
    drawn = bytes.fromhex("fcc3 58c4dc0c0c07398f")
    monkeypatch.setattr(time, "time_ns", lambda: 1_645_557_742_000_999_999)
    monkeypatch.setattr(os, "urandom", lambda size: drawn[:size])
    assert uuid7() == UUID("017f22e2-79b0-7cc3-98c4-dc0c0c07398f")


def test_identifiers_are_distinct_and_ordered_by_time(monkeypatch: pytest.MonkeyPatch) -> None:
    made = []
    for millisecond in range(1_700_000_000_000, 1_700_000_001_000):
        monkeypatch.setattr(time, "time_ns", lambda at=millisecond: at * 1_000_000)
        made.append(uuid7())
    assert made == sorted(made)
    assert [str(one) for one in made] == sorted(str(one) for one in made)
    together = {uuid7() for _ in range(1000)}
    assert len(together) == 1000
    assert {(one.version, one.variant) for one in together} == {(7, RFC_4122)}
    assert {one.int >> 80 for one in together} == {1_700_000_000_999}
