"""`mailhearth doctor`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack

import click

from mailhearth_core.errors import MailhearthError
from mailhearth_local.cli import examine
from mailhearth_local.cli.examine import FAIL, OK, WARN, Finding
from mailhearth_local.cli.options import common
from mailhearth_local.cli.output import emit_json, visible
from mailhearth_local.cli.session import Session
from mailhearth_local.services.attach import ELSEWHERE
from mailhearth_local.services.runfile import running

COLOURS = {OK: "green", WARN: "yellow", FAIL: "red"}


@click.command()
@common
def doctor(session: Session) -> int:
    """Check this installation and say what to do.

    It looks at the data folder, the services, the schema, the database roles, the private keys
    (there, readable by this account only, and the ones that the database knows), the processes,
    overdue work, the clock, the mailboxes and the size of pools. It changes nothing, but starts
    the database for itself when nothing runs. In a pod of the operator it looks at the database,
    its roles, the Secrets of the keys, overdue work, the clock, the mailboxes and the pools.

    \b
    Example:
      mailhearth doctor

    Each line is ok, warn or fail; the exit code is 1 if any is fail.

    JSON keys: ok, findings: a list of {check, level (ok, warn, fail), text, hint}.
    """
    findings = []
    for finding in _findings(session):
        findings.append(finding)
        if not session.json:
            _tell(finding)
    failed = sum(f.level == FAIL for f in findings)
    if session.json:
        rows = [
            {"check": f.check, "level": f.level, "text": f.text, "hint": f.hint} for f in findings
        ]
        emit_json({"ok": not failed, "findings": rows})
    else:
        warned = sum(f.level == WARN for f in findings)
        click.echo(f"{len(findings)} checks: {failed} failed, {warned} to look at.")
    return 1 if failed else 0


def _findings(session: Session) -> Iterator[Finding]:
    in_a_pod = bool(session.environ.get(ELSEWHERE))
    if not in_a_pod:
        yield from examine.data_folder(session.data)
        yield from examine.processes(running(session.data))
    with ExitStack() as stack:
        try:
            attached = stack.enter_context(session.attached())
        except MailhearthError as error:
            yield Finding("database", FAIL, error.message, error.hint)
            return
        for check in examine.CHECKS_OF_A_CLUSTER if in_a_pod else examine.CHECKS:
            try:
                yield from check(attached)
            except MailhearthError as error:
                yield Finding(check.__name__, FAIL, error.message, error.hint)


def _tell(finding: Finding) -> None:
    mark = click.style(f"{finding.level:<4}", fg=COLOURS[finding.level])
    click.echo(f"{mark} {finding.check}: {visible(finding.text)}")
    if finding.hint:
        click.echo(f"     {visible(finding.hint)}")
