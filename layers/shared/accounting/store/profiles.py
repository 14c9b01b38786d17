"""User profiles, one item for each user."""

from collections.abc import Callable

from accounting.domain.users import User
from accounting.store import keys, table
from accounting.store.formats import unknown
from accounting.store.table import Item, Write

_KNOWN = {
    *("user_id", "email", "username", "role", "created_at", "updated_at"),
    *("email_at", "username_at", "role_at", "ahead"),
    *("disabled_at", "disabled_reason", "erased_at"),
}


def put(known: User | None, user: User, refused: Callable[[], Exception]) -> Write:
    """Add or replace the user. ``refused`` makes the error if the user has changed since ``known`` was read."""
    unchanged = "updated_at = :seen" if known else "attribute_not_exists(pk)"
    seen = {":seen": known.updated_at} if known else None
    return Write(table.put(to_item(user), condition=unchanged, values=seen), refused=lambda _: refused())


def to_item(user: User) -> Item:
    """Convert a user to an item, including ``user.more``: attributes that only a newer version of the service knows."""
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
        "erased_at": user.erased_at,
    }


def from_item(item: Item) -> User:
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
        erased_at=item.get("erased_at"),
        more=unknown(item, _KNOWN),
    )
