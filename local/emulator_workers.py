"""Makes functions start and answer sooner in the local AWS (MiniStack). `emulator_launcher.py` calls `start_sooner`.

This module runs in MiniStack's own environment. A worker is a process in which MiniStack runs one function. In the
pinned MiniStack, calls of functions are slow for six reasons:

1. Each new worker unpacks the layer again, and only one worker at a time can unpack. It also unpacks the function's
   code again, and compiles it.
2. Each worker imports botocore to count how deep functions call each other. Our functions never call each other.
3. A burst of calls starts a worker for each call. Fewer workers would answer all calls sooner.
4. Each worker imports all libraries again. On Linux, this module forks workers from a process that has imported
   the libraries (`emulator_forker.py`).
5. After each call, MiniStack waits some milliseconds for further lines of the call's log.
6. A new or changed function is pending for half a second, as on AWS.
"""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import queue
import select
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ministack.core import lambda_runtime
from ministack.services import lambda_svc

SIGNATURES = {
    lambda_svc.acquire_worker: (
        "(func_name: str, config: dict, code_zip: bytes, qualifier: str = '$LATEST',"
        " max_concurrency: int | None = None)"
    ),
    lambda_svc._resolve_layer_zip: "(attachment: str | dict) -> bytes | None",
    lambda_runtime.Worker._drain_stderr_bounded: (
        "(self, first_line_wait: float = 0.05, idle_confirm: float = 0.005, hard_cap: float = 0.25) -> str"
    ),
}
PENDING_SECONDS = 0.02
ENOUGH_WORKERS = 6
PATIENCE_SECONDS = 5
COUNT_DEPTH = "    _ms_install_invoke_depth()\n"
ANSWER = "\n        _real_stdout.flush()\n\nrun()"
"""Where the workers' program sends the answer of a call."""
END_OF_LOG = "\x00end of the log\x00"
LOG_END_SECONDS, DEAD_WORKERS_LOG_END_SECONDS = 5, 0.05
FORKER = Path(__file__).with_name("emulator_forker.py")
UNPACKED = "python/unpacked"
"""A file in each layer that `pointer_to` returns. The file contains the path of the unpacked layer."""
MAX_ANSWER = 64


def start_sooner() -> None:
    """Make MiniStack use the constants and functions of this module."""
    unpack_layers_once()
    unpack_code_once()
    start_workers_without_botocore()
    mark_the_end_of_a_log()
    lambda_svc._LAMBDA_STATE_TRANSITION_DELAY = PENDING_SECONDS
    wait_for_free_workers()
    if sys.platform == "linux":
        fork_workers()


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
    """Unpack `layer`, and return a layer that makes Python import from the unpacked folder."""
    folder = tempfile.mkdtemp(prefix="layer-")
    with zipfile.ZipFile(io.BytesIO(layer)) as whole:
        whole.extractall(folder)
    pointer = io.BytesIO()
    with zipfile.ZipFile(pointer, "w") as small:
        line = f"import sys; sys.path.insert(0, {folder + '/python'!r})\n"
        small.writestr("python/lib/python3.13/site-packages/layer.pth", line)
        small.writestr(UNPACKED, folder + "/python")
    return pointer.getvalue()


def unpack_code_once() -> None:
    """Unpack each archive into one folder, and give each worker links to its contents.

    Python adds the compiled modules to that folder, so they are compiled only once, too.
    """
    lock = threading.Lock()
    folders: dict[bytes, Path] = {}

    class Linked(zipfile.ZipFile):
        def extractall(self, path: Any = None, *_: Any) -> None:
            with lock:
                digest = hashlib.sha256(Path(str(self.filename)).read_bytes()).digest()
                if digest not in folders:
                    folder = Path(tempfile.mkdtemp(prefix="code-"))
                    super().extractall(folder)
                    folders[digest] = folder
            for entry in folders[digest].iterdir():
                Path(path, entry.name).symlink_to(entry)

    lambda_runtime.zipfile = SimpleNamespace(**{**vars(zipfile), "ZipFile": Linked})


def start_workers_without_botocore() -> None:
    """Remove the part of the workers' program that counts how deep functions call each other."""
    change_workers_program(COUNT_DEPTH, "")


def mark_the_end_of_a_log() -> None:
    """Make workers write an end mark after the log of each call, so that MiniStack need not wait for further lines."""
    change_workers_program(ANSWER, f"\n        print({END_OF_LOG!r}, file=sys.stderr, flush=True){ANSWER}")
    lambda_runtime.Worker._drain_stderr_bounded = log_of_a_call


