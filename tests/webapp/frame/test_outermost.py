"""Host, forwarded headers, request ids and the access line."""

from __future__ import annotations

import io
import json
from collections.abc import Iterator

import pytest
from flask import request

from database import TestInstallation
from mailhearth_core import logs
from mailhearth_local.embedded.valkey import EmbeddedValkey
from mailhearth_web.frame.access import public
from web import LOCAL_ADDRESS, Web, running_web


def add_mirror(web: Web) -> None:
    @public
    def mirror(token: str) -> dict[str, object]:
        return {"ip": request.remote_addr, "url": request.url, "host": request.host}

    web.app.add_url_rule("/t/mirror/<token>", endpoint="t.mirror", view_func=mirror)


def mirrored(web: Web, peer: str, **headers: str) -> dict[str, object]:
    response = web.visitor().get(
        "/t/mirror/x",
        headers={name.replace("_", "-"): value for name, value in headers.items()},
        environ_base={"REMOTE_ADDR": peer},
    )
    assert response.status_code == 200, response.text
    found: dict[str, object] = response.get_json()
    return found


@pytest.fixture
def proxied(installation: TestInstallation, valkey: EmbeddedValkey) -> Iterator[Web]:
    """Behind proxies of 10.0.0.0/8 and fd00::/8."""
    with running_web(
        installation, valkey, MAILHEARTH_TRUSTED_PROXIES="10.0.0.0/8, fd00::/8"
    ) as made:
        add_mirror(made)
        yield made


def test_forwarded_headers_of_strangers_are_ignored(web: Web, proxied: Web) -> None:
    add_mirror(web)
    for here in (web, proxied):
        found = mirrored(
            here,
            "203.0.113.9",
            X_Forwarded_For="192.0.2.1",
            X_Forwarded_Host="evil.test",
            X_Forwarded_Proto="http",
            Forwarded="for=192.0.2.1;host=evil.test",
        )
        assert found == {
            "ip": "203.0.113.9",
            "url": "https://dash.test/t/mirror/x",
            "host": "dash.test",
        }


def test_a_trusted_proxy_is_believed_as_far_as_its_own_kind_goes(proxied: Web) -> None:
    # The client wrote 192.0.2.66 itself; the outer proxy added 203.0.113.9, the inner one 10.1.1.1.
    chain = "192.0.2.66, 203.0.113.9, 10.1.1.1"
    assert mirrored(proxied, "10.0.0.5", X_Forwarded_For=chain)["ip"] == "203.0.113.9"
    assert mirrored(proxied, "fd00::5", X_Forwarded_For="2001:db8::7")["ip"] == "2001:db8::7"
    assert mirrored(proxied, "10.0.0.5", X_Forwarded_For="junk, 10.1.1.1")["ip"] == "10.1.1.1"
    assert mirrored(proxied, "10.0.0.5")["ip"] == "10.0.0.5"
    # Never the host: links and the Origin check go by the configured address.
    assert mirrored(proxied, "10.0.0.5", X_Forwarded_Host="evil.test")["host"] == "dash.test"


def test_plain_http_before_the_proxy_is_sent_to_https(proxied: Web) -> None:
    def ask(method: str) -> tuple[int, str | None]:
        response = proxied.visitor().open(
            "/t/mirror/x",
            method=method,
            headers={"X-Forwarded-Proto": "http"},
            environ_base={"REMOTE_ADDR": "10.0.0.5"},
        )
        return response.status_code, response.headers.get("Location")

    assert ask("GET") == (308, "https://dash.test/t/mirror/x")
    assert ask("POST")[0] == 403


def test_another_host_is_not_answered(web: Web) -> None:
    for host in ("evil.test", "dash.test.evil.test", "dash.test:444", "", "a b"):
        response = web.visitor().get("/", headers={"Host": host})
        assert response.status_code == 421, host
        assert "Location" not in response.headers


def test_probes_are_answered_to_any_host_and_say_nothing(web: Web) -> None:
    for path in ("/healthz", "/readyz"):
        response = web.visitor().get(path, headers={"Host": "10.2.3.4:8787"})
        assert response.get_json() == {"ok": True, "reasons": []}


def test_a_local_address_is_answered_under_all_its_names(
    installation: TestInstallation, valkey: EmbeddedValkey
) -> None:
    with running_web(installation, valkey, address=LOCAL_ADDRESS) as web:
        for host in ("127.0.0.1:8787", "localhost:8787", "[::1]:8787"):
            assert web.visitor().get("/", headers={"Host": host}).status_code == 303
        assert web.visitor().get("/", headers={"Host": "localhost:1"}).status_code == 421


def test_a_line_names_the_route_but_never_a_token_or_the_query(web: Web) -> None:
    add_mirror(web)
    out = io.StringIO()
    logs.configure("web", "INFO", out)
    try:
        ann = web.member("owner")
        response = ann.get("/t/mirror/tok-secret-1?code=tok-secret-2", buffered=True)
        ann.get(f"/w/{web.workspace}/members", buffered=True)
        ann.get("/nowhere/tok-secret-3", buffered=True)
        ann.get("/healthz", buffered=True)
    finally:
        logs.configure("test", "ERROR", io.StringIO())
    lines = [json.loads(line) for line in out.getvalue().splitlines()]
    asked = [line for line in lines if line["event"] == "request"]
    assert [line["route"] for line in asked] == [
        "/t/mirror/<token>",
        "/w/<uuid:workspace>/members",
        "",
    ]
    assert asked[0]["request_id"] == response.headers["X-Request-ID"]
    assert asked[0]["status"] == 200
    assert asked[0]["method"] == "GET"
    assert asked[0]["bytes"] == len(response.data)
    assert ann.person is not None
    assert asked[1]["person"] == str(ann.person.id)
    assert asked[1]["workspace"] == str(web.workspace)
    assert "tok-secret" not in out.getvalue()


def test_a_request_id_is_taken_from_a_trusted_proxy_alone(proxied: Web) -> None:
    given = {"X-Request-ID": "from-the-proxy-1"}
    trusted = proxied.visitor().get(
        "/healthz", headers=given, environ_base={"REMOTE_ADDR": "10.0.0.5"}
    )
    assert trusted.headers["X-Request-ID"] == "from-the-proxy-1"
    for peer, value in (("203.0.113.9", "from-the-proxy-1"), ("10.0.0.5", "bad id\tx")):
        response = proxied.visitor().get(
            "/healthz", headers={"X-Request-ID": value}, environ_base={"REMOTE_ADDR": peer}
        )
        assert response.headers["X-Request-ID"] != value


def test_requests_are_counted_by_route_and_no_made_up_name_makes_a_series(web: Web) -> None:
    visitor = web.visitor()
    visitor.get("/nowhere/1", buffered=True)
    visitor.get("/nowhere/2", buffered=True)
    visitor.open("/healthz", method="BREW", buffered=True)

    def count(**labels: str) -> float:
        return web.registry.get_sample_value("mailhearth_web_requests_total", labels) or 0.0

    assert count(route="none", method="GET", status="404") == 2.0
    assert (
        count(route="/healthz", method="other", status="405")
        + count(route="none", method="other", status="405")
        == 1.0
    )
