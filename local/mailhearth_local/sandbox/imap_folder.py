"""The store as pymap sees it: one class for a folder, one for a mailbox's set of folders."""

from __future__ import annotations

from array import array
from collections.abc import Iterable
from datetime import UTC, datetime

from pymap.backend.mailbox import MailboxDataInterface, MailboxSetInterface
from pymap.concurrent import Event
from pymap.context import subsystem
from pymap.flags import FlagOp
from pymap.interfaces.message import CachedMessage
from pymap.listtree import ListTree
from pymap.mailbox import MailboxSnapshot
from pymap.message import BaseLoadedMessage, BaseMessage
from pymap.mime import MessageContent
from pymap.parsing.message import AppendMessage
from pymap.parsing.specials import FetchRequirement, ObjectId
from pymap.parsing.specials.flag import Flag, Wildcard, get_system_flags
from pymap.parsing.specials.flag import Recent as RecentFlag
from pymap.selected import SelectedMailbox, SelectedSet

from mailhearth_local.sandbox.arrivals import Arrivals
from mailhearth_local.sandbox.delivery import message_id_of
from mailhearth_local.sandbox.store import INBOX, FolderRow, MailStore, MessageRow

DELIMITER = "/"


class Message(BaseMessage):
    """A message of a folder; its text is read from the store when it is asked for."""

    __slots__ = ["row", "store"]

    def __init__(self, store: MailStore, row: MessageRow, *, expunged: bool = False) -> None:
        super().__init__(
            row.uid,
            row.received,
            frozenset(Flag(name) for name in row.flags),
            email_id=ObjectId(b"M%d" % row.content_id),
            expunged=expunged,
        )
        self.store = store
        self.row = row

    async def load_content(self, requirement: FetchRequirement) -> BaseLoadedMessage:
        content: MessageContent | None = None
        if not requirement.has_none(FetchRequirement.CONTENT):
            raw = self.store.raw(self.row.content_id)
            if raw is not None:
                if requirement.has_none(FetchRequirement.BODY):
                    raw = raw[: raw.find(b"\r\n\r\n") + 4] or raw
                content = MessageContent.parse(raw)
        return BaseLoadedMessage(self, requirement, content)


class Snapshot(MailboxSnapshot):
    """`\\*` belongs into PERMANENTFLAGS only (RFC 9051, section 7.3.5)."""

    @property
    def flags(self) -> frozenset[Flag]:
        return super().flags - {Wildcard}


class Folder(MailboxDataInterface[Message]):
    """One folder, shared by all sessions of its mailbox.

    `_changes` lists the UIDs that were added, changed or expunged since the server started; a
    session's mod-sequence is the length of that list when it last looked.
    """

    def __init__(self, store: MailStore, row: FolderRow) -> None:
        self.store = store
        self.row = row
        self._arrivals = Arrivals(store)
        self._changes = array("L")
        self._updated = subsystem.get().new_event()
        self._selected_set = SelectedSet()

    def touched(self, uids: Iterable[int]) -> None:
        """Tells the sessions that have this folder open."""
        self._changes.extend(uids)
        self._updated.set()

    @property
    def mailbox_id(self) -> ObjectId:
        return ObjectId(b"F%d" % self.row.uid_validity)

    @property
    def readonly(self) -> bool:
        return False

    @property
    def uid_validity(self) -> int:
        return self.row.uid_validity

    @property
    def permanent_flags(self) -> frozenset[Flag]:
        return (get_system_flags() - {RecentFlag}) | {Wildcard}

    @property
    def selected_set(self) -> SelectedSet:
        return self._selected_set

    async def update_selected(
        self, selected: SelectedMailbox, *, wait_on: Event | None = None
    ) -> SelectedMailbox:
        seen: int | None = selected.mod_sequence
        if wait_on is not None and seen == len(self._changes):
            await wait_on.or_event(self._updated).wait()
        selected.mod_sequence = len(self._changes)
        if seen is None:
            rows = self.store.messages(self.row.id)
            selected.add_updates([Message(self.store, row) for row in rows], [])
        elif seen < len(self._changes):
            uids = set(self._changes[seen:])
            rows = self.store.messages(self.row.id, list(uids))
            gone = uids - {row.uid for row in rows}
            selected.add_updates([Message(self.store, row) for row in rows], gone)
        return selected

    async def append(self, append_msg: AppendMessage, *, recent: bool = False) -> Message:
        with self.store.transaction():
            uid = self.store.add_message(
                self.row.id,
                self.store.add_content(append_msg.literal, message_id_of(append_msg.literal)),
                _aware(append_msg.when),
                flags=_names(append_msg.flag_set),
                recent=recent,
            )
        self.touched([uid])
        return self._found(uid)

    async def copy(self, uid: int, destination: Folder, *, recent: bool = False) -> int | None:
        row = self.store.message(self.row.id, uid)
        if row is None:
            return None
        with self.store.transaction():
            copied = self._copy(row, destination, recent)
        destination.touched([copied])
        return copied

    async def move(self, uid: int, destination: Folder, *, recent: bool = False) -> int | None:
        row = self.store.message(self.row.id, uid)
        if row is None:
            return None
        with self.store.transaction():
            moved = self._copy(row, destination, recent)
            self.store.expunge(self.row.id, [uid])
        self.touched([uid])
        destination.touched([moved])
        return moved

    def _copy(self, row: MessageRow, destination: Folder, recent: bool) -> int:
        if destination.row.id != self.row.id:
            self._arrivals.filed(row.arrival_id, self.row.name, destination.row.name)
        return self.store.add_message(
            destination.row.id,
            row.content_id,
            row.received,
            flags=row.flags,
            arrival_id=row.arrival_id,
            recent=recent,
        )

    async def get(self, uid: int, cached_msg: CachedMessage) -> Message:
        row = self.store.message(self.row.id, uid)
        if row is not None:
            return Message(self.store, row)
        if not isinstance(cached_msg, Message):
            raise TypeError(cached_msg)
        return Message(self.store, cached_msg.row, expunged=True)

    async def update(
        self, uid: int, cached_msg: CachedMessage, flag_set: frozenset[Flag], mode: FlagOp
    ) -> Message:
        message = await self.get(uid, cached_msg)
        flags = mode.apply(message.permanent_flags, flag_set)
        if message.expunged or flags == message.permanent_flags:
            return message
        with self.store.transaction():
            self.store.set_flags(self.row.id, uid, _names(flags))
            self._arrivals.flagged(message.row.arrival_id, _names(flags))
        self.touched([uid])
        return self._found(uid)

    async def delete(self, uids: Iterable[int]) -> None:
        gone = list(uids)
        self.store.expunge(self.row.id, gone)
        self.touched(gone)

    async def claim_recent(self, selected: SelectedMailbox) -> None:
        uids = self.store.claim_recent(self.row.id)
        for uid in uids:
            selected.session_flags.add_recent(uid)
        if uids:
            self.touched(uids)

    async def cleanup(self) -> None:
        """Nothing to tidy: the store has no leftovers."""

    async def snapshot(self) -> MailboxSnapshot:
        total, recent, unseen, first = self.store.counts(self.row.id)
        return Snapshot(
            self.mailbox_id,
            self.readonly,
            self.uid_validity,
            self.permanent_flags,
            self.session_flags,
            total,
            recent,
            unseen,
            first,
            self.store.next_uid(self.row.id),
        )

    def _found(self, uid: int) -> Message:
        row = self.store.message(self.row.id, uid)
        assert row is not None
        return Message(self.store, row)


