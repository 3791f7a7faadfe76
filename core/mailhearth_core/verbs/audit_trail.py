"""A chain of the audit trail as people look through it and take it along, by their own door."""

from __future__ import annotations

from collections.abc import Callable, Generator, Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from datetime import datetime
from types import MappingProxyType
from typing import Any, Literal
from uuid import UUID

from mailhearth_core.audit import exports
from mailhearth_core.audit.checkpoints import Checkpoint
from mailhearth_core.audit.digests import PERSONAL, Event, Scope, Sealed
from mailhearth_core.errors import NotFound
from mailhearth_core.storage.doors import Connection, Database, TenantDoor

SHOWN = 50
"""Events of a page."""
BATCH = 1_000
CHUNK_BYTES = 65_536

Form = Literal["ndjson", "csv"]
MIME: Mapping[Form, str] = MappingProxyType({"ndjson": "application/x-ndjson", "csv": "text/csv"})

KINDS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "authentication": ("person.",),
        "members": ("member.", "invitation.", "admin."),
        "mailboxes and credentials": ("mailbox.", "mailboxes.", "keys."),
        "pools, policy and content": ("pool.", "content.", "dns."),
        "administration": ("workspace.", "action.", "installation.", "audit."),
    }
)
"""What one may ask for, by how actions begin."""


@dataclass(frozen=True)
class Trail:
    """One chain and the way to it.

    Args:
        scope: the workspace; None for the platform's.
        snapshot: opens a transaction in which all is of one moment.
        events, checkpoints, installation: what they are called behind that door.
        where: picks the chain's rows of `events` and `checkpoints`.
    """

    scope: Scope
    snapshot: Callable[[], AbstractContextManager[Connection]]
    events: str
    checkpoints: str
    installation: str
    where: str


def of_workspace(door: TenantDoor, workspace_id: UUID) -> Trail:
    """As its own people reach it (the login `web`)."""
    return Trail(
        workspace_id,
        lambda: door.snapshot_tx(workspace_id),
        "audit_events",
        "audit_checkpoints",
        "installation",
        "workspace_id = %(scope)s",
    )


def of_platform(admin: Database) -> Trail:
    """As administrators reach it (the login `admin`)."""
    return Trail(
        None,
        lambda: _snapshot(admin),
        "admin.platform_audit_events",
        "admin.platform_audit_checkpoints",
        "admin.installation",
        "true",
    )


def by_cli(database: Database, scope: Scope) -> Trail:
    """Any chain as the command line reaches it (the login `cli`)."""
    name = "audit" if scope else "platform_audit"
    return Trail(
        scope,
        lambda: _snapshot(database),
        f"admin.{name}_events",
        f"admin.{name}_checkpoints",
        "installation",
        "workspace_id = %(scope)s" if scope else "true",
    )


@contextmanager
def _snapshot(database: Database) -> Iterator[Connection]:
    with database.tx() as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        yield conn


# -- looking ---------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Wanted:
    """What to look for; empty values ask for nothing.

    Args:
        kind: of `KINDS`.
        action: how the action begins.
        actor, text: parts of the actor; of subject, detail or actor.
        since, until: machine time; the last is not included.
        after: go on behind this event (its time and id), towards older ones.
    """

    kind: str = ""
    action: str = ""
    actor: str = ""
    text: str = ""
    since: datetime | None = None
    until: datetime | None = None
    after: tuple[datetime, UUID] | None = None


@dataclass(frozen=True)
class Found:
    """One page, the newest first.

    Attributes:
        more: there are older ones.
        vouched: the place of the last checkpoint; events above it nobody vouches for yet.
    """

    events: list[dict[str, Any]]
    more: bool
    vouched: int


def search(trail: Trail, wanted: Wanted, limit: int = SHOWN) -> Found:
    """Looks through a chain; two queries."""
    values: dict[str, Any] = {"scope": trail.scope, "limit": limit + 1}
    where = [trail.where, *_conditions(wanted, values)]
    with trail.snapshot() as conn:
        rows = conn.execute(
            "SELECT id, seq, action, actor, subject, detail::jsonb AS detail, at "  # noqa: S608
            f"FROM {trail.events} WHERE {' AND '.join(where)} "
            "ORDER BY at DESC, id DESC LIMIT %(limit)s".encode(),
            values,
        ).fetchall()
        vouched = conn.execute(
            f"SELECT max(seq) AS seq FROM {trail.checkpoints} WHERE {trail.where}".encode(),  # noqa: S608
            values,
        ).fetchone()
    return Found(rows[:limit], len(rows) > limit, (vouched and vouched["seq"]) or 0)


