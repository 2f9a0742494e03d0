"""Opening the store, transactions, and statements: the only place that knows which database it is.

SQLite: one file in WAL mode with synchronous=FULL. Writers queue (storage/queue_lock.py) and then use one connection
that belongs to them; short writes that wait together are committed together, with one sync of the disk, and none of
them returns before it. Readers have a small stack of connections. PostgreSQL: psycopg 3 connections from SQLAlchemy's
pool. Both run on the driver's cursor with SQL that SQLAlchemy Core compiled once: 6 µs for a row where Core's own road
takes 19.
"""

from __future__ import annotations

import hashlib
import json
import marshal
import secrets
import sqlite3
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.engine import Dialect, Engine
from sqlalchemy.exc import TimeoutError as PoolTimeout
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler

from storage.checkpoint import FALLBACK_PAGES, Checkpointer
from storage.errors import StorageError, StoreBusy
from storage.queue_lock import WriterQueue

DialectName = Literal["sqlite", "postgresql"]
Row = tuple[Any, ...]

# Page cache of one SQLite connection, in KiB: the kernel caches the file too. The writer, of which there is one, has
# more: a recurring event touches a page for each of its instances.
_CACHE_KIB = 1024
_WRITER_CACHE_KIB = 4096
_PRAGMAS = (
    "PRAGMA journal_mode=WAL",
    "PRAGMA synchronous=FULL",
    "PRAGMA foreign_keys=ON",
    f"PRAGMA cache_size=-{_CACHE_KIB}",
    "PRAGMA temp_store=MEMORY",
    f"PRAGMA wal_autocheckpoint={FALLBACK_PAGES}",
    "PRAGMA journal_size_limit=16777216",
)
# So many writes share one commit at most.
_GROUP_MAX = 16
_READ_BEGIN = {"sqlite": "BEGIN", "postgresql": "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY"}
_WRITE_BEGIN = {"sqlite": "BEGIN IMMEDIATE", "postgresql": "BEGIN ISOLATION LEVEL READ COMMITTED"}
# SQLSTATEs that mean "try again": serialization failure, deadlock, lock not available, cancelled by a timeout, server
# starting or stopping, connection lost.
_PG_BUSY = frozenset(
    {"40001", "40P01", "55P03", "57014", "57P01", "57P02", "57P03", "08000", "08003", "08006", "53300"}
)
_PG_GONE = frozenset({"57P01", "57P02", "57P03", "08000", "08003", "08006", None})


class Conn:
    """One open transaction. Opaque to everybody outside storage/.

    statements: how many SQL statements ran so far; one executemany counts as one. locked: ids of the collections whose
    rows were locked on purpose (PostgreSQL), for those who lock more. heard: what is asked and told, where somebody
    wants to know later whether the same would be told again.
    """

    __slots__ = ("cursor", "dialect", "heard", "locked", "statements", "store", "write")

    def __init__(self, store: Store, cursor: Any, write: bool) -> None:
        self.store, self.cursor, self.write = store, cursor, write
        self.dialect = store.dialect
        self.statements = 0
        self.locked: set[int] = set()
        self.heard: Heard | None = None

    def array(self, values: Iterable[Any]) -> Any:
        """Values for a `one_of` parameter: JSON text for SQLite, a list for PostgreSQL."""
        return json.dumps(list(values)) if self.dialect == "sqlite" else list(values)


class Heard:
    """What a reader asked and what it was told. Whoever asks the same and is told the same has come to the same end.

    Nothing is kept of a reader who asks much or is told much: a long answer would lie in memory until its end.
    """

    __slots__ = ("_asked", "_told", "_too_much")

    def __init__(self) -> None:
        self._asked: list[_Question] = []
        self._told: list[Any] = []
        self._too_much = False

    def add(self, sql: str, params: dict[str, Any], told: Any, *, all_rows: bool) -> None:
        if self._too_much:
            return
        if len(self._asked) == _HEARD_MAX or (all_rows and len(told) > _HEARD_ROWS_MAX):
            self._too_much = True
            self._asked.clear()
            self._told.clear()
            return
        self._asked.append((sql, params, all_rows))
        self._told.append(told)

    def told(self) -> Told | None:
        """The questions with a digest of the answers; None when there were too many, or nobody could compare them."""
        digest = None if self._too_much else _digest(self._told)
        return None if digest is None else Told(tuple(self._asked), digest)


