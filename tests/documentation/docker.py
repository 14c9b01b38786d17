"""A stand-in for the Docker engine: it answers what SAM asks of one, and runs functions without any image.

It proves what SAM is told and what it passes on: the template's functions, their environment, code and layer, the
hosts of `--add-host`, the event and the answer. It proves nothing about Lambda's image or about Docker: a container is
a process of this machine (container.py) that has the environment, the files and the hosts which the container would.
"""

from __future__ import annotations

import hashlib
import io
import json
import re
import struct
import subprocess
import tarfile
import threading
import uuid
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import parse_qs, urlsplit

from local.paths import EMULATOR_PYTHON

if TYPE_CHECKING:
    from collections.abc import Iterator

HOST_GATEWAY = "127.0.0.1"
"""What `host-gateway` stands for; of a real engine, on Linux, the address of its bridge."""
STDOUT = 1


class Container:
    """What was asked for, and the process that stands for it."""

    def __init__(self, asked: dict[str, Any], opt: Path) -> None:
        host = asked["HostConfig"]
        self.environ = dict(variable.split("=", 1) for variable in asked["Env"])
        names = dict(line.split(":", 1) for line in host.get("ExtraHosts", []))
        hosts = {name: HOST_GATEWAY if address == "host-gateway" else address for name, address in names.items()}
        (code,) = (bind.split(":")[0] for bind in host["Binds"] if bind.split(":")[1] == "/var/task")
        ((published,),) = host["PortBindings"].values()
        program = [EMULATOR_PYTHON, "-I", "-X", f"pycache_prefix={opt}.pyc", Path(__file__).with_name("container.py")]
        self._command = [*map(str, program), published["HostPort"], code, str(opt), json.dumps(hosts)]
        self._process: subprocess.Popen[bytes] | None = None
        self.removed = False

    def start(self) -> None:
        self._process = subprocess.Popen(
            self._command,
            env=self.environ,
            stdin=subprocess.PIPE,  # by whose end it ends with us
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    @property
    def status(self) -> str:
        return "running" if self._process else "created"

    def log(self) -> Iterator[bytes]:
        """Give its log, line by line, until it ends."""
        assert self._process
        assert self._process.stdout
        yield from self._process.stdout

    def remove(self) -> None:
        self.removed = True
        if self._process:
            self._process.kill()
            self._process.wait()


class Engine:
    """The images that were built, each as the folder that it has at /opt, and the containers that were created."""

    def __init__(self, folder: Path) -> None:
        self.containers: dict[str, Container] = {}
        self._images: dict[str, Path] = {}
        self._folder = folder
        self._unpacking = threading.Lock()

    @property
    def left(self) -> set[str]:
        """Return the containers that nobody has removed."""
        return {name for name, container in self.containers.items() if not container.removed}

    @property
    def newest(self) -> Container:
        return list(self.containers.values())[-1]

    def build(self, image: str, context: bytes) -> None:
        """Take the layer out of the files of which SAM has an image built; the same files are unpacked once."""
        with tarfile.open(fileobj=io.BytesIO(context)) as archive:
            files = [(file.name, file.size, file.mtime) for file in archive if file.name != "Dockerfile"]
            unpacked = self._folder / hashlib.sha256(repr(files).encode()).hexdigest()
            with self._unpacking:
                if not unpacked.exists():
                    archive.extractall(unpacked, filter="data")
        (layer,) = re.findall(r"^ADD (\S+) /opt$", (unpacked / "Dockerfile").read_text(), re.MULTILINE)
        self._images[image] = unpacked / layer

    def create(self, asked: dict[str, Any]) -> str:
        name = uuid.uuid4().hex
        self.containers[name] = Container(asked, self._images[asked["Image"]])
        return name

    @contextmanager
    def answering(self) -> Iterator[str]:
        """Answer for the time of the block; give what DOCKER_HOST must be."""
        server = ThreadingHTTPServer(("127.0.0.1", 0), type("Bound", (Api,), {"engine": self}))
        server.daemon_threads = True
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield f"tcp://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            for container in self.containers.values():
                container.remove()


class Api(BaseHTTPRequestHandler):
    """The calls of Docker's API that SAM makes to run a function, and no other."""

    engine: Engine

    def do_GET(self) -> None:
        match self._asked():
            case ["_ping"] | ["events"]:
                self._answer(200)
            case ["images", *_, "json"]:
                # None is remembered: SAM has one with a layer of the template built anew each time.
                self._answer(404, {"message": "No such image"})
            case ["containers", name, "json"]:
                state = {"Status": self.engine.containers[name].status}
                self._answer(200, {"Id": name, "State": state, "Config": {"Tty": False}})
            case _:
                self.send_error(501)

    def do_POST(self) -> None:
        match self._asked():
            case ["build"]:
                (image,) = parse_qs(urlsplit(self.path).query)["t"]
                self.engine.build(image, self._body())
                self._answer(200, {"stream": "built"})
            case ["containers", "create"]:
                self._answer(201, {"Id": self.engine.create(json.loads(self._body()))})
            case ["containers", name, "start"]:
                self.engine.containers[name].start()
                self._answer(204)
            case ["containers", name, "attach"]:
                self._stream(self.engine.containers[name].log())
            case _:
                self.send_error(501)

    def do_DELETE(self) -> None:
        _containers, name = self._asked()
        self.engine.containers[name].remove()
        self._answer(204)

    def _asked(self) -> list[str]:
        _, _version, *asked = urlsplit(self.path).path.split("/")
        return asked

    def _body(self) -> bytes:
        return self.rfile.read(int(self.headers["Content-Length"]))

    def _answer(self, status: int, answer: Any = None) -> None:
        self.send_response(status)
        self.end_headers()
        self.wfile.write(b"" if answer is None else json.dumps(answer).encode())

    def _stream(self, lines: Iterator[bytes]) -> None:
        self.send_response(200)
        self.end_headers()
        with suppress(OSError):  # who listened has gone
            for line in lines:
                self.wfile.write(struct.pack(">BxxxL", STDOUT, len(line)) + line)

    def log_message(self, *_: Any) -> None:
        pass
