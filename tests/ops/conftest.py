"""A store of its own for each test, in SQLite, with one account."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from dav import provision
from dav.auth import passwords
from dav.config import Config, DatabaseConfig
from storage.engine import Store, transaction
from storage.records import Account

PASSWORD = "correct horse"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    database = DatabaseConfig(url=f"sqlite:///{tmp_path}/davenport.db", files=str(tmp_path / "davenport.files"))
    return replace(Config(), database=database)


@pytest.fixture
def store(config: Config, sqlite_url: str) -> Iterator[Store]:
    assert config.database.url == sqlite_url
    store = provision.open_store(config)
    yield store
    store.close()


@pytest.fixture(scope="session")
def password_hash() -> str:
    return passwords.hash_password(PASSWORD)


@pytest.fixture
def alice(store: Store, password_hash: str) -> Account:
    with transaction(store, write=True) as conn:
        return provision.provision(conn, "alice@example.com", password_hash=password_hash, now_s=1_700_000_000)
