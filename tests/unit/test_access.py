"""A route's declaration decides who may call it, before the handler runs."""

import json
from types import SimpleNamespace
from typing import Annotated, Any

import pytest
from aws_lambda_powertools.event_handler.openapi.params import Query

from accounting.domain.errors import Forbidden
from accounting.domain.users import User
from accounting.store import users
from accounting.store.users import ById, Reference
from accounting.web.access import (
    ADMINS,
    PLATFORM,
    SELF_OR_ADMINS,
    SUPERVISORS,
    USERS,
    Access,
    Arguments,
    Disabled,
    Who,
)
from accounting.web.api import Api
from accounting.web.caller import Caller, Permission
from accounting.web.sight import Sight
from accounting.web.types import RequestModel
from local.declarations import Declaration, apis, codes_of, declared

EXP = 4_000_000_000
SELF_OR_SUPERVISORS = Access(Who.SELF_OR_SUPERVISORS)
EVERYBODY = {"user", "supervisor", "admin"}


class Nothing(RequestModel):
    """A body without fields."""


@pytest.fixture(autouse=True)
def disabled(monkeypatch: pytest.MonkeyPatch) -> set[str]:
    """Store every user as an admin, so that no stored role lowers a token's role.

    Return the ids of the disabled users, an empty set. A test disables a user by adding an id.
    """
    ids: set[str] = set()

    def find(user_id: str) -> User:
        return User(user_id, "", "", "admin", disabled_at=1 if user_id in ids else None)

    monkeypatch.setattr(users, "find", find)
    monkeypatch.setattr(users, "is_disabled", ids.__contains__)
    return ids


class OneRoute:
    """A Lambda function with one route.

    ``served`` has, for each call that reached the handler, the caller and the subject: the user whom the call is about.
    """

    def __init__(self, access: Access, *, any_query: bool = False) -> None:
        self.api, self.served = Api(), list[tuple[str, Reference]]()

        @self.api.post("/api/things/<user_id>", access=access, any_query=any_query)
        def handler(user_id: str, note: Annotated[str, Query(alias="aNote")] = "") -> dict[str, str]:
            """Do a thing."""
            self.served.append((self.api.caller.user_id, self.api.subject))
            return {}

    def ask(
        self,
        caller: dict[str, str] | None,
        about: str = "else",
        query: dict[str, str] | None = None,
        headers: dict[str, str] | None = None,
    ) -> tuple[int, str | None]:
        context = {"stage": "v1", "path": f"/v1/api/things/{about}", "requestId": "r", "authorizer": caller}
        event: dict[str, Any] = {
            "httpMethod": "POST",
            "resource": "/api/things/{userId}",
            "path": f"/api/things/{about}",
            "pathParameters": {"userId": about},
            "queryStringParameters": query,
            "multiValueQueryStringParameters": query and {name: [value] for name, value in query.items()},
            "headers": headers or {},
            "body": None,
            "requestContext": context,
        }
        answer = self.api.resolve(event, SimpleNamespace())  # type: ignore[arg-type]
        return answer["statusCode"], json.loads(answer["body"]).get("code")


def token(role: str, user_id: str = "me") -> dict[str, str]:
    return {"userId": user_id, "role": role, "exp": str(EXP), "iat": "1", "email": f"{user_id}@example.com"}


@pytest.mark.parametrize(
    ("access", "oneself", "others"),
    [
        (USERS, EVERYBODY, EVERYBODY),
        (SUPERVISORS, {"supervisor", "admin"}, {"supervisor", "admin"}),
        (ADMINS, {"admin"}, {"admin"}),
        (SELF_OR_SUPERVISORS, EVERYBODY, {"supervisor", "admin"}),
        (SELF_OR_ADMINS, EVERYBODY, {"admin"}),
    ],
    ids=lambda value: value.who.name if isinstance(value, Access) else "",
)
def test_only_permitted_callers_reach_a_handler(access: Access, oneself: set[str], others: set[str]) -> None:
    for about, allowed in (("me", oneself), ("me@example.com", oneself), ("else", others)):
        for role in sorted(EVERYBODY):
            route = OneRoute(access)
            answered = route.ask(token(role), about)
            assert answered == ((200, None) if role in allowed else (403, "FORBIDDEN")), (about, role)
            subject = "else" if about == "else" else ById("me")
            assert route.served == ([("me", subject)] if role in allowed else [])


@pytest.mark.parametrize("access", [USERS, SUPERVISORS, ADMINS, SELF_OR_SUPERVISORS, SELF_OR_ADMINS])
def test_nobody_reaches_a_handler_without_an_identity(access: Access) -> None:
    route = OneRoute(access)

    assert route.ask(None) == route.ask({}) == (401, "TOKEN_REQUIRED")
    assert route.ask({"userId": "me", "role": "admin", "exp": "1"}) == (401, "TOKEN_EXPIRED")
    assert route.served == []


def test_a_route_of_the_platform_has_no_caller() -> None:
    api, served = Api(), []

    @api.post("/api/things/sync", access=PLATFORM)
    def handler(body: Nothing) -> dict[str, str]:
        served.append(body)
        return {"caller": api.caller.user_id}

    assert handler.__name__ == "handler"
    event = {
        "httpMethod": "POST",
        "resource": "/api/things/sync",
        "path": "/api/things/sync",
        "headers": {},
        "body": "{}",
        "requestContext": {"stage": "v1", "path": "/v1/api/things/sync", "requestId": "r"},
    }
    answer = api.resolve(event, SimpleNamespace())  # type: ignore[arg-type]
    assert (answer["statusCode"], len(served)) == (500, 1), (
        "the handler must run, and must fail when it asks for the caller"
    )


