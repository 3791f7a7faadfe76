"""What a failure costs: a later try, a strike, or the end of the one message it concerns."""

from __future__ import annotations

from datetime import timedelta

import structlog

from mailhearth_core.errors import MailhearthError
from mailhearth_core.mail.model import FailureKind, MailError
from mailhearth_core.oauth.model import GrantRefused
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.named import named
from mailhearth_worker.work import Action, Work

log = structlog.get_logger()
SQL = named("worker")

BACK_OFF = tuple(timedelta(minutes=m) for m in (1, 5, 15, 60))
"""Between tries of one action, business time; the last one repeats."""
AUTH_BACK_OFF = tuple(timedelta(minutes=m) for m in (15, 60, 240, 720))
"""Between sign-ins of a mailbox whose credential is refused."""
NOT_YET = timedelta(minutes=5)
"""Until a worker looks again for what it lacks itself (a key that is not mounted yet)."""
_BEFORE_THE_MAILBOX = {"resolve", "connect", "tls", "greeting", "login"}


def delay_for(attempt: int, kind: FailureKind) -> timedelta:
    """How long an action waits after its `attempt`-th failure (1 is the first)."""
    if kind is FailureKind.PROVIDER_LIMIT:
        return BACK_OFF[-1]
    return BACK_OFF[min(attempt, len(BACK_OFF)) - 1]


def record(work: Work, action: Action, error: MailError) -> bool:
    """Settles an action that a mail server failed; True when the mailbox cannot be used now."""
    work.runtime.metrics.failure(error, error.stage)
    log.warning(
        "mail_failure",
        action=action.kind,
        code=error.code,
        kind=str(error.kind),
        stage=error.stage,
        reason=error.message,
    )
    work.runtime.sessions.forget(work.mailbox_id)
    with work.tx() as conn:
        now = business_now(conn)
        if error.kind is FailureKind.REAUTHENTICATE:
            struck = SQL.auth_strike(
                conn,
                workspace_id=work.workspace_id,
                mailbox_id=work.mailbox_id,
                reason=str(error),
                reauth_after=(
                    1 if isinstance(error, GrantRefused) else work.policy.reauth_after_failures
                ),
                now=now,
            )
            strikes = struck["auth_failures"]
            delay = AUTH_BACK_OFF[min(strikes, len(AUTH_BACK_OFF)) - 1]
            work.postpone(conn, action, delay, error.message)
            SQL.put_off_actions(conn, **work.keys, due_at=now + delay, reason=error.message)
            return True
        SQL.mailbox_error(conn, **work.keys, reason=str(error), now=now)
        ends = error.kind is FailureKind.PERMANENT and error.stage not in _BEFORE_THE_MAILBOX
        if ends and action.kind not in {"poll", "census", "send"}:
            work.finish(conn, action, "failed", error.message)
            return False
        delay = delay_for(action.attempt, error.kind)
        work.postpone(conn, action, delay, error.message)
        if error.kind is FailureKind.PROVIDER_LIMIT and action.kind == "send":
            # It holds for the mailbox, not for the message: to go on would only make it worse.
            SQL.put_off_sends(conn, **work.keys, due_at=now + delay, reason=error.message)
        if error.stage in _BEFORE_THE_MAILBOX:
            SQL.put_off_actions(conn, **work.keys, due_at=now + delay, reason=error.message)
            return True
        return error.kind is not FailureKind.PERMANENT


def put_off_excluded(work: Work) -> None:
    """No sign-in is tried after the last strike, until the mailbox is connected again."""
    with work.tx() as conn:
        later = business_now(conn) + AUTH_BACK_OFF[-1]
        SQL.put_off_actions(
            conn, **work.keys, due_at=later, reason="the mailbox must be connected again"
        )


def put_back(work: Work, action: Action, error: MailhearthError) -> None:
    """Gives back one action that cannot be done as things are (its library is gone, say)."""
    work.runtime.metrics.failure(error, action.kind)
    log.warning("not_possible_now", action=action.kind, code=error.code, reason=error.message)
    with work.tx() as conn:
        work.postpone(conn, action, BACK_OFF[min(action.attempt, len(BACK_OFF)) - 1], error.message)


def put_back_unexpected(work: Work, action: Action, error: Exception) -> None:
    """Gives back an action that met what nobody thought of, with its story in the log.

    It costs this mailbox an error, and waits as after any failure: left due, it would be taken up
    again at once and for ever.
    """
    log.error("unexpected", action=action.kind, exc_info=error)
    work.runtime.sessions.forget(work.mailbox_id)
    reason = f"Something unexpected happened ({type(error).__name__}); the worker's log tells more."
    with work.tx() as conn:
        now = business_now(conn)
        delay = BACK_OFF[min(action.attempt, len(BACK_OFF)) - 1]
        SQL.mailbox_error(conn, **work.keys, reason=reason, now=now)
        work.postpone(conn, action, delay, reason)
        SQL.put_off_actions(conn, **work.keys, due_at=now + BACK_OFF[0], reason=reason)


def put_off(work: Work, action: Action, error: MailhearthError) -> None:
    """Gives a mailbox's work back for a reason of ours (a key that is not mounted yet).

    Never a strike against the mailbox.
    """
    work.runtime.metrics.failure(error, action.kind)
    log.warning("not_possible_now", action=action.kind, code=error.code, reason=error.message)
    with work.tx() as conn:
        now = business_now(conn)
        SQL.mailbox_error(conn, **work.keys, reason=str(error), now=now)
        work.postpone(conn, action, NOT_YET, error.message)
        SQL.put_off_actions(conn, **work.keys, due_at=now + NOT_YET, reason=error.message)
