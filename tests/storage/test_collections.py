from __future__ import annotations

import pytest

from storage import accounts, collections, objects
from storage.check import check
from storage.engine import Store, transaction
from storage.errors import NameTaken, NameTooLong, NotFound, QuotaExceeded
from storage.records import Account, Collection
from tests.storage.kit import NOW_S, make_collection, put


def make(conn, parent: Collection, name: str, **changes: object) -> Collection:  # type: ignore[no-untyped-def]
    return collections.create_collection(conn, parent, name, kind="folder", now_s=NOW_S, **changes)  # type: ignore[arg-type]


def test_resolve_finds_collection_and_parent_in_one_statement(
    store: Store, alice: Account, calendar: Collection
) -> None:
    with transaction(store) as conn:
        home = collections.home(conn, alice.id, "calendars")
        before = conn.statements
        assert collections.resolve(conn, "ALICE@x.example", "calendars", "work") == (calendar, home)
        assert conn.statements == before + 1
        assert collections.resolve(conn, "alice@x.example", "calendars", "work/a.ics") == (None, calendar)
        assert collections.resolve(conn, "alice@x.example", "calendars", "none") == (None, home)
        assert collections.resolve(conn, "alice@x.example", "calendars", "") == (home, None)
        assert collections.resolve(conn, "alice@x.example", "calendars", "a/b/c") == (None, None)
        assert collections.resolve(conn, "alice@x.example", "files", "work") != (calendar, home)
        assert collections.resolve(conn, "nobody", "calendars", "work") == (None, None)


@pytest.mark.parametrize("path", ["Work", "wor%", "wor_", "work/", "WORK", "w*", "work\0", "\ud800"])
def test_resolve_matches_paths_exactly(store: Store, calendar: Collection, path: str) -> None:
    with transaction(store) as conn:
        assert collections.resolve(conn, "alice@x.example", "calendars", path)[0] is None


def test_paths_are_compared_composed(store: Store, folder: Collection) -> None:
    with transaction(store, write=True) as conn:
        made = make(conn, folder, "u\u0308ber")
        assert made.path == "\u00fcber"
        assert collections.resolve(conn, "alice@x.example", "files", "u\u0308ber")[0] == made
        with pytest.raises(NameTaken):
            make(conn, folder, "\u00fcber")


def test_a_new_collection_keeps_what_it_was_made_with(store: Store, alice: Account) -> None:
    with transaction(store, write=True) as conn:
        home = collections.home(conn, alice.id, "calendars")
        made = collections.create_collection(
            conn, home, "tasks", kind="calendar", display_name="Täsks\0", description="d", time_zone="BEGIN:VTIMEZONE",
            time_zone_id="Europe/Berlin", components=("VTODO", "VEVENT"), transparent=True, now_s=NOW_S,
        )  # fmt: skip
    with transaction(store) as conn:
        assert collections.collection_by_id(conn, made.id) == made
    assert made.display_name == "Täsks\ufffd"
    assert (made.components, made.transparent, made.change_seq) == (("VTODO", "VEVENT"), True, 0)
    assert (made.time_zone_id, made.parent_id, made.name, made.created_s) == ("Europe/Berlin", home.id, "tasks", NOW_S)


def test_a_name_is_taken_by_a_collection_or_an_object(store: Store, folder: Collection) -> None:
    with transaction(store, write=True) as conn:
        make(conn, folder, "a")
        put(conn, folder, "file")
        for name in ("a", "file"):
            with pytest.raises(NameTaken):
                make(conn, folder, name)
    with pytest.raises(NameTaken), transaction(store, write=True) as conn:
        put(conn, folder, "a")


@pytest.mark.parametrize("name", ["", "a/b"])
def test_what_is_no_name_is_refused(store: Store, folder: Collection, name: str) -> None:
    with pytest.raises(ValueError, match="a name"), transaction(store, write=True) as conn:
        make(conn, folder, name)


