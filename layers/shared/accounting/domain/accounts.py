"""Accounts: an account owns a wallet, and pays from it.

Every user has a personal account, which is created with their first credits. An organization has its own account. The
prefix of an account id says whether the owner is a user or an organization. A user id is never read as an account id,
even if it looks like one: ``AccountId`` is a separate type, and only this module creates values of this type.
"""

import re
from typing import NewType

AccountId = NewType("AccountId", str)

PERSONAL = "user:"
ORGANIZATION = "org:"

_ACCOUNT = re.compile(r"user:.+|org:[A-Za-z0-9]{1,26}", re.DOTALL)


def personal(user_id: str) -> AccountId:
    """The id of a user's personal account."""
    return AccountId(PERSONAL + user_id)


def organization(organization_id: str) -> AccountId:
    """The id of an organization's account."""
    return AccountId(ORGANIZATION + organization_id)


def stored(text: str) -> AccountId:
    """An account id that was read from the table."""
    return AccountId(text)


def parsed(text: str) -> AccountId:
    """The account id in a request. Raises ValueError if the text does not have the form of an account id."""
    if not _ACCOUNT.fullmatch(text):
        raise ValueError("must be user:<user id> or org:<organization id>")
    return AccountId(text)


def user_of(account_id: AccountId) -> str | None:
    """The user who owns the account, or None if an organization owns it."""
    return account_id.removeprefix(PERSONAL) if account_id.startswith(PERSONAL) else None


def organization_of(account_id: AccountId) -> str | None:
    """The organization that owns the account, or None if a user owns it."""
    return account_id.removeprefix(ORGANIZATION) if account_id.startswith(ORGANIZATION) else None


def owner_of(account_id: AccountId) -> str:
    """The user who owns the account. Raises LookupError if an organization owns it."""
    user_id = user_of(account_id)
    if user_id is None:
        raise LookupError(f"{account_id} is not a user's personal account")
    return user_id
