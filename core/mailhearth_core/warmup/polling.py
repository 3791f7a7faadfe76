"""When to sign in and look for mail: only when something is expected.

After each send to a mailbox it is looked into about 5 and 20 minutes, 1, 4, 12 and 24 hours later.
The looks of several sends merge, are at least ten minutes apart, and fall on wake slots that all
mailboxes share, so that a small pool's worker can sleep in between.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

OFFSETS = (
    timedelta(minutes=5),
    timedelta(minutes=20),
    timedelta(hours=1),
    timedelta(hours=4),
    timedelta(hours=12),
    timedelta(hours=24),
)
MIN_APART = timedelta(minutes=10)
WAKE_SLOT = timedelta(minutes=5)
FINAL_AFTER = OFFSETS[-1]
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def wake_slot(at: datetime) -> datetime:
    """The first shared wake slot at or after a moment, in UTC."""
    return at.astimezone(UTC) + (_EPOCH - at) % WAKE_SLOT


def next_poll(
    outstanding_sent_at: Sequence[datetime], last_poll: datetime | None, now: datetime
) -> datetime | None:
    """The next look into a mailbox, never before `now`; None when nothing is left to look for.

    Args:
        outstanding_sent_at: when each message that is not found yet left its sender.
        last_poll: when the mailbox was last looked into, or None.
        now: the present moment.
    """
    wanted = [
        due
        for sent_at in outstanding_sent_at
        for due in (sent_at + offset for offset in OFFSETS)
        if last_poll is None or due > last_poll
    ]
    if not wanted:
        return None
    earliest = now if last_poll is None else max(now, last_poll + MIN_APART)
    return wake_slot(max(min(wanted), earliest))


def is_final_scan(sent_at: datetime, now: datetime) -> bool:
    """Whether a scan at `now` may call a message missing: it left 24 hours ago or more."""
    return now - sent_at >= FINAL_AFTER
