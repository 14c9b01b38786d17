"""`make demo`: what a chat proxy does with the service, and what its users see, over real HTTP.

The demo calls the service that `make run` started in this folder. It creates new users each time, so you can repeat it.
"""

from __future__ import annotations

import json
import sys
import time
import uuid
from datetime import UTC, datetime
from typing import Any

import httpx
from botocore.exceptions import BotoCoreError

from local import tokens
from local.demo_caller import Caller, new_session_id, title
from local.demo_team import show_team
from local.emulator import client_of
from local.paths import STACK_JSON
from local.steps import Refused, explain

MODEL = "anthropic.claude-3-sonnet-20240229-v1:0"
GRANT = 80
PROMPT_TOKENS = 200
ESTIMATED_TOKENS = 10_000
STREAM_TOKENS = (1_500, 4_200, 7_900)
USAGE = {
    "prompt_tokens": 182,
    "completion_tokens": 8_400,
    "total_tokens": 8_582,
    "prompt_tokens_details": {"cached_tokens": 128},
}
"""The usage that the model's provider reports at the end of the stream, in OpenAI's format."""
LARGE_STREAM_TOKENS = 50_000
BAR_WIDTH = 32
DAY_MILLISECONDS = 86_400_000
SWEPT_SERVICE = "chat-streaming-expired"


def main() -> int:
    try:
        if not STACK_JSON.exists():
            raise Refused("the service is not running: start it with `make run`, then repeat this in a second terminal")
        stack = json.loads(STACK_JSON.read_text())
        as_proxy = {"X-Internal-Api-Key": stack["internalApiKey"]}  # needed if the stack has RequireServiceKey
        with httpx.Client(base_url=stack["baseUrl"], headers=as_proxy, timeout=60, trust_env=False) as http:
            user, admin = (_caller(http, stack["jwtSecret"], role) for role in ("user", "admin"))
            _show(user, admin, stack)
            show_team(admin, lambda name: _caller(http, stack["jwtSecret"], "user", name))
    except Refused as refused:
        return explain(refused)
    except (httpx.TransportError, BotoCoreError) as error:
        return explain(Refused(f"the service does not answer ({error}); is `make run` still running?"))
    return 0


def _caller(http: httpx.Client, secret: str, role: str, name: str = "") -> Caller:
    sub = f"demo-{name or role}-{uuid.uuid4().hex[:8]}"
    return Caller(http, sub, tokens.mint(secret, sub, role))


def _show(user: Caller, admin: Caller, stack: dict[str, str]) -> None:
    _get_credits(user, admin)
    _stream(user)
    _too_large(user)
    _abort(user)
    _price(user, admin)
    _api_key(user)
    _usage(user, admin)
    _sweep(user, stack)
    _ledger(user)


def _get_credits(user: Caller, admin: Caller) -> None:
    title("A user calls with a token, and an administrator grants credits")
    _print_balance(user)
    grant = {"userId": user.sub, "credits": GRANT, "expiryDays": 30, "notes": "Welcome"}
    print(admin.post("/api/credits/allocate", grant, expect=201)["message"])
    _print_balance(user)


def _stream(user: Caller) -> None:
    title("The chat proxy estimates, reserves, streams, and settles what was really used")
    estimate = user.post("/api/credits/calculate", {"modelId": MODEL, "usage": _estimate(ESTIMATED_TOKENS)})
    print(f"{estimate['credits']} credits for a prompt of {PROMPT_TOKENS} tokens and {ESTIMATED_TOKENS:,} of output")
    session_id = _open(user, ESTIMATED_TOKENS)
    _print_balance(user)
    for tokens_so_far in STREAM_TOKENS:
        time.sleep(0.3)  # the model is writing
        beat = {"sessionId": session_id, "tokensGenerated": tokens_so_far}
        user.post("/api/streaming-sessions/heartbeat", beat)
        print(_bar(tokens_so_far))
    done = {"sessionId": session_id, "usage": USAGE, "usageFormat": "openai", "success": True}
    settled = user.post("/api/streaming-sessions/finalize", done)
    print(f"{settled['status']}: {settled['actualCredits']} credits used, {settled['refund']} refunded")
    print(f"             for {json.dumps(settled['usage'])}")
    _print_balance(user)


