"""May this body be stored as one calendar object resource? (RFC 4791 §4.1, §5.3.2.1; RFC 5545)

Three outcomes. Good: stored as sent. Good enough: it breaks a rule that other servers overlook too, because a client in
use breaks it; stored as sent, and each such rule has a line in TOLERATED. Refused: DavError with the precondition that
is violated and a sentence that names line and property. The bytes are never changed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass

from dav.errors import DavError
from dav.ical.lines import Component, Document, Line, LineError, read
from dav.ical.recur import CalendarObject, Moment, Period, anchored, calendar_object, duration, moment, periods
from dav.ical.rrule import RuleError, UnsupportedScale, parse_rule
from dav.ical.tz import OBSERVANCES_MAX, UTC
from dav.names import c

# What CALDAV:min-date-time and max-date-time announce (RFC 4791 §5.2.6, §5.2.7): the calendar that we can count in.
MIN_DATE_TIME = "00010101T000000Z"
MAX_DATE_TIME = "99991231T235959Z"
_MIN_S = -62_135_596_800
_MAX_S = 253_402_300_799

# Values of RDATE, EXDATE and FREEBUSY, and overrides, in one object; each is read several times.
DATES_MAX = 5_000
RULES_MAX = 100
ZONES_MAX = 100

MAIN_COMPONENTS = ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY", "VPOLL")
_NAME = re.compile(r"[A-Z0-9_-]+", re.ASCII)
_ONCE = ("UID", "DTSTART", "DTEND", "DUE", "DURATION", "RECURRENCE-ID")
_YEAR_ZERO = re.compile(r"0000[0-9]{4}(?:T|$)", re.ASCII)
_FOLD = re.compile(rb"\r?\n[ \t]")
_CR_FOLD = re.compile(rb"\r[ \t]")
_CONTROLS = re.compile(rb"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


def check_calendar(
    body: bytes,
    *,
    components: tuple[str, ...] = (),
    resource_bytes_max: int | None = None,
    instances_max: int | None = None,
    attendees_max: int | None = None,
    lines_max: int = 1_000_000,
    params_max: int | None = None,
    rules_max: int = RULES_MAX,
    dates_max: int = DATES_MAX,
    zones_max: int = ZONES_MAX,
    observances_max: int = OBSERVANCES_MAX,
) -> CalendarObject:
    """Read and check a body for a calendar collection.

    components: what the collection takes, () = all. resource_bytes_max, instances_max (of COUNT, RDATE and overrides;
    a rule without end has no number), attendees_max (a component): limits that the collection announces, None = none.
    dates_max (RDATE, EXDATE, FREEBUSY, overrides, together; most are no instances in the sense of max-instances),
    lines_max, params_max (of all lines), rules_max (RRULE and EXRULE), zones_max (time zones that are named or
    defined), observances_max (STANDARD and DAYLIGHT blocks in all of them): valid-calendar-data for more.
    Raises DavError(403, one of C:valid-calendar-data, valid-calendar-object-resource, supported-calendar-component,
    supported-rscale, max-resource-size, max-instances, max-attendees-per-instance, min-date-time, max-date-time).
    """
    if resource_bytes_max is not None and len(body) > resource_bytes_max:
        raise DavError(403, c("max-resource-size"), f"{len(body)} bytes; at most {resource_bytes_max} are taken.")
    calendar = _read_calendar(body, lines_max, params_max)
    obj = calendar_object(calendar)
    _check_shape(calendar, obj, components)
    checker = _Checker(obj, instances_max, attendees_max, rules_max, dates_max, zones_max)
    checker.check_zones(calendar, observances_max)
    for component in obj.components:
        checker.check(component)
    return obj


def _bad_data(line: Line, sentence: str) -> DavError:
    where = f"Line {line.number}" + (f", {line.name[:40]}" if line.name else "")
    return DavError(403, c("valid-calendar-data"), f"{where}: {sentence}")


def _bad_object(sentence: str) -> DavError:
    return DavError(403, c("valid-calendar-object-resource"), sentence)


def _read_calendar(body: bytes, lines_max: int, params_max: int | None) -> Component:
    """The one VCALENDAR of a body."""
    folded = None if b"\n" in body else _CR_FOLD.search(body)
    if folded is not None:
        # Bare CR is overlooked as a line end, but before a blank it may as well be a stray one inside a value.
        number = body.count(b"\r", 0, folded.start()) + 1
        raise DavError(403, c("valid-calendar-data"), f"Line {number}: a line is folded by CR without LF.")
    try:
        document = read(body, lines_max=lines_max, params_max=params_max)
    except LineError as error:
        raise DavError(403, c("valid-calendar-data"), f"{str(error)[:1].upper()}{str(error)[1:]}.") from None
    calendars = [component for component in document.components if component.name == "VCALENDAR"]
    if not calendars:
        raise DavError(403, c("valid-calendar-data"), "Line 1: there is no BEGIN:VCALENDAR.")
    for component in document.components:
        if component.name != "VCALENDAR":
            raise _bad_data(component.begin, f"{component.name[:40]} stands outside VCALENDAR.")
    if document.stray:
        raise _bad_data(document.stray[0], "this line stands outside VCALENDAR.")
    if len(calendars) > 1:
        number = calendars[1].begin.number
        raise _bad_object(f"Line {number}: a second VCALENDAR begins; one resource holds one (RFC 4791 §4.1).")
    calendar = calendars[0]
    version = calendar.first("VERSION")
    if version is not None and version.value.strip() != "2.0":
        raise _bad_data(version, f"version {version.value[:20]!r} is not iCalendar 2.0.")
    scale = calendar.first("CALSCALE")
    if scale is not None and scale.value.strip().upper() != "GREGORIAN":
        raise _bad_data(scale, f"the calendar scale {scale.value[:20]!r} is not supported.")
    _check_names(calendar)
    return calendar


def _check_names(component: Component) -> None:
    """Every line has a name. The depth of components is bounded by the reader."""
    for item in component.items:
        if isinstance(item, Component):
            _check_names(item)
        elif not item.name:
            if item.raw.strip():
                raise _bad_data(item, "this is no content line; there is no colon.")
        elif not (item.name.isascii() and item.name.isalpha()) and not _NAME.fullmatch(item.name):
            raise _bad_data(item, "this is no property name.")


def _check_shape(calendar: Component, obj: CalendarObject, allowed: tuple[str, ...]) -> None:
    """RFC 4791 §4.1: one type of component, one UID, one master."""
    if not obj.components:
        raise _bad_object("There is no component but VTIMEZONE in it.")
    for component in calendar.components:
        if component.name == "VTIMEZONE" or component.name.startswith("X-"):
            continue
        if component.name not in MAIN_COMPONENTS:
            raise DavError(
                403,
                c("supported-calendar-component"),
                f"Line {component.begin.number}: {component.name[:40]} is not a component of a calendar.",
            )
        if component.name != obj.name:
            raise _bad_object(
                f"Line {component.begin.number}: {component.name} beside {obj.name}; "
                "one resource holds one type of component (RFC 4791 §4.1)."
            )
    if allowed and obj.name not in allowed:
        raise DavError(
            403, c("supported-calendar-component"), f"This calendar takes {', '.join(allowed)}, not {obj.name}."
        )
    masters = 0
    for component in obj.components:
        uid = component.first("UID")
        if uid is None or not uid.value.strip():
            raise _bad_data(component.begin, f"the {obj.name} has no UID.")
        # RFC 7953 §3.1: availability comes as several components, each with a UID of its own.
        if uid.text != obj.uid and obj.name != "VAVAILABILITY":
            raise _bad_object(f"Line {uid.number}, UID: a second UID; one resource holds one (RFC 4791 §4.1).")
        if component.first("RECURRENCE-ID") is None:
            masters += 1
            if masters > 1 and obj.name != "VAVAILABILITY":
                raise _bad_object(
                    f"Line {component.begin.number}: a second {obj.name} without RECURRENCE-ID for the same UID."
                )


class _Checker:
    """What must hold in each component of one object."""

    def __init__(
        self,
        obj: CalendarObject,
        instances_max: int | None,
        attendees_max: int | None,
        rules_max: int,
        dates_max: int,
        zones_max: int,
    ) -> None:
        self.obj, self.zones = obj, obj.zones
        self.instances_max, self.attendees_max = instances_max, attendees_max
        self.rules_max, self.dates_max, self.zones_max = rules_max, dates_max, zones_max
        self.rules = self.dates = self.instances = 0
        if obj.overrides:
            self._count_dates(obj.overrides[-1].begin, len(obj.overrides), instances=True)

    def check_zones(self, calendar: Component, observances_max: int) -> None:
        """The definitions count with the dates and rules in them, also those that are never looked at."""
        definitions = observances = rules = 0
        for zone in calendar.items:
            if not isinstance(zone, Component) or zone.name != "VTIMEZONE":
                continue
            definitions += 1
            if definitions > self.zones_max:
                raise self._too_many_zones(zone.begin)
            for block in zone.items:
                if not isinstance(block, Component):
                    continue
                observances += 1
                if observances > observances_max:
                    raise _bad_data(
                        block.begin, f"more than {observances_max} blocks in VTIMEZONE are too many to be a time zone."
                    )
                for item in block.items:
                    if isinstance(item, Line) and item.name == "RDATE":
                        self._count_dates(item, item.value.count(",") + 1)
                    elif isinstance(item, Line) and item.name == "RRULE":
                        rules += 1
                        if rules > observances_max:
                            raise _bad_data(item, f"more than {observances_max} rules in VTIMEZONE are too many.")

    def _count_dates(self, line: Line, more: int, *, instances: bool = False) -> None:
        self.dates += more
        if instances:
            self.instances += more
            if self.instances_max is not None and self.instances > self.instances_max:
                raise self._too_many_instances(line, f"more than {self.instances_max}")
        if self.dates > self.dates_max:
            raise _bad_data(line, f"more than {self.dates_max} dates and changed occurrences are listed in one object.")

    def _too_many_instances(self, line: Line, number: str) -> DavError:
        return DavError(
            403,
            c("max-instances"),
            f"Line {line.number}, {line.name}: {number} instances; at most {self.instances_max} are taken.",
        )

    def _too_many_zones(self, line: Line) -> DavError:
        return _bad_data(line, f"more than {self.zones_max} time zones are too many for one object.")

    def check(self, component: Component) -> None:
        lines: dict[str, Line] = {}
        attendees = 0
        for item in component.items:
            if isinstance(item, Component):
                if item.name in MAIN_COMPONENTS or item.name in ("VCALENDAR", "VTIMEZONE"):
                    raise _bad_data(item.begin, f"{item.name} stands inside {component.name}.")
                continue
            name = item.name
            if name == "ATTENDEE":
                attendees += 1
            elif name in _ONCE:
                if name in lines:
                    raise _bad_data(item, f"a second {name} in one {component.name}.")
                lines[name] = item
            elif name in ("RRULE", "EXRULE"):
                self._check_rule(item)
            elif name in ("RDATE", "EXDATE", "FREEBUSY"):
                self._check_dates(item)
        if self.attendees_max is not None and attendees > self.attendees_max:
            raise DavError(
                403,
                c("max-attendees-per-instance"),
                f"{attendees} ATTENDEE lines in one {component.name}; at most {self.attendees_max} are taken.",
            )
        self._check_times(component, lines)

    def _check_times(self, component: Component, lines: dict[str, Line]) -> None:
        if component.name == "VEVENT" and "DTSTART" not in lines:
            raise _bad_data(component.begin, "the VEVENT has no DTSTART.")
        found = {name: self._moment(line) for name, line in lines.items() if name not in ("UID", "DURATION")}
        start = found.get("DTSTART")
        end_name = "DUE" if component.name == "VTODO" else "DTEND"
        end = found.get(end_name)
        if start is not None and end is not None:
            line = lines[end_name]
            mixed = (start.kind == "date") != (end.kind == "date")
            if mixed and component.name != "VTODO":
                raise _bad_data(line, "one of DTSTART and this is a DATE, the other a DATE-TIME.")
            end = anchored(end, start)
            # A zone that nobody knows, or one of two that floats, leaves open which is earlier.
            known = all(m.zone is not None or m.tzid is None for m in (start, end))
            known = known and (start.zone is None) == (end.zone is None)
            if known and end.seconds(UTC) < start.seconds(UTC) and component.name != "VTODO":
                raise _bad_data(line, "this is before DTSTART.")
        if "DURATION" in lines:
            try:
                length = duration(lines["DURATION"].value)
            except ValueError as error:
                raise _bad_data(lines["DURATION"], f"{error}.") from None
            if length.days < 0 or length.seconds < 0:
                raise _bad_data(lines["DURATION"], "the duration is negative.")

    def _moment(self, line: Line) -> Moment:
        try:
            found = moment(line, self.zones)
        except ValueError as error:
            if _YEAR_ZERO.match(line.value.strip()):
                raise self._too_early(line) from None
            raise _bad_data(line, f"{error}.") from None
        if self.zones.count > self.zones_max:
            raise self._too_many_zones(line)
        kind = (line.param("VALUE") or "").upper()
        if kind == "DATE" and found.kind != "date":
            raise _bad_data(line, "VALUE=DATE, but the value is a DATE-TIME.")
        self._check_bounds(line, found)
        return found

    def _check_bounds(self, line: Line, found: Moment) -> None:
        if 2 < found.local.year < 9998:
            return
        seconds = found.seconds(UTC)
        if seconds < _MIN_S:
            raise self._too_early(line)
        if seconds > _MAX_S:
            raise DavError(403, c("max-date-time"), f"Line {line.number}, {line.name}: later than {MAX_DATE_TIME}.")

    def _too_early(self, line: Line) -> DavError:
        return DavError(403, c("min-date-time"), f"Line {line.number}, {line.name}: earlier than {MIN_DATE_TIME}.")

    def _check_dates(self, line: Line) -> None:
        self._count_dates(line, line.value.count(",") + 1, instances=line.name == "RDATE")
        try:
            found = periods(line, self.zones)
        except ValueError as error:
            raise _bad_data(line, f"{error}.") from None
        if self.zones.count > self.zones_max:
            raise self._too_many_zones(line)
        for period in found:
            self._check_bounds(line, period.start)
            self._check_period(line, period)

    def _check_period(self, line: Line, period: Period) -> None:
        if line.name == "FREEBUSY" and period.end is None and period.length is None:
            raise _bad_data(line, "this is no period.")
        if period.end is not None:
            self._check_bounds(line, period.end)

    def _check_rule(self, line: Line) -> None:
        self.rules += 1
        if self.rules > self.rules_max:
            raise _bad_data(line, f"more than {self.rules_max} recurrence rules are too many for one object.")
        try:
            rule = parse_rule(line.value)
        except UnsupportedScale as error:
            raise DavError(
                403, c("supported-rscale"), f"Line {line.number}, {line.name}: {error} (RFC 7529)."
            ) from None
        except RuleError as error:
            raise _bad_data(line, f"{error}.") from None
        if rule.count is not None and self.instances_max is not None and rule.count > self.instances_max:
            raise self._too_many_instances(line, str(rule.count))


# ---- what is overlooked ----


@dataclass(frozen=True, slots=True)
class Tolerance:
    """A rule that we overlook. rule: what is broken. client: who breaks it. broken: does this body break it?"""

    rule: str
    client: str
    broken: Callable[[bytes, Document, CalendarObject], bool]


def _lacks(name: str) -> Callable[[bytes, Document, CalendarObject], bool]:
    return lambda body, document, obj: any(component.first(name) is None for component in obj.components)


def _calendar_lacks(name: str) -> Callable[[bytes, Document, CalendarObject], bool]:
    return lambda body, document, obj: obj.calendar.first(name) is None


def _component_has(*names: str) -> Callable[[bytes, Document, CalendarObject], bool]:
    return lambda body, document, obj: any(
        all(component.first(name) is not None for name in names) for component in obj.components
    )


def _not_utf8(body: bytes, document: Document, obj: CalendarObject) -> bool:
    try:
        _FOLD.sub(b"", body).decode()
    except UnicodeDecodeError:
        return True
    return False


def _undefined_tzid(body: bytes, document: Document, obj: CalendarObject) -> bool:
    defined = {component.value("TZID") for component in obj.calendar.components if component.name == "VTIMEZONE"}
    return any(
        (line.param("TZID") or None) not in (defined | {None})
        for component in obj.components
        for line in component.lines
    )


def _mixed_exdate(body: bytes, document: Document, obj: CalendarObject) -> bool:
    for component in obj.components:
        start = component.value("DTSTART") or ""
        for name in ("EXDATE", "RDATE", "RECURRENCE-ID"):
            for line in component.all(name):
                if line.value and ("T" in line.value) != ("T" in start):
                    return True
    return False


def _mixed_due(body: bytes, document: Document, obj: CalendarObject) -> bool:
    return any(
        ("T" in start) != ("T" in due)
        for component in obj.components
        if (start := component.value("DTSTART")) and (due := component.value("DUE"))
    )


def _one_floats(body: bytes, document: Document, obj: CalendarObject) -> bool:
    """Not for a DTSTART with a zone, whose DTEND is in it too: that is the rule above."""
    return any(
        (start := component.first("DTSTART")) is not None
        and (end := component.first("DTEND")) is not None
        and start.param("TZID") is None
        and _floats(start) != _floats(end)
        for component in obj.components
    )


def _floats(line: Line) -> bool:
    value = line.value.strip()
    return "T" in value and not value.endswith("Z") and line.param("TZID") is None


def _long_line(body: bytes, document: Document, obj: CalendarObject) -> bool:
    return any(len(line) > 76 for line in body.split(b"\n"))


TOLERATED: tuple[Tolerance, ...] = (
    Tolerance("RFC 5545 §3.6: no PRODID", "web feeds", _calendar_lacks("PRODID")),
    Tolerance("RFC 5545 §3.6: no VERSION", "web feeds", _calendar_lacks("VERSION")),
    Tolerance("RFC 5545 §3.6.1: no DTSTAMP", "KDE, Apple iCal 1.5, DDay.iCal", _lacks("DTSTAMP")),
    Tolerance(
        "RFC 4791 §4.1: METHOD in a stored object",
        "Outlook, Google, Evolution, Lotus Notes: the saved file of an invitation or an export",
        lambda body, document, obj: obj.calendar.first("METHOD") is not None,
    ),
    Tolerance(
        "RFC 5545 §3.2.19: TZID without VTIMEZONE", "Apple Calendar, Outlook and Exchange, Evolution", _undefined_tzid
    ),
    Tolerance("RFC 5545 §3.1: lines longer than 75 octets", "Outlook, Lotus Notes, DavMail, eGroupware", _long_line),
    Tolerance(
        "RFC 5545 §3.1: line ends without CR",
        "files saved on Unix, of any program",
        lambda body, document, obj: body.count(b"\n") != body.count(b"\r\n"),
    ),
    Tolerance(
        "RFC 5545 §3.1: bare CR line ends",
        "files saved by old Mac editors",
        lambda body, document, obj: b"\n" not in body,
    ),
    Tolerance(
        "RFC 5545 §3.1: byte order mark", "Windows editors", lambda body, document, obj: body[:3] == b"\xef\xbb\xbf"
    ),
    Tolerance("RFC 5545 §3.1.4: not UTF-8", "exports in Latin-1 that declare nothing", _not_utf8),
    Tolerance(
        "RFC 5545 §3.1: control characters in a value",
        "titles with pasted text, of any program",
        lambda body, document, obj: _CONTROLS.search(body) is not None,
    ),
    Tolerance("RFC 5545 §3.6.1: DTEND and DURATION both", "Mozilla Calendar", _component_has("DTEND", "DURATION")),
    Tolerance("RFC 5545: EXRULE, which it removed", "exports by RFC 2445 (until 2009)", _component_has("EXRULE")),
    Tolerance(
        "RFC 5545 §3.8.4.4: RRULE in an override",
        "cyrusimap/cyrus-imapd#2346 (bug report)",
        _component_has("RRULE", "RECURRENCE-ID"),
    ),
    Tolerance(
        "RFC 5545 §3.8.5.1: a DATE in a timed series or the reverse", "Exchange 2010, Google Calendar", _mixed_exdate
    ),
    Tolerance(
        "RFC 5545 §3.8.2.2: DTEND equal to DTSTART",
        "flaimo.com iCal class",
        lambda body, document, obj: any(
            component.value("DTEND") is not None and component.value("DTEND") == component.value("DTSTART")
            for component in obj.components
        ),
    ),
    Tolerance(
        "RFC 5545 §3.8.2.2: DTEND without the zone that DTSTART has",
        "Mozilla Calendar",
        lambda body, document, obj: any(
            (end := component.first("DTEND")) is not None
            and (start := component.first("DTSTART")) is not None
            and start.param("TZID") is not None
            and end.param("TZID") is None
            and not end.value.strip().endswith("Z")
            for component in obj.components
        ),
    ),
    Tolerance(
        "RFC 5545 §3.8.2.2: of DTSTART and DTEND one floats, the other does not",
        "CalDAVTester (errors/PUT); Cyrus, Radicale and Xandikos store it",
        _one_floats,
    ),
    Tolerance(
        "RFC 5545 §3.8.2.3: of DTSTART and DUE one is a DATE, the other a DATE-TIME",
        "task programs that know dates only, after another one had set a time",
        _mixed_due,
    ),
    Tolerance(
        "RFC 4791 §4.1: several UIDs, for VAVAILABILITY",
        "RFC 7953's own example",
        lambda body, document, obj: len({component.value("UID") for component in obj.components}) > 1,
    ),
)


def tolerances(body: bytes) -> list[Tolerance]:
    """The rules that an accepted body breaks and that we overlook. Needs: check_calendar(body) did not raise."""
    document = read(body)
    obj = calendar_object(next(component for component in document.components if component.name == "VCALENDAR"))
    return [tolerance for tolerance in TOLERATED if tolerance.broken(body, document, obj)]
