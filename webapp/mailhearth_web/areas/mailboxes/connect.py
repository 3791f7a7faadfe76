"""Connecting: the address, its settings, the password, the test, consent, saved.

A password is sealed in the request that brings it. What a later page needs of it is the id of the
attempt that holds it, never the password.
"""

from __future__ import annotations

from typing import Any
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, request, session, url_for
from werkzeug.wrappers import Response as AnyResponse

from mailhearth_core.access import Permission
from mailhearth_core.errors import Conflict, InvalidValue, MailhearthError, NotFound, NotYet
from mailhearth_core.oauth.model import OWNERS
from mailhearth_core.providers import provider_name_for
from mailhearth_core.verbs import connecting, mailbox_list, pools
from mailhearth_core.verbs.connecting import Attempt, PasswordNeeded
from mailhearth_core.verbs.credentials import destinations
from mailhearth_core.verbs.mailbox_spec import MailboxSpec, check_address, timezones
from mailhearth_core.verbs.mailboxes import AddressTaken
from mailhearth_web.areas.mailboxes import words
from mailhearth_web.areas.mailboxes.forms import (
    AddressForm,
    ConsentForm,
    ServersForm,
    add_error,
    zones,
)
from mailhearth_web.frame.access import allow, may
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

TAKEN = "This address is in this workspace already."
ZONE = "timezone"
"""The session remembers the zone that was typed last."""


def register(blueprint: Blueprint) -> None:
    """Adds the views to the area's blueprint."""
    base = "/w/<uuid:workspace>/mailboxes"
    for path, name, view, methods in (
        (f"{base}/connect", "connect", connect, ["GET", "POST"]),
        (f"{base}/connect/servers", "servers", servers, ["GET", "POST"]),
        (f"{base}/attempts/<uuid:attempt>", "attempt", attempt, ["GET"]),
        (f"{base}/attempts/<uuid:attempt>/save", "save", save, ["POST"]),
    ):
        blueprint.add_url_rule(path, name, view, methods=methods)


@allow(Permission.WORK_MAILBOXES)
@limited("60/minute", by="account")
def connect() -> Response | AnyResponse:
    """The address; all else follows from it where it can."""
    form = AddressForm()
    if not pools.listing(services().door, workspace()):
        return page("mailboxes/no_pool.html")
    if form.validate_on_submit():
        try:
            address = check_address(form.address.data or "")
            found = connecting.discover(services().door, workspace(), address)
        except InvalidValue:
            add_error(form.address, "This is no e-mail address.")
        except Conflict as error:
            add_error(form.address, TAKEN if isinstance(error, AddressTaken) else str(error))
        else:
            return redirect(url_for("mailboxes.attempt", attempt=found), 303)
    return page("mailboxes/connect.html", form=form, status=422 if form.errors else 200)


@allow(Permission.WORK_MAILBOXES)
@limited("60/minute", by="account")
def servers() -> Response | AnyResponse:
    """Servers, user and password of a new mailbox.

    `?attempt=` fills in what a search found, or what a failed test was of.
    """
    form = ServersForm()
    offered = pools.listing(services().door, workspace())
    form.offer_pools(offered)
    if request.method == "GET":
        suggestion = _prefill(form, request.args.get("attempt", ""))
        return _servers_page(form, suggestion)
    if form.validate_on_submit():
        spec = form.spec(allow_app_passwords=services().settings.allow_app_passwords)
        if spec is not None:
            begun = try_out(form, spec, UUID(form.pool.data))
            if begun is not None:
                session[ZONE] = spec.timezone
                return redirect(url_for("mailboxes.attempt", attempt=begun), 303)
    hold(form)
    return _servers_page(form, None, status=422)


@allow(Permission.WORK_MAILBOXES)
def attempt(attempt: UUID) -> Response | AnyResponse:
    """How a search or a test stands; asked for again by the page itself until it is over."""
    found = connecting.look(services().door, workspace(), attempt)
    if found.kind == "discover" and found.state == "ok":
        return _onwards(url_for("mailboxes.servers", attempt=found.id))
    form = ConsentForm(formdata=None)  # nothing is agreed to beforehand
    return page(
        "mailboxes/attempt.html",
        found=found,
        steps=words.steps(found.steps),
        form=form,
        is_google=_is_google(found),
        can_save=found.spec is not None and found.state == "ok" and _may_save(found),
        waited=(services().clock.now() - found.created_at).total_seconds(),
    )


@allow(Permission.WORK_MAILBOXES)
def save(attempt: UUID) -> AnyResponse:
    """Keeps what was tested, with the owner's yes or no."""
    found = connecting.look(services().door, workspace(), attempt)
    if not _may_save(found):
        raise Conflict("Only somebody who may change a mailbox's servers can save this.")
    form = ConsentForm()
    scope = form.scope if found.is_new else None
    if scope is not None and not form.validate():
        flash("Say yes or no to warmup.", "warning")
        return redirect(url_for("mailboxes.attempt", attempt=attempt), 303)
    if scope == "network" and not may(Permission.MANAGE_MAILBOXES):
        scope = "workspace"
    try:
        mailbox = connecting.save(services().door, workspace(), attempt, scope, visit().actor)
    except Conflict as error:
        flash(TAKEN if isinstance(error, AddressTaken) else str(error), "danger")
        return redirect(url_for("mailboxes.attempt", attempt=attempt), 303)
    assert found.spec is not None
    flash(_saved(found.spec.address, scope), "success")
    return redirect(mailbox_url(mailbox), 303)


