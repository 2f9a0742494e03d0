"""Removing for good what was only hidden: in small batches, each its own transaction, so that no writer waits long."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import sqlalchemy as sa

from storage import schema
from storage.app_passwords import purge_app_passwords
from storage.audit import purge_entries
from storage.blobs import purge_blobs
from storage.engine import Conn, Statement, Store, one_of, transaction
from storage.guard import purge_guard
from storage.inbound import purge_kept, purge_used
from storage.itip import purge_seen
from storage.locks import purge_locks
from storage.outbound import purge_bounces, purge_outbound

_DAY_S = 86_400

_c = schema.collections
_o = schema.objects
_v = schema.object_versions
_t = schema.tombstones


@dataclass(frozen=True, slots=True)
class Purged:
    """How many of each went for good. objects: members of the collections that went."""

    collections: int
    objects: int
    versions: int
    locks: int
    blobs: int


def purge(
    store: Store,
    *,
    now_s: int,
    history_s: int,
    batch: int = 200,
    said: Callable[[str], None] = lambda done: None,
) -> Purged:
    """Remove collections deleted and versions ended history_s ago, ended locks, and blobs without a reference.

    batch: rows a transaction. said: is told how far it is. May be stopped at any time and called again; may run in
    several processes at once.
    """
    before_s = now_s - history_s
    collections = objects = 0
    while True:
        with transaction(store) as conn:
            collection_id = _OLDEST_DELETED.scalar(conn, before_s=before_s)
        if collection_id is None:
            break
        said(f"{collections:,} collections, {objects:,} objects in them")
        objects += _empty(store, collection_id, batch)
        with transaction(store, write=True) as conn:
            _DELETE_PROPERTIES.run(conn, collection_id=collection_id)
            collections += _DELETE_COLLECTION.run(conn, collection_id=collection_id)
    versions = 0
    while True:
        with transaction(store, write=True) as conn:
            removed = _DELETE_VERSIONS.run(conn, before_s=before_s, n=batch)
        versions += removed
        said(f"{collections:,} collections, {objects:,} objects in them, {versions:,} older versions")
        if removed < batch:
            break
    with transaction(store, write=True) as conn:
        locks = purge_locks(conn, now_s)
    return Purged(collections, objects, versions, locks, purge_blobs(store, now_s=now_s, batch=batch))


def purge_sign_in(store: Store, *, now_s: int, batch: int = 1000) -> int:
    """Remove counts of failures a day old, marks of known networks 60 days old, app passwords that ended 30 days ago.

    Entries of the audit go after 400 days. Returns how many rows went. May run in several processes at once.
    """
    steps: tuple[Callable[[Conn], int], ...] = (
        lambda conn: purge_guard(
            conn, failures_before_s=now_s - _DAY_S, marks_before_s=now_s - 60 * _DAY_S, limit=batch
        ),
        lambda conn: purge_entries(conn, now_s - 400 * _DAY_S, limit=batch),
    )
    total = sum(_repeat(store, step, batch) for step in steps)
    with transaction(store, write=True) as conn:
        return total + purge_app_passwords(conn, now_s - 30 * _DAY_S)


def purge_scheduling(store: Store, *, now_s: int, kept_s: int = 180 * _DAY_S, batch: int = 500) -> int:
    """Remove what scheduling keeps for a time: mail that ended and what others said about a meeting, 400 days ago.

    Marks of used messages after 90 days, messages kept for their owner after kept_s, bounces of an address a year after
    the last. Returns how many rows went. May run in several processes at once.
    """
    steps: tuple[Callable[[Conn], int], ...] = (
        lambda conn: purge_outbound(conn, now_s - 400 * _DAY_S, batch),
        lambda conn: purge_seen(conn, now_s - 400 * _DAY_S, batch),
        lambda conn: purge_used(conn, now_s - 90 * _DAY_S, batch),
        lambda conn: purge_kept(conn, now_s - kept_s, batch),
        lambda conn: purge_bounces(conn, now_s - 365 * _DAY_S, batch),
    )
    return sum(_repeat(store, step, batch) for step in steps)


def _repeat(store: Store, step: Callable[[Conn], int], batch: int) -> int:
    """Takes a step, each in its own transaction, until it finds less than a batch; returns how many rows went."""
    total = 0
    while True:
        with transaction(store, write=True) as conn:
            removed = step(conn)
        total += removed
        if removed < batch:
            return total


def _empty(store: Store, collection_id: int, batch: int) -> int:
    """Remove members, versions and tombstones of a collection that is hidden; returns how many members."""
    count = 0
    while True:
        with transaction(store, write=True) as conn:
            ids = [row[0] for row in _SOME_OBJECTS.all(conn, collection_id=collection_id, n=batch)]
            for statement in _DELETE_OBJECTS if ids else ():
                statement.run(conn, ids=conn.array(ids), collection_id=collection_id)
        count += len(ids)
        if len(ids) < batch:
            break
    for statement in (_DELETE_VERSIONS_OF, _DELETE_TOMBSTONES):
        while True:
            with transaction(store, write=True) as conn:
                removed = statement.run(conn, collection_id=collection_id, n=batch)
            if removed < batch:
                break
    return count


def delete_versions_of_member(conn: Conn, collection_id: int, name: str) -> int:
    """Forget the history of one member, for good; returns how many versions went."""
    return _DELETE_VERSIONS_OF_MEMBER.run(conn, collection_id=collection_id, name=name)


_here = sa.bindparam("collection_id", type_=schema.Int)
_n: sa.BindParameter[int] = sa.bindparam("n")
_OLDEST_DELETED = Statement(
    sa.select(_c.c.id)
    .where(_c.c.deleted_s.is_not(None), _c.c.deleted_s <= sa.bindparam("before_s"))
    .order_by(_c.c.deleted_s, _c.c.id)
    .limit(1)
)
_SOME_OBJECTS = Statement(sa.select(_o.c.id).where(_o.c.collection_id == _here).order_by(_o.c.name).limit(_n))
_DELETE_OBJECTS = (
    *(
        Statement(table.delete().where(one_of(table.c.object_id, "ids", integers=True)))
        for table in (schema.instances, schema.runs)
    ),
    *(
        Statement(table.delete().where(table.c.collection_id == _here, one_of(table.c.object_id, "ids", integers=True)))
        for table in (schema.cards, schema.properties)
    ),
    Statement(_o.delete().where(one_of(_o.c.id, "ids", integers=True))),
)
_DELETE_PROPERTIES = Statement(schema.properties.delete().where(schema.properties.c.collection_id == _here))
# Only one that is still hidden: nobody can have brought it back half empty.
_DELETE_COLLECTION = Statement(_c.delete().where(_c.c.id == _here, _c.c.deleted_s.is_not(None)))
_DELETE_VERSIONS = Statement(
    _v.delete().where(
        _v.c.id.in_(sa.select(_v.c.id).where(_v.c.ended_s <= sa.bindparam("before_s")).order_by(_v.c.ended_s).limit(_n))
    )
)
_DELETE_VERSIONS_OF = Statement(
    _v.delete().where(_v.c.id.in_(sa.select(_v.c.id).where(_v.c.collection_id == _here).limit(_n)))
)
_DELETE_VERSIONS_OF_MEMBER = Statement(
    _v.delete().where(_v.c.collection_id == _here, _v.c.name == sa.bindparam("name"))
)
_DELETE_TOMBSTONES = Statement(
    _t.delete().where(
        _t.c.collection_id == _here,
        _t.c.name.in_(sa.select(_t.c.name).where(_t.c.collection_id == _here).limit(_n)),
    )
)
