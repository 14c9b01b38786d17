"""The credits held for one stream: what is known about them, what is sent to the service, and what is logged.

Clients, threads and tasks refer only to the hold, not to the session object. So if a caller enters a session without a
``with`` block and drops the session object, Python garbage-collects the session object. The heartbeats notice this and
abort the session.
"""

from __future__ import annotations

import logging
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, Literal, Protocol, get_args

from accounting_client.backlog import Backlog, PendingSettlement
from accounting_client.call import Answer, Call
from accounting_client.errors import (
    AccountingError,
    Conflict,
    InsufficientCredits,
    InvalidRequest,
    SessionEnded,
    SessionExists,
    SessionNotActive,
    Unauthorized,
)
from accounting_client.exchange import Exchange, is_temporary
from accounting_client.meter import Meter, Progress
from accounting_client.process import generation
from accounting_client.retries import Retries, require_seconds
from accounting_client.routes import sessions
from accounting_client.routes.sessions import Heartbeat, Initialized
from accounting_client.session_ids import new_session_id
from accounting_client.settling import Ending, Settled, Settling, may_settle_later
from accounting_client.usage_objects import input_of, output_of

if TYPE_CHECKING:
    from accounting_client.backlog import Key

logger = logging.getLogger("accounting_client")

WATCH_SECONDS = 10.0
"""How often a session checks, by default, whether it was abandoned and whether a heartbeat is due."""

SETTLE_SECONDS = 2.0
"""How long the end of a stream's ``with`` block waits for the settlement, by default."""

GAP = 10
"""Two checks are at least a tenth of the usual time apart, even if tokens arrive fast."""

PART_OF_TIME_OUT = 4
"""A heartbeat is due when a quarter of the service's time-out has passed.

The other three quarters are left for repeats, and for clocks that differ.
"""

OUTPUT_PARTS = ("reasoningTokens", "outputAudioTokens")
UNHELD = Initialized("", 0, 0, datetime.max.replace(tzinfo=UTC), "")

LEFT = TimeoutError("the client was closed, or its program ended, before the session was settled")

IsGone = Callable[[], bool]
"""Whether the session object was garbage-collected, so that its caller can no longer settle the session."""


WhenShort = Literal["raise", "shorten"]
OnUnreachable = Literal["raise", "allow"]
WHEN_SHORT, ON_UNREACHABLE = get_args(WhenShort), get_args(OnUnreachable)


class _Background(Protocol):
    backlog: Backlog

    def defer(self, pending: PendingSettlement) -> None: ...


class _Client(Protocol):
    @property
    def background(self) -> _Background: ...
    @property
    def retries(self) -> Retries: ...
    @property
    def renewable(self) -> bool: ...


@dataclass(frozen=True)
class Terms:
    """What a caller asks of a streaming session.

    Raises ValueError for unknown options, for times that are too long for a timer or not positive, and if there are two
    estimates or none.

    The estimate must be `estimated_usage` if the output may be shortened (`when_short`), or if the stream may begin
    without a hold (`on_unreachable`).
    """

    model_id: str
    estimated_tokens: int | None = None
    session_id: str | None = None
    heartbeat_seconds: float | None = None
    settle_seconds: float = SETTLE_SECONDS
    estimated_usage: Mapping[str, Any] | None = None
    variant: str | None = None
    metadata: Mapping[str, Any] | None = None
    when_short: WhenShort = "raise"
    on_unreachable: OnUnreachable = "raise"
    account_id: str | None = None
    run_id: str | None = None

    def __post_init__(self) -> None:
        if self.when_short not in WHEN_SHORT:
            raise ValueError(f"when_short is 'raise' or 'shorten', not {self.when_short!r}")
        if self.on_unreachable not in ON_UNREACHABLE:
            raise ValueError(f"on_unreachable is 'raise' or 'allow', not {self.on_unreachable!r}")
        if self.estimated_usage is None and (self.when_short, self.on_unreachable) != ("raise", "raise"):
            raise ValueError("when_short='shorten' and on_unreachable='allow' need an estimated_usage")
        if (self.estimated_tokens is None) == (self.estimated_usage is None):
            raise ValueError("a streaming session takes either estimated_tokens or estimated_usage")
        if self.heartbeat_seconds is not None:
            require_seconds("heartbeat_seconds", self.heartbeat_seconds)
        require_seconds("settle_seconds", self.settle_seconds)


