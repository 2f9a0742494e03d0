"""What the organizer says and a guest's copy gets (RFC 5546 §3.2.2, §3.2.4, §3.2.5; reference, sections 5 and 10)."""

from __future__ import annotations

import pytest

from dav.ical.recur import occurrences
from dav.ical.rules import check_calendar
from dav.scheduling.addresses import Who
from dav.scheduling.arrive import arrive
from dav.scheduling.model import MASTER, SchedulingObject, attendees_of, read_itip, read_object
from dav.scheduling.plan import Arrival, Seen

from .kit import ALICE, BOB, CAROL, NOW_S, line_for, obj, partstats, put, text_of, values, who

BOBBY = who("bob")
T1, T2, T3 = "20260201T100000Z", "20260202T100000Z", "20260203T100000Z"
MEETING = f"""
DTSTAMP:{T1}
SUMMARY:Lunch
DTSTART;TZID=Europe/Berlin:20260302T120000
DTEND;TZID=Europe/Berlin:20260302T130000
SEQUENCE:2
ORGANIZER;CN=Alice:{ALICE}
ATTENDEE;PARTSTAT=ACCEPTED:{ALICE}
ATTENDEE;CN=Bob;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:{BOB}
ATTENDEE;CN=Carol;PARTSTAT=NEEDS-ACTION:{CAROL}
"""
SERIES = MEETING.replace("SEQUENCE:2", "RRULE:FREQ=DAILY;COUNT=5\nSEQUENCE:2")
SECOND = "20260303T110000Z"
OVERRIDE = MEETING.replace("20260302T", "20260303T").replace(
    "SEQUENCE:2", "RECURRENCE-ID;TZID=Europe/Berlin:20260303T120000\nSEQUENCE:2"
)
ALARM = "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT15M\nDESCRIPTION:Up\nEND:VALARM"
OTHER_ALARM = ALARM.replace("PT15M", "PT45M")
ZONE = """BEGIN:VTIMEZONE
TZID:Office
BEGIN:STANDARD
DTSTART:16010101T000000
TZOFFSETFROM:+0100
TZOFFSETTO:+0100
END:STANDARD
END:VTIMEZONE"""


def mine(text: str, partstat: str = "ACCEPTED") -> str:
    """The component as bob has it when he has answered."""
    assert "PARTSTAT=NEEDS-ACTION;RSVP=TRUE" in text
    return text.replace("PARTSTAT=NEEDS-ACTION;RSVP=TRUE", f"PARTSTAT={partstat}")


def newer(text: str, stamp: str = T2, seq: int = 3) -> str:
    return text.replace(T1, stamp).replace("SEQUENCE:2", f"SEQUENCE:{seq}")


def come(
    stored: SchedulingObject | None,
    *components: str,
    method: str = "REQUEST",
    sender: str = ALICE,
    seen: Seen | None = None,
    before: str = "",
    as_: Who = BOBBY,
    **options: object,
) -> Arrival:
    message = read_itip(text_of(*components, before=f"METHOD:{method}\n{before}").encode())
    arrival = arrive(message, stored, as_, sender=sender, seen=seen or {}, now_s=NOW_S, **options)  # type: ignore[arg-type]
    if arrival.body is not None:
        check_calendar(arrival.body)
        current = read_object(arrival.body)
        assert current.uid == "1@example.org"
        assert current.calendar.first("METHOD") is None
        again = arrive(
            message,
            current,
            as_,
            sender=sender,
            seen={**(seen or {}), **arrival.seen},
            now_s=NOW_S,
            **options,  # type: ignore[arg-type]
        )
        assert (again.outcome, again.body, again.notice, again.messages) == ("nothing", None, False, ())
    return arrival


def after(arrival: Arrival) -> SchedulingObject:
    assert arrival.outcome == "applied", arrival.reason
    assert arrival.body is not None
    return read_object(arrival.body)


def starts(found: SchedulingObject) -> list[str]:
    """Days and hours at which the series takes place."""
    live = [one for one in occurrences(found.obj, None, None) if values(one.component, "STATUS") != ["CANCELLED"]]
    return [f"{one.start.local:%d %H}" for one in live]


# ---- invitations ----


def test_an_invitation_is_stored_as_it_came_but_for_what_is_the_organizer_s_own() -> None:
    sent = MEETING + "X-MOZ-LASTACK:20260101T000000Z\nX-GOOGLE-CONFERENCE:https://meet.example/\n" + ALARM
    arrival = come(None, sent.replace("ORGANIZER;", "ORGANIZER;SCHEDULE-AGENT=CLIENT;"))
    assert (arrival.create, arrival.notice, arrival.tag, arrival.status) == (True, True, True, "1.2")
    found = after(arrival)
    assert partstats(found)["bob"] == "NEEDS-ACTION"
    body = found.to_bytes()
    for gone in (b"VALARM", b"X-MOZ", b"SCHEDULE-AGENT", b"METHOD"):
        assert gone not in body
    assert b"X-GOOGLE-CONFERENCE" in body
    assert arrival.seen == {(ALICE, MASTER): (2, T1)}


def test_time_zones_come_with_an_invitation() -> None:
    sent = MEETING.replace("Europe/Berlin", "Office")
    found = after(come(None, sent, before=ZONE + "\n" + ZONE.replace("Office", "Unused")))
    assert [zone.value("TZID") for zone in found.calendar.components if zone.name == "VTIMEZONE"] == ["Office"]


