"""Connecting by the owner's consent at Google or Microsoft (OAuth), in the browser.

The answer comes to one address for all workspaces, which the provider knows; the session says what
it belongs to. State and verifier are made here, used once, and good for ten minutes.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any
from uuid import UUID

from flask import Blueprint, Response, flash, redirect, request, session, url_for
from flask_wtf import FlaskForm
from werkzeug.exceptions import NotFound as NoPage
from werkzeug.wrappers import Response as AnyResponse
from wtforms import SelectField, StringField

from mailhearth_core.access import Permission
from mailhearth_core.errors import Conflict, NotFound
from mailhearth_core.oauth.consent import authorization_url, new_secret
from mailhearth_core.oauth.model import OWNERS
from mailhearth_core.secrets import Secret
from mailhearth_core.verbs import connecting, consents, mailbox_list, members, pools
from mailhearth_core.verbs.consents import Handed
from mailhearth_core.verbs.mailbox_spec import InvalidMailbox, MailboxSpec, timezones
from mailhearth_core.verbs.mailboxes import AddressTaken
from mailhearth_web.areas.mailboxes.connect import TAKEN, ZONE, workspace
from mailhearth_web.areas.mailboxes.forms import add_error, pool_choices, said, zones
from mailhearth_web.frame.access import allow, signed_in
from mailhearth_web.frame.guard import limited
from mailhearth_web.frame.page import page
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

WAITING = "consents"
"""The session's own: by state, what an answer belongs to."""
GOOD_FOR = timedelta(minutes=10)
MOST = 5
"""Consents that one session waits for at once; the oldest is forgotten."""


@dataclass(frozen=True)
class Client:
    """This installation as a provider knows it; the secret is the workers'."""

    provider: str
    owner: str
    client_id: str
    authorization_endpoint: str
    token_endpoint: str


class AskForm(FlaskForm):  # type: ignore[misc]
    """Whose consent is asked, and where the mailbox goes."""

    address = StringField("E-mail address")
    name = StringField("Name", description="The person's name, as mails from it show it.")
    timezone = StringField("Time zone", description="Of its working day, such as Europe/Berlin.")
    pool = SelectField("Pool", description="Its policy, and whom it writes to.")


def register(blueprint: Blueprint) -> None:
    """Adds the views to the area's blueprint."""
    blueprint.add_url_rule(
        "/w/<uuid:workspace>/mailboxes/consent/<provider>", "ask", ask, methods=["GET", "POST"]
    )
    blueprint.add_url_rule(
        "/mailboxes/consent/<provider>/answer", "answer", answer, methods=["GET"]
    )


def client_of(provider: str) -> Client | None:
    """The client that consents are asked for with; None where the operator has set none."""
    settings, owner = services().settings, OWNERS.get(provider, "").lower()
    if not owner or not getattr(settings, f"{owner}_client_id"):
        return None
    return Client(
        provider,
        OWNERS[provider],
        getattr(settings, f"{owner}_client_id"),
        getattr(settings, f"{owner}_authorization_endpoint"),
        getattr(settings, f"{owner}_token_endpoint"),
    )


@allow(Permission.WORK_MAILBOXES)
@limited("60/minute", by="account")
def ask(provider: str) -> Response | AnyResponse:
    """Says what is asked and what the risk is, and then shows the way to the provider.

    `?mailbox=` connects one again that is there; `?attempt=` takes the address of a search.
    """
    client = client_of(provider)
    if client is None:
        raise NoPage()
    form = AskForm()
    form.pool.choices = pool_choices(pools.listing(services().door, workspace()))
    row = _mailbox()
    if row is not None and row["provider"] != provider:
        raise NoPage()
    if row is not None:
        form.address.data, form.name.data = row["address"], row["display_name"]
        form.timezone.data, form.pool.data = row["timezone"], str(row["pool_id"])
    elif request.method == "GET":
        form.address.data = _searched()
        form.timezone.data = session.get(ZONE, "UTC")
    url = ""
    if form.validate_on_submit():
        spec = _spec(form, client, is_new=row is None)
        if spec is not None:
            session[ZONE] = spec.timezone
            url = _begin(client, spec, UUID(form.pool.data), row["id"] if row else None)
    return page(
        "mailboxes/consent.html",
        form=form,
        client=client,
        row=row,
        go=url,
        own_zone=request.method == "GET" and ZONE not in session,
        zones=zones(timezones()),
        status=422 if form.errors else 200,
    )


