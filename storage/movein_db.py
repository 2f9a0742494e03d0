"""Reading another calendar server's database for `davenport import`: an engine apart from the store's, which never
writes.

One question only: some columns of a table, in the order of a key, a page at a time. So memory is bounded, no cursor
stays open while the store is written, and the same code asks SQLite, PostgreSQL, MySQL and MariaDB. What a value means
is the reader's affair (dav/movein).
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator, Mapping, Sequence
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from storage.errors import StorageError

PAGE_ROWS = 200
# A year of a database's answers is never awaited, a big table's first page is.
TIMEOUT_S = 120
TABLES_MAX = 5_000
ALL_MAX = 200_000

Row = dict[str, Any]


class ForeignDbError(StorageError):
    """The other server's database cannot be read. The message is a sentence without passwords and parameters."""


class ForeignDb:
    """The other server's database. Not thread-safe. Use it in a `with`, or close it."""

    def __init__(self, url: str, *, timeout_s: float = TIMEOUT_S) -> None:
        """url: sqlite:///absolute path, postgresql://… or mysql://… (any driver named is replaced by ours).

        Raises ForeignDbError for another URL, a missing driver, and a database that does not answer.
        """
        try:
            parsed = sa.make_url(url)
            self.dialect = "mysql" if parsed.get_backend_name() == "mariadb" else parsed.get_backend_name()
            self._engine = _engine(parsed, self.dialect, timeout_s)
            self._connection: sa.Connection | None = self._engine.connect()
            names = sa.inspect(self._connection).get_table_names()
        except (SQLAlchemyError, sqlite3.Error, ValueError, OSError) as error:
            raise ForeignDbError(f"The database cannot be opened: {_sentence(error)}") from None
        except ImportError as error:
            raise ForeignDbError(f"The database's driver is not installed: {_sentence(error)}") from None
        self.tables: frozenset[str] = frozenset(names[:TABLES_MAX])
        # The same for every run, and without a name and a password: what an import remembers its source by.
        path = parsed.database or ""
        path = os.path.abspath(path) if self.dialect == "sqlite" else f"/{path}"
        self.place = f"{self.dialect}://{_host(parsed)}{path}"
        self._columns: dict[str, frozenset[str]] = {}

    def __enter__(self) -> ForeignDb:
        return self

    def __exit__(self, *failure: object) -> None:
        self.close()

    def close(self) -> None:
        """Closes the connection."""
        if self._connection is not None:
            self._connection.close()
            self._connection = None
        self._engine.dispose()

    def columns(self, table: str) -> frozenset[str]:
        """The names of a table's columns; none for a table that is not there."""
        found = self._columns.get(table)
        if found is None:
            found = frozenset()
            if table in self.tables:
                try:
                    found = frozenset(column["name"] for column in sa.inspect(self._connect()).get_columns(table))
                except SQLAlchemyError as error:
                    raise ForeignDbError(f"The table {table} cannot be read: {_sentence(error)}") from None
            self._columns[table] = found
        return found

    def rows(
        self,
        table: str,
        columns: Sequence[str],
        *,
        key: str,
        where: Mapping[str, str | int | None] | None = None,
        long: str = "",
        long_max: int = 0,
        page: int = PAGE_ROWS,
    ) -> Iterator[Row]:
        """The rows of a table in the order of its unique column `key`, as column name → value as the driver gives it.

        key "": all rows at once, at most ALL_MAX, for tables without such a column.

        A column that the table does not have is None, a table that is not there has no rows. where: column → value
        that it has; columns that are not there are not asked for. long: one of the columns, given as None where it is
        longer than long_max; its length (in characters or bytes, as the database counts) is then under long + ":size".
        Raises ForeignDbError.
        """
        have = self.columns(table)
        if not have or (key and key not in have):
            return
        source = sa.table(table, *(sa.column(name) for name in have))
        wanted: list[sa.ColumnElement[Any]] = [source.c[key].label("_key") if key else sa.literal(0).label("_key")]
        for name in columns:
            if name not in have:
                continue
            if name == long:
                size = sa.func.length(source.c[name])
                wanted.append(sa.case((size <= long_max, source.c[name])).label(name))
                wanted.append(size.label("_size"))
            elif name != key:
                wanted.append(source.c[name])
        conditions = [source.c[name] == value for name, value in (where or {}).items() if name in have]
        statement = sa.select(*wanted).where(*conditions)
        statement = statement.order_by(source.c[key]).limit(page) if key else statement.limit(ALL_MAX)
        last: Any = None
        while True:
            asked = statement if last is None else statement.where(source.c[key] > last)
            try:
                found = [dict(row._mapping) for row in self._connect().execute(asked).fetchall()]
            except (SQLAlchemyError, sqlite3.Error, UnicodeError) as error:
                raise ForeignDbError(f"The table {table} cannot be read: {_sentence(error)}") from None
            for values in found:
                last = values.pop("_key")
                size_read = values.pop("_size", None)
                row: Row = {name: values.get(name) for name in columns}
                if key and key in columns:
                    row[key] = last
                if long:
                    row[f"{long}:size"] = size_read
                yield row
            if not key or len(found) < page:
                return

    def _connect(self) -> sa.Connection:
        if self._connection is None:
            raise ForeignDbError("The database is closed.")
        return self._connection


