"""`/w/<workspace>/mailboxes/<mailbox>`: one mailbox, with the reason for each number."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, jsonify

from mailhearth_core.access import Permission
from mailhearth_core.verbs import dashboard, mailbox_page
from mailhearth_web.areas.mailbox.story import told
from mailhearth_web.areas.overview import charts
from mailhearth_web.areas.overview.remedies import remedies
from mailhearth_web.frame.access import allow
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("mailbox", __name__, template_folder="templates")


@blueprint.get("/w/<uuid:workspace>/mailboxes/<uuid:mailbox>")
@allow(Permission.LOOK)
def show(mailbox: UUID) -> Response:
    seen = mailbox_page.look(services().door, _workspace(), mailbox)
    row = seen.row
    state = dashboard.state_of({**row, "connected": row["connected_at"] is not None})
    return page(
        "mailbox/show.html",
        seen=seen,
        state=state,
        remedies=remedies,
        page_of="mailbox",
        story=[told(event) for event in seen.timeline],
    )


@blueprint.get("/w/<uuid:workspace>/mailboxes/<uuid:mailbox>/ramp.json")
@allow(Permission.LOOK)
def ramp(mailbox: UUID) -> Response:
    days, _, today = mailbox_page.series(services().door, _workspace(), mailbox)
    return jsonify(charts.ramp(days, today, dashboard.SERIES_DAYS))


@blueprint.get("/w/<uuid:workspace>/mailboxes/<uuid:mailbox>/placement.json")
@allow(Permission.LOOK)
def placement(mailbox: UUID) -> Response:
    _, placed, today = mailbox_page.series(services().door, _workspace(), mailbox)
    return jsonify(charts.placement(placed, today, dashboard.SERIES_DAYS))


def _workspace() -> UUID:
    place = visit().place
    assert place is not None
    return place.workspace_id
