"""A real browser in front of real commands, all on loopback."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright import sync_api

from tests.browser.site import OpenPage, Site, viewing

_CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
_PATIENCE_MS = 30_000  # of a machine that does much else
# What a browser says of a server that is gone.
_LOST = re.compile(r"net::ERR_(CONNECTION_|INCOMPLETE_|NETWORK_|EMPTY_)")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Without a browser nothing here can be tried."""
    if _CHROMIUM is None:
        for item in items:
            if "browser" in getattr(item, "fixturenames", ()):
                item.add_marker(pytest.mark.skip(reason="no chromium here (Debian: apt-get install chromium)"))


@pytest.fixture(scope="module")
def browser() -> Iterator[sync_api.Browser]:
    """Debian's Chromium. Of one module: while Playwright is open, nothing in this process may run an event loop of its own."""
    sync_api.expect.set_options(timeout=_PATIENCE_MS)
    with sync_api.sync_playwright() as playwright:
        # Its own sandbox wants a user that is not root, as CI's is; all that it loads here is ours.
        browser = playwright.chromium.launch(executable_path=_CHROMIUM, args=["--no-sandbox"])
        yield browser
        browser.close()


@pytest.fixture
def open_page(browser: sync_api.Browser) -> Iterator[OpenPage]:
    """Opens an address in a browser of its own, wherever a page may be: `open_page(url, dark=False, width=1280)`.

    Whatever the page does that no page of ours may do fails the test: a script that came with data (a dialog), an error on the
    console, among them every violation of the Content-Security-Policy, an exception, a request to another host or port.
    """
    contexts, wrong = [], list[str]()

    def console(message: sync_api.ConsoleMessage) -> None:
        # A page may be opened that is not there; what a page loads must be there.
        missing = (
            message.text.startswith("Failed to load") and message.page and message.page.url == message.location["url"]
        )
        if message.type == "error" and not missing and not _LOST.search(message.text):
            wrong.append(f"console: {message.text}")

    def dialog(opened: sync_api.Dialog) -> None:
        wrong.append(f"dialog: {opened.message}")
        opened.dismiss()

    def open_(url: str, *, dark: bool = False, width: int = 1280) -> sync_api.Page:
        def request(asked: sync_api.Request) -> None:
            if urlsplit(asked.url)[:2] != urlsplit(url)[:2] and not asked.url.startswith(("data:", "blob:")):
                wrong.append(f"request: {asked.url}")

        context = browser.new_context(
            color_scheme="dark" if dark else "light", viewport={"width": width, "height": 900}, reduced_motion="reduce"
        )
        contexts.append(context)
        context.set_default_timeout(_PATIENCE_MS)
        context.on("console", console)
        context.on("weberror", lambda error: wrong.append(f"exception: {error.error}"))
        context.on("request", request)
        context.on("dialog", dialog)
        context.on("page", lambda page: wrong.append(f"window: {page.url}") if len(context.pages) > 1 else None)
        page = context.new_page()
        page.goto(url)
        return page

    yield open_
    for context in contexts:
        context.close()
    assert wrong == []


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """`view` of a folder in which there is no run yet."""
    with viewing(tmp_path_factory.mktemp("site")) as site:
        yield site