def test_names_and_paths_have_a_limit(store: Store, folder: Collection) -> None:
    with pytest.raises(NameTooLong), transaction(store, write=True) as conn:
        make(conn, folder, "n" * (accounts.NAME_BYTES_MAX + 1))
    with pytest.raises(NameTooLong), transaction(store, write=True) as conn:
        put(conn, folder, "ü" * (accounts.NAME_BYTES_MAX // 2 + 1))
    with transaction(store, write=True) as conn:
        put(conn, folder, "n" * accounts.NAME_BYTES_MAX)
        first = make(conn, folder, "ü" * 500)
        second = make(conn, first, "b" * 999)
        assert make(conn, second, "c" * 399).path.count("/") == 2
    with pytest.raises(NameTooLong), transaction(store, write=True) as conn:
        make(conn, second, "d" * 400)
    with pytest.raises(NameTooLong), transaction(store, write=True) as conn:
        collections.move_collection(conn, first, make(conn, folder, "e"), "ü" * 500, now_s=NOW_S)


def test_children_come_in_a_stable_order_with_the_default_first(store: Store, folder: Collection) -> None:
    with transaction(store, write=True) as conn:
        made = [make(conn, folder, name) for name in ("z", "a", "m")]
        collections.update_collection(conn, made[2].id, position=-1, now_s=NOW_S)
        make(conn, made[0], "below")
        assert [child.name for child in collections.children(conn, folder.id)] == ["m", "z", "a"]


def test_descendants_are_all_below_parents_first(store: Store, folder: Collection) -> None:
    with transaction(store, write=True) as conn:
        a = make(conn, folder, "a")
        for name in ("a-", "a0", "aa", "a\u00e9", "A"):
            make(conn, folder, name)
        b = make(conn, a, "b")
        make(conn, a, "z")
        make(conn, b, "c")
        assert [found.path for found in collections.descendants(conn, a)] == ["a/b", "a/b/c", "a/z"]
        everything = collections.descendants(conn, folder)
        assert len(everything) == 9
        assert all(
            not one.path.startswith(f"{two.path}/") for n, one in enumerate(everything) for two in everything[n:]
        )


def test_update_bumps_only_the_properties_number(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        collections.update_collection(
            conn,
            calendar.id,
            now_s=NOW_S + 9,
            display_name="n",
            components=("VTODO",),
            transparent=True,
            description=None,
        )
        collections.touch_properties(conn, calendar.id, now_s=NOW_S + 9)
        changed = collections.collection_by_id(conn, calendar.id)
        assert changed is not None
        assert (changed.display_name, changed.components, changed.transparent) == ("n", ("VTODO",), True)
        assert (changed.props_seq, changed.change_seq) == (calendar.props_seq + 2, calendar.change_seq)
        with pytest.raises(TypeError):
            collections.update_collection(conn, calendar.id, now_s=NOW_S, change_seq=5)
        with pytest.raises(NotFound):
            collections.update_collection(conn, 999_999, now_s=NOW_S, display_name="x")


def test_a_deleted_collection_is_gone_with_all_below_and_its_name_is_free(
    store: Store, alice: Account, folder: Collection
) -> None:
    with transaction(store, write=True) as conn:
        a = make(conn, folder, "a")
        b = make(conn, a, "b")
        beside = make(conn, folder, "a0")
        put(conn, b, "x", b"12345")
        put(conn, beside, "y", b"123")
        collections.delete_collection(conn, a, now_s=NOW_S)
        assert collections.resolve(conn, "alice@x.example", "files", "a")[0] is None
        assert collections.resolve(conn, "alice@x.example", "files", "a/b/x") == (None, None)
        assert [child.name for child in collections.children(conn, folder.id)] == ["a0"]
        assert accounts.usage_bytes(conn, alice.id) == 3
        again = make(conn, folder, "a")
        assert again.id != a.id
        with pytest.raises(NotFound):
            collections.delete_collection(conn, a, now_s=NOW_S)
    for refused in (lambda conn: put(conn, b, "z"), lambda conn: make(conn, b, "z")):
        with pytest.raises(NotFound), transaction(store, write=True) as conn:
            refused(conn)
    assert list(check(store)) == []


def test_a_moved_collection_takes_all_below_along(store: Store, folder: Collection) -> None:
    with transaction(store, write=True) as conn:
        a = make(conn, folder, "ä")
        b = make(conn, a, "b")
        make(conn, b, "c")
        target = make(conn, folder, "t")
        kept = put(conn, b, "x")
        moved = collections.move_collection(conn, a, target, "new", now_s=NOW_S)
        assert (moved.id, moved.path, moved.parent_id, moved.change_seq) == (a.id, "t/new", target.id, b.change_seq + 1)
        assert [found.path for found in collections.descendants(conn, target)] == ["t/new", "t/new/b", "t/new/b/c"]
        found, _ = collections.resolve(conn, "alice@x.example", "files", "t/new/b")
        assert found is not None
        assert objects.object_by_name(conn, found.id, "x") == kept
        assert collections.resolve(conn, "alice@x.example", "files", "ä")[0] is None
    assert list(check(store)) == []


def test_a_collection_moves_neither_into_itself_nor_over_another(store: Store, folder: Collection) -> None:
    with transaction(store, write=True) as conn:
        a = make(conn, folder, "a")
        b = make(conn, a, "b")
        make(conn, folder, "c")
        put(conn, folder, "file")
        for target in (a, b):
            with pytest.raises(ValueError, match="into itself"):
                collections.move_collection(conn, a, target, "x", now_s=NOW_S)
        for name in ("c", "file"):
            with pytest.raises(NameTaken):
                collections.move_collection(conn, a, folder, name, now_s=NOW_S)
        assert collections.move_collection(conn, a, folder, "ab", now_s=NOW_S).path == "ab"


def test_moving_to_another_owner_moves_what_counts_for_the_quota(
    store: Store, alice: Account, bob: Account, folder: Collection
) -> None:
    with transaction(store, write=True) as conn:
        a = make(conn, folder, "a")
        put(conn, make(conn, a, "b"), "x", b"12345")
        target = collections.home(conn, bob.id, "files")
        accounts.update_account(conn, bob.id, quota_bytes=5)
        moved = collections.move_collection(conn, a, target, "a", now_s=NOW_S)
        assert (moved.owner_id, moved.owner_name) == (bob.id, "bob@x.example")
        assert [accounts.usage_bytes(conn, account.id) for account in (alice, bob)] == [0, 5]
    with transaction(store, write=True) as conn:
        other = make(conn, folder, "c")
        put(conn, other, "y", b"1")
    with pytest.raises(QuotaExceeded), transaction(store, write=True) as conn:
        collections.move_collection(conn, other, target, "c", now_s=NOW_S)
    assert list(check(store)) == []


def test_an_id_is_never_used_again(store: Store, alice: Account, folder: Collection) -> None:
    from storage.purge import purge

    with transaction(store, write=True) as conn:
        a = make(conn, folder, "a")
        collections.delete_collection(conn, a, now_s=NOW_S)
    purge(store, now_s=NOW_S + 10, history_s=0)
    assert make_collection(store, alice, "files", "b", "folder").id > a.id


def test_members_are_counted_without_collections(store: Store, folder: Collection) -> None:
    with transaction(store, write=True) as conn:
        make(conn, folder, "a")
        put(conn, folder, "x")
        put(conn, folder, "y", b"", objects.ObjectIndex())
        assert collections.member_count(conn, folder.id) == 2


def test_a_sync_of_the_parent_reports_a_removed_or_moved_collection_until_its_name_is_used_again(
    store: Store, folder: Collection
) -> None:
    def gone(since: int) -> list[str]:
        return [
            change.name for change in objects.changes_since(conn, folder.id, since, limit=9)[0] if not change.record
        ]

    with transaction(store, write=True) as conn:
        a, b = make(conn, folder, "a"), make(conn, folder, "b")
        inside = make(conn, b, "inside")
        start = collections.collection_by_id(conn, folder.id).change_seq  # type: ignore[union-attr]
        assert start == folder.change_seq + 2
        collections.delete_collection(conn, a, now_s=NOW_S)
        collections.move_collection(conn, b, folder, "c", now_s=NOW_S)
        assert gone(start) == ["a", "b"]
        make(conn, folder, "a")
        put(conn, folder, "b")
        assert gone(start) == []
        moved = collections.collection_by_id(conn, inside.id)
        assert moved is not None
        collections.move_collection(conn, moved, folder, "d", now_s=NOW_S)
        with pytest.raises(NotFound):
            collections.delete_collection(conn, inside, now_s=NOW_S)  # as it was before it moved
    assert list(check(store)) == []
