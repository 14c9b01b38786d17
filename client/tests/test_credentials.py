"""Which credentials the client sends, and when it fetches a new token.

The service key is for internal routes and for reports of usage. With a service credential, a service acts for a user.
"""

from __future__ import annotations

import asyncio
import threading
from typing import TYPE_CHECKING, Any

import httpx
import pytest

from accounting_client import (
    AccountingClient,
    ApiKey,
    ApiKeyInvalid,
    AsyncAccountingClient,
    ServiceCredential,
    TokenExpired,
    Unauthorized,
    Unreachable,
)
from client.tests.conftest import BASE_URL
from client.tests.played import BALANCE, GRANTED, Played, ok, refusal

if TYPE_CHECKING:
    from client.tests.conftest import Ask

SYNCED = {"userId": "u", "email": "u@example.com", "username": "u", "role": "user", "created": True}
HEARTBEAT = {"sessionId": "s", "tokensGenerated": 5, "allocatedCredits": 1, "expiresAt": "2026-12-21T08:30:00.000Z"}


class Tokens:
    """A token function that returns t1, t2, …, and counts its calls."""

    def __init__(self) -> None:
        self.made = 0

    def __call__(self) -> str:
        self.made += 1
        return f"t{self.made}"


def accepting_only(token: str) -> Any:
    """A service that accepts one token. Any other token is refused as expired."""

    def service(request: httpx.Request) -> httpx.Response:
        accepted = request.headers["authorization"] == f"Bearer {token}"
        return ok(BALANCE) if accepted else refusal(401, "TOKEN_EXPIRED")

    return service


@pytest.mark.parametrize(
    ("token", "header"), [("jwt", "Bearer jwt"), (ApiKey("acct_1"), "ApiKey acct_1"), (None, None)]
)
def test_the_client_sends_the_credential_of_its_caller(ask: Ask, token: Any, header: str | None) -> None:
    service = Played(ok(BALANCE))

    ask(service, lambda client: client.balance(), token=token)

    assert service.headers("authorization") == [header]


def test_an_api_key_is_not_printed() -> None:
    assert "acct_1" not in repr(ApiKey("acct_1"))


@pytest.mark.parametrize("code", ["TOKEN_EXPIRED", "TOKEN_INVALID"])
def test_a_refused_token_is_replaced_and_the_request_repeated(ask: Ask, code: str) -> None:
    service, tokens = Played(refusal(401, code), ok(GRANTED), ok(GRANTED)), Tokens()

    ask(service, lambda client: client.allocate("u", 5), token=tokens)
    ask(service, lambda client: client.allocate("u", 5), token=tokens)

    assert service.headers("authorization") == ["Bearer t1", "Bearer t2", "Bearer t3"]
    assert service.headers("idempotency-key")[0] == service.headers("idempotency-key")[1]


def test_an_error_is_raised_if_the_new_token_is_refused_too(ask: Ask) -> None:
    service, tokens = Played(refusal(401, "TOKEN_EXPIRED")), Tokens()

    with pytest.raises(TokenExpired):
        ask(service, lambda client: client.balance(), token=tokens)
    assert tokens.made == len(service.requests) == 2


@pytest.mark.parametrize(
    ("code", "token"), [("TOKEN_EXPIRED", "jwt"), ("API_KEY_INVALID", Tokens()), ("TOKEN_TYPE_INVALID", Tokens())]
)
def test_a_refusal_that_no_new_token_can_fix_is_raised_without_a_retry(ask: Ask, code: str, token: Any) -> None:
    service = Played(refusal(401, code))

    with pytest.raises(Unauthorized):
        ask(service, lambda client: client.balance(), token=token)
    assert len(service.requests) == 1


def test_a_token_function_may_return_an_api_key_and_is_not_called_for_internal_routes(ask: Ask) -> None:
    service = Played(ok(BALANCE))
    ask(service, lambda client: client.balance(), token=lambda: ApiKey("acct_2"))
    assert service.headers("authorization") == ["ApiKey acct_2"]

    tokens = Tokens()
    ask(Played(ok(SYNCED)), lambda client: client.sync_user("u", "u@example.com", "u"), token=tokens)
    assert tokens.made == 0


def test_a_coroutine_function_may_return_the_token() -> None:
    async def token() -> str:
        await asyncio.sleep(0)
        return "late"

    async def run() -> None:
        service = Played(ok(BALANCE))
        async with httpx.AsyncClient(transport=httpx.MockTransport(service)) as http:
            await AsyncAccountingClient(BASE_URL, token, http=http).balance()
        assert service.headers("authorization") == ["Bearer late"]

    asyncio.run(run())


def test_an_expired_token_is_renewed_once_for_many_tasks() -> None:
    tokens = Tokens()

    async def run() -> None:
        async with httpx.AsyncClient(transport=httpx.MockTransport(accepting_only("t2"))) as http:
            client = AsyncAccountingClient(BASE_URL, tokens, http=http)
            await asyncio.gather(*(client.balance() for _ in range(20)))

    asyncio.run(run())
    assert tokens.made == 2


