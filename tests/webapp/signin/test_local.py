"""The one-time links of an installation on one machine."""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterator
from datetime import timedelta

import pytest
from werkzeug.test import TestResponse

from database import ACTOR, TestInstallation
from mailhearth_core.settings import SettingsError
from mailhearth_core.verbs import members, people
from mailhearth_local.embedded.valkey import EmbeddedValkey
from mailhearth_web.settings import WebSettings
from web import LOCAL_ADDRESS, Browser, Web, running_web

SWITCH = {"MAILHEARTH_LOCAL_SIGN_IN": "true"}
HARMLESS = {
    "MAILHEARTH_DATABASE_URL": "postgresql://web@127.0.0.1/x",
    "MAILHEARTH_REDIS_URL": "redis://127.0.0.1",
    "MAILHEARTH_PUBLIC_URL": LOCAL_ADDRESS,
}


@pytest.fixture
def web(installation: TestInstallation, valkey: EmbeddedValkey) -> Iterator[Web]:
    with running_web(installation, valkey, address=LOCAL_ADDRESS, **SWITCH) as made:
        yield made


def new_link(web: Web, minutes: int = 10) -> str:
    """As the command line makes one: the path with its token."""
    token = secrets.token_urlsafe(32)
    people.local_link(
        web.installation.database("cli"),
        None,
        hashlib.sha256(token.encode()).digest(),
        actor=ACTOR,
        now=web.clock.now(),
        expires_at=web.clock.now() + timedelta(minutes=minutes),
    )
    return f"/sign-in/link?token={token}"


def press(browser: Browser, path: str) -> TestResponse:
    """Opens the link and presses its button."""
    page = browser.get(path)
    assert page.status_code == 200
    fields = dict(re.findall(r'name="(csrf_token|token)" value="([^"]+)"', page.text))
    return browser.post("/sign-in/link", data=fields, headers={"Origin": LOCAL_ADDRESS})


def visitor(web: Web) -> Browser:
    browser = web.visitor()
    browser.environ_base["REMOTE_ADDR"] = f"127.0.{secrets.randbelow(250)}.{secrets.randbelow(250)}"
    return browser


def test_a_link_signs_in_once_as_the_owner_of_what_is_there(web: Web) -> None:
    workspace = web.workspace  # made by the command line: nobody owns it yet
    path, browser = new_link(web), visitor(web)
    for _ in range(3):
        visitor(web).get(path)  # previews of the link
    assert press(browser, path).headers["Location"] == "/"
    page = browser.get("/account")
    assert page.status_code == 200
    assert "A one-time link on this machine" in page.text
    (row,) = web.installation.rows("SELECT user_id FROM sessions WHERE user_id IS NOT NULL")
    place = members.place(web.services.database, row["user_id"], workspace)
    assert place is not None
    assert place.role == "owner"
    again = press(visitor(web), path)
    assert again.status_code == 403
    assert "mailhearth sign-in link" in again.text
    assert press(visitor(web), new_link(web)).status_code == 303
    assert web.installation.one("SELECT count(*) AS n FROM users")["n"] == 1


def test_a_link_expires(web: Web) -> None:
    path = new_link(web)
    web.clock.at += timedelta(minutes=11)
    assert press(visitor(web), path).status_code == 403
    reasons = web.installation.rows(
        "SELECT detail->>'reason' AS reason FROM platform_audit_events "
        "WHERE action = 'person.sign_in_failed'"
    )
    assert [row["reason"] for row in reasons] == ["link_used"]


def test_a_link_leads_back_to_where_a_sign_in_was_needed(web: Web) -> None:
    browser = visitor(web)
    press(browser, new_link(web))
    web.clock.at += timedelta(minutes=11)
    asked = browser.get("/account/delete").headers["Location"]
    page = browser.get(asked).text
    assert "mailhearth sign-in link" in page
    assert press(browser, new_link(web)).headers["Location"] == "/account/delete"
    assert browser.get("/account/delete").status_code == 200


def test_it_needs_the_links_own_page(web: Web) -> None:
    browser, path = visitor(web), new_link(web)
    token = path.partition("=")[2]
    assert browser.post("/sign-in/link", data={"token": token}).status_code == 400
    elsewhere = {"Origin": "https://evil.test"}
    assert (
        browser.post("/sign-in/link", data={"token": token}, headers=elsewhere).status_code == 400
    )
    assert press(browser, path).status_code == 303


def test_without_the_setting_there_are_no_links(
    installation: TestInstallation, valkey: EmbeddedValkey
) -> None:
    with running_web(installation, valkey, address=LOCAL_ADDRESS) as web:
        path, browser = new_link(web), visitor(web)
        assert browser.get(path).status_code == 404
        fields = {"token": path.partition("=")[2]}
        headers = {"Origin": LOCAL_ADDRESS}
        assert browser.post("/sign-in/link", data=fields, headers=headers).status_code in (400, 404)
        assert "Nobody can sign in yet" in browser.get("/sign-in").text


@pytest.mark.parametrize(
    "changes",
    [
        {"MAILHEARTH_PUBLIC_URL": "https://mail.example.org"},
        {"MAILHEARTH_WEB_HOST": "0.0.0.0"},
        {"MAILHEARTH_PUBLIC_URL": "https://mail.example.org", "MAILHEARTH_ENVIRONMENT": "staging"},
        {
            "MAILHEARTH_OIDC_PROVIDERS": "[idp]\nissuer = 'https://idp.example.org'\n"
            "client_id = 'mailhearth'"
        },
    ],
)
def test_links_are_refused_beyond_one_machine(changes: dict[str, str]) -> None:
    assert WebSettings.load(HARMLESS | SWITCH).local_sign_in
    with pytest.raises(SettingsError) as refused:
        WebSettings.load(HARMLESS | SWITCH | changes)
    (problem,) = refused.value.problems
    assert problem.startswith("MAILHEARTH_LOCAL_SIGN_IN: ")


def test_a_sandbox_in_a_cluster_takes_links_too() -> None:
    pod = {"MAILHEARTH_WEB_HOST": "0.0.0.0", "MAILHEARTH_ENVIRONMENT": "staging"}
    assert WebSettings.load(HARMLESS | SWITCH | pod).local_sign_in
