"""Pictures of the dashboard's main pages into docs/images, from a demo that runs beside it.

mailhearth --data DIR up --demo --day-seconds 20      # in another terminal, some days of it
mailhearth --data DIR sign-in link --json             # the link is good once
.venv/bin/python scripts/screenshots.py LINK
"""

from __future__ import annotations

import argparse
import shutil
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

IMAGES = Path(__file__).resolve().parent.parent / "docs" / "images"
WIDE, NARROW = (1280, 860), (360, 740)
CHROMIUM = ("chromium", "chromium-browser", "google-chrome")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("link", help="a one-time sign-in link of the running demo")
    link = parser.parse_args().link
    found = next((path for name in CHROMIUM if (path := shutil.which(name))), None)
    if found is None:
        raise SystemExit("Chromium is missing: apt-get install chromium")
    IMAGES.mkdir(exist_ok=True)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=found, args=["--no-sandbox"])
        context = browser.new_context(viewport={"width": WIDE[0], "height": WIDE[1]})
        pages = sign_in(context, link)
        for name, address in pages.items():
            shoot(context.new_page(), name, address)
        for scheme, (width, height) in (("dark", WIDE), ("light", NARROW), ("dark", NARROW)):
            again(browser, context, scheme, width, height, pages["overview"])
        browser.close()


def sign_in(context: BrowserContext, link: str) -> dict[str, str]:
    """Uses the link; returns the addresses of the pages worth showing."""
    page = context.new_page()
    page.goto(link)
    page.get_by_role("main").get_by_role("button").click()
    page.get_by_role("heading", name="Overview").wait_for()
    overview = page.url
    page.goto(overview + "mailboxes")
    path = page.locator("tbody a").first.get_attribute("href")
    parts = urlsplit(overview)
    return {
        "overview": overview,
        "mailboxes": overview + "mailboxes",
        "mailbox": f"{parts.scheme}://{parts.netloc}{path}",
        "pools": overview + "pools",
        "dns": overview + "dns",
    }


def shoot(page: Page, name: str, address: str) -> None:
    page.goto(address)
    for chart in page.locator("[data-chart]").all():
        chart.locator("canvas").wait_for()
    page.screenshot(path=IMAGES / f"{name}.png", full_page=True)
    print(IMAGES / f"{name}.png")


def again(
    browser: Browser, context: BrowserContext, scheme: str, width: int, height: int, address: str
) -> None:
    """The overview in other colours or on another screen, in the same session."""
    other = browser.new_context(
        viewport={"width": width, "height": height},
        color_scheme="dark" if scheme == "dark" else "light",
        storage_state=context.storage_state(),
    )
    shoot(other.new_page(), f"overview-{width}-{scheme}", address)
    other.close()


if __name__ == "__main__":
    main()
