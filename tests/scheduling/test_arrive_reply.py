"""Answers that reach the organizer (RFC 5546 §3.2.3, RFC 6638 §4.2), as they are and as programs really send them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from dav.ical.rules import check_calendar
from dav.scheduling import attendee
from dav.scheduling.arrive import arrive, bounced, with_status
from dav.scheduling.model import MASTER, SchedulingObject, attendees_of, read_itip, read_object
from dav.scheduling.organizer import request_for
from dav.scheduling.plan import Arrival, Seen

from .kit import ALICE, BOB, CAROL, NOW_S, line_for, obj, partstats, put, said, text_of, values, who

MEETING = f"""
SUMMARY:Lunch
DTSTART;TZID=America/Los_Angeles:20260302T090000
DTEND;TZID=America/Los_Angeles:20260302T100000
SEQUENCE:2
ORGANIZER;CN=Alice:{ALICE}
ATTENDEE;PARTSTAT=ACCEPTED:{ALICE}
ATTENDEE;CN=Bob;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;SCHEDULE-STATUS=1.1:{BOB}
ATTENDEE;CN=Carol;PARTSTAT=NEEDS-ACTION:{CAROL}
"""
SERIES = MEETING.replace("SEQUENCE:2", "RRULE:FREQ=WEEKLY;COUNT=5\nSEQUENCE:2")
SECOND = "20260309T160000Z"  # the clocks have changed the day before
OVERRIDE = MEETING.replace("20260302T", "20260309T").replace(
    "SEQUENCE:2", "RECURRENCE-ID;TZID=America/Los_Angeles:20260309T090000\nSEQUENCE:2"
)


def answer(partstat: str = "ACCEPTED", *more: str, by: str = BOB, stamp: str = "20260201T101500Z", seq: int = 2) -> str:
    """The component of a REPLY."""
    return "\n".join(
        [f"DTSTAMP:{stamp}", f"SEQUENCE:{seq}", f"ORGANIZER:{ALICE}", f"ATTENDEE;PARTSTAT={partstat}:{by}", *more]
    )


def come(
    stored: SchedulingObject | None,
    *components: str,
    method: str = "REPLY",
    sender: str = BOB,
    seen: Seen | None = None,
    before: str = "",
    **options: object,
) -> Arrival:
    message = read_itip(text_of(*components, before=f"METHOD:{method}\n{before}").encode())
    arrival = arrive(message, stored, who(), sender=sender, seen=seen or {}, now_s=NOW_S, **options)  # type: ignore[arg-type]
    if arrival.body is not None:
        assert check_calendar(arrival.body).uid == "1@example.org"
    if stored is not None and seen is None:
        _same_again_does_nothing(stored, arrival, message, sender, options)
    return arrival


def _same_again_does_nothing(
    stored: SchedulingObject, first: Arrival, message: object, sender: str, options: Mapping[str, object]
) -> None:
    after = stored if first.body is None else read_object(first.body)
    again = arrive(message, after, who(), sender=sender, seen=first.seen, now_s=NOW_S + 60, **options)  # type: ignore[arg-type]
    assert again.body is None or again.body == after.to_bytes()
    if first.outcome == "applied" and first.body is not None:
        assert again.outcome == "nothing"
        assert not again.notice
        assert again.messages == ()


def after(arrival: Arrival) -> SchedulingObject:
    assert arrival.outcome == "applied", arrival.reason
    assert arrival.body is not None
    return read_object(arrival.body)


# ---- the table ----


@pytest.mark.parametrize("partstat", ["ACCEPTED", "TENTATIVE", "DECLINED"])
def test_an_answer_is_written_on_the_line_of_the_one_who_answers(partstat: str) -> None:
    arrival = come(obj(MEETING), answer(partstat))
    line = line_for(after(arrival), BOB)
    assert (line.param("PARTSTAT"), line.param("RSVP"), line.param("SCHEDULE-STATUS")) == (partstat, None, "2.0")
    assert line.param("CN") == "Bob"
    assert arrival.notice
    assert not arrival.tag  # RFC 6638 §3.2.10: replies do not change the organizer's tag
    assert said(arrival.messages) == ["~REQUEST carol answer"]
    # Everything but that line is as it was.
    assert arrival.body is not None
    before = text_of(MEETING).encode().splitlines()
    changed = [line for line in arrival.body.replace(b"\r\n ", b"").splitlines() if line not in before]
    assert len(changed) == 1


def test_the_codes_of_request_status_become_the_schedule_status() -> None:
    found = after(come(obj(MEETING), answer("ACCEPTED", "REQUEST-STATUS:2.8;Success\\; odd", "REQUEST-STATUS:3.7;who")))
    assert line_for(found, BOB).param("SCHEDULE-STATUS") == "2.8,3.7"
    assert b'SCHEDULE-STATUS="2.8,3.7"' in found.to_bytes()


def test_a_guest_who_is_named_twice_is_named_once_when_he_has_answered() -> None:
    twice = MEETING + f"ATTENDEE;CN=Bobby;PARTSTAT=NEEDS-ACTION:{BOB.replace('mailto', 'MAILTO')}\n"
    found = after(come(obj(twice), answer()))
    assert found.master is not None
    assert partstats(found) == {"alice": "ACCEPTED", "bob": "ACCEPTED", "carol": "NEEDS-ACTION"}
    assert len(found.master.all("ATTENDEE")) == 3
    assert len(after(come(obj(twice), answer(by=CAROL), sender=CAROL)).parts[MASTER].all("ATTENDEE")) == 4


def test_who_takes_his_answer_back_is_asked_again() -> None:
    accepted = MEETING.replace("PARTSTAT=NEEDS-ACTION;RSVP=TRUE", "PARTSTAT=ACCEPTED")
    line = line_for(after(come(obj(accepted), answer("NEEDS-ACTION"))), BOB)
    assert (line.param("PARTSTAT"), line.param("RSVP")) == ("NEEDS-ACTION", "TRUE")


def test_only_guests_who_are_here_are_told_of_an_answer() -> None:
    assert said(come(obj(MEETING), answer()).messages) == ["~REQUEST carol answer"]
    assert come(obj(MEETING), answer(), here=(BOB,)).messages == ()
    assert said(come(obj(MEETING), answer(), here=(BOB, CAROL)).messages) == ["~REQUEST carol answer"]


def test_an_answer_to_nothing_here_and_an_answer_to_a_guest_are_ignored() -> None:
    assert come(None, answer()).outcome == "ignored"
    message = read_itip(text_of(answer(), before="METHOD:REPLY").encode())
    arrival = arrive(message, obj(MEETING), who("carol"), sender=BOB, seen={}, now_s=NOW_S)
    assert (arrival.outcome, arrival.body) == ("ignored", None)


def test_an_answer_to_one_instance_makes_an_override_of_the_series() -> None:
    found = after(come(obj(SERIES), answer("DECLINED", f"RECURRENCE-ID:{SECOND}")))
    part = found.parts[SECOND]
    assert partstats(found, SECOND) == {"alice": "ACCEPTED", "bob": "DECLINED", "carol": "NEEDS-ACTION"}
    assert partstats(found)["bob"] == "NEEDS-ACTION"
    assert values(part, "RECURRENCE-ID") == ["20260309T090000"]
    assert values(part, "DTSTART") == ["20260309T090000"]
    assert values(part, "DTEND") == ["20260309T100000"]
    assert values(part, "RRULE") == []


def test_an_answer_to_an_override_changes_only_that() -> None:
    found = after(come(obj(SERIES, OVERRIDE), answer("DECLINED", f"RECURRENCE-ID:{SECOND}")))
    assert (partstats(found)["bob"], partstats(found, SECOND)["bob"]) == ("NEEDS-ACTION", "DECLINED")


@pytest.mark.parametrize("key", ["20260310T160000Z", "20260406T160000Z", "20260309", "nonsense"])
def test_an_answer_to_an_instance_that_does_not_exist_is_ignored(key: str) -> None:
    stored = obj(SERIES + "EXDATE;TZID=America/Los_Angeles:20260309T090000\n")
    assert come(stored, answer("ACCEPTED", f"RECURRENCE-ID:{key}")).outcome == "ignored"


def test_an_answer_to_an_instance_of_a_single_meeting_is_ignored() -> None:
    assert come(obj(MEETING), answer("ACCEPTED", "RECURRENCE-ID:20260302T170000Z")).outcome == "ignored"


def test_an_answer_that_the_series_has_already_makes_no_override() -> None:
    stored = obj(SERIES.replace("PARTSTAT=NEEDS-ACTION;RSVP=TRUE", "PARTSTAT=ACCEPTED"))
    assert come(stored, answer("ACCEPTED", f"RECURRENCE-ID:{SECOND}")).outcome == "nothing"


def test_an_answer_to_the_series_is_one_to_the_instances_that_wait() -> None:
    other = OVERRIDE.replace("20260309", "20260316").replace("PARTSTAT=NEEDS-ACTION;RSVP=TRUE", "PARTSTAT=DECLINED")
    later = OVERRIDE.replace("20260309", "20260323").replace("SEQUENCE:2", "SEQUENCE:3")
    found = after(come(obj(SERIES, OVERRIDE, other, later), answer("ACCEPTED")))
    assert [partstats(found, key)["bob"] for key in sorted(found.parts)] == [
        "ACCEPTED", "ACCEPTED", "DECLINED", "NEEDS-ACTION",
    ]  # fmt: skip


def test_an_answer_to_this_and_all_later_ones_keeps_its_range() -> None:
    later = OVERRIDE.replace("20260309", "20260323")
    found = after(come(obj(SERIES, later), answer("DECLINED", f"RECURRENCE-ID;RANGE=THISANDFUTURE:{SECOND}")))
    line = found.parts[SECOND].first("RECURRENCE-ID")
    assert line is not None
    assert (line.param("RANGE"), line.param("TZID")) == ("THISANDFUTURE", "America/Los_Angeles")
    assert partstats(found, "20260323T160000Z")["bob"] == "DECLINED"
    assert partstats(found)["bob"] == "NEEDS-ACTION"


def test_an_answer_to_an_instance_of_an_all_day_series_is_found_in_any_form() -> None:
    days = f"DTSTART;VALUE=DATE:20260302\nRRULE:FREQ=DAILY\nORGANIZER:{ALICE}\nATTENDEE:{BOB}"
    for rid in ("RECURRENCE-ID;VALUE=DATE:20260304", "RECURRENCE-ID:20260304T000000Z"):
        found = after(come(obj(days), answer("DECLINED", rid, seq=0)))
        assert partstats(found, "20260304") == {"bob": "DECLINED"}
        assert b"RECURRENCE-ID;VALUE=DATE:20260304\r\n" in found.to_bytes()


def test_an_answer_to_an_rdate_instance_is_found() -> None:
    stored = obj(SERIES + "RDATE;TZID=America/Los_Angeles:20260310T150000\n")
    found = after(come(stored, answer("ACCEPTED", "RECURRENCE-ID:20260310T220000Z")))
    assert values(found.parts["20260310T220000Z"], "DTEND") == ["20260310T160000"]


def test_other_guests_here_hear_of_it_quietly_and_the_one_who_answered_does_not() -> None:
    stored = obj(MEETING + "ATTENDEE:mailto:dave@example.org\nATTENDEE;SCHEDULE-AGENT=NONE:mailto:eve@example.org\n")
    arrival = come(stored, answer())
    assert said(arrival.messages) == ["~REQUEST carol answer", "~REQUEST dave answer"]
    assert all(b"SCHEDULE-" not in message.calendar for message in arrival.messages)


# ---- order ----


def test_an_older_answer_does_not_undo_a_newer_one() -> None:
    seen = {(BOB, MASTER): (2, "20260201T101500Z")}
    assert come(obj(MEETING), answer("DECLINED", stamp="20260201T101459Z"), seen=seen).outcome == "stale"
    assert come(obj(MEETING), answer("DECLINED", seq=0, stamp="20250101T000000Z"), seen=seen).outcome == "stale"
    assert come(obj(MEETING), answer("DECLINED", stamp="20260201T101500Z"), seen=seen).outcome == "applied"
    assert come(obj(MEETING), answer("DECLINED", stamp="20260201T101501Z"), seen=seen).outcome == "applied"
    # To an instance it is another matter.
    late = answer("DECLINED", f"RECURRENCE-ID:{SECOND}", stamp="20260201T101459Z")
    assert come(obj(SERIES), late, seen=seen).outcome == "applied"


def test_the_newest_answer_is_remembered() -> None:
    assert come(obj(MEETING), answer()).seen == {(BOB, MASTER): (2, "20260201T101500Z")}
    assert come(obj(SERIES), answer("ACCEPTED", f"RECURRENCE-ID:{SECOND}")).seen == {
        (BOB, SECOND): (2, "20260201T101500Z")
    }


def test_a_lower_sequence_with_a_newer_stamp_counts() -> None:
    """Bug report F1."""
    seen = {(BOB, MASTER): (2, "20260201T101500Z")}
    found = after(come(obj(MEETING), answer("DECLINED", seq=0, stamp="20260201T120000Z"), seen=seen))
    assert partstats(found)["bob"] == "DECLINED"


def test_an_answer_to_what_was_before_a_change_of_the_time_is_stale() -> None:
    then = "DTSTART:20260302T180000Z"  # an hour later than now
    same = "DTSTART:20260302T170000Z"
    assert come(obj(MEETING), answer("ACCEPTED", then, seq=1)).outcome == "stale"
    assert come(obj(MEETING), answer("ACCEPTED", same, seq=1)).outcome == "applied"
    assert come(obj(MEETING), answer("ACCEPTED", then, seq=2)).outcome == "applied"
    assert come(obj(MEETING), answer("ACCEPTED", "DTSTART;VALUE=DATE:20260302", seq=1)).outcome == "stale"
    # Without a time its own stamp has to tell.
    changed = obj("DTSTAMP:20260202T000000Z\n" + MEETING)
    assert come(changed, answer("ACCEPTED", seq=1, stamp="20260201T000000Z")).outcome == "stale"
    assert come(changed, answer("ACCEPTED", seq=1, stamp="20260203T000000Z")).outcome == "applied"


# ---- quirks (reference, section 11) ----

OUTLOOK = """
COMMENT;LANGUAGE=en-US:\\n
SUMMARY;LANGUAGE=en-US:Accepted: Planning
DTSTART;TZID=Pacific Standard Time:20260302T090000
DTEND;TZID=Pacific Standard Time:20260302T100000
CLASS:PUBLIC
TRANSP:OPAQUE
STATUS:CONFIRMED
LOCATION;LANGUAGE=en-US:Elsewhere
X-MICROSOFT-CDO-BUSYSTATUS:BUSY
"""


def test_only_the_answer_is_taken_of_what_outlook_sends() -> None:
    found = after(come(obj(MEETING), answer("ACCEPTED", OUTLOOK.strip())))
    assert values(found.master, "SUMMARY") == ["Lunch"]
    for name in ("LOCATION", "STATUS", "TRANSP", "CLASS", "COMMENT", "X-MICROSOFT-CDO-BUSYSTATUS"):
        assert values(found.master, name) == []
    assert b"ATTENDEE-COMMENT" not in found.to_bytes()


def test_an_answer_without_organizer_is_for_the_one_that_is_stored() -> None:
    """Bug report F1."""
    found = after(come(obj(MEETING), answer().replace(f"ORGANIZER:{ALICE}\n", "")))
    assert partstats(found)["bob"] == "ACCEPTED"


@pytest.mark.parametrize(
    "by",
    ["MAILTO:BOB@EXAMPLE.ORG", "mailto:Bob@Example.org", "mailto:%62ob@example.org", "mailto: bob@example.org ",
     "bob@example.org", "mailto:bob+cal@example.org", "mailto:Bob Brown <bob@example.org>"],
)  # fmt: skip
def test_addresses_are_compared_and_not_their_spelling(by: str) -> None:
    found = after(come(obj(MEETING), answer(by=by)))
    assert partstats(found)["bob"] == "ACCEPTED"
    assert len(attendees_of(found.parts[MASTER])) == 3
    assert line_for(found, BOB).value == BOB


def test_who_was_invited_with_a_tag_may_answer_without_and_from_another_tag() -> None:
    tagged = obj(MEETING.replace(BOB, "mailto:bob+news@example.org"))
    for by in (BOB, "mailto:bob+cal@example.org", "mailto:bob+news@example.org"):
        found = after(come(tagged, answer(by=by), sender=by))
        assert line_for(found, "mailto:bob+news@example.org").param("PARTSTAT") == "ACCEPTED"


@pytest.mark.parametrize(
    "rid",
    [
        "RECURRENCE-ID:20260309T160000Z",
        "RECURRENCE-ID;TZID=Pacific Standard Time:20260309T090000",
        "RECURRENCE-ID;TZID=Customized Time Zone:20260309T090000",
        "RECURRENCE-ID;TZID=America/Los_Angeles:20260309T090000",
        "RECURRENCE-ID;TZID=Asia/Ho_Chi_Minh:20260309T230000",
        "RECURRENCE-ID:20260309T090000",
        "RECURRENCE-ID;VALUE=DATE:20260309",
    ],
)
def test_an_instance_is_found_however_it_is_named(rid: str) -> None:
    found = after(come(obj(SERIES), answer("DECLINED", rid)))
    assert partstats(found, SECOND)["bob"] == "DECLINED"


def test_a_zone_of_the_message_s_own_is_read_by_its_definition() -> None:
    zone = """BEGIN:VTIMEZONE
