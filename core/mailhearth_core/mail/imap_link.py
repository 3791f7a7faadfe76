"""Connecting to an IMAP server, signing in, and one exchange with it: the base of `ImapSession`."""

from __future__ import annotations

import imaplib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any, Self

from imapclient.exceptions import ProtocolError

from mailhearth_core.mail import sasl
from mailhearth_core.mail.classify import clean_text, imap_error
from mailhearth_core.mail.failures import network_errors
from mailhearth_core.mail.imap_client import WireClient
from mailhearth_core.mail.model import Endpoint, FailureKind, Login, MailError, Stage, TlsMode
from mailhearth_core.mail.wire import Wire
from mailhearth_core.net import Deadline, Dialer

STEP_BYTES = 8 * 1024 * 1024
"""What a server may send in one exchange."""

_GOODBYE_S = 2.0
_PREFIX = re.compile(r"^(?:command: \w+ => |\w+ failed: |\w+ command error: (BAD) )")


def no_step() -> None:
    """Nothing is to be done between two exchanges."""


class ImapLink:
    """A signed-in connection on which each exchange has a total deadline and a byte budget."""

    def __init__(self, wire: Wire, deadline_s: float, hidden: Sequence[str]) -> None:
        self._wire = wire
        self._deadline_s = deadline_s
        self._hidden = hidden
        self._leaving: bytes | None = None
        self._took_leave = False
        self.before_step: Callable[[], None] = no_step
        """Called before each exchange; what it raises ends the exchange before it begins."""
        self._client: Any  # a WireClient; the library has no types

    @classmethod
    def open(
        cls,
        endpoint: Endpoint,
        login: Login,
        dialer: Dialer,
        *,
        deadline_s: float = 30.0,
        mechanisms: Sequence[str] | None = None,
        on_stage: Callable[[Stage], None] | None = None,
        before_step: Callable[[], None] | None = None,
        meanwhile: Callable[[], None] | None = None,
    ) -> Self:
        """Connects, secures and signs in.

        Args:
            deadline_s: total seconds for each step: connecting with TLS, and each command.
            mechanisms: restricts the SASL mechanisms, in capitals; "LOGIN" is the LOGIN command.
            on_stage: told of resolve, connect, tls and login as each succeeds.
            before_step: the session's, from its first exchange on.
            meanwhile: called once, while the server is busy with the sign-in where it takes that
                in one command; what it raises ends the connection.
        """
        report = on_stage or (lambda stage: None)
        with network_errors(Stage.CONNECT):
            deadline = Deadline(deadline_s)
            wire = Wire.open(dialer, endpoint, deadline, lambda stage: report(Stage(stage)))
        session = cls(wire, deadline_s, sasl.hidden_words(login))
        session.before_step = before_step or no_step
        try:
            with session._step(Stage.GREETING):
                session._client = WireClient(wire)
            if session._client.preauthenticated:
                raise session._refusal(Stage.GREETING, "The server asks for no sign-in at all.")
            if endpoint.tls is TlsMode.STARTTLS:
                session._secure()
                report(Stage.TLS)
            session._sign_in(login, mechanisms, meanwhile or no_step)
            report(Stage.LOGIN)
        except BaseException:
            wire.close()
            raise
        return session

    def is_alive(self) -> bool:
        """NOOP: false when the connection is of no more use."""
        try:
            with self._step(Stage.STATUS):
                self._client.noop()
        except MailError:
            return False
        return True

    def take_leave(self) -> None:
        """Says LOGOUT; `close` then waits for the answer. For many that are closed together."""
        self._took_leave = True
        self._wire.step(Deadline(_GOODBYE_S), STEP_BYTES)
        # The work is done; a server that cannot be told goodbye is no failure.
        with suppress(MailError), self._converted(Stage.STATUS), network_errors(Stage.STATUS):
            self._leaving = self._client.ask_logout()

    def close(self) -> None:
        """Says LOGOUT where that is possible and closes; never raises for a lost connection."""
        if not self._took_leave:
            self.take_leave()
        leaving, self._leaving = self._leaving, None
        try:
            if leaving is not None:
                # As above: the answer is waited for because RFC 3501 section 3.4 asks for it.
                with (
                    suppress(MailError),
                    self._converted(Stage.STATUS),
                    network_errors(Stage.STATUS),
                ):
                    self._client.logged_out(leaving)
        finally:
            self._wire.close()

    @contextmanager
    def _step(self, stage: Stage, max_bytes: int = STEP_BYTES) -> Iterator[None]:
        """One exchange: a fresh deadline and budget, all failures as `MailError`."""
        self.before_step()
        self._wire.step(Deadline(self._deadline_s), max_bytes)
        with network_errors(stage), self._converted(stage):
            yield

    @contextmanager
    def _converted(self, stage: Stage) -> Iterator[None]:
        try:
            yield
        except ProtocolError as error:  # one of IMAP4.error's kind, but no answer of the server
            raise self._nonsense(stage, error) from None
        except imaplib.IMAP4.error as error:
            raw = error.args[0] if error.args else ""
            text = raw.decode("utf-8", "replace") if isinstance(raw, bytes) else str(raw)
            prefix = _PREFIX.match(text)
            lost = isinstance(error, imaplib.IMAP4.abort) or text.startswith("* BYE")
            status = "BYE" if lost else "BAD" if prefix and prefix[1] else "NO"
            said = _PREFIX.sub("", text).removeprefix("[b'").removesuffix("']")
            raise imap_error(said, stage, status=status, hidden=self._hidden) from None
        except (
            ValueError,
            ArithmeticError,
            TypeError,
            LookupError,
            AttributeError,
            AssertionError,
            RecursionError,
        ) as error:
            # What imaplib and imapclient raise over answers that are not IMAP.
            raise self._nonsense(stage, error) from None

    def _nonsense(self, stage: Stage, error: Exception) -> MailError:
        return MailError(
            f"The server's answer makes no sense (step: {stage}).",
            kind=FailureKind.TRY_LATER,
            stage=stage,
            code="bad_server_reply",
            hint="Check host, port and TLS mode.",
            server_text=clean_text(str(error), self._hidden),
        )

    def _refusal(self, stage: Stage, message: str) -> MailError:
        return MailError(
            message,
            kind=FailureKind.PERMANENT,
            stage=stage,
            code="unsafe_server",
            hint="Check host, port and TLS mode.",
        )

    def _secure(self) -> None:
        if "STARTTLS" not in self._client.before_login:
            raise self._refusal(Stage.TLS, "The server does not offer STARTTLS.")
        with self._step(Stage.TLS):
            self._client.secure(Deadline(self._deadline_s))

    def _sign_in(
        self, login: Login, mechanisms: Sequence[str] | None, meanwhile: Callable[[], None]
    ) -> None:
        names = self._client.before_login
        offered = {name.removeprefix("AUTH=") for name in names if name.startswith("AUTH=")}
        offered.discard("LOGIN")  # the old SASL mechanism; the LOGIN command does the same
        if "LOGINDISABLED" not in names:
            offered.add("LOGIN")
        name = sasl.choose(login, offered, mechanisms)
        said: list[str] = []
        answers = iter((sasl.first_response(name, login), sasl.next_response(name, login)))

        def answer(challenge: bytes) -> bytes:
            if challenge:
                said.append(sasl.oauth_error(challenge))
            return next(answers, b"*")

        asked: bytes | None = None
        if name == "PLAIN" and "SASL-IR" in names:  # it has no second step
            with self._step(Stage.LOGIN):
                asked = self._client.ask_sign_in(name, sasl.first_response(name, login))
        meanwhile()
        try:
            with self._step(Stage.LOGIN):
                if asked is not None:
                    self._client.signed_in(asked)
                elif name == "LOGIN":
                    self._client.login_plainly(login.username, login.secret.reveal())
                else:
                    self._client.sasl_login(name, answer)
                self._client.forget_capabilities()
                self._client.capabilities()
        except MailError as error:
            if said and said[-1]:
                error.server_text = f"{error.server_text} ({said[-1]})"
            raise

    def _has(self, capability: str) -> bool:
        with self._step(Stage.STATUS):
            return bool(self._client.has_capability(capability))
