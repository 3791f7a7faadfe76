"""What the catalogue and real rows say about the wall between workspaces.

`plant` puts a row of every kind into a workspace; `faults` lists what is wrong with the wall, table
by table, so that one check serves the product's schema and a table that somebody forgot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from typing import Any
from uuid import UUID

import psycopg
from psycopg import sql
from psycopg.types.json import Jsonb

from database import TestInstallation
from mailhearth_core.storage.doors import Connection

PEOPLE_TABLES = {
    # A person may be a member of several workspaces. Reached through the family `signin` alone.
    "users",
    "identities",
    "user_addresses",
    "sessions",
    "sign_in_links",
    "platform_admins",
}
PLATFORM_TABLES = PEOPLE_TABLES | {
    "installation",  # the installation itself
    "business_clock",
    "clock_epochs",
    "worker_groups",  # names of queues, no customer's facts
    "platform_audit_events",
    "platform_audit_checkpoints",
    "schema_checksums",  # of the migrations
    "_yoyo_log",
    "_yoyo_migration",
    "_yoyo_version",
    "yoyo_lock",
}
SPANNING = {
    "workspaces_local_name",  # the name by which the command line finds a workspace
    "workspaces_external",  # the place of its custom resource; written by the operator alone
}
DENIED = psycopg.errors.InsufficientPrivilege

Door = Callable[[UUID], AbstractContextManager[Connection]]


def plant(installation: TestInstallation, workspace_id: UUID, mailbox_id: UUID) -> None:
    """One row in each table that making the workspace, a pool and the mailbox left empty."""
    with installation.superuser() as conn:
        conn.execute("SELECT set_config('t.ws', %s, true)", [str(workspace_id)])
        conn.execute("SELECT set_config('t.mb', %s, true)", [str(mailbox_id)])
        conn.execute(PLANT)


PLANT = """
CREATE TEMP TABLE w ON COMMIT DROP AS SELECT current_setting('t.ws')::uuid AS ws,
  current_setting('t.mb')::uuid AS mb, gen_random_uuid() AS pair, uuid7() AS inb, uuid7() AS outb,
  uuid7() AS person, '2026-03-02T09:00Z'::timestamptz AS at;
INSERT INTO users (id, email, created_at) SELECT person, person || '@people.test', at FROM w;
INSERT INTO memberships (workspace_id, user_id, role, created_at)
  SELECT ws, person, 'owner', at FROM w;
INSERT INTO invitations (workspace_id, token_hash, email, role, invited_by, created_at, expires_at)
  SELECT ws, sha256(ws::text::bytea), 'new@people.test', 'member', person, at, 'infinity' FROM w;
INSERT INTO content_libraries (workspace_id, name, digest, source, created_at)
  SELECT ws, 'own', 'd', 's', at FROM w;
INSERT INTO connection_attempts (workspace_id, mailbox_id, worker_group, settings, key_version,
  sealed, created_at, expires_at) SELECT ws, mb, 'local', '{}', 1, '{}', at, 'infinity' FROM w;
INSERT INTO mailbox_imports (workspace_id, id, file_name, encoding, guessed, created_at,
  expires_at) SELECT ws, pair, 'f', 'utf-8', false, at, 'infinity' FROM w;
INSERT INTO mailbox_import_rows (workspace_id, import_id, line, address, errors)
  SELECT ws, pair, 2, 'x', '[{}]' FROM w;
INSERT INTO day_sizes SELECT ws, mb, '2026-03-02', 5, '{}', '[]', at FROM w;
INSERT INTO controller_rows SELECT ws, mb, '2026-03-02', 'growing', 5, '{}', '[]' FROM w;
INSERT INTO inbound (workspace_id, id, mailbox_id, day, pair_id, correlation_id, peer_ref,
  sender_address, message_id, subject, seed, library, thread_id, turn, due_at)
  SELECT ws, inb, mb, '2026-03-02', pair, uuid7(), 'p', 's@x.test', '<m@x>', 's', 1,
    'builtin/1', uuid7(), 0, at FROM w;
INSERT INTO outbound (workspace_id, id, mailbox_id, day, slot, due_at, reply_to_inbound)
  SELECT ws, outb, mb, '2026-03-02', 1, at, inb FROM w;
INSERT INTO action (workspace_id, mailbox_id, kind, due_at, outbound_id)
  SELECT ws, mb, 'send', at, outb FROM w;
INSERT INTO action (workspace_id, mailbox_id, kind, due_at, inbound_id)
  SELECT ws, mb, 'read', at, inb FROM w;
