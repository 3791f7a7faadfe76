"""`/invitations/<token>`: somebody who was invited looks, and accepts by a POST."""

from __future__ import annotations

import flask
from flask import Blueprint, Response, redirect, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.errors import Conflict
from mailhearth_core.verbs import invitations
from mailhearth_core.verbs.invitations import OtherAddress
from mailhearth_web.frame.access import public, signed_in
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.session import token_hash
from mailhearth_web.frame.visit import visit

blueprint = Blueprint(
    "invitations", __name__, url_prefix="/invitations", template_folder="templates"
)

HELD = "invitation"
"""In the session: SHA-256 (hex) of the invitation that lets a newcomer in at the sign-in."""


@blueprint.get("/<token>")
@public
@limited("30/minute", outage="refuse")
def show(token: str) -> Response:
    """What it is about. Opening it spends nothing; a visitor's session remembers its digest."""
    digest = token_hash(token)
    invited = invitations.look(services().database, digest, now=services().clock.now())
    if visit().person is None:
        flask.session[HELD] = digest.hex()
    return page("invitations/show.html", invited=invited, token=token)


@blueprint.post("/<token>")
@signed_in
@limited("10/minute", outage="refuse")
@limited("30/hour", by="account", outage="refuse")
def accept(token: str) -> Response | AnyResponse:
    """Makes the person a member."""
    digest = token_hash(token)
    person, now = visit().person, services().clock.now()
    assert person is not None
    invited = invitations.look(services().database, digest, now=now)
    try:
        invitations.accept(services().database, digest, person, now=now)
    except OtherAddress as error:
        return page(
            "invitations/show.html", invited=invited, token=token, problem=str(error), status=403
        )
    except Conflict as error:
        flask.flash(error.message, "info")
    else:
        flask.flash(f"You are {invited.role} of {invited.workspace} now.", "success")
    flask.session.pop(HELD, None)
    return redirect(url_for("overview.show", workspace=invited.workspace_id), 303)
