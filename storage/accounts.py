"""Accounts and the addresses at which they can be invited. Names and addresses are matched case-folded."""

from __future__ import annotations

import secrets
import time
from collections.abc import Iterable, Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.engine import Conn, Row, Statement, clean, one_of
from storage.errors import NameTaken, NameTooLong, NotFound
from storage.records import Account
from storage.text import nfc

# The homes of every account, one an area.
AREAS = ("calendars", "addressbooks", "files")
# Longest name and address, in bytes as UTF-8: an index entry of PostgreSQL ends at 2.7 KB.
NAME_BYTES_MAX = 1000
# Longest text that search_accounts looks for; nobody's name or address is longer.
_SEARCH_CHARS_MAX = 1000
_FIELDS = ("name", "display_name", "address")
_PATTERNS = {"equals": "{}", "contains": "%{}%", "starts-with": "{}%", "ends-with": "%{}"}

_a = schema.accounts
_d = schema.addresses


def fold(text: str) -> str:
    """Key under which a name or an address is found: case-folded, NFC."""
    if text.isascii():
        return clean(text).lower()
    return nfc(clean(nfc(text)).casefold())


def create_account(
    conn: Conn,
    name: str,
    *,
    display_name: str = "",
    password_hash: str | None = None,
    kind: str = "individual",
    locale: str = "",
    time_zone: str = "",
    addresses: Iterable[str] = (),
    source: str = "",
    now_s: int,
) -> Account:
    """Make an account with its three homes. addresses: the primary one first. source: the back end that knows it.

    Raises NameTaken when an account has the name, or any account one of the addresses; NameTooLong.
    """
    name = _checked(nfc(clean(name)))
    account_id = _INSERT.scalar(
        conn,
        name=name,
        name_key=_checked(fold(name)),
        display_name=clean(display_name),
        display_key=fold(display_name),
        kind=kind,
        password_hash=password_hash,
        locale=clean(locale),
        time_zone=clean(time_zone),
        created_s=now_s,
        source=clean(source),
    )
    if account_id is None:
        raise NameTaken(name)
    _INSERT_HOME.many(
        conn,
        [{"owner_id": account_id, "area": area, "key": secrets.token_hex(16), "now_s": now_s} for area in AREAS],
    )
    for number, address in enumerate(addresses):
        add_address(conn, account_id, address, primary=number == 0)
    return _require(conn, account_id)


def account_by_id(conn: Conn, account_id: int) -> Account | None:
    """The account with this id. One statement."""
    return _first(_BY_ID.all(conn, account_id=account_id))


def account_by_name(conn: Conn, name: str) -> Account | None:
    """The account with this name, whatever its case. One statement."""
    return _first(_BY_NAME.all(conn, name_key=fold(name)))


def account_by_address(conn: Conn, address: str) -> Account | None:
    """The account that can be invited at this address (without mailto:), whatever its case. One statement."""
    return _first(_BY_ADDRESS.all(conn, address_key=fold(address)))


def accounts_by_addresses(conn: Conn, mails: Iterable[str], *, delimiters: str = "") -> dict[str, Account]:
    """{address as it was asked: the active account that can be invited there}, whatever its case. One statement.

    delimiters: characters that begin a tag in a local part (RFC 5233): alice+x@ is alice@ when nobody has alice+x@
    itself. A domain is the same in Unicode and in its ASCII form (RFC 5890). Addresses of nobody are left out.
    """
    wanted = {mail: _spellings(mail, delimiters) for mail in mails}
    if not wanted:
        return {}
    found = _accounts(_BY_ADDRESSES.all(conn, keys=conn.array({key for keys in wanted.values() for key in keys})))
    by_key = {fold(address): account for account in found for address in account.addresses}
    chosen = ((mail, next((by_key[key] for key in keys if key in by_key), None)) for mail, keys in wanted.items())
    return {mail: account for mail, account in chosen if account is not None}


def _spellings(mail: str, delimiters: str) -> list[str]:
    """The keys under which an address may be kept, the most exact one first."""
    key = fold(mail.strip())
    local, at, domain = key.rpartition("@")
    if not at or len(key) > NAME_BYTES_MAX:
        return [key]
    domains = [domain]
    try:
        if not domain.isascii():
            domains.append(domain.encode("idna").decode())
        elif "xn--" in domain:
            domains.append(fold(domain.encode().decode("idna")))
    except UnicodeError:
        pass  # no name that could be asked for in a DNS
    locals_ = [local]
    tag = next((position for position, char in enumerate(local) if position and char in delimiters), None)
    if tag is not None:
        locals_.append(local[:tag])
    return [f"{name}@{where}" for name in locals_ for where in domains]


