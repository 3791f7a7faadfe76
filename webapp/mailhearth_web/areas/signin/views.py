"""`/sign-in` and `/sign-out`."""

from __future__ import annotations

from typing import Any

import flask
from flask import Blueprint, Response, flash, redirect, request, url_for
from werkzeug.exceptions import NotFound
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.errors import Conflict, MailhearthError
from mailhearth_core.verbs import people
from mailhearth_core.verbs.people import LinkUsed, RegistrationClosed
from mailhearth_web.areas.signin import flow
from mailhearth_web.areas.signin.flow import SignInOver
from mailhearth_web.frame import session
from mailhearth_web.frame.access import is_fresh, public, safe_path
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit
from mailhearth_web.openid.model import Claims, ProviderAway, SignInRefused

blueprint = Blueprint("signin", __name__, template_folder="templates")

INVITATION = "invitation"
"""In the session: SHA-256 (hex) of an invitation's token that this browser opened."""
NEXT = "next"
"""In the session: where a one-time link leads to."""


@blueprint.get("/sign-in")
@public
@limited("120/minute", outage="refuse")
def choose() -> Response | AnyResponse:
    """The providers to sign in with."""
    next_path = safe_path(request.args.get("next"))
    fresh = request.args.get("fresh") == "1"
    if visit().person is not None and not (fresh and not is_fresh()):
        return redirect(next_path, 303)
    settings = services().settings
    if settings.local_sign_in and next_path != "/":
        flask.session[NEXT] = next_path
    return page(
        "signin/choose.html",
        providers=settings.providers,
        local=settings.local_sign_in,
        invited=INVITATION in flask.session,
        registration_open=settings.registration_open,
        next_path=next_path,
        fresh=fresh,
    )


@blueprint.get("/sign-in/with/<name>")
@public
@limited("30/minute", outage="refuse")
def begin(name: str) -> Response | AnyResponse:
    """On to a provider."""
    provider = flow.provider_named(name)
    next_path = safe_path(request.args.get("next"))
    try:
        url = flow.begin(provider, next_path, fresh=request.args.get("fresh") == "1")
    except ProviderAway as error:
        return _refused(error, next_path)
    return redirect(url, 303)


@blueprint.get("/sign-in/with/<name>/callback")
@public
@limited("30/minute", outage="refuse")
def callback(name: str) -> Response | AnyResponse:
    """Back from a provider: signs in, or adds the identity to the account."""
    provider = flow.provider_named(name)
    try:
        claims, attempt = flow.finish(provider)
    except (SignInOver, SignInRefused, ProviderAway) as error:
        return _refused(error)
    if attempt.link_to is not None:
        person = visit().person
        if person is None or person.id != attempt.link_to or not is_fresh():
            over = SignInOver()
            flow.record(provider, over)
            return _refused(over)
        return _link(claims, attempt.link_to)
    try:
        return _enter(claims, attempt.next)
    except RegistrationClosed as error:
        flow.record(provider, error)
        return _refused(error, status=403)


@blueprint.get("/sign-in/link")
@public
@limited("30/minute", outage="refuse")
def link() -> Response:
    """A one-time link is opened: a button, so that a preview of the link spends nothing."""
    if not services().settings.local_sign_in:
        raise NotFound()
    return page("signin/link.html", token=request.args.get("token", ""))


@blueprint.post("/sign-in/link")
@public
@limited("10/minute", outage="refuse")
def use_link() -> Response | AnyResponse:
    """The link is spent."""
    if not services().settings.local_sign_in:
        raise NotFound()
    now = services().clock.now()
    digest = session.token_hash(request.form.get("token", ""))
    try:
        person = people.use_local_link(
            services().database, digest, now=now, ip=request.remote_addr or ""
        )
    except LinkUsed as error:
        people.sign_in_failed(
            services().database,
            people.LOCAL_ISSUER,
            error.code,
            now=now,
            ip=request.remote_addr or "",
        )
        return _refused(error, status=403)
    next_path = safe_path(flask.session.get(NEXT))
    session.begin(person.id, keep=_kept())
    return redirect(next_path, 303)


@blueprint.post("/sign-out")
@public
@limited("60/minute")
def leave() -> AnyResponse:
    """Ends this session, here alone: the provider's own sign-in stays as it is."""
    session.finish()
    return redirect(url_for("signin.choose"), 303)


def _enter(claims: Claims, next_path: str) -> AnyResponse:
    held = flask.session.get(INVITATION)
    person = people.sign_in(
        services().database,
        claims.issuer,
        claims.subject,
        email=claims.email,
        email_verified=claims.email_verified,
        name=claims.name,
        now=services().clock.now(),
        registration_open=services().settings.registration_open,
        invitation=bytes.fromhex(held) if held else None,
        ip=request.remote_addr or "",
    )
    session.begin(person.id, keep=_kept())
    return redirect(next_path, 303)


def _kept() -> dict[str, Any]:
    """Of the visitor's session, what the signed-in one goes on with."""
    return {name: flask.session[name] for name in (INVITATION,) if name in flask.session}


def _link(claims: Claims, person_id: Any) -> AnyResponse:
    try:
        people.link(
            services().database,
            person_id,
            claims.issuer,
            claims.subject,
            email=claims.email,
            email_verified=claims.email_verified,
            now=services().clock.now(),
        )
    except Conflict as error:
        flash(str(error), "danger")
    else:
        flash("You can sign in with it from now on.", "success")
    return redirect(url_for("account.show"), 303)


def _refused(error: MailhearthError, next_path: str = "/", *, status: int = 0) -> Response:
    """A plain page: nobody was signed in by this."""
    if not status:
        status = 503 if isinstance(error, ProviderAway) else 400
    return page(
        "signin/refused.html",
        status=status,
        text=error.message,
        hint=error.hint,
        next_path=next_path,
        away=isinstance(error, ProviderAway),
    )
