"""Members of collections: their bodies, change numbers, and the indexes that queries are answered from.

A write first raises the collection's change number (collections.bump), which on PostgreSQL locks the collection; then
it looks for whatever has the name or the UID, and writes. Bodies are kept apart from the rows that listings read.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import fields, make_dataclass
from operator import attrgetter, itemgetter
from typing import Any

import sqlalchemy as sa

from storage import one_trip, schema, timeindex
from storage.accounts import add_usage
from storage.collections import (
    _COLUMNS as _COLLECTION,
)
from storage.collections import (
    _collection,
    bump,
    checked_name,
    collection_in_use,
    lock_collections,
    normal_path,
)
from storage.engine import Conn, Row, Statement, clean, joined_text, one_of, position_of
from storage.errors import ForeignToken, NameTaken, NotFound, QuotaExceeded, UidTaken
from storage.records import BEGINLESS, ENDLESS, Blob, Change, Collection, Found, Instance, ObjectIndex, ObjectRecord
from storage.text import nfkd

# Longest UID that is kept as it is, in bytes as UTF-8: an index entry of PostgreSQL ends at 2.7 KB.
UID_BYTES_MAX = 1000
CARD_COLUMNS = ("fn", "n", "nickname", "org", "email", "tel")
# Kinds of collections in which other collections may stand, so that a name may be one's already.
_NESTING_KINDS = frozenset({"folder", "home"})
# Kinds in which none can, and in which a UID stands once.
_FLAT_KINDS = frozenset({"calendar", "addressbook"})
# Open ends of a range.
_NEVER_BEFORE, _NEVER_AFTER = BEGINLESS, ENDLESS
# What a listing may show of a member, the most wanted first: a listing reads the first few. Each costs as much again as
# the row itself.
LISTED = ("name", "etag", "component", "content_type", "size", "modified_s", "schedule_tag")
_WIDTHS = (2, 3, 6, len(LISTED))
TEXTS = 3  # so many of them are texts that every member has; see list_texts
_LISTED_AT_ONCE = 2000
# So many rows of a component are read at once, and sorted; of more, a page at a time. Twenty queries of a calendar of
# 100,000 events took 700 MB of memory without that.
_AT_ONCE_MAX = 20_000
# A body that is read along with its row; longer ones are fetched by themselves.
SHORT_BODY_BYTES = 32 * 1024

_o = schema.objects
_b = schema.bodies
_k = schema.cards
_t = schema.tombstones
_v = schema.object_versions
_p = schema.properties


# Reading


def object_by_name(conn: Conn, collection_id: int, name: str) -> ObjectRecord | None:
    """The member with this name. One statement."""
    row = _BY_NAME.one(conn, collection_id=collection_id, name=normal_path(name))
    return None if row is None else _record(row)


def object_with_body(conn: Conn, collection_id: int, name: str) -> tuple[ObjectRecord, bytes | None] | None:
    """The member with this name, and its body; None for a blob or more than SHORT_BODY_BYTES. One statement."""
    row = _BY_NAME_WITH_BODY.one(conn, collection_id=collection_id, name=normal_path(name))
    return None if row is None else (_record(row), row[_WIDTH])


def objects_by_names(conn: Conn, collection_id: int, names: Iterable[str]) -> list[ObjectRecord]:
    """The members with these names, in no order; names of nothing are left out. One statement, any number of names."""
    found = _BY_NAMES.all(conn, collection_id=collection_id, names=conn.array(normal_path(name) for name in names))
    return [_record(row) for row in found]


def bodies_by_names(conn: Conn, collection_id: int, names: Iterable[str]) -> list[tuple[ObjectRecord, bytes]]:
    """The members with these names and their bodies, in no order; b"" for a blob's. One statement for any number."""
    found = _BODIES_BY_NAMES.all(
        conn, collection_id=collection_id, names=conn.array(normal_path(name) for name in names)
    )
    return [(_record(row), row[_WIDTH] or b"") for row in found]


def object_by_uid(conn: Conn, collection_id: int, uid: str) -> ObjectRecord | None:
    """The member with this UID; in an inbox, where several may have it, the newest. One statement."""
    row = _BY_UID.one(conn, collection_id=collection_id, uid=stored_uid(uid))
    return None if row is None else _record(row)


def list_objects(conn: Conn, collection_id: int, *, limit: int | None = None) -> list[ObjectRecord]:
    """Members in the order of their names (by bytes), up to `limit`. One statement."""
    rows = _LIST.all(conn, collection_id=collection_id, n=_limit(limit))
    return [_record(row) for row in rows]


def list_columns(conn: Conn, collection_id: int, width: int) -> Iterator[list[Row]]:
    """The first `width` columns of LISTED, or more, of every member, in the order of their names.

    One statement for each 2,000 members: memory holds no more of them. Other statements may run on conn meanwhile.
    """
    statement = _LIST_COLUMNS[_width(width)]
    after = ""
    while True:
        rows = statement.all(conn, collection_id=collection_id, after=after, n=_LISTED_AT_ONCE)
        if rows:
            yield rows
        if len(rows) < _LISTED_AT_ONCE:
            return
        after = rows[-1][0]


def list_texts(conn: Conn, collection_id: int, width: int) -> Iterator[list[Sequence[str]]]:
    """As list_columns, but columns: the first `width` ones of LISTED, or more, a sequence for each.

    Only the first TEXTS columns. They come joined out of the database, which takes half the time of making rows.
    """
    assert width <= TEXTS
    statement = _LIST_TEXTS[max(width, 2)]
    after = ""
    while True:
        joined = statement.one(conn, collection_id=collection_id, after=after, n=_LISTED_AT_ONCE)
        if joined is None or joined[0] is None:
            return
        # No name has a slash. Nothing else has a line break; if it had, a list would be too long.
        names = joined[0].split("/")
        columns = [names, *(column.split("\n") for column in joined[1:])]
        if any(len(column) != len(names) for column in columns):
            rows = _LIST_COLUMNS[_width(width)].all(conn, collection_id=collection_id, after=after, n=_LISTED_AT_ONCE)
            columns = list(zip(*rows, strict=True))
        yield columns
        if len(names) < _LISTED_AT_ONCE:
            return
        after = names[-1]


def short_by_names(conn: Conn, collection_id: int, names: Iterable[str], width: int) -> list[Row]:
    """The members with these names: the first columns of LISTED, `width` or more, and the body as last one.

    The body is None where it has more than SHORT_BODY_BYTES or is a blob. In no order; names of nothing are left out.
    One statement, after which all those bodies are in memory.
    """
    array = conn.array(normal_path(name) for name in names)
    return _SHORT_BY_NAMES[_width(width)].all(conn, collection_id=collection_id, names=array)


def _width(wanted: int) -> int:
    return next(width for width in _WIDTHS if width >= wanted)


def iter_bodies(
    conn: Conn, collection_id: int, *, component: str | None = None, batch: int = 100
) -> Iterator[tuple[ObjectRecord, bytes]]:
    """Members with their bodies in the order of their names, `batch` of them in memory at a time; b"" for a blob's.

    component: only the readable ones of this component. Other statements may run on conn meanwhile.
    """
    statement = _ITER if component is None else _ITER_COMPONENT
    params: dict[str, Any] = {} if component is None else {"component": component}
    after = ""
    while True:
        rows = statement.all(conn, collection_id=collection_id, after=after, n=batch, **params)
        for row in rows:
            yield _record(row), row[_WIDTH] or b""
        if len(rows) < batch:
            return
        after = rows[-1][2]


def iter_contents(conn: Conn, collection_id: int, *, batch: int = 100) -> Iterator[bytes]:
    """As iter_bodies, the bodies alone: a whole calendar is told in three quarters of the time that records take."""
    after = ""
    while True:
        rows = _ITER_CONTENTS.all(conn, collection_id=collection_id, after=after, n=batch)
        for row in rows:
            yield row[1] or b""
        if len(rows) < batch:
            return
        after = rows[-1][0]


