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

# The files that take minutes, longest first.
LONGEST = (
    "outside/test_kill.py",
    "outside/test_mail_accounts.py",
    "outside/test_clients.py",
    "outside/test_mail_out.py",
    "outside/test_suites.py",
    "fuzz/test_model.py",
)


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_auto_num_workers() -> int:
    """Two for each core: the tests from outside wait for other programs as long as they compute."""
    return 2 * (os.cpu_count() or 1)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """The longest files come first, so that no worker is left with one at the end (`--dist loadfile`)."""
    place = {name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: place.get(item.nodeid.partition("::")[0].removeprefix("tests/"), len(place)))


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Bytes and long texts are called by their argument and a number, and never by what is in them.

    The workers of a run must agree on the names of all tests, and what is made may hold the time of day (gzip).
    """
    made = isinstance(val, bytes) or (isinstance(val, str) and (len(val) > 60 or not val.isprintable()))
    return argname if made else None


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


class KeptConnections:
    """Connections to PostgreSQL that outlive a test's store.

    A new connection reads the catalogue and plans each statement anew: of a test that writes a little, that was 26 of
    35 ms of the database's processor time and 8 of 14 ms of ours.
    """

    MOST = 4

    def __init__(self) -> None:
        self._engine: sa.Engine | None = None

    def open_store(self, url: str, blob_dir: Path, busy_timeout_s: float) -> Store:
        """As storage.engine.open_store. To be given to `end` and not to be closed."""
        if self._engine is not None:
            return Store(self._engine, "postgresql", url, blob_dir, 16, busy_timeout_s)
        opened = open_store(url, blob_dir=blob_dir, busy_timeout_s=busy_timeout_s)
        self._engine = opened.engine
        return opened

    def end(self, store: Store) -> None:
        """Keep the connections, unless the test opened many or left one in use, perhaps with a transaction."""
        pool = store.engine.pool
        assert isinstance(pool, sa.QueuePool)
        if pool.checkedout() or pool.checkedin() > self.MOST:
            store.close()
            self._engine = None

    def close(self) -> None:
        if self._engine is not None:
            self._engine.dispose()


@pytest.fixture(scope="session")
def postgresql_connections(postgresql_database: tuple[str, Callable[[], None]]) -> Iterator[KeptConnections]:
    kept = KeptConnections()
    yield kept
    kept.close()


@pytest.fixture
def store(store_url: str, tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[Store]:
    """An empty, migrated store of each kind. Its blobs lie in the test's own folder."""
    if store_url.startswith("sqlite"):
        opened = open_store(store_url, blob_dir=tmp_path / "files", busy_timeout_s=20)
        yield opened
        opened.close()
    else:
        connections: KeptConnections = request.getfixturevalue("postgresql_connections")
        opened = connections.open_store(store_url, tmp_path / "files", 20)
        yield opened
        connections.end(opened)


@pytest.fixture
def shared() -> Path:
    """The folder with corpus, replays and reference; skips when it is not beside the project (DAVENPORT_SHARED)."""
    root = Path(__file__).resolve().parent.parent
    path = Path(os.environ.get("DAVENPORT_SHARED", root.parent / "shared"))
    if not path.is_dir():
        pytest.skip(f"no reference material at {path}: set DAVENPORT_SHARED")
    return path
