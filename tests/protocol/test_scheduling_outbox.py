"""POST to the outbox: busy times of people (RFC 6638 §5), and what principals say of scheduling."""

from __future__ import annotations

import pytest
from lxml import etree

from dav.config import Limits, SchedulingConfig
from dav.names import c, d
from tests.dsl import Answer, Client, Server, event
from tests.protocol.conftest import Serve
from tests.protocol.meeting import address, answer, guest, meeting, members, must, person

OUTBOX = "calendars/alice/outbox/"


@pytest.fixture
def alice(server: Server) -> Client:
    return person(server, "alice")


@pytest.fixture
def bob(server: Server) -> Client:
    return person(server, "bob")


def question(*guests: str, start: str = "20261201T000000Z", end: str = "20261202T000000Z", more: str = "",
             organizer: str = "alice", method: str = "REQUEST", name: str = "VFREEBUSY") -> str:  # fmt: skip
    lines = "".join(f"ATTENDEE:mailto:{address(one)}\r\n" for one in guests)
    return (
        f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nMETHOD:{method}\r\nBEGIN:{name}\r\nUID:q\r\n"
        f"DTSTAMP:20261118T100000Z\r\nDTSTART:{start}\r\nDTEND:{end}\r\n"
        f"ORGANIZER:mailto:{address(organizer)}\r\n{lines}{more}END:{name}\r\nEND:VCALENDAR\r\n"
    )


def ask(client: Client, body: str, **fields: str) -> Answer:
    return client.post(OUTBOX, body, **({"content_type": "text/calendar; charset=utf-8"} | fields))


def busy(answer: Answer) -> dict[str, list[str]]:
    """Local part → FREEBUSY lines, for those who are known."""
    found = {}
    for response in answer.xml.iter(c("response")):
        data = response.findtext(c("calendar-data"))
        name = str(response.findtext(f"{c('recipient')}/{d('href')}")).removeprefix("mailto:").partition("@")[0]
        if data is not None:
            found[name] = [line for line in data.splitlines() if line.startswith("FREEBUSY")]
    return found


def request_statuses(answer: Answer) -> list[str | None]:
    return [response.findtext(c("request-status")) for response in answer.xml.iter(c("response"))]


def test_busy_times_of_several_people_come_one_response_each(alice: Client, bob: Client) -> None:
    bob.put("calendars/bob/calendar/a.ics", event("a", start="20261201T100000Z"))
    bob.put("calendars/bob/calendar/b.ics", event("b", start="20261201T120000Z", more="STATUS:TENTATIVE\r\n"))
    bob.put("calendars/bob/calendar/c.ics", event("c", start="20261201T140000Z", more="TRANSP:TRANSPARENT\r\n"))
    bob.put("calendars/bob/calendar/d.ics", event("d", start="20261201T160000Z", more="STATUS:CANCELLED\r\n"))
    bob.put("calendars/bob/calendar/e.ics", event("e", start="20261129T180000Z", more="RRULE:FREQ=DAILY\r\n"))
    found = ask(alice, question("bob", "alice", "nobody"))
    assert found.status == 200
    assert found.xml.tag == c("schedule-response")
    assert request_statuses(found) == ["2.0;Success", "2.0;Success", "3.7;Invalid calendar user"]
    assert busy(found) == {
        "bob": [
            "FREEBUSY;FBTYPE=BUSY:20261201T100000Z/20261201T110000Z,20261201T180000Z/202",
            "FREEBUSY;FBTYPE=BUSY-TENTATIVE:20261201T120000Z/20261201T130000Z",
        ],
        "alice": [],
    }
    assert "METHOD:REPLY" in found.text
    assert "SUMMARY" not in found.text


def test_transparent_calendars_do_not_count(alice: Client, bob: Client) -> None:
    bob.put("calendars/bob/calendar/a.ics", event("a", start="20261201T100000Z"))
    value = "<D:set><D:prop><C:schedule-calendar-transp><C:transparent/></C:schedule-calendar-transp></D:prop></D:set>"
    bob.proppatch("calendars/bob/calendar/", value)
    assert busy(ask(alice, question("bob"))) == {"bob": []}


def test_floating_times_are_in_the_zone_of_the_guest(alice: Client, server: Server) -> None:
    carol = person(server, "carol", time_zone="America/New_York")
    carol.put("calendars/carol/calendar/a.ics", event("a", start="20261201T100000"))
    assert busy(ask(alice, question("carol"))) == {"carol": ["FREEBUSY;FBTYPE=BUSY:20261201T150000Z/20261201T160000Z"]}


def test_a_range_by_the_wall_clock_is_in_the_zone_of_who_asks(server: Server, bob: Client) -> None:
    asker = person(server, "dora", time_zone="America/New_York")
    bob.put("calendars/bob/calendar/a.ics", event("a", start="20261201T150000Z"))
    body = question("bob", organizer="dora", start="20261201T100000", end="20261201T110000")
    told = asker.post("calendars/dora/outbox/", body, content_type="text/calendar")
    assert busy(told) == {"bob": ["FREEBUSY;FBTYPE=BUSY:20261201T150000Z/20261201T160000Z"]}


