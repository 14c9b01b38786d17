"""Users: found by id or e-mail address, listed, counted, and updated from tokens and `users/sync`."""

import time
from collections.abc import Sequence
from contextlib import suppress
from typing import NamedTuple
from urllib.parse import unquote

from accounting.domain import addresses
from accounting.domain.accounts import personal
from accounting.domain.errors import Invalid, UserNotFound
from accounting.domain.users import ROLES, Description, Pointer, User, is_meant_by_id, must_claim
from accounting.domain.wallet import Wallet
from accounting.store import keys, pointers, profiles, table, wallets
from accounting.store.cache import Cache
from accounting.store.formats import FORMAT
from accounting.store.pointers import Raced
from accounting.store.table import Conflict, Item, Write

DISABLED_CACHE_SECONDS = 30

_TRIES = 8
_LONGEST_PAUSE_SECONDS = 0.1


class ById(NamedTuple):
    """A user's id, which is never taken for an e-mail address."""

    user_id: str


type Reference = str | ById
"""Identifies a user. A text may be an id or an e-mail address; ``ById`` is always an id."""


class UserWithWallet(NamedTuple):
    """A user, and the wallet of their own account, read together."""

    user: User
    wallet_item: Item | None

    @property
    def wallet(self) -> Wallet:
        """The wallet. It is decoded only here, so that a broken wallet does not fail code that needs only the user."""
        return wallets.from_item(personal(self.user.id), self.wallet_item)


def find(user_id: str) -> User | None:
    """The user with this id, strongly consistent."""
    item = table.get(keys.profile(user_id))
    return profiles.from_item(item) if item else None


def is_disabled(user_id: str) -> bool:
    """Whether the user is disabled. The answer is up to ``DISABLED_CACHE_SECONDS`` old."""
    return bool(_disabled.get(user_id))


def is_known(user_id: str) -> bool:
    """Whether a user with this id exists. If the cache knows no such user, the table is read."""
    return _disabled.cached(user_id) is not None or _disabled.fresh(user_id) is not None


def _find_disabled(user_id: str) -> bool | None:
    """Whether the user is disabled; None if there is no such user."""
    user = find(user_id)
    return None if user is None else user.disabled


_disabled = Cache(_find_disabled, DISABLED_CACHE_SECONDS)


def forget(user_id: str | None = None) -> None:
    """Drop a user, or all users, from this process's cache."""
    _disabled.forget(user_id)


def resolve(reference: Reference) -> UserWithWallet:
    """The user that an id or an e-mail address (URL-encoded or not) means, and their wallet.

    If a text is one user's id and another user's address, it means the user who had it first. The text is looked up as
    it is and, if that finds nobody, URL-decoded. Raises UserNotFound.
    """
    if isinstance(reference, ById):
        found = _with_wallet(reference.user_id)
    else:
        found = _by_id_or_address(reference)
        plain = unquote(reference)
        if found is None and plain != reference:
            found = _by_id_or_address(plain)
    if found is None:
        raise UserNotFound("User not found", user=reference.user_id if isinstance(reference, ById) else reference)
    return found


def _by_id_or_address(text: str) -> UserWithWallet | None:
    address = addresses.canonical(text)
    pointer_key = [] if address is None else [keys.email(address)]
    profile, wallet, *held = table.get_many([keys.profile(text), keys.wallet(personal(text)), *pointer_key])
    namesake = profiles.from_item(profile) if profile else None
    pointer = pointers.from_item(address, held[0]) if address and held[0] else None
    if pointer and pointer.user_id != text and not is_meant_by_id(namesake, pointer):
        holder = _with_wallet(pointer.user_id)
        if holder:
            return holder
    return UserWithWallet(namesake, wallet) if namesake else None


def _with_wallet(user_id: str) -> UserWithWallet | None:
    profile, wallet = table.get_many([keys.profile(user_id), keys.wallet(personal(user_id))])
    return UserWithWallet(profiles.from_item(profile), wallet) if profile else None


