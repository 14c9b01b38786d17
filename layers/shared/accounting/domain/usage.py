"""Usage records, their sums, and the split of a time range into days."""

import json
from base64 import urlsafe_b64encode
from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from types import MappingProxyType
from typing import Any, Literal, NamedTuple

from accounting.domain.accounts import AccountId, personal
from accounting.domain.allocations import DAY
from accounting.domain.model_usage import Usage, counts_in

CHAT_SERVICE_PREFIX = "chat"
"""If a service's name has this prefix, the operation of its records is the id of a model."""


RESERVED_NAMES = frozenset({"__proto__", "constructor", "prototype"})
"""Forbidden as ids and service names. Names are keys of JSON objects in statistics, and JavaScript gives these
keys a special meaning."""


def digest(*names: str | None) -> str:
    """96 bits of the SHA-256 of names, as 16 characters. The names themselves can be too long for an item's key."""
    return urlsafe_b64encode(sha256(json.dumps(names).encode()).digest()[:12]).decode()


class NameId(NamedTuple):
    """A `Name` as the keys of the table contain it: with a digest of its text. All digests have the same length."""

    kind: Literal["service", "model"]
    digest: str


class Name(NamedTuple):
    """What statistics count by: a service or a model."""

    kind: Literal["service", "model"]
    text: str

    @property
    def id(self) -> NameId:
        return NameId(self.kind, digest(self.text))


NO_COUNTS: Mapping[str, int] = MappingProxyType({})


class Countable(NamedTuple):
    """The part of a usage record that statistics need.

    ``counts`` has the tokens by class, the requests and so on, as ``model_usage.counts_in`` returns them.
    """

    at: int
    credits: int
    service: str
    model_id: str | None
    counts: Mapping[str, int] = NO_COUNTS


class ProviderUsage(NamedTuple):
    """A provider's own usage object, and its format; ``raw`` is None if the object was too large or not UTF-8."""

    format: str
    raw: dict[str, Any] | None


class ModelCall(NamedTuple):
    """A model call to price: the model, what it used, and the variant of its price, such as ``batch``."""

    model_id: str
    usage: Usage
    variant: str | None = None
    provider_usage: ProviderUsage | None = None


class UsageRecord(NamedTuple):
    """One billable event of ``user_id``, paid by ``account_id``.

    ``at`` is in epoch milliseconds; ``metadata`` is any JSON object. ``usage`` is the usage by class, if it is known.
    ``provider_usage`` is the provider's own object. ``unclassified`` counts tokens that were reported without classes.

    ``priced_as`` is the model whose price was used. It is None if no price was used, or if the operation of a chat
    service already names that model. ``variant`` is the variant of the price. ``actor`` is the service that acted for
    the user, None if the user acted. ``key_id`` is the API key that was used, if any. ``run_id`` is the run that the
    record counts for.
    """

    id: str
    account_id: AccountId
    user_id: str
    service: str
    operation: str
    credits: int
    at: int
    metadata: dict[str, Any]
    usage: Usage | None = None
    provider_usage: ProviderUsage | None = None
    unclassified: int = 0
    priced_as: str | None = None
    variant: str | None = None
    actor: str | None = None
    key_id: str | None = None
    run_id: str | None = None

    @property
    def model_id(self) -> str | None:
        """The model that the record counts for: the one whose price was used, else the operation of a chat service."""
        return self.priced_as or model_of(self.service, self.operation)

    @property
    def counts(self) -> dict[str, int]:
        """What the record adds to sums of usage."""
        return counts_in(self.usage, self.unclassified)

    @property
    def accounts(self) -> list[AccountId]:
        """The accounts whose sums include the record: the payer, then the user's own account unless it is the payer."""
        own = personal(self.user_id)
        return [own] if self.account_id == own else [self.account_id, own]

    def other_payer(self, account_id: AccountId) -> AccountId | None:
        """The account that pays, or None if it is ``account_id``."""
        return None if self.account_id == account_id else self.account_id

    @property
    def names(self) -> list[Name]:
        service, model = Name("service", self.service), self.model_id
        return [service] if model is None else [service, Name("model", model)]


def model_of(service: str, operation: str) -> str | None:
    """The model that an operation of a service names, if the service is a chat service."""
    return operation if service.startswith(CHAT_SERVICE_PREFIX) else None


@dataclass(slots=True)
class Sums:
    """The number of records; their credits in total, by service and by model; their counts in total and by model."""

    records: int = 0
    credits: int = 0
    by_service: dict[str, int] = field(default_factory=dict)
    by_model: dict[str, int] = field(default_factory=dict)
    counts: dict[str, int] = field(default_factory=dict)
    counts_by_model: dict[str, dict[str, int]] = field(default_factory=dict)

    def add(self, record: UsageRecord | Countable) -> None:
        self.merge(Sums.of_pair(record.service, record.model_id, 1, record.credits, record.counts))

    @classmethod
    def of_pair(
        cls, service: str, model: str | None, records: int, credits: int, counts: Mapping[str, int] = NO_COUNTS
    ) -> "Sums":
        """The sums of records that all have the same service and model."""
        sums = cls(records, credits, {service: credits}, counts=dict(counts))
        if model is not None:
            sums.by_model[model] = credits
            if counts:
                sums.counts_by_model[model] = dict(counts)
        return sums

    def merge(self, other: "Sums") -> None:
        """Add the numbers of other sums to these."""
        self.records += other.records
        self.credits += other.credits
        add_each(self.by_service, other.by_service)
        add_each(self.by_model, other.by_model)
        add_each(self.counts, other.counts)
        for model, counts in other.counts_by_model.items():
            add_each(self.counts_by_model.setdefault(model, {}), counts)


def add_each(mine: dict[str, int], others: Mapping[str, int]) -> None:
    for name, number in others.items():
        mine[name] = mine.get(name, 0) + number


class Span(NamedTuple):
    """The instants ``since <= at < until``; None means no limit on that side."""

    since: int | None
    until: int | None


class Split(NamedTuple):
    """A time range in parts: its whole UTC days, if it has any, and the partial days at its beginning and its end."""

    days: Span | None
    partial_days: tuple[tuple[int, int], ...]


def split(since: int | None, until: int | None) -> Split:
    """Split the range ``since <= at < until`` into parts that cover it without overlap."""
    first = None if since is None else -(-since // DAY) * DAY
    last = None if until is None else until // DAY * DAY
    if since is not None and until is not None and first is not None and last is not None and first > last:
        return Split(None, ((since, until),))
    days = None if last is not None and (first or 0) >= last else Span(first, last)
    begin = () if since is None or first is None or since == first else ((since, first),)
    end = () if until is None or last is None or last == until else ((last, until),)
    return Split(days, (*begin, *end))
