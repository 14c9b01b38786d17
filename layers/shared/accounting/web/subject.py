"""Whose data a request is about: the one answer for every route that names a user."""

from collections.abc import Callable
from urllib.parse import unquote

from accounting.domain.errors import Forbidden
from accounting.store.users import ById, Reference
from accounting.web.api import Api
from accounting.web.caller import Caller, Permission

type Others = Callable[[Caller], None]
"""Raises Forbidden unless a caller may do this with somebody else's data."""


def subject_of(api: Api, reference: str, others: Others, permission: Permission | None = None) -> Reference:
    """Whom the request at hand is about, of a route for users about themselves and for ``others`` about anybody.

    Raises as ``Api.caller`` does, and what ``others`` raises.
    """
    caller = api.even_disabled_caller(permission)
    subject = named_by(caller, reference)
    if isinstance(subject, ById):
        caller.require_enabled()
        return subject
    try:
        others(caller)
    except Forbidden:
        if unquote(reference) != caller.user_id:
            raise
        return ById(caller.user_id)
    return subject


def named_by(caller: Caller, reference: str) -> Reference:
    """Whom a caller means by an id or an e-mail address.

    Callers who name themselves, by their id or by the address that their token says, are themselves: that the address
    has moved to somebody else, or is somebody else's id, makes it no way to the other's data.
    """
    return ById(caller.user_id) if caller.is_self(reference) else reference
