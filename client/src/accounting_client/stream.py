"""What the sync and the async streaming session share: the properties of a stream, and the count of its tokens."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, Generic, TypeVar

from accounting_client.hold import Hold, IsGone
from accounting_client.meter import Meter
from accounting_client.routes.sessions import Aborted, Finalized, Initialized
from accounting_client.usage_objects import UsageFormat, in_json, output_of, require_format

H = TypeVar("H", bound=Hold)


class Stream(Generic[H]):
    """A stream and the session that accounts for it."""

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
        """The tokens that the hold is for; None if it is for an `estimated_usage`."""
        return self._hold.terms.estimated_tokens

    @property
    def estimated_usage(self) -> Mapping[str, Any] | None:
        """The usage that the hold is for; None if it is for `estimated_tokens`."""
        return self._hold.terms.estimated_usage

    @property
    def max_output_tokens(self) -> int | None:
        """The output tokens that the hold is for: the limit to pass to the model. `when_short` may have reduced it.

        None if the hold is for `estimated_tokens`.
        """
        estimate = self.estimated_usage
        return None if estimate is None else output_of(estimate, "canonical")

    @property
    def opened(self) -> Initialized | None:
        """What is held, as the service answered when the block was entered; None before, and without a hold."""
        return self._hold.opened

    @property
    def is_settled(self) -> bool:
        """Whether settling has begun, after which nothing more is counted."""
        return self._hold.settling_has_begun()

    @property
    def result(self) -> Finalized | Aborted | None:
        """The outcome, once the session is settled. It stays None if settling failed for good; the log then says so.

        The sweeper then ends the session and charges the tokens of its last heartbeat.
        """
        return self._hold.result

    @property
    def tokens(self) -> int:
        """The tokens counted so far or, once there is a usage, the output tokens."""
        meter = self._hold.meter
        return 0 if meter is None else meter.tokens

    @property
    def usage(self) -> dict[str, Any] | None:
        """The provider's usage so far, plus the output tokens that were counted after it; None if none was reported."""
        usage = self._hold.progress.whole_usage
        return None if usage is None else dict(usage)

    def add_tokens(self, tokens: int) -> None:
        """Count generated tokens. This never waits.

        In a session with ``estimated_usage``, and after `set_usage`, they are output tokens. If the service refused a
        heartbeat, this counts the tokens and then raises the refusal, such as `InsufficientCredits` if the hold could
        not be raised. Stop the stream then. Raises TypeError if ``tokens`` is not a whole number, ValueError if it is
        negative or impossibly large, and RuntimeError unless the session is open.
        """
        if tokens < 0:
            raise ValueError(f"{tokens} can't be added: set_tokens corrects the count")
        meter = self._hold.open_meter()
        meter.count(meter.tokens + tokens)
        self._check_hold(meter)

    def set_tokens(self, tokens: int) -> None:
        """Set the total number of tokens, for example if the model reports it at the end.

        Otherwise like `add_tokens`.
        """
        meter = self._hold.open_meter()
        meter.count(tokens)
        self._check_hold(meter)

    def set_usage(self, usage: object, usage_format: UsageFormat) -> None:
        """Pass on the usage that the provider has reported so far, as you received it. This never waits.

        ``usage`` is a mapping, or an object of the provider's SDK. It replaces the tokens counted so far, and the
        session is settled for it. Tokens that are added later are added to its output. Usage is cumulative: a later
        object of the same format replaces the fields that it has, as Anthropic's ``message_delta`` replaces fields of
        ``message_start``.

        If the service refused a heartbeat, this raises the refusal, as `add_tokens` does. Raises TypeError if ``usage``
        has no fields, and ValueError for an unknown format or for values that JSON does not have.
        """
        require_format(usage_format)
        fields = in_json(usage, "the usage")
        meter = self._hold.open_meter()
        meter.use(fields, usage_format)
        self._check_hold(meter)

    def served_by(self, model_id: str) -> None:
        """Name the model that really served the stream, if it is another one: the session is settled at its price."""
        self._hold.served_model = model_id

    def add_metadata(self, metadata: Mapping[str, Any]) -> None:
        """Add metadata to the usage record; a later value of the same name replaces the earlier one.

        Raises TypeError or ValueError for values that JSON does not have.
        """
        self._hold.metadata = {**self._hold.metadata, **in_json(metadata, "the metadata")}

    def _add_details(self, model_id: str | None, metadata: Mapping[str, Any] | None) -> None:
        if model_id is not None:
            self.served_by(model_id)
        if metadata is not None:
            self.add_metadata(metadata)

    def _check_hold(self, meter: Meter) -> None:
        """Have a heartbeat sent if the tokens may no longer fit the hold, and raise the refusal of an earlier one."""
        if meter.refusal is not None:
            meter.require_no_refusal()
        elif meter.outgrown:
            self._hold.wake()

    def _is_gone(self) -> IsGone:
        """Return a function that tells whether this session was garbage-collected, without keeping it alive."""
        this = weakref.ref(self)
        return lambda: this() is None
