"""Who writes to whom: binds a peer to each waiting send, over a snapshot of mailboxes and ledgers.

A wished reply takes the first slot of its mailbox at or after its time. Every other slot starts a
new thread with a mailbox that may be written to, that this sender has not started a thread with
within the pair gap, and that has room on its own local date. Among these, other providers and other
domains come first, then whom it wrote to longest ago; the last places of a mailbox are kept for
senders that find no other. A slot that still finds nobody takes the place of an earlier one of the
same call that can move.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from uuid import UUID

from mailhearth_core.warmup.chance import stream
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.window import local_date

DAY = timedelta(days=1)
NEVER = 10**6
"""Days since a thread with a peer that had none: longer than any."""
LAST_PLACES = 5
"""One fifth of a mailbox's places (at least one) goes to senders that find no other peer."""
MOVES_FOR_ONE = 200
MOVES_FOR_ALL = 10_000
"""Moves tried for a slot, and in a call: bounds on time, not rules; small pools never reach them."""


@dataclass(frozen=True, slots=True)
class Peer:
    """A mailbox as sender or recipient.

    Attributes:
        scope: its pool's peering scope: pool, workspace or network.
        network_consent: its owner agreed to peers of other workspaces.
        accepts: whether anybody may write to it now.
        policy: its pool's.
        volume: what it sends itself on the day that was sized last.
    """

    mailbox_id: UUID
    workspace_id: UUID
    pool_id: UUID
    scope: str
    network_consent: bool
    address: str
    display_name: str
    domain: str
    provider: str
    accepts: bool
    timezone: str
    policy: Policy
    volume: int

    @property
    def ref(self) -> str:
        """The name by which others know it."""
        return str(self.mailbox_id)

    @property
    def places(self) -> int:
        """Messages it takes on one of its local dates: a multiple of what it sends, or the floor.

        Replies may go beyond it: they answer mail that it sent.
        """
        by_volume = int(self.policy.recipient_ratio * self.volume + 1e-9)
        return max(self.policy.recipient_floor, by_volume)


@dataclass(frozen=True, slots=True)
class Slot:
    """A send without a peer. A slot that is overdue is due when it can be sent: now."""

    workspace_id: UUID
    mailbox_id: UUID
    outbound_id: UUID
    due_at: datetime


@dataclass(frozen=True, slots=True)
class Wish:
    """A reply that a recipient wishes to send, to the sender named by `peer_ref`."""

    workspace_id: UUID
    mailbox_id: UUID
    inbound_id: UUID
    reply_at: datetime
    peer_ref: str


@dataclass(frozen=True, slots=True)
class Snapshot:
    """What is known as the matching begins; the order of rows does not matter.

    Attributes:
        recent: (sender, peer's ref) to the time of the last new thread.
        taken: (recipient, its local date) to the messages bound to it.
    """

    peers: tuple[Peer, ...]
    slots: tuple[Slot, ...]
    wishes: tuple[Wish, ...]
    recent: Mapping[tuple[UUID, str], datetime]
    taken: Mapping[tuple[UUID, date], int]


@dataclass(frozen=True, slots=True)
class Binding:
    """A slot with its peer.

    Attributes:
        peer_day: the peer's local date at the due moment, in whose ledger it counts.
        wish: the wish that it fulfils; None for a new thread.
        reason: one line for a person.
    """

    slot: Slot
    peer: Peer
    peer_day: date
    wish: Wish | None
    reason: str


def may_write(sender: Peer, recipient: Peer) -> bool:
    """Whether the peering scopes of both sides, and the recipient, allow it.

    Within a pool always; between pools of a workspace when both have the scope workspace or wider;
    between workspaces when both have the scope network and both owners agreed to it. Never to
    itself, nor to its own address connected twice.
    """
    if not recipient.accepts or sender.mailbox_id == recipient.mailbox_id:
        return False
    if sender.address.lower() == recipient.address.lower():
        return False
    scopes = {sender.scope, recipient.scope}
    if sender.workspace_id == recipient.workspace_id:
        return sender.pool_id == recipient.pool_id or scopes <= {"workspace", "network"}
    return scopes == {"network"} and sender.network_consent and recipient.network_consent


