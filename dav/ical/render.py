"""CALDAV:calendar-data as asked for (RFC 4791 §9.6): partial, expanded or limited; and a whole calendar as one stream.

Works by editing lines: whatever the request does not change is returned byte for byte as the client stored it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from operator import itemgetter
from threading import Lock
from typing import TYPE_CHECKING, Any

from dav.errors import DavError
from dav.ical.lines import Component, Line, LineError, escape, fold, read
from dav.ical.make import PRODID, clean, utc_seconds, utc_text
from dav.ical.recur import (
    CalendarObject,
    Duration,
    Limits,
    Moment,
    Occurrence,
    Raw,
    Series,
    Timing,
    calendar_object,
    duration,
    iter_occurrences,
    moment,
    periods,
    series_of,
)
from dav.ical.rrule import Budget, TooManyInstances
from dav.ical.tz import UTC, Zone, without_known_zones
from dav.names import c

if TYPE_CHECKING:
    from dav.xml import Element

ELEMENTS_MAX = 500  # elements of one calendar-data
DEPTH_MAX = 6  # nested comp elements

_RECURRING = ("VEVENT", "VTODO", "VJOURNAL")
_RULES = frozenset({"RRULE", "RDATE", "EXDATE", "EXRULE"})
_TZID = re.compile(r';TZID=(?:"[^"]*"|[^;:"]*)', re.IGNORECASE)
_RANGE = re.compile(r';RANGE=(?:"[^"]*"|[^;:"]*)', re.IGNORECASE)

Range = tuple[int, int]


@dataclass(frozen=True, slots=True)
class CompSelection:
    """RFC 4791 §9.6.1. props: (name, novalue) of the properties to return. comps: components. None = all of them."""

    name: str
    props: tuple[tuple[str, bool], ...] | None = None
    comps: tuple[CompSelection, ...] | None = None


@dataclass(frozen=True, slots=True)
class CalendarData:
    """What a CALDAV:calendar-data element in a request asks for. Ranges: (start, end) in UTC seconds, end exclusive."""

    comp: CompSelection | None = None
    expand: Range | None = None
    limit_recurrence: Range | None = None
    limit_freebusy: Range | None = None
    content_type: str = "text/calendar"
    version: str = "2.0"

    @property
    def whole(self) -> bool:
        """Nothing but the stored bytes is asked for."""
        return (
            self.comp is None and self.expand is None and self.limit_recurrence is None and self.limit_freebusy is None
        )


# ---- from XML ----


def parse_calendar_data(element: Element) -> CalendarData:
    """The value of CALDAV:calendar-data in a request.

    Raises DavError(403, supported-calendar-data) for another media type or version (RFC 4791 §7.8), DavError(400) for
    ranges and selections that mean nothing.
    """
    content_type = element.get("content-type", "text/calendar").partition(";")[0].strip().lower()
    version = element.get("version", "2.0").strip()
    if content_type != "text/calendar" or version != "2.0":
        raise DavError(403, c("supported-calendar-data"), "Calendar data is given as text/calendar, version 2.0.")
    if not len(element):
        return CalendarData()
    if sum(1 for _ in element.iter()) > ELEMENTS_MAX:
        raise DavError(400, detail=f"calendar-data has more than {ELEMENTS_MAX} elements.")
    comp = element.find(c("comp"))
    data = CalendarData(
        None if comp is None else _parse_comp(comp, 1),
        _parse_range(element, "expand"),
        _parse_range(element, "limit-recurrence-set"),
        _parse_range(element, "limit-freebusy-set"),
    )
    if data.comp is not None and data.comp.name != "VCALENDAR":
        raise DavError(400, detail="The outermost comp of calendar-data is VCALENDAR.")
    if data.expand is not None and data.limit_recurrence is not None:
        raise DavError(400, detail="expand and limit-recurrence-set exclude each other (RFC 4791 section 9.6).")
    return data


def _parse_range(parent: Element, local: str) -> Range | None:
    element = parent.find(c(local))
    if element is None:
        return None
    try:
        start_s, end_s = utc_seconds(element.get("start", "")), utc_seconds(element.get("end", ""))
    except ValueError:
        raise DavError(400, detail=f"{local} needs start and end as UTC date-times (20060104T000000Z).") from None
    if end_s <= start_s:
        raise DavError(400, detail=f"The end of {local} must be after its start.")
    return start_s, end_s


def _parse_comp(element: Element, depth: int) -> CompSelection:
    name = (element.get("name") or "").strip().upper()
    if not name or depth > DEPTH_MAX:
        raise DavError(400, detail="A comp in calendar-data has no name, or is nested too deep.")
    if not any(isinstance(child.tag, str) for child in element):
        # RFC 4791 §7.8.1 shows it: <C:comp name="VTIMEZONE"/> returns the whole component.
        return CompSelection(name)
    props: tuple[tuple[str, bool], ...] | None = tuple(
        ((child.get("name") or "").strip().upper(), child.get("novalue", "no") == "yes")
        for child in element.findall(c("prop"))
    )
    comps: tuple[CompSelection, ...] | None = tuple(
        _parse_comp(child, depth + 1) for child in element.findall(c("comp"))
    )
    if element.find(c("allprop")) is not None:
        props = None
    if element.find(c("allcomp")) is not None:
        comps = None
    return CompSelection(name, props, comps)


# ---- the answer ----


def render(body: bytes, data: CalendarData, *, floating_zone: Zone, limits: Limits) -> bytes:
    """The body as data asks for it; the same bytes object when it asks for nothing special.

    An object that cannot be read is given as it is. Expansion stops after limits.instances_max instances,
    or as many KiB of them.
    """
    if data.whole:
        return body
    if data.expand is not None:
        return _expanded(body, data, data.expand, floating_zone, limits)
    try:
        document = read(body)
    except LineError:
        return body
    parts: list[bytes] = []
    for calendar in document.components:
        _Writer(calendar, data, floating_zone).write(parts, limits)
    return b"".join(parts)


def _expanded(body: bytes, data: CalendarData, span_s: Range, zone: Zone, limits: Limits) -> bytes:
    # A zone without a name, and one that the object defines itself, are not the same for the next request.
    remembered = len(body) <= _REMEMBERED_BODY_BYTES and zone.key is not None and data.limit_freebusy is None
    key = (body, data.comp, zone.key)
    expansions = _remembered.get(key) if remembered else None
    if expansions is None:
        try:
            document = read(without_known_zones(body))  # an expanded object has no VTIMEZONE (RFC 4791 §9.6.5)
        except LineError:
            return body
        expansions = [_Writer(calendar, data, zone).expansion() for calendar in document.components]
        if remembered and all(expansion.settle() for expansion in expansions):
            weight = len(body) + sum(expansion.weight for expansion in expansions)
            _remembered.put(key, expansions, weight, limits.memory_bytes)
    parts: list[bytes] = []
    for expansion in expansions:
        expansion.write(parts, span_s, limits)
    return b"".join(parts)


class _Writer:
    """One VCALENDAR of the body on its way into the answer."""

    def __init__(self, calendar: Component, data: CalendarData, zone: Zone) -> None:
        self.calendar, self.data, self.zone = calendar, data, zone
        self.eol = line_end(calendar.begin.raw)
        self.obj = calendar_object(calendar)
        self.zones = self.obj.zones

    def write(self, parts: list[bytes], limits: Limits) -> None:
        """The calendar, not expanded."""
        calendar, data = self.calendar, self.data
        selection = data.comp
        if selection is not None and selection.name != calendar.name:
            return
        if data.limit_recurrence is not None:
            calendar = self._limit_recurrence(calendar, data.limit_recurrence, limits)
        if data.limit_freebusy is not None:
            calendar = self._limit_freebusy(calendar, data.limit_freebusy)
        parts.append(_select(calendar, selection, self.eol).to_bytes())

    def _of_type(self, name: str) -> CalendarObject:
        """The object of one component type; bodies that hold several are wrong, but they exist."""
        if self.obj.name == name:
            return self.obj
        items = [
            item for item in self.calendar.items if isinstance(item, Component) and item.name in (name, "VTIMEZONE")
        ]
        return calendar_object(Component("VCALENDAR", self.calendar.begin, list(items), self.calendar.end))

    # -- expand, RFC 4791 §9.6.5 --

    def expansion(self) -> _Expansion:
        """The calendar, ready to be expanded for any range."""
        calendar, selection = self.calendar, self.data.comp
        found = _Expansion(self)
        if selection is not None and selection.name != calendar.name:
            return found
        if self.data.limit_freebusy is not None:
            calendar = self._limit_freebusy(calendar, self.data.limit_freebusy)
        parts = [calendar.begin.raw]
        shown = (_select_line(line, selection, self.eol) for line in calendar.lines)
        parts += [line.raw for line in shown if line is not None]
        series: set[str] = set()
        for item in calendar.items:
            if not isinstance(item, Component) or item.name == "VTIMEZONE":
                continue
            inner, wanted = _selected(selection, item.name)
            if not wanted or item.name in series:
                continue
            if item.name not in _RECURRING:
                self._static(_select(item, inner, self.eol), parts)
                continue
            series.add(item.name)
            found.parts += (b"".join(parts), _Instances(self, self._of_type(item.name), inner))
            parts = []
        if calendar.end is not None:
            parts.append(_closed(calendar.end.raw))
        found.parts.append(b"".join(parts))
        return found

    def undated(self, obj: CalendarObject, selection: CompSelection | None) -> bytes:
        """RFC 4791 §9.9: a task without any date overlaps every range."""
        parts: list[bytes] = []
        if obj.name == "VTODO":
            for todo in obj.components:
                if not any(todo.first(name) for name in ("DTSTART", "DUE", "COMPLETED", "CREATED", "RECURRENCE-ID")):
                    self._static(_select(todo, selection, self.eol), parts)
        return b"".join(parts)

    def template(self, component: Component, selection: CompSelection | None, fixed: bool, series: Series) -> _Template:
        """What the instances of a component are written from. fixed: it is one instance, at its own time."""
        template = _Template()
        shown = _select(component, selection, self.eol)
        if fixed:
            static: list[bytes] = []
            self._static(shown, static, component)
            template.add(b"".join(static))
            return template
        template.add(shown.begin.raw)
        named = selection is None or selection.props is None or any(n == "RECURRENCE-ID" for n, _ in selection.props)
        timed = component.name != "VEVENT" or any(component.first(name) for name in ("DTEND", "DURATION"))
        # Of a series with a zone the times are UTC, made without an Occurrence for each.
        timing = series.timing
        if timing is not None and (timing.component is not component or timing.start.zone is None):
            timing = None
        for item in shown.items:
            if isinstance(item, Component):
                static = []
                self._static(item, static)
                template.add(b"".join(static))
            elif item.name == "DTSTART":
                self._start_gap(template, item, timing)
                if named:
                    self._recurrence_id_gap(template, timing)
                if not timed and (timing is None or series.rdates):
                    template.gap(_period_end_line(self.eol))
            elif item.name in ("DTEND", "DUE"):
                self._end_gap(template, item, timing)
            elif item.name == "DURATION":
                if timing is not None and not series.rdates and _is_exact(item, timing):
                    template.add(item.raw)
                else:
                    template.gap(_duration_line(item, self.zone, self.eol))
            elif item.name != "RECURRENCE-ID" and item.name not in _RULES:
                template.add(self._static_line(item))
        if shown.end is not None:
            template.add(_closed(shown.end.raw))
        return template

    def _start_gap(self, template: _Template, line: Line, timing: Timing | None) -> None:
        head = f"{_TZID.sub('', line.head)}:".encode()
        if timing is not None and len(head) + _UTC_BYTES <= _FOLD_FROM:
            template.start_gap(head, self.eol)
        else:
            template.gap(_start_line(line, self.eol))

    def _recurrence_id_gap(self, template: _Template, timing: Timing | None) -> None:
        if timing is not None:
            template.start_gap(b"RECURRENCE-ID:", self.eol)
        else:
            template.gap(_recurrence_id_line(self.eol))

    def _end_gap(self, template: _Template, line: Line, timing: Timing | None) -> None:
        head = f"{_TZID.sub('', line.head)}:".encode()
        zoned = timing is not None and timing.end is not None and timing.end.zone is not None
        if zoned and len(head) + _UTC_BYTES <= _FOLD_FROM:
            template.end_gap(head, self.eol)
        else:
            template.gap(_end_line(line, self.eol))

    def _static(self, component: Component, parts: list[bytes], original: Component | None = None) -> None:
        """A component that is not moved: without recurrence properties, its times in UTC."""
        parts.append(component.begin.raw)
        for item in component.items:
            if isinstance(item, Component):
                self._static(item, parts)
            elif item.name in _RULES:
                continue
            elif item.name == "DURATION" and original is not None:
                parts.append(self._fixed_duration(item, original))
            else:
                parts.append(self._static_line(item))
        if component.end is not None:
            parts.append(_closed(component.end.raw))

    def _static_line(self, line: Line) -> bytes:
        head = line.head
        if ";" not in head:
            return line.raw
        upper = head.upper()
        if line.name == "RECURRENCE-ID" and ";RANGE=" in upper:
            head = _RANGE.sub("", head)  # one instance is all that this component is now
        if ";TZID=" not in upper:
            return line.raw if head is line.head else _content(f"{head}:{line.value}", self.eol)
        return _content(f"{_TZID.sub('', head)}:{self._utc_values(line)}", self.eol)

    def _utc_values(self, line: Line) -> str:
        """The values of a line with a TZID in UTC; as written when they are no times, or nobody knows the zone."""
        try:
            values = periods(line, self.zones)
        except ValueError:
            return line.value
        if any(value.start.kind != "zoned" for value in values):
            return line.value
        texts = []
        for value, written in zip(values, (text for text in line.value.split(",") if text.strip()), strict=True):
            text = utc_text(value.start.seconds(UTC))
            if value.end is not None:
                text += "/" + utc_text(value.end.seconds(UTC))
            elif value.length is not None:
                text += "/" + written.partition("/")[2].strip()
            texts.append(text)
        return ",".join(texts)

    def _fixed_duration(self, line: Line, component: Component) -> bytes:
        """RFC 5545 §3.3.6: P1D from a local time is a day of that zone, from a UTC time always 24 hours."""
        start = component.first("DTSTART")
        try:
            length = duration(line.value)
            at = None if start is None else moment(start, self.zones)
        except ValueError:
            return line.raw
        if at is None or at.kind != "zoned" or not length.days:
            return line.raw
        exact_s = length.end_s(at, self.zone) - at.seconds(self.zone)
        return line.raw if exact_s == _exact_s(length) else _duration_text(line, exact_s, self.eol)

    # -- limits, RFC 4791 §9.6.6, §9.6.7 --

    def _limit_recurrence(self, calendar: Component, span_s: Range, limits: Limits) -> Component:
        """Without the overrides that change nothing in the range."""
        dropped: set[int] = set()
        for name in _RECURRING:
            obj = self._of_type(name)
            if not obj.overrides:
                continue
            instances, complete = _found(obj, span_s, self.zone, limits)
            kept = {id(instance.component) for instance in instances}
            original, all_known = self._originals(obj, span_s, limits)
            if complete and all_known:
                dropped.update(
                    id(item)
                    for item in obj.overrides
                    if id(item) not in kept and not self._matters(item, span_s, original)
                )
        items = [item for item in calendar.items if id(item) not in dropped]
        return Component(calendar.name, calendar.begin, items, calendar.end)

    def _originals(self, obj: CalendarObject, span_s: Range, limits: Limits) -> tuple[set[tuple[str, str]], bool]:
        """The instances that the series would have in the range without any override, and whether these are all."""
        if obj.master is None:
            return set(), True
        hidden = {id(item) for item in obj.overrides}
        items = [item for item in obj.calendar.items if id(item) not in hidden]
        plain = calendar_object(Component(obj.calendar.name, obj.calendar.begin, items, obj.calendar.end))
        instances, complete = _found(plain, span_s, self.zone, limits)
        return {key for instance in instances for key in self._keys(instance.start)}, complete

    def _keys(self, at: Moment) -> tuple[tuple[str, str], tuple[str, str]]:
        """By which an instance is named: its instant, or its day where one of the two is a DATE."""
        return ("instant", str(at.seconds(self.zone))), ("day", at.local.date().isoformat())

    def _matters(self, override: Component, span_s: Range, original: set[tuple[str, str]]) -> bool:
        line = override.all("RECURRENCE-ID")[0]
        try:
            rid = moment(line, self.zones)
        except ValueError:
            return True
        instant, day = self._keys(rid)
        if (line.param("RANGE") or "").upper() == "THISANDFUTURE" and rid.seconds(self.zone) < span_s[1]:
            return True
        if rid.kind == "date" and day in original:
            return True
        return instant in original or span_s[0] <= rid.seconds(self.zone) < span_s[1]

    def _limit_freebusy(self, calendar: Component, span_s: Range) -> Component:
        """FREEBUSY values of VFREEBUSY components that overlap the range."""
        items: list[Line | Component] = []
        for item in calendar.items:
            if isinstance(item, Component) and item.name == "VFREEBUSY":
                lines: list[Line | Component] = []
                for line in item.items:
                    limited = self._limit_line(line, span_s) if isinstance(line, Line) else line
                    if limited is not None:
                        lines.append(limited)
                item = Component(item.name, item.begin, lines, item.end)
            items.append(item)
        return Component(calendar.name, calendar.begin, items, calendar.end)

    def _limit_line(self, line: Line, span_s: Range) -> Line | None:
        if line.name != "FREEBUSY":
            return line
        try:
            found = periods(line, self.zones)
        except ValueError:
            return line
        written = [text for text in line.value.split(",") if text.strip()]
        kept = []
        for value, text in zip(found, written, strict=True):
            start_s, end_s = value.seconds(self.zone)
            if start_s < span_s[1] and end_s > span_s[0]:
                kept.append(text)
        if len(kept) == len(written):
            return line
        if not kept:
            return None
        value_text = ",".join(kept)
        raw = _content(f"{line.head}:{value_text}", self.eol)
        return Line(line.name, line.group, value_text, raw, line.number, line.head)


def _found(obj: CalendarObject, span_s: Range, zone: Zone, limits: Limits) -> tuple[list[Occurrence], bool]:
    """Instances in the range by start, at most limits.instances_max, and whether these are all."""
    instances: list[Occurrence] = []
    budget = Budget(limits.steps_max)
    found = iter_occurrences(obj, span_s[0], span_s[1], floating_zone=zone, budget=budget)
    complete = True
    try:
        for instance in islice(found, limits.instances_max):
            instances.append(instance)
        complete = len(instances) < limits.instances_max
    except TooManyInstances:
        complete = False
    if len(instances) > 1:
        instances.sort(key=lambda instance: (instance.start_s, instance.end_s))
    return instances, complete


# ---- expansion ----

# What is remembered of one object: short ones with few components, which is nearly all.
_REMEMBERED_BODY_BYTES = 16 * 1024
_REMEMBERED_COMPONENTS = 8
_COMPONENT_BYTES = 2_000  # in memory, beside its text


class _Expansion:
    """One VCALENDAR, ready to be expanded for any range: bytes that stay, and between them what recurs."""

    __slots__ = ("_writer", "parts", "weight")

    def __init__(self, writer: _Writer) -> None:
        self._writer: _Writer | None = writer
        self.parts: list[bytes | _Instances] = []
        self.weight = 0

    def write(self, parts: list[bytes], span_s: Range, limits: Limits) -> None:
        for part in self.parts:
            if isinstance(part, bytes):
                parts.append(part)
            else:
                part.write(parts, span_s, limits)

    def settle(self) -> bool:
        """Make all that is left to make, and let go of the lines; False when this would be too much to remember.

        Afterwards nothing changes it, so threads may share it.
        """
        writer = self._writer
        assert writer is not None
        components = writer.calendar.components
        series = [part for part in self.parts if isinstance(part, _Instances)]
        if len(components) > _REMEMBERED_COMPONENTS or not all(one.series.zones.named for one in series):
            return False
        for one in series:
            one.settle()
        for component in (writer.calendar, *components):
            component.items.clear()
        self._writer = None
        texts = sum(len(part) for part in self.parts if isinstance(part, bytes))
        self.weight = texts + sum(one.weight for one in series) + _COMPONENT_BYTES
        return True


class _Instances:
    """The components of one type in a calendar. series, templates: what their instances are written from."""

    __slots__ = ("_selection", "_templates", "_undated", "_writer", "series", "weight")

    def __init__(self, writer: _Writer, obj: CalendarObject, selection: CompSelection | None) -> None:
        self._writer: _Writer | None = writer
        self._selection = selection
        self.series = series_of(obj, writer.zone)
        self._templates: dict[tuple[int, bool], _Template] = {}
        self._undated = writer.undated(obj, selection)
        self.weight = 0

    def settle(self) -> None:
        """Make the templates of all that has instances; no line is needed any more."""
        series = self.series
        for timing, *_ in series.overrides.values():
            self._template(timing.component, True)
        for future in series.futures:
            self._template(future.timing.component, False)
        if series.timing is not None:
            self._template(series.timing.component, not series.recurs)
        self._writer = None
        self.weight = sum(template.size + _COMPONENT_BYTES for template in self._templates.values())

    def _template(self, component: Component, fixed: bool) -> _Template:
        key = id(component), fixed
        template = self._templates.get(key)
        if template is None:
            assert self._writer is not None
            template = self._templates[key] = self._writer.template(component, self._selection, fixed, self.series)
        return template

    def write(self, parts: list[bytes], span_s: Range, limits: Limits) -> None:
        """The instances that overlap the range, by start."""
        size, size_max = 0, limits.instances_max * 1024
        for raw in self._found(span_s, limits):
            template = self._template(raw[0].component, raw[5] or raw[4] is None)
            size += template.fill(parts, self.series, raw)
            if size > size_max:
                break
        parts.append(self._undated)

    def _found(self, span_s: Range, limits: Limits) -> list[Raw]:
        found: list[Raw] = []
        try:
            for raw in islice(self.series.raw(*span_s, Budget(limits.steps_max)), limits.instances_max):
                found.append(raw)
        except TooManyInstances:
            pass  # those up to here
        if len(found) > 1:
            found.sort(key=_BY_TIME)
        return found


_BY_TIME = itemgetter(2, 3)


class _Remembered:
    """Expansions by body, up to a weight in bytes; the ones that were not used for longest go first.

    A range asked for again is then written without reading a line: 20 instead of 200 µs an object. What is remembered
    is a function of its key alone, so it is never out of date.
    """

    def __init__(self) -> None:
        self._lock = Lock()
        self._found: dict[Any, tuple[list[_Expansion], int]] = {}
        self.weight = 0

    def __len__(self) -> int:
        return len(self._found)

    def keys(self) -> list[Any]:
        """The keys of what is remembered, the one that was not used for longest first."""
        return list(self._found)

    def clear(self) -> None:
        with self._lock:
            self._found.clear()
            self.weight = 0

    def get(self, key: Any) -> list[_Expansion] | None:
        with self._lock:
            found = self._found.pop(key, None)
            if found is None:
                return None
            self._found[key] = found  # the last one now
            return found[0]

    def put(self, key: Any, expansions: list[_Expansion], weight: int, weight_max: int) -> None:
        with self._lock:
            self.weight += weight - self._found.pop(key, ([], 0))[1]
            self._found[key] = expansions, weight
            while self.weight > weight_max:
                self.weight -= self._found.pop(next(iter(self._found)))[1]


_remembered = _Remembered()


# ---- the lines of one instance ----


Fill = Callable[[Occurrence], bytes]
_UTC_BYTES = len("20060104T000000Z")
_FOLD_FROM = 75


class _Template:
    """A component with gaps for what differs between its instances.

    parts: its bytes, empty where a gap is. size: of those bytes and of what stands in gaps of one length.
    """

    __slots__ = ("_ends", "_fills", "_starts", "parts", "size")

    def __init__(self) -> None:
        self.parts: list[bytes] = [b""]
        self.size = 0
        self._starts: list[int] = []
        self._ends: list[int] = []
        self._fills: dict[int, Fill] = {}

    def add(self, data: bytes) -> None:
        self.parts[-1] += data
        self.size += len(data)

    def gap(self, fill: Fill) -> None:
        """A gap for whatever fill makes of an instance."""
        self._fills[self._place()] = fill

    def start_gap(self, head: bytes, eol: bytes) -> None:
        """A line with the start of the instance in UTC."""
        self._time(self._starts, head, eol)

    def end_gap(self, head: bytes, eol: bytes) -> None:
        """A line with the end of the instance in UTC."""
        self._time(self._ends, head, eol)

    def _time(self, places: list[int], head: bytes, eol: bytes) -> None:
        self.add(head)
        places.append(self._place())
        self.size += _UTC_BYTES
        self.add(eol)

    def _place(self) -> int:
        self.parts += (b"", b"")
        return len(self.parts) - 2

    def fill(self, parts: list[bytes], series: Series, raw: Raw) -> int:
        """Adds the bytes of an instance; returns how many."""
        filled, size = self.parts.copy(), self.size
        if self._starts:
            text = utc_text(raw[2]).encode()
            for place in self._starts:
                filled[place] = text
        if self._ends:
            text = utc_text(raw[3]).encode()
            for place in self._ends:
                filled[place] = text
        if self._fills:
            instance = series.occurrence(raw)
            for place, fill in self._fills.items():
                filled[place] = data = fill(instance)
                size += len(data)
        parts += filled
        return size


def _line_writer(head: str, eol: bytes) -> Callable[[str], bytes]:
    """Makes lines with this head and a date or date-time of at most 16 characters."""
    prefix = f"{head}:".encode()
    if len(prefix) + _UTC_BYTES > _FOLD_FROM:
        return lambda value: _content(f"{head}:{value}", eol)
    return lambda value: prefix + value.encode() + eol


def _start_line(line: Line, eol: bytes) -> Fill:
    write = _line_writer(_TZID.sub("", line.head), eol)
    return lambda instance: write(instance.start.value if instance.start.zone is None else utc_text(instance.start_s))


def _end_line(line: Line, eol: bytes) -> Fill:
    write = _line_writer(_TZID.sub("", line.head), eol)

    def fill(instance: Occurrence) -> bytes:
        if instance.end_form is None:
            return b""
        if instance.end_form.zone is not None:
            return write(utc_text(instance.end_s))
        return write(instance.end_form.at(instance.end_s, instance.floating_zone).value)

    return fill


def _period_end_line(eol: bytes) -> Fill:
    """For an instance that got its length from an RDATE period, in a series that has none."""
    write = _line_writer("DTEND", eol)

    def fill(instance: Occurrence) -> bytes:
        if instance.all_day or instance.end_s <= instance.start_s:
            return b""
        if instance.start.zone is not None:
            return write(utc_text(instance.end_s))
        return write(instance.start.at(instance.end_s, instance.floating_zone).value)

    return fill


def _recurrence_id_line(eol: bytes) -> Fill:
    write, write_day = _line_writer("RECURRENCE-ID", eol), _line_writer("RECURRENCE-ID;VALUE=DATE", eol)

    def fill(instance: Occurrence) -> bytes:
        rid = instance.recurrence_id
        if rid is None:
            return b""
        if rid.zone is None:
            return write_day(rid.value) if rid.kind == "date" else write(rid.value)
        return write(utc_text(instance.start_s if rid is instance.start else rid.seconds(UTC)))

    return fill


def _duration_line(line: Line, zone: Zone, eol: bytes) -> Fill:
    try:
        length = duration(line.value)
    except ValueError:
        return lambda instance: line.raw
    exact_s = max(_exact_s(length), 0)

    def fill(instance: Occurrence) -> bytes:
        length_s = instance.end_s - instance.start_s
        if length_s == exact_s:
            return line.raw
        if instance.start.zone is None and length.end_s(instance.start, zone) == instance.end_s:
            return line.raw
        return _duration_text(line, length_s, eol)

    return fill


def _is_exact(line: Line, timing: Timing) -> bool:
    """Whether a DURATION says how long each instance of a series without RDATE periods is, in whichever zone."""
    if timing.shape != "duration" or timing.length.days:
        return False
    try:
        return duration(line.value) == timing.length
    except ValueError:
        return False


def _duration_text(line: Line, seconds: int, eol: bytes) -> bytes:
    hours, rest = divmod(max(seconds, 0), 3_600)
    minutes, rest = divmod(rest, 60)
    text = "".join(f"{number}{unit}" for number, unit in ((hours, "H"), (minutes, "M"), (rest, "S")) if number)
    return _content(f"{line.head}:PT{text or '0S'}", eol)


def _exact_s(length: Duration) -> int:
    return length.days * 86_400 + length.seconds


def line_end(raw: bytes) -> bytes:
    """The line end of a raw line; CRLF when it has none."""
    return (
        b"\r\n"
        if raw.endswith(b"\r\n")
        else b"\n"
        if raw.endswith(b"\n")
        else b"\r"
        if raw.endswith(b"\r")
        else b"\r\n"
    )


def _content(text: str, eol: bytes) -> bytes:
    if len(text) < 75 and text.isascii():
        return text.encode() + eol
    data = fold(text)
    return data if eol == b"\r\n" else data.replace(b"\r\n", eol)


def _closed(raw: bytes) -> bytes:
    return raw if raw.endswith((b"\n", b"\r")) else raw + b"\r\n"


# ---- partial data, RFC 4791 §9.6.1 to §9.6.4 ----


def _selected(parent: CompSelection | None, name: str) -> tuple[CompSelection | None, bool]:
    """What is asked of a component inside of parent: (selection or None for all of it, whether it is wanted)."""
    if parent is None or parent.comps is None:
        return None, True
    for selection in parent.comps:
        if selection.name == name:
            return selection, True
    return None, False


def _select_line(line: Line, selection: CompSelection | None, eol: bytes) -> Line | None:
    if selection is None or selection.props is None:
        return line
    for name, novalue in selection.props:
        if name == line.name:
            if novalue:
                return Line(name, line.group, "", _content(f"{line.head}:", eol), line.number, line.head)
            return line
    return None


def _select(component: Component, selection: CompSelection | None, eol: bytes) -> Component:
    """The component with what selection asks for; the same one when that is everything."""
    if selection is None or (selection.props is None and selection.comps is None):
        return component
    items: list[Line | Component] = []
    for item in component.items:
        if isinstance(item, Line):
            line = _select_line(item, selection, eol)
            if line is not None:
                items.append(line)
        else:
            inner, wanted = _selected(selection, item.name)
            if wanted:
                items.append(_select(item, inner, eol))
    return Component(component.name, component.begin, items, component.end)


# ---- a calendar as one object ----


# With a line feed in front and no flags: a literal first byte lets the search jump, which makes it three times faster.
# The last alternative finds a line that begins with no letter, or an empty one that is folded: its line feed alone.
_FRAME = re.compile(rb"\n(?:(?:[Bb][Ee][Gg][Ii][Nn]|[Ee][Nn][Dd])[^\n]*(?:\n[ \t])?|(?![A-Za-z \t]|\r?\n(?![ \t])|\Z))")
_GROUPED = re.compile(rb"\.[Bb][Ee][Gg][Ii][Nn]")
_FRAME_PARTS = re.compile(rb"\n(BEGIN|END):[ \t]*([A-Z0-9-]+)[ \t\r]*", re.IGNORECASE)
_FOLD = re.compile(rb"\r?\n[ \t]")
_REMEMBERED_FRAMES_BYTES = 1000
# Most calendars have one or two zones.
_TEXTS_MAX = 4
_LINE_FEED = ord("\n")
_TZID_LINE = re.compile(rb"^TZID[^:\r\n]*:([^\r\n]*(?:\r?\n[ \t][^\r\n]*)*)", re.MULTILINE | re.IGNORECASE)
_LONE_LF = re.compile(rb"(?<!\r)\n")


def merge_calendars(
    bodies: Iterable[bytes],
    *,
    name: str | None = None,
    description: str | None = None,
    color: str | None = None,
    time_zone_id: str | None = None,
    refresh: str = "PT1H",
) -> Iterator[bytes]:
    """All components of many objects as one VCALENDAR, in chunks; memory does not grow with their number.

    Components keep their bytes; line ends become CRLF and Latin-1 becomes UTF-8 where they were not. A VTIMEZONE is
    written once: the first definition of a TZID stands. Bodies that cannot be read are left out. color: "#RRGGBB" or
    a CSS name. refresh: how often a subscriber should ask again, as a duration.
    """
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", f"PRODID:{PRODID}", "CALSCALE:GREGORIAN"]
    # RFC 7986 §5.7, and what Outlook reads in its place.
    head += [f"REFRESH-INTERVAL;VALUE=DURATION:{refresh}", f"X-PUBLISHED-TTL:{refresh}"]
    if name:
        head += [f"NAME:{_text(name)}", f"X-WR-CALNAME:{_text(name)}"]  # RFC 7986 §5.1, and what Apple made before it
    if description:
        head += [f"DESCRIPTION:{_text(description)}", f"X-WR-CALDESC:{_text(description)}"]
    if color and re.fullmatch(r"#[0-9A-Fa-f]{6,8}|[A-Za-z]{3,32}", color):
        # RFC 7986 §5.9 takes names only; Apple's property takes numbers too.
        head += [f"COLOR:{color.lower()}"] if color.isalpha() else []
        head += [f"X-APPLE-CALENDAR-COLOR:{color}"]
    if time_zone_id:
        head += [f"X-WR-TIMEZONE:{_text(time_zone_id)}"]
    yield b"".join(fold(line) for line in head)
    zones = _Zones()
    for body in bodies:
        chunk = b"".join(_components(zones.without(body), zones))
        if chunk:
            yield _portable(chunk)
    yield b"END:VCALENDAR\r\n"


def _text(text: str) -> str:
    return clean(escape(text))


class _Zones:
    """The VTIMEZONEs that a merged calendar has so far."""

    __slots__ = ("_names", "_texts")

    def __init__(self) -> None:
        self._names: set[bytes] = set()
        self._texts: list[bytes] = []

    def is_new(self, data: bytes) -> bool:
        """Whether this is the first one of its name, which it is not any more then."""
        match = _TZID_LINE.search(data)
        tzid = _FOLD.sub(b"", match.group(1)).strip() if match else b""
        if tzid in self._names:
            return False
        self._names.add(tzid)
        if data.endswith(b"\n") and len(self._texts) < _TEXTS_MAX:
            self._texts.append(data)
        return True

    def without(self, body: bytes) -> bytes:
        """The body without those that it has in the very same bytes.

        They are half of its lines. That they are not looked at one by one makes a merge a third faster.
        """
        for text in self._texts:
            at = body.find(text)
            if at <= 0 or body[at - 1] != _LINE_FEED or body[at + len(text) : at + len(text) + 1] in (b" ", b"\t"):
                continue
            if body[:at].lower().count(b"begin") == 1:  # of VCALENDAR, so that it stands nowhere deeper
                body = body[:at] + body[at + len(text) :]
        return body


def _components(body: bytes, zones: _Zones) -> list[bytes]:
    """The components of a body's calendars; of VTIMEZONEs only those that are new."""
    if b"\n" not in body:
        body = body.replace(b"\r", b"\r\n")  # line ends of an old Mac
    found = _slices(body)
    if found is None:
        try:
            document = read(body)
        except LineError:
            return []
        found = [
            (item.name.encode(), item.to_bytes())
            for calendar in document.components
            if calendar.name == "VCALENDAR"
            for item in calendar.components
        ]
    parts = []
    for name, data in found:
        if name != b"VTIMEZONE" or zones.is_new(data):
            parts.append(_closed(data))
    return parts


