"""Making, replacing and removing a member in one statement each is the same as doing it in many."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from storage import accounts, collections, objects, properties, schema
from storage.check import check
from storage.engine import Conn, Statement, Store, transaction
from storage.errors import NotFound, QuotaExceeded, UidTaken
from storage.records import Account, Collection, Instance, ObjectRecord
from tests.storage.kit import DAY_S, NOW_S, event, put

WEEKS = tuple(Instance(NOW_S + week * 7 * DAY_S, NOW_S + week * 7 * DAY_S + 3600, False, 1) for week in range(60))


def create(conn, calendar: Collection, name: str, uid: str = "", body: bytes = b"x", **index: object) -> ObjectRecord:  # type: ignore[no-untyped-def]
    """As PUT does it: the collection is locked before."""
    collections.lock_collections(conn, [calendar.id])
    record, created = objects.put_object(
        conn, calendar, name, body, content_type="text/calendar", etag=f"etag-{name}",
        index=event(uid or name, **index), now_s=NOW_S, create=True,  # type: ignore[arg-type]
    )  # fmt: skip
    assert created
    return record


def test_a_new_member_is_there_with_its_body_and_its_times(store: Store, calendar: Collection) -> None:
    index = {"recurs": True, "instances": (*WEEKS, Instance(NOW_S + 60, NOW_S + 120, False, 2))}
    with transaction(store, write=True) as conn:
        before = conn.statements
        made = create(conn, calendar, "a", body=b"hello", last_s=NOW_S + 500 * DAY_S, **index)
        assert conn.statements - before == (2 if store.dialect == "postgresql" else 7)
    with transaction(store) as conn:
        found = objects.object_with_body(conn, calendar.id, "a")
        assert found == (made, b"hello")
        busy, _ = objects.busy_in_range(conn, calendar.id, NOW_S, NOW_S + 30 * DAY_S, 0, 1)
        assert len(busy) == 6
    assert list(check(store)) == []


def test_what_is_in_the_way_is_found_and_nothing_changes(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        create(conn, calendar, "a", uid="1")
    for name, uid, expected in (("b", "1", UidTaken),):
        with pytest.raises(expected), transaction(store, write=True) as conn:
            create(conn, calendar, name, uid=uid)
    with transaction(store, write=True) as conn:
        collections.lock_collections(conn, [calendar.id])
        record, created = objects.put_object(
            conn, calendar, "a", b"two", content_type="text/calendar", etag="e", index=event("1"), now_s=NOW_S,
            create=True,
        )  # fmt: skip
        assert (created, record.size) == (False, 3)  # as somebody may have been quicker
        assert [each.name for each in objects.list_objects(conn, calendar.id)] == ["a"]
    assert list(check(store)) == []


def test_a_full_quota_refuses_it_and_nothing_changes(store: Store, alice: Account, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        accounts.update_account(conn, alice.id, quota_bytes=10)
        create(conn, calendar, "a", body=b"12345")
    with pytest.raises(QuotaExceeded), transaction(store, write=True) as conn:
        create(conn, calendar, "b", body=b"123456")
    with transaction(store, write=True) as conn:
        assert accounts.usage_bytes(conn, alice.id) == 5
        create(conn, calendar, "b", body=b"12345")
    assert list(check(store)) == []


def test_a_name_that_comes_again_takes_over_from_its_tombstone(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        record = create(conn, calendar, "a", secrecy=0)
        objects.delete_object(conn, calendar, record, now_s=NOW_S)
        start = collections.collection_by_id(conn, calendar.id)
        assert start is not None
        made = create(conn, calendar, "a", secrecy=2)
        changes, _ = objects.changes_since(conn, calendar.id, start.change_seq, limit=9)
        assert [(change.name, change.record) for change in changes] == [("a", made)]
        # It became secret with this change, so whoever may not see it hears that it has gone.
        seen, _ = objects.changes_seen(conn, calendar.id, start.change_seq, hidden_from=2, limit=9, first=False)
        assert [(change.name, change.record) for change in seen] == [("a", None)]
    assert list(check(store)) == []


def test_a_collection_that_has_gone_takes_nothing(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        collections.delete_collection(conn, calendar, now_s=NOW_S)
    with pytest.raises(NotFound), transaction(store, write=True) as conn:
        create(conn, calendar, "a")


def test_cards_are_found_as_ever(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "a")
        create(conn, calendar, "b", component="VCARD", text=(("fn", "Zoë"),))
        assert [each.name for each in objects.search_cards(conn, calendar.id, "fn", "ZOË", "contains")] == ["b"]


def replace(conn: Conn, calendar: Collection, name: str, body: bytes, **index: object) -> ObjectRecord:
    collections.lock_collections(conn, [calendar.id])
    record, created = objects.put_object(
        conn, calendar, name, body, content_type="text/calendar", etag=f"etag-{body!r}", index=event(name, **index),  # type: ignore[arg-type]
        now_s=NOW_S + 5,
    )  # fmt: skip
    assert not created
    return record


def remove(conn: Conn, calendar: Collection, record: ObjectRecord) -> None:
    collections.lock_collections(conn, [calendar.id])
    objects.delete_object(conn, calendar, record, now_s=NOW_S)


VERSIONS = Statement(
    sa.select(*(schema.object_versions.c[name] for name in ("name", "content", "cause", "etag", "ended_s"))).order_by(
        schema.object_versions.c.id
    )
)


def test_what_is_replaced_keeps_its_identity_and_the_past_its_body(
    store: Store, alice: Account, calendar: Collection
) -> None:
    with transaction(store, write=True) as conn:
        old = create(conn, calendar, "a", body=b"old")
        before = conn.statements
        new = replace(conn, calendar, "a", b"and new", instances=WEEKS[:1], last_s=NOW_S + DAY_S)
        if store.dialect == "postgresql":
            assert conn.statements - before == 4  # the lock, the look, the change, the times
    with transaction(store) as conn:
        assert objects.object_with_body(conn, calendar.id, "a") == (new, b"and new")
        assert (new.id, new.created_s, new.change_seq) == (old.id, old.created_s, old.change_seq + 1)
        assert VERSIONS.all(conn) == [("a", b"old", "replaced", "etag-a", NOW_S + 5)]
        assert accounts.usage_bytes(conn, alice.id) == 7
        assert len(objects.busy_in_range(conn, calendar.id, NOW_S, NOW_S + DAY_S, 0, 1)[0]) == 1
    assert list(check(store)) == []


def test_replacing_by_as_many_bytes_needs_no_room(store: Store, alice: Account, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        create(conn, calendar, "a", body=b"12345")
        accounts.update_account(conn, alice.id, quota_bytes=3)
        replace(conn, calendar, "a", b"54321")
        replace(conn, calendar, "a", b"5432")
    with pytest.raises(QuotaExceeded), transaction(store, write=True) as conn:
        replace(conn, calendar, "a", b"543210")
    with transaction(store) as conn:
        record = objects.object_by_name(conn, calendar.id, "a")
        assert record is not None
        assert objects.body(conn, record) == b"5432"
        assert len(VERSIONS.all(conn)) == 2
    assert list(check(store)) == []


def test_what_becomes_more_secret_says_since_when(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        first = create(conn, calendar, "a", secrecy=1)
        secret = replace(conn, calendar, "a", b"2", secrecy=2)
        after = replace(conn, calendar, "a", b"3", secrecy=2)
        for since, shown in ((first.change_seq, [("a", None)]), (secret.change_seq, [])):
            seen, _ = objects.changes_seen(conn, calendar.id, since, hidden_from=2, limit=9, first=False)
            assert [(change.name, change.record) for change in seen] == shown
        assert after.change_seq == secret.change_seq + 1


def test_what_is_removed_leaves_a_tombstone_and_its_past_and_nothing_else(
    store: Store, alice: Account, calendar: Collection
) -> None:
    with transaction(store, write=True) as conn:
        record = create(
            conn, calendar, "a", body=b"gone", recurs=True, instances=WEEKS, last_s=NOW_S + 500 * DAY_S, secrecy=1
        )
        properties.set_property(conn, calendar.id, "{x}y", "<y/>", object_id=record.id)
        before = conn.statements
        objects.delete_object(conn, calendar, record, now_s=NOW_S + 9)
        assert conn.statements - before == (1 if store.dialect == "postgresql" else 8)
    with transaction(store) as conn:
        changes, _ = objects.changes_since(conn, calendar.id, record.change_seq, limit=9)
        assert [(change.name, change.record) for change in changes] == [("a", None)]
        assert VERSIONS.all(conn) == [("a", b"gone", "deleted", "etag-a", NOW_S + 9)]
        assert accounts.usage_bytes(conn, alice.id) == 0
        assert objects.busy_in_range(conn, calendar.id, NOW_S, NOW_S + 30 * DAY_S, 0, 1) == ([], [])
    assert list(check(store)) == []
    with pytest.raises(NotFound), transaction(store, write=True) as conn:
        remove(conn, calendar, record)
    with transaction(store) as conn:
        found = collections.collection_by_id(conn, calendar.id)
        assert found is not None
        assert found.change_seq == record.change_seq + 1
