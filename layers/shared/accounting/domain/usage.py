"""What a usage record is, sums of records, and how a range of time splits into days. Imports ``model_usage``."""

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any, Literal, NamedTuple

from accounting.domain.accounts import AccountId, personal
from accounting.domain.allocations import DAY
from accounting.domain.model_usage import Usage

CHAT_SERVICE_PREFIX = "chat"
"""Services that begin so count into the statistics by model; their operation is the model's id."""


RESERVED_NAMES = frozenset({"__proto__", "constructor", "prototype"})
"""No id or service is called so: statistics have them as keys of JSON objects, which JavaScript callers index by."""


def digest(*names: str | None) -> str:
    """16 characters that stand for names in a key, which names of any length would not fit: 96 bits of SHA-256."""
    return urlsafe_b64encode(sha256(json.dumps(names).encode()).digest()[:12]).decode()


class NameId(NamedTuple):
    """What identifies a name in the keys of the table."""

    kind: Literal["service", "model"]
    digest: str


class Name(NamedTuple):
    """What statistics count by: a service, or the model of a chat service."""

    kind: Literal["service", "model"]
    text: str

    @property
    def id(self) -> NameId:
        """The name's identity, of the same length for every name."""
        return NameId(self.kind, digest(self.text))


class Countable(NamedTuple):
    """What statistics need to know of a usage record."""

    at: int
    credits: int
    service: str
    model_id: str | None


class ProviderUsage(NamedTuple):
    """A provider's own usage object, and its format; ``raw`` is None when it was too large to be kept."""

    format: str
    raw: dict[str, Any] | None


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One billable event of ``user_id``, that ``account_id`` pays for.

    ``at`` is in epoch milliseconds, ``metadata`` any JSON object. ``usage`` is what a model used by class, where that
    is known, ``provider_usage`` how its provider said it.
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

    @property
    def model_id(self) -> str | None:
        """The model that the record counts for, if it is one of a chat service."""
        return model_of(self.service, self.operation)

    @property
    def accounts(self) -> list[AccountId]:
        """The account that pays, then the user's own where that is another: both have the record in their sums."""
        own = personal(self.user_id)
        return [own] if self.account_id == own else [self.account_id, own]

    def payer_beside(self, account_id: AccountId) -> AccountId | None:
        """The account that pays, where it is another one than ``account_id``."""
        return None if self.account_id == account_id else self.account_id

    @property
    def names(self) -> list[Name]:
        """The service, and the model if there is one."""
        service, model = Name("service", self.service), self.model_id
        return [service] if model is None else [service, Name("model", model)]


def model_of(service: str, operation: str) -> str | None:
    """The model that an operation of a service names, if the service is a chat service."""
    return operation if service.startswith(CHAT_SERVICE_PREFIX) else None


@dataclass(slots=True)
class Sums:
    """Records and credits in total, and credits by service and by model."""

    records: int = 0
    credits: int = 0
    by_service: dict[str, int] = field(default_factory=dict)
    by_model: dict[str, int] = field(default_factory=dict)

    def add(self, service: str, model: str | None, credits: int) -> None:
        """Count one record."""
        self.merge(Sums.of_pair(service, model, 1, credits))

    @classmethod
    def of_pair(cls, service: str, model: str | None, records: int, credits: int) -> "Sums":
        """The sums of records that all have the same service and model."""
        return cls(records, credits, {service: credits}, {} if model is None else {model: credits})

    def merge(self, other: "Sums") -> None:
        """Count what another sum counts."""
        self.records += other.records
        self.credits += other.credits
        for mine, others in ((self.by_service, other.by_service), (self.by_model, other.by_model)):
            for name, credits in others.items():
                mine[name] = mine.get(name, 0) + credits


class Span(NamedTuple):
    """The instants ``since <= at < until``; None is without an end on that side."""

    since: int | None
    until: int | None


@dataclass(frozen=True, slots=True)
class Split:
    """A range of time as the whole UTC days in it, if there are any, and the parts of days that it cuts off."""

    days: Span | None
    cut: tuple[tuple[int, int], ...]


def split(since: int | None, until: int | None) -> Split:
    """The whole days and the cut days of ``since <= at < until``; together they are the range, without an overlap."""
    first = None if since is None else -(-since // DAY) * DAY
    last = None if until is None else until // DAY * DAY
    if since is not None and until is not None and first is not None and last is not None and first > last:
        return Split(None, ((since, until),))
    days = None if last is not None and (first or 0) >= last else Span(first, last)
    begin = () if since is None or first is None or since == first else ((since, first),)
    end = () if until is None or last is None or last == until else ((last, until),)
    return Split(days, (*begin, *end))
