"""Rooms and resources answer by themselves, and nobody gets what somebody else has."""

from __future__ import annotations

import pytest

from storage import itip
from storage.engine import transaction
from storage.records import Booking
from tests.dsl import Client, Server
from tests.protocol.meeting import answer, clear_inbox, guest, meeting, members, must, person, states, statuses

X = "calendars/alice/calendar/x.ics"


@pytest.fixture
def alice(server: Server) -> Client:
    return person(server, "alice")


@pytest.fixture
def bob(server: Server) -> Client:
    return person(server, "bob")


@pytest.fixture
def room(server: Server) -> Client:
    return person(server, "room", kind="room")


def set_rule(room: Client, **changes: object) -> None:
    assert room.account is not None
    with transaction(room.server.store, write=True) as conn:
        itip.set_booking(conn, Booking(room.account.id, **changes))  # type: ignore[arg-type]


def test_a_free_room_accepts_within_the_request(alice: Client, bob: Client, room: Client) -> None:
    assert alice.put(X, meeting("m", "alice", "bob", "room")).status == 201
    mine = must(alice, "m")[1]
    assert states(mine) == {"alice": "ACCEPTED", "bob": "NEEDS-ACTION", "room": "ACCEPTED"}
    assert statuses(mine)["room"] == "2.0"
    assert states(must(room, "m")[1])["room"] == "ACCEPTED"
    assert states(must(bob, "m")[1])["room"] == "ACCEPTED"
    assert members(room, "inbox") == []


def test_a_taken_room_declines_and_stays_as_it_was(alice: Client, bob: Client, room: Client) -> None:
    alice.put(X, meeting("m", "alice", "room"))
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room", start="20261201T153000Z"))
    assert states(must(bob, "n")[1])["room"] == "DECLINED"
    # What was declined does not block a third one that only meets that.
    bob.put("calendars/bob/calendar/z.ics", meeting("o", "bob", "room", start="20261201T160000Z"))
    assert states(must(bob, "o")[1])["room"] == "ACCEPTED"


def test_moving_a_meeting_asks_the_room_again(alice: Client, bob: Client, room: Client) -> None:
    alice.put(X, meeting("m", "alice", "room"))
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room", start="20261201T170000Z"))
    # Into its own old time: that is no conflict.
    alice.put(X, meeting("m", "alice", "room", start="20261201T153000Z"))
    assert states(must(alice, "m")[1])["room"] == "ACCEPTED"
    alice.put(X, meeting("m", "alice", "room", start="20261201T163000Z"))
    assert states(must(alice, "m")[1])["room"] == "DECLINED"
    alice.put(X, meeting("m", "alice", "room", start="20261201T120000Z"))
    assert states(must(alice, "m")[1])["room"] == "ACCEPTED"
    assert must(room, "m")[1].parts[""].value("TRANSP") is None


def test_a_cancelled_meeting_frees_the_room(alice: Client, bob: Client, room: Client) -> None:
    alice.put(X, meeting("m", "alice", "room"))
    alice.delete(X)
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room"))
    assert states(must(bob, "n")[1])["room"] == "ACCEPTED"


DAILY = "RRULE:FREQ=DAILY;COUNT=5\r\n"


def test_a_series_with_a_conflict_is_declined_as_a_whole(alice: Client, bob: Client, room: Client) -> None:
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room", start="20261203T150000Z"))
    alice.put(X, meeting("m", "alice", "room", more=DAILY))
    assert states(must(alice, "m")[1])["room"] == "DECLINED"


def test_a_series_is_declined_in_part_when_the_room_says_so(alice: Client, bob: Client, room: Client) -> None:
    set_rule(room, conflicts="partial")
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room", start="20261203T150000Z"))
    alice.put(X, meeting("m", "alice", "room", more=DAILY))
    mine = must(alice, "m")[1]
    assert states(mine)["room"] == "ACCEPTED"
    assert states(mine, "20261203T150000Z")["room"] == "DECLINED"
    # The declined instance leaves the room to whoever has it; the others are taken.
    bob.put("calendars/bob/calendar/z.ics", meeting("o", "bob", "room", start="20261204T150000Z"))
    assert states(must(bob, "o")[1])["room"] == "DECLINED"


@pytest.mark.parametrize(("mode", "expected"), [("accept", "ACCEPTED"), ("decline", "DECLINED"), ("manual", None)])
def test_a_rule_decides_without_looking(alice: Client, bob: Client, room: Client, mode: str, expected: str) -> None:
    set_rule(room, mode=mode)
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room"))
    alice.put(X, meeting("m", "alice", "room"))
    assert states(must(alice, "m")[1])["room"] == (expected or "NEEDS-ACTION")
    assert len(members(room, "inbox")) == (0 if expected else 2)


