"""`mailhearth keys`."""

from __future__ import annotations

import sys
from typing import Any

import click

from mailhearth_core.errors import Conflict
from mailhearth_core.verbs import keys as verbs
from mailhearth_local.cli.options import common, data_option, json_option, workspace_option
from mailhearth_local.cli.output import emit_json, short_time, table, visible
from mailhearth_local.cli.saved_keys import backup, restore
from mailhearth_local.cli.session import Session, wait_for_wish, workspace_of


@click.group()
@data_option
@json_option
def keys() -> None:
    """The keys that seal mailbox passwords.

    Each workspace has its own, in versions. Private keys are files below DIR/keys, in a cluster
    Secrets, apart from the database. Without them no stored password can be opened, so save them:
    `mailhearth keys backup`.
    """


keys.add_command(backup)
keys.add_command(restore)


@keys.command("list")
@workspace_option
@common
def list_(session: Session, workspace: str | None) -> None:
    """List a workspace's key versions and how many credentials each seals.

    \b
    Example:
      mailhearth keys list --workspace acme

    JSON: a list of {version, state, fingerprint, seals, created_at, state_since}; states are
    pending, active, retiring, archived, destroyed.
    """
    with session.attached() as attached:
        owner = workspace_of(attached, workspace)
        rows = verbs.listing(attached.door, owner["workspace_id"])
    if session.json:
        emit_json(rows)
        return
    table(
        ("version", "state", "seals", "since", "fingerprint"),
        [
            (r["version"], r["state"], r["seals"], short_time(r["state_since"]),
             r["fingerprint"][:16])
            for r in rows
        ],
        empty="No key yet; it is made when the workspace is provisioned.",
    )  # fmt: skip


@keys.command()
@workspace_option
@common
def rotate(session: Session, workspace: str | None) -> None:
    """Make a new key version; stored passwords are then sealed anew to it by the workers.

    The old version is archived when it seals nothing any more. It is kept, because backups of the
    database may still need it.

    \b
    Example:
      mailhearth keys rotate --workspace acme

    JSON keys: workspace, active_key, outcome.
    """
    with session.attached() as attached:
        owner = workspace_of(attached, workspace)
        wish = verbs.rotate(attached.door, owner["workspace_id"], session.actor)
        outcome = wait_for_wish(attached, owner["workspace_id"], wish)
        rows = verbs.listing(attached.door, owner["workspace_id"])
        waits = sum(r["seals"] for r in rows if r["state"] == "retiring")
    active = next((r["version"] for r in rows if r["state"] == "active"), None)
    if session.json:
        emit_json({"workspace": owner["name"], "active_key": active, "outcome": outcome})
        return
    click.echo(f"Workspace {owner['name']}: {outcome}.")
    if waits and not attached.running:
        click.echo(f"{waits} credentials wait for a worker: start `mailhearth up`.")


@keys.command()
@click.argument("version", type=click.IntRange(min=1))
@click.option("--yes", is_flag=True, help="Do not ask.")
@workspace_option
@common
def destroy(session: Session, version: int, yes: bool, workspace: str | None) -> None:
    """Destroy an archived key VERSION for good: what it sealed, in backups too, is lost.

    \b
    Example:
      mailhearth keys destroy 1 --workspace acme

    JSON keys: workspace, version, outcome.
    """
    with session.attached() as attached:
        owner = workspace_of(attached, workspace)
        if not yes:
            _ask(owner["name"], version)
        wish = verbs.destroy(attached.door, owner["workspace_id"], version, session.actor)
        outcome = wait_for_wish(attached, owner["workspace_id"], wish)
    if session.json:
        emit_json({"workspace": owner["name"], "version": version, "outcome": outcome})
    else:
        click.echo(f"Workspace {owner['name']}: {outcome}.")


@keys.command()
@click.option("--version", type=click.IntRange(min=1), required=True, metavar="N",
              help="The version whose private key is lost.")  # fmt: skip
@click.option("--yes", metavar="NAME", help="The workspace's name, instead of typing it.")
@workspace_option
@common
def abandon(session: Session, version: int, yes: str | None, workspace: str | None) -> None:
    """Give up a key version whose private key is lost for good.

    First it says what is lost. Then the credentials that were sealed to it are deleted, and their
    mailboxes wait until they are connected again (those that a Secret in the cluster declares are
    sealed anew from it). If it was the active version, a new one is made. A key that is there is
    not given up: `mailhearth keys rotate` replaces it without a loss. Look for a backup first:
    `mailhearth keys restore`.

    \b
    Examples:
      mailhearth keys abandon --workspace acme --version 1
      mailhearth keys abandon --workspace acme --version 1 --yes acme

    JSON keys: workspace, version, credentials, mailboxes (a list of {address, declared_by}),
    outcome.
    """
    with session.attached() as attached:
        owner = workspace_of(attached, workspace)
        lost = verbs.losses(attached.door, owner["workspace_id"], version)
        if lost["state"] == "destroyed" and not lost["seals"]:
            raise Conflict(f"Key version {version} is destroyed already; nothing is sealed to it.")
        _tell_losses(owner["name"], version, lost)
        _confirm(owner, yes)
        wish = verbs.abandon(attached.door, owner["workspace_id"], version, session.actor)
        outcome = wait_for_wish(attached, owner["workspace_id"], wish)
    if session.json:
        emit_json(
            {
                "workspace": owner["name"],
                "version": version,
                "credentials": lost["seals"],
                "mailboxes": lost["mailboxes"],
                "outcome": outcome,
            }
        )
        return
    click.echo(f"Workspace {owner['name']}: {outcome}.")
    if any(box["declared_by"] is None for box in lost["mailboxes"]):
        click.echo("Connect each again: mailhearth mailbox test ADDRESS --password-stdin --save")


def _tell_losses(name: str, version: int, lost: dict[str, Any]) -> None:
    boxes = lost["mailboxes"]
    text = f"With key version {version} ({lost['state']}) of {name} go {lost['seals']} credentials"
    click.echo(f"{text} of {len(boxes)} mailboxes{':' if boxes else '.'}", err=True)
    for box in boxes:
        secret = box["declared_by"]
        again = f" (sealed anew from the Secret {secret})" if secret else ""
        click.echo(f"  {visible(box['address'])}{again}", err=True)


def _confirm(owner: dict[str, Any], given: str | None) -> None:
    if given is not None:
        answer = given
    elif sys.stdin.isatty():
        answer = str(click.prompt("Type the workspace's name to go on", err=True))
    else:
        answer = sys.stdin.readline().strip()
    if answer not in (owner["name"], str(owner["workspace_id"])):
        raise Conflict(
            f"Nothing was given up: {answer!r} is not the workspace's name.",
            hint=f"Type {owner['name']}, or use --yes {owner['name']}.",
            code="not_confirmed",
        )


def _ask(name: str, version: int) -> None:
    if not sys.stdin.isatty() or not click.confirm(
        f"Destroy key version {version} of {name} for good?", err=True
    ):
        raise Conflict("Nothing was destroyed.", hint="Confirm with --yes.", code="not_confirmed")
