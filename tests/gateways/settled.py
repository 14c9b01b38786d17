"""Waits until a user's model calls are settled, or until the credits held for the calls are released."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from tests.e2e.books import audited, items_of

if TYPE_CHECKING:
    from local.stack import Stack
    from tests.e2e.books import Books, Item
    from tests.e2e.client import Person

PATIENCE_SECONDS = 120


def wait_for_settlement(service: Stack, person: Person) -> tuple[Item, Books]:
    """Wait until a user has a usage record and no held credits.

    Return the record, which must be the only one, and the user's books (see `audited`).
    """
    deadline = time.monotonic() + PATIENCE_SECONDS
    while person.balance()["heldCredits"] or not [item for item in items_of(service, person.id) if _is_record(item)]:
        assert time.monotonic() < deadline, "the call was never settled"
        time.sleep(0.1)
    books = audited(service, person)
    (record,) = books.usage
    return record, books


def _is_record(item: Item) -> bool:
    return str(item["sk"]).startswith("USAGE#")


def expect_released(person: Person, credits: int) -> None:
    """Wait until nothing is held for a user, and check that the user can spend exactly ``credits``."""
    deadline = time.monotonic() + PATIENCE_SECONDS
    while (balance := person.balance())["heldCredits"]:
        assert time.monotonic() < deadline, "the credits were never released"
        time.sleep(0.1)
    assert balance["totalCredits"] == credits
