"""The clients: chat proxies, supervisors, and users who record usage. They repeat a request only if that is safe."""

from __future__ import annotations

from collections.abc import Callable
from math import ceil, inf

from accounting.domain.accounts import AccountId, personal
from accounting.domain.errors import AccountingError
from accounting.domain.model_usage import Usage
from accounting.domain.usage import ModelCall
from accounting.domain.windows import WindowKind
from accounting.operations.budgets import BudgetValues
from local.uuid7 import uuid7
from tests.simulation import requests
from tests.simulation.requests import OK, REPEATABLE, Answer, Request, Who
from tests.simulation.scheduler import Scheduler, Task

PACES = (
    (0, 0, 1),
    (0, 5, 900),  # long enough for a sweep
    (0, 900, 3600),  # long enough for a session to time out
    (0, 900, 4500, 90_000),  # long enough for a lot to expire
)
"""The pauses of clients, in seconds. Each simulation uses one row."""
WINDOWS: tuple[WindowKind, ...] = ("day", "day", "month", "total")
ZONES = ("UTC", "Asia/Kathmandu")
STALE_SECONDS = 3600
RETRY_SECONDS = (0.1, 1, 30, 900, 4500)
APPOINTMENT_SECONDS = 900
LATENESS_SECONDS = 0.3
"""A pause of at least ``APPOINTMENT_SECONDS`` ends at a multiple of them, or up to ``LATENESS_SECONDS`` later.

Sweeps begin at multiples, too, so clients and sweeps often act at the same time.
"""
LARGEST_SKEW_MILLISECONDS = 3000


