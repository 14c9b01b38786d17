"""The store's client for DynamoDB (`Wire`) over a simulated network that fails.

The real `Wire` writes and repeats requests, reads replies and raises errors. Only `attempt`, which signs a request and
sends it once, is replaced: before each attempt other tasks may run, and the attempt may fail.
"""

from __future__ import annotations

import hashlib
from collections import Counter, deque
from collections.abc import Callable
from typing import Any

import orjson
from botocore.exceptions import ClientError, ConnectTimeoutError, ReadTimeoutError

from accounting.store.table.exchange import Reply
from accounting.store.table.surroundings import Credentials, Place
from accounting.store.table.wire import Wire
from tests.simulation.database import Answer, Database, error
from tests.simulation.scheduler import Killed, Scheduler

LONGEST_DELAY_SECONDS = 2.0
LAST_CALLS = 60

WRITES = ("TransactWriteItems", "UpdateItem")
CANCELLED = ("TransactionConflict", "ThrottlingError", "ProvisionedThroughputExceeded")
REPEATED = {
    "InternalServerError": 500,
    "ProvisionedThroughputExceededException": 400,
    "RequestLimitExceeded": 400,
    "ServiceUnavailable": 503,
    "ThrottlingException": 400,
    "TransactionInProgressException": 400,
}
"""Errors after which the wire repeats the request, with their statuses."""


