"""Counts of wrong passwords, by lane: in the store, so that all workers on all machines slow the same guesser down.

A lane is an opaque key of the caller's. A row with failures = 0 is a mark: something went well there at last_s.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.engine import Conn, Statement, one_of

_g = schema.guard
_m = schema.store_meta


def lanes(conn: Conn, keys: Iterable[str]) -> dict[str, tuple[int, int]]:
    """{key: (failures, last_s)} of those lanes that have a row. One statement."""
    return {row[0]: (row[1], row[2]) for row in _READ.all(conn, keys=conn.array(keys))}


def count_failure(conn: Conn, keys: Iterable[str], *, now_s: int, forget_s: int) -> None:
    """Count one failure in each lane; a lane whose last one is older than forget_s begins anew. One statement."""
    # In one order for everybody, so that two of them cannot wait for each other's rows.
    params = [{"key": key, "now_s": now_s, "before_s": now_s - forget_s} for key in sorted(keys)]
    _COUNT.many(conn, params)


def set_mark(conn: Conn, key: str, *, now_s: int) -> None:
    """Say that something went well here at now_s. One statement."""
    _MARK.run(conn, key=key, now_s=now_s)


def clear_lane(conn: Conn, key: str) -> None:
    """Forget a lane's failures. One statement."""
    _CLEAR.run(conn, lane=key)


def purge_guard(conn: Conn, *, failures_before_s: int, marks_before_s: int, limit: int = 1000) -> int:
    """Remove up to `limit` lanes that count no more and marks that are old; returns how many."""
    return _PURGE.run(conn, failures_before_s=failures_before_s, marks_before_s=marks_before_s, n=limit)


def secret(conn: Conn) -> bytes | None:
    """The store's own secret for making keys, the same in all processes; None before make_secret. One statement."""
    value = _SECRET.scalar(conn)
    return None if value is None else bytes.fromhex(value)


def make_secret(conn: Conn) -> bytes:
    """The secret, made at first use. Needs a write transaction."""
    _MAKE_SECRET.run(conn, value=secrets.token_hex(32))
    found = secret(conn)
    assert found is not None
    return found


def _upsert(values: dict[str, Any], changes: Any) -> Statement:
    on_sqlite = sqlite.insert(_g).values(values)
    on_postgresql = postgresql.insert(_g).values(values)
    return Statement(
        sqlite=on_sqlite.on_conflict_do_update(index_elements=["key"], set_=changes),
        postgresql=on_postgresql.on_conflict_do_update(index_elements=["key"], set_=changes),
    )


_now = sa.bindparam("now_s", type_=schema.Int)
_READ = Statement(sa.select(_g.c.key, _g.c.failures, _g.c.last_s).where(one_of(_g.c.key, "keys")))
_COUNT = _upsert(
    {"key": sa.bindparam("key"), "failures": 1, "last_s": _now},
    {
        "failures": sa.case((_g.c.last_s < sa.bindparam("before_s", type_=schema.Int), 1), else_=_g.c.failures + 1),
        "last_s": _now,
    },
)
_MARK = _upsert({"key": sa.bindparam("key"), "failures": 0, "last_s": _now}, {"failures": 0, "last_s": _now})
_CLEAR = Statement(_g.delete().where(_g.c.key == sa.bindparam("lane")))
_PURGE = Statement(
    _g.delete().where(
        _g.c.key.in_(
            # Two halves, each by its own index: marks stay for long, and there are many of them.
            sa.union_all(
                sa.select(_g.c.key).where(
                    _g.c.failures > sa.literal_column("0"),
                    _g.c.last_s < sa.bindparam("failures_before_s", type_=schema.Int),
                ),
                sa.select(_g.c.key).where(
                    _g.c.failures == sa.literal_column("0"),
                    _g.c.last_s < sa.bindparam("marks_before_s", type_=schema.Int),
                ),
            ).limit(sa.bindparam("n"))
        )
    )
)
_SECRET = Statement(sa.select(_m.c.value).where(_m.c.key == "guard_secret"))
_MAKE_SECRET = Statement(
    sqlite=sqlite.insert(_m).values(key="guard_secret", value=sa.bindparam("value")).on_conflict_do_nothing(),
    postgresql=postgresql.insert(_m).values(key="guard_secret", value=sa.bindparam("value")).on_conflict_do_nothing(),
)
