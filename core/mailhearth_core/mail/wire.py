"""Bytes to and from one mail server, under a total deadline and a byte budget for each step.

A server that sends one byte a second, a line without an end, or gigabytes costs its own connection
an error and nothing else.
"""

from __future__ import annotations

import socket
import ssl
from collections.abc import Callable

from mailhearth_core.errors import MailhearthError
from mailhearth_core.mail.model import Endpoint, TlsMode
from mailhearth_core.net import Deadline, DeadlinePassed, Dialed, Dialer, DialStage

_CHUNK = 65536


class ConnectionLost(MailhearthError):
    """The server closed or reset the connection."""

    code = "connection_lost"
    permanent = False


class TooMuchData(MailhearthError):
    """The server sent more than any honest answer to this step."""

    code = "too_much_data"


class Wire:
    """A connected socket with a read buffer. Call `step` before each exchange.

    After an error the connection is of no more use; `close` it.
    """

    def __init__(self, dialer: Dialer, dialed: Dialed, ca_pem: str | None) -> None:
        self._dialer = dialer
        self._dialed = dialed
        self._ca_pem = ca_pem
        self._buffer = bytearray()
        self._deadline = Deadline(10)
        self._budget = 0
        self.sock: socket.socket = dialed.sock

    @classmethod
    def open(
        cls,
        dialer: Dialer,
        endpoint: Endpoint,
        deadline: Deadline,
        on_stage: Callable[[DialStage], None] | None = None,
    ) -> Wire:
        """Dials the endpoint; for implicit TLS the handshake is done when this returns."""
        dialed = dialer.connect(
            endpoint.host,
            endpoint.port,
            deadline,
            plaintext_secrets=endpoint.tls is TlsMode.NONE,
            on_stage=on_stage,
        )
        wire = cls(dialer, dialed, endpoint.ca_pem)
        if endpoint.tls is TlsMode.IMPLICIT:
            wire.start_tls(deadline)
            if on_stage is not None:
                on_stage("tls")
        return wire

    def step(self, deadline: Deadline, max_bytes: int) -> None:
        """Begins a step: until the next call reads stop at `deadline` and `max_bytes`."""
        self._deadline = deadline
        self._budget = max_bytes

    def start_tls(self, deadline: Deadline) -> None:
        """Changes to TLS. Bytes received before the handshake are an attack: RFC 3207 section 6."""
        if self._buffer:
            self.close()
            raise TooMuchData("The server sent data ahead of the TLS handshake.")
        self.sock = self._dialer.start_tls(self._dialed, deadline, ca_pem=self._ca_pem)

    def send(self, data: bytes) -> None:
        """Sends all of `data` before the step's deadline."""
        try:
            self.sock.settimeout(self._deadline.left())
            self.sock.sendall(data)  # the timeout holds for the whole call
        except TimeoutError as error:
            raise self._too_late() from error
        except OSError as error:
            raise ConnectionLost("The connection broke while sending.") from error

    def read_line(self, limit: int) -> bytes:
        """One line with its LF; `TooMuchData` when `limit` bytes hold none."""
        searched = 0
        while True:
            end = self._buffer.find(b"\n", searched)
            if end >= 0 and end < limit:
                return self._take(end + 1)
            searched = len(self._buffer)
            if searched >= limit:
                raise TooMuchData(f"The server sent a line of more than {limit} bytes.")
            self._fill()

    def read_exact(self, size: int) -> bytes:
        """Exactly `size` bytes; `TooMuchData` at once when the step's budget is smaller."""
        if size - len(self._buffer) > self._budget:
            raise TooMuchData(f"The server announced {size} bytes, more than this step may cost.")
        while len(self._buffer) < size:
            self._fill()
        return self._take(size)

    def read_some(self, limit: int) -> bytes:
        """What has arrived: at least one byte, at most `limit`; waits for it when there is none."""
        if not self._buffer:
            self._fill()
        return self._take(min(limit, len(self._buffer)))

    def is_cut_off(self) -> bool:
        """Whether the server has hung up already; what it said before stays to be read."""
        if self._buffer:
            return False
        try:
            self.sock.settimeout(0)
            self._buffer += (chunk := self.sock.recv(_CHUNK))
        except (BlockingIOError, ssl.SSLWantReadError):
            return False
        except OSError:
            return True
        self._budget -= len(chunk)
        return not chunk

    def close(self) -> None:
        """Closes the socket; harmless when already closed."""
        self._dialer.remember(self._dialed, self.sock, ca_pem=self._ca_pem)
        self.sock.close()
        self._dialed.sock.close()

    def _take(self, size: int) -> bytes:
        taken = bytes(self._buffer[:size])
        del self._buffer[:size]
        return taken

    def _fill(self) -> None:
        if self._budget <= 0:
            raise TooMuchData("The server sent more than this step may cost.")
        try:
            self.sock.settimeout(self._deadline.left())
            chunk = self.sock.recv(min(_CHUNK, self._budget))
        except TimeoutError as error:
            raise self._too_late() from error
        except OSError as error:
            raise ConnectionLost("The connection broke while reading.") from error
        if not chunk:
            raise ConnectionLost("The server closed the connection.")
        self._budget -= len(chunk)
        self._buffer += chunk

    def _too_late(self) -> DeadlinePassed:
        return DeadlinePassed(f"No complete answer within {self._deadline.seconds:g} seconds.")
