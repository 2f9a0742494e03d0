"""calendar-query (RFC 4791 §7.8): the store narrows, the filter decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC as UTC_ZONE
from datetime import datetime
from itertools import islice
from operator import itemgetter

from dav import properties, shown, tree
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.filters import calendar
from dav.headers import depth_of, prefers_minimal
from dav.ical.lines import LineError, read
from dav.ical.recur import calendar_object
from dav.ical.tz import Zone, named_zone, vtimezone_text_zone
from dav.multistatus import Several, multistatus, status_response
from dav.names import c, d
from dav.properties.base import Selection, batches
from dav.properties.caldav import recurrence_limits, time_zone_text, zone_of
from dav.reports.base import Report
from dav.urls import encode_segment
from dav.xml import Element, text_of
from storage import objects
from storage.engine import Row
from storage.records import Found, ObjectRecord

_WHOLE_UID_FROM = 16
_WRITTEN_AT_ONCE = 2000
# Kinds that have members to be asked about.
_MEMBERED = frozenset({"calendar", "inbox", "outbox", "subscribed"})


@dataclass(frozen=True, slots=True)
class CalendarQuery:
    """zone: for floating times, from the request; None = the calendar's."""

    selection: Selection
    filter: calendar.CalendarFilter
    plan: calendar.Plan
    zone: Zone | None
    depth: str


def timezone_of(root: Element) -> Zone | None:
    """The zone that a request names by C:timezone (RFC 4791 §9.8) or C:timezone-id (RFC 7809 §6.2).

    Raises DavError(403, valid-calendar-data) or DavError(403, valid-timezone).
    """
    element = root.find(c("timezone"))
    if element is not None:
        return vtimezone_text_zone(time_zone_text(element))
    element = root.find(c("timezone-id"))
    if element is not None:
        zone = named_zone(text_of(element))
        if zone is None:
            raise DavError(403, c("valid-timezone"), "This time zone is not known here.")
        return zone
    return None


def parse(request: Request, root: Element) -> CalendarQuery:
    minimal = prefers_minimal(request)
    element = root.find(c("filter"))
    if element is None:
        raise DavError(400, detail="A calendar-query needs a C:filter.")  # RFC 4791 §9.5
    wanted = calendar.parse_filter(element)
    selection = properties.parse_optional_selection(root, minimal=minimal)
    # RFC 4791 §7.8: no Depth header means the collection alone, in which nothing matches; clients mean its members.
    return CalendarQuery(selection, wanted, calendar.plan(wanted), timezone_of(root), depth_of(request, default="1"))


def run(ctx: Ctx, node: Node, query: CalendarQuery) -> Response:
    limit = ctx.config.limits.query_results
    if node.kind in _MEMBERED and query.depth != "0" and query.plan.uid is None:
        node.zone = query.zone
        listed = properties.listing_of(ctx, node, query.selection, bodies=True)
        if listed is not None:
            return multistatus(_woven(ctx, node, query, listed, limit))
    # One more than may be told, to see whether there are more. Bodies are let go batch by batch, as they are written.
    found = islice(_matching(ctx, node, query), limit + 1)
    return cut_at(limit, properties.respond(ctx, found, query.selection), node.href)


def cut_at(limit: int, responses: Iterable[str], href: str) -> Response:
    """The answer with at most `limit` responses; when there are more, a 507 for the collection says so.

    RFC 6352 §8.6.2 and RFC 6578 §3.6 cut their reports in this way; calendar-query (RFC 4791 §7.8) names only the
    condition, and clients know this form from the others.
    """
    return multistatus(_cut(limit, responses, href))


def _cut(limit: int, responses: Iterable[str], href: str) -> Iterator[str]:
    for number, text in enumerate(responses):
        if number == limit:
            yield status_response(href, 507, d("number-of-matches-within-limits"))
            return
        yield text


def _matching(ctx: Ctx, node: Node, query: CalendarQuery) -> Iterator[Node]:
    if node.kind == "event":
        assert node.object is not None
        shown.load(ctx, [node])
        node.zone = query.zone
        if node.body is not None and _matches(ctx, node.body, query, query.zone or zone_of(ctx, node)):
            yield node
        return
    for target in calendars_in(ctx, node, query.depth):
        yield from _in_calendar(ctx, target, query)


