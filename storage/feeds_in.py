"""Outside calendars that the server follows: where they come from, when they are due, and what became of the last look.

A followed calendar is a collection of kind "calendar" and origin "feed" with one row in feeds_in. Whoever fetches one
takes it first, for the length of a lease; every write of what was fetched asks whether it is still taken by the same.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from storage import collections, schema
from storage.collections import _COLUMNS as _COLLECTION
from storage.collections import _collection
from storage.engine import Conn, Row, Statement, clean, one_of
from storage.records import Collection

STRIPS = ("alarms", "attachments", "todos")
NOTES_CHARS_MAX = 16_000
ERROR_CHARS_MAX = 500

_f = schema.feeds_in
_c = schema.collections
_a = schema.accounts
_t = schema.tombstones
_p = schema.properties


@dataclass(frozen=True, slots=True)
class Feed:
    """The row of a followed calendar.

    url: where it is fetched, which may hold a password. etag, last_modified: of the last good answer, as they came.
    digest: SHA-256 in hex of its body and of how it was read. strip: of STRIPS. interval_s: what its owner wants;
    offered_s: what the feed itself asks for; None each when nothing is said. checked_s, good_s: the last look, and the
    last one that went well. failures: looks since then. held: the last answer looked wrong, and is believed if the next
    one is the same. error: a sentence, "" while all is well. notes: what was left out, a line each.
    """

    collection_id: int
    url: str
    etag: str
    last_modified: str
    digest: str
    error: str
    holder: str
    strip: tuple[str, ...]
    interval_s: int | None
    offered_s: int | None
    checked_s: int | None
    good_s: int | None
    next_s: int
    failures: int
    held: bool
    notes: str


@dataclass(frozen=True, slots=True)
class Good:
    """What is kept of a look that went well. As in Feed."""

    url: str
    etag: str
    last_modified: str
    digest: str
    offered_s: int | None
    next_s: int
    notes: str


def follow(
    conn: Conn,
    account_id: int,
    url: str,
    *,
    name: str,
    display_name: str | None,
    strip: Iterable[str] = (),
    interval_s: int | None = None,
    transparent: bool = True,
    next_s: int,
    now_s: int,
) -> Collection:
    """Make a followed calendar in the account's home; it is empty, and fetched at next_s.

    name: its path; when that is taken, a number is put behind it. transparent: its events do not make its owner busy.
    Raises NotFound, NameTooLong.
    """
    home = collections.home(conn, account_id, "calendars")
    collections.lock_collections(conn, [home.id])
    free, number = name, 1
    while collections.name_in_use(conn, home, free):
        number += 1
        free = f"{name}-{number}"
    made = collections.create_collection(
        conn, home, free, kind="calendar", display_name=display_name, components=("VEVENT",), transparent=transparent,
        position=1, now_s=now_s,
    )  # fmt: skip
    _SET_ORIGIN.run(conn, collection_id=made.id)
    _INSERT.run(
        conn, collection_id=made.id, url=clean(url), strip=",".join(strip), interval_s=interval_s, next_s=next_s
    )
    collection = collections.collection_by_id(conn, made.id)
    assert collection is not None
    return collection


def feed_of(conn: Conn, collection_id: int) -> Feed | None:
    """The row of a collection that is followed. One statement."""
    row = _ONE.one(conn, collection_id=collection_id)
    return None if row is None else _feed(row)


def feeds_of(conn: Conn, account_id: int) -> list[tuple[Collection, Feed]]:
    """What an account follows, in the order of its home. One statement."""
    return [_both(row) for row in _OF_ACCOUNT.all(conn, account_id=account_id)]


def list_feeds(conn: Conn, *, after_id: int = 0, limit: int = 100) -> list[tuple[Collection, Feed]]:
    """What all accounts follow, in the order of the collections' ids, from after after_id on. One statement."""
    return [_both(row) for row in _ALL.all(conn, after_id=after_id, n=limit)]


def count_of(conn: Conn, account_id: int) -> int:
    """How many calendars an account follows."""
    return int(_COUNT.scalar(conn, account_id=account_id))


