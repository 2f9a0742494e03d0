"""Group accounts of the mail side's aliases that lead to several people: made, filled and removed as these are."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

from dav import provision
from dav.auth import people
from storage import accounts, audit, groups
from storage.engine import transaction
from storage.errors import NameTaken, NotFound
from storage.records import Account

if TYPE_CHECKING:
    from dav.config import Config
    from storage.engine import Conn, Store

# Aliases that are compared in one transaction.
PAGE = 200

_log = logging.getLogger("davenport.auth")


@dataclass(frozen=True, slots=True)
class _Alias:
    """name: of its group account. targets: accounts here. all_here: every target is one."""

    name: str
    address: str
    targets: frozenset[int]
    all_here: bool


def refresh_groups(store: Store, config: Config, source: str, lists: Mapping[str, tuple[str, ...]], now_s: int) -> int:
    """Makes the group accounts agree with the lists of a back end; returns how many accounts changed. Blocking.

    lists: address → the addresses that it leads to. An account is made when all of these, two at least, are accounts
    here; it stays as long as the list does, and loses nothing that somebody has put there by hand. A group account of
    the name that was made by hand has the list's members too.
    """
    with transaction(store) as conn:
        here = {accounts.fold(group.name): group for group, _ in groups.list_groups(conn)}
        members = groups.all_members(conn)
    changed = 0
    named: set[str] = set()
    pairs = sorted(lists.items())
    for start in range(0, len(pairs), PAGE):
        with transaction(store) as conn:
            page = _read(conn, config, pairs[start : start + PAGE])
        for alias in page:
            named.add(accounts.fold(alias.name))
            group = here.get(accounts.fold(alias.name))
            if group is None:
                changed += alias.all_here and len(alias.targets) > 1 and _make(store, alias, source, now_s)
            elif _differs(members.get(group.id, {}), source, alias.targets - {group.id}):
                changed += _fill(store, group, alias, source, now_s)
    for key, group in here.items():
        filled = source in members.get(group.id, {}).values()
        if key not in named and (filled or group.source == source):
            changed += _end(store, group, source, filled=filled, now_s=now_s)
    return changed


def _read(conn: Conn, config: Config, pairs: Iterable[tuple[str, tuple[str, ...]]]) -> list[_Alias]:
    pairs = list(pairs)
    found = accounts.accounts_by_addresses(conn, {target for _, targets in pairs for target in targets})
    aliases = []
    for address, targets in pairs:
        try:
            name = people.account_name(provision.check_address(address), config.auth)
        except provision.NameUnusable:
            continue
        ids = frozenset(found[target].id for target in targets if target in found)
        aliases.append(_Alias(name, address, ids, all(target in found for target in targets)))
    return aliases


def _differs(members: Mapping[int, str], source: str, wanted: frozenset[int]) -> bool:
    said = {member for member, by in members.items() if by == source}
    return bool(said - wanted or wanted - members.keys())


def _make(store: Store, alias: _Alias, source: str, now_s: int) -> bool:
    try:
        with transaction(store, write=True) as conn:
            group = provision.provision(conn, alias.name, source=source, now_s=now_s)
            accounts.update_account(conn, group.id, kind="group")
            if accounts.set_sourced_addresses(conn, group.id, source, [alias.address]):
                raise NameTaken(alias.address)
            groups.set_sourced_members(conn, group.id, source, alias.targets, now_s=now_s)
            _note(conn, group, "account created", f"group of an alias, by {source}", now_s)
    except (NameTaken, provision.NameUnusable):
        # Somebody else is called so, or has the address: it stays theirs.
        return False
    return True


def _fill(store: Store, group: Account, alias: _Alias, source: str, now_s: int) -> bool:
    try:
        with transaction(store, write=True) as conn:
            groups.set_sourced_members(conn, group.id, source, alias.targets - {group.id}, now_s=now_s)
            if group.source == source:
                accounts.set_sourced_addresses(conn, group.id, source, [alias.address])
            _note(conn, group, "group members changed", f"by {source}", now_s)
    except NotFound:
        return False  # removed at this moment
    except ValueError as error:
        _log.warning("the members of the group %r stay as they are: %s", group.name, error)
        return False
    return True


def _end(store: Store, group: Account, source: str, *, filled: bool, now_s: int) -> bool:
    with transaction(store) as conn:
        if not filled and not groups.is_unused(conn, group):
            return False  # ended before; what was put there by hand keeps it
    try:
        with transaction(store, write=True) as conn:
            groups.set_sourced_members(conn, group.id, source, (), now_s=now_s)
            # The address may now lead to one person, whose it then is.
            accounts.set_sourced_addresses(conn, group.id, source, ())
            if group.source == source and groups.is_unused(conn, group):
                accounts.remove_account(conn, group.id, now_s=now_s)
                _note(conn, group, "account removed", f"its alias is gone, by {source}", now_s)
                return True
            _note(conn, group, "group members changed", f"by {source}", now_s)
    except NotFound:
        return False
    return True


def _note(conn: Conn, group: Account, action: str, detail: str, now_s: int) -> None:
    audit.note(conn, at_s=now_s, account_id=group.id, actor="davenport", action=action, subject=group.name,
               detail=detail)  # fmt: skip
