"""Tests that look back on all others of their folder, which must have run before."""

from __future__ import annotations

import pytest


def skip_unless_the_whole_folder_ran(request: pytest.FixtureRequest) -> None:
    """Skip where only some of the folder's tests were asked for."""
    here = request.path.parent
    missing = set(here.glob("test_*.py")) - {item.path for item in request.session.items}
    if missing or request.config.option.keyword:
        pytest.skip(f"it looks back on all tests of {here.name}, and they did not all run")
