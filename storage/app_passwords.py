"""App passwords: one for a device, of at least 128 random bits, kept as the SHA-256 of the secret."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from storage import schema
from storage.engine import Conn, Row, Statement, clean
from storage.errors import NotFound
from storage.records import AppPassword

_p = schema.app_passwords


def create_app_password(
    conn: Conn,
    account_id: int,
    name: str,
    digest: str,
    *,
    areas: Iterable[str],
    read_only: bool = False,
    expires_s: int | None = None,
    now_s: int,
) -> AppPassword:
    """Keep a new app password. digest: SHA-256 in hex of its secret, which nobody has but the device.

    areas: of storage.accounts.AREAS.
    """
    scope = ",".join(areas)
    ident: int = _INSERT.scalar(
        conn, account_id=account_id, name=clean(name), digest=digest, scope=scope, read_only=int(read_only),
        created_s=now_s, expires_s=expires_s,
    )  # fmt: skip
    return AppPassword(ident, account_id, clean(name), _areas(scope), read_only, now_s, None, expires_s)


def app_password_by_digest(conn: Conn, digest: str) -> AppPassword | None:
    """The app password whose secret has this digest, ended or not. One statement."""
    row = _BY_DIGEST.one(conn, digest=digest)
    return None if row is None else _record(row)


def list_app_passwords(conn: Conn, account_id: int) -> list[AppPassword]:
    """All app passwords of an account, the oldest first. One statement."""
    return [_record(row) for row in _OF_ACCOUNT.all(conn, account_id=account_id)]


def note_use(conn: Conn, app_password_id: int, *, now_s: int) -> None:
    """Remember when it was used last; nothing happens when it is gone."""
    _USED.run(conn, app_password_id=app_password_id, now_s=now_s)


def revoke_app_password(conn: Conn, account_id: int, app_password_id: int) -> None:
    """Remove one; what is remembered of the account's credentials is void from now on (auth_seq). Raises NotFound."""
    if not _DELETE.run(conn, account_id=account_id, app_password_id=app_password_id):
        raise NotFound(f"app password {app_password_id}")
    _VOID.run(conn, account_id=account_id)


def purge_app_passwords(conn: Conn, before_s: int) -> int:
    """Remove those that ended before before_s; returns how many. Nobody can use them any more."""
    return _PURGE.run(conn, before_s=before_s)


def _record(row: Row) -> AppPassword:
    ident, account_id, name, scope, read_only, created_s, last_used_s, expires_s = row
    return AppPassword(ident, account_id, name, _areas(scope), read_only == 1, created_s, last_used_s, expires_s)


def _areas(scope: str) -> tuple[str, ...]:
    return tuple(scope.split(",")) if scope else ()


_COLUMNS = (
    _p.c.id, _p.c.account_id, _p.c.name, _p.c.scope, _p.c.read_only, _p.c.created_s, _p.c.last_used_s, _p.c.expires_s,
)  # fmt: skip
_INSERT = Statement(
    _p.insert()
    .values(
        {
            name: sa.bindparam(name)
            for name in ("account_id", "name", "digest", "scope", "read_only", "created_s", "expires_s")
        }
    )
    .returning(_p.c.id)
)
_BY_DIGEST = Statement(sa.select(*_COLUMNS).where(_p.c.digest == sa.bindparam("digest")))
_OF_ACCOUNT = Statement(sa.select(*_COLUMNS).where(_p.c.account_id == sa.bindparam("account_id")).order_by(_p.c.id))
_USED = Statement(
    _p.update().where(_p.c.id == sa.bindparam("app_password_id")).values(last_used_s=sa.bindparam("now_s"))
)
_DELETE = Statement(
    _p.delete().where(_p.c.id == sa.bindparam("app_password_id"), _p.c.account_id == sa.bindparam("account_id"))
)
_VOID = Statement(
    schema.accounts.update()
    .where(schema.accounts.c.id == sa.bindparam("account_id"))
    .values(auth_seq=schema.accounts.c.auth_seq + 1)
)
_PURGE = Statement(_p.delete().where(_p.c.expires_s < sa.bindparam("before_s")))
