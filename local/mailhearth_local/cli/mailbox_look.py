"""`mailhearth mailbox list`, `show` and `why`."""

from __future__ import annotations

from typing import Any

import click

from mailhearth_core.verbs import mailboxes, workspaces
from mailhearth_core.verbs.why import explain
from mailhearth_local.cli.located import address_argument, locate, shown, workspace_option
from mailhearth_local.cli.options import common
from mailhearth_local.cli.output import emit_json, facts, short_time, table, visible
from mailhearth_local.cli.session import Session


@click.command("list")
@click.option("--workspace", "-w", metavar="NAME", help="Only this workspace.")
@click.option("--pool", "-p", metavar="NAME", help="Only pools of this name.")
@common
def list_(session: Session, workspace: str | None, pool: str | None) -> None:
    """List mailboxes with their state.

    \b
    Example:
      mailhearth mailbox list --workspace acme

    JSON: a list; keys as of `mailbox show`.
    """
    with session.attached() as attached:
        owners = (
            [workspaces.find(attached.cli, workspace)]
            if workspace
            else workspaces.listing(attached.cli)
        )
        rows = [
            shown(row, owner["name"])
            for owner in owners
            for row in mailboxes.listing(attached.door, owner["workspace_id"])
            if pool in (None, row["pool"])
        ]
    if session.json:
        emit_json(rows)
        return
    table(
        ("address", "workspace", "pool", "state", "consent", "connected", "last error"),
        [
            (r["address"], r["workspace"], r["pool"], r["state"], r["consent"],
             short_time(r["connected_at"]), r["last_error"][:60] or "-")
            for r in rows
        ],
        empty="There is no mailbox yet. Connect one: mailhearth mailbox add --help",
    )  # fmt: skip


@click.command()
@address_argument
@workspace_option
@common
def show(session: Session, address: str, workspace: str | None) -> None:
    """Show one mailbox; its password is never shown.

    \b
    Example:
      mailhearth mailbox show ann@example.com

    JSON keys: id, workspace, pool, address, name, state (active, paused, needs_reauth),
    state_reason, consent (none, workspace, network), timezone, imap and smtp {host, port, tls},
    own_ca, username, auth_failures, last_error, last_error_at, connected_at, created_at.
    """
    with session.attached() as attached:
        workspace_id, row = locate(attached, address, workspace)
        seen = shown(row, workspaces.find(attached.cli, str(workspace_id))["name"])
    if session.json:
        emit_json(seen)
        return
    imap, smtp = ("{host}:{port} ({tls})".format(**seen[side]) for side in ("imap", "smtp"))
    facts(
        [
            ("address", seen["address"]),
            ("name", seen["name"] or None),
            ("pool", f"{seen['workspace']}/{seen['pool']}"),
            ("state", " ".join(filter(None, (seen["state"], seen["state_reason"])))),
            ("consent", seen["consent"]),
            ("timezone", seen["timezone"]),
            ("imap", imap),
            ("smtp", smtp),
            ("certificates", "checked against its own CA" if seen["own_ca"] else None),
            ("username", seen["username"]),
            ("failed sign-ins", seen["auth_failures"] or None),
            ("last error", seen["last_error"] or None),
            ("connected", short_time(seen["connected_at"])),
            ("added", short_time(seen["created_at"])),
        ]
    )


@click.command()
@address_argument
@workspace_option
@common
def why(session: Session, address: str, workspace: str | None) -> None:
    """Explain today's number, and why it is not sending.

    The steps are those that were stored when its day was sized; after them the controller's
    decision, what stands in the way now with what to do, and recent mail with why its peer was
    chosen.

    \b
    Example:
      mailhearth mailbox why ann@example.com

    JSON keys: address, workspace, pool, state, consent, business_time, timezone, day, volume, steps
    [{code, text, value}], sized_at, controller {state, target_volume, reasons}, phase {name
    (healthy, probation, quarantined, blocked), since, until, cause}, is_sensor, counts {planned,
    sent, waiting_peer, bound, skipped, uncertain, failed, next_due_at}, not_sending [{code, text,
    hint}], placements, health {score, text, penalties [{code, text, points}]}, recent
    [{due_at, kind, state, reason, peer, bind_reason, subject, sent_at, evidence, placement,
    arrived_at}], running.
    """
    with session.attached() as attached:
        workspace_id, row = locate(attached, address, workspace)
        seen = explain(attached.cli, workspace_id, row) | {"running": attached.running}
    if not seen["running"]:
        seen["not_sending"].insert(
            0, {"code": "not_running", "text": "nothing runs now", "hint": "mailhearth up"}
        )
    if session.json:
        emit_json(seen)
    else:
        _print(seen)


def _print(seen: dict[str, Any]) -> None:
    click.echo(
        f"{seen['address']} ({seen['workspace']}/{seen['pool']}) on {seen['day']} in "
        f"{seen['timezone']}; it is {short_time(seen['business_time'])}"
    )
    volume = "not sized yet" if seen["volume"] is None else f"{seen['volume']} mails"
    click.echo(f"\nToday's volume: {volume}")
    for step in seen["steps"]:
        number = "" if step.get("value") is None else f"{step['value']:>4}  "
        click.echo(f"  {number}{visible(step['text'])}")
    if seen["controller"]:
        controller = seen["controller"]
        click.echo(
            f"\nController: {controller['state']}, target {controller['target_volume']} a day"
        )
        for step in controller["reasons"]:
            click.echo(f"  {visible(step['text'])}")
    score = seen["health"]["score"]
    less = "".join(f", less {p['points']}: {p['text']}" for p in seen["health"]["penalties"])
    click.echo(f"Health: {'-' if score is None else score} ({seen['health']['text']}{less})")
    if seen["phase"]["name"] == "probation":
        click.echo(
            f"On probation since {seen['phase']['since']}: {visible(seen['phase']['cause'])}"
        )
    if not seen["is_sensor"]:
        click.echo(
            "It junks mail of senders that are clean elsewhere: its placements do not count."
        )
    counts = seen["counts"]
    click.echo(f"\nSent today: {counts.get('sent') or 0} of {counts.get('planned') or 0}", nl=False)
    others = [
        f"{counts[key]} {word}"
        for key, word in (("waiting_peer", "waiting for a peer"), ("skipped", "skipped"),
                          ("uncertain", "uncertain"), ("failed", "failed"))
        if counts.get(key)
    ]  # fmt: skip
    click.echo(f" ({', '.join(others)})" if others else "")
    click.echo("\nIn the way:" if seen["not_sending"] else "\nNothing is in the way.")
    for blocker in seen["not_sending"]:
        hint = f" -> {blocker['hint']}" if blocker["hint"] else ""
        click.echo(f"  {visible(blocker['text'])}{hint}")
    if seen["recent"]:
        click.echo()
        table(
            ("due", "kind", "state", "peer", "placed", "why this peer, or why not"),
            [
                (short_time(r["due_at"]), r["kind"], r["state"], r["peer"], r["placement"],
                 r["reason"] or r["bind_reason"] or "-")
                for r in seen["recent"]
            ],
        )  # fmt: skip
