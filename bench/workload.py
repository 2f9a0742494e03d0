"""What is stored: calendars and address books as people have them, made of a number, and what a right answer holds.

Of ten events six are single meetings, two repeat weekly without end, one repeats with one instance moved by a quarter
of an hour, and one lasts a whole day; all begin in 2026, those with a time between 7 and 19 o'clock in Paris, so that
no instance crosses the bounds of a day in UTC. Each has a time zone, an alarm and 200 characters of text.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta

JUNE = (date(2026, 6, 1), date(2026, 6, 30))
ONE_DAY = (date(2026, 6, 10), date(2026, 6, 10))
ZONE = "\n".join(
    [
        "BEGIN:VTIMEZONE", "TZID:Europe/Paris", "BEGIN:DAYLIGHT", "TZOFFSETFROM:+0100", "TZOFFSETTO:+0200",
        "TZNAME:CEST", "DTSTART:19700329T020000", "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", "END:DAYLIGHT",
        "BEGIN:STANDARD",
        "TZOFFSETFROM:+0200", "TZOFFSETTO:+0100", "TZNAME:CET", "DTSTART:19701025T030000",
        "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU", "END:STANDARD", "END:VTIMEZONE",
    ]
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Event:
    """Number i of the calendar. kind: its last digit: 0–5 single, 6–8 weekly (8 with an exception), 9 all day."""

    number: int
    day: date
    hour: int
    text: str

    @property
    def kind(self) -> int:
        return self.number % 10

    @property
    def weekly(self) -> bool:
        return 6 <= self.kind <= 8

    def instances(self, first: date, last: date) -> int:
        """How many instances it has on the days from first to last."""
        if not self.weekly:
            return int(first <= self.day <= last)
        start = self.day if self.day >= first else first + timedelta((self.day - first).days % 7)
        return (last - start).days // 7 + 1 if start <= last else 0


def event(number: int) -> Event:
    dice = random.Random(number)
    day = date(2026, dice.randint(1, 12), dice.randint(1, 28))
    return Event(number, day, dice.randint(7, 18), "".join(dice.choices("abcdefghijklmnop ", k=200)))


def calendar(number: int, version: int = 0) -> bytes:
    """The iCalendar object of event `number`; another version has another title."""
    one = event(number)
    when = f"{one.day:%Y%m%d}T{one.hour:02}0000"
    uid = [f"UID:bench-{number}@example.org", "DTSTAMP:20260101T000000Z"]
    alarm = ["BEGIN:VALARM", "ACTION:DISPLAY", "DESCRIPTION:Reminder", "TRIGGER:-PT15M", "END:VALARM"]
    place = f"LOCATION:Room {number % 40}"
    if one.kind == 9:
        time = [f"DTSTART;VALUE=DATE:{one.day:%Y%m%d}"]
    elif one.weekly:
        time = [f"DTSTART;TZID=Europe/Paris:{when}", "DURATION:PT45M", "RRULE:FREQ=WEEKLY"]
    else:
        time = [f"DTSTART;TZID=Europe/Paris:{when}", f"DTEND;TZID=Europe/Paris:{when[:-4]}3000"]
    text = f"DESCRIPTION:{one.text[:60]}\n {one.text[60:130]}\n {one.text[130:]}"
    title = f"SUMMARY:Meeting {number} v{version}"
    lines = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//bench//EN", *([] if one.kind == 9 else [ZONE])]
    lines += ["BEGIN:VEVENT", *uid, title, *time, text, place, *alarm, "END:VEVENT"]
    if one.kind == 8:
        lines += ["BEGIN:VEVENT", *uid, f"RECURRENCE-ID;TZID=Europe/Paris:{when}", f"SUMMARY:Moved {number}"]
        lines += [f"DTSTART;TZID=Europe/Paris:{when[:-4]}1500", "DURATION:PT45M", place, *alarm, "END:VEVENT"]
    return "\r\n".join("\n".join([*lines, "END:VCALENDAR", ""]).split("\n")).encode()


def meeting(number: int, guests: Sequence[str]) -> bytes:
    """A meeting that bench@example.org calls now, one hour each day from tomorrow on."""
    now = datetime.now(UTC)
    stamp, start = f"{now:%Y%m%dT%H%M%SZ}", (now + timedelta(1 + number)).replace(hour=9, minute=0, second=0)
    lines = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//bench//EN", "BEGIN:VEVENT", f"UID:meeting-{number}@example.org",
        f"DTSTAMP:{stamp}", f"CREATED:{stamp}", "SEQUENCE:0", f"DTSTART:{start:%Y%m%dT%H%M%SZ}", "DURATION:PT1H",
        f"SUMMARY:Planning {number}", "ORGANIZER;CN=Bench:mailto:bench@example.org",
        "ATTENDEE;CN=Bench;PARTSTAT=ACCEPTED:mailto:bench@example.org",
        *(f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:{guest}@example.org" for guest in guests),
        "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def matching(events: int, span: tuple[date, date]) -> int:
    """How many of the first `events` events have an instance on these days."""
    return sum(event(number).instances(*span) > 0 for number in range(events))


def instances(events: int, span: tuple[date, date]) -> int:
    return sum(event(number).instances(*span) for number in range(events))


def components(events: int) -> int:
    """How many VEVENTs they are in all."""
    return events + sum(number % 10 == 8 for number in range(events))


def card(number: int, version: int = 0) -> bytes:
    """The contact `number`; another version has another organisation."""
    first = ("Ana", "Bo", "Cy", "Dee", "Eve", "Fay", "Gus", "Hal", "Ivy", "Jo")[number * 7 % 10]
    lines = [
        "BEGIN:VCARD", "VERSION:3.0", f"UID:bench-card-{number}", f"FN:{first} Name{number}",
        f"N:Name{number};{first};;;",
        f"ORG:Company {number % 50 + 50 * version}", f"EMAIL;TYPE=WORK:{first.lower()}.name{number}@example.org",
        f"TEL;TYPE=CELL:+1555{number:07}", f"ADR;TYPE=HOME:;;{number} Main Street;Town;;12345;Country",
        "NOTE:" + "note " * 13, " " + "note " * 14, " " + "note " * 3, "END:VCARD", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def named_77(contacts: int) -> int:
    """How many names hold "name77"."""
    return sum(str(number).startswith("77") for number in range(contacts))


def phone_event(number: int, now: datetime) -> bytes:
    """A calendar of three years around now, as a phone finds it: one event in five repeats twenty weeks."""
    start = now + timedelta(days=number * 389 % 1095 - 730, hours=number % 9)
    lines = [
        "BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//bench//EN", "BEGIN:VEVENT", f"UID:phone-{number}@example.org",
        "DTSTAMP:20260101T000000Z", f"DTSTART:{start:%Y%m%dT%H0000Z}", "DURATION:PT1H",
        *(["RRULE:FREQ=WEEKLY;COUNT=20"] if number % 5 == 0 else []),
        f"SUMMARY:Event {number}", "DESCRIPTION:" + "text " * 12, " " + "text " * 14, " " + "text " * 14,
        "END:VEVENT", "END:VCALENDAR", "",
    ]  # fmt: skip
    return "\r\n".join(lines).encode()


def phone_matching(events: int, now: datetime, since: datetime) -> int:
    """How many of them have an instance that ends after `since`."""
    found = 0
    for number in range(events):
        last = now + timedelta(days=number * 389 % 1095 - 730, hours=number % 9 + 1)
        last += timedelta(weeks=19 if number % 5 == 0 else 0)
        found += last > since
    return found


def whole_hour() -> datetime:
    return datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
