"""The log of an SQLite store is carried over beside the writers, and does not grow for ever."""

from __future__ import annotations

import os
import sqlite3
import threading
import time
from collections.abc import Iterator

import pytest
import sqlalchemy as sa

from storage import checkpoint
from storage.engine import Statement, Store, open_store, transaction

PAGE_BYTES = 4096
FILL = Statement(sa.text("UPDATE t SET x = randomblob(:n)"))


@pytest.fixture
def sqlite_store(sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    monkeypatch.setattr(checkpoint, "EVERY_COMMITS", 10)
    monkeypatch.setattr(checkpoint, "PAGES", 100)
    store = open_store(sqlite_url)
    with transaction(store, write=True) as conn:
        Statement(sa.text("CREATE TABLE t (id INTEGER PRIMARY KEY, x BLOB)")).run(conn)
        Statement(sa.text("INSERT INTO t (x) VALUES (x'00')")).run(conn)
    yield store
    store.close()


def write(store: Store, times: int, pages: int) -> None:
    for _ in range(times):
        with transaction(store, write=True, short=True) as conn:
            FILL.run(conn, n=pages * PAGE_BYTES)


def log_pages(store: Store) -> int:
    return os.path.getsize(f"{store.path}-wal") // PAGE_BYTES


def checkpointers() -> list[threading.Thread]:
    return [thread for thread in threading.enumerate() if thread.name == "checkpoint"]


def until(condition: object) -> None:
    deadline = time.monotonic() + 20
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < deadline
        time.sleep(0.005)


def test_the_log_does_not_grow_for_ever_under_constant_writing(sqlite_store: Store) -> None:
    write(sqlite_store, checkpoint.EVERY_COMMITS, 15)
    until(checkpointers)
    pages = 0
    for _ in range(20):
        write(sqlite_store, checkpoint.EVERY_COMMITS, 15)
        pages += 15 * checkpoint.EVERY_COMMITS
        time.sleep(0.01)
    assert pages > 6 * log_pages(sqlite_store)


def test_a_commit_does_not_carry_over_the_log_itself(sqlite_store: Store) -> None:
    size = os.path.getsize(str(sqlite_store.path))
    write(sqlite_store, checkpoint.EVERY_COMMITS // 2, 500)
    assert log_pages(sqlite_store) > 2000  # at which SQLite would
    assert os.path.getsize(str(sqlite_store.path)) == size


def test_what_was_written_is_carried_over_while_others_write(sqlite_store: Store) -> None:
    write(sqlite_store, checkpoint.EVERY_COMMITS, 30)
    until(lambda: os.path.getsize(str(sqlite_store.path)) >= 30 * PAGE_BYTES)
    with transaction(sqlite_store, write=True, short=True) as conn:
        FILL.run(conn, n=3)
    with transaction(sqlite_store) as conn:
        assert Statement(sa.text("SELECT length(x) FROM t")).scalar(conn) == 3


def test_a_reader_of_an_old_state_keeps_it(sqlite_store: Store) -> None:
    write(sqlite_store, 1, 30)
    with transaction(sqlite_store) as conn:
        length = Statement(sa.text("SELECT length(x) FROM t"))
        assert length.scalar(conn) == 30 * PAGE_BYTES
        write(sqlite_store, 2 * checkpoint.EVERY_COMMITS, 20)
        until(checkpointers)
        assert length.scalar(conn) == 30 * PAGE_BYTES
    with transaction(sqlite_store) as conn:
        assert length.scalar(conn) == 20 * PAGE_BYTES


def test_closing_the_store_ends_the_thread(sqlite_url: str, sqlite_store: Store) -> None:
    write(sqlite_store, checkpoint.EVERY_COMMITS, 1)
    until(checkpointers)
    sqlite_store.close()
    assert checkpointers() == []
    with sqlite3.connect(sqlite_url.removeprefix("sqlite:///")) as connection:
        assert connection.execute("PRAGMA integrity_check").fetchone() == ("ok",)
    connection.close()
