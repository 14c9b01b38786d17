"""Builds every key of the table. Other modules build only the lower and upper bounds of queries.

Most functions return the attributes of one key: ``pk`` and ``sk`` of the table, or the two attributes of an index.
docs/data-model.md explains what each entity's keys are for.
"""

from typing import NamedTuple
from zlib import crc32

from accounting.domain.accounts import AccountId, stored
from accounting.store import session_ids
from accounting.times import from_iso, iso

type Key = dict[str, str]

SHARDS = 8
"""The number of partitions over which a long system-wide list is spread. A list with few entries has one partition."""

PAYER_SHARDS = 2
"""The number of partitions for the ranking of accounts that pay for others.

Two are enough, because the ranking has few writes: the rollups function writes once for each account and batch of
records.
"""

BY_OWNER = "by_owner"
BY_KIND = "by_kind"
DUE = "due"

INDEX_KEYS = {BY_OWNER: ("owner_pk", "owner_sk"), BY_KIND: ("kind_pk", "kind_sk"), DUE: ("due_pk", "due_sk")}

DUE_ERASURES = "DUE#ERASURE"
"""The partition of ``due`` with the erasures that have not ended."""

_RANK_ZERO = 10**23
"""Added to the credits in a ranking's key, so that negative sums sort correctly. No sum of a day is that large."""

_RANKED_LAST = "0" * 24
"""The rank of a service or model without merit, the number that decides its rank (see ``domain/system_usage``).

It sorts below the ranks of all services and models with merit.
"""

BEFORE_ALL_MODELS = "!"
BEFORE_ALL_ACCOUNTS = " "
AFTER_ALL_ACCOUNTS = "\U0010ffff"
BEFORE_ALL_TIMES = "0"
AFTER_ALL_TIMES = "~"


class Range(NamedTuple):
    """The part of a partition whose sort keys begin with ``prefix``. Without a prefix, it is the whole partition."""

    pk: str
    prefix: str = ""

    @property
    def low(self) -> str:
        """No key of the range sorts before this text."""
        return self.prefix or BEFORE_ALL_TIMES

    @property
    def high(self) -> str:
        """Every key of the range sorts before this text."""
        return self.prefix[:-1] + chr(ord(self.prefix[-1]) + 1) if self.prefix else AFTER_ALL_TIMES


def profile(user_id: str) -> Key:
    """A user's profile."""
    return {"pk": f"USER#{user_id}", "sk": "PROFILE"}


def email(address: str) -> Key:
    """The pointer from an e-mail address to its user. The address is in the form in which addresses are compared."""
    return {"pk": f"EMAIL#{address}", "sk": "EMAIL"}


def wallet(account_id: AccountId) -> Key:
    """The account's credits."""
    return {"pk": f"ACCOUNT#{account_id}", "sk": "WALLET"}


def wallet_of_all(account_id: AccountId) -> Key:
    """Where the auditor finds the wallet. This key never changes."""
    return {"kind_pk": f"WALLETS#{_shard(account_id)}", "kind_sk": account_id}


def allocation(account_id: AccountId, number: int) -> Key:
    """The account's nth grant, from 1. The numbers have no gaps, so any page of the list is one range of keys."""
    return {"pk": f"ACCOUNT#{account_id}", "sk": f"ALLOC#{number:012d}"}


def entry(account_id: AccountId, seq: int) -> Key:
    """The account's nth ledger entry, from 1."""
    return {"pk": f"ACCOUNT#{account_id}", "sk": f"ENTRY#{seq:012d}"}


def audit(account_id: AccountId) -> Key:
    """How far the account's ledger was proved."""
    return {"pk": f"ACCOUNT#{account_id}", "sk": "AUDIT"}


def audit_position() -> Key:
    """Where the next audit of all accounts continues."""
    return {"pk": "AUDIT", "sk": "POSITION"}


def audit_sums() -> Key:
    """The sums of all wallets, as the auditor last added them up."""
    return {"pk": "AUDIT", "sk": "SUMS"}


def entry_seq(key: Key) -> int | None:
    """The number in a ledger entry's key; None if the key is not a ledger entry's."""
    number = key["sk"].removeprefix("ENTRY#")
    return int(number) if number.isascii() and number.isdigit() else None


def end_of_entries() -> str:
    """The sort key after all of an account's ledger entries."""
    return f"ENTRY#{AFTER_ALL_TIMES}"


def session(user_id: str, session_id: str) -> Key:
    """A streaming session. The client chooses an id that is unique among the user's sessions."""
    return {"pk": f"USER#{user_id}", "sk": f"SESSION#{session_id}"}


