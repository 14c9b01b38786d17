"""`make mutate`: makes small changes (mutants) to the domain, one at a time, and shows those that no unit test notices.

`ONLY="users lots"` changes only the modules `users` and `lots`. `tests/mutation.toml` selects changes and tests.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections import Counter, defaultdict

from local import bootstrap, end_quietly_on_interrupt
from local.paths import LAYER, LOCAL, ROOT
from local.steps import Refused, explain, step

ENVIRONMENT = LOCAL / "mutation"
LOCK = ROOT / "requirements/mutation.txt"
WORK = LOCAL / "mutants"
DOMAIN = LAYER / "accounting/domain"
KILLED = {"killed", "timeout"}


def main() -> int:
    """Try the mutants of the selected modules; return the exit status."""
    try:
        modules = _selected_modules()
        bootstrap.make_environments({ENVIRONMENT: LOCK})
        _prepare()
        with step("Mutants"):
            _mutmut("run", "--max-children", "1", *(f"accounting.domain.{module}.*" for module in modules))
        _report(modules)
    except Refused as refused:
        return explain(refused)
    return 0


def _selected_modules() -> list[str]:
    """Return the modules that ``ONLY`` names, or all if ``ONLY`` is empty. Raises Refused if a name is unknown."""
    known = sorted(file.stem for file in DOMAIN.glob("[!_]*.py"))
    only = os.environ.get("ONLY", "").split()
    if unknown := set(only) - {*known}:
        raise Refused(
            f"no module of the domain is called {', '.join(sorted(unknown))}; its modules are {', '.join(known)}"
        )
    return only or known


def _prepare() -> None:
    """Lay out the files for mutmut, which finds modules only in a folder called src."""
    shutil.rmtree(WORK, ignore_errors=True)
    WORK.mkdir()
    for name, target in {"src": LAYER, "tests": ROOT / "tests", "local": ROOT / "local"}.items():
        (WORK / name).symlink_to(target)
    (WORK / "pyproject.toml").symlink_to(ROOT / "tests/mutation.toml")


def _mutmut(*arguments: str) -> str:
    """Run mutmut with the Python of this process, and return what mutmut prints.

    The tests need the packages of this Python. mutmut itself is in ``ENVIRONMENT``.
    """
    packages = next(ENVIRONMENT.glob("lib/python*/site-packages"))
    result = subprocess.run(
        [sys.executable, "-m", "mutmut", *arguments],
        cwd=WORK,
        env={**os.environ, "PYTHONPATH": str(packages)},
        capture_output=True,
        text=True,
        check=False,
    )
    if result.returncode != 0:
        raise Refused(f"mutmut {arguments[0]} failed:\n{(result.stdout + result.stderr)[-2_000:]}")
    return result.stdout


def _report(modules: list[str]) -> None:
    """Print each mutant that no test noticed, then how many mutants each module has and how many were noticed."""
    outcomes: dict[str, Counter[str]] = defaultdict(Counter)
    survivors = []
    for line in _mutmut("results", "--all", "true").splitlines():
        mutant, _, outcome = line.strip().partition(": ")
        module = mutant.removeprefix("accounting.domain.").partition(".")[0]
        if module in modules:
            outcomes[module][outcome] += 1
            if outcome not in KILLED:
                survivors.append(mutant)
    for mutant in survivors:
        changed = [line for line in _mutmut("show", mutant).splitlines() if line.startswith(("# ", "-  ", "+  "))]
        print("\n".join(changed))
    print(f"\n{'module':16} mutants  killed")
    for module in modules:
        mutants, killed = outcomes[module].total(), sum(outcomes[module][each] for each in KILLED)
        share = f"{killed / mutants:4.0%}" if mutants else ""
        print(f"{module:16} {mutants:7} {killed:7}  {share}")


if __name__ == "__main__":
    end_quietly_on_interrupt()
    sys.exit(main())
