"""Bringing the bundled Postgres back to a second: a copy of the server, and its log up to then.

It works on the volume, while `serve-postgres` does not run. What was there is set aside, not
removed.
"""

from __future__ import annotations

import shutil
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from urllib.parse import quote

import psycopg
import structlog
from psycopg import sql

from mailhearth_core.errors import Conflict, InvalidValue, MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.roles import scram_verifier
from mailhearth_core.verbs import restores
from mailhearth_core.verbs.restores import Restored
from mailhearth_core.verbs.wishes import Actor
from mailhearth_local.embedded.folder import FolderLock, stored_secret
from mailhearth_local.embedded.postgres import SUPERUSER, EmbeddedPostgres
from mailhearth_local.embedded.postgres_conf import quoted
from mailhearth_local.embedded.process import POLL_SECONDS, ServiceFailed, tail
from mailhearth_local.pods.backup import BASE, STAMP, verify
from mailhearth_local.pods.postgres import DATABASE, FOLDER, SECRETS
from mailhearth_local.pods.postgres_files import restore_command, settings

log = structlog.get_logger()
FATAL = "FATAL: "
ACTOR = Actor("restore", "cli")
HBA = "local all all trust\n"
"""While the log is replayed: the socket lies in a folder that only we may enter, and the copy may
know another password than the volume does."""


@dataclass(frozen=True)
class Goal:
    """What to restore.

    Args:
        data: the volume of `serve-postgres`.
        base: a copy made by `backup base`, or the folder of them: then the right one is taken.
        archive: where `serve-postgres` archived the log, and will again.
        to: the moment; what was committed later is not there afterwards.
    """

    data: Path
    base: Path
    archive: Path
    to: datetime


@dataclass(frozen=True)
class Done:
    """What it began with, what was set aside, and the announcement."""

    base: Path
    set_aside: Path | None
    restored: Restored


def restore(goal: Goal, *, force: bool, seconds: float) -> Done:
    """Prepares the volume; `serve-postgres` may start afterwards.

    Args:
        force: also where the volume holds a database, which is then set aside.
        seconds: time for replaying the log.
    Raises:
        MailhearthError: the copy is damaged.
        FolderBusy: Postgres runs on this volume.
        Conflict: it holds a database, and `force` is False.
        MailhearthError: the log does not reach to that moment, or Postgres failed.
    """
    copy = _copy_before(goal.base, goal.to)
    verify(copy)
    if not goal.archive.is_dir():
        raise InvalidValue("--archive", str(goal.archive), "a folder that exists")
    folder = goal.data / FOLDER
    lock = FolderLock(folder)
    lock.acquire()
    try:
        set_aside = _put(copy, folder, force=force)
    finally:
        lock.release()
    try:
        return Done(copy, set_aside, _replay(goal, seconds))
    except BaseException:
        shutil.rmtree(folder / "data", ignore_errors=True)
        if set_aside is not None:
            set_aside.rename(folder / "data")
        raise


def _copy_before(base: Path, to: datetime) -> Path:
    """The newest copy that was begun before that moment."""
    if (base / "backup_label").is_file():
        return base
    found = sorted(path for path in base.glob(f"*{BASE}") if (path / "backup_label").is_file())
    stamp = f"{to.astimezone(UTC):{STAMP}}"
    earlier = [path for path in found if path.name.removesuffix(BASE).rpartition("-")[2] < stamp]
    if not earlier:
        raise InvalidValue("--base", str(base), f"a copy made by `backup base` before {stamp}")
    return earlier[-1]


def _put(copy: Path, folder: Path, *, force: bool) -> Path | None:
    """Copies beside the final place, sets aside what is there, and renames."""
    data, draft = folder / "data", folder / "data.new"
    if data.exists() and not force:
        raise Conflict(
            f"{data} holds a database already.",
            hint="Say --force to set it aside.",
            code="database_not_empty",
        )
    shutil.rmtree(draft, ignore_errors=True)
    shutil.copytree(copy, draft, symlinks=True)
    (draft / "recovery.signal").touch()
    draft.chmod(0o700)
    set_aside = None
    if data.exists():
        set_aside = folder / f"data.before-{datetime.now(UTC):{STAMP}}"
        data.rename(set_aside)
    draft.rename(data)
    return set_aside


