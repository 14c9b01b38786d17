"""How a stream's session is settled: which values are sent, and which are left out if the service rejects some."""

from __future__ import annotations

import logging
import random
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from accounting_client.call import Call
from accounting_client.errors import (
    AccountingError,
    InvalidRequest,
    ModelUnknown,
    PayloadTooLarge,
    SessionNotActive,
    Unauthorized,
)
from accounting_client.exchange import is_temporary
from accounting_client.meter import Progress
from accounting_client.retries import Retries
from accounting_client.routes import sessions
from accounting_client.routes.sessions import Aborted, Finalized, Initialized

logger = logging.getLogger("accounting_client")

Settled = Finalized | Aborted

NEGLIGIBLE_SECONDS = 0.001
NO_USAGE = {"inputTokens": 0, "outputTokens": 0, "requests": 0}


@dataclass(frozen=True)
class Ending:
    """How a stream ended. Its session is finalized with ``success``, or aborted if ``success`` is None.

    ``progress`` is None for an aborted stream whose progress only the service knows. ``model_id`` is the model that
    served the stream, if it is not the session's model. ``is_estimated`` is true if the service rejected the provider's
    usage. The session is then settled for the tokens that were counted. If nothing was held because the service could
    not be reached, ``unheld`` has the arguments for `initialize`. ``account_id`` is the account that pays, if the
    caller named one.
    """

    session_id: str
    success: bool | None
    progress: Progress | None
    model_id: str | None = None
    metadata: Mapping[str, Any] | None = None
    is_estimated: bool = False
    unheld: Mapping[str, Any] | None = None
    account_id: str | None = None

    def call(self) -> Call[Settled]:
        """The call that settles the session."""
        metadata = {**(self.metadata or {}), **({"estimated": True} if self.is_estimated else {})} or None
        more: dict[str, Any] = {"model_id": self.model_id, "metadata": metadata, "account_id": self.account_id}
        if self.progress is None:
            return sessions.abort(self.session_id, **more)
        usage = None if self.is_estimated else self.progress.whole_usage
        tokens = self.progress.counted if usage is None else None
        usage_format = None if usage is None else self.progress.usage_format
        if self.success is None:
            return sessions.abort(self.session_id, tokens, usage=usage, usage_format=usage_format, **more)
        more["success"] = self.success
        return sessions.finalize(self.session_id, tokens, usage=usage, usage_format=usage_format, **more)

    def opening_call(self) -> Call[Initialized]:
        """The call that opens the session late and without a hold, if the service was unreachable at the beginning."""
        return sessions.initialize(self.session_id, estimated_usage=NO_USAGE, **(self.unheld or {}))

    def without_rejected(self, error: InvalidRequest | PayloadTooLarge) -> Ending:
        """The same ending without the values that the service rejected.

        1. If the error names the metadata or the model, leave out what it names.
        2. If the error names the usage, or step 1 left nothing out, leave out the usage. The number of tokens remains.
        3. If neither step left anything out, leave out both the metadata and the model.
        """
        errors = error.errors if isinstance(error, InvalidRequest) else ()
        named = {str(each.get("field")).partition(".")[0] for each in errors}
        rest = self
        if "metadata" in named:
            rest = replace(rest, metadata=None)
        if "modelId" in named or isinstance(error, ModelUnknown):
            rest = replace(rest, model_id=None)
        if rest == self or named & {"usage", "usageFormat"}:
            rest = replace(rest, is_estimated=self.progress is not None and self.progress.usage is not None)
        return replace(self, model_id=None, metadata=None) if rest == self else rest


class Settling:
    """Decides which call to try next to settle a session, how often, and for how long."""

    def __init__(self, ending: Ending, retries: Retries) -> None:
        self.ending = ending
        self._retries = retries
        self._began = time.monotonic()
        self._attempts = 0
        self._has_opened = False
        self.call: Call[Settled] | Call[Initialized] = ending.call()

    @property
    def retries(self) -> Retries:
        """The retry settings for the next call, limited to the time that is left."""
        if self._elapsed() < NEGLIGIBLE_SECONDS:
            return self._retries
        return replace(self._retries, total_seconds=max(0.0, self._retries.total_seconds - self._elapsed()))

    def receive(self, answer: Settled | Initialized) -> Settled | None:
        """Return the settlement in the answer.

        If the answer only opened the session, set ``call`` to the call that settles the session, and return None.
        """
        if not isinstance(answer, Initialized):
            return answer
        self.call = self.ending.call()
        return None

    def corrected(self, error: Exception) -> bool:
        """Change ``call`` to leave out what the service rejected, or to open a session that was never opened.

        Return whether ``call`` may succeed now.
        """
        if isinstance(error, SessionNotActive) and self.ending.unheld is not None and not self._has_opened:
            self._has_opened, self.call = True, self.ending.opening_call()
            return True
        if not isinstance(error, InvalidRequest | PayloadTooLarge):
            return False
        rest = self.ending.without_rejected(error)
        if rest == self.ending:
            return False
        progress = rest.progress
        how = (
            f"with the {progress.counted} tokens counted"
            if rest.is_estimated and progress
            else "without the rejected values"
        )
        details = error.errors if isinstance(error, InvalidRequest) else ""
        logger.warning("session %s is settled %s: %s %s", rest.session_id, how, error, details)
        self.ending, self.call = rest, rest.call()
        return True

    def pause(self) -> float | None:
        """How many seconds to wait after a failed attempt, or None to give up."""
        self._attempts += 1
        return self._retries.pause(self._attempts, self._elapsed(), 0, random.random())

    def _elapsed(self) -> float:
        return time.monotonic() - self._began


def may_settle_later(error: Exception, *, renewable: bool) -> bool:
    """Whether the same call may still settle the session, because the error is temporary or a new token may help.

    ``renewable`` says whether the client can get a new token.
    """
    if isinstance(error, AccountingError):
        return is_temporary(error) or (renewable and isinstance(error, Unauthorized))
    # Any other error was raised by the caller's token function.
    return renewable
