"""Collections: homes, calendars, address books, folders. Found by owner, area and path, with one indexed query."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.accounts import _COLUMNS as _ACCOUNT
from storage.accounts import NAME_BYTES_MAX, _accounts, add_usage, fold
from storage.engine import Conn, Row, Statement, byte_length, clean, one_of
from storage.errors import NameTaken, NameTooLong, NotFound, QuotaExceeded
from storage.records import Account, Collection
from storage.text import nfc

# Longest path in bytes as UTF-8: an index entry of PostgreSQL ends at 2.7 KB.
PATH_BYTES_MAX = 2400
# How many collections may stand in each other for line() to look at them.
LINE_MAX = 100

_c = schema.collections
_a = schema.accounts
_o = schema.objects


def resolve(conn: Conn, owner_name: str, area: str, path: str) -> tuple[Collection | None, Collection | None]:
    """(the live collection at exactly `path`, the live collection above it). One statement.

    owner_name is matched case-folded, path exactly after NFC. The home (path "") has nothing above it.
    """
    path = normal_path(path)
    above = path.rpartition("/")[0]
    rows = _RESOLVE.all(conn, name_key=fold(owner_name), area=area, path=path, above=above)
    exact = parent = None
    for row in rows:
        if row[4] == path:
            exact = _collection(row)
        else:
            parent = _collection(row)
    return exact, parent


def line(conn: Conn, owner_id: int, area: str, path: str) -> list[Collection]:
    """The live collections at `path` and above it, the home first. One statement; [] for a path beyond any nesting."""
    path = normal_path(path)
    if path.count("/") >= LINE_MAX:
        path = ""
    paths = ["", *(path[:index] for index, char in enumerate(path) if char == "/"), path]
    rows = _LINE.all(conn, owner_id=owner_id, area=area, paths=conn.array(dict.fromkeys(paths)))
    return sorted(map(_collection, rows), key=lambda one: len(one.path))


def sources_of(conn: Conn, ids: Iterable[int]) -> dict[int, tuple[Collection, Account]]:
    """By id: live collections, and the accounts that own them, with their addresses. One statement."""
    rows: dict[int, list[Row]] = {}
    for row in _SOURCES.all(conn, ids=conn.array(ids)):
        rows.setdefault(row[0], []).append(row)
    width = len(_COLUMNS)
    return {key: (_collection(some[0]), _accounts([row[width:] for row in some])[0]) for key, some in rows.items()}


def home(conn: Conn, account_id: int, area: str) -> Collection:
    """The account's home in an area. Raises NotFound."""
    row = _HOME.one(conn, account_id=account_id, area=area)
    if row is None:
        raise NotFound(f"home of account {account_id} in {area}")
    return _collection(row)


def collection_by_id(conn: Conn, collection_id: int) -> Collection | None:
    """The live collection with this id."""
    row = _BY_ID.one(conn, collection_id=collection_id)
    return None if row is None else _collection(row)


def children(conn: Conn, collection_id: int) -> list[Collection]:
    """Live collections directly below, in a stable order: by position, then as they were made."""
    return [_collection(row) for row in _CHILDREN.all(conn, collection_id=collection_id)]


def descendants(conn: Conn, collection: Collection) -> list[Collection]:
    """All live collections below, parents before their children."""
    return [_collection(row) for row in _DESCENDANTS.all(conn, **_below(collection))]


def below_many(conn: Conn, ids: Iterable[int]) -> dict[int, list[Collection]]:
    """By id of each of these collections: as descendants; those with nothing below are left out. One statement."""
    found: dict[int, list[Collection]] = {}
    for row in _BELOW_MANY.all(conn, ids=conn.array(ids)):
        found.setdefault(row[-1], []).append(_collection(row[:-1]))
    return found


