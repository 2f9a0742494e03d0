"""Published free-busy addresses: whoever knows the secret in one sees when its account is busy."""

from __future__ import annotations

import sqlalchemy as sa

from storage import schema
from storage.accounts import _first, _select
from storage.engine import Conn, Statement
from storage.records import Account

_f = schema.freebusy_links
_a = schema.accounts


def publish_freebusy(conn: Conn, account_id: int, digest: str, *, now_s: int) -> None:
    """Make this the account's address; one it had before is void. digest: SHA-256 in hex of its secret."""
    _REVOKE.run(conn, account_id=account_id)
    _PUBLISH.run(conn, account_id=account_id, digest=digest, created_s=now_s)


def revoke_freebusy(conn: Conn, account_id: int) -> bool:
    """Make the account's address void. False when it had none."""
    return bool(_REVOKE.run(conn, account_id=account_id))


def freebusy_published_s(conn: Conn, account_id: int) -> int | None:
    """When the account's address was made, in seconds since 1970; None when it has none. One statement."""
    found: int | None = _CREATED.scalar(conn, account_id=account_id)
    return found


def account_by_freebusy(conn: Conn, digest: str) -> Account | None:
    """The active account whose address has this digest. One statement."""
    return _first(_BY_DIGEST.all(conn, digest=digest))


_REVOKE = Statement(_f.delete().where(_f.c.account_id == sa.bindparam("account_id")))
_PUBLISH = Statement(_f.insert().values({column.name: sa.bindparam(column.name) for column in _f.c}))
_CREATED = Statement(sa.select(_f.c.created_s).where(_f.c.account_id == sa.bindparam("account_id")))
_BY_DIGEST = _select(
    sa.and_(
        _a.c.id == sa.select(_f.c.account_id).where(_f.c.digest == sa.bindparam("digest")).scalar_subquery(),
        _a.c.active == sa.literal_column("1"),
    )
)
