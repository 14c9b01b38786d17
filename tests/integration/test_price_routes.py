"""The routes that price a usage and import price lists, called as the gateway calls them."""

import json
from fractions import Fraction
from math import ceil
from typing import Any

import pytest

from accounting.operations import prices
from accounting.settings import settings
from accounting.store import keys, table
from accounting.store import prices as store
from accounting.times import DAY, iso
from accounting.web.paging import cursor_of
from functions.credits import app as credits_app
from functions.pricing import app as pricing_app
from tests.calls import Calls
from tests.integration.conftest import NOW
from tests.integration.test_events import CONTEXT, event
from tests.integration.test_prices import largest

BEGINNING = "2026-01-01T00:00:00.000Z"
RULE: dict[str, Any] = {
    "modelId": "m",
    "rates": {"input": "2500", "output": "10000", "cachedInput": "1250", "webSearch": "10000"},
    "tiers": [{"aboveInputTokens": 200_000, "rates": {"input": "5000", "output": "15000"}}],
    "variants": {"batch": {"rates": {"input": "1250", "output": "5000"}}},
    "aliases": ["m-latest"],
    "effectiveFrom": BEGINNING,
}
SHOWN = {**RULE, "pricePerThousandTokens": 10, "effectiveTo": None}


def ask(
    app: Any,
    method: str,
    path: str,
    body: Any = None,
    key: str | None = None,
    query: dict[str, str] | None = None,
    **more: str,
) -> Any:
    """Send a request. Return the fields of the answer's body, ``status``, and whether the answer was ``replayed``."""
    resource = path.replace(more.get("modelId", "{}"), "{modelId}") if "modelId" in more else path
    sample = event("pricing/add")
    headers = {**sample["headers"], **({"Idempotency-Key": key} if key else {})}
    sample |= {"resource": resource, "path": path, "httpMethod": method, "headers": headers}
    sample |= {"multiValueHeaders": {name: [value] for name, value in headers.items()}}
    sample |= {"queryStringParameters": query}
    sample |= {"multiValueQueryStringParameters": {name: [value] for name, value in query.items()} if query else None}
    sample |= {"pathParameters": more or None, "body": json.dumps(body) if body is not None else None}
    answer = app.handler(sample, CONTEXT)
    replayed = {**answer.get("headers", {}), **answer.get("multiValueHeaders", {})}.get("Idempotency-Replayed")
    return {"status": answer["statusCode"], "replayed": bool(replayed), **json.loads(answer["body"])}


def add(rule: dict[str, Any], **more: Any) -> Any:
    return ask(pricing_app, "POST", "/api/pricing", rule, **more)


def calculate(**body: Any) -> Any:
    return ask(credits_app, "POST", "/api/credits/calculate", {"modelId": "m", **body})


def import_list(*rules: Any, key: str | None = None, **more: Any) -> Any:
    return ask(pricing_app, "POST", "/api/pricing/import", {"rules": rules, **more}, key)


def price_list() -> Any:
    return ask(pricing_app, "GET", "/api/pricing")


def price_of(model: str, cursor: str | None = None) -> Any:
    query = {"cursor": cursor} if cursor else None
    return ask(pricing_app, "GET", f"/api/pricing/{model}", query=query, modelId=model)


def history(model: str) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = price_of(model)["history"]
    return found


def test_every_answer_shows_the_whole_rule() -> None:
    added = add(RULE, key="k")
    again = add(RULE, key="k")
    listed = ask(pricing_app, "GET", "/api/pricing")["models"]

    assert added == {"status": 201, "replayed": False, **SHOWN}
    assert again == {"status": 201, "replayed": True, **SHOWN}
    assert listed == [SHOWN]
    for model in ("m", "m-latest"):
        assert price_of(model) == {"status": 200, "replayed": False, **SHOWN, "history": [SHOWN]}
    ended = ask(pricing_app, "PUT", f"/api/pricing/m/{BEGINNING}", {"effectiveTo": iso(NOW + DAY)})
    assert {**ended, "effectiveTo": None} == {"status": 200, "replayed": False, **SHOWN}


