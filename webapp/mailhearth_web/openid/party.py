"""The relying party: an authorization request, and what the answer to it proves.

Authorization code with PKCE S256, state and nonce (OpenID Connect Core 3.1; RFC 7636; RFC 9207).
What `begin` returns beside the address is a secret between this server and itself: it goes into the
server-side session, never to the browser, and is used once.
"""

from __future__ import annotations

import secrets
from collections.abc import Mapping
from datetime import datetime
from typing import Any
from urllib.parse import quote

import requests
from authlib.integrations.base_client import OAuthError
from authlib.integrations.requests_client import OAuth2Session
from authlib.oauth2.auth import encode_client_secret_basic
from authlib.oidc.core import CodeIDToken
from joserfc import jwt
from joserfc.errors import ClaimError, InvalidKeyIdError, JoseError
from joserfc.jws import JWSRegistry

from mailhearth_core.errors import MailhearthError
from mailhearth_core.net import Dialer
from mailhearth_web.openid.discovery import Discovery, Metadata
from mailhearth_web.openid.http import issuer_dialer, prepare
from mailhearth_web.openid.model import Claims, Pending, ProviderAway, SignInRefused
from mailhearth_web.openid.providers import Provider

LEEWAY_SECONDS = 60
"""How far the provider's clock may be off."""
MAX_SUBJECT = 255  # OpenID Connect Core 2, "sub"


