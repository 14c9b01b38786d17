"""Runs after all other tests of this folder, and checks that every command of the documentation was run."""

from __future__ import annotations

from typing import TYPE_CHECKING

from tests.lookback import skip_unless_the_whole_folder_ran

if TYPE_CHECKING:
    import pytest

    from tests.commands import Documentation


def test_every_documented_command_was_run(request: pytest.FixtureRequest, documentation: Documentation) -> None:
    skip_unless_the_whole_folder_ran(request)

    assert documentation.not_requested() == []
