"""Implicit scheduling (RFC 6638 §3): which role an object has in its owner's calendar, and what its change means."""

from __future__ import annotations

from dataclasses import replace

from dav.errors import DavError
from dav.ical.make import utc_seconds
from dav.names import c
from dav.scheduling import attendee, organizer
from dav.scheduling.addresses import Who
from dav.scheduling.edit import add_line, copy_tree, replace_line, set_property, with_params
from dav.scheduling.model import (
    SchedulingObject,
    address_of,
    agent_of,
    attendees_of,
    number_of,
    organizer_of,
    partstat_of,
    scheduling_object,
)
from dav.scheduling.plan import Options, Plan

KINDS = frozenset({"VEVENT", "VTODO", "VJOURNAL"})
_DAY_S = 86_400
# Invitations are answered within this time; what is older and comes with its answer was answered elsewhere.
_ANSWERED_S = 14 * _DAY_S


def role_of(obj: SchedulingObject | None, who: Who) -> str:
    """Of the owner of the calendar: "organizer", "attendee", or "" when nobody is to be told anything (section 1)."""
    if obj is None or obj.kind not in KINDS or not obj.uid:
        return ""
    address = obj.organizer
    if not address:
        return ""
    if who.has(address):
        return "organizer"
    if any(who.has(attendee) for part in obj.parts.values() for attendee in attendees_of(part)):
        return "attendee"
    return ""


def check_organizers(obj: SchedulingObject) -> None:
    """Raises DavError 403 when components name different organizers (RFC 6638 §3.2.4.2)."""
    if len({address for part in obj.obj.components if (address := organizer_of(part))}) > 1:
        raise DavError(
            403, c("same-organizer-in-all-components"), "All parts of a meeting must name the same organizer."
        )


def plan_put(old: SchedulingObject | None, new: SchedulingObject, who: Who, options: Options) -> Plan:
    """What a PUT in this owner's calendar asks for (section 2). old: what is stored at its place, None for nothing.

    Raises DavError 403: same-organizer-in-all-components, allowed-organizer-scheduling-object-change,
    allowed-attendee-scheduling-object-change.
    """
    if new.kind in KINDS:
        check_organizers(new)
    before, after = role_of(old, who), role_of(new, who)
    if old is None or not before:
        return _created(old, new, after, who, options)
    if not new.organizer and _only_completes(old, new):
        return replace(plan_put(old, _with_people(old, new, who), who, options), altered=True)
    if not new.organizer:
        return _taken_away(old, new, before, who, options)
    if before == "organizer":
        if after != "organizer":
            raise DavError(
                403, c("allowed-organizer-scheduling-object-change"), "The organizer of a meeting cannot be changed."
            )
        return _same_organizer(old, new, who, options)
    if after == "organizer":
        raise DavError(
            403, c("allowed-attendee-scheduling-object-change"), "A guest cannot make himself the organizer."
        )
    return attendee.plan_put(old, new, who, options)


def _created(old: SchedulingObject | None, new: SchedulingObject, role: str, who: Who, options: Options) -> Plan:
    """There was nothing, or a plain object, whose organizer may only now be one of the owner's addresses."""
    if role == "organizer":
        if old is not None and old.organizer == new.organizer:
            # It was his all along, under an address that he did not have then: nobody is invited anew.
            return organizer.plan_put(old, new, who, options)
        if old is None and options.imports and is_import(new, who, options.now_s):
            options = replace(options, silent=True)
        work = new if old is None else _at_least(new, old.sequence)
        plan = organizer.plan_put(None, work, who, options)
        return plan if work is new else replace(plan, altered=True)
    if role == "attendee":
        if old is None and options.imports and is_answered_elsewhere(new, options.now_s):
            options = replace(options, silent=True)
        return attendee.plan_put(None, new, who, options)
    return Plan("", new.to_bytes(), tag=False)


def _at_least(obj: SchedulingObject, sequence: int) -> SchedulingObject:
    """The object, or a copy of it, with no SEQUENCE below this one: guests know of it from before."""
    if all(number_of(part) >= sequence for part in obj.parts.values()):
        return obj
    work = scheduling_object(copy_tree(obj.calendar))
    for part in work.parts.values():
        if number_of(part) < sequence:
            set_property(part, "SEQUENCE", str(sequence))
    return work


