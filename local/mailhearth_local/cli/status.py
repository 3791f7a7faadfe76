"""`mailhearth status`."""

from __future__ import annotations

from typing import Any

import click

from mailhearth_core.verbs import status as verbs
from mailhearth_core.verbs import workspaces
from mailhearth_core.verbs.capacity import Shortage
from mailhearth_local.cli.options import common
from mailhearth_local.cli.output import emit_json, short_time, table, visible
from mailhearth_local.cli.session import Session

SHOWN = 10
STATES = ("active", "paused", "needs_reauth", *verbs.LEARNED)


@click.command()
@click.option("--workspace", "-w", metavar="NAME", help="Only this workspace.")
@common
def status(session: Session, workspace: str | None) -> None:
    """What is warming up, and what is not and why.

    For each pool: mailboxes by state, today's volume and what was sent of it, placements of seven
    days with their sample size, what waits to be done, and every mailbox that does not work.

    \b
    Examples:
      mailhearth status
      mailhearth status --workspace acme --json

    JSON keys: business_time, sandbox, environment, running; workspaces: a list of {id, name, state,
    reason, pools}; pools: a list of {name, peering_scope, worker_group, mailboxes {total, active,
    paused, needs_reauth, without_consent, probation, quarantined, blocked}, today {volume, sized,
    planned, sent, replies, waiting_peer, skipped, uncertain}, placements {days, sample, inbox,
    junk, other, missing, unobservable, inbox_percent, note}, shortage, not_working [{address,
    reasons [{code, text, hint}]}]}; demand: a list of {worker_group, due_now, backlog, next_due_at,
    oldest_due_at, reason}.
    """
    with session.attached() as attached:
        only = workspaces.find(attached.cli, workspace)["workspace_id"] if workspace else None
        seen = verbs.overview(attached.cli, only) | {
            "sandbox": attached.sandbox,
            "environment": attached.environment,
            "running": attached.running,
        }
    if session.json:
        emit_json(seen)
    else:
        _print(seen)


def _print(seen: dict[str, Any]) -> None:
    kind = "sandbox" if seen["sandbox"] else seen["environment"]
    run = "running" if seen["running"] else "not running (start `mailhearth up`)"
    click.echo(f"Mailhearth is {run}; {kind}; it is {short_time(seen['business_time'])}.")
    if not seen["workspaces"]:
        click.echo("There is no workspace yet. Make one: mailhearth workspace create NAME")
        return
    click.echo()
    table(
        ("workspace", "pool", "mailboxes", "sent", "volume", "inbox", "junk", "of", "inbox rate"),
        [_row(workspace, pool) for workspace in seen["workspaces"] for pool in workspace["pools"]],
        empty="There is no pool yet. Make one: mailhearth pool create NAME",
    )
    for group in seen["demand"]:
        late = ""
        if group["oldest_due_at"]:
            late = f", the oldest due since {short_time(group['oldest_due_at'])}"
        click.echo(
            f"\nWorkers of {group['worker_group']}: {group['due_now']} due now{late}; "
            f"{group['backlog']} within the hour; {group['reason']}"
        )
    for workspace in seen["workspaces"]:
        _troubles(workspace)


def _row(workspace: dict[str, Any], pool: dict[str, Any]) -> list[object]:
    boxes, day, placed = pool["mailboxes"], pool["today"], pool["placements"]
    states = ", ".join(f"{boxes[s]} {s}" for s in STATES if boxes.get(s))
    rate = placed["inbox_percent"]
    shown = f"{rate['point']} % ({rate['low']}-{rate['high']})" if rate else "-"
    note = f" {placed['note']}" if placed["note"] else ""
    return [
        workspace["name"], pool["name"], states or "none", day["sent"], day["volume"],
        placed["inbox"], placed["junk"], placed["sample"], shown + note,
    ]  # fmt: skip


def _troubles(workspace: dict[str, Any]) -> None:
    if workspace["state"] != "active":
        click.echo(f"\n{workspace['name']}: {workspace['state']} {visible(workspace['reason'])}")
    for pool in workspace["pools"]:
        lines = []
        if pool["shortage"]:
            s = pool["shortage"]
            lines.append(Shortage(s["volume"], s["available"], s["needed"]).text)
        for mailbox in pool["not_working"][:SHOWN]:
            reason = mailbox["reasons"][0]
            hint = f" [{reason['hint']}]" if reason["hint"] else ""
            lines.append(f"{mailbox['address']}: {visible(reason['text'])}{hint}")
        if len(pool["not_working"]) > SHOWN:
            lines.append(f"and {len(pool['not_working']) - SHOWN} more mailboxes (see --json)")
        if lines:
            click.echo(f"\n{workspace['name']}/{pool['name']}:")
            for line in lines:
                click.echo(f"  {line}")
