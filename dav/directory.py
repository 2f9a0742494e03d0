"""The read-only address book of this server's accounts (CR:directory-gateway): searched, never listed."""

from __future__ import annotations

from collections.abc import Iterator

from dav import tree
from dav.context import Ctx, Node
from dav.filters.card import Plan
from dav.vcard import directory_card
from storage import accounts
from storage.records import Account

_FIELDS = {"fn": ("display_name", "name"), "n": ("display_name",), "email": ("address",)}


def card_of(account: Account) -> bytes:
    """The vCard of an account."""
    return directory_card(
        uid=f"davenport-account-{account.id}",
        name=account.display_name or account.name,
        addresses=account.addresses,
        kind=account.kind,
    )


def search(ctx: Ctx, plan: Plan | None) -> Iterator[Node]:
    """Accounts that may match, with their cards. Without a search text nothing is found: the directory is not listed."""
    if plan is None or plan.column not in _FIELDS:
        return
    found = accounts.search_accounts(
        ctx.conn, plan.text, fields=_FIELDS[plan.column], match="contains", limit=ctx.config.limits.search_results
    )
    for account in found:
        if account.active:
            yield node_of(ctx, account)


def node_of(ctx: Ctx, account: Account) -> Node:
    node = tree.directory_node(ctx, account)
    node.body = card_of(account)
    return node
