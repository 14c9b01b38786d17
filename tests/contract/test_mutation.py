"""`make mutate` runs the unit tests of every module of the domain."""

import tomllib

from local.paths import LAYER, ROOT

CONFIGURATION = tomllib.loads((ROOT / "tests/mutation.toml").read_text())
SELECTED = set(CONFIGURATION["tool"]["mutmut"]["pytest_add_cli_args_test_selection"])


def test_every_file_of_unit_tests_named_after_a_module_of_the_domain_is_selected() -> None:
    modules = [file.stem for file in (LAYER / "accounting/domain").glob("[!_]*.py")]
    named_after_one = {
        str(file.relative_to(ROOT)) for module in modules for file in (ROOT / "tests/unit").glob(f"test_{module}*.py")
    }
    # test_wallet_sequences.py runs hundreds of random sequences of commands, which takes too long for each mutant.
    # test_usage_record.py tests functions/usage, not a module of the domain.
    named_after_one -= {"tests/unit/test_wallet_sequences.py", "tests/unit/test_usage_record.py"}
    assert named_after_one
    assert named_after_one <= SELECTED


def test_every_selected_and_every_deselected_test_exists() -> None:
    """Pytest runs nothing at all if one of the selected files is missing."""
    for selected in SELECTED:
        path, _, name = selected.removeprefix("--deselect=").partition("::")
        assert (ROOT / path).is_file(), selected
        assert f"def {name}(" in (ROOT / path).read_text() if name else path == selected, selected