def session_metadata(user_id: str, session_id: str) -> Key:
    """The metadata that a session's caller sent."""
    return {"pk": f"USER#{user_id}", "sk": f"METADATA#{session_id}"}


def usage(account_id: AccountId, at: int, record_id: str) -> Key:
    """A usage record that an account paid for. An account's records are in time order."""
    return {"pk": f"ACCOUNT#{account_id}", "sk": f"USAGE#{iso(at)}#{record_id}"}


def day_rollup(account_id: AccountId, day: str, digest: str, part: int = 0) -> Key:
    """An account's sums of a day for one combination of service, model, paying account and API key.

    The sums of a user's own account include what other accounts paid for the user (see ``rollups.key_of``). The sums
    are spread over parts, so that concurrent writers can write different items. Readers add the parts up.
    """
    return {"pk": f"ACCOUNT#{account_id}", "sk": f"DAY#{day}#{digest}#{part}"}


def day_in(key: Key) -> str:
    """The day in the key of an account's sums."""
    return key["sk"].split("#")[1]


def idempotency(caller: str, route: str, key: str) -> Key:
    """The answer to a request with an idempotency key. Each caller has separate keys for each route."""
    return {"pk": f"USER#{caller}", "sk": f"IDEM#{route}#{key}"}


def price(model_id: str, effective_from: int) -> Key:
    """A price rule."""
    return {"pk": f"PRICE#{model_id}", "sk": f"FROM#{iso(effective_from)}"}


def price_of_all(model_id: str, effective_from: int) -> Key:
    """Where the price list finds a rule: by model, then by time.

    A blank separates the two. It sorts before every character of a model's id, so all rules of the model ``a`` come
    before the rules of the model ``ab``.
    """
    return {"kind_pk": "PRICES", "kind_sk": f"{model_id} {iso(effective_from)}"}


def listed_price(key: Key) -> tuple[str, int]:
    """The model and the start (epoch milliseconds) of the rule with this key in the price list."""
    model_id, _, effective_from = key["kind_sk"].partition(" ")
    return model_id, from_iso(effective_from)


def after_prices_of(model_id: str) -> str:
    """The sort key in the price list after all rules of a model."""
    return f"{model_id} {AFTER_ALL_TIMES}"


def api_key(key_id: str) -> Key:
    """An API key, by its id, which is part of the text that callers send."""
    return {"pk": f"KEY#{key_id}", "sk": "KEY"}


def api_key_of_owner(user_id: str, key_id: str, created_at: int) -> Key:
    """Where the owner's API keys are found, in time order."""
    return {"owner_pk": f"USER#{user_id}", "owner_sk": f"KEY#{iso(created_at)}#{key_id}"}


def api_key_count(user_id: str) -> Key:
    """How many API keys the user has."""
    return {"pk": f"USER#{user_id}", "sk": "KEYS"}


def budget(account_id: AccountId, subject: str) -> Key:
    """The definition of an account's budget."""
    return {"pk": f"ACCOUNT#{account_id}", "sk": f"BUDGET#{subject}"}


def end_of_budgets() -> str:
    """The sort key after all of an account's budgets."""
    return f"BUDGET#{AFTER_ALL_ACCOUNTS}"


def member_counter(account_id: AccountId, user_id: str, begun: int, window: str) -> Key:
    """The credits that a member holds or has spent in one window of a budget. Each counter has a separate partition."""
    return {"pk": f"COUNTER#{begun}#{window}#{account_id}#{user_id}", "sk": "COUNTER"}


def key_counter(account_id: AccountId, key_id: str, begun: int, window: str) -> Key:
    """The credits that an API key holds or has spent in one window of its budget.

    Each counter has a separate partition.
    """
    return {"pk": f"COUNTER#{begun}#{window}#KEY#{key_id}#{account_id}", "sk": "COUNTER"}


def run(account_id: AccountId, run_id: str) -> Key:
    """An account's run."""
    return {"pk": f"RUN#{account_id}#{run_id}", "sk": "RUN"}


def run_model(account_id: AccountId, run_id: str, digest: str) -> Key:
    """What a run spent on one model."""
    return {"pk": f"RUN#{account_id}#{run_id}", "sk": f"MODEL#{digest}"}


def run_metadata(user_id: str, account_id: AccountId, run_id: str) -> Key:
    """The metadata that a run's maker sent. No session's metadata has this key: no session id begins with ``#``."""
    return {"pk": f"USER#{user_id}", "sk": f"METADATA##{account_id}#{run_id}"}


