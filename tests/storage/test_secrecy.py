"""What the store keeps of secrecy: what somebody to whom it is hidden hears of changes; and overlays."""

from __future__ import annotations

from dataclasses import replace

import pytest

from storage import collections, entry, meetings, objects, overlays, proxies
from storage.engine import Conn, Store, transaction
from storage.errors import ForeignToken
from storage.records import Account, Collection, ObjectRecord
from tests.storage.kit import NOW_S, etag_of, event, make_collection, put

PUBLIC, CONFIDENTIAL, PRIVATE = range(3)


def write(conn: Conn, calendar: Collection, name: str, secrecy: int, body: bytes = b"x") -> ObjectRecord:
    index = replace(event(f"uid-{name}", (0, 9)), secrecy=secrecy)
    record, _ = objects.put_object(
        conn, calendar, name, body, content_type="text/calendar", etag=etag_of(body), index=index, now_s=NOW_S
    )
    return record


def heard(conn: Conn, calendar: Collection, since: int, *, hidden_from: int = PRIVATE) -> dict[str, bool]:
    """Name → whether it is there, of what a sync tells; the same in pages of one."""
    found, more = objects.changes_seen(conn, calendar.id, since, hidden_from=hidden_from, limit=100, first=since == 0)
    assert not more
    paged, at = [], since
    while True:
        page, more = objects.changes_seen(conn, calendar.id, at, hidden_from=hidden_from, limit=1, first=at == 0)
        paged += page
        if not more:
            break
        at = page[-1].change_seq
    if since:
        assert [change.name for change in paged] == [change.name for change in found]
    return {change.name: change.record is not None for change in found}


def seq(conn: Conn, calendar: Collection) -> int:
    found = collections.collection_by_id(conn, calendar.id)
    assert found is not None
    return found.change_seq