def lock_accounts(conn: Conn, ids: Iterable[int]) -> None:
    """Keep other writers from the rows of these accounts, which count their bytes, until the end of the transaction.

    For who writes into the calendars of several: PostgreSQL locks in ascending order of id, so that two never wait for
    each other. SQLite: nothing to do, a write transaction has the whole store.
    """
    if conn.dialect == "postgresql":
        _LOCK_ACCOUNTS.all(conn, ids=conn.array(sorted(ids)))


def list_accounts(conn: Conn, *, after: str = "", limit: int = 100) -> list[Account]:
    """Up to `limit` accounts in the order of their folded names, those behind the name `after`. One statement."""
    return _accounts(_LIST.all(conn, after=fold(after), n=limit))


def search_accounts(
    conn: Conn, text: str, *, fields: Iterable[str] = _FIELDS, match: str = "contains", limit: int = 100
) -> list[Account]:
    """Up to `limit` active accounts with the text in one of the fields, in the order of their folded names.

    fields: of "name", "display_name", "address". match: "equals", "contains", "starts-with" or "ends-with"
    (RFC 6352 §10.5.4, RFC 3744 §9.4). Compared case-folded. Raises ValueError for another field or match.
    """
    wanted = set(fields)
    if not wanted <= set(_FIELDS) or match not in _PATTERNS:
        raise ValueError(f"no such field or match: {sorted(wanted)}, {match}")
    key = fold(text)
    if len(key) > _SEARCH_CHARS_MAX:
        return []
    escaped = key.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    pattern = _PATTERNS[match].format(escaped)
    params = {f"{field}_pattern": pattern if field in wanted else None for field in _FIELDS}
    return _accounts(_SEARCH.all(conn, n=limit, **params))


def set_password_hash(conn: Conn, account_id: int, password_hash: str | None) -> None:
    """Set or remove the password; remembered credentials are void from now on (auth_seq). Raises NotFound."""
    _found(_SET_PASSWORD.run(conn, account_id=account_id, new_hash=password_hash), account_id)


def replace_password_hash(conn: Conn, account_id: int, *, old: str, new: str) -> bool:
    """Put another hash of the same password in the place of `old`; what is remembered stays valid.

    False, with nothing changed, when the account has another hash by now.
    """
    return bool(_REPLACE_PASSWORD.run(conn, account_id=account_id, old_hash=old, new_hash=new))


def rename_account(conn: Conn, account_id: int, new_name: str) -> Account:
    """Give the account another name, as a renamed mailbox has; its address of the old name, if any, follows.

    Remembered credentials are void from now on (auth_seq). Raises NameTaken when another account has the name or the
    address, NameTooLong, NotFound.
    """
    new_name = _checked(nfc(clean(new_name)))
    new_key = _checked(fold(new_name))
    account = _require(conn, account_id)
    other = account_by_name(conn, new_name)
    if other is not None and other.id != account_id:
        raise NameTaken(new_name)
    _found(_RENAME.run(conn, account_id=account_id, new_name=new_name, new_key=new_key), account_id)
    old_key = fold(account.name)
    if old_key in map(fold, account.addresses):
        owner = account_by_address(conn, new_name)
        if owner is not None and owner.id != account_id:
            raise NameTaken(new_name)
        if owner is None or new_key == old_key:
            _RENAME_ADDRESS.run(
                conn, account_id=account_id, old_key=old_key, new_address=new_name, new_address_key=new_key
            )
        else:
            primary = fold(account.addresses[0]) == old_key
            _DELETE_ADDRESS.run(conn, account_id=account_id, address_key=old_key)
            if primary:
                add_address(conn, account_id, new_name, primary=True)
    return _require(conn, account_id)


