"""`make prices`: compares a service's price rules with the package genai-prices. APPLY=1 imports the differences.

The service is the one that `make run` started, or the one at BASE_URL, which needs an administrator's TOKEN.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from decimal import Decimal
from importlib.metadata import version
from typing import Any

import httpx
from genai_prices.data import providers
from genai_prices.types import ModelInfo, Provider

from accounting.domain.price_lists import MAX_LISTED
from local import tokens
from local.paths import STACK_JSON
from local.price_lists import Markup, NoRule, changes_after, left_out, matches, positive, rule_of
from local.steps import Refused, explain

SOURCE = "genai-prices"
DEFAULT_MODELS = "openai anthropic google/gemini* aws"
MAX_LIST_BYTES = 60_000
"""The most bytes of the rules in one request; the service accepts a body of 64 KB."""
MOST_SHOWN = 1000
"""The most characters of an unexpected answer that are shown."""

type Rule = dict[str, Any]


@dataclass(frozen=True)
class Options:
    """Which models to compare (patterns), how a price in USD becomes credits, and whether to import."""

    credits_per_usd: Decimal
    markup: Markup
    models: tuple[str, ...]
    apply: bool

    @classmethod
    def read(cls, environ: Mapping[str, str]) -> Options:
        """Return the options of an environment. Raises Refused if an option is missing or wrong."""
        if not environ.get("CREDITS_PER_USD"):
            raise Refused("give CREDITS_PER_USD, the number of credits for one dollar: see docs/choose-a-credit.md")
        try:
            per_usd = positive(environ["CREDITS_PER_USD"].strip())
            markup = Markup.read(environ.get("MARKUP", ""))
        except ValueError as error:
            raise Refused(
                f"{error}: give CREDITS_PER_USD=1000, and MARKUP=1.2 or MARKUP='1.2 anthropic=1.3 gpt-4o*=1.1'"
            ) from error
        models = (environ.get("MODELS") or DEFAULT_MODELS).split()
        return cls(per_usd, markup, tuple(models), environ.get("APPLY", "") not in ("", "0"))


@dataclass(frozen=True)
class PriceList:
    """The rules to import, ordered by their start.

    `without` says why a model has no rule. `notes` says which prices a model's rule leaves out. Both have the keys
    `provider/model`.
    """

    rules: list[Rule]
    without: dict[str, str]
    notes: dict[str, str]


def main() -> int:
    """Show the differences, and import them if APPLY is 1; return the exit status."""
    try:
        options = Options.read(os.environ)
        found = price_list(providers, options, datetime.now(UTC))
        with _service(os.environ) as http:
            _compare(http, found, options)
    except Refused as refused:
        return explain(refused)
    except httpx.InvalidURL as error:
        return explain(Refused(f"BASE_URL is not a URL ({error})"))
    except httpx.RequestError as error:
        return explain(Refused(f"the service does not answer ({error})"))
    return 0


def price_list(known: Iterable[Provider], options: Options, now: datetime) -> PriceList:
    """Return the rules of the selected models: a current rule for each, and a future rule for each later price change.

    Raises Refused if two selected models have the same id, or if no model matches the patterns.
    """
    chosen: dict[str, tuple[str, ModelInfo]] = {}
    for provider, model in _chosen(known, options.models):
        if model.id in chosen:
            other = chosen[model.id][0]
            raise Refused(f"{other} and {provider} both have {model.id}: name one, as in MODELS={other}/{model.id}")
        chosen[model.id] = (provider, model)
    if not chosen:
        raise Refused(f"no model matches MODELS='{' '.join(options.models)}'")
    made = PriceList([], {}, {})
    taken = set(chosen)
    for provider, model in chosen.values():
        scale = options.credits_per_usd * options.markup.of(provider, model.id)
        moments = [None, *changes_after(model, now)]
        try:
            rules = [_rule(model, now, at, scale) for at in moments]
        except NoRule as why:
            made.without[f"{provider}/{model.id}"] = str(why)
            continue
        aliases = [alias for alias in rules[0].get("aliases", ()) if alias not in taken]
        taken.update(aliases)
        made.rules.extend({**rule, "aliases": aliases} for rule in rules)
        if missing := left_out(model, now):
            made.notes[f"{provider}/{model.id}"] = ", ".join(missing)
    return replace(made, rules=sorted(made.rules, key=lambda rule: rule.get("effectiveFrom", "")))


def requests_for(rules: Iterable[Rule]) -> Iterator[list[Rule]]:
    """Split the rules into lists, one for each request.

    No list has a model twice, more than MAX_LISTED rules and aliases, or more than MAX_LIST_BYTES.
    """
    batch: list[Rule] = []
    for rule in rules:
        longer = [*batch, rule]
        if batch and (
            rule["modelId"] in {each["modelId"] for each in batch}
            or sum(1 + len(each.get("aliases", ())) for each in longer) > MAX_LISTED
            or len(json.dumps(longer)) > MAX_LIST_BYTES
        ):
            yield batch
            longer = [rule]
        batch = longer
    if batch:
        yield batch


def lines_of(answer: Mapping[str, Any]) -> Iterator[str]:
    """Return a line for each rule that an import adds or changes, followed by lines for its new or changed values."""
    for rule in answer["added"]:
        yield f"+ {_named(rule)}"
        yield from (f"    {name}: {rate}" for name, rate in _flat(rule).items())
    for change in answer["changed"]:
        before, after = _flat(change["before"]), _flat(change["after"])
        yield f"~ {_named(change['after'])}"
        for name in dict.fromkeys([*before, *after]):
            if before.get(name) != after.get(name):
                yield f"    {name}: {before.get(name, 'none')} -> {after.get(name, 'none')}"


def _chosen(known: Iterable[Provider], patterns: Iterable[str]) -> Iterator[tuple[str, ModelInfo]]:
    for provider in known:
        for model in provider.models:
            if any(matches(pattern, provider.id, model.id) for pattern in patterns):
                yield provider.id, model


def _rule(model: ModelInfo, now: datetime, at: datetime | None, scale: Decimal) -> Rule:
    """Return the rule of a model that begins at ``at``, or the current rule if ``at`` is None."""
    rule = rule_of(model, at or now, scale)
    begins = {"effectiveFrom": at.isoformat().replace("+00:00", "Z")} if at else {}
    return {**rule, "source": SOURCE, "sourceVersion": version(SOURCE), **begins}


def _service(environ: Mapping[str, str]) -> httpx.Client:
    base_url, token = environ.get("BASE_URL"), environ.get("TOKEN")
    if bool(base_url) != bool(token):
        raise Refused(
            "give both BASE_URL and an administrator's TOKEN, or neither to use the service that `make run` started"
        )
    if not base_url:
        if not STACK_JSON.exists():
            raise Refused("the service is not running: start it with `make run`, or give BASE_URL and TOKEN")
        stack = json.loads(STACK_JSON.read_text())
        base_url, token = stack["baseUrl"], tokens.mint(stack["jwtSecret"], "prices-admin", "admin")
    headers = {"Authorization": f"Bearer {token}"}
    return httpx.Client(base_url=str(base_url), headers=headers, timeout=60, trust_env=False)


def _compare(http: httpx.Client, found: PriceList, options: Options) -> None:
    """Show the differences, and import them if `options.apply` is set.

    First, the service previews every request. If it refuses a preview, nothing is imported.
    """
    batches = list(requests_for(found.rules))
    previews = [_import(http, batch, dry_run=True) for batch in batches]
    for answer in previews:
        print("\n".join(lines_of(answer)), end="\n" if answer["added"] or answer["changed"] else "")
    for why, models in _by_value(found.without):
        print(f"! No rule for {models}: {why}")
    for names, models in _by_value(found.notes):
        print(f"! Priced without {names}: {models}")
    counts = {name: sum(len(answer[name]) for answer in previews) for name in ("added", "changed", "unchanged")}
    print(f"{SOURCE} {version(SOURCE)}: " + ", ".join(f"{count} {name}" for name, count in counts.items()))
    if not options.apply:
        print("Nothing was changed. APPLY=1 imports this.")
        return
    for batch in batches:
        _import(http, batch, dry_run=False)
    print("Imported. New prices take effect within a minute.")


def _by_value(texts: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    """Return each different value once, with the keys that have it, joined by commas."""
    for value in dict.fromkeys(texts.values()):
        yield value, ", ".join(name for name, each in texts.items() if each == value)


def _import(http: httpx.Client, rules: list[Rule], *, dry_run: bool) -> Any:
    answer = http.post("/api/pricing/import", json={"rules": rules, "dryRun": dry_run})
    if answer.status_code != httpx.codes.OK:
        raise Refused("the service refused the list:\n" + "\n".join(_problems(answer, rules)))
    try:
        return answer.json()
    except ValueError as error:
        raise Refused(f"{answer.url} is not the service: it answered {answer.text[:MOST_SHOWN]}") from error


def _problems(answer: httpx.Response, rules: list[Rule]) -> Iterator[str]:
    found = _listed_problems(answer)
    for problem in found:
        yield f"  {rules[problem['index']]['modelId']} {problem['field']}: {problem['problem']}"
    if not found:
        yield f"  {answer.status_code} {answer.text[:MOST_SHOWN]}"


def _listed_problems(answer: httpx.Response) -> list[Any]:
    """Return the problems that the service lists in a refusal, or none if the answer is not from the service."""
    try:
        body = answer.json()
    except ValueError:
        return []
    match body:
        case {"details": {"problems": [*problems]}}:
            return problems
    return []


def _named(rule: Mapping[str, Any]) -> str:
    begins = f" from {rule['effectiveFrom']}"
    return f"{rule['modelId']}{begins}{' to ' + rule['effectiveTo'] if rule['effectiveTo'] else ''}"


def _flat(value: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Return the values of a rule to show, with readable names such as `variants batch above 200000: input`."""
    values: dict[str, Any] = {}
    for name, inner in value.items():
        if name == "tiers":
            for tier in inner:
                values |= _flat(tier["rates"], f"{prefix}above {tier['aboveInputTokens']}: ")
        elif isinstance(inner, dict):
            values |= _flat(inner, prefix if name == "rates" else f"{prefix}{name} ")
        elif name not in ("modelId", "effectiveFrom", "effectiveTo", "pricePerThousandTokens", "sourceVersion"):
            values[f"{prefix}{name}"] = ", ".join(inner) if isinstance(inner, list) else inner
    return values


if __name__ == "__main__":
    sys.exit(main())
