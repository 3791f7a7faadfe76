"""A workspace's own conversations: checked when they are added, used only inside it."""

from __future__ import annotations

import hashlib
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import psycopg

from mailhearth_core.content import Library, parse_library
from mailhearth_core.errors import Conflict, InvalidValue
from mailhearth_core.ids import uuid7
from mailhearth_core.storage.doors import TenantDoor
from mailhearth_core.verbs.wishes import Actor, audit

MAX_NAME = 100


def version_of(library_id: UUID) -> str:
    """The name under which messages keep which library they were made from."""
    return f"own/{library_id}"


def add(
    door: TenantDoor, workspace_id: UUID, name: str, source: str, actor: Actor
) -> tuple[UUID, Library]:
    """Adds a library; returns its id and what it holds.

    Raises:
        InvalidContent: with every mistake; nothing is taken.
        Conflict: the workspace has this very text already.
    """
    if not name or len(name) > MAX_NAME or any(ord(c) < 32 for c in name):
        raise InvalidValue("name", name, f"one line of 1 to {MAX_NAME} characters")
    library_id = uuid7()
    library = parse_library(source, version_of(library_id))
    digest = hashlib.sha256(source.encode()).hexdigest()
    try:
        with door.tenant_tx(workspace_id) as conn:
            conn.execute(
                "INSERT INTO content_libraries (workspace_id, id, name, digest, source, "
                "created_at) VALUES (%s, %s, %s, %s, %s, %s)",
                (workspace_id, library_id, name, digest, source, datetime.now(UTC)),
            )
            audit(conn, workspace_id, "content.added", actor, name, digest=digest)
    except psycopg.errors.UniqueViolation:
        raise Conflict(
            "The workspace has this very text already.", hint="`mailhearth content list` names it."
        ) from None
    return library_id, library


def listing(door: TenantDoor, workspace_id: UUID) -> list[dict[str, Any]]:
    with door.tenant_tx(workspace_id) as conn:
        return conn.execute(
            "SELECT id, name, digest, active, created_at, octet_length(source) AS bytes "
            "FROM content_libraries ORDER BY created_at, id"
        ).fetchall()
