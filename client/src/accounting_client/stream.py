"""What the sync and the async streaming session have in common: what they show of the stream, and the count."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Mapping
from typing import Any, Generic, TypeVar

from accounting_client.hold import Hold, IsGone
from accounting_client.meter import Meter
from accounting_client.routes.sessions import Aborted, Finalized, Initialized
from accounting_client.usage_objects import UsageFormat, in_json, output_of, require_format

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
    def estimated_tokens(self) -> int | None:
        """The tokens that the hold was made for; None where it was made for `estimated_usage`."""
        return self._hold.terms.estimated_tokens

    @property
    def estimated_usage(self) -> Mapping[str, Any] | None:
        """The usage that the hold was made for; None where it was made for `estimated_tokens`."""
        return self._hold.terms.estimated_usage

    @property
    def max_output_tokens(self) -> int | None:
        """The output that the hold was made for: the request's limit, where `when_short` may have shortened it."""
        estimate = self.estimated_usage
        return None if estimate is None else output_of(estimate, "canonical")

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
        """The tokens so far: those counted or, once there is a usage, the output tokens."""
        return self._hold.progress.tokens

    @property
    def usage(self) -> dict[str, Any] | None:
        """The provider's usage so far, raised by the output tokens that were counted after it; None without one."""
        return self._hold.progress.whole_usage

    def add_tokens(self, tokens: int) -> None:
        """Count tokens that were generated; never waits.

        In a session with ``estimated_usage``, and after `set_usage`, they are output tokens.

        Raises what a heartbeat was refused with, after it counted them: `InsufficientCredits` when the hold could not
        be raised. Stop the stream then. Raises TypeError for what is no whole number, ValueError for one that no
        stream has, or a negative one.
        """
        if tokens < 0:
            raise ValueError(f"{tokens} can't be added: set_tokens corrects the count")
        self.set_tokens(self.tokens + tokens)

    def set_tokens(self, tokens: int) -> None:
        """Say how many tokens there are in all, as when the model reports it at its end. Otherwise as `add_tokens`."""
        self._note(lambda meter: meter.count(tokens))

    def set_usage(self, usage: object, usage_format: UsageFormat) -> None:
        """Hand over what the provider says that the stream used so far, as it came; never waits.

        ``usage`` is a mapping or an object of the provider's SDK. It replaces what was counted, and is what the session
        is settled for; tokens that are added after it count as output beyond it. It is cumulative: a later one of the
        same format replaces the fields that it has, as Anthropic's ``message_delta`` does those of its
        ``message_start``.

        Raises what a heartbeat was refused with, as `add_tokens` does, TypeError for what is no object, and ValueError
        for an unknown format, or values that JSON does not have.
        """
        require_format(usage_format)
        fields = in_json(usage, "the usage")
        self._note(lambda meter: meter.use(fields, usage_format))

    def served_by(self, model_id: str) -> None:
        """Say which model really serves the stream, if it is another: its price counts."""
        self._hold.served_model = model_id

    def add_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add to what the usage record will say beside the service's own; a later value of a name replaces it.

        Raises TypeError, ValueError for what JSON does not have.
        """
        self._hold.metadata = {**self._hold.metadata, **in_json(metadata, "the metadata")}

    def _say(self, model_id: str | None, metadata: Mapping[str, Any] | None) -> None:
        if model_id is not None:
            self.served_by(model_id)
        if metadata is not None:
            self.add_metadata(metadata)

    def _note(self, noted: Callable[[Meter], None]) -> None:
        meter = self._hold.running()
        noted(meter)
        if meter.outgrown:
            self._hold.wake()
        meter.require_no_refusal()

    def _is_gone(self) -> IsGone:
        """What tells whether this session is gone, without keeping it."""
        this = weakref.ref(self)
        return lambda: this() is None
