"""Pointers from e-mail addresses to the users who hold them."""

import json

from accounting.domain.users import Pointer, User, claimed, heir
from accounting.store import keys, profiles, table
from accounting.store.table import Item, Write


class Raced(Exception):
    """Another writer has changed the user or the address since it was read."""


def claim(address: str, user: User, pointer: Pointer | None, now: int) -> list[Write]:
    """Point the address to the user, or let the user wait until the holder gives up the address (see ``claimed``).

    Returns no writes if the user may not claim the address, or already waits for it.
    """
    texts = dict.fromkeys((address, user.email.strip(), user.email))
    holder_id = pointer.user_id if pointer and pointer.user_id != user.id else None
    ids = [*dict.fromkeys((*texts, *([holder_id] if holder_id else [])))]
    found = {each.id: each for each in map(profiles.from_item, filter(None, table.get_many([*map(keys.profile, ids)])))}
    holder = found.get(holder_id) if holder_id else None
    namesakes = [found[text] for text in texts if text in found]
    after = claimed(pointer, user, holder=holder, namesakes=namesakes, now=now)
    if after is None:
        return []
    writes = [_put_pointer(pointer, after)]
    if after.user_id == user.id and holder and holder.address == address:
        writes.append(_touch_holder(holder, now))
    return writes


def _touch_holder(holder: User, now: int) -> Write:
    """Change ``updated_at`` of a holder who loses the address. Refused with Raced if the profile has changed.

    At the same moment, another request may apply a token or a sync to the holder's profile, without knowing that the
    holder loses the address. The change of ``updated_at`` makes the other request's write fail, so that the
    other request is decided again.
    """
    values = {":seen": holder.updated_at, ":now": holder.touched(now).updated_at}
    changed = table.update(
        keys.profile(holder.id), "SET updated_at = :now", condition="updated_at = :seen", values=values
    )
    return Write(changed, refused=lambda _: Raced())


def give_up(address: str, user: User) -> list[Write]:
    """If the user holds the address, give it to its ``heir`` among the users who wait for it, or to nobody.

    If the user only waits for the address, remove the user from ``former``, which lists the users who wait.
    """
    item = table.get(keys.email(address))
    pointer = from_item(address, item) if item else None
    if pointer and user.id in pointer.former:
        return [_put_pointer(pointer, pointer.without(user.id))]
    if pointer is None or pointer.user_id != user.id:
        # The user may get the address at the same moment. Then this check refuses the transaction.
        not_theirs = "attribute_not_exists(pk) OR user_id <> :user"
        action = table.check(keys.email(address), condition=not_theirs, values={":user": user.id})
        return [Write(action, refused=lambda _: Raced())]
    candidates = [each for each in pointer.former if each != user.id]
    found = [profiles.from_item(profile) for profile in table.get_many([*map(keys.profile, candidates)]) if profile]
    next_holder = heir(address, found)
    if next_holder is None:
        condition, values = _as_seen(pointer)
        return [Write(table.delete(keys.email(address), condition=condition, values=values), lambda _: Raced())]
    # If the next holder changes to another address at the same moment, the check refuses the transaction. Without the
    # check, the next holder would keep both addresses forever.
    unchanged = {":seen": next_holder.updated_at}
    check = table.check(keys.profile(next_holder.id), condition="updated_at = :seen", values=unchanged)
    return [_put_pointer(pointer, pointer.passed_to(next_holder)), Write(check, refused=lambda _: Raced())]


def _put_pointer(before: Pointer | None, after: Pointer) -> Write:
    condition, values = _as_seen(before) if before else ("attribute_not_exists(pk)", None)
    return Write(table.put(to_item(after), condition=condition, values=values), refused=lambda _: Raced())


def to_item(pointer: Pointer) -> Item:
    return {
        **keys.email(pointer.address),
        "user_id": pointer.user_id,
        "issued_at": pointer.issued_at,
        "since": pointer.since,
        "former": table.compact(pointer.former),
    }


def _as_seen(pointer: Pointer) -> tuple[str, Item]:
    """The condition that neither the holder of an address nor the users who wait for it have changed."""
    condition = "user_id = :holder AND issued_at = :issued AND former = :former"
    former = table.compact(pointer.former)
    return condition, {":holder": pointer.user_id, ":issued": pointer.issued_at, ":former": former}


def from_item(address: str, item: Item) -> Pointer:
    former = tuple(json.loads(item["former"]))
    return Pointer(address, item["user_id"], item["issued_at"], item["since"], former)
