"""CALDAV:filter (RFC 4791 §9.7, §9.9): from XML to a value, what the store can narrow by, and the exact decision.

A component filter holds when ONE component (of a recurring object: one instance) satisfies all of its conditions.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from dav.errors import DavError
from dav.filters.collation import CALDAV_DEFAULT, COLLATIONS, MATCH_TYPES, collation_named, compare
from dav.ical.lines import Component, Line
from dav.ical.make import utc_seconds
from dav.ical.recur import (
    CalendarObject,
    Duration,
    Limits,
    Occurrence,
    calendar_object,
    duration,
    iter_occurrences,
    moment,
    periods,
)
from dav.ical.rrule import Budget, TooManyInstances
from dav.ical.tz import Zone
from dav.names import CALDAV, c
from storage.records import BEGINLESS, ENDLESS

if TYPE_CHECKING:
    from dav.xml import Element

ELEMENTS_MAX = 200  # elements of one filter
DEPTH_MAX = 6  # nested comp-filters
DAY_S = 86_400

# RFC 4791 §9.9 says what a time range means for these and for no others; VAVAILABILITY is RFC 7953 §7.2.2.
_RANGED = frozenset({"VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VALARM", "VAVAILABILITY"})
_RECURRING = frozenset({"VEVENT", "VTODO", "VJOURNAL"})
_INDEXED = ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY")
_TOP_LEVEL = frozenset({"VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VTIMEZONE", "VAVAILABILITY", "VCALENDAR"})
_NESTED = frozenset({"VCALENDAR", "VALARM", "STANDARD", "DAYLIGHT", "AVAILABLE"})
# Properties that hold no date: a time range inside of them is the RFC's own example of a filter that is not valid.
_DATELESS = frozenset(
    {
        "ACTION", "ATTACH", "ATTENDEE", "CALSCALE", "CATEGORIES", "CLASS", "COLOR", "COMMENT", "CONFERENCE", "CONTACT",
        "DESCRIPTION", "DURATION", "EXRULE", "GEO", "IMAGE", "LOCATION", "METHOD", "NAME", "ORGANIZER",
        "PERCENT-COMPLETE", "PRIORITY", "PRODID", "RELATED-TO", "REPEAT", "REQUEST-STATUS", "RESOURCES", "RRULE",
        "SEQUENCE", "STATUS", "SUMMARY", "TRANSP", "TZID", "TZNAME", "TZOFFSETFROM", "TZOFFSETTO", "TZURL", "UID",
        "URL", "VERSION",
    }
)  # fmt: skip
_ANCHORS = ("DTSTART", "DUE", "DTEND", "RECURRENCE-ID")  # what a relative alarm counts from
_ONE_DAY = Duration(1, 0)
_REACH_MAX_S = 3_660 * DAY_S  # an alarm further than ten years from its instance is looked for no further


@dataclass(frozen=True, slots=True)
class TimeRange:
    """start_s inclusive, end_s exclusive, UTC seconds; None = open at that side (RFC 4791 §9.9)."""

    start_s: int | None
    end_s: int | None


@dataclass(frozen=True, slots=True)
class TextMatch:
    """RFC 4791 §9.7.5. needle_key: the text to look for as the collation's key. match_type: of MATCH_TYPES."""

    text: str
    needle_key: str
    collation: str = CALDAV_DEFAULT
    negate: bool = False
    match_type: str = "contains"

    def holds(self, value: str) -> bool:
        """Whether this text (escapes undone) satisfies the condition, its negation included."""
        return compare(COLLATIONS[self.collation](value), self.needle_key, self.match_type) != self.negate


@dataclass(frozen=True, slots=True)
class ParamFilter:
    """RFC 4791 §9.7.3. Without text_match: the parameter is there."""

    name: str
    is_not_defined: bool = False
    text_match: TextMatch | None = None


