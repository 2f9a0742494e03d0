"""MKCOL (RFC 4918 §9.3), extended MKCOL (RFC 5689) and MKCALENDAR (RFC 4791 §5.3.1).

Plain MKCOL makes a folder, in any home; calendars and address books stand directly in their home.
"""

from __future__ import annotations

from dataclasses import dataclass

from dav import access, conditions, properties, target, tree, xml
from dav.context import Ctx, Node, Request, Response, xml_response
from dav.errors import DavError
from dav.headers import Preconditions, media_type, preconditions
from dav.methods.allow import not_allowed
from dav.multistatus import multistatus, propstat_response
from dav.names import c, cr, cs, d
from dav.properties import PROPERTIES, Outcome
from dav.target import Target
from dav.urls import HOME_AREAS
from dav.xml import ROOT_NAMESPACES, Element
from storage import collections

Changes = list[tuple[str, Element | None]]

# RFC 5689 §3: the resource types that can be asked for, and the kind of collection that they make.
_KIND_OF = {
    frozenset({d("collection")}): "folder",
    frozenset({d("collection"), c("calendar")}): "calendar",
    frozenset({d("collection"), cr("addressbook")}): "addressbook",
    # CLIENT macOS 10.7 and later (2011): keeps the feeds that it subscribes to as collections of this type.
    frozenset({d("collection"), cs("subscribed")}): "subscribed",
}
# Where each kind stands, and the precondition that says so.
_HOME_OF = {
    "calendar": ("calendar-home", c("calendar-collection-location-ok")),
    "subscribed": ("calendar-home", c("calendar-collection-location-ok")),
    "addressbook": ("addressbook-home", cr("addressbook-collection-location-ok")),
}
FOLDER_PARENTS = frozenset({"folder", "files-home", "calendar-home", "addressbook-home"})
# Of a new calendar these are read before the transaction: a bad one has a precondition of its own (RFC 4791 §5.3.1.1).
_READ_FIRST = (c("supported-calendar-component-set"), c("calendar-timezone"))


@dataclass(frozen=True, slots=True)
class Make:
    """kind: None when the types asked for are none that we make. changes: the properties, without DAV:resourcetype."""

    kind: str | None
    changes: Changes
    calendar_method: bool
    wanted: Preconditions


def parse(request: Request) -> Make:
    """Raises DavError(400) for a malformed body, DavError(415) for one that is no request of ours (RFC 4918 §9.3)."""
    calendar_method = request.method == "MKCALENDAR"
    wanted = preconditions(request)
    kind: str | None = "calendar" if calendar_method else "folder"
    if not request.body.strip():
        return Make(kind, [], calendar_method, wanted)
    root = _root(request)
    # Some clients send DAV:mkcol with MKCALENDAR.
    if root.tag not in ((c("mkcalendar"), d("mkcol")) if calendar_method else (d("mkcol"),)):
        raise DavError(400 if calendar_method else 415, detail="The body is not what this method takes.")
    changes: Changes = []
    for name, element in properties.parse_changes(root):
        if name == d("resourcetype") and element is not None:
            kind = _kind(element, calendar_method)
        elif element is not None:
            changes.append((name, element))
    if calendar_method:
        for name, element in changes:
            row = PROPERTIES.get(name)
            if name in _READ_FIRST and row is not None and row.parse is not None and element is not None:
                row.parse(element)
    return Make(kind, changes, calendar_method, wanted)


def _root(request: Request) -> Element:
    sent = media_type(request.header("content-type"))
    # XML without a type, or under a wrong one, is read; what is neither called XML nor looks like it is 415.
    if "xml" not in sent and sent and not request.body.lstrip(b"\xef\xbb\xbf \t\r\n").startswith(b"<"):
        raise DavError(415, detail="MKCOL takes no body of this type.")
    return xml.parse(request.body, request.config.limits)


def _kind(element: Element, calendar_method: bool) -> str | None:
    types = {child.tag for child in xml.children(element)}
    if not types:
        return "calendar" if calendar_method else None
    kind = _KIND_OF.get(frozenset(types | {d("collection")} if calendar_method else types))
    return None if calendar_method and kind not in ("calendar", "subscribed") else kind


