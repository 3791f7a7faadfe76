"""`/w/<workspace>/members`: who is here as what, and open invitations."""

from __future__ import annotations

import secrets
from uuid import UUID

from flask import Blueprint, Response, abort, flash, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.access import Permission, Role, gives
from mailhearth_core.errors import Conflict, InvalidValue
from mailhearth_core.verbs import invitations, members
from mailhearth_core.verbs.members import Place
from mailhearth_core.verbs.people import LastOwner, Person
from mailhearth_web.areas.members.forms import ChangeRole, Invite
from mailhearth_web.frame.access import allow, may
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.navigation import Link
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.session import token_hash
from mailhearth_web.frame.visit import visit

blueprint = Blueprint(
    "members", __name__, url_prefix="/w/<uuid:workspace>/members", template_folder="templates"
)
LINKS = (Link("Members", "members.index", "users", 60, Permission.LOOK),)


@blueprint.get("")
@allow(Permission.LOOK)
def index() -> Response:
    return _page(Invite(roles=gives(_place().role)))


@blueprint.post("/invite")
@allow(Permission.MANAGE_MEMBERS)
@limited("60/hour", by="account")
def invite() -> Response:
    """Makes an invitation. Its link is on this answer alone: we store its digest only."""
    place = _place()
    form = Invite(roles=gives(place.role))
    if not form.validate_on_submit():
        return _page(form, status=422)
    token = secrets.token_urlsafe(32)
    try:
        invitations.create(
            services().database,
            place.workspace_id,
            _person(),
            form.email.data,
            Role(form.role.data),
            token_hash(token),
            any_address=form.any_address.data,
            now=services().clock.now(),
        )
    except InvalidValue:
        form.email.errors = ["This is not an address, as in ann@example.com."]
        return _page(form, status=422)
    except Conflict as error:
        form.form_errors.append(str(error))
        return _page(form, status=422)
    link = f"{services().settings.public_url}{url_for('invitations.show', token=token)}"
    return page(
        "members/invited.html",
        link=link,
        email=form.email.data,
        role=form.role.data,
        any_address=form.any_address.data,
        days=invitations.LIFE.days,
    )


@blueprint.post("/invitations/<uuid:invitation>/withdraw")
@allow(Permission.MANAGE_MEMBERS)
@limited("120/hour", by="account")
def withdraw(invitation: UUID) -> AnyResponse:
    invitations.revoke(
        services().database,
        _place().workspace_id,
        _person(),
        invitation,
        now=services().clock.now(),
    )
    flash("The invitation is withdrawn.", "success")
    return _back()


@blueprint.post("/<uuid:member>/role")
@allow(Permission.MANAGE_MEMBERS)
@limited("120/hour", by="account")
def change_role(member: UUID) -> AnyResponse:
    place = _place()
    form = ChangeRole(roles=Role)
    if not form.validate_on_submit():
        abort(422)
    try:
        members.change_role(
            services().database,
            place.workspace_id,
            _person(),
            member,
            Role(form.role.data),
            now=services().clock.now(),
        )
    except LastOwner as error:
        flash(str(error), "danger")
    else:
        flash(f"The role is {form.role.data} now, from their next click on.", "success")
    return _back()


@blueprint.post("/<uuid:member>/remove")
@allow(Permission.MANAGE_MEMBERS)
@limited("120/hour", by="account")
def remove(member: UUID) -> AnyResponse:
    if member == _person().id:
        return leave()
    try:
        members.remove(
            services().database,
            _place().workspace_id,
            _person(),
            member,
            now=services().clock.now(),
        )
    except LastOwner as error:
        flash(str(error), "danger")
    else:
        flash("They are no longer in this workspace.", "success")
    return _back()


@blueprint.post("/leave")
@allow(Permission.LOOK)
@limited("30/hour", by="account")
def leave() -> AnyResponse:
    place = _place()
    try:
        members.leave(
            services().database, place.workspace_id, _person(), now=services().clock.now()
        )
    except LastOwner as error:
        flash(str(error), "danger")
        return _back()
    flash(f"You have left {place.name}.", "success")
    return redirect(url_for("home.choose"), 303)


def _page(form: Invite, status: int = 200) -> Response:
    place = _place()
    database = services().database
    manages = may(Permission.MANAGE_MEMBERS)
    return page(
        "members/index.html",
        status=status,
        form=form,
        place=place,
        me=_person().id,
        gives=gives(place.role),
        members=members.listing(database, place.workspace_id),
        invitations=invitations.listing(database, place.workspace_id) if manages else [],
        invites=request.method == "POST",
    )


def _back() -> AnyResponse:
    return redirect(url_for("members.index"), 303)


def _person() -> Person:
    person = visit().person
    assert person is not None
    return person


def _place() -> Place:
    place = visit().place
    assert place is not None
    return place
