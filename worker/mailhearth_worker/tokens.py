"""Access tokens: fetched when a mailbox is signed in to, kept in this process's memory alone.

A refresh is one at a time for a mailbox: over threads by a lock, over workers by a claim on the
credential's row (`queries/oauth.sql`), which runs out when its holder dies. Where the endpoint
answers with a new refresh token (Microsoft does each time, Google hardly ever), it is sealed and
stored before the access token is used, and never over something newer: the credential's generation
decides.

A crash between the endpoint's answer and that write loses the new refresh token. The stored one
still works then: Google does not replace it, and Microsoft does not revoke a refresh token that was
used (both say so in their documents on refresh tokens). With an endpoint that does revoke it the
next refresh ends as `invalid_grant`, and the mailbox must be connected again.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Lock
from typing import Any
from uuid import UUID, uuid4

import structlog

from mailhearth_core.errors import NotYet, ServiceUnavailable
from mailhearth_core.keystore import KeyReader
from mailhearth_core.mail.model import FailureKind, Login, MailError, Mechanism, Stage
from mailhearth_core.net import Dialer
from mailhearth_core.oauth.endpoint import DEADLINE_S, check_grant, refresh
from mailhearth_core.oauth.model import (
    OWNERS,
    GrantRefused,
    OAuthClient,
    TokenAnswer,
    endpoint_trouble,
)
from mailhearth_core.sealing import Binding, seal
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import WorkerSettings
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.credentials import REFRESH_TOKEN, destinations
from mailhearth_worker.credentials import open_record, refresh_token_missing

log = structlog.get_logger()
SQL = named("oauth")

CLAIM_S = 60
"""Life of a claim, machine seconds: longer than the request and the write together."""
WAIT_S = DEADLINE_S + 5
"""How long another worker's refresh is waited for."""
WRITE_S = 30.0
"""How long a database that is away is tried for the new refresh token."""
EARLY_S = 300
"""A token is fetched anew this long before it expires, or after three quarters of its life if that
is short: a session that has just begun should not lose it at once."""


@dataclass(frozen=True)
class _Held:
    token: Secret
    good_until: float
    generation: int


