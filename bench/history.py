"""A long past in a database: finished warmup messages by the million, the newest days first.

Each message is what it is after its retention: both halves,
  the send and the expunge that are done.
A mailbox sends `EACH` a day, so a larger history is a longer one; what is due today is the same.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import date
from pathlib import Path
from typing import Any

import psycopg
from psycopg.rows import DictRow, dict_row

from bench.results import Missing
from bench.world import World

EACH = 16
ACTION_DAYS = 30
BYTES_PER_MESSAGE = 1_900
"""Both halves and their indexes, measured; a third more is asked for."""
TABLES = ("outbound", "inbound", "action")

PEOPLE = """
CREATE TABLE bench_people AS
SELECT row_number() OVER (ORDER BY m.workspace_id, m.id) - 1 AS no, m.workspace_id, m.id,
  m.address, m.domain,
  (row_number() OVER (PARTITION BY m.workspace_id ORDER BY m.id) - 1)::int AS place,
  (count(*) OVER (PARTITION BY m.workspace_id))::int AS size
FROM mailboxes m;
CREATE UNIQUE INDEX ON bench_people (no);
CREATE UNIQUE INDEX ON bench_people (workspace_id, place);
CREATE FUNCTION bench_id(p_at timestamptz) RETURNS uuid LANGUAGE sql VOLATILE AS $$
  SELECT (lpad(to_hex((extract(epoch FROM p_at) * 1000)::bigint), 12, '0') || '7'
    || substr(replace(gen_random_uuid()::text, '-', ''), 14))::uuid
$$;
"""

# Message n: n = 0 is the newest. %(first)s <= n < %(last)s.
MESSAGES = """
CREATE UNLOGGED TABLE bench_batch AS
SELECT s.workspace_id, s.id AS sender, r.workspace_id AS to_workspace, r.id AS recipient,
  s.address, r.address AS to_address,
  r.domain AS to_domain, x.day, x.slot, x.due_at, bench_id(x.due_at) AS out_id,
  bench_id(x.due_at) AS in_id,
  gen_random_uuid() AS pair, gen_random_uuid() AS thread, x.slot %% 10 < 3 AS reply,
  CASE WHEN x.n %% 20 = 0 THEN 'junk' WHEN x.n %% 7 = 0 THEN 'tab' ELSE 'inbox' END AS placement
FROM (SELECT g.n, p.no, g.n / (c.people * %(each)s) AS back,
  (g.n / c.people %% %(each)s)::int + 1 AS slot,
        %(today)s::date - 1 - (g.n / (c.people * %(each)s))::int AS day,
        (%(today)s::date - 1 - (g.n / (c.people * %(each)s))::int)::timestamp AT TIME ZONE 'UTC'
          + make_interval(secs => 32400 + 1790 * (g.n / c.people %% %(each)s) + p.no) AS due_at
      FROM (SELECT count(*) AS people FROM bench_people) c
      CROSS JOIN generate_series(%(first)s::bigint, %(last)s::bigint - 1) AS g(n)
      JOIN bench_people p ON p.no = g.n %% c.people) x
JOIN bench_people s ON s.no = x.no
JOIN bench_people r ON r.workspace_id = s.workspace_id
  AND r.place = (s.place + 1 + (x.back * 7 + x.slot) %% (s.size - 1)) %% s.size
"""
OUTBOUND = """
INSERT INTO outbound (workspace_id, id, mailbox_id, day, slot, kind, state, due_at, pair_id,
  peer_ref, peer_address,
  peer_domain, peer_name, message_id, subject, seed, library, thread_id, turn, bind_reason,
  sending_at, sent_at,
  smtp_reply, evidence, arrived_at, placement, placement_provider, sent_expunged_at)
SELECT workspace_id, out_id, sender, day, slot, CASE WHEN reply THEN 'reply' ELSE 'thread' END,
  'sent', due_at, pair,
  recipient::text, to_address, to_domain, 'Peer', '<' || replace(pair::text, '-',
  '') || '@' || to_domain || '>',
  'Lunch next week', slot, 'builtin/1', thread, reply::int, 'other provider, other domain,
  not written to before',
  due_at, due_at, '250 2.0.0 Ok: queued', 'smtp', due_at + interval '3 s', placement, 'other',
  CASE WHEN day < %(today)s::date - 14 THEN due_at + interval '14 days' END
FROM bench_batch
"""
INBOUND = """
INSERT INTO inbound (workspace_id, id, mailbox_id, day, pair_id, state, correlation_id, peer_ref,
  sender_address,
  message_id, subject, seed, library, thread_id, turn, due_at, sent_at, observed_at, arrived_at,
  placement,
  placement_provider, observed_message_id, copies, inbox_scanned_at, junk_scanned_at, read_at,
  filed_at, expunged_at,
  reply_state)
