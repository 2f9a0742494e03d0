"""One calendar of many events → calendar objects as a collection keeps them, one a UID (RFC 4791 §4.1). Pure.

What outside calendars are like decides what is done here. Each item stands for itself: one that cannot be used is left
out with a note and spoils no other. Equal calendars give equal bytes, whatever order the events come in, so that
nothing changes for any device when nothing has changed.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass, field

from dav.ical.by_reference import with_all_zones
from dav.ical.lines import Line, LineError, content_lines, fold, make_line
from dav.ical.make import PRODID, clean
from dav.ical.recur import duration

NOTES_MAX = 50
NOTE_CHARS_MAX = 200
DEPTH_MAX = 16
# Physical lines, with their folds; each costs about a microsecond.
LINES_MAX = 2_000_000
# How much longer the objects may be together than what they came from: each has its time zones with it.
_GROWTH_MAX = 6
_GROWTH_FREE_BYTES = 4 * 1024 * 1024

KINDS = ("VEVENT", "VTODO", "VJOURNAL")
# What cannot stand inside an item, so that an item which is still open was never closed.
_TOP = frozenset({*KINDS, "VFREEBUSY", "VTIMEZONE", "VAVAILABILITY", "VPOLL"})
_NAME = re.compile(r"[A-Za-z0-9_-]+", re.ASCII)
_COLOUR = re.compile(r"#[0-9A-Fa-f]{6}(?:[0-9A-Fa-f]{2})?", re.ASCII)
_CALENDAR_TEXTS = {
    "NAME": "name", "X-WR-CALNAME": "name", "DESCRIPTION": "description", "X-WR-CALDESC": "description",
    "X-WR-TIMEZONE": "zone_id",
}  # fmt: skip
# Programs that make a calendar anew for each who asks write these anew too.
_NOISE = re.compile(
    rb"^(?:DTSTAMP|LAST-MODIFIED|SEQUENCE|CREATED|PRODID)[;:][^\n]*+\n(?:[ \t][^\n]*+\n)*+",
    re.MULTILINE | re.IGNORECASE,
)


class NotACalendar(ValueError):
    """The body cannot be taken at all. The message is a sentence."""


@dataclass(frozen=True, slots=True)
class Item:
    """One calendar object. name: of the resource, the same for a UID at any time. component: of KINDS."""

    name: str
    uid: str
    component: str
    body: bytes


@dataclass(frozen=True, slots=True)
class Split:
    """What a body holds.

    notes: what was left out, a sentence each. closed: the calendar has its end. cut: it ends inside of an item. name,
    description, zone_id, colour ("#RRGGBB"): of the calendar, "" when it does not say. refresh_s: how often it wants to
    be fetched, or None.
    """

    items: tuple[Item, ...]
    notes: tuple[str, ...]
    closed: bool
    cut: bool
    name: str = ""
    description: str = ""
    zone_id: str = ""
    colour: str = ""
    refresh_s: int | None = None


def name_of(uid: str) -> str:
    """The name of the resource that holds a UID."""
    return f"{hashlib.sha256(uid.encode()).hexdigest()[:40]}.ics"


def quiet(body: bytes) -> bytes:
    """A body without the lines that change though nothing of the event does. For comparing only."""
    return _NOISE.sub(b"", body)


def split(body: bytes, *, strip: Collection[str] = (), items_max: int = 20_000) -> Split:
    """Take a calendar apart. strip: of "alarms", "attachments", "todos". items_max: events, tasks and their overrides.

    Raises NotACalendar for what holds no calendar, one of more than items_max items, or one that grows too much.
    """
    if b"\n" not in body and b"\r" in body:
        body = body.replace(b"\r", b"\n")
    if body.count(b"\n") > LINES_MAX:
        raise NotACalendar(f"It has more than {LINES_MAX} lines.")
    reader = _Reader(frozenset(strip), items_max)
    try:
        for line in content_lines(body):
            reader.take(line)
    except LineError as error:
        raise NotACalendar(f"It cannot be read: {error}.") from None
    reader.end()
    if not reader.calendars:
        raise NotACalendar("It is no calendar: there is no BEGIN:VCALENDAR.")
    most = _GROWTH_MAX * len(body) + _GROWTH_FREE_BYTES
    items = tuple(_assemble(reader.parts, reader.notes, most))
    texts = reader.texts
    return Split(
        items, reader.notes.lines(), reader.closed, reader.cut, texts.get("name", ""), texts.get("description", ""),
        texts.get("zone_id", ""), reader.colour, reader.refresh_s,
    )  # fmt: skip


class Notes:
    """Sentences about what was left out; only so many are kept, and the others counted."""

    def __init__(self) -> None:
        self._lines: list[str] = []
        self._more = 0

    def add(self, sentence: str) -> None:
        if len(self._lines) < NOTES_MAX:
            text = sentence[:NOTE_CHARS_MAX]
            self._lines.append("".join(char if char.isprintable() else " " for char in text))
        else:
            self._more += 1

    def lines(self) -> tuple[str, ...]:
        more = (f"And {self._more} more.",) if self._more else ()
        return (*self._lines, *more)


@dataclass(slots=True)
class _Calendar:
    """One VCALENDAR while it is read. zones: VTIMEZONE by TZID. first: its first part's place among all parts."""

    zones: dict[str, bytes] = field(default_factory=dict)


