"""Submission, against Postfix and against servers that misbehave on purpose."""

from __future__ import annotations

import logging
import re
import socket
import time
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail.model import (
    Endpoint,
    FailureKind,
    Login,
    MailError,
    Mechanism,
    OutcomeUnknown,
    Scope,
    Secret,
    Stage,
    TlsMode,
)
from mailhearth_core.mail.smtp import SmtpSession, _as_data
from mailhearth_core.net import Dialer

MESSAGE = b"From: a@alpha.test\r\nSubject: hello\r\nMessage-ID: <one@alpha.test>\r\n\r\nHi.\r\n"
LOGIN = Login("user@alpha.test", Secret("hunter2-hunter2"))


@pytest.mark.parametrize("tls", list(TlsMode))
@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
def test_every_tls_mode_and_mechanism_delivers(
    new_post: Any, oauth_login: Any, tls: TlsMode, mechanism: str
) -> None:
    me, you = new_post(), new_post()
    login = me.login if mechanism in ("PLAIN", "LOGIN") else oauth_login(me.address)
    stages: list[Stage] = []
    session = SmtpSession.open(
        me.smtp_endpoint(tls), login, me.dialer, mechanisms=[mechanism], on_stage=stages.append
    )
    session.begin(me.address, you.address, len(MESSAGE))
    session.transmit(MESSAGE)
    assert session.finish().code == 250
    session.close()
    expected = [Stage.RESOLVE, Stage.CONNECT, Stage.TLS, Stage.LOGIN]
    assert stages == [s for s in expected if s is not Stage.TLS or tls is not TlsMode.NONE]
    me.postfix.wait_until_delivered()
    reader = you.imap()
    assert reader.find_message_id("INBOX", "<one@alpha.test>") != []
    reader.close()


def test_dots_bare_line_ends_and_missing_final_newline_arrive_right(new_post: Any) -> None:
    me = new_post()
    me.send(me.address, b"Message-ID: <dots@x.test>\n\n.\r\n..two\r.one\nend")
    reader = me.imap()
    (uid,) = reader.find_message_id("INBOX", "<dots@x.test>")
    raw = reader.fetch_raw(uid, 10_000)
    reader.close()
    assert raw is not None
    assert raw.endswith(b"\r\n\r\n.\r\n..two\r\n.one\r\nend\r\n")


def test_a_refused_recipient_leaves_the_session_usable(new_post: Any) -> None:
    me = new_post()
    later = f"later-{me.address}"
    me.postfix.answer(later, "450 4.2.0 Greylisted, come back")
    session = me.smtp()
    with pytest.raises(MailError) as unknown:
        session.begin(me.address, f"nobody-{me.address}", 10)
    assert (unknown.value.code, unknown.value.kind, unknown.value.scope, unknown.value.stage) == (
        "unknown_recipient",
        FailureKind.PERMANENT,
        Scope.RECIPIENT,
        Stage.RCPT,
    )
    with pytest.raises(MailError) as grey:
        session.begin(me.address, later, 10)
    assert (grey.value.code, grey.value.kind) == ("greylisted", FailureKind.TRY_LATER)
    with pytest.raises(MailError) as big:
        session.begin(me.address, me.address, (session.max_size or 0) + 1)
    assert big.value.code == "message_too_big"
    session.begin(me.address, me.address, len(MESSAGE))
    session.transmit(MESSAGE)
    assert session.finish().enhanced == "2.0.0"
    assert session.is_alive()
    session.close()
    assert not session.is_alive()


@pytest.mark.parametrize("mechanism", ["PLAIN", "LOGIN", "XOAUTH2", "OAUTHBEARER"])
def test_a_wrong_credential_asks_for_a_new_one_and_is_never_shown(
    new_post: Any, mechanism: str, caplog: pytest.LogCaptureFixture
) -> None:
    me = new_post()
    caplog.set_level(logging.DEBUG)
    kind = Mechanism.PASSWORD if mechanism in ("PLAIN", "LOGIN") else Mechanism.OAUTH
    login = Login(me.address, Secret("wrong-secret-word"), kind)
    with pytest.raises(MailError) as caught:
        SmtpSession.open(me.smtp_endpoint(), login, me.dialer, mechanisms=[mechanism])
    error = caught.value
    assert (error.kind, error.stage) == (FailureKind.REAUTHENTICATE, Stage.LOGIN)
    assert (error.reply_code, error.enhanced) == (535, "5.7.8")
    shown = f"{error} {error!r} {error.__dict__} {login!r} {caplog.text}"
    assert "wrong-secret-word" not in shown


def test_addresses_and_lines_that_would_break_the_protocol_are_refused(new_post: Any) -> None:
    me = new_post()
    session = me.smtp()
    for bad in ("a@b.test>\r\nRCPT TO:<c@d.test", "a b@c.test", ""):
        with pytest.raises(InvalidValue):
            session.begin(me.address, bad, 10)
    session.begin(me.address, me.address, 10)
    with pytest.raises(InvalidValue):
        session.transmit(b"x" * 999)
    session.close()


