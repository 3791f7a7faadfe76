"""`mailhearth serve-postgres`, `serve-valkey`, `serve-sandbox`: what a cluster's pods run."""

from __future__ import annotations

from pathlib import Path

import click

from mailhearth_local.cli.options import pass_session
from mailhearth_local.cli.session import Session

FOLDER = click.Path(file_okay=False, path_type=Path)
check_option = click.option(
    "--check", is_flag=True, help="Only see whether it serves in this pod: exit code 0 or 1."
)
listen_option = click.option(
    "--listen", default="0.0.0.0", metavar="HOST", show_default=True,  # noqa: S104 - it is a service
    help="Address to listen on.",
)  # fmt: skip
tls_option = click.option(
    "--tls", type=FOLDER, default=Path("/tls"), metavar="DIR", show_default=True,
    help="Folder of tls.crt and tls.key; new ones are taken up by themselves.",
)  # fmt: skip


volume_option = click.option(
    "--data", type=FOLDER, default=Path("/data"), metavar="DIR", show_default=True,
    help="The volume.",
)  # fmt: skip


def _logging(session: Session, process: str) -> None:
    from mailhearth_core import logs

    logs.configure(process, session.environ.get("MAILHEARTH_LOG_LEVEL", "INFO"))


@click.command("serve-postgres")
@volume_option
@tls_option
@click.option(
    "--owner", type=FOLDER, default=Path("/owner"), metavar="DIR", show_default=True,
    help="Folder of the owner's login: username and password.",
)  # fmt: skip
@click.option(
    "--archive", type=FOLDER, metavar="DIR",
    help="Folder to archive the write-ahead log in.  [env: MAILHEARTH_ARCHIVE_FOLDER]",
)  # fmt: skip
@listen_option
@click.option("--port", type=click.IntRange(0, 65535), default=5432, show_default=True)
@check_option
@pass_session
def serve_postgres(
    session: Session,
    data: Path,
    tls: Path,
    owner: Path,
    archive: Path | None,
    listen: str,
    port: int,
    check: bool,
) -> None:
    """Run a Postgres 18 for a trial, on a volume, with TLS only.

    It makes the owner's login and the database `mailhearth`. For a production installation use a
    Postgres with standbys. With --archive, `mailhearth restore point-in-time` can bring the
    database back to any second.

    \b
    Example:
      mailhearth serve-postgres --data /data --tls /tls --owner /owner
    """
    from mailhearth_local.pods import postgres

    named = session.environ.get("MAILHEARTH_ARCHIVE_FOLDER")
    archive = archive or (Path(named) if named else None)
    place = postgres.Place(data=data, tls=tls, owner=owner, archive=archive)
    if check:
        postgres.check(place, port)
        return
    _logging(session, "postgres")
    click.get_current_context().exit(postgres.serve(place, listen, port))


@click.command("serve-valkey")
@volume_option
@tls_option
@click.option(
    "--users", type=FOLDER, default=Path("/users"), metavar="DIR", show_default=True,
    help="Folder of the passwords: web, worker, scheduler, admin.",
)  # fmt: skip
@listen_option
@click.option("--port", type=click.IntRange(0, 65535), default=6379, show_default=True)
@check_option
@pass_session
def serve_valkey(
    session: Session, data: Path, tls: Path, users: Path, listen: str, port: int, check: bool
) -> None:
    """Run a Valkey for a trial, on a volume, with TLS only.

    Its users web, worker, scheduler and admin may each do what that process needs, no more.

    \b
    Example:
      mailhearth serve-valkey --data /data --tls /tls --users /users
    """
    from mailhearth_local.pods import valkey

    place = valkey.Place(data=data, tls=tls, users=users)
    if check:
        valkey.check(place, port)
        return
    _logging(session, "valkey")
    click.get_current_context().exit(valkey.serve(place, listen, port))


@click.command("redis-acl")
def redis_acl() -> None:
    """Print the users of a Redis or Valkey of your own, as lines of its ACL file.

    Put passwords (letters, digits, - and _) in place of PASSWORD, and load the lines with ACL LOAD,
    or give each to ACL SETUSER without its first word.

    \b
    Example:
      mailhearth redis-acl
    """
    from mailhearth_local.pods import valkey

    everything = ["~*", "&*", "+@all"]
    for name, rules in {**valkey.user_rules(), "admin": everything}.items():
        click.echo(" ".join(("user", name, "reset", "on", ">PASSWORD", *rules)))


IMAP_PORT, SMTP_PORT, SMTPS_PORT = 1993, 1025, 1465


@click.command("serve-sandbox")
@volume_option
@click.option(
    "--authority", type=FOLDER, default=Path("/authority"), metavar="DIR", show_default=True,
    help="Folder of the authority's tls.crt and tls.key, which certifies the mail servers.",
)  # fmt: skip
@click.option(
    "--seed", type=click.Path(dir_okay=False, path_type=Path), default=Path("/seed/seed"),
    metavar="FILE", show_default=True, help="What the mailboxes' passwords are made from.",
)  # fmt: skip
@click.option(
    "--service", default="", metavar="HOST", help="Name that leads workers here, for the zone."
)
@listen_option
@click.option("--imap-port", type=click.IntRange(0, 65535), default=IMAP_PORT, show_default=True)
@click.option("--smtp-port", type=click.IntRange(0, 65535), default=SMTP_PORT, show_default=True)
@click.option("--smtps-port", type=click.IntRange(0, 65535), default=SMTPS_PORT, show_default=True)
@check_option
@pass_session
def serve_sandbox(
    session: Session,
    data: Path,
    authority: Path,
    seed: Path,
    service: str,
    listen: str,
    imap_port: int,
    smtp_port: int,
    smtps_port: int,
    check: bool,
) -> None:
    """Run the mail sandbox: twelve mailboxes on harbour.test, meadow.test and summit.test.

    A mailbox's servers are imap.sandbox.test and smtp.sandbox.test, with TLS; its password is the
    SHA-256 of SEED:ADDRESS in hex. Workers find the servers by the zone that `mailhearth
    sandbox-zone` prints.

    \b
    Example:
      mailhearth serve-sandbox --data /data --service mailhearth-sandbox.mail.svc
    """
    from mailhearth_local.pods import sandbox
    from mailhearth_local.sandbox.server import Listening

    at = Listening(listen, service, imap=imap_port, smtp=smtp_port, smtps=smtps_port)
    if check:
        sandbox.check(at)
        return
    _logging(session, "sandbox")
    sandbox.serve(sandbox.Place(data=data, authority=authority, seed=seed), at)


@click.command("sandbox-zone")
@click.option(
    "--service", required=True, metavar="HOST", help="Name that leads to the sandbox's pod."
)
@click.option(
    "--smtp-port", type=click.IntRange(1, 65535), default=SMTP_PORT, show_default=True,
    help="Port of SMTP there.",
)  # fmt: skip
def sandbox_zone(service: str, smtp_port: int) -> None:
    """Print the sandbox's DNS zone as JSON, for the workers' MAILHEARTH_ZONE_FILE.

    \b
    Example:
      mailhearth sandbox-zone --service mailhearth-sandbox.mail.svc >zone.json
    """
    from mailhearth_local.cli.output import emit_json
    from mailhearth_local.sandbox.domains import DOMAINS
    from mailhearth_local.sandbox.zone import zone

    emit_json(zone(sorted(DOMAINS), smtp_port, service))
