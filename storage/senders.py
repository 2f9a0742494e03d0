"""Whether an account has to do with a mail address: a contact, or somebody it has written to."""

from __future__ import annotations

from collections.abc import Iterable

import sqlalchemy as sa

from storage import schema
from storage.engine import Conn, Statement, position_of
from storage.objects import fold_text

_c = schema.collections
_k = schema.cards
_q = schema.mail_queue


def knows(conn: Conn, account_id: int, addresses: Iterable[str]) -> bool:
    """Whether one of these mail addresses is in an address book of the account, or was sent a message of its meetings.

    At most two statements for each address.
    """
    for address in addresses:
        key = fold_text(address)
        # A column holds the values of a card, one in each line.
        if _CONTACT.scalar(conn, account_id=account_id, line=f"\n{key}\n") is not None:
            return True
        if _WRITTEN.scalar(conn, account_id=account_id, key=address.casefold()) is not None:
            return True
    return False


_books = sa.select(_c.c.id).where(
    _c.c.owner_id == sa.bindparam("account_id"),
    _c.c.area == sa.literal_column("'addressbooks'"),
    _c.c.deleted_s.is_(None),
)


def _contact(newline: str) -> sa.Select[tuple[int]]:
    end: sa.ColumnElement[str] = sa.literal_column(newline)
    whole = end.concat(_k.c.email).concat(end)
    return (
        sa.select(_k.c.object_id)
        .where(_k.c.collection_id.in_(_books), position_of(whole, "line") > 0)
        .limit(sa.literal_column("1"))
    )


_CONTACT = Statement(sqlite=_contact("char(10)"), postgresql=_contact("chr(10)"))
_WRITTEN = Statement(
    sa.select(_q.c.id)
    .where(_q.c.account_id == sa.bindparam("account_id"), _q.c.recipient_key == sa.bindparam("key"))
    .limit(sa.literal_column("1"))
)
