"""Who is in a workspace, as what. Changes hold from the next request on.

What a member may change about others is decided by `access` while all members of the workspace are
held, so two changes at once cannot both rely on what the other undoes: a workspace always has an
owner.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from uuid import UUID

from mailhearth_core.access import Permission, Role, allows, gives
from mailhearth_core.errors import Conflict, MailhearthError, NotFound
from mailhearth_core.storage.doors import Connection, Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.people import LastOwner, Person
from mailhearth_core.verbs.wishes import Actor

SQL = named("people")
ADMINS = named("admins")


class NotAllowed(MailhearthError):
    """The person's role in the workspace does not allow this."""

    code = "not_allowed"


@dataclass(frozen=True)
class Place:
    """A workspace, and what somebody is in it; `state` is the workspace's."""

    workspace_id: UUID
    name: str
    state: str
    role: Role

    def allows(self, permission: Permission) -> bool:
        return allows(self.role, permission)


@dataclass(frozen=True)
class Member:
    user_id: UUID
    email: str
    name: str
    role: Role
    since: datetime
    signed_in_at: datetime | None


def places(database: Database, user_id: UUID) -> list[Place]:
    """The workspaces of a person, by name."""
    return _places(database, user_id, None)


def place(database: Database, user_id: UUID, workspace_id: UUID) -> Place | None:
    """A person's place in a workspace; None for outsiders and for what does not exist."""
    found = _places(database, user_id, workspace_id)
    return found[0] if found else None


def _places(database: Database, user_id: UUID, workspace_id: UUID | None) -> list[Place]:
    with database.tx() as conn:
        rows = SQL.places(conn, user_id=user_id, workspace_id=workspace_id)
        return [Place(**row | {"role": Role(row["role"])}) for row in rows]


def listing(database: Database, workspace_id: UUID) -> list[Member]:
    """Everybody in a workspace, owners first. The caller has checked who asks."""
    with database.tx() as conn:
        rows = SQL.members(conn, workspace_id=workspace_id)
        return [Member(**row | {"role": Role(row["role"])}) for row in rows]


@contextmanager
def held(
    database: Database, workspace_id: UUID, person: Person, permission: Permission
) -> Iterator[tuple[Connection, dict[UUID, Role]]]:
    """A transaction in which nobody's role in a workspace changes; the person has the permission.

    Raises:
        NotFound: they are not in it (any more), or there is no such workspace.
        NotAllowed: their role does not allow it.
    """
    with database.tx() as conn:
        rows = SQL.hold_members(conn, workspace_id=workspace_id)
        roles = {row["user_id"]: Role(row["role"]) for row in rows}
        if person.id not in roles:
            raise NotFound("There is no such workspace.")
        if not allows(roles[person.id], permission):
            raise NotAllowed(
                f"As {roles[person.id]} you may not do this.",
                hint="An owner of the workspace can give you another role.",
            )
        yield conn, roles


def change_role(
    database: Database,
    workspace_id: UUID,
    person: Person,
    user_id: UUID,
    role: Role,
    *,
    now: datetime,
) -> None:
    """Gives a member another role. Only owners make owners, or unmake them.

    Raises:
        NotFound, NotAllowed, LastOwner: see `held`; the workspace would have no owner.
    """
    _set(database, workspace_id, person, user_id, role, now)


def remove(
    database: Database, workspace_id: UUID, person: Person, user_id: UUID, *, now: datetime
) -> None:
    """Takes somebody else out of a workspace; raises as `change_role` does."""
    _set(database, workspace_id, person, user_id, None, now)


def _set(
    database: Database,
    workspace_id: UUID,
    person: Person,
    user_id: UUID,
    role: Role | None,
    now: datetime,
) -> None:
    with held(database, workspace_id, person, Permission.MANAGE_MEMBERS) as (conn, roles):
        if user_id not in roles:
            raise NotFound("That person is not in this workspace any more.")
        givable = gives(roles[person.id])
        if roles[user_id] not in givable or (role is not None and role not in givable):
            raise NotAllowed(
                "Only an owner may change who is an owner.", hint="Ask an owner to do it."
            )
        if not _set_member(conn, workspace_id, user_id, role, person.actor, now):
            raise LastOwner([])


def leave(database: Database, workspace_id: UUID, person: Person, *, now: datetime) -> None:
    """A person goes by themselves.

    Raises:
        NotFound, LastOwner: they are not in it; nobody else owns it.
    """
    with held(database, workspace_id, person, Permission.LOOK) as (conn, _):
        if not _set_member(conn, workspace_id, person.id, None, person.actor, now):
            raise LastOwner([])


def _set_member(
    conn: Connection,
    workspace_id: UUID,
    user_id: UUID,
    role: Role | None,
    actor: Actor,
    now: datetime,
) -> bool:
    return bool(
        SQL.set_member(
            conn,
            workspace_id=workspace_id,
            user_id=user_id,
            role=role.value if role else None,
            actor=actor.name,
            now=now,
        )
    )


def put(
    database: Database,
    workspace_id: UUID,
    user_id: UUID,
    role: Role,
    actor: Actor,
    *,
    now: datetime,
) -> None:
    """Puts a person into a workspace, as whoever runs the installation may; by the login `cli`.

    Raises:
        Conflict: the workspace would be left without an owner.
    """
    with database.tx() as conn:
        done = ADMINS.put_member(
            conn,
            workspace_id=workspace_id,
            user_id=user_id,
            role=role.value,
            actor=actor.name,
            now=now,
        )
    if not done:
        raise Conflict(
            "The workspace would be left without an owner.", hint="Add another owner first."
        )
