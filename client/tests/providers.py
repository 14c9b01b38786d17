"""A server on this machine that speaks OpenAI's and Anthropic's formats, for the real SDKs to call."""

from __future__ import annotations

import json
import threading
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from itertools import count
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator

PATIENCE_SECONDS = 60

ERROR = {"type": "error", "error": {"message": "no answer today", "type": "server_error"}}

_numbers = count()

type Json = dict[str, Any]


@dataclass
class Plan:
    """What the provider answers. With a ``status`` other than 200, the answer is an error.

    The text is the first ``words`` words of ``says``, or generated words if ``says`` is None. A stream waits for
    `Provider.go` after ``pause_after`` words, and breaks off after ``cut_after`` words. An answer that is not streamed
    waits if ``pause_after`` is not None.

    If ``reports_usage`` is False, answers have no usage, with two exceptions: embeddings still report their usage, and
    an Anthropic message that is not streamed reports zeros.
    """

    words: int = 4
    input_tokens: int = 10
    output_tokens: int = 5
    cached_tokens: int = 0
    status: int = 200
    pause_after: int | None = None
    cut_after: int | None = None
    reports_usage: bool = True
    says: str | None = None
    more_usage: Json = field(default_factory=dict)
    """Fields that are added to the usage, or replace its usual fields."""

    def word(self, number: int) -> str:
        return f"word{number} " if self.says is None else f"{self.says.split()[number]} "

    @property
    def text(self) -> str:
        return "".join(self.word(number) for number in range(self.words))

    @property
    def chat_usage(self) -> Json:
        return {
            "prompt_tokens": self.input_tokens,
            "completion_tokens": self.output_tokens,
            "total_tokens": self.input_tokens + self.output_tokens,
            "prompt_tokens_details": {"cached_tokens": self.cached_tokens},
            **self.more_usage,
        }

    @property
    def responses_usage(self) -> Json:
        return {
            "input_tokens": self.input_tokens,
            "input_tokens_details": {"cached_tokens": self.cached_tokens},
            "output_tokens": self.output_tokens,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": self.input_tokens + self.output_tokens,
            **self.more_usage,
        }

    @property
    def messages_usage(self) -> Json:
        """In Anthropic's format, ``input_tokens`` excludes the cached tokens."""
        return {
            "input_tokens": self.input_tokens - self.cached_tokens,
            "cache_read_input_tokens": self.cached_tokens,
            "cache_creation_input_tokens": 0,
            "output_tokens": self.output_tokens,
            **self.more_usage,
        }


class Provider:
    """A server that follows ``plan``. ``asked`` has the paths and bodies of the requests since `plans` was called."""

    def __init__(self) -> None:
        self.plan = Plan()
        self.go = threading.Event()
        self.asked: list[tuple[str, Json]] = []
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.origin = f"http://127.0.0.1:{self._server.server_address[1]}"
        """The ``base_url`` for Anthropic's SDK, which appends ``/v1`` itself."""
        self.base_url = f"{self.origin}/v1"
        """The ``base_url`` for OpenAI's SDK."""

    @classmethod
    @contextmanager
    def running(cls) -> Iterator[Provider]:
        """Run a provider during the block."""
        provider = cls()
        thread = threading.Thread(target=provider._server.serve_forever, daemon=True)
        thread.start()
        try:
            yield provider
        finally:
            provider.go.set()
            provider._server.shutdown()
            provider._server.server_close()
            thread.join()

    def plans(self, **changes: Any) -> Plan:
        """From now on, answer by a plan with these values. Forget the earlier requests."""
        self.plan = Plan(**changes)
        self.asked.clear()
        self.go.clear()
        return self.plan

    def pause(self, plan: Plan, word: int | None) -> None:
        """Wait for ``go`` if the plan has a pause at this word."""
        if word is not None and word == plan.pause_after:
            self.go.wait(PATIENCE_SECONDS)

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        provider = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self) -> None:
                asked: Json = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                provider.asked.append((self.path, asked))
                plan, format_ = provider.plan, self.path.rpartition("/")[2]
                if plan.status != 200:
                    self._answer(plan.status, ERROR)
                elif asked.get("stream"):
                    self._stream(plan, _STREAMED[format_](plan, asked))
                else:
                    provider.pause(plan, plan.pause_after)
                    self._answer(200, _WHOLE[format_](plan, asked["model"]))

            def _answer(self, status: int, body: Json) -> None:
                content = json.dumps(body).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                with suppress(OSError):  # the caller has left
                    self.wfile.write(content)

            def _stream(self, plan: Plan, events: Iterator[tuple[int | None, Json | str]]) -> None:
                self.send_response(200)
                # If a stream breaks off, this server closes the connection, so the SDK must not reuse it.
                self.send_header("Connection", "close")
                self.send_header("Content-Type", "text/event-stream")
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                with suppress(OSError):  # the caller has left
                    for word, event in events:
                        if word is not None and word == plan.cut_after:
                            return
                        provider.pause(plan, word)
                        text = _server_sent(event)
                        self.wfile.write(b"%x\r\n%b\r\n" % (len(text), text))
                    self.wfile.write(b"0\r\n\r\n")

            def log_message(self, *_: Any) -> None:
                pass

        return Handler


