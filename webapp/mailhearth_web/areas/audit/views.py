"""`/w/<workspace>/audit`: who did what in a workspace."""

from __future__ import annotations

from flask import Blueprint, Response

from mailhearth_core.access import Permission
from mailhearth_core.verbs import audit_trail
from mailhearth_core.verbs.members import Place
from mailhearth_web.areas.audit.asked import asked, download, next_page
from mailhearth_web.frame.access import allow
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.navigation import Link
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint(
    "audit", __name__, url_prefix="/w/<uuid:workspace>/audit", template_folder="templates"
)
LINKS = (Link("Audit", "audit.index", "history", 70, Permission.READ_AUDIT),)


@blueprint.get("")
@allow(Permission.READ_AUDIT)
def index() -> Response:
    what = asked()
    found = audit_trail.search(_trail(), what.wanted)
    return page(
        "audit/index.html",
        status=422 if what.mistakes else 200,
        asked=what,
        found=found,
        after=next_page(found) if found.more else "",
        kinds=audit_trail.KINDS,
        place=_place(),
    )


@blueprint.get("/export.<form>")
@allow(Permission.READ_AUDIT)
@limited("30/hour", by="account")
def export(form: str) -> Response:
    return download(_trail(), form, _place().name)


def _trail() -> audit_trail.Trail:
    return audit_trail.of_workspace(services().door, _place().workspace_id)


def _place() -> Place:
    place = visit().place
    assert place is not None
    return place
