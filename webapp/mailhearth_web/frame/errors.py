"""What an error looks like to a person: one plain page, always with the request's id.

It is made without the session or the database, so that it can also say that those are away.
"""

from __future__ import annotations

import structlog
from flask import Flask, Response, jsonify, make_response, render_template, request
from flask_wtf.csrf import CSRFError
from werkzeug.exceptions import HTTPException

from mailhearth_core import errors
from mailhearth_core.errors import MailhearthError
from mailhearth_core.verbs import invitations, members, people
from mailhearth_web.frame.outermost import REQUEST_ID

log = structlog.get_logger()

STATUS: tuple[tuple[type[MailhearthError], int], ...] = (
    (errors.NotFound, 404),
    (errors.InvalidValue, 422),
    (errors.Conflict, 409),
    (members.NotAllowed, 403),
    (people.RegistrationClosed, 403),
    (invitations.OtherAddress, 403),
    (people.LinkUsed, 410),
    (errors.NotYet, 503),
    (errors.ServiceUnavailable, 503),
)
TITLES = {
    400: "This could not be understood",
    401: "Sign in first",
    403: "Not allowed",
    404: "Nothing is here",
    405: "Not possible this way",
    409: "That does not fit any more",
    410: "This link is used up",
    413: "That is too large",
    422: "That value is not allowed",
    429: "Too many tries",
    500: "Something went wrong",
    503: "Not available at the moment",
}
TEXTS = {
    404: "The page does not exist, or is not yours to see.",
    405: "Go back and use the page's own buttons.",
    413: "Send less at once.",
    429: "Wait a little, then try again.",
    500: "It is our mistake, and it has been noted. Nothing you did is lost that was saved before.",
}
RETRY_SECONDS = "10"


def install(app: Flask) -> None:
    app.register_error_handler(CSRFError, _csrf)
    app.register_error_handler(HTTPException, _http)
    app.register_error_handler(MailhearthError, _ours)
    app.register_error_handler(Exception, _unexpected)


def request_id() -> str:
    return str(request.environ.get(REQUEST_ID, ""))


def status_of(error: MailhearthError) -> int:
    return next((status for kind, status in STATUS if isinstance(error, kind)), 500)


def _ours(error: MailhearthError) -> Response:
    status = status_of(error)
    if status == 500:
        log.error("request_failed", code=error.code, reason=str(error), exc_info=error)
        return _page(500, TEXTS[500], code=error.code)
    if status == 503:
        log.warning("request_unavailable", code=error.code, reason=error.message)
        if isinstance(error, errors.ServiceUnavailable) and error.code != "limits_unavailable":
            # The message names addresses inside the installation.
            text = "A service that this page needs does not answer."
            return _page(503, text, hint="Try again in a minute.", code=error.code)
    return _page(status, error.message, hint=error.hint, code=error.code)


def _csrf(error: CSRFError) -> Response:
    log.warning("csrf_refused", reason=error.description)
    return _page(
        400,
        "The form was open for too long, or did not come from this page.",
        hint="Go back, load the page anew and send it again.",
        code="csrf",
    )


def _http(error: HTTPException) -> Response:
    if error.response is not None:
        return make_response(error.response)
    status = error.code or 500
    default = type(error).description
    text = error.description if error.description and error.description != default else ""
    response = _page(status, text or TEXTS.get(status, error.name))
    for name, value in error.get_headers():
        if name.lower() not in ("content-type", "content-length"):
            response.headers[name] = value
    return response


def _unexpected(error: Exception) -> Response:
    log.error("request_crashed", error=type(error).__name__, exc_info=error)
    return _page(500, TEXTS[500], code="unexpected")


def _page(status: int, text: str, *, hint: str = "", code: str = "") -> Response:
    title = TITLES.get(status, "This did not work")
    if wants_json():
        response = jsonify(
            error={"code": code or str(status), "message": text or title, "hint": hint},
            request_id=request_id(),
        )
    else:
        response = make_response(
            render_template(
                "errors/plain.html",
                title=title,
                text=text,
                hint=hint,
                status=status,
                request_id=request_id(),
            )
        )
    response.status_code = status
    if status == 503:
        response.headers["Retry-After"] = RETRY_SECONDS
    return response


def wants_json() -> bool:
    """Whether the request came from a script of the page that reads JSON."""
    best = request.accept_mimetypes.best_match(("text/html", "application/json"), "text/html")
    return best == "application/json"