def any_due(conn: Conn, now_s: int) -> bool:
    """Whether take() would find something. One statement, that reads."""
    return _ANY_DUE.one(conn, now_s=now_s) is not None


def take(conn: Conn, *, holder: str, now_s: int, lease_s: int, limit: int) -> list[tuple[Collection, Feed]]:
    """Take up to `limit` calendars that are due, so that nobody else fetches them until now_s + lease_s.

    Those of disabled accounts wait. Commit before fetching. Two statements.
    """
    ids = [row[0] for row in _TAKE.all(conn, holder=clean(holder), now_s=now_s, until_s=now_s + lease_s, n=limit)]
    return _by_ids(conn, ids) if ids else []


def take_one(
    conn: Conn, collection_id: int, *, holder: str, now_s: int, lease_s: int
) -> tuple[Collection, Feed] | None:
    """Take this calendar, due or not; None when it is not there, or somebody else is fetching it now."""
    done = _TAKE_ONE.run(conn, collection_id=collection_id, holder=clean(holder), now_s=now_s, until_s=now_s + lease_s)
    found = _by_ids(conn, [collection_id]) if done else []
    return found[0] if found else None


def still_taken(conn: Conn, collection_id: int, holder: str) -> bool:
    """Whether the calendar is live and taken by `holder`; to be asked in each transaction that writes to it.

    On PostgreSQL the row is locked until the end of the transaction. One statement.
    """
    return _STILL.one(conn, collection_id=collection_id, by=clean(holder)) is not None


def went_well(conn: Conn, collection_id: int, good: Good, *, holder: str, now_s: int) -> bool:
    """Note a good look and give the calendar back. False when it was not taken by `holder` any more."""
    return bool(
        _GOOD.run(
            conn,
            feed_id=collection_id,
            by=clean(holder),
            new_url=clean(good.url),
            new_etag=clean(good.etag),
            new_modified=clean(good.last_modified),
            new_digest=good.digest,
            new_offered=good.offered_s,
            new_next=good.next_s,
            new_notes=clean(good.notes)[:NOTES_CHARS_MAX],
            now_s=now_s,
        )
    )


def went_wrong(conn: Conn, collection_id: int, error: str, *, held: bool, next_s: int, holder: str, now_s: int) -> bool:
    """Note a look that failed and give the calendar back. False when it was not taken by `holder` any more."""
    return bool(
        _BAD.run(
            conn,
            feed_id=collection_id,
            by=clean(holder),
            new_error=clean(error)[:ERROR_CHARS_MAX],
            new_held=int(held),
            new_next=next_s,
            now_s=now_s,
        )
    )


def give_back(conn: Conn, collection_id: int, *, holder: str, next_s: int) -> None:
    """Give a calendar back that was not looked at; it is due again at next_s."""
    _GIVE_BACK.run(conn, feed_id=collection_id, by=clean(holder), new_next=next_s)


def change(
    conn: Conn, collection_id: int, *, url: str, strip: Iterable[str], interval_s: int | None, next_s: int
) -> bool:
    """Follow another address, or read it otherwise. What is being fetched now is not written any more.

    False when the collection is not followed.
    """
    values = {"new_url": clean(url), "new_strip": ",".join(strip), "new_interval": interval_s, "new_next": next_s}
    return bool(_CHANGE.run(conn, feed_id=collection_id, **values))


def subscribed_with(conn: Conn, name: str) -> list[tuple[Collection, dict[str, str]]]:
    """Live collections of kind "subscribed" of active accounts that have the property `name`, with all their own.

    {Clark name: XML}. In the order of their ids; two statements.
    """
    found = [_collection(row) for row in _SUBSCRIBED.all(conn, name=name)]
    properties: dict[int, dict[str, str]] = {one.id: {} for one in found}
    for collection_id, key, xml in _PROPERTIES.all(conn, ids=conn.array(properties)):
        properties[collection_id][key] = xml
    return [(one, properties[one.id]) for one in found]


