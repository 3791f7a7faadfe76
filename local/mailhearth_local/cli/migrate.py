"""`mailhearth migrate`."""

from __future__ import annotations

from datetime import UTC, datetime

import click
import psycopg

from mailhearth_core.storage import migrate as storage
from mailhearth_core.storage.roles import Roles
from mailhearth_local.cli.options import common
from mailhearth_local.cli.output import emit_json
from mailhearth_local.cli.owner import owner_url, role_prefix
from mailhearth_local.cli.session import Session


@click.command()
@common
def migrate(session: Session) -> None:
    """Bring the database to this version: roles, schema, functions. Safe to run again.

    `mailhearth up` does this by itself; use it to see what would run first, or before a rollout
    with DATABASE_URL (the owner's login, with CREATEROLE).

    \b
    Examples:
      mailhearth migrate
      DATABASE_URL=postgresql://owner@db.example.com/mailhearth mailhearth migrate

    JSON keys: applied (names of the migrations that ran now), version (the newest one).
    """
    started = datetime.now(UTC)
    with session.attached() as attached:
        url = owner_url(attached).reveal()
        if storage.pending(url):
            storage.migrate(url, Roles(role_prefix(attached.cli)), environment=attached.environment)
        with psycopg.connect(url) as conn:
            rows = conn.execute(
                "SELECT name FROM mailhearth.schema_checksums WHERE applied_at >= %s ORDER BY name",
                (started,),
            ).fetchall()
    applied = [row[0] for row in rows]
    newest = storage.migrations()[-1].name
    if session.json:
        emit_json({"applied": applied, "version": newest})
        return
    for name in applied:
        click.echo(f"applied {name}")
    click.echo(f"The database is at {newest}." if applied else f"Nothing to do: it is at {newest}.")
