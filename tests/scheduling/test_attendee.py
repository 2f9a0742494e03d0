"""The attendee's table (RFC 6638 §3.2.2): what is his to change, what is put back, what is refused, what is told."""

from __future__ import annotations

import pytest

from dav.errors import DavError
from dav.ical.rules import check_calendar
from dav.names import c
from dav.scheduling import attendee, organizer
from dav.scheduling.addresses import Who
from dav.scheduling.model import MASTER, ItipError, SchedulingObject, attendees_of, partstat_of, read_itip
from dav.scheduling.plan import Plan

from .kit import ALICE, BOB, CAROL, NOW, NOW_S, obj, options, partstats, put, said, sent, stored, text_of, values, who

BOBBY = who("bob", "mailto:bob.brown@example.org")
INVITED = f"""
SUMMARY:Lunch
DESCRIPTION:At the old place\\nBring maps
LOCATION:Harbour
DTSTART;TZID=Europe/Berlin:20260110T120000
DTEND;TZID=Europe/Berlin:20260110T130000
SEQUENCE:3
ORGANIZER;CN=Alice:{ALICE}
ATTENDEE;PARTSTAT=ACCEPTED:{ALICE}
ATTENDEE;CN=Bob;RSVP=TRUE;PARTSTAT=NEEDS-ACTION:{BOB}
ATTENDEE;CN=Carol;PARTSTAT=NEEDS-ACTION:{CAROL}
"""
SERIES = INVITED.replace("SEQUENCE:3", "RRULE:FREQ=DAILY;COUNT=5\nSEQUENCE:3")
SECOND = "20260111T110000Z"
OVERRIDE = INVITED.replace("20260110T", "20260111T").replace(
    "SEQUENCE:3", "RECURRENCE-ID;TZID=Europe/Berlin:20260111T120000\nSEQUENCE:3"
)
MINE = f"ATTENDEE;CN=Bob;RSVP=TRUE;PARTSTAT=NEEDS-ACTION:{BOB}"
ALARM = "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT15M\nDESCRIPTION:Up\nEND:VALARM"


def answered(partstat: str, text: str = INVITED) -> str:
    assert MINE in text
    return text.replace(MINE, f"ATTENDEE;CN=Bob;PARTSTAT={partstat}:{BOB}")


def bob_puts(before: SchedulingObject | None, *after: str, as_: Who = BOBBY, **changes: object) -> Plan:
    plan = put(before, obj(*after), as_, **changes)
    assert plan.role == "attendee"
    if plan.body is not None:
        check_calendar(plan.body)
    return plan


def reply(plan: Plan) -> SchedulingObject:
    """What the one REPLY to the organizer says; checked to be one as RFC 5546 §3.2.3 has it."""
    found = sent(plan, "alice", "REPLY")
    message = next(message for message in plan.messages if message.method == "REPLY")
    assert b"\r\nMETHOD:REPLY\r\n" in message.calendar
    assert b"SCHEDULE-" not in message.calendar
    assert b"VALARM" not in message.calendar
    assert message.changes == ("answer",)
    for part in found.parts.values():
        assert values(part, "DTSTAMP") == [NOW]
        assert len(values(part, "ORGANIZER")) == 1
        assert values(part, "UID") == ["1@example.org"]
    return found


# ---- answers ----


@pytest.mark.parametrize("partstat", ["ACCEPTED", "TENTATIVE", "DECLINED"])
def test_an_answer_is_a_reply_to_the_organizer_and_nobody_else(partstat: str) -> None:
    plan = bob_puts(obj(INVITED), answered(partstat))
    assert said(plan.messages) == ["REPLY alice answer"]
    assert not plan.altered
    assert plan.tag
    assert plan.body == text_of(answered(partstat)).encode()
    found = reply(plan)
    assert partstats(found) == {"bob": partstat}
    assert values(found.master, "SEQUENCE") == ["3"]
    message = plan.messages[0]
    assert (message.sender, message.sender_name, message.recipient_name) == (BOB, "Bob", "Alice")
    assert (message.sequence, message.summary, message.recurrence, message.past) == (3, "Lunch", "", False)
    assert b"TZID:Europe/Berlin" in message.calendar


def test_the_same_again_says_nothing() -> None:
    assert bob_puts(obj(answered("ACCEPTED")), answered("ACCEPTED")).messages == ()
    assert bob_puts(obj(INVITED), INVITED.replace(";PARTSTAT=NEEDS-ACTION:mailto:bob", ":mailto:bob")).messages == ()


