"""When somebody can be met at all: VAVAILABILITY (RFC 7953), as busy time.

A VAVAILABILITY is a window in which one is unavailable, with AVAILABLE parts, which may recur, in which one is not. Of
several the one with the more urgent PRIORITY decides wherever it reaches (§4).
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator
from itertools import islice

from dav.ical.freebusy import BUSY, TENTATIVE, UNAVAILABLE
from dav.ical.lines import Component, LineError, read
from dav.ical.recur import CalendarObject, Limits, duration, iter_occurrences, moment
from dav.ical.rrule import Budget, TooManyInstances
from dav.ical.tz import Zone, Zones
from storage.records import Instance

_BUSYTYPES = {"BUSY": BUSY, "BUSY-TENTATIVE": TENTATIVE, "BUSY-UNAVAILABLE": UNAVAILABLE}
# Of windows of the same priority that overlap, the first of these counts (§3.1, BUSYTYPE).
_STRONGEST = (BUSY, UNAVAILABLE, TENTATIVE)
_LOWEST = 10  # PRIORITY 0 and none at all stand behind 9
COMPONENTS_MAX = 200  # VAVAILABILITYs, and AVAILABLEs in each, that are looked at

Span = tuple[int, int]


def read_availability(text: str | bytes) -> Component | None:
    """The VCALENDAR of a text with at least one VAVAILABILITY and nothing else but time zones; None for any other."""
    data = text.encode() if isinstance(text, str) else text
    try:
        document = read(data, lines_max=20_000, params_max=20_000)
    except LineError:
        return None
    calendars = document.components
    if len(calendars) != 1 or calendars[0].name != "VCALENDAR":
        return None
    names = {item.name for item in calendars[0].components}
    return calendars[0] if "VAVAILABILITY" in names and names <= {"VAVAILABILITY", "VTIMEZONE"} else None


def unavailable(
    calendars: Iterable[Component], start_s: int, end_s: int, *, floating_zone: Zone, limits: Limits
) -> list[Instance]:
    """What VAVAILABILITYs in these VCALENDARs block in [start_s, end_s): UTC seconds, disjoint, by start.

    busy: of their BUSYTYPE, BUSY-UNAVAILABLE without one. Without any VAVAILABILITY that reaches the range, nothing.
    floating_zone: for times that name no zone, which RFC 7953 forbids and clients write.
    """
    levels: dict[int, list[tuple[Component, Zones, Span]]] = {}
    budget = Budget(limits.steps_max)
    for calendar in calendars:
        zones = Zones(calendar)
        windows = (item for item in calendar.components if item.name == "VAVAILABILITY")
        for item in islice(windows, COMPONENTS_MAX):
            span = _window(item, zones, floating_zone, start_s, end_s)
            if span is not None:
                levels.setdefault(_priority(item), []).append((item, zones, span))
    decided: list[Span] = []
    found: list[Instance] = []
    for level in sorted(levels):
        by_kind: dict[int, list[Span]] = {}
        free: list[Span] = []
        for item, zones, span in levels[level]:
            by_kind.setdefault(_kind(item), []).append(span)
            free += _available(item, zones, span, floating_zone, limits.instances_max, budget)
        taken = joined([*decided, *free])
        for kind in _STRONGEST:
            spans = _without(joined(by_kind.get(kind, [])), taken)
            found += [Instance(first_s, last_s, False, kind) for first_s, last_s in spans]
            taken = joined([*taken, *spans])
        decided = joined([*decided, *(span for _, _, span in levels[level])])
    found.sort(key=lambda item: item.start_s)
    return found


def beside(blocked: Iterable[Instance], events: Iterable[Instance]) -> list[Instance]:
    """What of blocked lies outside all events, whatever their kind: an event tells more than a window (§4).

    Floating events must have been settled before.
    """
    taken = joined((event.start_s, event.end_s) for event in events)
    left: list[Instance] = []
    for item in blocked:
        spans = _without([(item.start_s, item.end_s)], taken)
        left += [Instance(first_s, last_s, False, item.busy) for first_s, last_s in spans]
    return left


def _window(item: Component, zones: Zones, zone: Zone, start_s: int, end_s: int) -> Span | None:
    """What of the range a VAVAILABILITY speaks about; open at a side that it does not name. None: nothing."""
    first_s, last_s = start_s, end_s
    begin, end, length = item.first("DTSTART"), item.first("DTEND"), item.first("DURATION")
    try:
        at = moment(begin, zones) if begin is not None else None
        if at is not None:
            first_s = max(first_s, at.seconds(zone))
        if end is not None:
            last_s = min(last_s, moment(end, zones).seconds(zone))
        elif length is not None and at is not None:
            last_s = min(last_s, duration(length.value).end_s(at, zone))
    except ValueError:
        return None
    return (first_s, last_s) if first_s < last_s else None


def _priority(item: Component) -> int:
    text = (item.value("PRIORITY") or "").strip()
    number = int(text) if text.isascii() and text.isdigit() and len(text) < 3 else 0
    return number if 1 <= number <= 9 else _LOWEST


def _kind(item: Component) -> int:
    return _BUSYTYPES.get((item.value("BUSYTYPE") or "").strip().upper(), UNAVAILABLE)


def _available(
    item: Component, zones: Zones, span: Span, zone: Zone, instances_max: int, budget: Budget
) -> Iterator[Span]:
    """The AVAILABLE times of one VAVAILABILITY within its window; what cannot be read or counted is not available."""
    for obj in _series(item, zones):
        occurrences = iter_occurrences(obj, span[0], span[1], floating_zone=zone, budget=budget)
        try:
            for one in islice(occurrences, instances_max):
                first_s, last_s = max(one.start_s, span[0]), min(one.end_s, span[1])
                if first_s < last_s:
                    yield first_s, last_s
        except (TooManyInstances, ValueError):
            continue


def _series(item: Component, zones: Zones) -> Iterator[CalendarObject]:
    """Each AVAILABLE with its overrides, as something that recurs like an event does (§3.1)."""
    parts = [part for part in item.components if part.name == "AVAILABLE"][:COMPONENTS_MAX]
    # They recur by the rules of events (RFC 5545 §3.8.5), which the name decides.
    events = [Component("VEVENT", part.begin, part.items, part.end) for part in parts]
    masters = [event for event in events if event.first("RECURRENCE-ID") is None]
    overrides: dict[str, list[Component]] = {}
    for event in events:
        if event.first("RECURRENCE-ID") is not None:
            overrides.setdefault(event.value("UID") or "", []).append(event)
    for master in masters:
        uid = master.value("UID") or ""
        own = overrides.pop(uid, []) if uid else []
        yield CalendarObject(item, "VEVENT", uid, [master, *own], master, own, zones)


def _end_s(span: Span) -> int:
    return span[1]


def joined(spans: Iterable[Span]) -> list[Span]:
    """Disjoint spans by start; what touches or overlaps is one."""
    joined: list[Span] = []
    for first_s, last_s in sorted(spans):
        if joined and first_s <= joined[-1][1]:
            joined[-1] = (joined[-1][0], max(joined[-1][1], last_s))
        else:
            joined.append((first_s, last_s))
    return joined


def _without(spans: list[Span], taken: list[Span]) -> list[Span]:
    """What of spans lies outside taken; both are disjoint and by start."""
    left: list[Span] = []
    for first_s, last_s in spans:
        position = bisect_right(taken, first_s, key=_end_s)
        at = first_s
        while position < len(taken) and taken[position][0] < last_s:
            if at < taken[position][0]:
                left.append((at, taken[position][0]))
            at = max(at, taken[position][1])
            position += 1
        if at < last_s:
            left.append((at, last_s))
    return left
