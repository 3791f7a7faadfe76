"""What providers say of themselves, cached: endpoints (OpenID Connect Discovery 1.0) and keys."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from threading import Lock
from typing import Any, Generic, TypeVar, cast
from urllib.parse import urlsplit

from joserfc.errors import JoseError
from joserfc.jwk import KeySet

from mailhearth_core.errors import MailhearthError
from mailhearth_core.net import Dialer
from mailhearth_core.settings import is_loopback
from mailhearth_web.openid.http import get_json
from mailhearth_web.openid.providers import Provider

FRESH_SECONDS = 3600
"""How long a document is used before it is asked for again."""
KEPT_SECONDS = 24 * 3600
"""How long the last good one serves while a newer one cannot be had."""
PAUSE_SECONDS = 60
"""Between two questions that failed, and between two for a key that was not there."""
ALGORITHMS = frozenset(
    f"{family}{size}" for family in ("RS", "PS", "ES") for size in (256, 384, 512)
) | {"EdDSA", "Ed25519"}
"""Signatures with a public key. None by a shared secret, and never "none"."""

T = TypeVar("T")


class WrongDocument(MailhearthError):
    """A provider's discovery document or key set does not fit its issuer."""

    code = "provider_document"


@dataclass(frozen=True, slots=True)
class Metadata:
    """The part of a discovery document that signing in needs.

    Attributes:
        userinfo_endpoint: empty where there is none.
        names_itself: every answer of the provider carries `iss` (RFC 9207).
        client_auth: methods of the token endpoint; `client_secret_basic` where it lists none.
    """

    issuer: str
    authorization_endpoint: str
    token_endpoint: str
    jwks_uri: str
    userinfo_endpoint: str
    names_itself: bool
    client_auth: frozenset[str]
    algorithms: frozenset[str]


@dataclass(slots=True)
class _Kept(Generic[T]):
    """One cached document."""

    value: T | None = None
    got_at: float = 0.0
    tried_at: float | None = None


class Discovery:
    """The providers' documents; safe to share among threads.

    Args:
        monotonic: seconds, for tests of the cache.
    """

    def __init__(self, dialer: Dialer, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self._dialer = dialer
        self._now = monotonic
        self._lock = Lock()
        self._metadata: dict[str, _Kept[Metadata]] = {}
        self._keys: dict[str, _Kept[KeySet]] = {}

    def metadata(self, provider: Provider) -> Metadata:
        """The provider's endpoints.

        Raises:
            MailhearthError: they cannot be had; or the document is not this issuer's.
        """
        kept = self._kept(self._metadata, provider)
        return self._current(kept, lambda: self._ask(provider))

    def keys(self, provider: Provider, *, missing: bool = False) -> KeySet:
        """The keys that the provider signs with.

        Args:
            missing: the set at hand lacks a key that was named: ask again, once a minute at most.
        """
        kept = self._kept(self._keys, provider)
        uri = self.metadata(provider).jwks_uri
        if missing and (kept.tried_at is None or self._now() - kept.tried_at > PAUSE_SECONDS):
            kept.got_at = self._now() - FRESH_SECONDS - 1
            kept.tried_at = None
        return self._current(kept, lambda: self._ask_keys(uri))

    def _kept(self, among: dict[str, _Kept[T]], provider: Provider) -> _Kept[T]:
        with self._lock:
            return among.setdefault(provider.issuer, _Kept())

    def _current(self, kept: _Kept[T], ask: Callable[[], T]) -> T:
        # Two threads may ask at once, which costs a request; none waits for another's.
        now = self._now()
        if kept.value is not None:
            rests = kept.tried_at is not None and now - kept.tried_at < PAUSE_SECONDS
            age = now - kept.got_at
            if age < FRESH_SECONDS or (rests and age < KEPT_SECONDS):
                return kept.value
        kept.tried_at = now
        try:
            value = ask()
        except MailhearthError:
            if kept.value is not None and now - kept.got_at < KEPT_SECONDS:
                return kept.value
            raise
        kept.value, kept.got_at = value, now
        return value

    def _ask(self, provider: Provider) -> Metadata:
        url = provider.issuer.rstrip("/") + "/.well-known/openid-configuration"
        return read_metadata(get_json(url, self._dialer), provider.issuer)

    def _ask_keys(self, uri: str) -> KeySet:
        told = get_json(uri, self._dialer)
        keys = told.get("keys")
        if not isinstance(keys, list):
            raise WrongDocument(f"{uri} is no set of keys.")
        # A set may hold kinds of keys that are unknown here (RFC 7517 section 5).
        usable = [key for key in keys if isinstance(key, dict) and _known(key)]
        return KeySet.import_key_set(cast(Any, {"keys": usable}))


def read_metadata(document: dict[str, Any], issuer: str) -> Metadata:
    """Checks a discovery document.

    Raises:
        WrongDocument: it names another issuer, or lacks an endpoint that can be used.
    """
    if document.get("issuer") != issuer:
        raise WrongDocument(
            f"The provider at {issuer} calls itself {document.get('issuer')!r}.",
            hint="Write the issuer as the provider does, its last slash included.",
        )
    listed = document.get("id_token_signing_alg_values_supported")
    algorithms = ALGORITHMS & _texts(listed) if listed is not None else frozenset(("RS256",))
    if not algorithms:
        raise WrongDocument(f"{issuer} offers no signature with a public key.")
    auth = document.get("token_endpoint_auth_methods_supported")
    return Metadata(
        issuer=issuer,
        authorization_endpoint=_address(document, "authorization_endpoint"),
        token_endpoint=_address(document, "token_endpoint"),
        jwks_uri=_address(document, "jwks_uri"),
        userinfo_endpoint=_address(document, "userinfo_endpoint", needed=False),
        names_itself=document.get("authorization_response_iss_parameter_supported") is True,
        client_auth=_texts(auth) if auth is not None else frozenset(("client_secret_basic",)),
        algorithms=algorithms,
    )


def _known(key: dict[str, Any]) -> bool:
    if key.get("use", "sig") != "sig" or key.get("kty") == "oct":
        return False
    try:
        KeySet.import_key_set(cast(Any, {"keys": [key]}))
    except (JoseError, ValueError, TypeError, KeyError):
        return False
    return True


def _texts(value: object) -> frozenset[str]:
    if not isinstance(value, list):
        return frozenset()
    return frozenset(item for item in value if isinstance(item, str))


def _address(document: dict[str, Any], name: str, *, needed: bool = True) -> str:
    value = document.get(name)
    if value is None and not needed:
        return ""
    try:
        url = urlsplit(value if isinstance(value, str) else "")
    except ValueError:
        url = urlsplit("")
    secure = url.scheme == "https" or (url.scheme == "http" and is_loopback(url.hostname))
    if not secure or not url.hostname or url.fragment:
        raise WrongDocument(f"{document.get('issuer')} names no {name} that can be used.")
    return str(value)
