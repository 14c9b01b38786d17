"""The API's own page: served whole and from nowhere else, and in a real browser a call that is made and answered."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import pytest

from functions.docs.app import ASSETS
from local.paths import DOCUMENT
from tests.e2e.browser import fresh_page
from tests.e2e.client import assert_refused, described
from tests.e2e.test_gateway import SECURITY_HEADERS

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx
    from playwright.sync_api import Locator, Page

    from local.stack import Stack
    from tests.e2e.browser import Watched
    from tests.e2e.client import Person
    from tests.e2e.conftest import People

ALONE = {
    "default-src": "'none'",
    "script-src": "'self'",
    "style-src": "'self'",
    "img-src": "'self' data:",
    "connect-src": "'self'",
    "base-uri": "'none'",
    "form-action": "'none'",
    "frame-ancestors": "'none'",
}


class _Addresses(HTMLParser):
    """Every address that a page names, and whether it has a script or a style of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.found += [value for name in ("href", "src") if (value := named.get(name))]
        if tag == "style" or (tag == "script" and "src" not in named) or "style" in named:
            self.inline.append(tag)


def _named_by(html: str) -> _Addresses:
    addresses = _Addresses()
    addresses.feed(html)
    return addresses


def test_the_document_is_served_as_it_is_committed(http: httpx.Client) -> None:
    answer = http.get("/api/openapi.json")

    assert answer.status_code == 200, described(answer)
    assert answer.headers["content-type"] == "application/json"
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
    assert answer.text == DOCUMENT.read_text(encoding="utf-8")
    (server,) = answer.json()["servers"]
    assert urljoin(str(answer.url), server["url"]).rstrip("/") == str(http.base_url).rstrip("/")


def test_the_page_is_html_that_may_load_and_ask_nothing_but_this_service(http: httpx.Client) -> None:
    answer = http.get("/api/docs")

    assert answer.status_code == 200, described(answer)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
    directives = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert directives == ALONE
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert _named_by(answer.text).inline == [], "the policy forbids them"


def test_everything_that_the_page_names_is_relative_and_there_as_what_it_is(http: httpx.Client) -> None:
    page = http.get("/api/docs")
    addresses = [address for address in _named_by(page.text).found if not address.startswith("data:")]
    asked: set[str] = set()
    for address in addresses:
        assert not urlsplit(address).scheme, address
        assert not address.startswith("/"), address
        answer = http.get(urljoin(str(page.url), address))
        assert answer.status_code == 200, described(answer)
        name = urlsplit(address).path.removeprefix("docs/")
        if name in ASSETS:
            asked.add(name)
            assert answer.headers["content-type"] == ASSETS[name].content_type
            assert answer.headers["x-content-type-options"] == "nosniff"
            kept = "public, max-age=31536000, immutable" if "?v=" in address else "no-store"
            assert answer.headers["cache-control"] == kept, address
            assert answer.text == ASSETS[name].path.read_text(encoding="utf-8")

    assert asked == set(ASSETS)


def test_what_browsers_keep_for_a_year_has_an_address_with_the_version_of_the_package_that_ships_it(
    http: httpx.Client,
) -> None:
    kept = [urlsplit(address) for address in _named_by(http.get("/api/docs").text).found if "?" in address]

    assert {address.path.removeprefix("docs/") for address in kept} == {
        name for name, file in ASSETS.items() if file.headers
    }
    assert {address.query for address in kept} == {f"v={version('aws-lambda-powertools')}"}


def test_a_file_that_is_none_of_the_pages_is_not_there(http: httpx.Client) -> None:
    for name in ("app.py", "index.html", "swagger-ui.min.css", "..%2Fapp.py", "%2Fetc%2Fpasswd"):
        assert_refused(http.get(f"/api/docs/{name}"), 404, "ROUTE_NOT_FOUND")


def test_the_page_is_found_with_a_slash_behind_it(http: httpx.Client) -> None:
    answer = http.get("/api/docs/")

    assert answer.status_code == 308, described(answer)
    assert urljoin(str(answer.url), answer.headers["location"]) == str(http.get("/api/docs").url)


# ------------------------------------------------------------------------------------------------------ in a browser


