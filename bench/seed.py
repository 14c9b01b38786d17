"""Creates what must exist before a measurement: users, credits, API keys and past sessions."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from accounting.domain import wallet as decisions
from accounting.domain.accounts import personal
from accounting.domain.allocations import Allocation
from accounting.domain.ledger import Cause
from accounting.domain.lots import allocation_id
from accounting.domain.pricing import DEFAULT_CARD
from accounting.domain.sessions import Report, Session, resolved
from accounting.domain.usage import Sums, UsageRecord
from accounting.domain.users import Description
from accounting.domain.wallet import Decision, Wallet
from accounting.operations import api_keys, credits
from accounting.operations.ids import new_id
from accounting.store import allocations, entries, rollups, table, usage, users, wallets
from accounting.store import sessions as session_store
from accounting.times import DAY, clock, day_begin
from bench.operations import MODEL
from local.uuid7 import uuid7

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from accounting.store.table import Item

GRANT = 10**9
DAYS = 30
SERVICES = ("chat-streaming", "chat-streaming-failed", "images", "search")


def user(user_id: str, granted: int = GRANT) -> None:
    """Create a user, and grant them ``granted`` credits if this is not 0."""
    now = clock()
    users.sync(Description(user_id, f"{user_id}@example.com", user_id, "user"), now)
    if granted:
        credits.allocate(credits.Request("admin", user_id, "bench", 365, now), granted)


def api_key(user_id: str) -> dict[str, str]:
    """Create an API key, and return its id and its text."""
    now = clock()
    made = api_keys.create(user_id, "bench", ("credits:read",), expires_at=None, now=now, idempotency_key=None)
    from accounting.store.api_keys import note_use

    # The service stores the time of a key's last use at most once a minute. The call below stores a time a day ahead,
    # so the measured requests do not write it.
    note_use(made.key, now + DAY)
    return {"keyId": made.key.id, "keyText": str(made.text)}


def whole_days() -> dict[str, str]:
    """Return query parameters for the last ``DAYS`` days before today, from midnight to midnight."""
    begin, end = first_instant(), first_instant() + DAYS * DAY
    return {"startDate": _plain(begin), "endDate": _plain(end)}


def first_instant() -> int:
    """Return the first instant of the ``DAYS`` days before today. Past sessions are spread over these days."""
    return day_begin(clock()) - DAYS * DAY


def _plain(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")


def records(user_id: str, count: int) -> list[UsageRecord]:
    """Return usage records of a few services and models, spread evenly over the ``DAYS`` days before today."""
    step = DAYS * DAY // count
    return [
        UsageRecord(
            id=new_id(at),
            account_id=personal(user_id),
            user_id=user_id,
            service=SERVICES[number % len(SERVICES)],
            operation=f"model-{number % 5}",
            credits=number % 50,
            at=at,
            metadata={"number": number},
        )
        for number in range(count)
        for at in [first_instant() + number * step]
    ]


def write_records(made: Sequence[UsageRecord]) -> None:
    """Write usage records, and the sums of each day, directly to the table.

    The service would compute the same sums with ``rollups.add``, one record at a time, which takes minutes.
    ``check_day_sums`` checks the sums.
    """
    table.put_many([*map(usage.to_item, made), *_rollups(made)])


def _rollups(made: Iterable[UsageRecord]) -> list[Item]:
    """Return the items of each day's sums. Those of each service and model are spread over several items."""
    items: dict[tuple[str, str], Item] = {}
    for place, record in enumerate(made):
        key = rollups.key_of(record, record.account_id, place % rollups.PARTS)
        named = {"service": record.service, "model": record.model_id}
        item = items.setdefault((key["pk"], key["sk"]), {**key, **named})
        for name, number in {"records": 1, "credits": record.credits, **record.counts}.items():
            item[name] = item.get(name, 0) + number
    return list(items.values())


def lots(user_id: str, count: int) -> None:
    """Create a user with ``count`` lots that expire on different days, each with its allocation and ledger entry."""
    user(user_id, 0)
    now = clock()
    wallet = Wallet(personal(user_id))
    items: list[Item] = []
    for number in range(count):
        cause = Cause("admin", now, "bench", "salt")
        expires_at = now + 30 * DAY + number * DAY
        decision = decisions.grant(wallet, GRANT, expires_at=expires_at, cause=cause)
        wallet = decision.wallet
        items += [allocations.to_item(_allocation(wallet, now, expires_at)), *map(entries.to_item, decision.entries)]
    table.put_many([*items, wallets.to_item(wallet)])


def past_sessions(user_id: str, sessions: int) -> None:
    """Create a user with credits and ended sessions, and with their ledger entries, usage records and daily sums.

    The domain's functions compute the wallet, the sessions and the ledger entries. All items are written directly to
    the table.
    """
    user(user_id, 0)
    at = first_instant()
    cause = Cause("admin", at, "bench", "salt")
    decision: Decision = decisions.grant(Wallet(personal(user_id)), GRANT, expires_at=at + 400 * DAY, cause=cause)
    items = [*map(entries.to_item, decision.entries)]
    items.append(allocations.to_item(_allocation(decision.wallet, at, at + 400 * DAY)))
    wallet, made = decision.wallet, []
    for number in range(sessions):
        wallet, session, record = _session(
            user_id, wallet, number, first_instant() + number * DAYS * DAY // sessions, items
        )
        items.append(session_store.to_item(session))
        made.append(record)
    table.put_many([*items, wallets.to_item(wallet)])
    write_records(made)


def _allocation(wallet: Wallet, at: int, expires_at: int) -> Allocation:
    """Return the record of a wallet's newest grant."""
    account_id, number = wallet.account_id, wallet.allocations
    made = allocation_id(account_id, number)
    return Allocation(account_id, number, made, GRANT, "admin", at, expires_at, "bench")


def _session(
    user_id: str, wallet: Wallet, number: int, at: int, items: list[Item]
) -> tuple[Wallet, Session, UsageRecord]:
    """Return the wallet after a past session, the session and its usage record. Add the ledger entries to ``items``."""
    session_id = uuid7(at, number)
    account_id = wallet.account_id
    cause = Cause(user_id, at, session_id=session_id)
    hold = decisions.hold(wallet, 6, cause=cause)
    due_at = at + 3_600_000
    session = Session(
        user_id, session_id, account_id, MODEL, DEFAULT_CARD, 5_000, hold.parts, at, at, due_at, 6, due_at
    )
    settled = decisions.settle(hold.wallet, hold.parts, 4, grace_milliseconds=DAY, cause=cause)
    ended = resolved(session, settled, Report(4_000), outcome="finalized", success=True, at=at)
    items += map(entries.to_item, [*hold.entries, *settled.entries])
    metadata: dict[str, Any] = {"sessionId": session_id, "tokens": 4_000}
    record = UsageRecord(new_id(at), account_id, user_id, "chat-streaming", MODEL, 4, at, metadata, unclassified=4_000)
    return settled.wallet, ended, record


def check_day_sums(user_id: str, made: Sequence[UsageRecord]) -> None:
    """Read the daily sums as the service reads them. Raises ValueError if a recount of the records has other sums."""
    found, counted = Sums(), Sums()
    for _, sums in rollups.between(personal(user_id), None, None):
        found.merge(sums)
    for record in made:
        counted.add(record)
    if found != counted:
        raise ValueError(f"the seeded sums are {found}, but a recount gives {counted}")
