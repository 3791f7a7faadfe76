"""What servers say no to: tried again later, or never, and what a bounce costs a domain."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from uuid import UUID

import pytest
from psycopg.rows import DictRow

from engine import MONDAY, Engine
from mailhearth_core.mail.classify import smtp_error
from mailhearth_core.mail.model import Stage
from mailhearth_core.mail.smtp import SmtpReply, SmtpSession

Team = tuple[UUID, list[UUID]]
Refuse = Callable[..., None]
MINUTES = timedelta(minutes=1)

REPORT = """\
From: Mail Delivery System <mailer-daemon@mx.example>
To: <{sender}>
Subject: Undelivered Mail Returned to Sender
Message-ID: <report-{token}@mx.example>
MIME-Version: 1.0
Content-Type: multipart/report; report-type=delivery-status; boundary="b"

--b
Content-Type: text/plain

Your message could not be delivered.

--b
Content-Type: message/delivery-status

Reporting-MTA: dns; mx.example

Final-Recipient: rfc822; {recipient}
Action: {action}
Status: {status}

--b
Content-Type: text/rfc822-headers

Message-ID: {message_id}

--b--
"""


@pytest.fixture
def refuse(monkeypatch: pytest.MonkeyPatch) -> Refuse:
    """`refuse(method, code, text, stage, times)`: the server's answer to what comes next."""
    answers: dict[str, Iterator[tuple[int, str, Stage]]] = {}

    def wrap(name: str) -> None:
        real = getattr(SmtpSession, name)

        def answer(self: SmtpSession, *args: object, **more: object) -> SmtpReply:
            for code, text, stage in answers.get(name, iter(())):
                raise smtp_error(code, text, stage)
            done: SmtpReply = real(self, *args, **more)
            return done

        monkeypatch.setattr(SmtpSession, name, answer)

    wrap("begin")
    wrap("finish")

    def arm(method: str, code: int, text: str, stage: Stage, times: int = 1) -> None:
        answers[method] = iter([(code, text, stage)] * times)

    return arm


def _try(engine: Engine, bound: DictRow) -> DictRow:
    """Lets the message's moment come; its action and its row as they are afterwards."""
    at = engine.one(
        "SELECT due_at FROM action WHERE outbound_id = %s AND kind = 'send'", bound["id"]
    )["due_at"]
    engine.set_clock(at + timedelta(seconds=1))
    engine.settle_down()
    return engine.one(
        "SELECT o.state, o.reason, a.state AS action, a.due_at - c.business_at AS wait "
        "FROM outbound o JOIN action a ON a.outbound_id = o.id AND a.kind = 'send', "
        "business_clock c WHERE o.id = %s",
        bound["id"],
    )


@pytest.mark.parametrize(
    ("method", "stage"),
    [("begin", Stage.RCPT), ("begin", Stage.MAIL), ("begin", Stage.DATA), ("finish", Stage.DOT)],
)
def test_a_temporary_refusal_is_tried_again_ever_later(
    engine: Engine, team: Team, refuse: Refuse, method: str, stage: Stage
) -> None:
    bound = engine.run_until_bound(MONDAY + timedelta(hours=9))
    engine.rows(  # it alone is watched
        "UPDATE action SET due_at = '2026-03-02T23:00Z', not_after = '2026-03-03T00:00Z' "
        "WHERE kind = 'send' AND outbound_id <> %s AND state IN ('waiting', 'pending')",
        bound["id"],
    )
    refuse(method, 451, "4.7.1 Greylisted, please try again", stage, 4)
    waits = [_try(engine, bound)["wait"] for _ in range(4)]
    assert [round(wait / MINUTES) for wait in waits] == [1, 5, 15, 60]
    assert _try(engine, bound)["state"] == "sent"
    assert engine.arrivals()[bound["message_id"]] == 1
    assert engine.rows("SELECT 1 FROM domain_bounces") == []


