"""Asking an owner for consent: where to send the browser, and what must come back with it.

RFC 6749 section 4.1 with PKCE (RFC 7636, S256). The verifier stays on the server; the state names
the one answer that is waited for.
"""

from __future__ import annotations

import base64
import hashlib
import secrets
from collections.abc import Mapping
from types import MappingProxyType
from urllib.parse import urlencode

from mailhearth_core.oauth.model import SCOPES

_ASKED: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        # `openid email` so that the answer names the account that was chosen.
        "gmail": ("openid", "email"),
        # `offline_access` is what makes Microsoft give a refresh token.
        "outlook": ("openid", "email", "profile", "offline_access"),
    }
)
_MORE: Mapping[str, Mapping[str, str]] = MappingProxyType(
    {
        # Google gives a refresh token for `offline` only, and again only after `consent`.
        "gmail": {"access_type": "offline", "prompt": "consent"},
        "outlook": {"prompt": "select_account"},
    }
)


def new_secret() -> str:
    """A state or a verifier: 256 random bits, 43 characters that both may hold."""
    return secrets.token_urlsafe(32)


def challenge(verifier: str) -> str:
    """Of a verifier, by the method S256."""
    digest = hashlib.sha256(verifier.encode()).digest()
    return base64.urlsafe_b64encode(digest).rstrip(b"=").decode()


def authorization_url(
    endpoint: str,
    provider: str,
    *,
    client_id: str,
    redirect_uri: str,
    state: str,
    verifier: str,
    address: str,
) -> str:
    """Where the owner of `address` says yes or no. Asks for the least that reads and sends mail."""
    parameters = {
        "response_type": "code",
        "client_id": client_id,
        "redirect_uri": redirect_uri,
        "scope": " ".join((*_ASKED[provider], *SCOPES[provider])),
        "state": state,
        "code_challenge": challenge(verifier),
        "code_challenge_method": "S256",
        "login_hint": address,
        **_MORE[provider],
    }
    return f"{endpoint}{'&' if '?' in endpoint else '?'}{urlencode(parameters)}"
