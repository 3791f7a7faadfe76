"""What to do about what is in a mailbox's way, as a link into the dashboard.

The hints of `blockers` name commands of the command line; here the same codes lead to pages.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from uuid import UUID

from flask import current_app, url_for


@dataclass(frozen=True)
class Remedy:
    """Words, and where they lead; `url` is empty where time alone mends it."""

    text: str
    url: str = ""


def remedies(code: str, mailbox_id: UUID, domain: str = "") -> Remedy | None:
    """What mends a blocker; None when nothing is to be done."""
    make = _MADE.get(code)
    return make(mailbox_id, domain) if make else None


def _settings(text: str) -> Callable[[UUID, str], Remedy]:
    return lambda mailbox, _: Remedy(text, _url("mailboxes.settings", mailbox=mailbox))


def _wait(text: str) -> Callable[[UUID, str], Remedy]:
    return lambda _mailbox, _domain: Remedy(text)


def _dns(_mailbox: UUID, domain: str) -> Remedy:
    if domain:
        return Remedy("Look at its DNS", _url("dns.show", domain=domain))
    return Remedy("Look at its DNS", _url("dns.index"))


def _url(endpoint: str, **values: object) -> str:
    if endpoint not in current_app.view_functions:
        return ""
    return url_for(endpoint, **values)  # type: ignore[arg-type]


_MADE: dict[str, Callable[[UUID, str], Remedy]] = {
    "no_consent": _settings("Agree to warmup"),
    "paused": _settings("Resume it"),
    "quarantined": _wait("It goes on by itself when its days are over."),
    "blocked": _settings("Find out why, then resume it: that is the review"),
    "excluded": _settings("Connect it again"),
    "needs_reauth": _settings("Connect it again"),
    "last_error": _settings("Test the connection"),
    "not_connected": _wait("A worker signs in within a minute."),
    "domain_blocked": _dns,
    "pool_too_small": lambda _m, _d: Remedy("Connect more mailboxes", _url("mailboxes.connect")),
}
