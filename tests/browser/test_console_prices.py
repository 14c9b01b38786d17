"""The console's screens about prices: rules in force, a model's rules, quotes and imports."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

from playwright.sync_api import expect

from tests.e2e.client import new_id

if TYPE_CHECKING:
    from tests.browser.console import Console
    from tests.e2e.client import Person
    from tests.e2e.conftest import People

FUTURE = "2099-01-01T00:00:00.000Z"


def _model() -> str:
    """Return an unused model id. It has a slash, as many model ids do."""
    return f"acme/{new_id('model')}"


def _address(model: str) -> str:
    return f"prices/{quote(model, safe='')}"


def _price(admin: Person, model: str) -> Any:
    return admin.ok("GET", f"pricing/{quote(quote(model, safe=''), safe='')}")


def test_a_double_click_adds_one_rule_with_its_tier_and_variant(console: Console, admin: Person) -> None:
    model = _model()
    console.sign_in(admin, "prices")
    console.command(
        "Add a rule", Model=model, Input="3,000", Output="15000.5", Variants='{"batch": {"output": "7500"}}'
    )
    console.dialog.get_by_role("button", name="Add a tier").click()
    tier = console.dialog.get_by_role("group")
    tier.get_by_label("Above input tokens").fill("200,000")
    tier.get_by_label("Input", exact=True).fill("6000")
    console.submit()
    message = console.wait_until_done()

    assert f"{model} has a new price" in message
    assert "Request " in message
    price = _price(admin, model)
    assert len(price["history"]) == 1, "a double click adds one rule"
    assert price["rates"] == {"input": "3000", "output": "15000.5"}
    assert price["tiers"] == [{"aboveInputTokens": 200_000, "rates": {"input": "6000"}}]
    assert price["variants"] == {"batch": {"rates": {"output": "7500"}}}
    row = console.rows("Rules in force").filter(has_text=model)
    expect(row).to_contain_text("15,000.5")
    expect(row).to_contain_text("1 tier, 1 variant")


def test_the_dialog_shows_why_a_rule_is_refused_and_keeps_what_was_typed(console: Console, admin: Person) -> None:
    model = _model()
    console.sign_in(admin, _address(model))
    console.command("Add a rule", Input="1.1234567", Output="2")
    console.submit()

    assert "at most 6 decimals" in console.refusal()
    assert console.dialog.get_by_label("Input", exact=True).input_value() == "1.1234567"
    assert _price(admin, model)["history"] == []
    console.dialog.get_by_label("Input", exact=True).fill("1.123456")
    console.submit()
    console.wait_until_done()
    expect(console.rows("Rules of this model")).to_have_count(1)


def test_a_models_rules_are_shown_and_a_future_rule_can_be_withdrawn(console: Console, admin: Person) -> None:
    model = _model()
    for rates, begins in (("1", None), ("2", None), ("3", FUTURE)):
        body = {"modelId": model, "rates": {"input": rates, "output": rates}}
        admin.ok("POST", "pricing", body if begins is None else {**body, "effectiveFrom": begins})
    console.sign_in(admin, "prices")
    console.page.get_by_label("Model or alias").fill(model)
    console.page.keyboard.press("Enter")
    console.expect_heading(model)
    rules = console.rows("Rules of this model")

    expect(rules).to_have_count(3)
    assert rules.locator(".badge").all_inner_texts() == ["future", "in force", "superseded"]
    rules.nth(0).get_by_role("button", name="Withdraw").click()
    console.submit()
    assert "withdrawn" in console.wait_until_done()
    expect(rules).to_have_count(2)
    assert [each["rates"]["input"] for each in _price(admin, model)["history"]] == ["2", "1"]


def test_an_administrator_ends_a_rule(console: Console, admin: Person) -> None:
    model = _model()
    admin.ok("POST", "pricing", {"modelId": model, "pricePerThousandTokens": 2})
    console.sign_in(admin, _address(model))
    console.rows("Rules of this model").get_by_role("button", name="End").click()
    console.dialog.get_by_label("Ends").fill("2098-05-06T07:08")
    console.submit()
    console.wait_until_done()

    assert _price(admin, model)["history"][0]["effectiveTo"].startswith("2098-05-0")
    expect(console.rows("Rules of this model").locator("time").nth(1)).to_contain_text("2098")


def test_a_rule_can_be_added_for_a_model_that_the_service_refuses(console: Console, admin: Person) -> None:
    model = _model()
    refused = {"code": "MODEL_UNKNOWN", "message": "The model has no price", "details": {"modelId": model}}
    console.answer_once("**/api/pricing?*", 200, {"models": []})
    console.answer_once("**/api/pricing/**", 400, refused)
    console.sign_in(admin, "prices")
    expect(console.page.get_by_text("nor a built-in price is refused.")).to_be_visible()
    console.page.get_by_label("Model or alias").fill(model)
    console.page.keyboard.press("Enter")
    console.expect_heading(model)

    expect(console.page.get_by_text("this service refuses such models")).to_be_visible()
    expect(console.page.get_by_role("alert")).to_have_count(0)
    console.command("Add a rule", Input="1", Output="2")
    console.submit()
    console.wait_until_done()
    expect(console.rows("Rules of this model")).to_have_count(1)


def test_a_model_has_no_price_if_its_only_rule_is_in_the_future(console: Console, admin: Person) -> None:
    model = _model()
    rule = {"modelId": model, "pricePerThousandTokens": 1, "rates": {"input": "1000", "output": "1000"}}
    future = {**rule, "effectiveFrom": FUTURE, "effectiveTo": None}
    shown = {"modelId": model, "effectiveFrom": None, "effectiveTo": None, "history": [future]}
    console.answer_once("**/api/pricing/**", 200, shown)
    console.sign_in(admin, _address(model))

    console.expect_figure("In force", "no price")
    assert console.rows("Rules of this model").locator(".badge").all_inner_texts() == ["future"]
    console.command("Add a rule", Input="1", Output="2")
    expect(console.dialog.get_by_label("Model", exact=True)).to_have_value(model)


def test_a_model_without_a_rule_shows_whether_its_price_is_built_in(console: Console, admin: Person) -> None:
    console.sign_in(admin, _address("amazon.titan-text-express-v1"))
    console.expect_figure("In force", "its built-in price")
    console.go_to(_address(_model()))
    console.expect_figure("In force", "the default price")


def test_a_quote_explains_its_cost_line_by_line(console: Console, admin: Person, people: People) -> None:
    model = _model()
    rates = {"input": "3000", "output": "15000", "cachedInput": "300"}
    tiers = [{"aboveInputTokens": 200_000, "rates": {"input": "6000"}}]
    admin.ok("POST", "pricing", {"modelId": model, "rates": rates, "tiers": tiers})
    console.sign_in(people(), "prices?tab=quote")
    for label, text in (
        ("Model", model),
        ("Input tokens", "250,000"),
        ("Input from a cache", "1001"),
        ("Output tokens", "10"),
    ):
        console.page.get_by_label(label, exact=True).fill(text)
    console.page.get_by_role("button", name="Calculate").click()

    # ((250,000 - 1,001) × 6,000 + 1,001 × 300 + 10 × 15,000) / 1,000,000 = 1,494.4443, rounded up to 1,495.
    console.expect_figure("It costs", "1,495 credits")
    console.expect_figure("Context tier", "above 200,000")
    lines = console.rows("Line by line")
    expect(lines.filter(has_text="Input from a cache")).to_contain_text("0.3003")
    expect(lines.filter(has_text="Output")).to_contain_text("0.15")
    console.page.get_by_label("Usage as").select_option("openai")
    usage = {"prompt_tokens": 1000, "completion_tokens": 0, "total_tokens": 1000}
    console.page.get_by_label("Usage object").fill(json.dumps(usage))
    console.page.get_by_role("button", name="Calculate").click()
    console.expect_figure("It costs", "3 credits")
    console.page.get_by_label("Usage object").fill("{")
    console.page.get_by_role("button", name="Calculate").click()
    assert "not JSON" in console.refusal()
    console.page.get_by_label("Usage object").fill("{}")
    expect(console.page.get_by_role("alert"), "a refusal disappears when the text is changed").to_have_count(0)


def test_an_import_shows_what_it_would_change_before_it_is_applied(console: Console, admin: Person) -> None:
    known, new, same = _model(), _model(), _model()
    for model in (known, same):
        admin.ok("POST", "pricing", {"modelId": model, "rates": {"input": "1", "output": "2"}})
    console.sign_in(admin, "prices?tab=import")
    listed = f'modelId,input,output,aliases\n{known},1.5,2,\n"{new}",3,4,{new}-latest {new}-2\n{same},1,2,\n'
    console.page.get_by_label("Rules").fill(listed)
    console.page.get_by_role("button", name="Show the difference").click()
    rows = console.rows("What the import would change")

    expect(rows).to_have_count(2)
    expect(rows.filter(has_text=known)).to_contain_text("1 → 1.5")
    expect(rows.filter(has_text=new)).to_contain_text("added")
    expect(console.page.get_by_text("1 model stays unchanged.")).to_be_visible()
    console.page.get_by_label("Rules").press("End")
    console.page.get_by_label("Rules").press("Space")
    expect(rows).to_have_count(0)
    console.page.get_by_label("Rules").press("Backspace")
    expect(rows).to_have_count(2)
    assert len(_price(admin, known)["history"]) == 1, "showing the difference writes nothing"
    console.page.get_by_role("button", name="Import 2 rules").dblclick()
    expect(console.page.get_by_text("Imported: 1 added, 1 changed, 1 unchanged.")).to_be_visible()
    assert [each["rates"]["input"] for each in _price(admin, known)["history"]] == ["1.5", "1"]
    assert _price(admin, f"{new}-2")["modelId"] == new
    assert console.page.get_by_role("button", name="Import").count() == 0


def test_an_invalid_import_shows_its_error_and_changes_nothing(console: Console, admin: Person) -> None:
    model = _model()
    console.sign_in(admin, "prices?tab=import")
    rules = [{"modelId": model, "rates": {"input": "1", "output": "2"}}, {"modelId": model, "rates": {"input": "-1"}}]
    console.page.get_by_label("Rules").fill(json.dumps(rules))
    console.page.get_by_role("button", name="Show the difference").click()
    refusal = console.refusal()

    assert "rules.1.rates.input" in refusal
    assert "must be digits" in refusal
    assert console.page.get_by_role("button", name="Import").count() == 0
    assert _price(admin, model)["history"] == []
    console.page.get_by_label("Rules").fill("input,output\n1,2")
    console.page.get_by_role("button", name="Show the difference").click()
    expect(console.page.get_by_role("alert")).to_contain_text("one of them is modelId")


def test_supervisors_and_users_see_prices_but_cannot_change_them(
    console: Console, admin: Person, people: People
) -> None:
    model = _model()
    admin.ok("POST", "pricing", {"modelId": model, "pricePerThousandTokens": 2, "effectiveFrom": FUTURE})
    admin.ok("POST", "pricing", {"modelId": model, "pricePerThousandTokens": 1})
    for role in ("supervisor", "user"):
        console.sign_in(people(role), "prices?tab=import")
        expect(console.rows("Rules in force").first).to_be_visible()
        assert console.tabs() == ["In force", "Quote"]
        assert console.page.get_by_role("button", name="Add a rule").count() == 0
        console.go_to(_address(model))
        rules = console.rows("Rules of this model")
        expect(rules).to_have_count(2)
        assert rules.get_by_role("button").all_inner_texts() == ["Rates", "Rates"]
