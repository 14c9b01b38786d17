"""The client with the real service. Some tests cut the network between the client and the service."""

from __future__ import annotations

import asyncio
import logging
import random
import re
import time
from contextlib import suppress
from dataclasses import dataclass
from decimal import Decimal
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import (
    AccountingClient,
    ApiKey,
    AsyncAccountingClient,
    InsufficientCredits,
    PriceNotFound,
    Retries,
    SessionEnded,
    SessionNotActive,
    Unavailable,
    UserNotFound,
)
from client.tests.wire import FOREVER, Moment, Wire
from local.paths import ROOT
from tests.e2e.books import audited, balanced
from tests.e2e.client import MODEL, PLAIN, Person, new_id

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People

PATIENCE_SECONDS = 120
PATIENT = Retries(attempts=8, total_seconds=PATIENCE_SECONDS, first_seconds=0.01, longest_seconds=0.1)
BRIEF = Retries(attempts=8, total_seconds=3, first_seconds=0.01, longest_seconds=0.1)
ESTIMATE, TOKENS = 1000, 5000


class HungUpError(Exception):
    """The model's connection broke."""


@pytest.fixture(scope="module")
def wire(service: Stack) -> Iterator[Wire]:
    """Return the network between the client and the service, which tests can cut."""
    with Wire.to(service.base_url) as carried:
        yield carried


@pytest.fixture(autouse=True)
def _mended(wire: Wire) -> Iterator[None]:
    yield
    wire.mend()


def client_of(wire: Wire, person: Person, retries: Retries = PATIENT, **options: Any) -> AccountingClient:
    http = httpx.Client(trust_env=False, verify=PLAIN)
    return AccountingClient(
        wire.url, person.token, http=http, retries=retries, timeout_seconds=PATIENCE_SECONDS, **options
    )


def async_client_of(wire: Wire, person: Person, retries: Retries = PATIENT) -> AsyncAccountingClient:
    http = httpx.AsyncClient(trust_env=False, verify=PLAIN, limits=httpx.Limits(max_connections=None))
    return AsyncAccountingClient(wire.url, person.token, http=http, retries=retries, timeout_seconds=PATIENCE_SECONDS)


def sync_stream(wire: Wire, person: Person, body: Callable[[Any], Iterator[None]], **options: Any) -> Any:
    client = client_of(wire, person, options.pop("retries", PATIENT))
    with client, client.streaming_session(MODEL, ESTIMATE, **options) as session:
        for _ in body(session):
            time.sleep(0.01)
    return session


def async_stream(wire: Wire, person: Person, body: Callable[[Any], Iterator[None]], **options: Any) -> Any:
    async def run() -> Any:
        async with async_client_of(wire, person, options.pop("retries", PATIENT)) as client:
            async with client.streaming_session(MODEL, ESTIMATE, **options) as session:
                for _ in body(session):
                    await asyncio.sleep(0.01)
            return session

    return asyncio.run(run())


both_clients = pytest.mark.parametrize("stream", [sync_stream, pytest.param(async_stream, marks=pytest.mark.slow)])


@both_clients
@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize("step", ["initialize", "heartbeat", "finalize", "abort"])
def test_a_cut_network_charges_nothing_twice_and_leaves_nothing_held(
    service: Stack, people: People, wire: Wire, stream: Any, step: str, moment: Moment
) -> None:
    person, heartbeats = people(credits=100), wire.answered["heartbeat"]
    wire.cut(step, moment, times=2)

    def body(session: Any) -> Iterator[None]:
        session.add_tokens(TOKENS)
        deadline = time.monotonic() + PATIENCE_SECONDS
        while wire.answered["heartbeat"] == heartbeats:
            assert time.monotonic() < deadline, "no heartbeat was answered"
            yield
        if step == "abort":
            raise HungUpError

    with suppress(HungUpError):
        assert stream(wire, person, body, settle_seconds=PATIENCE_SECONDS).result.charged_credits == 5

    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (95, 0)
    (session,) = books.sessions
    assert session["status"] == ("failed" if step == "abort" else "completed")
    assert wire.answered["heartbeat"] > heartbeats


