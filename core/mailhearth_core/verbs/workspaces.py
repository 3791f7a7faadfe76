"""Workspaces: create, list, show, delete."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from mailhearth_core.errors import Conflict, NotFound
from mailhearth_core.names import check_name
from mailhearth_core.storage.doors import Database, one
from mailhearth_core.verbs.wishes import Actor


def create(database: Database, name: str, actor: Actor) -> UUID:
    """Creates a workspace; its keys and its workers' login are made by the provisioner.

    Raises:
        InvalidValue, Conflict: the name is malformed or taken.
    """
    check_name("workspace", name)
    try:
        with database.tx() as conn:
            row = conn.execute(
                "SELECT steward.create_workspace(%s, %s, %s) AS id",
                (name, actor.name, datetime.now(UTC)),
            ).fetchone()
    except psycopg.errors.UniqueViolation:
        raise Conflict(
            f"A workspace named {name!r} exists already.", hint="Choose another name."
        ) from None
    workspace_id: UUID = one(row)["id"]
    return workspace_id


def listing(database: Database) -> list[dict[str, Any]]:
    with database.tx() as conn:
        return conn.execute("SELECT * FROM admin.workspaces ORDER BY name").fetchall()


def find(database: Database, name: str) -> dict[str, Any]:
    """The workspace of that name or id.

    Raises:
        NotFound: with the names there are.
    """
    rows = listing(database)
    for row in rows:
        if name in (row["name"], str(row["workspace_id"])):
            return row
    names = ", ".join(row["name"] for row in rows) or "none yet"
    raise NotFound(f"There is no workspace named {name!r}.", hint=f"Workspaces: {names}.")


def begin_deletion(database: Database, workspace_id: UUID, actor: Actor) -> None:
    """Stops all work of a workspace at once; the provisioner then removes all its rows and keys."""
    with database.tx() as conn:
        conn.execute(
            "SELECT steward.delete_workspace(%s, %s, %s)",
            (workspace_id, actor.name, datetime.now(UTC)),
        )
