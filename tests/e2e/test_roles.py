"""Which routes a user in each role, an API key and a service may call, about oneself and about another user."""

from __future__ import annotations

import time
from contextlib import contextmanager
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.e2e.books import items_of
from tests.e2e.client import (
    MODEL,
    Person,
    as_service,
    assert_refused,
    described,
    new_id,
    new_service,
    with_key,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People

SINCE = "2026-01-01T00:00:00.000Z"
LATER = "2099-01-01T00:00:00.000Z"
ROLES = ("user", "supervisor", "admin")
ADMIN, SUPERVISOR = "Admin access required", "Supervisor access required"
NO_KEY = "API key not found"
NO_ACCOUNT = "Account not found"
NOT_FOUND_CODES = {NO_KEY: "API_KEY_NOT_FOUND", NO_ACCOUNT: "ACCOUNT_NOT_FOUND"}
NOT_MEMBERS = {"user": NO_ACCOUNT, "supervisor": NO_ACCOUNT, "admin": None}
REFUSALS = {
    "anybody": dict.fromkeys(ROLES),
    "supervisors": {"user": SUPERVISOR, "supervisor": None, "admin": None},
    "administrators": {"user": ADMIN, "supervisor": ADMIN, "admin": None},
    "administrators; others get 404": {"user": NO_KEY, "supervisor": NO_KEY, "admin": None},
    "members": NOT_MEMBERS,
    "managers": NOT_MEMBERS,
    "managers and oneself": NOT_MEMBERS,
    "users of the account": NOT_MEMBERS,
    "supervisors, and the managers of an organization": {"user": SUPERVISOR, "supervisor": None, "admin": None},
}
"""For each group of callers, the message that refuses a role, or None if the role is served. No caller is a member of
the organization in a path; ``test_organization_roles`` tests members."""


class Route(NamedTuple):
    """A route, and the status of its answer if it serves the caller.

    ``oneself`` names the group of callers who may call the route about themselves. ``others`` names the group who may
    call the route about another user.
    """

    method: str
    path: str
    body: dict[str, Any] | None
    status: int
    oneself: str
    others: str | None = None


class Things(NamedTuple):
    """Ids for paths and bodies, and functions that make something new and return its id.

    ``model`` has a price. ``other`` is a user to disable and erase. ``organization`` also returns the id of a member.
    ``shared`` is for requests that are refused. They change nothing, so all of them use the same things.
    """

    model: str
    other: str
    future_model: Callable[[], str]
    credential: Callable[[], str]
    organization: Callable[[], tuple[str, str]]
    shared: Things | None = None

    def for_requests(self, *, refused: bool) -> Things:
        return self.shared if refused and self.shared else self


BUDGET = "budgets/{account}/{subject}"
OF_ACCOUNTS = "users of the account"
SPENDERS = "supervisors, and the managers of an organization"
PREVIEWED = {"modelId": MODEL, "estimatedTokens": 1}
ROUTES = [
    Route("GET", "credits/balance", None, 200, "anybody"),
    Route("GET", "credits/balance/{user}", None, 200, "supervisors", "supervisors"),
    Route("POST", "credits/check", {"requiredCredits": 1}, 200, "anybody"),
    Route("POST", "credits/calculate", {"modelId": MODEL, "tokens": 1}, 200, "anybody"),
    Route("POST", "credits/allocate", {"userId": "{user}", "credits": 1}, 201, "supervisors", "supervisors"),
    Route("POST", "credits/set", {"userId": "{user}", "credits": 60}, 200, "supervisors", "supervisors"),
    Route("DELETE", "credits/remove", {"userId": "{user}", "credits": 1}, 200, "supervisors", "supervisors"),
    Route("DELETE", "credits/remove?userId={user}&credits=1", None, 200, "supervisors", "supervisors"),
    Route("PUT", "credits/adjust", {"userId": "{user}", "adjustment": 1}, 200, "supervisors", "supervisors"),
    Route("GET", "credits/allocations", None, 200, "anybody"),
    Route("GET", "credits/allocations/{user}", None, 200, "anybody", "administrators"),
    Route("GET", "credits/ledger", None, 200, "anybody"),
    Route("GET", "credits/ledger/{user}", None, 200, "supervisors", "supervisors"),
    Route("GET", "credits/audit/{user}", None, 200, "administrators", "administrators"),
    Route("GET", "credits/outstanding", None, 200, "administrators"),
    Route(
        "POST",
        "streaming-sessions/initialize",
        {"sessionId": "{new}", "modelId": MODEL, "estimatedTokens": 1},
        201,
        "anybody",
    ),
    Route("POST", "streaming-sessions/preview", PREVIEWED | {"userId": "{user}"}, 200, "anybody", SPENDERS),
    Route("POST", "streaming-sessions/heartbeat", {"sessionId": "{open}", "tokensGenerated": 1}, 200, "anybody"),
    Route("POST", "streaming-sessions/finalize", {"sessionId": "{open}", "actualTokens": 1}, 200, "anybody"),
    Route("POST", "streaming-sessions/abort", {"sessionId": "{open}"}, 200, "anybody"),
    Route("POST", "streaming-sessions/{user}/{theirs}/end", {"reason": "stuck"}, 200, "supervisors", "supervisors"),
    Route("GET", "streaming-sessions/active", None, 200, "anybody"),
    Route("GET", "streaming-sessions/active/{user}", None, 200, "anybody", "supervisors"),
    Route("GET", "streaming-sessions/active/all", None, 200, "administrators"),
    Route("GET", "streaming-sessions/recent", None, 200, "supervisors"),
    Route("GET", "streaming-sessions/recent/{user}", None, 200, "supervisors", "supervisors"),
    Route(
        "POST",
        "usage/record",
        {"service": "images", "operation": "render", "credits": 1, "deduct": True},
        201,
        "anybody",
    ),
    Route("PUT", BUDGET, {"limitCredits": 10**6, "window": "month"}, 200, "anybody", OF_ACCOUNTS),
    Route("GET", "budgets/{account}", None, 200, "anybody", OF_ACCOUNTS),
    Route("DELETE", BUDGET, None, 200, "anybody", OF_ACCOUNTS),
    Route("POST", "runs", {"runId": "{new}", "limitCredits": 5}, 201, "anybody"),
    Route("GET", "runs/{account}/{run}", None, 200, "anybody", OF_ACCOUNTS),
    Route("POST", "runs/{account}/{run}/stop", None, 200, "anybody", OF_ACCOUNTS),
    Route("GET", "usage/stats", None, 200, "anybody"),
    Route("GET", "usage/stats/{user}", None, 200, "anybody", "supervisors"),
    Route("GET", "usage/system-stats", None, 200, "administrators"),
    Route("GET", "usage/system", None, 200, "administrators"),
    Route("GET", "users/me", None, 200, "anybody"),
    Route("GET", "users/{user}", None, 200, "anybody", "administrators"),
    Route("GET", "users", None, 200, "administrators"),
    Route("POST", "users/{other}/disable", {"reason": "left"}, 200, "administrators"),
    Route("POST", "users/{other}/enable", None, 200, "administrators"),
    Route("POST", "users/{other}/erase", None, 202, "administrators"),
    Route("POST", "api-keys", {"name": "a key"}, 201, "anybody"),
    Route("GET", "api-keys", None, 200, "anybody"),
    Route("GET", "api-keys?userId={user}", None, 200, "anybody", "administrators"),
    Route("GET", "pricing", None, 200, "anybody"),
    Route("PUT", "api-keys/{key}", {"name": "another name"}, 200, "anybody"),
    Route("POST", "api-keys/{key}/revoke", None, 200, "anybody", "administrators; others get 404"),
    Route("DELETE", "api-keys/{key}", None, 200, "anybody", "administrators; others get 404"),
    Route("POST", "organizations", {"name": "Acme", "ownerId": "{user}"}, 201, "administrators"),
    Route("GET", "organizations", None, 200, "anybody"),
    Route("GET", "organizations/{organization}", None, 200, "members"),
    Route("PUT", "organizations/{organization}", {"name": "Acme Labs"}, 200, "managers"),
    Route("POST", "organizations/{organization}/close", None, 200, "administrators"),
    Route("GET", "organizations/{organization}/members", None, 200, "members"),
    Route(
        "PUT",
        "organizations/{organization}/members/{member}",
        {"role": "admin"},
        200,
        "managers",
    ),
    Route("DELETE", "organizations/{organization}/members/{member}", None, 200, "managers and oneself"),
    Route("POST", "service-credentials", {"name": "a service", "rights": ["read"]}, 201, "administrators"),
    Route("GET", "service-credentials", None, 200, "administrators"),
    Route("PUT", "service-credentials/{credential}", {"name": "another name"}, 200, "administrators"),
    Route("POST", "service-credentials/{credential}/rotate", None, 200, "administrators"),
    Route("DELETE", "service-credentials/{credential}", None, 200, "administrators"),
    Route("GET", "pricing/{model}", None, 200, "anybody"),
    Route("POST", "pricing", {"modelId": "{new}", "pricePerThousandTokens": 1.1}, 201, "administrators"),
    Route(
        "POST",
        "pricing/import",
        {"rules": [{"modelId": "listed", "rates": {"input": 1, "output": "2.5"}}], "dryRun": True},
        200,
        "administrators",
    ),
    Route("PUT", "pricing/{model}/{since}", {"effectiveTo": "2026-03-01"}, 200, "administrators"),
    Route("DELETE", "pricing/{model}/{later}", None, 200, "administrators"),
]

KEYS = {
    "credits:read": [
        "GET credits/balance",
        "POST credits/check",
        "POST credits/calculate",
        "GET credits/allocations",
        "GET credits/allocations/{user}",
        "GET credits/ledger",
        "GET pricing",
        "GET pricing/{model}",
    ],
    "sessions:write": [
        "POST streaming-sessions/initialize",
        "POST streaming-sessions/preview",
        "POST streaming-sessions/heartbeat",
        "POST streaming-sessions/finalize",
        "POST streaming-sessions/abort",
        "GET streaming-sessions/active",
        "GET streaming-sessions/active/{user}",
        "POST runs",
        "GET runs/{account}/{run}",
        "POST runs/{account}/{run}/stop",
    ],
    "usage:read": ["GET usage/stats", "GET usage/stats/{user}"],
    "usage:write": ["POST usage/record"],
}
"""For each permission, the routes that an API key with it may call about its owner. All other routes are refused."""

SERVICES = {
    "read": [*KEYS["credits:read"], *KEYS["usage:read"]],
    "sessions": KEYS["sessions:write"],
    "usage": KEYS["usage:write"],
    "users:sync": [],
    "credits:grant": ["POST credits/allocate"],
}
"""For each right, the routes that a service with it may call for a user. All other routes are refused."""


def _cells(grants: dict[str, list[str]], *quick: str) -> list[Any]:
    """Return a test case for each route and each permission or right, including those in ``quick``.

    A case is marked as slow unless the permission allows the route or is in ``quick``.
    """
    return [
        pytest.param(route, name, id=f"{name}-{route.method} {route.path}", marks=() if is_quick else pytest.mark.slow)
        for route in ROUTES
        for name in dict.fromkeys((*grants, *quick))
        for is_quick in [name in quick or f"{route.method} {route.path}" in grants[name]]
    ]


SERVICE_CELLS = _cells(SERVICES, "users:sync")
KEY_CELLS = _cells({**KEYS, "unknown": []}, "all", "none")

CELLS = [
    pytest.param(route, role, about, id=f"{role}-{route.method} {route.path}-{about}")
    for route in ROUTES
    for role in ROLES
    for about in ("oneself", "somebody else")
    if about == "oneself" or route.others
]


@pytest.fixture(scope="module")
def callers(people: People) -> dict[str, Person]:
    """Return a user of each role."""
    return {role: people(role, credits=100) for role in ROLES}


@pytest.fixture(scope="module")
def somebody(people: People) -> Person:
    """Return the other user, for requests about somebody else."""
    return people(credits=100)


@pytest.fixture(scope="module")
def things(admin: Person, people: People) -> Things:
    model = new_id("model")
    admin.ok("POST", "pricing", {"modelId": model, "pricePerThousandTokens": 1, "effectiveFrom": SINCE})

    def future_model() -> str:
        """Return the id of a model whose price is in the future."""
        model = new_id("model")
        admin.ok("POST", "pricing", {"modelId": model, "pricePerThousandTokens": 1, "effectiveFrom": LATER})
        return model

    def credential() -> str:
        made: str = admin.ok("POST", "service-credentials", {"name": "a service", "rights": ["read"]})["id"]
        return made

    def organization() -> tuple[str, str]:
        """Return the ids of an organization of other people and of a member who is not its owner."""
        owner, member = people(), people()
        made: str = admin.ok("POST", "organizations", {"name": "Acme", "ownerId": owner.id})["organizationId"]
        owner.ok("PUT", f"organizations/{made}/members/{member.id}", {"role": "member"})
        return made, member.id

    other = people().id
    shared = Things(model, other, cache(future_model), cache(credential), cache(organization))
    return Things(model, other, future_model, credential, organization, shared)


@pytest.mark.parametrize(("route", "role", "about"), CELLS)
def test_a_route_serves_only_the_roles_that_it_is_for(
    service: Stack, callers: dict[str, Person], somebody: Person, things: Things, route: Route, role: str, about: str
) -> None:
    caller = callers[role]
    target = caller if about == "oneself" else somebody
    refusal = REFUSALS[route.oneself if about == "oneself" else route.others or ""][role]
    path, body = _filled_in(route, caller, target, things.for_requests(refused=bool(refusal)))

    if refusal is None:
        answer = caller.call(route.method, path, body)
        assert answer.status_code == route.status, described(answer)
        return

    with _unchanged(service, target):
        answer = caller.call(route.method, path, body)
    if refusal in NOT_FOUND_CODES:
        assert_refused(answer, 404, NOT_FOUND_CODES[refusal], refusal)
    else:
        assert assert_refused(answer, 403, "FORBIDDEN", refusal) == {}


@contextmanager
def _unchanged(service: Stack, person: Person) -> Iterator[None]:
    """Assert that the block changes nothing that the table holds about this person."""
    before = items_of(service, person.id)
    assert before
    yield
    assert items_of(service, person.id) == before


def _filled_in(route: Route, caller: Person, target: Person, things: Things) -> tuple[str, dict[str, Any] | None]:
    """Return a route's path and body, with values in place of the placeholders."""
    names = {"{user}": target.id, "{new}": new_id("session"), "{model}": things.model, "{since}": SINCE}
    names |= {"{other}": things.other, "{account}": f"user:{target.id}", "{subject}": f"member:{target.id}"}
    if route.body and "{open}" in route.body.values():
        names["{open}"] = caller.open(1)
    if "{theirs}" in route.path:
        names["{theirs}"] = target.open(1)
    if "{run}" in route.path:
        names["{run}"] = target.ok("POST", "runs", {"runId": new_id("run"), "limitCredits": 5})["runId"]
    if (route.method, route.path) == ("DELETE", BUDGET):
        # If an administrator has set the budget before, this call is refused, but the budget exists.
        target.call("PUT", f"budgets/user:{target.id}/member:{target.id}", {"limitCredits": 10**6, "window": "month"})
    if "{credential}" in route.path:
        names["{credential}"] = things.credential()
    if "{organization}" in route.path:
        names["{organization}"], names["{member}"] = things.organization()
    if "{later}" in route.path:
        names |= {"{model}": things.future_model(), "{later}": LATER}
    if "{key}" in route.path:
        names["{key}"] = target.ok("POST", "api-keys", {"name": "a key"})["id"]
    path = route.path
    for name, value in names.items():
        path = path.replace(name, value)
    body = route.body and {
        field: names.get(value, value) if isinstance(value, str) else value for field, value in route.body.items()
    }
    return path, body


@pytest.fixture(scope="module")
def keys(people: People) -> dict[str, tuple[Person, str]]:
    """Return owners and keys by permission. The owners are administrators: this must not give the keys more rights."""
    permissions = {**{name: [name] for name in KEYS}, "all": list(KEYS), "unknown": ["x:y"], "none": []}
    owners = {name: people("admin", credits=100) for name in permissions}
    return {
        name: (owner, owner.ok("POST", "api-keys", {"name": name, "permissions": permissions[name]})["key"])
        for name, owner in owners.items()
    }


@pytest.mark.parametrize(("route", "permission"), KEY_CELLS)
def test_a_key_can_call_only_what_its_permissions_allow(
    service: Stack, keys: dict[str, tuple[Person, str]], things: Things, route: Route, permission: str
) -> None:
    owner, key = keys[permission]
    permitted = KEYS.get(permission, [name for names in KEYS.values() for name in names])
    is_served = f"{route.method} {route.path}" in permitted and permission not in ("unknown", "none")
    path, body = _filled_in(route, owner, owner, things.for_requests(refused=not is_served))

    if is_served:
        answer = with_key(owner.http, route.method, path, key, body)
        assert answer.status_code == route.status, described(answer)
        return

    with _unchanged(service, owner):
        assert_refused(with_key(owner.http, route.method, path, key, body), 403, "FORBIDDEN")


@pytest.fixture(scope="module")
def services(admin: Person) -> dict[str, str]:
    """Return a service's credential for each right."""
    return {right: new_service(admin, right) for right in SERVICES}


@pytest.fixture(scope="module")
def served(people: People) -> Person:
    """Return the user for whom services act. The user is an administrator: this must not give services more rights."""
    return people("admin", credits=100)


@pytest.mark.parametrize(("route", "right"), SERVICE_CELLS)
def test_a_service_can_call_only_what_its_rights_allow(
    service: Stack, served: Person, services: dict[str, str], things: Things, route: Route, right: str
) -> None:
    is_served = f"{route.method} {route.path}" in SERVICES[right]
    path, body = _filled_in(route, served, served, things.for_requests(refused=not is_served))
    for_nobody = as_service(served.http, services[right], None)
    for_user = as_service(served.http, services[right], served.id)

    if is_served:
        assert_refused(for_nobody.call(route.method, path, body), 400, "VALIDATION_ERROR")
        answer = for_user.call(route.method, path, body)
        assert answer.status_code == route.status, described(answer)
        return

    of_services = any(f"{route.method} {route.path}" in each for each in SERVICES.values())
    with _unchanged(service, served):
        assert_refused(for_nobody.call(route.method, path, body), 400, "VALIDATION_ERROR")
        answer = for_user.call(route.method, path, body)
    assert_refused(answer, 403, "RIGHT_MISSING" if of_services else "FORBIDDEN")


def test_a_service_can_act_only_for_the_user_that_it_names(
    callers: dict[str, Person], services: dict[str, str], somebody: Person
) -> None:
    for role in ROLES:
        acting = {right: as_service(somebody.http, services[right], callers[role].id) for right in SERVICES}
        for reference in (somebody.id, somebody.email, "nobody-at-all"):
            assert_refused(acting["read"].get(f"credits/allocations/{reference}"), 403, "FORBIDDEN")
            assert_refused(acting["read"].get(f"usage/stats/{reference}"), 403, "FORBIDDEN")
            assert_refused(acting["sessions"].get(f"streaming-sessions/active/{reference}"), 403, "FORBIDDEN")
            grant = {"userId": reference, "credits": 5}
            assert_refused(acting["credits:grant"].post("credits/allocate", grant), 403, "FORBIDDEN")


@pytest.mark.parametrize(
    "path",
    ["credits/allocations/{user}", "streaming-sessions/active/{user}", "usage/stats/{user}", "users/{user}"],
)
def test_a_key_shows_nothing_about_other_users(
    keys: dict[str, tuple[Person, str]], somebody: Person, path: str
) -> None:
    owner, key = keys["all"]
    for name in (somebody.id, somebody.email, "nobody-at-all"):
        assert_refused(with_key(owner.http, "GET", path.replace("{user}", name), key), 403, "FORBIDDEN")


def test_an_email_address_missing_from_a_key_or_token_is_read_from_the_profile(
    http: httpx.Client, token: Mint, keys: dict[str, tuple[Person, str]], people: People
) -> None:
    owner, key = keys["all"]
    for path in ("credits/allocations", "streaming-sessions/active", "usage/stats"):
        for name in (owner.id, owner.email, owner.email.upper()):
            answer = with_key(http, "GET", f"{path}/{name}", key)
            assert answer.status_code == 200, described(answer)
    known = people()
    sparse = Person(http, known.id, token(known.id, email=None))
    assert sparse.ok("GET", f"users/{known.email}")["userId"] == known.id


@pytest.mark.parametrize("role", ["root", "Admin", "", None, 7, ["admin"], {"admin": True}])
def test_an_unknown_role_is_treated_as_user(http: httpx.Client, token: Mint, somebody: Person, role: Any) -> None:
    user_id = new_id("stranger")
    stranger = Person(http, user_id, token(user_id, role))

    assert_refused(stranger.get(f"credits/balance/{somebody.id}"), 403, "FORBIDDEN", SUPERVISOR)
    assert_refused(stranger.get("streaming-sessions/active/all"), 403, "FORBIDDEN", ADMIN)


def test_a_forbidden_caller_gets_403_even_if_the_request_is_invalid(
    callers: dict[str, Person],
) -> None:
    user = callers["user"]

    assert_refused(user.call("DELETE", "credits/remove?credits=1"), 403, "FORBIDDEN", SUPERVISOR)
    assert_refused(user.get("usage/stats/nobody-at-all?startDate=2026-02-01&endDate=2026-01-01"), 403, "FORBIDDEN")


def test_a_refusal_does_not_reveal_whether_a_user_exists(callers: dict[str, Person]) -> None:
    for path in ("credits/balance", "credits/allocations", "credits/ledger", "streaming-sessions/active"):
        assert_refused(callers["user"].get(f"{path}/nobody-at-all"), 403, "FORBIDDEN")


def test_a_new_role_applies_as_soon_as_a_token_has_it(
    http: httpx.Client, token: Mint, people: People, somebody: Person
) -> None:
    person = people()
    promoted = Person(http, person.id, token(person.id, "supervisor"))

    assert_refused(person.get(f"credits/balance/{somebody.id}"), 403, "FORBIDDEN", SUPERVISOR)
    assert promoted.get(f"credits/balance/{somebody.id}").status_code == 200
    assert promoted.balance()["userId"] == person.id


@pytest.mark.parametrize("ahead", [-5, 25], ids=["issued before", "issued by a clock that is ahead"])
def test_a_demotion_applies_at_once_to_older_tokens(
    service: Stack, http: httpx.Client, token: Mint, people: People, somebody: Person, ahead: int
) -> None:
    began = int(time.time())
    boss = people("admin", iat=began + ahead)
    for path in (f"credits/balance/{somebody.id}", "users"):
        assert boss.get(path).status_code == 200
    _sync(service, boss, role="user")

    for path, message in ((f"credits/balance/{somebody.id}", SUPERVISOR), ("users", ADMIN), ("pricing/x", None)):
        answer = boss.get(path)
        if message is None:
            assert answer.status_code == 200
        else:
            assert assert_refused(answer, 403, "FORBIDDEN", message) == {}
    grant = {"userId": somebody.id, "credits": 77}
    assert_refused(boss.post("credits/allocate", grant), 403, "FORBIDDEN", SUPERVISOR)
    assert_refused(boss.post("pricing", {"modelId": "m", "pricePerThousandTokens": 1}), 403, "FORBIDDEN", ADMIN)
    assert boss.balance()["userId"] == boss.id, "a demoted administrator must still be able to read their own balance"
    _sync(service, boss)
    assert_refused(boss.post("credits/allocate", grant), 403, "FORBIDDEN", SUPERVISOR)

    again = Person(http, boss.id, token(boss.id, "admin", iat=max(began + ahead, int(time.time())) + 2))
    assert again.get("users").status_code == 200, "a newer token with the role must be accepted"


def _sync(service: Stack, person: Person, **more: str) -> None:
    body = {"userId": person.id, "email": person.email, "username": person.id, **more}
    headers = {"X-Internal-Api-Key": service.internal_api_key}
    assert person.http.post("/api/users/sync", json=body, headers=headers).is_success
