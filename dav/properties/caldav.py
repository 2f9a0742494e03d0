"""Live properties of RFC 4791, 7809, and of RFC 6638 what needs no scheduling."""

from __future__ import annotations

from collections.abc import Callable
from functools import lru_cache, partial

from dav.context import Ctx, Node
from dav.errors import DavError
from dav.filters.collation import COLLATIONS
from dav.headers import wants_zones
from dav.ical import by_reference, lines, render, rules
from dav.ical.recur import Limits as RecurrenceLimits
from dav.ical.render import CalendarData
from dav.ical.tz import UTC, Zone, named_zone, vtimezone_for, vtimezone_text_zone
from dav.names import c, d
from dav.properties.base import Cell, Getter, Property, Selection
from dav.xml import Element, children, decode, escape, href_element, text_of
from storage import collections

_CALENDAR = frozenset({"calendar"})
_CALENDARS = frozenset({"calendar", "subscribed"})
_SCHEDULED = frozenset({"calendar", "inbox", "outbox"})
COMPONENTS = ("VEVENT", "VTODO", "VJOURNAL")
_KNOWN_COMPONENTS = frozenset({"VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY", "VPOLL"})


def zone_of(ctx: Ctx, node: Node) -> Zone:
    """The zone in which floating times of a calendar are read: the calendar's, else the account's, else UTC."""
    collection = node.front
    if collection is not None:
        zone = None
        if collection.time_zone_id:
            zone = named_zone(collection.time_zone_id)
        if zone is None and collection.time_zone:
            zone = _text_zone(collection.time_zone)
        if zone is not None:
            return zone
    account_zone = node.owner.time_zone if node.owner is not None else ctx.account.time_zone
    return (named_zone(account_zone) if account_zone else None) or UTC


@lru_cache(maxsize=256)
def _text_zone(text: str) -> Zone | None:
    return vtimezone_text_zone(text)


def recurrence_limits(ctx: Ctx) -> RecurrenceLimits:
    limits = ctx.config.limits
    return RecurrenceLimits(instances_max=limits.expand_instances, steps_max=limits.recurrence_steps)


def spend_instances(ctx: Ctx, count: int) -> None:
    """Counts occurrences that an answer writes out.

    Raises DavError(403, number-of-matches-within-limits) when one request has asked for more than
    limits.expand_instances, over all objects (RFC 4791 §7.8).
    """
    ctx.expanded += count
    if ctx.expanded >= ctx.config.limits.expand_instances:
        raise DavError(403, d("number-of-matches-within-limits"), "The range asked for holds too many occurrences.")


def description_property(name: str, rfc: str, kinds: frozenset[str]) -> Property:
    """calendar-description and addressbook-description are the same column."""
    return Property(name, rfc, kinds, _description, parse=text_of, write=_write_description)


def _description(ctx: Ctx, node: Node) -> str | None:
    text = node.front.description if node.front is not None else None
    return None if text is None else escape(text)


def _write_description(ctx: Ctx, node: Node, value: str | None) -> None:
    assert node.front is not None
    collections.update_collection(ctx.conn, node.front.id, now_s=ctx.now_s, description=value)


def _home_set(ctx: Ctx, node: Node) -> str | None:
    return href_element(ctx.urls.home("calendars", node.owner.name)) if node.owner is not None else None


def _addresses(ctx: Ctx, node: Node) -> str | None:
    if node.owner is None:
        return None
    # The primary address first: clients take the first mailto: as the organizer.
    hrefs = [f"mailto:{address}" for address in node.owner.addresses]
    return "".join(href_element(href) for href in (*hrefs, ctx.urls.principal(node.owner.name)))


def _user_type(ctx: Ctx, node: Node) -> str | None:
    return node.owner.kind.upper() if node.owner is not None else None


def _time_zone(ctx: Ctx, node: Node) -> str | None:
    collection = node.front
    if collection is None:
        return None
    if collection.time_zone:
        return escape(collection.time_zone)
    if collection.time_zone_id:
        year_s = 366 * 86_400
        text = vtimezone_for(collection.time_zone_id, ctx.now_s - year_s, ctx.now_s + 5 * year_s)
        return escape(
            f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Davenport//EN\r\n{text.rstrip()}\r\nEND:VCALENDAR\r\n"
        )
    return None


