"""The organizer's table (RFC 6638 §3.2.1): what a change of a single meeting says to whom, and what is stored."""

from __future__ import annotations

import pytest

from dav.errors import DavError
from dav.names import c
from dav.scheduling import implicit, organizer
from dav.scheduling.model import MASTER, SchedulingObject, read_object

from .kit import (
    ALICE,
    BOB,
    CAROL,
    NOW,
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
    text_of,
    values,
    who,
)

LUNCH = f"""
SUMMARY:Lunch
DTSTART;TZID=Europe/Berlin:20260110T120000
DTEND;TZID=Europe/Berlin:20260110T130000
SEQUENCE:3
ORGANIZER;CN=Alice:{ALICE}
ATTENDEE;PARTSTAT=ACCEPTED:{ALICE}
ATTENDEE;CN=Bob;PARTSTAT=ACCEPTED;SCHEDULE-STATUS=2.0:{BOB}
ATTENDEE;CN=Carol;RSVP=TRUE;SCHEDULE-STATUS=1.1:{CAROL}
"""
NEW_LUNCH = LUNCH.replace("PARTSTAT=ACCEPTED;SCHEDULE-STATUS=2.0", "RSVP=TRUE").replace(";SCHEDULE-STATUS=1.1", "")
BOTH = ["bob", "carol"]


def changed(before: str, after: str, text: str = LUNCH) -> str:
    """The meeting with some text put for another."""
    assert before in text
    return text.replace(before, after)


def test_a_new_meeting_is_a_request_to_each_guest_but_the_organizer() -> None:
    plan = put(None, obj(NEW_LUNCH))
    assert said(plan.messages) == ["REQUEST bob new", "REQUEST carol new"]
    assert plan.role == "organizer"
    assert plan.tag
    assert not plan.altered
    assert plan.body == text_of(NEW_LUNCH).encode()
    message = plan.messages[0]
    assert (message.sender, message.sender_name) == (ALICE, "Alice")
    assert (message.recipient, message.recipient_name) == (BOB, "Bob")
    assert (message.uid, message.kind, message.sequence, message.summary) == ("1@example.org", "VEVENT", 3, "Lunch")


