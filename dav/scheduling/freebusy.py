"""Busy times of people: what a POST to the outbox asks for (RFC 6638 §5), and what rooms look at before they answer."""

from __future__ import annotations

from collections.abc import Collection as Many
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC as UTC_ZONE
from datetime import datetime

from dav import access
from dav.context import Ctx, Node, Request, Response, xml_response
from dav.errors import DavError
from dav.headers import media_type
from dav.ical.availability import beside, read_availability, unavailable
from dav.ical.freebusy import busy_of, free_busy_answer, merge_busy
from dav.ical.lines import Component, Line, LineError, read
from dav.ical.recur import Limits, Moment, calendar_object, moment
from dav.ical.tz import UTC, Zone, Zones, named_zone, vtimezone_text_zone
from dav.names import c
from dav.scheduling.model import address_of, attendees_of, organizer_of
from dav.scheduling.places import Seat, here, seats, who_of
from dav.scheduling.plan import Env
from dav.xml import ROOT_NAMESPACES, escape, href_element
from storage import meetings, objects
from storage.records import Collection, Instance

_BATCH = 200
# RFC 6638 §3.2.9, §5: what becomes of each attendee of a request.
_SUCCESS = "2.0;Success"
_UNKNOWN = "3.7;Invalid calendar user"


@dataclass(frozen=True, slots=True)
class Asked:
    """A request for busy times. attendees: normalised address → its line. mask: UID that does not count, or None."""

    uid: str
    organizer: Line
    attendees: dict[str, Line]
    start: Moment
    end: Moment
    mask: str | None


def env_of(ctx: Ctx) -> Env:
    """What carrying out a plan needs, from a request."""
    return Env(ctx.conn, ctx.store, ctx.config, ctx.urls, ctx.now_s)


# ---- the outbox ----


def parse(request: Request) -> Asked:
    """The message in the body of a POST to an outbox. Raises DavError with the precondition that it breaks (§5.1)."""
    limits = request.config.limits
    if media_type(request.header("content-type")) not in ("text/calendar", ""):
        raise DavError(403, c("supported-calendar-data"), "A scheduling message is text/calendar.")
    if len(request.body) > limits.resource_bytes:
        raise DavError(403, c("max-resource-size"), f"At most {limits.resource_bytes} bytes are taken.")
    try:
        document = read(request.body, lines_max=limits.resource_lines, params_max=limits.resource_parameters)
    except LineError as error:
        raise DavError(403, c("valid-calendar-data"), f"{error}.") from None
    if len(document.components) != 1 or document.components[0].name != "VCALENDAR":
        raise DavError(403, c("valid-calendar-data"), "Exactly one VCALENDAR is needed.")
    calendar = document.components[0]
    zones = Zones(calendar)
    # RFC 5546 §3.3.2: one VFREEBUSY with UID, DTSTAMP, ORGANIZER, ATTENDEE, DTSTART and DTEND.
    requests = [item for item in calendar.components if item.name != "VTIMEZONE"]
    if (calendar.value("METHOD") or "").strip().upper() != "REQUEST" or len(requests) != 1:
        raise _not_valid("A POST to an outbox is a REQUEST with one VFREEBUSY.")
    asked = requests[0]
    if asked.name != "VFREEBUSY":
        raise _not_valid("Only busy times are asked for by POST; a meeting is stored by PUT and sent by itself.")
    organizer, attendees = asked.first("ORGANIZER"), attendees_of(asked)
    if organizer is None or not organizer_of(asked) or not attendees or not (asked.value("UID") or "").strip():
        raise _not_valid("ORGANIZER, ATTENDEE and UID are needed.")
    if len(attendees) > limits.attendees:
        raise DavError(403, c("max-attendees-per-instance"), f"At most {limits.attendees} attendees are taken.")
    start, end = (_time(asked.first(name), zones) for name in ("DTSTART", "DTEND"))
    mask = asked.first("X-CALENDARSERVER-MASK-UID") or asked.first("MASK-UID")
    return Asked(asked.first("UID").text, organizer, attendees, start, end, mask.text if mask else None)  # type: ignore[union-attr]