def body(conn: Conn, record: ObjectRecord) -> bytes:
    """The body of a member that is not a blob. Raises NotFound when it has gone or is a blob."""
    content: bytes | None = _BODY.scalar(conn, object_id=record.id)
    if content is None:
        raise NotFound(record.name)
    return content


def bodies(conn: Conn, ids: list[int]) -> dict[int, bytes]:
    """Bodies by object id; ids of nothing and of blobs are left out. One statement."""
    return {row[0]: row[1] for row in _BODIES.all(conn, ids=conn.array(ids))}


def of_component(conn: Conn, collection_id: int, component: str) -> list[ObjectRecord]:
    """Readable members of one component ("VEVENT", …), in the order of their names. One statement."""
    return _by_name(_OF_COMPONENT[_RECORDS].all(conn, collection_id=collection_id, component=component, n=_limit(None)))


def pages_of_component(conn: Conn, collection_id: int, component: str | None, width: int) -> Iterator[list[Row]]:
    """As of_component, but rows: the first columns of LISTED, `width` or more, and id, size and 1 as last ones.

    component: None for the readable members of any. Pages of 2,000 where there are many: memory does not grow with
    them. One statement, and one more for each page. Other statements may run on conn meanwhile.
    """
    place: dict[str, Any] = {"collection_id": collection_id}
    statement = _READABLE[_width(width)]
    if component is not None:
        place["component"] = component
        rows = _OF_COMPONENT[_width(width)].all(conn, **place, n=_AT_ONCE_MAX + 1)
        if len(rows) <= _AT_ONCE_MAX:
            rows.sort(key=itemgetter(0))
            yield rows
            return
        del rows
        statement = _PAGE_OF_COMPONENT[_width(width)]
    after = ""
    while True:
        rows = statement.all(conn, **place, after=after, n=_LISTED_AT_ONCE)
        if rows:
            yield rows
        if len(rows) < _LISTED_AT_ONCE:
            return
        after = rows[-1][0]


def unreadable(conn: Conn, collection_id: int) -> list[ObjectRecord]:
    """Members that could not be understood, in the order of their names; queries leave them out. One statement."""
    return _by_name(_UNREADABLE.all(conn, collection_id=collection_id))


def search_cards(conn: Conn, collection_id: int, column: str, text: str, match: str) -> list[ObjectRecord]:
    """Contacts whose `column` (see CARD_COLUMNS) may match the text, in the order of their names. One statement.

    A superset for every match ("equals", "contains", "starts-with", "ends-with") and collation: the folded text stands
    somewhere in the folded values. Raises KeyError for another column.
    """
    del match  # a column holds several values; where one begins is the caller's to see
    rows = _SEARCH_CARDS[column].all(conn, collection_id=collection_id, text=fold_text(text))
    return [_record(row) for row in rows]


def in_range(
    conn: Conn,
    collection_id: int,
    component: str,
    start_s: int | None,
    end_s: int | None,
    local_start_s: int | None,
    local_end_s: int | None,
) -> list[Found]:
    """Readable members of a component with an instance in the range (RFC 4791 §9.9); None is an open end.

    An instance overlaps when start < end_s and (end > start_s or start >= start_s). local_*: the range in the asker's
    wall clock read as UTC, for floating instances. Found.certain is True only for a VEVENT that the index answers
    exactly; the others may match, and nothing that matches is left out. One or two statements, whose cost goes by what
    they find.
    """
    span, local = (start_s, end_s), (local_start_s, local_end_s)
    return [
        Found(_record(row), row[-1] == _YES) for row in _in_range(conn, _RECORDS, collection_id, component, span, local)
    ]


def columns_in_range(
    conn: Conn,
    collection_id: int,
    component: str,
    start_s: int | None,
    end_s: int | None,
    local_start_s: int | None,
    local_end_s: int | None,
    *,
    width: int,
) -> list[Row]:
    """As in_range, in its order, but rows: the first columns of LISTED, `width` or more, and id, size and certain.

    certain, the last one, is 1 or 0.
    """
    span, local = (start_s, end_s), (local_start_s, local_end_s)
    return _in_range(conn, _width(width), collection_id, component, span, local)


def busy_in_range(
    conn: Conn,
    collection_id: int,
    start_s: int | None,
    end_s: int | None,
    local_start_s: int | None,
    local_end_s: int | None,
) -> tuple[list[Instance], list[ObjectRecord]]:
    """(the instances in the range that are not free, the members whose index does not reach all of the range).

    The range as for in_range. Instances of the second kind may be in the first list too, as far as the index reaches:
    the caller expands those members instead and merges the periods. Two statements.
    """
    start_s, local_start_s = (_NEVER_BEFORE if s is None else s for s in (start_s, local_start_s))
    end_s, local_end_s = (_NEVER_AFTER if s is None else s for s in (end_s, local_end_s))
    times = timeindex.span(start_s, end_s, local_start_s, local_end_s)
    found = [
        instance
        for row in _BUSY.all(conn, collection_id=collection_id, **times)
        for instance in timeindex.unrolled(row, times)
    ]
    rows = _OUT_OF_REACH_BUSY.all(conn, collection_id=collection_id, start_s=start_s, end_s=end_s)
    return found, [_record(row) for row in rows]


def changes_since(
    conn: Conn, collection_id: int, change_seq: int, *, limit: int, first: bool | None = None
) -> tuple[list[Change], bool]:
    """The newest change of each member after change_seq, oldest first, up to `limit`; and whether there are more.

    first: a first synchronisation (default: change_seq is 0), which leaves removed members out (RFC 6578 §3.4). Raises
    ForeignToken when the collection never gave out that number. One statement, two when nothing has changed.
    """
    if change_seq == 0 if first is None else first:
        rows = _FIRST_CHANGES.all(conn, collection_id=collection_id, n=limit + 1)
    else:
        rows = _CHANGES.all(conn, collection_id=collection_id, since=change_seq, n=limit + 1)
        if not rows:
            _check_number(conn, collection_id, change_seq)
    found = [Change(row[2], row[6], None if row[0] is None else _record(row)) for row in rows[:limit]]
    return found, len(rows) > limit


def changes_seen(
    conn: Conn, collection_id: int, change_seq: int, *, hidden_from: int, limit: int, first: bool
) -> tuple[list[Change], bool]:
    """As changes_since, for somebody to whom members of this secrecy or more are hidden.

    What became so secret after change_seq is there as removed, whether it is still there or not; what was so before is
    left out. Members of which the secrecy is not known are there: the caller looks at them.
    """
    if first:
        rows = _FIRST_SEEN.all(conn, collection_id=collection_id, hidden_from=hidden_from, n=limit + 1)
    else:
        rows = _SEEN.all(conn, collection_id=collection_id, since=change_seq, hidden_from=hidden_from, n=limit + 1)
        if not rows:
            _check_number(conn, collection_id, change_seq)
    found = []
    for row in rows[:limit]:
        gone = row[0] is None or (row[14] is not None and row[14] >= hidden_from)
        found.append(Change(row[2], row[6], None if gone else _record(row)))
    return found, len(rows) > limit


def columns_since(
    conn: Conn, collection_id: int, change_seq: int, width: int, *, limit: int, first: bool
) -> tuple[list[Row], bool]:
    """As changes_since, but rows: the first columns of LISTED, `width` or more, and change_seq as last one.

    The ETag of a removed member is None, and so are its columns but name and change_seq.
    """
    if first:
        rows = _FIRST_COLUMNS[_width(width)].all(conn, collection_id=collection_id, n=limit + 1)
    else:
        rows = _CHANGED_COLUMNS[_width(width)].all(conn, collection_id=collection_id, since=change_seq, n=limit + 1)
        if not rows:
            _check_number(conn, collection_id, change_seq)
    more = len(rows) > limit
    return (rows[:limit] if more else rows), more


