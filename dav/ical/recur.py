"""Calendar objects in time: dates and times, and the occurrences of recurring components (RFC 5545 §3.8.5, RFC 4791
§9.9).

Decisions where the RFCs leave room (the user's side of them stands in docs/recurrence.md):

- A rule makes exactly what it says: DTSTART is an instance, and counts for COUNT, only where the rule makes it (RFC
  5545 §3.8.5.3 calls anything else undefined; libical, ical.js and dateutil agree on this). A rule that never makes
  anything leaves DTSTART alone as the one instance, so that no object vanishes from every view. Without a rule DTSTART
  and the RDATEs are the instances; with rules, DTSTART comes from them.
- A local time that the clocks skip is read with the offset before the gap (§3.3.5), so a 02:30 meeting is at 03:30 on
  that day; it is not dropped. Two instances that fall on one instant in this way are one.
- BYWEEKNO without BYDAY keeps DTSTART's weekday; weeks belong to their week year, also over New Year.
- RSCALE=GREGORIAN with SKIP is honoured (RFC 7529). A rule in another scale, or one we cannot read, makes no instances
  but DTSTART, and the object is not certain.
- EXRULE (RFC 2445) is honoured. RRULE in an override is ignored.
- UNTIL in another form than DTSTART: a DATE lasts to the end of that day, a local time is read in DTSTART's zone, a UTC
  time on an all-day series counts by its date.
- EXDATE and RECURRENCE-ID name an instance by instant; a DATE on a timed series and a time on an all-day series name it
  by day. One without a zone is read in DTSTART's.
- An override is shown at its own time, wherever that is, also when nothing in the series has its RECURRENCE-ID.
- Floating times and dates are read in the asker's zone (RFC 4791 §7.3).
"""

from __future__ import annotations

import heapq
import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from datetime import date, datetime, timedelta
from functools import lru_cache
from typing import Literal

from dav.ical.lines import Component, Line
from dav.ical.rrule import (
    Budget,
    Rule,
    RuleError,
    TooManyInstances,
    local_of,
    parse_rule,
    wall_of,
    walls,
)
from dav.ical.tz import UTC, Zone, Zones
from storage.records import BEGINLESS, ENDLESS

__all__ = [
    "CalendarObject",
    "Duration",
    "Limits",
    "Moment",
    "Occurrence",
    "Period",
    "Span",
    "TooManyInstances",
    "calendar_object",
    "duration",
    "moment",
    "moments",
    "occurrences",
    "periods",
    "span",
]

_DAY_S = 86_400
_FAR_S = 1 << 60  # beyond every wall
_WINDOW_SLACK_S = 2 * _DAY_S  # offsets of zones and nominal days differ from UTC by less than this

_VALUE = re.compile(r"([0-9]{4})([0-9]{2})([0-9]{2})(?:T([0-9]{2})([0-9]{2})([0-9]{2})(Z?))?", re.ASCII)
_DURATION = re.compile(
    r"([+-]?)P(?:([0-9]{1,6})W)?(?:([0-9]{1,6})D)?(?:T(?:([0-9]{1,7})H)?(?:([0-9]{1,9})M)?(?:([0-9]{1,10})S)?)?",
    re.ASCII,
)

Kind = Literal["date", "utc", "zoned", "floating"]


@dataclass(frozen=True, slots=True)
class Limits:
    """How much one object may be expanded. instances_max: results; steps_max: candidates looked at on the way.

    memory_bytes: how much of what was prepared for expansion may be remembered, of all objects.
    """

    instances_max: int = 10_000
    steps_max: int = 100_000
    memory_bytes: int = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Moment:
    """A DATE or DATE-TIME value.

    local: naive wall clock (midnight for a DATE). kind: how it was written. zone: of "zoned", and UTC for "utc". tzid:
    the TZID parameter as written; a TZID that nobody knows leaves the kind "floating".
    """

    local: datetime
    kind: Kind
    zone: Zone | None = None
    tzid: str | None = None

    def seconds(self, floating_zone: Zone) -> int:
        """UTC seconds; a DATE (its midnight) and a floating time are read in floating_zone."""
        return (self.zone or floating_zone).to_utc(self.local)

    def at(self, utc_s: int, floating_zone: Zone) -> Moment:
        """The instant utc_s written in the form of this moment; a DATE gives the day."""
        local = (self.zone or floating_zone).to_local(utc_s)
        if self.kind == "date":
            local = datetime(local.year, local.month, local.day)
        return Moment(local, self.kind, self.zone, self.tzid)

    def moved_to(self, local: datetime) -> Moment:
        """The same form with another wall clock."""
        return Moment(local, self.kind, self.zone, self.tzid)

    @property
    def value(self) -> str:
        """As iCalendar writes it, without parameters."""
        at = self.local
        day = f"{at.year:04d}{at.month:02d}{at.day:02d}"
        if self.kind == "date":
            return day
        return f"{day}T{at.hour:02d}{at.minute:02d}{at.second:02d}" + ("Z" if self.kind == "utc" else "")


