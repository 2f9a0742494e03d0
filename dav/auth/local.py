"""The back end "local": passwords whose hashes are in our own accounts table."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from dav.auth import passwords
from dav.auth.backend import Backend, BackendDown, Credentials, Identity, PersonUnclear, Refusal, Tools
from dav.auth.basic import candidates
from storage import accounts
from storage.engine import transaction
from storage.errors import StorageError
from storage.records import Account

if TYPE_CHECKING:
    from storage.engine import Store

_log = logging.getLogger("davenport.auth")


def make(tools: Tools) -> Backend:
    """The back end over tools.store."""
    return _Local(tools)


class _Local:
    name = "local"
    kinds = frozenset({"password"})

    def __init__(self, tools: Tools) -> None:
        self._tools = tools

    async def check(self, given: Credentials) -> Identity | Refusal:
        tools, password = self._tools, given.password or ""
        names = self._spellings(given.login)
        account = await tools.in_thread(lambda: find(tools.store, names))
        known = account is not None and account.password_hash is not None
        # What was refused under this very state of the account (or as nobody's) is refused again without another hash.
        state = f"{account.id}:{account.auth_seq}" if account is not None else "nobody"
        digest = tools.cache.digest(given.login, password, state)
        if (digest, tools.clock()) in tools.refused:
            return Refusal.WRONG if known else Refusal.NOT_MINE
        if account is None or account.password_hash is None:
            await tools.pool.run(passwords.dummy_verify)
            tools.refused.add(digest, tools.clock())
            return Refusal.NOT_MINE
        stored = account.password_hash
        right = await tools.pool.run(lambda: _verify(password, stored, account.id))
        if right and account.active:
            if passwords.needs_rehash(stored):
                await self._renew(account, password, stored)
            # auth_seq as it was before the check: a password changed meanwhile is noticed by whoever compares it.
            return Identity(account.name, account.display_name, account=(account.id, account.auth_seq))
        tools.refused.add(digest, tools.clock())
        return Refusal.WRONG

    async def still(self, identity: Identity) -> bool:
        # Without a stamp it is not asked: auth_seq is compared in each request's transaction.
        return True

    async def lookup(self, name: str) -> Identity | Refusal | None:
        account = await self._tools.in_thread(lambda: find(self._tools.store, self._spellings(name)))
        if account is None or account.password_hash is None:
            return Refusal.NOT_MINE
        if not account.active:
            return Refusal.WRONG
        return Identity(account.name, account.display_name, account=(account.id, account.auth_seq))

    async def close(self) -> None:
        return None

    def _spellings(self, login: str) -> list[str]:
        """Accounts here may have the name with or without the usual domain."""
        names = candidates(login)
        settings = self._tools.config.auth
        for domain in (settings.strip_domain, settings.default_domain):
            for name in tuple(names):
                local, at, given = name.rpartition("@")
                if domain and at and local and given.casefold() == domain and local not in names:
                    names.append(local)
        return names

    async def _renew(self, account: Account, password: str, stored: str) -> None:
        """Replaces a hash of an older kind or cost by today's, now that the password is known."""
        tools = self._tools
        try:
            fresh = await tools.pool.run(lambda: passwords.hash_password(password))
            await tools.in_thread(lambda: _replace(tools.store, account.id, stored, fresh))
        except (BackendDown, StorageError, passwords.PasswordUnusable) as error:
            _log.warning("the older password hash of account %d stays: %s", account.id, error)


def find(store: Store, names: list[str]) -> Account | None:
    """The account with the first of the names that is one. One read transaction."""
    with transaction(store) as conn:
        for name in names:
            account = accounts.account_by_name(conn, name)
            if account is not None:
                return account
    return None


def _verify(password: str, stored: str, account_id: int) -> bool:
    """Blocking. Raises PersonUnclear for a hash that cannot be judged: "wrong password" would be a lie."""
    if stored.startswith("$argon2"):
        return passwords.verify(password, stored)
    # Brought here from a mail server's table; renewed by its owner's first sign-in.
    from dav.auth import schemes

    try:
        return schemes.verify_any(password, [stored])
    except ValueError as error:
        raise PersonUnclear(f"the hash of account {account_id} cannot be used: {error}") from None


def _replace(store: Store, account_id: int, old: str, new: str) -> None:
    with transaction(store, write=True) as conn:
        accounts.replace_password_hash(conn, account_id, old=old, new=new)
