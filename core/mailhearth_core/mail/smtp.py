"""One submission session (RFC 5321, RFC 6409), with DATA and the final dot kept apart.

`begin` and `transmit` may fail and be tried again: without the final dot the server must forget the
message (RFC 5321 section 4.1.1.4). `finish` sends the dot; when no reply comes back the outcome is
unknown and the message must never be sent again.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass

from mailhearth_core.errors import InvalidValue
from mailhearth_core.mail import sasl
from mailhearth_core.mail.classify import clean_text, enhanced_code, smtp_error
from mailhearth_core.mail.failures import network_errors
from mailhearth_core.mail.model import (
    Endpoint,
    FailureKind,
    Login,
    MailError,
    OutcomeUnknown,
    Scope,
    Stage,
    TlsMode,
)
from mailhearth_core.mail.wire import ConnectionLost, TooMuchData, Wire
from mailhearth_core.net import Deadline, DeadlinePassed, Dialer

MAX_REPLY_LINE = 4096
"""RFC 5321 section 4.5.3.1.5 says 512; real servers send longer explanations."""
MAX_REPLY_BYTES = 65536
MAX_TEXT_LINE = 998
"""Bytes of a message line without its CRLF: RFC 5321 section 4.5.3.1.6."""
FINAL_REPLY_S = 120.0
"""Wait for the reply to the final dot: long, because giving up loses the outcome."""
_TRANSMIT_BYTES_PER_S = 20_000
_GOODBYE_S = 2.0


@dataclass(frozen=True, slots=True)
class SmtpReply:
    """A complete reply: its code and its lines joined by blanks."""

    code: int
    text: str

    @property
    def enhanced(self) -> str | None:
        return enhanced_code(self.text)


class _Nonsense(Exception):
    """The server's answer is not an SMTP reply."""