@dataclass(slots=True)
class _Part:
    """One component of an item.

    uid: "" when it has none. instance: its RECURRENCE-ID as written, "" for a master. order: which of two versions is
    the newer one.
    """

    kind: str
    calendar: _Calendar
    number: int
    uid: str = ""
    uid_raw: bytes = b""
    instance: str = ""
    start: str = ""
    recurs: bool = False
    sequence: int = 0
    stamp: str = ""
    tzids: set[str] = field(default_factory=set)
    tzid: str = ""
    broken: str = ""
    raw: list[bytes] = field(default_factory=list)
    body: bytes = b""

    @property
    def order(self) -> tuple[int, str]:
        return self.sequence, self.stamp

    @property
    def label(self) -> str:
        return f"Line {self.number}, {self.kind[:20]}" + (f" {self.uid[:80]}" if self.uid else "")


class _Reader:
    """Reads line by line; what was read of an item is only its bytes and the few values that decide about it."""

    def __init__(self, strip: frozenset[str], items_max: int) -> None:
        self.strip, self.items_max = strip, items_max
        self.notes = Notes()
        self.parts: list[_Part] = []
        self.calendars = 0
        self.closed = self.cut = False
        self.texts: dict[str, str] = {}
        self.colour = ""
        self.refresh_s: int | None = None
        self._calendar: _Calendar | None = None
        self._part: _Part | None = None
        self._stack: list[str] = []
        self._skipped = 0  # depth of the component whose lines are left out, 0 for none

    def take(self, line: Line) -> None:
        if line.name == "BEGIN":
            self._begin(line)
        elif line.name == "END":
            self._end(line)
        elif self._part is not None:
            self._inside(self._part, line)
        elif self._calendar is not None:
            self._of_calendar(line)

    def end(self) -> None:
        """Nothing comes any more."""
        self.cut = self._part is not None
        self.closed = self._calendar is None and self.calendars > 0
        if self._part is not None:
            self.notes.add(f"{self._part.label}: it is not whole.")

    def _begin(self, line: Line) -> None:
        name = line.value.strip().upper()
        if name == "VCALENDAR":
            self._drop_open()
            self._calendar = _Calendar()
            self.calendars += 1
            return
        if self._calendar is None:
            return
        if self._part is not None and name in _TOP:
            self._drop_open()
        if self._part is None:
            self._part = _Part(name, self._calendar, line.number)
            self._stack = [name]
            self._part.raw.append(_raw(line))
            return
        self._stack.append(name)
        if len(self._stack) > DEPTH_MAX:
            self._part.broken = f"components nest deeper than {DEPTH_MAX}"
        elif not self._skipped and name == "VALARM" and "alarms" in self.strip:
            self._skipped = len(self._stack)
        elif not self._skipped:
            self._part.raw.append(_raw(line))

    def _end(self, line: Line) -> None:
        name = line.value.strip().upper()
        if name == "VCALENDAR":
            self._drop_open()
            self._calendar = None
            return
        part = self._part
        if part is None:
            return
        if self._stack[-1] != name:
            part.broken = part.broken or f"END:{name[:20]} closes nothing that is open"
            if name == self._stack[0]:
                self._finish(part)
            return
        self._stack.pop()
        if not self._skipped:
            part.raw.append(_raw(line))
        elif len(self._stack) < self._skipped:
            self._skipped = 0
        if not self._stack:
            self._finish(part)

    def _drop_open(self) -> None:
        if self._part is not None:
            self._part.broken = "it is never closed"
            self._finish(self._part)

    def _finish(self, part: _Part) -> None:
        self._part, self._stack, self._skipped = None, [], 0
        if part.kind == "VTIMEZONE":
            if part.tzid and not part.broken:
                part.calendar.zones.setdefault(part.tzid, b"".join(part.raw))
            return
        if part.kind not in KINDS:
            if not part.kind.startswith("X-"):
                self.notes.add(f"{part.label}: this kind is not kept in a calendar.")
            return
        if part.kind == "VTODO" and "todos" in self.strip:
            return
        if part.broken:
            self.notes.add(f"{part.label}: {part.broken}.")
            return
        if len(self.parts) >= self.items_max:
            raise NotACalendar(f"It has more than {self.items_max} events.")
        part.body = b"".join(part.raw)
        part.raw = []
        self.parts.append(part)

    def _inside(self, part: _Part, line: Line) -> None:
        if self._skipped:
            return
        name = line.name
        if not name or not _NAME.fullmatch(name):
            if line.raw.strip():
                self.notes.add(f"Line {line.number}: this is no content line, and was left out of its {part.kind}.")
            return
        if name == "ATTACH" and "attachments" in self.strip:
            return
        if name == "UID" and not line.value.strip():
            return  # it gets one
        raw = _raw(line)
        part.raw.append(raw)
        if ";" in line.head and "tzid" in line.head.lower():
            part.tzids.add((line.param("TZID") or "").strip())
        if len(self._stack) == 1:
            self._notice(part, name, line, raw)

    def _notice(self, part: _Part, name: str, line: Line, raw: bytes) -> None:
        if name == "UID":
            if not part.uid:
                part.uid, part.uid_raw = line.text, raw
        elif name == "RECURRENCE-ID":
            part.instance = part.instance or line.value.strip()
        elif name == "DTSTART":
            part.start = part.start or line.value.strip()
        elif name in ("RRULE", "RDATE"):
            part.recurs = True
        elif name == "SEQUENCE":
            value = line.value.strip()
            part.sequence = int(value) if value.isascii() and value.isdigit() and len(value) < 10 else 0
        elif name == "LAST-MODIFIED" or (name == "DTSTAMP" and not part.stamp):
            part.stamp = line.value.strip()
        elif name == "TZID":
            part.tzid = line.value.strip()

    def _of_calendar(self, line: Line) -> None:
        name = line.name
        if name in _CALENDAR_TEXTS:
            text = clean(" ".join(line.text[:1000].split()))
            if text:
                # RFC 7986's own names stand first in most calendars; either will do.
                self.texts.setdefault(_CALENDAR_TEXTS[name], text)
        elif name in ("X-APPLE-CALENDAR-COLOR", "COLOR"):
            value = line.value.strip()
            if not self.colour and _COLOUR.fullmatch(value):
                self.colour = value[:7].upper()
        elif name in ("REFRESH-INTERVAL", "X-PUBLISHED-TTL"):
            self._refresh(name, line.value)
        elif name == "CALSCALE" and line.value.strip().upper() not in ("GREGORIAN", ""):
            raise NotACalendar(f"The calendar scale {clean(line.value)[:20]} is not known.")

    def _refresh(self, name: str, value: str) -> None:
        try:
            found = duration(value)
        except ValueError:
            return
        seconds = found.days * 86_400 + found.seconds
        # RFC 7986 §5.7 is the standard one; the other is Outlook's.
        if seconds > 0 and (self.refresh_s is None or name == "REFRESH-INTERVAL"):
            self.refresh_s = seconds


