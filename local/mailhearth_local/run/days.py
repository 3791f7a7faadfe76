"""A run of so many days: sending ends, everything is looked for, and all is counted."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from enum import Enum
from pathlib import Path
from typing import Any

from mailhearth_core.errors import MailhearthError, ServiceUnavailable
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Connection, Database, one
from mailhearth_local.embedded.folder import write_atomically
from mailhearth_local.run import report

LOOK_SECONDS = 0.4
STUCK_SECONDS = 120.0
"""Machine seconds without progress after which a run gives up."""
OLD = timedelta(hours=24)
GRACE = timedelta(minutes=30)
"""For the look that is due when a message is 24 h old."""
SCAN_TIME = timedelta(hours=2)
"""A mailbox that cannot be signed in to for so long is reported as not scanned."""

_OPEN = """
SELECT count(*) AS n FROM admin.messages
WHERE (due_at >= %(start)s OR sent_at >= %(start)s) AND due_at < %(end)s
  AND (state IN ('planned', 'bound', 'sending')
       OR (state IN ('sent', 'uncertain') AND placement IS NULL
           AND coalesce(sent_at, due_at) > %(now)s - %(old)s))
"""
_CENSUS = """
SELECT count(*) AS planned,
  count(*) FILTER (WHERE state IN ('waiting', 'pending', 'leased')) AS open,
  count(*) FILTER (WHERE state NOT IN ('waiting', 'pending', 'leased', 'done')) AS failed
FROM admin.actions WHERE kind = 'census' AND due_at >= %s
"""
_PROGRESS = """
SELECT count(*) FILTER (WHERE state IN ('sent', 'bounced') AND due_at >= %(start)s) AS sent,
  count(*) FILTER (WHERE placement IN ('inbox', 'tab') AND due_at >= %(start)s) AS inbox,
  count(*) FILTER (WHERE placement IS NOT NULL AND due_at >= %(start)s) AS seen
