"""Budgets and runs in requests and responses."""

import re
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, BeforeValidator, Field, StringConstraints, WithJsonSchema

from accounting.domain.api_keys import MAX_ID_LENGTH
from accounting.domain.budgets import MAX_WARNINGS, MEMBERS, key_in, member_in
from accounting.domain.runs import Run
from accounting.domain.texts import CONTROL_CHARACTERS, is_plain
from accounting.domain.users import MAX_USER_ID
from accounting.domain.windows import WindowKind, zone_names
from accounting.operations.budgets import BudgetState
from accounting.times import clock, iso
from accounting.web.types import (
    PAYER,
    AccountText,
    Credits,
    CreditsOrZero,
    Identifier,
    Instant,
    Metadata,
    RequestModel,
    ResponseModel,
    Timestamp,
    decoded_once_or_twice,
    left_out,
)


def _subject(text: str) -> str:
    key_id = key_in(text)
    if not is_plain(text):
        raise ValueError("must not contain control characters")
    if text != MEMBERS and not member_in(text) and not (key_id and re.fullmatch(_KEY_ID, key_id)):
        raise ValueError('must be "members", "member:<user id>" or "key:<key id>"')
    return text


def _zone(name: str) -> str:
    if name not in zone_names():
        raise ValueError("must be the name of an IANA time zone, such as Europe/Berlin")
    return name


def _in_order(levels: tuple[int, ...]) -> tuple[int, ...]:
    return tuple(sorted(set(levels)))


_KEY_ID = rf"[A-Za-z0-9]{{1,{MAX_ID_LENGTH}}}"
_MAX_SUBJECT = len("member:") + MAX_USER_ID
_SUBJECT = rf"^(members|member:[^{CONTROL_CHARACTERS}]+|key:{_KEY_ID})$"
SubjectInPath = Annotated[
    str,
    StringConstraints(strict=True, max_length=_MAX_SUBJECT),
    AfterValidator(_subject),
    BeforeValidator(decoded_once_or_twice),
    WithJsonSchema({"type": "string", "maxLength": _MAX_SUBJECT, "pattern": _SUBJECT}),
]
"""Whom a budget limits: ``member:`` and a user's id, ``members``, or ``key:`` and an API key's id."""
TimeZone = Annotated[str, StringConstraints(strict=True, pattern=r"^[A-Za-z0-9._+/-]{1,64}$"), AfterValidator(_zone)]
Percent = Annotated[int, Field(strict=True, ge=1, le=100)]
WarnAt = Annotated[tuple[Percent, ...], Field(max_length=MAX_WARNINGS), AfterValidator(_in_order)]


class SetBudget(RequestModel):
    """How much the subject may spend from the account in each window.

    ``timeZone`` is an IANA name, by default UTC. In this zone, a day begins at midnight, and a week on Monday.
    ``warnAtPercent`` are percentages of the limit at which the service logs a warning.
    """

    limit_credits: CreditsOrZero
    window: WindowKind
    time_zone: TimeZone | None = None
    warn_at_percent: WarnAt | None = None


class BudgetView(ResponseModel):
    """A budget and its current window. ``committedCredits`` is what is held plus what was spent in this window.

    A budget of ``members`` counts each member separately. It has ``committedCredits`` only if the request names one
    member. ``fromAdministrator`` marks a budget that an administrator has set. If such a budget belongs to a personal
    account, only an administrator can change it.
    """

    account_id: str
    subject: str
    limit_credits: int
    committed_credits: int | None = left_out()
    remaining_credits: int | None = left_out()
    window: WindowKind
    time_zone: str
    window_starts_at: Instant | None = left_out("Left out if `window` is `total`")
    resets_at: Instant | None = left_out("Left out if `window` is `total`: such a budget never resets")
    warn_at_percent: list[int]
    from_administrator: bool | None = left_out()

    @classmethod
    def of(cls, state: BudgetState) -> Self:
        budget, window, committed = state.budget, state.window, state.committed
        return cls(
            account_id=budget.account_id,
            subject=budget.subject,
            limit_credits=budget.limit,
            committed_credits=committed,
            remaining_credits=None if committed is None else max(0, budget.limit - committed),
            window=budget.window,
            time_zone=budget.zone,
            window_starts_at=None if window.resets_at is None else iso(window.starts_at),
            resets_at=None if window.resets_at is None else iso(window.resets_at),
            warn_at_percent=list(budget.warn_at),
            from_administrator=budget.by_platform or None,
        )


class BudgetsView(ResponseModel):
    """A page of an account's budgets, in the order of their subjects."""

    budgets: list[BudgetView]
    next_cursor: str | None = left_out()


class BudgetDeletedView(ResponseModel):
    """A confirmation that the budget was deleted."""

    message: str


class BeginRun(RequestModel):
    """A run: a limit that sessions and usage records share.

    The client chooses ``runId``, which is unique in the account. Without ``expiresAt``, the run expires after 30 days.
    """

    run_id: Identifier
    limit_credits: Credits
    account_id: AccountText | None = PAYER
    expires_at: Timestamp | None = None
    metadata: Metadata | None = None


class RunView(ResponseModel):
    """A run. ``committedCredits`` is ``spentCredits`` plus what the run's active sessions hold."""

    account_id: str
    run_id: str
    user_id: str
    status: Literal["active", "stopped", "expired"]
    limit_credits: int
    committed_credits: int
    spent_credits: int
    remaining_credits: int
    sessions: int
    records: int
    created_at: Instant
    expires_at: Instant
    stopped_at: Instant | None = left_out()

    @classmethod
    def of(cls, run: Run) -> Self:
        return cls(
            account_id=run.account_id,
            run_id=run.id,
            user_id=run.user_id,
            status=run.status(clock()),
            limit_credits=run.limit,
            committed_credits=run.committed,
            spent_credits=run.spent,
            remaining_credits=run.remaining,
            sessions=run.sessions,
            records=run.records,
            created_at=iso(run.created_at),
            expires_at=iso(run.expires_at),
            stopped_at=None if run.stopped_at is None else iso(run.stopped_at),
        )


class BegunView(RunView):
    """A run that has begun. ``replayed`` is true if an earlier, equal request began it."""

    replayed: bool | None = left_out()


class SummaryView(RunView):
    """A run with the credits that it spent on each model, and its metadata."""

    by_model: dict[str, int]
    metadata: dict[str, object]
