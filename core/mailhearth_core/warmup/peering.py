"""Mailboxes as peers: what is known of each, and who may write to whom.

What a mailbox may write to is a union of at most three circles that many mailboxes share: its pool,
the wide mailboxes of its workspace, and the network. Counting and drawing go by these circles, so
that nobody's audience need be listed.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from uuid import UUID

from mailhearth_core.warmup.policy import Policy

WIDE = frozenset({"workspace", "network"})


@dataclass(frozen=True, slots=True)
class Peer:
    """A mailbox as sender or recipient.

    Attributes:
        scope: its pool's peering scope: pool, workspace or network.
        network_consent: its owner agreed to peers of other workspaces.
        accepts: whether anybody may write to it now.
        policy: its pool's.
        volume: what it sends itself on the day that was sized last.
        ref: the name by which others know it.
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
    ref: str = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "ref", str(self.mailbox_id))

    @property
    def places(self) -> int:
        """Messages it takes on one of its local dates: a multiple of what it sends, or the floor.

        Replies may go beyond it: they answer mail that it sent.
        """
        by_volume = int(self.policy.recipient_ratio * self.volume + 1e-9)
        return max(self.policy.recipient_floor, by_volume)

    @property
    def in_network(self) -> bool:
        """Whether it takes part beyond its workspace."""
        return self.scope == "network" and self.network_consent


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
    return in_reach(sender, recipient)


def in_reach(sender: Peer, recipient: Peer) -> bool:
    """Whether their peering scopes allow it; a mailbox is in its own reach."""
    if sender.workspace_id == recipient.workspace_id:
        return sender.pool_id == recipient.pool_id or (
            sender.scope in WIDE and recipient.scope in WIDE
        )
    return sender.in_network and recipient.in_network


def eligible_peers(sender: Peer, peers: Sequence[Peer]) -> int:
    """How many of the peers the sender may write to; `Audiences.count` does it for many senders."""
    return sum(may_write(sender, peer) for peer in peers)


@dataclass(frozen=True, slots=True)
class Slot:
    """A send without a peer. A slot that is overdue is due when it can be sent: now."""

    workspace_id: UUID
    mailbox_id: UUID
    outbound_id: UUID
    due_at: datetime


class Audiences:
    """The circles of a set of mailboxes: who accepts mail in each pool, workspace, and the network.

    A circle is a list of positions in `peers`, in their order.
    """

    def __init__(self, peers: Iterable[Peer]) -> None:
        self.peers = tuple(peers)
        self._pools: dict[tuple[UUID, UUID], list[int]] = defaultdict(list)
        self._wide: dict[UUID, list[int]] = defaultdict(list)
        self._network: list[int] = []
        self._wide_in_pool: Counter[tuple[UUID, UUID]] = Counter()
        self._network_in_workspace: Counter[UUID] = Counter()
        self._by_address: dict[str, list[int]] = defaultdict(list)
        for index, peer in enumerate(self.peers):
            if not peer.accepts:
                continue
            pool = (peer.workspace_id, peer.pool_id)
            self._pools[pool].append(index)
            self._by_address[peer.address.lower()].append(index)
            if peer.scope in WIDE:
                self._wide[peer.workspace_id].append(index)
                self._wide_in_pool[pool] += 1
            if peer.in_network:
                self._network.append(index)
                self._network_in_workspace[peer.workspace_id] += 1

    def count(self, sender: Peer) -> int:
        """How many of the peers the sender may write to; as `eligible_peers`, without looking."""
        pool = (sender.workspace_id, sender.pool_id)
        found = len(self._pools.get(pool, ()))
        if sender.scope in WIDE:
            found += len(self._wide.get(sender.workspace_id, ())) - self._wide_in_pool[pool]
        if sender.in_network:
            found += len(self._network) - self._network_in_workspace[sender.workspace_id]
        # Itself, and its own address connected twice.
        same = self._by_address.get(sender.address.lower(), ())
        return found - sum(in_reach(sender, self.peers[index]) for index in same)

    def circles(self, sender: Peer) -> Iterator[tuple[int, object, list[int]]]:
        """The circles that it is in: how wide (0, 1, 2), a name for it, and who accepts in it.

        Wider circles hold some of the narrower again: in the second those of its own pool are to
        be passed over, in the third those of its own workspace.
        """
        pool = (sender.workspace_id, sender.pool_id)
        yield 0, pool, self._pools.get(pool, [])
        if sender.scope in WIDE:
            yield 1, sender.workspace_id, self._wide.get(sender.workspace_id, [])
        if sender.in_network:
            yield 2, None, self._network

    def positions(self, sender: Peer) -> list[int]:
        """Who accepts in its circles, in order: whom it may write to, and its own address."""
        return sorted({index for _, _, circle in self.circles(sender) for index in circle})
