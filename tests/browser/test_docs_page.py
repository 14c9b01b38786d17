"""The page `/api/docs`, which documents the API, in a real browser: what it shows, and the requests that it sends."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest

from local.paths import DOCUMENT
from tests.browser.browser import fresh_page

if TYPE_CHECKING:
    from collections.abc import Iterator

    from playwright.sync_api import Locator, Page

    from local.stack import Stack
    from tests.browser.browser import Watched
    from tests.e2e.client import Person
    from tests.e2e.conftest import People


@pytest.fixture(scope="module")
def opened(service: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Watched]]:
    """Return the page in a browser, and a record of its errors and calls."""
    with fresh_page(tmp_path_factory.mktemp("profile")) as (page, watched):
        page.goto(f"{service.base_url}/api/docs")
        page.locator(".opblock").first.wait_for()
        yield page, watched


@pytest.fixture
def page(service: Stack, opened: tuple[Page, Watched]) -> Iterator[Page]:
    """Return the newly opened page. Then check that the page reported no error and called only the service."""
    page, watched = opened
    page.goto("about:blank")
    page.goto(f"{service.base_url}/api/docs")
    page.locator(".opblock").first.wait_for()
    yield page
    assert watched.errors == []
    assert watched.hosts == {urlsplit(service.base_url).netloc}


def _authorize(page: Page, scheme: str, value: str) -> None:
    """Paste a token or key into the page's dialog for authorization."""
    page.locator(".btn.authorize").click()
    form = page.locator(".auth-container form", has=page.locator("h4 code", has_text=re.compile(f"^{scheme}$")))
    form.locator("input").fill(value)
    form.locator("button[type=submit]").click()
    form.get_by_text("Logout").wait_for()
    form.locator(".btn-done").click()


def _execute(page: Page, operation: str) -> tuple[Locator, str, dict[str, object]]:
    """Open an operation and send the example request that the page fills in.

    Return the operation's block on the page, and the status and body of the answer that the page shows.
    """
    block = page.locator(f"[id$='-{operation}']")
    block.locator(".opblock-summary").click()
    block.locator("button.execute").click()
    live = block.locator(".live-responses-table tbody .response")
    live.wait_for()
    status = live.locator(".response-col_status").inner_text().split()[0]
    shown = json.loads(live.locator(".highlight-code code").first.inner_text())
    return block, status, shown


def test_the_page_shows_every_route_of_the_openapi_document_and_who_may_call_it(page: Page) -> None:
    paths = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
    block = page.locator("[id$='-getApiCreditsBalance']")
    block.locator(".opblock-summary").click()

    assert page.locator(".opblock").count() == sum(len(item) for item in paths.values())
    assert "Who: every user, about themselves." in block.inner_text()
    assert "INSUFFICIENT_CREDITS" not in block.inner_text()


def test_routes_are_in_the_order_of_use(page: Page) -> None:
    shown = [
        each.removeprefix("operations-") for each in page.locator(".opblock").evaluate_all("all => all.map(e => e.id)")
    ]

    assert shown[:4] == [
        "credits-getApiCreditsBalance",
        "credits-getApiCreditsBalanceUserId",
        "credits-postApiCreditsCalculate",
        "credits-postApiCreditsCheck",
    ]
    sessions = [each.rpartition("Sessions")[2] for each in shown if each.startswith("streaming")]
    assert sessions[:4] == ["Initialize", "Heartbeat", "Finalize", "Abort"]


def test_the_authorization_dialog_shows_the_token_first_and_focuses_its_field(page: Page) -> None:
    assert "paste a token first" in page.locator(".info .description").inner_text()
    assert "The service that this page comes from" in page.locator(".servers").inner_text()

    page.locator(".btn.authorize").click()
    schemes = page.locator(".auth-container h4 code")
    tops = {each.inner_text(): each.bounding_box() for each in schemes.all()}

    assert min(tops, key=lambda name: (tops[name] or {"y": 0.0})["y"]) == "token"
    assert page.evaluate("document.activeElement.closest('form').querySelector('h4 code').innerText") == "token"


def test_only_error_samples_are_folded(page: Page) -> None:
    block = page.locator("[id$='-postApiStreamingSessionsInitialize']")
    block.locator(".opblock-summary").click()
    created, refused = (block.locator(f"tr.response[data-code='{code}']") for code in (201, 402))
    created.get_by_text('"sessionId"').first.wait_for()

    assert not created.locator("details").count()
    assert not refused.locator(".highlight-code").is_visible()
    assert not refused.locator(".response-controls").is_visible()
    refused.get_by_text("Samples").click()
    refused.locator(".highlight-code").wait_for()
    assert "INSUFFICIENT_CREDITS" in refused.locator(".highlight-code").inner_text()


def test_a_pasted_token_shows_its_owners_balance(page: Page, people: People) -> None:
    person = people(credits=4711)
    _authorize(page, "token", person.token)

    block, status, shown = _execute(page, "getApiCreditsBalance")

    assert (status, shown["userId"], shown["totalCredits"]) == ("200", person.id, 4711)
    assert shown == person.balance()
    assert "/api/credits/balance" in block.locator(".request-url").inner_text()


def test_a_pasted_api_key_may_do_only_what_its_permissions_allow(
    page: Page, opened: tuple[Page, Watched], people: People
) -> None:
    owner = people(credits=12)
    key = owner.ok("POST", "api-keys", {"name": "page", "permissions": ["credits:read"]})["key"]
    _authorize(page, "apiKey", f"ApiKey {key}")

    _, status, shown = _execute(page, "postApiCreditsCalculate")
    assert (status, shown["tokens"], shown["credits"]) == ("200", 4000, 1), (
        "the page must send the OpenAPI document's example"
    )
    _, status, shown = _execute(page, "getApiCreditsBalance")
    assert (status, shown["totalCredits"]) == ("200", 12)
    _, status, shown = _execute(page, "getApiUsageStats")
    assert (status, shown["code"]) == ("403", "FORBIDDEN")
    opened[1].errors.clear()  # Chromium reports the 403


def test_an_internal_route_accepts_the_pasted_internal_key(service: Stack, page: Page) -> None:
    _authorize(page, "internalKey", service.internal_api_key)

    _, status, shown = _execute(page, "postApiUsersSync")

    assert (status, shown["userId"]) in (("201", "new-user"), ("200", "new-user"))


def test_an_allocation_sent_from_the_page_grants_credits(page: Page, admin: Person, people: People) -> None:
    person = people(credits=100)
    _authorize(page, "token", admin.token)
    block = page.locator("[id$='-postApiCreditsAllocate']")
    block.locator(".opblock-summary").click()
    block.locator("textarea.body-param__text").fill(json.dumps({"userId": person.id, "credits": 23}))
    block.locator("button.execute").click()
    block.locator(".live-responses-table tbody .response").wait_for()

    assert person.balance()["totalCredits"] == 123