def test_what_was_always_hidden_is_never_heard_of(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        write(conn, calendar, "open", PUBLIC)
        write(conn, calendar, "half", CONFIDENTIAL)
        secret = write(conn, calendar, "secret", PRIVATE)
        assert heard(conn, calendar, 0) == {"open": True, "half": True}
        assert heard(conn, calendar, 0, hidden_from=CONFIDENTIAL) == {"open": True}
        before = seq(conn, calendar)
        write(conn, calendar, "secret", PRIVATE, b"y")
        objects.renumber(conn, secret, now_s=NOW_S)
        assert heard(conn, calendar, before) == {}
        objects.delete_object(conn, calendar, secret, now_s=NOW_S)
        assert heard(conn, calendar, before) == {}
        assert heard(conn, calendar, 1) == {"half": True}


@pytest.mark.parametrize("ends", ["stays", "deleted", "deleted and made anew hidden", "moved away", "changed"])
def test_what_became_hidden_is_told_once_as_gone(store: Store, alice: Account, calendar: Collection, ends: str) -> None:
    other = make_collection(store, alice, "calendars", "other", "calendar")
    with transaction(store, write=True) as conn:
        write(conn, calendar, "a", PUBLIC)
        before = seq(conn, calendar)
        record = write(conn, calendar, "a", PRIVATE)
        after = seq(conn, calendar)
        if ends.startswith("deleted"):
            objects.delete_object(conn, calendar, record, now_s=NOW_S)
        if ends.endswith("hidden"):
            write(conn, calendar, "a", PRIVATE)
        elif ends == "moved away":
            objects.move_object(conn, calendar, record, other, "b", now_s=NOW_S)
            assert heard(conn, other, 0) == {}
        elif ends == "changed":
            write(conn, calendar, "a", PRIVATE, b"y")
        assert heard(conn, calendar, before) == {"a": False}
        assert heard(conn, calendar, after) == {}


def test_what_takes_the_name_of_something_seen_tells_that_it_is_gone(
    store: Store, alice: Account, calendar: Collection
) -> None:
    other = make_collection(store, alice, "calendars", "other", "calendar")
    with transaction(store, write=True) as conn:
        for name in ("put", "moved", "copied"):
            objects.delete_object(conn, calendar, write(conn, calendar, name, PUBLIC), now_s=NOW_S)
        before = seq(conn, calendar) - 6
        write(conn, calendar, "put", PRIVATE)
        objects.move_object(conn, other, write(conn, other, "m", PRIVATE), calendar, "moved", now_s=NOW_S)
        objects.copy_object(conn, write(conn, other, "c", PRIVATE), calendar, "copied", now_s=NOW_S)
        after = seq(conn, calendar)
        assert heard(conn, calendar, before + 6) == {"put": False, "moved": False, "copied": False}
        assert heard(conn, calendar, after) == {}
        write(conn, calendar, "put", PUBLIC)
        assert heard(conn, calendar, after) == {"put": True}


def test_many_writes_at_once_keep_secrecy_too(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        old = write(conn, calendar, "a", PUBLIC)
        before = seq(conn, calendar)
        writings = [
            meetings.Writing(
                collection=calendar, name=name, old=existing, body=b"z", content_type="text/calendar",
                etag=etag_of(b"z"), index=replace(event(f"uid-{name}", (0, 9)), secrecy=PRIVATE), schedule_tag=None,
            )
            for name, existing in (("a", old), ("b", None))
        ]  # fmt: skip
        written = meetings.write_many(conn, writings, now_s=NOW_S)
        assert [record.secrecy for record in written] == [PRIVATE, PRIVATE]
        assert [objects.object_by_name(conn, calendar.id, name) for name in "ab"] == written
        assert heard(conn, calendar, before) == {"a": False}


def test_a_number_of_another_collection_is_refused(store: Store, calendar: Collection) -> None:
    with transaction(store) as conn, pytest.raises(ForeignToken):
        objects.changes_seen(conn, calendar.id, 99, hidden_from=PRIVATE, limit=1, first=False)


def test_what_is_not_known_is_noted_and_only_of_the_same_body(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        for name in ("a", "b"):
            write(conn, calendar, name, PRIVATE)
    with store.engine.begin() as connection:
        from storage.schema import objects as table

        connection.execute(table.update().values(secrecy=None))
    with transaction(store, write=True) as conn:
        found = objects.unclassified(conn, 10)
        assert sorted((record.name, body) for record, body in found) == [("a", b"x"), ("b", b"x")]
        assert all(record.secrecy is None for record, _ in found)
        write(conn, calendar, "b", PUBLIC, b"new")
        objects.classify(conn, [(record, PRIVATE) for record, _ in found])
        assert objects.unclassified(conn, 10) == []
        secrecies = {record.name: record.secrecy for record in objects.list_objects(conn, calendar.id)}
        assert secrecies == {"a": PRIVATE, "b": PUBLIC}


# ---- overlays ----


def test_an_overlay_is_one_accounts_and_goes_with_the_object(
    store: Store, alice: Account, bob: Account, calendar: Collection
) -> None:
    other = make_collection(store, alice, "calendars", "other", "calendar")
    with transaction(store, write=True) as conn:
        record = write(conn, calendar, "a", PUBLIC)
        assert overlays.set_overlay(conn, record.id, bob.id, "d1", b"one")
        assert not overlays.set_overlay(conn, record.id, bob.id, "d1", b"one")
        assert overlays.set_overlay(conn, record.id, bob.id, "d2", b"two")
        assert overlays.of_objects(conn, bob.id, [record.id, 99]) == {record.id: ("d2", b"two")}
        assert overlays.in_collection(conn, bob.id, calendar.id) == {record.id: ("d2", b"two")}
        assert overlays.of_objects(conn, alice.id, [record.id]) == {}
        moved = objects.move_object(conn, calendar, record, other, "b", now_s=NOW_S)
        assert overlays.in_collection(conn, bob.id, other.id) == {record.id: ("d2", b"two")}
        assert overlays.in_collection(conn, bob.id, calendar.id) == {}
        objects.delete_object(conn, other, moved, now_s=NOW_S)
        assert overlays.of_objects(conn, bob.id, [record.id]) == {}
        again = put(conn, calendar, "c")
        assert not overlays.set_overlay(conn, again.id, bob.id, "", b"")
        overlays.set_overlay(conn, again.id, bob.id, "d", b"x")
        assert overlays.set_overlay(conn, again.id, bob.id, "", b"")


# ---- whose home ----


def test_the_way_to_a_collection_is_all_that_is_above_it(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        home = collections.home(conn, alice.id, "files")
        one = collections.create_collection(conn, home, "a", kind="folder", now_s=NOW_S)
        two = collections.create_collection(conn, one, "b", kind="folder", now_s=NOW_S)
        collections.create_collection(conn, home, "b", kind="folder", now_s=NOW_S)

        def ids(path: str) -> list[int]:
            before = conn.statements
            found = [item.id for item in collections.line(conn, alice.id, "files", path)]
            assert conn.statements == before + 1
            return found

        assert ids("a/b/c") == ids("a/b") == [home.id, one.id, two.id]
        assert ids("") == ids("nothing") == [home.id]
        assert ids("/".join("a" * 5000)) == [home.id]
        assert collections.line(conn, 0, "files", "a") == []
        found = collections.sources_of(conn, [one.id, 99])
        assert {key: (source.id, owner) for key, (source, owner) in found.items()} == {one.id: (one.id, alice)}


def test_a_name_is_looked_up_with_whoever_acts_for_it_at_once(store: Store, alice: Account, bob: Account) -> None:
    with transaction(store, write=True) as conn:
        assert entry.owner_and_proxy(conn, bob.id, "nobody") == (None, None)
        assert entry.owner_and_proxy(conn, bob.id, "ALICE@X.example") == (alice, None)
        for writes in (False, True):
            proxies.add_proxy(conn, alice.id, bob.id, writes=writes)
            assert entry.owner_and_proxy(conn, bob.id, alice.name) == (alice, writes)
        assert entry.accounts_by_ids(conn, [alice.id, 99]) == [alice]
