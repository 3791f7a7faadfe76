"""Reading and acting by IMAP, against Dovecot and against servers that misbehave on purpose."""

from __future__ import annotations

import base64
import logging
import smtplib
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any

import pytest

from dovecot import DovecotServer, require_dovecot
from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail.imap import FolderStatus, ImapSession
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

LOGIN = Login("user@alpha.test", Secret("hunter2-hunter2"))


def put(server: DovecotServer, address: str, *messages: bytes) -> None:
    """Delivers by LMTP, as the mail server would."""
    with smtplib.LMTP("127.0.0.1", server.lmtp_port) as lmtp:
        for message in messages:
            lmtp.sendmail("peer@beta.test", [address], message)


def mail(number: int, subject: str = "hello") -> bytes:
    return f"Message-ID: <m{number}@x.test>\r\nSubject: {subject}\r\n\r\nHi.\r\n".encode()


@contextmanager
def signed_in(server: DovecotServer, user: str, dialer: Dialer) -> Iterator[ImapSession]:
    endpoint = Endpoint("mail.test", server.imaps_port, TlsMode.IMPLICIT, server.ca_pem)
    session = ImapSession.open(endpoint, Login(user, Secret(server.users[user])), dialer)
    yield session
    session.close()


@pytest.mark.parametrize("tls", list(TlsMode))
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
def test_every_tls_mode_and_mechanism_signs_in(
    new_post: Any,
    oauth_login: Any,
    tls: TlsMode,
    mechanism: str,
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.DEBUG)
    me = new_post()
    if mechanism == "LOGIN":  # the command takes ASCII only
        me.postfix.add_user(me.address, 'with "quotes" and \\')
        login = Login(me.address, Secret('with "quotes" and \\'))
    else:
        login = me.login if mechanism == "PLAIN" else oauth_login(me.address)
    stages: list[Stage] = []
    session = ImapSession.open(
        me.imap_endpoint(tls), login, me.dialer, mechanisms=[mechanism], on_stage=stages.append
    )
    assert session.is_alive()
    session.close()
    assert not session.is_alive()
    expected = [Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.LOGIN]
    assert stages == [s for s in expected if s is not Stage.TLS or tls is not TlsMode.NONE]
    assert login.secret.reveal() not in caplog.text


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
def test_a_wrong_credential_asks_for_a_new_one_and_is_never_shown(
    new_post: Any, mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.DEBUG)
    me = new_post()
    kind = Mechanism.PASSWORD if mechanism in ("PLAIN", "LOGIN") else Mechanism.OAUTH
    login = Login(me.address, Secret("wrong-secret-word"), kind)
    with pytest.raises(MailError) as caught:
        ImapSession.open(me.imap_endpoint(), login, me.dialer, mechanisms=[mechanism])
    error = caught.value
    assert (error.kind, error.stage) == (FailureKind.REAUTHENTICATE, Stage.LOGIN)
    assert "AUTHENTICATIONFAILED" in error.server_text
    assert "wrong-secret-word" not in f"{error} {error!r} {error.__dict__} {caplog.text}"


# -- looking --------------------------------------------------------------------------------------

STRANGE = (
    b"Message-ID: \r\n <folded@x.test>\r\n"
    b"X-Microsoft-Original-Message-ID: <original@x.test>\r\n"
    b"From: =?utf-8?q?J=C3=BCrgen?= <JUERGEN@Example.TEST>\r\n"
    b'To: a@b.test, "C, D" <c@d.test>,\r\n e@f.test\r\n'
    b"Subject: =?iso-8859-1?q?Gr=FC=DFe?= aus\r\n =?no-such-charset?q?K=F6ln?= =?utf-8?b?!!!?=\r\n"
    b"Date: Tue, 1 Jul 2025 10:52:37 +0200\r\n"
    b"In-Reply-To: <parent@x.test> (see above)\r\n"
    b"References: <root@x.test>\r\n\t<parent@x.test>\r\n"
    b"Auto-Submitted: auto-replied; owner=x\r\nPrecedence: Bulk\r\n"
    b"Content-Type: Multipart/Mixed; boundary=x\r\n\r\nbody\r\n"
)
BROKEN = (
    b"From: \xff\xfe <nobody\r\nSubject: caf\xc3\xa9 \xe9\r\nDate: yesterday\r\nX\r\n\r\nbody\r\n"
)


