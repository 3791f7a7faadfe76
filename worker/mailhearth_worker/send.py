"""Sending one message: claimed, committed as `sending`, handed over once, settled.

A failure before the final dot may be tried again. After the dot the row is `uncertain` until there
is evidence, and the message is never sent again.
"""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from typing import Any

import structlog

from mailhearth_core.errors import ServiceUnavailable
from mailhearth_core.logs import bound
from mailhearth_core.mail.model import FailureKind, MailError, OutcomeUnknown, Scope
from mailhearth_core.mail.smtp import FINAL_REPLY_S
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named
from mailhearth_core.warmup.polling import next_poll
from mailhearth_worker.compose import compose
from mailhearth_worker.work import Action, LeaseLost, Work

log = structlog.get_logger()
SQL = named("worker")
SENDING = named("sending")

PEER_GONE_WAIT = timedelta(minutes=2)
"""How long a message whose peer left waits for the scheduler to bind another."""
EVIDENCE_AFTER = timedelta(minutes=10)
SENDING_SECONDS = FINAL_REPLY_S + 60
"""The lease lives this long from the moment a message is handed over (machine time): a server may
take its time to answer the final dot, and nobody may take the mailbox meanwhile."""


def send(work: Work, action: Action, out: dict[str, Any]) -> None:
    """Handles one `send` action and its message, as they were claimed."""
    if not _seems_free(work, action, out):
        with work.tx() as conn:
            if not _may_go(work, conn, action, out):
                return
    raw = compose(work, out)
    with bound(correlation_id=str(out["correlation_id"])):
        started = time.monotonic()
        session = work.sender()
        try:
            session.begin(work.row["address"], out["peer_address"], len(raw))
            if not _commit_sending(work, action, out):
                work.runtime.sessions.forget(work.mailbox_id)  # the only way out of DATA
                return
            session.transmit(raw)
            reply = session.finish()
        except OutcomeUnknown as error:
            work.runtime.sessions.forget(work.mailbox_id)
            _settled(work, action, "uncertain", error.message, "")
            log.warning("send_uncertain", reason=error.message)
            return
        except MailError as error:
            _not_sent(work, action, out, error)
            return
        _settled(work, action, "sent", "", f"{reply.code} {reply.text}")
        provider = work.row["peer_provider"]
        work.runtime.metrics.sent.labels(provider=provider).inc()
        if out["kind"] == "reply":
            work.runtime.metrics.replied.labels(provider=provider).inc()
        work.runtime.metrics.send_seconds.labels(provider=provider).observe(
            time.monotonic() - started
        )
        log.info("sent", outbound_id=str(out["id"]), kind=out["kind"])


def _seems_free(work: Work, action: Action, out: dict[str, Any]) -> bool:
    """Whether nothing spoke against it when it was claimed; else `_may_go` looks and acts."""
    now = work.about_now()
    gap = timedelta(seconds=work.policy.min_gap_seconds)
    return (
        out["state"] == "bound"
        and (action.not_after is None or now <= action.not_after)
        and (work.last_sent_at is None or work.last_sent_at + gap <= now)
    )


def _may_go(work: Work, conn: Connection, action: Action, out: dict[str, Any]) -> bool:
    """Looks again, in the claim, at lateness, the gap, and consent on both sides."""
    gap = timedelta(seconds=work.policy.min_gap_seconds)
    now = business_now(conn)
    if action.not_after and now > action.not_after:
        _withdraw(work, conn, action, out, "skipped", "late")
        return False
    if work.last_sent_at and work.last_sent_at + gap > now:
        work.postpone(conn, action, work.last_sent_at + gap - now, "the gap after the last send")
        return False
    match SQL.claim_send(conn, outbound_id=action.outbound_id):
        case "ok" if out["state"] == "bound":
            return True
        case "restored":
            _withdraw(work, conn, action, out, "skipped", "restored", reply="expired")
            return False
        case "own_mailbox":
            _withdraw(work, conn, action, out, "cancelled", "this mailbox may not send now")
            return False
        case _:
            work.postpone(conn, action, PEER_GONE_WAIT, "the peer no longer takes part")
            return False


