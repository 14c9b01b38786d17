"""The users in `make demo`, whose calls are printed with their statuses."""

from __future__ import annotations

import json
import time
import uuid
from typing import Any

import httpx

from local.steps import Refused
from local.uuid7 import uuid7


class Caller:
    """Calls the service as one user, and shows each call and its status."""

    def __init__(self, http: httpx.Client, sub: str, token: str) -> None:
        self.sub = sub
        self._http = http
        self._headers = {"Authorization": f"Bearer {token}"}

    def call(self, method: str, path: str, body: dict[str, Any] | None = None, expect: int = 200) -> Any:
        """Return the answer's JSON. Raises Refused if the status is not ``expect``."""
        answer = self._http.request(method, path, json=body, headers=self._headers)
        sent = f"  {json.dumps(body)}" if body else ""
        print(f"    {method} {path}{sent}\n      → {answer.status_code}", end="  ")
        if answer.status_code != expect:
            raise Refused(f"{method} {path} answered {answer.status_code}, not {expect}: {answer.text}")
        return answer.json()

    def with_key(self, key: str) -> Caller:
        """Return a caller that sends the same user's API key instead of the token."""
        caller = Caller(self._http, self.sub, "")
        caller._headers = {"Authorization": f"ApiKey {key}"}
        return caller

    def get(self, path: str) -> Any:
        return self.call("GET", path)

    def post(self, path: str, body: dict[str, Any], expect: int = 200) -> Any:
        return self.call("POST", path, body, expect)


def new_session_id() -> str:
    return uuid7(time.time_ns() // 1_000_000)


def new_id() -> str:
    return f"demo-{uuid.uuid4().hex[:12]}"


def title(text: str) -> None:
    print(f"\n{text}\n")
