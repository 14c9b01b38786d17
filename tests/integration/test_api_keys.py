"""API keys: one for each idempotency key, checked against a hash, limited in number, and refused after revocation."""

import hashlib
from collections.abc import Callable
from typing import Any

import pytest

from accounting.domain.api_keys import ApiKey
from accounting.domain.errors import ApiKeyInvalid, ApiKeyNotFound, Forbidden, TooManyApiKeys
from accounting.operations import api_keys as operations
from accounting.operations.api_keys import CreatedKey
from accounting.store import api_keys, keys, table
from accounting.store.idempotency import IdempotencyKey
from accounting.times import DAY, MINUTE
from accounting.web.caller import caller_of
from tests.integration.conftest import NOW
from tests.random_secrets import assert_random
from tests.together import times, together

type MakeUser = Callable[..., str]


def create(owner: str = "u1", *, expires_at: int | None = None, key: IdempotencyKey | None = None) -> CreatedKey:
    return operations.create(owner, "a name", ("credits:read",), expires_at=expires_at, now=NOW, idempotency_key=key)


def listed(owner: str = "u1") -> list[ApiKey]:
    return api_keys.of_owner(owner, before=None, limit=100)[0]


def text_of(created: CreatedKey) -> str:
    assert created.text is not None
    return created.text


@pytest.fixture(autouse=True)
def u1_and_an_empty_cache(user: MakeUser) -> None:
    user()
    api_keys.forget()


def test_the_secret_of_a_key_has_256_bits_and_is_not_stored(dynamodb: Any, table_name: str) -> None:
    text = text_of(create(key=IdempotencyKey("u1", "api-keys", "k", "body")))
    prefix, key_id, secret = text.split("_", 2)

    assert (prefix, len(secret)) == ("acct", 43), "base64 needs 43 characters for 256 bits"
    stored = str(dynamodb.scan(TableName=table_name)["Items"])
    assert key_id in stored
    assert secret not in stored
    item = table.get(keys.api_key(key_id))
    assert item is not None
    assert item["secret_hash"] == hashlib.sha256(secret.encode()).hexdigest()


def test_each_key_has_a_random_secret_of_its_own() -> None:
    assert_random([text_of(create()).split("_", 2)[2] for _ in range(10)])


def test_only_the_exact_text_of_a_key_is_accepted() -> None:
    text = text_of(create())

    assert api_keys.verify(text, NOW)[1] is None
    for wrong in (text[:-1], text + "x", text.replace("acct_", "acct__"), "acct_x_y", "acct", "", f"x{text}"):
        assert api_keys.verify(wrong, NOW) == (None, "NOT_FOUND")


def test_an_expired_disabled_or_revoked_key_is_refused() -> None:
    created = create(expires_at=NOW + DAY)
    text = text_of(created)

    assert api_keys.verify(text, NOW + DAY - 1)[1] is None
    assert api_keys.verify(text, NOW + DAY)[1] == "EXPIRED"
    api_keys.change(created.key.id, "u1", enabled=False)
    assert api_keys.verify(text, NOW)[1] == "DISABLED"
    api_keys.change(created.key.id, "u1", enabled=True)
    assert api_keys.verify(text, NOW)[1] is None
    api_keys.change(created.key.id, "u1", revoked=True)
    api_keys.change(created.key.id, "u1", enabled=True)
    assert api_keys.verify(text, NOW)[1] == "DISABLED", "a revocation is permanent"


def test_a_functions_own_check_refuses_a_key_that_the_gateway_still_lets_pass() -> None:
    created = create()
    context = {"userId": "u1", "role": "user", "apiKeyId": created.key.id}

    assert caller_of(context, NOW).permissions == ("credits:read",)
    api_keys.change(created.key.id, "u1", revoked=True)
    with pytest.raises(ApiKeyInvalid):
        caller_of(context, NOW)


