"""How tokens and syncs change a user, and which user an e-mail address belongs to.

In a sync, the platform tells the service about a user. A statement is what a token or a sync says about a user. A token
is ahead if its issue time is still in the future when it arrives. A claim is a statement that names an address. A
pointer stores the holder of an address and the other users who claimed it. A namesake is a user whose id is the same
text as an address. A request with this text is about the user who had the text first.
"""

import pytest

from accounting.domain import users
from accounting.domain.errors import Invalid, UserErased
from accounting.domain.users import MAX_FORMER_HOLDERS, Description, Pointer, User, claimed, effective_role, heir

NOW = 1_800_000_000_000
KNOWN = User("u1", "a@x.y", "Anna", "supervisor", created_at=1, updated_at=2, email_at=5, username_at=5, role_at=5_000)


@pytest.mark.parametrize(
    "statement",
    [
        Description("u1", issued_at=9, role_at=9_000),
        Description("u1", email="b@x.y", username="B", role="admin", issued_at=4, role_at=4_999),
        Description("u1", email="a@x.y", username="Anna", role="supervisor", issued_at=5, role_at=5_000),
    ],
    ids=["nothing", "older", "the same again"],
)
def test_a_statement_without_news_changes_nothing(statement: Description) -> None:
    assert statement.applied_to(KNOWN, NOW) == KNOWN


def test_a_statement_changes_only_the_values_that_it_has() -> None:
    email = Description("u1", email="b@x.y", issued_at=6, role_at=6_000).applied_to(KNOWN, NOW)
    role = Description("u1", role="user", issued_at=6, role_at=6_000).applied_to(KNOWN, NOW)

    assert email == KNOWN._replace(email="b@x.y", email_at=6, updated_at=NOW)
    assert role == KNOWN._replace(role="user", role_at=6_000, updated_at=NOW)


def test_the_newest_role_counts_regardless_of_newer_usernames() -> None:
    renamed = Description("u1", username="Ann", issued_at=9, role_at=9_000).applied_to(KNOWN, NOW)
    demoted = Description("u1", username="A", role="user", issued_at=7, role_at=7_000).applied_to(renamed, NOW)

    assert (demoted.username, demoted.role) == ("Ann", "user")


def test_a_newer_statement_of_the_same_role_updates_the_time_of_the_role() -> None:
    again = Description("u1", role="supervisor", issued_at=9, role_at=9_000).applied_to(KNOWN, NOW)
    older = Description("u1", role="admin", issued_at=7, role_at=7_000).applied_to(again, NOW)

    assert older.role == "supervisor"


def test_the_newest_email_counts_regardless_of_newer_usernames() -> None:
    renamed = Description("u1", username="Ann", issued_at=90).applied_to(KNOWN, NOW)
    moved = Description("u1", email="b@x.y", username="A", issued_at=50).applied_to(renamed, NOW)

    assert (moved.email, moved.username) == ("b@x.y", "Ann")
    assert (moved.email_at, moved.username_at) == (50, 90)


def of_a_token(second: int, **values: str) -> Description:
    return Description("u1", issued_at=second, role_at=second * 1000, **values)


def of_a_sync(now: int, role: str | None, email: str = "sync@x.y") -> Description:
    return Description.by_the_platform("u1", email=email, username="S", role=role, now=now)


SECOND = NOW // 1000


def test_a_sync_replaces_the_values_of_an_earlier_token_that_is_ahead() -> None:
    ahead = of_a_token(SECOND + 25, role="admin", email="t@x.y", username="T")
    after_token = ahead.applied_to(KNOWN, NOW)
    synced = of_a_sync(NOW + 200, "user").applied_to(after_token, NOW + 200)

    assert (after_token.role, after_token.email, after_token.role_at) == ("admin", "t@x.y", NOW + 1_000)
    assert (synced.role, synced.email, synced.username) == ("user", "sync@x.y", "S")
    for later in (NOW + 300, NOW + 5_000, NOW + 25_000, NOW + 60_000):
        again = ahead.applied_to(synced, later)
        assert again == synced, "the token changes nothing, neither before its issue time nor after it"
        assert effective_role("admin", (SECOND + 25) * 1000, again) == "user"
    after = of_a_token(SECOND + 26, role="admin").applied_to(synced, NOW + 26_000)
    assert effective_role("admin", (SECOND + 26) * 1000, after) == after.role == "admin"


