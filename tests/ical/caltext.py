"""Short ways to write calendar objects in tests."""

from __future__ import annotations

from datetime import UTC, datetime

from dav.ical.lines import read
from dav.ical.recur import CalendarObject, Occurrence, calendar_object
from dav.ical.tz import Zone, named_zone


def body(*components: str, head: str = "") -> bytes:
    """A VCALENDAR around components, with CRLF."""
    text = f"BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//test//EN\n{head}" + "".join(components) + "END:VCALENDAR\n"
    return text.replace("\n", "\r\n").encode()


def component(name: str, *lines: str, uid: str = "one@example.com") -> str:
    return "\n".join([f"BEGIN:{name}", f"UID:{uid}", "DTSTAMP:20260101T000000Z", *lines, f"END:{name}", ""])


def event(*lines: str, uid: str = "one@example.com") -> str:
    return component("VEVENT", *lines, uid=uid)


def todo(*lines: str) -> str:
    return component("VTODO", *lines)


def obj(*components: str) -> CalendarObject:
    return calendar_object(read(body(*components)).components[0])


def zone(name: str) -> Zone:
    found = named_zone(name)
    assert found is not None
    return found


def at(text: str) -> int:
    """UTC seconds of 20260302T090000Z or 20260302."""
    pattern = "%Y%m%dT%H%M%SZ" if "T" in text else "%Y%m%d"
    return int(datetime.strptime(text, pattern).replace(tzinfo=UTC).timestamp())


def utc(seconds: int) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y%m%dT%H%M%SZ}"


def starts(found: list[Occurrence]) -> list[str]:
    return [utc(occurrence.start_s) for occurrence in found]


NEW_YORK = """BEGIN:VTIMEZONE
TZID:{tzid}
BEGIN:DAYLIGHT
DTSTART:20070311T020000
RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=2SU
TZOFFSETFROM:-0500
TZOFFSETTO:-0400
END:DAYLIGHT
BEGIN:STANDARD
DTSTART:20071104T020000
RRULE:FREQ=YEARLY;BYMONTH=11;BYDAY=1SU
TZOFFSETFROM:-0400
TZOFFSETTO:-0500
END:STANDARD
END:VTIMEZONE
"""