class Told(NamedTuple):
    """Statements, and a digest of what the store answered to all of them in one transaction."""

    asked: tuple[_Question, ...]
    digest: bytes

    def is_so_still(self, store: Store) -> bool:
        """Whether the store would answer the same now; on SQLite False also when it cannot be asked at once.

        SQLite: on the thread of Store.version. PostgreSQL: one round trip. Raises StoreBusy.
        """
        told = _ask_together(store, self.asked) if store.dialect == "postgresql" else store.ask_again(self.asked)
        return told is not None and _digest(told) == self.digest


# SQL, its parameters, and whether all rows are wanted or the first one.
_Question = tuple[str, dict[str, Any], bool]
# Who asks more often than this does not ask for something short.
_HEARD_MAX = 12
# Nor who is told more rows than this at once.
_HEARD_ROWS_MAX = 500
_DIGEST_KEY = secrets.token_bytes(32)


def _digest(told: list[Any]) -> bytes | None:
    """A keyed hash of rows: smaller than they are, and no password hash stays in memory with it."""
    try:
        # Version 2 has no references, so equal rows are always written alike. 3 µs where repr() takes 20.
        octets = marshal.dumps(told, 2)
    except ValueError:  # a type that only PostgreSQL's driver has
        return None
    return hashlib.blake2b(octets, key=_DIGEST_KEY, digest_size=24).digest()


def _ask_together(store: Store, asked: Sequence[_Question]) -> list[Any]:
    """PostgreSQL: the answers to statements in one transaction, all of it in one round trip. Raises StoreBusy."""
    raw = _pooled(store)
    try:
        driver: Any = raw.driver_connection
        with driver.pipeline():
            driver.execute(_READ_BEGIN["postgresql"])
            cursors = [driver.execute(sql, params) for sql, params, _ in asked]
            driver.execute("COMMIT")
        return [
            cursor.fetchall() if all_rows else cursor.fetchone()
            for cursor, (_, _, all_rows) in zip(cursors, asked, strict=True)
        ]
    except BaseException as error:
        raw.invalidate()
        raise_busy(error)
        raise
    finally:
        raw.close()


def _pooled(store: Store) -> sa.PoolProxiedConnection:
    """One of PostgreSQL's connections. Raises StoreBusy."""
    try:
        return store.engine.raw_connection()
    except PoolTimeout as error:
        raise StoreBusy("all connections to the database are in use") from error
    except sa.exc.DBAPIError as error:
        raise StoreBusy("the database does not answer") from error


class _Member:
    """A write that is done and waits for the commit that it shares. error: why that commit failed."""

    __slots__ = ("committed", "error")

    def __init__(self) -> None:
        self.committed = threading.Lock()
        self.committed.acquire()
        self.error: BaseException | None = None