# Section 3 of the table: (what changes, what both guests are told, SEQUENCE, Bob's answer)
CHANGES = [
    ("start", changed("T120000", "T113000"), "time", "4", "NEEDS-ACTION"),
    ("end", changed("T130000", "T140000"), "time", "4", "NEEDS-ACTION"),
    ("duration", changed("DTEND;TZID=Europe/Berlin:20260110T130000", "DURATION:PT2H"), "time", "4", "NEEDS-ACTION"),
    ("series", LUNCH + "RRULE:FREQ=WEEKLY", "recurrence", "4", "NEEDS-ACTION"),
    ("more dates", LUNCH + "RDATE:20260111T110000Z", "recurrence", "4", "NEEDS-ACTION"),
    ("status", LUNCH + "STATUS:TENTATIVE", "status", "4", "ACCEPTED"),
    ("place", LUNCH + "LOCATION:Room 1", "place", "4", "ACCEPTED"),
    ("summary", changed("Lunch", "Dinner"), "summary", "3", "ACCEPTED"),
    ("description", LUNCH + "DESCRIPTION:Bring food", "description", "3", "ACCEPTED"),
    ("url", LUNCH + "URL:https://example.org/", "url", "3", "ACCEPTED"),
    ("attachment", LUNCH + "ATTACH:https://example.org/a.pdf", "attachment", "3", "ACCEPTED"),
    ("conference", LUNCH + "CONFERENCE;VALUE=URI:https://meet.example.org/1", "conference", "3", "ACCEPTED"),
    ("priority", LUNCH + "PRIORITY:1", "other", "3", "ACCEPTED"),
    ("two", changed("Lunch", "Dinner") + "LOCATION:Room 1", "place,summary", "4", "ACCEPTED"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("after", "names", "sequence", "bob"), [row[1:] for row in CHANGES], ids=[r[0] for r in CHANGES]
)
def test_a_change_is_told_with_its_name_and_grade(after: str, names: str, sequence: str, bob: str) -> None:
    plan = put(obj(LUNCH), obj(after))
    assert said(plan.messages) == [f"REQUEST {name} {names}" for name in BOTH]
    assert sequences(stored(plan)) == {MASTER: sequence}
    assert partstats(stored(plan)) == {"alice": "ACCEPTED", "bob": bob, "carol": "NEEDS-ACTION"}
    assert {message.sequence for message in plan.messages} == {int(sequence)}
    assert partstats(sent(plan, "bob")) == partstats(stored(plan))


QUIET = [
    ("nothing", LUNCH),
    ("the alarm", LUNCH + "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT5M\nDESCRIPTION:x\nEND:VALARM"),
    ("transparency", LUNCH + "TRANSP:TRANSPARENT"),
    ("categories", LUNCH + "CATEGORIES:Work"),
    ("colour", LUNCH + "COLOR:red"),
    ("private properties", LUNCH + "X-MOZ-LASTACK:20260101T000000Z\nX-ANYTHING:1"),
    ("times of writing", LUNCH + "CREATED:20260101T000000Z\nLAST-MODIFIED:20260103T000000Z"),
    ("own answer", changed(f"PARTSTAT=ACCEPTED:{ALICE}", f"PARTSTAT=TENTATIVE:{ALICE}")),
    ("status said", LUNCH + "STATUS:CONFIRMED"),
    ("empty place", LUNCH + "LOCATION:\nDESCRIPTION:"),
    ("length instead of end", changed("DTEND;TZID=Europe/Berlin:20260110T130000", "DURATION:PT1H")),
    ("the same time in UTC", changed("DTSTART;TZID=Europe/Berlin:20260110T120000", "DTSTART:20260110T110000Z")),
    ("names of guests", changed("CN=Bob", 'CN="Bob B."')),
    ("order of parameters", changed("CN=Bob;PARTSTAT=ACCEPTED", "PARTSTAT=ACCEPTED;CN=Bob")),
    ("case of addresses", changed(f":{BOB}", ":MAILTO:Bob@Example.ORG")),
    ("blanks", changed("SUMMARY:Lunch", "SUMMARY:Lunch ")),
]


@pytest.mark.parametrize("after", [row[1] for row in QUIET], ids=[row[0] for row in QUIET])
def test_what_concerns_nobody_is_told_to_nobody(after: str) -> None:
    plan = put(obj(LUNCH), obj(after))
    assert said(plan.messages) == []
    assert sequences(stored(plan)) == {MASTER: "3"}
    assert line_for(stored(plan), CAROL).param("SCHEDULE-STATUS") == "1.1"
    # The client's text stays as it wrote it.
    assert plan.body == text_of(after).encode()
    assert not plan.altered


def test_a_put_of_the_unchanged_text_says_nothing_and_stores_the_same_bytes() -> None:
    plan = put(obj(LUNCH), obj(LUNCH))
    assert plan.messages == ()
    assert plan.body == text_of(LUNCH).encode()
    assert not plan.altered


def test_the_client_that_raised_sequence_is_not_raised_above() -> None:
    plan = put(obj(LUNCH), obj(changed("T120000", "T113000").replace("SEQUENCE:3", "SEQUENCE:9")))
    assert sequences(stored(plan)) == {MASTER: "9"}
    assert {message.sequence for message in plan.messages} == {9}


@pytest.mark.parametrize("sent_number", ["SEQUENCE:1", "SEQUENCE:x", "X-NONE:1"])
def test_sequence_never_falls(sent_number: str) -> None:
    plan = put(obj(LUNCH), obj(changed("SEQUENCE:3", sent_number)))
    assert sequences(stored(plan)) == {MASTER: "3"}
    assert plan.altered
    assert plan.messages == ()


def test_answers_and_statuses_that_the_client_sends_of_others_are_ignored() -> None:
    stale = changed(f"PARTSTAT=ACCEPTED;SCHEDULE-STATUS=2.0:{BOB}", f"PARTSTAT=NEEDS-ACTION;RSVP=TRUE:{BOB}")
    forged = stale.replace(f"RSVP=TRUE;SCHEDULE-STATUS=1.1:{CAROL}", f"PARTSTAT=ACCEPTED;SCHEDULE-STATUS=9.9:{CAROL}")
    plan = put(obj(LUNCH), obj(forged))
    assert plan.messages == ()
    assert partstats(stored(plan)) == {"alice": "ACCEPTED", "bob": "ACCEPTED", "carol": "NEEDS-ACTION"}
    bob, carol = line_for(stored(plan), BOB), line_for(stored(plan), CAROL)
    assert (bob.param("RSVP"), bob.param("SCHEDULE-STATUS"), bob.param("CN")) == (None, "2.0", "Bob")
    assert (carol.param("RSVP"), carol.param("SCHEDULE-STATUS")) == ("TRUE", "1.1")
    assert plan.altered


@pytest.mark.parametrize("matched", [True, False])
def test_a_merge_takes_the_answers_of_the_stored_copy(matched: bool) -> None:
    stale = changed(f"PARTSTAT=ACCEPTED;SCHEDULE-STATUS=2.0:{BOB}", f"PARTSTAT=NEEDS-ACTION:{BOB}")
    plan = put(obj(LUNCH), obj(stale + "LOCATION:Room 1"), matched=matched)
    assert partstats(stored(plan))["bob"] == "ACCEPTED"
    assert said(plan.messages) == ["REQUEST bob place", "REQUEST carol place"]


def test_a_delegate_that_a_reply_brought_stays_when_the_client_has_not_seen_him() -> None:
    delegated = changed(
        f"PARTSTAT=ACCEPTED;SCHEDULE-STATUS=2.0:{BOB}",
        f'PARTSTAT=DELEGATED;DELEGATED-TO="mailto:dan@example.org":{BOB}',
    )
    delegated += f'ATTENDEE;DELEGATED-FROM="{BOB}":mailto:dan@example.org'
    plan = put(obj(delegated), obj(LUNCH))
    assert partstats(stored(plan)) == {
        "alice": "ACCEPTED", "bob": "DELEGATED", "carol": "NEEDS-ACTION", "dan": "NEEDS-ACTION"
    }  # fmt: skip
    assert line_for(stored(plan), BOB).param("DELEGATED-TO") == "mailto:dan@example.org"
    assert plan.messages == ()
    # One who has seen him may take him out.
    seen = put(obj(delegated), obj(delegated.rpartition("ATTENDEE")[0]))
    assert said(seen.messages)[-1] == "CANCEL dan removed"


def test_the_answer_that_the_client_keeps_itself_is_the_clients() -> None:
    agent = changed("CN=Bob;", "CN=Bob;SCHEDULE-AGENT=CLIENT;")
    plan = put(obj(agent), obj(agent.replace("CLIENT;PARTSTAT=ACCEPTED", "CLIENT;PARTSTAT=DECLINED")))
    assert partstats(stored(plan))["bob"] == "DECLINED"
    assert plan.messages == ()


def test_a_guest_added_is_asked_and_the_others_hear_of_it_quietly() -> None:
    plan = put(obj(LUNCH), obj(LUNCH + "ATTENDEE;PARTSTAT=ACCEPTED:mailto:dan@example.org"))
    assert said(plan.messages) == ["~REQUEST bob attendees", "~REQUEST carol attendees", "REQUEST dan new"]
    assert sequences(stored(plan)) == {MASTER: "3"}
    assert partstats(stored(plan)) == {
        "alice": "ACCEPTED", "bob": "ACCEPTED", "carol": "NEEDS-ACTION", "dan": "NEEDS-ACTION"
    }  # fmt: skip
    assert line_for(stored(plan), BOB).param("SCHEDULE-STATUS") == "2.0"


def test_a_guest_added_together_with_a_new_text_is_no_quiet_matter() -> None:
    plan = put(obj(LUNCH), obj(changed("Lunch", "Dinner") + "ATTENDEE:mailto:dan@example.org"))
    assert said(plan.messages) == [
        "REQUEST bob summary,attendees", "REQUEST carol summary,attendees", "REQUEST dan new"
    ]  # fmt: skip


GONE = [
    ("taken out", LUNCH.rpartition("ATTENDEE")[0]),
    ("CLIENT", changed("CN=Carol;", "CN=Carol;SCHEDULE-AGENT=CLIENT;")),
    ("NONE", changed("CN=Carol;", "CN=Carol;SCHEDULE-AGENT=NONE;")),
    ("unknown", changed("CN=Carol;", "CN=Carol;SCHEDULE-AGENT=X-MY-SERVER;")),
]


@pytest.mark.parametrize("after", [row[1] for row in GONE], ids=[row[0] for row in GONE])
def test_a_guest_taken_out_gets_one_cancel_with_a_higher_sequence(after: str) -> None:
    plan = put(obj(LUNCH), obj(after))
    cancel = [text for text in said(plan.messages) if "carol" in text]
    assert cancel == ["CANCEL carol removed"]
    message = sent(plan, "carol")
    # RFC 5546 §3.2.5: no STATUS, since the meeting takes place; only who is taken out is named.
    assert message.master is not None
    assert values(message.master, "STATUS") == []
    assert list(message.all_attendees()) == [CAROL]
    assert sequences(message) == {MASTER: "4"}
    # So that he can be asked in again: a REQUEST with the old number would be stale for him.
    assert sequences(stored(plan)) == {MASTER: "4"}
    assert partstats(stored(plan))["bob"] == "ACCEPTED"
    again = put(stored(plan), obj(LUNCH))
    assert "REQUEST carol new" in said(again.messages)
    assert sent(again, "carol").sequence >= 4


@pytest.mark.parametrize("agent", ["CLIENT", "NONE"])
def test_a_guest_that_comes_to_the_server_is_asked(agent: str) -> None:
    plan = put(obj(changed("CN=Carol;", f"CN=Carol;SCHEDULE-AGENT={agent};")), obj(LUNCH))
    assert said(plan.messages) == ["REQUEST carol new"]
    assert sequences(stored(plan)) == {MASTER: "3"}


def test_bug_f6_a_guest_of_the_client_or_of_nobody_gets_nothing() -> None:
    for agent, count in (("CLIENT", 0), ("NONE", 0), ("SERVER", 1), ("X-OTHER", 0)):
        text = f"""
            DTSTART:20260110T110000Z
            ORGANIZER:{ALICE}
            ATTENDEE;SCHEDULE-AGENT={agent}:{BOB}
        """
        plan = put(None, obj(text))
        assert len(plan.messages) == count, agent
        assert plan.body == text_of(text).encode()
        moved = put(obj(text), obj(text.replace("T11", "T12")))
        assert len(moved.messages) == count, agent
        assert len(implicit.plan_removal(obj(text), who(), options()).messages) == count
        if not count:
            assert moved.body == text_of(text.replace("T11", "T12")).encode()


def test_schedule_agent_and_the_like_never_leave() -> None:
    text = changed("CN=Carol;", "CN=Carol;SCHEDULE-AGENT=SERVER;").replace(
        "ORGANIZER;", "ORGANIZER;SCHEDULE-AGENT=SERVER;SCHEDULE-STATUS=1.2;"
    )
    plan = put(obj(text), obj(text.replace("Lunch", "Dinner")))
    for message in plan.messages:
        assert b"SCHEDULE-" not in message.calendar.replace(b"\r\n ", b"")
    assert b"SCHEDULE-AGENT=SERVER" in (plan.body or b"")


def test_bug_f4_the_last_guest_taken_out_gets_one_cancel() -> None:
    alone = f"DTSTART:20260110T110000Z\nSEQUENCE:1\nORGANIZER:{ALICE}\nATTENDEE;PARTSTAT=ACCEPTED:{BOB}"
    for after in (
        "DTSTART:20260110T110000Z\nSEQUENCE:1",
        f"DTSTART:20260110T110000Z\nSEQUENCE:1\nORGANIZER:{ALICE}",
        f"DTSTART:20260110T110000Z\nSEQUENCE:1\nORGANIZER:{ALICE}\nATTENDEE:{ALICE}",
    ):
        plan = put(obj(alone), obj(after))
        assert len(plan.messages) == 1
        message = sent(plan, "bob", "CANCEL")
        assert sequences(message) == {MASTER: "2"}
        assert sequences(stored(plan)) == {MASTER: "2"}
        again = put(stored(plan), obj(alone))
        assert said(again.messages) == ["REQUEST bob new"]
        assert again.messages[0].sequence >= 2


def test_a_meeting_deleted_is_cancelled_for_all_with_all_named() -> None:
    plan = implicit.plan_removal(obj(LUNCH), who(), options())
    assert plan.body is None
    assert said(plan.messages) == ["CANCEL bob cancelled", "CANCEL carol cancelled"]
    message = sent(plan, "bob")
    assert values(message.master, "STATUS") == ["CANCELLED"]
    assert values(message.master, "SEQUENCE") == ["4"]
    assert list(message.all_attendees()) == [ALICE, BOB, CAROL]
    assert values(message.master, "DTSTAMP") == [NOW]


def test_status_cancelled_is_a_cancel_for_all_and_the_object_stays() -> None:
    plan = put(obj(LUNCH), obj(LUNCH + "STATUS:CANCELLED"))
    assert said(plan.messages) == ["CANCEL bob cancelled", "CANCEL carol cancelled"]
    assert sequences(stored(plan)) == {MASTER: "4"}
    assert {message.sequence for message in plan.messages} == {4}
    assert partstats(stored(plan))["bob"] == "ACCEPTED"
    # What is called off is not called off again, nor talked of.
    cancelled = stored(plan)
    assert put(cancelled, obj(LUNCH + "STATUS:CANCELLED\nLOCATION:x")).messages == ()
    assert implicit.plan_removal(cancelled, who(), options()).messages == ()
    # It may be brought back.
    back = put(cancelled, obj(LUNCH))
    assert said(back.messages) == ["REQUEST bob new", "REQUEST carol new"]
    assert sequences(stored(back)) == {MASTER: "5"}


def test_a_meeting_that_is_called_off_before_anybody_was_asked_is_told_to_nobody() -> None:
    assert put(None, obj(NEW_LUNCH + "STATUS:CANCELLED")).messages == ()


def test_force_send_asks_one_guest_again_and_is_not_stored() -> None:
    plan = put(obj(LUNCH), obj(changed("CN=Carol;", "CN=Carol;SCHEDULE-FORCE-SEND=REQUEST;")))
    assert said(plan.messages) == ["REQUEST carol forced"]
    assert plan.body == text_of(LUNCH).encode()
    assert plan.altered
    assert sequences(stored(plan)) == {MASTER: "3"}
    # Together with a change he hears of it once.
    forced = changed("CN=Carol;", "CN=Carol;SCHEDULE-FORCE-SEND=REQUEST;").replace("Lunch", "Dinner")
    assert said(put(obj(LUNCH), obj(forced)).messages) == ["REQUEST bob summary", "REQUEST carol summary"]


def test_an_unknown_force_send_is_told_by_its_status() -> None:
    plan = put(obj(LUNCH), obj(changed("CN=Carol;", "CN=Carol;SCHEDULE-FORCE-SEND=PIGEON;")))
    assert plan.messages == ()
    line = line_for(stored(plan), CAROL)
    assert line.param("SCHEDULE-FORCE-SEND") is None
    assert line.param("SCHEDULE-STATUS") == "2.3"


def test_force_send_for_a_guest_of_the_client_sends_nothing() -> None:
    text = changed("CN=Carol;", "CN=Carol;SCHEDULE-AGENT=CLIENT;SCHEDULE-FORCE-SEND=REQUEST;")
    plan = put(obj(text), obj(text))
    assert plan.messages == ()
    assert b"FORCE" not in (plan.body or b"")


def test_another_organizer_is_refused() -> None:
    for after in (
        changed(f"ORGANIZER;CN=Alice:{ALICE}", f"ORGANIZER:{BOB}"),
        changed(f"ORGANIZER;CN=Alice:{ALICE}", "ORGANIZER:mailto:stranger@example.com"),
    ):
        with pytest.raises(DavError) as error:
            put(obj(LUNCH), obj(after))
        assert (error.value.status, error.value.condition) == (403, c("allowed-organizer-scheduling-object-change"))


def test_under_another_own_address_it_stays_the_same_meeting() -> None:
    me = who("alice", "mailto:a.smith@example.org")
    after = changed(f"ORGANIZER;CN=Alice:{ALICE}", "ORGANIZER:mailto:a.smith@example.org")
    plan = put(obj(LUNCH), obj(after), me)
    assert plan.messages == ()
    assert plan.altered
    assert plan.body == text_of(LUNCH).encode()


def test_organizer_taken_away_is_a_removal() -> None:
    plain = "\n".join(line for line in LUNCH.strip().splitlines() if not line.startswith(("ORGANIZER", "ATTENDEE")))
    plan = put(obj(LUNCH), obj(plain))
    assert plan.role == ""
    assert said(plan.messages) == ["CANCEL bob cancelled", "CANCEL carol cancelled"]
    assert sequences(stored(plan)) == {MASTER: "4"}


def test_the_organizers_other_addresses_get_nothing() -> None:
    me = who("alice", "mailto:a.smith@example.org")
    text = LUNCH + "ATTENDEE:mailto:A.Smith@example.org\nATTENDEE:/principals/alice/"
    assert said(put(None, obj(text), me, imports=False).messages) == ["REQUEST bob new", "REQUEST carol new"]
    assert said(implicit.plan_removal(obj(text), me, options()).messages) == [
        "CANCEL bob cancelled", "CANCEL carol cancelled"
    ]  # fmt: skip


def test_a_group_that_the_organizer_belongs_to_is_not_himself() -> None:
    plan = put(None, obj(NEW_LUNCH + "ATTENDEE;CUTYPE=GROUP:mailto:team@example.org"))
    assert "REQUEST team new" in said(plan.messages)


def test_two_lines_for_one_guest_are_one_guest() -> None:
    plan = put(None, obj(NEW_LUNCH + f"ATTENDEE;CN=Bob again:{BOB.upper()}"))
    assert said(plan.messages) == ["REQUEST bob new", "REQUEST carol new"]
    assert len(values(sent(plan, "bob").master, "ATTENDEE")) == 3


def test_silent_writes_say_nothing() -> None:
    assert put(None, obj(NEW_LUNCH), silent=True).messages == ()
    plan = put(obj(LUNCH), obj(changed("T120000", "T113000")), silent=True)
    assert plan.messages == ()
    assert sequences(stored(plan)) == {MASTER: "4"}
    assert implicit.plan_removal(obj(LUNCH), who(), options(silent=True)).messages == ()


def test_what_is_over_is_marked_so() -> None:
    past = LUNCH.replace("20260110", "20250110")
    fresh = NEW_LUNCH.replace("20260110", "20250110")
    assert said(put(None, obj(fresh)).messages) == ["!REQUEST bob new", "!REQUEST carol new"]
    assert said(implicit.plan_removal(obj(past), who(), options()).messages)[0] == "!CANCEL bob cancelled"
    assert said(put(obj(past), obj(past.replace("Lunch", "Dinner"))).messages)[0] == "!REQUEST bob summary"
    # Moved out of the past or into it: they must know.
    assert said(put(obj(past), obj(LUNCH)).messages)[0] == "REQUEST bob time"
    assert said(put(obj(LUNCH), obj(past)).messages)[0] == "REQUEST bob time"
    # A floating time may not be over everywhere.
    floating = f"DTSTART:20260104T080000\nORGANIZER:{ALICE}\nATTENDEE:{BOB}"
    assert said(put(None, obj(floating)).messages) == ["REQUEST bob new"]


TASK = f"""
VTODO
SUMMARY:Write
DUE:20260120T120000Z
SEQUENCE:1
ORGANIZER:{ALICE}
ATTENDEE;PARTSTAT=IN-PROCESS:{BOB}
"""


TASKS = [
    ("due", TASK.replace("20260120", "20260121"), "REQUEST bob time", "2", "NEEDS-ACTION"),
    ("start", TASK + "DTSTART:20260110T120000Z", "REQUEST bob time", "2", "NEEDS-ACTION"),
    ("summary", TASK.replace("Write", "Read"), "REQUEST bob summary", "1", "IN-PROCESS"),
    ("status", TASK + "STATUS:IN-PROCESS", "REQUEST bob status", "2", "IN-PROCESS"),
    ("cancelled", TASK + "STATUS:CANCELLED", "CANCEL bob cancelled", "2", "IN-PROCESS"),
    ("status said", TASK + "STATUS:NEEDS-ACTION", "", "1", "IN-PROCESS"),
    ("progress", TASK + "PERCENT-COMPLETE:50", "REQUEST bob other", "1", "IN-PROCESS"),
    ("stale answer", TASK.replace("PARTSTAT=IN-PROCESS", "PARTSTAT=NEEDS-ACTION"), "", "1", "IN-PROCESS"),
]


@pytest.mark.parametrize(
    ("after", "message", "sequence", "bob"), [row[1:] for row in TASKS], ids=[row[0] for row in TASKS]
)
def test_tasks_work_the_same(after: str, message: str, sequence: str, bob: str) -> None:
    plan = put(obj(TASK), obj(after))
    assert said(plan.messages) == ([message] if message else [])
    assert sequences(stored(plan)) == {MASTER: sequence}
    assert partstats(stored(plan)) == {"bob": bob}


def test_a_new_task_and_its_removal() -> None:
    fresh = TASK.replace(";PARTSTAT=IN-PROCESS", "")
    assert said(put(None, obj(fresh)).messages) == ["REQUEST bob new"]
    assert said(implicit.plan_removal(obj(TASK), who(), options()).messages) == ["CANCEL bob cancelled"]
    # It is still to be done when its time is over.
    assert said(put(None, obj(fresh.replace("2026", "2025"))).messages) == ["REQUEST bob new"]


def test_line_ends_and_folds_of_the_client_stay() -> None:
    body = text_of(LUNCH).replace("\r\n", "\n").replace("SUMMARY:Lu", "SUMMARY:Lu\n ").encode()
    moved = body.replace(b"T120000", b"T113000")
    plan = put(read_object(body), read_object(moved))
    assert plan.body is not None
    kept = [line for line in moved.split(b"\n") if b"ATTENDEE" not in line and b"SEQUENCE" not in line]
    assert all(line in plan.body.split(b"\n") for line in kept)
    assert b"SUMMARY:Lu\n nch\n" in plan.body


def test_a_refresh_gets_the_whole_meeting_and_quiet_updates_go_to_the_others() -> None:
    stored_object: SchedulingObject = obj(LUNCH)
    message = organizer.request_for(stored_object, CAROL, who(), now_s=NOW_S)
    assert message is not None
    assert said((message,)) == ["REQUEST carol forced"]
    assert organizer.request_for(stored_object, "mailto:dan@example.org", who(), now_s=NOW_S) is None
    quiet = organizer.quiet_updates(stored_object, who(), but={BOB}, now_s=NOW_S)
    assert said(quiet) == ["~REQUEST carol answer"]
    client = obj(changed("CN=Carol;", "CN=Carol;SCHEDULE-AGENT=CLIENT;"))
    assert organizer.quiet_updates(client, who(), but={BOB}, now_s=NOW_S) == ()


def test_who_is_asked_anew_is_asked_in_so_many_words() -> None:
    """RFC 6638 §3.2.8, where a client sends the old answer with the new time."""
    plan = put(obj(LUNCH), obj(changed("T130000", "T140000")))
    line = line_for(stored(plan), BOB)
    assert (line.param("PARTSTAT"), line.param("RSVP")) == ("NEEDS-ACTION", "TRUE")


def test_rsvp_of_an_answer_that_the_client_has_seen_is_left_as_it_was_written() -> None:
    known = f"ATTENDEE;CN=Bob;PARTSTAT=ACCEPTED;SCHEDULE-STATUS=2.0:{BOB}"
    asking = f"ATTENDEE;CN=Bob;RSVP=TRUE;PARTSTAT=ACCEPTED;SCHEDULE-STATUS=2.0:{BOB}"
    text = changed(known, asking)
    assert put(obj(LUNCH), obj(text)).body == text_of(text).encode()
    # Not of one that it has not seen.
    stale = changed(known, asking.replace("PARTSTAT=ACCEPTED", "PARTSTAT=NEEDS-ACTION"))
    line = line_for(stored(put(obj(LUNCH), obj(stale))), BOB)
    assert (line.param("PARTSTAT"), line.param("RSVP")) == ("ACCEPTED", None)
