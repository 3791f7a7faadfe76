"""The outbox: a wish is committed in the transaction of the change; the provisioner fulfils it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from mailhearth_core.errors import Conflict, NotYet
from mailhearth_core.ids import uuid7
from mailhearth_core.storage.doors import Connection, TenantDoor, one


@dataclass(frozen=True)
class Actor:
    """Who does it and by which way, for the audit trail and the consent ledger."""

    name: str
    via: str


def wish(
    conn: Connection,
    workspace_id: UUID,
    kind: str,
    payload: dict[str, Any],
    actor: Actor,
    *,
    subject_id: UUID | None = None,
    seen_generation: int | None = None,
) -> UUID:
    """Puts a wish into the outbox, in the caller's transaction; returns its id."""
    command_id = uuid7()
    conn.execute(
        "INSERT INTO commands (workspace_id, id, kind, subject_id, payload, seen_generation, "
        "actor, created_at) VALUES (%s, %s, %s, %s, %s, %s, %s, %s)",
        (
            workspace_id,
            command_id,
            kind,
            subject_id,
            Jsonb(payload),
            seen_generation,
            actor.name,
            datetime.now(UTC),
        ),
    )
    return command_id


def await_wish(
    door: TenantDoor,
    workspace_id: UUID,
    command_id: UUID,
    *,
    reconcile: Callable[[], int] | None = None,
    deadline_seconds: float = 15,
) -> str:
    """Waits until a wish has ended and returns its outcome.

    Args:
        reconcile: fulfils wishes in this process, where nobody else runs to do it.
    Raises:
        Conflict: the wish was refused; the message says why.
        NotYet: it is still open at the deadline; it stays in the outbox and will be done.
    """
    end = time.monotonic() + deadline_seconds
    while True:
        if reconcile is not None:
            reconcile()
        with door.tenant_tx(workspace_id) as conn:
            row = one(
                conn.execute(
                    "SELECT state, outcome FROM commands WHERE id = %s", (command_id,)
                ).fetchone()
            )
        if row["state"] == "done":
            return str(row["outcome"])
        if row["state"] == "refused":
            raise Conflict(row["outcome"])
        if time.monotonic() > end:
            raise NotYet(
                "The change is recorded but nothing has carried it out yet.",
                hint="It will be done when `mailhearth up` (or the operator) runs.",
            )
        time.sleep(0.05)


def audit(
    conn: Connection, workspace_id: UUID, action: str, actor: Actor, subject: str, **detail: Any
) -> None:
    """Records what was done, in the transaction that did it. No credential belongs here."""
    conn.execute(
        "INSERT INTO audit_events (workspace_id, action, actor, subject, detail, at) "
        "VALUES (%s, %s, %s, %s, %s, %s)",
        (workspace_id, action, actor.name, subject, Jsonb(detail), datetime.now(UTC)),
    )
