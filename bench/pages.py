"""How long the dashboard's pages take in a large workspace, and what open event streams cost.

One workspace with 10,000 mailboxes and a million warmup messages, all of them within the last week:
the worst that a page may meet. Each page is asked for over HTTP, one connection, one at a time.
"""

from __future__ import annotations

import argparse
import http.client
import secrets
import statistics
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID

from psycopg.types.json import Jsonb

from bench import history, results
from bench.idle import megabytes
from bench.world import World, free_port, wait_for, world
from mailhearth_core.ids import uuid7
from mailhearth_core.storage.doors import Database
from mailhearth_core.storage.named import named
from mailhearth_core.verbs import sessions
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import DaySignals, next_day
from mailhearth_web.frame.session import LOCAL_COOKIE, token_hash

MAILBOXES, MESSAGES = 10_000, 1_000_000
DOMAINS, DAYS = 500, 30
RUNS, WARM, SECONDS = 200, 8, 10.0
"""Each page is asked for so often, or for so long. The first times are not counted: connections are
made then, and statements prepared."""
GOAL_MS, GOAL_STREAMS_MB, STREAMS = 200.0, 100.0, 200
Head = dict[str, str]


def run(mailboxes: int = MAILBOXES, messages: int = MESSAGES) -> dict[str, Any]:
    """Milliseconds of each page, p50 and p99, and the memory of open streams."""
    with world() as place:
        workspace, pool = place.pool()
        _people(place, workspace, pool, mailboxes)
        conn = history.superuser(place)
        history.fill(conn, place.folder, datetime.now(UTC).date(), range(messages))
        conn.close()
        _sum_up(place)
        print(f"  {mailboxes:,} mailboxes, {messages:,} messages: filled", flush=True)
        with _served(place) as (bare, web, process):
            head = _signed_in(place, workspace, web)
            box = place.one("SELECT id FROM mailboxes ORDER BY id LIMIT 1 OFFSET 77")["id"]
            pages = {"bare Flask page": _measured(bare, "/", {})}
            print(f"  bare Flask page: {pages['bare Flask page']}", flush=True)
            for name, path in _paths(workspace, pool, box).items():
                pages[name] = _measured(web, path, head)
                print(f"  {name}: {pages[name]}", flush=True)
            streams = _streams(web, head, process, f"/w/{workspace}/")
    worst = max(page["p99_ms"] for page in pages.values())
    return {
        "mailboxes": mailboxes,
        "messages": messages,
        "pages": pages,
        "goal_p99_ms": results.goal(GOAL_MS, worst, at_most=True),
        "streams": streams,
        "goal_streams_mb": results.goal(GOAL_STREAMS_MB, streams["megabytes"], at_most=True),
    }


def _paths(workspace: UUID, pool: UUID, box: UUID) -> dict[str, str]:
    root = f"/w/{workspace}"
    return {
        "all workspaces": "/workspaces",
        "overview": f"{root}/",
        "overview: ramp": f"{root}/overview/ramp.json",
        "overview: placement": f"{root}/overview/placement.json",
        "mailboxes": f"{root}/mailboxes",
        "mailboxes: searched": f"{root}/mailboxes?q=m9&sort=health&dir=desc&page=2",
        "mailbox": f"{root}/mailboxes/{box}",
        "mailbox: ramp": f"{root}/mailboxes/{box}/ramp.json",
        "mailbox: placement": f"{root}/mailboxes/{box}/placement.json",
        "mailbox: settings": f"{root}/mailboxes/{box}/settings",
        "pools": f"{root}/pools",
        "pool": f"{root}/pools/{pool}",
        "dns": f"{root}/dns",
        "domain": f"{root}/dns/d7.example",
        "members": f"{root}/members",
        "account": "/account",
        "admin: network": "/admin",
        "admin: ramp": "/admin/ramp.json",
        "admin: placement": "/admin/placement.json",
        "admin: workspaces": "/admin/workspaces",
        "admin: workspace": f"/admin/workspaces/{workspace}",
        "admin: pools": "/admin/pools",
        "admin: domains": "/admin/domains",
        "admin: people": "/admin/people",
        "admin: errors": "/admin/errors",
        "admin: work": "/admin/work",
        "admin: failed": "/admin/failed",
        "admin: audit": "/admin/audit",
    }


