"""What the client's methods send and return, above all the methods for administrators and supervisors."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import pytest

from accounting_client import PriceTier, PriceVariant, Rates
from accounting_client.routes.credits import CostLine
from client.tests.played import GRANTED, Played, ok
from client.tests.test_paging import AT, rule, session, user

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.tests.conftest import Ask

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=1)))
SENT: list[tuple[Callable[[Any], Any], dict[str, Any], str, str, Any]] = [
    (lambda client: client.disable_user("a/b"), user(1), "POST", "users/a%252Fb/disable", {}),
    (lambda client: client.disable_user("u", "spam"), user(1), "POST", "users/u/disable", {"reason": "spam"}),
    (lambda client: client.enable_user("u"), user(1), "POST", "users/u/enable", {}),
    (lambda client: client.erase_user("u"), {"userId": "u", "erasedAt": AT}, "POST", "users/u/erase", {}),
    (
        lambda client: client.end_session("u@example.com", "s/1", "it hangs"),
        session(1),
        "POST",
        "streaming-sessions/u%40example.com/s%252F1/end",
        {"reason": "it hangs"},
    ),
    (
        lambda client: client.withdraw_price("a/m", NOON),
        {"message": "done"},
        "DELETE",
        "pricing/a%252Fm/2026-11-21T11%3A00%3A00.000Z",
        None,
    ),
]


@pytest.mark.parametrize(("act", "answer", "method", "path", "body"), SENT)
def test_each_command_is_sent_to_its_route(
    ask: Ask, act: Callable[[Any], Any], answer: Any, method: str, path: str, body: Any
) -> None:
    service = Played(ok(answer))

    ask(service, act)

    (request,) = service.requests
    assert request.method == method
    assert request.url.raw_path.decode() == f"/v1/api/{path}"
    assert (service.bodies[0] if request.content else None) == body


def test_a_disabled_user_shows_when_and_why_they_were_disabled(ask: Ask) -> None:
    answer = user(1) | {"disabled": True, "disabledAt": AT, "disabledReason": "spam"}

    found = ask(Played(ok(answer)), lambda client: client.disable_user("u1", "spam"))

    assert (found.disabled, found.disabled_reason) == (True, "spam")
    assert found.disabled_at == datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
    assert not ask(Played(ok(user(1))), lambda client: client.user("u1")).disabled


GRANTS = {
    "allocate": lambda client, **expiry: client.allocate("u", 5, **expiry),
    "set": lambda client, **expiry: client.set_credits("u", 5, **expiry),
    "adjust": lambda client, **expiry: client.adjust("u", 5, **expiry),
}
ANSWER = GRANTED | {"previousCredits": 7, "adjustment": 5}


@pytest.mark.parametrize("grant", GRANTS.values(), ids=GRANTS)
def test_the_expiry_of_a_grant_is_sent_as_an_instant_or_as_days(ask: Ask, grant: Callable[..., Any]) -> None:
    service = Played(ok(ANSWER))

    ask(service, lambda client: grant(client, expires_at=NOON))
    ask(service, lambda client: grant(client, expiry_days=3))
    ask(service, grant)

    assert [(body.get("expiresAt"), body.get("expiryDays")) for body in service.bodies] == [
        ("2026-11-21T11:00:00.000Z", None),
        (None, 3),
        (None, None),
    ]


@pytest.mark.parametrize("grant", GRANTS.values(), ids=GRANTS)
@pytest.mark.parametrize("expiry", [{"expires_at": NOON, "expiry_days": 3}, {"expires_at": NOON.replace(tzinfo=None)}])
def test_an_expiry_given_twice_or_without_a_time_zone_is_refused(
    ask: Ask, grant: Callable[..., Any], expiry: dict[str, Any]
) -> None:
    service = Played(ok(ANSWER))

    with pytest.raises(ValueError, match=r"not both|has no time zone"):
        ask(service, lambda client: grant(client, **expiry))
    assert service.requests == []


SETTLED: dict[str, Any] = {"sessionId": "s", "status": "failed", "refund": 0, "overrun": 3, "debt": 0}


def test_a_late_settlement_shows_its_late_credits_and_the_ignored_fields(ask: Ask) -> None:
    """A settlement is late if the sweeper has already ended the session."""
    late = SETTLED | {"estimatedCredits": 1, "actualCredits": 4, "partialCredits": 4, "lateCredits": -2}
    late |= {"ignored": ["tokens", "modle"]}

    finalized = ask(Played(ok(late)), lambda client: client.finalize("s", 5))
    aborted = ask(Played(ok(late)), lambda client: client.abort("s", 5))

    assert (finalized.late_credits, finalized.ignored) == (-2, ("tokens", "modle"))
    assert (aborted.late_credits, aborted.ignored) == (-2, ("tokens", "modle"))
    del late["lateCredits"], late["ignored"]
    in_time = ask(Played(ok(late)), lambda client: client.finalize("s", 5))
    assert (in_time.late_credits, in_time.ignored) == (None, ())


def test_a_heartbeat_shows_the_ignored_fields(ask: Ask) -> None:
    answer = {"sessionId": "s", "tokensGenerated": 5, "allocatedCredits": 1, "expiresAt": AT, "ignored": ["usage"]}

    assert ask(Played(ok(answer)), lambda client: client.heartbeat("s", 5)).ignored == ("usage",)


def test_a_price_is_sent_with_the_callers_idempotency_key(ask: Ask) -> None:
    service = Played(ok(rule(1)))

    ask(service, lambda client: client.add_price("m1", 1, idempotency_key="prices-7"))

    assert service.headers("idempotency-key") == ["prices-7"]


RATES = {"input": "3", "output": "15", "cacheWrite1h": "6.000001"}
FULL: dict[str, Any] = {
    "modelId": "m",
    "pricePerThousandTokens": 0.015,
    "rates": RATES,
    "tiers": [{"aboveInputTokens": 200_000, "rates": {"input": "6"}}],
    "variants": {"batch": {"rates": {"input": "1.5"}, "tiers": []}},
    "aliases": ["m-latest"],
    "maxOutputTokens": 64_000,
    "source": "a list",
    "sourceVersion": "1",
    "effectiveFrom": AT,
    "effectiveTo": None,
}


def test_a_price_by_token_class_is_sent_and_read_exactly(ask: Ask) -> None:
    service = Played(ok(FULL))
    sent: dict[str, Any] = {
        "rates": Rates(Decimal(3), Decimal(15), cache_write_1h=Decimal("6.000001")),
        "tiers": [PriceTier(200_000, Rates(input=Decimal(6)))],
        "variants": {"batch": PriceVariant(Rates(input=Decimal("1.5")))},
        "aliases": ["m-latest"],
        "max_output_tokens": 64_000,
        "source": "a list",
        "source_version": "1",
    }

    found = ask(service, lambda client: client.add_price("m", **sent))

    shown = {name: value for name, value in FULL.items() if not name.startswith(("effective", "price"))}
    assert service.bodies == [shown]
    assert (found.rates, list(found.tiers), found.variants) == (sent["rates"], sent["tiers"], sent["variants"])
    assert (found.aliases, found.max_output_tokens, found.source) == (("m-latest",), 64_000, "a list")


def test_an_import_of_prices_shows_what_changes(ask: Ask) -> None:
    answer = {
        "added": [FULL],
        "changed": [{"modelId": "m", "before": FULL, "after": FULL | {"rates": {"input": "4", "output": "15"}}}],
        "unchanged": ["n"],
        "problems": [],
    }
    service = Played(ok(answer))
    rule = {"modelId": "m", "rates": {"input": Decimal(4), "output": "15"}}

    found = ask(service, lambda client: client.import_prices([rule], dry_run=True, idempotency_key="list-1"))

    assert service.bodies == [{"rules": [{"modelId": "m", "rates": {"input": "4", "output": "15"}}], "dryRun": True}]
    (change,) = found.changed
    assert (change.before.rates.input, change.after.rates.input) == (Decimal(3), Decimal(4))
    assert (len(found.added), found.unchanged) == (1, ("n",))


def test_a_calculation_shows_the_cost_of_each_token_class(ask: Ask) -> None:
    line = {"class": "cachedInput", "tokens": 20_000, "creditsPerMillion": "0.3", "credits": "0.006"}
    answer = {"modelId": "m", "tokens": 1, "credits": 1, "pricePerThousandTokens": 1, "ruleId": "m@1", "lines": [line]}
    answer |= {"usage": {"inputTokens": 20_000, "outputTokens": 0}, "tier": 9}
    service = Played(ok(answer))
    usage = {"prompt_tokens": 20_000, "completion_tokens": 0}

    found = ask(service, lambda client: client.calculate("m", usage=usage, usage_format="openai", variant="batch"))

    assert service.bodies == [{"modelId": "m", "usage": usage, "usageFormat": "openai", "variant": "batch"}]
    assert found.lines == (CostLine("cachedInput", 20_000, Decimal("0.3"), Decimal("0.006")),)
    assert (found.rule_id, found.tier) == ("m@1", 9)
