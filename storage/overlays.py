"""Overlays: what a reader keeps for himself at an object of somebody else, beside the object."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.collections import _COLUMNS, _collection
from storage.engine import Conn, Statement, one_of
from storage.records import Collection

_l = schema.overlays
_o = schema.objects
_c = schema.collections
_a = schema.accounts


def of_objects(conn: Conn, account_id: int, object_ids: Iterable[int]) -> dict[int, tuple[str, bytes]]:
    """By object: (digest, content) of what the account keeps there. One statement."""
    rows = _OF_OBJECTS.all(conn, account_id=account_id, ids=conn.array(object_ids))
    return {row[0]: (row[1], row[2]) for row in rows}


def in_collection(conn: Conn, account_id: int, collection_id: int) -> dict[int, tuple[str, bytes]]:
    """As of_objects, for all members of a collection at which the account keeps anything. One statement."""
    rows = _IN_COLLECTION.all(conn, account_id=account_id, collection_id=collection_id)
    return {row[0]: (row[1], row[2]) for row in rows}


def etags_in_collection(conn: Conn, account_id: int, collection_id: int) -> dict[str, str]:
    """By entity tag of a member, of those at which the account keeps anything: the digest of that. One statement."""
    return dict(_ETAGS.all(conn, account_id=account_id, collection_id=collection_id))


def of_account(conn: Conn, account_id: int, *, batch: int = 100) -> Iterator[tuple[Collection, str, str, bytes]]:
    """(collection, name, UID or "", content) of all that an account keeps at objects of others, in a lasting order.

    One statement for each batch, which is what is in memory.
    """
    after = 0
    while True:
        rows = _OF_ACCOUNT.all(conn, account_id=account_id, after=after, n=batch)
        for row in rows:
            yield _collection(row[4:]), row[1], row[2] or "", row[3]
        if len(rows) < batch:
            return
        after = rows[-1][0]


def set_overlay(conn: Conn, object_id: int, account_id: int, digest: str, content: bytes) -> bool:
    """Keep this, or with b"" nothing, for the account at an object. Whether that is another than before.

    Needs: a write transaction, in which the caller gives the object a new change number.
    """
    if not content:
        return bool(_REMOVE.run(conn, object_id=object_id, account_id=account_id))
    return bool(_SET.run(conn, object_id=object_id, account_id=account_id, digest=digest, content=content))


def used_bytes(conn: Conn, account_id: int, *, without: int) -> int:
    """How much the account keeps at all objects but one. One statement."""
    return int(_USED.scalar(conn, account_id=account_id, without=without))


_of_account = _l.c.account_id == sa.bindparam("account_id")
_columns = (_l.c.object_id, _l.c.digest, _l.c.content)
_OF_OBJECTS = Statement(sa.select(*_columns).where(_of_account, one_of(_l.c.object_id, "ids", integers=True)))
_IN_COLLECTION = Statement(
    sa.select(*_columns)
    .select_from(_l.join(_o, _o.c.id == _l.c.object_id))
    .where(_of_account, _o.c.collection_id == sa.bindparam("collection_id"))
)
_ETAGS = Statement(
    sa.select(_o.c.etag, _l.c.digest)
    .select_from(_l.join(_o, _o.c.id == _l.c.object_id))
    .where(_l.c.account_id == sa.bindparam("account_id"), _o.c.collection_id == sa.bindparam("collection_id"))
)
_OF_ACCOUNT = Statement(
    sa.select(_l.c.object_id, _o.c.name, _o.c.uid, _l.c.content, *_COLUMNS)
    .select_from(
        _l.join(_o, _o.c.id == _l.c.object_id)
        .join(_c, _c.c.id == _o.c.collection_id)
        .join(_a, _a.c.id == _c.c.owner_id)
    )
    .where(_of_account, _l.c.object_id > sa.bindparam("after"), _c.c.deleted_s.is_(None))
    .order_by(_l.c.object_id)
    .limit(sa.bindparam("n"))
)
_REMOVE = Statement(_l.delete().where(_l.c.object_id == sa.bindparam("object_id"), _of_account))
_USED = Statement(
    sa.select(sa.func.coalesce(sa.func.sum(sa.func.length(_l.c.content)), 0)).where(
        _of_account, _l.c.object_id != sa.bindparam("without")
    )
)
_values: dict[str, Any] = {name: sa.bindparam(name) for name in ("object_id", "account_id", "digest", "content")}
_on_sqlite, _on_postgresql = sqlite.insert(_l).values(_values), postgresql.insert(_l).values(_values)
_keys = ["object_id", "account_id"]
_SET = Statement(
    sqlite=_on_sqlite.on_conflict_do_update(
        index_elements=_keys,
        set_={"digest": _on_sqlite.excluded.digest, "content": _on_sqlite.excluded.content},
        where=_l.c.digest != _on_sqlite.excluded.digest,
    ),
    postgresql=_on_postgresql.on_conflict_do_update(
        index_elements=_keys,
        set_={"digest": _on_postgresql.excluded.digest, "content": _on_postgresql.excluded.content},
        where=_l.c.digest != _on_postgresql.excluded.digest,
    ),
)