def set_active(conn: Conn, account_id: int, active: bool) -> None:
    """Let the account sign in, or not; remembered credentials are void from now on (auth_seq). Raises NotFound.

    While it is disabled nobody but administrators sees what it owns, and the locks that it held anywhere are ended.
    """
    from storage import locks  # which is built on this module

    _found(_SET_ACTIVE.run(conn, account_id=account_id, new_active=int(active)), account_id)
    if not active:
        locks.remove_held(conn, account_id)


def update_account(conn: Conn, account_id: int, **changes: Any) -> None:
    """Change any of display_name, locale, time_zone, kind (texts), quota_bytes (int or None), admin (bool).

    Raises NotFound; TypeError for another field.
    """
    if not changes:
        return
    params: dict[str, Any] = {}
    for field, value in changes.items():
        if field not in _CHANGEABLE:
            raise TypeError(f"no field of an account that can be changed: {field}")
        params[f"new_{field}"] = int(value) if field == "admin" else clean(value) if isinstance(value, str) else value
        if field == "display_name":
            params["new_display_key"] = fold(value)
    key = frozenset(changes)
    statement = _UPDATES.get(key)
    if statement is None:
        statement = _UPDATES[key] = _update_of([name.removeprefix("new_") for name in params])
    _found(statement.run(conn, account_id=account_id, **params), account_id)


def remove_account(conn: Conn, account_id: int, *, now_s: int | None = None) -> None:
    """Remove the account and everything it owns, for good: nothing is kept in the history. Raises NotFound.

    What it shared goes from the homes of others, and what a group was given from those of its members. Blobs stay
    until purge_blobs finds that nothing refers to them. now_s: by the clock when it is not said.
    """
    from storage import shares  # which is built on this module

    now_s = int(time.time()) if now_s is None else now_s
    people = shares.before_removal(conn, account_id, now_s=now_s)
    for statement in _REMOVALS:
        statement.run(conn, account_id=account_id)
    _found(_DELETE.run(conn, account_id=account_id), account_id)
    shares.settle_accounts(conn, people, now_s=now_s)


def add_address(conn: Conn, account_id: int, address: str, *, primary: bool = False) -> None:
    """Add an address, or make one that the account has already primary.

    Raises NameTaken when another account has it, NotFound, NameTooLong.
    """
    address = _checked(nfc(clean(address)))
    key = _checked(fold(address))
    if account_by_id(conn, account_id) is None:
        raise NotFound(f"account {account_id}")
    if primary:
        _UNSET_PRIMARY.run(conn, account_id=account_id)
    inserted = _INSERT_ADDRESS.scalar(
        conn, account_id=account_id, address=address, address_key=key, is_primary=int(primary), source=""
    )
    if inserted is None:
        owner = account_by_address(conn, address)
        if owner is None or owner.id != account_id:
            raise NameTaken(address)
        if primary:
            _SET_PRIMARY.run(conn, address_key=key)


def remove_address(conn: Conn, account_id: int, address: str) -> None:
    """Remove an address of the account. Raises NotFound when it has none like this."""
    if not _DELETE_ADDRESS.run(conn, account_id=account_id, address_key=fold(address)):
        raise NotFound(address)


def sourced_addresses(conn: Conn, account_id: int, source: str) -> list[str]:
    """The account's addresses that a back end has named, the primary one first. One statement."""
    return [row[0] for row in _OF_SOURCE.all(conn, account_id=account_id, source=clean(source))]


def set_sourced_addresses(conn: Conn, account_id: int, source: str, addresses: Iterable[str]) -> list[str]:
    """Make these (the primary one first) the addresses that the back end `source` names; others' stay as they are.

    Returns those that another account has, which keeps them. Afterwards exactly one address is primary when there is
    any: one put there by hand stays it, else it is the first of these. Raises NotFound, NameTooLong.
    """
    source = clean(source)
    if _a_lock(conn, account_id) is None:
        raise NotFound(f"account {account_id}")
    wanted: dict[str, str] = {}
    for address in addresses:
        address = _checked(nfc(clean(address)))
        wanted.setdefault(_checked(fold(address)), address)
    rows = _ADDRESSES.all(conn, account_id=account_id)
    for _, key, row_source, _ in rows:
        if row_source == source and key not in wanted:
            _DELETE_ADDRESS.run(conn, account_id=account_id, address_key=key)
    own = {key for _, key, _, _ in rows}
    conflicts = []
    # In one order for everybody: two accounts that want each other's addresses must not wait for each other.
    for key in sorted(wanted):
        if key in own:
            continue
        inserted = _INSERT_ADDRESS.scalar(
            conn, account_id=account_id, address=wanted[key], address_key=key, is_primary=0, source=source
        )
        if inserted is None:
            conflicts.append(wanted[key])
    _choose_primary(conn, account_id, source, list(wanted))
    return conflicts