def _withdraw(
    work: Work,
    conn: Connection,
    action: Action,
    out: dict[str, Any],
    state: str,
    reason: str,
    *,
    reply: str = "wished",
) -> None:
    """Ends a message that will not be sent, on both sides; its reply may take another's place."""
    work.finish(conn, action, state, reason)
    _settle_row(work, conn, out, state, reason)
    list(SQL.withdrawn(conn, outbound_id=out["id"]))
    _replied(work, conn, out, reply)


def _replied(work: Work, conn: Connection, out: dict[str, Any], state: str) -> None:
    if out["reply_to_inbound"]:
        SQL.replied(conn, workspace_id=work.workspace_id, id=out["reply_to_inbound"], state=state)


def _commit_sending(work: Work, action: Action, out: dict[str, Any]) -> bool:
    """Commits that the message may leave from now on; False when it may not any more.

    Raises:
        LeaseLost: the lease or the action is not ours any more.
    """
    if work.once(
        SENDING.begin,
        action_id=action.id,
        machine=datetime.now(UTC),
        gap=timedelta(seconds=work.policy.min_gap_seconds),
        seconds=SENDING_SECONDS,
    ):
        return True
    with work.tx() as conn:  # what speaks against it, and what follows from that
        if not _may_go(work, conn, action, out):
            return False
        if not SQL.begin_sending(
            conn,
            workspace_id=work.workspace_id,
            action_id=action.id,
            token=work.token,
            now=business_now(conn),
            seconds=SENDING_SECONDS,
        ):
            raise LeaseLost(f"Action {action.id} may not be sent any more.")
    return True


def _settle_row(
    work: Work,
    conn: Connection,
    out: dict[str, Any],
    state: str,
    reason: str,
    smtp_reply: str = "",
) -> None:
    SQL.settle_outbound(
        conn,
        workspace_id=work.workspace_id,
        id=out["id"],
        state=state,
        reason=reason,
        sent_at=business_now(conn) if state == "sent" else None,
        smtp_reply=smtp_reply,
        evidence="smtp" if state == "sent" else "",
    )


def _settled(work: Work, action: Action, state: str, reason: str, smtp_reply: str) -> None:
    """Records that the message left, or may have; tries for as long as the lease lives."""
    end = time.monotonic() + work.runtime.settings.lease_seconds / 2
    while True:
        try:
            now = work.about_now()
            at = work.settle_and_claim(
                SENDING.settle_and_claim,
                SENDING.settle,
                action_id=action.id,
                state=state,
                reason=reason,
                smtp_reply=smtp_reply,
                poll_at=next_poll([now], None, now),
                evidence_after=EVIDENCE_AFTER,
                retention=timedelta(hours=work.policy.retention_hours),
            )
        except ServiceUnavailable:
            if time.monotonic() > end:
                raise
            time.sleep(0.2)
        else:
            if at is None:
                raise LeaseLost(f"Action {action.id} is not held any more.")
            work.last_sent_at = at
            return


def _not_sent(work: Work, action: Action, out: dict[str, Any], error: MailError) -> None:
    """Refused before it was accepted: nothing has left."""
    with work.tx() as conn:
        SQL.rebind_sending(conn, workspace_id=work.workspace_id, id=out["id"], reason=error.message)
        if error.kind is FailureKind.PERMANENT and error.scope is not Scope.MAILBOX:
            work.finish(conn, action, "failed", error.message)
            _settle_row(work, conn, out, "failed", error.message, str(error.reply_code or ""))
            list(SQL.withdrawn(conn, outbound_id=out["id"]))
            _replied(work, conn, out, "expired")
            if error.scope is Scope.RECIPIENT:
                SQL.add_bounce(
                    conn,
                    workspace_id=work.workspace_id,
                    outbound_id=out["id"],
                    domain=out["peer_domain"],
                    status=error.enhanced or str(error.reply_code or ""),
                    at=business_now(conn),
                )
            work.runtime.metrics.failure(error, error.stage)
            work.runtime.sessions.forget(work.mailbox_id)
            return
    raise error