def test_an_answer_for_one_instance_names_that_instance() -> None:
    plan = bob_puts(obj(SERIES), SERIES, answered("DECLINED", OVERRIDE))
    assert said(plan.messages) == [f"REPLY alice [{SECOND}] answer"]
    found = reply(plan)
    assert list(found.parts) == [SECOND]
    assert values(found.parts[SECOND], "RECURRENCE-ID") == ["20260111T120000"]
    assert partstats(found, SECOND) == {"bob": "DECLINED"}


def test_an_answer_in_an_override_that_is_there_names_only_that_one() -> None:
    before = obj(answered("ACCEPTED", SERIES), answered("ACCEPTED", OVERRIDE))
    plan = bob_puts(before, answered("ACCEPTED", SERIES), answered("TENTATIVE", OVERRIDE))
    assert said(plan.messages) == [f"REPLY alice [{SECOND}] answer"]


def test_series_and_instance_answered_at_once_are_one_reply() -> None:
    plan = bob_puts(obj(SERIES), answered("ACCEPTED", SERIES), answered("DECLINED", OVERRIDE))
    assert said(plan.messages) == ["REPLY alice answer"]
    found = reply(plan)
    assert {key: partstats(found, key)["bob"] for key in found.parts} == {MASTER: "ACCEPTED", SECOND: "DECLINED"}


def test_a_new_override_with_the_answer_of_the_series_says_nothing_of_its_own() -> None:
    plan = bob_puts(obj(SERIES), answered("ACCEPTED", SERIES), answered("ACCEPTED", OVERRIDE))
    assert list(reply(plan).parts) == [MASTER]


def test_an_instance_that_stays_open_when_the_series_is_answered_is_named() -> None:
    plan = bob_puts(obj(SERIES, OVERRIDE), answered("ACCEPTED", SERIES), OVERRIDE)
    assert {key: partstats(reply(plan), key)["bob"] for key in reply(plan).parts} == {
        MASTER: "ACCEPTED", SECOND: "NEEDS-ACTION",
    }  # fmt: skip


def test_an_instance_that_he_takes_out_is_declined() -> None:
    before = obj(answered("ACCEPTED", SERIES))
    after = answered("ACCEPTED", SERIES) + "EXDATE;TZID=Europe/Berlin:20260111T120000\n"
    plan = bob_puts(before, after)
    assert said(plan.messages) == [f"REPLY alice [{SECOND}] answer"]
    found = reply(plan)
    assert partstats(found, SECOND) == {"bob": "DECLINED"}
    assert values(found.parts[SECOND], "DTSTART") == ["20260111T120000"]
    assert stored(plan).exdates() == {SECOND}


def test_an_instance_that_was_declined_before_is_not_declined_again_when_taken_out() -> None:
    before = obj(SERIES, answered("DECLINED", OVERRIDE))
    plan = bob_puts(before, SERIES + "EXDATE;TZID=Europe/Berlin:20260111T120000\n")
    assert plan.messages == ()
    assert list(stored(plan).parts) == [MASTER]


def test_this_and_all_later_ones_can_be_answered() -> None:
    future = answered("DECLINED", OVERRIDE).replace("RECURRENCE-ID;", "RECURRENCE-ID;RANGE=THISANDFUTURE;")
    found = reply(bob_puts(obj(SERIES), SERIES, future))
    line = found.parts[SECOND].first("RECURRENCE-ID")
    assert line is not None
    assert line.param("RANGE") == "THISANDFUTURE"
    assert line.value == "20260111T120000"


def test_under_another_of_his_addresses_he_answers_for_the_one_that_was_invited() -> None:
    plan = bob_puts(obj(INVITED), INVITED.replace(MINE, "ATTENDEE;PARTSTAT=ACCEPTED:MAILTO:Bob.Brown@Example.org"))
    assert partstats(reply(plan)) == {"bob": "ACCEPTED"}
    assert plan.altered
    assert partstats(stored(plan)) == {"alice": "ACCEPTED", "bob": "ACCEPTED", "carol": "NEEDS-ACTION"}


def test_an_invitation_saved_from_a_mail_is_answered_when_it_comes_with_an_answer() -> None:
    assert said(bob_puts(None, answered("ACCEPTED")).messages) == ["REPLY alice answer"]
    assert bob_puts(None, INVITED).messages == ()
    # What the organizer took out was not his refusal.
    taken = answered("ACCEPTED", SERIES) + "EXDATE;TZID=Europe/Berlin:20260111T120000\n"
    assert list(reply(bob_puts(None, taken)).parts) == [MASTER]


