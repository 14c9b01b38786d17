"""Who may do what in an organization. Callers in all its roles, and outsiders, call routes about it and its account."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import pytest

from tests.e2e.books import items_under
from tests.e2e.client import MODEL, Person, as_service, assert_refused, described, new_id, new_service, with_key

if TYPE_CHECKING:
    from local.stack import Stack
    from tests.e2e.conftest import People

ROLES = ("owner", "admin", "member", "outsider", "supervisor", "administrator")
"""First the three roles in the organization. Then three callers outside of it, with the platform's roles user,
supervisor and admin."""

SERVED, UNSEEN, FORBIDDEN = "served", (404, "ACCOUNT_NOT_FOUND"), (403, "FORBIDDEN")
MEMBERS = dict(zip(ROLES, (SERVED, SERVED, SERVED, UNSEEN, UNSEEN, SERVED), strict=True))
MANAGERS = dict(zip(ROLES, (SERVED, SERVED, FORBIDDEN, UNSEEN, UNSEEN, SERVED), strict=True))
MEMBERS_OR_SUPERVISORS = {**MEMBERS, "supervisor": SERVED}
MANAGERS_OR_SUPERVISORS = {**MANAGERS, "supervisor": SERVED}
OWNERS = {**MANAGERS, "admin": FORBIDDEN}
ADMINISTRATORS = {**dict.fromkeys(ROLES, FORBIDDEN), "administrator": SERVED}
SUPERVISORS = {**ADMINISTRATORS, "supervisor": SERVED}
ONLY_MEMBERS = {**MEMBERS, "administrator": UNSEEN}
RUN_MANAGERS = {**MANAGERS, "member": (404, "RUN_NOT_FOUND")}
BUDGET = "budgets/{account}/{subject}"


class Route(NamedTuple):
    """A route about an organization, and what it answers to callers of each role."""

    method: str
    path: str
    body: dict[str, Any] | None
    answers: dict[str, Any]


ROUTES = [
    Route("GET", "organizations/{org}", None, MEMBERS),
    Route("PUT", "organizations/{org}", {"name": "Acme"}, MANAGERS),
    Route("GET", "organizations/{org}/members", None, MEMBERS),
    Route("PUT", "organizations/{org}/members/{other}", {"role": "member"}, MANAGERS),
    Route("PUT", "organizations/{org}/members/{other}", {"role": "admin"}, MANAGERS),
    Route("PUT", "organizations/{org}/members/{other}", {"role": "owner"}, OWNERS),
    Route("DELETE", "organizations/{org}/members/{other}", None, MANAGERS),
    Route("POST", "organizations/{org}/close", {"transferTo": "org:NONE"}, ADMINISTRATORS),
    Route("GET", "credits/balance?accountId={account}", None, MEMBERS_OR_SUPERVISORS),
    Route("POST", "credits/check", {"requiredCredits": 1, "accountId": "{account}"}, MEMBERS_OR_SUPERVISORS),
    Route("GET", "credits/allocations?accountId={account}", None, MANAGERS_OR_SUPERVISORS),
    Route("GET", "credits/ledger?accountId={account}", None, MANAGERS_OR_SUPERVISORS),
    Route("GET", "credits/audit/{account}", None, ADMINISTRATORS),
    Route("GET", "usage/stats?accountId={account}", None, MEMBERS_OR_SUPERVISORS),
    Route("GET", "usage/stats?accountId={account}&userId={other}", None, MANAGERS_OR_SUPERVISORS),
    Route("POST", "credits/allocate", {"accountId": "{account}", "credits": 1}, SUPERVISORS),
    Route("POST", "credits/set", {"accountId": "{account}", "credits": 60}, SUPERVISORS),
    Route("DELETE", "credits/remove", {"accountId": "{account}", "credits": 1}, SUPERVISORS),
    Route("DELETE", "credits/remove?accountId={account}&credits=1", None, SUPERVISORS),
    Route("PUT", "credits/adjust", {"accountId": "{account}", "adjustment": 1}, SUPERVISORS),
    Route("POST", "api-keys", {"name": "a key", "accountId": "{account}"}, ONLY_MEMBERS),
    Route(
        "POST",
        "streaming-sessions/preview",
        {"modelId": MODEL, "estimatedTokens": 1, "accountId": "{account}", "userId": "{other}"},
        {**dict.fromkeys(ROLES, SERVED), "member": FORBIDDEN, "outsider": FORBIDDEN},
    ),
    Route(
        "POST",
        "streaming-sessions/initialize",
        {"sessionId": "{new}", "modelId": MODEL, "estimatedTokens": 1, "accountId": "{account}"},
        ONLY_MEMBERS,
    ),
    Route(
        "POST",
        "usage/record",
        {"service": "images", "operation": "render", "credits": 1, "deduct": True, "accountId": "{account}"},
        ONLY_MEMBERS,
    ),
    Route("PUT", BUDGET, {"limitCredits": 10**6, "window": "month"}, MANAGERS),
    Route("GET", "budgets/{account}", None, MEMBERS),
    Route("GET", "budgets/{account}?userId={other}", None, MANAGERS),
    Route("DELETE", BUDGET, None, MANAGERS),
    Route("POST", "runs", {"runId": "{new}", "limitCredits": 5, "accountId": "{account}"}, ONLY_MEMBERS),
    Route("GET", "runs/{account}/{run}", None, RUN_MANAGERS),
    Route("POST", "runs/{account}/{run}/stop", None, RUN_MANAGERS),
]

CELLS = [
    pytest.param(route, role, id=f"{role}-{route.method} {route.path} {(route.body or {}).get('role', '')}")
    for route in ROUTES
    for role in ROLES
]


class Team(NamedTuple):
    """An organization, a caller in each role, another member whom requests are about, and that member's run id."""

    id: str
    people: dict[str, Person]
    other: Person
    run: str

    def filled(self, text: str, organization_id: str | None = None) -> str:
        """Replace the placeholders of a text. ``organization_id`` is by default this organization's id."""
        org = organization_id or self.id
        names = {"{org}": org, "{account}": f"org:{org}", "{other}": self.other.id, "{run}": self.run}
        names |= {"{subject}": f"member:{self.other.id}", "{new}": new_id("new")}
        for name, value in names.items():
            text = text.replace(name, value)
        return text