def _slices(body: bytes) -> list[tuple[bytes, bytes]] | None:
    """(name, bytes) of what stands directly inside of VCALENDAR, found by BEGIN and END alone: no line is read.

    None when the body is not so plain: folded or grouped names, lines that begin with no letter, wrong nesting.
    """
    data = b"\n" + body
    frames = _FRAME.findall(data)
    if b"\n" in frames or body[:1] in (b" ", b"\t") or _GROUPED.search(body):
        return None
    lines = b"".join(frames)
    # Most objects of a calendar have the same few lines of this kind in the same order.
    nested = _remembered_nesting(lines) if len(lines) <= _REMEMBERED_FRAMES_BYTES else _nesting(lines)
    if nested is None:
        return None
    found = []
    number = end = 0
    for name, first, last in nested:
        begin = _place(data, end, frames, number, first)
        end = _place(data, begin, frames, first, last) + len(frames[last])
        number = last + 1
        found.append((name, data[begin + 1 : end + 1]))
    return found


def _place(data: bytes, at: int, frames: list[bytes], number: int, wanted: int) -> int:
    """Where the frame `wanted` begins. at: where frame `number`, which comes before it or is it, begins, or before."""
    frame = frames[wanted]
    while True:
        at = data.index(frame, at)  # the next match with these bytes: none lies within another
        number = frames.index(frame, number)
        if number == wanted:
            return at
        at, number = at + len(frame), number + 1