def create_collection(
    conn: Conn,
    parent: Collection,
    name: str,
    *,
    kind: str,
    display_name: str | None = None,
    description: str | None = None,
    time_zone: str | None = None,
    time_zone_id: str | None = None,
    components: Iterable[str] = (),
    transparent: bool = False,
    position: int = 0,
    now_s: int,
) -> Collection:
    """Make a collection called `name` in `parent`.

    Counts as a change in the parent. Raises NameTaken when a collection or an object has the name there, NotFound when
    the parent has gone, NameTooLong.
    """
    name = checked_name(name)
    path = _joined(parent.path, name)
    bump(conn, parent.id, now_s=now_s)
    if name_in_use(conn, parent, name):
        raise NameTaken(name)
    _DROP_TOMBSTONE.run(conn, collection_id=parent.id, name=name)
    collection_id = _INSERT.scalar(
        conn,
        owner_id=parent.owner_id,
        area=parent.area,
        path=path,
        parent_id=parent.id,
        kind=kind,
        key=secrets.token_hex(16),
        display_name=_clean(display_name),
        description=_clean(description),
        time_zone=_clean(time_zone),
        time_zone_id=_clean(time_zone_id),
        components=",".join(clean(component) for component in components),
        transparent=int(transparent),
        position=position,
        now_s=now_s,
    )
    return _require(conn, collection_id)


def update_collection(conn: Conn, collection_id: int, *, now_s: int, **changes: Any) -> None:
    """Change any of the columns below.

    display_name, description, time_zone, time_zone_id (text or None), components, transparent, position.
    Counts as a change of properties (props_seq). Raises NotFound; TypeError for another field.
    """
    params: dict[str, Any] = {}
    for field, value in changes.items():
        if field not in _CHANGEABLE:
            raise TypeError(f"no field of a collection that can be changed: {field}")
        if field == "components":
            value = ",".join(clean(component) for component in value)
        elif field in ("transparent", "position"):
            value = int(value)
        else:
            value = _clean(value)
        params[f"new_{field}"] = value
    key = frozenset(changes)
    statement = _UPDATES.get(key)
    if statement is None:
        statement = _UPDATES[key] = _update_of(changes)
    if not statement.run(conn, collection_id=collection_id, now_s=now_s, **params):
        raise NotFound(f"collection {collection_id}")


def touch_properties(conn: Conn, collection_id: int, *, now_s: int) -> None:
    """Count a change of the collection's properties that are not columns. Raises NotFound."""
    update_collection(conn, collection_id, now_s=now_s)


def delete_collection(conn: Conn, collection: Collection, *, now_s: int) -> None:
    """Hide the collection and all below it. Its name is free at once; what it held stays until the purge.

    Where others have it in their homes because it was shared, it goes too (shares.unmount_everywhere). Leaves a
    tombstone in its parent, so that a sync of the parent reports it. Raises NotFound when it has gone before.
    """
    from storage import shares  # which is built on this module

    ids = _lock_tree(conn, collection)
    shares.unmount_everywhere(conn, ids, now_s=now_s)
    _leave_tombstone(conn, collection, now_s=now_s)
    _HIDE.run(conn, ids=conn.array(ids), now_s=now_s)
    size = _SIZE.scalar(conn, ids=conn.array(ids))
    if size:
        add_usage(conn, collection.owner_id, -int(size))


def move_collection(
    conn: Conn, collection: Collection, new_parent: Collection, new_name: str, *, now_s: int
) -> Collection:
    """Give the collection another parent or name; all below it goes along, with its change numbers.

    The caller has removed what stood at the target. Raises NameTaken, NameTooLong, NotFound, QuotaExceeded (of another
    owner); ValueError when the target is inside the collection itself.
    """
    new_name = checked_name(new_name)
    new_path = _joined(new_parent.path, new_name)
    same_tree = (collection.owner_id, collection.area) == (new_parent.owner_id, new_parent.area)
    if same_tree and f"{new_parent.path}/".startswith(f"{collection.path}/"):
        raise ValueError("a collection cannot be moved into itself")
    ids = _lock_tree(conn, collection, new_parent.id)
    if name_in_use(conn, new_parent, new_name):
        raise NameTaken(new_name)
    _leave_tombstone(conn, collection, now_s=now_s)
    bump(conn, new_parent.id, now_s=now_s)
    _DROP_TOMBSTONE.run(conn, collection_id=new_parent.id, name=new_name)
    longest = int(_LONGEST_PATH.scalar(conn, ids=conn.array(ids)))
    if longest - len(collection.path.encode()) + len(new_path.encode()) > PATH_BYTES_MAX:
        raise NameTooLong(new_name[:40])
    if collection.owner_id != new_parent.owner_id:
        size = int(_SIZE.scalar(conn, ids=conn.array(ids)) or 0)
        if size:
            if not add_usage(conn, new_parent.owner_id, size):
                raise QuotaExceeded(new_path)
            add_usage(conn, collection.owner_id, -size)
    _MOVE_TREE.run(
        conn,
        ids=conn.array(ids),
        new_owner=new_parent.owner_id,
        new_area=new_parent.area,
        new_path=new_path,
        tail_from=len(collection.path) + 1,
        now_s=now_s,
    )
    _SET_PARENT.run(conn, collection_id=collection.id, new_parent=new_parent.id)
    return _require(conn, collection.id)


