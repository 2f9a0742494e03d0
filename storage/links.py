"""Links to answer an invitation: the secret that they are signed with, and the mails that they stand in."""

from __future__ import annotations

import secrets

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.accounts import fold
from storage.engine import Conn, Statement
from storage.objects import stored_uid

_m = schema.store_meta
_q = schema.mail_queue
_KEY, _SINCE = "link_secret", "links_since_s"


def secret(conn: Conn) -> bytes | None:
    """The secret, the same in all processes; None before make_secret. One statement."""
    return state(conn)[0]


def state(conn: Conn) -> tuple[bytes | None, int]:
    """(the secret or None, since when links count: those made before are void; 0 for all). One statement."""
    found: dict[str, str] = {row[0]: row[1] for row in _READ.all(conn)}
    value = found.get(_KEY)
    return None if value is None else bytes.fromhex(value), int(found.get(_SINCE, "0"))


def make_secret(conn: Conn) -> bytes:
    """The secret, made at first use. Needs a write transaction."""
    _MAKE.run(conn, value=secrets.token_hex(32))
    found = secret(conn)
    assert found is not None
    return found


def prepare(connection: sa.Connection) -> None:
    """Make the secret while the store is made or migrated: who only reads cannot make it, and may need it first."""
    if connection.execute(sa.select(_m.c.key).where(_m.c.key == _KEY)).first() is None:
        connection.execute(_m.insert().values(key=_KEY, value=secrets.token_hex(32)))


def void_links(conn: Conn, before_s: int) -> None:
    """End all links that were made before. The secret stays: bounces are known by it. Needs a write transaction."""
    _DROP_SINCE.run(conn)
    _SET_SINCE.run(conn, value=str(before_s))


def mailed(conn: Conn, account_id: int, uid: str, recipient: str, *, limit: int) -> list[tuple[int, str, str]]:
    """(ledger row, method, recurrence) of what was sent of an event to a recipient, the newest first. One statement.

    Also what came back since, or is to be sent once more: the link stands in a mail that somebody has.
    """
    rows = _MAILED.all(conn, account_id=account_id, uid=stored_uid(uid), recipient_key=fold(recipient), n=limit)
    return [(row[0], row[1], row[2]) for row in rows]


_MAILED = Statement(
    sa.select(_q.c.id, _q.c.method, _q.c.recurrence)
    .where(
        _q.c.uid == sa.bindparam("uid"),
        _q.c.account_id == sa.bindparam("account_id"),
        _q.c.recipient_key == sa.bindparam("recipient_key"),
        _q.c.message_id != sa.literal_column("''"),
    )
    .order_by(_q.c.id.desc())
    .limit(sa.bindparam("n"))
)
_READ = Statement(
    sa.select(_m.c.key, _m.c.value).where(_m.c.key.in_([sa.literal_column(f"'{key}'") for key in (_KEY, _SINCE)]))
)
_MAKE = Statement(
    sqlite=sqlite.insert(_m).values(key=_KEY, value=sa.bindparam("value")).on_conflict_do_nothing(),
    postgresql=postgresql.insert(_m).values(key=_KEY, value=sa.bindparam("value")).on_conflict_do_nothing(),
)
_DROP_SINCE = Statement(_m.delete().where(_m.c.key == _SINCE))
_SET_SINCE = Statement(_m.insert().values(key=_SINCE, value=sa.bindparam("value")))
