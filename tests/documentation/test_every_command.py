"""A look back on all the other tests of this folder: whether somebody typed each command of the documentation."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.commands import Documentation


def test_every_command_was_typed(request: pytest.FixtureRequest, documentation: Documentation) -> None:
    here = request.path.parent
    if set(here.glob("test_*.py")) - {item.path for item in request.session.items}:
        pytest.skip("it looks back on all tests of the documentation, and they did not all run")
    if request.config.option.keyword:
        pytest.skip("it looks back on all tests of the documentation, and -k leaves some out")

    assert documentation.untyped() == []
