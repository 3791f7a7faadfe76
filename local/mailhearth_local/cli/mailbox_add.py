"""`mailhearth mailbox add` and `import`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from mailhearth_core.errors import InvalidValue, MailhearthError
from mailhearth_core.oauth.addresses import TOKEN_ENDPOINTS
from mailhearth_core.oauth.model import OWNERS
from mailhearth_core.verbs import mailboxes, pools
from mailhearth_core.verbs.mailbox_spec import CsvRow, MailboxSpec, parse_spec, read_rows
from mailhearth_core.verbs.oauth import parse_grant
from mailhearth_core.verbs.wishes import Actor
from mailhearth_local.cli.located import shown
from mailhearth_local.cli.options import common, workspace_option
from mailhearth_local.cli.output import emit_json, table
from mailhearth_local.cli.password import read_password, read_refresh_token, stdin_option
from mailhearth_local.cli.progress import counting
from mailhearth_local.cli.session import Session, workspace_of
from mailhearth_local.services.attach import Attached


@dataclass(frozen=True)
class Place:
    """Where a mailbox goes."""

    workspace_id: UUID
    workspace: str
    pool_id: UUID
    pool: str


def place(attached: Attached, workspace: str | None, pool: str | None) -> Place:
    """The pool named, or the only one; its workspace likewise.

    Raises:
        NotFound, Conflict: it does not exist, or it is not clear which one.
    """
    owner = workspace_of(attached, workspace)
    workspace_id = owner["workspace_id"]
    rows = pools.listing(attached.door, workspace_id)
    if pool is None and len(rows) == 1:
        pool = rows[0]["name"]
    if pool is None and rows:
        names = ", ".join(row["name"] for row in rows)
        raise InvalidValue("pool", "", f"one of {names}; name it with --pool")
    found = pools.find(attached.door, workspace_id, pool or "")
    return Place(workspace_id, owner["name"], found["id"], found["name"])


def place_options(command: Any) -> Any:
    """--workspace and --pool."""
    pool = click.option(
        "--pool", "-p", metavar="NAME", help="May be left out when there is only one."
    )
    return workspace_option(pool(command))


@click.command()
@place_options
@click.option("--address", required=True, help="The e-mail address.")
@click.option("--imap", metavar="HOST:PORT", help="Where its mail is read.")
@click.option("--smtp", metavar="HOST:PORT", help="Where its mail is sent.")
@click.option(
    "--provider",
    metavar="gmail|outlook",
    help="Sign in by the owner's consent (OAuth) instead of a password; the servers are known.",
)
@click.option(
    "--refresh-token-stdin", is_flag=True, help="With --provider: its refresh token, one line."
)
@click.option(
    "--client-id",
    metavar="ID",
    help="With --provider: of the OAuth client that the consent was given to; by default "
    "MAILHEARTH_GOOGLE_CLIENT_ID or MAILHEARTH_MICROSOFT_CLIENT_ID.",
)
@click.option(
    "--again", is_flag=True, help="With --provider: a new consent for a mailbox that is there."
)
@click.option(
    "--tls",
    metavar="implicit|starttls|none",
    help="Of both servers; by default implicit on ports 993 and 465, else starttls. none is for "
    "servers on this machine only.",
)
@click.option("--ca", metavar="FILE", help="PEM file of the CA to trust instead of the system's.")
@click.option("--username", help="To sign in with; by default the address.")
@stdin_option
@click.option("--name", help="The person's name, as mails show it.")
@click.option("--timezone", metavar="ZONE", help="IANA zone of its working day; default UTC.")
@click.option(
    "--consent",
    is_flag=True,
    help="Its owner agrees to warmup within the workspace; goes on record.",
)
@click.option("--network", is_flag=True, help="And to peers in other workspaces.")
@common
def add(
    session: Session,
    workspace: str | None,
    pool: str | None,
    provider: str | None,
    refresh_token_stdin: bool,
    client_id: str | None,
    again: bool,
    password_stdin: bool,
    consent: bool,
    network: bool,
    **values: str | None,
) -> None:
    """Connect a mailbox on any IMAP and SMTP server, or Google's or Microsoft's by OAuth.

    The password is sealed at once to the workspace's key, for these two servers only; it is asked
    for, or read from stdin. Without consent the mailbox is stored, but nobody signs in to it.

    With --provider a refresh token takes its place; it is sealed for the provider's token endpoint
    and the OAuth client it was given to (see docs/providers.md). The workers need that client.

    \b
    Examples:
      pass show mail/ann | mailhearth mailbox add --workspace acme --pool sales \\
          --address ann@example.com --imap imap.example.com:993 \\
          --smtp smtp.example.com:587 --username ann@example.com \\
          --timezone Europe/Berlin --password-stdin --consent
      pass show token/bob | mailhearth mailbox add --provider gmail --address bob@example.com \\
          --refresh-token-stdin --client-id 123.apps.googleusercontent.com --consent

    JSON keys: those of `mailbox show`.
    """
    values["consent"] = "network" if network else "workspace" if consent else "none"
    _check_words(provider, values, refresh_token_stdin, password_stdin, client_id, again)
    if provider:
        spec = _by_consent(session, provider, client_id, values)
    else:
        spec = parse_spec(
            values,
            read_password(password_stdin),
            allow_app_passwords=session.allow_app_passwords,
        )
    with session.attached() as attached:
        where = place(attached, workspace, pool)
        if again:
            _, row = mailboxes.locate(attached.cli, spec.address, where.workspace_id)
            mailboxes.reconnect(attached.door, where.workspace_id, row, spec, session.actor)
            mailbox_id = row["id"]
        else:
            mailbox_id = mailboxes.add(
                attached.door, where.workspace_id, where.pool_id, spec, session.actor
            )
        _, row = mailboxes.locate(attached.cli, str(mailbox_id), where.workspace_id)
    if session.json:
        emit_json(shown(row, where.workspace))
        return
    if again:
        click.echo(f"Connected {spec.address} again.")
        return
    click.echo(f"Added {spec.address} to {where.workspace}/{where.pool}.")
    if spec.consent == "none":
        click.echo(f"It stays off until: mailhearth mailbox consent {spec.address}")
    else:
        click.echo(f"Try it: mailhearth mailbox test {spec.address}")


def _check_words(
    provider: str | None,
    values: dict[str, str | None],
    refresh_token_stdin: bool,
    password_stdin: bool,
    client_id: str | None,
    again: bool,
) -> None:
    """Which options belong together."""
    if provider is None:
        if refresh_token_stdin or client_id or again:
            raise click.UsageError("This needs --provider gmail or --provider outlook.")
        for option in ("imap", "smtp"):
            if not values[option]:
                raise click.UsageError(f"Missing option '--{option}'.")
    elif password_stdin or not refresh_token_stdin:
        raise click.UsageError("--provider needs --refresh-token-stdin, and takes no password.")


def _by_consent(
    session: Session, provider: str, client_id: str | None, values: dict[str, str | None]
) -> MailboxSpec:
    owner, usual = OWNERS.get(provider, "").upper(), TOKEN_ENDPOINTS.get(provider, "")
    environ = session.environ
    return parse_grant(
        provider,
        values,
        read_refresh_token(),
        token_endpoint=environ.get(f"MAILHEARTH_{owner}_TOKEN_ENDPOINT") or usual,
        client_id=client_id or environ.get(f"MAILHEARTH_{owner}_CLIENT_ID") or "",
    )


@click.command("import")
@click.argument("file", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@place_options
@click.option("--consent", is_flag=True, help="For rows whose column `consent` is absent or empty.")
@common
def import_(
    session: Session,
    file: Path,
    workspace: str | None,
    pool: str | None,
    consent: bool,
) -> int:
    """Connect many mailboxes from a CSV file, row by row.

    The header names the columns: address, imap, smtp, username, password; and if wanted tls, ca,
    name, timezone, consent (no, yes, workspace or network), workspace, pool. A row is added whole
    or not at all; the report names each row by its line in FILE. Rows that were added stay when
    others are refused: mend those and import them again. The exit code is 1 if any was refused.

    \b
    Example:
      mailhearth mailbox import team.csv --workspace acme --pool sales --consent

    JSON keys: added, refused (numbers), rows: a list of {row, address, added, code, message, hint}.
    """
    rows = _read(file, "workspace" if consent else "none", session.allow_app_passwords)
    with session.attached() as attached:
        places: dict[tuple[str | None, str | None], Place] = {}
        report = []
        with counting("Adding mailboxes", len(rows), quiet=session.quiet) as advance:
            for row in rows:
                key = (row.workspace or workspace, row.pool or pool)
                report.append(_take(attached, row, key, places, session.actor))
                advance()
    refused = sum(not line["added"] for line in report)
    if session.json:
        emit_json({"added": len(report) - refused, "refused": refused, "rows": report})
    else:
        table(
            ("row", "address", "result"),
            [
                (line["row"], line["address"],
                 "added" if line["added"] else f"refused: {line['message']} {line['hint']}".strip())
                for line in report
            ],
            empty="The file has no rows.",
        )  # fmt: skip
        click.echo(f"{len(report) - refused} added, {refused} refused.")
    return 1 if refused else 0


def _read(file: Path, consent: str, allow_app_passwords: bool) -> list[CsvRow]:
    """All rows; the header is checked before anything is added."""
    try:
        with file.open(encoding="utf-8-sig", newline="") as lines:
            return list(read_rows(lines, consent=consent, allow_app_passwords=allow_app_passwords))
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise InvalidValue(
            "file", str(file), f"a readable CSV file of UTF-8 text ({reason})"
        ) from None


def _take(
    attached: Attached,
    row: CsvRow,
    key: tuple[str | None, str | None],
    places: dict[tuple[str | None, str | None], Place],
    actor: Actor,
) -> dict[str, Any]:
    line = {"row": row.number, "address": row.address, "added": True}
    try:
        if key not in places:
            places[key] = place(attached, *key)
        _add_row(attached, places[key], row.spec, row.error, actor)
    except MailhearthError as error:
        return line | {
            "added": False,
            "code": error.code,
            "message": error.message,
            "hint": error.hint,
        }
    return line | {"code": "", "message": "", "hint": ""}


def _add_row(
    attached: Attached,
    where: Place,
    spec: MailboxSpec | None,
    error: MailhearthError | None,
    actor: Actor,
) -> None:
    if error is not None:
        raise error
    assert spec is not None
    mailboxes.add(attached.door, where.workspace_id, where.pool_id, spec, actor)
