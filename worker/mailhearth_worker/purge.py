"""Taking a deleted workspace's mail out of its mailboxes, before its rows and keys go.

Only messages with a row of this mailbox are touched, as everywhere: found by Message-ID and sender.
"""

from __future__ import annotations

import time
from collections import defaultdict
from collections.abc import Callable, Iterable
from datetime import timedelta
from typing import Any
from uuid import UUID

import structlog

from mailhearth_core.mail.folders import Folders
from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.named import named
from mailhearth_worker.engage import everywhere
from mailhearth_worker.work import Action, Work

log = structlog.get_logger()
SQL = named("worker")

BATCH = 200
"""Messages of which the end is written down together."""
HEADERS = 500


class _Enough(Exception):
    """This slice is over; what is left is in the database."""


def purge(work: Work, action: Action) -> None:
    """Handles one `purge` action; goes on with the rest in the next slice when there is much."""
    end = time.monotonic() + work.runtime.settings.slice_seconds / 2

    def go_on() -> None:
        work.keep()
        if time.monotonic() > end or work.runtime.stopping():
            raise _Enough

    session = work.reader()
    folders = session.folders()
    try:
        _received(work, session, folders, go_on)
        _sent(work, session, folders, go_on)
    except _Enough:
        with work.tx() as conn:
            work.postpone(conn, action, timedelta(), "there is more")
        return
    with work.tx() as conn:
        work.finish(conn, action)
    log.info("purged")


def _received(
    work: Work, session: ImapSession, folders: Folders, go_on: Callable[[], None]
) -> None:
    """What was filed is read off the Mailhearth folder as a whole; each other is looked for."""
    with work.tx() as conn:
        rows = list(SQL.kept_inbound(conn, **work.keys))
    filed: dict[str, dict[str, dict[str, Any]]] = defaultdict(dict)
    for row in rows:
        if row["filed_at"] and row["folder"] in folders.others:
            filed[row["folder"]][row["observed_message_id"] or row["message_id"]] = row
    done: set[UUID] = set()
    for folder, ours in filed.items():
        done |= _empty(work, session, folder, folders, ours, go_on)
    for row in rows:
        if row["id"] in done:
            continue
        go_on()
        for place in everywhere(session, row):
            _delete(work, session, place.folder, place.uids, folders)
        _mark_expunged(work, [row["id"]])


def _empty(
    work: Work,
    session: ImapSession,
    folder: str,
    folders: Folders,
    ours: dict[str, dict[str, Any]],
    go_on: Callable[[], None],
) -> set[UUID]:
    """Deletes our messages of one folder; returns the rows they belong to."""
    done: set[UUID] = set()
    status = session.examine(folder)
    first = 1
    while first < status.uidnext:
        go_on()
        headers = session.headers(first_uid=first, limit=HEADERS)
        if not headers:
            break
        first = max(header.uid for header in headers) + 1
        found = {
            header.uid: ours[header.message_id]["id"]
            for header in headers
            if header.message_id in ours
            and header.from_address == ours[header.message_id]["sender_address"]
        }
        if found:
            _delete(work, session, folder, list(found), folders)
            _mark_expunged(work, found.values())
            done |= set(found.values())
            session.examine(folder)
    return done


def _sent(work: Work, session: ImapSession, folders: Folders, go_on: Callable[[], None]) -> None:
    """The sender's own copies."""
    with work.tx() as conn:
        rows = list(SQL.kept_outbound(conn, **work.keys))
    for start in range(0, len(rows), BATCH):
        batch = rows[start : start + BATCH]
        uids: list[int] = []
        if folders.sent:
            session.examine(folders.sent)
            for row in batch:
                go_on()
                uids += session.find_message_id(folders.sent, row["message_id"])
            if uids:
                _delete(work, session, folders.sent, uids, folders)
        with work.tx() as conn:
            now = business_now(conn)
            for row in batch:
                SQL.sent_expunged(conn, workspace_id=work.workspace_id, id=row["id"], now=now)


def _delete(
    work: Work, session: ImapSession, folder: str, uids: list[int], folders: Folders
) -> None:
    work.runtime.sessions.provider(work.row).delete(session, folder, uids, folders)


def _mark_expunged(work: Work, ids: Iterable[UUID]) -> None:
    with work.tx() as conn:
        now = business_now(conn)
        for inbound_id in ids:
            SQL.mark_expunged(conn, workspace_id=work.workspace_id, id=inbound_id, now=now)
