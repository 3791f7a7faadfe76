"""Every named query is understood, and allowed, by the login that asks it."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from typing import Any

import psycopg
import pytest
from psycopg.sql import SQL

from database import TestInstallation
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named


def names(aggregate: str) -> list[str]:
    found = [name for name in named(aggregate).available_queries if not name.endswith("_cursor")]
    assert len(found) >= 5, aggregate
    return found


def explain(conn: Connection, aggregate: str, name: str) -> None:
    """Plans a query with hardly a value; the login's rights are looked at before the first row."""
    query = getattr(named(aggregate), name)
    asked = parameters(query.sql)
    empty = {key: 1 if (aggregate, key) == ("reports", "days") else None for key in asked}
    with conn.transaction(force_rollback=True):
        conn.execute(SQL("EXPLAIN ") + SQL(query.sql), empty)


def parameters(text: str) -> list[str]:
    return [part.split(")s")[0] for part in text.split("%(")[1:]]


@pytest.mark.parametrize(
    "aggregate",
    [
        "worker",
        "sending",
        "oauth",
        "scheduler",
        "planning",
        "learning",
        "operator",
        "reports",
        "mailboxes",
        "audit",
        "retention",
        "people",
        "admins",
        "administration",
    ],
)
def test_each_query_is_understood_and_allowed(
    installation: TestInstallation, aggregate: str
) -> None:
    workspace = installation.workspace()
    opened: dict[str, Callable[[], AbstractContextManager[Connection]]] = {
        "worker": lambda: installation.worker_doors().door(workspace).tx(),
        "sending": lambda: installation.worker_doors().door(workspace).tx(),
        "oauth": lambda: installation.worker_doors().door(workspace).tx(),
        "scheduler": lambda: installation.database("scheduler").tx(),
        "planning": lambda: installation.database("scheduler").tx(),
        "learning": lambda: installation.database("scheduler").tx(),
        "audit": lambda: installation.database("scheduler").tx(),
        "retention": lambda: installation.database("scheduler").tx(),
        "operator": lambda: installation.database("operator").tx(),
        "people": lambda: installation.database("web").tx(),
        "admins": lambda: installation.database("cli").tx(),
        "administration": lambda: installation.database("admin").tx(),
        "reports": lambda: installation.door.tenant_tx(workspace),
        "mailboxes": lambda: installation.web_door.tenant_tx(workspace),
    }
    faults: list[Any] = []
    with opened[aggregate]() as conn:
        for name in names(aggregate):
            try:
                explain(conn, aggregate, name)
            except psycopg.Error as error:
                faults.append((name, type(error).__name__, str(error).splitlines()[0]))
    assert faults == []


def test_a_query_that_is_not_allowed_is_found(installation: TestInstallation) -> None:
    installation.workspace()
    denied = pytest.raises(psycopg.errors.InsufficientPrivilege)
    with denied, installation.database("web").tx() as conn:
        explain(conn, "worker", "mark_expunged")
