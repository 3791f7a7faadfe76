"""How many workers a pool has."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

WAKE_AHEAD = timedelta(seconds=90)
"""A sleeping pool is woken so long before its next work is due."""
SLEEP_AFTER = timedelta(minutes=10)
"""An idle pool sleeps after so long."""
WORK_EACH = 40
"""Due actions that one worker is trusted with before another is asked for."""


@dataclass(frozen=True)
class Demand:
    """What waits in a worker group, as the view `pool_demand` tells it.

    Attributes:
        due_now: actions that could be done at once.
        wake_in: machine time until the next one is due; None where nothing is planned.
        busy_at: machine time at which something was last due.
    """

    due_now: int
    wake_in: timedelta | None
    busy_at: datetime | None


@dataclass(frozen=True)
class Wish:
    """What a pool's spec says about its replicas.

    Attributes:
        least, most, target: `spec.replicas`. `target` is what `kubectl scale` and an HPA write.
        backlog: `spec.autoscale` is `Backlog`: more due work asks for more workers.
        suspended: the pool, or its workspace.
    """

    least: int
    most: int
    target: int
    backlog: bool
    suspended: bool


def wanted(demand: Demand, wish: Wish, *, now: datetime) -> int:
    """Replicas of the Deployment: 0 when asleep, else what is asked for, at least the target.

    Args:
        now: machine time.
    """
    if wish.suspended:
        return 0
    if wish.least == 0 and not _awake(demand, now):
        return 0
    asked = -(-demand.due_now // WORK_EACH) if wish.backlog else 0
    return max(1, min(max(asked, wish.target, wish.least), wish.most))


def _awake(demand: Demand, now: datetime) -> bool:
    if demand.due_now > 0 or (demand.wake_in is not None and demand.wake_in <= WAKE_AHEAD):
        return True
    return demand.busy_at is not None and now - demand.busy_at < SLEEP_AFTER
