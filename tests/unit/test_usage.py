"""Which services, models and accounts a usage record counts for, what sums contain, and how a time range is split."""

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from accounting.domain.accounts import personal, stored
from accounting.domain.model_usage import Usage
from accounting.domain.usage import Name, Span, Sums, UsageRecord, digest, split
from accounting.times import DAY

NOON = DAY // 2
INSTANTS = st.one_of(st.none(), st.integers(0, 20 * DAY), st.integers(0, 20).map(lambda days: days * DAY))


def record(service: str, operation: str, credits: int = 1, at: int = 0, user_id: str = "u1") -> UsageRecord:
    return UsageRecord("id", personal(user_id), user_id, service, operation, credits, at, {})


def test_the_operation_of_a_chat_service_is_a_model() -> None:
    assert record("chat-streaming", "m").names == [Name("service", "chat-streaming"), Name("model", "m")]
    assert record("images", "draw").names == [Name("service", "images")]


def test_a_record_counts_for_the_account_that_pays_and_for_the_users_own_account() -> None:
    own, other = personal("u1"), stored("org:o1")
    paid_by_other = record("images", "draw")._replace(account_id=other)

    assert record("images", "draw").accounts == [own]
    assert paid_by_other.accounts == [other, own]
    assert (paid_by_other.other_payer(own), paid_by_other.other_payer(other)) == (other, None)


def test_digests_have_the_same_length_and_differ_for_different_names() -> None:
    names = [("a", "b"), ("a", "b", None), ("ab",), ("a", None), ("a",), ("\U0001f600" * 256,), (" ",), ("",)]

    digests = {digest(*each) for each in names}

    assert len(digests) == len(names)
    assert {len(each) for each in digests} == {16}
    assert not any({"#", " "} & set(each) for each in digests), (
        "no digest may contain # or a blank, which separate digests in keys and lists"
    )


def test_digests_never_change() -> None:
    """Keys contain digests: if a digest changed, a day's sums would be split between two items."""
    assert digest("chat-streaming", "m") == "Pk6qnZZbmpF9bXcs"


def test_sums_add_up() -> None:
    sums = Sums()
    sums.add(record("chat", "m", 3))
    sums.add(record("images", "draw", 2))

    sums.merge(Sums.of_pair("chat", "n", 4, -1))

    assert sums == Sums(6, 4, {"chat": 2, "images": 2}, {"m": 3, "n": -1})


def test_sums_count_each_class_of_usage_in_total_and_for_each_model() -> None:
    sums = Sums()
    sums.add(record("chat", "m")._replace(usage=Usage(100, 20, cached_input=60, requests=2)))
    sums.add(record("chat", "m")._replace(usage=Usage(-40, 5, requests=0)))
    sums.add(record("images", "draw")._replace(usage=Usage(7, 1), priced_as="n"))
    sums.add(record("chat", "n")._replace(unclassified=500))
    sums.add(record("chat", "nothing"))

    of_m = {"input": 60, "output": 25, "cached_input": 60, "requests": 2}
    of_n = {"input": 7, "output": 1, "requests": 1, "unclassified": 500}
    assert sums.counts_by_model == {"m": of_m, "n": of_n}
    assert sums.counts == dict(Counter(of_m) + Counter(of_n))


def test_a_record_that_is_priced_as_a_model_is_counted_for_that_model() -> None:
    priced = record("images", "draw")._replace(usage=Usage(7, 1), priced_as="n")

    assert priced.names == [Name("service", "images"), Name("model", "n")]


@pytest.mark.parametrize(
    ("since", "until", "days", "partial_days"),
    [
        (None, None, Span(None, None), ()),
        (DAY, 3 * DAY, Span(DAY, 3 * DAY), ()),
        (DAY, DAY, None, ()),
        (NOON, 3 * DAY, Span(DAY, 3 * DAY), ((NOON, DAY),)),
        (DAY, 2 * DAY + 1, Span(DAY, 2 * DAY), ((2 * DAY, 2 * DAY + 1),)),
        (DAY + 1, 2 * DAY - 1, None, ((DAY + 1, 2 * DAY - 1),)),
        (NOON, DAY + NOON, None, ((NOON, DAY), (DAY, DAY + NOON))),
        (NOON, None, Span(DAY, None), ((NOON, DAY),)),
        (None, NOON, None, ((0, NOON),)),
        (None, DAY, Span(None, DAY), ()),
        (None, 0, None, ()),
    ],
)
def test_a_range_splits_into_whole_days_and_partial_days(
    since: int | None, until: int | None, days: Span | None, partial_days: tuple[tuple[int, int], ...]
) -> None:
    found = split(since, until)

    assert (found.days, found.partial_days) == (days, partial_days)


@given(INSTANTS, INSTANTS)
def test_no_instant_is_counted_twice_or_left_out(since: int | None, until: int | None) -> None:
    if since is not None and until is not None and since > until:
        since, until = until, since

    found = split(since, until)

    edges = {0, DAY - 1, DAY, 20 * DAY, 21 * DAY, *(at for at in (since, until) if at is not None)}
    for at in {near for edge in edges for near in (edge - 1, edge, edge + 1, edge - edge % DAY) if near >= 0}:
        in_range = (since is None or since <= at) and (until is None or at < until)
        spans = [*found.partial_days, *([found.days] if found.days else [])]
        inside = [span for span in spans if (span[0] is None or span[0] <= at) and (span[1] is None or at < span[1])]
        assert len(inside) == in_range
    for end in found.days or ():
        assert end is None or end % DAY == 0
