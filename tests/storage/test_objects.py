from __future__ import annotations

import dataclasses

import pytest

from storage import accounts, collections, objects, properties
from storage.blobs import write_blob
from storage.check import check
from storage.engine import Conn, Statement, Store, transaction
from storage.errors import ForeignToken, NameTaken, NotFound, QuotaExceeded, UidTaken
from storage.records import ENDLESS, Account, Blob, Collection, Instance, ObjectIndex, ObjectRecord
from storage.schema import object_versions
from tests.storage.kit import DAY_S, NOW_S, etag_of, event, make_collection, names, put

_VERSIONS = Statement(object_versions.select().order_by(object_versions.c.id))


def versions(conn: Conn) -> list[tuple[str, bytes | None, str]]:
    """(name, body, cause) of every version kept."""
    columns = [column.name for column in object_versions.c]
    rows = [dict(zip(columns, row, strict=True)) for row in _VERSIONS.all(conn)]
    return [(row["name"], row["content"], row["cause"]) for row in rows]


def seq_of(conn: Conn, collection: Collection) -> int:
    found = collections.collection_by_id(conn, collection.id)
    assert found is not None
    return found.change_seq


def test_a_put_member_reads_back_byte_for_byte(store: Store, calendar: Collection) -> None:
    body = bytes(range(256)) * 5
    with transaction(store, write=True) as conn:
        record, created = objects.put_object(
            conn, calendar, "ä b.ics", body, content_type="text/calendar; charset=utf-8", etag="e1",
            index=event("u1", (5, 6)), schedule_tag="s1", now_s=NOW_S,
        )  # fmt: skip
    assert created
    with transaction(store) as conn:
        assert objects.object_by_name(conn, calendar.id, "ä b.ics") == record
        assert objects.object_by_name(conn, calendar.id, "a\u0308 b.ics") == record
        assert objects.object_by_uid(conn, calendar.id, "u1") == record
        assert objects.body(conn, record) == body
        assert objects.bodies(conn, [record.id, 999_999]) == {record.id: body}
    assert (record.size, record.etag, record.schedule_tag, record.component) == (1280, "e1", "s1", "VEVENT")
    assert (record.created_s, record.modified_s, record.change_seq) == (NOW_S, NOW_S, calendar.change_seq + 1)


def test_replacing_keeps_identity_and_dead_properties_and_takes_a_new_number(
    store: Store, calendar: Collection
) -> None:
    with transaction(store, write=True) as conn:
        first = put(conn, calendar, "a", b"one", event("u", (0, 9)))
        properties.set_property(conn, calendar.id, "{x}p", "<p/>", object_id=first.id)
        second, created = objects.put_object(
            conn,
            calendar,
            "a",
            b"three",
            content_type="text/plain",
            etag="e3",
            index=event("u", (0, 9)),
            now_s=NOW_S + 5,
        )
        assert not created
        assert (second.id, second.created_s, second.modified_s) == (first.id, NOW_S, NOW_S + 5)
        assert second.change_seq == first.change_seq + 1 == seq_of(conn, calendar)
        assert objects.object_by_name(conn, calendar.id, "a") == second
        assert objects.body(conn, second) == b"three"
        assert properties.get_properties(conn, calendar.id, object_id=first.id) == {"{x}p": "<p/>"}
        assert versions(conn) == [("a", b"one", "replaced")]


def test_history_can_be_left_out(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "a", b"one", history=False)
        record = put(conn, calendar, "a", b"two", history=False)
        objects.delete_object(conn, calendar, record, now_s=NOW_S, history=False)
        assert versions(conn) == []


