"""Any host that speaks IMAP and SMTP, with what the standards promise and no more."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from mailhearth_core.mail.folders import Folders
from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.mail.model import FailureKind, Login, MailError, Mechanism, Stage
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.net import Dialer
from mailhearth_core.providers.base import (
    MailboxConfig,
    OnStage,
    Placement,
    Reader,
    Sender,
)
from mailhearth_core.providers.names import oauth_owner, provider_name_for


class ImapSmtpProvider:
    """The provider for hosts without a slice of their own.

    Args:
        allow_app_passwords: take passwords for Google's and Microsoft's hosts. Off by default:
            OAuth can be withdrawn by the owner and never shows the account's password.
    """

    kind = "imap_smtp"

    def __init__(self, *, allow_app_passwords: bool = False) -> None:
        self._allow_app_passwords = allow_app_passwords

    def name_for(self, host: str) -> str:
        return provider_name_for(host)

    def check_login(self, config: MailboxConfig, login: Login) -> None:
        """Refuses passwords for Google's and Microsoft's hosts unless they are allowed."""
        if login.mechanism is not Mechanism.PASSWORD or self._allow_app_passwords:
            return
        for endpoint in (config.imap, config.smtp):
            owner = oauth_owner(endpoint.host)
            if owner is not None:
                raise MailError(
                    f"Passwords are not used for {owner}'s servers ({endpoint.host}).",
                    kind=FailureKind.REAUTHENTICATE,
                    stage=Stage.LOGIN,
                    code="oauth_required",
                    hint=f'Connect the mailbox with "Sign in with {owner}", or have the operator '
                    "allow app passwords.",
                )

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
        self.check_login(config, login)
        return ImapSession.open(
            config.imap,
            login,
            dialer,
            deadline_s=deadline_s,
            on_stage=on_stage,
            before_step=before_step,
            meanwhile=meanwhile,
        )

    def open_sender(
        self,
        config: MailboxConfig,
        login: Login,
        dialer: Dialer,
        *,
        deadline_s: float = 30.0,
        on_stage: OnStage | None = None,
    ) -> Sender:
        self.check_login(config, login)
        return SmtpSession.open(
            config.smtp, login, dialer, deadline_s=deadline_s, on_stage=on_stage
        )

    def scan_folders(self, folders: Folders) -> tuple[str, ...]:
        return (folders.inbox,) if folders.junk is None else (folders.inbox, folders.junk)

    def placement(self, folder: str, folders: Folders) -> Placement:
        """Inbox, Junk or other: plain IMAP shows no tabs."""
        if folder.upper() == folders.inbox.upper():
            return Placement.INBOX
        return Placement.JUNK if folder == folders.junk else Placement.OTHER

    def in_tabs(self, reader: Reader, folder: str, uids: Sequence[int]) -> set[int]:
        """None: plain IMAP shows no tabs."""
        return set()

    def rescue(
        self, reader: Reader, folder: str, uids: Sequence[int], folders: Folders
    ) -> dict[int, int] | None:
        """A plain move: servers that learn from it watch for just that."""
        reader.select(folder)
        return reader.move(uids, folders.inbox)

    def end_rescue(
        self, reader: Reader, folder: str, uids: Sequence[int], folders: Folders
    ) -> None:
        """Expunges the one in Junk: it is a copy of its own."""
        reader.expunge(folder, uids)

    def file(
        self, reader: Reader, folder: str, uids: Sequence[int], name: str
    ) -> dict[int, int] | None:
        target = reader.ensure_folder(name)
        reader.select(folder)
        return reader.move(uids, target)

    def delete(self, reader: Reader, folder: str, uids: Sequence[int], folders: Folders) -> bool:
        """Expunges where the messages are; Trash is not used, so nothing piles up there."""
        return reader.expunge(folder, uids)
