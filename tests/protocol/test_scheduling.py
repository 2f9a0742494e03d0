"""Invitations between people here: implicit scheduling (RFC 6638 §3) from request to request."""

from __future__ import annotations

import pytest

from dav.names import c
from tests.dsl import Client, Server
from tests.protocol.meeting import (
    answer,
    calendar,
    clear_inbox,
    copy_of,
    guest,
    inbox,
    meeting,
    members,
    methods,
    must,
    person,
    states,
    statuses,
)


@pytest.fixture
def alice(server: Server) -> Client:
    return person(server, "alice")


@pytest.fixture
def bob(server: Server) -> Client:
    return person(server, "bob")


@pytest.fixture
def carol(server: Server) -> Client:
    return person(server, "carol")


X = "calendars/alice/calendar/x.ics"


def test_an_invitation_is_in_calendar_and_inbox_at_once(alice: Client, bob: Client) -> None:
    stored = alice.put(X, meeting("m", "alice", "bob"))
    assert stored.status == 201
    assert "etag" not in stored.headers  # SCHEDULE-STATUS was added: RFC 4791 §5.3.4
    assert stored.headers["schedule-tag"]
    path, copy = must(bob, "m")
    assert states(copy) == {"alice": "ACCEPTED", "bob": "NEEDS-ACTION"}
    assert copy.calendar.value("METHOD") is None
    (item,) = inbox(bob)
    assert (item.value("METHOD"), item.components[0].value("UID")) == ("REQUEST", "m")
    assert bob.get(path).headers["schedule-tag"]
    assert methods(alice) == []
    mine = must(alice, "m")[1]
    assert statuses(mine) == {"alice": None, "bob": "1.2"}


