"""Weeks of virtual days: what placements do to a mailbox, and whose placements count."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import date, timedelta
from typing import Any
from uuid import UUID

import pytest

from database import ACTOR
from engine import MONDAY, Engine
from mailhearth_core.verbs import mailboxes as verbs
from mailhearth_core.verbs import status, why
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import ControllerRow, DaySignals, next_day
from mailhearth_worker.scheduler import learn

DAY = timedelta(days=1)
Placed = Callable[[UUID, int, UUID], str]
"""(sender, number of the message on its day, recipient) -> placement."""


class Weeks:
    """Mailboxes of one pool. Sizing is the scheduler's own; what became of the mail is planted."""

    def __init__(self, engine: Engine, mailboxes: int, **policy: Any) -> None:
        self.engine = engine
        make = engine.installation
        self.workspace = make.workspace("north")
        pool = make.pool(self.workspace, weekdays="mon-sun", pair_gap_hours=24, **policy)
        self.boxes = [
            make.mailbox(self.workspace, pool, f"box{n}@north.test") for n in range(mailboxes)
        ]
        self.day = MONDAY.date() - DAY
        engine.rows(
            "UPDATE mailboxes SET next_size_at = %s, connected_at = %s", MONDAY, MONDAY - DAY
        )

    def pass_days(self, days: int, placed: Placed) -> None:
        for _ in range(days):
            self.day += DAY
            self.engine.set_clock(MONDAY + (self.day - MONDAY.date()) + timedelta(seconds=1))
            self.engine.passes.run()
            self._plant(placed)

    def _plant(self, placed: Placed) -> None:
        rows = self.engine.rows(
            "SELECT id, mailbox_id, slot FROM outbound WHERE day = %s ORDER BY mailbox_id, slot",
            self.day,
        )
        number = (self.day - MONDAY.date()).days
        for row in rows:
            others = [box for box in self.boxes if box != row["mailbox_id"]]
            peer = others[(7 * number + row["slot"]) % len(others)]
            self.engine.rows(
                "UPDATE outbound SET state = 'sent', sent_at = due_at, peer_ref = %s, "
                "placement = %s WHERE id = %s",
                *(str(peer), placed(row["mailbox_id"], row["slot"], peer), row["id"]),
            )
        self.engine.rows("UPDATE action SET state = 'done' WHERE kind = 'send'")

    def rows(self, box: UUID) -> list[ControllerRow]:
        found = self.engine.rows(
            "SELECT body FROM controller_rows WHERE mailbox_id = %s ORDER BY day", box
        )
        return [ControllerRow.from_json(row["body"]) for row in found]

    def volumes(self, box: UUID) -> list[int]:
        found = self.engine.rows(
            "SELECT volume FROM day_sizes WHERE mailbox_id = %s ORDER BY day", box
        )
        return [row["volume"] for row in found]

    def why(self, box: UUID) -> dict[str, Any]:
        row = self.engine.row(self.workspace, box)
        return why.explain(self.engine.installation.database("cli"), self.workspace, row)

    def pool(self) -> dict[str, Any]:
        seen = status.overview(self.engine.installation.database("cli"))
        found: dict[str, Any] = seen["workspaces"][0]["pools"][0]
        return found

    def gauge(self, state: str) -> float | None:
        with self.engine.installation.database("scheduler").tx() as conn:
            learn.show(conn, self.engine.passes._metrics)
        registry = self.engine.passes._metrics.registry
        return registry.get_sample_value("mailhearth_mailboxes", {"state": state})

    def judge_sensors(self) -> int:
        with self.engine.installation.database("scheduler").tx() as conn:
            return learn.judge_sensors(conn, self.engine.now)


def clean(sender: UUID, slot: int, peer: UUID) -> str:
    return "inbox"


