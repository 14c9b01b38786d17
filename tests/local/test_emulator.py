"""The local AWS is MiniStack, but its functions run in separate processes, and faster code replaces some of its own."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import zipfile
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import pytest

from local import emulator
from local.paths import EMULATOR_PYTHON, ROOT

if TYPE_CHECKING:
    from collections.abc import Iterator

    from local.emulator import Emulator

LIBRARY = "import os\nIMPORTED_BY = os.getpid()\n"
CODE = """
import os, random, sys, time
import cachetools

LOADED = {"pid": os.getpid(), "environment": dict(os.environ), "path": sys.path[:]}

def handler(event, _context):
    print("called")
    if event == "die":
        os._exit(3)
    time.sleep(0.5)
    seen = getattr(cachetools, "seen", [])
    cachetools.seen = [*seen, event]
    modules = [name for name, module in sys.modules.items() if "app.py" in str(getattr(module, "__file__", ""))]
    return LOADED | {
        "folder": os.getcwd(),
        "importedBy": cachetools.IMPORTED_BY,
        "seen": seen,
        "random": random.random(),
        "modules": modules,
    }
"""


def zipped(**files: str) -> bytes:
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return code.getvalue()


@pytest.fixture(scope="module")
def aws() -> Iterator[Emulator]:
    """A local AWS with two functions. Their layer has a fake `cachetools` that stores which process imported it."""
    with emulator.start() as started:
        functions = started.client("lambda")
        layer = functions.publish_layer_version(
            LayerName="libraries", Content={"ZipFile": zipped(**{"python/cachetools.py": LIBRARY})}
        )
        for name in ("first", "second"):
            functions.create_function(
                FunctionName=name,
                Runtime="python3.13",
                Handler="app.handler",
                Role="arn:aws:iam::000000000000:role/any",
                Code={"ZipFile": zipped(**{"app.py": CODE})},
                Layers=[layer["LayerVersionArn"]],
                Environment={"Variables": {f"ONLY_{name.upper()}": name}},
                Timeout=30,
            )
        yield started


def call(aws: Emulator, function: str, event: str) -> dict[str, Any]:
    answer = aws.client("lambda").invoke(FunctionName=function, Payload=json.dumps(event))
    found = json.loads(answer["Payload"].read())
    assert isinstance(found, dict)
    return found


def test_each_worker_is_a_separate_process(aws: Emulator) -> None:
    with ThreadPoolExecutor(4) as several:
        names = ["first", "second"] * 2
        found = list(several.map(lambda name, event: call(aws, name, event), names, "abcd"))

    assert len({each["pid"] for each in found}) == 4
    assert len({each["random"] for each in found}) == 4, "no two workers draw the same random number"
    assert [each["seen"] for each in found] == [[]] * 4, "no worker sees what another worker changed"
    for name, each in zip(names, found, strict=True):
        own = {variable for variable in each["environment"] if variable.startswith("ONLY_")}
        assert own == {f"ONLY_{name.upper()}"}
        assert each["environment"]["AWS_LAMBDA_FUNCTION_NAME"] == name
        assert each["folder"] == each["environment"]["LAMBDA_TASK_ROOT"]
        assert f"-{name}-" in each["folder"]
        assert each["modules"] == ["app"]
        assert str(ROOT) not in each["path"]
        assert str(ROOT / "local") not in each["path"]


@pytest.mark.skipif(sys.platform != "linux", reason="workers are forked on Linux only")
def test_libraries_are_imported_once_for_all_workers(aws: Emulator) -> None:
    first, second = (call(aws, name, "x") for name in ("first", "second"))

    assert first["importedBy"] == second["importedBy"]
    assert first["importedBy"] not in (first["pid"], second["pid"])


def test_a_worker_that_dies_is_replaced_and_leaves_no_process(aws: Emulator) -> None:
    before = call(aws, "second", "x")["pid"]

    assert "errorMessage" in call(aws, "second", "die")

    assert call(aws, "second", "x")["pid"] != before
    with pytest.raises(ProcessLookupError):
        os.kill(before, 0)


COMPARED = """
import copy, itertools, json, sys
sys.path.insert(0, sys.argv[1])
from ministack.services import dynamodb
slow = [dynamodb._evaluate_condition, dynamodb._apply_index_projection, dynamodb._item_size_bytes]
from ministack.core import iam_evaluator
slow_parsers = [dynamodb._tokenize, dynamodb._condition_syntax_error, iam_evaluator.parse_policy_document]
from local import emulator_queries
emulator_queries.answer_sooner()
quick = [dynamodb._evaluate_condition, dynamodb._apply_index_projection, dynamodb._item_size_bytes]
assert not set(slow) & set(quick)
quick_parsers = [dynamodb._tokenize, dynamodb._condition_syntax_error, iam_evaluator.parse_policy_document]
assert not set(slow_parsers) & set(quick_parsers)

