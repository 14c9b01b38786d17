"""The requests of the simulated clients, and the check that the table agrees with the answers."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from accounting.domain.accounts import AccountId, organization_of, personal
from accounting.domain.budgets import Spender
from accounting.domain.model_usage import Usage
from accounting.domain.pricing import DEFAULT_CARD
from accounting.domain.runs import Run
from accounting.domain.sessions import Outcome, Report
from accounting.domain.usage import ModelCall
from accounting.domain.users import User
from accounting.operations import api_keys, budgets, credits, organizations, runs, sessions, settling, usage, users
from accounting.operations.credits import CreditChange
from accounting.operations.usage import Event, Recorded
from accounting.store.idempotency import IdempotencyKey
from accounting.store.users import ById
from tests.simulation.books import AccountBooks

OK = "OK"
NO_ANSWER = "NO ANSWER"
UNKNOWN = (NO_ANSWER, "UNAVAILABLE", "INTERNAL_ERROR")
"""After these errors, the request may or may not have been carried out."""
REPEATABLE = (*UNKNOWN, "CONTENTION")
"""After these errors, a client may send a ``repeatable`` ``Request`` again.

CONTENTION promises that nothing was written.
"""

SUPERVISOR = "boss"
COMMANDS: dict[str, Callable[[credits.Request, int], CreditChange]] = {
    "grant": credits.allocate,
    "set": credits.set_available,
    "remove": credits.remove,
    "adjust": credits.adjust,
}


class Who(NamedTuple):
    """A user, and the account that they use: their own, or an organization's."""

    user_id: str
    account_id: AccountId


OUTCOMES: dict[str, Outcome] = {"finalize": "finalized", "abort": "aborted"}


@dataclass
class Answer:
    """The outcome of one delivery of a request. ``code`` is OK, an error's code, or NO_ANSWER."""

    code: str = NO_ANSWER
    value: Any = None

    def __str__(self) -> str:
        return f"{self.code} (replayed)" if getattr(self.value, "replayed", False) else self.code


@dataclass
class Request:
    """A request of a client, delivered once or more often.

    ``send`` gets the time on a worker's clock, and carries out the request. ``agrees`` returns whether an answer
    matches the table. ``effects`` counts how often the request took effect in the table. It is None if this is not
    checked. A heartbeat, for example, may take effect any number of times.
    """

    name: str
    kind: str
    account_id: AccountId
    repeatable: bool
    send: Callable[[int], Any]
    effects: Callable[[AccountBooks], int] | None
    agrees: Callable[[AccountBooks, Any], bool]
    answers: list[Answer] = field(default_factory=list)

    def verify(self, books: AccountBooks) -> None:
        """Check that the table agrees with each OK answer, and that the request took effect as often as it should.

        If an answer is OK, the request took effect once. If no answer is OK but one is in ``UNKNOWN``, the request took
        effect at most once. If all answers are other errors, it never took effect.
        """
        codes = [answer.code for answer in self.answers]
        if self.effects:
            done = self.effects(books)
            least, most = int(OK in codes), int(OK in codes or bool(set(codes) & set(UNKNOWN)))
            assert least <= done <= most, f"{self.name} ({self.kind}) was answered {codes} and done {done} times"
        for answer in self.answers:
            if answer.code == OK:
                assert self.agrees(books, answer.value), (
                    f"the table contradicts the answer to {self.name} ({self.kind}): {answer.value}"
                )


def command(name: str, kind: str, account_id: AccountId, amount: int, days: int, key: str | None) -> Request:
    """A supervisor's command on an account's credits."""

    def send(now: int) -> CreditChange:
        sent = IdempotencyKey(SUPERVISOR, kind, key, f"{name} {amount}") if key else None
        request = credits.Request(SUPERVISOR, "", name, days, now, sent, account_id=account_id)
        return COMMANDS[kind](request, amount)

    def agrees(books: AccountBooks, change: CreditChange) -> bool:
        (entry,) = books.entries_of[name]
        expected = {"grant": amount, "set": change.available - change.previous, "remove": -amount, "adjust": amount}
        return entry.credits == expected[kind] and change.credits == amount

    return Request(name, kind, account_id, key is not None, send, lambda books: len(books.entries_of[name]), agrees)


