"""What a usage record is. Imports nothing of ours."""

from dataclasses import dataclass
from typing import Any

CHAT_SERVICE_PREFIX = "chat"
"""Services that begin so count into the statistics by model; their operation is the model's id."""


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