def handle(ctx: Ctx, make: Make) -> Response:
    place = ctx.request.place
    if place.area not in HOME_AREAS or not place.account:
        node = tree.find(ctx, place)
        if node is not None:
            raise _exists(node.kind, make)
        raise access.denied(ctx.urls.root(), d("bind"))
    there = target.resolve(ctx, place)
    if there.node is not None:
        raise _exists(there.node.kind, make)
    parent = target.require_parent(there)
    access.require(ctx, parent, d("bind"))
    if make.kind is None:
        return _refused(make, {d("resourcetype"): Outcome(403, d("valid-resourcetype"))}, 403)
    check_location(ctx, parent, make.kind)
    check_room(ctx, there)
    conditions.check_creation(ctx, make.wanted, there)
    assert parent.collection is not None
    created = collections.create_collection(ctx.conn, parent.collection, place.name, kind=make.kind, now_s=ctx.now_s)
    node = tree.child(ctx, parent, created)
    outcomes = properties.update(ctx, node, make.changes, creating=True) if make.changes else {}
    if any(outcome.status != 200 for outcome in outcomes.values()):
        # All or nothing: RFC 4791 §5.3.1, RFC 5689 §3.
        collections.delete_collection(ctx.conn, created, now_s=ctx.now_s)
        if make.calendar_method:
            others = properties.propstats(outcomes)
            return multistatus([propstat_response(node.href, "", others=others)])  # RFC 4791 §5.3.1.1
        return _refused(make, outcomes, 424)
    # RFC 4791 §5.3.1: not to be cached. Location has the canonical spelling, for those who left the slash out.
    return Response(201, (("Location", node.href), ("Cache-Control", "no-cache")))


def _exists(kind: str, make: Make) -> DavError:
    if make.calendar_method:
        # RFC 4791 §5.3.1.1: 403 for MKCALENDAR, where RFC 4918 §9.3.1 has 405 for MKCOL.
        return DavError(403, d("resource-must-be-null"), "There is something at this address already.")
    return not_allowed(kind, "There is something at this address already.", d("resource-must-be-null"))


def check_location(ctx: Ctx, parent: Node, kind: str) -> None:
    """Whether a collection of this kind may stand here. Raises DavError(403) with the precondition.

    RFC 4791 §4.2, §5.3.1.1, RFC 6352 §5.2: calendars and address books hold no collections here.
    """
    home, condition = _HOME_OF.get(kind, ("", None))
    if kind == "folder":
        if parent.kind not in FOLDER_PARENTS:
            raise access.denied(parent.href, d("bind"))
    elif parent.kind != home:
        raise DavError(403, condition, "A collection of this kind stands directly in its home.")


def check_room(ctx: Ctx, there: Target, more: int = 1, levels: int = 1) -> None:
    """Whether `more` collections, nested `levels` deep, still fit.

    Raises DavError(507) for too many (RFC 4918 §9.3.1), DavError(403) for too deep.
    """
    limits = ctx.config.limits
    if there.path.count("/") + levels > limits.depth:
        raise DavError(403, detail=f"Folders may nest {limits.depth} deep.")
    home = collections.home(ctx.conn, there.owner.id, there.place.area)
    # What others put there by sharing it must not take the room for what is one's own.
    own = sum(one.source_id is None for one in collections.descendants(ctx.conn, home))
    if own + more > limits.collections:
        raise DavError(507, detail=f"An account may have {limits.collections} collections.")


def _refused(make: Make, results: dict[str, Outcome], status: int) -> Response:
    """RFC 5689 §3.3: which property failed, and which only failed with it."""
    results = results | {name: Outcome(424) for name, _ in make.changes if name not in results}
    name = "C:mkcalendar-response" if make.calendar_method else "D:mkcol-response"
    return xml_response(status, (f"<{name} {ROOT_NAMESPACES}>", properties.propstats(results), f"</{name}>"))
