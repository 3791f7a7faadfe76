"""Chance that can be replayed: a stream of numbers derived from what it is used for.

Only `Random.random()` is drawn, seeded with an integer: Python promises that this sequence never
changes, which it does not for `shuffle`, `choice` or `hash()`.
"""

from __future__ import annotations

import hashlib
from random import Random


def stream(*parts: object) -> Random:
    """A generator whose numbers depend on the parts and their order, and on nothing else.

    Parts are told apart by their `str()`, length-prefixed, so ("ab", "c") differs from ("a", "bc").
    """
    digest = hashlib.sha256()
    for part in parts:
        text = str(part).encode()
        digest.update(len(text).to_bytes(8, "big") + text)
    return Random(int.from_bytes(digest.digest(), "big"))


def between(rng: Random, low: float, high: float, *, skew: int = 1) -> float:
    """A number from low to high (rounding may reach it); with `skew` above 1, near low is likelier.

    The skew is a product of the number with itself: unlike a power with a real exponent, that is
    the same on every machine (IEEE 754).
    """
    number = rng.random()
    share = 1.0
    for _ in range(skew):
        share *= number
    return low + (high - low) * share
