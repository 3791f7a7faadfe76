"""The bundled Postgres of a trial: the embedded one on a volume, behind a TLS front."""

from __future__ import annotations

import asyncio
import shutil
import socket
import ssl
import tempfile
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from pathlib import Path

import psycopg

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.folder import LOOPBACK, stored_secret
from mailhearth_local.embedded.postgres import SUPERUSER, EmbeddedPostgres
from mailhearth_local.pods.certificates import ServerCertificate
from mailhearth_local.pods.foreground import LogFiles, run
from mailhearth_local.pods.front import TlsFront
from mailhearth_local.pods.pgwire import ALPN, TLS_REQUEST, YES, await_tls
from mailhearth_local.pods.postgres_files import HBA, settings
from mailhearth_local.pods.streams import Stream

DATABASE = "mailhearth"
FOLDER, SECRETS = "postgres", "secrets"
"""Subfolders of the volume, whose own folder is not ours to close."""
CHECK_SECONDS = 5
START_SECONDS = 600.0
"""Long, as the pod's own probes decide when replaying the log takes too long."""


@dataclass(frozen=True)
class Place:
    """Where things lie in the pod.

    Args:
        data: the volume.
        tls: folder of `tls.crt` and `tls.key`.
        owner: folder of `username` and `password` of the database's owner.
        archive: where the write-ahead log is archived; None for nowhere.
    """

    data: Path
    tls: Path
    owner: Path
    archive: Path | None


def serve(place: Place, host: str, port: int) -> int:
    """Runs until a signal; returns the exit code.

    Raises:
        MailhearthError: a file is missing, Postgres does not start, or the port is taken.
    """
    certificate = ServerCertificate(place.tls, protocols=[ALPN])
    name, password = login(place.owner)
    if place.archive is not None and not place.archive.is_dir():
        raise InvalidValue("archive folder", str(place.archive), "a folder that exists")
    sockets = Path(tempfile.mkdtemp(prefix="mh-pg-"))  # a socket's path must be short
    server = postgres(place.data, archive=place.archive, sockets=sockets)
    logs = LogFiles(place.data / FOLDER / "log", "postgres-*.log")

    def start() -> TlsFront:
        _close(place.data / FOLDER / "data")
        server.ensure_started()
        server.provision(name, DATABASE, password=password, replication=True)
        return TlsFront(host, port, certificate, _backend(sockets, server.port), greeting=await_tls)

    try:
        return run("postgres", server, start, logs)
    finally:
        shutil.rmtree(sockets, ignore_errors=True)


def postgres(data: Path, *, archive: Path | None, sockets: Path) -> EmbeddedPostgres:
    """The server on the volume, not started."""
    return EmbeddedPostgres(
        data / FOLDER,
        secrets=data / SECRETS,
        settings=settings(archive),
        hba=HBA,
        sockets=sockets,
        start_seconds=START_SECONDS,
    )


def _close(data: Path) -> None:
    """A volume's fsGroup opens it to the group at each mount, and Postgres refuses open data."""
    if data.exists():
        data.chmod(0o700)


def login(folder: Path) -> tuple[str, Secret]:
    """The user and password in a mounted Secret; raises MailhearthError when a file is missing."""
    try:
        name = (folder / "username").read_text().strip()
        password = (folder / "password").read_text().rstrip("\r\n")
    except OSError as error:
        raise MailhearthError(
            f"The login in {folder} cannot be read ({error.strerror}).",
            hint="It takes the files username and password.",
            code="secret_missing",
        ) from None
    if not name or name == SUPERUSER or not password:
        raise InvalidValue("owner", name, f"a user other than {SUPERUSER}, with a password")
    return name, Secret(password)


def check(place: Place, port: int) -> None:
    """For an exec probe in the pod: TLS answers, and so does Postgres behind it.

    Raises:
        MailhearthError: one of them does not.
    """
    try:
        with socket.create_connection((LOOPBACK, port), CHECK_SECONDS) as plain:
            plain.sendall(TLS_REQUEST)
            if plain.recv(1) != YES:
                raise OSError("no TLS")
            _unverified().wrap_socket(plain).close()
        inner = (place.data / FOLDER / "port").read_text().strip()
        password = stored_secret(place.data / SECRETS / f"postgres-{SUPERUSER}", create=False)
        psycopg.connect(
            host=LOOPBACK,
            port=inner,
            user=SUPERUSER,
            password=password.reveal(),
            dbname="postgres",
            connect_timeout=CHECK_SECONDS,
        ).close()
    except (OSError, psycopg.OperationalError) as error:
        raise MailhearthError(
            f"Postgres does not answer: {str(error).strip()}.", code="not_ready"
        ) from None


def _unverified() -> ssl.SSLContext:
    """Towards our own pod, where the name on the certificate is another."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


def _backend(sockets: Path, port: int) -> Callable[[], Awaitable[Stream]]:
    async def connect() -> Stream:
        path = sockets / f".s.PGSQL.{port}"
        return Stream(*await asyncio.open_unix_connection(path))

    return connect
