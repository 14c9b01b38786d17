"""The caller comes from the authorizer's context.

If the user's role was lowered after the token was issued, the lower role counts.
"""

from collections.abc import Callable

import pytest

from accounting.domain.errors import Forbidden, TokenExpired, TokenRequired, UserDisabled
from accounting.domain.users import User
from accounting.store import users
from accounting.store.users import ById
from accounting.web.caller import Caller, caller_of
from accounting.web.subject import named_by

EXP = 1_800_000_000
CONTEXT = {"userId": "u1", "email": "Some@Example.com", "role": "supervisor", "exp": str(EXP), "iat": "1700000000"}

type StoreUser = Callable[..., list[str]]


@pytest.fixture
def store_user(monkeypatch: pytest.MonkeyPatch) -> StoreUser:
    """Return a function that stores a user and returns a list. Each look-up of a user adds the id to the list."""

    def store(role: str = "user", role_at: int = 0, disabled_at: int | None = None, email: str = "") -> list[str]:
        looked_up: list[str] = []

        def find(user_id: str) -> User:
            looked_up.append(user_id)
            return User(user_id, email, "", role, role_at=role_at, disabled_at=disabled_at)

        monkeypatch.setattr(users, "find", find)
        users.forget()
        return looked_up

    return store


def test_the_caller_is_read_from_the_authorizers_context() -> None:
    made = caller_of(CONTEXT, EXP * 1000)

    assert made == Caller("u1", "Some@Example.com", "supervisor", issued_at=1_700_000_000)


def test_a_token_without_an_issue_time_counts_as_the_oldest() -> None:
    assert caller_of({name: value for name, value in CONTEXT.items() if name != "iat"}, 0).issued_at == 0


def test_a_token_that_expires_in_the_gateways_cache_is_refused_after_the_leeway() -> None:
    caller_of(CONTEXT, (EXP + 30) * 1000 - 1)
    with pytest.raises(TokenExpired):
        caller_of(CONTEXT, (EXP + 30) * 1000)


@pytest.mark.parametrize("context", [{}, {"userId": ""}, {"role": "admin", "exp": str(EXP)}])
def test_a_context_without_an_identity_is_refused(context: dict[str, str]) -> None:
    with pytest.raises(TokenRequired):
        caller_of(context, 0)


@pytest.mark.parametrize(
    ("role", "supervises", "administers"),
    [("user", False, False), ("supervisor", True, False), ("admin", True, True), ("Admin", False, False)],
)
def test_a_higher_role_includes_the_lower_ones(
    store_user: StoreUser, role: str, supervises: bool, administers: bool
) -> None:
    store_user()
    caller = Caller("u1", "", role, issued_at=1)

    assert allows(caller.require_supervisor) == supervises
    assert allows(caller.require_admin) == administers


def allows(check: Callable[[], None]) -> bool:
    try:
        check()
    except Forbidden:
        return False
    return True


@pytest.mark.parametrize(
    ("stored", "supervises", "administers"),
    [("user", False, False), ("supervisor", True, False), ("admin", True, True)],
)
def test_lowering_a_role_takes_rights_from_older_tokens_at_once(
    store_user: StoreUser, stored: str, supervises: bool, administers: bool
) -> None:
    store_user(stored, role_at=5_001)
    caller = Caller("u1", "", "admin", issued_at=5)

    assert allows(caller.require_supervisor) == supervises
    assert allows(caller.require_admin) == administers


def test_raising_a_role_gives_no_rights_to_older_tokens(store_user: StoreUser) -> None:
    store_user("admin", role_at=9_001)

    assert not allows(Caller("u1", "", "supervisor", issued_at=5).require_admin)
    assert not allows(Caller("u1", "", "user", issued_at=5).require_supervisor)


