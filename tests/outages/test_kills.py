"""An unreachable or slow database, and functions that are killed: nothing is lost, and nothing happens twice.

The function of the session routes is killed at four moments of `initialize` and of `finalize`: before and after it
reads the database, and before and after it writes. It is killed once at each moment, or ten times with ``KILLS=40``.
"""

from __future__ import annotations

import os
import platform
import signal
import subprocess
import threading
import time
from collections import Counter
from functools import partial
from itertools import cycle, islice
from pathlib import Path
from typing import TYPE_CHECKING

import httpx
import pytest

from tests.e2e.books import audited
from tests.e2e.changes import with_environment
from tests.e2e.client import MODEL, assert_refused, described, new_id, together
from tests.outages.proxy import Cut, Proxy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from local.stack import Stack
    from tests.e2e.client import Person
    from tests.e2e.conftest import People
    from tests.outages.proxy import Moment

FUNCTION = "streaming-sessions"
API_LIMIT_SECONDS = 29
READ, WRITE = "GetItem", "TransactWriteItems"
INITIALIZE: tuple[Moment, ...] = (("before", READ), ("after", READ), ("before", WRITE), ("after", WRITE))
FINALIZE: tuple[Moment, ...] = (
    ("before", "BatchGetItem"),
    ("after", "BatchGetItem"),
    ("before", WRITE),
    ("after", WRITE),
)
KILLS = int(os.environ.get("KILLS", "4"))


@pytest.fixture(scope="module")
def proxy(service: Stack) -> Iterator[Proxy]:
    """Return a proxy between the function and its database."""
    with (
        Proxy.to(service.endpoint_url) as between,
        with_environment(service, FUNCTION, AWS_ENDPOINT_URL_DYNAMODB=between.url),
    ):
        yield between


@pytest.fixture(autouse=True)
def _let_pass(proxy: Proxy) -> Iterator[None]:
    yield
    proxy.on_moment = lambda _moment: None


def cut(_moment: Moment) -> None:
    """Close every connection without an answer."""
    raise Cut


def hang(_moment: Moment) -> None:
    """Never answer in time."""
    time.sleep(API_LIMIT_SECONDS)
    raise Cut


def crawl(moment: Moment) -> None:
    """Answer each call just before the function stops waiting for it."""
    if moment[0] == "before":
        time.sleep(1.8)


@pytest.mark.parametrize("broken", [cut, hang], ids=["out of reach", "silent"])
def test_requests_are_refused_in_time_while_the_database_is_gone_and_succeed_when_it_is_back(
    service: Stack, people: People, proxy: Proxy, broken: Callable[[Moment], None]
) -> None:
    person = people(credits=1000)
    session_id = person.open(10_000)
    proxy.on_moment = broken
    opening = {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 1000}

    calls: list[Callable[[], httpx.Response]] = [
        partial(person.post, "streaming-sessions/initialize", opening),
        partial(person.heartbeat, session_id, 500),
        partial(person.finalize, session_id, 800),
        partial(person.get, "streaming-sessions/active"),
    ]
    for answer, seconds in together(len(calls), lambda number: calls[number]()):
        assert seconds < API_LIMIT_SECONDS
        assert_refused(answer, 503, "UNAVAILABLE")
        assert answer.headers["retry-after"] == "1"

    proxy.on_moment = lambda _moment: None
    assert [call().status_code for call in calls] == [201, 200, 200, 200]
    assert audited(service, person).balance["heldCredits"] == 2


def test_waiting_for_a_slow_database_ends_before_the_gateway_gives_up(
    service: Stack, people: People, proxy: Proxy
) -> None:
    """The database answers each call in time, but a list needs so many calls that the function gives up."""
    person = people("supervisor", credits=1000)
    session_id = person.open(10_000)
    proxy.on_moment = crawl

    began = time.monotonic()
    slow = person.finalize(session_id, 800)
    finalized = time.monotonic()
    given_up = person.get("streaming-sessions/recent")

    assert time.monotonic() - finalized < API_LIMIT_SECONDS
    assert_refused(given_up, 503, "UNAVAILABLE")
    assert finalized - began < API_LIMIT_SECONDS
    assert slow.status_code == 200, described(slow)
    proxy.on_moment = lambda _moment: None
    assert audited(service, person).wallet["charged"] == 1


def test_a_session_is_opened_once_even_if_the_function_dies_repeatedly(
    service: Stack, people: People, proxy: Proxy
) -> None:
    person = people(credits=2 * KILLS)
    seen: Counter[tuple[str, str]] = Counter()
    for moment in islice(cycle(INITIALIZE), KILLS):
        opening = {"sessionId": new_id("session"), "modelId": MODEL, "estimatedTokens": 1000}
        initialize = partial(person.post, "streaming-sessions/initialize", opening)
        _die_at(service, proxy, moment, initialize)
        again = initialize()
        assert again.status_code == (200 if moment == ("after", WRITE) else 201), described(again)
        assert again.json()["allocatedCredits"] == 2
        seen[moment] += 1

    books = audited(service, person)
    assert len(seen) == len(INITIALIZE)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (0, 2 * KILLS)
    assert books.kinds() == ["grant", *["hold"] * KILLS]


