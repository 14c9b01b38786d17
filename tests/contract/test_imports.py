"""Imports point one way: functions → web and operations → store → domain."""

import ast
import subprocess
import sys
from itertools import chain

import pytest

from tests.reach import (
    BODY,
    LAYER,
    ROOT,
    function_names,
    imported,
    module,
    module_names,
    modules_as_values,
    parsed,
    reach,
)

PLAIN = {"accounting", "accounting.settings", "accounting.times"}
MAY_IMPORT: dict[str, set[str]] = {
    "accounting.domain": {"accounting.domain"},
    "accounting.store": {"accounting.domain", "accounting.store", "accounting.telemetry", *PLAIN},
    "accounting.operations": {
        "accounting.domain",
        "accounting.store",
        "accounting.operations",
        "accounting.telemetry",
        *PLAIN,
    },
}
HANDLES_ROUTES = ("accounting.web.api", "handler_of")
BOTO = {"boto3", "botocore"}
TABLE = "accounting.store.table"
TALK_TO_AWS = {
    *(f"{TABLE}.{name}" for name in ("connection", "exchange", "surroundings", "transactions", "wire")),
    "accounting.secrets",
}
CALENDAR = "accounting.domain.windows"
"""The module that converts instants to days of a time zone and back. It needs datetime."""
NOT_PURE = {"os", "sys", "time", "datetime", "random", "secrets", "uuid", "ulid", "threading", "logging", "pathlib"}


def imports_of(name: str) -> set[str]:
    """Everything that a module imports: the project's modules by full name, others by package."""
    found = set()
    for _, meant in chain.from_iterable(imported(node) for node in ast.walk(module(name).tree)):
        ours = next((known for known in (meant, meant.rpartition(".")[0]) if known in module_names()), None)
        found.add(ours or meant.partition(".")[0])
    return found


def layer_of(name: str) -> str | None:
    return next((layer for layer in MAY_IMPORT if name == layer or name.startswith(f"{layer}.")), None)


@pytest.mark.parametrize("name", [name for name in module_names() if layer_of(name)])
def test_a_module_imports_only_lower_layers(name: str) -> None:
    layer = layer_of(name)
    assert layer is not None
    ours = {found for found in imports_of(name) if found.startswith("accounting")}

    assert {found for found in ours if (layer_of(found) or found) not in MAY_IMPORT[layer]} == set()


@pytest.mark.parametrize("name", [name for name in module_names() if layer_of(name) == "accounting.domain"])
def test_the_domain_uses_no_clock_no_randomness_and_no_environment(name: str) -> None:
    others = {found for found in imports_of(name) if not found.startswith("accounting")}

    assert others <= {*sys.stdlib_module_names}, "third-party code in the domain"
    assert others & NOT_PURE == ({"datetime"} if name == CALENDAR else set())


def test_the_calendar_reads_no_clock() -> None:
    tree = module(CALENDAR).tree
    called = {
        node.func.attr for node in ast.walk(tree) if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute)
    }

    assert "fromtimestamp" in called
    assert called & {"now", "today", "utcnow"} == set()


def test_only_the_modules_for_the_table_and_for_secrets_talk_to_aws() -> None:
    assert {name for name in module_names() if imports_of(name) & BOTO} == TALK_TO_AWS
    assert [
        name
        for name in module_names()
        if not name.startswith(TABLE) and imports_of(name) & {f"{TABLE}.connection", f"{TABLE}.wire"}
    ] == []
    for function in function_names():
        assert imports_of(f"functions.{function}.app") & BOTO == set()


def test_nothing_in_the_layer_imports_a_function() -> None:
    assert [name for name in module_names() if "functions" in imports_of(name)] == []


def test_tzdata_is_installed_for_exactly_the_functions_that_compute_budget_windows() -> None:
    """Lambda's image may lack time zones, and the layer has no room for the package tzdata."""
    locks = {path.parent.name: path.read_text() for path in ROOT.glob("functions/*/requirements.txt")}
    computes = {("accounting.operations.spending", "room_for"), ("accounting.operations.budgets", "put")}
    computing = [name for name in function_names() if computes & reach(name)]

    assert sorted(name for name, lock in locks.items() if "tzdata==" in lock) == sorted(computing)
    assert computing


def test_only_the_authorizer_contains_pyjwt_and_cryptography() -> None:
    """Libraries in the layer are part of every function, and cryptography alone is larger than the layer."""
    locks = {path.parent.name: path.read_text() for path in ROOT.glob("functions/*/requirements.txt")}
    verifies = ("accounting.identity", "accounting.tokens")
    verifying = [name for name in function_names() if any(where.startswith(verifies) for where, _ in reach(name))]
    of_the_layer = (LAYER / "requirements.txt").read_text()

    assert verifying == ["authorizer"]
    assert "pydantic==" in of_the_layer
    for library in ("cryptography==", "pyjwt=="):
        assert [name for name, lock in locks.items() if library in lock] == verifying
        assert library not in of_the_layer


def test_functions_import_no_other_function() -> None:
    assert [name for name in function_names() if "functions" in imports_of(f"functions.{name}.app")] == []


def test_no_name_is_imported_or_evaluated_dynamically() -> None:
    """tests/reach.py could not find such names."""
    everything = [*module_names(), *(f"functions.{function}.app" for function in function_names())]
    found = [
        (name, node.lineno)
        for name in everything
        for node in ast.walk(module(name).tree)
        if isinstance(node, ast.Name)
        and node.id in {"__import__", "importlib", "import_module", "eval", "exec", "globals"}
    ]
    stars = [name for name in everything if "*" in module(name).imports]
    values = [(name, *value) for name in everything for value in modules_as_values(module(name))]
    by_name = {name for name in everything for node in ast.walk(module(name).tree) if _is_sys_modules(node)}

    assert (found, stars) == ([], [])
    assert values == [], "a module is used as a value, so getattr or vars could look up a computed name in it"
    assert by_name == {"accounting.cold_start"}, "only cold_start may use sys.modules, for third-party packages only"


