"""The commands in CONTRIBUTING.md and tests/simulation/README.md."""

from __future__ import annotations

import hashlib
import re
from fnmatch import fnmatch
from typing import TYPE_CHECKING

import pytest

from local.paths import ROOT
from tests.documentation.project import NOT_SOURCES, Project, copy

if TYPE_CHECKING:
    from pathlib import Path

    from tests.commands import Documentation


LOCKED = ("requirements/*.txt", "layers/*/requirements.txt", "functions/*/requirements.txt")


def sources(folder: Path) -> dict[str, str]:
    """Return a digest of each source file."""
    files = (path for path in folder.rglob("*") if path.is_file())
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in files
        if not any(fnmatch(part, made) for part in path.relative_to(folder).parts for made in NOT_SOURCES)
    }


def test_make_help_names_the_most_important_targets(project: Project, documentation: Documentation) -> None:
    targets = re.findall(r"^  make ([\w-]+) +\S", project.type(documentation.line("make help")), re.MULTILINE)

    assert {"run", "stop", "demo", "example", "test", "test-slow", "test-tools", "check", "deploy", "help"} <= set(
        targets
    )


def test_make_test_runs_the_selected_tests(project: Project, documentation: Documentation) -> None:
    """The test runs only some tests, because `make test-tools` includes this test. `.ci/run` runs all tests."""
    assert (ROOT / ".ci/run").read_text().endswith("\nmake test\nmake test-slow\nexec make test-tools\n")
    for command in ("make test", "make test-slow", "make test-tools"):
        documentation.line(command)

    assert re.search(r"\d+ passed", project.type(documentation.line('make test ARGS="tests/unit -k pricing"')))
    assert re.search(r"\d+ passed", project.type('make test-tools ARGS="-k private"'))
    assert re.search(r"\d+ passed", project.type('make test-slow ARGS="tests/unit/test_times.py"'))


@pytest.mark.parametrize("command", ["make format", "make check", "make openapi", "make reference"])
def test_the_sources_are_unchanged_after_the_command(
    project: Project, documentation: Documentation, command: str
) -> None:
    before = sources(project.folder)

    project.type(documentation.line(command))

    assert sources(project.folder) == before


def test_make_lock_writes_lock_files_without_urls(tmp_path: Path, documentation: Documentation) -> None:
    """This test has its own copy of the project: other tests need the shared copy's lock files as they are."""
    fresh = Project(copy(tmp_path / "project"))
    locks = [str(lock.relative_to(ROOT)) for folder in LOCKED for lock in ROOT.glob(folder)]
    assert {"requirements/litellm.txt", "layers/shared/requirements.txt", "functions/usage/requirements.txt"} < {*locks}
    for lock in locks:
        (fresh.folder / lock).unlink()

    fresh.type(documentation.line("make lock"))

    for lock in locks:
        written = (fresh.folder / lock).read_text()
        assert "--hash=sha256:" in written
        assert not re.search(r"https?://|index-url", written)
        assert (ROOT / lock).read_text().splitlines()[:2] == written.splitlines()[:2]


def test_mutants_of_a_module_are_killed(project: Project, documentation: Documentation) -> None:
    """The test mutates the smallest module, because testing a mutant takes a moment."""
    typed = documentation.line('make mutate ONLY="lots users"').replace("lots users", "texts")

    assert re.search(r"^texts +4 +4  100%$", project.type(typed), re.MULTILINE)
    assert "no module of the domain is called lot;" in project.type("make mutate", status=2, ONLY="lot")


def test_a_simulation_runs_the_given_seeds(project: Project, documentation: Documentation) -> None:
    """With a sabotage, the command runs up to 30 seeds, until a seed fails. Otherwise, it runs one or two seeds."""
    for command in [*documentation.page("tests/simulation/README.md"), documentation.line("make simulate SEEDS=1000")]:
        if command.startswith("make simulate"):
            sabotaged = "SABOTAGE" in command
            typed = re.sub(r"SEEDS=1000", "SEEDS=2", command)
            output = project.type(typed, status=2 if sabotaged else 0, SEEDS="30" if sabotaged else "1")
            assert sabotaged or re.search(r"^[12] seeds passed: \d+ calls", output, re.MULTILINE)
            assert not sabotaged or re.search(r"make simulate FIRST=\d+ SEEDS=1\b", output)
