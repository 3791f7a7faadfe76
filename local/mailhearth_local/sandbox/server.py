"""The sandbox's process: one event loop, one store, three ports, on loopback unless told."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import signal
import ssl
from collections.abc import Awaitable, Callable, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path

from mailhearth_core.errors import MailhearthError
from mailhearth_core.storage.installation import SANDBOX_DOMAIN
from mailhearth_local.embedded.folder import (
    LOOPBACK,
    FolderLock,
    new_port,
    remembered_port,
    write_atomically,
)
from mailhearth_local.sandbox.accounts import Accounts, AccountsFile
from mailhearth_local.sandbox.ca import TlsFiles, ensure_certificates
from mailhearth_local.sandbox.delivery import Delivery
from mailhearth_local.sandbox.imap import Imap
from mailhearth_local.sandbox.smtp import Handler, Submission
from mailhearth_local.sandbox.store import MailStore
from mailhearth_local.sandbox.zone import HOSTS, zone

INFO_FILE = "sandbox.json"
ZONE_FILE = "zone.json"
PORT_TRIES = 5


@dataclass(frozen=True)
class Listening:
    """Where the sandbox is reached.

    Args:
        host: address to listen on.
        service: the name that leads there, for the zone; empty for loopback.
        imap, smtp, smtps: ports; 0 for a free one, which is remembered.
    """

    host: str = LOOPBACK
    service: str = ""
    imap: int = 0
    smtp: int = 0
    smtps: int = 0


@dataclass(frozen=True)
class SandboxInfo:
    """`<data>/sandbox.json`, there while the server takes connections (or after it was killed).

    Args:
        smtp_port: STARTTLS; smtps_port and imap_port: implicit TLS.
        ca_file, zone_file: absolute paths.
        users: addresses at the time of the start; passwords are in users.json.
    """

    pid: int
    host: str
    imap_port: int
    smtp_port: int
    smtps_port: int
    ca_file: str
    zone_file: str
    domains: list[str]
    users: list[str]


def read_info(data: Path) -> SandboxInfo | None:
    """None when the file is not there (yet)."""
    try:
        return SandboxInfo(**json.loads((data / INFO_FILE).read_text()))
    except FileNotFoundError:
        return None


async def serve(
    data: Path,
    *,
    seed: int,
    at: Listening | None = None,
    ready: Callable[[SandboxInfo], None] | None = None,
) -> None:
    """Serves until SIGTERM or SIGINT; `ready` is called once all ports take connections.

    Raises:
        FolderBusy: another sandbox runs in `data`.
        InvalidValue: the users file is malformed.
    """
    data = data.resolve()
    lock = FolderLock(data)
    lock.acquire()
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for sign in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(sign, stop.set)
    (data / INFO_FILE).unlink(missing_ok=True)
    async with AsyncExitStack() as stack:
        stack.callback(lock.release)
        info = await _start(data, seed, at or Listening(), stack)
        write_atomically(data / INFO_FILE, json.dumps(asdict(info), indent=1) + "\n", mode=0o644)
        stack.callback((data / INFO_FILE).unlink, missing_ok=True)
        if ready is not None:
            ready(info)
        await stop.wait()


async def _start(data: Path, seed: int, at: Listening, stack: AsyncExitStack) -> SandboxInfo:
    accounts = AccountsFile(data)
    domains = accounts.current().domains()
    files = ensure_certificates(data / "tls", _names(accounts.current()), datetime.now(UTC))
    tls = _context(files)
    store = MailStore(data)
    stack.callback(store.close)
    imap = Imap(store, accounts)
    handler = Handler(accounts, Delivery(store, accounts, seed=seed, placed=imap.placed))
    loop = asyncio.get_running_loop()

    async def imaps(port: int) -> asyncio.Server:
        return await asyncio.start_server(imap.serve, at.host, port, ssl=tls)

    async def smtp(port: int) -> asyncio.Server:
        make = partial(Submission, handler, tls, implicit=False)
        return await loop.create_server(make, at.host, port)

    async def smtps(port: int) -> asyncio.Server:
        make = partial(Submission, handler, tls, implicit=True)
        return await loop.create_server(make, at.host, port, ssl=tls)

    ports: dict[str, int] = {}
    for name, opener, wanted in (
        ("imap", imaps, at.imap),
        ("smtp", smtp, at.smtp),
        ("smtps", smtps, at.smtps),
    ):
        server, ports[name] = await _listen(opener, data / f"{name}.port", wanted)
        stack.callback(server.close)
    names = zone(domains, ports["smtp"], at.service)
    write_atomically(data / ZONE_FILE, json.dumps(names, indent=1) + "\n", mode=0o644)
    return SandboxInfo(
        pid=os.getpid(),
        host=at.service or LOOPBACK,
        imap_port=ports["imap"],
        smtp_port=ports["smtp"],
        smtps_port=ports["smtps"],
        ca_file=str(files.ca),
        zone_file=str(data / ZONE_FILE),
        domains=domains,
        users=sorted(accounts.current().users),
    )


async def _listen(
    opener: Callable[[int], Awaitable[asyncio.Server]], port_file: Path, wanted: int
) -> tuple[asyncio.Server, int]:
    """Opens at the wanted port; else at the remembered one, or at another when that is taken."""
    if wanted:
        try:
            return await opener(wanted), wanted
        except OSError as error:
            raise MailhearthError(
                f"The sandbox cannot listen on port {wanted}: {error.strerror}.",
                hint="See which other process listens there.",
                code="cannot_listen",
            ) from None
    port = remembered_port(port_file)
    for _ in range(PORT_TRIES):
        try:
            return await opener(port), port
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
            port = new_port(port_file)
    raise MailhearthError(
        f"The sandbox found no free port on {LOOPBACK} in {PORT_TRIES} tries.",
        hint="See which program takes them all.",
        code="no_free_port",
    )


def _names(accounts: Accounts) -> Sequence[str]:
    """Every name a client may call us by; stands in the certificate."""
    domains = [*accounts.domains(), SANDBOX_DOMAIN]
    below = [f"{host}.{domain}" for domain in domains for host in HOSTS]
    return ["localhost", LOOPBACK, *accounts.domains(), *below]


def _context(files: TlsFiles) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files.certificate, files.key)
    return context
