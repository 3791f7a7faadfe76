"""The step that matches: binds the peers of the sends of the next two hours."""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any
from uuid import UUID

import structlog
from psycopg.types.json import Jsonb

from mailhearth_core.content import InvalidContent, Library, builtin, parse_library
from mailhearth_core.ids import uuid7
from mailhearth_core.mail.compose import new_message_id, reply_subject
from mailhearth_core.storage.doors import Connection
from mailhearth_core.storage.named import named
from mailhearth_core.warmup.matching import Binding, Peer, Slot, Snapshot, Wish, match
from mailhearth_core.warmup.peering import Audiences
from mailhearth_core.warmup.seating import FEW
from mailhearth_worker.scheduler.snapshot import peers_of

log = structlog.get_logger()
SQL = named("planning")
STORE = named("scheduler")

HORIZON = timedelta(hours=2)
LONGEST_GAP = timedelta(hours=720)
"""The largest pair gap that a policy may name."""
PARTY_SLOTS = 5_000
"""Small workspaces are bound together up to so many waiting slots."""
BATCH = 1_000
"""Bindings that are stored at once."""
OWN_SHARE = 2
"""One in this many threads inside a workspace with a library of its own is taken from it."""


@dataclass
class Party:
    """Workspaces that are bound together: one or more small ones, or all that use the network."""

    workspaces: list[UUID]
    in_network: bool
    slots: int


def bind(conn: Connection, now: datetime) -> int:
    """Binds what can be bound; the number of sends that now have a peer.

    Party by party, so that memory is bounded by the largest: what one was given is in the ledger
    that the next one reads.
    """
    bound = 0
    libraries: dict[UUID, list[Library]] | None = None
    for party in _parties(SQL.waiting_workspaces(conn, until=now + HORIZON)):
        if libraries is None:
            libraries = _libraries(conn)
        bound += _bind_party(conn, now, party, libraries)
    return bound


def _parties(rows: Iterable[Mapping[str, Any]]) -> list[Party]:
    """Groups the workspaces with waiting slots."""
    network = Party([], True, 0)
    small: list[Party] = []
    for row in rows:
        if row["in_network"]:
            party = network
        elif small and small[-1].slots + row["slots"] <= PARTY_SLOTS:
            party = small[-1]
        else:
            party = Party([], False, 0)
            small.append(party)
        party.workspaces.append(row["workspace_id"])
        party.slots += row["slots"]
    return [*small, network] if network.slots else small


def _bind_party(
    conn: Connection, now: datetime, party: Party, libraries: Mapping[UUID, Sequence[Library]]
) -> int:
    until = now + HORIZON
    spaces = party.workspaces
    slots = {
        row["outbound_id"]: row for row in SQL.waiting_slots(conn, until=until, workspaces=spaces)
    }
    wishes = {
        row["inbound_id"]: row for row in SQL.reply_wishes(conn, until=until, workspaces=spaces)
    }
    peers = peers_of(SQL.peering(conn, now=now, workspaces=spaces, network=party.in_network))
    bindings = match(
        Snapshot(
            peers=tuple(peers),
            slots=tuple(
                Slot(
                    row["workspace_id"],
                    row["mailbox_id"],
                    row["outbound_id"],
                    max(row["due_at"], now),  # an overdue one is sent now: gap and room hold then
                )
                for row in slots.values()
            ),
            wishes=tuple(
                Wish(
                    row["workspace_id"],
                    row["mailbox_id"],
                    row["inbound_id"],
                    row["reply_at"],
                    row["peer_ref"],
                )
                for row in wishes.values()
            ),
            recent=_recent(conn, now, peers, {row["mailbox_id"] for row in slots.values()}),
            taken={
                (row["mailbox_id"], row["day"]): row["taken"]
                for row in SQL.recipient_ledger(
                    conn,
                    since=(now - timedelta(days=1)).date(),
                    mailboxes=[peer.mailbox_id for peer in peers if peer.accepts],
                )
            },
        )
    )
    bound = 0
    for start in range(0, len(bindings), BATCH):
        rows = [
            _row(
                binding,
                slots[binding.slot.outbound_id],
                wishes[binding.wish.inbound_id] if binding.wish else None,
                libraries,
            )
            for binding in bindings[start : start + BATCH]
        ]
        bound += int(STORE.bind(conn, bindings=Jsonb(rows)))
        for row in rows:
            log.info(
                "bound",
                workspace_id=row["workspace_id"],
                outbound_id=row["outbound_id"],
                correlation_id=row["correlation_id"],
                kind=row["kind"],
                why=row["reason"],
            )
    return bound


