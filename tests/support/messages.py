"""Warmup messages as rows: two mailboxes, a sized day, bound halves, and the worker's own door."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

from psycopg.types.json import Jsonb

from database import TestInstallation
from mailhearth_core.storage.named import named

NOW = datetime(2026, 3, 2, 9, 0, tzinfo=UTC)
"""A Monday; business time of these tests unless they move it."""
DAY = date(2026, 3, 2)
SCHEDULER = named("scheduler")
WORKER = named("worker")


class Messages:
    """Alice in one workspace and Bob in another, each with consent to the network."""

    def __init__(self, installation: TestInstallation) -> None:
        self.installation = installation
        self.north = installation.workspace("north")
        self.south = installation.workspace("south")
        self.alice = self._mailbox(self.north, "alice@north.test")
        self.bob = self._mailbox(self.south, "bob@south.test")
        self._doors = installation.worker_doors()

    def _mailbox(self, workspace: UUID, address: str) -> UUID:
        pool = self.installation.pool(workspace, peering_scope="network")
        return self.installation.mailbox(workspace, pool, address, consent="network")

    def workspace_of(self, mailbox: UUID) -> UUID:
        found: UUID = self.row("mailboxes", mailbox)["workspace_id"]
        return found

    def row(self, table: str, row_id: UUID) -> dict[str, Any]:
        return self.installation.one(f"SELECT * FROM {table} WHERE id = %s", row_id)

    # -- the scheduler ----------------------------------------------------------------------

    def scheduler(self, name: str, **parameters: Any) -> Any:
        """A scheduler's query, committed; rows as a list."""
        with self.installation.database("scheduler").tx() as conn:
            found = getattr(SCHEDULER, name)(conn, **parameters)
            return found if found is None or isinstance(found, int | dict) else list(found)

    def store(
        self, mailbox: UUID, moments: list[datetime], *, day: date = DAY, volume: int | None = None
    ) -> int:
        """Stores a sized day; returns how many days were new."""
        sized = {
            "workspace_id": str(self.workspace_of(mailbox)),
            "mailbox_id": str(mailbox),
            "day": day.isoformat(),
            "volume": len(moments) if volume is None else volume,
            "inputs": {"seed": 1},
            "reasons": ["start"],
            "controller": {"state": "growing", "target_volume": 5, "reasons": ["start"]},
            "moments": [moment.isoformat() for moment in moments],
            "next_size_at": (NOW + timedelta(days=1)).isoformat(),
        }
        return int(self.scheduler("store_days", days=Jsonb([sized]), now=NOW))

    def planned(self, mailbox: UUID, due_at: datetime = NOW, *, day: date = DAY) -> UUID:
        """One planned message in a day of its own; returns its outbound half."""
        assert self.store(mailbox, [due_at], day=day) == 1
        found: UUID = self.installation.one(
            "SELECT id FROM outbound WHERE mailbox_id = %s AND day = %s", mailbox, day
        )["id"]
        return found

    def binding(self, outbound: UUID, recipient: UUID, **changes: Any) -> dict[str, Any]:
        """What the matcher says about one message, as JSON."""
        sender = self.row("mailboxes", self.row("outbound", outbound)["mailbox_id"])
        peer = self.row("mailboxes", recipient)
        made = {
            "workspace_id": sender["workspace_id"],
            "outbound_id": outbound,
            "kind": "thread",
            "peer_workspace": peer["workspace_id"],
            "peer_ref": recipient,
            "peer_day": DAY,
            "peer_address": peer["address"],
            "peer_domain": peer["domain"],
            "peer_name": "Peer",
            "sender_address": sender["address"],
            "sender_name": "Sender",
            "message_id": f"<{uuid4()}@{sender['domain']}>",
            "subject": "Lunch",
            "seed": 7,
            "library": "builtin/1",
            "thread_id": uuid4(),
            "turn": 0,
            "reason": "another domain",
        } | changes
        plain = (str, int, list, type(None))
        return {k: v if isinstance(v, plain) else str(v) for k, v in made.items()}

    def bind(self, *bindings: dict[str, Any]) -> int:
        return int(self.scheduler("bind", bindings=Jsonb(list(bindings))))

    def bound(
        self, sender: UUID, recipient: UUID, due_at: datetime = NOW, *, day: date = DAY
    ) -> UUID:
        """A message bound to its recipient; returns its outbound half."""
        outbound = self.planned(sender, due_at, day=day)
        assert self.bind(self.binding(outbound, recipient)) == 1
        return outbound

    def twin(self, outbound: UUID) -> dict[str, Any] | None:
        """The recipient's half."""
        rows = self.installation.rows(
            "SELECT i.* FROM inbound i JOIN outbound o USING (pair_id) WHERE o.id = %s", outbound
        )
        return rows[0] if rows else None

    def settle(self, now: datetime = NOW, ends: datetime | None = None) -> dict[str, int]:
        rows = self.scheduler("settle", now=now, sending_ends=ends)
        return {row["outcome"]: row["n"] for row in rows}

    def action(self, outbound: UUID, kind: str = "send") -> dict[str, Any]:
        return self.installation.one(
            "SELECT * FROM action WHERE outbound_id = %s AND kind = %s", outbound, kind
        )

    # -- a worker ---------------------------------------------------------------------------

    def worker(self, workspace: UUID, name: str, **parameters: Any) -> Any:
        """A worker's query by the workspace's login, committed; rows as a list."""
        with self._doors.door(workspace).tx() as conn:
            found = getattr(WORKER, name)(conn, workspace_id=workspace, **parameters)
            return found if found is None or isinstance(found, int | str | dict) else list(found)

    def lease(self, mailbox: UUID, *, owner: str = "worker-1", seconds: float = 60) -> int:
        workspace = self.workspace_of(mailbox)
        row = self.worker(workspace, "take_lease", mailbox_id=mailbox, owner=owner, seconds=seconds)
        return int(row["token"])

    def claim(self, mailbox: UUID, token: int, now: datetime = NOW) -> dict[str, Any]:
        row: dict[str, Any] = self.worker(
            self.workspace_of(mailbox), "claim_action", mailbox_id=mailbox, token=token, now=now
        )
        return row

    def sending(self, sender: UUID, token: int, now: datetime = NOW) -> dict[str, Any]:
        """Claims the message that is due and commits `sending`; returns the action."""
        action = self.claim(sender, token, now)
        assert self.worker(
            self.workspace_of(sender),
            "begin_sending",
            action_id=action["id"], token=token, now=now, seconds=60,
        )  # fmt: skip
        return action

    def sent(self, sender: UUID, now: datetime = NOW) -> UUID:
        """Sends the message that is due, as a worker records it; returns its outbound half."""
        workspace = self.workspace_of(sender)
        token = self.lease(sender)
        action = self.sending(sender, token, now)
        outbound: UUID = action["outbound_id"]
        self.worker(
            workspace, "finish_action",
            id=action["id"], token=token, state="done", reason="", now=now,
        )  # fmt: skip
        self.worker(
            workspace, "settle_outbound",
            id=outbound, state="sent", reason="", sent_at=now, smtp_reply="250 ok",
            evidence="smtp",
        )  # fmt: skip
        self.worker(
            workspace, "left_sender",
            outbound_id=outbound, sent_at=now, poll_at=now + timedelta(minutes=5),
        )  # fmt: skip
        self.worker(workspace, "release_lease", mailbox_id=sender, token=token)
        return outbound

    def observed(
        self, inbound: UUID, now: datetime, *, placement: str = "inbox", reply: str = "none"
    ) -> int:
        """The recipient's worker finds the message and carries that across; rows changed."""
        workspace: UUID = self.row("inbound", inbound)["workspace_id"]
        changed = self.worker(
            workspace, "observe",
            id=inbound, now=now, arrived_at=now, placement=placement,
            placement_provider="other", observed_message_id="<seen@x>", observed_refs=[],
            observed_date=now, auto_submitted=False, folder="INBOX", uidvalidity=1, uid=2,
            reply_state=reply, reply_at=now if reply == "wished" else None,
        )  # fmt: skip
        self.worker(workspace, "carry_observed", inbound_id=inbound)
        return int(changed)
