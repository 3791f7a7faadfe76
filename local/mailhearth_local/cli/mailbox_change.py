"""`mailhearth mailbox pause`, `resume`, `remove`, `consent`."""

from __future__ import annotations

import sys

import click

from mailhearth_core.errors import Conflict
from mailhearth_core.verbs import mailboxes
from mailhearth_local.cli.located import address_argument, locate, workspace_option
from mailhearth_local.cli.options import common
from mailhearth_local.cli.output import emit_json
from mailhearth_local.cli.session import Session

CONSENT_TEXT = {
    "none": "Consent of {} is withdrawn: nobody signs in to it and nobody writes to it.",
    "workspace": "{} has consent to warmup within its workspace.",
    "network": "{} has consent to warmup with peers in other workspaces too.",
}


def _set_state(
    session: Session, address: str, workspace: str | None, state: str, text: str
) -> None:
    with session.attached() as attached:
        workspace_id, row = locate(attached, address, workspace)
        changed = row["state"] != state or (state == "active" and row["phase"] == "blocked")
        if changed:
            mailboxes.set_state(attached.door, workspace_id, row, state, session.actor)
    if session.json:
        emit_json({"address": row["address"], "state": state, "changed": changed})
    elif changed:
        click.echo(text.format(row["address"]))
    else:
        click.echo(f"{row['address']} is {state} already.")


@click.command()
@address_argument
@workspace_option
@common
def pause(session: Session, address: str, workspace: str | None) -> None:
    """Send nothing new; mail on its way is still followed.

    \b
    Example:
      mailhearth mailbox pause ann@example.com

    JSON keys: address, state, changed.
    """
    _set_state(session, address, workspace, "paused", "{} is paused.")


@click.command()
@address_argument
@workspace_option
@common
def resume(session: Session, address: str, workspace: str | None) -> None:
    """Take up a paused or refused mailbox again.

    Failed sign-ins are forgotten, and the stored password is tried anew. For a blocked mailbox this
    is the review: it sends again, on probation, once the days of its block are over. Where the
    password has changed, use `mailbox test ADDRESS --password-stdin --save` instead.

    \b
    Example:
      mailhearth mailbox resume ann@example.com

    JSON keys: address, state, changed.
    """
    _set_state(session, address, workspace, "active", "{} is active again.")


@click.command()
@address_argument
@workspace_option
@click.option("--yes", is_flag=True, help="Do not ask.")
@common
def remove(session: Session, address: str, workspace: str | None, yes: bool) -> None:
    """Take a mailbox out and delete its password.

    At a terminal it asks first. Mail in the mailbox stays where it is.

    \b
    Example:
      mailhearth mailbox remove ann@example.com

    JSON keys: address, id, removed.
    """
    with session.attached() as attached:
        workspace_id, row = locate(attached, address, workspace)
        question = f"Take {row['address']} out and delete its password?"
        if sys.stdin.isatty() and not yes and not click.confirm(question, err=True):
            raise Conflict("Nothing was removed.", hint="Confirm with --yes.", code="not_confirmed")
        mailboxes.remove(attached.door, workspace_id, row, session.actor)
    if session.json:
        emit_json({"address": row["address"], "id": row["id"], "removed": True})
    else:
        click.echo(f"{row['address']} is removed; its password is deleted.")


@click.command()
@address_argument
@workspace_option
@click.option("--network", is_flag=True, help="Agree to peers in other workspaces too.")
@click.option(
    "--withdraw", is_flag=True, help="Withdraw all consent; the mailbox goes off at once."
)
@common
def consent(
    session: Session, address: str, workspace: str | None, network: bool, withdraw: bool
) -> None:
    """Give or withdraw consent to warmup.

    Without an option: consent within the workspace. Who gave it and when goes on record.

    \b
    Examples:
      mailhearth mailbox consent ann@example.com
      mailhearth mailbox consent ann@example.com --network
      mailhearth mailbox consent ann@example.com --withdraw

    JSON keys: address, consent (none, workspace or network).
    """
    if network and withdraw:
        raise click.UsageError("--network and --withdraw contradict each other; give one of them.")
    scope = "none" if withdraw else "network" if network else "workspace"
    with session.attached() as attached:
        workspace_id, row = locate(attached, address, workspace)
        mailboxes.consent(attached.door, workspace_id, row, scope, session.actor)
    if session.json:
        emit_json({"address": row["address"], "consent": scope})
    else:
        click.echo(CONSENT_TEXT[scope].format(row["address"]))
