"""What holds for any message and any object that are made of valid pieces."""

from __future__ import annotations

import re

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dav.errors import DavError
from dav.ical.rules import check_calendar
from dav.names import c
from dav.scheduling import attendee, implicit
from dav.scheduling.arrive import arrive, with_status
from dav.scheduling.model import METHODS, ItipError, SchedulingObject, read_itip, read_object
from dav.scheduling.plan import OUTCOMES, Seen

from .kit import ALICE, BOB, CAROL, NOW_S, options, text_of, who

PEOPLE = [
    ALICE,
    BOB,
    CAROL,
    "mailto:eve@example.com",
    "mailto:bob+tag@example.org",
    "/principals/bob/",
    "MAILTO:BOB@EXAMPLE.ORG",
]
STAMPS = ["20260101T000000Z", "20260102T000000Z", "20260103T000000Z"]
PARTSTATS = ["NEEDS-ACTION", "ACCEPTED", "DECLINED", "TENTATIVE", "DELEGATED", "X-MAYBE", "accepted"]
RIDS = [
    "RECURRENCE-ID;TZID=Europe/Berlin:20260303T120000", "RECURRENCE-ID:20260304T110000Z",
    "RECURRENCE-ID;VALUE=DATE:20260305", "RECURRENCE-ID;TZID=W. Europe Standard Time:20260303T120000",
    "RECURRENCE-ID;TZID=Nowhere:20260304T120000", "RECURRENCE-ID:20260305T120000",
    "RECURRENCE-ID;RANGE=THISANDFUTURE:20260304T110000Z", "RECURRENCE-ID:20300101T000000Z",
    "RECURRENCE-ID;VALUE=DATE:20260303", "RECURRENCE-ID;RANGE=THISANDFUTURE;VALUE=DATE:20260304",
]  # fmt: skip
TIMES = [
    ["DTSTART;TZID=Europe/Berlin:20260302T120000", "DTEND;TZID=Europe/Berlin:20260302T130000"],
    ["DTSTART:20260302T110000Z", "DURATION:PT1H"],
    ["DTSTART;VALUE=DATE:20260302"],
    ["DTSTART:20260302T120000"],
    ["DTSTART;TZID=Nowhere:20260304T120000", "DURATION:P1D"],
]
RULES = [
    [], ["RRULE:FREQ=DAILY;COUNT=5"], ["RRULE:FREQ=DAILY"], ["RRULE:FREQ=DAILY;UNTIL=20260306T110000Z"],
    ["RRULE:FREQ=WEEKLY;BYDAY=MO,WE", "EXDATE;TZID=Europe/Berlin:20260304T120000"],
    ["RDATE:20260303T110000Z,20260304T110000Z"], ["RRULE:FREQ=DAILY;COUNT=4", "EXDATE:20260303T110000Z"],
]  # fmt: skip
TEXTS = [
    "SUMMARY:Lunch", "SUMMARY:Dinner\\, late", "LOCATION:Bay", "STATUS:CANCELLED", "STATUS:CONFIRMED", "CLASS:PRIVATE",
    "TRANSP:TRANSPARENT", "CATEGORIES:A,B", "COMMENT:Hi\\nthere", "COMMENT:\\n", "X-MOZ-LASTACK:1", "X-OTHER:2",
    "REQUEST-STATUS:2.0;Success", "REQUEST-STATUS:3.7;Nobody", "REQUEST-STATUS:odd", "DESCRIPTION:ü" + "é" * 80,
    "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT5M\nDESCRIPTION:x\nEND:VALARM",
]  # fmt: skip


@st.composite
def attendees(draw: st.DrawFn) -> str:
    params = f";PARTSTAT={draw(st.sampled_from(PARTSTATS))}"
    if draw(st.booleans()):
        params += ";RSVP=TRUE"
    for name in draw(
        st.lists(st.sampled_from(["DELEGATED-TO", "DELEGATED-FROM", "SENT-BY", "EMAIL"]), max_size=2, unique=True)
    ):
        params += f';{name}="{draw(st.sampled_from(PEOPLE))}"'
    if draw(st.integers(0, 5)) == 0:
        params += draw(st.sampled_from([";SCHEDULE-AGENT=NONE", ";SCHEDULE-STATUS=1.1", ";SCHEDULE-FORCE-SEND=REPLY"]))
    return f"ATTENDEE{params}:{draw(st.sampled_from(PEOPLE))}"


