"""The organizer's table for series: single instances, who is invited to which, and what becomes of them."""

from __future__ import annotations

import pytest

from dav.scheduling import implicit, organizer
from dav.scheduling.model import MASTER, SchedulingObject, read_itip

from .kit import (
    ALICE,
    BOB,
    CAROL,
    NOW_S,
    line_for,
    obj,
    options,
    partstats,
    put,
    said,
    sent,
    sequences,
    stored,
    values,
    who,
)

# Five Mondays at 10:00 in Berlin, 09:00 UTC.
SERIES = f"""
SUMMARY:Team
DTSTART;TZID=Europe/Berlin:20260112T100000
DTEND;TZID=Europe/Berlin:20260112T110000
RRULE:FREQ=WEEKLY;COUNT=5
SEQUENCE:2
ORGANIZER:{ALICE}
ATTENDEE;PARTSTAT=ACCEPTED:{ALICE}
ATTENDEE;PARTSTAT=ACCEPTED:{BOB}
ATTENDEE;PARTSTAT=TENTATIVE:{CAROL}
"""
THIRD = "20260126T090000Z"
FOURTH = "20260202T090000Z"


def instance(day: int = 26, hour: int = 10, *, more: str = "", sequence: int = 2, guests: str = "bob carol") -> str:
    """An override of the Monday on that day of January, at that hour."""
    lines = {
        "bob": f"ATTENDEE;PARTSTAT=ACCEPTED:{BOB}",
        "carol": f"ATTENDEE;PARTSTAT=TENTATIVE:{CAROL}",
        "dan": "ATTENDEE:mailto:dan@example.org",
    }
    return "\n".join(
        [
            "SUMMARY:Team",
            f"RECURRENCE-ID;TZID=Europe/Berlin:202601{day:02d}T100000",
            f"DTSTART;TZID=Europe/Berlin:202601{day:02d}T{hour:02d}0000",
            f"DTEND;TZID=Europe/Berlin:202601{day:02d}T{hour + 1:02d}0000",
            f"SEQUENCE:{sequence}",
            f"ORGANIZER:{ALICE}",
            f"ATTENDEE;PARTSTAT=ACCEPTED:{ALICE}",
            *(lines[name] for name in guests.split()),
            *([more] if more else []),
        ]
    )


def after(before: str, new: str) -> SchedulingObject:
    """The series with some text put for another."""
    assert before in SERIES
    return obj(SERIES.replace(before, new))