@given(st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"..", b"a"])).map(b"".join))
def test_lines_go_out_one_by_one_with_their_dots_doubled(message: bytes) -> None:
    lines = re.split(rb"\r\n|\r|\n", message)
    if lines[-1] == b"":
        lines.pop()
    assert _as_data(message) == b"".join(re.sub(rb"^\.", b"..", ln) + b"\r\n" for ln in lines)


# -- servers that misbehave -----------------------------------------------------------------------


class Talk:
    """The server's side of a scripted conversation up to the message."""

    def __init__(self, connection: socket.socket) -> None:
        self.connection = connection
        self.lines = connection.makefile("rb")

    def say(self, text: str) -> None:
        self.connection.sendall(text.encode() + b"\r\n")

    def hear(self) -> bytes:
        return self.lines.readline()

    def until_data(self) -> None:
        self.say("220 test")
        for reply in (
            "250-test\r\n250 AUTH PLAIN",
            "235 2.7.0 ok",
            "250 2.1.0 ok",
            "250 2.1.5 ok",
            "354 go",
        ):
            assert self.hear()
            self.say(reply)

    def message(self) -> bytes:
        got = b""
        while not got.endswith(b"\r\n.\r\n"):
            line = self.hear()
            if not line:
                return got
            got += line
        return got


def _in_data(server: Any, dialer: Dialer, deadline_s: float = 5) -> SmtpSession:
    session = SmtpSession.open(server.endpoint, LOGIN, dialer, deadline_s=deadline_s)
    session.begin("user@alpha.test", "peer@beta.test", len(MESSAGE))
    session.transmit(MESSAGE)
    return session


@pytest.mark.parametrize("behaviour", ["drops", "is silent", "talks nonsense", "says 354 again"])
def test_no_clear_answer_to_the_dot_is_an_unknown_outcome(
    scripted: Any, dialer: Dialer, behaviour: str
) -> None:
    received: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        talk = Talk(connection)
        talk.until_data()
        received.append(talk.message())
        if behaviour == "talks nonsense":
            talk.say("hello there")
        if behaviour == "says 354 again":
            talk.say("354 more")
        if behaviour != "drops":
            talk.hear()
        talk.lines.close()

    server = scripted(handler)
    session = _in_data(server, dialer)
    with pytest.raises(OutcomeUnknown) as caught:
        session.finish(deadline_s=0.3)
    session.close()
    server.close()
    assert caught.value.code == "outcome_unknown"
    assert received == [MESSAGE + b".\r\n"]


@pytest.mark.parametrize(
    ("replies", "stage", "code", "then"),
    [
        (["250 ok", "250 ok", "354 go"], None, None, ["message"]),
        (["250 ok", "550 5.1.1 nobody", "503 5.5.1 no"], Stage.RCPT, 550, ["RSET"]),
        (["451 4.3.0 later", "503 5.5.1 no", "503 5.5.1 no"], Stage.MAIL, 451, ["RSET"]),
        # RFC 2920 3.1: DATA may be answered with 354 although nobody will receive the message.
        (["250 ok", "550 5.1.1 nobody", "354 go"], Stage.RCPT, 550, ["cut off"]),
        (["250 ok", "550 5.1.1 nobody"], Stage.RCPT, 550, ["cut off"]),
        (["250 ok", "250 ok"], Stage.DATA, None, ["cut off"]),
    ],
)
def test_pipelined_commands_go_together_and_the_first_refusal_counts(
    scripted: Any,
    dialer: Dialer,
    replies: list[str],
    stage: Stage | None,
    code: int | None,
    then: list[str],
) -> None:
    heard: list[str] = []

    def handler(connection: socket.socket) -> None:
        talk = Talk(connection)
        talk.say("220 test")
        for reply in ("250-test\r\n250-PIPELINING\r\n250 AUTH PLAIN", "235 2.7.0 ok"):
            assert talk.hear()
            talk.say(reply)
        # Nothing is answered before all three are here.
        assert [talk.hear()[:4] for _ in range(3)] == [b"MAIL", b"RCPT", b"DATA"]
        for reply in replies:
            talk.say(reply)
        if len(replies) == 3:
            if then == ["message"]:
                assert talk.message() == MESSAGE + b".\r\n"
                heard.append("message")
                talk.say("250 taken")
            else:
                heard.append(talk.hear().decode().strip() or "cut off")
                talk.say("250 ok")
        else:
            heard.append("cut off")
        talk.lines.close()

    server = scripted(handler)
    session = SmtpSession.open(server.endpoint, LOGIN, dialer, deadline_s=5)
    if stage is None:
        session.begin("user@alpha.test", "peer@beta.test", len(MESSAGE))
        session.transmit(MESSAGE)
        assert session.finish().code == 250
    else:
        with pytest.raises(MailError) as caught:
            session.begin("user@alpha.test", "peer@beta.test", len(MESSAGE))
        assert (caught.value.stage, caught.value.reply_code) == (stage, code)
        if then == ["RSET"]:
            session.reset()
        else:
            assert not session.is_alive()
    session.close()
    server.close()
    assert heard == then