def test_a_token_that_is_ahead_changes_nothing_when_it_arrives_again() -> None:
    ahead = of_a_token(SECOND + 25, role="admin", email="t@x.y", username="T")
    after_token = ahead.applied_to(KNOWN, NOW)

    assert ahead.applied_to(after_token, NOW + 3_000) == after_token
    assert effective_role("admin", (SECOND + 25) * 1000, after_token) == "admin"


def test_a_token_that_arrives_later_lowers_the_role_set_by_a_token_that_was_ahead() -> None:
    after_token = of_a_token(SECOND + 25, role="admin").applied_to(KNOWN, NOW)
    demoted = of_a_token(SECOND + 10, role="user").applied_to(after_token, NOW + 10_000)

    assert demoted.role == "user"
    again = of_a_token(SECOND + 25, role="admin").applied_to(demoted, NOW + 30_000)
    assert effective_role("admin", (SECOND + 25) * 1000, again) == "user"


@pytest.mark.parametrize("later", [1, 500, 2_000])
def test_a_token_that_is_ahead_replaces_the_role_of_an_earlier_sync(later: int) -> None:
    synced = of_a_sync(NOW + 400, "user").applied_to(KNOWN, NOW + 400)
    now = NOW + 400 + later
    after_token = of_a_token(SECOND + 25, role="admin").applied_to(synced, now)

    assert after_token.role == "admin"
    assert now <= after_token.role_at <= now + 1_000, "the role is dated at most a second after the token arrived"
    assert of_a_sync(now + 1, "user").applied_to(after_token, now + 1).role == "user"


@pytest.mark.parametrize("now", [NOW, NOW + 25_000], ids=["arrival", "issue time"])
def test_a_sync_counts_even_at_the_exact_time_of_a_token_that_is_ahead(now: int) -> None:
    after_token = of_a_token(SECOND + 25, role="admin", email="t@x.y").applied_to(KNOWN, NOW)
    synced = of_a_sync(now, "user").applied_to(after_token, now)

    assert (synced.role, synced.email) == ("user", "sync@x.y")


def test_a_sync_replaces_the_role_of_a_stored_statement_from_the_future() -> None:
    synced = of_a_sync(NOW, "user").applied_to(KNOWN._replace(role="admin", role_at=NOW + 25_000), NOW)

    assert synced.role == "user"


@pytest.mark.parametrize(("now", "role_at"), [(NOW, NOW + 1), (NOW + 1, NOW + 1), (NOW + 500, NOW + 500)])
def test_the_role_of_a_sync_is_never_dated_to_the_first_millisecond_of_a_second(now: int, role_at: int) -> None:
    """Tokens are always dated to that millisecond, and a token of the same second must count as older."""
    statement = Description.by_the_platform("u1", email="a@x.y", username="A", role="user", now=now)

    assert statement == Description("u1", "a@x.y", "A", "user", issued_at=SECOND, role_at=role_at)


def test_a_late_sync_does_not_undo_the_role_of_a_newer_sync_of_the_same_second() -> None:
    newer = of_a_sync(NOW + 500, "user").applied_to(KNOWN, NOW + 500)

    assert of_a_sync(NOW + 300, "admin").applied_to(newer, NOW + 600).role == "user"
    assert of_a_sync(NOW + 500, "admin").applied_to(newer, NOW + 600).role == "admin", (
        "of two syncs with the same time, the last to arrive counts"
    )


def test_a_late_sync_does_not_undo_the_role_of_a_newer_token() -> None:
    after_token = of_a_token(SECOND, role="admin").applied_to(KNOWN, NOW)

    assert of_a_sync(NOW - 500, "user").applied_to(after_token, NOW + 2_000).role == "admin"


