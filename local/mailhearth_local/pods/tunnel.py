"""A way to Postgres over TLS for programs whose libpq has none.

`pg_dump` and its like, as the Python package brings them, are built without TLS. This opens a Unix
socket in a closed folder; what a program says there goes to the server over TLS, which is verified
as the database's URL asks.
"""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import socket
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any

from psycopg.conninfo import conninfo_to_dict

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.postgres import ENVIRONMENT, binaries
from mailhearth_local.pods.pgwire import ask_for_tls
from mailhearth_local.pods.streams import Failure, Stream, join

PORT = 5432
CONNECT_SECONDS = 10.0
CLOSE_SECONDS = 5.0
TELLING = ("ERROR", "FATAL", "error:")
PLAIN = ("disable", "allow", "prefer")


@dataclass(frozen=True)
class Target:
    """Where a database's URL leads, and how the way there is protected."""

    host: str
    port: int
    user: str
    password: Secret
    database: str
    tls: ssl.SSLContext | None


def target(url: Secret) -> Target:
    """Raises InvalidValue on a URL that names several hosts, or a CA that cannot be read."""
    parts = conninfo_to_dict(url.reveal())
    host = str(parts.get("host") or "localhost")
    if "," in host:
        raise InvalidValue("database URL", host, "one host")
    return Target(
        host,
        int(str(parts.get("port") or PORT)),
        str(parts.get("user", "")),
        Secret(str(parts.get("password", ""))),
        str(parts.get("dbname", "")),
        _context(parts),
    )


def _context(parts: dict[str, Any]) -> ssl.SSLContext | None:
    mode = str(parts.get("sslmode") or "prefer")
    if mode in PLAIN:
        return None
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.check_hostname = mode == "verify-full"
    if mode == "require":
        context.verify_mode = ssl.CERT_NONE
        return context
    authorities = parts.get("sslrootcert")
    try:
        if authorities in (None, "", "system"):
            context.load_default_certs()
        else:
            context.load_verify_locations(cafile=str(authorities))
    except OSError as error:
        raise InvalidValue("sslrootcert", authorities, f"a PEM file ({error.strerror})") from None
    return context


class Programs:
    """Postgres' programs, each run against one database through the tunnel. Make it by `opened`."""

    def __init__(self, folder: Path, goal: Target) -> None:
        self._folder = folder
        self._environment = {
            **ENVIRONMENT,
            "HOME": str(folder),
            "PGHOST": str(folder),
            "PGPORT": str(PORT),
            "PGUSER": goal.user,
            "PGPASSWORD": goal.password.reveal(),
            "PGDATABASE": goal.database,
            "PGSSLMODE": "disable",
            "PGAPPNAME": "mailhearth-backup",
        }

    def start(
        self,
        program: str,
        *arguments: str,
        stdin: IO[bytes] | int = subprocess.DEVNULL,
        stdout: IO[bytes] | int = subprocess.DEVNULL,
    ) -> subprocess.Popen[bytes]:
        return subprocess.Popen(  # noqa: S603 - our own words, no shell
            [str(binaries() / program), *arguments],
            stdin=stdin,
            stdout=stdout,
            stderr=subprocess.PIPE,
            env=self._environment,
            cwd="/",
            umask=0o077,
        )

    def run(self, program: str, *arguments: str) -> None:
        """Raises MailhearthError with the program's last words when it fails."""
        process = self.start(program, *arguments)
        try:
            said = process.communicate()[1]
        except BaseException:
            process.kill()
            process.wait()
            raise
        check(program, process.returncode, said)


def check(program: str, code: int, said: bytes) -> None:
    """Raises MailhearthError when `code` is not 0."""
    if code == 0:
        return
    lines = [line.strip() for line in said.decode(errors="replace").splitlines() if line.strip()]
    telling = [line for line in lines if any(word in line for word in TELLING)] or lines
    raise MailhearthError(
        f"{program} failed (code {code}): {' | '.join(telling[:3]) or 'it said nothing'}.",
        hint="See the database's log, and whether there is space left.",
        code="program_failed",
    )


@contextmanager
def opened(url: Secret) -> Iterator[Programs]:
    """The programs, while the tunnel is open. It runs in a thread of its own."""
    goal = target(url)
    folder = Path(tempfile.mkdtemp(prefix="mh-"))
    tunnel = _Tunnel(folder / f".s.PGSQL.{PORT}", goal)
    try:
        tunnel.start()
        yield Programs(folder, goal)
    finally:
        tunnel.stop()
        shutil.rmtree(folder, ignore_errors=True)


class _Tunnel:
    def __init__(self, path: Path, goal: Target) -> None:
        self._path = path
        self._goal = goal
        self._loop = asyncio.new_event_loop()
        self._listening = threading.Event()
        self._end: asyncio.Event | None = None
        self._thread = threading.Thread(target=self._run, name="tunnel", daemon=True)

    def start(self) -> None:
        self._thread.start()
        self._listening.wait()

    def stop(self) -> None:
        if self._end is not None:
            self._loop.call_soon_threadsafe(self._end.set)
        if self._thread.is_alive():
            self._thread.join()
        self._loop.close()

    def _run(self) -> None:
        try:
            self._loop.run_until_complete(self._serve())
        finally:
            self._listening.set()

    async def _serve(self) -> None:
        self._end = asyncio.Event()
        joined: set[asyncio.Task[None]] = set()

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.create_task(self._forward(Stream(reader, writer)))
            joined.add(task)
            task.add_done_callback(joined.discard)

        server = await asyncio.start_unix_server(accepted, self._path)
        self._listening.set()
        await self._end.wait()
        server.close()
        await server.wait_closed()
        if joined:  # the programs have ended, so these are closing
            await asyncio.wait(joined, timeout=CLOSE_SECONDS)
        for task in joined:
            task.cancel()
        await asyncio.gather(*joined, return_exceptions=True)
        await asyncio.sleep(0)  # what was cut off is closed in the loop's next round

    async def _forward(self, program: Stream) -> None:
        try:
            server = await asyncio.wait_for(self._connect(), CONNECT_SECONDS)
            await join(program, server)
        except Failure:
            pass  # the program says that its connection was closed
        finally:
            await program.close()

    async def _connect(self) -> Stream:
        goal, loop = self._goal, asyncio.get_running_loop()
        if goal.host.startswith("/"):
            return Stream(*await asyncio.open_unix_connection(f"{goal.host}/.s.PGSQL.{goal.port}"))
        if goal.tls is None:
            return Stream(*await asyncio.open_connection(goal.host, goal.port))
        sock = await loop.run_in_executor(
            None, lambda: socket.create_connection((goal.host, goal.port), CONNECT_SECONDS)
        )
        try:
            sock.setblocking(False)
            with contextlib.suppress(OSError):
                sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if not await ask_for_tls(sock):
                raise ConnectionError("the server has no TLS")
            return Stream(
                *await asyncio.open_connection(sock=sock, ssl=goal.tls, server_hostname=goal.host)
            )
        except BaseException:
            sock.close()
            raise
