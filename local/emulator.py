"""The local AWS: one process on 127.0.0.1. When it stops, the workers that run its functions end too.

with emulator.start() as aws:  # on a free port, without keeping data
    dynamodb = aws.client("dynamodb")
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import boto3
import botocore.session
import httpx
from botocore.config import Config

from local import private
from local.account import ACCESS_KEY, HOST, REGION, SECRET_KEY
from local.paths import EMULATOR_PYTHON, ROOT
from local.steps import Refused

if TYPE_CHECKING:
    from collections.abc import Iterator

START_SECONDS = 30
STOP_SECONDS = 30
SAVE_SECONDS = 60


@dataclass(frozen=True)
class Emulator:
    """A running local AWS. It leads a process session of its own, which includes the workers of its functions."""

    port: int
    log: Path
    process: subprocess.Popen[bytes]
    keeps_data: bool = False

    @property
    def endpoint_url(self) -> str:
        """Return the address at which every AWS service answers."""
        return f"http://{HOST}:{self.port}"

    def client(self, service: str, **config: Any) -> Any:
        """Return a boto3 client of `service`; `config` goes to botocore's Config."""
        return client_of(service, self.endpoint_url, **config)

    def save(self) -> None:
        """Make the local AWS, started with a folder `state`, save its data now instead of a few seconds later.

        Raises Refused if the local AWS answers that it could not save.
        """
        answer = httpx.post(f"{self.endpoint_url}/_accounting/save", trust_env=False, timeout=SAVE_SECONDS)
        if not answer.is_success:
            raise Refused(f"the local AWS could not save its data; see {self.log}")

    def stop(self) -> None:
        """Kill the local AWS and its workers. If it keeps data, first ask it to save the data and exit."""
        if self.keeps_data:
            self.process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(STOP_SECONDS)
        kill_session(self.process.pid)
        self.process.wait()


@contextmanager
def start(port: int = 0, state: Path | None = None, *, enforce_iam: bool = False) -> Iterator[Emulator]:
    """Run a local AWS during the block, on `port` or, for 0, on any free one.

    The local AWS continues with the data in the folder `state`, and saves its data there every few seconds and when it
    stops. Without a folder, no data is kept. With `enforce_iam`, a function may only do what its role's policies allow,
    and other callers need the credentials of `local/account.py`. The local AWS stops even if this process is killed.

    Raises Refused if `port` is taken or the local AWS does not start.
    """
    with tempfile.TemporaryDirectory(prefix="accounting-local-", ignore_cleanup_errors=True) as scratch:
        emulator = launch(port, Path(scratch), state, enforce_iam=enforce_iam)
        try:
            yield emulator
        finally:
            emulator.stop()


def launch(
    port: int, scratch: Path, state: Path | None, *, lock: int | None = None, enforce_iam: bool = False
) -> Emulator:
    """Start a local AWS and return it once it answers. Raises Refused as `start` does.

    Its log and temporary files go to `scratch`. `lock` is a file descriptor that the local AWS keeps open while it
    runs. With a `lock`, the local AWS continues after this process ends.
    """
    port = _free(port)
    private.folder(scratch)
    log = scratch / "emulator.log"
    command: list[str | Path] = [EMULATOR_PYTHON, ROOT / "local/emulator_launcher.py"]
    if lock is None:
        command.append("--die-with-parent")
    with open(log, "wb", opener=private.opener) as output:
        process = subprocess.Popen(
            command,
            cwd=scratch,
            env=_environment(port, scratch, state, enforce_iam=enforce_iam),
            stdin=subprocess.PIPE if lock is None else subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            pass_fds=() if lock is None else (lock,),
            umask=private.UMASK,
            start_new_session=True,  # so that Ctrl-C reaches only this process, and this process stops the local AWS
        )
    emulator = Emulator(port, log, process, keeps_data=state is not None)
    try:
        _wait_until_ready(emulator)
    except BaseException:
        emulator.stop()
        raise
    return emulator


def client_of(service: str, endpoint_url: str, **config: Any) -> Any:
    """Return a boto3 client of a service of the local AWS; `config` goes to botocore's Config."""
    return _session().client(  # type: ignore[call-overload]
        service,
        endpoint_url=endpoint_url,
        region_name=REGION,
        aws_access_key_id=ACCESS_KEY,
        aws_secret_access_key=SECRET_KEY,
        config=Config(proxies={}, **config),
    )


@cache
def _session() -> boto3.Session:
    """Return a boto3 session that ignores AWS variables and profile files: a broken file would raise an error."""
    core = botocore.session.Session()
    settings = {
        name: (in_file, None, default, conversion)
        for name, (in_file, _variable, default, conversion) in core.session_var_map.items()
    }
    files = dict.fromkeys(("config_file", "credentials_file"), (None, None, os.devnull, None))
    return boto3.Session(botocore_session=botocore.session.Session(session_vars=settings | files))


def kill_session(leader: int) -> None:
    """Kill the remaining processes of the local AWS and its workers. ``leader`` is the process id of the local AWS."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signal.SIGKILL)


def _environment(port: int, scratch: Path, state: Path | None, *, enforce_iam: bool) -> dict[str, str]:
    """Return the environment of the emulator and its functions. It has nothing of this machine's environment."""
    environ = {
        "PATH": os.defpath,
        "LANG": "C.UTF-8",
        "HOME": str(scratch),
        "TMPDIR": str(scratch),
        "BIND_HOST": HOST,
        "GATEWAY_PORT": str(port),
        "MINISTACK_HOST": HOST,
        "AUTH": str(enforce_iam).lower(),
        # no listeners for services that are not used here
        "SFTP_ENABLED": "0",
        "IOT_MTLS_ENABLED": "0",
    }
    if state is not None:
        # S3's files are not kept. MiniStack, which emulates AWS, would write them at once, but all other data only
        # when it saves. After a kill, the two would not match.
        environ |= {"PERSIST_STATE": "1", "STATE_DIR": str(state), "S3_PERSIST": "0"}
    return environ


def _free(port: int) -> int:
    """Return `port` or, for 0, any free one. Raises Refused if `port` is taken."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except (OSError, OverflowError) as exc:
            raise Refused(f"port {port} of {HOST} is not available ({exc}): choose another with PORT=…") from exc
        return int(probe.getsockname()[1])


def _wait_until_ready(emulator: Emulator) -> None:
    deadline = time.monotonic() + START_SECONDS
    with httpx.Client(base_url=emulator.endpoint_url, trust_env=False) as http:
        while time.monotonic() < deadline and emulator.process.poll() is None:
            with contextlib.suppress(httpx.TransportError):
                if http.get("/_ministack/health").is_success:
                    return
            time.sleep(0.1)
    raise Refused(f"the local AWS did not start:\n{emulator.log.read_text()[-2000:].strip()}")


def empty(folder: Path) -> None:
    """Remove everything in `folder`, but not the folder itself."""
    shutil.rmtree(folder, ignore_errors=True)
    private.folder(folder)