class Clients:
    """``living`` is how many clients still act. If ``calm``, they begin nothing new, and wait for every answer."""

    def __init__(
        self, scheduler: Scheduler, users: list[str], organizations: list[AccountId], clock: Callable[[], int]
    ) -> None:
        self.calm = False
        self.living = 0
        self.requests: list[Request] = []
        self._scheduler = scheduler
        self._random = scheduler.random
        self._users = users
        self._organizations = organizations
        self.clock = clock
        self._pace = self._random.choice(PACES)
        self._skews = [self._random.randint(-LARGEST_SKEW_MILLISECONDS, LARGEST_SKEW_MILLISECONDS) for _ in range(8)]
        self._names = 0
        self._runs: dict[AccountId, list[str]] = {}

    def join(self) -> None:
        """Start another client."""
        self.living += 1
        self._scheduler.spawn(f"client {self.living}", self._live)

    def _live(self) -> None:
        """Run one client: an action, a pause, another action."""
        while not self.calm:
            act = self._random.choices((self.stream, self.supervise, self.use, self.limit), (4, 3, 2, 2))[0]
            act(self._somebody())
            self._rest()
        self.living -= 1

    def _somebody(self) -> Who:
        """Choose a user who acts for themselves or for an organization."""
        user_id = self._random.choice(self._users)
        return Who(user_id, self._random.choice([personal(user_id), personal(user_id), *self._organizations]))

    def stream(self, who: Who) -> None:
        """Hold credits for a stream, report its progress, and end it. Some streams are never ended."""
        random, session_id = self._random, self._session_id()
        inputs = random.choice((0, 0, 1, 5)) * 1000
        run_id = self._run(who)
        estimated, reached = 1000 * random.randint(1, 20), 0
        begin = requests.initialize(who, session_id, "m", self._usage(inputs, estimated), run_id)
        if self._ask(begin).code != OK:
            return
        if random.random() < 0.1:  # somebody begins another stream with the same id
            self._ask(requests.initialize(who, session_id, "n", 1000))
        stalls = random.random() < 0.3
        for beat in range(random.randrange(4)):
            self._rest()
            if stalls and random.random() < 0.5:
                self._pause(STALE_SECONDS)
            reached = 1000 * (beat + 1) * random.choice((1, 5, 10))
            reported = self._usage(inputs * random.choice((1, 1, 2)), reached)
            if self._ask(requests.heartbeat(who, session_id, reported)).code == "SESSION_NOT_ACTIVE":
                break
        if random.random() < 0.1:
            self._ask(requests.force_end(who, session_id))
        self._rest()
        ends = [self._end(who, session_id, number, inputs) for number in range(random.choice((0, 1, 1, 2)))]
        fitting = range(reached, max(estimated, reached * 6 // 5), 10)
        last = [requests.heartbeat(who, session_id, random.choice(fitting)) for _ in range(random.randrange(4))]
        for one in ends[1:] + last:  # sent together with the first end: a second end, and heartbeats that fit the hold
            self._scheduler.spawn(f"client of {session_id}", lambda one=one: self._ask(one))  # type: ignore[misc]
        for one in ends[:1]:
            self._ask(one)
        if random.random() < 0.1:  # a repeat of the first request, perhaps after the session has ended
            self._ask(begin)

    def _usage(self, inputs: int, output: int) -> int | Usage:
        """Return a usage by class. Without input tokens, return only the number of output tokens."""
        if not inputs:
            return output
        cached, reasoning = self._random.choice((0, inputs // 2)), self._random.choice((0, output // 4))
        return Usage(inputs, output, cached_input=cached, reasoning=reasoning)

    def _end(self, who: Who, session_id: str, number: int, inputs: int) -> Request:
        """Return a request that ends a session.

        If two requests end a session, they report different numbers of tokens. So the stored number shows which request
        settled the session.
        """
        random = self._random
        hint = random.choice((None, who.account_id, personal("nobody")))
        kind, tokens = random.choice(("finalize", "finalize", "abort")), random.randrange(3_000) * 10 + number + 1
        if number == 0 and random.random() < 0.4:  # the client gives up
            return requests.end(who, session_id, "abort", None, success=False, hint=hint)
        used = tokens if random.random() < 0.2 else self._usage(inputs, tokens)
        return requests.end(who, session_id, kind, used, success=random.random() < 0.8, hint=hint)

    def supervise(self, who: Who) -> None:
        """Send a supervisor's command, or disable the user for a while. Some commands reuse an idempotency key."""
        random, name = self._random, self._name("c")
        if random.random() < 0.08:
            self._ask(requests.switch(name, who.user_id, off=True))
            self._rest()
            self._ask(requests.switch(name, who.user_id, off=False))
            return
        kind = random.choice(("grant", "grant", "grant", "set", "remove", "adjust"))
        amount = random.randint(1, 60) * (random.choice((-1, 1)) if kind == "adjust" else 1)
        key = random.choice((None, name, name, f"c{random.randrange(self._names)}"))
        self._ask(requests.command(name, kind, who.account_id, amount, random.choice((1, 1, 2, 30)), key))

    def use(self, who: Who) -> None:
        """Send a usage record, or create an API key."""
        random, name = self._random, self._name("u")
        key = random.choice((None, name))
        if random.random() < 0.15:
            self._ask(requests.api_key(name, who.user_id, key))
        else:
            deduct = random.random() < 0.6
            run_id = self._run(who) if deduct else None
            self._ask(requests.record(name, who, self._cost(), deduct=deduct, key=key, run_id=run_id))

    def limit(self, who: Who) -> None:
        """Set or delete a budget, begin or stop a run, or remove a member for a while."""
        random, name = self._random, self._name("l")
        what = random.randrange(7)
        if what < 2:
            begun = self._ask(requests.run(name, who, random.randint(5, 40)))
            if begun.code == OK:
                self._runs.setdefault(who.account_id, []).append(name)
        elif what == 2 and (run_id := self._run(who)):
            self._ask(requests.stop(run_id, who))
        elif what == 3 and who.account_id in self._organizations:
            self._ask(requests.member(name, who, leaves=True))
            self._rest()
            self._ask(requests.member(name, who, leaves=False))
        else:
            window, zone = random.choice(WINDOWS), random.choice(ZONES)
            wanted = BudgetValues(random.choice((0, 5, 20, 60)), window, zone) if random.random() < 0.85 else None
            all_members = ["members"] if who.account_id in self._organizations else []
            subject = random.choice([f"member:{who.user_id}", *all_members])
            self._ask(requests.budget(name, who.account_id, subject, wanted))

    def _run(self, who: Who) -> str | None:
        """Return a run of the account, or None, because not all spending belongs to a run."""
        begun = self._runs.get(who.account_id, [])
        return self._random.choice([None, begun[-1], *begun]) if begun else None

    def _cost(self) -> int | ModelCall:
        """Return credits, or the usage of a model."""
        random = self._random
        if random.random() < 0.5:
            return random.randrange(12)
        return ModelCall(random.choice("mn"), Usage(random.randrange(5_000), random.randrange(3_000), cache_write=1))

    def _ask(self, request: Request) -> Answer:
        """Send a request, repeat it if that is safe and its answer is not final, and return the last answer.

        Sometimes two workers get the request at the same time. Sometimes the client stops waiting while a worker is
        still busy.
        """
        self.requests.append(request)
        if request.repeatable and self._random.random() < 0.1:
            self._deliver(request)
        while True:
            answer, delivery = self._deliver(request)
            patience = inf if self.calm else self._random.choice((0.05, 30, 30, 30))
            self._scheduler.pause(patience, until=delivery)
            if answer.code not in REPEATABLE or not request.repeatable:
                return answer
            if not self.calm and self._random.random() < 0.1:
                return answer
            self._pause(self._random.choice(RETRY_SECONDS))

    def _deliver(self, request: Request) -> tuple[Answer, Task]:
        """Give a request to a worker whose clock is slightly wrong."""
        answer = Answer()
        request.answers.append(answer)
        skew = self._random.choice(self._skews)

        def work() -> None:
            try:
                answer.value = request.send(self.clock() + skew)
                answer.code = OK
            except AccountingError as refusal:
                answer.code = refusal.code

        return answer, self._scheduler.spawn(f"{request.kind} {request.name}", work)

    def _rest(self) -> None:
        self._pause(self._random.choice(self._pace))

    def _pause(self, seconds: float) -> None:
        now = self._scheduler.now
        if seconds >= APPOINTMENT_SECONDS:
            meeting = ceil((now + seconds) / APPOINTMENT_SECONDS) * APPOINTMENT_SECONDS
            seconds = meeting - now + self._random.uniform(0, LATENESS_SECONDS)
        self._scheduler.pause(seconds)

    def _session_id(self) -> str:
        """Return an id for a session. About half of the ids are UUIDv7s, which contain the current time."""
        name = self._name("s")
        return uuid7(self.clock(), self._names) if self._names % 2 else name

    def _name(self, letter: str) -> str:
        self._names += 1
        return f"{letter}{self._names}"