@dataclass(frozen=True, slots=True)
class PropFilter:
    """RFC 4791 §9.7.2: one line called name satisfies the time range, the text match and the parameter filters.

    any_of: one of params is enough (the attribute test="anyof" of later filters; RFC 4791 has only "all").
    """

    name: str
    is_not_defined: bool = False
    time_range: TimeRange | None = None
    text_match: TextMatch | None = None
    params: tuple[ParamFilter, ...] = ()
    any_of: bool = False


@dataclass(frozen=True, slots=True)
class CompFilter:
    """RFC 4791 §9.7.1. any_of: one of props and comps is enough; the time range must hold in any case."""

    name: str
    is_not_defined: bool = False
    time_range: TimeRange | None = None
    props: tuple[PropFilter, ...] = ()
    comps: tuple[CompFilter, ...] = ()
    any_of: bool = False


@dataclass(frozen=True, slots=True)
class CalendarFilter:
    """RFC 4791 §9.7. root: for VCALENDAR; None = an empty filter, which every object matches."""

    root: CompFilter | None = None


@dataclass(frozen=True, slots=True)
class Plan:
    """What the store can narrow by before anything is read. Objects outside of it do not match.

    component: name of the main component, None = any. start_s, end_s: range that it must overlap, None = open.
    uid: the UID must contain this text (in the filter's collation); an object whose UID equals it is the likely answer.
    exact: component and range alone decide, so a member that the store is certain about needs no reading.
    """

    component: str | None = None
    start_s: int | None = None
    end_s: int | None = None
    uid: str | None = None
    exact: bool = False

    @property
    def time_range(self) -> tuple[int | None, int | None] | None:
        """(start_s, end_s); None when the filter has no range."""
        return None if self.start_s is None and self.end_s is None else (self.start_s, self.end_s)


# ---- from XML ----


def parse_filter(element: Element) -> CalendarFilter:
    """The value of a CALDAV:filter element; an empty one matches everything.

    Raises DavError(403) with CALDAV:valid-filter for what RFC 4791 does not allow (also time ranges that are no UTC
    date-times), CALDAV:supported-filter for what it allows and we cannot answer, CALDAV:supported-collation (§7.8).
    """
    if sum(1 for _ in element.iter()) > ELEMENTS_MAX:
        raise _invalid(f"The filter has more than {ELEMENTS_MAX} elements.")
    children = _children(element, {"comp-filter"})
    if not children:
        return CalendarFilter()
    if len(children) > 1:
        raise _invalid("A filter holds one comp-filter, for VCALENDAR.")
    return CalendarFilter(_parse_comp(children[0], 0))


def parse_time_range(element: Element, condition: str = c("valid-filter")) -> TimeRange:
    """CALDAV:time-range (RFC 4791 §9.9). Raises DavError(403, condition) when it names no range of UTC date-times."""
    start_s = _utc_attribute(element, "start", condition)
    end_s = _utc_attribute(element, "end", condition)
    if start_s is None and end_s is None:
        raise DavError(403, condition, "A time-range needs a start or an end.")
    if start_s is not None and end_s is not None and end_s <= start_s:
        raise DavError(403, condition, "The end of a time-range must be after its start.")
    return TimeRange(start_s, end_s)


def _utc_attribute(element: Element, name: str, condition: str) -> int | None:
    text = element.get(name)
    if text is None:
        return None
    try:
        return utc_seconds(text)
    except ValueError:
        raise DavError(403, condition, f"{name}={text[:40]!r} is not a UTC date-time (20060104T000000Z).") from None


def _parse_comp(element: Element, level: int) -> CompFilter:
    name = _name(element)
    _check_place(name, level)
    children = _children(element, {"is-not-defined", "time-range", "prop-filter", "comp-filter"})
    if _alone(children):
        return CompFilter(name, is_not_defined=True)
    time_range = _only(children, "time-range", element)
    # CLIENT python-caldav 3.6 (2026): puts the range into VCALENDAR when it asks for components of any kind.
    if time_range is not None and name not in _RANGED and level > 0:
        # RFC 4791 §7.8 gives a range where none belongs as an example of an invalid filter.
        raise _invalid(f"A time-range in {name[:40]} means nothing (RFC 4791 section 9.9).")
    return CompFilter(
        name,
        time_range=None if time_range is None else parse_time_range(time_range),
        props=tuple(_parse_prop(child) for child in children if child.tag == c("prop-filter")),
        comps=tuple(_parse_comp(child, level + 1) for child in children if child.tag == c("comp-filter")),
        any_of=_any_of(element),
    )


