"""A chat proxy. It streams answers from OpenAI's API, or a compatible one, and charges them to the caller's credits.

The caller sends their own token or API key. The proxy adds the platform's internal key. An accounting service that
is deployed with ``RequireServiceKey`` requires this key to open and settle sessions.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

import openai
from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel, Field
from starlette.background import BackgroundTask

from accounting_client import (
    AccountingError,
    ApiKey,
    AsyncAccountingClient,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
)
from accounting_client.openai import accounted

MODEL = os.environ.get("MODEL", "gpt-4o-mini")
HEARTBEAT_SECONDS = float(os.environ.get("HEARTBEAT_SECONDS", "10"))

logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep a client of OpenAI and a client of the accounting service for all requests.

    Closing the accounting service's client aborts the sessions that are still open.
    """
    url, key = os.environ["ACCOUNTING_URL"], os.environ.get("ACCOUNTING_SERVICE_KEY")
    async with openai.AsyncOpenAI() as models, AsyncAccountingClient(url, service_key=key) as accounting:
        app.state.models, app.state.accounting = models, accounting
        yield


app = FastAPI(title="Chat proxy", lifespan=lifespan)


class Question(BaseModel):
    prompt: str = Field(min_length=1, max_length=10_000)
    max_tokens: int = Field(default=200, ge=1, le=4_000)


def credential(authorization: Annotated[str, Header()] = "") -> str | ApiKey:
    """The caller's token or API key. Raises Unauthorized if the header has neither."""
    found = re.fullmatch(r"(Bearer|ApiKey) +([!-~]+)", authorization, re.IGNORECASE)
    if found is None:
        raise Unauthorized("Send `Authorization: Bearer <token>` or `ApiKey <key>`", "TOKEN_REQUIRED", 401)
    scheme, text = found.groups()
    return ApiKey(text) if scheme.lower() == "apikey" else text


@app.post("/chat")
async def chat(
    question: Question, request: Request, token: Annotated[str | ApiKey, Depends(credential)]
) -> StreamingResponse:
    """Stream an answer as server-sent events: ``{"text": …}``, at the end ``{"usage": …}`` or ``{"error": …}``."""
    state = request.app.state
    client = accounted(state.models, state.accounting.with_token(token), heartbeat_seconds=HEARTBEAT_SECONDS)
    # The model is called here and not in `_events`, so that a caller without credits gets a 402 and no stream.
    stream = await client.chat.completions.create(
        model=MODEL,
        messages=[{"role": "user", "content": question.prompt}],
        max_completion_tokens=question.max_tokens,
        stream=True,
        stream_options={"include_usage": True},
    )
    # If the caller leaves before the first word, `_events` never runs. Then the background task settles the session.
    return StreamingResponse(_events(stream), media_type="text/event-stream", background=BackgroundTask(stream.close))


async def _events(stream: openai.AsyncStream[ChatCompletionChunk]) -> AsyncIterator[str]:
    """The answer as it arrives. The session is settled when the answer ends or fails, or the caller leaves."""
    try:
        async with stream:
            async for chunk in stream:
                if chunk.usage:
                    yield _event({"usage": chunk.usage.model_dump(exclude_none=True)})
                for choice in chunk.choices:
                    if choice.delta.content:
                        yield _event({"text": choice.delta.content})
    except AccountingError as error:  # the hold can no longer be raised, or somebody has ended the session
        shown = _for_caller(error)
        yield _event({"error": shown.code, "message": shown.message})
    except (openai.APIError, OSError) as error:
        logger.warning("the model's stream broke off", exc_info=error)
        yield _event({"error": "MODEL_UNAVAILABLE", "message": "The model's answer broke off"})


@app.exception_handler(AccountingError)
async def refused(_request: Request, error: AccountingError) -> JSONResponse:
    """Pass on a refusal of the accounting service, such as 402 for too few credits or 401 for an expired token."""
    shown = _for_caller(error)
    content = {"message": shown.message, "code": shown.code, "details": shown.details}
    return JSONResponse(content, status_code=shown.status or 503)


@app.exception_handler(openai.APIError)
async def unanswered(_request: Request, error: openai.APIError) -> JSONResponse:
    """Answer 502. The estimated input was charged only if the model timed out or its answer was invalid."""
    logger.error("the model gave no answer", exc_info=error)
    content = {"message": "The model gave no answer", "code": "MODEL_UNAVAILABLE", "details": {}}
    return JSONResponse(content, status_code=502)


def _for_caller(error: AccountingError) -> AccountingError:
    """The error for the caller: the accounting service's refusal, or 503 without the details of a network error."""
    if error.status is not None and not isinstance(error, UnexpectedAnswer):
        return error
    logger.error("the accounting service gave no usable answer", exc_info=error)
    return Unavailable("Accounting is not available just now", "UNAVAILABLE", 503)


def _event(data: dict[str, object]) -> str:
    return f"data: {json.dumps(data)}\n\n"
