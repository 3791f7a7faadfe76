"""One drain of one mailbox under one lease: what every handler is given."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache, partial
from typing import Any, TypeVar
from uuid import UUID

from mailhearth_core.content import Library
from mailhearth_core.errors import MailhearthError
from mailhearth_core.mail.imap import ImapSession
from mailhearth_core.mail.model import FailureKind, Login, MailError, Stage
from mailhearth_core.mail.smtp import SmtpSession
from mailhearth_core.providers.limits import within_limits
from mailhearth_core.settings import is_loopback
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


LONGEST_S = 120.0
"""What one action may take of a reading server's time, machine seconds."""
ACTION = tuple(Action.__dataclass_fields__)


@dataclass(frozen=True)
class Claimed:
    """An action as it was claimed.

    Attributes:
        at: business time of the claim.
        message: of a send: its outbound row's columns.
    """

    at: datetime
    action: Action
    message: dict[str, Any] | None


@lru_cache(maxsize=256)
def _policy(text: str, provider: str, smtp_host: str) -> Policy:
    """A pool's policy within the provider's limits, parsed once: its mailboxes share it."""
    policy = Policy.from_json(json.loads(text))
    return policy if is_loopback(smtp_host) else within_limits(policy, provider)


class Work:
    """A mailbox, its lease, and the ways to its database rows and servers."""

    def __init__(
        self,
        runtime: Runtime,
        door: Database,
        kept: Kept,
        row: dict[str, Any],
        machine: datetime,
    ) -> None:
        """`row` is what `SENDING.take` gave at `machine`: the mailbox, its pool's policy, the lease
        and the first action."""
        self.runtime = runtime
        self.door = door
        self._kept = kept
        self.row = row
        self.token: int = row["token"]
        self.last_sent_at: datetime | None = row["lease_sent_at"]
        self.last_poll_at: datetime | None = row["lease_poll_at"]
        self.workspace_id: UUID = row["workspace_id"]
        self.mailbox_id: UUID = row["id"]
        self.policy = _policy(json.dumps(row["policy"]), row["peer_provider"], row["smtp_host"])
        self.keys = {"workspace_id": self.workspace_id, "mailbox_id": self.mailbox_id}
        self._records: dict[str, Any] = row["records"] or {}
        self.libraries: dict[str, Library] = {}
        """The workspace's own libraries that this drain has spoken from."""
        self._renewed = self._begun = time.monotonic()
        self._upcoming: Claimed | None = None
        self.freed = False
        """Whether the lease was given back, as nothing was due any more."""
        self.claimed_at: datetime | None = None
        """Business time at which the action in hand was claimed."""
        self._ahead = timedelta()
        self._ends = self._renewed + runtime.settings.slice_seconds
        self._keep_claimed(row, machine)

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
        """The next action that is due: the one claimed with the last step, else asked for.

        None when nothing is due; the lease is free then.
        """
        if self._upcoming is None and not self.freed:
            machine = datetime.now(UTC)
            row = self.once(SENDING.claim, mailbox_id=self.mailbox_id, machine=machine)
            self._keep_claimed(row, machine)
        claimed, self._upcoming = self._upcoming, None
        if claimed is not None:
            self.claimed_at = claimed.at
            self._begun = time.monotonic()
        return claimed

    def settle_and_claim(
        self, both: Callable[..., Any], alone: Callable[..., Any], **outcome: Any
    ) -> datetime | None:
        """Settles an action, and claims what is next in the same transaction if this drain goes on.

        Args:
            both: the query that does both.
            alone: the one that only settles.
        Returns:
            the moment it was settled at; None when it was not ours any more.
        """
        machine = datetime.now(UTC)
        if not self.goes_on():
            settled: datetime | None = self.once(
                alone, mailbox_id=self.mailbox_id, machine=machine, **outcome
            )
            return settled
        row = self.once(both, mailbox_id=self.mailbox_id, machine=machine, **outcome)
        self._keep_claimed(row, machine)
        at: datetime | None = row["now"]
        return at

    def give_back(self) -> None:
        """Frees what was claimed ahead and will not be begun."""
        claimed, self._upcoming = self._upcoming, None
        if claimed is not None:
            self.once(SENDING.give_back, id=claimed.action.id)

    def _keep_claimed(self, row: dict[str, Any], machine: datetime) -> None:
        if row["now"] is not None:
            self._ahead = row["now"] - machine
        self.freed = row["freed"]
        if row["c_id"] is None:
            return
        action = Action(**{name: row[f"c_{name}"] for name in ACTION})
        message = {name[2:]: value for name, value in row.items() if name.startswith("o_")}
        message["id"] = action.outbound_id
        self._upcoming = Claimed(row["now"], action, message if action.kind == "send" else None)

    def about_now(self) -> datetime:
        """Business time as last told by the database, carried on by this machine's clock."""
        return datetime.now(UTC) + self._ahead

    def now(self) -> datetime:
        """Business time."""
        with self._kept.statement() as conn:
            return business_now(conn)

    @contextmanager
    def reading(self) -> Iterator[Connection]:
        """For queries that change nothing and need no common moment: one round trip each."""
        with self._kept.statement() as conn:
            yield conn

    def keep(self) -> None:
        """Keeps the lease: called between network steps, each of which is shorter than it.

        Raises:
            LeaseLost: it is not ours any more.
        """
        if self.freed or time.monotonic() - self._renewed < self.runtime.settings.lease_seconds / 3:
            return
        with self.tx() as conn:
            if not SQL.renew_lease(
                conn, **self.keys, token=self.token, seconds=self.runtime.settings.lease_seconds
            ):
                raise LeaseLost(f"The lease on mailbox {self.mailbox_id} was lost.")
        self._renewed = time.monotonic()

    def reader(self, meanwhile: Callable[[], None] | None = None) -> ImapSession:
        """The mailbox's IMAP connection, opened if needed; each exchange on it keeps the lease.

        Args:
            meanwhile: called while the server is busy with a sign-in, if there is one.
        """
        opened = partial(self.runtime.sessions.reader, before_step=self._go_on, meanwhile=meanwhile)
        return self._signed_in(opened)

    def _go_on(self) -> None:
        """Keeps the lease while an action is on its way, unless that takes too long.

        Raises:
            MailError: a server that answers each single step, but late, may not hold a worker.
            LeaseLost: see `keep`.
        """
        if time.monotonic() - self._begun > LONGEST_S:
            raise MailError(
                f"The server takes too long: what was begun is not done after {LONGEST_S:.0f} s.",
                kind=FailureKind.TRY_LATER,
                stage=Stage.CONNECT,
                code="too_slow",
                hint="Look whether the mail server is overloaded.",
            )
        self.keep()

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
        record = self._records.pop(field, None)  # what came with the lease is used once
        if record is not None:
            record = record | {"sealed": bytes.fromhex(record["sealed"])}
        else:
            with self._kept.statement() as conn:  # reads only
                record = SENDING.credential(conn, **self.keys, field=field)
        return open_login(self.runtime.keys, self.workspace_id, self.row, field, record)

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
