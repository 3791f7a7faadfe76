"""Windows and moments in every zone, on ordinary days and on those when the clocks change."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo, available_timezones

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.chance import stream
from mailhearth_core.warmup.window import (
    SECOND,
    Frame,
    day_start,
    draw_moments,
    local_date,
    local_midnight,
    next_midnight,
    profile,
    sending_window,
)

ZONES = sorted(available_timezones() - {"localtime", "Factory"})
DAYS = st.dates(date(2024, 1, 1), date(2030, 12, 31))
WALLS = st.tuples(st.integers(0, 1439), st.integers(1, 1440)).filter(lambda w: w[0] < w[1])


def _hhmm(minute: int) -> str:
    return f"{minute // 60:02}:{minute % 60:02}"


def _change_days(name: str, year: int) -> list[date]:
    """The local dates of a year on which the zone's offset changes."""
    zone, found = ZoneInfo(name), []
    day = date(year, 1, 1)
    while day.year == year:
        midnight = datetime(day.year, day.month, day.day)
        offsets = {
            (midnight + timedelta(hours=h)).replace(tzinfo=zone).utcoffset() for h in (0, 12, 24)
        }
        if len(offsets) > 1:
            found.append(day)
        day += timedelta(days=1)
    return found


def _check_window(name: str, day: date, opens: int, closes: int) -> None:
    """The window lies in its day, and no instant of it has a wall time outside."""
    zone = ZoneInfo(name)
    start, end = sending_window(day, _hhmm(opens), _hhmm(closes), name)
    begins, ends = day_start(day, name), day_start(day + timedelta(days=1), name)
    assert begins <= start
    assert end <= ends
    at = start
    while at < end:
        wall = at.astimezone(zone)
        assert wall.date() == day
        assert opens <= wall.hour * 60 + wall.minute < closes
        at += timedelta(minutes=15)
    if start < end:
        wall = (end - SECOND).astimezone(zone)
        assert opens <= wall.hour * 60 + wall.minute < closes


@given(zone=st.sampled_from(ZONES), day=DAYS, wall=WALLS)
@example(zone="Europe/Berlin", day=date(2026, 3, 29), wall=(120, 180))  # the hour that is skipped
@example(zone="Europe/Berlin", day=date(2026, 10, 25), wall=(130, 170))  # in the repeated hour
@example(zone="America/Havana", day=date(2026, 3, 8), wall=(0, 1440))  # no midnight
@example(zone="Africa/Cairo", day=date(2026, 10, 29), wall=(1380, 1440))  # 24:00 becomes 23:00
@example(zone="Australia/Lord_Howe", day=date(2026, 4, 5), wall=(90, 150))  # half an hour
@example(zone="Pacific/Apia", day=date(2011, 12, 30), wall=(540, 1020))  # a day that never was
@settings(max_examples=300, deadline=None)
def test_every_instant_of_a_window_has_a_wall_time_inside_it(
    zone: str, day: date, wall: tuple[int, int]
) -> None:
    _check_window(zone, day, *wall)


def test_on_every_day_of_a_clock_change_the_working_hours_are_whole() -> None:
    checked = 0
    for name in ZONES:
        for day in _change_days(name, 2026):
            _check_window(name, day, 9 * 60, 17 * 60)
            start, end = sending_window(day, "09:00", "17:00", name)
            assert end - start == timedelta(hours=8)
            whole = day_start(day + timedelta(days=1), name) - day_start(day, name)
            assert whole in {timedelta(hours=h) for h in (22, 23, 23.5, 24.5, 25, 26)}
            checked += 1
    assert checked > 100


@given(zone=st.sampled_from(ZONES), at=st.datetimes(datetime(2024, 1, 1), datetime(2030, 12, 31)))
@settings(max_examples=300, deadline=None)
def test_midnights_enclose_the_moment_and_its_date(zone: str, at: datetime) -> None:
    at = at.replace(tzinfo=UTC)
    begins, ends = local_midnight(at, zone), next_midnight(at, zone)
    assert begins <= at < ends
    day = local_date(at, zone)
    assert local_date(begins, zone) == day == local_date(ends - SECOND, zone)
    assert local_date(begins - SECOND, zone) < day < local_date(ends, zone)


@given(
    zone=st.sampled_from(ZONES),
    day=DAYS,
    wall=WALLS,
    late=st.floats(0, 1.1),
    gap=st.integers(60, 14400),
    wanted=st.integers(1, 50),
    seed=st.integers(0, 2**63),
)
@settings(max_examples=400, deadline=None)
def test_moments_keep_the_window_the_gap_and_off_round_marks(
    zone: str, day: date, wall: tuple[int, int], late: float, gap: int, wanted: int, seed: int
) -> None:
    window = sending_window(day, _hhmm(wall[0]), _hhmm(wall[1]), zone)
    starts = window[0] + late * (window[1] - window[0])
    frame = Frame(starts, window[1], timedelta(seconds=gap))
    count = frame.capacity(wanted)

    def draw() -> tuple[datetime, ...]:
        habit = profile(stream(seed, "habit"))
        return draw_moments(frame, window, count, habit, stream(seed, "day"))

    moments = draw()
    assert moments == draw()
    assert len(moments) == count
    assert all(starts <= at < window[1] for at in moments)
    assert all(b - a >= frame.gap for a, b in pairwise(moments))
    for at in moments:
        local = at.astimezone(ZoneInfo(zone))
        assert local.minute not in (0, 15, 30, 45)
        assert local.second != 0
        assert local.microsecond == 0


@given(gap=st.integers(60, 3600), minutes=st.integers(1, 300))
@settings(deadline=None)
def test_no_more_moments_fit_than_the_capacity_says(gap: int, minutes: int) -> None:
    start = datetime(2026, 3, 2, 8, tzinfo=UTC)
    frame = Frame(start, start + timedelta(minutes=minutes), timedelta(seconds=gap))
    allowed = [
        at
        for at in (start + n * SECOND for n in range(minutes * 60))
        if at.minute % 15 and at.second
    ]
    best, last = 0, start - timedelta(days=1)
    for at in allowed:
        if at - last >= frame.gap:
            best, last = best + 1, at
    assert frame.capacity(10_000) == best


def test_the_kth_moment_lies_near_yesterdays() -> None:
    """Over many days the moments differ, but each keeps its share of the working day."""
    habit = profile(stream(7, "habit"))
    firsts, lasts = set(), set()
    for number in range(20):
        window = sending_window(date(2026, 3, 2 + number), "09:00", "17:00", "Asia/Tokyo")
        frame = Frame(*window, timedelta(minutes=10))
        moments = draw_moments(frame, window, 8, habit, stream(7, number))
        firsts.add(moments[0] - window[0])
        lasts.add(moments[-1] - window[0])
    assert len(firsts) > 10
    assert max(firsts) < timedelta(hours=2)
    assert min(lasts) > timedelta(hours=6)


def test_an_unknown_zone_is_refused_by_name() -> None:
    with pytest.raises(InvalidValue, match="Europe/Atlantis"):
        local_date(datetime(2026, 1, 1, tzinfo=UTC), "Europe/Atlantis")