@pytest.mark.parametrize("kind", ["calendar", "addressbook"])
def test_a_uid_stands_once_in_a_collection(store: Store, alice: Account, kind: str) -> None:
    area = {"calendar": "calendars", "addressbook": "addressbooks"}[kind]
    collection = make_collection(store, alice, area, "c", kind)
    index = ObjectIndex(uid="u", component="VEVENT" if kind == "calendar" else "VCARD")
    with transaction(store, write=True) as conn:
        put(conn, collection, "a", b"1", index)
        put(conn, collection, "a", b"2", index)  # its own UID is no conflict
        put(conn, collection, "b", b"2", dataclasses.replace(index, uid="U"))  # UIDs are compared exactly
        put(conn, collection, "c", b"2", dataclasses.replace(index, uid=None))
        put(conn, collection, "d", b"2", dataclasses.replace(index, uid=None))
    for name in ("e", "b"):
        with pytest.raises(UidTaken) as refused, transaction(store, write=True) as conn:
            put(conn, collection, name, b"3", index)
        assert refused.value.name == "a"
    with transaction(store) as conn:
        assert [record.name for record in objects.list_objects(conn, collection.id)] == ["a", "b", "c", "d"]
    assert list(check(store)) == []


def test_an_inbox_takes_a_uid_many_times(store: Store, alice: Account, calendar: Collection) -> None:
    inbox = make_collection(store, alice, "calendars", "inbox", "inbox")
    with transaction(store, write=True) as conn:
        for name in ("1", "2", "3"):
            put(conn, inbox, name, b"x", event("same", (0, 1)))
        assert objects.object_by_uid(conn, inbox.id, "same").name == "3"  # type: ignore[union-attr]
        first = objects.object_by_name(conn, inbox.id, "1")
        assert first is not None
        objects.move_object(conn, inbox, first, calendar, "1", now_s=NOW_S)
        second = objects.object_by_name(conn, inbox.id, "2")
        assert second is not None
        with pytest.raises(UidTaken):
            objects.move_object(conn, inbox, second, calendar, "2", now_s=NOW_S)
    assert list(check(store)) == []


@pytest.mark.parametrize("uid", ["nul\0nul", "lone\ud800", "long" * 5000, "é" * 501, ""])
def test_any_uid_can_be_stored_found_and_refused_the_second_time(store: Store, calendar: Collection, uid: str) -> None:
    with transaction(store, write=True) as conn:
        record = put(conn, calendar, "a", b"1", event(uid, (0, 1), summary="s\0\ud800"))
        assert objects.object_by_uid(conn, calendar.id, uid) == record
    with pytest.raises(UidTaken), transaction(store, write=True) as conn:
        put(conn, calendar, "b", b"1", event(uid, (0, 1)))


