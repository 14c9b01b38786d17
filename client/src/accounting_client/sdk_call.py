"""Calls of a provider's SDK: the estimate for a hold, the usage of an answer, and how a session ends."""

from __future__ import annotations

import copy
import logging
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING, Any, Generic, NamedTuple, TypeVar

from accounting_client.errors import AccountingError, NotAccounted
from accounting_client.estimates import DEFAULT_OUTPUT_TOKENS, LETTERS_A_TOKEN, Estimate, estimated_usage
from accounting_client.hold import SETTLE_SECONDS, OnUnreachable, WhenShort
from accounting_client.settling import NO_USAGE
from accounting_client.usage_objects import UsageFormat

if TYPE_CHECKING:
    from accounting_client.async_client import AsyncAccountingClient
    from accounting_client.async_session import AsyncStreamingSession
    from accounting_client.client import AccountingClient
    from accounting_client.session import StreamingSession

A = TypeVar("A", "AccountingClient", "AsyncAccountingClient")
S = TypeVar("S", "StreamingSession", "AsyncStreamingSession")

RAW_HEADER = "x-stainless-raw-response"
COUNTED_AT_ONCE = 8
"""How many tokens of a stream are counted together before they are added to its session."""

logger = logging.getLogger("accounting_client")


class Used(NamedTuple):
    """The usage that an answer or a part of a stream reports.

    ``usage`` is what the provider reports. ``tokens`` is estimated from the length of the part's text. ``is_last`` is
    true if no later part costs anything. ``is_usage_only`` is true if the part has nothing but the usage.
    """

    usage: object = None
    tokens: int = 0
    is_last: bool = False
    is_usage_only: bool = False


@dataclass(frozen=True)
class Route:
    """A route of a provider whose calls are accounted for.

    ``inputs`` are the fields of a request that the model reads. ``limits`` are the fields that limit the output. To
    shorten the output of a request without a limit, the first field of ``limits`` is set. ``of_answer`` and ``of_part``
    read the usage from a whole answer and from a part of a stream. ``text_of_part`` is a shortcut for parts that have
    only text to count: it returns the text, or None if the part may have anything else to count. ``refuses`` says why a
    request can't be accounted for. ``asks_for_usage`` changes the body of a streamed request so that the stream reports
    the usage, and returns whether a change was needed.
    """

    inputs: tuple[str, ...]
    limits: tuple[str, ...]
    usage_format: UsageFormat
    of_answer: Callable[[Any], Used]
    of_part: Callable[[Any], Used]
    text_of_part: Callable[[Any], str | None]
    refuses: Callable[[Mapping[str, Any]], str | None] = lambda _: None
    asks_for_usage: Callable[[dict[str, Any]], bool] = lambda _: False


@dataclass(frozen=True)
class Provider:
    """A provider's API. ``free`` matches ``POST`` routes that are passed on without a hold.

    A call that failed with a ``released`` error used nothing. A call that failed with an ``uncertain`` error may have
    used something, even if the error is also ``released``.
    """

    routes: Mapping[str, Route]
    free: re.Pattern[str]
    released: tuple[type[BaseException], ...]
    uncertain: tuple[type[BaseException], ...]

    def route(self, options: Any) -> Route | None:
        """The route of a request; None if it costs nothing. Raises NotAccounted if it can't be accounted for."""
        path = options.url.partition("?")[0]
        if options.method.lower() != "post" or self.free.fullmatch(path):
            return None
        route = self.routes.get(path)
        if route is None:
            raise NotAccounted(f"{path} can't be accounted for: call it with the client that is not wrapped")
        headers = options.headers if isinstance(options.headers, Mapping) else {}
        if any(name.lower() == RAW_HEADER for name in headers):
            raise NotAccounted("raw responses can't be accounted for: make the call without with_raw_response")
        return route

    def used_nothing(self, error: BaseException) -> bool:
        """Whether this error means that the call used nothing. Ask only if no part of the answer has arrived."""
        return isinstance(error, self.released) and not isinstance(error, self.uncertain)


@dataclass(frozen=True)
class Accounting(Generic[A]):
    """The client that accounts for the calls, and its settings: the arguments of ``accounted``."""

    client: A
    user: str | None = None
    estimate: Estimate = None
    max_output_tokens: int = DEFAULT_OUTPUT_TOKENS
    when_short: WhenShort = "raise"
    on_unreachable: OnUnreachable = "raise"
    variant: str | None = None
    metadata: Mapping[str, Any] | None = None
    session_id: str | None = None
    account_id: str | None = None
    run_id: str | None = None
    heartbeat_seconds: float | None = None
    settle_seconds: float = SETTLE_SECONDS

    @cached_property
    def acting(self) -> A:
        """The client, acting for ``user`` if there is one."""
        return self.client if self.user is None else self.client.for_user(self.user)

    def session(self, acting: A, model: str, estimate: Mapping[str, Any]) -> Any:
        """A session for one call. Entering it holds the credits."""
        return acting.streaming_session(
            model,
            estimated_usage=estimate,
            variant=self.variant,
            metadata=self.metadata,
            session_id=self.session_id,
            account_id=self.account_id,
            run_id=self.run_id,
            heartbeat_seconds=self.heartbeat_seconds,
            settle_seconds=self.settle_seconds,
            when_short=self.when_short,
            on_unreachable=self.on_unreachable,
        )


