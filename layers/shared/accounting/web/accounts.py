"""The account that a request is about."""

from collections.abc import Mapping
from typing import Annotated, Any, NamedTuple

from aws_lambda_powertools.event_handler.openapi.params import Query

from accounting.domain import accounts
from accounting.domain.accounts import AccountId
from accounting.domain.organizations import Member
from accounting.web.types import AccountText

AccountInQuery = Annotated[AccountText | None, Query(alias="accountId", description="`user:<id>` or `org:<id>`")]


class Account(NamedTuple):
    """An account, and the caller's membership in the organization that owns it, if any."""

    id: AccountId
    member: Member | None = None

    @property
    def manages(self) -> bool:
        """Whether the caller sees all of the account. False only for a member who is neither owner nor admin."""
        return self.member is None or self.member.manages


def named_in(arguments: Mapping[str, Any]) -> AccountId | None:
    """The account that a handler's arguments name, if any."""
    if "organization_id" in arguments:
        return accounts.organization(arguments["organization_id"])
    asked: AccountId | None = arguments.get("account_id") or getattr(arguments.get("body"), "account_id", None)
    return asked
