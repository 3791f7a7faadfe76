"""What settings may fit an address, and what its owner should know before typing a password."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from mailhearth_core.mail.model import Endpoint


class SignIn(StrEnum):
    """What a provider takes from programs."""

    PASSWORD = "password"  # noqa: S105 - the name of a kind
    APP_PASSWORD = "app_password"  # noqa: S105 - likewise
    OAUTH = "oauth"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Suggestion:
    """Settings that may fit.

    Attributes:
        provider: the name people know it by; of a domain's own settings, what it calls itself.
        imap, smtp: None for a provider that offers neither (`sign_in` is `none` then).
        local_username: sign in with what stands before the @ instead of the whole address.
        note: what to do or know first, "" when there is nothing.
        note_url: the provider's own page about it.
        source: where it comes from: `table`, `mx`, `autoconfig` or `guess`.
    """

    provider: str
    imap: Endpoint | None
    smtp: Endpoint | None
    sign_in: SignIn = SignIn.PASSWORD
    local_username: bool = False
    note: str = ""
    note_url: str = ""
    source: str = "table"

    def username(self, address: str) -> str:
        """The name to sign in with."""
        return address.rpartition("@")[0] if self.local_username else address

    def to_json(self) -> dict[str, Any]:
        return {
            "provider": self.provider,
            "imap": _endpoint(self.imap),
            "smtp": _endpoint(self.smtp),
            "sign_in": str(self.sign_in),
            "local_username": self.local_username,
            "note": self.note,
            "note_url": self.note_url,
            "source": self.source,
        }


def _endpoint(endpoint: Endpoint | None) -> dict[str, Any] | None:
    if endpoint is None:
        return None
    return {"host": endpoint.host, "port": endpoint.port, "tls": str(endpoint.tls)}
