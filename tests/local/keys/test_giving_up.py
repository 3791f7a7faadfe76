"""A key that is lost for good: what goes with it, what stays, and how work goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from uuid import UUID

import pytest

from cli import CommandLine
from database import ACTOR, PASSWORD, TestInstallation
from mailhearth_core.errors import Conflict, NotFound
from mailhearth_core.provisioning.keyring import KeyRing
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs import blockers, keys, mailboxes, wishes
from mailhearth_core.verbs.mailbox_spec import parse_spec
from mailhearth_core.warmup.policy import Policy
from mailhearth_worker.credentials import open_field

NEW = "battery staple"


def give_up(installation: TestInstallation, workspace: UUID, version: int) -> str:
    wish = keys.abandon(installation.door, workspace, version, ACTOR)
    return installation.await_wish(workspace, wish)


def box(installation: TestInstallation, workspace: UUID, address: str) -> dict[str, Any]:
    found = mailboxes.listing(installation.door, workspace)
    return next(row for row in found if row["address"] == address)


def states(installation: TestInstallation, workspace: UUID) -> dict[int, str]:
    return {row["version"]: row["state"] for row in keys.listing(installation.door, workspace)}


def reconnect(installation: TestInstallation, workspace: UUID, address: str) -> None:
    values = {"address": address, "imap": "127.0.0.1:1143", "smtp": "127.0.0.1:1587", "tls": "none"}
    row = box(installation, workspace, address)
    mailboxes.reconnect(installation.door, workspace, row, parse_spec(values, Secret(NEW)), ACTOR)


def opened(installation: TestInstallation, workspace: UUID, mailbox: UUID) -> tuple[int, str]:
    """As a worker would: the version and the password."""
    record = installation.one(
        "SELECT s.*, k.fingerprint FROM sealed_credentials s JOIN key_versions k "
        "ON k.workspace_id = s.workspace_id AND k.version = s.key_version "
        "WHERE s.mailbox_id = %s AND field = 'imap_password'",
        mailbox,
    )
    row = installation.one("SELECT * FROM mailboxes WHERE id = %s", mailbox)
    secret = open_field(
        installation.keys,
        workspace,
        row,
        "imap_password",
        record["key_version"],
        record["fingerprint"],
        record["sealed"],
    )
    return record["key_version"], secret.reveal()


def test_the_active_key_is_lost_and_work_goes_on_with_a_new_one(
    installation: TestInstallation,
) -> None:
    workspace, other = installation.workspace(), installation.workspace("other")
    pool = installation.pool(workspace)
    ann = installation.mailbox(workspace, pool, "ann@one.test")
    installation.mailbox(workspace, pool, "bob@one.test")
    away = installation.mailbox(other, installation.pool(other), "ann@one.test")
    bob = box(installation, workspace, "bob@one.test")
    mailboxes.set_state(installation.door, workspace, bob, "paused", ACTOR)
    installation.keys.path(workspace, 1).unlink()
    installation.provisioner.reconcile()
    lost = keys.losses(installation.door, workspace, 1)
    assert (lost["state"], lost["seals"]) == ("active", 4)
    assert [one["address"] for one in lost["mailboxes"]] == ["ann@one.test", "bob@one.test"]

    told = give_up(installation, workspace, 1)
    assert told == "version 1 is given up: 4 credentials of 2 mailboxes are gone"
    assert states(installation, workspace) == {1: "destroyed", 2: "active"}
    assert installation.keys.versions(workspace) == [2]
    found = installation.one("SELECT * FROM workspaces WHERE workspace_id = %s", workspace)
    assert (found["state"], found["state_reason"]) == ("active", "")
    row = box(installation, workspace, "ann@one.test")
    assert row["state"] == "needs_reauth"
    assert row["state_reason"] == row["last_error"]
    assert "key version 1 was given up" in row["state_reason"]
    (blocker,) = blockers.of_mailbox(row, {}, Policy())
    assert (blocker.code, blocker.text) == ("needs_reauth", row["state_reason"])
    paused = box(installation, workspace, "bob@one.test")
    assert (paused["state"], paused["state_reason"]) == ("paused", "paused by tester")
    assert "given up" in paused["last_error"]
    events = installation.rows(
        "SELECT action, actor, subject, detail FROM audit_events WHERE workspace_id = %s "
        "AND action LIKE 'keys.%%' ORDER BY at, id",
        workspace,
    )
    assert events == [
        {"action": "keys.abandon", "actor": "tester", "subject": "1", "detail": {}},
        {
            "action": "keys.abandoned",
            "actor": "tester",
            "subject": "1",
            "detail": {"credentials": 4, "mailboxes": 2},
        },
    ]

    reconnect(installation, workspace, "ann@one.test")
    assert box(installation, workspace, "ann@one.test")["state"] == "active"
    assert opened(installation, workspace, ann) == (2, NEW)
    assert opened(installation, other, away) == (1, PASSWORD), "other workspaces lose nothing"
    assert states(installation, other) == {1: "active"}


def test_an_older_key_is_lost_and_what_was_sealed_anew_stays(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    pool = installation.pool(workspace)
    installation.mailbox(workspace, pool, "old@one.test")
    installation.await_wish(workspace, keys.rotate(installation.door, workspace, ACTOR))
    new = installation.mailbox(workspace, pool, "new@one.test")
    installation.keys.path(workspace, 1).unlink()
    told = give_up(installation, workspace, 1)
    assert "2 credentials of 1 mailboxes" in told
    assert states(installation, workspace) == {1: "destroyed", 2: "active"}, "none is made"
    assert box(installation, workspace, "old@one.test")["state"] == "needs_reauth"
    assert box(installation, workspace, "new@one.test")["state"] == "active"
    assert opened(installation, workspace, new) == (2, PASSWORD)


def test_a_crash_between_two_steps_is_mended_by_the_next_pass(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    installation.mailbox(workspace, installation.pool(workspace), "ann@one.test")
    installation.keys.path(workspace, 1).unlink()
    wish = keys.abandon(installation.door, workspace, 1, ACTOR)
    installation.await_wish(workspace, wish)
    # The new version is not yet active, and the wish not ended, when the process dies.
    installation.rows("UPDATE key_versions SET state = 'pending' WHERE version = 2")
    installation.rows("UPDATE commands SET state = 'open' WHERE id = %s", wish)
    assert "0 credentials" in installation.await_wish(workspace, wish)
    assert states(installation, workspace) == {1: "destroyed", 2: "active"}
    done = "SELECT 1 FROM audit_events WHERE action = 'keys.abandoned'"
    assert len(installation.rows(done)) == 1


@pytest.mark.parametrize("there", [True, False])
def test_a_pending_version_takes_its_place_if_it_is_not_lost_too(
    installation: TestInstallation, there: bool
) -> None:
    workspace = installation.workspace()
    ring = KeyRing(installation.database("operator"), installation.keys, hint="")
    assert ring.add(workspace, ring.versions(workspace)) == 2
    installation.keys.path(workspace, 1).unlink()
    if not there:
        installation.keys.path(workspace, 2).unlink()
    ring.abandon(workspace, 1, "tester")
    expected = {2: "active"} if there else {2: "pending", 3: "active"}
    assert states(installation, workspace) == {1: "destroyed", **expected}


def test_a_key_that_is_there_is_not_given_up(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    ann = installation.mailbox(workspace, installation.pool(workspace), "ann@one.test")
    with pytest.raises(Conflict, match="nothing of it is lost"):
        give_up(installation, workspace, 1)
    with pytest.raises(Conflict, match="no key version 7"):
        give_up(installation, workspace, 7)
    with pytest.raises(NotFound):
        keys.losses(installation.door, workspace, 7)
    assert states(installation, workspace) == {1: "active"}
    assert opened(installation, workspace, ann) == (1, PASSWORD)


def test_an_attempt_and_an_import_that_were_sealed_to_it_go_too(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    installation.pool(workspace)
    for version in (1, 2):
        installation.rows(
            "INSERT INTO connection_attempts (workspace_id, mailbox_id, worker_group, settings, "
            "key_version, sealed, created_at, expires_at) "
            "VALUES (%s, uuid7(), 'local', '{}', %s, '{}', now(), now() + interval '1 hour')",
            workspace,
            version,
        )
        made = installation.one(
            "INSERT INTO mailbox_imports (workspace_id, file_name, encoding, guessed, created_at, "
            "expires_at) VALUES (%s, 'x.csv', 'utf-8', false, now(), now() + interval '1 hour') "
            "RETURNING id",
            workspace,
        )
        installation.rows(
            "INSERT INTO mailbox_import_rows (workspace_id, import_id, line, address, mailbox_id, "
            "settings, key_version, imap_sealed, smtp_sealed) "
            "VALUES (%s, %s, 2, 'a@one.test', uuid7(), '{}', %s, 'x', 'x')",
            workspace,
            made["id"],
            version,
        )
    installation.keys.path(workspace, 1).unlink()
    give_up(installation, workspace, 1)
    for table in ("connection_attempts", "mailbox_import_rows"):
        left = installation.rows(f"SELECT key_version FROM {table}")
        assert [row["key_version"] for row in left] == [2], table
    assert len(installation.rows("SELECT 1 FROM mailbox_imports")) == 1


@pytest.mark.parametrize("payload", [{}, {"version": "many"}, {"version": 10**12}])
def test_a_malformed_wish_loses_nothing(
    installation: TestInstallation, payload: dict[str, Any]
) -> None:
    workspace = installation.workspace()
    with installation.door.tenant_tx(workspace) as conn:
        wish = wishes.wish(conn, workspace, "keys.abandon", payload, ACTOR)
    with pytest.raises(Conflict):
        installation.await_wish(workspace, wish)
    assert states(installation, workspace) == {1: "active"}


def test_the_command_says_what_is_lost_and_asks_for_the_name(tmp_path: Path) -> None:
    run = CommandLine(tmp_path / "data")
    run.run("workspace", "create", "acme")
    run.run("pool", "create", "sales")
    run.run(
        *("mailbox", "add", "--address", "ann@one.test", "--imap", "127.0.0.1:1"),
        *("--smtp", "127.0.0.1:2", "--tls", "none", "--password-stdin", "--consent"),
        given="letmein\n",
    )
    (path,) = (tmp_path / "data" / "keys").glob("*/1")
    path.unlink()
    words = ("keys", "abandon", "--workspace", "acme", "--version", "1")
    refused = run.run(*words, "--json", given="acne\n", code=1)
    told, _, error = refused.stderr.partition("{")
    assert "key version 1 (active) of acme go 2 credentials of 1 mailboxes" in told
    assert "ann@one.test" in told
    assert json.loads("{" + error)["error"]["code"] == "not_confirmed"
    assert run.json("workspace", "show", "acme")["keys"][0]["state"] == "active"

    done = run.json(*words, "--yes", "acme")
    assert done["mailboxes"] == [{"address": "ann@one.test", "declared_by": None}]
    assert (done["credentials"], done["version"]) == (2, 1)
    (row,) = run.json("mailbox", "list")
    assert row["state"] == "needs_reauth"
    assert run.json("workspace", "show", "acme")["reason"] == ""
    again = run.run(*words, "--yes", "acme", code=1)
    assert "destroyed already" in again.stderr