def time_zone_text(element: Element) -> str:
    """The text of C:calendar-timezone or C:timezone (RFC 4791 §5.2.2, §9.8): iCalendar with exactly one VTIMEZONE.

    Raises DavError(403, valid-calendar-data).
    """
    text = "".join(str(part) for part in element.itertext())
    try:
        document = lines.read(text.strip().encode())
        calendars = document.components
        good = len(calendars) == 1 and calendars[0].name == "VCALENDAR"
        good = good and [item.name for item in calendars[0].components] == ["VTIMEZONE"]
    except (lines.LineError, ValueError):
        good = False
    if not good or vtimezone_text_zone(text) is None:
        raise DavError(403, c("valid-calendar-data"), "A time zone is given by exactly one VTIMEZONE.")
    return text


def _write_time_zone(ctx: Ctx, node: Node, value: str | None) -> None:
    assert node.front is not None
    zone = vtimezone_text_zone(value) if value else None
    collections.update_collection(
        ctx.conn, node.front.id, now_s=ctx.now_s, time_zone=value, time_zone_id=zone.key if zone else None
    )


def _time_zone_id(ctx: Ctx, node: Node) -> str | None:
    collection = node.front
    if collection is None:
        return None
    # RFC 7809 §3.1.5: the value is the TZID that stands in calendar-timezone, whatever zone we take it for.
    zone_id = _text_tzid(collection.time_zone) if collection.time_zone else collection.time_zone_id
    return escape(zone_id) if zone_id else None


@lru_cache(maxsize=256)
def _text_tzid(text: str) -> str | None:
    """The TZID of the first VTIMEZONE in iCalendar text."""
    try:
        components = lines.read(text.encode()).components
    except lines.LineError:
        return None
    inside = (item for calendar in components for item in calendar.components if item.name == "VTIMEZONE")
    return next((item.value("TZID") for item in inside), None)


def _parse_time_zone_id(element: Element) -> str:
    zone = named_zone(text_of(element))
    if zone is None or zone.key is None:
        raise DavError(403, c("valid-timezone"), "This time zone is not known here.")  # RFC 7809 §3.1.5
    return zone.key


def _write_time_zone_id(ctx: Ctx, node: Node, value: str | None) -> None:
    assert node.front is not None
    # RFC 7809 §3.1.5: the two properties describe the same zone; the text is then made from the name.
    collections.update_collection(ctx.conn, node.front.id, now_s=ctx.now_s, time_zone=None, time_zone_id=value)


def _components(ctx: Ctx, node: Node) -> str:
    names = (node.collection.components if node.collection is not None else ()) or COMPONENTS
    return "".join(f'<C:comp name="{escape(name)}"/>' for name in names)


def _parse_components(element: Element) -> tuple[str, ...]:
    names = tuple(dict.fromkeys((child.get("name") or "").upper() for child in children(element)))
    if not names or not set(names) <= _KNOWN_COMPONENTS:
        # RFC 4791 §5.3.1.2: refuse what a calendar here cannot hold.
        raise DavError(403, c("supported-calendar-component"), "A calendar holds VEVENT, VTODO or VJOURNAL.")
    return names


def _write_components(ctx: Ctx, node: Node, value: tuple[str, ...] | None) -> None:
    assert node.collection is not None
    collections.update_collection(ctx.conn, node.collection.id, now_s=ctx.now_s, components=value or ())


def _data_types(ctx: Ctx, node: Node) -> str:
    return '<C:calendar-data content-type="text/calendar" version="2.0"/>'


def _transparent(ctx: Ctx, node: Node) -> str:
    return "<C:transparent/>" if node.front is not None and node.front.transparent else "<C:opaque/>"


def _parse_transparent(element: Element) -> bool:
    found = [child.tag for child in children(element)]
    if found not in ([c("opaque")], [c("transparent")]):
        raise DavError(409, detail="schedule-calendar-transp holds opaque or transparent.")
    return found == [c("transparent")]


def _write_transparent(ctx: Ctx, node: Node, value: bool | None) -> None:
    assert node.front is not None
    collections.update_collection(ctx.conn, node.front.id, now_s=ctx.now_s, transparent=bool(value))