# (what happens, the new object, messages, SEQUENCE by part, Bob's answer in the series)
ROWS: list[tuple[str, SchedulingObject, list[str], dict[str, str], str]] = [
    ("rule adds instances", after("COUNT=5", "COUNT=8"), ["REQUEST bob recurrence", "REQUEST carol recurrence"],
     {MASTER: "3"}, "NEEDS-ACTION"),
    ("rule moves instances", after("WEEKLY", "DAILY"), ["REQUEST bob recurrence", "REQUEST carol recurrence"],
     {MASTER: "3"}, "NEEDS-ACTION"),
    ("rule is shortened", after("COUNT=5", "COUNT=3"), ["REQUEST bob recurrence", "REQUEST carol recurrence"],
     {MASTER: "3"}, "ACCEPTED"),
    ("rule ends", after(";COUNT=5", ""), ["REQUEST bob recurrence", "REQUEST carol recurrence"],
     {MASTER: "3"}, "NEEDS-ACTION"),
    ("rule is written anew", after("FREQ=WEEKLY;COUNT=5", "COUNT=5;INTERVAL=1;FREQ=WEEKLY;WKST=MO"), [],
     {MASTER: "2"}, "ACCEPTED"),
    ("zone of the series", obj(SERIES.replace("Europe/Berlin", "Africa/Lagos")),
     ["REQUEST bob time", "REQUEST carol time"], {MASTER: "3"}, "NEEDS-ACTION"),
    ("same zone by its Windows name", obj(SERIES.replace("Europe/Berlin", "W. Europe Standard Time")), [],
     {MASTER: "2"}, "ACCEPTED"),
    ("date added", obj(SERIES + "RDATE;TZID=Europe/Berlin:20260401T100000"),
     ["REQUEST bob recurrence", "REQUEST carol recurrence"], {MASTER: "3"}, "NEEDS-ACTION"),
    ("one instance left out", obj(SERIES + "EXDATE;TZID=Europe/Berlin:20260126T100000"),
     [f"CANCEL bob [{THIRD}] instance,cancelled", f"CANCEL carol [{THIRD}] instance,cancelled"],
     {MASTER: "3"}, "ACCEPTED"),
    ("two left out", obj(SERIES + "EXDATE:20260126T090000Z,20260202T090000Z"),
     [f"CANCEL {name} [{THIRD},{FOURTH}] instance,cancelled" for name in ("bob", "carol")],
     {MASTER: "3"}, "ACCEPTED"),
    ("left out what is none", obj(SERIES + "EXDATE:20260127T090000Z"), [], {MASTER: "3"}, "ACCEPTED"),
    ("left out and more", obj(SERIES + "EXDATE:20260126T090000Z\nLOCATION:Room 1"),
     [f"CANCEL bob [{THIRD}] instance,cancelled", "REQUEST bob place",
      f"CANCEL carol [{THIRD}] instance,cancelled", "REQUEST carol place"], {MASTER: "3"}, "ACCEPTED"),
    ("one instance cancelled", obj(SERIES, instance(more="STATUS:CANCELLED")),
     [f"CANCEL bob [{THIRD}] instance,cancelled", f"CANCEL carol [{THIRD}] instance,cancelled"],
     {MASTER: "2", THIRD: "3"}, "ACCEPTED"),
    ("one instance moved", obj(SERIES, instance(hour=14)),
     ["REQUEST bob time,instance", "REQUEST carol time,instance"], {MASTER: "2", THIRD: "3"}, "ACCEPTED"),
    ("one instance elsewhere", obj(SERIES, instance(more="LOCATION:Room 2")),
     ["REQUEST bob place,instance", "REQUEST carol place,instance"], {MASTER: "2", THIRD: "3"}, "ACCEPTED"),
    ("one instance with another text", obj(SERIES, instance(more="DESCRIPTION:Cake")),
     ["REQUEST bob description,instance", "REQUEST carol description,instance"],
     {MASTER: "2", THIRD: "2"}, "ACCEPTED"),
    ("an override that says nothing", obj(SERIES, instance()), [], {MASTER: "2", THIRD: "2"}, "ACCEPTED"),
    ("one guest out of one instance", obj(SERIES, instance(guests="carol")),
     [f"CANCEL bob [{THIRD}] instance,removed", "~REQUEST carol attendees"],
     {MASTER: "2", THIRD: "3"}, "ACCEPTED"),
    ("one guest more in one instance", obj(SERIES, instance(guests="bob carol dan")),
     ["~REQUEST bob attendees", "~REQUEST carol attendees", f"REQUEST dan [{THIRD}] new"],
     {MASTER: "2", THIRD: "2"}, "ACCEPTED"),
    ("an instance beside the series", obj(SERIES, instance(day=28)),
     ["REQUEST bob instance", "REQUEST carol instance"], {MASTER: "2", "20260128T090000Z": "3"}, "ACCEPTED"),
    ("all cancelled", obj(SERIES + "STATUS:CANCELLED"), ["CANCEL bob cancelled", "CANCEL carol cancelled"],
     {MASTER: "3"}, "ACCEPTED"),
]  # fmt: skip


@pytest.mark.parametrize(("new", "messages", "numbers", "bob"), [row[1:] for row in ROWS], ids=[row[0] for row in ROWS])
def test_a_change_of_a_series(new: SchedulingObject, messages: list[str], numbers: dict[str, str], bob: str) -> None:
    plan = put(obj(SERIES), new)
    assert said(plan.messages) == messages
    assert sequences(stored(plan)) == numbers
    assert partstats(stored(plan))["bob"] == bob
    # The second time it is nothing new.
    again = put(stored(plan), stored(plan))
    assert again.messages == ()
    assert again.body == plan.body


