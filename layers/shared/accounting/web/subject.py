"""Whose data a request is about: the one answer for every route that names a user."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from accounting.domain.errors import Forbidden
from accounting.store.users import ById, Reference
from accounting.web.caller import Caller


def named_by(caller: Caller, reference: str) -> Reference:
    """Whom a caller means by an id or an e-mail address.

    Callers who name themselves, by their id or by their address, are themselves: that the address has moved to somebody
    else, or is somebody else's id, makes it no way to the other's data.
    """
    return ById(caller.user_id) if caller.is_self(reference) else reference


def named_user(caller: Caller, arguments: Mapping[str, Any]) -> Reference:
    """The user whom a handler's argument ``user_id`` names; without one, the caller."""
    reference = arguments.get("user_id")
    return ById(caller.user_id) if reference is None else named_by(caller, reference)


def self_or(others: Callable[[Caller], None], caller: Caller, subject: Reference) -> Reference:
    """The subject of a request, if it is the caller or if the caller passes the check ``others``.

    Raises UserDisabled, and what ``others`` raises.
    """
    if subject == ById(caller.user_id):
        caller.require_enabled()
        return subject
    try:
        others(caller)
    except Forbidden:
        if isinstance(subject, ById) or unquote(subject) != caller.user_id:
            raise
        return ById(caller.user_id)
    return subject
