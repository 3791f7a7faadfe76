"""Looking into a mailbox for what was sent to it, and recording where each message first was.

Only headers are read, and only a message whose Message-ID (or the one its provider kept of it) has
an `inbound` row of this very mailbox is ours. All other mail is not touched, moved, flagged or
logged.
"""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.errors import NotFound
from mailhearth_core.logs import bound
from mailhearth_core.mail.imap import Folders, FolderStatus, HeaderRecord, ImapSession
from mailhearth_core.mail.model import MailError
from mailhearth_core.providers.base import Placement
from mailhearth_core.storage.clock import business_now, to_business
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named, together
from mailhearth_core.warmup.engagement import plan_engagement
from mailhearth_core.warmup.polling import next_poll
from mailhearth_worker import bounces
from mailhearth_worker.compose import turns_left
from mailhearth_worker.work import Action, LeaseLost, Work

log = structlog.get_logger()
SQL = named("worker")
SENDING = named("sending")

SLICE = 500
"""Headers fetched at a time."""
MOST = 10_000
"""Headers that one look reads of a folder at most; the next look goes on from there."""
OTHERS_AFTER = timedelta(minutes=55)
"""How long after a send the other folders are searched too."""
FINAL_AFTER = timedelta(hours=24)
LIKELY = 3
"""Folders known from earlier looks that are opened before they are seen to be there still."""
REWRITERS = (".outlook.com", ".amazonses.com")
"""Ends of Message-IDs that a relay puts in place of the sender's."""
NEW_FOLDER: dict[str, Any] = {"uidvalidity": None}
"""A folder that came to be after the baseline (some servers make Junk when it is first needed)."""


@dataclass(frozen=True)
class Sighting:
    """One of our messages, seen in a folder."""

    row: dict[str, Any]
    folder: str
    uidvalidity: int
    header: HeaderRecord
    in_tab: bool = False


@dataclass
class Progress:
    """How far one folder was read in this poll; saved with what was found in it."""

    folder: str
    uidvalidity: int
    uidnext: int


def poll(work: Work, action: Action) -> None:
    """Handles one `poll` action: the baseline at the first sign-in, else what is outstanding."""
    started = time.monotonic()
    began = work.claimed_at or work.now()
    told: list[list[list[dict[str, Any]]]] = []

    def ask() -> None:
        with work.reading() as conn:
            told.append(
                together(
                    conn,
                    (SQL.folder_states, work.keys),
                    (SQL.outstanding, work.keys | {"now": began}),
                    (SQL.unanswered_outbound, work.keys | {"since": began - timedelta(days=7)}),
                )
            )

    session = work.reader(meanwhile=ask)
    if not told:
        ask()
    states, outstanding, unanswered = told[-1]
    known = {row["folder"]: row for row in states}
    # The folders are listed anew in each look; what was Junk in the last one is likely to be still.
    overview = session.overview(list(known)[:LIKELY])
    folders = overview.folders
    missing = {row["message_id"]: row for row in outstanding}
    seen: list[Sighting] = []
    progress: list[Progress] = []
    for folder in (folders.inbox, folders.junk):
        if folder is None:
            continue
        work.keep()
        state = known.get(folder)
        if state is None and work.row["connected_at"] is not None:
            state = NEW_FOLDER
        status = overview.status.get(folder)
        if status is None or (_has_news(state, status) and not session.is_open(folder)):
            status = session.examine(folder)
        found, others, reached = _scan(
            session, folder, status, state, missing, began, work.row["address"]
        )
        seen += found
        progress.append(reached)
        if folder == folders.inbox and unanswered:
            bounces.read_reports(work, session, others, unanswered)
        for sighting in found:
            missing.pop(sighting.row["message_id"], None)
    for folder, least in (
        *((name, OTHERS_AFTER) for name in (*folders.others, folders.trash, folders.everything)),
        # Before a message is called missing it is searched for by name where it should have been.
        *((name, FINAL_AFTER) for name in (folders.inbox, folders.junk)),
    ):
        aged = [r for r in missing.values() if r["sent_at"] and began - r["sent_at"] >= least]
        if folder is not None and aged:
            work.keep()
            seen += _search(session, folder, aged, missing, work.row["address"])
    seen = _told_apart(work, session, folders, seen)
    _record(work, action, folders, seen, progress, outstanding, began)
    work.runtime.metrics.sync_seconds.labels(provider=work.row["peer_provider"]).observe(
        time.monotonic() - started
    )