@dataclass(frozen=True, slots=True)
class Duration:
    """A DURATION: days (and weeks) are nominal, keeping the wall clock; seconds are exact (RFC 5545 §3.3.6)."""

    days: int
    seconds: int

    def end_s(self, start: Moment, floating_zone: Zone) -> int:
        """UTC seconds of start plus this."""
        zone = start.zone or floating_zone
        if not self.days:
            return zone.to_utc(start.local) + self.seconds
        return zone.to_utc(_plus_days(start.local, self.days)) + self.seconds


@dataclass(frozen=True, slots=True)
class Period:
    """An RDATE or FREEBUSY value: start, and end or length when it was a PERIOD."""

    start: Moment
    end: Moment | None = None
    length: Duration | None = None

    def seconds(self, floating_zone: Zone) -> tuple[int, int]:
        """Start and end in UTC seconds; the end is never before the start."""
        start_s = self.start.seconds(floating_zone)
        end_s = start_s
        if self.end is not None:
            end_s = self.end.seconds(floating_zone)
        elif self.length is not None:
            end_s = self.length.end_s(self.start, floating_zone)
        return start_s, max(start_s, end_s)


def _plus_days(local: datetime, days: int) -> datetime:
    try:
        return local + timedelta(days=days)
    except OverflowError:
        return datetime.max.replace(microsecond=0) if days > 0 else datetime.min


def _parse_value(value: str, tzid: str | None, zones: Zones) -> Moment:
    match = _VALUE.fullmatch(value)
    if match is None:
        raise ValueError(f"{value[:40]!r} is not a date or a date-time")
    year, month, day, hour, minute, second, zulu = match.groups()
    try:
        if hour is None:
            return Moment(datetime(int(year), int(month), int(day)), "date")
        # A leap second (RFC 5545 §3.3.12 allows 60) is the second before it on every clock we have.
        local = datetime(int(year), int(month), int(day), int(hour), int(minute), min(int(second), 59))
        if int(second) > 60:
            raise ValueError("second")
    except ValueError:
        raise ValueError(f"{value[:40]!r} is not a real date or time") from None
    if zulu:
        return Moment(local, "utc", UTC)
    if tzid is None:
        return Moment(local, "floating")
    zone = zones.zone(tzid)
    if zone is None:
        return Moment(local, "floating", None, tzid)
    return Moment(local, "zoned", zone, tzid)


def moment(line: Line, zones: Zones) -> Moment:
    """The DATE or DATE-TIME that a line holds, by the form of its value. Raises ValueError with a sentence."""
    return _parse_value(line.value.strip(), line.param("TZID") or None, zones)


def moments(line: Line, zones: Zones) -> list[Moment]:
    """All values of an EXDATE, or of an RDATE without periods. Raises ValueError at the first that is none."""
    tzid = line.param("TZID") or None
    return [_parse_value(value.strip(), tzid, zones) for value in line.value.split(",") if value.strip()]


def periods(line: Line, zones: Zones) -> list[Period]:
    """All values of an RDATE or FREEBUSY, be they periods or not. Raises ValueError at the first unreadable one."""
    tzid = line.param("TZID") or None
    return [_parse_period(value.strip(), tzid, zones) for value in line.value.split(",") if value.strip()]


def _parse_period(value: str, tzid: str | None, zones: Zones) -> Period:
    first, slash, second = value.partition("/")
    start = _parse_value(first, tzid, zones)
    if not slash:
        return Period(start)
    if second[:1] in ("P", "+", "-"):
        return Period(start, None, duration(second))
    return Period(start, _parse_value(second, tzid, zones))


def duration(text: str) -> Duration:
    """Read a DURATION value. Raises ValueError with a sentence.

    CLIENT Apple and others mix weeks with days and write P1DT as P1DT0S: any order-keeping mix of parts is read.
    """
    return _duration(text) if len(text) > 20 else _short_duration(text)


