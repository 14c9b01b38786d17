"""A Lambda function's policy allows exactly the calls that its code makes, and no others."""

import ast
from collections.abc import Collection
from typing import Any

import pytest

from accounting.store import keys
from tests.contract.test_routes import functions
from tests.reach import function_names, module, module_names, nodes, reach

TABLE = "accounting.store.table."
QUERIES = f"{TABLE}queries"

type Reached = Collection[tuple[str, str]]
"""The definitions that a Lambda function could use (`tests/reach.py`), each as its module and name."""

type Permission = tuple[str, str]
"""An action and its resource: ``table``, ``index/<name>``, or a secret's logical id."""

CALLS = {
    "get_item": "dynamodb:GetItem",
    "batch_get_item": "dynamodb:BatchGetItem",
    "query": "dynamodb:Query",
    "scan": "dynamodb:Scan",
    "put_item": "dynamodb:PutItem",
    "update_item": "dynamodb:UpdateItem",
    "delete_item": "dynamodb:DeleteItem",
    "batch_write_item": "dynamodb:BatchWriteItem",
    "transact_write_items": None,  # needs the permissions of its writes
}
WRITES = {
    "Put": "dynamodb:PutItem",
    "Update": "dynamodb:UpdateItem",
    "Delete": "dynamodb:DeleteItem",
    "ConditionCheck": "dynamodb:ConditionCheckItem",
}


def table_permissions(reached: Reached) -> set[Permission]:
    """The DynamoDB permissions that the reached functions of store/table need."""
    permissions: set[Permission] = set()
    for node in nodes({(where, name) for where, name in reached if where.startswith(TABLE)}):
        if isinstance(node, ast.Attribute) and _is_client(node.value):
            permissions |= _of_call(node.attr, reached)
        if isinstance(node, ast.Dict):
            permissions |= {(WRITES[key], "table") for key in _texts(node) if key in WRITES}
    return permissions


def _of_call(method: str, reached: Reached) -> set[Permission]:
    action = CALLS[method]
    if action is None:
        return set()
    if action != "dynamodb:Query":
        return {(action, "table")}
    # The client's ``query`` reads the table or an index. Only ``query`` and ``query_all`` in store/table/queries.py let
    # it read the table.
    on_table = {(action, "table")} if {(QUERIES, "query"), (QUERIES, "query_all")} & set(reached) else set()
    return on_table | {(action, f"index/{name}") for name in indexes(reached)}


