"""The wire to DynamoDB: signed JSON over connections that are kept open, with the same retries as boto3's client.

boto3's client supports every service and every option, which takes most of a request's processor time. ``Wire`` has
only six of the client's methods, with the same arguments, the same exceptions, and the same answers except for
ResponseMetadata. ``Wire`` is stricter in one respect: it never returns an answer that is cut short or has a wrong
checksum. Such an answer counts as lost, so the request is repeated. If the last attempt gets such an answer, too,
``Wire`` raises ConnectionClosedError. boto3's client, in contrast, reads an answer that is cut short as an answer
without an item. If all three attempts get a wrong checksum, boto3's client returns the third answer.

Threads may share a wire.
"""

import hmac
import time
from collections.abc import Mapping
from functools import lru_cache
from hashlib import sha256
from http.client import HTTPException
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit
from zlib import crc32

import orjson

from accounting.store.table.chance import jitter
from accounting.store.table.exchange import Exchange, Reply, lost
from accounting.store.table.surroundings import Place

if TYPE_CHECKING:
    from botocore.retries.quota import RetryQuota

ATTEMPTS = 3
REPEATED_STATUSES = {500, 502, 503, 504}
_CODES = """
BandwidthLimitExceeded EC2ThrottledException LimitExceededException PriorRequestNotComplete
ProvisionedThroughputExceededException ReplicatedWriteConflictException RequestLimitExceeded RequestThrottled
RequestThrottledException RequestTimeout RequestTimeoutException SlowDown ThrottledException Throttling
ThrottlingException TooManyRequestsException TransactionInProgressException
"""
REPEATED_CODES = frozenset(_CODES.split())
"""The codes that botocore's ``standard`` mode retries. A test compares both lists."""
REPEAT_COST, TIMEOUT_COST = 5, 10
"""A retry takes 5 from botocore's quota of 500; after a timeout, a retry takes 10. An empty quota allows no retry.

A call that succeeds gives back what its last retry took, or 1 if it was not retried. If all calls fail, the quota is
soon empty, and the retries stop.
"""