def _duration(text: str) -> Duration:
    match = _DURATION.fullmatch(text.strip().upper())
    if match is None or not any(match.groups()[1:]):
        if text.strip().upper() in ("P", "PT", "-P", "-PT", "P0", "PT0"):
            return Duration(0, 0)
        raise ValueError(f"{text[:40]!r} is not a duration")
    sign, weeks, days, hours, minutes, seconds = match.groups()
    factor = -1 if sign == "-" else 1
    return Duration(
        factor * (int(weeks or 0) * 7 + int(days or 0)),
        factor * (int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)),
    )


_short_duration = lru_cache(maxsize=256)(_duration)


# ---- the object ----


@dataclass(slots=True)
class CalendarObject:
    """One calendar object resource: the components of its main type and their zones. Made by calendar_object.

    name: of the main type, "" when there is none. master: the first component without RECURRENCE-ID.
    """

    calendar: Component
    name: str
    uid: str | None
    components: list[Component]
    master: Component | None
    overrides: list[Component]
    zones: Zones
    _series: tuple[Zone, Series] | None = field(default=None, repr=False)

    @property
    def recurs(self) -> bool:
        """True when it has a rule, RDATE or overrides."""
        if self.overrides or self.master is None:
            return bool(self.overrides)
        return any(isinstance(item, Line) and item.name in ("RRULE", "RDATE") for item in self.master.items)


def calendar_object(calendar: Component) -> CalendarObject:
    """The parts of a VCALENDAR. Cheap: nothing is parsed before it is needed."""
    components: list[Component] = []
    master: Component | None = None
    overrides: list[Component] = []
    name = ""
    for item in calendar.items:
        if not isinstance(item, Component) or item.name == "VTIMEZONE" or item.name.startswith("X-"):
            continue
        if not name:
            name = item.name
        if item.name != name:
            continue
        components.append(item)
        if item.first("RECURRENCE-ID") is not None:
            overrides.append(item)
        elif master is None:
            master = item
    uid = components[0].first("UID") if components else None
    return CalendarObject(
        calendar, name, uid.text if uid is not None else None, components, master, overrides, Zones(calendar)
    )


# ---- one component's own times ----


@dataclass(frozen=True, slots=True)
class Timing:
    """When a component is, by its own properties.

    start: DTSTART, or what stands for it. length: to its end. end: the DTEND or DUE as written, for its form. shape:
    which row of RFC 4791 §9.9 decides, see _overlaps.
    """

    component: Component
    start: Moment
    length: Duration
    end: Moment | None
    shape: str


# A timing, its start (a wall where it is in the form of the timing's own start), start_s, end_s, the original start
# (None where nothing recurs), and whether it is an override's own.
Raw = tuple[Timing, "Moment | int", int, int, "Moment | int | None", bool]


def _timing(component: Component, zones: Zones, floating_zone: Zone) -> Timing | None:
    """None when nothing says when it is, or what says so cannot be read."""
    try:
        return _read_timing(component, zones, floating_zone)
    except ValueError:
        return None


def _read_timing(component: Component, zones: Zones, floating_zone: Zone) -> Timing | None:
    lines: dict[str, Line] = {}
    for item in component.items:
        if isinstance(item, Line) and item.name in _TIMING_NAMES and item.name not in lines:
            lines[item.name] = item
    name = component.name
    start_line = lines.get("DTSTART")
    end_line = lines.get("DUE") if name == "VTODO" else None if name == "VJOURNAL" else lines.get("DTEND")
    if start_line is None and "RECURRENCE-ID" in lines and name != "VTODO":
        start_line = lines["RECURRENCE-ID"]
    if start_line is None:
        return _timing_without_start(component, lines, end_line, zones, floating_zone)
    start = moment(start_line, zones)
    if end_line is not None:
        end = anchored(moment(end_line, zones), start)
        return Timing(component, start, _distance(start, end, floating_zone), end, "end")
    if "DURATION" in lines and name != "VJOURNAL":
        length = duration(lines["DURATION"].value)
        return Timing(component, start, Duration(max(length.days, 0), max(length.seconds, 0)), None, "duration")
    if name == "VTODO":
        return Timing(component, start, Duration(0, 0), None, "start")
    return Timing(component, start, Duration(1 if start.kind == "date" else 0, 0), None, "start")


_TIMING_NAMES = frozenset(("DTSTART", "DTEND", "DUE", "DURATION", "RECURRENCE-ID", "COMPLETED", "CREATED"))