class Store:
    """An open database with its blob folder. Shared by all threads of a process; not to be carried over a fork.

    url: as given, with its password. blob_dir: made when the first blob is written.
    """

    def __init__(
        self, engine: Engine, dialect: DialectName, url: str, blob_dir: Path, threads: int, busy_timeout_s: float
    ) -> None:
        self.url, self.dialect, self.blob_dir, self.busy_timeout_s = url, dialect, blob_dir, busy_timeout_s
        self.engine = engine
        self.sql_dialect: Dialect = engine.dialect
        self.path = Path(engine.url.database or "") if dialect == "sqlite" else None
        self._epoch: str | None = None
        self._threads = threads
        self._writers = WriterQueue(self.path) if self.path is not None else None
        self._writer: sqlite3.Connection | None = None
        self._checkpointer = None if self._writers is None else Checkpointer(self._connect, self._writers)
        # Writes in the transaction that is open on the writing connection. Belongs to whoever has the right to write.
        self._group: list[_Member] = []
        self._readers: list[sqlite3.Connection] = []
        self._watcher: sqlite3.Connection | None = None
        self._closed = False

    @property
    def epoch(self) -> str:
        """Names this life of the store; part of every sync token. Another one after a restore. Cached."""
        if self._epoch is None:
            with transaction(self) as conn:
                value = _EPOCH.scalar(conn)
            if value is None:
                raise StorageError("the store has no tables yet: run the upgrade first")
            self._epoch = str(value)
        return self._epoch

    def forget_epoch(self) -> None:
        """Read the epoch anew at its next use."""
        self._epoch = None

    def close(self) -> None:
        """Close all connections. No transaction may be open."""
        if self._checkpointer is not None:
            self._checkpointer.close()
        self._closed = True
        while self._readers:
            self._readers.pop().close()
        for connection in (self._writer, self._watcher):
            if connection is not None:
                connection.close()
        self._writer = self._watcher = None
        if self._writers is not None:
            self._writers.close()
        self.engine.dispose()

    def version(self) -> int | None:
        """SQLite: a number that is another one after each commit of anybody; None when it cannot be told at once.

        Numbers of one process compare with each other only. Called from one thread. It takes 4 µs and waits for nobody.
        """
        if self.path is None:
            return None
        try:
            if self._watcher is None:
                # SQLite counts the commits of others only, so this connection never writes.
                self._watcher = self._connect()
                self._watcher.execute("PRAGMA busy_timeout=0")
            found: tuple[int] = self._watcher.execute("PRAGMA data_version").fetchone()
        except sqlite3.Error:
            return None
        return found[0]

    def ask_again(self, asked: Iterable[_Question]) -> list[Any] | None:
        """SQLite: what these statements find now; None when the store cannot be asked at once. As `version`."""
        if self._watcher is None:
            return None
        told: list[Any] = []
        try:
            self._watcher.execute("BEGIN")
            try:
                for sql, params, all_rows in asked:
                    cursor = self._watcher.execute(sql, params)
                    told.append(cursor.fetchall() if all_rows else cursor.fetchone())
            finally:
                self._watcher.execute("COMMIT")
        except sqlite3.Error:
            return None
        return told

    # SQLite's connections. SQLAlchemy makes them; its pool would cost more than the statements that run on them.

    def lock_writers(self, *, joins: bool = False) -> None:
        """SQLite: wait for the right to write (any means of writing). Raises StoreBusy.

        joins: the caller goes on in the transaction of those before it, if there is one; see `joining`.
        """
        if self._writers is None:
            return
        self._writers.acquire(self.busy_timeout_s, joins=joins)

    def unlock_writers(self) -> None:
        if self._writers is not None:
            self._writers.release()

    @property
    def joining(self) -> bool:
        """Whether writes of others are done in the open transaction. Needs: lock_writers() was called."""
        return bool(self._group)

    def pass_on(self, member: _Member | None) -> bool:
        """Leave the commit to the next writer, if one waits that joins. member: what this writer then waits for."""
        group = len(self._group) + (member is not None)
        if self._writers is None or group >= _GROUP_MAX or not self._writers.waiting():
            return False
        if member is not None:
            self._group.append(member)
        if self._writers.pass_on():
            return True
        if member is not None:
            self._group.remove(member)
        return False

    def committed(self) -> None:
        """Say that a transaction was committed. Needs: lock_writers() was called."""
        if self._checkpointer is not None:
            self._checkpointer.committed()

    def end_group(self, error: BaseException | None) -> None:
        """Tell those who wait what became of the transaction."""
        group, self._group = self._group, []
        for member in group:
            member.error = error
            member.committed.release()

    def take_reader(self) -> sqlite3.Connection:
        try:
            return self._readers.pop()
        except IndexError:
            return self._connect()

    def give_reader(self, connection: sqlite3.Connection) -> None:
        if len(self._readers) < self._threads and not self._closed:
            self._readers.append(connection)
        else:
            connection.close()

    def take_writer(self) -> sqlite3.Connection:
        """The one connection that writes. Needs: lock_writers() was called."""
        if self._writer is None:
            self._writer = self._connect()
            self._writer.execute(f"PRAGMA cache_size=-{_WRITER_CACHE_KIB}")
        return self._writer

    def drop_writer(self) -> None:
        """Forget the writing connection after an error that leaves its state unknown."""
        if self._writer is not None:
            self._writer.close()
            self._writer = None
        self.end_group(StoreBusy("the writes of this moment were undone"))

    def _connect(self) -> sqlite3.Connection:
        if self._closed:
            raise StorageError("the store is closed")
        raw = self.engine.raw_connection()
        connection: sqlite3.Connection = raw.driver_connection  # type: ignore[assignment]
        raw.detach()
        return connection