TZID:Customized Time Zone
BEGIN:STANDARD
DTSTART:16010101T000000
TZOFFSETFROM:-0500
TZOFFSETTO:-0500
END:STANDARD
END:VTIMEZONE"""
    rid = "RECURRENCE-ID;TZID=Customized Time Zone:20260309T110000"
    found = after(come(obj(SERIES), answer("DECLINED", rid), before=zone))
    assert partstats(found, SECOND)["bob"] == "DECLINED"


def test_series_and_instance_in_one_reply_are_both_taken() -> None:
    """As Google sends them."""
    found = after(come(obj(SERIES), answer("ACCEPTED"), answer("DECLINED", f"RECURRENCE-ID:{SECOND}")))
    assert (partstats(found)["bob"], partstats(found, SECOND)["bob"]) == ("ACCEPTED", "DECLINED")


def test_two_instances_without_the_series_are_both_taken() -> None:
    arrival = come(
        obj(SERIES), answer("ACCEPTED", f"RECURRENCE-ID:{SECOND}"), answer("DECLINED", "RECURRENCE-ID:20260316T160000Z")
    )
    found = after(arrival)
    assert (partstats(found, SECOND)["bob"], partstats(found, "20260316T160000Z")["bob"]) == ("ACCEPTED", "DECLINED")
    assert set(arrival.seen) == {(BOB, SECOND), (BOB, "20260316T160000Z")}


def test_an_instance_that_is_unknown_does_not_keep_the_others_from_being_taken() -> None:
    found = after(come(obj(SERIES), answer("ACCEPTED"), answer("DECLINED", "RECURRENCE-ID:20260310T160000Z")))
    assert list(found.parts) == [MASTER]


def test_a_method_in_lower_case_is_one() -> None:
    assert come(obj(MEETING), answer(), method="reply").outcome == "applied"


def test_a_remark_is_kept_for_the_organizer_alone() -> None:
    first = after(come(obj(MEETING), answer("DECLINED", "COMMENT:Ill\\, sorry\\nBob")))
    line = (first.parts[MASTER].all("X-CALENDARSERVER-ATTENDEE-COMMENT"))[0]
    assert (line.text, line.param("X-CALENDARSERVER-ATTENDEE-REF")) == ("Ill, sorry\nBob", BOB)
    second = after(come(first, answer("ACCEPTED", "COMMENT:Well again")))
    assert values(second.master, "X-CALENDARSERVER-ATTENDEE-COMMENT") == ["Well again"]
    # It does not go out to the others with the next change.
    plan = put(second, read_object(second.to_bytes().replace(b"SUMMARY:Lunch", b"SUMMARY:Dinner")))
    assert plan.messages
    assert all(b"Well again" not in message.calendar for message in plan.messages)


def test_of_several_attendees_the_one_who_sent_it_answers() -> None:
    arrival = come(obj(MEETING), answer("ACCEPTED", f"ATTENDEE;PARTSTAT=DECLINED:{CAROL}"))
    assert partstats(after(arrival)) == {"alice": "ACCEPTED", "bob": "ACCEPTED", "carol": "NEEDS-ACTION"}
    nobody = come(obj(MEETING), answer("ACCEPTED", f"ATTENDEE:{CAROL}"), sender="mailto:eve@example.com")
    assert nobody.outcome == "refused"


@pytest.mark.parametrize(
    "component", [answer().replace(f"ATTENDEE;PARTSTAT=ACCEPTED:{BOB}", ""), answer("A B"), answer("Ü")]
)
def test_an_answer_that_is_none_is_refused(component: str) -> None:
    arrival = come(obj(MEETING), component)
    assert (arrival.outcome, arrival.body) == ("refused", None)
    assert arrival.reason


# ---- who may answer (reference, section 10) ----


def test_nobody_answers_for_somebody_else() -> None:
    for sender in ("mailto:mallory@evil.example", CAROL):
        arrival = come(obj(MEETING), answer(), sender=sender)
        assert (arrival.outcome, arrival.body, arrival.notice) == ("refused", None, False)


def test_whom_the_caller_vouches_for_may_answer() -> None:
    assert come(obj(MEETING), answer(), sender="").outcome == "applied"


def test_a_guest_answers_from_the_mailbox_that_his_line_names() -> None:
    stored = obj(MEETING.replace("CN=Bob;", "CN=Bob;EMAIL=bob@home.example;"))
    assert partstats(after(come(stored, answer(), sender="mailto:bob@home.example")))["bob"] == "ACCEPTED"


def test_an_answer_in_another_name_counts_for_the_guest_whom_the_sender_stands_for() -> None:
    """A signed address said who it is; the mail program wrote the person's other address."""
    found = after(come(obj(MEETING), answer(by="mailto:bobby@home.example"), sender=BOB))
    assert partstats(found) == {"alice": "ACCEPTED", "bob": "ACCEPTED", "carol": "NEEDS-ACTION"}


