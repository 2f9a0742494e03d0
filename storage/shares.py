"""Shares: who may see or change whose collections, and the places ("mounts") that shared ones have in other homes.

What somebody is given counts when it is accepted: by the person's own word for what was given to the person, by the
share's state or the person's other word (share_answers) for what a group or everybody was given.
"""

from __future__ import annotations

import secrets
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

from storage import collections, locks, schema
from storage.collections import _COLUMNS, _collection, _joined, checked_name
from storage.engine import Conn, Row, Statement, clean, one_of
from storage.errors import NameTooLong, NotFound
from storage.groups import down_from, up_from
from storage.records import ACCESS, SHARE_STATES, Account, Collection, Share

_s = schema.shares
_w = schema.share_answers
_c = schema.collections
_a = schema.accounts
_o = schema.objects
_p = schema.properties
_t = schema.tombstones

ALL = "all"
# Kinds of collections that can be shared.
SHARED_KINDS = ("calendar", "addressbook", "folder")
# Longest texts that come with an invitation.
TEXT_CHARS_MAX = 1000
# What a mount begins with; from then on they are the sharee's own.
_CARRIED = ("{http://apple.com/ns/ical/}calendar-color",)
# How many names near the source's are tried before a random one.
_TRIES = 20


# ---- who may --------------------------------------------------------------------------------------------------


def access_of(conn: Conn, account_id: int, collection_id: int) -> str | None:
    """The most that accepted shares give the account on a live collection, of ACCESS; None for nothing. One statement.

    By shares of the account itself, of the groups it is in, and of "all". What the owner may is not said here. While
    the owner is disabled nobody has anything; the mounts stay, so that all is as before when it is enabled again.
    """
    rank = _OF_ONE.scalar(conn, account_id=account_id, collection_id=collection_id)
    return None if rank is None else ACCESS[rank]


def access_many(conn: Conn, account_id: int, collection_ids: Iterable[int]) -> dict[int, str]:
    """As access_of, for many collections: those on which the account has anything. One statement."""
    rows = _OF_MANY.all(conn, account_id=account_id, ids=conn.array(collection_ids))
    return {row[0]: ACCESS[row[1]] for row in rows}


def access_in_home(conn: Conn, account_id: int, owner_id: int, area: str) -> dict[int, str]:
    """As access_of, for all collections of an owner in an area. One statement."""
    rows = _IN_HOME.all(conn, account_id=account_id, owner_id=owner_id, area=area)
    return {row[0]: ACCESS[row[1]] for row in rows}


# ---- shares ---------------------------------------------------------------------------------------------------


def shares_of(conn: Conn, collection_id: int) -> list[Share]:
    """The shares of a collection, as they were made. One statement."""
    return [Share(*row) for row in _BY_COLLECTION.all(conn, collection_id=collection_id)]


def shares_of_many(conn: Conn, collection_ids: Iterable[int]) -> dict[int, list[Share]]:
    """By collection: its shares, as they were made; those without are left out. One statement."""
    found: dict[int, list[Share]] = {}
    for row in _BY_COLLECTIONS.all(conn, ids=conn.array(collection_ids)):
        found.setdefault(row[1], []).append(Share(*row))
    return found


def share_by_key(conn: Conn, key: str) -> Share | None:
    """The share with this key, if its collection is live."""
    row = _BY_KEY.one(conn, key=clean(key))
    return None if row is None else Share(*row)


def share_to(conn: Conn, collection_id: int, grantee: str) -> Share | None:
    """The share of a collection to a grantee, as Share.grantee has it."""
    row = _BY_GRANTEE.one(conn, collection_id=collection_id, grantee=clean(grantee))
    return None if row is None else Share(*row)


def shares_with(conn: Conn, account_id: int) -> list[tuple[Share, Collection, str]]:
    """What others offer to the account: (share, collection, the account's own state). One statement.

    Shares of the account, of its groups and of "all", without its own collections and those of disabled accounts. What
    everybody may see is "pending" until the account has said something, though it may be read already.
    """
    found = []
    for row in _WITH.all(conn, account_id=account_id):
        share, own = Share(*row[:_SHARE_WIDTH]), row[_SHARE_WIDTH]
        state = own or ("pending" if share.grantee == ALL else share.state)
        found.append((share, _collection(row[_SHARE_WIDTH + 1 :]), state))
    return found


def list_shares(conn: Conn, *, owner_id: int | None = None) -> list[tuple[Share, Collection]]:
    """All shares of live collections, or of one owner's, in the order of the collections. One statement."""
    rows = _LIST.all(conn) if owner_id is None else _LIST_OF_OWNER.all(conn, owner_id=owner_id)
    return [(Share(*row[:_SHARE_WIDTH]), _collection(row[_SHARE_WIDTH:])) for row in rows]


