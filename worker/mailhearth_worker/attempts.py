"""The verb `test`: does a connection attempt and reports its steps as they happen.

An attempt is a test of servers and a password, a search for a domain's settings, or an owner's
consent that is exchanged and then tested.
"""

from __future__ import annotations

import base64
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.autoconfig.discover import discover
from mailhearth_core.errors import MailhearthError, NotFound
from mailhearth_core.mail.model import Login
from mailhearth_core.mail.probe import Step, probe
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_worker.consents import exchange
from mailhearth_worker.credentials import fingerprints, open_field
from mailhearth_worker.runtime import Runtime
from mailhearth_worker.sessions import config_of

log = structlog.get_logger()
SQL = named("worker")


def test_connection(runtime: Runtime, workspace_id: UUID, attempt_id: UUID) -> None:
    """Does one attempt; nothing of a credential is logged.

    An attempt that has expired, or that another worker has finished, is left alone.
    """
    door = runtime.doors.door(workspace_id)
    with door.tx() as conn:
        attempt = SQL.start_attempt(conn, workspace_id=workspace_id, id=attempt_id)
        prints = fingerprints(conn, workspace_id)
    if attempt is None:
        return
    report = _Report(door, workspace_id, attempt_id)
    if attempt["kind"] == "discover":
        _search(runtime, attempt["settings"]["domain"], report)
    else:
        _test(runtime, door, workspace_id, attempt, prints, report)
    log.info("attempt_ended", kind=attempt["kind"], attempt_id=str(attempt_id), ok=report.ok)


def _search(runtime: Runtime, domain: str, report: _Report) -> None:
    found = discover(domain, runtime.resolver, runtime.dialer, report.add)
    report.end(ok=bool(found), found=[suggestion.to_json() for suggestion in found])


def _test(
    runtime: Runtime,
    door: Database,
    workspace_id: UUID,
    attempt: dict[str, Any],
    prints: dict[int, str],
    report: _Report,
) -> None:
    """Tries a mailbox's servers; changes nothing."""
    row = {**attempt["settings"], "id": attempt["mailbox_id"]}
    try:
        if attempt["kind"] == "consent":
            login = exchange(runtime, door, workspace_id, attempt, prints, report.add)
        elif row.get("auth") == "oauth":
            login = _stored_grant(runtime, door, workspace_id, row)
        else:
            login = _login(runtime, workspace_id, attempt, row, prints)
        probe(
            runtime.sessions.provider({"provider": row.get("provider", "imap_smtp")}),
            config_of(row),
            login,
            runtime.dialer,
            report.add,
        )
    except MailhearthError as error:
        name = "consent" if attempt["kind"] == "consent" else "credential"
        report.add(Step(name, False, error.message, error.hint, error.code))
    report.end()


class _Report:
    """Writes each step to the attempt's row, so that who waits can follow."""

    def __init__(self, door: Database, workspace_id: UUID, attempt_id: UUID) -> None:
        self._door = door
        self._keys = {"workspace_id": workspace_id, "id": attempt_id}
        self._steps: list[dict[str, Any]] = []
        self.ok = False

    def add(self, step: Step) -> None:
        self._steps.append(
            {
                "name": step.name,
                "ok": step.ok,
                "detail": step.detail,
                "hint": step.hint,
                "code": step.code,
            }
        )
        self._write("running")

    def end(self, *, ok: bool | None = None, found: Sequence[dict[str, Any]] = ()) -> None:
        """Args: ok: None when it depends on every step."""
        every = bool(self._steps) and all(step["ok"] for step in self._steps)
        self.ok = every if ok is None else ok
        self._write("ok" if self.ok else "failed", found)

    def _write(self, state: str, found: Sequence[dict[str, Any]] = ()) -> None:
        with self._door.tx() as conn:
            SQL.report_attempt(
                conn, **self._keys, steps=Jsonb(self._steps), state=state, found=Jsonb(list(found))
            )


def _stored_grant(
    runtime: Runtime, door: Database, workspace_id: UUID, row: dict[str, Any]
) -> Login:
    """By the mailbox's own refresh token, where it is kept: spending a copy could end it."""
    with door.tx() as conn:
        mailbox = SQL.mailbox(conn, workspace_id=workspace_id, mailbox_id=row["id"])
    if mailbox is None or mailbox["auth"] != "oauth":
        raise NotFound("The mailbox was changed since the test was asked for.", hint="Try again.")
    return runtime.tokens.login(door, mailbox)


def _login(
    runtime: Runtime,
    workspace_id: UUID,
    attempt: dict[str, Any],
    row: dict[str, Any],
    prints: dict[int, str],
) -> Login:
    """One user, one password: both fields hold the same, each sealed for its own server."""
    version = attempt["key_version"]
    secrets: list[Secret] = [
        open_field(
            runtime.keys,
            workspace_id,
            row,
            field,
            version,
            prints.get(version, ""),
            base64.b64decode(sealed),
        )
        for field, sealed in sorted(attempt["sealed"].items())
    ]
    return Login(row["username"], secrets[0])
