"""A web server of the tests: it says what it is told to, byte for byte."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

Reply = bytes | Iterable[bytes | float]


@dataclass
class Web:
    """port: where it listens. asked: (method and path, header fields in lower case) of each request. answer: by path.

    An answer is bytes, or pieces with seconds to wait between them; the connection is closed after it.
    """

    answer: Callable[[str, dict[str, str]], Reply]
    port: int = 0
    asked: list[tuple[str, dict[str, str]]] = field(default_factory=list)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            first = await reader.readexactly(1)
            if first == b"\x16":
                return  # TLS, where none is spoken
            head = (first + await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            fields = {
                name.lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:] if line)
            }
            path = head[0].split(" ")[1]
            self.asked.append((path, fields))
            reply = self.answer(path, fields)
            for piece in [reply] if isinstance(reply, bytes) else reply:
                if isinstance(piece, float):
                    await asyncio.sleep(piece)
                    continue
                writer.write(piece)
                await writer.drain()
        except (ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError, ssl.SSLError):
            pass
        finally:
            writer.close()


@asynccontextmanager
async def running(
    answer: Callable[[str, dict[str, str]], Reply], *, tls: ssl.SSLContext | None = None, host: str = "127.0.0.1"
) -> AsyncIterator[Web]:
    web = Web(answer)
    server = await asyncio.start_server(web.serve, host, 0, ssl=tls)
    web.port = int(server.sockets[0].getsockname()[1])
    try:
        yield web
    finally:
        server.close()


def ok(body: bytes, *fields: str) -> bytes:
    """A whole answer with 200."""
    return answer(200, body, *fields)


def answer(status: int, body: bytes, *fields: str) -> bytes:
    lines = [f"HTTP/1.1 {status} X", f"Content-Length: {len(body)}", "Connection: close", *fields]
    return "".join(f"{line}\r\n" for line in lines).encode() + b"\r\n" + body


def redirect(status: int, where: str) -> bytes:
    return answer(status, b"", f"Location: {where}")
