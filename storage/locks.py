"""WebDAV locks (RFC 4918 §6). An expired lock is no lock: every function that reads takes the time."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa

from storage import schema
from storage.collections import normal_path
from storage.engine import Conn, Row, Statement, clean, one_of
from storage.errors import NotFound
from storage.groups import up_from
from storage.records import Lock

_l = schema.locks
_a = schema.accounts
_c = schema.collections
_s = schema.shares
_w = schema.share_answers
_p = schema.proxies


def create_lock(conn: Conn, lock: Lock) -> None:
    """Keep a lock. Whether others stand against it is the caller's question, asked in the same write transaction.

    On PostgreSQL the caller holds lock_collections of what the path is in, so that two such questions cannot overlap.
    """
    _INSERT.run(
        conn,
        token=lock.token,
        owner_id=lock.owner_id,
        area=lock.area,
        path=normal_path(lock.path),
        depth_infinity=int(lock.depth_infinity),
        shared=int(lock.shared),
        account_id=lock.account_id,
        owner=clean(lock.owner),
        timeout_s=lock.timeout_s,
        expires_s=lock.expires_s,
    )


def refresh_lock(conn: Conn, token: str, *, expires_s: int, timeout_s: int) -> None:
    """Give a lock another end (RFC 4918 §9.10.2). Raises NotFound."""
    if not _REFRESH.run(conn, lock_token=clean(token), new_expires=expires_s, new_timeout=timeout_s):
        raise NotFound(token)


def remove_lock(conn: Conn, token: str) -> None:
    """Remove a lock. Raises NotFound."""
    if not _REMOVE.run(conn, lock_token=clean(token)):
        raise NotFound(token)


def lock_by_token(conn: Conn, token: str, now_s: int) -> Lock | None:
    """The lock with this token that is in force at now_s."""
    row = _BY_TOKEN.one(conn, lock_token=clean(token), now_s=now_s)
    return None if row is None else _lock(row)


def locks_covering(conn: Conn, owner_id: int, area: str, path: str, *, now_s: int) -> list[Lock]:
    """Locks in force on exactly this path, or of infinite depth on one above it. One statement."""
    return covering(locks_on_line(conn, owner_id, area, path, now_s=now_s), path)


def covering(line: Iterable[Lock], path: str) -> list[Lock]:
    """Of the locks on the line of a path or of one below it, those that cover the path."""
    path = normal_path(path)
    return [lock for lock in line if lock.path == path or (lock.depth_infinity and _is_above(lock.path, path))]


def locks_on_line(conn: Conn, owner_id: int, area: str, path: str, *, now_s: int) -> list[Lock]:
    """Locks in force on this path and on all above it, of any depth, ordered by path. One statement."""
    path = normal_path(path)
    line = ["", path] if path else [""]
    line += [path[:index] for index, char in enumerate(path) if char == "/"]
    params = {"owner_id": owner_id, "area": area, "now_s": now_s}
    if len(line) > _SHORT_LINE:
        rows = _ON_LINE.all(conn, **params, line=conn.array(line))
    else:
        # What every write asks, in half the time.
        line += [""] * (_SHORT_LINE - len(line))
        rows = _ON_SHORT_LINE.all(conn, **params, **dict(zip(_LINE_PARAMS, line, strict=True)))
    return [_lock(row) for row in rows]


def _is_above(above: str, path: str) -> bool:
    return not above or path.startswith(f"{above}/")


def locks_below(conn: Conn, owner_id: int, area: str, path: str, *, now_s: int) -> list[Lock]:
    """Locks in force on this path or anything under it. One statement."""
    path = normal_path(path)
    return [_lock(row) for row in _BELOW.all(conn, owner_id=owner_id, area=area, now_s=now_s, **_range(path))]


def count_held(conn: Conn, account_id: int, *, now_s: int) -> int:
    """How many locks in force an account holds, in all homes. One statement."""
    return int(_COUNT_HELD.scalar(conn, account_id=account_id, now_s=now_s) or 0)


def remove_held(conn: Conn, account_id: int) -> int:
    """End all locks that an account holds, in all homes; returns how many."""
    return _REMOVE_HELD.run(conn, account_id=account_id)


def end_unentitled(conn: Conn, account_ids: Iterable[int]) -> int:
    """End the locks that these accounts hold in homes of others where they may not write (any more). One statement.

    Who may: by an accepted share for writing of what is locked or what it is in, or as a delegate for writing. Returns
    how many ended. A lock that somebody took as an administrator ends too: locking anew costs him one request.
    """
    return _END_UNENTITLED.run(conn, ids=conn.array(account_ids))


def remove_locks_below(conn: Conn, owner_id: int, area: str, path: str) -> None:
    """Remove the locks on this path and everything under it: when it is deleted or moved (RFC 4918 §7.5, §9.6)."""
    _REMOVE_BELOW.run(conn, owner_id=owner_id, area=area, **_range(normal_path(path)))


def purge_locks(conn: Conn, now_s: int) -> int:
    """Forget locks that ended before now_s; returns how many."""
    return _PURGE.run(conn, now_s=now_s)


def _range(path: str) -> dict[str, str]:
    low, high = (f"{path}/", f"{path}0") if path else ("", "\U0010ffff")
    return {"path": path, "low": low, "high": high}


def _lock(row: Row) -> Lock:
    return Lock(row[0], row[1], row[2], row[3], bool(row[4]), bool(row[5]), *row[6:])


_COLUMNS = (
    _l.c.token, _l.c.owner_id, _l.c.area, _l.c.path, _l.c.depth_infinity, _l.c.shared, _l.c.account_id, _l.c.owner,
    _l.c.timeout_s, _l.c.expires_s,
)  # fmt: skip
_token = _l.c.token == sa.bindparam("lock_token")
_in_force = _l.c.expires_s > sa.bindparam("now_s")
_home = (_l.c.owner_id == sa.bindparam("owner_id"), _l.c.area == sa.bindparam("area"))
_path = sa.bindparam("path", type_=schema.Text)
# One range of the index, and what stands in it between "path" and "path/" left out.
_at_or_below = sa.and_(
    _l.c.path >= _path, _l.c.path < sa.bindparam("high"), sa.or_(_l.c.path == _path, _l.c.path >= sa.bindparam("low"))
)
_INSERT = Statement(_l.insert().values({column.name: sa.bindparam(column.name) for column in _l.c}))
_REFRESH = Statement(
    _l.update().where(_token).values(expires_s=sa.bindparam("new_expires"), timeout_s=sa.bindparam("new_timeout"))
)
_REMOVE = Statement(_l.delete().where(_token))
_BY_TOKEN = Statement(sa.select(*_COLUMNS).where(_token, _in_force))
_SHORT_LINE = 4
_LINE_PARAMS = tuple(f"path{number}" for number in range(_SHORT_LINE))
_ON_LINE, _ON_SHORT_LINE = (
    Statement(sa.select(*_COLUMNS).where(*_home, on_line, _in_force).order_by(_l.c.path, _l.c.token))
    for on_line in (
        one_of(_l.c.path, "line"),
        _l.c.path.in_([sa.bindparam(name, type_=schema.Text) for name in _LINE_PARAMS]),
    )
)
_BELOW = Statement(sa.select(*_COLUMNS).where(*_home, _at_or_below, _in_force).order_by(_l.c.path, _l.c.token))
_REMOVE_BELOW = Statement(_l.delete().where(*_home, _at_or_below))
_held = _l.c.account_id == sa.bindparam("account_id")
_COUNT_HELD = Statement(sa.select(sa.func.count()).select_from(_l).where(_held, _in_force))
_REMOVE_HELD = Statement(_l.delete().where(_held))


def _end_unentitled() -> Statement:
    holders = one_of(_a.c.id, "ids", integers=True)
    up = up_from(sa.select(_a.c.id.label("person"), _a.c.id.label("id")).where(holders))
    answer = sa.and_(_w.c.share_id == _s.c.id, _w.c.account_id == _l.c.account_id)
    groups_of_holder = sa.select(up.c.id).where(up.c.person == _l.c.account_id).correlate(_l)
    shared: sa.Select[Any] = (
        sa.select(sa.literal_column("1"))
        .select_from(_c.join(_s, _s.c.collection_id == _c.c.id).outerjoin(_w, answer))
        .where(
            _c.c.owner_id == _l.c.owner_id,
            _c.c.area == _l.c.area,
            _c.c.deleted_s.is_(None),
            sa.or_(
                _c.c.path == _l.c.path, sa.func.substr(_l.c.path, 1, sa.func.length(_c.c.path) + 1) == _c.c.path + "/"
            ),
            _s.c.access.in_([sa.literal_column("'write'"), sa.literal_column("'owner'")]),
            sa.or_(_s.c.grantee_id.in_(groups_of_holder), _s.c.grantee == sa.literal_column("'all'")),
            sa.func.coalesce(_w.c.state, _s.c.state) == sa.literal_column("'accepted'"),
        )
        .correlate(_l)
    )
    acting: sa.Select[Any] = (
        sa.select(sa.literal_column("1"))
        .where(
            _p.c.principal_id == _l.c.owner_id,
            _p.c.writes == 1,
            _p.c.delegate_id.in_(groups_of_holder),
            _l.c.area == sa.literal_column("'calendars'"),
        )
        .correlate(_l)
    )
    return Statement(
        _l.delete().where(
            one_of(_l.c.account_id, "ids", integers=True),
            _l.c.owner_id != _l.c.account_id,
            ~shared.exists(),
            ~acting.exists(),
        )
    )


_END_UNENTITLED = _end_unentitled()
_PURGE = Statement(_l.delete().where(_l.c.expires_s <= sa.bindparam("now_s")))
