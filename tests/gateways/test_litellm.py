"""A LiteLLM proxy with the client's callback: no model is called without credits, and every call is settled."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from accounting.domain.model_usage import Usage
from tests.e2e.books import items_of
from tests.gateways.litellm_proxy import chat, texts
from tests.gateways.settled import expect_released, wait_for_settlement

if TYPE_CHECKING:
    from client.tests.providers import Provider
    from local.stack import Stack
    from tests.e2e.client import Person
    from tests.e2e.conftest import People
    from tests.gateways.litellm_proxy import Proxy


def test_a_stream_is_settled_with_the_providers_usage(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    plan = provider.plans(words=5, input_tokens=2_000, cached_tokens=1_500, output_tokens=700)

    with proxy.ask("/v1/chat/completions", chat(stream=True), user_id=person.id) as answer:
        assert "".join(texts(answer)) == plan.text

    record, books = wait_for_settlement(service, person)
    assert Usage.from_text(record["usage"]) == Usage(2_000, 700, cached_input=1_500)
    assert (record["service"], record["credits"]) == ("chat-streaming", 3)
    assert record["actor"].startswith("service:")
    assert "estimated" not in json.loads(record["metadata"])
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (97, 0)


def test_a_user_without_credits_is_refused_and_the_model_is_not_called(
    people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people()
    provider.plans()

    answer = proxy.answer("/v1/chat/completions", chat(stream=True), user_id=person.id)

    assert answer.status_code == 402
    error = answer.json()["error"]
    assert error["provider_specific_fields"]["error"]["code"] == "INSUFFICIENT_CREDITS"
    assert error["provider_specific_fields"]["error"]["details"]["affordableOutputTokens"] == 0
    assert provider.asked == []


def test_an_answer_that_is_not_streamed_is_settled(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    plan = provider.plans(input_tokens=2_000, output_tokens=100)

    answer = proxy.answer("/v1/chat/completions", chat(), user_id=person.id)

    assert answer.json()["choices"][0]["message"]["content"] == plan.text
    record, _ = wait_for_settlement(service, person)
    assert (Usage.from_text(record["usage"]), record["credits"]) == (Usage(2_000, 100), 3)


@pytest.mark.parametrize("stream", [True, False], ids=["streamed", "whole"])
@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/responses", {"model": "chat", "input": "Why?"}),
        ("/v1/responses", {"model": "claude", "input": "Why?"}),
        ("/v1/messages", {"model": "claude", "max_tokens": 100, "messages": [{"role": "user", "content": "Why?"}]}),
        ("/v1/messages", {"model": "chat", "max_tokens": 100, "messages": [{"role": "user", "content": "Why?"}]}),
        ("/v1/chat/completions", chat("claude")),
    ],
    ids=["responses", "responses of Anthropic", "messages", "messages of OpenAI", "chat of Anthropic"],
)
def test_a_call_in_any_api_format_is_settled(
    service: Stack, people: People, proxy: Proxy, provider: Provider, path: str, body: dict[str, Any], stream: bool
) -> None:
    person = people(credits=100)
    provider.plans(input_tokens=2_000, cached_tokens=1_500, output_tokens=700)

    answer = proxy.answer(path, {**body, "stream": stream}, user_id=person.id)

    assert answer.is_success, answer.text
    record, _ = wait_for_settlement(service, person)
    assert Usage.from_text(record["usage"]) == Usage(2_000, 700, cached_input=1_500)


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/v1/chat/completions", chat(stream=True)),
        ("/v1/responses", {"model": "chat", "input": "Why?", "stream": True}),
        (
            "/v1/messages",
            {"model": "claude", "max_tokens": 9, "stream": True, "messages": [{"role": "user", "content": "Why?"}]},
        ),
    ],
    ids=["chat", "responses", "messages"],
)
def test_a_caller_who_hangs_up_pays_for_what_they_saw(
    service: Stack, people: People, proxy: Proxy, provider: Provider, path: str, body: dict[str, Any]
) -> None:
    person = people(credits=100)
    provider.plans(words=50, pause_after=20)

    with proxy.ask(path, body, user_id=person.id) as answer:
        assert any("word19" in line for line in answer.iter_lines())

    record, _ = wait_for_settlement(service, person)
    metadata = json.loads(record["metadata"])
    assert (record["service"], metadata["estimated"]) == ("chat-streaming-aborted", True)
    assert 20 <= Usage.from_text(record["usage"]).output <= 80


def test_a_caller_who_hangs_up_before_the_first_word_leaves_nothing_held(
    people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans(pause_after=0)

    with proxy.ask("/v1/chat/completions", chat(stream=True), user_id=person.id) as answer:
        lines = answer.iter_lines()
        next(lines)
        assert person.balance()["heldCredits"] > 0

    expect_released(person, 99)  # the prompt costs 1 credit
    provider.go.set()


def test_a_provider_that_fails_before_the_first_word_costs_nothing(
    people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans(status=500)

    answer = proxy.answer("/v1/chat/completions", chat(stream=True), user_id=person.id)

    assert answer.status_code == 500
    expect_released(person, 100)


def test_the_user_pays_for_what_was_sent_if_the_provider_breaks_off_the_stream(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans(words=50, cut_after=30)
    received: list[str] = []

    with (
        proxy.ask("/v1/chat/completions", chat(stream=True), user_id=person.id) as answer,
        pytest.raises(AssertionError),
    ):
        received += texts(answer)

    record, _ = wait_for_settlement(service, person)
    metadata = json.loads(record["metadata"])
    assert (record["service"], metadata["estimated"]) == ("chat-streaming-aborted", True)
    # The end of a connection may overtake words that the proxy has not read yet.
    assert 1 <= len(received) <= metadata["tokens"] <= 30


def test_calling_a_model_that_the_proxy_lacks_leaves_nothing_held(
    people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans()

    assert proxy.answer("/v1/chat/completions", chat("nonesuch"), user_id=person.id).status_code == 400
    expect_released(person, 100)


def test_a_fallback_costs_the_price_of_the_model_that_answered(
    service: Stack, people: People, proxy: Proxy, provider: Provider, admin: Person
) -> None:
    person = people(credits=1_000)
    admin.ok("POST", "pricing", {"modelId": "flaky", "pricePerThousandTokens": 10})
    provider.plans(input_tokens=900, output_tokens=100)

    answer = proxy.answer("/v1/chat/completions", chat("flaky", max_tokens=100), user_id=person.id)

    assert answer.is_success, answer.text
    record, _ = wait_for_settlement(service, person)
    assert record["credits"] == 1, "the model that answered has no price, so the default price must apply"


def test_a_proxy_key_without_a_user_is_refused(proxy: Proxy, provider: Provider) -> None:
    provider.plans()

    answer = proxy.answer("/v1/chat/completions", chat())

    assert answer.status_code == 403
    assert "USER_UNKNOWN" in answer.text
    assert provider.asked == []


def test_a_call_that_cannot_be_accounted_for_is_refused(people: People, proxy: Proxy, provider: Provider) -> None:
    person = people(credits=100)
    provider.plans()

    images = proxy.answer("/v1/images/generations", {"model": "chat", "prompt": "a bird"}, user_id=person.id)
    background = proxy.answer("/v1/responses", {"model": "chat", "input": "Hi", "background": True}, user_id=person.id)

    for answer in (images, background):
        assert (answer.status_code, "CALL_NOT_ACCOUNTED" in answer.text) == (403, True)
    assert provider.asked == []


def test_a_caller_cannot_charge_another_users_session(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    """A caller chooses a call's metadata. The metadata must neither make another user pay nor make the call free."""
    victim, liar = people(credits=100), people(credits=100)
    provider.plans(words=5, pause_after=2, input_tokens=1_000, output_tokens=1_000)
    with proxy.ask("/v1/chat/completions", chat(stream=True), user_id=victim.id) as running:
        lines = running.iter_lines()
        next(lines)
        (open_session,) = [item for item in items_of(service, victim.id) if item["sk"].startswith("SESSION#")]
        named = {"accounting_session_id": open_session["session_id"]}
        provider.plan.pause_after = None
        lie = chat(metadata=named, litellm_metadata=named)
        assert proxy.answer("/v1/chat/completions", lie, user_id=liar.id).is_success
        record, _ = wait_for_settlement(service, liar)
        assert record["credits"] == 2
        assert victim.balance()["heldCredits"] > 0
        provider.go.set()
        list(lines)

    record, _ = wait_for_settlement(service, victim)
    assert record["credits"] == 2


def test_a_stream_ends_when_the_credits_run_out(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=2)
    provider.plans(words=4_000, pause_after=3_900)

    with proxy.ask("/v1/chat/completions", chat(stream=True, max_tokens=500), user_id=person.id) as answer:
        lines = [line for line in answer.iter_lines() if line]

    assert json.loads(lines[-1].removeprefix("data: "))["error"]["type"] == "INSUFFICIENT_CREDITS"
    assert sum("word" in line for line in lines) > 500
    record, books = wait_for_settlement(service, person)
    assert record["service"] == "chat-streaming-aborted"
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (0, 0)
    provider.go.set()
