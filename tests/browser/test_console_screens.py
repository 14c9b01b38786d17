"""The console's screens for the overview, for live sessions, and for a user's own account."""

from __future__ import annotations

import csv
import re
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import expect

from tests.browser.console import MARKUP, REQUEST_ID
from tests.e2e.client import new_id

if TYPE_CHECKING:
    from pathlib import Path

    from tests.browser.console import Console
    from tests.e2e.client import Person
    from tests.e2e.conftest import People


def _open_session(person: Person, tokens: int = 4000) -> str:
    """Open a session with one heartbeat; return its id."""
    session = new_id("session")
    person.ok(
        "POST", "streaming-sessions/initialize", {"sessionId": session, "modelId": "m", "estimatedTokens": tokens}
    )
    person.ok("POST", "streaming-sessions/heartbeat", {"sessionId": session, "tokensGenerated": 1000})
    return session


# --- overview ---


def test_the_overview_shows_credits_by_day_with_a_table_and_a_download(
    console: Console, admin: Person, people: People, tmp_path: Path
) -> None:
    person = people(credits=1000)
    person.ok("POST", "usage/record", {"service": "=render", "operation": "o", "credits": 40, "deduct": True})
    page = console.page

    console.until(lambda: person.id in admin.ok("GET", "usage/system")["byUser"])  # these sums lag by a few seconds
    console.sign_in(admin, "overview?days=7&by=service")
    console.expect_heading("Overview")
    chart = page.get_by_role("img", name=re.compile("^Credits by day and service"))
    expect(chart.locator("g")).to_have_count(7)
    expect(chart.locator("title").last).to_contain_text("=render: ")

    page.get_by_role("button", name="Table").click()
    expect(console.rows("Credits by day and service")).to_have_count(7)
    with page.expect_download() as download:
        page.get_by_role("button", name="CSV").click()
    download.value.save_as(tmp_path / "usage.csv")
    with (tmp_path / "usage.csv").open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert len(rows) == 7
    assert int(rows[-1]["'=render"]) >= 40, "a spreadsheet must not run a name as a formula"
    assert download.value.suggested_filename == "credits-by-day-and-service.csv"

    page.get_by_role("link", name="By account").click()
    account = console.rows("Most credits by account").get_by_role("link", name=f"user:{person.id}", exact=True)
    expect(account).to_have_attribute("href", f"#/people/{person.id}")
    page.get_by_role("link", name="By model").click()
    expect(
        page.get_by_text(re.compile(r"^Other models, and usage that counts for no model, used [\d,]+ credits\.$"))
    ).to_be_visible()
    page.get_by_role("link", name="By user").click()
    expect(page.get_by_role("img", name=re.compile("^Credits by day and user"))).to_be_visible()
    page.get_by_role("link", name="90 days").click()
    expect(page.get_by_role("img", name=re.compile("in 90 days")).locator("g")).to_have_count(90)


def test_the_overview_shows_outstanding_credits_or_that_no_audit_has_finished(console: Console, admin: Person) -> None:
    numbers = ("accounts", "availableCredits", "heldCredits", "debt", "expiringLater", "driftingAccounts")
    before: dict[str, Any] = dict.fromkeys(numbers, 0) | {"asOf": None, "begunAt": None, "expiring": [], "drifting": []}
    before["unprovedAccounts"] = 0
    sums = before | {"asOf": "2026-11-26T06:00:00.000Z", "accounts": 3, "availableCredits": 10**15, "debt": 7}
    sums |= {"expiring": [{"month": "2026-12", "credits": 10**15 - 5}], "expiringLater": 5}
    sums |= {"driftingAccounts": 1, "drifting": ["user:mallory"]}
    console.answer_once("**/credits/outstanding", 200, before)
    console.sign_in(admin, "overview")
    expect(console.page.get_by_text("The auditor has not finished its first run.")).to_be_visible()

    console.answer_once("**/credits/outstanding", 200, sums)
    console.go_to("sessions")
    console.go_to("overview")
    console.expect_figure("Credits to spend", "1,000,000,000,000,000")
    console.expect_figure("Debt", "7")
    console.expect_figure("Accounts with drift", "1")
    expect(console.page.get_by_role("link", name="user:mallory")).to_have_attribute("href", "#/people/mallory")
    months = console.page.get_by_role("list", name="Credits by month of expiry").get_by_role("listitem")
    expect(months).to_have_text([re.compile("2026-12.*999,999,999,999,995"), re.compile("later.*5")])


