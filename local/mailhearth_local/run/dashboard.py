"""The dashboard of `mailhearth up`: where it is, and the one-time link that signs in to it."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from pathlib import Path

from mailhearth_core.errors import Conflict, InvalidValue
from mailhearth_core.secrets import Secret
from mailhearth_core.settings import is_loopback
from mailhearth_core.storage.doors import Database
from mailhearth_core.verbs.wishes import Actor
from mailhearth_local.embedded.folder import LOOPBACK, remembered_port
from mailhearth_local.services.sign_in import dashboard_url, make_link

PREFERRED_PORT = 8787
LINK_LIFE = timedelta(hours=1)
"""Of the link that is printed at the start; `mailhearth sign-in link` makes others."""


class Dashboard:
    """What the supervisor tells of the web process.

    Args:
        environ: of `up`: MAILHEARTH_WEB_PORT, MAILHEARTH_PUBLIC_URL and the providers matter.
    Raises:
        InvalidValue: one of them is malformed.
    """

    def __init__(self, data: Path, environ: Mapping[str, str]) -> None:
        self._port_file = data / "ports" / "dashboard"
        self._public_url = environ.get("MAILHEARTH_PUBLIC_URL", "").rstrip("/")
        given = environ.get("MAILHEARTH_WEB_PORT", "")
        if given and not (given.isdigit() and 0 < int(given) <= 65535):
            raise InvalidValue("MAILHEARTH_WEB_PORT", given, "a port from 1 to 65535")
        self._given_port = int(given or 0)
        self._port = 0
        self.allows_links = _allows_links(environ)
        self.link = Secret("")

    @property
    def url(self) -> str:
        """The address that people open."""
        return self._public_url or f"http://{LOOPBACK}:{self._port}"

    def choose_port(self) -> int:
        """The one given; else this folder's own, which stays the same as long as it is free."""
        self._port_file.parent.mkdir(mode=0o700, exist_ok=True)
        self._port = self._given_port or remembered_port(self._port_file, preferred=PREFERRED_PORT)
        return self._port

    def make_link(self, cli: Database) -> None:
        """Makes the one-time link, where people do not sign in with a provider."""
        if self.allows_links:
            actor = Actor("mailhearth up", "cli")
            self.link = make_link(cli, self.url, actor, life=LINK_LIFE).url

    def lines(self) -> list[str]:
        """What the person at the terminal needs."""
        found = [f"Dashboard: {self.url}"]
        if self.link:
            found.append(f"Sign in once, within an hour: {self.link.reveal()}")
        return found


def _allows_links(environ: Mapping[str, str]) -> bool:
    if not is_loopback(environ.get("MAILHEARTH_WEB_HOST", LOOPBACK)):
        return False
    try:
        dashboard_url(environ)
    except Conflict:
        return False
    return True
