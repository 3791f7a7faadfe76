"""Claiming, planning, learning and settling over a long past: how they grow with finished messages.

`python -m bench.rows [--full] [SIZE...]`: fills the embedded Postgres, with the settings that
`mailhearth up` gives it, to each size in turn and measures every call that the scheduler and the
workers make, each in a transaction that is rolled back. `run()` takes 0.1 and 1 million messages;
`--full` adds 10 million (some 25 GB of disk, a quarter of an hour).
"""

from __future__ import annotations

import argparse
import re
import statistics
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow
from psycopg.types.json import Jsonb

from bench import history, results
from bench.world import World, world
from mailhearth_core.storage.doors import Connection, Database, WorkerDoors
from mailhearth_core.storage.named import named
from mailhearth_core.storage.roles import Roles
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import DaySignals, next_day
from mailhearth_worker.scheduler import bind, ring, size

SIZES = (100_000, 1_000_000)
FULL = (*SIZES, 10_000_000)
WORKSPACES, EACH = 8, 25
NOW = datetime(2026, 3, 2, 10, tzinfo=UTC)
"""A Monday at ten: the day is sized and bound until ten, the sends of the next hours wait."""
LAST_SIZING = NOW - timedelta(hours=9, minutes=55)
LAST_BINDING = NOW - timedelta(hours=2)
VOLUME = 16
RUNS, SECONDS = 41, 8.0
"""Each call is made so often, or for so long."""
GROWTH = 2.0
"""The goal: p50 at most so many times that at the smallest size."""
NOISE_MS = 1.0
"""A call that takes less is flat whatever its ratio: the clock and the network decide it."""

CONTROL = "control: counting to 300,000"
"""Reads no table: what it takes longer is the machine's doing, and taken off the growth."""

PLANNING, SCHEDULER = named("planning"), named("scheduler")
LEARNING, WORKER, RETENTION = named("learning"), named("worker"), named("retention")
Call = Callable[[Connection], object]


def run(sizes: Sequence[int] = SIZES) -> dict[str, Any]:
    """The median milliseconds of each call by number of messages, and its growth."""
    times: dict[str, dict[str, float]] = {}
    reads: dict[str, dict[str, int]] = {}
    filled: dict[str, float] = {}
    plans: dict[str, str] = {}
    with world() as place:
        _people(place)
        conn = history.superuser(place)
        done = 0
        for number in sorted(sizes):
            started = time.monotonic()
            try:
                history.fill(conn, place.folder, NOW.date(), range(done, number))
            except results.Missing as missing:
                print(f"  not {number:,}: {missing}", flush=True)
                break
            filled[f"{number:,}"] = round(time.monotonic() - started, 1)
            if not done:
                _plan(place)
            done = number
            for name, (took, read) in _measured(place).items():
                times.setdefault(name, {})[f"{number:,}"] = took
                reads.setdefault(name, {})[f"{number:,}"] = read
            print(f"  {number:,} messages: filled and measured", flush=True)
            plans = _plans(place, conn)
        conn.close()
    slower = _growth(list(times[CONTROL].values()))
    growth = {
        name: round(_growth(list(by.values())) / slower, 2)
        for name, by in times.items()
        if name != CONTROL
    }
    worst = max(growth, key=lambda name: growth[name])
    return {
        "mailboxes": WORKSPACES * EACH,
        "p50_ms": times,
        "rows_read": reads,
        "machine_slower_by": slower,
        "growth": growth,
        "fill_seconds": filled,
        "goal": {"worst": worst, **results.goal(GROWTH, growth[worst], at_most=True)},
        "plans": plans,
    }


def _growth(times: Sequence[float]) -> float:
    """The last over the first; what is below the noise counts as 1."""
    return 1.0 if times[-1] <= NOISE_MS else round(times[-1] / max(times[0], NOISE_MS), 2)


