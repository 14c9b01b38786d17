"""Runs random sequences of commands on a wallet and on ``Coins``, a simple model that has one coin for each credit.

The wallet's lots and sums must always equal the model's.
"""

from collections import Counter
from dataclasses import dataclass, replace
from typing import Literal

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from accounting.domain import wallet as decisions
from accounting.domain.accounts import personal
from accounting.domain.errors import InsufficientCredits
from accounting.domain.ledger import Cause, Entry
from accounting.domain.lots import Lot, merged
from accounting.domain.wallet import AnyDecision, Wallet
from tests.audit import assert_ledger_explains, assert_sound

NOW = 1_800_000_000_000
HOUR = 3_600_000
GRACE = 24 * HOUR

CREDITS = st.integers(1, 20)
FEW = st.integers(1, 6)
LIVES = st.sampled_from([1, 2, 3, 4, 60])
"""How many hours a lot lives. Most lives are short, so most lots expire while sessions hold them."""
PASSED = st.sampled_from([0, 0, 0, 1, 3, 22, 25, -5])
"""Hours from one command to the next. The number is negative if the clock of the next command runs behind."""


@dataclass(frozen=True)
class Coin:
    """One credit. ``graced``: it expired while it was held, and its refund made it valid for ``GRACE`` more, once."""

    expires_at: int
    lot: int
    graced: bool = False


class Coins:
    """A wallet as lists of single coins. This class uses neither the lots nor the sums of the code under test."""

    def __init__(self) -> None:
        self.free: list[Coin] = []
        self.held: dict[str, list[Coin]] = {}
        self.at = 0
        self.debt = self.granted = self.charged = self.removed = self.expired = 0

    def begin_command(self, at: int) -> None:
        self.at = max(self.at, at)
        self.drop_expired()

    def drop_expired(self) -> None:
        live = [coin for coin in self.free if coin.expires_at > self.at]
        self.expired += len(self.free) - len(live)
        self.free = live

    def end_command(self) -> None:
        self.drop_expired()
        self.debt -= len(self.take(min(self.debt, len(self.free))))

    def grant(self, lot: int, credits: int, expires_at: int) -> None:
        self.free += [Coin(expires_at, lot)] * credits
        self.granted += credits

    def take(self, credits: int) -> list[Coin]:
        self.free.sort(key=lambda coin: (coin.expires_at, coin.lot))
        taken, self.free = self.free[:credits], self.free[credits:]
        return taken

    def settle(self, session: str, used: int) -> None:
        coins = sorted(self.held.pop(session), key=lambda coin: (coin.expires_at, coin.lot))
        paid = len(coins[:used]) + len(self.take(max(0, used - len(coins))))
        self.charged += used
        self.debt += used - paid
        for coin in coins[used:]:
            self.free.append(self.revived(coin))

    def settle_late(self, difference: int) -> None:
        paid = len(self.take(max(0, difference)))
        self.charged += difference
        self.debt += max(0, difference) - paid
        self.free += [Coin(self.at + GRACE, 0, graced=True)] * max(0, -difference)

    def revived(self, coin: Coin) -> Coin:
        if coin.expires_at > self.at or coin.graced:
            return coin
        earlier = [other.expires_at for other in self.free if other.lot == coin.lot and other.graced]
        return replace(coin, expires_at=min(earlier, default=self.at + GRACE), graced=True)