@st.composite
def components(draw: st.DrawFn, *, rid: bool, timed: bool = True, organizer: str | None = None) -> str:
    lines = [f"DTSTAMP:{draw(st.sampled_from(STAMPS))}"]
    if draw(st.booleans()):
        lines.append(f"SEQUENCE:{draw(st.integers(0, 3))}")
    who_ = organizer or draw(st.sampled_from([*PEOPLE, ""]))
    if who_:
        lines.append(f"ORGANIZER:{who_}")
    if timed or draw(st.booleans()):
        lines += draw(st.sampled_from(TIMES))
    if rid:
        lines.append(draw(st.sampled_from(RIDS)))
    elif timed:
        lines += draw(st.sampled_from(RULES))
    lines += draw(st.lists(attendees(), max_size=4))
    names = set()
    for text in draw(st.lists(st.sampled_from(TEXTS), max_size=5)):
        name = text.partition(":")[0]
        if name not in names:
            names.add(name)
            lines.append(text)
    return "\n".join(
        [line for line in lines if not line.startswith("BEGIN")] + [line for line in lines if line.startswith("BEGIN")]
    )


@st.composite
def part_lists(draw: st.DrawFn) -> list[str]:
    organizer = draw(st.sampled_from([ALICE, BOB]))
    parts = draw(st.lists(components(rid=True, organizer=organizer), max_size=3))
    if draw(st.booleans()) or not parts:
        parts.insert(0, draw(components(rid=False, organizer=organizer)))
    return parts


def valid(parts: list[str]) -> bytes | None:
    body = text_of(*parts).encode()
    try:
        check_calendar(body)
    except DavError:
        return None
    return body


def read_or_none(body: bytes | None) -> SchedulingObject | None:
    return None if body is None else read_object(body)


stored_objects = part_lists().map(valid)


@st.composite
def rewritten(draw: st.DrawFn) -> tuple[bytes | None, bytes | None]:
    """An object, and what some client made of it."""
    before = draw(part_lists())
    after = []
    for part in before:
        lines = part.split("\n")
        for _ in range(draw(st.integers(0, 3))):
            kind = draw(st.integers(0, 4))
            at = draw(st.integers(0, len(lines) - 1))
            if kind == 0:
                lines[at] = re.sub("PARTSTAT=[A-Za-z-]+", f"PARTSTAT={draw(st.sampled_from(PARTSTATS))}", lines[at])
            elif kind == 1 and lines[at].partition(":")[0] not in ("BEGIN", "END", "ACTION", "TRIGGER"):
                del lines[at]
            elif kind == 2:
                lines.insert(
                    0, draw(st.sampled_from(["EXDATE:20260304T110000Z", "X-OWN:1", "CATEGORIES:C", "URL:x:y"]))
                )
            elif kind == 3:
                lines.insert(0, draw(attendees()))
            lines = lines or ["X-EMPTY:1"]
        if draw(st.integers(0, 5)):
            after.append("\n".join(lines))
    if draw(st.booleans()):
        override = before[0].split("\n")
        after.append(
            "\n".join(
                [
                    draw(st.sampled_from(RIDS)),
                    *(x for x in override if not x.startswith(("RRULE", "RDATE", "EXDATE", "RECURRENCE-ID"))),
                ]
            )
        )
    return valid(before), valid(after) if after else None


@st.composite
def messages(draw: st.DrawFn) -> bytes:
    organizer = draw(st.sampled_from([ALICE, BOB, None]))
    timed = draw(st.booleans())
    parts = draw(st.lists(components(rid=True, timed=timed, organizer=organizer), max_size=3))
    if draw(st.booleans()) or not parts:
        parts.insert(draw(st.integers(0, len(parts))), draw(components(rid=False, timed=timed, organizer=organizer)))
    return text_of(*parts, before=f"METHOD:{draw(st.sampled_from(sorted(METHODS)))}").encode()


SEEN: st.SearchStrategy[Seen] = st.dictionaries(
    st.tuples(st.sampled_from(PEOPLE[:4]), st.sampled_from(["", "20260303T110000Z", "20260304T110000Z"])),
    st.tuples(st.integers(0, 3), st.sampled_from([*STAMPS, ""])),
    max_size=3,
)
SLOW = settings(
    max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large]
)


