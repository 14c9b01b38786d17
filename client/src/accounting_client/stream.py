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
        """The limit to pass to the model: the output tokens that the hold covers.

        None if the hold is for `estimated_tokens`. With ``when_short="shorten"``, the limit may be lower than your
        estimate.
        """
        estimate = self.estimated_usage
        return None if estimate is None else output_of(estimate, "canonical")

    @property
    def opened(self) -> Initialized | None:
        """The service's answer to opening the session; None until the service has answered.

        With ``on_unreachable="allow"``, a stream may begin without an answer. Then `opened` stays None.
        """
        return self._hold.opened

    @property
    def is_settled(self) -> bool:
        """True as soon as settling begins. From then on, nothing more is counted."""
        return self._hold.settling_has_begun()

    @property
    def result(self) -> Finalized | Aborted | None:
        """The outcome; None until the service has settled the session.

        If settling fails for good, the outcome stays None, and the log says why. The sweeper then ends the session and
        charges the tokens of the last heartbeat.
        """
        return self._hold.result

    @property
    def tokens(self) -> int:
        """The stream's tokens so far. Once the provider has reported usage, these are only the output tokens."""
        meter = self._hold.meter
        return 0 if meter is None else meter.tokens

    @property
    def usage(self) -> dict[str, Any] | None:
        """The usage that the provider has reported, plus the output tokens counted since; None before a report."""
        usage = self._hold.progress.whole_usage
        return None if usage is None else dict(usage)

    def add_tokens(self, tokens: int) -> None:
        """Count generated tokens. This never waits.

        In a session with ``estimated_usage``, or after `set_usage`, these are output tokens. If the service refused a
        heartbeat, this counts the tokens and then raises the refusal, such as `InsufficientCredits` if the user cannot
        pay for a larger hold. After a refusal, stop the stream.

        Raises TypeError if ``tokens`` is not a whole number, ValueError if it is negative or impossibly large, and
        RuntimeError if the session is not open.
        """
        if tokens < 0:
            raise ValueError(f"{tokens} can't be added; to lower the count, call set_tokens")
        meter = self._hold.open_meter()
        meter.count(meter.tokens + tokens)
        self._check_hold(meter)

    def set_tokens(self, tokens: int) -> None:
        """Set the number of tokens to a total, such as one that the model reports at the end.

        The kind of tokens and the errors are the same as for `add_tokens`.
        """
        meter = self._hold.open_meter()
        meter.count(tokens)
        self._check_hold(meter)

    def set_usage(self, usage: object, usage_format: UsageFormat) -> None:
        """Pass on the usage that the provider has reported so far, as you received it. This never waits.

        ``usage`` is a mapping, or an object of the provider's SDK. It replaces the tokens counted so far. Tokens that
        you add later are added to the usage's output. When the stream ends, the session is settled for the resulting
        usage. If you pass a later object of the same format, its fields replace the fields of the earlier object,
        because each field is a total. For example, Anthropic's ``message_delta`` replaces fields of ``message_start``.

        If the service refused a heartbeat, this raises the refusal, as `add_tokens` does. Raises TypeError if ``usage``
        has no fields, and ValueError for an unknown format or for values that JSON does not have.
        """
        require_format(usage_format)
        fields = in_json(usage, "the usage")
        meter = self._hold.open_meter()
        meter.use(fields, usage_format)
        self._check_hold(meter)

    def served_by(self, model_id: str) -> None:
        """Say that another model served the stream. The session is settled at the price of that model."""
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
        """Raise the refusal if the service refused a heartbeat. Send a new heartbeat if the hold may be too small."""
        if meter.refusal is not None:
            meter.require_no_refusal()
        elif meter.outgrown:
            self._hold.wake()

    def _is_gone(self) -> IsGone:
        """Return a function that says whether this object was garbage-collected, without keeping it alive."""
        this = weakref.ref(self)
        return lambda: this() is None
