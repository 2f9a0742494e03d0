"""Groups that are invited: their members are, and answer for themselves."""

from __future__ import annotations

import pytest

from dav.config import DirectoryConfig, SchedulingConfig
from storage import accounts, groups
from storage.engine import transaction
from tests.dsl import Client, Server
from tests.protocol.conftest import Serve
from tests.protocol.meeting import (
    answer,
    clear_inbox,
    copy_of,
    guest,
    meeting,
    members,
    methods,
    must,
    person,
    states,
    statuses,
)

X = "calendars/alice/calendar/x.ics"
TEAM = guest("team", more=";CUTYPE=GROUP")


@pytest.fixture
def alice(server: Server) -> Client:
    return person(server, "alice")


@pytest.fixture
def team(server: Server) -> Client:
    return person(server, "team", kind="group")


def joins(group: Client, *people: Client) -> None:
    with transaction(group.server.store, write=True) as conn:
        for one in people:
            groups.add_member(conn, account_id(group), account_id(one), now_s=1)


def account_id(client: Client) -> int:
    assert client.account is not None
    return client.account.id


def lines_of(client: Client, path: str = X) -> list[str]:
    return [line for line in client.get(path).text.replace("\r\n ", "").split("\r\n") if line.startswith("ATTENDEE")]


def test_who_is_in_an_invited_group_is_invited_and_answers_for_himself(
    server: Server, alice: Client, team: Client
) -> None:
    bob, cara = person(server, "bob"), person(server, "cara")
    joins(team, alice, bob, cara)
    body = meeting("m", "alice", TEAM)
    answered = alice.put(X, body)
    assert answered.status == 201
    assert "etag" not in answered.headers  # it is not what was sent
    mine = must(alice, "m")[1]
    assert states(mine) == dict.fromkeys(("team", "bob", "cara"), "NEEDS-ACTION") | {"alice": "ACCEPTED"}
    assert statuses(mine) | {"alice": None} == {"alice": None, "team": "2.7", "bob": "1.2", "cara": "1.2"}
    line = next(line for line in lines_of(alice) if line.endswith("bob@example.org"))
    assert line == (
        'ATTENDEE;CN=Bob;CUTYPE=INDIVIDUAL;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;MEMBER="mailto:team@example.org";'
        "SCHEDULE-STATUS=1.2:mailto:bob@example.org"
    )
    assert any(";CUTYPE=X-SERVER-GROUP" in line for line in lines_of(alice) if line.endswith("team@example.org"))
    # Nothing else of what was sent has changed.
    kept = [line for line in alice.get(X).text.replace("\r\n ", "").split("\r\n") if not line.startswith("ATTENDEE")]
    assert kept == [line for line in body.split("\r\n") if not line.startswith("ATTENDEE")]
    assert methods(bob) == methods(cara) == ["REQUEST"]
    assert members(team) == members(team, "inbox") == []
    assert answer(bob, "m", "ACCEPTED") in (200, 204)
    assert states(must(alice, "m")[1])["bob"] == "ACCEPTED"
    assert states(must(cara, "m")[1])["bob"] == "ACCEPTED"


def test_any_address_of_a_group_means_its_members(server: Server, alice: Client, team: Client) -> None:
    bob = person(server, "bob")
    joins(team, bob)
    alice.put(X, meeting("m", "alice", "ATTENDEE;CUTYPE=INDIVIDUAL:/dav/principals/team/"))
    assert copy_of(bob, "m") is not None


def test_people_in_groups_in_groups_come_once_and_rooms_not_at_all(server: Server, alice: Client, team: Client) -> None:
    bob, cara, room = person(server, "bob"), person(server, "cara"), person(server, "room", kind="room")
    inner, closed = person(server, "inner", kind="group"), person(server, "closed", kind="group")
    dora, gone = person(server, "dora"), person(server, "gone")
    joins(inner, bob, cara)
    joins(closed, dora)
    joins(team, inner, closed, cara, room, gone)
    with transaction(server.store, write=True) as conn:
        accounts.set_active(conn, account_id(closed), False)
        accounts.set_active(conn, account_id(gone), False)
    alice.put(X, meeting("m", "alice", TEAM, "cara"))
    assert sorted(states(must(alice, "m")[1])) == ["alice", "bob", "cara", "team"]
    assert len(lines_of(alice)) == 4
    assert members(room) == []
    # cara was invited by name, and stays so.
    assert not any("MEMBER" in line for line in lines_of(alice) if line.endswith("cara@example.org"))


def test_with_a_group_go_those_who_came_with_it(server: Server, alice: Client, team: Client) -> None:
    bob, cara = person(server, "bob"), person(server, "cara")
    joins(team, bob, cara)
    alice.put(X, meeting("m", "alice", TEAM, "cara"))
    clear_inbox(bob)
    left = [line for line in alice.get(X).text.replace("\r\n ", "").split("\r\n") if "SERVER-GROUP" not in line]
    assert alice.put(X, "\r\n".join(left)).status == 204
    assert sorted(states(must(alice, "m")[1])) == ["alice", "cara"]
    assert methods(bob) == ["CANCEL"]


