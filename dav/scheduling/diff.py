"""What changed between two states of a scheduling object: by parts, in a normal form, graded.

Compared is what properties mean, not how they are written: an event that another client saves again is unchanged.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from dav.ical.lines import Component, Line
from dav.ical.recur import Moment
from dav.ical.tz import Zones
from dav.scheduling.instances import (
    Recurrence,
    component_values,
    exdate_keys,
    instance_of,
    recurrence_of,
    shortened,
    times_of,
)
from dav.scheduling.model import MASTER, SchedulingObject, attendees_of, start_of

# What makes a change a major one: SEQUENCE rises (RFC 5546 §2.1.4).
MAJOR: Final = frozenset({"time", "recurrence", "place", "status"})

# Nothing that a guest would be told of: bookkeeping, what is the organizer's alone, and what is compared elsewhere.
_IGNORED: Final = {
    "UID", "DTSTAMP", "CREATED", "LAST-MODIFIED", "SEQUENCE", "RECURRENCE-ID", "PRODID", "TRANSP", "CATEGORIES",
    "COLOR", "ACKNOWLEDGED", "REQUEST-STATUS", "ORGANIZER", "ATTENDEE", "DTSTART", "DTEND", "DUE", "DURATION",
    "RRULE", "RDATE", "EXRULE", "EXDATE", "STATUS",
}  # fmt: skip
_NAMES: Final = {
    "LOCATION": "place", "SUMMARY": "summary", "DESCRIPTION": "description", "STYLED-DESCRIPTION": "description",
    "URL": "url", "ATTACH": "attachment", "IMAGE": "attachment", "CONFERENCE": "conference",
}  # fmt: skip
_STATUS_UNSAID: Final = {"VEVENT": "CONFIRMED", "VTODO": "NEEDS-ACTION"}
_NO_RULES: Final[Recurrence] = (frozenset(), frozenset(), frozenset())


@dataclass(frozen=True, slots=True)
class Facts:
    """The normal form of one component: everything in it that others may be told of."""

    time: tuple[object, ...]
    zone: str | None = None
    rules: Recurrence = _NO_RULES
    exdates: frozenset[str] = frozenset()
    status: str = ""
    texts: frozenset[tuple[str, tuple[str, ...]]] = frozenset()
    attendees: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Change:
    """What is new in one part. names: of plan.CHANGES. moved: time or instances, so that answers no longer count.

    exdates: keys of instances newly left out. added, removed: addresses of attendees.
    """

    names: frozenset[str] = frozenset()
    moved: bool = False
    exdates: frozenset[str] = frozenset()
    added: frozenset[str] = frozenset()
    removed: frozenset[str] = frozenset()

    @property
    def grade(self) -> str:
        """major: SEQUENCE rises. minor: it is told under the same SEQUENCE. none: nobody is told."""
        if self.exdates or self.names & MAJOR:
            return "major"
        return "minor" if self.names else "none"


def facts_of(component: Component, zones: Zones, start: Moment | None, *, override: bool = False) -> Facts:
    """The normal form of a component. start: DTSTART of the series. override: recurrence rules in it do not count."""
    texts: dict[str, list[str]] = {}
    for line in component.lines:
        if line.name and line.name not in _IGNORED and not line.name.startswith("X-") and (text := _plain(line)):
            texts.setdefault(line.name, []).append(text)
    recurs = not override and any(component.first(name) for name in ("RRULE", "RDATE"))
    status = (component.value("STATUS") or "").strip().upper()
    return Facts(
        _time(component, zones),
        _zone(component, zones) if recurs else None,
        _NO_RULES if override else recurrence_of(component, zones, start),
        frozenset() if override else exdate_keys(component, zones, start),
        status or _STATUS_UNSAID.get(component.name, ""),
        frozenset((name, tuple(sorted(values))) for name, values in texts.items()),
        # Of a guest the others see change whether he must come. Names are written anew by many clients.
        {
            address: (line.param("ROLE") or "REQ-PARTICIPANT").strip().upper()
            for address, line in attendees_of(component).items()
        },
    )


def _plain(line: Line) -> str:
    # CLIENT Outlook plug-ins and Android write other line ends, and blanks at the ends of lines.
    text = line.text.replace("\r\n", "\n").replace("\r", "\n")
    return "\n".join(part.rstrip() for part in text.split("\n")).strip()


def _time(component: Component, zones: Zones) -> tuple[object, ...]:
    """Start and end, equal for equal times however they are written."""
    try:
        kind, start_s, end_s = times_of(component, zones)
    except ValueError:
        return ("", *(tuple(component_values(component, name)) for name in ("DTSTART", "DTEND", "DUE", "DURATION")))
    if kind == "date" and component.name == "VEVENT" and start_s == end_s and start_s is not None:
        end_s = start_s + 86_400  # CLIENT several write DTEND equal to DTSTART for one all-day day
    return (kind, start_s, end_s)


def _zone(component: Component, zones: Zones) -> str | None:
    """The zone of a series, which decides about summer and winter. Of a single event it says no more than the time."""
    at = start_of(component, zones)
    return None if at is None or at.zone is None else at.zone.key or at.tzid


def compare(old: Facts, new: Facts, *, restored: frozenset[str] = frozenset()) -> Change:
    """What changed from one state of a part to the next.

    restored: keys of instances that have a component of their own in the new state; that they are back is told there.
    """
    names: set[str] = set()
    moved = False
    if old.time != new.time or (old.zone and new.zone and old.zone != new.zone):
        names.add("time")
        moved = True
    back = (old.exdates - new.exdates) - restored
    dates = new.rules[1] - (restored - old.rules[1])
    if old.rules != (new.rules[0], dates, new.rules[2]) or back:
        names.add("recurrence")
        moved = moved or bool(back) or not shortened(old.rules, (new.rules[0], dates, new.rules[2]))
    if old.status != new.status:
        names.add("status")
    names.update(_NAMES.get(name, "other") for name, _ in old.texts ^ new.texts)
    if old.attendees != new.attendees:
        names.add("attendees")
    added, removed = new.attendees.keys() - old.attendees.keys(), old.attendees.keys() - new.attendees.keys()
    return Change(frozenset(names), moved, new.exdates - old.exdates, frozenset(added), frozenset(removed))


@dataclass(slots=True)
class State:
    """A scheduling object with what is derived of it, each thing once. obj None: there is none."""

    obj: SchedulingObject | None
    _facts: dict[str, Facts] = field(default_factory=dict)
    _made: dict[str, Component | None] = field(default_factory=dict)
    _exdates: frozenset[str] | None = None

    @property
    def parts(self) -> Mapping[str, Component]:
        return {} if self.obj is None else self.obj.parts

    @property
    def exdates(self) -> frozenset[str]:
        """Keys of the instances that the master leaves out."""
        if self._exdates is None:
            self._exdates = frozenset() if self.obj is None else self.obj.exdates()
        return self._exdates

    def effective(self, key: str) -> Component | None:
        """What describes an instance: its override, or one made of the master; None when there is no such instance."""
        part = self.parts.get(key)
        if part is not None or self.obj is None or key == MASTER:
            return part
        if key not in self._made:
            self._made[key] = instance_of(self.obj, key)
        return self._made[key]

    def facts(self, key: str) -> Facts | None:
        """The normal form of a part or an instance."""
        found = self._facts.get(key)
        if found is None:
            component = self.effective(key)
            if component is None or self.obj is None:
                return None
            found = facts_of(component, self.obj.zones, self.obj.start, override=key != MASTER)
            self._facts[key] = found
        return found


def change_of(old: State, new: State, key: str) -> Change | None:
    """What changed in a part or an instance; None when it is new or gone."""
    before, after = old.facts(key), new.facts(key)
    if before is None or after is None:
        return None
    return compare(before, after, restored=frozenset(new.parts) if key == MASTER else frozenset())