@pytest.mark.parametrize(
    ("usage", "usage_format"),
    [
        ({"inputTokens": 3000, "cachedInputTokens": 1000, "outputTokens": 501, "webSearches": 2}, "canonical"),
        (
            {
                "input_tokens": 2000,
                "cache_read_input_tokens": 1000,
                "output_tokens": 501,
                "server_tool_use": {"web_search_requests": 2},
            },
            "anthropic",
        ),
    ],
)
def test_a_usage_is_priced_and_explained(usage: dict[str, Any], usage_format: str) -> None:
    add(RULE)

    answer = calculate(usage=usage, usageFormat=usage_format)

    assert answer["lines"] == [
        {"class": "input", "tokens": 2000, "creditsPerMillion": "2500", "credits": "5"},
        {"class": "output", "tokens": 501, "creditsPerMillion": "10000", "credits": "5.01"},
        {"class": "cachedInput", "tokens": 1000, "creditsPerMillion": "1250", "credits": "1.25"},
        {"class": "request", "tokens": 1, "creditsPerMillion": "0", "credits": "0"},
        {"class": "webSearch", "tokens": 2, "creditsPerMillion": "10000000", "credits": "20"},
    ]
    assert answer["credits"] == 32 == ceil(sum(Fraction(line["credits"]) for line in answer["lines"]))
    assert (answer["tokens"], answer["pricePerThousandTokens"]) == (3501, 10)
    assert answer["ruleId"] == f"m@{1767225600000}"
    assert "tier" not in answer
    assert answer["usage"] == {
        "inputTokens": 3000,
        "cachedInputTokens": 1000,
        "outputTokens": 501,
        "requests": 1,
        "webSearches": 2,
    }


def test_tiers_and_variants_have_their_own_prices_and_an_answer_names_the_tier() -> None:
    add(RULE)
    long = {"inputTokens": 200_001, "outputTokens": 0}

    in_tier, batch = calculate(usage=long), calculate(usage=long, variant="batch")

    assert (in_tier["tier"], in_tier["credits"]) == (200_000, 1001)
    assert ("tier" in batch, batch["credits"]) == (False, 251)
    assert calculate(usage=long, variant="flex")["status"] == 400


def test_a_bare_number_of_tokens_is_priced() -> None:
    add({"modelId": "m", "pricePerThousandTokens": "1.1", "effectiveFrom": BEGINNING})

    answer = calculate(tokens=110_000)

    assert (answer["credits"], answer["tokens"], answer["pricePerThousandTokens"]) == (121, 110_000, 1.1)
    assert "lines" not in answer
    assert "ruleId" not in answer


def test_a_usage_at_the_default_price_has_no_rule() -> None:
    answer = calculate(modelId="unknown", usage={"inputTokens": 1_000, "outputTokens": 500})

    assert answer["credits"] == 2
    assert "ruleId" not in answer


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "tokens"),
        ({"tokens": 1, "usage": {"inputTokens": 1, "outputTokens": 1}}, "tokens"),
        ({"usage": {"inputTokens": 1, "outputTokens": 1, "cachedInputTokens": 2}}, "usage.inputTokens"),
        ({"usage": {"inputTokens": 1, "outputTokens": 1}, "usageFormat": "openai"}, "usage.prompt_tokens"),
        ({"tokens": 1, "variant": "Batch"}, "variant"),
    ],
)
def test_calculate_names_the_field_that_it_refuses(body: dict[str, Any], field: str) -> None:
    answer = calculate(**body)

    assert (answer["status"], answer["details"]["errors"][0]["field"]) == (400, field)


@pytest.fixture
def unknown_models_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("UNKNOWN_MODELS", "refuse")
    settings.cache_clear()


