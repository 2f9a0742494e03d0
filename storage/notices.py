"""Notices: members of the collection `notifications` in the calendar homes of those whom they tell something."""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence

import sqlalchemy as sa

from storage import collections, meetings, objects, schema
from storage.collections import _COLUMNS, _collection
from storage.engine import Conn, Statement, one_of
from storage.records import Collection, ObjectRecord

# The name of the collection of notices in a calendar home, and its kind.
NOTIFICATIONS = "notifications"

_a = schema.accounts
_c = schema.collections
_o = schema.objects


def notifications_of(conn: Conn, account_ids: Iterable[int]) -> dict[int, tuple[Collection, int]]:
    """By account: the collection of its notices, and how many are in it. One statement."""
    found: dict[int, tuple[Collection, int]] = {}
    for row in _NOTIFICATIONS.all(conn, ids=conn.array(account_ids)):
        found.setdefault(row[1], (_collection(row[:-1]), row[-1]))
    return found


def make_notifications(conn: Conn, account_id: int, *, now_s: int) -> Collection:
    """The collection of an account's notices, for one that has none. Raises NotFound."""
    home = collections.home(conn, account_id, "calendars")
    name = NOTIFICATIONS if not collections.name_in_use(conn, home, NOTIFICATIONS) else secrets.token_hex(16)
    return collections.create_collection(conn, home, name, kind="notifications", now_s=now_s)


def by_uids(conn: Conn, collection_ids: Iterable[int], uids: Iterable[str]) -> list[ObjectRecord]:
    """The notices with one of these UIDs in any of these collections. One statement."""
    stored = conn.array({objects.stored_uid(uid) for uid in uids})
    return [objects._record(row) for row in _BY_UIDS.all(conn, ids=conn.array(collection_ids), names=stored)]


def remove_many(conn: Conn, kept: Sequence[tuple[Collection, ObjectRecord]], *, now_s: int) -> None:
    """Remove notices, each with the collection that it is in, as delete_object does. A few statements for any number.

    Needs: their collections are locked (meetings.lock_in_order).
    """
    if not kept:
        return
    numbers = meetings._bump_all(conn, [collection.id for collection, _ in kept], now_s)
    objects._KEEP_VERSION.many(conn, [{"object_id": one.id, "cause": "deleted", "now_s": now_s} for _, one in kept])
    _REMOVE.run(conn, ids=conn.array(one.id for _, one in kept))
    objects._DELETE_PROPERTIES.many(
        conn, [{"collection_id": collection.id, "object_id": one.id} for collection, one in kept]
    )
    # A name is random and was never that of another member, so no tombstone is in the way.
    objects._INSERT_TOMBSTONE.many(
        conn,
        [
            {"collection_id": collection.id, "name": one.name, "change_seq": number, "secrecy": None, "secret_seq": 0}
            for (collection, one), number in zip(kept, numbers, strict=True)
        ],
    )
    used: dict[int, int] = {}
    for collection, one in kept:
        used[collection.owner_id] = used.get(collection.owner_id, 0) + one.size
    meetings._ADD_USAGE.many(conn, [{"account_id": owner, "delta": -used[owner]} for owner in sorted(used)])


_live = _c.c.deleted_s.is_(None)
_NOTIFICATIONS = Statement(
    sa.select(
        *_COLUMNS,
        sa.select(sa.func.count()).select_from(_o).where(_o.c.collection_id == _c.c.id).correlate(_c).scalar_subquery(),
    )
    .select_from(_c.join(_a, _a.c.id == _c.c.owner_id))
    .where(
        one_of(_c.c.owner_id, "ids", integers=True),
        _c.c.area == sa.literal_column("'calendars'"),
        _c.c.kind == sa.literal_column("'notifications'"),
        _live,
    )
    .order_by(_c.c.id)
)
_BY_UIDS = Statement(
    sa.select(*objects._RECORD)
    .where(one_of(_o.c.collection_id, "ids", integers=True), one_of(_o.c.uid, "names"))
    .order_by(_o.c.id)
)
_REMOVE = Statement(_o.delete().where(one_of(_o.c.id, "ids", integers=True)))
