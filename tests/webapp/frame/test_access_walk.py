"""Every route with every role, an outsider, an administrator and a visitor, against one table.

The table is written out here, apart from the code: a route that is missing from it fails, and so
does one whose rule was changed without it. The views themselves are put aside, so that the walk
reaches each address with each method and does nothing there.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any
from uuid import uuid4

from flask import Response, url_for
from werkzeug.routing import Rule

from mailhearth_core.access import ROLES, Permission, Role
from mailhearth_web.frame.access import ATTRIBUTE, FRESH_FOR, access_of
from mailhearth_web.frame.guard import ATTRIBUTE as LIMITS
from web import Browser, Web

REACHED = "the view was reached"
PUBLIC, SIGNED_IN, PLATFORM = "public", "signed in", "platform admin"
P = Permission

TABLE: dict[str, str | Permission] = {
    "static": PUBLIC,
    "health.healthz": PUBLIC,
    "health.readyz": PUBLIC,
    "health.security_txt": PUBLIC,
    "home.index": SIGNED_IN,
    "home.choose": SIGNED_IN,
    "signin.choose": PUBLIC,
    "signin.begin": PUBLIC,
    "signin.callback": PUBLIC,
    "signin.link": PUBLIC,
    "signin.use_link": PUBLIC,
    "signin.leave": PUBLIC,
    "account.show": SIGNED_IN,
    "account.link": SIGNED_IN,
    "account.unlink": SIGNED_IN,
    "account.end_session": SIGNED_IN,
    "account.end_other_sessions": SIGNED_IN,
    "account.delete": SIGNED_IN,
    "account.deleted": PUBLIC,
    "overview.show": P.LOOK,
    "overview.ramp": P.LOOK,
    "overview.placement": P.LOOK,
    "mailbox.show": P.LOOK,
    "mailbox.ramp": P.LOOK,
    "mailbox.placement": P.LOOK,
    "mailboxes.connect": P.WORK_MAILBOXES,
    "mailboxes.servers": P.WORK_MAILBOXES,
    "mailboxes.attempt": P.WORK_MAILBOXES,
    "mailboxes.save": P.WORK_MAILBOXES,
    "mailboxes.settings": P.LOOK,
    "mailboxes.describe": P.WORK_MAILBOXES,
    "mailboxes.change_servers": P.WORK_MAILBOXES,
    "mailboxes.test": P.WORK_MAILBOXES,
    "mailboxes.move": P.MANAGE_MAILBOXES,
    "mailboxes.pause": P.WORK_MAILBOXES,
    "mailboxes.resume": P.WORK_MAILBOXES,
    "mailboxes.consent": P.WORK_MAILBOXES,
    "mailboxes.delete": P.MANAGE_MAILBOXES,
    "mailboxes.ask": P.WORK_MAILBOXES,
    "mailboxes.answer": SIGNED_IN,
    "mailboxes.index": P.LOOK,
    "imports.upload": P.WORK_MAILBOXES,
    "imports.example": P.WORK_MAILBOXES,
    "imports.look": P.WORK_MAILBOXES,
    "imports.mistakes": P.WORK_MAILBOXES,
    "imports.carry_out": P.WORK_MAILBOXES,
    "imports.drop": P.WORK_MAILBOXES,
    "pools.index": P.LOOK,
    "pools.create": P.MANAGE_POOLS,
    "pools.create_default": P.MANAGE_POOLS,
    "pools.show": P.LOOK,
    "dns.index": P.LOOK,
    "dns.show": P.LOOK,
    "dns.ask": P.WORK_MAILBOXES,
    "simulate.show": P.LOOK,
    "simulate.result": P.LOOK,
    "simulate.ramp": P.LOOK,
    "simulate.placement": P.LOOK,
    "events.stream": SIGNED_IN,
    "workspaces.create": SIGNED_IN,
    "workspaces.settings": P.RENAME_WORKSPACE,
    "workspaces.export": P.EXPORT_WORKSPACE,
    "workspaces.delete": P.DELETE_WORKSPACE,
    "members.index": P.LOOK,
    "members.invite": P.MANAGE_MEMBERS,
    "members.withdraw": P.MANAGE_MEMBERS,
    "members.change_role": P.MANAGE_MEMBERS,
    "members.remove": P.MANAGE_MEMBERS,
    "members.leave": P.LOOK,
    "invitations.show": PUBLIC,
    "invitations.accept": SIGNED_IN,
    "audit.index": P.READ_AUDIT,
    "audit.export": P.READ_AUDIT,
    "admin.network": PLATFORM,
    "admin.ramp": PLATFORM,
    "admin.placement": PLATFORM,
    "admin.workspaces": PLATFORM,
    "admin.workspace": PLATFORM,
    "admin.suspend": PLATFORM,
    "admin.resume": PLATFORM,
    "admin.pools": PLATFORM,
    "admin.domains": PLATFORM,
    "admin.people": PLATFORM,
    "admin.errors": PLATFORM,
    "admin.work": PLATFORM,
    "admin.failed": PLATFORM,
    "admin.retry": PLATFORM,
    "admin.audit": PLATFORM,
    "admin.audit_export": PLATFORM,
}
"""What each view asks for; changed together with the view, and looked at then."""
FRESH = {
    "account.delete",
    "account.link",
    "account.unlink",
    "admin.resume",
    "admin.suspend",
    "mailboxes.delete",
    "workspaces.delete",
    "workspaces.export",
}
"""Those that besides ask for a sign-in of the last ten minutes."""


def stub(view: Callable[..., Any]) -> Callable[..., Response]:
    """A view that carries the other's marks and does nothing."""

    def reached(**_: Any) -> Response:
        return Response(REACHED)

    for mark in (ATTRIBUTE, LIMITS):
        if hasattr(view, mark):
            setattr(reached, mark, getattr(view, mark))
    setattr(reached, LIMITS, ())  # the walk is no flood
    return reached


