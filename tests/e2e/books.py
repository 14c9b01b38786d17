"""A user's books: what the API returns, what the table stores, and the check that both agree."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from decimal import Decimal
from functools import cache
from typing import TYPE_CHECKING, Any

from boto3.dynamodb.types import TypeDeserializer

from accounting.domain.accounts import personal
from accounting.store import lots
from accounting.store.table.surroundings import Credentials, Place
from accounting.store.table.wire import Wire
from local.account import ACCESS_KEY, REGION, SECRET_KEY

if TYPE_CHECKING:
    from local.stack import Stack
    from tests.e2e.client import Person

type Item = dict[str, Any]

_deserialize = TypeDeserializer().deserialize


@cache
def dynamodb(service: Stack) -> Any:
    """Return the boto3 client of DynamoDB that the tests share: creating one takes longer than any of its calls."""
    return service.aws.client("dynamodb")


def items_of(service: Stack, user_id: str) -> list[Item]:
    """Return every item of a user in the table, in the order of keys."""
    return [*items_under(service, f"ACCOUNT#{personal(user_id)}"), *items_under(service, f"USER#{user_id}")]


@cache
def _wire(service: Stack) -> Wire:
    credentials = Credentials(ACCESS_KEY, SECRET_KEY, None)
    return Wire(Place(service.endpoint_url, REGION, None, lambda: credentials))


def items_under(service: Stack, pk: str) -> list[Item]:
    """Return the items of one partition. The service's class `Wire` reads them in far less time than boto3."""
    request: dict[str, Any] = {
        "TableName": service.table_name,
        "KeyConditionExpression": "pk = :pk",
        "ExpressionAttributeValues": {":pk": {"S": pk}},
        "ConsistentRead": True,
    }
    items: list[Item] = []
    while True:
        page = _wire(service).query(**request)
        items += [_plain(item) for item in page["Items"]]
        if "LastEvaluatedKey" not in page:
            return items
        request["ExclusiveStartKey"] = page["LastEvaluatedKey"]


def _plain(item: Item) -> Item:
    values = {name: _deserialize(value) for name, value in item.items()}
    return {name: int(value) if isinstance(value, Decimal) else value for name, value in values.items()}


def usage_in_stream(service: Stack, user_id: str) -> dict[str, str]:
    """Return where a user's first usage record is in the table's stream, as arguments of `get_shard_iterator`."""
    streams = service.aws.client("dynamodbstreams")
    (stream,) = streams.list_streams(TableName=service.table_name)["Streams"]
    (shard,) = streams.describe_stream(StreamArn=stream["StreamArn"])["StreamDescription"]["Shards"]
    place = {"StreamArn": stream["StreamArn"], "ShardId": shard["ShardId"]}
    iterator = streams.get_shard_iterator(**place, ShardIteratorType="TRIM_HORIZON")["ShardIterator"]
    while iterator:
        page = streams.get_records(ShardIterator=iterator, Limit=1000)
        for record in page["Records"]:
            key = record["dynamodb"]["Keys"]
            if key["pk"]["S"] == f"ACCOUNT#{personal(user_id)}" and key["sk"]["S"].startswith("USAGE#"):
                return {**place, "SequenceNumber": record["dynamodb"]["SequenceNumber"]}
        iterator = page.get("NextShardIterator") if page["Records"] else None
    raise AssertionError("no usage record of the user is in the stream")


def ledger_of(person: Person) -> list[dict[str, Any]]:
    """Return a user's whole ledger over HTTP, oldest first."""
    entries: list[dict[str, Any]] = []
    cursor: dict[str, str] = {}
    while True:
        page = person.ok("GET", "credits/ledger", params={"limit": 100, **cursor})
        entries += page["entries"]
        if "nextCursor" not in page:
            return entries[::-1]
        cursor = {"cursor": page["nextCursor"]}


