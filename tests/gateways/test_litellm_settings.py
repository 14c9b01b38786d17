"""The settings of the callback: who pays, which price applies, and what happens if another callback refuses."""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING

import pytest

from accounting.domain.model_usage import Usage
from client.tests.wire import Wire
from local import litellm
from tests.e2e.books import audited, balanced
from tests.gateways.litellm_proxy import Proxy, chat, texts
from tests.gateways.settled import PATIENCE_SECONDS, expect_released, wait_for_settlement

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from client.tests.providers import Provider
    from local.stack import Stack
    from tests.e2e.client import Person
    from tests.e2e.conftest import People

CALLBACKS = """
import anyio
from litellm.integrations.custom_logger import CustomLogger
from litellm.proxy.common_utils.proxy_rate_limit_error import ProxyRateLimitError
from accounting_client.litellm import AccountingCallback

accounting = AccountingCallback(
    user="{end_user_id}", account="org:{team_id}", models={"chat": "dear"}, estimate=1_000,
    when_short="shorten", on_unreachable="allow",
    free_calls=["moderation", "amoderation"],
)

class Later(CustomLogger):
    async def async_pre_call_hook(self, user_api_key_dict, cache, data, call_type):
        if "forbidden" in str(data.get("messages")):
            raise ValueError("a later callback refuses")
        if data["model"] == "limited":
            raise ProxyRateLimitError(detail="a later callback limits this model")

    async def async_post_call_success_hook(self, data, user_api_key_dict, response):
        if "judge" in str(data.get("messages")):  # makes another call for the same request, as guardrails do
            from litellm.proxy.proxy_server import llm_router
            question = [{"role": "user", "content": "Is this right?"}]
            await llm_router.acompletion("chat", question, metadata=data["metadata"])

    async def async_post_call_streaming_iterator_hook(self, user_api_key_dict, response, request_data):
        try:
            async for chunk in response:
                yield chunk
        except BaseException:
            with anyio.CancelScope(shield=True):
                # LiteLLM reports the stream's end during this pause, and marks only after it that the caller has left.
                await anyio.sleep(1)
            raise

later = Later()
"""


@pytest.fixture(scope="module")
def wire(service: Stack) -> Iterator[Wire]:
    with Wire.to(service.base_url) as running:
        yield running


