"""A few virtual days of a whole pool, seen from the mailboxes and from the database."""

from __future__ import annotations

from datetime import timedelta

from engine import MONDAY, Engine
from mailhearth_local.sandbox.scan import placements


def test_three_days_of_twelve_mailboxes(engine: Engine) -> None:
    workspace = engine.installation.workspace("demo")
    pool = engine.installation.pool(workspace, pair_gap_hours=24, retention_hours=24)
    for user in engine.users:
        engine.connect(workspace, pool, user, timezone=user.timezone)
    engine.run_until(MONDAY + timedelta(days=3))
    rows = engine.installation.rows(
        "SELECT state, kind, reason, count(*) AS n FROM outbound GROUP BY 1,2,3 ORDER BY 1,2,3"
    )
    print([dict(r) for r in rows])
    print(
        [
            dict(r)
            for r in engine.installation.rows("SELECT placement, count(*) FROM outbound GROUP BY 1")
        ]
    )
    print(
        [
            dict(r)
            for r in engine.installation.rows(
                "SELECT kind, state, reason, count(*) FROM action GROUP BY 1,2,3 ORDER BY 1,2"
            )
        ]
    )
    print(len(list(placements(engine.post))))
