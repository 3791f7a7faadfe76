"""The audit trail read, verified and erased from, by the command line's login."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from mailhearth_core.audit.checkpoints import Checkpoint
from mailhearth_core.audit.digests import Event, Scope, Sealed, scope_name
from mailhearth_core.audit.verify import Fault, Report, verify
from mailhearth_core.errors import InvalidValue
from mailhearth_core.storage.doors import Connection, Database
from mailhearth_core.storage.installation import read_installation
from mailhearth_core.verbs.wishes import Actor

PAGE = 1_000
_EVENT = "id, action, actor, subject, detail, at"
_ROW = (
    f"{_EVENT}, seq, actor_salt, subject_salt, detail_salt, actor_digest, subject_digest, "
    "detail_digest, sealed_at, link"
)


def verify_all(database: Database, anchors: Sequence[Checkpoint] = ()) -> list[Report]:
    """Verifies every chain, the platform's first, as they are at one moment.

    Args:
        anchors: checkpoints that were kept outside the database.
    Raises:
        InvalidValue: an anchor is of another installation.
    """
    with database.tx() as conn:
        conn.execute("SET TRANSACTION ISOLATION LEVEL REPEATABLE READ, READ ONLY")
        installation = read_installation(conn).id
        for anchor in anchors:
            if anchor.installation != installation:
                raise InvalidValue(
                    "anchor", str(anchor.installation), f"checkpoints of {installation}"
                )
        rows = conn.execute("SELECT workspace_id FROM admin.workspaces ORDER BY created_at")
        scopes: list[Scope] = [None, *(row["workspace_id"] for row in rows.fetchall())]
        reports = [_verify(conn, scope, installation, anchors) for scope in scopes]
        known = {*scopes, *_ended(conn)}
        since = _beginning(conn)
    latest: dict[Scope, datetime] = {}
    for anchor in anchors:
        latest[anchor.scope] = max(anchor.at, latest.get(anchor.scope, anchor.at))
    for scope, at in latest.items():
        # Of a workspace that ended before the platform's chain begins nobody can tell any more.
        if scope not in known and (since is None or at >= since):
            reports.append(_vanished(scope_name(scope)))
    return reports


def _vanished(name: str) -> Report:
    text = "the whole chain is gone, and the platform's does not say its workspace was deleted"
    return Report(name, faults=[Fault(name, "cut_off", text)])


def _beginning(conn: Connection) -> datetime | None:
    """When the first event that is left of the platform's chain was sealed."""
    row = conn.execute("SELECT min(sealed_at) AS at FROM admin.platform_audit_events").fetchone()
    return row["at"] if row else None


def _verify(
    conn: Connection, scope: Scope, installation: UUID, anchors: Sequence[Checkpoint]
) -> Report:
    return verify(
        scope,
        _sealed(conn, scope),
        list(_unsealed(conn, scope)),
        list(_checkpoints(conn, scope, installation)),
        [anchor for anchor in anchors if anchor.scope == scope],
    )


def _ended(conn: Connection) -> set[Scope]:
    """Workspaces of which the platform's chain says that they were deleted."""
    rows = conn.execute(
        "SELECT subject FROM admin.platform_audit_events WHERE action = 'workspace.deleted'"
    )
    return {UUID(row["subject"]) for row in rows.fetchall() if row["subject"]}


def _sealed(conn: Connection, scope: Scope) -> Iterator[Sealed]:
    view, where, values = _chain(scope, "audit_events")
    # A cursor on the server: rows that took one place twice are both seen.
    with conn.cursor(name="audit_chain") as cursor:
        cursor.itersize = PAGE
        cursor.execute(
            f"SELECT {_ROW} FROM {view} WHERE {where} AND seq IS NOT NULL "  # noqa: S608 - our words
            "ORDER BY seq, id".encode(),
            values,
        )
        for row in cursor:
            yield Sealed(
                _event(row),
                row["seq"],
                (row["actor_salt"], row["subject_salt"], row["detail_salt"]),
                (row["actor_digest"], row["subject_digest"], row["detail_digest"]),
                row["sealed_at"],
                row["link"],
            )


def _unsealed(conn: Connection, scope: Scope) -> Iterator[Event]:
    view, where, values = _chain(scope, "audit_events")
    for row in conn.execute(
        f"SELECT {_EVENT} FROM {view} WHERE {where} AND seq IS NULL".encode(),  # noqa: S608
        values,
    ):
        yield _event(row)


def _checkpoints(conn: Connection, scope: Scope, installation: UUID) -> Iterator[Checkpoint]:
    view, where, values = _chain(scope, "audit_checkpoints")
    for row in conn.execute(
        f"SELECT seq, link, at, public_key, signature FROM {view} WHERE {where}".encode(),  # noqa: S608
        values,
    ):
        yield Checkpoint(installation, scope, **row)


def _chain(scope: Scope, name: str) -> tuple[str, str, list[Any]]:
    if scope is None:
        return f"admin.platform_{name}", "true", []
    return f"admin.{name}", "workspace_id = %s", [scope]


def _event(row: dict[str, Any]) -> Event:
    return Event(**{key: row[key] for key in _EVENT.split(", ")})


def listing(database: Database, scope: Scope, limit: int | None) -> list[dict[str, Any]]:
    """A chain's events, newest first; all of them without a limit."""
    view, where, values = _chain(scope, "audit_events")
    with database.tx() as conn:
        rows = conn.execute(
            f"SELECT seq, {_EVENT} FROM {view} WHERE {where} "  # noqa: S608
            "ORDER BY seq DESC NULLS FIRST, at DESC, id DESC LIMIT %s".encode(),
            [*values, limit],
        )
        return rows.fetchall()


def erase(database: Database, workspace_id: UUID | None, person: str, actor: Actor) -> int:
    """Erases every mention of a person from a workspace's chain, or from all; how many fields."""
    with database.tx() as conn:
        row = conn.execute(
            "SELECT steward.erase_from_audit(%s, %s, %s, %s) AS n",
            (workspace_id, person, actor.name, datetime.now(UTC)),
        ).fetchone()
    assert row is not None
    return int(row["n"])
