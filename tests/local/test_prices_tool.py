"""`make prices`: the rules that it makes, the requests that it sends, and the changes that it prints."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

import httpx
import pytest
from genai_prices.types import (
    ClauseEquals,
    ClauseOr,
    ConditionalPrice,
    ModelInfo,
    ModelPrice,
    Provider,
    StartDateConstraint,
)

from local import prices
from local.price_lists import Markup
from local.prices import Options, PriceList, lines_of, price_list, requests_for
from local.steps import Refused

NOW = datetime(2026, 11, 25, tzinfo=UTC)


def model(name: str, usd: str = "1", *aliases: str, later: str | None = None) -> ModelInfo:
    flat = ModelPrice(input_mtok=Decimal(usd), output_mtok=Decimal(usd))
    dated = [ConditionalPrice(prices=flat)]
    if later:
        new = ModelPrice(input_mtok=Decimal(later), output_mtok=Decimal(later))
        dated.append(ConditionalPrice(constraint=StartDateConstraint(date(2027, 1, 1)), prices=new))
    return ModelInfo(name, ClauseOr([ClauseEquals(each) for each in (name, *aliases)]), prices=dated)


def options(models: str = "*", markup: str = "", **more: Any) -> Options:
    return Options(Decimal(1000), Markup.read(markup), tuple(models.split()), **{"apply": False, **more})


def known(**models: list[ModelInfo]) -> list[Provider]:
    return [Provider(name, name, "", models=each) for name, each in models.items()]


def inputs(found: PriceList) -> dict[tuple[str, str], str]:
    return {(rule["modelId"], rule.get("effectiveFrom", "")): rule["rates"]["input"] for rule in found.rules}


def test_prices_become_credits_with_the_markup_of_their_model() -> None:
    providers = known(openai=[model("a"), model("b", "0.5")], anthropic=[model("c")], other=[model("d")])

    found = price_list(providers, options("openai anthropic", "1.2 anthropic=1.5 b=2"), NOW)

    assert inputs(found) == {("a", ""): "1200", ("b", ""): "1000", ("c", ""): "1500"}
    assert {rule["source"] for rule in found.rules} == {"genai-prices"}
    assert all(rule["sourceVersion"] for rule in found.rules)


def test_future_prices_become_separate_rules_after_the_current_ones() -> None:
    found = price_list(known(openai=[model("a", "1", "alias", later="2"), model("b")]), options(), NOW)

    assert inputs(found) == {("a", ""): "1000", ("b", ""): "1000", ("a", "2027-01-01T00:00:00Z"): "2000"}
    assert [rule.get("aliases") for rule in found.rules] == [["alias"], [], ["alias"]]
    assert [len(batch) for batch in requests_for(found.rules)] == [2, 1]


def test_an_alias_belongs_to_one_model_and_an_id_of_two_providers_is_refused() -> None:
    found = price_list(known(openai=[model("a", "1", "x", "b"), model("b", "1", "x", "y")]), options(), NOW)

    assert [rule["aliases"] for rule in found.rules] == [["x"], ["y"]]
    with pytest.raises(Refused, match="openai and azure both have a"):
        price_list(known(openai=[model("a")], azure=[model("a")]), options(), NOW)
    with pytest.raises(Refused, match="no model matches"):
        price_list(known(openai=[model("a")]), options("nothing"), NOW)


def test_a_model_without_a_price_for_tokens_gets_no_rule_and_is_listed() -> None:
    found = price_list(
        known(openai=[ModelInfo("w", ClauseEquals("w"), prices=ModelPrice(audio_hours=Decimal(1)))]), options(), NOW
    )

    assert (found.rules, found.without) == ([], {"openai/w": "it has no price for tokens"})


def test_no_request_exceeds_the_limits_of_an_import() -> None:
    rules: list[dict[str, Any]] = [{"modelId": f"m{each}", "aliases": [f"a{each}"]} for each in range(120)]
    large: list[dict[str, Any]] = [{"modelId": f"n{each}", "source": "x" * 20_000} for each in range(5)]

    assert [len(batch) for batch in requests_for(rules)] == [49, 49, 22]
    assert [len(batch) for batch in requests_for(large)] == [2, 2, 1]


def test_a_change_shows_each_rate_that_differs() -> None:
    before = {
        "modelId": "m",
        "effectiveFrom": "2026-01-01",
        "effectiveTo": None,
        "rates": {"input": "3", "output": "15"},
        "tiers": [{"aboveInputTokens": 9, "rates": {"input": "6"}}],
        "variants": {"batch": {"rates": {"input": "1"}}},
    }
    after = {**before, "rates": {"input": "3", "output": "16", "cachedInput": "0.3"}, "variants": {}, "tiers": []}

    added = {**before, "modelId": "n", "variants": {}, "tiers": []}
    lines = list(lines_of({"added": [added], "changed": [{"before": before, "after": after}]}))

    assert lines == [
        "+ n from 2026-01-01",
        "    input: 3",
        "    output: 15",
        "~ m from 2026-01-01",
        "    output: 15 -> 16",
        "    above 9: input: 6 -> none",
        "    variants batch input: 1 -> none",
        "    cachedInput: none -> 0.3",
    ]


@pytest.mark.parametrize("apply", [False, True])
def test_rules_are_imported_only_with_the_option_apply(apply: bool, capsys: pytest.CaptureFixture[str]) -> None:
    dry_runs: list[bool] = []

    def answer(request: httpx.Request) -> httpx.Response:
        dry_runs.append(json.loads(request.content)["dryRun"])
        return httpx.Response(200, json={"added": [], "changed": [], "unchanged": ["a"], "problems": []})

    with httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer)) as http:
        prices._compare(http, PriceList([{"modelId": "a"}], {}, {}), options(apply=apply))

    assert dry_runs == ([True, False] if apply else [True])
    assert "0 added, 0 changed, 1 unchanged" in capsys.readouterr().out


def test_a_refused_price_list_is_explained_and_not_imported() -> None:
    dry_runs: list[bool] = []

    def answer(request: httpx.Request) -> httpx.Response:
        dry_runs.append(json.loads(request.content)["dryRun"])
        problem = {"index": 1, "field": "rates.input", "problem": "is wrong"}
        return httpx.Response(400, json={"details": {"problems": [problem]}})

    with (
        httpx.Client(base_url="http://service", transport=httpx.MockTransport(answer)) as http,
        pytest.raises(Refused, match=r"b rates\.input: is wrong"),
    ):
        prices._compare(http, PriceList([{"modelId": "a"}, {"modelId": "b"}], {}, {}), options(apply=True))

    assert dry_runs == [True]


@pytest.mark.parametrize(
    "environ",
    [
        {},
        *({"CREDITS_PER_USD": each} for each in ("0", " ", "gpt=1000", "1000 2", "1000 gpt=2", "=1000")),
        *({"CREDITS_PER_USD": "1000", "MARKUP": each} for each in ("x", "1.2 1.3", "=1.3", "gpt=")),
    ],
)
def test_a_wrong_option_is_explained(environ: dict[str, str]) -> None:
    with pytest.raises(Refused, match="CREDITS_PER_USD"):
        Options.read(environ)


def test_credits_per_usd_must_be_a_single_number() -> None:
    read = Options.read({"CREDITS_PER_USD": " 1000 ", "MARKUP": "gpt=2 1.2"})

    assert (read.credits_per_usd, read.markup) == (Decimal(1000), Markup(Decimal("1.2"), (("gpt", Decimal(2)),)))
    with pytest.raises(Refused, match="gpt=1000 is not a number above 0: give CREDITS_PER_USD=1000"):
        Options.read({"CREDITS_PER_USD": "gpt=1000"})
