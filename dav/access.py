"""Who may do what (RFC 3744): what the signed-in account is to the owner of a home, and the privileges that this gives.

A relation is what an account is at a node: "" for the owner, one of RELATIONS for others. What a relation gives stands
in one table, by the kind of the node.
"""

from __future__ import annotations

from dav.context import Ctx, Method, Node
from dav.errors import DavError
from dav.names import c, d
from dav.privacy import View
from dav.urls import HOME_AREAS, Place
from dav.xml import escape, tags
from storage.records import ACCESS

READ = (d("read"), d("read-current-user-privilege-set"))
MEMBERSHIP = (d("bind"), d("unbind"))
WRITE = (d("write"), d("write-properties"), d("write-content"), *MEMBERSHIP, d("unlock"))
OWNER = (d("all"), *READ, d("read-acl"), *WRITE)
SHARES = d("write-acl")  # the owner of what can be shared says who sees it
BUSY = c("read-free-busy")
# RFC 6638 §6.1, §6.2: what others may bring to an inbox, and who may send from an outbox; each with its aggregate.
DELIVER = (
    c("schedule-deliver"),
    c("schedule-deliver-invite"),
    c("schedule-deliver-reply"),
    c("schedule-query-freebusy"),
)
SEND = (c("schedule-send"), c("schedule-send-invite"), c("schedule-send-reply"), c("schedule-send-freebusy"))
_WRITING = frozenset((d("all"), d("write-acl"), *WRITE, *SEND))

# Nodes nobody writes to through DAV: they stand above the homes or are made by the server.
_READ_ONLY = frozenset({"host", "root", "principals", "container", "directory", "directory-card"})
# People and groups, and the groups of their delegates.
PRINCIPALS = frozenset({"principal", "calendar-proxy-read", "calendar-proxy-write"})
# What the server keeps itself: the owner may name and remove it, and nobody may change what is in it.
DERIVED = frozenset({"feed", "birthdays"})
# What can be shared with others, and whose list of access can be changed.
SHAREABLE = frozenset({"calendar", "addressbook", "folder"})

# What somebody may be who is not the owner: the level of a share, a delegate for reading ("reader") or writing
# ("delegate"), an administrator for reading ("auditor") or all. The weaker ones first: the strongest one counts.
RELATIONS = ("busy", "reader", "read", "write", "delegate", "owner", "auditor", "administrator")
_SEES_ALL = frozenset({"auditor", "administrator"})

_MEMBER_KINDS = frozenset({"event", "card", "file"})
_TIMED = frozenset({"calendar-home", "calendar", "event", "subscribed"})
_SHARED = SHAREABLE | _MEMBER_KINDS
_DELEGATED = frozenset({"calendar-home", "calendar", "subscribed", "event"})
# Inside a collection one changes members; what it is called is its owner's to say.
_WRITE_MEMBERS = (d("write"), d("write-content"), *MEMBERSHIP)
_WRITE_MEMBER = (d("write"), d("write-properties"), d("write-content"))


def _table() -> dict[tuple[str, str], tuple[str, ...]]:
    """(relation, kind of node) → privileges. What is not in it gives nothing, and so the node is not there."""
    found: dict[tuple[str, str], tuple[str, ...]] = {}
    for kind in ("calendar", "event"):
        found["busy", kind] = READ
    for kind in _SHARED:
        member = kind in _MEMBER_KINDS
        found["read", kind] = READ
        found["write", kind] = (*READ, *(_WRITE_MEMBER if member else _WRITE_MEMBERS))
        found["owner", kind] = OWNER
    for kind in _DELEGATED:
        member = kind == "event"
        found["reader", kind] = READ
        found["delegate", kind] = (*READ, *(_WRITE_MEMBER if member else WRITE))
    # CLIENT macOS: a delegate sees the inbox of the one for whom he acts, and removes what he has answered.
    for kind in ("inbox", "outbox"):
        found["reader", kind] = READ
    found["delegate", "inbox"] = (*READ, d("unbind"))
    found["delegate", "outbox"] = (*READ, *SEND)
    found["delegate", "calendar-home"] = (*READ, *MEMBERSHIP)
    for kind in (*_SHARED, *_DELEGATED, "addressbook-home", "files-home", "inbox", "outbox", "notifications"):
        found["auditor", kind] = (*READ, d("read-acl"))
        found["administrator", kind] = OWNER
    found["administrator", "inbox"] = (*OWNER, *DELIVER)
    found["administrator", "outbox"] = (*OWNER, *SEND)
    for (relation, kind), given in found.items():
        more = (SHARES,) if given == OWNER and kind in SHAREABLE else ()
        found[relation, kind] = (*given, *more, BUSY) if kind in _TIMED else (*given, *more)
    return found


