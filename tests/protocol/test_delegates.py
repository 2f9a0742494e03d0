"""Somebody else who writes in a person's calendar: what goes out is that person's, and says who wrote it."""

from __future__ import annotations

from dataclasses import replace

import pytest

from dav.config import Config, MailConfig, SmtpConfig
from dav.ical.lines import Line
from dav.scheduling.model import SchedulingObject
from storage import accounts, collections, itip, outbound, proxies, shares
from storage.engine import Store, transaction
from storage.records import Booking, Outgoing
from tests.dsl import Client, Server
from tests.protocol.meeting import answer, inbox, meeting, members, methods, must, person, states, statuses
from tests.protocol.test_scheduling_outbox import busy, question

HOME = "calendars/alice/calendar/"
X = HOME + "x.ics"
MAIL = Config(
    smtp=SmtpConfig(host="127.0.0.1", port=1), mail=MailConfig(from_address="invites@example.org", settle_seconds=45)
)


@pytest.fixture
def mailing(store: Store) -> Server:
    server = Server(store, MAIL)
    yield server
    server.close()


def delegate(principal: Client, one: Client, *, writes: bool = True) -> None:
    assert principal.account is not None
    assert one.account is not None
    with transaction(principal.server.store, write=True) as conn:
        proxies.add_proxy(conn, principal.account.id, one.account.id, writes=writes)


def people(server: Server, *names: str) -> list[Client]:
    return [person(server, name) for name in names]


def queue(server: Server) -> list[Outgoing]:
    with transaction(server.store) as conn:
        return outbound.list_outgoing(conn, limit=100)


def line_of(obj: SchedulingObject, name: str, who: str) -> Line:
    (found,) = [line for line in obj.parts[""].all(name) if line.value.lower() == f"mailto:{who}@example.org"]
    return found


# ---- the organizer's side ----


