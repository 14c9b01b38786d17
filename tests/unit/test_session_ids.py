"""How the time is read from a session id that is a UUIDv7 in its standard form, and how ids are sorted."""

from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.store import keys, session_ids
from accounting.times import iso
from local.uuid7 import uuid7

NOW = 1_800_000_000_000
RFC_ID = "017f22e2-79b0-7cc3-98c4-dc0c0c07398f"
"""The example in RFC 9562, appendix A.6."""
RFC_TIME = 1_645_557_742_000


def test_the_time_of_the_example_in_the_rfc_is_read() -> None:
    assert session_ids.made_at(RFC_ID) == RFC_TIME
    assert session_ids.tells_its_beginning(RFC_ID, RFC_TIME)


@given(st.integers(0, 2**48 - 1), st.integers(0, 2**74 - 1))
def test_the_time_in_every_uuid7_is_read(at: int, number: int) -> None:
    session_id = uuid7(at, number)

    assert UUID(session_id).version == 7
    assert session_ids.made_at(session_id) == session_ids.place_in_time(session_id) == at
    assert session_id.startswith(session_ids.prefix_at(at))


@pytest.mark.parametrize(
    "other",
    [
        RFC_ID.upper(),
        RFC_ID.replace("c", "C", 1),
        RFC_ID.replace("-", ""),
        f"{{{RFC_ID}}}",
        f"urn:uuid:{RFC_ID}",
        f"{RFC_ID} ",
        RFC_ID[:-1],
        RFC_ID.replace("-7cc3-", "-4cc3-"),
        RFC_ID.replace("-7cc3-", "-8cc3-"),
        RFC_ID.replace("-98c4-", "-18c4-"),
        RFC_ID.replace("-98c4-", "-c8c4-"),
        RFC_ID.replace("0", "٠"),
        RFC_ID.replace("-dc0c", "-_c0c"),
        "8c1b57d4-8a2d-406f-a025-8e1b708fffc3",
        "s1",
        "",
    ],
)
def test_no_time_is_read_from_an_id_that_is_not_a_uuid7_in_the_standard_form(other: str) -> None:
    assert session_ids.made_at(other) is None
    assert not session_ids.tells_its_beginning(other, RFC_TIME)


@pytest.mark.parametrize(
    ("apart", "tells"), [(0, True), (10_000, True), (-10_000, True), (10_001, False), (-10_001, False)]
)
def test_the_time_of_an_id_may_differ_from_the_sessions_beginning_by_up_to_ten_seconds(apart: int, tells: bool) -> None:
    session_id = uuid7(NOW + apart)

    assert session_ids.tells_its_beginning(session_id, NOW) is tells
    assert (keys.session_of_owner("u1", session_id, NOW) == {}) is tells


@given(
    st.lists(
        st.text("0123456789abcdefABCDEFxyz-._:+@/", max_size=37)
        | st.builds(uuid7, st.integers(0, 2**48 - 1), st.integers(0, 9))
    )
)
def test_place_in_time_keeps_the_order_of_ids_of_any_form(ids: list[str]) -> None:
    places = [session_ids.place_in_time(each) for each in sorted(ids)]

    assert places == sorted(places)


NEAR = st.integers(NOW - 2, NOW + 2)


@given(
    NEAR,
    NEAR,
    st.builds(uuid7, NEAR, st.integers(0, 9)) | st.text("0123456789abcdefAF-z~", min_size=1, max_size=37),
    st.integers(0, 9),
)
def test_a_range_of_ids_can_end_at_any_position(at: int, began_at: int, other: str, number: int) -> None:
    session_id, position = uuid7(began_at, number), f"{iso(at)}#{other}"

    _, low, high = keys.sessions_by_id("u1", NOW - 10, NOW + 10, position)

    assert (low <= f"SESSION#{session_id}" <= high) is (f"{iso(began_at)}#{session_id}" <= position)


@pytest.mark.parametrize("at", [0, NOW - 10, 253_402_300_799_999])
def test_a_range_of_ids_never_ends_before_it_begins(at: int) -> None:
    """DynamoDB refuses a range that ends before it begins."""
    for other in ("#", "s1", "~", uuid7(at)):
        _, low, high = keys.sessions_by_id("u1", NOW - 10, NOW + 10, f"{iso(at)}#{other}")

        assert low <= high
