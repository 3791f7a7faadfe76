"""What happened to a mailbox, in words."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

CONSENT = {
    "none": "Consent to warmup was withdrawn",
    "workspace": "Consent to warm up within the workspace was given",
    "network": "Consent to warm up with the whole network was given",
}
AUDIT = {
    "mailbox.added": ("The mailbox was connected", "plug-connected"),
    "mailbox.reconnected": ("The mailbox was connected again", "plug-connected"),
    "mailbox.paused": ("It was paused", "player-pause"),
    "mailbox.active": ("It was resumed", "player-play"),
    "mailbox.removed": ("It was removed", "trash"),
    "mailbox.moved": ("It was moved to another pool", "switch-horizontal"),
}
STATES = {
    "healthy": ("It warms up", "flame"),
    "growing": ("It warms up", "flame"),
    "probation": ("It is on probation", "hourglass"),
    "quarantined": ("It went into quarantine", "shield"),
    "blocked": ("It was blocked", "ban"),
    "draining": ("It drains: nothing new is sent", "player-pause"),
    "needs_reauth": ("Signing in began to fail", "key"),
    "excluded": ("It was left out, as signing in kept failing", "key"),
    "off": ("It is off: there is no consent", "circle-minus"),
}
MAIL = {
    "bounced": ("A mail came back", "arrow-back-up"),
    "failed": ("A mail could not be sent", "circle-x"),
    "unconfirmed": ("Whether a mail arrived was never found out", "help"),
}


@dataclass(frozen=True)
class Told:
    """One entry; `by` is the person who did it, if one did."""

    at: datetime
    text: str
    detail: str
    by: str
    icon: str


def told(event: Mapping[str, Any]) -> Told:
    """An event of `mailbox_page.MailboxPage.timeline`."""
    what, text, detail = event["what"], event["text"], event["detail"]
    if what == "consent":
        return Told(event["at"], CONSENT.get(text, text), "", event["actor"], "certificate")
    if what == "state":
        words, icon = STATES.get(text, (f"Its state became {text.replace('_', ' ')}", "activity"))
        return Told(event["at"], words, detail, "", icon)
    if what in MAIL:
        words, icon = MAIL[what]
        return Told(event["at"], f"{words} ({text})" if text else words, detail, "", icon)
    words, icon = AUDIT.get(what, (_plain(what), "notes"))
    return Told(event["at"], words, detail, event["actor"], icon)


def _plain(action: str) -> str:
    return action.removeprefix("mailbox.").replace("_", " ").replace(".", " ").capitalize()