def _check_place(name: str, level: int) -> None:
    if level == 0 and name != "VCALENDAR":
        raise _invalid("The outermost comp-filter is for VCALENDAR.")
    if (level == 1 and name in _NESTED) or (level > 1 and name in _TOP_LEVEL) or level >= DEPTH_MAX:
        raise _invalid(f"{name[:40]} does not stand where the filter has it.")


def _parse_prop(element: Element) -> PropFilter:
    name = _name(element)
    children = _children(element, {"is-not-defined", "time-range", "text-match", "param-filter"})
    if _alone(children):
        return PropFilter(name, is_not_defined=True)
    time_range = _only(children, "time-range", element)
    if time_range is not None and name in _DATELESS:
        raise _invalid(f"{name} holds no date, so a time-range in it means nothing.")
    text = _only(children, "text-match", element)
    return PropFilter(
        name,
        time_range=None if time_range is None else parse_time_range(time_range),
        text_match=None if text is None else _parse_text_match(text),
        params=tuple(_parse_param(child) for child in children if child.tag == c("param-filter")),
        any_of=_any_of(element),
    )


def _parse_param(element: Element) -> ParamFilter:
    name = _name(element)
    children = _children(element, {"is-not-defined", "text-match"})
    if _alone(children):
        return ParamFilter(name, is_not_defined=True)
    text = _only(children, "text-match", element)
    return ParamFilter(name, text_match=None if text is None else _parse_text_match(text))


def _parse_text_match(element: Element) -> TextMatch:
    collation = collation_named(element.get("collation"), default=CALDAV_DEFAULT)
    if collation is None:
        raise DavError(
            403, c("supported-collation"), f"The collation {element.get('collation')!r:.80} is not supported."
        )
    negate = element.get("negate-condition", "no")
    match_type = element.get("match-type", "contains")
    if negate not in ("yes", "no") or match_type not in MATCH_TYPES:
        raise _invalid("A text-match has an attribute with an unknown value.")
    text = "".join(str(part) for part in element.itertext())
    return TextMatch(text, COLLATIONS[collation](text), collation, negate == "yes", match_type)


def _children(element: Element, known: set[str]) -> list[Element]:
    """Child elements of CALDAV; others are ignored (RFC 4918 §17), but an unknown CALDAV condition must not be."""
    found = []
    for child in element:
        if not isinstance(child.tag, str) or not child.tag.startswith(f"{{{CALDAV}}}"):
            continue
        local = child.tag.rpartition("}")[2]
        if local not in known:
            raise _invalid(f"{local[:40]} does not stand where the filter has it.")
        found.append(child)
    return found


def _alone(children: list[Element]) -> bool:
    if not any(child.tag == c("is-not-defined") for child in children):
        return False
    if len(children) > 1:
        raise _invalid("is-not-defined stands beside another condition.")
    return True


def _only(children: list[Element], local: str, parent: Element) -> Element | None:
    found = [child for child in children if child.tag == c(local)]
    if len(found) > 1:
        raise _invalid(f"More than one {local} in the filter for {parent.get('name', '')[:40]}.")
    return found[0] if found else None


def _name(element: Element) -> str:
    name = (element.get("name") or "").strip().upper()
    if not name:
        raise _invalid("A part of the filter has no name.")
    return name


def _any_of(element: Element) -> bool:
    test = element.get("test", "allof")
    if test not in ("anyof", "allof"):
        raise _invalid("test is anyof or allof.")
    return test == "anyof"


def _invalid(detail: str) -> DavError:
    return DavError(403, c("valid-filter"), detail)


# ---- what the store can do ----