class Wire:
    """The six methods of boto3's client that the store needs."""

    def __init__(self, place: Place) -> None:
        self.place = place
        self._host = _host(place.url)
        self._exchange = Exchange(place)
        self._quota: RetryQuota | None = None

    def get_item(self, **request: Any) -> Any:
        return self.call("GetItem", request)

    def batch_get_item(self, **request: Any) -> Any:
        return self.call("BatchGetItem", request)

    def query(self, **request: Any) -> Any:
        return self.call("Query", request)

    def update_item(self, **request: Any) -> Any:
        return self.call("UpdateItem", request)

    def batch_write_item(self, **request: Any) -> Any:
        return self.call("BatchWriteItem", request)

    def transact_write_items(self, **request: Any) -> Any:
        return self.call("TransactWriteItems", request)

    def call(self, operation: str, request: Mapping[str, Any]) -> dict[str, Any]:
        """Send a request up to three times. Raises what botocore would raise for the last attempt."""
        body, repeats, cost = orjson.dumps(request), 0, 1
        while True:
            try:
                answer = _answer(operation, self.attempt(operation, body), self.place.url)
            except Exception as error:
                cost = self._cost_of_a_repeat(error, repeats)
                if not cost:
                    raise
                time.sleep(jitter(2**repeats))
                repeats += 1
            else:
                if self._quota:
                    self._quota.release(cost)
                return answer

    def attempt(self, operation: str, body: bytes) -> Reply:
        """Sign a request and send it once. If no reply arrives, this raises what botocore would raise."""
        headers = self.signed(operation, body, time.strftime("%Y%m%dT%H%M%SZ", time.gmtime()))
        return self._exchange.reply_to(headers, body)

    def signed(self, operation: str, body: bytes, now: str) -> dict[str, str]:
        """The headers of a request, with AWS's Signature Version 4; ``now`` is like 20270115T080000Z."""
        access_key, secret_key, token = self.place.credentials()
        headers = {
            "content-type": "application/x-amz-json-1.0",
            "host": self._host,
            "x-amz-date": now,
            **({"x-amz-security-token": token} if token else {}),
            "x-amz-target": f"DynamoDB_20120810.{operation}",
        }
        lines, names = "".join(f"{name}:{value}\n" for name, value in headers.items()), ";".join(headers)
        canonical = f"POST\n/\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"
        scope = f"{now[:8]}/{self.place.region}/dynamodb/aws4_request"
        to_sign = f"AWS4-HMAC-SHA256\n{now}\n{scope}\n{sha256(canonical.encode()).hexdigest()}"
        signature = hmac.digest(_signing_key(secret_key, scope), to_sign.encode(), "sha256").hex()
        headers["authorization"] = (
            f"AWS4-HMAC-SHA256 Credential={access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
        )
        headers["user-agent"] = "accounting-service"
        return headers

    def _cost_of_a_repeat(self, error: Exception, repeats: int) -> int:
        """Take the cost of a retry from the quota, and return the cost. Return 0 if the request must not be retried."""
        from botocore import exceptions
        from botocore.retries.quota import RetryQuota

        if isinstance(error, exceptions.ClientError):
            metadata = error.response["ResponseMetadata"]
            metadata["RetryAttempts"] = repeats
            code, status = error.response["Error"]["Code"], metadata["HTTPStatusCode"]
            temporary = code in REPEATED_CODES or status in REPEATED_STATUSES
        else:
            temporary = isinstance(error, (exceptions.ConnectionError, exceptions.HTTPClientError))
        if not temporary or repeats + 1 >= ATTEMPTS:
            return 0
        self._quota = self._quota or RetryQuota()
        timed_out = isinstance(error, (exceptions.ConnectTimeoutError, exceptions.ReadTimeoutError))
        cost = TIMEOUT_COST if timed_out else REPEAT_COST
        return cost if self._quota.acquire(cost) else 0


def _answer(operation: str, reply: Reply, url: str) -> dict[str, Any]:
    """DynamoDB's answer. Raises ClientError for an error, and ConnectionClosedError if the answer cannot be read."""
    try:
        found = orjson.loads(reply.content)
    except orjson.JSONDecodeError:
        found = None  # a proxy's page, or an answer that was cut short
    whole = reply.checksum is None or reply.checksum == str(crc32(reply.content))
    if reply.status != 200 and whole:
        raise _refusal(operation, reply.status, found if isinstance(found, dict) else {})
    if not isinstance(found, dict) or not whole:
        raise lost(HTTPException("an answer that can't be read"), url, connected=True)
    return {name: value for name, value in found.items() if value is not None}


def _refusal(operation: str, status: int, found: dict[str, Any]) -> Exception:
    """The ClientError for an error of DynamoDB, with the error's fields.

    If the error has no code, the HTTP status becomes the code.
    """
    from botocore.exceptions import ClientError

    code = str(found.pop("__type", status)).split(":", 1)[0].rpartition("#")[2]
    message = found.get("message", found.get("Message", ""))
    standard = {"Error": {"Code": code, "Message": message}, "ResponseMetadata": {"HTTPStatusCode": status}}
    response: Any = found | standard
    return ClientError(response, operation)


def _host(url: str) -> str:
    """The Host header, without the scheme's default port."""
    parts = urlsplit(url)
    host = f"[{parts.hostname}]" if ":" in (parts.hostname or "") else str(parts.hostname)
    return host if parts.port in (None, 443 if parts.scheme == "https" else 80) else f"{host}:{parts.port}"


@lru_cache(maxsize=2)
def _signing_key(secret_key: str, scope: str) -> bytes:
    """The signing key for the day, the region and the service in ``scope``."""
    key = f"AWS4{secret_key}".encode()
    for part in scope.split("/"):
        key = hmac.digest(key, part.encode(), "sha256")
    return key
