"""Sending through the whole path, beside raw smtplib and Postfix's smtp-source.

The whole path: a due action in Postgres, found by the scheduler, a wake-up through RQ, the
mailbox's lease, the message made from its seed, `sending` committed, SMTP to Postfix's smtp-sink,
the settled row. The clock runs from the first `sending` row to the last settled one.
"""

from __future__ import annotations

import math
import multiprocessing
import os
import re
import smtplib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

from bench.results import goal
from bench.world import World, free_port, processor_seconds, program, wait_for, world

MAILBOXES = 200
EACH = int(os.environ.get("BENCH_EACH", "60"))
WORKERS = 2
BODY_BYTES = 10_000
GOAL = 500.0
LIMIT_S = float(os.environ.get("BENCH_LIMIT_S", "600"))
SENTENCE = "The garden was quiet this morning and the new plants are doing well so far. "


class Sink:
    """Postfix's smtp-sink on loopback: takes every message, offers AUTH, counts."""

    def __init__(self, process: subprocess.Popen[bytes], port: int, output: Path) -> None:
        self._process = process
        self._output = output
        self.port = port

    @property
    def processor_seconds(self) -> float:
        return processor_seconds(self._process.pid)

    @property
    def messages(self) -> int:
        counts = re.findall(rb"mesg=(\d+)", self._output.read_bytes()[-4096:])
        return int(counts[-1]) if counts else 0


