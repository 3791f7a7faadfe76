"""A mailbox's owner consents in the browser: the code that comes back is sealed for a worker.

The web makes state and verifier and never sees a token. The worker exchanges the code, checks whose
consent it is and for what, and puts the sealed refresh token into the attempt in the code's place.
"""

from __future__ import annotations

import json
from base64 import b64encode
from collections.abc import Mapping
from dataclasses import dataclass, replace
from uuid import UUID

from mailhearth_core.ids import uuid7
from mailhearth_core.sealing import Binding, OAuthDestination, seal
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import TenantDoor
from mailhearth_core.verbs import mailboxes
from mailhearth_core.verbs.connecting import insert, refuse_taken, settings_of, worker_group
from mailhearth_core.verbs.credentials import Sealer
from mailhearth_core.verbs.mailbox_spec import MailboxSpec
from mailhearth_core.verbs.oauth import parse_grant

CODE = "oauth_code"
"""The field of an attempt that holds what the browser brought."""


@dataclass(frozen=True)
class Handed:
    """What the worker exchanges."""

    code: Secret
    verifier: Secret
    redirect_uri: str

    def to_secret(self) -> Secret:
        return Secret(json.dumps([self.code.reveal(), self.verifier.reveal(), self.redirect_uri]))

    @classmethod
    def of(cls, secret: Secret) -> Handed:
        code, verifier, redirect_uri = json.loads(secret.reveal())
        return cls(Secret(code), Secret(verifier), redirect_uri)


def check(
    provider: str, values: Mapping[str, str | None], *, token_endpoint: str, client_id: str
) -> MailboxSpec:
    """The mailbox that a consent is asked for; it has no refresh token so far.

    Raises:
        InvalidMailbox: as `parse_grant`.
    """
    spec = parse_grant(
        provider,
        values,
        Secret("none so far"),
        token_endpoint=token_endpoint,
        client_id=client_id,
    )
    assert spec.grant is not None
    return replace(spec, grant=replace(spec.grant, refresh_token=Secret("")))


def may_begin(door: TenantDoor, workspace_id: UUID, spec: MailboxSpec, *, is_new: bool) -> None:
    """Raises as `hand_over` would, before anybody is sent away to consent."""
    with door.tenant_tx(workspace_id) as conn:
        mailboxes.check_workspace(conn)
        mailboxes.check_servers(conn, spec)
        if is_new:
            refuse_taken(conn, spec.address)


def hand_over(
    door: TenantDoor,
    workspace_id: UUID,
    pool_id: UUID,
    spec: MailboxSpec,
    handed: Handed,
    *,
    mailbox_id: UUID | None = None,
) -> UUID:
    """Asks a worker to exchange a code and to try the mailbox; returns the attempt.

    Args:
        spec: of `check`.
        mailbox_id: of a mailbox that is there and is connected again; None for a new one.
    Raises:
        Conflict: the address of a new mailbox is there already; a sandbox takes no such server.
        NotYet: the workspace has no key so far.
    """
    assert spec.grant is not None
    with door.tenant_tx(workspace_id) as conn:
        mailboxes.check_workspace(conn)
        mailboxes.check_servers(conn, spec)
        if mailbox_id is None:
            refuse_taken(conn, spec.address)
        sealer = Sealer.of(conn, workspace_id)
        id_of = mailbox_id or uuid7()
        where = OAuthDestination(spec.grant.token_endpoint, spec.grant.client_id)
        blob = seal(
            sealer.public_key,
            Binding(workspace_id, id_of, CODE, sealer.version, where),
            handed.to_secret(),
        )
        return insert(
            conn,
            workspace_id,
            kind="consent",
            mailbox_id=id_of,
            worker_group=worker_group(conn, pool_id),
            settings=settings_of(spec, pool_id, is_new=mailbox_id is None),
            key_version=sealer.version,
            sealed={CODE: b64encode(blob).decode()},
        )
