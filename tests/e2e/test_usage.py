"""Usage over HTTP: statistics of hundreds of models, and records with a provider's usage object."""

from __future__ import annotations

import time
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.e2e.client import Person
    from tests.e2e.conftest import People

PATIENCE_SECONDS = 60.0
MODELS = 300


@pytest.mark.slow  # the integration tests check the same without HTTP
def test_a_users_statistics_are_exact_for_three_hundred_models_in_a_day(admin: Person, people: People) -> None:
    person = people()
    begin = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.001Z")
    wanted = {f"{person.id}-{number}": number for number in range(MODELS)}
    for model, credits in wanted.items():
        person.ok("POST", "usage/record", {"service": "chat", "operation": model, "credits": credits, "deduct": False})

    whole = person.ok("GET", "usage/stats")
    partial_day = person.ok("GET", "usage/stats", params={"startDate": begin, "by": "model"})

    assert "series" not in whole
    most = sorted(wanted, key=lambda model: -wanted[model])[:10]
    assert partial_day["series"]["by"] == "model"
    in_series = {model: sum(days.values()) for model, days in partial_day["series"]["names"].items()}
    assert in_series == {model: wanted[model] for model in most}
    assert sum(partial_day["series"]["other"].values()) == sum(wanted.values()) - sum(wanted[model] for model in most)
    assert whole["totalRecords"] == partial_day["totalRecords"] == MODELS
    assert whole["byModel"] == partial_day["byModel"] == wanted
    assert whole["byService"] == partial_day["byService"] == {"chat": sum(wanted.values())}
    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = admin.ok("GET", "usage/system-stats?top=1000&by=user")
        if found["byUser"].get(person.id) == sum(wanted.values()):
            break
        assert time.monotonic() < deadline, found["byUser"]
        time.sleep(0.5)
    shown = {model: credits for model, credits in found["byModel"].items() if model in wanted}
    assert sum(found["series"]["names"][person.id].values()) == sum(wanted.values())
    assert len(shown) >= 50
    assert shown.items() <= wanted.items()


def test_a_providers_usage_is_priced_stored_and_counted(admin: Person, people: People) -> None:
    person = people(credits=100)
    model = f"model-of-{person.id}"
    sent = {"input_tokens": 1_000, "output_tokens": 500, "cache_read_input_tokens": 2_000, "from": "tomorrow"}
    known = {"service": "assistant", "operation": "answer", "modelId": model, "deduct": True}
    usage = {"inputTokens": 3_000, "cachedInputTokens": 2_000, "outputTokens": 500, "requests": 1}

    first = person.post(
        "usage/record", known | {"usage": sent, "usageFormat": "anthropic"}, Idempotency_Key="one"
    ).json()
    again = person.post(
        "usage/record", known | {"usage": sent, "usageFormat": "anthropic"}, Idempotency_Key="one"
    ).json()
    refused = person.post("usage/record", known | {"usage": sent, "usageFormat": "openai"})
    large = person.ok("POST", "usage/record", known | {"usage": sent | {"x": "x" * 2_048}, "usageFormat": "anthropic"})

    assert (first["credits"], first["usage"], first["deducted"]) == (4, usage, True)
    assert again == first
    assert refused.status_code == 400
    assert refused.json()["details"]["errors"][0]["field"] == "usage.prompt_tokens"
    assert large["credits"] == 4
    found = person.ok("GET", "usage/stats")
    assert found["tokens"] == {"input": 6_000, "cachedInput": 4_000, "output": 1_000, "requests": 2}
    assert found["tokensByModel"] == {model: found["tokens"]}
    assert found["byModel"] == {model: 8}
    newest, oldest = found["recentActivity"]
    assert (oldest["usage"], oldest["usageFormat"], oldest["providerUsage"]) == (usage, "anthropic", sent)
    assert newest["providerUsageDropped"]
    assert "providerUsage" not in newest
    # The system's statistics have tokens by class only for the 100 models with the most credits. Other tests use many
    # models, so this record is large enough to put the model among the 100.
    most = {"inputTokens": 900_000_000, "outputTokens": 0, "requests": 0}
    person.ok("POST", "usage/record", known | {"usage": most, "deduct": False})
    deadline = time.monotonic() + PATIENCE_SECONDS
    while model not in (counted := admin.ok("GET", "usage/system-stats?top=1000")["tokensByModel"]):
        assert time.monotonic() < deadline, counted
        time.sleep(0.5)
