"""How a receiving domain decides between INBOX and Junk. Pure: counts in, a probability out.

There is no clock in it: what a sender's earlier messages led to is the only measure, so a demo may
run at any speed. The draw depends on a seed and the message, so a run can be repeated.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass

from mailhearth_local.sandbox.domains import Strictness

RESCUED, REPLIED, READ, KEPT, COMPLAINED = 3.0, 2.0, 1.0, 0.5, -6.0
"""Points of goodwill for one message that was taken out of Junk, answered, opened, filed into a
folder, or put into Junk by the recipient."""
WINDOW = 60
"""How many of a sender's latest messages are looked at for a surge."""
EXPECTED_UNOPENED = 4.0
"""Unopened messages that never count as a surge; half a message more for each that was opened."""


@dataclass(frozen=True, slots=True)
class Evidence:
    """What became of one sender's mail at one receiving domain: counts of messages."""

    rescued: int = 0
    replied: int = 0
    read: int = 0
    kept: int = 0
    complained: int = 0
    unopened: int = 0
    """Of the latest `WINDOW`: neither opened, answered nor rescued (yet)."""


def goodwill(evidence: Evidence) -> float:
    """Points, never negative."""
    return max(
        0.0,
        RESCUED * evidence.rescued
        + REPLIED * evidence.replied
        + READ * evidence.read
        + KEPT * evidence.kept
        + COMPLAINED * evidence.complained,
    )


def surge(evidence: Evidence) -> float:
    """By how many messages the sender exceeds what its readers keep up with."""
    expected = EXPECTED_UNOPENED + min(evidence.read, WINDOW) / 2
    return max(0.0, evidence.unopened - expected)


def junk_probability(evidence: Evidence, domain: Strictness) -> float:
    """0..1: falls from `unknown_junk` to `trusted_junk` with goodwill, rises with a surge."""
    distrust = math.exp(-goodwill(evidence) / domain.patience)
    usual = domain.trusted_junk + (domain.unknown_junk - domain.trusted_junk) * distrust
    return 1 - (1 - usual) * math.exp(-surge(evidence) / domain.surge)


def draw(seed: int, message_id: str, recipient: str) -> float:
    """A number in [0, 1) that the same seed, message and recipient always give."""
    digest = hashlib.sha256(f"{seed}\n{message_id}\n{recipient}".encode()).digest()
    return int.from_bytes(digest[:8], "big") / 2**64


def goes_to_junk(
    evidence: Evidence, domain: Strictness, *, seed: int, message_id: str, recipient: str
) -> bool:
    return draw(seed, message_id, recipient) < junk_probability(evidence, domain)