def lock_collections(conn: Conn, ids: Iterable[int]) -> None:
    """Keep other writers out of these collections until the end of the transaction, before preconditions are checked.

    PostgreSQL: row locks in ascending order of id, so that two writers never wait for each other. SQLite: nothing to
    do, a write transaction has the whole store.
    """
    if conn.dialect == "postgresql":
        ids = sorted(ids)
        _LOCK.all(conn, ids=conn.array(ids))
        conn.locked.update(ids)


def member_count(conn: Conn, collection_id: int) -> int:
    """How many objects are in the collection; collections below do not count."""
    return int(_COUNT.scalar(conn, collection_id=collection_id))


def bump(conn: Conn, collection_id: int, *, now_s: int) -> int:
    """Raise the change number by one, lock the row until the end of the transaction, and return the new number.

    Every change of a member takes its number here, so that numbers become visible in their order. Raises NotFound.
    """
    change_seq = _BUMP.scalar(conn, collection_id=collection_id, now_s=now_s)
    if change_seq is None:
        raise NotFound(f"collection {collection_id}")
    return int(change_seq)


def name_in_use(conn: Conn, parent: Collection, name: str) -> bool:
    """True when a live collection or an object in `parent` has the name. One statement."""
    params = {"owner": parent.owner_id, "area": parent.area, "path": _joined(parent.path, name)}
    return _NAME_IN_USE.one(conn, parent_id=parent.id, name=name, **params) is not None


def collection_in_use(conn: Conn, parent: Collection, name: str) -> bool:
    """True when a live collection in `parent` has the name. One statement."""
    row = _PATH_IN_USE.one(conn, owner=parent.owner_id, area=parent.area, path=_joined(parent.path, name))
    return row is not None


def normal_path(path: str) -> str:
    """A path as it is compared and stored: NFC, storable characters."""
    return clean(nfc(path))


def checked_name(name: str) -> str:
    """A member's name as it is stored. Raises NameTooLong, and ValueError when it is no name."""
    name = normal_path(name)
    if not name or "/" in name:
        raise ValueError("a name is not empty and has no slash")
    if len(name) * 4 > NAME_BYTES_MAX and len(name.encode()) > NAME_BYTES_MAX:
        raise NameTooLong(name[:40])
    return name


def _joined(path: str, name: str) -> str:
    joined = f"{path}/{name}" if path else name
    if len(joined.encode()) > PATH_BYTES_MAX:
        raise NameTooLong(name[:40])
    return joined


def _below(collection: Collection) -> dict[str, Any]:
    """Parameters of the range of paths below a collection: from "path/" to before "path0", the character after "/"."""
    low, high = (f"{collection.path}/", f"{collection.path}0") if collection.path else ("", "\U0010ffff")
    return {"owner": collection.owner_id, "area": collection.area, "low": low, "high": high, "self_id": collection.id}


def _lock_tree(conn: Conn, collection: Collection, *others: int) -> list[int]:
    """Ids of the collection and all below, ascending, with their rows, the parent's and the others' locked.

    Raises NotFound when the collection is not there any more, or somewhere else.
    """
    also = {*others} if collection.parent_id is None else {collection.parent_id, *others}
    locked: set[int] = set()
    while True:
        # A new child needs the row of its parent: once all of them are locked, another look finds none that is not.
        ids = [collection.id, *(int(row[0]) for row in _IDS_BELOW.all(conn, **_below(collection)))]
        if locked.issuperset(ids):
            break
        locked.update(ids, also)
        lock_collections(conn, locked)
    row = _BY_ID.one(conn, collection_id=collection.id)
    if row is None or (row[1], row[3], row[4]) != (collection.owner_id, collection.area, collection.path):
        raise NotFound(collection.path)
    return sorted(ids)


