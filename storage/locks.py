"""WebDAV locks (RFC 4918 §6). An expired lock is no lock: every function that reads takes the time."""

from __future__ import annotations

import sqlalchemy as sa

from storage import schema
from storage.collections import normal_path
from storage.engine import Conn, Row, Statement, clean, one_of
from storage.errors import NotFound
from storage.records import Lock

_l = schema.locks


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
    path = normal_path(path)
    line = ["", path] if path else [""]
    line += [path[:index] for index, char in enumerate(path) if char == "/"]
    rows = _COVERING.all(conn, owner_id=owner_id, area=area, path=path, line=conn.array(line), now_s=now_s)
    return [_lock(row) for row in rows]


def locks_below(conn: Conn, owner_id: int, area: str, path: str, *, now_s: int) -> list[Lock]:
    """Locks in force on this path or anything under it. One statement."""
    path = normal_path(path)
    return [_lock(row) for row in _BELOW.all(conn, owner_id=owner_id, area=area, now_s=now_s, **_range(path))]


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
_COVERING = Statement(
    sa.select(*_COLUMNS)
    .where(
        *_home,
        one_of(_l.c.path, "line"),
        sa.or_(_l.c.path == _path, _l.c.depth_infinity == 1),
        _in_force,
    )
    .order_by(_l.c.path, _l.c.token)
)
_BELOW = Statement(sa.select(*_COLUMNS).where(*_home, _at_or_below, _in_force).order_by(_l.c.path, _l.c.token))
_REMOVE_BELOW = Statement(_l.delete().where(*_home, _at_or_below))
_PURGE = Statement(_l.delete().where(_l.c.expires_s <= sa.bindparam("now_s")))
