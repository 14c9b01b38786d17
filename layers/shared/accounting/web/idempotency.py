"""The ``Idempotency-Key`` header: what makes a repeat of a request safe."""

import hashlib
import re

from pydantic import BaseModel

from accounting.domain.errors import Invalid
from accounting.store.idempotency import IdempotencyKey
from accounting.web.api import Api

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"

_KEY = re.compile(r"[\x21-\x7e]{1,128}")


def key_of(api: Api, caller: str, route: str, body: BaseModel) -> IdempotencyKey | None:
    """The key of the request at hand, bound to its caller, route and values, if it has one. Raises Invalid."""
    key = api.current_event.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Invalid.field(HEADER, "1 to 128 visible ASCII characters")
    fingerprint = hashlib.sha256(body.model_dump_json().encode()).hexdigest()
    return IdempotencyKey(caller, route, key, fingerprint)