def record(
    name: str, who: Who, cost: int | ModelCall, *, deduct: bool, key: str | None, run_id: str | None = None
) -> Request:
    """A usage record of a user, with credits or with the usage of a model."""
    user_id = who.user_id
    event = Event(user_id, "images", "draw", cost, {"request": name}, deduct, who.account_id, None, "k", run_id)
    amount = cost if isinstance(cost, int) else DEFAULT_CARD.cost(cost.usage)

    def send(now: int) -> Recorded:
        return usage.record(event, now=now, key=IdempotencyKey(user_id, "usage", key, name) if key else None)

    def agrees(books: AccountBooks, recorded: Recorded) -> bool:
        charged = books.charged.get(recorded.record.id)
        right_cost = recorded.record.credits == amount and charged == (amount if recorded.deducted else None)
        answered = recorded.record
        if recorded.replayed:  # an answer is stored without metadata, so that metadata can be erased
            answered = answered._replace(metadata=event.metadata)
        return books.records_of[name] == [answered] and right_cost

    kind = "record and deduct" if deduct else "record"
    return Request(name, kind, who.account_id, key is not None, send, lambda books: len(books.records_of[name]), agrees)


def api_key(name: str, user_id: str, key: str | None) -> Request:
    """The creation of an API key."""

    def send(now: int) -> api_keys.CreatedKey:
        sent = IdempotencyKey(user_id, "api-keys", key, name) if key else None
        return api_keys.create(user_id, name, ("credits:read",), expires_at=None, now=now, idempotency_key=sent)

    def effects(books: AccountBooks) -> int:
        return list(books.api_keys.values()).count(name)

    return Request(
        name, "api key", personal(user_id), key is not None, send, effects, lambda _, made: made.key.name == name
    )


def switch(name: str, user_id: str, *, off: bool) -> Request:
    """A supervisor disables or enables a user. This may take effect any number of times."""

    def send(now: int) -> User:
        if off:
            return users.disable(user_id, by=SUPERVISOR, reason=name, now=now)
        return users.enable(user_id, now=now)

    def agrees(_books: AccountBooks, user: User) -> bool:
        return user.disabled == off

    return Request(name, "disable" if off else "enable", personal(user_id), True, send, None, agrees)


def budget(name: str, account_id: AccountId, subject: str, wanted: budgets.BudgetValues | None) -> Request:
    """An administrator sets a budget, or deletes it."""
    boss = budgets.Requester(SUPERVISOR, is_administrator=True)

    def send(now: int) -> budgets.BudgetState | None:
        if wanted is None:
            budgets.delete(account_id, subject, by=boss)
            return None
        return budgets.put(account_id, subject, wanted, by=boss, now=now)

    def agrees(_books: AccountBooks, state: budgets.BudgetState | None) -> bool:
        return wanted is None or (state is not None and state.budget.limit == wanted.limit)

    kind = "delete budget" if wanted is None else "budget"
    return Request(name, kind, account_id, True, send, None, agrees)


def run(name: str, who: Who, limit: int) -> Request:
    """A user begins a run."""
    spender = Spender(who.user_id, who.account_id)

    def send(now: int) -> runs.BegunRun:
        return runs.begin(spender, name, limit, expires_at=None, metadata={}, now=now)

    def effects(books: AccountBooks) -> int:
        return int(name in books.runs)

    def agrees(books: AccountBooks, begun: runs.BegunRun) -> bool:
        stored = books.runs[name]
        answered = begun.run
        return (answered.id, answered.limit, stored.limit) == (name, limit, limit) and (
            (answered.user_id, answered.created_at, answered.expires_at)
            == (stored.user_id, stored.created_at, stored.expires_at)
        )

    return Request(name, "run", who.account_id, True, send, effects, agrees)


def stop(name: str, who: Who) -> Request:
    """An administrator stops a run."""

    def send(now: int) -> Run:
        return runs.stop(who.account_id, name, by=budgets.Requester(SUPERVISOR, is_administrator=True), now=now)

    def agrees(books: AccountBooks, stopped: Run) -> bool:
        return stopped.stopped_at is not None and books.runs[name].stopped_at == stopped.stopped_at

    return Request(name, "stop run", who.account_id, True, send, None, agrees)


