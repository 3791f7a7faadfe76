"""Connecting a mailbox in steps: its settings are found, its password held, tested and saved.

Everything between the first form and the saved mailbox is one row of `connection_attempts`, which
lives ten minutes. The password is sealed at once for its servers, user name and mailbox id; nobody
here can read it again. Saving copies the ciphertext.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.types.json import Jsonb

from mailhearth_core.autoconfig import known
from mailhearth_core.errors import Conflict, InvalidValue, MailhearthError, NotFound
from mailhearth_core.ids import uuid7
from mailhearth_core.oauth.model import OAuthGrant
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Connection, TenantDoor
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import mailboxes
from mailhearth_core.verbs.credentials import destinations, seal_credentials
from mailhearth_core.verbs.mailbox_spec import MailboxSpec, Server
from mailhearth_core.verbs.wishes import Actor

LIFE = timedelta(minutes=10)
CONSENTS = ("none", "workspace", "network")
SQL = named("mailboxes")


class PasswordNeeded(MailhearthError):
    """A password that is held cannot be used for these settings; it must be typed again."""

    code = "password_needed"


@dataclass(frozen=True)
class Attempt:
    """One row of `connection_attempts`.

    Attributes:
        kind: `test`, `discover` or `consent`.
        state: `held`, `queued`, `running`, `ok` or `failed`.
        spec: the mailbox as it would be saved, without its password; None of a discovery.
        pool_id: where a new mailbox goes.
        is_new: whether saving adds a mailbox; else it changes the one with `mailbox_id`.
        steps: as `mail.probe.Step`.
        found: of a discovery, as `autoconfig.Suggestion.to_json`, the likeliest first.
        settings: as stored; nothing secret.
    """

    id: UUID
    kind: str
    state: str
    mailbox_id: UUID
    spec: MailboxSpec | None
    pool_id: UUID | None
    is_new: bool
    steps: list[dict[str, Any]]
    found: list[dict[str, Any]]
    settings: dict[str, Any]
    created_at: datetime
    expires_at: datetime

    @property
    def is_over(self) -> bool:
        return self.state in ("ok", "failed")


def discover(door: TenantDoor, workspace_id: UUID, address: str) -> UUID:
    """Finds the settings of an address, by the table or else by a worker; returns the attempt.

    Raises:
        Conflict: the address is there already, or the workspace is being deleted.
        NotFound: the workspace has no pool.
    """
    suggestion = known(address)
    with door.tenant_tx(workspace_id) as conn:
        mailboxes.check_workspace(conn)
        refuse_taken(conn, address)
        return insert(
            conn,
            workspace_id,
            kind="discover",
            mailbox_id=uuid7(),
            worker_group=worker_group(conn, None),
            settings={"address": address, "domain": address.rpartition("@")[2]},
            state="ok" if suggestion else "queued",
            found=[suggestion.to_json()] if suggestion else [],
        )


def try_out(
    door: TenantDoor,
    workspace_id: UUID,
    pool_id: UUID,
    spec: MailboxSpec,
    *,
    mailbox_id: UUID | None = None,
    held: UUID | None = None,
    hold_only: bool = False,
) -> UUID:
    """Asks a worker to try a mailbox; returns the attempt.

    Args:
        spec: with a password, or without one when `held` has it.
        mailbox_id: of a mailbox that is there and gets these settings; None for a new one.
        held: an earlier attempt whose password is used again. It is gone afterwards.
        hold_only: only keep the password for the next form; no worker is asked.
    Raises:
        PasswordNeeded: neither has a password, or `held` has it for other servers or another user.
        Conflict: the address of a new mailbox is there already; a sandbox takes no such server.
        NotYet: the workspace has no key so far.
    """
    with door.tenant_tx(workspace_id) as conn:
        mailboxes.check_workspace(conn)
        mailboxes.check_servers(conn, spec)
        if mailbox_id is None and not hold_only:
            refuse_taken(conn, spec.address)
        settings = settings_of(spec, pool_id, is_new=mailbox_id is None)
        before = _take(conn, held) if held else None
        if spec.password:
            id_of = mailbox_id or uuid7()
            version, sealed = seal_credentials(conn, workspace_id, id_of, spec)
            encoded = {field: b64encode(blob).decode() for field, blob in sealed.items()}
        else:
            if before is None:
                raise PasswordNeeded("Type the password.")
            is_same = destinations(before["settings"]) == destinations(settings)
            if not is_same or mailbox_id not in (None, before["mailbox_id"]):
                raise PasswordNeeded(
                    "The password that is held is for other servers or another user name; "
                    "type it again."
                )
            id_of, version, encoded = before["mailbox_id"], before["key_version"], before["sealed"]
        return insert(
            conn,
            workspace_id,
            mailbox_id=id_of,
            worker_group=worker_group(conn, pool_id),
            settings=settings,
            key_version=version,
            sealed=encoded,
            state="held" if hold_only else "queued",
        )


def look(door: TenantDoor, workspace_id: UUID, attempt_id: UUID) -> Attempt:
    """How an attempt stands.

    Raises:
        NotFound: it is over, saved, or was lost.
    """
    with door.tenant_tx(workspace_id) as conn:
        row = SQL.attempt(conn, id=attempt_id, now=datetime.now(UTC))
    if row is None:
        raise _lost()
    return _attempt(row)


def save(
    door: TenantDoor, workspace_id: UUID, attempt_id: UUID, consent: str | None, actor: Actor
) -> UUID:
    """Keeps what an attempt has proved; returns the mailbox. All of it is written, or nothing.

    Args:
        consent: none, workspace or network, of a new mailbox; None leaves that of one there is.
    Raises:
        NotFound: it is over, saved already, or was lost.
        Conflict: it did not succeed; the address has come in by another way; or the key it was
            sealed to is gone.
    """
    address = ""
    try:
        with door.tenant_tx(workspace_id) as conn:
            row = _take(conn, attempt_id)
            address = row["settings"].get("address", "") if row else ""
            if row is None:
                raise _lost()
            if row["state"] != "ok" or "is_new" not in row["settings"]:
                raise Conflict(
                    "There is no successful connection test to save.",
                    hint="Correct it and test again.",
                )
            return _keep(conn, workspace_id, _attempt(row), row, consent, actor)
    except psycopg.errors.UniqueViolation:
        raise mailboxes.taken(address) from None


def drop(door: TenantDoor, workspace_id: UUID, attempt_id: UUID) -> None:
    """Forgets an attempt and the credential it carried."""
    with door.tenant_tx(workspace_id) as conn:
        _take(conn, attempt_id)


# -- shared with the other ways to an attempt -----------------------------------------------------


def insert(
    conn: Connection,
    workspace_id: UUID,
    *,
    mailbox_id: UUID,
    worker_group: str,
    settings: Mapping[str, Any],
    kind: str = "test",
    key_version: int = 0,
    sealed: Mapping[str, str] | None = None,
    state: str = "queued",
    found: Sequence[Mapping[str, Any]] = (),
) -> UUID:
    """Writes an attempt; returns its id."""
    attempt_id = uuid7()
    machine = datetime.now(UTC)
    SQL.add_attempt(
        conn,
        workspace_id=workspace_id,
        id=attempt_id,
        kind=kind,
        state=state,
        mailbox_id=mailbox_id,
        worker_group=worker_group,
        settings=Jsonb(dict(settings)),
        key_version=key_version,
        sealed=Jsonb(dict(sealed or {})),
        found=Jsonb(list(found)),
        created_at=machine,
        expires_at=machine + LIFE,
    )
    return attempt_id


def settings_of(spec: MailboxSpec, pool_id: UUID | None, *, is_new: bool) -> dict[str, Any]:
    """What an attempt or an import keeps of a mailbox: everything but its credential."""
    grant = spec.grant
    return {
        "address": spec.address,
        "imap_host": spec.imap.host, "imap_port": spec.imap.port, "imap_tls": spec.imap.tls,
        "smtp_host": spec.smtp.host, "smtp_port": spec.smtp.port, "smtp_tls": spec.smtp.tls,
        "ca_pem": spec.ca_pem, "username": spec.username, "display_name": spec.display_name,
        "timezone": spec.timezone, "consent": spec.consent,
        "provider": grant.provider if grant else "imap_smtp",
        "auth": "oauth" if grant else "password",
        "oauth_token_endpoint": grant.token_endpoint if grant else None,
        "oauth_client_id": grant.client_id if grant else None,
        "pool_id": str(pool_id) if pool_id else None, "is_new": is_new,
    }  # fmt: skip


def spec_of(settings: Mapping[str, Any]) -> MailboxSpec:
    """The mailbox that `settings_of` kept, without its credential."""
    grant = None
    if settings["auth"] == "oauth":
        grant = OAuthGrant(
            settings["provider"],
            settings["oauth_token_endpoint"],
            settings["oauth_client_id"],
            Secret(""),
        )
    return MailboxSpec(
        address=settings["address"],
        imap=Server(settings["imap_host"], settings["imap_port"], settings["imap_tls"]),
        smtp=Server(settings["smtp_host"], settings["smtp_port"], settings["smtp_tls"]),
        username=settings["username"],
        password=Secret(""),
        ca_pem=settings["ca_pem"],
        display_name=settings["display_name"],
        timezone=settings["timezone"],
        consent=settings["consent"],
        grant=grant,
    )


def refuse_taken(conn: Connection, address: str) -> None:
    """Raises Conflict when the workspace has a mailbox of that address."""
    if list(SQL.taken_among(conn, addresses=[address])):
        raise mailboxes.taken(address)


def usable_key(conn: Connection, version: int) -> None:
    """Raises Conflict when what is sealed to that key version cannot be opened any more."""
    if not SQL.usable_key(conn, version=version):
        raise Conflict(
            "The workspace's key has been replaced since the password was typed.",
            hint="Type it again.",
        )


def _keep(
    conn: Connection,
    workspace_id: UUID,
    attempt: Attempt,
    row: Mapping[str, Any],
    consent: str | None,
    actor: Actor,
) -> UUID:
    assert attempt.spec is not None
    usable_key(conn, row["key_version"])
    sealed = {field: b64decode(text) for field, text in row["sealed"].items()}
    if attempt.is_new:
        assert attempt.pool_id is not None
        mailboxes.add_sealed(
            conn,
            workspace_id,
            attempt.pool_id,
            attempt.mailbox_id,
            _with_consent(attempt.spec, consent or "none"),
            row["key_version"],
            sealed,
            actor,
        )
        return attempt.mailbox_id
    if not SQL.lock_mailbox(conn, id=attempt.mailbox_id):
        raise NotFound("The mailbox was removed meanwhile.")
    mailboxes.reconnect_sealed(
        conn,
        workspace_id,
        attempt.mailbox_id,
        _with_consent(attempt.spec, "none"),  # that of the mailbox stays
        row["key_version"],
        sealed,
        actor,
    )
    return attempt.mailbox_id


def _with_consent(spec: MailboxSpec, consent: str) -> MailboxSpec:
    if consent not in CONSENTS:
        raise InvalidValue("consent", consent, ", ".join(CONSENTS))
    return replace(spec, consent=consent)


def _take(conn: Connection, attempt_id: UUID) -> dict[str, Any] | None:
    """The attempt's row, which is gone with this transaction."""
    row: dict[str, Any] | None = SQL.take_attempt(conn, id=attempt_id, now=datetime.now(UTC))
    return row


def worker_group(conn: Connection, pool_id: UUID | None) -> str:
    """The group that works for a pool, or for the workspace's first; raises NotFound."""
    group: str | None = SQL.worker_group(conn, pool_id=pool_id)
    if group is None:
        raise NotFound("There is no such pool in this workspace.", hint="Make a pool first.")
    return group


def _attempt(row: Mapping[str, Any]) -> Attempt:
    settings = row["settings"]
    pool = settings.get("pool_id")
    return Attempt(
        id=row["id"],
        kind=row["kind"],
        state=row["state"],
        mailbox_id=row["mailbox_id"],
        spec=spec_of(settings) if "display_name" in settings else None,
        pool_id=UUID(pool) if pool else None,
        is_new=bool(settings.get("is_new")),
        steps=row["steps"],
        found=row["found"],
        settings=settings,
        created_at=row["created_at"],
        expires_at=row["expires_at"],
    )


def _lost() -> NotFound:
    return NotFound(
        "This connection test is over: it was saved, took longer than ten minutes, or was lost.",
        hint="Start again.",
    )
