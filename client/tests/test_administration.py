"""What the calls of administrators and supervisors send, and how their answers are read."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from typing import TYPE_CHECKING, Any

import pytest

from client.tests.played import GRANTED, Played, ok
from client.tests.test_paging import AT, rule, session, user

if TYPE_CHECKING:
    from collections.abc import Callable

    from client.tests.conftest import Ask

NOON = datetime(2026, 11, 21, 12, tzinfo=timezone(timedelta(hours=1)))
SENT: list[tuple[Callable[[Any], Any], dict[str, Any], str, str, Any]] = [
    (lambda client: client.disable_user("a/b"), user(1), "POST", "users/a%252Fb/disable", {}),
    (lambda client: client.disable_user("u", "spam"), user(1), "POST", "users/u/disable", {"reason": "spam"}),
    (lambda client: client.enable_user("u"), user(1), "POST", "users/u/enable", {}),
    (
        lambda client: client.end_session("u@example.com", "s/1", "it hangs"),
        session(1),
        "POST",
        "streaming-sessions/u%40example.com/s%252F1/end",
        {"reason": "it hangs"},
    ),
    (
        lambda client: client.withdraw_price("a/m", NOON),
        {"message": "done"},
        "DELETE",
        "pricing/a%252Fm/2026-11-21T11%3A00%3A00.000Z",
        None,
    ),
]


@pytest.mark.parametrize(("act", "answer", "method", "path", "body"), SENT)
def test_a_command_goes_to_its_route(
    ask: Ask, act: Callable[[Any], Any], answer: Any, method: str, path: str, body: Any
) -> None:
    service = Played(ok(answer))

    ask(service, act)

    (request,) = service.requests
    assert request.method == method
    assert request.url.raw_path.decode() == f"/v1/api/{path}"
    assert (service.bodies[0] if request.content else None) == body


def test_a_user_who_is_disabled_comes_with_when_and_why(ask: Ask) -> None:
    answer = user(1) | {"disabled": True, "disabledAt": AT, "disabledReason": "spam"}

    found = ask(Played(ok(answer)), lambda client: client.disable_user("u1", "spam"))

    assert (found.disabled, found.disabled_reason) == (True, "spam")
    assert found.disabled_at == datetime(2026, 11, 21, 8, 30, tzinfo=UTC)
    assert not ask(Played(ok(user(1))), lambda client: client.user("u1")).disabled


GRANTS = {
    "allocate": lambda client, **expiry: client.allocate("u", 5, **expiry),
    "set": lambda client, **expiry: client.set_credits("u", 5, **expiry),
    "adjust": lambda client, **expiry: client.adjust("u", 5, **expiry),
}
ANSWER = GRANTED | {"previousCredits": 7, "adjustment": 5}


@pytest.mark.parametrize("grant", GRANTS.values(), ids=GRANTS)
def test_a_grant_lives_for_days_or_until_an_instant(ask: Ask, grant: Callable[..., Any]) -> None:
    service = Played(ok(ANSWER))

    ask(service, lambda client: grant(client, expires_at=NOON))
    ask(service, lambda client: grant(client, expiry_days=3))
    ask(service, grant)

    assert [(body.get("expiresAt"), body.get("expiryDays")) for body in service.bodies] == [
        ("2026-11-21T11:00:00.000Z", None),
        (None, 3),
        (None, None),
    ]


@pytest.mark.parametrize("grant", GRANTS.values(), ids=GRANTS)
@pytest.mark.parametrize("expiry", [{"expires_at": NOON, "expiry_days": 3}, {"expires_at": NOON.replace(tzinfo=None)}])
def test_an_expiry_that_is_said_twice_or_has_no_zone_is_refused(
    ask: Ask, grant: Callable[..., Any], expiry: dict[str, Any]
) -> None:
    service = Played(ok(ANSWER))

    with pytest.raises(ValueError, match=r"not both|has no time zone"):
        ask(service, lambda client: grant(client, **expiry))
    assert service.requests == []


SETTLED: dict[str, Any] = {"sessionId": "s", "status": "failed", "refund": 0, "overrun": 3, "debt": 0}


def test_a_late_settlement_says_how_much_it_changed_and_what_was_ignored(ask: Ask) -> None:
    late = SETTLED | {"estimatedCredits": 1, "actualCredits": 4, "partialCredits": 4, "lateCredits": -2}
    late |= {"ignored": ["tokens", "modle"]}

    finalized = ask(Played(ok(late)), lambda client: client.finalize("s", 5))
    aborted = ask(Played(ok(late)), lambda client: client.abort("s", 5))

    assert (finalized.late_credits, finalized.ignored) == (-2, ("tokens", "modle"))
    assert (aborted.late_credits, aborted.ignored) == (-2, ("tokens", "modle"))
    del late["lateCredits"], late["ignored"]
    in_time = ask(Played(ok(late)), lambda client: client.finalize("s", 5))
    assert (in_time.late_credits, in_time.ignored) == (None, ())


def test_a_heartbeat_says_what_was_ignored(ask: Ask) -> None:
    beaten = {"sessionId": "s", "tokensGenerated": 5, "allocatedCredits": 1, "expiresAt": AT, "ignored": ["usage"]}

    assert ask(Played(ok(beaten)), lambda client: client.heartbeat("s", 5)).ignored == ("usage",)


def test_a_price_is_added_once_however_often_it_is_sent(ask: Ask) -> None:
    service = Played(ok(rule(1)))

    ask(service, lambda client: client.add_price("m1", 1, idempotency_key="prices-7"))

    assert service.headers("idempotency-key") == ["prices-7"]
