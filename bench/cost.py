"""What a million streaming sessions, and a month without a request, cost on AWS: measured amounts times list prices."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from accounting.domain.accounts import personal
from accounting.domain.system_usage import SLOT
from accounting.domain.usage import UsageRecord
from accounting.domain.users import Description
from accounting.operations.ids import new_id
from accounting.operations.system_usage import count
from accounting.store import users
from accounting.tokens import verify
from bench import seed
from bench.database import JWT_SECRET
from bench.functions import figures_of
from bench.operations import MODEL
from bench.per_request import MOST_SECONDS, Effort, Workload, measure
from bench.report import Section, Target, number
from bench.scale import scaled
from local.template import template
from local.tokens import mint

if TYPE_CHECKING:
    from collections.abc import Mapping

    from bench.database import Database
    from bench.functions import Figures
    from bench.report import Report

SESSIONS = 1_000_000
TIMES = 40
"""How many times the authorizer and the system's statistics are measured."""
HEARTBEATS = 3
SESSION = {"initialize": 1, "heartbeat": HEARTBEATS, "finalize": 1}
"""The requests of a session."""
BATCH = 29
"""How many usage records the system's statistics count together. A million sessions a month are 116 records in five
minutes. If the table has four partitions, its stream has four shards, and each shard gets 29 of the records."""
ACTIVE_USERS, MODELS = 6, 3
"""How many users and models a batch has. If each of 6 users begins a session a minute, they make about one batch of
records in five minutes."""

# AWS's list prices for us-east-1 in 2025/2026, before free tiers and volume discounts.
WRITE_UNIT_USD = 0.625 / 1e6
READ_UNIT_USD = 0.125 / 1e6
GATEWAY_REQUEST_USD = 3.50 / 1e6
LAMBDA_REQUEST_USD = 0.20 / 1e6
LAMBDA_GIGABYTE_SECOND_USD = 0.0000133334
LOG_GIGABYTE_USD = 0.50
SNAPSHOT_GIGABYTE_SECOND_USD = 0.0000015046
ALARM_USD, DASHBOARD_USD, SECRET_USD = 0.10, 3.00, 0.40
"""The monthly price of one alarm, one dashboard or one secret."""
MONTH_SECONDS = 30 * 86_400

MEMORY_GIGABYTES = 0.5
FULL_CORE_GIGABYTES = 1769 / 1024
"""A function's share of a core is proportional to its memory; with 1,769 MB it has a whole core."""
DATABASE_SECONDS = 0.006
"""Assumed, not measured on AWS: how long a call waits for DynamoDB. A read takes about 3 ms, a transaction about 10."""
ACCESS_LOG_BYTES = 520
"""Assumed: the length of the gateway's access log line for a request."""

ABOUT = f"""\
The cost of {SESSIONS:,} sessions in us-east-1, at AWS's list prices of 2025/2026, before free tiers. The requests of a
session are {", ".join(f"{count} × {name}" for name, count in SESSION.items())}. The last column is without heartbeats,
which short streams do not need. Not included: storage, backups, X-Ray, metrics, scheduled runs, data transfer, taxes,
and the costs of "A month without a request".

- **Lambda duration** is CPU time × {FULL_CORE_GIGABYTES / MEMORY_GIGABYTES:.2f}, plus an assumed
{DATABASE_SECONDS * 1000:.0f} ms for each call to DynamoDB. A function of {MEMORY_GIGABYTES * 1024:.0f} MB has
{MEMORY_GIGABYTES / FULL_CORE_GIGABYTES:.2f} of a core.
- **Logs** are those of the requests, and an assumed {ACCESS_LOG_BYTES} bytes a request for the gateway's access log.
The logs of the authorizer and of the statistics are not included.
- **The authorizer** runs once a session. Its answers are cached for 5 minutes.
- **System statistics** are counted in batches of {BATCH} usage records, an assumed size for a million sessions a
month."""
PARTS = "What each part takes, with its Lambda duration:"
HEADER = ["item", "how many", "price", "USD", "without heartbeats"]
IDLE_ABOUT = """\
A month of 30 days, by the template's defaults. Not included: metrics (at most 0.30 each), scheduled runs, stored data,
and snapshots of older versions."""
IDLE_USD = 12


@dataclass(frozen=True)
class Line:
    item: str
    amount: float
    unit: str
    price: float

    @property
    def usd(self) -> float:
        return self.amount * self.price

    def row(self) -> list[str]:
        price = f"{self.price:g}" if self.price > 0.01 else f"{self.price * 1e6:g} per million"
        return [self.item, f"{number(self.amount)} {self.unit}".strip(), price, f"{self.usd:.2f}"]


@dataclass(frozen=True)
class Part:
    """A part of a session's work: its figures, and how often a session needs it."""

    figures: Figures
    times: float = 1
    is_request: bool = True
    records: int = 1
    """How many usage records the figures are for."""

    def total(self, of: str) -> float:
        """Return a session's amount of one figure: ``of`` is the figure's name, such as ``write_units``."""
        return self.times * float(getattr(self.figures, of)) / self.records


