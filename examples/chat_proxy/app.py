"""The proxy: it holds credits before it streams, counts what is generated, and settles what the model reports.

Callers send their own tokens. The proxy adds the platform's internal key, which is needed to report usage if the stack
has ``RequireServiceKey``.
"""

from __future__ import annotations

import json
import logging
import os
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Annotated

from fastapi import Depends, FastAPI, Header, Request
from fastapi.responses import JSONResponse, StreamingResponse
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
from examples.chat_proxy import model

HEARTBEAT_SECONDS = float(os.environ.get("HEARTBEAT_SECONDS", "10"))

logger = logging.getLogger(__name__)


@asynccontextmanager
async def lifespan(app: FastAPI) -> AsyncIterator[None]:
    """Keep one client for all requests; closing it settles what is still open."""
    url, key = os.environ["ACCOUNTING_URL"], os.environ.get("ACCOUNTING_SERVICE_KEY")
    async with AsyncAccountingClient(url, service_key=key) as accounting:
        app.state.accounting = accounting
        yield


app = FastAPI(title="Chat proxy", lifespan=lifespan)


class Question(BaseModel):
    """A question for the model."""

    prompt: str = Field(min_length=1, max_length=10_000)
    max_tokens: int = Field(default=200, ge=1, le=4_000)


def credential(authorization: Annotated[str, Header()] = "") -> str | ApiKey:
    """Return the caller's token or API key, to send it on. Raises Unauthorized for anything else."""
    found = re.fullmatch(r"(Bearer|ApiKey) +([!-~]+)", authorization, re.IGNORECASE)
    if found is None:
        raise Unauthorized("Send `Authorization: Bearer <token>` or `ApiKey <key>`", "TOKEN_REQUIRED", 401)
    scheme, text = found.groups()
    return ApiKey(text) if scheme.lower() == "apikey" else text


@app.post("/chat")
async def chat(
    question: Question, request: Request, token: Annotated[str | ApiKey, Depends(credential)]
) -> StreamingResponse:
    """Stream an answer as server-sent events: ``{"text": …}``, then ``{"usage": …}`` or ``{"error": …}`` at the end."""
    accounting: AsyncAccountingClient = request.app.state.accounting
    caller = accounting.with_token(token)
    estimated = model.estimate(question.prompt, question.max_tokens)
    # Entered here and not in the stream, so that a user with too few credits gets a 402 and no stream.
    accounted = AsyncExitStack()
    session = await accounted.enter_async_context(
        caller.streaming_session(model.NAME, estimated_usage=estimated, heartbeat_seconds=HEARTBEAT_SECONDS)
    )

    async def answer() -> AsyncIterator[str]:
        try:
            async with accounted:  # settled at the end of the stream; aborted after an error, or if the caller has gone
                async for chunk in model.stream(question.prompt, question.max_tokens):
                    if chunk.usage:
                        session.set_usage(chunk.usage, "anthropic")
                    else:
                        session.add_tokens(1)  # a word is about a token, until the model says how many it took
                        yield _event({"text": chunk.text})
                yield _event({"usage": session.usage, "sessionId": session.session_id})
        except AccountingError as error:  # the hold can't be raised any more, or somebody has ended the session
            told = _public(error)
            yield _event({"error": told.code, "message": told.message})

    # Settles a session whose stream never began, because the caller had gone before the first word.
    return StreamingResponse(answer(), media_type="text/event-stream", background=BackgroundTask(accounted.aclose))


@app.exception_handler(AccountingError)
async def refused(_request: Request, error: AccountingError) -> JSONResponse:
    """Answer as the service did: 402 with what is missing, 401 for a token that has expired."""
    told = _public(error)
    content = {"message": told.message, "code": told.code, "details": told.details}
    return JSONResponse(content, status_code=told.status or 503)


def _public(error: AccountingError) -> AccountingError:
    """Return what the caller may know: the service's own refusal, but no details of network errors."""
    if error.status is not None and not isinstance(error, UnexpectedAnswer):
        return error
    logger.error("the accounting service gave no answer", exc_info=error)
    return Unavailable("Accounting is not available just now", "UNAVAILABLE", 503)


def _event(data: dict[str, object]) -> str:
    return f"data: {json.dumps(data)}\n\n"