def open_store(url: str, *, blob_dir: Path | None = None, threads: int = 16, busy_timeout_s: float = 30) -> Store:
    """Open a store: sqlite:///path or postgresql+psycopg://…. Nothing is created but an empty SQLite file.

    blob_dir: where big bodies lie; default: beside the SQLite file with the ending .files, or ./davenport.files.
    threads: how many connections are kept open. busy_timeout_s: how long a writer waits before StoreBusy. Raises
    ValueError for a URL that is neither of the two.
    """
    parsed = sa.make_url(url)
    name = parsed.get_backend_name()
    if name == "sqlite":
        if not parsed.database or parsed.database == ":memory:":
            raise ValueError("an SQLite store needs a file: sqlite:///path")
        path = Path(parsed.database).absolute()
        engine = sa.create_engine(
            parsed.set(database=str(path)),
            poolclass=sa.NullPool,
            paramstyle="named",
            # isolation_level=None: the driver begins nothing by itself, our own BEGIN decides.
            connect_args={
                "isolation_level": None,
                "cached_statements": 256,
                "check_same_thread": False,
                "timeout": busy_timeout_s,
            },
        )
        sa.event.listen(engine, "connect", _prepare_sqlite)
        return Store(engine, "sqlite", url, blob_dir or path.with_suffix(".files"), threads, busy_timeout_s)
    if name != "postgresql":
        raise ValueError(f"the store knows SQLite and PostgreSQL, not {name}")
    engine = sa.create_engine(
        parsed.set(drivername="postgresql+psycopg"),
        pool_size=threads,
        max_overflow=0,
        pool_timeout=busy_timeout_s,
        pool_use_lifo=True,
        pool_reset_on_return=None,
        connect_args={
            "autocommit": True,
            "application_name": "davenport",
            # A writer that cannot get its row in time gives up, as on SQLite.
            "options": f"-c lock_timeout={int(busy_timeout_s * 1000)}",
        },
    )
    return Store(engine, "postgresql", url, blob_dir or Path("davenport.files").absolute(), threads, busy_timeout_s)


def _prepare_sqlite(connection: Any, _record: object) -> None:
    for pragma in _PRAGMAS:
        connection.execute(pragma)


