"""Usage: record billable events, and read their statistics."""

import accounting.cold_start  # noqa: F401 - it makes the imports below faster

from collections.abc import Mapping
from typing import Annotated, Self

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import Field, ValidationInfo, field_validator

from accounting.domain.accounts import personal
from accounting.domain.errors import ApiKeyNotFound, Forbidden, Invalid, UserNotFound
from accounting.domain.series import MAX_DAYS, Series
from accounting.domain.usage import CHAT_SERVICE_PREFIX, ModelCall, ProviderUsage, UsageRecord
from accounting.domain.usage_formats import CANONICAL
from accounting.operations import system_usage
from accounting.operations import usage as operations
from accounting.operations.usage import Event, Statistics
from accounting.settings import settings
from accounting.store import api_keys, users
from accounting.times import DAY, clock, iso
from accounting.web.access import ADMINS, Access, Disabled, Who
from accounting.web.accounts import Account, AccountInQuery
from accounting.web.api import Api, handler_of
from accounting.web.caller import Caller
from accounting.web.idempotency import REPLAYED_HEADER, key_of
from accounting.web.paging import EndDate, StartDate, instants
from accounting.web.refusals import SPENDING_CODES
from accounting.web.service_key import require_service_key
from accounting.web.sight import Sight
from accounting.web.subject import named_by
from accounting.web.types import (
    IN_RUN,
    MAX_LABEL,
    ONLY_DIGITS,
    PAYER,
    AccountText,
    CreditsOrZero,
    Identifier,
    Instant,
    Metadata,
    ModelId,
    Operation,
    RequestModel,
    ResponseModel,
    ServiceName,
    StrictFlag,
    UserInPath,
    UserReference,
    left_out,
)
from accounting.web.usage import UsageFormat, UsageObject, UsageView, Variant, storable, usage_in

DEFAULT_TOP, MAX_TOP = 100, 1000

_SERIES = "Adds `series`: credits by day and name. Requires a `startDate`, at most 400 days before the end"
By = Annotated[operations.By | None, Query(description=_SERIES)]
BySystem = Annotated[system_usage.By | None, Query(description="Adds `series`: credits by day and name")]

READERS = Access(Who.USERS, "usage:read", sight=Sight("member", Caller.require_supervisor))
REPORTERS = Access(Who.USERS, "usage:write", Disabled.OPERATION_DECIDES, require_service_key, introduce=users.introduce)

api = Api()


class Record(RequestModel):
    """A billable event. Its cost is ``credits``, or is computed from ``usage`` at the model's price.

    With ``deduct``, the credits are taken from the balance; the default is the stack's parameter UsageRecordDeducts.
    """

    service: ServiceName
    operation: Operation
    credits: CreditsOrZero | None = None
    model_id: ModelId | None = None
    usage: UsageObject | None = None
    usage_format: UsageFormat | None = None
    variant: Variant | None = None
    metadata: Metadata | None = None
    deduct: StrictFlag | None = None
    account_id: AccountText | None = PAYER
    run_id: Identifier | None = IN_RUN

    @field_validator("operation")
    @classmethod
    def _only_models_have_long_names(cls, operation: str, info: ValidationInfo) -> str:
        if len(operation.encode()) > MAX_LABEL and not str(info.data.get("service")).startswith(CHAT_SERVICE_PREFIX):
            raise ValueError(
                f"at most {MAX_LABEL} bytes of UTF-8, unless the service's name begins with {CHAT_SERVICE_PREFIX}"
            )
        return operation

    def cost(self) -> int | ModelCall:
        """What the event costs. Raises Invalid unless the record has either credits, or a model and its usage."""
        found = usage_in(self)
        if found is None:
            if self.credits is None:
                raise Invalid.field("credits", "send either this or usage")
            for name, value in (
                ("modelId", self.model_id),
                ("usageFormat", self.usage_format),
                ("variant", self.variant),
            ):
                if value is not None:
                    raise Invalid.field(name, "send this only with usage")
            return self.credits
        if self.credits is not None:
            raise Invalid.field("credits", "send either this or usage")
        if self.model_id is None:
            raise Invalid.field("modelId", "is required with usage")
        usage, raw = found
        provider_usage = None if raw is None else ProviderUsage(self.usage_format or CANONICAL, storable(raw))
        return ModelCall(self.model_id, usage, self.variant, provider_usage)


