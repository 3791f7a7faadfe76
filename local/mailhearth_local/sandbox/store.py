"""The sandbox's mailboxes on disk: SQLite, so that UIDs, flags and moves survive kill -9 whole.

One connection, one thread (the server's event loop). Every method that changes something is one
transaction. Commits survive the end of the process; those of `durably()` the end of the machine.
"""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

STORE_FILE = "mail.sqlite"
INBOX, JUNK, SENT, DRAFTS, TRASH = "INBOX", "Junk", "Sent", "Drafts", "Trash"
FOLDERS = (INBOX, JUNK, SENT, DRAFTS, TRASH)
"""What every mailbox starts with."""
SCHEMA = Path(__file__).with_name("schema.sql")


@dataclass(frozen=True, slots=True)
class FolderRow:
    id: int
    address: str
    name: str
    next_uid: int
    uid_validity: int


@dataclass(frozen=True, slots=True)
class MessageRow:
    """A message in a folder, without its text. `received` is timezone-aware."""

    uid: int
    content_id: int
    arrival_id: int | None
    flags: frozenset[str]
    received: datetime
    recent: bool


class MailStore:
    """Opens (or makes) `<data>/mail.sqlite`."""

    def __init__(self, data: Path) -> None:
        self.db = sqlite3.connect(data / STORE_FILE, isolation_level=None, timeout=10)
        self.db.execute("PRAGMA journal_mode = WAL")
        self.db.execute("PRAGMA synchronous = NORMAL")
        self.db.execute("PRAGMA foreign_keys = ON")
        self.db.executescript(SCHEMA.read_text())
        self.db.execute(
            "INSERT INTO store (made) SELECT ? WHERE NOT EXISTS (SELECT 1 FROM store)",
            [int(time.time())],
        )
        self._made: int = self.db.execute("SELECT made FROM store").fetchone()[0]

    def close(self) -> None:
        self.db.close()

    @contextmanager
    def transaction(self) -> Iterator[None]:
        """All or nothing; inside another one it is part of that."""
        if self.db.in_transaction:
            yield
            return
        self.db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            self.db.execute("ROLLBACK")
            raise
        self.db.execute("COMMIT")

    @contextmanager
    def durably(self) -> Iterator[None]:
        """A transaction that is on the disk (fsync) when this returns."""
        self.db.execute("PRAGMA synchronous = FULL")
        try:
            with self.transaction():
                yield
        finally:
            self.db.execute("PRAGMA synchronous = NORMAL")

    # -- folders ----------------------------------------------------------------------------

    def ensure_mailbox(self, address: str) -> None:
        """Makes the standard folders that `address` lacks."""
        known = {folder.name for folder in self.folders(address)}
        if known.issuperset(FOLDERS):
            return
        with self.transaction():
            for name in FOLDERS:
                if name not in known:
                    self.add_folder(address, name)

    def folders(self, address: str) -> list[FolderRow]:
        rows = self.db.execute(
            "SELECT id, address, name, next_uid FROM folder WHERE address = ? ORDER BY id",
            [address],
        )
        return [self._folder(row) for row in rows]

    def folder(self, address: str, name: str) -> FolderRow:
        """Raises KeyError when there is none."""
        row = self.db.execute(
            "SELECT id, address, name, next_uid FROM folder WHERE address = ? AND name = ?",
            [address, name],
        ).fetchone()
        if row is None:
            raise KeyError(name)
        return self._folder(row)

    def add_folder(self, address: str, name: str) -> FolderRow:
        """Raises ValueError when it exists."""
        try:
            self.db.execute("INSERT INTO folder (address, name) VALUES (?, ?)", [address, name])
        except sqlite3.IntegrityError:
            raise ValueError(name) from None
        return self.folder(address, name)

    def delete_folder(self, folder_id: int) -> None:
        with self.transaction():
            uids = [message.uid for message in self.messages(folder_id)]
            self.expunge(folder_id, uids)
            self.db.execute("DELETE FROM folder WHERE id = ?", [folder_id])

    def rename_folder(self, folder_id: int, name: str) -> None:
        self.db.execute("UPDATE folder SET name = ? WHERE id = ?", [name, folder_id])

    def subscribe(self, address: str, name: str, subscribed: bool) -> None:
        self.db.execute(
            "UPDATE folder SET subscribed = ? WHERE address = ? AND name = ?",
            [subscribed, address, name],
        )

    def subscribed(self, address: str) -> list[str]:
        rows = self.db.execute(
            "SELECT name FROM folder WHERE address = ? AND subscribed ORDER BY id", [address]
        )
        return [row[0] for row in rows]

    def next_uid(self, folder_id: int) -> int:
        row = self.db.execute("SELECT next_uid FROM folder WHERE id = ?", [folder_id]).fetchone()
        return int(row[0])

    def _folder(self, row: tuple[int, str, str, int]) -> FolderRow:
        return FolderRow(*row, uid_validity=self._made + row[0])

    # -- messages ---------------------------------------------------------------------------

    def messages(self, folder_id: int, uids: Sequence[int] | None = None) -> list[MessageRow]:
        """All messages of a folder, or those of `uids` that exist, by UID."""
        query = (
            "SELECT uid, content_id, arrival_id, flags, received, recent FROM message"
            " WHERE folder_id = ?"
        )
        if uids is None:
            rows = self.db.execute(f"{query} ORDER BY uid", [folder_id]).fetchall()
        else:
            rows = []
            for uid in sorted(uids):
                rows += self.db.execute(f"{query} AND uid = ?", [folder_id, uid]).fetchall()
        return [_message(row) for row in rows]

    def message(self, folder_id: int, uid: int) -> MessageRow | None:
        found = self.messages(folder_id, [uid])
        return found[0] if found else None

    def raw(self, content_id: int) -> bytes | None:
        """The message's text; None when its last copy is gone."""
        row = self.db.execute("SELECT raw FROM content WHERE id = ?", [content_id]).fetchone()
        return None if row is None else bytes(row[0])

    def add_content(self, raw: bytes, message_id: str) -> int:
        done = self.db.execute(
            "INSERT INTO content (message_id, raw) VALUES (?, ?)", [message_id, raw]
        )
        assert done.lastrowid is not None
        return done.lastrowid

    def add_message(
        self,
        folder_id: int,
        content_id: int,
        received: datetime,
        *,
        flags: Iterable[str] = (),
        arrival_id: int | None = None,
        recent: bool = True,
    ) -> int:
        """Puts a content into a folder; returns its UID."""
        with self.transaction():
            uid = self.next_uid(folder_id)
            self.db.execute("UPDATE folder SET next_uid = ? WHERE id = ?", [uid + 1, folder_id])
            self.db.execute(
                "INSERT INTO message (folder_id, uid, content_id, arrival_id, flags, received,"
                " recent) VALUES (?, ?, ?, ?, ?, ?, ?)",
                [
                    *(folder_id, uid, content_id, arrival_id, " ".join(sorted(flags))),
                    *(received.isoformat(), recent),
                ],
            )
        return uid

    def set_flags(self, folder_id: int, uid: int, flags: Iterable[str]) -> None:
        self.db.execute(
            "UPDATE message SET flags = ? WHERE folder_id = ? AND uid = ?",
            [" ".join(sorted(flags)), folder_id, uid],
        )

    def claim_recent(self, folder_id: int) -> list[int]:
        """The UIDs no session has seen yet; they are not recent any more."""
        rows = self.db.execute(
            "UPDATE message SET recent = 0 WHERE folder_id = ? AND recent RETURNING uid",
            [folder_id],
        ).fetchall()
        return [row[0] for row in rows]

    def expunge(self, folder_id: int, uids: Iterable[int]) -> None:
        """Deletes messages, and each content whose last copy went."""
        with self.transaction():
            for uid in uids:
                message = self.message(folder_id, uid)
                if message is None:
                    continue
                self.db.execute(
                    "DELETE FROM message WHERE folder_id = ? AND uid = ?", [folder_id, uid]
                )
                self.db.execute(
                    "DELETE FROM content WHERE id = ?"
                    " AND NOT EXISTS (SELECT 1 FROM message WHERE content_id = ?)",
                    [message.content_id, message.content_id],
                )

    def counts(self, folder_id: int) -> tuple[int, int, int, int | None]:
        """Messages, recent ones, unseen ones, and the sequence number of the first unseen."""
        total = recent = unseen = 0
        first: int | None = None
        for flags, is_recent in self.db.execute(
            "SELECT flags, recent FROM message WHERE folder_id = ? ORDER BY uid", [folder_id]
        ):
            total += 1
            recent += is_recent
            if "\\Seen" not in flags.split():
                unseen += 1
                first = first or total
        return total, recent, unseen, first


def _message(row: tuple[int, int, int | None, str, str, int]) -> MessageRow:
    uid, content_id, arrival_id, flags, received, recent = row
    return MessageRow(
        uid,
        content_id,
        arrival_id,
        frozenset(flags.split()),
        datetime.fromisoformat(received),
        bool(recent),
    )
