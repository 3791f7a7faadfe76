"""The whole installation, as its administrators see and steer it (the login `admin`).

What is seen is sums, states and names; no mail, and nothing sealed. What is done is suspending a
workspace, letting it go on, and having a failed deed tried again; each is checked by the database
against the list of administrators and told in the audit trail.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

from mailhearth_core.errors import Conflict, InvalidValue, NotFound
from mailhearth_core.storage.doors import Connection, Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import capacity, dashboard
from mailhearth_core.verbs.placements import PLACED, Placed
from mailhearth_core.warmup.policy import Policy

SQL = named("administration")

SHOWN = 50
"""Rows of a page."""
DAYS = 14
"""Of the series of the first page and of a workspace's."""
WEEK_DAYS = dashboard.WEEK_DAYS
WORKERS_SHOWN = 200
REASON_MAX = 300
ACTION_KINDS = (
    *("send", "poll", "rescue", "read", "flag", "file", "expunge", "evidence", "expunge_sent"),
    *("check_domain", "check_dns", "census", "purge"),
)
WORKSPACE_STATES = ("provisioning", "active", "suspended", "deleting")


@dataclass(frozen=True)
class Network:
    """How the installation stands.

    Attributes:
        now: business time; `today` its date in UTC. Each mailbox counts on its own local date.
        states: mailboxes by `dashboard.STATES`.
        workspaces: by their state.
        day: today's sums; messages that are `uncertain` and deeds `failed` today beside.
        week: placements of `WEEK_DAYS` days, `providers` the same by provider.
        series: sums of `DAYS` days, oldest first.
        blocked: how many domains are no peers now.
    """

    now: datetime
    today: date
    environment: str
    sandbox: bool
    states: Mapping[str, int]
    workspaces: Mapping[str, int]
    day: Mapping[str, int]
    uncertain: int
    failed: int
    week: Placed
    providers: tuple[Placed, ...]
    series: tuple[Mapping[str, Any], ...]
    blocked: int

    @property
    def mailboxes(self) -> int:
        return sum(self.states.values())


