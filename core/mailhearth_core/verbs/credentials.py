"""Sealing a mailbox's password or refresh token: for where, to which key. A worker opens it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

from mailhearth_core.errors import NotYet
from mailhearth_core.mail.model import TlsMode
from mailhearth_core.sealing import (
    Binding,
    Destination,
    OAuthDestination,
    PasswordDestination,
    seal,
)
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Connection
from mailhearth_core.verbs.mailbox_spec import MailboxSpec, Server, ca_digest


def destination(server: Server, ca_pem: str | None, username: str) -> PasswordDestination:
    """The one server and account that a mailbox's password is sealed for."""
    return PasswordDestination(
        server.host, server.port, TlsMode(server.tls), ca_digest(ca_pem), username
    )


REFRESH_TOKEN = "oauth_refresh_token"  # noqa: S105 - the name of a field
"""Where a mailbox's refresh token is kept."""


def destinations(row: Mapping[str, Any]) -> dict[str, Destination]:
    """The destination of each field that a mailbox row may have a credential in."""
    if row.get("auth") == "oauth":
        return {
            REFRESH_TOKEN: OAuthDestination(row["oauth_token_endpoint"], row["oauth_client_id"])
        }
    return {
        f"{kind}_password": destination(
            Server(row[f"{kind}_host"], row[f"{kind}_port"], row[f"{kind}_tls"]),
            row["ca_pem"],
            row["username"],
        )
        for kind in ("imap", "smtp")
    }


@dataclass(frozen=True)
class Sealer:
    """Seals to a workspace's active key as it was when this was made."""

    workspace_id: UUID
    version: int
    public_key: bytes

    @classmethod
    def of(cls, conn: Connection, workspace_id: UUID) -> Sealer:
        """Raises NotYet when the workspace has no active key so far."""
        key = conn.execute(
            "SELECT version, public_key FROM key_versions WHERE state = 'active'"
        ).fetchone()
        if key is None:
            raise NotYet(
                "The workspace has no active key yet.",
                hint="Keys are made when `mailhearth up` (or the operator) runs; try again then.",
            )
        return cls(workspace_id, key["version"], key["public_key"])

    def seal(self, mailbox_id: UUID, spec: MailboxSpec) -> dict[str, bytes]:
        """The sealed bytes of each field of a mailbox."""
        return {
            field: seal(
                self.public_key,
                Binding(self.workspace_id, mailbox_id, field, self.version, where),
                secret,
            )
            for field, (where, secret) in _secrets(spec).items()
        }


def seal_credentials(
    conn: Connection, workspace_id: UUID, mailbox_id: UUID, spec: MailboxSpec
) -> tuple[int, dict[str, bytes]]:
    """Seals a mailbox's password for each of its servers, or its refresh token for its endpoint.

    To the workspace's active key.

    Returns the key version and, for each field, the sealed bytes.

    Raises:
        NotYet: the workspace has no active key so far.
    """
    sealer = Sealer.of(conn, workspace_id)
    return sealer.version, sealer.seal(mailbox_id, spec)


def _secrets(spec: MailboxSpec) -> dict[str, tuple[Destination, Secret]]:
    grant = spec.grant
    if grant is not None:
        where = OAuthDestination(grant.token_endpoint, grant.client_id)
        return {REFRESH_TOKEN: (where, grant.refresh_token)}
    return {
        field: (destination(server, spec.ca_pem, spec.username), spec.password)
        for field, server in (("imap_password", spec.imap), ("smtp_password", spec.smtp))
    }


def store_credentials(
    conn: Connection, workspace_id: UUID, mailbox_id: UUID, spec: MailboxSpec
) -> None:
    """Seals and stores; what was stored before is gone, and so is a worker's claim on it."""
    keep_sealed(
        conn, workspace_id, mailbox_id, *seal_credentials(conn, workspace_id, mailbox_id, spec)
    )


def keep_sealed(
    conn: Connection,
    workspace_id: UUID,
    mailbox_id: UUID,
    version: int,
    sealed: Mapping[str, bytes],
) -> None:
    """Stores what is sealed for the mailbox already, as `store_credentials`."""
    conn.execute(
        "DELETE FROM sealed_credentials WHERE mailbox_id = %s AND field <> ALL (%s)",
        (mailbox_id, list(sealed)),
    )
    for field, blob in sealed.items():
        conn.execute(
            "INSERT INTO sealed_credentials (workspace_id, mailbox_id, field, key_version, sealed, "
            "sealed_at) VALUES (%s,%s,%s,%s,%s,%s) ON CONFLICT (workspace_id, mailbox_id, field) "
            "DO UPDATE SET key_version=excluded.key_version, sealed=excluded.sealed, "
            "sealed_at=excluded.sealed_at, generation=sealed_credentials.generation + 1, "
            "refresh_claim=NULL, refresh_until=NULL",
            (workspace_id, mailbox_id, field, version, blob, datetime.now(UTC)),
        )
