"""`mailhearth admin`, `mailhearth sign-in` and `mailhearth workspace member`."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import click

from mailhearth_core.access import Role
from mailhearth_core.errors import Conflict
from mailhearth_core.verbs import admins, members, people
from mailhearth_local.cli.options import common, data_option, json_option, workspace_option
from mailhearth_local.cli.output import emit_json, short_time, table, time_text
from mailhearth_local.cli.session import Session, workspace_of
from mailhearth_local.services.attach import Attached
from mailhearth_local.services.sign_in import dashboard_url, make_link

issuer_option = click.option(
    "--issuer", metavar="URL", help="With --subject: the person whom this issuer vouches for."
)
subject_option = click.option("--subject", metavar="SUB", help="The issuer's own name for them.")


def named_person(command: Callable[..., Any]) -> Callable[..., Any]:
    """Adds PERSON and its alternatives."""
    return click.argument("person", required=False)(issuer_option(subject_option(command)))


def _found(
    attached: Attached, person: str | None, issuer: str | None, subject: str | None
) -> dict[str, Any]:
    if bool(issuer) != bool(subject) or bool(person) == bool(issuer):
        raise click.UsageError("Name a person: PERSON, or --issuer with --subject.")
    return people.lookup(attached.cli, person or "", issuer=issuer, subject=subject)


def _called(row: dict[str, Any]) -> str:
    return str(row["email"] or row["id"])


@click.group()
@data_option
@json_option
def admin() -> None:
    """Make, unmake and list administrators of this installation.

    An administrator sees the whole installation's pages in the dashboard; it makes them no member
    of any workspace. Only this command makes one.
    """


@admin.command()
@named_person
@common
def grant(session: Session, person: str | None, issuer: str | None, subject: str | None) -> None:
    """Make a person an administrator, from their next click on.

    PERSON is an e-mail address or an id. An address that several people have is refused, and they
    are listed: name one by id then.

    \b
    Examples:
      mailhearth admin grant ann@example.com
      mailhearth admin grant --issuer https://login.example.com --subject 248289761001

    JSON keys: id, email, changed.
    """
    _change(session, person, issuer, subject, is_admin=True)


@admin.command()
@named_person
@common
def revoke(session: Session, person: str | None, issuer: str | None, subject: str | None) -> None:
    """Take it from them, from their next click on.

    \b
    Example:
      mailhearth admin revoke ann@example.com

    JSON keys: id, email, changed.
    """
    _change(session, person, issuer, subject, is_admin=False)


def _change(
    session: Session,
    person: str | None,
    issuer: str | None,
    subject: str | None,
    *,
    is_admin: bool,
) -> None:
    with session.attached() as attached:
        found = _found(attached, person, issuer, subject)
        change = admins.grant if is_admin else admins.revoke
        changed = change(attached.cli, found["id"], session.actor)
    if session.json:
        emit_json({"id": found["id"], "email": found["email"], "changed": changed})
        return
    state = "an administrator" if is_admin else "no administrator"
    click.echo(f"{_called(found)} is {state}{'' if changed else ' already'}.")


@admin.command("list")
@common
def list_(session: Session) -> None:
    """List the administrators.

    \b
    Example:
      mailhearth admin list

    JSON: a list of {id, email, name, granted_by, granted_at}.
    """
    with session.attached() as attached:
        rows = admins.listing(attached.cli)
    if session.json:
        emit_json([vars(row) for row in rows])
        return
    table(
        ("person", "name", "since", "made by", "id"),
        [(r.email, r.name, short_time(r.granted_at), r.granted_by, r.id) for r in rows],
        empty="There is none. Make one: mailhearth admin grant PERSON",
    )


@click.group("sign-in")
@data_option
@json_option
def sign_in() -> None:
    """The local sign-in of one machine."""


@sign_in.command()
@click.option("--person", metavar="PERSON", help="An address or an id.  [default: the owner]")
@common
def link(session: Session, person: str | None) -> None:
    """Make a link that opens the dashboard, signed in, once and within 15 minutes.

    Without --person it is for the owner of this machine's installation, who administers it and
    owns the workspaces that nobody owns. Refused where OpenID providers are configured
    (MAILHEARTH_OIDC_PROVIDERS) or MAILHEARTH_PUBLIC_URL is not on this machine.

    \b
    Example:
      mailhearth sign-in link

    JSON keys: url, person_id, expires_at.
    """
    url = dashboard_url(session.environ)
    with session.attached() as attached:
        if attached.dashboard is not None:
            if not attached.dashboard.allows_links:
                raise Conflict(
                    "The `mailhearth up` that runs here does not take one-time links.",
                    hint="Sign in with a provider.",
                    code="local_sign_in_refused",
                )
            url = attached.dashboard.url
        who = people.lookup(attached.cli, person)["id"] if person else None
        made = make_link(attached.cli, url, session.actor, person_id=who)
    if session.json:
        emit_json(
            {
                "url": made.url.reveal(),
                "person_id": made.person_id,
                "expires_at": time_text(made.expires_at),
            }
        )
        return
    click.echo(made.url.reveal())


@click.command()
@click.argument("person")
@workspace_option
@click.option(
    "--role",
    type=click.Choice([role.value for role in Role]),
    default=Role.OWNER.value,
    show_default=True,
)
@common
def member(session: Session, person: str, workspace: str | None, role: str) -> None:
    """Put a person into a workspace, or give them another role there.

    PERSON is the address or the id of somebody who has signed in. The last owner keeps their role.

    \b
    Example:
      mailhearth workspace member ann@example.com --workspace acme --role owner

    JSON keys: workspace_id, person_id, role.
    """
    with session.attached() as attached:
        row = workspace_of(attached, workspace)
        found = people.lookup(attached.cli, person)
        members.put(
            attached.cli,
            row["workspace_id"],
            found["id"],
            Role(role),
            session.actor,
            now=datetime.now(UTC),
        )
    if session.json:
        emit_json({"workspace_id": row["workspace_id"], "person_id": found["id"], "role": role})
    else:
        click.echo(f"{_called(found)} is {role} of {row['name']}.")
