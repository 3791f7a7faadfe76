"""The security headers and the request's id are on every response, whoever made it."""

from __future__ import annotations

import json
import re

from mailhearth_web.frame.headers import CSP, SECURITY_HEADERS
from web import Browser, Web

EXPECTED = {
    "Strict-Transport-Security": "max-age=31536000; includeSubDomains",
    "X-Frame-Options": "DENY",
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "strict-origin-when-cross-origin",
    "Cross-Origin-Resource-Policy": "same-site",
    "Cross-Origin-Opener-Policy": "same-origin",
}


def checked(browser: Browser, path: str, **kwargs: object) -> int:
    response = browser.open(path, **kwargs)
    for name, value in EXPECTED.items():
        assert response.headers.getlist(name) == [value], (path, name)
    assert response.headers.getlist("Content-Security-Policy") == [CSP], path
    assert len(response.headers["X-Request-ID"]) >= 8, path
    assert "Permissions-Policy" in response.headers, path
    assert "Cache-Control" in response.headers, path
    code: int = response.status_code
    response.close()
    return code


def test_every_kind_of_answer_has_them(web: Web) -> None:
    visitor = web.visitor()
    assert checked(visitor, "/healthz") == 200
    assert checked(visitor, "/readyz") == 200
    assert checked(visitor, "/.well-known/security.txt") == 200
    assert checked(visitor, "/") == 303
    assert checked(visitor, "/static/app.css") == 200
    assert checked(visitor, "/static/vendor/htmx.min.js") == 200
    assert checked(visitor, "/static/none.js") == 404
    assert checked(visitor, "/static/../settings.py") == 404
    assert checked(visitor, "/nowhere") == 404
    assert checked(visitor, "/healthz", method="PUT") == 405
    assert checked(visitor, "/healthz", method="POST") in (400, 405)
    assert checked(visitor, "/", headers={"Host": "evil.test"}) == 421
    assert checked(visitor, "/", method="POST", data=b"x" * (16 * 1024 * 1024 + 1)) in (400, 405)


def test_every_route_has_them_and_shows_no_fault_to_a_visitor(web: Web) -> None:
    """Each route of the application, called without a session and with nothing that exists."""
    visitor = web.visitor()
    urls = web.app.url_map.bind("dash.test", url_scheme="https")
    seen = 0
    for rule in web.app.url_map.iter_rules():
        values: dict[str, object] = {}
        for name in rule.arguments:
            converter = rule._converters[name]
            is_uuid = type(converter).__name__ == "UUIDConverter"
            values[name] = web.workspace if is_uuid else "x"
        path = urls.build(rule.endpoint, values, force_external=False)
        for method in sorted((rule.methods or set()) & {"GET", "POST"}):
            assert checked(visitor, path, method=method) < 500, (rule, method)
            seen += 1
    assert seen > 10


def test_the_policy_allows_no_inline_and_no_eval() -> None:
    assert "unsafe" not in CSP
    for part in ("default-src 'none'", "frame-ancestors 'none'", "base-uri 'none'"):
        assert part in CSP
    assert {"form-action 'self'", "script-src 'self'", "style-src 'self'"} <= set(CSP.split("; "))
    assert len({name for name, _ in SECURITY_HEADERS}) == len(SECURITY_HEADERS)


def test_pages_are_not_stored_and_static_files_with_a_digest_are(web: Web) -> None:
    ann = web.member("owner")
    response = ann.get("/workspaces")
    assert response.headers["Cache-Control"] == "no-store"
    assert "v=" in response.text
    digest = response.text.partition("/static/app.css?v=")[2].partition('"')[0]
    for encoding in ("gzip", "identity"):
        kept = ann.get(f"/static/app.css?v={digest}", headers={"Accept-Encoding": encoding})
        assert kept.headers["Cache-Control"] == "public, max-age=31536000, immutable"
        assert kept.headers.get("Content-Encoding") == ("gzip" if encoding == "gzip" else None)
        assert "Set-Cookie" not in kept.headers
        kept.close()


def test_templates_and_scripts_hold_nothing_that_the_policy_forbids(web: Web) -> None:
    """No inline script or style, no event attribute, no address of another host."""
    page = web.member("owner").get("/workspaces").text
    assert "<script>" not in page
    assert "style=" not in page
    assert re.search(r"<[^>]*\son\w+=", page) is None
    assert page.count("<script") == page.count("<script src=")


def test_an_error_is_json_for_a_script_and_a_page_for_a_person(web: Web) -> None:
    found = web.visitor().get("/nowhere", headers={"Accept": "application/json"})
    body = json.loads(found.text)
    assert body["error"]["code"] == "404"
    assert body["request_id"] == found.headers["X-Request-ID"]
    page = web.visitor().get("/nowhere", headers={"Accept": "text/html"})
    assert page.headers["X-Request-ID"] in page.text


def test_security_txt_names_a_contact_and_does_not_expire_soon(web: Web) -> None:
    lines = dict(
        line.split(": ", 1)
        for line in web.visitor().get("/.well-known/security.txt").text.splitlines()
    )
    assert lines["Contact"] == "mailto:security@dash.test"
    assert lines["Expires"] > f"{web.clock.now():%Y-%m-%dT%H:%M:%SZ}"
    assert lines["Canonical"] == "https://dash.test/.well-known/security.txt"
