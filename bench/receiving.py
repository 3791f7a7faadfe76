"""Looking into mailboxes on Dovecot, beside a bare login, select and logout.

A sync is what a worker does for one wake-up of a mailbox with a look due: the lease, the sign-in,
the folders, inbox and Junk scanned, what was found written down, the lease freed. It is measured
twice: signed in anew each time (beside the bare sign-in with `imaplib`, the goal's yardstick) and
on the connection that was kept. All run in one process, one mailbox after the other.
"""

from __future__ import annotations

import imaplib
import os
import socket
import ssl
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any
from unittest import mock
from uuid import UUID

from prometheus_client import CollectorRegistry

from bench.results import goal
from bench.world import World, program, world

MAILBOXES = 60
ROUNDS = 15
GOAL = 0.6
PASSWORD = "secret"  # noqa: S105 - of a server that lives for a minute


def run() -> dict[str, Any]:
    program("dovecot")
    logins = {f"m{number:03}@bench.test": PASSWORD for number in range(MAILBOXES)}
    with dovecot(logins) as server, world() as made:
        workspace, pool = made.pool()
        ids = made.mailboxes(
            workspace,
            pool,
            logins,
            {
                "imap": f"127.0.0.1:{server.imaps_port}",
                "smtp": f"127.0.0.1:{server.imaps_port}",
                "tls": "implicit",
                "ca": str(server.ca_path),
            },
        )
        made.rows("UPDATE mailboxes SET username = address")
        plan, look, close = syncs(made, workspace, ids)
        of_all(bare, server, logins)  # folders made, caches warm, for both alike
        plan()
        look(fresh=True)
        rates: dict[str, list[float]] = {"bare": [], "socket": [], "sync": [], "kept": []}
        for _ in range(ROUNDS):
            rates["bare"].append(rate(lambda: of_all(bare, server, logins)))
            rates["socket"].append(rate(lambda: of_all(on_a_socket, server, logins)))
            for name, anew in (("sync", True), ("kept", False)):
                plan()
                rates[name].append(rate(partial(look, fresh=anew)))
        close()
    middle = {name: median(found) for name, found in rates.items()}
    return {
        "mailboxes": MAILBOXES,
        "rounds": ROUNDS,
        "bare_login_select_logout_per_second": {
            "imaplib": middle["bare"],
            "on_a_socket": middle["socket"],
        },
        "synced_per_second": middle["sync"],
        "synced_on_kept_connections_per_second": middle["kept"],
        "ratio_to_bare": middle["sync"] / middle["bare"],
        "ratio_to_bare_on_a_socket": middle["sync"] / middle["socket"],
        "ratio_on_kept_connections": middle["kept"] / middle["bare"],
        "goal_ratio_to_bare": goal(GOAL, middle["sync"] / middle["bare"]),
    }


def rate(work: Callable[[], object]) -> float:
    started = time.perf_counter()
    work()
    return MAILBOXES / (time.perf_counter() - started)


def of_all(one: Callable[[Any, str], None], server: Any, logins: Iterable[str]) -> None:
    for address in logins:
        one(server, address)


def bare(server: Any, address: str) -> None:
    """The standard library's login, select and logout, over TLS as ours."""
    context = ssl.create_default_context(cafile=str(server.ca_path))
    with imaplib.IMAP4_SSL("127.0.0.1", server.imaps_port, ssl_context=context) as client:
        client.login(address, PASSWORD)
        client.select("INBOX", readonly=True)


def on_a_socket(server: Any, address: str) -> None:
    """The same three commands and nothing else, without a library."""
    context = ssl.create_default_context(cafile=str(server.ca_path))
    with (
        socket.create_connection(("127.0.0.1", server.imaps_port)) as plain,
        context.wrap_socket(plain, server_hostname="localhost") as wire,
        wire.makefile("rb") as answers,
    ):
        answers.readline()
        for tag, command in (
            ("a", f"LOGIN {address} {PASSWORD}"),
            ("b", "SELECT INBOX"),
            ("c", "LOGOUT"),
        ):
            wire.sendall(f"{tag} {command}\r\n".encode())
            while not (line := answers.readline()).startswith(f"{tag} ".encode()):
                if not line:
                    raise RuntimeError("Dovecot closed the connection")
            if not line.startswith(f"{tag} OK".encode()):
                raise RuntimeError(f"Dovecot refused {command.partition(' ')[0]}")


def syncs(
    made: World, workspace: UUID, ids: list[UUID]
) -> tuple[Callable[[], None], Callable[..., None], Callable[[], None]]:
    """Plans a look of every mailbox; drains them (`fresh=...`); closes everything."""
    from mailhearth_core.settings import WorkerSettings
    from mailhearth_worker.drain import drain
    from mailhearth_worker.main import build

    environ = made.stack.worker_environment(name="bench") | {"MAILHEARTH_PER_HOST_CAP": "64"}
    runtime, _ = build(WorkerSettings.load(environ), CollectorRegistry())

    def plan() -> None:
        missed = made.one(
            "SELECT count(*) AS n FROM action WHERE kind = 'poll' AND state <> 'done'"
        )
        if missed["n"]:
            raise RuntimeError(f"{missed['n']} looks failed: {_reasons(made)}")
        made.rows(
            "INSERT INTO action (workspace_id, mailbox_id, kind, due_at) "
            "SELECT workspace_id, id, 'poll', clock_timestamp() FROM mailboxes"
        )

    def look(*, fresh: bool) -> None:
        if fresh:
            runtime.sessions.close()
        for mailbox in ids:
            drain(runtime, workspace, mailbox)

    def close() -> None:
        plan()  # the last looks were done
        runtime.sessions.close()
        runtime.doors.close()

    return plan, look, close


def _reasons(made: World) -> list[str]:
    return [row["reason"] for row in made.rows("SELECT DISTINCT reason FROM action")]


@contextmanager
def dovecot(logins: dict[str, str]) -> Iterator[Any]:
    """The tests' Dovecot, with these mailboxes."""
    support = str(Path(__file__).parent.parent / "tests" / "support")
    path = os.environ.get("PATH", os.defpath) + ":/usr/sbin"
    with (
        mock.patch.object(sys, "path", [*sys.path, support]),
        mock.patch.dict(os.environ, {"PATH": path}),
    ):
        from dovecot import DovecotServer

        with DovecotServer(logins) as server:
            yield server
