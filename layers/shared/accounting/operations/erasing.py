"""Erasing a user's personal data. Ids, credits, the ledger's chain and sums of usage stay.

The first step is one transaction: the profile loses name and address, and the user is disabled for good. For a short
time after that, requests can still store new texts about the user (see ``WAIT``). The second step begins when these
requests have ended. It erases the texts item by item, and remembers how far it got. Both the sweeper and a repeated
request to erase the user do the second step, and they may do so at the same time.
"""

import time
from collections.abc import Callable

from accounting.domain import users as people
from accounting.domain import wallet as decisions
from accounting.domain.errors import ApiKeyNotFound
from accounting.operations import api_keys
from accounting.operations.commit import retry_conflicts
from accounting.store import api_keys as key_store
from accounting.store import erasures, pointers, profiles, users, wallets
from accounting.store.erasures import Erasure
from accounting.store.pointers import Raced
from accounting.store.stale import StaleRead
from accounting.store.table import MAX_BATCH, Conflict, transact
from accounting.store.users import Reference
from accounting.times import MINUTE

WAIT = 2 * MINUTE
"""How long the second step waits, because a request that found the user enabled may still be in progress.

For up to 30 seconds, a process may still remember the user as enabled, and accept a request. That request ends within
the time limit of a function.
"""

REQUEST_SECONDS = 5.0
"""The longest time that one request works on an erasure."""

REMEMBERED_EVERY = 500
"""The number of items after which an erasure stores its progress."""


def erase(reference: Reference, *, by: str, now: int) -> Erasure:
    """Begin to erase a user's personal data, or continue.

    Raises UserNotFound, Contention, and Invalid if users would erase themselves.
    """
    deadline = time.monotonic() + REQUEST_SECONDS
    erasure = retry_conflicts(lambda: _begin(reference, by, now))
    return resume(erasure, now, lambda: time.monotonic() < deadline)


def resume(erasure: Erasure, now: int, time_left: Callable[[], bool]) -> Erasure:
    """If the erasure is due, erase as much as time allows. Return how far the erasure got. Raises Contention."""
    if erasure.finished_at is not None or now < erasure.due_at:
        return erasure
    try:
        return _resume(erasure, now, time_left)
    except StaleRead as stale:
        newer: Erasure = stale.current["erasure"]
        return newer


def _begin(reference: Reference, by: str, now: int) -> Erasure:
    found = users.resolve(reference)
    before, wallet = found.user, found.wallet
    after = people.erased(before, by=by, now=now)
    if after == before and (known := erasures.get(before.id)):
        return known
    erasure = Erasure(after.id, at=now, due_at=now + WAIT)
    try:
        given_up = pointers.give_up(before.address, after) if before.address else []
        erased = [profiles.put(before, after, Raced), wallets.put(wallet, decisions.erase(wallet))]
        transact([*erased, *given_up, erasures.begin(erasure)])
    except (Raced, StaleRead) as raced:
        raise Conflict from raced
    users.forget(after.id)
    return erasure


def _resume(erasure: Erasure, now: int, time_left: Callable[[], bool]) -> Erasure:
    _delete_api_keys(erasure.user_id)
    for number, (part, item) in enumerate(erasures.items(erasure), 1):
        erasures.erase(item)
        stops = not time_left()
        if stops or number % REMEMBERED_EVERY == 0:
            erasure = erasure.reached(part, item["sk"])
            erasures.put_progress(erasure)
        if stops:
            return erasure
    ended = erasure.finished(now)
    erasures.put_progress(ended)
    return ended


def _delete_api_keys(user_id: str) -> None:
    """Delete the user's API keys, because names of keys can be personal."""
    position: str | None = None
    while True:
        found, position = key_store.of_owner(user_id, before=position, limit=MAX_BATCH)
        for key in found:
            try:
                api_keys.delete(key.id, user_id)
            except ApiKeyNotFound:
                continue
        if position is None:
            return
