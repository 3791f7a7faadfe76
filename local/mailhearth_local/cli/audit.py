"""`mailhearth audit`."""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import UUID

import click

from mailhearth_core.audit import exports
from mailhearth_core.audit.checkpoints import Checkpoint, read_lines
from mailhearth_core.audit.verify import Report
from mailhearth_core.errors import Conflict, InvalidValue
from mailhearth_core.verbs import audit as verbs
from mailhearth_core.verbs import audit_trail, workspaces
from mailhearth_local.cli.options import common, data_option, json_option, workspace_option
from mailhearth_local.cli.output import emit_json, short_time, table
from mailhearth_local.cli.session import Session, workspace_of
from mailhearth_local.services.attach import Attached

CHECKPOINTS = Path("work", "audit", "checkpoints.jsonl")
"""Where the scheduler of a data folder writes its checkpoints."""
platform_option = click.option(
    "--platform", is_flag=True, help="The platform's own chain instead of a workspace's."
)


@click.group()
@data_option
@json_option
def audit() -> None:
    """Who did what, chained so that no change stays hidden.

    Each workspace has a chain of its own, and the platform has one. The scheduler seals new events
    within seconds and signs the heads of the chains (Ed25519) once a minute.
    """


@audit.command()
@click.option(
    "--anchor",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Checkpoints kept elsewhere.  [default: DIR/work/audit/checkpoints.jsonl, if it is there]",
)
@common
def verify(session: Session, anchor: Path | None) -> None:
    """Look for edited, removed, reordered or cut-off events in every chain.

    Events that were cut off from a chain's end, with all that follows, leave no trace in the
    database; nor does a chain that was written anew as a whole. Only checkpoints that were kept
    outside tell: --anchor takes a copy of the scheduler's file, or its log, which repeats each
    one. What happened since the last checkpoint is vouched for by nobody yet.

    \b
    Examples:
      mailhearth audit verify
      mailhearth audit verify --anchor /backup/checkpoints.jsonl

    Exit code 1 when anything is wrong. JSON keys: ok, anchor, chains (a list of {scope, first,
    last, events, unsealed, erased_fields, checkpoint, faults}); a fault is {scope, kind, text, seq,
    event_id}.
    """
    anchors, path = _anchors(session, anchor)
    with session.attached() as attached:
        reports = verbs.verify_all(attached.cli, anchors)
    faults = [fault for report in reports for fault in report.faults]
    if session.json:
        emit_json({"ok": not faults, "anchor": path, "chains": [_report(r) for r in reports]})
    else:
        _show(reports, path)
    if faults:
        sys.exit(1)


def _anchors(session: Session, given: Path | None) -> tuple[list[Checkpoint], Path | None]:
    path = given or session.data / CHECKPOINTS
    if given is None and not path.exists():
        return [], None
    return read_lines(_text("anchor", path), str(path)), path


