"""Services act for users, with credentials that can be rotated. Ledger entries and usage records name the service."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from accounting.domain.accounts import personal
from accounting.domain.errors import (
    Forbidden,
    IdempotencyConflict,
    Invalid,
    RightMissing,
    ServiceCredentialInvalid,
    ServiceCredentialNotFound,
    TooManyServiceCredentials,
    UserDisabled,
)
from accounting.domain.service_credentials import MAX_CREDENTIALS, ServiceCredential
from accounting.operations import service_credentials as operations
from accounting.operations import users as people
from accounting.operations.service_credentials import Issued
from accounting.store import allocations, cache, entries, keys, service_credentials, table, users
from accounting.store import usage as usage_store
from accounting.store.idempotency import IdempotencyKey
from accounting.store.table import Conflict, transact
from accounting.times import DAY
from accounting.web import service_key
from accounting.web.access import Access, Who
from accounting.web.caller import Caller, caller_of
from tests.audit import assert_books_balance
from tests.calls import Calls
from tests.integration.conftest import ACCOUNT, NOW
from tests.integration.test_events import CONTEXT, app, event
from tests.random_secrets import assert_random

type MakeUser = Callable[..., str]


class Clock:
    def __init__(self) -> None:
        self.seconds = 0.0


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Empty the caches, and give them a clock that the test sets."""
    clock = Clock()
    monkeypatch.setattr(cache, "_now", lambda: clock.seconds)
    for module, name, read in (
        (service_credentials, "_cache", service_credentials.find),
        (users, "_disabled", users._find_disabled),
    ):
        monkeypatch.setattr(module, name, cache.Cache(read, service_credentials.CACHE_SECONDS))
    return clock


def create(*rights: str, key: IdempotencyKey | None = None) -> Issued:
    return operations.create("a service", rights or ("read",), now=NOW, key=key)


def rotate(issued: Issued, *, overlap: int = DAY, keep_previous: bool = False, now: int = NOW) -> Issued:
    return operations.rotate(issued.credential.id, overlap=overlap, keep_previous=keep_previous, now=now, key=None)


def authorized(issued: Issued) -> dict[str, Any]:
    """The context that the authorizer passes to the functions. Raises ServiceCredentialInvalid if it denies access."""
    request = {"type": "TOKEN", "methodArn": "arn:a/v1/GET/x", "authorizationToken": f"Service {issued.text}"}
    authorizer = app("authorizer")
    vars(authorizer)["clock"] = lambda: NOW
    answer = authorizer.handler(request, CONTEXT)
    context: dict[str, Any] = answer["context"]
    if answer["policyDocument"]["Statement"][0]["Effect"] == "Deny":
        raise ServiceCredentialInvalid(context["message"])
    return {name: str(value) for name, value in context.items()}


def acting(issued: Issued, user_id: str = "u1") -> Caller:
    return caller_of(authorized(issued), NOW, [user_id])


def test_the_secret_of_a_credential_is_not_stored(dynamodb: Any, table_name: str) -> None:
    issued = create(key=IdempotencyKey("boss", "service-credentials", "k", "body"))
    assert issued.text is not None
    prefix, service_id, secret = issued.text.split("_", 2)

    assert (prefix, len(secret)) == ("svc", 43)
    stored = str(dynamodb.scan(TableName=table_name)["Items"])
    assert service_id in stored
    assert secret not in stored
    item = table.get(keys.service_credential(service_id))
    assert item is not None
    assert item["secret_hash"] == hashlib.sha256(secret.encode()).hexdigest()


def test_each_credential_and_each_rotation_has_a_random_secret_of_its_own() -> None:
    issued = [create() for _ in range(5)]
    texts = [each.text or "" for each in (*issued, *map(rotate, issued))]

    assert_random([text.split("_", 2)[2] for text in texts])