class FolderSet(MailboxSetInterface[Folder]):
    """All folders of one address."""

    def __init__(self, store: MailStore, address: str) -> None:
        store.ensure_mailbox(address)
        self._store = store
        self._address = address
        self._open = {row.name: Folder(store, row) for row in store.folders(address)}

    @property
    def delimiter(self) -> str:
        return DELIMITER

    def placed(self, name: str, uid: int) -> None:
        """A delivery put a message into folder `name`."""
        self._open[name].touched([uid])

    async def set_subscribed(self, name: str, subscribed: bool) -> None:
        self._store.subscribe(self._address, _canonical(name), subscribed)

    async def list_subscribed(self) -> ListTree:
        return ListTree(DELIMITER).update(*self._store.subscribed(self._address))

    async def list_mailboxes(self) -> ListTree:
        return ListTree(DELIMITER).update(*self._open)

    async def get_mailbox(self, name: str) -> Folder:
        return self._open[_canonical(name)]

    async def add_mailbox(self, name: str) -> ObjectId:
        folder = Folder(self._store, self._store.add_folder(self._address, name))
        self._open[name] = folder
        return folder.mailbox_id

    async def delete_mailbox(self, name: str) -> None:
        folder = self._open[name]
        self._store.delete_folder(folder.row.id)
        del self._open[name]

    async def rename_mailbox(self, before: str, after: str) -> None:
        """Renaming INBOX moves its messages (RFC 9051, section 6.3.6)."""
        tree = ListTree(DELIMITER).update(*self._open)
        if tree.get(before) is None:
            raise KeyError(before)
        if tree.get(after) is not None:
            raise ValueError(after)
        with self._store.transaction():
            for old, new in tree.get_renames(before, after):
                self._store.rename_folder(self._open[old].row.id, new)
            self._store.ensure_mailbox(self._address)
        by_id = {folder.row.id: folder for folder in self._open.values()}
        self._open = {}
        for row in self._store.folders(self._address):
            folder = by_id.get(row.id) or Folder(self._store, row)
            folder.row = row
            self._open[row.name] = folder


def _canonical(name: str) -> str:
    return INBOX if name.upper() == INBOX else name


def _names(flags: Iterable[Flag]) -> list[str]:
    return [str(flag) for flag in flags if flag != RecentFlag]


def _aware(when: datetime | None) -> datetime:
    if when is None:
        return datetime.now(UTC)
    return when if when.tzinfo is not None else when.replace(tzinfo=UTC)
