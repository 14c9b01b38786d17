"""What the sync and the async streaming session have in common: what they show of the stream, and the count."""

from __future__ import annotations

import weakref
from typing import Generic, TypeVar

from accounting_client.hold import Hold, IsGone
from accounting_client.routes.sessions import Aborted, Finalized, Initialized

H = TypeVar("H", bound=Hold)


class Stream(Generic[H]):
    """A stream and the session that accounts it; who has it can leave its block."""

    def __init__(self, hold: H) -> None:
        self._hold = hold

    @property
    def session_id(self) -> str:
        """The session's id."""
        return self._hold.session_id

    @property
    def model_id(self) -> str:
        """The model that streams."""
        return self._hold.terms.model_id

    @property
    def estimated_tokens(self) -> int:
        """The tokens that the hold was made for."""
        return self._hold.terms.estimated_tokens

    @property
    def opened(self) -> Initialized | None:
        """What is held, as the service said when the block was entered."""
        return self._hold.opened

    @property
    def result(self) -> Finalized | Aborted | None:
        """What it came to once it is settled; None for good when settling failed, which the log says.

        The sweeper ends the session then, for the tokens of its last heartbeat.
        """
        return self._hold.result

    @property
    def tokens(self) -> int:
        """The tokens counted so far."""
        return self._hold.tokens

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
        meter = self._hold.running()
        meter.count(tokens)
        if meter.outgrown:
            self._hold.wake()
        meter.require_no_refusal()

    def _is_gone(self) -> IsGone:
        """What tells whether this session is gone, without keeping it."""
        this = weakref.ref(self)
        return lambda: this() is None
