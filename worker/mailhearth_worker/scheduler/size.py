"""The step that sizes days: each mailbox at its local midnight, stored once with its inputs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.ids import uuid7
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named
from mailhearth_core.warmup.matching import Peer, eligible_peers
from mailhearth_core.warmup.ramp import ControllerRow, DaySignals, limited, next_day
from mailhearth_core.warmup.sizing import SizeInputs, size_day
from mailhearth_core.warmup.window import local_date, next_midnight
from mailhearth_worker.scheduler.snapshot import peers_of, policy_of

log = structlog.get_logger()
SQL = named("scheduler")
BATCH = 200


def size(conn: Connection, now: datetime) -> int:
    """Sizes the days that have begun; the number stored."""
    rows = list(SQL.to_size(conn, now=now, batch=BATCH))
    if not rows:
        return 0
    peers = peers_of(SQL.peering_snapshot(conn, now=now), expected=True)
    by_id = {peer.mailbox_id: peer for peer in peers}
    days = [
        _day(row, by_id[row["mailbox_id"]], peers, now)
        for row in rows
        if row["mailbox_id"] in by_id
    ]
    stored = int(SQL.store_days(conn, days=Jsonb(days), now=now))
    for day in days:
        log.info(
            "sized",
            workspace_id=day["workspace_id"],
            mailbox_id=day["mailbox_id"],
            day=day["day"],
            volume=day["volume"],
            correlation_ids=day["correlations"],
        )
    return stored


def _day(row: Mapping[str, Any], own: Peer, peers: Sequence[Peer], now: datetime) -> dict[str, Any]:
    policy = policy_of(row["policy"])
    day = local_date(now, row["timezone"])
    previous = ControllerRow.from_json(row["previous"]) if row["previous"] else None
    signals = DaySignals(
        consented=row["consent"] != "none",
        paused=row["state"] == "paused",
        needs_reauth=row["state"] == "needs_reauth",
        auth_failures=row["auth_failures"],
    )
    fresh = previous is None or previous.day < day
    if fresh:
        controller = next_day(previous, policy, day, signals)
    else:
        assert previous is not None
        controller = limited(previous, policy)
    inputs = SizeInputs(
        timezone=row["timezone"],
        day=day,
        starts_at=now,
        policy=policy,
        controller=controller,
        eligible_peers=eligible_peers(own, peers),
        replies_due=row["replies_due"],
        has_campaign=row["has_campaign"],
        seed=row["seed"],
    )
    sized = size_day(inputs)
    return {
        "workspace_id": str(row["workspace_id"]),
        "mailbox_id": str(row["mailbox_id"]),
        "day": day.isoformat(),
        "volume": sized.volume,
        "inputs": inputs.to_json(),
        "reasons": [reason.to_json() for reason in sized.reasons],
        "controller": controller.to_json() if fresh else None,
        "moments": [moment.isoformat() for moment in sized.moments],
        "correlations": [str(uuid7()) for _ in sized.moments],
        "next_size_at": next_midnight(now, row["timezone"]).isoformat(),
    }
