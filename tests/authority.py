"""A small OAuth2 authority over a real socket: discovery, keys, and introspection (RFC 7662)."""

from __future__ import annotations

import base64
import json
import ssl
import threading
import time
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote_plus

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

AUDIENCE = "davenport"
CLIENT_ID = "davenport:client"
CLIENT_SECRET = "sécret/+%"

Answer = tuple[int, dict[str, str], bytes]


class Authority:
    """One authority. `keys`: what its key set publishes; `said`: token → what introspection answers.

    `asked`: the paths of requests so far. `answers`: path → a function that answers in place of the ordinary one.
    """

    def __init__(self, *, tls: ssl.SSLContext | None = None, path: str = "") -> None:
        authority = self
        self.rsa = rsa.generate_private_key(65537, 2048)
        self.ec = ec.generate_private_key(ec.SECP256R1())
        self.ed = ed25519.Ed25519PrivateKey.generate()
        self.keys: list[dict[str, Any]] = [
            {**RSAAlgorithm.to_jwk(self.rsa.public_key(), as_dict=True), "kid": "rsa", "use": "sig"},
            {**ECAlgorithm.to_jwk(self.ec.public_key(), as_dict=True), "kid": "ec"},
            {**OKPAlgorithm.to_jwk(self.ed.public_key(), as_dict=True), "kid": "ed"},
        ]
        self.said: dict[str, dict[str, Any]] = {}
        self.asked: list[str] = []
        self.answers: dict[str, Callable[[], Answer]] = {}

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self) -> None:
                authority.asked.append(self.path)
                self.answer(*authority.answer(self.path))

            def do_POST(self) -> None:
                authority.asked.append(self.path)
                form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
                self.answer(*authority.answer(self.path, form, self.headers.get("Authorization", "")))

            def answer(self, status: int, fields: dict[str, str], body: bytes) -> None:
                self.send_response(status)
                for name, value in fields.items():
                    self.send_header(name, value)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_: Any) -> None:
                pass

        class Server(ThreadingHTTPServer):
            daemon_threads = True

            def handle_error(self, request: Any, client_address: Any) -> None:
                pass  # a client that hung up, as the tests of limits and certificates do

        self._server = Server(("127.0.0.1", 0), Handler)
        if tls is not None:
            self._server.socket = tls.wrap_socket(self._server.socket, server_side=True)
        scheme = "https" if tls is not None else "http"
        self.issuer = f"{scheme}://localhost:{self._server.server_address[1]}{path}"
        self._path = path
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(10)

    def answer(self, path: str, form: dict[str, list[str]] | None = None, authorization: str = "") -> Answer:
        path = path.removeprefix(self._path)
        if path in self.answers:
            return self.answers[path]()
        if path == "/.well-known/openid-configuration":
            return json_answer(
                {
                    "issuer": self.issuer,
                    "jwks_uri": f"{self.issuer}/keys",
                    "introspection_endpoint": f"{self.issuer}/introspect",
                }
            )
        if path == "/keys":
            return json_answer({"keys": self.keys})
        if path == "/introspect" and form is not None:
            pair = base64.b64decode(authorization.removeprefix("Basic ")).decode().split(":")
            if [unquote_plus(part) for part in pair] != [CLIENT_ID, CLIENT_SECRET]:
                return json_answer({"error": "invalid_client"}, 401)
            return json_answer(self.said.get(form["token"][0], {"active": False}))
        return json_answer({}, 404)

    def claims(self, **more: Any) -> dict[str, Any]:
        """The claims of a token that is valid now; None takes one away."""
        now = int(time.time())
        base = {
            "iss": self.issuer, "aud": AUDIENCE, "sub": "1234", "exp": now + 300, "iat": now, "scope": "openid dav",
            "email": "Alice@Example.com", "email_verified": True, "name": "Alice Example",
        }  # fmt: skip
        return {name: value for name, value in {**base, **more}.items() if value is not None}

    def token(self, *, algorithm: str = "RS256", headers: dict[str, Any] | None = None, **more: Any) -> str:
        """A signed token with these claims."""
        key: Any = self.ec if algorithm.startswith("ES") else self.ed if algorithm == "EdDSA" else self.rsa
        kid = "ec" if algorithm.startswith("ES") else "ed" if algorithm == "EdDSA" else "rsa"
        return jwt.encode(self.claims(**more), key, algorithm=algorithm, headers={"kid": kid, **(headers or {})})


def json_answer(document: Any, status: int = 200) -> Answer:
    return status, {"Content-Type": "application/json"}, json.dumps(document).encode()