def test_long_uids_that_differ_at_their_end_are_different(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        one = put(conn, calendar, "a", b"1", event("u" * 3000 + "1", (0, 1)))
        two = put(conn, calendar, "b", b"1", event("u" * 3000 + "2", (0, 1)))
        assert objects.object_by_uid(conn, calendar.id, "u" * 3000 + "1") == one
        assert objects.object_by_uid(conn, calendar.id, "u" * 3000 + "2") == two


def test_names_are_compared_exactly(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "a%_.ics")
        for other in ("A%_.ics", "a%_.ics/", "aXY.ics", "a%", ""):
            assert objects.object_by_name(conn, calendar.id, other) is None


def test_many_names_are_one_statement(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        for number in range(30):
            put(conn, calendar, f"{number}.ics", f"body {number}".encode())
        before = conn.statements
        wanted = [f"{number}.ics" for number in range(10, 5000)] + ['"quote', "back\\slash", "nul\0"]
        found = objects.objects_by_names(conn, calendar.id, wanted)
        with_bodies = objects.bodies_by_names(conn, calendar.id, iter(wanted))
        assert objects.objects_by_names(conn, calendar.id, []) == []
        assert conn.statements == before + 3
    assert names(found) == {f"{number}.ics" for number in range(10, 30)}
    assert {record.name: body for record, body in with_bodies} == {
        f"{number}.ics": f"body {number}".encode() for number in range(10, 30)
    }


def test_listing_is_in_the_order_of_names_and_limited(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        for name in ("b", "a", "ä", "Z", "z"):
            put(conn, calendar, name)
        assert [record.name for record in objects.list_objects(conn, calendar.id)] == ["Z", "a", "b", "z", "ä"]
        assert [record.name for record in objects.list_objects(conn, calendar.id, limit=2)] == ["Z", "a"]
        (page,) = objects.list_columns(conn, calendar.id, 1)
        assert [row[0] for row in page] == ["Z", "a", "b", "z", "ä"]


def test_columns_are_listed_page_by_page(store: Store, calendar: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_LISTED_AT_ONCE", 3)
    with transaction(store, write=True) as conn:
        records = [put(conn, calendar, f"{number}.ics", b"x" * number, event(None)) for number in range(6)]
        for width in range(1, len(objects.LISTED) + 1):
            before = conn.statements
            pages = list(objects.list_columns(conn, calendar.id, width))
            assert [len(page) for page in pages] == [3, 3]
            assert conn.statements == before + 3  # the last one finds that there are no more
            wanted = [tuple(getattr(record, name) for name in objects.LISTED[:width]) for record in records]
            assert [row[:width] for page in pages for row in page] == wanted
        assert list(objects.list_columns(conn, calendar.id + 1000, 1)) == []


def test_texts_are_listed_page_by_page(store: Store, calendar: Collection, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(objects, "_LISTED_AT_ONCE", 3)
    with transaction(store, write=True) as conn:
        assert list(objects.list_texts(conn, calendar.id, 2)) == []
        names = ["ä b.ics", "a\nb.ics", "ß.ics", "0.ics", "z.ics", "🎂.ics", "q.ics"]
        records = [put(conn, calendar, name, b"x", event(None)) for name in names]
        records.sort(key=lambda record: record.name)
        for width in range(1, objects.TEXTS + 1):
            before = conn.statements
            pages = list(objects.list_texts(conn, calendar.id, width))
            assert conn.statements == before + 3
            assert [len(page[0]) for page in pages] == [3, 3, 1]
            for place, name in enumerate(objects.LISTED[:width]):
                assert [text for page in pages for text in page[place]] == [getattr(record, name) for record in records]


def test_a_text_with_a_line_break_is_listed_whole(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        objects.put_object(
            conn, calendar, "a", b"1", content_type="text/calendar", etag="one\ntwo", index=event(None), now_s=NOW_S
        )
        put(conn, calendar, "b", b"2")
        (page,) = objects.list_texts(conn, calendar.id, 2)
        assert page[0] == ("a", "b")
        assert page[1][0] == "one\ntwo"


def test_contents_are_iterated_as_bodies_are(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        for number in range(7):
            put(conn, calendar, f"{number}.ics", b"x" * number if number != 3 else Blob("00" * 32, 5))
        wanted = [body for _, body in objects.iter_bodies(conn, calendar.id)]
        before = conn.statements
        assert list(objects.iter_contents(conn, calendar.id, batch=3)) == wanted
        assert conn.statements == before + 3


def test_short_bodies_come_with_their_rows(store: Store, calendar: Collection) -> None:
    long, short = b"x" * (objects.SHORT_BODY_BYTES + 1), b"x" * objects.SHORT_BODY_BYTES
    with transaction(store, write=True) as conn:
        for name, body in (("short", short), ("long", long), ("empty", b""), ("blob", Blob("00" * 32, 5))):
            put(conn, calendar, name, body)
        before = conn.statements
        rows = objects.short_by_names(conn, calendar.id, ["short", "long", "empty", "blob", "none"], 2)
        assert conn.statements == before + 1
        assert {row[0]: row[-1] for row in rows} == {"short": short, "long": None, "empty": b"", "blob": None}
        for name, body in (("short", short), ("long", None), ("empty", b""), ("blob", None)):
            assert objects.object_with_body(conn, calendar.id, name) == (
                objects.object_by_name(conn, calendar.id, name),
                body,
            )
        assert objects.object_with_body(conn, calendar.id, "none") is None


def test_columns_of_changes_are_those_of_the_changes(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        for number in range(6):
            put(conn, calendar, f"{number}.ics", b"x" * number, event(None))
        for name in ("1.ics", "4.ics"):
            record = objects.object_by_name(conn, calendar.id, name)
            assert record is not None
            objects.delete_object(conn, calendar, record, now_s=NOW_S)
        for since in range(9):
            for limit in (2, 100):
                for first in (False, True):
                    changes, more = objects.changes_since(conn, calendar.id, since, limit=limit, first=first)
                    found = objects.columns_since(conn, calendar.id, since, 3, limit=limit, first=first)
                    rows = [
                        (change.name, None, None, change.change_seq)
                        if change.record is None
                        else (change.name, change.record.etag, change.record.component, change.change_seq)
                        for change in changes
                    ]
                    assert found == (rows, more)
        with pytest.raises(ForeignToken):
            objects.columns_since(conn, calendar.id, 9, 2, limit=1, first=False)


def test_bodies_are_iterated_in_batches_while_other_statements_run(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        for number in range(25):
            component = "VTODO" if number % 5 == 0 else "VEVENT"
            put(conn, calendar, f"{number:02}", str(number).encode(), event(f"{number}", (0, 1), component=component))
        put(conn, calendar, "bad", b"bad", event("bad", (0, 1), readable=False))
    with transaction(store) as conn:
        seen = []
        for record, body in objects.iter_bodies(conn, calendar.id, batch=10):
            assert objects.body(conn, record) == body
            seen.append(record.name)
        assert seen == [*(f"{number:02}" for number in range(25)), "bad"]
        todos = objects.iter_bodies(conn, calendar.id, component="VTODO", batch=2)
        assert [(record.name, body) for record, body in todos] == [
            ("00", b"0"), ("05", b"5"), ("10", b"10"), ("15", b"15"), ("20", b"20")
        ]  # fmt: skip
        assert names(objects.of_component(conn, calendar.id, "VTODO")) == {"00", "05", "10", "15", "20"}
        assert len(objects.of_component(conn, calendar.id, "VEVENT")) == 20
        assert names(objects.unreadable(conn, calendar.id)) == {"bad"}


def test_a_deleted_member_leaves_a_tombstone_and_its_body_in_the_history(
    store: Store, alice: Account, calendar: Collection
) -> None:
    with transaction(store, write=True) as conn:
        record = put(conn, calendar, "a", b"one")
        properties.set_property(conn, calendar.id, "{x}p", "<p/>", object_id=record.id)
        objects.delete_object(conn, calendar, record, now_s=NOW_S + 1)
        assert objects.object_by_name(conn, calendar.id, "a") is None
        assert versions(conn) == [("a", b"one", "deleted")]
        assert seq_of(conn, calendar) == record.change_seq + 1
        assert properties.get_of_members(conn, calendar.id) == {}
        with pytest.raises(NotFound):
            objects.body(conn, record)
        assert objects.in_range(conn, calendar.id, "VEVENT", 0, ENDLESS, 0, ENDLESS) == []
    with pytest.raises(NotFound), transaction(store, write=True) as conn:
        objects.delete_object(conn, calendar, record, now_s=NOW_S + 2)
    with transaction(store) as conn:
        assert seq_of(conn, calendar) == record.change_seq + 1
    assert list(check(store)) == []


def test_a_moved_member_leaves_a_tombstone_and_keeps_the_rest(
    store: Store, alice: Account, calendar: Collection
) -> None:
    target = make_collection(store, alice, "calendars", "private", "calendar")
    with transaction(store, write=True) as conn:
        record = put(conn, calendar, "a", b"one", event("u", (0, 9)))
        properties.set_property(conn, calendar.id, "{x}p", "<p/>", object_id=record.id)
        moved = objects.move_object(conn, calendar, record, target, "b", now_s=NOW_S + 9)
        assert (moved.id, moved.etag, moved.created_s, moved.collection_id) == (
            record.id,
            record.etag,
            NOW_S,
            target.id,
        )
        assert objects.body(conn, moved) == b"one"
        assert properties.get_of_members(conn, target.id) == {moved.id: {"{x}p": "<p/>"}}
        assert properties.get_of_members(conn, calendar.id) == {}
        changes, _ = objects.changes_since(conn, calendar.id, record.change_seq, limit=9)
        assert [(change.name, change.record) for change in changes] == [("a", None)]
        assert [found.record for found in objects.in_range(conn, target.id, "VEVENT", 0, 5, 0, 5)] == [moved]
        assert objects.in_range(conn, calendar.id, "VEVENT", 0, 5, 0, 5) == []
        renamed = objects.move_object(conn, target, moved, target, "c", now_s=NOW_S + 9)
        changes, _ = objects.changes_since(conn, target.id, moved.change_seq, limit=9)
        assert [(change.name, change.record) for change in changes] == [("b", None), ("c", renamed)]
        back = objects.move_object(conn, target, renamed, calendar, "a", now_s=NOW_S + 9)
        changes, _ = objects.changes_since(conn, calendar.id, record.change_seq, limit=9)
        assert [(change.name, change.record) for change in changes] == [("a", back)]
    assert list(check(store)) == []


def test_a_copy_has_body_index_and_dead_properties_of_its_own(
    store: Store, alice: Account, calendar: Collection
) -> None:
    target = make_collection(store, alice, "calendars", "private", "calendar")
    with transaction(store, write=True) as conn:
        record = put(conn, calendar, "a", b"one", event("u", (0, 9)))
        properties.set_property(conn, calendar.id, "{x}p", "<p/>", object_id=record.id)
        copied = objects.copy_object(conn, record, target, "b", now_s=NOW_S + 9)
        assert (copied.etag, copied.uid, copied.created_s) == (record.etag, "u", NOW_S + 9)
        objects.delete_object(conn, calendar, record, now_s=NOW_S + 9)
        assert objects.body(conn, copied) == b"one"
        assert properties.get_properties(conn, target.id, object_id=copied.id) == {"{x}p": "<p/>"}
        assert [found.record for found in objects.in_range(conn, target.id, "VEVENT", 0, 5, 0, 5)] == [copied]
        assert accounts.usage_bytes(conn, alice.id) == 3
    assert list(check(store)) == []


def test_a_move_or_copy_onto_a_taken_name_or_uid_is_refused(
    store: Store, alice: Account, calendar: Collection, folder: Collection
) -> None:
    target = make_collection(store, alice, "calendars", "private", "calendar")
    named = make_collection(store, alice, "calendars", "named", "calendar")
    with transaction(store, write=True) as conn:
        record = put(conn, calendar, "a", b"one", event("u", (0, 9)))
        put(conn, named, "name", b"two", event("other", (0, 9)))
        put(conn, target, "uid", b"two", event("u", (0, 9)))
        collections.create_collection(conn, folder, "dir", kind="folder", now_s=NOW_S)
    for collection, name, error in ((named, "name", NameTaken), (target, "new", UidTaken), (folder, "dir", NameTaken)):
        with pytest.raises(error), transaction(store, write=True) as conn:
            objects.move_object(conn, calendar, record, collection, name, now_s=NOW_S)
        with pytest.raises(error), transaction(store, write=True) as conn:
            objects.copy_object(conn, record, collection, name, now_s=NOW_S)
    with pytest.raises(UidTaken), transaction(store, write=True) as conn:
        objects.copy_object(conn, record, calendar, "twin", now_s=NOW_S)


def test_a_move_or_copy_to_another_owner_counts_for_that_ones_quota(
    store: Store, alice: Account, bob: Account, calendar: Collection
) -> None:
    target = make_collection(store, bob, "calendars", "c", "calendar")
    with transaction(store, write=True) as conn:
        record = put(conn, calendar, "a", b"12345")
        accounts.update_account(conn, bob.id, quota_bytes=9)
        copied = objects.copy_object(conn, record, target, "copy", now_s=NOW_S)
        assert [accounts.usage_bytes(conn, account.id) for account in (alice, bob)] == [5, 5]
    with transaction(store, write=True) as conn:
        other = put(conn, calendar, "b", b"12345")
    with pytest.raises(QuotaExceeded), transaction(store, write=True) as conn:
        objects.move_object(conn, calendar, other, target, "b", now_s=NOW_S)
    with pytest.raises(QuotaExceeded), transaction(store, write=True) as conn:
        objects.copy_object(conn, other, target, "b", now_s=NOW_S)
    with transaction(store, write=True) as conn:
        objects.delete_object(conn, calendar, other, now_s=NOW_S)
    with transaction(store, write=True) as conn:
        objects.delete_object(conn, target, copied, now_s=NOW_S)
        objects.move_object(conn, calendar, record, target, "a", now_s=NOW_S)
        assert [accounts.usage_bytes(conn, account.id) for account in (alice, bob)] == [0, 5]
    assert list(check(store)) == []


def test_a_body_can_become_a_blob_and_back(store: Store, folder: Collection) -> None:
    blob = write_blob(store.blob_dir, [b"big ", b"body"])
    index = ObjectIndex()
    with transaction(store, write=True) as conn:
        put(conn, folder, "f", b"small", index)
        as_blob = put(conn, folder, "f", blob, index)
        assert (as_blob.blob, as_blob.size) == (blob.name, 8)
        with pytest.raises(NotFound):
            objects.body(conn, as_blob)
        copied = objects.copy_object(conn, as_blob, folder, "g", now_s=NOW_S)
        assert copied.blob == blob.name
        again = put(conn, folder, "f", b"small", index)
        assert (again.blob, objects.body(conn, again)) == (None, b"small")
        assert [(name, content) for name, content, _ in versions(conn)] == [("f", b"small"), ("f", None)]
    assert list(check(store)) == []


def test_creating_and_replacing_take_few_statements_whatever_the_collections_size(
    store: Store, calendar: Collection
) -> None:
    def statements(name: str, body: bytes, index: ObjectIndex) -> int:
        before = conn.statements
        put(conn, calendar, name, body, index)
        return conn.statements - before

    weekly = event("w", *((NOW_S + week * 7 * DAY_S, NOW_S + week * 7 * DAY_S + 3600) for week in range(156)))
    with transaction(store, write=True) as conn:
        assert statements("first", b"1", event("first", (0, 1))) == 6
        for number in range(50):
            put(conn, calendar, f"{number}", b"x")
        assert statements("w", b"weekly", weekly) == 6
        assert statements("w", b"longer than before", weekly) == 6  # the same instances are not written again
        assert statements("w", b"LONGER than before", event("w", (0, 1))) == 7
        record = objects.object_by_name(conn, calendar.id, "w")
        assert record is not None
        before = conn.statements
        objects.delete_object(conn, calendar, record, now_s=NOW_S)
        assert conn.statements - before <= 7
    assert list(check(store)) == []


def test_changes_come_oldest_first_and_in_pages(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        start = seq_of(conn, calendar)
        a, _, c = (put(conn, calendar, name) for name in "abc")
        assert objects.changes_since(conn, calendar.id, c.change_seq, limit=10) == ([], False)
        b2 = put(conn, calendar, "b", b"new")
        objects.delete_object(conn, calendar, a, now_s=NOW_S)
        d = put(conn, calendar, "d")
        before = conn.statements
        changes, more = objects.changes_since(conn, calendar.id, a.change_seq, limit=10)
        assert conn.statements == before + 1
        assert [(change.name, change.record) for change in changes] == [("c", c), ("b", b2), ("a", None), ("d", d)]
        assert [change.change_seq for change in changes] == [start + 3, start + 4, start + 5, start + 6]
        assert not more
        page, more = objects.changes_since(conn, calendar.id, a.change_seq, limit=2)
        assert (page, more) == (changes[:2], True)
        page, more = objects.changes_since(conn, calendar.id, page[-1].change_seq, limit=2)
        assert (page, more) == (changes[2:], False)


def test_a_first_sync_lists_no_removed_members(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        a, b = put(conn, calendar, "a"), put(conn, calendar, "b")
        objects.delete_object(conn, calendar, a, now_s=NOW_S)
        changes, more = objects.changes_since(conn, calendar.id, 0, limit=10)
        assert ([change.record for change in changes], more) == ([b], False)


def test_a_number_that_was_never_given_out_is_refused(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        record = put(conn, calendar, "a")
        for foreign in (record.change_seq + 1, 1 << 40, -5):
            if foreign > 0:
                with pytest.raises(ForeignToken):
                    objects.changes_since(conn, calendar.id, foreign, limit=10)
        with pytest.raises(ForeignToken):
            objects.changes_since(conn, 999_999, 1, limit=10)


def test_contacts_are_found_by_folded_text_in_their_column(store: Store, alice: Account) -> None:
    book = make_collection(store, alice, "addressbooks", "book", "addressbook")
    texts = (("fn", "Zoë ß\0"), ("email", "Z@X.example"), ("email", "second@x.example"), ("unknown", "x"), ("org", "İ"))
    with transaction(store, write=True) as conn:
        zoe = put(conn, book, "z", b"1", ObjectIndex(uid="z", component="VCARD", text=texts))
        put(conn, book, "y", b"1", ObjectIndex(uid="y", component="VCARD", text=(("fn", "100%_"),)))

        def search(column: str, text: str) -> set[str]:
            return names(objects.search_cards(conn, book.id, column, text, "contains"))

        assert search("fn", "ZOË") == search("fn", "zoe\u0308") == search("fn", "SS") == {"z"}
        assert search("email", "z@x") == search("email", "SECOND") == {"z"}
        assert search("fn", "z@x") == set()
        assert search("fn", "%_") == {"y"}
        assert search("fn", "") == {"y", "z"}
        with pytest.raises(KeyError):
            search("photo", "x")
        put(conn, book, "z", b"2", ObjectIndex(uid="z", component="VCARD", text=(("fn", "Other"),)))
        assert search("fn", "zo") == search("email", "z@") == set()
        target = make_collection_in(conn, alice, "second")
        moved = objects.move_object(conn, book, zoe, target, "m", now_s=NOW_S)
        assert names(objects.search_cards(conn, target.id, "fn", "other", "contains")) == {"m"}
        assert search("fn", "other") == set()
        objects.delete_object(conn, target, moved, now_s=NOW_S)
        assert objects.search_cards(conn, target.id, "fn", "", "contains") == []
    assert list(check(store)) == []


def make_collection_in(conn: Conn, account: Account, name: str) -> Collection:
    home = collections.home(conn, account.id, "addressbooks")
    return collections.create_collection(conn, home, name, kind="addressbook", now_s=NOW_S)


def test_reindexing_changes_what_is_found_but_not_the_member(store: Store, calendar: Collection) -> None:
    soon = event("u", (NOW_S, NOW_S + 9), last_s=ENDLESS, exact=False, indexed_from_s=NOW_S, indexed_to_s=NOW_S + 100)
    later = dataclasses.replace(
        soon, instances=(*soon.instances, Instance(NOW_S + 500, NOW_S + 509, False, 1)), indexed_to_s=NOW_S + 1000
    )

    def found() -> list[tuple[ObjectRecord, bool]]:
        result = objects.in_range(conn, calendar.id, "VEVENT", NOW_S + 400, NOW_S + 600, NOW_S + 400, NOW_S + 600)
        return [(each.record, each.certain) for each in result]

    with transaction(store, write=True) as conn:
        record = put(conn, calendar, "a", b"1", soon)
        put(conn, calendar, "complete", b"x", event("complete", (0, 1)))
        assert objects.objects_to_extend(conn, NOW_S + 101, 10) == [record]
        assert objects.objects_to_extend(conn, NOW_S + 100, 10) == []
        assert found() == [(record, False)]
        assert not objects.reindex(conn, record.id, later, etag="of an older body")
        assert objects.reindex(conn, record.id, later, etag=record.etag)
        assert (record, True) in found()
        assert objects.object_by_name(conn, calendar.id, "a") == record
        assert objects.objects_to_extend(conn, NOW_S + 101, 10) == []
        assert not objects.reindex(conn, 999_999, later)
        collections.delete_collection(conn, calendar, now_s=NOW_S)
        assert objects.objects_to_extend(conn, ENDLESS, 10) == []
    assert list(check(store)) == []


def test_etag_of_a_record_is_what_the_caller_gave(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        assert put(conn, calendar, "a", b"x").etag == etag_of(b"x")
