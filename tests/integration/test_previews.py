"""A preview of a session decides as `initialize` does, under every limit, and writes nothing."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING, Any

import pytest

from accounting.domain.accounts import personal, stored
from accounting.domain.budgets import Spender
from accounting.domain.errors import AccountingError, Invalid, MemberNotFound, UserDisabled
from accounting.domain.model_usage import Usage
from accounting.domain.users import Description
from accounting.operations import closing, credits, runs, sessions, users
from accounting.operations.budgets import Requester
from accounting.operations.credits import Request
from accounting.operations.previews import Preview, preview
from accounting.settings import settings
from accounting.store import table
from accounting.store import users as user_store
from accounting.store.users import ById
from accounting.times import DAY
from accounting.web.caller import Caller
from accounting.web.previews import AskPreview, spender_in
from tests.integration.acme import ACME, budget, make_key, make_organization, stream
from tests.integration.conftest import ACCOUNT, NOW
from tests.members import organization_with

if TYPE_CHECKING:
    from tests.calls import Calls
    from tests.integration.acme import MakeUser

OWN = Spender("u1", ACCOUNT)
MEMBER = Spender("u1", ACME)
OWNED = stored("org:owned")


def ask(spender: Spender = OWN, tokens: int = 5_000, usage: Usage | None = None, **more: Any) -> Preview:
    """Preview a session. The default of 5,000 tokens costs 5 credits, and 6 would be held."""
    known: dict[str, Any] = {"variant": None, "refused": None, "now": NOW}
    return preview(spender, "m", tokens, usage=usage, **known | more)


def remaining_credits(found: Preview) -> list[tuple[str, int]]:
    assert found.room is not None
    return [("balance", found.room.available), *((bound.name, bound.remaining) for bound in found.room.bounds)]


def all_items(dynamodb: Any, table_name: str) -> list[Any]:
    pages = dynamodb.get_paginator("scan").paginate(TableName=table_name, ConsistentRead=True)
    found = [table.unpack(item) for page in pages for item in page["Items"]]
    return sorted(found, key=lambda item: (item["pk"], item["sk"]))


def open_session(
    spender: Spender, session_id: str, tokens: int, usage: Usage | None
) -> tuple[int, int] | AccountingError:
    """Open a session, and return its hold and its estimate in credits, or the refusal."""
    try:
        session = sessions.initialize(
            spender.user_id,
            session_id,
            "m",
            tokens,
            now=NOW,
            estimated_usage=usage,
            account_id=spender.account_id,
            key_id=spender.key_id,
            run_id=spender.run_id,
        ).session
    except AccountingError as refusal:
        return refusal
    return session.initial_credits, session.estimated_credits


@pytest.mark.parametrize("reduce", [False, True])
@pytest.mark.parametrize("seed", range(3))
def test_initialize_right_after_a_preview_decides_the_same(
    user: MakeUser, monkeypatch: pytest.MonkeyPatch, seed: int, *, reduce: bool
) -> None:
    chosen = settings()._replace(reduce_short_holds=reduce)
    monkeypatch.setattr("accounting.operations.spending.settings", lambda: chosen)
    rng = random.Random(seed)
    user("u1", 60)
    make_organization()
    key = make_key()
    runs.begin(MEMBER, "r", 40, expires_at=None, metadata={}, now=NOW)
    budget("member:u1", 50)
    budget(f"key:{key}", 45)
    outcomes = set()
    for number in range(40):
        account = rng.choice([ACME, ACCOUNT])
        with_run = rng.choice(["r", None]) if account == ACME else None
        spender = Spender("u1", account, rng.choice([key, None]), with_run)
        tokens, usage = rng.randrange(1, 12_000), None
        if rng.random() < 0.3:
            usage = Usage(rng.randrange(1, 4_000), rng.randrange(1, 4_000))
            tokens = usage.output
        previewed = ask(spender, tokens, usage)
        truth = open_session(spender, f"s{number}", tokens, usage)
        if isinstance(truth, AccountingError):
            assert previewed.refusal is not None
            assert (previewed.refusal.code, previewed.refusal.message) == (truth.code, truth.message)
            assert previewed.refusal.details == truth.details
        else:
            assert previewed.refusal is None
            assert (previewed.required, previewed.estimated) == truth
        outcomes.add(previewed.refusal is None)

    assert outcomes == {False, True}


def test_a_preview_shows_what_is_left_of_each_limit_and_which_limits_would_be_exceeded(user: MakeUser) -> None:
    user("u1")
    make_organization()
    key = make_key()
    budget("members", 100)
    budget(f"key:{key}", 10, window="month")
    runs.begin(MEMBER, "r", 20, expires_at=None, metadata={}, now=NOW)
    stream("s", key_id=key, run_id="r")

    previewed = ask(Spender("u1", ACME, key, "r"))

    assert remaining_credits(previewed) == [("balance", 994), ("members", 94), (f"key:{key}", 4), ("run:r", 14)]
    assert (previewed.required, previewed.estimated) == (6, 5)
    assert previewed.refusal is not None
    assert previewed.refusal.code == "BUDGET_EXCEEDED"
    assert [each["limit"] for each in previewed.refusal.details["limits"]] == [f"key:{key}"]
    assert remaining_credits(ask(MEMBER)) == [("balance", 994), ("members", 94)]
    assert ask(MEMBER).refusal is None


def test_a_preview_writes_nothing(user: MakeUser, dynamodb: Any, table_name: str, calls: Calls) -> None:
    user("u1", 10)
    make_organization()
    budget("members", 3)
    before = all_items(dynamodb, table_name)
    calls.reset()
    for spender in (OWN, MEMBER, Spender("nobody", personal("nobody")), Spender("nobody", ACME)):
        for tokens in (1_000, 10**9):
            ask(spender, tokens)

    assert calls.write_units == 0
    assert all_items(dynamodb, table_name) == before


@pytest.mark.parametrize(("spender", "round_trips"), [(OWN, 1), (MEMBER, 2)])
def test_a_preview_takes_1_round_trip_for_a_personal_account_and_2_for_an_organization(
    user: MakeUser, calls: Calls, spender: Spender, round_trips: int
) -> None:
    user("u1", 10)
    make_organization()
    budget("members", 100)
    ask(spender)  # caches the price rules
    calls.reset()

    ask(spender)

    assert calls.round_trips == round_trips


def test_a_preview_shows_refusals_that_are_not_about_limits(user: MakeUser) -> None:
    user("u1", 10)
    user("u9", 10)
    make_organization()
    runs.begin(OWN, "r", 5, expires_at=None, metadata={}, now=NOW)
    runs.stop(ACCOUNT, "r", by=Requester("u1"), now=NOW)

    def reason(spender: Spender, **more: Any) -> str:
        previewed = ask(spender, **more)
        assert previewed.refusal is not None
        assert previewed.room is None
        return previewed.refusal.code

    assert reason(OWN._replace(run_id="r")) == "RUN_ENDED"
    assert reason(Spender("u9", ACME)) == "ACCOUNT_NOT_FOUND"
    assert reason(Spender("u9", ACCOUNT)) == "ACCOUNT_NOT_FOUND"
    assert reason(OWN, refused=UserDisabled()) == "USER_DISABLED"
    users.disable(ById("u1"), by="boss", reason="", now=NOW)
    assert reason(OWN) == "USER_DISABLED"
    assert reason(MEMBER) == "USER_DISABLED"


def test_a_preview_shows_that_the_organization_is_closed(user: MakeUser) -> None:
    user("u1")
    make_organization()
    closing.close("acme", None, actor="boss", now=NOW)

    previewed = ask(MEMBER)

    assert previewed.refusal is not None
    assert previewed.refusal.code == "ORGANIZATION_CLOSED"


def test_an_unknown_run_or_variant_is_a_bad_request(user: MakeUser) -> None:
    user("u1", 10)

    with pytest.raises(Invalid):
        ask(OWN._replace(run_id="none"))
    with pytest.raises(Invalid):
        ask(OWN, variant="none")


@pytest.mark.parametrize("platform_role", ["supervisor", "admin"])
def test_supervisors_and_administrators_can_preview_for_nonmembers_of_an_organization_that_they_manage(
    user: MakeUser, calls: Calls, platform_role: str
) -> None:
    for name in ("boss", "member", "stranger"):
        user(name)
    organization_with(OWNED, "boss", "member", role="owner")

    def ask_about(user_id: str, role: str) -> Spender:
        asked = AskPreview.model_validate({"modelId": "m", "estimatedTokens": 1, "userId": user_id, "accountId": OWNED})
        return spender_in(asked, Caller("boss", "", role, issued_at=NOW // 1000), NOW)[0]

    for name in ("member", "stranger"):
        assert ask_about(name, platform_role) == Spender(name, OWNED)
    assert ask_about("member", "user") == Spender("member", OWNED)
    with pytest.raises(MemberNotFound):
        ask_about("stranger", "user")
    calls.reset()
    ask_about("member", "user")
    assert calls.round_trips == 3  # one each for the manager's membership, the user, and the user's membership
    # The manager loses the platform role, but still has a token with this role.
    user_store.sync(Description("boss", role="user", issued_at=NOW // 1000, role_at=NOW + DAY), NOW + DAY)
    with pytest.raises(MemberNotFound):
        ask_about("stranger", platform_role)


def test_a_preview_does_not_count_expired_credits(user: MakeUser) -> None:
    user("u1", 10)
    credits.allocate(Request("boss", "u1", "", 30, NOW), 5)

    later = ask(OWN, now=NOW + 40 * 86_400_000)

    assert remaining_credits(later) == [("balance", 0)]
    assert later.refusal is not None