def test_a_session_is_settled_once_even_if_the_function_dies_repeatedly(
    service: Stack, people: People, proxy: Proxy
) -> None:
    person = people(credits=2 * KILLS)
    opened = [person.open(1000) for _ in range(KILLS)]
    for session_id, moment in zip(opened, cycle(FINALIZE), strict=False):
        finalize = partial(person.finalize, session_id, 900)
        _die_at(service, proxy, moment, finalize)
        again = finalize()
        assert again.status_code == 200, described(again)
        assert (again.json()["actualCredits"], again.json()["refund"]) == (1, 1)
        assert again.json().get("replayed", False) is (moment == ("after", WRITE))

    books = audited(service, person)
    assert (books.balance["totalCredits"], books.balance["heldCredits"]) == (KILLS, 0)
    assert books.kinds() == ["grant", *["hold"] * KILLS, *["settle"] * KILLS]
    assert len(books.usage) == KILLS


def test_an_organizations_limits_count_a_session_once_even_if_the_function_dies_repeatedly(
    service: Stack, admin: Person, people: People, proxy: Proxy
) -> None:
    owner, member = people(), people()
    made = admin.ok("POST", "organizations", {"name": "Acme", "ownerId": owner.id})
    account = made["accountId"]
    owner.ok("PUT", f"organizations/{made['organizationId']}/members/{member.id}", {"role": "member"})
    admin.ok("POST", "credits/allocate", {"accountId": account, "credits": 2 * KILLS})
    budget = {"limitCredits": 2 * KILLS, "window": "total"}
    owner.ok("PUT", f"budgets/{account}/member:{member.id}", budget)
    payer = {"accountId": account, "runId": "a-run"}
    member.ok("POST", "runs", {**payer, "limitCredits": 2 * KILLS})

    def counted() -> tuple[int, ...]:
        """The wallet's spendable and held credits, and the sums of the budget and the run."""
        (budget,) = owner.ok("GET", f"budgets/{account}")["budgets"]
        run = owner.ok("GET", f"runs/{account}/a-run")
        balance = owner.ok("GET", "credits/balance", params={"accountId": account})
        sums = (run[name] for name in ("committedCredits", "spentCredits", "sessions", "records"))
        return balance["totalCredits"], balance["heldCredits"], budget["committedCredits"], *sums

    opened = [new_id("session") for _ in range(KILLS)]
    # for an organization, initialize reads with BatchGetItem, so it has the same moments as finalize
    for number, (session_id, moment) in enumerate(zip(opened, cycle(FINALIZE), strict=False), start=1):
        body = {"sessionId": session_id, "modelId": MODEL, "estimatedTokens": 1000, **payer}
        initialize = partial(member.post, "streaming-sessions/initialize", body)
        _die_at(service, proxy, moment, initialize)
        again = initialize()
        assert again.status_code == (200 if moment == ("after", WRITE) else 201), described(again)
        held = 2 * number
        assert counted() == (2 * KILLS - held, held, held, held, 0, number, 0)
    for number, (session_id, moment) in enumerate(zip(opened, cycle(FINALIZE), strict=False), start=1):
        finalize = partial(member.finalize, session_id, 900, accountId=account)
        _die_at(service, proxy, moment, finalize)
        assert finalize().json()["refund"] == 1
        held, committed = 2 * (KILLS - number), 2 * KILLS - number
        assert counted() == (number, held, committed, committed, number, KILLS, number)

    assert admin.ok("GET", f"credits/audit/{account}")["intact"]


def _die_at(service: Stack, proxy: Proxy, moment: Moment, call: Callable[[], httpx.Response]) -> None:
    """Send a request, and kill the function's process when it reaches this moment."""
    reached, gone = threading.Event(), threading.Event()

    def stop(at: Moment) -> None:
        if at == moment and not reached.is_set():
            reached.set()
            gone.wait(API_LIMIT_SECONDS)
            raise Cut

    proxy.on_moment = stop
    killer = threading.Thread(target=_kill_when, args=(service, reached, gone))
    killer.start()
    try:
        answer = call()
        assert reached.is_set(), "the function never reached the moment"
        assert answer.is_server_error, f"the function was killed, but answered {described(answer)}"
    finally:
        reached.set()
        killer.join()
        proxy.on_moment = lambda _moment: None


def _kill_when(service: Stack, reached: threading.Event, gone: threading.Event) -> None:
    reached.wait(API_LIMIT_SECONDS)
    for pid in _workers(service):
        os.kill(pid, signal.SIGKILL)
    gone.set()


def _workers(service: Stack) -> list[int]:
    """Return the processes in which the function runs."""
    name = f"-lambda-{service.stack_name}-{FUNCTION}-"
    if platform.system() == "Linux":  # the local AWS forks these processes, so their command lines are all the same
        folders = ((int(link.parent.name), _folder(link)) for link in Path("/proc").glob("[0-9]*/cwd"))
        return [pid for pid, folder in folders if name in folder and folder.startswith(str(service.aws.log.parent))]
    columns = ["-o", "pid=", "-o", "ppid=", "-o", "command="]
    listed = subprocess.run(["ps", "-axww", *columns], capture_output=True, text=True, check=True).stdout
    found = [line.split(maxsplit=2) for line in listed.splitlines()]
    return [int(pid) for pid, parent, command in found if int(parent) == service.aws.process.pid and name in command]


def _folder(link: Path) -> str:
    """Return a process's working directory, or "" if the process has ended or belongs to another user."""
    try:
        return str(link.readlink())
    except OSError:
        return ""