def _people(place: World) -> None:
    """Workspaces with mailboxes that are ready to be sized at the last midnight."""
    values = {"imap": "127.0.0.1:1143", "smtp": "127.0.0.1:1587", "tls": "none"}
    for n in range(WORKSPACES):
        workspace, pool = place.pool(f"bench-{n}")
        logins = {f"m{i}@d{i % 5}.w{n}.example": "secret" for i in range(EACH)}
        place.mailboxes(workspace, pool, logins, values)
    place.rows(
        "UPDATE mailboxes SET connected_at = %s, created_at = %s, next_size_at = %s",
        *(NOW - timedelta(days=4000), NOW - timedelta(days=4000), LAST_SIZING),
    )
    row = next_day(None, Policy(), NOW.date() - timedelta(days=1), DaySignals())
    row = replace(row, target_volume=VOLUME, day_number=40)
    place.rows(
        "INSERT INTO controller_rows "
        "(workspace_id, mailbox_id, day, state, target_volume, body, reasons) "
        "SELECT m.workspace_id, m.id, d::date, 'healthy', %s, %s, '[]' FROM mailboxes m "
        "CROSS JOIN generate_series(%s::date - 365, %s::date - 1, '1 day') d",
        *(VOLUME, Jsonb(row.to_json()), NOW.date(), NOW.date()),
    )
    place.rows(
        "INSERT INTO day_sizes (workspace_id, mailbox_id, day, volume, inputs, reasons, sized_at) "
        "SELECT m.workspace_id, m.id, d::date, %s, '{}', '[]', d FROM mailboxes m "
        "CROSS JOIN generate_series(%s::date - 365, %s::date - 1, '1 day') d",
        *(VOLUME, NOW.date(), NOW.date()),
    )


def _plan(place: World) -> None:
    """The day so far: sized, and bound until now."""
    database = Database(place.stack.urls.scheduler, name="bench-plan")
    with database.tx() as conn:
        sized = size.size(conn, LAST_SIZING)
    with database.tx() as conn:
        bound = bind.bind(conn, LAST_BINDING)
    with database.tx() as conn:
        SCHEDULER.recompute_rollups(conn, now=NOW)
    database.close()
    if not sized or not bound:
        raise RuntimeError(f"{sized} days sized and {bound} sends bound: nothing to measure")
    place.rows("ANALYZE")


# -- what is measured ------------------------------------------------------------------------------


def _measured(place: World) -> dict[str, tuple[float, int]]:
    """Milliseconds (p50) and rows read of each call."""
    scheduler = Database(place.stack.urls.scheduler, name="bench-scheduler")
    doors = WorkerDoors(
        place.stack.urls.worker_base, place.stack.logins, Roles(), name="bench-worker"
    )
    found: dict[str, tuple[float, int]] = {}
    try:
        found[CONTROL] = _timed(scheduler, _count)
        for name, call in _scheduler_calls(place).items():
            found[name] = _timed(scheduler, call)
        workspace, mailbox = _busy(place)
        door = doors.door(workspace)
        for name, call in _worker_calls(place, workspace, mailbox).items():
            found[name] = _timed(door, call)
    finally:
        scheduler.close()
        doors.close()
    return found


def _count(conn: Connection) -> object:
    return conn.execute("SELECT count(*) FROM generate_series(1, 300000)").fetchone()