def _time(line: Line | None, zones: Zones) -> Moment:
    """One end of the range. RFC 5545 §3.6.4 wants UTC; CLIENT python-caldav writes the wall clock of the asker."""
    try:
        found = None if line is None else moment(line, zones)
    except ValueError:
        found = None
    if found is None or found.kind == "date":
        raise _not_valid("DTSTART and DTEND are needed, with a time, best in UTC.")
    return found


def _not_valid(detail: str) -> DavError:
    return DavError(403, c("valid-scheduling-message"), detail)  # RFC 4791 §1.3: not to be repeated


def handle(ctx: Ctx, node: Node, asked: Asked) -> Response:
    """One C:response for each attendee. Needs: the node is an outbox."""
    access.require(ctx, node, c("schedule-send-freebusy"))
    env = env_of(ctx)
    assert node.owner is not None
    who = who_of(env, node.owner)
    if not who.has(address_of(asked.organizer)):
        raise DavError(403, c("valid-organizer"), "ORGANIZER must be an address of the owner of this outbox.")
    own = UTC if asked.start.zone and asked.end.zone else zone_of(seats(env, [node.owner])[node.owner.id])
    start_s, end_s = asked.start.seconds(own), asked.end.seconds(own)
    if end_s <= start_s:
        raise _not_valid("DTEND must be after DTSTART.")
    found = here(env, asked.attendees)
    places = seats(env, {account.id: account for account in found.values()}.values())
    hidden: set[int] = set()
    if asked.mask is not None:
        # Only of the asker's own meeting: nobody learns by this which meetings others have.
        calendars = [one.id for seat in places.values() for one in seat.calendars]
        for record, body in meetings.by_uid(env.conn, calendars, asked.mask):
            if any(who.has(address) for address in _organizers(body)):
                hidden.add(record.id)
    busy = busy_times(env, places.values(), start_s, end_s, but=hidden, free_at_most=_most(ctx))
    parts = []
    for address, line in asked.attendees.items():
        account = found.get(address)
        seat = None if account is None else places[account.id]
        if seat is None or seat.inbox is None:
            parts.append(_response(line, _UNKNOWN, b""))
            continue
        periods = merge_busy(busy[seat.account.id], start_s, end_s)
        answer = free_busy_answer(
            periods, start_s, end_s, now_s=ctx.now_s, organizer=asked.organizer, attendee=line,
            uid=asked.uid, method="REPLY",
        )  # fmt: skip
        parts.append(_response(line, _SUCCESS, answer))
    opening, closing = f"<C:schedule-response {ROOT_NAMESPACES}>", "</C:schedule-response>"
    return xml_response(200, (opening, *parts, closing))


def _most(ctx: Ctx) -> int:
    return ctx.config.limits.query_results


def _organizers(body: bytes) -> list[str]:
    try:
        obj = calendar_object(read(body).components[0])
    except (LineError, IndexError):
        return []
    return [organizer_of(component) for component in obj.components]


def _response(line: Line, status: str, data: bytes) -> str:
    shown = f"<C:calendar-data>{escape(data.decode())}</C:calendar-data>" if data else ""
    return (
        f"<C:response><C:recipient>{href_element(line.value.strip())}</C:recipient>"
        f"<C:request-status>{status}</C:request-status>{shown}</C:response>"
    )


# ---- busy times ----


def limits_of(env: Env) -> Limits:
    limits = env.config.limits
    return Limits(instances_max=limits.expand_instances, steps_max=limits.recurrence_steps)


