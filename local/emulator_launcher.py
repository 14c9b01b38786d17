"""Starts the local AWS (MiniStack) with the gateway responses of REST APIs as AWS serves them.

It runs in MiniStack's own environment: `<its python> local/emulator_launcher.py [--die-with-parent]`.

The pinned MiniStack serves gateway responses, but (1) does not read them from the OpenAPI document that SAM
makes from the template, and (2) does not fill in `$context.authorizer.*`. Both work on AWS, and the second one gives
every 401 its code (TOKEN_EXPIRED, ...). Also, (3) it unpacks the layer again for each worker, one after the
other, (4) imports botocore in each worker to count how deep functions call each other, which ours do not, and
(5) starts a worker for each call of a burst, although fewer would answer the burst sooner. All three make a burst of
calls wait. (6) After each call it waits some milliseconds to see whether the worker logs more, and (7) it parses the
same expressions and policies again for each item and request. `emulator_state.py` changes how it keeps its data.
MiniStack's own functions are wrapped; only the one that collects a worker's log is replaced. This refuses to run with
any other version of MiniStack.
"""

from __future__ import annotations

import contextlib
import inspect
import io
import os
import queue
import re
import signal
import sys
import tempfile
import threading
import time
import zipfile
from functools import lru_cache
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hypercorn.asyncio
import uvicorn
from hypercorn.config import Config as Settings
from ministack import app
from ministack.core import iam_evaluator, lambda_runtime
from ministack.services import apigateway_v1 as gateway
from ministack.services import dynamodb, lambda_svc

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # it is started as a file, outside the package
from local import emulator_state  # noqa: E402

MINISTACK_VERSION = "1.5.33"
SIGNATURES = {
    gateway._import_rest_api: "(spec, base_data=None)",
    gateway._put_gateway_response: "(api_id, response_type, data)",
    gateway._authorize_request_v1: (
        "(api_id, stage_name, method_obj, method, request_path, resource, headers, body, query_params,"
        " path_params, stage, owner_account_id, owner_region)"
    ),
    gateway._cache_authorizer_result: "(key, expires_at, policy_doc, context)",
    gateway._header_ci: "(headers, name)",
    gateway._gateway_error_response: "(error, request)",
    lambda_svc.acquire_worker: (
        "(func_name: str, config: dict, code_zip: bytes, qualifier: str = '$LATEST',"
        " max_concurrency: int | None = None)"
    ),
    lambda_svc._resolve_layer_zip: "(attachment: str | dict) -> bytes | None",
    lambda_runtime.Worker._drain_stderr_bounded: (
        "(self, first_line_wait: float = 0.05, idle_confirm: float = 0.005, hard_cap: float = 0.25) -> str"
    ),
    dynamodb._tokenize: "(expr)",
    dynamodb._condition_syntax_error: "(expr: str, slot: str) -> str | None",
    iam_evaluator.parse_policy_document: "(doc: str | dict) -> list[ministack.core.iam_evaluator.ParsedStatement]",
    **emulator_state.SIGNATURES,
}
GATEWAY_RESPONSES = "x-amazon-apigateway-gateway-responses"
ENOUGH_WORKERS = 6
PATIENCE_SECONDS = 5
COUNT_DEPTH = "    _ms_install_invoke_depth()\n"
ANSWER = "\n        _real_stdout.flush()\n\nrun()"
"""Where the workers' program sends the answer of a call."""
END_OF_LOG = "\x00end of the log\x00"
END_SECONDS, DEAD_END_SECONDS = 5, 0.05
MANY = 4096
AUTHORIZER_VARIABLE = re.compile(rb"\$context\.authorizer\.(\w+)")


def main() -> None:
    """Run until SIGTERM, which also saves the state."""
    check_internals()
    read_gateway_responses_from_openapi()
    fill_in_authorizer_variables()
    unpack_layers_once()
    start_workers_without_botocore()
    mark_the_end_of_a_log()
    parse_once()
    serve_by_uvicorn()
    wait_for_free_workers()
    emulator_state.keep()
    if "--die-with-parent" in sys.argv:
        threading.Thread(target=die_with_parent, daemon=True).start()
    sys.argv = ["ministack"]
    app.main()