# -- shared with changing a mailbox ----------------------------------------------------------------


def workspace() -> UUID:
    place = visit().place
    assert place is not None
    return place.workspace_id


def mailbox_url(mailbox: UUID) -> str:
    return url_for("mailbox.show", mailbox=mailbox)


def try_out(
    form: ServersForm, spec: MailboxSpec, pool_id: UUID, mailbox_id: UUID | None = None
) -> UUID | None:
    """Begins a test; None when the form says what is wrong."""
    try:
        return connecting.try_out(
            services().door,
            workspace(),
            pool_id,
            spec,
            mailbox_id=mailbox_id,
            held=held_id(form),
        )
    except PasswordNeeded as error:
        form.held.data = ""
        add_error(form.password, error.message)
    except InvalidValue as error:
        form.blame(error)
    except Conflict as error:
        is_taken = isinstance(error, AddressTaken)
        add_error(form.address if is_taken else form.imap_host, TAKEN if is_taken else str(error))
    except NotYet as error:
        form.form_errors.append(str(error))
    return None


def hold(form: ServersForm, mailbox_id: UUID | None = None) -> None:
    """Keeps a password, sealed, that was typed into a form with mistakes, for its next try."""
    allowed = services().settings.allow_app_passwords
    spec = form.spec_to_hold(allow_app_passwords=allowed)
    if spec is None or not form.pool.data:
        return
    try:
        held = connecting.try_out(
            services().door,
            workspace(),
            UUID(form.pool.data),
            spec,
            mailbox_id=mailbox_id,
            hold_only=True,
        )
    except (MailhearthError, ValueError):
        return  # it is asked for again
    form.held.data = str(held)


def held_id(form: ServersForm) -> UUID | None:
    try:
        return UUID(form.held.data or "")
    except ValueError:
        return None


def stored(spec: MailboxSpec) -> dict[str, Any]:
    """A mailbox's values by the names of the form's fields."""
    return {
        "address": spec.address, "name": spec.display_name, "timezone": spec.timezone,
        "username": spec.username, "ca_pem": spec.ca_pem,
        "imap_host": spec.imap.host, "imap_port": spec.imap.port, "imap_tls": spec.imap.tls,
        "smtp_host": spec.smtp.host, "smtp_port": spec.smtp.port, "smtp_tls": spec.smtp.tls,
    }  # fmt: skip


def _prefill(form: ServersForm, attempt_id: str) -> dict[str, Any] | None:
    """From an attempt; the suggestion that it found, if it was a search."""
    form.fill({"imap_port": 993, "smtp_port": 465, "timezone": session.get(ZONE, "UTC")})
    try:
        before = connecting.look(services().door, workspace(), UUID(attempt_id))
    except (NotFound, ValueError):
        return None
    if before.spec is not None:
        form.fill(stored(before.spec) | {"pool": before.pool_id, "held": before.id})
        return None
    address = str(before.settings["address"])
    form.fill({"address": address})
    suggestion = before.found[0] if before.found else None
    if suggestion is not None:
        if suggestion["local_username"]:
            form.fill({"username": address.rpartition("@")[0]})
        for side in ("imap", "smtp"):
            server = suggestion[side] or {}
            form.fill({f"{side}_{key}": value for key, value in server.items()})
    return suggestion


def _servers_page(
    form: ServersForm, suggestion: dict[str, Any] | None, *, status: int = 200
) -> Response:
    return page(
        "mailboxes/servers.html",
        form=form,
        suggestion=suggestion,
        signs_in_at=_signs_in_at(suggestion),
        own_zone=request.method == "GET" and ZONE not in session and not form.held.data,
        allow_app_passwords=services().settings.allow_app_passwords,
        zones=zones(timezones()),
        status=status,
    )


def _signs_in_at(suggestion: dict[str, Any] | None) -> str:
    """The provider whose own sign-in this installation offers for a suggestion; "" for none."""
    if suggestion is None or suggestion["sign_in"] != "oauth" or not suggestion["imap"]:
        return ""
    provider = provider_name_for(suggestion["imap"]["host"])
    owner = OWNERS.get(provider, "").lower()
    offers = owner and getattr(services().settings, f"{owner}_client_id")
    return provider if offers else ""


def _onwards(url: str) -> AnyResponse:
    """A redirect that htmx follows as a whole page."""
    if "HX-Request" in request.headers:
        return Response(status=204, headers={"HX-Redirect": url})
    return redirect(url, 303)


def _is_google(found: Attempt) -> bool:
    return found.spec is not None and (
        provider_name_for(found.spec.imap.host) == "gmail"
        or found.settings.get("provider") == "gmail"
    )


def _may_save(found: Attempt) -> bool:
    """Other servers than the stored ones are for those who may change them."""
    if found.is_new or found.kind == "consent" or may(Permission.MANAGE_MAILBOXES):
        return True
    row = mailbox_list.find(services().door, workspace(), found.mailbox_id)
    return destinations(row) == destinations(found.settings)


def _saved(address: str, scope: str | None) -> str:
    if scope is None:
        return f"{address} is connected again."
    if scope == "none":
        return f"{address} is stored. Nobody signs in to it until warmup is agreed to."
    return f"{address} is connected. Its first day is planned as soon as a worker has signed in."
