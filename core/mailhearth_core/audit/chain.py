"""Sealing: events get their places and links, whatever order they arrived in."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from datetime import datetime

from mailhearth_core.audit.digests import (
    PERSONAL,
    SALT_BYTES,
    Event,
    Scope,
    Sealed,
    field_digest,
    genesis,
    link,
)


@dataclass(frozen=True)
class Head:
    """The last place of a chain that is taken."""

    seq: int
    link: bytes


def start(scope: Scope) -> Head:
    """The head of a chain without events."""
    return Head(0, genesis(scope))


def seal(
    head: Head,
    events: Iterable[Event],
    sealed_at: datetime,
    *,
    salt: Callable[[], bytes] = lambda: secrets.token_bytes(SALT_BYTES),
) -> list[Sealed]:
    """The events in the places after `head`. Places follow the order given, not the events' times:
    one that was committed late is sealed late and never lost."""
    sealed: list[Sealed] = []
    for event in events:
        salts = tuple(salt() for _ in PERSONAL)
        values = (event.actor, event.subject, event.detail)
        digests = tuple(
            field_digest(name, grain, value)
            for name, grain, value in zip(PERSONAL, salts, values, strict=True)
        )
        head = Head(head.seq + 1, link(head.link, head.seq + 1, event, digests, sealed_at))
        sealed.append(Sealed(event, head.seq, salts, digests, sealed_at, head.link))
    return sealed
