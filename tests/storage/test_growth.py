"""No statement of the program walks through a table that grows: every one of them is looked at, on both engines.

SQLite says which index it takes. PostgreSQL is made to believe in tables of many rows, and says what it would do. What
does walk stands in a list here, with its reason.
"""

from __future__ import annotations

import importlib
import json
import pkgutil
import re
from collections.abc import Iterator
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql

import storage
from storage import schema
from storage.engine import Conn, Statement, Store, open_store, transaction

# Commands of an administrator, who waits and is told so: the store is read through on purpose.
BY_HAND = {"check", "migrate", "statistics"}
# What was found before and is then looked through: names of subqueries and of common table expressions.
FOUND = {"above", "acting", "chosen", "down", "inside", "pairs", "said", "up"}
# Tables with a row for a worker, a job, or a fact of the whole store.
SMALL = {"alembic_version", "jobs", "store_meta", "workers"}
# Read through by PostgreSQL alone, when an account is removed: what is locked at the moment.
SMALL_ON_POSTGRESQL = SMALL | {"locks"}
# module.name of a statement → why it may read a table through.
WALKS: dict[str, str] = {
    "accounts._SEARCH": "a text anywhere in a name: 1.2 µs for each account",
    "feeds_in._SUBSCRIBED": "the job that follows subscriptions of Apple's programs, where it is turned on",
    "feeds_in._WITH": "the same",
    "groups._ALL": "the job that compares groups with a directory",
    "mailcopy._READ": "the copy of all accounts for a mail server, where it is turned on",
    "objects._UNCLASSIFIED": "its index holds only what it looks for",
    "groups._LIST": "a list that an administrator asks for",
    "shares._LIST": "a list that an administrator asks for",
}
# The same for PostgreSQL alone, which takes a third of the rows to be meant by a comparison with a parameter.
WALKS_ON_POSTGRESQL = WALKS | {
    "accounts._LIST": "a page of all accounts, of a length that it does not know",
    "feeds_in._ALL": "a list that an administrator asks for",
    "feeds_in._ANY_DUE": "it takes a third of all feeds to be due",
    "feeds_in._TAKE": "the same",
    "inbound._TRIM": "the newest messages of one account, from the newest of all",
    "meetings._OLD_ITEMS": "the rows made up here have no inbox",
    "shares._GIVEN_TO_ALL": "what everybody may see, all of it, from an index of that alone",
    "shares._WITH": "the same",
}


def statements() -> Iterator[tuple[str, Statement]]:
    """Every statement that a module of the store has, by module and name."""
    for info in pkgutil.iter_modules(storage.__path__):
        if info.ispkg:
            continue
        module = importlib.import_module(f"storage.{info.name}")
        for name, value in sorted(vars(module).items()):
            for each in _inside(value):
                yield f"{info.name}.{name}", each


def _inside(value: object) -> Iterator[Statement]:
    if isinstance(value, Statement):
        yield value
    elif isinstance(value, dict):
        for each in value.values():
            yield from _inside(each)
    elif isinstance(value, list | tuple):
        for each in value:
            yield from _inside(each)


ALL = list(statements())


def judged() -> Iterator[tuple[str, Statement]]:
    for key, statement in ALL:
        if key.partition(".")[0] not in BY_HAND:
            yield key, statement


def walks_on_sqlite(conn: Conn, statement: Statement) -> list[str]:
    if statement._core["sqlite"] is None:
        return []
    sql = statement.sql(conn.store)
    params = dict.fromkeys(re.findall(r":([a-z_][a-z_0-9]*)", sql), 1)
    params |= dict.fromkeys(re.findall(r"json_each\(:([a-z_][a-z_0-9]*)", sql), "[]")  # type: ignore[arg-type]
    steps = [str(row[3]) for row in conn.cursor.execute(f"EXPLAIN QUERY PLAN {sql}", params).fetchall()]
    found = []
    for step in steps:
        match = re.match(r"SCAN (\w+)", step)
        if match and not re.match(r"SCAN (CONSTANT|json_each|anon_)", step) and match[1] not in FOUND | SMALL:
            found.append(step)
        automatic = re.match(r"SEARCH (\w+) USING AUTOMATIC", step)
        if automatic and automatic[1] not in FOUND:
            found.append(step)
    return found


