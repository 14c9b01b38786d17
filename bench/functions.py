"""Measures the real handler of a Lambda function in this process, one request after another."""

from __future__ import annotations

import importlib
import os
import sys
import time
from dataclasses import asdict, dataclass
from itertools import count
from math import inf
from statistics import median
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from bench import child
from bench.operations import Operation, Turn, operation_named
from bench.units import Units
from local.paths import FUNCTIONS
from tests.calls import the_wire

if TYPE_CHECKING:
    from collections.abc import Callable

WARM_UP = 20
UNIT_TURNS = 4
LEAST = 3
CONTEXT = SimpleNamespace(
    function_name="bench",
    memory_limit_in_mb=512,
    invoked_function_arn="arn:aws:lambda:us-east-1:123456789012:function:bench",
    aws_request_id="bench",
    get_remaining_time_in_millis=lambda: 900_000,
)


@dataclass(frozen=True)
class Figures:
    """What one request of an operation costs.

    ``cpu`` is the median CPU time in seconds, ``cpu_least`` the least. The other figures are the maximum of a few
    requests.
    """

    cpu: float
    cpu_least: float
    round_trips: int
    write_units: float
    read_units: float
    items: int
    log_bytes: int


class Function:
    """A Lambda function of the service, imported in the same way as on Lambda."""

    def __init__(self, name: str, *, patient: bool = False) -> None:
        sys.path.insert(0, str(FUNCTIONS / name))
        self.handler = importlib.import_module("app").handler
        if patient:
            be_patient()

    def answer(self, event: dict[str, Any], status: int) -> None:
        """Handle a request. Raises RuntimeError if the answer does not have the expected status."""
        expect(self.handler(event, CONTEXT), event, status)


def expect(answer: dict[str, Any], event: dict[str, Any], status: int) -> None:
    """Raise RuntimeError unless a request was answered with this status."""
    if answer["statusCode"] != status:
        raise RuntimeError(f"{event['resource']}: {answer['statusCode']} {answer['body']}")


def be_patient() -> None:
    """Raise the DynamoDB client's limits, because the emulator is slow: it looks through all items of a partition."""
    from accounting.store.table import connection, exchange

    connection.client.cache_clear()
    exchange.READ_SECONDS, exchange.KEPT_CONNECTIONS, connection.REQUEST_SECONDS = 120, 64, inf


def measure(asked: dict[str, Any]) -> dict[str, Any]:
    """Return the figures of each selected operation, by its name."""
    function = Function(asked["function"], patient=asked["patient"])
    operations = [operation_named(asked["function"], name) for name in asked["operations"]]
    return {operation.name: asdict(_measured(function, operation, asked)) for operation in operations}


def _measured(function: Function, operation: Operation, asked: dict[str, Any]) -> Figures:
    turns = (_turn_of(operation, asked, number) for number in count())
    timed(function, operation, next(turns))  # not counted, because the first request creates the client
    seconds = asked["seconds"]
    spent = _repeat(lambda: _spent(function, operation, next(turns)), asked["unit_turns"], seconds / 4)
    _repeat(lambda: timed(function, operation, next(turns)), asked["warm_up"], seconds / 4)
    cpus = _repeat(lambda: timed(function, operation, next(turns)), asked["repeats"], seconds, asked["least"])
    most = [max(each) for each in zip(*spent, strict=True)]
    return Figures(median(cpus), min(cpus), *most)


def figures_of(once: Callable[[], object], times: int) -> Figures:
    """Measure an action in this process, and return its figures. The action must write no log.

    Round trips, units and items are counted in the first run. The other runs are timed.
    """

    def timed() -> float:
        began = time.process_time()
        once()
        return time.process_time() - began

    with Units.of(the_wire()) as units:
        once()
    cpus = _repeat(timed, times - 1, inf)
    spent = (units.round_trips, units.write_units, units.read_units, units.items, 0)
    return Figures(median(cpus), min(cpus), *spent)


def _repeat[T](once: Callable[[], T], times: int, seconds: float, least: int = 1) -> list[T]:
    """Return the results of an action. Stop after ``times`` runs or ``seconds``, but not before ``least`` runs."""
    began = time.monotonic()
    found: list[T] = []
    while len(found) < least or (len(found) < times and time.monotonic() - began < seconds):
        found.append(once())
    return found


def _turn_of(operation: Operation, asked: dict[str, Any], number: int) -> Turn:
    user = asked["user"] or operation.slug
    target = asked["user"] or f"target-{number % asked['targets']}"
    return Turn(f"{operation.slug}-{number}", number, user, target, asked["seeded"])


def _prepared(function: Function, operation: Operation, turn: Turn) -> dict[str, Any]:
    """Send the requests that must precede the operation, empty the cache named in `forgets`, and return the event."""
    for before in operation.before:
        function.answer(before(turn).event(), 201)
    if operation.forgets:
        importlib.import_module(f"accounting.store.{operation.forgets}").forget()
    return operation.request(turn).event()


def timed(function: Function, operation: Operation, turn: Turn) -> float:
    """Return the CPU time of a request, in seconds."""
    event = _prepared(function, operation, turn)
    began = time.process_time()
    function.answer(event, operation.status)
    return time.process_time() - began


def _spent(function: Function, operation: Operation, turn: Turn) -> tuple[int, float, float, int, int]:
    """Return what a request cost: round trips, write and read units, items read, and bytes of logs."""
    event = _prepared(function, operation, turn)
    written = _written()
    with Units.of(the_wire()) as units:
        function.answer(event, operation.status)
    return units.round_trips, units.write_units, units.read_units, units.items, _written() - written


def _written() -> int:
    sys.stdout.flush()
    return os.fstat(sys.stdout.fileno()).st_size


if __name__ == "__main__":
    child.serve(measure)
