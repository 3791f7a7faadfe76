"""What a reader does with a message: rescue it, read, flag and file it; at last expunge it.

Each deed finds its message anew: a UID is only a hint, the Message-ID decides, so that no other
mail is ever touched, even after a UIDVALIDITY change or when the user has moved the message.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import structlog

from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.named import named
from mailhearth_worker.work import Action, Work

log = structlog.get_logger()
SQL = named("worker")

FOLDER = "Mailhearth"
"""Where warmup mail is filed."""


@dataclass(frozen=True)
class Place:
    """Where one of our messages is now."""

    folder: str
    uidvalidity: int
    uids: list[int]


def rescue(work: Work, action: Action) -> None:
    """Moves a message out of junk; the move is confirmed in the inbox before it counts."""
    row = _row(work, action)
    session = work.reader()
    folders = session.folders()
    place = locate(session, row, folders.junk) if folders.junk else None
    # A try before this one may have moved it and lost its lease before it could say so.
    now_at = locate(session, row, folders.inbox) if action.attempt > 1 else None
    if place is None and now_at is None:
        _end(work, action, "skipped", "it is no longer in junk")
        return
    if place is not None:
        provider = work.runtime.sessions.provider(work.row)
        move = provider.rescue if now_at is None else provider.end_rescue
        move(session, place.folder, place.uids, folders)
        now_at = locate(session, row, folders.inbox)
    with work.tx() as conn:
        if now_at is None:
            work.finish(conn, action, "failed", "moved, but not found in the inbox afterwards")
            return
        keys = {"workspace_id": work.workspace_id, "id": row["id"]}
        work.finish(conn, action)
        SQL.mark_rescued(conn, **keys, now=business_now(conn))
        SQL.relocate(
            conn,
            **keys,
            folder=now_at.folder,
            uidvalidity=now_at.uidvalidity,
            uid=now_at.uids[0],
        )
    work.runtime.metrics.rescued.labels(provider=work.row["peer_provider"]).inc()
    log.info("rescued", inbound_id=str(row["id"]))


def read(work: Work, action: Action) -> None:
    _set_flag(work, action, "\\Seen", SQL.mark_read)


def flag(work: Work, action: Action) -> None:
    _set_flag(work, action, "\\Flagged", SQL.mark_flagged)


def file(work: Work, action: Action) -> None:
    """Moves a message into the Mailhearth folder."""
    row = _row(work, action)
    session = work.reader()
    place = find(session, row)
    if place is None:
        _end(work, action, "skipped", "gone: somebody deleted it")
        return
    target = session.ensure_folder(FOLDER)
    if place.folder != target:
        session.select(place.folder)
        session.move(place.uids, target)
    now_at = locate(session, row, target)
    with work.tx() as conn:
        keys = {"workspace_id": work.workspace_id, "id": row["id"]}
        if now_at is None:
            work.finish(conn, action, "failed", "moved, but not found in the folder afterwards")
            return
        work.finish(conn, action)
        SQL.mark_filed(conn, **keys, now=business_now(conn))
        SQL.relocate(
            conn,
            **keys,
            folder=now_at.folder,
            uidvalidity=now_at.uidvalidity,
            uid=now_at.uids[0],
        )


def expunge(work: Work, action: Action) -> None:
    """Deletes a message for good once its retention is over, every copy of it."""
    row = _row(work, action)
    session = work.reader()
    provider = work.runtime.sessions.provider(work.row)
    folders = session.folders()
    copies = 0
    for place in everywhere(session, row):
        copies += len(place.uids)
        provider.delete(session, place.folder, place.uids, folders)
    with work.tx() as conn:
        keys = {"workspace_id": work.workspace_id, "id": row["id"]}
        work.finish(conn, action, *(() if copies else ("skipped", "gone: somebody deleted it")))
        SQL.count_copies(conn, **keys, copies=copies)
        SQL.mark_expunged(conn, **keys, now=business_now(conn))


def find(session: ImapSession, row: dict[str, Any]) -> Place | None:
    """The message where it was last seen, else in any folder."""
    if row["folder"]:
        place = locate(session, row, row["folder"])
        if place is not None:
            return place
    for place in everywhere(session, row):
        return place
    return None


def everywhere(session: ImapSession, row: dict[str, Any]) -> list[Place]:
    """Every place of the message, in all folders but the sender's own copies.

    A view of everything counts only where the message is found in no folder proper.
    """
    folders = session.folders()
    names = (folders.inbox, folders.junk, *folders.others, folders.trash)
    places = (locate(session, row, name) for name in dict.fromkeys(names) if name)
    found = [place for place in places if place is not None]
    if not found and folders.everything:
        place = locate(session, row, folders.everything)
        found = [place] if place is not None else []
    return found


def locate(session: ImapSession, row: dict[str, Any], folder: str) -> Place | None:
    """The message in one folder, by Message-ID and sender: a forged one is somebody else's mail."""
    status = session.examine(folder)
    uids = session.find_message_id(folder, row["observed_message_id"] or row["message_id"])
    found = session.headers(uids=uids) if uids else []
    ours = [header.uid for header in found if header.from_address == row["sender_address"]]
    return Place(folder, status.uidvalidity, ours) if ours else None


def _row(work: Work, action: Action) -> dict[str, Any]:
    with work.tx() as conn:
        row: dict[str, Any] = SQL.inbound(
            conn, workspace_id=work.workspace_id, id=action.inbound_id
        )
    return row


def _end(work: Work, action: Action, state: str, reason: str) -> None:
    with work.tx() as conn:
        work.finish(conn, action, state, reason)


def _set_flag(work: Work, action: Action, flag_name: str, mark: Any) -> None:
    row = _row(work, action)
    session = work.reader()
    place = find(session, row)
    if place is None:
        _end(work, action, "skipped", "gone: somebody deleted it")
        return
    session.select(place.folder)
    session.add_flags(place.uids, [flag_name])
    with work.tx() as conn:
        work.finish(conn, action)
        mark(conn, workspace_id=work.workspace_id, id=row["id"], now=business_now(conn))
