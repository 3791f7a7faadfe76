"""Named queries: `queries/<aggregate>.sql`, loaded once, rows as dictionaries (aiosql)."""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from importlib import resources
from typing import Any

import aiosql
import psycopg
from psycopg.rows import DictRow


@cache
def named(aggregate: str) -> Any:
    """The queries of one aggregate, as functions `(conn, **parameters)`."""
    folder = resources.files("mailhearth_core.storage") / "queries"
    text = (folder / f"{aggregate}.sql").read_text()
    return aiosql.from_str(text, "psycopg", mandatory_parameters=False)


def together(
    conn: psycopg.Connection[DictRow], *asked: tuple[Any, Mapping[str, Any]]
) -> list[list[DictRow]]:
    """The rows of several named queries that only read, in one round trip (pipeline mode)."""
    with conn.pipeline():
        cursors = [conn.execute(query.sql, parameters) for query, parameters in asked]
    return [cursor.fetchall() for cursor in cursors]
