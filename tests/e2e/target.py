"""A user for tests that send bad input. Requests with bad input must not change anything that this user has."""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.bad_input import SINCE
from tests.e2e.books import items_of, items_under
from tests.e2e.client import Person, new_id

if TYPE_CHECKING:
    from collections.abc import Iterator

    import httpx

    from local.stack import Stack
    from tests.e2e.books import Item
    from tests.e2e.conftest import People


@dataclass(frozen=True)
class Target(Person):
    """An administrator who has one of each thing that a request can name, and may send every request."""

    internal_key: str
    names: dict[str, str]
    """The id that replaces each placeholder in routes and bodies."""

    def call(self, method: str, path: str, body: Any = None, **options: Any) -> httpx.Response:
        for name, value in self.names.items():
            path = path.replace(name, value)
        headers = {"X-Internal-Api-Key": self.internal_key, **options.pop("headers", {})}
        return super().call(method, path, body, headers=headers, **options)


@pytest.fixture(scope="module")
def person(service: Stack, people: People) -> Target:
    admin, model = people("admin", credits=1000), new_id("model")
    rule = {"modelId": model, "pricePerThousandTokens": 1, "effectiveFrom": SINCE}
    admin.ok("POST", "pricing", rule)
    organization = admin.ok("POST", "organizations", {"name": "Acme", "ownerId": admin.id})
    account = organization["accountId"]
    admin.ok("PUT", f"budgets/{account}/members", {"limitCredits": 9, "window": "week"})
    names = {
        "{self}": admin.id,
        "{session}": admin.open(10_000),
        "{key}": admin.ok("POST", "api-keys", {"name": "a key"})["id"],
        "{model}": model,
        "{service}": admin.ok("POST", "service-credentials", {"name": "a service", "rights": ["read"]})["id"],
        "{other}": people().id,
        "{organization}": organization["organizationId"],
        "{account}": account,
        "{run}": admin.ok("POST", "runs", {"runId": "a-run", "limitCredits": 9, "accountId": account})["runId"],
    }
    return Target(admin.http, admin.id, admin.token, service.internal_api_key, names)


@contextmanager
def nothing_moves(service: Stack, person: Target) -> Iterator[None]:
    """Assert that the block changes nothing that the table stores about the person."""
    before = _everything(service, person)
    yield
    assert _everything(service, person) == before


def _everything(service: Stack, person: Target) -> list[list[Item]]:
    things = (
        *(("KEY", "{key}"), ("PRICE", "{model}"), ("SERVICE", "{service}")),
        *(("ORG", "{organization}"), ("ACCOUNT", "{account}")),
    )
    run = f"RUN#{person.names['{account}']}#{person.names['{run}']}"
    partitions = (f"EMAIL#{person.email}", run, *(f"{kind}#{person.names[name]}" for kind, name in things))
    return [items_of(service, person.id), *(items_under(service, pk) for pk in (*partitions, "EMAIL#new@example.com"))]
