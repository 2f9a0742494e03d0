"""Meetings for tests: short texts become calendar objects, plans become short texts."""

from __future__ import annotations

from dav.ical.lines import Component, Line
from dav.ical.make import utc_seconds
from dav.scheduling import implicit
from dav.scheduling.addresses import Who
from dav.scheduling.model import MASTER, SchedulingObject, attendees_of, partstat_of, read_itip, read_object
from dav.scheduling.plan import Message, Options, Plan

NOW_S = utc_seconds("20260104T090000Z")
NOW = "20260104T090000Z"
ALICE = "mailto:alice@example.org"
BOB = "mailto:bob@example.org"
CAROL = "mailto:carol@example.net"


def who(name: str = "alice", *more: str) -> Who:
    """A principal here with name@example.org, its principal URL and more addresses."""
    main = f"mailto:{name}@example.org"
    href = f"/principals/{name}/"
    return Who(1, name, href, frozenset([main, href, *more]), main, display_name=name.title())


def options(**changes: object) -> Options:
    """A write at NOW_S."""
    return Options(NOW_S, **changes)  # type: ignore[arg-type]


def text_of(*components: str, before: str = "") -> str:
    """A calendar object with these components; each is "NAME" (VEVENT when it has a colon) and lines."""
    parts = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:-//Test//EN", *(before.strip().splitlines() if before else [])]
    for component in components:
        lines = [line.strip() for line in component.strip().splitlines()]
        name = "VEVENT"
        if lines[0] in ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY"):
            name = lines.pop(0)
        given = {line.partition(":")[0].partition(";")[0] for line in lines}
        fixed = [text for text in ("UID:1@example.org", f"DTSTAMP:{NOW}") if text.partition(":")[0] not in given]
        parts += [f"BEGIN:{name}", *fixed, *lines, f"END:{name}"]
    return "\r\n".join([*parts, "END:VCALENDAR", ""])


def obj(*components: str, before: str = "") -> SchedulingObject:
    """The calendar object of `text_of`, read."""
    return read_object(text_of(*components, before=before).encode())


def put(old: SchedulingObject | None, new: SchedulingObject, who_: Who | None = None, **changes: object) -> Plan:
    """What a PUT by alice, or by somebody else, asks for."""
    return implicit.plan_put(old, new, who_ or who(), options(**changes))


def said(messages: tuple[Message, ...]) -> list[str]:
    """Messages in short: "REQUEST bob [instances] time,place" with ~ for quiet ones, ! for what is past."""
    found = []
    for message in messages:
        marks = ("~" if message.quiet else "") + ("!" if message.past else "")
        recipient = message.recipient.removeprefix("mailto:").partition("@")[0]
        about = f" [{message.recurrence}]" if message.recurrence else ""
        found.append(f"{marks}{message.method} {recipient}{about} {','.join(message.changes)}".rstrip())
    return found


def stored(plan: Plan) -> SchedulingObject:
    """The object that a plan stores."""
    assert plan.body is not None
    return read_object(plan.body)


def sent(plan: Plan, recipient: str, method: str = "") -> SchedulingObject:
    """What the one message to a recipient says; checked to be a message."""
    found = [
        message
        for message in plan.messages
        if message.recipient.startswith(f"mailto:{recipient}@") and method in ("", message.method)
    ]
    assert len(found) == 1, said(plan.messages)
    itip = read_itip(found[0].calendar)
    assert itip.method == found[0].method
    assert itip.uid == found[0].uid
    assert itip.sequence == found[0].sequence
    return itip.object


def partstats(obj: SchedulingObject, key: str = MASTER) -> dict[str, str]:
    """Local part of each attendee → PARTSTAT in one part."""
    return {
        address.removeprefix("mailto:").partition("@")[0]: partstat_of(line)
        for address, line in attendees_of(obj.parts[key]).items()
    }


def values(component: Component | None, name: str) -> list[str]:
    """Raw values of the own lines called so."""
    assert component is not None
    return [line.value for line in component.all(name)]


def sequences(obj: SchedulingObject) -> dict[str, str | None]:
    """SEQUENCE by part."""
    return {key: part.value("SEQUENCE") for key, part in obj.parts.items()}


def line_for(obj: SchedulingObject, address: str, key: str = MASTER) -> Line:
    """The ATTENDEE line of an address in a part."""
    return attendees_of(obj.parts[key])[address]
