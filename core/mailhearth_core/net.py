"""The one door to the network: resolve once, vet the address, connect to exactly that address.

Resolving and connecting apart would let a name answer with a public address when it is checked and
with a private one when it is used (DNS rebinding), so the literal address that was vetted is the
one connected to, while the name is kept for SNI and for checking the certificate (RFC 6125).
"""

from __future__ import annotations

import socket
import ssl
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from ipaddress import (
    IPv4Address,
    IPv4Network,
    IPv6Address,
    IPv6Network,
    ip_address,
    ip_network,
)
from typing import Literal, Protocol

from mailhearth_core.errors import MailhearthError

Address = IPv4Address | IPv6Address
Network = IPv4Network | IPv6Network
DialStage = Literal["resolve", "connect", "tls"]

LOOPBACK: tuple[Network, ...] = (ip_network("127.0.0.0/8"), ip_network("::1/128"))
"""Pass these as `allowed` where servers on this machine may be reached."""

_NAT64 = ip_network("64:ff9b::/96")

RESUMED_S = 3600.0
"""How long after a certificate was verified TLS sessions with its server are taken up again."""
_SESSIONS = 256
"""Servers whose TLS sessions are remembered at most."""


class AddressResolver(Protocol):
    """The part of DNS a dialer needs."""

    def addresses(self, host: str) -> Sequence[Address]:
        """Addresses of `host`, best first. Raises `NameNotFound` or `NameLookupFailed`."""
        ...


class ConnectionFailed(MailhearthError):
    """No usable connection came about; `stage` says how far it got."""

    code = "connection_failed"
    permanent = False

    def __init__(
        self, message: str, *, stage: DialStage, hint: str = "", code: str | None = None
    ) -> None:
        super().__init__(message, hint=hint, code=code)
        self.stage: DialStage = stage


class NameNotFound(ConnectionFailed):
    """The name does not exist or has no address (NXDOMAIN, no data)."""

    code = "name_not_found"
    permanent = True

    def __init__(self, host: str) -> None:
        super().__init__(
            f"The name {host} is not in the DNS.", stage="resolve", hint="Check the spelling."
        )


class NameLookupFailed(ConnectionFailed):
    """The DNS could not be asked now."""

    code = "name_lookup_failed"

    def __init__(self, host: str, reason: str) -> None:
        super().__init__(f"Looking up {host} failed: {reason}.", stage="resolve")


class AddressRefused(ConnectionFailed):
    """The name leads only to addresses this installation does not connect to."""

    code = "address_refused"
    permanent = True

    def __init__(self, host: str, addresses: Sequence[Address]) -> None:
        listed = ", ".join(str(a) for a in addresses)
        super().__init__(
            f"{host} leads to {listed}, which is not a public address.",
            stage="connect",
            hint="Use a public mail server, or have the operator allow this network.",
        )


class TlsFailed(ConnectionFailed):
    """The TLS handshake failed; permanent when the certificate is the reason."""

    code = "tls_failed"

    def __init__(self, message: str, *, permanent: bool, hint: str = "", code: str) -> None:
        super().__init__(message, stage="tls", hint=hint, code=code)
        self.permanent = permanent


class DeadlinePassed(MailhearthError):
    """A network step took longer than it may in total."""

    code = "timeout"
    permanent = False


class Deadline:
    """A point in machine time by which a whole step must end, however many reads it takes."""

    __slots__ = ("_end", "seconds")

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = time.monotonic() + seconds

    def left(self) -> float:
        """Seconds that remain, always positive; raises `DeadlinePassed` when none do."""
        left = self._end - time.monotonic()
        if left <= 0:
            raise DeadlinePassed(f"No complete answer within {self.seconds:g} seconds.")
        return left


def is_public(address: Address) -> bool:
    """True for an address that is globally reachable, also when IPv6 wraps an IPv4 one."""
    if isinstance(address, IPv6Address):
        inner = address.ipv4_mapped or address.sixtofour
        if inner is None and address.teredo is not None:
            inner = address.teredo[1]
        if inner is None and address in _NAT64:
            inner = IPv4Address(int(address) & 0xFFFFFFFF)
        if inner is not None:
            return is_public(inner)
    return address.is_global and not address.is_multicast


@dataclass(frozen=True, slots=True)
class Dialed:
    """A TCP connection, and the name and address it was made for."""

    sock: socket.socket
    host: str
    address: Address
    port: int = 0
    at: float = field(default_factory=time.monotonic)
    """When, by this machine's monotonic clock."""


_Server = tuple[Address, int, str, str | None]


def _server(dialed: Dialed, ca_pem: str | None) -> _Server:
    return (dialed.address, dialed.port, dialed.host, ca_pem)


