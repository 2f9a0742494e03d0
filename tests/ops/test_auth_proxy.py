"""Signing in by a reverse proxy's header: from the proxy itself, and from nobody else."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import pytest

from dav import config as settings
from dav.auth.backend import Credentials, Identity, Refusal
from dav.auth.proxy import Proxy, vouched
from dav.config import AuthConfig, AuthProxyConfig, Config, ConfigError
from dav.wire import TrustedProxies

ON = replace(Config(), auth=AuthConfig(backends=("proxy", "local")))


def through(peer: str, headers: dict[str, str], config: Config = ON, trusted: tuple[str, ...] = ("10.0.0.1",)) -> Any:
    """What the app sees vouched for in a request from this peer."""
    seen: list[Any] = []

    async def app(scope: MutableMapping[str, Any], receive: Any, send: Any) -> None:
        found = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        seen.append(vouched(config, scope, found))

    raw = [(name.lower().encode(), value.encode("utf-8")) for name, value in headers.items()]
    scope = {"type": "http", "client": (peer, 1), "headers": raw, "scheme": "http"}
    asyncio.run(TrustedProxies(app, trusted)(scope, None, None))  # type: ignore[arg-type]
    return seen[0]


def check(header: str | None) -> Identity | Refusal:
    return asyncio.run(Proxy().check(Credentials(header=header)))


def test_a_trusted_proxy_says_who_it_is() -> None:
    assert through("10.0.0.1", {"X-Remote-User": "Zoë@example.com", "X-Forwarded-For": "192.0.2.7"}) == (
        "Zoë@example.com"
    )


@pytest.mark.parametrize("forwarded", [{}, {"X-Forwarded-For": "10.0.0.1"}, {"X-Forwarded-For": "127.0.0.1"}])
def test_nobody_else_can(forwarded: dict[str, str]) -> None:
    assert through("192.0.2.7", {"X-Remote-User": "alice", **forwarded}) is None
    assert through("127.0.0.1", {"X-Remote-User": "alice"}, trusted=()) is None


def test_without_the_back_end_the_header_means_nothing() -> None:
    assert through("10.0.0.1", {"X-Remote-User": "alice"}, Config()) is None


def test_an_empty_or_missing_header_leaves_room_for_a_password() -> None:
    assert through("10.0.0.1", {}) is None
    assert through("10.0.0.1", {"X-Remote-User": " "}) is None


def test_the_name_of_the_header_is_a_setting() -> None:
    config = replace(ON, auth_proxy=AuthProxyConfig(header="Remote-User"))
    assert through("10.0.0.1", {"Remote-User": "alice", "X-Remote-User": "bob"}, config) == "alice"
    with pytest.raises(ConfigError, match=r"auth_proxy\.header"):
        settings.load(None, {"DAVENPORT_AUTH_PROXY_HEADER": "X Remote"})


def test_names_are_compared_in_one_spelling() -> None:
    assert check("ALICE@Example.com") == Identity("alice@example.com", addresses=("alice@example.com",))
    assert check("Alice") == Identity("alice")
    assert check("Zoe\u0308") == check("zoë")


@pytest.mark.parametrize("header", ["", "mallory, alice", "alice/..", "a\nb", "x" * 256, "a b", None])
def test_what_cannot_be_one_name_is_refused(header: str | None) -> None:
    assert check(header) is Refusal.WRONG
