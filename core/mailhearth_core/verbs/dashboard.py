"""What the dashboard's pages show of a workspace; `mailbox_page` has one mailbox.

A workspace's figures come from sums by day (`workspace_days`, `provider_days`), never from its
messages, so that a page costs the same with a thousand of them and with a million.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from mailhearth_core.storage.doors import Connection, Database, TenantDoor
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import blockers, capacity, status
from mailhearth_core.verbs.blockers import Blocker
from mailhearth_core.verbs.placements import PLACED, Placed, sums
from mailhearth_core.warmup.health import FLOOR
from mailhearth_core.warmup.policy import Policy

SQL = named("dashboard")
SERIES_DAYS = 30
WEEK_DAYS = status.DAYS
TROUBLES_SHOWN = 10

STATES = (
    "warming",
    "needs_reauth",
    "quarantined",
    "blocked",
    "paused",
    "connecting",
    "without_consent",
)
"""Where a mailbox stands, each in one of them: what stops it, or else `warming`."""


@dataclass(frozen=True)
class Trouble:
    """A mailbox that does not warm up as it should, and why."""

    mailbox_id: UUID
    address: str
    reasons: tuple[Blocker, ...]


@dataclass(frozen=True)
class PoolCard:
    """A pool as the overview lists it.

    Attributes:
        row: of the query `pools`, with how many `mailboxes` it has, of them `members` (that agreed
            to warmup and may be peers), `network_members` and `warming`.
        shortage: what it lacks; None when it is large enough, or peers with the network, whose
            size a workspace is not told.
    """

    row: Mapping[str, Any]
    policy: Policy
    shortage: capacity.Shortage | None


@dataclass(frozen=True)
class Overview:
    """A workspace today.

    Attributes:
        now: business time; `today` its date in UTC. Each mailbox counts on its own local date.
        states: mailboxes by `STATES`.
        day: today's sums.
        week: placements of `WEEK_DAYS` days, `providers` the same by provider.
        series: `SERIES_DAYS` days of sums, oldest first; days with nothing are left out.
        troubles: the worst first, `TROUBLES_SHOWN` at most; `troubled` counts all.
    """

    now: datetime
    today: date
    states: Mapping[str, int]
    day: Mapping[str, int]
    week: Placed
    providers: tuple[Placed, ...]
    series: tuple[Mapping[str, Any], ...]
    pools: tuple[PoolCard, ...]
    troubles: tuple[Trouble, ...]
    troubled: int

    @property
    def mailboxes(self) -> int:
        return sum(self.states.values())


DAY_SUMS = ("volume", "planned", "sent", "replied", "bounced", "rescued")


def overview(door: TenantDoor, workspace_id: UUID) -> Overview:
    """How a workspace stands; seven queries."""
    with door.tenant_tx(workspace_id) as conn:
        now = _now(conn)
        today = now.astimezone(UTC).date()
        counts = list(SQL.mailbox_states(conn))
        series = tuple(SQL.days(conn, today=today, days=SERIES_DAYS))
        providers = list(SQL.providers(conn, today=today, days=WEEK_DAYS))
        pools = _cards(list(SQL.pools(conn)), counts)
        domains = _blocked(conn, workspace_id, now)
        rows = list(SQL.in_trouble(conn, domains=list(domains), limit=TROUBLES_SHOWN))
    policies = {pool.row["id"]: pool.policy for pool in pools}
    floor = _floor(pools)
    day: Mapping[str, Any] = next((row for row in series if row["day"] == today), {})
    return Overview(
        now=now,
        today=today,
        states=_states(counts),
        day={name: day.get(name) or 0 for name in DAY_SUMS},
        week=_week(series, today, floor),
        providers=tuple(Placed.of(row["provider"], row, floor) for row in providers),
        series=series,
        pools=pools,
        troubles=tuple(
            Trouble(
                row["id"],
                row["address"],
                tuple(blockers.of_mailbox(row, domains, policies[row["pool_id"]])),
            )
            for row in rows
        ),
        troubled=rows[0]["total"] if rows else 0,
    )


def series(
    door: TenantDoor, workspace_id: UUID, days: int = SERIES_DAYS
) -> tuple[list[dict[str, Any]], date]:
    """A workspace's sums by day, for a chart, and today's date."""
    with door.tenant_tx(workspace_id) as conn:
        today = _now(conn).astimezone(UTC).date()
        return list(SQL.days(conn, today=today, days=days)), today


def places_today(database: Database, user_id: UUID) -> list[dict[str, Any]]:
    """How all workspaces of a person stand: mailboxes, today's mail, the week's placements.

    Each row has `placed`, a `Placed` of the last seven days without its parts other than the
    inbox's, besides the columns of `sched.places_today`.
    """
    with database.tx() as conn:
        today = _now(conn).astimezone(UTC).date()
        rows = list(SQL.places_today(conn, user_id=user_id, today=today))
    for row in rows:
        others = row["placed"] - row["inbox"]
        row["week"] = Placed(row["name"], inbox=row["inbox"], other=others)
    return rows


# -- pools -----------------------------------------------------------------------------------------


def pool_cards(conn: Connection) -> tuple[PoolCard, ...]:
    """The workspace's pools with their sizes and what they lack; two queries."""
    return _cards(list(SQL.pools(conn)), list(SQL.mailbox_states(conn)))