def organization(organization_id: str) -> Key:
    """An organization. Its members are in the same partition."""
    return {"pk": f"ORG#{organization_id}", "sk": "ORGANIZATION"}


def organization_of_all(organization_id: str, created_at: int) -> Key:
    """Where the list of all organizations finds an organization, in order of creation. This key never changes."""
    return {"kind_pk": "ORGANIZATIONS", "kind_sk": f"{iso(created_at)}#{organization_id}"}


def member(organization_id: str, user_id: str) -> Key:
    """A user's membership of an organization."""
    return {"pk": f"ORG#{organization_id}", "sk": f"MEMBER#{user_id}"}


def end_of_members() -> str:
    """The sort key after all members of an organization."""
    return f"MEMBER#{AFTER_ALL_ACCOUNTS}"


def member_of_owner(organization_id: str, user_id: str, since: int) -> Key:
    """Where a user's organizations are found, in the order in which the user joined them."""
    return {"owner_pk": f"USER#{user_id}", "owner_sk": f"ORG#{iso(since)}#{organization_id}"}


def service_credential(credential_id: str) -> Key:
    """A service credential, by its id, which is part of the text that services send."""
    return {"pk": f"SERVICE#{credential_id}", "sk": "CREDENTIAL"}


def service_credential_of_all(credential_id: str, created_at: int) -> Key:
    """Where the list of service credentials finds a credential, in order of creation."""
    return {"kind_pk": "SERVICES", "kind_sk": f"{iso(created_at)}#{credential_id}"}


def service_credential_count() -> Key:
    """How many service credentials there are."""
    return {"pk": "COUNTS", "sk": "SERVICES"}


def erasure(user_id: str) -> Key:
    """How far the erasure of a user's personal data has come."""
    return {"pk": f"USER#{user_id}", "sk": "ERASURE"}


def erasure_due(user_id: str, due_at: int) -> Key:
    """When an unfinished erasure continues."""
    return {"due_pk": DUE_ERASURES, "due_sk": f"{iso(due_at)}#{user_id}"}


def texts_of_account(account_id: AccountId) -> list[Range]:
    """The items of an account that an erasure keeps, but without their free texts, such as notes."""
    return [Range(f"ACCOUNT#{account_id}", prefix) for prefix in ("ALLOC#", "ENTRY#", "USAGE#")]


def texts_of_user(user_id: str) -> list[Range]:
    """The items of a user that an erasure deletes whole: answers to requests, and metadata of sessions and runs."""
    return [Range(f"USER#{user_id}", prefix) for prefix in ("IDEM#", "METADATA#")]


def user_count(role: str, user_id: str) -> Key:
    """How many users are in this user's shard of a role's list."""
    return {"pk": "COUNTS", "sk": f"USERS#{role}#{_shard(user_id)}"}


def user_in_role(role: str, user_id: str, created_at: int) -> Key:
    """Where the lists of users find a user: by role, in order of creation."""
    return {"kind_pk": f"USERS#{role}#{_shard(user_id)}", "kind_sk": f"{iso(created_at)}#{user_id}"}


def system_day(day: str, part: int) -> Key:
    """The sums of a day over all users, spread over parts."""
    return {"pk": f"SYSTEM#{day}#{part}", "sk": "SUMS"}


def system_marks(slot: int) -> Range:
    """The items that mark which records of a slot (five minutes) are already counted in the system's sums."""
    return Range(f"COUNTED#{iso(slot)}", "MARKS#")


def system_marks_part(slot: int, number: int) -> Key:
    """One of the items over which a slot's marks are spread, numbered from 0."""
    return {"pk": f"COUNTED#{iso(slot)}", "sk": f"MARKS#{number:06d}"}


def system_user(day: str, user_id: str) -> Key:
    """One user's sums of a day, for the system-wide statistics."""
    return {"pk": f"SYSTEM#{day}#{_shard(user_id)}", "sk": f"USER#{user_id}"}


def system_user_rank(day: str, user_id: str, credits: int) -> Key:
    """Where a day's users are found by their credits. Refunds of earlier charges can make the credits negative."""
    return {"kind_pk": f"SYSTEMUSERS#{day}#{_shard(user_id)}", "kind_sk": f"{_rank(credits)}#{user_id}"}


def system_account(day: str, account_id: AccountId) -> Key:
    """The sums of a day for one account that pays for users who do not own it."""
    return {"pk": f"SYSTEM#{day}#{_shard(account_id)}", "sk": f"ACCOUNT#{account_id}"}


