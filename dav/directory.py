"""The read-only address book of this server's accounts (CR:directory-gateway): searched, never listed."""

from __future__ import annotations

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


def card_node(ctx: Ctx, account: Account) -> Node:
    """The card of an account as a resource, its body included."""
    return Node("directory-card", ctx.urls.directory(f"{account.name}.vcf"), account, body=card_of(account))


def search(ctx: Ctx, plan: Plan | None) -> tuple[list[Node], bool]:
    """Cards of accounts that may match, at most limits.search_results, and whether there are more.

    Without a search text nothing is found: the directory is not listed.
    """
    if plan is None or plan.column not in _FIELDS:
        return [], False
    most = ctx.config.limits.search_results
    found = accounts.search_accounts(ctx.conn, plan.text, fields=_FIELDS[plan.column], match="contains", limit=most + 1)
    return [card_node(ctx, account) for account in found[:most]], len(found) > most
