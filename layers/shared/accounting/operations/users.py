"""Disabling and enabling users. One transaction changes the profile and the wallet."""

from collections.abc import Callable

from accounting.domain import users as people
from accounting.domain import wallet as decisions
from accounting.domain.users import User
from accounting.operations.commit import retry_conflicts
from accounting.store import profiles, users, wallets
from accounting.store.stale import StaleRead
from accounting.store.table import Conflict, transact
from accounting.store.users import Reference


def disable(reference: Reference, *, by: str, reason: str, now: int) -> User:
    """Refuse all requests of a user except those that end open sessions. A repeat changes nothing.

    Raises UserNotFound or Contention. Raises Invalid if ``by`` is the user.
    """
    return _change(reference, lambda user: people.disabled(user, by=by, reason=reason, now=now))


def enable(reference: Reference, *, now: int) -> User:
    """Accept a user's requests again. A repeat changes nothing. Raises UserNotFound, UserErased, Contention."""
    return _change(reference, lambda user: people.enabled(user, now=now))


def _change(reference: Reference, decide: Callable[[User], User]) -> User:
    def change_both() -> User:
        found = users.resolve(reference)
        before, wallet = found.user, found.wallet
        after = decide(before)
        if after == before:
            return before
        frozen = decisions.freeze(wallet, frozen=after.disabled)
        try:
            transact([profiles.put(before, after, Conflict), wallets.put(wallet, frozen)])
        except StaleRead as stale:
            raise Conflict from stale
        users.forget(after.id)
        return after

    return retry_conflicts(change_both)