@given(
    message=messages(), body=stored_objects, seen=SEEN, sender=st.sampled_from(["", *PEOPLE[:5]]),
    crashers=st.sampled_from(["ignore", "ask", "add"]), known=st.booleans(), hide=st.booleans(),
    name=st.sampled_from(["alice", "bob"]),
)  # fmt: skip
@SLOW
def test_a_message_never_fails_and_makes_valid_objects_and_nothing_when_it_comes_again(
    message: bytes,
    body: bytes | None,
    seen: Seen,
    sender: str,
    crashers: str,
    known: bool,
    hide: bool,
    name: str,
) -> None:
    itip, me, stored = read_itip(message), who(name), read_or_none(body)

    def come(current: SchedulingObject | None, before: Seen):  # type: ignore[no-untyped-def]
        return arrive(
            itip, current, me, sender=sender, seen=before, now_s=NOW_S, crashers=crashers, known=known,
            hide_cancelled=hide,
        )  # fmt: skip

    first = come(stored, seen)
    assert stored is None or stored.to_bytes() == body
    assert itip.object.to_bytes() == message
    assert first.outcome in OUTCOMES
    assert first.outcome == "applied" or (first.body is None and not first.remove)
    assert first.reason
    after = stored
    if first.body is not None:
        assert check_calendar(first.body).uid == "1@example.org"
        assert first.create == (stored is None)
        after = read_object(first.body)
    for follow_up in first.messages:
        assert read_itip(follow_up.calendar).uid == "1@example.org"
    if first.remove:
        return
    again = come(after, {**seen, **first.seen})
    assert again.body is None or again.body == after.to_bytes() if after is not None else again.body is None
    if first.body is not None:
        assert not again.notice
        assert not again.tag
        assert again.messages == ()


@given(both=rewritten(), new_one=st.booleans(), silent=st.booleans(), matched=st.booleans())
@SLOW
def test_what_a_guest_writes_is_refused_or_stored_valid_and_said_in_messages(
    both: tuple[bytes | None, bytes | None], new_one: bool, silent: bool, matched: bool
) -> None:
    bob = who("bob")
    old, new = map(read_or_none, both)
    if new is None or implicit.role_of(new, bob) != "attendee":
        return
    if new_one or implicit.role_of(old, bob) != "attendee":
        old = None
    try:
        plan = attendee.plan_put(old, new, bob, options(silent=silent, matched=matched))
    except DavError as error:
        status, condition = error.status, error.condition
    else:
        status, condition = 0, ""
    if status:
        assert (old is None, status, condition) == (False, 403, c("allowed-attendee-scheduling-object-change"))
        return
    assert plan.body is not None
    check_calendar(plan.body)
    assert not (silent and plan.messages)
    for message in plan.messages:
        said = read_itip(message.calendar)
        assert said.method == message.method
        assert bob.has(message.sender)
    after = read_object(plan.body)
    if old is not None:
        assert not set(old.parts) - set(after.parts) - after.exdates() or old.master is None
    again = attendee.plan_put(after, after, bob, options())
    assert again.messages == ()
    assert old is None or again.body == plan.body
    removal = attendee.plan_removal(after, bob, options())
    assert len(removal.messages) <= len(attendee.own_addresses(after, bob))


@given(body=stored_objects, answers=st.dictionaries(st.sampled_from(["", "20260303T110000Z", "20260304", "x"]),
                                                     st.sampled_from(PARTSTATS), max_size=3))  # fmt: skip
@SLOW
def test_an_answer_made_here_is_valid_or_an_error_that_says_why(body: bytes | None, answers: dict[str, str]) -> None:
    obj = read_or_none(body)
    if obj is None:
        return
    try:
        plan = attendee.answer(obj, who("bob"), answers, now_s=NOW_S)
    except ItipError:
        return
    assert plan.body is not None
    check_calendar(plan.body)
    for message in plan.messages:
        read_itip(message.calendar)


@given(body=stored_objects, role=st.sampled_from(["organizer", "attendee"]), status=st.sampled_from(["1.2", "2.0,3.7"]))
@SLOW
def test_a_status_twice_is_a_status_once(body: bytes | None, role: str, status: str) -> None:
    obj = read_or_none(body)
    if obj is None:
        return
    statuses = dict.fromkeys([ALICE, BOB], status)
    once = with_status(obj.to_bytes(), role, statuses)
    assert with_status(once, role, statuses) == once
    assert list(read_object(once).parts) == list(obj.parts)