class Wallets(RuleBasedStateMachine):
    """All commands that move credits, with several open sessions and jumps in time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = NOW
        self.wallet = Wallet(personal("u1"))
        self.entries: list[Entry] = []
        self.sessions: dict[str, tuple[Lot, ...]] = {}
        self.coins = Coins()
        self.session_count = 0

    def new_session_id(self) -> str:
        self.session_count += 1
        return f"{self.session_count:06d}"

    @property
    def next_lot(self) -> int:
        """The number of the lot that the next grant adds."""
        return self.wallet.allocations + 1

    def cause(self, passed: int) -> Cause:
        """Let hours pass, expire coins, and return the cause of the next command."""
        at = self.now + passed * HOUR
        self.now = max(self.now, at)
        self.coins.begin_command(at)
        return Cause("boss", at)

    def apply(self, decision: AnyDecision) -> None:
        assert decision.wallet.version == self.wallet.version + 1
        self.wallet = decision.wallet
        self.entries += decision.entries
        self.coins.end_command()

    @initialize(hours=LIVES)
    def two_sessions_share_a_lot(self, hours: int) -> None:
        """Begin in a state in which expiry and grace matter. Random sequences rarely reach such a state."""
        self.grant(12, hours, 0, "grant")
        for session in ("first", "second"):
            self.hold_for(session, 5, 0)

    @rule(credits=CREDITS, hours=LIVES, passed=PASSED, kind=st.sampled_from(["grant", "adjust"]))
    def grant(self, credits: int, hours: int, passed: int, kind: Literal["grant", "adjust"]) -> None:
        lot, expires_at = self.next_lot, self.now + (max(0, passed) + hours) * HOUR
        cause = self.cause(passed)
        self.coins.grant(lot, credits, expires_at)
        self.apply(decisions.grant(self.wallet, credits, expires_at=expires_at, cause=cause, kind=kind))

    @rule(credits=FEW, passed=PASSED, kind=st.sampled_from(["remove", "adjust"]))
    def remove(self, credits: int, passed: int, kind: Literal["remove", "adjust"]) -> None:
        cause, before = self.cause(passed), self.wallet
        try:
            decision = decisions.remove(before, credits, cause=cause, kind=kind)
        except InsufficientCredits:
            assert credits > len(self.coins.free)
            return self.expire_in_wallet(cause)
        self.coins.removed += len(self.coins.take(credits))
        return self.apply(decision)

    @rule(credits=FEW, passed=PASSED)
    def charge(self, credits: int, passed: int) -> None:
        cause = self.cause(passed)
        try:
            decision = decisions.charge(self.wallet, credits, cause=cause)
        except InsufficientCredits:
            assert credits > len(self.coins.free)
            return self.expire_in_wallet(cause)
        self.coins.charged += len(self.coins.take(credits))
        return self.apply(decision)

    @rule(wanted=st.integers(0, 40), hours=LIVES, passed=PASSED)
    def set_available(self, wanted: int, hours: int, passed: int) -> None:
        lot, expires_at = self.next_lot, self.now + (max(0, passed) + hours) * HOUR
        cause = self.cause(passed)
        self.coins.granted += self.coins.debt
        self.coins.debt = 0
        missing = wanted - len(self.coins.free)
        if missing > 0:
            self.coins.grant(lot, missing, expires_at)
        else:
            self.coins.removed += len(self.coins.take(-missing))
        self.apply(decisions.set_available(self.wallet, wanted, expires_at=expires_at, cause=cause))
        assert (self.wallet.available, self.wallet.debt) == (wanted, 0)

    @rule(credits=FEW, passed=PASSED, data=st.data())
    def hold(self, credits: int, passed: int, data: st.DataObject) -> None:
        self.hold_for(data.draw(st.sampled_from([*self.sessions, self.new_session_id()])), credits, passed)

    def hold_for(self, session: str, credits: int, passed: int) -> None:
        """Hold credits for a new session, or more credits for an open one."""
        cause = self.cause(passed)
        try:
            decision = decisions.hold(self.wallet, credits, cause=cause)
        except InsufficientCredits:
            assert credits > len(self.coins.free)
            return self.expire_in_wallet(cause)
        assert sum(part.credits for part in decision.parts) == credits
        self.sessions[session] = merged(self.sessions.get(session, ()), decision.parts)
        self.coins.held.setdefault(session, []).extend(self.coins.take(credits))
        return self.apply(decision)

    @precondition(lambda self: self.sessions)
    @rule(used=st.sampled_from([0, 0, 0, 1, 2, 4, 25]), passed=PASSED, data=st.data())
    def settle(self, used: int, passed: int, data: st.DataObject) -> None:
        cause = self.cause(passed)
        session = data.draw(st.sampled_from(sorted(self.sessions)))
        parts = self.sessions.pop(session)
        held = sum(part.credits for part in parts)
        self.coins.settle(session, used)
        decision = decisions.settle(self.wallet, parts, used, grace_milliseconds=GRACE, cause=cause)
        assert (decision.refund, decision.overrun) == (max(0, held - used), max(0, used - held))
        self.apply(decision)

    @precondition(lambda self: self.wallet.charged)
    @rule(difference=st.sampled_from([-25, -3, -1, 0, 1, 4, 25]), passed=PASSED)
    def settle_late(self, difference: int, passed: int) -> None:
        difference = max(difference, -self.wallet.charged)  # a refund is at most what was charged
        cause = self.cause(passed)
        self.coins.settle_late(difference)
        decision = decisions.settle_late(self.wallet, difference, grace_milliseconds=GRACE, cause=cause)
        assert (decision.refund, decision.overrun) == (max(0, -difference), max(0, difference))
        assert decision.wallet.held == self.wallet.held
        self.apply(decision)

    @rule(passed=PASSED)
    def expire(self, passed: int) -> None:
        self.expire_in_wallet(self.cause(passed))

    def expire_in_wallet(self, cause: Cause) -> None:
        """Expire credits in the wallet. ``self.cause`` has already expired the coins."""
        self.apply(decisions.expire(self.wallet, cause=cause))

    @invariant()
    def is_sound(self) -> None:
        assert_sound(self.wallet)
        assert self.wallet.held == sum(part.credits for parts in self.sessions.values() for part in parts)

    @invariant()
    def ledger_adds_up_to_the_wallet(self) -> None:
        assert_ledger_explains(self.wallet, self.entries)

    @invariant()
    def equals_the_coins(self) -> None:
        lots = {(lot.expires_at, lot.number, lot.grace): lot.credits for lot in self.wallet.lots}
        assert lots == Counter((coin.expires_at, coin.lot, coin.graced) for coin in self.coins.free)
        for name in ("debt", "granted", "charged", "removed", "expired"):
            assert getattr(self.wallet, name) == getattr(self.coins, name), name
        for session, parts in self.sessions.items():
            held = {(part.expires_at, part.number, part.grace): part.credits for part in parts}
            assert held == Counter((coin.expires_at, coin.lot, coin.graced) for coin in self.coins.held[session])


Wallets.TestCase.settings = settings(
    max_examples=2 * settings().max_examples,
    stateful_step_count=40,
    database=None,
    suppress_health_check=[HealthCheck.too_slow],
)
TestWallets = Wallets.TestCase
