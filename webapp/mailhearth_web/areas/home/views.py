"""`/` and `/workspaces`: to the only workspace, or the choice of them."""

from __future__ import annotations

from flask import Blueprint, Response, redirect, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.verbs import dashboard, members
from mailhearth_web.frame.access import signed_in
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("home", __name__, template_folder="templates")


@blueprint.get("/")
@signed_in
def index() -> AnyResponse:
    """The only workspace's overview; with several or none, the choice."""
    person = visit().person
    assert person is not None
    places = members.places(services().database, person.id)
    if len(places) == 1:
        return redirect(url_for("overview.show", workspace=places[0].workspace_id), 303)
    return redirect(url_for("home.choose"), 303)


@blueprint.get("/workspaces")
@signed_in
def choose() -> Response:
    """Every workspace of the person and how it stands today."""
    person = visit().person
    assert person is not None
    return page("home/index.html", places=dashboard.places_today(services().database, person.id))