def _server_sent(event: Json | str) -> bytes:
    if isinstance(event, str):
        return f"data: {event}\n\n".encode()
    name = f"event: {event['type']}\n" if "type" in event else ""
    return f"{name}data: {json.dumps(event)}\n\n".encode()


def _chat(plan: Plan, model: str) -> Json:
    message = {"role": "assistant", "content": plan.text}
    choices = [{"index": 0, "message": message, "finish_reason": "stop"}]
    usage = {"usage": plan.chat_usage} if plan.reports_usage else {}
    answer_id = f"chat-{next(_numbers)}"
    return {"id": answer_id, "object": "chat.completion", "created": 1, "model": model, "choices": choices, **usage}


def _chat_events(plan: Plan, asked: Json) -> Iterator[tuple[int | None, Json | str]]:
    """Chunks of a chat completion. As with OpenAI, the usage is sent only on request, in a chunk without choices."""
    common = {"id": f"chat-{next(_numbers)}", "object": "chat.completion.chunk", "created": 1, "model": asked["model"]}
    wants_usage = (asked.get("stream_options") or {}).get("include_usage", False)
    nothing: Json = {"usage": None} if wants_usage else {}

    def chunk(delta: Json, reason: str | None = None) -> Json:
        return {**common, "choices": [{"index": 0, "delta": delta, "finish_reason": reason}], **nothing}

    yield None, chunk({"role": "assistant", "content": ""})
    for number in range(plan.words):
        yield number, chunk({"content": plan.word(number)})
    yield plan.words, chunk({}, "stop")
    if wants_usage and plan.reports_usage:
        yield None, {**common, "choices": [], "usage": plan.chat_usage}
    yield None, "[DONE]"


def _response(plan: Plan, model: str, *, status: str = "completed") -> Json:
    content = [{"type": "output_text", "text": plan.text, "annotations": []}]
    message = {"id": "msg-1", "type": "message", "role": "assistant", "status": status, "content": content}
    return {
        "id": "resp-1",
        "object": "response",
        "created_at": 1,
        "model": model,
        "status": status,
        "output": [message] if status == "completed" else [],
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "usage": plan.responses_usage if plan.reports_usage and status == "completed" else None,
    }


def _response_events(plan: Plan, asked: Json) -> Iterator[tuple[int | None, Json | str]]:
    started = _response(plan, asked["model"], status="in_progress")
    message = {"id": "msg-1", "type": "message", "role": "assistant", "status": "in_progress", "content": []}
    part = {"type": "output_text", "text": "", "annotations": []}
    where = {"item_id": "msg-1", "output_index": 0, "content_index": 0}
    done = _response(plan, asked["model"])
    events: list[tuple[int | None, Json]] = [
        (None, {"type": "response.created", "response": started}),
        (None, {"type": "response.output_item.added", "output_index": 0, "item": message}),
        (None, {"type": "response.content_part.added", **where, "part": part}),
    ]
    for number in range(plan.words):
        delta = {"delta": plan.word(number), "logprobs": []}
        events.append((number, {"type": "response.output_text.delta", **where, **delta}))
    events += [
        (plan.words, {"type": "response.output_text.done", **where, "text": plan.text, "logprobs": []}),
        (None, {"type": "response.output_item.done", "output_index": 0, "item": done["output"][0]}),
        (None, {"type": "response.completed", "response": done}),
    ]
    for sequence, (word, event) in enumerate(events):
        yield word, {**event, "sequence_number": sequence}


def _message(plan: Plan, model: str) -> Json:
    return {
        "id": "msg-1",
        "type": "message",
        "role": "assistant",
        "model": model,
        "content": [{"type": "text", "text": plan.text}],
        "stop_reason": "end_turn",
        "stop_sequence": None,
        "usage": plan.messages_usage if plan.reports_usage else {"input_tokens": 0, "output_tokens": 0},
    }


def _message_events(plan: Plan, asked: Json) -> Iterator[tuple[int | None, Json | str]]:
    """Events of a message. As with Anthropic, the first event reports the input, and a later event the output."""
    first_usage = {**plan.messages_usage, "output_tokens": 1} if plan.reports_usage else {}
    message = {**_message(plan, asked["model"]), "content": [], "stop_reason": None, "usage": first_usage}
    yield None, {"type": "message_start", "message": message}
    yield None, {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}
    for number in range(plan.words):
        delta = {"type": "text_delta", "text": plan.word(number)}
        yield number, {"type": "content_block_delta", "index": 0, "delta": delta}
    yield plan.words, {"type": "content_block_stop", "index": 0}
    usage = {"output_tokens": plan.output_tokens} if plan.reports_usage else {}
    yield None, {"type": "message_delta", "delta": {"stop_reason": "end_turn", "stop_sequence": None}, "usage": usage}
    yield None, {"type": "message_stop"}


def _embeddings(plan: Plan, model: str) -> Json:
    data = [{"object": "embedding", "index": 0, "embedding": [0.5, 0.25]}]
    usage = {"prompt_tokens": plan.input_tokens, "total_tokens": plan.input_tokens}
    return {"object": "list", "model": model, "data": data, "usage": usage}


_WHOLE = {"embeddings": _embeddings, "completions": _chat, "responses": _response, "messages": _message}
_STREAMED = {"completions": _chat_events, "responses": _response_events, "messages": _message_events}
"""Each yields events with the number of the word at which the stream may pause or break off, or None."""
