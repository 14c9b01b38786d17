"""The ``X-On-Behalf-Of`` header: the user that a service acts for."""

import re
from collections.abc import Sequence
from urllib.parse import unquote

from accounting.domain.errors import Invalid
from accounting.domain.texts import is_plain
from accounting.domain.users import MAX_USER_ID, RESERVED_USER_IDS

HEADER = "X-On-Behalf-Of"

_ENCODED = re.compile(r"(?:[!-$&-+\--~]|%[0-9A-Fa-f]{2})+")
"""Visible ASCII, in which each ``%`` is followed by two hexadecimal digits.

A comma must be encoded, because proxies join headers of the same name with commas.
"""


def user_id_in(values: Sequence[str]) -> str:
    """The user id in the values of ``X-On-Behalf-Of``, percent-decoded once.

    Raises Invalid if there is not exactly one value, or if the value cannot be a user id. The value
    is always an id, never an e-mail address.
    """
    if len(values) != 1 or not values[0]:
        raise Invalid.field(HEADER, "a service must send the id of the one user that it acts for")
    if not _ENCODED.fullmatch(values[0]):
        raise Invalid.field(HEADER, "must be one user id, percent-encoded in UTF-8")
    try:
        user_id = unquote(values[0], errors="strict")
    except UnicodeDecodeError:
        raise Invalid.field(HEADER, "must be one user id, percent-encoded in UTF-8") from None
    if len(user_id) > MAX_USER_ID or not is_plain(user_id):
        raise Invalid.field(HEADER, f"an id has at most {MAX_USER_ID} characters, and no control characters")
    if user_id in RESERVED_USER_IDS:
        raise Invalid.field(HEADER, "this name is reserved")
    return user_id
