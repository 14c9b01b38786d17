"""If the database throttles, reports conflicts or loses answers, nothing happens twice, and no result is wrong."""

import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest
from botocore.exceptions import ConnectionClosedError, ConnectTimeoutError, EndpointConnectionError, ReadTimeoutError

from accounting.domain.errors import Contention, InsufficientCredits, Unavailable
from accounting.domain.users import Description
from accounting.operations import commit, credits, sessions, settling
from accounting.operations.credits import Request
from accounting.store import keys, runs, table, users, wallets
from accounting.store.idempotency import IdempotencyKey
from accounting.store.table import Conflict, Throttled, connection, transact, transactions
from accounting.store.table import wire as wire_module
from tests.audit import assert_books_balance
from tests.calls import the_wire
from tests.faults import Fault, Faults, answer_lost, answers, cancelled, late, leaves_everything, never_arrives, refused
from tests.integration.conftest import ACCOUNT, NOW

MakeUser = Callable[..., str]

TRANSACT = "TransactWriteItems"
ATTEMPTS = 3


@pytest.fixture(autouse=True)
def _no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the store's DynamoDB client, the wire, repeat requests without pauses."""
    monkeypatch.setattr(wire_module, "time", SimpleNamespace(**vars(time) | {"sleep": lambda _seconds: None}))


@pytest.fixture
def wire(table_name: str) -> Iterator[Faults]:
    with Faults.of(the_wire()) as between:
        yield between


def request(key: str | None = None) -> Request:
    return Request("boss", "u1", "", 30, NOW, IdempotencyKey("boss", "r", key, "same") if key else None)


def open_session(tokens: int = 5_000) -> Any:
    return sessions.initialize("u1", "s1", "m", tokens, now=NOW)


def finalize() -> Any:
    return settling.finalize("u1", "s1", 2_000, success=True, now=NOW)


def test_a_grant_whose_answer_was_lost_is_sent_again_and_made_once(user: MakeUser, wire: Faults) -> None:
    user("u1")
    wire.requests.clear()
    wire.fail(TRANSACT, answer_lost)

    change = credits.allocate(request(), 50)

    first, second = wire.sent(TRANSACT)
    assert first == second
    assert first["ClientRequestToken"]
    assert change.available == 50
    assert assert_books_balance("u1").available == 50


def test_a_finalize_whose_answer_was_lost_settles_once_and_gets_the_first_answer(user: MakeUser, wire: Faults) -> None:
    user("u1", 60)
    open_session()
    wire.fail(TRANSACT, answer_lost, answer_lost)

    answer = finalize()

    assert (answer.replayed, answer.session.settled.refund) == (False, 4)
    assert assert_books_balance("u1").charged == 2


def test_each_command_has_its_own_client_request_token(user: MakeUser, wire: Faults) -> None:
    user("u1", 10)
    credits.allocate(request(), 10)

    tokens = [sent["ClientRequestToken"] for sent in wire.sent(TRANSACT)]
    assert len(set(tokens)) == len(tokens) == 3


def test_after_an_answer_is_lost_for_good_the_idempotency_key_shows_what_happened(user: MakeUser, wire: Faults) -> None:
    user("u1")
    wire.fail(TRANSACT, *[answer_lost] * ATTEMPTS)

    with pytest.raises(Unavailable):
        credits.allocate(request("k"), 50)
    again = credits.allocate(request("k"), 50)

    assert again.replayed
    assert assert_books_balance("u1").available == 50


def test_after_a_conflict_everything_is_read_and_decided_again(user: MakeUser, wire: Faults) -> None:
    user("u1", 60)
    wire.requests.clear()
    wire.fail(TRANSACT, *[cancelled("None", "TransactionConflict", "None")] * 5)

    open_session()

    tokens = [sent["ClientRequestToken"] for sent in wire.sent(TRANSACT)]
    assert len(set(tokens)) == 6, "each attempt must be a new decision"
    assert len(wire.sent("GetItem")) == 6, "each attempt must read again"
    assert assert_books_balance("u1").held == 6


@pytest.mark.parametrize("reason", ["ThrottlingError", "ProvisionedThroughputExceeded", "TransactionConflict"])
def test_a_transaction_cancelled_for_a_temporary_reason_is_retried(reason: str, user: MakeUser, wire: Faults) -> None:
    user("u1")
    wire.fail(TRANSACT, cancelled("None", "None", reason))

    credits.allocate(request(), 50)

    assert wire.exhausted
    assert assert_books_balance("u1").available == 50


def test_a_throttled_transaction_is_distinguished_from_a_conflict(user: MakeUser, wire: Faults) -> None:
    user("u1")
    write = wallets.put(wallets.get(ACCOUNT), wallets.get(ACCOUNT))

    for reason, expected in (("ThrottlingError", Throttled), ("TransactionConflict", Conflict)):
        wire.fail(TRANSACT, cancelled(reason))
        with pytest.raises(Conflict) as refusal:
            transact([write])
        assert type(refusal.value) is expected