class Hold(ABC):
    """What the sync and the async hold have in common. ``result`` stays None if settling failed for good."""

    _client: _Client

    def __init__(self, client: _Client, terms: Terms) -> None:
        self.terms = terms
        self.session_id = new_session_id() if terms.session_id is None else terms.session_id
        self.opened: Initialized | None = None
        self.result: Settled | None = None
        self._client = client
        self.meter: Meter | None = None
        self.served_model: str | None = None
        self.metadata: Mapping[str, Any] = {}
        self._renewable = client.renewable
        self._generation = generation()
        self.key: Key | None = None
        """The session's key in the outbox, a file of unsettled sessions, if there is one."""
        self.is_unheld = False
        """Whether the stream runs without a hold, because the service could not be reached."""
        self._log_lock = threading.RLock()
        self._is_logged = False
        self._watch_seconds = WATCH_SECONDS if terms.heartbeat_seconds is None else terms.heartbeat_seconds
        self._gap_seconds = self._watch_seconds / GAP
        self._beat_at = 0.0

    @cached_property
    def backlog(self) -> Backlog:
        """The settlements that this process still has to send."""
        return self._client.background.backlog

    @property
    def _settle_retries(self) -> Retries:
        """Try as long as there is time: an unsettled session holds its credits until the sweeper ends it."""
        return replace(self._client.retries, attempts=1000, total_seconds=self.terms.settle_seconds)

    @property
    def _beat_retries(self) -> Retries:
        retries = self._client.retries
        return replace(retries, total_seconds=min(retries.total_seconds, self._watch_seconds))

    @property
    def progress(self) -> Progress:
        """How far the stream is."""
        return self.meter.progress if self.meter else Progress()

    @property
    def is_another_process(self) -> bool:
        """Whether another process made the hold, and then forked this one.

        Only the process that made the hold counts tokens, sends heartbeats and settles.
        """
        return self._generation != generation()

    def open_meter(self) -> Meter:
        """The meter. Raises RuntimeError if the session is not open: tokens counted then would not be settled."""
        meter = self.meter
        if meter is None or self._generation != generation() or self.settling_has_begun():
            self._require_own_process()
            raise RuntimeError(f"session {self.session_id} is not open")
        return meter

    @abstractmethod
    def settling_has_begun(self) -> bool:
        """Whether settling has begun, after which nothing more is counted."""

    @abstractmethod
    def wake(self) -> None:
        """Wake the thread or task that sends heartbeats, so that it sends one as soon as possible."""

    def require_new(self) -> None:
        """Raise RuntimeError if the session was entered before, or if another process made it."""
        self._require_own_process()
        if self.meter is not None or self.settling_has_begun():
            raise RuntimeError(f"session {self.session_id} was entered before")

    def initialize_call(self) -> Call[Initialized]:
        """The call that opens the session. Raises RuntimeError if the session was entered before.

        Reading the answer raises SessionExists if another session has the id.
        """
        self.require_new()
        terms = self.terms
        call = sessions.initialize(
            self.session_id,
            terms.model_id,
            terms.estimated_tokens,
            estimated_usage=terms.estimated_usage,
            variant=terms.variant,
            metadata=terms.metadata,
            account_id=terms.account_id,
            run_id=terms.run_id,
        )

        def read(answer: Answer) -> Initialized:
            opened = call.read(answer)
            if opened.replayed and not answer.repeated and self.terms.session_id is not None:
                raise SessionExists(f"There is a session {self.session_id} already", "SESSION_EXISTS")
            return opened

        return replace(call, read=read)

    def heartbeat_call(self, report: Progress) -> Call[Heartbeat]:
        usage = report.whole_usage
        usage_format = None if usage is None else report.usage_format
        return sessions.heartbeat(
            self.session_id,
            report.tokens,
            usage=usage,
            usage_format=usage_format,
            account_id=self.terms.account_id,
        )

    def finalized(self, success: bool) -> Ending:
        """How to settle a session whose stream has ended."""
        return self._ending(success)

    def aborted(self) -> Ending:
        """How to settle a session whose stream was given up or never began."""
        return self._ending(None)

    def _ending(self, success: bool | None) -> Ending:
        progress, metadata, terms = self.progress, self.metadata, self.terms
        if not self.is_unheld:
            return Ending(
                self.session_id, success, progress, self.served_model, metadata or None, account_id=terms.account_id
            )
        if progress.usage is None and terms.estimated_usage is not None:  # the service does not have the estimate
            progress = progress.with_usage({**terms.estimated_usage, "outputTokens": progress.counted}, "canonical")
            metadata = {**metadata, "estimated": True}
        opening = {
            "model_id": terms.model_id,
            "variant": terms.variant,
            "metadata": terms.metadata,
            "account_id": terms.account_id,
            "run_id": terms.run_id,
        }
        return Ending(
            self.session_id,
            success,
            progress,
            self.served_model,
            metadata or None,
            unheld=opening,
            account_id=terms.account_id,
        )

    def _put_off(self, settling: Settling, error: BaseException | None = None) -> None:
        """Leave a settlement to the background sender, unless the service refused it for good."""
        pending = PendingSettlement(settling, self._client, self, self.key)
        if isinstance(error, Exception) and not may_settle_later(error, renewable=self._renewable):
            self.backlog.refused(pending, error)
        else:
            self._client.background.defer(pending)

    def _require_own_process(self) -> None:
        if self.is_another_process:
            raise RuntimeError(f"session {self.session_id} belongs to the process that this one was forked from")

    def _shortened(self, refused: Exception) -> bool:
        """Reduce the estimate's output to what the user can pay for. Return whether opening may succeed now."""
        estimate = self.terms.estimated_usage
        if not isinstance(refused, InsufficientCredits) or self.terms.when_short != "shorten" or estimate is None:
            return False
        affordable = refused.affordable_output_tokens or 0
        if not 0 < affordable < output_of(estimate, "canonical"):
            return False
        rest = {name: count for name, count in estimate.items() if name not in OUTPUT_PARTS}
        self.terms = replace(self.terms, estimated_usage=rest | {"outputTokens": affordable})
        return True

    def _require_open_client(self) -> None:
        """Raise RuntimeError if the client was closed while the session was opening."""
        if self.settling_has_begun():
            raise RuntimeError(f"the client was closed while session {self.session_id} opened")

    def _allows(self, error: AccountingError) -> bool:
        """Whether the stream may begin without a hold after the opening failed with ``error``."""
        return self.terms.on_unreachable == "allow" and is_temporary(error)

    def _begin_unheld(self, error: AccountingError) -> None:
        logger.warning("session %s begins without a hold: %s", self.session_id, error)
        self.is_unheld = True
        self.meter = Meter(0, UNHELD)

    def _opened_as(self, opened: Initialized) -> None:
        self.opened = opened
        self._note_expiry(opened.expires_at)
        if (usage := self.terms.estimated_usage) is None:
            self.meter = Meter(self.terms.estimated_tokens or 0, opened)
        else:
            self.meter = Meter(output_of(usage, "canonical"), opened, input_of(usage, "canonical"))

    def _may_be_held(self, opening: Exchange[Initialized], error: BaseException) -> bool:
        """Whether credits may be held although the opening failed with ``error``.

        No credits are held if no attempt can have reached the service. No credits are held after a `Conflict`, because
        the service refused to open the session, or another session has the id.
        """
        return self.opened is not None or (opening.may_be_done and not isinstance(error, Conflict))

    def _must_beat(self, meter: Meter, *, is_woken: bool) -> bool:
        """Whether the current check (see ``WATCH_SECONDS``) sends a heartbeat.

        No heartbeat is sent after the service has refused one for good. Otherwise, every check sends one if the caller
        chose an interval. Without a chosen interval, a check sends one only if `wake` was called, the tokens may no
        longer fit the hold, the last heartbeat failed, or a quarter of the service's time-out has passed.
        """
        if meter.refusal is not None:
            return False
        return (
            self.terms.heartbeat_seconds is not None or is_woken or meter.outgrown or time.monotonic() >= self._beat_at
        )

    def _note_expiry(self, at: datetime) -> None:
        """Compute when the next heartbeat is due. Without one, the service ends the session at ``at``."""
        left = (at - datetime.now(UTC)).total_seconds()
        self._beat_at = time.monotonic() + left / PART_OF_TIME_OUT

    def _missed(self, error: Exception, report: Progress) -> None:
        """Log that a heartbeat failed.

        If the service rejected the heartbeat's usage, send another heartbeat without a usage. After any other final
        refusal, the meter stops the stream.
        """
        logger.warning("heartbeat of session %s failed: %s", self.session_id, error)
        self._beat_at = 0.0
        if not isinstance(error, AccountingError) or self._may_be_renewed(error) or self.meter is None:
            return
        if isinstance(error, InvalidRequest) and report.usage is not None:
            self.meter.rejected(report)
            self.wake()
        else:
            self.meter.missed(error)

    def _abandoned(self) -> None:
        """Log that the session object was garbage-collected before the session was settled."""
        logger.warning("session %s was abandoned with %d tokens: it is aborted", self.session_id, self.progress.tokens)

    def _pause_after(self, error: Exception, settling: Settling) -> float | None:
        """How long to wait before settling is tried again after this error; None to give up."""
        if settling.corrected(error):
            return 0
        return settling.pause() if may_settle_later(error, renewable=self._renewable) else None

    def _may_be_renewed(self, error: Exception) -> bool:
        return self._renewable and isinstance(error, Unauthorized)

    def unsettled(self, error: BaseException) -> None:
        """Log, once, that the session could not be settled, and what will become of it."""
        ended = isinstance(error, SessionNotActive | SessionEnded)
        if self.meter is None and ended:
            return  # the opening got no answer; the answer to the settlement shows that no session was opened
        outlook = "it had ended before" if ended else self._outlook()
        self._log_once(
            logging.ERROR,
            "session %s could not be settled with %d tokens, %s: %s %s",
            self.progress.tokens,
            outlook,
            type(error).__name__,
            error,
        )

    def _outlook(self) -> str:
        """What will become of the session if this process does not settle it."""
        if self.is_unheld:
            return "it began without a hold, so its usage may never be charged"
        return "the sweeper will end it" if self.meter else "the sweeper will end it if the service has opened it"

    def _log_once(self, level: int, message: str, *more: object) -> None:
        with self._log_lock:  # closing the client and settling may both give up at the same moment
            if not self._is_logged:
                self._is_logged = True
                logger.log(level, message, self.session_id, *more)

    def left_behind(self, why: BaseException = LEFT) -> None:
        """Log, once, that this process will not settle the session. If an outbox has it, the next process will."""
        if self.key is not None and self.backlog.outbox is not None:
            self._log_once(logging.WARNING, "session %s is not settled yet, the outbox has it: %s", why)
        else:
            self.unsettled(why)
