"""One pass of the scheduler, step by step; each step is a transaction of its own."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

import structlog

from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.metrics import Metrics
from mailhearth_core.settings import SchedulerSettings
from mailhearth_core.storage.doors import UNDONE, Connection, Database, one
from mailhearth_core.storage.named import named
from mailhearth_core.warmup.polling import wake_slot
from mailhearth_worker.scheduler import bind, learn, retention, ring, size
from mailhearth_worker.scheduler.seal import Signer, seal_events
from mailhearth_worker.wakeups import Waker

log = structlog.get_logger()
SQL = named("scheduler")

STEPS = (
    "size",
    "unbind",
    "bind",
    "reclaim",
    "settle",
    "domains",
    "rollups",
    "sensors",
    "seal",
    "checkpoints",
    "expunges",
    "retention",
    "reports",
    "trim",
)
LOCK = 0x6D68_0000
"""Base of the steps' advisory locks (any constant that nothing else in the database uses)."""
TOGETHER = {"bind": "unbind", "settle": "unbind"}
"""Steps that take turns with another one, by the name of its lock: what ends a message must see the
recipient's half of it, which a binding in the same moment would hide from it."""
EVERY_S = {
    "rollups": 5.0,
    "domains": 1.0,
    "show": 1.0,
    "reseals": 2.0,
    "sensors": 5.0,
    "trim": 1.0,
    "seal": 1.0,
    "checkpoints": 60.0,
    "retention": 30.0,
}
"""Machine seconds between two runs of a step that need not run in each pass."""
BIND_EVERY = timedelta(hours=1)
EXPUNGES_EVERY = timedelta(hours=1)
REPORTS_EVERY = timedelta(hours=1)
FIRST_LOOK = timedelta(minutes=5)
"""From an uncertain send to the first look for it."""
MAX_STEP_S = 1.0
"""A scaled clock moves by at most this many machine seconds in one tick: while the product is
down, it stands still."""


@dataclass
class Now:
    """Business time of this pass, and where the run ends (sandbox only)."""

    at: datetime
    sending_ends: datetime | None


class Passes:
    """The state between passes: when each step last ran. All facts are in the database."""

    def __init__(
        self, database: Database, waker: Waker, metrics: Metrics, settings: SchedulerSettings
    ) -> None:
        self._database = database
        self._waker = waker
        self._metrics = metrics
        self._settings = settings
        self._signer = Signer(settings.data_folder)
        self._has_more = False
        self._ran: dict[str, float] = {}
        self._bind_at = datetime.min.replace(tzinfo=UTC)
        self._sensors_at = self._expunges_at = self._bind_at
        self._reports_at = self._bind_at
        self._reseals = ring.Reseals()
        self._groups: set[str] = set()

    def run(self) -> None:
        """One pass. Raises ServiceUnavailable when Postgres or Redis does not answer."""
        now = self._tick()
        if now is None:
            return
        at = now.at
        sized = self._step("size", lambda conn: size.size(conn, at))
        freed = self._step("unbind", lambda conn: int(SQL.unbind_lost_peers(conn, now=at)))
        if sized or self._is_time("trim"):
            self._step("trim", lambda conn: learn.trim(conn, at))
        if sized or freed or at >= self._bind_at:
            bound = self._step("bind", lambda conn: bind.bind(conn, at))
            self._bind_at = at if bound is None else at + BIND_EVERY
        self._step("reclaim", lambda conn: self._reclaim(conn, at))
        self._step("settle", lambda conn: self._settle(conn, now))
        if self._is_time("domains"):
            self._step("domains", lambda conn: _domain_checks(conn, at))
        if self._is_time("rollups"):
            self._step("rollups", lambda conn: int(SQL.recompute_rollups(conn, now=at)))
        if at >= self._sensors_at and self._is_time("sensors"):
            self._step("sensors", lambda conn: learn.judge_sensors(conn, at))
            self._sensors_at = at + learn.SENSORS_EVERY
        if at >= self._reports_at:
            self._step(
                "reports",
                lambda conn: int(SQL.plan_report_looks(conn, now=at, slot=wake_slot(at))),
            )
            self._reports_at = at + REPORTS_EVERY
        self._ring(at)
        self._keep_house(at)

    def _tick(self) -> Now | None:
        with self._timed("tick"), self._database.tx() as conn:
            row = one(SQL.tick(conn, max_step=MAX_STEP_S))
        return Now(row["business_at"], row["sending_ends"])

    def _reclaim(self, conn: Connection, now: datetime) -> int:
        reclaimed = int(SQL.reclaim(conn, now=now, poll_at=now + FIRST_LOOK))
        if reclaimed:
            self._metrics.lease_reclaims.inc(reclaimed)
            log.warning("leases_reclaimed", leases=reclaimed)
        return reclaimed

    def _settle(self, conn: Connection, now: Now) -> int:
        total = 0
        for row in SQL.settle(conn, now=now.at, sending_ends=now.sending_ends):
            total += row["n"]
            log.info("settled", outcome=row["outcome"], messages=row["n"])
        return total

    def _ring(self, now: datetime) -> None:
        """Notes the wake-ups, commits, then rings: one that is lost is given again later."""
        if self._is_time("show"):
            with self._timed("show"), self._database.tx() as conn:
                self._groups = ring.show(conn, now, self._waker, self._metrics)
                learn.show(conn, self._metrics)
                ring.forget_lost(conn, self._waker, self._groups)
        with self._timed("ring"):
            with self._database.tx() as conn:
                wishes = ring.collect(conn, now, self._settings.per_host_cap)
                if self._is_time("reseals"):
                    wishes += self._reseals.collect(conn, time.monotonic())
            if wishes:
                self._waker.wake_many(wishes)

    def _keep_house(self, now: datetime) -> None:
        """What nobody waits for: the audit chain, and what is to be forgotten."""
        if self._is_time("seal"):
            self._step("seal", seal_events)
        if self._is_time("checkpoints"):
            self._step("checkpoints", self._signer.sign_heads)
        if now >= self._expunges_at:
            self._step("expunges", lambda conn: retention.plan_expunges(conn, now))
            self._expunges_at = now + EXPUNGES_EVERY
        if self._has_more or self._is_time("retention"):
            done = [
                self._step("retention", sweep) for sweep in retention.sweeps(now, self._settings)
            ]
            self._has_more = any((count or 0) >= retention.BATCH for count in done)

    def _step(self, name: str, work: Callable[[Connection], int]) -> int | None:
        """Runs one step in its transaction; None when another replica is at it.

        One that was undone for another transaction's sake is left to the next pass: the steps after
        it do not wait for it.
        """
        with self._timed(name):
            try:
                with self._database.tx() as conn:
                    if not SQL.try_lock(conn, key=LOCK + STEPS.index(TOGETHER.get(name, name))):
                        return None
                    return work(conn)
            except ServiceUnavailable as error:
                if error.code != UNDONE:
                    raise
                log.info("step_undone", step=name)
                return None

    def _is_time(self, name: str) -> bool:
        now = time.monotonic()
        if now - self._ran.get(name, 0.0) < EVERY_S[name]:
            return False
        self._ran[name] = now
        return True

    @contextmanager
    def _timed(self, name: str) -> Iterator[None]:
        with self._metrics.tick_seconds.labels(step=name).time():
            yield


def _domain_checks(conn: Connection, now: datetime) -> int:
    """Plans the looks at domains' mail servers, and those at their DNS."""
    slot = wake_slot(now)
    reachable = int(SQL.plan_domain_checks(conn, now=now, slot=slot))
    return reachable + int(SQL.plan_dns_checks(conn, now=now, slot=slot))
