"""Mailboxes: add, list, pause, resume, remove, consent."""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from uuid import UUID

import psycopg

from mailhearth_core.errors import Conflict, InvalidValue, NotFound
from mailhearth_core.ids import uuid7
from mailhearth_core.providers import provider_name_for
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Connection, Database, TenantDoor
from mailhearth_core.storage.installation import is_loopback, may_be_in_sandbox, read_installation
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.credentials import keep_sealed, seal_credentials
from mailhearth_core.verbs.mailbox_spec import MailboxSpec, check_name, check_timezone
from mailhearth_core.verbs.wishes import Actor, audit
from mailhearth_core.warmup.window import local_midnight, next_midnight

SQL = named("mailboxes")


def check_servers(conn: Connection, spec: MailboxSpec) -> None:
    """Refuses what the installation's kind does not allow.

    Raises:
        Conflict: a server in a sandbox that is neither on this machine nor the sandbox's own.
        InvalidValue: a connection without TLS to another machine.
    """
    check_places(spec, sandbox=read_installation(conn).sandbox)


def check_places(spec: MailboxSpec, *, sandbox: bool) -> None:
    """As `check_servers`, where it is known whether this is a sandbox."""
    for field, server in (("imap", spec.imap), ("smtp", spec.smtp)):
        if is_loopback(server.host):
            continue
        if sandbox and not may_be_in_sandbox(server.host):
            raise Conflict(
                f"{field}: {server.host} is no server of this sandbox, and a sandbox is one for "
                "good (its clock is scaled).",
                hint="Use another installation for real mailboxes; on one machine, another data "
                "folder.",
                code="sandbox_refused",
            )
        if server.tls == "none":
            raise InvalidValue(
                "tls", "none", "implicit or starttls; none is for servers on this machine only"
            )


def add(
    door: TenantDoor, workspace_id: UUID, pool_id: UUID, spec: MailboxSpec, actor: Actor
) -> UUID:
    """Adds a mailbox; its first sign-in is due at once. All of it is written, or nothing.

    Raises:
        Conflict: the address is in the workspace already, or the workspace is being deleted.
        NotYet: the workspace has no key so far.
    """
    mailbox_id = uuid7()
    try:
        with door.tenant_tx(workspace_id) as conn:
            keys = seal_credentials(conn, workspace_id, mailbox_id, spec)
            add_sealed(conn, workspace_id, pool_id, mailbox_id, spec, *keys, actor)
    except psycopg.errors.UniqueViolation:  # somebody added it in the same moment
        raise taken(spec.address) from None
    return mailbox_id


def add_sealed(
    conn: Connection,
    workspace_id: UUID,
    pool_id: UUID,
    mailbox_id: UUID,
    spec: MailboxSpec,
    version: int,
    sealed: Mapping[str, bytes],
    actor: Actor,
) -> None:
    """Adds a mailbox whose credential is sealed for its id already; raises as `add`."""
    check_servers(conn, spec)
    check_workspace(conn)
    if conn.execute(
        "SELECT 1 FROM mailboxes WHERE address = %s AND state <> 'removed'", (spec.address,)
    ).fetchone():
        raise taken(spec.address)
    now = business_now(conn)
    _insert(conn, workspace_id, pool_id, mailbox_id, spec, now)
    keep_sealed(conn, workspace_id, mailbox_id, version, sealed)
    _set_consent(conn, workspace_id, mailbox_id, spec.consent, actor, now)
    _ask_sign_in(conn, workspace_id, mailbox_id, now)
    audit(conn, workspace_id, "mailbox.added", actor, spec.address, imap=spec.imap.host)


class AddressTaken(Conflict):
    """The workspace has a mailbox of that address."""


def taken(address: str) -> AddressTaken:
    """The address is there already."""
    return AddressTaken(
        f"{address} is in this workspace already.",
        hint="`mailbox show` tells its state; `mailbox test --password-stdin --save` gives it a "
        "new password; `mailbox remove` takes it out.",
    )


def check_workspace(conn: Connection) -> None:
    """Refuses a workspace that is being deleted."""
    row = conn.execute("SELECT state FROM workspaces").fetchone()
    if row is None or row["state"] == "deleting":
        raise Conflict(
            "The workspace is being deleted; nothing can be added to it.",
            hint="Choose another workspace.",
        )


