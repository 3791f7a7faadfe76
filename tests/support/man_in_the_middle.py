"""A proxy in front of one of the sandbox's TLS ports, with the sandbox's own certificate.

What comes through is read line by line by a subclass, which may answer itself, hold back, cut off.
"""

from __future__ import annotations

import contextlib
import socket
import ssl
import threading
from pathlib import Path

SECONDS = 20.0
"""Nobody waits longer at a socket, so that a test that hangs ends by itself."""


class Side:
    """One end of the proxy: a TLS socket that is read by lines."""

    def __init__(self, sock: ssl.SSLSocket) -> None:
        self.sock = sock
        self.sock.settimeout(SECONDS)
        self._buffer = bytearray()

    def line(self) -> bytes:
        """One line with its end; what is left, or nothing, at the end of the stream."""
        while b"\n" not in self._buffer:
            chunk = self.sock.recv(65536)
            if not chunk:
                break
            self._buffer += chunk
        end = self._buffer.find(b"\n") + 1 or len(self._buffer)
        taken = bytes(self._buffer[:end])
        del self._buffer[:end]
        return taken

    def chunk(self) -> bytes:
        """Whatever comes next; nothing at the end of the stream."""
        if self._buffer:
            taken = bytes(self._buffer)
            self._buffer.clear()
            return taken
        return self.sock.recv(65536)

    def send(self, data: bytes) -> None:
        self.sock.sendall(data)

    def wait_for_end(self) -> None:
        """Returns when the other end has hung up."""
        while self.chunk():
            pass

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()


class ManInTheMiddle:
    """Listens on loopback; each connection gets a thread and a connection to the real server.

    Args:
        post: the sandbox's folder, whose certificate serves here too.
        upstream: the port of the real server (implicit TLS).
    """

    def __init__(self, post: Path, upstream: int) -> None:
        self._upstream = upstream
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._context.load_cert_chain(post / "tls/server.pem", post / "tls/server.key")
        self._trust = ssl.create_default_context(cafile=str(post / "tls/ca.pem"))
        self._listener = socket.create_server(("127.0.0.1", 0), backlog=128)
        self.port = int(self._listener.getsockname()[1])
        self._sides: set[Side] = set()
        self._threads: list[threading.Thread] = []
        self.broken: list[BaseException] = []
        """What went wrong in the proxy itself; a test looks that it is empty."""
        self._accepting = threading.Thread(target=self._accept, daemon=True)
        self._accepting.start()

    def serve(self, client: Side, server: Side) -> None:
        """Handles one connection until either end hangs up."""
        raise NotImplementedError

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        self._accepting.join(SECONDS)
        for side in list(self._sides):
            side.close()
        for thread in self._threads:
            thread.join(SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                plain, _ = self._listener.accept()
            except OSError:
                return
            self._threads = [thread for thread in self._threads if thread.is_alive()]
            thread = threading.Thread(target=self._meet, args=(plain,), daemon=True)
            self._threads.append(thread)
            thread.start()

    def _meet(self, plain: socket.socket) -> None:
        plain.settimeout(SECONDS)
        try:
            client = Side(self._context.wrap_socket(plain, server_side=True))
        except OSError:
            plain.close()
            return
        onward = socket.create_connection(("127.0.0.1", self._upstream), timeout=SECONDS)
        server = Side(self._trust.wrap_socket(onward, server_hostname="127.0.0.1"))
        self._sides |= {client, server}
        try:
            self.serve(client, server)
        except OSError:
            pass  # either end hung up
        except BaseException as error:  # noqa: BLE001 - told to the test, which runs elsewhere
            self.broken.append(error)
        finally:
            for side in (client, server):
                side.close()
                self._sides.discard(side)
