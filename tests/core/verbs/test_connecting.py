"""Connecting a mailbox in steps, by a real worker and the mail sandbox's servers."""

from __future__ import annotations

from base64 import b64decode
from collections.abc import Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from database import ACTOR, TestInstallation
from engine import Engine
from mailhearth_core.errors import Conflict, NotFound
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs import connecting, mailbox_list, mailboxes
from mailhearth_core.verbs.connecting import Attempt, PasswordNeeded
from mailhearth_core.verbs.mailbox_spec import MailboxSpec

CANARY = "canary-password"


@pytest.fixture
def engine(installation: TestInstallation, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(installation, tmp_path)
    try:
        yield made
    finally:
        made.close()


@pytest.fixture
def place(engine: Engine) -> tuple[UUID, UUID]:
    workspace = engine.installation.workspace()
    return workspace, engine.installation.pool(workspace)


def typed(engine: Engine, number: int = 0, password: str | None = None, **more: str) -> MailboxSpec:
    """What somebody types for one of the sandbox's users."""
    user = engine.users[number]
    return engine.spec(user.address, password or user.password.reveal(), **more)


def look(engine: Engine, workspace: UUID, attempt: UUID) -> Attempt:
    return connecting.look(engine.installation.web_door, workspace, attempt)


def count(engine: Engine, table: str) -> int:
    return int(engine.one(f"SELECT count(*) AS n FROM {table}")["n"])


def test_a_mailbox_is_tested_then_saved_by_the_ciphertext_alone(
    engine: Engine, place: tuple[UUID, UUID]
) -> None:
    workspace, pool = place
    door = engine.installation.web_door
    attempt = connecting.try_out(door, workspace, pool, typed(engine, name="Ann"))
    assert look(engine, workspace, attempt).state == "queued"
    with pytest.raises(Conflict, match="no successful"):
        connecting.save(door, workspace, attempt, "workspace", ACTOR)
    engine.settle_down()
    done = look(engine, workspace, attempt)
    assert done.state == "ok", done.steps
    assert [step["name"] for step in done.steps][-1] == "smtp.login"
    stored = engine.one("SELECT sealed FROM connection_attempts")["sealed"]

    mailbox = connecting.save(door, workspace, attempt, "workspace", ACTOR)
    assert count(engine, "connection_attempts") == 0
    with pytest.raises(NotFound, match="over"):  # a second click
        connecting.save(door, workspace, attempt, "workspace", ACTOR)
    kept = engine.one("SELECT sealed FROM sealed_credentials WHERE field = 'imap_password'")
    assert bytes(kept["sealed"]) == b64decode(stored["imap_password"])
    row = mailbox_list.find(door, workspace, mailbox)
    assert (row["display_name"], row["consent"], row["pool_id"]) == ("Ann", "workspace", pool)
    engine.settle_down()  # the first sign-in, by the credential that was copied
    assert mailbox_list.find(door, workspace, mailbox)["connected_at"] is not None


def test_a_held_password_serves_the_same_servers_and_user_and_no_others(
    engine: Engine, place: tuple[UUID, UUID]
) -> None:
    workspace, pool = place
    door = engine.installation.web_door
    spec = typed(engine)
    held = connecting.try_out(door, workspace, pool, spec, hold_only=True)
    engine.settle_down()
    assert look(engine, workspace, held).state == "held"  # no worker was asked
    without = replace(spec, password=Secret(""))
    for change in (
        {"username": "eve@example.test"},
        {"imap": replace(spec.imap, port=spec.imap.port + 1)},
        {"smtp": replace(spec.smtp, tls="starttls")},
        {"smtp": replace(spec.smtp, host="localhost")},
        {"ca_pem": None},
    ):
        with pytest.raises(PasswordNeeded, match="type it again"):
            connecting.try_out(
                door,
                workspace,
                pool,
                replace(without, **change),
                held=held,
            )
    with pytest.raises(PasswordNeeded):
        connecting.try_out(door, workspace, pool, without)
    renamed = replace(without, display_name="Ann", timezone="Asia/Tokyo")
    attempt = connecting.try_out(door, workspace, pool, renamed, held=held)
    with pytest.raises(NotFound):
        look(engine, workspace, held)
    engine.settle_down()
    done = look(engine, workspace, attempt)
    assert (done.state, done.spec and done.spec.timezone) == ("ok", "Asia/Tokyo")


def test_a_wrong_password_fails_at_its_step_and_nothing_of_it_is_in_clear(
    engine: Engine, place: tuple[UUID, UUID]
) -> None:
    workspace, pool = place
    door = engine.installation.web_door
    attempt = connecting.try_out(door, workspace, pool, typed(engine, password=CANARY))
    engine.settle_down()
    done = look(engine, workspace, attempt)
    assert done.state == "failed"
    assert [step["name"] for step in done.steps if not step["ok"]] == ["imap.login", "smtp.login"]
    everything = engine.rows("SELECT a.*::text AS text FROM connection_attempts a")
    assert CANARY not in str(everything)
    with pytest.raises(Conflict):
        connecting.save(door, workspace, attempt, "workspace", ACTOR)
    assert count(engine, "mailboxes") == 0


def test_changing_servers_needs_the_password_and_leaves_consent_and_state_alone(
    engine: Engine, place: tuple[UUID, UUID]
) -> None:
    workspace, pool = place
    door = engine.installation.web_door
    mailbox = engine.connect(workspace, pool, engine.users[0])
    engine.settle_down()
    mailboxes.set_state(door, workspace, {"id": mailbox, "address": ""}, "paused", ACTOR)
    before = mailbox_list.find(door, workspace, mailbox)
    spec = typed(engine)
    with pytest.raises(PasswordNeeded):
        connecting.try_out(
            door, workspace, pool, replace(spec, password=Secret("")), mailbox_id=mailbox
        )
    attempt = connecting.try_out(
        door, workspace, pool, replace(spec, smtp=replace(spec.smtp, host="localhost")),
        mailbox_id=mailbox,
    )  # fmt: skip
    other = engine.connect(workspace, pool, engine.users[1])
    with pytest.raises(PasswordNeeded):  # a password is held for its own mailbox alone
        connecting.try_out(
            door, workspace, pool, replace(spec, password=Secret("")), mailbox_id=other,
            held=attempt,
        )  # fmt: skip
    engine.settle_down()
    assert look(engine, workspace, attempt).state == "ok"
    assert connecting.save(door, workspace, attempt, None, ACTOR) == mailbox
    after = mailbox_list.find(door, workspace, mailbox)
    assert after["smtp_host"] == "localhost"
    changed = {key for key in before if before[key] != after[key]}
    assert changed == {"smtp_host"}


def test_a_domain_is_searched_by_the_worker(engine: Engine, place: tuple[UUID, UUID]) -> None:
    workspace, _ = place
    door = engine.installation.web_door
    domain = engine.users[0].address.rpartition("@")[2]
    attempt = connecting.discover(door, workspace, f"ann@{domain}")
    nowhere = connecting.discover(door, workspace, "ann@nowhere.test")
    engine.settle_down()
    done = look(engine, workspace, nowhere)
    assert (done.state, done.found, done.spec) == ("failed", [], None)
    assert done.steps[-1]["name"] == "find.names"
    assert look(engine, workspace, attempt).is_over
    with pytest.raises(Conflict):
        connecting.save(door, workspace, attempt, "none", ACTOR)


def test_an_attempt_is_its_workspaces_alone_and_ends_after_ten_minutes(
    engine: Engine, place: tuple[UUID, UUID], monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace, pool = place
    door = engine.installation.web_door
    attempt = connecting.try_out(door, workspace, pool, typed(engine))
    engine.settle_down()
    south = engine.installation.workspace("south")
    south_pool = engine.installation.pool(south)
    acts: list[Any] = [
        lambda: connecting.look(door, south, attempt),
        lambda: connecting.save(door, south, attempt, "none", ACTOR),
    ]
    for act in acts:
        with pytest.raises(NotFound):
            act()
    with pytest.raises(PasswordNeeded):
        connecting.try_out(
            door, south, south_pool, replace(typed(engine), password=Secret("")), held=attempt
        )

    class Later(datetime):
        @classmethod
        def now(cls, tz: Any = None) -> Any:
            return datetime.now(UTC) + connecting.LIFE + timedelta(seconds=1)

    monkeypatch.setattr(connecting, "datetime", Later)
    with pytest.raises(NotFound):
        connecting.save(door, workspace, attempt, "none", ACTOR)
    assert count(engine, "mailboxes") == 0


def test_an_address_that_is_there_is_refused_before_and_after_the_test(
    engine: Engine, place: tuple[UUID, UUID]
) -> None:
    workspace, pool = place
    door = engine.installation.web_door
    attempt = connecting.try_out(door, workspace, pool, typed(engine))
    engine.settle_down()
    engine.connect(workspace, pool, engine.users[0])
    with pytest.raises(Conflict, match="already"):
        connecting.save(door, workspace, attempt, "none", ACTOR)
    assert look(engine, workspace, attempt).state == "ok"  # rolled back with it
    with pytest.raises(Conflict, match="already"):
        connecting.try_out(door, workspace, pool, typed(engine))
