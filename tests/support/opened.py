"""The dashboard served on loopback, with a page of a real browser for whoever is wanted."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass

from flask import Flask
from playwright.sync_api import Browser, Page

import web as webs
from chromium import chromium, new_page, served
from database import TestInstallation
from mailhearth_local.embedded.valkey import EmbeddedValkey
from mailhearth_web.frame.session import local_cookie
from web import Web


@dataclass(frozen=True)
class Opened:
    """A dashboard and a Chromium that opens it."""

    web: Web
    address: str
    chromium: Browser

    @contextmanager
    def page(
        self, who: webs.Browser | None = None, *, refused: Collection[int] = ()
    ) -> Iterator[Page]:
        """A new browser's page with the session of `who`; without, nobody's."""
        with new_page(self.chromium, self.address, refused=refused) as page:
            if who is not None:
                name = local_cookie(self.web.settings)
                cookie = who.get_cookie(name, domain="127.0.0.1")
                assert cookie is not None
                page.context.add_cookies(
                    [{"name": name, "value": cookie.value, "url": self.address}]
                )
            yield page


@contextmanager
def opened_web(
    installation: TestInstallation, valkey: EmbeddedValkey, **changes: str
) -> Iterator[Opened]:
    """`changes` are MAILHEARTH_ variables of the dashboard."""
    made: list[Web] = []

    def make(address: str) -> Flask:
        made.append(Web(installation, valkey, address, changes))
        return made[0].app

    with ExitStack() as stack:
        browser = stack.enter_context(chromium())
        address = stack.enter_context(served(make))
        stack.callback(made[0].services.stopping.set)  # ends the streams, which it waits for
        yield Opened(made[0], address, browser)
    made[0].close()