class RelyingParty:
    """Signs people in at one installation's providers; safe to share among threads."""

    def __init__(self, *, dialer: Dialer | None = None, discovery: Discovery | None = None) -> None:
        self._dialer = dialer or issuer_dialer()
        self.discovery = discovery or Discovery(self._dialer)

    def begin(
        self, provider: Provider, redirect_uri: str, *, now: datetime, fresh: bool = False
    ) -> tuple[str, str, Pending]:
        """The address to send the browser to, its `state`, and what to keep until the answer.

        Args:
            fresh: have the provider ask for the password again, whoever is signed in there.
        Raises:
            ProviderAway: its discovery document cannot be had.
        """
        metadata = self._metadata(provider)
        state, nonce, verifier = (secrets.token_urlsafe(32) for _ in range(3))
        asked: dict[str, str] = {"nonce": nonce}
        if fresh:
            asked["max_age"] = "0"
            if provider.fresh_prompt:
                asked["prompt"] = provider.fresh_prompt
        with self._session(provider, metadata, redirect_uri) as session:
            url, _ = session.create_authorization_url(
                metadata.authorization_endpoint, state=state, code_verifier=verifier, **asked
            )
        pending = Pending(provider.name, nonce, verifier, redirect_uri, int(now.timestamp()), fresh)
        return str(url), state, pending

    def finish(
        self, provider: Provider, pending: Pending, answer: Mapping[str, str], *, now: datetime
    ) -> Claims:
        """What the provider's answer proves.

        Args:
            pending: of the request that `answer`'s state belongs to; used up by this call.
            answer: the parameters the browser brought back.
        Raises:
            SignInRefused: the answer, the code or the token is not good.
            ProviderAway: the provider cannot be asked.
        """
        metadata = self._metadata(provider)
        _check_issuer(answer, metadata)
        if "error" in answer:
            raise _error(provider, answer["error"])
        if not answer.get("code"):
            raise SignInRefused(f"{provider.label} sent no code.", code="no_code")
        with self._session(provider, metadata, pending.redirect_uri) as session:
            token = self._token(session, provider, metadata, pending, answer["code"])
            claims = self._verified(provider, metadata, pending, token, now)
            if not _email(claims) and metadata.userinfo_endpoint:
                claims = self._told(session, provider, metadata, claims)
        return _claims(metadata.issuer, claims)

    # -- steps --------------------------------------------------------------------------------

    def _metadata(self, provider: Provider) -> Metadata:
        try:
            return self.discovery.metadata(provider)
        except MailhearthError as error:
            raise _away(provider, error) from error

    def _session(self, provider: Provider, metadata: Metadata, redirect_uri: str) -> OAuth2Session:
        session = OAuth2Session(
            client_id=provider.client_id,
            client_secret=provider.client_secret.reveal() or None,
            token_endpoint_auth_method=_client_auth(provider, metadata),
            scope=" ".join(provider.scopes),
            redirect_uri=redirect_uri,
            code_challenge_method="S256",
        )
        prepare(session, self._dialer)
        return session

    def _token(
        self,
        session: OAuth2Session,
        provider: Provider,
        metadata: Metadata,
        pending: Pending,
        code: str,
    ) -> Mapping[str, Any]:
        try:
            token = session.fetch_token(
                metadata.token_endpoint,
                grant_type="authorization_code",
                code=code,
                code_verifier=pending.verifier,
            )
        except OAuthError as error:
            if error.error == "invalid_client":
                raise ProviderAway(
                    f"{provider.label} does not accept this installation as its client.",
                    hint="Have the operator check the client id and secret.",
                    code="client_refused",
                ) from None
            raise SignInRefused(
                f"{provider.label} did not accept the code.",
                hint="It may have been used before. Start again.",
                code="code_refused",
            ) from None
        except MailhearthError as error:
            raise _away(provider, error) from error
        except (requests.RequestException, ValueError) as error:
            raise _away(provider, error) from error
        if not isinstance(token, dict) or not isinstance(token.get("id_token"), str):
            raise SignInRefused(f"{provider.label} sent no identity.", code="no_id_token")
        return token

    def _verified(
        self,
        provider: Provider,
        metadata: Metadata,
        pending: Pending,
        token: Mapping[str, Any],
        now: datetime,
    ) -> dict[str, Any]:
        """The ID token's claims, after every check of OpenID Connect Core 3.1.3.7."""
        try:
            decoded = self._decoded(provider, metadata, token["id_token"])
            claims = CodeIDToken(
                decoded.claims,
                decoded.header,
                {
                    "iss": {"essential": True, "value": metadata.issuer},
                    "aud": {"essential": True, "value": provider.client_id},
                    "sub": {"essential": True},
                    "exp": {"essential": True},
                },
                {
                    "nonce": pending.nonce,
                    "client_id": provider.client_id,
                    "access_token": token.get("access_token"),
                },
            )
            claims.validate(now=int(now.timestamp()), leeway=LEEWAY_SECONDS)
        except ClaimError as error:
            raise _bad_token(provider, error.claim) from None
        except (JoseError, ValueError, TypeError) as error:
            raise _bad_token(provider, getattr(error, "error", "") or "form") from None
        if pending.fresh and not _signed_in_anew(claims.get("auth_time"), pending):
            raise SignInRefused(
                f"{provider.label} did not ask you to sign in again.",
                hint="Sign out there, then start again.",
                code="not_fresh",
            )
        return dict(claims)

    def _decoded(self, provider: Provider, metadata: Metadata, text: str) -> jwt.Token:
        registry = JWSRegistry(algorithms=sorted(metadata.algorithms), strict_check_header=False)
        try:
            keys = self.discovery.keys(provider)
            try:
                return jwt.decode(text, keys, registry=registry)
            except InvalidKeyIdError:  # the provider has new keys
                keys = self.discovery.keys(provider, missing=True)
                return jwt.decode(text, keys, registry=registry)
        except MailhearthError as error:
            raise _away(provider, error) from error

    def _told(
        self,
        session: OAuth2Session,
        provider: Provider,
        metadata: Metadata,
        claims: dict[str, Any],
    ) -> dict[str, Any]:
        """The claims with what the provider's UserInfo endpoint adds (OpenID Connect Core 5.3)."""
        try:
            answer = session.request("GET", metadata.userinfo_endpoint)
            told = answer.json() if answer.status_code == 200 else None
        except MailhearthError as error:
            raise _away(provider, error) from error
        except (requests.RequestException, OAuthError, ValueError) as error:
            raise _away(provider, error) from error
        if not isinstance(told, dict):
            return claims
        if told.get("sub") != claims["sub"]:  # 5.3.2: it must not be used then
            raise _bad_token(provider, "userinfo_sub")
        known = {name: told[name] for name in ("email", "email_verified", "name") if name in told}
        return known | {name: value for name, value in claims.items() if name not in known}