def system_account_rank(day: str, account_id: AccountId, credits: int) -> Key:
    """Where the ranking of accounts that pay for others finds an account: by day, then by credits."""
    return {
        "kind_pk": f"SYSTEMACCOUNTS#{day}#{_shard(account_id) % PAYER_SHARDS}",
        "kind_sk": f"{_rank(credits)}#{account_id}",
    }


def system_name(day: str, kind: str, digest: str) -> Key:
    """The sums of a day for one service or model, by the digest of its name. The name can be too long for a key."""
    return {"pk": f"SYSTEM#{day}#{_shard(digest)}", "sk": f"{kind.upper()}#{digest}"}


def system_name_rank(day: str, kind: str, digest: str, merit: int | None, credits: int) -> Key:
    """Where a day's services and models are found by merit, then by credits."""
    rank = _RANKED_LAST if merit is None else _rank(merit)
    return {
        "kind_pk": f"SYSTEMNAMES#{day}#{_shard(digest)}",
        "kind_sk": f"{rank}#{_rank(credits)}#{kind.upper()}#{digest}",
    }


def session_of_owner(user_id: str, session_id: str, started_at: int) -> Key:
    """Where the owner's sessions, active and ended, are found in time order. This key never changes.

    A session whose id tells when it began has no such key, because the table itself sorts such sessions by time.
    """
    if session_ids.tells_its_beginning(session_id, started_at):
        return {}
    return {"owner_pk": f"USER#{user_id}", "owner_sk": f"SESSION#{iso(started_at)}#{session_id}"}


def session_of_all(user_id: str, session_id: str, started_at: int) -> Key:
    """Where the sessions of all users, active and ended, are found in time order. This key never changes."""
    return {
        "kind_pk": f"SESSIONS#{_shard(session_id)}",
        "kind_sk": f"{iso(started_at)}#{session_id}#{user_id}",
    }


def active_session(user_id: str, session_id: str, started_at: int, due_at: int) -> Key:
    """Where active sessions are found, by user and then in time order, and when the sweeper looks at each of them.

    Ended sessions do not have this key. No user id contains a tab. So each key is in the range of only one user.
    """
    return {
        "due_pk": f"DUE#SESSION#{_shard(user_id)}",
        "due_sk": f"USER#{user_id}\t{iso(started_at)}#{session_id}#{iso(due_at)}",
    }


def is_due(key: Key, now: int) -> bool:
    """Whether the active session with this key is due for the sweeper at ``now``."""
    return key["due_sk"].rpartition("#")[2] <= iso(now)


def wallet_due(account_id: AccountId, due_at: int) -> Key:
    """When the sweeper looks at a wallet for expired lots."""
    return {"due_pk": f"DUE#WALLET#{_shard(account_id)}", "due_sk": f"{iso(due_at)}#{account_id}"}


def sessions_of_owner(user_id: str) -> list[Range]:
    """A user's sessions in ``by_owner``. A session whose id tells when it began is not there."""
    return [Range(f"USER#{user_id}", "SESSION#")]


def sessions_by_id(user_id: str, since: int, until: int, before: str | None) -> tuple[str, str, str]:
    """The partition of a user's sessions, and the first and the last key that a UUIDv7 between two times can have.

    If a position ``before`` is given, the last key is not after this position.
    """
    first, last = session_ids.prefix_at(since), session_ids.prefix_at(until)
    if before:
        at, _, session_id = before.partition("#")
        begin = session_ids.prefix_at(from_iso(at))
        last = min(last, max(begin, min(session_id, begin + AFTER_ALL_TIMES)))
    return f"USER#{user_id}", f"SESSION#{first}", f"SESSION#{max(first, last)}"


def position_by_id(key: Key) -> str:
    """The place of a session in the order of ids: the time of its id, and the id."""
    session_id = key["sk"].removeprefix("SESSION#")
    return f"{iso(session_ids.place_in_time(session_id))}#{session_id}"


def active_of_owner(user_id: str) -> list[Range]:
    """A user's active sessions, in ``due``."""
    return [Range(f"DUE#SESSION#{_shard(user_id)}", f"USER#{user_id}\t")]


def active_of_all() -> list[Range]:
    """The active sessions of all users, in ``due``."""
    return [Range(f"DUE#SESSION#{shard}", "USER#") for shard in range(SHARDS)]


