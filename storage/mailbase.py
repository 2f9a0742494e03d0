"""Reading the mail server's own table: an engine apart from the store's, which never writes.

SQLite is opened with mode=ro and without any PRAGMA: the journal mode is kept in the file, and a mail server that may
not write beside it stops delivering when somebody switches it to WAL. PostgreSQL and MySQL/MariaDB sessions are
read-only. Nothing here waits longer than `timeout_s` for a connection, a lock or an answer.
"""

from __future__ import annotations

import contextlib
import os
import re
import sqlite3
import threading
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import quote

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from storage.errors import StorageError

CONNECTIONS = 4
ROWS_MAX = 500
_REMEMBERED_MAX = 10_000
# A file that was written less than this long ago may be written again without a later time: the clocks of file systems
# are coarse.
_SETTLED_NS = 2_000_000_000
# How often SQLite looks whether its time is over, in virtual machine steps.
_PROGRESS_STEPS = 10_000
# "no such column", "no such table" of each database.
_UNDEFINED_PG = frozenset(("42703", "42P01"))
_UNDEFINED_MYSQL = frozenset((1054, 1146))
# The parameters of a query, as SQLAlchemy's text() finds them.
_PARAMETER = re.compile(r"(?<![:\w\\]):(\w+)(?!:)")

# One question in the spellings that different versions of a mail stack's tables need, the richest first. An empty one
# at the end: what is asked for came with a later version, and there is nothing to ask.
Question = tuple[str, ...]
Row = dict[str, Any]
Version = tuple[int, ...]


class MailBaseDown(StorageError):
    """The mail server's database gives no answer. The message says why, without passwords and parameters."""


class MailBase:
    """The mail server's database. Blocking and thread-safe; used from threads of the caller."""

    def __init__(self, url: str, *, timeout_s: float = 5, connections: int = CONNECTIONS) -> None:
        """url: sqlite:///absolute path, postgresql+psycopg://… or mysql+pymysql://…. Opens nothing yet.

        Raises ValueError for another URL, and ImportError when the database's driver is not installed.
        """
        self._timeout_s = timeout_s
        parsed = sa.make_url(url)
        self.dialect = parsed.get_backend_name()
        self._path = ""
        self._engine: sa.Engine | None = None
        if self.dialect == "sqlite":
            self._path = os.path.abspath(parsed.database or "")
        else:
            self._engine = _engine(parsed, timeout_s, connections)
        self._variant: dict[Question, int] = {}
        self._texts: dict[str, sa.TextClause] = {}
        # SQLite only: answers, good for one version of the file.
        self._lock = threading.Lock()
        self._version: Version | None = None
        self._answers: OrderedDict[tuple[str, tuple[tuple[str, str], ...]], list[Row]] = OrderedDict()

    def ask(self, question: Question, **params: str) -> list[Row]:
        """The rows, at most ROWS_MAX, as column name in lower case → value. Raises MailBaseDown.

        The first variant that the database's tables can answer is used, now and later.
        """
        start = self._variant.get(question, 0)
        for number in range(start, len(question)):
            sql = question[number]
            try:
                rows = self._rows(sql, {name: params[name] for name in _PARAMETER.findall(sql)}) if sql else []
            except _Undefined as error:
                if number == len(question) - 1:
                    raise MailBaseDown(f"the tables are not as expected: {error}") from None
            else:
                self._variant[question] = number
                return rows
        return []

    def close(self) -> None:
        """Closes the connections that no thread uses."""
        if self._engine is not None:
            self._engine.dispose()

    def _rows(self, sql: str, params: Mapping[str, str]) -> list[Row]:
        return self._rows_of_file(sql, params) if self._engine is None else self._rows_of_server(sql, params)

    # --- PostgreSQL, MySQL and MariaDB --------------------------------------------------------------------------------

    def _rows_of_server(self, sql: str, params: Mapping[str, str]) -> list[Row]:
        assert self._engine is not None
        text = self._texts.get(sql)
        if text is None:
            # MySQL quotes names with another character than the standard.
            text = self._texts[sql] = sa.text(sql.replace('"', "`") if self.dialect == "mysql" else sql)
        for last in (False, True):
            try:
                with self._engine.connect() as connection:
                    found = connection.execute(text, dict(params)).fetchmany(ROWS_MAX)
                    return [{key.lower(): _plain(value) for key, value in row._mapping.items()} for row in found]
            except DBAPIError as error:
                if error.connection_invalidated and not last:
                    continue  # the server was restarted: the other idle connections are gone as well
                if _is_undefined(error.orig):
                    raise _Undefined(_first_line(error.orig)) from None
                raise MailBaseDown(_first_line(error.orig)) from None
            except PoolTimeout:
                raise MailBaseDown("all connections to it are in use") from None
            except SQLAlchemyError as error:
                raise MailBaseDown(_first_line(error)) from None
        raise AssertionError

    # --- SQLite -------------------------------------------------------------------------------------------------------

    def _rows_of_file(self, sql: str, params: Mapping[str, str]) -> list[Row]:
        version = self._file_version()
        key = (sql, tuple(params.items()))
        with self._lock:
            if version != self._version:
                self._answers.clear()
                self._version = version
            elif (rows := self._answers.get(key)) is not None:
                return rows
        rows = self._read_file(sql, params, version)
        if time.time_ns() - max(version[0], version[3]) > _SETTLED_NS:
            with self._lock:
                if version == self._version:
                    self._answers[key] = rows
                    if len(self._answers) > _REMEMBERED_MAX:
                        self._answers.popitem(last=False)
        return rows

    def _read_file(self, sql: str, params: Mapping[str, str], version: Version) -> list[Row]:
        # A file in WAL mode without a -wal beside it is open nowhere. SQLite would make the -wal and -shm, which then
        # belong to us and may lock the mail server out; or refuse, where it may not write. Read as immutable it does
        # neither. Should somebody write at this very moment, the file's version tells, and it is read the usual way.
        if version[3] == 0 and self._in_wal_mode():
            with contextlib.suppress(_Undefined, MailBaseDown):
                rows = self._read("mode=ro&immutable=1", sql, params)
                if self._file_version() == version:
                    return rows
        return self._read("mode=ro", sql, params)

    def _read(self, mode: str, sql: str, params: Mapping[str, str]) -> list[Row]:
        # A connection for each question: a file that was replaced by another is the new one at once, and no lock stays.
        end_s = time.monotonic() + self._timeout_s
        try:
            connection = sqlite3.connect(
                f"file:{quote(self._path)}?{mode}", uri=True, timeout=self._timeout_s, isolation_level=None
            )
            with contextlib.closing(connection):
                connection.set_progress_handler(lambda: time.monotonic() > end_s, _PROGRESS_STEPS)
                cursor = connection.execute(sql, dict(params))
                names = [column[0].lower() for column in cursor.description or ()]
                return [dict(zip(names, map(_plain, row), strict=True)) for row in cursor.fetchmany(ROWS_MAX)]
        except sqlite3.OperationalError as error:
            if str(error).startswith(("no such column", "no such table")):
                raise _Undefined(_first_line(error)) from None
            raise MailBaseDown(_first_line(error)) from None
        except sqlite3.Error as error:
            raise MailBaseDown(_first_line(error)) from None

    def _in_wal_mode(self) -> bool:
        try:
            with open(self._path, "rb") as file:
                # File format, "File format version numbers": 2 in both bytes is WAL.
                return file.read(20)[18:20] == b"\x02\x02"
        except OSError:
            return False

    def _file_version(self) -> Version:
        """Changes when the database does: time, size and number of the file, and of the -wal beside it (else 0)."""
        try:
            main = os.stat(self._path)
        except OSError as error:
            raise MailBaseDown(f"the file cannot be read: {error.strerror}") from None
        version = (main.st_mtime_ns, main.st_size, main.st_ino)
        try:
            wal = os.stat(f"{self._path}-wal")
        except OSError:
            return (*version, 0, 0, 0)
        return (*version, wal.st_mtime_ns, wal.st_size, wal.st_ino)


