"""Days of warmup in small pools, sized and matched as the scheduler does: no slot stays alone."""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from random import Random
from uuid import UUID

import pytest

from mailhearth_core.warmup.engagement import plan_engagement
from mailhearth_core.warmup.matching import (
    Binding,
    Peer,
    Slot,
    Snapshot,
    Wish,
    eligible_peers,
    match,
)
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import ControllerRow, DaySignals, next_day
from mailhearth_core.warmup.sizing import SizeInputs, size_day
from mailhearth_core.warmup.window import local_date, next_midnight

HOUR = timedelta(hours=1)
POLICY = Policy(
    mode="custom",
    start_volume=5,
    step=1,
    cap=20,
    pair_gap_hours=24,
    reply_delay_min_minutes=45,
    reply_delay_max_minutes=720,
    retention_hours=12,
)
ZONES = (
    "Pacific/Auckland", "Asia/Tokyo", "Asia/Kolkata", "Europe/Berlin", "Europe/Lisbon",
    "America/Sao_Paulo", "America/New_York", "America/Denver", "America/Los_Angeles",
    "Pacific/Honolulu", "Africa/Nairobi", "Asia/Kathmandu",
)  # fmt: skip


class World:
    """Mailboxes, their ledgers, and a clock that moves hour by hour."""

    def __init__(self, peers: list[Peer], start: datetime, seed: int) -> None:
        self.peers = {peer.mailbox_id: peer for peer in peers}
        self.now = start
        self.rng = Random(seed)
        self.sizing_at = dict.fromkeys(self.peers, start)
        self.rows: dict[UUID, ControllerRow] = {}
        self.slots: dict[UUID, Slot] = {}
        self.wishes: dict[UUID, Wish] = {}
        self.recent: dict[tuple[UUID, str], datetime] = {}
        self.taken: Counter[tuple[UUID, date]] = Counter()
        self.bound: list[Binding] = []
        self.alone: list[Slot] = []
        self.short = 0
        self.volumes: dict[UUID, list[int]] = defaultdict(list)

    def run(self, hours: int) -> None:
        for _ in range(hours):
            self._size()
            self._match()
            self.now += HOUR

    def _size(self) -> None:
        for id_, peer in self.peers.items():
            if self.sizing_at[id_] > self.now:
                continue
            day = local_date(self.now, peer.timezone)
            row = next_day(self.rows.get(id_), peer.policy, day, DaySignals())
            sized = size_day(
                SizeInputs(
                    timezone=peer.timezone,
                    day=day,
                    starts_at=self.now,
                    policy=peer.policy,
                    controller=row,
                    eligible_peers=eligible_peers(peer, list(self.peers.values())),
                    replies_due=sum(
                        wish.mailbox_id == id_ and wish.reply_at < self.now + 24 * HOUR
                        for wish in self.wishes.values()
                    ),
                    has_campaign=False,
                    seed=id_.int % 2**63,
                )
            )
            self.rows[id_] = row
            self.short += sized.peers_lacking
            self.volumes[id_].append(sized.volume)
            self.peers[id_] = replace(peer, volume=sized.volume)
            self.sizing_at[id_] = next_midnight(self.now, peer.timezone)
            for due in sized.moments:
                outbound = UUID(int=self.rng.getrandbits(128))
                self.slots[outbound] = Slot(peer.workspace_id, id_, outbound, due)

    def _match(self) -> None:
        until = self.now + 2 * HOUR
        bindings = match(
            Snapshot(
                tuple(self.peers.values()),
                tuple(slot for slot in self.slots.values() if slot.due_at <= until),
                tuple(wish for wish in self.wishes.values() if wish.reply_at <= until),
                self.recent,
                self.taken,
            )
        )
        for binding in bindings:
            self._bind(binding)
        late = [slot for slot in self.slots.values() if slot.due_at <= self.now + HOUR]
        self.alone += late
        for slot in late:
            del self.slots[slot.outbound_id]

    def _bind(self, binding: Binding) -> None:
        slot, peer = binding.slot, binding.peer
        del self.slots[slot.outbound_id]
        self.bound.append(binding)
        self.taken[peer.mailbox_id, binding.peer_day] += 1
        if binding.wish:
            del self.wishes[binding.wish.inbound_id]
        else:
            self.recent[slot.mailbox_id, peer.ref] = slot.due_at
        plan = plan_engagement(
            seed=self.rng.getrandbits(62),
            policy=peer.policy,
            placement="inbox",
            observed_at=slot.due_at + timedelta(minutes=5),
            auto_submitted=False,
            turns_left=1,
        )
        if plan.reply_at:
            inbound = UUID(int=self.rng.getrandbits(128))
            self.wishes[inbound] = Wish(
                peer.workspace_id, peer.mailbox_id, inbound, plan.reply_at, str(slot.mailbox_id)
            )


def _pool(
    count: int, domains: int, workspaces: int, zones: tuple[str, ...], policy: Policy
) -> list[Peer]:
    peers = []
    for n in range(count):
        space, domain = n % workspaces, n % domains
        peers.append(
            Peer(
                mailbox_id=UUID(int=1000 + n),
                workspace_id=UUID(int=1 + space),
                pool_id=UUID(int=11 + space),
                scope="network",
                network_consent=True,
                address=f"m{n}@d{domain}.example",
                display_name=f"M {n}",
                domain=f"d{domain}.example",
                provider=f"p{domain}",
                accepts=True,
                timezone=zones[n % len(zones)],
                policy=policy,
                volume=0,
            )
        )
    return peers


@pytest.mark.parametrize("seed", range(3))
def test_twenty_mailboxes_of_two_workspaces_for_three_days(seed: int) -> None:
    start = datetime(2026, 3, 2, tzinfo=UTC)
    world = World(_pool(20, 3, 2, ("UTC",), POLICY), start, seed)
    world.run(72)
    assert world.alone == []
    assert {tuple(volumes) for volumes in world.volumes.values()} == {(5, 6, 7)}
    assert len(world.bound) == 20 * (5 + 6 + 7)
    assert world.short == 0
    replies = sum(binding.wish is not None for binding in world.bound)
    assert replies > 60
    across = sum(b.peer.workspace_id != b.slot.workspace_id for b in world.bound)
    assert across > 100
    others = sum(
        b.peer.domain != world.peers[b.slot.mailbox_id].domain for b in world.bound if not b.wish
    )
    assert others > 0.9 * (len(world.bound) - replies)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("start_hour", [0, 7, 13])
def test_twelve_mailboxes_around_the_world_for_five_days(seed: int, start_hour: int) -> None:
    start = datetime(2026, 3, 2, start_hour, 20, 30, tzinfo=UTC)
    world = World(_pool(12, 3, 1, ZONES, POLICY), start, seed)
    world.run(24 * 5)
    assert world.alone == []
    assert len(world.bound) > 250
