"""The Flask application: the frame around the areas."""

from __future__ import annotations

import hashlib
import hmac
from importlib import import_module
from io import BytesIO
from typing import IO

from flask import Flask, Request, Response, request

from mailhearth_web.areas import AREAS
from mailhearth_web.frame import access, csrf, errors, login, navigation, page, static
from mailhearth_web.frame.guarding import install as install_guard
from mailhearth_web.frame.outermost import ABOUT, Outermost
from mailhearth_web.frame.services import EXTENSION, Services
from mailhearth_web.frame.session import StoredSessions
from mailhearth_web.settings import WebSettings

MAX_BODY = 16 * 1024 * 1024
"""Bytes of a request; a CSV of 100,000 mailboxes is about 10 MB."""
MAX_FORM_PARTS = 2_000


class InMemory(Request):
    """A request whose uploads stay in memory, where `MAX_BODY` bounds them: a list of mailboxes
    holds passwords, which must not lie in a temporary file."""

    def _get_file_stream(self, *about: object, **more: object) -> IO[bytes]:
        return BytesIO()


def create_app(settings: WebSettings, services: Services) -> Flask:
    """Wires the application; connects nothing."""
    app = Flask("mailhearth_web", static_folder=None, template_folder="templates")
    app.request_class = InMemory
    app.config.update(
        MAX_CONTENT_LENGTH=MAX_BODY,
        MAX_FORM_PARTS=MAX_FORM_PARTS,
        PREFERRED_URL_SCHEME="https" if settings.is_https else "http",
        PROPAGATE_EXCEPTIONS=False,
    )
    app.secret_key = _signing_key(settings)
    app.extensions[EXTENSION] = services
    app.session_interface = StoredSessions(services)
    errors.install(app)
    app.before_request(_about_this_request)
    install_guard(app, by="ip")
    access.install(app)
    install_guard(app, by="account")
    csrf.install(app)
    login.install(app)
    static.install(app)
    page.install(app)
    links: list[navigation.Link] = []
    for area in AREAS:
        views = import_module(f"mailhearth_web.areas.{area}.views")
        app.register_blueprint(views.blueprint)
        links += getattr(views, "LINKS", ())
    navigation.install(app, links)
    app.after_request(_about_the_visitor)
    outermost = Outermost(app.wsgi_app, settings, services.metrics)
    app.wsgi_app = outermost  # type: ignore[method-assign,assignment]
    return app


def _signing_key(settings: WebSettings) -> bytes:
    """Signs CSRF tokens, whose secret half is in the session: equal in all processes of one
    installation, and never written down.
    """
    return hmac.digest(settings.database_url.reveal().encode(), b"mailhearth web", hashlib.sha256)


def _about_this_request() -> None:
    request.environ[ABOUT]["route"] = str(request.url_rule) if request.url_rule else ""


def _about_the_visitor(response: Response) -> Response:
    request.environ[ABOUT].update(login.about())
    return response