class RecordedView(ResponseModel):
    """A record as it was made, and whether its credits were taken."""

    id: str
    service: str
    operation: str
    credits: int
    usage: UsageView | None = left_out("The usage by class, if the request reported `usage`")
    deducted: bool
    timestamp: Instant
    message: str


class RecordView(ResponseModel):
    """A usage record."""

    id: str
    service: str
    operation: str
    credits: int
    model_id: str | None = left_out("The model that the record counts for, if any")
    variant: str | None = left_out("The variant of the model's price")
    usage: UsageView | None = left_out("The usage by class, if it is known; negative counts correct an earlier record")
    usage_format: str | None = left_out("The format of the provider's usage object, if one was sent")
    provider_usage: dict[str, object] | None = left_out("The provider's usage object as it was sent")
    provider_usage_dropped: bool | None = left_out(
        "True if the provider's object was not kept, because it was larger than 2 KB or not UTF-8"
    )
    metadata: dict[str, object]
    actor: str | None = left_out("The service that acted for the user, as `service:` and its credential's id")
    timestamp: Instant

    @classmethod
    def of(cls, record: UsageRecord) -> Self:
        sent = record.provider_usage
        return cls(
            id=record.id,
            service=record.service,
            operation=record.operation,
            credits=record.credits,
            model_id=record.model_id,
            variant=record.variant,
            usage=record.usage and UsageView.of(record.usage),
            usage_format=sent and sent.format,
            provider_usage=sent and sent.raw,
            provider_usage_dropped=True if sent and sent.raw is None else None,
            metadata=record.metadata,
            actor=record.actor,
            timestamp=iso(record.at),
        )


class CountsView(ResponseModel):
    """Usage by class, without the counts that are 0.

    Tokens whose class is known count in ``input`` or ``output``. ``cachedInput``, ``cacheWrite``, ``cacheWrite1h``
    and ``inputAudio`` are parts of the input. ``reasoning`` and ``outputAudio`` are parts of the output.
    """

    input: int | None = left_out()
    cached_input: int | None = left_out()
    cache_write: int | None = left_out()
    cache_write_1h: Annotated[int | None, Field(alias="cacheWrite1h")] = left_out()
    input_audio: int | None = left_out()
    output: int | None = left_out()
    reasoning: int | None = left_out()
    output_audio: int | None = left_out()
    requests: int | None = left_out("How many requests to models, in sessions and records that were priced by class")
    web_searches: int | None = left_out()
    unclassified: int | None = left_out("Tokens of sessions that did not report them by class")

    @classmethod
    def of(cls, counts: Mapping[str, int]) -> Self:
        return cls.model_validate({name: count or None for name, count in counts.items()})


class SeriesView(ResponseModel):
    """Credits of each name by UTC day, for the 10 names with the most credits. Days without credits are left out.

    ``other`` has all other credits: the credits of other names and, in a series by model, the credits that count for no
    model. The names and ``other`` add up to ``byDay``. In a series by account, the names are the ids of the accounts
    that paid. Of the personal accounts, only those of the 10 users who spent the most can be among the names.
    """

    by: system_usage.By
    names: dict[str, dict[str, int]]
    other: dict[str, int]

    @classmethod
    def of(cls, by: system_usage.By | None, series: Series | None) -> Self | None:
        return cls(by=by, names=series.names, other=series.other) if by and series else None


