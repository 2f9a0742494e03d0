"""A store to import into, and other servers' databases of each kind."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import sqlalchemy as sa

from dav.config import Config
from storage.engine import Store, open_store
from tests.conftest import own_database
from tests.mariadb import MariaDb, programs
from tests.movein_wire.kit import Here


@pytest.fixture
def here(sqlite_url: str, tmp_path: Path) -> Iterator[Here]:
    """An empty Davenport to import into."""
    store: Store = open_store(sqlite_url, blob_dir=tmp_path / "files")
    yield Here(store, Config())
    store.close()


@pytest.fixture(scope="session")
def mariadb() -> Iterator[MariaDb]:
    in_ci = os.environ.get("DAVENPORT_OUTSIDE") == "1"
    if programs() is None:
        (pytest.fail if in_ci else pytest.skip)("mariadb-server is not installed")
    if not in_ci:
        pytest.skip("takes seconds to start: set DAVENPORT_OUTSIDE=1")
    # Not below pytest's folder, which the server's own user may not enter.
    with tempfile.TemporaryDirectory(prefix="davenport-mariadb-") as folder:
        Path(folder).chmod(0o755)
        server = MariaDb(Path(folder) / "server")
        yield server
        server.stop()


@pytest.fixture(scope="session")
def postgresql_there(postgresql_server: str) -> Iterator[str]:
    """URL of a database for another server's tables."""
    with own_database(postgresql_server) as url:
        yield url


@pytest.fixture(params=["sqlite", "postgresql", "mysql"])
def there_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """URL of another server's empty database, of each kind."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/there.sqlite"
    if request.param == "postgresql":
        url: str = request.getfixturevalue("postgresql_there")
        _run(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
        return url
    server: MariaDb = request.getfixturevalue("mariadb")
    _run(
        server.url(), "DROP DATABASE IF EXISTS there",
        "CREATE DATABASE there CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
    )  # fmt: skip
    return server.url("there")


def _run(url: str, *statements: str) -> None:
    engine = sa.create_engine(url, poolclass=sa.NullPool, isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.exec_driver_sql(statement)


@pytest.fixture
def tmp_path_url(tmp_path: Path) -> str:
    """URL of another server's SQLite file, where the kind of database does not matter."""
    return f"sqlite:///{tmp_path}/there.sqlite"