def test_a_refusal_of_the_dot_is_a_known_outcome(scripted: Any, dialer: Dialer) -> None:
    def handler(connection: socket.socket) -> None:
        talk = Talk(connection)
        talk.until_data()
        talk.message()
        talk.say("550-5.4.5 Daily user sending limit exceeded. For more information")
        talk.say("550 5.4.5 go to https://support.google.com/a/answer/166852")
        talk.hear()
        talk.lines.close()

    session = _in_data(scripted(handler), dialer)
    with pytest.raises(MailError) as caught:
        session.finish()
    session.close()
    assert not isinstance(caught.value, OutcomeUnknown)
    assert (caught.value.kind, caught.value.code) == (FailureKind.PROVIDER_LIMIT, "daily_limit")
    assert (caught.value.stage, caught.value.permanent) == (Stage.DOT, False)


def test_a_connection_lost_before_the_dot_may_be_tried_again(scripted: Any, dialer: Dialer) -> None:

    def handler(connection: socket.socket) -> None:
        talk = Talk(connection)
        talk.until_data()
        talk.hear()
        talk.lines.close()

    session = SmtpSession.open(scripted(handler).endpoint, LOGIN, dialer, deadline_s=5)
    session.begin("user@alpha.test", "peer@beta.test", 10)
    with pytest.raises(MailError) as caught:
        session.transmit(b"x" * 900 + b"\r\n" + (b"y" * 900 + b"\r\n") * 20_000)
    session.close()
    assert not isinstance(caught.value, OutcomeUnknown)
    assert (caught.value.kind, caught.value.stage) == (FailureKind.TRY_LATER, Stage.DATA)


def test_closing_inside_data_sends_neither_dot_nor_quit(scripted: Any, dialer: Dialer) -> None:
    received: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        talk = Talk(connection)
        talk.until_data()
        received.append(talk.message())
        talk.lines.close()

    server = scripted(handler)
    _in_data(server, dialer).close()
    server.close()
    assert received == [MESSAGE]


def _drip(connection: socket.socket) -> None:
    stop = time.monotonic() + 15
    while time.monotonic() < stop:
        connection.sendall(b"2")
        connection.settimeout(0.05)
        try:
            if not connection.recv(100):
                return
        except TimeoutError:
            continue


def _flood(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"220-" + b"x" * 2000 + b"\r\n")


def _endless_line(connection: socket.socket) -> None:
    while True:
        connection.sendall(b"2" * 4096)


@pytest.mark.parametrize(
    ("handler", "code"),
    [(_drip, "timeout"), (_flood, "too_much_data"), (_endless_line, "too_much_data")],
)
def test_a_hostile_greeting_costs_one_error(
    scripted: Any, dialer: Dialer, handler: Callable[[socket.socket], None], code: str
) -> None:
    began = time.monotonic()
    with pytest.raises(MailError) as caught:
        SmtpSession.open(scripted(handler).endpoint, LOGIN, dialer, deadline_s=0.5)
    assert (caught.value.code, caught.value.stage) == (code, Stage.GREETING)
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("injected", [False, True])
def test_starttls_cannot_be_stripped_or_preloaded(
    scripted: Any, dialer: Dialer, injected: bool
) -> None:
    heard: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        talk = Talk(connection)
        talk.say("220 test")
        talk.hear()
        talk.say("250-test\r\n250-AUTH PLAIN\r\n250 " + ("STARTTLS" if injected else "SIZE"))
        if injected:
            talk.hear()
            talk.say("220 go\r\n250 injected")
        heard.append(talk.hear())
        talk.lines.close()

    server = scripted(handler)
    endpoint = Endpoint("127.0.0.1", server.port, TlsMode.STARTTLS)
    with pytest.raises(MailError) as caught:
        SmtpSession.open(endpoint, LOGIN, dialer, deadline_s=5)
    server.close()
    assert caught.value.stage is Stage.TLS
    assert b"AUTH" not in b"".join(heard)


def test_a_password_is_not_sent_where_only_oauth_is_offered(scripted: Any, dialer: Dialer) -> None:
    heard: list[bytes] = []

    def handler(connection: socket.socket) -> None:
        talk = Talk(connection)
        talk.say("220 test")
        talk.hear()
        talk.say("250-test\r\n250 AUTH XOAUTH2 GSSAPI")
        heard.append(talk.hear())
        talk.lines.close()

    server = scripted(handler)
    with pytest.raises(MailError) as caught:
        SmtpSession.open(server.endpoint, LOGIN, dialer, deadline_s=5)
    server.close()
    assert caught.value.code == "mechanism_unsupported"
    assert heard == [b""]


def test_an_echoed_credential_is_blanked(scripted: Any, dialer: Dialer) -> None:
    def handler(connection: socket.socket) -> None:
        talk = Talk(connection)
        talk.say("220 test")
        talk.hear()
        talk.say("250-test\r\n250 AUTH PLAIN")
        sent = talk.hear().decode().split()[-1]
        talk.say(f"535 5.7.8 you sent {sent} and hunter2-hunter2")
        talk.lines.close()

    with pytest.raises(MailError) as caught:
        SmtpSession.open(scripted(handler).endpoint, LOGIN, dialer)
    assert caught.value.server_text == "5.7.8 you sent *** and ***"
