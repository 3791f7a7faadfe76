"""Who has a mailbox in the sandbox: a JSON file that may change while the server runs."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from mailhearth_core.errors import InvalidValue
from mailhearth_core.secrets import Secret
from mailhearth_local.embedded.folder import write_atomically
from mailhearth_local.sandbox.domains import (
    DEFAULT_PROFILE,
    DOMAINS,
    Strictness,
    domain_of,
    strictness,
)

log = logging.getLogger(__name__)
USERS_FILE = "users.json"


@dataclass(frozen=True, slots=True)
class DemoUser:
    """A mailbox of the sandbox and the person it pretends to belong to."""

    address: str
    password: Secret
    first_name: str = ""
    last_name: str = ""
    timezone: str = "UTC"


@dataclass(frozen=True)
class Accounts:
    """One reading of the file: users by address (lower case), domains with their profiles."""

    users: Mapping[str, DemoUser] = field(default_factory=dict)
    profiles: Mapping[str, str] = field(default_factory=lambda: dict(DOMAINS))

    def domains(self) -> list[str]:
        """Every domain mail is taken for, sorted."""
        return sorted({*self.profiles, *(domain_of(address) for address in self.users)})

    def strictness(self, domain: str) -> Strictness:
        return strictness(self.profiles.get(domain, DEFAULT_PROFILE))


class AccountsFile:
    """`<data>/users.json`: `{"users": [{"address", "password", ...}], "domains": {name: profile}}`.

    `current()` reads again after a change. A file that has become unreadable leaves the last good
    reading in force and is logged; the first reading raises InvalidValue instead. A missing file
    means no users.
    """

    def __init__(self, data: Path) -> None:
        self.path = data / USERS_FILE
        self._seen: tuple[int, int, int] | None = None
        self._accounts = Accounts()
        if self.path.exists():
            self._seen = self._stamp()
            self._accounts = parse(self.path.read_text())

    def current(self) -> Accounts:
        stamp = self._stamp()
        if stamp != self._seen:
            self._seen = stamp
            try:
                self._accounts = parse(self.path.read_text()) if stamp else Accounts()
            except InvalidValue as error:
                log.error("kept the earlier users: %s", error)
        return self._accounts

    def _stamp(self) -> tuple[int, int, int] | None:
        try:
            about = os.stat(self.path)
        except FileNotFoundError:
            return None
        return about.st_ino, about.st_mtime_ns, about.st_size


def parse(text: str) -> Accounts:
    """Raises InvalidValue, which never shows a password."""
    try:
        raw = json.loads(text)
        users = [_user(item) for item in raw["users"]]
        profiles = {
            **DOMAINS,
            **{str(k).lower(): str(v) for k, v in raw.get("domains", {}).items()},
        }
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"{type(error).__name__} while reading it"
        raise InvalidValue(USERS_FILE, what, 'JSON with "users" (address, password)') from None
    for profile in profiles.values():
        strictness(profile)
    for user in users:
        if not domain_of(user.address) or any(c.isspace() or c == "/" for c in user.address):
            raise InvalidValue("address", user.address, "name@domain")
    return Accounts({user.address: user for user in users}, profiles)


def _user(item: Mapping[str, Any]) -> DemoUser:
    return DemoUser(
        address=str(item["address"]).lower(),
        password=Secret(str(item["password"])),
        first_name=str(item.get("first_name", "")),
        last_name=str(item.get("last_name", "")),
        timezone=str(item.get("timezone", "UTC")),
    )


def write_users(
    data: Path, users: Iterable[DemoUser], profiles: Mapping[str, str] | None = None
) -> None:
    """Replaces the users file (mode 0600); a running sandbox takes it up by itself."""
    data.mkdir(parents=True, exist_ok=True)
    content = {
        "domains": dict(profiles or DOMAINS),
        "users": [
            {
                "address": user.address,
                "password": user.password.reveal(),
                "first_name": user.first_name,
                "last_name": user.last_name,
                "timezone": user.timezone,
            }
            for user in users
        ],
    }
    write_atomically(data / USERS_FILE, json.dumps(content, indent=1) + "\n")
