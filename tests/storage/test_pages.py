"""Queries of a large collection read it a page at a time, and find the same."""

from __future__ import annotations

import pytest

from storage import engine, objects
from storage.engine import Heard, Store, transaction
from storage.records import Collection, ObjectIndex
from tests.storage.kit import event, put


@pytest.mark.parametrize("component", [None, "VEVENT", "VTODO"])
def test_pages_hold_what_one_answer_would(
    store: Store, calendar: Collection, component: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    with transaction(store, write=True) as conn:
        for number in range(25):
            put(conn, calendar, f"{number:02d}.ics", b"x", event(f"e{number}", (number, number + 1)))
            put(conn, calendar, f"{number:02d}-t.ics", b"x", ObjectIndex(uid=f"t{number}", component="VTODO"))
        put(conn, calendar, "odd.ics", b"x", ObjectIndex(uid="odd", component="VEVENT", readable=False))
    with transaction(store) as conn:
        (whole,) = objects.pages_of_component(conn, calendar.id, component, 2)
        assert len(whole) == (50 if component is None else 25)
        monkeypatch.setattr(objects, "_LISTED_AT_ONCE", 7)
        monkeypatch.setattr(objects, "_AT_ONCE_MAX", 10)
        pages = list(objects.pages_of_component(conn, calendar.id, component, 2))
    assert max(map(len, pages)) == 7
    assert [row for rows in pages for row in rows] == whole


@pytest.mark.parametrize("rows", [engine._HEARD_ROWS_MAX, engine._HEARD_ROWS_MAX + 1])
def test_what_a_long_answer_was_made_from_is_not_kept(rows: int) -> None:
    heard = Heard()
    heard.add("SELECT 1", {}, (1,), all_rows=False)
    heard.add("SELECT 2", {}, [(2,)] * rows, all_rows=True)
    assert (heard.told() is None) == (rows > engine._HEARD_ROWS_MAX)
    assert len(heard._told) == (0 if rows > engine._HEARD_ROWS_MAX else 2)


def test_who_asks_much_is_not_listened_to() -> None:
    heard = Heard()
    for number in range(engine._HEARD_MAX):
        heard.add("SELECT 1", {"n": number}, (number,), all_rows=False)
    assert heard.told() is not None
    heard.add("SELECT 1", {"n": -1}, (1,), all_rows=False)
    assert heard.told() is None
    assert heard._told == []
