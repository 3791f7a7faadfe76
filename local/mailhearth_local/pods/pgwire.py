"""The first words of Postgres' protocol, version 3: those that come before any login.

See https://www.postgresql.org/docs/current/protocol-flow.html, SSL Session Encryption.
"""

from __future__ import annotations

import asyncio
import socket
import struct

REQUEST = struct.Struct("!II")
"""Length of the message, and a code in the place of the protocol's version."""
TLS_REQUEST = REQUEST.pack(8, 80877103)
GSS_REQUEST = REQUEST.pack(8, 80877104)
YES, NO = b"S", b"N"
TLS_HANDSHAKE = 0x16
"""The first byte of a client that begins with TLS at once (sslnegotiation=direct)."""
ALPN = "postgresql"


def refusal(message: str, code: str = "28000") -> bytes:
    """A FATAL error as any client shows it; 28000: invalid authorization specification."""
    fields = (("S", "FATAL"), ("V", "FATAL"), ("C", code), ("M", message))
    body = b"".join(k.encode() + v.encode() + b"\0" for k, v in fields) + b"\0"
    return b"E" + struct.pack("!I", len(body) + 4) + body


async def await_tls(sock: socket.socket) -> bool:
    """The server's side, up to where TLS begins; False when the client wanted none.

    Not a byte more is taken than the request has, so nothing that came in clear can pass for
    what comes inside TLS.
    """
    loop = asyncio.get_running_loop()
    while True:
        if await _starts_with_tls(sock):
            return True
        request = await _exactly(sock, REQUEST.size)
        if request == TLS_REQUEST:
            await loop.sock_sendall(sock, YES)
            return True
        if request != GSS_REQUEST:
            await loop.sock_sendall(
                sock, refusal("this server takes TLS only: use sslmode=verify-full")
            )
            return False
        await loop.sock_sendall(sock, NO)


async def ask_for_tls(sock: socket.socket) -> bool:
    """The client's side; False when the server has none."""
    loop = asyncio.get_running_loop()
    await loop.sock_sendall(sock, TLS_REQUEST)
    return await _exactly(sock, 1) == YES


async def _starts_with_tls(sock: socket.socket) -> bool:
    """Waits for the first byte and leaves it where it is."""
    while True:
        try:
            first = sock.recv(1, socket.MSG_PEEK)
        except BlockingIOError:
            await _readable(sock)
            continue
        if not first:
            raise EOFError
        return first[0] == TLS_HANDSHAKE


async def _readable(sock: socket.socket) -> None:
    loop = asyncio.get_running_loop()
    ready = asyncio.Event()
    loop.add_reader(sock, ready.set)
    try:
        await ready.wait()
    finally:
        loop.remove_reader(sock)


async def _exactly(sock: socket.socket, size: int) -> bytes:
    loop = asyncio.get_running_loop()
    data = b""
    while len(data) < size:
        more = await loop.sock_recv(sock, size - len(data))
        if not more:
            raise EOFError
        data += more
    return data
