"""The page that documents the API, and its files, over HTTP. Tests in `tests/browser` open the page in a browser."""

from __future__ import annotations

from html.parser import HTMLParser
from importlib.metadata import version
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

from functions.docs.app import ASSETS
from local.paths import DOCUMENT
from tests.e2e.client import SECURITY_HEADERS, assert_refused, described

if TYPE_CHECKING:
    import httpx

ONLY_THIS_SERVICE = {
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
    """Every address on a page, and the tags of its inline scripts and styles."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[str] = []
        self.inline: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = dict(attrs)
        self.found += [value for name in ("href", "src") if (value := named.get(name))]
        if tag == "style" or (tag == "script" and "src" not in named) or "style" in named:
            self.inline.append(tag)


def _addresses_in(html: str) -> _Addresses:
    addresses = _Addresses()
    addresses.feed(html)
    return addresses


def test_the_served_openapi_document_is_the_committed_file(http: httpx.Client) -> None:
    answer = http.get("/api/openapi.json")

    assert answer.status_code == 200, described(answer)
    assert answer.headers["content-type"] == "application/json"
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
    assert answer.text == DOCUMENT.read_text(encoding="utf-8")
    (server,) = answer.json()["servers"]
    assert urljoin(str(answer.url), server["url"]).rstrip("/") == str(http.base_url).rstrip("/")


def test_the_content_security_policy_of_the_page_allows_only_this_service(http: httpx.Client) -> None:
    answer = http.get("/api/docs")

    assert answer.status_code == 200, described(answer)
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    assert SECURITY_HEADERS.items() <= dict(answer.headers).items()
    directives = dict(part.strip().split(" ", 1) for part in answer.headers["content-security-policy"].split(";"))
    assert directives == ONLY_THIS_SERVICE
    assert answer.headers["referrer-policy"] == "no-referrer"
    assert _addresses_in(answer.text).inline == [], "the policy forbids these inline scripts and styles"


def test_every_file_of_the_page_has_a_relative_address_and_its_content_type(http: httpx.Client) -> None:
    page = http.get("/api/docs")
    addresses = [address for address in _addresses_in(page.text).found if not address.startswith("data:")]
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
            caching = "public, max-age=31536000, immutable" if "?v=" in address else "no-store"
            assert answer.headers["cache-control"] == caching, address
            assert answer.text == ASSETS[name].path.read_text(encoding="utf-8")

    assert asked == set(ASSETS)


def test_files_cached_for_a_year_have_their_version_in_their_address(http: httpx.Client) -> None:
    versioned = [urlsplit(address) for address in _addresses_in(http.get("/api/docs").text).found if "?" in address]

    assert {address.path.removeprefix("docs/") for address in versioned} == {
        name for name, file in ASSETS.items() if file.headers
    }
    assert {address.query for address in versioned} == {f"v={version('aws-lambda-powertools')}"}


def test_an_unknown_file_of_the_page_is_not_found(http: httpx.Client) -> None:
    for name in ("app.py", "index.html", "swagger-ui.min.css", "..%2Fapp.py", "%2Fetc%2Fpasswd"):
        assert_refused(http.get(f"/api/docs/{name}"), 404, "ROUTE_NOT_FOUND")


def test_a_trailing_slash_redirects_to_the_page(http: httpx.Client) -> None:
    answer = http.get("/api/docs/")

    assert answer.status_code == 308, described(answer)
    assert urljoin(str(answer.url), answer.headers["location"]) == str(http.get("/api/docs").url)
