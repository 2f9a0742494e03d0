"""Instances of a series as components of their own, and whether two components are at the same time."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from datetime import datetime

from dav.ical.lines import Component, Line, make_line
from dav.ical.recur import (
    Limits,
    Moment,
    Occurrence,
    TooManyInstances,
    anchored,
    duration,
    moment,
    occurrences,
    periods,
    span,
)
from dav.ical.rrule import Rule, RuleError, parse_rule
from dav.ical.tz import UTC, Zones
from dav.scheduling.edit import copy_tree, remove_properties, replace_line
from dav.scheduling.model import MASTER, SchedulingObject, exdates_of, key_of_moment, scheduling_object

# What makes a series of a component; no override has these.
RECURRENCE = ("RRULE", "RDATE", "EXRULE", "EXDATE")
_DAY_S = 86_400
# How far an override with RANGE may move what is behind it for us to find it there.
_RANGE_REACH_S = 14 * _DAY_S
_LIMITS = Limits(instances_max=500, steps_max=50_000)
_NO_ZONES = Zones(Component("VCALENDAR", make_line("BEGIN", "VCALENDAR")))

# (what kind of time, start, end): seconds of UTC, or of the wall clock for dates and floating times.
Times = tuple[str, int | None, int | None]


def moment_of(key: str, start: Moment | None) -> Moment | None:
    """The original start that a key of an instance names, in the form of DTSTART; None when the key names none."""
    try:
        at = moment(make_line("RECURRENCE-ID", key), _NO_ZONES)
    except ValueError:
        return None
    if start is None:
        return at
    if start.kind == "date":
        return start.moved_to(datetime(at.local.year, at.local.month, at.local.day))
    if at.zone is not None and start.zone is not None:
        return start.moved_to(start.zone.to_local(at.seconds(UTC)))
    return start.moved_to(at.local)


def has_instance(obj: SchedulingObject, key: str) -> bool:
    """Whether the series has this instance, as an override or by its rule; not when EXDATE takes it away."""
    if key in obj.parts:
        return key != MASTER
    return _original(obj, key) is not None


def _original(obj: SchedulingObject, key: str) -> Occurrence | None:
    """The instance that the rule makes there, as an override with RANGE may have moved it; None when it makes none."""
    at = moment_of(key, obj.start)
    if at is None or obj.master is None or not obj.obj.recurs:
        return None
    at_s = at.seconds(UTC)
    reach = _RANGE_REACH_S if any(is_future(item) for item in obj.parts.values()) else 1
    try:
        found = occurrences(obj.obj, at_s - reach, at_s + reach, limits=_LIMITS)
    except TooManyInstances:
        return None
    for item in found:
        rid = item.recurrence_id
        if not item.overridden and rid is not None and key_of_moment(rid, obj.start) == key:
            return item
    return None


def is_future(component: Component) -> bool:
    """Whether an override is for its instance and all later ones (RFC 5545 §3.2.13)."""
    line = component.first("RECURRENCE-ID")
    return line is not None and (line.param("RANGE") or "").strip().upper() == "THISANDFUTURE"


def instance_of(obj: SchedulingObject, key: str) -> Component | None:
    """The instance as an override of its own, made of the master; None when the series has no such instance.

    A copy: RECURRENCE-ID, and the times of that day in the form in which the master writes its own.
    """
    found = _original(obj, key)
    if found is None or found.recurrence_id is None:
        return None
    made = copy_tree(found.component)
    remove_properties(made, (*RECURRENCE, "RECURRENCE-ID"))
    first = made.first("DTSTART")
    due = made.first("DTEND") or made.first("DUE")
    if first is None and due is not None:  # a task that has only DUE: that is what recurs
        replace_line(made, due, retimed(due, found.start))
    elif due is not None and found.end is not None:
        replace_line(made, due, retimed(due, found.end))
    if first is not None:
        replace_line(made, first, retimed(first, found.start))
    position = next((i for i, item in enumerate(made.items) if isinstance(item, Line) and item.name == "UID"), -1)
    made.items.insert(position + 1, recurrence_id_of(found.recurrence_id))
    return made


def only_series(obj: SchedulingObject) -> SchedulingObject:
    """The object without its overrides: instance_of then says what the series alone has."""
    calendar = Component(obj.calendar.name, obj.calendar.begin, [], obj.calendar.end)
    calendar.items = [
        item
        for item in obj.calendar.items
        if not (isinstance(item, Component) and item.name == obj.kind and item is not obj.master)
    ]
    return scheduling_object(calendar)


def recurrence_id_of(at: Moment, *, future: bool = False) -> Line:
    """RECURRENCE-ID for an instance, with the parameters that its time needs (TZID, VALUE)."""
    params: list[tuple[str, tuple[str, ...]]] = [("RANGE", ("THISANDFUTURE",))] if future else []
    if at.kind == "date":
        params.append(("VALUE", ("DATE",)))
    elif at.kind in ("zoned", "floating") and at.tzid:
        params.append(("TZID", (at.tzid,)))
    return make_line("RECURRENCE-ID", at.value, tuple(params))


def retimed(line: Line, at: Moment) -> Line:
    """The line with another time of the same form; its name and parameters stay as written."""
    if line.value.strip() == at.value:
        return line
    return make_line(line.name, at.value, tuple(item for item in line.params if item[0] != "RANGE"), line.group)


# ---- times ----


def times_of(component: Component, zones: Zones) -> Times:
    """When a component is. Raises ValueError when its times cannot be read."""
    line = component.first("DTSTART")
    name = "DUE" if component.name == "VTODO" else "DTEND"
    last = component.first(name)
    start = None if line is None else moment(line, zones)
    end = None if last is None else moment(last, zones)
    if start is None:
        return ("", None, None) if end is None else (_kind(end), None, end.seconds(UTC))
    start_s = start.seconds(UTC)
    if end is not None:
        return _kind(start), start_s, anchored(end, start).seconds(UTC)
    length = component.value("DURATION")
    if length is not None:
        return _kind(start), start_s, duration(length).end_s(start, UTC)
    if component.name == "VTODO":
        return _kind(start), start_s, None
    return _kind(start), start_s, start_s + (_DAY_S if start.kind == "date" else 0)


def _kind(at: Moment) -> str:
    return at.kind if at.zone is None else "instant"


def same_times(one: Component, zones: Zones, other: Component, other_zones: Zones) -> bool:
    """Whether two components start and end at the same instants, however they write it (DTEND or DURATION, any zone).

    A series is at the same times only in the same zone: elsewhere it parts with the next change of the clocks.
    """
    try:
        if times_of(one, zones) != times_of(other, other_zones):
            return False
    except ValueError:
        names = ("DTSTART", "DTEND", "DUE", "DURATION")
        return [component_values(one, name) for name in names] == [component_values(other, name) for name in names]
    if not any(item.all(name) for item in (one, other) for name in ("RRULE", "RDATE")):
        return True
    first, second = one.first("DTSTART"), other.first("DTSTART")
    if first is None or second is None:
        return first is second
    return _same_zone(moment(first, zones), moment(second, other_zones))


def _same_zone(one: Moment, other: Moment) -> bool:
    if one.zone is other.zone:
        return True
    if one.zone is None or other.zone is None:
        return False
    if one.zone.key is not None and other.zone.key is not None:
        return one.zone.key == other.zone.key
    # Definitions of the objects' own: the same when they agree for the two years around.
    begin = one.seconds(UTC)
    return all(
        one.zone.to_local(at) == other.zone.to_local(at) for at in range(begin, begin + 2 * 366 * _DAY_S, 10 * _DAY_S)
    )


def component_values(component: Component, name: str) -> list[str]:
    """Raw values of the own lines called so, in order of their text."""
    return sorted(line.value.strip() for line in component.all(name))


Recurrence = tuple[frozenset[Rule | str], frozenset[str], frozenset[Rule | str]]


def recurrence_of(component: Component, zones: Zones, start: Moment | None) -> Recurrence:
    """RRULE, RDATE and EXRULE in a form that can be compared; EXDATE is not in it."""
    dates: set[str] = set()
    for line in component.all("RDATE"):
        try:
            dates.update(key_of_moment(period.start, start) for period in periods(line, zones))
        except ValueError:
            dates.add(line.value.strip())
    return _rules(component, "RRULE", start), frozenset(dates), _rules(component, "EXRULE", start)


def _rules(component: Component, name: str, start: Moment | None) -> frozenset[Rule | str]:
    found: set[Rule | str] = set()
    for line in component.all(name):
        try:
            found.add(parse_rule(line.value))
        except RuleError:
            found.add(line.value.strip().upper())
    return frozenset(found)


def shortened(before: Recurrence, after: Recurrence) -> bool:
    """Whether a series only lost instances at its end: the same rules with an earlier UNTIL or a smaller COUNT."""
    if after[1] - before[1] or before[2] - after[2]:
        return False
    if len(before[0]) != 1 or len(after[0]) != 1:
        return before[0] == after[0]
    (old,), (new,) = before[0], after[0]
    if isinstance(old, str) or isinstance(new, str):
        return old == new
    if _unbound(old) != _unbound(new):
        return False
    if old.endless:
        return True
    if old.count is not None and new.count is not None:
        return new.count <= old.count
    if old.until is not None and new.until is not None:
        return new.until.wall <= old.until.wall
    return False


def _unbound(rule: Rule) -> tuple[object, ...]:
    return tuple(getattr(rule, name) for name in Rule.__slots__ if name not in ("count", "until"))


def exdate_keys(component: Component | None, zones: Zones, start: Moment | None) -> frozenset[str]:
    """Keys of the instances that EXDATE takes away."""
    return frozenset(key for key, _ in exdates_of(component, zones, start))


def is_past(obj: SchedulingObject, keys: Collection[str], now_s: int) -> bool:
    """Whether nothing of these parts ("" is the whole object) is still to come; False when nobody can tell.

    A task is not over because its time is.
    """
    if obj.kind == "VTODO":
        return False
    if MASTER in keys or not keys:
        try:
            whole = span(obj.obj, limits=_LIMITS)
        except TooManyInstances:
            return False
        return whole is not None and whole.last_s < now_s - (_DAY_S if whole.floating else 0)
    return all(_part_is_past(obj, key, now_s) for key in keys)


def _part_is_past(obj: SchedulingObject, key: str, now_s: int) -> bool:
    component = obj.parts.get(key)
    if component is None:
        found = _original(obj, key)
        if found is not None:
            return found.end_s < now_s - _DAY_S * found.floating
        at = moment_of(key, obj.start)
        return at is not None and at.seconds(UTC) < now_s - _DAY_S
    try:
        kind, start_s, end_s = times_of(component, obj.zones)
    except ValueError:
        return False
    last_s = end_s if end_s is not None else start_s
    return last_s is not None and last_s < now_s - (0 if kind == "instant" else _DAY_S)


def in_order(keys: Iterable[str]) -> list[str]:
    """Keys of parts, the master first."""
    return sorted(set(keys))
