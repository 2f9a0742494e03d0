"""Between socket and app: who is believed about the client."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

import pytest

from dav.wire import TrustedProxies

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
