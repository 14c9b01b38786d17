"""Finds every definition that an invocation of a Lambda function could use, by reading the source.

A definition reaches what its body names: functions, classes (with all of their methods) and constants of the accounting
package, directly or as attributes of its modules. This finds everything that an invocation uses, provided that the code
computes no names. ``test_imports`` checks that it computes none.
"""

from __future__ import annotations

import ast
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
LAYER = ROOT / "layers/shared"
FUNCTIONS = ROOT / "functions"

BODY = ""
"""The name for the statements of a module that define nothing; importing the module runs them."""


@dataclass(frozen=True)
class Module:
    """A source file: its definitions, among them its body, and the target of each imported name."""

    name: str
    tree: ast.Module
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)


@cache
def module_names() -> list[str]:
    """Every module of the layer."""
    return sorted(_name(path) for path in (LAYER / "accounting").rglob("*.py"))


def function_names() -> list[str]:
    """Every function of the service, by its folder."""
    return sorted(path.parent.name for path in FUNCTIONS.glob("*/app.py"))


@cache
def module(name: str) -> Module:
    """The module with this dotted name, ``functions.<folder>.app`` included."""
    base = ROOT if name.startswith("functions.") else LAYER
    path = base.joinpath(*name.split("."))
    source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    found = Module(name, ast.parse(source.read_text()))
    for statement in found.tree.body:
        for defined in _defined(statement):
            found.definitions.setdefault(defined, []).append(statement)
    for node in ast.walk(found.tree):
        for called, meant in imported(node):
            found.imports[called] = meant
    return found


def imported(node: ast.AST) -> Iterator[tuple[str, str]]:
    """The names that an import statement binds, each with the dotted name of its target."""
    if isinstance(node, ast.Import):
        for alias in node.names:
            yield alias.asname or alias.name, alias.name
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            yield alias.asname or alias.name, f"{node.module}.{alias.name}"


@cache
def reach(function: str) -> frozenset[tuple[str, str]]:
    """Every (module, definition) that the function in this folder can reach."""
    app = f"functions.{function}.app"
    return _reach_from((app, BODY), *((app, name) for name in module(app).definitions))


@cache
def reach_of_handler(function: str, handler: str) -> frozenset[tuple[str, str]]:
    """Every (module, definition) that this handler of the function can reach."""
    return _reach_from((f"functions.{function}.app", handler))


def _reach_from(*starts: tuple[str, str]) -> frozenset[tuple[str, str]]:
    open_ends = list(starts)
    reached: set[tuple[str, str]] = set()
    while open_ends:
        end = open_ends.pop()
        if end in reached:
            continue
        reached.add(end)
        open_ends += _named_in(*end)
    return frozenset(reached)


def nodes(reached: Collection[tuple[str, str]]) -> Iterator[ast.AST]:
    """Every syntax node of what was reached."""
    for name, definition in reached:
        for statement in module(name).definitions.get(definition, []):
            yield from ast.walk(statement)


@cache
def _named_in(name: str, definition: str) -> tuple[tuple[str, str], ...]:
    return tuple(dict.fromkeys(_names(name, definition)))


def _names(name: str, definition: str) -> Iterator[tuple[str, str]]:
    here = module(name)
    statements = here.definitions.get(definition, [])
    for node in (node for statement in statements for node in ast.walk(statement)):
        if isinstance(node, ast.Name) and node.id in here.definitions:
            yield name, node.id
        target = _meant(here, node)
        if target:
            yield from _definition(target)


def _meant(here: Module, node: ast.AST) -> str | None:
    """The dotted name that a name, or an attribute of a module, refers to."""
    if isinstance(node, ast.Name):
        return here.imports.get(node.id)
    if isinstance(node, ast.Attribute):
        owner = _meant(here, node.value)
        return f"{owner}.{node.attr}" if owner else None
    return None


def _definition(dotted: str) -> Iterator[tuple[str, str]]:
    owner, _, name = dotted.rpartition(".")
    if owner not in module_names():
        return
    if name in module(owner).definitions:
        yield owner, name
    elif name in module(owner).imports:  # a package offers what it imports
        yield from _definition(module(owner).imports[name])


def _defined(statement: ast.stmt) -> list[str]:
    match statement:
        case ast.FunctionDef() | ast.ClassDef() | ast.AsyncFunctionDef():
            return [statement.name]
        case ast.TypeAlias():
            return [statement.name.id]
        case ast.Assign():
            return [target.id for target in statement.targets if isinstance(target, ast.Name)]
        case ast.AnnAssign(target=ast.Name(id=name)):
            return [name]
    return [BODY]


def _name(path: Path) -> str:
    return ".".join(path.relative_to(LAYER).with_suffix("").parts).removesuffix(".__init__")
