"""Which calls of a LiteLLM proxy cost no credits. Stand-ins replace LiteLLM and FastAPI."""

from __future__ import annotations

import asyncio
import sys
from importlib import import_module
from types import ModuleType
from typing import Any

import httpx
import pytest

from accounting_client import AsyncAccountingClient
from accounting_client.litellm_requests import FREE_CALLS
from client.tests.conftest import BASE_URL
from client.tests.played import Played


class Refused(Exception):
    """A stand-in for FastAPI's HTTPException."""

    def __init__(self, status: int, detail: dict[str, Any]) -> None:
        super().__init__(status, detail["error"]["code"])


class _Logger:
    """A stand-in for LiteLLM's CustomLogger."""


@pytest.fixture
def callbacks(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """Import ``accounting_client.litellm`` while the stand-ins replace LiteLLM and FastAPI."""
    stand_ins: dict[str, dict[str, Any]] = {
        "fastapi": {"HTTPException": Refused},
        "litellm": {},
        "litellm.integrations": {},
        "litellm.integrations.custom_logger": {"CustomLogger": _Logger},
    }
    for name, content in stand_ins.items():
        module = ModuleType(name)
        vars(module).update(content)
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.delitem(sys.modules, "accounting_client.litellm", raising=False)
    module = import_module("accounting_client.litellm")
    monkeypatch.delitem(sys.modules, "accounting_client.litellm")
    return module


def call(callbacks: ModuleType, call_type: str, **settings: Any) -> dict[str, Any]:
    """Pass a call to the callback. Return what the proxy would send to the model. Assert that nothing is held."""

    async def run() -> dict[str, Any]:
        service = Played()
        async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
            client = AsyncAccountingClient(BASE_URL, "jwt", http=http)
            accounting = callbacks.AccountingCallback(client, **settings)
            sent: dict[str, Any] = {"input": "Why?", "metadata": {callbacks.SESSION: "chosen by the caller"}}
            passed: dict[str, Any] = await accounting.async_pre_call_hook(object(), None, sent, call_type)
            assert service.requests == []
            return passed

    return asyncio.run(run())


@pytest.mark.parametrize("call_type", sorted(FREE_CALLS))
def test_free_calls_pass_without_a_hold(callbacks: ModuleType, call_type: str) -> None:
    assert call(callbacks, call_type) == {"input": "Why?", "metadata": {}}


def test_a_list_of_free_calls_replaces_the_default(callbacks: ModuleType) -> None:
    free = ["image_generation"]

    assert call(callbacks, "image_generation", free_calls=free) == {"input": "Why?", "metadata": {}}
    with pytest.raises(Refused, match=r"403, 'CALL_NOT_ACCOUNTED'"):
        call(callbacks, "moderation", free_calls=free)
    with pytest.raises(Refused, match=r"403, 'CALL_NOT_ACCOUNTED'"):
        call(callbacks, "image_generation")
