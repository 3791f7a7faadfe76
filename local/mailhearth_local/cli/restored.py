"""`mailhearth restored`."""

from __future__ import annotations

import click

from mailhearth_core.verbs import restores
from mailhearth_local.cli.options import common
from mailhearth_local.cli.output import emit_json
from mailhearth_local.cli.session import Session


@click.command()
@common
def restored(session: Session) -> None:
    """Say that the database was restored from a backup. Run it before `up` or any worker starts.

    What was sent after the backup was made is not in it. So nothing that was due before this
    moment is sent any more (`skipped: restored`), and no reply that was due before it is given. A
    scheduler that finds an older database than it knew stops until this is said.

    \b
    Example:
      pg_restore --dbname "$DATABASE_URL" mailhearth.dump && mailhearth restored

    JSON keys: generation, restored_at.
    """
    with session.attached() as attached:
        done = restores.announce(attached.cli, session.actor)
    if session.json:
        emit_json({"generation": done.generation, "restored_at": done.restored_at.isoformat()})
        return
    click.echo(f"Nothing that was due before {done.restored_at:%Y-%m-%d %H:%M} UTC is sent.")
