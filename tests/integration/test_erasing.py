"""Erasing a user's personal data: all texts about the user are erased, and all numbers stay.

The name and the address are erased at once. A later request, or a sweep (a scheduled job), erases the rest.
"""

import json
from collections.abc import Callable
from functools import partial
from types import ModuleType
from typing import Any

import pytest

from accounting.domain.errors import Invalid, Unavailable, UserDisabled, UserErased, UserNotFound
from accounting.domain.users import Description
from accounting.operations import api_keys, credits, erasing, organizations, sessions, settling, usage
from accounting.operations import users as people
from accounting.operations.audit import audit
from accounting.operations.credits import Request
from accounting.operations.settling import Particulars
from accounting.operations.sweep import sweep
from accounting.operations.usage import Event
from accounting.store import api_keys as key_store
from accounting.store import entries, erasures, keys, table, users, wallets
from accounting.store import usage as usage_store
from accounting.store.idempotency import IdempotencyKey
from accounting.times import DAY, clock
from functions.api_keys import app as api_keys_app
from functions.budgets import app as budgets_app
from functions.credits import app as credits_app
from functions.ledger import app as ledger_app
from functions.streaming_sessions import app as sessions_app
from functions.usage import app as usage_app
from functions.users import app as users_app
from tests.audit import assert_books_balance
from tests.calls import the_wire
from tests.faults import Faults, answer_lost, never_arrives
from tests.integration.conftest import ACCOUNT, NOW
from tests.integration.test_events import CONTEXT, event
from tests.members import organization_with
from tests.together import times, together

type MakeUser = Callable[..., str]

TEXT = "Zaphod"
"""Part of every text about the user."""
LATER = NOW + erasing.WAIT
APPS = (api_keys_app, budgets_app, credits_app, ledger_app, sessions_app, usage_app, users_app)


def ask(app: ModuleType, method: str, route: str, body: Any = None, *, as_: str = "u1", key: str = "") -> Any:
    """Send a request as a user or the administrator ``boss``, and return the body, with the status in ``http``.

    A path parameter has the value ``u1``, or ``user:u1`` if it is an account. A route can give another value after a
    colon: ``{keyId:7}``.
    """
    sample = event("users/disable")
    parameters: dict[str, str] = {}
    parts = []
    for part in route.split("/"):
        if part.startswith("{"):
            name, _, value = part.strip("{}").partition(":")
            parameters[name] = value or ("user:u1" if name == "accountId" else "u1")
            parts.append(f"{{{name}}}")
        else:
            parts.append(part)
    resource = "/api/" + "/".join(parts)
    headers = {**sample["headers"], **({"Idempotency-Key": key} if key else {})}
    sample |= {"resource": resource, "path": resource, "httpMethod": method, "headers": headers}
    sample |= {"multiValueHeaders": {name: [value] for name, value in headers.items()}}
    sample |= {"pathParameters": parameters or None, "body": None if body is None else json.dumps(body)}
    role = "admin" if as_ == "boss" else "user"
    if (method, route) == ("GET", "api-keys"):  # this route names the user in the query
        sample |= {"queryStringParameters": {"userId": "u1"}, "multiValueQueryStringParameters": {"userId": ["u1"]}}
    sample["requestContext"]["authorizer"] |= {"principalId": as_, "userId": as_, "email": "", "role": role}
    answer = app.handler(sample, CONTEXT)
    fields = json.loads(answer["body"])
    return {"http": answer["statusCode"], **(fields if isinstance(fields, dict) else {"list": fields})}


