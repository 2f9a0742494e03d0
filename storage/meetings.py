"""What scheduling asks and writes for several accounts at once: a few statements, however many guests there are."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from storage import objects, schema, timeindex
from storage.collections import _LOCK, _collection, _select, collection_by_id
from storage.engine import Conn, Statement, one_of
from storage.errors import StoreBusy
from storage.records import BEGINLESS, ENDLESS, Collection, Instance, ObjectIndex, ObjectRecord

_c = schema.collections
_o = schema.objects
_b = schema.bodies
_a = schema.accounts

# How far a floating time can be from the same clock time in UTC.
FLOATING_MARGIN_S = 14 * 3600
# The object number, which no object has, under which an inbox keeps what DAV:allprop does not show.
BESIDE = -2


class LockFirst(StoreBusy):
    """The transaction holds rows that others may wait for, and needs some that come before them.

    ids: all that it needs. To be rolled back and begun anew with these locked first, in ascending order.
    """

    def __init__(self, ids: Iterable[int]) -> None:
        super().__init__("collections must be locked in ascending order")
        self.ids = frozenset(ids)


@dataclass(frozen=True, slots=True)
class Writing:
    """An object to be made or changed. old: what it replaces, None for a new one.

    name: of a new one: nobody else may have chosen it (random). body: the bytes as they will be served; etag: of them.
    """

    collection: Collection
    old: ObjectRecord | None
    name: str
    body: bytes
    etag: str
    content_type: str
    index: ObjectIndex
    schedule_tag: str | None


# Reading


def calendars_of(conn: Conn, owner_ids: Iterable[int]) -> dict[int, list[Collection]]:
    """By account: the live collections directly in its calendar home, in their order, but what others share with it.

    One statement.
    """
    found: dict[int, list[Collection]] = {}
    for row in _CALENDARS_OF.all(conn, ids=conn.array(owner_ids)):
        found.setdefault(row[1], []).append(_collection(row))
    return found


def by_uid(conn: Conn, collection_ids: Iterable[int], uid: str) -> list[tuple[ObjectRecord, bytes]]:
    """The objects with this UID in any of these collections, with their bodies. One statement.

    Scheduling objects first, and of several the oldest: a copy does not take the place of what it was made from.
    """
    rows = _BY_UID.all(conn, ids=conn.array(collection_ids), uid=objects.stored_uid(uid))
    return [(objects._record(row), row[objects._WIDTH] or b"") for row in rows]


def scheduled_in(
    conn: Conn, collection_ids: Iterable[int], *, batch: int = 100
) -> Iterator[tuple[ObjectRecord, bytes]]:
    """The scheduling objects in these collections with their bodies, `batch` of them in memory at a time."""
    ids, after = conn.array(collection_ids), 0
    while True:
        rows = _SCHEDULED_IN.all(conn, ids=ids, after=after, n=batch)
        for row in rows:
            yield objects._record(row), row[objects._WIDTH] or b""
        if len(rows) < batch:
            return
        after = rows[-1][0]


def busy_in(
    conn: Conn, collection_ids: Iterable[int], start_s: int, end_s: int
) -> tuple[list[tuple[int, int, Instance]], list[ObjectRecord]]:
    """([(collection id, object id, instance that is not free)], members whose index does not reach all of the range).

    Of the range [start_s, end_s) in UTC; floating instances also from FLOATING_MARGIN_S around it, so the caller
    settles them in a zone and looks again. Instances of the second kind of members are not in the first list. Two
    statements.
    """
    ids = conn.array(collection_ids)
    beyond = [objects._record(row) for row in _BEYOND.all(conn, ids=ids, start_s=start_s, end_s=end_s)]
    left_out = {record.id for record in beyond}
    times = timeindex.span(start_s, end_s, start_s - FLOATING_MARGIN_S, end_s + FLOATING_MARGIN_S)
    found = []
    for collection_id, object_id, *row in _BUSY.all(conn, ids=ids, **times):
        if object_id in left_out:
            continue
        for instance in timeindex.unrolled(tuple(row), times):
            if instance.end_s > (times["s2"] if instance.floating else start_s):
                found.append((collection_id, object_id, instance))
    return found, beyond


# Writing


def lock_in_order(conn: Conn, ids: Iterable[int]) -> None:
    """Lock collections until the end of the transaction, as collections.lock_collections, which may have been called.

    Raises LockFirst when some of them come before one that is locked already: another writer may hold those and wait
    for ours.
    """
    wanted = set(ids)
    if conn.dialect != "postgresql":
        return
    missing = wanted - conn.locked
    if not missing:
        return
    if conn.locked and min(missing) < max(conn.locked):
        raise LockFirst(wanted | conn.locked)
    _LOCK.all(conn, ids=conn.array(sorted(missing)))
    conn.locked |= missing


def write_many(conn: Conn, writings: Sequence[Writing], *, now_s: int) -> list[ObjectRecord]:
    """Make or change many objects; the records in the order of the writings. Change numbers rise as in put_object.

    Needs: their collections are locked, the UIDs free. Counts towards the quota of the owners without asking whether
    there is room: what others send is small, and must not make their request fail. The old bodies are kept in the
    history. About a dozen statements, whatever the number.
    """
    if not writings:
        return []
    numbers = _bump_all(conn, [writing.collection.id for writing in writings], now_s)
    replaced = [(w, n) for w, n in zip(writings, numbers, strict=True) if w.old is not None]
    created = [(w, n) for w, n in zip(writings, numbers, strict=True) if w.old is None]
    records: dict[int, ObjectRecord] = {}
    if created:
        _create(conn, created, records, now_s)
    if replaced:
        _replace(conn, replaced, records, now_s)
    used: dict[int, int] = {}
    for writing in writings:
        delta = len(writing.body) - (writing.old.size if writing.old is not None else 0)
        used[writing.collection.owner_id] = used.get(writing.collection.owner_id, 0) + delta
    _ADD_USAGE.many(conn, [{"account_id": owner, "delta": used[owner]} for owner in sorted(used) if used[owner]])
    return [records[id(writing)] for writing in writings]


def _bump_all(conn: Conn, ids: Sequence[int], now_s: int) -> list[int]:
    """The change number of each writing, where one collection may stand several times."""
    counts: dict[int, int] = {}
    for collection_id in ids:
        counts[collection_id] = counts.get(collection_id, 0) + 1
    last: dict[int, int] = {}
    for count in sorted(set(counts.values())):
        some = sorted(collection_id for collection_id, n in counts.items() if n == count)
        last.update(_BUMP_ALL.all(conn, ids=conn.array(some), count=count, now_s=now_s))
    given = dict.fromkeys(counts, 0)
    numbers = []
    for collection_id in ids:
        given[collection_id] += 1
        numbers.append(last[collection_id] - counts[collection_id] + given[collection_id])
    return numbers


def _columns(writing: Writing, number: int, now_s: int) -> tuple[dict[str, Any], timeindex.TimeRows]:
    index = writing.index
    times = timeindex.time_rows(index)
    columns = {
        "etag": writing.etag,
        "size": len(writing.body),
        "content_type": writing.content_type,
        "change_seq": number,
        "modified_s": now_s,
        "uid": None if index.uid is None else objects.stored_uid(index.uid),
        "uid_tie": number if writing.collection.kind == "inbox" else 0,
        "schedule_tag": writing.schedule_tag,
        "blob": None,
        "secret_seq": 0,
        **objects._index_columns(index, times.digest),
    }
    return columns, times


def _create(conn: Conn, created: list[tuple[Writing, int]], records: dict[int, ObjectRecord], now_s: int) -> None:
    rows, times_of = [], []
    for writing, number in created:
        columns, times = _columns(writing, number, now_s)
        rows.append({"collection_id": writing.collection.id, "name": writing.name, "created_s": now_s, **columns})
        times_of.append(times)
    _INSERT.many(conn, rows)
    names = conn.array(writing.name for writing, _ in created)
    ids = conn.array({writing.collection.id for writing, _ in created})
    found = {(row[1], row[2]): objects._record(row) for row in _BY_NAMES.all(conn, ids=ids, names=names)}
    bodies, indexed = [], []
    for (writing, _), times in zip(created, times_of, strict=True):
        record = found[writing.collection.id, writing.name]
        records[id(writing)] = record
        bodies.append({"object_id": record.id, "content": writing.body})
        indexed.append((writing.collection.id, record.id, times))
    objects._INSERT_BODY.many(conn, bodies)
    timeindex.write(conn, indexed)


def _replace(conn: Conn, replaced: list[tuple[Writing, int]], records: dict[int, ObjectRecord], now_s: int) -> None:
    olds = [writing.old for writing, _ in replaced if writing.old is not None]
    before = {row[0]: row[1:] for row in _DIGESTS.all(conn, ids=conn.array(old.id for old in olds))}
    objects._KEEP_VERSION.many(conn, [{"object_id": old.id, "cause": "replaced", "now_s": now_s} for old in olds])
    rows, bodies, indexed = [], [], []
    for (writing, number), old in zip(replaced, olds, strict=True):
        columns, times = _columns(writing, number, now_s)
        digest, *secret = before.get(old.id, (None, None, 0))
        columns["secret_seq"] = objects._secret_seq(secret, writing.index.secrecy, number)
        rows.append({"object_id": old.id, **{f"new_{key}": value for key, value in columns.items()}})
        bodies.append({"row_id": old.id, "new_content": writing.body})
        if digest != columns["instances_digest"]:
            indexed.append((writing.collection.id, old.id, times))
        records[id(writing)] = ObjectRecord(
            old.id, old.collection_id, old.name, writing.etag, len(writing.body), writing.content_type, number,
            old.created_s, now_s, columns["uid"], writing.index.component, writing.schedule_tag, None,
            writing.index.readable, writing.index.secrecy,
        )  # fmt: skip
    objects._UPDATE.many(conn, rows)
    objects._UPDATE_BODY.many(conn, bodies)
    timeindex.remove_many(conn, [object_id for _, object_id, _ in indexed])
    timeindex.write(conn, indexed)


def kept_with(conn: Conn, inbox_ids: Iterable[int]) -> dict[int, dict[str, str]]:
    """By inbox: its properties that are no dead ones (BESIDE), name → text. One statement."""
    found: dict[int, dict[str, str]] = {}
    for inbox_id, name, text in _KEPT_WITH.all(conn, ids=conn.array(inbox_ids)):
        found.setdefault(inbox_id, {})[name] = text
    return found


def of_component(conn: Conn, collection_ids: Iterable[int], component: str) -> list[tuple[int, bytes]]:
    """(collection id, body) of the readable members of one component, 200 of each collection. One statement."""
    rows = _OF_COMPONENT.all(conn, ids=conn.array(collection_ids), component=component, n=200)
    return [(row[0], row[1] or b"") for row in rows]


def old_inbox_items(conn: Conn, before_s: int, limit: int) -> list[tuple[Collection, ObjectRecord]]:
    """Up to `limit` members of live inboxes that came before before_s, each with its inbox. Looks at all inboxes."""
    records = [objects._record(row) for row in _OLD_ITEMS.all(conn, before_s=before_s, n=limit)]
    found = {number: collection_by_id(conn, number) for number in {record.collection_id for record in records}}
    pairs = ((found[record.collection_id], record) for record in records)
    return [(inbox, record) for inbox, record in pairs if inbox is not None]


def forget_tags(conn: Conn, collection_id: int) -> None:
    """Makes the objects in a collection plain ones: copies of meetings whose originals go on being kept up to date."""
    _FORGET_TAGS.run(conn, collection_id=collection_id)


_live = _c.c.deleted_s.is_(None)
_CALENDARS_OF = Statement(
    _select(one_of(_c.c.owner_id, "ids", integers=True), _c.c.area == sa.literal_column("'calendars'"))
    .where(_c.c.kind != sa.literal_column("'home'"), ~_c.c.path.contains("/"), _c.c.source_id.is_(None))
    .order_by(_c.c.owner_id, _c.c.position, _c.c.id)
)
_with_body = _o.outerjoin(_b, _b.c.object_id == _o.c.id)
_in = one_of(_o.c.collection_id, "ids", integers=True)
_BY_UID = Statement(
    sa.select(*objects._RECORD, _b.c.content)
    .select_from(_with_body)
    .where(_in, _o.c.uid == sa.bindparam("uid", type_=schema.Text))
    .order_by(_o.c.schedule_tag.is_(None), _o.c.id)
)
_SCHEDULED_IN = Statement(
    sa.select(*objects._RECORD, _b.c.content)
    .select_from(_with_body)
    .where(_in, _o.c.schedule_tag.is_not(None), _o.c.id > sa.bindparam("after"))
    .order_by(_o.c.id)
    .limit(sa.bindparam("n"))
)
_BY_NAMES = Statement(sa.select(*objects._RECORD).where(_in, one_of(_o.c.name, "names")))
_DIGESTS = Statement(
    sa.select(_o.c.id, _o.c.instances_digest, _o.c.secrecy, _o.c.secret_seq).where(
        one_of(_o.c.id, "ids", integers=True)
    )
)


def _in_one_of(column: sa.Column[int]) -> sa.ColumnElement[bool]:
    return one_of(column, "ids", integers=True)


_BUSY = Statement(timeindex.found_busy(_in_one_of, "collection_id", "object_id"))


def _beyond() -> sa.Select[Any]:
    """Members whose index ends before the range, or begins after its start: each half by its own partial index."""
    start, end = sa.bindparam("start_s", type_=schema.Int), sa.bindparam("end_s", type_=schema.Int)
    late, early = _o.alias("late"), _o.alias("early")
    halves = sa.union_all(
        sa.select(late.c.id).where(
            one_of(late.c.collection_id, "ids", integers=True),
            late.c.indexed_to_s < end,
            late.c.indexed_to_s < sa.literal_column(str(ENDLESS)),
        ),
        sa.select(early.c.id).where(
            one_of(early.c.collection_id, "ids", integers=True),
            early.c.indexed_from_s > start,
            early.c.indexed_from_s > sa.literal_column(str(BEGINLESS)),
        ),
    )
    return sa.select(*objects._RECORD).where(
        _o.c.id.in_(halves),
        _o.c.readable == sa.literal_column("1"),
        _o.c.component.in_([sa.literal_column("'VEVENT'"), sa.literal_column("'VFREEBUSY'")]),
        _o.c.first_s <= end,
        _o.c.last_s >= start,
    )


_BEYOND = Statement(_beyond())
_BUMP_ALL = Statement(
    _c.update()
    .where(one_of(_c.c.id, "ids", integers=True), _live)
    .values(change_seq=_c.c.change_seq + sa.bindparam("count", type_=schema.Int), modified_s=sa.bindparam("now_s"))
    .returning(_c.c.id, _c.c.change_seq)
)
_INSERT = Statement(
    _o.insert().values({name: sa.bindparam(name) for name in ("collection_id", "name", "created_s", *objects._CONTENT)})
)
_ADD_USAGE = Statement(
    _a.update()
    .where(_a.c.id == sa.bindparam("account_id"))
    .values(used_bytes=_a.c.used_bytes + sa.bindparam("delta", type_=schema.Int))
)
_p = schema.properties
_KEPT_WITH = Statement(
    sa.select(_p.c.collection_id, _p.c.name, _p.c.xml).where(
        one_of(_p.c.collection_id, "ids", integers=True), _p.c.object_id == sa.literal_column(str(BESIDE))
    )
)
_OF_COMPONENT = Statement(
    sa.select(_o.c.collection_id, _b.c.content)
    .select_from(_with_body)
    .where(_in, _o.c.component == sa.bindparam("component"), _o.c.readable == sa.literal_column("1"))
    .limit(sa.bindparam("n"))
)
_OLD_ITEMS = Statement(
    sa.select(*objects._RECORD)
    .select_from(_o.join(_c, _c.c.id == _o.c.collection_id))
    .where(
        _o.c.uid_tie > sa.literal_column("0"),  # in an inbox, see schema.objects: the index of these alone
        _o.c.created_s < sa.bindparam("before_s", type_=schema.Int),
        _c.c.kind == sa.literal_column("'inbox'"),
        _live,
    )
    .order_by(_o.c.created_s)
    .limit(sa.bindparam("n"))
)
_FORGET_TAGS = Statement(
    _o.update()
    .where(_o.c.collection_id == sa.bindparam("collection_id"), _o.c.schedule_tag.is_not(None))
    .values(schedule_tag=sa.null())
)
