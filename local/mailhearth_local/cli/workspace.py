"""`mailhearth workspace`."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import nullcontext
from typing import Any
from uuid import UUID

import click

from mailhearth_core.errors import Conflict, NotYet
from mailhearth_core.verbs import keys, pools, workspaces
from mailhearth_local.cli.options import common, data_option, json_option
from mailhearth_local.cli.output import emit_json, facts, short_time, table
from mailhearth_local.cli.people import member
from mailhearth_local.cli.progress import moving
from mailhearth_local.cli.session import Session, wait_for_wish
from mailhearth_local.services.attach import Attached

DELETE_SECONDS = 900.0
"""The mail may take ten minutes, the rows their time."""


@click.group()
@data_option
@json_option
def workspace() -> None:
    """Make, list, show and delete workspaces.

    A workspace is one customer: its mailboxes, pools and keys are seen by nobody else.
    """


workspace.add_command(member)


def _summary(row: dict[str, Any]) -> dict[str, Any]:
    return {
        "id": row["workspace_id"],
        "name": row["name"],
        "state": row["state"],
        "reason": row["state_reason"],
        "managed_by": row["managed_by"],
        "pools": row["pools"],
        "mailboxes": row["mailboxes"],
        "active_key": row["active_key"],
        "created_at": row["created_at"],
    }


@workspace.command()
@click.argument("name")
@common
def create(session: Session, name: str) -> None:
    """Make a workspace, its first key and its workers' database login.

    \b
    Example:
      mailhearth workspace create acme

    JSON keys: id, name, state, reason, managed_by, pools, mailboxes, active_key, created_at.
    """
    with session.attached() as attached:
        workspace_id = workspaces.create(attached.cli, name, session.actor)
        with attached.door.tenant_tx(workspace_id) as conn:
            command = conn.execute(
                "SELECT id FROM commands WHERE kind = 'workspace.provision'"
            ).fetchone()
        assert command is not None  # written in the same transaction as the workspace
        wait_for_wish(attached, workspace_id, command["id"])
        row = workspaces.find(attached.cli, name)
    if session.json:
        emit_json(_summary(row))
    else:
        click.echo(f"Workspace {name} is {row['state']}.")
        click.echo(f"Next: mailhearth pool create main --workspace {name}")


@workspace.command("list")
@common
def list_(session: Session) -> None:
    """List all workspaces.

    \b
    Example:
      mailhearth workspace list --json

    JSON: a list; keys as of `workspace create`.
    """
    with session.attached() as attached:
        rows = [_summary(row) for row in workspaces.listing(attached.cli)]
    if session.json:
        emit_json(rows)
        return
    table(
        ("name", "state", "pools", "mailboxes", "key", "created", "reason"),
        [
            (r["name"], r["state"], r["pools"], r["mailboxes"], r["active_key"],
             short_time(r["created_at"]), r["reason"])
            for r in rows
        ],
        empty="There is no workspace yet. Make one: mailhearth workspace create NAME",
    )  # fmt: skip


@workspace.command()
@click.argument("name")
@common
def show(session: Session, name: str) -> None:
    """Show one workspace: its state, pools and keys. NAME may be its id.

    \b
    Example:
      mailhearth workspace show acme

    JSON keys: those of `workspace list`, with `pools` as a list of {name, peering_scope, mailboxes}
    and `keys` as a list of {version, state, seals}.
    """
    with session.attached() as attached:
        row = workspaces.find(attached.cli, name)
        held = keys.listing(attached.door, row["workspace_id"])
        found = pools.listing(attached.door, row["workspace_id"])
    shown = _summary(row) | {
        "pools": [{k: pool[k] for k in ("name", "peering_scope", "mailboxes")} for pool in found],
        "keys": [{k: key[k] for k in ("version", "state", "seals")} for key in held],
    }
    if session.json:
        emit_json(shown)
        return
    facts(
        [
            ("name", row["name"]),
            ("id", row["workspace_id"]),
            ("state", row["state"]),
            ("reason", row["state_reason"] or None),
            ("created", short_time(row["created_at"])),
            ("mailboxes", row["mailboxes"]),
            ("pools", ", ".join(f"{p['name']} ({p['mailboxes']})" for p in found) or "none yet"),
            ("keys", ", ".join(f"{k['version']} {k['state']}" for k in held) or "none yet"),
        ]
    )


@workspace.command()
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask for the name again.")
@common
def delete(session: Session, name: str, yes: bool) -> None:
    """Delete a workspace with its mailboxes, its statistics and its keys, for good.

    Work stops at once. Then its warmup mail is taken out of the mailboxes that can still be signed
    in to (for ten minutes at most; what cannot be reached stays there), and then the rows and the
    keys go. The name is asked for again, also from a pipe; --yes leaves that out.

    \b
    Examples:
      mailhearth workspace delete acme
      mailhearth workspace delete acme --yes

    JSON keys: name, id, deleted.
    """
    with session.attached() as attached:
        row = workspaces.find(attached.cli, name)
        if not yes:
            _ask_name(row)
        workspaces.begin_deletion(attached.cli, row["workspace_id"], session.actor)
        with nullcontext() if session.quiet else moving(f"Deleting {row['name']}"):
            if not attached.running:
                _purge(attached, row["workspace_id"])
            _await_gone(attached, row["workspace_id"])
    if session.json:
        emit_json({"name": row["name"], "id": row["workspace_id"], "deleted": True})
    else:
        click.echo(f"Workspace {row['name']} is deleted, its keys too.")


def _ask_name(row: dict[str, Any]) -> None:
    text = f"This deletes {row['mailboxes']} mailboxes and the keys of {row['name']} for good."
    click.echo(text, err=True)
    if sys.stdin.isatty():
        answer = str(click.prompt("Type the workspace's name to go on", err=True))
    else:
        answer = sys.stdin.readline().strip()
    if answer not in (row["name"], str(row["workspace_id"])):
        raise Conflict(
            f"Nothing was deleted: {answer!r} is not the workspace's name.",
            hint=f"Type {row['name']}, or use --yes.",
            code="not_confirmed",
        )


def _purge(attached: Attached, workspace_id: UUID) -> None:
    """No worker runs here: one of this command's own takes the mail out of the mailboxes."""
    with attached.door.tenant_tx(workspace_id) as conn:
        waiting = conn.execute("SELECT 1 FROM action WHERE kind = 'purge' LIMIT 1").fetchone()
    if waiting is None:
        return
    path = attached.stack.data / "log" / "worker-purge.log"
    with path.open("ab") as output:
        path.chmod(0o600)
        subprocess.run(  # noqa: S603 - our own words, no shell
            [sys.executable, "-m", "mailhearth_worker", "--purge", str(workspace_id)],
            env=attached.worker_environment(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            check=False,  # what it could not do is waited for, then given up
        )


def _await_gone(attached: Attached, workspace_id: UUID) -> None:
    end = time.monotonic() + DELETE_SECONDS
    while True:
        if attached.reconcile is not None:
            attached.reconcile()
        rows = workspaces.listing(attached.cli)
        if all(row["workspace_id"] != workspace_id for row in rows):
            return
        if time.monotonic() > end:
            raise NotYet(
                "The deletion has begun, but it takes long.",
                hint="It goes on by itself while `mailhearth up` runs.",
            )
        time.sleep(0.1)