def _has_news(state: dict[str, Any] | None, status: FolderStatus) -> bool:
    """Whether a folder that was read as far as `state` must be read on."""
    return state is not None and (
        state["uidvalidity"] != status.uidvalidity or state["uidnext"] < status.uidnext
    )


def _scan(
    session: ImapSession,
    folder: str,
    status: FolderStatus,
    state: dict[str, Any] | None,
    missing: dict[str, dict[str, Any]],
    now: datetime,
    address: str,
) -> tuple[list[Sighting], list[HeaderRecord], Progress]:
    """Reads the headers of what is new in a folder: ours, all other, and how far it got."""
    reached = Progress(folder, status.uidvalidity, status.uidnext)
    seen: list[Sighting] = []
    others: list[HeaderRecord] = []

    def take(headers: list[HeaderRecord]) -> None:
        for header in headers:
            reached.uidnext = max(reached.uidnext, header.uid + 1)
            row = recognise(header, missing, address)
            if row is None:
                others.append(header)
            else:
                seen.append(Sighting(row, folder, status.uidvalidity, header))

    if state is None:
        pass  # the baseline: history is never read
    elif state["uidvalidity"] != status.uidvalidity:
        if missing:
            oldest = min(row["sent_at"] or row["due_at"] for row in missing.values())
            # SINCE takes the server's date without a zone (RFC 3501, 6.4.4): one day of margin.
            since = datetime.now(UTC) - max(now - oldest, timedelta()) - timedelta(days=1)
            uids = session.uids_since(folder, since.date())[-MOST:]
            for start in range(0, len(uids), SLICE):
                take(session.headers(uids=uids[start : start + SLICE]))
    else:
        first = state["uidnext"]
        while first < status.uidnext:
            headers = session.headers(first_uid=first, limit=SLICE)
            take(headers)
            if not headers:
                break
            first = max(header.uid for header in headers) + 1
            if len(seen) + len(others) >= MOST:
                reached.uidnext = first
                break
    return seen, others, reached


def _told_apart(
    work: Work, session: ImapSession, folders: Folders, seen: list[Sighting]
) -> list[Sighting]:
    """Which of those in the inbox lie in one of its tabs, where the provider lets that be seen."""
    uids = [sighting.header.uid for sighting in seen if sighting.folder == folders.inbox]
    provider = work.runtime.sessions.provider(work.row)
    tabs = provider.in_tabs(session, folders.inbox, uids) if uids else set()
    return [
        replace(sighting, in_tab=True)
        if sighting.folder == folders.inbox and sighting.header.uid in tabs
        else sighting
        for sighting in seen
    ]


def recognise(
    header: HeaderRecord, missing: dict[str, dict[str, Any]], address: str
) -> dict[str, Any] | None:
    """The outstanding row that a header in the mailbox `address` belongs to, if it is ours.

    By Message-ID, else by the identifier a provider kept when it made its own, else, where a relay
    is known to put its own in place, by a unique match of sender, recipient, subject and time among
    what is outstanding.
    """
    for message_id in (header.message_id, *header.original_message_ids):
        row = missing.get(message_id)
        if row is not None:
            # A forged identifier without the right sender is somebody else's mail.
            return row if header.from_address == row["sender_address"] else None
    if header.message_id and not header.message_id.rstrip(">").endswith(REWRITERS):
        return None
    if address not in header.to_addresses:
        return None
    alike = [
        row
        for row in missing.values()
        if row["sender_address"] == header.from_address
        and row["subject"] == header.subject
        and (header.date is None or abs(header.date - row["due_at"]) < FINAL_AFTER)
    ]
    return alike[0] if len(alike) == 1 else None


def _search(
    session: ImapSession,
    folder: str,
    rows: list[dict[str, Any]],
    missing: dict[str, dict[str, Any]],
    address: str,
) -> list[Sighting]:
    """Looks for single messages in a folder by Message-ID; those found leave `missing`."""
    seen: list[Sighting] = []
    status = session.examine(folder)
    for row in rows:
        uids = session.find_message_id(folder, row["message_id"])
        headers = session.headers(uids=uids) if uids else []
        for header in headers:
            if recognise(header, missing, address) is row:
                seen.append(Sighting(row, folder, status.uidvalidity, header))
                del missing[row["message_id"]]
    return seen