@pytest.fixture(scope="module")
def team(admin: Person, people: People) -> Team:
    """Return an organization with 100 credits and four members, and outsiders in every role of the platform."""
    members = {role: people() for role in ("owner", "admin", "member")}
    outsiders = {"outsider": people(), "supervisor": people("supervisor"), "administrator": people("admin")}
    made = admin.ok("POST", "organizations", {"name": "Acme", "ownerId": members["owner"].id})["organizationId"]
    for role in ("admin", "member"):
        members["owner"].ok("PUT", f"organizations/{made}/members/{members[role].id}", {"role": role})
    admin.ok("POST", "credits/allocate", {"accountId": f"org:{made}", "credits": 100})
    other, run = people(), new_id("run")
    members["owner"].ok("PUT", f"organizations/{made}/members/{other.id}", {"role": "member"})
    other.ok("POST", "runs", {"runId": run, "limitCredits": 5, "accountId": f"org:{made}"})
    return Team(made, members | outsiders, other, run)


@pytest.mark.parametrize(("route", "role"), CELLS)
def test_a_route_serves_only_the_roles_that_may_call_it(service: Stack, team: Team, route: Route, role: str) -> None:
    owner = team.people["owner"]
    owner.ok("PUT", f"organizations/{team.id}/members/{team.other.id}", {"role": "member"})
    if (route.method, route.path) == ("DELETE", BUDGET):
        owner.ok("PUT", team.filled(BUDGET), {"limitCredits": 10**6, "window": "month"})
    before = _everything(service, team)

    answer = _ask(team, route, role)

    expected = route.answers[role]
    if expected == SERVED and route.path.endswith("/close"):  # the body is invalid, so the organization stays open
        assert_refused(answer, 400, "VALIDATION_ERROR")
        assert _everything(service, team) == before
    elif expected == SERVED:
        assert answer.is_success, described(answer)
    else:
        assert_refused(answer, *expected)
        assert _everything(service, team) == before


