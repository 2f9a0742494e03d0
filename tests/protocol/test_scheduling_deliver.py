"""What others call: messages that came by mail or link, statuses of mails, and what is left to time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dav import jobs
from dav.config import MailConfig, SchedulingConfig, SmtpConfig
from dav.scheduling import deliver
from dav.scheduling.model import read_itip
from dav.scheduling.plan import Arrival, Env
from storage import outbound
from storage.engine import transaction
from storage.records import Outgoing
from tests.dsl import Client, Server
from tests.protocol.conftest import Serve
from tests.protocol.meeting import (
    address,
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

X = "calendars/alice/calendar/x.ics"


@pytest.fixture
def server(serve: Serve) -> Server:
    return serve(
        smtp=SmtpConfig(host="mail.example.org"), mail=MailConfig(from_address="invites@example.org", settle_seconds=30)
    )


@pytest.fixture
def alice(server: Server) -> Client:
    return person(server, "alice")


@pytest.fixture
def bob(server: Server) -> Client:
    return person(server, "bob")


def message(method: str, uid: str, organizer: str, *guests: str, sequence: int = 0, stamp: str = "20261118T120000Z",
            more: str = "", start: str = "20261201T150000Z") -> bytes:  # fmt: skip
    lines = "".join(f"{one if one.startswith('ATTENDEE') else guest(one)}\r\n" for one in guests)
    return (
        f"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:x\r\nMETHOD:{method}\r\nBEGIN:VEVENT\r\nUID:{uid}\r\n"
        f"DTSTAMP:{stamp}\r\nSEQUENCE:{sequence}\r\nDTSTART:{start}\r\nDURATION:PT1H\r\nSUMMARY:Tea\r\n"
        f"ORGANIZER:mailto:{address(organizer)}\r\n{lines}{more}END:VEVENT\r\nEND:VCALENDAR\r\n"
    ).encode()


def receive(client: Client, body: bytes, *, sender: str, via: str = "mail", known: bool = True) -> Arrival:
    server, account = client.server, client.account
    assert account is not None
    return deliver.in_order(
        server.store,
        lambda conn: deliver.receive(
            Env(conn, server.store, server.config, server.app.urls, server.clock.now_s), account, read_itip(body),
            sender=f"mailto:{address(sender)}", via=via, known=known,
        ),
    )  # fmt: skip


def ledger(server: Server) -> list[Outgoing]:
    with transaction(server.store) as conn:
        return outbound.list_outgoing(conn, limit=100)


# ---- mail out: the rows of the ledger ----


def test_people_elsewhere_get_a_row_in_the_ledger(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob", "zoe@elsewhere.example"))
    (row,) = ledger(alice.server)
    assert (row.method, row.recipient, row.sender, row.state) == (
        "REQUEST", "zoe@elsewhere.example", "alice@example.org", "held",
    )  # fmt: skip
    assert row.not_before_s == alice.server.clock.now_s + 30
    assert statuses(must(alice, "m")[1]) == {"alice": None, "bob": "1.2", "zoe": "1.0"}
    # The same again makes no second one; neither does what was stored.
    alice.put(X, meeting("m", "alice", "bob", "zoe@elsewhere.example"))
    alice.put(X, alice.get(X).body)
    assert len(ledger(alice.server)) == 1
    # Deleted before it was sent: nothing is.
    alice.delete(X)
    assert [row.state for row in ledger(alice.server)] == ["undone"]


def test_a_status_of_a_mail_is_written_without_a_new_schedule_tag(alice: Client) -> None:
    alice.put(X, meeting("m", "alice", "zoe@elsewhere.example"))
    before = alice.get(X)
    assert alice.account is not None

    def work(status: str, recipient: str = "zoe@elsewhere.example", uid: str = "m") -> bool:
        server = alice.server
        return deliver.in_order(
            server.store,
            lambda conn: deliver.set_status(
                Env(conn, server.store, server.config, server.app.urls, server.clock.now_s), alice.account.id, uid,
                recipient, status,
            ),
        )  # fmt: skip

    assert work("5.1")
    after = alice.get(X)
    assert statuses(must(alice, "m")[1])["zoe"] == "5.1"
    assert after.headers["schedule-tag"] == before.headers["schedule-tag"]
    assert after.etag != before.etag
    _, token = alice.sync(calendar(alice))
    assert work("5.1")  # the same once more changes nothing
    assert alice.sync(calendar(alice), token)[0] == {}
    assert not work("1.1", "other@elsewhere.example")
    assert not work("1.1", uid="none")
    alice.delete(X)
    assert not work("1.1")


def test_an_answer_by_mail_reaches_organizer_and_guests(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob", "zoe@elsewhere.example"))
    clear_inbox(bob)
    reply = message("REPLY", "m", "alice", guest("zoe@elsewhere.example", "ACCEPTED"))
    arrival = receive(alice, reply, sender="zoe@elsewhere.example")
    assert arrival.outcome == "applied"
    assert states(must(alice, "m")[1])["zoe"] == "ACCEPTED"
    assert states(must(bob, "m")[1])["zoe"] == "ACCEPTED"
    assert (methods(alice), methods(bob)) == (["REPLY"], [])
    # The same again, and an older one, do nothing.
    etag = alice.get(X).etag
    older = message("REPLY", "m", "alice", guest("zoe@elsewhere.example", "DECLINED"), stamp="20261118T110000Z")
    for again in (reply, older):
        receive(alice, again, sender="zoe@elsewhere.example")
    assert alice.get(X).etag == etag
    assert [row.recipient for row in ledger(alice.server)] == ["zoe@elsewhere.example"]  # nobody else is mailed


def test_an_answer_by_link_is_one_too(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "zoe@elsewhere.example"))
    reply = message("REPLY", "m", "alice", guest("zoe@elsewhere.example", "TENTATIVE"))
    assert receive(alice, reply, sender="zoe@elsewhere.example", via="link").outcome == "applied"
    assert states(must(alice, "m")[1])["zoe"] == "TENTATIVE"


def test_an_invitation_by_mail_is_answered_by_mail(alice: Client) -> None:
    request = message("REQUEST", "q", "zoe@elsewhere.example", "alice")
    assert receive(alice, request, sender="zoe@elsewhere.example").outcome == "applied"
    assert methods(alice) == ["REQUEST"]
    assert answer(alice, "q", "ACCEPTED") == 204
    (row,) = ledger(alice.server)
    assert (row.method, row.recipient, row.sender) == ("REPLY", "zoe@elsewhere.example", "alice@example.org")
    organizer = must(alice, "q")[1].parts[""].first("ORGANIZER")
    assert organizer is not None
    assert organizer.param("SCHEDULE-STATUS") == "1.0"
    cancel = message("CANCEL", "q", "zoe@elsewhere.example", "alice", sequence=1, stamp="20261118T130000Z")
    assert receive(alice, cancel, sender="zoe@elsewhere.example").outcome == "applied"
    assert must(alice, "q")[1].parts[""].value("STATUS") == "CANCELLED"


def test_a_room_answers_an_invitation_by_mail_by_mail(server: Server) -> None:
    room = person(server, "room", kind="room")
    request = message("REQUEST", "q", "zoe@elsewhere.example", "room")
    assert receive(room, request, sender="zoe@elsewhere.example").outcome == "applied"
    (row,) = ledger(server)
    assert (row.method, row.recipient) == ("REPLY", "zoe@elsewhere.example")
    assert b"PARTSTAT=ACCEPTED" in _calendar(server, row)


def _calendar(server: Server, row: Outgoing) -> bytes:
    with transaction(server.store) as conn:
        whole = outbound.by_id(conn, row.id)
    assert whole is not None
    return whole.calendar.replace(b"\r\n ", b"")


def test_a_refresh_is_answered_to_the_one_who_asks(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    clear_inbox(bob)
    bob.delete(must(bob, "m")[0], schedule_reply="F")
    refresh = message("REFRESH", "m", "alice", "bob")
    receive(alice, refresh, sender="bob")
    assert copy_of(bob, "m") is not None
    assert methods(alice) == []


def test_a_proposed_time_is_shown_and_not_applied(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "zoe@elsewhere.example"))
    counter = message("COUNTER", "m", "alice", "zoe@elsewhere.example", start="20261203T150000Z")
    receive(alice, counter, sender="zoe@elsewhere.example")
    assert must(alice, "m")[1].parts[""].value("DTSTART") == "20261201T150000Z"
    assert methods(alice) == ["COUNTER"]


@pytest.mark.parametrize(("policy", "there"), [("ignore", False), ("ask", False), ("add", True)])
def test_party_crashers_by_policy(serve: Serve, policy: str, there: bool) -> None:
    alice = person(serve(scheduling=SchedulingConfig(party_crashers=policy)), "alice")
    alice.put(X, meeting("m", "alice", "zoe@elsewhere.example"))
    receive(
        alice,
        message("REPLY", "m", "alice", guest("yan@elsewhere.example", "ACCEPTED")),
        sender="yan@elsewhere.example",
    )
    assert ("yan" in states(must(alice, "m")[1])) is there
    assert methods(alice) == ([] if policy == "ignore" else ["REPLY"])


def test_what_nobody_here_has_does_nothing(alice: Client) -> None:
    for method in ("REPLY", "CANCEL", "REFRESH", "COUNTER"):
        arrival = receive(
            alice, message(method, "none", "alice", "zoe@elsewhere.example"), sender="zoe@elsewhere.example"
        )
        assert arrival.body is None
    assert members(alice) == members(alice, "inbox") == []


def test_an_invitation_for_which_there_is_no_calendar_is_refused(alice: Client, bob: Client) -> None:
    todo = meeting("t", "alice", "bob").replace("VEVENT", "VTODO").replace("DURATION:PT1H\r\n", "")
    assert bob.delete("calendars/bob/tasks/").status == 204
    assert alice.put("calendars/alice/tasks/t.ics", todo).status == 201
    assert statuses(must(alice, "t", "tasks")[1])["bob"] == "5.1"
    assert members(bob) == members(bob, "inbox") == []


def test_tasks_go_to_the_list_of_tasks(alice: Client, bob: Client) -> None:
    todo = meeting("t", "alice", "bob").replace("VEVENT", "VTODO").replace("DURATION:PT1H\r\n", "")
    alice.put("calendars/alice/tasks/t.ics", todo)
    assert copy_of(bob, "t", "tasks") is not None


def test_delegation_reaches_delegate_and_organizer(alice: Client, bob: Client, server: Server) -> None:
    carol = person(server, "carol")
    alice.put(X, meeting("m", "alice", "bob"))
    path, _ = must(bob, "m")
    body = bob.get(path).text.replace("\r\n ", "")
    mine = next(line for line in body.split("\r\n") if line.startswith("ATTENDEE") and "mailto:bob" in line)
    delegated = (
        'ATTENDEE;PARTSTAT=DELEGATED;DELEGATED-TO="mailto:carol@example.org":mailto:bob@example.org\r\n'
        'ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE;DELEGATED-FROM="mailto:bob@example.org":mailto:carol@example.org'
    )
    assert bob.put(path, body.replace(mine, delegated)).status == 204
    assert copy_of(carol, "m") is not None
    mine_now = states(must(alice, "m")[1])
    assert (mine_now["bob"], mine_now["carol"]) == ("DELEGATED", "NEEDS-ACTION")
    assert answer(carol, "m", "ACCEPTED") == 204
    assert states(must(alice, "m")[1])["carol"] == "ACCEPTED"


def test_a_copied_calendar_is_no_second_meeting(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    assert alice.copy(calendar(alice), "calendars/alice/copy/").status == 201
    clear_inbox(bob)
    assert answer(bob, "m", "ACCEPTED") == 204
    assert states(must(alice, "m")[1])["bob"] == "ACCEPTED"
    assert states(must(alice, "m", "copy")[1])["bob"] == "NEEDS-ACTION"
    assert alice.delete("calendars/alice/copy/").status == 204
    assert methods(bob) == []
    assert alice.delete(X).status == 204
    assert methods(bob) == ["CANCEL"]


def test_a_guest_declines_a_whole_calendar_only_when_asked(serve: Serve) -> None:
    server = serve(scheduling=SchedulingConfig(reply_on_calendar_delete=True))
    alice, bob = person(server, "alice"), person(server, "bob")
    alice.put(X, meeting("m", "alice", "bob"))
    bob.mkcalendar("calendars/bob/two/")
    assert bob.delete("calendars/bob/calendar/").status == 204
    assert states(must(alice, "m")[1])["bob"] == "DECLINED"


def test_old_messages_leave_the_inbox_by_themselves(alice: Client, bob: Client) -> None:
    alice.put(X, meeting("m", "alice", "bob"))
    server = alice.server
    config = replace(server.config, scheduling=SchedulingConfig(inbox_days=5))
    assert jobs.purge_inboxes(server.store, config, server.clock.now_s + 4 * jobs.DAY_S) == ""
    assert len(inbox(bob)) == 1
    assert jobs.purge_inboxes(server.store, config, server.clock.now_s + 6 * jobs.DAY_S)
    assert inbox(bob) == []
    assert copy_of(bob, "m") is not None


def test_a_store_with_an_import_tells_nobody(alice: Client, bob: Client) -> None:
    old = meeting("m", "alice", guest("bob", "ACCEPTED"), "zoe@elsewhere.example", stamp="20260101T100000Z")
    assert alice.put(X, old).status == 201
    assert ledger(alice.server) == []
    assert copy_of(bob, "m") is None
    # The next real change does.
    alice.put(X, meeting("m", "alice", guest("bob", "ACCEPTED"), "zoe@elsewhere.example", start="20261205T150000Z"))
    assert [row.method for row in ledger(alice.server)] == ["REQUEST"]
    assert copy_of(bob, "m") is not None


def test_a_calendar_of_many_meetings_goes_in_one_request(alice: Client, server: Server) -> None:
    guests = [person(server, f"g{number}") for number in range(6)]
    # The organizer's account comes after her guests', so that their collections come before hers.
    late = person(server, "late")
    late.mkcalendar("calendars/late/two/")
    for number, one in enumerate(reversed(guests)):
        path = f"calendars/late/calendar/{number}.ics"
        assert late.put(path, meeting(f"m{number}", "late", one.name, guests[number].name)).status == 201
    past = meeting("past", "late", "g0", start="20261101T100000Z")
    assert late.put("calendars/late/calendar/past.ics", past).status == 201
    for one in guests:
        clear_inbox(one)
    assert late.delete("calendars/late/calendar/").status == 204
    assert [methods(one) for one in guests] == [["CANCEL"] * 2] * 6
    assert must(guests[0], "past")[1].parts[""].value("STATUS") is None
