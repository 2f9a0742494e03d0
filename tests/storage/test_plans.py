"""No statement of the request path looks at more rows than it has to: SQLite says which index it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType

import pytest

from storage import accounts, blobs, collections, locks, objects, properties, purge
from storage.engine import Statement, Store, open_store, transaction

MODULES = (accounts, blobs, collections, locks, objects, properties, purge)
ARRAYS = {"names", "ids", "line"}
# Searching all accounts for a text looks at all of them.
MAY_SCAN = {"accounts._SEARCH"}


def statements(module: ModuleType) -> Iterator[tuple[str, Statement]]:
    for name, value in sorted(vars(module).items()):
        for each in value.values() if isinstance(value, dict) else value if isinstance(value, tuple) else (value,):
            if isinstance(each, Statement):
                yield f"{module.__name__.removeprefix('storage.')}.{name}", each


def plan(store: Store, statement: Statement) -> list[str]:
    sql = statement.sql(store)
    params = {name: "[]" if name in ARRAYS else 1 for name in re.findall(r":([a-z_][a-z_0-9]*)", sql)}
    with transaction(store) as conn:
        return [str(row[3]) for row in conn.cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()]


ALL = {
    f"{name}#{number}": statement for module in MODULES for number, (name, statement) in enumerate(statements(module))
}


@pytest.fixture
def sqlite_store(sqlite_url: str) -> Iterator[Store]:
    store = open_store(sqlite_url)
    yield store
    store.close()


def test_no_statement_scans_a_table(sqlite_store: Store) -> None:
    assert len(ALL) > 80
    scans = {
        key: step
        for key, statement in ALL.items()
        for step in plan(sqlite_store, statement)
        if step.startswith("SCAN") and "json_each" not in step and "anon_" not in step
    }
    assert {key for key in scans if key.partition("#")[0] not in MAY_SCAN} == set(), scans


@pytest.mark.parametrize(
    ("statement", "steps"),
    [
        (objects._IN_RANGE, ["SEARCH objects USING INTEGER PRIMARY KEY", *["SEARCH instances USING PRIMARY KEY"] * 4]),
        (
            objects._OUT_OF_REACH,
            [
                "SEARCH objects USING INTEGER PRIMARY KEY",
                "SEARCH late USING INDEX ix_objects_indexed_to (collection_id=? AND indexed_to_s<?)",
                "SEARCH early USING INDEX ix_objects_indexed_from (collection_id=? AND indexed_from_s>?)",
            ],
        ),
        (
            objects._BY_BOUNDS_VEVENT,
            ["SEARCH objects USING INDEX ix_objects_bounds", "SEARCH instances USING COVERING"],
        ),
        (objects._OF_COMPONENT, ["SEARCH objects USING INDEX ix_objects_bounds (collection_id=? AND component=?)"]),
        (objects._UNREADABLE, ["SEARCH objects USING INDEX ix_objects_unreadable (collection_id=?)"]),
        (
            objects._CHANGES,
            [
                "SEARCH objects USING INDEX ux_objects_change_seq (collection_id=? AND change_seq>?)",
                "SEARCH tombstones USING COVERING INDEX ux_tombstones_change_seq (collection_id=? AND change_seq>?)",
            ],
        ),
        (
            objects._FIND,
            [
                "SEARCH objects USING INDEX ux_objects_name (collection_id=? AND name=?)",
                "SEARCH objects USING INDEX ux_objects_uid (collection_id=? AND uid=?)",
            ],
        ),
        (objects._BY_NAMES, ["SEARCH objects USING INDEX ux_objects_name (collection_id=? AND name=?)"]),
        (objects._ITER_COMPONENT, ["SEARCH objects USING INDEX ux_objects_name (collection_id=? AND name>?)"]),
        (objects._TO_EXTEND, ["SEARCH objects USING INDEX ix_objects_horizon (indexed_to_s<?)"]),
        (
            collections._RESOLVE,
            ["SEARCH accounts USING INDEX ux_accounts_name_key", "SEARCH collections USING INDEX ux_collections_path"],
        ),
        (
            collections._IDS_BELOW,
            ["SEARCH collections USING INDEX ux_collections_path (owner_id=? AND area=? AND path>?"],
        ),
        (locks._COVERING, ["SEARCH locks USING INDEX ix_locks_path (owner_id=? AND area=? AND path=?)"]),
        (locks._BELOW, ["SEARCH locks USING INDEX ix_locks_path (owner_id=? AND area=? AND path>? AND path<?)"]),
    ],
)
def test_the_right_index_is_taken(sqlite_store: Store, statement: Statement, steps: list[str]) -> None:
    taken = [step for step in plan(sqlite_store, statement) if step.startswith("SEARCH")]
    taken = [step for step in taken if "bodies" not in step and "collections USING INTEGER" not in step]
    assert len(taken) == len(steps), taken
    for step, expected in zip(taken, steps, strict=True):
        assert step.startswith(expected)


def test_in_range_does_not_sort_or_build_an_index(sqlite_store: Store) -> None:
    for statement in (objects._IN_RANGE, objects._BUSY, objects._CHANGES, objects._FIRST_CHANGES, objects._LIST):
        assert not [step for step in plan(sqlite_store, statement) if "TEMP B-TREE" in step or "AUTOMATIC" in step]
