"""The examples and limits in docs/pricing.md match the service."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass

import pytest

from accounting.domain.pricing import PriceRule
from accounting.domain.rates import AMOUNT_SCALE, RATE_NAMES, RATE_SCALE
from accounting.domain.usage_formats import read
from accounting.web.prices import (
    MAX_ALIASES,
    MAX_ALIASES_LENGTH,
    MAX_RATE,
    MAX_RATES,
    MAX_TIERS,
    MAX_VARIANTS,
    RATE_DECIMALS,
    RuleBody,
)
from accounting.web.rate_texts import CLASS_NAMES, decimal_text
from local.paths import ROOT

PAGE = (ROOT / "docs/pricing.md").read_text()
LIMITS = {
    "a rate": f"0 to 10⁹, with at most {'six' if RATE_DECIMALS == 6 else RATE_DECIMALS} decimals",
    "tiers": f"{MAX_TIERS} for a rule or a variant",
    "variants": f"{MAX_VARIANTS}, with names",
    "rates in all": f"{MAX_RATES} in a rule",
    "aliases": f"{MAX_ALIASES}, together at most {MAX_ALIASES_LENGTH} characters",
}


@dataclass(frozen=True)
class Example:
    """An example in docs/pricing.md: a price rule, a usage in its provider's format, and the requested variant."""

    text: str
    rule: PriceRule
    usage_format: str
    usage: dict[str, object]
    variant: str | None

    @classmethod
    def read(cls, text: str) -> Example:
        """Read an example from its section of docs/pricing.md."""
        rule, usage = map(json.loads, re.findall(r"```json\n(.*?)```", text, re.DOTALL))
        usage_format = re.findall(r"`([a-z-]+)`:\n", text)[0]
        variant = re.findall(r'`"variant": "(\w+)"`', text)
        return cls(text, RuleBody.model_validate(rule).rule(0), usage_format, usage, variant[0] if variant else None)

    def result(self) -> str:
        """Return the costs by class and their sum, as the page must show them. Classes without a rate are left out."""
        card, usage = self.rule.card_of(self.variant), read(self.usage_format, self.usage)
        rows = [
            f"| `{CLASS_NAMES[RATE_NAMES.get(line.name, line.name)]}` | {line.units:,} "
            f"| {decimal_text(line.rate, RATE_SCALE)} | {decimal_text(line.amount, AMOUNT_SCALE)} |\n"
            for line in card.lines(usage)
            if line.rate
        ]
        exact, cost = decimal_text(card.amount(usage), AMOUNT_SCALE), card.cost(usage)
        return (
            f"| class | tokens | rate | credits |\n|---|---:|---:|---:|\n{''.join(rows)}\n"
            f"The sum is {exact}, so the request costs **{cost:,} credits**.\n"
        )


EXAMPLES = [Example.read(each) for each in PAGE.partition("## Examples")[2].partition("\n## ")[0].split("\n### ")[1:]]


def test_the_examples_are_from_four_providers_and_cover_tiers_variants_and_rounding() -> None:
    assert [each.usage_format for each in EXAMPLES] == ["openai", "anthropic", "bedrock", "gemini"]
    assert any(each.rule.card.tier_of(read(each.usage_format, each.usage).input) for each in EXAMPLES)
    assert any(each.variant for each in EXAMPLES)
    assert any(each.rule.card.amount(read(each.usage_format, each.usage)) % AMOUNT_SCALE for each in EXAMPLES)


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda example: example.usage_format)
def test_an_example_costs_what_the_page_says(example: Example) -> None:
    assert example.result() in example.text


@pytest.mark.parametrize("name", LIMITS)
def test_the_limits_on_the_page_are_those_of_the_code(name: str) -> None:
    assert f"| {name} | {LIMITS[name]}" in PAGE
    assert MAX_RATE == 10**9
