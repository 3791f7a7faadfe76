"""Wishes that are carried out alike wherever Mailhearth runs."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import psycopg

from mailhearth_core.errors import MailhearthError, NotYet
from mailhearth_core.provisioning.keyring import KeyRing
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named

SQL = named("operator")
DELETE_BATCH = 1_000
PURGE_SECONDS = 600.0
"""How long the workers may take a deleted workspace's mail out of its mailboxes."""


def retry_action(database: Database, workspace_id: UUID, action_id: UUID) -> str:
    """Looks once more whether it may be: much may have happened since it was wished for."""
    with database.tx() as conn:
        refusal = SQL.retry_action(
            conn, workspace_id=workspace_id, action_id=action_id, machine=datetime.now(UTC)
        )
    if refusal is not None:
        raise MailhearthError(f"It is not tried again: {refusal}.")
    return "it is planned again"


def read_only(manager: str) -> MailhearthError:
    """A wish to change a pool that others declare."""
    return MailhearthError(
        f"The pool is managed by {manager}; it is read-only here.",
        hint="Change it where it is declared.",
    )


def stale(generation: int, seen: int | None) -> MailhearthError:
    """A wish to change a pool as it is no longer."""
    return MailhearthError(
        f"The pool has changed since (generation {generation}, this wish saw {seen}).",
        hint="Look at it again and repeat the change.",
        code="stale_generation",
    )


def delete_workspace(
    database: Database, keys: KeyRing, workspace_id: UUID, take_down: Callable[[], None]
) -> str:
    """Mail first, while it can be reached; then the login, so that no worker writes any more;
    keys and the wish itself last.

    Args:
        take_down: removes the login's password and what else serves the workspace.
    Raises:
        NotYet: its mail is being taken out of its mailboxes, or somebody still writes.
    """
    with database.tx() as conn:
        purging = SQL.purging(
            conn, workspace_id=workspace_id, now=datetime.now(UTC), seconds=PURGE_SECONDS
        )
    if purging is None:
        raise MailhearthError("The workspace is not being deleted.", hint="Delete it properly.")
    if purging:
        raise NotYet(f"The mail of {purging} mailboxes is being taken out of them.")
    with database.tx() as conn:
        list(SQL.drop_worker_login(conn, workspace_id=workspace_id))
    take_down()
    try:
        _delete_rows(database, workspace_id)
        keys.forget(workspace_id)
        with database.tx() as conn:
            list(SQL.end_workspace(conn, workspace_id=workspace_id, at=datetime.now(UTC)))
    except psycopg.errors.ForeignKeyViolation as error:
        raise NotYet(
            f"Workspace {workspace_id} is still written to: {error.diag.message_primary}."
        ) from None
    return "deleted"


def _delete_rows(database: Database, workspace_id: UUID) -> None:
    removed = 1
    while removed:
        with database.tx() as conn:
            removed = SQL.delete_workspace_batch(
                conn, workspace_id=workspace_id, batch=DELETE_BATCH
            )
