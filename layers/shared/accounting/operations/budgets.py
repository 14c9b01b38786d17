"""Set, delete and list an account's budgets, and check who may do so."""

from typing import NamedTuple

from accounting.domain.accounts import AccountId, organization_of, personal, user_of
from accounting.domain.api_keys import ApiKey
from accounting.domain.budgets import MAX_BUDGETS, Budget, Spender, applying, key_in, member_in
from accounting.domain.errors import (
    AccountNotFound,
    ApiKeyNotFound,
    BudgetNotFound,
    Forbidden,
    Invalid,
    MemberNotFound,
    TooManyBudgets,
)
from accounting.domain.organizations import Member
from accounting.domain.wallet import Wallet, with_new_terms
from accounting.domain.windows import Window, WindowKind
from accounting.operations.commit import retry_conflicts
from accounting.store import api_keys, keys, organizations, table, users, wallets
from accounting.store import budgets as store
from accounting.store.table import transact


class Requester(NamedTuple):
    """The user who asks. ``is_administrator`` is true if they act as an administrator of the platform."""

    user_id: str
    is_administrator: bool = False


class BudgetValues(NamedTuple):
    """The values that a budget should have."""

    limit: int
    window: WindowKind
    zone: str = "UTC"
    warn_at: tuple[int, ...] = ()


class BudgetState(NamedTuple):
    """A budget, its current window, and ``committed``: the credits held and charged in this window.

    A budget of all members counts each member separately, so ``committed`` is None if the request is not about
    one member.
    """

    budget: Budget
    window: Window
    committed: int | None


def put(account_id: AccountId, subject: str, wanted: BudgetValues, *, by: Requester, now: int) -> BudgetState:
    """Set the budget of a subject: a member, an API key, or ``members`` (a budget of all members).

    If the kind of window or the time zone changes, the budget counts from 0 again.

    Raises AccountNotFound, Forbidden, Invalid, MemberNotFound, ApiKeyNotFound, TooManyBudgets, Contention.
    """

    def attempt() -> Budget:
        wallet, known = _read(account_id, subject, by)
        owner = _owner_of(account_id, subject)
        asked = Budget(
            account_id,
            subject,
            wanted.limit,
            wanted.window,
            wanted.zone,
            begun=wallet.terms + 1,
            changed_at=now,
            changed_by=by.user_id,
            warn_at=wanted.warn_at,
            owner=owner,
            by_platform=by.is_administrator,
        ).replacing(known)
        if known is not None and asked.has_same_terms_as(known):
            return known
        if known is None and wallet.budgets >= MAX_BUDGETS:
            raise TooManyBudgets(f"An account may have at most {MAX_BUDGETS} budgets", limit=MAX_BUDGETS)
        after = with_new_terms(wallet, more_budgets=0 if known else 1)
        transact([wallets.put(wallet, after), store.put(asked)])
        return asked

    budget = retry_conflicts(attempt)
    return _states(account_id, [budget], member_in(budget.subject), now)[0]


def delete(account_id: AccountId, subject: str, *, by: Requester) -> None:
    """End a subject's budget. Raises AccountNotFound, Forbidden, BudgetNotFound, Contention."""

    def attempt() -> None:
        wallet, known = _read(account_id, subject, by)
        if known is None:
            raise BudgetNotFound("The account has no budget for this subject", subject=subject)
        transact([wallets.put(wallet, with_new_terms(wallet, more_budgets=-1)), store.delete(account_id, subject)])

    retry_conflicts(attempt)


type Page = tuple[list[BudgetState], str | None]
"""Budgets, and ``after`` for the next page (None on the last page)."""


def page(account_id: AccountId, *, by: Requester, user_id: str | None, after: str | None, limit: int, now: int) -> Page:
    """A page of an account's budgets, in the order of their subjects.

    With ``user_id``, the page has only the budgets that limit this user. Members who do not manage the account see only
    the budgets that limit them. Raises AccountNotFound, Forbidden.
    """
    member = membership(account_id, by)
    manages = by.is_administrator or member is None or member.manages
    about = user_id if manages else by.user_id
    if user_id not in (None, about):
        raise Forbidden("Members see only the budgets that limit them")
    if about is None:
        budgets, position = store.page(account_id, after=after, limit=limit)
        return _states(account_id, budgets, None, now), position
    limiting = [each for each in _limiting(account_id, about) if after is None or each.subject > after]
    found = sorted(limiting, key=lambda budget: budget.subject)
    position = found[limit - 1].subject if len(found) > limit else None
    return _states(account_id, found[:limit], about, now), position


