"""What an import has brought over, so that it can go on where it stopped, and a second run does nothing twice."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import objects, schema
from storage.engine import Conn, Statement, clean, one_of
from storage.records import ObjectRecord

_m = schema.imported


@dataclass(frozen=True, slots=True)
class Imported:
    """One thing that was brought over.

    item: where it was there, unique in its source. version: what tells there whether it has changed. target: its name
    here, "" for what was left out. here: what told here whether it has changed, when it was put here.
    """

    item: str
    version: str
    target: str
    here: str


def below(conn: Conn, account_id: int, source: str, folder: str) -> dict[str, Imported]:
    """What was brought over from one source whose item begins with `folder` and a slash, by item. One statement."""
    rows = _BELOW.all(
        conn, account_id=account_id, source=clean(source), low=f"{clean(folder)}/", high=f"{clean(folder)}0"
    )
    return {row[0]: Imported(*row) for row in rows}


def one(conn: Conn, account_id: int, source: str, item: str) -> Imported | None:
    """One item of a source. One statement."""
    row = _ONE.one(conn, account_id=account_id, source=clean(source), item=clean(item))
    return None if row is None else Imported(*row)


def remember(conn: Conn, account_id: int, source: str, rows: Iterable[Imported], *, now_s: int) -> None:
    """Write down what was brought over, in the place of what stood there of the same items."""
    _REMEMBER.many(
        conn,
        [
            {
                "account_id": account_id, "source": clean(source), "item": clean(row.item),
                "etag": clean(row.version), "target": clean(row.target), "here": clean(row.here), "at_s": now_s,
            }
            for row in rows
        ],
    )  # fmt: skip


def forget(conn: Conn, account_id: int, source: str, items: Iterable[str]) -> None:
    """Forget these items of a source. One statement."""
    _FORGET.run(conn, account_id=account_id, source=clean(source), items=conn.array(clean(item) for item in items))


def forget_all(conn: Conn, account_id: int, source: str) -> int:
    """Forget all that came from a source; returns how many items that were."""
    return _FORGET_ALL.run(conn, account_id=account_id, source=clean(source))


def in_the_way(conn: Conn, collection_id: int, names: Iterable[str], uids: Iterable[str]) -> list[ObjectRecord]:
    """The members of a collection that have one of these names or one of these UIDs, in no order. Two statements."""
    found = objects.objects_by_names(conn, collection_id, names)
    known = {record.id for record in found}
    wanted = conn.array(objects.stored_uid(uid) for uid in uids)
    rows = _BY_UIDS.all(conn, collection_id=collection_id, uids=wanted)
    return [*found, *(record for record in map(objects._record, rows) if record.id not in known)]


_key: tuple[sa.ColumnElement[bool], ...] = (
    _m.c.account_id == sa.bindparam("account_id"),
    _m.c.source == sa.bindparam("source"),
)
_COLUMNS = (_m.c.item, _m.c.etag, _m.c.target, _m.c.here)
_BELOW = Statement(
    sa.select(*_COLUMNS).where(*_key, _m.c.item >= sa.bindparam("low"), _m.c.item < sa.bindparam("high"))
)
_ONE = Statement(sa.select(*_COLUMNS).where(*_key, _m.c.item == sa.bindparam("item")))
_FORGET = Statement(_m.delete().where(*_key, one_of(_m.c.item, "items")))
_FORGET_ALL = Statement(_m.delete().where(*_key))
_names = ("account_id", "source", "item", "etag", "target", "here", "at_s")
_values: dict[str, Any] = {name: sa.bindparam(name) for name in _names}
_changed = ("etag", "target", "here", "at_s")
_on_sqlite = sqlite.insert(_m).values(_values)
_on_postgresql = postgresql.insert(_m).values(_values)
_REMEMBER = Statement(
    sqlite=_on_sqlite.on_conflict_do_update(
        index_elements=list(_names[:3]), set_={name: _on_sqlite.excluded[name] for name in _changed}
    ),
    postgresql=_on_postgresql.on_conflict_do_update(
        index_elements=list(_names[:3]), set_={name: _on_postgresql.excluded[name] for name in _changed}
    ),
)
_BY_UIDS = Statement(
    sa.select(*objects._RECORD).where(
        schema.objects.c.collection_id == sa.bindparam("collection_id"), one_of(schema.objects.c.uid, "uids")
    )
)
