"""The sender's own mailbox: proof of a send that is in doubt, and the end of kept copies."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import structlog

from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named
from mailhearth_worker.work import Action, Work

log = structlog.get_logger()
SQL = named("worker")

LOOK_AGAIN = (timedelta(hours=1), timedelta(hours=24))
"""After the send: a copy in Sent may appear late, or the server was away before."""


def look_in_sent(work: Work, action: Action) -> None:
    """Looks for an uncertain message in Sent, where some providers keep what they accepted."""
    out = _row(work, action)
    found = out["state"] == "uncertain" and bool(_in_sent(work, out["message_id"]))
    with work.tx() as conn:
        work.finish(conn, action, reason="found in Sent" if found else "not in Sent")
        if found:
            SQL.evidence_found(
                conn, workspace_id=work.workspace_id, id=out["id"], evidence="sent_folder"
            )
            log.info("evidence", outbound_id=str(out["id"]), where="sent_folder")
        elif out["state"] == "uncertain":
            _look_again(work, conn, out)


def _look_again(work: Work, conn: Connection, out: dict[str, Any]) -> None:
    now = business_now(conn)
    later = [out["sending_at"] + after for after in LOOK_AGAIN]
    due_at = next((at for at in later if at > now), None)
    if due_at is not None:
        SQL.add_action(
            conn,
            **work.keys,
            kind="evidence",
            due_at=due_at,
            outbound_id=out["id"],
            inbound_id=None,
        )


def expunge_sent(work: Work, action: Action) -> None:
    """Deletes the sender's copy, where its provider kept one, once retention is over."""
    out = _row(work, action)
    uids = _in_sent(work, out["message_id"])
    if uids:
        session = work.reader()
        folders = session.folders()
        assert folders.sent is not None
        provider = work.runtime.sessions.provider(work.row)
        provider.delete(session, folders.sent, uids, folders)
    with work.tx() as conn:
        work.finish(conn, action, reason=f"{len(uids)} copies")
        SQL.sent_expunged(
            conn, workspace_id=work.workspace_id, id=out["id"], now=business_now(conn)
        )


def _row(work: Work, action: Action) -> dict[str, Any]:
    with work.tx() as conn:
        row: dict[str, Any] = SQL.outbound(
            conn, workspace_id=work.workspace_id, id=action.outbound_id
        )
    return row


def _in_sent(work: Work, message_id: str) -> list[int]:
    session = work.reader()
    sent = session.folders().sent
    if sent is None:
        return []
    session.examine(sent)
    return session.find_message_id(sent, message_id)
