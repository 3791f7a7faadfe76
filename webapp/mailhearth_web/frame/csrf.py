"""Cross-site request forgery: Flask-WTF's token on every unsafe request, beside SameSite.

The browser's own word comes first: a request that it says came from another site is refused, with
or without a token.
"""

from __future__ import annotations

from flask import Flask, request
from flask_wtf.csrf import CSRFError, CSRFProtect

UNSAFE = ("POST", "PUT", "PATCH", "DELETE")


def install(app: Flask) -> None:
    app.config["WTF_CSRF_TIME_LIMIT"] = None  # it lives as long as the session that holds it
    app.config["WTF_CSRF_SSL_STRICT"] = False  # asks for a Referer; the look at Origin says more
    app.before_request(_refuse_other_sites)
    CSRFProtect(app)


def _refuse_other_sites() -> None:
    if request.method not in UNSAFE:
        return
    origin = request.headers.get("Origin")
    ours = f"{request.scheme}://{request.host}"
    if origin is not None and origin != ours:
        raise CSRFError("The form was sent from another site.")
    if request.headers.get("Sec-Fetch-Site") in ("cross-site", "same-site"):
        raise CSRFError("The form was sent from another site.")