def test_an_invitation_to_one_instance_is_answered_for_that_one() -> None:
    plan = bob_puts(obj(OVERRIDE), answered("ACCEPTED", OVERRIDE))
    assert said(plan.messages) == [f"REPLY alice [{SECOND}] answer"]
    gone = INVITED.replace("20260110T", "20260112T").replace(
        "SEQUENCE:3", "RECURRENCE-ID;TZID=Europe/Berlin:20260112T120000"
    )
    plan = bob_puts(obj(OVERRIDE, gone), OVERRIDE)
    assert said(plan.messages) == ["REPLY alice [20260112T110000Z] answer"]
    assert partstats(reply(plan), "20260112T110000Z") == {"bob": "DECLINED"}


def test_a_remark_travels_in_the_reply_but_what_the_organizer_remarked_does_not() -> None:
    before = INVITED + "COMMENT:Hello\n"
    plan = bob_puts(obj(before), answered("DECLINED", before) + "COMMENT:Ill\\, sorry\n")
    assert values(reply(plan).master, "COMMENT") == ["Ill\\, sorry"]
    assert bob_puts(obj(INVITED), INVITED + "COMMENT:Only for me\n").messages == ()


def test_a_task_tells_how_far_it_is() -> None:
    task = f"""VTODO
    SUMMARY:Paint
    DTSTART:20260110T120000Z
    DUE:20260111T120000Z
    ORGANIZER:{ALICE}
    ATTENDEE;PARTSTAT=ACCEPTED:{BOB}
    """
    done = (
        task.replace("ACCEPTED", "COMPLETED") + "STATUS:COMPLETED\nPERCENT-COMPLETE:100\nCOMPLETED:20260104T080000Z\n"
    )
    plan = bob_puts(obj(task), done)
    assert not plan.altered
    found = reply(plan)
    assert found.kind == "VTODO"
    assert values(found.master, "PERCENT-COMPLETE") == ["100"]
    assert values(found.master, "STATUS") == ["COMPLETED"]


def test_nothing_is_said_to_a_meeting_that_is_cancelled() -> None:
    cancelled = INVITED + "STATUS:CANCELLED\n"
    assert bob_puts(obj(cancelled), answered("DECLINED", cancelled)).messages == ()
    assert attendee.plan_removal(obj(cancelled), BOBBY, options()).messages == ()


def test_what_is_over_is_marked_so_that_it_is_not_mailed() -> None:
    past = INVITED.replace("20260110", "20250110")
    assert said(bob_puts(obj(past), answered("ACCEPTED", past)).messages) == ["!REPLY alice answer"]
    # A series that goes on is not over; its first instance is.
    series = past.replace("SEQUENCE:3", "RRULE:FREQ=DAILY\nSEQUENCE:3")
    first = past.replace("SEQUENCE:3", "RECURRENCE-ID;TZID=Europe/Berlin:20250110T120000\nSEQUENCE:3")
    assert said(bob_puts(obj(series), answered("ACCEPTED", series)).messages) == ["REPLY alice answer"]
    assert said(bob_puts(obj(series), series, answered("DECLINED", first)).messages) == [
        "!REPLY alice [20250110T110000Z] answer"
    ]


# ---- who sends ----


@pytest.mark.parametrize("agent", ["CLIENT", "NONE", "X-UNKNOWN"])
def test_the_server_keeps_out_where_the_client_answers(agent: str) -> None:
    before = obj(INVITED.replace("ORGANIZER;", f"ORGANIZER;SCHEDULE-AGENT={agent};"))
    plan = bob_puts(before, answered("ACCEPTED").replace("ORGANIZER;", f"ORGANIZER;SCHEDULE-AGENT={agent};"))
    assert plan.messages == ()
    assert b"SCHEDULE-AGENT" in (plan.body or b"")
    assert attendee.plan_removal(before, BOBBY, options()).messages == ()


def test_a_client_may_take_the_answering_over() -> None:
    plan = bob_puts(obj(INVITED), answered("ACCEPTED").replace("ORGANIZER;", "ORGANIZER;SCHEDULE-AGENT=CLIENT;"))
    assert plan.messages == ()
    assert b"ORGANIZER;SCHEDULE-AGENT=CLIENT;CN=Alice:" in (plan.body or b"")


