"""Opens a page in a headless browser, and records the page's errors and the hosts that the page calls."""

from __future__ import annotations

import os
from contextlib import contextmanager
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import sync_playwright

from local.chromium import Missing, chromium

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from playwright.sync_api import ConsoleMessage, Page, Request

FLAGS = [
    "--no-sandbox",  # Chromium needs this as root, and continuous integration often runs as root
    "--disable-gpu",
    "--disable-quic",
    "--disable-dev-shm-usage",
    "--no-first-run",
    "--no-proxy-server",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
PATIENCE_MILLISECONDS = 60_000


class Watched:
    """The errors that a page reported, and the hosts that it called."""

    def __init__(self, page: Page) -> None:
        self.errors: list[str] = []
        self.hosts: set[str] = set()
        page.on("console", self._note_message)
        page.on("pageerror", lambda error: self.errors.append(str(error)))
        page.on("requestfailed", lambda request: self.errors.append(f"{request.url}: {request.failure}"))
        page.on("request", self._note_request)

    def _note_message(self, message: ConsoleMessage) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.type}: {message.text}")

    def _note_request(self, request: Request) -> None:
        if urlsplit(request.url).scheme not in ("data", "blob"):
            self.hosts.add(urlsplit(request.url).netloc)


@contextmanager
def fresh_page(profile: Path) -> Iterator[tuple[Page, Watched]]:
    """Open and watch an empty page in a browser without stored data. Skips the test if there is no browser."""
    try:
        found = chromium()
    except Missing as missing:
        pytest.skip(f"no Chromium: {missing}")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=found.path,
            env={**os.environ, **found.environ},
            headless=True,
            args=FLAGS,
            viewport={"width": 1280, "height": 900},
        )
        browser.set_default_timeout(PATIENCE_MILLISECONDS)
        page = browser.pages[0]
        try:
            yield page, Watched(page)
        finally:
            browser.close()
