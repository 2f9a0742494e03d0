"""A server in this process, and two accounts of it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Protocol

import pytest

from dav.config import Config
from storage.engine import Store
from tests.dsl import Client, Server


class Serve(Protocol):
    """Starts a server with other settings than the usual: serve(limits=Limits(query_results=3))."""

    def __call__(self, **sections: Any) -> Server: ...


@pytest.fixture
def serve(store: Store) -> Iterator[Serve]:
    running: list[Server] = []

    def start(**sections: Any) -> Server:
        running.append(Server(store, replace(Config(), **sections)))
        return running[-1]

    yield start
    for server in running:
        server.close()


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve()


@pytest.fixture
def alice(server: Server) -> Client:
    return server.account("alice")


@pytest.fixture
def bob(server: Server) -> Client:
    return server.account("bob")