@both_clients
def test_the_id_of_an_ended_session_cannot_be_used_again(
    service: Stack, people: People, wire: Wire, stream: Any
) -> None:
    person, used = people(credits=100), new_id("session")

    def body(session: Any) -> Iterator[None]:
        session.add_tokens(TOKENS)
        yield

    stream(wire, person, body, session_id=used)
    with pytest.raises(SessionEnded):
        stream(wire, person, body, session_id=used)

    assert audited(service, person).balance["totalCredits"] == 95


@pytest.mark.slow
@both_clients
def test_a_failed_settlement_is_logged_and_can_be_repeated_later(
    service: Stack, people: People, wire: Wire, stream: Any, caplog: pytest.LogCaptureFixture
) -> None:
    person = people(credits=100)
    wire.cut("finalize", "before", times=FOREVER)

    def body(session: Any) -> Iterator[None]:
        session.add_tokens(700)
        yield

    with caplog.at_level(logging.ERROR):
        session = stream(wire, person, body, settle_seconds=0.5, retries=BRIEF)

    assert session.result is None
    assert f"session {session.session_id} could not be settled with 700 tokens" in caplog.text
    assert audited(service, person).balance["heldCredits"] == 2
    wire.mend()
    assert client_of(wire, person).finalize(session.session_id, 700).actual_credits == 1
    assert audited(service, person).balance["heldCredits"] == 0


@both_clients
def test_nothing_stays_held_if_the_answers_to_initialize_are_lost(
    service: Stack, people: People, wire: Wire, stream: Any
) -> None:
    person = people(credits=100)
    wire.cut("initialize", "after", times=FOREVER)

    with pytest.raises(Unavailable):
        stream(wire, person, lambda _: pytest.fail("the stream began"), retries=Retries(attempts=2, first_seconds=0.01))

    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (100, 0)