def test_who_joins_a_group_is_invited_with_the_next_change(server: Server, alice: Client, team: Client) -> None:
    bob, cara = person(server, "bob"), person(server, "cara")
    joins(team, bob)
    alice.put(X, meeting("m", "alice", TEAM))
    answer(bob, "m", "ACCEPTED")
    joins(team, cara)
    assert copy_of(cara, "m") is None
    clear_inbox(bob)
    # From a program that has not read what was added: bob and his answer stay.
    assert alice.put(X, meeting("m", "alice", TEAM, summary="Coffee")).status == 204
    assert states(must(alice, "m")[1]) == {
        "alice": "ACCEPTED", "team": "NEEDS-ACTION", "bob": "ACCEPTED", "cara": "NEEDS-ACTION",
    }  # fmt: skip
    assert methods(bob) == methods(cara) == ["REQUEST"]


def test_nobody_is_asked_into_what_is_over(server: Server, alice: Client, team: Client) -> None:
    bob, cara = person(server, "bob"), person(server, "cara")
    joins(team, bob)
    past = "20261110T150000Z"
    alice.put(X, meeting("m", "alice", TEAM, start=past))
    joins(team, cara)
    alice.put(X, meeting("m", "alice", TEAM, start=past, summary="Notes"))
    assert sorted(states(must(alice, "m")[1])) == ["alice", "bob", "team"]
    assert copy_of(cara, "m") is None


def test_an_override_that_names_a_group_has_its_members_too(server: Server, alice: Client, team: Client) -> None:
    bob = person(server, "bob")
    joins(team, bob)
    override = meeting(
        "m", "alice", TEAM, start="20261208T160000Z", more="RECURRENCE-ID:20261208T150000Z\r\n"
    ).partition("BEGIN:VEVENT")[2].partition("END:VEVENT")[0]  # fmt: skip
    after = f"BEGIN:VEVENT{override}END:VEVENT\r\n"
    alice.put(X, meeting("m", "alice", "dora", more="RRULE:FREQ=WEEKLY;COUNT=3\r\n", after=after))
    mine = must(alice, "m")[1]
    assert sorted(states(mine)) == ["alice", "dora"]
    assert sorted(states(mine, "20261208T150000Z")) == ["alice", "bob", "team"]
    assert list(must(bob, "m")[1].parts) == ["20261208T150000Z"]


def test_removing_the_meeting_calls_off_the_members(server: Server, alice: Client, team: Client) -> None:
    bob = person(server, "bob")
    joins(team, bob)
    alice.put(X, meeting("m", "alice", TEAM))
    clear_inbox(bob)
    assert alice.delete(X).status == 204
    assert methods(bob) == ["CANCEL"]
    assert members(team, "inbox") == []


@pytest.mark.parametrize(
    ("inside", "group_members", "visible", "expanded"),
    [(2, 2, True, True), (0, 2, True, False), (2, 1, True, False), (2, 0, True, False), (2, 2, False, False)],
)
def test_otherwise_a_group_is_invited_at_its_own_calendar(
    serve: Serve, inside: int, group_members: int, visible: bool, expanded: bool
) -> None:
    scheduling, directory = SchedulingConfig(group_members=group_members), DirectoryConfig(visible=visible)
    server = serve(scheduling=scheduling, directory=directory)
    alice, team = person(server, "alice"), person(server, "team", kind="group")
    people = [person(server, name) for name in ("bob", "cara")]
    joins(team, *people[:inside])
    alice.put(X, meeting("m", "alice", TEAM))
    assert (len(states(must(alice, "m")[1])) == 4) == expanded
    assert (copy_of(team, "m") is None) == (copy_of(people[0], "m") is not None) == expanded


def test_only_who_belongs_to_a_group_invites_its_members_where_people_are_not_to_be_seen(serve: Serve) -> None:
    server = serve(directory=DirectoryConfig(visible=False))
    alice, team, bob = person(server, "alice"), person(server, "team", kind="group"), person(server, "bob")
    joins(team, bob)
    alice.put(X, meeting("m", "alice", TEAM))
    assert copy_of(bob, "m") is None
    joins(team, alice)
    alice.put("calendars/alice/calendar/y.ics", meeting("n", "alice", TEAM))
    assert copy_of(bob, "n") is not None
    # What the group has in its own calendar is kept up there.
    alice.put(X, meeting("m", "alice", TEAM, summary="Coffee"))
    assert "SUMMARY:Coffee" in team.get(must(team, "m")[0]).text


def test_what_was_told_elsewhere_is_not_told_to_a_group(server: Server, alice: Client, team: Client) -> None:
    bob = person(server, "bob")
    joins(team, bob)
    body = meeting("m", "alice", TEAM, stamp="20260101T100000Z", more="CREATED:20260101T100000Z\r\n")
    answered = alice.put(X, body)
    assert answered.status == 201
    assert alice.get(X).text == body
    assert copy_of(bob, "m") is None


def test_an_answer_to_a_group_that_invites_reaches_it(server: Server, alice: Client, team: Client) -> None:
    bob = person(server, "bob")
    joins(team, bob)
    team.put("calendars/team/calendar/x.ics", meeting("m", "team", "alice"))
    answer(alice, "m", "DECLINED")
    assert states(must(team, "m")[1])["alice"] == "DECLINED"
