"""Who may do what (RFC 3744, the reading side): privileges of the signed-in principal on a node.

For now an account has everything in its own homes and nothing in another's; sharing adds rows here.
"""

from __future__ import annotations

from dav.context import Ctx, Method, Node
from dav.errors import DavError
from dav.names import c, d
from dav.urls import HOME_AREAS, Place
from dav.xml import escape, tags

READ = (d("read"), d("read-current-user-privilege-set"))
WRITE = (d("write"), d("write-properties"), d("write-content"), d("bind"), d("unbind"), d("unlock"))
OWNER = (d("all"), *READ, d("read-acl"), *WRITE)
# RFC 6638 §6.1, §6.2: what others may bring to an inbox, and who may send from an outbox; each with its aggregate.
DELIVER = (
    c("schedule-deliver"),
    c("schedule-deliver-invite"),
    c("schedule-deliver-reply"),
    c("schedule-query-freebusy"),
)
SEND = (c("schedule-send"), c("schedule-send-invite"), c("schedule-send-reply"), c("schedule-send-freebusy"))
_WRITING = frozenset((d("all"), *WRITE, *SEND))

# Nodes nobody writes to through DAV: they stand above the homes or are made by the server.
_READ_ONLY = frozenset({"host", "root", "principals", "container", "directory", "directory-card"})


def privileges(ctx: Ctx, node: Node) -> tuple[str, ...]:
    """Clark names of the privileges that the signed-in account has on this node, aggregates included.

    Credentials with a scope have fewer: nothing in other areas, none that write on the principal unless they reach all
    areas, and, when they are for reading, none that write anywhere.
    """
    scope = ctx.scope
    if scope is None:
        return _of_account(ctx, node)
    if node.collection is not None and node.collection.area not in scope.areas:
        return ()
    found = _of_account(ctx, node)
    # A principal is in no area: who reaches only some of them does not change what concerns all.
    reading = scope.read_only or (node.kind == "principal" and not scope.areas.issuperset(HOME_AREAS))
    return tuple(name for name in found if name not in _WRITING) if reading else found


def may_enter(ctx: Ctx, area: str) -> bool:
    """Whether the credentials reach into the homes of this area."""
    return ctx.scope is None or area not in HOME_AREAS or area in ctx.scope.areas


def enter(ctx: Ctx, place: Place) -> None:
    """Raises DavError(403, DAV:need-privileges) for a place that is outside of what the credentials reach.

    The collection above all homes of an area stays open: that is where clients look for the homes.
    """
    if place.account and not may_enter(ctx, place.area):
        raise denied(ctx.urls.collection(place.area, place.account, place.path), d("read"))


def check_scope(ctx: Ctx, method: Method) -> None:
    """Refuses what credentials with a scope are not for, whatever the method's own checks are. Raises DavError(403)."""
    place = ctx.request.place
    enter(ctx, place)
    if ctx.scope is not None and ctx.scope.read_only and method.writes:
        href = ctx.urls.collection(place.area, place.account, place.path) if place.account else ctx.urls.root()
        raise denied(href, d("write"))


def _of_account(ctx: Ctx, node: Node) -> tuple[str, ...]:
    if node.kind in _READ_ONLY:
        return READ
    if node.owner is None or node.owner.id != ctx.account.id:
        return READ if node.kind == "principal" else ()
    if node.kind == "principal":
        return (*READ, d("read-acl"), d("write-properties"))
    if node.kind == "inbox":
        return (*OWNER, c("read-free-busy"), *DELIVER)
    if node.kind == "outbox":
        return (*OWNER, *SEND)
    if node.kind in ("calendar-home", "calendar", "event", "subscribed"):
        return (*OWNER, c("read-free-busy"))
    return OWNER


def require(ctx: Ctx, node: Node, privilege: str) -> None:
    """Raises DavError(403, DAV:need-privileges) naming the resource and the privilege (RFC 3744 §7.1.1).

    DAVx5 treats a 403 with this element as "read-only here"; any other 4xx stops that collection.
    """
    if privilege not in privileges(ctx, node):
        raise denied(node.href, privilege)


def denied(href: str, privilege: str) -> DavError:
    """The answer when a privilege is missing."""
    content = f"<D:resource><D:href>{escape(href)}</D:href><D:privilege>{tags(privilege)[2]}</D:privilege></D:resource>"
    return DavError(403, d("need-privileges"), "You may not do this here.", content=content)
