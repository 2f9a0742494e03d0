"""A calendar object as scheduling sees it: its instances, its organizer, and who is invited to which instance.

Read once from a component tree; what changes it are the line edits of `edit`.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field

from dav.ical.lines import Component, Line, LineError, read
from dav.ical.recur import CalendarObject, Moment, calendar_object, moment
from dav.ical.tz import UTC, Zones
from dav.scheduling.addresses import normalise

MASTER = ""
METHODS = frozenset({"PUBLISH", "REQUEST", "REPLY", "ADD", "CANCEL", "REFRESH", "COUNTER", "DECLINECOUNTER"})
PARTS_MAX = 5_000


class ItipError(ValueError):
    """A message cannot be used. The text is a sentence that a person understands."""


def agent_of(line: Line) -> str:
    """SERVER, CLIENT or NONE; RFC 6638 §7.1: what is unknown counts as NONE, nothing as SERVER."""
    value = line.param("SCHEDULE-AGENT")
    if value is None:
        return "SERVER"
    value = value.strip().upper()
    return value if value in ("SERVER", "CLIENT") else "NONE"


def partstat_of(line: Line) -> str:
    """The participation status, in capitals; NEEDS-ACTION when there is none (RFC 5545 §3.2.12)."""
    return (line.param("PARTSTAT") or "NEEDS-ACTION").strip().upper()


def address_of(line: Line) -> str:
    """The normalised calendar user address of an ORGANIZER or ATTENDEE line."""
    return normalise(line.value)


def attendees_of(component: Component) -> dict[str, Line]:
    """ATTENDEE lines by normalised address, in order; of two for one address the first counts."""
    found: dict[str, Line] = {}
    for line in component.all("ATTENDEE"):
        address = address_of(line)
        if address:
            found.setdefault(address, line)
    return found


def organizer_of(component: Component) -> str:
    """The normalised address of the organizer, "" when the component has none."""
    line = component.first("ORGANIZER")
    return "" if line is None else address_of(line)


def number_of(component: Component, name: str = "SEQUENCE") -> int:
    """A whole number such as SEQUENCE; 0 when it is missing or is none."""
    text = (component.value(name) or "").strip()
    return min(int(text), 2**31 - 1) if text.isascii() and text.isdigit() and len(text) <= 12 else 0


def key_of(line: Line, zones: Zones, start: Moment | None = None) -> str:
    """The key of the instance that a RECURRENCE-ID or EXDATE value names; see `key_of_moment`.

    Raises ValueError when the value is no date or time.
    """
    return key_of_moment(moment(line, zones), start)


def key_of_moment(at: Moment, start: Moment | None = None) -> str:
    """An instance's name: the instant in UTC (20260104T090000Z), a date, or a floating time (20260104T100000).

    start: DTSTART of the series. A time without a zone is read in its zone, and a UTC time names a date of an all-day
    series or a floating one by its own clock, so that what Google (UTC) and Exchange (Windows zones) send is found.
    """
    if start is not None and start.kind == "date":
        return f"{at.local:%Y%m%d}" if at.local.year >= 1000 else at.value[:8]
    if at.kind == "date":
        if start is None:
            return at.value
        at = start.moved_to(at.local.replace(hour=start.local.hour, minute=start.local.minute,
                                             second=start.local.second))  # fmt: skip
    if at.kind == "floating" and start is not None and start.zone is not None:
        at = start.moved_to(at.local)
    if at.zone is None:
        return at.value
    local = UTC.to_local(at.zone.to_utc(at.local))
    return Moment(local, "utc", UTC).value


def start_of(component: Component | None, zones: Zones) -> Moment | None:
    """DTSTART, or DUE where there is none; None when it cannot be read."""
    if component is None:
        return None
    line = component.first("DTSTART") or component.first("DUE")
    if line is None:
        return None
    try:
        return moment(line, zones)
    except ValueError:
        return None


@dataclass(slots=True)
class SchedulingObject:
    """A calendar object by instances. parts: MASTER ("") and keys of overrides (`key_of_moment`) → component."""

    calendar: Component
    obj: CalendarObject
    parts: dict[str, Component] = field(default_factory=dict)
    start: Moment | None = None

    @property
    def uid(self) -> str:
        return self.obj.uid or ""

    @property
    def kind(self) -> str:
        """VEVENT, VTODO, …"""
        return self.obj.name

    @property
    def zones(self) -> Zones:
        return self.obj.zones

    @property
    def master(self) -> Component | None:
        return self.parts.get(MASTER)

    @property
    def organizer(self) -> str:
        """The normalised address of the organizer, "" when no component has one."""
        return next((address for address in map(organizer_of, self.parts.values()) if address), "")

    @property
    def sequence(self) -> int:
        """The largest SEQUENCE of all components."""
        return max(map(number_of, self.parts.values()), default=0)

    def all_attendees(self) -> dict[str, list[tuple[str, Line]]]:
        """Normalised address → (key of part, ATTENDEE line), in order of first appearance."""
        found: dict[str, list[tuple[str, Line]]] = {}
        for key, component in self.parts.items():
            for address, line in attendees_of(component).items():
                found.setdefault(address, []).append((key, line))
        return found

    def exdates(self) -> frozenset[str]:
        """Keys of the instances that the master leaves out; values that cannot be read are skipped."""
        return frozenset(key for key, _ in exdates_of(self.master, self.zones, self.start))

    def to_bytes(self) -> bytes:
        return self.calendar.to_bytes()


def exdates_of(master: Component | None, zones: Zones, start: Moment | None) -> Iterator[tuple[str, Line]]:
    """(key, its EXDATE line) for each value of EXDATE."""
    if master is None:
        return
    for line in master.all("EXDATE"):
        for value in line.value.split(","):
            single = Line(line.name, line.group, value.strip(), b"", line.number, line.head)
            try:
                yield key_of(single, zones, start), line
            except ValueError:
                continue


def scheduling_object(calendar: Component | CalendarObject) -> SchedulingObject:
    """The object in a VCALENDAR. Overrides whose RECURRENCE-ID cannot be read keep its text as their key."""
    obj = calendar if isinstance(calendar, CalendarObject) else calendar_object(calendar)
    start = start_of(obj.master, obj.zones)
    found = SchedulingObject(obj.calendar, obj, {}, start)
    for component in obj.components[:PARTS_MAX]:
        line = component.first("RECURRENCE-ID")
        if line is None:
            key = MASTER
        else:
            try:
                key = key_of(line, obj.zones, start)
            except ValueError:
                key = line.value.strip()
        if key == MASTER:
            found.parts.setdefault(key, component)
        else:
            found.parts[key] = component  # of two for one instance the later one, as in dav.ical.recur
    return found


def read_object(body: bytes) -> SchedulingObject:
    """The object in a stored body. Raises ItipError when it is no calendar."""
    return scheduling_object(_calendar(body))


def _calendar(body: bytes) -> Component:
    try:
        document = read(body, lines_max=100_000, params_max=200_000)
    except LineError as error:
        raise ItipError(f"The calendar data cannot be read: {error}.") from None
    calendars = [item for item in document.components if item.name == "VCALENDAR"]
    if len(calendars) != 1:
        raise ItipError("Exactly one VCALENDAR is needed.")
    return calendars[0]


@dataclass(slots=True)
class Itip:
    """One iTIP message as it came. method: in capitals. object: what it says."""

    method: str
    object: SchedulingObject

    @property
    def uid(self) -> str:
        return self.object.uid

    @property
    def sequence(self) -> int:
        return self.object.sequence

    @property
    def dtstamp(self) -> str:
        """The newest DTSTAMP of its components as "20260104T090000Z", "" when none can be read."""
        return max((stamp_of(component) for component in self.object.parts.values()), default="")


def stamp_of(component: Component) -> str:
    """DTSTAMP as it is written when it is a UTC time, else "" (RFC 5545 §3.8.7.2 demands UTC)."""
    text = (component.value("DTSTAMP") or "").strip().upper()
    return text if len(text) == 16 and text[8] == "T" and text[15] == "Z" and (text[:8] + text[9:15]).isdigit() else ""


def read_itip(body: bytes, *, method: str = "") -> Itip:
    """A message from its bytes. method: what the media type says, when it says so; the body's must be the same.

    Raises ItipError with the reason.
    """
    return itip_of(_calendar(body), method=method)


def itip_of(calendar: Component, *, method: str = "") -> Itip:
    """The message in a VCALENDAR. Raises ItipError."""
    inside = (calendar.value("METHOD") or "").strip().upper()
    wanted = method.strip().upper()
    if inside and wanted and inside != wanted:
        raise ItipError("The method of the message and that of its calendar are not the same.")  # RFC 6047 §2.4
    if not (inside or wanted):
        raise ItipError("The calendar has no METHOD, so it is no message.")
    found = scheduling_object(calendar)
    if not found.parts or not found.uid:
        raise ItipError("The message has no component with a UID.")
    if len({component.value("UID") for component in found.obj.components}) != 1:
        raise ItipError("The message is about more than one UID.")
    if (inside or wanted) not in METHODS:
        raise ItipError(f"The method {(inside or wanted)[:30]!r} is not known.")
    return Itip(inside or wanted, found)