def _raw(line: Line) -> bytes:
    """The line's bytes as every program reads them: UTF-8, CRLF, nothing that ends it early."""
    raw = line.raw
    if not raw.isascii():
        try:
            raw.decode()
        except UnicodeDecodeError:  # Latin-1, or a fold inside of a character
            return fold(f"{line.head}:{line.value}")
    if raw[-2:] == b"\r\n" and raw.count(b"\n") == 1 == raw.count(b"\r"):
        return raw if raw[:3] != b"\xef\xbb\xbf" else raw[3:]
    raw = raw.replace(b"\r", b"").rstrip(b"\n").replace(b"\n", b"\r\n")
    return raw + b"\r\n"


# ---- parts → items ----


def _assemble(parts: list[_Part], notes: Notes, bytes_max: int) -> Iterable[Item]:
    """The items in the order of their names."""
    by_uid: dict[str, list[_Part]] = {}
    for part in parts:
        if not part.uid:
            _name_by_content(part)
        by_uid.setdefault(part.uid, []).append(part)
    total = 0
    for item in sorted((item for group in by_uid.values() for item in _items_of(group, notes)), key=lambda i: i.name):
        total += len(item.body)
        if total > bytes_max:
            raise NotACalendar("Its time zones make it too large.")
        yield item


def _name_by_content(part: _Part) -> None:
    """Gives an item without a UID the same one whenever it says the same."""
    digest = hashlib.sha256(quiet(part.body)).hexdigest()
    _rename(part, f"{digest[:32]}-without-uid")


