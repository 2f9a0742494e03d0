"""Whose home a name stands for and whether another account acts for its owner; and who may enter what is in it."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from storage import schema
from storage.accounts import _COLUMNS, _accounts, fold
from storage.engine import Conn, Statement, one_of
from storage.groups import up_from
from storage.records import Account

_a = schema.accounts
_d = schema.addresses
_p = schema.proxies


def owner_and_proxy(conn: Conn, account_id: int, owner_name: str) -> tuple[Account | None, bool | None]:
    """(the account with this name, whether `account_id` may change things for it; None when it is no delegate).

    A delegate may be a group: then each of its members is. Nobody acts for a disabled account. The name is matched
    case-folded. One statement.
    """
    rows = _ENTRY.all(conn, account_id=account_id, name_key=fold(owner_name))
    if not rows:
        return None, None
    writes = rows[0][-1]
    return _accounts([row[:-1] for row in rows])[0], None if writes is None else writes == 1


def access_lists(conn: Conn, owner_id: int, area: str) -> dict[int, list[tuple[Account | None, str]]]:
    """By collection of an owner in an area: with whom it is shared by an accepted share, and what that gives.

    The account is without its addresses, and None for everybody who signs in. In the order of the shares; without
    outsiders. One statement.
    """
    found: dict[int, list[tuple[Account | None, str]]] = {}
    for row in _LISTS.all(conn, owner_id=owner_id, area=area):
        account = None if row[2] is None else _accounts([(*row[2:], None)])[0]
        found.setdefault(row[0], []).append((account, row[1]))
    return found


def accounts_by_ids(conn: Conn, ids: Iterable[int]) -> list[Account]:
    """The accounts with these ids, in the order of them. One statement."""
    return _accounts(_BY_IDS.all(conn, ids=conn.array(ids)))


_s = schema.shares
_c = schema.collections
_LISTS = Statement(
    sa.select(_s.c.collection_id, _s.c.access, *_COLUMNS)
    .select_from(_c.join(_s, _s.c.collection_id == _c.c.id).outerjoin(_a, _a.c.id == _s.c.grantee_id))
    .where(
        _c.c.owner_id == sa.bindparam("owner_id"),
        _c.c.area == sa.bindparam("area"),
        _c.c.deleted_s.is_(None),
        _s.c.state == sa.literal_column("'accepted'"),
        sa.or_(_s.c.grantee_id.is_not(None), _s.c.grantee == sa.literal_column("'all'")),
    )
    .order_by(_s.c.id)
)
_BY_IDS = Statement(
    sa.select(*_COLUMNS, _d.c.address)
    .select_from(_a.outerjoin(_d, _d.c.account_id == _a.c.id))
    .where(one_of(_a.c.id, "ids", integers=True))
    .order_by(_a.c.id, _d.c.is_primary.desc(), _d.c.id)
)
_up = up_from(
    sa.select(_a.c.id.label("person"), _a.c.id.label("id")).where(_a.c.id == sa.bindparam("account_id")), "acting"
)
_owner = _a.alias("home_owner")
_writes = (
    sa.select(sa.func.max(_p.c.writes))
    .where(_p.c.principal_id == _owner.c.id, _owner.c.active == 1, _p.c.delegate_id.in_(sa.select(_up.c.id)))
    .correlate(_owner)
    .scalar_subquery()
)
_ENTRY = Statement(
    sa.select(*(_owner.c[column.name] for column in _COLUMNS), _d.c.address, _writes.label("proxy_writes"))
    .select_from(_owner.outerjoin(_d, _d.c.account_id == _owner.c.id))
    .where(_owner.c.name_key == sa.bindparam("name_key"))
    .order_by(_d.c.is_primary.desc(), _d.c.id)
)