def eligible_peers(sender: Peer, peers: Sequence[Peer]) -> int:
    """How many of the peers the sender may write to."""
    return sum(may_write(sender, peer) for peer in peers)


def match(snapshot: Snapshot) -> list[Binding]:
    """The bindings of as many slots as possible, in order of due time.

    Slots without a peer are left out: they can be matched again, or end without one. The answer
    depends on the snapshot's values only, not on their order.
    """
    slots = sorted(snapshot.slots, key=lambda slot: (slot.due_at, slot.outbound_id))
    table = _Table(snapshot)
    replies = _replies(slots, snapshot.wishes, table.peers)
    for slot, (_, peer) in replies.items():
        table.seat(slot, peer, counts_for_gap=False)
    for slot in slots:
        if slot not in replies and slot.mailbox_id in table.peers:
            table.place(slot)

    # Only now is it known who was bound before whom: say why in the order of the day.
    taken = defaultdict(int, snapshot.taken)
    bindings = []
    for slot in slots:
        if slot in table.chosen:
            peer, day = table.chosen[slot]
            wish = replies[slot][0] if slot in replies else None
            before = f"{taken[peer.mailbox_id, day]} of {peer.places} taken"
            reason = "reply" if wish else f"{table.preference(slot, peer)}, {before}"
            bindings.append(Binding(slot, peer, day, wish, reason))
            taken[peer.mailbox_id, day] += 1
    return bindings


def _replies(
    slots: Sequence[Slot], wishes: Iterable[Wish], peers: Mapping[UUID, Peer]
) -> dict[Slot, tuple[Wish, Peer]]:
    """Gives each slot its mailbox's oldest wish that is due by then and whose peer accepts it."""
    by_ref = {peer.ref: peer for peer in peers.values()}
    waiting: dict[UUID, list[tuple[Wish, Peer]]] = defaultdict(list)
    for wish in sorted(wishes, key=lambda wish: (wish.reply_at, wish.inbound_id)):
        sender, peer = peers.get(wish.mailbox_id), by_ref.get(wish.peer_ref)
        if sender and peer and may_write(sender, peer):
            waiting[wish.mailbox_id].append((wish, peer))
    replies = {}
    for slot in slots:
        mine = waiting[slot.mailbox_id]
        if mine and mine[0][0].reply_at <= slot.due_at:
            replies[slot] = mine.pop(0)
    return replies


