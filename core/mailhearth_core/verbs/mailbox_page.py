"""Everything the dashboard shows of one mailbox."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from mailhearth_core.errors import NotFound
from mailhearth_core.storage.doors import Connection, TenantDoor
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import why
from mailhearth_core.verbs.dashboard import SERIES_DAYS, WEEK_DAYS
from mailhearth_core.verbs.placements import PLACED, Placed, sums
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.window import local_date

SQL = named("dashboard")
SENDS_SHOWN = 10
EVENTS_SHOWN = 30


@dataclass(frozen=True)
class MailboxPage:
    """One mailbox.

    Attributes:
        row: of the query `mailbox`.
        why: of `why.tell`, without `recent`.
        series: by day, oldest first: volume (sized), planned, sent, replied, bounced, placements.
        by_provider: placements of `SERIES_DAYS` days by day (newest first) and provider.
        week: by provider, of seven days.
        received: what it did as a recipient in `SERIES_DAYS` days.
        upcoming: sends to come, the next first; `recent`: the last ones, newest first.
        timeline: what happened to it, newest first: at, what, text, detail, actor.
    """

    row: Mapping[str, Any]
    today: date
    why: Mapping[str, Any]
    series: tuple[Mapping[str, Any], ...]
    by_provider: tuple[tuple[date, Placed], ...]
    week: tuple[Placed, ...]
    received: Mapping[str, int]
    upcoming: tuple[Mapping[str, Any], ...]
    recent: tuple[Mapping[str, Any], ...]
    timeline: tuple[Mapping[str, Any], ...]
    policy: Policy = field(repr=False)


def look(door: TenantDoor, workspace_id: UUID, mailbox_id: UUID) -> MailboxPage:
    """Everything its page shows; seven queries.

    Raises:
        NotFound: there is no such mailbox in this workspace.
    """
    with door.tenant_tx(workspace_id) as conn:
        row = _mailbox(conn, mailbox_id)
        now, today = row["now"], local_date(row["now"], row["timezone"])
        keys = {"workspace_id": workspace_id, "mailbox_id": mailbox_id, "today": today}
        days = tuple(SQL.mailbox_series(conn, **keys, days=SERIES_DAYS))
        providers = list(SQL.mailbox_providers(conn, **keys, days=SERIES_DAYS))
        dates = [today - timedelta(days=back) for back in range(SERIES_DAYS)]
        received = SQL.mailbox_received(conn, **keys, dates=dates)
        of_today = SQL.mailbox_today(conn, **keys)
        sends = list(SQL.mailbox_sends(conn, **keys, now=now, limit=SENDS_SHOWN))
        timeline = SQL.mailbox_timeline(
            conn, **keys, address=row["address"], timezone=row["timezone"], limit=EVENTS_SHOWN
        )
        timeline = tuple(timeline)
    policy = Policy.from_json(row["policy"])
    floor = policy.signal_floor
    return MailboxPage(
        row=row,
        today=today,
        why=_why(row, policy, of_today, days, today),
        series=days,
        by_provider=tuple((p["day"], Placed.of(p["provider"], p, floor)) for p in providers),
        week=_by_provider(providers, today, floor),
        received=received,
        upcoming=tuple(reversed([send for send in sends if send["upcoming"]])),
        recent=tuple(send for send in sends if not send["upcoming"]),
        timeline=timeline,
        policy=policy,
    )


def series(
    door: TenantDoor, workspace_id: UUID, mailbox_id: UUID
) -> tuple[list[dict[str, Any]], list[dict[str, Any]], date]:
    """For its charts: the days, the placements by day and provider, and its local date.

    Raises:
        NotFound: there is no such mailbox in this workspace.
    """
    with door.tenant_tx(workspace_id) as conn:
        row = _mailbox(conn, mailbox_id)
        today = local_date(row["now"], row["timezone"])
        keys = {"workspace_id": workspace_id, "mailbox_id": mailbox_id, "today": today}
        days = list(SQL.mailbox_series(conn, **keys, days=SERIES_DAYS))
        placed = list(SQL.mailbox_providers(conn, **keys, days=SERIES_DAYS))
    return days, placed, today


def _mailbox(conn: Connection, mailbox_id: UUID) -> dict[str, Any]:
    row: dict[str, Any] | None = SQL.mailbox(conn, mailbox_id=mailbox_id, machine=datetime.now(UTC))
    if row is None:
        raise NotFound("There is no such mailbox in this workspace.")
    return row


def _why(
    row: Mapping[str, Any],
    policy: Policy,
    of_today: Mapping[str, Any],
    series: Sequence[Mapping[str, Any]],
    today: date,
) -> dict[str, Any]:
    controller = None
    if of_today["controller_state"] is not None:
        controller = {
            "state": of_today["controller_state"],
            "target_volume": of_today["target_volume"],
            "reasons": of_today["controller_reasons"],
        }
    week = [day for day in series if day["day"] > today - timedelta(days=WEEK_DAYS)]
    placed = sums(week, (*PLACED, "bounced"))
    placed["sent"] = sum((day["sent"] or 0) + (day["bounced"] or 0) for day in week)
    domain, reason = row["domain"], row["domain_blocked"]
    return why.tell(
        why.Known(
            row=row,
            policy=policy,
            pool=row["pool"],
            workspace={
                "name": row["workspace"],
                "state": row["workspace_state"],
                "state_reason": row["workspace_reason"],
            },
            now=row["now"],
            size=of_today if of_today["volume"] is not None else None,
            controller=controller,
            counts=of_today,
            placed=placed,
            domains={domain: reason} if reason else {},
            short=None,
            recent=[],
        )
    )


def _by_provider(rows: Sequence[Mapping[str, Any]], today: date, floor: int) -> tuple[Placed, ...]:
    since = today - timedelta(days=WEEK_DAYS)
    week = [row for row in rows if row["day"] > since]
    return tuple(
        Placed.of(name, sums([r for r in week if r["provider"] == name], PLACED), floor)
        for name in sorted({row["provider"] for row in week})
    )
