"""Connection tests: asked for here, done by a worker, followed step by step."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from mailhearth_core.errors import MailhearthError, NotYet
from mailhearth_core.ids import uuid7
from mailhearth_core.storage.doors import TenantDoor
from mailhearth_core.verbs.credentials import seal_credentials
from mailhearth_core.verbs.mailbox_spec import MailboxSpec
from mailhearth_core.verbs.mailboxes import check_servers


def start(
    door: TenantDoor,
    workspace_id: UUID,
    row: Mapping[str, Any],
    spec: MailboxSpec | None,
    worker_group: str,
) -> UUID:
    """Asks a worker to test the connection; returns the attempt. It lives for ten minutes.

    Args:
        spec: a new credential and servers to try; None tests what is stored.
    """
    attempt_id = uuid7()
    with door.tenant_tx(workspace_id) as conn:
        if spec is None:
            sealed_rows = conn.execute(
                "SELECT field, key_version, sealed FROM sealed_credentials WHERE mailbox_id=%s",
                (row["id"],),
            ).fetchall()
            if not sealed_rows:
                raise MailhearthError(
                    "The mailbox has no stored credential.",
                    hint="Give it one with `mailbox test --password-stdin` or add it anew.",
                )
            if len({r["key_version"] for r in sealed_rows}) > 1:
                raise NotYet("The credential is being sealed to a new key.", hint="Try again.")
            version = sealed_rows[0]["key_version"]
            sealed = {r["field"]: r["sealed"] for r in sealed_rows}
            settings = {
                key: row[key]
                for key in ("imap_host", "imap_port", "imap_tls", "smtp_host", "smtp_port",
                            "smtp_tls", "ca_pem", "username", "provider", "auth", "address")
            }  # fmt: skip
        else:
            check_servers(conn, spec)
            version, sealed = seal_credentials(conn, workspace_id, row["id"], spec)
            settings = {
                "imap_host": spec.imap.host, "imap_port": spec.imap.port, "imap_tls": spec.imap.tls,
                "smtp_host": spec.smtp.host, "smtp_port": spec.smtp.port, "smtp_tls": spec.smtp.tls,
                "ca_pem": spec.ca_pem, "username": spec.username, "address": spec.address,
            }  # fmt: skip
        machine = datetime.now(UTC)
        conn.execute(
            "INSERT INTO connection_attempts (workspace_id, id, mailbox_id, worker_group, "
            "settings, key_version, sealed, created_at, expires_at) "
            "VALUES (%s,%s,%s,%s,%s,%s,%s,%s,%s)",
            (
                workspace_id, attempt_id, row["id"], worker_group, Jsonb(settings), version,
                Jsonb({field: b64encode(blob).decode() for field, blob in sealed.items()}),
                machine, machine + timedelta(minutes=10),
            ),
        )  # fmt: skip
    return attempt_id


def find(door: TenantDoor, workspace_id: UUID, attempt_id: UUID) -> dict[str, Any] | None:
    """How a connection test stands: state, steps (as `mail.probe.Step`), times; None when lost."""
    with door.tenant_tx(workspace_id) as conn:
        return conn.execute(
            "SELECT id, state, steps, created_at, started_at, finished_at, expires_at "
            "FROM connection_attempts WHERE id = %s",
            (attempt_id,),
        ).fetchone()


def drop(door: TenantDoor, workspace_id: UUID, attempt_id: UUID) -> None:
    """Forgets a connection test and the credential it carried."""
    with door.tenant_tx(workspace_id) as conn:
        conn.execute("DELETE FROM connection_attempts WHERE id = %s", (attempt_id,))
