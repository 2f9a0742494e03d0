"""What scheduling remembers of others (which message of theirs was the newest), and how rooms answer by themselves."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.engine import Conn, Statement, clean, oldest, one_of
from storage.objects import stored_uid
from storage.records import BOOKING_CONFLICTS, BOOKING_MODES, Booking

# Longest address and longest key of an instance that are remembered, in bytes as UTF-8: an index entry of PostgreSQL
# ends at 2.7 KB, and no honest ones are longer.
ADDRESS_BYTES_MAX = 1000
RECURRENCE_BYTES_MAX = 200

_s = schema.itip_seen
_b = schema.bookings


def seen(conn: Conn, account_id: int, uid: str) -> dict[tuple[str, str], tuple[int, str]]:
    """{(address, key of an instance or ""): (SEQUENCE, DTSTAMP) of the newest message from there}. One statement."""
    rows = _SEEN.all(conn, account_id=account_id, uid=stored_uid(uid))
    return {(row[0], row[1]): (row[2], row[3]) for row in rows}


def remember_seen(
    conn: Conn, account_id: int, uid: str, entries: Mapping[tuple[str, str], tuple[int, str]], *, now_s: int = 0
) -> None:
    """Note the newest messages, in the form of `seen`; they take the place of what was noted, whatever that was.

    Addresses and keys longer than the limits above are left out. now_s: for the purge; 0 keeps an entry for ever. One
    statement. Needs: a write transaction.
    """
    uid = stored_uid(uid)
    params = [
        {
            "account_id": account_id,
            "uid": uid,
            "address": clean(address),
            "recurrence": clean(recurrence),
            "sequence": sequence,
            "dtstamp": clean(dtstamp),
            "now_s": now_s,
        }
        for (address, recurrence), (sequence, dtstamp) in sorted(entries.items())
        if len(address.encode(errors="replace")) <= ADDRESS_BYTES_MAX
        and len(recurrence.encode(errors="replace")) <= RECURRENCE_BYTES_MAX
    ]
    _REMEMBER.many(conn, params)


def forget_seen(conn: Conn, account_id: int, uid: str) -> None:
    """Forget what was noted of an event, as when it is removed for good. One statement."""
    _FORGET.run(conn, account_id=account_id, uid=stored_uid(uid))


def purge_seen(conn: Conn, before_s: int, limit: int = 1000) -> int:
    """Forget about `limit` entries noted before before_s; returns how many."""
    return _PURGE.run(conn, before_s=before_s, n=limit)


def get_booking(conn: Conn, account_id: int) -> Booking | None:
    """How the account answers by itself; None when nobody has said so. One statement."""
    row = _BOOKING.one(conn, account_id=account_id)
    return None if row is None else Booking(*row)


def get_bookings(conn: Conn, account_ids: Iterable[int]) -> dict[int, Booking]:
    """As get_booking, for many accounts; those of which nobody has said so are left out. One statement."""
    return {row[0]: Booking(*row) for row in _BOOKINGS.all(conn, ids=conn.array(account_ids))}


def set_booking(conn: Conn, booking: Booking) -> None:
    """Say how an account answers by itself. Raises ValueError for a mode or conflicts that there is not."""
    if booking.mode not in BOOKING_MODES or booking.conflicts not in BOOKING_CONFLICTS or booking.horizon_days < 0:
        raise ValueError(f"no such booking rule: {booking.mode}, {booking.conflicts}, {booking.horizon_days} days")
    _SET_BOOKING.run(
        conn,
        account_id=booking.account_id,
        mode=booking.mode,
        conflicts=booking.conflicts,
        horizon_days=booking.horizon_days,
    )


def clear_booking(conn: Conn, account_id: int) -> bool:
    """Go back to what is usual for its kind of account. False when nobody had said anything else."""
    return bool(_CLEAR_BOOKING.run(conn, account_id=account_id))


def _upsert(table: sa.Table, keys: list[str], values: dict[str, Any]) -> Statement:
    """INSERT, or UPDATE of the columns that are no keys where the keys are there."""
    on_sqlite, on_postgresql = sqlite.insert(table).values(values), postgresql.insert(table).values(values)
    changed = [name for name in values if name not in keys]
    return Statement(
        sqlite=on_sqlite.on_conflict_do_update(
            index_elements=keys, set_={name: on_sqlite.excluded[name] for name in changed}
        ),
        postgresql=on_postgresql.on_conflict_do_update(
            index_elements=keys, set_={name: on_postgresql.excluded[name] for name in changed}
        ),
    )


_event = (_s.c.account_id == sa.bindparam("account_id"), _s.c.uid == sa.bindparam("uid"))
_SEEN = Statement(sa.select(_s.c.address, _s.c.recurrence, _s.c.sequence, _s.c.dtstamp).where(*_event))
_REMEMBER = _upsert(
    _s,
    ["account_id", "uid", "address", "recurrence"],
    {
        **{name: sa.bindparam(name) for name in ("account_id", "uid", "address", "recurrence", "sequence", "dtstamp")},
        "at_s": sa.bindparam("now_s"),
    },
)
_FORGET = Statement(_s.delete().where(*_event))
_PURGE = Statement(_s.delete().where(_s.c.at_s > 0, *oldest(_s.c.at_s)))
_rule = (_b.c.account_id, _b.c.mode, _b.c.conflicts, _b.c.horizon_days)
_BOOKING = Statement(sa.select(*_rule).where(_b.c.account_id == sa.bindparam("account_id")))
_BOOKINGS = Statement(sa.select(*_rule).where(one_of(_b.c.account_id, "ids", integers=True)))
_SET_BOOKING = _upsert(
    _b, ["account_id"], {name: sa.bindparam(name) for name in ("account_id", "mode", "conflicts", "horizon_days")}
)
_CLEAR_BOOKING = Statement(_b.delete().where(_b.c.account_id == sa.bindparam("account_id")))
