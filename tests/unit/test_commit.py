"""Retrying until a commit succeeds, while others change the data.

A refused commit raises StaleRead with the newer values, or Conflict without them. In a wallet, ``passed`` is how
many other commands wrote since a command first read, and ``terms`` counts changes to members and budgets.
"""

import itertools

import pytest

from accounting.domain.accounts import personal
from accounting.domain.budgets import Allowance, Counter, Spender
from accounting.domain.errors import BudgetExceeded, Contention, InsufficientCredits
from accounting.domain.sessions import Session
from accounting.domain.wallet import Wallet
from accounting.operations import commit
from accounting.operations.commit import Snapshot, retry_until_committed
from accounting.operations.turns import AT_ONCE
from accounting.store.stale import StaleRead
from accounting.store.table import Conflict
from tests.prices import per_thousand

ACCOUNT = personal("u1")
EMPTY = Snapshot(Wallet(ACCOUNT))


class World:
    """A wallet and a clock. While ``busy``, others change the wallet during each pause. Pauses advance the clock."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 0.0
        self.version = 1
        self.busy = True
        self.monotonic = lambda: self.now
        monkeypatch.setattr(commit, "time", self)

    def sleep(self, seconds: float) -> None:
        self.now += seconds
        self.version += self.busy

    def read(self) -> Snapshot:
        return Snapshot(Wallet(ACCOUNT, version=self.version))

    def write(self, snapshot: Snapshot) -> int:
        if snapshot.wallet.version != self.version:
            raise StaleRead(wallet=self.read().wallet)
        return self.version


@pytest.fixture
def world(monkeypatch: pytest.MonkeyPatch) -> World:
    return World(monkeypatch)


def test_after_a_stale_read_the_next_attempt_follows_at_once(world: World) -> None:
    assert retry_until_committed(world.write, read=world.read, first=EMPTY) == 1


def test_after_a_conflict_everything_is_read_again(world: World) -> None:
    conflicts = iter([Conflict(), Conflict()])

    def attempt(snapshot: Snapshot) -> int:
        for conflict in conflicts:
            raise conflict
        return world.write(snapshot)

    assert retry_until_committed(attempt, read=world.read) == 3


def test_a_command_that_waits_for_others_reads_everything_again(world: World) -> None:
    world.busy = False
    stale = iter([StaleRead(wallet=Wallet(ACCOUNT, version=1, passed=4))])

    def attempt(snapshot: Snapshot) -> int:
        for refusal in stale:
            world.version = 3
            raise refusal
        return world.write(snapshot)

    assert retry_until_committed(attempt, read=world.read, first=EMPTY) == 3
    assert world.now > 0


def test_counters_that_were_not_read_again_keep_their_values(world: World) -> None:
    counter, allowance = Counter("member", 1, "total"), Allowance(Spender("u1", ACCOUNT))
    wallets = iter(StaleRead(wallet=Wallet(ACCOUNT, version=number)) for number in range(AT_ONCE + 1))
    world.busy = False

    def attempt(snapshot: Snapshot) -> None:
        for stale in wallets:
            raise stale
        if counter in snapshot.allowance.committed:
            raise BudgetExceeded(6, 0)
        raise StaleRead(allowance=allowance.with_counters({counter: 24}))

    with pytest.raises(BudgetExceeded):
        retry_until_committed(attempt, read=world.read)


def test_counters_that_were_read_again_replace_the_older_values(world: World) -> None:
    counter, allowance = Counter("member", 1, "total"), Allowance(Spender("u1", ACCOUNT))
    snapshots = iter([EMPTY, Snapshot(Wallet(ACCOUNT), allowance=allowance.with_counters({counter: 6}))])
    refusals = iter([StaleRead(wallet=Wallet(ACCOUNT, terms=1), allowance=allowance.with_counters({counter: 24}))])

    def attempt(snapshot: Snapshot) -> int:
        for stale in refusals:
            raise stale
        return snapshot.allowance.committed[counter]

    assert retry_until_committed(attempt, read=lambda: next(snapshots)) == 6


def test_each_attempt_gets_the_number_of_commands_that_wrote_since_the_first_read(world: World) -> None:
    written: list[int] = []

    def attempt(snapshot: Snapshot) -> None:
        written.append(snapshot.wallet.passed)
        if len(written) < 3:
            newer = Wallet(ACCOUNT, version=snapshot.wallet.version + 2, passed=0)
            raise StaleRead(wallet=newer)

    retry_until_committed(attempt, read=world.read, first=Snapshot(Wallet(ACCOUNT, version=5, passed=9)))

    assert written == [0, 2, 4]


def test_a_domain_error_is_raised_and_not_retried(world: World) -> None:
    attempts = itertools.count()

    def attempt(_snapshot: Snapshot) -> None:
        next(attempts)
        raise InsufficientCredits(1, 0, 0)

    with pytest.raises(InsufficientCredits):
        retry_until_committed(attempt, read=world.read, first=EMPTY)
    assert next(attempts) == 1


def test_endless_conflicts_raise_contention_when_time_is_up(world: World) -> None:
    def attempt(_snapshot: Snapshot) -> None:
        raise Conflict

    with pytest.raises(Contention):
        retry_until_committed(attempt, read=world.read, first=EMPTY)

    assert commit.CONTENTION_SECONDS - 1 < world.now <= commit.CONTENTION_SECONDS
    assert commit.CONTENTION_SECONDS < 15, "well within the time limit of a function"


def test_endless_stale_reads_raise_contention_when_time_is_up(world: World) -> None:
    def attempt(snapshot: Snapshot) -> None:
        world.now += 0.1
        raise StaleRead(wallet=snapshot.wallet._replace(version=snapshot.wallet.version + 1))

    with pytest.raises(Contention):
        retry_until_committed(attempt, read=world.read, first=EMPTY)


def test_a_stale_read_replaces_only_the_values_that_it_has(world: World) -> None:
    seen: list[Snapshot] = []

    def attempt(snapshot: Snapshot) -> None:
        seen.append(snapshot)
        if len(seen) == 1:
            raise StaleRead(wallet=Wallet(ACCOUNT, version=7))

    known = Snapshot(Wallet(ACCOUNT), Session("u1", "s1", ACCOUNT, "m", per_thousand(10_000), 1_000, (), 0, 0, 0, 0, 0))
    retry_until_committed(attempt, read=world.read, first=known)

    assert seen[1] == known._replace(wallet=Wallet(ACCOUNT, version=7, passed=7))
