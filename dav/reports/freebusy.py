"""free-busy-query (RFC 4791 §7.10): busy times of a calendar, or of all opaque calendars of a home."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC as UTC_ZONE
from datetime import datetime

from dav import access
from dav.context import Ctx, Node, Request, Response
from dav.errors import DavError
from dav.filters.calendar import TimeRange, parse_time_range
from dav.ical.availability import beside, read_availability, unavailable
from dav.ical.freebusy import busy_of, free_busy_answer, merge_busy
from dav.ical.lines import Component, LineError, read
from dav.ical.recur import calendar_object
from dav.ical.tz import Zone
from dav.names import c, d
from dav.properties.caldav import recurrence_limits, zone_of
from dav.reports.base import Report
from dav.reports.calendar_query import calendars_in, wall_clock
from dav.xml import Element
from storage import objects
from storage.records import Instance

_BATCH = 200


@dataclass(frozen=True, slots=True)
class FreeBusy:
    """The asked range; both ends are there."""

    start_s: int
    end_s: int


def parse(request: Request, root: Element) -> FreeBusy:
    element = root.find(c("time-range"))
    if element is None:
        raise DavError(400, detail="A free-busy-query needs a C:time-range.")
    try:
        wanted: TimeRange = parse_time_range(element)
    except DavError as error:
        # RFC 4791 §7.10 has no precondition for it, since there is no filter.
        raise DavError(400, detail=error.detail) from None
    if wanted.start_s is None or wanted.end_s is None:
        raise DavError(400, detail="The time-range of a free-busy-query needs a start and an end.")
    return FreeBusy(wanted.start_s, wanted.end_s)


def run(ctx: Ctx, node: Node, wanted: FreeBusy) -> Response:
    access.require(ctx, node, c("read-free-busy"))
    busy: list[Instance] = []
    windows: list[Component] = []
    # The Depth header does not change what a free-busy-query on a calendar means (RFC 4791 §7.10).
    for target in calendars_in(ctx, node, "infinity"):
        if target.mount is not None and node.mount is None:
            continue  # in a home only its owner's own time counts
        windows += availabilities(ctx, target)
        for instances in busy_instances(ctx, target, wanted.start_s, wanted.end_s):
            busy += instances
            if len(busy) > ctx.config.limits.query_results:
                # RFC 4791 §7.10. One object gives limits.expand_instances at most, so none spoils the answer alone.
                raise DavError(403, d("number-of-matches-within-limits"), "The range holds too many busy times.")
    if windows:
        blocked = unavailable(
            windows, wanted.start_s, wanted.end_s, floating_zone=zone_of(ctx, node), limits=recurrence_limits(ctx)
        )
        busy += beside(blocked, busy)
    periods = merge_busy(busy, wanted.start_s, wanted.end_s)
    body = free_busy_answer(periods, wanted.start_s, wanted.end_s, now_s=ctx.now_s)
    return Response(200, (("Content-Type", "text/calendar; charset=utf-8"),), body)


def availabilities(ctx: Ctx, node: Node) -> list[Component]:
    """The VCALENDARs of the VAVAILABILITYs stored in a calendar (RFC 7953 §7.2.3)."""
    assert node.collection is not None
    if node.collection.transparent:
        return []
    records = objects.of_component(ctx.conn, node.collection.id, "VAVAILABILITY")[:_BATCH]
    if not records:
        return []
    found = map(read_availability, objects.bodies(ctx.conn, [record.id for record in records]).values())
    return [calendar for calendar in found if calendar is not None]


def busy_instances(ctx: Ctx, node: Node, start_s: int, end_s: int) -> Iterator[list[Instance]]:
    """What is busy in one calendar, floating times put into its zone: what the index knows, then object by object."""
    assert node.collection is not None
    if node.collection.transparent:
        return  # RFC 6638 §9.1
    zone = zone_of(ctx, node)
    local = wall_clock(zone, start_s), wall_clock(zone, end_s)
    instances, beyond = objects.busy_in_range(ctx.conn, node.collection.id, start_s, end_s, *local)
    yield [_settled(instance, zone) if instance.floating else instance for instance in instances]
    for start in range(0, len(beyond), _BATCH):
        bodies = objects.bodies(ctx.conn, [record.id for record in beyond[start : start + _BATCH]])
        for body in bodies.values():
            try:
                obj = calendar_object(read(body).components[0])
                yield busy_of(obj, start_s, end_s, floating_zone=zone, limits=recurrence_limits(ctx))
            except (LineError, ValueError, IndexError):
                continue  # unreadable: left out, as in queries


def _settled(instance: Instance, zone: Zone) -> Instance:
    """A floating instance at its real time in the zone."""

    def utc(wall_s: int) -> int:
        return zone.to_utc(datetime.fromtimestamp(wall_s, UTC_ZONE).replace(tzinfo=None))

    return Instance(utc(instance.start_s), utc(instance.end_s), False, instance.busy)


ROWS = (
    Report(
        c("free-busy-query"), "4791 §7.10", frozenset({"calendar", "subscribed", "calendar-home"}), parse, run
    ),
)  # fmt: skip
