"""The bundled Valkey of a trial: the embedded one on a volume, behind a TLS front."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailhearth_core.errors import MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.folder import LOOPBACK, write_atomically
from mailhearth_local.embedded.valkey import ADMIN, EmbeddedValkey
from mailhearth_local.pods.certificates import ServerCertificate
from mailhearth_local.pods.foreground import LogFiles, run
from mailhearth_local.pods.front import TlsFront
from mailhearth_local.pods.streams import Stream
from mailhearth_local.services.redis import SCHEDULER, SCHEDULER_RULES, WEB, web_rules

WORKER = "worker"
"""One user for the workers of all groups."""
FOLDER, SECRETS = "valkey", "secrets"
"""Subfolders of the volume, whose own folder is not ours to close."""
CHECK_SECONDS = 5


@dataclass(frozen=True)
class Place:
    """Where things lie in the pod.

    Args:
        data: the volume.
        tls: folder of `tls.crt` and `tls.key`.
        users: folder of the passwords: `web`, `worker`, `scheduler`, `admin`.
    """

    data: Path
    tls: Path
    users: Path


def serve(place: Place, host: str, port: int) -> int:
    """Runs until a signal; returns the exit code.

    Raises:
        MailhearthError: a file is missing, Valkey does not start, or the port is taken.
    """
    certificate = ServerCertificate(place.tls)
    passwords = {name: password(place.users, name) for name in (ADMIN, WEB, WORKER, SCHEDULER)}
    secrets = place.data / SECRETS
    secrets.mkdir(mode=0o700, exist_ok=True)
    write_atomically(secrets / f"valkey-{ADMIN}", passwords[ADMIN].reveal())
    server = EmbeddedValkey(place.data / FOLDER, secrets=secrets)
    logs = LogFiles(place.data / FOLDER, "valkey.log")

    def start() -> TlsFront:
        server.ensure_started()
        for name, rules in user_rules().items():
            server.set_user(name, passwords[name], rules)
        return TlsFront(host, port, certificate, _Backend(server.port).connect)

    return run("valkey", server, start, logs)


def password(folder: Path, name: str) -> Secret:
    """Raises MailhearthError when the file is missing or empty."""
    try:
        text = (folder / name).read_text().strip()
    except OSError:
        text = ""
    if not text:
        raise MailhearthError(
            f"The password of the user {name} is not in {folder}.",
            hint=f"It takes the files {WEB}, {WORKER}, {SCHEDULER} and {ADMIN}.",
            code="secret_missing",
        )
    return Secret(text)


def check(place: Place, port: int) -> None:
    """For an exec probe in the pod: raises MailhearthError unless Valkey answers through TLS."""
    try:
        with redis.Redis(
            host=LOOPBACK,
            port=port,
            username=ADMIN,
            password=password(place.users, ADMIN).reveal(),
            ssl=True,
            ssl_cert_reqs="none",  # our own pod, where the name on the certificate is another
            ssl_check_hostname=False,
            socket_timeout=CHECK_SECONDS,
            socket_connect_timeout=CHECK_SECONDS,
            retry=Retry(NoBackoff(), 0),
        ) as client:
            client.ping()
    except redis.RedisError as error:
        raise MailhearthError(f"Valkey does not answer: {error}.", code="not_ready") from None


def user_rules() -> dict[str, list[str]]:
    """What each user of an installation's Redis may do, as `ACL SETUSER` takes it."""
    from mailhearth_worker.wakeups.acl import rules_of_all_groups  # rq is heavy

    return {
        WEB: web_rules(),
        SCHEDULER: list(SCHEDULER_RULES),
        WORKER: [rule for rule in rules_of_all_groups() if rule not in ("reset", "on")],
    }


@dataclass(frozen=True)
class _Backend:
    port: int

    async def connect(self) -> Stream:
        return Stream(*await asyncio.open_connection(LOOPBACK, self.port))