def calendars_in(ctx: Ctx, node: Node, how_deep: str) -> Iterator[Node]:
    """The calendars that a report on a node is about: itself, or those below a home or folder with Depth: infinity."""
    if node.kind in _MEMBERED:
        if how_deep != "0":
            yield node
    elif how_deep == "infinity" and node.collection is not None and node.owner is not None:
        for inside in tree.descendants(ctx, node):
            if inside.kind == "calendar":
                yield inside


def _in_calendar(ctx: Ctx, node: Node, query: CalendarQuery) -> Iterator[Node]:
    assert node.collection is not None
    assert node.owner is not None
    zone = query.zone or zone_of(ctx, node)
    base, kind, owner, collection = node.href, tree.member_kind(node.collection), node.owner, node.collection
    if node.view is not None:
        yield from _as_shown(ctx, node, query, zone)
        return
    wants_body = c("calendar-data") in query.selection.names
    candidates = _candidates(ctx, collection.id, query.plan, zone)
    for batch in batches(candidates, bytes_of=lambda found: found.record.size):
        unread = [found.record.id for found in batch if wants_body or not found.certain]
        bodies = objects.bodies(ctx.conn, unread) if unread else {}
        for found in batch:
            body = bodies.get(found.record.id)
            if not found.certain and (body is None or not _matches(ctx, body, query, zone)):
                continue
            href = base + encode_segment(found.record.name)
            yield Node(kind, href, owner, collection, found.record, body, zone=query.zone)


def _as_shown(ctx: Ctx, node: Node, query: CalendarQuery, zone: Zone) -> Iterator[Node]:
    """As _in_calendar, of somebody else's calendar: what decides is what is shown."""
    assert node.collection is not None
    candidates = _candidates(ctx, node.collection.id, query.plan, zone)
    certain = {found.record.id for found in candidates if found.certain}
    for batch in batches(candidates, bytes_of=lambda found: found.record.size):
        for member in shown.members(ctx, node, [found.record for found in batch], bodies=True):
            assert member.object is not None
            if member.object.id in certain or (member.body and _matches(ctx, member.body, query, zone)):
                member.zone = query.zone
                yield member


def _candidates(ctx: Ctx, collection_id: int, plan: calendar.Plan, zone: Zone) -> list[Found]:
    if plan.uid is not None:
        return [Found(record, False) for record in _with_uid(ctx, collection_id, plan.uid)]
    if plan.component is not None and plan.time_range is not None:
        local = wall_clock(zone, plan.start_s), wall_clock(zone, plan.end_s)
        found = objects.in_range(ctx.conn, collection_id, plan.component, plan.start_s, plan.end_s, *local)
        return found if plan.exact else [Found(item.record, False) for item in found]
    if plan.component is not None:
        return [Found(r, plan.exact) for r in objects.of_component(ctx.conn, collection_id, plan.component)]
    return [Found(r, plan.exact) for r in objects.list_objects(ctx.conn, collection_id) if r.readable]


def _woven(
    ctx: Ctx, node: Node, query: CalendarQuery, listed: properties.Listing, left: int
) -> Iterator[str | Several]:
    """As cut_at, of the members of one calendar, written from columns of the store. left: how many may be told."""
    matching = _rows_with_content if listed.content else _rows
    for rows in matching(ctx, node, query, listed):
        some = rows[:left]
        if some and listed.content and None in map(itemgetter(-1), some):
            # A body in the blob folder, of a file that was moved here, is not shown.
            yield from properties.respond(ctx, _nodes(ctx, node, some), query.selection)
        elif some:
            yield listed.write(some)
        if len(rows) > left:
            yield status_response(node.href, 507, d("number-of-matches-within-limits"))
            return
        left -= len(rows)


def _rows(ctx: Ctx, node: Node, query: CalendarQuery, listed: properties.Listing) -> Iterator[list[Row]]:
    """The rows of the members that match. Only bodies of those of which the index is not certain are read."""
    assert node.collection is not None
    zone = query.zone or zone_of(ctx, node)
    for some in _candidate_rows(ctx, node.collection.id, query.plan, zone, listed.width):
        unsure = [row for row in some if not row[_CERTAIN]]
        if unsure:
            right: set[int] = set()
            for batch in batches(unsure, bytes_of=itemgetter(_SIZE)):
                bodies = objects.bodies(ctx.conn, [row[_ID] for row in batch])
                right.update(object_id for object_id, body in bodies.items() if _shows(ctx, body, query, zone, listed))
            some = [row for row in some if row[_CERTAIN] or row[_ID] in right]
        yield some


