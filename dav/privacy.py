"""What others than the owner see of a calendar object or a contact, and what becomes of what they write. Pure.

One filter for every door. It shows a component whole, or as a bare busy time, or the object not at all; and it keeps
what is personal apart: alarms, and what a program notes for its own user. The owner's personal items stand in the
stored object; a reader's stand in his overlay, which is kept beside it, and each sees only his own.

RFC 5545 §3.8.1.3: CLASS says what its owner wants. An object counts as PRIVATE when every component of it does: of a
series with one private instance the others stay to be seen, and that one is a busy time.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from dav.ical.lines import Component, Line, LineError, make_line, read
from dav.ical.recur import Moment
from dav.ical.secrecy import CONFIDENTIAL, PRIVATE, secrecy_of, secrecy_of_components
from dav.ical.tz import Zones
from dav.scheduling.edit import add_line, copy_tree
from dav.scheduling.model import key_of, start_of
from storage.records import SECRECY

BUSY_SUMMARY = "Busy"
FEED_MODES = ("whole", "busy")


@dataclass(frozen=True, slots=True)
class View:
    """How somebody sees what is somebody else's.

    level: "busy", "read", "write" or "owner", which sees everything. private: what becomes of PRIVATE components,
    "hidden" or "busy"; confidential: of CONFIDENTIAL ones, "busy" or "full". Whoever sees busy times only sees private
    ones too, as everybody does who asks for busy times. reader: the account whose own alarms are shown. principal: the
    reader acts for the owner, whose alarms are then the ones that are shown and changed.
    """

    level: str
    private: str
    confidential: str
    reader: int
    principal: bool = False


class Refused(ValueError):
    """The writer changes what he does not see, or makes something that he would not see."""


# ---- secrecy -----------------------------------------------------------------------------------------------------


def secrecy_of_body(body: bytes | None) -> int:
    """As secrecy_of; PRIVATE for what cannot be read."""
    calendar = _read(body or b"")
    return PRIVATE if calendar is None else secrecy_of(calendar)


def hides(view: View | None, secrecy: int, *, card: bool = False) -> bool:
    """Whether an object of this secrecy is not there at all. card: a contact, of which no busy time can be shown."""
    if view is None or view.level not in ("read", "write"):
        return False
    if card:
        return secrecy == PRIVATE or (secrecy == CONFIDENTIAL and view.confidential == "busy")
    return secrecy == PRIVATE and view.private == "hidden"


def _redacts(view: View, secrecy: int) -> bool:
    """Whether a component is shown as a busy time."""
    if view.level == "busy":
        return True
    if view.level == "owner":
        return False
    return secrecy == PRIVATE or (secrecy == CONFIDENTIAL and view.confidential == "busy")


# ---- showing -----------------------------------------------------------------------------------------------------


def show(body: bytes, view: View, overlay: bytes | None = None, *, public: bool = False) -> bytes | None:
    """A calendar object as this reader sees it; None: he does not. overlay: what the reader keeps for himself at it.

    public: it is known that all its components are. What cannot be read is shown to nobody. What needs no change is the
    body itself.
    """
    if not overlay and view.level != "busy" and (public or view.level == "owner"):
        # Measured: 2 µs where reading it takes 60, 100 with an alarm.
        plain = body if view.principal else _plainly(body)
        if plain is not None:
            return plain
    calendar = _read(body)
    if calendar is None or hides(view, secrecy_of(calendar)):
        return None
    shown = _shown(calendar, view)
    if overlay and not view.principal:
        shown = _lay_over(shown, overlay)
    return body if shown is calendar else shown.to_bytes()


def is_whole(body: bytes, view: View) -> bool:
    """Whether the reader sees all of the object, but for what is personal: no component is a mere busy time."""
    calendar = _read(body)
    if calendar is None:
        return False
    return not any(_redacts(view, secrecy) for _, secrecy in secrecy_of_components(calendar))


def shown_etag(etag: str, view: View, overlay_digest: str = "") -> str:
    """The entity tag of what show() gives, without quotes, for the stored body's tag and the overlay's digest."""
    return tags_of(view)(etag, overlay_digest)


def tags_of(view: View) -> Callable[[str, str], str]:
    """shown_etag of many: stored tag and digest → tag. Measured: half the time of one by one."""
    parts = (view.level, view.private, view.confidential, "p" if view.principal else "")
    middle, hashed = f"\0{chr(0).join(parts)}\0", hashlib.blake2b

    def tag(etag: str, overlay_digest: str) -> str:
        return hashed(f"{etag}{middle}{overlay_digest}".encode(), digest_size=20).hexdigest()

    return tag


def digest_of(overlay: bytes) -> str:
    """What stands for an overlay in entity tags; "" for none."""
    return hashlib.blake2b(overlay, digest_size=8).hexdigest() if overlay else ""


def overlay_of(body: bytes) -> bytes:
    """What is personal in a calendar object that somebody else may have written, as an overlay; b"" for nothing."""
    calendar = _read(body)
    return b"" if calendar is None or calendar.name != "VCALENDAR" else _overlay(calendar)


def feed(body: bytes, mode: str) -> bytes | None:
    """A calendar object as a published feed has it: "whole", as somebody sees it who may read, or "busy" times."""
    level = {"whole": "read", "busy": "busy"}[mode]
    return show(body, View(level, "hidden", "busy", 0))


def _shown(calendar: Component, view: View) -> Component:
    """The calendar without what is not for this reader; the same one when that is nothing."""
    inside = {id(component): _redacts(view, secrecy) for component, secrecy in secrecy_of_components(calendar)}
    if inside and all(inside.values()):
        return _bare_calendar(calendar)
    items: list[Line | Component] = []
    changed = False
    for item in calendar.items:
        if isinstance(item, Component) and id(item) in inside:
            new = _bare(item) if inside[id(item)] else item if view.principal else _without_personal(item)
            changed = changed or new is not item
            items.append(new)
        else:
            items.append(item)
    return Component(calendar.name, calendar.begin, items, calendar.end) if changed else calendar


_OF_ZONES = frozenset(
    [
        "TZID",
        "LAST-MODIFIED",
        "DTSTART",
        "TZOFFSETFROM",
        "TZOFFSETTO",
        "RRULE",
        "RDATE",
        "EXDATE",
        "TZNAME",
        "TZUNTIL",
        "TZID-ALIAS-OF",
    ]
)
_TIMES = frozenset(["DTSTAMP", "DTSTART", "DTEND", "DUE", "DURATION", "RECURRENCE-ID", "RDATE", "EXDATE"])
_RULES = frozenset({"RRULE", "EXRULE"})
_WORDS = {
    "TRANSP": frozenset({"OPAQUE", "TRANSPARENT"}),
    "STATUS": frozenset({"TENTATIVE", "CONFIRMED", "CANCELLED", "NEEDS-ACTION", "COMPLETED", "IN-PROCESS"}),
    "CLASS": frozenset(SECRECY),
}
_TIME_VALUE = re.compile(r"[0-9TZPWDHMStzpwdhms/,+\-]*")
_RULE_PART = re.compile(
    r"(?:FREQ|UNTIL|COUNT|INTERVAL|BY[A-Z]+|WKST|RSCALE|SKIP)=[A-Za-z0-9,+\-]*", re.IGNORECASE | re.ASCII
)
_KINDS = frozenset({"VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY", "VAVAILABILITY", "VPOLL"})
_KEPT_PARAMS = ("VALUE", "TZID", "RANGE")
_ENDS = ["DTSTART", "DTEND", "DUE", "DURATION", "RECURRENCE-ID", "RDATE", "EXDATE", "RRULE", "EXRULE"]


def _bare_calendar(calendar: Component) -> Component:
    """Nothing but times: zones as far as they tell them, and bare components."""
    items: list[Line | Component] = [make_line("VERSION", "2.0"), make_line("PRODID", "-//Davenport//EN")]
    method = (calendar.value("METHOD") or "").strip().upper()
    if method in ("REQUEST", "CANCEL", "REPLY", "ADD", "PUBLISH", "COUNTER", "DECLINECOUNTER", "REFRESH"):
        items.append(make_line("METHOD", method))
    items += [_bare_zone(item) for item in calendar.components if item.name == "VTIMEZONE"]
    items += [_bare(item) for item in _objects(calendar) if item.name in _KINDS]
    return _component("VCALENDAR", items)


def _bare_zone(component: Component) -> Component:
    items: list[Line | Component] = []
    for item in component.items:
        if isinstance(item, Line):
            if item.name in _OF_ZONES:
                items.append(item if ";" not in item.head else make_line(item.name, item.value.strip(), _params(item)))
        elif item.name in ("STANDARD", "DAYLIGHT"):
            items.append(_bare_zone(item))
    return _component(component.name, items)


def _bare(component: Component) -> Component:
    """A component of which nothing is told but its times and that they are taken."""
    items: list[Line | Component] = []
    for line in component.lines:
        value = line.value.strip()
        if line.name == "UID":
            items.append(make_line("UID", line.value))
        elif line.name in _TIMES:
            if _TIME_VALUE.fullmatch(value):
                items.append(make_line(line.name, value, _params(line)))
        elif line.name in _RULES:
            parts = [part for part in value.split(";") if _RULE_PART.fullmatch(part)]
            items.append(make_line(line.name, ";".join(parts)))
        elif line.name in _WORDS and value.upper() in _WORDS[line.name]:
            items.append(make_line(line.name, value.upper()))
    items.append(make_line("SUMMARY", BUSY_SUMMARY))
    return _component(component.name, items)


def _params(line: Line) -> tuple[tuple[str, tuple[str, ...]], ...]:
    found = [(key, line.param(key)) for key in _KEPT_PARAMS]
    return tuple((key, (value,)) for key, value in found if value is not None)


def _component(name: str, items: list[Line | Component]) -> Component:
    return Component(name, make_line("BEGIN", name), items, make_line("END", name))


# ---- what is personal --------------------------------------------------------------------------------------------

# What a program notes for its user alone: when he put off an alarm, and what guests say to the organizer only.
_PERSONAL = re.compile(
    r"X-MOZ-LASTACK|X-MOZ-SNOOZE-TIME(?:-\d+)?|X-CALENDARSERVER-(?:PRIVATE|ATTENDEE)-COMMENT|X-APPLE-[A-Z-]*ALARM[A-Z-]*"
)


def _is_personal(item: Line | Component) -> bool:
    if isinstance(item, Component):
        return item.name == "VALARM"
    if item.name.startswith("X-") and _PERSONAL.fullmatch(item.name):
        return True
    # An attachment, or anything else, can be marked so by whoever puts it there.
    return "X-PRIVATE" in item.head.upper() and (item.param("X-PRIVATE") or "").strip().upper() in ("TRUE", "YES", "1")


# What stands in a body, without its blanks and line ends, that may have anything personal in it. The last ones become
# letters of ASCII in capitals.
_MAYBE_PERSONAL = (
    b"ALARM", b"X-PRIVATE", b"X-MOZ-", b"-PRIVATE-COMMENT", b"-ATTENDEE-COMMENT", b"\xc4\xb1", b"\xc5\xbf", b"\xef\xac",
)  # fmt: skip
_BLANKS = b"\r\n\t "
_CALENDAR = b"BEGIN:VCALENDAR\r\n", b"\r\nEND:VCALENDAR\r\n"
_ALARM = b"\r\nBEGIN:VALARM\r\n", b"\r\nEND:VALARM\r\n"
_PLAIN_PARTS = (b"VCALENDAR", b"VEVENT", b"VTODO", b"VTIMEZONE", b"STANDARD", b"DAYLIGHT")


def _plainly(body: bytes) -> bytes | None:
    """What _without_personal leaves of all components, without reading them; None where that cannot be said so.

    The body itself, when there is nothing in it that could be personal; else without its alarms, when they are written
    as all programs do, and are all that is.
    """
    whole = body.translate(None, _BLANKS).upper()
    if whole.count(b"BEGIN:VCALENDAR") != 1:
        return None
    if not _maybe_personal(whole):
        return body
    if not (body.startswith(_CALENDAR[0]) and body.endswith(_CALENDAR[1])):
        return None
    pieces = body.split(_ALARM[0])
    kept, inside = [], False
    for number, piece in enumerate(pieces):
        # The line end before an alarm is that of the line before it.
        text = piece + b"\r\n" if number + 1 < len(pieces) else piece
        if number:
            alarm, end, text = text.partition(_ALARM[1])
            if not (inside and end) or b"BEGIN:" in alarm or b"END:" in alarm:
                return None
        begins, ends = text.rfind(b"BEGIN:"), text.rfind(b"END:")
        if begins >= 0 or ends >= 0:
            inside = begins > ends and text.startswith((b"VEVENT\r\n", b"VTODO\r\n"), begins + 6)
        kept.append(text)
    rest = b"".join(kept)
    whole = rest.translate(None, _BLANKS).upper()
    if _maybe_personal(whole) or whole.count(b"BEGIN:") != sum(
        rest.count(b"BEGIN:%b\r\n" % name) for name in _PLAIN_PARTS
    ):
        return None
    return rest


def _maybe_personal(whole: bytes) -> bool:
    for word in _MAYBE_PERSONAL:  # noqa: SIM110 (a generator takes twice as long)
        if word in whole:
            return True
    return False


def _personal(component: Component) -> list[Line | Component]:
    return [item for item in component.items if _is_personal(item)]


def _without_personal(component: Component) -> Component:
    kept = [item for item in component.items if not _is_personal(item)]
    if len(kept) == len(component.items):
        return component
    return Component(component.name, component.begin, kept, component.end)


def _add(component: Component, items: Iterable[Line | Component]) -> Component:
    """The component with more items, lines before its subcomponents; the same one when there are none."""
    more = list(items)
    if not more:
        return component
    new = Component(component.name, component.begin, list(component.items), component.end)
    for item in more:
        if isinstance(item, Line):
            add_line(new, item)
        else:
            new.items.append(item)
    return new


def _lay_over(calendar: Component, overlay: bytes) -> Component:
    """The calendar with what the reader keeps for himself at each component.

    An override of which the overlay knows nothing, since it came later, has the alarms of the series.
    """
    own = _read(overlay)
    if own is None:
        return calendar
    kept = {key: _personal(component) for key, component in _keyed(own, calendar)}
    keys = {id(component): key for key, component in _keyed(calendar, calendar)}
    items: list[Line | Component] = []
    for item in calendar.items:
        key = keys.get(id(item))
        if not isinstance(item, Component) or key is None:
            items.append(item)
        elif key in kept:
            items.append(_add(item, kept[key]))
        else:
            items.append(_add(item, (one for one in kept.get(MASTER, ()) if isinstance(one, Component))))
    return Component(calendar.name, calendar.begin, items, calendar.end)


# ---- writing -----------------------------------------------------------------------------------------------------

MASTER = ""


def absorb(new: bytes, stored: bytes | None, view: View) -> tuple[bytes, bytes]:
    """(what is to be stored, the writer's overlay) when somebody who sees `stored` in this view puts `new` there.

    What is personal goes into the overlay, and what the owner has of that stays. Components that the writer sees as
    busy times stay as they are; new ones have the alarms of the series. With what show() gave, nothing changes. Raises
    Refused; ValueError when `new` is no calendar.
    """
    calendar = _read(new)
    if calendar is None:
        raise ValueError("no calendar")
    old = None if stored is None else _read(stored)
    if view.principal:
        bare, overlay = calendar, b""
    else:
        bare, overlay = _stripped(calendar), _overlay(calendar)
    if old is None or stored is None:
        if any(_redacts(view, secrecy) for _, secrecy in secrecy_of_components(bare)):
            raise Refused("what would be stored is not for the writer's eyes")
        return (new if bare is calendar else bare.to_bytes()), overlay
    bare_body = new if bare is calendar else bare.to_bytes()
    if bare_body == show(stored, view):
        return stored, overlay
    merged = _merged(bare, old, view)
    return (stored if merged is None else new if merged is calendar else merged.to_bytes()), overlay


def _merged(new: Component, old: Component, view: View) -> Component | None:
    """The new calendar with what is the owner's and what its writer does not see; None: the old one as it is."""
    there = dict(_keyed(old, old))
    secret = {id(component) for one in (old, new) for component, secrecy in secrecy_of_components(one)
              if _redacts(view, secrecy)}  # fmt: skip
    hidden = {key for key, component in there.items() if id(component) in secret}
    keys = {id(component): key for key, component in _keyed(new, old)}
    items: list[Line | Component] = []
    met: set[str] = set()
    written = changed = False
    for item in new.items:
        key = keys.get(id(item))
        if not isinstance(item, Component) or key is None:
            items.append(item)
            continue
        met.add(key)
        stored = there.get(key)
        if key in hidden and stored is not None:
            if not _untouched(item, stored):
                raise Refused("a component that the writer does not see cannot be changed")
            items.append(stored)
            changed = True
            continue
        if id(item) in secret or (stored is None and MASTER in hidden):
            raise Refused("what would be stored is not for the writer's eyes")
        written = True
        own = item if view.principal else _add(item, _owners(stored, there, hidden))
        changed = changed or own is not item
        items.append(own)
    missing = [there[key] for key in there if key in hidden and key not in met]
    if not written and len(hidden) == len(there):
        return None  # he sees nothing of it but times, and has changed none
    if not (changed or missing):
        return new
    zones = {item.value("TZID") for item in new.components if item.name == "VTIMEZONE"}
    if missing or hidden:
        more = [item for item in old.components if item.name == "VTIMEZONE" and item.value("TZID") not in zones]
        first = next((at for at, item in enumerate(items) if isinstance(item, Component)), len(items))
        items[first:first] = more
    return Component(new.name, new.begin, [*items, *missing], new.end)


def _owners(stored: Component | None, there: dict[str, Component], hidden: set[str]) -> list[Line | Component]:
    """What is personal to the owner at a component; of one that is new: the alarms of the series."""
    if stored is not None:
        return _personal(stored)
    master = there.get(MASTER)
    if master is None or MASTER in hidden:
        return []
    return [copy_tree(item) for item in _personal(master) if isinstance(item, Component)]


# What programs write anew each time, and what cannot be told apart from it.
_NOISE = frozenset({"DTSTAMP", "LAST-MODIFIED", "CREATED", "SEQUENCE", "PRIORITY", "UID", *_WORDS, *_ENDS})


def _untouched(new: Component, stored: Component) -> bool:
    """Whether a component still is the busy time that its writer was shown, but for what is personal."""
    for item in new.items:
        if isinstance(item, Component):
            if not _is_personal(item):
                return False
        elif item.name == "SUMMARY":
            if item.text.strip() != BUSY_SUMMARY:
                return False
        elif item.name not in _NOISE and not item.name.startswith("X-"):
            return False
    return _same_times(new, stored)


def _same_times(one: Component, other: Component) -> bool:
    def times(component: Component) -> list[tuple[str, str, str | None]]:
        bare = _bare(component)
        return sorted((line.name, line.value.strip(), line.param("TZID")) for line in bare.lines if line.name in _ENDS)

    def key(line: tuple[str, str, str | None]) -> tuple[str, str, str]:
        return line[0], line[1], line[2] or ""

    return sorted(map(key, times(one))) == sorted(map(key, times(other)))


def _stripped(calendar: Component) -> Component:
    """The calendar without anything personal; the same one when there is nothing."""
    items: list[Line | Component] = []
    changed = False
    objects = {id(component) for component in _objects(calendar)}
    for item in calendar.items:
        new = _without_personal(item) if isinstance(item, Component) and id(item) in objects else item
        changed = changed or new is not item
        items.append(new)
    return Component(calendar.name, calendar.begin, items, calendar.end) if changed else calendar


def _overlay(calendar: Component) -> bytes:
    """What is personal in a calendar, by component, b"" for nothing. Each is named: one without alarms has none."""
    parts: list[Line | Component] = []
    found = False
    for component in _objects(calendar):
        personal = _personal(component)
        found = found or bool(personal)
        recurrence = component.first("RECURRENCE-ID")
        parts.append(_component(component.name, [*([recurrence] if recurrence is not None else []), *personal]))
    return _component("VCALENDAR", parts).to_bytes() if found else b""


# ---- reading -----------------------------------------------------------------------------------------------------


def _read(body: bytes) -> Component | None:
    """The VCALENDAR, or VCARD, of a body; None when there is not exactly one."""
    try:
        document = read(body)
    except LineError:
        return None
    return document.components[0] if len(document.components) == 1 else None


def _objects(calendar: Component) -> list[Component]:
    """All components of a calendar but its zones."""
    return [item for item in calendar.components if item.name != "VTIMEZONE"]


def _keyed(calendar: Component, of: Component) -> Iterator[tuple[str, Component]]:
    """(which instance it is, component) of a calendar's components, by the zones and the start of the calendar `of`."""
    zones = Zones(of)
    master = next((item for item in _objects(of) if item.first("RECURRENCE-ID") is None), None)
    start: Moment | None = start_of(master, zones)
    seen: dict[str, int] = {}
    for component in _objects(calendar):
        line = component.first("RECURRENCE-ID")
        if line is None:
            key = MASTER
        else:
            try:
                key = key_of(line, zones, start)
            except ValueError:
                key = line.value.strip() or "?"
        number = seen.get(key, 0)
        seen[key] = number + 1
        # Twice the same: neither of them may get lost. No line has this character in it.
        yield (f"{key}\0{number}" if number else key), component
