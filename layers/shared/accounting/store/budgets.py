"""Budgets: their definitions in the account's partition, and their counters, each in a partition of its own.

A counter is the sum of what was charged in one window and what is still held. A hold is added to a counter only if the
limit covers the new sum. A settlement adds the charge minus the hold, without a condition. A new window begins with a
new counter, so counters never have to be reset.
"""

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Any

from accounting.domain.accounts import AccountId
from accounting.domain.budgets import Bound, Budget, Counter, Spender, most_before, of_key
from accounting.settings import settings
from accounting.store import keys, table
from accounting.store.formats import FORMAT
from accounting.store.keys import Key
from accounting.store.table import Item, Write
from accounting.times import DAY

KEPT_AFTER_LAST_SESSION = 30 * DAY
"""How long a counter is kept after the items of all sessions that can change it have expired."""


def put(budget: Budget) -> Write:
    """Add or replace a budget.

    This write has no condition. The same transaction must write the account's wallet, because the wallet's condition
    refuses the second of two concurrent changes.
    """
    return Write(table.put(to_item(budget)))


def delete(account_id: AccountId, subject: str) -> Write:
    """Delete a budget. Its counters stay until they expire."""
    return Write(table.delete(keys.budget(account_id, subject), condition="attribute_exists(pk)", values={}))


def page(account_id: AccountId, *, after: str | None, limit: int) -> tuple[list[Budget], str | None]:
    """A page of the account's budgets in the order of their subjects, and ``after`` for the next page."""
    first = keys.budget(account_id, after or "")
    found = table.query_all(first["pk"], first["sk"], keys.end_of_budgets(), forward=True)
    budgets = list(islice((from_item(item) for item in found if item["subject"] != after), limit + 1))
    return budgets[:limit], budgets[limit - 1].subject if len(budgets) > limit else None


def of_keys(account_id: AccountId) -> list[Budget]:
    """The budgets of the account's API keys."""
    first = keys.budget(account_id, of_key(""))
    items = table.query_all(first["pk"], first["sk"], first["sk"] + keys.AFTER_ALL_TIMES, forward=True)
    return [from_item(item) for item in items]


def commit(spender: Spender, bound: Bound, credits: int, refused: Callable[[int, int], Exception]) -> Write:
    """Add credits to the counter of the limit ``bound``, and store the warning level that the new sum reaches.

    The write is refused if the new sum would exceed the limit. The level is computed from the sum in ``bound``, but the
    stored sum may have changed since ``bound`` was read. So the write is also refused if this level or a higher one is
    already stored, or if the new sum would reach a higher level that is not stored yet. ``refused`` makes the error
    from the stored sum and the stored level. The next attempt decides with these two values, so each level is stored
    once in each window.

    Raises LookupError for a run's limit, which has no counter.
    """
    if bound.counter is None:
        raise LookupError(f"{bound.name} has no counter")
    assigned: Item = {"format": FORMAT}
    if bound.ends_at is not None:
        assigned["ttl"] = _kept_until(bound.ends_at)
    limits: Item = {":most": most_before(bound.limit, credits)}
    clauses = ["#committed <= :most"]
    reached = bound.level_reached(credits)
    if reached is not None:
        assigned["warned"] = reached
        clauses.append("(attribute_not_exists(#warned) OR #warned < :warned)")
    to_come = [level for level in bound.levels if level > max(reached or 0, bound.warned)]
    for number, level in enumerate(to_come):
        clauses.append(f"(#committed < :before{number} OR #warned >= :level{number})")
        limits |= {f":before{number}": level - credits, f":level{number}": level}
    sets = ", ".join(f"#{name} = :{name}" for name in assigned)
    return Write(
        table.update(
            counter_key(spender, bound.counter),
            f"ADD #committed :more SET {sets}",
            condition=f"attribute_not_exists(pk) OR ({' AND '.join(clauses)})",
            values={**limits, ":more": credits, **{f":{name}": each for name, each in assigned.items()}},
            names={f"#{name}": name for name in ("committed", *assigned, *(["warned"] if to_come else []))},
        ),
        refused=lambda old: refused(old["committed"], old.get("warned", 0)) if old else refused(0, 0),
    )


def add(spender: Spender, counters: Iterable[Counter], credits: int, now: int) -> list[Write]:
    """Add credits, which may be negative, to counters, without a condition.

    If the operator raises ``SessionRetentionDays``, a counter can expire before a session that committed to it is
    settled. The counter is then created again, with a new expiry.
    """
    if not credits:
        return []
    forever: Item = {"format": FORMAT}
    for_a_window: Item = {**forever, "ttl": _kept_until(now)}
    return [
        Write(
            table.add(
                counter_key(spender, counter),
                {"committed": credits},
                if_absent=for_a_window if counter.ends else forever,
            )
        )
        for counter in counters
    ]


def counter_key(spender: Spender, counter: Counter) -> Key:
    if counter.of == "key":
        return keys.key_counter(spender.account_id, str(spender.key_id), counter.begun, counter.window)
    return keys.member_counter(spender.account_id, spender.user_id, counter.begun, counter.window)


def to_text(counters: Iterable[Counter]) -> str | None:
    """Counters as a session stores them, such as ``m5.2026-11 k7.total``; None if there are none."""
    return " ".join(f"{counter.of[0]}{counter.begun}.{counter.window}" for counter in counters) or None


def from_text(text: str | None) -> tuple[Counter, ...]:
    """The inverse of ``to_text``."""
    return tuple(_counter(part) for part in (text or "").split())


def _counter(text: str) -> Counter:
    begun, _, window = text[1:].partition(".")
    return Counter("key" if text[0] == "k" else "member", int(begun), window)


def _kept_until(ends_at: int) -> int:
    """The time, in epoch seconds, after which the database may delete the counter of a window.

    The window ends at ``ends_at`` (epoch milliseconds). A session may begin at the window's last instant, stay active
    for as long as is allowed, and be settled late for as long as its item is kept.
    """
    longest = settings().session_max_life + settings().session_retention
    return (ends_at + longest + KEPT_AFTER_LAST_SESSION) // 1000


def to_item(budget: Budget) -> Item:
    return {
        **keys.budget(budget.account_id, budget.subject),
        "subject": budget.subject,
        "limit": budget.limit,
        "window": budget.window,
        "zone": budget.zone,
        "begun": budget.begun,
        "changed_at": budget.changed_at,
        "changed_by": budget.changed_by,
        "warn_at": " ".join(map(str, budget.warn_at)) or None,
        "owner": budget.owner,
        "by_platform": budget.by_platform or None,
    }


def from_item(item: Item) -> Budget:
    plain: dict[str, Any] = {
        name: item[name] for name in ("subject", "limit", "window", "zone", "begun", "changed_at", "changed_by")
    }
    return Budget(
        account_id=keys.account_in(item),
        warn_at=tuple(map(int, item.get("warn_at", "").split())),
        owner=item.get("owner"),
        by_platform=item.get("by_platform", False),
        **plain,
    )