def test_force_send_is_a_reply_without_change_and_is_not_kept() -> None:
    forced = answered("ACCEPTED").replace("ORGANIZER;", "ORGANIZER;SCHEDULE-FORCE-SEND=REPLY;")
    plan = bob_puts(obj(answered("ACCEPTED")), forced)
    assert said(plan.messages) == ["REPLY alice answer"]
    assert plan.body == text_of(answered("ACCEPTED")).encode()
    assert plan.altered


def test_an_unknown_force_send_is_told_by_its_status() -> None:
    forced = INVITED.replace("ORGANIZER;", "ORGANIZER;SCHEDULE-FORCE-SEND=MAYBE;")
    plan = bob_puts(obj(INVITED), forced)
    assert plan.messages == ()
    assert b"FORCE-SEND" not in (plan.body or b"")
    assert b"ORGANIZER;CN=Alice;SCHEDULE-STATUS=2.3:" in (plan.body or b"")


def test_schedule_reply_f_is_silence() -> None:
    assert attendee.plan_removal(obj(INVITED), BOBBY, options(reply=False)).messages == ()
    assert attendee.plan_removal(obj(INVITED), BOBBY, options(silent=True)).messages == ()
    assert bob_puts(obj(INVITED), answered("ACCEPTED"), silent=True).messages == ()


def test_the_status_of_his_last_reply_stays_when_the_client_forgets_it() -> None:
    before = INVITED.replace("ORGANIZER;", "ORGANIZER;SCHEDULE-STATUS=1.2;")
    plan = bob_puts(obj(before), INVITED)
    assert b";SCHEDULE-STATUS=1.2" in (plan.body or b"")


# ---- removal ----


def test_taking_an_invitation_away_declines_it() -> None:
    plan = attendee.plan_removal(obj(answered("ACCEPTED")), BOBBY, options())
    assert said(plan.messages) == ["REPLY alice answer"]
    assert plan.body is None
    assert partstats(reply(plan)) == {"bob": "DECLINED"}


@pytest.mark.parametrize("partstat", ["DECLINED", "DELEGATED"])
def test_what_was_declined_or_passed_on_is_taken_away_silently(partstat: str) -> None:
    assert attendee.plan_removal(obj(answered(partstat)), BOBBY, options()).messages == ()


def test_taking_a_series_away_declines_each_part_that_is_not_declined() -> None:
    other = OVERRIDE.replace("20260111", "20260112")
    plan = attendee.plan_removal(
        obj(answered("ACCEPTED", SERIES), answered("DECLINED", OVERRIDE), answered("TENTATIVE", other)),
        BOBBY,
        options(),
    )
    found = reply(plan)
    assert set(found.parts) == {MASTER, "20260112T110000Z"}
    assert all(partstats(found, key) == {"bob": "DECLINED"} for key in found.parts)


def test_taking_organizer_and_guests_away_declines_too() -> None:
    plan = put(obj(INVITED), obj("SUMMARY:Lunch\nDTSTART:20260110T110000Z"), BOBBY)
    assert said(plan.messages) == ["REPLY alice answer"]


# ---- what is his ----