def answers_of(conn: Conn, share_id: int) -> dict[int, str]:
    """By account: what members of a group, or people where all may, said to a share. One statement."""
    return answers_of_many(conn, [share_id]).get(share_id, {})


def answers_of_many(conn: Conn, share_ids: Iterable[int]) -> dict[int, dict[int, str]]:
    """By share, as answers_of; those to which nobody said anything are left out. One statement."""
    found: dict[int, dict[int, str]] = {}
    for share_id, account_id, state in _ANSWERS.all(conn, ids=conn.array(share_ids)):
        found.setdefault(share_id, {})[account_id] = state
    return found


def grantee_of(account: Account) -> str:
    """How shares name an account."""
    return str(account.id)


@dataclass(frozen=True, slots=True)
class NewShare:
    """A share to be made, or changed. As Share has it; waiting: members of the group who are to be asked first."""

    grantee: str
    access: str
    state: str
    address: str = ""
    common_name: str = ""
    summary: str = ""
    waiting: frozenset[int] = frozenset()

    @property
    def grantee_id(self) -> int | None:
        return int(self.grantee) if self.grantee.isascii() and self.grantee.isdigit() else None


def put_share(
    conn: Conn,
    collection: Collection,
    grantee: str | Account,
    *,
    access: str,
    state: str,
    address: str = "",
    common_name: str = "",
    summary: str = "",
    now_s: int,
) -> Share:
    """As put_shares, for one. grantee: also an account."""
    if isinstance(grantee, Account):
        grantee = grantee_of(grantee)
    new = NewShare(grantee, access, state, address, common_name, summary)
    return put_shares(conn, collection, [new], now_s=now_s)[grantee]


def put_shares(conn: Conn, collection: Collection, new: Sequence[NewShare], *, now_s: int) -> dict[str, Share]:
    """Make shares, or change those that these grantees have, and settle() the collection. By grantee: the shares.

    grantee: "12" for an account, "all" or "mailto:…", each once. state: for a group, what it is for members who said
    nothing yet. Raises ValueError for what cannot be shared or given, NotFound for an account that is not there. A
    fixed number of statements.
    """
    if collection.kind not in SHARED_KINDS or collection.origin == "shared":
        raise ValueError("this kind of collection cannot be shared")
    ids = {one.grantee_id for one in new if one.grantee_id is not None}
    kinds: dict[int, str] = dict(_KINDS.all(conn, ids=conn.array(ids))) if ids else {}
    for one in new:
        if one.access not in ACCESS or one.state not in SHARE_STATES:
            raise ValueError(f"no such access or state: {one.access}, {one.state}")
        if one.grantee_id is not None:
            if one.grantee_id not in kinds:
                raise NotFound(f"account {one.grantee}")
            # What a group has itself is for its members when it is shared with the group.
            if one.grantee_id == collection.owner_id and kinds[one.grantee_id] != "group":
                raise ValueError("nobody shares with themselves")
        elif one.grantee != ALL and not (one.grantee.startswith("mailto:") and len(one.grantee) <= TEXT_CHARS_MAX):
            raise ValueError("a share is for an account, for all, or for a mail address")
    _one_at_a_time(conn)
    _PUT.many(
        conn,
        [
            {
                "collection_id": collection.id,
                "grantee": clean(one.grantee),
                "grantee_id": one.grantee_id,
                "access": one.access,
                "state": one.state,
                "key": secrets.token_hex(16),
                "address": _text(one.address),
                "common_name": _text(one.common_name),
                "summary": _text(one.summary),
                "now_s": now_s,
            }
            for one in new
        ],
    )
    there = {share.grantee: share for share in shares_of(conn, collection.id)}
    found = {one.grantee: there[clean(one.grantee)] for one in new if clean(one.grantee) in there}
    if len(found) < len({one.grantee for one in new}):
        raise NotFound(f"collection {collection.id}")
    _ANSWER.many(
        conn,
        [
            {"share_id": found[one.grantee].id, "account_id": account_id, "state": "pending"}
            for one in new
            for account_id in sorted(one.waiting)
        ],
    )
    settle(conn, collection_id=collection.id, now_s=now_s)
    return found


def remove_share(conn: Conn, share: Share, *, now_s: int) -> bool:
    """End a share with all that was answered to it, and settle(). False when it had ended before."""
    return bool(remove_shares(conn, share.collection_id, [share.id], now_s=now_s))


def remove_shares(conn: Conn, collection_id: int, share_ids: Iterable[int], *, now_s: int) -> int:
    """As remove_share, for several of one collection; returns how many there were. A fixed number of statements."""
    _one_at_a_time(conn)
    people = _people_of(conn, collection_id)
    removed = _REMOVE.run(conn, ids=conn.array(share_ids), collection_id=collection_id)
    _settle(conn, people, now_s=now_s, collection_id=collection_id)
    return removed


