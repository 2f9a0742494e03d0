"""calendar-multiget (RFC 4791 §7.9) and addressbook-multiget (RFC 6352 §8.7)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from dav import properties, tree
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.headers import prefers_minimal
from dav.ical.tz import Zone
from dav.multistatus import multistatus, status_response
from dav.names import c, cr, d
from dav.properties.base import Selection
from dav.reports.base import Report
from dav.reports.calendar_query import timezone_of
from dav.urls import Place, encode_segment
from dav.xml import Element, children, text_of
from storage import objects


@dataclass(frozen=True, slots=True)
class Multiget:
    """hrefs: as they were sent, trimmed. What is found is answered under its canonical spelling; what is not, as sent.

    zone: for floating times, from the request; None = the calendar's.
    """

    selection: Selection
    hrefs: tuple[str, ...]
    zone: Zone | None


def parse(request: Request, root: Element) -> Multiget:
    """Raises DavError(403, number-of-matches-within-limits) for more hrefs than limits.multiget_hrefs."""
    hrefs = tuple(dict.fromkeys(text_of(child) for child in children(root) if child.tag == d("href")))
    if len(hrefs) > request.config.limits.multiget_hrefs:
        raise DavError(
            403, d("number-of-matches-within-limits"),
            f"A multiget may ask for {request.config.limits.multiget_hrefs} resources at most.",
        )  # fmt: skip
    if any(child.tag in (d("allprop"), d("propname")) for child in children(root)):
        selection = properties.parse_selection(root, minimal=prefers_minimal(request))
    else:
        selection = properties.parse_prop(root.find(d("prop")), minimal=prefers_minimal(request))
    return Multiget(selection, hrefs, timezone_of(root))


def run(ctx: Ctx, node: Node, wanted: Multiget) -> Response:
    return multistatus(_answer(ctx, node, wanted))


def _answer(ctx: Ctx, node: Node, wanted: Multiget) -> Iterator[str]:
    places = [(href, ctx.urls.parse_href(href)) for href in wanted.hrefs]
    found = _load(ctx, node, [place for _, place in places if place is not None], wanted)
    members: dict[str, Node] = {}
    missing: list[str] = []
    for href, place in places:
        member = found.get((place.area, place.account, place.path)) if place is not None else None
        if member is None:
            missing.append(href)
        else:
            member.zone = wanted.zone
            members[member.href] = member  # two spellings of one address are one resource
    yield from properties.respond(ctx, members.values(), wanted.selection)
    for href in missing:
        yield status_response(href, 404)


Key = tuple[str, str, str]  # area, account and path of a place


def _load(ctx: Ctx, node: Node, places: list[Place], wanted: Multiget) -> dict[Key, Node]:
    """Nodes by place: one statement for each collection named. Bodies come later, as many as memory may hold."""
    found: dict[Key, Node] = {}
    above: dict[Key, list[Place]] = {}
    for place in places:
        if place.area == "directory":
            member = tree.find(ctx, place) if node.kind == "directory" else None
            if member is not None:
                found[(place.area, place.account, place.path)] = member
        elif place.path and not place.slash:
            above.setdefault((place.area, place.account, place.parent_path), []).append(place)
    for (area, account, path), inside in above.items():
        parent = _collection(ctx, node, Place(area, account, path))
        if parent is None or parent.collection is None or parent.owner is None:
            continue
        kind, base = tree.member_kind(parent.collection), parent.href
        records = objects.objects_by_names(ctx.conn, parent.collection.id, [place.name for place in inside])
        loaded = {record.name: record for record in records}
        for place in inside:
            record = loaded.get(place.name)
            if record is not None and (node.object is None or node.object.id == record.id):
                member = Node(kind, base + encode_segment(record.name), parent.owner, parent.collection, record)
                found[(area, account, place.path)] = member
    return found


def _collection(ctx: Ctx, node: Node, place: Place) -> Node | None:
    """The collection of some hrefs; the one that the report was sent to needs no second look."""
    if node.collection is not None and node.object is None and node.owner is not None:
        own = (node.collection.area, node.owner.name, node.collection.path)
        if own == (place.area, place.account, place.path):
            return node
    parent = tree.find(ctx, place)
    if parent is None:
        return None
    # RFC 4791 §7.9: hrefs name resources inside the collection, or the one that the request was sent to.
    inside = parent.href.startswith(node.href) if node.object is None else parent.collection == node.collection
    return parent if inside else None


_CALENDARS = frozenset({"calendar", "calendar-home", "inbox", "outbox", "event", "folder"})

ROWS = (
    Report(c("calendar-multiget"), "4791 §7.9", _CALENDARS, parse, run),
    Report(
        cr("addressbook-multiget"), "6352 §8.7",
        frozenset({"addressbook", "addressbook-home", "card", "directory", "folder"}), parse, run,
    ),
)  # fmt: skip
