"""The cache of a process: how long it keeps results, how many it keeps, and how threads share it."""

from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from accounting.domain.errors import Unavailable
from accounting.store import cache
from accounting.store.cache import Cache

MAX_AGE_SECONDS = 30


class Table:
    """The data that is read, a clock that the test sets, and the duration of a read."""

    def __init__(self) -> None:
        self.now = 1_000.0
        self.read_seconds = 0.0
        self.value = 1
        self.reads: list[str] = []

    def read(self, name: str, factor: int = 1) -> int:
        self.reads.append(name)
        found = self.value * factor
        self.now += self.read_seconds
        return found


@pytest.fixture
def table(monkeypatch: pytest.MonkeyPatch) -> Table:
    made = Table()
    monkeypatch.setattr(cache, "time", SimpleNamespace(monotonic=lambda: made.now))
    return made


def test_a_result_is_read_once_until_it_is_too_old(table: Table) -> None:
    cached = Cache(table.read, MAX_AGE_SECONDS)
    cached.get("a")
    table.value = 2

    table.now += 29.9
    assert (cached.get("a"), len(table.reads)) == (1, 1)
    table.now += 0.1
    assert (cached.get("a"), len(table.reads)) == (2, 2)


def test_the_age_of_a_result_counts_from_the_beginning_of_its_read(table: Table) -> None:
    cached = Cache(table.read, MAX_AGE_SECONDS)
    table.read_seconds = 12
    cached.get("a")
    table.value = 2

    table.now += 17.9
    assert cached.get("a") == 1
    table.now += 0.1
    assert cached.get("a") == 2


def test_a_result_whose_read_took_too_long_is_returned_but_not_cached(table: Table) -> None:
    cached = Cache(table.read, MAX_AGE_SECONDS)
    table.read_seconds = MAX_AGE_SECONDS

    assert cached.get("a") == 1
    table.value = 2
    assert cached.get("a") == 2


def test_a_read_that_returned_none_is_not_repeated(table: Table) -> None:
    def none(name: str) -> None:
        table.read(name)

    cached = Cache(none, MAX_AGE_SECONDS)

    assert (cached.get("a"), cached.get("a"), table.reads) == (None, None, ["a"])


def test_looking_into_the_cache_reads_nothing_and_returns_no_result_that_is_too_old(table: Table) -> None:
    cached = Cache(table.read, MAX_AGE_SECONDS)

    assert (cached.cached("a"), table.reads) == (None, [])
    cached.get("a")
    assert (cached.cached("a"), table.reads) == (1, ["a"])
    table.now += MAX_AGE_SECONDS
    assert (cached.cached("a"), table.reads) == (None, ["a"])


def test_a_fresh_result_replaces_the_cached_one(table: Table) -> None:
    cached = Cache(table.read, MAX_AGE_SECONDS)
    cached.get("a")
    table.value = 2

    assert cached.get("a") == 1
    assert cached.fresh("a", 10) == 20
    assert (cached.get("a"), table.reads) == (20, ["a", "a"])


def test_a_failed_read_is_not_cached(table: Table) -> None:
    def failing(name: str) -> int:
        if not table.reads:
            table.read(name)
            raise Unavailable("busy")
        return table.read(name)

    cached = Cache(failing, MAX_AGE_SECONDS)

    with pytest.raises(Unavailable):
        cached.get("a")
    assert cached.get("a") == 1


def test_the_cache_is_bounded_and_keeps_the_most_recently_used_results(table: Table) -> None:
    cached = Cache(table.read, MAX_AGE_SECONDS, most=3)
    for name in ("a", "b", "c", "a", "d"):
        cached.get(name)
    table.reads.clear()

    for name in ("a", "c", "d"):
        cached.get(name)
    assert table.reads == []
    cached.get("b")
    assert table.reads == ["b"]


def test_the_cache_is_bounded_by_the_total_size_of_its_results(table: Table) -> None:
    cached = Cache(table.read, MAX_AGE_SECONDS, most=10, size=lambda value: value)
    table.value = 4
    for name in ("a", "b", "c"):
        cached.get(name)
    table.reads.clear()

    for name in ("b", "c", "a"):
        cached.get(name)

    assert table.reads == ["a"]


def test_arguments_after_the_name_are_passed_to_the_read(table: Table) -> None:
    assert Cache(table.read, MAX_AGE_SECONDS).get("a", 7) == 7


def test_one_result_or_all_results_can_be_dropped(table: Table) -> None:
    cached = Cache(table.read, MAX_AGE_SECONDS)
    for name in ("a", "b"):
        cached.get(name)
    table.reads.clear()

    cached.forget("a")
    cached.forget("never read")
    for name in ("a", "b"):
        cached.get(name)
    assert table.reads == ["a"]
    cached.forget()
    for name in ("a", "b"):
        cached.get(name)
    assert table.reads == ["a", "a", "b"]


def test_a_result_that_is_too_old_can_be_dropped(table: Table) -> None:
    cached = Cache(table.read, MAX_AGE_SECONDS)
    cached.get("a")
    table.now += MAX_AGE_SECONDS
    table.value = 2

    cached.forget("a")

    assert cached.get("a") == 2


def test_threads_may_share_the_cache() -> None:
    """The cache is small and its results expire quickly, so that many calls change it."""

    def twice(name: str) -> str:
        return name * 2

    cached = Cache(twice, 0.0005, most=4)

    def ask(number: int) -> bool:
        name = str(number % 9)
        if number % 50 == 0:
            cached.forget(name)
        return cached.get(name) == name * 2

    with ThreadPoolExecutor(8) as threads:
        assert all(threads.map(ask, range(20_000)))
