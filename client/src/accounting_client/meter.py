"""What a streaming session knows of its stream, and when the service has to hear of it. No input, no output."""

from __future__ import annotations

import copy
import operator
from typing import TYPE_CHECKING

from accounting_client.errors import AccountingError
from accounting_client.exchange import failed

if TYPE_CHECKING:
    from accounting_client.routes.sessions import Heartbeat, Initialized

MAX_TOKENS = 10**9


class Meter:
    """Counts a stream's tokens. ``refusal`` is what a heartbeat was refused with: the stream must stop."""

    def __init__(self, estimated_tokens: int, opened: Initialized) -> None:
        self.tokens = 0
        self.refusal: AccountingError | None = None
        self._estimated_tokens = estimated_tokens
        self._estimated_credits = opened.estimated_credits
        self._allocated_credits = opened.allocated_credits
        self._fitting = self._surely_within(opened.allocated_credits)

    @property
    def outgrown(self) -> bool:
        """Whether the tokens may no longer fit the hold, so that a heartbeat should raise it."""
        return self.refusal is None and self.tokens > self._fitting

    def count(self, tokens: int) -> None:
        """Note that the stream has ``tokens`` now. Raises TypeError, ValueError for a number that no stream has."""
        whole = operator.index(tokens)
        if not 0 <= whole <= MAX_TOKENS:
            raise ValueError(f"{tokens} is no number of tokens")
        self.tokens = whole

    def beaten(self, heartbeat: Heartbeat) -> None:
        """Note what a heartbeat answered.

        One that did not raise the hold shows that its tokens fit, by a price that rounding had hidden; it does not
        show how many more would, so the next one is due half as many later.
        """
        if heartbeat.allocated_credits > self._allocated_credits:
            self._fitting = self._surely_within(heartbeat.allocated_credits)
        elif heartbeat.tokens_generated > self._fitting:
            self._fitting = heartbeat.tokens_generated * 3 // 2
        self._allocated_credits = heartbeat.allocated_credits

    def missed(self, error: AccountingError) -> None:
        """Note that a heartbeat failed. One that was refused makes another one useless."""
        if not failed(error):
            self.refusal = error

    def require_no_refusal(self) -> None:
        """Raise what a heartbeat was refused with: a copy, since what is raised keeps the frames that it passed."""
        if self.refusal is not None:
            raise copy.copy(self.refusal) from self.refusal

    def _surely_within(self, credits: int) -> int:
        """Tokens that this many credits pay for. They may pay for more: the estimate's cost was rounded up."""
        if self._estimated_credits == 0:
            return MAX_TOKENS
        return credits * self._estimated_tokens // self._estimated_credits
