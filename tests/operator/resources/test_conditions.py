"""Conditions are written when their meaning changes, and only then."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from custom_resources import Resources
from mailhearth_operator.resources.conditions import MAX_MESSAGE, Condition, merged, ready

AT = datetime(2026, 3, 2, 10, tzinfo=UTC)
KEYS = Condition("KeysReady", "True", "Active", "Key version 1 is active.")
LOST = Condition("KeysReady", "False", "KeysMissing", "Key version 1 is gone: restore its Secret.")
WORKERS = Condition("WorkersAvailable", "Unknown", "Asleep", "Nothing is due.")


def test_nothing_changes_where_nothing_changed() -> None:
    first = merged([], [KEYS, WORKERS], generation=1, at=AT)
    later = merged(first, [WORKERS, KEYS], generation=1, at=AT + timedelta(hours=1))
    assert later == first
    moved = merged(first, [LOST, WORKERS], generation=2, at=AT + timedelta(hours=1))
    assert [one["lastTransitionTime"] for one in moved] == [
        "2026-03-02T11:00:00Z",
        "2026-03-02T10:00:00Z",
    ]
    assert {one["observedGeneration"] for one in moved} == {2}
    # Another message of the same status is no transition.
    told = Condition("KeysReady", "False", "KeysMissing", "Two versions are gone.")
    again = merged(moved, [told, WORKERS], generation=2, at=AT + timedelta(hours=2))
    assert again[0]["message"] == "Two versions are gone."
    assert again[0]["lastTransitionTime"] == "2026-03-02T11:00:00Z"


def test_what_others_keep_there_stays() -> None:
    others: dict[str, Any] = {"type": "Healthy", "status": "True", "reason": "Seen"}
    made = merged([others], [KEYS], generation=1, at=AT)
    assert made[0] == others
    assert made[1]["type"] == "KeysReady"


def test_ready_says_what_is_waited_for() -> None:
    assert ready([KEYS]).status == "True"
    assert ready([KEYS, LOST, WORKERS]) == Condition("Ready", "False", "KeysMissing", LOST.message)
    assert ready([WORKERS, LOST]).status == "Unknown"


def test_the_api_server_takes_them(resources: Resources) -> None:
    long = Condition("SpecValid", "False", "Refused", "\u00e9" * MAX_MESSAGE)
    parts = [KEYS, long]
    made = merged([], [ready(parts), *parts], generation=1, at=AT)
    resources.created("Workspace", "acme", {})
    written = resources.patch("Workspace", "acme", {"status": {"conditions": made}}, "status")
    assert written.ok, written.message
    assert written.body["status"]["conditions"] == made