def _check_number(conn: Conn, collection_id: int, change_seq: int) -> None:
    """Raises ForeignToken when the collection never gave out this number."""
    current = _CURRENT.scalar(conn, collection_id=collection_id)
    if current is None or not 0 <= change_seq <= current:
        raise ForeignToken(str(change_seq))


def any_secret(conn: Conn, collection_id: int, *, once: bool = False) -> bool:
    """Whether a member of a calendar or a book may be another for others than for its owner (schema.SECRET).

    once: also whether one was that has been removed. One statement, which looks at an index.
    """
    return (_ANY_SECRET_ONCE if once else _ANY_SECRET).one(conn, collection_id=collection_id) is not None


def any_in_blob_folder(conn: Conn, collection_id: int) -> bool:
    """Whether the body of a member of a calendar or a book is in the blob folder: of a file that was moved there.

    One statement, which looks at the index of any_secret.
    """
    return _ANY_IN_FOLDER.one(conn, collection_id=collection_id) is not None


def objects_to_extend(conn: Conn, before_s: int, limit: int) -> list[ObjectRecord]:
    """Up to `limit` members of live collections whose instances are indexed only to a time before before_s."""
    return [_record(row) for row in _TO_EXTEND.all(conn, before_s=before_s, n=limit)]


def unclassified(conn: Conn, limit: int) -> list[tuple[ObjectRecord, bytes]]:
    """Up to `limit` members of which the secrecy is not known, with their bodies; b"" for a blob's. One statement."""
    return [(_record(row), row[_WIDTH] or b"") for row in _UNCLASSIFIED.all(conn, n=limit)]


# Writing


def classify(conn: Conn, found: Iterable[tuple[ObjectRecord, int]]) -> None:
    """Keep the secrecy of members of which it was not known, unless they have another body by now."""
    _CLASSIFY.many(
        conn, [{"object_id": record.id, "old_etag": record.etag, "new_secrecy": secrecy} for record, secrecy in found]
    )


def put_object(
    conn: Conn,
    collection: Collection,
    name: str,
    body: bytes | Blob,
    *,
    content_type: str,
    etag: str,
    index: ObjectIndex,
    schedule_tag: str | None = None,
    keep_tag: bool = False,
    now_s: int,
    history: bool = True,
    create: bool = False,
) -> tuple[ObjectRecord, bool]:
    """Create or replace the member `name`; returns it, and True when it is new.

    Needs: a write transaction; for preconditions, lock_collections before they are checked. body: the bytes as they
    will be served, or a blob that is on disk already. etag: of the body, without quotes. schedule_tag: of what is put
    (RFC 6638 §3.2.10); None takes the old one away, as for what is no scheduling object any more, unless keep_tag:
    then the member keeps the one it has, if any, and schedule_tag is for a new one. Replacing keeps the id, created_s
    and dead properties, and with history the old body (object_versions). create: nothing is expected to have the name,
    which saves a trip to PostgreSQL. Raises UidTaken when another member has index.uid (RFC 4791 §5.3.2.1, RFC 6352
    §6.3.2.1), NameTaken when a collection has the name, QuotaExceeded, NameTooLong, NotFound when the collection has
    gone. After a refusal the transaction must be rolled back.
    """
    name = checked_name(name)
    uid = None if index.uid is None else stored_uid(index.uid)
    times = timeindex.time_rows(index)
    columns = {
        "etag": etag,
        "size": body.size if isinstance(body, Blob) else len(body),
        "content_type": clean(content_type),
        "modified_s": now_s,
        "uid": uid,
        "schedule_tag": schedule_tag,
        "blob": body.name if isinstance(body, Blob) else None,
        **_index_columns(index, times.digest),
    }
    if isinstance(body, bytes) and collection.kind in _FLAT_KINDS and collection.id in conn.locked:
        columns["uid_tie"] = 0
        done = _put_in_one_trip(
            conn, collection, name, body, columns, index, times,
            keep_tag=keep_tag, now_s=now_s, history=history, create=create,
        )  # fmt: skip
        if done is not None:
            return done
    change_seq = bump(conn, collection.id, now_s=now_s)
    old, stone = _find(conn, collection, name, uid)
    if old is None and collection.kind in _NESTING_KINDS and collection_in_use(conn, collection, name):
        raise NameTaken(name)
    delta = columns["size"] - (old[2] if old is not None else 0)
    if delta and not add_usage(conn, collection.owner_id, delta):
        raise QuotaExceeded(name)
    if keep_tag and old is not None:
        columns["schedule_tag"] = old[7]
    columns["change_seq"] = change_seq
    columns["uid_tie"] = change_seq if collection.kind == "inbox" else 0
    if stone is not None:
        _DROP_TOMBSTONE.run(conn, collection_id=collection.id, name=name)
    before = old[8:10] if old is not None else stone
    columns["secret_seq"] = _secret_seq(before, index.secrecy, change_seq)
    if old is None:
        object_id = int(_INSERT.scalar(conn, collection_id=collection.id, name=name, created_s=now_s, **columns))
        created_s = now_s
    else:
        object_id, created_s = old[0], old[3]
        if history:
            _KEEP_VERSION.run(conn, object_id=object_id, cause="replaced", now_s=now_s)
        _UPDATE.run(conn, object_id=object_id, **{f"new_{key}": value for key, value in columns.items()})
    _write_body(conn, object_id, body, had_row=old is not None and old[4] is None)
    _write_times(conn, collection.id, object_id, times, None if old is None else (old[5], old[10]))
    if index.component == "VCARD" or (old is not None and old[6] == "VCARD"):
        _write_card(conn, collection.id, object_id, index, replaced=old is not None)
    return _stored(object_id, collection, name, columns, change_seq, created_s, index), old is None


def _put_in_one_trip(
    conn: Conn,
    collection: Collection,
    name: str,
    body: bytes,
    columns: dict[str, Any],
    index: ObjectIndex,
    times: timeindex.TimeRows,
    *,
    keep_tag: bool,
    now_s: int,
    history: bool,
    create: bool,
) -> tuple[ObjectRecord, bool] | None:
    """What put_object does, on PostgreSQL, in two statements; None when what is there is a blob."""
    made = None
    if create:
        made = one_trip.create(conn, collection, name, columns=columns, body=body, times=times, now_s=now_s)
    old = None if made is not None else _find(conn, collection, name, columns["uid"])[0]
    if made is None and old is None:
        made = one_trip.create(conn, collection, name, columns=columns, body=body, times=times, now_s=now_s)
        if made is None:
            raise NotFound(f"collection {collection.id}")
    if made is not None:
        if index.component == "VCARD":
            _write_card(conn, collection.id, made[0], index, replaced=False)
        return _stored(made[0], collection, name, columns, made[1], now_s, index), True
    assert old is not None
    if old[4] is not None:
        return None
    if keep_tag:
        columns["schedule_tag"] = old[7]
    rises = (index.secrecy or 0) > (old[8] or 0)
    change_seq = one_trip.replace(
        conn, collection, old[0], columns=columns, secret_seq=None if rises else old[9],
        delta=columns["size"] - old[2], body=body, history=history, now_s=now_s,
    )  # fmt: skip
    _write_times(conn, collection.id, old[0], times, (old[5], old[10]))
    if "VCARD" in (index.component, old[6]):
        _write_card(conn, collection.id, old[0], index, replaced=True)
    return _stored(old[0], collection, name, columns, change_seq, old[3], index), False