def set_state(conn: Conn, share: Share, account_id: int, state: str, *, now_s: int) -> None:
    """What an account says to a share that concerns it, of SHARE_STATES, and settle() for it.

    "pending" takes an answer to a share of a group or of "all" back. Raises ValueError for another state.
    """
    if state not in SHARE_STATES:
        raise ValueError(f"no such state: {state}")
    _one_at_a_time(conn)
    if share.grantee_id == account_id:
        _SET_STATE.run(conn, share_id=share.id, new_state=state, now_s=now_s)
    elif state == "pending":
        _TAKE_BACK.run(conn, share_id=share.id, account_id=account_id)
    else:
        _ANSWER.run(conn, share_id=share.id, account_id=account_id, state=state)
    _settle(conn, [account_id], now_s=now_s, collection_id=share.collection_id)


def decline_all(conn: Conn, account_id: int, collection_id: int, *, now_s: int) -> list[Share]:
    """The account wants the collection no more, by whatever share it has it; returns the shares that it declined."""
    declined = []
    for share, collection, state in shares_with(conn, account_id):
        if collection.id == collection_id and state != "declined":
            set_state(conn, share, account_id, "declined", now_s=now_s)
            declined.append(share)
    return declined


# ---- mounts ---------------------------------------------------------------------------------------------------


def mount_of(conn: Conn, account_id: int, source_id: int) -> Collection | None:
    """The place of a shared collection in the account's home. One statement."""
    row = _MOUNT.one(conn, account_id=account_id, source_id=source_id)
    return None if row is None else _collection(row)


def mount(
    conn: Conn,
    account: Account,
    source: Collection,
    *,
    name: str | None = None,
    display_name: str | None = None,
    now_s: int,
) -> Collection:
    """The place of a shared collection in the account's home, made when there is none.

    name, display_name: what it is called when it is made; a free name near it is taken. The level of access is the
    account's of now. Raises NotFound when the home has gone, NameTooLong.
    """
    found = mount_of(conn, account.id, source.id)
    if found is None:
        _one_at_a_time(conn)
        level = access_of(conn, account.id, source.id) or ACCESS[0]
        homes = _homes(conn, [account.id], source.area)
        if not homes:
            raise NotFound(f"home of account {account.id} in {source.area}")
        _add_mounts(conn, homes, [_Wish(account.id, source, level, name, display_name)], now_s)
        found = mount_of(conn, account.id, source.id)
        assert found is not None, "what was inserted in this transaction is there"
    return found


def unmount(conn: Conn, account_id: int, source_id: int, *, now_s: int) -> bool:
    """Take the place of a shared collection out of the account's home; False when it has none."""
    rows = _MOUNTS_OF_SOURCES.all(conn, ids=conn.array([source_id]))
    own = [row for row in rows if row[1] == account_id]
    _drop_mounts(conn, own, now_s)
    return bool(own)


def unmount_everywhere(conn: Conn, source_ids: Iterable[int], *, now_s: int) -> None:
    """Take these collections out of all homes but their owner's: they are about to be deleted. Few statements."""
    _drop_mounts(conn, _MOUNTS_OF_SOURCES.all(conn, ids=conn.array(source_ids)), now_s)


def before_removal(conn: Conn, account_id: int, *, now_s: int) -> list[int]:
    """Take what an account owns out of all other homes, as it is about to be removed.

    Returns the members it has as a group: to be settled when it has gone.
    """
    _drop_mounts(conn, _MOUNTS_OF_OWNER.all(conn, account_id=account_id), now_s)
    people = {row[0] for row in _PEOPLE_OF_ACCOUNTS.all(conn, ids=conn.array([account_id]))}
    return sorted(people - {account_id})


def mounted_by(conn: Conn, source_id: int) -> set[int]:
    """The accounts that have a mount of a collection. One statement."""
    return {int(row[1]) for row in _MOUNTS_OF_SOURCES.all(conn, ids=conn.array([source_id]))}


def mount_counts(conn: Conn, account_ids: Iterable[int]) -> dict[int, int]:
    """By account: how many mounts are in its homes; those without are left out. One statement."""
    return dict(_MOUNT_COUNTS.all(conn, ids=conn.array(account_ids)))