def test_a_repeated_create_or_rotate_changes_nothing_and_shows_no_secret() -> None:
    key = IdempotencyKey("boss", "service-credentials", "k", "body")
    first, again = create(key=key), create(key=key)

    assert (again.credential, again.text) == (first.credential, None)
    with pytest.raises(IdempotencyConflict):
        create(key=IdempotencyKey("boss", "service-credentials", "k", "another body"))
    key = IdempotencyKey("boss", "rotate", "k", "body")
    rotated, same = (
        operations.rotate(first.credential.id, overlap=DAY, keep_previous=False, now=NOW, key=key) for _ in range(2)
    )
    assert (same.credential, same.text) == (rotated.credential, None)
    assert service_credentials.get(first.credential.id).generation == 2


def test_the_number_of_credentials_is_limited(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service_credentials, "MAX_CREDENTIALS", 2)
    first, _ = create(), create()

    with pytest.raises(TooManyServiceCredentials):
        create()
    operations.delete(first.credential.id)
    create()
    assert MAX_CREDENTIALS == 100


def test_the_list_has_every_credential_newest_first() -> None:
    made = [operations.create(f"s{number}", ("read",), now=NOW + number, key=None).credential for number in range(3)]

    first, position = service_credentials.newest(before=None, limit=2)
    rest, end = service_credentials.newest(before=position, limit=2)
    assert [*first, *rest] == made[::-1]
    assert end is None


@pytest.mark.parametrize("text", ["svc", "svc_x", "svc_x_y", "acct_x_y"])
def test_a_malformed_or_unknown_credential_is_refused(text: str) -> None:
    with pytest.raises(ServiceCredentialInvalid, match="is invalid"):
        authorized(Issued(create().credential, text))


def test_after_a_rotation_both_secrets_are_accepted_until_the_older_one_ends() -> None:
    old = create()
    new = rotate(old)

    assert acting(old).user_id == acting(new).user_id == "u1"
    context = authorized(old)
    caller_of(context, NOW + DAY - 1, ["u1"])
    with pytest.raises(ServiceCredentialInvalid, match="rotated out"):
        caller_of(context, NOW + DAY, ["u1"])


