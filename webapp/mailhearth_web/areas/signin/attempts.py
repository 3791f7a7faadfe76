"""Authorization requests that wait for their answer, in the session on the server.

Each is found by its `state`, taken out at the first look, and good for ten minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID

import flask

from mailhearth_web.openid.model import Pending

KEY = "sign_ins"
LIFE_SECONDS = 600
KEPT = 5
"""Tabs of one browser in which somebody may be signing in at once."""


@dataclass(frozen=True)
class Attempt:
    """One request.

    Args:
        next: the path to go to afterwards.
        link_to: the person who adds this identity to their account; None for a sign-in.
    """

    pending: Pending
    next: str
    link_to: UUID | None = None


def remember(state: str, attempt: Attempt) -> None:
    """Keeps it; beyond `KEPT` the oldest is forgotten."""
    kept: dict[str, Any] = dict(flask.session.get(KEY, {}))
    kept[state] = {
        "pending": attempt.pending.stored(),
        "next": attempt.next,
        "link_to": str(attempt.link_to) if attempt.link_to else None,
    }
    by_age = sorted(kept, key=lambda name: kept[name]["pending"]["begun_at"])
    flask.session[KEY] = {name: kept[name] for name in by_age[-KEPT:] if name in kept}


def take(state: str, provider: str, *, now: datetime) -> Attempt | None:
    """The attempt of a state, once; None when there is none, or too old, or another provider's."""
    kept: dict[str, Any] = dict(flask.session.get(KEY, {}))
    stored = kept.pop(state, None)
    if stored is None:
        return None
    flask.session[KEY] = kept
    pending = Pending.read(stored["pending"])
    age = now.timestamp() - pending.begun_at
    if pending.provider != provider or not -LIFE_SECONDS < age < LIFE_SECONDS:
        return None
    link_to = stored["link_to"]
    return Attempt(pending, stored["next"], UUID(link_to) if link_to else None)