def feeds_with(conn: Conn, name: str) -> list[tuple[Collection, Feed, str]]:
    """Followed calendars of all accounts that have the property `name`, with its XML. One statement."""
    return [(*_both(row[1:]), row[0]) for row in _WITH.all(conn, name=name)]


def was_removed(conn: Conn, account_id: int, name: str) -> bool:
    """Whether the account's calendar home once had a collection of this name and has it no more. One statement."""
    return _REMOVED.one(conn, account_id=account_id, name=name) is not None


def _by_ids(conn: Conn, ids: Iterable[int]) -> list[tuple[Collection, Feed]]:
    return [_both(row) for row in _BY_IDS.all(conn, ids=conn.array(ids))]


def _feed(row: Row) -> Feed:
    strip = tuple(part for part in str(row[7]).split(",") if part)
    return Feed(
        row[0], row[1], row[2], row[3], row[4], row[5], row[6], strip, row[8], row[9], row[10], row[11], row[12],
        row[13], row[14] == 1, row[15],
    )  # fmt: skip


def _both(row: Row) -> tuple[Collection, Feed]:
    return _collection(row[16:]), _feed(row)


_FEED = (
    _f.c.collection_id, _f.c.url, _f.c.etag, _f.c.last_modified, _f.c.digest, _f.c.error, _f.c.holder, _f.c.strip,
    _f.c.interval_s, _f.c.offered_s, _f.c.checked_s, _f.c.good_s, _f.c.next_s, _f.c.failures, _f.c.held, _f.c.notes,
)  # fmt: skip
_live = _c.c.deleted_s.is_(None)
_feeds = _f.join(_c, _c.c.id == _f.c.collection_id).join(_a, _a.c.id == _c.c.owner_id)
_now: sa.BindParameter[int] = sa.bindparam("now_s", type_=schema.Int)
_none: sa.ColumnClause[str] = sa.literal_column("''")
_zero: sa.ColumnClause[int] = sa.literal_column("0")


def _select(*conditions: sa.ColumnElement[bool]) -> sa.Select[Any]:
    return sa.select(*_FEED, *_COLLECTION).select_from(_feeds).where(*conditions, _live)


_SET_ORIGIN = Statement(
    _c.update().where(_c.c.id == sa.bindparam("collection_id")).values(origin=sa.literal_column("'feed'"))
)
_INSERT = Statement(
    _f.insert().values(
        {name: sa.bindparam(name, type_=_f.c[name].type) for name in ("collection_id", "url", "strip", "interval_s",
                                                                       "next_s")}
    )
)  # fmt: skip
_ONE = Statement(sa.select(*_FEED).where(_f.c.collection_id == sa.bindparam("collection_id")))
_OF_ACCOUNT = Statement(_select(_c.c.owner_id == sa.bindparam("account_id")).order_by(_c.c.position, _c.c.id))
_ALL = Statement(
    _select(_f.c.collection_id > sa.bindparam("after_id")).order_by(_f.c.collection_id).limit(sa.bindparam("n"))
)
_BY_IDS = Statement(_select(one_of(_f.c.collection_id, "ids", integers=True)).order_by(_f.c.collection_id))
# By the calendars that are followed: properties are many more.
_xml_of = (
    sa.select(_p.c.xml)
    .where(_p.c.collection_id == _f.c.collection_id, _p.c.object_id == _zero, _p.c.name == sa.bindparam("name"))
    .scalar_subquery()
)
_WITH = Statement(
    sa.select(_xml_of, *_FEED, *_COLLECTION)
    .select_from(_feeds)
    .where(_xml_of.is_not(None), _live)
    .order_by(_f.c.collection_id)
)
_COUNT = Statement(
    sa.select(sa.func.count()).select_from(_feeds).where(_c.c.owner_id == sa.bindparam("account_id"), _live)
)
_due = (
    sa.select(_f.c.collection_id)
    .select_from(_feeds)
    .where(_f.c.next_s <= _now, _live, _a.c.active == 1)
    .order_by(_f.c.next_s, _f.c.collection_id)
)
_ANY_DUE = Statement(_due.limit(1))
_some_due = _due.limit(sa.bindparam("n"))
_taken: dict[str, Any] = {"holder": sa.bindparam("holder"), "next_s": sa.bindparam("until_s", type_=schema.Int)}
_TAKE = Statement(
    sqlite=_f.update().where(_f.c.collection_id.in_(_some_due)).values(_taken).returning(_f.c.collection_id),
    # An array, so that the rows are chosen and locked once; as a join they might be chosen anew for each row.
    postgresql=_f.update()
    .where(
        _f.c.collection_id
        == sa.any_(sa.func.array(_some_due.with_for_update(skip_locked=True, of=_f).scalar_subquery()))
    )
    .values(_taken)
    .returning(_f.c.collection_id),
)
# While somebody fetches it, next_s is when the lease ends.
_TAKE_ONE = Statement(
    _f.update()
    .where(
        _f.c.collection_id == sa.bindparam("collection_id"),
        sa.or_(_f.c.holder == _none, _f.c.holder == sa.bindparam("holder"), _f.c.next_s <= _now),
    )
    .values(_taken)
)
_STILL = Statement(
    sa.select(_f.c.collection_id)
    .select_from(_f.join(_c, _c.c.id == _f.c.collection_id))
    .where(_f.c.collection_id == sa.bindparam("collection_id"), _f.c.holder == sa.bindparam("by"), _live)
    .with_for_update(of=_f)
)
_mine = (_f.c.collection_id == sa.bindparam("feed_id"), _f.c.holder == sa.bindparam("by"))


