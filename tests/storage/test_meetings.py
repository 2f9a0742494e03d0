"""What scheduling asks and writes for several accounts at once."""

from __future__ import annotations

import pytest

from storage import accounts, check, collections, meetings, objects, properties
from storage.engine import Store, transaction
from storage.meetings import LockFirst, Writing
from storage.records import Account, Collection, ObjectRecord
from tests.storage.kit import DAY_S, NOW_S, etag_of, event, make_collection, put


def writing(
    collection: Collection, uid: str, body: bytes, old: ObjectRecord | None = None, at_s: int = NOW_S
) -> Writing:
    index = event(uid, (at_s, at_s + 3600))
    name = old.name if old is not None else f"{uid}-{collection.id}.ics"
    return Writing(collection, old, name, body, etag_of(body), "text/calendar", index, "tag")


@pytest.fixture
def inbox(store: Store, alice: Account) -> Collection:
    return make_collection(store, alice, "calendars", "inbox", "inbox")


@pytest.fixture
def other(store: Store, bob: Account) -> Collection:
    return make_collection(store, bob, "calendars", "home", "calendar")


def test_many_objects_are_written_as_single_ones_are(
    store: Store, alice: Account, bob: Account, calendar: Collection, other: Collection, inbox: Collection
) -> None:
    with transaction(store, write=True) as conn:
        old = put(conn, calendar, "old.ics", b"first")
    with transaction(store, write=True) as conn:
        before = conn.statements
        made = meetings.write_many(
            conn,
            [
                writing(calendar, "old.ics", b"second one", old, NOW_S + DAY_S),
                writing(calendar, "new", b"new"),
                writing(other, "new", b"new"),
                writing(inbox, "new", b"message"),
                Writing(inbox, None, "again.ics", b"another", etag_of(b"another"), "text/calendar", event("new"), None),
            ],
            now_s=NOW_S + 5,
        )
        cost = conn.statements - before
    assert [record.change_seq for record in made] == [2, 3, 1, 1, 2]
    assert cost <= 14
    with transaction(store) as conn:
        for record in made:
            assert objects.object_by_name(conn, record.collection_id, record.name) == record
        assert objects.body(conn, made[0]) == b"second one"
        assert made[0].id == old.id
        assert accounts.usage_bytes(conn, alice.id) == len(b"second onenewmessageanother")
        assert accounts.usage_bytes(conn, bob.id) == 3
        found, _ = objects.busy_in_range(conn, calendar.id, NOW_S + DAY_S, NOW_S + 2 * DAY_S, 0, 1)
        assert [item.start_s for item in found] == [NOW_S + DAY_S]
    assert list(check.check(store)) == []


def test_a_full_account_still_gets_what_others_send(store: Store, bob: Account, other: Collection) -> None:
    with transaction(store, write=True) as conn:
        accounts.update_account(conn, bob.id, quota_bytes=1)
        meetings.write_many(conn, [writing(other, "m", b"more than one")], now_s=NOW_S)
        assert accounts.usage_bytes(conn, bob.id) == len(b"more than one")


def test_busy_times_of_several_calendars_are_those_of_each(
    store: Store, calendar: Collection, other: Collection
) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "short", index=event("short", (NOW_S, NOW_S + 60)))
        put(conn, calendar, "long", index=event("long", (NOW_S - 9 * DAY_S, NOW_S + DAY_S)))
        put(conn, calendar, "free", index=event("free", (NOW_S, NOW_S + 60), busy=0))
        put(conn, calendar, "late", index=event("late", (NOW_S + DAY_S, NOW_S + DAY_S + 60)))
        put(conn, other, "floating", index=event("floating", (NOW_S + 3600, NOW_S + 7200), floating=True))
        endless = event("endless", (NOW_S, NOW_S + 60), last_s=1 << 43, indexed_to_s=NOW_S + 10)
        put(conn, other, "endless", index=endless)
    with transaction(store) as conn:
        found, beyond = meetings.busy_in(conn, [calendar.id, other.id], NOW_S, NOW_S + 3600)
    names = {(collection_id, instance.start_s, instance.floating) for collection_id, _, instance in found}
    assert names == {
        (calendar.id, NOW_S, False), (calendar.id, NOW_S - 9 * DAY_S, False), (other.id, NOW_S + 3600, True),
    }  # fmt: skip
    assert [record.name for record in beyond] == ["endless"]


def test_a_meeting_is_found_in_all_calendars_the_scheduled_one_first(
    store: Store, calendar: Collection, other: Collection
) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "plain.ics", index=event("m", (NOW_S, NOW_S + 60)))
        meetings.write_many(conn, [writing(other, "m", b"scheduled")], now_s=NOW_S)
        found = meetings.by_uid(conn, [calendar.id, other.id], "m")
        assert [(record.name, body) for record, body in found] == [
            (f"m-{other.id}.ics", b"scheduled"), ("plain.ics", b"BEGIN:VCALENDAR"),
        ]  # fmt: skip
        assert [record.name for record, _ in meetings.scheduled_in(conn, [calendar.id, other.id], batch=1)] == [
            f"m-{other.id}.ics"
        ]
        meetings.forget_tags(conn, other.id)
        assert list(meetings.scheduled_in(conn, [other.id])) == []


def test_homes_of_several_accounts_come_at_once(
    store: Store, alice: Account, bob: Account, calendar: Collection, inbox: Collection, other: Collection
) -> None:
    with transaction(store, write=True) as conn:
        properties.set_property(conn, inbox.id, "{x}y", "key", object_id=meetings.BESIDE)
        found = meetings.calendars_of(conn, [alice.id, bob.id])
        assert {owner: [one.path for one in some] for owner, some in found.items()} == {
            alice.id: ["work", "inbox"], bob.id: ["home"],
        }  # fmt: skip
        assert meetings.kept_with(conn, [inbox.id, calendar.id]) == {inbox.id: {"{x}y": "key"}}


def test_old_messages_are_found_and_young_ones_left(store: Store, inbox: Collection, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "old", now_s=NOW_S - DAY_S)
        put(conn, inbox, "old", now_s=NOW_S - DAY_S)
        put(conn, inbox, "young", now_s=NOW_S)
        found = meetings.old_inbox_items(conn, NOW_S, 10)
        assert [(one.id, record.name) for one, record in found] == [(inbox.id, "old")]


def test_whoever_would_lock_backwards_is_told_to_begin_anew(
    store: Store, calendar: Collection, other: Collection
) -> None:
    first, second = sorted((calendar.id, other.id))
    with transaction(store, write=True) as conn:
        collections.lock_collections(conn, [first])
        meetings.lock_in_order(conn, [first, second])  # forwards is no matter
    if store.dialect != "postgresql":
        return
    with transaction(store, write=True) as conn:
        collections.lock_collections(conn, [second])
        with pytest.raises(LockFirst) as told:
            meetings.lock_in_order(conn, [first])
    assert told.value.ids == {first, second}
