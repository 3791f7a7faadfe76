"""The two clocks, both ports.

*Machine* time is what the computer's clock says: leases, network deadlines, connection attempts,
certificates, logs. *Business* time is what the mailboxes live in: windows, gaps, dwell, replies,
retention, `Date:`. On a real installation both are the same; in a sandbox installation business
time may run faster and stands still while the product is down (`mailhearth_core.storage.clock`).
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Protocol


class Clock(Protocol):
    """Anything that tells a time; always timezone-aware, in UTC."""

    def now(self) -> datetime: ...


class SystemClock:
    """The computer's own clock."""

    def now(self) -> datetime:
        return datetime.now(UTC)


class FixedClock:
    """A clock that tests and pure replays set by hand."""

    def __init__(self, at: datetime) -> None:
        self.at = at

    def now(self) -> datetime:
        return self.at