def settle(conn: Conn, *, collection_id: int | None = None, account_id: int | None = None, now_s: int) -> None:
    """Make the mounts agree with the shares: of a collection, or of an account and, if it is a group, its members.

    To be called after every change of what counts; the functions here and in groups call it themselves. A mount for
    what is accepted (of "all" only by the account's own word), none where access is gone; another key where the level
    of access has changed, so that nobody goes on from a token of other rights. A fixed number of statements.
    """
    _one_at_a_time(conn)
    if collection_id is not None:
        _settle(conn, _people_of(conn, collection_id), now_s=now_s, collection_id=collection_id)
    if account_id is not None:
        settle_accounts(conn, [account_id], now_s=now_s)


def settle_accounts(conn: Conn, account_ids: Iterable[int], *, now_s: int) -> None:
    """settle() for several accounts at once, with the members of those that are groups."""
    _one_at_a_time(conn)
    people = [row[0] for row in _PEOPLE_OF_ACCOUNTS.all(conn, ids=conn.array(account_ids))]
    _settle(conn, people, now_s=now_s)


@dataclass(frozen=True, slots=True)
class _Wish:
    """A mount to be made. access: the level for which it is."""

    owner_id: int
    source: Collection
    access: str
    name: str | None = None
    display_name: str | None = None


@dataclass(slots=True)
class _Home:
    """A home, locked until the end of the transaction. change_seq: its number, counted up here and written at once."""

    id: int
    change_seq: int
    changed: bool = False

    def bump(self) -> int:
        self.change_seq += 1
        self.changed = True
        return self.change_seq


_Homes = dict[tuple[int, str], _Home]


def _settle(conn: Conn, people: Sequence[int], *, now_s: int, collection_id: int | None = None) -> None:
    """Settle what these people have of one collection, or of all. Needs: _one_at_a_time()."""
    if not people:
        return
    locks.end_unentitled(conn, people)
    ids = conn.array(people)
    only = {} if collection_id is None else {"collection_id": collection_id}
    place = "of_all" if collection_id is None else "of_one"
    wanted: dict[tuple[int, int], int] = {}
    for person, source_id, rank in _GIVEN[place].all(conn, ids=ids, **only):
        wanted[person, source_id] = max(rank, wanted.get((person, source_id), 0))
    everybody: dict[int, int] = {}
    declined = set()
    for source_id, owner_id, rank, person, state in _GIVEN_TO_ALL[place].all(conn, ids=ids, **only):
        everybody[source_id] = rank
        if state == "declined":
            declined.add((person, source_id))
        elif state == "accepted" and person != owner_id:
            wanted[person, source_id] = max(rank, wanted.get((person, source_id), 0))
    for key, rank in wanted.items():
        if key[1] in everybody and key not in declined:
            wanted[key] = max(rank, everybody[key[1]])
    there = {(row[1], row[5]): row for row in _MOUNTS[place].all(conn, ids=ids, **only)}
    _drop_mounts(conn, [row for key, row in there.items() if key not in wanted], now_s)
    _CHANGE_KEY.many(
        conn,
        [
            {"mount_id": row[0], "new_key": secrets.token_hex(16), "level": ACCESS[wanted[key]], "now_s": now_s}
            for key, row in there.items()
            if key in wanted and row[6] != ACCESS[wanted[key]]
        ],
    )
    missing = sorted(key for key in wanted if key not in there)
    if not missing:
        return
    found = _SOURCES.all(conn, ids=conn.array({source_id for _, source_id in missing}))
    sources = {source.id: source for source in map(_collection, found)}
    wishes = [
        _Wish(person, sources[source_id], ACCESS[wanted[person, source_id]])
        for person, source_id in missing
        if source_id in sources
    ]
    homes = _homes(conn, {wish.owner_id for wish in wishes})
    _add_mounts(conn, homes, wishes, now_s)


def _people_of(conn: Conn, collection_id: int) -> list[int]:
    """Everybody whom the shares of a collection concern, or who has a mount of it."""
    return [row[0] for row in _PEOPLE_OF_COLLECTION.all(conn, collection_id=collection_id)]


def _homes(conn: Conn, people: Iterable[int], area: str | None = None) -> _Homes:
    """The homes of these people, their rows locked in ascending order of id on PostgreSQL."""
    rows = _HOMES.all(conn, ids=conn.array(people))
    wanted = [row for row in rows if area is None or row[2] == area]
    return _locked(conn, [row[0] for row in wanted])


def _locked(conn: Conn, home_ids: Iterable[int]) -> _Homes:
    ids = sorted(set(home_ids))
    if conn.dialect == "postgresql":
        conn.locked.update(ids)
    return {(row[1], row[2]): _Home(row[0], row[3]) for row in _LOCK_HOMES.all(conn, ids=conn.array(ids))}


