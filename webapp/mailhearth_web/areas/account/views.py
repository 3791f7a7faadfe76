"""`/account`: ways to sign in, sessions, the end of the account."""

from __future__ import annotations

from datetime import timedelta
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.errors import Conflict
from mailhearth_core.verbs import people, sessions
from mailhearth_core.verbs.people import LastOwner
from mailhearth_core.verbs.sessions import Session
from mailhearth_web.areas.account.agents import described
from mailhearth_web.areas.account.forms import DeleteAccount
from mailhearth_web.areas.signin import flow
from mailhearth_web.frame import session
from mailhearth_web.frame.access import fresh, public, signed_in
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit
from mailhearth_web.openid.model import ProviderAway

blueprint = Blueprint("account", __name__, url_prefix="/account", template_folder="templates")


@blueprint.get("")
@signed_in
def show() -> Response:
    here = _session()
    assert here.person is not None
    settings = services().settings
    identities = people.identities(services().database, here.person.id)
    known = {identity.issuer for identity in identities}
    return page(
        "account/show.html",
        person=here.person,
        identities=identities,
        labels=_labels(),
        others=[provider for provider in settings.providers if provider.issuer not in known],
        providers=settings.providers,
        current=here.id,
        described=described,
        sessions=sessions.listing(
            services().database,
            here.person.id,
            now=services().clock.now(),
            idle=timedelta(minutes=settings.session_idle_minutes),
        ),
    )


@blueprint.post("/identities/link/<name>")
@signed_in
@fresh
@limited("10/minute", outage="refuse")
@limited("30/hour", by="account", outage="refuse")
def link(name: str) -> Response | AnyResponse:
    """On to a provider, to add an identity of it to this account.

    The answer is a page that leads on, not a redirect: `form-action` of our content policy keeps
    a form from leading to another site, by a redirect too.
    """
    provider = flow.provider_named(name)
    person = _session().person
    assert person is not None
    try:
        url = flow.begin(provider, url_for("account.show"), fresh=True, link_to=person.id)
    except ProviderAway as error:
        flash(str(error), "danger")
        return redirect(url_for("account.show"), 303)
    return page("account/onward.html", url=url, provider=provider)


@blueprint.post("/identities/<uuid:identity>/remove")
@signed_in
@fresh
@limited("30/minute", by="account")
def unlink(identity: UUID) -> AnyResponse:
    """Removes a way to sign in, and whatever may have been signed in by it."""
    here = _session()
    assert here.person is not None
    database, now = services().database, services().clock.now()
    try:
        people.unlink(database, here.person.id, identity, now=now)
    except Conflict as error:
        flash(str(error), "danger")
    else:
        sessions.end_all(database, here.person.id, but=here.id, now=now)
        flash("It is removed, and your other sessions are signed out.", "success")
    return redirect(url_for("account.show"), 303)


@blueprint.post("/sessions/<uuid:which>/end")
@signed_in
@limited("60/minute", by="account")
def end_session(which: UUID) -> AnyResponse:
    here = _session()
    assert here.person is not None
    if which == here.id:
        session.finish()
        return redirect(url_for("signin.choose"), 303)
    now = services().clock.now()
    if sessions.end(services().database, which, user_id=here.person.id, now=now):
        flash("That session is signed out.", "success")
    return redirect(url_for("account.show"), 303)


@blueprint.post("/sessions/end-others")
@signed_in
@limited("30/minute", by="account")
def end_other_sessions() -> AnyResponse:
    here = _session()
    assert here.person is not None
    ended = sessions.end_all(
        services().database, here.person.id, but=here.id, now=services().clock.now()
    )
    flash(f"Signed out elsewhere: {ended}.", "success")
    return redirect(url_for("account.show"), 303)


@blueprint.route("/delete", methods=["GET", "POST"])
@signed_in
@fresh
@limited("30/minute", by="account")
def delete() -> Response | AnyResponse:
    """Ends the account, after the typed confirmation."""
    person = _session().person
    assert person is not None
    form = DeleteAccount(word=person.email or "delete")
    owned: list[str] = []
    if form.validate_on_submit():
        try:
            people.delete_account(services().database, person.id, now=services().clock.now())
        except LastOwner as error:
            owned = error.workspaces
        else:
            session.finish()
            return redirect(url_for("account.deleted"), 303)
    status = 409 if owned else 422 if request.method == "POST" else 200
    return page("account/delete.html", form=form, owned=owned, status=status)


@blueprint.get("/deleted")
@public
def deleted() -> Response:
    return page("account/deleted.html")


def _session() -> Session:
    found = visit().session
    assert found is not None
    return found


def _labels() -> dict[str, str]:
    """What an issuer is called."""
    named = {provider.issuer: provider.label for provider in services().settings.providers}
    return {people.LOCAL_ISSUER: "A one-time link on this machine", **named}