def _insert(
    conn: Connection,
    workspace_id: UUID,
    pool_id: UUID,
    mailbox_id: UUID,
    spec: MailboxSpec,
    now: datetime,
) -> None:
    conn.execute(
        "INSERT INTO mailboxes (workspace_id, id, pool_id, address, domain, display_name, "
        "timezone, provider, peer_provider, imap_host, imap_port, imap_tls, smtp_host, smtp_port, "
        "smtp_tls, ca_pem, username, seed, state_since, next_size_at, created_at, auth, "
        "oauth_token_endpoint, oauth_client_id) VALUES "
        "(%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, "
        "%s, %s)",
        (
            workspace_id, mailbox_id, pool_id, spec.address, spec.domain, spec.display_name,
            spec.timezone, *_providers(spec),
            spec.imap.host, spec.imap.port, spec.imap.tls,
            spec.smtp.host, spec.smtp.port, spec.smtp.tls,
            spec.ca_pem, spec.username, secrets.randbits(62), now,
            local_midnight(now, spec.timezone), now, *_grant_columns(spec),
        ),
    )  # fmt: skip
    conn.execute(
        "INSERT INTO mailbox_leases (workspace_id, mailbox_id) VALUES (%s, %s)",
        (workspace_id, mailbox_id),
    )


def _providers(spec: MailboxSpec) -> tuple[str, str]:
    """The slice, and the name for statistics."""
    if spec.grant is not None:
        return spec.grant.provider, spec.grant.provider
    return "imap_smtp", provider_name_for(spec.imap.host)


def _grant_columns(spec: MailboxSpec) -> tuple[str, str | None, str | None]:
    """auth, oauth_token_endpoint, oauth_client_id."""
    if spec.grant is None:
        return "password", None, None
    return "oauth", spec.grant.token_endpoint, spec.grant.client_id


def reconnect(
    door: TenantDoor, workspace_id: UUID, row: Mapping[str, Any], spec: MailboxSpec, actor: Actor
) -> None:
    """Gives a mailbox a new credential (and servers); its strikes are forgotten."""
    with door.tenant_tx(workspace_id) as conn:
        keys = seal_credentials(conn, workspace_id, row["id"], spec)
        reconnect_sealed(conn, workspace_id, row["id"], spec, *keys, actor)


def reconnect_sealed(
    conn: Connection,
    workspace_id: UUID,
    mailbox_id: UUID,
    spec: MailboxSpec,
    version: int,
    sealed: Mapping[str, bytes],
    actor: Actor,
) -> None:
    """As `reconnect`, by a credential that is sealed for the mailbox already."""
    check_servers(conn, spec)
    now = business_now(conn)
    conn.execute(
        "UPDATE mailboxes SET imap_host=%s, imap_port=%s, imap_tls=%s, smtp_host=%s, "
        "smtp_port=%s, smtp_tls=%s, ca_pem=%s, username=%s, provider=%s, peer_provider=%s, "
        "auth=%s, oauth_token_endpoint=%s, oauth_client_id=%s, auth_failures=0, last_error='', "
        "state = CASE WHEN state = 'needs_reauth' THEN 'active' ELSE state END, "
        "state_reason = CASE WHEN state = 'needs_reauth' THEN '' ELSE state_reason END, "
        "state_since = CASE WHEN state = 'needs_reauth' THEN %s ELSE state_since END "
        "WHERE id=%s",
        (
            spec.imap.host, spec.imap.port, spec.imap.tls,
            spec.smtp.host, spec.smtp.port, spec.smtp.tls,
            spec.ca_pem, spec.username, *_providers(spec), *_grant_columns(spec), now,
            mailbox_id,
        ),
    )  # fmt: skip
    keep_sealed(conn, workspace_id, mailbox_id, version, sealed)
    if spec.consent != "none":
        _set_consent(conn, workspace_id, mailbox_id, spec.consent, actor, now)
    _ask_sign_in(conn, workspace_id, mailbox_id, now)
    audit(conn, workspace_id, "mailbox.reconnected", actor, spec.address, imap=spec.imap.host)