def test_the_organizer_is_no_guest_of_himself() -> None:
    assert come(obj(MEETING), answer("DECLINED", by=ALICE), sender=ALICE).outcome == "ignored"


EVE = "mailto:eve@example.com"


def test_who_was_not_invited_is_ignored_asked_about_or_added_by_policy() -> None:
    ignored = come(obj(MEETING), answer(by=EVE), sender=EVE)
    assert (ignored.outcome, ignored.body, ignored.notice, ignored.ask) == ("ignored", None, False, False)
    asked = come(obj(MEETING), answer(by=EVE), sender=EVE, crashers="ask")
    assert (asked.outcome, asked.body, asked.notice, asked.ask) == ("asked", None, True, True)
    added = come(obj(MEETING), answer(by=f"{EVE}").replace("PARTSTAT=", "CN=Eve;PARTSTAT="), sender=EVE, crashers="add")
    line = line_for(after(added), EVE)
    assert (line.param("CN"), line.param("PARTSTAT"), line.param("SCHEDULE-STATUS")) == ("Eve", "ACCEPTED", "2.0")
    assert said(added.messages) == ["~REQUEST bob answer", "~REQUEST carol answer"]


def test_who_was_not_invited_may_be_added_to_one_instance() -> None:
    reply = answer("ACCEPTED", f"RECURRENCE-ID:{SECOND}", by=EVE)
    found = after(come(obj(SERIES), reply, sender=EVE, crashers="add"))
    assert "eve" not in partstats(found)
    assert partstats(found, SECOND)["eve"] == "ACCEPTED"
    gone = answer("ACCEPTED", "RECURRENCE-ID:20260310T160000Z", by=EVE)
    assert come(obj(SERIES), gone, sender=EVE, crashers="add").outcome == "ignored"


