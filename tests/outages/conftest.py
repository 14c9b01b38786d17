"""A second deployed service, for tests that break the service, or that spend most of their time waiting.

The tests marked `waits` run first, all at the same time, each in a thread. When all have ended, the tests that break
the service begin.
"""

from __future__ import annotations

from concurrent.futures import Future, ThreadPoolExecutor
from inspect import signature
from typing import TYPE_CHECKING, Any

import pytest

from tests.e2e.conftest import admin, answers, http, key_server, people, service, token

if TYPE_CHECKING:
    from collections.abc import Iterator

__all__ = ["admin", "answers", "http", "key_server", "people", "service", "token"]

FOLDER = "tests/outages/"
STARTED_EARLY = pytest.StashKey[Future[Any]]()
"""The result of a test that was started before its turn."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run this folder's tests marked `waits` first, and `test_contract.py` last."""
    items.sort(key=_turn)


def _turn(item: pytest.Item) -> int:
    if not item.nodeid.startswith(FOLDER):
        return 0
    if item.get_closest_marker("waits"):
        return 1
    return 3 if item.path.stem == "test_contract" else 2


@pytest.fixture(scope="session", autouse=True)
def _start_waiting_tests(request: pytest.FixtureRequest) -> Iterator[None]:
    """Start all tests marked `waits`. These tests can use only fixtures with the scope ``session``."""
    waiting = [item for item in request.session.items if item.get_closest_marker("waits")]
    with ThreadPoolExecutor(len(waiting) or 1) as pool:
        for item in waiting:
            assert isinstance(item, pytest.Function)
            parameters = item.callspec.params if hasattr(item, "callspec") else {}
            needed = signature(item.function).parameters.keys() - parameters.keys()
            fixtures = {name: request.getfixturevalue(name) for name in sorted(needed)}
            item.stash[STARTED_EARLY] = pool.submit(item.function, **fixtures, **parameters)
        yield


@pytest.hookimpl(tryfirst=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> bool | None:
    """Wait for the result of a test that was started before its turn."""
    started = pyfuncitem.stash.get(STARTED_EARLY, None)
    if started is None:
        return None
    started.result()
    return True
