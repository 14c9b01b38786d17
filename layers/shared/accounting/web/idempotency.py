"""The ``Idempotency-Key`` header, which makes it safe to repeat a request."""

import hashlib
import json
import re

from pydantic import BaseModel

from accounting.domain.errors import Invalid
from accounting.store.idempotency import IdempotencyKey
from accounting.web.api import Api

HEADER = "Idempotency-Key"
REPLAYED_HEADER = "Idempotency-Replayed"

_KEY = re.compile(r"[\x21-\x7e]{1,128}")


def key_of(api: Api, body: BaseModel) -> IdempotencyKey | None:
    """The key of the current request, bound to the caller, the route and the body. None if the header is missing.

    The same key counts as two keys if a service sends it for two users. Raises Invalid if the header is malformed, and
    LookupError if the route does not declare that it takes a key.
    """
    if not api.route.idempotency:
        raise LookupError(f"{api.route.rule} declares no idempotency")
    key = api.event.headers.get(HEADER)
    if key is None:
        return None
    if not _KEY.fullmatch(key):
        raise Invalid.field(HEADER, "must be 1 to 128 visible ASCII characters")
    scope, service = api.route.idempotency, api.caller.service
    if service:
        scope += f"@{service.id}"
    return IdempotencyKey(api.caller.user_id, scope, key, fingerprint(body))


def fingerprint(body: BaseModel) -> str:
    """A digest of the fields that were sent and are not null. The order of fields does not matter, at any depth."""
    sent = json.dumps(body.model_dump(mode="json", exclude_unset=True, exclude_none=True), sort_keys=True)
    return hashlib.sha256(sent.encode()).hexdigest()
