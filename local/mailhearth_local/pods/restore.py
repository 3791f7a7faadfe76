"""Bringing a dump of the database back, as a whole or not at all."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
import threading
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

import psycopg
from psycopg import sql

from mailhearth_core.errors import Conflict
from mailhearth_core.storage.migrate import migrate
from mailhearth_core.storage.roles import Roles, ensure_roles
from mailhearth_local.pods import tunnel
from mailhearth_local.pods.backup import newest_dump
from mailhearth_local.pods.backup_role import (
    ROLE,
    ensure_backup_role,
    ensure_role,
    inherit_families,
)
from mailhearth_local.pods.owner import OwnerSettings, await_database, reached

SCHEMAS = ("mailhearth", "sched", "carry", "steward", "warden", "admin", "signin")
ACTOR = "restore"


@dataclass(frozen=True)
class Restored:
    """Of the database from now on; see `mailhearth_core.verbs.restores.Restored`."""

    generation: int
    restored_at: datetime
    applied: list[str]
    """Migrations that the dump did not have."""


def database(settings: OwnerSettings, file: Path, *, force: bool) -> Restored:
    """Puts a dump in the place of what is there, and says so to the product.

    Everything happens in one transaction, the announcement (`mailhearth restored`) among it: when
    it fails, what was there before is there still.

    Args:
        force: also where the database holds workspaces or people.
    Raises:
        Conflict: it does, and `force` is False.
        MailhearthError: the dump cannot be read or brought back.
    """
    file = newest_dump(file)
    url, roles = settings.owner_url, settings.roles
    passwords = settings.passwords()
    await_database(url, settings.wait_seconds)

    def make_roles() -> None:
        ensure_roles(url.reveal(), roles, passwords)
        ensure_role(url.reveal(), roles)

    reached(url, make_roles)
    if not force and (held := reached(url, lambda: _held(url.reveal(), roles))):
        raise Conflict(
            f"The database holds {held} already.",
            hint="Stop every process and say --force to put the backup in its place.",
            code="database_not_empty",
        )
    with tunnel.opened(url) as programs:
        _bring_back(programs, file, roles)
    applied = migrate(url.reveal(), roles)
    ensure_backup_role(url.reveal(), roles)
    with psycopg.connect(url.reveal()) as conn:
        row = conn.execute("SELECT generation, restored_at FROM mailhearth.installation").fetchone()
    assert row is not None
    return Restored(row[0], row[1], applied)


def _held(url: str, roles: Roles) -> str:
    """What would be lost, in words; empty when it is a new installation, or no schema at all."""
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT to_regclass('mailhearth.workspaces')").fetchone()
        if row is None or row[0] is None:
            return ""
    ensure_backup_role(url, roles)
    found = []
    with psycopg.connect(url) as conn:
        conn.execute(sql.SQL("SET ROLE {}").format(sql.Identifier(roles.name(ROLE))))
        for table, word in (("workspaces", "workspaces"), ("users", "people")):
            name = sql.Identifier("mailhearth", table)
            row = conn.execute(sql.SQL("SELECT count(*) FROM {}").format(name)).fetchone()
            if row is not None and row[0]:
                found.append(f"{row[0]} {word}")
    return " and ".join(found)


def _bring_back(programs: tunnel.Programs, file: Path, roles: Roles) -> None:
    """`pg_restore` writes SQL, `psql` runs it; neither end of the pipe can end it half-way.

    The last words, which commit, are sent only when `pg_restore` has ended well. Until then the end
    of `psql` undoes everything.
    """
    reader = programs.start("pg_restore", "--file=-", str(file), stdout=subprocess.PIPE)
    writer = programs.start(
        "psql",
        *("--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1", "--file=-"),
        stdin=subprocess.PIPE,
    )
    said = _Listening(reader), _Listening(writer)
    assert reader.stdout is not None
    assert writer.stdin is not None
    try:
        try:
            writer.stdin.write(_before(roles).encode())
            shutil.copyfileobj(reader.stdout, writer.stdin)
            tunnel.check("pg_restore", reader.wait(), said[0].text())
            writer.stdin.write(_after(roles).encode())
            writer.stdin.close()
        except BrokenPipeError:  # psql stopped at an error, and says which
            reader.kill()
        tunnel.check("psql", writer.wait(), said[1].text())
    finally:
        for process in (reader, writer):
            process.kill()
            process.wait()
        reader.stdout.close()
        _close(writer)


def _before(roles: Roles) -> str:
    drops = "".join(f"DROP SCHEMA IF EXISTS {name} CASCADE;\n" for name in SCHEMAS)
    return (
        "BEGIN;\nSET LOCAL lock_timeout = '30s';\nSET LOCAL client_min_messages = warning;\n"
        + inherit_families(roles, inherit=True)
        + drops
    )


def _after(roles: Roles) -> str:
    announce = f"PERFORM steward.restored(clock_timestamp(), '{ACTOR}');"
    return (
        "RESET ALL;\n"  # the dump switches row security off, for one
        f"DO $$ BEGIN {announce} END $$;\n{inherit_families(roles, inherit=False)}COMMIT;\n"
    )


def _close(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):
        process.stdin.close()


class _Listening:
    """Reads what a process says on stderr, so that it never waits for us."""

    def __init__(self, process: subprocess.Popen[bytes]) -> None:
        self._pipe = process.stderr
        self._said = b""
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def text(self) -> bytes:
        """All of it, once the process has ended."""
        self._thread.join()
        return self._said

    def _read(self) -> None:
        assert self._pipe is not None
        with self._pipe:
            self._said = self._pipe.read()