def test_down_into_quarantine_through_probation_and_back(engine: Engine) -> None:
    limits = {"lower_junk_percent": 13, "quarantine_junk_percent": 20, "block_junk_percent": 40}
    weeks = Weeks(engine, 12, start_volume=6, step=2, cap=10, **limits)
    ann, bob = weeks.boxes[:2]

    def worse(every: int) -> Placed:
        return lambda sender, slot, _: "junk" if sender == ann and slot % every == 0 else "inbox"

    weeks.pass_days(8, clean)
    assert weeks.volumes(ann) == [6, 8, 10, 10, 10, 10, 10, 10]
    weeks.pass_days(6, worse(3))  # 3 of 10 a day: 3, 6, 9, 12, 15 of 70
    assert weeks.rows(ann)[-2].reasons[0].code == "unclean"
    found = weeks.rows(ann)[-1]
    assert (found.reasons[0].code, found.target_volume, found.phase) == ("lowered", 7, "healthy")
    assert "15 of 70 in junk: 21.4 % (13.4 to 32.4 %)" in found.reasons[0].text
    weeks.pass_days(5, worse(2))
    assert [row.phase for row in weeks.rows(ann)].count("quarantined") >= 1
    began = next(row for row in weeks.rows(ann) if row.phase == "quarantined")
    assert began.since is not None

    # Seen by whoever asks; nothing is sent, and others still write to it.
    told = weeks.why(ann)
    assert (told["volume"], told["phase"]["name"]) == (0, "quarantined")
    assert told["phase"]["until"] == began.since + 7 * DAY
    assert told["not_sending"][0]["code"] == "quarantined"
    assert "in junk" in told["not_sending"][0]["text"]
    pool = weeks.pool()
    assert (pool["mailboxes"]["quarantined"], pool["mailboxes"]["active"]) == (1, 12)
    assert [entry["address"] for entry in pool["not_working"]] == ["box0@north.test"]
    assert (weeks.gauge("quarantined"), weeks.gauge("healthy")) == (1, 11)
    assert _accepts(engine, ann)

    left = (began.since + 7 * DAY - weeks.day).days
    weeks.pass_days(left - 1, clean)
    assert weeks.volumes(ann)[-7:] == [0] * 7
    weeks.pass_days(4, clean)
    assert [row.state for row in weeks.rows(ann)][-4:] == ["probation"] * 4
    assert weeks.volumes(ann)[-4:] == [6] * 4
    assert weeks.why(ann)["phase"]["name"] == "probation"
    assert weeks.gauge("probation") == 1
    weeks.pass_days(4, clean)
    assert [row.state for row in weeks.rows(ann)][-4:] == ["healthy"] * 4
    assert weeks.volumes(ann)[-4:] == [8, 10, 10, 10]
    assert weeks.gauge("probation") == 0
    assert set(weeks.volumes(bob)[2:]) == {10}, "what became of Ann's mail is nothing to Bob"
    _replayed(engine, weeks)
    _frozen(engine, weeks, bob)


def _accepts(engine: Engine, box: UUID) -> bool:
    with engine.installation.superuser() as conn:
        found = conn.execute(
            "SELECT accepts FROM sched.peering_snapshot(%s) WHERE mailbox_id = %s",
            (engine.now, box),
        ).fetchone()
    assert found is not None
    return bool(found["accepts"])


def _replayed(engine: Engine, weeks: Weeks) -> None:
    """What was stored with each decision gives the same decision again, to the byte."""
    for box in weeks.boxes:
        found = engine.rows(
            "SELECT c.day, c.body, s.inputs FROM controller_rows c JOIN day_sizes s "
            "USING (workspace_id, mailbox_id, day) WHERE mailbox_id = %s ORDER BY c.day",
            box,
        )
        assert len(found) == (weeks.day - MONDAY.date()).days + 1
        row: ControllerRow | None = None
        for stored in found:
            known = DaySignals.from_json(stored["body"]["signals"])
            row = next_day(row, Policy.from_json(stored["inputs"]["policy"]), stored["day"], known)
            again = learn.stored(row, known)
            assert json.dumps(again, sort_keys=True) == json.dumps(stored["body"], sort_keys=True)


def _frozen(engine: Engine, weeks: Weeks, box: UUID) -> None:
    """A cohort is recomputed for eight days, whatever comes to light, and then never again."""

    def recomputed(day: date) -> dict[str, Any]:
        engine.rows("UPDATE outbound SET placement = 'junk' WHERE day = %s", day)
        engine.rows("SELECT sched.recompute_rollups(%s)", engine.now)
        return engine.one(
            "SELECT sent, inbox, junk FROM rollups WHERE mailbox_id = %s AND day = %s", box, day
        )

    engine.rows("SELECT sched.recompute_rollups(%s)", engine.now - 5 * DAY)
    assert recomputed(weeks.day - 8 * DAY) == {"sent": 10, "inbox": 0, "junk": 10}
    assert recomputed(weeks.day - 9 * DAY) == {"sent": 10, "inbox": 10, "junk": 0}


