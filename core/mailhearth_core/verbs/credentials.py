"""Sealing a mailbox's password: for which servers, to which key. Opening is the worker's."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from mailhearth_core.errors import NotYet
from mailhearth_core.mail.model import TlsMode
from mailhearth_core.sealing import Binding, PasswordDestination, seal
from mailhearth_core.storage.doors import Connection
from mailhearth_core.verbs.mailbox_spec import MailboxSpec, Server, ca_digest


def destination(server: Server, ca_pem: str | None, username: str) -> PasswordDestination:
    """The one server and account that a mailbox's password is sealed for."""
    return PasswordDestination(
        server.host, server.port, TlsMode(server.tls), ca_digest(ca_pem), username
    )


def destinations(row: Mapping[str, Any]) -> dict[str, PasswordDestination]:
    """The destination of each password field of a mailbox row."""
    return {
        f"{kind}_password": destination(
            Server(row[f"{kind}_host"], row[f"{kind}_port"], row[f"{kind}_tls"]),
            row["ca_pem"],
            row["username"],
        )
        for kind in ("imap", "smtp")
    }


def seal_credentials(
    conn: Connection, workspace_id: UUID, mailbox_id: UUID, spec: MailboxSpec
) -> tuple[int, dict[str, bytes]]:
    """Seals a mailbox's password for each of its servers to the workspace's active key.

    Returns the key version and, for each field, the sealed bytes.

    Raises:
        NotYet: the workspace has no active key so far.
    """
    key = conn.execute(
        "SELECT version, public_key FROM key_versions WHERE state = 'active'"
    ).fetchone()
    if key is None:
        raise NotYet(
            "The workspace has no active key yet.",
            hint="Keys are made when `mailhearth up` (or the operator) runs; try again then.",
        )
    sealed = {}
    for field, server in (("imap_password", spec.imap), ("smtp_password", spec.smtp)):
        binding = Binding(
            workspace_id,
            mailbox_id,
            field,
            key["version"],
            destination(server, spec.ca_pem, spec.username),
        )
        sealed[field] = seal(key["public_key"], binding, spec.password)
    return key["version"], sealed


def store_credentials(
    conn: Connection, workspace_id: UUID, mailbox_id: UUID, spec: MailboxSpec
) -> None:
    version, sealed = seal_credentials(conn, workspace_id, mailbox_id, spec)
    for field, blob in sealed.items():
        conn.execute(
            "INSERT INTO sealed_credentials (workspace_id, mailbox_id, field, key_version, sealed, "
            "sealed_at) VALUES (%s,%s,%s,%s,%s,%s) ON CONFLICT (workspace_id, mailbox_id, field) "
            "DO UPDATE SET key_version=excluded.key_version, sealed=excluded.sealed, "
            "sealed_at=excluded.sealed_at, generation=sealed_credentials.generation + 1",
            (workspace_id, mailbox_id, field, version, blob, datetime.now(UTC)),
        )
