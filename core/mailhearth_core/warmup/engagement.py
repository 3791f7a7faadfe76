"""What a reader would do with a message, planned when it is first seen: the deeds and when."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta

from mailhearth_core.warmup.chance import between, stream
from mailhearth_core.warmup.policy import REPLY_BEFORE_END_MINUTES, Policy
from mailhearth_core.warmup.polling import WAKE_SLOT, wake_slot

RESCUE_MINUTES = (2.0, 25.0)
FLAG_MINUTES = (0.0, 10.0)
FILE_MINUTES = (60.0, 720.0)

# How much of the retention may pass, at most, until each deed is done. Only a sandbox keeps mail so
# short that this binds.
_RESCUE_SHARE, _READ_SHARE, _FLAG_SHARE, _FILE_SHARE = 0.2, 0.3, 0.1, 0.7


@dataclass(frozen=True, slots=True)
class Engagement:
    """When each deed is due, in UTC; None for one that is not done."""

    rescue_at: datetime | None
    read_at: datetime | None
    flag_at: datetime | None
    reply_at: datetime | None
    file_at: datetime | None
    expunge_at: datetime | None


def plan_engagement(
    *,
    seed: int,
    policy: Policy,
    placement: str,
    observed_at: datetime,
    auto_submitted: bool,
    turns_left: int,
) -> Engagement:
    """The plan for one message, the same for the same arguments.

    Rescued from junk 2 to 25 minutes after it was seen; read after the policy's dwell; the policy's
    share of read mail flagged within ten minutes; filed 1 to 12 hours after it was read; expunged
    when the retention ends. These fall on wake slots and keep this order, closer together where the
    retention is short. The policy's share of messages is answered, within its reply delays (short
    ones are likelier), not before it is read if the delays allow, and an hour or more before the
    retention ends; a message for which that leaves no time is not answered.

    Args:
        seed: of the message.
        policy: the recipient's.
        placement: inbox, tab, junk or other: where it was first seen.
        observed_at: when.
        auto_submitted: mail that nobody wrote by hand is never answered (RFC 3834, 2).
        turns_left: turns that the conversation still has.
    """
    span = policy.retention_hours * 60.0
    ends = observed_at + timedelta(minutes=span)

    def later(deed: str, bounds: tuple[float, float], most: float, skew: int = 1) -> timedelta:
        """A delay in the bounds (minutes), or in `most` where they go beyond it."""
        low, high = min(bounds[0], most / 2), min(bounds[1], most)
        return timedelta(minutes=between(stream(seed, "engage", deed), low, high, skew=skew))

    def chosen(deed: str, percent: int) -> bool:
        return stream(seed, "whether", deed).random() * 100 < percent

    seen, rescue = observed_at, None
    if placement == "junk":
        rescue = wake_slot(observed_at + later("rescue", RESCUE_MINUTES, span * _RESCUE_SHARE))
        seen = rescue
    dwell = float(policy.read_dwell_min_minutes), float(policy.read_dwell_max_minutes)
    read = wake_slot(seen + later("read", dwell, span * _READ_SHARE, skew=2))
    if rescue is not None:
        read = max(read, rescue + WAKE_SLOT)
    flag = None
    if chosen("flag", policy.flag_percent):
        flag = wake_slot(read + later("flag", FLAG_MINUTES, span * _FLAG_SHARE))
    latest = observed_at + timedelta(minutes=span * _FILE_SHARE)
    file = wake_slot(min(read + later("file", FILE_MINUTES, span * _FILE_SHARE, skew=2), latest))
    file = max(file, (flag or read) + WAKE_SLOT)

    reply = None
    if turns_left > 0 and not auto_submitted and chosen("reply", policy.reply_rate_percent):
        reply = _reply_at(seed, policy, observed_at, read)
    return Engagement(rescue, read, flag, reply, file, wake_slot(ends))


def _reply_at(
    seed: int, policy: Policy, observed_at: datetime, read_at: datetime
) -> datetime | None:
    low = float(policy.reply_delay_min_minutes)
    high = min(
        float(policy.reply_delay_max_minutes),
        policy.retention_hours * 60.0 - REPLY_BEFORE_END_MINUTES,
    )
    if low > high:
        return None
    after_reading = (read_at - observed_at) / timedelta(minutes=1) + 1
    low = min(max(low, after_reading), high)
    delay = between(stream(seed, "engage", "reply"), low, high, skew=3)
    return observed_at + timedelta(seconds=int(delay * 60))