@pytest.mark.parametrize(
    "own",
    [
        "TRANSP:TRANSPARENT",
        "CATEGORIES:Food",
        "COLOR:red",
        "CLASS:PRIVATE",
        "X-MOZ-LASTACK:20260101T000000Z",
        "LAST-MODIFIED:20260104T000000Z",
        "CREATED:20260104T000000Z",
        "COMMENT:Take a coat",
        ALARM,
    ],
)
def test_personal_things_are_stored_as_sent_and_nobody_is_told(own: str) -> None:
    after = INVITED + own + "\n"
    plan = bob_puts(obj(INVITED), after)
    assert plan.messages == ()
    assert not plan.altered
    assert plan.body == text_of(after).encode()
    again = bob_puts(obj(after), INVITED)
    assert again.body == text_of(INVITED).encode()


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("SUMMARY:Lunch", "SUMMARY:Dinner"),
        ("LOCATION:Harbour", "LOCATION:My office"),
        ("LOCATION:Harbour\n", ""),
        ("SUMMARY:Lunch", "SUMMARY:Lunch\nURL:https://example.com/"),
        ("SUMMARY:Lunch", "SUMMARY:Lunch\nSTATUS:CANCELLED"),
        ("SUMMARY:Lunch", "SUMMARY:Lunch\nPRIORITY:1"),
        ("SEQUENCE:3", "SEQUENCE:4"),
        ("SEQUENCE:3\n", ""),
        (f"ATTENDEE;CN=Carol;PARTSTAT=NEEDS-ACTION:{CAROL}", f"ATTENDEE;CN=Karo;PARTSTAT=ACCEPTED:{CAROL}"),
        ("ORGANIZER;CN=Alice", "ORGANIZER;CN=Boss"),
    ],
)
def test_texts_that_differ_are_the_organizers_again(before: str, after: str) -> None:
    assert before in INVITED
    plan = bob_puts(obj(INVITED), answered("ACCEPTED").replace(before, after))
    assert plan.altered
    assert sorted((plan.body or b"").splitlines()) == sorted(text_of(answered("ACCEPTED")).encode().splitlines())
    assert said(plan.messages) == ["REPLY alice answer"]


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("Bring maps", "Bring maps  "),
        ("\\n", "\\r\\n".replace("\\r", "")),
        ("DTEND;TZID=Europe/Berlin:20260110T130000", "DURATION:PT1H"),
        ("DTSTART;TZID=Europe/Berlin:20260110T120000", "DTSTART:20260110T110000Z"),
        ("DTSTART;TZID=Europe/Berlin:", "DTSTART;TZID=W. Europe Standard Time:"),
        ("ATTENDEE;CN=Carol;PARTSTAT=NEEDS-ACTION:", "ATTENDEE;PARTSTAT=NEEDS-ACTION;CN=Carol:"),
    ],
)
def test_the_same_in_other_words_stays_as_the_client_wrote_it(before: str, after: str) -> None:
    assert before in INVITED
    plan = bob_puts(obj(INVITED), INVITED.replace(before, after))
    assert not plan.altered
    assert plan.messages == ()


def test_a_list_whose_lines_are_in_another_order_is_the_same() -> None:
    lines = INVITED.strip().splitlines()
    plan = bob_puts(obj(INVITED), "\n".join([*reversed(lines)]))
    assert not plan.altered


def test_an_override_that_another_client_dropped_comes_back() -> None:
    before = obj(SERIES, answered("DECLINED", OVERRIDE))
    plan = bob_puts(before, answered("ACCEPTED", SERIES))
    assert partstats(stored(plan), SECOND)["bob"] == "DECLINED"
    assert list(reply(plan).parts) == [MASTER]


def test_an_answer_to_the_series_is_one_to_instances_that_he_has_not_seen_apart_from_it() -> None:
    """Carol has answered for one instance, so that it has an override; bob's program knows of the series only."""
    apart = OVERRIDE.replace(f"NEEDS-ACTION:{CAROL}", f"DECLINED:{CAROL}")
    plan = bob_puts(obj(SERIES, apart), answered("ACCEPTED", SERIES), matched=True)
    found = stored(plan)
    assert {key: partstats(found, key)["bob"] for key in found.parts} == {MASTER: "ACCEPTED", SECOND: "ACCEPTED"}
    assert partstats(found, SECOND)["carol"] == "DECLINED"
    told = reply(plan)
    assert {key: partstats(told, key)["bob"] for key in told.parts} == {MASTER: "ACCEPTED", SECOND: "ACCEPTED"}
    # Not where the organizer has something else there, of which he is asked apart.
    dinner = obj(SERIES, OVERRIDE.replace("Lunch", "Dinner"))
    found = stored(bob_puts(dinner, answered("ACCEPTED", SERIES)))
    assert {key: partstats(found, key)["bob"] for key in found.parts} == {MASTER: "ACCEPTED", SECOND: "NEEDS-ACTION"}
    # Where he has said something else of that instance before, that stands.
    own = answered("DECLINED", OVERRIDE)
    found = stored(bob_puts(obj(SERIES, own), answered("ACCEPTED", SERIES)))
    assert partstats(found, SECOND)["bob"] == "DECLINED"


def test_an_instance_that_the_organizer_took_out_stays_out() -> None:
    before = SERIES + "EXDATE;TZID=Europe/Berlin:20260111T120000,20260112T120000\n"
    plan = bob_puts(obj(before), answered("ACCEPTED", SERIES))
    assert stored(plan).exdates() == {SECOND, "20260112T110000Z"}
    assert list(reply(plan).parts) == [MASTER]


