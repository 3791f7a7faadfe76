"""The gmail slice: deletion through Trash, tabs, servers; on a Dovecot with Gmail's folders."""

# Replies stay on one line: they are data.
# ruff: noqa: E501

from __future__ import annotations

import re
import smtplib
import socket
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from dovecot import DovecotServer, IntrospectionServer, require_dovecot
from mailhearth_core.mail.classify import classify_imap, classify_smtp
from mailhearth_core.mail.folders import Folders
from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.mail.model import (
    Endpoint,
    FailureKind,
    Login,
    MailError,
    Mechanism,
    Scope,
    Secret,
    Stage,
    TlsMode,
)
from mailhearth_core.net import Dialer
from mailhearth_core.providers.base import MailboxConfig, Placement
from mailhearth_core.providers.gmail.provider import GmailProvider

GMAIL = GmailProvider()
ANN = "ann@alpha.test"
SPAM, TRASH, ALL, SENT = (f"[Gmail]/{name}" for name in ("Spam", "Bin", "All Mail", "Sent Mail"))


@pytest.fixture(scope="module", params=[(), ("MOVE",), ("MOVE", "UIDPLUS")], ids=str)
def server(
    request: pytest.FixtureRequest, introspection: IntrospectionServer
) -> Iterator[DovecotServer]:
    require_dovecot()
    with DovecotServer(
        {ANN: "word"},
        introspection_url=introspection.url,
        junk=SPAM,
        trash=TRASH,
        sent=SENT,
        drafts="[Gmail]/Drafts",
        everything=ALL,
        without=request.param,
    ) as started:
        yield started


@pytest.fixture
def reader(
    server: DovecotServer, oauth_login: Callable[[str], Login], dialer: Dialer
) -> Iterator[ImapSession]:
    opened = GMAIL.open_reader(config_of(server), oauth_login(ANN), dialer)
    yield opened
    opened.close()


def config_of(server: DovecotServer) -> MailboxConfig:
    endpoint = Endpoint("127.0.0.1", server.imaps_port, TlsMode.IMPLICIT, server.ca_pem)
    return MailboxConfig(ANN, endpoint, replace(endpoint, port=465))


def deliver(server: DovecotServer, message_id: str, sender: str = "peer@beta.test") -> None:
    message = f"Message-ID: {message_id}\r\nFrom: {sender}\r\nSubject: x\r\n\r\nHi.\r\n"
    with smtplib.LMTP("127.0.0.1", server.lmtp_port) as lmtp:
        lmtp.sendmail(sender, [ANN], message.encode())


def copy(reader: ImapSession, message_id: str, target: str) -> None:
    reader.select("INBOX")
    reader._client.copy(reader.find_message_id("INBOX", message_id), target)


def test_folders_by_their_attributes_and_no_copy_in_all_mail(reader: ImapSession) -> None:
    folders = reader.folders()
    assert (folders.junk, folders.trash, folders.sent) == (SPAM, TRASH, SENT)
    assert (folders.everything, folders.others) == (ALL, ())
    assert GMAIL.scan_folders(folders) == ("INBOX", SPAM)
    assert GMAIL.placement(SPAM, folders) is Placement.JUNK
    assert GMAIL.placement(ALL, folders) is Placement.OTHER
    assert GMAIL.in_tabs(reader, "INBOX", [1]) == set()  # this server has no tabs to tell


def test_deleting_goes_through_trash_and_takes_nothing_else(
    server: DovecotServer, reader: ImapSession
) -> None:
    folders = reader.folders()
    deliver(server, "<kept@x.test>")
    deliver(server, "<gone@x.test>", "eve@evil.test")  # a forged copy that somebody threw away
    copy(reader, "<gone@x.test>", TRASH)
    reader.expunge("INBOX", reader.find_message_id("INBOX", "<gone@x.test>"))
    copy(reader, "<kept@x.test>", TRASH)
    deliver(server, "<gone@x.test>")
    uidplus = reader.offers("UIDPLUS")
    gone = reader.find_message_id("INBOX", "<gone@x.test>")[-1:]
    assert GMAIL.delete(reader, "INBOX", gone, folders) == uidplus
    if uidplus:  # again: another label was there first
        assert GMAIL.delete(reader, "INBOX", gone, folders)
    left = reader.headers(uids=reader.find_message_id(TRASH, "<gone@x.test>"))
    assert [header.from_address for header in left] == ["eve@evil.test"]
    assert len(reader.find_message_id(TRASH, "<kept@x.test>")) == 1
    assert len(reader.find_message_id("INBOX", "<kept@x.test>")) == 1
    # One that lies in Trash already ends there.
    kept = reader.find_message_id(TRASH, "<kept@x.test>")
    assert GMAIL.delete(reader, TRASH, kept, folders) == uidplus
    assert reader.find_message_id(TRASH, "<kept@x.test>") == []
    for folder in ("INBOX", TRASH):
        reader.select(folder)
        reader.expunge(folder, [header.uid for header in reader.headers(first_uid=1)])


