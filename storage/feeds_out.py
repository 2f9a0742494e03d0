"""Published collections: whoever knows the secret in the address of one may read it without signing in."""

from __future__ import annotations

import secrets
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.collections import _COLUMNS, _collection
from storage.engine import Conn, Row, Statement, clean, one_of
from storage.errors import NotFound
from storage.records import Collection, Feed

MODES = ("whole", "busy")
LABEL_CHARS_MAX = 200
# Random bytes of a secret: 192 bits, so that the plain secret may be looked up by an index.
_SECRET_BYTES = 24

_f = schema.feeds_out
_c = schema.collections
_a = schema.accounts


@dataclass(frozen=True, slots=True)
class Published:
    """What an address leads to. locale, time_zone: of the collection's owner, "" where not known."""

    feed: Feed
    collection: Collection
    locale: str
    time_zone: str


def publish(conn: Conn, collection_id: int, *, mode: str, label: str, now_s: int, secret: str | None = None) -> Feed:
    """Make an address for a collection; it may have several. mode: "whole", or "busy" for times alone.

    secret: of at least 128 random bits, never used before; None makes one.

    Raises NotFound when the collection is not there, ValueError for another mode. Counts no change of the collection.
    """
    if mode not in MODES:
        raise ValueError(f"a feed is {' or '.join(MODES)}, not {mode!r}")
    label, secret = clean(label)[:LABEL_CHARS_MAX], secret or secrets.token_urlsafe(_SECRET_BYTES)
    values = {"secret": secret, "mode": mode, "label": label, "created_s": now_s}
    feed_id = _INSERT.scalar(conn, live_id=collection_id, **values)
    if feed_id is None:
        raise NotFound(f"collection {collection_id}")
    return Feed(int(feed_id), collection_id, secret, mode, label, now_s)


def revoke(conn: Conn, feed_id: int) -> bool:
    """Make an address void. False when it was before."""
    return bool(_REMOVE.run(conn, feed_id=feed_id))


def revoke_open(conn: Conn, collection_id: int) -> int:
    """Make every address of a collection void that is for nobody in particular (no label); how many there were."""
    return _REMOVE_OPEN.run(conn, collection_id=collection_id)


def renew(conn: Conn, feed_id: int, now_s: int) -> Feed:
    """Give a feed another secret, with the rest as it is; the old address is void. Raises NotFound."""
    row = _RENEW.one(conn, feed_id=feed_id, new_secret=secrets.token_urlsafe(_SECRET_BYTES), now_s=now_s)
    if row is None:
        raise NotFound(f"feed {feed_id}")
    return Feed(*row)


def feeds_of(conn: Conn, collection_id: int) -> list[Feed]:
    """The addresses of a collection, the oldest first. One statement."""
    return [Feed(*row) for row in _OF_COLLECTION.all(conn, collection_id=collection_id)]


def feeds_of_many(conn: Conn, collection_ids: list[int]) -> dict[int, list[Feed]]:
    """The addresses of many collections, by collection, the oldest first; those without are left out. One statement."""
    found: dict[int, list[Feed]] = {}
    for row in _OF_MANY.all(conn, ids=conn.array(collection_ids)):
        found.setdefault(row[1], []).append(Feed(*row))
    return found


def feed_by_id(conn: Conn, feed_id: int) -> tuple[Feed, Collection] | None:
    """A feed and its live collection. One statement."""
    row = _BY_ID.one(conn, feed_id=feed_id)
    return None if row is None else _pair(row)


def feeds_of_account(conn: Conn, account_id: int) -> list[tuple[Feed, Collection]]:
    """All addresses of an account's live collections, in the order of the collections. One statement."""
    return [_pair(row) for row in _OF_ACCOUNT.all(conn, account_id=account_id)]


def find(conn: Conn, secret: str) -> Published | None:
    """What the address with this secret leads to; None when it is void or its owner is disabled. One statement."""
    row = _BY_SECRET.one(conn, secret=clean(secret))
    if row is None:
        return None
    return Published(*_pair(row), row[-2], row[-1])


def mails_since(conn: Conn, account_id: int, prefix: str, *, since_s: int) -> int:
    """How many mails of an account were made since then whose uid begins so; without those taken back. One statement.

    prefix: ends in "-" and is ASCII.
    """
    after = prefix[:-1] + "."  # the character behind "-"
    return int(_MAILS.scalar(conn, account_id=account_id, low=prefix, high=after, since_s=since_s) or 0)


def _pair(row: Row) -> tuple[Feed, Collection]:
    return Feed(*row[:6]), _collection(row[6:])


_FEED = (_f.c.id, _f.c.collection_id, _f.c.secret, _f.c.mode, _f.c.label, _f.c.created_s)
_live = _c.c.deleted_s.is_(None)


def _with_collection(*conditions: sa.ColumnElement[bool], more: tuple[sa.Column[Any], ...] = ()) -> sa.Select[Any]:
    return (
        sa.select(*_FEED, *_COLUMNS, *more)
        .select_from(_f.join(_c, _c.c.id == _f.c.collection_id).join(_a, _a.c.id == _c.c.owner_id))
        .where(*conditions, _live)
    )


_INSERT = Statement(
    _f.insert()
    .from_select(
        ["collection_id", "secret", "mode", "label", "created_s"],
        sa.select(
            _c.c.id,
            sa.bindparam("secret", type_=schema.Text),
            sa.bindparam("mode", type_=schema.Text),
            sa.bindparam("label", type_=schema.Text),
            sa.bindparam("created_s", type_=schema.Int),
        ).where(_c.c.id == sa.bindparam("live_id"), _live),
    )
    .returning(_f.c.id)
)
_one = _f.c.id == sa.bindparam("feed_id")
_REMOVE = Statement(_f.delete().where(_one))
_REMOVE_OPEN = Statement(
    _f.delete().where(_f.c.collection_id == sa.bindparam("collection_id"), _f.c.label == sa.literal_column("''"))
)
_RENEW = Statement(
    _f.update()
    .where(_one)
    .values(secret=sa.bindparam("new_secret", type_=schema.Text), created_s=sa.bindparam("now_s"))
    .returning(*_FEED)
)
_OF_COLLECTION = Statement(
    sa.select(*_FEED).where(_f.c.collection_id == sa.bindparam("collection_id")).order_by(_f.c.id)
)
_OF_MANY = Statement(
    sa.select(*_FEED).where(one_of(_f.c.collection_id, "ids", integers=True)).order_by(_f.c.collection_id, _f.c.id)
)
_BY_ID = Statement(_with_collection(_one))
_OF_ACCOUNT = Statement(
    _with_collection(_c.c.owner_id == sa.bindparam("account_id")).order_by(_c.c.area, _c.c.path, _f.c.id)
)
_BY_SECRET = Statement(
    _with_collection(
        _f.c.secret == sa.bindparam("secret"),
        _a.c.active == sa.literal_column("1"),
        more=(_a.c.locale, _a.c.time_zone),
    )
)
_q = schema.mail_queue
_MAILS = Statement(
    sa.select(sa.func.count())
    .select_from(_q)
    .where(
        _q.c.uid >= sa.bindparam("low", type_=schema.Text),
        _q.c.uid < sa.bindparam("high", type_=schema.Text),
        _q.c.account_id == sa.bindparam("account_id"),
        _q.c.created_s >= sa.bindparam("since_s"),
        _q.c.state.not_in([sa.literal_column("'dropped'"), sa.literal_column("'undone'")]),
    )
)
