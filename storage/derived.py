"""Calendars that the server makes itself: which account has one, and what it is made from."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

from storage import collections, properties, schema
from storage.collections import _collection, _select
from storage.engine import Conn, Statement, clean
from storage.meetings import BESIDE
from storage.records import Collection

BIRTHDAYS = "birthdays"

_c = schema.collections
_a = schema.accounts
_o = schema.objects
_b = schema.bodies
_p = schema.properties


def calendar_of(conn: Conn, owner_id: int, origin: str) -> Collection | None:
    """The live calendar of this origin in an account's home. One statement."""
    row = _BY_ORIGIN.one(conn, owner_id=owner_id, origin=origin)
    return None if row is None else _collection(row)


def make_calendar(conn: Conn, owner_id: int, name: str, *, origin: str, display_name: str, now_s: int) -> Collection:
    """A calendar of this origin in the account's home, under a free name near `name`: of events, and transparent.

    Raises NotFound when there is no such account.
    """
    home = collections.home(conn, owner_id, "calendars")
    collections.lock_collections(conn, [home.id])
    found = calendar_of(conn, owner_id, origin)
    if found is not None:
        return found
    number, free = 1, name
    while collections.name_in_use(conn, home, free):
        number += 1
        free = f"{name}-{number}"
    made = collections.create_collection(
        conn, home, free, kind="calendar", display_name=display_name, components=("VEVENT",), transparent=True,
        position=1000, now_s=now_s,
    )  # fmt: skip
    _SET_ORIGIN.run(conn, collection_id=made.id, new_origin=origin)
    found = collections.collection_by_id(conn, made.id)
    assert found is not None
    return found


def books_of(conn: Conn, owner_id: int) -> list[Collection]:
    """The live address books that belong to an account itself, by id. One statement."""
    return [_collection(row) for row in _BOOKS.all(conn, owner_id=owner_id)]


def cards_after(conn: Conn, collection_id: int, after: str, limit: int) -> list[tuple[str, bytes]]:
    """(name, body) of the next members of an address book, in the order of their names. One statement."""
    return [(row[0], row[1]) for row in _CARDS.all(conn, collection_id=collection_id, after=after, n=limit)]


def named_from(conn: Conn, collection_id: int, prefix: str) -> list[tuple[str, int]]:
    """(name, change_seq) of the members whose names begin so; "" for all of them. One statement."""
    high = prefix[:-1] + chr(ord(prefix[-1]) + 1) if prefix else "\U0010ffff"
    return [(row[0], row[1]) for row in _NAMES.all(conn, collection_id=collection_id, low=prefix, high=high)]


def refused(conn: Conn, owner_id: int, origin: str) -> bool:
    """Whether somebody said that the account is to have no such calendar. One statement."""
    return _REFUSED.one(conn, owner_id=owner_id, origin=origin) is not None


def set_refused(conn: Conn, owner_id: int, origin: str, value: bool) -> None:
    """Write that down, or take it back."""
    home = collections.home(conn, owner_id, "calendars")
    properties.set_property(conn, home.id, clean(origin), "off" if value else None, object_id=BESIDE)


def owners_without(conn: Conn, origin: str, after_id: int, limit: int) -> list[int]:
    """Ids of active people who have contacts, and neither have such a calendar nor refused it. One statement."""
    return [int(row[0]) for row in _WITHOUT.all(conn, origin=origin, after_id=after_id, n=limit)]


_mine = _c.c.owner_id == sa.bindparam("owner_id")
_origin = _c.c.origin == sa.bindparam("origin", type_=schema.Text)
_BY_ORIGIN = Statement(_select(_mine, _origin, _c.c.kind == sa.literal_column("'calendar'")).order_by(_c.c.id))
_SET_ORIGIN = Statement(
    _c.update()
    .where(_c.c.id == sa.bindparam("collection_id"))
    .values(origin=sa.bindparam("new_origin", type_=schema.Text))
)
_BOOKS = Statement(
    _select(_mine, _c.c.kind == sa.literal_column("'addressbook'"), _c.c.origin == sa.literal_column("''")).order_by(
        _c.c.id
    )
)
_here = _o.c.collection_id == sa.bindparam("collection_id")
_CARDS = Statement(
    sa.select(_o.c.name, _b.c.content)
    .select_from(_o.join(_b, _b.c.object_id == _o.c.id))
    .where(_here, _o.c.name > sa.bindparam("after"))
    .order_by(_o.c.name)
    .limit(sa.bindparam("n"))
)
_NAMES = Statement(
    sa.select(_o.c.name, _o.c.change_seq).where(
        _here, _o.c.name >= sa.bindparam("low"), _o.c.name < sa.bindparam("high")
    )
)
_beside: tuple[Any, ...] = (_p.c.object_id == sa.literal_column(str(BESIDE)), _p.c.name == sa.bindparam("origin"))
_REFUSED = Statement(
    sa.select(_p.c.xml)
    .select_from(_c.join(_p, _p.c.collection_id == _c.c.id))
    .where(_mine, _c.c.area == sa.literal_column("'calendars'"), _c.c.path == sa.literal_column("''"), *_beside)
)
_home, _book, _other = _c.alias("home"), _c.alias("book"), _c.alias("other")
_WITHOUT = Statement(
    sa.select(_a.c.id)
    .where(
        _a.c.id > sa.bindparam("after_id"),
        _a.c.active == sa.literal_column("1"),
        _a.c.kind == sa.literal_column("'individual'"),
        sa.exists().where(
            _book.c.owner_id == _a.c.id,
            _book.c.kind == sa.literal_column("'addressbook'"),
            _book.c.origin == sa.literal_column("''"),
            _book.c.deleted_s.is_(None),
            sa.exists().where(_o.c.collection_id == _book.c.id).correlate(_book),
        ),
        ~sa.exists().where(
            _other.c.owner_id == _a.c.id,
            _other.c.origin == sa.bindparam("origin", type_=schema.Text),
            _other.c.deleted_s.is_(None),
        ),
        ~sa.exists().where(
            _home.c.owner_id == _a.c.id,
            _home.c.area == sa.literal_column("'calendars'"),
            _home.c.path == sa.literal_column("''"),
            _p.c.collection_id == _home.c.id,
            *_beside,
        ),
    )
    .order_by(_a.c.id)
    .limit(sa.bindparam("n"))
)
