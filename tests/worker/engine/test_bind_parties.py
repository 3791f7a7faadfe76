"""Binding party by party: workspaces by themselves, the network as one, stored in small batches."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID

import pytest
from psycopg.types.json import Jsonb

from database import TestInstallation
from mailhearth_core.storage.named import named
from mailhearth_worker.scheduler import bind, size

NOW = datetime(2026, 3, 2, 9, tzinfo=UTC)
SCHEDULER = named("scheduler")


def team(installation: TestInstallation, name: str, scope: str) -> list[UUID]:
    """Three mailboxes of a workspace."""
    workspace = installation.workspace(name)
    pool = installation.pool(workspace, peering_scope=scope)
    consent = "network" if scope == "network" else "workspace"
    return [
        installation.mailbox(workspace, pool, f"m{n}@{name}.test", consent=consent)
        for n in range(3)
    ]


def plan(installation: TestInstallation, moments: list[datetime]) -> None:
    """A sized day with these moments for every mailbox."""
    days: list[dict[str, Any]] = [
        {
            "workspace_id": str(row["workspace_id"]),
            "mailbox_id": str(row["id"]),
            "day": NOW.date().isoformat(),
            "volume": len(moments),
            "inputs": {},
            "reasons": [],
            "controller": None,
            "moments": [moment.isoformat() for moment in moments],
            "next_size_at": (NOW + timedelta(days=1)).isoformat(),
        }
        for row in installation.rows("SELECT workspace_id, id FROM mailboxes")
    ]
    with installation.database("scheduler").tx() as conn:
        assert SCHEDULER.store_days(conn, days=Jsonb(days), now=NOW) == len(days)


def test_each_workspace_is_bound_by_itself_and_the_network_across(
    installation: TestInstallation, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bind, "PARTY_SLOTS", 7)
    monkeypatch.setattr(bind, "BATCH", 2)
    teams = {
        name: set(team(installation, name, scope))
        for name, scope in (
            ("one", "pool"), ("two", "workspace"), ("three", "network"), ("four", "network"),
        )
    }  # fmt: skip
    plan(installation, [NOW + timedelta(minutes=20), NOW + timedelta(minutes=50)])
    with installation.database("scheduler").tx() as conn:
        assert bind.bind(conn, NOW) == 24
    bound = installation.rows("SELECT mailbox_id, peer_ref::uuid AS peer, state FROM outbound")
    assert {row["state"] for row in bound} == {"bound"}
    assert len({(row["mailbox_id"], row["peer"]) for row in bound}) == 24, "the pair gap holds"
    for name in ("one", "two"):
        pairs = [row for row in bound if row["mailbox_id"] in teams[name]]
        assert {row["peer"] for row in pairs} == teams[name]
    across = [
        row for row in bound
        if row["mailbox_id"] in teams["three"] and row["peer"] in teams["four"]
    ]  # fmt: skip
    assert across

    plan_later = [NOW + timedelta(hours=26)]
    with installation.database("scheduler").tx() as conn:
        assert bind.bind(conn, NOW) == 0, "nothing waits"
    installation.rows("UPDATE day_sizes SET day = day - 1")
    installation.rows("UPDATE outbound SET day = day - 1")
    plan(installation, plan_later)
    with installation.database("scheduler").tx() as conn:
        bound_late = bind.bind(conn, NOW + timedelta(hours=25))
    # A workspace of three has written to everybody within the pair gap; the network goes on.
    assert bound_late == 6


def test_a_day_is_sized_for_the_peers_in_reach(installation: TestInstallation) -> None:
    team(installation, "one", "pool")
    team(installation, "two", "network")
    team(installation, "three", "network")
    installation.rows("UPDATE mailboxes SET next_size_at = %s", NOW)
    with installation.database("scheduler").tx() as conn:
        assert size.size(conn, NOW) == 9
    rows = installation.rows(
        "SELECT w.name, s.inputs ->> 'eligible_peers' AS peers, s.day FROM day_sizes s "
        "JOIN workspaces w USING (workspace_id)"
    )
    assert {(row["name"], row["peers"]) for row in rows} == {
        ("one", "2"), ("two", "5"), ("three", "5"),
    }  # fmt: skip
    assert {row["day"] for row in rows} == {date(2026, 3, 2)}