@contextmanager
def sink() -> Iterator[Sink]:
    port = free_port()
    user = ["-u", "nobody"] if os.geteuid() == 0 else []
    with tempfile.TemporaryDirectory(prefix="mailhearth-sink-") as folder:
        output = Path(folder) / "count"
        with output.open("wb") as file:
            process = subprocess.Popen(
                [program("smtp-sink"), "-c", "-m", "512", *user, f"127.0.0.1:{port}", "512"],
                stdin=subprocess.DEVNULL,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
        try:
            wait_for(lambda: _listens(port), 10, "smtp-sink does not listen")
            yield Sink(process, port, output)
        finally:
            process.terminate()
            process.wait()


def _listens(port: int) -> bool:
    try:
        smtplib.SMTP("127.0.0.1", port, timeout=2).quit()
    except (OSError, smtplib.SMTPException):
        return False
    return True


def run() -> dict[str, Any]:
    program("smtp-source")
    with sink() as server:
        ours, processor = whole_path(server)
    with sink() as server:
        raw = raw_smtplib(server)
    with sink() as server:
        source = smtp_source(server)
    return {
        "messages": MAILBOXES * EACH,
        "mailboxes": MAILBOXES,
        "bytes_each": BODY_BYTES,
        "workers": WORKERS,
        "messages_per_second": ours,
        "raw_smtplib_per_second": raw,
        "smtp_source_per_second": source,
        "processor_ms_per_message": processor,
        "ratio_to_raw_smtplib": ours / raw,
        "ratio_to_smtp_source": ours / source,
        "goal_messages_per_second": goal(GOAL, ours),
    }


def whole_path(server: Sink) -> tuple[float, dict[str, float]]:
    """Messages a second, and the processor time of each kind of process, ms for each message."""
    total = MAILBOXES * EACH
    with world(MAILHEARTH_PER_HOST_CAP="64") as made:
        plant(made, server.port)
        before = server.messages
        with made.workers(WORKERS, "bench.worker"):
            made.rows("ANALYZE")
            used = made.processor_seconds() | {"sink": server.processor_seconds}
            with made.scheduler():
                wait_for(lambda: _settled(made) >= total, LIMIT_S, "too slow", _states(made))
                now = made.processor_seconds() | {"sink": server.processor_seconds}
        found = made.one(
            "SELECT count(*) AS n, extract(epoch FROM max(sent_at) - min(sending_at))::float AS s "
            "FROM outbound WHERE state = 'sent'"
        )
        if not found["n"] == server.messages - before == total:
            ends = made.rows("SELECT state, reason, count(*) AS n FROM outbound GROUP BY 1, 2")
            raise RuntimeError(f"{server.messages - before} of {total} arrived: {ends}")
        spent = {name: 1000 * (now[name] - used.get(name, 0.0)) / total for name in now}
        return float(found["n"] / found["s"]), spent


def plant(made: World, port: int) -> list[UUID]:
    """Mailboxes with a backlog of bound messages that were due in the last ten minutes."""
    workspace, pool = made.pool()
    logins = {f"m{number:03}@bench.test": "secret" for number in range(MAILBOXES)}
    servers = {"imap": f"127.0.0.1:{port}", "smtp": f"127.0.0.1:{port}", "tls": "none"}
    ids = made.mailboxes(workspace, pool, logins, servers)
    made.rows(
        "INSERT INTO domain_health (workspace_id, domain, mx_ok, smtp_ok, next_check_at) "
        "VALUES (%s, 'bench.test', true, true, clock_timestamp() + interval '30 days')",
        workspace,
    )
    body = SENTENCE * math.ceil(BODY_BYTES / len(SENTENCE))
    source = f"[thread]\nsubject: The garden\nopening:\n{body[:BODY_BYTES]}\nreply:\nThank you.\n"
    library = made.one(
        "INSERT INTO content_libraries (workspace_id, name, digest, source, created_at) "
        "VALUES (%s, 'bench', 'bench', %s, clock_timestamp()) RETURNING id",
        *(workspace, source),
    )["id"]
    made.rows(
        """
        WITH people AS (
          SELECT m.*, row_number() OVER (ORDER BY m.id) - 1 AS place FROM mailboxes m),
        planned AS (
          SELECT s.id AS sender, s.address AS sender_address, r.id AS peer, r.address, r.domain, n,
            gen_random_uuid() AS pair, clock_timestamp() - make_interval(secs => 600 - n) AS due
          FROM people s CROSS JOIN generate_series(1, %s) AS n
          JOIN people r ON r.place = (s.place + n) %% %s),
        halves AS (
          INSERT INTO outbound (workspace_id, mailbox_id, day, slot, state, due_at, pair_id,
            peer_ref, peer_address, peer_domain, peer_name, message_id, subject, seed, library,
            thread_id)
          SELECT %s, p.sender, current_date, p.n, 'bound', p.due, p.pair, p.peer::text, p.address,
            p.domain, 'Peer', '<' || p.pair || '@bench.test>', 'The garden', p.n, %s, p.pair
          FROM planned p RETURNING *),
        twins AS (
          INSERT INTO inbound (workspace_id, mailbox_id, day, pair_id, correlation_id, peer_ref,
            sender_address, message_id, subject, seed, library, thread_id, turn, due_at)
          SELECT h.workspace_id, h.peer_ref::uuid, h.day, h.pair_id, h.correlation_id,
            h.mailbox_id::text, 'x@bench.test', h.message_id, h.subject, h.seed, h.library,
            h.thread_id, 0, h.due_at
          FROM halves h)
        INSERT INTO action (workspace_id, mailbox_id, kind, due_at, not_after, outbound_id)
        SELECT h.workspace_id, h.mailbox_id, 'send', h.due_at, h.due_at + interval '2 hours', h.id
        FROM halves h
        """,
        *(EACH, MAILBOXES, workspace, f"own/{library}"),
    )
    return ids


def _settled(made: World) -> int:
    time.sleep(0.5)  # counting costs the database something: seldom
    return int(
        made.one(
            "SELECT count(*) AS n FROM outbound WHERE state NOT IN ('planned', 'bound', 'sending')"
        )["n"]
    )


def _states(made: World) -> Callable[[], object]:
    return lambda: made.rows(
        "SELECT o.state, a.state AS action, a.reason, count(*) AS n FROM outbound o "
        "JOIN action a ON a.outbound_id = o.id AND a.kind = 'send' GROUP BY 1, 2, 3"
    )


def raw_smtplib(server: Sink) -> float:
    """The same messages by the standard library alone: as many processes, connections and AUTHs."""
    started = time.perf_counter()
    share = MAILBOXES // WORKERS
    processes = [
        multiprocessing.get_context("spawn").Process(
            target=_send_raw, args=(server.port, share, EACH, BODY_BYTES)
        )
        for _ in range(WORKERS)
    ]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    if server.messages < MAILBOXES * EACH:
        raise RuntimeError("smtplib did not deliver everything")
    return MAILBOXES * EACH / (time.perf_counter() - started)


def _send_raw(port: int, connections: int, each: int, size: int) -> None:
    lines = [SENTENCE[:70]] * (size // 72)
    message = "\r\n".join(["From: a@bench.test", "Subject: x", "", *lines, ""]).encode()
    for _ in range(connections):
        with smtplib.SMTP("127.0.0.1", port) as client:
            client.ehlo()
            client.docmd("AUTH", "PLAIN AGFAYmVuY2gudGVzdABzZWNyZXQ=")  # see bench/worker.py
            for _ in range(each):
                client.sendmail("a@bench.test", ["b@bench.test"], message)


def smtp_source(server: Sink) -> float:
    """Postfix's own generator, written in C: as many sessions, each on one connection."""
    total = MAILBOXES * EACH
    command = [program("smtp-source"), "-d", "-s", str(WORKERS), "-m", str(total)]
    started = time.perf_counter()
    subprocess.run(
        [*command, "-l", str(BODY_BYTES), "-f", "a@bench.test", "-t", "b@bench.test",
         f"127.0.0.1:{server.port}"],
        check=True,
        stdout=subprocess.DEVNULL,
    )  # fmt: skip
    return total / (time.perf_counter() - started)
