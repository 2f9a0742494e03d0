"""From the bytes of one item to the objects that can be stored: what a rule refuses is put right where nothing is lost.

Bytes that are good as they are stay as they are. Otherwise an item is taken apart: one object for each UID, with the
time zones that it names, and what RFC 5545 §3.6 demands is added. Lines are moved and added, never written anew.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from dav import vcard
from dav.config import Config
from dav.errors import DavError
from dav.ical.lines import Component, Document, Line, LineError, escape, fold, make_line, read
from dav.methods.put import Described, describe
from dav.version import VERSION

# Objects of one item. A calendar of fifty years has some ten thousand.
PARTS_MAX = 200_000
_PRODID = f"-//Davenport//Davenport {VERSION}//EN"
_SAFE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+=-]{0,180}")
_STAMP = re.compile(r"[0-9]{8}T[0-9]{6}Z")
_MAIN = frozenset({"VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY", "VPOLL"})
_METHOD = re.compile(rb"^METHOD[;:]", re.I | re.M)
_TIMES = frozenset({"DTSTART", "DTEND", "DUE", "RECURRENCE-ID", "EXDATE", "RDATE"})
_VALUE_DATE = re.compile(r";VALUE=\"?DATE\"?(?=;|$)", re.I)
_LINE_END = re.compile(rb"\r?\n")
# Of a calendar's own properties those that are about the file as a whole.
_OF_THE_FILE = frozenset({"X-WR-CALNAME", "X-WR-CALDESC", "NAME", "X-WR-RELCALID", "X-APPLE-CALENDAR-COLOR"})
_LOST_STAMP = "19700101T000000Z"
_OLD = (
    "It is a vCalendar 1.0, as old telephones and Outlook wrote it, whose rules and alarms have another form: open it"
    " in a calendar program and save it as iCalendar (.ics)."
)


@dataclass(frozen=True, slots=True)
class Part:
    """One object that can be stored. key: what tells it from the others of its item, "" when it is the only one.

    notes: what was put right, a sentence each.
    """

    key: str
    body: bytes
    described: Described
    notes: tuple[str, ...] = ()


@dataclass(slots=True)
class Parts:
    """What came of one item. left: (what, why it cannot be stored), for each object that cannot."""

    good: list[Part] = field(default_factory=list)
    left: list[tuple[str, str]] = field(default_factory=list)


def parts_of(kind: str, body: bytes, config: Config, now_s: int, *, tidy: bool) -> Parts:
    """The objects in an item. kind: "event" or "card".

    tidy: the bytes come from a file and no client holds them, so what is only tolerated is put in order too.
    """
    text, notes = _utf8(body) if tidy else (body, ())
    untidy = tidy and (_METHOD.search(text) is not None if kind == "event" else _is_21(text))
    try:
        described = describe(kind, text, config, now_s)
    except DavError as refused:
        first = refused.again()
    else:
        complete = not tidy or (described.index.uid is not None and _whole(kind, text))
        if not untidy and complete:
            return Parts([Part("", text, described, notes)])
        first = DavError(403)
    if tidy:
        text = _LINE_END.sub(b"\r\n", text) if b"\n" in text else text.replace(b"\r", b"\r\n")
    splitter = _calendars if kind == "event" else _cards
    parts = Parts()
    count = size = 0
    try:
        for key, data, said, why in splitter(text, config, now_s):
            count += 1
            size += len(data)
            if not why and size > _GROWTH_MAX * config.imports.file_bytes:
                why = "The objects of the file are together too large."
            if why:
                parts.left.append((key, why))
                continue
            try:
                described = describe(kind, data, config, now_s)
            except DavError as refused:
                parts.left.append((key, refused.detail))
            else:
                parts.good.append(Part(key, data, described, (*notes, *said)))
    except LineError as error:
        return Parts(left=[("", first.detail or f"Cannot be read: {error}.")])
    if not count:
        if tidy and kind == "event" and b"BEGIN:VCALENDAR" in text.upper():
            return Parts()  # a calendar that holds nothing, as an export of an empty one does
        return Parts(left=[("", first.detail or "There is nothing in it that can be stored.")])
    if count == 1 and parts.good:
        only = parts.good[0]
        parts.good = [Part("", only.body, only.described, only.notes)]
    return parts


def name_for(uid: str | None, suffix: str, body: bytes) -> str:
    """A name for an object that has none: from its UID, when that can be one."""
    if uid is not None and _SAFE.fullmatch(uid):
        return uid + suffix
    seed = uid.encode("utf-8", "surrogateescape") if uid is not None else body
    return hashlib.sha256(seed).hexdigest()[:40] + suffix


def made_uid(data: bytes) -> str:
    """A UID for what has none: the same for the same bytes, so that a second import finds it again."""
    digest = bytearray(hashlib.sha256(data).digest()[:16])
    digest[6], digest[8] = digest[6] & 0x0F | 0x80, digest[8] & 0x3F | 0x80  # RFC 9562 §5.8: version 8
    text = digest.hex()
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def _utf8(body: bytes) -> tuple[bytes, tuple[str, ...]]:
    """The body as UTF-8 without a byte order mark."""
    if body[:2] in (b"\xff\xfe", b"\xfe\xff"):
        return body.decode("utf-16", "replace").encode(), ("It was UTF-16.",)
    body = body.removeprefix(b"\xef\xbb\xbf")
    return body, ()


def _whole(kind: str, body: bytes) -> bool:
    """Whether a calendar has all that RFC 5545 §3.6 and §3.6.1 demand and can be added, in UTF-8."""
    try:
        body.decode()
    except UnicodeDecodeError:
        return False
    if kind == "card":
        return True
    upper = body.upper()
    return all(name in upper for name in (b"VERSION", b"PRODID", b"DTSTAMP"))


def _is_21(body: bytes) -> bool:
    return re.search(rb"^VERSION[ \t]*:[ \t]*2\.1", body, re.I | re.M) is not None


# ---- calendars ------------------------------------------------------------------------------------------------------

_Found = tuple[str, bytes, tuple[str, ...], str]  # key, body, notes, why it is left out


def _calendars(body: bytes, config: Config, now_s: int) -> Iterator[_Found]:
    """One VCALENDAR for each UID. Raises LineError."""
    document = _bounded(body, config, nested=16)
    strays = "Lines outside of any component were left out." if document.stray else ""
    groups: dict[tuple[str, str], list[tuple[Component, Component]]] = {}
    notes: dict[tuple[str, str], list[str]] = {}
    for calendar in document.components:
        if calendar.name != "VCALENDAR":
            yield calendar.name[:40], b"", (), f"{calendar.name[:40]} is no calendar."
            continue
        version = (calendar.value("VERSION") or "2.0").strip()
        if version != "2.0":
            yield "", b"", (), _OLD if version == "1.0" else f"Version {version[:20]!r} is not iCalendar 2.0."
            continue
        for component in calendar.components:
            if component.name not in _MAIN:
                if component.name != "VTIMEZONE" and not component.name.startswith("X-"):
                    yield component.name[:40], b"", (), f"{component.name[:40]} is not a component of a calendar."
                continue
            uid = (component.value("UID") or "").strip()
            said = []
            if not uid:
                uid = made_uid(component.to_bytes())
                component.items = [item for item in component.items if not _named(item, "UID")]
                component.items.insert(0, make_line("UID", uid))
                said.append("It had no UID and was given one.")
            key = (component.name, uid)
            if key not in groups and len(groups) >= PARTS_MAX:
                yield uid, b"", (), f"More than {PARTS_MAX} objects are in one file."
                return
            groups.setdefault(key, []).append((calendar, component))
            notes.setdefault(key, []).extend(said)
    if strays:
        for said in notes.values():
            said.append(strays)
            break
    frames = {id(calendar): _Frame(calendar) for calendar in document.components}
    for key, members in groups.items():
        yield from _one_uid(key[1], members, notes[key], frames, config.limits.resource_bytes)


def _one_uid(
    uid: str, members: list[tuple[Component, Component]], said: list[str], frames: dict[int, _Frame], most: int
) -> Iterator[_Found]:
    chosen: dict[bytes, tuple[Component, Component]] = {}
    masters = [pair for pair in members if pair[1].first("RECURRENCE-ID") is None]
    newest = max((pair[1] for pair in masters), key=_age, default=None)
    kept = None if newest is None else newest.to_bytes()
    for calendar, component in members:
        data = component.to_bytes()
        if data in chosen:
            continue
        if component.first("RECURRENCE-ID") is None and component is not newest and component.name != "VAVAILABILITY":
            if data == kept:
                continue
            yield uid, b"", (), f"A second {component.name} with the UID {uid[:100]!r}; the newer one was taken."
            continue
        chosen[data] = (calendar, component)
    first = members[0][0]
    parts = [first.begin.raw if first.begin.raw.endswith(b"\n") else b"BEGIN:VCALENDAR\r\n"]
    parts += frames[id(first)].head
    said += frames[id(first)].said
    wanted = dict.fromkeys(zone for _, component in chosen.values() for zone in _zones_named(component))
    for number in dict.fromkeys(id(calendar) for calendar, _ in chosen.values()):
        zones = frames[number].zones
        for zone_id in [zone_id for zone_id in wanted if zone_id in zones]:
            del wanted[zone_id]
            parts.append(zones[zone_id])
    for _, component in chosen.values():
        _plain_times(component, said)
        if component.first("DTSTAMP") is None and component.name in _MAIN:
            value = (component.value("LAST-MODIFIED") or component.value("CREATED") or "").strip()
            component.items.insert(0, make_line("DTSTAMP", value if _STAMP.fullmatch(value) else _LOST_STAMP))
            said.append("It had no DTSTAMP and was given one.")
        parts.append(component.to_bytes())
    parts.append(b"END:VCALENDAR\r\n")
    size = sum(map(len, parts))
    if size > most:  # before they are put together: what all objects share may be long
        yield uid, b"", (), f"It has {size} bytes; at most {most} are stored."
        return
    yield uid, b"".join(_lines_utf8(parts, said)), tuple(dict.fromkeys(said)), ""


def _plain_times(component: Component, said: list[str]) -> None:
    """VALUE=DATE taken off what is a time: the value itself says it (Xandikos writes it so)."""
    for place, item in enumerate(component.items):
        if not isinstance(item, Line) or item.name not in _TIMES or (item.param("VALUE") or "").upper() != "DATE":
            continue
        if all("T" in value for value in item.value.split(",")):
            head = _VALUE_DATE.sub("", item.head)
            component.items[place] = Line(item.name, item.group, item.value, fold(f"{head}:{item.value}"), 0, head)
            said.append(f"VALUE=DATE was taken off the time in {item.name}.")


def _age(component: Component) -> tuple[int, str, str]:
    """Larger for the newer of two components with one UID (RFC 5546 §2.1.5)."""
    sequence = (component.value("SEQUENCE") or "").strip()
    number = int(sequence) if sequence.isascii() and sequence.isdigit() and len(sequence) < 10 else 0
    modified, stamp = ((component.value(name) or "").strip() for name in ("LAST-MODIFIED", "DTSTAMP"))
    return number, modified, stamp


class _Frame:
    """What a calendar gives to each of its objects: made once, for there may be very many of them.

    head: its own properties, with what RFC 5545 §3.6 demands. said: what was put right in them. zones: VTIMEZONEs by
    TZID; of two for one the first.
    """

    def __init__(self, calendar: Component) -> None:
        self.zones: dict[str, bytes] = {}
        self.head: list[bytes] = []
        self.said: list[str] = []
        seen = set()
        for item in calendar.items:
            if isinstance(item, Component):
                zone_id = item.value("TZID") if item.name == "VTIMEZONE" else None
                if zone_id is not None:
                    self.zones.setdefault(zone_id.strip(), item.to_bytes())
                continue
            seen.add(item.name)
            if item.name == "METHOD":
                self.said.append("METHOD was removed.")
            elif not item.name:
                self.said.append("A line without a colon was left out.")
            elif item.name not in _OF_THE_FILE:
                self.head.append(_ended(item.raw))
        for name, value in (("PRODID", escape(_PRODID)), ("VERSION", "2.0")):
            if name not in seen:
                self.head.insert(0, make_line(name, value).raw)
                self.said.append(f"{name} was missing and was added.")


def _zones_named(component: Component) -> Iterator[str]:
    for item in component.items:
        if isinstance(item, Component):
            yield from _zones_named(item)
        elif ";" in item.head:
            zone_id = item.param("TZID")
            if zone_id is not None:
                yield zone_id.strip()


def _named(item: Line | Component, name: str) -> bool:
    return isinstance(item, Line) and item.name == name


# ---- cards ----------------------------------------------------------------------------------------------------------


def _cards(body: bytes, config: Config, now_s: int) -> Iterator[_Found]:
    """One card each. Raises LineError."""
    document = _bounded(body, config, nested=vcard.NESTING_MAX + 2)
    cards = list(_inside(document.components))
    if len(cards) > PARTS_MAX:
        yield "", b"", (), f"More than {PARTS_MAX} contacts are in one file."
        return
    for card in cards:
        if card.name != "VCARD":
            yield card.name[:40], b"", (), f"{card.name[:40]} is no contact."
            continue
        said: list[str] = []
        if card.first("VERSION") is None:
            card.items.insert(0, make_line("VERSION", "3.0"))
            said.append("VERSION was missing and was added.")
        data = card.to_bytes()
        if _is_21(data):
            data = vcard.convert(data, "3.0")
            said.append("It was a vCard 2.1 and is a vCard 3.0 now.")
        data = b"".join(_lines_utf8([data], said))
        uid = _uid_line(data)
        if not uid:
            uid = made_uid(data)
            data = _with_uid(data, uid)
            said.append("It had no UID and was given one.")
        yield uid, data, tuple(said), ""


def _inside(components: list[Component]) -> Iterator[Component]:
    """Cards, also those that a file wraps into something."""
    for component in components:
        if component.name != "VCARD" and any(inner.name == "VCARD" for inner in component.components):
            yield from component.components
        else:
            yield component


def _uid_line(data: bytes) -> str:
    document = read(data, depth_max=vcard.NESTING_MAX)
    card = document.components[0] if document.components else None
    return "" if card is None else (card.value("UID") or "").strip()


def _with_uid(data: bytes, uid: str) -> bytes:
    card = read(data, depth_max=vcard.NESTING_MAX).components[0]
    card.items = [item for item in card.items if not _named(item, "UID")]
    at = next((place for place, item in enumerate(card.items) if _named(item, "VERSION")), -1)
    card.items.insert(at + 1, make_line("UID", uid))
    return card.to_bytes()


# ---- both -----------------------------------------------------------------------------------------------------------


def _bounded(body: bytes, config: Config, *, nested: int) -> Document:
    """The components of a file that may hold many objects. Raises LineError."""
    return read(body, depth_max=nested, lines_max=_LINES_MAX, params_max=4 * _LINES_MAX)


# All objects of a file together may have so many times the bytes of the largest file, for time zones are copied.
_GROWTH_MAX = 4
# Of a whole file, whose objects then each have the limits of objects.
_LINES_MAX = 5_000_000


def _ended(raw: bytes) -> bytes:
    return raw if raw.endswith((b"\n", b"\r")) else raw + b"\r\n"


def _lines_utf8(parts: list[bytes], said: list[str]) -> Iterator[bytes]:
    """The parts; what is not UTF-8 is read as Latin-1, as the reader does."""
    for part in parts:
        try:
            part.decode()
        except UnicodeDecodeError:
            said.append("It was not UTF-8 and was read as Latin-1.")
            part = vcard.render_card(part, vcard.AddressData(None))
        yield part
