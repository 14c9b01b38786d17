"""A deployed service, a server in place of the model providers, and a LiteLLM proxy with the client's callback."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from client.tests.providers import Provider
from local import litellm
from tests.e2e.client import new_service
from tests.e2e.conftest import admin, answers, http, key_server, people, service, token
from tests.gateways.litellm_proxy import Proxy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.stack import Stack
    from tests.e2e.client import Person

__all__ = ["admin", "answers", "http", "key_server", "people", "service", "token"]


@pytest.fixture(scope="session")
def provider() -> Iterator[Provider]:
    """Return a server that answers as OpenAI and Anthropic do."""
    with Provider.running() as running:
        yield running


@pytest.fixture(scope="session")
def credential(admin: Person) -> str:
    """Return a service credential for the proxy."""
    return new_service(admin, "sessions", "usage", "read", "users:sync")


@pytest.fixture(scope="session")
def proxy(
    service: Stack, provider: Provider, credential: str, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Proxy]:
    """Return the LiteLLM proxy that most tests share. Tests that kill a proxy start their own."""
    litellm.install()
    with Proxy.running(tmp_path_factory.mktemp("litellm"), service.base_url, credential, provider) as running:
        yield running