@pytest.mark.parametrize("role", ["owner", "member", "outsider", "supervisor", "administrator"])
def test_a_missing_organization_looks_like_one_that_the_caller_may_not_see(team: Team, role: str) -> None:
    nowhere = "01M7XZ7VE5EWNW6G9TAJHR15GM"
    for route in ROUTES:
        if route.path in ("credits/audit/{account}", "streaming-sessions/preview"):
            continue  # audits also accept a user in the path; previews may answer 200 with the reason ACCOUNT_NOT_FOUND
        answer = _ask(team, route, role, nowhere)
        unseen = _ask(team, route, "outsider")
        if route.answers["outsider"] == UNSEEN:
            assert (answer.status_code, answer.json()["code"], answer.json()["message"]) == (
                unseen.status_code,
                unseen.json()["code"],
                unseen.json()["message"],
            ), described(answer)
        else:
            assert answer.is_client_error, described(answer)


def test_only_managers_see_the_other_members(team: Team) -> None:
    owner, member = team.people["owner"], team.people["member"]
    path = f"organizations/{team.id}/members"

    assert {each["userId"] for each in owner.ok("GET", path)["members"]} >= {owner.id, member.id}
    assert [each["userId"] for each in member.ok("GET", path)["members"]] == [member.id]
    assert [each["role"] for each in member.ok("GET", "organizations")["organizations"]] == ["member"]
    assert team.people["outsider"].ok("GET", "organizations")["organizations"] == []


def test_managers_can_preview_sessions_only_of_their_members(admin: Person, team: Team) -> None:
    owner, outsider = team.people["owner"], team.people["outsider"]
    request = {"modelId": MODEL, "estimatedTokens": 1, "accountId": f"org:{team.id}"}
    path = "streaming-sessions/preview"

    for stranger in (outsider.id, outsider.email, "nobody"):
        assert_refused(owner.call("POST", path, request | {"userId": stranger}), 404, "MEMBER_NOT_FOUND")
    assert_refused(owner.call("POST", path, request | {"userId": outsider.id, "accountId": None}), 403, "FORBIDDEN")
    elsewhere = request | {"userId": team.other.id, "accountId": f"user:{team.other.id}"}
    assert_refused(owner.call("POST", path, elsewhere), 403, "FORBIDDEN")
    for caller in (outsider, admin):
        found = caller.ok("POST", path, request | {"userId": outsider.id})
        assert (found["passes"], found["reason"]["code"], found["limits"]) == (False, "ACCOUNT_NOT_FOUND", [])


def test_a_member_may_leave(admin: Person, people: People) -> None:
    owner, member = people(), people()
    made = admin.ok("POST", "organizations", {"name": "Acme", "ownerId": owner.id})["organizationId"]
    owner.ok("PUT", f"organizations/{made}/members/{member.email}", {"role": "member"})

    assert_refused(member.call("DELETE", f"organizations/{made}/members/{owner.id}"), 403, "FORBIDDEN")
    assert_refused(owner.call("DELETE", f"organizations/{made}/members/{owner.id}"), 409, "LAST_OWNER")
    member.ok("DELETE", f"organizations/{made}/members/{member.email}")
    assert_refused(member.get(f"organizations/{made}"), 404, "ACCOUNT_NOT_FOUND")
    assert_refused(owner.call("DELETE", f"organizations/{made}/members/{member.id}"), 404, "MEMBER_NOT_FOUND")


def test_a_personal_account_is_seen_by_its_user_and_by_supervisors(team: Team) -> None:
    owner, outsider = team.people["owner"], team.people["outsider"]
    path = f"credits/balance?accountId=user:{outsider.id}"

    assert outsider.ok("GET", path)["userId"] == outsider.id
    assert team.people["supervisor"].ok("GET", path)["accountId"] == f"user:{outsider.id}"
    assert_refused(owner.call("GET", path), 404, "ACCOUNT_NOT_FOUND")
    assert_refused(
        team.people["supervisor"].call("GET", "credits/balance?accountId=user:nobody"), 404, "ACCOUNT_NOT_FOUND"
    )


