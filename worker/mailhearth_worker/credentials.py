"""Opening sealed credentials: the one place in the product where a private key meets one."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any
from uuid import UUID

import structlog

from mailhearth_core.errors import KeysMissing
from mailhearth_core.keystore import KeyReader
from mailhearth_core.mail.model import FailureKind, Login, MailError, Stage
from mailhearth_core.sealing import Binding, SealBroken, open_sealed, seal
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Connection, Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.credentials import REFRESH_TOKEN, destinations

log = structlog.get_logger()
SQL = named("worker")
RESEAL_BATCH = 50


def open_field(
    keys: KeyReader,
    workspace_id: UUID,
    row: Mapping[str, Any],
    field: str,
    version: int,
    fingerprint: str,
    sealed: bytes,
) -> Secret:
    """The secret of one field, for the servers and the user name that `row` names now.

    Raises:
        KeysMissing: this worker has not (yet) that key version; no fault of the mailbox.
        SealBroken: the row was edited since, or the record was changed.
    """
    key = keys.open(workspace_id, version, fingerprint)
    binding = Binding(workspace_id, row["id"], field, version, destinations(row)[field])
    return open_sealed(key, binding, sealed)


def open_login(
    keys: KeyReader,
    workspace_id: UUID,
    row: Mapping[str, Any],
    field: str,
    record: Mapping[str, Any] | None,
) -> Login:
    """The stored login of a mailbox for one of its servers, from its record (`SENDING.credential`).

    Raises:
        MailError: nothing is stored, or it does not open: the mailbox must be connected again.
        KeysMissing: see `open_field`.
    """
    if record is None:
        raise _reconnect(f"No {field} is stored for {row['address']}.", "credential_missing")
    try:
        secret = open_field(
            keys,
            workspace_id,
            row,
            field,
            record["key_version"],
            record["fingerprint"],
            record["sealed"],
        )
    except SealBroken as error:
        raise _reconnect(error.message, error.code) from error
    return Login(row["username"], secret)


def open_record(
    conn: Connection,
    keys: KeyReader,
    workspace_id: UUID,
    row: Mapping[str, Any],
    field: str,
    record: Mapping[str, Any],
) -> Secret:
    """The secret of a stored record (key_version, sealed).

    Raises:
        MailError: it does not open: the mailbox must be connected again.
        KeysMissing: see `open_field`.
    """
    version = record["key_version"]
    prints = fingerprints(conn, workspace_id)
    try:
        return open_field(
            keys, workspace_id, row, field, version, prints[version], record["sealed"]
        )
    except SealBroken as error:
        raise _reconnect(error.message, error.code) from error


def refresh_token_missing(row: Mapping[str, Any]) -> MailError:
    return _reconnect(f"No {REFRESH_TOKEN} is stored for {row['address']}.", "credential_missing")


def fingerprints(conn: Connection, workspace_id: UUID) -> dict[int, str]:
    """What the database knows of each key version: the private half must match."""
    rows = SQL.key_versions(conn, workspace_id=workspace_id)
    return {row["version"]: row["fingerprint"] for row in rows}


def reseal(door: Database, keys: KeyReader, workspace_id: UUID) -> int:
    """Seals credentials of older key versions to the active one; the number done.

    Small transactions; each write compares the record's generation, so a credential that was typed
    anew meanwhile stays as it is. One that does not open is passed over.
    """
    done = 0
    mailbox_id, field = UUID(int=0), ""
    while True:
        with door.tx() as conn:
            stale = list(
                SQL.stale_seals(
                    conn,
                    workspace_id=workspace_id,
                    after_mailbox=mailbox_id,
                    after_field=field,
                    batch=RESEAL_BATCH,
                )
            )
            if not stale:
                return done
            done += sum(_reseal_one(conn, keys, workspace_id, record) for record in stale)
        mailbox_id, field = stale[-1]["mailbox_id"], stale[-1]["field"]


def _reseal_one(
    conn: Connection, keys: KeyReader, workspace_id: UUID, record: Mapping[str, Any]
) -> int:
    row = SQL.mailbox(conn, workspace_id=workspace_id, mailbox_id=record["mailbox_id"])
    versions = {v["version"]: v for v in SQL.key_versions(conn, workspace_id=workspace_id)}
    active = next((v for v in versions.values() if v["state"] == "active"), None)
    if row is None or active is None:
        return 0
    field, version = record["field"], record["key_version"]
    try:
        secret = open_field(
            keys,
            workspace_id,
            row,
            field,
            version,
            versions[version]["fingerprint"],
            record["sealed"],
        )
    except (SealBroken, KeysMissing) as error:
        log.warning("not_resealed", mailbox_id=str(row["id"]), field=field, code=error.code)
        if isinstance(error, SealBroken):
            SQL.note_unopened(
                conn,
                workspace_id=workspace_id,
                mailbox_id=row["id"],
                field=field,
                generation=record["generation"],
            )
        return 0
    binding = Binding(workspace_id, row["id"], field, active["version"], destinations(row)[field])
    return int(
        SQL.reseal(
            conn,
            workspace_id=workspace_id,
            mailbox_id=row["id"],
            field=field,
            sealed=seal(active["public_key"], binding, secret),
            key_version=active["version"],
            generation=record["generation"],
            now=datetime.now(UTC),
        )
    )


def _reconnect(message: str, code: str) -> MailError:
    return MailError(
        message,
        kind=FailureKind.REAUTHENTICATE,
        stage=Stage.LOGIN,
        code=code,
        hint="Connect the mailbox again.",
    )
