"""A mailbox's settings: what is stored (never a credential), and each deed that changes it."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, request, url_for
from werkzeug.exceptions import Forbidden
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.access import Permission
from mailhearth_core.errors import Conflict, InvalidValue, NotFound
from mailhearth_core.verbs import attempts, mailbox_list, mailboxes, pools
from mailhearth_core.verbs.dashboard import state_of
from mailhearth_core.verbs.mailbox_spec import timezones
from mailhearth_web.areas.mailboxes import words
from mailhearth_web.areas.mailboxes.connect import hold, try_out, workspace
from mailhearth_web.areas.mailboxes.consent import client_of
from mailhearth_web.areas.mailboxes.forms import (
    ConsentForm,
    DescribeForm,
    MoveForm,
    ServersForm,
    add_error,
    said,
    zones,
)
from mailhearth_web.frame.access import allow, fresh, may
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

Row = dict[str, Any]


def register(blueprint: Blueprint) -> None:
    """Adds the views to the area's blueprint."""
    base = "/w/<uuid:workspace>/mailboxes/<uuid:mailbox>"
    blueprint.add_url_rule(f"{base}/settings", "settings", settings, methods=["GET"])
    for name, view in (
        ("describe", describe),
        ("servers", change_servers),
        ("test", test),
        ("move", move),
        ("pause", pause),
        ("resume", resume),
        ("consent", consent),
        ("delete", delete),
    ):
        endpoint = "change_servers" if name == "servers" else name
        blueprint.add_url_rule(f"{base}/{name}", endpoint, view, methods=["POST"])


@allow(Permission.LOOK)
def settings(mailbox: UUID) -> Response:
    return _page(_row(mailbox))


@allow(Permission.WORK_MAILBOXES)
def describe(mailbox: UUID) -> Response | AnyResponse:
    row, form = _row(mailbox), DescribeForm()
    if form.validate_on_submit():
        name, zone = form.name.data or "", (form.timezone.data or "").strip()
        try:
            mailboxes.describe(
                services().door, workspace(), row, display_name=name, timezone=zone,
                actor=visit().actor,
            )  # fmt: skip
        except InvalidValue as error:
            add_error(form[error.field], said(error, {}))
        else:
            return _done(mailbox, "Saved.")
    return _page(row, describe=form, status=422)


@allow(Permission.WORK_MAILBOXES)
@limited("60/minute", by="account")
def change_servers(mailbox: UUID) -> Response | AnyResponse:
    """Begins the test of other servers, another user or a new password; saving follows it.

    Whoever may not change servers may still type a new password for those there are.
    """
    row, form = _row(mailbox), ServersForm()
    if row["auth"] != "password":
        raise Conflict("This mailbox signs in without a password.")
    form.offer_pools(pools.listing(services().door, workspace()))
    form.fill({"address": row["address"], "name": row["display_name"], "pool": row["pool_id"],
               "timezone": row["timezone"]})  # fmt: skip
    if not may(Permission.MANAGE_MAILBOXES):
        form.fill(_stored(row))
        form.ca_pem.data = row["ca_pem"] or ""
    form.kept_ca = row["ca_pem"]
    if form.validate_on_submit():
        allowed = services().settings.allow_app_passwords
        spec = form.spec(allow_app_passwords=allowed)
        if spec is not None:
            begun = try_out(form, spec, row["pool_id"], mailbox)
            if begun is not None:
                return redirect(url_for("mailboxes.attempt", attempt=begun), 303)
    hold(form, mailbox)
    return _page(row, servers=form, status=422)


@allow(Permission.WORK_MAILBOXES)
@limited("60/minute", by="account")
def test(mailbox: UUID) -> AnyResponse:
    """Tests what is stored."""
    row = _row(mailbox)
    begun = attempts.start(services().door, workspace(), row, None, row["worker_group"])
    return redirect(url_for("mailboxes.attempt", attempt=begun), 303)


@allow(Permission.MANAGE_MAILBOXES)
def move(mailbox: UUID) -> AnyResponse:
    row, form = _row(mailbox), MoveForm()
    form.offer_pools(pools.listing(services().door, workspace()))
    if not form.validate_on_submit():
        raise NotFound("There is no such pool in this workspace.")
    pool_id = UUID(form.pool.data)
    if pool_id != row["pool_id"]:
        mailboxes.move(services().door, workspace(), row, pool_id, visit().actor)
    return _done(mailbox, f"{row['address']} is in its new pool.")