def log_of_a_call(worker: Any, *_: Any) -> str:
    """Return what the worker logged during a call. If the worker is dead, wait only briefly for the end mark."""
    lines: list[str] = []
    patience = LOG_END_SECONDS if worker._proc else DEAD_WORKERS_LOG_END_SECONDS
    with contextlib.suppress(queue.Empty):
        while END_OF_LOG not in (line := worker._stderr_queue.get(timeout=patience)):
            lines.append(line)
        if line != END_OF_LOG:  # the function's last line has no line break
            lines.append(line.removesuffix(END_OF_LOG))
    return "\n".join(lines)


def change_workers_program(old: str, new: str) -> None:
    """Replace a part of the program that runs functions."""
    program = lambda_runtime._PYTHON_WORKER_SCRIPT
    if program.count(old) != 1:
        sys.exit(f"MiniStack's program for workers is not the one that {__file__} was written for")
    lambda_runtime._PYTHON_WORKER_SCRIPT = program.replace(old, new)


def wait_for_free_workers() -> None:
    """If a function has ENOUGH_WORKERS, let a call wait some seconds for a free one before it starts another."""
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


def fork_workers() -> None:
    """Make MiniStack fork the workers of Python functions that have a layer. Other processes start as before."""
    forkers: dict[str, Forker] = {}
    lock = threading.Lock()

    def start(command: list[str], **options: Any) -> Any:
        layers = options.get("env", {}).get("_LAMBDA_LAYERS_DIRS", "").split(os.pathsep)
        unpacked = Path(layers[0], UNPACKED)
        if command[0] != sys.executable or not unpacked.is_file():
            return subprocess.Popen(command, **options)
        with lock:
            layer = unpacked.read_text()
            if layer not in forkers or not forkers[layer].alive:
                forkers[layer] = Forker(layer)
            return forkers[layer].fork(command[1], options["cwd"], options["env"])

    lambda_runtime.subprocess = SimpleNamespace(**{**vars(subprocess), "Popen": start})


class Forker:
    """The process that forks the workers of one layer. It ends when MiniStack's process ends."""

    def __init__(self, layer: str) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            command = [sys.executable, str(FORKER), str(theirs.fileno()), layer]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], stdin=subprocess.DEVNULL)

    @property
    def alive(self) -> bool:
        """Whether the process still runs."""
        return self._process.poll() is None

    def fork(self, program: str, folder: str, environment: dict[str, str]) -> Forked:
        """Run a program in a new process with this folder and environment. Raises OSError if the forker has ended."""
        request = {"program": program, "folder": folder, "environment": environment}
        pipes = [os.pipe() for _ in range(3)]
        theirs = [pipes[0][0], pipes[1][1], pipes[2][1]]
        ours = [pipes[0][1], pipes[1][0], pipes[2][0]]
        try:
            socket.send_fds(self._requests, [json.dumps(request).encode()], theirs)
            pid = self._requests.recv(MAX_ANSWER)
            if not pid:
                raise OSError("the process that forks workers has ended")
            return Forked(int(pid), ours)
        except BaseException:
            for pipe in ours:
                os.close(pipe)
            raise
        finally:
            for pipe in theirs:
                os.close(pipe)


class Forked:
    """A forked worker, with the parts of a text-mode `Popen` that MiniStack uses. Its exit status is unknown."""

    def __init__(self, pid: int, pipes: list[int]) -> None:
        self.pid = pid
        self.stdin = os.fdopen(pipes[0], "w", buffering=1)
        self.stdout = os.fdopen(pipes[1])
        self.stderr = os.fdopen(pipes[2])
        try:
            self._process = os.pidfd_open(pid)
        except ProcessLookupError:
            self._process = -1

    def __del__(self) -> None:
        if self._process != -1:
            os.close(self._process)

    def poll(self) -> int | None:
        """Return None while the worker runs, then 0, whatever its exit status was."""
        return 0 if self._ended(0) else None

    def wait(self, timeout: float | None = None) -> int:
        """Wait until the worker has ended. Raises TimeoutExpired after `timeout` seconds."""
        if not self._ended(timeout):
            raise subprocess.TimeoutExpired(str(self.pid), timeout or 0)
        return 0

    def _ended(self, seconds: float | None) -> bool:
        if self._process == -1:
            return True
        watch = select.poll()
        watch.register(self._process, select.POLLIN)
        return bool(watch.poll(None if seconds is None else seconds * 1000))

    def terminate(self) -> None:
        """Ask the worker to end."""
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        """End the worker."""
        self._send(signal.SIGKILL)

    def _send(self, number: signal.Signals) -> None:
        if self._process != -1:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._process, number)
