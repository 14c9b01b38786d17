"""The data of `make seed`: users, grants and usage of the last months, as the service itself would have stored them.

The domain computes the data, as in the service: each wallet is the outcome of its ledger's commands, in order of time.
Only the writes differ. The service writes each command in a transaction; here, the items of all commands are collected,
and each item is written once, in its last state.
"""

from __future__ import annotations

import json
import random
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

from accounting.domain import system_usage, wallet
from accounting.domain.accounts import AccountId, personal
from accounting.domain.allocations import Allocation
from accounting.domain.ledger import Cause
from accounting.domain.lots import SECOND, whole_second
from accounting.domain.model_usage import Usage
from accounting.domain.pricing import PriceRule
from accounting.domain.rates import RATE_SCALE, RateCard, Rates
from accounting.domain.system_usage import Sum
from accounting.domain.usage import UsageRecord
from accounting.domain.users import Description, claimed
from accounting.domain.wallet import Wallet
from accounting.operations.ids import new_id, new_salt
from accounting.store import allocations, entries, keys, pointers, profiles, rollups, system, table, usage, wallets
from accounting.times import DAY, HOUR, MINUTE

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from accounting.domain.system_usage import Place
    from accounting.domain.users import User
    from accounting.domain.wallet import Decision
    from accounting.store.table import Item, Write

DAYS = 90
"""The usage records are spread over this many days."""

ADMIN = "demo-admin"
NAMES: dict[str, list[str]] = json.loads((Path(__file__).parent / "seed_names.json").read_text())
MODELS: dict[str, tuple[int, int, int]] = {
    "gpt-4o": (2_500, 10_000, 30),
    "gpt-4o-mini": (150, 600, 25),
    "claude-sonnet-4-5": (3_000, 15_000, 20),
    "claude-haiku-4-5": (1_000, 5_000, 12),
    "gemini-2.5-flash": (300, 2_500, 8),
    "mistral-large-latest": (2_000, 6_000, 5),
}
"""Of each model: credits for a million input tokens, credits for a million output tokens, and percent of the calls."""

IMAGES, IMAGE_CREDITS = "image-generation", 40
SERVICES = {"chat": 80, "chat-documents": 15, IMAGES: 5}
GRANTS_PER_ACCOUNT = 2


@dataclass
class Books:
    """The data of a seeding: users, price rules, usage records, and each account's wallet with its ledger entries."""

    now: int
    users: list[User]
    rules: list[PriceRule]
    records: list[UsageRecord] = field(default_factory=list)
    wallets: dict[AccountId, Wallet] = field(default_factory=dict)
    items: list[Item] = field(default_factory=list)

    def store(self, decision: Decision) -> None:
        """Keep the ledger entries of a command, and the wallet after the command."""
        self.wallets[decision.wallet.account_id] = decision.wallet
        self.items += map(entries.to_item, decision.entries)


def begin(number: int, now: int) -> Books:
    """Return books with this many users and with price rules, but without grants and usage."""
    rng = random.Random(1)
    users = [_user(rng, each, now) for each in range(number)]
    rules = [
        PriceRule(
            model,
            RateCard(Rates(input_rate * RATE_SCALE, output_rate * RATE_SCALE)),
            now - 200 * DAY,
            source="make seed",
        )
        for model, (input_rate, output_rate, _) in MODELS.items()
    ]
    return Books(now, users, rules)


def _user(rng: random.Random, number: int, now: int) -> User:
    first, last = rng.choice(NAMES["firstNames"]), rng.choice(NAMES["lastNames"])
    plain = normalize("NFKD", f"{first}.{last}").lower().replace("ı", "i").encode("ascii", "ignore").decode()
    at = now - (100 + rng.randrange(300)) * DAY - rng.randrange(DAY)
    role = "supervisor" if number % 500 == 7 else "user"
    user_id = f"{plain.replace("'", '')}.{number}"
    return Description.by_the_platform(
        user_id, email=f"{user_id}@example.com", username=f"{first} {last}", role=role, now=at
    ).applied_to(None, at)


def identities(books: Books) -> Iterator[Item]:
    """Return the items of the users, and of their e-mail addresses."""
    for user in books.users:
        yield profiles.to_item(user)
        pointer = claimed(None, user, holder=None, namesakes=(), now=user.created_at)
        if pointer:
            yield pointers.to_item(pointer)


def user_counts(books: Books) -> Iterator[tuple[keys.Key, int]]:
    """Return the key of each counter of users, and the number to add to this counter."""
    counted = Counter(tuple(keys.user_count(user.role, user.id).items()) for user in books.users)
    return ((dict(key), number) for key, number in counted.items())


