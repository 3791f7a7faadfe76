"""Real servers for the mail tests, shared by all of them; each test has mailboxes of its own."""

from __future__ import annotations

import contextlib
import itertools
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest

from dovecot import DovecotServer, IntrospectionServer, require_dovecot
from mailhearth_core.mail.dns import ZoneResolver
from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.mail.model import Endpoint, Login, Mechanism, Secret, TlsMode
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.net import LOOPBACK, Dialer
from postfix import PostfixServer, require_postfix

PASSWORD = "correct-horse-é-battery"
_numbers = itertools.count()


@pytest.fixture(scope="session")
def introspection() -> Iterator[IntrospectionServer]:
    server = IntrospectionServer()
    yield server
    server.close()


@pytest.fixture(scope="session")
def dovecot(introspection: IntrospectionServer) -> Iterator[DovecotServer]:
    require_dovecot()
    with DovecotServer(introspection_url=introspection.url) as server:
        yield server


@pytest.fixture(scope="session")
def postfix(dovecot: DovecotServer) -> Iterator[PostfixServer]:
    require_postfix()
    with PostfixServer(dovecot, domains=("alpha.test", "beta.test")) as server:
        yield server


@pytest.fixture
def dialer() -> Dialer:
    return Dialer(ZoneResolver({"mail.test": {"a": ["127.0.0.1"]}}), allowed=LOOPBACK)


@dataclass
class Post:
    """One mailbox on the shared servers, and ways into it."""

    address: str
    dovecot: DovecotServer
    postfix: PostfixServer
    dialer: Dialer

    @property
    def login(self) -> Login:
        return Login(self.address, Secret(PASSWORD))

    def imap_endpoint(self, tls: TlsMode = TlsMode.IMPLICIT) -> Endpoint:
        port = self.dovecot.imaps_port if tls is TlsMode.IMPLICIT else self.dovecot.imap_port
        return Endpoint("mail.test", port, tls, self.dovecot.ca_pem)

    def smtp_endpoint(self, tls: TlsMode = TlsMode.IMPLICIT) -> Endpoint:
        implicit = tls is TlsMode.IMPLICIT
        port = self.postfix.submissions_port if implicit else self.postfix.submission_port
        return Endpoint("mail.test", port, tls, self.dovecot.ca_pem)

    def imap(self) -> ImapSession:
        return ImapSession.open(self.imap_endpoint(), self.login, self.dialer)

    def smtp(self) -> SmtpSession:
        return SmtpSession.open(self.smtp_endpoint(), self.login, self.dialer)

    def send(self, recipient: str, message: bytes) -> None:
        """Sends and returns when it is delivered."""
        session = self.smtp()
        session.begin(self.address, recipient, len(message))
        session.transmit(message)
        session.finish()
        session.close()
        self.postfix.wait_until_delivered()


NewPost = Callable[[], Post]


@pytest.fixture
def new_post(dovecot: DovecotServer, postfix: PostfixServer, dialer: Dialer) -> NewPost:
    """Makes mailboxes that no other test uses."""

    def make() -> Post:
        number = next(_numbers)
        address = f"user{number}@{('alpha', 'beta')[number % 2]}.test"
        postfix.add_user(address, PASSWORD)
        return Post(address, dovecot, postfix, dialer)

    return make


@pytest.fixture
def oauth_login(introspection: IntrospectionServer) -> Callable[[str], Login]:
    return lambda user: Login(user, Secret(introspection.issue(user)), Mechanism.OAUTH)


Handler = Callable[[socket.socket], None]


class ScriptedServer:
    """Accepts one connection on loopback and lets `handler` misbehave on it."""

    def __init__(self, handler: Handler) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = int(self._listener.getsockname()[1])
        self._thread = threading.Thread(target=self._run, args=(handler,), daemon=True)
        self._thread.start()

    @property
    def endpoint(self) -> Endpoint:
        return Endpoint("127.0.0.1", self.port, TlsMode.NONE)

    def _run(self, handler: Handler) -> None:
        try:
            connection, _ = self._listener.accept()
        except OSError:
            return
        connection.settimeout(20)
        with connection, contextlib.suppress(OSError):  # the client gave up, as it should
            handler(connection)

    def close(self) -> None:
        """Returns when the handler has ended; what it saw is complete then."""
        with contextlib.suppress(OSError):  # closed already, or nobody is waiting
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._thread.join(25)
        assert not self._thread.is_alive()


@pytest.fixture
def scripted() -> Iterator[Callable[[Handler], ScriptedServer]]:
    servers: list[ScriptedServer] = []

    def start(handler: Handler) -> ScriptedServer:
        servers.append(ScriptedServer(handler))
        return servers[-1]

    yield start
    for server in servers:
        server.close()