def _add_mounts(conn: Conn, homes: _Homes, wishes: Iterable[_Wish], now_s: int) -> None:
    """Make mounts, in a few statements."""
    placed = [
        (homes[wish.owner_id, wish.source.area], wish) for wish in wishes if (wish.owner_id, wish.source.area) in homes
    ]
    if not placed:
        return
    ids = conn.array({home.id for home, _ in placed})
    names: dict[int, set[str]] = {}
    titles: dict[int, set[str]] = {}
    for home_id, path, title in _TAKEN.all(conn, ids=ids):
        names.setdefault(home_id, set()).add(path.rpartition("/")[2])
        titles.setdefault(home_id, set()).add((title or path).casefold())
    candidates = {near for _, wish in placed for near in _near(wish)}
    for home_id, name in _TAKEN_BY_OBJECTS.all(conn, ids=ids, names=conn.array(candidates)):
        names.setdefault(home_id, set()).add(name)
    rows = []
    for home, wish in placed:
        taken = names.setdefault(home.id, set())
        name = next((near for near in _near(wish) if near not in taken), None) or secrets.token_hex(16)
        taken.add(name)
        title = wish.display_name
        if title is None:
            title = wish.source.display_name or wish.source.name
            if title.casefold() in titles.setdefault(home.id, set()):
                title = f"{title} ({wish.source.owner_name})"
        titles.setdefault(home.id, set()).add(title.casefold())
        home.bump()
        rows.append(
            {
                "owner_id": wish.owner_id,
                "area": wish.source.area,
                "path": name,
                "parent_id": home.id,
                "kind": wish.source.kind,
                "key": secrets.token_hex(16),
                "display_name": clean(title),
                "time_zone": wish.source.time_zone,
                "time_zone_id": wish.source.time_zone_id,
                "components": ",".join(wish.source.components),
                "source_id": wish.source.id,
                "mounted_as": wish.access,
                "now_s": now_s,
            }
        )
    _write_homes(conn, (home for home, _ in placed), now_s)
    _DROP_TOMBSTONES.many(conn, [{"collection_id": row["parent_id"], "name": row["path"]} for row in rows])
    _INSERT_MOUNT.many(conn, rows)
    _CARRY.run(conn, keys=conn.array([row["key"] for row in rows]), carried=conn.array(_CARRIED))


def _near(wish: _Wish) -> list[str]:
    """Names for a mount, the best one first."""
    name = wish.name or wish.source.name
    near = [name, *(f"{name}-{number}" for number in range(2, _TRIES))]
    try:
        return [checked_name(each) for each in near if _joined("", each)]
    except NameTooLong:
        return []


def _drop_mounts(conn: Conn, rows: Sequence[Row], now_s: int) -> None:
    """Hide mounts and leave tombstones in their homes, in a few statements. rows: of _mount_columns."""
    if not rows:
        return
    homes = {home.id: home for home in _locked(conn, (row[4] for row in rows)).values()}
    stones = []
    for _, _, _, path, home_id, *_ in rows:
        if home_id in homes:
            name = path.rpartition("/")[2]
            stones.append({"collection_id": home_id, "name": name, "change_seq": homes[home_id].bump()})
    _write_homes(conn, homes.values(), now_s)
    _DROP_TOMBSTONES.many(conn, [{"collection_id": one["collection_id"], "name": one["name"]} for one in stones])
    _INSERT_TOMBSTONES.many(conn, stones)
    _HIDE.run(conn, ids=conn.array([row[0] for row in rows]), now_s=now_s)


def _write_homes(conn: Conn, homes: Iterable[_Home], now_s: int) -> None:
    changed = {home.id: home.change_seq for home in homes if home.changed}
    _SET_SEQ.many(conn, [{"home_id": each, "seq": changed[each], "now_s": now_s} for each in sorted(changed)])


def _one_at_a_time(conn: Conn) -> None:
    """Two that change shares or groups come one after the other: what one reads decides what it writes elsewhere."""
    if conn.dialect == "postgresql":
        _LOCK.all(conn)


def _text(text: str) -> str:
    return clean(text)[:TEXT_CHARS_MAX]


# ---- statements -----------------------------------------------------------------------------------------------

_live = _c.c.deleted_s.is_(None)
_rank = sa.case(
    *((_s.c.access == sa.literal_column(f"'{level}'"), rank) for rank, level in enumerate(ACCESS[:-1])),
    else_=len(ACCESS) - 1,
)
_to_all = _s.c.grantee == sa.literal_column("'all'")
_accepted: sa.ColumnClause[str] = sa.literal_column("'accepted'")
_SHARE = (
    _s.c.id, _s.c.collection_id, _s.c.grantee, _s.c.grantee_id, _s.c.access, _s.c.state, _s.c.key, _s.c.address,
    _s.c.common_name, _s.c.summary, _s.c.created_s, _s.c.changed_s,
)  # fmt: skip
_SHARE_WIDTH = len(_SHARE)
_me = sa.select(_a.c.id.label("person"), _a.c.id.label("id")).where(_a.c.id == sa.bindparam("account_id"))


