"""What the pure middle is given: rows of the database as its values."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from functools import lru_cache
from typing import Any
from uuid import UUID
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import structlog

from mailhearth_core.errors import InvalidValue
from mailhearth_core.warmup.matching import Peer
from mailhearth_core.warmup.policy import Policy

log = structlog.get_logger()


def peers_of(rows: Iterable[Mapping[str, Any]], *, expected: bool = False) -> list[Peer]:
    """The mailboxes of the peering snapshot (see `peer_of`).

    A row that makes no sense takes no part; it must not hold up the other tenants.
    """
    peers = []
    for row in rows:
        try:
            ZoneInfo(row["timezone"])
            peers.append(peer_of(row, expected=expected))
        except (InvalidValue, ZoneInfoNotFoundError, ValueError, TypeError) as error:
            _tell_once(row["mailbox_id"], repr(error))
    return peers


@lru_cache(maxsize=1024)
def _tell_once(mailbox_id: UUID, reason: str) -> None:
    log.error("mailbox_makes_no_sense", mailbox_id=str(mailbox_id), reason=reason)


def policy_of(data: Mapping[str, Any]) -> Policy:
    """A stored policy; parsed once for all mailboxes of its pool."""
    return _parsed(json.dumps(data, sort_keys=True))


@lru_cache(maxsize=512)
def _parsed(text: str) -> Policy:
    return Policy.from_json(json.loads(text))


def peer_of(row: Mapping[str, Any], *, expected: bool = False) -> Peer:
    """A mailbox of the peering snapshot.

    Args:
        expected: count a mailbox that is about to sign in for the first time as accepting: a pool
            that was just set up is sized for the peers it will have in a moment.
    """
    return Peer(
        mailbox_id=row["mailbox_id"],
        workspace_id=row["workspace_id"],
        pool_id=row["pool_id"],
        scope=row["scope"],
        network_consent=row["network_consent"],
        address=row["address"],
        display_name=row["display_name"],
        domain=row["domain"],
        provider=row["provider"],
        accepts=row["accepts"] or (expected and row["connecting"]),
        timezone=row["timezone"],
        policy=policy_of(row["policy"]),
        volume=row["volume"],
    )