@signed_in
@limited("60/minute", by="account")
def answer(provider: str) -> AnyResponse:
    """The owner is back: with a code, which is sealed at once, or with a no."""
    waiting = dict(session.get(WAITING, {}))
    asked = waiting.pop(request.args.get("state", ""), None)
    session[WAITING] = waiting
    now = services().clock.now()
    if (
        asked is None
        or asked["provider"] != provider
        or now - datetime.fromisoformat(asked["at"]) > GOOD_FOR
    ):
        raise NotFound(
            "This answer belongs to no sign-in that was begun here in the last ten minutes.",
            hint="Begin again from the mailboxes' page.",
        )
    place_id = UUID(asked["workspace"])
    _enter(place_id)
    code = request.args.get("code", "")
    if not code or not code.isprintable() or not code.isascii() or len(code) > 4096:
        refused = request.args.get("error") == "access_denied"
        text = "No consent was given; nothing was changed."
        flash(text if refused else f"{OWNERS[provider]} gave no consent. Try again.", "warning")
        return redirect(url_for("mailboxes.connect", workspace=place_id), 303)
    begun = consents.hand_over(
        services().door,
        place_id,
        UUID(asked["pool"]),
        connecting.spec_of(asked["settings"]),
        Handed(Secret(code), Secret(asked["verifier"]), asked["redirect_uri"]),
        mailbox_id=UUID(asked["mailbox"]) if asked["mailbox"] else None,
    )
    return redirect(url_for("mailboxes.attempt", workspace=place_id, attempt=begun), 303)


def _enter(workspace_id: UUID) -> None:
    """As `allow` does: who is no member any more, or may do less, gets no further."""
    person = visit().person
    assert person is not None
    place = members.place(services().database, person.id, workspace_id)
    if place is None or not place.allows(Permission.WORK_MAILBOXES):
        raise NotFound("There is no such workspace.")
    visit().place = place


def _spec(form: AskForm, client: Client, *, is_new: bool) -> MailboxSpec | None:
    """The mailbox to be; None when the form says what is wrong."""
    values = {
        "address": (form.address.data or "").strip(),
        "name": form.name.data,
        "timezone": (form.timezone.data or "").strip(),
    }
    try:
        spec = consents.check(
            client.provider,
            values,
            token_endpoint=client.token_endpoint,
            client_id=client.client_id,
        )
        consents.may_begin(services().door, workspace(), spec, is_new=is_new)
    except InvalidMailbox as error:
        for mistake in error.mistakes:
            field = mistake.field if mistake.field in ("name", "timezone") else "address"
            add_error(form[field], said(mistake, values))
    except AddressTaken:
        add_error(form.address, TAKEN)
    except Conflict as error:
        add_error(form.address, str(error))
    else:
        return spec
    return None


def _begin(client: Client, spec: MailboxSpec, pool_id: UUID, mailbox_id: UUID | None) -> str:
    """Remembers what the answer will belong to; where the owner consents."""
    state, verifier = new_secret(), new_secret()
    path = url_for("mailboxes.answer", provider=client.provider)
    redirect_uri = f"{services().settings.public_url}{path}"
    waiting = dict(session.get(WAITING, {}))
    by_age = sorted(waiting, key=lambda key: waiting[key]["at"])
    for oldest in by_age[: max(0, len(by_age) + 1 - MOST)]:
        del waiting[oldest]
    waiting[state] = {
        "provider": client.provider,
        "workspace": str(workspace()),
        "pool": str(pool_id),
        "mailbox": str(mailbox_id) if mailbox_id else "",
        "settings": connecting.settings_of(spec, pool_id, is_new=mailbox_id is None),
        "verifier": verifier,
        "redirect_uri": redirect_uri,
        "at": services().clock.now().isoformat(),
    }
    session[WAITING] = waiting
    return authorization_url(
        client.authorization_endpoint,
        client.provider,
        client_id=client.client_id,
        redirect_uri=redirect_uri,
        state=state,
        verifier=verifier,
        address=spec.address,
    )


def _mailbox() -> dict[str, Any] | None:
    """The mailbox that is connected again."""
    asked = request.args.get("mailbox", "")
    if not asked:
        return None
    try:
        return mailbox_list.find(services().door, workspace(), UUID(asked))
    except ValueError:
        raise NoPage() from None


def _searched() -> str:
    try:
        found = connecting.look(services().door, workspace(), UUID(request.args.get("attempt", "")))
    except (NotFound, ValueError):
        return ""
    return str(found.settings["address"])