def test_an_invitation_to_one_instance_is_only_that_instance() -> None:
    found = after(come(None, OVERRIDE))
    assert list(found.parts) == [SECOND]
    # Later another one follows, and then the whole series.
    third = OVERRIDE.replace("20260303T", "20260304T")
    found = after(come(found, third, seen={(ALICE, SECOND): (2, T1)}))
    assert sorted(found.parts) == [SECOND, "20260304T110000Z"]
    found = after(come(found, newer(SERIES), newer(OVERRIDE)))
    assert sorted(found.parts) == [MASTER, SECOND]


def test_an_instance_that_he_has_left_out_comes_back_with_his_parameters_of_the_organizer() -> None:
    stored = SERIES.replace("ORGANIZER;", "ORGANIZER;SCHEDULE-AGENT=CLIENT;SCHEDULE-STATUS=1.2;")
    stored += "\nEXDATE;TZID=Europe/Berlin:20260303T120000"
    at = "DTSTART;TZID=Europe/Berlin:20260303T12"
    moved = newer(OVERRIDE.replace(f"{at}00", f"{at}30"))
    found = after(come(obj(stored), newer(SERIES), moved))
    for part in (found.parts[MASTER], found.parts[SECOND]):
        line = part.first("ORGANIZER")
        assert line is not None
        assert (line.param("SCHEDULE-AGENT"), line.param("SCHEDULE-STATUS")) == ("CLIENT", "1.2")


def test_a_further_instance_has_the_parameters_of_those_that_he_was_invited_to_alone() -> None:
    stored = OVERRIDE.replace("ORGANIZER;", "ORGANIZER;SCHEDULE-AGENT=CLIENT;")
    found = after(come(obj(stored), OVERRIDE.replace("20260303T", "20260304T"), seen={(ALICE, SECOND): (2, T1)}))
    assert len(found.parts) == 2
    for part in found.parts.values():
        line = part.first("ORGANIZER")
        assert line is not None
        assert line.param("SCHEDULE-AGENT") == "CLIENT"


def test_who_is_not_invited_gets_nothing_into_the_calendar() -> None:
    arrival = come(None, MEETING, as_=who("dave"))
    assert (arrival.outcome, arrival.body, arrival.ask) == ("asked", None, True)
    only_second = after(come(None, SERIES.replace(BOB, "mailto:x@example.org"), OVERRIDE))
    assert list(only_second.parts) == [SECOND]


def test_an_invitation_by_an_unknown_sender_waits_for_its_recipient() -> None:
    arrival = come(None, MEETING, known=False)
    assert (arrival.outcome, arrival.body, arrival.ask, arrival.notice) == ("asked", None, True, False)
    # An update of what is here needs no acquaintance.
    assert come(obj(MEETING), newer(MEETING), known=False).outcome == "applied"


def test_the_same_invitation_does_not_come_back_when_it_was_taken_away() -> None:
    assert come(None, MEETING, seen={(ALICE, MASTER): (2, T1)}).outcome == "nothing"
    assert come(None, MEETING, seen={(ALICE, MASTER): (3, T2)}).outcome == "stale"
    assert come(None, newer(MEETING), seen={(ALICE, MASTER): (2, T1)}).create


@pytest.mark.parametrize("text", [MEETING.replace("DTSTART;TZID=Europe/Berlin:20260302T120000\n", ""),
                                  MEETING.replace("20260302T130000", "20260302T110000"),
                                  MEETING.replace("20260302T120000", "noon"),
                                  SERIES.replace("FREQ=DAILY", "FREQ=NEVER")])  # fmt: skip
def test_what_would_be_no_calendar_object_is_refused_with_the_reason(text: str) -> None:
    arrival = come(None, text)
    assert (arrival.outcome, arrival.body, arrival.create) == ("refused", None, False)
    assert "no valid calendar object" in arrival.reason
    assert arrival.status == "5.3"


def test_free_busy_requests_and_other_kinds_are_ignored() -> None:
    busy = f"VFREEBUSY\nORGANIZER:{ALICE}\nATTENDEE:{BOB}\nDTSTART:20260101T000000Z\nDTEND:20260102T000000Z"
    assert come(None, busy).outcome == "ignored"
    assert come(obj(MEETING), "VTODO\n" + MEETING.replace("DTEND", "DUE")).outcome == "refused"


# ---- updates ----


def test_an_update_replaces_what_is_the_organizer_s_and_keeps_what_is_the_guest_s() -> None:
    own = mine(MEETING) + "TRANSP:TRANSPARENT\nCATEGORIES:Food\nCLASS:PRIVATE\nX-MOZ-LASTACK:1\nCOMMENT:Coat\n" + ALARM
    sent = newer(MEETING).replace("SUMMARY:Lunch", "SUMMARY:Dinner\nLOCATION:Bay\nCATEGORIES:Work\nTRANSP:OPAQUE")
    arrival = come(obj(own), sent + OTHER_ALARM)
    found = after(arrival)
    assert partstats(found)["bob"] == "ACCEPTED"
    for name, expected in (("SUMMARY", "Dinner"), ("LOCATION", "Bay"), ("SEQUENCE", "3"), ("DTSTAMP", T2),
                           ("TRANSP", "TRANSPARENT"), ("CATEGORIES", "Food"), ("CLASS", "PRIVATE"),
                           ("X-MOZ-LASTACK", "1"), ("COMMENT", "Coat")):  # fmt: skip
        assert values(found.master, name) == [expected], name
    assert b"-PT15M" in found.to_bytes()
    assert b"-PT45M" not in found.to_bytes()
    assert (arrival.notice, arrival.tag, arrival.create) == (True, True, False)