class StatisticsView(ResponseModel):
    """The usage of a user or an account in a range of time. The ``by…`` objects have credits by name or day."""

    total_records: int
    total_credits: int
    by_service: dict[str, int]
    by_day: dict[str, int]
    by_model: dict[str, int]
    tokens: CountsView
    tokens_by_model: dict[str, CountsView]
    recent_activity: list[RecordView]
    series: SeriesView | None = left_out("Present with `by`")

    @classmethod
    def of(cls, statistics: Statistics, by: operations.By | None) -> Self:
        return cls(
            total_records=statistics.sums.records,
            total_credits=statistics.sums.credits,
            by_service=statistics.sums.by_service,
            by_day=statistics.by_day,
            by_model=statistics.sums.by_model,
            tokens=CountsView.of(statistics.sums.counts),
            tokens_by_model=_by_model(statistics.sums.counts_by_model),
            recent_activity=[RecordView.of(record) for record in statistics.recent],
            series=SeriesView.of(by, statistics.series),
        )


class SystemView(ResponseModel):
    """The usage of all users in whole UTC days. The ``by…`` objects have credits by name or day.

    ``byUser`` has the users who spent most. If not all services or models fit in the answer, ``byService`` and
    ``byModel`` have those on which users spent the most. ``tokensByModel`` has up to 100 models of ``byModel``: those
    that cost most. ``truncated`` means that users, services, models or usage by model are left out. The numbers
    that are shown are still exact. All numbers are up to five minutes behind (the stack's parameter StatisticsSeconds).
    ``asOf`` is when the newest counted record was made.
    """

    total_records: int
    total_credits: int
    by_user: dict[str, int]
    by_service: dict[str, int]
    by_day: dict[str, int]
    by_model: dict[str, int]
    tokens: CountsView
    tokens_by_model: dict[str, CountsView]
    truncated: bool
    as_of: Instant | None
    series: SeriesView | None = left_out("Present with `by`")


def _by_model(counts: Mapping[str, Mapping[str, int]]) -> dict[str, CountsView]:
    return {model_id: CountsView.of(each) for model_id, each in counts.items()}


@api.post(
    "/api/usage/record",
    status_code=201,
    access=REPORTERS,
    idempotency="usage",
    codes=(*SPENDING_CODES, "MODEL_UNKNOWN"),
)
def record(body: Record) -> RecordedView:
    """Record a billable event of the caller, and take its credits if ``deduct`` says so.

    The event has either ``credits``, or ``modelId`` and ``usage``, which the service prices. The usage has the
    canonical form or, with ``usageFormat``, the form in which the provider sent it.
    """
    deduct = settings().usage_record_deducts if body.deduct is None else body.deduct
    recorded = operations.record(
        Event(
            user_id=api.caller.user_id,
            service=body.service,
            operation=body.operation,
            cost=body.cost(),
            metadata=body.metadata or {},
            deduct=deduct,
            account_id=api.caller.account(body.account_id),
            actor=api.caller.actor,
            key_id=api.caller.key_id,
            run_id=body.run_id,
        ),
        now=clock(),
        key=key_of(api, body),
    )
    if recorded.replayed:
        api.add_header(REPLAYED_HEADER, "true")
    return RecordedView(
        id=recorded.record.id,
        service=recorded.record.service,
        operation=recorded.record.operation,
        credits=recorded.record.credits,
        usage=recorded.record.usage and UsageView.of(recorded.record.usage),
        deducted=recorded.deducted,
        timestamp=iso(recorded.record.at),
        message="Usage recorded",
    )


