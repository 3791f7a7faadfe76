"""The sender's own mailbox: proof of a send that is in doubt, and the end of kept copies."""

from __future__ import annotations

from typing import Any

import structlog

from mailhearth_core.storage.named import named
from mailhearth_worker.work import Action, Work

log = structlog.get_logger()
SQL = named("worker")


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


def expunge_sent(work: Work, action: Action) -> None:
    """Deletes the sender's copy, where its provider kept one, once retention is over."""
    out = _row(work, action)
    uids = _in_sent(work, out["message_id"])
    if uids:
        session = work.reader()
        sent = session.folders().sent
        assert sent is not None
        session.select(sent)
        session.expunge(sent, uids)
    with work.tx() as conn:
        work.finish(conn, action, reason=f"{len(uids)} copies")


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
