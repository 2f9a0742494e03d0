"""No statement of the request path looks at more rows than it has to: SQLite says which index it takes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from types import ModuleType
from typing import Any

import pytest

from storage import (
    accounts,
    blobs,
    collections,
    derived,
    feeds_in,
    feeds_out,
    freebusy,
    groups,
    inbound,
    itip,
    links,
    locks,
    meetings,
    notices,
    objects,
    outbound,
    overlays,
    properties,
    proxies,
    purge,
    shares,
)
from storage.engine import Conn, Statement, Store, open_store, transaction
from storage.records import NewOutgoing
from tests.storage.kit import NOW_S, make_collection

MODULES = (
    accounts, blobs, collections, derived, feeds_in, feeds_out, freebusy, groups, inbound, itip, links, locks, meetings,
    notices, objects, outbound, overlays, properties, proxies, purge, shares,
)  # fmt: skip
ARRAYS = {"names", "ids", "line", "keys", "owners"}
# Searching all accounts for a text looks at all of them.
# The job that looks for subscriptions of Apple's programs does too, with its setting.
# So do the lists of all shares and of all groups, which an administrator asks for, and the job that compares groups.
MAY_SCAN = {"accounts._SEARCH", "objects._UNCLASSIFIED", "shares._LIST", "groups._LIST"}
MAY_SCAN |= {"feeds_in._SUBSCRIBED", "feeds_in._WITH", "groups._ALL"}
# What a statement has found before, and then looks through.
FOUND = {"above", "acting", "chosen", "down", "inside", "pairs", "said", "up"}


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
        if step.startswith("SCAN") and "json_each" not in step and "anon_" not in step and step.split()[1] not in FOUND
    }
    assert {key for key in scans if key.partition("#")[0] not in MAY_SCAN} == set(), scans


@pytest.mark.parametrize(
    ("statement", "steps"),
    [
        *(
            (
                statement,
                [
                    "SEARCH objects USING INTEGER PRIMARY KEY",
                    *["SEARCH instances USING PRIMARY KEY (collection_id=? AND bucket=? AND sort_s>"] * 4,
                    *["SEARCH runs USING PRIMARY KEY (collection_id=? AND floating=? AND first_s>? AND first_s<?)"] * 2,
                ],
            )
            for statement in objects._IN_RANGE.values()
        ),
        *(
            (
                statement,
                [
                    "SEARCH objects USING INTEGER PRIMARY KEY",
                    "SEARCH late USING INDEX ix_objects_indexed_to (collection_id=? AND indexed_to_s<?)",
                    "SEARCH early USING INDEX ix_objects_indexed_from (collection_id=? AND indexed_from_s>?)",
                ],
            )
            for statement in objects._OUT_OF_REACH.values()
        ),
        *(
            (
                statement,
                [
                    "SEARCH objects USING INDEX ix_objects_bounds",
                    "SEARCH instances USING COVERING",
                    "SEARCH runs USING COVERING",
                ],
            )
            for statement in objects._BY_BOUNDS_VEVENT.values()
        ),
        *(
            (statement, ["SEARCH objects USING INDEX ix_objects_bounds (collection_id=? AND component=?)"])
            for statement in objects._OF_COMPONENT.values()
        ),
        (objects._UNREADABLE, ["SEARCH objects USING INDEX ix_objects_unreadable (collection_id=?)"]),
        (
            objects._CHANGES,
            [
                "SEARCH objects USING INDEX ux_objects_change_seq (collection_id=? AND change_seq>?)",
                "SEARCH tombstones USING COVERING INDEX ux_tombstones_change_seq (collection_id=? AND change_seq>?)",
            ],
        ),
        *(
            (
                statement,
                [
                    "SEARCH objects USING INDEX ux_objects_change_seq (collection_id=? AND change_seq>?)",
                    "SEARCH tombstones USING COVERING INDEX ux_tombstones_change_seq (collection_id=? AND change_seq>",
                ],
            )
            for statement in objects._CHANGED_COLUMNS.values()
        ),
        *(
            (statement, ["SEARCH objects USING INDEX ux_objects_change_seq (collection_id=?)"])
            for statement in objects._FIRST_COLUMNS.values()
        ),
        *(
            (statement, ["SEARCH objects USING INDEX ux_objects_name (collection_id=? AND name>?)"])
            for statement in objects._LIST_COLUMNS.values()
        ),
        *(
            (statement, ["SEARCH objects USING INDEX ux_objects_name (collection_id=? AND name=?)"])
            for statement in (objects._BY_NAME_WITH_BODY, *objects._SHORT_BY_NAMES.values())
        ),
        (
            properties._USED,
            ["SEARCH properties USING PRIMARY KEY (collection_id=?)", "SEARCH collections USING"],
        ),
        (properties._ANY_OF_MEMBERS, ["SEARCH properties USING PRIMARY KEY (collection_id=? AND object_id>?)"]),
        (
            objects._FIND,
            [
                "SEARCH objects USING INDEX ux_objects_name (collection_id=? AND name=?)",
                "SEARCH objects USING INDEX ux_objects_uid (collection_id=? AND uid=?)",
                "SEARCH tombstones USING PRIMARY KEY (collection_id=? AND name=?)",
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
        *(
            (
                statement,
                [
                    "SEARCH collections USING INDEX ix_collections_owner_id (owner_id=?)",
                    "SEARCH accounts USING INTEGER PRIMARY KEY",
                    "SEARCH objects USING INDEX ux_objects_uid (collection_id=? AND uid=?)",
                ],
            )
            for statement in (objects._SCHEDULING, objects._SCHEDULING_BODIES)
        ),
        (
            outbound._CLAIM,
            [
                "SEARCH mail_queue USING INTEGER PRIMARY KEY (rowid=?)",
                "SEARCH mail_queue USING INDEX ix_mail_queue_due (not_before_s<?)",
                "SEARCH older USING INDEX ix_mail_queue_thread (uid=? AND account_id=? AND recipient_key=? AND id<?)",
            ],
        ),
        (
            outbound._NEXT_DUE,
            [
                "SEARCH mail_queue USING INDEX ix_mail_queue_due (not_before_s>?)",
                "SEARCH older USING INDEX ix_mail_queue_thread (uid=? AND account_id=? AND recipient_key=? AND id<?)",
            ],
        ),
        *(
            (statement, ["SEARCH mail_queue USING INDEX ix_mail_queue_thread (uid=? AND account_id=? AND recipient"])
            for statement in (outbound._PAST, outbound._THREAD, outbound._LAST_SENT)
        ),
        (outbound._COUNTS["account_id",], ["SEARCH mail_queue USING COVERING INDEX ix_mail_queue_sent (account_id=?"]),
        (outbound._COUNTS[()], ["SEARCH mail_queue USING INDEX ix_mail_queue_ended_s (ended_s>?)"]),
        (outbound._LISTS["uid", "state"], ["SEARCH mail_queue USING INDEX ix_mail_queue_thread (uid=?)"]),
        (outbound._LISTS["state",], ["SEARCH mail_queue USING INDEX ix_mail_queue_state (state=? AND id<?)"]),
        (itip._SEEN, ["SEARCH itip_seen USING PRIMARY KEY (account_id=? AND uid=?)"]),
        (
            accounts._BY_ADDRESSES,
            [
                "SEARCH accounts USING INTEGER PRIMARY KEY",
                "SEARCH asked USING INDEX ux_addresses_address_key (address_key=?)",
                "SEARCH addresses USING INDEX ix_addresses_account_id",
            ],
        ),
        *(
            (statement, ["SEARCH locks USING INDEX ix_locks_path (owner_id=? AND area=? AND path=?)"])
            for statement in (locks._ON_LINE, locks._ON_SHORT_LINE)
        ),
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
    columns = (*objects._CHANGED_COLUMNS.values(), *objects._FIRST_COLUMNS.values(), *objects._LIST_COLUMNS.values())
    ordered = (objects._CHANGES, objects._FIRST_CHANGES, objects._LIST, *columns)
    ledger = (outbound._CLAIM, outbound._NEXT_DUE, outbound._LISTS[()], outbound._LISTS["state",], outbound._PURGE)
    for statement in (*objects._IN_RANGE.values(), *objects._READABLE.values(), objects._BUSY, *ordered, *ledger):
        assert not [step for step in plan(sqlite_store, statement) if "TEMP B-TREE" in step or "AUTOMATIC" in step]


@pytest.mark.parametrize("known", ["the small one", "both"])
def test_postgresql_finds_changes_in_a_large_collection_by_their_number(postgresql_database: Any, known: str) -> None:
    """Whatever the planner's statistics know of: a new collection it takes to be empty, until they are made anew."""
    url, empty = postgresql_database
    empty()
    store = open_store(str(url), threads=2)
    try:
        with transaction(store, write=True) as conn:
            account = accounts.create_account(conn, "alice@x.example", now_s=NOW_S)
        small, large = (make_collection(store, account, "calendars", name, "calendar") for name in ("small", "large"))
        with transaction(store, write=True) as conn:
            conn.cursor.execute("ALTER TABLE objects SET (autovacuum_enabled = off)")
            copy_rows(conn, small.id, 20)
            if known == "the small one":
                conn.cursor.execute("ANALYZE objects")
            copy_rows(conn, large.id, 3000)
            # Other collections have lost members too: a table of a page or two is rightly read whole.
            conn.cursor.execute(
                "INSERT INTO tombstones (collection_id, name, change_seq)"
                " SELECT %s, 't' || n, 100000 + n FROM generate_series(1, 5000) AS n",
                (small.id,),
            )
            if known == "both":
                conn.cursor.execute("ANALYZE objects")
        for statement in (objects._CHANGES, *objects._CHANGED_COLUMNS.values()):
            params = {"collection_id": large.id, "since": 2999, "n": 100_001}
            for kind in ("custom", "generic"):
                with transaction(store) as conn:
                    steps = explained(conn, statement.sql(store), params, kind)
                assert re.search(r"ux_objects_change_seq .*\n.*collection_id = .*change_seq > ", steps), steps
                assert re.search(r"ux_tombstones_change_seq .*\n.*collection_id = .*change_seq > ", steps), steps
                assert "Rows Removed" not in steps, steps
    finally:
        with transaction(store, write=True) as conn:
            conn.cursor.execute("ALTER TABLE objects RESET (autovacuum_enabled)")
        store.close()