@dataclass(frozen=True)
class Books:
    """A user's credits, ledger and items, after they were found to agree."""

    balance: dict[str, Any]
    ledger: list[dict[str, Any]]
    wallet: Item
    items: list[Item]

    def under(self, prefix: str) -> list[Item]:
        """Return the items whose sort keys begin with ``prefix``."""
        return [item for item in self.items if item["sk"].startswith(prefix)]

    @property
    def usage(self) -> list[Item]:
        return self.under("USAGE#")

    @property
    def sessions(self) -> list[Item]:
        return self.under("SESSION#")

    def kinds(self) -> list[str]:
        """Return the kinds of the ledger's entries, oldest first."""
        return [entry["kind"] for entry in self.ledger]


def audited(service: Stack, person: Person) -> Books:
    """Read a user's books, and assert that ledger, balance, wallet, sessions, usage and day sums agree."""
    books = balanced(service, person)
    _assert_usage_is_what_was_charged(books)
    return books


def balanced(service: Stack, person: Person) -> Books:
    """Read a user's books, and assert that ledger, balance, wallet and sessions agree.

    Unlike `audited`, this allows usage that was recorded without deducting credits.
    """
    items = items_of(service, person.id)
    (wallet,) = (item for item in items if item["sk"] == "WALLET")
    books = Books(person.balance(), ledger_of(person), wallet, items)
    _assert_conserved(books)
    _assert_ledger_sums_up(books)
    _assert_session_holds_sum_up(books)
    return books


def _assert_conserved(books: Books) -> None:
    wallet, balance = books.wallet, books.balance
    available = sum(lot.credits for lot in lots.from_text(wallet["lots"]))
    spent = wallet["held"] + wallet["charged"] + wallet["removed"] + wallet["expired"]
    assert wallet["granted"] == available + spent - wallet["debt"], wallet
    assert min(available, wallet["held"], wallet["debt"]) >= 0, wallet
    assert (balance["totalCredits"], balance["heldCredits"], balance["debt"]) == (
        available,
        wallet["held"],
        wallet["debt"],
    )
    assert sum(lot["credits"] for lot in balance["activeAllocations"]) == available


def _assert_ledger_sums_up(books: Books) -> None:
    ledger, wallet, balance = books.ledger, books.wallet, books.balance
    assert [entry["seq"] for entry in ledger] == list(range(1, wallet["entry_seq"] + 1))
    assert len(books.under("ENTRY#")) == len(ledger)
    running = 0
    for entry in ledger:
        running += entry["credits"]
        assert entry["availableAfter"] == running, entry
        assert running >= 0, entry
    assert [entry["at"] for entry in ledger] == sorted(entry["at"] for entry in ledger)
    last = ledger[-1]
    assert (last["availableAfter"], last["heldAfter"], last["debtAfter"]) == (
        balance["totalCredits"],
        balance["heldCredits"],
        balance["debt"],
    )
    assert sum(entry["charged"] for entry in ledger) == wallet["charged"]


def _assert_session_holds_sum_up(books: Books) -> None:
    held = [lots.from_text(session["parts"]) for session in books.sessions if session["status"] == "active"]
    assert sum(part.credits for parts in held for part in parts) == books.wallet["held"]


def _assert_usage_is_what_was_charged(books: Books) -> None:
    usage, days = books.usage, books.under("DAY#")
    charged = sum(record["credits"] for record in usage)
    assert charged == books.wallet["charged"]
    settled = [1 + ("late_outcome" in session) for session in books.sessions if session["status"] != "active"]
    assert len(usage) == sum(settled)
    assert sum(day["records"] for day in days) == len(usage)
    assert sum(day["credits"] for day in days) == charged
    counted: Counter[tuple[str, str, str]] = Counter()
    for day in days:
        counted[day["sk"].split("#")[1], day["service"], day["model"]] += day["credits"]
    recorded: Counter[tuple[str, str, str]] = Counter()
    for record in usage:
        recorded[record["sk"].split("#")[1][:10], record["service"], record["operation"]] += record["credits"]
    assert counted == recorded
