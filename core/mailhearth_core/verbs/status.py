"""How an installation stands: each workspace's pools, their mailboxes, day and placements."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from datetime import datetime
from typing import Any
from uuid import UUID

from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Database, TenantDoor
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import blockers, capacity, mailboxes, pools, workspaces
from mailhearth_core.warmup.health import NOT_ENOUGH, inbox_rate
from mailhearth_core.warmup.policy import Policy

DAYS = 7
PLACEMENTS = ("inbox", "junk", "other", "missing")
LEARNED = ("probation", "quarantined", "blocked")
"""What the controller made of mailboxes besides their own state; they are counted in both."""


def overview(database: Database, only: UUID | None = None) -> dict[str, Any]:
    """Everything `mailhearth status` tells; JSON types but for times and ids.

    Args:
        only: one workspace; None for all.
    """
    with database.tx() as conn:
        now = business_now(conn)
        demand = list(named("reports").demand(conn, now=now))
    short = capacity.shortages(capacity.pool_sizes(database))
    return {
        "business_time": now,
        "workspaces": [
            _workspace(database, row, now, short)
            for row in workspaces.listing(database)
            if only in (None, row["workspace_id"])
        ],
        "demand": demand,
    }


def _workspace(
    database: Database,
    row: dict[str, Any],
    now: datetime,
    short: dict[tuple[UUID, UUID], capacity.Shortage],
) -> dict[str, Any]:
    workspace_id = row["workspace_id"]
    door = TenantDoor(database)
    with door.tenant_tx(workspace_id) as conn:
        days = _by_pool(named("reports").pools_today(conn, now=now))
        placed = _by_pool(named("reports").pools_placed(conn, now=now, days=DAYS))
        domains = blockers.blocked_domains(conn, workspace_id, now)
    members = mailboxes.listing(door, workspace_id)
    return {
        "id": workspace_id,
        "name": row["name"],
        "state": row["state"],
        "reason": row["state_reason"],
        "pools": [
            _pool(
                pool,
                [mailbox for mailbox in members if mailbox["pool_id"] == pool["id"]],
                days.get(pool["id"]),
                placed.get(pool["id"], {}),
                domains,
                short.get((workspace_id, pool["id"])),
            )
            for pool in pools.listing(door, workspace_id)
        ],
    }


def _by_pool(rows: Iterable[dict[str, Any]]) -> dict[UUID, dict[str, Any]]:
    return {row.pop("pool_id"): row for row in rows}


def _pool(
    pool: dict[str, Any],
    members: list[dict[str, Any]],
    day: dict[str, Any] | None,
    placed: dict[str, Any],
    domains: dict[str, str],
    short: capacity.Shortage | None,
) -> dict[str, Any]:
    policy = Policy.from_json(pool["policy"])
    troubles = [(m, blockers.of_mailbox(m, domains, policy)) for m in members]
    zeros = (
        "volume",
        "sized",
        "planned",
        "sent",
        "replies",
        "waiting_peer",
        "skipped",
        "uncertain",
    )
    return {
        "name": pool["name"],
        "peering_scope": pool["peering_scope"],
        "worker_group": pool["worker_group"],
        "mailboxes": {
            "total": len(members),
            **Counter(m["state"] for m in members),
            **{phase: sum(m["phase"] == phase for m in members) for phase in LEARNED},
            "without_consent": sum(m["consent"] == "none" for m in members),
        },
        "today": day or dict.fromkeys(zeros, 0),
        "placements": placements(placed, policy.signal_floor),
        "shortage": short.to_json() if short else None,
        "not_working": [
            {"address": m["address"], "reasons": [b.to_json() for b in found]}
            for m, found in troubles
            if found
        ],
    }


def placements(counts: dict[str, Any], floor: int) -> dict[str, Any]:
    """The placements of `DAYS` days with their sample size; no rate without observations.

    `rate` is the inbox share with its 95 % interval, in percent; `note` says when the sample is
    too small to call it a finding.
    """
    seen = {name: counts.get(name) or 0 for name in PLACEMENTS}
    sample = sum(seen.values())
    rate = inbox_rate(seen["inbox"], sample)
    percent = rate and {
        "low": round(100 * rate.low, 1),
        "point": round(100 * rate.point, 1),
        "high": round(100 * rate.high, 1),
    }
    return {
        "days": DAYS,
        "sample": sample,
        **seen,
        "unobservable": counts.get("unobservable") or 0,
        "inbox_percent": percent,
        "note": "" if sample >= floor else NOT_ENOUGH,
    }
