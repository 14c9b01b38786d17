"""Services of the platform that act for users, over HTTP.

`tests/outages/test_ended_services.py` tests how they lose access.
"""

from __future__ import annotations

import asyncio
import re
import time
from typing import TYPE_CHECKING, Any

import pytest

from accounting.web.caller import CLOCK_LEEWAY_SECONDS
from local.paths import ROOT
from tests.e2e.client import (
    MODEL,
    RIGHTS_OF_A_PROXY,
    Person,
    as_service,
    assert_refused,
    described,
    issue_credential,
    new_id,
)
from tests.e2e.test_client import Model

if TYPE_CHECKING:
    import httpx

    from local.stack import Stack
    from tests.e2e.conftest import Mint, People

PAGE = ROOT / "docs/services.md"


@pytest.fixture
def new_credential(admin: Person) -> dict[str, str]:
    """Return a new credential and its id."""
    return issue_credential(admin, *RIGHTS_OF_A_PROXY)


@pytest.mark.slow
def test_a_service_settles_a_stream_after_the_users_token_has_expired(
    http: httpx.Client, token: Mint, people: People, new_credential: dict[str, str]
) -> None:
    person = people(credits=100)
    brief = Person(http, person.id, token(person.id, exp=int(time.time()) - CLOCK_LEEWAY_SECONDS + 3))
    session_id = brief.open(1000)
    time.sleep(3.5)
    assert_refused(brief.finalize(session_id, 500), 401, "TOKEN_EXPIRED")

    settled = as_service(http, new_credential["credential"], person.id).finalize(session_id, 500)

    assert settled.status_code == 200, described(settled)
    assert (settled.json()["actualCredits"], person.balance()["heldCredits"]) == (1, 0)


def test_one_credential_serves_many_users_and_keeps_their_data_apart(
    http: httpx.Client, people: People, new_credential: dict[str, str]
) -> None:
    for credits in (7, 9):
        person = people(credits=credits)
        balance = as_service(http, new_credential["credential"], person.id).balance()
        assert (balance["userId"], balance["totalCredits"]) == (person.id, credits)


@pytest.mark.parametrize("user_id", ["Zoë Müller", "a/b, c", "auth0|x%41"])
def test_an_id_with_special_characters_is_the_same_in_the_header_and_in_the_table(
    http: httpx.Client, admin: Person, new_credential: dict[str, str], user_id: str
) -> None:
    unique = f"{user_id} {new_id('u')}"
    service = as_service(http, new_credential["credential"], unique)
    refused = service.post("streaming-sessions/initialize", {"sessionId": "s", "modelId": MODEL, "estimatedTokens": 1})
    assert_refused(refused, 402, "INSUFFICIENT_CREDITS")

    admin.ok("POST", "credits/allocate", {"userId": unique, "credits": 5})

    assert service.balance()["totalCredits"] == 5


def test_a_request_that_does_not_name_exactly_one_user_is_refused(
    http: httpx.Client, people: People, new_credential: dict[str, str]
) -> None:
    one, other = people(credits=1), people(credits=1)
    for sent in ([], [""], [one.id, other.id], [f"{one.id}, {other.id}"], ["me"], ["%zz"]):
        headers = [
            ("Authorization", f"Service {new_credential['credential']}"),
            *(("X-On-Behalf-Of", each) for each in sent),
        ]
        details = assert_refused(http.get("/api/credits/balance", headers=headers), 400, "VALIDATION_ERROR")
        assert details["errors"][0]["field"] == "X-On-Behalf-Of"
    headers = [("Authorization", f"Service {new_credential['credential']}"), ("x-on-behalf-of", one.id)]
    assert http.get("/api/credits/balance", headers=headers).status_code == 200


def test_a_user_cannot_act_for_another_user_by_sending_x_on_behalf_of(people: People) -> None:
    one, other = people(credits=3), people(credits=4)

    assert one.call("GET", "credits/balance", headers={"X-On-Behalf-Of": other.id}).json()["totalCredits"] == 3


@pytest.mark.parametrize("wrong", ["x", "svc_x_y", "Bearer", "acct_x_y"])
def test_a_wrong_credential_is_refused_by_the_gateway(
    http: httpx.Client, people: People, new_credential: dict[str, str], wrong: str
) -> None:
    answer = as_service(http, f"{new_credential['credential']}x" if wrong == "x" else wrong, people().id).get(
        "credits/balance"
    )

    assert_refused(answer, 401, "SERVICE_CREDENTIAL_INVALID")


def test_the_example_programs_in_docs_services_work(
    service: Stack, admin: Person, people: People, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    person, poor = people(credits=10), people()
    monkeypatch.setenv("ACCOUNTING_URL", service.base_url)
    monkeypatch.setenv("ACCOUNTING_ADMIN_TOKEN", admin.token)
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    make, proxy, job, rotate = re.findall(r"```python\n(.*?)```", PAGE.read_text(), re.DOTALL)
    module: dict[str, Any] = {"llm": Model()}

    exec(compile(make, PAGE.name, "exec"), module)
    monkeypatch.setenv("ACCOUNTING_SERVICE", capsys.readouterr().out.split()[1])
    exec(compile(proxy, PAGE.name, "exec"), module)
    assert asyncio.run(proxy_answer(module, person.id)) == "Because." * 4
    module["admin"].change_service_credential(module["made"].id, rights=["usage"])
    exec(compile(job, PAGE.name, "exec"), module)
    for _ in range(2):
        assert module["charge"]({person.id: 3, poor.id: 3}, "2027-01-15") == [poor.id]
    exec(compile(rotate, PAGE.name, "exec"), module)
    assert capsys.readouterr().out.startswith("svc_")

    assert person.balance()["totalCredits"] == 10 - 1 - 3
    records = person.ok("GET", "usage/stats")["recentActivity"]
    assert [each["credits"] for each in records] == [3, 1]
    assert {each["actor"] for each in records} == {f"service:{module['made'].id}"}


async def proxy_answer(module: dict[str, Any], user_id: str) -> str:
    """Return the answer of the chat proxy in docs/services.md."""
    estimate = {"inputTokens": 4, "outputTokens": 100}
    answer = "".join([text async for text in module["answer"](user_id, "Why?", estimate)])
    await module["accounting"].aclose()
    return answer