# -- checks -----------------------------------------------------------------------------------


def _check_issuer(answer: Mapping[str, str], metadata: Metadata) -> None:
    """RFC 9207 section 2.4: an answer of another issuer is a mix-up, whoever mixed them."""
    told = answer.get("iss")
    if told is None and not metadata.names_itself:
        return
    if told != metadata.issuer:
        raise SignInRefused(
            "The answer is not from the provider that was asked.", code="wrong_issuer"
        )


def _signed_in_anew(at: object, pending: Pending) -> bool:
    """Whether the person signed in at the provider for this request.

    A provider that does not say when (Google is one, although `max_age` obliges it) is believed to
    have asked.
    """
    if at is None:
        return True
    return isinstance(at, int | float) and at >= pending.begun_at - LEEWAY_SECONDS


def _client_auth(provider: Provider, metadata: Metadata) -> Any:
    if not provider.client_secret:
        return "none"
    chosen = provider.client_auth
    if chosen is None:
        chosen = "basic" if "client_secret_basic" in metadata.client_auth else "post"
    return _encoded_basic if chosen == "basic" else "client_secret_post"


def _encoded_basic(client: Any, method: str, uri: str, headers: Any, body: Any) -> Any:
    """RFC 6749 section 2.3.1: both parts are form-encoded first, which authlib leaves out."""
    encoded = type(client)(quote(client.client_id, safe=""), quote(client.client_secret, safe=""))
    return encode_client_secret_basic(encoded, method, uri, headers, body)


def _claims(issuer: str, claims: Mapping[str, Any]) -> Claims:
    subject = claims["sub"]
    if not 0 < len(subject) <= MAX_SUBJECT or not subject.isprintable():
        raise SignInRefused("The provider's name for you cannot be used.", code="token_sub")
    email = _email(claims)
    verified = claims.get("email_verified") in (True, "true") and "email" in claims
    name = claims.get("name")
    return Claims(
        issuer=issuer,
        subject=subject,
        email=email,
        email_verified=bool(email) and verified,
        name=_printable(name)[:100] if isinstance(name, str) else "",
    )


def _email(claims: Mapping[str, Any]) -> str:
    """The address; Microsoft often tells it as `preferred_username` only, which nobody verified."""
    for field in ("email", "preferred_username"):
        value = claims.get(field)
        if isinstance(value, str) and 3 <= len(value) <= 254 and value.isprintable():
            local, at, domain = value.strip().rpartition("@")
            if local and at and domain and " " not in value.strip():
                return value.strip().lower()
    return ""


def _printable(text: str) -> str:
    return "".join(character for character in text if character.isprintable()).strip()


# -- failures ---------------------------------------------------------------------------------


def _error(provider: Provider, error: str) -> MailhearthError:
    if error == "access_denied":
        return SignInRefused(
            f"You did not allow the sign-in at {provider.label}.", code="access_denied"
        )
    if error in ("server_error", "temporarily_unavailable"):
        return ProviderAway(
            f"{provider.label} cannot sign anybody in at the moment.", hint="Try again in a minute."
        )
    return SignInRefused(f"{provider.label} refused the sign-in.", code="provider_error")


def _bad_token(provider: Provider, what: str) -> SignInRefused:
    return SignInRefused(
        f"What {provider.label} sent to prove who you are is not valid.",
        hint="Start again.",
        code=f"token_{what}",
    )


def _away(provider: Provider, error: Exception) -> ProviderAway:
    reason = error.message if isinstance(error, MailhearthError) else type(error).__name__
    away = ProviderAway(
        f"{provider.label} cannot be asked at the moment.", hint="Try again in a minute."
    )
    away.add_note(reason)
    return away
