"""Every kind of damage is made by hand, and found."""

from __future__ import annotations

import pytest
import sqlalchemy as sa

from storage.blobs import blob_path, write_blob
from storage.check import check
from storage.engine import Statement, Store, transaction
from storage.records import Collection, ObjectIndex
from tests.storage.kit import NOW_S, event, put


def fill(store: Store, calendar: Collection, folder: Collection) -> None:
    blob = write_blob(store.blob_dir, [b"blob"])
    with transaction(store, write=True) as conn:
        put(conn, calendar, "a", b"old", event("a", (0, 9)))
        put(conn, calendar, "a", b"new", event("a", (0, 9)))
        put(conn, calendar, "b", b"b", event("b", (NOW_S, NOW_S + 9), floating=True))
        put(conn, calendar, "card", b"c", ObjectIndex(uid="c", component="VCARD", text=(("fn", "x"),)))
        put(conn, folder, "f", blob, ObjectIndex())


def test_a_sound_store_has_no_damage(store: Store, calendar: Collection, folder: Collection) -> None:
    fill(store, calendar, folder)
    assert list(check(store)) == []


TOMBSTONE = "INSERT INTO tombstones (collection_id, name, change_seq)"


@pytest.mark.parametrize(
    ("damage", "sentence"),
    [
        ("UPDATE objects SET change_seq = 99 WHERE name = 'a'", "above that of the collection"),
        ("UPDATE objects SET change_seq = -1 WHERE name = 'a'", "never given out"),
        (
            f"{TOMBSTONE} SELECT collection_id, name, 1 FROM objects WHERE name = 'a'",
            "a tombstone says",
        ),
        (
            f"{TOMBSTONE} SELECT collection_id, 'x', change_seq FROM objects WHERE name = 'a'",
            "a removal",
        ),
        (
            f"{TOMBSTONE} SELECT collection_id, 'x', 99 FROM objects WHERE name = 'a'",
            "never given out",
        ),
        ("DELETE FROM bodies", "its body is missing"),
        ("UPDATE objects SET size = size + 1 WHERE name = 'b'", "size and ETag"),
        ("UPDATE objects SET blob = 'x' WHERE name = 'b'", "size and ETag"),
        ("UPDATE object_versions SET etag = (SELECT etag FROM objects WHERE name = 'a')", "same ETag and other bytes"),
        ("UPDATE objects SET uid = 'a', uid_tie = 1 WHERE name = 'b'", "the same UID"),
        ("UPDATE objects SET last_s = 8 WHERE name = 'a'", "outside its bounds"),
        ("UPDATE objects SET first_s = 1 WHERE name = 'a'", "outside its bounds"),
        ("UPDATE instances SET collection_id = collection_id + 1", "in another collection"),
        ("DELETE FROM instances", "not in the index"),
        ("UPDATE objects SET instances_digest = 0", "not in the index"),
        ("UPDATE instances SET object_id = 99999", "in the table instances"),
        ("UPDATE cards SET object_id = 99999", "in the table cards"),
        ("INSERT INTO properties SELECT collection_id, 99999, 'p', 'x' FROM objects WHERE name = 'a'", "properties"),
        ("UPDATE collections SET parent_id = NULL WHERE path = 'work'", "not below its parent"),
        ("UPDATE accounts SET used_bytes = 1", "are counted as used"),
        ("UPDATE objects SET blob = 'gone' WHERE name = 'f'", "blob gone is missing"),
    ],
)
def test_damage_is_found(store: Store, calendar: Collection, folder: Collection, damage: str, sentence: str) -> None:
    fill(store, calendar, folder)
    with transaction(store, write=True) as conn:
        assert Statement(sa.text(damage)).run(conn) > 0
    assert any(sentence in found for found in check(store)), list(check(store))


@pytest.mark.parametrize(("data", "sentence"), [(b"blub", "other bytes"), (b"", "other bytes"), (None, "missing")])
def test_a_damaged_blob_is_found(
    store: Store, calendar: Collection, folder: Collection, data: bytes | None, sentence: str
) -> None:
    fill(store, calendar, folder)
    path = blob_path(store.blob_dir, write_blob(store.blob_dir, [b"blob"]).name)
    path.unlink() if data is None else path.write_bytes(data)
    assert [sentence in found for found in check(store)] == [True]


@pytest.mark.parametrize("store_url", ["sqlite"], indirect=True)
def test_a_damaged_sqlite_file_is_found(store: Store, calendar: Collection) -> None:
    with transaction(store, write=True) as conn:
        put(conn, calendar, "a")
    raw = store.take_reader()
    raw.execute("PRAGMA foreign_keys=OFF")
    raw.execute("DELETE FROM objects")
    raw.close()
    assert any("refers to nothing" in found for found in check(store))
