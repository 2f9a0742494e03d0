"""What the store keeps of a calendar object, so that a time range finds it without reading it (RFC 4791 §9.9)."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import islice

from dav.ical.lines import Component, Line, unescape
from dav.ical.recur import CalendarObject, Period, Span, periods, raw_instances, span, timeless
from dav.ical.recur import Limits as _Limits
from dav.ical.rrule import Budget, TooManyInstances
from dav.ical.secrecy import secrecy_of
from dav.ical.tz import UTC
from storage.records import BEGINLESS, ENDLESS, Instance, ObjectIndex

_DAY_S = 86_400
# Floating times are read as UTC here; the asker's zone is at most this far from it.
_FLOATING_MARGIN_S = 14 * 3_600
# A finished series with no more instances than this is indexed whole, also outside the window.
_WHOLE_MAX = 64
_SUMMARY_CHARS_MAX = 500
_STEPS_MAX = 50_000

_Found = tuple[Component, int, int, bool, bool]  # component, start_s, end_s, floating, overridden

_BUSY_OF_FBTYPE = {"FREE": 0, "BUSY": 1, "BUSY-TENTATIVE": 2, "BUSY-UNAVAILABLE": 3}


def index_calendar(
    obj: CalendarObject,
    *,
    now_s: int,
    back_s: int = 366 * _DAY_S,
    ahead_s: int = 2 * 366 * _DAY_S,
    instances_max: int = 4_000,
) -> ObjectIndex:
    """The index of one object, with its instances from now_s - back_s to now_s + ahead_s (UTC seconds).

    An object that does not recur, and a short series that ends, is indexed whole. When the window holds more than
    instances_max instances it is shortened: indexed_to_s then says how far they reach. Never raises for what the object
    holds: what cannot be understood makes bounds wider, so a query looks at the object itself.
    """
    summary = _summary(obj)
    if obj.name == "VFREEBUSY":
        return _index_free_busy(obj, summary)
    if obj.name not in ("VEVENT", "VTODO", "VJOURNAL") or timeless(obj):
        return ObjectIndex(uid=obj.uid, component=obj.name, summary=summary, secrecy=secrecy_of(obj.calendar))
    bounds = span(obj, limits=_Limits(steps_max=_STEPS_MAX))
    if bounds is None and obj.name == "VTODO":
        secrecy = secrecy_of(obj.calendar)
        return ObjectIndex(uid=obj.uid, component=obj.name, recurs=obj.recurs, summary=summary, secrecy=secrecy)
    if bounds is None:
        # A note without a date is in no range (RFC 4791 §9.9: VJOURNAL); an event that nothing places may be anywhere.
        dateless = obj.name == "VJOURNAL" and all(component.first("DTSTART") is None for component in obj.components)
        return ObjectIndex(
            uid=obj.uid,
            component=obj.name,
            first_s=ENDLESS if dateless else BEGINLESS,
            last_s=BEGINLESS if dateless else ENDLESS,
            exact=dateless,
            summary=summary,
            secrecy=secrecy_of(obj.calendar),
            readable=dateless,
        )
    return _index_in_window(obj, bounds, now_s - back_s, now_s + ahead_s, instances_max, summary)


def _index_in_window(
    obj: CalendarObject, bounds: Span, from_s: int, to_s: int, instances_max: int, summary: str | None
) -> ObjectIndex:
    whole = not bounds.recurs or (from_s <= bounds.first_s and bounds.last_s < to_s)
    limit = instances_max
    if not whole and not bounds.endless:
        whole, limit = True, min(_WHOLE_MAX, instances_max)  # a short series elsewhere is worth having whole
    found: list[_Found] = []
    reached_s: int | None = None
    if whole:
        found, reached_s = _collect(obj, BEGINLESS, ENDLESS, limit, bounds.shift_s)
        whole = reached_s is None
    if not whole:
        found, reached_s = _collect(obj, from_s, to_s, instances_max, bounds.shift_s)
    first_s, last_s, exact = bounds.first_s, bounds.last_s, False
    if whole and found:
        first_s = min(item[1] for item in found)
        last_s = max(item[2] for item in found)
        exact = bounds.certain and not bounds.floating
    elif bounds.endless and bounds.certain and not bounds.floating:
        first = _first_start(obj)
        if first is not None:
            first_s = first
            # Something after the first one shows that the rule makes instances, and then it does so for ever.
            exact = any(not overridden and start_s > first_s for _, start_s, _, _, overridden in found)
    if obj.name == "VTODO":
        # RFC 4791 §9.9 counts a task also at the very instant of its end, other than [start, end).
        first_s, last_s, exact = first_s - 1, last_s + 1, False
    margin = _FLOATING_MARGIN_S if bounds.floating else 0
    complete = whole and bounds.certain
    return ObjectIndex(
        uid=obj.uid,
        component=obj.name,
        first_s=max(first_s - margin, BEGINLESS),
        last_s=min(last_s + margin, ENDLESS),
        exact=exact,
        recurs=bounds.recurs,
        instances=tuple(_instances(found, obj.name)),
        indexed_from_s=BEGINLESS if complete else from_s,
        indexed_to_s=ENDLESS if complete else to_s if reached_s is None else max(from_s, min(reached_s, to_s)),
        summary=summary,
        secrecy=secrecy_of(obj.calendar),
    )


def _collect(obj: CalendarObject, from_s: int, to_s: int, most: int, shift_s: int) -> tuple[list[_Found], int | None]:
    """All occurrences in the range, and None; or, at a limit, those that start before an instant, and that instant.

    shift_s: how far an override with RANGE=THISANDFUTURE may change the order of the series.
    """
    found: list[_Found] = []
    full = False
    try:
        found.extend(islice(raw_instances(obj, from_s, to_s, floating_zone=UTC, budget=Budget(_STEPS_MAX)), most + 1))
        full = len(found) > most
    except TooManyInstances:
        full = True
    if not full:
        return found, None
    # Overrides come first: until the series has begun, nothing is complete.
    reached_s = max((item[1] for item in found if not item[4]), default=from_s)
    stopped_s = max(reached_s, from_s) - shift_s
    found = [] if stopped_s <= from_s else [item for item in found[:most] if item[1] < stopped_s]
    return found, stopped_s


def _first_start(obj: CalendarObject) -> int | None:
    """The earliest start of all occurrences; None when it could not be found."""
    first_s: int | None = None
    try:
        for item in raw_instances(obj, BEGINLESS, ENDLESS, floating_zone=UTC, budget=Budget(_STEPS_MAX)):
            first_s = item[1] if first_s is None else min(first_s, item[1])
            if not item[4]:
                return first_s  # the series comes in order
    except TooManyInstances:
        return None
    return None


def _instances(found: list[_Found], name: str) -> Iterator[Instance]:
    widen = 1 if name == "VTODO" else 0
    last: Component | None = None
    code = 0
    for component, start_s, end_s, floating, _ in found:
        if component is not last:
            last, code = component, busy_code(component)
        if end_s >= ENDLESS or widen:
            start_s, end_s = start_s - widen, min(end_s + widen, ENDLESS)
        yield Instance(start_s, end_s, floating, code)


def busy_code(component: Component) -> int:
    """0 free, 1 busy, 2 tentative (RFC 4791 §7.10): only events take time, by STATUS and TRANSP."""
    if component.name != "VEVENT":
        return 0
    code = 1
    for item in component.items:
        if isinstance(item, Line):
            if item.name == "TRANSP" and item.value.strip().upper() == "TRANSPARENT":
                return 0
            if item.name == "STATUS":
                status = item.value.strip().upper()
                if status == "CANCELLED":
                    return 0
                if status == "TENTATIVE":
                    code = 2
    return code


def _index_free_busy(obj: CalendarObject, summary: str | None) -> ObjectIndex:
    """VFREEBUSY: its DTSTART to DTEND as free time, for a range asks for that, and its periods with their type."""
    instances: list[Instance] = []
    readable = True
    for component in obj.components:
        for line in component.all("FREEBUSY"):
            code = _BUSY_OF_FBTYPE.get((line.param("FBTYPE") or "BUSY").upper(), 1)
            try:
                found: list[Period] = periods(line, obj.zones)
            except ValueError:
                readable = False
                continue
            for period in found:
                start_s, end_s = period.seconds(UTC)
                instances.append(Instance(start_s, end_s, period.start.zone is None, code))
    everything = raw_instances(obj, BEGINLESS, ENDLESS, floating_zone=UTC, budget=Budget(_STEPS_MAX))
    for _, start_s, end_s, floating, _ in everything:
        # RFC 4791 §9.9: start <= DTEND, so its last instant counts too.
        instances.append(Instance(start_s, end_s + 1, floating, 0))
    if not instances:
        return ObjectIndex(
            uid=obj.uid,
            component=obj.name,
            first_s=ENDLESS if readable else BEGINLESS,
            last_s=BEGINLESS if readable else ENDLESS,
            summary=summary,
            secrecy=secrecy_of(obj.calendar),
        )
    margin = _FLOATING_MARGIN_S if any(instance.floating for instance in instances) else 0
    return ObjectIndex(
        uid=obj.uid,
        component=obj.name,
        first_s=min(instance.start_s for instance in instances) - margin,
        last_s=max(instance.end_s for instance in instances) + margin,
        instances=tuple(instances),
        summary=summary,
        secrecy=secrecy_of(obj.calendar),
        readable=readable,
    )


def _summary(obj: CalendarObject) -> str | None:
    component = obj.master or (obj.components[0] if obj.components else None)
    line = None if component is None else component.first("SUMMARY")
    # An escape is two characters; one that is cut through stands behind what is kept.
    return None if line is None else unescape(line.value[: 2 * _SUMMARY_CHARS_MAX + 1])[:_SUMMARY_CHARS_MAX]
