"""Time zones by reference (RFC 7809 §3.1.3): calendar data without the zones that everybody knows, or with all of them.

Works by cutting out and putting in whole VTIMEZONEs: everything else stays byte for byte as it was stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC as UTC_ZONE
from datetime import datetime

from dav.ical.lines import Component, Line, LineError, make_line, read
from dav.ical.render import line_end
from dav.ical.tz import Zones, named_zone, vtimezone_for

_ADDED_MAX = 50  # definitions added to one object; real ones have two or three
_SPAN_YEARS_MAX = 80  # that an added definition describes
_YEAR = re.compile(r"(?<!\d)(\d{4})\d{4}(?!\d)", re.ASCII)
_VTIMEZONE = re.compile(rb"VTIMEZONE", re.IGNORECASE)
_TZID = re.compile(rb"T(?:\r?\n[ \t])?Z(?:\r?\n[ \t])?I(?:\r?\n[ \t])?D(?:\r?\n[ \t])?=", re.IGNORECASE)  # folds too


def as_wanted(body: bytes, zones: bool | None) -> bytes:
    """The body with all its time zones, without the known ones, or for None as it is."""
    if zones is None:
        return body
    return with_all_zones(body) if zones else without_known_zones(body)


def without_known_zones(body: bytes) -> bytes:
    """The body without the VTIMEZONEs of IANA names; the same object when it has none.

    A definition stays when the times of the object are read by it, as those of an abbreviation ("EST") are.
    """
    if not _VTIMEZONE.search(body):
        return body
    for calendar in _calendars(body):
        zones = Zones(calendar)
        for component in calendar.components:
            tzid = (component.value("TZID") or "").strip()
            if component.name == "VTIMEZONE" and _is_known(zones, tzid):
                body = body.replace(component.to_bytes(), b"", 1)
    return body


def _is_known(zones: Zones, tzid: str) -> bool:
    zone = named_zone(tzid)
    return zone is not None and zone.key == tzid and zones.zone(tzid) is zone


def with_all_zones(body: bytes) -> bytes:
    """The body with a VTIMEZONE for every TZID in it that names a known zone; the same object when none lacks."""
    if not _TZID.search(body):
        return body
    start = 0
    for calendar in _calendars(body):
        whole = calendar.to_bytes()
        start = body.index(whole, start)
        added = _missing_zones(calendar)
        if added:
            at = body.index(calendar.components[0].to_bytes(), start)
            body = body[:at] + added + body[at:]
        start += len(added) + len(whole)
    return body


def _calendars(body: bytes) -> list[Component]:
    try:
        return read(body).components
    except LineError:
        return []  # an unreadable object is given as it is


def _missing_zones(calendar: Component) -> bytes:
    zones = Zones(calendar)
    defined = {(item.value("TZID") or "").strip() for item in calendar.components if item.name == "VTIMEZONE"}
    years: dict[str, list[int]] = {}
    for line in _lines_in_time(calendar):
        tzid = line.param("TZID")
        if tzid and tzid.isprintable() and tzid.strip() not in defined:
            years.setdefault(tzid, []).extend(int(year) for year in _YEAR.findall(line.value))
    eol = line_end(calendar.begin.raw)
    parts = []
    for tzid in list(years)[:_ADDED_MAX]:
        zone = zones.zone(tzid)
        if zone is not None and zone.key is not None:
            parts.append(_definition(tzid, zone.key, years[tzid]).replace(b"\r\n", eol))
    return b"".join(parts)


def _lines_in_time(component: Component) -> Iterator[Line]:
    """The lines with a TZID of everything but time zones."""
    for item in component.items:
        if isinstance(item, Line):
            if ";" in item.head:
                yield item
        elif item.name != "VTIMEZONE":
            yield from _lines_in_time(item)


def _definition(tzid: str, key: str, years: list[int]) -> bytes:
    """A VTIMEZONE under the name that the object uses, right from the decade of its first time on.

    Whole decades, so that few texts serve many objects; a recurring event goes on after the last time that is written.
    """
    last = min(max(years, default=2020) // 10 * 10 + 29, 2399)
    first = max(min(years, default=2020) // 10 * 10, last - _SPAN_YEARS_MAX, 1900)
    text = vtimezone_for(key, _january(first), _january(last))
    return text.encode().replace(f"TZID:{key}\r\n".encode(), make_line("TZID", tzid).raw, 1)


def _january(year: int) -> int:
    return int(datetime(year, 1, 2, tzinfo=UTC_ZONE).timestamp())
