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
MOVES_FOR_ALL = 2_000
"""Moves tried for one slot, and in one call: bounds on time that small pools never reach."""


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
        table.take_in(slot, peer)
    for slot in slots:
        if slot not in replies and slot.mailbox_id in table.peers:
            table.place(slot)

    # Only now is it known who was bound before whom: say why in the order of the day.
    taken = defaultdict(int, snapshot.taken)
    bindings = []
    for slot in slots:
        if slot in replies:
            wish, peer = replies[slot]
            day, reason = local_date(slot.due_at, peer.timezone), "reply"
        elif slot in table.chosen:
            host, day = table.chosen[slot]
            wish, peer = None, host.peer
            before = f"{taken[peer.mailbox_id, day]} of {host.places} taken"
            reason = f"{table.preference(slot, peer)}, {before}"
        else:
            continue
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


class _Host:
    """A mailbox as recipient: what it has been given on each of its local dates."""

    __slots__ = ("peer", "places", "ref", "taken", "threads")

    def __init__(self, peer: Peer) -> None:
        self.peer = peer
        self.ref = peer.ref
        self.places = peer.places
        self.taken: dict[date, int] = defaultdict(int)
        self.threads: dict[date, list[Slot]] = defaultdict(list)


class _Guest:
    """A mailbox as sender: whom it may write to, whom it has written to, and in this call."""

    __slots__ = ("audience", "gap", "last", "peer", "started")

    def __init__(self, peer: Peer, audience: list[_Host], last: Mapping[str, datetime]) -> None:
        self.peer = peer
        self.gap = timedelta(hours=peer.policy.pair_gap_hours)
        self.audience = audience
        self.last = last
        self.started: dict[_Host, list[Slot]] = {}

    def in_the_way(self, slot: Slot, host: _Host) -> tuple[Slot, ...]:
        """New threads of this call to the same host that lie within the pair gap."""
        started = self.started.get(host, ())
        return tuple(other for other in started if abs(other.due_at - slot.due_at) < self.gap)

    def rested_days(self, slot: Slot, ref: str) -> int:
        """Whole days since it last started a thread with a peer; NEVER if it did not."""
        last = self.last.get(ref)
        return NEVER if last is None else (slot.due_at - last) // DAY


class _Table:
    """Who is bound to whom so far, and who could be."""

    def __init__(self, snapshot: Snapshot) -> None:
        ordered = sorted(snapshot.peers, key=lambda peer: peer.mailbox_id)
        self.peers = {peer.mailbox_id: peer for peer in ordered}
        self.chosen: dict[Slot, tuple[_Host, date]] = {}
        self._hosts = {id_: _Host(peer) for id_, peer in self.peers.items()}
        for (id_, day), count in snapshot.taken.items():
            if id_ in self._hosts:
                self._hosts[id_].taken[day] = count
        self._last: dict[UUID, dict[str, datetime]] = defaultdict(dict)
        for (id_, ref), at in snapshot.recent.items():
            self._last[id_][ref] = at
        self._guests: dict[UUID, _Guest] = {}
        self._moves = 0
        self._moves_left = MOVES_FOR_ALL

    def take_in(self, slot: Slot, peer: Peer) -> None:
        """Counts a reply in its recipient's ledger."""
        day = local_date(slot.due_at, peer.timezone)
        self._hosts[peer.mailbox_id].taken[day] += 1

    def place(self, slot: Slot) -> bool:
        """Seats a slot with the peer it likes best, moving others if nobody is free for it."""
        self._moves = min(MOVES_FOR_ONE, self._moves_left)
        self._moves_left -= self._moves
        placed = self._place(slot, {slot})
        self._moves_left += self._moves
        return placed

    def preference(self, slot: Slot, peer: Peer) -> str:
        """What spoke for a peer, for a person."""
        guest = self._guest(slot)
        rested = guest.rested_days(slot, peer.ref)
        provider = "same" if peer.provider == guest.peer.provider else "other"
        domain = "same" if peer.domain == guest.peer.domain else "other"
        written = "not written to before"
        if rested != NEVER:
            written = f"last written to {rested} day{'s' * (rested != 1)} ago"
        return f"{provider} provider, {domain} domain, {written}"

    def _guest(self, slot: Slot) -> _Guest:
        if slot.mailbox_id not in self._guests:
            peer = self.peers[slot.mailbox_id]
            audience = [host for host in self._hosts.values() if may_write(peer, host.peer)]
            self._guests[slot.mailbox_id] = _Guest(peer, audience, self._last[slot.mailbox_id])
        return self._guests[slot.mailbox_id]

    def _place(self, slot: Slot, moved: set[Slot]) -> bool:
        guest = self._guest(slot)
        possible = self._possible(slot, guest)
        best = self._best(slot, guest, possible)
        if best is not None:
            self._seat(slot, guest, *best)
            return True
        for host, day in possible:
            blockers = guest.in_the_way(slot, host)
            if len(blockers) > 1:
                continue
            for other in blockers or tuple(host.threads[day]):
                if other in moved or self._moves == 0:
                    continue
                self._moves -= 1
                if self._take_over(slot, guest, host, day, other, moved):
                    return True
        return False

    def _take_over(
        self, slot: Slot, guest: _Guest, host: _Host, day: date, other: Slot, moved: set[Slot]
    ) -> bool:
        """Gives a slot the place of another that finds one elsewhere; else changes nothing."""
        others_day = self._unseat(other)
        if host.taken[day] < host.places:
            moved.add(other)
            self._seat(slot, guest, host, day)
            if self._place(other, moved):
                return True
            self._unseat(slot)
        self._seat(other, self._guest(other), host, others_day)
        return False

    def _seat(self, slot: Slot, guest: _Guest, host: _Host, day: date) -> None:
        self.chosen[slot] = (host, day)
        host.taken[day] += 1
        host.threads[day].append(slot)
        guest.started.setdefault(host, []).append(slot)

    def _unseat(self, slot: Slot) -> date:
        host, day = self.chosen.pop(slot)
        host.taken[day] -= 1
        host.threads[day].remove(slot)
        self._guest(slot).started[host].remove(slot)
        return day

    def _possible(self, slot: Slot, guest: _Guest) -> list[tuple[_Host, date]]:
        """All whom the slot could go to if no other new thread were bound in this call."""
        since = slot.due_at - guest.gap
        days: dict[str, date] = {}
        found = []
        for host in guest.audience:
            last = guest.last.get(host.ref)
            if last is None or last <= since:
                timezone = host.peer.timezone
                if timezone not in days:
                    days[timezone] = local_date(slot.due_at, timezone)
                found.append((host, days[timezone]))
        return found

    def _best(
        self, slot: Slot, guest: _Guest, possible: Sequence[tuple[_Host, date]]
    ) -> tuple[_Host, date] | None:
        provider, domain = guest.peer.provider, guest.peer.domain
        best, equal = None, []
        for host, day in possible:
            room = host.places - host.taken.get(day, 0)
            if room <= 0 or guest.in_the_way(slot, host):
                continue
            rank = (
                room <= max(1, host.places // LAST_PLACES),
                host.peer.provider == provider,
                host.peer.domain == domain,
                -guest.rested_days(slot, host.ref),
                -room / host.places,
            )
            if best is None or rank < best:
                best, equal = rank, [(host, day)]
            elif rank == best:
                equal.append((host, day))
        if len(equal) > 1:
            return equal[int(stream("peer", slot.outbound_id).random() * len(equal))]
        return equal[0] if equal else None
