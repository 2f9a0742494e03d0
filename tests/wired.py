"""The app behind its HTTP protocol, in this process: what comes in and goes out is bytes, as on a socket."""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn import Config as UvicornConfig
from uvicorn.server import ServerState

from dav.config import Config
from dav.wire import BoundedProtocol
from storage.engine import Store
from tests.dsl import Answer, Server


class Pipe(asyncio.Transport):
    """A connection whose other end is a test."""

    def __init__(self) -> None:
        super().__init__({"peername": ("127.0.0.1", 40000), "sockname": ("127.0.0.1", 5232)})
        self.sent = b""
        self.closed = False

    def write(self, data: Any) -> None:
        self.sent += bytes(data)

    def is_closing(self) -> bool:
        return self.closed

    def close(self) -> None:
        self.closed = True

    def pause_reading(self) -> None:
        """All bytes are there already."""

    def resume_reading(self) -> None:
        """All bytes are there already."""


class Wired(Server):
    """As Server, but each request goes through the protocol. reached: how many requests came as far as the app.

    pieces: how the bytes of a request are cut, by their number; 1: head and body come at once.
    """

    def __init__(self, store: Store, config: Config | None = None, *, pieces: int = 1) -> None:
        super().__init__(store, config)
        self.reached, self.pieces = 0, pieces

        async def counted(scope: Any, receive: Any, send: Any) -> None:
            self.reached += 1
            await self.app(scope, receive, send)

        class Protocol(BoundedProtocol):
            memory = self.app.memory

        config_of_uvicorn = UvicornConfig(
            counted, http=Protocol, ws="none", lifespan="off", log_config=None, access_log=False, proxy_headers=False
        )
        config_of_uvicorn.load()
        state = ServerState()
        state.default_headers = [(b"date", b"today")]
        self.pipe = Pipe()
        self.protocol = Protocol(config_of_uvicorn, state, {}, _loop=self._loop)
        self._loop.run_until_complete(self._connect())

    async def _connect(self) -> None:
        self.protocol.connection_made(self.pipe)

    def close(self) -> None:
        self._loop.run_until_complete(self._disconnect())
        super().close()

    async def _disconnect(self) -> None:
        self.protocol.connection_lost(None)

    def send(self, data: bytes) -> bytes:
        """What is sent back for some bytes, until nothing more is under way."""
        return self._loop.run_until_complete(self._send(data))

    async def _send(self, data: bytes) -> bytes:
        self.pipe.sent = b""
        size = -(-len(data) // self.pieces)
        for at in range(0, len(data), size):
            self.protocol.data_received(data[at : at + size])
            await asyncio.sleep(0)
        while (cycle := self.protocol.cycle) is not None and not (cycle.response_complete or self.pipe.closed):
            await asyncio.sleep(0)
        await asyncio.sleep(0)  # what the app does after it has sent
        return self.pipe.sent

    async def _call(self, method: str, path: str, body: bytes, headers: list[tuple[str, str]], chunk: int) -> Answer:
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(f"{name}: {value}\r\n" for name, value in headers) + "\r\n"
        return read_answer(await self._send(head.encode("latin-1") + body))


def read_answer(data: bytes) -> Answer:
    """The first answer in some bytes; its length is given, or what follows the head is all of it."""
    head, _, rest = data.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    headers: dict[str, str] = {}
    for line in lines:
        name, _, value = line.partition(": ")
        headers[name] = f"{headers[name]}, {value}" if name in headers else value
    return Answer(int(first.split()[1]), headers, rest)
