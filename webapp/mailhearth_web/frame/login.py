"""Flask-Login over the one session: `current_user` for templates and extensions.

It stores nothing of its own: the person is that of the session's row. There is no remember cookie.
"""

from __future__ import annotations

from typing import Any

from flask import Flask, Request, g, session
from flask_login import LoginManager, UserMixin, current_user
from werkzeug.wrappers import Response

from mailhearth_core.verbs.people import Person
from mailhearth_web.frame.access import to_sign_in
from mailhearth_web.frame.session import StoredSession
from mailhearth_web.frame.visit import visit


class CurrentUser(UserMixin):  # type: ignore[misc]
    """A signed-in person as Flask-Login has it."""

    def __init__(self, person: Person) -> None:
        self.id = person.id
        self.person = person


class _Manager(LoginManager):  # type: ignore[misc]
    session_protection = None  # it would write to the session at each request

    def _load_user_from_remember_cookie(self, cookie: str) -> None:
        return None


def install(app: Flask) -> None:
    """Without `init_app`, which would look into each response for a remember cookie to set."""
    manager = _Manager()
    manager.session_protection = None
    manager.request_loader(_load)
    manager.unauthorized_handler(_unauthorized)
    app.login_manager = manager  # type: ignore[attr-defined]
    app.context_processor(lambda: {"current_user": current_user})  # a proxy: looks when asked


def _load(request: Request) -> CurrentUser | None:
    person = visit().person
    return CurrentUser(person) if person else None


def _unauthorized() -> Response:
    return to_sign_in()


def about() -> dict[str, Any]:
    """Who it was, for the access line; looks nothing up that the request did not."""
    found: dict[str, Any] = {}
    if isinstance(session._get_current_object(), StoredSession) and "mailhearth_visit" in g:  # type: ignore[attr-defined]
        here = visit()
        if here.person:
            found["person"] = str(here.person.id)
        if here.place:
            found["workspace"] = str(here.place.workspace_id)
    return found
