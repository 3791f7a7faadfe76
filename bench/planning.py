"""Sizing and matching a whole day, without a database: seconds and memory by number of mailboxes.

Two shapes. `mixed`: workspaces of 5 to 50 mailboxes with the scope pool, and a tenth of all (10,000
at most) in one network. `network`: everybody in one network, the hardest case. A day is sized at
midnight for each mailbox and then matched hour by hour for the next two hours, party by party, as
the scheduler does; three days of earlier threads are known, and three of ten messages are answered.
Each size runs in a process of its own, so that its memory is its own.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import pairwise
from pathlib import Path
from random import Random
from typing import Any
from uuid import UUID

from bench.results import goal
from mailhearth_core.warmup.matching import Binding, Peer, Slot, Snapshot, Wish, match
from mailhearth_core.warmup.peering import Audiences
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.ramp import DaySignals, next_day
from mailhearth_core.warmup.sizing import SizeInputs, size_day

SIZES = (("mixed", 1_000), ("mixed", 10_000), ("mixed", 100_000), ("network", 1_000),
         ("network", 10_000))  # fmt: skip
GOAL_MAILBOXES, GOAL_SECONDS, GOAL_MB = 10_000, 10.0, 500.0
MIDNIGHT = datetime(2026, 3, 2, tzinfo=UTC)
HOUR = timedelta(hours=1)
PARTY_SLOTS = 5_000
ZONES = ("Europe/Berlin", "Europe/London", "America/New_York", "Europe/Lisbon")
PROVIDERS = ("gmail", "outlook", "other")
POLICY = Policy()
REPLY = 0.3


def run(sizes: Sequence[tuple[str, int]] = SIZES) -> dict[str, Any]:
    """Seconds (of one core) and megabytes of each size, and how they grow."""
    found = []
    for shape, count in sizes:
        command = [sys.executable, "-m", "bench.planning", "--one", shape, str(count)]
        done = subprocess.run(
            command, stdout=subprocess.PIPE, check=True, cwd=Path(__file__).parent.parent
        )
        found.append(json.loads(done.stdout))
        print(f"  {shape}, {count:,} mailboxes: done", flush=True)
    kept: dict[str, Any] = {"sizes": found}
    for shape in dict.fromkeys(shape for shape, _ in sizes):
        of = [one for one in found if one["shape"] == shape]
        kept[f"growth_{shape}"] = [
            {
                "mailboxes": round(after["mailboxes"] / before["mailboxes"], 2),
                "messages": round(after["messages"] / before["messages"], 2),
                "cpu_seconds": round(after["cpu_seconds"] / before["cpu_seconds"], 2),
                "memory": round(after["megabytes"] / before["megabytes"], 2),
            }
            for before, after in pairwise(of)
        ]
        for one in of:
            if one["mailboxes"] == GOAL_MAILBOXES:
                kept[f"goal_{shape}"] = {
                    "seconds": goal(GOAL_SECONDS, one["cpu_seconds"], at_most=True),
                    "megabytes": goal(GOAL_MB, one["megabytes"], at_most=True),
                }
    return kept


def one_size(shape: str, count: int) -> dict[str, Any]:
    """Sizes and matches one day of so many mailboxes; in this process."""
    town = Town(_peers(shape, count))
    started = time.process_time()
    town.size()
    sized = time.process_time() - started
    for hour in range(24):
        town.match(MIDNIGHT + hour * HOUR)
    return {
        "shape": shape,
        "mailboxes": count,
        "messages": town.slots,
        "bound_percent": round(100 * town.bound / town.slots, 2),
        "other_provider_percent": round(100 * town.others / max(1, town.threads), 1),
        "fullest_of_its_places_percent": town.fullest(),
        "sizing_seconds": round(sized, 2),
        "matching_seconds": round(town.cpu, 2),
        "cpu_seconds": round(sized + town.cpu, 2),
        "wall_seconds": round(town.wall, 2),
        "slowest_hour_seconds": round(max(town.hours), 2),
        "megabytes": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
    }


def _peers(shape: str, count: int) -> list[Peer]:
    """Mailboxes in workspaces of 5 to 50."""
    rng = Random(7)
    network = count if shape == "network" else min(10_000, count // 10)
    peers: list[Peer] = []
    space = 0
    while len(peers) < count:
        space += 1
        workspace = UUID(int=space << 64)
        wide = len(peers) < network
        left = (network if wide else count) - len(peers)
        for n in range(min(rng.randint(5, 50), left)):
            domain = f"d{n // 5}.w{space}.example"
            peers.append(
                Peer(
                    mailbox_id=UUID(int=rng.getrandbits(128)),
                    workspace_id=workspace,
                    pool_id=workspace,
                    scope="network" if wide else "pool",
                    network_consent=wide,
                    address=f"m{n}@{domain}",
                    display_name=f"M {n}",
                    domain=domain,
                    provider=PROVIDERS[int(3 * rng.random() ** 2)],
                    accepts=True,
                    timezone=ZONES[space % len(ZONES)],
                    policy=POLICY,
                    volume=5 + n % 16,
                )
            )
    return peers


class Town:
    """The mailboxes, what was bound today, and what it took to do so."""

    def __init__(self, peers: Sequence[Peer]) -> None:
        self.audiences = Audiences(peers)
        self.parties = [[*party] for party in _parties(peers)]
        self.waiting: dict[int, dict[UUID, Slot]] = defaultdict(dict)
        self.wishes: dict[int, dict[UUID, Wish]] = defaultdict(dict)
        self.taken: Counter[tuple[UUID, date]] = Counter()
        self.today: dict[UUID, list[tuple[str, datetime]]] = defaultdict(list)
        self.slots = self.bound = self.threads = self.others = 0
        self.cpu = self.wall = 0.0
        self.hours: list[float] = []
        self._rng = Random(11)

    def size(self) -> None:
        row = next_day(None, POLICY, MIDNIGHT.date(), DaySignals())
        rows = [replace(row, target_volume=volume, day_number=volume) for volume in range(21)]
        started = time.monotonic()
        for number, party in enumerate(self.parties):
            for index, peer in enumerate(party):
                inputs = SizeInputs(
                    timezone=peer.timezone,
                    day=MIDNIGHT.date(),
                    starts_at=MIDNIGHT,
                    policy=POLICY,
                    controller=rows[peer.volume],
                    eligible_peers=self.audiences.count(peer),
                    replies_due=3,
                    has_campaign=False,
                    seed=peer.mailbox_id.int % 2**63,
                )
                sized = size_day(inputs)
                party[index] = replace(peer, volume=sized.volume)
                for due in sized.moments:
                    id_ = UUID(int=self._rng.getrandbits(128))
                    slot = Slot(peer.workspace_id, peer.mailbox_id, id_, due)
                    self.waiting[number][id_] = slot
                    self.slots += 1
        self.wall += time.monotonic() - started

    def match(self, now: datetime) -> None:
        """One hourly pass: the slots of the next two hours; late ones are given up."""
        until = now + 2 * HOUR
        begun = self.cpu
        for number, party in enumerate(self.parties):
            waiting = self.waiting[number]
            slots = tuple(slot for slot in waiting.values() if slot.due_at <= until)
            if not slots:
                continue
            wishes = self.wishes[number]
            snapshot = Snapshot(
                tuple(party),
                slots,
                tuple(wish for wish in wishes.values() if wish.reply_at <= until),
                self._recent(party, {slot.mailbox_id for slot in slots}),
                self.taken,
            )
            started = time.process_time(), time.monotonic()
            bindings = match(snapshot)
            self.cpu += time.process_time() - started[0]
            self.wall += time.monotonic() - started[1]
            for binding in bindings:
                self._note(binding, wishes)
                del waiting[binding.slot.outbound_id]
            for slot in slots:
                if slot.due_at <= now:
                    waiting.pop(slot.outbound_id, None)
        self.hours.append(self.cpu - begun)

    def _recent(
        self, party: Sequence[Peer], senders: set[UUID]
    ) -> dict[tuple[UUID, str], datetime]:
        """The last three days' threads, drawn from the sender's id, and today's."""
        recent: dict[tuple[UUID, str], datetime] = {}
        spaces: dict[UUID, list[Peer]] = defaultdict(list)
        for peer in party:
            spaces[peer.workspace_id].append(peer)
        for peer in party:
            if peer.mailbox_id not in senders:
                continue
            rng = Random(peer.mailbox_id.int)
            among = party if peer.in_network else spaces[peer.workspace_id]
            for _ in range(min(2 * peer.volume, len(among) // 2)):
                other = among[int(rng.random() * len(among))]
                at = MIDNIGHT - 72 * HOUR * rng.random()
                recent[peer.mailbox_id, other.ref] = at
            for ref, at in self.today[peer.mailbox_id]:
                recent[peer.mailbox_id, ref] = at
        return recent

    def _note(self, binding: Binding, wishes: dict[UUID, Wish]) -> None:
        slot, peer = binding.slot, binding.peer
        self.bound += 1
        self.taken[peer.mailbox_id, binding.peer_day] += 1
        if binding.wish:
            del wishes[binding.wish.inbound_id]
            return
        self.threads += 1
        self.others += binding.reason.startswith("other provider")
        self.today[slot.mailbox_id].append((peer.ref, slot.due_at))
        if self._rng.random() < REPLY:
            id_ = UUID(int=self._rng.getrandbits(128))
            at = slot.due_at + HOUR * (1 + 5 * self._rng.random())
            wishes[id_] = Wish(peer.workspace_id, peer.mailbox_id, id_, at, str(slot.mailbox_id))

    def fullest(self) -> float:
        """How full the fullest mailbox is; replies may go beyond its places."""
        places = {peer.mailbox_id: peer.places for party in self.parties for peer in party}
        return round(max(100 * n / places[id_] for (id_, _), n in self.taken.items()), 1)


def _parties(peers: Sequence[Peer]) -> Iterator[list[Peer]]:
    """Small workspaces together up to so many mailboxes as have the slots; the network as one."""
    network = [peer for peer in peers if peer.in_network]
    if network:
        yield network
    party: list[Peer] = []
    for peer in (peer for peer in peers if not peer.in_network):
        is_new = not party or party[-1].workspace_id != peer.workspace_id
        if is_new and len(party) * 2 >= PARTY_SLOTS:
            yield party
            party = []
        party.append(peer)
    if party:
        yield party


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench.planning", description=__doc__)
    parser.add_argument("--one", nargs=2, required=True, metavar=("SHAPE", "MAILBOXES"))
    shape, count = parser.parse_args().one
    print(json.dumps(one_size(shape, int(count))))


if __name__ == "__main__":
    main()
