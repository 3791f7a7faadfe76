"""The volume of a day and the reason for every number on the way to it."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import BLOCKED, ControllerRow, State
from mailhearth_core.warmup.sizing import SizeInputs, feasible, mailboxes_needed, size_day
from mailhearth_core.warmup.window import day_start, sending_window

MONDAY = date(2026, 3, 2)


def _inputs(
    target: int = 5, *, day: date = MONDAY, state: State = "healthy", **changes: Any
) -> SizeInputs:
    inputs = SizeInputs(
        timezone="Europe/Berlin",
        day=day,
        starts_at=day_start(day, "Europe/Berlin"),
        policy=Policy(),
        controller=ControllerRow(day, 1, target, state, ()),
        eligible_peers=100,
        replies_due=0,
        has_campaign=False,
        seed=42,
    )
    return replace(inputs, **changes)


def _codes(inputs: SizeInputs) -> list[tuple[str, int | None]]:
    return [(reason.code, reason.value) for reason in size_day(inputs).reasons]


def test_a_free_day_has_the_ramps_target() -> None:
    sized = size_day(_inputs(12))
    assert (sized.volume, len(sized.moments), sized.peers_lacking) == (12, 12, 0)
    assert _codes(_inputs(12)) == [("target", 12)]
    opens, closes = sending_window(MONDAY, "09:00", "17:00", "Europe/Berlin")
    assert opens <= sized.moments[0] < sized.moments[-1] < closes


@pytest.mark.parametrize("state", BLOCKED)
def test_a_blocked_mailbox_sends_nothing_and_says_why(state: State) -> None:
    sized = size_day(_inputs(state=state))
    assert (sized.volume, sized.moments) == (0, ())
    assert [(r.text, r.value) for r in sized.reasons] == [(BLOCKED[state], 0)]


def test_a_rest_day_sends_nothing() -> None:
    assert _codes(_inputs(day=date(2026, 3, 7))) == [("rest_day", 0)]


def test_a_campaign_lowers_the_volume() -> None:
    assert _codes(_inputs(12, has_campaign=True)) == [("target", 12), ("campaign", 5)]
    assert _codes(_inputs(4, has_campaign=True)) == [("target", 4)]


@pytest.mark.parametrize(
    ("hour", "volume"),
    [(8, 8), (13, 4), (12, 5), (15, 2), (16, 1), (16.5, 1), (16.9, 0), (17, 0), (23, 0)],
)
def test_a_day_that_begins_late_is_prorated(hour: float, volume: int) -> None:
    starts = day_start(MONDAY, "Europe/Berlin") + timedelta(hours=hour)
    sized = size_day(_inputs(8, starts_at=starts))
    assert sized.volume == volume
    assert all(at >= starts for at in sized.moments)
    assert sized.reasons[-1].value == volume
    assert sized.reasons[-1].code == ("target" if hour == 8 else "prorated")


def test_one_message_is_sent_while_an_eighth_of_the_window_is_left() -> None:
    starts = day_start(MONDAY, "Europe/Berlin") + timedelta(hours=16)
    assert size_day(_inputs(1, starts_at=starts)).volume == 1


def test_a_small_pool_binds_new_threads_but_not_replies() -> None:
    """20 eligible peers and 72 hours between two threads: six new threads a day."""
    small = _inputs(10, eligible_peers=20)
    sized = size_day(small)
    assert sized.volume == 6
    assert sized.peers_lacking == 10
    assert sized.reasons[-1].text == "pool too small: 10 more mailboxes needed"
    assert size_day(replace(small, replies_due=3)).volume == 9
    assert size_day(replace(small, replies_due=3)).peers_lacking == 1
    assert size_day(replace(small, replies_due=4)).reasons[-1].code == "target"
    assert size_day(replace(small, replies_due=40)).volume == 10
    assert size_day(replace(small, eligible_peers=30)).peers_lacking == 0
    assert "1 more mailbox needed" in size_day(replace(small, eligible_peers=29)).reasons[-1].text
    assert size_day(replace(small, eligible_peers=0)).volume == 0


def test_what_does_not_fit_into_the_window_is_left_out() -> None:
    policy = Policy(window_start="09:00", window_end="10:00", min_gap_seconds=1200)
    sized = size_day(_inputs(10, policy=policy))
    assert (sized.volume, sized.reasons[-1].code) == (3, "window_full")
    assert "1200 s" in sized.reasons[-1].text


@given(peers=st.integers(0, 2000), volume=st.integers(0, 50), gap=st.integers(24, 720))
def test_the_mailboxes_needed_are_the_fewest_that_make_a_volume_feasible(
    peers: int, volume: int, gap: int
) -> None:
    policy = Policy(pair_gap_hours=gap)
    assert (feasible(peers, policy) >= volume) == (peers >= mailboxes_needed(volume, policy))


@given(
    target=st.integers(0, 50),
    peers=st.integers(0, 60),
    replies=st.integers(0, 20),
    campaign=st.booleans(),
    late=st.floats(0, 26),
    seed=st.integers(0, 2**63 - 1),
    day=st.dates(date(2026, 1, 1), date(2027, 12, 31)),
)
@settings(max_examples=150, deadline=None)
def test_every_size_is_explained_bounded_and_replayed_from_json(
    target: int, peers: int, replies: int, campaign: bool, late: float, seed: int, day: date
) -> None:
    starts = day_start(day, "Europe/Berlin") + timedelta(hours=late)
    inputs = _inputs(
        target, day=day, eligible_peers=peers, replies_due=replies, has_campaign=campaign,
        starts_at=starts, seed=seed,
    )  # fmt: skip
    sized = size_day(inputs)
    stored = json.loads(json.dumps(inputs.to_json()))
    assert SizeInputs.from_json(stored) == inputs
    assert size_day(SizeInputs.from_json(stored)) == sized
    assert (
        len(sized.moments) == sized.volume <= min(target, replies + feasible(peers, inputs.policy))
    )
    assert sized.reasons[-1].value == sized.volume
    values = [reason.value for reason in sized.reasons if reason.value is not None]
    assert len(values) == len(sized.reasons)
    assert values == sorted(set(values), reverse=True), "each reason lowers the number"
    assert list(sized.moments) == sorted(sized.moments)
    assert all(at >= starts and at.tzinfo is UTC for at in sized.moments)


def test_days_differ_and_mailboxes_differ() -> None:
    one, other = size_day(_inputs(8)), size_day(_inputs(8, seed=43))
    assert one.moments != other.moments
    tuesday = size_day(_inputs(8, day=MONDAY + timedelta(days=1)))
    assert [at + timedelta(days=1) for at in one.moments] != list(tuesday.moments)
    assert datetime(2026, 3, 3, tzinfo=UTC) < tuesday.moments[0]
