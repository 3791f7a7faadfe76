"""/healthz, /readyz and /.well-known/security.txt."""

from __future__ import annotations

from datetime import timedelta
from urllib.parse import urlsplit

from flask import Blueprint, Response, jsonify

from mailhearth_web.frame.access import public
from mailhearth_web.frame.readiness import reasons_not_ready
from mailhearth_web.frame.services import services

blueprint = Blueprint("health", __name__)

SECURITY_TXT_LIFE = timedelta(days=180)


@blueprint.get("/healthz")
@public
def healthz() -> Response:
    """This process answers."""
    return _report([])


@blueprint.get("/readyz")
@public
def readyz() -> Response:
    """The database, its migrations and Redis are there; which of them is not is in the log."""
    return _report(reasons_not_ready(services()))


@blueprint.get("/.well-known/security.txt")
@public
def security_txt() -> Response:
    """RFC 9116. Without a setting the contact is security@ the public host (RFC 2142)."""
    settings = services().settings
    host = urlsplit(settings.public_url).hostname
    contact = settings.security_contact or f"mailto:security@{host}"
    expires = services().clock.now() + SECURITY_TXT_LIFE
    text = (
        f"Contact: {contact}\n"
        f"Expires: {expires:%Y-%m-%dT%H:%M:%SZ}\n"
        "Preferred-Languages: en\n"
        f"Canonical: {settings.public_url}/.well-known/security.txt\n"
    )
    return Response(text, content_type="text/plain; charset=utf-8")


def _report(reasons: list[str]) -> Response:
    response = jsonify(ok=not reasons, reasons=reasons)
    response.status_code = 503 if reasons else 200
    return response
