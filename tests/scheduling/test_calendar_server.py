"""scheduling.like_calendar_server: what Apple's Calendar Server did where RFC 5546 and 6638 leave room."""

from __future__ import annotations

import pytest

from dav.ical.rules import check_calendar
from dav.scheduling.arrive import arrive
from dav.scheduling.model import MASTER, SchedulingObject, read_itip, read_object
from dav.scheduling.plan import Message, Plan

from .kit import ALICE, BOB, CAROL, NOW_S, obj, put, said, sequences, stored, values, who

MEETING = f"""
SUMMARY:Lunch
DTSTART;TZID=Europe/Berlin:20260302T120000
DTEND;TZID=Europe/Berlin:20260302T130000
ORGANIZER;CN=Alice:{ALICE}
ATTENDEE;PARTSTAT=ACCEPTED:{ALICE}
ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:{BOB}
"""
SERIES = MEETING + "RRULE:FREQ=DAILY;COUNT=5\n"
SECOND = "20260303T110000Z"
OVERRIDE = MEETING.replace("20260302T", "20260303T") + "RECURRENCE-ID;TZID=Europe/Berlin:20260303T120000\n"
LEFT_OUT = "EXDATE;TZID=Europe/Berlin:20260304T120000\n"
ALARM = "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT15M\nDESCRIPTION:Up\nEND:VALARM\n"
CAROLS = f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:{CAROL}\n"


def changed(before: list[str], after: list[str], **options: object) -> Plan:
    plan = put(obj(*before), obj(*after), calendar_server=True, **options)
    assert plan.body is not None
    check_calendar(plan.body)
    return plan


def for_bob(plan: Plan) -> list[Message]:
    return [message for message in plan.messages if message.recipient == BOB]


def told(copy: SchedulingObject | None, messages: list[Message], *, free: bool = True) -> SchedulingObject:
    """Bob's copy after these."""
    for message in messages:
        arrival = arrive(
            read_itip(message.calendar), copy, who("bob"), sender=ALICE, seen={}, now_s=NOW_S, unanswered_free=free
        )
        assert arrival.body is not None
        check_calendar(arrival.body)
        copy = read_object(arrival.body)
    assert copy is not None
    return copy


def test_whatever_others_hear_of_raises_sequence_of_all_parts_and_what_they_do_not_raises_none() -> None:
    parts = [SERIES, OVERRIDE]
    for after in (
        [SERIES.replace("Lunch", "Dinner"), OVERRIDE],
        [SERIES, OVERRIDE.replace("Lunch", "Dinner")],
        [SERIES + CAROLS, OVERRIDE + CAROLS],
        [SERIES + LEFT_OUT, OVERRIDE],
        [SERIES.replace("T130000", "T140000"), OVERRIDE],
    ):
        assert sequences(stored(changed(parts, after))) == {MASTER: "1", SECOND: "1"}
        plain = put(obj(*parts), obj(*after))
        assert sequences(stored(plain)) != {MASTER: "1", SECOND: "1"}
    for same in (parts, [SERIES + ALARM, OVERRIDE], [SERIES + "TRANSP:TRANSPARENT\n", OVERRIDE]):
        assert sequences(stored(changed(parts, same))) == {MASTER: None, SECOND: None}


def test_a_sequence_that_the_client_has_raised_is_left_alone() -> None:
    raised = [SERIES.replace("Lunch", "Dinner") + "SEQUENCE:7\n", OVERRIDE]
    assert sequences(stored(changed([SERIES, OVERRIDE], raised))) == {MASTER: "7", SECOND: None}


def test_sequence_never_falls() -> None:
    high = [SERIES + "SEQUENCE:4\n", OVERRIDE + "SEQUENCE:5\n"]
    for after, wanted in (
        ([SERIES, OVERRIDE], {MASTER: "4", SECOND: "5"}),
        ([SERIES + "SEQUENCE:1\n", OVERRIDE + "SEQUENCE:9\n"], {MASTER: "4", SECOND: "9"}),
        ([SERIES.replace("Lunch", "Dinner"), OVERRIDE], {MASTER: "6", SECOND: "6"}),
    ):
        assert sequences(stored(changed(high, after))) == wanted


