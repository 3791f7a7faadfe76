"""The verb `drain`: takes the lease on one mailbox and does what is due in it, one by one.

The wake-up is only a hint. The lease decides who works, its fencing token decides whose results
count, and each action is claimed by a conditional update.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from datetime import UTC, datetime
from uuid import UUID

import structlog

from mailhearth_core.errors import KeysMissing, MailhearthError, ServiceUnavailable
from mailhearth_core.logs import bound
from mailhearth_core.mail.model import MailError
from mailhearth_core.storage.doors import Kept
from mailhearth_core.storage.named import named
from mailhearth_worker import (
    census,
    dnsreports,
    domains,
    engage,
    evidence,
    failures,
    observe,
    purge,
    send,
)
from mailhearth_worker.runtime import Runtime
from mailhearth_worker.work import Action, LeaseLost, Work

log = structlog.get_logger()
SQL = named("worker")
SENDING = named("sending")

RELEASE_S = 10.0
"""How long the end of a drain waits for a database that is away, machine seconds."""

Handler = Callable[[Work, Action], None]
HANDLERS: dict[str, Handler] = {
    "poll": observe.poll,
    "rescue": engage.rescue,
    "read": engage.read,
    "flag": engage.flag,
    "file": engage.file,
    "expunge": engage.expunge,
    "evidence": evidence.look_in_sent,
    "expunge_sent": evidence.expunge_sent,
    "check_domain": domains.check,
    "check_dns": dnsreports.report,
    "census": census.count,
    "purge": purge.purge,
}


def drain(runtime: Runtime, workspace_id: UUID, mailbox_id: UUID) -> None:
    """Does what is due in a mailbox, for one slice at most; returns at once if another holds it."""
    door = runtime.doors.door(workspace_id)
    kept = Kept(door)
    try:
        machine = datetime.now(UTC)
        with kept.statement() as conn:
            row = SENDING.take(
                conn,
                workspace_id=workspace_id,
                mailbox_id=mailbox_id,
                owner=runtime.settings.name,
                seconds=runtime.settings.lease_seconds,
                machine=machine,
                sealed=not runtime.sessions.holds(mailbox_id),
            )
        if row is not None:
            _drain(Work(runtime, door, kept, row, machine))
    finally:
        kept.close()


def _drain(work: Work) -> None:
    runtime, mailbox_id = work.runtime, work.mailbox_id
    with bound(workspace_id=str(work.workspace_id), mailbox_id=str(mailbox_id)):
        try:
            _slice(work)
        except LeaseLost as lost:
            log.warning("lease_lost", reason=lost.message)
            runtime.sessions.forget(mailbox_id)
        except BaseException:
            # Whatever was claimed is free again; what was being sent becomes uncertain.
            runtime.sessions.forget(mailbox_id)
            _release(work, tries_s=runtime.settings.lease_seconds / 2)
            raise
        else:
            _release(work, tries_s=RELEASE_S)


def _release(work: Work, *, tries_s: float) -> None:
    """Frees the mailbox; a database that stays away lets the lease run out by itself."""
    if work.freed:
        return
    end = time.monotonic() + tries_s
    while True:
        try:
            work.once(SQL.release_lease, mailbox_id=work.mailbox_id)
            return
        except ServiceUnavailable as error:
            if time.monotonic() > end or work.runtime.stopping():
                log.warning("lease_not_released", reason=error.message)
                return
            time.sleep(0.2)


def _slice(work: Work) -> None:
    """Claims and does one action after another until nothing is due, or the slice is over."""
    if work.row["auth_failures"] >= work.policy.exclude_after_failures:
        work.give_back()
        failures.put_off_excluded(work)
    while work.goes_on():
        claimed = work.claim()
        if claimed is None:
            return
        action = claimed.action
        work.runtime.metrics.lag_seconds.labels(kind=action.kind).observe(
            max(0.0, (claimed.at - action.due_at).total_seconds())
        )
        started = time.monotonic()
        try:
            if claimed.message is not None:
                send.send(work, action, claimed.message)
            else:
                HANDLERS[action.kind](work, action)
        except MailError as error:
            if failures.record(work, action, error):
                return
        except KeysMissing as error:
            failures.put_off(work, action, error)
            return
        except (LeaseLost, ServiceUnavailable):
            raise
        except MailhearthError as error:
            failures.put_back(work, action, error)
        except Exception as error:
            if action.kind == "send":
                raise  # it may have left: it becomes uncertain
            failures.put_back_unexpected(work, action, error)
            return
        log.debug("action", kind=action.kind, seconds=round(time.monotonic() - started, 3))
        work.keep()
    work.give_back()
