"""Placements as pages show them: a rate never stands without its sample and its interval."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mailhearth_core.warmup.health import FLOOR, NOT_ENOUGH, Rate, inbox_rate

PLACED = ("inbox", "junk", "other", "missing", "unobservable")


@dataclass(frozen=True)
class Placed:
    """Placements with their sample, over some days or at one provider.

    Attributes:
        sample: those observed in a folder, or found in none; `unobservable` ones are apart.
        rate: the inbox share with its 95 % interval; None without any.
        enough: the sample is large enough to call the rate a finding.
    """

    name: str
    inbox: int = 0
    junk: int = 0
    other: int = 0
    missing: int = 0
    unobservable: int = 0
    floor: int = FLOOR

    @property
    def sample(self) -> int:
        return self.inbox + self.junk + self.other + self.missing

    @property
    def rate(self) -> Rate | None:
        return inbox_rate(self.inbox, self.sample)

    @property
    def enough(self) -> bool:
        return self.sample >= self.floor

    @property
    def text(self) -> str:
        """The rate in words, never without its sample."""
        rate = self.rate
        if rate is None:
            return "no placement observed yet"
        if not self.enough:
            return f"{NOT_ENOUGH} ({self.sample} of {self.floor} placements)"
        low, high = 100 * rate.low, 100 * rate.high
        return f"{100 * rate.point:.1f} % of {rate.n} ({low:.1f} to {high:.1f} %)"

    @classmethod
    def of(cls, name: str, row: Mapping[str, Any], floor: int = FLOOR) -> Placed:
        return cls(name, **{key: row.get(key) or 0 for key in PLACED}, floor=floor)


def sums(rows: Iterable[Mapping[str, Any]], names: Sequence[str]) -> dict[str, int]:
    found = dict.fromkeys(names, 0)
    for row in rows:
        for name in names:
            found[name] += row[name] or 0
    return found