FROM admin.messages
"""


class Phase(Enum):
    SENDING = "sending"
    LOOKING = "waiting until every message is observed"
    SCANNING = "scanning all folders"


@dataclass(frozen=True)
class Progress:
    """What a view shows of the run."""

    phase: Phase
    now: datetime
    start: datetime
    end: datetime
    sent: int
    inbox: int
    seen: int

    def line(self) -> str:
        days = (self.end - self.start).days
        day = min(int((self.now - self.start) / timedelta(days=1)) + 1, days)
        return (
            f"day {day} of {days}, {self.now:%a %H:%M}: {self.sent} sent, {self.seen} observed, "
            f"{self.inbox} in the inbox ({self.phase.value})"
        )


class DaysRun:
    """A `Watcher` that ends the run when it has its report; exit code 0 when all is clean.

    Args:
        database: the command line's login.
        done: given the finished report.
        watch: given the progress, about every `LOOK_SECONDS`.
    """

    def __init__(
        self,
        database: Callable[[], Database],
        days: int,
        *,
        done: Callable[[dict[str, Any]], None],
        watch: Callable[[Progress], None] = lambda progress: None,
        stuck_seconds: float = STUCK_SECONDS,
    ) -> None:
        self._database = database
        self._days = timedelta(days=days)
        self._done = done
        self._watch = watch
        self._stuck_seconds = stuck_seconds
        self._phase = Phase.SENDING
        self._began = self._looked = self._moved = 0.0
        self._mark: object = None
        self._census_at: datetime | None = None
        self._start = self._end = datetime.fromtimestamp(0, UTC)

    def begin(self) -> None:
        """Sets the end of sending.

        Raises:
            MailhearthError: the clock is not scaled, or there is nothing to run.
        """
        with self._database().tx() as conn:
            if conn.execute("SELECT 1 FROM business_clock").fetchone() is None:
                raise MailhearthError(
                    "--days: it needs a scaled clock, and this folder has none.",
                    hint="Give --day-seconds too; it is for mailboxes on this machine only.",
                    code="clock_not_scaled",
                )
            if one(conn.execute("SELECT count(*) AS n FROM admin.mailboxes").fetchone())["n"] == 0:
                raise MailhearthError(
                    "--days: this folder has no mailboxes that could send.",
                    hint="Add some with `mailhearth mailbox add`, or use --demo.",
                    code="no_mailboxes",
                )
            self._start = business_now(conn)
            self._end = self._start + self._days
            conn.execute("SELECT steward.end_sending(%s)", (self._end,))
        self._began = self._moved = time.monotonic()

    def step(self) -> int | None:
        """See `Watcher`.

        Raises:
            MailhearthError: the run is stuck; the message says on what.
        """
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return None
        self._looked = now
        try:
            with self._database().tx() as conn:
                return self._look(conn)
        except ServiceUnavailable as error:
            if time.monotonic() - self._moved > self._stuck_seconds:
                raise MailhearthError(
                    f"The run is stuck for {self._stuck_seconds:.0f} s: {error.message}",
                    hint="See log/supervisor.log in the data folder.",
                    code="stuck",
                ) from error
            raise

    def close(self) -> None:
        pass

    def _look(self, conn: Connection) -> int | None:
        business = business_now(conn)
        window = {"start": self._start, "end": self._end}
        if self._phase is Phase.SENDING and business >= self._end:
            self._phase = Phase.LOOKING
        if self._phase is Phase.LOOKING:
            waits = conn.execute(_OPEN, {**window, "now": business, "old": OLD + GRACE}).fetchone()
            if one(waits)["n"] == 0:
                conn.execute("SELECT steward.plan_census(%s)", (business,))
                self._census_at, self._phase = business, Phase.SCANNING
        counts = one(conn.execute(_PROGRESS, {"start": self._start}).fetchone())
        self._watch(Progress(self._phase, business, self._start, self._end, **counts))
        mark: object = business
        if self._phase is Phase.SCANNING:
            census = one(conn.execute(_CENSUS, (self._census_at,)).fetchone())
            if census["planned"] == 0:  # the plan was rolled back: the database broke off
                self._phase = Phase.LOOKING
            elif census["open"] == 0 or business > self._end_of_scan:
                return self._finish(conn, census["open"] + census["failed"])
            mark = (business, census["open"])
        self._watch_for_standstill(conn, mark, business)
        return None

    def _finish(self, conn: Connection, unscanned: int) -> int:
        seconds = time.monotonic() - self._began
        found = report.collect(
            conn,
            self._start,
            self._end,
            seconds,
            {"days": self._days.days, "mailboxes_not_scanned": unscanned},
        )
        self._done(found)
        return 0 if report.is_clean(found) else 1

    @property
    def _end_of_scan(self) -> datetime:
        assert self._census_at is not None
        return self._census_at + SCAN_TIME

    def _watch_for_standstill(self, conn: Connection, mark: object, business: datetime) -> None:
        if mark != self._mark:
            self._mark, self._moved = mark, time.monotonic()
        elif time.monotonic() - self._moved > self._stuck_seconds:
            raise MailhearthError(
                f"The run is stuck at {business:%a %Y-%m-%d %H:%M} ({self._phase.value}) for "
                f"{self._stuck_seconds:.0f} s: {what_is_due(conn, business)}",
                hint="See log/worker.log and log/scheduler.log in the data folder.",
                code="stuck",
            )


def what_is_due(conn: Connection, business: datetime) -> str:
    """What holds the clock, and the mailboxes' last errors, in one line."""
    groups = conn.execute("SELECT * FROM sched.pool_demand(%s)", (business,)).fetchall()
    due = [f"{g['due_now']} due in {g['worker_group']} ({g['reason']})" for g in groups]
    errors = conn.execute(
        "SELECT address, last_error FROM admin.mailboxes WHERE last_error <> '' "
        "ORDER BY address LIMIT 5"
    ).fetchall()
    errors_text = [f"{row['address']}: {row['last_error']}" for row in errors]
    return "; ".join([*(due or ["nothing is due"]), *errors_text]) + "."


def write_report(path: Path, found: dict[str, Any]) -> None:
    """Replaces the file as a whole."""
    write_atomically(path.absolute(), json.dumps(found, indent=2) + "\n", mode=0o644)


def table(found: dict[str, Any]) -> str:
    """The report for a person."""
    names = [*report.COUNTS, "pending"]
    width = max(len(name) for name in names)
    lines = [f"  {name:<{width}}  {found[name]:>6}" for name in names]
    lines += [f"  {n:<{width}}  {found[n]:>6}" for n in report.MORE_COUNTS if found[n]]
    lines.append(f"  {'seconds':<{width}}  {found['seconds']:>6}")
    for state, reasons in found["reasons"].items():
        lines += [f"  {state}: {n} x {reason}" for reason, n in reasons.items()]
    return "\n".join(lines)
