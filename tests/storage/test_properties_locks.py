from __future__ import annotations

import dataclasses

import pytest

from storage import locks, properties
from storage.engine import Conn, Store, transaction
from storage.errors import NameTooLong, NotFound
from storage.records import Account, Collection, Lock
from tests.storage.kit import NOW_S, make_collection, put


def test_properties_are_kept_as_sent_replaced_and_removed(store: Store, calendar: Collection) -> None:
    xml = '<x:colour xmlns:x="urn:x" a="&lt;"> #ff0000\r\n<b/></x:colour>'
    with transaction(store, write=True) as conn:
        properties.set_property(conn, calendar.id, "{urn:x}colour", "<first/>")
        properties.set_property(conn, calendar.id, "{urn:x}colour", xml)
        properties.set_property(conn, calendar.id, "{urn:x}order", "<o/>")
        assert properties.get_properties(conn, calendar.id) == {"{urn:x}colour": xml, "{urn:x}order": "<o/>"}
        properties.set_property(conn, calendar.id, "{urn:x}order", None)
        properties.set_property(conn, calendar.id, "{urn:x}order", None)  # what is not there can be removed
        assert properties.get_properties(conn, calendar.id) == {"{urn:x}colour": xml}


def test_properties_of_many_are_one_statement(store: Store, alice: Account, calendar: Collection) -> None:
    other = make_collection(store, alice, "calendars", "other", "calendar")
    empty = make_collection(store, alice, "calendars", "empty", "calendar")
    with transaction(store, write=True) as conn:
        a, b = put(conn, calendar, "a"), put(conn, calendar, "b")
        put(conn, calendar, "c")
        properties.set_property(conn, calendar.id, "{x}p", "<of-calendar/>")
        properties.set_property(conn, other.id, "{x}p", "<of-other/>")
        for record in (a, b):
            properties.set_property(conn, calendar.id, "{x}p", f"<of-{record.name}/>", object_id=record.id)
        before = conn.statements
        assert properties.get_many(conn, [calendar.id, other.id, empty.id]) == {
            calendar.id: {"{x}p": "<of-calendar/>"}, other.id: {"{x}p": "<of-other/>"}
        }  # fmt: skip
        assert properties.get_many(conn, []) == {}
        assert properties.get_of_members(conn, calendar.id) == {a.id: {"{x}p": "<of-a/>"}, b.id: {"{x}p": "<of-b/>"}}
        assert conn.statements == before + 3
        properties.copy_properties(conn, calendar.id, empty.id)
        assert properties.get_properties(conn, empty.id) == {"{x}p": "<of-calendar/>"}
        assert properties.get_of_members(conn, empty.id) == {}


def test_strange_property_names_are_stored_or_refused(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        properties.set_property(conn, calendar.id, "{}\0", "\0\ud800")
        assert properties.get_properties(conn, calendar.id) == {"{}\ufffd": "\ufffd\ufffd"}
    with pytest.raises(NameTooLong), transaction(store, write=True) as conn:
        properties.set_property(conn, calendar.id, "{x}" + "n" * 998, "<p/>")


def lock(conn: Conn, account: Account, token: str, path: str, **changes: object) -> Lock:
    made = Lock(token, account.id, "files", path, True, False, account.id, "<owner/>", 60, NOW_S + 60)
    made = dataclasses.replace(made, **changes)  # type: ignore[arg-type]
    locks.create_lock(conn, made)
    return made


def tokens(found: list[Lock]) -> list[str]:
    return [each.token for each in found]


def test_a_lock_is_found_by_its_token_until_it_ends(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        made = lock(conn, alice, "urn:1", "a/b", shared=True, depth_infinity=False)
        assert locks.lock_by_token(conn, "urn:1", NOW_S) == made
        assert locks.lock_by_token(conn, "urn:1", NOW_S + 59) == made
        assert locks.lock_by_token(conn, "urn:1", NOW_S + 60) is None
        assert locks.lock_by_token(conn, "urn:\0", NOW_S) is None
        locks.refresh_lock(conn, "urn:1", expires_s=NOW_S + 500, timeout_s=500)
        renewed = locks.lock_by_token(conn, "urn:1", NOW_S + 60)
        assert renewed == dataclasses.replace(made, expires_s=NOW_S + 500, timeout_s=500)
        locks.remove_lock(conn, "urn:1")
        assert locks.lock_by_token(conn, "urn:1", NOW_S) is None
        with pytest.raises(NotFound):
            locks.remove_lock(conn, "urn:1")
        with pytest.raises(NotFound):
            locks.refresh_lock(conn, "urn:1", expires_s=0, timeout_s=0)


def test_locks_cover_their_path_and_with_infinite_depth_what_is_below(
    store: Store, alice: Account, bob: Account
) -> None:
    with transaction(store, write=True) as conn:
        lock(conn, alice, "home", "", depth_infinity=False)
        lock(conn, alice, "a", "a")
        lock(conn, alice, "a/b", "a/b", depth_infinity=False)
        lock(conn, alice, "a-", "a-")
        lock(conn, alice, "old", "a", expires_s=NOW_S)
        lock(conn, bob, "bob", "a")
        lock(conn, alice, "calendars", "a", area="calendars")

        def covering(path: str) -> list[str]:
            return tokens(locks.locks_covering(conn, alice.id, "files", path, now_s=NOW_S))

        assert covering("a") == ["a"]
        assert covering("a/b") == ["a", "a/b"]
        assert covering("a/b/c") == covering("a/x/y/z") == ["a"]
        assert covering("") == ["home"]
        assert covering("b") == covering("A") == covering("a0") == []
        lock(conn, alice, "all", "")
        assert covering("b") == ["all"]
        assert covering("") == ["all", "home"]


def test_locks_below_are_those_on_a_path_and_under_it(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        for path in ("a", "a/b", "a/b/c", "a-", "a0", "ab"):
            lock(conn, alice, path, path)
        lock(conn, alice, "old", "a/old", expires_s=NOW_S)

        def below(path: str) -> list[str]:
            return tokens(locks.locks_below(conn, alice.id, "files", path, now_s=NOW_S))

        assert below("a") == ["a", "a/b", "a/b/c"]
        assert below("a/b") == ["a/b", "a/b/c"]
        assert len(below("")) == 6
        locks.remove_locks_below(conn, alice.id, "files", "a/b")
        assert below("") == ["a", "a-", "a0", "ab"]
        assert locks.purge_locks(conn, NOW_S) == 1
        assert locks.purge_locks(conn, NOW_S + 60) == 4
