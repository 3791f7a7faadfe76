"""Testing a connection: steps in plain words, and nothing of the password anywhere."""

from __future__ import annotations

import io
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from engine import Engine
from mailhearth_core.mail.probe import probe
from mailhearth_core.verbs import attempts
from mailhearth_local.sandbox.ca import ensure_certificates
from mailhearth_worker import attempts as worker_attempts

Team = tuple[UUID, list[UUID]]
CANARY = "canary-pa55word"


@pytest.fixture(autouse=True)
def soon(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server that waits for the client to speak first is given up after a second."""
    monkeypatch.setattr(worker_attempts, "probe", partial(probe, deadline_s=1.0))


def _attempt(engine: Engine, workspace: UUID, mailbox: UUID, spec: Any) -> dict[str, Any]:
    door = engine.installation.door
    row = engine.row(workspace, mailbox)
    attempt = attempts.start(door, workspace, row, spec, row["worker_group"])
    demand = engine.rows("SELECT * FROM sched.pool_demand(%s)", engine.now)
    assert [found["reason"] for found in demand if found["due_now"]] != []
    assert any("test" in found["reason"] for found in demand)
    engine.settle_down()
    found = attempts.find(door, workspace, attempt)
    assert found is not None
    return found


def test_what_is_stored_works(engine: Engine, team: Team) -> None:
    workspace, members = team
    engine.settle_down()
    found = _attempt(engine, workspace, members[0], None)
    assert found["state"] == "ok"
    assert found["finished_at"] is not None
    assert [step["name"] for step in found["steps"]] == [
        f"{side}.{step}"
        for side, steps in (
            ("imap", ("resolve", "connect", "tls", "login", "folders")),
            ("smtp", ("resolve", "connect", "tls", "login")),
        )
        for step in steps
    ]


@pytest.mark.parametrize(
    ("values", "failed", "words"),
    [
        ({}, {"imap.login", "smtp.login"}, "password"),
        ({"smtp": "127.0.0.1:1"}, {"imap.login", "smtp.connect"}, "port"),
        ({"ca": "another"}, {"imap.tls", "smtp.tls"}, "certificate"),
        ({"tls": "starttls"}, {"imap.connect", "smtp.connect"}, "tls"),
    ],
    ids=["wrong password", "wrong port", "wrong authority", "STARTTLS on a port for TLS"],
)
def test_what_fails_is_said_with_what_to_do(
    engine: Engine,
    team: Team,
    log_lines: io.StringIO,
    tmp_path: Path,
    values: dict[str, str],
    failed: set[str],
    words: str,
) -> None:
    workspace, members = team
    if values.get("ca"):
        other = ensure_certificates(tmp_path / "other", ["localhost"], datetime.now(UTC))
        values = {"ca": str(other.ca)}
    address = engine.row(workspace, members[0])["address"]
    found = _attempt(engine, workspace, members[0], engine.spec(address, CANARY, **values))
    assert found["state"] == "failed"
    wrong = [step for step in found["steps"] if not step["ok"]]
    assert {step["name"] for step in wrong} == failed
    for step in wrong:
        assert step["detail"]
        assert step["hint"]
        assert step["code"]
    assert any(words in (step["detail"] + step["hint"]).lower() for step in wrong), wrong
    row = engine.one("SELECT t::text AS text FROM connection_attempts t")["text"]
    for text in (row, log_lines.getvalue()):
        assert CANARY not in text
    # A test changes nothing: no strike, and what is stored stays.
    assert engine.row(workspace, members[0])["auth_failures"] == 0


def test_one_that_has_expired_is_left_alone(engine: Engine, team: Team) -> None:
    workspace, members = team
    row = engine.row(workspace, members[0])
    attempt = attempts.start(engine.installation.door, workspace, row, None, "local")
    engine.passes.run()
    wishes = [wish for wish in engine.bell.rung if wish.verb == "test"]
    assert [wish.subject_id for wish in wishes] == [attempt]
    engine.rows("UPDATE connection_attempts SET expires_at = clock_timestamp()")
    engine.work()
    left = engine.one("SELECT state, steps FROM connection_attempts WHERE id = %s", attempt)
    assert (left["state"], left["steps"]) == ("queued", [])
    engine.passes.run()
    assert engine.rows("SELECT 1 FROM connection_attempts") == []