def test_a_new_secret_works_at_once_although_the_process_caches_the_credential(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    old = create()
    acting(old)
    with monkeypatch.context() as elsewhere:  # a change in another process does not reach this process's cache
        elsewhere.setattr(service_credentials, "forget", lambda _id: None)
        new = rotate(old)

    service = acting(new).service
    assert service is not None
    assert service.generation == 2


@pytest.mark.parametrize("end", ["deleted", "rotated out", "previous ended"])
def test_an_ended_secret_is_refused_within_30_seconds_despite_the_gateways_cache(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, end: str
) -> None:
    issued = create()
    context = authorized(issued)
    caller_of(context, NOW, ["u1"])
    with monkeypatch.context() as elsewhere:  # a change in another process does not reach this process's cache
        elsewhere.setattr(service_credentials, "forget", lambda _id: None)
        if end == "deleted":
            operations.delete(issued.credential.id)
        elif end == "rotated out":
            rotate(issued, overlap=0)
        else:
            rotate(issued)
            service_credentials.change(issued.credential.id, name=None, rights=None, end_previous=True)

    clock.seconds = 29
    caller_of(context, NOW, ["u1"])
    clock.seconds = 30
    with pytest.raises(ServiceCredentialInvalid, match="deleted" if end == "deleted" else "rotated out"):
        caller_of(context, NOW, ["u1"])
    with pytest.raises(ServiceCredentialInvalid):
        authorized(issued)


def test_a_credential_cannot_use_a_removed_right() -> None:
    issued = create("read", "usage")
    acting(issued).require_right("usage")

    service_credentials.change(issued.credential.id, name="new", rights=("read",), end_previous=False)

    acting(issued).require_right("read")
    with pytest.raises(RightMissing) as refused:
        acting(issued).require_right("usage")
    assert refused.value.details == {"right": "usage"}
    assert service_credentials.get(issued.credential.id).name == "new"


def test_an_unknown_credential_cannot_be_changed_rotated_or_deleted() -> None:
    nothing = Issued(ServiceCredential("nothing", "", (), "", NOW), None)
    for change in (
        lambda: service_credentials.change("nothing", name="x", rights=None, end_previous=False),
        lambda: rotate(nothing),
        lambda: operations.delete("nothing"),
    ):
        with pytest.raises(ServiceCredentialNotFound):
            change()
    assert service_credentials.newest(before=None, limit=5) == ([], None)


def test_a_service_that_acts_for_an_administrator_has_the_role_user() -> None:
    caller = acting(create(), "boss")

    assert (caller.role, caller.user_id) == ("user", "boss")
    assert caller.actor.startswith("service:")
    for check in (caller.require_supervisor, caller.require_admin):
        with pytest.raises(Forbidden):
            check()


READ = Access(Who.USERS, "credits:read")


def admit(access: Access, caller: Caller) -> None:
    access.admit(caller, None, {})  # type: ignore[arg-type]  # for a service, admit does not read the request


def test_a_service_cannot_act_for_a_disabled_user(user: MakeUser) -> None:
    user("u1")
    caller = acting(create("read"))
    admit(READ, caller)
    people.disable("u1", by="boss", reason="", now=NOW)

    with pytest.raises(UserDisabled):
        admit(READ, caller)


def test_a_service_needs_a_right_to_create_a_user() -> None:
    introducing = Access(Who.USERS, "credits:read", introduce=users.introduce)
    with pytest.raises(RightMissing) as refused:
        admit(introducing, acting(create("read"), "new"))
    assert refused.value.details == {"right": "users:sync"}
    assert users.find("new") is None

    admit(READ, acting(create("read", "users:sync"), "new"))
    assert users.find("new") is None, "a read created a user"
    admit(introducing, acting(create("read", "users:sync"), "new"))

    known = users.find("new")
    assert known is not None
    assert (known.role, known.email, users.total("user")) == ("user", "", 1)
    admit(introducing, acting(create("read"), "new"))


def test_two_services_that_name_a_new_user_at_the_same_time_create_one_user() -> None:
    users.introduce("new", NOW)
    users.introduce("new", NOW)  # by a second service, whose request began before the first call ended
    assert users.total("user") == 1


def test_another_users_email_cannot_be_the_id_of_a_new_user(user: MakeUser) -> None:
    user("u1")
    known = users.find("u1")
    assert known is not None
    assert known.email

    with pytest.raises(Invalid, match="e-mail address"):
        users.introduce(known.email, NOW)
    assert users.total("user") == 1


def call(name: str, context: dict[str, Any], user_id: str, body: str | None = None, **headers: str) -> dict[str, Any]:
    """Send a sample event for ``user_id``, as the service or the user in ``context``."""
    sample = event(name)
    headers["X-On-Behalf-Of"] = user_id
    sample["headers"] |= headers
    sample["multiValueHeaders"] |= {header: [value] for header, value in headers.items()}
    sample["requestContext"]["authorizer"] = context
    answer: dict[str, Any] = app(name.partition("/")[0]).handler({**sample, "body": body or sample["body"]}, CONTEXT)
    return answer


def test_ledger_entries_and_usage_records_name_the_service(user: MakeUser) -> None:
    user("u1", credits_granted=1_000)
    service = authorized(create("sessions", "usage"))
    steps = ("streaming_sessions/initialize", "streaming_sessions/heartbeat", "streaming_sessions/finalize")
    for name in (*steps, "usage/record"):
        answer = call(name, service, "u1")
        assert answer["statusCode"] < 300, answer["body"]

    made = entries.page(ACCOUNT, first=1, last=99, limit=99)
    records = usage_store.newest(ACCOUNT, None, None, 10)
    assert {each.actor for each in records} == {service["actor"]}
    assert len(records) == 2
    assert {(each.kind, each.actor) for each in made} == {
        ("grant", "admin"),
        *((kind, service["actor"]) for kind in ("hold", "settle", "charge")),
    }
    assert_books_balance("u1")


def test_idempotency_keys_of_services_and_users_are_separate(user: MakeUser) -> None:
    user("u1", credits_granted=100)
    user("u2", credits_granted=100)
    one, other = authorized(create("usage")), authorized(create("usage"))
    body = '{"service": "images", "operation": "draw", "credits": 1, "deduct": true}'

    def record(context: dict[str, Any], user_id: str) -> bool:
        answer = call("usage/record", context, user_id, body, **{"Idempotency-Key": "k"})
        assert answer["statusCode"] == 201, answer["body"]
        sent = {name.lower() for name in {**answer["multiValueHeaders"], **(answer.get("headers") or {})}}
        return "idempotency-replayed" in sent

    own = {"userId": "u1", "role": "user", "exp": "4070908800"}
    firsts = [record(one, "u1"), record(other, "u1"), record(own, "u1"), record(one, "u2")]
    repeats = [record(one, "u1"), record(other, "u1"), record(own, "u1"), record(one, "u2")]

    assert firsts == [False] * 4
    assert repeats == [True] * 4
    assert len(usage_store.newest(personal("u1"), None, None, 10)) == 3


def test_a_service_grants_credits_only_to_the_user_for_whom_it_acts(user: MakeUser) -> None:
    user("u1")
    user("u2")
    service = authorized(create("credits:grant"))

    granted = call("credits/allocate", service, "u1", '{"userId": "u1", "credits": 5}')
    other = call("credits/allocate", service, "u1", '{"userId": "u2", "credits": 5}')

    assert granted["statusCode"] == 201, granted["body"]
    assert other["statusCode"] == 403
    (made,) = allocations.page(ACCOUNT, last=1, limit=9)
    assert (made.credits, made.allocated_by) == (5, service["actor"])


@pytest.mark.parametrize("required", [False, True])
def test_a_service_needs_no_internal_key(user: MakeUser, monkeypatch: pytest.MonkeyPatch, required: bool) -> None:
    monkeypatch.setenv("REQUIRE_SERVICE_KEY", str(required).lower())
    monkeypatch.setattr(service_key, "is_internal_key", lambda _sent: False)
    user("u1", credits_granted=1_000)
    own = {"userId": "u1", "role": "user", "exp": "4070908800"}

    assert call("usage/record", own, "u1")["statusCode"] == (403 if required else 201)
    assert call("streaming_sessions/initialize", authorized(create("sessions")), "u1")["statusCode"] == 201
    assert call("usage/record", authorized(create("usage")), "u1")["statusCode"] == 201
    assert call("usage/record", authorized(create("sessions")), "u1")["statusCode"] == 403


def test_a_cached_credential_adds_no_database_calls_to_a_request(user: MakeUser, calls: Calls) -> None:
    user("u1", credits_granted=1_000)
    own, service = {"userId": "u1", "role": "user", "exp": "4070908800"}, authorized(create("sessions"))
    call("streaming_sessions/initialize", own, "u1")

    def calls_of(context: dict[str, Any]) -> list[str]:
        calls.reset()
        assert call("streaming_sessions/heartbeat", context, "u1")["statusCode"] == 200
        return list(calls.operations)

    of_the_user, first, second = calls_of(own), calls_of(service), calls_of(service)

    assert first == ["GetItem", "GetItem", *of_the_user]
    assert second == of_the_user


def test_a_rotation_is_refused_if_the_credential_has_changed_since_it_was_read() -> None:
    known = create().credential
    first, second = (known.rotated(f"hash-{each}", ends_at=NOW, keep_previous=False, now=NOW) for each in (1, 2))
    transact([service_credentials.rotate(known, first)])

    with pytest.raises(Conflict):
        transact([service_credentials.rotate(known, second)])
    service_credentials.change(known.id, name=None, rights=None, end_previous=True)
    with pytest.raises(Conflict):
        transact([service_credentials.rotate(first, second)])
    assert service_credentials.get(known.id).secret_hash == "hash-1"
