"""Local days and sending windows in any IANA zone, and the moments drawn inside a window.

All instants are in UTC and on whole seconds. A wall time that a clock change skips stands for the
moment of the change; of one that occurs twice, the choice is made so that every instant of a window
has a wall time inside it.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cache
from random import Random
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.chance import between

SECOND = timedelta(seconds=1)
_ROUND_MINUTES = (0, 15, 30, 45)
_HUMPS = (0.8, 1.3, 1.4, 1.0, 0.6, 1.1, 1.2, 0.7)
"""How busy each eighth of a working day is: a person's morning, lunch and afternoon."""


@cache
def zone(name: str) -> ZoneInfo:
    """The IANA zone of that name.

    Raises:
        InvalidValue: there is none.
    """
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise InvalidValue("timezone", name, "an IANA zone such as Europe/Berlin") from None


def local_date(at: datetime, timezone: str) -> date:
    """The date on a wall calendar in that zone."""
    return at.astimezone(zone(timezone)).date()


def local_midnight(at: datetime, timezone: str) -> datetime:
    """When the local day that contains `at` began, in UTC."""
    return day_start(local_date(at, timezone), timezone)


def next_midnight(at: datetime, timezone: str) -> datetime:
    """When the local day after the one that contains `at` begins, in UTC."""
    return day_start(local_date(at, timezone) + timedelta(days=1), timezone)


def day_start(day: date, timezone: str) -> datetime:
    """The first instant of a local day, in UTC; not 00:00 where a clock change skips it."""
    return _instant(datetime(day.year, day.month, day.day), zone(timezone))  # noqa: DTZ001


def sending_window(day: date, start: str, end: str, timezone: str) -> tuple[datetime, datetime]:
    """The window [start, end) of a local day, in UTC.

    It is empty (start >= end) if a clock change eats it.

    Args:
        day: the local date.
        start: wall time "HH:MM".
        end: wall time "HH:MM" after `start`; "24:00" is the midnight that ends the day.
        timezone: an IANA zone.
    """
    place = zone(timezone)
    midnight = datetime(day.year, day.month, day.day)  # noqa: DTZ001 - a wall time, not an instant
    opens, closes = (
        midnight + timedelta(hours=int(wall[:2]), minutes=int(wall[3:])) for wall in (start, end)
    )
    # The later of two starts and the earlier of two ends, lest the hour between lie outside.
    first, last = _instant(opens, place, fold=1), _instant(closes, place)
    return first, last if last > first else _instant(closes, place, fold=1)


def _instant(wall: datetime, place: ZoneInfo, fold: int = 0) -> datetime:
    """The instant of a wall time; see the module for those that occur twice or never."""
    at = wall.replace(tzinfo=place, fold=fold).astimezone(UTC)
    if _wall(at, place) == wall:
        return at
    # Skipped: read with the offsets after and before the change, it lies on both sides of it.
    before, after = sorted(wall.replace(tzinfo=place, fold=f).astimezone(UTC) for f in (0, 1))
    while after - before > SECOND:
        middle = before + (after - before) // 2 // SECOND * SECOND
        before, after = (before, middle) if _wall(middle, place) > wall else (middle, after)
    return after


def _wall(at: datetime, place: ZoneInfo) -> datetime:
    return at.astimezone(place).replace(tzinfo=None, fold=0)


@dataclass(frozen=True, slots=True)
class Frame:
    """Where moments may lie: in [start, end), at least `gap` apart, off the marks of a round clock.

    Nothing is sent in the minutes :00, :15, :30 and :45 nor at second 0: machines do that. (Offsets
    of all zones are multiples of 15 minutes today, so these are the same minutes in UTC.)
    """

    start: datetime
    end: datetime
    gap: timedelta

    def earliest(self, at: datetime) -> datetime:
        """The first allowed instant at or after `at`; it may lie past the end."""
        at = max(at, self.start)
        if at.microsecond:
            at = at.replace(microsecond=0) + SECOND
        if at.minute in _ROUND_MINUTES:
            at = at.replace(second=0) + timedelta(minutes=1)
        return at if at.second else at + SECOND

    def latest(self, at: datetime) -> datetime:
        """The last allowed instant at or before `at` and before the end.

        It may precede the start.
        """
        at = min(at, self.end - SECOND).replace(microsecond=0)
        if at.second == 0:
            at -= SECOND
        return at.replace(second=0) - SECOND if at.minute in _ROUND_MINUTES else at

    def capacity(self, most: int) -> int:
        """How many moments fit, counted up to `most`."""
        count, at = 0, self.earliest(self.start)
        while count < most and at < self.end:
            count, at = count + 1, self.earliest(at + self.gap)
        return count


def profile(rng: Random) -> Callable[[float], float]:
    """A mailbox's habit: maps a share of its day's mail (0..1) to a share of its window (0..1)."""
    weights = [hump * between(rng, 0.75, 1.25) for hump in _HUMPS]
    total = sum(weights)

    def share(mail: float) -> float:
        left = mail * total
        for index, weight in enumerate(weights):
            if left < weight:
                return (index + left / weight) / len(weights)
            left -= weight
        return 1.0

    return share


def draw_moments(
    frame: Frame,
    window: tuple[datetime, datetime],
    count: int,
    habit: Callable[[float], float],
    rng: Random,
) -> tuple[datetime, ...]:
    """`count` moments in the frame, in order, spread as the mailbox's habit spreads its window.

    Each moment is drawn in its own share of the day, so that the k-th of today lies near the k-th
    of yesterday: a peer written to a whole number of days ago is then free again in time.

    Args:
        frame: where moments may lie; a part of the window when the day has begun.
        window: the whole window of the day.
        count: at most `frame.capacity(count)`.
        habit: from `profile`.
        rng: the day's chance.
    """
    opens, closes = window
    if not count:
        return ()
    begun = _mail_before((frame.start - opens) / (closes - opens), habit)
    moments: list[datetime] = []
    for index, limit in enumerate(_latest(frame, count)):
        mail = begun + (1 - begun) * (index + between(rng, 0.05, 0.95)) / count
        wanted = opens + timedelta(seconds=int(habit(mail) * ((closes - opens) / SECOND)))
        pause = between(rng, 0, min(frame.gap / SECOND / 2, 300.0))
        floor = frame.earliest(moments[-1] + frame.gap if moments else frame.start)
        if moments and wanted < floor:
            # Never exactly the gap again and again, unless there is no room for more.
            wanted = floor + timedelta(seconds=int(pause))
        moments.append(max(floor, min(frame.earliest(wanted), limit)))
    return tuple(moments)


def _mail_before(part: float, habit: Callable[[float], float]) -> float:
    """The share of a day's mail that the habit puts before this part (0..1) of the window."""
    if part <= 0:
        return 0.0
    low, high = 0.0, 1.0
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if habit(middle) < part else (low, middle)
    return high


def _latest(frame: Frame, count: int) -> list[datetime]:
    """How late each of `count` moments may be, in order, so that those after it still fit."""
    limits: list[datetime] = []
    at = frame.end
    for _ in range(count):
        at = frame.latest(at)
        limits.append(at)
        at -= frame.gap
    return limits[::-1]