class Dialer:
    """Makes every outgoing connection of the mail layer.

    Args:
        resolver: answers names; literal addresses are not looked up.
        allowed: networks that may be reached although they are not public (see `LOOPBACK`).
        ca_pem: authorities used instead of the system's where an endpoint names none.
    """

    def __init__(
        self,
        resolver: AddressResolver,
        *,
        allowed: Iterable[Network] = (),
        ca_pem: str | None = None,
    ) -> None:
        self._resolver = resolver
        self._allowed = tuple(allowed)
        self._ca_pem = ca_pem
        self._contexts: dict[str | None, ssl.SSLContext] = {}
        self._sessions: dict[_Server, tuple[float, ssl.SSLSession]] = {}

    def may_reach(self, address: Address) -> bool:
        """True when the address is public or inside an allowed network."""
        return is_public(address) or any(address in network for network in self._allowed)

    def connect(
        self,
        host: str,
        port: int,
        deadline: Deadline,
        *,
        plaintext_secrets: bool = False,
        on_stage: Callable[[DialStage], None] | None = None,
    ) -> Dialed:
        """Connects to the first vetted address of `host` that answers.

        With `plaintext_secrets` (no TLS will follow) only loopback addresses are taken. `on_stage`
        is told when "resolve" and "connect" have succeeded.
        """
        report = on_stage or (lambda stage: None)
        found = self._resolve(host)
        report("resolve")
        vetted = [address for address in found if self.may_reach(address)]
        if not vetted:
            raise AddressRefused(host, found)
        if plaintext_secrets:
            vetted = [address for address in vetted if address.is_loopback]
            if not vetted:
                raise ConnectionFailed(
                    f"{host} would be reached without encryption.",
                    stage="connect",
                    hint="Choose TLS or STARTTLS; without encryption only loopback is allowed.",
                    code="plaintext_refused",
                )
        sock, address = self._first_answer(host, port, vetted, deadline)
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        report("connect")
        return Dialed(sock, host, address, port)

    def start_tls(
        self, dialed: Dialed, deadline: Deadline, *, ca_pem: str | None = None
    ) -> ssl.SSLSocket:
        """Wraps the connection in TLS 1.2 or newer, verified for the name it was dialed by.

        The plain socket is closed on failure. `ca_pem` replaces the authorities for this call.
        A session that `remember` was shown is taken up again (RFC 8446 section 2.2), which saves
        both sides the certificate; a server that has forgotten it shows its certificate anew.
        """
        try:
            dialed.sock.settimeout(deadline.left())  # do_handshake keeps it as a total
            verified_at, session = self._sessions.get(_server(dialed, ca_pem), (0.0, None))
            if time.monotonic() - verified_at > RESUMED_S:
                session = None
            return self._context(ca_pem).wrap_socket(
                dialed.sock, server_hostname=dialed.host, session=session
            )
        except ssl.SSLCertVerificationError as error:
            dialed.sock.close()
            raise TlsFailed(
                f"The certificate of {dialed.host} is not accepted: {error.verify_message}.",
                permanent=True,
                hint="Check the host name, or add the server's certificate authority.",
                code="tls_certificate",
            ) from error
        except TimeoutError as error:
            dialed.sock.close()
            raise DeadlinePassed(
                f"The TLS handshake did not end within {deadline.seconds:g} seconds."
            ) from error
        except OSError as error:  # ssl.SSLError is one
            dialed.sock.close()
            reason = getattr(error, "reason", None) or error.strerror or "connection closed"
            raise TlsFailed(
                f"{dialed.host} did not complete a TLS handshake: {reason}.",
                permanent=False,
                hint="Check that the port and the TLS mode belong together.",
                code="tls_failed",
            ) from error
        except BaseException:
            dialed.sock.close()
            raise

    def remember(self, dialed: Dialed, sock: socket.socket, *, ca_pem: str | None = None) -> None:
        """Keeps what `start_tls` made, at the end of its use, to take up the session again.

        Only for the same address, port, name and authorities, which its certificate was verified
        for; only a handshake that verified it counts, so that sessions do not renew themselves.
        """
        if not isinstance(sock, ssl.SSLSocket) or sock.session_reused:
            return
        session = sock.session
        if session is None or not session.has_ticket:
            return
        server = _server(dialed, ca_pem)
        self._sessions.pop(server, None)
        self._sessions[server] = (dialed.at, session)
        for oldest in list(self._sessions)[:-_SESSIONS]:
            self._sessions.pop(oldest, None)

    def _resolve(self, host: str) -> Sequence[Address]:
        try:
            return (ip_address(host.strip("[]")),)
        except ValueError:
            if host.rstrip(".").lower() == "localhost":  # no question to the DNS: RFC 6761, 6.3
                return (ip_address("127.0.0.1"), ip_address("::1"))
            found = self._resolver.addresses(host)
        if not found:
            raise NameNotFound(host)
        return found

    def _first_answer(
        self, host: str, port: int, addresses: Sequence[Address], deadline: Deadline
    ) -> tuple[socket.socket, Address]:
        reason = ""
        for tries_left, address in zip(range(len(addresses), 0, -1), addresses, strict=True):
            family = socket.AF_INET6 if address.version == 6 else socket.AF_INET
            sock = socket.socket(family, socket.SOCK_STREAM)
            try:
                sock.settimeout(deadline.left() / tries_left)
                sock.connect((str(address), port))
                return sock, address
            except OSError as error:
                sock.close()
                reason = "no answer" if isinstance(error, TimeoutError) else error.strerror or "?"
            except BaseException:
                sock.close()
                raise
        raise ConnectionFailed(
            f"Cannot connect to {host} port {port}: {reason}.",
            stage="connect",
            hint="Check host and port, and that no firewall blocks them.",
        )

    def _context(self, ca_pem: str | None) -> ssl.SSLContext:
        pem = ca_pem or self._ca_pem
        if pem not in self._contexts:
            try:
                context = ssl.create_default_context(cadata=pem)
            except (ssl.SSLError, ValueError) as error:
                raise TlsFailed(
                    "The certificate authority given is not a PEM certificate.",
                    permanent=True,
                    code="tls_ca_unreadable",
                ) from error
            context.minimum_version = ssl.TLSVersion.TLSv1_2
            self._contexts[pem] = context
        return self._contexts[pem]
