"""Gmail: folders are labels, so deleting goes through Trash; the inbox has tabs.

Folder names differ by language ([Gmail]/Spam, [Google Mail]/Corbeille ...), so roles come from the
SPECIAL-USE attributes, which Gmail gives (Google, "IMAP Extensions", special folders).
"""

from __future__ import annotations

from collections.abc import Sequence

from mailhearth_core.mail.folders import Folders
from mailhearth_core.mail.headers import HeaderRecord
from mailhearth_core.mail.model import FailureKind, MailError, Stage
from mailhearth_core.providers.base import Reader
from mailhearth_core.providers.oauth_only import OAuthProvider
from mailhearth_core.providers.oauth_servers import SERVERS

_TABS = "{category:promotions category:social category:updates category:forums}"
"""Gmail's search words for all tabs but Primary; braces join them with "or" (Gmail help, "Search
operators"). X-GM-RAW takes that language over IMAP; X-GM-LABELS does not list the categories."""


class GmailProvider(OAuthProvider):
    """imap.gmail.com and smtp.gmail.com (Google, "IMAP, POP, and SMTP")."""

    kind = "gmail"
    servers = SERVERS["gmail"]

    def in_tabs(self, reader: Reader, folder: str, uids: Sequence[int]) -> set[int]:
        """By category, on servers that have Google's extensions; else none can be told."""
        if not uids or not reader.offers("X-GM-EXT-1"):
            return set()
        return reader.uids_among(folder, uids, ("X-GM-RAW", _TABS))

    def delete(self, reader: Reader, folder: str, uids: Sequence[int], folders: Folders) -> bool:
        """Moves to Trash, which takes every label off, and expunges there, which deletes for good.

        EXPUNGE in any other folder would only take that folder's label off: the message would stay
        in All Mail (Gmail help, "Sync Gmail with IMAP"). False when the server has no UIDPLUS.

        Raises:
            MailError: there is no Trash to be seen, so nothing can be deleted.
        """
        trash = folders.trash
        if trash is None:
            raise MailError(
                "Gmail's Trash is not shown by IMAP, so nothing can be deleted for good.",
                kind=FailureKind.PERMANENT,
                stage=Stage.EXPUNGE,
                code="no_such_folder",
                hint='Tick "Show in IMAP" for Trash in Gmail\'s label settings.',
            )
        if folder == trash:
            return reader.expunge(trash, uids)
        reader.select(folder)
        records = reader.headers(uids=uids)
        if not records:  # another of its labels was there first
            return True
        moved = reader.move([record.uid for record in records], trash)
        there = _found(reader, trash, records) if moved is None else sorted(moved.values())
        return not there or reader.expunge(trash, there)

    def end_rescue(
        self, reader: Reader, folder: str, uids: Sequence[int], folders: Folders
    ) -> None:
        """Moves it once more, which takes the one label off and gives the other again.

        The message in Spam is the very one in the inbox, and EXPUNGE in Spam deletes for good
        (Gmail help, "Sync Gmail with IMAP"); Trash would take the inbox's label off as well.
        """
        self.rescue(reader, folder, uids, folders)


def _found(reader: Reader, trash: str, records: Sequence[HeaderRecord]) -> list[int]:
    """Where in Trash these messages are, on a server that does not say; no other mail is named."""
    wanted = {(record.message_id, record.from_address) for record in records if record.message_id}
    uids = {uid for message_id, _ in wanted for uid in reader.find_message_id(trash, message_id)}
    there = reader.headers(uids=uids) if uids else []
    return [record.uid for record in there if (record.message_id, record.from_address) in wanted]
