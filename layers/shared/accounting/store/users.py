"""Users as tokens and the platform describe them, and the pointers from e-mail addresses to them."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from urllib.parse import unquote

from accounting.domain import addresses
from accounting.domain.accounts import personal
from accounting.domain.errors import UserNotFound
from accounting.domain.users import ROLES, Description, Pointer, User, claimed, heir, is_meant_by_id, must_claim
from accounting.domain.wallet import Wallet
from accounting.store import keys, table, wallets
from accounting.store.cache import Cache
from accounting.store.formats import FORMAT, unknown
from accounting.store.table import Conflict, Item, Write

DISABLED_CACHE_SECONDS = 30

_TRIES = 8
_LONGEST_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class ById:
    """A user by their id, and never by an address of the same text."""

    user_id: str


type Reference = str | ById
"""What means a user: a text that is an id or an e-mail address, or an id that is known to be one."""


@dataclass(frozen=True, slots=True)
class Found:
    """A user, and the wallet of their own account as it stood when they were read."""

    user: User
    _wallet: Item | None

    @property
    def wallet(self) -> Wallet:
        """The wallet. It is decoded only here, so that a broken one does not hinder what needs the user alone."""
        return wallets.from_item(personal(self.user.id), self._wallet)


class _Raced(Exception):
    """Somebody else wrote the user or the address meanwhile."""


def find(user_id: str) -> User | None:
    """The user with this id, strongly consistent."""
    item = table.get(keys.profile(user_id))
    return from_item(item) if item else None


def is_disabled(user_id: str) -> bool:
    """Whether the user is disabled, by an answer at most ``DISABLED_CACHE_SECONDS`` old."""
    return _disabled.get(user_id)


def _find_disabled(user_id: str) -> bool:
    user = find(user_id)
    return user is not None and user.disabled


_disabled = Cache(_find_disabled, DISABLED_CACHE_SECONDS)


def forget(user_id: str | None = None) -> None:
    """Drop what this process remembers of a user, or of all."""
    _disabled.forget(user_id)


def resolve(reference: Reference) -> Found:
    """The user that an id or an e-mail address (URL-encoded or not) means, and their wallet.

    Where an id and an address have the same text, it means whom it meant first. What it means as it stands comes before
    what it means decoded. Raises UserNotFound.
    """
    if isinstance(reference, ById):
        found = _with_wallet(reference.user_id)
    else:
        found = _named(reference)
        plain = unquote(reference)
        if found is None and plain != reference:
            found = _named(plain)
    if found is None:
        raise UserNotFound("User not found", user=reference.user_id if isinstance(reference, ById) else reference)
    return found


def _named(text: str) -> Found | None:
    address = addresses.canonical(text)
    pointer_key = [] if address is None else [keys.email(address)]
    profile, wallet, *pointers = table.get_many([keys.profile(text), keys.wallet(personal(text)), *pointer_key])
    namesake = from_item(profile) if profile else None
    pointer = _pointer(address, pointers[0]) if address and pointers[0] else None
    if pointer and pointer.user_id != text and not is_meant_by_id(namesake, pointer):
        holder = _with_wallet(pointer.user_id)
        if holder:
            return holder
    return Found(namesake, wallet) if namesake else None


def _with_wallet(user_id: str) -> Found | None:
    profile, wallet = table.get_many([keys.profile(user_id), keys.wallet(personal(user_id))])
    return Found(from_item(profile), wallet) if profile else None


def newest(role: str | None, *, before: str | None, skip: int, limit: int) -> tuple[list[User], str | None]:
    """A page of the users, of all roles or one, newest first, and the position that the next page begins before."""
    ranges = [part for each in _roles(role) for part in keys.users_in_role(each)]
    found, position = table.newest(keys.BY_KIND, ranges, before=before, skip=skip, limit=limit)
    items = table.get_many([{"pk": key["pk"], "sk": key["sk"]} for key in found])
    return [from_item(item) for item in items if item], position


def total(role: str | None) -> int:
    """How many users there are, of all roles or one."""
    counts = table.get_many([key for each in _roles(role) for key in keys.user_counts(each)])
    return sum(item["users"] for item in counts if item)


def _roles(role: str | None) -> tuple[str, ...]:
    return ROLES if role is None else (role,)


def sync(described: Description, now: int) -> tuple[User, bool]:
    """Find the user, or create or update them as described: the user, and whether they are new.

    Nothing is written when nothing new is said. First requests of one user that race all succeed. Raises Conflict when
    the table is throttled, Unavailable when it doesn't answer.
    """
    for _ in range(_TRIES):
        known, pointer = _known(described)
        user = described.applied_to(known, now)
        if known and user == known:
            return known, False
        try:
            table.transact(_writes(known, user, pointer, now))
        except (_Raced, Conflict):
            time.sleep(table.jitter(_LONGEST_PAUSE_SECONDS))
            continue
        return user, known is None
    raise Conflict


def _known(described: Description) -> tuple[User | None, Pointer | None]:
    """The user as they are known, and who holds the address that is said to be theirs."""
    address = addresses.canonical(described.email)
    pointer_key = [] if address is None else [keys.email(address)]
    profile, *pointers = table.get_many([keys.profile(described.id), *pointer_key])
    pointer = _pointer(address, pointers[0]) if address and pointers[0] else None
    return (from_item(profile) if profile else None), pointer


def put(known: User | None, user: User, refused: Callable[[], Exception]) -> Write:
    """Replace the user, if nobody has since ``known`` was read."""
    unchanged = "updated_at = :seen" if known else "attribute_not_exists(pk)"
    seen = {":seen": known.updated_at} if known else None
    return Write(table.put(_to_item(user), condition=unchanged, values=seen), refused=lambda _: refused())


def _writes(known: User | None, user: User, pointer: Pointer | None, now: int) -> list[Write]:
    """The user as described, the pointer of their address, and the end of the one they had."""
    writes = [put(known, user, _Raced)]
    if known is None or known.role != user.role:
        writes.append(_count(user.role, user.id, 1))
        if known:
            writes.append(_count(known.role, user.id, -1))
    before = known.address if known else None
    if user.address and must_claim(known, user, pointer):
        writes += _claim(user.address, user, pointer, now)
    if before and user.address != before:
        writes += _give_up(before, user)
    return writes


def _count(role: str, user_id: str, change: int) -> Write:
    return Write(
        table.update(
            keys.user_count(role, user_id),
            "ADD #users :change SET #format = :format",
            values={":change": change, ":format": FORMAT},
            names={"#users": "users", "#format": "format"},
        )
    )


def _claim(address: str, user: User, pointer: Pointer | None, now: int) -> list[Write]:
    """Point the address to the user, or let them wait for it, unless it is not theirs to claim."""
    texts = dict.fromkeys((address, user.email.strip(), user.email))
    holder_id = pointer.user_id if pointer and pointer.user_id != user.id else None
    ids = [*dict.fromkeys((*texts, *([holder_id] if holder_id else [])))]
    found = {each.id: each for each in map(from_item, filter(None, table.get_many([*map(keys.profile, ids)])))}
    holder = found.get(holder_id) if holder_id else None
    namesakes = [found[text] for text in texts if text in found]
    after = claimed(pointer, user, holder=holder, namesakes=namesakes, now=now)
    if after is None:
        return []
    writes = [_put_pointer(pointer, after)]
    if after.user_id == user.id and holder and holder.address == address:
        writes.append(_moved_on(holder, now))
    return writes


def _moved_on(holder: User, now: int) -> Write:
    """Change the profile of a holder whose address is taken over, unless they have said something since.

    A word of theirs at the same moment, which counts on their holding the address, is then decided again.
    """
    values = {":seen": holder.updated_at, ":now": max(now, holder.updated_at + 1)}
    changed = table.update(
        keys.profile(holder.id), "SET updated_at = :now", condition="updated_at = :seen", values=values
    )
    return Write(changed, refused=lambda _: _Raced())


def _give_up(address: str, user: User) -> list[Write]:
    """Give the address, if the user holds it, to the newest word of those who claim it, too, or to nobody."""
    item = table.get(keys.email(address))
    pointer = _pointer(address, item) if item else None
    if pointer is None or pointer.user_id != user.id:
        # Nor must they come to hold it at this moment, because its holder gives it back to them.
        elsewhere = "attribute_not_exists(pk) OR user_id <> :user"
        action = table.check(keys.email(address), condition=elsewhere, values={":user": user.id})
        return [Write(action, refused=lambda _: _Raced())]
    candidates = [each for each in pointer.former if each != user.id]
    found = [from_item(profile) for profile in table.get_many([*map(keys.profile, candidates)]) if profile]
    next_holder = heir(address, found)
    if next_holder is None:
        condition, values = _as_seen(pointer)
        return [Write(table.delete(keys.email(address), condition=condition, values=values), lambda _: _Raced())]
    # They must not give the address up at the same moment: they would hold it for good.
    unchanged = {":seen": next_holder.updated_at}
    check = table.check(keys.profile(next_holder.id), condition="updated_at = :seen", values=unchanged)
    return [_put_pointer(pointer, pointer.back_at(next_holder)), Write(check, refused=lambda _: _Raced())]


def _put_pointer(before: Pointer | None, after: Pointer) -> Write:
    condition, values = _as_seen(before) if before else ("attribute_not_exists(pk)", None)
    item = {
        **keys.email(after.address),
        "user_id": after.user_id,
        "issued_at": after.issued_at,
        "since": after.since,
        "former": table.compact(after.former),
    }
    return Write(table.put(item, condition=condition, values=values), refused=lambda _: _Raced())


def _as_seen(pointer: Pointer) -> tuple[str, Item]:
    """The condition that neither the holder of an address nor those who wait for it have changed."""
    condition = "user_id = :holder AND issued_at = :issued AND former = :former"
    former = table.compact(pointer.former)
    return condition, {":holder": pointer.user_id, ":issued": pointer.issued_at, ":former": former}


def _pointer(address: str, item: Item) -> Pointer:
    """The pointer of an item."""
    former = tuple(json.loads(item["former"]))
    return Pointer(address, item["user_id"], item["issued_at"], item["since"], former)


_KNOWN = {
    *("user_id", "email", "username", "role", "created_at", "updated_at"),
    *("email_at", "username_at", "role_at", "ahead"),
    *("disabled_at", "disabled_reason"),
}


def _to_item(user: User) -> Item:
    return {
        **user.more,
        **keys.profile(user.id),
        **keys.user_in_role(user.role, user.id, user.created_at),
        "user_id": user.id,
        "email": user.email,
        "username": user.username,
        "role": user.role,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "email_at": user.email_at,
        "username_at": user.username_at,
        "role_at": user.role_at,
        "ahead": user.ahead or None,
        "disabled_at": user.disabled_at,
        "disabled_reason": user.disabled_reason or None,
    }


def from_item(item: Item) -> User:
    """The user of an item."""
    return User(
        id=item["user_id"],
        email=item["email"],
        username=item["username"],
        role=item["role"],
        created_at=item["created_at"],
        updated_at=item["updated_at"],
        email_at=item["email_at"],
        username_at=item["username_at"],
        role_at=item["role_at"],
        ahead=item.get("ahead", 0),
        disabled_at=item.get("disabled_at"),
        disabled_reason=item.get("disabled_reason", ""),
        more=unknown(item, _KNOWN),
    )
