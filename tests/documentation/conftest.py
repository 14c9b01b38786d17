"""What the documentation has people type is typed here, in a copy of the project; at the end nothing may be left."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.commands import Documentation
from tests.documentation.project import Project, copy, free_port, with_environments

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.documentation.project import Running

FOLDER = Path(__file__).parent


@pytest.hookimpl(tryfirst=True)  # before xdist reads the groups
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep in one process what is typed, and put last what looks back on it."""
    for item in items:
        if item.path.is_relative_to(FOLDER):
            item.add_marker(pytest.mark.xdist_group("documentation"))
    items.sort(key=lambda item: item.path == FOLDER / "test_every_command.py")


@pytest.fixture(scope="session")
def documentation() -> Documentation:
    """Return the documentation, which remembers what of it was typed."""
    return Documentation()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a copy of the project, for all tests that leave its sources as they are."""
    return Project(with_environments(copy(tmp_path_factory.mktemp("documentation") / "project")))


@pytest.fixture(scope="module")
def service(project: Project, documentation: Documentation) -> Iterator[Running]:
    """Return the service that `make run` runs, afresh on a port of its own, and stop it as one does."""
    earlier = project.folder / ".local/state/earlier"
    earlier.parent.mkdir(exist_ok=True)
    earlier.touch()
    with project.begin(documentation.line("make run"), PORT=free_port(), FRESH="1") as running:
        running.until("Ctrl-C stops it")
        assert not earlier.exists()
        yield running
    assert running.said.rstrip().endswith("Stopping …")
    assert not (project.folder / ".local/stack.json").exists()
