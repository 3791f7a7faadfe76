"""`/w/<workspace>/mailboxes`: the list. Connecting and changing are in the modules beside."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, request

from mailhearth_core.access import Permission
from mailhearth_core.verbs import mailbox_list, pools
from mailhearth_core.verbs.dashboard import STATES
from mailhearth_core.verbs.mailbox_list import SORTS, Wanted
from mailhearth_web.areas.mailboxes import change, connect, consent, words
from mailhearth_web.frame.access import allow
from mailhearth_web.frame.navigation import Link
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("mailboxes", __name__, template_folder="templates")
connect.register(blueprint)
change.register(blueprint)
consent.register(blueprint)

LINKS = (
    Link("Mailboxes", "mailboxes.index", "mail", 20, Permission.LOOK,
         current=("mailboxes.index", "mailboxes.connect", "mailboxes.servers",
                  "mailboxes.attempt", "mailboxes.ask", "mailboxes.settings", "mailbox.show",
                  "imports.upload", "imports.look")),
)  # fmt: skip


@blueprint.get("/w/<uuid:workspace>/mailboxes")
@allow(Permission.LOOK)
def index() -> Response:
    place = visit().place
    assert place is not None
    wanted = _wanted()
    found = mailbox_list.page(services().door, place.workspace_id, wanted)
    return page(
        "mailboxes/index.html",
        found=found,
        wanted=wanted,
        pools=pools.listing(services().door, place.workspace_id),
        words=words,
        direction="desc" if wanted.descending else "asc",
    )


def _wanted() -> Wanted:
    """Of the address; what makes no sense there is left out."""
    asked = request.args
    sort, standing = asked.get("sort", ""), asked.get("state", "")
    try:
        pool_id = UUID(asked.get("pool", ""))
    except ValueError:
        pool_id = None
    return Wanted(
        text=asked.get("q", "")[:100],
        standing=standing if standing in STATES else "",
        pool_id=pool_id,
        sort=sort if sort in SORTS else "address",
        descending=asked.get("dir") == "desc",
        number=asked.get("page", 1, type=int),
    )