def test_what_a_delegate_writes_with_the_owner_as_organizer_is_sent_as_the_owners(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    delegate(alice, bob)
    body = meeting("m", "alice", "carol")
    assert bob.put(X, body).status == 201
    assert states(must(alice, "m")[1]) == {"alice": "ACCEPTED", "carol": "NEEDS-ACTION"}
    assert statuses(must(alice, "m")[1])["carol"] == "1.2"
    theirs = must(carol, "m")[1]
    assert theirs.organizer == "mailto:alice@example.org"
    assert line_of(theirs, "ORGANIZER", "alice").param("SENT-BY") == "mailto:bob@example.org"
    (notice,) = inbox(carol)
    assert b'SENT-BY="mailto:bob@example.org"' in notice.to_bytes().replace(b"\r\n ", b"")
    # What the delegate stored is what is there, but for what the server notes of deliveries.
    stored = alice.get(X).text.replace("\r\n ", "")
    assert "SENT-BY" not in stored
    assert stored.replace(";SCHEDULE-STATUS=1.2", "").replace(';SCHEDULE-STATUS="1.2"', "") == body
    assert members(bob) == []
    assert inbox(bob) == []


def test_an_answer_to_what_a_delegate_sent_reaches_the_owner(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    delegate(alice, bob)
    bob.put(X, meeting("m", "alice", "carol"))
    assert answer(carol, "m", "ACCEPTED") == 204
    assert states(must(alice, "m")[1])["carol"] == "ACCEPTED"
    assert methods(alice) == ["REPLY"]
    assert inbox(bob) == []


def test_a_delegate_cancels_for_the_owner(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    delegate(alice, bob)
    alice.put(X, meeting("m", "alice", "carol"))
    assert bob.delete(X).status == 204
    assert must(carol, "m")[1].parts[""].value("STATUS") == "CANCELLED"
    cancel = next(item for item in inbox(carol) if item.value("METHOD") == "CANCEL")
    assert b'SENT-BY="mailto:bob@example.org"' in cancel.to_bytes().replace(b"\r\n ", b"")


def test_what_the_owner_writes_after_a_delegate_names_nobody_else(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    delegate(alice, bob)
    bob.put(X, meeting("m", "alice", "carol"))
    alice.put(X, meeting("m", "alice", "carol", start="20261201T170000Z"))
    assert line_of(must(carol, "m")[1], "ORGANIZER", "alice").param("SENT-BY") is None


def test_who_wrote_it_is_no_change_of_the_meeting(server: Server) -> None:
    alice, bob, carol, dave = people(server, "alice", "bob", "carol", "dave")
    delegate(alice, bob)
    bob.put(X, meeting("m", "alice", "carol", "dave"))
    before = carol.get(must(carol, "m")[0]).headers["schedule-tag"]
    assert answer(dave, "m", "ACCEPTED") == 204
    assert states(must(carol, "m")[1])["dave"] == "ACCEPTED"
    assert carol.get(must(carol, "m")[0]).headers["schedule-tag"] == before
    assert methods(carol) == ["REQUEST"]


@pytest.mark.parametrize("guests", [("alice", "carol"), ("carol",)])
def test_a_delegate_as_organizer_in_the_owners_calendar_is_refused_and_nothing_is_sent(
    server: Server, guests: tuple[str, ...]
) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    delegate(alice, bob)
    refused = bob.put(X, meeting("m", "bob", *guests))
    assert (refused.status, refused.condition) == (403, "{urn:ietf:params:xml:ns:caldav}valid-organizer")
    assert members(alice) == members(carol) == members(bob) == []
    assert inbox(carol) == inbox(alice) == []


def test_a_stranger_as_organizer_is_refused_where_the_owner_is_no_guest(server: Server) -> None:
    alice, bob = people(server, "alice", "bob")
    delegate(alice, bob)
    refused = bob.put(X, meeting("m", "zoe@example.net", "bob"))
    assert (refused.status, refused.condition) == (403, "{urn:ietf:params:xml:ns:caldav}valid-organizer")
    assert members(alice) == []


def test_a_delegate_saves_an_invitation_that_the_owner_got_by_other_ways(server: Server) -> None:
    alice, bob = people(server, "alice", "bob")
    delegate(alice, bob)
    assert bob.put(X, meeting("m", "zoe@example.net", "alice")).status == 201
    assert states(must(alice, "m")[1])["alice"] == "NEEDS-ACTION"


def test_a_meeting_of_somebody_elses_that_the_owner_keeps_can_be_changed_by_a_delegate(server: Server) -> None:
    alice, bob = people(server, "alice", "bob")
    delegate(alice, bob)
    assert alice.put(X, meeting("m", "zoe@example.net", "yan@example.net")).status == 201
    assert bob.put(X, meeting("m", "zoe@example.net", "yan@example.net", summary="Copy")).status == 204


def test_the_owner_of_a_meeting_cannot_be_changed_by_a_delegate(server: Server) -> None:
    alice, bob, _carol = people(server, "alice", "bob", "carol")
    delegate(alice, bob)
    alice.put(X, meeting("m", "alice", "carol"))
    before = alice.get(X).body
    refused = bob.put(X, meeting("m", "bob", "carol"))
    assert (refused.status, refused.condition) == (403, "{urn:ietf:params:xml:ns:caldav}valid-organizer")
    assert alice.get(X).body == before


def test_a_plain_event_of_a_delegate_is_nobodys_meeting(server: Server) -> None:
    alice, bob = people(server, "alice", "bob")
    delegate(alice, bob)
    assert bob.put(X, meeting("m", "")).status == 201
    assert "schedule-tag" not in alice.get(X).headers


def test_a_delegate_who_may_only_read_writes_nothing(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    delegate(alice, bob, writes=False)
    refused = bob.put(X, meeting("m", "alice", "carol"))
    assert (refused.status, refused.condition) == (403, "{DAV:}need-privileges")
    assert members(carol) == []


def test_an_administrator_who_writes_in_a_calendar_is_named_like_a_delegate(store: Store) -> None:
    config = replace(Config(), sharing=replace(Config().sharing, administrators="all"))
    server = Server(store, config)
    try:
        alice, _bob, carol = people(server, "alice", "bob", "carol")
        root = person(server, "root")
        assert root.account is not None
        with transaction(server.store, write=True) as conn:
            accounts.update_account(conn, root.account.id, admin=True)
        root = server.client(replace(root.account, admin=True))
        assert root.put(X, meeting("m", "alice", "carol")).status == 201
        assert line_of(must(carol, "m")[1], "ORGANIZER", "alice").param("SENT-BY") == "mailto:root@example.org"
        assert states(must(alice, "m")[1])["carol"] == "NEEDS-ACTION"
        assert root.put(HOME + "y.ics", meeting("n", "root", "carol")).status == 403
    finally:
        server.close()


# ---- who a calendar is shared with ----


def shared(server: Server, owner: Client, one: Client, level: str) -> str:
    """Shares the owner's calendar; returns the path at which the other one has it in its own home."""
    assert owner.account is not None
    assert one.account is not None
    with transaction(server.store, write=True) as conn:
        home = collections.home(conn, owner.account.id, "calendars")
        (calendar,) = [item for item in collections.children(conn, home.id) if item.name == "calendar"]
        shares.put_share(conn, calendar, one.account, access=level, state="accepted", now_s=server.clock.now_s)
        mount = shares.mount_of(conn, one.account.id, calendar.id)
    assert mount is not None
    return f"calendars/{one.name}/{mount.path}/"


@pytest.mark.parametrize("level", ["write", "owner"])
def test_who_may_write_in_a_shared_calendar_sends_as_its_owner(server: Server, level: str) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    mount = shared(server, alice, bob, level)
    assert bob.put(f"{mount}x.ics", meeting("m", "alice", "carol")).status == 201
    assert states(must(alice, "m")[1])["carol"] == "NEEDS-ACTION"
    assert line_of(must(carol, "m")[1], "ORGANIZER", "alice").param("SENT-BY") == "mailto:bob@example.org"
    assert answer(carol, "m", "ACCEPTED") == 204
    assert states(must(alice, "m")[1])["carol"] == "ACCEPTED"
    assert inbox(bob) == []
    refused = bob.put(f"{mount}y.ics", meeting("n", "bob", "carol"))
    assert (refused.status, refused.condition) == (403, "{urn:ietf:params:xml:ns:caldav}valid-organizer")
    assert bob.delete(f"{mount}x.ics").status == 204
    assert must(carol, "m")[1].parts[""].value("STATUS") == "CANCELLED"


def test_a_meeting_does_not_move_into_somebody_elses_calendar_with_its_organizer(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    mount = shared(server, alice, bob, "write")
    bob.put("calendars/bob/calendar/y.ics", meeting("m", "bob", "carol"))
    for target in (f"{mount}y.ics", f"{HOME}y.ics"):
        refused = bob.move("calendars/bob/calendar/y.ics", target)
        assert (refused.status, refused.condition) == (403, "{urn:ietf:params:xml:ns:caldav}valid-organizer")
    assert members(alice) == []
    assert states(must(bob, "m")[1])["carol"] == "NEEDS-ACTION"
    assert methods(carol) == ["REQUEST"]


def test_an_invitation_never_goes_into_a_calendar_that_is_somebody_elses(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    mount = shared(server, alice, bob, "owner")
    # Bob has one calendar of his own; what is mounted beside it is none of his, whatever its place in the list.
    carol.put("calendars/carol/calendar/y.ics", meeting("m", "carol", "bob"))
    must(bob, "m")
    assert members(alice) == []
    assert bob.delete("calendars/bob/calendar/").status == 403  # RFC 6638 §4.3: his last one
    wanted = (
        f"<D:set><D:prop><C:schedule-default-calendar-URL><D:href>/dav/{mount}</D:href>"
        "</C:schedule-default-calendar-URL></D:prop></D:set>"
    )
    assert "403 Forbidden" in bob.proppatch("calendars/bob/inbox/", wanted).text


def test_leaving_a_shared_calendar_cancels_nothing(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    mount = shared(server, alice, bob, "owner")
    alice.put(X, meeting("m", "alice", "carol"))
    assert bob.delete(mount).status == 204
    assert methods(carol) == ["REQUEST"]
    assert states(must(alice, "m")[1])["carol"] == "NEEDS-ACTION"


# ---- mail ----


def test_a_mail_of_a_delegates_is_the_owners_and_the_ledger_knows_who_wrote_it(mailing: Server) -> None:
    alice, bob = people(mailing, "alice", "bob")
    delegate(alice, bob)
    assert bob.account is not None
    assert alice.account is not None
    bob.put(X, meeting("m", "alice", "zoe@example.net"))
    (row,) = queue(mailing)
    assert (row.account_id, row.actor_id, row.sender) == (alice.account.id, bob.account.id, "alice@example.org")


def test_the_last_one_who_wrote_is_the_one_whom_a_mail_names(mailing: Server) -> None:
    alice, bob = people(mailing, "alice", "bob")
    delegate(alice, bob)
    bob.put(X, meeting("m", "alice", "zoe@example.net"))
    alice.put(X, meeting("m", "alice", "zoe@example.net", summary="Other"))
    assert [row.actor_id for row in queue(mailing) if row.state == "held"] == [None]


def test_a_change_that_the_owner_takes_back_is_no_mail_whoever_made_it(mailing: Server) -> None:
    alice, bob = people(mailing, "alice", "bob")
    delegate(alice, bob)
    alice.put(X, meeting("m", "alice", "zoe@example.net"))
    (first,) = queue(mailing)
    with transaction(mailing.store, write=True) as conn:
        outbound.claim(conn, holder="h", now_s=mailing.clock.now_s + 100, lease_s=60, limit=5)
        outbound.sent(conn, first.id, message_id="<1@x>", answer="250", now_s=mailing.clock.now_s + 100)
    bob.put(X, meeting("m", "alice", "zoe@example.net", start="20261201T170000Z"))
    alice.put(X, meeting("m", "alice", "zoe@example.net"))
    assert sorted(row.state for row in queue(mailing)) == ["sent", "undone"]


# ---- busy times ----


def test_a_delegate_asks_for_busy_times_as_the_owner_and_not_as_himself(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    carol.put("calendars/carol/calendar/c.ics", meeting("c", ""))
    outbox, kind = "calendars/alice/outbox/", {"content_type": "text/calendar"}
    assert bob.post(outbox, question("carol"), **kind).status in (403, 404)  # nobody to her yet
    delegate(alice, bob, writes=False)
    refused = bob.post(outbox, question("carol"), **kind)
    assert (refused.status, refused.condition) == (403, "{DAV:}need-privileges")
    delegate(alice, bob)
    assert busy(bob.post(outbox, question("carol"), **kind)) == {
        "carol": ["FREEBUSY;FBTYPE=BUSY:20261201T150000Z/20261201T160000Z"]
    }
    refused = bob.post(outbox, question("carol", organizer="bob"), **kind)
    assert (refused.status, refused.condition) == (403, "{urn:ietf:params:xml:ns:caldav}valid-organizer")


# ---- the guest's side ----


def test_a_delegate_answers_for_the_owner(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    delegate(alice, bob)
    carol.put("calendars/carol/calendar/y.ics", meeting("m", "carol", "alice"))
    path, _ = must(alice, "m")
    text = alice.get(path).text.replace("\r\n ", "")
    changed = text.replace(
        "ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:alice", "ATTENDEE;PARTSTAT=ACCEPTED:mailto:alice"
    )
    assert changed != text
    assert bob.put(path, changed).status == 204
    assert states(must(carol, "m")[1])["alice"] == "ACCEPTED"
    (reply,) = inbox(carol)
    unfolded = reply.to_bytes().replace(b"\r\n ", b"").decode()
    (mine,) = [line for line in unfolded.splitlines() if line.startswith("ATTENDEE")]
    assert 'SENT-BY="mailto:bob@example.org"' in mine
    assert mine.endswith(":mailto:alice@example.org")
    # The organizer's copy says what the guest has answered, and no more.
    assert line_of(must(carol, "m")[1], "ATTENDEE", "alice").param("SENT-BY") is None


def test_a_delegate_who_removes_an_invitation_declines_for_the_owner(server: Server) -> None:
    alice, bob, carol = people(server, "alice", "bob", "carol")
    delegate(alice, bob)
    carol.put("calendars/carol/calendar/y.ics", meeting("m", "carol", "alice"))
    assert bob.delete(must(alice, "m")[0]).status == 204
    assert states(must(carol, "m")[1])["alice"] == "DECLINED"


def test_a_delegate_who_is_the_organizer_of_it_answers_for_the_owner_too(server: Server) -> None:
    alice, bob = people(server, "alice", "bob")
    delegate(alice, bob)
    bob.put("calendars/bob/calendar/y.ics", meeting("m", "bob", "alice"))
    path, _ = must(alice, "m")
    text = alice.get(path).text.replace("\r\n ", "")
    changed = text.replace(
        "ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:mailto:alice", "ATTENDEE;PARTSTAT=TENTATIVE:mailto:alice"
    )
    assert bob.put(path, changed).status == 204
    assert states(must(bob, "m")[1])["alice"] == "TENTATIVE"


# ---- rooms ----


def room_of(server: Server, *keepers: Client, **rule: object) -> Client:
    room = person(server, "room", kind="room")
    assert room.account is not None
    for keeper in keepers:
        delegate(room, keeper)
    if rule:
        with transaction(server.store, write=True) as conn:
            itip.set_booking(conn, Booking(room.account.id, **rule))  # type: ignore[arg-type]
    return room


def decide(keeper: Client, room: Client, uid: str, partstat: str) -> int:
    """A delegate of the room writes another answer into its calendar."""
    path, _ = must(room, uid)
    lines = room.get(path).text.replace("\r\n ", "").split("\r\n")
    for number, line in enumerate(lines):
        if line.startswith("ATTENDEE") and line.endswith(":mailto:room@example.org"):
            lines[number] = f"ATTENDEE;PARTSTAT={partstat}:mailto:room@example.org"
    return keeper.put(path, "\r\n".join(lines)).status


def test_a_delegate_of_a_room_overrules_its_refusal_and_two_are_in_it_then(server: Server) -> None:
    alice, bob, keeper = people(server, "alice", "bob", "keeper")
    room = room_of(server, keeper)
    alice.put(X, meeting("m", "alice", "room"))
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room"))
    assert states(must(bob, "n")[1])["room"] == "DECLINED"
    assert must(room, "n")[1].parts[""].value("TRANSP") == "TRANSPARENT"
    assert decide(keeper, room, "n", "ACCEPTED") == 204
    assert states(must(bob, "n")[1])["room"] == "ACCEPTED"
    mine = must(room, "n")[1]
    assert mine.parts[""].value("TRANSP") is None
    assert line_of(mine, "ATTENDEE", "room").param("SENT-BY") == "mailto:keeper@example.org"
    # It is taken now: also when the first meeting is gone.
    alice.delete(X)
    alice.put(HOME + "z.ics", meeting("o", "alice", "room"))
    assert states(must(alice, "o")[1])["room"] == "DECLINED"


def test_a_booking_that_was_overruled_stays_when_the_organizer_changes_something_else(server: Server) -> None:
    alice, bob, keeper = people(server, "alice", "bob", "keeper")
    room = room_of(server, keeper)
    alice.put(X, meeting("m", "alice", "room"))
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room"))
    decide(keeper, room, "n", "ACCEPTED")
    for summary in ("One", "Two"):
        bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room", summary=summary))
        alice.put(X, meeting("m", "alice", "room", summary=summary))
        assert states(must(bob, "n")[1])["room"] == states(must(room, "n")[1])["room"] == "ACCEPTED"
        assert states(must(alice, "m")[1])["room"] == states(must(room, "m")[1])["room"] == "ACCEPTED"
        assert must(room, "n")[1].parts[""].value("SUMMARY") == summary
        assert line_of(must(room, "n")[1], "ATTENDEE", "room").param("SENT-BY") == "mailto:keeper@example.org"


def test_another_time_asks_the_room_itself_again(server: Server) -> None:
    alice, bob, keeper = people(server, "alice", "bob", "keeper")
    room = room_of(server, keeper)
    alice.put(X, meeting("m", "alice", "room"))
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room"))
    decide(keeper, room, "n", "ACCEPTED")
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room", start="20261201T153000Z"))
    assert states(must(bob, "n")[1])["room"] == "DECLINED"
    assert line_of(must(room, "n")[1], "ATTENDEE", "room").param("SENT-BY") is None
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room", start="20261201T200000Z"))
    assert states(must(bob, "n")[1])["room"] == "ACCEPTED"


def test_what_a_delegate_declined_stays_declined_though_the_room_is_free(server: Server) -> None:
    alice, keeper = people(server, "alice", "keeper")
    room = room_of(server, keeper)
    alice.put(X, meeting("m", "alice", "room"))
    assert states(must(alice, "m")[1])["room"] == "ACCEPTED"
    assert decide(keeper, room, "m", "DECLINED") == 204
    assert states(must(alice, "m")[1])["room"] == "DECLINED"
    alice.put(X, meeting("m", "alice", "room", summary="Please"))
    assert states(must(alice, "m")[1])["room"] == "DECLINED"
    # And it is free for others.
    alice.put(HOME + "z.ics", meeting("o", "alice", "room"))
    assert states(must(alice, "o")[1])["room"] == "ACCEPTED"


def test_what_the_room_declined_by_itself_is_looked_at_again_with_each_change(server: Server) -> None:
    alice, bob = people(server, "alice", "bob")
    room_of(server)
    alice.put(X, meeting("m", "alice", "room"))
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room"))
    assert states(must(bob, "n")[1])["room"] == "DECLINED"
    alice.delete(X)
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room", summary="Again"))
    assert states(must(bob, "n")[1])["room"] == "ACCEPTED"


def test_no_single_day_of_a_series_is_lost_to_a_booking_that_was_overruled(server: Server) -> None:
    alice, bob, keeper = people(server, "alice", "bob", "keeper")
    room = room_of(server, keeper, conflicts="partial")
    daily = "RRULE:FREQ=DAILY;COUNT=5\r\n"
    alice.put(X, meeting("m", "alice", "room", more=daily))
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room", start="20261203T150000Z"))
    assert states(must(bob, "n")[1])["room"] == "DECLINED"
    decide(keeper, room, "n", "ACCEPTED")
    alice.put(X, meeting("m", "alice", "room", more=daily, summary="Daily"))
    mine = must(alice, "m")[1]
    assert list(mine.parts) == [""]
    assert states(mine)["room"] == "ACCEPTED"


def test_a_delegate_answers_for_a_room_that_does_not_answer_itself(server: Server) -> None:
    alice, keeper = people(server, "alice", "keeper")
    room = room_of(server, keeper, mode="manual")
    alice.put(X, meeting("m", "alice", "room"))
    assert states(must(alice, "m")[1])["room"] == "NEEDS-ACTION"
    assert methods(room) == ["REQUEST"]
    assert decide(keeper, room, "m", "ACCEPTED") == 204
    assert states(must(alice, "m")[1])["room"] == "ACCEPTED"


def test_a_client_that_drops_the_mark_does_not_undo_what_was_decided(server: Server) -> None:
    alice, bob, keeper = people(server, "alice", "bob", "keeper")
    room = room_of(server, keeper)
    alice.put(X, meeting("m", "alice", "room"))
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room"))
    decide(keeper, room, "n", "ACCEPTED")
    assert decide(keeper, room, "n", "ACCEPTED") == 204  # the same again, without SENT-BY
    assert line_of(must(room, "n")[1], "ATTENDEE", "room").param("SENT-BY") == "mailto:keeper@example.org"
    bob.put("calendars/bob/calendar/y.ics", meeting("n", "bob", "room", summary="Other"))
    assert states(must(bob, "n")[1])["room"] == "ACCEPTED"