class Tokens:
    """The access tokens of one worker process; may be used by several threads.

    Args:
        clients: this installation's OAuth clients, by provider.
        clock: seconds of machine time.
    """

    def __init__(
        self,
        clients: Mapping[str, OAuthClient],
        keys: KeyReader,
        dialer: Dialer,
        *,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clients = dict(clients)
        self._keys = keys
        self._dialer = dialer
        self._clock = clock
        self._held: dict[UUID, _Held] = {}
        self._locks: dict[UUID, Lock] = {}
        self._guard = Lock()

    def __repr__(self) -> str:
        return f"Tokens({len(self._held)} held)"

    def login(self, door: Database, row: Mapping[str, Any]) -> Login:
        """The login of a mailbox, with a token that is good for a while.

        Args:
            row: of the query `mailbox`.
        Raises:
            GrantRefused: the owner must sign in again.
            MailError: the endpoint cannot be asked now, or this installation's client is not
                accepted; no fault of the mailbox.
            KeysMissing: see `credentials.open_field`.
        """
        # Before anything else, for a token that is held as well: only the providers that have a
        # client show a token to their own servers alone.
        client = self.client(row)
        with self._lock(row["id"]):
            with door.tx() as conn:
                generation = SQL.credential_generation(conn, **_keys(row))
            held = self._held.get(row["id"])
            if held is None or held.generation != generation or held.good_until <= self._clock():
                held = self._fetch(door, row, client)
            return Login(row["username"], held.token, Mechanism.OAUTH)

    def is_refused(self, row: Mapping[str, Any], error: MailError) -> bool:
        """Whether a mail server refused a token that this process holds as a good one."""
        return (
            row["auth"] == "oauth"
            and row["id"] in self._held
            and error.kind is FailureKind.REAUTHENTICATE
            and error.stage is Stage.LOGIN
            and not isinstance(error, GrantRefused)
        )

    def forget(self, mailbox_id: UUID) -> None:
        """The next sign-in fetches a token anew."""
        self._held.pop(mailbox_id, None)

    def _lock(self, mailbox_id: UUID) -> Lock:
        with self._guard:
            return self._locks.setdefault(mailbox_id, Lock())

    def _fetch(self, door: Database, row: Mapping[str, Any], client: OAuthClient) -> _Held:
        self.forget(row["id"])
        claim = uuid4()
        record = self._claim(door, row, claim)
        try:
            with door.tx() as conn:
                secret = open_record(
                    conn, self._keys, row["workspace_id"], row, REFRESH_TOKEN, record
                )
            asked_at = self._clock()
            answer = self._ask(door, row, client, secret, record)
            generation = self._keep(door, row, answer, secret, record["generation"], claim)
        finally:
            with suppress(ServiceUnavailable), door.tx() as conn:  # else it runs out by itself
                SQL.end_refresh(conn, **_keys(row), claim=claim)
        check_grant(
            client.provider,
            answer,
            frozenset({row["address"].lower(), row["username"].lower()}),
        )
        early = min(EARLY_S, answer.lifetime_s / 4)
        held = _Held(answer.access_token, asked_at + answer.lifetime_s - early, generation)
        self._held[row["id"]] = held
        log.info("token_refreshed", mailbox_id=str(row["id"]), lifetime_s=answer.lifetime_s)
        return held

    def client(self, row: Mapping[str, Any]) -> OAuthClient:
        """The client that the mailbox's consent was given to.

        Raises:
            MailError: the installation has none, or another: a setting, no fault of the mailbox.
        """
        client = self._clients.get(row["provider"])
        owner = OWNERS.get(row["provider"], row["provider"])
        given = (row["oauth_token_endpoint"], row["oauth_client_id"])
        if client is not None and (client.token_endpoint, client.client_id) == given:
            return client
        has = "another" if client is not None else "none"
        raise endpoint_trouble(
            f"The mailbox was connected through {owner}'s OAuth client {given[1]}, "
            f"and this worker has {has}.",
            code="oauth_client_unknown",
            hint=f"Set MAILHEARTH_{owner.upper()}_CLIENT_ID (and _CLIENT_SECRET) of the workers to "
            "that client, or connect the mailbox again.",
            permanent=True,
        )

    def _claim(self, door: Database, row: Mapping[str, Any], claim: UUID) -> dict[str, Any]:
        """Takes the mailbox's one place at the endpoint; waits while another worker has it."""
        end = time.monotonic() + WAIT_S
        while True:
            with door.tx() as conn:
                record: dict[str, Any] | None = SQL.claim_refresh(
                    conn, **_keys(row), claim=claim, seconds=CLAIM_S
                )
                there = record or SQL.credential_generation(conn, **_keys(row)) is not None
            if record is not None:
                return record
            if not there:
                raise refresh_token_missing(row)
            if time.monotonic() > end:
                raise endpoint_trouble(
                    "Another worker has been fetching this mailbox's token for too long.",
                    code="token_being_refreshed",
                )
            time.sleep(0.1)

    def _ask(
        self,
        door: Database,
        row: Mapping[str, Any],
        client: OAuthClient,
        secret: Secret,
        record: Mapping[str, Any],
    ) -> TokenAnswer:
        try:
            return refresh(client, secret, self._dialer)
        except GrantRefused:
            with door.tx() as conn:
                generation = SQL.credential_generation(conn, **_keys(row))
            if generation != record["generation"]:  # the token that was refused is not the one now
                raise endpoint_trouble(
                    "The mailbox's consent was given anew meanwhile.", code="credential_changed"
                ) from None
            raise

    def _keep(
        self,
        door: Database,
        row: Mapping[str, Any],
        answer: TokenAnswer,
        spent: Secret,
        generation: int,
        claim: UUID,
    ) -> int:
        """Stores a rotated refresh token; the generation that the access token belongs to."""
        rotated = answer.refresh_token
        if rotated is None or rotated == spent:
            return generation
        end = time.monotonic() + WRITE_S
        while True:
            try:
                return self._write(door, row, rotated, generation, claim)
            except ServiceUnavailable:
                if time.monotonic() > end:
                    raise
                time.sleep(0.2)

    def _write(
        self,
        door: Database,
        row: Mapping[str, Any],
        rotated: Secret,
        generation: int,
        claim: UUID,
    ) -> int:
        with door.tx() as conn:
            key = SQL.active_key(conn, workspace_id=row["workspace_id"])
            if key is None:
                raise NotYet("The workspace has no active key.", hint="It is tried again later.")
            binding = Binding(
                row["workspace_id"],
                row["id"],
                REFRESH_TOKEN,
                key["version"],
                destinations(row)[REFRESH_TOKEN],
            )
            written: int | None = SQL.keep_rotated(
                conn,
                **_keys(row),
                sealed=seal(key["public_key"], binding, rotated),
                key_version=key["version"],
                generation=generation,
                claim=claim,
                now=datetime.now(UTC),
            )
        if written is None:
            log.info("token_superseded", mailbox_id=str(row["id"]))
            raise endpoint_trouble(
                "The mailbox's consent was given anew meanwhile.", code="credential_changed"
            )
        return written


def clients_of(settings: WorkerSettings) -> dict[str, OAuthClient]:
    """The OAuth clients that a worker's settings name, by provider."""
    clients = (
        OAuthClient(
            "gmail",
            settings.google_token_endpoint,
            settings.google_client_id,
            settings.google_client_secret,
        ),
        OAuthClient(
            "outlook",
            settings.microsoft_token_endpoint,
            settings.microsoft_client_id,
            settings.microsoft_client_secret,
        ),
    )
    return {client.provider: client for client in clients if client.client_id}


def _keys(row: Mapping[str, Any]) -> dict[str, UUID]:
    return {"workspace_id": row["workspace_id"], "mailbox_id": row["id"]}