def _text(field: str, path: Path) -> str:
    try:
        return path.read_bytes().decode("utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidValue(field, str(path), f"a file that can be read ({error})") from None


def _report(report: Report) -> dict[str, Any]:
    return vars(report) | {"faults": [vars(fault) for fault in report.faults]}


def _show(reports: list[Report], anchor: Path | None) -> None:
    table(
        ("chain", "events", "from", "to", "unsealed", "erased", "vouched to", "faults"),
        [
            (r.scope, r.events, r.first or None, r.last or None, r.unsealed, r.erased_fields,
             r.checkpoint or None, len(r.faults))
            for r in reports
        ],
    )  # fmt: skip
    for report in reports:
        for fault in report.faults:
            where = f" event {fault.seq}" if fault.seq else ""
            which = f" ({fault.event_id})" if fault.event_id else ""
            click.echo(f"{fault.kind.upper()}: {fault.scope}{where}{which}: {fault.text}")
    if anchor:
        click.echo(f"Compared with the checkpoints in {anchor}.")
    else:
        click.echo("No anchor: whether a chain's end was cut off cannot be told.")


@audit.command("list")
@workspace_option
@platform_option
@click.option("--limit", type=click.IntRange(1, 100_000), default=50, show_default=True)
@common
def list_(session: Session, workspace: str | None, platform: bool, limit: int) -> None:
    """List what was done, newest first.

    \b
    Examples:
      mailhearth audit list --workspace acme
      mailhearth audit list --platform --limit 200

    JSON: a list of {seq, id, action, actor, subject, detail, at}; seq is null until sealed.
    """
    with session.attached() as attached:
        rows = verbs.listing(attached.cli, _scope(attached, workspace, platform), limit)
    if session.json:
        emit_json([row | {"detail": json.loads(row["detail"])} for row in rows])
        return
    table(
        ("seq", "when", "action", "actor", "subject", "detail"),
        [
            (r["seq"], short_time(r["at"]), r["action"], r["actor"], r["subject"],
             r["detail"] if r["detail"] != "{}" else "")
            for r in rows
        ],
        empty="Nothing was done yet.",
    )  # fmt: skip


@audit.command()
@workspace_option
@platform_option
@click.option("--csv", "as_csv", is_flag=True, help="As CSV, for a spreadsheet.")
@common
def export(session: Session, workspace: str | None, platform: bool, as_csv: bool) -> None:
    """Print a whole chain, oldest first, with what is needed to verify it.

    One JSON object per line: a head, the events, the first and the last checkpoint, an end. Whoever
    receives it can look with `mailhearth audit examine` whether it is whole; the dashboard's export
    is the same.

    \b
    Examples:
      mailhearth audit export --workspace acme > acme.jsonl
      mailhearth audit export --platform --csv > platform.csv
    """
    with session.attached() as attached:
        trail = audit_trail.by_cli(attached.cli, _scope(attached, workspace, platform))
        form: audit_trail.Form = "csv" if as_csv else "ndjson"
        for line in audit_trail.lines(trail, form, now=datetime.now(UTC)):
            click.echo(line, nl=False)


@audit.command()
@click.argument("file", type=click.Path(dir_okay=False, path_type=Path))
@click.option(
    "--anchor",
    type=click.Path(dir_okay=False, path_type=Path),
    metavar="FILE",
    help="Checkpoints kept elsewhere, by whoever is to be believed.",
)
@common
def examine(session: Session, file: Path, anchor: Path | None) -> None:
    """Verify an exported chain, wherever it came from; no installation is needed.

    Finds events that were edited, removed, reordered or added, and a file that was cut short. The
    checkpoint in the file is signed by a key that the file itself names: only --anchor, a file of
    checkpoints that you were given by another way, says that it is the installation's.

    \b
    Example:
      mailhearth audit examine acme.jsonl --anchor kept/checkpoints.jsonl

    Exit code 1 when anything is wrong. JSON keys: ok, anchor, key (the signing key in hex, null
    without a checkpoint), chain (as those of `audit verify`).
    """
    anchors = read_lines(_text("anchor", anchor), str(anchor)) if anchor else []
    exported = exports.read(_text("file", file), str(file))
    report = exports.examine(exported, anchors)
    keys = sorted({point.public_key.hex() for point in exported.checkpoints})
    if session.json:
        key = keys[0] if keys else None
        emit_json({"ok": not report.faults, "anchor": anchor, "key": key, "chain": _report(report)})
    else:
        _show([report], anchor)
        for key in keys:
            click.echo(f"Its checkpoints are signed by {key}.")
    if report.faults:
        sys.exit(1)


@audit.command()
@click.argument("person")
@workspace_option
@click.option("--everywhere", is_flag=True, help="In every workspace and in the platform's chain.")
@click.option("--yes", is_flag=True, help="Do not ask for the name again.")
@common
def erase(
    session: Session, person: str, workspace: str | None, everywhere: bool, yes: bool
) -> None:
    """Erase a person's name or address from the audit trail, for good.

    Wherever PERSON is the actor, the subject or a whole value in the detail, the value and its salt
    are erased. The events stay, the chain stays whole, and an event says what was erased.

    \b
    Examples:
      mailhearth audit erase ann@example.com --workspace acme
      mailhearth audit erase ann@example.com --everywhere --yes

    JSON keys: erased_fields.
    """
    if everywhere and workspace:
        raise Conflict("--everywhere and --workspace exclude each other.", hint="Leave one out.")
    if not yes:
        _ask(person)
    with session.attached() as attached:
        scope = None if everywhere else workspace_of(attached, workspace)["workspace_id"]
        erased = verbs.erase(attached.cli, scope, person, session.actor)
    if session.json:
        emit_json({"erased_fields": erased})
    else:
        click.echo(f"{erased} fields erased.")


def _scope(attached: Attached, workspace: str | None, platform: bool) -> UUID | None:
    if platform and workspace:
        raise Conflict("--platform and --workspace exclude each other.", hint="Leave one out.")
    if platform:
        return None
    found: UUID = (
        workspaces.find(attached.cli, workspace) if workspace else workspace_of(attached, None)
    )["workspace_id"]
    return found


def _ask(person: str) -> None:
    click.echo(f"This erases {person} from the audit trail for good.", err=True)
    if sys.stdin.isatty():
        answer = str(click.prompt("Type it again to go on", err=True))
    else:
        answer = sys.stdin.readline().strip()
    if answer != person:
        raise Conflict(
            f"Nothing was erased: {answer!r} is not {person!r}.", hint="Or use --yes.",
            code="not_confirmed",
        )  # fmt: skip
