"""Why a mailbox sends what it sends today: the stored steps, what is in the way, recent mail."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Database, TenantDoor
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import blockers, capacity, pools, status, workspaces
from mailhearth_core.verbs.blockers import Blocker
from mailhearth_core.warmup.health import Troubles, health
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.window import local_date

RECENT = 10


def explain(database: Database, workspace_id: UUID, row: Mapping[str, Any]) -> dict[str, Any]:
    """Everything `mailhearth mailbox why` tells; JSON types but for times and dates.

    Args:
        row: of `mailboxes.listing`.
    """
    sql = named("reports")
    door = TenantDoor(database)
    pool = pools.find(door, workspace_id, str(row["pool_id"]))
    policy = Policy.from_json(pool["policy"])
    workspace = workspaces.find(database, str(workspace_id))
    short = capacity.shortages(capacity.pool_sizes(database)).get((workspace_id, pool["id"]))
    with door.tenant_tx(workspace_id) as conn:
        now = business_now(conn)
        today = local_date(now, row["timezone"])
        keys = {"mailbox_id": row["id"], "day": today}
        size = sql.day_size(conn, **keys)
        controller = sql.controller_row(conn, **keys)
        counts = sql.mailbox_day(conn, **keys)
        placed = sql.mailbox_placed(conn, **keys, days=status.DAYS)
        soon = now + timedelta(hours=2)
        recent = list(sql.recent_sends(conn, mailbox_id=row["id"], until=soon, limit=RECENT))
        domains = blockers.blocked_domains(conn, workspace_id, now)
    return tell(
        Known(
            row=row,
            policy=policy,
            pool=pool["name"],
            workspace=workspace,
            now=now,
            size=size,
            controller=controller,
            counts=counts,
            placed=placed or {},
            domains=domains,
            short=short,
            recent=recent,
        )
    )


@dataclass(frozen=True)
class Known:
    """What is stored of a mailbox and its day, however it was fetched.

    Attributes:
        row: of `mailboxes.listing`, or as much of it as `blockers.of_mailbox` reads.
        workspace: its name, state and state_reason.
        size, controller: of the mailbox's local date; None when it was not sized yet.
        counts: of `reports.mailbox_day`.
        placed: sums of `status.DAYS` days, of `reports.mailbox_placed`.
        domains: of `blockers.blocked_domains`.
        short: what the pool lacks, if it is known to be too small.
    """

    row: Mapping[str, Any]
    policy: Policy
    pool: str
    workspace: Mapping[str, Any]
    now: datetime
    size: Mapping[str, Any] | None
    controller: Mapping[str, Any] | None
    counts: Mapping[str, Any]
    placed: Mapping[str, Any]
    domains: Mapping[str, str]
    short: capacity.Shortage | None
    recent: list[Any]


def tell(known: Known) -> dict[str, Any]:
    """The sentences made of it; pure. The keys are those of `explain`."""
    row, policy, size = known.row, known.policy, known.size
    seen = status.placements(dict(known.placed), policy.signal_floor)
    found = _of_workspace(known.workspace) + blockers.of_mailbox(row, known.domains, policy)
    found += _of_day(row, policy, known.now, size, known.counts)
    if known.short is not None:
        hint = "add mailboxes, or lower the cap of the pool"
        found.append(Blocker("pool_too_small", known.short.text, hint))
    return {
        "address": row["address"],
        "workspace": known.workspace["name"],
        "pool": known.pool,
        "state": row["state"],
        "consent": row["consent"],
        "business_time": known.now,
        "timezone": row["timezone"],
        "day": local_date(known.now, row["timezone"]),
        "volume": size["volume"] if size else None,
        "steps": size["reasons"] if size else [],
        "sized_at": size["sized_at"] if size else None,
        "controller": known.controller,
        "phase": {
            "name": row["phase"],
            "since": row["phase_since"],
            "until": row["phase_until"],
            "cause": row["phase_cause"],
        },
        "is_sensor": row["is_sensor"],
        "counts": known.counts,
        "not_sending": [blocker.to_json() for blocker in found],
        "placements": seen,
        "health": _health(row, seen, known.placed, row["domain"] in known.domains, policy),
        "recent": known.recent,
    }


def _health(
    row: Mapping[str, Any],
    seen: Mapping[str, Any],
    placed: Mapping[str, Any],
    is_domain_blocked: bool,
    policy: Policy,
) -> dict[str, Any]:
    """The score of the last seven days, with each penalty that is in it."""
    sent, bounced = placed.get("sent") or 0, placed.get("bounced") or 0
    limit = policy.quarantine_bounce_percent
    troubles = Troubles(
        needs_reauth=row["state"] == "needs_reauth",
        domain_blocked=is_domain_blocked,
        bounce_rate_high=sent >= policy.signal_floor and 100 * bounced >= limit * sent,
    )
    found = health(seen["inbox"], seen["sample"], troubles, floor=policy.signal_floor)
    return {
        "score": found.score,
        "text": found.text,
        "penalties": [
            {"code": each.code, "text": each.text, "points": each.points}
            for each in found.penalties
        ],
    }


def _of_workspace(workspace: Mapping[str, Any]) -> list[Blocker]:
    if workspace["state"] == "active":
        return []
    reason = f": {workspace['state_reason']}" if workspace["state_reason"] else ""
    text = f"the workspace is {workspace['state']}{reason}"
    return [Blocker("workspace", text, f"mailhearth workspace show {workspace['name']}")]


def _of_day(
    row: Mapping[str, Any],
    policy: Policy,
    now: datetime,
    size: Mapping[str, Any] | None,
    counts: Mapping[str, Any],
) -> list[Blocker]:
    """What of the day itself is in the way: the window, its size, missing peers."""
    found = []
    window = blockers.of_window(policy, row["timezone"], now)
    if window is not None:
        found.append(window)
    if size is None and row["consent"] != "none":
        found.append(blockers.first_day_pending(row, now))
    elif size is not None and size["volume"] == 0:
        last = size["reasons"][-1]["text"] if size["reasons"] else "no reason is stored"
        found.append(Blocker("volume_zero", f"today's volume is 0: {last}"))
    if counts.get("waiting_peer"):
        text = f"{counts['waiting_peer']} of today's sends wait for a peer"
        found.append(Blocker("waiting_peer", text))
    if size is not None and size["volume"] and not counts.get("waiting_peer"):
        if not counts.get("next_due_at"):
            found.append(Blocker("day_done", "all of today's sends are over"))
        elif counts["next_due_at"] > now and window is None:
            at = f"{counts['next_due_at']:%H:%M} UTC"
            found.append(Blocker("not_due", f"the next send is due at {at}"))
    return found
