"""The console's screens about people and organizations, as administrators, supervisors and users see them."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import pytest
from playwright.sync_api import Route, expect

from tests.browser.console import MARKUP, REQUEST_ID
from tests.e2e.client import MODEL, Person, new_id, with_key

if TYPE_CHECKING:
    import httpx

    from tests.browser.console import Console
    from tests.e2e.conftest import Mint, People


def _organization(admin: Person, owner: Person, *members: Person, name: str = "Acme") -> dict[str, Any]:
    """Make an organization with 1,000 credits."""
    made: dict[str, Any] = admin.ok("POST", "organizations", {"name": name, "ownerId": owner.id})
    for member in members:
        admin.ok("PUT", f"organizations/{made['organizationId']}/members/{member.id}", {"role": "member"})
    admin.ok("POST", "credits/allocate", {"accountId": made["accountId"], "credits": 1000})
    return made


def test_an_administrator_finds_a_person_by_address_and_grants_credits_once(
    console: Console, admin: Person, people: People
) -> None:
    person = people(credits=500)
    console.sign_in(admin, "people")
    console.page.get_by_label("User id or e-mail address").fill(person.email)
    console.page.keyboard.press("Enter")
    console.expect_heading(person.id)

    console.command("Grant", Credits="1,500", Days="7", Reason=f"Invoice 7 {MARKUP}")
    assert "Balance: 500 → 2,000" in console.dialog.inner_text()
    assert "The service decides" in console.dialog.inner_text()
    console.submit()
    message = console.wait_until_done()

    assert "Granted 1,500 credits" in message
    assert "The balance is now 2,000 credits" in message
    assert REQUEST_ID.search(message)
    console.expect_figure("Available", "2,000")
    assert person.balance()["totalCredits"] == 2000, "the double click of submit() must make only one grant"
    console.open_tab("Ledger")
    newest = console.rows("Ledger").first
    expect(newest).to_contain_text(f"Invoice 7 {MARKUP}")
    expect(newest).to_contain_text("+1,500")
    expect(newest).to_contain_text(admin.id)


def test_a_grant_whose_answer_was_lost_is_sent_again_with_the_same_idempotency_key(
    console: Console, admin: Person, people: People
) -> None:
    person = people()
    keys: list[str] = []

    def lose_the_first(route: Route) -> None:
        keys.append(route.request.headers["idempotency-key"])
        if len(keys) == 1:
            route.fetch()
            route.abort()
        else:
            route.continue_()

    console.page.route("**/credits/allocate", lose_the_first)
    console.sign_in(admin, f"people/{person.id}")
    console.command("Grant", Credits="70", Reason="Welcome")
    console.submit()
    assert "may still have had an effect" in console.refusal()
    console.submit()
    message = console.wait_until_done()
    console.watched.errors.clear()  # Chromium reports the lost answer

    assert "had been carried out already" in message
    assert len(keys) == 2
    assert len(set(keys)) == 1
    assert person.balance()["totalCredits"] == 70


@pytest.mark.parametrize(
    ("button", "typed", "preview", "left"),
    [
        ("Remove", "120", "Balance: 500 → 380", 380),
        ("Set", "90", "Balance: 500 → 90", 90),
        ("Set", "800", "Balance: 500 → 800", 800),
        ("Adjust", "-20", "Balance: 500 → 480", 480),
        ("Adjust", "20", "Balance: 500 → 520", 520),
    ],
)
def test_the_balance_after_a_command_is_the_one_that_the_dialog_showed(
    console: Console, admin: Person, people: People, button: str, typed: str, preview: str, left: int
) -> None:
    person = people(credits=500)
    console.sign_in(admin, f"people/{person.id}")
    console.command(button, Credits=typed, Reason="Corrected")
    assert preview in console.dialog.inner_text()
    console.submit()

    assert f"The balance is now {left} credits" in console.wait_until_done()
    assert person.balance()["totalCredits"] == left


def test_a_refused_command_shows_why_and_changes_nothing(console: Console, admin: Person, people: People) -> None:
    person = people(credits=500)
    console.sign_in(admin, f"people/{person.id}")
    console.command("Remove", Credits="501", Reason="Too much")
    assert "the service will refuse" in console.dialog.inner_text()
    console.submit()
    refusal = console.refusal()

    assert "Insufficient credits" in refusal
    assert "INSUFFICIENT_CREDITS" in refusal
    assert REQUEST_ID.search(refusal)
    assert console.dialog.get_by_label("Credits", exact=True).input_value() == "501", "the typed text must stay"
    console.dialog.get_by_label("Credits", exact=True).fill("1e9")
    expect(console.dialog.get_by_text("1 or more, in digits.")).to_be_visible()
    expect(console.dialog.locator("button[type=submit]")).to_be_disabled()
    console.page.keyboard.press("Escape")
    console.expect_figure("Available", "500")
    assert person.balance()["totalCredits"] == 500


def test_a_grant_expires_at_the_time_that_was_entered(console: Console, admin: Person, people: People) -> None:
    person = people()
    at = (datetime.now(UTC) + timedelta(days=3)).replace(second=0, microsecond=0)
    console.sign_in(admin, f"people/{person.id}")
    minutes_behind = console.page.evaluate("at => new Date(at).getTimezoneOffset()", at.isoformat())
    local = (at - timedelta(minutes=minutes_behind)).strftime("%Y-%m-%dT%H:%M")
    console.command("Grant", Credits="5", Reason="Trial")
    console.dialog.get_by_label("The credits expire").select_option("at")
    console.dialog.get_by_label("Time", exact=True).fill(local)
    console.submit()
    console.wait_until_done()

    (lot,) = person.balance()["activeAllocations"]
    assert datetime.fromisoformat(lot["expiresAt"]) == at


def test_lots_are_shown_in_pages_with_the_soonest_to_expire_first(
    console: Console, admin: Person, people: People
) -> None:
    person = people()
    for days in range(12, 0, -1):
        admin.ok("POST", "credits/allocate", {"userId": person.id, "credits": days, "expiryDays": days})
    console.sign_in(admin, f"people/{person.id}")
    lots = console.rows("Lots, the soonest to expire first")

    expect(lots).to_have_count(10)
    assert lots.first.locator("td").first.inner_text() == "1"
    console.page.get_by_role("button", name="Next").click()
    expect(lots).to_have_count(2)
    assert lots.last.locator("td").first.inner_text() == "12"


def test_an_administrator_disables_and_enables_a_person(console: Console, admin: Person, people: People) -> None:
    person = people(credits=10)
    console.sign_in(admin, f"people/{person.id}")
    console.command("Disable", Reason=f"Chargeback {MARKUP}")
    console.submit()
    assert f"{person.id} is disabled" in console.wait_until_done()

    expect(console.page.get_by_text(f"Disabled because: Chargeback {MARKUP}")).to_be_visible()
    console.expect_figure("Available", "10")
    assert admin.ok("GET", f"users/{person.id}")["disabled"] is True
    console.command("Enable")
    console.submit()
    assert f"{person.id} is enabled" in console.wait_until_done()
    expect(console.page.get_by_role("button", name="Disable", exact=True)).to_be_visible()
    assert admin.ok("GET", f"users/{person.id}")["disabled"] is False


def test_an_administrator_ends_an_api_key(console: Console, http: httpx.Client, admin: Person, people: People) -> None:
    person = people(credits=10)
    key = person.ok("POST", "api-keys", {"name": f"ci {MARKUP}", "permissions": ["credits:read"]})
    console.sign_in(admin, f"people/{person.id}?tab=keys")
    row = console.rows("API keys").first
    expect(row).to_contain_text(f"ci {MARKUP}")
    row.get_by_role("button").click()
    console.submit()
    assert "has ended" in console.wait_until_done()

    expect(row).to_contain_text("ended")
    expect(row.get_by_role("button")).to_have_count(0)
    assert with_key(http, "GET", "credits/balance", key["key"]).status_code == 401


def test_an_administrator_sees_sessions_usage_and_audit_of_a_person(
    console: Console, admin: Person, people: People
) -> None:
    person = people(credits=500)
    live, ended = person.open(), person.open(tokens=2000)
    person.finalize(ended, 3000)
    record = {
        "service": "search",
        "operation": f"find {MARKUP}",
        "credits": 7,
        "deduct": True,
        "metadata": {"q": MARKUP},
    }
    person.ok("POST", "usage/record", record)

    console.sign_in(admin, f"people/{person.id}?tab=sessions")
    expect(console.rows("Live sessions")).to_have_count(1)
    expect(console.rows("Live sessions")).to_contain_text(live)
    expect(console.rows("All sessions")).to_have_count(2)
    console.rows("Live sessions").get_by_role("button").click()
    console.dialog.get_by_label("Reason").fill("It hangs")
    console.submit()
    assert REQUEST_ID.search(console.wait_until_done())
    expect(console.page.get_by_text("No session is live.")).to_be_visible()
    console.open_tab("Usage")
    console.expect_figure("Credits", "10")
    searched = console.rows("Newest records").filter(has_text=f"find {MARKUP}")
    expect(searched).to_contain_text(f'{{"q":"{MARKUP}"}}')
    console.open_tab("Audit")
    console.expect_figure("Result", "intact")
    console.expect_figure("Drift", "0")
    assert console.page.locator("main img, main b").count() == 0, "markup must be shown as text"


def test_a_run_shows_what_it_spent_and_can_be_stopped(console: Console, admin: Person, people: People) -> None:
    person, run = people(credits=500), new_id("run")
    person.ok("POST", "runs", {"runId": run, "limitCredits": 40, "metadata": {"why": MARKUP}})
    body = {"service": "search", "operation": "find", "credits": 15, "deduct": True, "runId": run}
    person.ok("POST", "usage/record", body)
    console.sign_in(admin, f"people/{person.id}?tab=ledger")
    console.page.get_by_role("link", name=run).click()

    expect(console.page.get_by_text("15 of 40")).to_be_visible()
    expect(console.page.get_by_text(MARKUP)).to_be_visible()
    console.command("Stop")
    console.submit()
    console.wait_until_done()
    expect(console.page.get_by_text("stopped", exact=True)).to_be_visible()
    assert person.ok("GET", f"runs/user:{person.id}/{run}")["status"] == "stopped"
    console.page.get_by_label("Run id").fill("another")
    console.page.keyboard.press("Enter")
    assert "RUN_NOT_FOUND" in console.refusal()


def test_the_preview_of_a_call_shows_every_limit(console: Console, admin: Person, people: People) -> None:
    person, run = people(credits=500), new_id("run")
    person.ok("POST", "runs", {"runId": run, "limitCredits": 40})
    console.sign_in(admin, f"people/{person.id}")
    for label, text in {"Model": MODEL, "Input tokens": "0", "Output tokens": "30,000", "In the run": run}.items():
        console.page.get_by_label(label, exact=True).fill(text)
    console.page.keyboard.press("Enter")
    limits = console.rows("Limits")

    expect(console.page.get_by_text("It would pass. 36 credits would be held")).to_be_visible()
    expect(limits).to_have_count(2)
    expect(limits.filter(has_text="Balance")).to_contain_text("500")
    console.page.get_by_label("Output tokens").fill("40,000")
    console.page.keyboard.press("Enter")
    expect(console.page.get_by_text("It would not pass.")).to_be_visible()
    expect(console.page.get_by_text("BUDGET_EXCEEDED")).to_be_visible()
    expect(limits.filter(has_text="Balance")).to_contain_text("passes")
    expect(limits.filter(has_text=f"Run {run}")).to_contain_text("too little")
    assert person.balance()["heldCredits"] == 0


def test_the_preview_for_an_organization_checks_the_budget_of_the_member_who_calls(
    console: Console, admin: Person, people: People
) -> None:
    owner, member = people(), people()
    made = _organization(admin, owner, member)
    admin.ok("PUT", f"budgets/{made['accountId']}/members", {"limitCredits": 5, "window": "day"})
    console.sign_in(owner, f"organizations/{made['organizationId']}")
    typed = {"Model": MODEL, "Input tokens": "0", "Output tokens": "5000", "Member who calls": member.id}
    for label, text in typed.items():
        console.page.get_by_label(label, exact=True).fill(text)
    console.page.keyboard.press("Enter")

    expect(console.page.get_by_text("It would not pass.")).to_be_visible()
    expect(console.rows("Limits").filter(has_text="Each member")).to_contain_text("too little")
    console.page.get_by_label("Member who calls").fill("")
    console.page.keyboard.press("Enter")
    expect(console.page.get_by_text("It would pass. 6 credits would be held")).to_be_visible()


def test_a_person_whose_id_has_special_characters_is_found(
    console: Console, http: httpx.Client, admin: Person, token: Mint
) -> None:
    user_id = f"{new_id('a/b')} ü#?&+ <b>"
    person = Person(http, user_id, token(user_id, email=f"{new_id('odd')}@example.com"))
    person.balance()
    console.sign_in(admin, "people")
    console.page.get_by_label("User id or e-mail address").fill(user_id)
    console.page.keyboard.press("Enter")
    console.expect_heading(user_id)
    console.command("Grant", Credits="12", Reason="Welcome")
    console.submit()
    console.wait_until_done()
    for tab in ("Ledger", "Sessions", "Usage", "API keys", "Audit"):
        console.open_tab(tab)
        expect(console.page.get_by_role("table").or_(console.page.locator(".empty")).first).to_be_visible()
        assert console.page.get_by_role("alert").count() == 0
    assert person.balance()["totalCredits"] == 12


def test_an_administrator_lists_the_people_of_a_role(console: Console, admin: Person, people: People) -> None:
    made = [people("supervisor") for _ in range(2)]
    console.sign_in(admin, "people")
    console.page.get_by_role("navigation", name="Role").get_by_role("link", name="Supervisors").click()

    expect(console.page.get_by_role("link", name=made[0].id, exact=True)).to_be_visible()
    assert set(console.rows("All people").locator(".badge").all_inner_texts()) <= {"supervisor", "active"}
    console.page.get_by_role("link", name=made[1].id, exact=True).click()
    console.expect_heading(made[1].id)


def test_a_search_for_an_unknown_person_shows_the_refusal(console: Console, admin: Person) -> None:
    console.sign_in(admin, "people")
    console.page.get_by_label("User id or e-mail address").fill("nobody@example.com")
    console.page.keyboard.press("Enter")

    assert "USER_NOT_FOUND (404)" in console.refusal()
    expect(console.page.get_by_text("People appear here after their first request")).to_be_visible()
    console.go_to("people/..")
    assert "An id cannot be" in console.refusal()


def test_a_supervisor_sees_and_grants_what_the_role_permits(console: Console, people: People) -> None:
    supervisor, person = people("supervisor"), people(credits=500)
    console.sign_in(supervisor, "people")
    console.page.get_by_label("User id or e-mail address").fill(person.email)
    console.page.keyboard.press("Enter")
    console.expect_heading(person.id)

    assert console.tabs() == ["Credits", "Ledger", "Sessions", "Usage"]
    console.command("Grant", Credits="5", Reason="Goodwill")
    console.submit()
    console.wait_until_done()
    console.expect_figure("Available", "505")
    assert console.page.get_by_role("button", name="Disable").count() == 0
    assert console.page.get_by_role("heading", name="Budgets").count() == 0
    console.go_to(f"people/{person.id}?tab=keys")
    console.expect_figure("Available", "505")
    assert console.page.get_by_role("heading", name="API keys").count() == 0
    for tab in ("Ledger", "Sessions", "Usage"):
        console.open_tab(tab)
        expect(console.page.get_by_role("table").or_(console.page.locator(".empty")).first).to_be_visible()
        assert console.page.get_by_role("alert").count() == 0


def test_a_user_is_not_offered_the_people_screen_and_is_refused_when_opening_it(
    console: Console, people: People
) -> None:
    user, other = people(), people(credits=4711)
    console.sign_in(user, f"people/{other.id}")

    refusal = console.refusal()
    assert "FORBIDDEN" in refusal
    assert REQUEST_ID.search(refusal)
    assert "4,711" not in console.page.inner_text("body")
    assert "People" not in console.page.get_by_role("navigation", name="Screens").inner_text()


def test_an_administrator_sees_an_organization_and_grants_it_credits(
    console: Console, admin: Person, people: People
) -> None:
    owner, member = people(), people()
    made = _organization(admin, owner, member, name=f"Acme {MARKUP}")
    budget = {"limitCredits": 60, "window": "day"}
    admin.ok("PUT", f"budgets/{made['accountId']}/member:{member.id}", budget)
    spent = {"service": "search", "operation": "find", "credits": 15, "deduct": True, "accountId": made["accountId"]}
    member.ok("POST", "usage/record", spent)
    console.sign_in(admin, "organizations")
    console.page.get_by_role("link", name=f"Acme {MARKUP}").first.click()
    console.expect_heading(f"Acme {MARKUP}")

    assert console.tabs() == ["Credits", "Members", "Ledger", "Usage", "Runs", "Audit"]
    console.expect_figure("Available", "985")
    expect(console.page.get_by_text("15 of 60")).to_be_visible()
    console.command("Grant", Credits="15", Reason="Contract")
    console.submit()
    console.wait_until_done()
    console.expect_figure("Available", "1,000")
    console.open_tab("Members")
    expect(console.rows("Members")).to_have_count(2)
    console.open_tab("Usage")
    console.expect_figure("Credits", "15")
    console.open_tab("Audit")
    console.expect_figure("Result", "intact")
    assert console.page.locator("main img, main b").count() == 0, "markup must be shown as text"


def test_an_organization_shows_and_offers_what_the_role_permits(
    console: Console, admin: Person, people: People
) -> None:
    owner, member, supervisor, stranger = people(), people(), people("supervisor"), people()
    made = _organization(admin, owner, member)
    address = f"organizations/{made['organizationId']}"
    offered = {}
    for name, person in (("owner", owner), ("member", member), ("supervisor", supervisor)):
        console.sign_in(person, address)
        console.expect_figure("Available", "1,000")
        offered[name] = console.tabs(), console.page.get_by_role("button", name="Grant").count()

    assert offered == {
        "owner": (["Credits", "Members", "Ledger", "Usage", "Runs"], 0),
        "member": (["Credits", "Members", "Usage", "Runs"], 0),
        "supervisor": (["Credits", "Ledger", "Usage"], 1),
    }
    console.sign_in(stranger, address)
    assert "404" in console.refusal()
