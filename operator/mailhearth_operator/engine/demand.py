"""What is due in each worker group, read from the database every two seconds."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime, timedelta
from threading import Lock

from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Database
from mailhearth_operator.engine.context import SQL, machine
from mailhearth_operator.manifests.replicas import Demand, Wish, wanted

QUIET = Demand(0, None, None)


class Demands:
    """The newest demand by group, and which pools it makes differ.

    Args:
        changed: told of each pool (namespace, name) whose replicas should be others than the last.
    """

    def __init__(self, database: Database, changed: Callable[[str, str], None]) -> None:
        self._database = database
        self._changed = changed
        self._demands: dict[str, Demand] = {}
        self._pools: dict[tuple[str, str], tuple[str, Wish, int]] = {}
        self._lock = Lock()
        self.read_at: datetime | None = None

    def replicas(self, namespace: str, name: str, group: str, wish: Wish) -> int:
        """Replicas for a pool now; from here on it is told when they should be others."""
        with self._lock:
            count = self._wanted(group, wish, machine())
            self._pools[namespace, name] = (group, wish, count)
        return count

    def of(self, group: str) -> Demand:
        with self._lock:
            return self._demands.get(group, QUIET)

    def group_of(self, namespace: str, name: str) -> str | None:
        """The worker group of a pool that asked for its replicas."""
        with self._lock:
            known = self._pools.get((namespace, name))
        return known[0] if known else None

    def forget(self, namespace: str, name: str) -> None:
        """The pool is gone."""
        with self._lock:
            self._pools.pop((namespace, name), None)

    def read(self) -> None:
        """Raises ServiceUnavailable; what was known stays then."""
        with self._database.tx() as conn:
            business = business_now(conn)
            clock = SQL.clock(conn)
            rows = list(SQL.demand(conn, now=business))
        rate = float(clock["rate"]) if clock else 1.0
        now = machine()
        with self._lock:
            found = {}
            for row in rows:
                group, last = row["worker_group"], self._demands.get(row["worker_group"], QUIET)
                due = row["next_due_at"]
                found[group] = Demand(
                    due_now=row["due_now"],
                    wake_in=None if due is None else _machine_time(due - business, rate),
                    busy_at=now if row["due_now"] else last.busy_at,
                )
            for group, last in self._demands.items():
                found.setdefault(group, Demand(0, None, last.busy_at))
            self._demands = found
            self.read_at = now
            others = [
                place
                for place, (group, wish, count) in self._pools.items()
                if self._wanted(group, wish, now) != count
            ]
        for namespace, name in others:
            self._changed(namespace, name)

    def _wanted(self, group: str, wish: Wish, now: datetime) -> int:
        return wanted(self._demands.get(group, QUIET), wish, now=now)


def _machine_time(business: timedelta, rate: float) -> timedelta:
    """A scaled clock makes a business hour short."""
    return max(business, timedelta()) / rate if rate > 0 else timedelta.max