def _rename(part: _Part, uid: str) -> None:
    line = make_line("UID", uid).raw
    if part.uid_raw:
        part.body = part.body.replace(b"\n" + part.uid_raw, b"\n" + line, 1)
    else:
        begin, newline, rest = part.body.partition(b"\n")
        part.body = begin + newline + line + rest
    part.uid, part.uid_raw = uid, line


def _items_of(group: list[_Part], notes: Notes) -> Iterable[Item]:
    """The items that one UID stands for: one, unless a program gives the same UID to different things."""
    uid = group[0].uid
    if len(group) == 1:
        yield _item(uid, group)
        return
    first = True
    for kind in KINDS:
        alike = [part for part in group if part.kind == kind]
        if not alike:
            continue
        masters = _newest((part for part in alike if not part.instance), by_start=True)
        overrides = _newest(part for part in alike if part.instance)
        # The series, which the overrides are of, keeps the UID; then the earliest. Not the first one that comes: many
        # programs write events in another order each time.
        masters.sort(key=lambda part: (not part.recurs, part.start, part.body))
        overrides.sort(key=lambda part: part.instance)
        keeps = [*masters[:1], *overrides]
        if not first:
            other = f"{uid}-{kind.lower()}"
            for part in keeps:
                _rename(part, other)
            notes.add(f"{keeps[0].label}: another kind of item has this UID too.")
        yield _item(keeps[0].uid, keeps)
        for part in masters[1:]:
            notes.add(f"{part.label}: another item has this UID too; both are kept.")
            _rename(part, f"{uid}-{hashlib.sha256((part.kind + part.start).encode()).hexdigest()[:12]}")
            yield _item(part.uid, [part])
        first = False


def _newest(parts: Iterable[_Part], *, by_start: bool = False) -> list[_Part]:
    """Of several versions the newest: of each instance, or of masters each that starts at another time."""
    found: dict[str, _Part] = {}
    for part in parts:
        key = part.start if by_start else part.instance
        known = found.get(key)
        if known is None or (part.order, part.body) > (known.order, known.body):
            found[key] = part
    return list(found.values())


def _item(uid: str, parts: list[_Part]) -> Item:
    tzids = set().union(*(part.tzids for part in parts)) - {""}
    # Components of one UID may come from several calendars in one file, each with its own definitions. Only those that
    # are named are looked up: a file may define a hundred thousand.
    zones: dict[str, bytes] = {}
    for one in {id(part.calendar): part.calendar for part in parts}.values():
        for tzid in one.zones.keys() & tzids:
            zones.setdefault(tzid, one.zones[tzid])
    head = f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:{PRODID}\r\n".encode()
    definitions = [zones[tzid] for tzid in sorted(tzids) if tzid in zones]
    body = b"".join((head, *definitions, *(part.body for part in parts), b"END:VCALENDAR\r\n"))
    if any(tzid not in zones for tzid in tzids):
        # Apple's programs take a time whose zone is not defined for a floating one.
        body = with_all_zones(body)
    return Item(name_of(uid), uid, parts[0].kind, body)
