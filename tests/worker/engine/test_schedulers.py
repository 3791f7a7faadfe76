"""Two schedulers over one database do the work of one, and demand names all that is due."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from uuid import UUID

import pytest
from prometheus_client import CollectorRegistry

from engine import MONDAY, Bell, Engine
from mailhearth_core.metrics import Metrics
from mailhearth_worker.scheduler.passes import Passes

Team = tuple[UUID, list[UUID]]


def _another(engine: Engine, bell: Bell) -> Passes:
    return Passes(
        engine.installation.database("scheduler"),
        bell,  # type: ignore[arg-type]
        Metrics(CollectorRegistry()),
        engine.passes._settings,
    )


def test_two_schedulers_size_bind_and_wake_once(engine: Engine) -> None:
    workspace = engine.installation.workspace("north")
    pool = engine.installation.pool(workspace, pair_gap_hours=24)
    for user in engine.users:
        engine.connect(workspace, pool, user)
    engine.settle_down()
    engine.rows("UPDATE mailboxes SET next_size_at = '2026-03-03'")
    engine.set_clock(MONDAY + timedelta(days=1, hours=9, minutes=30))
    bells = [Bell() for _ in range(3)]
    schedulers = [_another(engine, bell) for bell in bells]

    def run(passes: Passes) -> None:
        for _ in range(5):
            passes.run()

    with ThreadPoolExecutor(len(schedulers)) as threads:
        list(threads.map(run, schedulers))
    sizes = engine.rows("SELECT * FROM day_sizes WHERE day = '2026-03-03'")
    assert len(sizes) == len(engine.users)
    planned = engine.rows("SELECT * FROM outbound WHERE day = '2026-03-03'")
    assert len(planned) == sum(row["volume"] for row in sizes) > 0
    bound = {row["pair_id"] for row in planned if row["state"] == "bound"}
    assert bound
    assert {row["pair_id"] for row in engine.rows("SELECT pair_id FROM inbound")} == bound
    rung = Counter(wish.subject_id for bell in bells for wish in bell.rung)
    assert rung
    assert set(rung.values()) == {1}
    engine.bell.rung = [wish for bell in bells for wish in bell.rung] * 2  # and Redis doubles all
    engine.work()
    engine.run_until(MONDAY + timedelta(days=1, hours=18))
    sent = engine.rows("SELECT message_id FROM outbound WHERE state = 'sent'")
    assert engine.arrivals() == {row["message_id"]: 1 for row in sent}
    assert len(sent) > len(bound)


@pytest.mark.usefixtures("team")
def test_demand_names_the_verbs(engine: Engine) -> None:
    def demand() -> dict[str, object]:
        return engine.one("SELECT * FROM sched.pool_demand(%s)", engine.now)

    first = demand()
    assert (first["due_now"], first["reason"]) == (4, "poll")
    engine.run_until(MONDAY + timedelta(hours=8, minutes=50))
    idle = demand()
    assert (idle["due_now"], idle["reason"]) == (0, "nothing is due")
    assert idle["next_due_at"] is not None
    bound = engine.run_until_bound(MONDAY + timedelta(hours=9))
    engine.set_clock(bound["due_at"] + timedelta(seconds=1))
    busy = demand()
    assert "send" in str(busy["reason"]).split(", ")
    assert int(str(busy["backlog"])) >= int(str(busy["due_now"])) > 0
    engine.passes._ran.clear()
    engine.passes.run()
    shown = engine.passes._metrics.registry.get_sample_value
    assert shown("mailhearth_demand", {"group": "local"}) == demand()["due_now"]


def test_a_row_that_makes_no_sense_holds_nobody_up(engine: Engine, team: Team) -> None:
    workspace, mailboxes = team
    engine.settle_down()
    engine.rows("UPDATE mailboxes SET timezone = 'Mars/Olympus' WHERE id = %s", mailboxes[0])
    engine.rows(
        "INSERT INTO content_libraries (workspace_id, name, digest, source, created_at) "
        "VALUES (%s, 'broken', 'd', 'no library at all', now())",
        workspace,
    )
    engine.run_until(MONDAY + timedelta(hours=42), step=timedelta(minutes=30))
    sent = "SELECT count(*) AS n FROM outbound WHERE state = 'sent' AND day = '2026-03-03' AND "
    assert engine.one(sent + "mailbox_id = %s", mailboxes[1])["n"] > 0
    assert engine.one(sent + "mailbox_id = %s", mailboxes[0])["n"] == 0
