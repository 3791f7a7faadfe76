"""The frame in a real browser: colours, keyboard, narrow screens, live pages. No policy is broken
on the way: `new_page` fails on any complaint of the browser's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from chromium import chromium, new_page, served
from database import TestInstallation
from mailhearth_core.verbs.people import Person
from mailhearth_local.embedded.valkey import EmbeddedValkey
from mailhearth_web.frame.session import local_cookie
from waiting import wait_for
from web import Web


@dataclass
class Opened:
    """A page of somebody who is signed in."""

    web: Web
    person: Person
    page: Page
    address: str


@pytest.fixture
def opened(installation: TestInstallation, valkey: EmbeddedValkey) -> Iterator[Opened]:
    made: list[Web] = []

    def make(address: str) -> Flask:
        made.append(Web(installation, valkey, address))
        return made[0].app

    with chromium() as browser, served(make) as address, new_page(browser, address) as page:
        web = made[0]
        person = web.person("ann")
        web.join(person, "owner")
        pool = installation.pool(web.workspace)
        installation.mailbox(web.workspace, pool, "ann@one.test")
        name = local_cookie(web.settings)
        cookie = web.browser(person).get_cookie(name, domain="127.0.0.1")
        assert cookie is not None
        page.context.add_cookies([{"name": name, "value": cookie.value, "url": address}])
        try:
            yield Opened(web, person, page, address)
        finally:
            web.services.stopping.set()  # ends the streams, which the server waits for
            page.close()
    made[0].close()


def theme(page: Page) -> object:
    return page.evaluate("document.documentElement.dataset.bsTheme")


def test_colours_follow_the_system_until_somebody_chooses(opened: Opened) -> None:
    page = opened.page
    page.emulate_media(color_scheme="dark")
    page.goto("/workspaces")
    assert theme(page) == "dark"
    page.get_by_role("button", name="Light colours").click()
    assert theme(page) == "light"
    page.reload()
    assert theme(page) == "light"
    dark = page.evaluate("getComputedStyle(document.body).backgroundColor")
    page.get_by_role("button", name="Dark colours").click()
    assert page.evaluate("getComputedStyle(document.body).backgroundColor") != dark


def test_the_frame_works_by_keyboard(opened: Opened) -> None:
    page = opened.page
    page.goto("/workspaces")
    page.keyboard.press("Tab")
    expect(page.get_by_role("link", name="Skip to the content")).to_be_focused()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
    menu = page.locator("details[data-menu]").last
    menu.locator("summary").focus()
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Sign out")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("button", name="Sign out")).to_be_hidden()
    expect(menu.locator("summary")).to_be_focused()
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Sign out").focus()
    page.keyboard.press("Enter")
    page.wait_for_url("**/sign-in**")


def test_pages_fit_a_narrow_screen(opened: Opened) -> None:
    page = opened.page
    page.set_viewport_size({"width": 360, "height": 740})
    page.goto(f"/w/{opened.web.workspace}/")
    link = page.get_by_role("navigation").get_by_role("link", name="Mailboxes")
    expect(link).to_be_hidden()
    toggle = page.get_by_role("button", name="Menu")
    toggle.focus()
    page.keyboard.press("Enter")
    expect(toggle).to_have_attribute("aria-expanded", "true")
    expect(link).to_be_visible()
    paths = {str(link.get_attribute("href")) for link in page.locator(".side-nav a").all()}
    assert len(paths) > 3
    for path in sorted(paths):
        page.goto(path)
        width = page.evaluate("document.documentElement.scrollWidth")
        assert width <= 360, f"{path} is {width} px wide"


def test_two_pages_share_one_stream_and_a_removed_member_sees_it(opened: Opened) -> None:
    """`event: gone` loads the page anew, which then is nobody's."""
    web, page = opened.web, opened.page

    def streams() -> float:
        return web.registry.get_sample_value("mailhearth_web_streams") or 0.0

    page.goto(f"/w/{web.workspace}/")
    wait_for(lambda: streams() == 1)
    other = page.context.new_page()
    other.goto(f"{opened.address}/w/{web.workspace}/")
    expect(other.get_by_role("heading", level=1)).to_be_visible()
    other.wait_for_load_state("load")
    assert streams() == 1
    page.close()  # the stream stays the other's
    web.installation.rows("DELETE FROM memberships WHERE user_id = %s", opened.person.id)
    expect(other.get_by_role("heading", name="Nothing is here")).to_be_visible()