def test_what_the_organizer_takes_away_goes_away() -> None:
    found = after(come(obj(mine(MEETING) + "LOCATION:Bay\nDESCRIPTION:Maps\n"), newer(MEETING)))
    assert values(found.master, "LOCATION") == values(found.master, "DESCRIPTION") == []


@pytest.mark.parametrize(
    ("before", "moved"),
    [
        (("20260302T120000", "20260302T123000"), True),
        (("20260302T130000", "20260302T140000"), True),
        (("DTEND;TZID=Europe/Berlin:20260302T130000", "DURATION:PT1H"), False),
        (("DTSTART;TZID=Europe/Berlin:20260302T120000", "DTSTART:20260302T110000Z"), False),
        (("SUMMARY:Lunch", "SUMMARY:Dinner"), False),
    ],
)
def test_an_answer_stays_while_the_time_does(before: tuple[str, str], moved: bool) -> None:
    assert before[0] in MEETING
    found = after(come(obj(mine(MEETING)), newer(MEETING).replace(*before)))
    assert partstats(found)["bob"] == ("NEEDS-ACTION" if moved else "ACCEPTED")
    assert line_for(found, BOB).param("RSVP") == ("TRUE" if moved else None)


@pytest.mark.parametrize(
    ("rule", "kept"),
    [("COUNT=4", True), ("COUNT=6", False), ("UNTIL=20260304T110000Z", False), ("INTERVAL=2", False)],
)
def test_an_answer_to_a_series_stays_when_it_only_gets_shorter(rule: str, kept: bool) -> None:
    found = after(come(obj(mine(SERIES)), newer(SERIES).replace("COUNT=5", rule)))
    assert partstats(found)["bob"] == ("ACCEPTED" if kept else "NEEDS-ACTION")


def test_an_answer_that_the_organizer_knows_and_the_copy_does_not_is_taken() -> None:
    """He answered by mail, or on a page."""
    found = after(come(obj(MEETING), newer(mine(MEETING, "DECLINED"))))
    assert partstats(found)["bob"] == "DECLINED"


def test_a_new_time_asks_again_even_when_the_organizer_s_program_forgot_to() -> None:
    moved = newer(mine(MEETING)).replace("20260302T120000", "20260302T123000")
    assert partstats(after(come(obj(mine(MEETING)), moved)))["bob"] == "NEEDS-ACTION"


def test_only_others_answers_are_quiet() -> None:
    other = MEETING.replace("CN=Carol;PARTSTAT=NEEDS-ACTION", "CN=Carol;PARTSTAT=DECLINED").replace(T1, T2)
    arrival = come(obj(mine(MEETING)), other)
    assert (arrival.notice, arrival.tag) == (False, False)
    assert partstats(after(arrival)) == {"alice": "ACCEPTED", "bob": "ACCEPTED", "carol": "DECLINED"}


def test_the_same_sent_again_is_noticed_but_is_no_change() -> None:
    arrival = come(obj(MEETING), MEETING.replace(T1, T2), seen={(ALICE, MASTER): (2, T1)})
    assert (arrival.outcome, arrival.notice, arrival.tag) == ("applied", True, False)


def test_his_agent_and_status_of_his_reply_stay_on_the_organizer_s_line() -> None:
    own = mine(MEETING).replace("ORGANIZER;", "ORGANIZER;SCHEDULE-AGENT=CLIENT;SCHEDULE-STATUS=1.2;")
    line = after(come(obj(own), newer(MEETING).replace("CN=Alice", "CN=Al"))).parts[MASTER].first("ORGANIZER")
    assert line is not None
    assert [line.param(name) for name in ("SCHEDULE-AGENT", "SCHEDULE-STATUS", "CN")] == ["CLIENT", "1.2", "Al"]


def test_time_zones_of_the_same_name_are_those_of_the_newest_whole() -> None:
    stored = obj(mine(MEETING.replace("Europe/Berlin", "Office")), before=ZONE)
    other = ZONE.replace("+0100", "+0200")
    found = after(come(stored, newer(MEETING.replace("Europe/Berlin", "Office")), before=other))
    assert found.to_bytes().count(b"BEGIN:VTIMEZONE") == 1
    assert b"+0200" in found.to_bytes()
    assert partstats(found)["bob"] == "NEEDS-ACTION"  # the hour is another one


# ---- order ----


@pytest.mark.parametrize(
    ("seq", "stamp", "outcome"),
    [(1, T3, "stale"), (2, T1, "stale"), (2, T2, "nothing"), (2, T3, "applied"), (3, T1, "applied")],
)
def test_sequence_counts_first_and_then_the_stamp(seq: int, stamp: str, outcome: str) -> None:
    stored = obj(MEETING.replace(T1, T2))
    sent = newer(MEETING, stamp, seq)
    assert come(stored, sent, seen={(ALICE, MASTER): (2, T2)}).outcome == outcome


def test_a_lower_number_than_the_copy_s_is_stale_also_when_nothing_is_remembered() -> None:
    assert come(obj(MEETING), newer(MEETING, T3, 1)).outcome == "stale"