def copy_rows(conn: Conn, collection_id: int, size: int) -> None:
    """Members made by the database itself, which takes a tenth of the time that put() does."""
    conn.cursor.execute(
        "INSERT INTO objects (collection_id, name, etag, size, content_type, change_seq, created_s, modified_s, uid,"
        " uid_tie, component, readable, first_s, last_s, exact, recurs, indexed_from_s, indexed_to_s, instances_digest)"
        " SELECT %s, 'e' || n, md5(n::text), 300, 'text/calendar', n, 0, 0, 'u' || n, 0, 'VEVENT', 1, n, n, 1, 0, 0, n,"
        " 0 FROM generate_series(1, %s) AS n",
        (collection_id, size),
    )


def test_postgresql_claims_mail_without_looking_through_all_that_is_due(postgresql_database: Any) -> None:
    url, empty = postgresql_database
    empty()
    store = open_store(str(url), threads=2)
    try:
        with transaction(store, write=True) as conn:
            account = accounts.create_account(conn, "alice@x.example", now_s=NOW_S)
            items = [
                NewOutgoing(
                    account.id, f"u{number}", "", "g@x", "", "a@x", "", "REQUEST", "VEVENT", 0, "d", "", (), b"x"
                )
                for number in range(1000)
            ]  # fmt: skip
            # The statistics know of mail that was sent, and of none that is due.
            outbound.enqueue_many(conn, items[:300], now_s=NOW_S, settle_s=0, settle_max_s=0)
            for row in outbound.claim(conn, holder="w", now_s=NOW_S, lease_s=60, limit=300):
                outbound.sent(conn, row.id, message_id="<m>", answer="", now_s=NOW_S)
            conn.cursor.execute("ANALYZE mail_queue")
            outbound.enqueue_many(conn, items[300:], now_s=NOW_S, settle_s=0, settle_max_s=0)
            for statement in (outbound._CLAIM, outbound._NEXT_DUE):
                sql = statement.sql(store)
                params = {"holder": "w", "now_s": NOW_S, "until_s": NOW_S + 9, "n": 5}
                steps = explained(conn, sql, {**params, **statement._compiled["postgresql"][1]}, "custom")
                assert "ix_mail_queue_due on" in steps, steps
                assert "ix_mail_queue_thread on mail_queue older" in steps, steps
                assert "Rows Removed by Join Filter" not in steps, steps
    finally:
        store.close()


def explained(conn: Conn, sql: str, params: dict[str, Any], kind: str) -> str:
    """What PostgreSQL did. kind: a plan for these parameters, or the one that a prepared statement keeps."""
    sql = re.sub(r"::(?:VARCHAR|INTEGER|BIGINT|TEXT)", "", sql)
    names = list(dict.fromkeys(re.findall(r"%\(([a-z_0-9]+)\)s", sql)))
    numbered = re.sub(r"%\(([a-z_0-9]+)\)s", lambda match: f"${names.index(match[1]) + 1}", sql)
    conn.cursor.execute(f"SET LOCAL plan_cache_mode = force_{kind}_plan")
    conn.cursor.execute(f"PREPARE asked AS {numbered}")
    values = "({})".format(", ".join(f"'{params[name]}'" for name in names)) if names else ""
    conn.cursor.execute(f"EXPLAIN (ANALYZE, TIMING OFF) EXECUTE asked {values}")
    found = "\n".join(str(row[0]) for row in conn.cursor.fetchall())
    conn.cursor.execute("DEALLOCATE asked")
    return found