def _is_sys_modules(node: ast.AST) -> bool:
    return isinstance(node, ast.Attribute) and ast.unparse(node) == "sys.modules"


def test_each_use_of_a_module_as_a_value_is_found() -> None:
    source = """
from accounting import store
from accounting.store import wallets as kept
import accounting.settings
kept.get("u")
getattr(kept, "g" + "et")
vars(store.wallets)
print(accounting)
keys = [store.keys.wallet]
"""
    assert list(modules_as_values(parsed("a", source))) == [
        ("kept", 6),
        ("store.wallets", 7),
        ("accounting", 8),
    ]


def test_a_statement_is_listed_under_each_name_it_defines_and_under_body_if_it_does_anything_else() -> None:
    source = """
import a
b = c = 1
d: int = 2
e, (f, *g) = 1, (2, 3)
a.h = k
a.l[0], m = k, 1
a.n: int = 4
o += 1
type P = int
def q(): ...
"""
    statements = {
        name: [ast.unparse(statement).splitlines()[0] for statement in defined]
        for name, defined in parsed("a", source).definitions.items()
    }

    several, mixed = "e, (f, *g) = (1, (2, 3))", "a.l[0], m = (k, 1)"
    assert statements == {
        BODY: ["import a", "a.h = k", mixed, "a.n: int = 4", "o += 1"],
        **{name: ["b = c = 1"] for name in "bc"},
        "d": ["d: int = 2"],
        **{name: [several] for name in "efg"},
        "m": [mixed],
        "P": ["type P = int"],
        "q": ["def q():"],
    }


def test_the_reach_of_a_function_includes_code_that_runs_during_imports() -> None:
    reached = reach("credits")

    assert ("accounting.telemetry", BODY) in reached
    assert ("accounting.cold_start", "_import_event_handler") in reached
    assert ("accounting.store.table.wire", "TIMEOUT_COST") in reached


@pytest.mark.parametrize("function", function_names())
def test_a_function_needs_no_environment_variables_to_start_and_does_not_import_boto3(function: str) -> None:
    code = f"""
import sys
sys.path[:0] = [{str(LAYER)!r}, {str(ROOT / "functions" / function)!r}]
import app
assert callable(app.handler)
print(*({{"asyncio", "boto3", "botocore.session", "pydantic"}} & set(sys.modules)))
"""
    run = subprocess.run(  # a new process, because this one has already imported everything
        [sys.executable, "-c", code], env={"PATH": ""}, capture_output=True, text=True, timeout=60, check=False
    )

    assert run.returncode == 0, run.stderr
    heavy = set(run.stdout.split())
    assert heavy <= ({"pydantic"} if function not in ("authorizer", "docs", "health") else set())


def test_every_function_with_routes_imports_cold_start_first() -> None:
    with_routes = [name for name in function_names() if HANDLES_ROUTES in reach(name)]
    first = {
        name: next(
            node for node in module(f"functions.{name}.app").tree.body if isinstance(node, ast.Import | ast.ImportFrom)
        )
        for name in with_routes
    }

    assert with_routes
    assert {ast.unparse(node) for node in first.values()} == {"import accounting.cold_start"}


def test_importing_a_function_collects_no_garbage_and_defers_rarely_used_modules_to_their_first_use() -> None:
    code = f"""
import gc, json, sys, types
early = []
gc.callbacks.append(lambda *_: early.append("pydantic" in sys.modules and not gc.get_freeze_count()))
sys.path[:0] = [{str(LAYER)!r}, {str(ROOT / "functions/credits")!r}]
import app
assert early and not any(early)
assert gc.isenabled() and gc.get_freeze_count() > 40_000
event = json.load(open({str(ROOT / "events/credits/balance.json")!r})) | {{"resource": "/none", "path": "/none"}}
context = types.SimpleNamespace(
    function_name="f", memory_limit_in_mb=1, invoked_function_arn="a", aws_request_id="r"
)
assert app.handler(event, context)["statusCode"] == 404
unused = {{
    "asyncio",
    "aws_lambda_powertools.event_handler.appsync",
    "aws_lambda_powertools.utilities.data_classes.kafka_event",
}}
assert not {{*unused, "zipfile"}} & set(sys.modules)
import aws_lambda_powertools.event_handler as handlers
import aws_lambda_powertools.utilities.data_classes as events
from aws_lambda_powertools.event_handler.api_gateway import APIGatewayRestResolver
resolver, event = handlers.APIGatewayRestResolver, events.APIGatewayProxyEvent
assert not hasattr(handlers, "__wrapped__") and not unused & set(sys.modules)
assert not hasattr(handlers, "no_such_name") and not hasattr(events, "no_such_name")
assert unused <= set(sys.modules), "Powertools no longer imports these modules: simplify cold_start"
assert all(hasattr(package, name) for package in (handlers, events) for name in package.__all__)
assert callable(events.event_source)
assert handlers.APIGatewayRestResolver is resolver is APIGatewayRestResolver and events.APIGatewayProxyEvent is event
from importlib import metadata
assert metadata.version("pydantic") and "zipfile" in sys.modules
"""
    environment = {"PATH": "", "PYDANTIC_DISABLE_PLUGINS": "__all__"}  # as in template.yaml
    run = subprocess.run(
        [sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=60, check=False
    )

    assert run.returncode == 0, run.stderr