class transaction:
    """Context manager: an open transaction as Conn; committed at the end, rolled back when an exception passes.

    A reader sees one snapshot of the store throughout. write=True on SQLite holds the writers' queue from begin to
    commit; on PostgreSQL it is READ COMMITTED, and the functions that write lock the rows they need. Raises StoreBusy
    when the store could not be locked in time, or gave up because of other writers; nothing was written then.

    short: a write that takes milliseconds. On SQLite it may share its commit with others that wait at the same moment:
    each stands between savepoints, the last one commits for all, and the others leave this block only after that.
    """

    __slots__ = ("_conn", "_joined", "_raw", "_short", "_store", "_write")

    def __init__(self, store: Store, *, write: bool = False, short: bool = False) -> None:
        self._store, self._write, self._short = store, write, short
        self._raw: Any = None
        self._joined = False

    def __enter__(self) -> Conn:
        store, write = self._store, self._write
        if store.dialect == "sqlite":
            if write:
                store.lock_writers(joins=self._short)
                try:
                    self._raw = store.take_writer()
                    cursor = self._raw.cursor()
                    self._joined = store.joining
                    cursor.execute("SAVEPOINT joined" if self._joined else "BEGIN IMMEDIATE")
                except BaseException as error:
                    store.drop_writer()
                    store.unlock_writers()
                    raise_busy(error)
                    raise
            else:
                self._raw = store.take_reader()
                cursor = self._raw.cursor()
                cursor.execute("BEGIN")
        else:
            self._raw = _pooled(store)
            try:
                cursor = self._raw.driver_connection.cursor()
                cursor.execute((_WRITE_BEGIN if write else _READ_BEGIN)["postgresql"])
            except BaseException as error:
                self._raw.invalidate()
                self._raw.close()
                raise_busy(error)
                raise
        self._conn = Conn(store, cursor, write)
        return self._conn

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._store.dialect == "sqlite":
            self._leave_sqlite(error)
        else:
            self._leave_postgresql(error)
        if error is not None:
            raise_busy(error)

    def _leave_sqlite(self, error: BaseException | None) -> None:
        if self._write:
            self._leave_writer(error)
            return
        raw = self._raw
        try:
            if error is None:
                self._conn.cursor.execute("COMMIT")
            elif raw.in_transaction:
                raw.rollback()
            self._conn.cursor.close()
        except BaseException as failure:
            raw.close()
            self._raw = None
            raise_busy(failure)
            raise
        finally:
            if self._raw is not None:
                self._store.give_reader(raw)

    def _leave_writer(self, error: BaseException | None) -> None:
        store, raw = self._store, self._raw
        member = _Member()
        try:
            self._end_part(error)
            self._conn.cursor.close()
            # A write that was undone leaves the commit of the others to who comes, and has nothing to wait for.
            wanted = store.joining if error is not None else self._short
            passed = wanted and store.pass_on(member if error is None else None)
            if not passed and raw.in_transaction:
                raw.execute("COMMIT")
                store.end_group(None)
                store.committed()
        except BaseException as failure:
            # The commit failed (disk full, I/O error): undo, and do not use this connection again.
            store.drop_writer()
            store.unlock_writers()
            raise_busy(failure)
            raise
        if not passed:
            store.unlock_writers()
        elif error is None:
            member.committed.acquire()
            if member.error is not None:
                raise StoreBusy("the commit failed; nothing was written") from member.error

    def _end_part(self, error: BaseException | None) -> None:
        """Close this writer's part of the transaction. After an error nothing of it is left, and all of the others'."""
        cursor, raw = self._conn.cursor, self._raw
        if not self._joined:
            if error is not None and raw.in_transaction:
                raw.rollback()
            elif error is None and not raw.in_transaction:
                raise StorageError("the database has undone the transaction by itself")
        elif error is None:
            cursor.execute("RELEASE joined")
        elif raw.in_transaction:
            cursor.execute("ROLLBACK TO joined")
            cursor.execute("RELEASE joined")
        else:
            # SQLite has undone the whole transaction by itself (disk full, out of memory).
            self._store.end_group(StoreBusy("the writes of this moment were undone"))

    def _leave_postgresql(self, error: BaseException | None) -> None:
        raw = self._raw
        try:
            self._conn.cursor.execute("COMMIT" if error is None else "ROLLBACK")
            self._conn.cursor.close()
        except BaseException as failure:
            raw.invalidate()
            if error is None:
                raise_busy(failure)
                raise
        finally:
            if _is_gone(error):
                raw.invalidate()
                self._store.engine.dispose()  # the server went away: the idle connections are dead as well
            raw.close()


def raise_busy(error: BaseException) -> None:
    """Raise StoreBusy from `error` when it is a driver's way to say "try again"; else return."""
    if isinstance(error, sqlite3.OperationalError):
        if getattr(error, "sqlite_errorcode", 0) & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
            raise StoreBusy("the store is busy") from error
    elif type(error).__module__.startswith("psycopg"):
        state = getattr(error, "sqlstate", None)
        if state in _PG_BUSY or _is_gone(error):
            raise StoreBusy("the database is busy or has gone away") from error


def _is_gone(error: BaseException | None) -> bool:
    if error is None or not type(error).__module__.startswith("psycopg"):
        return False
    names = {base.__name__ for base in type(error).__mro__}
    return "OperationalError" in names and getattr(error, "sqlstate", None) in _PG_GONE