def member(name: str, who: Who, *, leaves: bool) -> Request:
    """An administrator removes a member, or adds them again."""
    organization_id = str(organization_of(who.account_id))

    def send(now: int) -> None:
        if leaves:
            organizations.remove(organization_id, who.user_id, by=None)
        else:
            organizations.set_role(organization_id, ById(who.user_id), "member", by=None, now=now)

    kind = "remove member" if leaves else "add member"
    return Request(name, kind, who.account_id, True, send, None, lambda _books, _answer: True)


def initialize(who: Who, session_id: str, model_id: str, estimate: int | Usage, run_id: str | None = None) -> Request:
    """The beginning of a stream, for a number of tokens or a usage by class."""
    tokens, by_class = (estimate.output, estimate) if isinstance(estimate, Usage) else (estimate, None)
    payer = who.account_id

    def send(now: int) -> sessions.Answer:
        return sessions.initialize(
            who.user_id,
            session_id,
            model_id,
            tokens,
            now=now,
            account_id=payer,
            estimated_usage=by_class,
            key_id="k",
            run_id=run_id,
        )

    def effects(books: AccountBooks) -> int:
        session = books.sessions.get(session_id)
        return int(session is not None and session.same_request(model_id, tokens, by_class))

    def agrees(books: AccountBooks, answer: sessions.Answer) -> bool:
        session = books.sessions[session_id]
        as_opened = (session.started_at, session.card, session.initial_credits)
        answered = answer.session
        return answered.active and as_opened == (answered.started_at, answered.card, answered.initial_credits)

    return Request(f"{session_id} {estimate}", "initialize", who.account_id, True, send, effects, agrees)


def heartbeat(who: Who, session_id: str, used: int | Usage) -> Request:
    """A heartbeat.

    After an OK, a sweep charges at least the tokens that the heartbeat reported. A ``finalize`` or ``abort`` may charge
    fewer, because it reports its own tokens.
    """
    report = _report(used)

    def send(now: int) -> Any:
        return sessions.heartbeat(who.user_id, session_id, report, now=now)

    def agrees(books: AccountBooks, _answer: Any) -> bool:
        session = books.sessions[session_id]
        return session.outcome in OUTCOMES.values() or session.tokens >= report.tokens

    return Request(f"{session_id} {used}", "heartbeat", who.account_id, True, send, None, agrees)


def end(
    who: Who, session_id: str, kind: str, used: int | Usage | None, *, success: bool, hint: AccountId | None
) -> Request:
    """The end of a stream by ``finalize`` or ``abort``.

    If ``used`` is None, ``abort`` charges the tokens of the last heartbeat. ``hint`` is a guess at the account that
    pays, and may be wrong.
    """
    report = None if used is None else _report(used)

    def send(now: int) -> sessions.Answer:
        if kind == "finalize" and report is not None:
            return settling.finalize(who.user_id, session_id, report, success=success, now=now, account_id=hint)
        return settling.abort(who.user_id, session_id, report, now=now, account_id=hint)

    def effects(books: AccountBooks) -> int:
        session = books.sessions.get(session_id)
        if session is None or session.active:
            return 0
        return int(session.settled_by(OUTCOMES[kind], report, session.settled.success))

    def agrees(books: AccountBooks, answer: sessions.Answer) -> bool:
        return books.sessions[session_id].settled == answer.session.settled

    # An abort without tokens counts as a repeat of any abort, so the table does not show whether it took effect.
    done = None if report is None else effects
    return Request(f"{session_id} {used}", kind, who.account_id, True, send, done, agrees)


def _report(used: int | Usage) -> Report:
    return Report(used) if isinstance(used, int) else Report(used.output, used)


def force_end(who: Who, session_id: str) -> Request:
    """A supervisor ends a session. The sweeper may end it instead, with the same outcome."""

    def send(now: int) -> sessions.Answer:
        return settling.force_end(who.user_id, session_id, actor=SUPERVISOR, reason="stuck", now=now)

    def agrees(books: AccountBooks, _answer: sessions.Answer) -> bool:
        return books.sessions[session_id].outcome == "swept"

    return Request(session_id, "force end", who.account_id, True, send, None, agrees)