@dataclass(frozen=True)
class Page:
    """Some rows of a list, and how many there are in all."""

    rows: list[dict[str, Any]]
    number: int
    total: int

    @property
    def pages(self) -> int:
        return max(1, -(-self.total // SHOWN))


@dataclass(frozen=True)
class Workspace:
    """One workspace as administrators see it.

    Attributes:
        row: of the view `workspace_cards`.
        states: mailboxes by `dashboard.STATES`.
        series: its sums by day; `week` its placements.
        pools: of the view `pools`.
    """

    row: Mapping[str, Any]
    states: Mapping[str, int]
    series: tuple[Mapping[str, Any], ...]
    week: Placed
    pools: list[dict[str, Any]]


@dataclass(frozen=True)
class Work:
    """What there is to do and who does it.

    Attributes:
        groups: by worker group: due_now, backlog, oldest_due_at, next_due_at, reason, pools.
        workers: who holds leases, until when (machine time).
    """

    now: datetime
    groups: list[dict[str, Any]]
    workers: list[dict[str, Any]]


def network(database: Database) -> Network:
    """Seven queries, none of which looks at mail by the workspace."""
    with database.tx() as conn:
        about = _about(conn)
        now = about["now"]
        today = now.astimezone(UTC).date()
        states = _states(list(SQL.states(conn)))
        workspaces = {row["state"]: row["n"] for row in SQL.workspace_counts(conn)}
        series = tuple(SQL.days(conn, today=today, days=DAYS))
        providers = list(SQL.providers(conn, today=today, days=WEEK_DAYS))
        questions = SQL.open_questions(conn, since=_midnight(now))
        blocked = len({row["domain"] for row in SQL.blocked_domains(conn, now=now)})
    day: Mapping[str, Any] = next((row for row in series if row["day"] == today), {})
    placed = {key: sum(row[key] for row in providers) for key in PLACED}
    return Network(
        now=now,
        today=today,
        environment=about["environment"],
        sandbox=about["sandbox"],
        states=states,
        workspaces=workspaces,
        day={name: day.get(name) or 0 for name in dashboard.DAY_SUMS},
        uncertain=questions["uncertain"],
        failed=questions["failed"],
        week=Placed.of("all", placed),
        providers=tuple(Placed.of(row["provider"], row) for row in providers),
        series=series,
        blocked=blocked,
    )


def series(database: Database) -> tuple[list[dict[str, Any]], date]:
    """The installation's sums by day, for a chart, and today's date."""
    with database.tx() as conn:
        today = _about(conn)["now"].astimezone(UTC).date()
        return list(SQL.days(conn, today=today, days=DAYS)), today


# -- workspaces ------------------------------------------------------------------------------------


def workspaces(database: Database, *, word: str = "", state: str = "", number: int = 1) -> Page:
    """Args:
    word: part of the name, or the id.
    state: of `WORKSPACE_STATES`; empty for all.
    """
    with database.tx() as conn:
        return _page(SQL.workspaces(conn, word=word, state=state, **_window(number)), number)


def workspace(database: Database, workspace_id: UUID) -> Workspace:
    """Raises NotFound: there is no such workspace."""
    with database.tx() as conn:
        row = SQL.workspace(conn, workspace_id=workspace_id)
        if row is None:
            raise NotFound("There is no such workspace.")
        today = _about(conn)["now"].astimezone(UTC).date()
        states = _states(list(SQL.workspace_states(conn, workspace_id=workspace_id)))
        days = tuple(SQL.workspace_days(conn, workspace_id=workspace_id, today=today, days=DAYS))
        pools = list(SQL.workspace_pools(conn, workspace_id=workspace_id, limit=SHOWN))
    return Workspace(row, states, days, _week(days, today), pools)


def suspend(
    database: Database, user_id: UUID, workspace_id: UUID, reason: str, *, now: datetime
) -> None:
    """Stops all of a workspace's work at once, until it is let go on.

    What waits is cancelled when its time comes; what is being sent at this moment is finished.

    Args:
        reason: its members read it.
    Raises:
        InvalidValue: there is no reason, or it is too long.
        Conflict: it is suspended or being deleted already, or there is none.
    """
    done = _deed(database, "suspend_workspace", user_id, workspace_id, _reason(reason), now)
    if not done:
        raise Conflict("The workspace cannot be suspended: it is so already, or is being deleted.")


def resume(
    database: Database, user_id: UUID, workspace_id: UUID, reason: str, *, now: datetime
) -> None:
    """Lets a suspended workspace go on, from the next day that is sized.

    Raises:
        InvalidValue: there is no reason, or it is too long.
        Conflict: it is not suspended.
    """
    done = _deed(database, "resume_workspace", user_id, workspace_id, _reason(reason), now)
    if not done:
        raise Conflict("The workspace is not suspended.")


def _deed(
    database: Database, name: str, user_id: UUID, workspace_id: UUID, reason: str, now: datetime
) -> bool:
    with database.tx() as conn:
        deed = getattr(SQL, name)
        return bool(deed(conn, user_id=user_id, workspace_id=workspace_id, reason=reason, at=now))


def _reason(text: str) -> str:
    reason = " ".join(text.split())
    if not 1 <= len(reason) <= REASON_MAX:
        raise InvalidValue("reason", text[:40], f"1 to {REASON_MAX} characters")
    return reason


# -- pools, domains, people, errors ----------------------------------------------------------------


def pools(database: Database, *, word: str = "", number: int = 1) -> Page:
    """Each row has `policy` read, and `shortage` where a pool that keeps to itself is too small."""
    with database.tx() as conn:
        found = _page(SQL.pools(conn, word=word, **_window(number)), number)
    for row in found.rows:
        row["policy"] = Policy.from_json(row["policy"])
        size = capacity.PoolSize(
            row["workspace_id"],
            row["id"],
            row["peering_scope"],
            row["policy"],
            row["members"],
            row["network_members"],
        )
        # Who else a wider pool may write to stands on other pages of the list.
        alone = row["peering_scope"] == "pool"
        short = capacity.shortages([size]) if alone else {}
        row["shortage"] = short.get((size.workspace_id, size.pool_id))
    return found


def domains(database: Database, *, word: str = "", blocked: bool = False, number: int = 1) -> Page:
    with database.tx() as conn:
        now = _about(conn)["now"]
        rows = SQL.domains(conn, now=now, word=word, blocked=blocked, **_window(number))
        return _page(rows, number)


def people(database: Database, *, word: str = "", admins: bool = False, number: int = 1) -> Page:
    with database.tx() as conn:
        return _page(SQL.people(conn, word=word, admins=admins, **_window(number)), number)


def errors(database: Database, *, number: int = 1) -> Page:
    """What mailboxes' servers said last, the commonest first."""
    with database.tx() as conn:
        return _page(SQL.errors(conn, **_window(number)), number)


# -- work ------------------------------------------------------------------------------------------


def work(database: Database) -> Work:
    """The demand as the scheduler sees it, and who holds leases on mailboxes."""
    with database.tx() as conn:
        now = _about(conn)["now"]
        demand = {row["worker_group"]: row for row in SQL.demand(conn, now=now)}
        groups = {row["name"]: row["pools"] for row in SQL.worker_groups(conn)}
        workers = list(SQL.leases(conn, limit=WORKERS_SHOWN))
    empty = {"due_now": 0, "backlog": 0, "oldest_due_at": None, "next_due_at": None, "reason": ""}
    names = sorted({*demand, *groups})
    return Work(
        now,
        [
            {**empty, **demand.get(name, {}), "worker_group": name, "pools": groups.get(name, 0)}
            for name in names
        ],
        workers,
    )


def failed_actions(database: Database, *, kind: str = "", word: str = "", number: int = 1) -> Page:
    """Deeds that failed, or of which nobody can say; `refusal` says why one is not tried again.

    Args:
        kind: of `ACTION_KINDS`; empty for all.
        word: part of the mailbox's address, the workspace's name or the reason.
    """
    with database.tx() as conn:
        now = _about(conn)["now"]
        rows = SQL.failed_actions(conn, now=now, kind=kind, word=word, **_window(number))
        return _page(rows, number)


def retry(
    database: Database, user_id: UUID, workspace_id: UUID, action_id: UUID, *, now: datetime
) -> None:
    """Wishes for a failed deed to be tried again; the provisioner looks once more and plans it.

    Raises:
        Conflict: it may not be, such as a message that may have left already.
    """
    with database.tx() as conn:
        business = _about(conn)["now"]
        refusal = SQL.wish_retry(
            conn,
            user_id=user_id,
            workspace_id=workspace_id,
            action_id=action_id,
            now=business,
            at=now,
        )
    if refusal is not None:
        raise Conflict(f"It is not tried again: {refusal}.", code="not_retried")


# -- parts -----------------------------------------------------------------------------------------


def _about(conn: Connection) -> dict[str, Any]:
    """The installation, with `now`: business time."""
    row: dict[str, Any] = SQL.installation(conn)
    return row | {"now": row["business_at"] or datetime.now(UTC)}


def _midnight(now: datetime) -> datetime:
    return now.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)


def _states(rows: list[dict[str, Any]]) -> dict[str, int]:
    counts = dict.fromkeys(dashboard.STATES, 0)
    for row in rows:
        counts[dashboard.state_of(row)] += row["n"]
    return counts


def _week(days: tuple[dict[str, Any], ...], today: date) -> Placed:
    since = today - timedelta(days=WEEK_DAYS)
    recent = [row for row in days if row["day"] > since]
    return Placed.of("all", {key: sum(row[key] for row in recent) for key in PLACED})


def _window(number: int) -> dict[str, int]:
    return {"limit": SHOWN, "offset": (number - 1) * SHOWN}


def _page(rows: Any, number: int) -> Page:
    found = list(rows)
    return Page(found, number, found[0]["total"] if found else 0)
