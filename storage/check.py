"""Looking for damage: every invariant of the store that can be verified from the store alone, in bounded memory."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from typing import Any

import sqlalchemy as sa

from storage import schema, timeindex
from storage.blobs import open_blob
from storage.engine import Conn, Row, Statement, Store, byte_length, transaction
from storage.errors import NotFound
from storage.outbound import STATES, message_key

_BATCH = 500
_CHUNK_BYTES = 1 << 20

_a = schema.accounts
_c = schema.collections
_o = schema.objects
_b = schema.bodies
_i = schema.instances
_r = schema.runs
_k = schema.cards
_t = schema.tombstones
_v = schema.object_versions
_p = schema.properties
_q = schema.mail_queue


def check(store: Store, said: Callable[[str], None] = lambda done: None) -> Iterator[str]:
    """A sentence for each damage found; nothing when the store is sound. said: is told how far it is.

    Reads one snapshot, a batch of rows in memory at a time, and every blob once. Verified: change numbers are unique
    in a collection and not above its own; no name is both a member and a tombstone; bodies and blobs have their size,
    and blobs their hash; one ETag never stood for two bodies; a UID stands once in a collection; bounds cover every
    instance; indexes belong to members; paths fit their parents; the bytes counted for the quota are right; the states
    of the mail that goes out are possible ones, and each message has the key of what it says.
    """
    with transaction(store) as conn:
        if store.dialect == "sqlite":
            yield from (f"SQLite: {row[0]}" for row in _INTEGRITY.all(conn) if row[0] != "ok")
            yield from (f"SQLite: a row of {row[0]} refers to nothing" for row in _FOREIGN_KEYS.all(conn))
        for number, (statement, sentence) in enumerate(_DAMAGES, 1):
            said(f"{number} of {len(_DAMAGES)} rules")
            for row in _batches(conn, statement):
                yield sentence.format(*row[1:])
        for row in _batches(conn, _LEDGER):
            if message_key(*row[2:]) != row[1]:
                yield f"mail {row[0]}: its key is not the one of what it says"
        for number, row in enumerate(_batches(conn, _BLOBS), 1):
            said(f"all rules, file {number:,}")
            yield from _check_blob(store, row[1], row[2])


def _batches(conn: Conn, statement: Statement) -> Iterator[Row]:
    """All rows of a statement that begins with an ascending id and takes after_id and n."""
    after_id = 0
    while True:
        rows = statement.all(conn, after_id=after_id, n=_BATCH)
        yield from rows
        if len(rows) < _BATCH:
            return
        after_id = rows[-1][0]


def _check_blob(store: Store, name: str, size: int) -> Iterator[str]:
    try:
        file = open_blob(store.blob_dir, name)
    except (NotFound, ValueError):
        yield f"the blob {name} is missing"
        return
    digest, length = hashlib.sha256(), 0
    with file:
        while chunk := file.read(_CHUNK_BYTES):
            digest.update(chunk)
            length += len(chunk)
    if digest.hexdigest() != name:
        yield f"the blob {name} has other bytes than its name says"
    elif length != size:
        yield f"the blob {name} has {length} bytes, its object says {size}"


def _damage(table: sa.FromClause, *columns: Any, where: sa.ColumnElement[bool], base: Any = None) -> Statement:
    """Rows (id, columns…) of a table in batches by its id."""
    ident = _ident(table)
    chosen = sa.select(ident, *columns).where(ident > sa.bindparam("after_id"), where)
    if base is not None:
        chosen = chosen.select_from(base)
    return Statement(chosen.order_by(ident).limit(sa.bindparam("n")))


def _ident(table: sa.FromClause) -> Any:
    return table.c.id


def _grouped(column: Any, base: Any, *, where: sa.ColumnElement[bool]) -> Statement:
    """Rows (id, id) of the distinct values of a column, in batches."""
    chosen = sa.select(column, column).select_from(base).where(column > sa.bindparam("after_id"), where)
    return Statement(chosen.distinct().order_by(column).limit(sa.bindparam("n")))


def _is_one(*states: str) -> sa.ColumnElement[bool]:
    return _q.c.state.in_([sa.literal_column(f"'{state}'") for state in states])


_live = _c.c.deleted_s.is_(None)
_parent = _c.alias("parent")
_other = _o.alias("other")
_first_of_instance = sa.case((_i.c.bucket % 2 == 0, _i.c.sort_s), else_=_i.c.other_s)
_last_of_instance = sa.case((_i.c.bucket % 2 == 0, _i.c.other_s), else_=_i.c.sort_s)
_used = (
    sa.select(sa.func.coalesce(sa.func.sum(_o.c.size), 0))
    .select_from(_o.join(_c, _c.c.id == _o.c.collection_id))
    .where(_c.c.owner_id == _a.c.id, _live)
    .correlate(_a)
    .scalar_subquery()
)
_with_collection = _o.join(_c, _c.c.id == _o.c.collection_id)
_where_it_is = sa.literal("collection ").concat(sa.cast(_o.c.collection_id, sa.Text)).concat(", ").concat(_o.c.name)

_DAMAGES: tuple[tuple[Statement, str], ...] = (
    (
        _damage(_o, _where_it_is, where=_o.c.change_seq > _c.c.change_seq, base=_with_collection),
        "{0}: its change number is above that of the collection",
    ),
    (
        _damage(
            _o,
            _where_it_is,
            where=_t.c.name.is_not(None),
            base=_o.outerjoin(_t, (_t.c.collection_id == _o.c.collection_id) & (_t.c.name == _o.c.name)),
        ),
        "{0}: a member, and a tombstone says that it was removed",
    ),
    (
        _damage(
            _o,
            _where_it_is,
            where=_t.c.name.is_not(None),
            base=_o.outerjoin(_t, (_t.c.collection_id == _o.c.collection_id) & (_t.c.change_seq == _o.c.change_seq)),
        ),
        "{0}: its change number is also that of a removal",
    ),
    (
        _grouped(
            _c.c.id,
            _c.join(_t, _t.c.collection_id == _c.c.id),
            where=sa.or_(_t.c.change_seq > _c.c.change_seq, _t.c.change_seq < 1),
        ),
        "collection {0}: the change number of a removal was never given out",
    ),
    (_damage(_o, _where_it_is, where=_o.c.change_seq < 1), "{0}: its change number was never given out"),
    (
        _damage(
            _o,
            _where_it_is,
            where=sa.and_(_o.c.blob.is_(None), _b.c.object_id.is_(None)),
            base=_o.outerjoin(_b, _b.c.object_id == _o.c.id),
        ),
        "{0}: its body is missing",
    ),
    (
        _damage(
            _o,
            _where_it_is,
            where=sa.or_(byte_length(_b.c.content) != _o.c.size, _o.c.blob.is_not(None)),
            base=_o.join(_b, _b.c.object_id == _o.c.id),
        ),
        "{0}: its body is not the one that its size and ETag belong to",
    ),
    (
        _damage(
            _o,
            _where_it_is,
            where=sa.and_(
                _v.c.etag == _o.c.etag,
                sa.or_(
                    _v.c.content != _b.c.content,
                    sa.func.coalesce(_v.c.blob, "") != sa.func.coalesce(_o.c.blob, ""),
                ),
            ),
            base=_o.outerjoin(_b, _b.c.object_id == _o.c.id).join(
                _v, (_v.c.collection_id == _o.c.collection_id) & (_v.c.name == _o.c.name)
            ),
        ),
        "{0}: an earlier version has the same ETag and other bytes",
    ),
    (
        _damage(
            _o,
            _where_it_is,
            where=sa.and_(_c.c.kind != "inbox", _other.c.id != _o.c.id),
            base=_with_collection.join(
                _other, (_other.c.collection_id == _o.c.collection_id) & (_other.c.uid == _o.c.uid)
            ),
        ),
        "{0}: another member has the same UID",
    ),
    (
        _grouped(
            _o.c.id,
            _o.join(_i, _i.c.object_id == _o.c.id),
            where=sa.or_(_first_of_instance < _o.c.first_s, _last_of_instance > _o.c.last_s),
        ),
        "object {0}: an instance lies outside its bounds",
    ),
    (
        _grouped(
            _o.c.id,
            _o.join(_r, _r.c.object_id == _o.c.id),
            where=sa.or_(_r.c.first_s < _o.c.first_s, _r.c.last_s + _r.c.length_s > _o.c.last_s),
        ),
        "object {0}: an instance lies outside its bounds",
    ),
    (
        _damage(
            _o,
            _where_it_is,
            where=sa.exists()
            .where(
                _r.c.object_id == _o.c.id,
                sa.or_(
                    _o.c.recurs == 0,
                    _r.c.step_s <= 0,
                    _r.c.length_s <= 0,
                    _r.c.last_s <= _r.c.first_s,
                    _r.c.last_s > _r.c.first_s + timeindex.RUN_MAX_S,
                ),
            )
            .correlate(_o),
        ),
        "{0}: a run of its instances is none",
    ),
    *(
        (
            _grouped(
                _o.c.id,
                _o.join(table, table.c.object_id == _o.c.id),
                where=table.c.collection_id != _o.c.collection_id,
            ),
            "object {0}: its instances are indexed in another collection",
        )
        for table in (_i, _r)
    ),
    (
        _damage(
            _o,
            _where_it_is,
            where=(_o.c.instances_digest != 0)
            != sa.or_(*(sa.exists().where(table.c.object_id == _o.c.id).correlate(_o) for table in (_i, _r))),
        ),
        "{0}: its instances are not in the index",
    ),
    *(
        (
            _grouped(
                table.c.object_id,
                table.outerjoin(
                    _o, (_o.c.id == table.c.object_id) & (_o.c.collection_id == table.c.collection_id)
                ),
                where=sa.and_(_o.c.id.is_(None), table.c.object_id > 0),
            ),
            f"object {{0}}: it is not there, but in the table {table.name}",
        )
        for table in (_i, _r, _k, _p)
    ),
    (
        _damage(
            _c,
            _c.c.path,
            where=sa.and_(
                _live,
                _c.c.kind != "home",
                sa.or_(
                    _parent.c.id.is_(None),
                    _parent.c.deleted_s.is_not(None),
                    _parent.c.owner_id != _c.c.owner_id,
                    _parent.c.area != _c.c.area,
                    sa.func.substr(_c.c.path, 1, sa.func.length(_parent.c.path)) != _parent.c.path,
                ),
            ),
            base=_c.outerjoin(_parent, _parent.c.id == _c.c.parent_id),
        ),
        "collection {0}: it is not below its parent",
    ),
    (
        _damage(
            _q,
            _q.c.id,
            where=sa.or_(
                ~_is_one(*STATES),
                _is_one("held", "sending") != _q.c.ended_s.is_(None),
                sa.and_(_q.c.state == "sent", _q.c.sent_s.is_(None)),
            ),
        ),
        "mail {0}: its state does not fit its times",
    ),
    (
        _damage(_q, _q.c.id, where=sa.and_(_q.c.ended_s.is_(None), byte_length(_q.c.calendar) == 0)),
        "mail {0}: it is to be sent and has no calendar",
    ),
    (
        _damage(_a, _a.c.name, _a.c.used_bytes, _used, where=_a.c.used_bytes != _used),
        "account {0}: {1} bytes are counted as used, its members have {2}",
    ),
)  # fmt: skip
_BLOBS = Statement(
    sa.select(_o.c.id, _o.c.blob, _o.c.size)
    .where(_o.c.blob.is_not(None), _o.c.id > sa.bindparam("after_id"))
    .order_by(_o.c.id)
    .limit(sa.bindparam("n"))
)
_LEDGER = Statement(
    sa.select(
        _q.c.id, _q.c.message_key, _q.c.account_id, _q.c.uid, _q.c.recurrence, _q.c.recipient_key, _q.c.method,
        _q.c.sequence, _q.c.digest, _q.c.round,
    )
    .where(_q.c.id > sa.bindparam("after_id"))
    .order_by(_q.c.id)
    .limit(sa.bindparam("n"))
)  # fmt: skip
_INTEGRITY = Statement(sqlite=sa.text("PRAGMA quick_check(20)"))
_FOREIGN_KEYS = Statement(sqlite=sa.text("PRAGMA foreign_key_check"))
