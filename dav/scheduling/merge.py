"""Whose a property is: what stays the attendee's when the organizer's parts are put in its place, and the reverse."""

from __future__ import annotations

from collections.abc import Collection, Iterable

from dav.ical.lines import Component, Line, make_line, with_value
from dav.ical.recur import Moment
from dav.scheduling.edit import add_line, remove_properties, replace_properties
from dav.scheduling.instances import RECURRENCE, moment_of, recurrence_id_of
from dav.scheduling.model import SchedulingObject, key_of

TIMES = ("DTSTART", "DTEND", "DUE", "DURATION")
# What an attendee may write in a meeting without telling anybody (RFC 6638 §3.2.2.1, and what clients keep there).
PERSONAL = frozenset(
    [
        "TRANSP",
        "CATEGORIES",
        "COMMENT",
        "COLOR",
        "PERCENT-COMPLETE",
        "COMPLETED",
        "CREATED",
        "DTSTAMP",
        "LAST-MODIFIED",
        "ACKNOWLEDGED",
        "REQUEST-STATUS",
    ]
)
# Compared or merged by rules of their own.
_APART = frozenset(["UID", "RECURRENCE-ID", "ORGANIZER", "ATTENDEE", "SEQUENCE", "CLASS", *TIMES, *RECURRENCE])
# Private properties of clients: of all others the organizer's stand.
_OWN_X = ("X-MOZ-", "X-APPLE-TRAVEL", "X-APPLE-DEFAULT-ALARM", "X-EVOLUTION-", "X-LIC-", "X-CALENDARSERVER-")
# Private by name only: where a meeting is on the map is the organizer's to say.
SHARED_X = frozenset({"X-APPLE-STRUCTURED-LOCATION"})
_STRICTNESS = {"": 0, "PUBLIC": 0, "PRIVATE": 1, "CONFIDENTIAL": 2}


def is_cancelled(component: Component) -> bool:
    """STATUS:CANCELLED."""
    return (component.value("STATUS") or "").strip().upper() == "CANCELLED"


def is_personal(name: str, kind: str) -> bool:
    """Whether properties called so (upper case) are the attendee's own business. kind: VEVENT, VTODO, …"""
    # RFC 5546 §3.4.3: who has a task to do says how far it is.
    if name.startswith("X-"):
        return name not in SHARED_X
    return name in PERSONAL or not name or (name == "STATUS" and kind == "VTODO")


def plain_text(line: Line) -> str:
    """A value as a person reads it. CLIENT Outlook plug-ins and Android write other line ends and trailing blanks."""
    text = line.text.replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(part.rstrip() for part in text.split("\n")).strip()


def put_back(mine: Component, theirs: Component) -> bool:
    """Makes the texts of an attendee's component those of the organizer's again. Returns whether anything changed.

    Texts are all properties but times, recurrence, ORGANIZER, ATTENDEE, and what is personal. What says the same in
    other words stays as it was written.
    """
    names = dict.fromkeys(
        line.name
        for line in (*mine.lines, *theirs.lines)
        if line.name not in _APART and not is_personal(line.name, mine.name)
    )
    changed = False
    for name in names:
        if sorted(map(plain_text, mine.all(name))) != sorted(map(plain_text, theirs.all(name))):
            changed = replace_properties(mine, theirs, (name,)) or changed
    ours, others = _subcomponents(mine), _subcomponents(theirs)
    if [item.to_bytes() for item in ours] != [item.to_bytes() for item in others]:
        gone = set(map(id, ours))
        mine.items[:] = [*(item for item in mine.items if id(item) not in gone), *others]
        changed = True
    return changed


def _subcomponents(component: Component) -> list[Component]:
    return [item for item in component.components if item.name != "VALARM" and not item.name.startswith("X-")]


def keep_personal(made: Component, mine: Component) -> None:
    """Puts what is personal in the attendee's component into the organizer's new one, in its place."""
    names = {line.name for line in (*made.lines, *mine.lines) if line.name}
    for name in sorted(names):
        if name in SHARED_X:
            continue
        if name.startswith("X-"):
            if not made.all(name) or name.startswith(_OWN_X):
                replace_properties(made, mine, (name,))
        elif name == "STATUS":
            if is_personal(name, made.name) and not is_cancelled(made) and not is_cancelled(mine) and mine.all(name):
                replace_properties(made, mine, (name,))
        elif name == "CLASS":
            if _strictness(mine) > _strictness(made):
                replace_properties(made, mine, (name,))
        elif name == "COMMENT":
            if mine.all(name):
                replace_properties(made, mine, (name,))
        elif name in ("TRANSP", "CATEGORIES", "COLOR", "PERCENT-COMPLETE", "COMPLETED"):
            replace_properties(made, mine, (name,))
    alarms = [item for item in mine.components if item.name == "VALARM" or item.name.startswith("X-")]
    made.items[:] = [*(item for item in made.items if not _is_alarm(item)), *alarms]


def _is_alarm(item: Line | Component) -> bool:
    return isinstance(item, Component) and (item.name == "VALARM" or item.name.startswith("X-"))


def _strictness(component: Component) -> int:
    return _STRICTNESS.get((component.value("CLASS") or "").strip().upper(), 1)


def foreign_removed(component: Component) -> None:
    """Takes what is nobody's business here out of a component that came from elsewhere: alarms, private properties."""
    component.items[:] = [item for item in component.items if not _is_alarm(item)]
    remove_properties(component, {line.name for line in component.lines if line.name.startswith(_OWN_X)})
    component.items[:] = [item for item in component.items if not (isinstance(item, Line) and not item.name)]


def carry_zones(calendar: Component, source: Component, components: Iterable[Component]) -> None:
    """Copies the time zone definitions that components need and a calendar lacks, from where they came."""
    needed = tzids_of(components)
    known = {_zone_name(item) for item in calendar.components if item.name == "VTIMEZONE"}
    found = [
        item
        for item in source.components
        if item.name == "VTIMEZONE" and _zone_name(item) in needed and _zone_name(item) not in known
    ]
    if found:
        at = next((i for i, item in enumerate(calendar.items) if isinstance(item, Component)), len(calendar.items))
        calendar.items[at:at] = found


def tzids_of(components: Iterable[Component]) -> set[str]:
    """All TZID parameters in components, also in what is inside them."""
    found: set[str] = set()
    for component in components:
        for item in component.items:
            if isinstance(item, Component):
                found |= tzids_of((item,))
            elif ";" in item.head and (tzid := item.param("TZID")):
                found.add(tzid.strip())
    return found


def _zone_name(component: Component) -> str:
    line = component.first("TZID")
    return "" if line is None else line.text.strip()


def add_exdates(master: Component, keys: Collection[str], source: SchedulingObject) -> None:
    """Adds EXDATEs for these instances to a master, written as the source's master writes them."""
    wanted = set(keys)
    lines = [] if source.master is None else source.master.all("EXDATE")
    for line in lines:
        for value in line.value.split(","):
            single = with_value(line, value.strip())
            try:
                key = key_of(single, source.zones, source.start)
            except ValueError:
                continue
            if key in wanted:
                wanted.discard(key)
                add_line(master, single)


def exdate_for(key: str, start: Moment | None) -> Line | None:
    """EXDATE for one instance in the form of DTSTART; None when the key names none."""
    at = moment_of(key, start)
    return None if at is None else replace_name(recurrence_id_of(at), "EXDATE")


def replace_name(line: Line, name: str) -> Line:
    """The same parameters and value under another name."""
    return make_line(name, line.value, line.params)