def _stored(
    object_id: int,
    collection: Collection,
    name: str,
    columns: dict[str, Any],
    change_seq: int,
    created_s: int,
    index: ObjectIndex,
) -> ObjectRecord:
    return ObjectRecord(
        object_id, collection.id, name, columns["etag"], columns["size"], columns["content_type"], change_seq,
        created_s, columns["modified_s"], columns["uid"], index.component, columns["schedule_tag"], columns["blob"],
        index.readable, index.secrecy,
    )  # fmt: skip


def delete_object(
    conn: Conn, collection: Collection, record: ObjectRecord, *, now_s: int, history: bool = True
) -> None:
    """Remove a member: leaves a tombstone, and with history its body (object_versions).

    Needs: a write transaction. Raises NotFound when the member has gone meanwhile.
    """
    if collection.id in conn.locked:
        if not one_trip.remove(conn, collection, record.id, history=history, now_s=now_s):
            raise NotFound(record.name)
        return
    change_seq = bump(conn, collection.id, now_s=now_s)
    if history:
        _KEEP_VERSION.run(conn, object_id=record.id, cause="deleted", now_s=now_s)
    row = _DELETE.one(conn, object_id=record.id, collection_id=collection.id)
    if row is None:
        raise NotFound(record.name)
    name, size, digest, recurs, component, secrecy, secret_seq, has_properties = row
    if digest:
        timeindex.remove(conn, record.id, recurs=recurs == 1)
    if component == "VCARD":
        _DELETE_CARD.run(conn, collection_id=collection.id, object_id=record.id)
    if has_properties:
        _DELETE_PROPERTIES.run(conn, collection_id=collection.id, object_id=record.id)
    _INSERT_TOMBSTONE.run(
        conn, collection_id=collection.id, name=name, change_seq=change_seq, secrecy=secrecy, secret_seq=secret_seq
    )
    if size:
        add_usage(conn, collection.owner_id, -size)


def move_object(
    conn: Conn, source: Collection, record: ObjectRecord, target: Collection, new_name: str, *, now_s: int
) -> ObjectRecord:
    """Give a member another collection or name; leaves a tombstone. Its id, times, ETag and dead properties go along.

    Needs: a write transaction; the caller has removed what stood at the target. Raises NameTaken, UidTaken,
    QuotaExceeded (of another owner), NameTooLong, NotFound.
    """
    new_name = checked_name(new_name)
    lock_collections(conn, {source.id, target.id})
    gone_seq = bump(conn, source.id, now_s=now_s)
    change_seq = bump(conn, target.id, now_s=now_s)
    uid = record.uid if source.id != target.id else None  # within one collection it cannot meet another of its kind
    there, before = _find(conn, target, new_name, uid, but=record.id)
    if there is not None:
        raise NameTaken(new_name)
    if target.kind in _NESTING_KINDS and collection_in_use(conn, target, new_name):
        raise NameTaken(new_name)
    old = _OLD_PLACE.one(conn, object_id=record.id, collection_id=source.id)
    if old is None:
        raise NotFound(record.name)
    old_name, size, secrecy, secret_seq = old
    if source.owner_id != target.owner_id and size:
        if not add_usage(conn, target.owner_id, size):
            raise QuotaExceeded(new_name)
        add_usage(conn, source.owner_id, -size)
    if before is not None:
        _DROP_TOMBSTONE.run(conn, collection_id=target.id, name=new_name)
    _MOVE.run(
        conn,
        object_id=record.id,
        new_collection=target.id,
        new_name=new_name,
        new_seq=change_seq,
        new_secret_seq=_secret_seq(before, secrecy, change_seq),
        new_tie=change_seq if target.kind == "inbox" else 0,
    )
    _INSERT_TOMBSTONE.run(
        conn, collection_id=source.id, name=old_name, change_seq=gone_seq, secrecy=secrecy, secret_seq=secret_seq
    )
    if source.id != target.id:
        for statement in _MOVE_ALONG:
            statement.run(conn, object_id=record.id, old_collection=source.id, new_collection=target.id)
    return _require(conn, target.id, new_name)


def copy_object(conn: Conn, record: ObjectRecord, target: Collection, new_name: str, *, now_s: int) -> ObjectRecord:
    """Make a copy of a member with its body, indexes and dead properties (RFC 4918 §9.8.2).

    Needs: a write transaction; the caller has removed what stood at the target. Raises NameTaken, UidTaken,
    QuotaExceeded, NameTooLong, NotFound.
    """
    new_name = checked_name(new_name)
    lock_collections(conn, {record.collection_id, target.id})
    change_seq = bump(conn, target.id, now_s=now_s)
    there, before = _find(conn, target, new_name, record.uid)
    if there is not None:
        raise NameTaken(new_name)
    if target.kind in _NESTING_KINDS and collection_in_use(conn, target, new_name):
        raise NameTaken(new_name)
    if before is not None:
        _DROP_TOMBSTONE.run(conn, collection_id=target.id, name=new_name)
    row = _COPY.one(
        conn,
        object_id=record.id,
        new_collection=target.id,
        new_name=new_name,
        new_seq=change_seq,
        new_secret_seq=_secret_seq(before, record.secrecy, change_seq),
        new_tie=change_seq if target.kind == "inbox" else 0,
        now_s=now_s,
    )
    if row is None:
        raise NotFound(record.name)
    copy_id, size = row
    if size and not add_usage(conn, target.owner_id, size):
        raise QuotaExceeded(new_name)
    for statement in _COPY_ALONG:
        statement.run(
            conn, object_id=record.id, old_collection=record.collection_id, copy_id=copy_id, new_collection=target.id
        )
    return _require(conn, target.id, new_name)


def reindex(conn: Conn, object_id: int, index: ObjectIndex, *, etag: str | None = None) -> bool:
    """Replace what the store keeps to find a member; the member itself, its change number and UID stay as they are.

    etag: do it only when the member still has this one, so that an index made from an older body is not written.
    Returns False when the member has gone or has another ETag. Needs: a write transaction.
    """
    old = _LOCK_OBJECT.one(conn, object_id=object_id)
    if old is None or (etag is not None and old[0] != etag):
        return False
    _, collection_id, old_digest, old_recurs, old_component = old
    times = timeindex.time_rows(index)
    columns = _index_columns(index, times.digest)
    _REINDEX.run(conn, object_id=object_id, **{f"new_{key}": value for key, value in columns.items()})
    _write_times(conn, collection_id, object_id, times, (old_digest, old_recurs))
    if "VCARD" in (index.component, old_component):
        _write_card(conn, collection_id, object_id, index, replaced=True)
    return True


def renumber(conn: Conn, record: ObjectRecord, *, now_s: int) -> None:
    """Count as a change of a member that something beside it has changed; the member itself stays as it is.

    Needs: a write transaction. Raises NotFound when its collection has gone.
    """
    change_seq = bump(conn, record.collection_id, now_s=now_s)
    _RENUMBER.run(conn, object_id=record.id, new_seq=change_seq)


def set_schedule_tag(conn: Conn, object_id: int, schedule_tag: str | None) -> bool:
    """Give a member another schedule tag, or none; nothing else of it changes. False when it has gone."""
    return bool(_SET_TAG.run(conn, object_id=object_id, new_tag=schedule_tag))


def stored_uid(uid: str) -> str:
    """A UID as it is kept and compared: a very long one as its beginning and its SHA-256."""
    uid = clean(uid)
    if len(uid) * 4 > UID_BYTES_MAX:
        data = uid.encode()
        if len(data) > UID_BYTES_MAX:
            return f"{uid[:100]}…{hashlib.sha256(data).hexdigest()}"
    return uid


def fold_text(text: str) -> str:
    """Search text folded so that equal under any collation of RFC 4790 and 5051 means equal here: NFKD, case-folded."""
    if text.isascii():
        return clean(text).lower()
    decomposed = nfkd(clean(text))
    return nfkd(decomposed.casefold())


