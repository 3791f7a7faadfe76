"""When a mailbox is looked into."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhearth_core.clock import Clock, FixedClock, SystemClock
from mailhearth_core.warmup.polling import is_final_scan, next_poll, wake_slot

NINE = datetime(2026, 3, 2, 9, tzinfo=UTC)
MINUTE, HOUR = timedelta(minutes=1), timedelta(hours=1)


def _looks(sent: list[datetime], until: datetime) -> list[datetime]:
    """All looks at mail that is never found, by a worker that is always on time."""
    looks: list[datetime] = []
    last, now = None, min(sent)
    while (at := next_poll(sent, last, now)) is not None and at <= until:
        looks.append(at)
        last = now = at
    return looks


def test_one_message_is_looked_for_six_times_in_a_day() -> None:
    minutes = [(at - NINE) / MINUTE for at in _looks([NINE], NINE + 72 * HOUR)]
    assert minutes == [5, 20, 60, 240, 720, 1440]
    late = NINE + timedelta(minutes=1, microseconds=1)
    minutes = [(at - NINE) / MINUTE for at in _looks([late], NINE + 72 * HOUR)]
    assert minutes == [10, 25, 65, 245, 725, 1445], "each at the next shared slot"


def test_looks_at_several_messages_merge_and_are_ten_minutes_apart() -> None:
    sent = [NINE, NINE + 3 * MINUTE, NINE + 16 * MINUTE]
    minutes = [(at - NINE) / MINUTE for at in _looks(sent, NINE + 2 * HOUR)]
    # Wanted at 5, 8, 20, 21, 23, 36, 60, 63 and 76.
    assert minutes == [5, 15, 25, 40, 60, 70, 80]


def test_nothing_is_looked_for_when_nothing_is_outstanding() -> None:
    assert next_poll([], None, NINE) is None
    assert next_poll([], NINE - HOUR, NINE) is None
    assert next_poll([NINE], NINE + 24 * HOUR, NINE + 24 * HOUR) is None
    assert next_poll([NINE], NINE + 24 * HOUR - MINUTE, NINE + 24 * HOUR) == NINE + 24 * HOUR + (
        10 * MINUTE
    )


def test_after_an_outage_there_is_one_look_at_once_even_for_old_mail() -> None:
    now = NINE + 72 * HOUR + MINUTE
    assert next_poll([NINE], NINE + HOUR, now) == NINE + 72 * HOUR + 5 * MINUTE
    assert next_poll([NINE], None, now) == NINE + 72 * HOUR + 5 * MINUTE


_times = st.datetimes(datetime(2026, 1, 1), datetime(2026, 1, 4), timezones=st.just(UTC))


@given(sent=st.lists(_times, max_size=5), last=st.none() | _times, now=_times)
def test_the_next_look_is_never_early_and_always_on_a_slot(
    sent: list[datetime], last: datetime | None, now: datetime
) -> None:
    at = next_poll(sent, last, now)
    outstanding = [s for s in sent if last is None or last < s + 24 * HOUR]
    assert (at is None) == (not outstanding)
    if at is None:
        return
    assert at >= now
    assert at == wake_slot(at)
    assert at.tzinfo is UTC
    assert last is None or at - last >= 10 * MINUTE
    assert at >= min(outstanding) + 5 * MINUTE
    # No later than it must be: the last look for the oldest is due 24 hours after it was sent.
    must = max(now, min(outstanding) + 24 * HOUR, last + 10 * MINUTE if last else now)
    assert at < must + 5 * MINUTE


@given(sent=st.lists(_times, min_size=1, max_size=5))
def test_looking_ends_with_a_final_scan_of_every_message(sent: list[datetime]) -> None:
    looks = _looks(sent, datetime(2026, 2, 1, tzinfo=UTC))
    assert len(looks) <= 6 * len(sent)
    assert is_final_scan(max(sent), looks[-1])
    assert looks[-1] <= wake_slot(max(sent) + 24 * HOUR + 10 * MINUTE)


def test_a_slot_is_every_five_minutes_in_any_time_zone() -> None:
    assert wake_slot(NINE) == NINE
    assert wake_slot(NINE + timedelta(microseconds=1)) == NINE + 5 * MINUTE
    assert wake_slot(NINE + 4 * MINUTE + timedelta(seconds=59)) == NINE + 5 * MINUTE
    odd = (NINE + MINUTE).astimezone(timezone(timedelta(hours=5, minutes=43)))
    assert wake_slot(odd) == NINE + 5 * MINUTE
    assert wake_slot(odd).tzinfo is UTC


def test_a_message_may_be_called_missing_after_24_hours() -> None:
    assert not is_final_scan(NINE, NINE + 24 * HOUR - timedelta(microseconds=1))
    assert is_final_scan(NINE, NINE + 24 * HOUR)


@pytest.mark.parametrize("clock", [SystemClock(), FixedClock(NINE)])
def test_a_clock_tells_a_time_in_utc_that_never_goes_back(clock: Clock) -> None:
    first, then = clock.now(), clock.now()
    assert first.tzinfo is UTC
    assert then >= first
    if isinstance(clock, FixedClock):
        clock.at += HOUR
        assert clock.now() == first + HOUR
