"""For tests that run last in their folder, because they check what the folder's other tests did."""

from __future__ import annotations

import pytest


def skip_unless_the_whole_folder_ran(request: pytest.FixtureRequest) -> None:
    """Skip if pytest runs with `-k`, or without some of the folder's files."""
    here = request.path.parent
    missing = set(here.glob("test_*.py")) - {item.path for item in request.session.items}
    if missing or request.config.option.keyword:
        pytest.skip(f"this test checks what all tests of {here.name} did, and not all of them ran")