def test_a_token_issued_in_the_same_second_as_a_sync_does_not_change_the_role() -> None:
    synced = of_a_sync(NOW + 200, "supervisor").applied_to(KNOWN, NOW + 200)

    for role in ("user", "admin"):
        assert of_a_token(SECOND, role=role).applied_to(synced, NOW + 300).role == "supervisor"


def test_a_token_that_is_ahead_counts_as_issued_at_the_end_of_the_second_in_which_it_arrived() -> None:
    """So a token that was issued in that second does not change the role."""
    after_token = of_a_token(SECOND + 25, role="admin").applied_to(KNOWN, NOW)

    assert of_a_token(SECOND, role="user").applied_to(after_token, NOW).role == "admin"


def test_a_token_that_may_be_older_than_a_sync_does_not_lower_the_role_of_the_sync() -> None:
    """The first token shows that the issuer's clock is ahead.

    The second token may therefore be older than its issue time says, and older than the sync.
    """
    after_token = of_a_token(SECOND + 25, role="admin").applied_to(KNOWN, NOW)
    synced = of_a_sync(NOW + 200, "supervisor").applied_to(after_token, NOW + 200)

    assert of_a_token(SECOND + 10, role="user").applied_to(synced, NOW + 10_000).role == "supervisor"


def test_if_two_tokens_have_the_same_issue_time_the_last_to_arrive_decides_the_role() -> None:
    assert of_a_token(5, role="user").applied_to(KNOWN, NOW).role == "user"


def test_a_token_that_arrives_in_the_second_when_it_was_issued_is_not_ahead() -> None:
    assert of_a_token(SECOND, username="A").applied_to(KNOWN, NOW).ahead == 0
    assert of_a_token(SECOND + 1, username="A").applied_to(KNOWN, NOW).ahead == SECOND + 1


@pytest.mark.parametrize("now", [2, 3, NOW])
def test_every_change_has_a_different_updated_at_even_within_a_millisecond(now: int) -> None:
    changed = of_a_token(9, username="A").applied_to(KNOWN, now)
    disabled = users.disabled(KNOWN, by="boss", reason="left", now=now)

    assert changed.updated_at == disabled.updated_at == max(3, now)
    assert users.enabled(disabled, now=now).updated_at == max(4, now + 1)


def test_a_new_user_without_a_role_gets_the_role_user() -> None:
    made = Description("u1").applied_to(None, NOW)

    assert made == User("u1", "", "", "user", created_at=NOW, updated_at=NOW)


def test_no_statement_enables_a_disabled_user() -> None:
    known = KNOWN._replace(disabled_at=7, disabled_reason="left")

    after = of_a_token(9, email="b@x.y", role="admin").applied_to(known, NOW)
    synced = of_a_sync(NOW, "user").applied_to(known, NOW)

    assert after.disabled
    assert (after.email, after.email_at) == (known.email, known.email_at), (
        "a disabled user's token changes neither the address nor the time of the claim to it"
    )
    assert synced.disabled
    assert synced.email == "sync@x.y"


@pytest.mark.parametrize("now", [NOW, NOW + 1, NOW + 999])
def test_a_token_issued_in_the_same_second_as_a_sync_counts_as_older(now: int) -> None:
    synced = Description.by_the_platform("u1", email="a@x.y", username="A", role="user", now=now)
    known = synced.applied_to(KNOWN, now)
    token_at = now // 1000 * 1000

    assert effective_role("admin", token_at, known) == "user"
    assert effective_role("admin", token_at + 1000, known) == "admin"


@pytest.mark.parametrize(
    ("in_token", "stored", "acts_as"),
    [
        ("admin", "user", "user"),
        ("admin", "supervisor", "supervisor"),
        ("supervisor", "admin", "supervisor"),
        ("user", "admin", "user"),
        ("admin", "admin", "admin"),
    ],
)
def test_a_newer_statement_can_lower_a_tokens_role_but_not_raise_it(in_token: str, stored: str, acts_as: str) -> None:
    user = KNOWN._replace(role=stored)

    assert effective_role(in_token, 4_999, user) == acts_as
    assert effective_role(in_token, 5_000, user) == in_token
    assert effective_role(in_token, 0, None) == in_token


