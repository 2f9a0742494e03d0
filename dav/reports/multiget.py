"""calendar-multiget (RFC 4791 §7.9) and addressbook-multiget (RFC 6352 §8.7)."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from dav import properties, shown, tree
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.headers import prefers_minimal
from dav.ical.tz import Zone
from dav.multistatus import Several, multistatus, status_response
from dav.names import c, cr, d
from dav.properties.base import Selection
from dav.reports.base import Report
from dav.reports.calendar_query import timezone_of
from dav.urls import NAME_BYTES_MAX, Place
from dav.xml import Element, text_of
from storage import objects
from storage.records import ObjectRecord


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
    hrefs = tuple(dict.fromkeys(map(text_of, root.iterchildren(_HREF))))
    if len(hrefs) > request.config.limits.multiget_hrefs:
        raise DavError(
            403, d("number-of-matches-within-limits"),
            f"A multiget may ask for {request.config.limits.multiget_hrefs} resources at most.",
        )  # fmt: skip
    if root.find(d("allprop")) is not None or root.find(d("propname")) is not None:
        selection = properties.parse_selection(root, minimal=prefers_minimal(request))
    else:
        selection = properties.parse_prop(root.find(d("prop")), minimal=prefers_minimal(request))
    return Multiget(selection, hrefs, timezone_of(root))


Key = tuple[str, str, str]  # area, account and path of a place
# Names that stand in an href as they are. Not "." and "..", which end in a point.
_PLAIN_NAME = re.compile(r"[A-Za-z0-9!$&'()*+,;=:~\-._]*[A-Za-z0-9!$&'()*+,;=:~\-_]")
_HREF = d("href")
_PLAIN_NAME_MAX = NAME_BYTES_MAX // 4
# How much is read and written on the event loop's own thread.
_SHORT_HREFS = 64
_SHORT_BYTES = 128 * 1024
_READ_AT_ONCE = 100  # members whose bodies, if they are short, are in memory together


def run(ctx: Ctx, node: Node, wanted: Multiget) -> Response:
    if len(wanted.hrefs) > _SHORT_HREFS:
        ctx.leave_lane()
    node.zone = wanted.zone
    listed = properties.listing_of(ctx, node, wanted.selection, bodies=True)
    if listed is None or not listed.content:
        ctx.leave_lane()
        return multistatus(_answer(ctx, node, wanted, wanted.hrefs))
    return multistatus(_from_columns(ctx, node, wanted, listed))


def _from_columns(ctx: Ctx, node: Node, wanted: Multiget, listed: properties.Listing) -> Iterator[str | Several]:
    """Members of the collection that was asked, from rows of the store alone; the others go the longer way."""
    assert node.collection is not None
    names, others = _names(ctx, node, wanted.hrefs)
    if others:
        ctx.leave_lane()
    asked = list(dict.fromkeys(names.values()))
    missing: set[str] = set()
    large: set[str] = set()
    left = _SHORT_BYTES
    for first in range(0, len(asked), _READ_AT_ONCE):
        some = asked[first : first + _READ_AT_ONCE]
        found = {row[0]: row for row in objects.short_by_names(ctx.conn, node.collection.id, some, listed.width)}
        if len(found) < len(some):
            missing.update(name for name in some if name not in found)
        large.update(name for name, row in found.items() if row[-1] is None)
        rows = [found[name] for name in some if name in found and name not in large]
        left -= sum(len(row[-1]) for row in rows)
        if left < 0 or large:
            ctx.leave_lane()
        if rows:
            yield listed.write(rows)
    if large or others:
        others += [href for href, name in names.items() if name in large]
        yield from _answer(ctx, node, wanted, others)
    if missing:
        for href, name in names.items():
            if name in missing:
                yield status_response(href, 404)


def _names(ctx: Ctx, node: Node, hrefs: Iterable[str]) -> tuple[dict[str, str], list[str]]:
    """Which of the hrefs name members of the collection that was asked: (names by href, the other hrefs)."""
    names: dict[str, str] = {}
    others: list[str] = []
    # Whether a prefix up to the last slash names the collection: nearly always all have the same.
    prefixes = {node.href: True}
    for href in hrefs:
        prefix, slash, name = href.rpartition("/")
        own = prefixes.get(prefix + slash)
        if own and len(name) <= _PLAIN_NAME_MAX and _PLAIN_NAME.fullmatch(name):
            names[href] = name
            continue
        place = ctx.urls.parse_href(href)
        if place is not None and place.name and not place.slash and _is_in(node, place):
            names[href] = place.name
            if "?" not in prefix and "#" not in prefix:  # what follows these is no path
                prefixes[prefix + slash] = True
        else:
            others.append(href)
    return names, others


def _is_in(node: Node, place: Place) -> bool:
    """Whether a place is directly in the collection of the node."""
    place_of = _address(node)
    return (
        place_of is not None
        and place.area == place_of[0]
        and place.parent_path == place_of[2]
        and place.account.casefold() == place_of[1].casefold()
    )


def _address(node: Node) -> Key | None:
    """Area, account and path of a collection where it was found: of a mount those of the reader's home."""
    front = node.front
    if front is None or node.object is not None or (node.mount is not None and front is not node.mount):
        return None  # of what is deeper in a mounted folder only the tree knows the address
    return front.area, front.owner_name, front.path


def _answer(ctx: Ctx, node: Node, wanted: Multiget, hrefs: Iterable[str]) -> Iterator[str]:
    places = [(href, ctx.urls.parse_href(href)) for href in hrefs]
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
        records = objects.objects_by_names(ctx.conn, parent.collection.id, [place.name for place in inside])
        members = shown.members(ctx, parent, records) if parent.view is not None else _plain(parent, records)
        loaded = {member.object.name: member for member in members if member.object is not None}
        for place in inside:
            member = loaded.get(place.name)
            record = member.object if member is not None else None
            if member is not None and record is not None and (node.object is None or node.object.id == record.id):
                found[(area, account, place.path)] = member
    return found


def _plain(parent: Node, records: Iterable[ObjectRecord]) -> Iterator[Node]:
    return (tree.member_of(parent, record) for record in records)


def _collection(ctx: Ctx, node: Node, place: Place) -> Node | None:
    """The collection of some hrefs; the one that the report was sent to needs no second look."""
    if _address(node) == (place.area, place.account, place.path):
        return node
    # RFC 4791 §7.9: hrefs name resources inside the collection, or the one that the request was sent to.
    href = ctx.urls.collection(place.area, place.account, place.path)
    above = node.href if node.object is None else node.href.rpartition("/")[0] + "/"
    if not href.casefold().startswith(above.casefold()):
        return None
    parent = tree.find(ctx, place)
    if parent is None:
        return None
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
