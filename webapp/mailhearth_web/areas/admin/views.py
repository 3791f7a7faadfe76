"""`/admin`: network health, workspaces, pools, domains, work, failures, people, audit."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, abort, flash, jsonify, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.errors import Conflict, InvalidValue, NotFound
from mailhearth_core.storage.doors import Database
from mailhearth_core.verbs import administration as verbs
from mailhearth_core.verbs import audit_trail
from mailhearth_core.verbs.people import Person
from mailhearth_web.areas.admin.forms import Reason
from mailhearth_web.areas.admin.queues import queues
from mailhearth_web.areas.audit.asked import asked, download, next_page
from mailhearth_web.areas.overview import charts
from mailhearth_web.frame.access import fresh, platform_admin
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.navigation import Link
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("admin", __name__, url_prefix="/admin", template_folder="templates")


def _link(label: str, view: str, icon: str, order: int, *more: str) -> Link:
    views = tuple(f"admin.{name}" for name in (view, *more))
    return Link(label, views[0], icon, order, section="admin", current=views)


LINKS = (
    _link("Network", "network", "heartbeat", 10),
    _link("All workspaces", "workspaces", "building", 20, "workspace", "suspend", "resume"),
    _link("All pools", "pools", "stack-2", 30),
    _link("Domains", "domains", "world", 40),
    _link("Queues and workers", "work", "server", 50),
    _link("Failed actions", "failed", "alert-triangle", 60),
    _link("Errors", "errors", "alert-circle", 70),
    _link("People", "people", "users", 80),
    _link("Platform audit", "audit", "history", 90),
)
LAST_PAGE = 10_000


@blueprint.app_context_processor
def _banner() -> dict[str, Any]:
    return {"suspension_reason": suspension_reason}


def suspension_reason() -> str:
    """Why the workspace of this page is suspended; asked for on suspended ones alone."""
    place = visit().place
    if place is None or place.state != "suspended":
        return ""
    with services().door.tenant_tx(place.workspace_id) as conn:
        row = conn.execute("SELECT state_reason FROM workspaces").fetchone()
    return str(row["state_reason"]) if row else ""


@blueprint.get("")
@platform_admin
def network() -> Response:
    return page("admin/network.html", seen=verbs.network(_database()), week_days=verbs.WEEK_DAYS)


@blueprint.get("/ramp.json")
@platform_admin
def ramp() -> Response:
    rows, today = verbs.series(_database())
    return jsonify(charts.ramp(rows, today, verbs.DAYS))


@blueprint.get("/placement.json")
@platform_admin
def placement() -> Response:
    rows, today = verbs.series(_database())
    return jsonify(charts.placement(rows, today, verbs.DAYS))


# -- workspaces ------------------------------------------------------------------------------------


@blueprint.get("/workspaces")
@platform_admin
def workspaces() -> Response:
    state = request.args.get("state", "")
    state = state if state in verbs.WORKSPACE_STATES else ""
    found = verbs.workspaces(_database(), word=_word(), state=state, number=_number())
    return page(
        "admin/workspaces.html",
        found=found,
        word=_word(),
        state=state,
        states=verbs.WORKSPACE_STATES,
    )


@blueprint.get("/workspaces/<uuid:which>")
@platform_admin
def workspace(which: UUID) -> Response:
    return _workspace(which, Reason())


@blueprint.post("/workspaces/<uuid:which>/suspend")
@platform_admin
@fresh
@limited("120/hour", by="account")
def suspend(which: UUID) -> Response | AnyResponse:
    form = Reason()
    if not form.validate_on_submit():
        return _workspace(which, form, status=422)
    try:
        verbs.suspend(
            _database(), _person().id, which, form.reason.data, now=services().clock.now()
        )
    except (Conflict, InvalidValue) as error:
        flash(str(error), "danger")
    else:
        flash("The workspace is suspended. Nothing is planned or sent from it now.", "success")
    return redirect(url_for("admin.workspace", which=which), 303)


@blueprint.post("/workspaces/<uuid:which>/resume")
@platform_admin
@fresh
@limited("120/hour", by="account")
def resume(which: UUID) -> Response | AnyResponse:
    form = Reason()
    if not form.validate_on_submit():
        return _workspace(which, form, status=422)
    try:
        verbs.resume(_database(), _person().id, which, form.reason.data, now=services().clock.now())
    except (Conflict, InvalidValue) as error:
        flash(str(error), "danger")
    else:
        flash("The workspace goes on.", "success")
    return redirect(url_for("admin.workspace", which=which), 303)


def _workspace(which: UUID, form: Reason, status: int = 200) -> Response:
    seen = verbs.workspace(_database(), which)
    return page("admin/workspace.html", status=status, seen=seen, form=form)


# -- lists -----------------------------------------------------------------------------------------


@blueprint.get("/pools")
@platform_admin
def pools() -> Response:
    found = verbs.pools(_database(), word=_word(), number=_number())
    return page("admin/pools.html", found=found, word=_word())


@blueprint.get("/domains")
@platform_admin
def domains() -> Response:
    blocked = request.args.get("blocked") == "1"
    found = verbs.domains(_database(), word=_word(), blocked=blocked, number=_number())
    return page("admin/domains.html", found=found, word=_word(), blocked=blocked)


@blueprint.get("/people")
@platform_admin
def people() -> Response:
    admins = request.args.get("admins") == "1"
    found = verbs.people(_database(), word=_word(), admins=admins, number=_number())
    return page("admin/people.html", found=found, word=_word(), admins=admins)


@blueprint.get("/errors")
@platform_admin
def errors() -> Response:
    return page("admin/errors.html", found=verbs.errors(_database(), number=_number()))


# -- work ------------------------------------------------------------------------------------------


@blueprint.get("/work")
@platform_admin
def work() -> Response:
    seen = verbs.work(_database())
    names = [group["worker_group"] for group in seen.groups]
    return page("admin/work.html", seen=seen, queues=queues(services().redis, names))


@blueprint.get("/failed")
@platform_admin
def failed() -> Response:
    kind = request.args.get("kind", "")
    kind = kind if kind in verbs.ACTION_KINDS else ""
    found = verbs.failed_actions(_database(), kind=kind, word=_word(), number=_number())
    return page("admin/failed.html", found=found, word=_word(), kind=kind, kinds=verbs.ACTION_KINDS)


@blueprint.post("/failed/<uuid:which>/<uuid:action>/retry")
@platform_admin
@limited("600/hour", by="account")
def retry(which: UUID, action: UUID) -> AnyResponse:
    try:
        verbs.retry(_database(), _person().id, which, action, now=services().clock.now())
    except Conflict as error:
        flash(str(error), "danger")
    else:
        flash("It is wished for, and will be planned again in a moment.", "success")
    return redirect(url_for("admin.failed"), 303)


# -- audit -----------------------------------------------------------------------------------------


@blueprint.get("/audit")
@platform_admin
def audit() -> Response:
    what = asked()
    found = audit_trail.search(audit_trail.of_platform(_database()), what.wanted)
    return page(
        "admin/audit.html",
        status=422 if what.mistakes else 200,
        asked=what,
        found=found,
        after=next_page(found) if found.more else "",
        kinds=audit_trail.KINDS,
    )


@blueprint.get("/audit/export.<form>")
@platform_admin
@limited("30/hour", by="account")
def audit_export(form: str) -> Response:
    return download(audit_trail.of_platform(_database()), form, "platform")


# -- parts -----------------------------------------------------------------------------------------


def _database() -> Database:
    database = services().admin
    if database is None:
        raise NotFound(
            "The administration is not set up here.",
            hint="Set MAILHEARTH_ADMIN_DATABASE_URL for the web process.",
        )
    return database


def _person() -> Person:
    person = visit().person
    assert person is not None
    return person


def _word() -> str:
    return request.args.get("q", "").strip().replace("\0", "")[:100]


def _number() -> int:
    try:
        return min(max(1, int(request.args.get("page", "1"))), LAST_PAGE)
    except ValueError:
        abort(404)
