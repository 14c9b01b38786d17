"""Sync and async streams that report their provider's usage: what the service receives, and what is settled."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

import pytest

from accounting_client import InsufficientCredits, InvalidRequest, ModelUnknown
from accounting_client.meter import Meter
from accounting_client.routes.sessions import Heartbeat, Initialized
from accounting_client.routes.usage import Usage
from client.tests.accountant import Accountant
from client.tests.conftest import Ask
from client.tests.played import Played, ok, refusal
from client.tests.test_closing import ABORTED, OPENED
from client.tests.test_streaming import Run, counting, stream, until  # noqa: F401 - a fixture

if TYPE_CHECKING:
    from collections.abc import Iterator

    from client.tests.test_streaming import Body

ESTIMATE = {"inputTokens": 500, "outputTokens": 100}
STARTED = {"input_tokens": 10, "cache_read_input_tokens": 490, "output_tokens": 1}
OPENAI = {"prompt_tokens": 500, "completion_tokens": 42, "total_tokens": 542}


def rejected(*fields: str) -> Any:
    return refusal(400, "VALIDATION_ERROR", errors=[{"field": field, "problem": "is wrong"} for field in fields])


@pytest.fixture
def accounted(stream: Run) -> Run:  # noqa: F811
    """Return a function that streams in a session with an estimated usage."""
    return lambda service, body, estimate=None, **options: stream(
        service, body, estimate, estimated_usage=ESTIMATE, **options
    )


def using(usage: Any, usage_format: Any = "openai", *, then: int = 0) -> Body:
    """A stream that reports a usage, and then counts ``then`` tokens."""

    def body(session: Any) -> Iterator[float]:
        session.set_usage(usage, usage_format)
        session.add_tokens(then)
        yield 0

    return body


def test_a_stream_is_settled_with_its_providers_usage(accounted: Run) -> None:
    service = Accountant()

    session = accounted(service, using(OPENAI), variant="batch", metadata={"chat": 7})

    assert service.bodies_of("initialize") == [
        {"modelId": "m", "estimatedUsage": ESTIMATE, "variant": "batch", "metadata": {"chat": 7}}
    ]
    assert service.bodies_of("finalize") == [{"usage": OPENAI, "usageFormat": "openai", "success": True}]
    assert (session.tokens, session.usage, session.estimated_usage) == (42, OPENAI, ESTIMATE)


def test_a_usage_replaces_what_was_counted(accounted: Run) -> None:
    def body(session: Any) -> Iterator[float]:
        session.add_tokens(50)
        yield 0
        session.set_usage(OPENAI, "openai")
        assert session.tokens == 42

    service = Accountant()
    accounted(service, body)
    assert service.outcome == ("finalize", 42)


def test_a_cumulative_usage_replaces_the_earlier_report(accounted: Run) -> None:
    def body(session: Any) -> Iterator[float]:
        session.set_usage(STARTED, "anthropic")
        for _ in range(30):
            session.add_tokens(1)
        assert session.tokens == 31
        session.set_usage({"input_tokens": None, "output_tokens": 25}, "anthropic")
        assert session.tokens == 25
        yield 0

    service = Accountant()
    accounted(service, body)
    assert service.bodies_of("finalize")[0]["usage"] == STARTED | {"output_tokens": 25}


def test_a_broken_stream_is_settled_with_its_last_usage_and_the_tokens_counted_after_it(accounted: Run) -> None:
    def body(session: Any) -> Iterator[float]:
        yield from using(STARTED, "anthropic", then=30)(session)
        raise ConnectionResetError("the model hung up")

    service = Accountant()
    with pytest.raises(ConnectionResetError):
        accounted(service, body)
    assert service.bodies_of("abort") == [{"usage": STARTED | {"output_tokens": 31}, "usageFormat": "anthropic"}]


def test_a_stream_without_a_usage_is_settled_with_its_number_of_tokens(accounted: Run) -> None:
    service = Accountant()

    accounted(service, counting(30, 12))

    assert service.bodies_of("finalize") == [{"actualTokens": 42, "success": True}]


def test_tokens_can_be_set_above_a_usages_output_but_not_below_it(accounted: Run) -> None:
    def body(session: Any) -> Iterator[float]:
        session.set_usage(OPENAI, "openai")
        session.set_tokens(50)
        assert session.usage == OPENAI | {"completion_tokens": 50, "total_tokens": 550}
        session.set_tokens(7)
        assert (session.tokens, session.usage) == (42, OPENAI)
        yield 0

    accounted(Accountant(), body)


def test_a_usage_of_another_format_replaces_the_earlier_one_completely(accounted: Run) -> None:
    def body(session: Any) -> Iterator[float]:
        session.set_usage(STARTED, "anthropic")
        session.set_usage(OPENAI, "openai")
        yield 0

    service = Accountant()
    accounted(service, body)
    assert service.bodies_of("finalize")[0]["usage"] == OPENAI


def test_a_session_with_an_estimated_number_of_tokens_accepts_a_usage(stream: Run) -> None:  # noqa: F811
    service = Accountant()

    stream(service, using(OPENAI), 1000)

    assert service.bodies_of("finalize")[0]["usage"] == OPENAI


@pytest.mark.parametrize("estimates", [{}, {"estimated_usage": ESTIMATE}])
def test_a_session_has_exactly_one_estimate(stream: Run, estimates: dict[str, Any]) -> None:  # noqa: F811
    service = Accountant()
    with pytest.raises(ValueError, match="either estimated_tokens or estimated_usage"):
        stream(service, counting(), 100 if estimates else None, **estimates)  # type: ignore[arg-type]
    assert service.received == []


@pytest.mark.parametrize(
    ("usage", "usage_format", "kind"),
    [(None, "openai", TypeError), ({"a": float("nan")}, "openai", ValueError), ({}, "cohere", ValueError)],
)
def test_an_unusable_usage_aborts_the_session_with_the_tokens_counted(
    accounted: Run, usage: Any, usage_format: str, kind: type[Exception]
) -> None:
    def body(session: Any) -> Iterator[float]:
        session.add_tokens(30)
        yield from using(usage, usage_format)(session)

    service = Accountant()
    with pytest.raises(kind):
        accounted(service, body)
    assert service.outcome == ("abort", 30)


def test_heartbeats_report_the_usage_and_the_tokens(accounted: Run) -> None:
    service = Accountant()

    def body(session: Any) -> Iterator[float]:
        session.set_usage(STARTED, "anthropic")
        yield from until(lambda: len(service.tokens_of("heartbeat")) >= 2)(session)

    accounted(service, body, heartbeat_seconds=0.05)

    for beat in service.bodies_of("heartbeat"):
        tokens = beat["tokensGenerated"]
        assert tokens > 1
        usage = STARTED | {"output_tokens": tokens}
        assert beat == {"tokensGenerated": tokens, "usage": usage, "usageFormat": "anthropic"}


def test_a_usage_with_more_input_than_estimated_is_reported_at_once(accounted: Run) -> None:
    service = Accountant()

    def body(session: Any) -> Iterator[float]:
        session.set_usage(OPENAI | {"prompt_tokens": 5_000}, "openai")
        for _ in range(500):
            if service.tokens_of("heartbeat"):
                return
            yield 0.01

    accounted(service, body, heartbeat_seconds=60)
    assert service.bodies_of("heartbeat")[0]["usage"]["prompt_tokens"] == 5_000


def test_a_hold_that_cannot_be_raised_stops_the_stream_at_its_next_usage(accounted: Run) -> None:
    service = Accountant(credits=12)

    def body(session: Any) -> Iterator[float]:
        for output in range(100, 600):
            session.set_usage(OPENAI | {"completion_tokens": output}, "openai")
            yield 0.01

    with pytest.raises(InsufficientCredits):
        accounted(service, body)
    assert len(service.tokens_of("heartbeat")) == 1


def test_a_stream_with_a_rejected_usage_is_settled_with_the_tokens_counted(
    accounted: Run, caplog: pytest.LogCaptureFixture
) -> None:
    service = Accountant()
    service.trouble["finalize"] = [rejected("usage.total_tokens")]

    def body(session: Any) -> Iterator[float]:
        session.add_metadata({"chat": 7})
        session.add_tokens(50)
        yield from using(OPENAI, then=3)(session)

    session = accounted(service, body)

    assert service.bodies_of("finalize")[1] == {
        "actualTokens": 53,
        "metadata": {"chat": 7, "estimated": True},
        "success": True,
    }
    assert session.result.status == "completed"
    assert f"session {session.session_id} is settled with the 53 tokens counted" in caplog.text
    assert "usage.total_tokens" in caplog.text


def test_without_counted_tokens_a_stream_is_settled_with_the_output_of_its_rejected_usage(accounted: Run) -> None:
    service = Accountant()
    service.trouble["finalize"] = [rejected("usage")]

    accounted(service, using(OPENAI))

    assert service.outcome == ("finalize", 42)


def test_a_rejected_usage_does_not_stop_heartbeats_or_the_stream(accounted: Run) -> None:
    service = Accountant()
    service.trouble["heartbeat"] = [rejected("usage")]

    def body(session: Any) -> Iterator[float]:
        session.set_usage(OPENAI, "openai")
        yield from until(lambda: len(service.tokens_of("heartbeat")) >= 2)(session)
        session.set_usage(STARTED, "anthropic")
        yield from until(lambda: len(service.tokens_of("heartbeat")) >= 3)(session)

    accounted(service, body, heartbeat_seconds=0.05)

    first, without, corrected = service.bodies_of("heartbeat")[:3]
    assert first["usageFormat"] == "openai"
    assert without.keys() == {"tokensGenerated"}
    assert without["tokensGenerated"] > 42
    assert corrected["usageFormat"] == "anthropic"


def test_after_a_rejected_usage_a_heartbeat_without_usage_is_sent_at_once(accounted: Run) -> None:
    service = Accountant()
    service.trouble["heartbeat"] = [rejected("usage")]

    def body(session: Any) -> Iterator[float]:
        session.set_usage(OPENAI | {"prompt_tokens": 5_000}, "openai")
        for _ in range(500):
            if len(service.tokens_of("heartbeat")) >= 2:
                return
            yield 0.01
        pytest.fail("the second heartbeat waited for the interval")

    accounted(service, body, heartbeat_seconds=10)
    assert service.bodies_of("heartbeat")[1] == {"tokensGenerated": 42}


@pytest.mark.parametrize(
    "trouble",
    [rejected("actualTokens"), rejected("metadata", "usage.total_tokens"), refusal(400, "HTTP_400")],
    ids=["by a service that does not know the field usage", "together with the metadata", "by a firewall"],
)
def test_a_stream_is_settled_with_its_number_of_tokens_if_its_usage_is_rejected(accounted: Run, trouble: Any) -> None:
    service = Accountant()
    service.trouble["finalize"] = [trouble]

    accounted(service, using(OPENAI))

    assert service.bodies_of("finalize")[1:] == [{"actualTokens": 42, "metadata": {"estimated": True}, "success": True}]


@pytest.mark.parametrize("settle", ["finalize", "abort"])
def test_settling_sends_the_metadata_and_the_model_that_served_the_stream(ask: Ask, settle: str) -> None:
    ended = ABORTED | {"sessionId": "s", "actualCredits": 0, "estimatedCredits": 0}
    service = Played(ok(OPENED | {"sessionId": "s"}), ok(ended))

    def act(client: Any) -> Any:
        session = client.streaming_session("m", 100)
        end = {"model_id": "fallback", "metadata": {"chat": 8}}
        if hasattr(client, "aclose"):

            async def run() -> None:
                async with session:
                    session.add_metadata({"chat": 7, "tries": 2})
                    await getattr(session, settle)(**end)

            return run()
        with session:
            session.add_metadata({"chat": 7, "tries": 2})
            getattr(session, settle)(**end)
        return None

    ask(service, act)

    assert service.asked[1:] == [("POST", settle)]
    assert service.bodies[1]["modelId"] == "fallback"
    assert service.bodies[1]["metadata"] == {"chat": 8, "tries": 2}


@pytest.mark.parametrize(
    ("trouble", "kept"),
    [
        (refusal(400, "MODEL_UNKNOWN", modelId="fallback"), {"metadata": {"chat": 7}}),
        (rejected("modelId"), {"metadata": {"chat": 7}}),
        (rejected("metadata.chat"), {"modelId": "fallback"}),
        (rejected("metadata", "modelId"), {}),
    ],
    ids=["unknown model", "wrong model", "metadata", "both"],
)
def test_settling_is_repeated_without_the_details_that_the_service_rejects(
    accounted: Run, trouble: Any, kept: dict[str, Any]
) -> None:
    service = Accountant()
    service.trouble["finalize"] = [trouble]

    def body(session: Any) -> Iterator[float]:
        session.served_by("fallback")
        session.add_metadata({"chat": 7})
        yield from using(OPENAI)(session)

    accounted(service, body)

    assert service.bodies_of("finalize")[1] == {"usage": OPENAI, "usageFormat": "openai", "success": True} | kept


def test_a_rejected_settlement_that_has_no_usage_is_not_repeated(
    accounted: Run, caplog: pytest.LogCaptureFixture
) -> None:
    service = Accountant()
    service.trouble["finalize"] = [rejected("sessionId")] * 10

    assert accounted(service, counting(30)).result is None
    assert service.tokens_of("finalize") == [30]
    assert "could not be settled with 30 tokens" in caplog.text


def test_a_refused_estimate_shows_the_affordable_output(ask: Ask) -> None:
    service = Played(refusal(402, "INSUFFICIENT_CREDITS", affordableOutputTokens=3_000))

    with pytest.raises(InsufficientCredits) as refused:
        ask(service, lambda client: client.initialize("s", "m", estimated_usage=ESTIMATE))
    assert (refused.value.affordable_output_tokens, refused.value.affordable_tokens) == (3_000, None)
    assert service.bodies == [{"sessionId": "s", "modelId": "m", "estimatedUsage": ESTIMATE}]


def test_a_model_without_a_price_is_an_invalid_request(ask: Ask) -> None:
    with pytest.raises(ModelUnknown) as refused:
        ask(Played(refusal(400, "MODEL_UNKNOWN", modelId="m")), lambda client: client.initialize("s", "m", 5))
    assert isinstance(refused.value, InvalidRequest)


def test_answers_have_the_usage_by_class(ask: Ask) -> None:
    used = {"inputTokens": 500, "cachedInputTokens": 490, "outputTokens": 31, "requests": 1}
    service = Played(ok(ABORTED | {"sessionId": "s", "usage": used}))

    aborted = ask(service, lambda client: client.abort("s", usage=STARTED, usage_format="anthropic"))

    assert aborted.usage == Usage(500, 31, cached_input_tokens=490, requests=1)
    assert service.bodies == [{"sessionId": "s", "usage": STARTED, "usageFormat": "anthropic"}]


def answer_heartbeat(meter: Meter, credits: int) -> None:
    """Pass the meter, which decides when heartbeats are due, a heartbeat's answer: ``credits`` are held."""
    report = meter.report()
    meter.answered(Heartbeat("s", report.tokens, credits, AT), report)


