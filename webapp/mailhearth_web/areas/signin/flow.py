"""Beginning at a provider and taking its answer, for signing in and for adding an identity."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING, cast
from uuid import UUID

import structlog
from flask import current_app, request, url_for
from limits import parse
from werkzeug.exceptions import NotFound

from mailhearth_core.errors import MailhearthError
from mailhearth_core.verbs import people
from mailhearth_web.areas.signin import attempts
from mailhearth_web.areas.signin.attempts import Attempt
from mailhearth_web.frame.guard import Limit
from mailhearth_web.frame.services import services
from mailhearth_web.openid.model import Claims, ProviderAway, SignInRefused
from mailhearth_web.openid.providers import Provider

if TYPE_CHECKING:
    from mailhearth_web.openid.party import RelyingParty

log = structlog.get_logger()

EXTENSION = "mailhearth_relying_party"
PER_IDENTITY = Limit(parse("30/hour"), "account", "refuse")
"""Sign-ins with one identity, wherever they come from."""


class SignInOver(MailhearthError):
    """The answer belongs to no sign-in that this browser began, or to one that is over."""

    code = "state_unknown"

    def __init__(self) -> None:
        super().__init__(
            "This sign-in is over, or it was begun in another browser.", hint="Start again."
        )


def provider_named(name: str) -> Provider:
    """Raises NotFound where the installation has none of that name."""
    for provider in services().settings.providers:
        if provider.name == name:
            return provider
    raise NotFound()


def relying_party() -> RelyingParty:
    """The application's, made at the first sign-in: authlib costs 10 MB that one machine saves."""
    if EXTENSION not in current_app.extensions:
        from mailhearth_web.openid.party import RelyingParty

        current_app.extensions.setdefault(EXTENSION, RelyingParty())
    return cast("RelyingParty", current_app.extensions[EXTENSION])


def begin(provider: Provider, next_path: str, *, fresh: bool, link_to: UUID | None = None) -> str:
    """The address at the provider to send the browser to; what waits for it is in the session.

    Raises:
        ProviderAway: recorded already.
    """
    now = services().clock.now()
    # Not the Host header's: what is registered at the provider is the installation's address.
    back = services().settings.public_url + url_for("signin.callback", name=provider.name)
    try:
        url, state, pending = relying_party().begin(provider, back, now=now, fresh=fresh)
    except ProviderAway as error:
        record(provider, error)
        raise
    attempts.remember(state, Attempt(pending, next_path, link_to))
    return url


def finish(provider: Provider) -> tuple[Claims, Attempt]:
    """What the answer in this request proves, and what it was asked for.

    Raises:
        SignInOver, SignInRefused, ProviderAway: nothing; recorded already.
        TooManyRequests, ServiceUnavailable: this identity's limit.
    """
    now = services().clock.now()
    answer = request.args.to_dict()
    attempt = attempts.take(answer.get("state", ""), provider.name, now=now)
    try:
        if attempt is None:
            raise SignInOver()
        claims = relying_party().finish(provider, attempt.pending, answer, now=now)
    except (SignInOver, SignInRefused, ProviderAway) as error:
        record(provider, error)
        raise
    identity = hashlib.sha256(f"{claims.issuer}\n{claims.subject}".encode()).hexdigest()
    services().guard.check(PER_IDENTITY, "signin.callback", f"identity:{identity}")
    return claims, attempt


def record(provider: Provider, error: MailhearthError) -> None:
    """A failure, for the audit trail and the log."""
    log.warning(
        "sign_in_failed",
        provider=provider.name,
        reason=error.code,
        notes=" ".join(getattr(error, "__notes__", ())),
    )
    people.sign_in_failed(
        services().database,
        provider.issuer,
        error.code,
        now=services().clock.now(),
        ip=request.remote_addr or "",
    )