def _rows_with_content(ctx: Ctx, node: Node, query: CalendarQuery, listed: properties.Listing) -> Iterator[list[Row]]:
    """As _rows, with the body as last column; None for a blob."""
    assert node.collection is not None
    zone = query.zone or zone_of(ctx, node)
    pages = _candidate_rows(ctx, node.collection.id, query.plan, zone, listed.width)
    for batch in (batch for rows in pages for batch in batches(rows, bytes_of=itemgetter(_SIZE))):
        bodies = objects.bodies(ctx.conn, [row[_ID] for row in batch])
        some = [(*row, bodies.get(row[_ID])) for row in batch]
        yield [row for row in some if row[_CERTAIN - 1] or (row[-1] and _shows(ctx, row[-1], query, zone, listed))]


def _nodes(ctx: Ctx, node: Node, rows: list[Row]) -> Iterator[Node]:
    """The members of these rows, in their order."""
    assert node.collection is not None
    kind = tree.member_kind(node.collection)
    names = [row[0] for row in rows]
    records = {record.name: record for record in objects.objects_by_names(ctx.conn, node.collection.id, names)}
    for name in names:
        yield Node(kind, node.href + encode_segment(name), node.owner, node.collection, records[name], zone=node.zone)


def _candidate_rows(ctx: Ctx, collection_id: int, plan: calendar.Plan, zone: Zone, width: int) -> Iterator[list[Row]]:
    """As _candidates, but rows, some thousands at a time; the last three columns are named below."""
    if plan.component is None or plan.time_range is None:
        pages = objects.pages_of_component(ctx.conn, collection_id, plan.component, width)
    else:
        span = plan.start_s, plan.end_s, wall_clock(zone, plan.start_s), wall_clock(zone, plan.end_s)
        pages = iter((objects.columns_in_range(ctx.conn, collection_id, plan.component, *span, width=width),))
    for rows in pages:
        for first in range(0, len(rows), _WRITTEN_AT_ONCE):
            some = rows[first : first + _WRITTEN_AT_ONCE]
            yield some if plan.exact else _unsure(some)


def _unsure(rows: list[Row]) -> list[Row]:
    return [(*row[:_CERTAIN], 0) for row in rows]


# The last columns of a row.
_ID, _SIZE, _CERTAIN = -3, -2, -1


def _with_uid(ctx: Ctx, collection_id: int, needle: str) -> list[ObjectRecord]:
    """Objects whose UID may contain the text. A long text that is a whole UID means that one: UIDs are unique."""
    record = objects.object_by_uid(ctx.conn, collection_id, needle)
    if record is not None and len(needle) >= _WHOLE_UID_FROM:
        return [record] if record.readable else []
    folded = needle.casefold()
    records = objects.list_objects(ctx.conn, collection_id)
    return [r for r in records if r.readable and r.uid is not None and folded in r.uid.casefold()]


def wall_clock(zone: Zone, instant_s: int | None) -> int | None:
    """An instant in the zone's wall clock, read as if it were UTC: the form in which floating instances are indexed."""
    if instant_s is None:
        return None
    try:
        local: datetime = zone.to_local(instant_s)
    except (ValueError, OverflowError):
        return instant_s  # beyond what a datetime can say; the margin there matters to nobody
    return int(local.replace(tzinfo=UTC_ZONE).timestamp())


def _shows(ctx: Ctx, body: bytes, query: CalendarQuery, zone: Zone, listed: properties.Listing) -> bool:
    """Whether what the reader sees of a stored body matches."""
    return _matches(ctx, body if listed.seen is None else listed.seen(body), query, zone)


def _matches(ctx: Ctx, body: bytes, query: CalendarQuery, zone: Zone) -> bool:
    try:
        document = read(body)
        if not document.components:
            return False
        obj = calendar_object(document.components[0])
        return calendar.matches(query.filter, obj, floating_zone=zone, limits=recurrence_limits(ctx))
    except (LineError, ValueError):
        return False  # one unreadable object never spoils a collection


_KINDS = _MEMBERED | {"event", "calendar-home", "folder"}

ROWS = (Report(c("calendar-query"), "4791 §7.8", _KINDS, parse, run),)
