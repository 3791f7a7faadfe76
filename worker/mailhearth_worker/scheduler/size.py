"""The step that sizes days: each mailbox at its local midnight, stored once with its inputs."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import date, datetime
from typing import Any

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.ids import uuid7
from mailhearth_core.providers.limits import within_limits
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named
from mailhearth_core.warmup.peering import Audiences, Peer
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import ControllerRow, DaySignals, limited, next_day
from mailhearth_core.warmup.sizing import SizeInputs, size_day
from mailhearth_core.warmup.window import local_date, next_midnight
from mailhearth_worker.scheduler import learn
from mailhearth_worker.scheduler.snapshot import peers_of, policy_of

log = structlog.get_logger()
SQL = named("scheduler")
PLANNING = named("planning")
BATCH = 1_000
"""Days sized in one transaction; the mailboxes that they may write to are read once for all."""


def size(conn: Connection, now: datetime) -> int:
    """Sizes the days that have begun; the number stored."""
    rows = list(SQL.to_size(conn, now=now, batch=BATCH))
    if not rows:
        return 0
    workspaces = list({row["workspace_id"] for row in rows})
    found = PLANNING.peering(conn, now=now, workspaces=workspaces, network=True)
    peers = Audiences(peers_of(found, expected=True))
    by_id = {peer.mailbox_id: peer for peer in peers.peers}
    rows = [row for row in rows if row["mailbox_id"] in by_id]
    dates = {row["mailbox_id"]: local_date(now, row["timezone"]) for row in rows}
    signals = learn.signals_of(conn, rows, dates)
    days, decided = [], []
    for row in rows:
        policy = policy_of(row["policy"])
        if not row["sandbox"]:
            policy = within_limits(policy, by_id[row["mailbox_id"]].provider)
        known = signals[row["mailbox_id"]]
        controller, is_new = _controller(row, policy, dates[row["mailbox_id"]], known)
        day = _day(row, policy, controller, by_id[row["mailbox_id"]], peers, now)
        day["controller"] = learn.stored(controller, known) if is_new else None
        days.append(day)
        decided.append((row, controller, policy))
    stored = int(SQL.store_days(conn, days=Jsonb(days), now=now))
    learn.note(conn, decided)
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


def _controller(
    row: Mapping[str, Any], policy: Policy, day: date, signals: DaySignals
) -> tuple[ControllerRow, bool]:
    """The controller's row for the day, and whether it is a new one."""
    previous = ControllerRow.from_json(row["previous"]) if row["previous"] else None
    if previous is None or previous.day < day:
        return next_day(previous, policy, day, signals), True
    return limited(previous, policy), False


def _day(
    row: Mapping[str, Any],
    policy: Policy,
    controller: ControllerRow,
    own: Peer,
    peers: Audiences,
    now: datetime,
) -> dict[str, Any]:
    day = local_date(now, row["timezone"])
    inputs = SizeInputs(
        timezone=row["timezone"],
        day=day,
        starts_at=now,
        policy=policy,
        controller=controller,
        eligible_peers=peers.count(own),
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
        "moments": [moment.isoformat() for moment in sized.moments],
        "correlations": [str(uuid7()) for _ in sized.moments],
        "next_size_at": next_midnight(now, row["timezone"]).isoformat(),
    }
