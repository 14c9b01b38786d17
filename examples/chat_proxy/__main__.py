"""`make example`: run the chat proxy on 127.0.0.1, with the service that `make run` started."""

from __future__ import annotations

import os
import sys

import uvicorn

from examples import model
from examples.local_service import USER, LocalService
from local import end_quietly_on_interrupt
from local.account import HOST
from local.steps import Refused, explain

PORT = 8000


def main() -> int:
    """Run the example; return the exit status."""
    try:
        service = LocalService.running()
    except Refused as refused:
        return explain(refused)
    os.environ |= {"ACCOUNTING_URL": service.url, "ACCOUNTING_SERVICE_KEY": service.service_key}
    model.serve_unless_key()
    port = int(os.environ.get("PORT") or PORT)
    print(
        f"""Ask the proxy something as {USER}:

curl -N http://{HOST}:{port}/chat -H 'Authorization: Bearer {service.token()}' \\
  -H 'Content-Type: application/json' -d '{{"prompt": "what is a ledger", "max_tokens": 50}}'
""",
        flush=True,
    )
    uvicorn.run("examples.chat_proxy.app:app", host=HOST, port=port, log_level="warning")
    return 0


if __name__ == "__main__":
    end_quietly_on_interrupt()
    sys.exit(main())
