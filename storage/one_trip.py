"""Making, replacing and removing a member on PostgreSQL in one statement each, where a statement is a trip.

What put_object and delete_object do in steps, all of it or nothing. A trip costs this process as much as thirty of
SQLite's statements; a PUT of a new member takes 8 of them where it took 14.

All of these need the collection to be locked before (Conn.locked): the snapshot of a statement is older than what
another writer commits while the statement waits for the row.
"""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.engine import Conn, Statement
from storage.errors import NotFound, QuotaExceeded
from storage.records import Collection
from storage.timeindex import TimeRows

# What the statements find out by themselves.
_FOUND = ("change_seq", "secret_seq")
_COLUMNS = tuple(
    column.name for column in schema.objects.c if column.name not in ("id", "collection_id", "name", "created_s")
)
# What a version keeps of an object.
KEPT = (
    "collection_id", "name", "etag", "size", "content_type", "change_seq", "modified_s", "uid", "component",
    "schedule_tag", "summary", "blob",
)  # fmt: skip
_SINGLE = ("bucket", "sort_s", "other_s", "busy")
_RUN = ("floating", "first_s", "last_s", "step_s", "length_s", "busy")


def create(
    conn: Conn,
    collection: Collection,
    name: str,
    *,
    columns: dict[str, Any],
    body: bytes,
    times: TimeRows,
    now_s: int,
) -> tuple[int, int] | None:
    """(id, change number) of the new member; None when something has the name or the UID, and nothing was done.

    columns: all of `objects` but those that are found out here. Raises QuotaExceeded.
    """
    params = {f"single_{part}": [row[at] for row in times.singles] for at, part in enumerate(_SINGLE)}
    params |= {f"run_{part}": [row[at] for row in times.runs] for at, part in enumerate(_RUN)}
    row = _CREATE.one(
        conn, collection_id=collection.id, owner_id=collection.owner_id, name=name, content=body, now_s=now_s,
        **_values(columns), **params,
    )  # fmt: skip
    if row is None:
        return None
    change_seq, has_room, object_id = row
    if not has_room:
        raise QuotaExceeded(name)
    return int(object_id), int(change_seq)


def replace(
    conn: Conn,
    collection: Collection,
    object_id: int,
    *,
    columns: dict[str, Any],
    secret_seq: int | None,
    delta: int,
    body: bytes,
    history: bool,
    now_s: int,
) -> int:
    """The change number of a member that now has other columns and another body; not its index.

    secret_seq: None for the new change number. delta: bytes more than before. history: keep what it was. Needs: neither
    body is a blob. Raises NotFound when the collection has gone, QuotaExceeded.
    """
    row = _REPLACE.one(
        conn, collection_id=collection.id, owner_id=collection.owner_id, object_id=object_id, delta=delta,
        secret_seq=secret_seq, content=body, history=history, now_s=now_s, **_values(columns),
    )  # fmt: skip
    if row is None:
        raise NotFound(f"collection {collection.id}")
    change_seq, has_room = row
    if not has_room:
        raise QuotaExceeded(str(object_id))
    return int(change_seq)


def remove(conn: Conn, collection: Collection, object_id: int, *, history: bool, now_s: int) -> bool:
    """Removes a member with all that belongs to it, and leaves a tombstone. False when it has gone."""
    row = _REMOVE.one(
        conn, collection_id=collection.id, owner_id=collection.owner_id, object_id=object_id, history=history,
        now_s=now_s,
    )  # fmt: skip
    return row is not None


def _values(columns: dict[str, Any]) -> dict[str, Any]:
    return {f"v_{column}": columns[column] for column in _COLUMNS if column not in _FOUND}


_types = {"INTEGER": "bigint", "TEXT": "text", "BIGINT": "bigint"}
_value = {
    name: f"CAST(:v_{name} AS {_types[str(schema.objects.c[name].type)]})" for name in _COLUMNS if name not in _FOUND
}