def _new(name: str, column: str) -> sa.BindParameter[Any]:
    return sa.bindparam(f"new_{name}", type_=_f.c[column].type)


_GOOD = Statement(
    _f.update()
    .where(*_mine)
    .values(
        url=_new("url", "url"), etag=_new("etag", "etag"), last_modified=_new("modified", "last_modified"),
        digest=_new("digest", "digest"), offered_s=_new("offered", "offered_s"), next_s=_new("next", "next_s"),
        notes=_new("notes", "notes"), error=_none, holder=_none, failures=_zero, held=_zero, checked_s=_now,
        good_s=_now,
    )
)  # fmt: skip
_BAD = Statement(
    _f.update()
    .where(*_mine)
    .values(
        error=_new("error", "error"), held=_new("held", "held"), next_s=_new("next", "next_s"), holder=_none,
        failures=_f.c.failures + 1, checked_s=_now,
    )
)  # fmt: skip
_GIVE_BACK = Statement(_f.update().where(*_mine).values(holder=_none, next_s=_new("next", "next_s")))
_CHANGE = Statement(
    _f.update()
    .where(_f.c.collection_id == sa.bindparam("feed_id"))
    .values(
        url=_new("url", "url"), strip=_new("strip", "strip"), interval_s=_new("interval", "interval_s"),
        next_s=_new("next", "next_s"), etag=_none, last_modified=_none, digest=_none, holder=_none, error=_none,
        held=_zero, failures=_zero,
    )
)  # fmt: skip
_SUBSCRIBED = Statement(
    sa.select(*_COLLECTION)
    .select_from(_c.join(_a, _a.c.id == _c.c.owner_id).join(_p, _p.c.collection_id == _c.c.id))
    .where(
        _c.c.kind == sa.literal_column("'subscribed'"),
        _live,
        _a.c.active == 1,
        _p.c.object_id == _zero,
        _p.c.name == sa.bindparam("name"),
    )
    .order_by(_c.c.id)
)
_PROPERTIES = Statement(
    sa.select(_p.c.collection_id, _p.c.name, _p.c.xml).where(
        one_of(_p.c.collection_id, "ids", integers=True), _p.c.object_id == _zero
    )
)
_REMOVED = Statement(
    sa.select(_t.c.change_seq)
    .select_from(_t.join(_c, _c.c.id == _t.c.collection_id))
    .where(
        _c.c.owner_id == sa.bindparam("account_id"),
        _c.c.area == sa.literal_column("'calendars'"),
        _c.c.path == _none,
        _t.c.name == sa.bindparam("name"),
    )
)
