from __future__ import annotations

import hashlib
import os
from collections import deque
from pathlib import Path

import pytest

from storage import collections, locks, objects, properties
from storage.blobs import BlobWriter, blob_path, names_on_disk, open_blob, purge_blobs, write_blob
from storage.check import check
from storage.engine import Statement, Store, transaction
from storage.errors import NotFound
from storage.purge import Purged, delete_versions_of_member, purge
from storage.records import Account, Collection, Lock, ObjectIndex
from storage.schema import metadata
from tests.storage.kit import NOW_S, event, make_collection, put

DAY_S = 86400


def rows(store: Store) -> dict[str, int]:
    """Number of rows in each table that has any."""
    with transaction(store) as conn:
        counts = {table.name: len(Statement(table.select()).all(conn)) for table in metadata.sorted_tables}
    return {name: count for name, count in counts.items() if count}


def age(store: Store, name: str, seconds: int) -> None:
    os.utime(blob_path(store.blob_dir, name), (NOW_S - seconds, NOW_S - seconds))


def test_a_blob_is_named_by_its_bytes_and_read_back(tmp_path: Path) -> None:
    chunks = [os.urandom(70_000), b"", b"end"]
    blob = write_blob(tmp_path / "new" / "files", chunks)
    data = b"".join(chunks)
    assert (blob.name, blob.size) == (hashlib.sha256(data).hexdigest(), len(data))
    with open_blob(tmp_path / "new" / "files", blob.name) as file:
        assert file.read() == data
    assert write_blob(tmp_path / "new" / "files", [data]) == blob
    assert list(names_on_disk(tmp_path / "new" / "files")) == [blob.name]
    assert os.listdir(tmp_path / "new" / "files" / "incoming") == []


def test_an_unfinished_blob_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(TypeError), BlobWriter(tmp_path) as writer:
        deque(writer.write(chunk) for chunk in (b"half", None))  # type: ignore[arg-type]
    assert list(names_on_disk(tmp_path)) == []
    assert os.listdir(tmp_path / "incoming") == []


def test_a_sealed_blob_is_found_by_nobody_until_it_is_placed(tmp_path: Path) -> None:
    with BlobWriter(tmp_path) as refused:
        refused.write(b"data")
        blob = refused.seal()
        with pytest.raises(NotFound):
            open_blob(tmp_path, blob.name)
    assert os.listdir(tmp_path / "incoming") == []
    with BlobWriter(tmp_path) as kept:
        kept.write(b"data")
        assert kept.seal() == blob
        kept.place()
        kept.place()
    kept.abort()
    assert list(names_on_disk(tmp_path)) == [blob.name]


@pytest.mark.parametrize("name", ["../../etc/passwd", "", "A" * 64, "0" * 63, "0" * 64 + "\n"])
def test_what_is_no_blob_name_opens_no_file(tmp_path: Path, name: str) -> None:
    with pytest.raises(ValueError, match="not a blob"):
        open_blob(tmp_path, name)


def test_a_missing_blob_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFound):
        open_blob(tmp_path, "0" * 64)


def test_an_orphan_goes_after_two_looks_with_time_between_them(store: Store) -> None:
    blob = write_blob(store.blob_dir, [b"orphan"])
    age(store, blob.name, 3 * DAY_S)
    assert purge_blobs(store, now_s=NOW_S) == 0
    assert purge_blobs(store, now_s=NOW_S + DAY_S - 1) == 0
    assert purge_blobs(store, now_s=NOW_S + DAY_S) == 1
    assert list(names_on_disk(store.blob_dir)) == []
    assert "orphan_blobs" not in rows(store)


def test_a_young_orphan_stays_for_the_request_that_is_about_to_use_it(store: Store) -> None:
    blob = write_blob(store.blob_dir, [b"orphan"])
    age(store, blob.name, DAY_S - 10)
    assert purge_blobs(store, now_s=NOW_S) == 0
    assert "orphan_blobs" not in rows(store)
    age(store, blob.name, 3 * DAY_S)
    purge_blobs(store, now_s=NOW_S)
    write_blob(store.blob_dir, [b"orphan"])  # somebody uploads the same bytes again
    age(store, blob.name, -2 * DAY_S)
    assert purge_blobs(store, now_s=NOW_S + 2 * DAY_S) == 0
    assert list(names_on_disk(store.blob_dir)) == [blob.name]


def test_a_blob_that_is_used_again_between_two_looks_stays(store: Store, folder: Collection) -> None:
    blob = write_blob(store.blob_dir, [b"used"])
    age(store, blob.name, 3 * DAY_S)
    purge_blobs(store, now_s=NOW_S)
    with transaction(store, write=True) as conn:
        put(conn, folder, "f", blob, ObjectIndex())
    assert purge_blobs(store, now_s=NOW_S + 9 * DAY_S) == 0
    assert "orphan_blobs" not in rows(store)
    assert list(check(store)) == []