class Statement:
    """A Core statement, compiled once per dialect and run on the driver's cursor.

    core: for both; sqlite, postgresql: instead of core for that one. Parameters are the statement's required
    bindparams. Rows are the driver's tuples: no result types apply, so columns hold integers, text and bytes only.
    """

    __slots__ = ("_compiled", "_core")

    def __init__(
        self,
        core: sa.ClauseElement | None = None,
        *,
        sqlite: sa.ClauseElement | None = None,
        postgresql: sa.ClauseElement | None = None,
    ) -> None:
        self._core = {"sqlite": sqlite if sqlite is not None else core}
        self._core["postgresql"] = postgresql if postgresql is not None else core
        self._compiled: dict[str, tuple[str, dict[str, Any]]] = {}

    def all(self, conn: Conn, **params: Any) -> list[Row]:
        """Every row."""
        rows: list[Row] = self._execute(conn, params).fetchall()
        if conn.heard is not None:
            conn.heard.add(*self._bound(conn, params), rows, all_rows=True)
        return rows

    def one(self, conn: Conn, **params: Any) -> Row | None:
        """The first row, or None."""
        row: Row | None = self._execute(conn, params).fetchone()
        if conn.heard is not None:
            conn.heard.add(*self._bound(conn, params), row, all_rows=False)
        return row

    def scalar(self, conn: Conn, **params: Any) -> Any:
        """The first column of the first row, or None."""
        row = self.one(conn, **params)
        return None if row is None else row[0]

    def run(self, conn: Conn, **params: Any) -> int:
        """Run it for its effect; returns the number of rows that it changed."""
        assert conn.heard is None, "what a statement changes cannot be asked again"
        count: int = self._execute(conn, params).rowcount
        return count

    def many(self, conn: Conn, params: Sequence[Mapping[str, Any]]) -> None:
        """Run it once for each of the parameter sets."""
        if not params:
            return
        sql, constants = self._compiled.get(conn.dialect) or self._compile(conn.store)
        conn.statements += 1
        conn.cursor.executemany(sql, [{**constants, **each} for each in params] if constants else params)

    def sql(self, store: Store) -> str:
        """The SQL text for the store's dialect."""
        return (self._compiled.get(store.dialect) or self._compile(store))[0]

    def _execute(self, conn: Conn, params: dict[str, Any]) -> Any:
        conn.statements += 1
        cursor = conn.cursor
        cursor.execute(*self._bound(conn, params))
        return cursor

    def _bound(self, conn: Conn, params: dict[str, Any]) -> tuple[str, dict[str, Any]]:
        """The SQL and all its parameters."""
        sql, constants = self._compiled.get(conn.dialect) or self._compile(conn.store)
        return sql, {**constants, **params} if constants else params

    def _compile(self, store: Store) -> tuple[str, dict[str, Any]]:
        core = self._core[store.dialect]
        assert core is not None, "a statement for another dialect"
        compiled = core.compile(dialect=store.sql_dialect)
        assert isinstance(compiled, SQLCompiler)
        # Names that begin with "%" are placeholders that the compiler gave another name.
        constants = {n: bind.value for n, bind in compiled.binds.items() if not bind.required and n[0] != "%"}
        done = self._compiled[store.dialect] = (compiled.string, constants)
        return done


class BulkInsert:
    """Insert many rows of integers at once: executemany on SQLite, one statement with arrays on PostgreSQL."""

    def __init__(self, table: sa.Table, columns: Sequence[str]) -> None:
        self._columns = tuple(columns)
        names = ", ".join(f'"{name}"' for name in columns)
        self._sqlite = f"INSERT INTO {table.name} ({names}) VALUES ({', '.join('?' * len(columns))})"
        arrays = ", ".join("%s::bigint[]" for _ in columns)
        self._postgresql = f"INSERT INTO {table.name} ({names}) SELECT * FROM unnest({arrays})"

    def run(self, conn: Conn, rows: Sequence[tuple[int, ...]]) -> None:
        """Insert the rows, whose values stand in the order of the columns."""
        if not rows:
            return
        conn.statements += 1
        if conn.dialect == "sqlite":
            conn.cursor.executemany(self._sqlite, rows)
        else:
            conn.cursor.execute(self._postgresql, [list(column) for column in zip(*rows, strict=True)])


