"""How a stream's session is settled: what the service is told, and what is left out if it rejects a part of that."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from accounting_client.call import Call
from accounting_client.errors import InvalidRequest, ModelUnknown
from accounting_client.meter import Progress
from accounting_client.retries import Retries
from accounting_client.routes import sessions
from accounting_client.routes.sessions import Aborted, Finalized

logger = logging.getLogger("accounting_client")

Settled = Finalized | Aborted


@dataclass(frozen=True)
class Ending:
    """How a stream ended: finalized with or without ``success``, or aborted where that is None.

    ``model_id`` is the model that served, if it is not the session's. ``is_estimated``: the service rejected the
    provider's usage, so that the tokens counted are settled.
    """

    session_id: str
    success: bool | None
    progress: Progress
    model_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    is_estimated: bool = False

    def call(self) -> Call[Settled]:
        """The call that settles the session: with the provider's usage, if there is one, else with a number."""
        metadata = {**(self.metadata or {}), **({"estimated": True} if self.is_estimated else {})} or None
        usage = None if self.is_estimated else self.progress.whole_usage
        tokens = self.progress.counted if usage is None else None
        usage_format = None if usage is None else self.progress.usage_format
        more: dict[str, Any] = {"model_id": self.model_id, "metadata": metadata}
        if self.success is None:
            return sessions.abort(self.session_id, tokens, usage=usage, usage_format=usage_format, **more)
        more["success"] = self.success
        return sessions.finalize(self.session_id, tokens, usage=usage, usage_format=usage_format, **more)

    def without_rejected(self, error: InvalidRequest) -> Ending:
        """The same without what the service rejects: the metadata or the model that it names, else the usage."""
        named = {str(each.get("field")).partition(".")[0] for each in error.errors}
        rest = self
        if "metadata" in named:
            rest = replace(rest, metadata=None)
        if "modelId" in named or isinstance(error, ModelUnknown):
            rest = replace(rest, model_id=None)
        if rest == self or named & {"usage", "usageFormat"}:
            rest = replace(rest, is_estimated=self.progress.usage is not None)
        return rest


class Settling:
    """A session's settling: the call to try next, how often and how long it is tried."""

    def __init__(self, ending: Ending, retries: Retries) -> None:
        self._ending = ending
        self._retries = retries
        self._began = time.monotonic()
        self._attempts = 0
        self.call = ending.call()

    @property
    def retries(self) -> Retries:
        """Those of the next attempt, within the time that is left."""
        return replace(self._retries, total_seconds=max(0.0, self._retries.total_seconds - self._elapsed()))

    def corrected(self, error: Exception) -> bool:
        """Whether ``call`` is now another one, without what the service rejected: usage is never lost over a part."""
        if not isinstance(error, InvalidRequest):
            return False
        rest = self._ending.without_rejected(error)
        if rest == self._ending:
            return False
        how = f"with the {rest.progress.counted} tokens counted" if rest.is_estimated else "without that"
        logger.warning("session %s is settled %s: %s %s", rest.session_id, how, error, error.errors)
        self._ending, self.call = rest, rest.call()
        return True

    def pause(self) -> float | None:
        """How long to wait after a failed attempt; None when it was the last."""
        self._attempts += 1
        return self._retries.pause(self._attempts, self._elapsed(), 0, random.random())

    def _elapsed(self) -> float:
        return time.monotonic() - self._began