texts = ["", "a", "b", "b#1", "ä", "\\U0001f600", "\\uffff", "~"]
keys = [{"S": text} for text in texts] + [{"N": "5"}, {"BOOL": True}, None]
items = [
    {name: value for name, value in (("k", pk), ("s", sk), ("more", {"N": "12"})) if value}
    for pk, sk in itertools.product(keys, keys)
]
names = {"#pk": "k", "#sk": "s"}
condition = emulator_queries.KEY_CONDITION
answers = []
for low, high in [("a", "b"), ("", "~"), ("b", "\\uffff"), ("ä", "\\U0001f600")]:
    values = {":pk": {"S": "b"}, ":low": {"S": low}, ":high": {"S": high}}
    for item in items:
        found = [bool(f[0](condition, item, values, names, slot="KeyConditionExpression")) for f in (slow, quick)]
        assert found[0] == found[1], (item, values, found)
        answers.append(found[0])
assert 0 < sum(answers) < len(answers)

def table(projection):
    index = {"IndexName": "i", "KeySchema": [{"AttributeName": "k", "KeyType": "HASH"}], "Projection": projection}
    return {"pk_name": "pk", "sk_name": "s", "GlobalSecondaryIndexes": [index]}

for projection in ({"ProjectionType": "KEYS_ONLY"}, {"ProjectionType": "ALL"}, {},
                   {"ProjectionType": "INCLUDE", "NonKeyAttributes": ["more"]}):
    for name in ("i", None, "other"):
        for item in items:
            found = [f[1](item, table(projection), name) for f in (slow, quick)]
            assert found[0] == found[1], (item, projection, name, found)
expressions = [emulator_queries.KEY_CONDITION, "SET #a = if_not_exists(#a, :b) + :c", "#a < :b OR NOT #a IN (:b)", "",
               "#a = = :b", "#a BETWEEN :b", "and", "(#a = :b", "attribute_exists(a.b[0])"]
allow = {"Effect": "Allow", "Action": ["a:*"], "Resource": "*"}
document = {"Version": "2012-10-17", "Statement": [allow, {**allow, "Effect": "Deny", "Action": "a:B"}]}
policies = [json.dumps(document), document, json.dumps({"Statement": allow}), {"Statement": []}]
errors = []
for _ in range(2):  # the second round reads the caches
    for expression in expressions:
        found = [f[0](expression) for f in (slow_parsers, quick_parsers)]
        assert list(found[0]) == list(found[1]), (expression, found)
        found[1].append("changed by the caller")
        for slot in ("ConditionExpression", "KeyConditionExpression"):
            found = [f[1](expression, slot) for f in (slow_parsers, quick_parsers)]
            assert found[0] == found[1], (expression, found)
            errors.append(found[0])
    for policy in policies:
        found = [f[2](policy) for f in (slow_parsers, quick_parsers)]
        assert repr(found[0]) == repr(found[1]), (policy, found)
        assert policy == policies[-1] or found[0]
        found[1].clear()
assert any(errors) and not all(errors)
for item in [*items, {"ä": {"S": "\\U0001f600"}}, {"l": {"L": [{"S": "x"}]}}, {"n": {"NULL": True}}]:
    assert slow[2](item) == quick[2](item), item
print("the same")
"""


def test_the_faster_code_has_the_same_results_as_ministacks_own() -> None:
    compared = subprocess.run(
        [EMULATOR_PYTHON, "-c", COMPARED, ROOT], capture_output=True, text=True, check=False, timeout=120
    )

    assert compared.stdout.endswith("the same\n"), compared.stderr