class _Recovering(EmbeddedPostgres):
    """Reached by its socket only, without a password."""

    def __init__(self, goal: Goal, sockets: Path, seconds: float) -> None:
        super().__init__(
            goal.data / FOLDER,
            secrets=goal.data / SECRETS,
            settings={
                **settings(goal.archive),  # the new line of history is archived, too
                "listen_addresses": "''",
                "restore_command": f"'{quoted(restore_command(goal.archive))}'",
                "recovery_target_time": f"'{goal.to.astimezone(UTC).isoformat(sep=' ')}'",
                "recovery_target_action": "promote",
                "recovery_target_timeline": "latest",
            },
            hba=HBA,
            sockets=sockets,
            start_seconds=seconds,
        )
        self.sockets = sockets

    def url(self, database: str) -> Secret:
        return Secret(
            f"postgresql://{SUPERUSER}@/{database}?host={quote(str(self.sockets), safe='')}"
            f"&port={self.port}&options=-csearch_path%3Dmailhearth"
        )

    @property
    def superuser_url(self) -> Secret:
        return self.url("postgres")

    def own_data(self) -> None:
        """What was copied belongs to the account that Postgres runs as."""
        account = self._prepare_folder()
        if account is not None:
            for path in (self._data, *self._data.rglob("*")):
                account.own(path)

    def why(self) -> str:
        """What ended it, in Postgres' words."""
        (log_file,) = self._logs()
        fatal = [
            line for line in log_file.read_text(errors="replace").splitlines() if FATAL in line
        ]
        return fatal[-1].partition(FATAL)[2].strip() if fatal else tail([log_file])


def _replay(goal: Goal, seconds: float) -> Restored:
    secret = goal.data / SECRETS / f"postgres-{SUPERUSER}"
    password = stored_secret(secret)
    sockets = Path(tempfile.mkdtemp(prefix="mh-pg-"))
    server = _Recovering(goal, sockets, seconds)
    database = None
    try:
        server.own_data()
        try:
            server.ensure_started()
            _await_promotion(server, time.monotonic() + seconds)
        except ServiceFailed:
            if server.is_alive():  # it is only slow
                raise
            raise MailhearthError(
                f"Postgres could not go to {goal.to.isoformat()}: {server.why()}.",
                hint="Choose a time after the end of the copy that the archived log reaches: a "
                "transaction later than it must be there.",
                code="restore_failed",
            ) from None
        _set_password(server, password)
        database = Database(server.url(DATABASE), name="mailhearth-restore")
        return restores.announce(database, ACTOR)
    finally:
        if database is not None:
            database.close()
        server.stop()
        shutil.rmtree(sockets, ignore_errors=True)


def _await_promotion(server: _Recovering, deadline: float) -> None:
    while True:
        try:
            with psycopg.connect(server.superuser_url.reveal()) as conn:
                row = conn.execute("SELECT pg_is_in_recovery()").fetchone()
            if row == (False,):
                return
        except psycopg.OperationalError:
            pass  # it ended, which is seen next, or takes no connection at this moment
        if not server.is_alive():
            raise ServiceFailed("Postgres ended while it replayed the log.")
        if time.monotonic() > deadline:
            raise ServiceFailed("The log was not replayed in time.")
        time.sleep(POLL_SECONDS)


def _set_password(server: _Recovering, password: Secret) -> None:
    with psycopg.connect(server.superuser_url.reveal(), autocommit=True) as conn:
        conn.execute(
            sql.SQL("ALTER ROLE {} PASSWORD {}").format(
                sql.Identifier(SUPERUSER),
                sql.Literal(scram_verifier(conn, password, SUPERUSER)),
            )
        )
