"""Values and errors of signing in at a provider. Light: `party`, which does it, loads authlib."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Self

from mailhearth_core.errors import MailhearthError


class SignInRefused(MailhearthError):
    """The answer proves nothing: nobody is signed in by it. `code` says which check failed."""

    code = "sign_in_refused"


class ProviderAway(MailhearthError):
    """The provider cannot be asked at the moment."""

    code = "provider_away"
    permanent = False


@dataclass(frozen=True, slots=True)
class Pending:
    """One authorization request that waits for its answer.

    Attributes:
        begun_at: seconds since 1970.
        fresh: the provider was asked to have the person sign in anew.
    """

    provider: str
    nonce: str
    verifier: str
    redirect_uri: str
    begun_at: int
    fresh: bool = False

    def stored(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def read(cls, stored: Mapping[str, Any]) -> Self:
        return cls(**stored)


@dataclass(frozen=True, slots=True)
class Claims:
    """What a provider vouches for: who it is, and what it says of them.

    Attributes:
        email: lower case; empty where the provider tells none. Never an identity.
        email_verified: the provider has seen that the address is the person's.
    """

    issuer: str
    subject: str
    email: str
    email_verified: bool
    name: str