def test_a_block_stops_both_directions_until_it_is_reviewed(engine: Engine) -> None:
    weeks = Weeks(engine, 6, block_days=2)
    ann = weeks.boxes[0]
    weeks.pass_days(6, lambda sender, *_: "junk" if sender == ann else "inbox")
    assert [row.phase for row in weeks.rows(ann)][-1] == "blocked"
    assert not _accepts(engine, ann)
    assert _accepts(engine, weeks.boxes[1])
    blocker = next(b for b in weeks.why(ann)["not_sending"] if b["code"] == "blocked")
    assert blocker["hint"].endswith("mailhearth mailbox resume box0@north.test")
    engine.rows("UPDATE outbound SET placement = 'inbox'")
    weeks.pass_days(3, clean)
    assert weeks.rows(ann)[-1].reasons[0].code == "review_due"
    row = engine.row(weeks.workspace, ann)
    verbs.set_state(engine.installation.door, weeks.workspace, row, "active", ACTOR)
    weeks.pass_days(1, clean)
    assert (weeks.rows(ann)[-1].state, _accepts(engine, ann)) == ("probation", True)
    assert weeks.volumes(ann)[-1] > 0


def test_a_lower_cap_takes_back_what_is_left_of_today(engine: Engine) -> None:
    weeks = Weeks(engine, 6)
    ann, bob = weeks.boxes[:2]
    weeks.pass_days(1, clean)
    weeks.day += DAY
    engine.set_clock(MONDAY + DAY + timedelta(hours=8))
    engine.passes.run()
    engine.rows(
        "UPDATE outbound SET state = 'sent', sent_at = due_at WHERE day = %s AND slot <= 2",
        weeks.day,
    )
    engine.rows(
        "UPDATE action SET state = 'done' WHERE outbound_id IN "
        "(SELECT id FROM outbound WHERE state = 'sent')"
    )
    engine.rows("UPDATE mailboxes SET phase = 'quarantined' WHERE id = %s", bob)
    engine.rows("UPDATE pools SET policy = policy || '{\"cap\": 3}'")
    with engine.installation.database("scheduler").tx() as conn:
        assert learn.trim(conn, engine.now) == 5 * 2 + 3
        assert learn.trim(conn, engine.now) == 0

    def states(box: UUID) -> list[tuple[str, str]]:
        found = engine.rows(
            "SELECT o.state, a.state AS act FROM outbound o JOIN action a ON a.outbound_id = o.id "
            "WHERE o.mailbox_id = %s AND o.day = %s AND a.kind = 'send' ORDER BY o.due_at",
            *(box, weeks.day),
        )
        return [(row["state"], row["act"]) for row in found]

    sent, left = ("sent", "done"), ("cancelled", "cancelled")
    assert len(states(ann)) == 5
    assert states(ann)[:2] == [sent, sent]
    assert states(ann)[2][0] in ("planned", "bound")
    assert states(ann)[3:] == [left, left]
    assert states(bob) == [sent, sent, left, left, left]
    orphans = engine.rows(
        "SELECT 1 FROM inbound i LEFT JOIN outbound o USING (pair_id) WHERE o.state = 'cancelled' "
        "OR o.id IS NULL"
    )
    assert orphans == []


@pytest.mark.parametrize("everywhere", [False, True])
def test_a_recipient_that_junks_everybody_stops_counting(engine: Engine, everywhere: bool) -> None:
    """Unless its senders are junked elsewhere too: then it is they."""
    weeks = Weeks(engine, 8, start_volume=5, cap=14)
    happy, *others = weeks.boxes
    junkers = [happy, *others[:3]] if everywhere else [happy]

    def placed(sender: UUID, slot: int, peer: UUID) -> str:
        return "junk" if peer in junkers else "inbox"

    weeks.pass_days(3, placed)
    weeks.judge_sensors()  # unless the passes have just done it
    assert weeks.why(happy)["is_sensor"] is everywhere
    weeks.pass_days(7, placed)
    assert weeks.why(happy)["is_sensor"] is everywhere
    assert weeks.why(others[0])["is_sensor"]
    last = [weeks.rows(box)[-1] for box in others]
    if everywhere:
        assert {row.phase for row in last} & {"quarantined", "blocked"}
        return
    assert {(row.phase, row.target_volume) for row in last} == {("healthy", 14)}
    seen = engine.one(
        "SELECT body -> 'signals' -> 'placements' AS seen FROM controller_rows "
        "WHERE mailbox_id = %s ORDER BY day DESC LIMIT 1",
        others[0],
    )["seen"]
    assert seen["junk"] == 0
    assert 0 < seen["inbox"] < seen["sent"]
    # It counts again a week after it has stopped.
    weeks.pass_days(8, clean)
    weeks.judge_sensors()
    assert weeks.why(happy)["is_sensor"]
