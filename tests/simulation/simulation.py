"""One simulation: users and their clients, drawn from a seed, and the checks after every step and at the end."""

from __future__ import annotations

import traceback
from collections import Counter
from dataclasses import dataclass, field

from accounting.domain.accounts import stored
from accounting.domain.pricing import PriceRule
from accounting.domain.rates import RATE_SCALE, RateCard, Rates, Tier
from accounting.domain.usage import Sums
from accounting.domain.users import Description
from accounting.operations import prices, system_usage
from accounting.settings import settings
from accounting.store import session_lists, sessions, users, wallets
from accounting.times import DAY
from tests.audit import assert_ledger_explains
from tests.members import organization_with
from tests.simulation.background import Background
from tests.simulation.books import Books, sums_by_day
from tests.simulation.clients import Clients
from tests.simulation.connection import Connection
from tests.simulation.database import Database
from tests.simulation.limits import Limits
from tests.simulation.sabotage import sabotaged
from tests.simulation.scheduler import Scheduler
from tests.simulation.surroundings import simulated

BEGIN = 1_800_000_000_000
STEPS = 400
THOUSAND = 1_000 * RATE_SCALE
CARD = RateCard(
    Rates(THOUSAND, THOUSAND, cached_input=THOUSAND // 10, reasoning=2 * THOUSAND),
    (Tier(8_000, Rates(input=2 * THOUSAND)),),
)
"""The price of the model ``m``: 1 credit for 1,000 tokens. Cached input costs a tenth of that, reasoning twice as much.
If a request has more than 8,000 input tokens, its input costs twice as much."""
RISKS = (0.0, 0.02, 0.08, 0.2)
"""Probabilities that a call to the database fails. Each simulation draws one of them."""


@dataclass
class RunCounts:
    """Counts of what happened in one or more simulations."""

    calls: int = 0
    faults: Counter[str] = field(default_factory=Counter)
    outcomes: Counter[str] = field(default_factory=Counter)
    background: Counter[str] = field(default_factory=Counter)

    def add(self, other: RunCounts) -> None:
        """Add the counts of another simulation."""
        self.calls += other.calls
        for name in ("faults", "outcomes", "background"):
            getattr(self, name).update(getattr(other, name))


class Violation(Exception):
    """The service broke a promise. The message says which one. ``last_calls`` are the last calls to the database."""

    def __init__(self, broken: BaseException, last_calls: list[str]) -> None:
        where = traceback.extract_tb(broken.__traceback__)[-1]
        super().__init__(f"{type(broken).__name__}: {broken} ({where.filename}:{where.lineno})")
        self.last_calls = last_calls


class Simulation:
    """The simulation of one seed.

    The first ``steps`` calls to the database may fail. The later calls never fail, so that everything can end.
    """

    def __init__(self, seed: int, steps: int = STEPS) -> None:
        self.scheduler = Scheduler(seed)
        random = self.scheduler.random
        self.database = Database()
        self.connection = Connection(self.scheduler, self.database, 0)
        self.books = Books(self.database, Limits(self.database))
        self.users = [f"u{number}" for number in range(random.randint(1, 3))]
        self.organizations = [stored(f"org:o{number}") for number in range(random.randint(0, 2))]
        self.clients = Clients(self.scheduler, self.users, self.organizations, self.clock)
        self.background = Background(self.scheduler, self.clients, self.books.new_records)
        self._steps = steps

    def clock(self) -> int:
        """The true time, in epoch milliseconds. Workers' clocks may differ from it."""
        return BEGIN + int(self.scheduler.now * 1000)

    def run(self, sabotage: str | None = None) -> RunCounts:
        """Run to the end. Raises Violation at the first broken promise."""
        try:
            with simulated(self.scheduler, self.connection), sabotaged(sabotage):
                try:
                    self._begin()
                    self._trouble()
                    self._calm()
                    self._verify()
                finally:
                    self.scheduler.stop()
        except Exception as broken:
            raise Violation(broken, list(self.connection.last_calls)) from broken
        requests = self.clients.requests
        outcomes = Counter(f"{request.kind}: {answer}" for request in requests for answer in request.answers)
        return RunCounts(self.connection.steps, self.connection.faults, outcomes, self.background.done)

    def _begin(self) -> None:
        random = self.scheduler.random
        for user_id in self.users:
            users.sync(Description(user_id, f"{user_id}@example.com", user_id, "user"), self.clock())
        for account_id in self.organizations:
            organization_with(account_id, *self.users)
        prices.add(PriceRule("m", CARD, 0), now=self.clock(), key=None)
        for _ in range(random.randint(2, 6)):
            self.clients.join()
        for number in range(2):
            self.scheduler.spawn(f"sweeper {number}", self.background.sweeper)
            self.scheduler.spawn(f"consumer {number}", self.background.consumer)
        self.scheduler.spawn("auditor", self.background.auditor)
        self.connection.risk = random.choice(RISKS)

    def _trouble(self) -> None:
        while self.connection.steps < self._steps:
            self.scheduler.step()
            self.books.follow()

    def _calm(self) -> None:
        """Let all clients finish without faults. Then let a day pass, and sweep until nothing is left to sweep."""
        self.connection.risk = 0
        self.clients.calm = True
        while self.scheduler.step():
            self.books.follow()
        self.scheduler.now += DAY / 1000
        while (swept := self.background.sweep()).sessions or swept.wallets:
            self.books.follow()
        self.background.deliver_all()
        self.background.deliver_all()
        self.background.audit()
        self.books.follow()

    def _verify(self) -> None:
        now = self.clock() - 3000
        assert not any(sessions.due(now)), "the sweeper left a stale session"
        assert not any(wallets.due(now)), "the sweeper left an expired lot"
        whole = Books(self.database)
        self.database.written = self.database.keys()
        whole.follow()
        for account_id, books in whole.accounts.items():
            assert books.wallet.held == 0, f"{account_id} holds credits without a session"
            assert_ledger_explains(books.wallet, books.ledger)
        for request in self.clients.requests:
            request.verify(whole.of(request.account_id))
        whole.check_pointers()
        for user_id in self.users:
            self._verify_list(user_id, now, whole)
        self._verify_system(whole)

    def _verify_list(self, user_id: str, now: int, whole: Books) -> None:
        """Check that a user's session list, read page by page, has each session of the retention period once."""
        since, listed, before = now - settings().session_retention, [], None
        while True:
            page, before = session_lists.recent_of_user(user_id, now=now, before=before, limit=3)
            listed += [session.session_id for session in page if session.started_at >= since]
            if before is None:
                break
        begun = [session for books in whole.accounts.values() for session in books.sessions.values()]
        kept = [each.session_id for each in begun if each.user_id == user_id and each.started_at >= since]
        assert sorted(listed) == sorted(kept), (
            f"the session list of {user_id} lacks a session, has one too many, or has one twice"
        )

    def _verify_system(self, whole: Books) -> None:
        stored = system_usage.statistics(BEGIN - DAY, self.clock() + DAY, top=10, now=self.clock())
        total = Sums()
        by_day: Counter[str] = Counter()
        by_user: dict[str, int] = {}
        for user_id in self.users:
            own = sums_by_day(record for record in whole.records() if record.user_id == user_id)
            for day, sums in own.items():
                total.merge(sums)
                by_day[day] += sums.credits
            if own:
                by_user[user_id] = sum(sums.credits for sums in own.values())
        assert stored.sums == total, "the system's sums differ from a recount"
        found, expected = (
            {day: credits for day, credits in days.items() if credits} for days in (stored.by_day, by_day)
        )
        assert found == expected, "the system's days differ from a recount"
        assert stored.by_user == by_user