def _choose_primary(conn: Conn, account_id: int, source: str, preferred: list[str]) -> None:
    rows = _ADDRESSES.all(conn, account_id=account_id)
    primaries = [key for _, key, _, is_primary in rows if is_primary]
    by_hand = [key for _, key, row_source, is_primary in rows if is_primary and row_source != source]
    there = [key for _, key, _, _ in rows]
    chosen = next(iter([*by_hand, *(key for key in preferred if key in there), *there]), None)
    if chosen is not None and primaries != [chosen]:
        _UNSET_PRIMARY.run(conn, account_id=account_id)
        _SET_PRIMARY.run(conn, address_key=chosen)


def _a_lock(conn: Conn, account_id: int) -> int | None:
    """Takes the account's row: two that set its addresses at the same time come one after the other."""
    return account_id if _TOUCH.run(conn, account_id=account_id) else None


def usage_bytes(conn: Conn, account_id: int) -> int:
    """Sum of the sizes of all members in the account's collections. One look-up. Raises NotFound."""
    used = _USAGE.scalar(conn, account_id=account_id)
    if used is None:
        raise NotFound(f"account {account_id}")
    return int(used)


def add_usage(conn: Conn, account_id: int, delta_bytes: int) -> bool:
    """Count bytes that were added (or, when negative, freed). False, with nothing counted, when over the quota."""
    return bool(_ADD_USAGE.run(conn, account_id=account_id, delta=delta_bytes))


def _checked(name: str) -> str:
    if len(name.encode()) > NAME_BYTES_MAX:
        raise NameTooLong(name[:40])
    return name


def _found(count: int, account_id: int) -> None:
    if not count:
        raise NotFound(f"account {account_id}")


def _require(conn: Conn, account_id: int) -> Account:
    account = account_by_id(conn, account_id)
    if account is None:
        raise NotFound(f"account {account_id}")
    return account


def _first(rows: Sequence[Row]) -> Account | None:
    found = _accounts(rows)
    return found[0] if found else None


def _accounts(rows: Sequence[Row]) -> list[Account]:
    """Accounts from rows of account columns and one address each; the rows of an account follow each other."""
    found: list[Account] = []
    start = 0
    while start < len(rows):
        end = start + 1
        while end < len(rows) and rows[end][0] == rows[start][0]:
            end += 1
        row = rows[start]
        addresses = tuple(row[13] for row in rows[start:end] if row[13] is not None)
        (
            account_id, name, display_name, kind, password, auth_seq, locale, zone, quota, active, admin, created_s,
            source, _,
        ) = row  # fmt: skip
        found.append(
            Account(
                account_id, name, display_name, kind, password, auth_seq, locale, zone, quota, active == 1, admin == 1,
                created_s, addresses, source,
            )
        )  # fmt: skip
        start = end
    return found


_COLUMNS = (
    _a.c.id, _a.c.name, _a.c.display_name, _a.c.kind, _a.c.password_hash, _a.c.auth_seq, _a.c.locale, _a.c.time_zone,
    _a.c.quota_bytes, _a.c.active, _a.c.admin, _a.c.created_s, _a.c.source,
)  # fmt: skip
_CHANGEABLE = frozenset({"display_name", "locale", "time_zone", "kind", "quota_bytes", "admin"})
_UPDATES: dict[frozenset[str], Statement] = {}


def _select(condition: sa.ColumnElement[bool]) -> Statement:
    return Statement(
        sa.select(*_COLUMNS, _d.c.address)
        .select_from(_a.outerjoin(_d, _d.c.account_id == _a.c.id))
        .where(condition)
        .order_by(_d.c.is_primary.desc(), _d.c.id)
    )


def _select_some(chosen: sa.Select[Any]) -> Statement:
    """Whole accounts for a limited choice of ids, in the order of their keys."""
    ids = chosen.subquery()
    return Statement(
        sa.select(*_COLUMNS, _d.c.address)
        .select_from(ids.join(_a, _a.c.id == ids.c.id).outerjoin(_d, _d.c.account_id == _a.c.id))
        .order_by(_a.c.name_key, _d.c.is_primary.desc(), _d.c.id)
    )