class _OnColumn(sa.ColumnElement[Any]):
    """An expression of our own over one column."""

    inherit_cache = False
    column: sa.ColumnElement[Any]

    @property
    def _from_objects(self) -> list[sa.FromClause]:
        return self.column._from_objects


class one_of(_OnColumn):
    """`column` is among the values of the parameter `name`: any number of them in one parameter, see Conn.array."""

    type = sa.Boolean()
    _is_implicitly_boolean = True  # or SQLAlchemy writes "= 1" behind it, and no index is used

    def __init__(self, column: sa.ColumnElement[Any], name: str, *, integers: bool = False) -> None:
        self.column, self.name, self.integers = column, name, integers


@compiles(one_of, "sqlite")
def _one_of_sqlite(element: one_of, compiler: SQLCompiler, **kw: Any) -> str:
    array = compiler.process(sa.bindparam(element.name, type_=sa.Text()), **kw)
    return f"{compiler.process(element.column, **kw)} IN (SELECT value FROM json_each({array}))"


@compiles(one_of, "postgresql")
def _one_of_postgresql(element: one_of, compiler: SQLCompiler, **kw: Any) -> str:
    item = sa.BigInteger() if element.integers else sa.Text()
    array = compiler.process(sa.bindparam(element.name, type_=postgresql.ARRAY(item)), **kw)
    return f"{compiler.process(element.column, **kw)} = ANY ({array})"


class position_of(_OnColumn):
    """Where the parameter `name` stands in the text of `column`, from 1; 0 when it is not there."""

    type = sa.Integer()

    def __init__(self, column: sa.ColumnElement[Any], name: str) -> None:
        self.column, self.name = column, name


@compiles(position_of)
def _position_of(element: position_of, compiler: SQLCompiler, **kw: Any) -> str:
    function = "instr" if compiler.dialect.name == "sqlite" else "strpos"
    text = compiler.process(sa.bindparam(element.name, type_=sa.Text()), **kw)
    return f"{function}({compiler.process(element.column, **kw)}, {text})"


class byte_length(_OnColumn):
    """Length of a text or of bytes, in bytes."""

    type = sa.Integer()

    def __init__(self, column: sa.ColumnElement[Any]) -> None:
        self.column = column


@compiles(byte_length)
def _byte_length(element: byte_length, compiler: SQLCompiler, **kw: Any) -> str:
    column = compiler.process(element.column, **kw)
    return f"length(CAST({column} AS BLOB))" if compiler.dialect.name == "sqlite" else f"octet_length({column})"


class joined_text(_OnColumn):
    """The values of `column` as one text, in the order in which they come; an aggregate.

    separator: what stands between them: "/" or a line feed.
    """

    type = sa.Text()

    def __init__(self, column: sa.ColumnElement[Any], separator: str) -> None:
        self.column, self.separator = column, separator


@compiles(joined_text)
def _joined_text(element: joined_text, compiler: SQLCompiler, **kw: Any) -> str:
    sqlite = compiler.dialect.name == "sqlite"
    character = f"{'char' if sqlite else 'chr'}({ord(element.separator)})"
    return f"{'group_concat' if sqlite else 'string_agg'}({compiler.process(element.column, **kw)}, {character})"


def clean(text: str) -> str:
    """The text as both databases can hold it: U+0000 and lone surrogates become U+FFFD."""
    if "\0" in text:
        text = text.replace("\0", "\ufffd")
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            text = "".join("\ufffd" if "\ud800" <= char <= "\udfff" else char for char in text)
    return text


def oldest(column: sa.Column[int]) -> tuple[sa.ColumnElement[bool], ...]:
    """Conditions of a purge: times before the parameter before_s, of the oldest n rows and those as old as the last."""
    before = sa.bindparam("before_s", type_=sa.BigInteger())
    last = sa.select(column).where(column > 0, column < before).order_by(column)
    nth = last.limit(1).offset(sa.bindparam("n") - 1).scalar_subquery()
    return column < before, column <= sa.func.coalesce(nth, before)


def new_epoch() -> str:
    return secrets.token_hex(6)


_EPOCH = Statement(sa.text("SELECT value FROM store_meta WHERE key = 'epoch'"))