def test_a_stranger_in_a_stranger_s_name_is_refused_under_every_policy() -> None:
    for crashers in ("ignore", "ask", "add"):
        arrival = come(obj(MEETING), answer(by=EVE), sender="mailto:mallory@evil.example", crashers=crashers)
        assert arrival.outcome == "refused"


def test_a_guest_who_was_taken_out_of_an_instance_does_not_come_back_by_answering() -> None:
    without = OVERRIDE.replace(f"ATTENDEE;CN=Bob;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;SCHEDULE-STATUS=1.1:{BOB}\n", "")
    arrival = come(obj(SERIES, without), answer("ACCEPTED", f"RECURRENCE-ID:{SECOND}"), crashers="add")
    assert (arrival.outcome, arrival.body) == ("ignored", None)


def test_a_guest_of_one_instance_answers_for_that_one() -> None:
    series = SERIES.replace(f"ATTENDEE;CN=Bob;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;SCHEDULE-STATUS=1.1:{BOB}\n", "")
    stored = obj(series, OVERRIDE)
    found = after(come(stored, answer("ACCEPTED", f"RECURRENCE-ID:{SECOND}")))
    assert (partstats(found, SECOND)["bob"], "bob" in partstats(found)) == ("ACCEPTED", False)


# ---- delegation (RFC 5546 §3.2.2.3) ----