INSERT INTO folder_states SELECT ws, mb, 'INBOX', 1, 1, NULL, at FROM w;
INSERT INTO rollups SELECT ws, mb, '2026-03-02', 1, 1, 1, 0, 0, 0, 0, 0, 0, at FROM w;
INSERT INTO domain_health (workspace_id, domain, next_check_at) SELECT ws, 'x.test', at FROM w;
INSERT INTO domain_bounces (workspace_id, outbound_id, domain, status, at)
  SELECT ws, outb, 'x.test', '5.1.1', at FROM w;
INSERT INTO workspace_days SELECT ws, '2026-03-02', 1, 1, 1, 0, 0, 0, 1, 0, 0, 0, 0, at FROM w;
INSERT INTO provider_days SELECT ws, '2026-03-02', 'gmail', 1, 0, 0, 0, 0 FROM w;
INSERT INTO dns_reports (workspace_id, domain, next_check_at) SELECT ws, 'x.test', at FROM w;
INSERT INTO audit_checkpoints SELECT ws, 1000000, sha256('l'), at, sha256('k'), '' FROM w;
INSERT INTO key_versions
  SELECT ws, 1 + (SELECT count(*) FROM key_versions), 'destroyed', sha256('k'), 'f', at, at FROM w;
"""


def tenant_tables(installation: TestInstallation) -> list[str]:
    """Every table of the schema but those of the platform."""
    names = installation.rows(
        "SELECT relname FROM pg_class WHERE relnamespace = 'mailhearth'::regnamespace "
        "AND relkind IN ('r', 'p') ORDER BY 1"
    )
    return [row["relname"] for row in names if row["relname"] not in PLATFORM_TABLES]


def faults(
    installation: TestInstallation, doors: dict[str, Door], mine: UUID, theirs: UUID
) -> list[str]:
    """All that is wrong with the wall, each with its table and door; empty when it stands.

    Args:
        doors: by name; each opens a transaction of the workspace it is given.
        mine, theirs: two workspaces with a row in every table.
    """
    found = list(_structure(installation))
    for table in tenant_tables(installation):
        if not _columns(installation, table).get("workspace_id"):
            found.append(f"{table}: no workspace_id")
            continue
        if any(_count(installation, table, workspace) == 0 for workspace in (mine, theirs)):
            found.append(f"{table}: the test plants no row in it")
            continue
        for name, door in doors.items():
            found += [
                f"{table}: by {name}: {fault}"
                for fault in _behaviour(installation, table, door, mine, theirs)
            ]
        found += [f"{table}: {fault}" for fault in _references(installation, table, mine, theirs)]
    return found


def _structure(installation: TestInstallation) -> Iterator[str]:
    tables = set(tenant_tables(installation))
    for row in installation.rows(
        "SELECT relname, relrowsecurity, relforcerowsecurity FROM pg_class "
        "WHERE relnamespace = 'mailhearth'::regnamespace AND relkind IN ('r', 'p')"
    ):
        if row["relname"] in tables and not (row["relrowsecurity"] and row["relforcerowsecurity"]):
            yield f"{row['relname']}: row-level security is not forced"
    for row in installation.rows(
        "SELECT i.indexrelid::regclass::text AS name, i.indrelid::regclass::text AS tab, "
        "ARRAY(SELECT a.attname::text FROM pg_attribute a WHERE a.attrelid = i.indrelid "
        "AND a.attnum = ANY (i.indkey::int2[])) AS columns "
        "FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid "
        "WHERE i.indisunique AND c.relnamespace = 'mailhearth'::regnamespace"
    ):
        walled = "workspace_id" in row["columns"] or row["name"] in SPANNING
        if row["tab"] in tables and not walled:
            yield f"{row['tab']}: unique index {row['name']} spans workspaces"
    for row in _foreign_keys(installation):
        pairs = list(zip(row["columns"], row["parents"], strict=True))
        inside = row["tab"] in tables and row["parent"] in tables
        if inside and ("workspace_id", "workspace_id") not in pairs:
            yield f"{row['tab']}: foreign key {row['name']} sees through the wall"


def _foreign_keys(installation: TestInstallation) -> list[dict[str, Any]]:
    return installation.rows(
        "SELECT k.conname AS name, k.conrelid::regclass::text AS tab, "
        "k.confrelid::regclass::text AS parent, "
        "ARRAY(SELECT a.attname::text FROM unnest(k.conkey) WITH ORDINALITY u(n, o) "
        "JOIN pg_attribute a ON a.attrelid = k.conrelid AND a.attnum = u.n ORDER BY o) AS columns, "
        "ARRAY(SELECT a.attname::text FROM unnest(k.confkey) WITH ORDINALITY u(n, o) "
        "JOIN pg_attribute a ON a.attrelid = k.confrelid AND a.attnum = u.n ORDER BY o) AS parents "
        "FROM pg_constraint k WHERE k.contype = 'f' AND k.connamespace = 'mailhearth'::regnamespace"
    )


def _columns(installation: TestInstallation, table: str) -> dict[str, str]:
    rows = installation.rows(
        "SELECT attname::text AS name, format_type(atttypid, atttypmod) AS type FROM pg_attribute "
        "WHERE attrelid = %s::regclass AND attnum > 0 AND NOT attisdropped",
        f"mailhearth.{table}",
    )
    return {row["name"]: row["type"] for row in rows}


def _count(installation: TestInstallation, table: str, workspace_id: UUID) -> int:
    query = f"SELECT count(*) AS n FROM {table} WHERE workspace_id = %s"
    return int(installation.one(query, workspace_id)["n"])


def _behaviour(
    installation: TestInstallation, table: str, door: Door, mine: UUID, theirs: UUID
) -> Iterator[str]:
    name = sql.Identifier(table)
    columns = _columns(installation, table)
    stolen = installation.one(
        f"SELECT to_jsonb(t) AS row FROM {table} t WHERE workspace_id = %s LIMIT 1", theirs
    )["row"]
    if columns.get("id") == "uuid":
        stolen["id"] = str(installation.one("SELECT gen_random_uuid() AS id")["id"])

    def tried(statement: sql.Composed, *parameters: Any) -> int | None:
        """Rows that a statement touched or returned; None when it was denied."""
        try:
            with door(mine) as conn, rolled_back(conn):
                return conn.execute(statement, parameters).rowcount
        except DENIED:
            return None
        except psycopg.IntegrityError:
            return 1  # it came past the wall, to the constraints

    where = sql.SQL("WHERE workspace_id = %s")
    if tried(sql.SQL("SELECT 1 FROM {} {}").format(name, where), theirs):
        yield "reads another's rows"
    if tried(sql.SQL("SELECT 1 FROM {} {}").format(name, where), mine) == 0:
        yield "does not see its own rows, so this test proves nothing"
    insert = sql.SQL("INSERT INTO {} SELECT * FROM jsonb_populate_record(NULL::{}, %s)")
    if tried(insert.format(name, name), Jsonb(stolen)) is not None:
        yield "inserts a row of another"
    if tried(sql.SQL("DELETE FROM {} {}").format(name, where), theirs):
        yield "deletes another's rows"
    for column in columns:
        change = sql.SQL("UPDATE {} SET {} = {} {}").format(
            name, sql.Identifier(column), sql.Identifier(column), where
        )
        if tried(change, theirs):
            yield f"updates another's {column}"
    move = sql.SQL("UPDATE {} SET workspace_id = %s {}").format(name, where)
    if tried(move, theirs, mine):
        yield "gives its row to another"


@contextmanager
def rolled_back(conn: Connection) -> Iterator[None]:
    """What happens inside leaves no trace."""
    with conn.transaction(force_rollback=True):
        yield


def _references(
    installation: TestInstallation, table: str, mine: UUID, theirs: UUID
) -> Iterator[str]:
    """Tries, past every policy, to let my row refer to theirs: the foreign key must refuse."""
    tables = set(tenant_tables(installation))
    for key in _foreign_keys(installation):
        if key["tab"] != table or key["parent"] not in tables:
            continue
        pairs = [
            (column, parent)
            for column, parent in zip(key["columns"], key["parents"], strict=True)
            if column != "workspace_id"
        ]
        if not pairs:
            continue  # refers to the workspace itself
        ((column, parent),) = pairs
        statement = (
            f"UPDATE {table} SET {column} = (SELECT p.{parent} FROM {key['parent']} p "
            f"WHERE p.workspace_id = %s AND NOT EXISTS (SELECT 1 FROM {key['parent']} o "
            f"WHERE o.workspace_id = %s AND o.{parent} = p.{parent}) LIMIT 1) "
            f"WHERE workspace_id = %s AND {column} IS NOT NULL"
        )
        try:
            with installation.superuser() as conn, rolled_back(conn):
                touched = conn.execute(statement.encode(), (theirs, mine, mine)).rowcount
        except psycopg.errors.ForeignKeyViolation:
            continue
        yield f"{column} refers to another's {key['parent']}" if touched else f"no row has {column}"