def test_a_late_request_whose_repeat_meets_a_conflict_is_carried_out_once(user: MakeUser, wire: Faults) -> None:
    """The first request may still arrive after the conflict, so ``transact`` sends the same transaction again.

    Both requests have the same token, so only one takes effect. The grant has no idempotency key: a new decision would
    have another token, and the credits would be granted twice.
    """
    user("u1")
    wire.requests.clear()
    withheld, overtaken = late()
    wire.fail(TRANSACT, withheld, cancelled("TransactionConflict", "None", "None"), overtaken)

    change = credits.allocate(request(), 50)

    assert wire.exhausted
    assert len({sent["ClientRequestToken"] for sent in wire.sent(TRANSACT)}) == 1
    assert change.available == 50
    assert assert_books_balance("u1").available == 50


def test_a_write_that_may_still_arrive_raises_unavailable(user: MakeUser, wire: Faults) -> None:
    user("u1")
    wire.fail(TRANSACT, never_arrives(), *[cancelled("TransactionConflict", "None", "None")] * 9)

    with pytest.raises(Unavailable):
        credits.allocate(request(), 50)


def test_a_heartbeat_waits_for_a_transaction_on_its_session(user: MakeUser, wire: Faults) -> None:
    user("u1", 60)
    open_session()
    wire.fail("UpdateItem", *[refused("TransactionConflictException")] * 3)

    assert sessions.heartbeat("u1", "s1", 100, now=NOW).tokens == 100


def test_a_heartbeat_that_keeps_meeting_transactions_raises_contention(user: MakeUser, wire: Faults) -> None:
    user("u1", 60)
    open_session()
    wire.fail("UpdateItem", *[refused("TransactionConflictException")] * 9)

    with pytest.raises(Contention):
        sessions.heartbeat("u1", "s1", 100, now=NOW)