@pytest.mark.parametrize("cancelled", ["", "STATUS:CANCELLED\n"])
def test_an_override_of_an_instance_that_was_left_out_meanwhile_goes_and_the_rest_is_stored(cancelled: str) -> None:
    before = SERIES + "EXDATE;TZID=Europe/Berlin:20260111T120000\n"
    third = OVERRIDE.replace("20260111T", "20260112T")
    plan = bob_puts(
        obj(before), answered("ACCEPTED", SERIES), answered("ACCEPTED", OVERRIDE) + cancelled,
        answered("DECLINED", third),
    )  # fmt: skip
    found = stored(plan)
    assert sorted(found.parts) == [MASTER, "20260112T110000Z"]
    assert found.exdates() == {SECOND}
    assert {key: partstats(reply(plan), key)["bob"] for key in reply(plan).parts} == {
        MASTER: "ACCEPTED", "20260112T110000Z": "DECLINED",
    }  # fmt: skip


THIRD = OVERRIDE.replace("20260111T", "20260112T").replace("Lunch", "Brunch")


@pytest.mark.parametrize("extra", ["", "RDATE;TZID=Europe/Berlin:20260112T120000\n"])
def test_a_program_that_makes_a_series_of_single_instances_can_answer_them(extra: str) -> None:
    """CLIENT DAVx5 makes a series of the first instance, others take RECURRENCE-ID away."""
    stored_before = obj(OVERRIDE, THIRD)
    bare = "\n".join(line for line in OVERRIDE.splitlines() if not line.startswith("RECURRENCE-ID")) + "\n"
    for parts in (
        [answered("ACCEPTED", bare) + extra, answered("DECLINED", THIRD)],
        [answered("ACCEPTED", bare) + extra, OVERRIDE, answered("DECLINED", THIRD)],
        [bare + extra, answered("ACCEPTED", OVERRIDE), answered("DECLINED", THIRD)],
    ):
        plan = bob_puts(stored_before, *parts)
        found = stored(plan)
        assert sorted(found.parts) == [SECOND, "20260112T110000Z"]
        assert {key: partstats(found, key)["bob"] for key in found.parts} == {
            SECOND: "ACCEPTED", "20260112T110000Z": "DECLINED",
        }  # fmt: skip
        assert all(not part.all("RDATE") for part in found.parts.values())
        assert sorted(reply(plan).parts) == [SECOND, "20260112T110000Z"]


def test_where_the_organizer_s_map_points_is_not_his_to_change() -> None:
    place = 'X-APPLE-STRUCTURED-LOCATION;VALUE=URI;X-TITLE="Pier":geo:53.5,9.9\n'
    for after in (answered("ACCEPTED"), answered("ACCEPTED") + place.replace("53.5", "1.0")):
        found = stored(bob_puts(obj(INVITED + place), after))
        assert found.master is not None
        assert [line.raw.decode() for line in found.master.all("X-APPLE-STRUCTURED-LOCATION")] == [
            place.replace("\n", "\r\n")
        ]


def test_his_own_line_that_a_client_lost_comes_back() -> None:
    text = answered("ACCEPTED", SERIES)
    line = f"ATTENDEE;CN=Bob;PARTSTAT=ACCEPTED:{BOB}\n"
    bare = OVERRIDE.replace(MINE + "\n", "")
    plan = bob_puts(obj(text), text, bare)
    assert line.strip() in (plan.body or b"").decode().split("RECURRENCE-ID")[1]
    assert plan.messages == ()


# ---- what is refused ----

REFUSED = [
    ("DTSTART;TZID=Europe/Berlin:20260110T120000", "DTSTART;TZID=Europe/Berlin:20260110T110000"),
    ("DTEND;TZID=Europe/Berlin:20260110T130000", "DTEND;TZID=Europe/Berlin:20260110T140000"),
    ("DTEND;TZID=Europe/Berlin:20260110T130000", "DURATION:PT2H"),
    ("RRULE:FREQ=DAILY;COUNT=5", "RRULE:FREQ=DAILY;COUNT=6"),
    ("RRULE:FREQ=DAILY;COUNT=5\n", ""),
    ("RRULE:FREQ=DAILY;COUNT=5", "RRULE:FREQ=DAILY;COUNT=5\nRDATE:20260301T100000Z"),
    ("DTSTART;TZID=Europe/Berlin:20260110T120000", "DTSTART:20260110T110000Z"),
    (f"ORGANIZER;CN=Alice:{ALICE}", f"ORGANIZER;CN=Alice:{CAROL}"),
    (f"ORGANIZER;CN=Alice:{ALICE}", f"ORGANIZER:{BOB}"),
    (f"ATTENDEE;CN=Carol;PARTSTAT=NEEDS-ACTION:{CAROL}\n", ""),
    (MINE, f"{MINE}\nATTENDEE:mailto:dave@example.net"),
]


