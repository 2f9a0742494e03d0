"""Leases: of all workers on all machines, one at a time does a piece of background work."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.engine import Conn, Statement, clean

_j = schema.jobs


def take_lease(conn: Conn, name: str, *, holder: str, now_s: int, lease_s: int) -> bool:
    """True when `holder` may do the job `name` until now_s + lease_s.

    False when somebody else's lease is in force; an own one is renewed.
    """
    until_s = now_s + lease_s
    return bool(_TAKE.run(conn, name=clean(name), holder=clean(holder), until_s=until_s, now_s=now_s))


def give_lease(conn: Conn, name: str, *, holder: str) -> None:
    """End the holder's lease before its time; nothing happens when somebody else has it."""
    _GIVE.run(conn, job=clean(name), by=clean(holder))


_values: dict[str, Any] = {name: sa.bindparam(name) for name in ("name", "holder", "until_s")}
_free = sa.or_(_j.c.until_s <= sa.bindparam("now_s"), _j.c.holder == sa.bindparam("holder"))
_on_sqlite = sqlite.insert(_j).values(_values)
_on_postgresql = postgresql.insert(_j).values(_values)
_TAKE = Statement(
    sqlite=_on_sqlite.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": _on_sqlite.excluded.holder, "until_s": _on_sqlite.excluded.until_s},
        where=_free,
    ),
    postgresql=_on_postgresql.on_conflict_do_update(
        index_elements=["name"],
        set_={"holder": _on_postgresql.excluded.holder, "until_s": _on_postgresql.excluded.until_s},
        where=_free,
    ),
)
_GIVE = Statement(_j.delete().where(_j.c.name == sa.bindparam("job"), _j.c.holder == sa.bindparam("by")))
