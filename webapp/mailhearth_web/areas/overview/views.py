"""`/w/<workspace>/`: the workspace's first page."""

from __future__ import annotations

from datetime import date
from typing import Any

from flask import Blueprint, Response, jsonify

from mailhearth_core.access import Permission
from mailhearth_core.verbs import dashboard
from mailhearth_web.areas.overview import charts
from mailhearth_web.areas.overview.remedies import remedies
from mailhearth_web.frame.access import allow
from mailhearth_web.frame.navigation import Link
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("overview", __name__, template_folder="templates")


@blueprint.app_template_filter("sentence")
def sentence(text: str) -> str:
    """A reason as stored, with a capital letter and a full stop."""
    text = text.strip()
    ending = "" if text.endswith((".", "!", "?")) else "."
    return f"{text[:1].upper()}{text[1:]}{ending}" if text else ""


LINKS = (Link("Overview", "overview.show", "layout-dashboard", 10, Permission.LOOK),)


@blueprint.get("/w/<uuid:workspace>/")
@allow(Permission.LOOK)
def show() -> Response:
    """How the workspace stands; until its first mailbox warms up, what to do next."""
    place = visit().place
    assert place is not None
    seen = dashboard.overview(services().door, place.workspace_id)
    return page("overview/show.html", seen=seen, place=place, remedies=remedies)


@blueprint.get("/w/<uuid:workspace>/overview/ramp.json")
@allow(Permission.LOOK)
def ramp() -> Response:
    rows, today = _series()
    return jsonify(charts.ramp(rows, today, dashboard.SERIES_DAYS))


@blueprint.get("/w/<uuid:workspace>/overview/placement.json")
@allow(Permission.LOOK)
def placement() -> Response:
    rows, today = _series()
    return jsonify(charts.placement(rows, today, dashboard.SERIES_DAYS))


def _series() -> tuple[list[dict[str, Any]], date]:
    place = visit().place
    assert place is not None
    return dashboard.series(services().door, place.workspace_id)
