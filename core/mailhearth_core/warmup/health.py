"""Inbox rates with their uncertainty, and the score made of them.

Intervals are Wilson's (E. B. Wilson, JASA 22 (1927) 209), which hold for small samples and for
rates near 0 and 1, where the usual normal interval does not.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import sqrt

from mailhearth_core.errors import InvalidValue

Z = 1.96
"""Two-sided 95 %."""
FLOOR = 20
"""Placements in seven days below which no rate is called a finding."""
NOT_ENOUGH = "not enough data"


@dataclass(frozen=True, slots=True)
class Rate:
    """A share with its 95 % interval, all in 0..1, and the number of observations."""

    low: float
    point: float
    high: float
    n: int


@dataclass(frozen=True, slots=True)
class Penalty:
    """Points taken off a score, with the reason shown beside it."""

    code: str
    text: str
    points: int


@dataclass(frozen=True, slots=True)
class Troubles:
    """What is wrong with a mailbox besides its placement."""

    needs_reauth: bool = False
    domain_blocked: bool = False
    bounce_rate_high: bool = False


@dataclass(frozen=True, slots=True)
class Health:
    """A score of 0..100, or None with the reason in `text` when there is not enough data."""

    score: int | None
    rate: Rate | None
    penalties: tuple[Penalty, ...]
    text: str


_PENALTIES = {
    "needs_reauth": Penalty("needs_reauth", "signing in fails; connect the mailbox again", 20),
    "domain_blocked": Penalty("domain_blocked", "its domain is blocked as a peer", 20),
    "bounce_rate_high": Penalty("bounce_rate_high", "bounces are above the policy's limit", 15),
}


def wilson(successes: int, total: int, z: float = Z) -> tuple[float, float]:
    """The lower and upper bound of a share; (0, 1) when nothing was observed.

    Raises:
        InvalidValue: the counts are negative, or more successes than observations.
    """
    if not 0 <= successes <= total:
        raise InvalidValue("successes", successes, f"0 to the total of {total}")
    if total == 0:
        return 0.0, 1.0
    share = successes / total
    spread = z * sqrt(share * (1 - share) / total + z * z / (4 * total * total))
    centre = share + z * z / (2 * total)
    scale = 1 + z * z / total
    # Rounding may carry a bound past the share itself at 0 and 1.
    low = min(max((centre - spread) / scale, 0.0), share)
    high = max(min((centre + spread) / scale, 1.0), share)
    return low, high


def inbox_rate(inbox: int, total: int) -> Rate | None:
    """The inbox rate of `total` placements; None when there is none."""
    low, high = wilson(inbox, total)
    return Rate(low, inbox / total, high, total) if total else None


def health(inbox: int, total: int, troubles: Troubles, *, floor: int = FLOOR) -> Health:
    """100 times the Wilson lower bound of the seven-day inbox rate, less penalties, never below 0.

    Args:
        inbox: messages seen in the inbox or one of its tabs in seven days.
        total: all placements of these days (inbox, tab, junk, other, missing).
        troubles: what costs points besides.
        floor: fewer placements than this give no score.
    """
    rate = inbox_rate(inbox, total)
    penalties = tuple(p for code, p in _PENALTIES.items() if getattr(troubles, code))
    if rate is None or total < floor:
        missing = f"{NOT_ENOUGH}: {total} of {floor} placements in 7 days"
        return Health(None, rate, penalties, missing)
    score = max(0, int(100 * rate.low + 0.5) - sum(p.points for p in penalties))
    text = f"{inbox} of {total} in the inbox; surely at least {100 * rate.low:.0f} %"
    return Health(score, rate, penalties, text)
