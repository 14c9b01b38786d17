"""Runs a LiteLLM proxy in front of a provider. The callback of `accounting_client` accounts for every call."""

from __future__ import annotations

import json
import secrets
import subprocess
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import httpx

from local import litellm
from tests.documentation.project import free_port
from tests.e2e.client import PLAIN

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from client.tests.providers import Provider

PATIENCE_SECONDS = 120
CONFIG = """
model_list:
  - model_name: chat
    litellm_params: {model: openai/gpt-4o-mini, api_base: "%(base_url)s", api_key: none, max_retries: 0}
  - model_name: claude
    litellm_params: {model: anthropic/claude-3-haiku-20240307, api_base: "%(origin)s", api_key: none, max_retries: 0}
  - model_name: flaky
    litellm_params: {model: openai/gpt-4o-mini, api_base: "http://127.0.0.1:1/v1", api_key: none, max_retries: 0}
  - model_name: limited
    litellm_params: {model: openai/gpt-4o-mini, api_base: "%(base_url)s", api_key: none, max_retries: 0}
router_settings:
  num_retries: 0
  fallbacks: [{flaky: [chat]}, {limited: [chat]}]
litellm_settings:
  callbacks: %(callback)s
general_settings:
  master_key: sk-%(master_key)s
  custom_auth: keys.read
"""
KEYS = """
import json
from litellm.proxy._types import UserAPIKeyAuth

async def read(request, api_key):
    # a test's key is "sk-" and a JSON object in hex: the fields that the proxy's database would have stored for the key
    return UserAPIKeyAuth(api_key=api_key, **json.loads(bytes.fromhex(api_key.removeprefix("sk-"))))
"""
"""A module that replaces the proxy's database of API keys."""


@dataclass(frozen=True)
class Proxy:
    url: str
    process: subprocess.Popen[bytes]
    log: Path

    @classmethod
    @contextmanager
    def running(
        cls,
        folder: Path,
        accounting_url: str,
        credential: str,
        provider: Provider,
        callback: str = "accounting_client.litellm.accounting",
        **environ: str,
    ) -> Iterator[Proxy]:
        """Run a proxy during the ``with`` block. The proxy can import modules that are in ``folder``."""
        names = {"base_url": provider.base_url, "origin": provider.origin, "callback": callback}
        names["master_key"] = secrets.token_hex(16)
        (folder / "config.yaml").write_text(CONFIG % names)
        (folder / "keys.py").write_text(KEYS)
        port, log = free_port(), folder / "log"
        environment = litellm.environ(ACCOUNTING_URL=accounting_url, ACCOUNTING_SERVICE=credential, **environ)
        with log.open("ab") as output:
            process = subprocess.Popen(
                litellm.command(folder / "config.yaml", port),
                env=environment,
                cwd=folder,
                stdout=output,
                stderr=output,
                start_new_session=True,
            )
        proxy = cls(f"http://127.0.0.1:{port}", process, log)
        try:
            proxy._wait_until_it_answers()
            yield proxy
        finally:
            process.terminate()
            process.wait(PATIENCE_SECONDS)

    @contextmanager
    def ask(self, path: str, body: dict[str, Any], **key: Any) -> Iterator[httpx.Response]:
        """Send a request with an API key that has the fields ``key``, such as ``user_id``. Yield the unread answer."""
        headers = {"Authorization": f"Bearer sk-{json.dumps(key).encode().hex()}"}
        with (
            httpx.Client(trust_env=False, verify=PLAIN, timeout=PATIENCE_SECONDS) as http,
            http.stream("POST", f"{self.url}{path}", json=body, headers=headers) as answer,
        ):
            yield answer

    def answer(self, path: str, body: dict[str, Any], **key: Any) -> httpx.Response:
        """Send a request and read the whole answer."""
        with self.ask(path, body, **key) as answer:
            answer.read()
        return answer

    def _wait_until_it_answers(self) -> None:
        deadline = time.monotonic() + PATIENCE_SECONDS
        with httpx.Client(trust_env=False, verify=PLAIN) as http:
            while True:
                assert self.process.poll() is None, self.log.read_text()[-5000:]
                assert time.monotonic() < deadline, self.log.read_text()[-5000:]
                try:
                    if http.get(f"{self.url}/health/liveliness").is_success:
                        return
                except httpx.TransportError:
                    time.sleep(0.2)


def chat(model: str = "chat", **more: Any) -> dict[str, Any]:
    """A request for a chat completion."""
    return {"model": model, "messages": [{"role": "user", "content": "Why is the sky blue?"}], **more}


def texts(answer: httpx.Response) -> Iterator[str]:
    """Yield the texts of a streamed chat completion as they arrive. Raises AssertionError if one is an error."""
    for line in answer.iter_lines():
        if line.startswith("data: ") and line != "data: [DONE]":
            event = json.loads(line.removeprefix("data: "))
            assert "error" not in event, event
            for choice in event["choices"]:
                if text := choice["delta"].get("content"):
                    yield text
