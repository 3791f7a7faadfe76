"""The engine driven by hand: real Postgres, real mail servers, a clock that jumps.

Scheduler passes and drains run in the test's own thread, one after the other, so that a virtual
week takes seconds and the same things happen in the same order each time. Redis alone is left out:
wake-ups are handed over in memory (what travels through Redis has tests of its own).
"""

from __future__ import annotations

import sqlite3
import ssl
import zlib
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
from imapclient import IMAPClient
from prometheus_client import CollectorRegistry
from psycopg.rows import DictRow, dict_row

from database import ACTOR, TestInstallation
from mailhearth_core.metrics import Metrics
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import SchedulerSettings, WorkerSettings
from mailhearth_core.verbs import mailboxes
from mailhearth_core.verbs.mailbox_spec import MailboxSpec, parse_spec
from mailhearth_local.sandbox.accounts import DemoUser
from mailhearth_local.sandbox.demo import ensure_demo_users
from mailhearth_local.sandbox.scan import placements
from mailhearth_local.sandbox.service import MailSandbox
from mailhearth_local.sandbox.store import STORE_FILE
from mailhearth_worker.attempts import test_connection as try_connection
from mailhearth_worker.credentials import reseal
from mailhearth_worker.drain import drain
from mailhearth_worker.main import build
from mailhearth_worker.scheduler.passes import Passes
from mailhearth_worker.wakeups import Wish

MONDAY = datetime(2026, 3, 2, tzinfo=UTC)
STEP = timedelta(minutes=5)
"""How far apart two stops of the clock are: what is due in between is done together."""


class Bell:
    """Takes the scheduler's wake-ups in place of Redis."""

    def __init__(self) -> None:
        self.rung: list[Wish] = []

    def wake_many(self, wishes: Iterable[Wish]) -> int:
        self.rung += wishes
        return len(self.rung)

    def depth(self, group: str) -> int:
        return len(self.rung)

    def is_empty_handed(self, groups: Iterable[str]) -> bool:
        return False


@dataclass(frozen=True)
class Mail:
    """A message in a folder of the sandbox."""

    folder: str
    flags: str
    message_id: str
    raw: bytes


