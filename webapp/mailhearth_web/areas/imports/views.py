"""`/w/<workspace>/imports`: a CSV of mailboxes is read, looked at, and then carried out whole."""

from __future__ import annotations

import csv
from io import StringIO
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, request, url_for
from werkzeug.datastructures import FileStorage
from werkzeug.exceptions import Forbidden
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.access import Permission
from mailhearth_core.errors import Conflict, NotYet
from mailhearth_core.verbs import imports, pools
from mailhearth_core.verbs.import_file import MAX_BYTES, MAX_ROWS, UnreadableFile
from mailhearth_web.areas.imports.forms import UploadForm
from mailhearth_web.areas.mailboxes.connect import workspace
from mailhearth_web.frame.access import allow, may
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

blueprint = Blueprint("imports", __name__, template_folder="templates")
PAGE = 50
EXAMPLE = (
    ("address", "password", "imap", "smtp", "name", "timezone"),
    ("ann@example.com", "the password", "imap.example.com:993", "smtp.example.com:465",
     "Ann Example", "Europe/Berlin"),
)  # fmt: skip


@blueprint.route("/w/<uuid:workspace>/imports", methods=["GET", "POST"])
@allow(Permission.WORK_MAILBOXES)
@limited("20/minute", by="account")
def upload() -> Response | AnyResponse:
    form = UploadForm()
    offered = pools.listing(services().door, workspace())
    form.offer_pools(offered)
    if form.validate_on_submit():
        try:
            made = _prepare(form)
        except UnreadableFile as error:
            form.file.errors = [str(error)]
        except NotYet as error:
            form.form_errors.append(str(error))
        else:
            return redirect(url_for("imports.look", held=made), 303)
    status = 422 if form.errors else 200
    return page(
        "imports/upload.html",
        form=form,
        rows=MAX_ROWS,
        megabytes=MAX_BYTES // 2**20,
        pools=offered,
        status=status,
    )


@blueprint.get("/w/<uuid:workspace>/imports/example.csv")
@allow(Permission.WORK_MAILBOXES)
def example() -> Response:
    """A list to fill in."""
    text = StringIO()
    csv.writer(text).writerows(EXAMPLE)
    return Response(
        text.getvalue(),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="mailboxes.csv"'},
    )


@blueprint.get("/w/<uuid:workspace>/imports/<uuid:held>")
@allow(Permission.WORK_MAILBOXES)
def look(held: UUID) -> Response:
    found = imports.look(services().door, workspace(), held)
    asked = request.args.get("show", "wrong" if found.wrong else "all")
    only_wrong = asked == "wrong"
    total = found.wrong if only_wrong else found.rows
    pages = max(1, -(-total // PAGE))
    number = min(max(1, request.args.get("page", 1, type=int)), pages)
    rows = imports.rows_of(
        services().door,
        workspace(),
        held,
        only_wrong=only_wrong,
        limit=PAGE,
        offset=(number - 1) * PAGE,
    )
    return page(
        "imports/look.html",
        found=found,
        rows=rows,
        only_wrong=only_wrong,
        total=total,
        number=number,
        pages=pages,
    )


@blueprint.get("/w/<uuid:workspace>/imports/<uuid:held>/mistakes.csv")
@allow(Permission.WORK_MAILBOXES)
def mistakes(held: UUID) -> Response:
    """All mistakes of a file, to mend it by."""
    imports.look(services().door, workspace(), held)
    return Response(
        imports.mistakes_csv(services().door, workspace(), held),
        content_type="text/csv; charset=utf-8",
        headers={"Content-Disposition": 'attachment; filename="mistakes.csv"'},
    )


@blueprint.post("/w/<uuid:workspace>/imports/<uuid:held>/carry-out")
@allow(Permission.WORK_MAILBOXES)
def carry_out(held: UUID) -> AnyResponse:
    """All of it, or with `only_good` the rows without mistakes; nothing in between."""
    only_good = request.form.get("only_good") == "yes"
    if not may(Permission.MANAGE_MAILBOXES) and imports.asks_network(
        services().door, workspace(), held
    ):
        raise Forbidden(
            "Rows of this file agree to peering with the network, which your role does not allow."
        )
    try:
        added = imports.carry_out(
            services().door, workspace(), held, visit().actor, only_good=only_good
        )
    except Conflict as error:
        flash(str(error), "danger")
        return redirect(url_for("imports.look", held=held), 303)
    flash(f"{added:,} mailbox{'' if added == 1 else 'es'} imported.", "success")
    return redirect(url_for("mailboxes.index", sort="added", dir="desc"), 303)


@blueprint.post("/w/<uuid:workspace>/imports/<uuid:held>/drop")
@allow(Permission.WORK_MAILBOXES)
def drop(held: UUID) -> AnyResponse:
    imports.drop(services().door, workspace(), held)
    flash("The file and the passwords in it are forgotten.", "success")
    return redirect(url_for("imports.upload"), 303)


def _prepare(form: UploadForm) -> UUID:
    file, data, name = form.file.data, b"", ""
    if isinstance(file, FileStorage):  # else it was sent as text, or not at all
        with file.stream:
            data, name = file.read(), file.filename or ""
    return imports.prepare(
        services().door,
        workspace(),
        data,
        file_name=name,
        pool_id=UUID(form.pool.data),
        consent="workspace" if form.consent.data else "none",
        allow_app_passwords=services().settings.allow_app_passwords,
    )