def test_of_a_message_only_what_is_newer_is_taken() -> None:
    seen = {(ALICE, MASTER): (2, T1), (ALICE, SECOND): (5, T3)}
    moved = OVERRIDE.replace("20260303T120000\n", "20260303T150000\n", 1).replace("SEQUENCE:2", "SEQUENCE:5")
    stored = obj(mine(SERIES), mine(moved).replace("20260303T130000", "20260303T160000"))
    found = after(come(stored, newer(SERIES, T2, 3), newer(OVERRIDE, T2, 4), seen=seen))
    assert values(found.master, "SEQUENCE") == ["3"]


# ---- series ----


def test_an_override_alone_changes_that_instance_and_nothing_else() -> None:
    moved = (
        newer(OVERRIDE)
        .replace("20260303T130000", "20260303T160000")
        .replace("DTSTART;TZID=Europe/Berlin:20260303T120000", "DTSTART;TZID=Europe/Berlin:20260303T150000")
    )
    found = after(come(obj(mine(SERIES) + ALARM), moved))
    assert starts(found) == ["02 12", "03 15", "04 12", "05 12", "06 12"]
    assert (partstats(found)["bob"], partstats(found, SECOND)["bob"]) == ("ACCEPTED", "NEEDS-ACTION")
    # The reminders of the series are meant for it, too.
    assert found.to_bytes().count(b"-PT15M") == 2


def test_an_override_that_moves_nothing_keeps_the_answer_to_the_series() -> None:
    found = after(come(obj(mine(SERIES)), newer(OVERRIDE).replace("Lunch", "Dinner")))
    assert partstats(found, SECOND)["bob"] == "ACCEPTED"


def test_an_override_that_an_exdate_hid_brings_its_instance_back() -> None:
    stored = mine(SERIES) + "EXDATE;TZID=Europe/Berlin:20260303T120000,20260304T120000\n"
    found = after(come(obj(stored), newer(OVERRIDE)))
    assert starts(found) == ["02 12", "03 12", "05 12", "06 12"]


def test_an_override_is_found_by_its_instant() -> None:
    in_utc = newer(OVERRIDE).replace(
        "RECURRENCE-ID;TZID=Europe/Berlin:20260303T120000", "RECURRENCE-ID:20260303T110000Z"
    )
    found = after(come(obj(mine(SERIES), mine(OVERRIDE)), in_utc.replace("Lunch", "Dinner")))
    assert list(found.parts) == [MASTER, SECOND]
    assert values(found.parts[SECOND], "SUMMARY") == ["Dinner"]
    assert partstats(found, SECOND)["bob"] == "ACCEPTED"


def test_the_whole_series_replaces_its_overrides() -> None:
    moved = (
        mine(OVERRIDE)
        .replace("20260303T130000", "20260303T160000")
        .replace("DTSTART;TZID=Europe/Berlin:20260303T120000", "DTSTART;TZID=Europe/Berlin:20260303T150000")
    )
    seen = {(ALICE, MASTER): (2, T1), (ALICE, SECOND): (2, T1)}
    found = after(come(obj(mine(SERIES), moved), newer(SERIES), seen=seen))
    assert starts(found) == ["02 12", "03 12", "04 12", "05 12", "06 12"]


def test_an_instance_that_came_in_a_message_of_its_own_outlives_a_new_text_of_the_series() -> None:
    """As Google sends them."""
    moved = (
        mine(OVERRIDE)
        .replace(T1, T2)
        .replace("20260303T130000", "20260303T160000")
        .replace("DTSTART;TZID=Europe/Berlin:20260303T120000", "DTSTART;TZID=Europe/Berlin:20260303T150000")
    )
    stored, seen = obj(mine(SERIES), moved), {(ALICE, MASTER): (2, T1), (ALICE, SECOND): (2, T2)}
    found = after(come(stored, newer(SERIES, T3, 2).replace("Lunch", "Dinner"), seen=seen))
    assert starts(found) == ["02 12", "03 15", "04 12", "05 12", "06 12"]
    # But not a new time of the series.
    found = after(come(stored, newer(SERIES, T3, 3).replace("T120000", "T110000"), seen=seen))
    assert starts(found) == ["02 11", "03 11", "04 11", "05 11", "06 11"]


def test_an_answer_to_one_instance_outlives_a_new_text_of_the_series() -> None:
    stored = obj(mine(SERIES), mine(OVERRIDE, "DECLINED"))
    found = after(come(stored, newer(SERIES).replace("Lunch", "Dinner"), seen={(ALICE, MASTER): (2, T1)}))
    assert partstats(found, SECOND)["bob"] == "DECLINED"
    assert values(found.parts[SECOND], "SUMMARY") == ["Dinner"]
    found = after(come(stored, newer(SERIES).replace("T120000", "T110000"), seen={(ALICE, MASTER): (2, T1)}))
    assert list(found.parts) == [MASTER]
    assert partstats(found)["bob"] == "NEEDS-ACTION"


def test_an_instance_that_he_took_out_stays_out_when_the_organizer_knows() -> None:
    stored = obj(mine(SERIES) + "EXDATE;TZID=Europe/Berlin:20260303T120000\n")
    sent = newer(SERIES).replace("Lunch", "Dinner")
    found = after(come(stored, sent, newer(mine(OVERRIDE, "DECLINED"))))
    assert starts(found) == ["02 12", "04 12", "05 12", "06 12"]
    assert list(found.parts) == [MASTER]
    # Asked anew, it is back.
    found = after(come(stored, sent, newer(OVERRIDE)))
    assert starts(found) == ["02 12", "03 12", "04 12", "05 12", "06 12"]


