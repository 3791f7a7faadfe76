"""What the rest of the product knows of a mail provider, and the registry of them.

Sessions are the same for all providers (`ImapSession`, `SmtpSession`); a provider says how to sign
in, which folder counts as what, and how deleting really deletes (how much may be sent: `limits`).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail.folders import Folders
from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.mail.model import Endpoint, Login, Stage
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.net import Dialer

Reader = ImapSession
Sender = SmtpSession
OnStage = Callable[[Stage], None]


@dataclass(frozen=True, slots=True)
class MailboxConfig:
    """Where a mailbox's servers are. `address` is the mailbox's own address."""

    address: str
    imap: Endpoint
    smtp: Endpoint


class Placement(StrEnum):
    """Where a message was found. `tab` is a part of the inbox that is shown apart."""

    INBOX = "inbox"
    TAB = "tab"
    JUNK = "junk"
    OTHER = "other"


class Provider(Protocol):
    """One kind of mailbox. Implementations hold no connection and no state of a mailbox."""

    @property
    def kind(self) -> str:
        """The stable name in the database, such as `imap_smtp`."""
        ...

    def name_for(self, host: str) -> str:
        """Whose servers `host` is, for statistics: see `providers.names`."""
        ...

    def check_login(self, config: MailboxConfig, login: Login) -> None:
        """Raises `MailError` when this provider must not be signed in to this way."""
        ...

    def open_reader(
        self,
        config: MailboxConfig,
        login: Login,
        dialer: Dialer,
        *,
        deadline_s: float = 30.0,
        on_stage: OnStage | None = None,
        before_step: Callable[[], None] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Reader:
        """Signs in for reading. Raises `MailError`.

        Args:
            before_step: called before each exchange.
            meanwhile: called once, while the server is busy with the sign-in.
        """
        ...

    def open_sender(
        self,
        config: MailboxConfig,
        login: Login,
        dialer: Dialer,
        *,
        deadline_s: float = 30.0,
        on_stage: OnStage | None = None,
    ) -> Sender:
        """Signs in for sending. Raises `MailError`."""
        ...

    def scan_folders(self, folders: Folders) -> tuple[str, ...]:
        """The folders that must be looked through before a message counts as missing."""
        ...

    def placement(self, folder: str, folders: Folders) -> Placement:
        """What finding a message in `folder` means."""
        ...

    def in_tabs(self, reader: Reader, folder: str, uids: Sequence[int]) -> set[int]:
        """Those of an inbox's messages that its provider shows apart (see `Placement.TAB`)."""
        ...

    def rescue(
        self, reader: Reader, folder: str, uids: Sequence[int], folders: Folders
    ) -> dict[int, int] | None:
        """Moves messages from Junk to the inbox; old uid -> new uid where known."""
        ...

    def end_rescue(
        self, reader: Reader, folder: str, uids: Sequence[int], folders: Folders
    ) -> None:
        """Takes out of Junk what lies in the inbox as well: a move that broke off in the middle."""
        ...

    def file(
        self, reader: Reader, folder: str, uids: Sequence[int], name: str
    ) -> dict[int, int] | None:
        """Moves messages into the folder `name`, which is made when missing."""
        ...

    def delete(self, reader: Reader, folder: str, uids: Sequence[int], folders: Folders) -> bool:
        """Deletes for good; False when the server can only mark them deleted."""
        ...


class Providers:
    """The providers of an installation, by kind."""

    def __init__(self, providers: Sequence[Provider]) -> None:
        self._by_kind = {provider.kind: provider for provider in providers}

    @property
    def kinds(self) -> tuple[str, ...]:
        return tuple(sorted(self._by_kind))

    def get(self, kind: str) -> Provider:
        """The provider of this kind; raises `InvalidValue` naming those there are."""
        try:
            return self._by_kind[kind]
        except KeyError as error:
            raise InvalidValue("provider", kind, ", ".join(self.kinds)) from error
