"""`mailhearth mailbox test`."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

import click

from mailhearth_core.errors import NotFound, NotYet, ServiceUnavailable
from mailhearth_core.verbs import attempts, mailboxes
from mailhearth_core.verbs.mailbox_spec import MailboxSpec, parse_spec
from mailhearth_local.cli.located import address_argument, locate, workspace_option
from mailhearth_local.cli.options import common
from mailhearth_local.cli.output import emit_json, visible
from mailhearth_local.cli.password import read_password, stdin_option
from mailhearth_local.cli.session import Session
from mailhearth_local.embedded.process import tail
from mailhearth_local.services.attach import Attached

POLL_SECONDS = 0.1
TEST_SECONDS = 150.0
"""For the whole test once a worker has it: two servers, a few steps of at most 15 s each."""
NEW_VALUES = ("imap", "smtp", "tls", "ca", "username")


@click.command()
@address_argument
@workspace_option
@stdin_option
@click.option("--imap", metavar="HOST:PORT", help="Try this server instead of the stored one.")
@click.option("--smtp", metavar="HOST:PORT", help="Likewise.")
@click.option("--tls", metavar="implicit|starttls|none", help="Likewise, of both servers.")
@click.option("--ca", metavar="FILE", help="Likewise.")
@click.option("--username", help="Likewise.")
@click.option(
    "--save", is_flag=True, help="Keep the new password and servers if the test succeeds."
)
@click.option(
    "--wait",
    type=click.FloatRange(min=0.1, max=600),
    default=15,
    show_default=True,
    metavar="SECONDS",
    help="How long a worker has to take the test.",
)
@common
def test(
    session: Session,
    address: str,
    workspace: str | None,
    password_stdin: bool,
    save: bool,
    wait: float,
    **values: str | None,
) -> int:
    """Let a worker try the mailbox's servers, step by step.

    It signs in for reading and for sending, looks at the folders and changes nothing. With a new
    password or servers these are tried instead of the stored ones; --save keeps them on success,
    which is also how a mailbox that needs a new password gets it. Beside a running `up` its worker
    does the test, else one is started for it.

    \b
    Examples:
      mailhearth mailbox test ann@example.com
      pass show mail/ann | mailhearth mailbox test ann@example.com --password-stdin --save

    JSON keys: address, ok, saved, steps: a list of {name, ok, detail, hint, code}.
    """
    changed = password_stdin or any(values[name] for name in NEW_VALUES)
    if save and not changed:
        raise click.UsageError("--save: there is nothing new to save; give --password-stdin.")
    password = read_password(password_stdin) if changed else None
    with session.attached() as attached:
        workspace_id, row = locate(attached, address, workspace)
        spec = None
        if password is not None:
            spec = parse_spec(
                _filled(row, values),
                password,
                allow_app_passwords=session.allow_app_passwords,
            )
        steps, ok = _run(session, attached, workspace_id, row, spec, wait)
        saved = ok and save and spec is not None
        if saved:
            assert spec is not None
            mailboxes.reconnect(attached.door, workspace_id, row, spec, session.actor)
    if session.json:
        emit_json({"address": row["address"], "ok": ok, "saved": saved, "steps": steps})
    else:
        click.echo(_verdict(row["address"], ok, save, saved))
    return 0 if ok else 1


def _verdict(address: str, ok: bool, save: bool, saved: bool) -> str:
    if saved:
        return f"{address} works; the new values are saved."
    if ok:
        return f"{address} works."
    return f"{address} does not work." + (" Nothing was saved." if save else "")


def _filled(row: dict[str, Any], values: dict[str, str | None]) -> dict[str, str | None]:
    """The stored values, replaced by those given."""
    stored: dict[str, str | None] = {
        "address": row["address"],
        "name": row["display_name"],
        "timezone": row["timezone"],
        "consent": "none",  # consent is left as it is
        "imap": f"{row['imap_host']}:{row['imap_port']}",
        "smtp": f"{row['smtp_host']}:{row['smtp_port']}",
        "username": row["username"],
        "ca_pem": row["ca_pem"],
    }
    for side in ("imap", "smtp"):
        if not values[side]:
            stored[f"{side}_tls"] = row[f"{side}_tls"]
    return stored | {name: value for name, value in values.items() if value}


def _run(
    session: Session,
    attached: Attached,
    workspace_id: UUID,
    row: dict[str, Any],
    spec: MailboxSpec | None,
    wait: float,
) -> tuple[list[dict[str, Any]], bool]:
    """Streams the steps to people; returns them all, and whether every one went well."""
    attempt_id = attempts.start(attached.door, workspace_id, row, spec, row["worker_group"])
    try:
        with _worker(attached, workspace_id, attempt_id) as process:
            return _follow(session, attached, workspace_id, attempt_id, process, wait)
    finally:
        attempts.drop(attached.door, workspace_id, attempt_id)


@contextmanager
def _worker(
    attached: Attached, workspace_id: UUID, attempt_id: UUID
) -> Iterator[subprocess.Popen[bytes] | None]:
    """A worker for this one attempt where no `up` runs; it ends with the command."""
    if attached.running:
        yield None
        return
    log = attached.stack.data / "log" / "worker-test.log"
    with log.open("wb") as output:
        log.chmod(0o600)
        process = subprocess.Popen(  # noqa: S603 - our own words, no shell
            [
                *(sys.executable, "-m", "mailhearth_worker"),
                *("--attempt", str(workspace_id), str(attempt_id)),
            ],
            env=_one_shot(attached),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
        )
    try:
        yield process
    finally:
        if process.poll() is None:
            process.terminate()
            try:
                process.wait(5)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _one_shot(attached: Attached) -> dict[str, str]:
    """A worker's environment; Redis is not started for one test, so it gets no way to one."""
    environ = attached.worker_environment()
    return environ | {
        "MAILHEARTH_REDIS_URL": environ.get("MAILHEARTH_REDIS_URL") or "unix:///dev/null"
    }


def _follow(
    session: Session,
    attached: Attached,
    workspace_id: UUID,
    attempt_id: UUID,
    process: subprocess.Popen[bytes] | None,
    wait: float,
) -> tuple[list[dict[str, Any]], bool]:
    told = 0
    started = time.monotonic()
    while True:
        ended = process is not None and process.poll() is not None
        row = attempts.find(attached.door, workspace_id, attempt_id)
        if row is None:
            raise NotFound("The test was lost (the database restarted).", hint="Try again.")
        steps: list[dict[str, Any]] = row["steps"]
        for step in steps[told:]:
            if not session.json:
                _tell(step)
        told = len(steps)
        if row["state"] in ("ok", "failed"):
            return steps, row["state"] == "ok"
        waited = time.monotonic() - started
        if ended:
            log = attached.stack.data / "log" / "worker-test.log"
            raise ServiceUnavailable(
                f"The worker ended without a result: {tail([log])}", hint=f"Its log is {log}."
            )
        if row["state"] == "queued" and process is None and waited > wait:
            raise NotYet(
                f"No worker has taken the test within {wait:g} s: none lives for the "
                "mailbox's group, or all are busy.",
                hint="`mailhearth doctor` tells which; --wait SECONDS waits longer.",
                code="no_worker",
            )
        if waited > wait + TEST_SECONDS:
            raise NotYet("The worker took the test but does not end it.", hint="Try again.")
        time.sleep(POLL_SECONDS)


def _tell(step: dict[str, Any]) -> None:
    mark = "ok  " if step["ok"] else "FAIL"
    click.echo(f"{mark} {step['name']}: {visible(step['detail'])}")
    if step["hint"]:
        click.echo(f"     {visible(step['hint'])}")
