"""Exchanging the code of an owner's consent: once, for the account and scopes that were asked."""

from __future__ import annotations

from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from mailhearth_core.errors import NotFound, NotYet
from mailhearth_core.mail.model import Login, Mechanism
from mailhearth_core.mail.probe import Step
from mailhearth_core.oauth.endpoint import check_grant, exchange_code
from mailhearth_core.oauth.model import OWNERS
from mailhearth_core.sealing import Binding, OAuthDestination, open_sealed, seal
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.consents import CODE, Handed
from mailhearth_core.verbs.credentials import REFRESH_TOKEN
from mailhearth_worker.runtime import Runtime

SQL = named("oauth")


def exchange(
    runtime: Runtime,
    door: Database,
    workspace_id: UUID,
    attempt: dict[str, Any],
    prints: dict[int, str],
    tell: Callable[[Step], None],
) -> Login:
    """The login that a consent gives; its refresh token lies sealed in the attempt afterwards.

    Raises:
        MailError: the code, the account or the scopes are no good, or the endpoint is away.
        NotFound: the code was spent by a worker that did not come to an end.
        KeysMissing, SealBroken: see `credentials.open_field`.
    """
    settings, version = attempt["settings"], attempt["key_version"]
    if CODE not in attempt["sealed"]:
        raise NotFound("The consent was exchanged, but its test did not end.", hint="Try again.")
    client = runtime.tokens.client(settings)
    where = OAuthDestination(settings["oauth_token_endpoint"], settings["oauth_client_id"])
    key = runtime.keys.open(workspace_id, version, prints.get(version, ""))
    binding = Binding(workspace_id, attempt["mailbox_id"], CODE, version, where)
    handed = Handed.of(open_sealed(key, binding, b64decode(attempt["sealed"][CODE])))
    answer = exchange_code(
        client, handed.code, handed.verifier, handed.redirect_uri, runtime.dialer
    )
    owner = OWNERS[client.provider]
    tell(Step("consent.exchange", True, f"{owner} accepts the consent."))
    names = frozenset({settings["address"].lower(), settings["username"].lower()})
    check_grant(client.provider, answer, names)
    tell(Step("consent.account", True, f"It is for {settings['address']} and covers its mail."))
    assert answer.refresh_token is not None
    _keep(door, workspace_id, attempt, where, answer.refresh_token)
    return Login(settings["username"], answer.access_token, Mechanism.OAUTH)


def _keep(
    door: Database,
    workspace_id: UUID,
    attempt: dict[str, Any],
    where: OAuthDestination,
    token: Secret,
) -> None:
    with door.tx() as conn:
        key = SQL.active_key(conn, workspace_id=workspace_id)
        if key is None:
            raise NotYet("The workspace has no active key.", hint="Try again later.")
        binding = Binding(workspace_id, attempt["mailbox_id"], REFRESH_TOKEN, key["version"], where)
        blob = seal(key["public_key"], binding, token)
        SQL.keep_granted(
            conn,
            workspace_id=workspace_id,
            id=attempt["id"],
            key_version=key["version"],
            sealed=Jsonb({REFRESH_TOKEN: b64encode(blob).decode()}),
        )
