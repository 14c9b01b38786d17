"""A stub of OpenAI's API, for use without a key: it repeats the prompt, a word at a time."""

from __future__ import annotations

import asyncio
import json
import os
import threading
from collections.abc import AsyncIterator
from itertools import cycle, islice
from typing import Any

import uvicorn
from fastapi import FastAPI
from fastapi.responses import StreamingResponse

from local.account import HOST

SECONDS_A_WORD = 0.02
CHARACTERS_A_TOKEN = 4

app = FastAPI(title="A stub of OpenAI's API")


@app.post("/v1/chat/completions")
async def complete(request: dict[str, Any]) -> StreamingResponse:
    """Repeat the words of the prompt until the answer is as long as the request allows."""
    return StreamingResponse(_stream(request), media_type="text/event-stream")


async def _stream(request: dict[str, Any]) -> AsyncIterator[str]:
    prompt = str(request["messages"][-1]["content"])
    most = int(request["max_completion_tokens"])
    for word in islice(cycle(prompt.split() or ["…"]), most):
        await asyncio.sleep(SECONDS_A_WORD)
        yield _chunk(request, [{"index": 0, "delta": {"content": f"{word} "}, "finish_reason": None}])
    yield _chunk(request, [{"index": 0, "delta": {}, "finish_reason": "length"}])
    prompt_tokens = -(-len(prompt) // CHARACTERS_A_TOKEN)
    usage = {"prompt_tokens": prompt_tokens, "completion_tokens": most, "total_tokens": prompt_tokens + most}
    yield _chunk(request, [], usage=usage)
    yield "data: [DONE]\n\n"


def _chunk(request: dict[str, Any], choices: list[dict[str, Any]], **more: Any) -> str:
    known = {"id": "1", "object": "chat.completion.chunk", "created": 1, "model": request["model"]}
    return f"data: {json.dumps({**known, 'choices': choices, **more})}\n\n"


def serve_unless_key() -> None:
    """Serve the stub in a thread and let OpenAI's SDK call it, unless the environment has a key for the real API."""
    if os.environ.get("OPENAI_API_KEY"):
        return
    config = uvicorn.Config(app, host=HOST, port=0, log_level="warning")
    socket = config.bind_socket()
    threading.Thread(target=uvicorn.Server(config).run, args=([socket],), daemon=True).start()
    os.environ |= {"OPENAI_API_KEY": "none", "OPENAI_BASE_URL": f"http://{HOST}:{socket.getsockname()[1]}/v1"}
