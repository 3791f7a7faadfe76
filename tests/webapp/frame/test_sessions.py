"""Sessions: what the browser holds, what the database holds, and when it ends."""

from __future__ import annotations

import hashlib
from datetime import timedelta
from http.cookies import Morsel, SimpleCookie
from uuid import UUID

import pytest
from flask import flash, get_flashed_messages, session
from flask_login import current_user
from werkzeug.test import TestResponse

from database import TestInstallation
from mailhearth_core.settings import SettingsError
from mailhearth_local.embedded.valkey import EmbeddedValkey
from mailhearth_web.frame.access import public, signed_in
from mailhearth_web.frame.session import COOKIE, LOCAL_COOKIE, begin, finish, local_cookie
from mailhearth_web.frame.visit import visit
from mailhearth_web.settings import WebSettings
from web import LOCAL_ADDRESS, Web, running_web


def add_views(web: Web) -> None:
    """What the areas do with a session, at addresses of the test's own."""

    @public
    def put(word: str) -> str:
        session["word"] = word
        return "put"

    @public
    def look() -> str:
        person = visit().person
        return f"{session.get('word', '-')} {person.name if person else 'nobody'}"

    @public
    def enter(person: UUID) -> str:
        begin(person, keep={"kept": "yes"})
        flash("welcome")
        return "in"

    @signed_in
    def leave() -> str:
        finish()
        return "out"

    @signed_in
    def me() -> str:
        assert current_user.is_authenticated
        return f"{current_user.person.name} {session.get('kept')} {get_flashed_messages()}"

    for name, rule, view in (
        ("put", "/t/put/<word>", put),
        ("look", "/t/look", look),
        ("enter", "/t/enter/<uuid:person>", enter),
        ("leave", "/t/leave", leave),
        ("me", "/t/me", me),
    ):
        web.app.add_url_rule(rule, endpoint=f"t.{name}", view_func=view)


def cookie(response: TestResponse) -> Morsel[str] | None:
    """The one cookie of a response."""
    headers = response.headers.getlist("Set-Cookie")
    assert len(headers) <= 1, headers
    morsels = list(SimpleCookie(headers[0]).values()) if headers else []
    return morsels[0] if morsels else None


def rows(web: Web) -> int:
    found = web.installation.one("SELECT count(*) AS n FROM sessions")
    return int(found["n"])


def test_a_visitor_with_nothing_to_store_gets_neither_cookie_nor_row(web: Web) -> None:
    add_views(web)
    visitor = web.visitor()
    for path in ("/healthz", "/t/look", "/nowhere", "/static/app.js", "/"):
        response = visitor.get(path)
        assert cookie(response) is None, path
        response.close()
    assert rows(web) == 0


def test_the_token_is_opaque_and_only_its_digest_is_stored(web: Web) -> None:
    add_views(web)
    visitor = web.visitor()
    made = cookie(visitor.get("/t/put/blue"))
    assert made is not None
    assert made.key == COOKIE == "__Host-mailhearth"
    assert (made["path"], made["domain"], made["samesite"]) == ("/", "", "Lax")
    assert made["secure"] is True
    assert made["httponly"] is True
    assert len(made.value) >= 43
    (row,) = web.installation.rows("SELECT * FROM sessions")
    assert row["token_hash"] == hashlib.sha256(made.value.encode()).digest()
    assert made.value not in str(row)
    assert visitor.get("/t/look").text == "blue nobody"
    assert cookie(visitor.get("/t/look")) is None  # not sent again and again


def test_signing_in_makes_a_new_token_and_ends_the_old_session(web: Web) -> None:
    """A token that somebody planted before the sign-in is worth nothing after it."""
    add_views(web)
    person = web.person("ann")
    planted = web.visitor()
    before = cookie(planted.get("/t/put/planted"))
    assert before is not None
    victim = web.visitor()
    victim.set_cookie(COOKIE, before.value, domain="dash.test", secure=True)
    after = cookie(victim.get(f"/t/enter/{person.id}"))
    assert after is not None
    assert after.value != before.value
    assert victim.get("/t/me").text == "ann yes ['welcome']"
    assert planted.get("/t/look").text == "- nobody"
    assert victim.get("/t/look").text == "- ann"  # what the visitor had stored is gone
    assert rows(web) == 1


def test_a_token_of_ones_own_making_is_not_adopted(web: Web) -> None:
    add_views(web)
    visitor = web.visitor()
    visitor.set_cookie(COOKIE, "A" * 43, domain="dash.test", secure=True)
    dropped = cookie(visitor.get("/t/look"))
    assert dropped is not None
    assert dropped.value == ""
    visitor.set_cookie(COOKIE, "A" * 43, domain="dash.test", secure=True)
    made = cookie(visitor.get("/t/put/x"))
    assert made is not None
    assert made.value != "A" * 43


