"""Who may open which view: each view carries exactly one mark, and without one it is closed.

`@public`, `@signed_in`, `@allow(Permission.X)` and `@platform_admin` only mark the view; one look
before each request enforces them, so their order among other decorators does not matter.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from typing import Any, Literal, TypeVar
from urllib.parse import urlencode, urlsplit
from uuid import UUID

import flask
from flask import Flask, Response, request
from werkzeug.exceptions import Forbidden, NotFound

from mailhearth_core.access import Permission, allows
from mailhearth_core.errors import MailhearthError
from mailhearth_core.verbs import members
from mailhearth_web.frame.services import services
from mailhearth_web.frame.visit import visit

View = TypeVar("View", bound=Callable[..., Any])
Kind = Literal["public", "signed_in", "workspace", "platform_admin"]

ATTRIBUTE = "mailhearth_access"
FRESH_FOR = timedelta(minutes=10)
"""How long after signing in dangerous deeds are allowed."""
SIGN_IN_PATH = "/sign-in"


@dataclass(frozen=True)
class Access:
    """A view's rule."""

    kind: Kind | None = None
    permission: Permission | None = None
    fresh: bool = False


def _mark(view: View, **changes: Any) -> View:
    before = access_of(view)
    if "kind" in changes and before.kind is not None:
        raise TypeError(f"{getattr(view, '__name__', view)} has two access rules")
    setattr(view, ATTRIBUTE, replace(before, **changes))
    return view


def access_of(view: object) -> Access:
    """The view's rule; its kind is None where nobody gave it one."""
    found: Access = getattr(view, ATTRIBUTE, Access())
    return found


def public(view: View) -> View:
    """Anybody, signed in or not."""
    return _mark(view, kind="public")


def signed_in(view: View) -> View:
    """Anybody who has signed in."""
    return _mark(view, kind="signed_in")


def allow(permission: Permission) -> Callable[[View], View]:
    """Members of the workspace in the address whose role has the permission.

    The view does not get the argument `workspace`; it is `visit().place`.
    """
    return lambda view: _mark(view, kind="workspace", permission=permission)


def platform_admin(view: View) -> View:
    """Those whom `mailhearth admin grant` made so."""
    return _mark(view, kind="platform_admin")


def fresh(view: View) -> View:
    """Besides another mark: only within ten minutes of signing in, else sign in again first."""
    return _mark(view, fresh=True)


def install(app: Flask) -> None:
    """Enforces the marks before each request, and fills `workspace` into addresses."""
    app.before_request(_enforce)
    app.url_defaults(_fill_workspace)


def _enforce() -> Response | None:
    if request.endpoint is None:
        return None  # the 404 or 405 of the router follows
    rule = access_of(flask.current_app.view_functions[request.endpoint])
    if rule.kind == "public" and not rule.fresh:
        return None
    if rule.kind is None:
        raise MailhearthError(f"The view {request.endpoint} has no access rule.", code="closed")
    person = visit().person
    if person is None:
        return to_sign_in()
    if rule.kind == "workspace":
        _enter(rule.permission)
    elif rule.kind == "platform_admin" and not person.is_admin:
        raise Forbidden("This page is for the administrators of this installation.")
    return to_sign_in(again=True) if rule.fresh and not is_fresh() else None


def _enter(permission: Permission | None) -> None:
    assert request.view_args is not None
    assert permission is not None
    workspace: UUID = request.view_args.pop("workspace")
    here = visit()
    assert here.person is not None
    place = members.place(services().database, here.person.id, workspace)
    if place is None:
        raise NotFound()  # unknown or somebody else's: the same answer
    here.place = place
    if not allows(place.role, permission):
        raise Forbidden(f"Your role in this workspace, {place.role}, does not allow this.")


def is_fresh() -> bool:
    """Whether the sign-in is recent enough for a dangerous deed."""
    session = visit().session
    if session is None or session.signed_in_at is None:
        return False
    return services().clock.now() - session.signed_in_at <= FRESH_FOR


def may(permission: Permission) -> bool:
    """Whether the visitor's role here has it: for templates that show or hide a button."""
    place = visit().place
    return place is not None and allows(place.role, permission)


def to_sign_in(*, again: bool = False) -> Response:
    """To the sign-in page and, after it, back to the page that was asked for."""
    parameters = {"next": _way_back()} | ({"fresh": "1"} if again else {})
    target = f"{SIGN_IN_PATH}?{urlencode(parameters)}"
    if "HX-Request" in request.headers:
        return Response(status=204, headers={"HX-Redirect": target})
    return Response(status=303, headers={"Location": target})


def _way_back() -> str:
    """The page to return to: after a POST that of the form, which must be filled in anew."""
    if request.method in ("GET", "HEAD") and "HX-Request" not in request.headers:
        return request.full_path.rstrip("?")
    before = urlsplit(request.headers.get("HX-Current-URL") or request.referrer or "")
    if before.netloc.lower() != request.host:
        return "/"
    return safe_path(before.path + (f"?{before.query}" if before.query else ""))


def safe_path(target: str | None) -> str:
    """A path of this dashboard, or "/": what may follow a sign-in (never another site)."""
    text = target or "/"
    if not text.startswith("/") or text[1:2] in ("/", "\\") or not text.isprintable():
        return "/"
    parts = urlsplit(text)
    return "/" if parts.scheme or parts.netloc else text


def _fill_workspace(endpoint: str, values: dict[str, Any]) -> None:
    if "workspace" in values or "mailhearth_visit" not in flask.g:
        return
    place = visit().place
    if place and flask.current_app.url_map.is_endpoint_expecting(endpoint, "workspace"):
        values["workspace"] = place.workspace_id