@pytest.mark.parametrize(("before", "after"), REFUSED)
def test_time_recurrence_organizer_and_list_are_not_his_to_change(before: str, after: str) -> None:
    assert before in SERIES
    with pytest.raises(DavError) as caught:
        put(obj(SERIES), obj(SERIES.replace(before, after)), BOBBY)
    assert (caught.value.status, caught.value.condition) == (403, c("allowed-attendee-scheduling-object-change"))
    assert caught.value.detail.endswith(".")


def test_instances_that_are_not_there_and_the_series_itself_are_not_his_to_add() -> None:
    for before, after in (
        ([SERIES], [SERIES, OVERRIDE.replace("20260111", "20260116")]),
        (
            [SERIES],
            [
                SERIES,
                OVERRIDE.replace("DTSTART;TZID=Europe/Berlin:20260111T12", "DTSTART;TZID=Europe/Berlin:20260111T11"),
            ],
        ),
        ([OVERRIDE], [SERIES, OVERRIDE]),
        ([OVERRIDE], [INVITED, OVERRIDE]),
        ([SERIES, OVERRIDE], [OVERRIDE]),
    ):
        with pytest.raises(DavError) as caught:
            put(obj(*before), obj(*after), BOBBY)
        assert caught.value.condition == c("allowed-attendee-scheduling-object-change")


def test_a_schedule_tag_that_matched_takes_the_list_from_the_server() -> None:
    before = INVITED + "ATTENDEE;PARTSTAT=ACCEPTED:mailto:dave@example.net\n"
    after = answered("ACCEPTED").replace(
        f"ATTENDEE;CN=Carol;PARTSTAT=NEEDS-ACTION:{CAROL}", "ATTENDEE:mailto:e@f.example"
    )
    plan = bob_puts(obj(before), after, matched=True)
    assert partstats(stored(plan)) == {
        "alice": "ACCEPTED", "bob": "ACCEPTED", "carol": "NEEDS-ACTION", "dave": "ACCEPTED",
    }  # fmt: skip
    assert said(plan.messages) == ["REPLY alice answer"]


# ---- delegation ----

GIVEN = f'ATTENDEE;CN=Bob;PARTSTAT=DELEGATED;DELEGATED-TO="mailto:dave@example.net":{BOB}'
DELEGATE = f'ATTENDEE;CN=Dave;RSVP=TRUE;DELEGATED-FROM="{BOB}":mailto:dave@example.net'


def test_a_delegate_gets_a_request_and_the_organizer_hears_of_both() -> None:
    plan = bob_puts(obj(INVITED), INVITED.replace(MINE, f"{GIVEN}\n{DELEGATE}"))
    assert said(plan.messages) == ["REPLY alice answer", "REQUEST dave new"]
    found = reply(plan)
    assert partstats(found) == {"bob": "DELEGATED", "dave": "NEEDS-ACTION"}
    lines = attendees_of(found.parts[MASTER])
    assert lines[BOB].param("DELEGATED-TO") == "mailto:dave@example.net"
    assert lines["mailto:dave@example.net"].param("DELEGATED-FROM") == BOB
    asked = sent(plan, "dave")
    assert partstats(asked) == {
        "alice": "ACCEPTED",
        "bob": "DELEGATED",
        "dave": "NEEDS-ACTION",
        "carol": "NEEDS-ACTION",
    }
    assert asked.organizer == ALICE
    assert plan.messages[1].sender == BOB
    # Saved once more it is not passed on once more.
    assert put(stored(plan), stored(plan), BOBBY).messages == ()


def test_a_delegate_who_is_only_named_gets_a_line_of_his_own() -> None:
    plan = bob_puts(obj(INVITED), INVITED.replace(MINE, GIVEN))
    assert plan.altered
    assert said(plan.messages) == ["REPLY alice answer", "REQUEST dave new"]
    assert attendees_of(stored(plan).parts[MASTER])["mailto:dave@example.net"].param("DELEGATED-FROM") == BOB


@pytest.mark.parametrize(
    "lines",
    [
        f"{GIVEN}\nATTENDEE:mailto:dave@example.net",
        f"{GIVEN}\n{DELEGATE}\nATTENDEE:mailto:eve@example.net",
        f"{MINE}\n{DELEGATE}",
        GIVEN.replace("mailto:dave@example.net", BOB, 1),
        GIVEN.replace("mailto:dave@example.net", ALICE, 1),
    ],
)
def test_a_delegation_in_another_shape_is_refused(lines: str) -> None:
    with pytest.raises(DavError) as caught:
        put(obj(INVITED), obj(INVITED.replace(MINE, lines)), BOBBY)
    assert caught.value.condition == c("allowed-attendee-scheduling-object-change")