def _create() -> str:
    value = _value | {
        "change_seq": "numbered.change_seq",
        # As objects._secret_seq, of the tombstone.
        "secret_seq": "CASE WHEN stone.secret_seq IS NULL THEN 0"
        f" WHEN COALESCE({_value['secrecy']}, 0) > COALESCE(stone.secrecy, 0) THEN numbered.change_seq"
        " ELSE stone.secret_seq END",
    }

    def rows(kind: str, parts: tuple[str, ...]) -> str:
        return ", ".join(f"CAST(:{kind}_{part} AS bigint[])" for part in parts)

    return f"""
        WITH taken AS (
            SELECT 1 FROM objects WHERE collection_id = :collection_id AND name = :name
            UNION ALL
            SELECT 1 FROM objects WHERE collection_id = :collection_id AND uid = {value["uid"]}
        ), numbered AS (
            UPDATE collections SET change_seq = change_seq + 1, modified_s = :now_s
            WHERE id = :collection_id AND deleted_s IS NULL AND NOT EXISTS (SELECT 1 FROM taken)
            RETURNING change_seq
        ), counted AS (
            UPDATE accounts SET used_bytes = used_bytes + {value["size"]}
            WHERE id = :owner_id AND EXISTS (SELECT 1 FROM numbered)
            AND (quota_bytes IS NULL OR used_bytes + {value["size"]} <= quota_bytes OR {value["size"]} <= 0)
            RETURNING id
        ), stone AS (
            DELETE FROM tombstones
            WHERE collection_id = :collection_id AND name = :name AND EXISTS (SELECT 1 FROM counted)
            RETURNING secrecy, secret_seq
        ), made AS (
            INSERT INTO objects (collection_id, name, created_s, {", ".join(_COLUMNS)})
            SELECT :collection_id, :name, :now_s, {", ".join(value[name] for name in _COLUMNS)}
            FROM numbered CROSS JOIN counted LEFT JOIN stone ON true
            RETURNING id
        ), with_body AS (
            INSERT INTO bodies (object_id, content) SELECT id, :content FROM made
        ), with_singles AS (
            INSERT INTO instances (collection_id, object_id, {", ".join(_SINGLE)})
            SELECT :collection_id, made.id, single.* FROM made CROSS JOIN unnest({rows("single", _SINGLE)}) AS single
        ), with_runs AS (
            INSERT INTO runs (collection_id, object_id, {", ".join(_RUN)})
            SELECT :collection_id, made.id, run.* FROM made CROSS JOIN unnest({rows("run", _RUN)}) AS run
        )
        SELECT numbered.change_seq, EXISTS (SELECT 1 FROM counted), (SELECT id FROM made) FROM numbered
    """


_number = """numbered AS (
            UPDATE collections SET change_seq = change_seq + 1, modified_s = :now_s
            WHERE id = :collection_id AND deleted_s IS NULL AND EXISTS (
                SELECT 1 FROM objects WHERE id = :object_id AND collection_id = :collection_id
            )
            RETURNING change_seq
        )"""


def _replace() -> str:
    value = _value | {
        "change_seq": "numbered.change_seq",
        "secret_seq": "COALESCE(CAST(:secret_seq AS bigint), numbered.change_seq)",
    }
    delta = "CAST(:delta AS bigint)"
    kept = ", ".join(KEPT)
    return f"""
        WITH {_number}, counted AS (
            UPDATE accounts SET used_bytes = used_bytes + {delta}
            WHERE id = :owner_id AND {delta} <> 0 AND EXISTS (SELECT 1 FROM numbered)
            AND (quota_bytes IS NULL OR used_bytes + {delta} <= quota_bytes OR {delta} <= 0)
            RETURNING id
        ), granted AS (
            SELECT change_seq FROM numbered WHERE {delta} = 0 OR EXISTS (SELECT 1 FROM counted)
        ), version AS (
            INSERT INTO object_versions (object_id, {kept}, content, cause, ended_s)
            SELECT objects.id, {kept}, bodies.content, 'replaced', :now_s
            FROM objects LEFT JOIN bodies ON bodies.object_id = objects.id
            WHERE objects.id = :object_id AND CAST(:history AS boolean) AND EXISTS (SELECT 1 FROM granted)
        ), changed AS (
            UPDATE objects SET {", ".join(f"{name} = {value[name]}" for name in _COLUMNS)}
            FROM granted AS numbered WHERE objects.id = :object_id
        ), with_body AS (
            UPDATE bodies SET content = :content WHERE object_id = :object_id AND EXISTS (SELECT 1 FROM granted)
        )
        SELECT change_seq, EXISTS (SELECT 1 FROM granted) FROM numbered
    """


def _remove() -> str:
    # The body is still there for `version`: what a reference takes along goes at the end of the statement.
    kept = ", ".join(f"gone.{name}" for name in KEPT)
    return f"""
        WITH {_number}, gone AS (
            DELETE FROM objects WHERE id = :object_id AND collection_id = :collection_id
            AND EXISTS (SELECT 1 FROM numbered)
            RETURNING *
        ), version AS (
            INSERT INTO object_versions (object_id, {", ".join(KEPT)}, content, cause, ended_s)
            SELECT gone.id, {kept}, bodies.content, 'deleted', :now_s
            FROM gone LEFT JOIN bodies ON bodies.object_id = gone.id WHERE CAST(:history AS boolean)
        ), singles AS (
            DELETE FROM instances WHERE object_id IN (SELECT id FROM gone)
        ), series AS (
            DELETE FROM runs WHERE object_id IN (SELECT id FROM gone)
        ), card AS (
            DELETE FROM cards WHERE collection_id = :collection_id AND object_id IN (SELECT id FROM gone)
        ), property AS (
            DELETE FROM properties WHERE collection_id = :collection_id AND object_id IN (SELECT id FROM gone)
        ), stone AS (
            INSERT INTO tombstones (collection_id, name, change_seq, secrecy, secret_seq)
            SELECT :collection_id, gone.name, numbered.change_seq, gone.secrecy, gone.secret_seq
            FROM gone CROSS JOIN numbered
        ), counted AS (
            UPDATE accounts SET used_bytes = used_bytes - gone.size FROM gone
            WHERE accounts.id = :owner_id AND gone.size <> 0
        )
        SELECT id FROM gone
    """


_CREATE = Statement(postgresql=sa.text(_create()))
_REPLACE = Statement(postgresql=sa.text(_replace()))
_REMOVE = Statement(postgresql=sa.text(_remove()))
