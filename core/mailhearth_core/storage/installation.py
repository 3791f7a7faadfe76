"""The installation itself: its environment, and the sandbox it may become once and for good."""

from __future__ import annotations

import ipaddress
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.rows import dict_row

from mailhearth_core.errors import Conflict, InvalidValue, MailhearthError, ServiceUnavailable
from mailhearth_core.storage.doors import Connection, one

DAY_SECONDS = 86_400
SANDBOX_DOMAIN = "sandbox.test"
"""Below it are the names of the sandbox's mail server, where that is a pod of its own. They cannot
be those of a real one: nothing below `.test` is in the DNS (RFC 6761, section 6.2)."""


@dataclass(frozen=True)
class Installation:
    id: UUID
    environment: str
    sandbox: bool
    generation: int


UNPREPARED = (
    psycopg.errors.UndefinedTable,
    psycopg.errors.UndefinedFunction,
    psycopg.errors.UndefinedColumn,
    psycopg.errors.InvalidSchemaName,
    psycopg.errors.InsufficientPrivilege,
)
"""What a login meets whose database has not been brought to this version yet."""


def unprepared() -> ServiceUnavailable:
    """The migrations have not run, or run in this moment."""
    return ServiceUnavailable(
        "The database is not prepared for this version yet.",
        hint="`mailhearth prepare` does it (a Job of the chart), or `mailhearth migrate`.",
        code="database_unprepared",
    )


def read_installation(conn: Connection) -> Installation:
    """Raises ServiceUnavailable when the schema is not there so far."""
    try:
        row = conn.execute(
            "SELECT id, environment, sandbox, generation FROM installation"
        ).fetchone()
    except UNPREPARED:
        raise unprepared() from None
    if row is None:
        raise unprepared()
    return Installation(**row)


def is_loopback(host: str) -> bool:
    """Whether a mail host is this machine, by its literal name alone (nothing is looked up)."""
    if host.lower() in {"localhost", "localhost.localdomain"}:
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


def may_be_in_sandbox(host: str) -> bool:
    """Whether a mail host is this machine, or the sandbox's own server where that is elsewhere."""
    return is_loopback(host) or host.lower().rstrip(".").endswith(f".{SANDBOX_DOMAIN}")


def monday_before(machine_now: datetime) -> datetime:
    """00:00 UTC of this week's Monday: where a sandbox's clock starts."""
    day = machine_now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    return day - timedelta(days=day.weekday())


def sandbox_start(machine_now: datetime, *, has_mailboxes: bool) -> datetime:
    """Business time at which a sandbox begins: a Monday, 00:00 UTC.

    What was written before in real time must not lie ahead of it, or it would not be due for days.
    """
    monday = monday_before(machine_now)
    return monday + timedelta(days=7) if has_mailboxes else monday


def enter_sandbox(owner_url: str, day_seconds: float) -> None:
    """Makes this a sandbox installation for good and sets how long its day lasts.

    Args:
        owner_url: of the schema's owner; no running process may do this.
        day_seconds: machine seconds for one business day, above 0 and at most 86,400.
    Raises:
        InvalidValue: `day_seconds` is out of bounds.
        Conflict: a mailbox's server is neither on this machine nor the sandbox's own, or
            this is production.
    """
    if not 0 < day_seconds <= DAY_SECONDS:
        raise InvalidValue("day seconds", day_seconds, f"above 0, at most {DAY_SECONDS}")
    rate = DAY_SECONDS / day_seconds
    with psycopg.connect(owner_url, row_factory=dict_row) as conn:
        conn.execute("SET search_path = mailhearth")
        found = read_installation(conn)
        if found.environment == "production":
            raise Conflict(
                "A production installation cannot become a sandbox.",
                hint="Use another data folder, or environment=development.",
                code="sandbox_refused",
            )
        hosts = _mail_hosts(conn)
        if not found.sandbox:
            strangers = sorted({host for host in hosts if not may_be_in_sandbox(host)})
            if strangers:
                raise Conflict(
                    f"This folder has mailboxes on {', '.join(strangers)}; a scaled clock is for "
                    "a sandbox, whose mailboxes are all on this machine.",
                    hint="Use another data folder for the sandbox, or leave out --day-seconds.",
                    code="sandbox_refused",
                )
            conn.execute("UPDATE installation SET sandbox = true")
        machine = datetime.now(UTC)
        clock = conn.execute(
            "INSERT INTO business_clock (rate, business_at, ticked_at) VALUES (%s, %s, %s) "
            "ON CONFLICT (singleton) DO UPDATE SET rate = excluded.rate, "
            "ticked_at = excluded.ticked_at, sending_ends = NULL RETURNING business_at, ticked_at",
            (rate, sandbox_start(machine, has_mailboxes=bool(hosts)), machine),
        ).fetchone()
        conn.execute(
            "INSERT INTO clock_epochs (business_at, machine_at) "
            "VALUES (%(business_at)s, %(ticked_at)s) ON CONFLICT DO NOTHING",
            one(clock),
        )


def _mail_hosts(conn: Connection) -> set[str]:
    """Every mailbox's servers. The owner is bound by row-level security: it looks as the warden."""
    role = conn.execute(
        "SELECT pg_get_userbyid(nspowner) AS name FROM pg_namespace WHERE nspname = 'warden'"
    ).fetchone()
    if role is None:
        raise MailhearthError("The database has no schema yet.", hint="Run `mailhearth migrate`.")
    with conn.transaction():
        conn.execute(sql.SQL("SET LOCAL ROLE {}").format(sql.Identifier(role["name"])))
        rows = conn.execute(
            "SELECT imap_host, smtp_host FROM mailboxes WHERE state <> 'removed'"
        ).fetchall()
        conn.execute("RESET ROLE")
    return {host for row in rows for host in (row["imap_host"], row["smtp_host"])}
