"""Who writes to whom: binds a peer to each waiting send, over a snapshot of mailboxes and ledgers.

A wished reply takes the first slot of its mailbox at or after its time. Every other slot starts a
new thread with a mailbox that may be written to, that this sender has not started a thread with
within the pair gap, and that has room on its own local date. Among these, other providers and other
domains come first, then whom it wrote to longest ago; the last places of a mailbox are kept for
senders that find no other. A slot that still finds nobody takes the place of an earlier one of the
same call that can move. Mailboxes with very many peers choose among a sample (see `seating`).
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from uuid import UUID

from mailhearth_core.warmup.peering import Peer, Slot, eligible_peers, may_write
from mailhearth_core.warmup.seating import Table
from mailhearth_core.warmup.seats import Seat

__all__ = ["Binding", "Peer", "Slot", "Snapshot", "Wish", "eligible_peers", "match", "may_write"]


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


def match(snapshot: Snapshot) -> list[Binding]:
    """The bindings of as many slots as possible, in order of due time.

    Slots without a peer are left out: they can be matched again, or end without one. The answer
    depends on the snapshot's values only, not on their order.
    """
    slots = sorted(snapshot.slots, key=lambda slot: (slot.due_at, slot.outbound_id))
    table = Table(snapshot.peers, snapshot.recent, snapshot.taken)
    replies = _replies(slots, snapshot.wishes, table.peers)
    days = {n: table.take_in(slots[n], peer) for n, (_, peer) in replies.items()}
    seats: dict[int, Seat] = {}
    for n, slot in enumerate(slots):
        if n not in replies and slot.mailbox_id in table.peers:
            seats[n] = table.place(slot)

    # Only now is it known who was bound before whom: say why in the order of the day.
    before: dict[tuple[UUID, date], int] = defaultdict(int, snapshot.taken)
    bindings = []
    for n, slot in enumerate(slots):
        if n in replies:
            wish, peer = replies[n]
            bindings.append(Binding(slot, peer, days[n], wish, "reply"))
            before[peer.mailbox_id, days[n]] += 1
        elif (seat := seats.get(n)) and seat.host and seat.day:
            peer, day = seat.host.peer, seat.day
            taken = f"{before[peer.mailbox_id, day]} of {seat.host.places} taken"
            reason = f"{table.preference(seat, peer)}, {taken}"
            bindings.append(Binding(slot, peer, day, None, reason))
            before[peer.mailbox_id, day] += 1
    return bindings


def _replies(
    slots: Sequence[Slot], wishes: Iterable[Wish], peers: Mapping[UUID, Peer]
) -> dict[int, tuple[Wish, Peer]]:
    """Gives each slot, by its place in their order, its mailbox's oldest wish that is due by then.

    A wish whose peer may not be written to, or is not known here, waits.
    """
    by_ref: dict[str, Peer] = {}
    if wishes := tuple(wishes):
        by_ref = {peer.ref: peer for peer in peers.values()}
    waiting: dict[UUID, list[tuple[Wish, Peer]]] = defaultdict(list)
    for wish in sorted(wishes, key=lambda wish: (wish.reply_at, wish.inbound_id), reverse=True):
        sender, peer = peers.get(wish.mailbox_id), by_ref.get(wish.peer_ref)
        if sender and peer and may_write(sender, peer):
            waiting[wish.mailbox_id].append((wish, peer))
    replies = {}
    for n, slot in enumerate(slots):
        mine = waiting.get(slot.mailbox_id)
        if mine and mine[-1][0].reply_at <= slot.due_at:
            replies[n] = mine.pop()
    return replies
