"""Between socket and app: who is believed about the client."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import MutableMapping
from typing import Any

import pytest
from uvicorn import Config
from uvicorn.server import ServerState

from dav import wire
from dav.wire import BoundedProtocol, TrustedProxies

Headers = list[tuple[bytes, bytes]]


def seen(headers: Headers, peer: str = "127.0.0.1", trusted: tuple[str, ...] = ("127.0.0.1", "::1")) -> tuple[Any, ...]:
    """(scheme, client address, values of Host) as the app sees them."""
    found: list[MutableMapping[str, Any]] = []

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        found.append(scope)

    scope = {
        "type": "http",
        "scheme": "http",
        "client": (peer, 5),
        "headers": [(b"host", b"inner:5232"), *headers],
    }
    nothing: Any = None
    asyncio.run(TrustedProxies(app, trusted)(scope, nothing, nothing))
    hosts = [value.decode() for name, value in found[0]["headers"] if name == b"host"]
    return found[0]["scheme"], found[0]["client"][0], hosts


PROXIED: Headers = [
    (b"x-forwarded-proto", b"https"),
    (b"x-forwarded-host", b"dav.example.org:8443"),
    (b"x-forwarded-for", b"198.51.100.1"),
]


@pytest.mark.parametrize("peer", ["127.0.0.1", "::1", "::ffff:127.0.0.1"])
def test_a_trusted_proxy_is_believed(peer: str) -> None:
    assert seen(PROXIED, peer) == ("https", "198.51.100.1", ["dav.example.org:8443"])


@pytest.mark.parametrize(
    ("peer", "trusted"), [("192.0.2.1", ("127.0.0.1",)), ("127.0.0.1", ()), ("unix", ("127.0.0.1",))]
)
def test_anybody_else_is_not(peer: str, trusted: tuple[str, ...]) -> None:
    assert seen(PROXIED, peer, trusted) == ("http", peer, ["inner:5232"])


def test_a_network_can_be_trusted() -> None:
    assert seen(PROXIED, "10.1.2.3", ("10.0.0.0/8",))[0] == "https"


@pytest.mark.parametrize(
    ("forwarded", "client"),
    [
        (b"6.6.6.6, 198.51.100.1", "198.51.100.1"),
        (b"6.6.6.6, 198.51.100.1, 127.0.0.1", "198.51.100.1"),
        (b"127.0.0.1", "127.0.0.1"),
        (b"nonsense, 198.51.100.1", "198.51.100.1"),
        (b"198.51.100.1, nonsense", "127.0.0.1"),
        (b"198.51.100.1:4711", "198.51.100.1"),
        (b"[2001:db8::1]:4711", "2001:db8::1"),
        (b"2001:db8::1", "2001:db8::1"),
        (b"", "127.0.0.1"),
    ],
)
def test_the_client_is_the_last_one_that_no_trusted_proxy_is(forwarded: bytes, client: str) -> None:
    assert seen([(b"x-forwarded-for", forwarded)])[1] == client


@pytest.mark.parametrize("host", [b"a/b", b"a b", b"a@b", b"a:b", b"<x>", b"", b"a\xff", b"a:123456"])
def test_a_malformed_host_is_ignored(host: bytes) -> None:
    assert seen([(b"x-forwarded-host", host)])[2] == ["inner:5232"]


def test_an_unknown_scheme_is_ignored() -> None:
    assert seen([(b"x-forwarded-proto", b"javascript")])[0] == "http"


async def hello(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
    while (await receive()).get("more_body"):
        pass
    await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"2")]})
    await send({"type": "http.response.body", "body": b"ok"})


def talk(*pieces: bytes, pause_s: float = 0.0) -> bytes:
    """What a server with our protocol answers to these pieces until it closes, or until it has nothing to say."""

    async def scene() -> bytes:
        config = Config(hello, http=BoundedProtocol, ws="none", lifespan="off", log_config=None)
        config.load()
        server = await asyncio.get_running_loop().create_server(
            lambda: BoundedProtocol(config, ServerState(), {}), "127.0.0.1", 0
        )
        async with server:
            reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
            answer = bytearray()

            async def listen() -> None:
                with contextlib.suppress(TimeoutError, ConnectionError):
                    while chunk := await asyncio.wait_for(reader.read(65536), 10):
                        answer.extend(chunk)

            listening = asyncio.create_task(listen())
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(pause_s)
            await listening
            writer.close()
            return bytes(answer)

    return asyncio.run(scene())


HEAD = b"PUT / HTTP/1.1\r\nhost: x\r\ncontent-length: 300000\r\n\r\n"
LAST = HEAD.replace(b"host: x", b"host: x\r\nconnection: close")


def test_a_head_in_pieces_and_a_large_body_are_served() -> None:
    assert talk(LAST[:10], LAST[10:30], LAST[30:], b"x" * 300_000).count(b"HTTP/1.1 200 OK") == 1
    # The body's end and the next request arrive together: the body does not count as head.
    both = talk(
        HEAD + b"x" * 150_000,
        b"x" * 150_000 + b"GET / HT",
        b"TP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n",
        pause_s=0.02,
    )
    assert both.count(b"HTTP/1.1 200 OK") == 2


def test_a_head_that_comes_too_slowly_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEAD_SECONDS_MAX", 0.1)
    assert talk(b"GET / HT", b"TP/1.1\r\nhost: x\r\n", b"a: b\r\n", pause_s=0.2).startswith(b"HTTP/1.1 408 ")
    # A body may take longer than a head.
    assert talk(LAST, b"x" * 200_000, b"x" * 100_000, pause_s=0.2).startswith(b"HTTP/1.1 200 ")


def test_a_connection_that_says_nothing_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEAD_SECONDS_MAX", 0.1)
    assert talk(b"", pause_s=0.2) == b""


def test_a_second_request_that_stays_half_is_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "HEAD_SECONDS_MAX", 0.1)
    get = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n"
    answer = talk(get, get[:20], b"", pause_s=0.2)
    assert answer.count(b"HTTP/1.1 200 OK") == 1
    assert b"HTTP/1.1 408 " in answer


def test_a_head_that_is_too_large_is_refused() -> None:
    long = [b"x-a: " + b"a" * 30_000 + b"\r\n"] * 8
    assert talk(b"GET / HTTP/1.1\r\n", *long, b"\r\n", pause_s=0.01).startswith(b"HTTP/1.1 431 ")
    assert talk(b"GET / HTTP/1.1\r\n", long[0], b"connection: close\r\n\r\n", pause_s=0.01).startswith(b"HTTP/1.1 200 ")
