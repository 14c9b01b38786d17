"""The service that `make run` started on this machine, for the examples that use it."""

from __future__ import annotations

import json
import os
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accounting_client import AccountingClient
from local import tokens
from local.paths import STACK_JSON
from local.steps import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

USER = "demo-user"
"""The user to whom `make run` grants credits."""


@dataclass(frozen=True)
class LocalService:
    """The address and the keys of the running service."""

    url: str
    service_key: str
    jwt_secret: str

    @classmethod
    def running(cls) -> LocalService:
        """Return the running service. Raises Refused if no service is running."""
        if not STACK_JSON.exists():
            raise Refused("the service is not running: start it with `make run`, then repeat this in a second terminal")
        os.environ["no_proxy"] = "*"  # the service is on this machine
        stack = json.loads(STACK_JSON.read_text())
        return cls(stack["baseUrl"], stack["internalApiKey"], stack["jwtSecret"])

    def token(self, user: str = USER, role: str = "user") -> str:
        return tokens.mint(self.jwt_secret, user, role)

    @contextmanager
    def credential(self, name: str, *rights: str) -> Iterator[str]:
        """Make a service credential, and delete it at the end of the block."""
        with AccountingClient(self.url, self.token("demo-admin", "admin")) as admin:
            made = admin.create_service_credential(name, list(rights))
            try:
                yield str(made.credential)
            finally:
                admin.delete_service_credential(made.id)
