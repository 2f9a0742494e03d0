"""A server in this process, and two accounts of it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from storage.engine import Store
from tests.dsl import Client, Server


@pytest.fixture
def server(store: Store) -> Iterator[Server]:
    running = Server(store)
    yield running
    running.close()


@pytest.fixture
def alice(server: Server) -> Client:
    return server.account("alice")


@pytest.fixture
def bob(server: Server) -> Client:
    return server.account("bob")