def _shares(*conditions: sa.ColumnElement[bool]) -> Statement:
    return Statement(
        sa.select(*_SHARE)
        .select_from(_s.join(_c, _c.c.id == _s.c.collection_id))
        .where(*conditions, _live)
        .order_by(_s.c.id)
    )


def _access(*conditions: sa.ColumnElement[bool], one: bool = False) -> Statement:
    """(collection, rank) of what the account `account_id` has been given there; nothing of what a disabled one owns."""
    up = up_from(_me)
    answer = sa.and_(_w.c.share_id == _s.c.id, _w.c.account_id == sa.bindparam("account_id"))
    most = sa.func.max(_rank)
    owner = _a.alias("owner_account")
    chosen = (
        sa.select(most) if one else sa.select(_s.c.collection_id, most)
    ).select_from(
        _s.join(_c, _c.c.id == _s.c.collection_id).join(owner, owner.c.id == _c.c.owner_id).outerjoin(_w, answer)
    ).where(
        *conditions,
        _live,
        owner.c.active == 1,
        sa.or_(_s.c.grantee_id.in_(sa.select(up.c.id)), _to_all),
        sa.func.coalesce(_w.c.state, _s.c.state) == _accepted,
    )  # fmt: skip
    return Statement(chosen if one else chosen.group_by(_s.c.collection_id))


_OF_ONE = _access(_s.c.collection_id == sa.bindparam("collection_id"), one=True)
_OF_MANY = _access(one_of(_s.c.collection_id, "ids", integers=True))
_IN_HOME = _access(_c.c.owner_id == sa.bindparam("owner_id"), _c.c.area == sa.bindparam("area"))

_BY_COLLECTION = _shares(_s.c.collection_id == sa.bindparam("collection_id"))
_BY_COLLECTIONS = _shares(one_of(_s.c.collection_id, "ids", integers=True))
_BY_KEY = _shares(_s.c.key == sa.bindparam("key"))
_BY_GRANTEE = _shares(_s.c.collection_id == sa.bindparam("collection_id"), _s.c.grantee == sa.bindparam("grantee"))


def _listing(*conditions: sa.ColumnElement[bool]) -> Statement:
    return Statement(
        sa.select(*_SHARE, *_COLUMNS)
        .select_from(_s.join(_c, _c.c.id == _s.c.collection_id).join(_a, _a.c.id == _c.c.owner_id))
        .where(*conditions, _live)
        .order_by(_a.c.name_key, _c.c.area, _c.c.path, _s.c.id)
    )


_LIST, _LIST_OF_OWNER = _listing(), _listing(_c.c.owner_id == sa.bindparam("owner_id"))


def _with() -> Statement:
    up = up_from(_me)
    # Two halves, each by its index; UNION also leaves out what the account has by two ways.
    chosen = (
        sa.select(_s.c.id)
        .where(_s.c.grantee_id.in_(sa.select(up.c.id)))
        .union(sa.select(_s.c.id).where(_to_all))
        .subquery("chosen")
    )
    answer = sa.and_(_w.c.share_id == _s.c.id, _w.c.account_id == sa.bindparam("account_id"))
    return Statement(
        sa.select(*_SHARE, _w.c.state, *_COLUMNS)
        .select_from(
            chosen.join(_s, _s.c.id == chosen.c.id)
            .join(_c, _c.c.id == _s.c.collection_id)
            .join(_a, _a.c.id == _c.c.owner_id)
            .outerjoin(_w, answer)
        )
        .where(_live, _c.c.owner_id != sa.bindparam("account_id"), _a.c.active == 1)
        .order_by(_s.c.id)
    )