def _timing_without_start(
    component: Component, lines: dict[str, Line], end_line: Line | None, zones: Zones, floating_zone: Zone
) -> Timing | None:
    if component.name != "VTODO":
        return None
    if end_line is not None:
        due = moment(end_line, zones)
        return Timing(component, due, Duration(0, 0), due, "due")
    completed, created = lines.get("COMPLETED"), lines.get("CREATED")
    if completed is not None and created is not None:
        first, last = moment(created, zones), moment(completed, zones)
        if first.seconds(floating_zone) > last.seconds(floating_zone):
            first, last = last, first
        return Timing(component, first, _distance(first, last, floating_zone), None, "completed")
    if completed is not None:
        return Timing(component, moment(completed, zones), Duration(0, 0), None, "completed")
    if created is not None:
        return Timing(component, moment(created, zones), Duration(0, 0), None, "created")
    return None


def anchored(end: Moment, start: Moment) -> Moment:
    """DTEND or DUE as meant: one that names no zone beside a DTSTART that does is in DTSTART's."""
    if end.kind == "floating" and end.tzid is None and start.zone is not None:
        return Moment(end.local, start.kind, start.zone, start.tzid)
    return end


def _distance(start: Moment, end: Moment, floating_zone: Zone) -> Duration:
    """From DTSTART to DTEND: whole days between two DATEs, else exact seconds (RFC 5545 §3.8.5.3); never negative."""
    if start.kind == "date" and end.kind == "date":
        # CLIENT several write DTEND equal to DTSTART for one all-day day; zero days would make the event vanish.
        return Duration(max((end.local - start.local).days, 1), 0)
    if start.kind == "floating" and end.kind == "floating":
        return Duration(0, max(wall_of(end.local) - wall_of(start.local), 0))
    return Duration(0, max(end.seconds(floating_zone) - start.seconds(floating_zone), 0))


def _overlaps(shape: str, name: str, start_s: int, end_s: int, from_s: int, to_s: int) -> bool:
    """RFC 4791 §9.9: does [start_s, end_s] overlap the range [from_s, to_s)? The tables, row by row."""
    if name == "VTODO":
        if shape == "duration":
            return from_s <= end_s and (to_s > start_s or to_s >= end_s)
        if shape == "end":
            return (from_s < end_s or from_s <= start_s) and (to_s > start_s or to_s >= end_s)
        if shape == "start":
            return from_s <= start_s < to_s
        if shape == "due":
            return from_s < end_s <= to_s
        if shape == "completed":
            return from_s <= end_s and to_s >= start_s
        return to_s > start_s  # created
    if name == "VFREEBUSY":
        return from_s <= end_s and to_s > start_s
    # VEVENT, VJOURNAL, and what is like them: something without length counts at its instant.
    return start_s < to_s and (end_s > from_s or start_s >= from_s)


# ---- the series ----


@dataclass(frozen=True, slots=True)
class Occurrence:
    """One instance of an object, or the one time of an object that does not recur.

    component: what describes it: the master, its override, or the RANGE=THISANDFUTURE override before it. start_s,
    end_s: UTC seconds, floating times and dates resolved in the asker's zone. start: as DTSTART of this instance would
    be written (for a task that has only DUE: DUE). recurrence_id: its original start in the form of the master's
    DTSTART, as written for overrides; None when the object does not recur. overridden: component is an override made
    for this instance. end_form: how the component writes DTEND or DUE, None when it has neither.
    """

    component: Component
    start_s: int
    end_s: int
    start: Moment
    recurrence_id: Moment | None
    floating: bool
    all_day: bool
    overridden: bool
    end_form: Moment | None
    floating_zone: Zone

    @property
    def end(self) -> Moment | None:
        """DTEND or DUE of this instance, in the form of the component's own; None when it has neither."""
        return None if self.end_form is None else self.end_form.at(self.end_s, self.floating_zone)


class _Future:
    """An override with RANGE=THISANDFUTURE: from its original start on, instances move with it (RFC 5545 §3.2.13)."""

    __slots__ = ("rid_s", "shift_s", "timing")

    def __init__(self, timing: Timing, rid: Moment, rid_s: int) -> None:
        self.timing, self.rid_s = timing, rid_s
        # By the wall clock, so that 10:00 moved to 11:00 stays at 11:00 after the clocks change.
        local = timing.start.local
        rid_local = rid.local
        if timing.start.zone is not None and rid.zone is not None and timing.start.zone is not rid.zone:
            rid_local = timing.start.zone.to_local(rid_s)
        self.shift_s = wall_of(local) - wall_of(rid_local)