def _leave_tombstone(conn: Conn, collection: Collection, *, now_s: int) -> None:
    """Say in the parent that the collection's name is gone. Needs: the parent's row is locked."""
    if collection.parent_id is None:
        return
    change_seq = bump(conn, collection.parent_id, now_s=now_s)
    _DROP_TOMBSTONE.run(conn, collection_id=collection.parent_id, name=collection.name)
    _INSERT_TOMBSTONE.run(conn, collection_id=collection.parent_id, name=collection.name, change_seq=change_seq)


def _require(conn: Conn, collection_id: int) -> Collection:
    collection = collection_by_id(conn, collection_id)
    if collection is None:
        raise NotFound(f"collection {collection_id}")
    return collection


def _clean(text: str | None) -> str | None:
    return None if text is None else clean(text)


def _collection(row: Row) -> Collection:
    components = tuple(row[12].split(",")) if row[12] else ()
    return Collection(
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], row[7], row[8], row[9], row[10], row[11], components,
        row[13] == 1, row[14], row[15], row[16], row[17], row[18], row[19],
    )  # fmt: skip


_CHANGEABLE = frozenset(
    {"display_name", "description", "time_zone", "time_zone_id", "components", "transparent", "position"}
)
_UPDATES: dict[frozenset[str], Statement] = {}
_COLUMNS = (
    _c.c.id, _c.c.owner_id, _a.c.name, _c.c.area, _c.c.path, _c.c.parent_id, _c.c.kind, _c.c.key, _c.c.display_name,
    _c.c.description, _c.c.time_zone, _c.c.time_zone_id, _c.c.components, _c.c.transparent, _c.c.change_seq,
    _c.c.props_seq, _c.c.created_s, _c.c.modified_s, _c.c.origin, _c.c.source_id,
)  # fmt: skip
_live = _c.c.deleted_s.is_(None)