def test_an_answer_reaches_the_organizer_and_the_others(alice: Client, bob: Client, carol: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob", "carol"))
    clear_inbox(carol)
    tag = alice.get(X).headers["schedule-tag"]
    theirs = carol.get(must(carol, "m")[0]).headers["schedule-tag"]
    assert answer(bob, "m", "ACCEPTED") in (200, 204)
    assert states(must(alice, "m")[1])["bob"] == "ACCEPTED"
    assert methods(alice) == ["REPLY"]
    # RFC 6638 §3.2.10: neither tag changes by an answer.
    assert alice.get(X).headers["schedule-tag"] == tag
    path, copy = must(carol, "m")
    assert states(copy)["bob"] == "ACCEPTED"
    assert carol.get(path).headers["schedule-tag"] == theirs
    assert methods(carol) == []  # quietly
    organizer = must(bob, "m")[1].parts[""].first("ORGANIZER")
    assert organizer is not None
    assert (organizer.param("SCHEDULE-STATUS") or "").startswith("1.2")


def test_a_change_reaches_the_guests_and_asks_again(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    answer(bob, "m", "ACCEPTED")
    clear_inbox(bob)
    moved = meeting("m", "alice", guest("bob", "ACCEPTED"), start="20261202T150000Z")
    assert alice.put(X, moved).status == 204
    copy = must(bob, "m")[1]
    assert copy.parts[""].value("DTSTART") == "20261202T150000Z"
    assert states(copy)["bob"] == "NEEDS-ACTION"
    assert copy.sequence == 1
    assert methods(bob) == ["REQUEST"]


def test_the_same_bytes_again_tell_nobody(alice: Client, bob: Client) -> None:
    body = meeting("m", "alice", "bob")
    alice.put(X, body)
    clear_inbox(bob)
    before = alice.get(X)
    assert alice.put(X, body).status == 204  # what the client sent
    assert alice.put(X, before.body).status == 204  # what it read
    assert methods(bob) == []
    assert alice.get(X).etag == before.etag


def test_deleting_a_meeting_cancels_it(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    clear_inbox(bob)
    assert alice.delete(X).status == 204
    assert must(bob, "m")[1].parts[""].value("STATUS") == "CANCELLED"
    assert methods(bob) == ["CANCEL"]


def test_a_guest_who_is_taken_out_is_told(alice: Client, bob: Client, carol: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob", "carol"))
    clear_inbox(bob)
    assert alice.put(X, meeting("m", "alice", "carol")).status == 204
    assert methods(bob) == ["CANCEL"]
    assert "bob" not in states(must(carol, "m")[1])


def test_a_guest_who_deletes_declines(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    assert bob.delete(must(bob, "m")[0]).status == 204
    assert states(must(alice, "m")[1])["bob"] == "DECLINED"


def test_schedule_reply_f_keeps_a_deletion_quiet(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    assert bob.delete(must(bob, "m")[0], schedule_reply="F").status == 204
    assert states(must(alice, "m")[1])["bob"] == "NEEDS-ACTION"
    assert methods(alice) == []


def test_one_instance_can_be_declined(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob", more="RRULE:FREQ=DAILY;COUNT=5\r\n"))
    path, _ = must(bob, "m")
    body = bob.get(path).text.replace("\r\n ", "")
    override = (
        "BEGIN:VEVENT\r\nUID:m\r\nDTSTAMP:20261118T100000Z\r\nRECURRENCE-ID:20261203T150000Z\r\n"
        "DTSTART:20261203T150000Z\r\nDURATION:PT1H\r\nSUMMARY:Tea\r\nORGANIZER:mailto:alice@example.org\r\n"
        f"{guest('alice', 'ACCEPTED')}\r\n{guest('bob', 'DECLINED')}\r\nEND:VEVENT\r\n"
    )
    assert bob.put(path, body.replace("END:VCALENDAR", override + "END:VCALENDAR")).status == 204
    mine = must(alice, "m")[1]
    assert states(mine, "20261203T150000Z")["bob"] == "DECLINED"
    assert states(mine)["bob"] == "NEEDS-ACTION"


def test_one_instance_can_be_cancelled(alice: Client, bob: Client) -> None:
    body = meeting("m", "alice", "bob", more="RRULE:FREQ=DAILY;COUNT=5\r\n")
    alice.put(X, body)
    clear_inbox(bob)
    alice.put(X, body.replace("RRULE", "EXDATE:20261203T150000Z\r\nRRULE"))
    assert must(bob, "m")[1].parts["20261203T150000Z"].value("STATUS") == "CANCELLED"
    assert methods(bob) == ["CANCEL"] or methods(bob) == ["CANCEL", "REQUEST"] or methods(bob) == ["REQUEST"]


def test_a_guest_of_one_instance_sees_only_that(alice: Client, bob: Client, carol: Client) -> None:
    override = (
        "BEGIN:VEVENT\r\nUID:m\r\nDTSTAMP:20261118T100000Z\r\nRECURRENCE-ID:20261203T150000Z\r\n"
        "DTSTART:20261203T160000Z\r\nDURATION:PT1H\r\nSUMMARY:Tea\r\nORGANIZER:mailto:alice@example.org\r\n"
        f"{guest('alice', 'ACCEPTED')}\r\n{guest('bob')}\r\n{guest('carol')}\r\nEND:VEVENT\r\n"
    )
    alice.put(X, meeting("m", "alice", "bob", more="RRULE:FREQ=DAILY;COUNT=5\r\n", after=override))
    assert list(must(carol, "m")[1].parts) == ["20261203T150000Z"]
    assert set(must(bob, "m")[1].parts) == {"", "20261203T150000Z"}


def test_schedule_agent_client_keeps_the_server_out(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", guest("bob", more=";SCHEDULE-AGENT=CLIENT")))
    assert copy_of(bob, "m") is None
    assert statuses(must(alice, "m")[1])["bob"] is None


def test_somebody_elsewhere_without_mail_has_a_true_status(alice: Client) -> None:
    alice.put(
        X, meeting("m", "alice", "zoe@elsewhere.example", guest("x").replace("mailto:x@example.org", "urn:uuid:7"))
    )
    found = statuses(must(alice, "m")[1])
    assert found["zoe"] == "5.2"
    assert found["urn:uuid:7"] == "3.7"


def test_people_who_are_in_no_meeting_get_nothing(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "dave", "bob"))  # somebody else's: a copy from somewhere
    assert copy_of(bob, "m") is None
    assert "schedule-tag" not in alice.get(X).headers


# ---- tags and preconditions ----


def test_if_schedule_tag_match_merges_answers(alice: Client, bob: Client, carol: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob", "carol"))
    read = alice.get(X)
    answer(bob, "m", "ACCEPTED")
    body = read.text.replace("SUMMARY:Tea", "SUMMARY:Coffee")
    assert alice.put(X, body, if_match=read.etag).status == 412
    assert alice.put(X, body, if_schedule_tag_match=read.headers["schedule-tag"]).status == 204
    mine = must(alice, "m")[1]
    assert states(mine)["bob"] == "ACCEPTED"
    assert mine.parts[""].value("SUMMARY") == "Coffee"
    assert alice.put(X, body, if_schedule_tag_match=read.headers["schedule-tag"]).status == 412
    assert alice.delete(X, if_schedule_tag_match='"other"').status == 412
    assert alice.delete(X, if_schedule_tag_match=alice.get(X).headers["schedule-tag"]).status == 204


def test_a_guests_own_answer_over_http_gives_his_copy_a_new_schedule_tag(alice: Client, bob: Client) -> None:
    """RFC 6638 §3.2.10, third rule for an attendee's copy; python-caldav's tests want the tag kept."""
    alice.put(X, meeting("m", "alice", "bob"))
    path, _ = must(bob, "m")
    seen = {bob.get(path).headers["schedule-tag"]}
    for partstat in ("ACCEPTED", "TENTATIVE", "DECLINED"):
        assert answer(bob, "m", partstat) == 204
        seen.add(bob.get(path).headers["schedule-tag"])
    assert len(seen) == 4


def test_the_schedule_tag_is_a_property(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    alice.put("calendars/alice/calendar/plain.ics", meeting("plain", ""))
    tag = alice.get(X).headers["schedule-tag"]
    for names in ([c("schedule-tag")], ["{DAV:}getetag", c("schedule-tag")]):
        found = alice.propfind(calendar(alice), names, depth=1)
        assert found["/dav/" + X][c("schedule-tag")].text == tag
        assert c("schedule-tag") not in found["/dav/calendars/alice/calendar/plain.ics"]
    answers = alice.propfind_raw(calendar(alice), ["{DAV:}getetag", c("schedule-tag")], depth=1)
    plain = next(r for r in answers.xml if r.findtext("{DAV:}href", "").endswith("plain.ics"))
    assert [s.text for s in plain.iter("{DAV:}status")] == ["HTTP/1.1 200 OK", "HTTP/1.1 404 Not Found"]


def test_a_uid_stands_once_in_a_home(alice: Client, bob: Client) -> None:
    alice.mkcalendar("calendars/alice/two/")
    alice.put(X, meeting("m", "alice", "bob"))
    other = "calendars/alice/two/y.ics"
    refused = alice.put(other, meeting("m", "alice", "bob", start="20261205T100000Z"))
    assert (refused.status, refused.condition) == (403, c("unique-scheduling-object-resource"))
    assert refused.error_hrefs == ["/dav/" + X]
    refused = alice.copy(X, other)
    assert (refused.status, refused.condition) == (403, c("unique-scheduling-object-resource"))


def test_a_client_may_move_by_put_and_delete(alice: Client, bob: Client) -> None:
    alice.mkcalendar("calendars/alice/two/")
    alice.put(X, meeting("m", "alice", "bob"))
    clear_inbox(bob)
    assert alice.put("calendars/alice/two/y.ics", alice.get(X).body).status == 201
    assert alice.delete(X).status == 204
    assert methods(bob) == []
    assert must(bob, "m")[1].parts[""].value("STATUS") is None
    assert answer(bob, "m", "ACCEPTED") == 204
    assert states(must(alice, "m", "two")[1])["bob"] == "ACCEPTED"


def test_move_tells_nobody(alice: Client, bob: Client) -> None:
    alice.mkcalendar("calendars/alice/two/")
    alice.put(X, meeting("m", "alice", "bob"))
    tag = alice.get(X).headers["schedule-tag"]
    clear_inbox(bob)
    moved = alice.move(X, "calendars/alice/two/y.ics")
    assert (moved.status, moved.headers["schedule-tag"]) == (201, tag)
    assert methods(bob) == []


def test_moving_a_meeting_out_of_the_calendars_cancels_it(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    clear_inbox(bob)
    assert alice.move(X, "files/alice/x.ics").status == 201
    assert methods(bob) == ["CANCEL"]
    clear_inbox(bob)
    assert alice.move("files/alice/x.ics", X).status == 201


def test_the_organizer_cannot_change(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    refused = alice.put(X, meeting("m", "bob", "alice"))
    assert (refused.status, refused.condition) == (403, c("allowed-organizer-scheduling-object-change"))
    path, _ = must(bob, "m")
    body = bob.get(path).text.replace("DTSTART:20261201T150000Z", "DTSTART:20261201T170000Z")
    refused = bob.put(path, body)
    assert (refused.status, refused.condition) == (403, c("allowed-attendee-scheduling-object-change"))


def test_two_organizers_in_one_object_are_refused(alice: Client) -> None:
    override = (
        "BEGIN:VEVENT\r\nUID:m\r\nDTSTAMP:20261118T100000Z\r\nRECURRENCE-ID:20261203T150000Z\r\n"
        "DTSTART:20261203T160000Z\r\nSUMMARY:Tea\r\nORGANIZER:mailto:bob@example.org\r\nEND:VEVENT\r\n"
    )
    refused = alice.put(X, meeting("m", "alice", "bob", more="RRULE:FREQ=DAILY\r\n", after=override))
    assert (refused.status, refused.condition) == (403, c("same-organizer-in-all-components"))


def test_taking_the_organizer_away_cancels(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    clear_inbox(bob)
    assert alice.put(X, meeting("m", "", sequence=5)).status == 204
    assert methods(bob) == ["CANCEL"]
    assert "schedule-tag" not in alice.get(X).headers


def test_post_to_a_calendar_invites(alice: Client, bob: Client) -> None:
    made = alice.post(calendar(alice), meeting("m", "alice", "bob"), content_type="text/calendar")
    assert made.status == 201
    assert made.headers["schedule-tag"]
    assert copy_of(bob, "m") is not None


# ---- whole calendars, defaults ----


def test_deleting_a_calendar_cancels_own_meetings_and_says_nothing_for_guests(alice: Client, bob: Client) -> None:
    for client in (alice, bob):
        client.mkcalendar(calendar(client, "two"))
    alice.put("calendars/alice/two/x.ics", meeting("m", "alice", "bob"))
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "alice"))
    for client in (alice, bob):
        clear_inbox(client)
    assert alice.delete("calendars/alice/two/").status == 204
    assert methods(bob) == ["CANCEL"]
    clear_inbox(bob)
    assert alice.delete("calendars/alice/calendar/").status == 403  # the last one for invitations
    alice.mkcalendar("calendars/alice/three/")
    assert alice.delete("calendars/alice/calendar/").status == 204
    assert methods(bob) == []
    assert states(must(bob, "n")[1])["alice"] == "NEEDS-ACTION"


def test_invitations_go_to_the_chosen_calendar(alice: Client, bob: Client) -> None:
    bob.mkcalendar("calendars/bob/work/")
    name = c("schedule-default-calendar-URL")
    assert [e[0].text for e in (bob.propfind("calendars/bob/inbox/", [name])["/dav/calendars/bob/inbox/"][name],)] == [
        "/dav/calendars/bob/calendar/"
    ]
    element = "<C:schedule-default-calendar-URL><D:href>{}</D:href></C:schedule-default-calendar-URL>"
    chosen = f"<D:set><D:prop>{element}</D:prop></D:set>"
    for wrong in ("/dav/calendars/bob/tasks/", "/dav/calendars/bob/none/", "/dav/calendars/bob/inbox/", "x"):
        answer = bob.proppatch("calendars/bob/inbox/", chosen.format(wrong))
        assert "valid-schedule-default-calendar-URL" in answer.text, wrong
    assert "200" in bob.proppatch("calendars/bob/inbox/", chosen.format("/dav/calendars/bob/work/")).text
    alice.put(X, meeting("m", "alice", "bob"))
    assert copy_of(bob, "m", "work") is not None
    # Without it the next one takes over.
    assert bob.delete("calendars/bob/work/").status == 204
    alice.put("calendars/alice/calendar/y.ics", meeting("n", "alice", "bob"))
    assert copy_of(bob, "n") is not None


def test_inbox_items_can_be_read_by_all_reports(alice: Client, bob: Client) -> None:
    _, token = bob.sync("calendars/bob/inbox/")
    alice.put(X, meeting("m", "alice", "bob"))
    changed, _ = bob.sync("calendars/bob/inbox/", token)
    (path,) = members(bob, "inbox")
    assert changed == {path: 201} or list(changed) == [path]
    from tests.protocol.asking import calendar_multiget, calendar_query, comp, data

    wanted = "<D:prop><D:getetag/><C:calendar-data/></D:prop>"
    assert "METHOD:REQUEST" in next(
        iter(data(calendar_multiget(bob, "calendars/bob/inbox/", path, prop=wanted)).values())
    )
    found = calendar_query(bob, "calendars/bob/inbox/", comp("VEVENT"), prop=wanted)
    assert len(data(found)) == 1
    assert bob.delete(path).status == 204
    assert members(bob, "inbox") == []


def test_nothing_can_be_put_into_inbox_or_outbox(alice: Client) -> None:
    for name in ("inbox", "outbox"):
        refused = alice.put(calendar(alice, name) + "x.ics", meeting("m", "alice", "bob"))
        assert refused.status == 403
