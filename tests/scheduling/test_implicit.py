"""Which objects are scheduling objects, what HTTP does to them, and when nothing is sent (sections 1, 2 and 8)."""

from __future__ import annotations

import pytest

from dav.errors import DavError
from dav.names import c
from dav.scheduling import implicit
from dav.scheduling.model import MASTER
from dav.scheduling.plan import Plan

from .kit import ALICE, BOB, CAROL, obj, options, partstats, put, said, sequences, stored, text_of, who

MEETING = f"""
DTSTART:20260110T110000Z
ORGANIZER:{ALICE}
ATTENDEE:{BOB}
"""
PLAIN = "DTSTART:20260110T110000Z"
DAN = "mailto:dan@example.com"

# (object, the role of alice, of bob, of somebody else)
ROLES = [
    (PLAIN, "", "", ""),
    (f"{PLAIN}\nATTENDEE:{ALICE}\nATTENDEE:{BOB}", "", "", ""),
    (MEETING, "organizer", "attendee", ""),
    (f"{PLAIN}\nORGANIZER:{ALICE}", "organizer", "", ""),
    (f"{PLAIN}\nORGANIZER:{DAN}\nATTENDEE:{BOB}", "", "attendee", ""),
    (f"{PLAIN}\nORGANIZER:{DAN}\nATTENDEE:{CAROL}", "", "", ""),
    (f"{PLAIN}\nORGANIZER:MAILTO:Alice@EXAMPLE.org\nATTENDEE:{BOB}", "organizer", "attendee", ""),
    (f"{PLAIN}\nORGANIZER:mailto:%61lice%40example.org\nATTENDEE:Bob <bob@example.org>", "organizer", "attendee", ""),
    (f"{PLAIN}\nORGANIZER:/principals/alice/\nATTENDEE:https://dav.example.org/principals/bob", "organizer", "attendee",
     ""),
    (f"VFREEBUSY\nDTSTART:20260110T110000Z\nORGANIZER:{ALICE}\nATTENDEE:{BOB}", "", "", ""),
    (f"VTODO\nORGANIZER:{ALICE}\nATTENDEE:{BOB}", "organizer", "attendee", ""),
    (f"VJOURNAL\nORGANIZER:{ALICE}\nATTENDEE:{BOB}", "organizer", "attendee", ""),
]  # fmt: skip


@pytest.mark.parametrize(("text", "alice", "bob", "other"), ROLES)
def test_the_role_is_that_of_the_owner(text: str, alice: str, bob: str, other: str) -> None:
    found = obj(text)
    assert [implicit.role_of(found, who(name)) for name in ("alice", "bob", "eve")] == [alice, bob, other]


def test_nothing_and_other_addresses_have_no_role() -> None:
    assert implicit.role_of(None, who()) == ""
    found = obj(f"{PLAIN}\nORGANIZER:mailto:a.smith@example.org\nATTENDEE:{BOB}")
    assert implicit.role_of(found, who()) == ""
    assert implicit.role_of(found, who("alice", "mailto:a.smith@example.org")) == "organizer"


def test_an_attendee_of_one_instance_is_one() -> None:
    found = obj(f"{PLAIN}\nRRULE:FREQ=DAILY\nORGANIZER:{ALICE}", f"RECURRENCE-ID:20260111T110000Z\n{MEETING}")
    assert implicit.role_of(found, who("bob")) == "attendee"


def test_different_organizers_are_refused() -> None:
    series = f"{MEETING}\nRRULE:FREQ=DAILY"
    other = f"{PLAIN}\nRECURRENCE-ID:20260111T110000Z\nORGANIZER:{DAN}\nATTENDEE:{BOB}"
    for name in ("alice", "bob", "eve"):
        with pytest.raises(DavError) as error:
            put(None, obj(series, other), who(name))
        assert (error.value.status, error.value.condition) == (403, c("same-organizer-in-all-components"))
    # The same one in other letters is the same; a component that names none belongs to it (§3.2.4.2: when present).
    put(None, obj(series, other.replace(DAN, "MAILTO:ALICE@example.org")))
    put(None, obj(series, other.replace(f"ORGANIZER:{DAN}\n", "")))


def test_bug_f7_who_is_neither_sends_nothing() -> None:
    text = f"{MEETING}ATTENDEE:{CAROL}\nATTENDEE:{DAN}"
    eve = who("eve")
    plan = put(None, obj(text), eve)
    assert plan == Plan("", text_of(text).encode(), False, False, ())
    assert put(obj(text), obj(text.replace("T11", "T12")), eve).messages == ()
    assert put(obj(text), obj(PLAIN), eve).messages == ()
    assert implicit.plan_removal(obj(text), eve, options()).messages == ()


