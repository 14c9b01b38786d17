"""The books: a copy of the table's items, checked after every write. ``tests.audit`` has the rules of a wallet.

The books read only the items that were written, so the cost of a check does not depend on the table's size. They
read the table directly, so the simulated faults do not affect them.

A pointer is an item of a user that refers to a usage record that another account paid for. A mark identifies a usage
record that the system-wide sums include.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator
from functools import reduce
from itertools import batched

from accounting.domain import system_usage
from accounting.domain.accounts import AccountId, personal, stored
from accounting.domain.allocations import Allocation
from accounting.domain.api_keys import ApiKey
from accounting.domain.audit import Proof
from accounting.domain.ledger import SYSTEM, Entry
from accounting.domain.model_usage import COUNTS, Usage
from accounting.domain.runs import Run
from accounting.domain.sessions import Session
from accounting.domain.usage import Countable, UsageRecord, digest
from accounting.domain.usage import Sums as UsageSums
from accounting.domain.wallet import Wallet
from accounting.settings import settings
from accounting.store import allocations, api_keys, entries, keys, profiles, rollups, sessions, system, usage, wallets
from accounting.store import runs as run_store
from accounting.store.table import Item
from accounting.times import day
from tests.audit import assert_sound
from tests.simulation.database import Database, Key
from tests.simulation.limits import Limits

PRINCIPAL = ("grant", "set", "remove", "adjust")
"""Kinds of entries that a command on credits causes directly. Their ``reason`` is the name of the simulated request.

