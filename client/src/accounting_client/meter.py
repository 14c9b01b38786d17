"""Counts the tokens of a stream, and decides when a heartbeat must report them. Sends nothing itself."""

from __future__ import annotations

import copy
import operator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from accounting_client.errors import AccountingError
from accounting_client.exchange import is_temporary
from accounting_client.usage_objects import MAX_TOKENS, UsageFormat, input_of, output_of, put_together, with_more_output

if TYPE_CHECKING:
    from collections.abc import Mapping

    from accounting_client.routes.sessions import Heartbeat, Initialized


@dataclass(frozen=True)
class Progress:
    """How far a stream is.

    ``usage`` is the newest usage that the provider has reported. Until the first usage, ``tokens`` is the number of
    tokens that were counted. Afterward, ``tokens`` is the output tokens of the usage plus ``beyond``, the tokens that
    were counted after the usage. ``counted`` is what to settle for if the service rejects the usage: the tokens that
    were counted, or the usage's output if that is more.
    """

    tokens: int = 0
    counted: int = 0
    usage: Mapping[str, Any] | None = None
    usage_format: UsageFormat = "canonical"
    beyond: int = 0

    @property
    def input(self) -> int:
        """The input tokens of the usage; 0 without a usage."""
        return 0 if self.usage is None else input_of(self.usage, self.usage_format)

    @property
    def whole_usage(self) -> Mapping[str, Any] | None:
        """The usage, with ``beyond`` added to its output tokens."""
        return None if self.usage is None else with_more_output(self.usage, self.usage_format, self.beyond)

    def at(self, tokens: int) -> Progress:
        """The progress when the stream has ``tokens`` in total.

        Call this on what ``with_usage`` returned last or, before the first usage, on an empty ``Progress()``.
        """
        if self.usage is None:
            return Progress(tokens, tokens)
        beyond = max(0, tokens - self.tokens)
        if not beyond:
            return self
        return replace(self, tokens=self.tokens + beyond, counted=self.counted + beyond, beyond=beyond)

    def with_usage(self, usage: Mapping[str, Any], usage_format: UsageFormat) -> Progress:
        """The progress after the provider's newest usage. The output tokens of the usage replace ``tokens``."""
        known = self.usage if usage_format == self.usage_format else None
        together = put_together(known, usage)
        output = output_of(together, usage_format)
        return Progress(output, max(self.counted, output), together, usage_format)


class Meter:
    """Counts a stream's tokens. If the service refuses a heartbeat, ``refusal`` is set, and the stream must stop.

    The hold is the credits that the service reserves for the stream. It was made for ``estimated_tokens``. If the
    estimate is by class, these are its output tokens, and ``estimated_inputs`` are its input tokens.
    """

    def __init__(self, estimated_tokens: int, opened: Initialized, estimated_inputs: int = 0) -> None:
        self.tokens = 0
        self.refusal: AccountingError | None = None
        self._estimated_tokens = estimated_tokens
        self._estimated_inputs = estimated_inputs
        self._reported = Progress()
        self._more_inputs = 0
        self._opened = opened
        self._allocated_credits = opened.allocated_credits
        self._fitting = self._surely_within(opened.allocated_credits)
        self._rejected: Mapping[str, Any] | None = None

    @property
    def progress(self) -> Progress:
        """How far the stream is."""
        return self._reported.at(self.tokens)

    @property
    def outgrown(self) -> bool:
        """Whether the tokens may exceed the hold, so a heartbeat should raise the hold. False after a refusal."""
        return self.refusal is None and self.tokens + self._more_inputs > self._fitting

    def count(self, tokens: int) -> None:
        """Note that the stream has ``tokens`` now. The count cannot go below what the provider has reported.

        Raises TypeError or ValueError if ``tokens`` is not a valid number.
        """
        whole = operator.index(tokens)
        if not 0 <= whole <= MAX_TOKENS:
            raise ValueError(f"{tokens} is not a number of tokens")
        self.tokens = max(whole, self._reported.tokens)

    def use(self, usage: Mapping[str, Any], usage_format: UsageFormat) -> None:
        """Note what the stream has used so far, as its provider reports it."""
        reported = self.progress.with_usage(usage, usage_format)
        self.tokens, self._reported = reported.tokens, reported
        self._more_inputs = self._beyond_estimate(reported)

    def report(self) -> Progress:
        """What the next heartbeat reports. A usage that the service has rejected is left out."""
        progress = self.progress
        if progress.usage is None or progress.usage is not self._rejected:
            return progress
        return Progress(progress.counted, progress.counted)

    def rejected(self, report: Progress) -> None:
        """Note that the service rejects the report's usage."""
        self._rejected = report.usage

    def answered(self, heartbeat: Heartbeat, report: Progress) -> None:
        """Note the answer to the heartbeat that sent ``report``, and decide when the next heartbeat is due.

        - If the service raised the hold for a number of tokens, the next heartbeat is due when the stream has more
          tokens than the new hold surely pays for.
        - If the service raised the hold for a usage, the new hold pays for the usage, and its buffer pays for tokens
          after the report. The next heartbeat is due when the tokens after the report are more than the buffer surely
          pays for.
        - If the report has more tokens than the hold surely pays for, but the service did not raise the hold, the
          client underestimated the hold, by an unknown number of tokens. The next heartbeat is due when the tokens
          after the report are more than the buffer surely pays for, and more than half of ``tokens_generated``.
        """
        tokens, allocated = heartbeat.tokens_generated, heartbeat.allocated_credits
        weight = tokens + self._beyond_estimate(report)
        if allocated > self._allocated_credits:
            has_usage = report.usage is not None
            self._fitting = weight + self._buffer(allocated) if has_usage else self._surely_within(allocated)
        elif weight > self._fitting:
            self._fitting = weight + max(tokens // 2, self._buffer(allocated))
        self._allocated_credits = allocated

    def missed(self, error: AccountingError) -> None:
        """Note that a heartbeat failed. If the service refused it, no later heartbeat can succeed."""
        if not is_temporary(error):
            self.refusal = error

    def require_no_refusal(self) -> None:
        """Raise the refusal if a heartbeat was refused.

        Each call raises a new copy, because an exception that is raised again keeps its old traceback.
        """
        if self.refusal is not None:
            raise copy.copy(self.refusal) from self.refusal

    def _beyond_estimate(self, progress: Progress) -> int:
        return max(0, progress.input - self._estimated_inputs)

    def _buffer(self, allocated: int) -> int:
        """Tokens that a hold's buffer surely pays for. The buffer is assumed to be the same share of every hold."""
        opened = self._opened
        return self._surely_within(allocated - allocated * opened.estimated_credits // (opened.allocated_credits or 1))

    def _surely_within(self, credits: int) -> int:
        """Tokens that ``credits`` surely pay for.

        ``credits`` may pay for more tokens, because the estimate's cost was rounded up. For an estimate by class, the
        result is output tokens. Each of them is assumed to cost the whole estimate divided by the estimated output
        tokens. That is at least the estimate's price for output, because the whole estimate includes the input.
        """
        if self._opened.estimated_credits == 0:
            return MAX_TOKENS
        return credits * self._estimated_tokens // self._opened.estimated_credits