def walks_on_postgresql(conn: Conn, statement: Statement) -> list[str]:
    if statement._core["postgresql"] is None:
        return []
    sql = statement.sql(conn.store)
    names = list(dict.fromkeys(re.findall(r"%\(([a-z_0-9]+)\)s", sql)))
    numbered = re.sub(r"%\(([a-z_0-9]+)\)s", lambda match: f"${names.index(match[1]) + 1}", sql)
    conn.cursor.execute(f"PREPARE asked AS {numbered}")
    values = f"({', '.join(['NULL'] * len(names))})" if names else ""
    try:
        conn.cursor.execute(f"EXPLAIN (FORMAT JSON) EXECUTE asked {values}")
        (answer,) = conn.cursor.fetchone()
    finally:
        conn.cursor.execute("DEALLOCATE asked")
    plan = answer if isinstance(answer, list) else json.loads(answer)
    return list(_walks(plan[0]["Plan"]))


def _walks(node: dict[str, Any]) -> Iterator[str]:
    table, kind = node.get("Relation Name"), node["Node Type"]
    bounded = "Index Cond" in node or "TID Cond" in node or kind == "Bitmap Heap Scan"
    if table is not None and "Scan" in kind and table not in SMALL_ON_POSTGRESQL and not bounded:
        yield f"{kind} {node.get('Index Name', '')} on {table}"
    for child in node.get("Plans", ()):
        yield from _walks(child)


def test_every_module_with_statements_is_looked_at() -> None:
    modules = {key.partition(".")[0] for key, _ in ALL}
    assert {
        "objects",
        "meetings",
        "purge",
        "guard",
        "audit",
        "jobs",
        "app_passwords",
        "overlays",
        "imported",
    } <= modules
    assert len(ALL) > 400


def test_no_statement_walks_through_a_table_on_sqlite(sqlite_url: str) -> None:
    store = open_store(sqlite_url)
    try:
        with transaction(store) as conn:
            found = {(key, step) for key, statement in judged() for step in walks_on_sqlite(conn, statement)}
    finally:
        store.close()
    assert {(key, step) for key, step in found if key not in WALKS} == set()


def test_no_statement_walks_through_a_table_on_postgresql(postgresql_database: Any) -> None:
    url, empty = postgresql_database
    empty()
    store = open_store(str(url), threads=2)
    try:
        pretend(store)
        found = set(postgresql_walks(store))
    finally:
        store.close()
    assert {(key, step) for key, step in found if key not in WALKS_ON_POSTGRESQL} == set()


def pretend(store: Store) -> None:
    """A few rows in every table, statistics of them, and the belief that there are a thousand times as many."""
    with transaction(store, write=True) as conn:
        conn.cursor.execute("SET LOCAL session_replication_role = replica")  # references need not lead anywhere
        for table in schema.metadata.sorted_tables:
            if table.name in SMALL:
                continue
            columns = {column.name: _made_up(column) for column in table.c}
            conn.cursor.execute(
                f"INSERT INTO {table.name} ({', '.join(columns)})"
                f" SELECT {', '.join(columns.values())} FROM generate_series(1, 300) AS n"
            )
            conn.cursor.execute(f"ANALYZE {table.name}")
        conn.cursor.execute(
            "UPDATE pg_class SET reltuples = 100000, relpages = 1"
            " WHERE relnamespace = current_schema()::regnamespace AND relkind IN ('r', 'i')"
        )


def _made_up(column: sa.Column[Any]) -> str:
    """An expression over n: mostly null where it may be, few different ones where many rows share one."""
    kind = column.type.compile(postgresql.dialect())
    shared = column.name in ("collection_id", "owner_id", "account_id", "parent_id", "component", "kind", "state")
    number = "n % 60" if shared and not column.unique and not _alone(column) else "n"
    value = f"({number})::bigint" if kind == "BIGINT" else f"'x' || {number}" if "TEXT" in kind else "'x'::bytea"
    return f"CASE WHEN n % 50 = 0 THEN {value} END" if column.nullable else value


def _alone(column: sa.Column[Any]) -> bool:
    """Whether the column by itself is a key."""
    return list(column.table.primary_key.columns) == [column]


def postgresql_walks(store: Store) -> Iterator[tuple[str, str]]:
    with transaction(store) as conn:
        conn.cursor.execute("SET LOCAL plan_cache_mode = force_generic_plan")
        for key, statement in judged():
            for step in walks_on_postgresql(conn, statement):
                yield key, step


def test_the_test_sees_a_walk(sqlite_url: str) -> None:
    """That it can fail: a statement without an index is found out."""
    walk = Statement(schema.objects.select().where(schema.objects.c.size == 3))
    store = open_store(sqlite_url)
    try:
        with transaction(store) as conn:
            assert walks_on_sqlite(conn, walk) == ["SCAN objects"]
    finally:
        store.close()


@pytest.mark.parametrize("key", sorted(WALKS_ON_POSTGRESQL))
def test_what_is_excused_is_there(key: str) -> None:
    assert key in {name for name, _ in ALL}