@pytest.fixture(scope="module")
def opened(service: Stack, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Page, Watched]]:
    """Return the page in a browser, and what it did."""
    with fresh_page(tmp_path_factory.mktemp("profile")) as (page, watched):
        page.goto(f"{service.base_url}/api/docs")
        page.locator(".opblock").first.wait_for()
        yield page, watched


@pytest.fixture
def page(service: Stack, opened: tuple[Page, Watched]) -> Iterator[Page]:
    """Return the page, as it is when it is opened; afterwards it has told no error and asked nobody else."""
    page, watched = opened
    page.goto("about:blank")
    page.goto(f"{service.base_url}/api/docs")
    page.locator(".opblock").first.wait_for()
    yield page
    assert watched.errors == []
    assert watched.hosts == {urlsplit(service.base_url).netloc}


def _authorize(page: Page, scheme: str, value: str) -> None:
    """Paste a secret into the dialog, as a person does."""
    page.locator(".btn.authorize").click()
    form = page.locator(".auth-container form", has=page.locator("h4 code", has_text=re.compile(f"^{scheme}$")))
    form.locator("input").fill(value)
    form.locator("button[type=submit]").click()
    form.get_by_text("Logout").wait_for()
    form.locator(".btn-done").click()


def _execute(page: Page, operation: str) -> tuple[Locator, str, dict[str, object]]:
    """Open an operation and send it as the page fills it in; return its block, and what it shows as the answer."""
    block = page.locator(f"[id$='-{operation}']")
    block.locator(".opblock-summary").click()
    block.locator("button.execute").click()
    live = block.locator(".live-responses-table tbody .response")
    live.wait_for()
    status = live.locator(".response-col_status").inner_text().split()[0]
    shown = json.loads(live.locator(".highlight-code code").first.inner_text())
    return block, status, shown


def test_the_page_shows_every_route_of_the_document_with_who_may_call_it(page: Page) -> None:
    paths = json.loads(DOCUMENT.read_text(encoding="utf-8"))["paths"]
    block = page.locator("[id$='-getApiCreditsBalance']")
    block.locator(".opblock-summary").click()

    assert page.locator(".opblock").count() == sum(len(item) for item in paths.values())
    assert "Who: every user, about themselves." in block.inner_text()
    assert "INSUFFICIENT_CREDITS" not in block.inner_text()


def test_a_pasted_token_shows_its_owners_balance(page: Page, people: People) -> None:
    person = people(credits=4711)
    _authorize(page, "token", person.token)

    block, status, shown = _execute(page, "getApiCreditsBalance")

    assert (status, shown["userId"], shown["totalCredits"]) == ("200", person.id, 4711)
    assert shown == person.balance()
    assert "/api/credits/balance" in block.locator(".request-url").inner_text()


def test_a_pasted_api_key_does_what_it_may(page: Page, people: People) -> None:
    owner = people(credits=12)
    key = owner.ok("POST", "api-keys", {"name": "page", "permissions": ["credits:read"]})["key"]
    _authorize(page, "apiKey", f"ApiKey {key}")

    _, status, shown = _execute(page, "postApiCreditsCalculate")
    assert (status, shown["tokens"], shown["credits"]) == ("200", 4000, 1), "the document's example, sent as it stands"
    _, status, shown = _execute(page, "getApiCreditsBalance")
    assert (status, shown["totalCredits"]) == ("200", 12)


def test_a_pasted_internal_key_does_what_the_platform_does(service: Stack, page: Page) -> None:
    _authorize(page, "internalKey", service.internal_api_key)

    _, status, shown = _execute(page, "postApiUsersSync")

    assert (status, shown["userId"]) in (("201", "new-user"), ("200", "new-user"))


def test_a_command_given_on_the_page_moves_credits(page: Page, admin: Person, people: People) -> None:
    person = people(credits=100)
    _authorize(page, "token", admin.token)
    block = page.locator("[id$='-postApiCreditsAllocate']")
    block.locator(".opblock-summary").click()
    block.locator("textarea.body-param__text").fill(json.dumps({"userId": person.id, "credits": 23}))
    block.locator("button.execute").click()
    block.locator(".live-responses-table tbody .response").wait_for()

    assert person.balance()["totalCredits"] == 123
