"""Between the socket and the app: bounds on request heads, and what trusted reverse proxies say about the client."""

from __future__ import annotations

import asyncio
import ipaddress
import logging
import re
import time
from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import Any

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from dav import observe, recall

HEAD_BYTES_MAX = 64 * 1024
HEAD_SECONDS_MAX = 30.0
# Key of the scope: the request came from a trusted proxy itself.
PEER_TRUSTED = "davenport.peer_trusted"

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

_HOST = re.compile(r"(?:[A-Za-z0-9._-]{1,253}|\[[0-9A-Fa-f:.]{2,45}\])(?::[0-9]{1,5})?")


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's HTTP protocol, but a request's head must come in time and stay small.

    The parser below keeps a header of any length in memory and waits for it for ever; RFC 6585 §5 has the answer.

    A short read whose body came along with its head is looked for in `memory` before uvicorn makes a task of it, which
    costs more than all the rest of such an answer. Its head waits in `_waits` until the body is complete or the bytes
    that came at once are read.
    """

    # Set by a subclass; None: every request goes to the app.
    memory: recall.Memory | None = None
    _in_head = True
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None
    _waits = False
    _body = b""

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._timer = self.loop.call_later(HEAD_SECONDS_MAX, self._too_late)

    def connection_lost(self, exc: Exception | None) -> None:
        self._stop_timer()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        # Only whole chunks that are head from end to end are counted, so a head may exceed the limit by two chunks,
        # but no body that came with the head's end is counted as head.
        began_before = self._in_head
        super().data_received(data)
        if self._waits and not self.transport.is_closing():
            self._hand_over()
        if not self._in_head:
            return
        self._head_bytes = self._head_bytes + len(data) if began_before else 1
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(b"HTTP/1.1 431 Request Header Fields Too Large\r\n")
        elif self._timer is None:
            self._timer = self.loop.call_later(HEAD_SECONDS_MAX, self._too_late)

    def on_message_begin(self) -> None:
        self._in_head = True
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._in_head = False
        self._head_bytes = 0
        self._stop_timer()
        parser = self.parser
        if (
            self.memory is not None
            and (self.cycle is None or self.cycle.response_complete)
            and parser.get_method() in recall.METHODS
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
        ):
            self._waits, self._body = True, b""
        else:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        if self._waits:
            self._body += body
            if len(self._body) > recall.BODY_BYTES_MAX:
                self._hand_over()
        else:
            super().on_body(body)

    def on_message_complete(self) -> None:
        if self._waits:
            if self._recalled():
                self._waits = False
                return
            self._extend_scope(recall.BODY_THERE, True)
            self._hand_over()
        super().on_message_complete()

    def _hand_over(self) -> None:
        """Gives the app the request that waits, with what there is of its body."""
        self._waits = False
        super().on_headers_complete()
        if self._body:
            super().on_body(self._body)

    def _extend_scope(self, name: str, value: object) -> None:
        scope: Any = self.scope
        scope[name] = value

    def _recalled(self) -> bool:
        """Answers the request that waits if its answer is known; else its scope says where to keep the answer."""
        if self.memory is None or self.flow.write_paused:
            return False
        started = time.perf_counter()
        slot, known = self.memory.find(
            self.parser.get_method(), self.url, self.headers, self._body, self.client[0] if self.client else "",
            self.scheme or "",
        )  # fmt: skip
        if known is None:
            if slot is not None:
                self._extend_scope(recall.PLACE, slot)
            return False
        content = [STATUS_LINE[known.status]]
        for name, value in self.server_state.default_headers:
            content += (name, b": ", value, b"\r\n")
        content += (known.head, known.body)
        self.transport.write(b"".join(content))
        self.on_response_complete()
        observe.log_facts(logging.INFO, observe.request_id(), known.facts, (time.perf_counter() - started) * 1000)
        return True

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _too_late(self) -> None:
        self._timer = None
        # An answer that is under way belongs to the request before; its end closes the connection.
        if self.cycle is not None and not self.cycle.response_complete:
            self.cycle.keep_alive = False
        elif not self.transport.is_closing():
            self._refuse(b"HTTP/1.1 408 Request Timeout\r\n" if self._head_bytes else b"")

    def _refuse(self, status_line: bytes) -> None:
        self._stop_timer()
        if status_line and (self.cycle is None or self.cycle.response_complete):
            self.transport.write(status_line + b"content-length: 0\r\nconnection: close\r\n\r\n")
        self.transport.close()


class TrustedProxies:
    """ASGI middleware: scheme, host and client of a request as the first proxy that we do not trust saw them.

    Without a trusted peer the X-Forwarded headers mean nothing and are left alone: anybody can send them.
    """

    def __init__(self, app: App, trusted: Sequence[str]) -> None:
        self._app = app
        self._networks = [ipaddress.ip_network(text) for text in trusted]

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and self._networks:
            client = scope.get("client")
            if client and self._is_trusted(client[0]):
                scope = self._as_seen_outside(scope)
        await self._app(scope, receive, send)

    def _is_trusted(self, host: str) -> bool:
        try:
            address = ipaddress.ip_address(host)
        except ValueError:
            return False
        if address.version == 6 and address.ipv4_mapped is not None:
            address = address.ipv4_mapped
        return any(address in network for network in self._networks)

    def _as_seen_outside(self, scope: Scope) -> Scope:
        """The scope with what the proxies said; malformed values are ignored."""
        proto = host = ""
        forwarded: list[str] = []
        for name, value in scope["headers"]:
            if name == b"x-forwarded-proto":
                proto = value.decode("latin-1").rpartition(",")[2].strip().lower()
            elif name == b"x-forwarded-host":
                host = value.decode("latin-1").rpartition(",")[2].strip()
            elif name == b"x-forwarded-for":
                forwarded += [part.strip() for part in value.decode("latin-1").split(",")]
        changed = dict(scope)
        # For what only a proxy may say, such as who has signed in there: "client" no longer tells who the peer is.
        changed[PEER_TRUSTED] = True
        if proto in ("http", "https"):
            changed["scheme"] = proto
        if _HOST.fullmatch(host):
            others = [(name, value) for name, value in scope["headers"] if name != b"host"]
            changed["headers"] = [(b"host", host.encode("ascii")), *others]
        # From the right: each proxy appends whom it talked to, so what a client made up stands to the left.
        for text in reversed(forwarded):
            address = _address(text)
            if address is None:
                break
            changed["client"] = (address, 0)
            if not self._is_trusted(address):
                break
        return changed


def _address(text: str) -> str | None:
    """The IP address in an X-Forwarded-For element, which some proxies write with a port; None when there is none."""
    match = re.fullmatch(r"\[([0-9A-Fa-f:.]+)\](?::\d+)?|([0-9.]+):\d+|([0-9A-Fa-f:.]+)", text)
    if match is None:
        return None
    try:
        return str(ipaddress.ip_address(match[1] or match[2] or match[3]))
    except ValueError:
        return None