def listing(door: TenantDoor, workspace_id: UUID) -> list[dict[str, Any]]:
    with door.tenant_tx(workspace_id) as conn:
        return conn.execute(
            "SELECT m.id, m.address, p.name AS pool, m.display_name, m.timezone, m.imap_host, "
            "m.imap_port, m.imap_tls, m.smtp_host, m.smtp_port, m.smtp_tls, m.username, m.ca_pem, "
            "m.state, m.state_reason, m.state_since, m.consent, m.auth_failures, m.last_error, "
            "m.last_error_at, m.connected_at, m.created_at, m.pool_id, m.domain, m.has_campaign, "
            "m.next_size_at, m.provider, m.auth, p.worker_group, m.phase, m.phase_since, "
            "m.phase_until, m.phase_cause, m.is_sensor "
            "FROM mailboxes m JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id "
            "WHERE m.state <> 'removed' ORDER BY m.address"
        ).fetchall()


def locate(database: Database, address: str, workspace: UUID | None) -> tuple[UUID, dict[str, Any]]:
    """The mailbox of that address or id: its workspace and its row.

    Raises:
        NotFound: nowhere; Conflict: in several workspaces, and none was named.
    """
    with database.tx() as conn:
        places = conn.execute(
            "SELECT workspace_id, workspace, mailbox_id FROM admin.mailboxes "
            "WHERE address = %s OR mailbox_id::text = %s",
            (address.lower(), address),
        ).fetchall()
    if workspace is not None:
        places = [place for place in places if place["workspace_id"] == workspace]
    if not places:
        raise NotFound(
            f"There is no mailbox {address!r}.", hint="`mailhearth mailbox list` names them all."
        )
    if len(places) > 1:
        names = ", ".join(sorted(place["workspace"] for place in places))
        raise Conflict(f"{address} is in several workspaces: {names}.", hint="Add --workspace.")
    workspace_id: UUID = places[0]["workspace_id"]
    for row in listing(TenantDoor(database), workspace_id):
        if row["id"] == places[0]["mailbox_id"]:
            return workspace_id, row
    raise NotFound(f"The mailbox {address!r} was just removed.")


def set_state(
    door: TenantDoor, workspace_id: UUID, row: Mapping[str, Any], state: str, actor: Actor
) -> None:
    """Pauses (drains: nothing new is sent, mail on its way is still followed) or resumes.

    To resume a mailbox is also the review that ends a block, once the days of that are over.
    """
    with door.tenant_tx(workspace_id) as conn:
        now = business_now(conn)
        reason = f"paused by {actor.name}" if state == "paused" else ""
        conn.execute(
            "UPDATE mailboxes SET state=%s, state_reason=%s, state_since=%s, "
            "auth_failures = CASE WHEN %s = 'active' THEN 0 ELSE auth_failures END, "
            "last_error = CASE WHEN %s = 'active' THEN '' ELSE last_error END, "
            "reviewed_at = CASE WHEN %s = 'active' THEN %s ELSE reviewed_at END WHERE id=%s",
            (state, reason, now, state, state, state, now, row["id"]),
        )
        if state == "active":
            _ask_sign_in(conn, workspace_id, row["id"], now)
        audit(conn, workspace_id, f"mailbox.{state}", actor, row["address"])


def remove(door: TenantDoor, workspace_id: UUID, row: Mapping[str, Any], actor: Actor) -> None:
    """Takes a mailbox out: its credential is deleted now, its unsent mail is cancelled."""
    with door.tenant_tx(workspace_id) as conn:
        now = business_now(conn)
        conn.execute("DELETE FROM sealed_credentials WHERE mailbox_id=%s", (row["id"],))
        conn.execute(
            "UPDATE mailboxes SET state='removed', state_reason=%s, state_since=%s, username='', "
            "ca_pem=NULL WHERE id=%s",
            (f"removed by {actor.name}", now, row["id"]),
        )
        _set_consent(conn, workspace_id, row["id"], "none", actor, now)
        audit(conn, workspace_id, "mailbox.removed", actor, row["address"])