def run(report: Report, database: Database) -> None:
    """Add the bills of a million sessions and of a month without a request to the report.

    A session's requests are measured here only if the report does not have their figures yet.
    """
    requests = {name: report.figures.get(name) or _measured(database, name) for name in SESSION}
    parts = {name: Part(each, SESSION[name]) for name, each in requests.items()} | _behind_the_scenes(database)
    lines, least = bill(parts), bill({name: each for name, each in parts.items() if name != "heartbeat"})
    totals = sum(line.usd for line in lines), sum(line.usd for line in least)
    rows = [[*line.row(), f"{short.usd:.2f}"] for line, short in zip(lines, least, strict=True)]
    rows.append(["**total**", "", "", *(f"**{total:.2f}**" for total in totals)])
    report.add(Section("A million sessions", ABOUT, HEADER, rows, f"{PARTS}\n\n{_takes(parts)}"))
    for name, limit, total in zip((f"with {HEARTBEATS}", "without"), (38, 26), totals, strict=True):
        report.targets.append(Target.at_most(f"a million sessions {name} heartbeats", limit, total, " USD"))
    for name, units in (("initialize", 8), ("finalize", 11), ("system statistics", 2)):
        each = parts[name]
        promise = f"write units of {name}" + (" per record" if each.records > 1 else "")
        report.targets.append(Target.at_most(promise, units, each.figures.write_units / each.records))
    _idle(report)


def _idle(report: Report) -> None:
    """Add the bill of a month without a request, for the resources of the template."""
    made = template()["Resources"].values()
    snapshots = [each for each in made if "SnapStart" in each["Properties"]]
    kinds = Counter(each["Type"] for each in made)
    stored = len(snapshots) * MEMORY_GIGABYTES * MONTH_SECONDS
    lines = [
        Line(f"snapshots of {len(snapshots)} functions", stored, "GB-s", SNAPSHOT_GIGABYTE_SECOND_USD),
        Line("dashboards", kinds["AWS::CloudWatch::Dashboard"], "", DASHBOARD_USD),
        Line("alarms", kinds["AWS::CloudWatch::Alarm"], "", ALARM_USD),
        Line("secrets", kinds["AWS::SecretsManager::Secret"], "", SECRET_USD),
    ]
    total = sum(line.usd for line in lines)
    rows = [*(line.row() for line in lines), ["**total**", "", "", f"**{total:.2f}**"]]
    report.add(Section("A month without a request", IDLE_ABOUT, HEADER[:4], rows))
    report.targets.append(Target.at_most("a month without a request", IDLE_USD, total, " USD"))


def _measured(database: Database, name: str) -> Figures:
    table, user = database.table(f"cost-{name}"), f"cost-{name}"
    seed.user(user)
    (found,) = measure(table, "streaming_sessions", [Workload([name], {}, user)], Effort(100, MOST_SECONDS))
    return found[name]


def _behind_the_scenes(database: Database) -> dict[str, Part]:
    """Measure what a session needs besides its requests: the authorizer, and the counting of usage records."""
    database.table("cost-behind")
    seed.user("cost")
    user = users.resolve("cost").user
    described = Description(user.id, user.email, user.username, user.role, user.email_at, user.role_at)
    token = mint(JWT_SECRET, "cost")
    times = scaled(TIMES, least=3)
    batches = [_batch(seed.first_instant() + number * SLOT) for number in range(times)]
    count(batches.pop())  # not measured: creating a day's sums costs less than adding to them

    def authorize() -> None:
        verify(token, lambda **_: [JWT_SECRET.encode()])
        users.sync(described, 0)

    counting = figures_of(lambda: count(batches.pop()), times - 1)
    return {
        "authorizer": Part(figures_of(authorize, times), is_request=False),
        "system statistics": Part(counting, is_request=False, records=BATCH),
    }


def _batch(begin: int) -> list[UsageRecord]:
    """Return a batch of usage records, spread over five minutes from ``begin``."""
    found = []
    for each in range(BATCH):
        at, user_id = begin + each * SLOT // BATCH, f"active-{each % ACTIVE_USERS}"
        model = f"{MODEL}-{each % MODELS}"
        found.append(UsageRecord(new_id(at), personal(user_id), user_id, "chat-streaming", model, 4, at, {}))
    return found


def bill(parts: Mapping[str, Part]) -> list[Line]:
    """Return the lines of the bill for ``SESSIONS``."""

    def total(of: str) -> float:
        return SESSIONS * sum(each.total(of) for each in parts.values())

    asked = SESSIONS * sum(each.times for each in parts.values() if each.is_request)
    invoked = SESSIONS * sum(each.times / each.records for each in parts.values())
    seconds = SESSIONS * sum(each.times * duration(each.figures) / each.records for each in parts.values())
    logged = total("log_bytes") + asked * ACCESS_LOG_BYTES
    return [
        Line("DynamoDB writes", total("write_units"), "units", WRITE_UNIT_USD),
        Line("DynamoDB reads", total("read_units"), "units", READ_UNIT_USD),
        Line("API Gateway requests", asked, "", GATEWAY_REQUEST_USD),
        Line("Lambda requests", invoked, "", LAMBDA_REQUEST_USD),
        Line("Lambda duration", seconds * MEMORY_GIGABYTES, "GB-s", LAMBDA_GIGABYTE_SECOND_USD),
        Line("CloudWatch logs", logged / 1e9, "GB", LOG_GIGABYTE_USD),
    ]


def duration(figures: Figures) -> float:
    """Estimate the seconds that Lambda bills for a request."""
    return figures.cpu * (FULL_CORE_GIGABYTES / MEMORY_GIGABYTES) + figures.round_trips * DATABASE_SECONDS


def _takes(parts: Mapping[str, Part]) -> str:
    lines = [
        f"- {name}{f', {part.records} records' if part.records > 1 else ''}: {part.figures.write_units:g} write and"
        f" {part.figures.read_units:g} read units, {f'{part.figures.log_bytes} log bytes, ' if part.is_request else ''}"
        f"{duration(part.figures) * 1000:.1f} ms"
        for name, part in parts.items()
    ]
    return "\n".join(lines)
