"""`make run`: the whole service on a local AWS, with a demo user, until Ctrl-C.

It reads these environment variables:

- PORT: the port, 4566 by default.
- FRESH=1: delete the data of earlier starts.
- BACKGROUND=1: return once the service answers. `make stop` stops the service.
- JWT_ACCESS_SECRET: the secret that signs tokens. By default, the first start makes one, and later starts use it again.
- ISSUERS: a file with the identity providers whose tokens are accepted (docs/identity.md).
- The template's parameters, such as SESSION_TIMEOUT_MINUTES (`local/parameters.py`).
"""

from __future__ import annotations

import os
import secrets
import signal
import sys
import time
from typing import TYPE_CHECKING, NoReturn

import httpx
from botocore.exceptions import BotoCoreError, EndpointConnectionError

from local import data_format, emulator, issuers, parameters, private, tokens
from local.logs import Tail
from local.paths import JWT_SECRET, LOCAL, SCRATCH, STACK_JSON, STATE
from local.running import Running
from local.stack import deploy
from local.steps import Refused, explain, step

if TYPE_CHECKING:
    from local.emulator import Emulator
    from local.stack import Stack

DEFAULT_PORT = "4566"
LOG_POLL_SECONDS = 0.5
JWT_SECRET_MIN_BYTES = 32
DEMO_CREDITS = 1_000
USER = "demo-user"
ADMIN = "demo-admin"


def main() -> int:
    """Run the service; return the exit status."""
    for number in (signal.SIGTERM, signal.SIGHUP):  # both signals act like Ctrl-C
        signal.signal(number, _interrupt)
    try:
        return _run(Running())
    except Refused as refused:
        return explain(refused)
    except (httpx.TransportError, BotoCoreError) as error:
        return explain(Refused(f"the local AWS does not answer ({error}); see {SCRATCH / 'emulator.log'}"))
    except KeyboardInterrupt:
        return 0


def _run(running: Running) -> int:
    background = os.environ.get("BACKGROUND") == "1"
    port, settings, document = _port(), parameters.from_environment(os.environ), issuers.from_environment(os.environ)
    for made_before in (STATE, JWT_SECRET, STACK_JSON):
        private.make_private(made_before)
    jwt_secret = _jwt_secret()
    if os.environ.get("FRESH") == "1":
        emulator.empty(STATE)
    data_format.require(STATE)
    emulator.empty(SCRATCH)
    with step("Local AWS"):
        aws = emulator.launch(port, SCRATCH, STATE, lock=running.fileno() if background else None)
    if background:
        running.record(aws.process.pid, leads_session=True)
    serving = False
    try:
        stack = deploy(aws, jwt_secret, document, **settings)
        with step(f"Demo user with {DEMO_CREDITS:,} credits"):
            _seed(stack)
            _audit(stack)
            aws.save()
        private.write(STACK_JSON, stack.as_json() + "\n")
        print(introduction(stack))
        serving = True
        if background:
            print("The service runs in the background. `make stop` stops it.")
            return 0
        print("Ctrl-C stops the service. What the functions log:\n", flush=True)
        return _follow_logs(stack)
    finally:
        if not (background and serving):
            _stop(aws)


def _follow_logs(stack: Stack) -> int:
    """Print what the functions log, until the local AWS ends."""
    tail = Tail(stack)
    while stack.aws.process.poll() is None:
        try:
            lines = tail.read()
        except EndpointConnectionError:  # the local AWS is ending
            continue
        for line in lines:
            print(f"{line.function:>18}  {line.message}", flush=True)
        time.sleep(LOG_POLL_SECONDS)
    print(f"error: the local AWS has ended; see {stack.aws.log}", file=sys.stderr)
    return 1


def _stop(aws: Emulator) -> None:
    """Stop everything that was started, ignoring a second Ctrl-C."""
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)
    STACK_JSON.unlink(missing_ok=True)
    try:
        print("\nStopping …", flush=True)
    finally:  # even if standard output is closed
        aws.stop()


def _port() -> int:
    port = os.environ.get("PORT") or DEFAULT_PORT
    if not port.isascii() or not port.isdecimal():
        raise Refused(f"PORT must be a number, not {port}")
    return int(port)


def _jwt_secret() -> str:
    """Return the secret that signs tokens: the environment's, or one that is created on the first start.

    Raises Refused if the environment's secret is too short.
    """
    given = os.environ.get("JWT_ACCESS_SECRET")
    if given:
        if len(given.encode()) < JWT_SECRET_MIN_BYTES:
            raise Refused(f"JWT_ACCESS_SECRET has fewer than {JWT_SECRET_MIN_BYTES} bytes")
        return given
    if not JWT_SECRET.exists():
        private.write(JWT_SECRET, secrets.token_urlsafe(48))
    return JWT_SECRET.read_text()


def _seed(stack: Stack) -> None:
    """Create the demo user and grant them credits.

    Another start within 7 days grants nothing: the service keeps the grant's idempotency key that long.
    """
    user, admin = (_authorization(stack, *who) for who in ((USER, "user"), (ADMIN, "admin")))
    grant = {"userId": USER, "credits": DEMO_CREDITS, "notes": "Credits to try the service with"}
    with httpx.Client(base_url=stack.base_url, trust_env=False, timeout=30) as http:
        # The first authenticated call creates the user; a grant to an unknown user is refused.
        for answer in (
            http.get("/api/credits/balance", headers=user),
            http.post("/api/credits/allocate", json=grant, headers=admin | {"Idempotency-Key": "demo-seed"}),
        ):
            if not answer.is_success:
                request = answer.request
                raise Refused(f"{request.method} {request.url.path}: {answer.status_code} {answer.text}")


def _audit(stack: Stack) -> None:
    """Start the auditor without waiting for its result. By schedule, it would start only after the first hour."""
    stack.aws.client("lambda").invoke(FunctionName=f"{stack.stack_name}-auditor:live", InvocationType="Event")


def _authorization(stack: Stack, sub: str, role: str) -> dict[str, str]:
    return {"Authorization": f"Bearer {tokens.mint(stack.jwt_secret, sub, role)}"}


def introduction(stack: Stack) -> str:
    """Return the text to print at the start: addresses, and the first commands to try."""
    return f"""
The service answers at  {stack.base_url}
See and move credits    {stack.base_url}/api/console
Read and try the API    {stack.base_url}/api/docs
Addresses and secrets   {STACK_JSON.relative_to(LOCAL.parent)}

In a second terminal, in this folder: a token for these pages, a first request, and a chat proxy's whole workflow

make token USER={ADMIN} ROLE=admin
curl -s {stack.base_url}/api/credits/balance -H "Authorization: Bearer $(make token USER={USER})"
make demo"""


def _interrupt(*_: object) -> NoReturn:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
