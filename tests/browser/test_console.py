"""The console's frame: signing in, the navigation, what each role sees, failures and the keyboard."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
from playwright.sync_api import Route, expect

from tests.browser.console import REQUEST_ID

if TYPE_CHECKING:
    from tests.browser.console import Console
    from tests.e2e.client import Person
    from tests.e2e.conftest import Mint, People

SCREENS = {
    "admin": ["Overview", "People", "Organizations", "Sessions", "Prices", "My account"],
    "supervisor": ["People", "Organizations", "Sessions", "Prices", "My account"],
    "user": ["Organizations", "Prices", "My account"],
}
REFUSED = [
    ("supervisor", "overview", "Admin access required"),
    ("user", "overview", "Admin access required"),
    ("user", "sessions", "Supervisor access required"),
    ("user", "people/somebody-else", "access required"),
]


# --- signing in ---


def test_the_token_is_in_the_pages_memory_only(console: Console, people: People) -> None:
    person = people()
    console.sign_in(person, "me")
    console.expect_heading("My account")

    page = console.page
    kept = page.evaluate("[localStorage.length, sessionStorage.length, document.cookie]")
    assert kept == [0, 0, ""]
    history = page.evaluate("navigation.entries().map(entry => entry.url)")
    assert page.url in history
    assert not any(person.token in address for address in history)
    assert page.evaluate("indexedDB.databases()") == []
    assert person.token not in page.content()
    page.reload()
    console.expect_heading("Sign in")


def test_the_console_shows_why_a_token_is_refused(console: Console, token: Mint) -> None:
    page = console.page
    page.goto("about:blank")
    page.goto(console.address)
    expect(page.get_by_label("Token")).to_be_focused()
    page.get_by_label("Token").fill(token("someone", exp=1_000_000_000))
    page.keyboard.press("Enter")

    refusal = console.refusal()
    assert "TOKEN_EXPIRED (401)" in refusal
    assert REQUEST_ID.search(refusal)
    expect(page.get_by_role("navigation")).to_have_count(0)


@pytest.mark.parametrize("break_", [" ", "\n", "\r\n  "])
def test_sign_in_accepts_a_token_with_spaces_or_line_breaks_and_refuses_other_text(
    console: Console, people: People, break_: str
) -> None:
    person, page = people(), console.page
    page.goto("about:blank")
    page.goto(f"{console.address}#/me")
    page.get_by_label("Token").fill("a token ☺")
    page.keyboard.press("Enter")
    assert "This is not a token" in console.refusal()

    page.get_by_label("Token").fill("")
    page.keyboard.insert_text(f"  Bearer {person.token[:40]}{break_}{person.token[40:]}{break_}")  # as a paste does
    page.keyboard.press("Enter")
    console.expect_heading("My account")


def test_signing_in_after_a_token_has_expired_returns_to_the_same_screen(console: Console, people: People) -> None:
    person = people(credits=321)
    console.sign_in(person, "me?tab=ledger")
    expect(console.rows("Ledger")).to_have_count(1)
    expired = {"message": "The token has expired", "code": "TOKEN_EXPIRED", "details": {}, "requestId": "r-1"}
    console.answer_once("**/credits/balance*", 401, expired)
    console.go_to("me")

    console.expect_heading("Sign in")
    assert "The token has expired" in console.refusal()
    console.page.get_by_label("Token").fill(f"Bearer {person.token}")
    console.page.keyboard.press("Enter")
    console.expect_heading("My account")
    console.expect_figure("Available", "321")


def test_signing_out_forgets_the_token(console: Console, people: People) -> None:
    console.sign_in(people(), "me")
    console.page.get_by_role("button", name="Sign out").click()

    console.expect_heading("Sign in")
    expect(console.page.get_by_label("Token")).to_have_value("")


# --- what a role sees ---


@pytest.mark.parametrize("role", SCREENS)
def test_the_navigation_offers_what_the_role_may_see(console: Console, people: People, role: str) -> None:
    console.sign_in(people(role), "")
    links = console.page.get_by_role("navigation", name="Screens").get_by_role("link")

    assert links.all_inner_texts() == SCREENS[role]
    for link in links.all():
        link.click()
        expect(console.page.get_by_role("heading", level=1)).to_have_text(link.inner_text())
        expect(console.page.locator(".loading")).to_have_count(0)
        expect(console.page.get_by_role("alert")).to_have_count(0)


@pytest.mark.parametrize(("role", "screen", "why"), REFUSED)
def test_a_forbidden_screen_shows_the_refusal(
    console: Console, people: People, role: str, screen: str, why: str
) -> None:
    console.sign_in(people(role), screen)
    refusal = console.page.get_by_role("alert").first

    expect(refusal).to_contain_text("FORBIDDEN (403)")
    expect(refusal).to_contain_text(why)
    expect(refusal).to_contain_text(REQUEST_ID)


# --- what goes wrong ---


def test_a_failed_request_shows_its_code_and_id_and_can_be_tried_again(console: Console, people: People) -> None:
    person = people(credits=12)
    failure = {"message": "The service is unavailable", "code": "UNAVAILABLE", "details": {}, "requestId": "r-503"}
    console.answer_once("**/credits/balance*", 503, failure)
    console.sign_in(person, "me")

    refusal = console.refusal()
    assert "UNAVAILABLE (503)" in refusal
    assert "r-503" in refusal
    console.page.get_by_role("button", name="Try again").click()
    console.expect_figure("Available", "12")
    console.watched.errors.clear()  # the browser logs the 503 as an error


def test_the_console_reports_an_unreachable_service_and_can_try_again(console: Console, people: People) -> None:
    console.page.route("**/credits/balance*", lambda route: route.abort(), times=1)
    console.sign_in(people(credits=3), "me")

    assert "The service cannot be reached" in console.refusal()
    console.page.get_by_role("button", name="Try again").click()
    console.expect_figure("Available", "3")
    console.watched.errors.clear()


def test_an_answer_that_arrives_after_the_user_left_its_tab_is_ignored(console: Console, people: People) -> None:
    person = people(credits=7)
    waiting: list[Route] = []

    def delay(route: Route) -> None:
        waiting.append(route)

    console.page.route("**/credits/balance*", delay, times=1)
    console.sign_in(person, "me")
    console.expect_heading("My account")
    console.until(lambda: bool(waiting))
    console.open_tab("Ledger")
    expect(console.rows("Ledger")).to_have_count(1)
    waiting[0].fulfill(json={"totalCredits": 999, "heldCredits": 0, "debt": 0, "activeAllocations": []})

    console.open_tab("Credits")
    console.expect_figure("Available", "7")


# --- the keyboard ---


def test_keys_open_screens_and_move_the_focus_to_the_search_and_the_content(console: Console, admin: Person) -> None:
    console.sign_in(admin, "overview")
    console.expect_heading("Overview")
    page = console.page
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    page.keyboard.press("g")
    page.keyboard.press("s")
    console.expect_heading("Sessions")
    expect(page.get_by_role("heading", level=1)).to_be_focused()
    for name in ("People", "Prices", "People"):
        page.keyboard.type("gp")
        console.expect_heading(name)
    page.keyboard.press("?")
    expect(page.get_by_role("dialog", name="Keyboard shortcuts")).to_be_visible()
    page.keyboard.press("Escape")
    expect(page.get_by_role("dialog")).to_have_count(0)
    page.keyboard.press("/")
    console.expect_heading("People")
    expect(page.locator("[data-search]").first).to_be_focused()
    page.keyboard.type("go")
    console.expect_heading("People")
    page.evaluate("document.activeElement.blur()")
    page.evaluate("scrollTo(0, 0)")
    page.get_by_text("Skip to the content").focus()
    page.keyboard.press("Enter")
    expect(page.locator("main")).to_be_focused()
