"""Previews of sessions: the request, the response, and who may ask about whom.

A preview says whether a session would be opened, without opening it.
"""

from typing import Any, Self

from pydantic import Field

from accounting.domain.accounts import AccountId, organization_of, personal
from accounting.domain.api_keys import ApiKey
from accounting.domain.budgets import Bound, Spender
from accounting.domain.errors import (
    AccountingError,
    ApiKeyInvalid,
    ApiKeyNotFound,
    Forbidden,
    MemberNotFound,
    UserNotFound,
)
from accounting.operations.previews import Preview
from accounting.store import api_keys, organizations, users
from accounting.store.users import ById
from accounting.times import iso
from accounting.web.caller import Caller
from accounting.web.subject import named_by
from accounting.web.types import (
    IN_RUN,
    AccountText,
    EstimatedTokens,
    Identifier,
    Instant,
    ModelId,
    RequestModel,
    ResponseModel,
    UserReference,
    left_out,
)
from accounting.web.usage import CanonicalUsage, Variant


class AskPreview(RequestModel):
    """The values that ``initialize`` would get, and the user and API key that would call it.

    The estimate is required, in either ``estimatedTokens`` or ``estimatedUsage``.
    """

    model_id: ModelId
    estimated_tokens: EstimatedTokens | None = None
    estimated_usage: CanonicalUsage | None = None
    variant: Variant | None = None
    user_id: UserReference | None = Field(
        default=None, description="The user who would call: an id or e-mail address, by default the caller"
    )
    account_id: AccountText | None = Field(
        default=None, description="The account that would pay, by default the key's account, else the user's own"
    )
    key_id: Identifier | None = Field(default=None, description="An API key of the user, with which they would call")
    run_id: Identifier | None = IN_RUN


class LimitView(ResponseModel):
    """What a limit has left. The limit is ``balance``, ``member:<id>``, ``members``, ``key:<id>`` or ``run:<id>``."""

    limit: str
    limit_credits: int | None = left_out("What the limit allows in its window; left out for the balance")
    remaining_credits: int
    required_credits: int
    passes: bool
    resets_at: Instant | None = left_out("When its window ends; left out if it never does")

    @classmethod
    def of(cls, bound: Bound, required: int) -> Self:
        return cls(
            limit=bound.name,
            limit_credits=bound.limit,
            remaining_credits=bound.remaining,
            required_credits=required,
            passes=required <= bound.remaining,
            resets_at=None if bound.ends_at is None else iso(bound.ends_at),
        )


class ReasonView(ResponseModel):
    """The refusal that ``initialize`` would give."""

    code: str
    message: str
    details: dict[str, Any]

    @classmethod
    def of(cls, refusal: AccountingError) -> Self:
        return cls(code=refusal.code, message=refusal.message, details=refusal.details)


class PreviewView(ResponseModel):
    """Whether a session would be opened now, with every limit that applies.

    ``requiredCredits`` is what would be held: the estimate plus the buffer. If the stack has
    ``HoldBufferWhenShort=reduce``, and the limits allow the estimate but not the whole buffer, the session would hold
    fewer credits: the lowest ``remainingCredits`` in ``limits``. ``limits`` is empty if the refusal in ``reason`` does
    not depend on the credits.
    """

    passes: bool
    user_id: str
    account_id: AccountId
    estimated_credits: int
    required_credits: int
    limits: list[LimitView]
    reason: ReasonView | None = left_out("Left out if ``passes`` is true")

    @classmethod
    def of(cls, preview: Preview) -> Self:
        refusal, room, required = preview.refusal, preview.room, preview.required
        limits = []
        if room:
            balance = LimitView(
                limit="balance",
                remaining_credits=room.available,
                required_credits=required,
                passes=required <= room.available,
            )
            limits = [balance, *(LimitView.of(bound, required) for bound in room.bounds)]
        return cls(
            passes=refusal is None,
            user_id=preview.spender.user_id,
            account_id=preview.spender.account_id,
            estimated_credits=preview.estimated,
            required_credits=required,
            limits=limits,
            reason=None if refusal is None else ReasonView.of(refusal),
        )


def spender_in(asked: AskPreview, caller: Caller, now: int) -> tuple[Spender, AccountingError | None]:
    """The spender that a request asks about, and the error if its API key would be refused, else None.

    Raises Forbidden if the caller may not ask about this user or API key. Also raises UserNotFound, MemberNotFound and
    ApiKeyNotFound.
    """
    user_id = _user_in(asked, caller)
    if user_id == caller.user_id and asked.key_id in (None, caller.key_id):
        return Spender(user_id, caller.account(asked.account_id), caller.key_id, asked.run_id), None
    if caller.permissions is not None and asked.key_id is not None:
        raise Forbidden("An access token is required here, not an API key")
    account_id = asked.account_id or personal(user_id)
    if asked.key_id is None:
        return Spender(user_id, account_id, None, asked.run_id), None
    key = api_keys.find(asked.key_id)
    if key is None or key.user_id != user_id:
        raise ApiKeyNotFound("API key not found", id=asked.key_id)
    spender = Spender(user_id, asked.account_id or key.account_id or account_id, key.id, asked.run_id)
    return spender, _refusal_of(key, spender.account_id, now)


def _refusal_of(key: ApiKey, account_id: AccountId, now: int) -> AccountingError | None:
    """The error if this API key does not permit a session on the account, else None."""
    if key.refusal(now):
        return ApiKeyInvalid("The API key is invalid")
    with_key = Caller(key.user_id, "", "user", key.permissions, key_id=key.id, key_account=key.account_id)
    try:
        with_key.require_permission("sessions:write")
        with_key.require_key_for(account_id)
    except Forbidden as refusal:
        return refusal
    return None


def _user_in(asked: AskPreview, caller: Caller) -> str:
    """The user that a request asks about.

    Supervisors and administrators may ask about everybody. An organization's owners and admins may ask about its
    members. Other users may ask only about themselves.
    """
    if asked.user_id is None:
        return caller.user_id
    reference = named_by(caller, asked.user_id)
    if reference == ById(caller.user_id):
        return caller.user_id
    if caller.is_supervisor():
        return users.resolve(reference).user.id
    organization_id = organization_of(asked.account_id) if asked.account_id else None
    if organization_id and not caller.service:
        own = organizations.member(organization_id, caller.user_id)
        if own and own.manages:
            return _member(organization_id, asked.user_id)
    caller.require_enabled()
    raise Forbidden("Supervisor access required")


def _member(organization_id: str, reference: str) -> str:
    """The id of the member with this id or e-mail address.

    Raises MemberNotFound even if the user exists, so that a caller learns nothing about users who are not members.
    """
    try:
        user_id = users.resolve(reference).user.id
    except UserNotFound:
        user_id = reference
    if organizations.member(organization_id, user_id) is None:
        raise MemberNotFound("Not a member of the organization", userId=reference)
    return user_id
