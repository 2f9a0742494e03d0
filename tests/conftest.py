"""Fixtures for every test: stores of both kinds, and the reference material beside the project."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import schema
from storage.engine import Store, open_store
from storage.migrate import upgrade

VERSION = "0.1.0"


@pytest.fixture(autouse=True)
def same_umask() -> Iterator[None]:
    """The command line closes what it makes to others; the folders of the next test's mail server are not its own."""
    umask = os.umask(0o022)
    os.umask(umask)
    yield
    os.umask(umask)


@pytest.fixture(scope="session")
def sqlite_template(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An empty store's file: copying it is much cheaper than making one."""
    path = tmp_path_factory.mktemp("template") / "template.db"
    store = open_store(f"sqlite:///{path}")
    upgrade(store, version=VERSION)
    store.close()
    return path


@pytest.fixture(scope="session")
def postgresql_server() -> str:
    """URL of the PostgreSQL server for tests; skips when DAVENPORT_TEST_PG names none."""
    server = os.environ.get("DAVENPORT_TEST_PG")
    if not server:
        pytest.skip("DAVENPORT_TEST_PG names no PostgreSQL server")
    return server


@pytest.fixture(scope="session")
def postgresql_database(postgresql_server: str) -> Iterator[tuple[str, Callable[[], None]]]:
    """(URL, function that empties it) of an own database with the tables, for this test process."""
    with own_database(postgresql_server) as url:
        opened = open_store(url, threads=1)
        upgrade(opened, version=VERSION)
        with opened.engine.connect() as connection:
            # DELETE: a TRUNCATE of small tables makes a new file for each.
            tables = [table.name for table in reversed(schema.metadata.sorted_tables) if table.name != "store_meta"]
            statements = "BEGIN;" + ";".join(f"DELETE FROM {name}" for name in tables) + ";COMMIT"
            yield url, lambda: connection.exec_driver_sql(statements).close()
        opened.close()


@contextmanager
def own_database(server: str) -> Iterator[str]:
    """A new, empty database on the server; its URL. Dropped at the end."""
    name = f"davenport_test_{os.getpid()}_{secrets.token_hex(4)}"
    admin = sa.create_engine(server, isolation_level="AUTOCOMMIT", poolclass=sa.NullPool)
    with admin.connect() as connection:
        connection.exec_driver_sql(f"CREATE DATABASE {name} ENCODING 'UTF8' TEMPLATE template0")
    try:
        yield sa.make_url(server).set(database=name).render_as_string(hide_password=False)
    finally:
        with admin.connect() as connection:
            connection.exec_driver_sql(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")


@pytest.fixture
def sqlite_url(tmp_path: Path, sqlite_template: Path) -> str:
    """URL of a fresh SQLite store with its tables."""
    path = tmp_path / "davenport.db"
    shutil.copy(sqlite_template, path)
    return f"sqlite:///{path}"


@pytest.fixture(params=["sqlite", "postgresql"])
def store_url(request: pytest.FixtureRequest) -> str:
    """URL of an empty, migrated store: SQLite, and PostgreSQL when DAVENPORT_TEST_PG is set."""
    if request.param == "sqlite":
        url: str = request.getfixturevalue("sqlite_url")
        return url
    url, empty = request.getfixturevalue("postgresql_database")
    empty()
    return str(url)


@pytest.fixture
def store(store_url: str, tmp_path: Path) -> Iterator[Store]:
    """An empty, migrated store of each kind. Its blobs lie in the test's own folder."""
    opened = open_store(store_url, blob_dir=tmp_path / "files", busy_timeout_s=20)
    yield opened
    opened.close()


@pytest.fixture
def shared() -> Path:
    """The folder with corpus, replays and reference; skips when it is not beside the project (DAVENPORT_SHARED)."""
    root = Path(__file__).resolve().parent.parent
    path = Path(os.environ.get("DAVENPORT_SHARED", root.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no reference material at {path}: set DAVENPORT_SHARED")
    return path
