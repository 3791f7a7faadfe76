"""Delivery reports: a real one from Postfix, and the forms that others write."""

from __future__ import annotations

import time
from typing import Any

import pytest

from mailhearth_core.mail.dsn import DsnOutcome, read_dsn

EXCHANGE = b"""\
From: postmaster@outlook.test
Content-Type: multipart/report; report-type=delivery-status; boundary=b

--b
Content-Type: text/plain

Sorry.
--b
Content-Type: message/delivery-status

Reporting-MTA: dns;mail.outlook.test

Final-recipient: RFC822;One@Example.test
Action: failed
Status: 5.1.10
Diagnostic-Code: smtp;550 5.1.10 RESOLVER.ADR.RecipientNotFound

Original-Recipient: rfc822; two@example.test
Final-recipient: RFC822;relay@inner.test
Action: Delayed (try again)
Status: 4.4.7 (expired)

Final-recipient: RFC822;three@example.test
Status: 5.0.0

--b
Content-Type: text/rfc822-headers

Subject: hello
Message-ID: <sent@x.test>

--b--
"""

QMAIL = b"""\
From: MAILER-DAEMON@mail.test
Subject: failure notice
Content-Type: text/plain

Hi. This is the qmail-send program at mail.test.
I'm afraid I wasn't able to deliver your message to the following addresses.
This is a permanent error; I've given up. Sorry it didn't work out.

<gone@example.test>:
user does not exist

--- Below this line is a copy of the message.

Subject: hello
"""


def test_each_recipient_of_a_report_has_an_outcome() -> None:
    assert read_dsn(EXCHANGE) == [
        DsnOutcome("<sent@x.test>", "one@example.test", "failed", "5.1.10"),
        DsnOutcome("<sent@x.test>", "two@example.test", "delayed", "4.4.7"),
    ]


def test_older_forms_are_recognised() -> None:
    assert read_dsn(QMAIL) == [DsnOutcome(None, "gone@example.test", "failed", "")]


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        b"Subject: hello\r\n\r\nI failed to deliver the flowers to bob@example.test.\r\n",
        b"Content-Type: multipart/report; report-type=delivery-status\r\n\r\nno parts",
        b"Content-Type: message/delivery-status\r\n\r\nAction: failed\r\n",
    ],
)
def test_ordinary_and_broken_mail_is_no_report(raw: bytes) -> None:
    assert read_dsn(raw) == []


def test_a_bounce_of_a_real_server(new_post: Any) -> None:
    me, gone = new_post(), new_post()
    gone.dovecot.remove_user(gone.address)  # Postfix still takes the mail, delivery then fails
    me.send(gone.address, b"Message-ID: <lost@x.test>\r\nSubject: hello\r\n\r\nHi.\r\n")
    session = me.imap()
    session.examine("INBOX")
    deadline = time.monotonic() + 15
    while not (found := session.headers(first_uid=1)):
        assert time.monotonic() < deadline, me.postfix.log_text()
        session.is_alive()
    assert found[0].is_report
    assert found[0].report_type == "delivery-status"
    assert found[0].is_automatic
    raw = session.fetch_raw(found[0].uid, 100_000) or b""
    session.close()
    assert read_dsn(raw) == [DsnOutcome("<lost@x.test>", gone.address, "failed", "5.1.1")]
