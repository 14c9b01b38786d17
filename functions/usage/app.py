"""Usage: recording billable events, and their statistics."""

from typing import Annotated, Self

from aws_lambda_powertools.event_handler.openapi.params import Query
from pydantic import Field, ValidationInfo, field_validator

from accounting.domain.usage import CHAT_SERVICE_PREFIX, UsageRecord
from accounting.operations import system_usage
from accounting.operations import usage as operations
from accounting.operations.usage import Event, Statistics
from accounting.settings import settings
from accounting.store import users
from accounting.times import clock, iso
from accounting.web.access import ADMINS, Access, Disabled, Who
from accounting.web.api import Api, handler_of
from accounting.web.idempotency import REPLAYED_HEADER, key_of
from accounting.web.paging import EndDate, StartDate, instants
from accounting.web.service_key import require_service_key
from accounting.web.types import (
    MAX_LABEL,
    ONLY_DIGITS,
    CreditsOrNone,
    Instant,
    Metadata,
    Operation,
    RequestModel,
    ResponseModel,
    ServiceName,
    StrictFlag,
    UserInPath,
)

DEFAULT_TOP, MAX_TOP = 100, 1000

REPORTERS = Access(Who.USERS, "usage:write", Disabled.OPERATION_DECIDES, require_service_key)

api = Api()


class Record(RequestModel):
    """A billable event; ``deduct`` takes its credits (default: the stack's setting)."""

    service: ServiceName
    operation: Operation
    credits: CreditsOrNone
    metadata: Metadata | None = None
    deduct: StrictFlag | None = None

    @field_validator("operation")
    @classmethod
    def _only_models_have_long_names(cls, operation: str, info: ValidationInfo) -> str:
        if len(operation.encode()) > MAX_LABEL and not str(info.data.get("service")).startswith(CHAT_SERVICE_PREFIX):
            raise ValueError(
                f"at most {MAX_LABEL} bytes of UTF-8, unless it is the model of a service that begins with chat"
            )
        return operation


class RecordedView(ResponseModel):
    """A record as it was made, and whether its credits were taken."""

    id: str
    service: str
    operation: str
    credits: int
    deducted: bool
    timestamp: Instant
    message: str


class RecordView(ResponseModel):
    """A usage record."""

    id: str
    service: str
    operation: str
    credits: int
    metadata: dict[str, object]
    timestamp: Instant

    @classmethod
    def of(cls, record: UsageRecord) -> Self:
        """The view of a record."""
        return cls(
            id=record.id,
            service=record.service,
            operation=record.operation,
            credits=record.credits,
            metadata=record.metadata,
            timestamp=iso(record.at),
        )


class StatisticsView(ResponseModel):
    """A user's usage in a range of time; the maps are from names to credits."""

    total_records: int
    total_credits: int
    by_service: dict[str, int]
    by_day: dict[str, int]
    by_model: dict[str, int]
    recent_activity: list[RecordView]

    @classmethod
    def of(cls, statistics: Statistics) -> Self:
        """The view of a user's statistics."""
        return cls(
            total_records=statistics.sums.records,
            total_credits=statistics.sums.credits,
            by_service=statistics.sums.by_service,
            by_day=statistics.by_day,
            by_model=statistics.sums.by_model,
            recent_activity=[RecordView.of(record) for record in statistics.recent],
        )


class SystemView(ResponseModel):
    """Everybody's usage in whole UTC days; the maps are from names to credits.

    ``byUser`` has the users with the most credits, ``byService`` and ``byModel`` the names that users contributed the
    most credits to, as far as they fit. The numbers are exact; ``truncated`` says that names are left out. ``asOf``
    is when the newest record that counts was made: the sums are seconds behind.
    """

    total_records: int
    total_credits: int
    by_user: dict[str, int]
    by_service: dict[str, int]
    by_day: dict[str, int]
    by_model: dict[str, int]
    truncated: bool
    as_of: Instant | None


@api.post("/api/usage/record", status_code=201, access=REPORTERS, idempotency="usage", codes=("INSUFFICIENT_CREDITS",))
def record(body: Record) -> RecordedView:
    """Record an event of the caller's, and take its credits if asked to."""
    deduct = settings().usage_record_deducts if body.deduct is None else body.deduct
    recorded = operations.record(
        Event(
            user_id=api.caller.user_id,
            service=body.service,
            operation=body.operation,
            cost=body.credits,
            metadata=body.metadata or {},
            deduct=deduct,
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
        deducted=recorded.deducted,
        timestamp=iso(recorded.record.at),
        message="Usage recorded",
    )


@api.get("/api/usage/stats", access=Access(Who.USERS, "usage:read"))
def own_statistics(start_date: StartDate = None, end_date: EndDate = None) -> StatisticsView:
    """The caller's usage."""
    since, until = instants(start_date, end_date)
    return StatisticsView.of(operations.statistics(api.caller.user_id, since, until))


@api.get("/api/usage/stats/<user_id>", access=Access(Who.SELF_OR_SUPERVISORS, "usage:read"))
def statistics_of(user_id: UserInPath, start_date: StartDate = None, end_date: EndDate = None) -> StatisticsView:
    """A user's usage."""
    since, until = instants(start_date, end_date)
    return StatisticsView.of(operations.statistics(users.resolve(api.subject).user.id, since, until))


@api.get("/api/usage/system-stats", access=ADMINS)
@api.get("/api/usage/system", access=ADMINS)
def system_statistics(
    start_date: StartDate = None,
    end_date: EndDate = None,
    top: Annotated[Annotated[int, Field(ge=1, le=MAX_TOP), ONLY_DIGITS], Query()] = DEFAULT_TOP,
) -> SystemView:
    """Everybody's usage: by default of the last 30 days."""
    since, until = instants(start_date, end_date)
    found = system_usage.statistics(since, until, top=top, now=clock())
    return SystemView(
        total_records=found.sums.records,
        total_credits=found.sums.credits,
        by_user=found.by_user,
        by_service=found.sums.by_service,
        by_day=found.by_day,
        by_model=found.sums.by_model,
        truncated=found.truncated,
        as_of=None if found.as_of is None else iso(found.as_of),
    )


handler = handler_of(api)
