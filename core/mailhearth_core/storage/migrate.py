"""Forward migrations in plain SQL, applied by yoyo under an advisory lock of ours, with checksums.

What has been applied is what `schema_checksums` says, written in the transaction of the migration
itself. yoyo's own lock table and marks are not relied on: a run killed between two of its
transactions would leave a row that blocks every later one. An edited migration is refused: what has
been applied somewhere never changes.
"""

from __future__ import annotations

import hashlib
import tempfile
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib import resources
from pathlib import Path
from urllib.parse import urlsplit, urlunsplit

import psycopg
import yoyo
from psycopg import sql

from mailhearth_core.errors import MailhearthError
from mailhearth_core.storage.roles import Roles

LOCK = 0x6D61696C  # "mail": the advisory lock of all migration runs in one database


@dataclass(frozen=True)
class Migration:
    name: str
    source: str

    @property
    def checksum(self) -> str:
        return hashlib.sha256(self.source.encode()).hexdigest()


def migrations() -> list[Migration]:
    """All migrations in this version of the product, in order."""
    folder = resources.files("mailhearth_core.storage") / "migrations"
    files = sorted(
        (item for item in folder.iterdir() if item.name.endswith(".sql")), key=lambda i: i.name
    )
    return [Migration(f.name.removesuffix(".sql"), f.read_text(encoding="utf-8")) for f in files]


def pending(owner_url: str) -> list[str]:
    """Names of migrations that this database has not seen."""
    with psycopg.connect(owner_url) as conn:
        applied = _applied(conn)
    return [m.name for m in migrations() if m.name not in applied]


def migrate(owner_url: str, roles: Roles, *, environment: str | None = None) -> list[str]:
    """Applies what is missing; returns the names applied. Roles must exist (`ensure_roles`).

    Several processes may call it at once: they take turns.

    Args:
        environment: development, staging or production; None keeps what the database knows, and
            is development in a new one.
    Raises:
        MailhearthError: an applied migration was edited or is unknown, one of them failed (nothing
            of that migration remains), or a sandbox was to become production.
    """
    with psycopg.connect(owner_url, autocommit=True) as conn:
        conn.execute("SELECT pg_advisory_lock(%s)", (LOCK,))
        conn.execute("CREATE SCHEMA IF NOT EXISTS mailhearth")
        conn.execute(
            "CREATE TABLE IF NOT EXISTS mailhearth.schema_checksums "
            "(name text PRIMARY KEY, checksum text NOT NULL, applied_at timestamptz NOT NULL)"
        )
        applied = _applied(conn)
        known = migrations()
        for migration in known:
            if migration.name in applied and applied[migration.name] != migration.checksum:
                raise MailhearthError(
                    f"Migration {migration.name} differs from what this database was made with.",
                    hint="Install the version that made the database, or restore from a backup.",
                    code="migration_edited",
                )
        unknown = sorted(set(applied) - {m.name for m in known})
        if unknown:
            raise MailhearthError(
                f"The database has migrations this version does not know: {', '.join(unknown)}.",
                hint="Run the newer version of Mailhearth that made them.",
                code="database_newer",
            )
        new = [m for m in known if m.name not in applied]
        if new:
            _apply(owner_url, roles, known, {m.name for m in new})
        _set_environment(conn, environment)
        return [m.name for m in new]


def _set_environment(conn: psycopg.Connection[tuple[str, ...]], environment: str | None) -> None:
    conn.execute(
        "INSERT INTO mailhearth.installation (environment) VALUES (%s) ON CONFLICT DO NOTHING",
        (environment or "development",),
    )
    if environment is None:
        return
    try:
        conn.execute(
            "UPDATE mailhearth.installation SET environment = %s WHERE environment <> %s",
            (environment, environment),
        )
    except psycopg.errors.CheckViolation:
        raise MailhearthError(
            f"This is a sandbox installation for good; it cannot be {environment}.",
            hint="Use another data folder or database for real mailboxes.",
            code="sandbox_refused",
        ) from None


def _applied(conn: psycopg.Connection[tuple[str, ...]]) -> dict[str, str]:
    exists = conn.execute("SELECT to_regclass('mailhearth.schema_checksums')").fetchone()
    if not exists or exists[0] is None:
        return {}
    rows = conn.execute("SELECT name, checksum FROM mailhearth.schema_checksums").fetchall()
    return {row[0]: row[1] for row in rows}


def _apply(owner_url: str, roles: Roles, known: list[Migration], new: set[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        for migration in known:
            path = Path(folder) / f"{migration.name}.sql"
            path.write_text(_with_record(migration, roles), encoding="utf-8")
        backend = yoyo.get_backend(_yoyo_url(owner_url))  # type: ignore[no-untyped-call]
        with backend.connection:
            steps = yoyo.read_migrations(folder)  # type: ignore[no-untyped-call]
            for step in steps:
                if step.id not in new:
                    continue
                try:
                    backend.apply_one(step, mark=False)
                except psycopg.Error as error:
                    raise MailhearthError(
                        f"Migration {step.id} failed: {str(error).strip()}",
                        hint="Nothing of it remains; mend the cause and run `mailhearth migrate`.",
                        code="migration_failed",
                    ) from error


def _with_record(migration: Migration, roles: Roles) -> str:
    """A migration's text for this installation, ending with the record that it was applied."""
    record = sql.SQL("INSERT INTO mailhearth.schema_checksums VALUES ({}, {}, {});").format(
        sql.Literal(migration.name),
        sql.Literal(migration.checksum),
        sql.Literal(datetime.now(UTC).isoformat()),
    )
    return f"{roles.render(migration.source)}\n{record.as_string(None)}\n"


def _yoyo_url(owner_url: str) -> str:
    """The owner's URL as yoyo takes it: its scheme names the driver, the search path is pinned."""
    parts = urlsplit(owner_url)
    query = [item for item in parts.query.split("&") if item and not item.startswith("options=")]
    query.append("options=-c%20search_path%3Dmailhearth")
    return urlunsplit(("postgresql+psycopg", parts.netloc, parts.path, "&".join(query), ""))
