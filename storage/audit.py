"""Who did what: sign-ins, sharing, deletions, restores. Written in the transaction of the deed itself."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import sqlalchemy as sa

from storage import schema
from storage.engine import Conn, Statement, clean

_l = schema.audit


@dataclass(frozen=True, slots=True)
class Entry:
    """One deed. account_id: whose account it concerns, 0 for none. actor: the name of who did it. subject: on what."""

    id: int
    at_s: int
    account_id: int
    actor: str
    action: str
    subject: str
    detail: str


def note(
    conn: Conn, *, at_s: int, account_id: int, actor: str, action: str, subject: str = "", detail: str = ""
) -> None:
    """Write one entry. Texts are as the reader will see them, without secrets."""
    _NOTE.run(
        conn,
        at_s=at_s,
        account_id=account_id,
        actor=clean(actor),
        action=clean(action),
        subject=clean(subject),
        detail=clean(detail),
    )


def note_many(conn: Conn, deeds: Iterable[tuple[str, str, str]], *, at_s: int, account_id: int, actor: str) -> None:
    """As note, for several (action, subject, detail). One statement."""
    rows = [
        {
            "at_s": at_s,
            "account_id": account_id,
            "actor": clean(actor),
            "action": clean(action),
            "subject": clean(subject),
            "detail": clean(detail),
        }
        for action, subject, detail in deeds
    ]
    _NOTE.many(conn, rows)


def entries(conn: Conn, account_id: int, *, before_id: int | None = None, limit: int = 100) -> list[Entry]:
    """Up to `limit` entries about an account, the newest first; before_id: only those older than this entry."""
    before_id = 1 << 62 if before_id is None else before_id
    rows = _OF_ACCOUNT.all(conn, account_id=account_id, before_id=before_id, n=limit)
    return [Entry(row[0], row[1], row[2], row[3], row[4], row[5], row[6]) for row in rows]


def purge_entries(conn: Conn, before_s: int, *, limit: int = 1000) -> int:
    """Forget up to `limit` entries from before before_s; returns how many."""
    return _PURGE.run(conn, before_s=before_s, n=limit)


_NOTE = Statement(
    _l.insert().values({column.name: sa.bindparam(column.name) for column in _l.c if column.name != "id"})
)
_OF_ACCOUNT = Statement(
    sa.select(_l.c.id, _l.c.at_s, _l.c.account_id, _l.c.actor, _l.c.action, _l.c.subject, _l.c.detail)
    .where(_l.c.account_id == sa.bindparam("account_id"), _l.c.id < sa.bindparam("before_id"))
    .order_by(_l.c.id.desc())
    .limit(sa.bindparam("n"))
)
_PURGE = Statement(
    _l.delete().where(
        _l.c.id.in_(sa.select(_l.c.id).where(_l.c.at_s < sa.bindparam("before_s")).limit(sa.bindparam("n")))
    )
)