class Series:
    """What the expansion of one object needs, parsed once for one floating zone.

    Nothing changes it afterwards, so threads may share it; of its components no line is looked at again.
    """

    def __init__(self, obj: CalendarObject, floating_zone: Zone) -> None:
        # Not the object itself, which refers to this: a cycle would keep its megabytes until the next full collection.
        self.zones, self.floating_zone = obj.zones, floating_zone
        self.master = obj.master
        self.certain = True
        self.timing = None if obj.master is None else _timing(obj.master, obj.zones, floating_zone)
        self.recurs = obj.recurs
        self.rules: list[Rule] = []
        self.exrules: list[Rule] = []
        self.rdates: dict[int, Duration | None] = {}
        self.excluded: set[int] = set()
        self.excluded_days: set[date] = set()
        self.overridden: set[int] = set()
        self.overridden_days: set[date] = set()
        self.futures: list[_Future] = []
        # Timing, RECURRENCE-ID, its instant, start_s and end_s.
        self.overrides: dict[object, tuple[Timing, Moment, int, int, int]] = {}
        self._single: tuple[int, int] | None = None
        if self.timing is not None and obj.master is not None and self.recurs:
            self._read_master(obj.master, self.timing)
        self._read_overrides(obj.overrides)
        # How far before a range a series must be looked at, and how far behind it, for instances that reach into it.
        self._reach_s = max(
            [
                0 if self.timing is None else self.timing.length.days * _DAY_S + self.timing.length.seconds,
                *(f.timing.length.days * _DAY_S + f.timing.length.seconds + f.shift_s for f in self.futures),
                *(r.days * _DAY_S + r.seconds for r in self.rdates.values() if r is not None),
            ]
        )
        self._ahead_s = max([0, *(-f.shift_s for f in self.futures)])

    def _read_master(self, master: Component, timing: Timing) -> None:
        zones = self.zones
        for item in master.items:
            if not isinstance(item, Line) or item.name not in ("RRULE", "EXRULE", "RDATE", "EXDATE"):
                continue
            if item.name in ("RRULE", "EXRULE"):
                try:
                    (self.rules if item.name == "RRULE" else self.exrules).append(parse_rule(item.value))
                except RuleError:
                    self.certain = False
                continue
            tzid = item.param("TZID") or None
            for text in item.value.split(","):
                try:
                    value = _parse_period(text.strip(), tzid, zones)
                except ValueError:
                    self.certain = self.certain and not text.strip()
                    continue
                if item.name == "EXDATE":
                    self._name_instance(value.start, timing.start, self.excluded, self.excluded_days)
                else:
                    self._add_rdate(value, timing.start)

    def _add_rdate(self, value: Period, start: Moment) -> None:
        at = value.start
        if start.kind == "date":
            local = datetime(at.local.year, at.local.month, at.local.day)
        elif at.kind == "date":
            # A whole day added to a timed series: at the series' time of day.
            local = at.local.replace(hour=start.local.hour, minute=start.local.minute, second=start.local.second)
        elif at.zone is None or at.zone is start.zone:
            local = at.local
        else:
            local = (start.zone or self.floating_zone).to_local(at.zone.to_utc(at.local))
        length = value.length
        if value.end is not None:
            length = _distance(value.start, value.end, self.floating_zone)
        self.rdates[wall_of(local)] = length

    def _instant(self, at: Moment, start: Moment) -> int:
        """UTC seconds of an EXDATE or RECURRENCE-ID; without a zone it means DTSTART's."""
        return (at.zone or start.zone or self.floating_zone).to_utc(at.local)

    def _name_instance(self, at: Moment, start: Moment, instants: set[int], days: set[date]) -> None:
        if at.kind == "date" or start.kind == "date":
            days.add(at.local.date())
        else:
            instants.add(self._instant(at, start))

    def _read_overrides(self, overrides: list[Component]) -> None:
        zones = self.zones
        for component in overrides:
            line = component.first("RECURRENCE-ID")
            assert line is not None
            timing = _timing(component, zones, self.floating_zone)
            try:
                rid = moment(line, zones)
            except ValueError:
                self.certain = False
                continue
            start = self.timing.start if self.timing is not None else rid
            rid_s = self._instant(rid, start)
            self._name_instance(rid, start, self.overridden, self.overridden_days)
            if timing is None:
                self.certain = False
                continue
            by_day = rid.kind == "date" or start.kind == "date"
            # Two overrides of one instance: the later one in the object stands, as clients that merge by RECURRENCE-ID
            # do.
            key = rid.local.date() if by_day else rid_s
            self.overrides[key] = (timing, rid, rid_s, *self._ends(timing, timing.start))
            if (line.param("RANGE") or "").upper() == "THISANDFUTURE":
                self.futures.append(_Future(timing, rid, rid_s))
        self.futures.sort(key=lambda future: future.rid_s)

    # -- expansion --

    def expand(self, from_s: int, to_s: int, budget: Budget) -> Iterator[Occurrence]:
        """Occurrences that overlap the range: overrides in order of the object, then the series by original start."""
        return map(self.occurrence, self.raw(from_s, to_s, budget))

    def occurrence(self, raw: Raw) -> Occurrence:
        """What one of raw() is in full."""
        timing, start, start_s, end_s, original, overridden = raw
        at = start if isinstance(start, Moment) else timing.start.moved_to(local_of(start))
        rid = original
        if isinstance(original, int):
            assert self.timing is not None
            rid = at if original == start else self.timing.start.moved_to(local_of(original))
        assert not isinstance(rid, int)
        return Occurrence(
            timing.component,
            start_s,
            end_s,
            at,
            rid,
            at.zone is None,
            at.kind == "date",
            overridden,
            timing.end,
            self.floating_zone,
        )

    def raw(self, from_s: int, to_s: int, budget: Budget) -> Iterator[Raw]:
        """The same as cheap tuples: an index of thousands of instances needs no more."""
        for timing, rid, _, start_s, end_s in self.overrides.values():
            budget.spend()
            if _overlaps(timing.shape, timing.component.name, start_s, end_s, from_s, to_s):
                yield timing, timing.start, start_s, end_s, rid, True
        timing_ = self.timing
        if timing_ is None:
            return
        if self.recurs:
            yield from self._raw_series(timing_, from_s, to_s, budget)
            return
        if self._single is None:
            self._single = self._ends(timing_, timing_.start)
        start_s, end_s = self._single
        if _overlaps(timing_.shape, timing_.component.name, start_s, end_s, from_s, to_s):
            yield timing_, timing_.start, start_s, end_s, None, False

    def _raw_series(self, timing: Timing, from_s: int, to_s: int, budget: Budget) -> Iterator[Raw]:
        start, name, shape = timing.start, timing.component.name, timing.shape
        zone = start.zone or self.floating_zone
        to_utc = zone.wall_to_utc
        after = None if from_s <= BEGINLESS else _wall_at(zone, from_s) - self._reach_s - _WINDOW_SLACK_S
        before = None if to_s >= ENDLESS else _wall_at(zone, to_s) + self._ahead_s + _WINDOW_SLACK_S
        excluded_walls = self._excluded_walls(start, after, before, budget) if self.exrules else ()
        excluded, overridden = self.excluded, self.overridden
        by_day = bool(self.excluded_days or self.overridden_days)
        days_s, seconds = timing.length.days * _DAY_S, timing.length.seconds
        simple = name != "VTODO"
        last_s: int | None = None
        if simple and not (days_s or excluded_walls or by_day or self.futures or self.rdates):
            # What nearly every series is. The same as below, with nothing asked that cannot be.
            hidden = excluded | overridden
            offset = until = -_FAR_S
            for wall in self.walls(after, before, budget):
                if wall >= until:
                    offset, until = zone.offset_at(wall)
                start_s = wall - offset
                if start_s == last_s or start_s in hidden:
                    continue
                last_s, end_s = start_s, start_s + seconds
                if start_s < to_s and (end_s > from_s or start_s >= from_s):
                    yield timing, wall, start_s, end_s, wall, False
            return
        for wall in self.walls(after, before, budget):
            if excluded_walls and wall in excluded_walls:
                continue
            original_s = to_utc(wall)
            if original_s == last_s:
                continue  # two walls around a gap in the clocks that are one instant
            last_s = original_s
            if original_s in excluded or original_s in overridden:
                continue
            if by_day:
                day = local_of(wall).date()
                if day in self.excluded_days or day in self.overridden_days:
                    continue
            if self.futures and self.futures[0].rid_s <= original_s:
                moved = self._moved(timing, wall, original_s)
                if _overlaps(moved[0].shape, name, moved[2], moved[3], from_s, to_s):
                    yield moved
                continue
            if self.rdates and (length := self.rdates.get(wall)) is not None:
                end_s = to_utc(wall + length.days * _DAY_S) + length.seconds
            else:
                end_s = (to_utc(wall + days_s) if days_s else original_s) + seconds
            if simple:
                fits = original_s < to_s and (end_s > from_s or original_s >= from_s)
            else:
                fits = _overlaps(shape, name, original_s, end_s, from_s, to_s)
            if fits:
                yield timing, wall, original_s, end_s, wall, False

    def _ends(self, timing: Timing, start: Moment) -> tuple[int, int]:
        """Start and end in UTC seconds of what has this timing and starts there."""
        start_s = start.seconds(self.floating_zone)
        if timing.shape == "created":
            return start_s, ENDLESS  # RFC 4791 §9.9: a task that is only CREATED is open from then on
        if not timing.length.days:
            return start_s, start_s + timing.length.seconds
        return start_s, timing.length.end_s(start, self.floating_zone)

    def _moved(self, timing: Timing, wall: int, original_s: int) -> Raw:
        """An instance behind an override with RANGE=THISANDFUTURE."""
        future = self.futures[bisect_right(self.futures, original_s, key=lambda f: f.rid_s) - 1]
        form = future.timing.start
        rid = timing.start.moved_to(local_of(wall))
        local = local_of(wall_of(self._wall_in(form, rid, original_s)) + future.shift_s)
        if form.kind == "date":
            local = datetime(local.year, local.month, local.day)
        at = form.moved_to(local)
        start_s, end_s = self._ends(future.timing, at)
        return future.timing, at, start_s, end_s, rid, False

    def _wall_in(self, form: Moment, original: Moment, original_s: int) -> datetime:
        """The original start's wall clock as the moved series' zone shows it."""
        if form.zone is None or original.zone is None or form.zone is original.zone:
            return original.local
        return form.zone.to_local(original_s)

    def walls(self, after: int | None, before: int | None, budget: Budget) -> Iterable[int]:
        """Original starts as walls of DTSTART's zone, ascending; EXDATE and overrides are not yet considered."""
        assert self.timing is not None
        start = self.timing.start
        first = wall_of(start.local)
        sources: list[Iterable[int]] = [
            walls(
                rule,
                first,
                until=self.until(rule),
                after=after,
                before=before,
                whole_days=start.kind == "date",
                budget=budget,
            )
            for rule in self.rules
        ]
        if not self.rules and (after is None or first >= after) and (before is None or first <= before):
            sources.append((first,))
        if self.rdates:
            sources.append(
                sorted(w for w in self.rdates if (after is None or w >= after) and (before is None or w <= before))
            )
        return sources[0] if len(sources) == 1 else _merged(sources)

    def until(self, rule: Rule) -> int | None:
        """UNTIL as the last wall allowed in DTSTART's zone."""
        assert self.timing is not None
        start, until = self.timing.start, rule.until
        if until is None:
            return None
        if start.kind == "date":
            return until.wall // _DAY_S * _DAY_S
        if until.kind != "utc" or start.zone is None or start.kind == "utc":
            return until.wall
        return wall_of(start.zone.to_local(until.wall))

    def _excluded_walls(self, start: Moment, after: int | None, before: int | None, budget: Budget) -> set[int]:
        found: set[int] = set()
        first = wall_of(start.local)
        for rule in self.exrules:
            made = walls(
                rule,
                first,
                until=self.until(rule),
                after=after,
                before=before,
                whole_days=start.kind == "date",
                fallback=False,
                budget=budget,
            )
            found.update(made)
        return found


