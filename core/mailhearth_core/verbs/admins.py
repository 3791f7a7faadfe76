"""Platform administrators: made and unmade by the command line alone (the login `cli`)."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from uuid import UUID

from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.wishes import Actor

SQL = named("admins")


@dataclass(frozen=True)
class Admin:
    id: UUID
    email: str
    name: str
    granted_by: str
    granted_at: datetime


def grant(database: Database, user_id: UUID, actor: Actor) -> bool:
    """Makes a person an administrator from their next request on; False: they are one."""
    with database.tx() as conn:
        return bool(SQL.grant_admin(conn, user_id=user_id, actor=actor.name, now=datetime.now(UTC)))


def revoke(database: Database, user_id: UUID, actor: Actor) -> bool:
    """Takes it from them, from their next request on; False: they are none."""
    with database.tx() as conn:
        return bool(
            SQL.revoke_admin(conn, user_id=user_id, actor=actor.name, now=datetime.now(UTC))
        )


def listing(database: Database) -> list[Admin]:
    """All of them, the longest first."""
    with database.tx() as conn:
        return [Admin(**row) for row in SQL.admins(conn)]
