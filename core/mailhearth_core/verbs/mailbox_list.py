"""Looking at many mailboxes: filtered, sorted and paged by the database, in three queries."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from json import dumps, loads
from typing import Any
from uuid import UUID

from mailhearth_core.errors import InvalidValue, NotFound
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import TenantDoor
from mailhearth_core.storage.named import named
from mailhearth_core.verbs.dashboard import STATES
from mailhearth_core.warmup.health import Health, Troubles, health
from mailhearth_core.warmup.policy import Policy

SQL = named("mailboxes")
SORTS = ("address", "pool", "standing", "volume", "health", "added")
PAGE = 50
MAX_PAGE = 200


@dataclass(frozen=True)
class Wanted:
    """Which mailboxes, in which order.

    Attributes:
        text: in the address or the name; "" for all.
        standing: one of `dashboard.STATES`; "" for all.
        number: of the page, from 1; one past the end gives the last.
    """

    text: str = ""
    standing: str = ""
    pool_id: UUID | None = None
    sort: str = "address"
    descending: bool = False
    number: int = 1
    size: int = PAGE

    def __post_init__(self) -> None:
        if self.sort not in SORTS:
            raise InvalidValue("sort", self.sort, ", ".join(SORTS))
        if self.standing and self.standing not in STATES:
            raise InvalidValue("state", self.standing, ", ".join(STATES))
        if not 1 <= self.size <= MAX_PAGE:
            raise InvalidValue("size", self.size, f"1 to {MAX_PAGE}")


@dataclass(frozen=True)
class Line:
    """One mailbox of a list.

    Attributes:
        row: of the query `page`.
        volume: planned by today's decision; None before the day is sized.
        sent, planned: of its local day.
    """

    row: Mapping[str, Any]
    standing: str
    volume: int | None
    planned: int
    sent: int
    health: Health


@dataclass(frozen=True)
class Page:
    """A page of the list.

    Attributes:
        total: mailboxes that match, `number` of `pages` pages of them.
        standings: how many of each standing match text and pool.
        pools: how many of each pool match text and standing, by id.
        everywhere: mailboxes of the workspace that match the text, whatever their standing.
    """

    now: datetime
    lines: tuple[Line, ...]
    total: int
    number: int
    pages: int
    standings: Mapping[str, int]
    pools: Mapping[UUID, int]
    everywhere: int


def page(door: TenantDoor, workspace_id: UUID, wanted: Wanted) -> Page:
    """One page of a workspace's mailboxes."""
    pattern = _pattern(wanted.text)
    with door.tenant_tx(workspace_id) as conn:
        now = business_now(conn)
        counts = list(SQL.standings(conn, pattern=pattern))
        standings = dict.fromkeys(STATES, 0)
        pools: dict[UUID, int] = {}
        for row in counts:
            if wanted.pool_id in (None, row["pool_id"]):
                standings[row["standing"]] += row["n"]
            if wanted.standing in ("", row["standing"]):
                pools[row["pool_id"]] = pools.get(row["pool_id"], 0) + row["n"]
        total = standings[wanted.standing] if wanted.standing else sum(standings.values())
        pages = max(1, -(-total // wanted.size))
        number = min(max(1, wanted.number), pages)
        asked = {
            "now": now,
            "pattern": pattern,
            "pool_id": wanted.pool_id,
            "standing": wanted.standing or None,
            "sort": wanted.sort,
            "descending": wanted.descending,
            "limit": wanted.size,
            "offset": (number - 1) * wanted.size,
        }
        # Planned anew each time: one plan for every sort would take a second for 10,000 mailboxes.
        rows = conn.execute(SQL.page.sql, asked, prepare=False).fetchall()
        domains = named("dashboard").blocked_domains(conn, workspace_id=workspace_id, now=now)
        blocked = {row["domain"]: row["reason"] for row in domains}
        lines = tuple(_line(row, blocked) for row in rows)
    everywhere = sum(row["n"] for row in counts)
    return Page(now, lines, total, number, pages, standings, pools, everywhere)


def find(door: TenantDoor, workspace_id: UUID, mailbox_id: UUID) -> dict[str, Any]:
    """One mailbox's row, with its pool's name, worker group and scope.

    Raises:
        NotFound: not in this workspace, or removed.
    """
    with door.tenant_tx(workspace_id) as conn:
        row: dict[str, Any] | None = SQL.mailbox(conn, id=mailbox_id)
    if row is None:
        raise NotFound("There is no such mailbox in this workspace.")
    return row


def last_consent(door: TenantDoor, workspace_id: UUID, mailbox_id: UUID) -> dict[str, Any] | None:
    """Who agreed to what last: scope, actor, via, at."""
    with door.tenant_tx(workspace_id) as conn:
        row: dict[str, Any] | None = SQL.last_consent(conn, id=mailbox_id)
    return row


def _pattern(text: str) -> str | None:
    """For LIKE; what is special there is taken as it stands."""
    text = "".join(c for c in text.strip().lower()[:100] if c.isprintable())
    for special in ("\\", "%", "_"):
        text = text.replace(special, "\\" + special)
    return f"%{text}%" if text else None


@lru_cache(maxsize=64)
def _policy(text: str) -> Policy:
    return Policy.from_json(loads(text))


def _line(row: Mapping[str, Any], blocked: Mapping[str, str]) -> Line:
    policy = _policy(dumps(row["policy"]))
    sent, bounced = row["sent_week"] or 0, row["bounced_week"] or 0
    troubles = Troubles(
        needs_reauth=row["state"] == "needs_reauth",
        domain_blocked=row["domain"] in blocked,
        bounce_rate_high=sent >= policy.signal_floor
        and 100 * bounced >= policy.quarantine_bounce_percent * sent,
    )
    return Line(
        row=row,
        standing=row["standing"],
        volume=row["volume"],
        planned=row["planned"],
        sent=row["sent"],
        health=health(row["inbox"] or 0, row["seen"] or 0, troubles, floor=policy.signal_floor),
    )
