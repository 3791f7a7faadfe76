"""The people of the demo: twelve mailboxes on three domains, spread over the world's clocks."""

from __future__ import annotations

import hashlib
import secrets
from pathlib import Path

from mailhearth_core.secrets import Secret
from mailhearth_local.sandbox.accounts import USERS_FILE, DemoUser, parse, write_users

_PEOPLE = (
    ("Ines", "Albrecht", "harbour.test", "Europe/Berlin"),
    ("Tomas", "Rydell", "harbour.test", "Europe/Stockholm"),
    ("Priya", "Nair", "harbour.test", "Asia/Kolkata"),
    ("Owen", "Castell", "harbour.test", "America/New_York"),
    ("Mariam", "Haddad", "meadow.test", "Europe/Paris"),
    ("Jun", "Okabe", "meadow.test", "Asia/Tokyo"),
    ("Leila", "Moreau", "meadow.test", "Europe/London"),
    ("Caleb", "Whitlock", "meadow.test", "America/Chicago"),
    ("Sofia", "Duarte", "summit.test", "America/Sao_Paulo"),
    ("Niklas", "Brandt", "summit.test", "Europe/Vienna"),
    ("Ruth", "Adeyemi", "summit.test", "Africa/Lagos"),
    ("Hana", "Kovar", "summit.test", "Europe/Prague"),
)


def password_of(seed: Secret, address: str) -> Secret:
    """The SHA-256 of `seed:address` in hex, as a chart's template can make it, too."""
    return Secret(hashlib.sha256(f"{seed.reveal()}:{address}".encode()).hexdigest())


def demo_users(seed: Secret | None = None) -> list[DemoUser]:
    """Twelve mailboxes, four on each domain; their passwords fresh, or made from a seed."""

    def password(address: str) -> Secret:
        return password_of(seed, address) if seed else Secret(secrets.token_urlsafe(18))

    return [
        DemoUser(
            address=(address := f"{first}.{last}@{domain}".lower()),
            password=password(address),
            first_name=first,
            last_name=last,
            timezone=zone,
        )
        for first, last, domain, zone in _PEOPLE
    ]


def ensure_demo_users(data: Path) -> list[DemoUser]:
    """The users in the sandbox's file; the demo's, written there, when it has none yet."""
    path = data / USERS_FILE
    known = list(parse(path.read_text()).users.values()) if path.exists() else []
    if not known:
        known = demo_users()
        write_users(data, known)
    return known
