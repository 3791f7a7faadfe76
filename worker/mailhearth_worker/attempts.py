"""The verb `test`: tries a connection attempt and reports its steps as they happen."""

from __future__ import annotations

import base64
from typing import Any
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.errors import MailhearthError, NotFound
from mailhearth_core.mail.model import Login
from mailhearth_core.mail.probe import Step, probe
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_worker.credentials import fingerprints, open_field
from mailhearth_worker.runtime import Runtime
from mailhearth_worker.sessions import config_of

log = structlog.get_logger()
SQL = named("worker")


def test_connection(runtime: Runtime, workspace_id: UUID, attempt_id: UUID) -> None:
    """Tests a mailbox's servers; nothing of the credential is kept or logged.

    An attempt that has expired, or that another worker has finished, is left alone.
    """
    door = runtime.doors.door(workspace_id)
    with door.tx() as conn:
        attempt = SQL.start_attempt(conn, workspace_id=workspace_id, id=attempt_id)
        prints = fingerprints(conn, workspace_id)
    if attempt is None:
        return
    report = _Report(door, workspace_id, attempt_id)
    row = {**attempt["settings"], "id": attempt["mailbox_id"]}
    try:
        if row.get("auth") == "oauth":
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
        report.add(Step("credential", False, error.message, error.hint, error.code))
    report.end()
    log.info("connection_tested", attempt_id=str(attempt_id), ok=report.ok)


class _Report:
    """Writes each step to the attempt's row, so that who waits can follow."""

    def __init__(self, door: Database, workspace_id: UUID, attempt_id: UUID) -> None:
        self._door = door
        self._keys = {"workspace_id": workspace_id, "id": attempt_id}
        self._steps: list[dict[str, Any]] = []

    @property
    def ok(self) -> bool:
        return bool(self._steps) and all(step["ok"] for step in self._steps)

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

    def end(self) -> None:
        self._write("ok" if self.ok else "failed")

    def _write(self, state: str) -> None:
        with self._door.tx() as conn:
            SQL.report_attempt(conn, **self._keys, steps=Jsonb(self._steps), state=state)


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