AT = datetime.now(UTC)


def fits(meter: Meter) -> int:
    """Count output in steps of 100 tokens until a heartbeat is due, and return the count before the last step."""
    while not meter.outgrown:
        meter.count(meter.progress.tokens + 100)
    return meter.progress.tokens - 100


@pytest.mark.parametrize("input_credits", [0, 5, 50, 500])
def test_output_that_needs_no_heartbeat_never_costs_more_than_is_held(input_credits: int) -> None:
    """The input costs ``input_credits``. An output token costs 0.01 credits. The client knows no prices."""
    estimated = input_credits + 100
    meter = Meter(10_000, Initialized("s", estimated * 12 // 10, estimated, AT, ""), estimated_inputs=1_000)
    allocated = estimated * 12 // 10

    for _ in range(5):
        generated = fits(meter)
        assert generated >= 10_000
        assert input_credits + generated / 100 <= allocated
        cost = input_credits + (generated + 100) / 100
        allocated = max(allocated, -int(-cost * 12 // 10))
        answer_heartbeat(meter, allocated)


def test_a_heartbeat_is_due_at_a_usage_above_the_estimate_and_again_before_the_raised_hold_is_used_up() -> None:
    """The stream reaches a price tier that doubles the cost of the whole request.

    The estimate was 190,000 tokens of input and 4,000 of output, for 600 credits.
    """
    meter = Meter(4_000, Initialized("s", 720, 600, AT, ""), estimated_inputs=190_000)
    meter.use({"prompt_tokens": 210_000, "completion_tokens": 1_000}, "openai")
    was_outgrown = meter.outgrown

    answer_heartbeat(meter, 1_560)

    assert was_outgrown
    assert 1_000 < fits(meter) < 4_000


def test_a_cheap_usage_does_not_cause_a_heartbeat_for_every_chunk() -> None:
    """The input was estimated too low, but costs almost nothing."""
    meter, beats = Meter(1_000, Initialized("s", 120, 100, AT, ""), estimated_inputs=10), 0
    for output in range(0, 1_000, 2):
        meter.use({"prompt_tokens": 5_000, "completion_tokens": output}, "openai")
        if meter.outgrown:
            beats += 1
            answer_heartbeat(meter, 120)
    assert 5 <= beats <= 10
