"""The console's files: small, without a build, and cached by browsers until there is a new version."""

import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest

from functions.docs.app import CONSOLE, CONSOLE_ASSETS, CONSOLE_PAGE, console_version, handler
from local.paths import ROOT
from tests.integration.test_events import CONTEXT as SAMPLE_CONTEXT

CONTEXT: Any = SAMPLE_CONTEXT
LIMIT_BYTES = 100_000
OWN = {name: file.path.read_text(encoding="utf-8") for name, file in CONSOLE_ASSETS.items() if name != "preact.js"}


def answer_for(path: str) -> dict[str, Any]:
    """The docs function's answer to a request for the file with this path, ``<version>/<name>``."""
    *_, version, asset = path.replace("/screens/", "/").split("/")
    sample = "console-screen" if "/screens/" in path else "console-asset"
    event = json.loads((ROOT / f"events/docs/{sample}.json").read_text())
    answer: dict[str, Any] = handler({**event, "pathParameters": {"version": version, "asset": asset}}, CONTEXT)
    return answer


def imports(text: str) -> list[tuple[str, str]]:
    """For each imported file: ``(path, "")`` if it is imported at once, ``("", path)`` if it is imported later."""
    return re.findall(r'^import [^"]+ from "([^"]+)";$|import\("([^"]+)"\)', text, re.MULTILINE)


def test_all_files_together_take_at_most_100_kb_compressed() -> None:
    sizes = {path: len(gzip.compress(path.read_bytes())) for path in CONSOLE.rglob("*") if path.is_file()}

    assert len(sizes) > 10
    assert sum(sizes.values()) <= LIMIT_BYTES, sizes


def test_every_file_is_served_under_the_consoles_version_and_cached_for_a_year() -> None:
    assert CONSOLE_ASSETS
    for name, file in CONSOLE_ASSETS.items():
        answer = answer_for(f"{console_version()}/{name}")
        assert (answer["statusCode"], answer["body"]) == (200, file.path.read_text(encoding="utf-8")), name
        assert answer["headers"]["Cache-Control"] == "public, max-age=31536000, immutable"
        assert answer["headers"]["Content-Type"] == file.content_type


def test_a_file_of_another_version_and_an_unknown_file_are_not_found() -> None:
    """A page from an older version of the service needs files of that version. With newer files, it could break."""
    for path in ("0123456789ab/app.js", "0123456789ab/screens/me.js", f"{console_version()}/index.html"):
        answer = answer_for(path)
        assert (answer["statusCode"], json.loads(answer["body"])["code"]) == (404, "ROUTE_NOT_FOUND")
        assert answer["headers"]["Cache-Control"] == "no-store"


def test_the_version_changes_when_a_file_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    without_one = dict(list(CONSOLE_ASSETS.items())[1:])
    monkeypatch.setattr("functions.docs.app.CONSOLE_ASSETS", without_one)

    assert console_version.__wrapped__() != console_version()