class Connection(Wire):
    """Each attempt fails with the probability ``risk``, or twice ``risk`` if its operation is in `WRITES`.

    ``trace`` hashes a line for each attempt, with its time, task, keys and outcome. ``last_calls`` has the last lines.
    """

    def __init__(self, scheduler: Scheduler, database: Database, risk: float) -> None:
        super().__init__(Place("https://simulated", "simulated", None, lambda: Credentials("", "", None)))
        self.risk = risk
        self.steps = 0
        self.faults: Counter[str] = Counter()
        self.trace = hashlib.sha256()
        self.last_calls: deque[str] = deque(maxlen=LAST_CALLS)
        self._scheduler = scheduler
        self._database = database
        self._under_way: set[str] = set()
        self._seen_indexes: dict[str, Answer] = {}

    def attempt(self, operation: str, body: bytes) -> Reply:
        """Return the reply. Raises a timeout of `Wire` if the reply is lost, and Killed if the process dies."""
        self._scheduler.pause(0)
        self.steps += 1
        request = orjson.loads(body)
        fault = self._fault_of(operation, request)
        try:
            answer = fault(operation, request)
        except ClientError as refused:
            code = refused.response["Error"]["Code"]
            self._note(operation, request, fault, code)
            return Reply(REPEATED.get(code, 400), None, orjson.dumps({**refused.response, "__type": code}))
        except (ConnectTimeoutError, ReadTimeoutError):
            self._note(operation, request, fault, "lost")
            raise
        except Killed:
            self._note(operation, request, fault, "dead")
            raise
        self._note(operation, request, fault, "done")
        return Reply(200, None, orjson.dumps(answer))

    def _fault_of(self, operation: str, request: dict[str, Any]) -> Callable[[str, dict[str, Any]], Answer]:
        """Choose the fault of an attempt. Most attempts have no fault, and the database performs the request."""
        random = self._scheduler.random
        if request.get("ClientRequestToken") in self._under_way:
            self.faults["in progress"] += 1
            return self.in_progress
        if random.random() >= self.risk * (2 if operation in WRITES else 1):
            return self._database.perform
        possible = [self.never_arrives, self.answer_lost, self.dies_before, self.throttled]
        if operation in WRITES:
            possible += [self.dies_after, self.answered_late, self.delivered_late]
            # If the transaction has committed, DynamoDB answers its repeats with success, so a conflict is impossible.
            if not self._database.committed(request.get("ClientRequestToken")):
                possible += [self.conflict, self.conflict]
        elif operation == "BatchWriteItem":
            possible.append(self.dies_after)
        elif operation == "BatchGetItem":
            possible.append(self.partly_read)
        elif "IndexName" in request:
            possible += [self.stale_index] * 4
        fault = random.choice(possible)
        self.faults[_name(fault)] += 1
        return fault

    def never_arrives(self, _operation: str, _request: dict[str, Any]) -> Answer:
        raise ConnectTimeoutError(endpoint_url="simulated", error="lost")

    def answer_lost(self, operation: str, request: dict[str, Any]) -> Answer:
        self._carry_out(operation, request)
        raise ReadTimeoutError(endpoint_url="simulated")

    def answered_late(self, operation: str, request: dict[str, Any]) -> Answer:
        """The database takes longer to carry out the request than the sender waits."""
        self._under_way.add(request.get("ClientRequestToken", ""))
        return self.delivered_late(operation, request)

    def delivered_late(self, operation: str, request: dict[str, Any]) -> Answer:
        """The request arrives after the sender stopped waiting, and perhaps after its repeats."""
        delay = self._scheduler.random.uniform(0, LONGEST_DELAY_SECONDS)

        def arrive() -> None:
            self._scheduler.pause(delay)
            self._under_way.discard(request.get("ClientRequestToken", ""))
            self._carry_out(operation, request)
            self._note(operation, request, self.delivered_late, "arrived")

        self._scheduler.spawn("late", arrive)
        raise ReadTimeoutError(endpoint_url="simulated")

    def in_progress(self, operation: str, _request: dict[str, Any]) -> Answer:
        """The answer to the repeat of a transaction that is still in progress."""
        raise error("TransactionInProgressException", operation)

    def dies_before(self, _operation: str, _request: dict[str, Any]) -> Answer:
        raise Killed

    def dies_after(self, operation: str, request: dict[str, Any]) -> Answer:
        self._carry_out(operation, request)
        raise Killed

    def conflict(self, operation: str, request: dict[str, Any]) -> Answer:
        """DynamoDB refuses the write, because another transaction uses one of the items, or because of throttling."""
        if operation == "UpdateItem":
            raise error("TransactionConflictException", operation)
        random = self._scheduler.random
        others = ("None", "None", "ConditionalCheckFailed")
        reasons = [{"Code": random.choice(others)} for _ in request["TransactItems"]]
        reasons[random.randrange(len(reasons))] = {"Code": random.choice(CANCELLED)}
        raise error("TransactionCanceledException", operation, CancellationReasons=reasons)

    def throttled(self, operation: str, _request: dict[str, Any]) -> Answer:
        raise error(self._scheduler.random.choice(list(REPEATED)), operation)

    def partly_read(self, operation: str, request: dict[str, Any]) -> Answer:
        """The answer to a batch, without the item of the last key. The caller must ask for this item again."""
        ((table, wanted),) = request["RequestItems"].items()
        first, rest = wanted["Keys"][:-1], wanted["Keys"][-1:]
        answer = self._database.perform(operation, {"RequestItems": {table: {**wanted, "Keys": first}}})
        return answer | {"UnprocessedKeys": {table: {**wanted, "Keys": rest}}}

    def stale_index(self, operation: str, request: dict[str, Any]) -> Answer:
        """The answer to a query of an index: an earlier answer, or only a part of the current rows."""
        answer = self._database.perform(operation, request)
        wanted = f"{request['IndexName']} {request['ExpressionAttributeValues'][':pk']['S']}"
        earlier = self._seen_indexes.get(wanted)
        self._seen_indexes[wanted] = answer
        if earlier and self._scheduler.random.random() < 0.5:
            return earlier
        return answer | {"Items": [item for item in answer["Items"] if self._scheduler.random.random() < 0.5]}

    def _carry_out(self, operation: str, request: dict[str, Any]) -> None:
        """Perform a request whose reply is lost, even if the reply is a refusal."""
        try:
            self._database.perform(operation, request)
        except ClientError:
            return

    def _note(self, operation: str, request: dict[str, Any], fault: Callable[..., Answer], outcome: str) -> None:
        task = self._scheduler.current
        line = f"{self._scheduler.now:.3f} {task.name if task else 'end'} {operation} {_what(request)}"
        line += f" {_name(fault)}: {outcome}" if fault != self._database.perform else f": {outcome}"
        self.last_calls.append(line)
        self.trace.update(line.encode())


def _name(fault: Callable[..., Any]) -> str:
    return fault.__name__.replace("_", " ")


def _what(request: dict[str, Any]) -> str:
    """Return the keys of the items in a request or, for a query, the partition."""
    if "TransactItems" in request:
        writes = [write for action in request["TransactItems"] for write in action.values()]
        keys = [write.get("Key") or write["Item"] for write in writes]
    elif "RequestItems" in request:
        ((_, wanted),) = request["RequestItems"].items()
        keys = wanted["Keys"] if "Keys" in wanted else [put["PutRequest"]["Item"] for put in wanted]
    elif "Key" in request:
        keys = [request["Key"]]
    else:
        return str(request["ExpressionAttributeValues"][":pk"]["S"])
    return " ".join(f"{key['pk']['S']}/{key['sk']['S']}" for key in keys)
