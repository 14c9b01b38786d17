"""What the sync and the async streaming session have in common: the count, the calls, and what is said in the log."""

from __future__ import annotations

import logging
import random
import time
from abc import ABC, abstractmethod
from dataclasses import replace
from typing import Protocol
from uuid import uuid4

from accounting_client.call import Answer, Call
from accounting_client.errors import AccountingError, SessionExists, SessionNotActive, Unauthorized
from accounting_client.exchange import failed
from accounting_client.meter import Meter
from accounting_client.retries import Retries
from accounting_client.routes import sessions
from accounting_client.routes.sessions import Aborted, Finalized, Heartbeat, Initialized

logger = logging.getLogger("accounting_client")

GAP = 10
"""The shortest time between two heartbeats is this part of the usual one."""


class _Wake(Protocol):
    def set(self) -> None: ...


class _Client(Protocol):
    @property
    def retries(self) -> Retries: ...
    @property
    def renewable(self) -> bool: ...


class Stream(ABC):
    """A stream and the session that accounts it.

    ``result`` is what it came to once it is settled; it stays None when settling failed for good, which the log says:
    the sweeper ends the session then, for the tokens of its last heartbeat.
    """

    def __init__(
        self,
        client: _Client,
        wake: _Wake,
        model_id: str,
        estimated_tokens: int,
        *,
        session_id: str | None,
        heartbeat_seconds: float,
        settle_seconds: float,
    ) -> None:
        self.session_id = str(uuid4()) if session_id is None else session_id
        self._is_ours = session_id is None
        self._renewable = client.renewable
        self.model_id = model_id
        self.estimated_tokens = estimated_tokens
        self.opened: Initialized | None = None
        self.result: Finalized | Aborted | None = None
        self._wake = wake
        self._meter: Meter | None = None
        self._heartbeat_seconds = heartbeat_seconds
        self._gap_seconds = heartbeat_seconds / GAP
        self._settle_seconds = settle_seconds
        self._beat_retries = replace(client.retries, total_seconds=min(client.retries.total_seconds, heartbeat_seconds))
        # As often as there is time for: what is not settled is held for an hour.
        self._settle_retries = replace(client.retries, attempts=1000, total_seconds=settle_seconds)

    @property
    def tokens(self) -> int:
        """The tokens counted so far."""
        return self._meter.tokens if self._meter else 0

    def add_tokens(self, tokens: int) -> None:
        """Count tokens that were generated; never waits.

        Raises what a heartbeat was refused with, after it counted them: `InsufficientCredits` when the hold could not
        be raised. Stop the stream then. Raises TypeError for what is no whole number, ValueError for one that no
        stream has, or a negative one.
        """
        if tokens < 0:
            raise ValueError(f"{tokens} can't be added: set_tokens corrects the count")
        self.set_tokens(self.tokens + tokens)

    def set_tokens(self, tokens: int) -> None:
        """Say how many tokens there are in all, as when the model reports it at its end. Otherwise as `add_tokens`."""
        meter = self._running()
        meter.count(tokens)
        if meter.outgrown:
            self._wake.set()
        meter.require_no_refusal()

    def _running(self) -> Meter:
        """The meter. Raises RuntimeError outside of the block: nobody would settle the tokens."""
        if self._meter is None or self._settled():
            raise RuntimeError(f"session {self.session_id} is not open")
        return self._meter

    @abstractmethod
    def _settled(self) -> bool:
        """Whether settling has begun, after which nothing is counted any more."""

    def _initialize_call(self) -> Call[Initialized]:
        """Raises RuntimeError for a session that was entered before, and its answer SessionExists for another's."""
        if self._meter is not None or self._settled():
            raise RuntimeError(f"session {self.session_id} was entered before")
        call = sessions.initialize(self.session_id, self.model_id, self.estimated_tokens)

        def read(answer: Answer) -> Initialized:
            opened = call.read(answer)
            if opened.replayed and not answer.repeated and not self._is_ours:
                raise SessionExists(f"There is a session {self.session_id} already", "SESSION_EXISTS")
            return opened

        return replace(call, read=read)

    def _heartbeat_call(self) -> Call[Heartbeat]:
        return sessions.heartbeat(self.session_id, self.tokens)

    def _finalize_call(self, success: bool) -> Call[Finalized]:
        return sessions.finalize(self.session_id, self.tokens, success=success)

    def _abort_call(self) -> Call[Aborted]:
        return sessions.abort(self.session_id, self.tokens)

    def _opened(self, opened: Initialized) -> None:
        self.opened = opened
        self._meter = Meter(self.estimated_tokens, opened)

    def _missed(self, error: Exception) -> bool:
        """Say that a heartbeat failed. Return whether another one is of no use."""
        logger.warning("heartbeat of session %s failed: %s", self.session_id, error)
        if self._may_be_renewed(error) or not isinstance(error, AccountingError):
            return False
        return self._meter is not None and self._meter.missed(error)

    def _may_settle_later(self, error: Exception) -> bool:
        """Whether the same may settle the session, though this came of it: refused, it is refused for good."""
        if isinstance(error, AccountingError):
            return failed(error) or self._may_be_renewed(error)
        return self._renewable  # what the caller's token function raised

    def _may_be_renewed(self, error: Exception) -> bool:
        return self._renewable and isinstance(error, Unauthorized)

    def _unsettled(self, error: BaseException) -> None:
        """Say that the session could not be settled."""
        ended = isinstance(error, SessionNotActive)
        if self._meter is None and ended:
            return  # it was never opened, which was only not certain
        logger.error(
            "session %s could not be settled with %d tokens, %s: %s %s",
            self.session_id,
            self.tokens,
            "it had ended before" if ended else "the sweeper will end it",
            type(error).__name__,
            error,
        )


class Settling:
    """How often, and how long, a session's settling is tried."""

    def __init__(self, retries: Retries) -> None:
        self._retries = retries
        self._began = time.monotonic()
        self._attempts = 0

    @property
    def retries(self) -> Retries:
        """Those of the next attempt, within the time that is left."""
        return replace(self._retries, total_seconds=self._retries.total_seconds - self._elapsed())

    def pause(self) -> float | None:
        """How long to wait after a failed attempt; None when it was the last."""
        self._attempts += 1
        return self._retries.pause(self._attempts, self._elapsed(), 0, random.random())

    def _elapsed(self) -> float:
        return time.monotonic() - self._began
