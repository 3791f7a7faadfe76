"""An installation to measure: the embedded services, mailboxes, and the product's own processes.

Everything is as `mailhearth up` makes it: the same Postgres settings (fsync and synchronous_commit
on), the same logins and row-level security, RQ through Valkey with its ACL.
"""

from __future__ import annotations

import http.client
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from psycopg.rows import DictRow, dict_row

from bench.results import Missing
from mailhearth_core.secrets import Secret
from mailhearth_core.storage.doors import Database, TenantDoor
from mailhearth_core.verbs import mailboxes, pools, wishes, workspaces
from mailhearth_core.verbs.mailbox_spec import parse_spec
from mailhearth_core.verbs.wishes import Actor
from mailhearth_local.services.stack import Stack

ACTOR = Actor("bench", "cli")
READY_S = 60.0
PROGRAMS = {
    "smtp-sink": "apt-get install postfix (no configuration)",
    "smtp-source": "apt-get install postfix (no configuration)",
    "dovecot": "apt-get install dovecot-imapd dovecot-lmtpd dovecot-sieve",
}


def program(name: str) -> str:
    """The path of a program; raises `Missing` where it is not installed."""
    found = shutil.which(name, path=os.environ.get("PATH", "") + ":/usr/sbin:/usr/local/sbin")
    if found is None:
        raise Missing(f"{name} is not installed: {PROGRAMS[name]}")
    return found


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(
    condition: Callable[[], object],
    seconds: float,
    what: str,
    detail: Callable[[], object] = str,
) -> None:
    """Returns when the condition holds; `detail` tells more where it never did."""
    end = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > end:
            raise RuntimeError(f"after {seconds:.0f} s: {what} {detail()}")
        time.sleep(0.05)


def processor_seconds(pid: int) -> float:
    """User and system time of a process, its ended children and its living ones."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    seconds = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            with suppress(FileNotFoundError):
                seconds += processor_seconds(int(child))
    return seconds


class World:
    """One installation in a folder of its own, gone at the end. Use `world()`."""

    def __init__(self, folder: Path, **environ: str) -> None:
        self.folder = folder
        kept = {"PATH": os.environ.get("PATH", os.defpath)}
        self.stack = Stack(folder / "data", {**kept, **environ})
        self._undo = ExitStack()
        self._pids: dict[str, int] = {}

    def processor_seconds(self) -> dict[str, float]:
        """Processor time used so far, by kind of process; Postgres with all its children."""
        used: dict[str, float] = {}
        for name, pid in {**self._pids, **self.stack.pids()}.items():
            kind = name.partition("-")[0] + "s" * ("-" in name)
            used[kind] = used.get(kind, 0.0) + processor_seconds(pid)
        return used

    def start(self) -> None:
        self._undo.callback(self.stack.stop_services)
        self.stack.start_services()
        self._undo.callback(self.stack.close)
        self._database = Database(self.stack.urls.cli, name="bench")
        self._undo.callback(self._database.close)
        self.door = TenantDoor(self._database)
        self.provisioner = self.stack.provisioner()
        # The superuser: to plant rows by the thousand and to count them.
        assert self.stack.postgres is not None
        url = self.stack.postgres.superuser_url.reveal().rpartition("/")[0] + "/mailhearth"
        self._conn = psycopg.connect(url, row_factory=dict_row, autocommit=True)
        self._undo.callback(self._conn.close)
        self.rows("SET search_path = mailhearth")

    def close(self) -> None:
        self._undo.close()

    def rows(self, query: str, *parameters: Any) -> list[DictRow]:
        """Runs a statement past every policy."""
        cursor = self._conn.execute(query.encode(), parameters or None)
        return cursor.fetchall() if cursor.description else []

    def one(self, query: str, *parameters: Any) -> DictRow:
        (row,) = self.rows(query, *parameters)
        return row

    def pool(self, name: str = "bench") -> tuple[UUID, UUID]:
        """A workspace and a pool in it."""
        workspace: UUID = workspaces.create(self._database, name, ACTOR)
        self.provisioner.reconcile()
        command = pools.create(self.door, workspace, "main", {}, ACTOR, sandbox=False)
        wishes.await_wish(self.door, workspace, command, reconcile=self.provisioner.reconcile)
        pool: UUID = pools.find(self.door, workspace, "main")["id"]
        return workspace, pool

    def mailboxes(
        self, workspace: UUID, pool: UUID, logins: Mapping[str, str], values: Mapping[str, str]
    ) -> list[UUID]:
        """Mailboxes with consent, as if they had signed in once; nothing is due in them."""
        made = [
            mailboxes.add(
                self.door,
                workspace,
                pool,
                parse_spec({"address": address, "consent": "workspace", **values}, Secret(word)),
                ACTOR,
            )
            for address, word in logins.items()
        ]
        self.rows(
            "UPDATE mailboxes SET connected_at = created_at, "
            "next_size_at = created_at + interval '30 days'"
        )
        self.rows("DELETE FROM action")
        return made

    @contextmanager
    def workers(self, count: int, module: str = "mailhearth_worker") -> Iterator[None]:
        """So many worker processes, ready."""
        with ExitStack() as stop:
            ports = []
            for number in range(count):
                port = free_port()
                environ = self.stack.worker_environment(name=f"bench-{number}", port=port)
                stop.enter_context(self._process([module], environ, f"worker-{number}"))
                ports.append(port)
            for port in ports:
                wait_for(partial(_is_ready, port), READY_S, "a worker is not ready")
            yield

    @contextmanager
    def scheduler(self) -> Iterator[None]:
        """The scheduler, ready to work on all mailboxes of this machine's one mail host at once."""
        environ = {
            **self.stack.scheduler_environment(port=free_port()),
            "MAILHEARTH_PER_HOST_CAP": "1000",
        }
        with self._process(["mailhearth_worker.scheduler"], environ, "scheduler"):
            yield

    @contextmanager
    def _process(
        self, module: Sequence[str], environ: Mapping[str, str], name: str
    ) -> Iterator[subprocess.Popen[bytes]]:
        root = Path(__file__).parent.parent
        paths = os.pathsep.join([str(root), *filter(None, [os.environ.get("PYTHONPATH")])])
        with (self.folder / f"{name}.log").open("wb") as output:
            process = subprocess.Popen(
                [sys.executable, "-m", *module],
                env={**environ, "PYTHONPATH": paths},
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
            )
        self._pids[name] = process.pid
        try:
            yield process
        finally:
            process.send_signal(signal.SIGTERM)
            try:
                process.wait(60)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


@contextmanager
def world(**environ: str) -> Iterator[World]:
    with tempfile.TemporaryDirectory(prefix="mailhearth-bench-") as folder:
        made = World(Path(folder), **environ)
        try:
            made.start()
            yield made
        finally:
            made.close()


def _is_ready(port: int) -> bool:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", "/readyz")
        return connection.getresponse().status == http.HTTPStatus.OK
    except (OSError, http.client.HTTPException):
        return False
    finally:
        connection.close()
