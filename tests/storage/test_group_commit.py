"""Short writes that wait at the same moment share one commit, and none returns before it."""

from __future__ import annotations

import sqlite3
import threading
import time
from collections.abc import Callable, Iterator

import pytest

from storage import objects
from storage.engine import Store, transaction
from storage.errors import StorageError, StoreBusy
from storage.records import Collection
from tests.storage.kit import put

# PostgreSQL shares its commits by itself.
pytestmark = pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)


class Line:
    """Writers that stand in line: the first holds the store until `go`, the others wait behind it in their order."""

    def __init__(self, store: Store, calendar: Collection) -> None:
        self.store, self.calendar = store, calendar
        self.go = threading.Event()
        self.threads: list[threading.Thread] = []
        self.raised: dict[str, BaseException] = {}
        self.seen_after: dict[str, bool] = {}

    def join(self, name: str, *, short: bool = True, fails: Callable[[], None] | None = None) -> None:
        first = not self.threads

        def write() -> None:
            try:
                with transaction(self.store, write=True, short=short) as conn:
                    put(conn, self.calendar, f"{name}.ics")
                    if first:
                        assert self.go.wait(20)
                    if fails is not None:
                        fails()
                with transaction(self.store) as conn:
                    self.seen_after[name] = objects.object_by_name(conn, self.calendar.id, f"{name}.ics") is not None
            except BaseException as error:
                self.raised[name] = error

        thread = threading.Thread(target=write)
        self.threads.append(thread)
        thread.start()
        self._wait_for(len(self.threads) - 1)

    def _wait_for(self, waiting: int) -> None:
        assert self.store._writers is not None
        for _ in range(2000):
            busy = self.store._writers._busy
            if busy and self.store._writers.waiting() == waiting and self.store._writer is not None:
                return
            time.sleep(0.005)
        raise AssertionError("the writers do not stand in line")

    def run(self) -> list[str]:
        """Lets them go; the names that are in the calendar afterwards."""
        self.go.set()
        for thread in self.threads:
            thread.join(30)
            assert not thread.is_alive()
        with transaction(self.store) as conn:
            return [record.name.removesuffix(".ics") for record in objects.list_objects(conn, self.calendar.id)]


@pytest.fixture
def line(store: Store, calendar: Collection) -> Line:
    return Line(store, calendar)


@pytest.fixture
def commits(store: Store) -> Iterator[list[str]]:
    """The commits of the writing connection."""
    found: list[str] = []
    with transaction(store, write=True):
        pass
    assert store._writer is not None
    store._writer.set_trace_callback(lambda sql: found.append(sql) if sql.startswith("COMMIT") else None)
    yield found
    if store._writer is not None:
        store._writer.set_trace_callback(None)


def test_short_writes_that_wait_share_one_commit_and_each_sees_its_own_afterwards(
    line: Line, commits: list[str]
) -> None:
    for name in "abcd":
        line.join(name)
    assert line.run() == ["a", "b", "c", "d"]
    assert not line.raised
    assert line.seen_after == dict.fromkeys("abcd", True)
    assert len(commits) == 1


def test_one_that_fails_is_undone_and_the_others_are_kept(line: Line, commits: list[str]) -> None:
    def fail() -> None:
        raise ValueError("no")

    line.join("a")
    line.join("b", fails=fail)
    line.join("c")
    line.join("d", fails=fail)
    assert line.run() == ["a", "c"]
    assert {name: type(error) for name, error in line.raised.items()} == {"b": ValueError, "d": ValueError}
    assert line.seen_after == {"a": True, "c": True}
    assert len(commits) == 1


def test_the_first_that_fails_leaves_nothing_for_those_behind_it(line: Line, commits: list[str]) -> None:
    def fail() -> None:
        raise ValueError("no")

    line.join("a", fails=fail)
    line.join("b")
    assert line.run() == ["b"]
    assert len(commits) == 1


def test_a_long_write_never_holds_back_the_commit_of_those_before_it(line: Line, commits: list[str]) -> None:
    for name in "ab":
        line.join(name)
    line.join("long", short=False)
    line.join("c")
    assert line.run() == ["a", "b", "c", "long"]
    assert len(commits) == 3


def test_when_the_shared_commit_fails_nobody_is_told_that_it_was_written(
    store: Store, calendar: Collection, line: Line
) -> None:
    def break_the_commit() -> None:
        # A foreign key that is only looked at when it is committed.
        assert store._writer is not None
        store._writer.execute("PRAGMA defer_foreign_keys=ON")
        store._writer.execute("INSERT INTO bodies (object_id, content) VALUES (987654321, x'00')")

    line.join("a")
    line.join("b")
    line.join("c", fails=break_the_commit)
    assert line.run() == []
    assert isinstance(line.raised.pop("c"), sqlite3.IntegrityError)
    assert {name: type(error) for name, error in line.raised.items()} == {"a": StoreBusy, "b": StoreBusy}
    with transaction(store, write=True, short=True) as conn:
        put(conn, calendar, "later.ics")
    assert line.run() == ["later"]


def test_change_numbers_of_a_shared_commit_follow_each_other(store: Store, calendar: Collection, line: Line) -> None:
    for number in range(10):
        line.join(f"n{number}")
    line.run()
    with transaction(store) as conn:
        changes, more = objects.changes_since(conn, calendar.id, 0, limit=100)
    assert not more
    assert [change.change_seq for change in changes] == list(range(1, 11))


def test_what_the_database_has_undone_by_itself_is_never_taken_for_written(store: Store, calendar: Collection) -> None:
    def undone(short: bool) -> None:
        with transaction(store, write=True, short=short) as conn:
            put(conn, calendar, "a.ics")
            conn.cursor.execute("ROLLBACK")  # as it does when the disk is full, and somebody swallowed the error

    for short in (False, True):
        with pytest.raises(StorageError, match="undone"):
            undone(short)
        with transaction(store, write=True, short=short) as conn:
            assert objects.object_by_name(conn, calendar.id, "a.ics") is None
            put(conn, calendar, f"{short}.ics")
        with transaction(store) as conn:
            assert objects.object_by_name(conn, calendar.id, f"{short}.ics") is not None