DEE = "mailto:dee@example.net"
DELEGATED = f'ATTENDEE;PARTSTAT=DELEGATED;DELEGATED-TO="{DEE}":{BOB}'


@pytest.mark.parametrize("second", [[], [f'ATTENDEE;CN=Dee;DELEGATED-FROM="{BOB}":{DEE}']])
def test_a_delegate_is_put_on_the_list(second: list[str]) -> None:
    reply = "\n".join(["SEQUENCE:2", "DTSTAMP:20260201T101500Z", f"ORGANIZER:{ALICE}", DELEGATED, *second])
    arrival = come(obj(MEETING), reply)
    found = after(arrival)
    assert partstats(found) == {"alice": "ACCEPTED", "bob": "DELEGATED", "carol": "NEEDS-ACTION", "dee": "NEEDS-ACTION"}
    assert line_for(found, BOB).param("DELEGATED-TO") == DEE
    assert line_for(found, DEE).param("DELEGATED-FROM") == BOB
    assert line_for(found, DEE).param("CN") == ("Dee" if second else None)
    # The delegate has a REQUEST from the one who delegates.
    assert said(arrival.messages) == ["~REQUEST carol answer"]
    answered = come(found, answer("ACCEPTED", by=DEE), sender=DEE)
    assert partstats(after(answered))["dee"] == "ACCEPTED"


