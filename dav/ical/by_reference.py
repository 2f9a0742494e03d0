"""Time zones by reference (RFC 7809 §3.1.3): calendar data without the zones that everybody knows, or with all of them.

Works by editing components: every line that is not of a VTIMEZONE stays byte for byte as it was stored.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC as UTC_ZONE
from datetime import datetime

from dav.ical.lines import Component, Line, LineError, content_lines, read
from dav.ical.tz import Zones, named_zone, vtimezone_for

_ADDED_MAX = 100  # definitions added to one object; real ones have two or three
_YEAR = re.compile(r"(?<!\d)(\d{4})\d{4}(?!\d)", re.ASCII)
_VTIMEZONE = re.compile(rb"VTIMEZONE", re.IGNORECASE)
_TZID = re.compile(rb";[ \t\r\n]*T[ \t\r\n]*Z", re.IGNORECASE)  # a line may be folded anywhere


def without_known_zones(body: bytes) -> bytes:
    """The body without the VTIMEZONEs of IANA names; the same object when there are none.

    A definition stays when the times of the object are read by it, as those of an abbreviation are ("EST").
    """
    if not _VTIMEZONE.search(body):
        return body
    return _edited(body, _without)


def with_all_zones(body: bytes) -> bytes:
    """The body with a VTIMEZONE for every TZID in it that is known by its name; the same object when none is missing."""
    if not _TZID.search(body):
        return body
    return _edited(body, _with)


def _edited(body: bytes, edit: Edit) -> bytes:
    try:
        document = read(body)
    except LineError:
        return body
    parts = [edit(calendar) for calendar in document.components]
    if all(part is None for part in parts):
        return body
    whole = zip(document.components, parts, strict=True)
    return b"".join(calendar.to_bytes() if part is None else part.to_bytes() for calendar, part in whole)
