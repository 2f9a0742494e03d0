"""One server for all examples of a module: hypothesis wants many, and a store for each would be most of the time."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from storage.engine import open_store
from tests.dsl import Client, Server


@pytest.fixture(scope="module")
def kept_server(sqlite_template: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    """A server in this process whose store lives as long as the module."""
    folder = tmp_path_factory.mktemp("fuzz")
    shutil.copy(sqlite_template, folder / "davenport.db")
    store = open_store(f"sqlite:///{folder / 'davenport.db'}", blob_dir=folder / "files", threads=4)
    running = Server(store)
    yield running
    running.close()
    store.close()


@pytest.fixture(scope="module")
def kept_alice(kept_server: Server) -> Client:
    kept_server.account("bob")
    return kept_server.account("alice")
