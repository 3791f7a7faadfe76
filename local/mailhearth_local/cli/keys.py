"""`mailhearth keys`."""

from __future__ import annotations

import sys

import click

from mailhearth_core.errors import Conflict
from mailhearth_core.verbs import keys as verbs
from mailhearth_local.cli.options import common, data_option, json_option, workspace_option
from mailhearth_local.cli.output import emit_json, short_time, table
from mailhearth_local.cli.session import Session, wait_for_wish, workspace_of


@click.group()
@data_option
@json_option
def keys() -> None:
    """The keys that seal mailbox passwords.

    Each workspace has its own, in versions. Private keys are files below DIR/keys, apart from the
    database; without them no stored password can be opened, so keep a backup of that folder.
    """


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


def _ask(name: str, version: int) -> None:
    if not sys.stdin.isatty() or not click.confirm(
        f"Destroy key version {version} of {name} for good?", err=True
    ):
        raise Conflict("Nothing was destroyed.", hint="Confirm with --yes.", code="not_confirmed")