def test_the_meeting_itself_can_be_left_out_by_its_organizer(alice: Client, bob: Client) -> None:
    alice.put("calendars/alice/calendar/m.ics", meeting("m", "alice", "bob", start="20261201T100000Z"))
    answer(bob, "m", "ACCEPTED")
    bob.put("calendars/bob/calendar/n.ics", meeting("n", "bob", "alice", start="20261201T120000Z"))
    both = busy(ask(alice, question("bob")))["bob"]
    assert "20261201T100000Z" in both[0]
    masked = busy(ask(alice, question("bob", more="X-CALENDARSERVER-MASK-UID:m\r\n")))["bob"]
    assert masked == ["FREEBUSY;FBTYPE=BUSY:20261201T120000Z/20261201T130000Z"]
    # Nobody finds out by this what others have.
    assert busy(ask(alice, question("bob", more="X-CALENDARSERVER-MASK-UID:n\r\n")))["bob"] == both


@pytest.mark.parametrize(
    ("body", "status", "condition"),
    [
        ("no calendar", 403, "valid-calendar-data"),
        (question("bob", method="REPLY"), 403, "valid-scheduling-message"),
        (question("bob", name="VEVENT"), 403, "valid-scheduling-message"),
        (question(), 403, "valid-scheduling-message"),
        (question("bob", start="20261202T000000Z", end="20261201T000000Z"), 403, "valid-scheduling-message"),
        (question("bob", start="20261201"), 403, "valid-scheduling-message"),
        (question("bob", organizer="bob"), 403, "valid-organizer"),
    ],
)
def test_bad_messages_name_their_precondition(
    alice: Client, bob: Client, body: str, status: int, condition: str
) -> None:
    refused = ask(alice, body)
    assert (refused.status, refused.condition) == (status, c(condition))


def test_other_types_and_sizes_are_refused(serve: Serve) -> None:
    alice = person(serve(limits=Limits(resource_bytes=16 * 1024, attendees=3)), "alice")
    refused = ask(alice, question("alice"), content_type="application/json")
    assert (refused.status, refused.condition) == (403, c("supported-calendar-data"))
    refused = ask(alice, question(*(f"g{number}" for number in range(4))))
    assert (refused.status, refused.condition) == (403, c("max-attendees-per-instance"))
    assert ask(alice, question("alice", more="COMMENT:" + "x" * 17_000 + "\r\n")).status in (403, 413)


def test_nobody_asks_from_the_outbox_of_another(alice: Client, bob: Client) -> None:
    assert bob.post(OUTBOX, question("bob", organizer="alice")).status == 403
    assert alice.post("calendars/alice/inbox/", question("bob")).status == 405


def test_fields_of_old_clients_do_not_matter(alice: Client, bob: Client) -> None:
    found = ask(alice, question("bob"), originator="mailto:alice@example.org", recipient="mailto:bob@example.org")
    assert request_statuses(found) == ["2.0;Success"]


def test_a_principal_tells_where_its_scheduling_is(alice: Client, bob: Client) -> None:
    names = [c("schedule-inbox-URL"), c("schedule-outbox-URL"), c("calendar-user-address-set"), c("calendar-user-type")]
    found = alice.propfind("principals/alice/", names)["/dav/principals/alice/"]
    assert found[names[0]][0].text == "/dav/calendars/alice/inbox/"
    assert found[names[1]][0].text == "/dav/calendars/alice/outbox/"
    assert [href.text for href in found[names[2]]] == ["mailto:alice@example.org", "/dav/principals/alice/"]
    assert "calendar-auto-schedule" in alice.options("").headers["dav"]


def privileges(found: etree._Element) -> set[str]:
    return {str(element[0].tag) for element in found.iter(d("privilege"))}


def test_inbox_and_outbox_tell_their_privileges(alice: Client) -> None:
    names = [d("current-user-privilege-set"), d("supported-privilege-set"), d("acl")]
    inbox = alice.propfind("calendars/alice/inbox/", names)["/dav/calendars/alice/inbox/"]
    deliver = {c(name) for name in ("schedule-deliver", "schedule-deliver-invite", "schedule-deliver-reply",
                                    "schedule-query-freebusy")}  # fmt: skip
    send = {c(name) for name in ("schedule-send", "schedule-send-invite", "schedule-send-reply",
                                 "schedule-send-freebusy")}  # fmt: skip
    assert deliver <= privileges(inbox[names[0]])
    assert deliver <= privileges(inbox[names[1]])
    assert c("schedule-deliver") in privileges(inbox[names[2]])
    outbox = alice.propfind("calendars/alice/outbox/", names)["/dav/calendars/alice/outbox/"]
    assert send <= privileges(outbox[names[0]])
    assert send <= privileges(outbox[names[1]])
    assert not deliver & privileges(outbox[names[0]])


def test_without_scheduling_nothing_is_sent_or_promised(serve: Serve) -> None:
    server = serve(scheduling=SchedulingConfig(enabled=False))
    alice, bob = person(server, "alice"), person(server, "bob")
    assert alice.put("calendars/alice/calendar/x.ics", meeting("m", "alice", "bob")).etag
    assert members(bob) == []
    assert alice.delete("calendars/alice/calendar/x.ics").status == 204
    assert ask(alice, question("bob")).status == 405
    assert (
        c("schedule-inbox-URL")
        not in alice.propfind("principals/alice/", [c("schedule-inbox-URL")])["/dav/principals/alice/"]
    )
    assert "calendar-auto-schedule" not in alice.options("").headers["dav"]


def test_an_answer_makes_the_time_busy(alice: Client, bob: Client) -> None:
    alice.put("calendars/alice/calendar/m.ics", meeting("m", "alice", guest("bob"), start="20261201T100000Z"))
    answer(bob, "m", "ACCEPTED")
    assert must(bob, "m")[1].uid == "m"
    assert busy(ask(alice, question("bob")))["bob"] == ["FREEBUSY;FBTYPE=BUSY:20261201T100000Z/20261201T110000Z"]
