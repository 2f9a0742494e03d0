"""From a back end's yes to an account here: found or made, its name and addresses kept as the mail side has them."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dav import provision
from dav.auth.backend import Identity
from storage import accounts, audit, groups
from storage.records import Account

if TYPE_CHECKING:
    from dav.config import AuthConfig
    from storage.engine import Conn

ADDRESSES_MAX = 200
GROUPS_MAX = 500

_log = logging.getLogger("davenport.auth")


def account_name(name: str, settings: AuthConfig) -> str:
    """What the account of a person is called here, by the name that the back end gave. Raises NameUnusable."""
    local, at, domain = name.rpartition("@")
    if settings.strip_domain and at and local and domain.casefold() == settings.strip_domain:
        name = local
    return provision.check_name(name.strip())


def mail_name(account: Account, settings: AuthConfig) -> str:
    """What the mail side calls an account: the other way round of account_name."""
    bare = settings.strip_domain and "@" not in account.name
    return f"{account.name}@{settings.strip_domain}" if bare else account.name


def usable_addresses(identity: Identity) -> list[str] | None:
    """The identity's addresses, without what is none and without repetitions; None when the back end knows none."""
    if identity.addresses is None:
        return None
    found: dict[str, str] = {}
    for address in identity.addresses[:ADDRESSES_MAX]:
        try:
            address = provision.check_address(address)
        except provision.NameUnusable:
            continue
        found.setdefault(accounts.fold(address), address)
    return list(found.values())


def is_due(conn: Conn, account: Account, source: str, identity: Identity) -> bool:
    """Whether `refresh` has something to do. Reads only."""
    if identity.display_name and not account.display_name:
        return True
    if identity.groups is not None:
        said, others = groups.sourced_groups(conn, account.id, source)
        if said | others != _groups(conn, account, identity) | others:
            return True
    wanted = usable_addresses(identity)
    if wanted is None:
        return False
    keys = [accounts.fold(address) for address in wanted]
    own = [accounts.fold(address) for address in account.addresses]
    sourced = [accounts.fold(address) for address in accounts.sourced_addresses(conn, account.id, source)]
    if any(key not in keys for key in sourced):
        return True
    # One that another account has is not to be had: no reason to write at each sign-in.
    if any(key not in own and accounts.account_by_address(conn, key) is None for key in keys):
        return True
    first = next((key for key in keys if key in own), None)
    return first is not None and own[0] in sourced and own[0] != first


def _groups(conn: Conn, account: Account, identity: Identity) -> set[int]:
    """The group accounts here that a back end names; those that are not here are nothing. One statement."""
    return groups.ids_by_names(conn, (identity.groups or ())[:GROUPS_MAX]) - {account.id}


def _set_groups(conn: Conn, account: Account, source: str, identity: Identity, now_s: int) -> None:
    if identity.groups is None or account.kind == "group":
        return
    if groups.set_sourced_groups(conn, account.id, source, _groups(conn, account, identity), now_s=now_s):
        audit.note(
            conn, at_s=now_s, account_id=account.id, actor=account.name, action="groups changed", detail=f"by {source}"
        )


def refresh(conn: Conn, account: Account, source: str, identity: Identity, *, now_s: int) -> None:
    """Writes the name, where there is none, and the addresses and groups of the back end. Needs a write transaction."""
    _set_groups(conn, account, source, identity, now_s)
    if identity.display_name and not account.display_name:
        accounts.update_account(conn, account.id, display_name=identity.display_name[:200])
    wanted = usable_addresses(identity)
    if wanted is not None:
        _set_addresses(conn, account, source, wanted)


def make(conn: Conn, name: str, source: str, identity: Identity, *, now_s: int) -> Account:
    """A new account for a person of a back end. Needs a write transaction.

    name: by account_name. Raises storage.errors.NameTaken when somebody else made it at this moment.
    """
    account = provision.provision(conn, name, display_name=identity.display_name[:200], source=source, now_s=now_s)
    wanted = usable_addresses(identity)
    if wanted is None:
        # A login that is an address is one at which its owner can be invited.
        wanted = usable_addresses(Identity(identity.name, addresses=(identity.name,))) or []
    _set_addresses(conn, account, source, wanted)
    _set_groups(conn, account, source, identity, now_s)
    audit.note(
        conn, at_s=now_s, account_id=account.id, actor=account.name, action="account created",
        detail=f"at first sign-in by {source}",
    )  # fmt: skip
    return account


def _set_addresses(conn: Conn, account: Account, source: str, wanted: list[str]) -> None:
    for address in accounts.set_sourced_addresses(conn, account.id, source, wanted):
        _log.warning(
            "address %r of %r by %s belongs to another account here and stays there", address, account.name, source
        )
