"""The user whose data a request is about, decided in the same way for every route that names a user."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import unquote

from accounting.domain.errors import Forbidden
from accounting.store.users import ById, Reference
from accounting.web.caller import Caller


def named_by(caller: Caller, reference: str) -> Reference:
    """The user that a caller means by an id or an e-mail address.

    A caller who sends their own id or address means themselves, even if it is now another user's address or id.
    """
    return ById(caller.user_id) if caller.is_self(reference) else reference


def named_user(caller: Caller, arguments: Mapping[str, Any]) -> Reference:
    """The user that a handler's argument ``user_id`` names, or the caller if there is no such argument."""
    reference = arguments.get("user_id")
    return ById(caller.user_id) if reference is None else named_by(caller, reference)


def self_or(require_role: Callable[[Caller], None], caller: Caller, subject: Reference) -> Reference:
    """The subject of a request, if the caller is the subject or has the role that ``require_role`` requires.

    Raises UserDisabled, and what ``require_role`` raises.
    """
    if subject == ById(caller.user_id):
        caller.require_enabled()
        return subject
    try:
        require_role(caller)
    except Forbidden:
        if isinstance(subject, ById) or unquote(subject) != caller.user_id:
            raise
        return ById(caller.user_id)  # ``subject`` is the caller's own id, URL-encoded
    return subject
