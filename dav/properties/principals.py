"""Groups and delegates as properties of principals: RFC 3744 §4.3, §4.4, and CalendarServer's calendar-proxy."""

from __future__ import annotations

from dav import access
from dav.context import Ctx, Node
from dav.errors import DavError
from dav.names import cs, d
from dav.properties.base import Property
from dav.sharing.desk import desk_of
from dav.sharing.people import people
from dav.tree import PROXIES
from dav.xml import Element, children, href_element, text_of
from storage import audit, groups, proxies
from storage.records import Account

_PRINCIPAL = frozenset({"principal"})
_PROTECTED = d("cannot-modify-protected-property")
_WRITES = "calendar-proxy-write"


def _hrefs(ctx: Ctx, accounts: list[Account]) -> str:
    return "".join(href_element(ctx.urls.principal(account.name)) for account in accounts if account.active)


def _is_own(ctx: Ctx, node: Node) -> bool:
    return node.owner is not None and node.owner.id == ctx.account.id


def _members(ctx: Ctx, node: Node) -> str | None:
    """Who belongs to a group; the delegates of a principal, which are for itself and for them to know."""
    if node.owner is None:
        return None
    if node.kind == "principal":
        known = node.owner.kind == "group" and (
            ctx.config.directory.visible or _is_own(ctx, node) or groups.is_in(ctx.conn, ctx.account.id, node.owner.id)
        )
        limit = ctx.config.limits.search_results
        return _hrefs(ctx, groups.members_of(ctx.conn, node.owner.id, limit=limit)) if known else ""
    knows = _is_own(ctx, node) or bool(access.administers(ctx))
    if not knows and proxies.proxy_of(ctx.conn, node.owner.id, ctx.account.id) is None:
        return None
    found = proxies.delegates_of(ctx.conn, node.owner.id)
    return _hrefs(ctx, [account for account, writes in found if writes == (node.kind == _WRITES)])


def _parse_members(element: Element) -> tuple[str, ...]:
    return tuple(dict.fromkeys(text_of(child) for child in children(element) if child.tag == d("href")))


def _check_members(ctx: Ctx, node: Node, hrefs: tuple[str, ...] | None) -> None:
    if node.kind not in PROXIES:
        raise DavError(403, _PROTECTED, "Who belongs to a group is not changed here.")
    _delegates(ctx, node, hrefs)


def _delegates(ctx: Ctx, node: Node, hrefs: tuple[str, ...] | None) -> list[Account]:
    """The accounts behind the hrefs. Raises DavError(403) for one that is nobody's, or the principal itself."""
    if hrefs is not None and len(hrefs) > ctx.config.sharing.people:
        raise DavError(403, detail=f"There can be {ctx.config.sharing.people} delegates at most.")
    found = people(desk_of(ctx), hrefs or (), reader=ctx.account)
    delegates = []
    for href in hrefs or ():
        person = found[href]
        if person is None or person.account is None or (node.owner is not None and person.account.id == node.owner.id):
            raise DavError(403, detail="Only other principals of this server can be delegates.")
        delegates.append(person.account)
    return delegates


def _write_members(ctx: Ctx, node: Node, hrefs: tuple[str, ...] | None) -> None:
    assert node.owner is not None
    writes = node.kind == _WRITES
    delegates = {account.id: account for account in _delegates(ctx, node, hrefs)}
    before = {account.id: account for account, may in proxies.delegates_of(ctx.conn, node.owner.id) if may == writes}
    for account_id in sorted(before.keys() - delegates.keys()):
        proxies.remove_proxy(ctx.conn, node.owner.id, account_id)
        _note(ctx, node, "delegate removed", before[account_id], writes)
    for account_id in sorted(delegates.keys() - before.keys()):
        proxies.add_proxy(ctx.conn, node.owner.id, account_id, writes=writes)
        _note(ctx, node, "delegate added", delegates[account_id], writes)


def _note(ctx: Ctx, node: Node, action: str, delegate: Account, writes: bool) -> None:
    assert node.owner is not None
    audit.note(
        ctx.conn, at_s=ctx.now_s, account_id=node.owner.id, actor=ctx.account.name, action=action,
        subject=delegate.name, detail="" if writes else "reads",
    )  # fmt: skip


def _membership(ctx: Ctx, node: Node) -> str:
    """The groups of a principal, and those groups of delegates in which it is. For nobody else to know."""
    if node.owner is None or node.kind in PROXIES or not _is_own(ctx, node):
        return ""
    own = _hrefs(ctx, list(groups.groups_of(ctx.conn, node.owner.id)))
    acting = proxies.principals_of(ctx.conn, node.owner.id)
    return own + "".join(
        href_element(f"{ctx.urls.principal(account.name)}{PROXIES[writes]}/")
        for account, writes in acting
        if account.active
    )


def _proxy_for(ctx: Ctx, node: Node, *, writes: bool) -> str | None:
    if node.owner is None or not _is_own(ctx, node):
        return None
    return _hrefs(ctx, [one for one, may in proxies.principals_of(ctx.conn, node.owner.id) if may == writes])


ROWS = (
    Property(
        d("group-member-set"), "3744 §4.3", access.PRINCIPALS, _members,
        parse=_parse_members, check=_check_members, write=_write_members,
    ),
    Property(d("group-membership"), "3744 §4.4", access.PRINCIPALS, _membership),
    Property(cs("calendar-proxy-read-for"), "caldav-proxy §5.3.1", _PRINCIPAL,
             lambda ctx, node: _proxy_for(ctx, node, writes=False)),
    Property(cs("calendar-proxy-write-for"), "caldav-proxy §5.3.2", _PRINCIPAL,
             lambda ctx, node: _proxy_for(ctx, node, writes=True)),
)  # fmt: skip