def addresses(web: Web) -> Iterator[tuple[Rule, str, str]]:
    """Each rule with each of its methods and an address that it answers."""
    made_up: dict[str, Any] = {"UUIDConverter": uuid4(), "IntegerConverter": 1}
    for rule in web.app.url_map.iter_rules():
        values = {
            name: made_up.get(type(converter).__name__, "x")
            for name, converter in rule._converters.items()
        }
        if "workspace" in values:
            values["workspace"] = web.workspace
        with web.app.test_request_context():
            path = url_for(rule.endpoint, **values)
        for method in sorted((rule.methods or set()) - {"HEAD", "OPTIONS"}):
            yield rule, method, path


def ask(browser: Browser, method: str, path: str) -> str:
    """What came of it, in a word."""
    if method == "GET":
        answer = browser.get(path)
    else:
        assert method == "POST", "the walk knows no other method"
        answer = browser.submit(path)
    if answer.text == REACHED:
        return "reached"
    if answer.status_code == 303 and answer.headers["Location"].startswith("/sign-in?"):
        return "fresh" if "fresh=1" in answer.headers["Location"] else "sign in"
    return str(answer.status_code)


def expected(rule: str | Permission, who: str) -> str:
    if rule == PUBLIC:
        return "reached"
    if who == "visitor":
        return "sign in"
    if rule == SIGNED_IN:
        return "reached"
    if rule == PLATFORM:
        return "reached" if who == "platform admin" else "403"
    if who in ("outsider", "platform admin"):
        return "404"
    return "reached" if rule in ROLES[Role(who)] else "403"


def test_every_route_is_in_the_table_with_its_rule(web: Web) -> None:
    found: dict[str, str | Permission] = {}
    for endpoint, view in web.app.view_functions.items():
        rule = access_of(view)
        names = {"public": PUBLIC, "signed_in": SIGNED_IN, "platform_admin": PLATFORM}
        found[endpoint] = rule.permission or names[str(rule.kind)]
    assert found == TABLE
    fresh = {name for name, view in web.app.view_functions.items() if access_of(view).fresh}
    assert fresh == FRESH


def test_every_route_with_every_role(web: Web) -> None:
    web.app.view_functions = {name: stub(view) for name, view in web.app.view_functions.items()}
    browsers: dict[str, Browser] = {role.value: web.member(role.value) for role in Role}
    browsers |= {
        "outsider": web.outsider(),
        "platform admin": web.admin(),
        "visitor": web.visitor(),
    }
    wrong = []
    walked = list(addresses(web))
    for rule, method, path in walked:
        for who, browser in browsers.items():
            should = expected(TABLE[rule.endpoint], who)
            if (should, who, method) == ("reached", "visitor", "POST"):
                should = "400"  # without a session there is no token
            answer = ask(browser, method, path)
            if answer != should:
                wrong.append(f"{method} {rule.rule} by {who}: {answer}, not {should}")
    assert wrong == []
    assert {rule.endpoint for rule, _, _ in walked} == set(TABLE)


def test_dangerous_deeds_ask_for_a_recent_sign_in(web: Web) -> None:
    web.app.view_functions = {name: stub(view) for name, view in web.app.view_functions.items()}
    owner = web.browser(web.person(admin=True))
    assert owner.person is not None
    web.join(owner.person, "owner")
    web.clock.at += FRESH_FOR + timedelta(seconds=1)
    found = {
        rule.endpoint
        for rule, method, path in addresses(web)
        if ask(owner, method, path) == "fresh"
    }
    assert found == FRESH
