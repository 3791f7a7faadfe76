"""After an outage nothing is made up for in a burst; after a restore nothing old is sent."""

from __future__ import annotations

from datetime import timedelta
from itertools import pairwise
from uuid import UUID

from engine import MONDAY, Engine

Team = tuple[UUID, list[UUID]]
GAP = timedelta(seconds=600)


def test_an_outage_skips_what_is_late_and_keeps_the_gap(engine: Engine, team: Team) -> None:
    engine.run_until(MONDAY + timedelta(hours=10))
    due = engine.rows("SELECT id, due_at FROM outbound WHERE state IN ('planned', 'bound')")
    back = MONDAY + timedelta(hours=15)
    engine.set_clock(back)
    engine.settle_down()
    at_once = engine.rows("SELECT mailbox_id FROM outbound WHERE sent_at = %s", back)
    assert len({row["mailbox_id"] for row in at_once}) == len(at_once)
    engine.run_until(MONDAY + timedelta(hours=20), step=timedelta(minutes=1))
    rows = {row["id"]: row for row in engine.rows("SELECT * FROM outbound")}
    late = [rows[row["id"]] for row in due if row["due_at"] < back - timedelta(hours=2)]
    assert late
    assert {row["state"] for row in late} == {"skipped"}
    # What was bound is late; what still waited for a peer found none in time.
    assert {row["reason"] for row in late} <= {"late", "no_peer"}
    assert {row["reason"] for row in late if row["message_id"]} <= {"late"}
    sent = [row for row in rows.values() if row["sent_at"]]
    assert any(row["sent_at"] >= back for row in sent)
    for mailbox in team[1]:
        times = sorted(row["sent_at"] for row in sent if row["mailbox_id"] == mailbox)
        assert all(later - earlier >= GAP for earlier, later in pairwise(times)), times
    # Nothing stays behind of what was not sent.
    assert engine.one("SELECT count(*) AS n FROM inbound")["n"] == len(sent)


def test_after_a_restore_nothing_due_before_it_is_sent(engine: Engine, team: Team) -> None:
    bound = engine.run_until_bound(MONDAY + timedelta(hours=9))
    restored = MONDAY + timedelta(hours=18)
    engine.rows("UPDATE installation SET restored_at = %s, generation = generation + 1", restored)
    before = engine.arrivals()
    engine.run_until(MONDAY + timedelta(hours=20))
    assert engine.arrivals() == before
    row = engine.one("SELECT state, reason FROM outbound WHERE id = %s", bound["id"])
    assert (row["state"], row["reason"]) == ("skipped", "restored")
    engine.run_until(MONDAY + timedelta(hours=36))
    assert engine.arrivals().total() > before.total()