# -- the database ----------------------------------------------------------------------------------


def _people(place: World, workspace: UUID, pool: UUID, mailboxes: int) -> None:
    """One mailbox as the product makes it, and copies of it, with a month of days."""
    values = {"imap": "127.0.0.1:1143", "smtp": "127.0.0.1:1587", "tls": "none"}
    (first,) = place.mailboxes(workspace, pool, {"m0@d0.example": "secret"}, values)
    columns = ", ".join(
        row["name"]
        for row in place.rows(
            "SELECT attname AS name FROM pg_attribute WHERE attrelid = 'mailboxes'::regclass "
            "AND attnum > 0 AND NOT attisdropped AND attname NOT IN ('id', 'address', 'domain')"
        )
    )
    place.rows(  # the columns are the catalogue's own
        f"INSERT INTO mailboxes (id, address, domain, {columns}) "  # noqa: S608
        f"SELECT uuid7(), 'm' || g || '@d' || g %% {DOMAINS} || '.example', "
        f"'d' || g %% {DOMAINS} || '.example', {columns} FROM mailboxes m "
        "CROSS JOIN generate_series(1, %s) g WHERE m.id = %s",
        *(mailboxes - 1, first),
    )
    place.rows(
        "INSERT INTO mailbox_leases (workspace_id, mailbox_id) SELECT workspace_id, id "
        "FROM mailboxes ON CONFLICT DO NOTHING"
    )
    # Some of each kind of trouble.
    place.rows(
        "UPDATE mailboxes SET state = 'needs_reauth', auth_failures = 4, last_error = 'refused' "
        "WHERE right(id::text, 2) = 'a1'"
    )
    place.rows("UPDATE mailboxes SET consent = 'none' WHERE right(id::text, 2) = 'b2'")
    place.rows(
        "INSERT INTO domain_health (workspace_id, domain, mx_ok, smtp_ok, next_check_at) "
        "SELECT DISTINCT workspace_id, domain, domain <> 'd3.example', true, now() FROM mailboxes"
    )
    today = datetime.now(UTC).date()
    row = next_day(None, Policy(), today - timedelta(days=1), DaySignals())
    reasons = Jsonb([{"code": "target", "text": "the ramp allows 16", "value": 16}])
    place.rows(
        "INSERT INTO controller_rows "
        "(workspace_id, mailbox_id, day, state, target_volume, body, reasons) "
        "SELECT m.workspace_id, m.id, d::date, 'healthy', 16, %s, %s FROM mailboxes m "
        "CROSS JOIN generate_series(%s::date - %s::integer, %s::date, '1 day') d",
        *(Jsonb(row.to_json()), reasons, today, DAYS, today),
    )
    place.rows(
        "INSERT INTO day_sizes (workspace_id, mailbox_id, day, volume, inputs, reasons, sized_at) "
        "SELECT m.workspace_id, m.id, d::date, 16, '{}', %s, d FROM mailboxes m "
        "CROSS JOIN generate_series(%s::date - %s::integer, %s::date, '1 day') d",
        *(reasons, today, DAYS, today),
    )


def _sum_up(place: World) -> None:
    """As the scheduler does, and a month of sums before what it still looks at."""
    database = Database(place.stack.urls.scheduler, name="bench-sums")
    with database.tx() as conn:
        named("scheduler").recompute_rollups(conn, now=datetime.now(UTC))
    database.close()
    place.rows(
        "INSERT INTO workspace_days SELECT workspace_id, day - g, volume, planned, sent, replied, "
        "bounced, rescued, inbox, junk, other, missing, unobservable, computed_at "
        "FROM workspace_days CROSS JOIN generate_series(1, 30) g ON CONFLICT DO NOTHING"
    )
    place.rows("VACUUM ANALYZE")


# -- the server ------------------------------------------------------------------------------------