SELECT to_workspace, in_id, recipient, day, pair, 'observed', thread, sender::text, address,
  '<' || replace(pair::text, '-', '') || '@' || to_domain || '>', 'Lunch next week', slot,
  'builtin/1', thread,
  reply::int, due_at, due_at, due_at + interval '5 min', due_at + interval '3 s', placement,
  'other',
  '<' || replace(pair::text, '-', '') || '@' || to_domain || '>', 1, due_at, due_at,
  due_at + interval '1 h',
  due_at + interval '1 day',
  CASE WHEN day < %(today)s::date - 14 THEN due_at + interval '14 days' END,
  CASE WHEN reply THEN 'sent' ELSE 'none' END
FROM bench_batch
"""
ACTIONS = """
INSERT INTO action (workspace_id, id, mailbox_id, kind, due_at, not_after, state, attempt,
  outbound_id, finished_at)
SELECT workspace_id, bench_id(due_at), sender, 'send', due_at, due_at + interval '2 h', 'done',
  1, out_id, due_at
FROM bench_batch WHERE day >= %(today)s::date - %(action_days)s;
INSERT INTO action (workspace_id, id, mailbox_id, kind, due_at, state, attempt, inbound_id,
  finished_at)
SELECT to_workspace, bench_id(due_at), recipient, 'expunge', due_at + interval '14 days',
  CASE WHEN day < %(today)s::date - 14 THEN 'done' ELSE 'pending' END, 1, in_id,
  CASE WHEN day < %(today)s::date - 14 THEN due_at + interval '14 days' END
FROM bench_batch WHERE day >= %(today)s::date - %(action_days)s
"""
BATCH = 250_000


def superuser(world: World) -> psycopg.Connection[DictRow]:
    """A connection past every policy, whose statements are put together here."""
    assert world.stack.postgres is not None
    url = world.stack.postgres.superuser_url.reveal().rpartition("/")[0] + "/mailhearth"
    conn: psycopg.Connection[DictRow] = psycopg.connect(
        url, autocommit=True, row_factory=dict_row, cursor_factory=psycopg.ClientCursor
    )
    conn.execute("SET search_path = mailhearth")
    return conn


def fill(conn: psycopg.Connection[DictRow], folder: Path, today: date, span: range) -> None:
    """Adds the messages of these numbers; indexes are made anew after it.

    Args:
        folder: of the database, to see how much room its disk has.

    Raises:
        Missing: there is not enough of it.
    """
    need = int(len(span) * BYTES_PER_MESSAGE * 4 / 3)
    free = shutil.disk_usage(folder).free
    if free < need + 2**30:
        raise Missing(
            f"{len(span):,} messages need {need / 1e9:.0f} GB of disk, {free / 1e9:.0f} GB are free"
        )
    if not conn.execute("SELECT 1 FROM pg_class WHERE relname = 'bench_people'").rowcount:
        conn.execute(PEOPLE)
    with _fast(conn), _without_indexes(conn):
        for first in range(span.start, span.stop, BATCH):
            last = min(first + BATCH, span.stop)
            values: dict[str, Any] = {"today": today, "first": first, "last": last, "each": EACH}
            values["action_days"] = ACTION_DAYS
            conn.execute("DROP TABLE IF EXISTS bench_batch")
            for text in (MESSAGES, OUTBOUND, INBOUND, ACTIONS):
                conn.execute(text.encode(), values)
        conn.execute("DROP TABLE IF EXISTS bench_batch")
    for table in TABLES:
        conn.execute(f"VACUUM (ANALYZE) {table}".encode())
    conn.execute("CHECKPOINT")


@contextmanager
def _fast(conn: psycopg.Connection[DictRow]) -> Iterator[None]:
    """Settings for filling only: a crash would lose the database, which nobody minds here."""
    for setting in ("fsync = off", "full_page_writes = off", "max_wal_size = '4GB'"):
        conn.execute(f"ALTER SYSTEM SET {setting}".encode())
    conn.execute("SELECT pg_reload_conf()")
    conn.execute("SET synchronous_commit = off; SET maintenance_work_mem = '512MB'")
    conn.execute("SET work_mem = '64MB'")
    conn.execute("SET session_replication_role = replica")  # foreign keys hold by construction
    try:
        yield
    finally:
        conn.execute("RESET ALL")
        conn.execute("SET search_path = mailhearth")
        conn.execute("ALTER SYSTEM RESET ALL")
        conn.execute("SELECT pg_reload_conf()")


@contextmanager
def _without_indexes(conn: psycopg.Connection[DictRow]) -> Iterator[None]:
    """All but those of constraints: sorting once is faster than adding one by one."""
    found = conn.execute(
        "SELECT c.relname AS name, pg_get_indexdef(i.indexrelid) AS text FROM pg_index i "
        "JOIN pg_class c ON c.oid = i.indexrelid WHERE i.indrelid = ANY (%s::regclass[]) "
        "AND NOT EXISTS (SELECT 1 FROM pg_constraint k WHERE k.conindid = i.indexrelid)",
        [list(TABLES)],
    ).fetchall()
    for row in found:
        conn.execute(f"DROP INDEX {row['name']}".encode())
    try:
        yield
    finally:
        for row in found:
            conn.execute(row["text"].encode())