def test_a_delegate_may_answer_before_he_is_on_the_list_if_he_was_named() -> None:
    named = obj(MEETING.replace("PARTSTAT=NEEDS-ACTION;RSVP=TRUE", f'PARTSTAT=DELEGATED;DELEGATED-TO="{DEE}"'))
    reply = answer("ACCEPTED", by=DEE).replace("PARTSTAT=", f'DELEGATED-FROM="{BOB}";PARTSTAT=')
    assert partstats(after(come(named, reply, sender=DEE)))["dee"] == "ACCEPTED"
    assert come(obj(MEETING), reply, sender=DEE).outcome == "ignored"


# ---- what is not an answer ----


def test_a_proposal_is_shown_and_moves_nothing() -> None:
    counter = answer("TENTATIVE", "DTSTART:20260303T170000Z", "DTEND:20260303T180000Z", "COMMENT:A day later?")
    arrival = come(obj(MEETING), counter, method="COUNTER")
    assert (arrival.outcome, arrival.body, arrival.notice, arrival.ask) == ("asked", None, True, True)
    assert come(None, counter, method="COUNTER").outcome == "ignored"
    assert come(obj(MEETING), counter, method="COUNTER", sender=CAROL).outcome == "refused"
    assert come(obj(MEETING), answer(by=EVE), method="COUNTER", sender=EVE).outcome == "ignored"