@pytest.mark.parametrize("operation", ["UpdateItem", TRANSACT])
def test_no_pause_follows_the_last_attempt(
    operation: str, user: MakeUser, wire: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("u1", 60)
    open_session()
    sent_before = list[int]()
    monkeypatch.setattr(
        connection,
        "time",
        SimpleNamespace(monotonic=time.monotonic, sleep=lambda _seconds: sent_before.append(len(wire.sent(operation)))),
    )
    wire.requests.clear()
    if operation == TRANSACT:
        wire.fail(TRANSACT, never_arrives(), *[cancelled("TransactionConflict")] * 9)
        with pytest.raises(Unavailable):
            transact([wallets.put(wallets.get(ACCOUNT), wallets.get(ACCOUNT))])
    else:
        wire.fail("UpdateItem", *[refused("TransactionConflictException")] * 9)
        with pytest.raises(Conflict):
            runs.stop(ACCOUNT, "r1", NOW)

    assert len(sent_before) == len(transactions.CONFLICT_PAUSES_SECONDS)
    assert sent_before[-1] < len(wire.sent(operation))


def test_a_transaction_with_a_conflict_and_a_failed_condition_is_decided_again(user: MakeUser, wire: Faults) -> None:
    user("u1", 60)
    wire.fail(TRANSACT, cancelled("ConditionalCheckFailed", "TransactionConflict", "None"))

    answer = open_session()

    assert not answer.replayed
    assert assert_books_balance("u1").held == 6


@pytest.mark.parametrize("failure", ["ThrottlingException", "ProvisionedThroughputExceededException"])
def test_a_throttled_call_is_repeated(failure: str, user: MakeUser, wire: Faults) -> None:
    user("u1", 60)
    wire.fail(TRANSACT, *[refused(failure)] * (ATTEMPTS - 1))

    open_session()

    assert wire.exhausted
    assert assert_books_balance("u1").held == 6


@pytest.mark.parametrize(
    "fault",
    [
        refused("ThrottlingException"),
        refused("ProvisionedThroughputExceededException"),
        refused("RequestLimitExceeded"),
        refused("TransactionInProgressException"),
        refused("InternalServerError", 500),
        refused("ServiceUnavailable", 503),
        never_arrives(ReadTimeoutError),
        never_arrives(ConnectionClosedError),
        never_arrives(ConnectTimeoutError),
        never_arrives(EndpointConnectionError),
        answers(b"<html>Service Unavailable</html>", 503),
        answers(b'{"Responses": {'),
        answers(b"{}", checksum="1"),
    ],
    ids=[
        "throttled",
        "provisioned",
        "limit",
        "progress",
        "500",
        "503",
        "read",
        "closed",
        "connect",
        "endpoint",
        "page",
        "cut",
        "checksum",
    ],
)
@pytest.mark.parametrize("operation", ["BatchGetItem", TRANSACT])
def test_a_database_that_fails_at_every_attempt_raises_unavailable(
    operation: str, fault: Fault, user: MakeUser, wire: Faults
) -> None:
    user("u1", 60)
    wire.fail(operation, *[fault] * ATTEMPTS)

    with pytest.raises(Unavailable):
        credits.allocate(request(), 50)

    assert wire.exhausted
    assert assert_books_balance("u1").available == 60


def test_a_heartbeat_that_is_not_answered_raises_unavailable(user: MakeUser, wire: Faults) -> None:
    user("u1", 60)
    open_session()
    wire.fail("UpdateItem", *[never_arrives()] * ATTEMPTS)

    with pytest.raises(Unavailable):
        sessions.heartbeat("u1", "s1", 100, now=NOW)


def test_endless_conflicts_raise_contention_and_write_nothing(
    user: MakeUser, wire: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("u1", 60)
    monkeypatch.setattr(commit, "CONTENTION_SECONDS", 0.2)
    wire.fail(TRANSACT, *[cancelled("None", "TransactionConflict", "None")] * 1_000)

    with pytest.raises(Contention):
        open_session()

    assert assert_books_balance("u1").held == 0


def test_a_transaction_is_not_sent_if_credits_are_insufficient(user: MakeUser, wire: Faults) -> None:
    user("u1", 5)
    wire.requests.clear()

    with pytest.raises(InsufficientCredits):
        open_session()

    assert wire.sent(TRANSACT) == []
    assert len(wire.requests) <= 3


def test_an_unknown_cancellation_reason_raises_runtime_error(user: MakeUser, wire: Faults) -> None:
    user("u1", 60)
    wire.fail(TRANSACT, cancelled("None", "ValidationError", "None"))

    with pytest.raises(RuntimeError, match="ValidationError"):
        open_session()


def test_unprocessed_keys_of_a_batch_are_read_again(user: MakeUser, wire: Faults) -> None:
    user("u1", 60)
    name = wire.sent(TRANSACT)[0]["TransactItems"][0]["Put"]["TableName"]
    left = [{"pk": {"S": "USER#u1"}, "sk": {"S": "PROFILE"}}, {"pk": {"S": "ACCOUNT#user:u1"}, "sk": {"S": "WALLET"}}]
    nothing = {"Responses": {name: []}, "UnprocessedKeys": {name: {"Keys": left, "ConsistentRead": True}}}
    wire.fail("BatchGetItem", refused("", 200, **nothing))

    assert credits.balance_of("u1", NOW).available == 60
    assert wire.exhausted


@pytest.mark.parametrize(
    ("operation", "use"),
    [
        ("BatchGetItem", lambda: table.get_many([keys.profile("u1")])),
        ("BatchWriteItem", lambda: table.put_many([keys.profile("u1")])),
        ("BatchWriteItem", lambda: table.delete_one(keys.profile("u1"))),
    ],
    ids=["get_many", "put_many", "delete_one"],
)
def test_an_unprocessed_batch_is_sent_again_after_random_pauses_whose_limits_grow(
    operation: str, use: Callable[[], object], wire: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    limits, pauses = list(connection.BATCH_PAUSES_SECONDS), list[float]()
    monkeypatch.setattr(connection, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pauses.append))
    wire.fail(operation, *[leaves_everything] * (len(limits) + 9))

    with pytest.raises(Unavailable):
        use()

    assert len(wire.sent(operation)) == len(limits) + 1
    assert limits == sorted(set(limits))
    assert sum(limits) < connection.REQUEST_SECONDS
    assert len(pauses) == len(set(pauses)) == len(limits)
    assert all(0 <= pause <= limit for pause, limit in zip(pauses, limits, strict=True))


def test_a_users_first_request_survives_conflicts(wire: Faults) -> None:
    wire.fail(TRANSACT, cancelled("TransactionConflict", "None"), cancelled("ConditionalCheckFailed", "None"))

    user, created = users.sync(Description("u9", "u9@example.com", "Nine", "user"), NOW)

    assert (user.id, created) == ("u9", True)
    assert users.resolve("u9@example.com").user.id == "u9"


def test_a_request_that_has_taken_too_long_begins_no_more_calls(
    user: MakeUser, wire: Faults, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("u1", 60)
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.0)
    wire.requests.clear()

    with table.for_a_request(), pytest.raises(Unavailable):
        open_session()

    assert wire.requests == []
    assert open_session().session.active, "the limit must apply only in the block"


def test_the_time_limit_of_one_request_does_not_affect_other_threads(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("u1", 60)
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.0)

    with table.for_a_request(), ThreadPoolExecutor(1) as another:
        assert another.submit(open_session).result().session.active


def test_the_time_limit_still_applies_after_a_nested_time_limit_has_ended(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    user("u1", 60)
    monkeypatch.setattr(connection, "REQUEST_SECONDS", 0.0)
    with table.for_a_request():
        monkeypatch.setattr(connection, "REQUEST_SECONDS", 10.0)
        with table.for_a_request():
            pass
        with pytest.raises(Unavailable):
            open_session()