def test_an_exdate_of_the_organizer_takes_the_instance_out() -> None:
    found = after(come(obj(mine(SERIES)), newer(SERIES) + "EXDATE;TZID=Europe/Berlin:20260303T120000\n"))
    assert starts(found) == ["02 12", "04 12", "05 12", "06 12"]
    assert partstats(found)["bob"] == "ACCEPTED"


def test_who_is_not_in_the_series_any_more_keeps_the_instances_that_he_is_in() -> None:
    others = newer(SERIES).replace(BOB, "mailto:x@example.org")
    found = after(come(obj(mine(SERIES)), others, newer(OVERRIDE)))
    assert list(found.parts) == [SECOND]
    assert come(obj(mine(SERIES)), others).outcome == "ignored"


# ---- who may say so ----

MALLORY = "mailto:mallory@evil.example"


def test_an_update_or_a_cancel_by_somebody_else_is_refused() -> None:
    for method in ("REQUEST", "CANCEL", "ADD", "PUBLISH", "DECLINECOUNTER"):
        arrival = come(obj(mine(MEETING)), newer(MEETING), method=method, sender=MALLORY)
        assert (arrival.outcome, arrival.body, arrival.remove, arrival.ask) == ("refused", None, False, True)


def test_the_program_that_sent_the_first_may_send_the_next() -> None:
    shop, other = "mailto:no-reply@tickets.example", "mailto:news@tickets.example"
    arrival = come(None, MEETING, sender=shop)
    assert (shop, MASTER) in arrival.seen
    stored = after(arrival)
    for sender, outcome in ((shop, "applied"), (other, "applied"), (MALLORY, "refused")):
        assert come(stored, newer(MEETING), sender=sender, seen=arrival.seen).outcome == outcome
    assert come(None, MEETING, sender=shop, known=False).outcome == "asked"


def test_who_writes_for_the_organizer_may() -> None:
    by = newer(MEETING).replace("ORGANIZER;", 'ORGANIZER;SENT-BY="mailto:desk@example.org";')
    assert come(obj(mine(MEETING)), by, sender="mailto:desk@example.org").outcome == "applied"
    evil = newer(MEETING).replace("ORGANIZER;", f'ORGANIZER;SENT-BY="{MALLORY}";')
    assert come(obj(mine(MEETING)), evil, sender=MALLORY).outcome == "refused"
    stored = mine(MEETING).replace("ORGANIZER;", f'ORGANIZER;SENT-BY="{MALLORY}";')
    assert come(obj(stored), newer(MEETING), sender=MALLORY).outcome == "applied"


def test_a_meeting_does_not_get_another_organizer_by_itself() -> None:
    other = newer(MEETING).replace(f"ORGANIZER;CN=Alice:{ALICE}", f"ORGANIZER:{CAROL}")
    arrival = come(obj(mine(MEETING)), other, sender=CAROL)
    assert (arrival.outcome, arrival.body, arrival.ask) == ("asked", None, True)
    # The first one may hand it on, as Google does between its calendars.
    assert come(obj(mine(MEETING)), other, sender=ALICE).outcome == "applied"


def test_a_meeting_of_his_own_is_not_replaced_by_an_invitation() -> None:
    own = obj(MEETING.replace(f"ORGANIZER;CN=Alice:{ALICE}", f"ORGANIZER:{BOB}"))
    assert come(own, newer(MEETING)).outcome == "refused"


def test_a_guest_may_pass_his_invitation_on_to_the_one_whom_he_names() -> None:
    given = MEETING.replace("CN=Carol;PARTSTAT=NEEDS-ACTION", f'PARTSTAT=DELEGATED;DELEGATED-TO="{BOB}"')
    assert come(None, given, sender=CAROL).outcome == "applied"
    assert come(None, given, sender=MALLORY, known=False).outcome == "asked"


def test_a_message_without_any_organizer_is_refused() -> None:
    bare = MEETING.replace(f"ORGANIZER;CN=Alice:{ALICE}\n", "")
    assert come(None, bare).outcome == "refused"
    line = after(come(obj(mine(MEETING)), newer(bare))).parts[MASTER].first("ORGANIZER")
    assert line is not None
    assert line.value == ALICE


# ---- CANCEL ----

CANCEL = f"DTSTAMP:{T2}\nSEQUENCE:3\nORGANIZER:{ALICE}\nATTENDEE:{BOB}"


def test_a_cancelled_meeting_stays_as_cancelled_until_it_is_seen() -> None:
    arrival = come(obj(mine(MEETING) + ALARM), CANCEL, method="CANCEL")
    assert (arrival.notice, arrival.tag, arrival.remove) == (True, True, False)
    found = after(arrival)
    assert values(found.master, "STATUS") == ["CANCELLED"]
    assert values(found.master, "SEQUENCE") == ["3"]
    assert values(found.master, "SUMMARY") == ["Lunch"]
    assert partstats(found)["bob"] == "ACCEPTED"


def test_a_cancelled_meeting_goes_away_where_that_is_wanted() -> None:
    arrival = come(obj(mine(MEETING)), CANCEL, method="CANCEL", hide_cancelled=True)
    assert (arrival.outcome, arrival.body, arrival.remove, arrival.notice) == ("applied", None, True, True)


