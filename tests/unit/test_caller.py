"""The caller is who the authorizer says, as long as the token lives."""

import pytest

from accounting.domain.errors import Forbidden, TokenExpired, TokenRequired
from accounting.web.caller import Caller, caller_of

EXP = 1_800_000_000
CONTEXT = {"userId": "u1", "email": "Some@Example.com", "role": "supervisor", "exp": str(EXP)}


def test_the_authorizers_texts_make_the_caller() -> None:
    assert caller_of(CONTEXT, EXP * 1000) == Caller("u1", "Some@Example.com", "supervisor")


def test_a_token_that_ran_out_in_the_gateways_cache_is_refused_after_the_leeway() -> None:
    caller_of(CONTEXT, (EXP + 30) * 1000 - 1)
    with pytest.raises(TokenExpired):
        caller_of(CONTEXT, (EXP + 30) * 1000)


@pytest.mark.parametrize("context", [{}, {"userId": ""}, {"role": "admin", "exp": str(EXP)}])
def test_without_an_identity_there_is_no_caller(context: dict[str, str]) -> None:
    with pytest.raises(TokenRequired):
        caller_of(context, 0)


@pytest.mark.parametrize(
    ("role", "supervises", "administers"),
    [("user", False, False), ("supervisor", True, False), ("admin", True, True), ("Admin", False, False)],
)
def test_roles_are_a_ladder(role: str, supervises: bool, administers: bool) -> None:
    caller = Caller("u1", "", role)

    assert allows(caller.require_supervisor) == supervises
    assert allows(caller.require_admin) == administers


def allows(check: object) -> bool:
    assert callable(check)
    try:
        check()
    except Forbidden:
        return False
    return True


def test_oneself_is_ones_id_or_address_in_any_case_and_url_encoded_or_not() -> None:
    caller = Caller("u1", "Some@Example.com", "user")
    names = ("u1", "some@example.COM", "some%40Example.com", "u2", "U1", "", "other@example.com")

    assert [name for name in names if caller.is_self(name)] == ["u1", "some@example.COM", "some%40Example.com"]


def test_who_has_no_address_is_not_found_by_one() -> None:
    assert not Caller("u1", "", "user").is_self("")