def test_the_series_is_announced_beside_the_cancel_of_an_instance_to_people_here() -> None:
    plan = changed([SERIES], [SERIES + LEFT_OUT])
    assert said(tuple(for_bob(plan))) == ["CANCEL bob [20260304T110000Z] instance,cancelled", "REQUEST bob recurrence"]
    assert [message.here for message in for_bob(plan)] == [False, True]
    # Who is invited to single instances hears of his own only.
    without = MEETING.replace(f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:{BOB}\n", CAROLS)
    master, third = without + "RRULE:FREQ=DAILY;COUNT=5\n", OVERRIDE.replace("20260303T", "20260304T")
    less = third.replace(f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:{BOB}\n", "")
    plan = changed([master, OVERRIDE, third], [master, OVERRIDE, less])
    assert [message.method for message in for_bob(plan)] == ["CANCEL"]


def test_another_guest_is_announced_to_people_here_and_by_mail_to_none() -> None:
    plan = changed([SERIES], [SERIES + CAROLS])
    (message,) = for_bob(plan)
    assert (message.quiet, message.here, message.changes) == (False, True, ("attendees",))
    (plain,) = for_bob(put(obj(SERIES), obj(SERIES + CAROLS)))
    assert (plain.quiet, plain.here) == (True, False)


def test_what_waits_for_an_answer_leaves_its_guest_free_until_he_says_yes() -> None:
    invited = told(None, for_bob(put(None, obj(SERIES), imports=False)))
    assert values(invited.master, "TRANSP") == ["TRANSPARENT"]
    yes = invited.to_bytes().replace(b"PARTSTAT=NEEDS-ACTION;RSVP=TRUE", b"PARTSTAT=ACCEPTED")
    for partstat, left in (("ACCEPTED", []), ("TENTATIVE", []), ("DECLINED", ["TRANSPARENT"])):
        answered = read_object(yes.replace(b"=ACCEPTED:mailto:bob", f"={partstat}:mailto:bob".encode()))
        plan = put(invited, answered, who("bob"), calendar_server=True)
        assert values(stored(plan).master, "TRANSP") == left
        assert values(stored(put(invited, answered, who("bob"))).master, "TRANSP") == ["TRANSPARENT"]
    # What he has chosen himself afterwards stays.
    accepted = read_object(yes)
    again = put(accepted, accepted, who("bob"), calendar_server=True)
    assert values(stored(again).master, "TRANSP") == ["TRANSPARENT"]


def test_only_a_new_question_leaves_him_free_again() -> None:
    invited = told(None, for_bob(put(None, obj(SERIES), imports=False)))
    busy = read_object(
        invited.to_bytes()
        .replace(b"PARTSTAT=NEEDS-ACTION;RSVP=TRUE", b"PARTSTAT=ACCEPTED")
        .replace(b"TRANSP:TRANSPARENT", b"TRANSP:OPAQUE")
    )
    text = changed([SERIES], [SERIES.replace("Lunch", "Dinner")])
    time = changed([SERIES], [SERIES.replace("T120000", "T110000")])
    assert values(told(busy, for_bob(text)).master, "TRANSP") == ["OPAQUE"]
    assert values(told(busy, for_bob(time)).master, "TRANSP") == ["TRANSPARENT"]
    # Not where he keeps the time free for it without an answer.
    kept = read_object(invited.to_bytes().replace(b"TRANSP:TRANSPARENT", b"TRANSP:OPAQUE"))
    assert values(told(kept, for_bob(text)).master, "TRANSP") == ["OPAQUE"]


@pytest.mark.parametrize("kind", ["VTODO", "VJOURNAL"])
def test_only_events_take_time(kind: str) -> None:
    task = f"{kind}\n" + MEETING.replace("DTEND;TZID=Europe/Berlin:20260302T130000\n", "").strip()
    assert values(told(None, for_bob(put(None, obj(task), imports=False))).master, "TRANSP") == []


def test_without_the_setting_an_invitation_is_as_the_organizer_has_it() -> None:
    invited = told(None, for_bob(put(None, obj(SERIES), imports=False)), free=False)
    assert values(invited.master, "TRANSP") == []


def test_where_only_an_instance_changes_only_that_instance_is_sent() -> None:
    parts, moved = [SERIES, OVERRIDE], OVERRIDE.replace("T130000", "T140000")
    plan = changed(parts, [SERIES, moved])
    (message,) = for_bob(plan)
    assert (message.method, message.recurrence) == ("REQUEST", SECOND)
    assert list(read_itip(message.calendar).object.parts) == [SECOND]
    (plain,) = for_bob(put(obj(*parts), obj(SERIES, moved)))
    assert list(read_itip(plain.calendar).object.parts) == [MASTER, SECOND]
    # In the guest's copy it is the same meeting.
    invited = told(None, for_bob(put(None, obj(*parts), imports=False)))
    found = told(invited, [message])
    assert sorted(found.parts) == [MASTER, SECOND]
    assert values(found.parts[SECOND], "DTEND") == ["20260303T140000"]
    assert values(found.master, "DTEND") == ["20260302T130000"]
    # A new override is one; one that is gone is told by the series.
    (message,) = for_bob(changed([SERIES], [SERIES, moved]))
    assert message.recurrence == SECOND
    (message,) = for_bob(changed([SERIES, moved], [SERIES]))
    assert message.recurrence == ""