def test_disabling_twice_keeps_the_first_time_and_reason() -> None:
    once = users.disabled(KNOWN, by="boss", reason="left", now=NOW)

    assert (once.disabled_at, once.disabled_reason) == (NOW, "left")
    assert users.disabled(once, by="boss", reason="other", now=NOW + 1) == once
    assert users.enabled(KNOWN, now=NOW) == KNOWN
    assert users.enabled(once, now=NOW) == KNOWN._replace(updated_at=NOW + 1)


def test_an_administrator_cannot_disable_themselves() -> None:
    with pytest.raises(Invalid) as refused:
        users.disabled(KNOWN, by="u1", reason="", now=NOW)

    assert str(refused.value) == "userId: an administrator cannot disable themselves"


def test_an_address_remembers_each_of_its_last_holders_once() -> None:
    pointer = Pointer("a@x.y", "u0", 0, since=0)
    for number in range(1, 30):
        pointer = pointer.held_by(f"u{number}", number)
    pointer = pointer.held_by("u25", 30)

    assert (pointer.user_id, pointer.issued_at, len(pointer.former)) == ("u25", 30, MAX_FORMER_HOLDERS)
    assert pointer.former[0] == "u0", "later holders do not displace the first one"
    assert pointer.former[-2:] == ("u28", "u29")
    assert "u25" not in pointer.former
    back = pointer.passed_to(User("u29", "a@x.y", "", "user", email_at=29))
    assert (back.user_id, back.issued_at, back.since) == ("u29", 29, 0)
    assert back.former[-1] == "u28"
    assert "u25" not in back.former, "u25 gave up the address, so it cannot return to u25"


def test_a_user_who_gives_up_a_claim_no_longer_waits_for_the_address() -> None:
    pointer = Pointer("a@x.y", "u1", 9, since=5, former=("u2", "u3"))

    assert pointer.without("u2") == pointer._replace(former=("u3",))
    assert pointer.without("u4") == pointer


def test_a_claim_gets_a_free_address() -> None:
    assert claimed(None, KNOWN, holder=None, namesakes=[], now=NOW) == Pointer("a@x.y", "u1", 5, since=NOW)
    assert claimed(None, KNOWN, holder=None, namesakes=[KNOWN], now=NOW) is not None, (
        "an address that is the user's own id may be claimed"
    )


def test_a_repeated_claim_of_the_holder_updates_the_time_of_the_claim() -> None:
    pointer = Pointer("a@x.y", "u1", 4, since=0, former=("u2",))

    assert claimed(pointer, KNOWN, holder=KNOWN, namesakes=[], now=NOW) == pointer._replace(issued_at=5)


@pytest.mark.parametrize(
    ("email", "email_at", "holds"),
    [("a@x.y", 4, "u1"), ("a@x.y", 5, "u1"), ("a@x.y", 6, "u2"), ("b@x.y", 6, "u1")],
)
def test_the_newest_claim_gets_an_address(email: str, email_at: int, holds: str) -> None:
    """If two claims have the same time, the last to arrive counts. A holder whose address has changed has no claim."""
    holder = User("u2", email, "", "user", email_at=email_at)

    after = claimed(Pointer("a@x.y", "u2", 3, since=0), KNOWN, holder=holder, namesakes=[], now=NOW)

    assert after == Pointer("a@x.y", holds, 5 if holds == "u1" else 3, 0, ("u2",) if holds == "u1" else ("u1",))


HELD = Pointer("a@x.y", "u1", 5, since=0)