def _limiting(account_id: AccountId, user_id: str) -> list[Budget]:
    """The budgets that limit a user as a member (see ``applying``), and the budgets of the user's API keys."""
    organization_id = organization_of(account_id)
    spender = Spender(user_id, account_id)
    items = table.get_many([keys.budget(account_id, subject) for subject in spender.subjects])
    member = organizations.member(organization_id, user_id) if organization_id else None
    owns_account = member is not None and member.role == "owner"
    own = applying([store.from_item(item) for item in items if item], owns_account=owns_account)
    return [*own, *(budget for budget in store.of_keys(account_id) if budget.owner == user_id)]


def _states(account_id: AccountId, budgets: list[Budget], user_id: str | None, now: int) -> list[BudgetState]:
    """The state of each budget. For a budget of all members, ``committed`` is what ``user_id`` committed."""
    wanted = {budget.subject: _counter_key(account_id, budget, user_id, now) for budget in budgets}
    asked = [key for key in wanted.values() if key]
    items = iter(table.get_many(asked)) if asked else iter(())
    committed = {subject: (item["committed"] if (item := next(items)) else 0) for subject, key in wanted.items() if key}
    return [BudgetState(each, each.window_at(now), committed.get(each.subject)) for each in budgets]


def _counter_key(account_id: AccountId, budget: Budget, user_id: str | None, now: int) -> keys.Key | None:
    """The key of the budget's counter. None for a budget of all members if there is no ``user_id``."""
    about = member_in(budget.subject) or user_id
    key_id = key_in(budget.subject)
    if key_id is None and about is None:
        return None
    return store.counter_key(Spender(about or "", account_id, key_id), budget.counter_at(now))


def _read(account_id: AccountId, subject: str, by: Requester) -> tuple[Wallet, Budget | None]:
    """The wallet, and the subject's budget if there is one. Raises AccountNotFound, Forbidden."""
    member = membership(account_id, by)
    if not by.is_administrator and member is not None and not member.manages:
        raise Forbidden("Only the organization's owners and admins may change budgets")
    wallet, item = table.get_many([keys.wallet(account_id), keys.budget(account_id, subject)])
    known = store.from_item(item) if item else None
    personal_account = organization_of(account_id) is None
    if known and known.by_platform and personal_account and not by.is_administrator:
        raise Forbidden("An administrator of the platform has set this budget")
    return wallets.from_item(account_id, wallet), known


def membership(account_id: AccountId, by: Requester) -> Member | None:
    """The membership of ``by``; None for a user's own account, and for an administrator of the platform.

    Raises AccountNotFound if there is no such account, or ``by`` may not see it.
    """
    organization_id, owner = organization_of(account_id), user_of(account_id)
    if by.is_administrator:
        known = organizations.get(organization_id) if organization_id else users.is_known(str(owner))
        if not known:
            raise AccountNotFound
        return None
    if organization_id is None:
        if owner != by.user_id:
            raise AccountNotFound
        return None
    member = organizations.member(organization_id, by.user_id)
    if member is None:
        raise AccountNotFound
    return member


def _owner_of(account_id: AccountId, subject: str) -> str | None:
    """The user of the API key if the subject is an API key, otherwise None.

    Raises Invalid, MemberNotFound, ApiKeyNotFound.
    """
    organization_id, key_id, member = organization_of(account_id), key_in(subject), member_in(subject)
    if key_id is not None:
        key = api_keys.find(key_id)
        if key is None or not _may_spend(key, account_id):
            raise ApiKeyNotFound("No API key with this id may spend from this account", id=key_id)
        return key.user_id
    if organization_id is None:
        if member != user_of(account_id):
            raise Invalid.field("subject", "a personal account has only budgets of its user and of API keys")
    elif member is not None and organizations.member(organization_id, member) is None:
        raise MemberNotFound("Not a member of the organization", userId=member)
    return None


def _may_spend(key: ApiKey, account_id: AccountId) -> bool:
    """Whether the key may be used to spend from the account.

    The key must not be limited to another account. The key's user must own the account, or be a member of its
    organization.
    """
    if key.account_id not in (None, account_id):
        return False
    organization_id = organization_of(account_id)
    if organization_id is None:
        return personal(key.user_id) == account_id
    return organizations.member(organization_id, key.user_id) is not None