def test_an_expired_token_is_renewed_once_for_many_threads() -> None:
    tokens = Tokens()
    with httpx.Client(transport=httpx.MockTransport(accepting_only("t2"))) as http:
        client = AccountingClient(BASE_URL, tokens, http=http)
        threads = [threading.Thread(target=client.balance) for _ in range(10)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert tokens.made == 2


def test_a_request_with_a_token_has_the_service_key_only_if_it_reports_usage(ask: Ask) -> None:
    service = Played(ok(HEARTBEAT), ok(BALANCE))

    ask(service, lambda client: client.heartbeat("s", 5), service_key="key")
    ask(service, lambda client: client.balance(), service_key="key")

    assert service.headers("x-internal-api-key") == ["key", None]
    assert service.headers("authorization") == ["Bearer jwt", "Bearer jwt"]


def test_an_internal_route_gets_the_service_key_and_no_token(ask: Ask) -> None:
    service = Played(ok(SYNCED))

    ask(service, lambda client: client.sync_user("u", "u@example.com", "u"), service_key="key")

    assert service.headers("x-internal-api-key") == ["key"]
    assert service.headers("authorization") == [None]


def test_validate_api_key_describes_an_invalid_api_key_but_raises_an_error_for_an_invalid_service_key(ask: Ask) -> None:
    refused = httpx.Response(401, json={"valid": False, "code": "EXPIRED", "message": "The API key has expired"})

    validity = ask(Played(refused), lambda client: client.validate_api_key("acct_1"), service_key="key")

    assert (validity.valid, validity.code) == (False, "EXPIRED")
    # The service refuses a wrong service key with the same code as a wrong API key.
    with pytest.raises(ApiKeyInvalid):
        ask(Played(refusal(401, "API_KEY_INVALID")), lambda client: client.validate_api_key("acct_1"))


UNSENDABLE = ["", "secret\n", "sec ret", "sécret", "secret\x00"]


@pytest.mark.parametrize("text", UNSENDABLE)
@pytest.mark.parametrize(
    "made", [lambda text: text, ApiKey, lambda text: lambda: text], ids=["token", "key", "function"]
)
def test_a_credential_that_is_not_valid_in_a_header_is_refused_without_being_shown(
    ask: Ask, made: Any, text: str
) -> None:
    service = Played(ok(BALANCE))

    with pytest.raises(ValueError, match="is empty, or has a space") as refused:
        ask(service, lambda client: client.balance(), token=made(text))
    assert "cret" not in str(refused.value)
    assert service.requests == []


@pytest.mark.parametrize("text", UNSENDABLE)
def test_a_service_key_that_is_not_valid_in_a_header_is_refused_without_being_shown(ask: Ask, text: str) -> None:
    with pytest.raises(ValueError, match="the service key is empty") as refused:
        ask(Played(ok(BALANCE)), lambda client: client.balance(), service_key=text)
    assert "cret" not in str(refused.value)


def test_a_request_that_httpx_refuses_to_send_raises_an_error_without_its_secrets(ask: Ask) -> None:
    service = Played(httpx.LocalProtocolError("Illegal header value b'secret'"))

    with pytest.raises(Unreachable) as refused:
        ask(service, lambda client: client.balance())
    assert "secret" not in repr(refused.value)
    assert refused.value.__cause__ is None


def test_a_token_function_that_returns_no_token_is_refused(ask: Ask) -> None:
    with pytest.raises(TypeError, match="a token must be a str, an ApiKey or a ServiceCredential, not int"):
        ask(Played(ok(BALANCE)), lambda client: client.balance(), token=lambda: 7)


@pytest.mark.parametrize(
    "url", ["", "accounting.example.com", "ftp://accounting.example.com", "https://a\n", "https://"]
)
@pytest.mark.parametrize("kind", [AccountingClient, AsyncAccountingClient])
def test_an_invalid_base_url_is_refused(kind: Any, url: str) -> None:
    with pytest.raises(ValueError, match="not a valid address"):
        kind(url)


def test_for_user_sends_the_user_that_a_service_acts_for(ask: Ask) -> None:
    service = Played(ok(BALANCE), ok(HEARTBEAT), ok(BALANCE))

    credential = ServiceCredential("svc_1_x")
    ask(service, lambda client: client.for_user("Zoë, a/b%").balance(), token=credential)
    ask(service, lambda client: client.for_user("u2").heartbeat("s", 5), token=credential)
    ask(service, lambda client: client.balance(), token=credential)

    assert service.headers("authorization") == ["Service svc_1_x"] * 3
    assert service.headers("x-on-behalf-of") == ["Zo%C3%AB%2C%20a%2Fb%25", "u2", None]
    assert "svc_1" not in repr(credential)


def test_for_user_with_an_empty_user_id_is_refused(ask: Ask) -> None:
    with pytest.raises(ValueError, match="the user id is empty"):
        ask(Played(ok(BALANCE)), lambda client: client.for_user("").balance(), token=ServiceCredential("svc_1_x"))


def test_a_refused_service_credential_is_fetched_again_from_its_function(ask: Ask) -> None:
    service = Played(refusal(401, "SERVICE_CREDENTIAL_INVALID"), ok(BALANCE))
    made = iter(("svc_1_old", "svc_1_new"))

    ask(service, lambda client: client.for_user("u").balance(), token=lambda: ServiceCredential(next(made)))

    assert service.headers("authorization") == ["Service svc_1_old", "Service svc_1_new"]
    assert service.headers("x-on-behalf-of") == ["u", "u"]


def test_one_client_serves_many_users_over_the_same_connections() -> None:
    service = Played(ok(BALANCE))
    with httpx.Client(transport=httpx.MockTransport(service)) as http:
        client = AccountingClient(BASE_URL, http=http)
        with client.with_token("one") as one:
            one.balance()
        client.with_token("other").balance()

    assert service.headers("authorization") == ["Bearer one", "Bearer other"]