The other kinds belong to sessions or to usage records (see `AccountBooks.charged`), accompany another entry, or come
from the sweeper.
"""


class AccountBooks:
    """The stored items of one account. For a user's own account, also the items of the user."""

    def __init__(self, account_id: AccountId) -> None:
        self.wallet = Wallet(account_id)
        self.proof = Proof(account_id, since=0)
        self.ledger: list[Entry] = []
        self.entries_of: defaultdict[str, list[Entry]] = defaultdict(list)
        self.sessions: dict[str, Session] = {}
        self.ends: Counter[str | None] = Counter()
        self.allocations: dict[int, Allocation] = {}
        self.records: dict[str, UsageRecord] = {}
        self.records_of: defaultdict[str, list[UsageRecord]] = defaultdict(list)
        self.charged: Counter[str] = Counter()
        self.days: dict[str, UsageSums] = {}
        self.pointers: dict[str, Countable] = {}
        self.days_paid_by_others: dict[str, UsageSums] = {}
        self.api_keys: dict[str, str] = {}
        self.runs: dict[str, Run] = {}
        self.disabled = False

    def take(self, kind: str, item: Item) -> None:
        """Add the current state of an item."""
        account_id = self.wallet.account_id
        match kind:
            case "PROFILE":
                self.disabled = profiles.from_item(item).disabled
            case "WALLET":
                self.wallet = wallets.from_item(account_id, item)
            case "ENTRY":
                self._add_entry(entries.from_item(account_id, item))
            case "ALLOC":
                made = allocations.from_item(account_id, item)
                assert made.number not in self.allocations, f"an allocation was replaced: {made}"
                self.allocations[made.number] = made
            case "SESSION":
                self._change_session(sessions.from_item(item))
            case "USAGE" if "paid_by" in item:
                counts = usage.countable(item)
                assert self.pointers.setdefault(item["id"], counts) == counts, "a pointer changed"
            case "USAGE":
                self._add_record(usage.from_item(account_id, item))
            case "DAY":
                days = self.days_paid_by_others if "paid_by" in item else self.days
                days[item["sk"]] = rollups.sums_in(item)

    def _add_entry(self, entry: Entry) -> None:
        last = self.ledger[-1] if self.ledger else None
        assert entry.seq == (last.seq if last else 0) + 1, f"the ledger has a gap, or an entry was replaced: {entry}"
        assert last is None or entry.at >= last.at, f"an entry is older than the one before it: {entry}"
        self.proof.follow([entry])
        self.ledger.append(entry)
        # `Books.follow` takes an account's entries before its wallet, so `self.wallet` does not include this entry yet.
        assert not (self.wallet.frozen and entry.kind in ("hold", "charge")), (
            f"credits were taken from a disabled user: {entry}"
        )
        if entry.kind in PRINCIPAL:
            self.entries_of[entry.reason].append(entry)
        if entry.kind in ("settle", "release"):
            self.ends[entry.session_id] += 1
        if entry.usage_id:
            self.charged[entry.usage_id] += entry.charged

    def _change_session(self, session: Session) -> None:
        known = self.sessions.get(session.session_id)
        settled_late = known is not None and known.awaits_late_usage and session._replace(late=None) == known
        assert known is None or known.active or settled_late, f"a session changed after it had ended: {session}"
        if known is not None and (known.usage is None) == (session.usage is None):
            # A client may end a session with fewer tokens than it reported.
            ended_with_other_tokens = not session.active and session.settled.tokens != session.tokens
            assert ended_with_other_tokens or session.tokens >= known.tokens, (
                f"a heartbeat was lost: {known}, then {session}"
            )
        self.sessions[session.session_id] = session
        if session.resolution and session.outcome == "swept" and not settled_late:
            expires_at = session.expires_at(settings().session_timeout, settings().session_max_life)
            ends = (entry for entry in self.ledger if entry.usage_id and entry.session_id == session.session_id)
            forced = next(ends).actor != SYSTEM
            assert forced or session.resolution.at >= expires_at, f"a session was swept before its time: {session}"
            assert session.resolution.tokens == session.tokens, (
                f"a session was swept for tokens that it did not report: {session}"
            )

    def _add_record(self, record: UsageRecord) -> None:
        if record.id in self.records:
            assert self.records[record.id] == record, f"a usage record changed: {record}"
            return
        self.records[record.id] = record
        self.records_of[str(record.metadata.get("request", record.metadata.get("sessionId")))].append(record)

    def take_api_key(self, key: ApiKey) -> None:
        """Add an API key. A simulated client gives every key a different name."""
        self.api_keys[key.id] = key.name
        assert list(self.api_keys.values()).count(key.name) == 1, f"a key was made twice: {key}"

    def take_run(self, run: Run) -> None:
        """Add the current state of a run. Simulated clients begin every run under a different id."""
        known = self.runs.setdefault(run.id, run)
        begun = known.user_id, known.limit, known.created_at, known.expires_at
        assert begun == (run.user_id, run.limit, run.created_at, run.expires_at), f"a run was begun twice: {run}"
        assert known.stopped_at in (None, run.stopped_at), f"a run was stopped twice: {known}, then {run}"
        self.runs[run.id] = run

    def check(self) -> None:
        """Check what must be true of an account at every instant."""
        wallet = self.wallet
        assert_sound(wallet)
        assert wallet.frozen == self.disabled, "the wallet and the profile differ on whether the user is disabled"
        self.proof.compare(wallet)
        assert self.proof.intact, f"the ledger does not add up to {wallet}: {self.proof.findings}"
        assert len(self.allocations) == wallet.allocations, (
            f"the wallet counts {wallet.allocations} allocations, but there are {len(self.allocations)}"
        )
        active = [session for session in self.sessions.values() if session.active]
        assert wallet.held == sum(session.allocated_credits for session in active), (
            "the wallet and the active sessions differ in what they hold"
        )
        for session in active:
            fits = session.tokens <= session.fitting_tokens
            assert not fits or session.reported_credits <= session.allocated_credits, (
                f"a session exceeds its hold: {session}"
            )
        ended = {name: session for name, session in self.sessions.items() if not session.active}
        settlements = {name: 2 if session.late else 1 for name, session in ended.items()}
        assert self.ends == settlements, (
            f"the sessions were settled {settlements} times, but the ledger has {self.ends}"
        )
        for name, session in ended.items():
            records = self.records_of[name]
            assert len(records) == settlements[name], f"a session was recorded {len(records)} times: {session}"
            recorded = sum(record.credits for record in records), sum(record.metadata["tokens"] for record in records)
            assert recorded == (session.settled.credits, session.settled.tokens), (
                f"a session was recorded wrongly: {records}"
            )
            by_class = [record.usage for record in records if record.usage]
            total = reduce(Usage.plus, by_class) if by_class else None
            assert total == session.settled.usage, f"the records of a session differ from its usage by class: {records}"
        for name, done in (self.entries_of | self.records_of).items():
            assert name in ended or len(done) <= 1, f"a request was carried out {len(done)} times: {done}"
        assert all(self.records[name].credits == credits for name, credits in self.charged.items()), (
            "the ledger and a usage record differ in what was charged"
        )
        self._check_days()

    def _check_days(self) -> None:
        counted: defaultdict[str, UsageSums] = defaultdict(UsageSums)
        for sk, sums in self.days.items():
            counted[sk.split("#")[1]].merge(sums)
        assert counted == sums_by_day(self.records.values()), "the daily sums differ from the usage records"
        others = Counter[str]()
        for sk, sums in self.days_paid_by_others.items():
            others[sk.split("#")[1]] += sums.records
        pointed = Counter(day(pointer.at) for pointer in self.pointers.values())
        assert others == pointed, "the daily sums of what others paid differ from the pointers"


