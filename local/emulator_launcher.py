"""Starts the local AWS (MiniStack), and makes it serve gateway responses as AWS does.

Run it with the Python of MiniStack's virtual environment: `<python> local/emulator_launcher.py [--die-with-parent]`.

Gateway responses are the errors that API Gateway itself answers, such as the 401 for an invalid token. AWS reads them
from the OpenAPI document that SAM makes from the template, and fills in `$context.authorizer.*`, which contains the
401's code (TOKEN_EXPIRED, ...). MiniStack does neither, so the launcher adds both. The launcher also replaces
MiniStack's web server with a faster one. `emulator_workers.py` starts functions sooner, `emulator_queries.py` answers
queries sooner, and `emulator_state.py` changes how data is saved. All this changes internal functions of MiniStack, so
the launcher refuses to run with any version but ``MINISTACK_VERSION``.
"""

from __future__ import annotations

import inspect
import os
import re
import signal
import sys
import threading
from importlib.metadata import version
from pathlib import Path
from typing import Any

import hypercorn.asyncio
import uvicorn
from hypercorn.config import Config as Settings
from ministack import app
from ministack.services import apigateway_v1 as gateway

sys.path[0] = str(Path(__file__).resolve().parent.parent)  # this program is started as a file, outside the package
from local import emulator_queries, emulator_state, emulator_workers  # noqa: E402

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
    **emulator_queries.SIGNATURES,
    **emulator_state.SIGNATURES,
    **emulator_workers.SIGNATURES,
}
GATEWAY_RESPONSES = "x-amazon-apigateway-gateway-responses"
AUTHORIZER_VARIABLE = re.compile(rb"\$context\.authorizer\.(\w+)")


def main() -> None:
    """Run until SIGTERM, which also saves the state."""
    check_internals()
    read_gateway_responses_from_openapi()
    fill_in_authorizer_variables()
    emulator_workers.start_sooner()
    emulator_queries.answer_sooner()
    serve_by_uvicorn()
    emulator_state.save_reliably()
    if "--die-with-parent" in sys.argv:
        threading.Thread(target=die_with_parent, daemon=True).start()
    sys.argv = ["ministack"]
    app.main()


def check_internals() -> None:
    """Exit unless MiniStack has the version and the function signatures that this program expects."""
    if version("ministack") != MINISTACK_VERSION:
        sys.exit(f"MiniStack is {version('ministack')}; {__file__} was written for {MINISTACK_VERSION}")
    for function, expected in SIGNATURES.items():
        if str(inspect.signature(function)) != expected:
            sys.exit(f"MiniStack's {function.__name__} no longer has the signature {expected}, which {__file__} needs")


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
    """Remember the context that the authorizer returns with a denial, and fill it into the response."""
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
    """Return the context with which the TOKEN authorizer denied the request, from the authorizer's cache."""
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


def serve_by_uvicorn() -> None:
    """Replace Hypercorn with uvicorn. Hypercorn takes longer for a request than MiniStack's own code does."""

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


def die_with_parent() -> None:
    """Stop as soon as the process at the other end of standard input is gone, even if it was killed."""
    sys.stdin.buffer.read()
    os.kill(os.getpid(), signal.SIGTERM)


if __name__ == "__main__":
    main()