def test_an_api_key_for_one_account_cannot_read_another_account(team: Team) -> None:
    member, account = team.people["member"], f"org:{team.id}"
    permissions = ["credits:read", "usage:read"]
    made = member.ok("POST", "api-keys", {"name": "a key", "permissions": permissions, "accountId": account})
    assert made["accountId"] == account

    def ask(path: str) -> Any:
        return with_key(member.http, "GET", path, made["key"])

    assert ask("credits/balance").json()["accountId"] == account
    assert ask(f"credits/balance?accountId={account}").is_success
    for path in (
        f"credits/balance?accountId=user:{member.id}",
        "credits/balance?accountId=org:OTHER",
        f"credits/allocations/{member.id}",
        f"usage/stats/{member.id}",
        f"usage/stats?accountId=user:{member.id}",
    ):
        assert_refused(ask(path), 403, "FORBIDDEN")
    assert_refused(ask("credits/ledger"), 403, "FORBIDDEN")


def test_an_api_key_for_one_account_reaches_no_session_of_another_account(
    admin: Person, people: People, team: Team
) -> None:
    member, account = people(credits=100), f"org:{team.id}"
    team.people["owner"].ok("PUT", f"organizations/{team.id}/members/{member.id}", {"role": "member"})
    admin.ok("POST", "credits/set", {"accountId": account, "credits": 100})
    keys = {
        each: member.ok("POST", "api-keys", {"name": "a key", "permissions": ["sessions:write"], "accountId": each})
        for each in (account, f"user:{member.id}")
    }
    opened = {account: new_id("s"), f"user:{member.id}": new_id("s")}
    for each, session_id in opened.items():
        body = {"sessionId": session_id, "modelId": MODEL, "estimatedTokens": 5_000, "accountId": each}
        member.ok("POST", "streaming-sessions/initialize", body)

    def ask(method: str, call: str, key: str, body: Any = None) -> Any:
        return with_key(member.http, method, f"streaming-sessions/{call}", keys[key]["key"], body)

    for own, other in (tuple(keys), tuple(reversed(keys))):
        assert [each["sessionId"] for each in ask("GET", "active", own).json()] == [opened[own]]
        report = {"sessionId": opened[other], "tokensGenerated": 50_000, "actualTokens": 50_000, "accountId": other}
        for call in ("heartbeat", "finalize", "abort"):
            refused = ask("POST", call, own, report)
            assert_refused(refused, 404, "SESSION_NOT_ACTIVE", "Active streaming session not found")
        body = {"sessionId": new_id("s"), "modelId": MODEL, "estimatedTokens": 1_000, "accountId": other}
        assert_refused(ask("POST", "initialize", own, body), 403, "FORBIDDEN")
    for own in keys:
        assert ask("POST", "finalize", own, {"sessionId": opened[own], "actualTokens": 2_000}).json()["refund"] == 4


def test_a_service_sees_an_organization_only_if_the_user_it_acts_for_is_a_member(admin: Person, team: Team) -> None:
    credential = new_service(admin, "read")
    path = f"credits/balance?accountId=org:{team.id}"

    member = as_service(admin.http, credential, team.people["member"].id)
    assert member.ok("GET", path)["accountId"] == f"org:{team.id}"
    assert_refused(
        as_service(admin.http, credential, team.people["administrator"].id).call("GET", path), 404, "ACCOUNT_NOT_FOUND"
    )
    granting = as_service(admin.http, new_service(admin, "credits:grant"), team.people["owner"].id)
    assert_refused(granting.post("credits/allocate", {"accountId": f"org:{team.id}", "credits": 5}), 403, "FORBIDDEN")


def _ask(team: Team, route: Route, role: str, organization_id: str | None = None) -> Any:
    body = route.body and {
        name: team.filled(value, organization_id) if isinstance(value, str) else value
        for name, value in route.body.items()
    }
    return team.people[role].call(route.method, team.filled(route.path, organization_id), body)


def _everything(service: Stack, team: Team) -> list[list[Any]]:
    return [items_under(service, pk) for pk in (f"ORG#{team.id}", f"ACCOUNT#org:{team.id}")]