def test_what_is_left_in_spam_of_a_rescue_is_not_expunged(
    server: DovecotServer, reader: ImapSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There it is the message itself, and would be gone for good."""
    folders = reader.folders()
    deliver(server, "<half@x.test>")
    copy(reader, "<half@x.test>", SPAM)
    left = reader.find_message_id(SPAM, "<half@x.test>")
    with monkeypatch.context() as patched:
        patched.setattr(ImapSession, "expunge", None)  # not even asked for
        GMAIL.end_rescue(reader, SPAM, left, folders)
    assert reader.find_message_id(SPAM, "<half@x.test>") == []
    uids = reader.find_message_id("INBOX", "<half@x.test>")
    assert uids
    reader.expunge("INBOX", uids)


def test_without_trash_nothing_is_deleted(server: DovecotServer, reader: ImapSession) -> None:
    deliver(server, "<stays@x.test>")
    uids = reader.find_message_id("INBOX", "<stays@x.test>")
    with pytest.raises(MailError, match="Show in IMAP") as caught:
        GMAIL.delete(reader, "INBOX", uids, Folders())
    assert caught.value.kind is FailureKind.PERMANENT
    assert reader.find_message_id("INBOX", "<stays@x.test>") == uids
    reader.expunge("INBOX", uids)


def test_tabs_are_told_by_category(scripted: Any, dialer: Dialer) -> None:
    """A server with Google's extensions; nobody has Gmail to test against."""
    asked: list[str] = []

    def gmail(peer: socket.socket) -> None:
        lines = peer.makefile("rb")
        capability = b"* CAPABILITY IMAP4rev1 AUTH=XOAUTH2 SASL-IR X-GM-EXT-1\r\n"
        peer.sendall(b"* OK Gimap ready\r\n")
        for line in lines:
            tag, _, command = line.strip().decode().partition(" ")
            verb = command.split(" ")[0].upper()
            if verb == "CAPABILITY":
                peer.sendall(capability)
            elif verb == "AUTHENTICATE" and command.count(" ") == 1:
                peer.sendall(b"+ \r\n")
                next(lines)
            elif verb in ("EXAMINE", "SELECT"):
                peer.sendall(b"* 9 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT 10] x\r\n")
            elif command.startswith("UID SEARCH"):
                asked.append(command)
                peer.sendall(b"* SEARCH 4 7 8\r\n")
            peer.sendall(f"{tag} OK done\r\n".encode())

    server = scripted(gmail)
    login = Login(ANN, Secret("token"), Mechanism.OAUTH)
    config = MailboxConfig(ANN, server.endpoint, server.endpoint)
    reader = GMAIL.open_reader(config, login, dialer)
    assert GMAIL.in_tabs(reader, "INBOX", [3, 4, 7]) == {4, 7}
    assert GMAIL.in_tabs(reader, "INBOX", []) == set()
    reader.close()
    (command,) = asked
    assert re.search(r"\bUID 3,4,7\b", command)
    (query,) = re.findall(r'X-GM-RAW "(.*)"$', command)
    assert query == "{category:promotions category:social category:updates category:forums}"


def test_only_googles_servers_see_a_token(dialer: Dialer) -> None:
    login = Login(ANN, Secret("token"), Mechanism.OAUTH)
    good = MailboxConfig(ANN, GMAIL.servers.imap, GMAIL.servers.smtp)
    GMAIL.check_login(good, login)
    assert (GMAIL.servers.imap.host, GMAIL.servers.imap.port) == ("imap.gmail.com", 993)
    assert (GMAIL.servers.smtp.host, GMAIL.servers.smtp.port) == ("smtp.gmail.com", 465)
    for bad in (
        replace(good, imap=replace(good.imap, host="imap.gmail.com.evil.test")),
        replace(good, imap=replace(good.imap, host="8.8.8.8")),
        replace(good, smtp=replace(good.smtp, host="outlook.office365.com")),
        replace(good, imap=replace(good.imap, ca_pem="another authority")),
    ):
        with pytest.raises(MailError) as caught:
            GMAIL.open_reader(bad, login, dialer)
        assert (caught.value.code, caught.value.kind) == ("wrong_server", FailureKind.PERMANENT)
        with pytest.raises(MailError, match="not a server of Google"):
            GMAIL.open_sender(bad, login, dialer)
    with pytest.raises(MailError, match="Passwords are not used") as caught:
        GMAIL.check_login(good, Login(ANN, Secret("word")))
    assert caught.value.code == "oauth_required"


@pytest.mark.parametrize(
    ("reply", "text", "stage", "kind", "code"),
    [
        (550, "5.4.5 Daily user sending limit exceeded.", Stage.DOT, FailureKind.PROVIDER_LIMIT, "daily_limit"),
        (454, "4.7.0 Too many login attempts, please try again later.", Stage.LOGIN, FailureKind.PROVIDER_LIMIT, "too_many_logins"),
        (421, "4.7.28 Our system has detected an unusual rate of unsolicited mail", Stage.DOT, FailureKind.PROVIDER_LIMIT, "rate_unusual"),
        (535, "5.7.8 Username and Password not accepted.", Stage.LOGIN, FailureKind.REAUTHENTICATE, "bad_credentials"),
    ],
)  # fmt: skip
def test_googles_replies_by_smtp(
    reply: int, text: str, stage: Stage, kind: FailureKind, code: str
) -> None:
    verdict = classify_smtp(reply, text, stage)
    assert (verdict.kind, verdict.code, verdict.scope) == (kind, code, Scope.MAILBOX)


@pytest.mark.parametrize(
    ("text", "stage", "kind"),
    [
        ("[AUTHENTICATIONFAILED] Invalid credentials (Failure)", Stage.LOGIN, FailureKind.REAUTHENTICATE),
        ("[ALERT] Too many simultaneous connections. (Failure)", Stage.LOGIN, FailureKind.PROVIDER_LIMIT),
        ("[OVERQUOTA] Account exceeded command or bandwidth limits.", Stage.FETCH, FailureKind.PROVIDER_LIMIT),
        ("[ALERT] Your account is not enabled for IMAP use.", Stage.LOGIN, FailureKind.PERMANENT),
    ],
)  # fmt: skip
def test_googles_replies_by_imap(text: str, stage: Stage, kind: FailureKind) -> None:
    assert classify_imap(text, stage).kind is kind
