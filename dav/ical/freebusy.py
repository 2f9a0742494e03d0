"""Busy time: what an object blocks, how periods join, and the VFREEBUSY that says so (RFC 4791 §7.10)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from itertools import islice

from dav.ical.index import busy_code
from dav.ical.lines import Line, fold, make_line
from dav.ical.make import PRODID, clean, utc_text
from dav.ical.recur import CalendarObject, Limits, iter_occurrences, periods
from dav.ical.rrule import Budget, TooManyInstances, local_of
from dav.ical.tz import UTC, Zone
from storage.records import Instance

# The kinds of storage.records.Instance.busy, with the FBTYPE of each (RFC 5545 §3.2.9).
FREE, BUSY, TENTATIVE, UNAVAILABLE = range(4)
FBTYPES = {BUSY: "BUSY", TENTATIVE: "BUSY-TENTATIVE", UNAVAILABLE: "BUSY-UNAVAILABLE"}
_BY_FBTYPE = {"FREE": FREE, "BUSY": BUSY, "BUSY-TENTATIVE": TENTATIVE, "BUSY-UNAVAILABLE": UNAVAILABLE}

PERIODS_MAX = 100_000  # FREEBUSY values read of one object

Busy = tuple[int, int, str]  # start_s, end_s, FBTYPE


def busy_of(obj: CalendarObject, start_s: int, end_s: int, *, floating_zone: Zone, limits: Limits) -> list[Instance]:
    """What an object blocks in [start_s, end_s): UTC seconds, floating times already settled in floating_zone.

    VEVENTs by TRANSP and STATUS, VFREEBUSYs by their FREEBUSY periods; other components block nothing. Of an object
    with more than limits.instances_max instances in the range the first ones are given.
    """
    if obj.name == "VFREEBUSY":
        return _stored_periods(obj, start_s, end_s, floating_zone)
    if obj.name != "VEVENT":
        return []
    kinds = {id(component): busy_code(component) for component in obj.components}
    if not any(kinds.values()):
        return []
    found: list[Instance] = []
    occurrences = iter_occurrences(obj, start_s, end_s, floating_zone=floating_zone, budget=Budget(limits.steps_max))
    try:
        for item in islice(occurrences, limits.instances_max):
            kind = kinds[id(item.component)]
            if kind != FREE and item.end_s > item.start_s:
                found.append(Instance(item.start_s, item.end_s, False, kind))
    except TooManyInstances:
        pass  # what was found up to here is busy; an answer with less than all is better than none
    found.sort(key=lambda item: (item.start_s, item.end_s))
    return found


def _stored_periods(obj: CalendarObject, start_s: int, end_s: int, zone: Zone) -> list[Instance]:
    found: list[Instance] = []
    lines = (line for component in obj.components for line in component.all("FREEBUSY"))
    for line in lines:
        kind = _BY_FBTYPE.get((line.param("FBTYPE") or "BUSY").upper(), BUSY)  # RFC 5545 §3.2.9: unknown is BUSY
        if kind == FREE or len(found) >= PERIODS_MAX:
            continue
        try:
            values = periods(line, obj.zones)
        except ValueError:
            continue
        for value in values:
            first_s, last_s = value.seconds(zone)
            if first_s < end_s and last_s > start_s:
                found.append(Instance(first_s, last_s, False, kind))
    return found


def merge_busy(instances: Iterable[Instance], start_s: int, end_s: int, *, floating_zone: Zone = UTC) -> list[Busy]:
    """Busy periods within [start_s, end_s): clipped, touching or overlapping ones of a type joined, by start.

    Periods of different types may overlap, as RFC 4791 §7.10 allows: a tentative meeting during a firm one is kept.
    floating_zone: for instances marked as floating.
    """
    by_kind: dict[int, list[tuple[int, int]]] = {}
    for first_s, last_s, floating, kind in instances:
        if floating:
            first_s, last_s = floating_zone.to_utc(local_of(first_s)), floating_zone.to_utc(local_of(last_s))
        if first_s < start_s:
            first_s = start_s
        if last_s > end_s:
            last_s = end_s
        if first_s < last_s and kind in FBTYPES:
            if kind not in by_kind:
                by_kind[kind] = []
            by_kind[kind].append((first_s, last_s))
    merged: list[Busy] = []
    for kind, found in by_kind.items():
        found.sort()
        current_start, current_end = found[0]
        for first_s, last_s in found[1:]:
            if first_s <= current_end:
                if last_s > current_end:
                    current_end = last_s
            else:
                merged.append((current_start, current_end, FBTYPES[kind]))
                current_start, current_end = first_s, last_s
        merged.append((current_start, current_end, FBTYPES[kind]))
    merged.sort()
    return merged


def free_busy_answer(
    periods: Iterable[Busy],
    start_s: int,
    end_s: int,
    *,
    now_s: int,
    organizer: Line | str | None = None,
    attendee: Line | str | None = None,
    uid: str | None = None,
    method: str | None = None,
) -> bytes:
    """A VCALENDAR with one VFREEBUSY (RFC 4791 §7.10, RFC 5546 §3.3.2); one FREEBUSY line for each type of busy time.

    organizer, attendee: a line to repeat as it came, or a calendar user address. uid: of the request; without one it is
    made from the range and the answer. method: "REPLY" in an answer by iTIP.
    """
    by_type: dict[str, list[str]] = {}
    for first_s, last_s, kind in periods:
        by_type.setdefault(kind, []).append(f"{utc_text(first_s)}/{utc_text(last_s)}")
    lines = [_line(f"FREEBUSY;FBTYPE={kind}:{','.join(by_type[kind])}") for kind in FBTYPES.values() if kind in by_type]
    if uid is None:
        seed = f"{start_s}/{end_s}/{now_s}\n".encode() + b"".join(lines)
        uid = hashlib.sha256(seed).hexdigest()[:32]
    head = ["BEGIN:VCALENDAR", "VERSION:2.0", f"PRODID:{PRODID}"]
    if method is not None:
        head.append(f"METHOD:{clean(method)}")
    head += ["BEGIN:VFREEBUSY", f"UID:{clean(uid)}", f"DTSTAMP:{utc_text(now_s)}"]
    head += [f"DTSTART:{utc_text(start_s)}", f"DTEND:{utc_text(end_s)}"]
    parts = [_line(text) for text in head]
    for name, who in (("ORGANIZER", organizer), ("ATTENDEE", attendee)):
        if isinstance(who, str):
            parts.append(make_line(name, clean(who)).raw)
        elif who is not None:
            parts.append(_line(f"{who.head}:{who.value}"))
    parts += lines
    parts.append(b"END:VFREEBUSY\r\nEND:VCALENDAR\r\n")
    return b"".join(parts)


def _line(text: str) -> bytes:
    return fold(clean(text))