def test_a_cancel_of_what_is_not_here_is_ignored() -> None:
    assert come(None, CANCEL, method="CANCEL").outcome == "ignored"


def test_a_cancel_of_the_series_is_one_of_all_its_parts() -> None:
    found = after(come(obj(mine(SERIES), mine(OVERRIDE)), CANCEL, method="CANCEL"))
    assert [values(part, "STATUS") for part in found.parts.values()] == [["CANCELLED"], ["CANCELLED"]]


@pytest.mark.parametrize(
    "rid", ["RECURRENCE-ID:20260303T110000Z", "RECURRENCE-ID;TZID=W. Europe Standard Time:20260303T120000",
            "RECURRENCE-ID;VALUE=DATE:20260303"]
)  # fmt: skip
@pytest.mark.parametrize("with_override", [False, True])
@pytest.mark.parametrize("hidden", [False, True])
def test_a_cancel_of_one_instance_leaves_the_others(rid: str, with_override: bool, hidden: bool) -> None:
    """Bug report F3."""
    parts = [mine(SERIES), mine(OVERRIDE)] if with_override else [mine(SERIES)]
    arrival = come(obj(*parts), f"{CANCEL}\n{rid}", method="CANCEL", hide_cancelled=hidden)
    found = after(arrival)
    assert starts(found) == ["02 12", "04 12", "05 12", "06 12"]
    assert values(found.master, "STATUS") == []
    assert arrival.notice
    assert list(arrival.seen) == [(ALICE, SECOND)]
    # It is shown as cancelled, or gone.
    assert [values(part, "STATUS") for key, part in found.parts.items() if key] == ([] if hidden else [["CANCELLED"]])
    assert values(found.master, "EXDATE") == (["20260303T120000"] if hidden else [])
    again = come(found, f"{CANCEL}\n{rid}", method="CANCEL", hide_cancelled=hidden)
    assert (again.outcome, again.body) == ("nothing", None)


def test_a_cancelled_instance_is_shown_until_its_owner_takes_it_away_or_it_takes_place_after_all() -> None:
    """Whatever the organizer's program sends of the series meanwhile: it leaves the instance out by EXDATE."""
    left_out = "EXDATE;TZID=Europe/Berlin:20260303T120000\n"
    cancelled = after(come(obj(mine(SERIES)), f"{CANCEL}\nRECURRENCE-ID:{SECOND}", method="CANCEL"))
    told = newer(SERIES, T3, 4).replace("Lunch", "Dinner") + left_out
    found = after(come(cancelled, told))
    assert starts(found) == ["02 12", "04 12", "05 12", "06 12"]
    assert values(found.master, "EXDATE") == []
    assert values(found.master, "SUMMARY") == ["Dinner"]
    assert values(found.parts[SECOND], "STATUS") == ["CANCELLED"]
    # With the setting it goes with the next message.
    assert values(after(come(cancelled, told, hide_cancelled=True)).master, "EXDATE") == ["20260303T120000"]
    # Where he has taken it away it stays away.
    removed = obj(mine(SERIES) + left_out)
    assert list(after(come(removed, told)).parts) == [MASTER]
    # And what takes place after all is there again, as the organizer says.
    assert list(after(come(cancelled, told.replace(left_out, ""))).parts) == [MASTER]
    # A new time of the series makes all instances others.
    moved = newer(SERIES, T3, 4).replace("T120000", "T140000").replace("T130000", "T150000")
    assert list(after(come(cancelled, moved)).parts) == [MASTER]


def test_a_single_instance_that_he_declined_and_took_away_stays_away_until_it_is_at_another_time() -> None:
    third = OVERRIDE.replace("20260303T", "20260304T")
    kept = obj(mine(OVERRIDE))
    declined = mine(third, "DECLINED")
    found = after(come(kept, newer(mine(OVERRIDE)).replace("Lunch", "Dinner"), newer(declined)))
    assert list(found.parts) == [SECOND]
    assert values(found.parts[SECOND], "SUMMARY") == ["Dinner"]
    asked_again = newer(third).replace(
        "DTSTART;TZID=Europe/Berlin:20260304T12", "DTSTART;TZID=Europe/Berlin:20260304T11"
    )
    assert sorted(after(come(kept, newer(mine(OVERRIDE)), asked_again)).parts) == [SECOND, "20260304T110000Z"]
    # The same where he has taken all of them away.
    assert list(after(come(None, newer(OVERRIDE), newer(declined))).parts) == [SECOND]


def test_the_answer_of_another_guest_for_one_instance_changes_nothing_that_a_client_must_ask_about() -> None:
    """The schedule tag stays, so that his own answer is taken (RFC 6638 §3.2.10), and he gets no message."""
    carols = f"ATTENDEE;CN=Carol;PARTSTAT=NEEDS-ACTION:{CAROL}"
    said_no = OVERRIDE.replace(carols, carols.replace("NEEDS-ACTION", "DECLINED"))
    for text in (SERIES, mine(SERIES)):
        arrival = come(obj(text), SERIES, said_no)
        assert (arrival.outcome, arrival.tag, arrival.notice) == ("applied", False, False)
        found = after(arrival)
        assert partstats(found, SECOND)["carol"] == "DECLINED"
        assert partstats(found, SECOND)["bob"] == partstats(obj(text))["bob"]
        # Nor when it is taken back, nor when there is no more to say of that instance.
        for back in ([SERIES, OVERRIDE], [SERIES]):
            again = come(found, *back)
            assert (again.tag, again.notice) == (False, False)
    # But another place is another meeting.
    moved = come(obj(SERIES), SERIES, said_no.replace("Lunch", "Dinner"))
    assert (moved.tag, moved.notice) == (True, True)