def test_a_refused_recipient_is_a_bounce_and_the_end(
    engine: Engine, team: Team, refuse: Refuse
) -> None:
    bound = engine.run_until_bound(MONDAY + timedelta(hours=9))
    refuse("begin", 550, "5.1.1 No such user", Stage.RCPT)
    row = _try(engine, bound)
    while row["state"] == "bound":  # another message was due before it
        refuse("begin", 550, "5.1.1 No such user", Stage.RCPT)
        row = _try(engine, bound)
    failed = engine.one("SELECT * FROM outbound WHERE state = 'failed'")
    assert (failed["smtp_reply"], failed["sent_at"]) == ("550", None)
    bounce = engine.one("SELECT * FROM domain_bounces")
    assert (bounce["domain"], bounce["status"], bounce["outbound_id"]) == (
        failed["peer_domain"],
        "5.1.1",
        failed["id"],
    )
    assert engine.rows("SELECT 1 FROM inbound WHERE pair_id = %s", failed["pair_id"]) == []
    engine.run_until(MONDAY + timedelta(hours=18))
    assert engine.one("SELECT state FROM outbound WHERE id = %s", failed["id"])["state"] == "failed"
    assert failed["message_id"] not in engine.arrivals()


def test_a_limit_of_the_provider_is_waited_out(engine: Engine, team: Team, refuse: Refuse) -> None:
    engine.run_until_bound(MONDAY + timedelta(hours=9))
    refuse("finish", 550, "5.4.5 Daily user sending limit exceeded", Stage.DOT)
    waiting: list[DictRow] = []
    while not waiting:
        engine.run_until(engine.now + timedelta(minutes=5))
        assert engine.now < MONDAY + timedelta(hours=18)
        waiting = engine.rows(
            "SELECT a.due_at - c.business_at AS wait, o.state FROM action a "
            "JOIN outbound o ON o.id = a.outbound_id, business_clock c "
            "WHERE a.kind = 'send' AND a.reason LIKE '%%limit%%'"
        )
    assert [row["state"] for row in waiting] == ["bound"]
    assert waiting[0]["wait"] > 50 * MINUTES
    assert engine.rows("SELECT 1 FROM domain_bounces") == []
    engine.run_until(MONDAY + timedelta(hours=18))
    assert engine.rows("SELECT 1 FROM outbound WHERE state IN ('failed', 'bounced')") == []


def test_three_delivery_reports_in_a_week_block_a_domain(engine: Engine, team: Team) -> None:
    engine.run_until(MONDAY + timedelta(hours=8))
    domain = engine.users[8].address.rpartition("@")[2]
    workspace, mailboxes = team
    target = mailboxes[3]
    # Nobody can look into the recipient's mailbox: the reports come first.
    engine.rows("DELETE FROM sealed_credentials WHERE mailbox_id = %s", target)
    engine.runtime.sessions.forget(target)
    reported: set[UUID] = set()
    for quarters in range(36, 280):
        engine.run_until(MONDAY + timedelta(minutes=15 * quarters))
        sent = engine.rows(
            "SELECT o.*, m.address FROM outbound o JOIN mailboxes m ON m.id = o.mailbox_id "
            "WHERE o.state = 'sent' AND o.peer_domain = %s AND o.placement IS NULL",
            domain,
        )
        for row in sent:
            if len(reported) < 3 and row["id"] not in reported:
                _report(engine, row, "delayed", "4.4.1")  # a warning is no bounce
                _report(engine, row, "failed", "5.1.1")
                reported.add(row["id"])
        if len(reported) == 3:
            break
    assert len(reported) == 3
    for mailbox in mailboxes[:3]:
        engine.ask_poll(workspace, mailbox, engine.now)
    engine.run_until(engine.now + timedelta(minutes=40))
    bounced = engine.rows("SELECT id, evidence FROM outbound WHERE state = 'bounced'")
    assert {row["id"] for row in bounced} == reported
    assert {row["evidence"] for row in bounced} == {"dsn"}
    assert [row["status"] for row in engine.rows("SELECT * FROM domain_bounces")] == ["5.1.1"] * 3
    since = engine.now
    engine.run_until(since + timedelta(hours=24))
    later = "SELECT count(*) AS n FROM outbound WHERE sent_at > %s AND "
    assert engine.one(later + "peer_domain = %s", since, domain)["n"] == 0
    assert engine.one(later + "peer_domain <> %s", since, domain)["n"] > 0


def _report(engine: Engine, row: DictRow, action: str, status: str) -> None:
    text = REPORT.format(
        sender=row["address"],
        recipient=row["peer_address"],
        message_id=row["message_id"],
        token=f"{row['id']}-{action}",
        action=action,
        status=status,
    )
    engine.append(row["address"], "INBOX", text.replace("\n", "\r\n").encode())