def _select(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(*_COLUMNS).select_from(_c.join(_a, _a.c.id == _c.c.owner_id)).where(*conditions, _live)


def _update_of(fields: Sequence[str] | Iterable[str]) -> Statement:
    values = {field: sa.bindparam(f"new_{field}", type_=_c.c[field].type) for field in fields}
    return Statement(
        _c.update()
        .where(_c.c.id == sa.bindparam("collection_id"), _live)
        .values(values | {"props_seq": _c.c.props_seq + 1, "modified_s": sa.bindparam("now_s")})
    )


_RESOLVE = Statement(
    _select(
        _a.c.name_key == sa.bindparam("name_key"),
        _c.c.area == sa.bindparam("area"),
        _c.c.path.in_([sa.bindparam("path"), sa.bindparam("above")]),
    )
)
_LINE = Statement(
    _select(
        _c.c.owner_id == sa.bindparam("owner_id"),
        _c.c.area == sa.bindparam("area"),
        one_of(_c.c.path, "paths"),
    )
)
_SOURCES = Statement(
    sa.select(*_COLUMNS, *_ACCOUNT, schema.addresses.c.address)
    .select_from(
        _c.join(_a, _a.c.id == _c.c.owner_id).outerjoin(schema.addresses, schema.addresses.c.account_id == _a.c.id)
    )
    .where(one_of(_c.c.id, "ids", integers=True), _live)
    .order_by(_c.c.id, schema.addresses.c.is_primary.desc(), schema.addresses.c.id)
)
_HOME = Statement(
    _select(_c.c.owner_id == sa.bindparam("account_id"), _c.c.area == sa.bindparam("area"), _c.c.path == "")
)
_BY_ID = Statement(_select(_c.c.id == sa.bindparam("collection_id")))
_CHILDREN = Statement(_select(_c.c.parent_id == sa.bindparam("collection_id")).order_by(_c.c.position, _c.c.id))
_under = (
    _c.c.owner_id == sa.bindparam("owner"),
    _c.c.area == sa.bindparam("area"),
    _c.c.path >= sa.bindparam("low"),
    _c.c.path < sa.bindparam("high"),
    _c.c.id != sa.bindparam("self_id"),
)
# A parent's path is the beginning of its child's, so byte order puts parents first.
_DESCENDANTS = Statement(_select(*_under).order_by(_c.c.path))
_top = _c.alias("top")
_BELOW_MANY = Statement(
    _select(
        one_of(_top.c.id, "ids", integers=True),
        _c.c.owner_id == _top.c.owner_id,
        _c.c.area == _top.c.area,
        _c.c.path >= _top.c.path + sa.literal_column("'/'"),
        _c.c.path < _top.c.path + sa.literal_column("'0'"),
    )
    .add_columns(_top.c.id)
    .order_by(_c.c.path)
)
_IDS_BELOW = Statement(sa.select(_c.c.id).where(*_under, _live))
_INSERT = Statement(
    _c.insert()
    .values(
        {
            name: sa.bindparam(name)
            for name in (
                "owner_id", "area", "path", "parent_id", "kind", "key", "display_name", "description", "time_zone",
                "time_zone_id", "components", "transparent", "position",
            )
        }
        | {
            "change_seq": 0, "props_seq": 1,
            "created_s": sa.bindparam("now_s"), "modified_s": sa.bindparam("now_s"),
        }
    )
    .returning(_c.c.id)
)  # fmt: skip
_HIDE = Statement(
    _c.update().where(one_of(_c.c.id, "ids", integers=True), _live).values(deleted_s=sa.bindparam("now_s"))
)
_SIZE = Statement(sa.select(sa.func.sum(_o.c.size)).where(one_of(_o.c.collection_id, "ids", integers=True)))
_LONGEST_PATH = Statement(sa.select(sa.func.max(byte_length(_c.c.path))).where(one_of(_c.c.id, "ids", integers=True)))
_MOVE_TREE = Statement(
    _c.update()
    .where(one_of(_c.c.id, "ids", integers=True))
    .values(
        owner_id=sa.bindparam("new_owner"),
        area=sa.bindparam("new_area"),
        path=sa.bindparam("new_path", type_=schema.Text).concat(
            sa.func.substr(_c.c.path, sa.bindparam("tail_from", type_=sa.Integer()))
        ),
        props_seq=_c.c.props_seq + 1,
        modified_s=sa.bindparam("now_s"),
    )
)
_SET_PARENT = Statement(
    _c.update().where(_c.c.id == sa.bindparam("collection_id")).values(parent_id=sa.bindparam("new_parent"))
)
_LOCK = Statement(sa.select(_c.c.id).where(one_of(_c.c.id, "ids", integers=True)).order_by(_c.c.id).with_for_update())
_COUNT = Statement(
    sa.select(sa.func.count()).select_from(_o).where(_o.c.collection_id == sa.bindparam("collection_id"))
)
_BUMP = Statement(
    _c.update()
    .where(_c.c.id == sa.bindparam("collection_id"), _live)
    .values(change_seq=_c.c.change_seq + 1, modified_s=sa.bindparam("now_s"))
    .returning(_c.c.change_seq)
)
_path_in_use = sa.select(_c.c.id).where(
    _c.c.owner_id == sa.bindparam("owner"), _c.c.area == sa.bindparam("area"), _c.c.path == sa.bindparam("path"), _live
)
_PATH_IN_USE = Statement(_path_in_use)
_NAME_IN_USE = Statement(
    _path_in_use.union_all(
        sa.select(_o.c.id).where(_o.c.collection_id == sa.bindparam("parent_id"), _o.c.name == sa.bindparam("name"))
    )
)
_DROP_TOMBSTONE = Statement(
    sa.delete(schema.tombstones).where(
        schema.tombstones.c.collection_id == sa.bindparam("collection_id"),
        schema.tombstones.c.name == sa.bindparam("name"),
    )
)
_INSERT_TOMBSTONE = Statement(
    sa.insert(schema.tombstones).values(
        collection_id=sa.bindparam("collection_id"), name=sa.bindparam("name"), change_seq=sa.bindparam("change_seq")
    )
)
