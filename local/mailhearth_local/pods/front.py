"""A TLS front before a service that has none of its own.

The Postgres and the Valkey of the Python packages are built without TLS. So each listens where only
its own pod reaches it, and this front takes the network's connections, speaks TLS, and hands the
plain stream on. Nothing is taken without TLS.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Awaitable, Callable

import structlog

from mailhearth_core.errors import MailhearthError
from mailhearth_local.pods.certificates import ServerCertificate
from mailhearth_local.pods.streams import Failure, Stream, join

log = structlog.get_logger()
HANDSHAKE_SECONDS = 10.0
"""For all that comes before the first byte inside TLS."""
CONNECTIONS = 256
"""At once; a further one is closed, before it costs anything."""
ADDRESS_IN_USE_HINT = "See which other process listens there."


class TlsFront:
    """Listens on `host` and `port`; each connection is joined to one that `backend` opens.

    Args:
        greeting: what comes in clear before TLS; False ends the connection.
    """

    def __init__(
        self,
        host: str,
        port: int,
        certificate: ServerCertificate,
        backend: Callable[[], Awaitable[Stream]],
        *,
        greeting: Callable[[socket.socket], Awaitable[bool]] | None = None,
    ) -> None:
        self._host, self._wanted = host, port
        self._certificate = certificate
        self._backend = backend
        self._greeting = greeting
        self._listener: socket.socket | None = None
        self._accepting: asyncio.Task[None] | None = None
        self._open: set[asyncio.Task[None]] = set()

    @property
    def port(self) -> int:
        assert self._listener is not None, "it was not started"
        number: int = self._listener.getsockname()[1]
        return number

    async def start(self) -> None:
        """Raises MailhearthError when the port is taken."""
        family = socket.AF_INET6 if ":" in self._host else socket.AF_INET
        listener = socket.socket(family, socket.SOCK_STREAM)
        try:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                listener.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
            listener.bind((self._host, self._wanted))
            listener.listen(128)
        except OSError as error:
            listener.close()
            raise MailhearthError(
                f"Cannot listen on {self._host} port {self._wanted}: {error.strerror}.",
                hint=ADDRESS_IN_USE_HINT,
                code="cannot_listen",
            ) from None
        listener.setblocking(False)
        self._listener = listener
        self._accepting = asyncio.create_task(self._accept(listener))

    async def stop_listening(self) -> None:
        """No new connections; those that are open go on."""
        if self._accepting is not None:
            self._accepting.cancel()
            await asyncio.gather(self._accepting, return_exceptions=True)
            self._accepting = None
        if self._listener is not None:
            self._listener.close()

    async def close(self) -> None:
        """Ends what is still open, too."""
        await self.stop_listening()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _accept(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        while True:
            try:
                sock, _ = await loop.sock_accept(listener)
            except OSError as error:  # no file descriptor left, or the peer is gone already
                log.warning("accept_failed", reason=error.strerror)
                await asyncio.sleep(0.1)
                continue
            if len(self._open) >= CONNECTIONS:
                sock.close()
                continue
            sock.setblocking(False)
            task = asyncio.create_task(self._serve(sock))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

    async def _serve(self, sock: socket.socket) -> None:
        client = None
        try:
            async with asyncio.timeout(HANDSHAKE_SECONDS):
                if self._greeting is not None and not await self._greeting(sock):
                    return
                client = await self._secured(sock)
                backend = await self._backend()
            await join(client, backend)
        except Failure as error:
            log.debug("connection_failed", reason=type(error).__name__)
        finally:
            if client is not None:
                client.end()
            else:  # a transport that failed has closed it already
                sock.close()

    async def _secured(self, sock: socket.socket) -> Stream:
        loop = asyncio.get_running_loop()
        with contextlib.suppress(OSError):
            sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        reader = asyncio.StreamReader()
        protocol = asyncio.StreamReaderProtocol(reader)
        transport, _ = await loop.connect_accepted_socket(
            lambda: protocol, sock, ssl=self._certificate.context()
        )
        return Stream(reader, asyncio.StreamWriter(transport, protocol, reader, loop))