def test_other_processes_refuse_a_revoked_key_within_30_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    created = create()
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    assert api_keys.find_cached(created.key.id) is not None
    cached = dict(api_keys._cache._known)
    api_keys.change(created.key.id, "u1", revoked=True)
    api_keys._cache._known.update(cached)  # as in a process that did not make the change

    clock[0] += 29.9
    found = api_keys.find_cached(created.key.id)
    assert found is not None
    assert found.active
    clock[0] += 0.1
    found = api_keys.find_cached(created.key.id)
    assert found is not None
    assert not found.active


def test_a_key_may_do_only_what_its_permissions_allow() -> None:
    caller = caller_of({"userId": "u1", "role": "user", "apiKeyId": create().key.id}, NOW)

    caller.require_permission("credits:read")
    with pytest.raises(Forbidden, match="usage:write"):
        caller.require_permission("usage:write")
    with pytest.raises(Forbidden, match="access token"):
        caller.require_permission(None)


def test_another_users_key_is_not_found() -> None:
    created = create()

    with pytest.raises(ApiKeyNotFound):
        api_keys.change(created.key.id, "u2", name="mine")
    with pytest.raises(ApiKeyNotFound):
        api_keys.delete(created.key.id, "u2")
    assert [key.name for key in listed()] == ["a name"]
    assert listed("u2") == []


def test_last_use_is_written_at_most_once_a_minute() -> None:
    created = create()
    for at in (NOW, NOW + MINUTE - 1, NOW + MINUTE):
        key, _ = api_keys.verify(text_of(created), at)
        assert key is not None
        api_keys.note_use(key, at)
        found = api_keys.find(created.key.id)
        assert found is not None
        assert found.last_used_at == (NOW + MINUTE if at == NOW + MINUTE else NOW)


def test_one_idempotency_key_creates_one_api_key_and_shows_its_secret_once() -> None:
    key = IdempotencyKey("u1", "api-keys", "k", "body")

    answers = together(*times(8, lambda: create(key=key)))

    assert len({answer.key.id for answer in answers}) == 1
    assert sum(answer.text is not None for answer in answers) == 1
    assert len(listed()) == 1


def test_a_user_at_the_limit_gets_no_further_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_PER_USER", 2)
    create()
    create()

    with pytest.raises(TooManyApiKeys):
        create()


def test_concurrent_requests_for_keys_do_not_exceed_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_PER_USER", 5)
    create()

    answers = together(*times(12, create))

    assert sum(isinstance(answer, CreatedKey) for answer in answers) == 4
    assert sum(isinstance(answer, TooManyApiKeys) for answer in answers) == 8
    assert len(listed()) == 5


def test_concurrent_requests_for_a_users_first_keys_do_not_exceed_the_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_PER_USER", 3)

    answers = together(*times(8, create))

    assert sum(isinstance(answer, CreatedKey) for answer in answers) == len(listed()) == 3


def test_deleting_a_key_frees_one_place_and_revoking_does_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_PER_USER", 2)
    first, second = create(), create()

    api_keys.change(first.key.id, "u1", revoked=True)
    with pytest.raises(TooManyApiKeys):
        create()
    answers = together(*times(4, lambda: operations.delete(second.key.id, "u1")))
    assert sum(isinstance(answer, ApiKeyNotFound) for answer in answers) == 3
    create()
    with pytest.raises(TooManyApiKeys):
        create()


def test_a_repeat_at_the_limit_returns_the_first_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(api_keys, "MAX_PER_USER", 1)
    key = IdempotencyKey("u1", "api-keys", "k", "body")
    made = create(key=key)

    assert create(key=key).key.id == made.key.id


def test_the_list_pages_through_all_keys() -> None:
    made = [create().key.id for _ in range(5)]
    found: list[str] = []
    position: str | None = None
    while True:
        page, position = api_keys.of_owner("u1", before=position, limit=2)
        found += [key.id for key in page]
        if position is None:
            break

    assert sorted(found) == sorted(made)