def newest(role: str | None, *, before: str | None, skip: int, limit: int) -> tuple[list[User], str | None]:
    """A page of users, newest first. If ``role`` is None, users of all roles are listed.

    Also returns ``before`` for the next page, or None on the last page.
    """
    ranges = [part for each in _roles(role) for part in keys.users_in_role(each)]
    found, position = table.newest(keys.BY_KIND, ranges, before=before, skip=skip, limit=limit)
    items = table.get_many([{"pk": key["pk"], "sk": key["sk"]} for key in found])
    return [profiles.from_item(item) for item in items if item], position


def emails_of(user_ids: Sequence[str]) -> list[str]:
    """The e-mail address of each user. Empty for a user who is unknown or has no address."""
    items = table.get_many([keys.profile(user_id) for user_id in user_ids])
    return [item["email"] if item else "" for item in items]


def total(role: str | None) -> int:
    """The number of users with this role. If ``role`` is None, users of all roles are counted."""
    counts = table.get_many([key for each in _roles(role) for key in keys.user_counts(each)])
    return sum(item["users"] for item in counts if item)


def _roles(role: str | None) -> tuple[str, ...]:
    return ROLES if role is None else (role,)


def sync(described: Description, now: int) -> tuple[User, bool]:
    """Create or update the user as described. Return the user, and whether they are new.

    If the description says nothing new, nothing is written. If several requests of a new user arrive at once, all
    succeed. Raises UserErased if the user is erased and the description is not from a token, Conflict if other writers
    or throttling prevent every attempt, Unavailable if the table does not answer.
    """
    for _ in range(_TRIES):
        known, pointer = _known(described)
        user = described.applied_to(known, now)
        if known and user == known:
            return known, False
        try:
            table.transact(_writes(known, user, pointer, now))
        except (Raced, Conflict):
            time.sleep(table.jitter(_LONGEST_PAUSE_SECONDS))
            continue
        return user, known is None
    raise Conflict


def introduce(user_id: str, now: int) -> None:
    """Create a user that a service has named only by id.

    Raises Invalid if the id is another user's e-mail address, because a request with this id would mean the other user.
    """
    meant = _by_id_or_address(user_id)
    if meant and meant.user.id != user_id:
        raise Invalid("The id of a new user is another user's e-mail address")
    user = Description(user_id).applied_to(None, now)
    # If another transaction creates the user first, nothing is left to do.
    with suppress(Raced):
        table.transact([profiles.put(None, user, Raced), _count(user.role, user.id, 1)])
    forget(user_id)


def _known(described: Description) -> tuple[User | None, Pointer | None]:
    """The stored user, and the pointer of the e-mail address that the description claims."""
    address = addresses.canonical(described.email)
    pointer_key = [] if address is None else [keys.email(address)]
    profile, *held = table.get_many([keys.profile(described.id), *pointer_key])
    pointer = pointers.from_item(address, held[0]) if address and held[0] else None
    return (profiles.from_item(profile) if profile else None), pointer


def _writes(known: User | None, user: User, pointer: Pointer | None, now: int) -> list[Write]:
    """The writes that store the user, claim the user's new address, and give up the previous one."""
    writes = [profiles.put(known, user, Raced)]
    if known is None or known.role != user.role:
        writes.append(_count(user.role, user.id, 1))
        if known:
            writes.append(_count(known.role, user.id, -1))
    before = known.address if known else None
    if user.address and must_claim(known, user, pointer):
        writes += pointers.claim(user.address, user, pointer, now)
    if before and user.address != before:
        writes += pointers.give_up(before, user)
    return writes


def _count(role: str, user_id: str, change: int) -> Write:
    return count_at(keys.user_count(role, user_id), change)


def count_at(key: keys.Key, change: int) -> Write:
    """Change one of the counts of users."""
    return Write(
        table.update(
            key,
            "ADD #users :change SET #format = :format",
            values={":change": change, ":format": FORMAT},
            names={"#users": "users", "#format": "format"},
        )
    )