@pytest.mark.usefixtures("unknown_models_are_refused")
def test_a_model_without_a_price_is_refused_if_the_stack_refuses_unknown_models() -> None:
    for body in ({"tokens": 1}, {"usage": {"inputTokens": 1, "outputTokens": 1}}):
        refused = calculate(modelId="unknown", **body)
        assert (refused["status"], refused["code"], refused["details"]) == (
            400,
            "MODEL_UNKNOWN",
            {"modelId": "unknown"},
        )
    assert calculate(modelId="anthropic.claude-instant-v1", tokens=1)["status"] == 200


def test_the_list_of_prices_has_the_default_price() -> None:
    assert price_list() == {"status": 200, "replayed": False, "defaultPrice": 1, "models": []}


@pytest.mark.usefixtures("unknown_models_are_refused")
def test_the_list_of_prices_has_no_default_price_if_the_stack_refuses_unknown_models() -> None:
    assert price_list() == {"status": 200, "replayed": False, "models": []}


@pytest.mark.usefixtures("unknown_models_are_refused")
def test_the_pricing_route_and_calculate_refuse_an_unknown_model_with_the_same_answer() -> None:
    shown = price_of("unknown")

    assert (shown["status"], shown["code"], shown["details"]) == (400, "MODEL_UNKNOWN", {"modelId": "unknown"})
    assert {**shown, "requestId": ""} == {**calculate(modelId="unknown", tokens=1), "requestId": ""}
    assert price_of("unknown", cursor=cursor_of(NOW))["code"] == "MODEL_UNKNOWN"


@pytest.mark.usefixtures("unknown_models_are_refused")
def test_a_model_whose_rules_are_not_in_force_shows_its_rules_and_no_price() -> None:
    add({**RULE, "effectiveFrom": BEGINNING, "effectiveTo": "2026-02-01T00:00:00.000Z"})
    add({**RULE, "modelId": "n", "aliases": ["n-latest"], "effectiveFrom": iso(NOW + DAY)})

    for model, rule in (("m", "m"), ("m-latest", "m"), ("n", "n"), ("n-latest", "n")):
        shown = price_of(model)
        assert [each["modelId"] for each in shown.pop("history")] == [rule]
        assert shown == {
            "status": 200,
            "replayed": False,
            "modelId": model,
            "effectiveFrom": None,
            "effectiveTo": None,
        }
        assert calculate(modelId=model, tokens=1)["code"] == "MODEL_UNKNOWN"
    assert price_of("n", cursor=cursor_of(NOW))["history"] == []


@pytest.mark.parametrize("unknown_models", ["default", "refuse"])
def test_a_price_without_a_rule_says_whether_it_is_built_in(
    monkeypatch: pytest.MonkeyPatch, unknown_models: str
) -> None:
    monkeypatch.setenv("UNKNOWN_MODELS", unknown_models)
    settings.cache_clear()
    built_in = "anthropic.claude-instant-v1"

    assert price_of(built_in) == {
        "status": 200,
        "replayed": False,
        "modelId": built_in,
        "pricePerThousandTokens": 0.8,
        "rates": {"input": "800", "output": "800"},
        "effectiveFrom": None,
        "effectiveTo": None,
        "builtIn": True,
        "history": [],
    }
    add({"modelId": built_in, "pricePerThousandTokens": 2, "effectiveFrom": BEGINNING})
    assert "builtIn" not in price_of(built_in)


def test_the_default_price_is_not_built_in() -> None:
    assert price_of("unknown") == {
        "status": 200,
        "replayed": False,
        "modelId": "unknown",
        "pricePerThousandTokens": 1,
        "rates": {"input": "1000", "output": "1000"},
        "effectiveFrom": None,
        "effectiveTo": None,
        "history": [],
    }


