"""A server on this machine. Tests choose its reaction to each request."""

from __future__ import annotations

import contextlib
import json
import socket
import ssl
import struct
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from threading import Thread, local

type Deed = Callable[[socket.socket], bool]
"""A reaction of the server to a request. It returns whether the connection stays open."""

HANGING_SECONDS = 1.5


class Peer:
    """Does the next of ``deeds`` for each request, and repeats the last one. By default, a peer answers ``{}``."""

    def __init__(self, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> None:
        self.deeds: list[Deed] = [answer()]
        self.requests: list[bytes] = []
        self.connections = 0
        self._of_this_thread = local()
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        self._listening = socket.create_server((host, 0), family=family)
        self._tls = tls
        self.port: int = self._listening.getsockname()[1]
        at = f"[{host}]" if ":" in host else host
        self.url = f"{'https' if tls else 'http'}://{at}:{self.port}"

    @classmethod
    @contextmanager
    def listening(cls, host: str = "127.0.0.1", tls: ssl.SSLContext | None = None) -> Iterator[Peer]:
        """Run a peer during the block."""
        peer = cls(host, tls)
        Thread(target=peer._accept, daemon=True).start()
        try:
            yield peer
        finally:
            peer._listening.shutdown(socket.SHUT_RDWR)  # otherwise, the thread in accept() keeps the socket open
            peer._listening.close()

    @property
    def request(self) -> bytes:
        """The request to which the running deed reacts. Each connection has its own thread and request."""
        request: bytes = self._of_this_thread.request
        return request

    def does(self, *deeds: Deed) -> None:
        """Do these deeds from now on, and forget the earlier deeds, requests and connections."""
        self.deeds = [*deeds]
        self.requests.clear()
        self.connections = 0

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                connection, _ = self._listening.accept()
                self.connections += 1
                Thread(target=self._serve, args=(connection,), daemon=True).start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError), connection:
            channel = self._tls.wrap_socket(connection, server_side=True) if self._tls else connection
            while request := _request(channel):
                deed = self.deeds[min(len(self.requests), len(self.deeds) - 1)]
                self.requests.append(request)
                self._of_this_thread.request = request
                if not deed(channel):
                    return


def _request(connection: socket.socket) -> bytes:
    """Read a whole request. Return ``b""`` if the connection ends before the request does."""
    received = b""
    while b"\r\n\r\n" not in received:
        if not (more := connection.recv(65536)):
            return b""
        received += more
    head, _, body = received.partition(b"\r\n\r\n")
    lines = head.lower().split(b"\r\n")
    length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
    while len(body) < length:
        if not (more := connection.recv(65536)):
            return b""
        body += more
    return head + b"\r\n\r\n" + body


def _head(status: int, length: int, *more: str) -> bytes:
    return "\r\n".join([f"HTTP/1.1 {status} Said", f"Content-Length: {length}", *more, "", ""]).encode()


def answer(content: object = None, status: int = 200, *headers: str) -> Deed:
    """Answer with JSON, or with bytes as they are."""
    body = content if isinstance(content, bytes) else json.dumps(content or {}).encode()

    def deed(connection: socket.socket) -> bool:
        connection.sendall(_head(status, len(body), *headers) + body)
        return "Connection: close" not in headers

    return deed


def send(raw: bytes, *, hang: bool = False, reset: bool = False) -> Deed:
    """Send these bytes, then end the connection: at once, after a while, or with a reset."""

    def deed(connection: socket.socket) -> bool:
        connection.sendall(raw)
        if hang:
            time.sleep(HANGING_SECONDS)
        if reset:
            connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
            connection.close()
        return False

    return deed


def half_an_answer(*, hang: bool = False, reset: bool = False) -> Deed:
    """Send the first part of an answer that has an item, then end the connection."""
    content = json.dumps({"Item": {"pk": {"S": "a"}, "sk": {"S": "b"}}}).encode()
    return send(_head(200, len(content)) + content[:20], hang=hang, reset=reset)


def in_chunks(*parts: bytes) -> Deed:
    """Answer 200 with these parts as chunks."""
    body = b"".join(f"{len(part):x}\r\n".encode() + part + b"\r\n" for part in [*parts, b""])

    def deed(connection: socket.socket) -> bool:
        connection.sendall(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" + body)
        return True

    return deed


def certificate(folder: Path, *names: str) -> tuple[ssl.SSLContext, Path]:
    """A server's TLS context, and the file of its self-signed certificate for these host names or addresses."""
    from datetime import UTC, datetime, timedelta
    from ipaddress import ip_address

    from cryptography import x509
    from cryptography.hazmat.primitives import hashes, serialization
    from cryptography.hazmat.primitives.asymmetric import ec

    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "test")])
    meant = [x509.IPAddress(ip_address(name)) if name[0].isdigit() else x509.DNSName(name) for name in names]
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName(meant), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
        .sign(key, hashes.SHA256())
    )
    trusted, private = folder / "trusted.crt", folder / "private.key"
    trusted.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(trusted, private)
    return context, trusted
