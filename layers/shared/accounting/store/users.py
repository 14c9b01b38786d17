"""Users as their tokens describe them, and the pointers from e-mail addresses to them."""

import time
from dataclasses import dataclass, replace
from urllib.parse import unquote

from accounting.domain.errors import UserNotFound
from accounting.store import keys, table
from accounting.store.table import Conflict, Item, Write

DEFAULT_ROLE = "user"
ROLES = ("user", "supervisor", "admin")

_TRIES = 8
_LONGEST_PAUSE_SECONDS = 0.1


@dataclass(frozen=True, slots=True)
class User:
    """A user. ``issued_at`` (epoch seconds) is that of the newest token that described them."""

    id: str
    email: str
    username: str
    role: str
    created_at: int = 0
    updated_at: int = 0
    issued_at: int = 0

    def described_as(self, other: "User") -> bool:
        """Whether both say the same of the user."""
        return (self.email, self.username, self.role) == (other.email, other.username, other.role)


class _Raced(Exception):
    """Somebody else wrote the user or the address meanwhile."""


def find(user_id: str) -> User | None:
    """The user with this id."""
    item = table.get(keys.profile(user_id))
    return _from_item(item) if item else None


def resolve(reference: str) -> tuple[User, Item | None]:
    """The user that an id or an e-mail address (URL-encoded or not) means, and the item of their wallet.

    An id wins over an address, and an id that is encoded comes last. Raises UserNotFound.
    """
    plain = unquote(reference)
    found = _named(reference) or (_named(plain) if plain != reference else None)
    if found is None:
        raise UserNotFound("User not found", user=reference)
    return found


def _named(reference: str) -> tuple[User, Item | None] | None:
    addresses = {text.lower() for text in (reference, unquote(reference)) if "@" in text}
    wanted = [keys.profile(reference), keys.wallet(reference), *map(keys.email, addresses)]
    profile, wallet, *pointers = table.get_many(wanted)
    if profile:
        return _from_item(profile), wallet
    for pointer in filter(None, pointers):
        user_id = pointer["user_id"]
        profile, wallet = table.get_many([keys.profile(user_id), keys.wallet(user_id)])
        if profile:
            return _from_item(profile), wallet
    return None


def newest(role: str | None, *, before: str | None, skip: int, limit: int) -> tuple[list[User], str | None]:
    """A page of the users, of all roles or one, newest first, and the position that the next page begins before."""
    ranges = [part for each in _roles(role) for part in keys.users_in_role(each)]
    found, position = table.newest(keys.BY_KIND, ranges, before=before, skip=skip, limit=limit)
    items = table.get_many([{"pk": key["pk"], "sk": key["sk"]} for key in found])
    return [_from_item(item) for item in items if item], position


def total(role: str | None) -> int:
    """How many users there are, of all roles or one."""
    counts = table.get_many([key for each in _roles(role) for key in keys.user_counts(each)])
    return sum(item["users"] for item in counts if item)


def _roles(role: str | None) -> tuple[str, ...]:
    return ROLES if role is None else (role,)


def sync(described: User, now: int) -> tuple[User, bool]:
    """Find the user, or create or update them as described: the user, and whether they are new.

    Nothing is written when nothing changed, or when a newer token has described them since. First requests of one
    user that race all succeed. Raises Conflict when the table is throttled, Unavailable when it doesn't answer.
    """
    for _ in range(_TRIES):
        known = find(described.id)
        if known and (known.described_as(described) or known.issued_at > described.issued_at):
            return known, False
        user = replace(
            described,
            created_at=known.created_at if known else now,
            # The condition of the next change: it must differ from the last one even within a millisecond.
            updated_at=max(now, known.updated_at + 1) if known else now,
        )
        try:
            table.transact(_writes(known, user))
        except (_Raced, Conflict):
            time.sleep(table.jitter(_LONGEST_PAUSE_SECONDS))
            continue
        return user, known is None
    raise Conflict


def _writes(known: User | None, user: User) -> list[Write]:
    """The user as described, the pointer of their address, and the end of the one they had."""
    unchanged = "updated_at = :seen" if known else "attribute_not_exists(pk)"
    seen = {":seen": known.updated_at} if known else None
    writes = [Write(table.put(_to_item(user), condition=unchanged, values=seen), refused=lambda _: _Raced())]
    if known is None or known.role != user.role:
        writes.append(_count(user.role, user.id, 1))
        if known:
            writes.append(_count(known.role, user.id, -1))
    old_address = known.email if known else ""
    if user.email and _claims(user):
        writes.append(_claim(user))
    if old_address and old_address.lower() != user.email.lower() and _owns(known, old_address):
        writes.append(_abandon(user, old_address))
    return writes


def _count(role: str, user_id: str, change: int) -> Write:
    return Write(
        table.update(
            keys.user_count(role, user_id), "ADD #users :change", values={":change": change}, names={"#users": "users"}
        )
    )


def _claims(user: User) -> bool:
    """Whether the address is free, the user's own, or described by an older token than theirs."""
    pointer = table.get(keys.email(user.email))
    return pointer is None or pointer["user_id"] == user.id or pointer["issued_at"] <= user.issued_at


def _owns(user: User | None, address: str) -> bool:
    pointer = table.get(keys.email(address))
    return user is not None and pointer is not None and pointer["user_id"] == user.id


def _claim(user: User) -> Write:
    """Point the address to the user: it moves to the newest token that claims it."""
    free = "attribute_not_exists(pk)"
    own = "user_id = :user"
    older = "issued_at <= :issued"
    item = {**keys.email(user.email), "user_id": user.id, "issued_at": user.issued_at}
    return Write(
        table.put(
            item,
            condition=f"{free} OR {own} OR {older}",
            values={":user": user.id, ":issued": user.issued_at},
        ),
        refused=lambda _: _Raced(),
    )


def _abandon(user: User, address: str) -> Write:
    return Write(
        table.delete(keys.email(address), condition="user_id = :user", values={":user": user.id}),
        refused=lambda _: _Raced(),
    )


def _to_item(user: User) -> Item:
    return {
        **keys.profile(user.id),
        **keys.user_in_role(user.role, user.id, user.created_at),
        "user_id": user.id,
        "email": user.email,
        "username": user.username,
        "role": user.role,
        "created_at": user.created_at,
        "updated_at": user.updated_at,
        "issued_at": user.issued_at,
    }


def _from_item(item: Item) -> User:
    return User(
        id=item["user_id"],
        email=item["email"],
        username=item["username"],
        role=item["role"],
        created_at=item["created_at"],
        updated_at=item["updated_at"],
        issued_at=item["issued_at"],
    )
