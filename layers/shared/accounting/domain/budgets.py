"""Budgets: how much one member or API key may spend from an account in a window of time.

The **subject** of a budget is one member, one API key, or ``members``. A budget of ``members`` has the same limit for
each member.

A budget counts what is **committed**: the credits that are held and those that were charged. Counters are never reset:
each window has a counter of its own. A session stores the counters that include its credits.
"""

from collections.abc import Collection, Iterable, Mapping
from types import MappingProxyType
from typing import Literal, NamedTuple

from accounting.domain.accounts import AccountId, user_of
from accounting.domain.errors import AccountingError
from accounting.domain.runs import Run
from accounting.domain.windows import Window, WindowKind, window_at

MEMBERS = "members"
_MEMBER = "member:"
_KEY = "key:"

MAX_BUDGETS = 1000
MAX_WARNINGS = 5
UNLIMITED = 10**30


class Spender(NamedTuple):
    """Who spends, from which account, and through which API key and in which run, if any."""

    user_id: str
    account_id: AccountId
    key_id: str | None = None
    run_id: str | None = None

    @property
    def subjects(self) -> tuple[str, ...]:
        """The subjects of the budgets that may limit this spender."""
        members = () if user_of(self.account_id) else (MEMBERS,)
        keys = () if self.key_id is None else (of_key(self.key_id),)
        return (of_member(self.user_id), *members, *keys)


def of_member(user_id: str) -> str:
    """The subject of a member's own budget."""
    return _MEMBER + user_id


def of_key(key_id: str) -> str:
    """The subject of an API key's budget."""
    return _KEY + key_id


def member_in(subject: str) -> str | None:
    """The member whose own budget has this subject; None if it is not a member's budget."""
    return subject.removeprefix(_MEMBER) if subject.startswith(_MEMBER) else None


def key_in(subject: str) -> str | None:
    """The API key whose budget has this subject; None if it is not a key's budget."""
    return subject.removeprefix(_KEY) if subject.startswith(_KEY) else None


class Counter(NamedTuple):
    """A budget's counter in one window: the sum of one member's or one key's commitments.

    A counter does not store the member or the key: ``subject`` takes them from a spender. ``begun`` is copied from the
    budget.
    """

    of: Literal["member", "key"]
    begun: int
    window: str

    def subject(self, spender: Spender) -> str:
        """The subject whose commitments this counts: the spender's API key, or the spender, but never ``members``."""
        return of_key(spender.key_id or "") if self.of == "key" else of_member(spender.user_id)

    @property
    def ends(self) -> bool:
        """Whether the counter's window ends."""
        return self.window != "total"