def test_signing_out_ends_the_session_in_the_database(web: Web) -> None:
    add_views(web)
    browser = web.browser(web.person("ann"))
    kept = browser.get_cookie(COOKIE, domain="dash.test")
    assert kept is not None
    gone = cookie(browser.get("/t/leave"))
    assert gone is not None
    assert gone.value == ""
    thief = web.visitor()
    thief.set_cookie(COOKIE, kept.value, domain="dash.test", secure=True)
    assert thief.get("/t/look").text == "- nobody"


def test_an_unused_session_ends_and_a_used_one_ends_too_at_last(web: Web) -> None:
    add_views(web)
    busy, idle = web.browser(web.person("ann")), web.browser(web.person("bob"))
    step = timedelta(minutes=web.settings.session_idle_minutes - 1)
    end = web.clock.now() + timedelta(hours=web.settings.session_hours)
    web.clock.at += step
    assert busy.get("/t/me").status_code == 200
    web.clock.at += timedelta(minutes=2)
    assert idle.get("/t/me").status_code == 303
    assert busy.get("/t/me").status_code == 200
    while web.clock.now() + step < end:
        web.clock.at += step
        assert busy.get("/t/me").status_code == 200
    web.clock.at = end + timedelta(seconds=1)
    assert busy.get("/t/me").status_code == 303


def test_a_session_is_read_once_and_not_written_when_nothing_changed(web: Web) -> None:
    add_views(web)
    browser = web.browser(web.person("ann"))
    before = web.installation.one("SELECT xmin::text FROM sessions")
    assert browser.get("/t/me").status_code == 200
    assert web.installation.one("SELECT xmin::text FROM sessions") == before


def test_flask_login_has_no_remember_cookie(web: Web) -> None:
    add_views(web)
    visitor = web.visitor()
    visitor.set_cookie("remember_token", f"{web.person('ann').id}|{'0' * 128}", domain="dash.test")
    assert visitor.get("/t/me").status_code == 303


# -- the other name, on this machine alone ---------------------------------------------------------


def test_loopback_http_has_its_own_name_without_secure(
    installation: TestInstallation, valkey: EmbeddedValkey
) -> None:
    with running_web(installation, valkey, address=LOCAL_ADDRESS) as web:
        add_views(web)
        made = cookie(web.visitor().get("/t/put/x"))
        assert made is not None
        assert made.key == local_cookie(web.settings) == "mailhearth-local-8787"
        assert made["secure"] == ""
        assert made["httponly"] is True
        assert made["samesite"] == "Lax"


def test_two_installations_on_one_machine_do_not_end_each_others_sessions(
    installation: TestInstallation, valkey: EmbeddedValkey
) -> None:
    """A browser keeps its cookies by host, whatever the port."""
    with (
        running_web(installation, valkey, address=LOCAL_ADDRESS) as web,
        running_web(installation, valkey, address="http://127.0.0.1:9797") as other,
    ):
        for each in (web, other):
            add_views(each)
        ann = web.browser(web.person("ann"))
        foreign = cookie(other.visitor().get("/t/put/x"))
        assert foreign is not None
        ann.set_cookie(foreign.key, foreign.value, domain="127.0.0.1")
        assert ann.get("/t/me").status_code == 200


def test_the_weaker_name_cannot_appear_anywhere_else(web: Web) -> None:
    """Plain http to another machine is no setting, and https never takes that cookie."""
    add_views(web)
    person = web.person("ann")
    token = web.browser(person).get_cookie(COOKIE, domain="dash.test")
    assert token is not None
    visitor = web.visitor()
    for name in (LOCAL_COOKIE, local_cookie(web.settings)):
        visitor.set_cookie(name, token.value, domain="dash.test")
    assert visitor.get("/t/look").text == "- nobody"
    # A request that claims to be plain http, or for localhost, does not make it appear.
    for headers in ({"X-Forwarded-Proto": "http"}, {"Host": "localhost"}, {"Host": "127.0.0.1"}):
        response = web.visitor().get("/t/put/x", headers=headers, base_url="http://dash.test")
        found = cookie(response)
        assert found is None or found.key == COOKIE, headers
    for url in ("http://mail.example.org", "http://192.0.2.7:8787", "http://[2001:db8::1]"):
        with pytest.raises(SettingsError, match="https://"):
            WebSettings.load(
                {
                    "MAILHEARTH_DATABASE_URL": "postgresql://u:p@127.0.0.1/x",
                    "MAILHEARTH_REDIS_URL": "redis://127.0.0.1",
                    "MAILHEARTH_PUBLIC_URL": url,
                }
            )


def test_a_local_installation_gives_no_cookie_to_another_host(
    installation: TestInstallation, valkey: EmbeddedValkey
) -> None:
    with running_web(
        installation, valkey, address=LOCAL_ADDRESS, MAILHEARTH_ALLOWED_HOSTS="box.lan:8787"
    ) as web:
        add_views(web)
        found = cookie(web.visitor().get("/t/put/x", base_url="http://box.lan:8787"))
        assert found is not None
        assert found.key == COOKIE
        assert found["secure"] is True
