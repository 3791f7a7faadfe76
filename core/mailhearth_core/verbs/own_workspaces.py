"""Workspaces as their people make, rename and end them on the web (the login `web`)."""

from __future__ import annotations

from datetime import datetime
from uuid import UUID

import psycopg

from mailhearth_core.access import Permission, Role
from mailhearth_core.errors import Conflict
from mailhearth_core.names import check_name
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.members import held, places
from mailhearth_core.verbs.people import Person

SQL = named("people")

MOST_OWNED = 50
"""Workspaces of one owner: each has keys and a database login of its own."""


def create(database: Database, person: Person, name: str, *, now: datetime) -> UUID:
    """A workspace that belongs to the person; `provisioning` until the provisioner made its keys.

    Raises:
        InvalidValue, Conflict: the name is malformed or taken, or they own too many.
    """
    check_name("name", name)
    if sum(place.role is Role.OWNER for place in places(database, person.id)) >= MOST_OWNED:
        raise Conflict(
            f"Nobody may own more than {MOST_OWNED} workspaces.",
            hint="Delete one that is not used.",
        )
    try:
        with database.tx() as conn:
            made: UUID = SQL.create_workspace(
                conn, user_id=person.id, name=name, actor=person.called, now=now
            )
    except psycopg.errors.UniqueViolation:
        raise _taken(name) from None
    return made


def rename(
    database: Database, workspace_id: UUID, person: Person, name: str, *, now: datetime
) -> None:
    """Gives a workspace another name; its id, keys and mail stay as they are.

    Raises:
        InvalidValue, Conflict: the name is malformed or taken, or is a custom resource's.
        NotFound, NotAllowed: see `members.held`.
    """
    check_name("name", name)
    try:
        with held(database, workspace_id, person, Permission.RENAME_WORKSPACE) as (conn, _):
            done = SQL.rename_workspace(
                conn, workspace_id=workspace_id, name=name, actor=person.called, now=now
            )
    except psycopg.errors.UniqueViolation:
        raise _taken(name) from None
    if not done:
        raise Conflict(
            "This workspace cannot be renamed: it is being deleted, or its name is the cluster's.",
            hint="Where a Workspace resource exists, its name is the truth.",
        )


def begin_deletion(
    database: Database, workspace_id: UUID, person: Person, *, now: datetime
) -> None:
    """Stops all work of a workspace at once; the provisioner then removes its rows and its keys.

    Raises:
        NotFound, NotAllowed: see `members.held`.
        Conflict: others declare it (GitOps, Helm): it would be made anew.
    """
    try:
        with held(database, workspace_id, person, Permission.DELETE_WORKSPACE) as (conn, _):
            SQL.delete_workspace(conn, workspace_id=workspace_id, actor=person.called, now=now)
    except psycopg.errors.RestrictViolation as error:
        raise Conflict(
            f"This workspace is {error.diag.message_primary}, and read-only here.",
            hint="Delete its resource where it is declared.",
            code="managed_elsewhere",
        ) from None


def _taken(name: str) -> Conflict:
    return Conflict(
        f"A workspace named {name!r} exists already.", hint="Choose another name.", code="taken"
    )
