"""The steps that forget: mail whose end was never planned, finished jobs, cold facts, old audit,
and of people what has ended: sessions, sign-in links, invitations.

What `why`, statistics and learning need is at most 30 days old; the settings keep it for longer.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta

from mailhearth_core.settings import SchedulerSettings
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named

SQL = named("retention")
AUDIT = named("audit")

BATCH = 1_000
"""Rows that one transaction removes from one table."""
JOBS_KEPT = timedelta(days=14)
"""Finished jobs, business time; whether one was done is also on the message itself."""
WISHES_KEPT = timedelta(days=30)
"""Ended wishes of the outbox, machine time."""
SUMS_KEPT = timedelta(days=730)
"""Daily sums of each mailbox: small, and the long memory of the statistics."""

Sweep = Callable[[Connection], int]


def plan_expunges(conn: Connection, now: datetime) -> int:
    """Plans the end of mail that nothing would end otherwise; returns how many."""
    return int(SQL.plan_expunges(conn, now=now, batch=BATCH))


def sweeps(now: datetime, settings: SchedulerSettings) -> list[Sweep]:
    """Everything that is removed, each for a transaction of its own, jobs before their messages.

    A sweep that returns `BATCH` or more has left something. `now` is business time.
    """
    machine = datetime.now(UTC)
    facts = timedelta(days=settings.keep_facts_days)
    audit = timedelta(days=settings.keep_audit_days)
    day = (now - facts).date()
    sessions = timedelta(days=settings.keep_sessions_days)
    attempts = timedelta(days=settings.keep_attempts_days)
    invitations = timedelta(days=settings.keep_invitations_days)
    return [
        lambda conn: int(SQL.sweep_actions(conn, before=now - JOBS_KEPT, batch=BATCH)),
        lambda conn: int(SQL.sweep_outbound(conn, before=day, batch=BATCH)),
        lambda conn: int(SQL.sweep_inbound(conn, before=day, batch=BATCH)),
        lambda conn: int(
            SQL.sweep_days(
                conn, before=day, sums_before=(now - max(facts, SUMS_KEPT)).date(), batch=BATCH
            )
        ),
        lambda conn: int(SQL.sweep_commands(conn, before=machine - WISHES_KEPT, batch=BATCH)),
        lambda conn: int(SQL.sweep_mailboxes(conn, before=now - audit, batch=BATCH)),
        lambda conn: int(SQL.sweep_sessions(conn, before=machine - sessions, batch=BATCH)),
        lambda conn: int(SQL.sweep_links(conn, before=machine - attempts, batch=BATCH)),
        lambda conn: int(SQL.sweep_invitations(conn, before=machine - invitations, batch=BATCH)),
        lambda conn: int(AUDIT.prune_audit(conn, before=machine - audit, batch=BATCH, now=machine)),
    ]