@pytest.fixture(scope="module")
def proxy(
    wire: Wire, provider: Provider, credential: str, admin: Person, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Return a proxy with the callbacks above: each request names its user, and `chat` has the price of `dear`."""
    admin.ok(
        "POST", "pricing", {"modelId": "dear", "rates": {"input": 1_000, "output": 10_000}, "maxOutputTokens": 500}
    )
    folder: Path = tmp_path_factory.mktemp("settings")
    (folder / "callbacks.py").write_text(CALLBACKS)
    litellm.install()
    callbacks = "[callbacks.accounting, callbacks.later]"
    with Proxy.running(folder, wire.url, credential, provider, callbacks) as running:
        yield running


def test_a_stream_is_aborted_after_its_caller_leaves_even_if_litellm_notices_late(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans(words=50, pause_after=20)
    message = {"role": "user", "content": "Why?"}
    body = {"model": "claude", "max_tokens": 9, "stream": True, "messages": [message]}

    with proxy.ask("/v1/messages", body, end_user_id=person.id) as answer:
        assert any("word19" in line for line in answer.iter_lines())

    record, _ = wait_for_settlement(service, person)
    assert record["service"] == "chat-streaming-aborted"
    assert json.loads(record["metadata"])["estimated"] is True


def test_the_user_of_a_request_pays_the_price_of_the_mapped_model(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans(input_tokens=2_000, output_tokens=300)

    answer = proxy.answer("/v1/chat/completions", chat(user=person.id), key_alias="app")

    assert answer.is_success, answer.text
    record, _ = wait_for_settlement(service, person)
    metadata = json.loads(record["metadata"])
    assert (person.ok("GET", "usage/stats")["byModel"], record["credits"]) == ({"dear": 5}, 5)
    assert metadata["key_alias"] == "app"


def test_the_organization_of_a_team_pays_only_for_its_members(
    people: People, proxy: Proxy, provider: Provider, admin: Person
) -> None:
    member, stranger = people(), people(credits=100)
    organization = admin.ok("POST", "organizations", {"name": "Red", "ownerId": member.id})
    account_id, team_id = organization["accountId"], organization["organizationId"]
    admin.ok("POST", "credits/allocate", {"accountId": account_id, "credits": 100})
    provider.plans(input_tokens=2_000, output_tokens=300)

    paid = proxy.answer("/v1/chat/completions", chat(user=member.id), team_id=team_id)
    refused = proxy.answer("/v1/chat/completions", chat(user=stranger.id), team_id=team_id)

    assert paid.is_success, paid.text
    assert (refused.status_code, "ACCOUNT_NOT_FOUND" in refused.text) == (404, True)
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (balance := member.get("credits/balance", accountId=account_id).json())["heldCredits"]:
        assert time.monotonic() < deadline, balance
        time.sleep(0.1)
    assert balance["totalCredits"] == 95
    assert stranger.balance()["totalCredits"] == 100
    assert len(provider.asked) == 1


def test_a_request_is_shortened_to_what_its_user_can_pay_for(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=3)
    provider.plans(input_tokens=1_000, output_tokens=100)

    answer = proxy.answer("/v1/chat/completions", chat(user=person.id))

    assert answer.is_success, answer.text
    ((_, asked),) = provider.asked
    assert asked["max_completion_tokens"] == 100, (
        "the input costs 1 credit, 100 tokens of output cost 1, and the buffer of 20 % makes this a hold of 3"
    )
    record, books = wait_for_settlement(service, person)
    assert (record["credits"], books.balance["totalCredits"]) == (2, 1)


def test_nothing_stays_held_for_a_request_that_a_later_callback_refuses(
    people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans()
    forbidden = chat(user=person.id, stream=True) | {"messages": [{"role": "user", "content": "forbidden"}]}

    assert proxy.answer("/v1/chat/completions", forbidden).is_error

    expect_released(person, 100)
    assert provider.asked == []


def test_a_request_passes_during_an_outage_of_the_service_and_is_settled_later(
    service: Stack, people: People, proxy: Proxy, provider: Provider, wire: Wire
) -> None:
    person = people(credits=100)
    plan = provider.plans(input_tokens=2_000, output_tokens=300)
    wire.is_cut = lambda _step, _moment: True

    with proxy.ask("/v1/chat/completions", chat(stream=True, user=person.id)) as answer:
        assert "".join(texts(answer)) == plan.text
    wire.mend()

    record, _ = wait_for_settlement(service, person)
    assert (Usage.from_text(record["usage"]), record["credits"]) == (Usage(2_000, 300), 5)


def test_a_fallback_to_another_model_releases_the_hold_of_the_first_attempt(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    """LiteLLM runs the callbacks again for the fallback model, and does not report that the first attempt is over."""
    person = people(credits=100)
    provider.plans(input_tokens=2_000, output_tokens=300)

    answer = proxy.answer("/v1/chat/completions", chat("limited", user=person.id))

    assert answer.is_success, answer.text
    deadline = time.monotonic() + PATIENCE_SECONDS
    while person.balance()["totalCredits"] != 95 or person.balance()["heldCredits"]:
        assert time.monotonic() < deadline, person.balance()
        time.sleep(0.1)
    books = audited(service, person)
    assert sorted(books.kinds()) == ["grant", "hold", "hold", "release", "settle"]


def test_a_call_that_a_callback_makes_for_the_same_request_is_charged_too(
    service: Stack, people: People, proxy: Proxy, provider: Provider
) -> None:
    person = people(credits=100)
    provider.plans(input_tokens=2_000, output_tokens=300)
    judged = chat(user=person.id) | {"messages": [{"role": "user", "content": "judge"}]}

    answer = proxy.answer("/v1/chat/completions", judged)

    assert answer.is_success, answer.text
    deadline = time.monotonic() + PATIENCE_SECONDS
    while person.balance()["totalCredits"] != 90 or person.balance()["heldCredits"]:
        assert time.monotonic() < deadline, person.balance()
        time.sleep(0.1)
    books = balanced(service, person)  # `audited` allows only the usage records of sessions
    assert [record["credits"] for record in books.usage] == [5, 5]
    assert {record["service"] for record in books.usage} == {"chat-streaming"}
