"""The back end "local": passwords whose hashes are in our own accounts table."""

from __future__ import annotations

from typing import TYPE_CHECKING

from dav.auth import passwords
from dav.auth.backend import Backend, Refusal, SignedIn, Tools
from dav.auth.basic import candidates
from storage import accounts
from storage.engine import transaction
from storage.records import Account

if TYPE_CHECKING:
    from storage.engine import Store


def make(tools: Tools) -> Backend:
    """The back end over tools.store."""

    async def check(login: str, password: str) -> SignedIn | Refusal:
        account = await tools.in_thread(lambda: find(tools.store, login))
        known = account is not None and account.password_hash is not None
        # What was refused under this very state of the account (or as nobody's) is refused again without another hash.
        state = f"{account.id}:{account.auth_seq}" if account is not None else "nobody"
        digest = tools.cache.digest(login, password, state)
        if (digest, tools.clock()) in tools.refused:
            return Refusal.WRONG if known else Refusal.NOT_MINE
        if account is None or account.password_hash is None:
            await tools.pool.run(passwords.dummy_verify)
            tools.refused.add(digest, tools.clock())
            return Refusal.NOT_MINE
        stored = account.password_hash
        right = await tools.pool.run(lambda: passwords.verify(password, stored))
        if right and account.active:
            # auth_seq as it was before the check: a password changed meanwhile is noticed by whoever compares it.
            return SignedIn(account.id, account.auth_seq)
        tools.refused.add(digest, tools.clock())
        return Refusal.WRONG

    return check


def find(store: Store, login: str) -> Account | None:
    """The account that a login names, by the first of its spellings that is one. One read transaction."""
    with transaction(store) as conn:
        for name in candidates(login):
            account = accounts.account_by_name(conn, name)
            if account is not None:
                return account
    return None