def check_internals() -> None:
    """Exit unless MiniStack is the version, and has the functions, that the code below expects."""
    if version("ministack") != MINISTACK_VERSION:
        sys.exit(f"MiniStack is {version('ministack')}; {__file__} was written for {MINISTACK_VERSION}")
    for function, expected in SIGNATURES.items():
        if str(inspect.signature(function)) != expected:
            sys.exit(f"MiniStack's {function.__name__} is not {expected}, which {__file__} was written for")


def read_gateway_responses_from_openapi() -> None:
    """Make the import of an OpenAPI document include its gateway responses."""
    import_rest_api = gateway._import_rest_api

    def import_with_gateway_responses(spec: dict[str, Any], base_data: dict[str, Any] | None = None) -> Any:
        api_id = import_rest_api(spec, base_data)
        for response_type, response in spec.get(GATEWAY_RESPONSES, {}).items():
            status, _, body = gateway._put_gateway_response(api_id, response_type, response)
            if status >= 400:
                raise ValueError(f"Gateway response {response_type}: {body!r}")
        return api_id

    gateway._import_rest_api = import_with_gateway_responses


def fill_in_authorizer_variables() -> None:
    """Keep the authorizer's context of a denial, and use it in the rendered response."""
    authorize_request = gateway._authorize_request_v1
    signature = inspect.signature(authorize_request)
    render = gateway._gateway_error_response

    async def authorize_and_remember(*arguments: Any) -> Any:
        error, context = await authorize_request(*arguments)
        if error is not None and error.response_type == "ACCESS_DENIED":
            error.authorizer_context = denied_context(signature.bind(*arguments).arguments)
        return error, context

    def render_with_authorizer(error: Any, request: dict[str, Any]) -> tuple[int, dict[str, str], bytes]:
        status, headers, body = render(error, request)
        context = getattr(error, "authorizer_context", {})
        return (
            status,
            headers,
            AUTHORIZER_VARIABLE.sub(lambda m: context.get(m[1].decode(), "").encode(), body),
        )

    gateway._authorize_request_v1 = authorize_and_remember
    gateway._gateway_error_response = render_with_authorizer


def denied_context(request: dict[str, Any]) -> dict[str, str]:
    """Return the answer of the TOKEN authorizer that denied; it is in the authorizer's cache."""
    authorizer_id = request["method_obj"].get("authorizerId")
    authorizer = gateway._authorizers_v1[request["api_id"]][authorizer_id]
    header = authorizer["identitySource"].removeprefix("method.request.header.")
    key = (
        request["owner_account_id"],
        request["owner_region"],
        request["api_id"],
        authorizer_id,
        request["stage_name"],
        (gateway._header_ci(request["headers"], header),),
    )
    _, _, context = gateway._authorizer_cache.get(key, (None, None, {}))
    return dict(context)


def unpack_layers_once() -> None:
    """Give each worker a one-line layer that adds the already unpacked layer to its path."""
    resolve = lambda_svc._resolve_layer_zip
    lock = threading.Lock()
    pointers: dict[str, bytes] = {}

    def resolve_to_pointer(attachment: Any) -> bytes | None:
        with lock:
            if str(attachment) not in pointers:
                layer = resolve(attachment)
                if layer is None:
                    return None
                pointers[str(attachment)] = pointer_to(layer)
            return pointers[str(attachment)]

    lambda_svc._resolve_layer_zip = resolve_to_pointer


