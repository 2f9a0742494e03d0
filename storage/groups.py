"""Groups: accounts of the kind "group" and who belongs to them. Members may be groups, to a bounded depth."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import schema
from storage.accounts import _COLUMNS, _accounts, account_by_id, fold
from storage.engine import Conn, Row, Statement, clean, one_of
from storage.errors import NotFound
from storage.records import Account

# How deep groups may stand in groups. What is deeper gives nothing; circles end here too.
DEPTH_MAX = 8

_a = schema.accounts
_d = schema.addresses
_m = schema.members


def up_from(start: sa.Select[Any], name: str = "up") -> sa.CTE:
    """(person, id) of the accounts that `start` chooses as (person, id) and of all active groups they belong to."""
    up = start.add_columns(sa.literal_column("0").label("depth")).cte(name, recursive=True)
    group = _a.alias(f"{name}_group")
    return up.union(
        sa.select(up.c.person, _m.c.group_id, up.c.depth + 1).where(
            up.c.depth < DEPTH_MAX,
            _m.c.member_id == up.c.id,
            group.c.id == _m.c.group_id,
            group.c.kind == "group",
            group.c.active == 1,
        )
    )


def down_from(start: sa.Select[Any], name: str = "down") -> sa.CTE:
    """(id) of the accounts that `start` chooses as (id) and of all that belong to them, also to disabled groups."""
    down = start.add_columns(sa.literal_column("0").label("depth")).cte(name, recursive=True)
    return down.union(
        sa.select(_m.c.member_id, down.c.depth + 1).where(down.c.depth < DEPTH_MAX, _m.c.group_id == down.c.id)
    )


def add_member(conn: Conn, group_id: int, member_id: int, *, source: str = "", now_s: int) -> bool:
    """Let an account, or a group with its members, belong to a group; False when it does already.

    source: the back end that says so. What is shared with the group is then there for the member. Raises NotFound;
    ValueError when the first is no group, or the group would belong to itself.
    """
    group, member = account_by_id(conn, group_id), account_by_id(conn, member_id)
    if group is None or member is None:
        raise NotFound(f"account {group_id if group is None else member_id}")
    if group.kind != "group":
        raise ValueError(f"{group.name} is not a group")
    if member_id in {group_id, *_ids_above(conn, group_id)}:
        raise ValueError(f"{group.name} would belong to itself")
    added = _ADD.run(conn, group_id=group_id, member_id=member_id, source=clean(source))
    if added:
        _settle(conn, [member_id], now_s)
    return bool(added)


def remove_member(conn: Conn, group_id: int, member_id: int, *, now_s: int) -> bool:
    """End it, whoever said so. False when it did not belong to the group."""
    removed = bool(_REMOVE.run(conn, group_id=group_id, member_id=member_id))
    if removed:
        _settle(conn, [member_id], now_s)
    return removed


def members_of(conn: Conn, group_id: int, *, limit: int = 10_000) -> list[Account]:
    """Who belongs to the group directly, in the order of their ids. One statement."""
    return _accounts(_MEMBERS.all(conn, group_id=group_id, n=limit))


def everybody_in(conn: Conn, group_id: int, *, limit: int = 10_000) -> list[Account]:
    """The people, rooms and resources in the group and in groups in it, in the order of their ids. One statement."""
    return _accounts(_EVERYBODY.all(conn, group_id=group_id, n=limit))


def people_in(conn: Conn, group_ids: Iterable[int], *, limit: int = 10_000) -> dict[int, tuple[Account, ...]]:
    """Active group → the active people in it and in active groups in it, by their ids, where there are any.

    Without rooms and resources. limit: of all together; {} when there are more. One statement.
    """
    rows = _PEOPLE_IN.all(conn, ids=conn.array(set(group_ids)), n=limit + 1)
    if len({(row[-1], row[0]) for row in rows}) > limit:
        return {}
    by_group: dict[int, list[Row]] = {}
    for row in rows:
        by_group.setdefault(row[-1], []).append(row[:-1])
    return {group_id: tuple(_accounts(inside)) for group_id, inside in by_group.items()}


def list_groups(conn: Conn) -> list[tuple[Account, int]]:
    """All groups in the order of their names, and how many belong to each directly. One statement."""
    rows = _LIST.all(conn)
    counts = {row[0]: row[-1] for row in rows}
    return [(group, counts[group.id]) for group in _accounts([row[:-1] for row in rows])]


def groups_of(conn: Conn, account_id: int, *, nested: bool = True) -> tuple[Account, ...]:
    """The active groups that the account belongs to, in the order of their ids. One statement.

    nested: also those that it belongs to because a group does.
    """
    return tuple(_accounts((_GROUPS if nested else _GROUPS_DIRECT).all(conn, account_id=account_id)))


def ids_by_names(conn: Conn, names: Iterable[str]) -> set[int]:
    """The groups that have one of these names, whatever its case, active or not. One statement."""
    return {row[0] for row in _BY_NAMES.all(conn, keys=conn.array({fold(name) for name in names}))}


def sourced_groups(conn: Conn, account_id: int, source: str) -> tuple[set[int], set[int]]:
    """(groups that a back end says the account belongs to, those that others say). One statement."""
    rows = _SOURCED_GROUPS.all(conn, account_id=account_id)
    source = clean(source)
    return {row[0] for row in rows if row[1] == source}, {row[0] for row in rows if row[1] != source}


def is_in(conn: Conn, account_id: int, group_id: int) -> bool:
    """Whether the account belongs to the active group, also through other groups. One statement."""
    return group_id in _ids_above(conn, account_id, active=True)


def set_sourced_members(conn: Conn, group_id: int, source: str, ids: Iterable[int], *, now_s: int) -> None:
    """Make these the members that the back end `source` names; those of others stay.

    Raises NotFound, ValueError as add_member does.
    """
    wanted, source = set(ids), clean(source)
    rows = _SOURCED.all(conn, group_id=group_id)
    here = {row[0] for row in rows}
    for member_id in [row[0] for row in rows if row[1] == source and row[0] not in wanted]:
        remove_member(conn, group_id, member_id, now_s=now_s)
    for member_id in sorted(wanted - here):
        add_member(conn, group_id, member_id, source=source, now_s=now_s)


def set_sourced_groups(conn: Conn, account_id: int, source: str, group_ids: Iterable[int], *, now_s: int) -> bool:
    """Make these the groups to which the back end `source` says that the account belongs; True when that changed any.

    Two statements when nothing changes. Raises NotFound, ValueError as add_member does.
    """
    wanted, source = set(group_ids), clean(source)
    rows = _SOURCED_GROUPS.all(conn, account_id=account_id)
    here = {row[0] for row in rows}
    gone, new = [row[0] for row in rows if row[1] == source and row[0] not in wanted], sorted(wanted - here)
    for group_id in gone:
        remove_member(conn, group_id, account_id, now_s=now_s)
    for group_id in new:
        add_member(conn, group_id, account_id, source=source, now_s=now_s)
    return bool(gone or new)


def all_members(conn: Conn) -> dict[int, dict[int, str]]:
    """Group → direct member → the back end that says so, "" by hand. One statement."""
    found: dict[int, dict[int, str]] = {}
    for group_id, member_id, source in _ALL.all(conn):
        found.setdefault(group_id, {})[member_id] = source
    return found


def is_unused(conn: Conn, group: Account) -> bool:
    """Whether nothing would be lost with a group account. One statement.

    That is: nobody in it, in no group itself, nothing kept in it or shared by or with it, no password, no delegates.
    """
    if group.admin or group.password_hash is not None:
        return False
    return not _IS_USED.scalar(conn, account_id=group.id)


def _settle(conn: Conn, account_ids: list[int], now_s: int) -> None:
    from storage import shares  # which needs the statements above

    shares.settle_accounts(conn, account_ids, now_s=now_s)


def _ids_above(conn: Conn, account_id: int, *, active: bool = False) -> set[int]:
    return {row[0] for row in (_ACTIVE_ABOVE if active else _ABOVE).all(conn, account_id=account_id)} - {account_id}


def _everything_above() -> Statement:
    """Ids of the account and of the groups above it, disabled ones too."""
    up = sa.select(_a.c.id).where(_a.c.id == sa.bindparam("account_id")).cte("above", recursive=True)
    # UNION leaves out what was found before, so a circle ends by itself.
    up = up.union(sa.select(_m.c.group_id).where(_m.c.member_id == up.c.id))
    return Statement(sa.select(up.c.id))


def _people(chosen: sa.Select[Any], *conditions: sa.ColumnElement[bool], limited: bool) -> Statement:
    if limited:
        chosen = chosen.order_by(chosen.selected_columns[0]).limit(sa.bindparam("n"))
    ids = chosen.subquery("chosen")
    return Statement(
        sa.select(*_COLUMNS, _d.c.address)
        .select_from(ids.join(_a, _a.c.id == ids.c[0]).outerjoin(_d, _d.c.account_id == _a.c.id))
        .where(*conditions)
        .order_by(_a.c.id, _d.c.is_primary.desc(), _d.c.id)
    )


def _people_in() -> Statement:
    active = (_a.c.kind == sa.literal_column("'group'"), _a.c.active == 1)
    inside = (
        sa.select(_a.c.id.label("grp"), _a.c.id.label("id"), sa.literal_column("0").label("depth"))
        .where(one_of(_a.c.id, "ids", integers=True), *active)
        .cte("inside", recursive=True)
    )
    inside = inside.union(
        sa.select(inside.c.grp, _m.c.member_id, inside.c.depth + 1).where(
            inside.c.depth < DEPTH_MAX, _m.c.group_id == inside.c.id, _a.c.id == inside.c.id, *active
        )
    )
    person = _a.alias("person")
    pairs = (
        sa.select(inside.c.grp, inside.c.id)
        .distinct()
        .where(person.c.id == inside.c.id, person.c.active == 1, person.c.kind == sa.literal_column("'individual'"))
        .order_by(inside.c.grp, inside.c.id)
        .limit(sa.bindparam("n"))
        .subquery("pairs")
    )
    return Statement(
        sa.select(*_COLUMNS, _d.c.address, pairs.c.grp)
        .select_from(pairs.join(_a, _a.c.id == pairs.c.id).outerjoin(_d, _d.c.account_id == _a.c.id))
        .order_by(pairs.c.grp, _a.c.id, _d.c.is_primary.desc(), _d.c.id)
    )


_self = sa.select(_a.c.id.label("person"), _a.c.id.label("id")).where(_a.c.id == sa.bindparam("account_id"))
_above = up_from(_self)
_inside = down_from(sa.select(_a.c.id.label("id")).where(_a.c.id == sa.bindparam("group_id")))
_inner = _a.alias("inner_account")
_ABOVE = _everything_above()
_ACTIVE_ABOVE = Statement(sa.select(_above.c.id).distinct())
_MEMBERS = _people(sa.select(_m.c.member_id).where(_m.c.group_id == sa.bindparam("group_id")), limited=True)
_EVERYBODY = _people(
    sa.select(_inside.c.id).distinct().where(_inner.c.id == _inside.c.id, _inner.c.kind != "group"), limited=True
)
_GROUPS = _people(sa.select(_above.c.id).distinct().where(_above.c.id != _above.c.person), limited=False)
_GROUPS_DIRECT = _people(
    sa.select(_m.c.group_id).where(_m.c.member_id == sa.bindparam("account_id")), _a.c.active == 1, limited=False
)
_count = sa.select(sa.func.count()).select_from(_m).where(_m.c.group_id == _a.c.id).correlate(_a).scalar_subquery()
_LIST = Statement(
    sa.select(*_COLUMNS, _d.c.address, _count)
    .select_from(_a.outerjoin(_d, _d.c.account_id == _a.c.id))
    .where(_a.c.kind == sa.literal_column("'group'"))
    .order_by(_a.c.name_key, _d.c.is_primary.desc(), _d.c.id)
)
_BY_NAMES = Statement(
    sa.select(_a.c.id).where(one_of(_a.c.name_key, "keys"), _a.c.kind == sa.literal_column("'group'"))
)
_SOURCED = Statement(sa.select(_m.c.member_id, _m.c.source).where(_m.c.group_id == sa.bindparam("group_id")))
_SOURCED_GROUPS = Statement(sa.select(_m.c.group_id, _m.c.source).where(_m.c.member_id == sa.bindparam("account_id")))
_ALL = Statement(sa.select(_m.c.group_id, _m.c.member_id, _m.c.source))
_id: sa.BindParameter[Any] = sa.bindparam("account_id")
_c, _o, _s, _p = schema.collections, schema.objects, schema.shares, schema.proxies
_IS_USED = Statement(
    sa.select(
        sa.case(
            (
                sa.or_(
                    sa.exists().where(_m.c.group_id == _id),
                    sa.exists().where(_m.c.member_id == _id),
                    sa.exists().where(_s.c.grantee_id == _id),
                    sa.exists().where(_c.c.owner_id == _id, _s.c.collection_id == _c.c.id),
                    sa.exists().where(_p.c.principal_id == _id),
                    sa.exists().where(_p.c.delegate_id == _id),
                    sa.exists().where(
                        _c.c.owner_id == _id,
                        _c.c.kind.not_in([sa.literal_column(f"'{kind}'") for kind in ("inbox", "notifications")]),
                        _o.c.collection_id == _c.c.id,
                    ),
                ),
                sa.literal_column("1"),
            ),
            else_=sa.literal_column("0"),
        )
    ).where(_a.c.id == _id)
)
_PEOPLE_IN = _people_in()
_values: dict[str, Any] = {name: sa.bindparam(name) for name in ("group_id", "member_id", "source")}
_ADD = Statement(
    sqlite=sqlite.insert(_m).values(_values).on_conflict_do_nothing(),
    postgresql=postgresql.insert(_m).values(_values).on_conflict_do_nothing(),
)
_REMOVE = Statement(
    _m.delete().where(_m.c.group_id == sa.bindparam("group_id"), _m.c.member_id == sa.bindparam("member_id"))
)