def test_bug_f3_one_instance_called_off_leaves_four() -> None:
    for new in (
        obj(SERIES + "EXDATE;TZID=Europe/Berlin:20260126T100000"),
        obj(SERIES, instance(more="STATUS:CANCELLED")),
    ):
        plan = put(obj(SERIES), new)
        message = sent(plan, "bob", "CANCEL")
        assert list(message.parts) == [THIRD]
        part = message.parts[THIRD]
        assert values(part, "STATUS") == ["CANCELLED"]
        assert values(part, "RRULE") == []
        assert values(part, "DTSTART") == ["20260126T100000"]
        assert values(part, "SEQUENCE") == ["3"]


def test_an_instance_back_is_asked_for_anew() -> None:
    left_out = obj(SERIES + "EXDATE;TZID=Europe/Berlin:20260126T100000")
    plan = put(left_out, obj(SERIES))
    assert said(plan.messages) == ["REQUEST bob recurrence", "REQUEST carol recurrence"]
    assert partstats(stored(plan)) == {"alice": "ACCEPTED", "bob": "NEEDS-ACTION", "carol": "NEEDS-ACTION"}
    # As an override of its own only that one is.
    plan = put(left_out, obj(SERIES, instance(hour=15)))
    assert said(plan.messages) == ["REQUEST bob instance", "REQUEST carol instance"]
    assert partstats(stored(plan))["bob"] == "ACCEPTED"
    assert partstats(stored(plan), THIRD)["bob"] == "NEEDS-ACTION"


def test_a_moved_instance_asks_again_for_that_one_only() -> None:
    plan = put(obj(SERIES), obj(SERIES, instance(hour=14)))
    assert partstats(stored(plan)) == {"alice": "ACCEPTED", "bob": "ACCEPTED", "carol": "TENTATIVE"}
    assert partstats(stored(plan), THIRD) == {"alice": "ACCEPTED", "bob": "NEEDS-ACTION", "carol": "NEEDS-ACTION"}
    message = sent(plan, "bob")
    assert list(message.parts) == [MASTER, THIRD]


def test_a_new_override_has_the_answers_of_the_series() -> None:
    stale = instance(more="DESCRIPTION:Cake").replace("ACCEPTED:mailto:bob", "NEEDS-ACTION:mailto:bob")
    plan = put(obj(SERIES), obj(SERIES, stale))
    assert partstats(stored(plan), THIRD)["bob"] == "ACCEPTED"


def test_the_series_moved_asks_for_the_series_and_not_for_what_stayed() -> None:
    old = obj(SERIES, instance(hour=14))
    moved = SERIES.replace("DTSTART;TZID=Europe/Berlin:20260112T100000", "DTSTART;TZID=Europe/Berlin:20260112T093000")
    plan = put(old, obj(moved, instance(hour=14)))
    assert partstats(stored(plan))["bob"] == "NEEDS-ACTION"
    assert partstats(stored(plan), THIRD)["bob"] == "ACCEPTED"
    assert sequences(stored(plan)) == {MASTER: "3", THIRD: "2"}


def test_out_of_one_instance_later_requests_leave_it_out_for_him() -> None:
    without_bob = obj(SERIES, instance(guests="carol", sequence=3))
    new = obj(SERIES.replace("Team", "Crew"), instance(guests="carol", sequence=3))
    plan = put(without_bob, new)
    assert said(plan.messages) == ["REQUEST bob summary", "REQUEST carol summary"]
    message = sent(plan, "bob")
    assert list(message.parts) == [MASTER]
    assert message.exdates() == {THIRD}
    assert list(sent(plan, "carol").parts) == [MASTER, THIRD]
    assert sent(plan, "carol").exdates() == frozenset()


def test_what_changes_where_he_is_not_invited_is_not_told_to_him() -> None:
    without_bob = obj(SERIES, instance(guests="carol"))
    plan = put(without_bob, obj(SERIES, instance(guests="carol", hour=16, more="LOCATION:Cellar")))
    assert said(plan.messages) == ["REQUEST carol time,place,instance"]
    plan = put(without_bob, obj(SERIES + "EXDATE:20260126T090000Z"))
    assert said(plan.messages) == [f"CANCEL carol [{THIRD}] instance,cancelled"]


