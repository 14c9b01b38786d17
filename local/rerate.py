"""`make rerate`: shows what recorded usage would cost at the current prices. It changes nothing.

Environment variables:

- SINCE and UNTIL: dates or instants in UTC. By default, UNTIL is the current time.
- MODEL: the id of one model. By default, the records of all models count.
- TABLE: a table's name. By default, the table of `make run` is read. For any other table, boto3 finds the credentials
  and the region.

It does not scan the table. For each day, it reads the users of the day from the index of the system-wide statistics,
and then their records of the day. So it sees a record only after the statistics have counted it, which takes up to
about five minutes. It does not see deleted records.
"""

from __future__ import annotations

import os
import sys
from collections import defaultdict
from dataclasses import dataclass, field
from functools import cache
from typing import TYPE_CHECKING

from botocore.exceptions import BotoCoreError, ClientError

from accounting.domain.accounts import personal
from accounting.domain.errors import AccountingError
from accounting.operations.settling import SERVICES
from accounting.store import keys, prices, table, usage
from accounting.times import DAY, clock, day, day_begin
from accounting.web.paging import instants
from local.attached import attach
from local.steps import Refused, explain

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from accounting.domain.rates import RateCard
    from accounting.domain.usage import UsageRecord

    type CardOf = Callable[[str, str | None], RateCard]
    """Returns the price of a model and a variant. Raises AccountingError if they have no price."""


@dataclass
class Cost:
    """The number of records, the credits that they have cost, and the credits that they would cost `now`."""

    records: int = 0
    credits: int = 0
    now: int = 0

    @property
    def difference(self) -> int:
        """Return how many more credits they would cost now."""
        return self.now - self.credits

    def add(self, other: Cost) -> None:
        """Add the sums of other records."""
        self.records += other.records
        self.credits += other.credits
        self.now += other.now


@dataclass
class Report:
    """Costs by model and day. `left_out` counts the records that could not be priced, by reason."""

    costs: defaultdict[tuple[str, str], Cost] = field(default_factory=lambda: defaultdict(Cost))
    left_out: defaultdict[str, int] = field(default_factory=lambda: defaultdict(int))

    def lines(self) -> Iterator[str]:
        """Return what to print: a line for each model and day whose cost would change, and the sum of all costs.

        The last lines count the records that were left out, by reason.
        """
        total = Cost()
        rows: list[tuple[str, ...]] = [("model", "day", "records", "credits", "now", "difference")]
        for (model_id, of_day), cost in sorted(self.costs.items()):
            total.add(cost)
            if cost.difference:
                rows.append(_row(model_id, of_day, cost))
        rows.append(_row("total", "", total))
        width = max(len(name) for name, *_ in rows)
        for name, of_day, *numbers in rows:
            yield f"{name:<{width}}  {of_day:<10}" + "".join(f"{number:>16}" for number in numbers)
        yield from (f"left out: {number} {reason}" for reason, number in sorted(self.left_out.items()))


def _row(name: str, of_day: str, cost: Cost) -> tuple[str, ...]:
    return name, of_day, str(cost.records), str(cost.credits), str(cost.now), f"{cost.difference:+}"


def main() -> int:
    """Price the records and print the report; return the exit status."""
    try:
        since, until = _range()
        table_name = os.environ.get("TABLE")
        if table_name:
            os.environ["TABLE_NAME"] = table_name
        else:
            attach("start the service with `make run`, or name another table in TABLE")
        records = _records(since, until, os.environ.get("MODEL") or None)
        now = clock()
        # If the model's price lacks the record's variant, the price without a variant applies, as in a settlement.
        report = rerate(records, cache(lambda model_id, variant: prices.card_since(model_id, now, variant)[1]))
    except Refused as refused:
        return explain(refused)
    except (BotoCoreError, ClientError, AccountingError) as error:
        return explain(Refused(str(error)))
    print("\n".join(report.lines()))
    return 0


def rerate(records: Iterable[UsageRecord], card_of: CardOf) -> Report:
    """Price each record.

    If a client reports its usage after the sweeper has ended the session, a second record corrects the sweeper's. Both
    records are priced together, on the day of the sweeper's.
    """
    report = Report()
    swept: dict[tuple[str, str], UsageRecord] = {}
    late: dict[tuple[str, str], UsageRecord] = {}
    for record in records:
        session = record.user_id, str(record.metadata.get("sessionId"))
        if record.service not in SERVICES.values():
            _price(report, record, card_of)
        elif record.metadata.get("late") is True:
            late[session] = record
        elif record.service == SERVICES["swept", False]:
            swept[session] = record
        else:
            _price(report, record, card_of)
    for session, correction in late.items():
        first = swept.pop(session, None)
        if first is None:
            report.left_out["whose session was swept before SINCE"] += 1
        else:
            _price(report, _whole(first, correction), card_of, records=2)
    for record in swept.values():
        _price(report, record, card_of)
    return report


def _whole(first: UsageRecord, correction: UsageRecord) -> UsageRecord:
    """Add the correction to the first record. The sum has the first record's time and the correction's model."""
    used = correction.usage
    if first.usage is not None:
        used = first.usage if used is None else first.usage.plus(used)
    return correction._replace(
        at=first.at,
        credits=first.credits + correction.credits,
        usage=used,
        unclassified=first.unclassified + correction.unclassified,
    )


def _price(report: Report, record: UsageRecord, card_of: CardOf, records: int = 1) -> None:
    model_id = record.model_id
    if model_id is None or record.usage is None or record.unclassified:
        report.left_out["without usage by class"] += records
        return
    try:
        now = card_of(model_id, record.variant).cost(record.usage)
    except AccountingError:
        report.left_out["without a price now"] += records
        return
    report.costs[model_id, day(record.at)].add(Cost(records, record.credits, now))


def _range() -> tuple[int, int]:
    since, until = instants(os.environ.get("SINCE") or None, os.environ.get("UNTIL") or None)
    if since is None:
        raise Refused("SINCE is missing: make rerate SINCE=2026-11-01")
    return since, clock() if until is None else until


def _records(since: int, until: int, model_id: str | None) -> Iterator[UsageRecord]:
    """Return the records of all users, by day and user, including the records that organizations paid for."""
    for begin in range(day_begin(since), until, DAY):
        low, high = max(since, begin), min(until, begin + DAY)
        for user_id in _users(begin):
            for record in usage.records(personal(user_id), low, high):
                if model_id in (None, record.model_id):
                    yield record


def _users(of_day: int) -> set[str]:
    """Return all users with usage on a day."""
    found = set()
    for pk in keys.system_user_ranks(day(of_day)):
        for batch in table.forward(keys.BY_KIND, pk, keys.BEFORE_ALL_TIMES, keys.AFTER_ALL_TIMES):
            found |= {keys.ranked_user(item)[0] for item in batch}
    return found


if __name__ == "__main__":
    sys.exit(main())