class Request:
    """A request to a model, as an SDK is about to send it."""

    def __init__(self, route: Route, options: Any, accounting: Accounting[Any]) -> None:
        self._route = route
        self._options = options
        self._accounting = accounting
        self._body = {**(options.json_data or {}), **(options.extra_json or {})}
        if (why := route.refuses(self._body)) is not None:
            raise NotAccounted(why)
        if not isinstance(model := self._body.get("model"), str):
            raise NotAccounted("a request that names no model can't be accounted for")
        self.model = model
        self._limit_name = next((name for name in route.limits if _count(self._body.get(name))), None)
        self._answers = _count(self._body.get("n")) or 1
        self._estimated = 0
        self.hides_usage = False

    @property
    def needs_limit(self) -> bool:
        """Whether the limit on the output must be looked up, because the request sets none."""
        return bool(self._route.limits) and self._limit_name is None

    def estimate(self, limit: int) -> dict[str, Any]:
        """The usage to hold credits for. ``limit`` limits the output if the request does not."""
        if not self._route.limits:
            limit = 0
        elif self._limit_name is not None:
            limit = _count(self._body[self._limit_name])
        usage = estimated_usage(self._body, self._route.inputs, self._accounting.estimate, limit * self._answers)
        self._estimated = int(usage["outputTokens"])
        return usage

    def within(self, output_tokens: int | None, *, stream: bool) -> Any:
        """The options to send. If ``output_tokens`` is given, the output is limited to this number."""
        body = dict(self._options.json_data or {})
        extra = self._options.extra_json
        if output_tokens is not None and output_tokens < self._estimated and self._route.limits:
            name = self._limit_name or self._route.limits[0]
            body[name] = max(1, output_tokens // self._answers)
            if extra is not None and name in extra:
                extra = {**extra, name: body[name]}
        changed = copy.copy(self._options)
        if stream:
            self.hides_usage = self._route.asks_for_usage(body)
        changed.json_data, changed.extra_json = body, extra
        return changed


@dataclass
class AccountedCall(Generic[S]):
    """A call that is accounted for: what is known about it, and how to end its session.

    ``hides_usage`` is true if the reader of the stream did not ask for the usage, so parts with only the usage are
    hidden. ``uncounted`` is the number of tokens that are not added to the session yet.
    """

    provider: Provider
    route: Route
    session: S
    hides_usage: bool = False
    has_begun: bool = False
    has_usage: bool = False
    is_complete: bool = False
    is_settled: bool = False
    uncounted: int = 0

    def read(self, part: object) -> bool:
        """Count a part of a stream; return whether to hide it from the reader.

        If the service has refused a heartbeat, raises that refusal.
        """
        try:
            tokens = -(-len(self.route.text_of_part(part) or "") // LETTERS_A_TOKEN)
        except (AttributeError, TypeError, ValueError):  # not one of the usual parts
            tokens = 0
        if not tokens:
            return self.note(self.route.of_part(part))
        self.has_begun = True
        self.uncounted += tokens
        if self.uncounted >= COUNTED_AT_ONCE:
            self.count()
        return False

    def count(self) -> None:
        """Add the uncounted tokens to the session. If the service has refused a heartbeat, raises that refusal."""
        tokens, self.uncounted = self.uncounted, 0
        if tokens:
            self.session.add_tokens(tokens)

    def note(self, used: Used) -> bool:
        """Count a part; return whether to hide it. If the service has refused a heartbeat, raises that refusal."""
        self.has_begun = True
        self.is_complete = self.is_complete or used.is_last
        self.uncounted += used.tokens
        self.count()
        if used.usage is None:
            return False
        try:
            self.session.set_usage(used.usage, self.route.usage_format)
            self.has_usage = True
        except (TypeError, ValueError) as error:  # not a usage object
            logger.warning(
                "session %s: the usage was not accepted, so the counted tokens are settled: %s",
                self.session.session_id,
                error,
            )
        return self.hides_usage and used.is_usage_only

    def note_answer(self, answer: object) -> None:
        """Count a whole answer. The caller gets the answer even if the service has refused a heartbeat."""
        self.is_complete = True
        with suppress(AccountingError, RuntimeError):
            self.note(self.route.of_answer(answer))

    def failed(self, error: BaseException) -> None:
        """Note that the call failed. If it used nothing, nothing is charged."""
        if not self.has_begun and self.provider.used_nothing(error):
            with suppress(AccountingError, RuntimeError):
                self.session.set_usage(NO_USAGE, "canonical")
            self.has_usage = self.is_complete = True

    def end(self) -> S | None:
        """The session to settle now; None if it has been settled already."""
        if self.is_settled:
            return None
        self.is_settled = True
        with suppress(AccountingError, RuntimeError):
            self.count()
        if not (self.has_usage and self.is_complete):
            self.session.add_metadata({"estimated": True})
        return self.session


def get(value: object, *names: str) -> Any:
    """A field of an object or a mapping; None if it is absent. Several ``names`` lead to a nested field."""
    for name in names:
        value = value.get(name) if isinstance(value, Mapping) else getattr(value, name, None)
    return value


def tokens_in(*texts: object) -> int:
    """The approximate number of tokens in the texts."""
    return sum(-(-len(text) // LETTERS_A_TOKEN) for text in texts if isinstance(text, str))


def _count(value: object) -> int:
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else 0
