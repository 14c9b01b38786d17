"""Whether the service is there."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from accounting_client.call import Access, Call, get


@dataclass(frozen=True)
class Health:
    """That the service is there, and its version."""

    status: str
    service: str
    version: str
    timestamp: datetime


def health() -> Call[Health]:
    """Whether the service is there. Needs no token."""
    return replace(get("/api/health", Health), access=Access.PUBLIC)