def _wall_at(zone: Zone, instant_s: int) -> int:
    return _remembered_wall(zone, instant_s) if zone.key is not None else wall_of(zone.to_local(instant_s))


@lru_cache(maxsize=256)
def _remembered_wall(zone: Zone, instant_s: int) -> int:
    # The objects of one query are all asked for the same range, in the same few zones.
    return wall_of(zone.to_local(instant_s))


def _merged(sources: list[Iterable[int]]) -> Iterator[int]:
    """Ascending walls of all sources, none twice."""
    last: int | None = None
    for wall in heapq.merge(*sources):
        if wall != last:
            yield wall
        last = wall


def series_of(obj: CalendarObject, floating_zone: Zone) -> Series:
    """The object as expansion needs it; the same one as long as the zone is."""
    if obj._series is None or obj._series[0] is not floating_zone:
        obj._series = (floating_zone, Series(obj, floating_zone))
    return obj._series[1]


def occurrences(
    obj: CalendarObject,
    start_s: int | None,
    end_s: int | None,
    *,
    floating_zone: Zone = UTC,
    limits: Limits = Limits(),
) -> list[Occurrence]:
    """Occurrences that overlap [start_s, end_s) by RFC 4791 §9.9, by start; UTC seconds, None = open.

    The cost follows the range, not the age of the series. Raises TooManyInstances when a limit is reached
    (C:max-instances). VFREEBUSY without DTSTART and a VTODO that nothing places in time have no occurrence: see
    `timeless`.
    """
    found: list[Occurrence] = []
    budget = Budget(limits.steps_max)
    series = series_of(obj, floating_zone)
    for item in series.expand(BEGINLESS if start_s is None else start_s, ENDLESS if end_s is None else end_s, budget):
        if len(found) >= limits.instances_max:
            raise TooManyInstances(f"more than {limits.instances_max} instances")
        found.append(item)
    found.sort(key=lambda item: (item.start_s, item.end_s))
    return found


