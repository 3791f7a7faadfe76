"""Matching among very many peers: a sample is looked at, the rules hold, nobody is left alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from typing import Any
from uuid import UUID

import pytest

from mailhearth_core.warmup.matching import Binding, Peer, Slot, Snapshot, match, may_write
from mailhearth_core.warmup.peering import Audiences, eligible_peers
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.seating import FEW, Table
from mailhearth_core.warmup.window import local_date

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
ZONES = ("UTC", "Asia/Tokyo", "Pacific/Auckland", "America/Denver")


def network(count: int, rng: Random, **changes: Any) -> list[Peer]:
    """Mailboxes of workspaces of 25, all in the network; some refuse, some are connected twice."""
    return [
        Peer(
            mailbox_id=UUID(int=rng.getrandbits(128)),
            workspace_id=UUID(int=1 + n // 25),
            pool_id=UUID(int=1 + n // 12),
            scope="network" if n % 10 else "workspace",
            network_consent=n % 11 != 0,
            address=f"m{n % (count - 9)}@d{n // 5}.example",
            display_name=f"M {n}",
            domain=f"d{n // 5}.example",
            provider="xyz"[n % 3],
            accepts=n % 13 != 0,
            timezone=ZONES[n % 4],
            policy=Policy(pair_gap_hours=24, recipient_floor=3),
            volume=0,
            **changes,
        )
        for n in range(count)
    ]


def slots(peers: list[Peer], each: int, rng: Random) -> list[Slot]:
    return [
        Slot(
            peer.workspace_id,
            peer.mailbox_id,
            UUID(int=rng.getrandbits(128)),
            NOON + timedelta(minutes=rng.randrange(300)),
        )
        for peer in peers
        for _ in range(each)
    ]


def check(snapshot: Snapshot, bindings: list[Binding]) -> None:
    """No rule is broken, and whoever is left alone found everybody full or just written to."""
    peers = {peer.mailbox_id: peer for peer in snapshot.peers}
    taken = Counter(snapshot.taken)
    started: dict[tuple[UUID, UUID], list[datetime]] = defaultdict(list)
    for b in bindings:
        sender = peers[b.slot.mailbox_id]
        assert may_write(sender, b.peer)
        assert b.peer_day == local_date(b.slot.due_at, b.peer.timezone)
        taken[b.peer.mailbox_id, b.peer_day] += 1
        assert taken[b.peer.mailbox_id, b.peer_day] <= b.peer.places
        gap = timedelta(hours=sender.policy.pair_gap_hours)
        before = started[sender.mailbox_id, b.peer.mailbox_id]
        assert all(abs(at - b.slot.due_at) >= gap for at in before)
        last = snapshot.recent.get((sender.mailbox_id, b.peer.ref))
        assert last is None or b.slot.due_at - last >= gap
        before.append(b.slot.due_at)
    for slot in set(snapshot.slots) - {b.slot for b in bindings}:
        sender = peers[slot.mailbox_id]
        for peer in snapshot.peers:
            if may_write(sender, peer) and not started[sender.mailbox_id, peer.mailbox_id]:
                day = local_date(slot.due_at, peer.timezone)
                just = (sender.mailbox_id, peer.ref) in snapshot.recent
                assert just or taken[peer.mailbox_id, day] >= peer.places


@pytest.mark.parametrize(("seed", "each"), [(1, 1), (2, 5)])
def test_the_rules_hold_and_only_a_full_network_leaves_a_slot_alone(seed: int, each: int) -> None:
    rng = Random(seed)
    peers = network(320, rng)
    recent = {
        (peer.mailbox_id, rng.choice(peers).ref): NOON - timedelta(hours=rng.randrange(20))
        for peer in peers
        for _ in range(20)
    }
    days = [NOON.date(), NOON.date() + timedelta(days=1)]
    taken: dict[tuple[UUID, date], int] = {
        (peer.mailbox_id, day): rng.randrange(3) for peer in peers for day in days
    }
    snapshot = Snapshot(tuple(peers), tuple(slots(peers, each, rng)), (), recent, taken)
    bindings = match(snapshot)
    check(snapshot, bindings)
    assert (len(bindings) == len(snapshot.slots)) == (each == 1)
    again = replace(
        snapshot,
        peers=tuple(rng.sample(peers, len(peers))),
        slots=tuple(rng.sample(snapshot.slots, len(snapshot.slots))),
    )
    assert match(again) == bindings


def test_other_providers_and_domains_come_first_and_nobody_is_crowded() -> None:
    rng = Random(5)
    peers = [replace(peer, volume=20) for peer in network(600, rng)]
    bindings = match(Snapshot(tuple(peers), tuple(slots(peers, 4, rng)), (), {}, {}))
    many = Audiences(peers)
    from_many = [
        b for b in bindings
        if many.count(next(p for p in peers if p.mailbox_id == b.slot.mailbox_id)) > FEW
    ]  # fmt: skip
    assert len(from_many) > 1500
    wanted = sum(b.reason.startswith("other provider, other domain") for b in from_many)
    assert wanted > 0.99 * len(from_many)
    assert max(Counter(b.peer.mailbox_id for b in from_many).values()) <= 12


def test_the_work_for_a_slot_does_not_grow_with_the_network(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks = 0
    rank = Table._rank

    def counted(*arguments: Any) -> Any:
        nonlocal looks
        looks += 1
        return rank(*arguments)

    monkeypatch.setattr(Table, "_rank", counted)
    per_slot = []
    for count in (400, 1600):
        rng = Random(9)
        peers = [
            replace(peer, volume=20, scope="network", network_consent=True)
            for peer in network(count, rng)
        ]
        looks = 0
        bindings = match(Snapshot(tuple(peers), tuple(slots(peers, 2, rng)), (), {}, {}))
        assert len(bindings) == 2 * count
        per_slot.append(looks / len(bindings))
    assert max(per_slot) < 10


def test_an_audience_is_counted_as_it_is_listed() -> None:
    peers = network(300, Random(3))
    audiences = Audiences(peers)
    for sender in peers:
        assert audiences.count(sender) == eligible_peers(sender, peers)
        listed = [peers[index] for index in audiences.positions(sender)]
        others = [peer for peer in listed if peer.address.lower() != sender.address.lower()]
        assert others == [peer for peer in peers if may_write(sender, peer)]
