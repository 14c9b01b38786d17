"""What a usage record is, and sums of records. Imports nothing of ours."""

from dataclasses import dataclass, field
from typing import Any

CHAT_SERVICE_PREFIX = "chat"
"""Services that begin so count into the statistics by model; their operation is the model's id."""


RESERVED_NAMES = frozenset({"__proto__", "constructor", "prototype"})
"""No id or service is called so: statistics have them as keys of JSON objects, which JavaScript callers index by."""


@dataclass(frozen=True, slots=True)
class UsageRecord:
    """One billable event. ``at`` is in epoch milliseconds, ``metadata`` any JSON object."""

    id: str
    user_id: str
    service: str
    operation: str
    credits: int
    at: int
    metadata: dict[str, Any]

    @property
    def model_id(self) -> str | None:
        """The model that the record counts for, if it is one of a chat service."""
        return self.operation if self.service.startswith(CHAT_SERVICE_PREFIX) else None


@dataclass(slots=True)
class Sums:
    """Records and credits in total, and credits by service and by model."""

    records: int = 0
    credits: int = 0
    by_service: dict[str, int] = field(default_factory=dict)
    by_model: dict[str, int] = field(default_factory=dict)

    def add(self, service: str, model: str | None, credits: int) -> None:
        """Count one record."""
        self.merge(Sums(1, credits, {service: credits}, {} if model is None else {model: credits}))

    def merge(self, other: "Sums") -> None:
        """Count what another sum counts."""
        self.records += other.records
        self.credits += other.credits
        for mine, others in ((self.by_service, other.by_service), (self.by_model, other.by_model)):
            for name, credits in others.items():
                mine[name] = mine.get(name, 0) + credits
