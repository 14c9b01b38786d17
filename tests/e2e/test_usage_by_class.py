"""Sessions that report their usage by class of tokens, such as input and output, over HTTP."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.books import audited
from tests.e2e.client import MODEL, Person, assert_refused, new_id

if TYPE_CHECKING:
    from local.stack import Stack
    from tests.e2e.conftest import People

SESSIONS = "streaming-sessions"
ESTIMATE = {"inputTokens": 5_000, "outputTokens": 1_000}
ANTHROPIC = {"input_tokens": 10, "cache_read_input_tokens": 4_000, "output_tokens": 300}
OPENAI = {"prompt_tokens": 4_010, "completion_tokens": 320, "of_tomorrow": {"share": 1.5}}


def _open(person: Person, estimate: dict[str, Any] = ESTIMATE) -> str:
    session_id = new_id("session")
    person.ok("POST", f"{SESSIONS}/initialize", {"sessionId": session_id, "modelId": MODEL, "estimatedUsage": estimate})
    return session_id


def test_a_stream_reports_its_providers_usage(service: Stack, people: People, admin: Person) -> None:
    person = people(credits=100)
    session = _open(person)

    beat = person.ok(
        "POST", f"{SESSIONS}/heartbeat", {"sessionId": session, "usage": ANTHROPIC, "usageFormat": "anthropic"}
    )
    settled = person.ok(
        "POST",
        f"{SESSIONS}/finalize",
        {
            "sessionId": session,
            "usage": OPENAI,
            "usageFormat": "openai",
            "modelId": "the-fallback",
            "metadata": {"chat": 7},
            "misspelt": 1,
        },
    )

    assert (beat["tokensGenerated"], beat["allocatedCredits"]) == (300, 8)
    assert settled["usage"] == {"inputTokens": 4_010, "outputTokens": 320, "requests": 1}
    assert (settled["actualCredits"], settled["refund"], settled["ignored"]) == (5, 3, ["misspelt"])
    (record,) = person.ok("GET", "usage/stats")["recentActivity"]
    assert (record["operation"], record["metadata"]["chat"]) == ("the-fallback", 7)
    (seen,) = admin.ok("GET", f"{SESSIONS}/recent/{person.id}")
    assert (seen["modelId"], seen["servedModelId"], seen["usage"]) == (MODEL, "the-fallback", settled["usage"])
    assert audited(service, person).balance["totalCredits"] == 95


def test_a_repeat_gets_the_first_answer(people: People) -> None:
    person = people(credits=100)
    session = _open(person)
    request = {"sessionId": session, "usage": OPENAI, "usageFormat": "openai"}

    first = person.ok("POST", f"{SESSIONS}/finalize", request)
    again = person.ok("POST", f"{SESSIONS}/finalize", request)

    assert again == first | {"replayed": True}
    other = request | {"usage": OPENAI | {"completion_tokens": 321}}
    assert_refused(person.post(f"{SESSIONS}/finalize", other), 404, "SESSION_NOT_ACTIVE")


REJECTED = {
    "a fraction": {"inputTokens": 1, "outputTokens": 1.5},
    "a whole number with a decimal point": {"inputTokens": 1, "outputTokens": 5.0},
    "a boolean": {"inputTokens": True, "outputTokens": 1},
    "a text": {"inputTokens": "1", "outputTokens": 1},
    "a negative number": {"inputTokens": -1, "outputTokens": 1},
    "too many": {"inputTokens": 10**9 + 1, "outputTokens": 1},
    "parts larger than the whole": {"inputTokens": 1, "outputTokens": 1, "cachedInputTokens": 2},
    "an unknown name": {"inputTokens": 1, "outputTokens": 1, "reasoning": 1},
    "a provider's format without usageFormat": {"prompt_tokens": 1, "completion_tokens": 1},
    "nothing": {},
    "a list": [],
    "a text instead of an object": "1",
}


@pytest.mark.parametrize("step", ["heartbeat", "finalize", "abort"])
def test_a_session_accepts_a_corrected_usage_after_rejected_ones(step: str, service: Stack, people: People) -> None:
    person = people(credits=100)
    session = _open(person)
    before = audited(service, person).balance

    for name, usage in REJECTED.items():
        refusal = person.post(f"{SESSIONS}/{step}", {"sessionId": session, "usage": usage})
        assert_refused(refusal, 400, "VALIDATION_ERROR")
        assert refusal.json()["details"]["errors"][0]["field"].startswith("usage"), name

    assert audited(service, person).balance == before
    corrected = {"sessionId": session, "usage": {"inputTokens": 1_000, "outputTokens": 1_000}}
    assert person.ok("POST", f"{SESSIONS}/finalize", corrected)["actualCredits"] == 2


@pytest.mark.parametrize(
    ("step", "body", "field"),
    [
        ("heartbeat", {}, "tokensGenerated"),
        ("finalize", {}, "actualTokens"),
        ("finalize", {"actualTokens": 1, "usage": ESTIMATE}, "usage"),
        ("abort", {"tokensGenerated": 1, "usage": ESTIMATE}, "usage"),
        ("finalize", {"usage": ESTIMATE, "usageFormat": "cohere"}, "usageFormat"),
        ("finalize", {"usage": ESTIMATE, "modelId": "a b"}, "modelId"),
        ("finalize", {"usage": ESTIMATE, "metadata": []}, "metadata"),
    ],
)
def test_an_incomplete_or_ambiguous_report_is_refused(
    step: str, body: dict[str, Any], field: str, people: People
) -> None:
    person = people(credits=100)
    session = _open(person)

    refusal = person.post(f"{SESSIONS}/{step}", {"sessionId": session, **body})

    assert_refused(refusal, 400, "VALIDATION_ERROR")
    assert refusal.json()["details"]["errors"][0]["field"] == field
    assert [each["sessionId"] for each in person.ok("GET", f"{SESSIONS}/active")] == [session]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "estimatedTokens"),
        ({"estimatedTokens": 5, "estimatedUsage": ESTIMATE}, "estimatedTokens"),
        ({"estimatedUsage": ESTIMATE | {"cost": 1}}, "estimatedUsage.cost"),
        ({"estimatedUsage": {"inputTokens": 5}}, "estimatedUsage.outputTokens"),
        ({"estimatedUsage": {"prompt_tokens": 5}}, "estimatedUsage.prompt_tokens"),
        ({"estimatedUsage": ESTIMATE, "variant": "batch"}, "variant"),
        ({"estimatedUsage": ESTIMATE, "variant": "B A T C H"}, "variant"),
    ],
)
def test_an_invalid_estimate_is_refused(body: dict[str, Any], field: str, people: People) -> None:
    person = people(credits=100)

    refusal = person.post(f"{SESSIONS}/initialize", {"sessionId": new_id("session"), "modelId": MODEL, **body})

    assert_refused(refusal, 400, "VALIDATION_ERROR")
    assert refusal.json()["details"]["errors"][0]["field"] == field
    assert person.ok("GET", "credits/balance")["heldCredits"] == 0


def test_the_refusal_of_an_estimate_shows_the_affordable_output(people: People) -> None:
    person = people(credits=10)
    request = {"sessionId": new_id("session"), "modelId": MODEL}

    refusal = person.post(
        f"{SESSIONS}/initialize", request | {"estimatedUsage": {"inputTokens": 5_000, "outputTokens": 9_000}}
    )

    assert_refused(refusal, 402, "INSUFFICIENT_CREDITS")
    affordable = refusal.json()["details"]["affordableOutputTokens"]
    assert affordable == 3_000
    smaller = request | {"estimatedUsage": {"inputTokens": 5_000, "outputTokens": affordable}}
    assert person.ok("POST", f"{SESSIONS}/initialize", smaller)["allocatedCredits"] == 10