_WITH = _with()
_new: dict[str, Any] = {
    name: sa.bindparam(name)
    for name in (
        "collection_id",
        "grantee",
        "grantee_id",
        "access",
        "state",
        "key",
        "address",
        "common_name",
        "summary",
    )
} | {"created_s": sa.bindparam("now_s"), "changed_s": sa.bindparam("now_s")}
_changing = ("access", "state", "address", "common_name", "summary", "changed_s")
_put_sqlite, _put_postgresql = sqlite.insert(_s).values(_new), postgresql.insert(_s).values(_new)
_PUT = Statement(
    sqlite=_put_sqlite.on_conflict_do_update(
        index_elements=["collection_id", "grantee"], set_={name: _put_sqlite.excluded[name] for name in _changing}
    ),
    postgresql=_put_postgresql.on_conflict_do_update(
        index_elements=["collection_id", "grantee"], set_={name: _put_postgresql.excluded[name] for name in _changing}
    ),
)
_KINDS = Statement(sa.select(_a.c.id, _a.c.kind).where(one_of(_a.c.id, "ids", integers=True)))
_REMOVE = Statement(
    _s.delete().where(one_of(_s.c.id, "ids", integers=True), _s.c.collection_id == sa.bindparam("collection_id"))
)
_SET_STATE = Statement(
    _s.update()
    .where(_s.c.id == sa.bindparam("share_id"))
    .values(state=sa.bindparam("new_state"), changed_s=sa.bindparam("now_s"))
)
_ANSWERS = Statement(
    sa.select(_w.c.share_id, _w.c.account_id, _w.c.state).where(one_of(_w.c.share_id, "ids", integers=True))
)
_TAKE_BACK = Statement(
    _w.delete().where(_w.c.share_id == sa.bindparam("share_id"), _w.c.account_id == sa.bindparam("account_id"))
)
_answer: dict[str, Any] = {name: sa.bindparam(name) for name in ("share_id", "account_id", "state")}
_answer_sqlite, _answer_postgresql = sqlite.insert(_w).values(_answer), postgresql.insert(_w).values(_answer)
_ANSWER = Statement(
    sqlite=_answer_sqlite.on_conflict_do_update(
        index_elements=["share_id", "account_id"], set_={"state": _answer_sqlite.excluded.state}
    ),
    postgresql=_answer_postgresql.on_conflict_do_update(
        index_elements=["share_id", "account_id"], set_={"state": _answer_postgresql.excluded.state}
    ),
)

_mount_columns = (_c.c.id, _c.c.owner_id, _c.c.area, _c.c.path, _c.c.parent_id, _c.c.source_id, _c.c.mounted_as)
_mounted = (_live, _c.c.source_id.is_not(None), _c.c.origin == sa.literal_column("'shared'"))
_MOUNTS_OF_SOURCES = Statement(
    sa.select(*_mount_columns).where(one_of(_c.c.source_id, "ids", integers=True), *_mounted).order_by(_c.c.id)
)
_owned = _c.alias("owned")
_MOUNTS_OF_OWNER = Statement(
    sa.select(*_mount_columns)
    .where(_c.c.source_id.in_(sa.select(_owned.c.id).where(_owned.c.owner_id == sa.bindparam("account_id"))), *_mounted)
    .order_by(_c.c.id)
)
_MOUNT = Statement(
    collections._select(
        _c.c.source_id == sa.bindparam("source_id"), _c.c.owner_id == sa.bindparam("account_id"), *_mounted
    )
)
_people = one_of(_c.c.owner_id, "ids", integers=True)
_MOUNT_COUNTS = Statement(sa.select(_c.c.owner_id, sa.func.count()).where(_people, *_mounted).group_by(_c.c.owner_id))
_of_one = {"of_all": (), "of_one": (_s.c.collection_id == sa.bindparam("collection_id"),)}
_MOUNTS = {
    "of_all": Statement(sa.select(*_mount_columns).where(_people, *_mounted).order_by(_c.c.id)),
    "of_one": Statement(
        sa.select(*_mount_columns)
        .where(_c.c.source_id == sa.bindparam("collection_id"), _people, *_mounted)
        .order_by(_c.c.id)
    ),
}


def _given(*conditions: sa.ColumnElement[bool]) -> Statement:
    """(person, collection, rank) of what people have accepted themselves or by a group, without their own."""
    start = sa.select(_a.c.id.label("person"), _a.c.id.label("id"))
    up = up_from(start.where(one_of(_a.c.id, "ids", integers=True), _a.c.kind != sa.literal_column("'group'")))
    answer = sa.and_(_w.c.share_id == _s.c.id, _w.c.account_id == up.c.person)
    return Statement(
        sa.select(up.c.person, _s.c.collection_id, _rank)
        .select_from(
            up.join(_s, _s.c.grantee_id == up.c.id).join(_c, _c.c.id == _s.c.collection_id).outerjoin(_w, answer)
        )
        .where(
            *conditions,
            _live,
            _c.c.owner_id != up.c.person,
            sa.func.coalesce(_w.c.state, _s.c.state) == _accepted,
        )
    )


def _given_to_all(*conditions: sa.ColumnElement[bool]) -> Statement:
    """(collection, owner, rank, person, state) of what everybody has, with what these people said to it."""
    said = _w.join(_a, sa.and_(_a.c.id == _w.c.account_id, _a.c.kind != sa.literal_column("'group'")))
    people = (
        sa.select(_w.c.share_id, _w.c.account_id, _w.c.state)
        .select_from(said)
        .where(one_of(_w.c.account_id, "ids", integers=True))
        .subquery("said")
    )
    return Statement(
        sa.select(_s.c.collection_id, _c.c.owner_id, _rank, people.c.account_id, people.c.state)
        .select_from(_s.join(_c, _c.c.id == _s.c.collection_id).outerjoin(people, people.c.share_id == _s.c.id))
        .where(*conditions, _to_all, _live, _s.c.state == _accepted)
    )


