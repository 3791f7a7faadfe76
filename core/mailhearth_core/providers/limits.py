"""How fast each provider lets one mailbox send, and a pool's policy kept within that.

Planning and sending go by the same numbers. Servers on this machine (a sandbox, a relay of one's
own) have no limits. The limits of a day (500 messages at Gmail, 300 at Outlook.com) are far above
what a policy may ask for. When a provider says itself that it was asked for too much, that is a
`FailureKind.PROVIDER_LIMIT`, and all sends of the mailbox wait.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache

from mailhearth_core.warmup.policy import Policy


@dataclass(frozen=True, slots=True)
class Limits:
    """A provider's ceilings for one mailbox; the product stays below them."""

    messages_per_minute: int
    messages_per_hour: int

    @property
    def gap_seconds(self) -> int:
        """Between two sends: with so long a gap neither a minute nor an hour can hold too many."""
        return max(-(-60 // self.messages_per_minute), -(-3600 // self.messages_per_hour))


CAUTIOUS = Limits(messages_per_minute=2, messages_per_hour=40)
"""For a host that publishes none. Google names a day's limit only (Gmail help, "Limits for sending
mail")."""

LIMITS: Mapping[str, Limits] = {
    # Exchange Online takes 30 a minute (Microsoft Learn, "Exchange Online limits", sending limits),
    # Outlook.com some 300 a day, fewer from a new account (Microsoft support, "Sending limits in
    # Outlook.com"); the servers do not tell the two apart. At this pace 300 take ten hours.
    "outlook": Limits(messages_per_minute=2, messages_per_hour=30),
}
"""By the names of `providers.names`, where a provider differs."""


@lru_cache(maxsize=1024)
def within_limits(policy: Policy, provider: str) -> Policy:
    """The policy with a gap that the provider (by its name) bears; mostly the policy itself."""
    gap = LIMITS.get(provider, CAUTIOUS).gap_seconds
    if policy.min_gap_seconds >= gap:
        return policy
    return policy.model_copy(update={"min_gap_seconds": gap})
