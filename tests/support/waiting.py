"""Waiting for a condition, with a deadline, instead of sleeping for a guess."""

from __future__ import annotations

import time
from collections.abc import Callable
from threading import Event


def wait_for(condition: Callable[[], object], seconds: float = 15.0) -> None:
    """Returns when the condition holds; fails at the deadline."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, "the condition did not come true in time"
        Event().wait(0.02)
