"""The business clock of this installation, read from the database.

A real installation has no clock row: business time is machine time. A sandbox installation's clock
is moved by the scheduler alone (`sched.tick`), so it stands still while the product is down.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from mailhearth_core.storage.doors import Connection, Database


def business_now(conn: Connection) -> datetime:
    """Business time as the database knows it; machine time where no clock is scaled."""
    row = conn.execute("SELECT business_at FROM business_clock").fetchone()
    return row["business_at"] if row else datetime.now(UTC)


def to_business(conn: Connection, machine: datetime) -> datetime:
    """A machine time, such as INTERNALDATE, as business time through the stored epoch."""
    clock = conn.execute("SELECT rate, business_at, ticked_at FROM business_clock").fetchone()
    if clock is None:
        return machine
    if machine >= clock["ticked_at"]:
        now: datetime = clock["business_at"]
        return now
    after = conn.execute(
        "SELECT machine_at, business_at FROM clock_epochs WHERE machine_at >= %s "
        "ORDER BY machine_at LIMIT 1",
        (machine,),
    ).fetchone()
    upper = after or {"machine_at": clock["ticked_at"], "business_at": clock["business_at"]}
    behind = timedelta(seconds=(upper["machine_at"] - machine).total_seconds() * clock["rate"])
    before = conn.execute(
        "SELECT business_at FROM clock_epochs WHERE machine_at <= %s "
        "ORDER BY machine_at DESC LIMIT 1",
        (machine,),
    ).fetchone()
    value: datetime = upper["business_at"] - behind
    return max(value, before["business_at"]) if before else value


class BusinessClock:
    """The `Clock` port over the database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def now(self) -> datetime:
        with self._database.tx() as conn:
            return business_now(conn)