# What the functions above share


# A record while it is being made: a frozen dataclass takes six times as long to fill, and listings make thousands.
_Fresh = make_dataclass("_Fresh", [(field.name, field.type) for field in fields(ObjectRecord)], slots=True)


def _record(row: Row) -> ObjectRecord:
    """The record from a row that begins with the columns of _RECORD."""
    record: Any = _Fresh(*row[:13], row[13] == 1, row[14])
    record.__class__ = ObjectRecord  # both have the same slots
    return record  # type: ignore[no-any-return]


def _by_name(rows: list[Row]) -> list[ObjectRecord]:
    """Records in the order of their names. Sorted here: for ORDER BY, SQLite walks through the whole collection."""
    return sorted((_record(row) for row in rows), key=attrgetter("name"))


def _limit(limit: int | None) -> int:
    return (1 << 62) if limit is None else limit


def _require(conn: Conn, collection_id: int, name: str) -> ObjectRecord:
    record = object_by_name(conn, collection_id, name)
    if record is None:
        raise NotFound(name)
    return record


def _find(
    conn: Conn, collection: Collection, name: str, uid: str | None, *, but: int = 0
) -> tuple[Row | None, Row | None]:
    """(the row that has the name, (secrecy, secret_seq) of the tombstone that has it), None for none. One statement.

    The row: (id, name, size, created_s, blob, instances_digest, component, schedule_tag, secrecy, secret_seq, recurs).
    but: an object that does not count. Raises UidTaken when another one than that has the UID.
    """
    found = stone = None
    if uid is None or collection.kind == "inbox":
        rows = _FIND_NAME.all(conn, collection_id=collection.id, name=name)
    else:
        rows = _FIND.all(conn, collection_id=collection.id, name=name, uid=uid)
    for row in rows:
        if row[0] is None:
            stone = row[8:10]
        elif row[0] == but:
            continue
        elif row[1] == name:
            found = row
        else:
            raise UidTaken(row[1])
    return found, stone


def _index_columns(index: ObjectIndex, digest: int) -> dict[str, Any]:
    """Index columns of objects. What lies wholly within the indexed time counts as indexed without an end."""
    return {
        "component": index.component,
        "readable": int(index.readable),
        "first_s": index.first_s,
        "last_s": index.last_s,
        "exact": int(index.exact),
        "recurs": int(index.recurs),
        "indexed_from_s": BEGINLESS if index.first_s >= index.indexed_from_s else index.indexed_from_s,
        "indexed_to_s": ENDLESS if index.last_s <= index.indexed_to_s else index.indexed_to_s,
        "instances_digest": digest,
        "summary": None if index.summary is None else clean(index.summary),
        "secrecy": index.secrecy,
    }


def _secret_seq(before: Sequence[Any] | None, secrecy: int | None, change_seq: int) -> int:
    """The number at which what has this name last became more secret. before: (secrecy, secret_seq) of what had it.

    That may have gone: somebody who knew it is to hear that the name shows him nothing any more.
    """
    if before is None:
        return 0
    return change_seq if (secrecy or 0) > (before[0] or 0) else int(before[1])


def _write_body(conn: Conn, object_id: int, body: bytes | Blob, *, had_row: bool) -> None:
    if isinstance(body, Blob):
        if had_row:
            _DELETE_BODY.run(conn, object_id=object_id)
    elif had_row:
        _UPDATE_BODY.run(conn, row_id=object_id, new_content=body)
    else:
        _INSERT_BODY.run(conn, object_id=object_id, content=body)


def _write_times(
    conn: Conn, collection_id: int, object_id: int, times: timeindex.TimeRows, old: tuple[int, int] | None
) -> None:
    """Writes the rows of the time index where they have changed. old: (instances_digest, recurs) until now."""
    if old is not None and old[0]:
        if old[0] == times.digest:
            return
        timeindex.remove(conn, object_id, recurs=old[1] == 1)
    timeindex.write(conn, [(collection_id, object_id, times)])


def _write_card(conn: Conn, collection_id: int, object_id: int, index: ObjectIndex, *, replaced: bool) -> None:
    if replaced:
        _DELETE_CARD.run(conn, collection_id=collection_id, object_id=object_id)
    if index.component != "VCARD":
        return
    texts = dict.fromkeys(CARD_COLUMNS, "")
    for column, text in index.text:
        if column in texts:
            texts[column] = f"{texts[column]}\n{fold_text(text)}" if texts[column] else fold_text(text)
    _INSERT_CARD.run(conn, collection_id=collection_id, object_id=object_id, **texts)


def _in_range(
    conn: Conn,
    width: int,
    collection_id: int,
    component: str,
    span: tuple[int | None, int | None],
    local: tuple[int | None, int | None],
) -> list[Row]:
    """What in_range finds: the columns of a width, then id, size and _YES or _MAYBE.

    By the bounds of whole objects for open ends, and for components whose overlap has its own rules.
    """
    params: dict[str, Any] = {"collection_id": collection_id, "component": component}
    if component == "VEVENT" and None not in (*span, *local):
        times = [*span, *local]
        rows = _IN_RANGE[width].all(conn, **params, **timeindex.span(*times))  # type: ignore[arg-type]
        beyond = _OUT_OF_REACH[width].all(conn, **params, start_s=span[0], end_s=span[1])
        if beyond:
            found = {row[-3] for row in rows}
            rows += [row for row in beyond if row[-3] not in found]
        return rows
    start_s, local_start_s = (_NEVER_BEFORE if pair[0] is None else pair[0] for pair in (span, local))
    end_s, local_end_s = (_NEVER_AFTER if pair[1] is None else pair[1] for pair in (span, local))
    params |= {"start_s": start_s, "end_s": end_s}
    if component != "VEVENT":
        return _BY_BOUNDS[width].all(conn, **params)
    rows = _BY_BOUNDS_VEVENT[width].all(conn, **params, local_start_s=local_start_s, local_end_s=local_end_s)
    return [row for row in rows if row[-1] != _NO]


_RECORD = (
    _o.c.id, _o.c.collection_id, _o.c.name, _o.c.etag, _o.c.size, _o.c.content_type, _o.c.change_seq, _o.c.created_s,
    _o.c.modified_s, _o.c.uid, _o.c.component, _o.c.schedule_tag, _o.c.blob, _o.c.readable, _o.c.secrecy,
)  # fmt: skip
_WIDTH = len(_RECORD)  # where what is selected after a record stands in its row
_INDEX = (
    "component", "readable", "first_s", "last_s", "exact", "recurs", "indexed_from_s", "indexed_to_s",
    "instances_digest", "summary", "secrecy",
)  # fmt: skip
_CONTENT = (
    "etag", "size", "content_type", "change_seq", "modified_s", "uid", "uid_tie", "schedule_tag", "blob",
    "secret_seq", *_INDEX,
)  # fmt: skip
_NO, _MAYBE, _YES = -1, 0, 1
_RECORDS = 0  # in the place of a width: the columns of a record
_here = _o.c.collection_id == sa.bindparam("collection_id")
_readable = _o.c.readable == sa.literal_column("1")
_with_body = _o.outerjoin(_b, _b.c.object_id == _o.c.id)


def _new(*names: str) -> dict[str, Any]:
    return {name: sa.bindparam(f"new_{name}", type_=_o.c[name].type) for name in names}