def test_a_guest_who_asks_for_the_latest_gets_it() -> None:
    arrival = come(obj(MEETING), answer(), method="REFRESH")
    assert (arrival.outcome, arrival.body, arrival.notice) == ("applied", None, False)
    assert said(arrival.messages) == ["REQUEST bob forced"]
    assert come(None, answer(), method="REFRESH").outcome == "ignored"
    assert come(obj(MEETING), answer(by=EVE), method="REFRESH", sender=EVE).messages == ()
    assert come(obj(MEETING), answer(), method="REFRESH", sender=EVE).messages == ()


@pytest.mark.parametrize("method", ["REQUEST", "CANCEL", "ADD", "PUBLISH", "DECLINECOUNTER"])
def test_nothing_from_outside_in_the_organizer_s_own_name_is_followed(method: str) -> None:
    for sender in ("mailto:mallory@evil.example", ALICE, ""):
        arrival = come(obj(MEETING), MEETING + "STATUS:CANCELLED\n", method=method, sender=sender)
        assert (arrival.outcome, arrival.body, arrival.remove) == ("refused", None, False)


# ---- both sides together ----


def test_what_a_guest_here_answers_is_what_the_organizer_here_gets() -> None:
    """Bug report F1, with our own messages."""
    meeting = obj(SERIES)
    bob = who("bob")
    copy = request_for(meeting, BOB, who(), now_s=NOW_S)
    assert copy is not None
    invited = arrive(read_itip(copy.calendar), None, bob, sender=ALICE, seen={}, now_s=NOW_S)
    assert invited.body is not None
    plan = attendee.answer(read_object(invited.body), bob, {"": "ACCEPTED", SECOND: "DECLINED"}, now_s=NOW_S)
    found = arrive(read_itip(plan.messages[0].calendar), meeting, who(), sender=BOB, seen={}, now_s=NOW_S)
    assert found.body is not None
    organized = read_object(found.body)
    assert (partstats(organized)["bob"], partstats(organized, SECOND)["bob"]) == ("ACCEPTED", "DECLINED")
    assert read_object(found.body).master is not None
    # And what the organizer sends next leaves the guest's copy as it is.
    update = put(read_object(found.body), read_object(found.body.replace(b"SUMMARY:Lunch", b"SUMMARY:Dinner")))
    message = next(message for message in update.messages if message.recipient == BOB)
    assert plan.body is not None
    seen = dict(invited.seen)
    changed = arrive(
        read_itip(message.calendar), read_object(plan.body), bob, sender=ALICE, seen=seen, now_s=NOW_S + 60
    )
    guest = after(changed)
    assert (partstats(guest)["bob"], partstats(guest, SECOND)["bob"]) == ("ACCEPTED", "DECLINED")
    assert values(guest.master, "SUMMARY") == ["Dinner"]


