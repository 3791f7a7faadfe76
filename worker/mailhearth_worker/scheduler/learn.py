"""What the scheduler learns: a week's placements for each day to size, and who is no sensor."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from typing import Any
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.metrics import Metrics
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named
from mailhearth_core.warmup.learning import FIELDS, Placements
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import STATES, WEEK, ControllerRow, DaySignals, ends_on
from mailhearth_core.warmup.sensors import (
    JUNKS_PERCENT,
    SUSPECT_JUNK,
    SensorCounts,
    excluded_sensors,
)

log = structlog.get_logger()
SQL = named("learning")

SENSORS_EVERY = timedelta(hours=1)
"""Business time between two looks at the sensors."""


def signals_of(
    conn: Connection, rows: Sequence[Mapping[str, Any]], days: Mapping[UUID, date]
) -> dict[UUID, DaySignals]:
    """What is known of mailboxes as their days begin, by mailbox.

    Args:
        rows: of `sched.to_size`.
        days: each one's local date.
    """
    weeks = {
        row["mailbox_id"]: row
        for row in SQL.week_placements(
            conn,
            workspaces=[row["workspace_id"] for row in rows],
            mailboxes=[row["mailbox_id"] for row in rows],
            days=[days[row["mailbox_id"]] for row in rows],
        )
    }
    return {
        row["mailbox_id"]: DaySignals(
            consented=row["consent"] != "none",
            paused=row["state"] == "paused",
            needs_reauth=row["state"] == "needs_reauth",
            auth_failures=row["auth_failures"],
            placements=Placements(*(weeks[row["mailbox_id"]][name] for name in FIELDS)),
            review_passed=weeks[row["mailbox_id"]]["reviewed"],
        )
        for row in rows
    }


def stored(row: ControllerRow, signals: DaySignals) -> dict[str, Any]:
    """A controller row with the signals it was decided on: with the day's policy they replay it."""
    return row.to_json() | {"signals": signals.to_json()}


def note(conn: Connection, rows: Sequence[tuple[Mapping[str, Any], ControllerRow, Policy]]) -> None:
    """Keeps the phases decided with the mailboxes, for everybody who asks how one stands."""
    noted = []
    for mailbox, row, policy in rows:
        noted.append(
            {
                "workspace_id": str(mailbox["workspace_id"]),
                "mailbox_id": str(mailbox["mailbox_id"]),
                "phase": row.phase,
                "since": row.since.isoformat() if row.since else None,
                "until": until.isoformat() if (until := ends_on(row, policy)) else None,
                "cause": row.cause,
            }
        )
        if row.reasons and row.since == row.day:
            log.info("phase_changed", phase=row.phase, cause=row.cause, **_ids(mailbox))
    SQL.note_phases(conn, rows=Jsonb(noted))


def judge_sensors(conn: Connection, now: datetime) -> int:
    """Decides anew whose placements count; the number of mailboxes for which that changed."""
    seen = SQL.sensor_counts(
        conn, since=(now - WEEK).date(), junk=SUSPECT_JUNK, percent=JUNKS_PERCENT
    )
    counts = [SensorCounts(r["recipient"], r["sender"], r["placed"], r["junk"]) for r in seen]
    excluded = sorted(excluded_sensors(counts))
    changed = int(SQL.set_sensors(conn, excluded=excluded))
    if changed:
        log.info("sensors_changed", mailboxes=changed, excluded=len(excluded))
    return changed


def trim(conn: Connection, now: datetime) -> int:
    """Takes back what lower limits forbid since it was planned; the number of sends."""
    cancelled = int(SQL.trim_days(conn, now=now))
    if cancelled:
        log.info("days_trimmed", messages=cancelled)
    return cancelled


def show(conn: Connection, metrics: Metrics) -> None:
    """Sets the gauge of mailboxes by state; a state that nobody is in is 0."""
    found = {row["state"]: row["mailboxes"] for row in SQL.mailbox_states(conn)}
    for state in STATES:
        metrics.mailboxes.labels(state=state).set(found.get(state, 0))


def _ids(mailbox: Mapping[str, Any]) -> dict[str, Any]:
    return {"workspace_id": mailbox["workspace_id"], "mailbox_id": mailbox["mailbox_id"]}
