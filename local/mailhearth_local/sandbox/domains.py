"""The sandbox's receiving domains and how hard each is to please. Names end in .test (RFC 6761)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from mailhearth_core.errors import InvalidValue


@dataclass(frozen=True, slots=True)
class Strictness:
    """How a receiving domain treats senders.

    Args:
        unknown_junk: share of an unknown sender's mail that goes to Junk (0..1).
        trusted_junk: the share that remains however good the sender's name is.
        patience: points of goodwill (see `reputation.goodwill`) after which the difference between
            the two has shrunk to 1/e.
        surge: messages more than expected that lie unopened at once until a penalty of 1 - 1/e.
    """

    unknown_junk: float
    trusted_junk: float
    patience: float
    surge: float


PROFILES: Mapping[str, Strictness] = {
    "lenient": Strictness(unknown_junk=0.15, trusted_junk=0.01, patience=5, surge=30),
    "average": Strictness(unknown_junk=0.28, trusted_junk=0.02, patience=6, surge=20),
    "strict": Strictness(unknown_junk=0.42, trusted_junk=0.03, patience=8, surge=12),
}
DEFAULT_PROFILE = "average"
DOMAINS: Mapping[str, str] = {
    "harbour.test": "lenient",
    "meadow.test": "average",
    "summit.test": "strict",
}
"""Domain -> profile, unless the users file says otherwise."""


def strictness(profile: str) -> Strictness:
    """Raises InvalidValue for an unknown name."""
    try:
        return PROFILES[profile]
    except KeyError:
        raise InvalidValue("profile", profile, ", ".join(PROFILES)) from None


def domain_of(address: str) -> str:
    """The part after the last @, in lower case; empty when there is none."""
    return address.rpartition("@")[2].lower() if "@" in address else ""
