"""The local provisioner over real Postgres and files: keys, logins, wishes, deletion."""

from __future__ import annotations

import stat
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from pathlib import Path
from uuid import UUID

import psycopg
import pytest

from database import ACTOR, TestInstallation
from mailhearth_core.errors import Conflict, KeysMissing
from mailhearth_core.sealing import PrivateKey
from mailhearth_core.storage.doors import WorkerDoors
from mailhearth_core.verbs import pools, wishes, workspaces
from messages import NOW, Messages
from tenancy import plant, tenant_tables


def wish(installation: TestInstallation, workspace: UUID, kind: str, **payload: object) -> UUID:
    with installation.door.tenant_tx(workspace) as conn:
        return wishes.wish(conn, workspace, kind, payload, ACTOR)


def state(installation: TestInstallation, workspace: UUID) -> tuple[str, str]:
    row = installation.one(
        "SELECT state, state_reason FROM workspaces WHERE workspace_id = %s", workspace
    )
    return row["state"], row["state_reason"]


def works(installation: TestInstallation, workspace: UUID) -> bool:
    with installation.worker_doors().door(workspace).tx() as conn:
        found = conn.execute("SELECT workspace_id FROM workspaces").fetchall()
    return found == [{"workspace_id": workspace}]


def test_a_new_workspace_gets_its_key_its_login_and_becomes_active(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    assert state(installation, workspace) == ("active", "")
    assert works(installation, workspace)
    for path in (installation.logins / str(workspace), installation.keys.path(workspace, 1)):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    row = installation.one("SELECT * FROM key_versions")
    assert row["state"] == "active"
    assert row["public_key"] == installation.keys.open(workspace, 1).public_bytes
    password = (installation.logins / str(workspace)).read_text()
    stored = installation.one(
        "SELECT rolpassword FROM pg_authid WHERE rolname = %s",
        installation.roles.worker_login(workspace),
    )["rolpassword"]
    assert stored.startswith("SCRAM-SHA-256$")
    assert password not in stored
    refused = pytest.raises(psycopg.errors.RaiseException, match="not a password")
    with refused, installation.database("operator").tx() as conn:
        conn.execute("SELECT warden.ensure_worker_login(%s, 'clear')", [workspace])


def test_several_at_once_make_each_thing_once(installation: TestInstallation) -> None:
    workspace = workspaces.create(installation.database("cli"), "north", ACTOR)
    several = [installation.provisioner for _ in range(4)]
    with ThreadPoolExecutor(4) as pool:
        ended = list(pool.map(lambda p: p.reconcile(), several))
    assert sorted(ended) == [0, 0, 0, 1]
    assert installation.keys.versions(workspace) == [1]
    assert works(installation, workspace)


@pytest.mark.parametrize("lost", ["file", "role"])
def test_a_lost_login_is_made_again(installation: TestInstallation, lost: str) -> None:
    workspace = installation.workspace()
    if lost == "file":
        (installation.logins / str(workspace)).unlink()
    else:
        with installation.database("operator").tx() as conn:
            conn.execute("SELECT warden.drop_worker_login(%s)", [workspace])
    installation.provisioner.reconcile()
    assert works(installation, workspace)


def test_a_crash_before_the_public_row_leaves_no_key_in_use(
    installation: TestInstallation,
) -> None:
    workspace = workspaces.create(installation.database("cli"), "north", ACTOR)
    installation.keys.create(workspace, 1)
    installation.provisioner.reconcile()
    rows = installation.rows("SELECT version, state FROM key_versions")
    assert rows == [{"version": 2, "state": "active"}]


def test_a_crash_before_the_activation_is_mended(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    installation.rows("UPDATE key_versions SET state = 'pending'")
    installation.provisioner.reconcile()
    assert installation.one("SELECT version, state FROM key_versions") == {
        "version": 1,
        "state": "active",
    }
    with installation.database("operator").tx() as conn:
        conn.execute("SELECT warden.activate_key(%s, 9, %s)", (workspace, NOW))
    assert installation.one("SELECT state FROM key_versions") == {"state": "active"}


@pytest.mark.parametrize("how", ["missing", "other", "exposed"])
def test_keys_that_are_missing_are_told_and_never_made_anew(
    installation: TestInstallation, how: str
) -> None:
    workspace = installation.workspace()
    path = installation.keys.path(workspace, 1)
    kept = path.read_bytes()
    match how:
        case "missing":
            path.unlink()
        case "other":
            path.write_bytes(PrivateKey.generate().raw())
        case "exposed":
            path.chmod(0o644)
    other = workspaces.create(installation.database("cli"), "other", ACTOR)
    installation.provisioner.reconcile()
    found, reason = state(installation, workspace)
    assert found == "active"
    assert str(workspace) in reason
    assert (
        len(installation.rows("SELECT 1 FROM key_versions WHERE workspace_id = %s", workspace)) == 1
    )
    assert state(installation, other) == ("active", ""), "the others go on"
    path.unlink(missing_ok=True)
    path.write_bytes(kept)
    path.chmod(0o600)
    installation.provisioner.reconcile()
    assert state(installation, workspace) == ("active", "")


def test_rotation_archives_what_seals_nothing_and_only_that_can_be_destroyed(
    installation: TestInstallation,
) -> None:
    workspace = installation.workspace()
    installation.mailbox(workspace, installation.pool(workspace), "a@one.test")
    rotate = wish(installation, workspace, "keys.rotate")
    assert "version 2 is active" in installation.await_wish(workspace, rotate)

    def states() -> dict[int, str]:
        rows = installation.rows("SELECT version, state FROM key_versions ORDER BY version")
        return {row["version"]: row["state"] for row in rows}

    installation.provisioner.reconcile()
    assert states() == {1: "retiring", 2: "active"}
    early = wish(installation, workspace, "keys.destroy", version=1)
    with pytest.raises(Conflict, match="only archived versions can be destroyed"):
        installation.await_wish(workspace, early)
    installation.rows("UPDATE sealed_credentials SET key_version = 2")
    installation.provisioner.reconcile()
    assert states() == {1: "archived", 2: "active"}
    destroy = wish(installation, workspace, "keys.destroy", version=1)
    assert "destroyed" in installation.await_wish(workspace, destroy)
    assert states() == {1: "destroyed", 2: "active"}
    assert installation.keys.versions(workspace) == [2]
    with pytest.raises(KeysMissing):
        installation.keys.open(workspace, 1)
    installation.provisioner.reconcile()
    assert state(installation, workspace) == ("active", "")


def test_pools_are_set_by_who_saw_the_latest(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    installation.pool(workspace, "main", cap=10)
    seen = pools.find(installation.door, workspace, "main")
    both = [
        pools.change(installation.door, workspace, seen, {"cap": str(cap)}, ACTOR, sandbox=False)
        for cap in (11, 12)
    ]
    assert installation.await_wish(workspace, both[0]) == "generation 2"
    with pytest.raises(Conflict, match="generation 2, this wish saw 1"):
        installation.await_wish(workspace, both[1])
    now = pools.find(installation.door, workspace, "main")
    assert (now["policy"]["cap"], now["generation"]) == (11, 2)


@pytest.mark.parametrize(
    ("kind", "payload"),
    [
        ("pool.create", {}),
        ("pool.create", {"name": None, "policy": {}, "peering_scope": "pool"}),
        ("pool.create", {"name": "x", "policy": {}, "peering_scope": "universe"}),
        ("pool.create", {"name": "no name", "policy": {}, "peering_scope": "pool"}),
        ("pool.create", {"name": "x", "policy": {"cap": 9000}, "peering_scope": "pool"}),
        ("pool.create", {"name": "x", "policy": [], "peering_scope": "pool"}),
        ("pool.set", {"policy": {}}),
        ("keys.destroy", {"version": "many"}),
        ("keys.destroy", {"version": 10**12}),
        ("workspace.delete", {}),  # not begun: whoever can write wishes could destroy the keys
        ("reboot.world", {}),
    ],
)
def test_a_malformed_wish_is_refused_and_stops_nobody(
    installation: TestInstallation, kind: str, payload: dict[str, object]
) -> None:
    workspace = installation.workspace()
    bad = wish(installation, workspace, kind, **payload)
    good = wish(installation, workspace, "keys.rotate")
    assert installation.provisioner.reconcile() == 2
    with pytest.raises(Conflict):
        installation.await_wish(workspace, bad)
    assert "version 2" in installation.await_wish(workspace, good)


# -- the end of a workspace ---------------------------------------------------------------------


def test_deleting_a_workspace_leaves_nothing_of_it(
    installation: TestInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mailhearth_core.provisioning.shared.DELETE_BATCH", 2)
    messages = Messages(installation)
    sent = messages.bound(messages.alice, messages.bob)
    messages.sent(messages.alice)
    twin = messages.twin(sent)
    assert twin is not None
    messages.observed(twin["id"], NOW, reply="wished")
    answer = messages.planned(messages.bob)
    messages.bind(
        messages.binding(answer, messages.alice, kind="reply", reply_to_inbound=str(twin["id"]))
    )
    for n in range(1, 4):
        day = NOW.date().replace(day=10 + n)
        messages.bound(messages.alice, messages.bob, day=day)
    pool = messages.row("mailboxes", messages.alice)["pool_id"]
    other = installation.mailbox(messages.north, pool, "carol@north.test")
    plant(installation, messages.north, other)
    login = installation.roles.worker_login(messages.north)
    workspaces.begin_deletion(installation.database("cli"), messages.north, ACTOR)
    assert installation.provisioner.reconcile() == 0
    assert works(installation, messages.north), "its workers may still take its mail away"
    monkeypatch.setattr("mailhearth_core.provisioning.shared.PURGE_SECONDS", 0.0)  # nobody does
    assert installation.provisioner.reconcile() == 1

    for table in tenant_tables(installation):
        rows = installation.rows(f"SELECT 1 FROM {table} WHERE workspace_id = %s", messages.north)
        assert rows == [], table
    assert not (installation.logins / str(messages.north)).exists()
    assert installation.keys.versions(messages.north) == []
    assert installation.rows("SELECT 1 FROM pg_roles WHERE rolname = %s", login) == []
    ends = installation.rows("SELECT action FROM platform_audit_events ORDER BY at, id")
    assert [row["action"] for row in ends][-2:] == ["workspace.delete", "workspace.deleted"]
    # The other side keeps its own half, without the address; what never left is expected no more.
    halves = installation.rows("SELECT state, sender_address, sender_name FROM inbound")
    assert halves == [{"state": "observed", "sender_address": "", "sender_name": ""}]
    mine = messages.row("outbound", answer)
    assert (mine["peer_address"], mine["peer_name"]) == (None, None)
    whole = "".join(
        str(row["t"])
        for table in tenant_tables(installation)
        for row in installation.rows(f"SELECT t::text FROM {table} t")
    )
    assert "alice@north.test" not in whole
    assert messages.scheduler("unbind_lost_peers", now=NOW) == 1, "it can be bound to another"
    later = NOW + timedelta(hours=3)
    assert messages.settle(later) == {"skipped:no_peer": 1}
    assert works(installation, messages.south)
    assert installation.provisioner.reconcile() == 0


def test_a_deletion_cut_short_goes_on(
    installation: TestInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = installation.workspace()
    installation.mailbox(workspace, installation.pool(workspace), "a@one.test")
    workspaces.begin_deletion(installation.database("cli"), workspace, ACTOR)
    broken = installation.provisioner

    def crash(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(type(broken._ring._keys), "destroy", crash)
    with pytest.raises(KeyboardInterrupt):
        broken.reconcile()
    monkeypatch.undo()
    assert installation.keys.versions(workspace) == [1], "keys go last"
    assert installation.provisioner.reconcile() == 1
    assert installation.keys.versions(workspace) == []
    assert installation.rows("SELECT 1 FROM workspaces") == []


def test_only_a_workspace_that_was_to_end_can_be_emptied(installation: TestInstallation) -> None:
    workspace = installation.workspace()
    with installation.database("operator").tx() as conn:
        row = conn.execute(
            "SELECT warden.delete_workspace_batch(%s, 100) AS n", [workspace]
        ).fetchone()
        assert row == {"n": 0}
        conn.execute("SELECT warden.end_workspace(%s, %s)", (workspace, NOW))
    assert state(installation, workspace) == ("active", "")


def test_a_folder_without_logins_serves_nobody(
    installation: TestInstallation, tmp_path: Path
) -> None:
    doors = WorkerDoors(installation.owner_url, tmp_path / "none", installation.roles, name="w")
    assert doors.workspaces() == []
    workspace = installation.workspace()
    with pytest.raises(KeysMissing, match="No database login"):
        doors.door(workspace)
    assert installation.worker_doors().workspaces() == [workspace]