def _scheduler_calls(place: World) -> dict[str, Call]:
    boxes = place.rows("SELECT workspace_id, id FROM mailboxes ORDER BY workspace_id, id")
    spaces = sorted({row["workspace_id"] for row in boxes})
    ids = [row["id"] for row in boxes]
    until = NOW + bind.HORIZON

    def sizing(conn: Connection) -> object:
        return size.size(conn, NOW + timedelta(days=1))

    def week(conn: Connection) -> object:
        of = [row["workspace_id"] for row in boxes]
        days = [NOW.date()] * len(ids)
        return list(LEARNING.week_placements(conn, workspaces=of, mailboxes=ids, days=days))

    def sensors(conn: Connection) -> object:
        since = NOW.date() - timedelta(days=7)
        return list(LEARNING.sensor_counts(conn, since=since, junk=5, percent=50))

    def sweep(conn: Connection) -> object:
        before = NOW.date() - timedelta(days=history.ACTION_DAYS)
        RETENTION.sweep_outbound(conn, before=before, batch=1_000)
        return RETENTION.sweep_inbound(conn, before=before, batch=1_000)

    return {
        "size a day of all mailboxes": sizing,
        "match and bind two hours": lambda conn: bind.bind(conn, NOW),
        "matching: recent pairs": lambda conn: list(
            PLANNING.recent_pairs(conn, since=NOW - bind.LONGEST_GAP, mailboxes=ids)
        ),
        "matching: recipient ledger": lambda conn: list(
            PLANNING.recipient_ledger(conn, since=NOW.date() - timedelta(days=1), mailboxes=ids)
        ),
        "matching: waiting slots": lambda conn: list(
            PLANNING.waiting_slots(conn, until=until, workspaces=spaces)
        ),
        "matching: wished replies": lambda conn: list(
            PLANNING.reply_wishes(conn, until=until, workspaces=spaces)
        ),
        "matching: peers": lambda conn: list(
            PLANNING.peering(conn, now=NOW, workspaces=spaces, network=True)
        ),
        "learning: a week's placements": week,
        "learning: sensors": sensors,
        "learning: roll-ups": lambda conn: SCHEDULER.recompute_rollups(conn, now=NOW),
        "unbind lost peers": lambda conn: SCHEDULER.unbind_lost_peers(conn, now=NOW),
        "settle": lambda conn: list(SCHEDULER.settle(conn, now=NOW, sending_ends=None)),
        "reclaim": lambda conn: SCHEDULER.reclaim(conn, now=NOW, poll_at=NOW),
        "wake-ups": lambda conn: ring.collect(conn, NOW, 1_000),
        "clean up: mail that nobody planned to": lambda conn: RETENTION.plan_expunges(
            conn, now=NOW, batch=1_000
        ),
        "clean up: 1,000 finished jobs": lambda conn: RETENTION.sweep_actions(
            conn, before=NOW - timedelta(days=14), batch=1_000
        ),
        "clean up: 1,000 messages": sweep,
        "pool demand": lambda conn: list(SCHEDULER.pool_demand(conn, now=NOW)),
    }


def _busy(place: World) -> tuple[UUID, UUID]:
    """A mailbox with something due."""
    row = place.one(
        "SELECT workspace_id, mailbox_id FROM action WHERE state = 'pending' AND kind = 'send' "
        "AND due_at <= %s ORDER BY id LIMIT 1",
        NOW,
    )
    return row["workspace_id"], row["mailbox_id"]


def _worker_calls(place: World, workspace: UUID, mailbox: UUID) -> dict[str, Call]:
    one = {"workspace_id": workspace, "mailbox_id": mailbox}
    sent = place.one(
        "SELECT id, message_id FROM outbound WHERE mailbox_id = %s AND state = 'bound' LIMIT 1",
        mailbox,
    )
    expunge = place.one(
        "SELECT inbound_id FROM action WHERE mailbox_id = %s AND kind = 'expunge' "
        "AND state = 'pending' ORDER BY due_at LIMIT 1",
        mailbox,
    )
    return {
        "claim: lease": lambda conn: WORKER.take_lease(conn, owner="bench", seconds=60, **one),
        "claim: action": lambda conn: WORKER.claim_action(conn, token=1, now=NOW, **one),
        "claim: consent of both sides": lambda conn: WORKER.claim_send(
            conn, outbound_id=sent["id"]
        ),
        "look: what is outstanding": lambda conn: list(WORKER.outstanding(conn, now=NOW, **one)),
        "look: what may have bounced": lambda conn: list(
            WORKER.unanswered_outbound(conn, since=NOW - timedelta(days=7), **one)
        ),
        "look: census of a mailbox": lambda conn: list(WORKER.census_rows(conn, **one)),
        "clean up: an expunged message": lambda conn: WORKER.mark_expunged(
            conn, workspace_id=workspace, id=expunge["inbound_id"], now=NOW
        ),
    }