def _recent(
    conn: Connection, now: datetime, peers: Sequence[Peer], senders: Set[UUID]
) -> dict[tuple[UUID, str], datetime]:
    """When each sender last wrote to whom.

    Of a sender with many peers only as far back as its pair gap: among so many it need not matter
    which of them it wrote to longest ago.
    """
    audiences = Audiences(peers)
    few: list[UUID] = []
    many: list[UUID] = []
    gap = timedelta()
    ids: dict[UUID, UUID] = {}  # one object for each mailbox, however many rows name it
    refs: dict[str, str] = {}
    for peer in peers:
        refs[peer.ref] = peer.ref
        if peer.mailbox_id not in senders:
            continue
        ids[peer.mailbox_id] = peer.mailbox_id
        if audiences.count(peer) <= FEW:
            few.append(peer.mailbox_id)
        else:
            many.append(peer.mailbox_id)
            gap = max(gap, timedelta(hours=peer.policy.pair_gap_hours))
    recent = {}
    for mailboxes, reach in ((few, LONGEST_GAP), (many, gap)):
        if not mailboxes:
            continue
        for row in SQL.recent_pairs(conn, since=now - reach, mailboxes=mailboxes):
            ref = refs.get(row["peer_ref"])
            if ref is not None:
                recent[ids[row["mailbox_id"]], ref] = row["last_at"]
    return recent


def _libraries(conn: Connection) -> dict[UUID, list[Library]]:
    """The workspaces' own texts."""
    libraries: dict[UUID, list[Library]] = defaultdict(list)
    for row in STORE.own_libraries(conn):
        library = _own(f"own/{row['id']}", row["source"])
        if library is not None:
            libraries[row["workspace_id"]].append(library)
    return libraries


def _row(
    binding: Binding,
    slot: Mapping[str, Any],
    wish: Mapping[str, Any] | None,
    libraries: Mapping[UUID, Sequence[Library]],
) -> dict[str, Any]:
    """One element of `sched.bind`'s argument."""
    peer = binding.peer
    row: dict[str, Any] = {
        "workspace_id": str(slot["workspace_id"]),
        "outbound_id": str(slot["outbound_id"]),
        "correlation_id": str(slot["correlation_id"]),
        "peer_workspace": str(peer.workspace_id),
        "peer_ref": str(peer.mailbox_id),
        "peer_day": binding.peer_day.isoformat(),
        "peer_address": peer.address,
        "peer_domain": peer.domain,
        "peer_name": peer.display_name,
        "sender_address": slot["address"],
        "sender_name": slot["display_name"],
        "message_id": new_message_id(
            slot["mailbox_seed"], slot["address"], secrets.token_bytes(16)
        ),
        "reason": binding.reason,
    }
    if wish is None:
        library = _library(slot["workspace_id"], peer.workspace_id, libraries)
        seed = secrets.randbits(62)
        return row | {
            "kind": "thread",
            "subject": library.thread(seed).subject,
            "seed": seed,
            "library": library.version,
            "thread_id": str(uuid7()),
            "turn": 0,
            "in_reply_to": None,
            "refs": [],
            "reply_to_inbound": None,
        }
    observed = wish["observed_message_id"]
    return row | {
        "kind": "reply",
        "subject": reply_subject(wish["subject"]),
        "seed": wish["seed"],
        "library": wish["library"],
        "thread_id": str(wish["thread_id"]),
        "turn": wish["turn"] + 1,
        "in_reply_to": observed,
        "refs": [*wish["observed_refs"], observed],
        "reply_to_inbound": str(wish["inbound_id"]),
    }


def _library(
    workspace: UUID, peer_workspace: UUID, libraries: Mapping[UUID, Sequence[Library]]
) -> Library:
    """A workspace's own texts never leave it."""
    own = libraries.get(workspace, ()) if workspace == peer_workspace else ()
    if own and secrets.randbelow(OWN_SHARE) == 0:
        return secrets.choice(own)
    return builtin()


@lru_cache(maxsize=64)
def _own(version: str, source: str) -> Library | None:
    """A workspace's own library; None for one that this version refuses."""
    try:
        return parse_library(source, version)
    except InvalidContent as error:
        log.error("library_refused", library=version, reason=error.message)
        return None
