"""`mailhearth up --demo`, its one-time link, and the first day of warmup in an open browser."""

from __future__ import annotations

import re
import urllib.request
from collections.abc import Iterator

import pytest
from playwright.sync_api import Locator, Page, expect

from chromium import chromium, new_page
from cli import CommandLine
from running_up import Up
from waiting import wait_for

PATIENCE_MS = 90_000
DAY_SECONDS = "40"
SOME = re.compile(r"^[1-9]\d*$")
SOME_OF_SOME = re.compile(r"^[1-9]\d* of [1-9]\d*$")
CHARTED = """() => [...document.querySelectorAll("[data-chart=ramp] tbody tr")]
  .map((row) => [...row.querySelectorAll("td")].slice(-2))
  .some((cells) => cells.every((cell) => +cell.textContent > 0))"""
FOCUSED = """() => {
  const at = document.activeElement;
  if (!at || at === document.body) { return ""; }
  const label = at.labels && at.labels[0];
  return (at.getAttribute("aria-label") || (label && label.innerText) || at.innerText || "").trim();
}"""


@pytest.fixture(scope="module")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Up]:
    """A demo that runs, in a folder of its own."""
    up = Up(tmp_path_factory.mktemp("demo") / "data")
    try:
        yield up.start("--demo", "--day-seconds", DAY_SECONDS)
    finally:
        up.close()


@pytest.fixture
def page(demo: Up) -> Iterator[Page]:
    """A browser that was never here."""
    with chromium() as browser, new_page(browser, demo.run["url"]) as opened:
        opened.set_default_timeout(PATIENCE_MS)
        expect.set_options(timeout=PATIENCE_MS)
        try:
            yield opened
        finally:
            expect.set_options(timeout=5_000)


def open_streams(up: Up) -> float:
    """How many event streams the dashboard says it serves."""
    told = 0.0
    for url in up.run["metrics"]:
        with urllib.request.urlopen(url, timeout=10) as reply:
            found = re.search(r"^mailhearth_web_streams (\S+)$", reply.read().decode(), re.M)
        told += float(found.group(1)) if found else 0.0
    return told


def stat(page: Page, label: str) -> Locator:
    """The number of that name on the overview."""
    return page.locator(".stat").filter(has_text=label).locator(".stat-value")


def tab_to(page: Page, name: str) -> None:
    """Presses Tab until something of that name has the focus."""
    for _ in range(80):
        page.keyboard.press("Tab")
        if str(page.evaluate(FOCUSED)).startswith(name):
            return
    raise AssertionError(f"no {name!r} is reached by Tab on {page.url}")


def test_the_first_day_appears_on_the_open_page(demo: Up, page: Page) -> None:
    page.goto(demo.run["sign_in_url"])
    page.get_by_role("button", name="Sign in").click()
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    page.evaluate("window.neverLoadedAnew = true")
    wait_for(lambda: open_streams(demo) == 1, 60)  # it does not live by polling

    sent = stat(page, "Sent today")
    expect(sent).to_have_text(SOME_OF_SOME)
    page.wait_for_function(CHARTED)
    expect(page.locator("[data-chart=ramp] canvas")).to_be_visible()
    expect(sent).not_to_have_text(sent.inner_text())  # and it goes on
    expect(stat(page, "Rescued from junk today")).to_have_text(SOME)
    assert page.evaluate("window.neverLoadedAnew") is True

    page.get_by_role("link", name="Mailboxes", exact=True).first.click()
    page.locator("main tbody a").first.click()
    why = page.locator(".why")
    expect(why.get_by_role("heading", name=re.compile(r"Today's volume: \d+"))).to_be_visible()
    expect(why.locator(".why-steps li").first).to_contain_text(re.compile(r"[a-z]{3,}.*\."))
    expect(page.get_by_role("heading", name="What happened")).to_be_visible()


def test_by_keyboard_from_the_link_to_the_form_of_a_first_mailbox(demo: Up, page: Page) -> None:
    link = CommandLine(demo.data).json("sign-in", "link")["url"]
    page.goto(link)
    tab_to(page, "Sign in")
    page.keyboard.press("Enter")
    expect(page.get_by_role("heading", name="Overview", level=1)).to_be_visible()
    tab_to(page, "demo")
    page.keyboard.press("Enter")
    tab_to(page, "All workspaces")
    page.keyboard.press("Enter")
    page.wait_for_url("**/workspaces")
    tab_to(page, "New workspace")
    page.keyboard.press("Enter")
    page.wait_for_url("**/workspaces/new")
    tab_to(page, "Name")
    page.keyboard.type("by-hand")
    page.keyboard.press("Enter")
    page.wait_for_url("**/w/*/")
    connect = page.get_by_role("link", name="Connect a mailbox")
    expect(connect).to_be_visible()  # its keys were made meanwhile, and the page says so by itself
    tab_to(page, "Connect a mailbox")
    page.keyboard.press("Enter")
    page.wait_for_url("**/mailboxes/connect")
    tab_to(page, "E-mail address")
    page.keyboard.type("ann@example.org")
    expect(page.get_by_label("E-mail address")).to_have_value("ann@example.org")