# ---- statuses ----


def unfolded(body: bytes) -> bytes:
    return body.replace(b"\r\n ", b"")


def test_a_status_is_written_on_the_lines_of_those_it_is_of_and_nowhere_else() -> None:
    body = text_of(SERIES, OVERRIDE).replace("\r\nSUMMARY:Lunch", "\r\nSUMMARY:Lun\r\n ch").encode()
    made = with_status(body, "organizer", {CAROL: "5.1", "mailto:nobody@example.com": "1.2"})
    assert unfolded(made).count(b";SCHEDULE-STATUS=5.1:mailto:carol") == 2
    assert unfolded(made).replace(b";SCHEDULE-STATUS=5.1", b"") == unfolded(body)
    assert b"SUMMARY:Lun\r\n ch\r\n" in made
    assert with_status(made, "organizer", {CAROL: "5.1"}) == made
    assert with_status(body, "organizer", {}) is body
    mine = with_status(body, "attendee", {ALICE: "1.2,2.8"})
    assert unfolded(mine).count(b'ORGANIZER;CN=Alice;SCHEDULE-STATUS="1.2,2.8":') == 2
    assert unfolded(mine).replace(b';SCHEDULE-STATUS="1.2,2.8"', b"") == unfolded(body)


def test_a_mail_that_came_back_is_seen_on_the_guest_s_line() -> None:
    assert b"ATTENDEE;CN=Carol;PARTSTAT=NEEDS-ACTION;SCHEDULE-STATUS=5.2:" in bounced(obj(MEETING), CAROL, "5.2")


def test_the_organizer_s_delimiters_decide_what_a_tag_is() -> None:
    message = read_itip(text_of(answer(by="mailto:bob-cal@example.org"), before="METHOD:REPLY").encode())
    for delimiters, outcome in (("-", "applied"), ("", "ignored")):
        me = replace(who(), delimiters=delimiters)
        found = arrive(message, obj(MEETING), me, sender="mailto:bob-cal@example.org", seen={}, now_s=NOW_S)
        assert found.outcome == outcome