class Engine:
    """One scheduler and one worker over an installation, and the mail sandbox they speak to."""

    def __init__(
        self,
        installation: TestInstallation,
        folder: Path,
        environ: Mapping[str, str] | None = None,
    ) -> None:
        """`environ` adds to the worker's settings."""
        self.installation = installation
        self._conn = psycopg.connect(
            installation.superuser_url, row_factory=dict_row, autocommit=True
        )
        self._conn.execute("SET search_path = mailhearth")
        self.post = folder / "sandbox"
        self.users = ensure_demo_users(self.post)
        self.sandbox = MailSandbox(self.post)
        self.info = self.sandbox.ensure_started()
        installation.enter_sandbox(86_400)
        self.set_clock(MONDAY)
        self.bell = Bell()
        self.registry = CollectorRegistry()
        settings = WorkerSettings.load(
            {
                "MAILHEARTH_REDIS_URL": "redis://127.0.0.1:1/0",
                "MAILHEARTH_DATABASE_URL": installation.owner_url.split("//")[0]
                + "//"
                + installation.owner_url.rpartition("@")[2],
                "MAILHEARTH_LOGINS_FOLDER": str(installation.logins),
                "MAILHEARTH_KEYS_FOLDER": str(installation.folder / "keys"),
                "MAILHEARTH_DATA_FOLDER": str(folder),
                "MAILHEARTH_GROUPS": "local",
                "MAILHEARTH_NAME": "test",
                "MAILHEARTH_ZONE_FILE": self.info.zone_file,
                "MAILHEARTH_ALLOW_PRIVATE_NETWORKS": "127.0.0.0/8",
                "MAILHEARTH_PER_HOST_CAP": "64",
                **(environ or {}),
            }
        )
        self.runtime, self.life = build(settings, self.registry)
        self.passes = Passes(
            installation.database("scheduler"),
            self.bell,  # type: ignore[arg-type]
            Metrics(CollectorRegistry()),
            SchedulerSettings.load(
                {
                    "MAILHEARTH_REDIS_URL": "redis://127.0.0.1:1/0",
                    "MAILHEARTH_DATABASE_URL": installation.url("scheduler").reveal(),
                    "MAILHEARTH_DATA_FOLDER": str(folder),
                    "MAILHEARTH_PER_HOST_CAP": "64",
                }
            ),
        )

    def close(self) -> None:
        self._conn.close()
        self.runtime.sessions.close()
        self.runtime.doors.close()
        self.sandbox.stop()

    # -- mailboxes --------------------------------------------------------------------------

    def connect(self, workspace: UUID, pool: UUID, user: DemoUser, **values: str) -> UUID:
        """Adds a sandbox user's mailbox with consent; its habits are the same in each run."""
        mailbox = self.installation.mailbox(
            workspace,
            pool,
            user.address,
            connected=False,
            password=user.password.reveal(),
            **self._servers(user.address)
            | {"name": f"{user.first_name} {user.last_name}"}
            | values,
        )
        seed = zlib.crc32(user.address.encode())
        self.rows("UPDATE mailboxes SET seed = %s WHERE id = %s", seed, mailbox)
        return mailbox

    def spec(self, address: str, password: str, **values: str) -> MailboxSpec:
        """The mailbox as somebody types it who connects it again."""
        fields = self._servers(address) | {"address": address, "consent": "none"} | values
        return parse_spec(fields, Secret(password))

    def _servers(self, address: str) -> dict[str, str]:
        return {
            "imap": f"127.0.0.1:{self.info.imap_port}",
            "smtp": f"127.0.0.1:{self.info.smtps_port}",
            "tls": "implicit",
            "ca": self.info.ca_file,
            "username": address,
            "timezone": "UTC",
        }

    def ask_poll(self, workspace: UUID, mailbox_id: UUID, at: datetime) -> None:
        """Lets the mailbox be looked into, whether something is expected in it or not."""
        self.rows(
            "INSERT INTO action (workspace_id, mailbox_id, kind, due_at) "
            "VALUES (%s, %s, 'poll', %s) ON CONFLICT (workspace_id, mailbox_id) "
            "WHERE kind = 'poll' AND state = 'pending' "
            "DO UPDATE SET due_at = least(action.due_at, excluded.due_at)",
            *(workspace, mailbox_id, at),
        )

    def row(self, workspace: UUID, mailbox_id: UUID) -> dict[str, Any]:
        """The mailbox as the verbs take it."""
        found = mailboxes.listing(self.installation.door, workspace)
        return next(row for row in found if row["id"] == mailbox_id)

    def pause(self, workspace: UUID, mailbox_id: UUID) -> None:
        row = self.row(workspace, mailbox_id)
        mailboxes.set_state(self.installation.door, workspace, row, "paused", ACTOR)

    def consent(self, workspace: UUID, mailbox_id: UUID, scope: str) -> None:
        row = self.row(workspace, mailbox_id)
        mailboxes.consent(self.installation.door, workspace, row, scope, ACTOR)

    # -- what the mail servers hold ---------------------------------------------------------

    def user(self, address: str) -> DemoUser:
        return next(user for user in self.users if user.address == address)

    def mail(self, address: str) -> list[Mail]:
        """All messages of a mailbox, as they lie in the sandbox's store."""
        with closing(sqlite3.connect(self.post / STORE_FILE, timeout=10)) as db:
            found = db.execute(
                "SELECT folder.name, message.flags, content.message_id, content.raw FROM message "
                "JOIN folder ON folder.id = message.folder_id "
                "JOIN content ON content.id = message.content_id WHERE folder.address = ? "
                "ORDER BY folder.id, message.uid",
                [address],
            )
            return [Mail(folder, flags, id_, bytes(raw)) for folder, flags, id_, raw in found]

    def arrivals(self) -> Counter[str]:
        """How often each Message-ID was ever delivered."""
        return Counter(message_id for _, _, message_id, _ in placements(self.post))

    @contextmanager
    def imap(self, address: str) -> Iterator[Any]:
        """The owner's own mail client (an `IMAPClient`, which has no types)."""
        context = ssl.create_default_context(cafile=self.info.ca_file)
        with IMAPClient("127.0.0.1", self.info.imap_port, ssl=True, ssl_context=context) as client:
            client.login(address, self.user(address).password.reveal())
            yield client

    def append(self, address: str, folder: str, raw: bytes, flags: Sequence[str] = ()) -> None:
        with self.imap(address) as client:
            client.append(folder, raw, flags)

    # -- time -------------------------------------------------------------------------------

    def rows(self, query: str, *parameters: Any) -> list[DictRow]:
        """Runs a statement past every policy, as `TestInstallation.rows`, on one connection."""
        cursor = self._conn.execute(query.encode(), parameters)
        return cursor.fetchall() if cursor.description else []

    def one(self, query: str, *parameters: Any) -> DictRow:
        (row,) = self.rows(query, *parameters)
        return row

    @property
    def now(self) -> datetime:
        at: datetime = self.one("SELECT business_at FROM business_clock")["business_at"]
        return at

    def set_clock(self, at: datetime) -> None:
        self.rows("UPDATE business_clock SET business_at = %s, ticked_at = clock_timestamp()", at)

    def settle_down(self) -> None:
        """Passes and drains until nothing is due any more at this moment."""
        for _ in range(1_000):
            self.rows("UPDATE business_clock SET ticked_at = clock_timestamp()")
            self.passes.run()
            if not self.work():
                return
        raise AssertionError("work does not come to an end")

    def work(self) -> int:
        """Does what was rung for; the number of wake-ups served."""
        wishes, self.bell.rung = self.bell.rung, []
        for number, wish in enumerate(wishes, 1):
            try:
                VERBS[wish.verb](self, wish)
            except BaseException:
                self.bell.rung = wishes[number:]  # a queue keeps what nobody has taken yet
                raise
        return len(wishes)

    def drain(self, workspace: UUID, mailbox_id: UUID) -> None:
        """One wake-up of a mailbox, whatever the scheduler thinks."""
        drain(self.runtime, workspace, mailbox_id)

    def run_until_bound(self, start: datetime) -> DictRow:
        """Runs from `start` on until a message is bound that is due in half an hour or more."""
        for half_hours in range(16):
            self.run_until(start + timedelta(minutes=30 * half_hours))
            found = self.rows(
                "SELECT * FROM outbound WHERE state = 'bound' AND due_at > %s ORDER BY due_at DESC",
                self.now + timedelta(minutes=30),
            )
            if found:
                return found[0]
        raise AssertionError("nothing was bound")

    def run_until(self, end: datetime, *, step: timedelta = STEP) -> None:
        """Lets virtual time pass, from one thing that is due to the next, in whole steps."""
        while True:
            self.settle_down()
            ahead = self.one(
                "SELECT least((SELECT min(due_at) FROM action WHERE state = 'pending'), "
                "(SELECT min(next_size_at) FROM mailboxes WHERE state <> 'removed' "
                "AND connected_at IS NOT NULL), %s) AS at",
                self.now + timedelta(hours=1),
            )["at"]
            ahead = max(ahead, self.now + timedelta(seconds=1))
            if ahead >= end:
                self.set_clock(end)
                self.settle_down()
                return
            self.set_clock(min(ahead + (MONDAY - ahead) % step, end))


VERBS: dict[str, Callable[[Engine, Wish], object]] = {
    "drain": lambda e, w: drain(e.runtime, w.workspace_id, w.subject_id),
    "test": lambda e, w: try_connection(e.runtime, w.workspace_id, w.subject_id),
    "reseal": lambda e, w: reseal(
        e.runtime.doors.door(w.workspace_id), e.runtime.keys, w.workspace_id
    ),
}
