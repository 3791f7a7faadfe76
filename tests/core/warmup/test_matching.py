"""Who is bound to whom: the rules that no binding breaks, and what is preferred among the rest."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from itertools import combinations
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mailhearth_core.warmup.matching import (
    Binding,
    Peer,
    Slot,
    Snapshot,
    Wish,
    eligible_peers,
    match,
    may_write,
)
from mailhearth_core.warmup.policy import Policy
from mailhearth_core.warmup.window import local_date

NOON = datetime(2026, 3, 2, 12, tzinfo=UTC)
HOUR = timedelta(hours=1)


def _peer(n: int, **changes: Any) -> Peer:
    peer = Peer(
        mailbox_id=UUID(int=100 + n),
        workspace_id=UUID(int=1),
        pool_id=UUID(int=11),
        scope="pool",
        network_consent=False,
        address=f"m{n}@example.org",
        display_name=f"M {n}",
        domain="example.org",
        provider="imap",
        accepts=True,
        timezone="UTC",
        policy=Policy(pair_gap_hours=24),
        volume=5,
    )
    return replace(peer, **changes)


def _slot(sender: Peer, n: int = 0, after: timedelta = timedelta()) -> Slot:
    return Slot(sender.workspace_id, sender.mailbox_id, UUID(int=10_000 + n), NOON + after)


def _match(
    peers: list[Peer],
    slots: list[Slot],
    wishes: tuple[Wish, ...] = (),
    recent: dict[tuple[UUID, str], datetime] | None = None,
    taken: dict[tuple[UUID, date], int] | None = None,
) -> list[Binding]:
    return match(Snapshot(tuple(peers), tuple(slots), wishes, recent or {}, taken or {}))


ONE, OTHER = UUID(int=1), UUID(int=2)


@pytest.mark.parametrize(
    ("sender", "recipient", "allowed"),
    [
        ({}, {}, True),
        ({}, {"accepts": False}, False),
        ({"accepts": False}, {}, True),
        ({}, {"address": "M0@Example.org"}, False),
        ({}, {"pool_id": UUID(int=12)}, False),
        ({"scope": "workspace"}, {"pool_id": UUID(int=12)}, False),
        ({"scope": "workspace"}, {"pool_id": UUID(int=12), "scope": "network"}, True),
        ({"scope": "workspace"}, {"workspace_id": OTHER, "scope": "network"}, False),
        ({"scope": "network"}, {"workspace_id": OTHER, "scope": "network"}, False),
        (
            {"scope": "network", "network_consent": True},
            {"workspace_id": OTHER, "scope": "network", "network_consent": True},
            True,
        ),
        (
            {"scope": "network", "network_consent": True},
            {"workspace_id": OTHER, "scope": "workspace", "network_consent": True},
            False,
        ),
    ],
)
def test_who_may_write_to_whom(
    sender: dict[str, Any], recipient: dict[str, Any], allowed: bool
) -> None:
    one, other = _peer(0, **sender), _peer(1, **recipient)
    assert may_write(one, other) is allowed
    assert eligible_peers(one, [one, other]) == allowed
    assert len(_match([one, other], [_slot(one)])) == allowed


def test_other_providers_then_domains_then_whom_it_wrote_to_longest_ago() -> None:
    me = _peer(0)
    provider, domain = _peer(1, provider="g", domain="g.example"), _peer(2, domain="b.example")
    fresh, old, older = _peer(3), _peer(4), _peer(5)
    recent = {
        (me.mailbox_id, old.ref): NOON - 30 * HOUR,
        (me.mailbox_id, older.ref): NOON - 60 * HOUR,
    }
    peers = [me, old, older, fresh, domain, provider]
    slots = [_slot(me, n, n * timedelta(minutes=20)) for n in range(5)]
    bindings = _match(peers, slots, recent=recent)
    assert [b.peer for b in bindings] == [provider, domain, fresh, older, old]
    assert [b.reason for b in bindings] == [
        "other provider, other domain, not written to before, 0 of 7 taken",
        "same provider, other domain, not written to before, 0 of 7 taken",
        "same provider, same domain, not written to before, 0 of 7 taken",
        "same provider, same domain, last written to 2 days ago, 0 of 7 taken",
        "same provider, same domain, last written to 1 day ago, 0 of 7 taken",
    ]


def test_the_last_places_are_kept_for_those_who_find_no_other() -> None:
    me, nearly_full, roomy = _peer(0), _peer(1, provider="g"), _peer(2)
    taken = {(nearly_full.mailbox_id, NOON.date()): 6}
    first, second = _match(
        [me, nearly_full, roomy], [_slot(me, 1), _slot(me, 2, HOUR)], taken=taken
    )
    assert (first.peer, second.peer) == (roomy, nearly_full)


def test_an_earlier_slot_moves_so_that_a_later_one_finds_somebody() -> None:
    """The first prefers b, which is all that the second has left."""
    a, b = _peer(1), _peer(2, provider="g")
    first, second = _peer(3), _peer(4)
    recent = {(second.mailbox_id, peer.ref): NOON for peer in (a, first)}
    recent[first.mailbox_id, second.ref] = NOON
    taken = {(b.mailbox_id, NOON.date()): 4}
    b = replace(b, volume=0)  # five places
    a = replace(a, policy=Policy(recipient_floor=1), volume=0)
    bindings = _match([a, b, first, second], [_slot(first, 1), _slot(second, 2, HOUR)],
                      recent=recent, taken=taken)  # fmt: skip
    assert [(x.slot.mailbox_id, x.peer) for x in bindings] == [
        (first.mailbox_id, a),
        (second.mailbox_id, b),
    ]


def test_a_wish_takes_the_first_slot_at_or_after_its_time() -> None:
    me, friend, gone = _peer(0), _peer(1), _peer(2, accepts=False)
    stranger = _peer(3)

    def wish(n: int, peer: Peer | str, after: timedelta) -> Wish:
        ref = peer if isinstance(peer, str) else peer.ref
        return Wish(me.workspace_id, me.mailbox_id, UUID(int=n), NOON + after, ref)

    late, early = wish(1, friend, HOUR), wish(2, friend, -HOUR)
    wishes = (late, early, wish(3, gone, -2 * HOUR), wish(4, "somewhere else", -2 * HOUR))
    slots = [_slot(me, n, n * HOUR / 2) for n in range(4)]
    recent = {(me.mailbox_id, friend.ref): NOON - HOUR}
    taken = {(friend.mailbox_id, NOON.date()): 7}  # full: replies come all the same
    bindings = _match([me, friend, gone, stranger], slots, wishes, recent, taken)
    assert [(b.slot, b.peer, b.wish) for b in bindings] == [
        (slots[0], friend, early),
        (slots[1], stranger, None),
        (slots[2], friend, late),
    ], "the fourth finds nobody: the friend is full, the stranger was just written to"
    assert bindings[0].reason == "reply"


def test_the_ledger_is_that_of_the_recipients_own_date() -> None:
    me, far = _peer(0), _peer(1, timezone="Pacific/Auckland")
    evening = _slot(me, 0, timedelta())  # 01:00 on the next date there
    tomorrow = NOON.date() + timedelta(days=1)
    assert [b.peer_day for b in _match([me, far], [evening])] == [tomorrow]
    assert _match([me, far], [evening], taken={(far.mailbox_id, NOON.date()): 7})
    assert not _match([me, far], [evening], taken={(far.mailbox_id, tomorrow): 7})


@st.composite
def _snapshots(draw: st.DrawFn) -> Snapshot:
    count = draw(st.integers(1, 9))
    peers = [
        _peer(
            n,
            workspace_id=(workspace := draw(st.sampled_from([ONE, OTHER]))),
            pool_id=UUID(int=workspace.int * 10 + draw(st.integers(0, 1))),
            scope=draw(st.sampled_from(["pool", "workspace", "network", "network"])),
            network_consent=draw(st.booleans()),
            address=f"m{draw(st.integers(0, 12))}@example.org",
            domain=draw(st.sampled_from("abc")),
            provider=draw(st.sampled_from("xy")),
            accepts=draw(st.integers(0, 4)) > 0,
            timezone=draw(st.sampled_from(["UTC", "Asia/Tokyo", "America/Denver"])),
            policy=Policy(
                pair_gap_hours=draw(st.sampled_from([24, 30])),
                recipient_floor=draw(st.integers(1, 3)),
            ),
            volume=draw(st.integers(0, 3)),
        )
        for n in range(count)
    ]
    ids = st.sampled_from([peer.mailbox_id for peer in peers])
    minutes = st.integers(-100, 60 * 60)
    slots = [
        replace(_slot(peers[id_.int - 100], n), due_at=NOON + timedelta(minutes=draw(minutes)))
        for n, id_ in enumerate(draw(st.lists(ids, max_size=25)))
    ]
    wishes = [
        Wish(ONE, id_, UUID(int=500 + n), NOON + timedelta(minutes=draw(minutes)), str(draw(ids)))
        for n, id_ in enumerate(draw(st.lists(ids, max_size=8)))
    ]
    recent = {
        (one, str(other)): NOON + timedelta(minutes=draw(st.integers(-3000, 0)))
        for one, other in draw(st.lists(st.tuples(ids, ids), max_size=12))
    }
    days = st.sampled_from([NOON.date() + timedelta(days=n) for n in range(3)])
    taken = draw(st.dictionaries(st.tuples(ids, days), st.integers(0, 5), max_size=10))
    return Snapshot(tuple(peers), tuple(slots), tuple(wishes), recent, taken)


@given(snapshot=_snapshots(), chance=st.randoms(use_true_random=False))
@settings(max_examples=300, deadline=None)
def test_no_binding_breaks_a_rule_and_the_order_of_rows_is_nothing(
    snapshot: Snapshot, chance: Any
) -> None:
    bindings = match(snapshot)
    peers = {peer.mailbox_id: peer for peer in snapshot.peers}
    assert len({b.slot for b in bindings}) == len(bindings)
    wishes = [b.wish for b in bindings if b.wish]
    assert len(set(wishes)) == len(wishes)
    assert [b.slot.due_at for b in bindings] == sorted(b.slot.due_at for b in bindings)

    ledger = Counter(snapshot.taken)
    for b in bindings:
        assert may_write(peers[b.slot.mailbox_id], b.peer)
        assert b.peer_day == local_date(b.slot.due_at, b.peer.timezone)
        ledger[b.peer.mailbox_id, b.peer_day] += 1
    threads = [b for b in bindings if not b.wish]
    for b in threads:
        sender = peers[b.slot.mailbox_id]
        assert ledger[b.peer.mailbox_id, b.peer_day] <= b.peer.places
        last = snapshot.recent.get((sender.mailbox_id, b.peer.ref))
        assert last is None or b.slot.due_at - last >= timedelta(hours=sender.policy.pair_gap_hours)
    for one, other in combinations(threads, 2):
        if (one.slot.mailbox_id, one.peer) == (other.slot.mailbox_id, other.peer):
            gap = timedelta(hours=peers[one.slot.mailbox_id].policy.pair_gap_hours)
            assert other.slot.due_at - one.slot.due_at >= gap
    for b in bindings:
        if b.wish:
            assert b.wish.mailbox_id == b.slot.mailbox_id
            assert b.wish.peer_ref == b.peer.ref
            assert b.wish.reply_at <= b.slot.due_at

    # A slot is left alone only if nobody could take it as things stand.
    for slot in set(snapshot.slots) - {b.slot for b in bindings}:
        sender = peers[slot.mailbox_id]
        gap = timedelta(hours=sender.policy.pair_gap_hours)
        for peer in filter(lambda peer: may_write(sender, peer), peers.values()):
            last = snapshot.recent.get((sender.mailbox_id, peer.ref))
            rested = last is None or slot.due_at - last >= gap
            clear = all(
                abs(b.slot.due_at - slot.due_at) >= gap
                for b in threads
                if (b.slot.mailbox_id, b.peer) == (slot.mailbox_id, peer)
            )
            day = local_date(slot.due_at, peer.timezone)
            full = ledger[peer.mailbox_id, day] >= peer.places
            assert not (rested and clear) or full

    def shuffled(rows: tuple[Any, ...]) -> tuple[Any, ...]:
        return tuple(chance.sample(rows, len(rows)))

    again = Snapshot(
        shuffled(snapshot.peers),
        shuffled(snapshot.slots),
        shuffled(snapshot.wishes),
        dict(shuffled(tuple(snapshot.recent.items()))),
        dict(shuffled(tuple(snapshot.taken.items()))),
    )
    assert match(again) == bindings


@given(seed=st.integers(0, 10**6), lists=st.lists(st.sets(st.integers(0, 5)), max_size=6))
@settings(max_examples=200, deadline=None)
def test_as_many_slots_as_possible_find_a_peer(seed: int, lists: list[set[int]]) -> None:
    """Six recipients with one place each; each sender may write to the given ones only."""
    one_place = Policy(pair_gap_hours=24, recipient_floor=1)
    hosts = [_peer(n, policy=one_place, volume=0, provider="xy"[n % 2]) for n in range(6)]
    senders = [_peer(20 + n, accepts=False) for n in range(len(lists))]
    recent = {
        (sender.mailbox_id, host.ref): NOON
        for sender, wanted in zip(senders, lists, strict=True)
        for n, host in enumerate(hosts)
        if n not in wanted
    }
    slots = [_slot(sender, seed + n, n * timedelta(minutes=7)) for n, sender in enumerate(senders)]
    bindings = _match([*hosts, *senders], slots, recent=recent)
    # Hall: what k senders may write to together bounds how many of them can be served.
    deficit = max(
        (
            size - len(set().union(*some))
            for size in range(1, len(lists) + 1)
            for some in combinations(lists, size)
        ),
        default=0,
    )
    assert len(bindings) == len(lists) - max(0, deficit)
