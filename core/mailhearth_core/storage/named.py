"""Named queries: `queries/<aggregate>.sql`, loaded once, rows as dictionaries (aiosql)."""

from __future__ import annotations

from functools import cache
from importlib import resources
from typing import Any

import aiosql


@cache
def named(aggregate: str) -> Any:
    """The queries of one aggregate, as functions `(conn, **parameters)`."""
    folder = resources.files("mailhearth_core.storage") / "queries"
    text = (folder / f"{aggregate}.sql").read_text()
    return aiosql.from_str(text, "psycopg", mandatory_parameters=False)
