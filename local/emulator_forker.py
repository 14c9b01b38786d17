"""Forks workers of Lambda functions from a process that has imported the layer's libraries, but none of our code.

Run it with the Python of MiniStack (the local AWS):
`<python> local/emulator_forker.py <descriptor of a socket> <folder of the layer's Python>`.

For each worker, `emulator_workers.py` sends the worker's program, folder, environment and three pipes over the socket.
The answer is the worker's process id. This process ends when the other end of the socket is closed.

A forked worker has its own environment, folder, streams and module path, like a worker that is started separately. It
differs in one respect: the libraries in LIBRARIES are already imported. Importing them takes two thirds of the
processor time of a start.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import runpy
import signal
import socket
import sys
import time
import traceback
from typing import Any, NoReturn

LIBRARIES = (
    "aws_lambda_powertools.event_handler.openapi.params",
    "aws_lambda_powertools.logging",
    "aws_lambda_powertools.metrics",
    "botocore.exceptions",
    "cachetools",
    "orjson",
    "pydantic",
)
MAX_REQUEST = 1024 * 1024
STREAMS = 3


def main() -> None:
    """Import the libraries, and fork for each request."""
    descriptor, layer = sys.argv[1:]
    path = sys.path[1:]  # without the folder of this file
    sys.path[:] = [layer, *path]
    for library in LIBRARIES:
        with contextlib.suppress(ImportError):  # the functions that need it will raise the error
            importlib.import_module(library)
    gc.collect()
    gc.freeze()
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # so that ended workers do not become zombies
    with socket.socket(fileno=int(descriptor)) as requests:
        while True:
            content, pipes, _, _ = socket.recv_fds(requests, MAX_REQUEST, STREAMS)
            if not content:
                return
            pid = os.fork()
            if pid == 0:
                requests.close()
                become(json.loads(content), pipes, path)
            for pipe in pipes:
                os.close(pipe)
            requests.send(str(pid).encode())


def become(worker: dict[str, Any], pipes: list[int], path: list[str]) -> NoReturn:
    """Run the program of a worker in this process, and end."""
    status = 1
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        for stream, pipe in enumerate(pipes):
            os.dup2(pipe, stream)
            os.close(pipe)
        sys.stdin = open(0, encoding="utf-8", closefd=False)  # noqa: SIM115 - open as long as the process lives
        sys.stdout = open(1, "w", encoding="utf-8", closefd=False)  # noqa: SIM115
        sys.stderr = open(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)  # noqa: SIM115
        os.environ.clear()
        os.environ.update(worker["environment"])
        time.tzset()
        os.chdir(worker["folder"])
        program = worker["program"]
        sys.argv[:] = [program]
        sys.path[:] = [os.path.dirname(program), *path]  # noqa: PTH120 - as Python itself would
        runpy.run_path(program, run_name="__main__")
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    main()