_GIVEN = _table()


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
    reading = scope.read_only or (node.kind in PRINCIPALS and not scope.areas.issuperset(HOME_AREAS))
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


def administers(ctx: Ctx) -> str:
    """What the signed-in account is in everybody's home as an administrator: "administrator", "auditor" or ""."""
    if not ctx.account.admin:
        return ""
    return {"all": "administrator", "read": "auditor"}.get(ctx.config.sharing.administrators, "")


def strongest(*relations: str | None) -> str:
    """The one that gives most; "" when there is none."""
    found = [relation for relation in relations if relation]
    return max(found, key=RELATIONS.index) if found else ""


def sees(relation: str, kind: str) -> bool:
    """Whether a node of this kind is there at all for somebody who is this to its owner."""
    return (relation, kind) in _GIVEN


def view_of(ctx: Ctx, relation: str, owner_id: int) -> View | None:
    """How somebody who is this to the owner sees what is there; None: as it is stored."""
    if relation in ("", *_SEES_ALL):
        return None
    sharing = ctx.config.sharing
    if relation in ("delegate", "reader"):
        if sharing.delegates_see_private:
            return None if relation == "delegate" else View("owner", "busy", "full", ctx.account.id)
        if relation == "delegate":
            return View("write", sharing.private, sharing.confidential, owner_id, principal=True)
        return View("read", sharing.private, sharing.confidential, ctx.account.id)
    assert relation in ACCESS
    return View(relation, sharing.private, sharing.confidential, ctx.account.id)


def _of_account(ctx: Ctx, node: Node) -> tuple[str, ...]:
    if node.kind in _READ_ONLY:
        return READ
    if node.relation:
        return _of_other(node)
    if node.owner is None or node.owner.id != ctx.account.id:
        return READ if node.kind in PRINCIPALS else ()
    if node.kind in PRINCIPALS:
        return (*READ, d("read-acl"), d("write-properties"))
    found: tuple[str, ...] = OWNER
    if node.kind == "inbox":
        found = (*OWNER, BUSY, *DELIVER)
    elif node.kind == "outbox":
        found = (*OWNER, *SEND)
    elif node.kind in _TIMED:
        found = (*OWNER, SHARES, BUSY) if node.kind in SHAREABLE else (*OWNER, BUSY)
    elif node.kind in SHAREABLE:
        found = (*OWNER, SHARES)
    return found if node.collection is None or not node.collection.origin else _derived(node, found)


def _of_other(node: Node) -> tuple[str, ...]:
    found = _GIVEN.get((node.relation, node.kind), ())
    if node.collection is not None and node.collection.origin:
        found = _derived(node, found)
    if (
        node.mount is not None
        and node.object is None
        and node.front is node.mount
        and d("write-properties") not in found
    ):
        # The name and the colour of a mount are the sharee's own.
        found = (*found, d("write-properties"))
    return found


def _derived(node: Node, found: tuple[str, ...]) -> tuple[str, ...]:
    """Of what the server keeps itself only the properties of the collection can be changed."""
    assert node.collection is not None
    if node.collection.origin not in DERIVED:
        return found
    kept = (d("write-properties"), SHARES) if node.object is None else ()
    return tuple(name for name in found if name not in _WRITING or name in kept)


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
