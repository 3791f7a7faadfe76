"""Values and errors of OAuth: clients, grants, what an endpoint answered."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

from mailhearth_core.mail.model import FailureKind, MailError, Stage
from mailhearth_core.secrets import Secret

SCOPES: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # Google, "OAuth 2.0 Mechanism" for IMAP and SMTP: one scope opens both.
        "gmail": ("https://mail.google.com/",),
        # Microsoft Learn, "Authenticate an IMAP, POP or SMTP connection using OAuth".
        "outlook": (
            "https://outlook.office.com/IMAP.AccessAsUser.All",
            "https://outlook.office.com/SMTP.Send",
        ),
    }
)
"""What a mailbox of each provider must have been granted to be read and sent from."""
OWNERS: Mapping[str, str] = MappingProxyType({"gmail": "Google", "outlook": "Microsoft"})
"""Whose sign-in it is, by provider."""


@dataclass(frozen=True, slots=True)
class OAuthClient:
    """This installation as the provider knows it.

    Attributes:
        provider: the slice, `gmail` or `outlook`.
        secret: empty for a public client (Microsoft allows one).
    """

    provider: str
    token_endpoint: str
    client_id: str
    secret: Secret


@dataclass(frozen=True, slots=True)
class OAuthGrant:
    """What an owner's consent came to: a refresh token, and where alone it may be sent."""

    provider: str
    token_endpoint: str
    client_id: str
    refresh_token: Secret


@dataclass(frozen=True, slots=True)
class TokenAnswer:
    """A good answer of a token endpoint.

    Attributes:
        lifetime_s: seconds the access token is good for.
        refresh_token: the next one, where the endpoint rotates them.
        scopes: what was granted; None when the answer names none, which means "as asked"
            (RFC 6749 section 5.1).
        accounts: the account's names by the answer's identity token, lower case; empty without one.
    """

    access_token: Secret
    lifetime_s: int
    refresh_token: Secret | None
    scopes: frozenset[str] | None
    accounts: frozenset[str]


class GrantRefused(MailError):
    """The grant itself is no good: only its owner can help, by signing in again."""

    def __init__(self, message: str, *, owner: str, code: str = "grant_refused") -> None:
        super().__init__(
            message,
            kind=FailureKind.REAUTHENTICATE,
            stage=Stage.LOGIN,
            code=code,
            hint=f'Connect the mailbox again with "Sign in with {owner}".',
        )


def endpoint_trouble(
    message: str, *, code: str, hint: str = "", permanent: bool = False
) -> MailError:
    """A failure that says nothing about the grant: never a strike against the mailbox.

    Args:
        permanent: nothing changes until the installation's settings do.
    """
    return MailError(
        message,
        kind=FailureKind.PERMANENT if permanent else FailureKind.TRY_LATER,
        stage=Stage.LOGIN,
        code=code,
        hint=hint or "Nothing to do: it is tried again later.",
    )