@api.get("/api/usage/stats", access=READERS, codes=("API_KEY_NOT_FOUND",))
def own_statistics(
    start_date: StartDate = None,
    end_date: EndDate = None,
    account_id: AccountInQuery = None,
    member: Annotated[UserReference | None, Query(alias="userId", description="An id or e-mail address")] = None,
    key_id: Annotated[Identifier | None, Query(alias="keyId", description="An API key's id")] = None,
    by: By = None,
) -> StatisticsView:
    """Show what the caller used or, with ``accountId``, what an account paid for.

    Owners and admins of an organization see what it paid for all members, or for the member in ``userId``. All other
    members see only what it paid for themselves. With ``keyId``, only usage with this API key counts. With ``by``,
    the answer has ``series``.
    """
    since, until = _range(start_date, end_date, by)
    account = api.account
    if account_id is None and account.id == api.caller.own_account:
        if member is not None:
            raise Invalid.field("userId", "send this only with accountId")
        return StatisticsView.of(operations.statistics(api.caller.user_id, since, until, key_id=key_id, by=by), by)
    user_id = _member(account, member, key_id)
    if user_id is None:
        return StatisticsView.of(operations.statistics_of_account(account.id, since, until, by=by), by)
    found = operations.statistics_of_member(account.id, user_id, since, until, key_id=key_id, by=by)
    return StatisticsView.of(found, by)


def _range(start: str | None, end: str | None, by: operations.By | None) -> tuple[int | None, int | None]:
    """The range that a request asks for. Raises Invalid for a wrong date or a range that ``by`` does not allow."""
    since, until = instants(start, end)
    if by and (since is None or (clock() if until is None else until) - since > MAX_DAYS * DAY):
        raise Invalid.field("startDate", f"is required with by, and must be at most {MAX_DAYS} days before endDate")
    return since, until


def _member(account: Account, member: str | None, key_id: str | None) -> str | None:
    """The member whose usage a request is about; None for all members. Raises Forbidden, ApiKeyNotFound."""
    user_id = None if member is None else _id_of(member)
    if not account.manages:
        if user_id not in (None, api.caller.user_id):
            raise Forbidden("Only the organization's owners and admins may do this")
        return api.caller.user_id
    if key_id is None or user_id is not None:
        return user_id
    key = api_keys.find(key_id)
    if key is None or account.id not in (key.account_id, personal(key.user_id)):
        raise ApiKeyNotFound("API key not found", id=key_id)
    return key.user_id


def _id_of(member: str) -> str:
    """The id of the user whom ``member`` names. If no such user exists, the result is ``member``."""
    try:
        return users.resolve(named_by(api.caller, member)).user.id
    except UserNotFound:
        return member


@api.get("/api/usage/stats/<user_id>", access=Access(Who.SELF_OR_SUPERVISORS, "usage:read"))
def statistics_of(
    user_id: UserInPath, start_date: StartDate = None, end_date: EndDate = None, by: By = None
) -> StatisticsView:
    """Show a user's usage statistics. With ``by``, the answer has ``series``."""
    since, until = _range(start_date, end_date, by)
    return StatisticsView.of(operations.statistics(users.resolve(api.subject).user.id, since, until, by=by), by)


@api.get("/api/usage/system", access=ADMINS)
@api.get("/api/usage/system-stats", access=ADMINS)
def system_statistics(
    start_date: StartDate = None,
    end_date: EndDate = None,
    top: Annotated[Annotated[int, Field(ge=0, le=MAX_TOP), ONLY_DIGITS], Query()] = DEFAULT_TOP,
    by: BySystem = None,
) -> SystemView:
    """Show the usage statistics of all users, by default for the last 30 days.

    With ``by``, the answer has ``series``. ``top`` is how many users are in ``byUser``. The answer is faster if ``top``
    is 0. If ``top`` is 0 and ``by`` is ``user`` or ``account``, then ``byService``, ``byModel`` and ``tokensByModel``
    are empty.
    """
    since, until = instants(start_date, end_date)
    found = system_usage.statistics(since, until, top=top, now=clock(), by=by)
    return SystemView(
        total_records=found.sums.records,
        total_credits=found.sums.credits,
        by_user=found.by_user,
        by_service=found.sums.by_service,
        by_day=found.by_day,
        by_model=found.sums.by_model,
        tokens=CountsView.of(found.sums.counts),
        tokens_by_model=_by_model(found.sums.counts_by_model),
        truncated=found.truncated,
        as_of=None if found.as_of is None else iso(found.as_of),
        series=SeriesView.of(by, found.series),
    )


handler = handler_of(api)
