"""What becomes of messages that arrive: cancelled meetings, what cannot be stored, series that are not here."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dav.config import Limits, MailConfig, SchedulingConfig, SmtpConfig
from tests.protocol.conftest import Serve
from tests.protocol.meeting import clear_inbox, copy_of, guest, inbox, meeting, members, methods, must, person, states
from tests.protocol.test_scheduling_deliver import ledger, message, receive

X = "calendars/alice/calendar/x.ics"


@pytest.mark.parametrize("hidden", [False, True])
def test_a_meeting_that_is_called_off_stays_as_cancelled_or_goes_as_the_setting_says(
    serve: Serve, hidden: bool
) -> None:
    server = serve(scheduling=SchedulingConfig(hide_cancelled=hidden))
    alice, bob = person(server, "alice"), person(server, "bob")
    alice.put(X, meeting("m", "alice", "bob"))
    clear_inbox(bob)
    assert alice.delete(X).status == 204
    # He is told in any case.
    assert methods(bob) == ["CANCEL"]
    if hidden:
        assert copy_of(bob, "m") is None
    else:
        master = must(bob, "m")[1].master
        assert master is not None
        assert master.value("STATUS") == "CANCELLED"


def test_what_a_mail_would_make_too_large_to_be_stored_is_refused_and_not_called_applied(serve: Serve) -> None:
    server = serve(limits=replace(Limits(), attendees=3))
    alice = person(server, "alice")
    few = message("REQUEST", "few", "zoe@elsewhere.example", "alice", "bob@elsewhere.example")
    assert receive(alice, few, sender="zoe@elsewhere.example").outcome == "applied"
    clear_inbox(alice)
    many = message(
        "REQUEST", "few", "zoe@elsewhere.example", "alice", *(f"guest{n}@elsewhere.example" for n in range(5)),
        sequence=1, stamp="20261119T120000Z",
    )  # fmt: skip
    path = must(alice, "few")[0]
    before = alice.get(path).body
    found = receive(alice, many, sender="zoe@elsewhere.example")
    assert (found.outcome, found.status, found.notice) == ("refused", "5.3", False)
    assert alice.get(path).body == before
    assert inbox(alice) == []
    # Nothing was remembered of it: a smaller one of the same number still counts.
    fewer = few.replace(b"SEQUENCE:0", b"SEQUENCE:1").replace(b"SUMMARY:Tea", b"SUMMARY:Late tea")
    assert receive(alice, fewer, sender="zoe@elsewhere.example").outcome == "applied"
    master = must(alice, "few")[1].master
    assert master is not None
    assert master.value("SUMMARY") == "Late tea"


def test_who_lacks_the_series_of_an_added_instance_asks_for_it_by_mail(serve: Serve) -> None:
    server = serve(
        smtp=SmtpConfig(host="mail.example.org"), mail=MailConfig(from_address="invites@example.org", settle_seconds=30)
    )
    alice = person(server, "alice")
    added = message("ADD", "series", "zoe@elsewhere.example", "alice", more="RECURRENCE-ID:20261201T150000Z\r\n")
    for _ in range(2):
        receive(alice, added, sender="zoe@elsewhere.example")
    (row,) = ledger(server)
    assert (row.method, row.recipient, row.sender) == ("REFRESH", "zoe@elsewhere.example", "alice@example.org")
    assert members(alice) == []
    # By somebody who is not known nobody is asked anything.
    receive(alice, added.replace(b"UID:series", b"UID:spam"), sender="zoe@elsewhere.example", known=False)
    assert len(ledger(server)) == 1


def test_an_answer_is_shown_to_the_guests_here_and_costs_nothing_for_those_elsewhere(serve: Serve) -> None:
    server = serve()
    alice, _, carol = (person(server, name) for name in ("alice", "bob", "carol"))
    others = [f"guest{n}@elsewhere.example" for n in range(20)]
    alice.put(X, meeting("m", "alice", "bob", "carol", *others))
    found = receive(alice, message("REPLY", "m", "alice", guest("bob", "ACCEPTED")), sender="bob")
    assert [one.recipient for one in found.messages] == ["mailto:carol@example.org"]
    assert states(must(carol, "m")[1])["bob"] == "ACCEPTED"
    assert states(must(alice, "m")[1])["bob"] == "ACCEPTED"


def test_a_room_s_copy_says_what_became_of_its_answer(serve: Serve) -> None:
    """RFC 6638 §3.2.9, as for guests who answer themselves."""
    server = serve()
    alice, room = person(server, "alice"), person(server, "room", kind="room")
    alice.put(X, meeting("m", "alice", "room"))
    (line,) = must(room, "m")[1].parts[""].all("ORGANIZER")
    assert line.param("SCHEDULE-STATUS") == "1.2"
    assert states(must(room, "m")[1])["room"] == "ACCEPTED"


def test_what_is_announced_as_by_calendar_server_is_announced_here_only(serve: Serve) -> None:
    server = serve(
        smtp=SmtpConfig(host="mail.example.org"),
        mail=MailConfig(from_address="invites@example.org", settle_seconds=30),
        scheduling=SchedulingConfig(like_calendar_server=True),
    )
    alice, bob = person(server, "alice"), person(server, "bob")
    series = "RRULE:FREQ=DAILY;COUNT=5\r\n"
    alice.put(X, meeting("m", "alice", "bob", "zoe@elsewhere.example", more=series))
    clear_inbox(bob)
    left_out = series + "EXDATE:20261203T150000Z\r\n"
    alice.put(X, meeting("m", "alice", "bob", "zoe@elsewhere.example", more=left_out))
    assert methods(bob) == ["CANCEL", "REQUEST"]
    before = [(row.recipient, row.changes) for row in ledger(server)]
    assert [recipient for recipient, _ in before] == ["zoe@elsewhere.example"]
    clear_inbox(bob)
    alice.put(X, meeting("m", "alice", "bob", "zoe@elsewhere.example", "yan@elsewhere.example", more=left_out))
    assert methods(bob) == ["REQUEST"]
    now = [(row.recipient, row.changes) for row in ledger(server)]
    assert sorted(now) == [("yan@elsewhere.example", ("new",)), *before]


def test_what_is_called_off_goes_from_the_calendar_of_a_room_that_answers_by_itself(serve: Serve) -> None:
    server = serve()
    alice, room = person(server, "alice"), person(server, "room", kind="room")
    series = "RRULE:FREQ=DAILY;COUNT=5\r\n"
    alice.put(X, meeting("m", "alice", "room", more=series))
    alice.put(X, meeting("m", "alice", "room", more=series + "EXDATE:20261203T150000Z\r\n"))
    found = must(room, "m")[1]
    assert list(found.parts) == [""]
    assert found.exdates() == {"20261203T150000Z"}
    alice.delete(X)
    assert copy_of(room, "m") is None
