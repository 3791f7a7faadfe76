"""Whether the sending window is closed, in the mailbox's own zone."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from mailhearth_core.verbs.blockers import of_window
from mailhearth_core.warmup.policy import Policy

POLICY = Policy.parse({})  # Monday to Friday, 09:00 to 17:00


@pytest.mark.parametrize(
    ("at", "zone", "code"),
    [
        ("2026-03-02T08:59:59", "UTC", "window_not_open"),
        ("2026-03-02T09:00:00", "UTC", None),
        ("2026-03-02T16:59:59", "UTC", None),
        ("2026-03-02T17:00:00", "UTC", "window_closed"),
        ("2026-03-02T14:30:00", "America/New_York", None),
        ("2026-03-02T13:30:00", "America/New_York", "window_not_open"),
        ("2026-03-01T23:30:00", "Asia/Tokyo", "window_not_open"),  # Monday morning there
        ("2026-03-01T12:00:00", "UTC", "rest_day"),
        ("2026-03-06T20:00:00", "Asia/Tokyo", "rest_day"),  # Saturday there
    ],
)
def test_the_window_is_the_mailboxs_own(at: str, zone: str, code: str | None) -> None:
    found = of_window(POLICY, zone, datetime.fromisoformat(at).replace(tzinfo=UTC))
    assert (found and found.code) == code
