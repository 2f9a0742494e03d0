"""How secret an object is by its own words (RFC 5545 §3.8.1.3, RFC 2426 §3.7.1)."""

from __future__ import annotations

from collections.abc import Iterator

from dav.ical.lines import Component, Line
from storage.records import SECRECY

PUBLIC, CONFIDENTIAL, PRIVATE = range(len(SECRECY))
# What is not known is treated as PRIVATE (RFC 5545 §3.8.1.3). RESTRICTED is CalendarServer's.
_KNOWN = {"": PUBLIC, "PUBLIC": PUBLIC, "CONFIDENTIAL": CONFIDENTIAL, "RESTRICTED": CONFIDENTIAL}


def secrecy_of(calendar: Component) -> int:
    """Of a VCALENDAR: PRIVATE when all its components are, PUBLIC when all are, else CONFIDENTIAL; or of a VCARD."""
    if calendar.name != "VCALENDAR":
        return secrecy_of_lines(calendar.all("CLASS"))
    found = {secrecy for _, secrecy in secrecy_of_components(calendar)}
    return found.pop() if len(found) == 1 else CONFIDENTIAL if found else PUBLIC


def secrecy_of_components(calendar: Component) -> Iterator[tuple[Component, int]]:
    """Of each component of a VCALENDAR but its zones, in order. In one pass: there may be thousands of overrides."""
    # CLIENT CalendarServer and old iCal: the whole calendar object says it.
    whole = secrecy_of_lines(calendar.all("X-CALENDARSERVER-ACCESS"))
    for component in calendar.components:
        if component.name != "VTIMEZONE":
            yield component, max(whole, secrecy_of_lines(component.all("CLASS")))


def secrecy_of_lines(lines: list[Line]) -> int:
    """Of CLASS lines: the most secret."""
    return max((_KNOWN.get(line.value.strip().upper(), PRIVATE) for line in lines), default=PUBLIC)
