"""Keeps people's addresses as the mail side has them, also of those who do not sign in, and tells who is gone there."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import TYPE_CHECKING

from dav.auth import make_backend, people
from dav.auth.backend import Backend, BackendDown, HashPool, Identity, Refusal, TellsGroups, Tools
from dav.auth.cache import CredentialCache, RefusedCache
from dav.auth.mailgroups import refresh_groups
from storage import accounts
from storage.engine import transaction
from storage.records import Account

if TYPE_CHECKING:
    from dav.config import Config
    from storage.engine import Store

PAGE = 100
NAMED_MAX = 20

_log = logging.getLogger("davenport.auth")


def refresh_people(store: Store, config: Config, now_s: int) -> str:
    """Asks the back ends about every account; returns a sentence, or "" when nothing changed. Blocking.

    The back ends are made for this and closed again: they belong to the loop that they run on, and this is another one.
    """
    names = [name for name in config.auth.backends if name != "local"]
    return asyncio.run(_refresh(store, config, names, now_s)) if names else ""


async def _refresh(store: Store, config: Config, names: list[str], now_s: int) -> str:
    pool = HashPool(1)
    tools = Tools(store, asyncio.to_thread, pool, CredentialCache(0), RefusedCache(), time.monotonic, config)
    backends: list[Backend] = []
    try:
        for name in names:
            backends.append(make_backend(name, tools))
        return await _pages(store, config, {backend.name: backend for backend in backends}, now_s)
    finally:
        for backend in backends:
            await backend.close()
        pool.close()


async def _pages(store: Store, config: Config, backends: dict[str, Backend], now_s: int) -> str:
    # First: an address that is no list any more may be somebody's own now.
    lists = await _groups(store, config, backends, now_s)
    changed = 0
    gone: list[str] = []
    after = ""
    while page := await asyncio.to_thread(_page, store, after):
        after = page[-1].name
        for account in page:
            # By hand or of a back end that is not asked any more: whoever knows the person says.
            asked = [backends[account.source]] if account.source in backends else list(backends.values())
            source, answer = await _ask(account, config, asked, backends)
            if isinstance(answer, Identity):
                changed += await asyncio.to_thread(_write, store, account.id, source, answer, now_s)
            elif answer is Refusal.NOT_MINE and account.source == source and account.active and account.kind != "group":
                gone.append(account.name)
    if gone:
        shown = ", ".join(map(repr, gone[:NAMED_MAX])) + (", …" if len(gone) > NAMED_MAX else "")
        _log.warning("%d accounts are unknown to the mail side now; their data stays: %s", len(gone), shown)
    said = f"Took over what the mail side says of {changed} accounts." if changed else ""
    return " ".join(filter(None, (said, f"Followed its aliases in {lists} group accounts." if lists else "")))


async def _groups(store: Store, config: Config, backends: dict[str, Backend], now_s: int) -> int:
    """How many group accounts have changed. A back end that is down is not asked for anything else in this round."""
    changed = 0
    for backend in list(backends.values()):
        if not isinstance(backend, TellsGroups):
            continue
        try:
            lists = await backend.groups()
        except BackendDown as error:
            del backends[backend.name]
            _log.error("back end %s cannot tell which aliases there are: %s", backend.name, error)
            continue
        if lists is not None:
            changed += await asyncio.to_thread(refresh_groups, store, config, backend.name, lists, now_s)
    return changed


async def _ask(
    account: Account, config: Config, asked: list[Backend], backends: dict[str, Backend]
) -> tuple[str, Identity | Refusal | None]:
    """(back end, its answer): the first that knows the person, else the last one that does not."""
    found: tuple[str, Identity | Refusal | None] = ("", None)
    for backend in asked:
        if backend.name not in backends:
            continue
        try:
            answer = await backend.lookup(people.mail_name(account, config.auth))
        except BackendDown as error:
            # Not asked again in this round: the next one comes in an hour.
            del backends[backend.name]
            _log.error("back end %s cannot tell who has which address: %s", backend.name, error)
            continue
        if answer is not None:
            found = backend.name, answer
        if isinstance(answer, Identity):
            break
    return found


def _page(store: Store, after: str) -> list[Account]:
    with transaction(store) as conn:
        return accounts.list_accounts(conn, after=after, limit=PAGE)


def _write(store: Store, account_id: int, source: str, identity: Identity, now_s: int) -> bool:
    with transaction(store) as conn:
        account = accounts.account_by_id(conn, account_id)
        if account is None or not people.is_due(conn, account, source, identity):
            return False
    with transaction(store, write=True) as conn:
        people.refresh(conn, account, source, identity, now_s=now_s)
    return True