class _Undefined(Exception):
    """The query names a table or a column that is not there."""


def _engine(url: sa.URL, timeout_s: float, connections: int) -> sa.Engine:
    seconds = max(1, round(timeout_s))
    arguments: dict[str, Any]
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        options = f"-c default_transaction_read_only=on -c statement_timeout={seconds * 1000}"
        arguments = {
            "connect_timeout": seconds,
            "tcp_user_timeout": seconds * 1000,
            "application_name": "davenport sign-in",
            "options": options,
        }
    elif url.get_backend_name() in ("mysql", "mariadb"):
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
        url,
        isolation_level="AUTOCOMMIT",
        pool_size=connections,
        max_overflow=0,
        pool_timeout=timeout_s,
        pool_recycle=600,
        pool_use_lifo=True,
        hide_parameters=True,
        connect_args=arguments,
    )


def _is_undefined(error: BaseException | None) -> bool:
    if getattr(error, "sqlstate", None) in _UNDEFINED_PG:
        return True
    arguments: Sequence[Any] = getattr(error, "args", ())
    return bool(arguments) and arguments[0] in _UNDEFINED_MYSQL


def _plain(value: Any) -> Any:
    """Text columns of some databases come as bytes."""
    if isinstance(value, (bytes, bytearray, memoryview)):
        return bytes(value).decode("utf-8", "replace")
    return value


def _first_line(error: object) -> str:
    arguments: Sequence[Any] = getattr(error, "args", ())
    # pymysql's arguments are a number and a sentence.
    text = str(arguments[1] if len(arguments) > 1 else error).strip().partition("\n")[0]
    return "".join(char if char.isprintable() else "?" for char in text[:200]) or type(error).__name__