def test_the_place_on_the_map_is_where_the_organizer_says_or_nowhere() -> None:
    place = "X-APPLE-STRUCTURED-LOCATION;VALUE=URI:geo:53.5,9.9"
    for before, told in (("", "1.0,2.0"), ("53.5,9.9", "1.0,2.0"), ("53.5,9.9", "")):
        parts = [text + (place.replace("53.5,9.9", at) + "\n" if at else "")
                 for text, at in ((mine(MEETING), before), (newer(MEETING), told))]  # fmt: skip
        found = after(come(obj(parts[0]), parts[1]))
        assert values(found.master, "X-APPLE-STRUCTURED-LOCATION") == ([f"geo:{told}"] if told else [])


def test_who_is_invited_to_one_instance_of_what_was_cancelled_is_invited_to_that_one() -> None:
    cancelled = after(come(obj(mine(SERIES)), CANCEL, method="CANCEL"))
    found = after(come(cancelled, newer(OVERRIDE, T3, 4)))
    assert list(found.parts) == [SECOND]
    assert starts(found) == ["03 12"]


def test_a_cancel_of_the_only_instance_marks_it() -> None:
    stored = obj(mine(OVERRIDE))
    found = after(come(stored, f"{CANCEL}\nRECURRENCE-ID:{SECOND}", method="CANCEL"))
    assert values(found.parts[SECOND], "STATUS") == ["CANCELLED"]
    gone = come(stored, f"{CANCEL}\nRECURRENCE-ID:{SECOND}", method="CANCEL", hide_cancelled=True)
    assert (gone.outcome, gone.remove) == ("applied", True)


def test_a_cancel_of_this_and_all_later_ones_ends_the_series() -> None:
    last = OVERRIDE.replace("20260303T", "20260305T")
    for rdate in ("", "RDATE;TZID=Europe/Berlin:20260309T120000\n"):
        stored = obj(mine(SERIES) + rdate, mine(last))
        found = after(come(stored, f"{CANCEL}\nRECURRENCE-ID;RANGE=THISANDFUTURE:20260304T110000Z", method="CANCEL"))
        assert starts(found) == ["02 12", "03 12"]
        assert list(found.parts) == [MASTER]
    days = f"DTSTAMP:{T1}\nDTSTART;VALUE=DATE:20260302\nRRULE:FREQ=DAILY\nORGANIZER:{ALICE}\nATTENDEE:{BOB}"
    found = after(come(obj(days), f"{CANCEL}\nRECURRENCE-ID;RANGE=THISANDFUTURE;VALUE=DATE:20260304", method="CANCEL"))
    assert starts(found) == ["02 00", "03 00"]


def test_a_cancel_of_an_instance_with_range_leaves_what_is_behind_it() -> None:
    future = (
        mine(OVERRIDE)
        .replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;")
        .replace("DTSTART;TZID=Europe/Berlin:20260303T120000", "DTSTART;TZID=Europe/Berlin:20260303T150000")
        .replace("20260303T130000", "20260303T160000")
    )
    assert starts(obj(mine(SERIES), future)) == ["02 12", "03 15", "04 15", "05 15", "06 15"]
    found = after(come(obj(mine(SERIES), future), f"{CANCEL}\nRECURRENCE-ID:{SECOND}", method="CANCEL"))
    assert starts(found) == ["02 12", "04 15", "05 15", "06 15"]


def test_an_old_cancel_is_stale_and_a_cancel_without_sequence_is_not() -> None:
    stored = obj(newer(mine(MEETING), T3, 5))
    assert come(stored, CANCEL, method="CANCEL").outcome == "stale"
    assert come(stored, CANCEL.replace("SEQUENCE:3\n", ""), method="CANCEL").outcome == "applied"
    seen = {(ALICE, MASTER): (3, T3)}
    assert come(obj(mine(MEETING)), CANCEL, method="CANCEL", seen=seen).outcome == "stale"


def test_who_is_invited_again_after_a_cancel_is_invited() -> None:
    arrival = come(obj(mine(MEETING)), CANCEL, method="CANCEL")
    cancelled = after(arrival)
    found = after(come(cancelled, newer(MEETING, T3, 2), seen=arrival.seen))
    assert values(found.master, "STATUS") == []
    assert partstats(found)["bob"] == "NEEDS-ACTION"
    # But not by what was on its way.
    assert come(cancelled, newer(MEETING, T1, 2), seen=arrival.seen).outcome == "stale"


# ---- ADD, PUBLISH, DECLINECOUNTER ----


def test_an_added_instance_is_in_the_series() -> None:
    extra = newer(MEETING, T2, 2).replace("20260302T", "20260309T").replace("Lunch", "Brunch")
    arrival = come(obj(mine(SERIES)), extra, method="ADD")
    found = after(arrival)
    assert starts(found) == ["02 12", "03 12", "04 12", "05 12", "06 12", "09 12"]
    assert values(found.parts["20260309T110000Z"], "SUMMARY") == ["Brunch"]
    assert partstats(found, "20260309T110000Z")["bob"] == "NEEDS-ACTION"
    assert (arrival.notice, arrival.tag) == (True, True)