def test_headers_are_read_whatever_their_state_and_nothing_is_marked_seen(new_post: Any) -> None:
    me = new_post()
    put(me.dovecot, me.address, STRANGE, BROKEN, b"References: " + b"<r@x.test>\r\n " * 50_000)
    session = me.imap()
    status = session.examine("INBOX")
    strange, broken, endless = session.headers(first_uid=1)
    assert strange.message_id == "<folded@x.test>"
    assert strange.original_message_ids == ("<original@x.test>",)
    assert strange.from_address == "juergen@example.test"
    assert strange.to_addresses == ("a@b.test", "c@d.test", "e@f.test")
    assert strange.subject.startswith("Grüße aus")
    assert strange.date == datetime(2025, 7, 1, 8, 52, 37, tzinfo=UTC)
    assert strange.in_reply_to == "<parent@x.test>"
    assert strange.references == ("<root@x.test>", "<parent@x.test>")
    assert strange.auto_submitted.startswith("auto-replied")
    assert strange.content_type == "multipart/mixed"
    assert strange.is_automatic
    assert strange.size > len(STRANGE)
    assert abs(datetime.now(UTC) - strange.internaldate) < timedelta(minutes=5)
    assert strange.internaldate.tzinfo is UTC
    assert (broken.message_id, broken.date) == ("", None)
    assert "caf" in broken.subject
    assert not broken.is_automatic
    assert 0 < len(endless.references) <= 100
    assert session.fetch_raw(broken.uid, 10) is not None
    assert len(session.fetch_raw(strange.uid, 10) or b"") == 10
    assert session.fetch_raw(999_999, 10) is None
    after = session.headers([strange.uid, broken.uid, 999_999])
    assert [r.uid for r in after] == [strange.uid, broken.uid]
    assert all("\\Seen" not in r.flags for r in after)
    assert session.headers(first_uid=status.uidnext) == []
    assert [r.uid for r in session.headers(first_uid=1, limit=2)] == [strange.uid, broken.uid]
    session.close()


def test_an_overview_tells_what_listing_and_opening_tell(new_post: Any) -> None:
    me = new_post()
    put(me.dovecot, me.address, mail(1), mail(2))
    session = me.imap()
    overview = session.overview(["Junk", "No such folder"])
    assert session.is_open("INBOX")
    assert [record.message_id for record in session.headers(first_uid=1)] == [
        "<m1@x.test>",
        "<m2@x.test>",
    ]
    assert overview.folders == session.folders()
    assert overview.status == {name: session.examine(name) for name in ("Junk", "INBOX")}
    assert not session.is_open("Junk")
    session.select("Junk")
    put(me.dovecot, me.address, mail(3))
    assert session.overview().status["INBOX"].uidnext == 4
    with pytest.raises(InvalidValue):
        session.add_flags([1], ["\\Seen"])  # opened for looking only
    session.close()


OPENED = b"* %d EXISTS\r\n* OK [UIDVALIDITY %d] x\r\n* OK [UIDNEXT %d] x\r\n"


@pytest.mark.parametrize("refused", [b"NO", b"BAD"])
def test_an_overview_is_asked_for_at_once(scripted: Any, dialer: Dialer, refused: bytes) -> None:
    """All commands are there before the first answer; a folder refused does not spoil the rest."""

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello\r\n")
        with connection.makefile("rb") as lines:
            tag = lines.readline().split()[0]
            connection.sendall(tag + b" OK [CAPABILITY IMAP4rev1] in\r\n")
            asked = [lines.readline() for _ in range(4)]
            assert [line.split()[1] for line in asked] == [b"LIST", *[b"EXAMINE"] * 3]
            assert asked[3].split()[2] == b'"INBOX"'
            listing, spam, gone, inbox = (line.split()[0] for line in asked)
            connection.sendall(
                b'* LIST (\\Junk) "/" Spam\r\n' + listing + b" OK done\r\n"
                + OPENED % (1, 5, 6) + spam + b" OK [READ-ONLY] open\r\n"
                + gone + b" " + refused + b" there is none\r\n"
                + OPENED % (2, 7, 8) + inbox + b" OK [READ-ONLY] open\r\n"
            )  # fmt: skip
            lines.readline()

    session = ImapSession.open(scripted(handler).endpoint, LOGIN, dialer, deadline_s=5)
    overview = session.overview(["Spam", "Gone"])
    session.close()
    assert overview.folders.junk == "Spam"
    assert overview.status == {"Spam": FolderStatus(5, 6), "INBOX": FolderStatus(7, 8)}


