"""What the pages call states, steps and providers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from mailhearth_core.verbs.dashboard import STATES

STANDINGS: Mapping[str, str] = {
    "warming": "warming",
    "connecting": "connecting",
    "paused": "paused",
    "needs_reauth": "sign in again",
    "quarantined": "quarantined",
    "blocked": "blocked",
    "without_consent": "no consent",
}
assert set(STANDINGS) == set(STATES)
LOOKS = {"connecting": "pending", "without_consent": "off"}
"""Where a badge wears another state's sign."""

SIDES = {"imap": "Reading (IMAP)", "smtp": "Sending (SMTP)"}
STEPS = {
    "resolve": "Find the server",
    "connect": "Connect",
    "tls": "Encrypt",
    "login": "Sign in",
    "folders": "Look at the folders",
}
SEARCH = {
    "find.mx": "Ask where its mail goes",
    "find.autoconfig": "Ask for published settings",
    "find.names": "Try the usual names",
}
OTHERS = {
    "credential": "Open the password",
    "consent": "Check the consent",
    "consent.exchange": "Exchange the consent",
    "consent.account": "Check the account",
}


@dataclass(frozen=True)
class Shown:
    """A step as a page shows it; `state` is ok, failed or pending."""

    title: str
    state: str
    detail: str
    hint: str


def steps(attempt_steps: Sequence[Mapping[str, Any]]) -> list[Shown]:
    """Steps that have ended, in order."""
    return [
        Shown(_title(step["name"]), "ok" if step["ok"] else "failed", step["detail"], step["hint"])
        for step in attempt_steps
    ]


def _title(name: str) -> str:
    if name in SEARCH or name in OTHERS:
        return SEARCH.get(name) or OTHERS[name]
    side, _, stage = name.partition(".")
    return f"{SIDES.get(side, side)}: {STEPS.get(stage, stage).lower()}"