def test_invited_to_one_instance_he_never_sees_the_series() -> None:
    new = obj(SERIES, instance(guests="bob carol dan", hour=14))
    plan = put(obj(SERIES), new)
    message = sent(plan, "dan")
    assert list(message.parts) == [THIRD]
    assert b"RRULE:FREQ=WEEKLY" not in next(m.calendar for m in plan.messages if "dan" in m.recipient)
    # Of the series he hears nothing, of his instance he does.
    later = put(stored(plan), obj(SERIES + "LOCATION:Room 1", instance(guests="bob carol dan", hour=14)))
    assert [text for text in said(later.messages) if "dan" in text] == []
    later = put(stored(plan), obj(SERIES, instance(guests="bob carol dan", hour=15)))
    assert [text for text in said(later.messages) if "dan" in text] == [f"REQUEST dan [{THIRD}] time,instance"]


@pytest.mark.parametrize(
    ("new", "message"),
    [
        (obj(SERIES), f"CANCEL dan [{THIRD}] instance,removed"),
        (obj(SERIES, instance(guests="bob carol")), f"CANCEL dan [{THIRD}] instance,removed"),
        (obj(SERIES + "EXDATE:20260126T090000Z"), f"CANCEL dan [{THIRD}] instance,cancelled"),
        (
            obj(SERIES, instance(guests="bob carol dan", more="STATUS:CANCELLED")),
            f"CANCEL dan [{THIRD}] instance,cancelled",
        ),
        (obj(SERIES, instance(guests="bob carol dan").replace("ATTENDEE:mailto:dan", "ATTENDEE;SCHEDULE-AGENT=NONE:"
             "mailto:dan")), f"CANCEL dan [{THIRD}] instance,removed"),
    ],
)  # fmt: skip
def test_the_guest_of_one_instance_gets_a_cancel_for_it(new: SchedulingObject, message: str) -> None:
    plan = put(obj(SERIES, instance(guests="bob carol dan")), new)
    assert [text for text in said(plan.messages) if "dan" in text] == [message]
    cancel = sent(plan, "dan")
    assert list(cancel.parts) == [THIRD]
    assert int(values(cancel.parts[THIRD], "SEQUENCE")[0]) == 3
    # Asked in again, it is newer than that.
    again = put(stored(plan), obj(SERIES, instance(guests="bob carol dan")))
    assert [text for text in said(again.messages) if "dan" in text] == [f"REQUEST dan [{THIRD}] new"]
    assert sent(again, "dan").sequence >= 3


def test_out_of_the_series_but_in_one_instance() -> None:
    series = SERIES.replace(f"ATTENDEE;PARTSTAT=ACCEPTED:{BOB}\n", "")
    plan = put(obj(SERIES), obj(series, instance(guests="bob carol")))
    assert [text for text in said(plan.messages) if "bob" in text] == [
        "CANCEL bob removed", f"REQUEST bob [{THIRD}] new,instance"
    ]  # fmt: skip
    cancel, request = sent(plan, "bob", "CANCEL"), sent(plan, "bob", "REQUEST")
    assert list(cancel.parts) == [MASTER]
    assert list(request.parts) == [THIRD]
    assert request.sequence >= cancel.sequence


def test_into_the_series_from_one_instance() -> None:
    plan = put(obj(SERIES, instance(guests="bob carol dan")),
               obj(SERIES + "ATTENDEE:mailto:dan@example.org", instance(guests="bob carol dan")))  # fmt: skip
    assert [text for text in said(plan.messages) if "dan" in text] == ["REQUEST dan recurrence"]
    assert list(sent(plan, "dan").parts) == [MASTER, THIRD]


def test_deleting_a_series_cancels_for_each_what_he_was_invited_to() -> None:
    plan = implicit.plan_removal(obj(SERIES, instance(guests="bob dan", sequence=7)), who(), options())
    assert said(plan.messages) == [
        "CANCEL bob cancelled", "CANCEL carol cancelled", f"CANCEL dan [{THIRD}] instance,cancelled"
    ]  # fmt: skip
    assert {message.sequence for message in plan.messages} == {8}
    assert list(sent(plan, "bob").parts) == [MASTER]
    assert list(sent(plan, "dan").parts) == [THIRD]