@contextmanager
def _served(place: World) -> Iterator[tuple[int, int, int]]:
    """The ports of the bare page and of the dashboard, and the dashboard's process."""
    with ExitStack() as stop:
        bare, web = free_port(), free_port()
        environ = place.stack.web_environment(port=free_port(), web_port=web, local_sign_in=False)
        stop.enter_context(place._process(["bench.bare", str(bare)], environ, "bare"))
        served = stop.enter_context(place._process(["mailhearth_web"], environ, "web"))
        wait_for(lambda: _answers(bare, "/"), 30, "the bare page does not answer")
        wait_for(lambda: _answers(web, "/healthz"), 30, "the dashboard does not answer",
                 lambda: (place.folder / "web.log").read_text()[-2000:])  # fmt: skip
        yield bare, web, served.pid


def _answers(port: int, path: str) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path)
        return connection.getresponse().status == http.HTTPStatus.OK
    except OSError:
        return False
    finally:
        connection.close()


def _signed_in(place: World, workspace: UUID, web: int) -> Head:
    """The headers of the browser of an owner who administers the installation too."""
    person, token, now = uuid7(), secrets.token_urlsafe(32), datetime.now(UTC)
    place.rows(
        "INSERT INTO users (id, email, created_at) VALUES (%s, 'bench@people.test', %s)",
        *(person, now),
    )
    place.rows(
        "INSERT INTO memberships (workspace_id, user_id, role, created_at) "
        "VALUES (%s, %s, 'owner', %s)",
        *(workspace, person, now),
    )
    place.rows(
        "INSERT INTO platform_admins (user_id, granted_by, granted_at) VALUES (%s, 'bench', %s)",
        *(person, now),
    )
    database = Database(place.stack.urls.web, name="bench-web")
    sessions.create(
        database, token_hash(token), person, {"csrf_token": secrets.token_hex(20)},
        now=now, expires_at=now + timedelta(hours=8), ip="127.0.0.1", agent="bench",
    )  # fmt: skip
    database.close()
    return {"Cookie": f"{LOCAL_COOKIE}-{web}={token}"}


def _measured(port: int, path: str, head: Head, runs: int = RUNS) -> dict[str, Any]:
    """One page's times."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    times: list[float] = []
    size = 0
    try:
        ends = time.monotonic() + SECONDS
        while len(times) < WARM + runs and (time.monotonic() < ends or len(times) < 2 * WARM):
            started = time.perf_counter()
            connection.request("GET", path, headers=head)
            answer = connection.getresponse()
            size = len(answer.read())
            times.append((time.perf_counter() - started) * 1_000)
            if answer.status != http.HTTPStatus.OK:
                raise RuntimeError(f"{path}: {answer.status}")
    finally:
        connection.close()
    return {**_shown(times[WARM:]), "bytes": size}


def _shown(times: Sequence[float]) -> dict[str, float]:
    cuts = statistics.quantiles(times, n=100)
    return {"p50_ms": round(cuts[49], 2), "p99_ms": round(cuts[98], 2)}


def _streams(port: int, head: Head, pid: int, page: str) -> dict[str, Any]:
    """What so many open streams weigh, and what a page takes meanwhile."""
    before = megabytes(pid)
    held = []
    try:
        for _ in range(STREAMS):
            connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
            connection.request("GET", "/events", headers=head)
            answer = connection.getresponse()
            if answer.status != http.HTTPStatus.OK or not answer.readline().startswith(b"retry"):
                raise RuntimeError(f"a stream was refused: {answer.status}")
            held.append((connection, answer))
        weight = megabytes(pid) - before
        meanwhile = _measured(port, page, head, runs=50)
    finally:
        for connection, _ in held:
            connection.close()
    return {"open": STREAMS, "megabytes": round(weight, 1), "overview_meanwhile": meanwhile}


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.pages", description=__doc__)
    parser.add_argument("--mailboxes", type=int, default=MAILBOXES)
    parser.add_argument("--messages", type=int, default=MESSAGES)
    asked = parser.parse_args()
    found = run(asked.mailboxes, asked.messages)
    if (asked.mailboxes, asked.messages) == (MAILBOXES, MESSAGES):
        results.keep("pages", found)
    print("\n".join(results.lines_of(found)))


if __name__ == "__main__":
    main()