def _nesting(lines: bytes) -> list[tuple[bytes, int, int]] | None:
    """(name, number of its BEGIN, number of its END) of what stands directly inside of VCALENDAR.

    lines: every match of _FRAME. None when they do not belong together, or one of them is folded.
    """
    found: list[tuple[bytes, int, int]] = []
    stack: list[bytes] = []
    first = 0
    for number, line in enumerate(_FRAME.findall(lines)):
        parts = _FRAME_PARTS.fullmatch(line)
        if parts is None:
            return None
        kind, name = parts[1].upper(), parts[2].upper()
        if kind == b"BEGIN":
            if len(stack) == 1:
                first = number
            elif not stack and name != b"VCALENDAR":
                return None
            stack.append(name)
            if len(stack) > 16:
                return None
        elif not stack or stack.pop() != name:
            return None
        elif len(stack) == 1:
            found.append((name, first, number))
    return found if not stack and found else None


_remembered_nesting = lru_cache(maxsize=512)(_nesting)


def _portable(data: bytes) -> bytes:
    if data.count(b"\n") != data.count(b"\r\n"):
        data = _LONE_LF.sub(b"\r\n", data)
    if data.isascii():
        return data
    try:
        data.decode()
    except UnicodeDecodeError:
        # One line in Latin-1 must not make the whole answer unreadable as UTF-8.
        return b"".join(_utf8(line) for line in data.splitlines(keepends=True))
    return data


def _utf8(line: bytes) -> bytes:
    try:
        line.decode()
    except UnicodeDecodeError:
        return line.decode("latin-1").encode()
    return line
