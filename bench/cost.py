"""What a million streaming sessions cost on AWS, from the measured units and times and the listed prices."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from accounting.domain.users import Description
from accounting.operations.system_usage import count
from accounting.store import users
from accounting.tokens import verify
from bench import seed
from bench.database import JWT_SECRET
from bench.functions import here
from bench.operations import MODEL
from bench.per_request import MOST_SECONDS, Asked, Effort, measure
from bench.report import Section, number
from bench.scale import scaled
from local.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.database import Database
    from bench.functions import Figures
    from bench.report import Report

SESSIONS = 1_000_000
TIMES = 40
"""How often the work behind a session's requests is measured."""
SESSION = {"initialize": 1, "heartbeat": 3, "finalize": 1}
"""The requests of a session."""

# AWS's list prices for us-east-1 in 2025/2026, before free tiers and volume discounts.
WRITE_UNIT_USD = 0.625 / 1e6
READ_UNIT_USD = 0.125 / 1e6
GATEWAY_REQUEST_USD = 3.50 / 1e6
LAMBDA_REQUEST_USD = 0.20 / 1e6
LAMBDA_GIGABYTE_SECOND_USD = 0.0000133334
LOG_GIGABYTE_USD = 0.50

MEMORY_GIGABYTES = 0.5
FULL_CORE_GIGABYTES = 1769 / 1024
"""A function's share of a core is proportional to its memory; with 1,769 MB it has a whole core."""
DATABASE_SECONDS = 0.006
"""Assumed, not measured on AWS: how long a call waits for DynamoDB. A read takes about 3 ms, a transaction about 10."""
PLATFORM_LOG_BYTES = 260
"""Assumed: Lambda's own START, END and REPORT lines of an invocation."""
ACCESS_LOG_BYTES = 520
"""Assumed: the gateway's access log line of a request."""

ABOUT = f"""\
{SESSIONS:,} sessions of {", ".join(f"{count} × {name}" for name, count in SESSION.items())}, in us-east-1, before
free tiers. **Duration** is assumed: the CPU time measured here, stretched by the share of a core that a function of
{MEMORY_GIGABYTES * 1024:.0f} MB has ({MEMORY_GIGABYTES / FULL_CORE_GIGABYTES:.2f}), and
{DATABASE_SECONDS * 1000:.0f} ms waiting for each call to DynamoDB. Log bytes are measured, with {PLATFORM_LOG_BYTES} of
Lambda's own lines an invocation and {ACCESS_LOG_BYTES} of the gateway's access log line a request. The authorizer
counts once a session (its answers are cached for 5 minutes). The system's statistics count with one record a batch,
the most expensive case, which is the usual one at a million sessions a month."""
PRICES = """\
List prices of 2025/2026: DynamoDB on-demand writes 0.625 and reads 0.125 USD per million units; Lambda
arm64 0.0000133334 USD per GB-second and 0.20 per million requests; API Gateway REST 3.50 per million requests;
CloudWatch Logs 0.50 per GB ingested. Not counted: storage, backups, X-Ray's sampled traces (5.00 per million), the
snapshots of SnapStart (twelve functions of 0.5 GB at 0.0000015046 per GB-second: 23 USD a month at any
traffic, and the same for each older version that is kept), monthly fees of alarms and metrics, the schedules' own runs,
data transfer, taxes."""
HEADER = ["item", "how many", "price", "USD"]


@dataclass(frozen=True)
class Line:
    """A line of the bill: what it is for, the amount and the price."""

    item: str
    amount: float
    unit: str
    price: float

    @property
    def usd(self) -> float:
        """Return the cost of the line in USD."""
        return self.amount * self.price

    def row(self) -> list[str]:
        """Return the line as a row of the table."""
        price = f"{self.price:g}" if self.price > 0.01 else f"{self.price * 1e6:g} per million"
        return [self.item, f"{number(self.amount)} {self.unit}".strip(), price, f"{self.usd:.2f}"]


