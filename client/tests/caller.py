"""Makes accounted calls in child processes that tests kill: `python caller.py`.

An accounted call is a call of a provider's SDK whose usage the accounting client charges. For each line of its input,
this program forks a child. The program prints the child's process id, and "ended" after the child has ended. A line is
a JSON object of one of two kinds:

- The arguments of `make_calls`. The child makes calls until it is killed, and prints the session id of each call whose
  answer it has read, or whose stream it has left. With ``is_last``, the child makes no calls. It waits until no
  settlement is left in the outbox, and ends.
- The Python source of a ``program``, its ``args``, and a file for its ``stderr``. The child runs the program, and then
  the exit handlers. Children that make calls run no exit handlers.

The SDKs are imported and warmed up once, before the first fork.
"""

from __future__ import annotations

import asyncio
import json
import os
import random
import sys
import time
import traceback
from typing import Any
from uuid import uuid4

import anthropic
import anthropic.resources.messages
import openai
import openai.resources.chat
import openai.resources.responses

from accounting_client import AccountingClient, AsyncAccountingClient, ServiceCredential
from accounting_client.anthropic import accounted as anthropic_accounted
from accounting_client.openai import accounted
from client.tests.providers import Provider
from client.tests.worker import RETRIES, has_unsent, print_line

ACTS = ("whole", "read", "leave")
"""Get an answer in one piece, read a stream to its end, or leave a stream after its first part."""
APIS = ("chat", "responses", "messages")
HELLO = [{"role": "user", "content": "hello"}]


def clients(accounting: Any, origin: str) -> dict[str, Any]:
    """An accounted client for each API."""
    is_async = isinstance(accounting, AsyncAccountingClient)
    make: Any = openai.AsyncOpenAI if is_async else openai.OpenAI
    make_anthropic: Any = anthropic.AsyncAnthropic if is_async else anthropic.Anthropic
    options: Any = {"user": "ann", "settle_seconds": 0.05 if accounting.background.backlog.outbox else 2.0}
    chat = accounted(make(api_key="k", base_url=f"{origin}/v1", max_retries=0), accounting, **options)
    messages = anthropic_accounted(make_anthropic(api_key="k", base_url=origin, max_retries=0), accounting, **options)
    return {"chat": chat, "responses": chat, "messages": messages}


def next_call(sdks: dict[str, Any]) -> tuple[str, str, Any]:
    """Make a random call. Return its act, its session id, and the answer (of an async client, a coroutine).

    The provider gets the session id as the name of the model.
    """
    api, act = random.choice(APIS), random.choice(ACTS)
    session_id = f"{act}-{api}-{uuid4()}"
    client = sdks[api].with_accounting(session_id=session_id)
    request: dict[str, Any] = {"model": session_id, "stream": act != "whole"}
    if api == "chat":
        return act, session_id, client.chat.completions.create(**request, messages=HELLO, max_tokens=50)
    if api == "responses":
        return act, session_id, client.responses.create(**request, input="hello", max_output_tokens=50)
    return act, session_id, client.messages.create(**request, messages=HELLO, max_tokens=50)


def run(url: str, origin: str, file: str | None, *, is_last: bool) -> None:
    with AccountingClient(url, ServiceCredential("svc_01_secret"), retries=RETRIES, outbox=file) as accounting:
        sdks = clients(accounting, origin)
        while is_last and file and has_unsent(file):
            time.sleep(0.05)
        while not is_last:
            act, session_id, answer = next_call(sdks)
            if act == "read":
                list(answer)
            elif act == "leave":
                next(answer)
                answer.close()
            print_line(session_id)


async def arun(url: str, origin: str, file: str | None, *, is_last: bool) -> None:
    credential = ServiceCredential("svc_01_secret")
    async with AsyncAccountingClient(url, credential, retries=RETRIES, outbox=file) as accounting:
        sdks = clients(accounting, origin)
        while is_last and file and has_unsent(file):
            await asyncio.sleep(0.05)
        while not is_last:
            act, session_id, asked = next_call(sdks)
            answer = await asked
            if act == "read":
                [part async for part in answer]
            elif act == "leave":
                await anext(answer)
                await answer.close()
            print_line(session_id)


def make_calls(kind: str, url: str, origin: str, file: str | None, *, is_last: bool) -> None:
    random.seed()
    if kind == "sync":
        run(url, origin, file, is_last=is_last)
    else:
        asyncio.run(arun(url, origin, file, is_last=is_last))


def warm_up() -> None:
    """Stream once from each API, because the SDKs build their pydantic classes when they first read an answer."""
    chat: Any = {"model": "m", "messages": HELLO, "max_tokens": 50, "stream": True}
    with (
        Provider.running() as provider,
        openai.OpenAI(api_key="k", base_url=provider.base_url) as ours,
        anthropic.Anthropic(api_key="k", base_url=provider.origin) as theirs,
    ):
        list(ours.chat.completions.create(**chat))
        list(ours.responses.create(model="m", input="hello", stream=True))
        list(theirs.messages.create(**chat))


def main() -> None:
    warm_up()
    for line in sys.stdin:
        if child := os.fork():
            print_line(f"pid {child}")
            os.waitpid(child, 0)
            print_line("ended")
            continue
        order = json.loads(line)
        if "program" in order:
            os.dup2(os.open(order["stderr"], os.O_WRONLY | os.O_CREAT), 2)
            sys.argv[1:] = order["args"]
            exec(order["program"], {"__name__": "__main__"})
            return
        try:
            make_calls(**order)
        except BaseException:
            traceback.print_exc()
        os._exit(0)


if __name__ == "__main__":
    main()
