"""A person with a browser and a keyboard connects a mailbox of the sandbox."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest
from flask import Flask
from playwright.sync_api import Page, expect

from chromium import chromium, new_page, served
from database import TestInstallation
from engine import Engine
from mailhearth_local.embedded.valkey import EmbeddedValkey
from web import Web, running_web


@pytest.fixture
def engine(installation: TestInstallation, tmp_path: Path) -> Iterator[Engine]:
    made = Engine(installation, tmp_path)
    try:
        yield made
    finally:
        made.close()


def fill(page: Page, label: str, text: str) -> None:
    """By keyboard: to the field by its label, then typing over what is there."""
    field = page.get_by_label(label, exact=True)
    field.focus()
    page.keyboard.press("Control+A")
    page.keyboard.insert_text(text)


def test_by_keyboard_from_the_empty_list_to_the_first_sign_in(
    installation: TestInstallation, valkey: EmbeddedValkey, engine: Engine
) -> None:
    made: list[Web] = []
    with ExitStack() as stack:

        def make(address: str) -> Flask:
            made.append(stack.enter_context(running_web(installation, valkey, address=address)))
            return made[0].app

        address = stack.enter_context(served(make))
        web = made[0]
        installation.pool(web.workspace)
        page = stack.enter_context(new_page(stack.enter_context(chromium()), address))
        cookies = web.member("owner")._cookies
        assert cookies
        cookie = next(iter(cookies.values()))
        page.context.add_cookies(
            [{"name": cookie.key, "value": cookie.value, "url": address, "httpOnly": True}]
        )
        user, info = engine.users[0], engine.info

        page.goto(f"/w/{web.workspace}/mailboxes")
        page.get_by_role("link", name="Connect a mailbox").first.press("Enter")
        fill(page, "E-mail address", user.address)
        page.keyboard.press("Enter")
        expect(page.locator("#attempt")).to_contain_text("waiting for a worker")
        engine.settle_down()
        by_hand = page.get_by_role("link", name="Fill them in by hand")
        timezone = page.get_by_label("Time zone", exact=True)
        expect(by_hand.or_(timezone)).to_be_visible()
        if by_hand.is_visible():
            by_hand.press("Enter")
        expect(page.get_by_label("E-mail address", exact=True)).to_have_value(user.address)
        expect(timezone).not_to_have_value("")

        for side, port in (("IMAP", info.imap_port), ("SMTP", info.smtps_port)):
            group = page.get_by_role("group").filter(has_text=side)
            group.get_by_label("Host").fill("127.0.0.1")
            group.get_by_label("Port").fill(str(port))
            group.get_by_label("Encryption").select_option("implicit")
        fill(page, "Password", "not the password")
        page.get_by_text("The servers have a certificate of your own authority").press("Enter")
        page.get_by_label("Certificate authority").fill(Path(info.ca_file).read_text())
        page.get_by_role("button", name="Test the connection").press("Enter")
        expect(page.locator("#attempt")).to_contain_text("waiting for a worker")
        engine.settle_down()
        expect(page.locator("#attempt")).to_contain_text("it does not work yet")

        page.get_by_role("link", name="Correct it").press("Enter")
        expect(page.get_by_label("Password")).to_have_value("")
        expect(page.get_by_label("Password")).to_have_attribute("placeholder", "held")
        fill(page, "Password", user.password.reveal())
        page.get_by_role("button", name="Test the connection").press("Enter")
        engine.settle_down()
        expect(page.locator("#attempt")).to_contain_text("everything works")
        page.get_by_role("radio", name="Yes, warm this mailbox up").press("Space")
        page.get_by_role("button", name="Save the mailbox").press("Enter")
        expect(page.get_by_role("heading", level=1)).to_contain_text(user.address)
        engine.settle_down()
        page.goto(f"/w/{web.workspace}/mailboxes")
        expect(page.get_by_role("row", name=user.address)).to_contain_text("warming")
