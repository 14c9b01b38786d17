"""How much more CPU time a call needs with the client's OpenAI wrapper than with accounting by hand."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections import deque
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any, NamedTuple

from bench.report import Section, Target, ms
from bench.scale import scaled

if TYPE_CHECKING:
    from collections.abc import Callable

    from bench.database import Database
    from bench.report import Report

REPEATS = 200
WARM_UP = 20
CHUNKS = 100
LIMIT_MS = 1.0
AT = "2026-11-21T09:30:00.000Z"
MESSAGES = [{"role": "user", "content": "What is a ledger? " * 50}]
USAGE = {"prompt_tokens": 500, "completion_tokens": 100, "total_tokens": 600}
ESTIMATE = {"inputTokens": 500, "outputTokens": 4096}
WITH_USAGE = {"stream_options": {"include_usage": True}}
ABOUT = """\
The median CPU time of {repeats} calls of OpenAI's SDK. The provider and the accounting service are functions in the
same process. **Accounted** is a call with the client's wrapper. **By hand** is `initialize`, the plain call, and
`finalize`. The two alternate, and **difference** is the median of their differences. A stream has {chunks} chunks."""
HEADER = ["call", "accounted ms", "by hand ms", "difference ms"]


class Call(NamedTuple):
    """One call in three variants: without accounting, accounted by hand, and with the wrapper.

    ``by_hand`` and ``accounted`` return the CPU seconds that they took.
    """

    plain: Callable[[], object]
    by_hand: Callable[[], float]
    accounted: Callable[[], float]
    close: Callable[[], object]


def run(report: Report, _database: Database) -> None:
    """Measure each kind of call."""
    repeats, rows, most = scaled(REPEATS), [], 0.0
    with tempfile.TemporaryDirectory(prefix="accounting-outbox-") as folder:
        kinds: dict[str, Callable[[], Call]] = {
            "chat": lambda: _sync(stream=False),
            "chat, streamed": lambda: _sync(stream=True),
            "chat, streamed, with an outbox": lambda: _sync(stream=True, outbox=str(Path(folder) / "outbox")),
            "chat, asyncio": lambda: _asynchronous(stream=False),
            "chat, streamed, asyncio": lambda: _asynchronous(stream=True),
            "chat, streamed, asyncio, with an outbox": lambda: _asynchronous(
                stream=True, outbox=str(Path(folder) / "asyncio-outbox")
            ),
        }
        for name, make in kinds.items():
            by_hand, accounted, difference = _measured(make(), repeats)
            most = max(most, difference)
            rows.append([name, ms(accounted), ms(by_hand), ms(difference)])
    report.targets.append(
        Target.at_most("CPU time that the client's wrapper adds to a call by hand", LIMIT_MS, most * 1000, " ms")
    )
    report.add(Section("Calls of an SDK", ABOUT.format(repeats=repeats, chunks=CHUNKS), HEADER, rows))


def _measured(call: Call, repeats: int) -> tuple[float, float, float]:
    """Return three medians in CPU seconds: of calls by hand, of accounted calls, and of their differences."""
    pairs = []
    for _ in range(repeats + WARM_UP):
        call.plain()
        less = call.by_hand()
        call.plain()
        pairs.append((less, call.accounted()))
    call.close()
    del pairs[:WARM_UP]
    by_hand, accounted = zip(*pairs, strict=True)
    return median(by_hand), median(accounted), median(more - less for less, more in pairs)


def _sync(*, stream: bool, outbox: str | None = None) -> Call:
    import httpx
    import httpx2
    import openai

    from accounting_client import AccountingClient, ServiceCredential
    from accounting_client.openai import accounted

    accounting = AccountingClient(
        "https://accounting.example.com",
        ServiceCredential("svc_01_secret"),
        http=httpx.Client(transport=httpx.MockTransport(_service)),
        outbox=outbox,
    )
    plain = openai.OpenAI(api_key="k", http_client=httpx2.Client(transport=httpx2.MockTransport(_model)))
    wrapped = accounted(plain, accounting, user="ann", max_output_tokens=4096)
    with_usage: dict[str, Any] = WITH_USAGE if stream else {}

    def ask(client: Any, **options: Any) -> Any:
        answer = client.chat.completions.create(model="m", messages=MESSAGES, stream=stream, **options)
        return deque(answer, maxlen=1).pop() if stream else answer

    def by_hand() -> float:
        began = time.process_time()
        acting = accounting.for_user("ann")
        acting.initialize("s", "m", estimated_usage=ESTIMATE)
        last = ask(plain, **with_usage)
        acting.finalize("s", usage=last.usage.model_dump(), usage_format="openai")
        return time.process_time() - began

    def accounted_call() -> float:
        began = time.process_time()
        ask(wrapped)
        return time.process_time() - began

    return Call(lambda: ask(plain), by_hand, accounted_call, accounting.close)


async def _service_in_a_turn(request: Any) -> Any:
    """Answer as `_service` does, but in a later turn of the event loop, because a network never answers at once."""
    await asyncio.sleep(0)
    return _service(request)


async def _model_in_a_turn(request: Any) -> Any:
    """Answer as `_model` does, but in a later turn of the event loop."""
    await asyncio.sleep(0)
    return _model(request)


def _asynchronous(*, stream: bool, outbox: str | None = None) -> Call:
    import httpx
    import httpx2
    import openai

    from accounting_client import AsyncAccountingClient, ServiceCredential
    from accounting_client.openai import accounted

    accounting = AsyncAccountingClient(
        "https://accounting.example.com",
        ServiceCredential("svc_01_secret"),
        http=httpx.AsyncClient(transport=httpx.MockTransport(_service_in_a_turn)),
        outbox=outbox,
    )
    plain = openai.AsyncOpenAI(
        api_key="k", http_client=httpx2.AsyncClient(transport=httpx2.MockTransport(_model_in_a_turn))
    )
    wrapped = accounted(plain, accounting, user="ann")
    with_usage: dict[str, Any] = WITH_USAGE if stream else {}
    loop = asyncio.new_event_loop()

    async def ask(client: Any, **options: Any) -> Any:
        answer = await client.chat.completions.create(model="m", messages=MESSAGES, stream=stream, **options)
        if not stream:
            return answer
        last = None
        async for last in answer:  # noqa: B007 - the usage is in the last chunk
            pass
        return last

    async def by_hand() -> float:
        began = time.process_time()
        acting = accounting.for_user("ann")
        await acting.initialize("s", "m", estimated_usage=ESTIMATE)
        last = await ask(plain, **with_usage)
        await acting.finalize("s", usage=last.usage.model_dump(), usage_format="openai")
        return time.process_time() - began

    async def accounted_call() -> float:
        began = time.process_time()
        await ask(wrapped)
        return time.process_time() - began

    def run(work: Callable[[], Any]) -> Callable[[], Any]:
        return lambda: loop.run_until_complete(work())

    def close() -> None:
        loop.run_until_complete(accounting.aclose())
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()

    return Call(run(lambda: ask(plain)), run(by_hand), run(accounted_call), close)


def _service(request: Any) -> Any:
    """Answer as the accounting service does."""
    import httpx

    step = request.url.path.rpartition("/")[2]
    if step == "m":
        return httpx.Response(200, json={"modelId": "m", "pricePerThousandTokens": 1, "history": []})
    known = {"sessionId": json.loads(request.content)["sessionId"], "expiresAt": AT}
    if step == "initialize":
        return httpx.Response(200, json={**known, "message": "", "allocatedCredits": 12, "estimatedCredits": 10})
    settled = {"status": "completed", "actualCredits": 1, "estimatedCredits": 10, "partialCredits": 1, "debt": 0}
    return httpx.Response(200, json={**known, **settled, "refund": 11, "overrun": 0})


def _model(request: Any) -> Any:
    """Answer as OpenAI's API does."""
    import httpx2

    asked = json.loads(request.content)
    common = {"id": "c", "created": 1, "model": "m"}
    if not asked.get("stream"):
        message = {"role": "assistant", "content": "word " * CHUNKS}
        choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
        return httpx2.Response(200, json={**common, "object": "chat.completion", "choices": choices, "usage": USAGE})
    deltas: list[dict[str, Any]] = [
        {**common, "object": "chat.completion.chunk", "choices": [{"index": 0, "delta": {"content": "word "}}]}
    ] * CHUNKS
    if asked.get("stream_options"):
        deltas = [*deltas, {**common, "object": "chat.completion.chunk", "choices": [], "usage": USAGE}]
    events = [*(json.dumps(delta) for delta in deltas), "[DONE]"]
    content = "".join(f"data: {event}\n\n" for event in events).encode()
    return httpx2.Response(200, content=content, headers={"Content-Type": "text/event-stream"})