class SmtpSession:
    """A signed-in connection that sends one message after another. Use `open`.

    After a `MailError` with stage connect, tls or one whose code is timeout or connection_lost, and
    after `OutcomeUnknown`, only `close` makes sense; other refusals leave the session usable.
    """

    def __init__(self, wire: Wire, deadline_s: float, hidden: Sequence[str]) -> None:
        self._wire = wire
        self._deadline_s = deadline_s
        self._hidden = hidden
        self._extensions: dict[str, str] = {}
        self._open_transaction = False
        self._in_data = False
        self._transmitted = False
        self._leaving = False

    @classmethod
    def open(
        cls,
        endpoint: Endpoint,
        login: Login,
        dialer: Dialer,
        *,
        deadline_s: float = 30.0,
        ehlo_name: str = "[127.0.0.1]",
        mechanisms: Sequence[str] | None = None,
        on_stage: Callable[[Stage], None] | None = None,
    ) -> SmtpSession:
        """Connects, secures and signs in.

        Args:
            deadline_s: total seconds for each step: connecting with TLS, and each command.
            ehlo_name: how the client names itself; the default tells nothing about this machine.
            mechanisms: restricts the SASL mechanisms, in capitals.
            on_stage: told of resolve, connect, tls and login as each succeeds.
        """
        report = on_stage or (lambda stage: None)
        deadline = Deadline(deadline_s)
        with network_errors(Stage.CONNECT):
            wire = Wire.open(dialer, endpoint, deadline, lambda stage: report(Stage(stage)))
        session = cls(wire, deadline_s, sasl.hidden_words(login))
        try:
            session._expect(None, 220, Stage.GREETING)
            session._hello(ehlo_name)
            if endpoint.tls is TlsMode.STARTTLS:
                session._start_tls(ehlo_name)
                report(Stage.TLS)
            session._sign_in(login, mechanisms)
            report(Stage.LOGIN)
        except BaseException:
            wire.close()
            raise
        return session

    @property
    def max_size(self) -> int | None:
        """The largest message in bytes that the server announces (RFC 1870), or None."""
        digits = self._extensions.get("SIZE", "")
        return int(digits) if digits.isdecimal() and int(digits[:12]) > 0 else None

    def begin(self, sender: str, recipient: str, size: int) -> None:
        """MAIL, RCPT and DATA up to the server's 354; `size` in bytes is announced if it may be.

        An unfinished earlier transaction is reset first.
        """
        for field, address in (("sender", sender), ("recipient", recipient)):
            if not address or re.search(r"[\x00-\x20<>\x7f]", address):
                raise InvalidValue(field, address, "an address without blanks or brackets")
        if self._in_data:
            raise InvalidValue("begin", "inside DATA", "only after finish()")
        if self._open_transaction:
            self.reset()
        self._open_transaction = True
        parameters = f" SIZE={size}" if "SIZE" in self._extensions else ""
        if "8BITMIME" in self._extensions:
            parameters += " BODY=8BITMIME"
        if not (sender + recipient).isascii():
            if "SMTPUTF8" not in self._extensions:
                raise MailError(
                    "The server takes no addresses beyond ASCII.",
                    kind=FailureKind.PERMANENT,
                    stage=Stage.MAIL,
                    scope=Scope.RECIPIENT,
                    code="smtputf8_missing",
                    hint="Write to an ASCII address, or send from another mailbox.",
                )
            parameters += " SMTPUTF8"
        steps = (
            (f"MAIL FROM:<{sender}>{parameters}", Stage.MAIL, (250,)),
            (f"RCPT TO:<{recipient}>", Stage.RCPT, (250, 251)),
            ("DATA", Stage.DATA, (354,)),
        )
        if "PIPELINING" in self._extensions:
            self._together(steps)
        else:
            for command, stage, (code, *also) in steps:
                self._expect(command, code, stage, *also)
        self._in_data, self._transmitted = True, False

    def transmit(self, message: bytes) -> None:
        """Sends the message, not the final dot: CRLF line ends, dots stuffed (RFC 5321 4.5.2)."""
        if not self._in_data or self._transmitted:
            raise InvalidValue("transmit", "out of turn", "once, after begin()")
        data = _as_data(message)
        seconds = self._deadline_s + len(data) / _TRANSMIT_BYTES_PER_S
        with network_errors(Stage.DATA):
            self._wire.step(Deadline(seconds), MAX_REPLY_BYTES)
            self._wire.send(data)
        self._transmitted = True

    def finish(self, *, deadline_s: float = FINAL_REPLY_S) -> SmtpReply:
        """Sends the final dot and returns the server's acceptance.

        Raises `MailError` when the server refuses (the message was not taken), `OutcomeUnknown`
        when anything else happens once the dot may have left this machine.
        """
        if not self._transmitted:
            raise InvalidValue("finish", "out of turn", "only after transmit()")
        self._in_data = self._transmitted = False
        self._wire.step(Deadline(deadline_s), MAX_REPLY_BYTES)
        with network_errors(Stage.DATA):
            if self._wire.is_cut_off():  # before the dot: the server must forget the message
                raise ConnectionLost("The server hung up before the end of the message.")
        try:
            self._wire.send(b".\r\n")
            reply = self._read_reply()
        except (DeadlinePassed, ConnectionLost, TooMuchData) as error:
            raise OutcomeUnknown(
                f"After the whole message was sent no reply came: {error.message}"
            ) from error
        except _Nonsense as error:
            raise OutcomeUnknown(
                "After the whole message was sent the server's reply made no sense.",
                server_text=clean_text(str(error), self._hidden),
            ) from error
        if 200 <= reply.code < 300:
            self._open_transaction = False
            return reply
        if reply.code < 400:
            raise OutcomeUnknown(
                f"The server answered the final dot with {reply.code}.",
                server_text=clean_text(reply.text, self._hidden),
            )
        self._open_transaction = False  # a refused message ends the transaction as well
        raise smtp_error(reply.code, reply.text, Stage.DOT, self._hidden)

    def reset(self) -> None:
        """RSET: forgets a transaction that got no further than RCPT."""
        self._expect("RSET", 250, Stage.RESET)
        self._open_transaction = False

    def is_alive(self) -> bool:
        """NOOP: false when the connection is gone, the server objects, or DATA is open."""
        if self._in_data:
            return False
        try:
            self._expect("NOOP", 250, Stage.RESET)
        except MailError:
            return False
        return True

    def take_leave(self) -> None:
        """Says QUIT; `close` then waits for the answer. For many that are closed together."""
        if self._in_data:
            return
        self._wire.step(Deadline(_GOODBYE_S), MAX_REPLY_BYTES)
        # The work is done; a server that cannot be told goodbye is no failure.
        with suppress(DeadlinePassed, ConnectionLost):
            self._wire.send(b"QUIT\r\n")
            self._leaving = True

    def close(self) -> None:
        """Says QUIT where that is possible and closes; never raises for a lost connection."""
        if not self._leaving:
            self.take_leave()
        try:
            if self._leaving:
                self._read_reply()
        except (DeadlinePassed, ConnectionLost, TooMuchData, _Nonsense):
            pass  # nor is one that does not say goodbye
        finally:
            self._leaving = False
            self._wire.close()

    # -- the protocol -----------------------------------------------------------------------

    def _hello(self, name: str) -> None:
        reply = self._expect(f"EHLO {name}", 250, Stage.GREETING, lines=True)
        self._extensions = {}
        for line in reply.text.split("\n")[1:]:
            keyword, _, rest = line.replace("=", " ", 1).partition(" ")
            # Some servers list AUTH twice, once in an old form with "=".
            known = self._extensions.get(keyword.upper(), "")
            self._extensions[keyword.upper()] = f"{known} {rest}".strip()

    def _start_tls(self, ehlo_name: str) -> None:
        if "STARTTLS" not in self._extensions:
            raise MailError(
                "The server does not offer STARTTLS.",
                kind=FailureKind.PERMANENT,
                stage=Stage.TLS,
                code="starttls_missing",
                hint="Use the port for TLS (465), or check that nothing strips STARTTLS.",
            )
        self._expect("STARTTLS", 220, Stage.TLS)
        with network_errors(Stage.TLS):
            self._wire.start_tls(Deadline(self._deadline_s))
        self._hello(ehlo_name)

    def _sign_in(self, login: Login, mechanisms: Sequence[str] | None) -> None:
        offered = self._extensions.get("AUTH", "").split()
        name = sasl.choose(login, offered, mechanisms)
        first = base64.b64encode(sasl.first_response(name, login)).decode()
        if name == "LOGIN":
            reply = self._exchange("AUTH LOGIN", Stage.LOGIN)
            if reply.code == 334:
                reply = self._exchange(first, Stage.LOGIN)
        else:
            reply = self._exchange(f"AUTH {name} {first}", Stage.LOGIN)
        said = ""
        if reply.code == 334:
            if name != "LOGIN":
                said = sasl.oauth_error(_decoded(reply.text))
            answer = base64.b64encode(sasl.next_response(name, login)).decode()
            reply = self._exchange(answer, Stage.LOGIN)
        if reply.code != 235:
            text = f"{reply.text} ({said})" if said else reply.text
            raise smtp_error(reply.code, text, Stage.LOGIN, self._hidden)

    def _expect(
        self, command: str | None, code: int, stage: Stage, *also: int, lines: bool = False
    ) -> SmtpReply:
        reply = self._exchange(command, stage, lines=lines)
        if reply.code != code and reply.code not in also:
            raise smtp_error(reply.code, reply.text.replace("\n", " "), stage, self._hidden)
        return reply

    def _together(self, steps: Sequence[tuple[str, Stage, Sequence[int]]]) -> None:
        """Commands in one write, their replies read one by one (RFC 2920); DATA is the last.

        The first refusal is raised once all replies are there. A server may say 354 although it
        refused the recipient: then DATA is open and the connection can only be closed.
        """
        with network_errors(steps[0][1]):
            self._wire.step(Deadline(self._deadline_s), MAX_REPLY_BYTES)
            self._wire.send("".join(f"{command}\r\n" for command, _, _ in steps).encode())
        refused: MailError | None = None
        for _, stage, codes in steps:
            try:
                reply = self._exchange(None, stage)
            except MailError as error:
                raise refused or error from error
            self._in_data = reply.code == 354
            if reply.code not in codes and refused is None:
                refused = smtp_error(reply.code, reply.text, stage, self._hidden)
        if refused is not None:
            raise refused

    def _exchange(self, command: str | None, stage: Stage, *, lines: bool = False) -> SmtpReply:
        with network_errors(stage):
            self._wire.step(Deadline(self._deadline_s), MAX_REPLY_BYTES)
            if command is not None:
                self._wire.send(command.encode() + b"\r\n")
            try:
                return self._read_reply(joined="\n" if lines else " ")
            except _Nonsense as error:
                raise MailError(
                    "The server does not speak SMTP.",
                    kind=FailureKind.TRY_LATER,
                    stage=stage,
                    code="bad_server_reply",
                    hint="Check host, port and TLS mode.",
                    server_text=clean_text(str(error), self._hidden),
                ) from error

    def _read_reply(self, joined: str = " ") -> SmtpReply:
        texts: list[str] = []
        while True:
            line = self._wire.read_line(MAX_REPLY_LINE).rstrip(b"\r\n").decode("utf-8", "replace")
            if re.fullmatch(r"[2-5][0-9]{2}(?:[ -].*)?", line, re.DOTALL | re.ASCII) is None:
                raise _Nonsense(line)
            texts.append(line[4:])
            if line[3:4] != "-":
                return SmtpReply(int(line[:3]), joined.join(texts))


def _as_data(message: bytes) -> bytes:
    """What goes between DATA and the final dot: CRLF line ends only, dots stuffed."""
    ends = message.count(b"\r\n")
    if not ends == message.count(b"\r") == message.count(b"\n"):
        message = re.sub(rb"\r\n|\r|\n", b"\r\n", message)
    if message and not message.endswith(b"\r\n"):
        message += b"\r\n"
    if max(map(len, message.split(b"\r\n"))) > MAX_TEXT_LINE:
        raise InvalidValue("message", "a longer line", f"lines of {MAX_TEXT_LINE} bytes")
    stuffed = message.replace(b"\r\n.", b"\r\n..")
    return b"." + stuffed if stuffed.startswith(b".") else stuffed


def _decoded(text: str) -> bytes:
    try:
        return base64.b64decode(text.strip(), validate=True)
    except binascii.Error:
        return b""
