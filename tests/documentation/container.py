"""What the stand-in for Docker runs as a container: one function, for each event that is posted to its port.

`python -I container.py <port> <code> <opt> <hosts>` with the container's environment and nothing else: `code` is what
is mounted at /var/task, `opt` what the image has at /opt, `hosts` what its /etc/hosts says, as JSON. The handler is
imported for the first event, as Lambda's runtime interface emulator does it. Standard library only.
"""

from __future__ import annotations

import importlib
import json
import os
import socket
import sys
import threading
import time
import traceback
import uuid
from http.server import BaseHTTPRequestHandler, HTTPServer
from types import SimpleNamespace
from typing import Any

NAME = os.environ["AWS_LAMBDA_FUNCTION_NAME"]
MODULE, _, HANDLER = os.environ["AWS_LAMBDA_FUNCTION_HANDLER"].rpartition(".")
SECONDS = int(os.environ["AWS_LAMBDA_FUNCTION_TIMEOUT"])


class Emulator(BaseHTTPRequestHandler):
    """Answers what the handler returns, or its error as Lambda tells it."""

    def do_POST(self) -> None:
        event = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        deadline = time.monotonic() + SECONDS
        context = SimpleNamespace(
            aws_request_id=str(uuid.uuid4()),
            function_name=NAME,
            invoked_function_arn=f"arn:aws:lambda:us-east-1:012345678912:function:{NAME}",
            memory_limit_in_mb=int(os.environ["AWS_LAMBDA_FUNCTION_MEMORY_SIZE"]),
            get_remaining_time_in_millis=lambda: int((deadline - time.monotonic()) * 1000),
        )
        try:
            answer = getattr(importlib.import_module(MODULE), HANDLER)(event, context)
        except Exception as error:
            traceback.print_exc()
            answer = {"errorMessage": str(error), "errorType": type(error).__name__}
        # SAM waits for this line of the log.
        log(f"REPORT RequestId: {context.aws_request_id} Duration: 0 ms Memory Size: 0 MB Max Memory Used: 0 MB")
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(answer).encode())

    def log_message(self, *_: Any) -> None:
        pass


def log(line: str) -> None:
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


def know_no_other_hosts(hosts: dict[str, str]) -> None:
    """Resolve this machine's own names and `hosts`, and nothing else, so that no test reaches the real AWS."""
    known = {"127.0.0.1": "127.0.0.1", "localhost": "127.0.0.1"} | hosts
    resolve = socket.getaddrinfo

    def resolve_known(host: Any, *arguments: Any, **options: Any) -> Any:
        if host not in known:
            log(f"the container knows no host {host}")
            raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
        return resolve(known[host], *arguments, **options)

    socket.getaddrinfo = resolve_known


def die_with_parent() -> None:
    """End as soon as whoever holds the other end of standard input is gone, however it went."""
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    port, code, opt, known_hosts = sys.argv[1:]
    sys.path[:0] = [code, f"{opt}/python"]
    threading.Thread(target=die_with_parent, daemon=True).start()
    know_no_other_hosts(json.loads(known_hosts))
    HTTPServer(("127.0.0.1", int(port)), Emulator).serve_forever()