def _timed(database: Database, call: Call) -> tuple[float, int]:
    """The median of many runs, each rolled back, after one that warms up; rows that one read."""
    times: list[float] = []
    read = 0
    end = time.monotonic() + SECONDS
    while len(times) <= RUNS and (len(times) < 4 or time.monotonic() < end):
        with database.tx() as conn, conn.transaction(force_rollback=True):
            before = _rows_read(conn)
            started = time.perf_counter()
            call(conn)
            times.append((time.perf_counter() - started) * 1_000)
            read = _rows_read(conn) - before
    return round(statistics.median(times[1:]), 3), read


def _rows_read(conn: Connection) -> int:
    """By this connection, as far as its transaction has counted."""
    row = conn.execute(
        "SELECT coalesce(sum(seq_tup_read + coalesce(idx_tup_fetch, 0)), 0)::bigint AS n "
        "FROM pg_stat_xact_user_tables"
    ).fetchone()
    assert row is not None
    return int(row["n"])


# -- plans -----------------------------------------------------------------------------------------


def _plans(place: World, conn: psycopg.Connection[DictRow]) -> dict[str, str]:
    """EXPLAIN of the functions in plain SQL and of the workers' queries, as their roles see it."""
    roles = Roles()
    boxes = place.rows("SELECT workspace_id, id FROM mailboxes ORDER BY workspace_id, id")
    workspace, mailbox = _busy(place)
    spaces = sorted({row["workspace_id"] for row in boxes})
    values: dict[str, Any] = {
        "p_now": NOW,
        "p_until": NOW + bind.HORIZON,
        "p_since": NOW - bind.LONGEST_GAP,
        "p_from": NOW.date() - timedelta(days=7),
        "p_workspaces": spaces,
        "p_mailboxes": [row["id"] for row in boxes],
        "p_network": True,
        "p_limit": 500,
        "p_host_cap": 64,
        "p_again_after": 15.0,
        "p_junk": 5,
        "p_percent": 50,
    }
    found = {}
    functions = (
        "recent_pairs_of recipient_ledger_of waiting_slots_of waiting_workspaces reply_wishes_of "
        "sensor_counts recompute_rollups take_wakes pool_demand"
    )
    for name in functions.split():
        row = conn.execute(
            "SELECT prosrc FROM pg_proc "
            "WHERE proname = %s AND pronamespace = 'sched'::regnamespace",
            [name],
        ).fetchone()
        assert row is not None
        text = re.sub(r"\b(p_[a-z_]+)\b", r"%(\1)s", row["prosrc"].replace("%", "%%"))
        with _as_role(conn, roles.name("planner")):
            found[f"sched.{name}"] = _explain(conn, text, values)
    asked = {"workspace_id": workspace, "mailbox_id": mailbox, "token": 1, "now": NOW}
    with _as_role(conn, roles.worker_login(workspace)):
        for name in ("claim_action", "outstanding", "census_rows"):
            found[f"worker.{name}"] = _explain(conn, getattr(WORKER, name).sql, asked)
    return found


def _explain(conn: psycopg.Connection[DictRow], text: str, values: dict[str, Any]) -> str:
    found = conn.execute(f"EXPLAIN (COSTS OFF) {text}".encode(), values)
    lines = (row["QUERY PLAN"] for row in found)
    # A condition may hold every mailbox's id.
    return "\n".join(line[:160] for line in lines)


@contextmanager
def _as_role(conn: psycopg.Connection[DictRow], role: str) -> Iterator[None]:
    with conn.transaction(force_rollback=True):
        conn.execute(f"SET LOCAL SESSION AUTHORIZATION {role}".encode())
        yield


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.rows", description=__doc__)
    parser.add_argument("sizes", nargs="*", type=int, metavar="SIZE", help="messages")
    parser.add_argument("--full", action="store_true", help="up to 10 million")
    asked = parser.parse_args()
    found = run(asked.sizes or (FULL if asked.full else SIZES))
    results.keep("rows", found)
    print("\n".join(results.lines_of({k: v for k, v in found.items() if k != "plans"})))


if __name__ == "__main__":
    main()
