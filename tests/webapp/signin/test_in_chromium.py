"""Signing in as a person does it: a real browser, a real provider, the whole way by keyboard."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from chromium import chromium, new_page, served
from database import TestInstallation
from mailhearth_local.embedded.valkey import EmbeddedValkey
from openid import Issuer, OpenIdProviders
from web import Web


@pytest.fixture
def page(
    providers: OpenIdProviders, installation: TestInstallation, valkey: EmbeddedValkey
) -> Iterator[Page]:
    made: list[Web] = []

    def make(address: str) -> Flask:
        tables = []
        for name in ("one", "two"):
            issuer = providers.issuer([f"{address}/sign-in/with/{name}/callback"])
            issuer.ask()
            tables.append(
                f"[{name}]\nlabel = 'Provider {name}'\nissuer = '{issuer.address}'\n"
                f"client_id = '{issuer.client_id}'\nclient_secret = \"{Issuer.secret}\""
            )
        settings = {
            "MAILHEARTH_OIDC_PROVIDERS": "\n".join(tables),
            "MAILHEARTH_REGISTRATION_OPEN": "true",
        }
        made.append(Web(installation, valkey, address, settings))
        return made[0].app

    with chromium() as browser, served(make) as address, new_page(browser, address) as opened:
        yield opened
    made[0].close()


def at_the_provider(page: Page, account: str) -> None:
    """The provider's own form."""
    expect(page.get_by_role("heading", name="Sign in at the provider")).to_be_visible()
    page.get_by_label("Account").fill(account)
    page.keyboard.press("Enter")


def test_a_person_signs_in_adds_another_way_and_leaves(page: Page) -> None:
    page.goto("/account")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.get_by_role("link", name="Continue with Provider one").focus()
    page.keyboard.press("Enter")
    at_the_provider(page, "ada@example.test")
    expect(page.get_by_role("heading", name="Your account", level=1)).to_be_visible()
    expect(page.get_by_text("Chrome on Linux")).to_be_visible()
    # The way on from a form leads to another site without breaking the content policy.
    page.get_by_role("button", name="Add a sign-in at Provider two").focus()
    page.keyboard.press("Enter")
    at_the_provider(page, "ada@elsewhere.test")
    expect(page.get_by_text("You can sign in with it from now on.")).to_be_visible()
    expect(page.get_by_text("ada@elsewhere.test")).to_be_visible()
    cookies = page.context.cookies(page.url)
    name = f"mailhearth-local-{urlsplit(page.url).port}"
    ours = [cookie for cookie in cookies if cookie.get("name") == name]
    assert [(cookie.get("httpOnly"), cookie.get("sameSite")) for cookie in ours] == [(True, "Lax")]
    page.locator(".side-foot summary").click()
    page.locator(".side-foot").get_by_role("button", name="Sign out").click()
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
    page.goto("/account")
    expect(page.get_by_role("heading", name="Sign in")).to_be_visible()
