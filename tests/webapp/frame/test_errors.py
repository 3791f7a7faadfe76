"""What goes wrong is said plainly, with the request's id and nothing of the inside."""

from __future__ import annotations

import io
import json

import pytest

from mailhearth_core import errors, logs
from mailhearth_core.errors import MailhearthError
from mailhearth_core.secrets import Secret
from mailhearth_core.storage import doors
from mailhearth_core.storage.doors import Database
from mailhearth_core.verbs import members, people
from mailhearth_web.frame.access import public, signed_in
from mailhearth_web.frame.readiness import Endpoint
from web import Web


def fail_with(web: Web, error: Exception, path: str = "/t/fail") -> None:
    @public
    def fail() -> str:
        raise error

    web.app.add_url_rule(path, endpoint=path, view_func=fail)


def test_our_own_errors_are_told_with_their_words(web: Web) -> None:
    told: dict[MailhearthError, int] = {
        errors.NotFound("No such mailbox."): 404,
        errors.InvalidValue("volume", 99, "1 to 50"): 422,
        errors.Conflict("The name is taken."): 409,
        errors.NotYet("It is being prepared."): 503,
        members.NotAllowed("Only owners may."): 403,
        people.LinkUsed("The link was used."): 410,
    }
    for number, error in enumerate(told):
        fail_with(web, error, f"/t/{number}")
    for number, (error, status) in enumerate(told.items()):
        response = web.visitor().get(f"/t/{number}")
        assert response.status_code == status, error
        assert error.message.split(":")[0] in response.text
        assert response.headers["X-Request-ID"] in response.text


def test_a_fault_shows_a_number_and_its_story_is_in_the_log(web: Web) -> None:
    fail_with(web, ZeroDivisionError("inside <b>4711</b>"))
    out = io.StringIO()
    logs.configure("web", "INFO", out)
    try:
        response = web.visitor().get("/t/fail")
    finally:
        logs.configure("test", "ERROR", io.StringIO())
    assert response.status_code == 500
    for word in ("Traceback", "ZeroDivisionError", "4711", ".py"):
        assert word not in response.text
    request_id = response.headers["X-Request-ID"]
    assert request_id in response.text
    (story,) = [
        line
        for line in map(json.loads, out.getvalue().splitlines())
        if line["event"] == "request_crashed"
    ]
    assert story["request_id"] == request_id
    assert story["exception"][0]["exc_type"] == "ZeroDivisionError"


def test_without_a_database_a_page_says_so_and_probes_tell(
    web: Web, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(doors, "CONNECT_SECONDS", 1)

    @signed_in
    def page() -> str:
        return "page"

    web.app.add_url_rule("/t/page", endpoint="t.page", view_func=page)
    ann = web.browser(web.person("ann"))
    away = Database(Secret("postgresql://web:tell-nobody@127.0.0.1:1/mailhearth"))
    object.__setattr__(web.services, "database", away)
    response = ann.get("/t/page")
    assert response.status_code == 503
    assert "127.0.0.1" not in response.text
    assert "tell-nobody" not in response.text
    assert response.headers["Retry-After"]
    assert "Set-Cookie" not in response.headers  # the session is not lost with the database
    ready = ann.get("/readyz")
    assert ready.status_code == 503
    assert ready.get_json()["reasons"] == ["the database does not answer"]
    assert ann.get("/healthz").status_code == 200
    away.close()


def test_a_database_of_another_version_is_not_ready(web: Web) -> None:
    web.installation.rows(
        "DELETE FROM schema_checksums WHERE name = (SELECT max(name) FROM schema_checksums)"
    )
    reasons = web.visitor().get("/readyz").get_json()["reasons"]
    assert reasons == ["the database has not been migrated to this version"]


def test_people_are_sent_here_once_all_was_well_until_it_stops(web: Web) -> None:
    away = Database(Secret("postgresql://web@127.0.0.1:1/mailhearth"))
    well, endpoint = web.services.database, Endpoint(web.services)
    try:
        object.__setattr__(web.services, "database", away)
        assert endpoint.reasons_not_ready() == ["the database does not answer"]
        object.__setattr__(web.services, "database", well)
        assert endpoint.reasons_not_ready() == []
        object.__setattr__(web.services, "database", away)
        assert endpoint.reasons_not_ready() == [], "it shows a page that says what is wrong"
    finally:
        object.__setattr__(web.services, "database", well)
        away.close()
    web.services.stopping.set()
    assert endpoint.reasons_not_ready() == ["this process is stopping"]