def test_who_lacks_the_series_of_an_added_instance_asks_the_organizer_for_it_once() -> None:
    for stored in (None, obj(mine(OVERRIDE))):
        arrival = come(stored, MEETING, method="ADD")
        assert (arrival.outcome, arrival.body, arrival.notice) == ("ignored", None, False)
        (message,) = arrival.messages
        assert (message.method, message.sender, message.recipient) == ("REFRESH", BOB, ALICE)
        asked = read_itip(message.calendar)
        assert (asked.method, asked.uid, asked.object.organizer) == ("REFRESH", "1@example.org", ALICE)
        assert list(asked.object.all_attendees()) == [BOB]
        # What was asked for is sent by the organizer's server.
        answer = arrive(asked, obj(SERIES), who(), sender=BOB, seen={}, now_s=NOW_S)
        assert [(sent.method, sent.recipient) for sent in answer.messages] == [("REQUEST", BOB)]
        for again in (MEETING, newer(MEETING, "20260131T100000Z", 2)):
            assert come(stored, again, method="ADD", seen=arrival.seen).messages == ()
        assert come(stored, newer(MEETING), method="ADD", seen=arrival.seen).messages != ()


def test_nobody_is_asked_for_the_series_of_an_instance_that_a_stranger_added() -> None:
    assert come(None, MEETING, method="ADD", sender=MALLORY, known=False).messages == ()
    assert come(None, MEETING, method="ADD", known=False).messages == ()
    assert come(obj(mine(OVERRIDE)), MEETING, method="ADD", sender=MALLORY).messages == ()
    assert come(None, MEETING.replace(BOB, "mailto:dave@example.org"), method="ADD").messages == ()


def test_what_is_added_to_a_series_without_a_zone_is_at_its_own_clock_and_once() -> None:
    floating = obj(mine(MEETING).replace(";TZID=Europe/Berlin", ""))
    extra = newer(MEETING, T2, 2).replace("20260302T", "20260309T")
    arrival = come(floating, extra, method="ADD")
    found = after(arrival)
    assert starts(found) == ["02 12", "09 12"]
    assert list(found.parts) == [MASTER, "20260309T120000"]
    assert come(found, extra, method="ADD", seen=arrival.seen).outcome == "nothing"


def test_what_is_added_to_nothing_or_by_a_rule_is_not_guessed_at() -> None:
    assert come(obj(mine(SERIES)), newer(SERIES), method="ADD").outcome == "asked"
    assert come(obj(newer(mine(SERIES), T2, 4)), MEETING, method="ADD").outcome == "stale"


def test_what_is_published_is_for_whoever_wants_it_and_updates_what_he_has() -> None:
    bare = "\n".join(line for line in newer(MEETING).splitlines() if not line.startswith("ATTENDEE"))
    arrival = come(None, bare, method="PUBLISH")
    assert (arrival.outcome, arrival.body, arrival.ask) == ("asked", None, True)
    found = after(come(obj(mine(MEETING)), bare.replace("Lunch", "Dinner"), method="PUBLISH"))
    assert values(found.master, "SUMMARY") == ["Dinner"]
    assert partstats(found)["bob"] == "ACCEPTED"


def test_a_declined_proposal_is_noted() -> None:
    arrival = come(obj(mine(MEETING)), CANCEL, method="DECLINECOUNTER")
    assert (arrival.outcome, arrival.body, arrival.notice) == ("applied", None, True)
    assert come(None, CANCEL, method="DECLINECOUNTER").outcome == "ignored"


# ---- both sides together ----


def test_what_an_organizer_here_sends_is_what_a_guest_here_gets() -> None:
    """Each step's messages into the copy: invite, move one, cancel one, take out of one, cancel all."""
    steps = [
        [SERIES],
        [SERIES, OVERRIDE.replace("DTSTART;TZID=Europe/Berlin:20260303T12", "DTSTART;TZID=Europe/Berlin:20260303T11")],
        [SERIES + "EXDATE;TZID=Europe/Berlin:20260304T120000\n"],
        [SERIES + "EXDATE;TZID=Europe/Berlin:20260304T120000\n", OVERRIDE.replace(f":{BOB}", ":mailto:x@example.org")],
    ]
    expected = [
        ["02 12", "03 12", "04 12", "05 12", "06 12"],
        ["02 12", "03 11", "04 12", "05 12", "06 12"],
        ["02 12", "03 12", "05 12", "06 12"],
        ["02 12", "05 12", "06 12"],
    ]
    organized: SchedulingObject | None = None
    copy: SchedulingObject | None = None
    for parts, wanted in zip(steps, expected, strict=True):
        plan = put(organized, obj(*(part.replace(f"DTSTAMP:{T1}\n", "") for part in parts)), imports=False)
        assert plan.body is not None
        organized = read_object(plan.body)
        for message in plan.messages:
            if message.recipient == BOB:
                arrival = arrive(read_itip(message.calendar), copy, BOBBY, sender=ALICE, seen={}, now_s=NOW_S)
                copy = after(arrival)
                check_calendar(copy.to_bytes())
        assert copy is not None
        assert starts(copy) == wanted
    assert BOB in attendees_of(copy.parts[MASTER]) if copy is not None else False