def partitions(reached: Reached) -> set[str]:
    """The beginnings of the partition keys in the reached code, as IAM patterns."""
    definitions = {(where, name) for where, name in reached if where == keys.__name__}
    return {
        _pattern(value)
        for node in nodes(definitions)
        if isinstance(node, ast.Dict)
        for key, value in zip(node.keys, node.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == "pk"
    }


def _pattern(value: ast.expr) -> str:
    """``COUNTS`` for a text, ``USER#*`` for an f-string that begins with ``USER#``."""
    if isinstance(value, ast.Constant):
        return str(value.value)
    assert isinstance(value, ast.JoinedStr)
    begin = value.values[0]
    assert isinstance(begin, ast.Constant)
    assert isinstance(begin.value, str)
    return f"{begin.value}*"


def indexes(reached: Reached) -> set[str]:
    """The indexes that the reached code uses."""
    outside_keys = {(where, name) for where, name in reached if where != keys.__name__}
    return {
        getattr(keys, node.attr)
        for node in nodes(outside_keys)
        if isinstance(node, ast.Attribute) and node.attr in INDEX_NAMES and ast.unparse(node.value) == "keys"
    }


INDEX_NAMES = {name for name, value in vars(keys).items() if isinstance(value, str) and value in keys.INDEX_KEYS}


def _is_client(node: ast.expr) -> bool:
    return isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "client"


def _texts(node: ast.Dict) -> list[str]:
    return [key.value for key in node.keys if isinstance(key, ast.Constant) and isinstance(key.value, str)]


def environment(reached: Reached) -> set[str]:
    """The variables without which the reached code fails: those read as ``os.environ["X"]`` or ``env["X"]``."""
    return {
        str(node.slice.value)
        for node in nodes(reached)
        if isinstance(node, ast.Subscript)
        and ast.unparse(node.value) in ("os.environ", "env")
        and isinstance(node.slice, ast.Constant)
    }


def needed(function: str) -> set[Permission]:
    reached = reach(function)
    secrets = {name for name in environment(reached) if name.endswith(("_SECRET_ID", "_KEY_ID"))}
    return table_permissions(reached) | {
        ("secretsmanager:GetSecretValue", _reference(functions()[function], name)) for name in secrets
    }


def _reference(properties: dict[str, Any], variable: str) -> str:
    """The resource that this environment variable refers to."""
    return _resource(properties["Environment"]["Variables"][variable])


def granted(function: str) -> list[Permission]:
    found = []
    for policy in functions()[function].get("Policies", []):
        for statement in policy["Statement"]:
            assert statement["Effect"] == "Allow"
            for action in _listed(statement["Action"]):
                found += [(action, _resource(resource)) for resource in _listed(statement["Resource"])]
    return found


def permitted_partitions(function: str) -> list[str]:
    """The partition keys to which a function's statements on the table are limited."""
    limits = [
        statement["Condition"]
        for policy in functions()[function].get("Policies", [])
        for statement in policy["Statement"]
        if statement["Resource"] == {"Fn::GetAtt": ["Table", "Arn"]}
    ]
    return [
        pattern for limit in limits for pattern in _listed(limit["ForAllValues:StringLike"]["dynamodb:LeadingKeys"])
    ]


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def _resource(value: dict[str, Any]) -> str:
    match value:
        case {"Fn::If": [_, resource, {"Ref": "AWS::NoValue"}]}:
            return _resource(resource)
        case {"Fn::GetAtt": ["Table", "Arn"]}:
            return "table"
        case {"Fn::Sub": text} if text.startswith("${Table.Arn}/index/"):
            return str(text).removeprefix("${Table.Arn}/")
        case {"Ref": name} | {"Fn::GetAtt": [name, "Id"]}:
            return str(name)
    raise AssertionError(f"a resource that is neither the table, an index nor a secret: {value}")


@pytest.mark.parametrize("function", function_names())
def test_a_functions_policy_allows_exactly_the_calls_that_its_code_makes(function: str) -> None:
    allowed = granted(function)

    assert sorted(allowed) == sorted(needed(function))


@pytest.mark.parametrize("function", function_names())
def test_a_function_may_access_only_the_partitions_that_its_code_uses(function: str) -> None:
    on_table = any(resource == "table" for _, resource in granted(function))

    assert sorted(permitted_partitions(function)) == sorted(partitions(reach(function)) if on_table else [])


@pytest.mark.parametrize("function", function_names())
def test_a_function_has_the_environment_variables_that_its_code_needs(function: str) -> None:
    variables = functions()[function]["Environment"]["Variables"]

    assert environment(reach(function)) <= set(variables)


def test_the_analysis_finds_what_each_function_needs_and_nothing_else() -> None:
    """The expected permissions are written by hand, so an analysis that finds nothing or everything fails this test."""
    assert ("dynamodb:UpdateItem", "table") in needed("streaming_sessions")
    assert ("dynamodb:Query", "index/due") in needed("streaming_sessions")
    assert ("dynamodb:Query", "table") in needed("credits")
    assert ("dynamodb:UpdateItem", "table") not in needed("ledger")
    assert ("dynamodb:DeleteItem", "table") in needed("authorizer")
    assert ("secretsmanager:GetSecretValue", "JwtSecret") in needed("authorizer")
    assert ("secretsmanager:GetSecretValue", "IssuersSecretArn") in needed("authorizer")
    assert needed("health") == needed("docs") == set()
    assert partitions(reach("pricing")) == {"KEY#*", "PRICE#*", "SERVICE#*", "USER#*"}
    assert {"USER#*", "EMAIL#*", "COUNTS"} <= partitions(reach("users"))


def test_every_call_of_the_dynamodb_client_is_listed() -> None:
    called = {
        node.attr
        for name in module_names()
        for node in ast.walk(module(name).tree)
        if isinstance(node, ast.Attribute) and _is_client(node.value) and name.startswith(TABLE)
    }

    assert called <= set(CALLS)
    assert called
