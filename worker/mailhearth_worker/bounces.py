"""Delivery reports about our own messages.

Of all other mail only headers are read. The one exception is a delivery report (RFC 3464) in a
mailbox that has warmup mail nobody has seen yet: a bounded part of it is parsed by machine, and
dropped unless it names one of our Message-IDs.
"""

from __future__ import annotations

from typing import Any

import structlog

from mailhearth_core.mail.dsn import read_dsn
from mailhearth_core.mail.imap import HeaderRecord, ImapSession
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.named import named
from mailhearth_worker.work import Work

log = structlog.get_logger()
SQL = named("worker")

REPORT_BYTES = 65_536
"""Read of a report at most."""


def looks_like_report(header: HeaderRecord) -> bool:
    """Whether the headers say `multipart/report; report-type=delivery-status` (RFC 6522)."""
    return header.is_report and header.report_type == "delivery-status"


def read_reports(
    work: Work,
    session: ImapSession,
    headers: list[HeaderRecord],
    unanswered: list[dict[str, Any]],
) -> None:
    """Settles what reports in the folder just examined say of our messages."""
    ours = {row["message_id"]: row for row in unanswered}
    for header in headers:
        if not looks_like_report(header):
            continue
        raw = session.fetch_raw(header.uid, REPORT_BYTES)
        for outcome in read_dsn(raw or b""):
            row = ours.get(outcome.original_message_id or "")
            if row is None or outcome.action != "failed" or not outcome.status.startswith("5"):
                continue
            with work.tx() as conn:
                if SQL.bounced(
                    conn, workspace_id=work.workspace_id, id=row["id"], reason=outcome.status
                ):
                    SQL.add_bounce(
                        conn,
                        workspace_id=work.workspace_id,
                        outbound_id=row["id"],
                        domain=row["peer_domain"],
                        status=outcome.status,
                        at=business_now(conn),
                    )
                    log.info("bounced", outbound_id=str(row["id"]), status=outcome.status)