def test_an_import_shows_what_it_changes_and_can_be_repeated() -> None:
    add(RULE)
    dearer = {**RULE, "rates": {**RULE["rates"], "output": "20000"}, "effectiveFrom": "2026-02-01T00:00:00.000Z"}
    new = {"modelId": "n", "rates": {"input": "1", "output": "2"}, "sourceVersion": "1", "effectiveFrom": BEGINNING}
    same = {"modelId": "o", "pricePerThousandTokens": 1, "effectiveFrom": BEGINNING}
    add(same)

    dry_run = import_list(dearer, new, same, dryRun=True)
    assert [len(history(model)) for model in "mno"] == [1, 0, 1]
    done = import_list(dearer, new, same)
    again = import_list(dearer, {**new, "sourceVersion": "2"}, same)

    assert done == dry_run
    assert [rule["modelId"] for rule in done["added"]] == ["n"]
    assert [(each["modelId"], each["before"], each["after"]) for each in done["changed"]] == [
        ("m", SHOWN, {**SHOWN, **dearer, "pricePerThousandTokens": 20})
    ]
    assert (done["unchanged"], done["problems"]) == (["o"], [])
    assert (again["added"], again["changed"], again["unchanged"]) == ([], [], ["m", "n", "o"])
    assert [len(history(model)) for model in "mno"] == [2, 1, 1]


def test_an_import_shows_the_new_price_of_a_model_that_becomes_an_alias() -> None:
    import_list({"modelId": "m", "rates": {"input": 1, "output": 1}, "effectiveFrom": BEGINNING})
    listed = {"modelId": "n", "rates": {"input": 50, "output": 50}, "aliases": ["m"]}

    dry_run = import_list(listed, dryRun=True)
    assert [rule["modelId"] for rule in dry_run["added"]] == ["n"]
    ((change),) = dry_run["changed"]
    assert (change["modelId"], change["before"]["modelId"], change["after"]["modelId"]) == ("m", "m", "n")
    assert import_list(listed, key="k")["changed"] == import_list(listed, key="k")["changed"]
    assert price_of("m")["rates"]["input"] == "50"
    assert import_list(listed)["unchanged"] == ["n"]

    add({"modelId": "m", "rates": {"input": 2, "output": 2}})
    assert price_of("m")["rates"]["input"] == "2"
    assert import_list(listed, dryRun=True)["unchanged"] == []


def test_a_repeated_import_gets_the_first_answer() -> None:
    rule = {**RULE, "effectiveTo": iso(NOW + DAY)}
    first = import_list(rule, key="k")
    add({**RULE, "aliases": [], "effectiveFrom": "2026-03-01T00:00:00.000Z"})

    again = import_list(rule, key="k")

    assert again == {**first, "replayed": True}
    assert len(history("m")) == 2
    assert import_list({**rule, "source": "another"}, key="k")["code"] == "IDEMPOTENCY_CONFLICT"


def test_a_rule_may_begin_in_the_last_millisecond_of_the_year_9999() -> None:
    last = {"modelId": "m", "rates": {"input": 1, "output": 1}, "effectiveFrom": "9999-12-31T23:59:59.999Z"}

    assert import_list(last)["added"][0]["effectiveFrom"] == last["effectiveFrom"]
    assert import_list(last)["unchanged"] == ["m"]


def test_every_problem_of_a_price_list_is_named_and_nothing_is_written() -> None:
    add(RULE)
    good = {"modelId": "n", "rates": {"input": "1", "output": "2"}, "effectiveFrom": BEGINNING}
    wrong = {"modelId": "o", "rates": {"input": "x", "otuput": 1}, "aliases": ["o"]}
    backwards = {**good, "modelId": "p", "effectiveTo": "2025-01-01"}

    answer = import_list(good, wrong, good, backwards, {**good, "modelId": "q", "aliases": ["n"]}, 5, {"modelId": "r"})

    assert (answer["status"], answer["code"]) == (400, "VALIDATION_ERROR")
    assert {(each["index"], each["field"]) for each in answer["details"]["problems"]} == {
        (1, "rates.input"),
        (1, "rates.output"),
        (1, "rates.otuput"),
        (1, "aliases"),
        (2, "modelId"),
        (3, "effectiveTo"),
        (4, "aliases.0"),
        (5, ""),
        (6, "pricePerThousandTokens"),
    }
    assert history("n") == []


