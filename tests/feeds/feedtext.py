"""Calendars as outside servers give them out."""

from __future__ import annotations


def event(uid: str, *lines: str, start: str = "20261201T120000Z", stamp: str = "20261101T000000Z") -> list[str]:
    """The lines of an event; uid "" for none."""
    named = [f"UID:{uid}"] if uid else []
    return ["BEGIN:VEVENT", *named, f"DTSTAMP:{stamp}", f"DTSTART:{start}", *lines, "END:VEVENT"]


def calendar(*parts: list[str], head: tuple[str, ...] = (), end: bool = True) -> bytes:
    """A calendar of these components. head: further lines of the calendar itself. end: it has its end."""
    lines = [
        "BEGIN:VCALENDAR",
        "VERSION:2.0",
        "PRODID:-//Outside//EN",
        *head,
        *(line for part in parts for line in part),
    ]
    return "".join(f"{line}\r\n" for line in [*lines, *(["END:VCALENDAR"] if end else [])]).encode()


def club(count: int, **words: str) -> bytes:
    """A calendar of `count` events, club-0@x and so on."""
    return calendar(
        *(event(f"club-{i}@x", f"SUMMARY:Evening {i}", start=f"2026{i % 12 + 1:02d}{i % 28 + 1:02d}T190000Z", **words)
          for i in range(count))
    )  # fmt: skip


ALARM = ["BEGIN:VALARM", "ACTION:DISPLAY", "TRIGGER:-PT10M", "END:VALARM"]
BERLIN = [
    "BEGIN:VTIMEZONE", "TZID:Europe/Berlin", "BEGIN:DAYLIGHT", "TZOFFSETFROM:+0100", "TZOFFSETTO:+0200",
    "DTSTART:19810329T020000", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", "END:DAYLIGHT", "BEGIN:STANDARD",
    "TZOFFSETFROM:+0200", "TZOFFSETTO:+0100", "DTSTART:19961027T030000", "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU",
    "END:STANDARD", "END:VTIMEZONE",
]  # fmt: skip
