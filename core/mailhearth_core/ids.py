"""Time-ordered identifiers (RFC 9562, version 7)."""

from __future__ import annotations

import os
import time
from datetime import UTC, datetime
from uuid import UUID


def uuid7() -> UUID:
    """A version 7 UUID: 48 bits of machine milliseconds, then 74 random bits."""
    value = int.from_bytes((time.time_ns() // 1_000_000).to_bytes(6, "big") + os.urandom(10), "big")
    value = (value & ~(0xF << 76)) | (0x7 << 76)
    value = (value & ~(0x3 << 62)) | (0x2 << 62)
    return UUID(int=value)


def uuid7_time(value: UUID) -> datetime:
    """Machine time at which a version 7 UUID was made, to the millisecond."""
    return datetime.fromtimestamp((value.int >> 80) / 1000, UTC)