def add_usage(books: Books, number: int, members: Mapping[str, AccountId]) -> None:
    """Add usage records, grants that cover them, and the accounts' day sums and wallets.

    `members` maps users to the account of their organization, which pays for half of their usage.
    """
    rng = random.Random(2)
    books.records = sorted(_records(books, rng, number, members), key=lambda record: record.at)
    needed: Counter[AccountId] = Counter()
    for record in books.records:
        needed[record.account_id] += record.credits
    for account_id in [*(personal(user.id) for user in books.users), *dict.fromkeys(members.values())]:
        _grant(books, rng, account_id, needed[account_id])
    day_sums: dict[tuple[str, str], Item] = {}
    for record in books.records:
        cause = Cause(record.user_id, record.at, usage_id=record.id)
        books.store(wallet.charge(books.wallets[record.account_id], record.credits, cause=cause))
        books.items += [item_in(usage.put_pointer(record)) for _ in record.accounts[1:]]
        for account_id in record.accounts:
            _count(day_sums, record, account_id)
    books.items += day_sums.values()
    books.items += map(wallets.to_item, books.wallets.values())


def _records(books: Books, rng: random.Random, number: int, members: Mapping[str, AccountId]) -> Iterator[UsageRecord]:
    cards = {rule.model_id: rule.card for rule in books.rules}
    weights = [*accumulate(rng.paretovariate(1.3) for _ in books.users)]
    popularity = [each for _, _, each in MODELS.values()]
    for user in rng.choices(books.users, cum_weights=weights, k=number):
        at = books.now - rng.randrange(1, DAYS) * DAY - rng.randrange(10 * MINUTE, 9 * HOUR)
        account_id = members[user.id] if user.id in members and rng.random() < 0.5 else personal(user.id)
        (service,) = rng.choices([*SERVICES], [*SERVICES.values()])
        record_id = new_id(at)
        if service == IMAGES:
            yield UsageRecord(record_id, account_id, user.id, service, "render", IMAGE_CREDITS, at, {})
            continue
        (model,) = rng.choices([*MODELS], popularity)
        prompt = rng.randrange(200, 6_000)
        used = Usage(prompt, rng.randrange(50, 1_200), cached_input=prompt // 2 if rng.random() < 0.3 else 0)
        yield UsageRecord(record_id, account_id, user.id, service, model, cards[model].cost(used), at, {}, used)


def _grant(books: Books, rng: random.Random, account_id: AccountId, needed: int) -> None:
    """Grant a little more than an account needs, in lots that expire at different times."""
    shares = [needed // GRANTS_PER_ACCOUNT + rng.randrange(100, 2_000) for _ in range(GRANTS_PER_ACCOUNT)]
    shares[0] += needed % GRANTS_PER_ACCOUNT
    at = books.now - 99 * DAY
    for credits in shares:
        at += rng.randrange(1, DAY)
        notes = rng.choice(["Monthly allowance", "Welcome", "Invoice 2026-0817", "Pilot project"])
        expires_at = whole_second(books.now + rng.randrange(2, 600) * DAY + rng.randrange(DAY))
        before = books.wallets.get(account_id) or Wallet(account_id)
        cause = Cause(ADMIN, at, notes, new_salt(notes))
        decision = wallet.grant(before, credits, expires_at=expires_at, cause=cause)
        books.store(decision)
        granted = decision.entries[0]
        books.items.append(
            allocations.to_item(
                Allocation(
                    account_id,
                    decision.wallet.allocations,
                    granted.allocation_id or "",
                    credits,
                    ADMIN,
                    granted.at // SECOND * SECOND,
                    expires_at,
                    notes,
                )
            )
        )


def _count(day_sums: dict[tuple[str, str], Item], record: UsageRecord, account_id: AccountId) -> None:
    named, added = rollups.names_and_numbers(record, account_id)
    key = rollups.key_of(record, account_id)
    item = day_sums.setdefault((key["pk"], key["sk"]), {**key, **named})
    for name, count in added.items():
        item[name] = item.get(name, 0) + count


def system_sums(records: Sequence[UsageRecord], now: int) -> Iterator[Item]:
    """Return the system-wide sums of the records, and the marks that keep the service from counting them again."""
    stored: dict[Place, Sum] = defaultdict(Sum)
    by_slot: dict[int, list[UsageRecord]] = defaultdict(list)
    for part in range(keys.SHARDS):
        stored.update(system_usage.counted(records[part :: keys.SHARDS], part, stored))
    for record in records:
        by_slot[system_usage.slot(record)].append(record)
    for slot, of_slot in by_slot.items():
        # The table's stream delivers these records after the seeding, however old they are. In the service, marks
        # expire three days after their records. Here, they expire three days from now, to outlast the delivery.
        yield {**item_in(system.mark(system.Marks(slot, frozenset()), of_slot)), "ttl": (now + 3 * DAY) // 1000}
    for place, each in stored.items():
        yield item_in(system.put(place, each))


def item_in(write: Write) -> Item:
    """Return the item that a write puts."""
    found: dict[str, Any] = table.unpack(write.action["Put"]["Item"])
    return found


def without_empty(items: Iterable[Item]) -> list[Item]:
    """Return items without the attributes that are None."""
    return [{name: value for name, value in item.items() if value is not None} for item in items]
