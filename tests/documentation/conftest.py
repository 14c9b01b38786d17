"""The tests run the documentation's commands in a copy of the project. The last test checks that all were run."""

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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Run the test that checks completeness last."""
    items.sort(key=lambda item: item.path == FOLDER / "test_every_command.py")


@pytest.fixture(scope="session")
def documentation() -> Documentation:
    """Return the documentation, which remembers which of its commands were run."""
    return Documentation()


@pytest.fixture(scope="session")
def project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """Return a copy of the project, shared by all tests that do not change its sources."""
    return Project(with_environments(copy(tmp_path_factory.mktemp("documentation") / "project")))


@pytest.fixture(scope="module")
def service(project: Project, documentation: Documentation) -> Iterator[Running]:
    """Start the service with `make run` on a free port, without old data. Afterward, stop it with Ctrl-C."""
    earlier = project.folder / ".local/state/earlier"
    earlier.parent.mkdir(exist_ok=True)
    earlier.touch()
    with project.begin(documentation.line("make run"), PORT=free_port(), FRESH="1") as running:
        running.until("Ctrl-C stops the service")
        assert not earlier.exists()
        yield running
    assert running.output.rstrip().endswith("Stopping …")
    assert not (project.folder / ".local/stack.json").exists()
