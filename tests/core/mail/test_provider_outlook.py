"""The outlook slice: its servers, its folders on a Dovecot that has them, its replies."""

# Replies stay on one line: they are data.
# ruff: noqa: E501

from __future__ import annotations

import smtplib
from collections.abc import Callable, Iterator
from dataclasses import replace

import pytest

from dovecot import DovecotServer, IntrospectionServer, require_dovecot
from mailhearth_core.mail.classify import classify_imap, classify_smtp
from mailhearth_core.mail.model import (
    Endpoint,
    FailureKind,
    Login,
    MailError,
    Mechanism,
    Secret,
    Stage,
    TlsMode,
)
from mailhearth_core.net import Dialer
from mailhearth_core.providers.base import MailboxConfig, Placement
from mailhearth_core.providers.outlook.provider import OutlookProvider

OUTLOOK = OutlookProvider()
OTTO = "otto@beta.test"


@pytest.fixture(scope="module")
def server(introspection: IntrospectionServer) -> Iterator[DovecotServer]:
    require_dovecot()
    with DovecotServer(
        {OTTO: "word"},
        introspection_url=introspection.url,
        junk="Junk Email",
        trash="Deleted Items",
        sent="Sent Items",
        special_use=False,  # Exchange gives no attributes to every client: the names must do
    ) as started:
        yield started


def test_junk_is_known_by_name_and_deleting_deletes(
    server: DovecotServer, oauth_login: Callable[[str], Login], dialer: Dialer
) -> None:
    server.junk_when('header :contains "subject" "offer"')
    endpoint = Endpoint("127.0.0.1", server.imap_port, TlsMode.STARTTLS, server.ca_pem)
    reader = OUTLOOK.open_reader(MailboxConfig(OTTO, endpoint, endpoint), oauth_login(OTTO), dialer)
    with smtplib.LMTP("127.0.0.1", server.lmtp_port) as lmtp:
        lmtp.sendmail("a@b.test", [OTTO], b"Message-ID: <o@x.test>\r\nSubject: offer\r\n\r\nHi\r\n")
    folders = reader.folders()
    assert (folders.junk, folders.trash, folders.sent, folders.everything) == (
        "Junk Email",
        "Deleted Items",
        "Sent Items",
        None,
    )
    uids = reader.find_message_id("Junk Email", "<o@x.test>")
    assert OUTLOOK.placement("Junk Email", folders) is Placement.JUNK
    assert OUTLOOK.in_tabs(reader, "INBOX", [1]) == set()
    rescued = OUTLOOK.rescue(reader, "Junk Email", uids, folders) or {}
    assert OUTLOOK.delete(reader, "INBOX", list(rescued.values()), folders)
    for folder in ("INBOX", "Junk Email", "Deleted Items"):
        assert reader.find_message_id(folder, "<o@x.test>") == []
    reader.close()


def test_only_microsofts_servers_see_a_token() -> None:
    login = Login(OTTO, Secret("token"), Mechanism.OAUTH)
    good = MailboxConfig(OTTO, OUTLOOK.servers.imap, OUTLOOK.servers.smtp)
    OUTLOOK.check_login(good, login)
    OUTLOOK.check_login(replace(good, smtp=replace(good.smtp, host="smtp-mail.outlook.com")), login)
    assert (OUTLOOK.servers.imap.host, OUTLOOK.servers.imap.port) == ("outlook.office365.com", 993)
    assert (OUTLOOK.servers.smtp.host, OUTLOOK.servers.smtp.port, OUTLOOK.servers.smtp.tls) == (
        "smtp.office365.com",
        587,
        TlsMode.STARTTLS,
    )
    other = replace(OUTLOOK.servers.imap, host="imap.gmail.com")
    for bad in (replace(good, imap=other), replace(good, smtp=other)):
        with pytest.raises(MailError, match="not a server of Microsoft"):
            OUTLOOK.check_login(bad, login)
    with pytest.raises(MailError, match="Sign in with Microsoft"):
        OUTLOOK.check_login(good, Login(OTTO, Secret("word")))


@pytest.mark.parametrize(
    ("reply", "text", "stage", "kind", "code"),
    [
        (535, "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Tenant. Visit ...", Stage.LOGIN, FailureKind.PERMANENT, "tenant_smtp_disabled"),
        (535, "5.7.139 Authentication unsuccessful, SmtpClientAuthentication is disabled for the Mailbox.", Stage.LOGIN, FailureKind.PERMANENT, "tenant_smtp_disabled"),
        (535, "5.7.3 Authentication unsuccessful [X.prod.outlook.com]", Stage.LOGIN, FailureKind.REAUTHENTICATE, "bad_credentials"),
        (432, "4.3.2 Concurrent connections limit exceeded. Visit ...", Stage.LOGIN, FailureKind.PROVIDER_LIMIT, "too_many_connections"),
        (554, "5.2.0 STOREDRV.Submission.Exception:SubmissionQuotaExceededException; Failed to process message due to a permanent exception: submission quota exceeded", Stage.DOT, FailureKind.PROVIDER_LIMIT, "sending_limit"),
        (550, "5.1.8 Access denied, bad outbound sender.", Stage.DOT, FailureKind.PERMANENT, "provider_block"),
        (451, "4.7.500 Server busy. Please try again later", Stage.MAIL, FailureKind.TRY_LATER, "server_later"),
        (421, "4.4.2 Message submission rate for this client has exceeded the configured limit", Stage.MAIL, FailureKind.PROVIDER_LIMIT, "sending_limit"),
        (452, "4.5.3 Too many recipients", Stage.RCPT, FailureKind.TRY_LATER, "too_many_recipients"),
        (550, "5.7.708 Service unavailable. Access denied, traffic not accepted from this IP.", Stage.MAIL, FailureKind.PERMANENT, "provider_block"),
    ],
)  # fmt: skip
def test_microsofts_replies_by_smtp(
    reply: int, text: str, stage: Stage, kind: FailureKind, code: str
) -> None:
    verdict = classify_smtp(reply, text, stage)
    assert (verdict.kind, verdict.code) == (kind, code)


@pytest.mark.parametrize(
    ("text", "stage", "kind"),
    [
        ("AUTHENTICATE failed.", Stage.LOGIN, FailureKind.REAUTHENTICATE),
        ("User is authenticated but not connected.", Stage.SELECT, FailureKind.TRY_LATER),
        ("Request is throttled. Suggested Backoff Time: 30000 milliseconds", Stage.FETCH, FailureKind.PROVIDER_LIMIT),
        ("Server Unavailable. 15", Stage.SELECT, FailureKind.TRY_LATER),
    ],
)  # fmt: skip
def test_microsofts_replies_by_imap(text: str, stage: Stage, kind: FailureKind) -> None:
    assert classify_imap(text, stage).kind is kind
