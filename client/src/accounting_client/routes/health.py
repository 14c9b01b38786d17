"""Whether the service is running."""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import datetime

from accounting_client.call import Access, Call, get


@dataclass(frozen=True)
class Health:
    """A confirmation that the service is running, and its version."""

    status: str
    service: str
    version: str
    timestamp: datetime


def health() -> Call[Health]:
    """Check that the service is running. This needs no token."""
    return replace(get("/api/health", Health), access=Access.PUBLIC)
