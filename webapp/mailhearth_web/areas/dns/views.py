"""`/w/<workspace>/dns`: the domains of the workspace's mailboxes."""

from __future__ import annotations

from uuid import UUID

from flask import Blueprint, Response, flash, redirect, url_for
from flask_wtf import FlaskForm
from werkzeug.wrappers import Response as AnyResponse
from wtforms import StringField

from mailhearth_core.access import Permission
from mailhearth_core.dnsreport.model import TITLES
from mailhearth_core.errors import Conflict, InvalidValue
from mailhearth_core.verbs import dns
from mailhearth_web.frame.access import allow
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.navigation import Link
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("dns", __name__, template_folder="templates")

LINKS = (
    Link("DNS", "dns.index", "world", 40, Permission.LOOK,
         current=("dns.index", "dns.show", "dns.ask")),
)  # fmt: skip
LOOKS = {"good": "ok", "warning": "warning", "bad": "fail", "unknown": "none"}


class SelectorForm(FlaskForm):  # type: ignore[misc]
    selectors = StringField(
        "DKIM selectors",
        description="Separated by commas; your mail provider names them. The common ones are "
        "tried anyway.",
    )


@blueprint.get("/w/<uuid:workspace>/dns")
@allow(Permission.LOOK)
def index() -> Response:
    reports = dns.listing(services().door, _workspace())
    return page("dns/index.html", reports=reports, titles=TITLES, looks=LOOKS)


@blueprint.get("/w/<uuid:workspace>/dns/<domain>")
@allow(Permission.LOOK)
def show(domain: str) -> Response:
    report = dns.find(services().door, _workspace(), domain.lower())
    form = SelectorForm(selectors=", ".join(report.selectors))
    return page("dns/show.html", report=report, form=form, titles=TITLES, looks=LOOKS)


@blueprint.post("/w/<uuid:workspace>/dns/<domain>/look")
@allow(Permission.WORK_MAILBOXES)
@limited("20/minute", by="account")
def ask(domain: str) -> Response | AnyResponse:
    """A worker looks again now."""
    form = SelectorForm()
    named = (form.selectors.data or "").replace(";", ",").split(",")
    try:
        dns.ask(services().door, _workspace(), domain.lower(), visit().actor, selectors=named)
    except (InvalidValue, Conflict) as error:
        form.selectors.errors = [str(error)]
        report = dns.find(services().door, _workspace(), domain.lower())
        return page(
            "dns/show.html", report=report, form=form, titles=TITLES, looks=LOOKS, status=422
        )
    flash("A worker looks at it now.", "success")
    return redirect(url_for("dns.show", domain=domain), 303)


def _workspace() -> UUID:
    place = visit().place
    assert place is not None
    return place.workspace_id