def test_other_work_is_done_while_the_server_is_busy_with_the_sign_in(
    scripted: Any, dialer: Dialer
) -> None:
    worked = threading.Event()

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello\r\n")
        with connection.makefile("rb") as lines:
            tag = lines.readline().split()[0]
            if worked.wait(20):
                connection.sendall(tag + b" OK [CAPABILITY IMAP4rev1] in\r\n")
            lines.readline()

    server = scripted(handler)
    ImapSession.open(server.endpoint, LOGIN, dialer, deadline_s=20, meanwhile=worked.set).close()
    server.close()
    assert worked.is_set()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN"])
def test_what_fails_during_a_sign_in_is_not_called_the_servers_fault(
    new_post: Any, mechanism: str
) -> None:
    me = new_post()
    with pytest.raises(LookupError, match="of our own"):
        ImapSession.open(
            me.imap_endpoint(), me.login, me.dialer, mechanisms=[mechanism], meanwhile=_fail
        )


def _fail() -> None:
    raise LookupError("of our own")


def test_many_are_told_goodbye_before_one_is_waited_for(scripted: Any, dialer: Dialer) -> None:
    told = threading.Event()

    def handler(connection: socket.socket, *, last: bool) -> None:
        connection.sendall(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello\r\n")
        with connection.makefile("rb") as lines:
            tag = lines.readline().split()[0]
            connection.sendall(tag + b" OK [CAPABILITY IMAP4rev1] in\r\n")
            heard.append(lines.readline().split()[1:])
            if last:
                told.set()
            elif told.wait(20):
                connection.sendall(b"* BYE\r\n")

    heard: list[list[bytes]] = []
    servers = [scripted(partial(handler, last=last)) for last in (False, True)]
    sessions = [ImapSession.open(s.endpoint, LOGIN, dialer, deadline_s=5) for s in servers]
    for session in sessions:
        session.take_leave()
    for session in sessions:
        session.close()
    for server in servers:
        server.close()
    assert told.is_set()
    assert heard == [[b"LOGOUT"]] * 2


def test_messages_are_found_by_id_and_by_day(new_post: Any) -> None:
    me = new_post()
    put(me.dovecot, me.address, mail(1), mail(11))
    session = me.imap()
    session.select("INBOX")
    (uid,) = session.find_message_id("INBOX", "<m1@x.test>")
    today = datetime.now(UTC).date()
    assert session.uids_since("INBOX", today - timedelta(days=1)) == [uid, uid + 1]
    assert session.uids_since("INBOX", today + timedelta(days=2)) == []
    session.add_flags([uid], ["\\Flagged", "$Forwarded"])
    put(me.dovecot, me.address, mail(3))
    assert session.find_message_id("INBOX", "<m3@x.test>") == [uid + 2]
    assert session.status("Junk").uidnext == 1
    with pytest.raises(InvalidValue):
        session.find_message_id("INBOX", '<a@b.test>" OR ALL\r\n')
    with pytest.raises(MailError) as caught:
        session.examine("No such folder")
    assert caught.value.code == "no_such_folder"
    assert session.is_alive()
    session.close()


# -- acting ---------------------------------------------------------------------------------------


def test_acting_needs_a_folder_opened_for_it(new_post: Any) -> None:
    session = new_post().imap()
    session.examine("INBOX")
    with pytest.raises(InvalidValue):
        session.add_flags([1], ["\\Seen"])
    session.close()


SERVERS: dict[str, dict[str, Any]] = {
    "everything": {},
    "no MOVE": {"without": ["MOVE"]},
    "no MOVE, no UIDPLUS": {"without": ["MOVE", "UIDPLUS"]},
    "flat names in German, dotted": {
        "special_use": False,
        "junk": "Unerwünscht",
        "sent": "Gesendete Objekte",
        "trash": "Papierkorb",
        "drafts": "Entwürfe",
        "separator": ".",
        "prefix": "INBOX.",
    },
}


@pytest.mark.parametrize("variant", SERVERS)
def test_moving_and_deleting_touch_only_what_was_named(variant: str, dialer: Dialer) -> None:
    require_dovecot()
    options = SERVERS[variant]
    user = "me@alpha.test"
    uidplus = "UIDPLUS" not in options.get("without", ())
    with DovecotServer({user: "word"}, **options) as server:
        put(server, user, *(mail(n) for n in range(5)))
        with signed_in(server, user, dialer) as session:
            folders = session.folders()
            assert folders.junk == options.get("prefix", "") + options.get("junk", "Junk")
            assert None not in (folders.sent, folders.trash, folders.drafts)
            target = session.ensure_folder("Mailhearth/Done")
            assert session.ensure_folder("Mailhearth/Done") == target
            session.select("INBOX")
            first, second, third, fourth, fifth = session.headers(first_uid=1)
            session.add_flags([fifth.uid], ["\\Deleted"])  # somebody else's deletion
            moved = session.move([first.uid, third.uid], target)
            assert moved is not None  # Dovecot tells even when it does not announce UIDPLUS
            assert set(moved) == {first.uid, third.uid}
            new = session.find_message_id(target, third.message_id)
            assert new == [moved[third.uid]]
            assert session.expunge("INBOX", [fourth.uid]) is uidplus
            left = {r.uid: r.flags for r in session.headers(first_uid=1)}
            assert session.find_message_id("INBOX", first.message_id) == []
            assert session.find_message_id("INBOX", second.message_id) == [second.uid]
            assert fifth.uid in left
            if uidplus:
                assert set(left) == {second.uid, fifth.uid}
            else:
                gone = {uid for uid, flags in left.items() if "\\Deleted" in flags}
                assert gone == {first.uid, third.uid, fourth.uid, fifth.uid}
            assert session.status(target).uidnext == 3


def test_without_uidplus_nothing_is_expunged(scripted: Any, dialer: Dialer) -> None:
    heard: list[bytes] = []
    opened = b"* 3 EXISTS\r\n* OK [UIDVALIDITY 1] x\r\n* OK [UIDNEXT 9] x\r\nTAG OK done\r\n"
    server = scripted(answering(opened, b"TAG OK done\r\n", b"TAG OK done\r\n", heard=heard))
    session = ImapSession.open(server.endpoint, LOGIN, dialer, deadline_s=5)
    session.select("INBOX")
    assert session.move([3, 4], "Done") is None
    session.close()
    server.close()
    assert heard[3:] == [b'SELECT "INBOX"', b"UID COPY", b"UID STORE"]


def test_mail_filed_by_sieve_is_in_junk(new_post: Any) -> None:
    me, you = new_post(), new_post()
    you.dovecot.junk_when(f'header :contains "subject" "casino for {you.address}"')
    message = mail(1, f"casino for {you.address}")
    me.send(you.address, message)
    session = you.imap()
    assert session.find_message_id("INBOX", "<m1@x.test>") == []
    assert len(session.find_message_id(session.folders().junk or "", "<m1@x.test>")) == 1
    session.close()


# -- servers that misbehave -----------------------------------------------------------------------

GREETING = b"* OK hello\r\n"


def answering(*answers: bytes, heard: list[bytes] | None = None) -> Callable[[socket.socket], None]:
    """Signs anybody in, then gives each command the next of `answers`; TAG stands for its tag.

    The names of the commands are put in `heard`.
    """
    names = heard if heard is not None else []
    signing_in = (
        b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK done\r\n",
        b"+ \r\n",
        b"TAG OK [CAPABILITY IMAP4rev1] in\r\n",
    )

    def handler(connection: socket.socket) -> None:
        connection.sendall(GREETING)
        tag = b""
        with connection.makefile("rb") as lines:
            for answer in (*signing_in, *answers):
                words = lines.readline().split()
                tag = words[0] if len(words) > 1 else tag  # else it is the credential
                names.append(b" ".join(words[1:3]))
                connection.sendall(answer.replace(b"TAG ", tag + b" "))
            lines.readline()

    return handler


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (b"* 1 FETCH (BODY[] {99999999999}\r\n", "too_much_data"),
        (b'* LIST (\\X) "/" ' + b"(" * 20_000 + b"\r\nTAG OK done\r\n", "bad_server_reply"),
        (b"* LIST (((\r\nTAG OK done\r\n", "bad_server_reply"),
        (b"\x00\xff nonsense\r\n", "server_closing"),
        (b"* BYE [ALERT] Too many simultaneous connections. (Failure)\r\n", "too_many_connections"),
        (b"TAG BAD what?\r\n", "command_refused"),
        (b'* LIST () "/" a\r\n' * 600_000, "too_much_data"),
        (b"TAG NO [UNAVAILABLE] later\r\n", "server_later"),
    ],
)
def test_a_hostile_answer_costs_one_error(
    scripted: Any, dialer: Dialer, answer: bytes, code: str
) -> None:
    server = scripted(answering(answer))
    session = ImapSession.open(server.endpoint, LOGIN, dialer, deadline_s=10)
    with pytest.raises(MailError) as caught:
        session.folders()
    session.close()
    assert caught.value.code == code