def position(index: str, part: Range, key: Key) -> str:
    """The place of a key in a range of an index, without the range's prefix.

    In ``due``, the due time is left out, so that an active session keeps its place when the sweeper reschedules it.
    """
    place = key[INDEX_KEYS[index][1]].removeprefix(part.prefix)
    return place.rpartition("#")[0] if index == DUE else place


def sessions_of_all() -> list[Range]:
    """The sessions of all users, in ``by_kind``."""
    return [Range(f"SESSIONS#{shard}") for shard in range(SHARDS)]


def api_keys_of_owner(user_id: str) -> list[Range]:
    """A user's API keys, in ``by_owner``."""
    return [Range(f"USER#{user_id}", "KEY#")]


def organizations_of_owner(user_id: str) -> list[Range]:
    """The organizations of which a user is a member, in ``by_owner``."""
    return [Range(f"USER#{user_id}", "ORG#")]


def organizations_of_all() -> list[Range]:
    """Every organization, in ``by_kind``. One partition is enough, because only administrators make organizations."""
    return [Range("ORGANIZATIONS", "")]


def system_user_ranks(day: str) -> list[str]:
    """The partitions of ``by_kind`` in which a day's users are ranked by credits."""
    return [f"SYSTEMUSERS#{day}#{shard}" for shard in range(SHARDS)]


def system_account_ranks(day: str) -> list[str]:
    """The partitions of ``by_kind`` that rank accounts that pay for others, by their credits of a day."""
    return [f"SYSTEMACCOUNTS#{day}#{shard}" for shard in range(PAYER_SHARDS)]


def system_name_ranks(day: str) -> list[str]:
    """The partitions of ``by_kind`` in which a day's services and models are ranked by merit."""
    return [f"SYSTEMNAMES#{day}#{shard}" for shard in range(SHARDS)]


def ranked_user(key: Key) -> tuple[str, int]:
    """The user and the credits in a key of a ranking."""
    credits, _, user_id = key["kind_sk"].partition("#")
    return user_id, int(credits) - _RANK_ZERO


def ranked_account(key: Key) -> tuple[AccountId, int]:
    """The account and the credits in a key of a ranking."""
    account_id, credits = ranked_user(key)
    return stored(account_id), credits


def ranked_name(key: Key) -> tuple[str, str, int | None, int]:
    """The kind and digest of a name, its merit and its credits, in a key of a ranking."""
    rank, credits, kind, digest = key["kind_sk"].split("#")
    merit = None if rank == _RANKED_LAST else int(rank) - _RANK_ZERO
    return kind.lower(), digest, merit, int(credits) - _RANK_ZERO


def prices_of_all() -> list[Range]:
    """Every price rule, in ``by_kind``. One partition is enough, because only administrators write rules."""
    return [Range("PRICES")]


def service_credentials_of_all() -> list[Range]:
    """Every service credential, in ``by_kind``. One partition is enough, because only administrators make them."""
    return [Range("SERVICES")]


def users_in_role(role: str) -> list[Range]:
    """The users in a role, in ``by_kind``."""
    return [Range(f"USERS#{role}#{shard}") for shard in range(SHARDS)]


def user_counts(role: str) -> list[Key]:
    """The keys of all counts of a role's users."""
    return [{"pk": "COUNTS", "sk": f"USERS#{role}#{shard}"} for shard in range(SHARDS)]


def wallets_of_all() -> list[str]:
    """The partitions of ``by_kind`` over which all wallets are spread."""
    return [f"WALLETS#{shard}" for shard in range(SHARDS)]


def due_wallets_of_all() -> list[str]:
    """The partitions of ``due`` over which all wallets with lots are spread."""
    return [f"DUE#WALLET#{shard}" for shard in range(SHARDS)]


def user_in(key: Key) -> str:
    """The user whose partition a table key is in."""
    return key["pk"].removeprefix("USER#")


def account_in(key: Key) -> AccountId:
    """The account whose partition a table key is in."""
    return stored(key["pk"].removeprefix("ACCOUNT#"))


def organization_in(key: Key) -> str:
    """The organization whose partition a table key is in."""
    return key["pk"].removeprefix("ORG#")


def is_of_user(key: Key) -> bool:
    """Whether a table key is in a user's own partition."""
    return key["pk"].startswith("USER#")


def is_usage(key: Key) -> bool:
    """Whether a table key is a usage record's."""
    return key["sk"].startswith("USAGE#")


def _rank(credits: int) -> str:
    return f"{_RANK_ZERO + credits:024d}"


def _shard(name: str) -> int:
    return crc32(name.encode()) % SHARDS