@both_clients
def test_a_stream_is_stopped_and_charged_if_its_hold_can_no_longer_be_raised(
    service: Stack, people: People, wire: Wire, stream: Any
) -> None:
    person, generated = people(credits=3), 0

    def body(session: Any) -> Iterator[None]:
        nonlocal generated
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            generated += 20
            session.add_tokens(20)
            yield

    with pytest.raises(InsufficientCredits) as refused:
        stream(wire, person, body, heartbeat_seconds=0.5, settle_seconds=PATIENCE_SECONDS)

    assert refused.value.shortfall > 0
    books = audited(service, person)
    assert books.balance["heldCredits"] == 0
    assert sum(entry["charged"] for entry in books.ledger) == -(-generated // 1000)
    assert books.balance["debt"] == -(-generated // 1000) - 3


def test_many_streams_over_a_bad_network_are_charged_what_was_generated(
    service: Stack, people: People, wire: Wire
) -> None:
    """Each request and each answer is lost with a probability of 1/4, and two of the six streams are canceled."""
    person, chance = people(credits=1000), random.Random(7)
    wire.is_cut = lambda _step, _moment: chance.random() < 0.25
    cost = 0

    async def one(client: AsyncAccountingClient, number: int) -> None:
        nonlocal cost
        session = client.streaming_session(MODEL, ESTIMATE, settle_seconds=PATIENCE_SECONDS, heartbeat_seconds=0.2)
        try:
            async with asyncio.timeout(None) as limit, session:
                for _ in range(10):
                    session.add_tokens(100 * number)
                    await asyncio.sleep(0.05)
                if number % 3 == 0:
                    limit.reschedule(asyncio.get_running_loop().time())
                    await asyncio.sleep(PATIENCE_SECONDS)
        except TimeoutError:
            pass
        assert session.result
        assert session.result.charged_credits == -(-session.tokens // 1000)
        cost += session.result.charged_credits

    async def run() -> None:
        retries = Retries(attempts=50, total_seconds=PATIENCE_SECONDS, first_seconds=0.01, longest_seconds=0.1)
        async with async_client_of(wire, person, retries) as client:
            await asyncio.gather(*(one(client, number) for number in range(1, 7)))

    asyncio.run(run())

    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (1000 - cost, 0)
    assert len(books.usage) == 6


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_command_over_a_cut_network_is_carried_out_once(
    service: Stack, people: People, admin: Person, wire: Wire, moment: Moment
) -> None:
    person, boss = people(), client_of(wire, admin)
    answers: dict[str, Any] = {}
    commands: dict[str, Callable[[], Any]] = {
        "allocate": lambda: boss.allocate(person.id, 50),
        "adjust": lambda: boss.adjust(person.id, -10),
        "remove": lambda: boss.remove(person.email, 5),
        "record": lambda: client_of(wire, person).record_usage("images", "render", 7, deduct=True),
        "set": lambda: boss.set_credits(person.id, 20, notes="as agreed"),
    }
    for step, command in commands.items():
        wire.cut(step, moment, times=1)
        answers[step] = command()

    assert {answer.replayed for answer in answers.values()} == {moment == "after"}
    assert answers["set"].previous_credits == 50 - 10 - 5 - 7
    books = balanced(service, person)
    assert books.balance["totalCredits"] == 20
    assert len(books.usage) == 1


def test_the_services_answers_fit_the_clients_types(service: Stack, people: People, admin: Person, wire: Wire) -> None:
    person = people(credits=100)
    user, boss = client_of(wire, person), client_of(wire, admin, service_key=service.internal_api_key)

    assert user.health().status == "ok"
    assert user.balance() == boss.balance(person.email)
    assert user.balance().active_allocations[0].expires_at.tzinfo is not None
    assert not user.check(101).sufficient
    assert user.calculate("anthropic.claude-3-haiku-20240307-v1:0", 1000).price_per_thousand_tokens == Decimal("0.25")
    _check_sessions(user, boss, person)
    _check_lists(user, boss, person)
    _check_keys(user, boss, person)
    _check_prices(user, boss)
    assert user.me() == boss.user(person.id)
    assert not boss.sync_user(person.id, person.email, "renamed").created
    assert user.record_usage("images", "render", 1, metadata={"size": 2.5}).deducted is False
    assert user.usage_stats().recent_activity[0].metadata == {"size": 2.5}
    assert boss.usage_stats(person.id, start_date=user.me().created_at).total_records == 2
    assert boss.system_usage(top=1000).total_records >= 0
    assert boss.audit(person.id).intact


def _check_sessions(user: AccountingClient, boss: AccountingClient, person: Person) -> None:
    session_id = new_id("session")
    assert user.initialize(session_id, MODEL, 2000).allocated_credits == 3
    assert user.initialize(session_id, MODEL, 2000).replayed
    assert user.heartbeat(session_id, 1500).tokens_generated == 1500
    assert [each.status for each in user.active_sessions()] == ["active"]
    assert list(boss.active_sessions(person.id)) == list(user.active_sessions(page_size=1))
    assert session_id in {each.session_id for each in boss.all_active_sessions(page_size=2)}
    assert user.finalize(session_id, 1800).refund == 1
    with pytest.raises(SessionNotActive) as over:
        user.abort(session_id)
    assert over.value.outcome == "finalized"
    with pytest.raises(SessionEnded):
        user.initialize(session_id, MODEL, 2001)
    with pytest.raises(InsufficientCredits) as refused:
        user.initialize(new_id("session"), MODEL, 10**6)
    assert refused.value.affordable_tokens
    assert next(boss.recent_sessions()).session_id
    (ended,) = boss.recent_sessions(person.id)
    assert (ended.used_credits, ended.completed_at is not None) == (2, True)


def _check_lists(user: AccountingClient, boss: AccountingClient, person: Person) -> None:
    for _ in range(4):
        boss.allocate(person.id, 1, expiry_days=1, notes="more")
    entries = list(user.ledger(page_size=2))
    assert [entry.seq for entry in entries] == list(range(len(entries), 0, -1))
    assert list(boss.ledger(person.id, start_date=entries[-1].at.date())) == entries
    assert [each.notes for each in user.allocations(page_size=2)] == ["more"] * 4 + [""]
    assert boss.allocations_page(person.id, page=2, limit=2).total == 5
    assert person.id in {each.user_id for each in boss.users(role="user", page_size=3)}
    with pytest.raises(UserNotFound):
        boss.balance("nobody at%41all")


def _check_keys(user: AccountingClient, boss: AccountingClient, person: Person) -> None:
    made = user.create_api_key("ci", permissions=["credits:read"], expiry_days=7)
    assert made.key
    assert user.with_token(ApiKey(made.key)).balance().user_id == person.id
    assert boss.validate_api_key(made.key).user_id == person.id
    assert not boss.validate_api_key("acct_unknown").valid
    assert not user.change_api_key(made.id, is_active=False).is_active
    assert user.revoke_api_key(made.id).message
    (listed,) = user.api_keys()
    assert listed.expires_at == made.expires_at
    assert user.delete_api_key(made.id).message


def _check_prices(user: AccountingClient, boss: AccountingClient) -> None:
    model = f"a/{new_id('model')}:v@1"
    rule = boss.add_price(model, Decimal("0.1234"))
    assert rule.effective_from
    assert user.price(model).price_per_thousand_tokens == Decimal("0.1234")
    assert user.prices_page(limit=1).default_price == 1
    ended = boss.end_price(model, rule.effective_from, rule.effective_from.replace(year=2100))
    assert ended.effective_to
    assert ended.effective_to.year == 2100
    with pytest.raises(PriceNotFound):
        boss.end_price(model, rule.effective_from.replace(year=2099), "2100-01-01")


def test_user_ids_may_have_special_characters(token: Mint, admin: Person, wire: Wire) -> None:
    boss = client_of(wire, admin)
    for odd in (f"{new_id('a')}%41%2Fb", f"{new_id('a')} ü+?#", f"{new_id('a')};=&:@b"):
        person = Person(admin.http, odd, token(odd, email=f"{new_id('odd')}@example.com"))
        assert client_of(wire, person).me().user_id == odd
        assert boss.balance(odd).user_id == odd


def test_an_expired_token_is_replaced_during_a_call(people: People, token: Mint, wire: Wire) -> None:
    person, now = people(credits=5), int(time.time())
    made = iter([token(person.id, exp=now - 3600), token(person.id)])

    with AccountingClient(wire.url, lambda: next(made), timeout_seconds=PATIENCE_SECONDS) as client:
        assert client.balance().total_credits == 5


def test_the_streaming_example_in_the_clients_readme_works(
    service: Stack, people: People, monkeypatch: pytest.MonkeyPatch
) -> None:
    person = people(credits=2)
    monkeypatch.setenv("ACCOUNTING_URL", service.base_url)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    examples = re.findall(r"```python\n(.*?)```", (ROOT / "client/README.md").read_text(), re.DOTALL)
    (lines,) = (each for each in examples if "async def answer(" in each)
    module: dict[str, Any] = {"llm": Model()}
    exec(compile(lines, "README.md", "exec"), module)

    async def run() -> list[str]:
        estimates = [{"inputTokens": 4, "outputTokens": output} for output in (100, 10**6)]
        answers = [[text async for text in module["answer"](person.token, "Why?", each)] for each in estimates]
        await module["accounting"].aclose()
        return ["".join(texts) for texts in answers]

    answered, refused = asyncio.run(run())

    assert answered == "Because." * 4
    assert refused == "\nYou lack 301 credits."
    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (1, 0)
    assert books.usage[0]["credits"] == 1
    assert books.usage[0]["usage"] == "4,400,0,0,0,0,0,0,1,0"


@dataclass(frozen=True)
class Chunk:
    text: str
    usage: dict[str, int] | None = None


class Model:
    """A fake model. It streams four chunks, then the usage."""

    async def stream(self, model: str, prompt: str) -> AsyncIterator[Chunk]:
        for _ in range(4):
            await asyncio.sleep(0.01)
            yield Chunk("Because.")
        yield Chunk("", {"prompt_tokens": 4, "completion_tokens": 400})
