"""What the migration job does: roles and their passwords, the schema, the kind of installation."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import psycopg
from psycopg.rows import dict_row

from mailhearth_core.secrets import Secret
from mailhearth_core.storage import installation as storage
from mailhearth_core.storage.installation import DAY_SECONDS, Installation
from mailhearth_core.storage.migrate import migrate
from mailhearth_core.storage.roles import ensure_roles
from mailhearth_local.pods.backup_role import ensure_backup_role
from mailhearth_local.pods.owner import OwnerSettings, await_database, reached


@dataclass(frozen=True)
class Prepared:
    """What was done and what the database is now."""

    applied: list[str]
    installation: Installation


def prepare(settings: OwnerSettings) -> Prepared:
    """Brings the database to this version; safe to run again, and at once with others.

    Raises:
        ServiceUnavailable: the database does not answer in time, or refuses the login.
        MailhearthError: a password is missing, a migration failed, the environment is refused.
    """
    passwords = settings.passwords()
    await_database(settings.owner_url, settings.wait_seconds)
    return reached(settings.owner_url, lambda: _prepare(settings, passwords))


def _prepare(settings: OwnerSettings, passwords: Mapping[str, Secret]) -> Prepared:
    url = settings.owner_url.reveal()
    ensure_roles(url, settings.roles, passwords)
    applied = migrate(url, settings.roles, environment=str(settings.environment))
    ensure_backup_role(url, settings.roles)
    if settings.sandbox and not _runs_so(url, settings.day_seconds):
        storage.enter_sandbox(url, settings.day_seconds)
    return Prepared(applied, _installation(url))


def _installation(url: str) -> Installation:
    with psycopg.connect(url, row_factory=dict_row) as conn:
        conn.execute("SET search_path = mailhearth")
        return storage.read_installation(conn)


def _runs_so(url: str, day_seconds: float) -> bool:
    """Whether it is a sandbox with this clock: then the clock, which runs, is left alone."""
    with psycopg.connect(url) as conn:
        row = conn.execute(
            "SELECT c.rate FROM mailhearth.business_clock c, mailhearth.installation i"
            " WHERE i.sandbox"
        ).fetchone()
    return row is not None and abs(float(row[0]) - DAY_SECONDS / day_seconds) < 1e-6
