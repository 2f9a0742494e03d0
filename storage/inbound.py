"""What came in by mail: which messages were used before, and those that could not be used, kept for their owner."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.engine import Conn, Row, Statement, clean, oldest
from storage.errors import NotFound
from storage.records import KeptMessage

# How many kept messages an account has at most: whoever sends more pushes the oldest out.
KEPT_MAX = 200

_s = schema.inbound_seen
_k = schema.kept_mail


def remember(conn: Conn, account_id: int, digest: str, *, now_s: int) -> bool:
    """Note that a message is used for this account. False when it was before. Needs: a write transaction.

    digest: of what makes it the same message. On PostgreSQL the second of two at the same time waits for the first.
    """
    return _REMEMBER.run(conn, account_id=account_id, digest=clean(digest), now_s=now_s) == 1


def forget(conn: Conn, account_id: int, digest: str) -> bool:
    """Let a message be used once more. False when it was not used before."""
    return bool(_FORGET.run(conn, account_id=account_id, digest=clean(digest)))


def keep(conn: Conn, message: KeptMessage, *, most: int = KEPT_MAX) -> int:
    """Keep a message that could not be used; returns its id. The oldest go when an account has more than `most`.

    message.id is not looked at, and neither is size. Needs: a write transaction.
    """
    kept_id: int = _KEEP.scalar(
        conn,
        account_id=message.account_id,
        received_s=message.received_s,
        envelope_from=clean(message.envelope_from),
        envelope_to=clean(message.envelope_to),
        sender=clean(message.sender),
        subject=clean(message.subject),
        message_id=clean(message.message_id),
        method=clean(message.method),
        uid=clean(message.uid),
        outcome=clean(message.outcome),
        reason=clean(message.reason),
        size=len(message.raw),
        raw=message.raw,
    )
    params = {} if message.account_id is None else {"account_id": message.account_id}
    _TRIM[message.account_id is None].run(conn, n=most, **params)
    return kept_id


def list_kept(
    conn: Conn, account_id: int | None, limit: int, *, before_id: int | None = None, nobodys: bool = False
) -> list[KeptMessage]:
    """Up to `limit` kept messages, the newest first, without their bytes. One statement.

    account_id: whose; None for all, or with nobodys only those of nobody here. before_id: only older ones.
    """
    before = (1 << 62) if before_id is None else before_id
    if account_id is not None:
        rows = _OF_ACCOUNT.all(conn, account_id=account_id, before=before, n=limit)
    else:
        rows = (_OF_NOBODY if nobodys else _ALL).all(conn, before=before, n=limit)
    return [_kept(row) for row in rows]


def kept_by_id(conn: Conn, kept_id: int) -> KeptMessage | None:
    """A kept message with its bytes. One statement."""
    row = _BY_ID.one(conn, kept_id=kept_id)
    return None if row is None else _kept(row)


def drop_kept(conn: Conn, kept_id: int) -> None:
    """Remove a kept message. Raises NotFound."""
    if not _DROP.run(conn, kept_id=kept_id):
        raise NotFound(f"kept message {kept_id}")


def purge_used(conn: Conn, before_s: int, limit: int = 1000) -> int:
    """Forget about `limit` messages that were used before before_s; returns how many."""
    return _PURGE_SEEN.run(conn, before_s=before_s, n=limit)


def purge_kept(conn: Conn, before_s: int, limit: int = 1000) -> int:
    """Remove up to `limit` kept messages of before before_s; returns how many."""
    return _PURGE_KEPT.run(conn, before_s=before_s, n=limit)


def _kept(row: Row) -> KeptMessage:
    (
        ident, account_id, received_s, envelope_from, envelope_to, sender, subject, message_id, method, uid, outcome,
        reason, size, raw,
    ) = row  # fmt: skip
    return KeptMessage(
        account_id, envelope_from, envelope_to, reason, raw, sender, subject, message_id, method, uid, outcome,
        received_s, size, ident,
    )  # fmt: skip


_seen_values: dict[str, Any] = {
    "account_id": sa.bindparam("account_id"),
    "digest": sa.bindparam("digest"),
    "at_s": sa.bindparam("now_s"),
}
_REMEMBER = Statement(
    sqlite=sqlite.insert(_s).values(_seen_values).on_conflict_do_nothing(),
    postgresql=postgresql.insert(_s).values(_seen_values).on_conflict_do_nothing(),
)
_FORGET = Statement(
    _s.delete().where(_s.c.account_id == sa.bindparam("account_id"), _s.c.digest == sa.bindparam("digest"))
)
_KEEP = Statement(
    _k.insert()
    .values({column.name: sa.bindparam(column.name) for column in _k.c if column.name != "id"})
    .returning(_k.c.id)
)
_columns = [column for column in _k.c if column.name != "raw"]
_empty: sa.ColumnElement[bytes] = sa.cast(sa.literal_column("''"), schema.Bytes)
_mine = _k.c.account_id == sa.bindparam("account_id")
_nobodys = _k.c.account_id.is_(None)


def _list(*conditions: sa.ColumnElement[bool]) -> Statement:
    return Statement(
        sa.select(*_columns, _empty)
        .where(*conditions, _k.c.id < sa.bindparam("before", type_=schema.Int))
        .order_by(_k.c.id.desc())
        .limit(sa.bindparam("n"))
    )


def _trim(condition: sa.ColumnElement[bool]) -> Statement:
    """Remove all but the newest n."""
    newest = sa.select(_k.c.id).where(condition).order_by(_k.c.id.desc()).limit(1).offset(sa.bindparam("n"))
    return Statement(_k.delete().where(condition, _k.c.id <= newest.scalar_subquery()))


_OF_ACCOUNT, _OF_NOBODY, _ALL = _list(_mine), _list(_nobodys), _list()
_TRIM = {False: _trim(_mine), True: _trim(_nobodys)}
_BY_ID = Statement(sa.select(*_columns, _k.c.raw).where(_k.c.id == sa.bindparam("kept_id")))
_DROP = Statement(_k.delete().where(_k.c.id == sa.bindparam("kept_id")))
_PURGE_SEEN = Statement(_s.delete().where(*oldest(_s.c.at_s)))
_PURGE_KEPT = Statement(
    _k.delete().where(
        _k.c.id.in_(
            sa.select(_k.c.id)
            .where(_k.c.received_s < sa.bindparam("before_s"))
            .order_by(_k.c.received_s)
            .limit(sa.bindparam("n"))
        )
    )
)
