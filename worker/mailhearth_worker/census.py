"""Counting every copy of our messages in every folder of a mailbox, as a report does at its end."""

from __future__ import annotations

from collections import Counter

from mailhearth_core.storage.named import named
from mailhearth_worker.work import Action, Work

SQL = named("worker")
SLICE = 500


def count(work: Work, action: Action) -> None:
    """Handles one `census` action."""
    session = work.reader()
    folders = session.folders()
    with work.tx() as conn:
        rows = list(SQL.census_rows(conn, **work.keys))
    wanted = {row["message_id"] for row in rows} | {row["observed_message_id"] for row in rows}
    copies: Counter[str] = Counter()
    names = (folders.inbox, folders.junk, *folders.others, folders.trash)
    for folder in dict.fromkeys(name for name in names if name):
        work.keep()
        status = session.examine(folder)
        first = 1
        while first < status.uidnext:
            headers = session.headers(first_uid=first, limit=SLICE)
            if not headers:
                break
            copies.update(h.message_id for h in headers if h.message_id in wanted)
            first = max(header.uid for header in headers) + 1
    with work.tx() as conn:
        work.finish(conn, action)
        for row in rows:
            seen = copies[row["observed_message_id"] or row["message_id"]]
            SQL.count_copies(conn, workspace_id=work.workspace_id, id=row["id"], copies=seen)