def test_an_override_taken_back_is_told_by_what_differs() -> None:
    plan = put(obj(SERIES, instance(hour=14, sequence=5)), obj(SERIES))
    assert said(plan.messages) == ["REQUEST bob time,instance", "REQUEST carol time,instance"]
    # The series now says what that instance is: with a number above the one it had.
    assert sequences(stored(plan)) == {MASTER: "6"}


def test_an_answer_to_one_instance_stays_when_the_client_has_not_seen_it() -> None:
    answered = instance().replace("ACCEPTED:mailto:bob", "DECLINED:mailto:bob")
    plan = put(obj(SERIES, answered), obj(SERIES.replace("Team", "Crew")))
    assert said(plan.messages) == ["REQUEST bob summary", "REQUEST carol summary"]
    kept = stored(plan)
    assert partstats(kept, THIRD) == {"alice": "ACCEPTED", "bob": "DECLINED", "carol": "TENTATIVE"}
    assert values(kept.parts[THIRD], "SUMMARY") == ["Crew"]
    assert partstats(kept)["bob"] == "ACCEPTED"
    # Nothing is kept for an instance that is left out, or when all are asked anew.
    assert list(stored(put(obj(SERIES, answered), obj(SERIES + "EXDATE:20260126T090000Z"))).parts) == [MASTER]
    assert list(stored(put(obj(SERIES, answered), after("COUNT=5", "COUNT=9"))).parts) == [MASTER]


def test_many_instances_left_out_are_one_update_of_the_series() -> None:
    daily = SERIES.replace("FREQ=WEEKLY;COUNT=5", "FREQ=DAILY")
    days = ",".join(f"2026{month:02d}{day:02d}T090000Z" for month in (2, 3) for day in range(1, 21))
    plan = put(obj(daily), obj(daily + f"EXDATE:{days}"))
    assert said(plan.messages) == ["REQUEST bob recurrence", "REQUEST carol recurrence"]
    assert len(sent(plan, "bob").exdates()) == 40
    assert partstats(stored(plan))["bob"] == "ACCEPTED"


def test_an_all_day_series() -> None:
    days = f"""
        DTSTART;VALUE=DATE:20260112
        RRULE:FREQ=DAILY;COUNT=5
        ORGANIZER:{ALICE}
        ATTENDEE;PARTSTAT=ACCEPTED:{BOB}
    """
    plan = put(obj(days), obj(days + "EXDATE;VALUE=DATE:20260114"))
    assert said(plan.messages) == ["CANCEL bob [20260114] instance,cancelled"]
    part = sent(plan, "bob").parts["20260114"]
    assert part.first("DTSTART").raw == b"DTSTART;VALUE=DATE:20260114\r\n"  # type: ignore[union-attr]
    assert part.first("RECURRENCE-ID").raw == b"RECURRENCE-ID;VALUE=DATE:20260114\r\n"  # type: ignore[union-attr]


def test_a_series_of_tasks() -> None:
    task = f"""
        VTODO
        DUE:20260112T090000Z
        RRULE:FREQ=WEEKLY;COUNT=5
        ORGANIZER:{ALICE}
        ATTENDEE:{BOB}
    """
    plan = put(obj(task), obj(task + "EXDATE:20260126T090000Z"))
    assert said(plan.messages) == [f"CANCEL bob [{THIRD}] instance,cancelled"]
    assert values(sent(plan, "bob").parts[THIRD], "DUE") == ["20260126T090000Z"]


def test_only_overrides_without_a_series() -> None:
    plan = put(None, obj(instance(guests="dan"), instance(day=19, guests="dan")), imports=False)
    assert said(plan.messages) == [f"REQUEST dan [20260119T090000Z,{THIRD}] new"]
    plan = put(stored(plan), obj(instance(guests="dan", hour=12), instance(day=19, guests="dan")))
    assert said(plan.messages) == [f"REQUEST dan [20260119T090000Z,{THIRD}] time,instance"]
    plan = put(stored(plan), obj(instance(guests="dan", hour=12)))
    assert said(plan.messages) == ["CANCEL dan [20260119T090000Z] instance,cancelled"]


# ---- RANGE=THISANDFUTURE ----

ENDLESS = SERIES.replace(";COUNT=5", "")
LATER = instance(hour=14).replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;")


