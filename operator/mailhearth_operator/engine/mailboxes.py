"""Mailboxes that labelled Secrets declare: sealed into the database when the Secret has changed.

The keys of such a Secret are the long options of `mailhearth mailbox add`, and `password`.
"""

from __future__ import annotations

import base64
import binascii
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any
from uuid import UUID

import structlog

from mailhearth_core.errors import MailhearthError
from mailhearth_core.oauth.addresses import TOKEN_ENDPOINTS
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs import mailboxes
from mailhearth_core.verbs.mailbox_spec import YES, MailboxSpec, parse_spec
from mailhearth_core.verbs.oauth import parse_grant
from mailhearth_core.verbs.wishes import Actor
from mailhearth_operator.cluster.kinds import MAILBOX_LABEL, SECRET, Object
from mailhearth_operator.engine.context import SQL, Context
from mailhearth_operator.resources.conditions import CREDENTIALS_SEALED, Condition
from mailhearth_operator.resources.spec import PoolSpec

log = structlog.get_logger()
OPTIONS = frozenset(
    [
        "address",
        "imap",
        "smtp",
        "tls",
        "ca",
        "username",
        "name",
        "timezone",
        "consent",
        "network",
        "password",
        "provider",
        "refresh-token",
        "client-id",
        "token-endpoint",
    ]
)


class SecretRefused(MailhearthError):
    """A Secret does not declare a mailbox; the message names what is wrong with it."""

    code = "secret_refused"