def test_the_version_depends_on_the_contents_of_files_and_not_on_their_paths(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    for name, file in CONSOLE_ASSETS.items():
        elsewhere = tmp_path / "file"
        elsewhere.write_bytes(file.path.read_bytes())
        monkeypatch.setattr(
            "functions.docs.app.CONSOLE_ASSETS", {**CONSOLE_ASSETS, name: file._replace(path=elsewhere)}
        )
        assert console_version.__wrapped__() == console_version(), name
        elsewhere.write_bytes(file.path.read_bytes() + b" ")
        assert console_version.__wrapped__() != console_version(), name


def test_the_page_loads_only_files_of_its_own_version_and_has_no_inline_code() -> None:
    event = json.loads((ROOT / "events/docs/console.json").read_text())
    page = handler(event, CONTEXT)
    named = re.findall(r'(?:href|src)="(console/[^"]*)"', page["body"])

    assert named
    assert {name.removeprefix(f"console/{console_version()}/") for name in named} <= CONSOLE_ASSETS.keys()
    assert "unsafe-" not in page["headers"]["Content-Security-Policy"]
    assert not re.search(r"<style|\son\w+=|<script(?! type=\"module\" src=)", page["body"])
    assert "{version}" in CONSOLE_PAGE.path.read_text()


@pytest.mark.parametrize("name", sorted(name for name in OWN if name.endswith(".js")))
def test_a_module_imports_only_files_of_the_console(name: str) -> None:
    folder = (CONSOLE / name).parent
    targets = [(folder / (at_once or later)).resolve() for at_once, later in imports(OWN[name])]

    assert {target.relative_to(CONSOLE).as_posix() for target in targets} <= CONSOLE_ASSETS.keys()
    assert targets or name == "api.js"


COMPONENT = re.compile(
    r"^(?:export )?(?:default )?(?:function|const) ([A-Z]\w*)(?: = )?\(\{(.*?)\}\) (?:=>|\{)", re.MULTILINE
)
IMPORT = re.compile(r'^import (?:(\w+)(?:, )?)?(?:\{([^}]*)\})? ?from "([^"]+)";$', re.MULTILINE)


def parts_of(text: str, separators: str, end: str = "") -> list[str]:
    """Split a text at its separators, and stop at ``end``. Separators and ends in brackets or quotes do not count."""
    parts, depth, quote = [""], 0, ""
    for letter in text:
        if quote or letter in "\"'`":
            quote = "" if letter == quote else quote or letter
        depth += 0 if quote else (letter in "({[") - (letter in ")}]")
        plain = not depth and not quote
        if plain and letter == end:
            break
        if plain and letter in separators:
            parts.append("")
        else:
            parts[-1] += letter
    return [part.strip() for part in parts if part.strip()]


def taken(name: str) -> dict[str, set[str]]:
    """The properties that each component of a file takes. ``...`` means that the component takes every property."""
    return {
        component: {re.split(r"[ :=]", each)[0] if not each.startswith("...") else "..." for each in parts_of(of, ",")}
        for component, of in COMPONENT.findall(OWN[name])
    }


def passed(name: str) -> list[tuple[str, str, set[str]]]:
    """Each use of a component in a file: the file that defines the component, its name there, the passed properties."""
    where = {component: (name, component) for component in taken(name)}
    for default, several, target in IMPORT.findall(OWN[name]):
        source = ((CONSOLE / name).parent / target).resolve().relative_to(CONSOLE).as_posix()
        if source in OWN:
            where |= {each.strip(): (source, each.strip()) for each in several.split(",")}
            default_name = re.search(r"^export default function (\w+)", OWN[source], re.MULTILINE)
            where |= {default: (source, default_name[1])} if default and default_name else {}
    found = []
    for use in re.finditer(r"<\$\{([A-Z]\w*)\}", OWN[name]):
        attributes = parts_of(OWN[name][use.end() :], " \n", end=">")
        given = {each.partition("=")[0] for each in attributes if each != "/"}
        if use[1] in where:
            found.append((*where[use[1]], {"..." if each.startswith("...") else each for each in given}))
    return found


def test_every_property_of_a_component_is_passed_and_every_passed_property_is_taken() -> None:
    modules = [name for name in OWN if name.endswith(".js")]
    uses = [use for name in modules for use in passed(name)]
    takes = {(name, component): of for name in modules for component, of in taken(name).items()}
    assert len(takes) > 50
    assert len(uses) > 200

    for source, component, given in uses:
        wanted = takes.get((source, component), set())
        assert "..." in wanted or given <= wanted | {"key", "..."}, (source, component, given - wanted)
    for where, wanted in takes.items():
        given_here = [given for *at, given in uses if tuple(at) == where]
        if not given_here:
            assert f"export default function {where[1]}(" in OWN[where[0]], f"nobody uses {where}"
        elif not any("..." in given for given in given_here):
            assert wanted <= set().union(*given_here) | {"children", "..."}, where


def test_the_console_stores_nothing_in_the_browser_and_parses_no_html() -> None:
    """The caller's token is only in memory, and texts that others wrote are never parsed as HTML."""
    assert len(OWN) > 5
    for name, text in OWN.items():
        for forbidden in ("localStorage", "sessionStorage", "indexedDB", "document.cookie", "innerHTML", "eval("):
            assert forbidden not in text, (name, forbidden)
        assert not re.search(r"dangerouslySet|outerHTML|insertAdjacentHTML|https?://", text), name


def test_the_header_of_the_vendored_library_has_its_version_and_licenses() -> None:
    header = CONSOLE_ASSETS["preact.js"].path.read_text(encoding="utf-8").splitlines()[0]

    assert re.search(r"Preact 10 \(MIT.*htm 3\.1\.1 \(Apache-2\.0", header)