def run(report: Report, database: Database) -> None:
    """Add up the bill. Measure the requests of a session first, if that has not been done."""
    requests = {name: report.figures.get(name) or _measured(database, name) for name in SESSION}
    requests |= _behind_the_scenes(database)
    lines = bill(requests)
    total = sum(line.usd for line in lines)
    rows = [*(line.row() for line in lines), ["**total**", "", "", f"**{total:.2f}**"]]
    after = f"{PRICES}\n\n{_arithmetic(requests)}"
    report.add(Section("A million sessions", ABOUT, HEADER, rows, after))


def _measured(database: Database, name: str) -> Figures:
    table, user = database.table(f"cost-{name}"), f"cost-{name}"
    seed.user(user)
    (found,) = measure(table, "streaming_sessions", [Asked([name], {}, user)], Effort(100, MOST_SECONDS))
    return found[name]


def _behind_the_scenes(database: Database) -> dict[str, Figures]:
    """Measure a session's costs besides its requests: authorization, and its record in the system's statistics."""
    database.table("cost-behind")
    seed.user("cost")
    user = users.resolve("cost").user
    described = Description(user.id, user.email, user.username, user.role, user.email_at, user.role_at)
    token = mint(JWT_SECRET, "cost")
    times = scaled(TIMES, least=3)
    made = [
        replace(each, at=seed.first_instant() + number, service="chat-streaming", operation=MODEL, credits=4)
        for number, each in enumerate(seed.records("cost", times))
    ]
    seed.write_records(made)
    count([made.pop()])  # a record costs most if its user and names have sums that day: their ranks change

    def authorize() -> None:
        verify(token, lambda **_: [JWT_SECRET.encode()])
        users.sync(described, 0)

    return {"authorizer": here(authorize, times), "system statistics": here(lambda: count([made.pop()]), times - 1)}


def bill(requests: Mapping[str, Figures]) -> list[Line]:
    """Return the lines of the bill for ``SESSIONS``."""

    def total(of: str) -> float:
        return SESSIONS * sum(SESSION.get(name, 1) * float(getattr(each, of)) for name, each in requests.items())

    asked = SESSIONS * sum(SESSION.values())
    invoked = SESSIONS * sum(SESSION.get(name, 1) for name in requests)
    seconds = SESSIONS * sum(SESSION.get(name, 1) * duration(each) for name, each in requests.items())
    logged = total("log_bytes") + invoked * PLATFORM_LOG_BYTES + asked * ACCESS_LOG_BYTES
    return [
        Line("DynamoDB writes", total("write_units"), "units", WRITE_UNIT_USD),
        Line("DynamoDB reads", total("read_units"), "units", READ_UNIT_USD),
        Line("API Gateway requests", asked, "", GATEWAY_REQUEST_USD),
        Line("Lambda requests", invoked, "", LAMBDA_REQUEST_USD),
        Line("Lambda duration", seconds * MEMORY_GIGABYTES, "GB-s", LAMBDA_GIGABYTE_SECOND_USD),
        Line("CloudWatch logs", logged / 1e9, "GB", LOG_GIGABYTE_USD),
    ]


def duration(figures: Figures) -> float:
    """Return the seconds that Lambda would bill for a request, under the assumptions above."""
    return figures.cpu * (FULL_CORE_GIGABYTES / MEMORY_GIGABYTES) + figures.round_trips * DATABASE_SECONDS


def _arithmetic(requests: Mapping[str, Figures]) -> str:
    lines = [
        f"- {name}: {each.write_units:g} write units, {each.read_units:g} read units, {each.log_bytes} log bytes,"
        f" {each.cpu * 1000:.2f} ms × {FULL_CORE_GIGABYTES / MEMORY_GIGABYTES:.2f} + {each.round_trips} ×"
        f" {DATABASE_SECONDS * 1000:.0f} ms = {duration(each) * 1000:.1f} ms"
        for name, each in requests.items()
    ]
    return "\n".join(lines)
