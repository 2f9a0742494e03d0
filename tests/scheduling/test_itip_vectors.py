"""Changes with the messages they must cause, and messages with what they must do, as another library has them.

Compared are parsed components without PRODID, DTSTAMP and CALSCALE. Where we differ on purpose, DIFFERENT says why.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path
from typing import Any

from dav.errors import DavError
from dav.ical.lines import Component, Line, read
from dav.ical.recur import occurrences
from dav.ical.rules import check_calendar
from dav.scheduling import implicit
from dav.scheduling.addresses import Who, normalise
from dav.scheduling.arrive import arrive
from dav.scheduling.model import ItipError, SchedulingObject, attendees_of, read_itip, read_object, scheduling_object
from dav.scheduling.organizer import request_for, view_for
from dav.scheduling.plan import Message, Options, Plan

from .kit import NOW_S

# Sources have past dates, and objects that come with their answers: neither is what is tested here.
OPTIONS = Options(NOW_S, imports=False)
YEAR_S = 366 * 86_400
_IGNORED = ("PRODID", "DTSTAMP", "CALSCALE", "LAST-MODIFIED", "CREATED")

DIFFERENT = {
    "BrokerAttendeeReplyTest/testAddExdateWithoutPreviousExdate": "An EXDATE that comes with a new object is not taken "
    "for a refusal: nobody can tell it from what the organizer left out.",
}


def entries(kind: str, shared: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((shared / "corpus/recurrence/itip.json").read_text(encoding="utf-8"))
    return [entry for entry in found if entry["kind"] == kind]


def name_of(entry: dict[str, Any]) -> str:
    return re.sub(r"-\d+\Z", "", str(entry["id"]).partition("/")[2])


def mended(text: str | None, organizer: str = "") -> bytes | None:
    """The object with what a calendar object needs and the vector left out, since it is not about that."""
    if text is None:
        return None
    text = text.replace("RRULE;FREQ=", "RRULE:FREQ=").replace("\r\n", "\n")
    parts = re.split(r"(?<=BEGIN:VEVENT\n)", text)
    for at, part in enumerate(parts[1:], 1):
        own = part.partition("END:VEVENT")[0]
        if "DTSTART" not in own:
            parts[at] = "DTSTART:20140716T120000Z\n" + parts[at]
        if organizer and "ORGANIZER" not in own:
            parts[at] = f"ORGANIZER:{organizer}\nATTENDEE:mailto:one@example.org\n" + parts[at]
    return "".join(parts).replace("\n", "\r\n").encode()


def user(address: str) -> Who:
    address = normalise(address)
    return Who(1, "me", "/principals/me/", frozenset([address, "/principals/me/"]), address)


def lines_of(component: Component) -> Counter[tuple[str, str, tuple[str, ...]]]:
    found: Counter[tuple[str, str, tuple[str, ...]]] = Counter()
    for item in component.items:
        if isinstance(item, Line) and item.name and item.name not in _IGNORED:
            params = tuple(sorted(f"{name}={','.join(values)}" for name, values in item.params))
            value = str(normalise(item.value)) if item.name in ("ATTENDEE", "ORGANIZER") else item.value.strip()
            found[item.name, value, params] += 1
    return found


def parts_of(body: bytes | str) -> dict[str, Counter[tuple[str, str, tuple[str, ...]]]]:
    data = body if isinstance(body, bytes) else body.replace("\r\n", "\n").replace("\n", "\r\n").encode()
    calendar = next(item for item in read(data).components if item.name == "VCALENDAR")
    return {key: lines_of(part) for key, part in scheduling_object(calendar).parts.items()}


def planned(entry: dict[str, Any]) -> Plan:
    """What our planners make of a change; raises DavError where it is refused."""
    who = user(entry["currentUser"])
    before, after = mended(entry["before"]), mended(entry["after"])
    if after is None:
        assert before is not None
        return implicit.plan_removal(read_object(before), who, OPTIONS)
    check_calendar(after)
    return implicit.plan_put(None if before is None else read_object(before), read_object(after), who, OPTIONS)


def attendee_changes(shared: Path) -> list[dict[str, Any]]:
    return [
        entry
        for entry in entries("change", shared)
        if "Attendee" in name_of(entry) or name_of(entry).startswith("EvolutionTest/testAttendee")
    ]


def test_what_an_attendee_changes_causes_these_replies(shared: Path) -> None:
    seen = 0
    for entry in attendee_changes(shared):
        name = name_of(entry)
        if name.startswith("BrokerAttendeeReplyTest/testRecurring"):
            # The sources' rule had no colon: their "after" lost it. It is the same series before and after.
            entry["after"] = entry["after"].replace("END:VEVENT", "RRULE:FREQ=DAILY\nEND:VEVENT", 1)
        if "BrokerNewEventTest" in name or "BrokerSignificant" in name or "BrokerUpdate" in name:
            continue
        plan = planned(entry)
        if name in DIFFERENT:
            assert len(plan.messages[0].calendar.split(b"BEGIN:VEVENT")) < len(
                entry["messages"][0]["message"].split("BEGIN:VEVENT")
            )
            continue
        assert len(plan.messages) == len(entry["messages"]), name
        for message, expected in zip(plan.messages, entry["messages"], strict=True):
            seen += 1
            check_message(name, message, expected)
    assert seen >= 14


def check_message(name: str, message: Message, expected: dict[str, Any]) -> None:
    assert message.method == expected["method"], name
    assert (message.sender, message.recipient) == (expected["sender"], expected["recipient"]), name
    assert (message.sender_name, message.recipient_name) == (
        expected["senderName"] or "", expected["recipientName"] or "",
    ), name  # fmt: skip
    assert (message.uid, message.kind) == (expected["uid"], expected["component"]), name
    assert parts_of(message.calendar) == parts_of(expected["message"]), name


def test_messages_that_come_in_do_this(shared: Path) -> None:
    checked = 0
    for entry in entries("incoming", shared):
        name = name_of(entry)
        reply = "METHOD:REPLY" in entry["message"]
        organizer = "" if reply else "mailto:strunk@example.org"
        before, after = mended(entry["before"], organizer), mended(entry["after"], organizer)
        text = mended(entry["message"], organizer) if not reply else entry["message"].replace("\n", "\r\n").encode()
        assert text is not None
        try:
            message = read_itip(text)
        except ItipError:
            assert after is None, name
            continue
        who = user("mailto:bar@example.org" if reply else "mailto:one@example.org")
        sender = next(iter(attendees_of(next(iter(message.object.parts.values()))))) if reply else organizer
        stored = None if before is None else read_object(before)
        arrival = arrive(message, stored, who, sender=sender, seen={}, now_s=NOW_S, crashers="add")
        checked += 1
        if after is None:
            assert arrival.body is None, name
            continue
        assert arrival.body is not None, (name, arrival)
        got, wanted = parts_of(arrival.body), parts_of(after)
        if "SCHEDULE-STATUS" not in entry["after"]:  # theirs leave it out on new overrides and crashers
            got = parts_of(re.sub(rb";SCHEDULE-STATUS=[0-9.]+", b"", arrival.body.replace(b"\r\n ", b"")))
        assert got == wanted, name
    assert checked >= 18


def instants(obj: SchedulingObject) -> list[tuple[int, int]]:
    """When it takes place, in the year that the vectors are about; cancelled ones left out."""
    return sorted(
        (item.start_s, item.end_s)
        for item in occurrences(obj.obj, NOW_S - 12 * YEAR_S, NOW_S - 11 * YEAR_S)
        if item.component.value("STATUS") != "CANCELLED"
    )


def test_what_an_organizer_changes_is_what_each_guest_s_copy_becomes(shared: Path) -> None:
    """Both sides: the copy that each guest had of "before", with our messages, shows what he may see of "after"."""
    compared = 0
    for entry in entries("change", shared):
        name = name_of(entry)
        before = mended(entry["before"])
        try:
            plan = planned(entry)
        except (DavError, AssertionError):
            continue
        if plan.role != "organizer" and not (plan.role == "" and before is not None):
            continue
        who = user(entry["currentUser"])
        after = None if plan.body is None else read_object(plan.body)
        for guest in {message.recipient for message in plan.messages}:
            copy: SchedulingObject | None = None
            if before is not None:
                first = request_for(read_object(before), guest, who, now_s=NOW_S - 60)
                if first is not None:
                    came = arrive(read_itip(first.calendar), None, user(guest), sender=who.main, seen={}, now_s=NOW_S)
                    assert came.body is not None, name
                    copy = read_object(came.body)
            for message in plan.messages:
                if message.recipient == guest:
                    came = arrive(read_itip(message.calendar), copy, user(guest), sender=who.main, seen={}, now_s=NOW_S)
                    assert came.outcome == "applied", (name, came.reason)
                    assert came.body is not None, name
                    check_calendar(came.body)
                    copy = read_object(came.body)
            seen = None if after is None else view_for(after, guest, who=who, method="REQUEST", now_s=NOW_S)
            assert copy is not None
            assert instants(copy) == ([] if seen is None else instants(read_itip(seen).object)), name
            compared += 1
    assert compared >= 25