def iter_occurrences(
    obj: CalendarObject, start_s: int, end_s: int, *, floating_zone: Zone, budget: Budget
) -> Iterator[Occurrence]:
    """The same without limit on results, unsorted: overrides first, then the series by original start."""
    return series_of(obj, floating_zone).expand(start_s, end_s, budget)


def raw_instances(
    obj: CalendarObject, start_s: int, end_s: int, *, floating_zone: Zone, budget: Budget
) -> Iterator[tuple[Component, int, int, bool, bool]]:
    """What iter_occurrences gives, for the index: (component, start_s, end_s, floating, overridden)."""
    for timing, _, first_s, last_s, _, overridden in series_of(obj, floating_zone).raw(start_s, end_s, budget):
        yield timing.component, first_s, last_s, timing.start.zone is None, overridden


def timeless(obj: CalendarObject) -> bool:
    """True for a task without DTSTART, DUE, COMPLETED, CREATED: RFC 4791 §9.9 says that it overlaps every range."""
    return obj.name == "VTODO" and any(_is_timeless(component) for component in obj.components)


def _is_timeless(component: Component) -> bool:
    return not any(
        isinstance(item, Line) and item.name in ("DTSTART", "DUE", "COMPLETED", "CREATED", "RECURRENCE-ID")
        for item in component.items
    )


