"""Two streams joined: what comes in on one goes out on the other, until either ends."""

from __future__ import annotations

import asyncio
import contextlib
from dataclasses import dataclass

CHUNK = 65_536
Failure = (OSError, EOFError, asyncio.TimeoutError)
"""What a broken connection raises; `ssl.SSLError` is an OSError."""


@dataclass(frozen=True)
class Stream:
    """The two directions of one connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def close(self) -> None:
        """Sends what is left, for at most two seconds."""
        self.end()
        try:
            with contextlib.suppress(*Failure):
                await asyncio.wait_for(self.writer.wait_closed(), 2)
        finally:
            # In Python 3.11 a TLS transport that was closed twice has lost what `abort` asks.
            with contextlib.suppress(AttributeError):
                self.writer.transport.abort()

    def end(self) -> None:
        """Begins to close it, if nobody has."""
        if not self.writer.is_closing():
            self.writer.close()


async def join(one: Stream, other: Stream) -> None:
    """Returns when both are closed, which they are as soon as one of them ends."""
    pumps = [
        asyncio.create_task(_pump(one.reader, other.writer)),
        asyncio.create_task(_pump(other.reader, one.writer)),
    ]
    try:
        await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for pump in pumps:
            pump.cancel()
        await asyncio.gather(*pumps, return_exceptions=True)
        await asyncio.gather(one.close(), other.close())


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(*Failure):
        while data := await reader.read(CHUNK):
            writer.write(data)
            await writer.drain()
