"""The mail servers of the providers that are signed in to with OAuth alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mailhearth_core.mail.model import Endpoint, TlsMode


@dataclass(frozen=True, slots=True)
class OAuthServers:
    """Where an access token may be shown.

    Attributes:
        more_smtp_hosts: hosts of the provider's that take mail besides the usual one.
    """

    owner: str
    imap: Endpoint
    smtp: Endpoint
    more_smtp_hosts: frozenset[str] = frozenset()


SERVERS: Mapping[str, OAuthServers] = MappingProxyType(
    {
        # Google, "IMAP, POP, and SMTP".
        "gmail": OAuthServers(
            "Google",
            Endpoint("imap.gmail.com", 993, TlsMode.IMPLICIT),
            Endpoint("smtp.gmail.com", 465, TlsMode.IMPLICIT),
        ),
        # Microsoft, "POP, IMAP, and SMTP settings for Outlook.com" and "... for Microsoft 365".
        "outlook": OAuthServers(
            "Microsoft",
            Endpoint("outlook.office365.com", 993, TlsMode.IMPLICIT),
            Endpoint("smtp.office365.com", 587, TlsMode.STARTTLS),
            frozenset({"smtp-mail.outlook.com"}),
        ),
    }
)
"""By provider."""
