"""Numbers as the page's charts take them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from datetime import date, timedelta
from typing import Any

PLACEMENTS = ("inbox", "junk", "other", "missing")
LABELS = {"inbox": "inbox", "junk": "junk", "other": "other folder", "missing": "not found"}


def days_until(today: date, days: int) -> list[date]:
    return [today - timedelta(days=back) for back in range(days - 1, -1, -1)]


def ramp(rows: Sequence[Mapping[str, Any]], today: date, days: int) -> dict[str, Any]:
    """Planned against sent; a day without rows has no number, so that it is no zero."""
    by_day = {row["day"]: row for row in rows}
    x = _trimmed(days_until(today, days), by_day)
    return {
        "x": [day.isoformat() for day in x],
        "x_label": "day",
        "unit": "mails",
        "series": [
            {"label": "planned", "values": [_of(by_day, day, "volume") for day in x]},
            {"label": "sent", "values": [_of(by_day, day, "sent") for day in x]},
        ],
    }


def placement(rows: Iterable[Mapping[str, Any]], today: date, days: int) -> dict[str, Any]:
    """Placements stacked by day; several rows of a day are added up."""
    sums: dict[date, dict[str, int]] = {}
    for row in rows:
        held = sums.setdefault(row["day"], dict.fromkeys(PLACEMENTS, 0))
        for name in PLACEMENTS:
            held[name] += row[name] or 0
    sums = {day: held for day, held in sums.items() if any(held.values())}
    x = _trimmed(days_until(today, days), sums)
    samples = sum(sum(held.values()) for held in sums.values())
    return {
        "x": [day.isoformat() for day in x],
        "x_label": "day sent",
        "unit": "mails",
        "series": [
            {
                "label": LABELS[name],
                "class": name,
                "values": [sums[day][name] if day in sums else None for day in x],
            }
            for name in PLACEMENTS
        ],
        "notes": [f"{samples} placements observed"],
    }


def _trimmed(days: list[date], rows: Mapping[date, Any]) -> list[date]:
    """From the first day that has a row on, a week at least."""
    first = next((at for at, day in enumerate(days) if day in rows), None)
    return [] if first is None else days[min(first, len(days) - 7) :]


def _of(by_day: Mapping[date, Mapping[str, Any]], day: date, name: str) -> int | None:
    row = by_day.get(day)
    return None if row is None else row[name]
