"""Who pays: an account owns a wallet. Imports nothing of ours.

Every user has a personal account, made with their first credit; an organization has one of its own. The prefix of an
account's id tells which kind it is. A user's id is never read as an account's, whatever it looks like: ``AccountId`` is
a type of its own, and only this module makes one.
"""

from typing import NewType

AccountId = NewType("AccountId", str)

PERSONAL = "user:"
ORGANIZATION = "org:"


def personal(user_id: str) -> AccountId:
    """The id of a user's own account."""
    return AccountId(PERSONAL + user_id)


def stored(text: str) -> AccountId:
    """An account's id as the table has it."""
    return AccountId(text)


def user_of(account_id: AccountId) -> str | None:
    """The user whose own account this is; None of an organization's."""
    return account_id.removeprefix(PERSONAL) if account_id.startswith(PERSONAL) else None


def owner_of(account_id: AccountId) -> str:
    """The user whose own account this is. Raises LookupError of an organization's."""
    user_id = user_of(account_id)
    if user_id is None:
        raise LookupError(f"{account_id} is no user's own account")
    return user_id
