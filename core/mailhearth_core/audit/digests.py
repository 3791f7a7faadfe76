"""What an audit event's digest covers, byte by byte; `docs/audit.md` describes it for auditors.

Each field that may hold personal details has a salt and a digest of its own. The chain covers the
digest, so value and salt can be erased for good while every link still holds; without the salt
nobody can guess the value back.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from uuid import UUID

SALT_BYTES = 32
PERSONAL = ("actor", "subject", "detail")
"""The fields that may be erased."""
ERASED = {"actor": "", "subject": "", "detail": "{}"}
"""What stands in the place of an erased field."""
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

Scope = UUID | None
"""Whose chain: a workspace's, or None for the platform's."""


@dataclass(frozen=True)
class Event:
    """An audit event before it is sealed. `detail` is the JSON text as the database prints it."""

    id: UUID
    action: str
    actor: str
    subject: str
    detail: str
    at: datetime


@dataclass(frozen=True)
class Sealed:
    """An event in its place. A salt of None: that field was erased, its digest stays.

    Args:
        salts, digests: one for each of `PERSONAL`, in that order.
    """

    event: Event
    seq: int
    salts: tuple[bytes | None, ...]
    digests: tuple[bytes, ...]
    sealed_at: datetime
    link: bytes


def frame(*parts: bytes) -> bytes:
    """Parts one after another, each led by its length: no two lists give the same bytes."""
    return b"".join(len(part).to_bytes(8, "big") + part for part in parts)


def scope_name(scope: Scope) -> str:
    return str(scope) if scope else "platform"


def time_bytes(at: datetime) -> bytes:
    """Microseconds since 1970, UTC: as exact as the database keeps a time."""
    return ((at - _EPOCH) // timedelta(microseconds=1)).to_bytes(8, "big", signed=True)


def field_digest(name: str, salt: bytes, value: str) -> bytes:
    return _hash("field", name.encode(), salt, value.encode())


def genesis(scope: Scope) -> bytes:
    """The link before a chain's first event."""
    return _hash("genesis", scope_name(scope).encode())


def link(
    before: bytes, seq: int, event: Event, digests: tuple[bytes, ...], sealed_at: datetime
) -> bytes:
    """The link of the event in place `seq` (the first is 1), after the link `before`."""
    return _hash(
        "link",
        before,
        seq.to_bytes(8, "big"),
        event.id.bytes,
        event.action.encode(),
        time_bytes(event.at),
        *digests,
        time_bytes(sealed_at),
    )


def _hash(kind: str, *parts: bytes) -> bytes:
    return hashlib.sha256(frame(b"mailhearth audit 1", kind.encode(), *parts)).digest()
