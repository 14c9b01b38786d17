"""Reads the source to find every definition that a Lambda function could use when it is invoked.

A definition reaches the functions, classes and constants of the accounting package that its source names, either
directly (``get``) or as attributes of modules (``wallets.get``). Whatever reaches a class reaches all of its methods.
An import statement reaches the statements that run when the imported modules load.

``getattr(module, name)`` would hide what is used, so ``test_imports`` checks that no module is used as a value.
``getattr(object, name)`` hides nothing: the code that makes the object reaches all methods of its class.
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
"""The name under which a module keeps its statements that define nothing. They run when the module is imported."""


@dataclass(frozen=True)
class Module:
    """A source file: its definitions by name (all other statements under BODY), and what each imported name means."""

    name: str
    tree: ast.Module
    definitions: dict[str, list[ast.stmt]] = field(default_factory=dict)
    imports: dict[str, str] = field(default_factory=dict)


@cache
def module_names() -> list[str]:
    """Every module of the layer."""
    return sorted(_name(path) for path in (LAYER / "accounting").rglob("*.py"))


def function_names() -> list[str]:
    """The folder of every Lambda function."""
    return sorted(path.parent.name for path in FUNCTIONS.glob("*/app.py"))


@cache
def module(name: str) -> Module:
    """The module with this dotted name: a module of the layer, or ``functions.<folder>.app``."""
    base = ROOT if name.startswith("functions.") else LAYER
    path = base.joinpath(*name.split("."))
    source = path.with_suffix(".py") if path.with_suffix(".py").exists() else path / "__init__.py"
    return parsed(name, source.read_text())


def parsed(name: str, source: str) -> Module:
    found = Module(name, ast.parse(source))
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
    """Every (module, definition) that a Lambda function can reach. ``function`` is the name of its folder."""
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
        for _, meant in imported(node):
            yield from _run_by_importing(meant)
        if isinstance(node, ast.Name) and node.id in here.definitions:
            yield name, node.id
        target = _meant(here, node)
        if target:
            yield from _definition(target)


def modules_as_values(here: Module) -> Iterator[tuple[str, int]]:
    """Every expression, with its line, that uses a module of the layer as a value, as in ``getattr(wallets, name)``.

    In ``wallets.get``, the module is not used as a value.
    """
    owners = {id(node.value) for node in ast.walk(here.tree) if isinstance(node, ast.Attribute)}
    for node in ast.walk(here.tree):
        if isinstance(node, ast.Name | ast.Attribute) and isinstance(node.ctx, ast.Load) and id(node) not in owners:
            dotted = node.id if isinstance(node, ast.Name) and node.id == "accounting" else _meant(here, node)
            if dotted in module_names():
                yield ast.unparse(node), node.lineno


def _run_by_importing(dotted: str) -> Iterator[tuple[str, str]]:
    """The bodies that run when this name is imported: that of its module, and those of the packages around it."""
    parts = dotted.split(".")
    names = (".".join(parts[:length]) for length in range(1, len(parts) + 1))
    return ((name, BODY) for name in names if name in module_names())


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
            return list(dict.fromkeys(name for target in statement.targets for name in _bound(target)))
        case ast.AnnAssign():
            return list(_bound(statement.target))
    return [BODY]


def _bound(target: ast.expr) -> Iterator[str]:
    """The names that an assignment to ``target`` defines; BODY for ``a.b`` or ``a[b]``, which define no name."""
    match target:
        case ast.Name():
            yield target.id
        case ast.Tuple() | ast.List():
            for part in target.elts:
                yield from _bound(part)
        case ast.Starred():
            yield from _bound(target.value)
        case _:
            yield BODY


def _name(path: Path) -> str:
    return ".".join(path.relative_to(LAYER).with_suffix("").parts).removesuffix(".__init__")
