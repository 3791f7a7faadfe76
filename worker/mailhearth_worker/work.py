"""One drain of one mailbox under one lease: what every handler is given."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar
from uuid import UUID

from mailhearth_core.content import Library
from mailhearth_core.errors import MailhearthError
from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.mail.model import Login, MailError
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.storage.clock import business_now
from mailhearth_core.storage.doors import Connection, Database, Kept
from mailhearth_core.storage.named import named
from mailhearth_core.warmup.policy import Policy
from mailhearth_worker.credentials import open_login
from mailhearth_worker.runtime import Runtime
from mailhearth_worker.sessions import OpenLogin

SQL = named("worker")
SENDING = named("sending")
Session = TypeVar("Session", ImapSession, SmtpSession)


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


ACTION = tuple(Action.__dataclass_fields__)


@dataclass(frozen=True)
class Claimed:
    """An action as it was claimed.

    Attributes:
        at: business time of the claim.
        message: of a send: its outbound row's columns, and `verdict`, whether it may leave.
    """

    at: datetime
    action: Action
    message: dict[str, Any] | None


class Work:
    """A mailbox, its lease, and the ways to its database rows and servers."""

    def __init__(
        self,
        runtime: Runtime,
        door: Database,
        kept: Kept,
        row: dict[str, Any],
        lease: dict[str, Any],
    ) -> None:
        self.runtime = runtime
        self.door = door
        self._kept = kept
        self.row = row
        self.token: int = lease["token"]
        self.last_sent_at: datetime | None = lease["last_sent_at"]
        self.last_poll_at: datetime | None = lease["last_poll_at"]
        self.workspace_id: UUID = row["workspace_id"]
        self.mailbox_id: UUID = row["id"]
        self.policy = Policy.from_json(row["policy"])
        self.keys = {"workspace_id": self.workspace_id, "mailbox_id": self.mailbox_id}
        self.libraries: dict[str, Library] = {}
        """The workspace's own libraries that this drain has spoken from."""
        self._renewed = time.monotonic()
        self._upcoming: Claimed | None = None
        self.claimed_at: datetime | None = None
        """Business time at which the action in hand was claimed."""
        self._ahead = timedelta()
        self._ends = self._renewed + runtime.settings.slice_seconds

    @contextmanager
    def tx(self) -> Iterator[Connection]:
        with self._kept.tx() as conn:
            yield conn

    def once(self, query: Callable[..., Any], **parameters: Any) -> Any:
        """Runs one statement, which is a whole transaction: durable when this returns."""
        with self._kept.statement() as conn:
            return query(conn, workspace_id=self.workspace_id, token=self.token, **parameters)

    def goes_on(self) -> bool:
        """Whether another action may be begun in this slice."""
        return time.monotonic() < self._ends and not self.runtime.stopping()

    def claim(self) -> Claimed | None:
        """The next action that is due: the one claimed with the last settling, else asked for."""
        claimed, self._upcoming = self._upcoming, None
        if claimed is None:
            machine = datetime.now(UTC)
            row = self.once(SENDING.claim, mailbox_id=self.mailbox_id, machine=machine)
            claimed = self._claimed(row, machine)
        if claimed is not None:
            self.claimed_at = claimed.at
        return claimed

    def settle_and_claim(self, **outcome: Any) -> datetime | None:
        """Settles a send, and claims what is next in the same transaction if this drain goes on.

        Returns:
            the moment it was settled at; None when it was not ours any more.
        """
        machine = datetime.now(UTC)
        if not self.goes_on():
            settled: datetime | None = self.once(SENDING.settle, machine=machine, **outcome)
            return settled
        row = self.once(
            SENDING.settle_and_claim, mailbox_id=self.mailbox_id, machine=machine, **outcome
        )
        self._upcoming = self._claimed(row, machine)
        return self._upcoming.at if self._upcoming else row["now"]

    def give_back(self) -> None:
        """Frees what was claimed ahead and will not be begun."""
        claimed, self._upcoming = self._upcoming, None
        if claimed is not None:
            self.once(SENDING.give_back, id=claimed.action.id)

    def _claimed(self, row: dict[str, Any], machine: datetime) -> Claimed | None:
        if row["now"] is not None:
            self._ahead = row["now"] - machine
        if row["id"] is None:
            return None
        action = Action(**{name: row[name] for name in ACTION})
        out = {**row, "id": row["outbound_id"], "kind": row["out_kind"]}
        return Claimed(row["now"], action, out if action.kind == "send" else None)

    def about_now(self) -> datetime:
        """Business time as last told by the database, carried on by this machine's clock."""
        return datetime.now(UTC) + self._ahead

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
        return self._signed_in(self.runtime.sessions.reader)

    def sender(self) -> SmtpSession:
        """The mailbox's SMTP connection, opened if needed."""
        return self._signed_in(self.runtime.sessions.sender)

    def _signed_in(self, opened: Callable[[dict[str, Any], OpenLogin], Session]) -> Session:
        """A token that the mail server refuses is fetched anew once: it may have been withdrawn
        before its time. What is refused then is a strike."""
        try:
            return opened(self.row, self._login)
        except MailError as error:
            if not self.runtime.tokens.is_refused(self.row, error):
                raise
        self.runtime.tokens.forget(self.mailbox_id)
        try:
            return opened(self.row, self._login)
        except MailError as error:
            if self.runtime.tokens.is_refused(self.row, error):
                self.runtime.tokens.forget(self.mailbox_id)
            raise

    def _login(self, field: str) -> Login:
        if self.row["auth"] == "oauth":
            return self.runtime.tokens.login(self.door, self.row)
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
