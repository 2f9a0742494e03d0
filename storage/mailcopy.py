"""A copy of the views for a mail server, in a SQLite file of its own.

Our own SQLite file is no good for that: it is in WAL mode, so whoever may not write beside it can read it only while
Davenport runs, and whoever may read it reads everybody's calendars. The copy has a rollback journal, and nothing but
names, addresses and hashes. It is changed in place, because readers keep it open.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.engine import Statement, Store, transaction

# Readers have the file locked for moments only.
_BUSY_S = 5.0
_MODE = 0o640

_TABLES = {
    "mail_users": ("login", "name", "password", "display_name", "quota_bytes"),
    "mail_addresses": ("address", "name", "login", "is_primary"),
}


class CopyFailed(Exception):
    """The copy cannot be written. The message is a sentence without secrets."""


def refresh(store: Store, path: Path) -> int:
    """Makes the copy at path say what the views say; returns how many rows were changed. Raises CopyFailed.

    A new file can be read by its group, which is the folder's when that has the setgid bit. The folder must exist.
    """
    wanted: dict[str, dict[str, tuple[Any, ...]]] = {}
    with transaction(store) as conn:
        for table, statement in _READ.items():
            wanted[table] = {row[0]: tuple(row) for row in statement.all(conn)}
    try:
        _create(path)
        with contextlib.closing(sqlite3.connect(path, timeout=_BUSY_S, isolation_level=None)) as database:
            return _bring(database, wanted)
    except (OSError, sqlite3.Error) as error:
        raise CopyFailed(f"{path} cannot be written: {getattr(error, 'strerror', None) or error}") from error


def _create(path: Path) -> None:
    with contextlib.suppress(FileExistsError):
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.fchmod(descriptor, _MODE)
        finally:
            os.close(descriptor)


def _bring(database: sqlite3.Connection, wanted: dict[str, dict[str, tuple[Any, ...]]]) -> int:
    changed = 0
    database.execute("PRAGMA journal_mode = DELETE")
    # An old hash must not be readable in what is no longer used of the file.
    database.execute("PRAGMA secure_delete = ON")
    have = {table: _have(database, table, columns) for table, columns in _TABLES.items()}
    # Without a change no reader is disturbed.
    if any(rows is None or rows != wanted[table] for table, rows in have.items()):
        database.execute("BEGIN IMMEDIATE")
        for table, columns in _TABLES.items():
            kinds = ", ".join(f"{name} {'INTEGER' if name in _NUMBERS else 'TEXT'}" for name in columns[1:])
            database.execute(
                f"CREATE TABLE IF NOT EXISTS {table} ({columns[0]} TEXT PRIMARY KEY, {kinds}) WITHOUT ROWID"
            )
            old, new = _have(database, table, columns) or {}, wanted[table]
            gone = [(key,) for key in old if key not in new]
            fresh = [row for key, row in new.items() if old.get(key) != row]
            database.executemany(f"DELETE FROM {table} WHERE {columns[0]} = ?", gone)
            marks = ", ".join("?" * len(columns))
            database.executemany(f"INSERT OR REPLACE INTO {table} ({', '.join(columns)}) VALUES ({marks})", fresh)
            changed += len(gone) + len(fresh)
        database.execute("COMMIT")
    return changed


def _have(database: sqlite3.Connection, table: str, columns: tuple[str, ...]) -> dict[str, tuple[Any, ...]] | None:
    """The rows of a table by their keys; None when it is not there yet."""
    if not database.execute("SELECT 1 FROM sqlite_master WHERE type = 'table' AND name = ?", (table,)).fetchone():
        return None
    return {row[0]: row for row in database.execute(f"SELECT {', '.join(columns)} FROM {table}")}


_NUMBERS = frozenset({"quota_bytes", "is_primary"})
_READ = {
    table: Statement(sa.select(*(sa.column(name) for name in columns)).select_from(sa.table(table)))
    for table, columns in _TABLES.items()
}
assert _TABLES.keys() == schema.VIEWS.keys()
