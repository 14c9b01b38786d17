"""Helps tests that check what all other tests of their folder did, and so must run after them."""

from __future__ import annotations

import pytest


def skip_unless_the_whole_folder_ran(request: pytest.FixtureRequest) -> None:
    """Skip if a keyword (`-k`) or only some of the folder's files were selected."""
    here = request.path.parent
    missing = set(here.glob("test_*.py")) - {item.path for item in request.session.items}
    if missing or request.config.option.keyword:
        pytest.skip(f"it checks all tests of {here.name}, and not all of them ran")