def plan(filter: CalendarFilter) -> Plan:
    """What to ask the store for, so that every match is among the answers."""
    root = filter.root
    if root is None:
        return Plan(exact=True)
    if root.is_not_defined or root.time_range is not None or (root.any_of and len(root.props) + len(root.comps) > 1):
        return Plan()
    for comp in root.comps:
        if comp.name in _INDEXED and not comp.is_not_defined:
            break
    else:
        return Plan(exact=not root.props and not root.comps)
    alone = not root.props and len(root.comps) == 1 and not comp.props and not comp.comps
    span_s = comp.time_range or TimeRange(None, None)
    exact = alone and (comp.time_range is None or comp.name == "VEVENT")
    return Plan(comp.name, span_s.start_s, span_s.end_s, _uid_needle(comp), exact)


def _uid_needle(comp: CompFilter) -> str | None:
    if comp.any_of and len(comp.props) + len(comp.comps) > 1:
        return None
    for prop in comp.props:
        if prop.name == "UID" and prop.text_match is not None and not prop.text_match.negate:
            return prop.text_match.text
    return None


# ---- the decision ----


def matches(filter: CalendarFilter, obj: CalendarObject, *, floating_zone: Zone, limits: Limits) -> bool:
    """Whether the object satisfies the filter (RFC 4791 §9.7, §9.9).

    floating_zone: in which floating times and dates are read (§7.3: the request's CALDAV:timezone or the calendar's).
    Work is bounded: of an object with more than limits.instances_max instances in the range the first ones decide.
    """
    root = filter.root
    if root is None:
        return True
    if root.is_not_defined:
        return False
    matcher = _Matcher(obj, floating_zone, limits)
    if root.time_range is not None and not matcher.overlaps(root.time_range):
        return False
    return matcher.holds(root, obj.calendar, None)


