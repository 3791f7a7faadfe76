"""Rotating a workspace's keys while its mailboxes work."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from database import ACTOR
from engine import MONDAY, Engine
from mailhearth_core.verbs import keys, mailboxes
from mailhearth_worker.scheduler.ring import Reseals

Team = tuple[UUID, list[UUID]]


def test_rotation_seals_everything_anew_in_the_background(engine: Engine, team: Team) -> None:
    workspace, (mailbox, *_) = team
    door = engine.installation.door
    engine.run_until_bound(MONDAY + timedelta(hours=9))
    # One credential opens no more: it is passed over and holds nobody up.
    engine.rows("UPDATE mailboxes SET username = 'edited' WHERE id = %s", mailbox)
    before = engine.arrivals().total()
    command = keys.rotate(door, workspace, ACTOR)
    assert "version 2 is active" in engine.installation.await_wish(workspace, command)
    engine.runtime.sessions.close()
    engine.passes._ran.clear()  # so that its turn comes in the next pass
    engine.run_until(MONDAY + timedelta(hours=18))
    assert engine.arrivals().total() > before
    held = "SELECT mailbox_id FROM sealed_credentials WHERE key_version = 1"
    assert {row["mailbox_id"] for row in engine.rows(held)} == {mailbox}
    versions = {row["version"]: row for row in keys.listing(door, workspace)}
    assert (versions[1]["state"], versions[2]["state"]) == ("retiring", "active")

    engine.rows("UPDATE mailboxes SET username = address WHERE id = %s", mailbox)
    engine.passes._ran.clear()
    engine.passes._reseals = Reseals()  # it rings ever more rarely: another scheduler begins anew
    engine.settle_down()
    assert engine.rows(held) == []
    generations = {row["generation"] for row in engine.rows("SELECT * FROM sealed_credentials")}
    assert generations == {2}
    engine.installation.provisioner.reconcile()
    assert keys.listing(door, workspace)[0]["state"] == "archived"
    command = keys.destroy(door, workspace, 1, ACTOR)
    engine.installation.await_wish(workspace, command)
    assert keys.listing(door, workspace)[0]["state"] == "destroyed"
    engine.runtime.sessions.close()
    engine.run_until(MONDAY + timedelta(hours=42))
    states = engine.rows("SELECT DISTINCT state FROM outbound WHERE day = '2026-03-03'")
    assert {"state": "sent"} in states


def test_a_seal_that_never_opens_keeps_no_worker_awake(engine: Engine, team: Team) -> None:
    workspace, (mailbox, *_) = team
    engine.settle_down()
    engine.rows("UPDATE mailboxes SET username = 'edited' WHERE id = %s", mailbox)
    command = keys.rotate(engine.installation.door, workspace, ACTOR)
    assert "version 2 is active" in engine.installation.await_wish(workspace, command)

    def due() -> list[str]:
        rows = engine.rows("SELECT reason FROM sched.pool_demand(%s)", engine.now)
        return [row["reason"] for row in rows]

    assert due() == ["reseal"]
    engine.passes._ran.clear()  # so that its turn comes in the next pass
    engine.settle_down()
    held = "SELECT field FROM sealed_credentials WHERE key_version = 1 AND mailbox_id = %s"
    assert len(engine.rows(held, mailbox)) == 2
    assert due() == ["nothing is due"]
    # Typed anew, and sealed to an old key once more, it may open: there is something to do.
    spec = engine.spec(engine.row(workspace, mailbox)["address"], "word")
    mailboxes.reconnect(
        engine.installation.door, workspace, engine.row(workspace, mailbox), spec, ACTOR
    )
    engine.rows("UPDATE action SET state = 'done' WHERE state = 'pending' AND kind = 'poll'")
    assert due() == ["nothing is due"]
    engine.installation.await_wish(
        workspace, keys.rotate(engine.installation.door, workspace, ACTOR)
    )
    assert due() == ["reseal"]
