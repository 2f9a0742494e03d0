"""What a client asks all day costs the same in a big calendar as in a small one: SQLite counts the steps it takes."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from storage import accounts, collections, objects
from storage.engine import Conn, Store, open_store, transaction
from storage.migrate import upgrade
from storage.records import ENDLESS, Collection, Instance, ObjectIndex
from tests.storage.kit import DAY_S, NOW_S, make_collection, put

SMALL, BIG = 60, 1_500
YEAR_S = 365 * DAY_S
AWAY_S = NOW_S - 100 * DAY_S  # where every calendar has the same three events


def series(number: int) -> ObjectIndex:
    """An event of every week without end, known for a year."""
    start = NOW_S + number % 50 * 3600
    instances = tuple(
        Instance(start + week * 7 * DAY_S, start + week * 7 * DAY_S + 1800, False, 1) for week in range(4)
    )
    return ObjectIndex(
        uid=f"series-{number}", component="VEVENT", first_s=start, last_s=ENDLESS, exact=True, recurs=True,
        instances=instances, indexed_from_s=NOW_S - YEAR_S, indexed_to_s=NOW_S + YEAR_S,
    )  # fmt: skip


def single(number: int) -> ObjectIndex:
    start = AWAY_S + number * 3600
    return ObjectIndex(
        uid=f"single-{number}", component="VEVENT", first_s=start, last_s=start + 1800, exact=True,
        instances=(Instance(start, start + 1800, False, 1),),
    )  # fmt: skip


def fill(store: Store, calendar: Collection, size: int) -> Collection:
    with transaction(store, write=True) as conn:
        for number in range(size - 3):
            put(conn, calendar, f"s{number}.ics", b"x", series(number))
        for number in range(3):
            put(conn, calendar, f"a{number}.ics", b"x", single(number))
        found = collections.collection_by_id(conn, calendar.id)
    assert found is not None
    return found


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Store, Collection, Collection]]:
    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('flat') / 'store.db'}")
    upgrade(store, version="test")
    with transaction(store, write=True) as conn:
        account = accounts.create_account(conn, "alice@x.example", now_s=NOW_S)
    small, big = (make_collection(store, account, "calendars", name, "calendar") for name in ("small", "big"))
    yield store, fill(store, small, SMALL), fill(store, big, BIG)
    store.close()


def steps(store: Store, ask: Callable[[Conn], object]) -> int:
    """How many instructions of its virtual machine SQLite runs for it, in tens."""
    count = 0

    def tick() -> int:
        nonlocal count
        count += 1
        return 0

    with transaction(store) as conn:
        conn.cursor.connection.set_progress_handler(tick, 10)
        try:
            ask(conn)
        finally:
            conn.cursor.connection.set_progress_handler(None, 10)
    return count


def day(conn: Conn, calendar: Collection) -> object:
    found = objects.in_range(conn, calendar.id, "VEVENT", AWAY_S, AWAY_S + DAY_S, AWAY_S + 7200, AWAY_S + DAY_S + 7200)
    assert len(found) == 3
    return found


def busy(conn: Conn, calendar: Collection) -> object:
    found, beyond = objects.busy_in_range(
        conn, calendar.id, AWAY_S, AWAY_S + DAY_S, AWAY_S + 7200, AWAY_S + DAY_S + 7200
    )
    assert len(found) == 3
    assert beyond == []
    return found


QUESTIONS: dict[str, Callable[[Conn, Collection], object]] = {
    "poll": lambda conn, calendar: collections.resolve(conn, calendar.owner_name, "calendars", calendar.path),
    "sync-unchanged": lambda conn, calendar: objects.changes_since(conn, calendar.id, calendar.change_seq, limit=1000),
    "sync-one-change": lambda conn, calendar: objects.changes_since(
        conn, calendar.id, calendar.change_seq - 1, limit=1000
    ),
    "get": lambda conn, calendar: objects.object_by_name(conn, calendar.id, "a1.ics"),
    "query-uid": lambda conn, calendar: objects.object_by_uid(conn, calendar.id, "single-1"),
    "query-day": day,
    "free-busy": busy,
    "to-extend": lambda conn, calendar: objects.objects_to_extend(conn, NOW_S, 100),
}


@pytest.mark.parametrize("name", QUESTIONS)
def test_the_cost_does_not_grow_with_the_collection(filled: tuple[Store, Collection, Collection], name: str) -> None:
    store, small, big = filled
    ask = QUESTIONS[name]
    few, many = steps(store, lambda conn: ask(conn, small)), steps(store, lambda conn: ask(conn, big))
    assert many <= max(few * 1.3, few + 3), (few, many)
    assert many < BIG / 10 * 3  # less than one look at every member