class _Table:
    """Who is bound to whom so far, and who could be."""

    def __init__(self, snapshot: Snapshot) -> None:
        self.peers = {
            peer.mailbox_id: peer
            for peer in sorted(snapshot.peers, key=lambda peer: peer.mailbox_id)
        }
        self.recent = snapshot.recent
        self.chosen: dict[Slot, tuple[Peer, date]] = {}
        self._taken = defaultdict(int, snapshot.taken)
        self._threads: dict[tuple[UUID, date], list[Slot]] = defaultdict(list)
        self._pairs: dict[tuple[UUID, UUID], list[Slot]] = defaultdict(list)
        self._audiences: dict[UUID, list[Peer]] = {}
        self._moves = 0
        self._moves_left = MOVES_FOR_ALL

    def seat(self, slot: Slot, peer: Peer, *, counts_for_gap: bool = True) -> None:
        day = local_date(slot.due_at, peer.timezone)
        self.chosen[slot] = (peer, day)
        self._taken[peer.mailbox_id, day] += 1
        if counts_for_gap:
            self._threads[peer.mailbox_id, day].append(slot)
            self._pairs[slot.mailbox_id, peer.mailbox_id].append(slot)

    def place(self, slot: Slot) -> bool:
        """Seats a slot with the peer it likes best, moving others if nobody is free for it."""
        self._moves = min(MOVES_FOR_ONE, self._moves_left)
        self._moves_left -= self._moves
        placed = self._place(slot, {slot})
        self._moves_left += self._moves
        return placed

    def _place(self, slot: Slot, moved: set[Slot]) -> bool:
        possible = self._possible(slot)
        free = [
            (peer, day)
            for peer, day in possible
            if self._room(peer, day) > 0 and not self._in_the_way(slot, peer)
        ]
        if free:
            self.seat(slot, self._best(slot, free))
            return True
        for peer, day in possible:
            blockers = self._in_the_way(slot, peer)
            if len(blockers) > 1:
                continue
            for other in blockers or tuple(self._threads[peer.mailbox_id, day]):
                if other in moved or self._moves == 0:
                    continue
                self._moves -= 1
                if self._take_over(slot, peer, day, other, moved):
                    return True
        return False

    def _take_over(self, slot: Slot, peer: Peer, day: date, other: Slot, moved: set[Slot]) -> bool:
        self._unseat(other)
        if self._room(peer, day) > 0:
            moved.add(other)
            self.seat(slot, peer)
            if self._place(other, moved):
                return True
            self._unseat(slot)
        self.seat(other, peer)
        return False

    def _unseat(self, slot: Slot) -> None:
        peer, day = self.chosen.pop(slot)
        self._taken[peer.mailbox_id, day] -= 1
        self._threads[peer.mailbox_id, day].remove(slot)
        self._pairs[slot.mailbox_id, peer.mailbox_id].remove(slot)

    def _possible(self, slot: Slot) -> list[tuple[Peer, date]]:
        """All whom the slot could go to if nothing else were bound in this call."""
        sender = self.peers[slot.mailbox_id]
        if sender.mailbox_id not in self._audiences:
            self._audiences[sender.mailbox_id] = [
                peer for peer in self.peers.values() if may_write(sender, peer)
            ]
        days: dict[str, date] = {}
        found = []
        since = slot.due_at - timedelta(hours=sender.policy.pair_gap_hours)
        for peer in self._audiences[sender.mailbox_id]:
            last = self.recent.get((sender.mailbox_id, peer.ref))
            if last is None or last <= since:
                if peer.timezone not in days:
                    days[peer.timezone] = local_date(slot.due_at, peer.timezone)
                found.append((peer, days[peer.timezone]))
        return found

    def _in_the_way(self, slot: Slot, peer: Peer) -> tuple[Slot, ...]:
        """New threads of this call to the same peer that lie within the pair gap."""
        gap = timedelta(hours=self.peers[slot.mailbox_id].policy.pair_gap_hours)
        return tuple(
            other
            for other in self._pairs.get((slot.mailbox_id, peer.mailbox_id), ())
            if abs(other.due_at - slot.due_at) < gap
        )

    def _room(self, peer: Peer, day: date) -> int:
        return peer.places - self._taken[peer.mailbox_id, day]

    def _best(self, slot: Slot, free: Sequence[tuple[Peer, date]]) -> Peer:
        sender = self.peers[slot.mailbox_id]

        def rank(item: tuple[Peer, date]) -> tuple[bool, bool, bool, int, float]:
            peer, day = item
            room, rested = self._room(peer, day), self.rested_days(slot, peer)
            return (
                room <= max(1, peer.places // LAST_PLACES),
                peer.provider == sender.provider,
                peer.domain == sender.domain,
                -NEVER if rested is None else -rested,
                -room / peer.places,
            )

        ranks = [rank(item) for item in free]
        best = min(ranks)
        equal = [peer for (peer, _), its in zip(free, ranks, strict=True) if its == best]
        return equal[int(stream("peer", slot.outbound_id).random() * len(equal))]

    def rested_days(self, slot: Slot, peer: Peer) -> int | None:
        """Whole days since the sender last started a thread with the peer; None for never."""
        last = self.recent.get((slot.mailbox_id, peer.ref))
        return None if last is None else (slot.due_at - last) // DAY

    def preference(self, slot: Slot, peer: Peer) -> str:
        """What spoke for the peer, for a person."""
        sender, rested = self.peers[slot.mailbox_id], self.rested_days(slot, peer)
        provider = "same" if peer.provider == sender.provider else "other"
        domain = "same" if peer.domain == sender.domain else "other"
        written = "not written to before"
        if rested is not None:
            written = f"last written to {rested} day{'s' * (rested != 1)} ago"
        return f"{provider} provider, {domain} domain, {written}"