_BY_NAME = Statement(sa.select(*_RECORD).where(_here, _o.c.name == sa.bindparam("name")))
_BY_NAMES = Statement(sa.select(*_RECORD).where(_here, one_of(_o.c.name, "names")))
_BODIES_BY_NAMES = Statement(
    sa.select(*_RECORD, _b.c.content).select_from(_with_body).where(_here, one_of(_o.c.name, "names"))
)
_BY_UID = Statement(
    sa.select(*_RECORD).where(_here, _o.c.uid == sa.bindparam("uid")).order_by(_o.c.uid_tie.desc()).limit(1)
)
_LIST = Statement(sa.select(*_RECORD).where(_here).order_by(_o.c.name).limit(sa.bindparam("n")))
_listed = {width: [_o.c[name] for name in LISTED[:width]] for width in _WIDTHS}
_LIST_COLUMNS = {
    width: Statement(
        sa.select(*columns).where(_here, _o.c.name > sa.bindparam("after")).order_by(_o.c.name).limit(sa.bindparam("n"))
    )
    for width, columns in _listed.items()
}


def _list_texts(columns: Sequence[sa.Column[Any]]) -> Statement:
    page = sa.select(*columns).where(_here, _o.c.name > sa.bindparam("after")).order_by(_o.c.name)
    limited = page.limit(sa.bindparam("n")).subquery()
    joined = [joined_text(limited.c[column.name], "/" if column is _o.c.name else "\n") for column in columns]
    return Statement(sa.select(*joined))


_LIST_TEXTS = {width: _list_texts(_listed[width]) for width in (2, TEXTS)}
_short_body = sa.case((_o.c.size <= sa.literal_column(str(SHORT_BODY_BYTES)), _b.c.content))
_BY_NAME_WITH_BODY = Statement(
    sa.select(*_RECORD, _short_body).select_from(_with_body).where(_here, _o.c.name == sa.bindparam("name"))
)
_SHORT_BY_NAMES = {
    width: Statement(sa.select(*columns, _short_body).select_from(_with_body).where(_here, one_of(_o.c.name, "names")))
    for width, columns in _listed.items()
}
_iter = sa.select(*_RECORD, _b.c.content).select_from(_with_body).where(_here, _o.c.name > sa.bindparam("after"))
_ITER = Statement(_iter.order_by(_o.c.name).limit(sa.bindparam("n")))
_ITER_CONTENTS = Statement(
    sa.select(_o.c.name, _b.c.content)
    .select_from(_with_body)
    .where(_here, _o.c.name > sa.bindparam("after"))
    .order_by(_o.c.name)
    .limit(sa.bindparam("n"))
)
_ITER_COMPONENT = Statement(
    # Not the column itself: SQLite would take the index that begins with it, and sort all of them for every batch.
    _iter.where(_o.c.component.concat(sa.literal_column("''")) == sa.bindparam("component"), _readable)
    .order_by(_o.c.name)
    .limit(sa.bindparam("n"))
)
_BODY = Statement(sa.select(_b.c.content).where(_b.c.object_id == sa.bindparam("object_id")))
_BODIES = Statement(sa.select(_b.c.object_id, _b.c.content).where(one_of(_b.c.object_id, "ids", integers=True)))
# What a query reads of each, by width: the columns, the id and the size.
_queried = {
    width: (*columns, _o.c.id.label("object_id"), _o.c.size.label("object_size"))
    for width, columns in {_RECORDS: _RECORD, **_listed}.items()
}
_yes: sa.ColumnElement[int] = sa.literal_column(str(_YES))
_maybe: sa.ColumnElement[int] = sa.literal_column(str(_MAYBE))
_no: sa.ColumnElement[int] = sa.literal_column(str(_NO))


def _page(columns: Sequence[sa.ColumnElement[Any]], *conditions: sa.ColumnElement[bool]) -> Statement:
    """Readable members behind a name, by name."""
    return Statement(
        sa.select(*columns, _yes)
        .where(_here, _o.c.name > sa.bindparam("after"), _readable, *conditions)
        .order_by(_o.c.name)
        .limit(sa.bindparam("n"))
    )


_OF_COMPONENT = {
    width: Statement(
        sa.select(*columns, _yes)
        .where(_here, _o.c.component == sa.bindparam("component"), _readable)
        .limit(sa.bindparam("n"))
    )
    for width, columns in _queried.items()
}
_READABLE = {width: _page(columns) for width, columns in _queried.items() if width != _RECORDS}
# Not the column itself, as in _ITER_COMPONENT.
_of_component = _o.c.component.concat(sa.literal_column("''")) == sa.bindparam("component")
_PAGE_OF_COMPONENT = {width: _page(columns, _of_component) for width, columns in _queried.items() if width != _RECORDS}
_UNREADABLE = Statement(sa.select(*_RECORD).where(_here, _o.c.readable == sa.literal_column("0")))
_SEARCH_CARDS = {
    column: Statement(
        sa.select(*_RECORD)
        .where(
            _o.c.id.in_(
                sa.select(_k.c.object_id).where(
                    _k.c.collection_id == sa.bindparam("collection_id"), position_of(_k.c[column], "text") > 0
                )
            ),
            _readable,
        )
        .order_by(_o.c.name)
    )
    for column in CARD_COLUMNS
}


def _in_collection(column: sa.Column[int]) -> sa.ColumnElement[bool]:
    return column == sa.bindparam("collection_id")


# The objects are found by the ids alone: with the collection in the condition too, SQLite would rather walk through it.
_IN_RANGE = {
    width: Statement(
        sa.select(*columns, _yes).where(
            _o.c.id.in_(timeindex.found_ids(_in_collection)),
            _o.c.component == sa.bindparam("component"),
            _readable,
        )
    )
    for width, columns in _queried.items()
}
_BUSY = Statement(timeindex.found_busy(_in_collection))


