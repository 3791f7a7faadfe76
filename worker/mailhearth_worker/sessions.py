"""Open connections to mail servers: at most one IMAP and one SMTP connection for each mailbox.

Signing in is the dearest step by far, so a connection is kept for the next drain. A host gets at
most `per_host_cap` mailboxes' connections at once; the ones unused for longest are closed first.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.mail.imap_link import no_step
from mailhearth_core.mail.model import Endpoint, Login, TlsMode
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.net import Dialer
from mailhearth_core.providers.base import MailboxConfig, Provider, Providers

TRUSTED_S = 20.0
"""A connection used within these seconds is taken without asking the server."""
IDLE_S = 240.0
"""A connection unused for longer is closed; servers cut idle ones off after 5 to 30 minutes."""

OpenLogin = Callable[[str], Login]
"""Opens the credential of a field such as `imap_password`."""


@dataclass
class _Held:
    host: str
    session: ImapSession | SmtpSession
    used_at: float


class Sessions:
    """The connections of one worker process; used by one thread."""

    def __init__(self, providers: Providers, dialer: Dialer, *, per_host_cap: int) -> None:
        self._providers = providers
        self._dialer = dialer
        self._per_host_cap = per_host_cap
        self._held: dict[tuple[UUID, str], _Held] = {}

    def reader(
        self,
        row: Mapping[str, Any],
        login: OpenLogin,
        before_step: Callable[[], None] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> ImapSession:
        """The mailbox's IMAP connection, opened if needed. Raises `MailError`.

        Args:
            before_step: called before each exchange on it from now on.
            meanwhile: called while the server is busy with a sign-in, if there is one.
        """
        session = self._reuse(row, "imap", before_step)
        if not isinstance(session, ImapSession):
            session = self.provider(row).open_reader(
                config_of(row),
                login("imap_password"),
                self._dialer,
                before_step=before_step,
                meanwhile=meanwhile,
            )
            self._keep(row, "imap", session)
        return session

    def sender(self, row: Mapping[str, Any], login: OpenLogin) -> SmtpSession:
        """The mailbox's SMTP connection, opened if needed. Raises `MailError`."""
        session = self._reuse(row, "smtp")
        if not isinstance(session, SmtpSession):
            session = self.provider(row).open_sender(
                config_of(row), login("smtp_password"), self._dialer
            )
            self._keep(row, "smtp", session)
        return session

    def provider(self, row: Mapping[str, Any]) -> Provider:
        return self._providers.get(row["provider"])

    def forget(self, mailbox_id: UUID) -> None:
        """Closes a mailbox's connections: after an error their state is unknown."""
        self._drop([(mailbox_id, side) for side in ("imap", "smtp")])

    def holds(self, mailbox_id: UUID) -> bool:
        """Whether the mailbox has a connection, which may or may not be of use still."""
        return any((mailbox_id, side) in self._held for side in ("imap", "smtp"))

    def sweep(self) -> None:
        """Closes what has been idle for too long; cheap enough to be called each second."""
        limit = time.monotonic() - IDLE_S
        self._drop([key for key, held in self._held.items() if held.used_at < limit])

    def close(self) -> None:
        self._drop(list(self._held))

    def _reuse(
        self, row: Mapping[str, Any], side: str, before_step: Callable[[], None] | None = None
    ) -> ImapSession | SmtpSession | None:
        key = (row["id"], side)
        held = self._held.get(key)
        if held is None:
            return None
        if isinstance(held.session, ImapSession):
            held.session.before_step = before_step or no_step
        age = time.monotonic() - held.used_at
        if age > IDLE_S or (age > TRUSTED_S and not held.session.is_alive()):
            self._drop([key])
            return None
        held.used_at = time.monotonic()
        return held.session

    def _keep(self, row: Mapping[str, Any], side: str, session: ImapSession | SmtpSession) -> None:
        host = row[f"{side}_host"]
        peers = [key for key, held in self._held.items() if (held.host, key[1]) == (host, side)]
        spare = len(peers) - self._per_host_cap + 1
        self._drop(sorted(peers, key=lambda k: self._held[k].used_at)[: max(spare, 0)])
        self._held[(row["id"], side)] = _Held(host, session, time.monotonic())

    def _drop(self, keys: Iterable[tuple[UUID, str]]) -> None:
        """Closes connections: all are told goodbye before the first answer is waited for."""
        dropped = [held for key in keys if (held := self._held.pop(key, None)) is not None]
        for held in dropped:
            held.session.take_leave()
        for held in dropped:
            held.session.close()


def config_of(row: Mapping[str, Any]) -> MailboxConfig:
    """Where a mailbox's servers are, from its row (or a connection attempt's settings)."""

    def endpoint(side: str) -> Endpoint:
        return Endpoint(
            row[f"{side}_host"], row[f"{side}_port"], TlsMode(row[f"{side}_tls"]), row["ca_pem"]
        )

    return MailboxConfig(row.get("address", ""), endpoint("imap"), endpoint("smtp"))
