"""All that is a workspace's, as lines of JSON, read at one moment.

Each line is `{"table": ..., "row": {...}}`, bytes in hex; the first says what it is, the last is
`{"table": "end", "row": {"rows": N}}`: without it the export was cut off. Which tables there are is
read from the catalogue, so a new one is exported unless it stands in `NOT_EXPORTED`.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Iterator, Mapping
from datetime import datetime
from types import MappingProxyType
from typing import Any
from uuid import UUID

from psycopg import sql

from mailhearth_core.errors import NotFound
from mailhearth_core.storage.doors import Connection, TenantDoor
from mailhearth_core.storage.named import named

SQL = named("people")

FORMAT = "mailhearth-workspace-export/1"
BATCH = 1_000
CHUNK_BYTES = 65_536

NOT_EXPORTED: Mapping[str, str] = MappingProxyType(
    {
        "connection_attempts": "lives for minutes, and holds sealed passwords",
        "mailbox_imports": "lives for hours",
        "mailbox_import_rows": "lives for hours, and holds sealed passwords",
        "mailbox_leases": "locks of the moment",
        "memberships": "exported as `members`, with addresses",
    }
)
"""Tables that are left out, and why."""
SECRET = frozenset({"sealed", "imap_sealed", "smtp_sealed", "refresh_claim"})
"""Columns that are left out everywhere: ciphertexts that nobody else could open."""


def export(door: TenantDoor, workspace_id: UUID, *, now: datetime) -> Generator[bytes, None, None]:
    """The export in chunks of whole lines. It holds a connection until it is read or closed.

    Raises:
        NotFound: there is no such workspace.
    """
    with door.snapshot_tx(workspace_id) as conn:
        yield from _chunks(_lines(conn, workspace_id, now))


def _chunks(lines: Iterator[str]) -> Iterator[bytes]:
    held: list[bytes] = []
    size = 0
    for line in lines:
        held.append(line.encode() + b"\n")
        size += len(held[-1])
        if size >= CHUNK_BYTES:
            yield b"".join(held)
            held, size = [], 0
    yield b"".join(held)


def _lines(conn: Connection, workspace_id: UUID, now: datetime) -> Iterator[str]:
    name = conn.execute("SELECT name FROM workspaces").fetchone()
    if name is None:
        raise NotFound("There is no such workspace.")
    head = {
        "format": FORMAT,
        "workspace_id": str(workspace_id),
        "name": name["name"],
        "at": now.isoformat(),
    }
    yield _line("export", head)
    rows = 0
    for member in SQL.members(conn, workspace_id=workspace_id):
        yield _line("members", member)
        rows += 1
    for table, columns in _tables(conn).items():
        for text in _rows(conn, table, columns, workspace_id):
            yield f'{{"table": {json.dumps(table)}, "row": {text}}}'
            rows += 1
    yield _line("end", {"rows": rows})


def _line(table: str, row: Mapping[str, Any]) -> str:
    return json.dumps({"table": table, "row": row}, default=str, ensure_ascii=False)


def _tables(conn: Connection) -> dict[str, list[str]]:
    """Each table of workspaces that this login may read, with the columns that are exported."""
    found: dict[str, list[str]] = {}
    for row in conn.execute(
        "SELECT c.relname::text AS name, a.attname::text AS col FROM pg_class c "
        "JOIN pg_attribute a ON a.attrelid = c.oid AND a.attnum > 0 AND NOT a.attisdropped "
        "WHERE c.relnamespace = 'mailhearth'::regnamespace AND c.relkind IN ('r', 'p') "
        "AND NOT c.relispartition AND has_column_privilege(c.oid, a.attnum, 'SELECT') "
        "AND EXISTS (SELECT 1 FROM pg_attribute w WHERE w.attrelid = c.oid "
        "AND w.attname = 'workspace_id') ORDER BY c.relname, a.attnum"
    ):
        if row["name"] not in NOT_EXPORTED and row["col"] not in SECRET:
            found.setdefault(row["name"], []).append(row["col"])
    return found


def _rows(conn: Connection, table: str, columns: list[str], workspace_id: UUID) -> Iterator[str]:
    query = sql.SQL(
        "SELECT to_jsonb(x)::text AS line FROM (SELECT {} FROM {} WHERE workspace_id = %s) x"
    ).format(sql.SQL(", ").join(map(sql.Identifier, columns)), sql.Identifier(table))
    with conn.cursor(name=f"export_{table}") as cursor:
        cursor.itersize = BATCH
        cursor.execute(query, (workspace_id,))
        for row in cursor:
            yield row["line"]