_GIVEN = {place: _given(*conditions) for place, conditions in _of_one.items()}
_GIVEN_TO_ALL = {place: _given_to_all(*conditions) for place, conditions in _of_one.items()}
_closure = down_from(
    sa.select(_s.c.grantee_id.label("id")).where(
        _s.c.collection_id == sa.bindparam("collection_id"), _s.c.grantee_id.is_not(None)
    )
)
_PEOPLE_OF_COLLECTION = Statement(
    sa.union(
        sa.select(_closure.c.id),
        sa.select(_w.c.account_id)
        .select_from(_w.join(_s, _s.c.id == _w.c.share_id))
        .where(_s.c.collection_id == sa.bindparam("collection_id")),
        sa.select(_c.c.owner_id).where(_c.c.source_id == sa.bindparam("collection_id"), *_mounted),
    )
)
_inside = down_from(sa.select(_a.c.id.label("id")).where(one_of(_a.c.id, "ids", integers=True)))
_PEOPLE_OF_ACCOUNTS = Statement(sa.select(_inside.c.id).distinct())
_SOURCES = Statement(collections._select(one_of(_c.c.id, "ids", integers=True)))
_HOMES = Statement(sa.select(_c.c.id, _c.c.owner_id, _c.c.area).where(_people, _c.c.path == "", _live))
_LOCK_HOMES = Statement(
    sa.select(_c.c.id, _c.c.owner_id, _c.c.area, _c.c.change_seq)
    .where(one_of(_c.c.id, "ids", integers=True), _live)
    .order_by(_c.c.id)
    .with_for_update()
)
_LOCK = Statement(
    sa.select(schema.store_meta.c.value)
    .where(schema.store_meta.c.key == sa.literal_column("'epoch'"))
    .with_for_update()
)
_TAKEN = Statement(
    sa.select(_c.c.parent_id, _c.c.path, _c.c.display_name).where(one_of(_c.c.parent_id, "ids", integers=True), _live)
)
_TAKEN_BY_OBJECTS = Statement(
    sa.select(_o.c.collection_id, _o.c.name).where(
        one_of(_o.c.collection_id, "ids", integers=True), one_of(_o.c.name, "names")
    )
)
_INSERT_MOUNT = Statement(
    _c.insert().values(
        {
            name: sa.bindparam(name)
            for name in (
                "owner_id", "area", "path", "parent_id", "kind", "key", "display_name", "time_zone", "time_zone_id",
                "components", "source_id", "mounted_as",
            )
        }
        | {
            # What somebody else does makes the sharee busy only when the sharee says so.
            "transparent": 1, "position": 0, "change_seq": 0, "props_seq": 1, "origin": "shared",
            "created_s": sa.bindparam("now_s"), "modified_s": sa.bindparam("now_s"),
        }
    )
)  # fmt: skip
_from = _p.alias("source_property")
_CARRY = Statement(
    _p.insert().from_select(
        ["collection_id", "object_id", "name", "xml"],
        sa.select(_c.c.id, _from.c.object_id, _from.c.name, _from.c.xml).where(
            one_of(_c.c.key, "keys"),
            _from.c.collection_id == _c.c.source_id,
            _from.c.object_id == 0,
            one_of(_from.c.name, "carried"),
        ),
    )
)
_CHANGE_KEY = Statement(
    _c.update()
    .where(_c.c.id == sa.bindparam("mount_id"), _live)
    .values(
        key=sa.bindparam("new_key"),
        mounted_as=sa.bindparam("level"),
        props_seq=_c.c.props_seq + 1,
        modified_s=sa.bindparam("now_s"),
    )
)
_SET_SEQ = Statement(
    _c.update()
    .where(_c.c.id == sa.bindparam("home_id"))
    .values(change_seq=sa.bindparam("seq"), modified_s=sa.bindparam("now_s"))
)
_HIDE = Statement(
    _c.update().where(one_of(_c.c.id, "ids", integers=True), _live).values(deleted_s=sa.bindparam("now_s"))
)
_DROP_TOMBSTONES = Statement(
    _t.delete().where(_t.c.collection_id == sa.bindparam("collection_id"), _t.c.name == sa.bindparam("name"))
)
_INSERT_TOMBSTONES = Statement(
    _t.insert().values(
        collection_id=sa.bindparam("collection_id"), name=sa.bindparam("name"), change_seq=sa.bindparam("change_seq")
    )
)
