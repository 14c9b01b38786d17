"""docs/operations.md, typed from its first line to its last against a local AWS of its own."""

from __future__ import annotations

import os
import re
import subprocess
from typing import TYPE_CHECKING

import httpx
import pytest

from local import stack, tokens
from local.paths import BIN, ROOT
from tests.e2e.books import usage_in_stream

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from local.stack import Stack

BLOCKS = re.findall(r"^ *```\n(.*?)^ *```", (ROOT / "docs/operations.md").read_text(), re.DOTALL | re.MULTILINE)
PRELUDE = """
set -euo pipefail
# This AWS CLI is of version 1: its payloads need no word on their format, and its SQS minds no AWS_ENDPOINT_URL.
aws() {
  local each kept=()
  for each in "$@"; do case $each in --cli-binary-format|raw-in-base64-out) ;; *) kept+=("$each");; esac; done
  command aws --endpoint-url "$AWS_ENDPOINT_URL" "${kept[@]}"
}
# The local AWS was deployed to already, by SAM as `make deploy` does it, but for the bucket and the questions.
make() { if [ "$1" = restore ]; then command make --silent -C "$ROOT" "$@"; else echo "deployed before"; fi; }
# The address of the output is AWS's own.
curl() { command curl --fail-with-body "${@//https:\\/\\/*.amazonaws.com\\/v1/$URL}"; }
"""
LETTER = """{"DDBStreamBatchInfo": {"streamArn": "%s", "shardId": "%s", "startSequenceNumber": "%s"}}"""


@pytest.fixture
def fresh() -> Iterator[Stack]:
    """Deploy the service apart from that of the other tests: its table is replaced, its secret changed."""
    with stack.start() as running:
        yield running


def test_the_page_can_be_typed_from_its_first_line_to_its_last(fresh: Stack, tmp_path: Path) -> None:
    admin = tokens.mint(fresh.jwt_secret, "boss", "admin")
    with httpx.Client(base_url=fresh.base_url, trust_env=False, timeout=60) as http:
        for name in ("their-sub", "boss"):
            token = tokens.mint(fresh.jwt_secret, name)
            assert http.get("/api/credits/balance", headers={"Authorization": f"Bearer {token}"}).is_success
        used = {"service": "images", "operation": "render", "credits": 3}
        assert http.post("/api/usage/record", json=used, headers={"Authorization": f"Bearer {admin}"}).is_success
    (tmp_path / "sent.json").write_text(LETTER % tuple(usage_in_stream(fresh, "boss").values()))
    environ = {
        "PATH": f"{BIN}{os.pathsep}{os.environ['PATH']}",
        "HOME": str(tmp_path),
        "ROOT": str(ROOT),
        "URL": fresh.base_url,
        "NO_PROXY": "127.0.0.1",
        "AWS_ENDPOINT_URL": fresh.endpoint_url,
        "AWS_DEFAULT_REGION": "us-east-1",  # version 1 of the AWS CLI knows no AWS_REGION
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "ADMIN": admin,
        "NEW": fresh.jwt_secret,
        "OLD": fresh.jwt_secret[::-1],
        "VERSION": "1",
        "PAGER": "pager.example.com/alarms",
        "INSTANT": "2026-11-20T09:30:00Z",
    }
    script = "\n".join(re.sub(r"^ {3}", "", block, flags=re.MULTILINE) for block in BLOCKS)
    script = script.replace("eu-central-1", "us-east-1")
    # The queue has no letter unless something failed: one that tells of a record that is there stands in for it.
    script = script.replace("\ncat letter.json", "\ncp sent.json letter.json")

    done = subprocess.run(
        ["bash", "-c", PRELUDE + script], env=environ, cwd=tmp_path, capture_output=True, text=True, check=False
    )

    assert done.returncode == 0, (done.stdout + done.stderr)[-3000:]
    assert '"totalCredits":1000' in done.stdout
    assert '{"batchItemFailures": []}' in done.stdout
    assert "nothing was written: APPLY=1 writes" in done.stdout
    assert done.stdout.count('"complete": true') == 2, "both sweeps by hand"
