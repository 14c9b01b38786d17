"""The whole service on its own local AWS, started once for all end-to-end tests."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Protocol

import httpx
import pytest

from local import stack, tokens
from tests import providers
from tests.e2e.client import Person, new_id, with_key

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.stack import Stack
    from tests.providers import KeyServer

# A burst of calls starts many workers of a function, and each start takes a second or two of processor time.
PATIENCE_SECONDS = 120
ORIGIN = "https://app.example.com"
"""The origin whose pages may call the tested service."""


type Answers = set[tuple[str, str, int, str]]


class Mint(Protocol):
    """Makes a token for `sub`; see local.tokens.mint for the claims."""

    def __call__(self, sub: str, role: str = "user", **claims: Any) -> str: ...


class People(Protocol):
    """Creates a user, and grants them ``credits``. ``claims`` are for their token, as in Mint."""

    def __call__(self, role: str = "user", credits: int = 0, **claims: Any) -> Person: ...


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run ``test_contract.py`` last, because it checks the answers that all other tests got."""
    items.sort(key=lambda item: item.nodeid.startswith("tests/e2e/test_contract.py"))


@pytest.fixture(scope="session")
def key_server() -> Iterator[KeyServer]:
    """Run the server with the keys of the identity providers that the service accepts."""
    with providers.key_server() as running:
        yield running


@pytest.fixture(scope="session")
def service(key_server: KeyServer) -> Iterator[Stack]:
    """Deploy a service. Each folder whose `conftest.py` imports this fixture gets a service of its own."""
    document = json.dumps([providers.issuer(name, key_server) for name in ("one", "two", "huge", "nonsense")])
    with stack.start(issuers=document, CorsAllowOrigin=ORIGIN) as running:
        yield running


@pytest.fixture(scope="session")
def token(service: Stack) -> Mint:
    def mint(sub: str, role: str = "user", **claims: Any) -> str:
        return tokens.mint(service.jwt_secret, sub, role, **claims)

    return mint


@pytest.fixture(scope="session")
def answers() -> Answers:
    """Return the set of all answers so far: method, path after the stage, status, and error code or an empty text."""
    return set()


@pytest.fixture(scope="session")
def http(service: Stack, answers: Answers) -> Iterator[httpx.Client]:
    """Return an HTTP client for the service. Many threads can share the client."""
    stage = httpx.URL(service.base_url).path

    def note(response: httpx.Response) -> None:
        path = response.request.url.path.removeprefix(stage)
        code = ""
        if response.is_error and response.request.method != "HEAD":
            response.read()
            code = response.json().get("code", "")
        answers.add((response.request.method, path, response.status_code, code))

    with httpx.Client(
        base_url=service.base_url,
        timeout=PATIENCE_SECONDS,
        limits=httpx.Limits(max_connections=None),
        trust_env=False,
        event_hooks={"response": [note]},
    ) as client:
        yield client


@pytest.fixture(scope="session")
def admin(http: httpx.Client, token: Mint) -> Person:
    return Person(http, "boss", token("boss", "admin"))


@pytest.fixture(scope="session")
def people(http: httpx.Client, token: Mint, admin: Person) -> People:
    def make(role: str = "user", credits: int = 0, **claims: Any) -> Person:
        user_id = new_id(role)
        person = Person(http, user_id, token(user_id, role, **claims))
        person.balance()
        if credits:
            admin.ok("POST", "credits/allocate", {"userId": user_id, "credits": credits})
        return person

    return make


@pytest.fixture(scope="session", autouse=True)
def revoked_key(http: httpx.Client, people: People) -> str:
    """Return an API key that was used once and then revoked, before all tests.

    The functions cache a key for up to 30 seconds. They forget this key while other tests run, so no test has to wait.
    """
    owner = people(credits=5)
    made = owner.ok("POST", "api-keys", {"name": "ci", "permissions": ["credits:read"]})
    assert with_key(http, "GET", "credits/balance", made["key"]).is_success
    owner.ok("POST", f"api-keys/{made['id']}/revoke")
    return str(made["key"])
