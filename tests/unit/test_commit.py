"""Getting through among others: against a world that moves on while one waits."""

import itertools
from dataclasses import replace

import pytest

from accounting.domain.accounts import personal
from accounting.domain.errors import Contention, InsufficientCredits
from accounting.domain.sessions import Session
from accounting.domain.wallet import Wallet
from accounting.operations import commit
from accounting.operations.commit import State, until_committed
from accounting.store.moved import Moved
from accounting.store.table import Conflict

ACCOUNT = personal("u1")
EMPTY = State(Wallet(ACCOUNT))


class World:
    """A wallet that others write: once while one decides, and again whenever one sleeps. Time passes in sleep only."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.version = 1
        self.busy = True
        self.monotonic = lambda: self.now
        monkeypatch.setattr(commit, "time", self)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.version += self.busy

    def read(self) -> State:
        return State(Wallet(ACCOUNT, version=self.version))

    def write(self, state: State) -> int:
        if state.wallet.version != self.version:
            raise Moved(wallet=self.read().wallet)
        return self.version


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_who_lost_decides_at_once_on_what_stands_there_and_is_not_starved(world: World) -> None:
    assert until_committed(world.write, EMPTY, world.read) == 1


def test_after_a_conflict_it_is_read_again(world: World) -> None:
    conflicts = iter([Conflict(), Conflict()])

    def step(state: State) -> int:
        for conflict in conflicts:
            raise conflict
        return world.write(state)

    assert until_committed(step, world.read(), world.read) == 3


def test_a_domain_error_is_an_answer(world: World) -> None:
    steps = itertools.count()

    def step(_state: State) -> None:
        next(steps)
        raise InsufficientCredits(1, 0, 0)

    with pytest.raises(InsufficientCredits):
        until_committed(step, EMPTY, world.read)
    assert next(steps) == 1


def test_conflicts_without_end_are_contention_when_time_is_up(world: World) -> None:
    def step(_state: State) -> None:
        raise Conflict

    with pytest.raises(Contention):
        until_committed(step, EMPTY, world.read)

    assert commit.CONTENTION_SECONDS - 1 < world.now <= commit.CONTENTION_SECONDS
    assert commit.CONTENTION_SECONDS < 15, "well inside a function's limit"


def test_losing_without_end_is_contention_when_time_is_up(world: World) -> None:
    def step(state: State) -> None:
        world.now += 0.1
        raise Moved(wallet=replace(state.wallet, version=state.wallet.version + 1))

    with pytest.raises(Contention):
        until_committed(step, EMPTY, world.read)


def test_what_a_refusal_does_not_bring_stays_as_it_was(world: World) -> None:
    seen: list[State] = []

    def step(state: State) -> None:
        seen.append(state)
        if len(seen) == 1:
            raise Moved(wallet=Wallet(ACCOUNT, version=7))

    known = State(Wallet(ACCOUNT), Session("u1", "s1", ACCOUNT, "m", 10_000, 1_000, (), 0, 0, 0, 0, 0))
    until_committed(step, known, world.read)

    assert seen[1] == replace(known, wallet=Wallet(ACCOUNT, version=7))