def test_a_price_list_that_conflicts_with_stored_rules_is_refused() -> None:
    add(RULE)
    good = {"modelId": "n", "rates": {"input": "1", "output": "2"}, "effectiveFrom": BEGINNING}
    taken = [{**good, "modelId": "m"}, {**good, "aliases": ["x", "m-latest"]}, {**good, "modelId": "m-latest"}]

    answer = import_list(*taken, {**good, "modelId": "o"})

    assert {(each["index"], each["field"]) for each in answer["details"]["problems"]} == {
        (0, "effectiveFrom"),
        (1, "aliases.1"),
        (2, "modelId"),
    }
    assert history("o") == []


def test_99_rules_and_aliases_are_imported_in_one_transaction(calls: Calls) -> None:
    rules = [{"modelId": f"m{each}", "rates": {"input": each, "output": each}} for each in range(79)]
    rules[5]["aliases"] = [f"alias-{each}" for each in range(20)]

    calls.reset()
    done = import_list(*rules, key="k")

    assert (done["status"], len(done["added"])) == (200, 79)
    assert calls.operations.count("TransactWriteItems") == 1
    assert history("alias-19")[0]["modelId"] == "m5"
    more = import_list(*rules, {"modelId": "one-more", "rates": {"input": 1, "output": 1}})
    assert (more["status"], more["details"]["errors"][0]["field"]) == (400, "rules")


def test_an_import_costs_one_transaction_and_a_query_for_each_model_and_alias(calls: Calls) -> None:
    """``BatchGetItem`` reads the rules that may conflict.

    Each rule and each alias costs 2 write units. Each rule costs 1 more for its place in the price list.
    """
    rules = [{**RULE, "effectiveFrom": BEGINNING}, {**RULE, "modelId": "n", "aliases": []}]

    calls.reset()
    import_list(*rules)

    assert calls.operations == [
        "GetItem",  # the caller
        *("Query", "Query", "Query"),
        *("BatchGetItem", "TransactWriteItems"),
    ]
    assert calls.write_units == 3 * 2 + 2
    calls.reset()
    import_list(*rules)
    # Now the alias is stored, so another query reads the rules of the model that the alias belongs to.
    assert calls.operations == ["GetItem", "Query", "Query", "Query", "Query"]


def test_an_import_notices_a_rule_added_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """Another writer adds the same rule after the import has read the rules. The import reports it as unchanged."""
    read = store.find_many

    def read_then_add(places: Any) -> Any:
        found = read(places)
        monkeypatch.setattr(store, "find_many", read)
        add(RULE)
        return found

    monkeypatch.setattr(store, "find_many", read_then_add)
    answer = import_list(RULE, {**RULE, "modelId": "n", "aliases": []})

    assert (answer["unchanged"], [rule["modelId"] for rule in answer["added"]]) == (["m"], ["n"])


def test_the_answer_to_the_largest_import_is_stored() -> None:
    """99 short rules replace 99 rules of the maximum size. The answer shows all 198, and must fit into one item."""
    before = [largest(each) for each in range(99)]
    for rule in before:
        prices.add(rule, now=NOW, key=None)
    rules = [
        {"modelId": rule.model_id, "pricePerThousandTokens": "0.1234", "effectiveFrom": iso(NOW + 1)} for rule in before
    ]

    done = import_list(*rules, key="k")

    assert (done["status"], len(done["changed"])) == (200, 99)
    assert import_list(*rules, key="k") == {**done, "replayed": True}
    record = table.get(keys.idempotency("demo-admin", "import", "k"))
    assert record is not None
    assert 200_000 < len(record["answer"].encode()) < 390_000  # an item can have 400 KB
