from __future__ import annotations

import sqlite3
from collections import deque
from pathlib import Path

import pytest
import sqlalchemy as sa

from storage import accounts, objects
from storage.engine import Conn, Statement, Store, clean, open_store, transaction
from storage.errors import StorageError, StoreBusy
from storage.records import Account, Collection
from tests.storage.kit import NOW_S, put


def test_an_exception_undoes_the_whole_transaction(store: Store, calendar: Collection) -> None:
    with pytest.raises(ZeroDivisionError), transaction(store, write=True) as conn:
        put(conn, calendar, str(1 / len(put(conn, calendar, "a").name[1:])))
    with transaction(store) as conn:
        assert objects.list_objects(conn, calendar.id) == []
    with transaction(store, write=True) as conn:
        assert put(conn, calendar, "a").change_seq == calendar.change_seq + 1


def put_and_fail(conn: Conn, calendar: Collection) -> None:
    put(conn, calendar, "a")
    Statement(sa.text("SELECT * FROM nothing_like_this")).all(conn)


def test_a_failed_statement_leaves_the_store_usable(store: Store, calendar: Collection) -> None:
    for _ in range(3):
        with pytest.raises(Exception, match="nothing_like_this"), transaction(store, write=True) as conn:
            put_and_fail(conn, calendar)
    with transaction(store) as conn:
        assert objects.list_objects(conn, calendar.id) == []


def test_a_reader_sees_one_snapshot(store: Store, calendar: Collection) -> None:
    with transaction(store) as reader:
        assert objects.list_objects(reader, calendar.id) == []
        with transaction(store, write=True) as writer:
            put(writer, calendar, "a")
        assert objects.list_objects(reader, calendar.id) == []
    with transaction(store) as reader:
        assert len(objects.list_objects(reader, calendar.id)) == 1


def test_a_reader_does_not_wait_for_a_writer(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as writer:
        put(writer, calendar, "a")
        with transaction(store) as reader:
            assert objects.list_objects(reader, calendar.id) == []


# A deferred transaction of SQLite becomes a writer at its first write.
@pytest.mark.parametrize("store_url", ["postgresql"], indirect=True)
def test_a_read_transaction_cannot_write_on_postgresql(store: Store, calendar: Collection) -> None:
    with pytest.raises(Exception, match="read-only"), transaction(store) as conn:
        put(conn, calendar, "a")


def test_statements_are_counted(store: Store, alice: Account) -> None:
    with transaction(store) as conn:
        assert conn.statements == 0
        accounts.account_by_id(conn, alice.id)
        accounts.account_by_name(conn, alice.name)
        assert conn.statements == 2


def test_the_epoch_names_the_store_and_stays(store: Store, store_url: str) -> None:
    again = open_store(store_url)
    assert again.epoch == store.epoch
    assert len(store.epoch) == 12
    again.close()


def test_sqlite_files_are_opened_durable_and_in_wal_mode(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    expected = {"journal_mode": "wal", "synchronous": 2, "foreign_keys": 1}
    for write in (False, True):
        with transaction(store, write=write) as conn:
            for pragma, value in {**expected, "cache_size": -4096 if write else -1024}.items():
                assert conn.cursor.execute(f"PRAGMA {pragma}").fetchone() == (value,)
    store.close()


def test_connections_are_used_again(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    with transaction(store) as conn:
        first = conn.cursor.connection
    with transaction(store) as conn:
        assert conn.cursor.connection is first
        with transaction(store) as second:
            assert second.cursor.connection is not first
    store.close()


def test_a_closed_store_refuses(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    assert store.epoch
    store.close()
    with pytest.raises(StorageError), transaction(store):
        pass
    with pytest.raises(StorageError), transaction(store, write=True):
        pass
    store.close()


def test_a_full_disk_fails_the_write_and_keeps_what_was_there(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    with transaction(store, write=True) as conn:
        account = accounts.create_account(conn, "a", now_s=NOW_S)
        pages = conn.cursor.execute("PRAGMA page_count").fetchone()[0]
    with transaction(store, write=True) as conn:
        conn.cursor.execute(f"PRAGMA max_page_count={pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"), transaction(store, write=True) as conn:
        deque(accounts.create_account(conn, f"{number}", now_s=NOW_S) for number in range(1000))
    with transaction(store, write=True) as conn:
        conn.cursor.execute("PRAGMA max_page_count=1000000")
        assert accounts.list_accounts(conn) == [account]
        accounts.create_account(conn, "b", now_s=NOW_S)
    store.close()


def test_another_program_that_holds_the_file_makes_it_busy(sqlite_url: str) -> None:
    store = open_store(sqlite_url, busy_timeout_s=0.05)
    other = sqlite3.connect(sqlite_url.removeprefix("sqlite:///"), isolation_level=None)
    other.execute("BEGIN IMMEDIATE")
    for _ in range(2):
        with pytest.raises(StoreBusy), transaction(store, write=True):
            pass
    other.execute("COMMIT")
    other.close()
    with transaction(store, write=True) as conn:
        accounts.create_account(conn, "a", now_s=NOW_S)
    store.close()


def test_a_lost_postgresql_connection_is_busy_once_and_then_replaced(postgresql_database: tuple[str, object]) -> None:
    url, _ = postgresql_database
    store = open_store(url, threads=2)
    with transaction(store) as conn:
        pid = conn.cursor.connection.info.backend_pid
    killer = open_store(url, threads=1)
    with transaction(killer) as conn:
        conn.cursor.execute(f"SELECT pg_terminate_backend({pid}, 5000)")
    with pytest.raises(StoreBusy), transaction(store) as conn:
        accounts.list_accounts(conn)
    with transaction(store) as conn:
        accounts.list_accounts(conn)
    killer.close()
    store.close()


@pytest.mark.parametrize("url", ["sqlite://", "sqlite:///:memory:", "mysql://x/y", "mongodb://x"])
def test_what_is_no_store_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r"SQLite|sqlite|dialect"):
        open_store(url)


def test_blobs_lie_beside_the_file_unless_told(tmp_path: Path) -> None:
    store = open_store(f"sqlite:///{tmp_path}/my.db")
    assert store.blob_dir == tmp_path / "my.files"
    store.close()
    store = open_store(f"sqlite:///{tmp_path}/my.db", blob_dir=tmp_path / "x")
    assert store.blob_dir == tmp_path / "x"
    store.close()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("plain", "plain"), ("ä\0", "ä\ufffd"), ("\ud800x\udfff", "\ufffdx\ufffd"), ("😀", "😀"), ("", "")],
)
def test_clean_text_is_what_both_databases_hold(text: str, expected: str) -> None:
    assert clean(text) == expected