def test_bug_f7_copied_and_restored_is_silent() -> None:
    assert put(None, obj(MEETING), silent=True).messages == ()
    assert put(None, obj(MEETING), who("bob"), silent=True).messages == ()
    assert put(obj(MEETING), obj(MEETING)).messages == ()
    assert implicit.plan_removal(obj(MEETING), who("bob"), options(silent=True)).messages == ()


# Section 2: (stored, new, messages, role after)
TRANSITIONS = [
    (None, MEETING, ["REQUEST bob new"], "organizer"),
    (PLAIN, MEETING, ["REQUEST bob new"], "organizer"),
    (f"{PLAIN}\nATTENDEE:{BOB}", MEETING, ["REQUEST bob new"], "organizer"),
    (f"{PLAIN}\nORGANIZER:{DAN}\nATTENDEE:{BOB}", MEETING, ["REQUEST bob new"], "organizer"),
    (f"{PLAIN}\nORGANIZER:{ALICE}", MEETING, ["REQUEST bob new"], "organizer"),
    (MEETING, MEETING.replace("T11", "T12"), ["REQUEST bob time"], "organizer"),
    (MEETING, PLAIN, ["CANCEL bob cancelled"], ""),
    (MEETING, f"{PLAIN}\nATTENDEE:{BOB}", ["CANCEL bob cancelled"], ""),
    (MEETING, f"{PLAIN}\nORGANIZER:{ALICE}", ["CANCEL bob removed"], "organizer"),
    (PLAIN, PLAIN, [], ""),
    (None, PLAIN, [], ""),
]


@pytest.mark.parametrize(("old", "new", "messages", "role"), TRANSITIONS)
def test_a_put_is_create_modify_or_remove(old: str | None, new: str, messages: list[str], role: str) -> None:
    plan = put(None if old is None else obj(old), obj(new))
    assert said(plan.messages) == messages
    assert plan.role == role
    assert plan.body is not None


def test_an_attendee_replies_and_removal_of_the_organizer_is_a_removal() -> None:
    bob = who("bob")
    accepted = MEETING.replace(f"ATTENDEE:{BOB}", f"ATTENDEE;PARTSTAT=ACCEPTED:{BOB}")
    plan = put(obj(MEETING), obj(accepted), bob)
    assert plan.role == "attendee"
    assert [(message.method, message.recipient) for message in plan.messages] == [("REPLY", ALICE)]
    taken = put(obj(accepted), obj(PLAIN), bob)
    assert [(message.method, message.recipient) for message in taken.messages] == [("REPLY", ALICE)]
    assert taken.role == ""
    assert taken.body == text_of(PLAIN).encode()
    removal = implicit.plan_removal(obj(accepted), bob, options())
    assert [message.method for message in removal.messages] == ["REPLY"]
    assert implicit.plan_removal(obj(accepted), bob, options(reply=False)).messages == ()


@pytest.mark.parametrize("organizer", [BOB, DAN])
def test_an_attendee_cannot_change_the_organizer(organizer: str) -> None:
    with pytest.raises(DavError) as error:
        put(obj(MEETING), obj(MEETING.replace(ALICE, organizer)), who("bob"))
    assert (error.value.status, error.value.condition) == (403, c("allowed-attendee-scheduling-object-change"))


def test_an_address_that_came_later_invites_nobody_anew() -> None:
    alias = "mailto:a.smith@example.org"
    text = MEETING.replace(ALICE, alias).replace(f"ATTENDEE:{BOB}", f"ATTENDEE;PARTSTAT=ACCEPTED:{BOB}")
    plan = put(None, obj(text))
    assert plan.role == ""
    later = put(stored(plan), obj(text + "LOCATION:Room 1"), who("alice", alias))
    assert later.role == "organizer"
    assert said(later.messages) == ["REQUEST bob place"]
    assert b"PARTSTAT=ACCEPTED" in (later.body or b"")


def test_from_plain_to_meeting_the_number_does_not_fall() -> None:
    plan = put(obj(f"{PLAIN}\nSEQUENCE:4"), obj(f"{MEETING}\nSEQUENCE:1"))
    assert sequences(stored(plan)) == {MASTER: "4"}
    assert plan.altered


# ---- section 8: what was made elsewhere is not announced ----

IMPORTS = [
    ("with a status", MEETING.replace("ATTENDEE", "ATTENDEE;SCHEDULE-STATUS=1.1")),
    ("with an answer", MEETING.replace("ATTENDEE", "ATTENDEE;PARTSTAT=DECLINED")),
    ("changed two days ago", f"{MEETING}DTSTAMP:20251001T080000Z\nLAST-MODIFIED:20260102T080000Z"),
    ("written and made long ago", f"{MEETING}DTSTAMP:20251001T080000Z\nCREATED:20250901T080000Z"),
]


