"""Registration is closed: an invitation and a real provider's word are the only way in."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address

import pytest
from werkzeug.test import TestResponse

from database import TestInstallation
from mailhearth_local.embedded.valkey import EmbeddedValkey
from openid import Issuer, OpenIdProviders, require_openid_providers
from web import ADDRESS, Browser, Web, running_web

TOKEN = re.compile(r'name="csrf_token" (?:type="hidden" )?value="([^"]+)"')


@dataclass(frozen=True)
class Door:
    """A closed dashboard and the provider its people sign in with."""

    web: Web
    issuer: Issuer

    def invite(self, email: str) -> str:
        """The path of a new invitation's link."""
        made = self.web.member("owner").submit(
            f"/w/{self.web.workspace}/members/invite", {"email": email, "role": "member"}
        )
        found = re.search(r"/invitations/[A-Za-z0-9_-]{43}", made.text)
        assert found, made.text
        return found.group(0)

    def visitor(self) -> Browser:
        """Nobody, from an address that no other test's limits know."""
        browser = self.web.visitor()
        browser.environ_base["REMOTE_ADDR"] = str(IPv4Address(0x0A000000 + secrets.randbits(24)))
        return browser

    def sign_in(self, browser: Browser, next: str = "/") -> TestResponse:
        """To the provider as whoever it vouches for, and back."""
        begun = browser.get("/sign-in/with/one", query_string={"next": next})
        assert begun.status_code == 303, begun.text
        self.issuer.forget()
        back = self.issuer.visit(begun.headers["Location"])
        assert back.startswith(ADDRESS)
        return browser.get(back.removeprefix(ADDRESS), headers={"Sec-Fetch-Site": "cross-site"})

    def accept(self, browser: Browser, link: str) -> TestResponse:
        """Presses the button of the invitation's page."""
        found = TOKEN.search(browser.get(link).text)
        assert found
        headers = {"Origin": ADDRESS, "Referer": ADDRESS + link}
        return browser.post(link, data={"csrf_token": found.group(1)}, headers=headers)

    def members(self) -> set[str]:
        """The identities of the workspace's members, by their provider's name for them."""
        rows = self.web.installation.rows(
            "SELECT i.subject FROM memberships m JOIN identities i USING (user_id) "
            "WHERE m.workspace_id = %s",
            self.web.workspace,
        )
        return {row["subject"] for row in rows}


@pytest.fixture
def door(installation: TestInstallation, valkey: EmbeddedValkey) -> Iterator[Door]:
    require_openid_providers()
    with OpenIdProviders() as providers:
        issuer = providers.issuer([f"{ADDRESS}/sign-in/with/one/callback"])
        text = (
            f"[one]\nlabel = 'Provider one'\nissuer = '{issuer.address}'\n"
            f"client_id = '{issuer.client_id}'\nclient_secret = \"{issuer.secret}\""
        )
        with running_web(installation, valkey, MAILHEARTH_OIDC_PROVIDERS=text) as web:
            yield Door(web, issuer)


def test_the_invited_come_in_by_their_verified_address_once_and_nobody_else(door: Door) -> None:
    link = door.invite("new@people.test")

    # Without the link, and with it under another or an unverified address: no account is made.
    door.issuer.sign_in_as("new-1", email="new@people.test", email_verified=True, name="New")
    assert door.sign_in(door.visitor()).status_code == 403
    for subject, email, verified in (
        ("eve-1", "eve@people.test", True),
        ("fake-1", "new@people.test", False),
    ):
        browser = door.visitor()
        assert browser.get(link).status_code == 200
        door.issuer.sign_in_as(subject, email=email, email_verified=verified)
        assert door.sign_in(browser, link).status_code == 403
    assert door.members() == set()
    assert door.web.installation.rows("SELECT 1 FROM identities") == []

    newcomer = door.visitor()
    choice = newcomer.get(link).text
    assert "Sign in to accept" in choice
    assert "You have been invited" in newcomer.get("/sign-in", query_string={"next": link}).text
    door.issuer.sign_in_as("new-1", email="New@people.test", email_verified=True, name="New")
    home = door.sign_in(newcomer, link)
    assert (home.status_code, home.headers["Location"]) == (303, link)
    assert door.members() == set(), "signing in accepts nothing"
    joined = door.accept(newcomer, link)
    assert joined.headers["Location"] == f"/w/{door.web.workspace}/"
    assert "You are member of north now." in newcomer.get(joined.headers["Location"]).text
    assert door.members() == {"new-1"}

    # It is spent: not even the same address lets a second identity in.
    late = door.visitor()
    assert late.get(link).status_code == 404
    door.issuer.sign_in_as("new-2", email="new@people.test", email_verified=True)
    assert door.sign_in(late, link).status_code == 403
    assert door.members() == {"new-1"}

    # Whoever is in comes back without one.
    door.issuer.sign_in_as("new-1", email="new@people.test", email_verified=True)
    assert door.sign_in(door.visitor()).status_code == 303