@pytest.mark.parametrize("permission", [None, "usage:read"])
def test_an_api_key_needs_the_permission_that_the_route_names(
    monkeypatch: pytest.MonkeyPatch, permission: Permission | None
) -> None:
    permissions: list[str] = []
    key = SimpleNamespace(id="k", user_id="me", permissions=permissions, account_id=None, refusal=lambda _now: None)
    monkeypatch.setattr("accounting.web.caller.api_keys.find_cached", lambda _key_id: key)
    route, caller = OneRoute(Access(Who.USERS, permission)), {"userId": "me", "apiKeyId": "k"}

    assert route.ask(caller) == (403, "FORBIDDEN")
    permissions.append("usage:read")
    assert route.ask(caller) == ((200, None) if permission else (403, "FORBIDDEN"))
    assert len(route.served) == (1 if permission else 0)


@pytest.mark.parametrize("who", [Who.USERS, Who.SUPERVISORS, Who.ADMINS, Who.SELF_OR_SUPERVISORS, Who.SELF_OR_ADMINS])
def test_a_disabled_user_is_refused_unless_the_route_says_otherwise(disabled: set[str], who: Who) -> None:
    disabled.add("me")

    for about in ("me", "else"):
        for role in sorted(EVERYBODY):
            assert OneRoute(Access(who)).ask(token(role), about) == (403, "USER_DISABLED")
    for otherwise in (Disabled.SERVED, Disabled.OPERATION_DECIDES):
        assert OneRoute(Access(Who.USERS, disabled=otherwise)).ask(token("user")) == (200, None)


def test_the_service_key_is_read_from_the_headers_of_the_request() -> None:
    def require_key(headers: Any) -> None:
        if headers.get("x-internal-api-key") != "right":
            raise Forbidden("no")

    route = OneRoute(Access(Who.USERS, service_key=require_key))

    assert route.ask(token("admin"), headers={"X-Internal-Api-Key": "wrong"}) == (403, "FORBIDDEN")
    assert route.served == []
    assert route.ask(token("user"), headers={"X-Internal-Api-Key": "right"}) == (200, None)


def test_a_route_may_derive_its_subject_from_an_id_of_another_kind() -> None:
    def owner(caller: Caller, arguments: Arguments) -> ById:
        return ById(arguments["user_id"].removeprefix("thing-of-"))

    access = Access(Who.SELF_OR_ADMINS, subject=owner)

    assert OneRoute(access).ask(token("user"), "thing-of-me") == (200, None)
    assert OneRoute(access).ask(token("user"), "thing-of-else") == (403, "FORBIDDEN")
    route = OneRoute(access)
    assert route.ask(token("admin"), "thing-of-else") == (200, None)
    assert route.served == [("me", ById("else"))]


def test_an_unknown_query_parameter_is_refused_before_the_handler_runs() -> None:
    strict, lenient = OneRoute(USERS), OneRoute(USERS, any_query=True)

    assert strict.ask(token("user"), query={"aNote": "n"}) == (200, None)
    for name in ("anote", "note", "x"):
        assert strict.ask(token("user"), query={"aNote": "n", name: "1"}) == (400, "VALIDATION_ERROR")
        assert lenient.ask(token("user"), query={"aNote": "n", name: "1"}) == (200, None)
    assert len(strict.served) == 1


def test_a_route_must_declare_its_access() -> None:
    api = Api()

    with pytest.raises(TypeError, match="access"):
        api.get("/api/things")(lambda: None)  # type: ignore[call-arg]
    with pytest.raises(TypeError, match="acess"):
        api.get("/api/things", access=USERS, acess=ADMINS)(lambda: None)  # type: ignore[call-arg]
    assert api.routes == []


def test_a_route_about_oneself_or_others_must_name_the_user() -> None:
    with pytest.raises(TypeError, match="no argument user_id"):
        Api().get("/api/things", access=SELF_OR_ADMINS)(lambda: None)


def test_the_caller_is_forgotten_after_the_request() -> None:
    route = OneRoute(SUPERVISORS)
    route.ask(token("admin", "boss"))

    with pytest.raises(KeyError):
        _ = route.api.caller
    assert route.ask(token("user")) == (403, "FORBIDDEN")
    with pytest.raises(KeyError):
        _ = route.api.subject


def test_a_routes_refusals_follow_from_its_declaration() -> None:
    assert apis()
    assert declared()["post", "/api/api-keys"] == Declaration(
        Access(Who.USERS, sight=Sight("member")),
        ("TOO_MANY_API_KEYS", "IDEMPOTENCY_CONFLICT", "ACCOUNT_NOT_FOUND"),
        takes_key=True,
    )
    assert "USER_NOT_FOUND" in codes_of(("get", "/api/credits/balance/{userId}"))
    assert "USER_NOT_FOUND" not in codes_of(("get", "/api/credits/balance"))
    assert "USER_DISABLED" not in codes_of(("post", "/api/streaming-sessions/abort"))
    assert "USER_DISABLED" in codes_of(("post", "/api/streaming-sessions/heartbeat"))
    assert not {"FORBIDDEN", "USER_DISABLED", "VALIDATION_ERROR"} & codes_of(("get", "/api/health"))
    assert "TOKEN_EXPIRED" not in codes_of(("post", "/api/users/sync"))
