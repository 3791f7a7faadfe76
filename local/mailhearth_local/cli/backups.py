"""`mailhearth prepare`, `backup` and `restore`: the jobs that log in as the database's owner."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING

import click

from mailhearth_local.cli.options import json_option, pass_session
from mailhearth_local.cli.output import emit_json, time_text
from mailhearth_local.cli.session import Session

if TYPE_CHECKING:
    from mailhearth_local.pods.backup import Backup
    from mailhearth_local.pods.owner import OwnerSettings

FOLDER = click.Path(file_okay=False, path_type=Path)
to_option = click.option(
    "--to", type=FOLDER, required=True, metavar="DIR", help="Folder that backups are kept in."
)
keep_option = click.option(
    "--keep",
    type=click.IntRange(1),
    default=14,
    show_default=True,
    metavar="N",
    help="How many stay there; older ones are removed after a good one was written.",
)


def _settings(session: Session) -> OwnerSettings:
    from mailhearth_core import logs
    from mailhearth_local.pods.owner import OwnerSettings

    settings = OwnerSettings.load(session.environ)
    logs.configure("job", settings.log_level)
    return settings


@click.command()
@json_option
@pass_session
def prepare(session: Session) -> None:
    """Make roles, passwords and schema in the database at MAILHEARTH_OWNER_URL. Safe to run again.

    It waits for the database, up to MAILHEARTH_WAIT_SECONDS. The passwords of the processes'
    logins come from the folder MAILHEARTH_ROLE_PASSWORDS_FOLDER, in files named as the roles. With
    MAILHEARTH_SANDBOX=true the installation becomes a sandbox for good, a day of which takes
    MAILHEARTH_DAY_SECONDS. `mailhearth up` does all this by itself.

    \b
    Example:
      MAILHEARTH_OWNER_URL_FILE=/owner/url mailhearth prepare

    JSON keys: applied (names of the migrations that ran now), installation, environment, sandbox.
    """
    from mailhearth_local.pods.prepare import prepare as run

    done = run(_settings(session))
    found = done.installation
    if session.json:
        emit_json(
            {
                "applied": done.applied,
                "installation": str(found.id),
                "environment": found.environment,
                "sandbox": found.sandbox,
            }
        )
        return
    for name in done.applied:
        click.echo(f"applied {name}")
    kind = "sandbox" if found.sandbox else found.environment
    click.echo(f"The database is ready ({kind}).")


@click.group()
def backup() -> None:
    """Save the database at MAILHEARTH_OWNER_URL.

    Private keys are not in it; `mailhearth keys backup` saves those, apart and encrypted.
    """


@backup.command("database")
@to_option
@keep_option
@json_option
@pass_session
def backup_database(session: Session, to: Path, keep: int) -> None:
    """Write everything the database holds into one file, named by its time in UTC.

    \b
    Example:
      mailhearth backup database --to /backups

    JSON keys: path, bytes, removed.
    """
    from mailhearth_local.pods import backup as work

    _tell(session, work.database(_settings(session), to, keep=keep))


@backup.command("base")
@to_option
@keep_option
@click.option(
    "--archive",
    type=FOLDER,
    metavar="DIR",
    help="Where the write-ahead log is archived: what no copy needs any more is removed.",
)
@json_option
@pass_session
def backup_base(session: Session, to: Path, keep: int, archive: Path | None) -> None:
    """Copy the whole server, as `restore point-in-time` begins with.

    The owner needs REPLICATION, which it has in the Postgres of `serve-postgres`.

    \b
    Example:
      mailhearth backup base --to /backups --archive /archive --keep 7

    JSON keys: path, bytes, removed.
    """
    from mailhearth_local.pods import backup as work

    _tell(session, work.base(_settings(session), to, keep=keep, archive=archive))


def _tell(session: Session, done: Backup) -> None:
    if session.json:
        removed = [str(path) for path in done.removed]
        emit_json({"path": str(done.path), "bytes": done.size, "removed": removed})
        return
    click.echo(f"{done.path}: {done.size:,} bytes")
    for path in done.removed:
        click.echo(f"removed {path}")


@click.group()
def restore() -> None:
    """Bring the database back. Stop every process of the installation first.

    Nothing that was due before the restore is sent any more: what was sent after the backup is not
    in it. The keys of that time are needed too: `mailhearth keys restore`.
    """


@restore.command("database")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--force", is_flag=True, help="Also in the place of workspaces or people.")
@json_option
@pass_session
def restore_database(session: Session, file: Path, force: bool) -> None:
    """Put a dump in the place of what is at MAILHEARTH_OWNER_URL, as a whole or not at all.

    FILE is the dump, or a folder of them: then the newest is taken.

    The owner's login must be named as in the installation that made the dump, and the prefix of
    the roles be the same. A dump of an older version is brought to this one.

    \b
    Example:
      mailhearth restore database /backups/mailhearth-20260301T020000Z.dump

    JSON keys: generation, restored_at, applied.
    """
    from mailhearth_local.pods import restore as work

    done = work.database(_settings(session), file, force=force)
    if session.json:
        emit_json(
            {
                "generation": done.generation,
                "restored_at": time_text(done.restored_at),
                "applied": done.applied,
            }
        )
        return
    click.echo(f"Nothing that was due before {done.restored_at:%Y-%m-%d %H:%M} UTC is sent.")


@restore.command("point-in-time")
@click.option("--base", type=FOLDER, required=True, metavar="DIR",
              help="A copy made by `backup base`, or the folder of them.")  # fmt: skip
@click.option("--archive", type=FOLDER, required=True, metavar="DIR",
              help="Where `serve-postgres` archived the write-ahead log.")  # fmt: skip
@click.option("--to-time", required=True, metavar="TIME",
              help="ISO 8601 with its zone, such as 2026-03-01T09:30:00Z.")  # fmt: skip
@click.option("--data", type=FOLDER, default=Path("/data"), show_default=True, metavar="DIR",
              help="The volume of `serve-postgres`.")  # fmt: skip
@click.option("--seconds", type=click.FloatRange(1), default=3600, show_default=True,
              help="Time for replaying the log.")  # fmt: skip
@click.option("--force", is_flag=True, help="Set aside the database that the volume holds.")
@json_option
@pass_session
def restore_point_in_time(
    session: Session, base: Path, archive: Path, to_time: str, data: Path, seconds: float,
    force: bool,
) -> None:  # fmt: skip
    """Bring the Postgres of `serve-postgres` back to a second. It must not run meanwhile.

    What was committed later is gone from the database; the former state is kept beside it on the
    volume, in postgres/data.before-TIME, until you remove it.

    \b
    Example:
      mailhearth restore point-in-time --base /backups --archive /archive \\
          --to-time 2026-03-01T09:30:00Z --force

    JSON keys: base, set_aside, generation, restored_at.
    """
    from mailhearth_core import logs
    from mailhearth_local.pods import point_in_time as work

    logs.configure("job", session.environ.get("MAILHEARTH_LOG_LEVEL", "INFO"))
    goal = work.Goal(data=data, base=base, archive=archive, to=_moment(to_time))
    done = work.restore(goal, force=force, seconds=seconds)
    if session.json:
        emit_json(
            {
                "base": str(done.base),
                "set_aside": str(done.set_aside or ""),
                "generation": done.restored.generation,
                "restored_at": time_text(done.restored.restored_at),
            }
        )
        return
    click.echo(f"The database is as it was at {to_time}, from {done.base}.")
    if done.set_aside is not None:
        click.echo(f"What was there before is in {done.set_aside}.")


def _moment(text: str) -> datetime:
    try:
        at: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        at = None
    if at is None or at.tzinfo is None:
        raise click.BadParameter(
            f"{text!r} is not a time with its zone, such as 2026-03-01T09:30:00Z.",
            param_hint="--to-time",
        )
    return at
