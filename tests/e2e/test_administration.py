"""Users, API keys, prices, usage, statistics and audits over HTTP, and the scheduled functions and alarms."""

from __future__ import annotations

import json
import time
from collections import Counter
from typing import TYPE_CHECKING
from urllib.parse import quote

import pytest

from tests.e2e.books import dynamodb
from tests.e2e.client import MODEL, Person, assert_refused, described, new_id, with_key
from tests.template import resources

if TYPE_CHECKING:
    from collections.abc import Iterable

    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import People

PATIENCE_SECONDS = 30


@pytest.fixture
def internal(service: Stack) -> dict[str, str]:
    return {"X-Internal-Api-Key": service.internal_api_key}


def test_the_platform_creates_and_updates_a_user(http: httpx.Client, admin: Person, internal: dict[str, str]) -> None:
    user_id = new_id("synced")
    body = {"userId": user_id, "email": f"{user_id}@example.com", "username": "One"}

    first = http.post("/api/users/sync", json=body, headers=internal)
    second = http.post("/api/users/sync", json={**body, "username": "Two", "role": "supervisor"}, headers=internal)

    assert (first.status_code, first.json()) == (201, {**body, "role": "user", "created": True})
    assert (second.status_code, second.json()["created"], second.json()["role"]) == (200, False, "supervisor")
    found = admin.ok("GET", f"users/{user_id}@example.com")
    assert (found["userId"], found["username"]) == (user_id, "Two")
    assert admin.ok("POST", "credits/allocate", {"userId": user_id, "credits": 5})["totalCredits"] == 5


@pytest.mark.parametrize("path", ["users/sync", "api-keys/validate"])
def test_internal_routes_accept_only_the_internal_key(
    http: httpx.Client, admin: Person, service: Stack, path: str
) -> None:
    assert_refused(http.post(f"/api/{path}", json={}), 401, "TOKEN_REQUIRED")
    assert_refused(admin.post(path, {}), 401, "TOKEN_REQUIRED")
    for wrong in ("x", service.internal_api_key[:-1], service.internal_api_key + "x", "ä"):
        sent = {b"X-Internal-Api-Key": wrong.encode()}
        assert_refused(http.post(f"/api/{path}", json={}, headers=sent), 401, "API_KEY_INVALID")


