"""Three hundred messages under a clock that jumps, two schedulers, and wake-ups that come twice."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from datetime import datetime, timedelta
from itertools import pairwise
from pathlib import Path

from prometheus_client import CollectorRegistry

from campaign import MESSAGES, Campaign
from database import TestInstallation
from engine import MONDAY, Engine
from mailhearth_core.metrics import Metrics
from mailhearth_worker.scheduler.passes import Passes

JUMPS = (0.7, -1.0, 1.6, -0.4, 3.5, -2.0)
"""Hours by which the clock is set on or back, at 10, 11, ... o'clock."""
OUTAGE = 3.5
LATE = timedelta(hours=2)
GAP = timedelta(seconds=60)


def test_a_jumping_clock_and_two_schedulers(installation: TestInstallation, tmp_path: Path) -> None:
    campaign = Campaign(installation, tmp_path)
    engine = campaign.engine
    try:
        campaign.connect()
        campaign.plan()
        ran = _two_schedulers(engine)
        outage: tuple[datetime, datetime] | None = None
        for number, jump in enumerate(JUMPS):
            engine.run_until(
                max(engine.now, MONDAY + timedelta(hours=10 + number)), step=timedelta(minutes=20)
            )
            before = engine.now
            engine.set_clock(before + timedelta(hours=jump))
            engine.settle_down()
            if jump == OUTAGE:
                outage = before, engine.now
                engine.run_until(engine.now + timedelta(hours=1), step=timedelta(minutes=5))
        campaign.run_to(24)
        campaign.run_out()
        assert ran["passes"] >= 100

        missed = engine.rows("SELECT 1 FROM outbound WHERE state = 'skipped'")
        found = campaign.check(failed=len(missed))
        assert found.states.keys() <= {"sent", "skipped"}
        assert found.delivered >= MESSAGES // 2
        assert outage is not None
        _no_burst(engine, *outage)
    finally:
        campaign.close()


def _two_schedulers(engine: Engine) -> dict[str, int]:
    """From now on each pass is made by two schedulers at once, and each wake-up comes twice."""
    first, bell = engine.passes, engine.bell
    second = Passes(
        engine.installation.database("scheduler"),
        bell,  # type: ignore[arg-type]
        Metrics(CollectorRegistry()),
        first._settings,
    )
    threads = ThreadPoolExecutor(2)
    real = first.run
    ran = {"passes": 0}

    def both() -> None:
        for done in [threads.submit(real), threads.submit(second.run)]:
            done.result()
        bell.rung *= 2
        ran["passes"] += 2

    first.run = both  # type: ignore[method-assign]
    return ran


def _no_burst(engine: Engine, down: datetime, up: datetime) -> None:
    """In the hour after an outage nobody sends more than was due in it or shortly before."""
    for mailbox in engine.rows("SELECT id FROM mailboxes"):
        rows = engine.rows(
            "SELECT due_at, sent_at, reason FROM outbound WHERE mailbox_id = %s", mailbox["id"]
        )
        times = sorted(row["sent_at"] for row in rows if row["sent_at"])
        assert all(later - earlier >= GAP for earlier, later in pairwise(times)), times
        at_once = [at for at in times if at == up]
        in_the_hour = [at for at in times if up <= at < up + timedelta(hours=1)]
        due = [row for row in rows if up - LATE <= row["due_at"] < up + timedelta(hours=1)]
        assert len(at_once) <= 1
        assert len(in_the_hour) <= len(due)
    late = engine.rows(
        "SELECT 1 FROM outbound WHERE state = 'skipped' AND due_at BETWEEN %s AND %s",
        *(down, up - LATE),
    )
    assert late