@pytest.mark.parametrize(
    ("known", "pointer", "must_claim"),
    [
        (None, None, True),
        (None, HELD, True),
        (KNOWN, None, False),
        (KNOWN._replace(email_at=4), HELD, False),
        (KNOWN._replace(email_at=4), None, True),
        (KNOWN._replace(email_at=4), HELD._replace(user_id="u2"), True),
        (KNOWN._replace(email="b@x.y"), HELD, True),
    ],
)
def test_a_newer_statement_claims_its_address_unless_the_user_and_the_pointer_already_agree(
    known: User | None, pointer: Pointer | None, must_claim: bool
) -> None:
    assert users.must_claim(known, KNOWN, pointer) is must_claim


def test_a_user_without_an_address_claims_none() -> None:
    assert not users.must_claim(None, KNOWN._replace(email=""), None)


@pytest.mark.parametrize(("created_at", "can_claim"), [(50, False), (100, False), (101, True)])
def test_an_address_that_was_first_a_users_id_cannot_be_claimed(created_at: int, can_claim: bool) -> None:
    namesake = User("a@x.y", "", "", "user", created_at=created_at)
    pointer = Pointer("a@x.y", "u2", 1, since=100)

    assert claimed(None, KNOWN, holder=None, namesakes=[namesake], now=NOW) is None
    moved = claimed(pointer, KNOWN, holder=None, namesakes=[namesake], now=NOW)
    assert (moved is not None) == can_claim
    assert users.is_meant_by_id(namesake, pointer) != can_claim


def test_an_older_claim_waits_for_an_address_unless_its_user_is_disabled() -> None:
    holder = User("u2", "a@x.y", "", "user", email_at=9)
    pointer = Pointer("a@x.y", "u2", 9, since=0)

    waiting = claimed(pointer, KNOWN, holder=holder, namesakes=[], now=NOW)
    assert waiting == pointer._replace(former=("u1",))
    assert claimed(waiting, KNOWN, holder=holder, namesakes=[], now=NOW) is None
    for email_at in (5, 10):
        user = KNOWN._replace(email_at=email_at, disabled_at=1)
        assert claimed(pointer, user, holder=holder, namesakes=[], now=NOW) is None
    assert claimed(None, KNOWN._replace(disabled_at=1), holder=None, namesakes=[], now=NOW) is None


def test_the_newest_claim_gets_an_address_that_is_given_up() -> None:
    older, newer = (User(f"u{at}", "A@x.y", "", "user", email_at=at) for at in (1, 2))
    elsewhere = User("u3", "b@x.y", "", "user", email_at=3)
    disabled = User("u4", "a@x.y", "", "user", email_at=4, disabled_at=1)

    assert heir("a@x.y", [elsewhere, newer, older, disabled]) == newer
    assert heir("a@x.y", [elsewhere, disabled]) == disabled
    assert heir("a@x.y", [elsewhere]) is None


def test_erasing_a_user_removes_all_personal_values() -> None:
    known = User("u1", "a@x.org", "a", "admin", created_at=5, updated_at=7, disabled_reason="spam", more={"phone": "1"})

    erased = users.erased(known, by="boss", now=100)

    assert erased == User("u1", "", "", "admin", created_at=5, updated_at=100, disabled_at=100, erased_at=100)
    assert users.erased(erased, by="boss", now=200) is erased
    before = users.disabled(known, by="boss", reason="spam", now=50)
    assert users.erased(before, by="boss", now=100).disabled_at == 50


def test_an_administrator_cannot_erase_themselves() -> None:
    with pytest.raises(Invalid) as refused:
        users.erased(KNOWN, by="u1", now=100)

    assert refused.value.details["errors"] == [
        {"field": "userId", "problem": "an administrator cannot erase themselves"},
    ]


def test_no_later_statement_changes_an_erased_user() -> None:
    erased = users.erased(User("u1", "a@x.org", "a", "user"), by="boss", now=1_000)

    assert Description("u1", "b@x.org", "b", "admin", issued_at=9).applied_to(erased, 9_000) is erased
    with pytest.raises(UserErased):
        Description.by_the_platform("u1", email="b@x.org", username="b", role=None, now=9_000).applied_to(erased, 9_000)
    with pytest.raises(UserErased):
        users.enabled(erased, now=9_000)
    assert users.disabled(erased, by="boss", reason="spam", now=9_000) is erased
