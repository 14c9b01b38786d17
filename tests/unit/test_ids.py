"""New ids are ULIDs, in the form that the ULID specification defines."""

import pytest

from accounting.operations import ids

DIGITS = "0123456789ABCDEFGHJKMNPQRSTVWXYZ"


@pytest.mark.parametrize(("now", "random"), [(0, 0), (1_800_000_000_000, 12345), (2**48 - 1, 2**80 - 1)])
def test_an_id_is_the_time_and_a_random_number_in_base_32(
    monkeypatch: pytest.MonkeyPatch, now: int, random: int
) -> None:
    monkeypatch.setattr(ids, "randbits", lambda _: random)

    made = ids.new_id(now)

    assert len(made) == 26
    assert sum(DIGITS.index(digit) << 5 * place for place, digit in enumerate(reversed(made))) == now << 80 | random


def test_ids_sort_by_time_and_differ_within_a_millisecond() -> None:
    made = [ids.new_id(now) for now in range(1_800_000_000_000, 1_800_000_000_100)]

    assert made == sorted(made)
    assert len({ids.new_id(0) for _ in range(1000)}) == 1000