def test_the_overview_shows_why_live_sessions_are_missing(console: Console, admin: Person) -> None:
    broken = {"message": "Try again later", "code": "UNAVAILABLE", "details": {}, "requestId": "r-9"}
    console.answer_once("**/streaming-sessions/active/all*", 503, broken)
    console.sign_in(admin, "overview")

    assert "UNAVAILABLE (503)" in console.refusal()
    console.page.get_by_role("button", name="Try again").click()
    expect(console.page.get_by_role("alert")).to_have_count(0)
    console.watched.errors.clear()  # Chromium reports the 503


# --- sessions ---


@pytest.mark.parametrize("role", ["admin", "supervisor"])
def test_a_session_that_hangs_is_ended_by_force_with_a_reason(console: Console, people: People, role: str) -> None:
    person, boss = people(credits=500), people(role)
    session = _open_session(person)
    console.sign_in(boss, "sessions")
    row = console.page.get_by_role("row").filter(has_text=session)
    expect(row).to_contain_text("1,000")

    row.get_by_role("button", name="End").click()
    expect(console.dialog).to_contain_text("what the last heartbeat reported: 1,000 tokens")
    expect(console.dialog).to_contain_text("If no heartbeat arrived, it pays nothing or the session's estimate")
    expect(console.dialog.get_by_role("button", name="End the session")).to_be_disabled()
    console.dialog.get_by_label("Reason").fill(f"It hangs {MARKUP}")
    console.submit()
    message = console.wait_until_done()

    assert f"The session of {person.id} has ended" in message
    assert REQUEST_ID.search(message)
    assert person.ok("GET", "streaming-sessions/active") == []
    assert person.balance()["heldCredits"] == 0
    entry = person.ok("GET", "credits/ledger?limit=1")["entries"][0]
    assert (entry["reason"], entry["actor"]) == (f"It hangs {MARKUP}", boss.id)


def test_an_ended_session_cannot_be_ended_again_and_the_dialog_keeps_the_reason(
    console: Console, admin: Person, people: People
) -> None:
    person = people(credits=500)
    session = _open_session(person)
    console.sign_in(admin, "sessions")
    console.page.get_by_role("button", name=f"End the session {session}").click()
    person.ok("POST", "streaming-sessions/finalize", {"sessionId": session, "actualTokens": 10})
    console.dialog.get_by_label("Reason").fill("late")
    console.dialog.get_by_role("button", name="End the session").click()

    assert "SESSION_NOT_ACTIVE (404)" in console.refusal()
    expect(console.dialog.get_by_label("Reason")).to_have_value("late")


# --- a user's own account ---


def test_a_user_sees_their_balance_usage_sessions_keys_and_ledger(
    console: Console, admin: Person, people: People
) -> None:
    person = people()
    admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": 900, "notes": f"Order 7 {MARKUP}"})
    used = {"service": "render", "operation": "o", "credits": 25, "deduct": True, "metadata": {"title": MARKUP}}
    person.ok("POST", "usage/record", used)
    person.ok("POST", "api-keys", {"name": f"job {MARKUP}", "permissions": ["credits:read"]})
    session = _open_session(person)
    held = person.balance()["heldCredits"]
    console.sign_in(person, "me")

    console.expect_figure("Available", f"{875 - held}")
    console.expect_figure("Held by sessions", f"{held}")
    assert console.page.get_by_role("button", name="Grant").count() == 0
    console.open_tab("Usage")
    expect(console.page.get_by_role("img", name=re.compile("25 credits in 30 days"))).to_be_visible()
    expect(console.rows("Newest records")).to_contain_text(MARKUP)
    console.open_tab("Sessions")
    expect(console.page.get_by_text(session)).to_be_visible()
    console.open_tab("Ledger")
    expect(console.rows("Ledger").last).to_contain_text(f"Order 7 {MARKUP}")
    console.open_tab("API keys")
    expect(console.rows("API keys")).to_contain_text(f"job {MARKUP}")
    console.page.get_by_role("button", name="End the key").click()
    console.submit()
    assert "has ended" in console.wait_until_done()
    expect(console.rows("API keys")).to_contain_text("ended")
    assert [key["isActive"] for key in person.ok("GET", "api-keys")] == [False]


def test_the_screen_of_an_empty_account_says_what_is_missing(console: Console, people: People) -> None:
    console.sign_in(people(), "me")

    console.expect_figure("Available", "0")
    expect(console.page.get_by_text("There are no credits to spend.")).to_be_visible()
    for tab, text in {"Usage": "Nothing was used.", "API keys": "There is no API key."}.items():
        console.open_tab(tab)
        expect(console.page.get_by_text(text).first).to_be_visible()