@dataclass(frozen=True, slots=True)
class Span:
    """Outer bounds of all occurrences, UTC seconds, floating times read as UTC; BEGINLESS/ENDLESS when open.

    floating: some bound is a floating time or a date. endless: some rule has neither COUNT nor UNTIL. certain:
    everything in the object could be read.
    """

    first_s: int
    last_s: int
    floating: bool
    recurs: bool
    endless: bool
    certain: bool
    shift_s: int


def span(obj: CalendarObject, *, limits: Limits = Limits()) -> Span | None:
    """Bounds of everything that `occurrences` can ever return; None when nothing places the object in time.

    They are superset bounds: no occurrence lies outside, but EXDATE and moved instances may leave the ends empty.
    """
    series = series_of(obj, UTC)
    firsts: list[int] = []
    lasts: list[int] = []
    floating = endless = False
    shift_s = 0
    budget = Budget(limits.steps_max)
    for timing, *_ in series.overrides.values():
        start_s = timing.start.seconds(UTC)
        firsts.append(start_s)
        lasts.append(ENDLESS if timing.shape == "created" else timing.length.end_s(timing.start, UTC))
        floating = floating or timing.start.zone is None
    if series.timing is not None:
        timing = series.timing
        zone = timing.start.zone or UTC
        floating = floating or timing.start.zone is None
        start_s = timing.start.seconds(UTC)
        lengths = [timing.length, *(f.timing.length for f in series.futures)]
        lengths += [length for length in series.rdates.values() if length is not None]
        reach = max(length.days * (_DAY_S + 7_200) + length.seconds for length in lengths)
        if not series.recurs:
            reach = timing.length.end_s(timing.start, UTC) - start_s
        reach += max([0, *(f.shift_s for f in series.futures)])
        early = max([0, *(-f.shift_s for f in series.futures)])
        originals = [start_s]
        if series.rdates:
            originals += [zone.to_utc(local_of(min(series.rdates))), zone.to_utc(local_of(max(series.rdates)))]
        for rule in series.rules:
            last = _last_wall(series, rule, budget)
            if last is None:
                endless = True
            else:
                originals.append(zone.to_utc(local_of(last)))
        shift_s = early + max([0, *(f.shift_s for f in series.futures)])
        firsts.append(min(originals) - early)
        lasts.append(ENDLESS if endless or timing.shape == "created" else max(originals) + reach)
    if not firsts:
        return None
    return Span(min(firsts), max(lasts), floating, series.recurs, endless, series.certain, shift_s)


def _last_wall(series: Series, rule: Rule, budget: Budget) -> int | None:
    """The last wall that a rule can make; None when it has no end, or none that could be found within the budget."""
    until = series.until(rule)
    if until is not None:
        return until
    if rule.count is None:
        return None
    assert series.timing is not None
    last = None
    first = wall_of(series.timing.start.local)
    try:
        for wall in walls(rule, first, whole_days=series.timing.start.kind == "date", budget=budget):
            last = wall
    except TooManyInstances:
        return None
    return last
