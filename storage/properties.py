"""Dead properties, and live ones with nested XML, kept as they were sent. Names are Clark names."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.accounts import NAME_BYTES_MAX
from storage.engine import Conn, Statement, byte_length, clean, one_of
from storage.errors import NameTooLong

_p = schema.properties


def get_properties(conn: Conn, collection_id: int, *, object_id: int = 0) -> dict[str, str]:
    """Name → XML of the whole element, of a collection or one of its members. One statement."""
    return dict(_OF_ONE.all(conn, collection_id=collection_id, object_id=object_id))


def get_many(conn: Conn, collection_ids: list[int]) -> dict[int, dict[str, str]]:
    """Properties of the collections themselves, by collection id; those without any are left out. One statement."""
    return _grouped(_OF_MANY.all(conn, ids=conn.array(collection_ids)))


def get_of_members(conn: Conn, collection_id: int) -> dict[int, dict[str, str]]:
    """Properties of a collection's members, by object id; those without any are left out. One statement."""
    return _grouped(_OF_MEMBERS.all(conn, collection_id=collection_id))


def any_of_members(conn: Conn, collection_id: int) -> bool:
    """Whether any member of a collection has properties. One statement."""
    return _ANY_OF_MEMBERS.one(conn, collection_id=collection_id) is not None


def used_bytes(conn: Conn, owner_id: int) -> int:
    """Sum of the sizes of all properties in an account's collections, as UTF-8. One statement, which reads them."""
    return int(_USED.scalar(conn, owner_id=owner_id))


def set_property(conn: Conn, collection_id: int, name: str, xml: str | None, *, object_id: int = 0) -> None:
    """Set a property, or remove it with None. Raises NameTooLong. collections.touch_properties counts the change."""
    name = clean(name)
    if len(name.encode()) > NAME_BYTES_MAX:
        raise NameTooLong(name[:40])
    if xml is None:
        _REMOVE.run(conn, collection_id=collection_id, object_id=object_id, name=name)
    else:
        _SET.run(conn, collection_id=collection_id, object_id=object_id, name=name, xml=clean(xml))


def copy_properties(conn: Conn, collection_id: int, new_collection_id: int) -> None:
    """Give a collection the properties of another one itself (RFC 4918 §9.8.2). One statement."""
    _COPY.run(conn, collection_id=collection_id, new_collection=new_collection_id)


def _grouped(rows: list[tuple[Any, ...]]) -> dict[int, dict[str, str]]:
    found: dict[int, dict[str, str]] = {}
    for key, name, xml in rows:
        found.setdefault(key, {})[name] = xml
    return found


_here = _p.c.collection_id == sa.bindparam("collection_id")
_one = (_here, _p.c.object_id == sa.bindparam("object_id"))
_OF_ONE = Statement(sa.select(_p.c.name, _p.c.xml).where(*_one).order_by(_p.c.name))
_OF_MANY = Statement(
    sa.select(_p.c.collection_id, _p.c.name, _p.c.xml)
    .where(one_of(_p.c.collection_id, "ids", integers=True), _p.c.object_id == 0)
    .order_by(_p.c.collection_id, _p.c.name)
)
_OF_MEMBERS = Statement(
    sa.select(_p.c.object_id, _p.c.name, _p.c.xml).where(_here, _p.c.object_id > 0).order_by(_p.c.object_id, _p.c.name)
)
_ANY_OF_MEMBERS = Statement(sa.select(_p.c.object_id).where(_here, _p.c.object_id > 0).limit(sa.literal_column("1")))
_USED = Statement(
    sa.select(sa.func.coalesce(sa.func.sum(byte_length(_p.c.xml)), 0)).where(
        _p.c.collection_id.in_(
            sa.select(schema.collections.c.id).where(
                schema.collections.c.owner_id == sa.bindparam("owner_id"), schema.collections.c.deleted_s.is_(None)
            )
        )
    )
)
_values: dict[str, Any] = {name: sa.bindparam(name) for name in ("collection_id", "object_id", "name", "xml")}
_key = ["collection_id", "object_id", "name"]
_on_sqlite = sqlite.insert(_p).values(_values)
_on_postgresql = postgresql.insert(_p).values(_values)
_SET = Statement(
    sqlite=_on_sqlite.on_conflict_do_update(index_elements=_key, set_={"xml": _on_sqlite.excluded.xml}),
    postgresql=_on_postgresql.on_conflict_do_update(index_elements=_key, set_={"xml": _on_postgresql.excluded.xml}),
)
_REMOVE = Statement(_p.delete().where(*_one, _p.c.name == sa.bindparam("name")))
_COPY = Statement(
    _p.insert().from_select(
        ["collection_id", "object_id", "name", "xml"],
        sa.select(sa.bindparam("new_collection", type_=schema.Int), _p.c.object_id, _p.c.name, _p.c.xml).where(
            _here, _p.c.object_id == 0
        ),
    )
)