def _record(
    work: Work,
    action: Action,
    folders: Folders,
    seen: list[Sighting],
    progress: list[Progress],
    outstanding: list[dict[str, Any]],
    began: datetime,
) -> None:
    """Writes everything one poll found, in one transaction, and asks for the next one."""
    found = {sighting.row["id"] for sighting in seen}
    absent = [row for row in outstanding if row["id"] not in found and row["sent_at"]]
    final = [row for row in absent if began - row["sent_at"] >= FINAL_AFTER]
    waiting = [row["sent_at"] for row in absent if row not in final]
    told: list[tuple[dict[str, Any], str]] = []
    outcome = {
        "action_id": action.id,
        "began": began,
        "folders": Jsonb([asdict(reached) for reached in progress]),
        "works": _can_send(work),
        "again": next_poll(waiting, began, began),
    }
    if not seen and not absent:
        if not work.settle_and_claim(SENDING.settle_poll_and_claim, SENDING.settle_poll, **outcome):
            raise LeaseLost(f"Action {action.id} is not held any more.")
        work.last_poll_at = began
        return
    with work.tx() as conn:
        if not SENDING.settle_poll(
            conn, **work.keys, token=work.token, machine=datetime.now(UTC), **outcome
        ):
            raise LeaseLost(f"Action {action.id} is not held any more.")
        for sighting in seen:
            placement = _observe(work, conn, folders, sighting)
            if placement:
                told.append((sighting.row, placement))
        for row in final:
            # Both folders were really scanned, a day or more after it left.
            verdict = "missing" if folders.junk else "unobservable"
            keys = {"workspace_id": work.workspace_id, "id": row["id"]}
            if SQL.mark_absent(conn, **keys, state=verdict, now=began):
                list(SQL.carry_observed(conn, inbound_id=row["id"]))
                told.append((row, verdict))
        if absent:
            SQL.mark_scanned(
                conn,
                workspace_id=work.workspace_id,
                ids=[row["id"] for row in absent],
                inbox=began,
                junk=began if folders.junk else None,
            )
    work.last_poll_at = began
    for row, placement in told:
        work.runtime.metrics.placement.labels(
            placement=placement, provider=work.row["peer_provider"]
        ).inc()
        with bound(correlation_id=str(row["correlation_id"])):
            log.info("observed", inbound_id=str(row["id"]), placement=placement)


def _can_send(work: Work) -> bool:
    """Whether strikes may be forgotten: the server for sending must take the sign-in as well."""
    if work.row["auth_failures"] == 0:
        return True
    try:
        work.sender()
    except MailError as error:
        log.warning("still_refused", code=error.code, reason=error.message)
        return False
    return True


def _observe(work: Work, conn: Connection, folders: Folders, sighting: Sighting) -> str | None:
    """Writes a first observation and plans what a reader would do; the placement, if it is new."""
    header, row = sighting.header, sighting.row
    now = business_now(conn)
    provider = work.runtime.sessions.provider(work.row)
    placement = provider.placement(sighting.folder, folders)
    if sighting.in_tab:
        placement = Placement.TAB
    automatic = header.is_automatic
    plan = plan_engagement(
        seed=row["seed"] + row["turn"],
        policy=work.policy,
        placement=placement,
        observed_at=now,
        auto_submitted=automatic,
        turns_left=_turns_left(work, row),
    )
    if not SQL.observe(
        conn,
        workspace_id=work.workspace_id,
        id=row["id"],
        now=now,
        arrived_at=to_business(conn, header.internaldate),
        placement=placement,
        placement_provider=work.row["peer_provider"],
        observed_message_id=header.message_id or row["message_id"],
        observed_refs=list(header.references),
        observed_date=header.date,
        auto_submitted=automatic,
        folder=sighting.folder,
        uidvalidity=sighting.uidvalidity,
        uid=header.uid,
        reply_state="wished" if plan.reply_at else "none",
        reply_at=plan.reply_at,
    ):
        return None
    deeds = {
        "rescue": plan.rescue_at,
        "read": plan.read_at,
        "flag": plan.flag_at,
        "file": plan.file_at,
        "expunge": plan.expunge_at,
    }
    for kind, due_at in deeds.items():
        if due_at is not None:
            SQL.add_action(
                conn, **work.keys, kind=kind, due_at=due_at, outbound_id=None, inbound_id=row["id"]
            )
    list(SQL.carry_observed(conn, inbound_id=row["id"]))
    return str(placement)


def _turns_left(work: Work, row: dict[str, Any]) -> int:
    """A conversation whose library is gone is not answered."""
    try:
        return turns_left(work, row)
    except NotFound:
        return 0