# ---- answers that are made here ----


def test_an_answer_made_here_is_stored_and_told() -> None:
    plan = attendee.answer(obj(INVITED), BOBBY, {"": "ACCEPTED"}, comment="Gladly; with maps,\nof course", now_s=NOW_S)
    assert partstats(stored(plan))["bob"] == "ACCEPTED"
    assert attendees_of(stored(plan).parts[MASTER])[BOB].param("RSVP") is None
    found = reply(plan)
    assert values(found.master, "COMMENT") == ["Gladly\\; with maps\\,\\nof course"]
    assert said(plan.messages) == ["REPLY alice answer"]


def test_an_answer_made_here_for_single_instances_makes_overrides() -> None:
    plan = attendee.answer(obj(SERIES), BOBBY, {"": "ACCEPTED", SECOND: "DECLINED"}, now_s=NOW_S)
    assert partstats(stored(plan))["bob"] == "ACCEPTED"
    assert partstats(stored(plan), SECOND)["bob"] == "DECLINED"
    assert values(stored(plan).parts[SECOND], "DTEND") == ["20260111T130000"]
    check_calendar(plan.body or b"")
    assert set(reply(plan).parts) == {MASTER, SECOND}


def test_an_answer_for_all_is_one_for_the_instances_that_wait() -> None:
    other = answered("DECLINED", OVERRIDE.replace("20260111", "20260112"))
    plan = attendee.answer(obj(SERIES, OVERRIDE, other), BOBBY, {"": "ACCEPTED"}, now_s=NOW_S)
    assert {key: partstats(stored(plan), key)["bob"] for key in stored(plan).parts} == {
        MASTER: "ACCEPTED", SECOND: "ACCEPTED", "20260112T110000Z": "DECLINED",
    }  # fmt: skip
    assert set(reply(plan).parts) == {MASTER, SECOND}


def test_an_answer_for_all_where_there_are_only_instances_is_one_for_each() -> None:
    plan = attendee.answer(obj(OVERRIDE), BOBBY, {"": "TENTATIVE"}, now_s=NOW_S)
    assert said(plan.messages) == [f"REPLY alice [{SECOND}] answer"]


@pytest.mark.parametrize("answers", [{}, {"20260301T110000Z": "ACCEPTED"}, {"nonsense": "ACCEPTED"}])
def test_an_answer_to_nothing_is_an_error(answers: dict[str, str]) -> None:
    with pytest.raises(ItipError):
        attendee.answer(obj(SERIES), BOBBY, answers, now_s=NOW_S)
    with pytest.raises(ItipError):
        attendee.make_reply(obj(SERIES), BOB, answers, now_s=NOW_S)
    with pytest.raises(ItipError):
        attendee.make_reply(obj(SERIES), "mailto:nobody@example.com", {"": "ACCEPTED"}, now_s=NOW_S)


def test_a_reply_for_somebody_without_a_copy_is_made_of_what_he_was_sent() -> None:
    request = organizer.request_for(obj(SERIES), CAROL, who(), now_s=NOW_S)
    assert request is not None
    body = attendee.make_reply(
        read_itip(request.calendar).object, CAROL, {SECOND: "ACCEPTED"}, comment="Yes", now_s=NOW_S,
        extra={"X-DAVENPORT-VIA": "page"},
    )  # fmt: skip
    found = read_itip(body)
    assert found.method == "REPLY"
    part = found.object.parts[SECOND]
    assert {address: partstat_of(line) for address, line in attendees_of(part).items()} == {CAROL: "ACCEPTED"}
    assert values(part, "COMMENT") == ["Yes"]
    assert values(part, "X-DAVENPORT-VIA") == ["page"]
    assert values(part, "SEQUENCE") == ["3"]


def test_no_line_of_a_reply_can_be_broken_by_what_a_client_wrote() -> None:
    nasty = INVITED.replace("SUMMARY:Lunch", "SUMMARY:Lun\x01ch\x7f " + "ü" * 200)
    plan = bob_puts(obj(nasty), answered("ACCEPTED", nasty))
    for line in plan.messages[0].calendar.split(b"\r\n"):
        assert len(line) <= 75
        assert not any((byte < 32 and byte != 9) or byte == 127 for byte in line)