def _out_of_reach(columns: Sequence[sa.ColumnElement[Any]], *conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    """Members whose index ends before the range does, or begins after it does, and whose bounds meet it.

    Each half is a range of a partial index that holds only the members that are not wholly indexed. SQLite takes the
    condition that stands first as the bound of the range; the constant one is there only to allow the partial index.
    Bounds stand in a sum, so that PostgreSQL does not take the index of all bounds: as long as it has no statistics of
    a collection, it would walk through it (100,000 members: 86 ms of its time instead of 0.3).
    """
    start, end = sa.bindparam("start_s", type_=schema.Int), sa.bindparam("end_s", type_=schema.Int)
    none: sa.ColumnElement[int] = sa.literal_column("0")
    late, early = _o.alias("late"), _o.alias("early")
    halves = sa.union_all(
        sa.select(late.c.id).where(
            late.c.collection_id == sa.bindparam("collection_id"),
            late.c.indexed_to_s < end,
            late.c.indexed_to_s < sa.literal_column(str(ENDLESS)),
            late.c.first_s + none <= end,
            late.c.last_s + none >= start,
        ),
        sa.select(early.c.id).where(
            early.c.collection_id == sa.bindparam("collection_id"),
            early.c.indexed_from_s > start,
            early.c.indexed_from_s > sa.literal_column(str(BEGINLESS)),
            early.c.first_s + none <= end,
            early.c.last_s + none >= start,
        ),
    )
    return sa.select(*columns).where(_o.c.id.in_(halves), _readable, *conditions)


_OUT_OF_REACH = {
    width: Statement(_out_of_reach((*columns, _maybe), _o.c.component == sa.bindparam("component")))
    for width, columns in _queried.items()
}
_OUT_OF_REACH_BUSY = Statement(
    _out_of_reach(_RECORD, _o.c.component.in_([sa.literal_column("'VEVENT'"), sa.literal_column("'VFREEBUSY'")]))
)

_start = sa.bindparam("start_s", type_=schema.Int)
_end = sa.bindparam("end_s", type_=schema.Int)
_by_bounds = (
    _here,
    _o.c.component == sa.bindparam("component"),
    _o.c.last_s >= _start,
    _o.c.first_s <= _end,
    _readable,
)
_BY_BOUNDS = {width: Statement(sa.select(*columns, _maybe).where(*_by_bounds)) for width, columns in _queried.items()}


# Exact bounds say it, but for an instance that only touches an end of the range; else the index, when it reaches.
_certainty = sa.case(
    (
        sa.and_(
            _o.c.exact == 1,
            _o.c.last_s > _start,
            _o.c.first_s < _end,
            sa.or_(_start <= sa.literal_column(str(BEGINLESS)), _end >= sa.literal_column(str(ENDLESS))),
        ),
        _yes,
    ),
    (
        sa.and_(_o.c.indexed_from_s <= _start, _o.c.indexed_to_s >= _end),
        sa.case((timeindex.has_instance(_o.c.id, _o), _yes), else_=_no),
    ),
    else_=_maybe,
)
_BY_BOUNDS_VEVENT = {
    width: Statement(sa.select(*columns, _certainty).where(*_by_bounds)) for width, columns in _queried.items()
}


def _first_changes(columns: Sequence[sa.ColumnElement[Any]], *, seen: bool = False) -> Statement:
    shown = [_is_shown(_o)] if seen else []
    return Statement(sa.select(*columns).where(_here, *shown).order_by(_o.c.change_seq).limit(sa.bindparam("n")))


def _is_shown(table: sa.Table) -> sa.ColumnElement[bool]:
    return sa.or_(table.c.secrecy.is_(None), table.c.secrecy < sa.bindparam("hidden_from", type_=schema.Int))


def _changes(columns: Sequence[sa.Column[Any]], *, seen: bool = False) -> Statement:
    """Columns of the members that changed after a number, and of those removed, for which most are null.

    seen: without what was hidden already at that number, see changes_seen.
    """
    since = sa.bindparam("since", type_=schema.Int)
    told = _t.c.keys() if seen else ("collection_id", "name", "change_seq")  # what the index holds
    extra = {table: [sa.or_(_is_shown(table), table.c.secret_seq > since)] if seen else [] for table in (_o, _t)}
    tombstone = [
        _t.c[column.name] if column.name in told else sa.cast(sa.null(), column.type).label(column.name)
        for column in columns
    ]
    halves = (
        sa.select(*columns).where(_here, _o.c.change_seq > since, *extra[_o]).order_by(_o.c.change_seq),
        sa.select(*tombstone)
        .where(_t.c.collection_id == sa.bindparam("collection_id"), _t.c.change_seq > since, *extra[_t])
        .order_by(_t.c.change_seq),
    )
    # PostgreSQL, as long as its statistics are older than what a collection holds, takes any index of the collection
    # and filters, unless each half is to be in order. SQLite merges two halves in order by itself, and sorts these.
    cut = [sa.select(half.limit(sa.bindparam("n")).subquery()) for half in halves]
    return Statement(
        sqlite=_in_order(sa.union_all(*(half.order_by(None) for half in halves))),
        postgresql=_in_order(sa.union_all(*cut)),
    )


def _in_order(both: sa.CompoundSelect[Any]) -> sa.CompoundSelect[Any]:
    return both.order_by(both.selected_columns.change_seq).limit(sa.bindparam("n"))


def _any_secret(*, once: bool) -> Statement:
    found: sa.Select[Any] = sa.select(sa.literal_column("1")).where(_here, sa.text(f"({schema.SECRET})")).limit(1)
    if not once:
        return Statement(found)
    gone: sa.Select[Any] = sa.select(sa.literal_column("1")).where(
        _t.c.collection_id == sa.bindparam("collection_id"), sa.text(f"({schema.SECRET_ONCE})")
    )
    return Statement(sa.union_all(found.limit(None), gone).limit(1))


_ANY_IN_FOLDER = Statement(
    sa.select(sa.literal_column("1"))
    .where(_here, sa.text(f"({schema.SECRET})"), _o.c.blob.is_not(None), _o.c.component != sa.literal_column("''"))
    .limit(1)
)
_ANY_SECRET, _ANY_SECRET_ONCE = _any_secret(once=False), _any_secret(once=True)
_FIRST_CHANGES = _first_changes(_RECORD)
_CHANGES = _changes(_RECORD)
_FIRST_SEEN, _SEEN = _first_changes(_RECORD, seen=True), _changes(_RECORD, seen=True)
_FIRST_COLUMNS = {width: _first_changes([*columns, _o.c.change_seq]) for width, columns in _listed.items()}
_CHANGED_COLUMNS = {width: _changes([*columns, _o.c.change_seq]) for width, columns in _listed.items()}
_CURRENT = Statement(
    sa.select(schema.collections.c.change_seq).where(schema.collections.c.id == sa.bindparam("collection_id"))
)
_TO_EXTEND = Statement(
    sa.select(*_RECORD)
    .select_from(_o.join(schema.collections, schema.collections.c.id == _o.c.collection_id))
    .where(
        _o.c.indexed_to_s < sa.bindparam("before_s"),
        _o.c.indexed_to_s < sa.literal_column(str(ENDLESS)),
        schema.collections.c.deleted_s.is_(None),
        _readable,
    )
    .order_by(_o.c.indexed_to_s)
    .limit(sa.bindparam("n"))
)

_FOUND = (
    _o.c.id, _o.c.name, _o.c.size, _o.c.created_s, _o.c.blob, _o.c.instances_digest, _o.c.component,
    _o.c.schedule_tag, _o.c.secrecy, _o.c.secret_seq, _o.c.recurs,
)  # fmt: skip
_find_name = sa.select(*_FOUND).where(_here, _o.c.name == sa.bindparam("name"))
_find_stone = sa.select(
    *(
        _t.c[column.name] if column.name in ("name", "secrecy", "secret_seq") else sa.cast(sa.null(), column.type)
        for column in _FOUND
    )
).where(_t.c.collection_id == sa.bindparam("collection_id"), _t.c.name == sa.bindparam("name"))
_FIND_NAME = Statement(sa.union_all(_find_name, _find_stone))
# Not by OR: SQLite would look at every member instead of using both indexes.
_FIND = Statement(
    sa.union_all(
        _find_name,
        sa.select(*_FOUND).where(
            _here, _o.c.uid == sa.bindparam("uid", type_=schema.Text), _o.c.name != sa.bindparam("name")
        ),
        _find_stone,
    )
)
_INSERT = Statement(
    _o.insert()
    .values({name: sa.bindparam(name) for name in ("collection_id", "name", "created_s", *_CONTENT)})
    .returning(_o.c.id)
)
_UPDATE = Statement(_o.update().where(_o.c.id == sa.bindparam("object_id")).values(_new(*_CONTENT)))
_REINDEX = Statement(_o.update().where(_o.c.id == sa.bindparam("object_id")).values(_new(*_INDEX)))
_DELETE = Statement(
    _o.delete()
    .where(_o.c.id == sa.bindparam("object_id"), _o.c.collection_id == sa.bindparam("collection_id"))
    .returning(
        _o.c.name, _o.c.size, _o.c.instances_digest, _o.c.recurs, _o.c.component, _o.c.secrecy, _o.c.secret_seq,
        sa.exists()
        .where(_p.c.collection_id == sa.bindparam("collection_id"), _p.c.object_id == sa.bindparam("object_id"))
        .label("has_properties"),
    )
)  # fmt: skip
_LOCK_OBJECT = Statement(
    sa.select(_o.c.etag, _o.c.collection_id, _o.c.instances_digest, _o.c.recurs, _o.c.component)
    .where(_o.c.id == sa.bindparam("object_id"))
    .with_for_update()
)
_OLD_PLACE = Statement(
    sa.select(_o.c.name, _o.c.size, _o.c.secrecy, _o.c.secret_seq).where(_o.c.id == sa.bindparam("object_id"), _here)
)
_MOVE = Statement(
    _o.update()
    .where(_o.c.id == sa.bindparam("object_id"))
    .values(
        collection_id=sa.bindparam("new_collection"),
        name=sa.bindparam("new_name"),
        change_seq=sa.bindparam("new_seq"),
        uid_tie=sa.bindparam("new_tie"),
        secret_seq=sa.bindparam("new_secret_seq"),
    )
)
_MOVE_ALONG = tuple(
    Statement(
        table.update()
        .where(table.c.collection_id == sa.bindparam("old_collection"), table.c.object_id == sa.bindparam("object_id"))
        .values(collection_id=sa.bindparam("new_collection"))
    )
    for table in (schema.instances, schema.runs, _k, _p)
)
_copied = [
    column
    for column in _o.c
    if column.name
    not in ("id", "collection_id", "name", "change_seq", "uid_tie", "secret_seq", "created_s", "modified_s")
]
_COPY = Statement(
    _o.insert()
    .from_select(
        [
            "collection_id",
            "name",
            "change_seq",
            "uid_tie",
            "secret_seq",
            "created_s",
            "modified_s",
            *(c.name for c in _copied),
        ],
        sa.select(
            sa.bindparam("new_collection", type_=schema.Int),
            sa.bindparam("new_name", type_=schema.Text),
            sa.bindparam("new_seq", type_=schema.Int),
            sa.bindparam("new_tie", type_=schema.Int),
            sa.bindparam("new_secret_seq", type_=schema.Int),
            sa.bindparam("now_s", type_=schema.Int),
            sa.bindparam("now_s", type_=schema.Int),
            *_copied,
        ).where(_o.c.id == sa.bindparam("object_id")),
    )
    .returning(_o.c.id, _o.c.size)
)
_copy_id = sa.bindparam("copy_id", type_=schema.Int)
_new_collection = sa.bindparam("new_collection", type_=schema.Int)


def _copy_rows(table: sa.Table) -> Statement:
    """Copy an object's rows in a table for its copy."""
    names = [column.name for column in table.c]
    values: dict[str, Any] = {"collection_id": _new_collection, "object_id": _copy_id}
    chosen = sa.select(*(values.get(name, table.c[name]) for name in names))
    chosen = chosen.where(table.c.object_id == sa.bindparam("object_id"))
    if "collection_id" in table.c:
        chosen = chosen.where(table.c.collection_id == sa.bindparam("old_collection"))
    return Statement(table.insert().from_select(names, chosen))


_COPY_ALONG = tuple(_copy_rows(table) for table in (_b, schema.instances, schema.runs, _k, _p))
_INSERT_BODY = Statement(_b.insert().values(object_id=sa.bindparam("object_id"), content=sa.bindparam("content")))
_UPDATE_BODY = Statement(
    _b.update().where(_b.c.object_id == sa.bindparam("row_id")).values(content=sa.bindparam("new_content"))
)
_DELETE_BODY = Statement(_b.delete().where(_b.c.object_id == sa.bindparam("object_id")))
_INSERT_CARD = Statement(
    _k.insert().values({name: sa.bindparam(name) for name in ("collection_id", "object_id", *CARD_COLUMNS)})
)
_DELETE_CARD = Statement(
    _k.delete().where(_k.c.collection_id == sa.bindparam("collection_id"), _k.c.object_id == sa.bindparam("object_id"))
)
_DELETE_PROPERTIES = Statement(
    _p.delete().where(_p.c.collection_id == sa.bindparam("collection_id"), _p.c.object_id == sa.bindparam("object_id"))
)
_INSERT_TOMBSTONE = Statement(
    _t.insert().values(
        {name: sa.bindparam(name) for name in ("collection_id", "name", "change_seq", "secrecy", "secret_seq")}
    )
)
_DROP_TOMBSTONE = Statement(
    _t.delete().where(_t.c.collection_id == sa.bindparam("collection_id"), _t.c.name == sa.bindparam("name"))
)
_KEEP_VERSION = Statement(
    _v.insert().from_select(
        ["object_id", *one_trip.KEPT, "content", "cause", "ended_s"],
        sa.select(
            _o.c.id,
            *(_o.c[name] for name in one_trip.KEPT),
            _b.c.content,
            sa.bindparam("cause", type_=schema.Text),
            sa.bindparam("now_s", type_=schema.Int),
        )
        .select_from(_with_body)
        .where(_o.c.id == sa.bindparam("object_id")),
    )
)


# Scheduling objects: one UID in all calendars of an account (RFC 6638 §3.2.4.1)


def scheduling_by_uid(conn: Conn, owner_id: int, uid: str) -> list[tuple[Collection, ObjectRecord]]:
    """The members with this UID in the live calendars of an account, in the order of the calendars. One statement."""
    rows = _SCHEDULING.all(conn, owners=conn.array([owner_id]), uid=stored_uid(uid))
    return [_placed(row) for row in rows]


def scheduling_bodies(conn: Conn, owner_id: int, uid: str) -> list[tuple[Collection, ObjectRecord, bytes]]:
    """As scheduling_by_uid, with their bodies; b"" for a blob's. One statement."""
    rows = _SCHEDULING_BODIES.all(conn, owners=conn.array([owner_id]), uid=stored_uid(uid))
    return [(*_placed(row), row[-1] or b"") for row in rows]


def scheduling_by_owners(
    conn: Conn, owner_ids: Iterable[int], uid: str
) -> dict[int, list[tuple[Collection, ObjectRecord, bytes]]]:
    """As scheduling_bodies, by account, for any number of them; accounts without such a member are left out.

    One statement.
    """
    found: dict[int, list[tuple[Collection, ObjectRecord, bytes]]] = {}
    for row in _SCHEDULING_BODIES.all(conn, owners=conn.array(owner_ids), uid=stored_uid(uid)):
        collection, record = _placed(row)
        found.setdefault(collection.owner_id, []).append((collection, record, row[-1] or b""))
    return found


def _placed(row: Row) -> tuple[Collection, ObjectRecord]:
    return _collection(row[_WIDTH:]), _record(row)


def _scheduling(*more: sa.ColumnElement[Any]) -> Statement:
    calendars, owners = schema.collections, schema.accounts
    return Statement(
        sa.select(*_RECORD, *_COLLECTION, *more)
        .select_from(
            calendars.join(owners, owners.c.id == calendars.c.owner_id)
            .join(_o, _o.c.collection_id == calendars.c.id)
            .outerjoin(_b, _b.c.object_id == _o.c.id)
        )
        .where(
            one_of(calendars.c.owner_id, "owners", integers=True),
            calendars.c.kind == sa.literal_column("'calendar'"),
            # What an outsider writes into a calendar that is followed is no meeting of its owner.
            calendars.c.origin == sa.literal_column("''"),
            calendars.c.deleted_s.is_(None),
            _o.c.uid == sa.bindparam("uid", type_=schema.Text),
        )
        .order_by(calendars.c.owner_id, calendars.c.position, calendars.c.id)
    )


_UNCLASSIFIED = Statement(
    sa.select(*_RECORD, _b.c.content)
    .select_from(_with_body)
    .where(_o.c.secrecy.is_(None))
    .order_by(_o.c.component)  # by the index that has these alone
    .limit(sa.bindparam("n"))
)
_CLASSIFY = Statement(
    _o.update()
    .where(_o.c.id == sa.bindparam("object_id"), _o.c.etag == sa.bindparam("old_etag"), _o.c.secrecy.is_(None))
    .values(secrecy=sa.bindparam("new_secrecy"))
)
_RENUMBER = Statement(
    _o.update().where(_o.c.id == sa.bindparam("object_id")).values(change_seq=sa.bindparam("new_seq"))
)
_SCHEDULING, _SCHEDULING_BODIES = _scheduling(), _scheduling(_b.c.content)
_SET_TAG = Statement(
    _o.update()
    .where(_o.c.id == sa.bindparam("object_id"))
    .values(schedule_tag=sa.bindparam("new_tag", type_=schema.Text))
)
