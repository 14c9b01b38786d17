"""Usage by token class: what ``record_usage`` sends, and how statistics are read."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from accounting_client.routes.usage import Series, Tokens, Usage
from client.tests.played import Played, ok
from client.tests.test_paging import AT

if TYPE_CHECKING:
    from client.tests.conftest import Ask

OPENAI = {"prompt_tokens": 100, "completion_tokens": 20, "prompt_tokens_details": {"cached_tokens": 60}}
USED = {"inputTokens": 100, "cachedInputTokens": 60, "cacheWrite1hTokens": 5, "outputTokens": 20, "requests": 1}
USAGE = Usage(100, 20, cached_input_tokens=60, cache_write_1h_tokens=5, requests=1)
ROW: dict[str, Any] = {"id": "r", "service": "s", "operation": "o", "credits": 2, "metadata": {}, "timestamp": AT}
SUMS: dict[str, Any] = {"totalRecords": 1, "totalCredits": 2, "byService": {}, "byDay": {}, "byModel": {}}


def test_record_usage_sends_a_providers_usage_unchanged(ask: Ask) -> None:
    service = Played(ok(ROW | {"deducted": True, "message": "done", "usage": USED}))

    made = ask(
        service,
        lambda client: client.record_usage(
            "s", "o", model_id="m", usage=OPENAI, usage_format="openai", variant="batch", deduct=True
        ),
    )

    sent = {"modelId": "m", "usage": OPENAI, "usageFormat": "openai", "variant": "batch"}
    assert service.bodies == [{"service": "s", "operation": "o", "deduct": True} | sent]
    assert (made.credits, made.usage) == (2, USAGE)


def test_statistics_have_tokens_by_class(ask: Ask) -> None:
    counts = {"input": 100, "cacheWrite1h": 5, "output": 20, "unclassified": 7}
    row = ROW | {"modelId": "m", "usage": USED, "usageFormat": "openai", "providerUsage": OPENAI}
    tokens = {"tokens": counts, "tokensByModel": {"m": {"input": 100}}}

    found = ask(Played(ok(SUMS | tokens | {"recentActivity": [row, ROW]})), lambda client: client.usage_stats())
    of_all = ask(
        Played(ok(SUMS | tokens | {"byUser": {}, "truncated": False, "asOf": None})),
        lambda client: client.system_usage(),
    )

    for each in (found, of_all):
        assert each.tokens == Tokens(input=100, cache_write_1h=5, output=20, unclassified=7)
        assert each.tokens_by_model == {"m": Tokens(input=100)}
    priced, plain = found.recent_activity
    assert (priced.model_id, priced.usage, priced.usage_format) == ("m", USAGE, "openai")
    assert (priced.provider_usage, priced.provider_usage_dropped) == (OPENAI, False)
    assert (plain.usage, plain.provider_usage) == (None, None)


def test_statistics_have_a_series_if_the_caller_asks_for_one(ask: Ask) -> None:
    names, other = {"m": {"2026-11-21": 2}}, {"2026-11-20": 1}
    by_day = {"names": names, "other": other}
    of_user = Played(ok(SUMS | {"recentActivity": [], "series": {"by": "model"} | by_day}))
    of_all = Played(ok(SUMS | {"byUser": {}, "truncated": False, "asOf": None, "series": {"by": "user"} | by_day}))

    found = ask(of_user, lambda client: client.usage_stats("u1", start_date="2026-11-01", by="model"))
    of_system = ask(of_all, lambda client: client.system_usage(by="user"))

    assert (found.series, of_system.series) == (Series("model", names, other), Series("user", names, other))
    assert str(of_user.requests[-1].url).endswith("/api/usage/stats/u1?startDate=2026-11-01&by=model")
    assert str(of_all.requests[-1].url).endswith("/api/usage/system-stats?by=user")