@allow(Permission.WORK_MAILBOXES)
def pause(mailbox: UUID) -> AnyResponse:
    row = _row(mailbox)
    if row["state"] == "active":
        mailboxes.set_state(services().door, workspace(), row, "paused", visit().actor)
    return _done(
        mailbox, f"{row['address']} is paused: nothing new is sent; mail on its way is followed."
    )


@allow(Permission.WORK_MAILBOXES)
def resume(mailbox: UUID) -> AnyResponse:
    row = _row(mailbox)
    mailboxes.set_state(services().door, workspace(), row, "active", visit().actor)
    return _done(mailbox, f"{row['address']} goes on.")


@allow(Permission.WORK_MAILBOXES)
def consent(mailbox: UUID) -> AnyResponse:
    """The owner's yes or no; peering with the network is for those who manage mailboxes."""
    row, form = _row(mailbox), ConsentForm()
    if not form.validate_on_submit():
        flash("Say yes or no to warmup.", "warning")
        return redirect(url_for("mailboxes.settings", mailbox=mailbox), 303)
    scope = form.scope
    if not may(Permission.MANAGE_MAILBOXES):
        if scope == "network" and row["consent"] != "network":
            raise Forbidden("Your role in this workspace does not allow peering with the network.")
        if scope == "workspace" and row["consent"] == "network":
            scope = "network"  # the box is not on their page
    if scope != row["consent"]:
        mailboxes.consent(services().door, workspace(), row, scope, visit().actor)
    return _done(mailbox, _CONSENT[scope].format(row["address"]))


@allow(Permission.MANAGE_MAILBOXES)
@fresh
def delete(mailbox: UUID) -> AnyResponse:
    row = _row(mailbox)
    if request.form.get("confirmation", "").strip().lower() != row["address"]:
        flash("Type the mailbox's address to delete it.", "warning")
        return redirect(url_for("mailboxes.settings", mailbox=mailbox), 303)
    mailboxes.remove(services().door, workspace(), row, visit().actor)
    flash(f"{row['address']} is deleted, and its password with it.", "success")
    return redirect(url_for("mailboxes.index"), 303)


_CONSENT = {
    "none": "{} is off: nobody signs in to it, and nobody writes to it.",
    "workspace": "{} warms up among the mailboxes of this workspace.",
    "network": "{} warms up with mailboxes of other workspaces as well.",
}


def _row(mailbox: UUID) -> Row:
    return mailbox_list.find(services().door, workspace(), mailbox)


def _done(mailbox: UUID, text: str) -> AnyResponse:
    flash(text, "success")
    return redirect(url_for("mailboxes.settings", mailbox=mailbox), 303)


def _stored(row: Row) -> dict[str, Any]:
    """The row's values by the names of the form's fields: no credential is among them."""
    names = ("address", "timezone", "username", "ca_pem", "imap_host", "imap_port", "imap_tls",
             "smtp_host", "smtp_port", "smtp_tls")  # fmt: skip
    return {name: row[name] for name in names} | {
        "name": row["display_name"],
        "pool": row["pool_id"],
    }


def _page(
    row: Row,
    *,
    describe: DescribeForm | None = None,
    servers: ServersForm | None = None,
    status: int = 200,
) -> Response:
    offered = pools.listing(services().door, workspace())
    moving = MoveForm(formdata=None, data={"pool": str(row["pool_id"])})
    moving.offer_pools(offered)
    if servers is None:
        servers = ServersForm(formdata=None)
        servers.offer_pools(offered)
        servers.fill(_stored(row))
    if describe is None:
        describe = DescribeForm(
            formdata=None, data={"name": row["display_name"], "timezone": row["timezone"]}
        )
    given = row["consent"] != "none"
    asked = ConsentForm(
        formdata=None,
        data={"warmup": "yes" if given else "no", "network": row["consent"] == "network"},
    )
    standing = state_of({**row, "consented": given, "connected": row["connected_at"] is not None})
    return page(
        "mailboxes/settings.html",
        row=row,
        standing=standing,
        words=words,
        describe=describe,
        servers=servers,
        moving=moving,
        consent=asked,
        last_consent=mailbox_list.last_consent(services().door, workspace(), row["id"]),
        signs_in=client_of(row["provider"]) is not None,
        is_google=row["peer_provider"] == "gmail",
        zones=zones(timezones()),
        status=status,
    )
