"""`make example`: the proxy in front of the service that `make run` started here, on 127.0.0.1."""

from __future__ import annotations

import json
import os
import sys

import uvicorn

from local import end_quietly_on_interrupt, tokens
from local.account import HOST
from local.paths import STACK_JSON
from local.steps import Refused, explain

PORT = 8000
USER = "demo-user"


def main() -> int:
    """Run it; return the exit status."""
    if not STACK_JSON.exists():
        return explain(Refused("nothing runs here: start it with `make run`, and this in a second terminal"))
    stack = json.loads(STACK_JSON.read_text())
    os.environ |= {
        "ACCOUNTING_URL": stack["baseUrl"],
        "ACCOUNTING_SERVICE_KEY": stack["internalApiKey"],
        "no_proxy": "*",  # all of it is on this machine
    }
    port = int(os.environ.get("PORT") or PORT)
    token = tokens.mint(stack["jwtSecret"], USER)
    print(
        f"""Ask it, as {USER}:

curl -N http://{HOST}:{port}/chat -H 'Authorization: Bearer {token}' \\
  -H 'Content-Type: application/json' -d '{{"prompt": "what is a ledger", "max_tokens": 50}}'
""",
        flush=True,
    )
    uvicorn.run("examples.chat_proxy.app:app", host=HOST, port=port, log_level="warning")
    return 0


if __name__ == "__main__":
    end_quietly_on_interrupt()
    sys.exit(main())
