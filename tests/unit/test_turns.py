"""How long a command pauses after its write to a busy wallet was refused.

Each command counts how many other commands have changed the wallet since it first read the wallet. A command that
writes stores its count in the wallet, as ``passed``. ``Turns(10)`` belongs to a command that first read the wallet at
version 10, so at version 13 its count is 3. Pauses are measured in turns: a turn is as long as the refused attempt
took.
"""

import pytest

from accounting.domain.accounts import personal
from accounting.domain.sessions import Session
from accounting.domain.wallet import Wallet
from accounting.operations import turns as module
from accounting.operations.turns import AT_ONCE, LONGEST_THROTTLED_SECONDS, LONGEST_WAIT_SECONDS, Turns
from accounting.store.stale import StaleRead
from accounting.store.table import Conflict, Throttled
from tests.prices import per_thousand

ACCOUNT = personal("u1")
TURN_SECONDS = 0.02


@pytest.fixture(params=[0.0, 1.0])
def chance(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> float:
    """The random share of each pause: 0 for the shortest pauses, and 1 for the longest."""
    share: float = request.param
    monkeypatch.setattr(module, "jitter", lambda longest: longest * share)
    return share


def stale(version: int, passed: int) -> StaleRead:
    return StaleRead(wallet=Wallet(ACCOUNT, version=version, passed=passed))


def test_a_command_tries_again_at_once_if_its_count_equals_the_stored_count() -> None:
    assert Turns(10).pause(stale(version=13, passed=3), TURN_SECONDS) == 0


def test_a_command_tries_again_at_once_if_its_count_is_above_the_stored_count() -> None:
    assert Turns(10).pause(stale(version=19, passed=1), TURN_SECONDS) == 0


def test_a_command_with_a_low_count_lets_those_with_higher_counts_go_first(chance: float) -> None:
    pause = Turns(10).pause(stale(version=11, passed=8), TURN_SECONDS)

    assert pause == pytest.approx(7 * TURN_SECONDS * (0.5 + chance))


def test_a_command_with_a_higher_count_pauses_for_a_shorter_time(chance: float) -> None:
    turns = Turns(10)

    pauses = [turns.pause(stale(version, passed=4), TURN_SECONDS) for version in (11, 12, 13, 14)]

    assert pauses == sorted(pauses, reverse=True)
    assert pauses[0] > 0
    assert pauses[-1] == 0


def test_a_command_pauses_after_several_refusals_even_if_its_count_is_above_the_stored_count(chance: float) -> None:
    turns = Turns(10)

    pauses = [turns.pause(stale(version=11 + number, passed=0), TURN_SECONDS) for number in range(AT_ONCE + 2)]

    assert pauses[:AT_ONCE] == [0] * AT_ONCE
    assert pauses[AT_ONCE:] == pytest.approx([TURN_SECONDS * (0.5 + chance), 2 * TURN_SECONDS * (0.5 + chance)])


def test_a_command_tries_again_at_once_if_only_its_session_has_changed() -> None:
    session = Session("u1", "s1", ACCOUNT, "m", per_thousand(10_000), 1_000, (), 0, 0, 0, 0, 0)

    assert Turns(10).pause(StaleRead(session=session), TURN_SECONDS) == 0


def test_no_pause_is_longer_than_two_seconds(chance: float) -> None:
    assert Turns(10).pause(stale(version=11, passed=10_000), TURN_SECONDS) == LONGEST_WAIT_SECONDS == 2


def test_a_pause_after_a_transaction_conflict_does_not_grow_and_is_at_most_a_turn(chance: float) -> None:
    turns = Turns(10)

    assert {turns.pause(Conflict(), TURN_SECONDS) for _ in range(20)} == {TURN_SECONDS * chance}


def test_a_quick_attempt_counts_as_a_turn_of_five_milliseconds(chance: float) -> None:
    assert Turns(10).pause(Conflict(), 0.0) == 0.005 * chance


def test_pauses_grow_while_the_table_is_throttled(chance: float) -> None:
    turns = Turns(10)

    pauses = [turns.pause(Throttled(), TURN_SECONDS) for _ in range(100)]

    assert pauses[:3] == pytest.approx(
        [2 * TURN_SECONDS * chance, 4 * TURN_SECONDS * chance, 8 * TURN_SECONDS * chance]
    )
    assert pauses[-1] == LONGEST_THROTTLED_SECONDS * chance
