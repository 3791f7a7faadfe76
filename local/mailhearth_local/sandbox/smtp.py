"""The SMTP side: submission by the sandbox's own users to the sandbox's own addresses."""

from __future__ import annotations

import asyncio
import hmac
import logging
import secrets
import ssl
from typing import Any

from aiosmtpd.smtp import SMTP, AuthResult, Envelope, LoginPassword, Session

from mailhearth_local.sandbox.accounts import AccountsFile
from mailhearth_local.sandbox.delivery import Delivery
from mailhearth_local.sandbox.domains import domain_of

log = logging.getLogger(__name__)
HOSTNAME = "mx.sandbox.test"
SIZE_LIMIT = 26_214_400
"""Bytes of one message; announced by SIZE (RFC 1870)."""
RECIPIENT_LIMIT = 100


class Handler:
    """aiosmtpd's hooks: each answers with a reply of RFC 5321 and a code of RFC 3463."""

    def __init__(self, accounts: AccountsFile, delivery: Delivery) -> None:
        self._accounts = accounts
        self._delivery = delivery

    def authenticate(
        self, server: SMTP, session: Session, envelope: Envelope, mechanism: str, data: Any
    ) -> AuthResult:
        """Called by aiosmtpd for PLAIN and LOGIN."""
        if isinstance(data, LoginPassword):
            address = data.login.decode(errors="replace").lower()
            user = self._accounts.current().users.get(address)
            if user is not None and hmac.compare_digest(
                data.password, user.password.reveal().encode()
            ):
                return AuthResult(success=True, auth_data=address)
        return AuthResult(success=False, handled=False)

    async def handle_MAIL(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        if not session.authenticated:
            return "530 5.7.0 Authentication required"
        if address.lower() != session.auth_data:
            return "553 5.7.1 Sender address does not belong to the signed-in user"
        envelope.mail_from = address.lower()
        envelope.mail_options.extend(options)
        return "250 2.1.0 Sender accepted"

    async def handle_RCPT(
        self, server: SMTP, session: Session, envelope: Envelope, address: str, options: list[str]
    ) -> str:
        accounts = self._accounts.current()
        recipient = address.lower()
        if domain_of(recipient) not in accounts.domains():
            return "550 5.7.1 Relaying denied: not a domain of this sandbox"
        if recipient not in accounts.users:
            return "550 5.1.1 No such mailbox here"
        if len(envelope.rcpt_tos) >= RECIPIENT_LIMIT:
            return "452 4.5.3 Too many recipients"
        envelope.rcpt_tos.append(recipient)
        envelope.rcpt_options.extend(options)
        return "250 2.1.5 Recipient accepted"

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:
        raw = envelope.original_content or b""
        queue_id = secrets.token_hex(6)
        peer = session.peer[0] if isinstance(session.peer, tuple) else "unknown"
        trace = f"from {session.host_name} ([{peer}])\r\n\tby {HOSTNAME} with ESMTPSA id {queue_id}"
        assert envelope.mail_from is not None
        self._delivery.deliver(envelope.mail_from, envelope.rcpt_tos, raw, trace)
        return f"250 2.0.0 Delivered as {queue_id}"

    async def handle_exception(self, error: Exception) -> str:
        """Nothing was stored, so the client may try again."""
        log.error("SMTP session failed", exc_info=error)
        return "451 4.3.0 The sandbox failed; try again"


class Submission(SMTP):
    """One connection, either to be upgraded by STARTTLS or already inside TLS."""

    def __init__(self, handler: Handler, tls: ssl.SSLContext, *, implicit: bool) -> None:
        super().__init__(
            handler,
            hostname=HOSTNAME,
            ident="Mail sandbox",
            data_size_limit=SIZE_LIMIT,
            enable_SMTPUTF8=True,
            tls_context=None if implicit else tls,
            # MAIL without AUTH is refused by the handler; AUTH without TLS here.
            auth_require_tls=not implicit,
            authenticator=handler.authenticate,
            loop=asyncio.get_running_loop(),
        )
