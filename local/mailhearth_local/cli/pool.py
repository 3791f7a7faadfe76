"""`mailhearth pool`."""

from __future__ import annotations

import textwrap
from typing import Any

import click

from mailhearth_core.verbs import capacity, pools
from mailhearth_core.verbs.capacity import Shortage
from mailhearth_core.warmup.policy import Policy
from mailhearth_local.cli.options import (
    common,
    data_option,
    json_option,
    key_values,
    workspace_option,
)
from mailhearth_local.cli.output import emit_json, facts, table
from mailhearth_local.cli.session import Session, wait_for_wish, workspace_of
from mailhearth_local.services.attach import Attached


class PolicyCommand(click.Command):
    """A command whose help lists every policy field with its bounds."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Keys"):
            scope = "pool, workspace, network; who writes to whom; default pool"
            formatter.write_dl([(pools.SCOPE_KEY, scope)])
            formatter.write_dl(
                [
                    (row.name, f"{row.allowed}; default {row.default}. {row.reason}")
                    for row in Policy.describe()
                ]
            )


changes_argument = click.argument(
    "changes", metavar="[KEY=VALUE]...", nargs=-1, callback=key_values
)


@click.group()
@data_option
@json_option
def pool() -> None:
    """Make, list, show and change pools of mailboxes.

    A pool's mailboxes follow one policy, and by default write to each other only.
    """


def _summary(row: dict[str, Any], workspace: str, shortage: Shortage | None) -> dict[str, Any]:
    return {
        "id": row["id"],
        "workspace": workspace,
        "name": row["name"],
        "peering_scope": row["peering_scope"],
        "worker_group": row["worker_group"],
        "generation": row["generation"],
        "managed_by": row["managed_by"],
        "mailboxes": row["mailboxes"],
        "policy": row["policy"],
        "shortage": shortage.to_json() if shortage else None,
    }


def _look(attached: Attached, workspace: dict[str, Any], name: str) -> dict[str, Any]:
    """A pool as `pool show` tells it."""
    row = pools.find(attached.door, workspace["workspace_id"], name)
    short = capacity.shortages(capacity.pool_sizes(attached.cli))
    return _summary(row, workspace["name"], short.get((workspace["workspace_id"], row["id"])))


def _tell(shown: dict[str, Any]) -> None:
    if shown["shortage"]:
        s = shown["shortage"]
        click.echo(f"Note: {Shortage(s['volume'], s['available'], s['needed']).text}.")
        click.echo("Mailboxes send fewer until then; add some, or lower cap.")


@pool.command(cls=PolicyCommand)
@click.argument("name")
@changes_argument
@workspace_option
@common
def create(session: Session, name: str, changes: dict[str, str], workspace: str | None) -> None:
    """Make a pool; KEY=VALUE sets its policy as `pool set` does.

    \b
    Examples:
      mailhearth pool create sales --workspace acme
      mailhearth pool create slow --workspace acme mode=conservative weekdays=mon-sat

    JSON keys: those of `pool show`.
    """
    with session.attached() as attached:
        owner = workspace_of(attached, workspace)
        wish = pools.create(
            attached.door,
            owner["workspace_id"],
            name,
            changes,
            session.actor,
            sandbox=attached.sandbox,
        )
        wait_for_wish(attached, owner["workspace_id"], wish)
        shown = _look(attached, owner, name)
    if session.json:
        emit_json(shown)
        return
    click.echo(f"Pool {name} is there, with the policy {shown['policy']['mode']}.")
    _tell(shown)


@pool.command("list")
@workspace_option
@common
def list_(session: Session, workspace: str | None) -> None:
    """List a workspace's pools.

    \b
    Example:
      mailhearth pool list --workspace acme

    JSON: a list; keys as of `pool show`.
    """
    with session.attached() as attached:
        owner = workspace_of(attached, workspace)
        short = capacity.shortages(capacity.pool_sizes(attached.cli))
        rows = [
            _summary(row, owner["name"], short.get((owner["workspace_id"], row["id"])))
            for row in pools.listing(attached.door, owner["workspace_id"])
        ]
    if session.json:
        emit_json(rows)
        return
    table(
        ("name", "mailboxes", "lacking", "mode", "start", "step", "cap", "scope", "managed by"),
        [
            (r["name"], r["mailboxes"], (r["shortage"] or {}).get("lacking", 0),
             *(r["policy"][k] for k in ("mode", "start_volume", "step", "cap")),
             r["peering_scope"], r["managed_by"])
            for r in rows
        ],
        empty="There is no pool yet. Make one: mailhearth pool create NAME",
    )  # fmt: skip


@pool.command()
@click.argument("name")
@workspace_option
@common
def show(session: Session, name: str, workspace: str | None) -> None:
    """Show a pool: its policy, its size, and how many mailboxes it lacks for its cap.

    \b
    Example:
      mailhearth pool show sales --workspace acme

    JSON keys: id, workspace, name, peering_scope, worker_group, generation, managed_by, mailboxes,
    policy (every field of `pool set --help`), shortage (null, or {volume, available, needed,
    lacking}).
    """
    with session.attached() as attached:
        owner = workspace_of(attached, workspace)
        shown = _look(attached, owner, name)
    if session.json:
        emit_json(shown)
        return
    names = ("name", "workspace", "mailboxes", "peering_scope", "worker_group", "generation")
    facts([(k, shown[k]) for k in (*names, "managed_by")])
    _tell(shown)
    click.echo()
    units = {row.name: row for row in Policy.describe()}
    policy = shown["policy"]
    table(
        ("policy", "value", "unit", "default"),
        [
            (k, ",".join(v) if isinstance(v, list) else v, units[k].unit, units[k].default)
            for k, v in policy.items()
            if k in units
        ],
    )


@pool.command("set", cls=PolicyCommand)
@click.argument("name")
@click.argument("changes", metavar="KEY=VALUE...", nargs=-1, required=True, callback=key_values)
@workspace_option
@common
def set_(session: Session, name: str, changes: dict[str, str], workspace: str | None) -> None:
    """Change a pool's policy or peering scope; refused whole if any value is out of bounds.

    Lower limits apply at once, higher ones from the mailboxes' next day.

    \b
    Examples:
      mailhearth pool set sales cap=15 step=1
      mailhearth pool set sales mode=aggressive window_start=08:00 window_end=18:00
      mailhearth pool set sales peering_scope=workspace

    JSON keys: those of `pool show`, and `changed`, the keys whose value is another now.
    """
    with session.attached() as attached:
        owner = workspace_of(attached, workspace)
        before = pools.find(attached.door, owner["workspace_id"], name)
        wish = pools.change(
            attached.door,
            owner["workspace_id"],
            before,
            changes,
            session.actor,
            sandbox=attached.sandbox,
        )
        wait_for_wish(attached, owner["workspace_id"], wish)
        shown = _look(attached, owner, name)
    old = before["policy"] | {pools.SCOPE_KEY: before["peering_scope"]}
    new = shown["policy"] | {pools.SCOPE_KEY: shown["peering_scope"]}
    changed = [key for key, value in new.items() if old.get(key) != value]
    if session.json:
        emit_json(shown | {"changed": changed})
        return
    words = ", ".join(f"{key} {old.get(key)} -> {new[key]}" for key in changed) or "nothing changed"
    click.echo(textwrap.fill(f"Pool {name}: {words}.", 100))
    _tell(shown)