def test_a_blob_of_an_earlier_version_stays_as_long_as_that(store: Store, folder: Collection) -> None:
    blob = write_blob(store.blob_dir, [b"earlier"])
    age(store, blob.name, 3 * DAY_S)
    with transaction(store, write=True) as conn:
        put(conn, folder, "f", blob, ObjectIndex())
        put(conn, folder, "f", b"now", ObjectIndex())
    for day in range(3):
        assert purge(store, now_s=NOW_S + day * DAY_S, history_s=30 * DAY_S).blobs == 0
    assert purge(store, now_s=NOW_S + 30 * DAY_S, history_s=30 * DAY_S) == Purged(0, 0, 1, 0, 0)
    assert purge(store, now_s=NOW_S + 31 * DAY_S, history_s=30 * DAY_S) == Purged(0, 0, 0, 0, 1)


def test_abandoned_uploads_are_removed(store: Store) -> None:
    writer = BlobWriter(store.blob_dir)
    writer.write(b"x")
    assert purge_blobs(store, now_s=NOW_S - 3 * 365 * DAY_S) == 0
    assert len(os.listdir(store.blob_dir / "incoming")) == 1
    path = next((store.blob_dir / "incoming").iterdir())
    os.utime(path, (NOW_S - 2 * DAY_S, NOW_S - 2 * DAY_S))
    assert purge_blobs(store, now_s=NOW_S) == 1
    assert os.listdir(store.blob_dir / "incoming") == []
    writer.abort()


def test_purging_many_orphans_goes_in_batches(store: Store, folder: Collection) -> None:
    kept = write_blob(store.blob_dir, [b"kept"])
    for number in range(25):
        write_blob(store.blob_dir, [str(number).encode()])
    with transaction(store, write=True) as conn:
        put(conn, folder, "f", kept, ObjectIndex())
    for name in list(names_on_disk(store.blob_dir)):
        age(store, name, 3 * DAY_S)
    assert purge_blobs(store, now_s=NOW_S, batch=4) == 0
    assert purge_blobs(store, now_s=NOW_S + DAY_S, batch=4) == 25
    assert list(names_on_disk(store.blob_dir)) == [kept.name]


def test_a_deleted_collection_stays_for_the_history_and_then_goes_whole(
    store: Store, alice: Account, calendar: Collection
) -> None:
    empty = rows(store)
    doomed = make_collection(store, alice, "calendars", "doomed", "calendar")
    with transaction(store, write=True) as conn:
        for number in range(23):
            record = put(conn, doomed, f"{number}", b"x", event(f"{number}", (0, 9)))
        card = put(conn, doomed, "card", b"x", ObjectIndex(uid="c", component="VCARD", text=(("fn", "x"),)))
        put(conn, doomed, "card", b"y", ObjectIndex(uid="c", component="VCARD", text=(("fn", "x"),)))
        objects.delete_object(conn, doomed, record, now_s=NOW_S)
        properties.set_property(conn, doomed.id, "{x}p", "<p/>")
        properties.set_property(conn, doomed.id, "{x}p", "<p/>", object_id=card.id)
        collections.delete_collection(conn, doomed, now_s=NOW_S)
    assert purge(store, now_s=NOW_S + 99, history_s=100).collections == 0
    assert len(rows(store)) > len(empty)
    assert purge(store, now_s=NOW_S + 100, history_s=100, batch=5) == Purged(1, 23, 0, 0, 0)
    left = rows(store)
    assert left.pop("tombstones") == 1  # in the home, whose readers learn from it that the collection has gone
    assert left == empty
    assert list(check(store)) == []


def test_versions_and_locks_go_when_their_time_has_come(store: Store, alice: Account, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        for number in range(12):
            put(conn, calendar, "a", str(number).encode(), now_s=NOW_S + number)
        locks.create_lock(conn, Lock("t", alice.id, "files", "x", False, False, alice.id, "", 60, NOW_S + 60))
        locks.create_lock(conn, Lock("u", alice.id, "files", "x", False, False, alice.id, "", 60, NOW_S + 600))
    assert purge(store, now_s=NOW_S + 105, history_s=100, batch=2) == Purged(0, 0, 5, 1, 0)
    assert rows(store)["object_versions"] == 6
    with transaction(store, write=True) as conn:
        assert delete_versions_of_member(conn, calendar.id, "a") == 6
    assert "object_versions" not in rows(store)