def write_every_text() -> None:
    """Fill every text field of the routes of ``APPS`` with a text about the user, and disable the user."""
    metadata = {TEXT: [TEXT]}
    by_class = {"inputTokens": 5, "outputTokens": 5}
    provider = {"usage": {"prompt_tokens": 5, "completion_tokens": 5, TEXT: TEXT}, "usageFormat": "openai"}
    ask_credits = partial(ask, credits_app, as_="boss")
    ask_sessions = partial(ask, sessions_app)

    def assert_success(answer: Any) -> None:
        assert answer["http"] in (200, 201), answer

    assert_success(ask(users_app, "POST", "users/sync", {"userId": "u1", "email": f"{TEXT}@x.org", "username": TEXT}))
    users.sync(Description("u1", f"{TEXT}2@x.org", f"{TEXT} of a token", issued_at=clock() // 1000 + 2), clock())
    for number, (method, route, fields) in enumerate(
        [
            ("POST", "credits/allocate", {"credits": 500}),
            ("POST", "credits/set", {"credits": 900}),
            ("DELETE", "credits/remove", {"credits": 5}),
            ("PUT", "credits/adjust", {"adjustment": 7}),
            ("PUT", "credits/adjust", {"adjustment": -7}),
        ]
    ):
        assert_success(ask_credits(method, route, {"userId": "u1", "notes": f"for {TEXT}", **fields}, key=f"k{number}"))
    for name in ("ended", "aborted", "forced", "late", "open", "stuck"):
        opened = {"sessionId": name, "modelId": "m", "metadata": metadata}
        assert_success(ask_sessions("POST", "streaming-sessions/initialize", {**opened, "estimatedUsage": by_class}))
    assert_success(
        ask_sessions("POST", "streaming-sessions/finalize", {"sessionId": "ended", "metadata": metadata, **provider})
    )
    assert_success(
        ask_sessions("POST", "streaming-sessions/abort", {"sessionId": "aborted", "metadata": metadata, **provider})
    )
    for name in ("forced", "late"):
        end = f"streaming-sessions/{{userId}}/{{sessionId:{name}}}/end"
        assert_success(ask_sessions("POST", end, {"reason": f"{TEXT} hangs"}, as_="boss"))
    recorded = {"service": "s", "operation": "o", "metadata": metadata}
    assert_success(ask(usage_app, "POST", "usage/record", {**recorded, "credits": 3, "deduct": True}, key=TEXT))
    assert_success(ask(usage_app, "POST", "usage/record", {**recorded, "modelId": "m", **provider}, key=f"{TEXT}2"))
    assert_success(ask(budgets_app, "POST", "runs", {"runId": "u1", "limitCredits": 5, "metadata": metadata}))
    made = ask(api_keys_app, "POST", "api-keys", {"name": f"{TEXT}'s"}, key=f"{TEXT}3")
    assert_success(made)
    assert_success(ask(api_keys_app, "PUT", f"api-keys/{{keyId:{made['id']}}}", {"name": f"{TEXT}'s phone"}))
    assert_success(ask(users_app, "POST", "users/{userId}/disable", {"reason": f"{TEXT} left"}, as_="boss"))


def stored(dynamodb: Any, table_name: str) -> str:
    """Every item of the table, as one text."""
    pages = dynamodb.get_paginator("scan").paginate(TableName=table_name, ConsistentRead=True)
    return json.dumps([item for page in pages for item in page["Items"]])


def answers_to_administrators() -> str:
    """The answers of all ``GET`` routes of ``APPS`` to the administrator ``boss``, as one text."""
    answers = [
        ask(app, "GET", route.path.removeprefix("/api/"), as_="boss")
        for app in APPS
        for route in app.api.routes
        if route.method == "GET"
    ]
    refused = [answer for answer in answers if answer["http"] != 200]
    assert len(answers) > 15
    assert refused == []
    return json.dumps(answers)


def erase(now: int = NOW, **options: Any) -> erasures.Erasure:
    return erasing.erase("u1", by="boss", now=now, **options)


def test_erasing_removes_every_text_about_a_user_and_keeps_every_number(
    dynamodb: Any, table_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    users.sync(Description("boss", "boss@x.org", "boss", "admin"), clock())
    write_every_text()
    assert stored(dynamodb, table_name).count(TEXT) > 30
    assert answers_to_administrators().count(TEXT) > 10
    people.enable("u1", now=clock())
    statistics = usage.statistics("u1", None, None).sums
    before = assert_books_balance("u1")

    first = ask(users_app, "POST", "users/{userId}/erase", as_="boss")

    assert (first["http"], "finishedAt" in first) == (202, False)
    assert f"{TEXT}2@x.org".lower() not in stored(dynamodb, table_name).lower(), "the address was not erased at once"
    later = clock() + erasing.WAIT
    monkeypatch.setattr(users_app, "clock", lambda: later)
    for again in (1, 2):
        ended = ask(users_app, "POST", "users/{userId}/erase", as_="boss")
        assert (ended["http"], "finishedAt" in ended) == (200, True), again
    write_after_the_erasure()
    for where in (stored(dynamodb, table_name), answers_to_administrators()):
        assert TEXT.lower() not in where.lower()
    after = assert_books_balance("u1")
    proof, _, _ = audit(ACCOUNT, later)
    assert (proof.findings, proof.seq) == ([], after.entry_seq)
    assert (after.granted - before.granted, after.removed - before.removed) == (9, 1)
    assert usage.statistics("u1", None, None).sums.credits - statistics.credits == after.charged - before.charged
    assert after.held == 0


def write_after_the_erasure() -> None:
    """End two open sessions, settle late usage, grant 9 credits and remove 1, each with a text."""
    with_text = Particulars(None, {TEXT: TEXT}, None)
    settling.finalize("u1", "open", 3, success=True, now=clock(), particulars=with_text)
    settling.finalize("u1", "late", 4, success=True, now=clock(), particulars=with_text)
    settling.force_end("u1", "stuck", actor="boss", reason=TEXT, now=clock())
    credits.allocate(Request("boss", "u1", TEXT, 30, clock(), IdempotencyKey("boss", "r", "k", "f")), 9)
    credits.remove(Request("boss", "u1", TEXT, 30, clock()), 1)


def test_an_erased_user_is_refused_for_good_and_their_tokens_change_nothing(user: MakeUser) -> None:
    user("u1", 100)
    erase()

    with pytest.raises(UserErased):
        users.sync(Description.by_the_platform("u1", email="a@x.org", username="a", role=None, now=LATER), LATER)
    with pytest.raises(UserErased):
        people.enable("u1", now=LATER)
    known, is_new = users.sync(Description("u1", "a@x.org", "a", "admin", issued_at=LATER // 1000), LATER)
    assert (known.email, known.username, known.role, known.disabled, is_new) == ("", "", "user", True, False)
    assert people.disable("u1", by="boss", reason="again", now=LATER).disabled_reason == ""
    with pytest.raises(UserDisabled):
        sessions.initialize("u1", "s", "m", 1, now=LATER)
    with pytest.raises(UserDisabled):
        usage.record(Event("u1", "s", "o", 5, {TEXT: 1}, deduct=False), now=LATER, key=None)
    with pytest.raises(UserNotFound):
        users.resolve("u1@example.com")
    for route in ("users/me", "users/{userId}"):
        assert ask(users_app, "GET", route)["code"] == "USER_DISABLED"
    synced = ask(users_app, "POST", "users/sync", {"userId": "u1", "email": "b@x.org", "username": "b"})
    enabled = ask(users_app, "POST", "users/{userId}/enable", as_="boss")
    assert [(answer["http"], answer["code"]) for answer in (synced, enabled)] == [(409, "USER_ERASED")] * 2


def test_an_administrator_can_erase_neither_themselves_nor_an_unknown_user(user: MakeUser) -> None:
    user("boss")

    with pytest.raises(Invalid):
        erasing.erase("boss", by="boss", now=NOW)
    with pytest.raises(UserNotFound):
        erasing.erase("stranger", by="boss", now=NOW)


def test_the_address_of_an_erased_user_goes_to_the_newest_other_claimant() -> None:
    first = NOW // 1000
    for number, user_id in enumerate(("u1", "u2", "u3")):
        users.sync(Description(user_id, "team@x.org", user_id, issued_at=first + number), NOW + number * 1000)
    users.sync(Description("u2", "two@x.org", issued_at=first + 9), NOW + 9_000)
    assert pointer("team@x.org")["former"] == '["u1"]', "u2 is still listed, although u2 has another address now"

    erase(NOW + 10_000)
    assert (pointer("team@x.org")["user_id"], pointer("team@x.org")["former"]) == ("u3", "[]")

    users.sync(Description("u4", "team@x.org", "u4", issued_at=first + 20), NOW + 20_000)
    erasing.erase("u4", by="boss", now=NOW + 21_000)
    assert (pointer("team@x.org")["user_id"], pointer("team@x.org")["former"]) == ("u3", "[]")


def pointer(address: str) -> dict[str, Any]:
    item = table.get(keys.email(address))
    assert item is not None
    return item


@pytest.fixture
def user_with_texts(user: MakeUser) -> None:
    """A user with 12 grants, 12 usage records, 12 open sessions and 12 API keys. Each has a text."""
    user("u1", 1_000)
    for number in range(12):
        key = IdempotencyKey("u1", "usage", f"{TEXT}{number}", "f")
        credits.allocate(Request("boss", "u1", f"{TEXT} {number}", 30, NOW), 1)
        usage.record(Event("u1", "s", "o", 1, {TEXT: number}, deduct=True), now=NOW, key=key)
        sessions.initialize("u1", f"s{number}", "m", 1_000, now=NOW, metadata={TEXT: number})
        api_keys.create("u1", f"{TEXT} {number}", (), expires_at=None, now=NOW, idempotency_key=None)


@pytest.mark.usefixtures("user_with_texts")
def test_erasing_begins_after_the_requests_in_progress_have_ended(dynamodb: Any, table_name: str) -> None:
    texts = stored(dynamodb, table_name).count(TEXT)

    assert erase().finished_at is None
    assert erase(LATER - 1).finished_at is None
    assert sweep(LATER - 1, lambda: True).users_erased == 0
    assert stored(dynamodb, table_name).count(TEXT) == texts
    swept = sweep(LATER, lambda: True)

    assert (swept.users_erased, swept.failures, swept.complete) == (1, 0, True)
    assert TEXT not in stored(dynamodb, table_name)
    assert sweep(LATER, lambda: True).users_erased == 0
    assert erase(LATER).finished_at == LATER
    assert key_store.of_owner("u1", before=None, limit=20) == ([], None)


@pytest.mark.usefixtures("user_with_texts")
def test_an_erasure_that_is_stopped_after_each_item_can_be_resumed_and_erases_no_item_twice(
    dynamodb: Any, table_name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[str] = []
    erase_item = erasures.erase

    def erase_and_note(item: table.Item) -> None:
        seen.append(item["sk"])
        erase_item(item)

    monkeypatch.setattr(erasures, "erase", erase_and_note)
    found = erase()

    runs = 0
    while found.finished_at is None:
        found = erasing.resume(found, LATER, lambda: False)
        assert erasures.get("u1") == found
        runs += 1

    assert runs > 60
    assert len(seen) == len(set(seen))
    assert TEXT not in stored(dynamodb, table_name)
    assert_books_balance("u1")


@pytest.mark.usefixtures("user_with_texts")
def test_concurrent_erasures_all_succeed_and_leave_no_text(dynamodb: Any, table_name: str) -> None:
    answers = together(*times(4, erase), partial(users.sync, Description("u1", "x@x.org", issued_at=1), NOW))
    assert not [answer for answer in answers if isinstance(answer, Exception) and not isinstance(answer, UserErased)]

    later_answers = together(*times(4, partial(erase, LATER)), *times(2, partial(sweep, LATER, lambda: True)))

    assert not [answer for answer in later_answers if isinstance(answer, Exception)], later_answers
    known = erasures.get("u1")
    assert known is not None
    assert known.finished_at == LATER
    assert TEXT not in stored(dynamodb, table_name)
    assert_books_balance("u1")


@pytest.mark.usefixtures("user_with_texts")
@pytest.mark.parametrize("fault", [answer_lost, never_arrives()], ids=["answer lost", "never arrives"])
@pytest.mark.parametrize("after", [0, 7, 20])
def test_the_next_sweep_finishes_an_erasure_that_failed(dynamodb: Any, table_name: str, fault: Any, after: int) -> None:
    erase()
    with Faults.of(the_wire()) as between:
        passing = [lambda operation, body, send: send(operation, body)] * after
        between.fail("UpdateItem", *passing, *[fault] * 9)
        with pytest.raises(Unavailable):
            erase(LATER)
        assert between.sent("UpdateItem")
    assert TEXT in stored(dynamodb, table_name)

    assert sweep(LATER, lambda: True).users_erased == 1
    assert TEXT not in stored(dynamodb, table_name)
    assert_books_balance("u1")


def test_a_session_that_is_settled_during_an_erasure_leaves_no_texts(user: MakeUser) -> None:
    user("u1", 100)
    sessions.initialize("u1", "s1", "m", 1_000, now=NOW, metadata={TEXT: 1})

    calls = [partial(settling.finalize, "u1", "s1", 9, success=True, now=NOW, particulars=Particulars(None, {TEXT: 2}))]
    together(*calls, erase)
    assert sweep(LATER, lambda: True).users_erased == 1

    (record,) = usage_store.newest(ACCOUNT, None, None, 9)
    assert TEXT not in json.dumps(record.metadata)
    assert_books_balance("u1")


def test_a_usage_record_of_an_organization_keeps_no_texts_of_an_erased_user(
    user: MakeUser, dynamodb: Any, table_name: str
) -> None:
    from accounting.domain.accounts import stored as account

    user("u1")
    organization_with(account("org:o1"), "u1")
    event_ = Event("u1", "s", "o", 0, {TEXT: 1}, deduct=False, account_id=account("org:o1"))
    usage.record(event_, now=NOW, key=None)
    users.forget()

    erase()
    sweep(LATER, lambda: True)

    assert TEXT not in stored(dynamodb, table_name)
    assert len(usage_store.newest(account("org:o1"), None, None, 9)) == 1


def test_an_organizations_session_keeps_no_texts_of_an_erased_user(
    user: MakeUser, dynamodb: Any, table_name: str
) -> None:
    from accounting.domain.accounts import stored as account

    user("u1")
    user("boss")
    made = organizations.create("Acme", "boss", now=NOW, key=None).organization
    organizations.set_role(made.id, "u1", "member", by=None, now=NOW)
    credits.allocate(Request("boss", None, "", 30, NOW, account_id=made.account_id), 100)
    for name in ("before", "after"):
        metadata = {TEXT: name}
        sessions.initialize("u1", name, "m", 1_000, now=NOW, account_id=made.account_id, metadata=metadata)
    users.forget()
    with_text = Particulars(None, {TEXT: 1})
    settling.finalize("u1", "before", 9, success=True, now=NOW, particulars=with_text)
    (record,) = usage_store.newest(account(made.account_id), None, None, 9)
    assert record.metadata[TEXT] == 1

    erase()
    sweep(LATER, lambda: True)
    settling.finalize("u1", "after", 9, success=True, now=LATER, particulars=with_text)

    assert TEXT not in stored(dynamodb, table_name)
    assert len(usage_store.newest(account(made.account_id), None, None, 9)) == 2
    assert_books_balance("u1", made.account_id)


def test_an_erased_reason_cannot_be_guessed_from_the_remaining_digest(user: MakeUser) -> None:
    user("u1")
    credits.allocate(Request("boss", "u1", TEXT, 30, NOW), 5)
    erase()
    sweep(LATER, lambda: True)

    (entry,) = entries.page(ACCOUNT, first=1, last=9, limit=9)

    assert (entry.reason, entry.salt, len(entry.reason_digest)) == ("", "", 64)
    assert entry.reason_fits
    assert wallets.get(ACCOUNT).head == entry.hash == entry.hashed("")


def test_a_restored_user_can_be_erased_again(user: MakeUser, dynamodb: Any, table_name: str) -> None:
    """``make restore`` brings back all items from before the erasure, and keeps the item of the erasure."""
    user("u1", 5)
    before = [item for page in dynamodb.get_paginator("scan").paginate(TableName=table_name) for item in page["Items"]]
    erase()
    assert sweep(LATER, lambda: True).users_erased == 1
    for item in before:
        dynamodb.put_item(TableName=table_name, Item=item)

    assert erase(NOW + DAY).finished_at is None
    assert sweep(NOW + 2 * DAY, lambda: True).users_erased == 1
    known = users.find("u1")
    assert known is not None
    assert (known.email, known.erased) == ("", True)