class DeclaredMailboxes:
    """Brings a pool's mailboxes to what its Secrets say."""

    def __init__(self, context: Context, *, allow_app_passwords: bool) -> None:
        self._context = context
        self._allow_app_passwords = allow_app_passwords

    def ensure(
        self, pool: Object, spec: PoolSpec, workspace_id: UUID, pool_id: UUID, timezone: str
    ) -> Condition:
        """Returns CredentialsSealed; a Secret that is refused does not hold the others up."""
        with self._context.database.tx() as conn:
            rows = list(SQL.declared(conn, workspace_id=workspace_id, pool_id=pool_id))
        known = {row["secret"]: row for row in rows}
        holders = {row["address"]: row["secret"] for row in rows if row["secret"] in spec.mailboxes}
        wrong: list[str] = []

        @cache
        def there() -> Mapping[str, dict[str, Any]]:
            """By address, as before the first change: no two Secrets are of one address."""
            rows = mailboxes.listing(self._context.door, workspace_id)
            return {box["address"]: box for box in rows}

        for name in spec.mailboxes:
            try:
                self._ensure_one(
                    spec, workspace_id, pool_id, name, known.get(name), timezone, holders, there
                )
            except MailhearthError as error:
                if not error.permanent:
                    raise
                wrong.append(f"{name}: {error}")
        for name in known.keys() - set(spec.mailboxes):
            self._note(workspace_id, known[name]["mailbox_id"], None, None)
            log.info("mailbox_detached", secret=name, address=known[name]["address"])
        if wrong:
            told = " ".join(wrong)
            self._context.events.tell(pool, "Warning", "SecretRefused", told, "SealCredentials")
            return Condition(CREDENTIALS_SEALED, "False", "SecretRefused", told)
        if not spec.mailboxes:
            told = "No Secret declares a mailbox."
            return Condition(CREDENTIALS_SEALED, "True", "NoneDeclared", told)
        told = f"{len(spec.mailboxes)} Secrets are sealed in."
        return Condition(CREDENTIALS_SEALED, "True", "Sealed", told)

    def _ensure_one(
        self,
        spec: PoolSpec,
        workspace_id: UUID,
        pool_id: UUID,
        name: str,
        row: Mapping[str, Any] | None,
        timezone: str,
        holders: dict[str, str],
        there: Callable[[], Mapping[str, dict[str, Any]]],
    ) -> None:
        seen = self._context.seen.get(SECRET, spec.namespace, name)
        if row is not None and seen is not None and row["digest"] == seen["x-digest"]:
            return
        secret = self._read(spec.namespace, name)
        actor = Actor(f"secret {spec.namespace}/{name}", "kubernetes")
        declared = self._parse(secret, timezone)
        holder = holders.setdefault(declared.address, name)
        if holder != name:
            raise SecretRefused(
                f"{declared.address} is declared by the Secret {holder} already.",
                hint="Take one of the two out of spec.mailboxes.",
            )
        box = there().get(declared.address)
        mailbox_id = self._keep(workspace_id, pool_id, declared, row, box, actor)
        self._note(workspace_id, mailbox_id, name, _digest(self._context, spec.namespace, name))

    def _read(self, namespace: str, name: str) -> Object:
        secret = self._context.api.get(SECRET, namespace, name)
        if secret is None:
            raise SecretRefused("there is no such Secret.", hint="Make it in this namespace.")
        if secret["metadata"].get("labels", {}).get(MAILBOX_LABEL) != "true":
            raise SecretRefused(
                f"the Secret lacks the label {MAILBOX_LABEL}=true.",
                hint=f"kubectl label secret {name} {MAILBOX_LABEL}=true",
            )
        self._context.seen.put(SECRET, secret)
        return secret

    def _parse(self, secret: Object, timezone: str) -> MailboxSpec:
        values = _values(secret)
        given: dict[str, str | None] = {
            key.replace("-", "_"): value for key, value in values.items()
        }
        password = given.pop("password", None)
        token = given.pop("refresh_token", None)
        provider = given.pop("provider", None)
        client_id = given.pop("client_id", None) or ""
        endpoint = given.pop("token_endpoint", None) or TOKEN_ENDPOINTS.get(provider or "", "")
        given["ca_pem"] = given.pop("ca", None)
        given["timezone"] = given.get("timezone") or timezone
        network = str(given.pop("network", None)).lower() in YES
        agreed = str(given.get("consent")).lower() in {*YES, "workspace"}
        given["consent"] = "network" if network else "workspace" if agreed else "none"
        if provider:
            return parse_grant(
                provider,
                given,
                Secret(token or ""),
                client_id=client_id,
                token_endpoint=endpoint,
            )
        return parse_spec(
            given, Secret(password or ""), allow_app_passwords=self._allow_app_passwords
        )

    def _keep(
        self,
        workspace_id: UUID,
        pool_id: UUID,
        declared: MailboxSpec,
        row: Mapping[str, Any] | None,
        box: dict[str, Any] | None,
        actor: Actor,
    ) -> UUID:
        """Adds the mailbox, or gives the one that is there (`box`) what the Secret says now."""
        door = self._context.door
        if row is not None and row["address"] != declared.address:
            # Another mailbox is declared now; the one before stays, as after a removal.
            self._note(workspace_id, row["mailbox_id"], None, None)
        if box is None:
            return mailboxes.add(door, workspace_id, pool_id, declared, actor)
        if box["pool_id"] != pool_id:
            raise SecretRefused(
                f"{declared.address} is in another pool of this workspace already.",
                hint="Declare it there, or move it with `mailhearth mailbox move`.",
            )
        mailboxes.reconnect(door, workspace_id, box, declared, actor)
        mailboxes.describe(
            door,
            workspace_id,
            box,
            display_name=declared.display_name,
            timezone=declared.timezone,
            actor=actor,
        )
        if declared.consent == "none" and box["consent"] != "none":
            mailboxes.consent(door, workspace_id, box, "none", actor)
        mailbox_id: UUID = box["id"]
        return mailbox_id

    def _note(
        self, workspace_id: UUID, mailbox_id: UUID, secret: str | None, digest: str | None
    ) -> None:
        with self._context.database.tx() as conn:
            list(
                SQL.note_declared(
                    conn,
                    workspace_id=workspace_id,
                    mailbox_id=mailbox_id,
                    secret=secret,
                    digest=digest,
                )
            )


def _digest(context: Context, namespace: str, name: str) -> str:
    seen = context.seen.get(SECRET, namespace, name)
    assert seen is not None  # `_read` put it there
    return str(seen["x-digest"])


def _values(secret: Object) -> dict[str, str]:
    """The Secret's texts.

    Raises:
        SecretRefused: it has a key that is no option of `mailbox add`, or no text.
    """
    found: dict[str, str] = {}
    for key, value in (secret.get("data") or {}).items():
        if key not in OPTIONS:
            raise SecretRefused(
                f"the key {key!r} is none of {', '.join(sorted(OPTIONS))}.",
                hint="The keys are the long options of `mailhearth mailbox add`.",
            )
        try:
            text = base64.b64decode(value).decode()
        except (binascii.Error, UnicodeDecodeError):
            raise SecretRefused(f"the key {key!r} holds no text.") from None
        found[key] = text if key == "ca" else text.removesuffix("\n")
    return found