class Budget(NamedTuple):
    """A limit in credits for each window.

    ``begun`` is part of the item key of each counter. A new budget, and a budget whose window or zone changes, gets a
    number that the account never used before, so its counters start at 0. ``warn_at`` are percentages of the limit. In
    a budget of an API key, ``owner`` is the key's user. ``by_platform`` marks a budget that an administrator of the
    platform set.
    """

    account_id: AccountId
    subject: str
    limit: int
    window: WindowKind
    zone: str
    begun: int
    changed_at: int
    changed_by: str
    warn_at: tuple[int, ...] = ()
    owner: str | None = None
    by_platform: bool = False

    @property
    def warning_levels(self) -> tuple[int, ...]:
        """The credits at which a window's commitments reach each of ``warn_at``, in rising order."""
        return tuple(sorted(-(-self.limit * percent // 100) for percent in self.warn_at))

    def window_at(self, at: int) -> Window:
        """The window of a session or usage record that begins at ``at``."""
        return window_at(self.window, self.zone, at)

    def counter_at(self, at: int) -> Counter:
        """The counter for a session or usage record that begins at ``at``."""
        return Counter("key" if key_in(self.subject) else "member", self.begun, self.window_at(at).name)

    def replacing(self, known: "Budget | None") -> "Budget":
        """This budget in place of ``known``. It keeps the counters of ``known`` if window and zone are the same."""
        same = known is not None and (known.window, known.zone) == (self.window, self.zone)
        return self._replace(begun=known.begun) if known is not None and same else self

    def has_same_terms_as(self, known: "Budget | None") -> bool:
        """Whether the budgets differ at most in ``begun``, ``changed_at`` and ``changed_by``."""
        return (
            known is not None
            and self._replace(begun=known.begun, changed_at=known.changed_at, changed_by=known.changed_by) == known
        )


class Bound(NamedTuple):
    """A limit that new commitments must fit.

    ``committed`` is how many credits were committed when the limit's counter or run was read, or 0 if neither was read.
    Other requests may have committed or returned credits since. ``counter`` is None for a run's limit. ``ends_at`` is
    when the counter's window ends. ``levels`` are the commitments in credits at which to warn, in rising order.
    ``warned`` is the highest level that is known to have been reported.
    """

    name: str
    limit: int
    committed: int = 0
    counter: Counter | None = None
    ends_at: int | None = None
    levels: tuple[int, ...] = ()
    warned: int = 0

    @property
    def remaining(self) -> int:
        """How many credits the limit has left."""
        return max(0, self.limit - self.committed)

    def level_reached(self, credits: int) -> int | None:
        """The warning level to report if ``credits`` more are committed; None if there is nothing new to report."""
        reached = [level for level in self.levels if self.warned < level <= self.committed + credits]
        return reached[-1] if reached else None


class Allowance(NamedTuple):
    """The limits of a spender besides the wallet: the budgets with one of the spender's subjects, and the run.

    ``owns_account`` is true for an organization's owner. ``refusal`` is why the spender may not spend from the account
    at all. ``committed`` has the value of each counter that was read, and ``warned`` has the highest warning level that
    the counter stores.
    """

    spender: Spender
    budgets: tuple[Budget, ...] = ()
    run: Run | None = None
    refusal: AccountingError | None = None
    owns_account: bool = False
    committed: Mapping[Counter, int] = MappingProxyType({})
    warned: Mapping[Counter, int] = MappingProxyType({})

    def bounds(self, at: int, stored: Collection[Counter] | None = None) -> tuple[Bound, ...]:
        """The limits for a session or usage record that begins at ``at``. Raises ``refusal`` if there is one.

        When a session takes more credits into its hold, ``stored`` are the counters that the session stores. Then only
        the budgets of these counters apply, not budgets that began later.
        """
        if self.refusal:
            raise self.refusal
        if stored is None:
            bounds = [self._bound(budget, at) for budget in applying(self.budgets, owns_account=self.owns_account)]
        else:
            bounds = [bound for budget in self.budgets if (bound := self._bound(budget, at)).counter in stored]
        if self.run:
            bounds.append(Bound(f"run:{self.run.id}", self.run.limit, self.run.committed))
        return tuple(bounds)

    def _bound(self, budget: Budget, at: int) -> Bound:
        counter, window = budget.counter_at(at), budget.window_at(at)
        return Bound(
            budget.subject,
            budget.limit,
            self.committed.get(counter, 0),
            counter,
            window.resets_at,
            budget.warning_levels,
            self.warned.get(counter, 0),
        )

    def with_counters(
        self, committed: Mapping[Counter, int], warned: Mapping[Counter, int] | None = None
    ) -> "Allowance":
        """The allowance with newer values of counters."""
        return self._replace(committed={**self.committed, **committed}, warned={**self.warned, **(warned or {})})


class Room(NamedTuple):
    """How many credits can be committed: the least of what the wallet and every bound have left."""

    available: int
    held: int
    bounds: tuple[Bound, ...]

    @property
    def credits(self) -> int:
        return min([self.available, *(bound.remaining for bound in self.bounds)])


def most_before(limit: int, credits: int) -> int:
    """The most credits that may already be committed if ``credits`` more must fit the limit.

    0 more credits always fit, even if the limit is exceeded.
    """
    return limit - credits if credits else UNLIMITED


def applying(budgets: Iterable[Budget], *, owns_account: bool) -> tuple[Budget, ...]:
    """The budgets that limit a spender, out of those with one of the spender's subjects.

    A member's own budget replaces that of all members. The budget of all members does not limit the account's owners.
    """
    found = {budget.subject: budget for budget in budgets}
    own = any(member_in(subject) is not None for subject in found)
    return tuple(budget for budget in found.values() if budget.subject != MEMBERS or not (own or owns_account))
