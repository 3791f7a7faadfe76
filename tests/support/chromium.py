"""A headless Chromium, and an application served to it on loopback."""

from __future__ import annotations

import os
import shutil
import socket
import threading
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager

import pytest
from flask import Flask
from playwright.sync_api import Browser, ConsoleMessage, Page, sync_playwright
from werkzeug.serving import make_server

NAMES = ("chromium", "chromium-browser", "google-chrome", "chrome")
WAIT_MS = 15_000


@contextmanager
def chromium() -> Iterator[Browser]:
    """Skips the calling test where no Chromium is installed."""
    program = next(filter(None, map(shutil.which, NAMES)), None)
    if program is None:
        pytest.skip("Chromium is missing: apt-get install chromium")
    arguments = ["--no-sandbox"] if os.geteuid() == 0 else []
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=arguments)
        try:
            yield browser
        finally:
            browser.close()


@contextmanager
def new_page(browser: Browser, address: str, *, refused: Collection[int] = ()) -> Iterator[Page]:
    """A page of a browser that was never here; fails at the end if the page complained.

    Args:
        refused: statuses that the test brings about, of which the browser speaks too.
    """
    context = browser.new_context(base_url=address)
    context.set_default_timeout(WAIT_MS)
    page = context.new_page()
    complaints: list[str] = []

    def hear(said: ConsoleMessage) -> None:
        where = said.location.get("url", "")
        if any(f"responded with a status of {status} " in said.text for status in refused):
            return
        if said.type == "error" and where.startswith(address):  # not a provider's own pages
            complaints.append(f"{where}: {said.text}")

    page.on("console", hear)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    try:
        yield page
        assert complaints == [], complaints  # a violated content policy is one
    finally:
        context.close()


@contextmanager
def served(make: Callable[[str], Flask]) -> Iterator[str]:
    """Serves an application, made for the address that it gets; yields the address."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        port = listener.getsockname()[1]
        address = f"http://127.0.0.1:{port}"
        server = make_server("127.0.0.1", port, make(address), threaded=True, fd=listener.fileno())
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        try:
            yield address
        finally:
            server.shutdown()
            thread.join()
            server.server_close()
