"""Any two states of an object: nothing breaks, nothing that the client wrote is lost, nothing is said for nothing."""

from __future__ import annotations

from collections import Counter

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dav.errors import DavError
from dav.ical.lines import Component, Line
from dav.scheduling import implicit
from dav.scheduling.model import SchedulingObject, read_itip, read_object
from dav.scheduling.plan import CHANGES, Plan

from .kit import ALICE, BOB, CAROL, options, text_of, who

ADDRESSES = [ALICE, BOB, CAROL, "mailto:dan@example.org", "MAILTO:BOB@example.org", "/principals/alice/", "urn:uuid:1"]
TIMES = [
    "20260112T090000Z", "20260119T090000Z", "20260126T090000Z", "20260126", "20260119T100000", "tomorrow", "",
    "99991231T235959Z", "00010101T000000Z",
]  # fmt: skip
RULES = ["FREQ=WEEKLY", "FREQ=WEEKLY;COUNT=4", "FREQ=DAILY;UNTIL=20260201T000000Z", "FREQ=SECONDLY", "x", "FREQ=YEARLY"]
PARAMS = [
    "", ";PARTSTAT=ACCEPTED", ";PARTSTAT=DECLINED;RSVP=TRUE", ";SCHEDULE-AGENT=CLIENT", ";SCHEDULE-AGENT=NONE",
    ";SCHEDULE-STATUS=2.0", ";SCHEDULE-FORCE-SEND=REQUEST", ";SCHEDULE-FORCE-SEND=x", ';CN="A: B; C"',
    ';PARTSTAT=DELEGATED;DELEGATED-TO="mailto:dan@example.org","mailto:x@y.z"', f';DELEGATED-FROM="{BOB}"',
    ";ROLE=CHAIR",
]  # fmt: skip

times = st.builds(
    lambda tzid, value: f"{tzid}:{value}",
    st.sampled_from(["", "", ";TZID=Europe/Berlin", ";VALUE=DATE", ";TZID=Nowhere"]),
    st.sampled_from(TIMES),
)
guests = st.builds(
    lambda params, address: f"ATTENDEE{params}:{address}", st.sampled_from(PARAMS), st.sampled_from(ADDRESSES)
)
lines = st.one_of(
    guests,
    guests,
    guests,
    times.map(lambda value: f"DTEND{value}"),
    times.map(lambda value: f"EXDATE{value}"),
    times.map(lambda value: f"RDATE{value}"),
    st.sampled_from(RULES).map(lambda rule: f"RRULE:{rule}"),
    st.sampled_from(
        ["SUMMARY:Lunch", "SUMMARY:Dinner", "LOCATION:Room", "STATUS:CANCELLED", "STATUS:TENTATIVE", "SEQUENCE:3",
         "SEQUENCE:x", "X-PRIVATE:1", "TRANSP:OPAQUE", "no colon", "DURATION:PT1H", "DURATION:x", "DESCRIPTION:\\n\\,",
         "ATTACH:file:///x", "BEGIN:VALARM\nTRIGGER:-PT5M\nACTION:DISPLAY\nEND:VALARM", "SUMMARY;X=" + "y" * 90 + ":z"]
    ),
)  # fmt: skip
organizers = st.sampled_from(
    [f"ORGANIZER:{ALICE}"] * 8 + [f"ORGANIZER:{BOB}", "ORGANIZER:/principals/alice/", "X-NO:1"]
)


@st.composite
def objects(draw: st.DrawFn) -> SchedulingObject:
    """A calendar object such as clients write them, and such as none does."""
    name = draw(st.sampled_from(["VEVENT", "VEVENT", "VEVENT", "VTODO", "VJOURNAL"]))
    organizer = draw(organizers)
    parts = []
    if draw(st.integers(0, 4)):
        parts.append([f"DTSTART{draw(times)}", *draw(st.lists(lines, max_size=7))])
    for _ in range(draw(st.integers(0 if parts else 1, 2))):
        rid = draw(st.sampled_from(["RECURRENCE-ID", "RECURRENCE-ID", "RECURRENCE-ID;RANGE=THISANDFUTURE"]))
        parts.append([f"{rid}{draw(times)}", f"DTSTART{draw(times)}", *draw(st.lists(lines, max_size=4))])
    return read_object(text_of(*("\n".join([name, organizer, *part]) for part in parts)).encode())


def all_lines(component: Component) -> Counter[bytes]:
    """The lines of a tree, but those that the server may write anew or add."""
    found: Counter[bytes] = Counter()
    for item in component.items:
        if isinstance(item, Component):
            found.update(all_lines(item))
        elif isinstance(item, Line) and item.name not in ("ATTENDEE", "ORGANIZER", "SEQUENCE"):
            found[item.raw] += 1
    return found


def check(plan: Plan, new: SchedulingObject | None) -> None:
    """What holds for every plan."""
    who_ = who()
    for message in plan.messages:
        if plan.role == "organizer":
            assert message.method in ("REQUEST", "CANCEL")
            assert not who_.has(message.recipient)
            assert message.changes
            assert list(message.changes) == [name for name in CHANGES if name in message.changes]
        itip = read_itip(message.calendar)
        assert itip.method == message.method
        assert b"\n" not in message.calendar.replace(b"\r\n", b"")
        assert max(map(len, message.calendar.split(b"\r\n"))) <= 75
        assert b"SCHEDULE-" not in message.calendar
        assert b"VALARM" not in message.calendar
    if new is None:
        assert plan.body is None
        return
    assert plan.body is not None
    assert plan.altered == (plan.body != new.to_bytes())
    stored = read_object(plan.body)
    if plan.role == "organizer":
        missing = all_lines(new.calendar) - all_lines(stored.calendar)
        assert not missing
        assert b"SCHEDULE-FORCE-SEND" not in b"".join(
            line.raw for part in stored.parts.values() for line in part.all("ATTENDEE")
        )


def planned(old: SchedulingObject | None, new: SchedulingObject, **changes: object) -> Plan | None:
    """The plan of a PUT; None when it is refused, as it may be, with 403."""
    try:
        return implicit.plan_put(old, new, who(), options(**changes))
    except DavError as error:
        if error.status != 403:
            raise
        return None


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objects(), objects(), st.booleans())
def test_any_change_is_planned_or_refused(old: SchedulingObject, new: SchedulingObject, imports: bool) -> None:
    before, after = old.to_bytes(), new.to_bytes()
    for stored in (None, old):
        plan = planned(stored, new, imports=imports)
        if plan is None:
            continue
        check(plan, new)
        check(implicit.plan_removal(new, who(), options()), None)
        # The second time it is nothing new.
        if plan.role == "organizer" and plan.body is not None:
            kept = read_object(plan.body)
            again = implicit.plan_put(kept, kept, who(), options())
            assert again.messages == ()
            assert again.body == plan.body
            assert not again.altered
    # Neither was changed.
    assert (old.to_bytes(), new.to_bytes()) == (before, after)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(objects())
def test_the_same_again_says_nothing(found: SchedulingObject) -> None:
    plan = planned(found, found)
    if plan is None:
        return
    forced = any(line.param("SCHEDULE-FORCE-SEND") for part in found.parts.values() for line in part.lines)
    if not forced and plan.role == "organizer":
        assert plan.messages == ()
        assert plan.body == found.to_bytes()