def test_whoever_keeps_a_room_overrules(alice: Client, room: Client) -> None:
    alice.put(X, meeting("m", "alice", "room"))
    assert answer(room, "m", "DECLINED") == 204
    assert states(must(alice, "m")[1])["room"] == "DECLINED"


def test_a_room_whose_hours_are_over_declines(alice: Client, room: Client) -> None:
    hours = (
        "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VAVAILABILITY\nUID:a\nDTSTAMP:20261101T000000Z\n"
        "BEGIN:AVAILABLE\nUID:b\nDTSTAMP:20261101T000000Z\nDTSTART:20261101T080000Z\nDTEND:20261101T120000Z\n"
        "RRULE:FREQ=DAILY\nEND:AVAILABLE\nEND:VAVAILABILITY\nEND:VCALENDAR\n"
    )
    value = f"<D:set><D:prop><C:calendar-availability>{hours}</C:calendar-availability></D:prop></D:set>"
    assert "200" in room.proppatch("calendars/room/inbox/", value).text
    alice.put(X, meeting("m", "alice", "room"))
    assert states(must(alice, "m")[1])["room"] == "DECLINED"
    alice.put("calendars/alice/calendar/y.ics", meeting("n", "alice", "room", start="20261201T090000Z"))
    assert states(must(alice, "n")[1])["room"] == "ACCEPTED"


def test_an_endless_series_and_far_times_have_bounds(alice: Client, room: Client) -> None:
    set_rule(room, horizon_days=100)
    alice.put(X, meeting("m", "alice", "room", more="RRULE:FREQ=DAILY\r\n"))
    assert states(must(alice, "m")[1])["room"] == "ACCEPTED"
    alice.put("calendars/alice/calendar/y.ics", meeting("n", "alice", "room", start="20271101T090000Z"))
    assert states(must(alice, "n")[1])["room"] == "DECLINED"
    alice.put("calendars/alice/calendar/z.ics", meeting("o", "alice", "room", more="RRULE:FREQ=MINUTELY\r\n"))
    assert states(must(alice, "o")[1])["room"] == "DECLINED"


def test_two_organizers_at_once_never_both_get_the_room(server: Server, room: Client) -> None:
    people = [person(server, f"p{number}") for number in range(6)]
    for attempt in range(4):
        start = f"202612{attempt + 1:02}T100000Z"
        requests = [
            one.prepare("PUT", f"calendars/{one.name}/calendar/{attempt}.ics",
                        meeting(f"{one.name}-{attempt}", one.name, "room", start=start))
            for one in people
        ]  # fmt: skip
        assert {answer.status for answer in server.together(*requests)} == {201}
        got = [states(must(one, f"{one.name}-{attempt}")[1])["room"] for one in people]
        assert sorted(got) == ["ACCEPTED"] + ["DECLINED"] * 5
    busy = [path for path in members(room) if "ACCEPTED:mailto:room" in room.get(path).text.replace("\r\n ", "")]
    assert len(busy) == 4


def test_people_who_invite_each_other_at_once_all_get_through(server: Server) -> None:
    people = [person(server, f"p{number}") for number in range(5)]
    names = [one.name for one in people]
    for attempt in range(3):
        requests = [
            one.prepare("PUT", f"calendars/{one.name}/calendar/{attempt}.ics",
                        meeting(f"{one.name}-{attempt}", one.name, *(n for n in names if n != one.name)))
            for one in people
        ]  # fmt: skip
        assert {answer.status for answer in server.together(*requests)} == {201}
    for one in people:
        assert len(members(one)) == 15
        assert len(members(one, "inbox")) == 12
        clear_inbox(one)


def test_a_guest_of_kind_room_by_any_of_its_addresses_is_the_room(alice: Client, room: Client) -> None:
    line = guest("room", more=";CUTYPE=ROOM").replace("mailto:room@example.org", "MAILTO:Room@Example.org")
    alice.put(X, meeting("m", "alice", line))
    assert states(must(alice, "m")[1])["room"] == "ACCEPTED"
    alice.put(
        "calendars/alice/calendar/y.ics",
        meeting(
            "n", "alice", line.replace("MAILTO:Room@Example.org", "/dav/principals/room/"), start="20261209T100000Z"
        ),
    )
    mine = must(alice, "n")[1]
    assert [one.param("PARTSTAT") for one in mine.parts[""].all("ATTENDEE")] == ["ACCEPTED", "ACCEPTED"]
