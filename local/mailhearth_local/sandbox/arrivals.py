"""What each receiving domain remembers of its senders, and how mailbox deeds change it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable
from dataclasses import dataclass

from mailhearth_local.sandbox.reputation import WINDOW, Evidence
from mailhearth_local.sandbox.store import DRAFTS, INBOX, JUNK, SENT, TRASH, MailStore

SEEN, ANSWERED = "\\Seen", "\\Answered"


@dataclass(frozen=True, slots=True)
class Arrival:
    """One delivery: who sent what to whom, and where it was put first."""

    domain: str
    recipient: str
    sender: str
    message_id: str
    junked: bool


class Arrivals:
    """The table `arrival` of a store. Its changes belong to the caller's transaction."""

    def __init__(self, store: MailStore) -> None:
        self._db: sqlite3.Connection = store.db

    def add(self, arrival: Arrival) -> int:
        done = self._db.execute(
            "INSERT INTO arrival (domain, recipient, sender, message_id, junked)"
            " VALUES (?, ?, ?, ?, ?)",
            [
                *(arrival.domain, arrival.recipient, arrival.sender),
                *(arrival.message_id, arrival.junked),
            ],
        )
        assert done.lastrowid is not None
        return done.lastrowid

    def evidence(self, domain: str, sender: str) -> Evidence:
        """What became of all mail from `sender` to `domain` so far."""
        sums = self._db.execute(
            "SELECT ifnull(sum(rescued), 0), ifnull(sum(replied), 0), ifnull(sum(read), 0),"
            " ifnull(sum(kept), 0), ifnull(sum(complained), 0)"
            " FROM arrival WHERE domain = ? AND sender = ?",
            [domain, sender],
        ).fetchone()
        unopened = self._db.execute(
            "SELECT count(*) FROM (SELECT read, replied, rescued FROM arrival"
            " WHERE domain = ? AND sender = ? ORDER BY id DESC LIMIT ?)"
            " WHERE NOT (read OR replied OR rescued)",
            [domain, sender, WINDOW],
        ).fetchone()
        rescued, replied, read, kept, complained = sums
        return Evidence(rescued, replied, read, kept, complained, unopened[0])

    def flagged(self, arrival_id: int | None, flags: Iterable[str]) -> None:
        """The recipient's copy now carries `flags`."""
        names = set(flags)
        if SEEN in names:
            self._mark(arrival_id, "read")
        if ANSWERED in names:
            self._mark(arrival_id, "replied")

    def filed(self, arrival_id: int | None, source: str, destination: str) -> None:
        """The recipient moved or copied the message from one folder to another."""
        if destination == JUNK:
            self._mark(arrival_id, "complained")
        elif source == JUNK and destination != TRASH:
            self._mark(arrival_id, "rescued")
        elif destination not in (INBOX, TRASH, SENT, DRAFTS):
            self._mark(arrival_id, "kept")

    def answered(self, recipient: str, sender: str, references: Iterable[str]) -> None:
        """`recipient` wrote to `sender` in reply to messages with these Message-IDs."""
        for message_id in references:
            self._db.execute(
                "UPDATE arrival SET replied = 1"
                " WHERE recipient = ? AND sender = ? AND message_id = ?",
                [recipient, sender, message_id],
            )

    def _mark(self, arrival_id: int | None, column: str) -> None:
        """`column` is one of this module's own words; mail that came otherwise has no arrival."""
        if arrival_id is not None:
            self._db.execute(f"UPDATE arrival SET {column} = 1 WHERE id = ?", [arrival_id])  # noqa: S608