def _same_organizer(old: SchedulingObject, new: SchedulingObject, who: Who, options: Options) -> Plan:
    """The organizer's change; under another of his own addresses it stays the meeting of the first."""
    if new.organizer == old.organizer:
        return organizer.plan_put(old, new, who, options)
    line = next(line for part in old.parts.values() if (line := part.first("ORGANIZER")) is not None)
    work = scheduling_object(copy_tree(new.calendar))
    for part in work.obj.components:
        for theirs in part.all("ORGANIZER"):
            replace_line(part, theirs, line)
    return replace(organizer.plan_put(old, work, who, options), altered=True)


def _taken_away(old: SchedulingObject, new: SchedulingObject, before: str, who: Who, options: Options) -> Plan:
    """ORGANIZER is gone: to the others that is a removal, here the object stays as a plain one."""
    removal = plan_removal(old, who, options)
    told = [message.sequence for message in removal.messages] if before == "organizer" else []
    work = _at_least(new, max(told, default=0))
    return Plan("", work.to_bytes(), work is not new, True, removal.messages)


def _only_completes(old: SchedulingObject, new: SchedulingObject) -> bool:
    """Whether a task is marked as done by a program that forgets whose it is.

    CLIENT Apple's Reminders, as CalDAVTester has it: ORGANIZER and all ATTENDEEs are gone with the write that completes
    a task. Taken as their removal it would be cancelled for everybody else.
    """
    return (
        old.kind == new.kind == "VTODO"
        and _is_done(new)
        and not _is_done(old)
        and not any(part.all("ATTENDEE") for part in new.parts.values())
    )


def _is_done(obj: SchedulingObject) -> bool:
    return all(
        part.first("COMPLETED") is not None or (part.value("STATUS") or "").strip().upper() == "COMPLETED"
        for part in obj.parts.values()
    )


def _with_people(old: SchedulingObject, new: SchedulingObject, who: Who) -> SchedulingObject:
    """The new object with organizer and guests of the old one, who writes it having done the task."""
    work = scheduling_object(copy_tree(new.calendar))
    for key, part in work.parts.items():
        known = old.parts.get(key) or old.master or next(iter(old.parts.values()))
        for line in [*known.all("ORGANIZER"), *known.all("ATTENDEE")]:
            mine = line.name == "ATTENDEE" and who.has(address_of(line))
            add_line(part, with_params(line, {"PARTSTAT": "COMPLETED"}) if mine else line)
    return scheduling_object(work.calendar)


def plan_removal(old: SchedulingObject, who: Who, options: Options) -> Plan:
    """What taking the stored object away asks for: DELETE, or MOVE out of the calendars."""
    role = role_of(old, who)
    if role == "organizer":
        return organizer.plan_removal(old, who, options)
    if role == "attendee":
        return attendee.plan_removal(old, who, options)
    return Plan("", None, tag=False)


def is_import(new: SchedulingObject, who: Who, now_s: int) -> bool:
    """Whether a new object of an organizer was made elsewhere, so that its guests know of it (section 8).

    That is: it has schedule statuses, or answers of others, or was last changed more than a day ago. Not when some
    guest is marked to be told (SCHEDULE-FORCE-SEND).
    """
    answered = False
    for part in new.parts.values():
        for address, line in attendees_of(part).items():
            if line.param("SCHEDULE-FORCE-SEND") is not None:
                return False
            if who.has(address) or agent_of(line) != "SERVER":
                continue
            answered = answered or line.param("SCHEDULE-STATUS") is not None or partstat_of(line) != "NEEDS-ACTION"
    return answered or _older(new, now_s - _DAY_S)


def is_answered_elsewhere(new: SchedulingObject, now_s: int) -> bool:
    """Whether a new object of a guest came with its answer from elsewhere: his organizer is not told of it again.

    A guest who saves an invitation from his mail does so within days; his answer must not be lost.
    """
    for part in new.parts.values():
        line = part.first("ORGANIZER")
        if line is not None and line.param("SCHEDULE-FORCE-SEND") is not None:
            return False
        if line is not None and line.param("SCHEDULE-STATUS") is not None:
            return True
    return _older(new, now_s - _ANSWERED_S)


def _older(obj: SchedulingObject, than_s: int) -> bool:
    """Whether the newest of all CREATED, LAST-MODIFIED and DTSTAMP is older; False without one of the first two.

    Calendars that export write when an object was made. CLIENT python-caldav and scripts like it write a DTSTAMP that
    never changes, and nothing else.
    """
    told = False
    newest = -1
    for part in obj.parts.values():
        for name in ("CREATED", "LAST-MODIFIED", "DTSTAMP"):
            try:
                at_s = utc_seconds(part.value(name) or "")
            except ValueError:
                continue
            newest = max(newest, at_s)
            told = told or name != "DTSTAMP"
    return told and newest < than_s