def test_a_byte_a_second_does_not_extend_the_deadline(scripted: Any, dialer: Dialer) -> None:
    def drip(connection: socket.socket) -> None:
        stop = time.monotonic() + 15
        connection.settimeout(0.05)
        while time.monotonic() < stop:
            connection.sendall(b"*")
            try:
                if not connection.recv(100):
                    return
            except TimeoutError:
                continue

    began = time.monotonic()
    with pytest.raises(MailError) as caught:
        ImapSession.open(scripted(drip).endpoint, LOGIN, dialer, deadline_s=0.5)
    assert (caught.value.code, caught.value.kind) == ("timeout", FailureKind.TRY_LATER)
    assert time.monotonic() - began < 5


def test_a_server_that_tells_all_at_once_is_asked_no_more(scripted: Any, dialer: Dialer) -> None:
    heard: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        connection.sendall(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello\r\n")
        with connection.makefile("rb") as lines:
            heard.append(lines.readline())
            tag = heard[0].split()[0]
            connection.sendall(tag + b" OK [CAPABILITY IMAP4rev1] in\r\n")
            lines.readline()

    server = scripted(handler)
    ImapSession.open(server.endpoint, LOGIN, dialer, deadline_s=5).close()
    server.close()
    said = base64.b64encode(b"\0user@alpha.test\0hunter2-hunter2")
    assert heard[0].split()[1:] == [b"AUTHENTICATE", b"PLAIN", said]


def test_a_refused_sign_in_at_once_is_a_strike(scripted: Any, dialer: Dialer) -> None:
    def handler(connection: socket.socket) -> None:
        connection.sendall(b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR] hello\r\n")
        with connection.makefile("rb") as lines:
            tag = lines.readline().split()[0]
            connection.sendall(tag + b" NO [AUTHENTICATIONFAILED] no\r\n")
            lines.readline()

    server = scripted(handler)
    with pytest.raises(MailError) as caught:
        ImapSession.open(server.endpoint, LOGIN, dialer, deadline_s=5)
    server.close()
    assert (caught.value.kind, caught.value.stage) == (FailureKind.REAUTHENTICATE, Stage.LOGIN)


@pytest.mark.parametrize("greeting", [b"* PREAUTH hello\r\n", GREETING])
def test_no_credential_is_sent_before_starttls(
    scripted: Any, dialer: Dialer, greeting: bytes
) -> None:
    heard: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        connection.sendall(greeting)
        with connection.makefile("rb") as lines:
            while line := lines.readline():
                heard.append(line)
                tag = line.split()[0]
                connection.sendall(b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\n" + tag + b" OK done\r\n")

    server = scripted(handler)
    endpoint = Endpoint("127.0.0.1", server.port, TlsMode.STARTTLS)
    with pytest.raises(MailError) as caught:
        ImapSession.open(endpoint, LOGIN, dialer, deadline_s=5)
    server.close()
    assert caught.value.code == "unsafe_server"
    assert [line.split()[1] for line in heard] == [b"CAPABILITY"]