def describe(
    door: TenantDoor,
    workspace_id: UUID,
    row: Mapping[str, Any],
    *,
    display_name: str,
    timezone: str,
    actor: Actor,
) -> None:
    """Changes a mailbox's name and zone; the day that runs ends as it was planned.

    Raises:
        InvalidValue: one of the two is not allowed; nothing was changed.
    """
    name, zone = check_name(display_name), check_timezone(timezone)
    with door.tenant_tx(workspace_id) as conn:
        now = business_now(conn)
        # A zone further east may have today's date already over, one further west not begun: the
        # next day that is sized is the next that begins there.
        begins = local_midnight if row["connected_at"] is None else next_midnight
        next_size_at = begins(now, zone) if zone != row["timezone"] else row["next_size_at"]
        SQL.describe(
            conn, id=row["id"], display_name=name, timezone=zone, next_size_at=next_size_at
        )
        audit(conn, workspace_id, "mailbox.described", actor, row["address"], timezone=zone)


def move(
    door: TenantDoor, workspace_id: UUID, row: Mapping[str, Any], pool_id: UUID, actor: Actor
) -> None:
    """Puts a mailbox into another pool of its workspace: its policy and peers are that pool's.

    Raises:
        NotFound: there is no such pool.
    """
    with door.tenant_tx(workspace_id) as conn:
        names = {found["id"]: found["name"] for found in SQL.pool_names(conn)}
        if pool_id not in names:
            raise NotFound("There is no such pool in this workspace.")
        SQL.move(conn, id=row["id"], pool_id=pool_id)
        audit(conn, workspace_id, "mailbox.moved", actor, row["address"], pool=names[pool_id])


def consent(
    door: TenantDoor, workspace_id: UUID, row: Mapping[str, Any], scope: str, actor: Actor
) -> None:
    """Gives or withdraws consent; who and when goes on record. Without it no sign-in happens."""
    with door.tenant_tx(workspace_id) as conn:
        now = business_now(conn)
        _set_consent(conn, workspace_id, row["id"], scope, actor, now)
        if scope != "none":
            _ask_sign_in(conn, workspace_id, row["id"], now)
            _ask_clean_up(conn, row["id"], now)
        audit(conn, workspace_id, "mailbox.consent", actor, row["address"], scope=scope)


def _set_consent(
    conn: Connection, workspace_id: UUID, mailbox_id: UUID, scope: str, actor: Actor, now: datetime
) -> None:
    conn.execute("UPDATE mailboxes SET consent=%s WHERE id=%s", (scope, mailbox_id))
    conn.execute(
        "INSERT INTO consent_ledger (workspace_id, mailbox_id, scope, actor, via, at) "
        "VALUES (%s,%s,%s,%s,%s,%s)",
        (workspace_id, mailbox_id, scope, actor.name, actor.via, now),
    )


def _ask_sign_in(conn: Connection, workspace_id: UUID, mailbox_id: UUID, now: datetime) -> None:
    conn.execute(
        "INSERT INTO action (workspace_id, mailbox_id, kind, due_at) "
        "SELECT workspace_id, id, 'poll', %s FROM mailboxes WHERE id=%s AND consent <> 'none' "
        "AND state <> 'removed' ON CONFLICT DO NOTHING",
        (now, mailbox_id),
    )


def _ask_clean_up(conn: Connection, mailbox_id: UUID, now: datetime) -> None:
    """Warmup mail that stayed behind while nobody might sign in goes when its time is over."""
    conn.execute(
        "INSERT INTO action (workspace_id, mailbox_id, kind, due_at, inbound_id) "
        "SELECT i.workspace_id, i.mailbox_id, 'expunge', greatest(%s, i.observed_at + "
        "make_interval(hours => (p.policy ->> 'retention_hours')::integer)), i.id "
        "FROM inbound i "
        "JOIN mailboxes m ON m.workspace_id = i.workspace_id AND m.id = i.mailbox_id "
        "JOIN pools p ON p.workspace_id = m.workspace_id AND p.id = m.pool_id "
        "WHERE i.mailbox_id = %s AND i.state = 'observed' AND i.expunged_at IS NULL "
        "AND NOT EXISTS (SELECT 1 FROM action a WHERE a.workspace_id = i.workspace_id "
        "AND a.inbound_id = i.id AND a.kind = 'expunge' "
        "AND a.state IN ('pending', 'leased', 'done'))",
        (now, mailbox_id),
    )