def _too_large(user: Caller) -> None:
    title("A stream that the credits do not cover is refused before it starts")
    check = user.post("/api/credits/check", {"requiredCredits": LARGE_STREAM_TOKENS * 3 // 1000})
    print("enough" if check["sufficient"] else f"not enough: the user has {check['credits']}")
    session = {"sessionId": new_session_id(), "modelId": MODEL, "estimatedUsage": _estimate(LARGE_STREAM_TOKENS)}
    refusal = user.post("/api/streaming-sessions/initialize", session, expect=402)
    details = refusal["details"]
    print(f"{refusal['code']}: {details['requiredCredits']} needed, {details['availableCredits']} available,")
    print(f"             {details['affordableOutputTokens']:,} tokens of output would be affordable")


def _abort(user: Caller) -> None:
    title("The user presses stop: what was generated is paid, the rest comes back")
    session_id = _open(user, ESTIMATED_TOKENS // 2)
    stop = {"sessionId": session_id, "tokensGenerated": 900}
    aborted = user.post("/api/streaming-sessions/abort", stop)
    print(f"{aborted['status']}: {aborted['partialCredits']} credits used, {aborted['refund']} refunded")
    _print_balance(user)


def _price(user: Caller, admin: Caller) -> None:
    title("An administrator sets a price; it applies from now on")
    model = f"demo-model-{uuid.uuid4().hex[:8]}"
    rule = admin.post("/api/pricing", {"modelId": model, "pricePerThousandTokens": "0.0175"}, expect=201)
    print(f"{rule['pricePerThousandTokens']} credits per 1,000 tokens")
    cost = user.post("/api/credits/calculate", {"modelId": model, "tokens": 400_000})
    print(f"{cost['credits']} credits for {cost['tokens']:,} tokens")


def _api_key(user: Caller) -> None:
    title("A nightly job gets an API key: the job may do what the key permits, until the key is revoked")
    wanted = {"name": "Nightly job", "permissions": ["credits:read"], "expiryDays": 30}
    made = user.post("/api/api-keys", wanted, expect=201)
    print(made["message"])
    job = user.with_key(made["key"])
    _print_balance(job)
    refusal = job.call("GET", "/api/usage/stats", expect=403)
    print(refusal["message"])
    print(user.post(f"/api/api-keys/{made['id']}/revoke", {})["message"], "(the key stops working within 30 seconds)")


def _usage(user: Caller, admin: Caller) -> None:
    title("Other usage, such as an image, is recorded and paid in one step")
    event = {"service": "image-generation", "operation": "render", "credits": 5, "deduct": True}
    print(user.post("/api/usage/record", event, expect=201)["message"])
    mine = user.get("/api/usage/stats")
    print(f"{mine['totalRecords']} records, {mine['totalCredits']} credits: {json.dumps(mine['byService'])}")
    time.sleep(2)  # the system-wide statistics follow a moment later
    everybody = admin.get("/api/usage/system-stats?top=1000")
    print(f"{everybody['totalRecords']} records of all users, {everybody['byUser'].get(user.sub)} credits of this user")


def _sweep(user: Caller, stack: dict[str, str]) -> None:
    title("A stream breaks off: the sweeper charges what its last heartbeat reported, and gives the rest back")
    session_id = _open(user, ESTIMATED_TOKENS // 5)
    beat = {"sessionId": session_id, "tokensGenerated": 700}
    expires_at = user.post("/api/streaming-sessions/heartbeat", beat)["expiresAt"]
    print(f"stale from {expires_at} on")
    _let_time_pass(user, session_id, stack)
    print("    … a day later (the demo moves the session back in time in the local table), the sweeper runs")
    answer = _aws(stack, "lambda").invoke(FunctionName=f"{stack['stackName']}-sweeper")
    print(f"      → {json.loads(answer['Payload'].read())['sessions']} sessions swept")
    (swept,) = [
        record for record in user.get("/api/usage/stats")["recentActivity"] if record["service"] == SWEPT_SERVICE
    ]
    print(f"{swept['service']}: {swept['credits']} credits for {swept['metadata']['tokens']} tokens")
    _print_balance(user)


def _let_time_pass(user: Caller, session_id: str, stack: dict[str, str]) -> None:
    """Move the session's last sign of life back by a day, directly in the table."""
    table = _aws(stack, "dynamodb")
    key = {"pk": {"S": f"USER#{user.sub}"}, "sk": {"S": f"SESSION#{session_id}"}}
    session = table.get_item(TableName=stack["tableName"], Key=key)["Item"]
    last_seen_at = int(session["last_seen_at"]["N"]) - DAY_MILLISECONDS
    due = datetime.fromtimestamp(last_seen_at / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
    prefix, _, _ = session["due_sk"]["S"].rpartition("#")
    table.update_item(
        TableName=stack["tableName"],
        Key=key,
        UpdateExpression="SET last_seen_at = :seen, due_sk = :due",
        ExpressionAttributeValues={":seen": {"N": str(last_seen_at)}, ":due": {"S": f"{prefix}#{due}"}},
    )


def _aws(stack: dict[str, str], service: str) -> Any:
    return client_of(service, stack["endpointUrl"])


def _ledger(user: Caller) -> None:
    title("The ledger has every change, and explains the balance")
    entries = user.get("/api/credits/ledger")["entries"]
    print(f"{len(entries)} entries\n")
    print(f"    {'seq':>4}  {'kind':<8} {'credits':>8} {'available':>10} {'held':>6}  session")
    for entry in reversed(entries):
        print(
            f"    {entry['seq']:>4}  {entry['kind']:<8} {entry['credits']:>+8} {entry['availableAfter']:>10}"
            f" {entry['heldAfter']:>6}  {entry.get('sessionId') or ''}"
        )
    print()


def _estimate(output_tokens: int) -> dict[str, int]:
    """The most that a request can use: its prompt, and this much output."""
    return {"inputTokens": PROMPT_TOKENS, "outputTokens": output_tokens}


def _open(user: Caller, output_tokens: int) -> str:
    """Open a session, and return its id."""
    session_id = new_session_id()
    session = {"sessionId": session_id, "modelId": MODEL, "estimatedUsage": _estimate(output_tokens)}
    opened = user.post("/api/streaming-sessions/initialize", session, expect=201)
    print(f"{opened['allocatedCredits']} credits held ({opened['estimatedCredits']} plus the buffer)")
    return session_id


def _print_balance(user: Caller) -> None:
    balance = user.get("/api/credits/balance")
    print(f"{balance['totalCredits']} credits to spend, {balance['heldCredits']} held")


def _bar(tokens_so_far: int) -> str:
    filled = BAR_WIDTH * tokens_so_far // ESTIMATED_TOKENS
    return f"{'█' * filled}{'░' * (BAR_WIDTH - filled)} {tokens_so_far:,} tokens"


if __name__ == "__main__":
    sys.exit(main())