class Books:
    """The books of all accounts, and the system's sums."""

    def __init__(self, database: Database, limits: Limits | None = None) -> None:
        self._limits = limits
        self.accounts: dict[AccountId, AccountBooks] = {}
        self.new_records: list[UsageRecord] = []
        self._database = database
        self._counted: dict[str, UsageRecord] = {}
        self._by_mark: dict[str, UsageRecord] = {}
        self._parts: dict[Key, Item] = {}
        self._user_days: dict[Key, Item] = {}
        self._name_days: dict[Key, Item] = {}
        self._account_days: dict[Key, Item] = {}

    def of(self, account_id: AccountId) -> AccountBooks:
        return self.accounts.setdefault(account_id, AccountBooks(account_id))

    def records(self) -> Iterator[UsageRecord]:
        for books in self.accounts.values():
            yield from books.records.values()

    def follow(self) -> None:
        """Read the items written since the last call, and check the accounts that changed. Raises AssertionError."""
        touched = set()
        counted, sums_written, known = len(self._counted), False, len(self.new_records)
        keys_written = sorted(set(self._database.take_written()))
        written = {key: item for key in keys_written if (item := self._database.item(key)) is not None}
        for key, item in written.items():
            partition, _, owner = key[0].partition("#")
            kind = key[1].split("#")[0]
            if partition == "ACCOUNT":
                touched.add(stored(owner))
                self._take_of_account(stored(owner), kind, item)
            elif partition == "USER":
                account_id = stored(item["account_id"]) if kind == "SESSION" else personal(owner)
                touched.add(account_id)
                self.of(account_id).take(kind, item)
            elif kind in ("KEY", "RUN"):
                self._take_key_or_run(kind, item)
            elif partition == "COUNTED":
                self._take_marks(item["marks"])
            elif partition == "SYSTEM":
                place = key[1].partition("#")[0]
                days = {"SUMS": self._parts, "USER": self._user_days, "ACCOUNT": self._account_days}
                days.get(place, self._name_days)[key] = item
                sums_written = True
        if self._limits:
            self._limits.take(written, self.new_records[known:])
        for account_id in sorted(touched):
            self.of(account_id).check()
        if sums_written or len(self._counted) > counted:
            self._check_system()

    def _take_of_account(self, account_id: AccountId, kind: str, item: Item) -> None:
        books = self.of(account_id)
        known = len(books.records)
        books.take(kind, item)
        if len(books.records) > known:
            record = usage.from_item(account_id, item)
            self.new_records.append(record)
            self._by_mark[system.mark_of(record)] = record

    def _take_key_or_run(self, kind: str, item: Item) -> None:
        if kind == "KEY":
            self.of(personal(item["user_id"])).take_api_key(api_keys.from_item(item))
        else:
            run = run_store.from_item(item)
            self.of(run.account_id).take_run(run)

    def _take_marks(self, marks: str) -> None:
        found = ["".join(mark) for mark in batched(marks, system.MARK_LENGTH, strict=True)]
        assert len(set(found)) == len(found), "a record was counted twice"
        self._counted.update({mark: self._by_mark[mark] for mark in found})

    def check_pointers(self) -> None:
        """Check that each user has pointers to exactly the usage records that others paid for."""
        pointed = {(name, record) for name, books in self.accounts.items() for record in books.pointers}
        paid = {(personal(record.user_id), record.id) for record in self.records() if len(record.accounts) > 1}
        assert pointed == paid, "the records that others paid for differ from the records that users' accounts point to"

    def _check_system(self) -> None:
        counted = (len(self._counted), sum(record.credits for record in self._counted.values()))
        for sums in (self._parts, self._user_days):
            found = (sum(item["records"] for item in sums.values()), sum(item["credits"] for item in sums.values()))
            assert found == counted, "the system's sums differ from the records marked as counted"
        self._check_names()
        self._check_counts()
        self._check_payers()

    def _check_payers(self) -> None:
        """Check what each account paid for other users, and how many credits others paid for each user."""
        paid: defaultdict[Key, list[int]] = defaultdict(lambda: [0, 0])
        by_others: Counter[Key] = Counter()
        for record in self._counted.values():
            for account_id in set(record.accounts) - {personal(record.user_id)}:
                key = keys.system_account(day(record.at), account_id)
                sums = paid[key["pk"], key["sk"]]
                sums[0], sums[1] = sums[0] + 1, sums[1] + record.credits
                user_key = keys.system_user(day(record.at), record.user_id)
                by_others[user_key["pk"], user_key["sk"]] += record.credits
        found = {key: [item["records"], item["credits"]] for key, item in self._account_days.items()}
        assert found == paid, "what accounts paid for others differs from the records marked as counted"
        for (partition, place), item in self._account_days.items():
            account_id = stored(place.partition("#")[2])
            rank = keys.system_account_rank(partition.split("#")[1], account_id, item["credits"])
            assert rank.items() <= item.items(), f"an account does not rank by its credits: {item}"
        for user_day, item in self._user_days.items():
            assert item.get("paid_by_others", 0) == by_others[user_day], (
                f"the sum of what others paid for a user is wrong: {item}"
            )

    def _check_counts(self) -> None:
        """Check that usage by class, in total and for each model, equals a recount of the records."""
        total: Counter[str] = Counter()
        by_model: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
        for record in self._counted.values():
            total.update(record.counts)
            by_model[day(record.at), str(record.model_id)].update(record.counts)
        found: Counter[str] = Counter()
        for item in self._parts.values():
            found.update(_counts_in(item))
        assert found == total, "the system's usage by class differs from the records marked as counted"
        for key, item in self._name_days.items():
            expected = by_model[key[0].split("#")[1], item["name"]] if key[1].startswith("MODEL#") else Counter()
            assert _counts_in(item) == expected, f"usage by class differs from the records: {item}"

    def _check_names(self) -> None:
        """Check that the sums and the merit of each name (of a service or of a model) equal a recount.

        A name's merit on a day is what was spent on it by the users whose items of that day list the name.
        """
        expected: dict[tuple[str, str, str], list[int | None]] = {}
        for record in self._counted.values():
            user_key = keys.system_user(day(record.at), record.user_id)
            user = self._user_days[user_key["pk"], user_key["sk"]]
            for name in record.names:
                remembered = user[f"{name.kind}s"].split()
                assert len(set(remembered)) == len(remembered) <= system_usage.MAX_NAMES_OF_USER
                sums = expected.setdefault((day(record.at), *name), [0, 0, None])
                sums[0], sums[1] = (sums[0] or 0) + 1, (sums[1] or 0) + record.credits
                if name.id.digest[:8] in remembered:
                    sums[2] = (sums[2] or 0) + record.credits
        found: dict[tuple[str, str, str], list[int | None]] = {}
        for key, item in self._name_days.items():
            of_day, kind, text = key[0].split("#")[1], key[1].partition("#")[0].lower(), item["name"]
            merit = item.get("merit")
            found[of_day, kind, text] = [item["records"], item["credits"], merit]
            rank = keys.system_name_rank(of_day, kind, digest(text), merit, item["credits"])
            assert rank.items() <= item.items(), f"a name does not rank by its merit: {item}"
        assert found == expected, "the sums or merits of names differ from the records marked as counted"


def _counts_in(item: Item) -> Counter[str]:
    return Counter({name: item[name] for name in COUNTS if name in item})


def sums_by_day(records: Iterable[UsageRecord]) -> dict[str, UsageSums]:
    days: defaultdict[str, UsageSums] = defaultdict(UsageSums)
    for record in records:
        days[day(record.at)].add(record)
    return days