def _cards(
    rows: Sequence[dict[str, Any]], counts: Sequence[Mapping[str, Any]]
) -> tuple[PoolCard, ...]:
    for row in rows:
        row.update(_pool_counts([count for count in counts if count["pool_id"] == row["id"]]))
    sizes = [
        capacity.PoolSize(
            row["workspace_id"],
            row["id"],
            row["peering_scope"],
            Policy.from_json(row["policy"]),
            row["members"],
            row["network_members"],
        )
        for row in rows
    ]
    short = capacity.shortages(sizes)
    return tuple(
        PoolCard(
            row,
            size.policy,
            None
            if row["peering_scope"] == "network"
            else short.get((row["workspace_id"], row["id"])),
        )
        for row, size in zip(rows, sizes, strict=True)
    )


def _pool_counts(counts: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    found = dict.fromkeys(("mailboxes", "members", "network_members", "warming"), 0)
    for count in counts:
        found["mailboxes"] += count["n"]
        found["warming"] += count["n"] if state_of(count) == "warming" else 0
        if count["state"] in ("active", "needs_reauth"):
            found["members"] += count["n"] if count["consent"] != "none" else 0
            found["network_members"] += count["n"] if count["consent"] == "network" else 0
    return found


# -- parts -----------------------------------------------------------------------------------------


def _now(conn: Connection) -> datetime:
    now: datetime = SQL.business_now(conn, machine=datetime.now(UTC))
    return now


def _blocked(conn: Connection, workspace_id: UUID, now: datetime) -> dict[str, str]:
    rows = SQL.blocked_domains(conn, workspace_id=workspace_id, now=now)
    return {row["domain"]: row["reason"] for row in rows}


def state_of(row: Mapping[str, Any]) -> str:
    """Which of `STATES` a mailbox is in.

    Args:
        row: with `state`, `phase`, `connected`, and `consented` or else `consent`.
    """
    consented = row["consented"] if "consented" in row else row["consent"] != "none"
    if not consented:
        return "without_consent"
    if row["state"] != "active":
        return str(row["state"])
    if row["phase"] in ("quarantined", "blocked"):
        return str(row["phase"])
    return "warming" if row["connected"] else "connecting"


def _states(rows: Iterable[Mapping[str, Any]]) -> dict[str, int]:
    counts = dict.fromkeys(STATES, 0)
    for row in rows:
        counts[state_of(row)] += row["n"]
    return counts


def _week(series: Sequence[Mapping[str, Any]], today: date, floor: int) -> Placed:
    since = today - timedelta(days=WEEK_DAYS)
    return Placed.of("all", sums([r for r in series if r["day"] > since], PLACED), floor)


def _floor(pools: Sequence[PoolCard]) -> int:
    """The strictest of the pools' floors: a workspace's rate is judged by no less."""
    return max((pool.policy.signal_floor for pool in pools), default=FLOOR)
