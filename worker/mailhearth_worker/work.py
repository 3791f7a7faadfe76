"""One drain of one mailbox under one lease: what every handler is given."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from mailhearth_core.errors import MailhearthError
from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.mail.model import Login
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Connection, Database
from mailhearth_core.storage.named import named
from mailhearth_core.warmup.policy import Policy
from mailhearth_worker.credentials import open_login
from mailhearth_worker.runtime import Runtime

SQL = named("worker")


class LeaseLost(MailhearthError):
    """Somebody else holds the mailbox now; this drain must touch nothing more."""

    code = "lease_lost"
    permanent = False


@dataclass(frozen=True)
class Action:
    """One claimed thing to do."""

    id: UUID
    kind: str
    due_at: datetime
    not_after: datetime | None
    attempt: int
    outbound_id: UUID | None
    inbound_id: UUID | None


class Work:
    """A mailbox, its lease, and the ways to its database rows and servers."""

    def __init__(
        self, runtime: Runtime, door: Database, row: dict[str, Any], lease: dict[str, Any]
    ) -> None:
        self.runtime = runtime
        self.door = door
        self.row = row
        self.token: int = lease["token"]
        self.last_sent_at: datetime | None = lease["last_sent_at"]
        self.last_poll_at: datetime | None = lease["last_poll_at"]
        self.workspace_id: UUID = row["workspace_id"]
        self.mailbox_id: UUID = row["id"]
        self.policy = Policy.from_json(row["policy"])
        self.keys = {"workspace_id": self.workspace_id, "mailbox_id": self.mailbox_id}
        self._renewed = time.monotonic()

    @contextmanager
    def tx(self) -> Iterator[Connection]:
        with self.door.tx() as conn:
            yield conn

    def now(self) -> datetime:
        """Business time."""
        with self.tx() as conn:
            return business_now(conn)

    def keep(self) -> None:
        """Keeps the lease: called between network steps, each of which is shorter than it.

        Raises:
            LeaseLost: it is not ours any more.
        """
        if time.monotonic() - self._renewed < self.runtime.settings.lease_seconds / 3:
            return
        with self.tx() as conn:
            if not SQL.renew_lease(
                conn, **self.keys, token=self.token, seconds=self.runtime.settings.lease_seconds
            ):
                raise LeaseLost(f"The lease on mailbox {self.mailbox_id} was lost.")
        self._renewed = time.monotonic()

    def reader(self) -> ImapSession:
        """The mailbox's IMAP connection, opened if needed."""
        return self.runtime.sessions.reader(self.row, self._login)

    def sender(self) -> SmtpSession:
        """The mailbox's SMTP connection, opened if needed."""
        return self.runtime.sessions.sender(self.row, self._login)

    def _login(self, field: str) -> Login:
        with self.tx() as conn:
            return open_login(conn, self.runtime.keys, self.workspace_id, self.row, field)

    def finish(
        self, conn: Connection, action: Action, state: str = "done", reason: str = ""
    ) -> None:
        """Ends a claimed action, in the transaction of its effects.

        Raises:
            LeaseLost: the action is not held under this lease any more; the caller's transaction
                is rolled back with it.
        """
        if not SQL.finish_action(
            conn,
            workspace_id=self.workspace_id,
            id=action.id,
            token=self.token,
            state=state,
            reason=reason,
            now=business_now(conn),
        ):
            raise LeaseLost(f"Action {action.id} is not held any more.")

    def postpone(self, conn: Connection, action: Action, delay: timedelta, reason: str) -> None:
        """Gives a claimed action back, due again after `delay` of business time."""
        due_at = business_now(conn) + delay
        query = SQL.postpone_poll if action.kind == "poll" else SQL.postpone_action
        keys = {"workspace_id": self.workspace_id, "id": action.id, "token": self.token}
        if action.kind == "poll":
            keys["mailbox_id"] = self.mailbox_id
        if not query(conn, **keys, due_at=due_at, reason=reason):
            raise LeaseLost(f"Action {action.id} is not held any more.")