def zone_of(seat: Seat, calendar: Collection | None = None) -> Zone:
    """The zone of somebody's floating times: of the calendar, of the inbox, of the account, of any calendar, or UTC."""
    own = named_zone(seat.account.time_zone) if seat.account.time_zone else None
    first = [_zone(one) for one in (calendar, seat.inbox) if one is not None]
    return next((zone for zone in (*first, own, *map(_zone, seat.calendars)) if zone is not None), UTC)


def _zone(collection: Collection) -> Zone | None:
    if collection.time_zone_id:
        return named_zone(collection.time_zone_id)
    return vtimezone_text_zone(collection.time_zone) if collection.time_zone else None


def busy_times(
    env: Env,
    places: Iterable[Seat],
    start_s: int,
    end_s: int,
    *,
    but: Many[int] = (),
    free_at_most: int = 1_000_000,
) -> dict[int, list[Instance]]:
    """By account id: what is busy in [start_s, end_s) in all opaque calendars, in UTC, not merged.

    but: ids of objects that do not count. With VAVAILABILITY (RFC 7953), of the inbox and of the calendars. About four
    statements for any number of people. Raises DavError(403, max-instances) for more than free_at_most instances.
    """
    by_id = {seat.account.id: seat for seat in places}
    places = by_id.values()
    by_calendar = {one.id: (seat, one) for seat in places for one in seat.calendars if not one.transparent}
    found: dict[int, list[Instance]] = {seat.account.id: [] for seat in places}
    instances, beyond = meetings.busy_in(env.conn, list(by_calendar), start_s, end_s)
    if len(instances) > free_at_most:
        raise DavError(403, c("max-instances"), "The range holds too many busy times.")
    zones = {calendar_id: zone_of(seat, one) for calendar_id, (seat, one) in by_calendar.items()}
    for calendar_id, object_id, instance in instances:
        if object_id not in but:
            account_id = by_calendar[calendar_id][0].account.id
            found[account_id].append(_settled(instance, zones[calendar_id]) if instance.floating else instance)
    left = [record for record in beyond if record.id not in but]
    for first in range(0, len(left), _BATCH):
        some = {record.id: record for record in left[first : first + _BATCH]}
        for object_id, body in objects.bodies(env.conn, list(some)).items():
            calendar_id = some[object_id].collection_id
            try:
                obj = calendar_object(read(body).components[0])
                busy = busy_of(obj, start_s, end_s, floating_zone=zones[calendar_id], limits=limits_of(env))
            except (LineError, ValueError, IndexError):
                continue  # unreadable: left out, as in queries
            found[by_calendar[calendar_id][0].account.id] += busy
    for account_id, windows in _windows(env, places, by_calendar).items():
        blocked = unavailable(windows, start_s, end_s, floating_zone=zone_of(by_id[account_id]), limits=limits_of(env))
        found[account_id] += beside(blocked, found[account_id])
    return found


def _settled(instance: Instance, zone: Zone) -> Instance:
    """A floating instance at its real time in the zone."""

    def utc(wall_s: int) -> int:
        return zone.to_utc(datetime.fromtimestamp(wall_s, UTC_ZONE).replace(tzinfo=None))

    return Instance(utc(instance.start_s), utc(instance.end_s), False, instance.busy)


def _windows(
    env: Env, places: Iterable[Seat], by_calendar: dict[int, tuple[Seat, Collection]]
) -> dict[int, list[Component]]:
    """By account id: the VCALENDARs that say when somebody can be met at all, of the inbox and of the calendars."""
    texts: list[tuple[int, str | bytes]] = []
    for seat in places:
        if seat.availability is not None:
            texts.append((seat.account.id, seat.availability))
    stored = meetings.of_component(env.conn, list(by_calendar), "VAVAILABILITY")
    texts += ((by_calendar[calendar_id][0].account.id, body) for calendar_id, body in stored)
    found: dict[int, list[Component]] = {}
    for account_id, text in texts:
        calendar = read_availability(text)
        if calendar is not None:
            found.setdefault(account_id, []).append(calendar)
    return found
