"""A form of another site changes nothing."""

from __future__ import annotations

import pytest

from mailhearth_web.frame.access import public, signed_in
from web import Browser, Web


@pytest.fixture
def ann(web: Web) -> Browser:
    @signed_in
    def deed() -> str:
        return "done"

    @public
    def knock() -> str:
        return "done"

    methods = ["POST", "PUT", "PATCH", "DELETE"]
    web.app.add_url_rule("/t/deed", endpoint="t.deed", view_func=deed, methods=methods)
    web.app.add_url_rule("/t/knock", endpoint="t.knock", view_func=knock, methods=methods)
    return web.browser(web.person("ann"))


def test_the_pages_own_form_is_taken(ann: Browser) -> None:
    assert ann.submit("/t/deed").text == "done"
    by_header = ann.post("/t/deed", headers={"X-CSRFToken": ann.csrf})
    assert by_header.text == "done"  # as htmx sends it


def test_without_the_token_nothing_happens(web: Web, ann: Browser) -> None:
    for method in ("POST", "PUT", "PATCH", "DELETE"):
        response = ann.open("/t/deed", method=method)
        assert response.status_code == 400, method
        assert response.headers["X-Request-ID"] in response.text
        assert web.visitor().open("/t/knock", method=method).status_code == 400, method


def test_a_token_of_another_session_is_worth_nothing(web: Web, ann: Browser) -> None:
    bob = web.browser(web.person("bob"))
    assert ann.post("/t/deed", data={"csrf_token": bob.csrf}).status_code == 400
    assert web.visitor().post("/t/knock", data={"csrf_token": bob.csrf}).status_code == 400


def test_with_the_token_but_from_another_site_nothing_happens(ann: Browser) -> None:
    for headers in (
        {"Origin": "https://evil.test"},
        {"Origin": "null"},
        {"Origin": "http://dash.test"},
        {"Origin": "https://dash.test:444"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ):
        response = ann.post("/t/deed", data={"csrf_token": ann.csrf}, headers=headers)
        assert response.status_code == 400, headers
