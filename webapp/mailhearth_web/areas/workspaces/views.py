"""`/workspaces/new`, and a workspace's settings, export and end."""

from __future__ import annotations

from threading import BoundedSemaphore

from flask import Blueprint, Response, flash, redirect, request, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.access import Permission
from mailhearth_core.errors import Conflict, NotYet
from mailhearth_core.verbs import export as exports
from mailhearth_core.verbs import own_workspaces, pools
from mailhearth_core.verbs.members import Place
from mailhearth_core.verbs.people import Person
from mailhearth_web.areas.workspaces.forms import Delete, Name
from mailhearth_web.frame.access import allow, fresh, signed_in
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.navigation import Link
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("workspaces", __name__, template_folder="templates")
LINKS = (Link("Settings", "workspaces.settings", "settings", 80, Permission.RENAME_WORKSPACE),)

FIRST_POOL = "main"
EXPORTS_AT_ONCE = 2
"""Of one process: each holds a database connection for as long as its reader takes."""
_exports = BoundedSemaphore(EXPORTS_AT_ONCE)


@blueprint.route("/workspaces/new", methods=["GET", "POST"])
@signed_in
@limited("30/hour", by="account")
def create() -> Response | AnyResponse:
    form = Name()
    if form.validate_on_submit():
        try:
            made = own_workspaces.create(
                services().database, _person(), form.name.data, now=services().clock.now()
            )
        except Conflict as error:
            form.name.errors = [error.message]
        else:
            # Carried out right after the preparation, so that mailboxes can be connected at once.
            pools.create(services().door, made, FIRST_POOL, {}, visit().actor, sandbox=False)
            flash(f"{form.name.data} is made. Its key is being prepared.", "success")
            return redirect(url_for("overview.show", workspace=made), 303)
    return page("workspaces/create.html", form=form, status=_status(form))


@blueprint.route("/w/<uuid:workspace>/settings", methods=["GET", "POST"])
@allow(Permission.RENAME_WORKSPACE)
@limited("60/hour", by="account")
def settings() -> Response | AnyResponse:
    """Rename; and the ways to export and to delete."""
    place = _place()
    form = Name(data={"name": place.name})
    if form.validate_on_submit():
        try:
            own_workspaces.rename(
                services().database,
                place.workspace_id,
                _person(),
                form.name.data,
                now=services().clock.now(),
            )
        except Conflict as error:
            form.name.errors = [error.message]
        else:
            flash(f"It is called {form.name.data} now.", "success")
            return redirect(url_for("workspaces.settings"), 303)
    return page("workspaces/settings.html", form=form, place=place, status=_status(form))


@blueprint.get("/w/<uuid:workspace>/export")
@allow(Permission.EXPORT_WORKSPACE)
@fresh
@limited("12/hour", by="account")
def export() -> Response:
    """All that is the workspace's, as it is read; a download that ends with a line saying so."""
    if not _exports.acquire(blocking=False):
        raise NotYet("Two exports are being made already.", hint="Try again when they are done.")
    place, now = _place(), services().clock.now()
    lines = exports.export(services().door, place.workspace_id, now=now)
    response = Response(lines, mimetype="application/x-ndjson")
    response.call_on_close(lines.close)
    response.call_on_close(_exports.release)
    response.headers["Content-Disposition"] = (
        f'attachment; filename="{place.name}-{now:%Y-%m-%d}.ndjson"'
    )
    return response


@blueprint.route("/w/<uuid:workspace>/delete", methods=["GET", "POST"])
@allow(Permission.DELETE_WORKSPACE)
@fresh
@limited("30/hour", by="account")
def delete() -> Response | AnyResponse:
    """Begins a workspace's end, after its name was typed."""
    place = _place()
    form = Delete(word=place.name)
    if place.state != "deleting" and form.validate_on_submit():
        try:
            own_workspaces.begin_deletion(
                services().database, place.workspace_id, _person(), now=services().clock.now()
            )
        except Conflict as error:
            form.confirmation.errors = [str(error)]
        else:
            flash(f"{place.name} is being deleted. Nothing is sent from it any more.", "success")
            return redirect(url_for("home.choose"), 303)
    return page("workspaces/delete.html", form=form, place=place, status=_status(form))


def _status(form: Name | Delete) -> int:
    return 422 if request.method == "POST" and form.errors else 200


def _person() -> Person:
    person = visit().person
    assert person is not None
    return person


def _place() -> Place:
    place = visit().place
    assert place is not None
    return place
