"""`make example NAME=litellm_proxy`: run a LiteLLM proxy on 127.0.0.1 that uses the service started by `make run`."""

from __future__ import annotations

import os
import secrets
import sys

from examples.local_service import USER, LocalService
from local import end_quietly_on_interrupt, litellm
from local.account import HOST
from local.paths import LOCAL, ROOT
from local.steps import Refused, explain

PORT = 4000
FOLDER = ROOT / "examples/litellm_proxy"


def main() -> int:
    try:
        service = LocalService.running()
        litellm.install()
    except Refused as refused:
        return explain(refused)
    port = int(os.environ.get("PORT") or PORT)
    key = os.environ.get("LITELLM_MASTER_KEY") or f"sk-{secrets.token_hex(16)}"
    with service.credential("Example: LiteLLM proxy", "sessions", "usage", "read") as credential:
        environ = litellm.environ(
            ACCOUNTING_URL=service.url,
            ACCOUNTING_SERVICE=credential,
            ACCOUNTING_OUTBOX=str(LOCAL / "litellm-outbox.sqlite"),
            LITELLM_MASTER_KEY=key,
        )
        print(
            f"""When the proxy has started, ask it something as {USER}:

curl -N http://{HOST}:{port}/v1/chat/completions -H 'Authorization: Bearer {key}' \\
  -H 'Content-Type: application/json' \\
  -d '{{"model": "example", "user": "{USER}", "stream": true, "messages": [{{"role": "user", "content": "Why?"}}]}}'
""",
            flush=True,
        )
        return litellm.run(FOLDER / "config.yaml", port, environ)


if __name__ == "__main__":
    end_quietly_on_interrupt()
    sys.exit(main())