def _collations(ctx: Ctx, node: Node) -> str:
    return "".join(f"<C:supported-collation>{escape(name)}</C:supported-collation>" for name in sorted(COLLATIONS))


def _calendar_data(selection: Selection) -> Getter:
    wanted = selection.data

    def get(ctx: Ctx, node: Node) -> str | None:
        if node.body is None:
            return None
        zones = wants_zones(ctx.request)
        whole = wanted is None or wanted.whole
        if zones is not None or not whole:
            ctx.leave_lane()
        body = by_reference.as_wanted(node.body, zones)
        if wanted is None or whole:
            return escape(decode(body))
        return _rendered(ctx, wanted, node.zone or zone_of(ctx, node), body)

    return get


def _rendered(ctx: Ctx, wanted: CalendarData, zone: Zone, body: bytes) -> str:
    known = ctx.config.limits
    most = max(1, known.expand_instances - ctx.expanded)
    limits = RecurrenceLimits(most, known.recurrence_steps, known.expand_memory)
    body = render.render(body, wanted, floating_zone=zone, limits=limits)
    if wanted.expand is not None:
        # What is long counts once for each KiB: 20,000 times a description of a megabyte is no answer either.
        spend_instances(ctx, max(body.count(b"\nBEGIN:"), len(body) // 1024))
    return escape(decode(body))


def _data_listed(ctx: Ctx, kind: str, selection: Selection) -> Cell | None:
    wanted = selection.data
    if wants_zones(ctx.request) is not None:
        return None
    if wanted is None or wanted.whole:
        return Cell("content", text=_as_text)

    def of_collection(node: Node) -> Callable[[bytes], str]:
        ctx.leave_lane()
        return partial(_rendered, ctx, wanted, node.zone or zone_of(ctx, node))

    return Cell("content", bind=of_collection)


def _as_text(body: bytes) -> str:
    return escape(decode(body))


ROWS = (
    Property(c("calendar-home-set"), "4791 §6.2.1", frozenset({"principal", "calendar-home"}), _home_set),
    Property(c("calendar-user-address-set"), "6638 §2.4.1", frozenset({"principal", "calendar-home"}), _addresses),
    Property(c("calendar-user-type"), "6638 §2.4.2", frozenset({"principal"}), _user_type),
    description_property(c("calendar-description"), "4791 §5.2.1", _CALENDARS),
    Property(c("calendar-timezone"), "4791 §5.2.2", _SCHEDULED, _time_zone, parse=time_zone_text,
             write=_write_time_zone),
    Property(c("calendar-timezone-id"), "7809 §5.2", _SCHEDULED, _time_zone_id, parse=_parse_time_zone_id,
             write=_write_time_zone_id),
    Property(c("supported-calendar-component-set"), "4791 §5.2.3", _SCHEDULED | {"subscribed"}, _components,
             parse=_parse_components, write=_write_components, at_creation=True),
    Property(c("supported-calendar-data"), "4791 §5.2.4", _SCHEDULED, _data_types),
    Property(c("max-resource-size"), "4791 §5.2.5", _SCHEDULED,
             lambda ctx, node: str(ctx.config.limits.resource_bytes)),
    Property(c("min-date-time"), "4791 §5.2.6", _SCHEDULED, lambda ctx, node: rules.MIN_DATE_TIME),
    Property(c("max-date-time"), "4791 §5.2.7", _SCHEDULED, lambda ctx, node: rules.MAX_DATE_TIME),
    Property(c("max-instances"), "4791 §5.2.8", _SCHEDULED, lambda ctx, node: str(ctx.config.limits.instances)),
    Property(c("max-attendees-per-instance"), "4791 §5.2.9", _SCHEDULED | {"calendar-home"},
             lambda ctx, node: str(ctx.config.limits.attendees)),
    Property(c("schedule-calendar-transp"), "6638 §9.1", _CALENDAR, _transparent, parse=_parse_transparent,
             write=_write_transparent),
    Property(c("supported-collation-set"), "4791 §7.5.1", _SCHEDULED | {"calendar-home"}, _collations),
    Property(c("calendar-data"), "4791 §9.6", frozenset({"event"}), bind=_calendar_data,
             listed=_data_listed, body=True),
)  # fmt: skip