def test_this_and_all_later_ones_go_to_people_here_as_they_are() -> None:
    plan = put(obj(ENDLESS), obj(ENDLESS, LATER))
    assert said(plan.messages) == ["REQUEST bob time,instance", "REQUEST carol time,instance"]
    part = sent(plan, "bob").parts[THIRD]
    assert part.first("RECURRENCE-ID").param("RANGE") == "THISANDFUTURE"  # type: ignore[union-attr]
    assert sequences(stored(plan)) == {MASTER: "2", THIRD: "3"}


def test_mail_gets_the_next_instances_written_out() -> None:
    plan = put(obj(ENDLESS), obj(ENDLESS, LATER))
    calendar = plan.messages[0].calendar
    mail = organizer.for_mail(calendar)
    assert mail.count(b"RANGE=THISANDFUTURE") == 1
    found = read_itip(mail).object
    keys = sorted(key for key in found.parts if key != MASTER)
    assert len(keys) == 53
    assert keys[:3] == [THIRD, FOURTH, "20260209T090000Z"]
    assert all(values(found.parts[key], "DTSTART")[0].endswith("T140000") for key in keys)
    ranged = [key for key in keys if found.parts[key].first("RECURRENCE-ID").param("RANGE")]  # type: ignore[union-attr]
    assert ranged == [keys[-1]]
    assert partstats(found, FOURTH) == partstats(found, THIRD)
    # In summer the clock on the wall is the same.
    assert "20260406T080000Z" in keys


def test_mail_of_a_series_that_ends_needs_no_range_for_long() -> None:
    plan = put(obj(SERIES), obj(SERIES, LATER))
    mail = organizer.for_mail(plan.messages[0].calendar)
    assert mail.count(b"RECURRENCE-ID") == 3
    other = put(obj(SERIES), obj(SERIES, instance(hour=14))).messages[0].calendar
    assert organizer.for_mail(other) is other


def test_out_of_this_and_all_later_ones() -> None:
    later = instance(guests="carol").replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;")
    plan = put(obj(ENDLESS), obj(ENDLESS, later))
    assert [text for text in said(plan.messages) if "bob" in text] == [f"CANCEL bob [{THIRD}] instance,removed"]
    request = organizer.request_for(stored(plan), BOB, who(), now_s=NOW_S)
    assert request is not None
    assert values(read_itip(request.calendar).object.master, "RRULE") == ["FREQ=WEEKLY;UNTIL=20260126T085959Z"]


def test_scheduling_status_of_other_instances_stays() -> None:
    old = obj(SERIES.replace(f"TENTATIVE:{CAROL}", f"TENTATIVE;SCHEDULE-STATUS=1.1:{CAROL}"), instance(hour=14))
    plan = put(old, obj(SERIES, instance(hour=15)))
    assert line_for(stored(plan), CAROL).param("SCHEDULE-STATUS") == "1.1"


def test_a_change_of_an_instance_that_is_over_is_marked_so() -> None:
    daily = SERIES.replace("20260112", "20251201").replace("FREQ=WEEKLY;COUNT=5", "FREQ=DAILY")
    over = instance().replace("202601", "202512")
    plan = put(obj(daily), obj(daily, over + "\nDESCRIPTION:Minutes"))
    assert said(plan.messages) == ["!REQUEST bob description,instance", "!REQUEST carol description,instance"]
    plan = put(obj(daily), obj(daily + "EXDATE:20251226T090000Z"))
    assert said(plan.messages)[0] == "!CANCEL bob [20251226T090000Z] instance,cancelled"
    plan = put(obj(daily), obj(daily.replace("Team", "Crew"), over + "\nDESCRIPTION:Minutes"))
    assert said(plan.messages)[0] == "REQUEST bob summary,description,instance"
    # Moved from then to a time that is to come.
    to_come = over
    for name in ("DTSTART", "DTEND"):
        to_come = to_come.replace(f"{name};TZID=Europe/Berlin:202512", f"{name};TZID=Europe/Berlin:202602")
    plan = put(obj(daily), obj(daily, to_come))
    assert said(plan.messages)[0] == "REQUEST bob time,instance"