def test_a_token_newer_than_the_stored_role_keeps_its_role(store_user: StoreUser) -> None:
    store_user("user", role_at=5_001)

    assert allows(Caller("u1", "", "admin", issued_at=6).require_admin)
    assert not allows(Caller("u1", "", "admin").require_admin), "a token without an issue time must count as the oldest"


def test_administrators_are_looked_up_each_time_and_plain_users_only_once(store_user: StoreUser) -> None:
    looked_up = store_user("admin")

    for _ in range(3):
        Caller("boss", "", "admin", issued_at=1).require_admin()
    assert looked_up == ["boss"] * 3
    for _ in range(3):
        Caller("u1", "", "user", issued_at=1).require_enabled()
    assert looked_up == [*["boss"] * 3, "u1"]


@pytest.mark.parametrize("role", ["user", "supervisor", "admin"])
def test_a_disabled_caller_is_refused_whatever_the_role(store_user: StoreUser, role: str) -> None:
    store_user(role, disabled_at=1)
    caller = Caller("u1", "", role, issued_at=1)

    for refused in (caller.require_enabled, caller.require_supervisor, caller.require_admin, caller.is_admin):
        with pytest.raises(UserDisabled):
            refused()


def test_a_user_disabled_by_another_process_is_refused_after_30_seconds_at_the_latest(
    store_user: StoreUser, monkeypatch: pytest.MonkeyPatch
) -> None:
    clock = [1000.0]
    monkeypatch.setattr("time.monotonic", lambda: clock[0])
    caller = Caller("u1", "", "user")
    store_user()
    caller.require_enabled()
    remembered = dict(users._disabled._known)
    store_user(disabled_at=1)
    users._disabled._known.update(remembered)  # as in a process that did not make the change

    clock[0] += 29.9
    caller.require_enabled()
    clock[0] += 0.1
    with pytest.raises(UserDisabled):
        caller.require_enabled()


def test_callers_can_name_themselves_by_their_id_or_by_any_form_of_their_address() -> None:
    caller = Caller("u1", "Some@B\u00fccher.example", "user")
    own = ("u1", "some@B\u00fccher.example", "some%40xn--bcher-kva.EXAMPLE", " some@bu\u0308cher.example")
    others = ("u2", "U1", "", "other@b\u00fccher.example", "\u017fome@b\u00fccher.example")

    assert [name for name in (*own, *others) if caller.is_self(name)] == list(own)


@pytest.mark.parametrize("email", ["", "victim", "@", "@victim", "victim@"])
def test_an_invalid_address_never_means_the_caller(store_user: StoreUser, email: str) -> None:
    store_user(email=email)
    caller = Caller("u1", email, "user")

    assert [name for name in ("", "victim", "@", "@victim", "victim@") if caller.is_self(name)] == []


@pytest.mark.parametrize("caller", [Caller("u1", "", "user"), Caller("u1", "", "user", ("usage:read",))])
def test_the_stored_address_counts_if_the_credential_has_none(store_user: StoreUser, caller: Caller) -> None:
    looked_up = store_user(email="Own@B\u00fccher.example")

    assert caller.is_self("u1")
    assert not caller.is_self("u2")
    assert looked_up == [], "comparing ids must not look up the user"
    assert caller.is_self("own%40xn--bcher-kva.example")
    assert not caller.is_self("other@example.com")
    assert looked_up == ["u1", "u1"]


def test_a_caller_whose_token_has_an_address_is_not_looked_up(store_user: StoreUser) -> None:
    looked_up = store_user(email="stored@example.com")
    caller = Caller("u1", "token@example.com", "user")

    assert caller.is_self("token@example.com")
    assert not caller.is_self("stored@example.com")
    assert looked_up == []


def test_callers_who_name_themselves_are_never_looked_up_by_address() -> None:
    caller = Caller("u1", "moved@example.com", "admin")

    assert named_by(caller, "Moved@example.com") == ById("u1")
    assert named_by(caller, "u1") == ById("u1")
    assert named_by(caller, "else@example.com") == "else@example.com"
