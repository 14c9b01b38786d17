"""Identity providers for the tests: keys, tokens, and a server of key sets (JWKS) that notes requested paths."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cache
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import jwt
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from jwt.algorithms import get_default_algorithms

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

AUDIENCE = "accounting"


@dataclass(frozen=True)
class SigningKey:
    """A private key of a provider, with its id."""

    id: str
    algorithm: str
    private: Any

    def in_key_set(self, **more: Any) -> dict[str, Any]:
        """The public key as it is in the provider's key set."""
        made: Any = get_default_algorithms()[self.algorithm]
        public: dict[str, Any] = made.to_jwk(self.private.public_key(), as_dict=True)
        return {**public, "kid": self.id, "alg": self.algorithm, "use": "sig", **more}

    def sign(self, claims: dict[str, Any], **header: Any) -> str:
        payload = {name: value for name, value in claims.items() if value is not None}
        return jwt.encode(payload, self.private, self.algorithm, headers={"kid": self.id, **header})


def make_key(algorithm: str, key_id: str) -> SigningKey:
    """The key with this algorithm and id. It is made once, because making an RSA key takes a moment."""
    return SigningKey(key_id, algorithm, _private(algorithm, key_id))


@cache
def _private(algorithm: str, _key_id: str) -> Any:
    match algorithm:
        case "ES256":
            return ec.generate_private_key(ec.SECP256R1())
        case "ES384":
            return ec.generate_private_key(ec.SECP384R1())
        case "EdDSA":
            return ed25519.Ed25519PrivateKey.generate()
    return rsa.generate_private_key(public_exponent=65537, key_size=2048)


def claims_of(issuer: str, subject: str = "u1", **claims: Any) -> dict[str, Any]:
    """The claims of a provider's access token. ``sign`` leaves out claims that are None."""
    now = int(time.time())
    return {"iss": issuer, "sub": subject, "aud": AUDIENCE, "iat": now, "exp": now + 600, **claims}


def key_set(*keys: SigningKey) -> bytes:
    return json.dumps({"keys": [key.in_key_set() for key in keys]}).encode()


def issuer(name: str, server: KeyServer, **more: Any) -> dict[str, Any]:
    """The configuration of an issuer whose keys are at ``/name`` on the server. Its users' ids begin with ``name-``."""
    return {
        "issuer": f"https://{name}.example",
        "jwksUrl": server.url(f"/{name}"),
        "algorithms": ["RS256", "ES256", "EdDSA"],
        "audience": [AUDIENCE],
        "claims": {"userIdPrefix": f"{name}-", "role": "roles"},
        "roles": {"boss": "admin"},
        **more,
    }


def write_certificate(name: str, certificate: Path, private: Path) -> None:
    """Write a self-signed certificate of a server with this name, and the certificate's private key."""
    key, now = ec.generate_private_key(ec.SECP256R1()), datetime.now(UTC)
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    made = (
        x509.CertificateBuilder(subject, subject, key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName(name)]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .sign(key, hashes.SHA256())
    )
    certificate.write_bytes(made.public_bytes(Encoding.PEM))
    private.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))


def encoded(value: Any) -> str:
    """JSON in base64, as in a part of a token."""
    return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()


@dataclass
class KeyServer:
    """A server of key sets.

    ``answers`` maps paths to bodies, and ``redirects`` maps paths to addresses. ``asked`` has the paths of all
    requests. While ``silent`` is set, the server accepts connections and answers nothing.
    """

    address: str
    answers: dict[str, bytes] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    redirects: dict[str, str] = field(default_factory=dict)
    silent: threading.Event = field(default_factory=threading.Event)

    def url(self, path: str) -> str:
        return f"{self.address}{path}"


@contextmanager
def key_server(certificate: tuple[Path, Path] | None = None) -> Iterator[KeyServer]:
    """Run a server of key sets on a free port during the block.

    ``certificate`` has the files of a certificate and of its private key. Without it, the server does not use TLS.
    """

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            server.asked.append(self.path)
            if server.silent.is_set():
                time.sleep(5)
                return
            body, elsewhere = server.answers.get(self.path), server.redirects.get(self.path)
            self.send_response(302 if elsewhere else 404 if body is None else 200)
            if elsewhere:
                self.send_header("Location", elsewhere)
            self.end_headers()
            with suppress(ConnectionError):  # the client stopped reading
                self.wfile.write(body or b"")

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as listening:
        listening.daemon_threads = True
        if certificate:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(*certificate)
            listening.socket = context.wrap_socket(listening.socket, server_side=True, do_handshake_on_connect=False)
        server = KeyServer(f"{'https' if certificate else 'http'}://127.0.0.1:{listening.server_port}")
        thread = threading.Thread(target=listening.serve_forever, daemon=True)
        thread.start()
        try:
            yield server
        finally:
            listening.shutdown()
            thread.join()
