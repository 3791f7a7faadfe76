"""Delivery: one accepted message into each recipient's INBOX or Junk, in one transaction."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import format_datetime

from mailhearth_local.sandbox.accounts import AccountsFile
from mailhearth_local.sandbox.arrivals import Arrival, Arrivals
from mailhearth_local.sandbox.domains import domain_of
from mailhearth_local.sandbox.reputation import goes_to_junk
from mailhearth_local.sandbox.store import INBOX, JUNK, MailStore

_MESSAGE_ID = re.compile(r"<[^<>\s]+>")


class Delivery:
    """Places messages by the sender's reputation at each recipient's domain.

    Args:
        seed: repeats a run's draws.
        placed: called with (address, folder name, UID) after each commit.
    """

    def __init__(
        self,
        store: MailStore,
        accounts: AccountsFile,
        *,
        seed: int,
        placed: Callable[[str, str, int], None],
    ) -> None:
        self._store = store
        self._accounts = accounts
        self._arrivals = Arrivals(store)
        self._seed = seed
        self._placed = placed

    def deliver(self, sender: str, recipients: Sequence[str], raw: bytes, trace: str) -> None:
        """Durable when it returns; either every recipient has the message or none.

        Args:
            sender, recipients: of the envelope, lower case, sandbox addresses.
            raw: the message with CRLF line ends.
            trace: the value of the Received field up to its date (RFC 5321, section 4.4).
        """
        now = datetime.now(UTC)
        message_id, references = _threading(raw)
        placements: list[tuple[str, str, int]] = []
        with self._store.durably():
            for recipient in dict.fromkeys(recipients):
                placements.append(
                    self._place(sender, recipient, raw, trace, message_id, references, now)
                )
        for placement in placements:
            self._placed(*placement)

    def _place(
        self,
        sender: str,
        recipient: str,
        raw: bytes,
        trace: str,
        message_id: str,
        references: Sequence[str],
        now: datetime,
    ) -> tuple[str, str, int]:
        domain = domain_of(recipient)
        junked = goes_to_junk(
            self._arrivals.evidence(domain, sender),
            self._accounts.current().strictness(domain),
            seed=self._seed,
            message_id=message_id,
            recipient=recipient,
        )
        self._arrivals.answered(recipient=sender, sender=recipient, references=references)
        arrival_id = self._arrivals.add(Arrival(domain, recipient, sender, message_id, junked))
        self._store.ensure_mailbox(recipient)
        name = JUNK if junked else INBOX
        folder = self._store.folder(recipient, name)
        stamped = (
            f"Return-Path: <{sender}>\r\n"
            f"Received: {trace}\r\n\tfor <{recipient}>; {format_datetime(now)}\r\n"
        ).encode() + raw
        content_id = self._store.add_content(stamped, message_id)
        uid = self._store.add_message(folder.id, content_id, now, arrival_id=arrival_id)
        return recipient, name, uid


def message_id_of(raw: bytes) -> str:
    """The Message-ID with its angle brackets; empty when there is none."""
    return _threading(raw)[0]


def _threading(raw: bytes) -> tuple[str, list[str]]:
    """Message-ID, and what the message answers (In-Reply-To)."""
    headers = BytesHeaderParser(policy=compat32).parsebytes(_head(raw))
    own = _MESSAGE_ID.findall(str(headers.get("Message-ID", "")))
    return (own[0] if own else ""), _MESSAGE_ID.findall(str(headers.get("In-Reply-To", "")))


def _head(raw: bytes) -> bytes:
    """The header section, so that a large body is not parsed."""
    end = raw.find(b"\r\n\r\n")
    return raw if end < 0 else raw[: end + 4]