def test_users_are_listed_by_page_and_by_cursor_newest_first(admin: Person, people: People) -> None:
    made = [people("supervisor").id for _ in range(5)]

    by_page: list[str] = []
    for page in (1, 2, 3):
        found = admin.ok("GET", f"users?role=supervisor&limit=2&page={page}")
        assert (found["page"], found["totalPages"]) == (page, -(-found["total"] // 2))
        by_page += [user["userId"] for user in found["users"]]
    by_cursor: list[str] = []
    cursor = ""
    while len(by_cursor) < 5:
        found = admin.ok("GET", f"users?role=supervisor&limit=2{cursor}")
        by_cursor += [user["userId"] for user in found["users"]]
        cursor = f"&cursor={found.get('nextCursor', '')}"

    assert by_page[:5] == by_cursor[:5] == made[::-1]
    assert_refused(admin.get("users", page=101, limit=100), 400, "VALIDATION_ERROR")


def test_an_administrators_key_acts_only_as_a_user_and_within_its_permissions(
    http: httpx.Client, people: People, internal: dict[str, str]
) -> None:
    owner = people("admin", credits=50)
    made = owner.ok("POST", "api-keys", {"name": "ci", "permissions": ["credits:read", "other:thing"], "expiryDays": 3})
    key = made["key"]

    assert with_key(http, "GET", "credits/balance", key).json()["totalCredits"] == 50
    assert_refused(with_key(http, "POST", "usage/record", key, {}), 400, "VALIDATION_ERROR")
    body = {"service": "s", "operation": "o", "credits": 1}
    assert_refused(with_key(http, "POST", "usage/record", key, body), 403, "FORBIDDEN")
    for method, path in (("GET", "users"), ("GET", "api-keys"), ("GET", "usage/system"), ("GET", "users/me")):
        assert_refused(with_key(http, method, path, key), 403, "FORBIDDEN")
    validated = http.post("/api/api-keys/validate", json={"key": key}, headers=internal)
    assert validated.json() == {"valid": True, "userId": owner.id, "permissions": ["credits:read", "other:thing"]}
    (listed,) = owner.ok("GET", "api-keys")
    assert listed["lastUsed"] is not None
    assert "key" not in listed
    assert key.split("_", 2)[2] not in json.dumps(listed)


def test_disabled_and_invalid_keys_are_refused_with_401(
    http: httpx.Client, people: People, internal: dict[str, str]
) -> None:
    owner = people()
    made = owner.ok("POST", "api-keys", {"name": "ci", "permissions": ["credits:read"]})
    owner.ok("PUT", f"api-keys/{made['id']}", {"isActive": False})

    for wrong in (made["key"], made["key"][:-1], "acct_0_0", "nonsense", "acct__"):
        assert_refused(with_key(http, "GET", "credits/balance", wrong), 401, "API_KEY_INVALID")
    refused = http.post("/api/api-keys/validate", json={"key": made["key"]}, headers=internal)
    assert (refused.status_code, refused.json()["valid"], refused.json()["code"]) == (401, False, "DISABLED")


def test_a_user_has_a_hundred_keys_at_most(people: People) -> None:
    owner = people()
    for _ in range(100):
        owner.ok("POST", "api-keys", {"name": "one of many"})

    assert_refused(owner.post("api-keys", {"name": "one too many"}), 409, "TOO_MANY_API_KEYS")
    assert len(owner.ok("GET", "api-keys")) == 100


def test_another_users_key_is_not_found(people: People) -> None:
    owner, other = people(), people("supervisor")
    key_id = owner.ok("POST", "api-keys", {"name": "mine"})["id"]

    assert_refused(people("admin").call("PUT", f"api-keys/{key_id}", {"name": "x"}), 404, "API_KEY_NOT_FOUND")
    assert_refused(other.call("PUT", f"api-keys/{key_id}", {"name": "x"}), 404, "API_KEY_NOT_FOUND")
    assert_refused(other.post(f"api-keys/{key_id}/revoke"), 404, "API_KEY_NOT_FOUND")
    assert_refused(other.call("DELETE", f"api-keys/{key_id}"), 404, "API_KEY_NOT_FOUND")
    assert_refused(owner.call("PUT", f"api-keys/{key_id}", {}), 400, "VALIDATION_ERROR")
    assert owner.ok("PUT", f"api-keys/{key_id}", {"name": "other"})["name"] == "other"
    assert owner.ok("DELETE", f"api-keys/{key_id}") == {"message": "API key deleted"}
    assert owner.ok("GET", "api-keys") == []


def test_an_administrator_can_list_revoke_and_delete_anybodys_keys(admin: Person, people: People) -> None:
    owner = people()
    made = [owner.ok("POST", "api-keys", {"name": f"key {number}"})["id"] for number in range(3)]

    listed: list[str] = []
    answer = admin.get("api-keys", userId=owner.email, limit=2)
    listed += [key["id"] for key in answer.json()]
    answer = admin.get("api-keys", userId=owner.id, limit=2, cursor=answer.headers["x-next-cursor"])
    assert "x-next-cursor" not in answer.headers
    listed += [key["id"] for key in answer.json()]
    assert sorted(listed) == sorted(made)
    assert admin.ok("POST", f"api-keys/{made[0]}/revoke") == {"message": "API key revoked"}
    assert admin.ok("DELETE", f"api-keys/{made[1]}") == {"message": "API key deleted"}

    assert {key["id"]: key["isActive"] for key in owner.ok("GET", "api-keys")} == {made[0]: False, made[2]: True}
    assert_refused(admin.call("DELETE", f"api-keys/{made[1]}"), 404, "API_KEY_NOT_FOUND")
    assert admin.ok("GET", "api-keys", params={"userId": admin.id}) == admin.ok("GET", "api-keys")
    assert_refused(admin.get("api-keys", userId="nobody-at-all"), 404, "USER_NOT_FOUND")


def test_lists_of_active_sessions_are_complete(admin: Person, people: People) -> None:
    person = people(credits=100)
    opened = [person.open(10) for _ in range(5)]

    for path in ("streaming-sessions/active", f"streaming-sessions/active/{person.id}"):
        found: list[str] = []
        cursor: dict[str, str] = {}
        while True:
            answer = person.get(path, limit=2, **cursor)
            found += [session["sessionId"] for session in answer.json()]
            if "x-next-cursor" not in answer.headers:
                break
            cursor = {"cursor": answer.headers["x-next-cursor"]}
        assert sorted(found) == sorted(opened)
    assert len(admin.ok("GET", f"streaming-sessions/active/{person.id}")) == 5


def test_a_sync_without_a_role_keeps_the_role(
    http: httpx.Client, admin: Person, internal: dict[str, str], people: People
) -> None:
    person = people("supervisor")
    body = {"userId": person.id, "email": person.email, "username": "Renamed"}

    assert http.post("/api/users/sync", json=body, headers=internal).json()["role"] == "supervisor"
    assert admin.ok("GET", f"users/{person.id}")["username"] == "Renamed"


def test_the_newest_price_rule_in_force_applies(admin: Person, people: People) -> None:
    user, model = people(), new_id("model")
    for price, begins in ((1.1, "2026-01-01"), ("0.0175", "2026-02-01"), (9, "2999-01-01")):
        rule = {"modelId": model, "pricePerThousandTokens": price, "effectiveFrom": begins}
        assert admin.post("pricing", rule).status_code == 201

    found = user.ok("GET", f"pricing/{model}")
    assert found["pricePerThousandTokens"] == 0.0175
    assert [rule["pricePerThousandTokens"] for rule in found["history"]] == [9, 0.0175, 1.1]
    assert user.ok("POST", "credits/calculate", {"modelId": model, "tokens": 400_000})["credits"] == 7
    ended = admin.ok("PUT", f"pricing/{model}/2026-02-01T00:00:00.000Z", {"effectiveTo": "2026-03-01"})
    assert ended["effectiveTo"] == "2026-03-01T00:00:00.000Z"
    assert user.ok("GET", f"pricing/{model}")["pricePerThousandTokens"] == 1.1
    assert model in [rule["modelId"] for rule in user.ok("GET", "pricing")["models"]]
    assert user.ok("GET", f"pricing/{MODEL}")["history"] == []
    assert_refused(
        admin.call("PUT", f"pricing/{model}/2026-02-02", {"effectiveTo": "2026-03-01"}), 404, "PRICE_NOT_FOUND"
    )
    overwriting = {"modelId": model, "pricePerThousandTokens": 2, "effectiveFrom": "2026-01-01T00:00:00Z"}
    assert_refused(admin.post("pricing", overwriting), 409, "PRICE_EXISTS")
    moved = admin.call("PUT", f"pricing/{model}/2026-02-01", {"effectiveTo": "2026-04-01"})
    assert_refused(moved, 409, "PRICE_ENDED")
    assert_refused(admin.call("DELETE", f"pricing/{model}/2026-01-01"), 409, "PRICE_BEGUN")
    assert_refused(admin.call("DELETE", f"pricing/{model}/2026-01-02"), 404, "PRICE_NOT_FOUND")
    admin.ok("DELETE", f"pricing/{model}/2999-01-01")
    first = user.ok("GET", f"pricing/{model}", params={"limit": 1})
    rest = user.ok("GET", f"pricing/{model}", params={"limit": 1, "cursor": first["nextCursor"]})
    assert [rule["pricePerThousandTokens"] for rule in [*first["history"], *rest["history"]]] == [0.0175, 1.1]
    assert "nextCursor" not in rest
    backwards = {
        "modelId": model,
        "pricePerThousandTokens": 1,
        "effectiveFrom": "2026-02-01",
        "effectiveTo": "2026-01-01",
    }
    assert_refused(admin.post("pricing", backwards), 400, "VALIDATION_ERROR")


def test_the_pages_of_the_price_list_are_complete(admin: Person, people: People) -> None:
    user, models = people(), [new_id("model") for _ in range(5)]
    for model in models:
        admin.ok("POST", "pricing", {"modelId": model, "pricePerThousandTokens": 1, "effectiveFrom": "2026-01-01"})

    whole = user.ok("GET", "pricing")
    listed, cursor = [], None
    while True:
        page = user.ok("GET", "pricing", params={"limit": 2} | ({"cursor": cursor} if cursor else {}))
        listed += page["models"]
        cursor = page.get("nextCursor")
        if cursor is None:
            break

    names = [rule["modelId"] for rule in listed]
    assert set(models) <= set(names)
    assert names == sorted(set(names))
    assert "nextCursor" in whole or listed == whole["models"]


def test_a_repeated_price_rule_is_added_once(admin: Person) -> None:
    rule = {"modelId": new_id("model"), "pricePerThousandTokens": 1}

    first = admin.post("pricing", rule, Idempotency_Key="k")
    again = admin.post("pricing", rule, Idempotency_Key="k")

    assert (again.status_code, again.json()) == (201, first.json())
    assert again.headers["idempotency-replayed"] == "true"
    assert len(admin.ok("GET", f"pricing/{rule['modelId']}")["history"]) == 1


def test_a_model_with_a_slash_in_its_id_is_priced_like_any_other(admin: Person, people: People) -> None:
    user, model = people(), f"meta/{new_id('model')}:1"
    rule = {"modelId": model, "pricePerThousandTokens": 5, "effectiveFrom": "2026-01-01"}
    admin.ok("POST", "pricing", rule)

    assert user.ok("POST", "credits/calculate", {"modelId": model, "tokens": 1000})["credits"] == 5
    in_path = model.replace("/", "%252F")
    assert user.ok("GET", f"pricing/{in_path}")["modelId"] == model
    assert user.ok("GET", f"pricing/{in_path}")["pricePerThousandTokens"] == 5
    ended = admin.ok("PUT", f"pricing/{in_path}/2026-01-01", {"effectiveTo": "2026-02-01"})
    assert (ended["modelId"], ended["effectiveTo"]) == (model, "2026-02-01T00:00:00.000Z")


def test_repeated_usage_is_deducted_once_and_shown_in_the_statistics_immediately(people: People) -> None:
    person = people(credits=10)
    body = {"service": "images", "operation": "render", "credits": 7, "metadata": {"a": [1, 2.5]}, "deduct": True}
    key = {"Idempotency-Key": new_id("key")}

    first, again = person.post("usage/record", body, **key), person.post("usage/record", body, **key)
    short = person.post("usage/record", body)

    assert (first.status_code, again.status_code) == (201, 201), described(first)
    assert first.json() == again.json()
    assert again.headers["Idempotency-Replayed"] == "true"
    assert assert_refused(short, 402, "INSUFFICIENT_CREDITS")["shortfall"] == 4
    statistics = person.ok("GET", "usage/stats")
    assert (statistics["totalRecords"], statistics["totalCredits"]) == (1, 7)
    assert statistics["byService"] == {"images": 7}
    assert statistics["recentActivity"][0]["metadata"] == {"a": [1, 2.5]}
    assert person.balance()["totalCredits"] == 3


def test_within_seconds_the_systems_statistics_are_the_sum_of_the_users_statistics(
    admin: Person, people: People
) -> None:
    for number in range(1, 6):
        person = people(credits=100)
        assert person.finalize(person.open(5000), 1000 * number).is_success
        person.ok("POST", "usage/record", {"service": "images", "operation": "render", "credits": number})
    users = []
    cursor: str | None = ""
    while cursor is not None:
        page = admin.ok("GET", "users", params={"limit": 100, **({"cursor": cursor} if cursor else {})})
        users += [user["userId"] for user in page["users"]]
        cursor = page.get("nextCursor")
    # Other tests create users whose id is another user's email address. For such an id, the route finds the other user.
    # Users with such an id have no usage and are left out here.
    reachable = [each for each in users if admin.ok("GET", f"users/{quote(each, safe='')}")["userId"] == each]
    assert len(reachable) > len(users) // 2
    of_users = {user_id: admin.ok("GET", f"usage/stats/{quote(user_id, safe='')}") for user_id in reachable}
    wanted = {
        "totalRecords": sum(found["totalRecords"] for found in of_users.values()),
        "totalCredits": sum(found["totalCredits"] for found in of_users.values()),
        "byService": _added(found["byService"] for found in of_users.values()),
        "byModel": _added(found["byModel"] for found in of_users.values()),
        "byUser": {user_id: found["totalCredits"] for user_id, found in of_users.items() if found["totalRecords"]},
    }

    deadline = time.monotonic() + PATIENCE_SECONDS
    while True:
        found = admin.ok("GET", "usage/system-stats?top=1000")
        if {name: found[name] for name in wanted} == wanted:
            break
        assert time.monotonic() < deadline, (found, wanted)
        time.sleep(0.5)
    assert found["truncated"] is False
    assert found["asOf"] is not None
    assert admin.ok("GET", "usage/system?top=1")["truncated"] is True


def _added(maps: Iterable[dict[str, int]]) -> dict[str, int]:
    total: Counter[str] = Counter()
    for each in maps:
        total.update(each)
    return dict(total)


def test_the_scheduled_functions_run(service: Stack) -> None:
    functions = service.aws.client("lambda")
    swept, audited = (
        json.loads(functions.invoke(FunctionName=f"{service.stack_name}-{name}:live", Payload=b"{}")["Payload"].read())
        for name in ("sweeper", "auditor")
    )

    assert swept == {
        "sessions": 0,
        "wallets": 0,
        "credits_expired": 0,
        "users_erased": 0,
        "failures": 0,
        "complete": True,
    }
    assert audited["wallets"] > 0
    assert (audited["drifting"], audited["failures"], audited["complete"]) == (0, 0, True)
    schedules = service.aws.client("scheduler").list_schedules()["Schedules"]
    assert {schedule["Name"] for schedule in schedules} == {
        f"{service.stack_name}-sweeper",
        f"{service.stack_name}-auditor",
    }


def test_every_alarm_and_the_dashboard_exist(service: Stack) -> None:
    cloudwatch = service.aws.client("cloudwatch")
    wanted = {
        alarm["Properties"]["AlarmName"]["Fn::Sub"].replace("${AWS::StackName}", service.stack_name)
        for alarm in resources("AWS::CloudWatch::Alarm").values()
    }

    assert {alarm["AlarmName"] for alarm in cloudwatch.describe_alarms()["MetricAlarms"]} == wanted
    assert [each["DashboardName"] for each in cloudwatch.list_dashboards()["DashboardEntries"]] == [service.stack_name]


def test_an_audit_shows_the_sums_of_every_kind_of_entry(admin: Person, people: People) -> None:
    person = people(credits=100)
    person.finalize(person.open(10_000), 4_000)
    admin.ok("DELETE", "credits/remove", {"userId": person.id, "credits": 6})

    found = admin.ok("GET", f"credits/audit/{person.email}")

    numbers = {"available": 90, "held": 0, "debt": 0, "granted": 100, "charged": 4, "removed": 6, "expired": 0}
    assert found.pop("head") == person.ok("GET", "credits/ledger")["entries"][0]["hash"]
    assert found == {
        "userId": person.id,
        "accountId": f"user:{person.id}",
        "intact": True,
        "drift": 0,
        "findings": [],
        "firstSeq": 1,
        "lastSeq": 4,
        "byKind": {
            "grant": {"entries": 1, "credits": 100, "charged": 0},
            "hold": {"entries": 1, "credits": -12, "charged": 0},
            "settle": {"entries": 1, "credits": 8, "charged": 4},
            "remove": {"entries": 1, "credits": -6, "charged": 0},
        },
        "ledger": numbers,
        "wallet": numbers,
    }


def test_an_audit_finds_a_changed_entry(service: Stack, admin: Person, people: People) -> None:
    person = people(credits=100)
    key = {"pk": {"S": f"ACCOUNT#user:{person.id}"}, "sk": {"S": "ENTRY#000000000001"}}
    table = {"TableName": service.table_name}
    entry = dynamodb(service).get_item(**table, Key=key)["Item"]
    dynamodb(service).put_item(**table, Item={**entry, "actor": {"S": "somebody else"}})

    found = admin.ok("GET", f"credits/audit/{person.id}")

    assert (found["intact"], found["drift"]) == (False, 0)
    assert found["findings"] == [{"problem": "altered", "seq": 1}]
    dynamodb(service).put_item(**table, Item=entry)
    assert admin.ok("GET", f"credits/audit/{person.id}")["intact"] is True