def _update_of(fields: Iterable[str]) -> Statement:
    values = {field: sa.bindparam(f"new_{field}", type_=_a.c[field].type) for field in fields}
    return Statement(_a.update().where(_a.c.id == sa.bindparam("account_id")).values(values))


def _insert_or_nothing(table: sa.Table, values: dict[str, Any]) -> Statement:
    """INSERT that does nothing where a unique index stands against it; scalar() is the new id or None."""
    return Statement(
        sqlite=sqlite.insert(table).values(values).on_conflict_do_nothing().returning(table.c.id),
        postgresql=postgresql.insert(table).values(values).on_conflict_do_nothing().returning(table.c.id),
    )


def _params(*names: str) -> dict[str, Any]:
    return {name: sa.bindparam(name) for name in names}


_INSERT = _insert_or_nothing(
    _a,
    {
        **_params(
            "name", "name_key", "display_name", "display_key", "kind", "password_hash", "locale", "time_zone",
            "created_s", "source",
        ),
        "auth_seq": 1, "used_bytes": 0, "active": 1, "admin": 0,
    },
)  # fmt: skip
_INSERT_HOME = Statement(
    schema.collections.insert().values(
        **_params("owner_id", "area", "key"),
        path="", kind="home", components="", transparent=0, position=0, change_seq=0, props_seq=1,
        created_s=sa.bindparam("now_s"), modified_s=sa.bindparam("now_s"),
    )
)  # fmt: skip
_BY_ID = _select(_a.c.id == sa.bindparam("account_id"))
_BY_NAME = _select(_a.c.name_key == sa.bindparam("name_key"))
_BY_ADDRESS = _select(
    _a.c.id == sa.select(_d.c.account_id).where(_d.c.address_key == sa.bindparam("address_key")).scalar_subquery()
)
_asked = _d.alias("asked")
_BY_ADDRESSES = Statement(
    sa.select(*_COLUMNS, _d.c.address)
    .select_from(_a.join(_d, _d.c.account_id == _a.c.id))
    .where(_a.c.id.in_(sa.select(_asked.c.account_id).where(one_of(_asked.c.address_key, "keys"))), _a.c.active == 1)
    .order_by(_a.c.id, _d.c.is_primary.desc(), _d.c.id)
)
# FOR NO KEY UPDATE: a new row that refers to the account need not wait.
_LOCK_ACCOUNTS = Statement(
    sa.select(_a.c.id).where(one_of(_a.c.id, "ids", integers=True)).order_by(_a.c.id).with_for_update(key_share=True)
)
_LIST = _select_some(
    sa.select(_a.c.id).where(_a.c.name_key > sa.bindparam("after")).order_by(_a.c.name_key).limit(sa.bindparam("n"))
)
_other = _d.alias("other")
_SEARCH = _select_some(
    sa.select(_a.c.id)
    .where(
        _a.c.active == 1,
        sa.or_(
            _a.c.name_key.like(sa.bindparam("name_pattern"), escape="\\"),
            _a.c.display_key.like(sa.bindparam("display_name_pattern"), escape="\\"),
            sa.exists().where(
                _other.c.account_id == _a.c.id,
                _other.c.address_key.like(sa.bindparam("address_pattern"), escape="\\"),
            ),
        ),
    )
    .order_by(_a.c.name_key)
    .limit(sa.bindparam("n"))
)
_SET_PASSWORD = Statement(
    _a.update()
    .where(_a.c.id == sa.bindparam("account_id"))
    .values(password_hash=sa.bindparam("new_hash"), auth_seq=_a.c.auth_seq + 1)
)
_REPLACE_PASSWORD = Statement(
    _a.update()
    .where(_a.c.id == sa.bindparam("account_id"), _a.c.password_hash == sa.bindparam("old_hash"))
    .values(password_hash=sa.bindparam("new_hash"))
)
_RENAME = Statement(
    _a.update()
    .where(_a.c.id == sa.bindparam("account_id"))
    .values(name=sa.bindparam("new_name"), name_key=sa.bindparam("new_key"), auth_seq=_a.c.auth_seq + 1)
)
_RENAME_ADDRESS = Statement(
    _d.update()
    .where(_d.c.account_id == sa.bindparam("account_id"), _d.c.address_key == sa.bindparam("old_key"))
    .values(address=sa.bindparam("new_address"), address_key=sa.bindparam("new_address_key"))
)
_TOUCH = Statement(_a.update().where(_a.c.id == sa.bindparam("account_id")).values(active=_a.c.active))
_ADDRESSES = Statement(
    sa.select(_d.c.address, _d.c.address_key, _d.c.source, _d.c.is_primary)
    .where(_d.c.account_id == sa.bindparam("account_id"))
    .order_by(_d.c.is_primary.desc(), _d.c.id)
)
_OF_SOURCE = Statement(
    sa.select(_d.c.address)
    .where(_d.c.account_id == sa.bindparam("account_id"), _d.c.source == sa.bindparam("source"))
    .order_by(_d.c.is_primary.desc(), _d.c.id)
)
_SET_ACTIVE = Statement(
    _a.update()
    .where(_a.c.id == sa.bindparam("account_id"))
    .values(active=sa.bindparam("new_active"), auth_seq=_a.c.auth_seq + 1)
)
_USAGE = Statement(sa.select(_a.c.used_bytes).where(_a.c.id == sa.bindparam("account_id")))
_delta = sa.bindparam("delta", type_=_a.c.used_bytes.type)
_ADD_USAGE = Statement(
    _a.update()
    .where(
        _a.c.id == sa.bindparam("account_id"),
        sa.or_(_a.c.quota_bytes.is_(None), _a.c.used_bytes + _delta <= _a.c.quota_bytes, _delta <= 0),
    )
    .values(used_bytes=_a.c.used_bytes + _delta)
)
_INSERT_ADDRESS = _insert_or_nothing(_d, _params("account_id", "address", "address_key", "is_primary", "source"))
_UNSET_PRIMARY = Statement(_d.update().where(_d.c.account_id == sa.bindparam("account_id")).values(is_primary=0))
_SET_PRIMARY = Statement(_d.update().where(_d.c.address_key == sa.bindparam("address_key")).values(is_primary=1))
_DELETE_ADDRESS = Statement(
    _d.delete().where(_d.c.account_id == sa.bindparam("account_id"), _d.c.address_key == sa.bindparam("address_key"))
)
_DELETE = Statement(_a.delete().where(_a.c.id == sa.bindparam("account_id")))
_owned = sa.select(schema.collections.c.id).where(schema.collections.c.owner_id == sa.bindparam("account_id"))
_owned_objects = sa.select(schema.objects.c.id).where(schema.objects.c.collection_id.in_(_owned))
_REMOVALS = (
    # First the rows that others wait for: on PostgreSQL this is the lock against writers in these collections.
    Statement(
        schema.collections.update()
        .where(schema.collections.c.owner_id == sa.bindparam("account_id"))
        .values(change_seq=schema.collections.c.change_seq)
    ),
    Statement(schema.bodies.delete().where(schema.bodies.c.object_id.in_(_owned_objects))),
    *(
        Statement(table.delete().where(table.c.collection_id.in_(_owned)))
        for table in (
            schema.instances, schema.runs, schema.cards, schema.objects, schema.tombstones, schema.object_versions,
            schema.properties,
        )
    ),
    Statement(schema.collections.delete().where(schema.collections.c.owner_id == sa.bindparam("account_id"))),
    Statement(
        schema.locks.delete().where(
            sa.or_(
                schema.locks.c.owner_id == sa.bindparam("account_id"),
                schema.locks.c.account_id == sa.bindparam("account_id"),
            )
        )
    ),
    Statement(_d.delete().where(_d.c.account_id == sa.bindparam("account_id"))),
    *(
        Statement(table.delete().where(table.c.account_id == sa.bindparam("account_id")))
        for table in (
            schema.app_passwords, schema.mail_queue, schema.inbound_seen, schema.kept_mail, schema.itip_seen,
            schema.bookings, schema.freebusy_links,
        )
    ),
    Statement(
        schema.proxies.delete().where(
            sa.or_(
                schema.proxies.c.principal_id == sa.bindparam("account_id"),
                schema.proxies.c.delegate_id == sa.bindparam("account_id"),
            )
        )
    ),
)  # fmt: skip