@dataclass(slots=True)
class _Matcher:
    """One object, one question."""

    obj: CalendarObject
    zone: Zone
    limits: Limits

    def holds(self, filter: CompFilter, component: Component, instance: Occurrence | None) -> bool:
        """Whether the conditions inside filter, but for its own time range, hold for this component."""
        if not filter.props and not filter.comps:
            return True
        results = self._conditions(filter, component, instance)
        return any(results) if filter.any_of else all(results)

    def overlaps(self, span_s: TimeRange) -> bool:
        """Whether the object's own components, of whatever kind, overlap a range that stands in VCALENDAR."""
        name = self.obj.name
        return name in _RANGED and self._comp(CompFilter(name, time_range=span_s), self.obj.calendar, None)

    def _conditions(self, filter: CompFilter, component: Component, instance: Occurrence | None) -> Iterator[bool]:
        for prop in filter.props:
            yield self._prop(prop, component)
        for comp in filter.comps:
            yield self._comp(comp, component, instance)

    # -- components --

    def _comp(self, filter: CompFilter, parent: Component, instance: Occurrence | None) -> bool:
        name, span_s = filter.name, filter.time_range
        candidates = [item for item in parent.items if isinstance(item, Component) and item.name == name]
        if filter.is_not_defined:
            return not candidates
        if not candidates:
            return False
        if name == "VALARM":
            return any(
                self.holds(filter, alarm, instance) and (span_s is None or self._alarm(span_s, alarm, instance))
                for alarm in candidates
            )
        if span_s is None:
            # Without an instance only absolute alarms have a time; the relative ones are asked instance by instance.
            if any(self.holds(filter, component, None) for component in candidates):
                return True
            return name in _RECURRING and self._alarm_of_instance(filter, candidates)
        if name in _RECURRING:
            return self._instance(filter, candidates, span_s)
        test = self._freebusy if name == "VFREEBUSY" else self._availability
        return any(self.holds(filter, component, None) and test(span_s, component) for component in candidates)

    def _instance(self, filter: CompFilter, candidates: list[Component], span_s: TimeRange) -> bool:
        """Whether one instance overlaps the range and satisfies everything inside filter."""
        if not filter.any_of and filter.props:
            # Properties are the same in all instances of one component: no expansion when none has what is asked.
            candidates = [item for item in candidates if all(self._prop(prop, item) for prop in filter.props)]
            if not candidates:
                return False
        # RFC 4791 §9.9, last row of VTODO: without any date it overlaps every range.
        if filter.name == "VTODO" and any(_dateless(item) and self.holds(filter, item, None) for item in candidates):
            return True
        return any(
            self.holds(filter, instance.component, instance) for instance in self._instances(filter.name, span_s)
        )

    def _instances(self, name: str, span_s: TimeRange) -> Iterator[Occurrence]:
        """Instances that overlap the range, found one by one: an endless series costs no more than its first hit."""
        obj = self.obj if name == self.obj.name else _of_type(self.obj.calendar, name)
        start_s = BEGINLESS if span_s.start_s is None else span_s.start_s
        end_s = ENDLESS if span_s.end_s is None else span_s.end_s
        budget = Budget(self.limits.steps_max)
        found = iter_occurrences(obj, start_s, end_s, floating_zone=self.zone, budget=budget)
        try:
            yield from islice(found, self.limits.instances_max)
        except TooManyInstances:
            return

    def _freebusy(self, span_s: TimeRange, component: Component) -> bool:
        start_s, end_s = self._instant(component, "DTSTART"), self._instant(component, "DTEND")
        if start_s is not None and end_s is not None:
            return _not_after(span_s.start_s, end_s) and _ends_after(span_s, start_s)
        found = False
        for line in component.all("FREEBUSY"):
            found = found or self._dated(span_s, line)
        return found

    def _availability(self, span_s: TimeRange, component: Component) -> bool:
        """RFC 7953 §7.2.2: without DTSTART, or DTEND and DURATION, it is open at that side."""
        start_s, end_s = self._instant(component, "DTSTART"), self._instant(component, "DTEND")
        length = _duration(component.first("DURATION"))
        if end_s is None and start_s is not None and length is not None:
            end_s = length.end_s(moment(component.all("DTSTART")[0], self.obj.zones), self.zone)
        return (end_s is None or span_s.start_s is None or span_s.start_s < end_s) and (
            start_s is None or _ends_after(span_s, start_s)
        )

    # -- alarms --

    def _alarm_of_instance(self, filter: CompFilter, candidates: list[Component]) -> bool:
        """Whether an alarm of some instance goes off in the range: only instances near enough to it are looked at."""
        spans = [comp.time_range for comp in filter.comps if comp.name == "VALARM" and comp.time_range is not None]
        reaches = [reach for component in candidates for item in component.components if (reach := _reach(item))]
        if not spans or not reaches:
            return False
        starts = [span_s.start_s for span_s in spans if span_s.start_s is not None]
        ends = [span_s.end_s for span_s in spans if span_s.end_s is not None]
        # A day more on both sides for nominal days, whose length is not always 24 hours.
        near = TimeRange(
            min(starts) - max(latest for _, latest in reaches) - DAY_S if len(starts) == len(spans) else None,
            max(ends) - min(earliest for earliest, _ in reaches) + DAY_S if len(ends) == len(spans) else None,
        )
        return any(self.holds(filter, instance.component, instance) for instance in self._instances(filter.name, near))

    def _alarm(self, span_s: TimeRange, alarm: Component, instance: Occurrence | None) -> bool:
        """RFC 4791 §9.9 VALARM: the trigger or one of its repetitions lies in the range."""
        trigger = alarm.first("TRIGGER")
        if trigger is None:
            return False
        offset = _duration(trigger)
        if offset is None:
            try:
                first_s = moment(trigger, self.obj.zones).seconds(self.zone)
            except ValueError:
                return False
        elif instance is None or not any(instance.component.first(name) for name in _ANCHORS):
            return False
        elif (trigger.param("RELATED") or "").upper() == "END":
            first_s = offset.end_s(instance.start.at(instance.end_s, self.zone), self.zone)
        else:
            first_s = offset.end_s(instance.start, self.zone)
        count, pause_s = _repetitions(alarm)
        if span_s.start_s is not None and first_s < span_s.start_s:
            if not count:
                return False
            # The first repetition that is not before the range, by arithmetic: REPEAT may be any number.
            skipped = -((first_s - span_s.start_s) // pause_s)
            if skipped > count:
                return False
            first_s += skipped * pause_s
        return _ends_after(span_s, first_s)

    # -- properties --

    def _prop(self, filter: PropFilter, component: Component) -> bool:
        lines = component.all(filter.name)
        if filter.is_not_defined:
            return not lines
        return any(self._line(filter, line) for line in lines)

    def _line(self, filter: PropFilter, line: Line) -> bool:
        if filter.text_match is not None and not filter.text_match.holds(line.text):
            return False
        if filter.time_range is not None and not self._dated(filter.time_range, line):
            return False
        if not filter.params:
            return True
        results = (_param(param, line) for param in filter.params)
        return any(results) if filter.any_of else all(results)

    def _dated(self, span_s: TimeRange, line: Line) -> bool:
        """RFC 4791 §9.9, last part: a date-time lies in the range; a DATE (its whole day) or a period overlaps it."""
        try:
            values = periods(line, self.obj.zones)
        except ValueError:
            return False
        for value in values:
            start_s, end_s = value.seconds(self.zone)
            if value.start.kind == "date" and end_s == start_s:
                end_s = _ONE_DAY.end_s(value.start, self.zone)
            if _ends_after(span_s, start_s) and (
                span_s.start_s is None or span_s.start_s < end_s or span_s.start_s == start_s
            ):
                return True
        return False

    def _instant(self, component: Component, name: str) -> int | None:
        """UTC seconds of a date property; None when it is not there or cannot be read."""
        line = component.first(name)
        if line is None:
            return None
        try:
            return moment(line, self.obj.zones).seconds(self.zone)
        except ValueError:
            return None


def _of_type(calendar: Component, name: str) -> CalendarObject:
    """The object as one of another component type: bodies that hold several are wrong, but they exist."""
    items = [item for item in calendar.items if isinstance(item, Component) and item.name in (name, "VTIMEZONE")]
    return calendar_object(Component(calendar.name, calendar.begin, list(items), calendar.end))


def _dateless(todo: Component) -> bool:
    return not any(todo.first(name) for name in ("DTSTART", "DUE", "COMPLETED", "CREATED"))


def _duration(line: Line | None) -> Duration | None:
    if line is None:
        return None
    try:
        return duration(line.value)
    except ValueError:
        return None


def _repetitions(alarm: Component) -> tuple[int, int]:
    """How often an alarm repeats after its trigger, and the pause between in seconds (RFC 5545 §3.8.6.2)."""
    repeat, pause = alarm.value("REPEAT"), _duration(alarm.first("DURATION"))
    if repeat is None or pause is None or not repeat.strip().isdecimal():
        return 0, 0
    pause_s = pause.days * DAY_S + pause.seconds
    return (int(repeat.strip()[:9]), pause_s) if pause_s > 0 else (0, 0)


def _reach(alarm: Component) -> tuple[int, int] | None:
    """Earliest and latest seconds from its instance at which a relative alarm goes off; None for all others."""
    offset = _duration(alarm.first("TRIGGER")) if alarm.name == "VALARM" else None
    if offset is None:
        return None
    count, pause_s = _repetitions(alarm)
    first_s = offset.days * DAY_S + offset.seconds
    return max(first_s, -_REACH_MAX_S), min(first_s + count * pause_s, _REACH_MAX_S)


def _param(filter: ParamFilter, line: Line) -> bool:
    there = any(key == filter.name for key, _ in line.params)
    if filter.is_not_defined or not there:
        return filter.is_not_defined and not there
    return filter.text_match is None or any(filter.text_match.holds(value) for value in line.param_values(filter.name))


def _not_after(bound_s: int | None, instant_s: int) -> bool:
    return bound_s is None or bound_s <= instant_s


def _ends_after(span_s: TimeRange, instant_s: int) -> bool:
    return span_s.end_s is None or span_s.end_s > instant_s