def pointer_to(layer: bytes) -> bytes:
    """Unpack `layer`, and return a layer that makes Python import from there."""
    folder = tempfile.mkdtemp(prefix="layer-")
    with zipfile.ZipFile(io.BytesIO(layer)) as whole:
        whole.extractall(folder)
    pointer = io.BytesIO()
    with zipfile.ZipFile(pointer, "w") as small:
        line = f"import sys; sys.path.insert(0, {folder + '/python'!r})\n"
        small.writestr("python/lib/python3.13/site-packages/layer.pth", line)
    return pointer.getvalue()


def start_workers_without_botocore() -> None:
    """Remove the part of the workers' program that counts how deep functions call each other."""
    change_workers_program(COUNT_DEPTH, "")


def mark_the_end_of_a_log() -> None:
    """Let a worker end the log of each call with a line of its own, instead of waiting for a pause in its log."""
    change_workers_program(ANSWER, f"\n        print({END_OF_LOG!r}, file=sys.stderr, flush=True){ANSWER}")
    lambda_runtime.Worker._drain_stderr_bounded = log_of_a_call


def log_of_a_call(worker: Any, *_: Any) -> str:
    """Return what the worker logged during a call. A dead worker, which MiniStack has dropped, may have no end."""
    lines: list[str] = []
    patience = END_SECONDS if worker._proc else DEAD_END_SECONDS
    with contextlib.suppress(queue.Empty):
        while END_OF_LOG not in (line := worker._stderr_queue.get(timeout=patience)):
            lines.append(line)
        if line != END_OF_LOG:  # the function did not end its last line
            lines.append(line.removesuffix(END_OF_LOG))
    return "\n".join(lines)


def change_workers_program(old: str, new: str) -> None:
    """Replace a part of the program that runs functions."""
    program = lambda_runtime._PYTHON_WORKER_SCRIPT
    if program.count(old) != 1:
        sys.exit(f"MiniStack's program for workers is not the one that {__file__} was written for")
    lambda_runtime._PYTHON_WORKER_SCRIPT = program.replace(old, new)


def parse_once() -> None:
    """Remember what was read from an expression or a policy. A list is copied, because the caller may change it."""
    dynamodb._condition_syntax_error = lru_cache(MANY)(dynamodb._condition_syntax_error)
    tokens = lru_cache(MANY)(dynamodb._tokenize)
    dynamodb._tokenize = lambda expression: list(tokens(expression))
    parse = iam_evaluator.parse_policy_document
    parse_text = lru_cache(MANY)(parse)
    iam_evaluator.parse_policy_document = lambda policy: (
        list(parse_text(policy)) if isinstance(policy, str) else parse(policy)
    )


def serve_by_uvicorn() -> None:
    """Serve with uvicorn and httptools instead of Hypercorn, which takes longer for a request than MiniStack does."""

    async def serve(application: Any, settings: Settings) -> None:
        host, _, port = settings.bind[0].rpartition(":")
        await uvicorn.Server(
            uvicorn.Config(
                application,
                host=host,
                port=int(port),
                http="httptools",
                ws="none",
                access_log=False,
                log_level="warning",
                timeout_keep_alive=int(settings.keep_alive_timeout),
                timeout_graceful_shutdown=int(settings.graceful_timeout),
                server_header=False,
                date_header=False,
            )
        ).serve()

    hypercorn.asyncio.serve = serve


def wait_for_free_workers() -> None:
    """Let a call wait some seconds for a free worker if its function has ENOUGH_WORKERS, before it starts another."""
    acquire = lambda_svc.acquire_worker

    def acquire_soon(func_name: str, config: dict[str, Any], code_zip: bytes, qualifier: str = "$LATEST") -> Any:
        patience_ends = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < patience_ends:
            worker, reason = acquire(func_name, config, code_zip, qualifier=qualifier, max_concurrency=ENOUGH_WORKERS)
            if worker is not None:
                return worker, reason
            time.sleep(0.005)
        return acquire(func_name, config, code_zip, qualifier=qualifier)

    lambda_svc.acquire_worker = acquire_soon


def die_with_parent() -> None:
    """Stop as soon as the process at the other end of standard input is gone, even if it was killed."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
