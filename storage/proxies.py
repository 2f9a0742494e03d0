"""Delegates: who may act for whom, for people and for rooms."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import locks, schema
from storage.accounts import _COLUMNS, _accounts, account_by_id
from storage.engine import Conn, Row, Statement
from storage.errors import NotFound
from storage.groups import everybody_in, up_from
from storage.records import Account

_p = schema.proxies
_a = schema.accounts
_d = schema.addresses


def add_proxy(conn: Conn, principal_id: int, delegate_id: int, *, writes: bool) -> None:
    """Let the delegate act for the principal: read, and with `writes` also change. Replaces what there was before.

    Raises ValueError when both are the same account, NotFound when one is not there.
    """
    if principal_id == delegate_id:
        raise ValueError("nobody is their own delegate")
    for account_id in (principal_id, delegate_id):
        if account_by_id(conn, account_id) is None:
            raise NotFound(f"account {account_id}")
    _ADD.run(conn, principal_id=principal_id, delegate_id=delegate_id, may_write=int(writes))
    if not writes:
        _end_locks(conn, delegate_id)


def remove_proxy(conn: Conn, principal_id: int, delegate_id: int) -> bool:
    """End it, with the locks that only this allowed. False when there was nothing to end."""
    removed = bool(_REMOVE.run(conn, principal_id=principal_id, delegate_id=delegate_id))
    if removed:
        _end_locks(conn, delegate_id)
    return removed


def _end_locks(conn: Conn, delegate_id: int) -> None:
    locks.end_unentitled(conn, [account.id for account in everybody_in(conn, delegate_id)])


def delegates_of(conn: Conn, principal_id: int) -> list[tuple[Account, bool]]:
    """(who acts for this account, whether they may change things), in the order of their ids. One statement."""
    return _pairs(_DELEGATES.all(conn, principal_id=principal_id))


def principals_of(conn: Conn, delegate_id: int) -> list[tuple[Account, bool]]:
    """(for whom this account acts, whether it may change things), in the order of their ids. One statement.

    By itself or by a group it is in, which may be a delegate as well.
    """
    return _pairs(_PRINCIPALS.all(conn, delegate_id=delegate_id))


def proxy_of(conn: Conn, principal_id: int, delegate_id: int) -> bool | None:
    """Whether the delegate may change things for the principal; None when it is no delegate. One statement.

    A member of a group that is a delegate is one.
    """
    found = _ONE.scalar(conn, principal_id=principal_id, delegate_id=delegate_id)
    return None if found is None else found == 1


def _pairs(rows: list[Row]) -> list[tuple[Account, bool]]:
    writes = {row[0]: row[-1] == 1 for row in rows}
    return [(account, writes[account.id]) for account in _accounts([row[:-1] for row in rows])]


def _people(of: sa.ColumnElement[bool], who: sa.ColumnElement[int]) -> Statement:
    return Statement(
        sa.select(*_COLUMNS, _d.c.address, _p.c.writes)
        .select_from(_p.join(_a, _a.c.id == who).outerjoin(_d, _d.c.account_id == _a.c.id))
        .where(of)
        .order_by(who, _d.c.is_primary.desc(), _d.c.id)
    )


_of_principal = _p.c.principal_id == sa.bindparam("principal_id")
_of_delegate = _p.c.delegate_id == sa.bindparam("delegate_id")
_DELEGATES = _people(_of_principal, _p.c.delegate_id)
_up = up_from(sa.select(_a.c.id.label("person"), _a.c.id.label("id")).where(_a.c.id == sa.bindparam("delegate_id")))
_acting = (
    sa.select(_p.c.principal_id, sa.func.max(_p.c.writes).label("writes"))
    .where(_p.c.delegate_id.in_(sa.select(_up.c.id)), _p.c.principal_id != sa.bindparam("delegate_id"))
    .group_by(_p.c.principal_id)
    .subquery("acting")
)
_PRINCIPALS = Statement(
    sa.select(*_COLUMNS, _d.c.address, _acting.c.writes)
    .select_from(_acting.join(_a, _a.c.id == _acting.c.principal_id).outerjoin(_d, _d.c.account_id == _a.c.id))
    .order_by(_a.c.id, _d.c.is_primary.desc(), _d.c.id)
)
_ONE = Statement(sa.select(sa.func.max(_p.c.writes)).where(_of_principal, _p.c.delegate_id.in_(sa.select(_up.c.id))))
_values: dict[str, Any] = {
    "principal_id": sa.bindparam("principal_id"),
    "delegate_id": sa.bindparam("delegate_id"),
    "writes": sa.bindparam("may_write"),
}
_keys = ["principal_id", "delegate_id"]
_on_sqlite, _on_postgresql = sqlite.insert(_p).values(_values), postgresql.insert(_p).values(_values)
_ADD = Statement(
    sqlite=_on_sqlite.on_conflict_do_update(index_elements=_keys, set_={"writes": _on_sqlite.excluded.writes}),
    postgresql=_on_postgresql.on_conflict_do_update(
        index_elements=_keys, set_={"writes": _on_postgresql.excluded.writes}
    ),
)
_REMOVE = Statement(_p.delete().where(_of_principal, _of_delegate))