def text(value: Any) -> str:
    """A column's value as text: some databases keep texts as bytes, and a number or truth may stand in either. None
    is ""."""
    if value is None:
        return ""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    if isinstance(value, str):
        return value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return str(value)


def octets(value: Any) -> bytes:
    """A column's value as the bytes that were stored. None is b""."""
    if value is None:
        return b""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value)
    return str(value).encode("utf-8", "surrogateescape")


def number(value: Any) -> int | None:
    """A column's value as a number; None for what is none."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        value = bytes(value).decode("ascii", "replace")
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _host(url: sa.URL) -> str:
    return f"{url.host or ''}{f':{url.port}' if url.port else ''}"


def _engine(url: sa.URL, dialect: str, timeout_s: float) -> sa.Engine:
    seconds = max(1, round(timeout_s))
    if dialect == "sqlite":
        path = os.path.abspath(url.database or "")
        if not os.path.isfile(path):
            raise ValueError(f"there is no file {path}")
        return sa.create_engine("sqlite://", creator=lambda: _open_file(path, timeout_s), poolclass=NullPool)
    arguments: dict[str, Any]
    if dialect == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        arguments = {
            "connect_timeout": seconds,
            "application_name": "davenport import",
            "options": f"-c default_transaction_read_only=on -c statement_timeout={seconds * 1000}",
        }
    elif dialect == "mysql":
        url = url.set(drivername="mysql+pymysql")
        arguments = {
            "connect_timeout": seconds,
            "read_timeout": seconds,
            "write_timeout": seconds,
            "charset": "utf8mb4",
            "init_command": "SET SESSION TRANSACTION READ ONLY",
        }
    else:
        raise ValueError("SQLite, PostgreSQL, MySQL and MariaDB are known here")
    return sa.create_engine(
        url, isolation_level="AUTOCOMMIT", poolclass=NullPool, hide_parameters=True, connect_args=arguments
    )


def _open_file(path: str, timeout_s: float) -> sqlite3.Connection:
    # A file in WAL mode without a -wal beside it is open nowhere; opened the usual way, SQLite would leave a -wal and
    # a -shm that belong to us and lock its server out.
    quiet = _in_wal_mode(path) and not os.path.exists(f"{path}-wal")
    mode = "mode=ro&immutable=1" if quiet else "mode=ro"
    connection = sqlite3.connect(f"file:{quote(path)}?{mode}", uri=True, timeout=timeout_s)
    # A column that holds something else than UTF-8 comes as the bytes it is; text() and octets() undo this.
    connection.text_factory = lambda raw: raw.decode("utf-8", "surrogateescape")
    return connection


def _in_wal_mode(path: str) -> bool:
    try:
        with open(path, "rb") as file:
            return file.read(20)[18:20] == b"\x02\x02"
    except OSError:
        return False


def _sentence(error: BaseException) -> str:
    """One line of what went wrong, without the statement and its parameters."""
    inner = getattr(error, "orig", None) or error
    arguments: Sequence[Any] = getattr(inner, "args", ())
    # pymysql's arguments are a number and a sentence.
    told = str(arguments[1] if len(arguments) > 1 else inner).strip().partition("\n")[0]
    return "".join(char if char.isprintable() else "?" for char in told[:200]) or type(inner).__name__
