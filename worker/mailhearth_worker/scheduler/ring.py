"""The step that wakes workers, and the numbers that metrics show of what is due."""

from __future__ import annotations

import time
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

import structlog

from mailhearth_core.metrics import Metrics
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named
from mailhearth_worker.wakeups import Waker, Wish

log = structlog.get_logger()
SQL = named("scheduler")

BATCH = 500
RESEAL_S = 2.0
LONGEST_RESEAL_S = 600.0
AGAIN_AFTER_S = 15.0
"""A wake-up that nobody has answered for so long is given again, machine seconds."""


def collect(conn: Connection, now: datetime, host_cap: int) -> list[Wish]:
    """The wake-ups to give now; each is noted in the database in this transaction."""
    wishes = [
        Wish(
            row["worker_group"],
            "drain",
            row["workspace_id"],
            row["mailbox_id"],
            row["wake_number"],
        )
        for row in SQL.take_wakes(
            conn, now=now, batch=BATCH, host_cap=host_cap, again_after=AGAIN_AFTER_S
        )
    ]
    for row in SQL.take_attempts(conn):
        wishes.append(
            Wish(
                row["worker_group"],
                "test",
                row["workspace_id"],
                row["attempt_id"],
                row["wake_number"],
            )
        )
    return wishes


class Reseals:
    """Rings for workspaces with credentials that are sealed to an older key.

    As long as their number falls, in each call; where it does not (one that can never be opened, a
    key that is not mounted), ever more rarely.
    """

    def __init__(self) -> None:
        self._tries: dict[UUID, _Try] = {}

    def collect(self, conn: Connection, machine: float) -> list[Wish]:
        """The wake-ups to give at `machine` seconds of any clock that runs on."""
        tries: dict[UUID, _Try] = {}
        wishes: list[Wish] = []
        for row in SQL.to_reseal(conn):
            workspace, left = row["workspace_id"], row["sealed"]
            last = self._tries.get(workspace)
            if last is not None and left >= last.left and machine < last.again_at:
                tries[workspace] = last
                continue
            wait = RESEAL_S if last is None or left < last.left else last.wait * 2
            wait = min(wait, LONGEST_RESEAL_S)
            tries[workspace] = _Try(left, wait, machine + wait)
            wishes.append(
                Wish(row["worker_group"], "reseal", workspace, workspace, int(time.time()))
            )
        self._tries = tries
        return wishes


@dataclass(frozen=True)
class _Try:
    left: int
    wait: float
    again_at: float


def forget_lost(conn: Connection, waker: Waker, groups: set[str]) -> None:
    """After Redis lost its data nothing that was rung is in it any more: ring again at once."""
    if groups and waker.is_empty_handed(groups):
        forgotten = int(SQL.forget_wakes(conn))
        if forgotten:
            log.warning("queue_was_lost", wakeups=forgotten)


def show(conn: Connection, now: datetime, waker: Waker, metrics: Metrics) -> set[str]:
    """Sets the gauges; returns the groups that have work."""
    groups: set[str] = set()
    oldest = 0.0
    for row in SQL.pool_demand(conn, now=now):
        group = row["worker_group"]
        groups.add(group)
        metrics.demand.labels(group=group).set(row["due_now"])
        metrics.queue_depth.labels(group=group).set(waker.depth(group))
        if row["oldest_due_at"] is not None:
            oldest = max(oldest, (now - row["oldest_due_at"]).total_seconds())
    metrics.oldest_due_seconds.set(oldest)
    return groups