@pytest.mark.parametrize("text", [row[1] for row in IMPORTS], ids=[row[0] for row in IMPORTS])
def test_an_import_is_stored_as_it_is_and_sent_from_the_next_change_on(text: str) -> None:
    plan = put(None, obj(text))
    assert plan.role == "organizer"
    assert plan.messages == ()
    assert plan.body == text_of(text).encode()
    assert not plan.altered
    later = put(stored(plan), obj(text.replace("T11", "T12")))
    assert said(later.messages) == ["REQUEST bob time"]


@pytest.mark.parametrize("text", [row[1] for row in IMPORTS], ids=[row[0] for row in IMPORTS])
def test_who_does_not_want_that_sends_and_asks_everybody(text: str) -> None:
    plan = put(None, obj(text), imports=False)
    assert said(plan.messages) == ["REQUEST bob new"]
    assert b"SCHEDULE-STATUS" not in (plan.body or b"")
    assert b"DECLINED" not in (plan.body or b"")


NO_IMPORTS = [
    ("own answer", f"{MEETING}ATTENDEE;PARTSTAT=ACCEPTED:{ALICE}"),
    ("answer of a guest of the client", f"{MEETING}ATTENDEE;PARTSTAT=ACCEPTED;SCHEDULE-AGENT=CLIENT:{DAN}"),
    ("yesterday, offline", f"{MEETING}DTSTAMP:20260103T100000Z"),
    ("made long ago, written now", f"{MEETING}DTSTAMP:20251001T080000Z\nLAST-MODIFIED:20260104T085900Z"),
    ("a script whose DTSTAMP never changes", f"{MEETING}DTSTAMP:20210206T080000Z"),
    ("no times that can be read", f"{MEETING}DTSTAMP:20250101T000000"),
    ("to be told", MEETING.replace("ATTENDEE", "ATTENDEE;PARTSTAT=ACCEPTED;SCHEDULE-FORCE-SEND=REQUEST")),
]


@pytest.mark.parametrize("text", [row[1] for row in NO_IMPORTS], ids=[row[0] for row in NO_IMPORTS])
def test_what_is_made_here_is_no_import(text: str) -> None:
    assert said(put(None, obj(text)).messages) == ["REQUEST bob new"]


def test_a_guest_who_saves_an_invitation_answers_and_one_who_moves_house_does_not() -> None:
    accepted = MEETING.replace(f"ATTENDEE:{BOB}", f"ATTENDEE;PARTSTAT=ACCEPTED:{BOB}")
    bob = who("bob")
    assert [message.method for message in put(None, obj(accepted), bob).messages] == ["REPLY"]
    from_mail = f"{accepted}DTSTAMP:20251228T100000Z"
    assert [message.method for message in put(None, obj(from_mail), bob).messages] == ["REPLY"]
    moved = [
        f"{accepted}DTSTAMP:20251101T100000Z\nCREATED:20251101T100000Z",
        accepted.replace("ORGANIZER", "ORGANIZER;SCHEDULE-STATUS=2.0"),
    ]
    for text in moved:
        assert put(None, obj(text), bob).messages == ()
    assert len(put(None, obj(moved[0]), bob, imports=False).messages) == 1


TASK = f"""VTODO
SUMMARY:Report
ORGANIZER;CN=Alice:{ALICE}
ATTENDEE;PARTSTAT=ACCEPTED:{ALICE}
ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;SCHEDULE-STATUS=1.2:{BOB}
"""
BARE = "VTODO\nSUMMARY:Report\n"


@pytest.mark.parametrize("done", ["COMPLETED:20260103T100000Z", "STATUS:COMPLETED"])
def test_a_program_that_forgets_whose_task_it_is_when_it_is_done_cancels_it_for_nobody(done: str) -> None:
    plan = put(obj(TASK), obj(BARE + done))
    assert (plan.role, plan.altered) == ("organizer", True)
    assert [message.method for message in plan.messages if message.method != "REQUEST"] == []
    assert partstats(stored(plan)) == {"alice": "COMPLETED", "bob": "NEEDS-ACTION"}
    mine = obj(TASK.replace(";SCHEDULE-STATUS=1.2", ""))
    plan = put(mine, obj(BARE + done), who("bob"))
    assert said(plan.messages) == ["REPLY alice answer"]
    assert partstats(stored(plan)) == {"alice": "ACCEPTED", "bob": "COMPLETED"}
    assert done in (plan.body or b"").decode()


@pytest.mark.parametrize("after", [BARE, BARE + "PERCENT-COMPLETE:50", BARE.replace("VTODO", "VEVENT")])
def test_organizer_and_guests_can_be_taken_away_otherwise(after: str) -> None:
    before = TASK.replace("VTODO", after.split("\n")[0])
    assert said(put(obj(before), obj(after)).messages) == ["CANCEL bob cancelled"]


def test_of_a_task_that_was_done_before_they_can_be_taken_away_too() -> None:
    done = "STATUS:COMPLETED\n"
    assert said(put(obj(TASK + done), obj(BARE + done)).messages) == ["CANCEL bob cancelled"]