def _conditions(wanted: Wanted, values: dict[str, Any]) -> Iterator[str]:
    if wanted.kind in KINDS:
        values["kinds"] = list(KINDS[wanted.kind])
        yield "EXISTS (SELECT 1 FROM unnest(%(kinds)s::text[]) k WHERE starts_with(action, k))"
    if wanted.action:
        values["action"] = wanted.action
        yield "starts_with(action, %(action)s)"
    if wanted.actor:
        values["actor"] = wanted.actor.lower()
        yield "strpos(lower(actor), %(actor)s) > 0"
    if wanted.text:
        values["text"] = wanted.text.lower()
        yield (
            "(strpos(lower(subject), %(text)s) > 0 OR strpos(lower(detail::text), %(text)s) > 0 "
            "OR strpos(lower(actor), %(text)s) > 0)"
        )
    if wanted.since:
        values["since"] = wanted.since
        yield "at >= %(since)s"
    if wanted.until:
        values["until"] = wanted.until
        yield "at < %(until)s"
    if wanted.after:
        values["after_at"], values["after_id"] = wanted.after
        yield "(at, id) < (%(after_at)s, %(after_id)s)"


# -- taking along ----------------------------------------------------------------------------------


def export(trail: Trail, form: Form, *, now: datetime) -> Generator[bytes, None, None]:
    """A whole chain as a file, in chunks. It holds a connection until it is read or closed."""
    yield from _chunks(lines(trail, form, now=now))


def lines(trail: Trail, form: Form, *, now: datetime) -> Iterator[str]:
    """The same line by line, each with its newline."""
    with trail.snapshot() as conn:
        row = conn.execute(f"SELECT id FROM {trail.installation}".encode()).fetchone()  # noqa: S608
        if row is None:
            raise NotFound("There is no installation here.")
        head = exports.Head(row["id"], trail.scope, now)
        items = _items(conn, trail, row["id"])
        if form == "csv":
            yield from exports.csv_lines(head, items)
        else:
            yield from (line + "\n" for line in exports.json_lines(head, items))


def _items(conn: Connection, trail: Trail, installation: UUID) -> Iterator[exports.Item]:
    """Events, and of the checkpoints those that a verification needs: the first and the last."""
    # A cursor on the server: a chain may be long.
    with conn.cursor(name="audit_export") as cursor:
        cursor.itersize = BATCH
        cursor.execute(
            "SELECT id, action, actor, subject, detail::text AS detail, at, seq, "  # noqa: S608
            + ", ".join(f"{name}_salt, {name}_digest" for name in PERSONAL)
            + f", sealed_at, link FROM {trail.events} WHERE {trail.where} "
            "ORDER BY seq NULLS LAST, at, id",
            {"scope": trail.scope},
        )
        for row in cursor:
            yield _item(row)
    query = (
        f"SELECT DISTINCT ON (seq) seq, link, at, public_key, signature FROM {trail.checkpoints} "  # noqa: S608
        f"WHERE {trail.where} AND seq IN (SELECT unnest(ARRAY[min(seq), max(seq)]) "
        f"FROM {trail.checkpoints} WHERE {trail.where}) ORDER BY seq"
    )
    for row in conn.execute(query.encode(), {"scope": trail.scope}):
        yield Checkpoint(installation, trail.scope, **row)


def _item(row: Mapping[str, Any]) -> Sealed | Event:
    event = Event(row["id"], row["action"], row["actor"], row["subject"], row["detail"], row["at"])
    if row["seq"] is None:
        return event
    return Sealed(
        event,
        row["seq"],
        tuple(row[f"{name}_salt"] for name in PERSONAL),
        tuple(row[f"{name}_digest"] for name in PERSONAL),
        row["sealed_at"],
        row["link"],
    )


def _chunks(found: Iterable[str]) -> Iterator[bytes]:
    held: list[str] = []
    size = 0
    for line in found:
        held.append(line)
        size += len(line)
        if size >= CHUNK_BYTES:
            yield "".join(held).encode()
            held, size = [], 0
    yield "".join(held).encode()
