"""The deployed service, and its console in a browser."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from tests.browser.browser import fresh_page
from tests.browser.console import Console
from tests.e2e.conftest import admin, answers, http, key_server, people, service, token

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Page

    from local.stack import Stack
    from tests.browser.browser import Watched

__all__ = ["admin", "answers", "http", "key_server", "people", "service", "token"]


@pytest.fixture(scope="module")
def console_page(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Watched]]:
    """Return the page in which all tests of a module open the console."""
    with fresh_page(tmp_path_factory.mktemp("profile")) as opened:
        yield opened


@pytest.fixture
def console(service: Stack, console_page: tuple[Page, Watched]) -> Iterator[Console]:
    """Return the console. After the test, assert that it reported no unexpected error and called no other host."""
    page, watched = console_page
    watched.errors.clear()
    opened = Console(page, watched, f"{service.base_url}/api/console")
    yield opened
    page.unroute_all()
    assert opened.unexpected_errors() == []
    assert watched.hosts == {urlsplit(service.base_url).netloc}
