"""Who may do what by mail: the decisions of the reference, in its order."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import HealthCheck, given
from hypothesis import settings as hypothesis_settings
from hypothesis import strategies as st

from dav.config import SchedulingConfig
from dav.mail import inbound
from dav.mail.bounces import return_path
from dav.mail.inbound import APPLIED, IGNORED, KEPT, LATER, NOTHING, TOO_LARGE, UNKNOWN
from dav.scheduling.plan import Env
from dav.urls import Urls
from storage import accounts, links, outbound
from storage.engine import Store, transaction
from storage.records import Account, NewOutgoing

from .post import NOW_S, SERVICE, UID, Place, mail, meeting, reply, settings

OLGA = "olga@example.com"
BOB = "bob@example.net"


@pytest.fixture
def place(store: Store) -> Place:
    return Place(store)


@pytest.fixture
def olga(place: Place) -> Account:
    account = place.account("olga", OLGA, "olga.alias@example.com")
    place.hold(account, meeting(attendees=(BOB, "carol@example.net")))
    return account


@pytest.fixture
def dave(place: Place) -> Account:
    return place.account("dave", "dave@example.com")


def invitation(organizer: str = BOB, *attendees: str, **more: object) -> bytes:
    values: dict[str, object] = {"organizer": organizer, "attendees": attendees or ("dave@example.com",)}
    return meeting(method="REQUEST", **(values | more))  # type: ignore[arg-type]


# --- replies ----------------------------------------------------------------------------------------------------------


def test_a_reply_sets_the_answer_of_the_one_who_sent_it(place: Place, olga: Account) -> None:
    assert place.send(mail(reply())).outcome == APPLIED
    assert place.answers(olga) == {BOB: "ACCEPTED"}


def test_a_reply_comes_to_an_alias_and_to_a_tagged_address(place: Place, olga: Account) -> None:
    assert place.send(mail(reply()), "olga.alias@example.com").outcome == APPLIED
    assert (
        place.send(mail(reply(partstat="DECLINED", stamp="20260201T111500Z")), "OLGA+x@example.com").outcome == APPLIED
    )
    assert place.answers(olga) == {BOB: "DECLINED"}


def test_the_same_message_twice_does_nothing_twice(place: Place, olga: Account) -> None:
    assert place.send(mail(reply())).outcome == APPLIED
    before = place.body(olga)
    assert place.send(mail(reply())).outcome == NOTHING
    assert place.send(mail(reply()).replace(b"Message-ID: <1@", b"Message-ID: <2@")).outcome == NOTHING
    assert place.body(olga) == before


def test_of_other_guests_a_reply_says_nothing(place: Place, olga: Account) -> None:
    both = ("ATTENDEE;PARTSTAT=ACCEPTED:mailto:bob@example.net", "ATTENDEE;PARTSTAT=DECLINED:mailto:carol@example.net")
    assert place.send(mail(reply(attendees=both))).outcome == APPLIED
    assert place.answers(olga) == {BOB: "ACCEPTED"}


def test_a_reply_of_one_guest_for_another_is_kept(place: Place, olga: Account) -> None:
    result = place.send(mail(reply("carol@example.net")))
    assert result.outcome == KEPT
    assert result.reason == "bob@example.net speaks for carol@example.net."
    assert place.answers(olga) == {}
    assert [one.reason for one in place.kept(olga)] == [result.reason]


def test_a_reply_of_one_guest_for_another_without_proof_is_dropped(place: Place, olga: Account) -> None:
    assert place.send(mail(reply("carol@example.net"), results=None)).outcome == IGNORED
    assert place.kept(olga) == []


@pytest.mark.parametrize(
    ("strictness", "results", "outcome"),
    [
        ("strict", "pass", APPLIED), ("strict", None, KEPT), ("strict", "none", KEPT), ("strict", "fail", KEPT),
        ("normal", "pass", APPLIED), ("normal", None, APPLIED), ("normal", "none", APPLIED), ("normal", "fail", KEPT),
        ("trusting", None, APPLIED), ("trusting", "fail", APPLIED),
    ],
)  # fmt: skip
def test_how_much_proof_a_reply_needs_is_a_setting(
    place: Place, olga: Account, strictness: str, results: str | None, outcome: str
) -> None:
    result = place.send(mail(reply(), results=results), config=settings(strictness=strictness))
    assert result.outcome == outcome, result
    assert place.answers(olga) == ({BOB: "ACCEPTED"} if outcome == APPLIED else {})


def test_an_envelope_sender_that_spf_allows_speaks_too(place: Place, olga: Account) -> None:
    spf = "Authentication-Results: mx.example.com; spf=pass smtp.mailfrom=bob@example.net; dmarc=none"
    raw = mail(reply(), sender="bob@home.example", results=None, headers=(spf,))
    assert place.send(raw, sender=BOB).outcome == APPLIED
    assert place.send(mail(reply("carol@example.net"), sender="c@home.example", results=None, headers=(spf,)),
                      sender="carol@example.net").outcome != KEPT  # fmt: skip


def test_the_email_that_the_organizer_wrote_counts_and_not_the_one_in_the_reply(place: Place) -> None:
    owner = place.account("olga", OLGA)
    place.hold(owner, meeting(attendees=("ATTENDEE;EMAIL=bob@private.example:mailto:bob@example.net",)))
    assert place.send(mail(reply(), sender="bob@private.example")).outcome == APPLIED
    forged = reply(
        "carol@example.net", attendees=("ATTENDEE;PARTSTAT=DECLINED;EMAIL=m@evil.example:mailto:bob@example.net",)
    )
    assert place.send(mail(forged, sender="m@evil.example")).outcome == KEPT
    assert place.answers(owner) == {BOB: "ACCEPTED"}


def test_somebody_here_answers_with_another_address_of_the_same_account(place: Place, olga: Account) -> None:
    place.account("carol", "carol@example.net", "carol@example.com")
    assert place.send(mail(reply("carol@example.net"), sender="carol@example.com")).outcome == APPLIED
    assert place.answers(olga) == {"carol@example.net": "ACCEPTED"}


def test_a_reply_without_the_meeting_is_kept_and_makes_none(place: Place) -> None:
    owner = place.account("olga", OLGA)
    result = place.send(mail(reply()))
    assert (result.outcome, result.reason) == (KEPT, "No meeting in the calendar has this UID.")
    assert place.body(owner) is None


def test_a_reply_about_a_meeting_of_somebody_else_is_kept(place: Place) -> None:
    owner = place.account("olga", OLGA)
    place.hold(owner, meeting(organizer="other@example.org", attendees=(OLGA, BOB)))
    assert place.send(mail(reply())).outcome == KEPT


def test_a_uid_in_other_letters_is_the_same(place: Place, olga: Account) -> None:
    assert place.send(mail(reply(uid=UID.upper()))).outcome == APPLIED
    assert place.answers(olga) == {BOB: "ACCEPTED"}


@pytest.mark.parametrize(("policy", "outcome"), [("ignore", KEPT), ("ask", KEPT), ("add", APPLIED)])
def test_who_was_not_invited_is_the_organizers_to_decide(
    place: Place, olga: Account, policy: str, outcome: str
) -> None:
    config = dataclasses.replace(place.config, scheduling=SchedulingConfig(party_crashers=policy))
    raw = mail(reply("pat@example.org"), sender="pat@example.org")
    assert place.send(raw, config=config).outcome == outcome
    assert place.answers(olga) == ({"pat@example.org": "ACCEPTED"} if policy == "add" else {})


def test_who_was_not_invited_and_is_not_proven_is_not_added(place: Place, olga: Account) -> None:
    config = dataclasses.replace(place.config, scheduling=SchedulingConfig(party_crashers="add"))
    raw = mail(reply("pat@example.org"), sender="pat@example.org", results=None)
    assert place.send(raw, config=config).outcome == KEPT
    raw = mail(reply("pat@example.org"), sender="pat@example.org", results="fail")
    assert place.send(raw, config=config).outcome in (IGNORED, NOTHING)
    assert place.answers(olga) == {}


def test_kept_mail_can_be_applied_after_all(place: Place, olga: Account) -> None:
    place.send(mail(reply("pat@example.org"), sender="pat@example.org"))
    place.send(mail(reply(), results="fail"))
    crasher, forged = reversed(place.kept(olga))
    for kept in (crasher, forged):
        with transaction(place.store, write=True) as conn:
            from storage import inbound as used

            whole = used.kept_by_id(conn, kept.id)
            assert whole is not None
            env = Env(conn, place.store, place.config, Urls(), NOW_S)
            assert inbound.apply_kept(env, whole, olga).outcome == APPLIED
    assert place.answers(olga) == {BOB: "ACCEPTED", "pat@example.org": "ACCEPTED"}
    assert place.kept(olga) == []


# --- the address that a mail of ours was sent from --------------------------------------------------------------------


def _sent_to(place: Place, account: Account, recipient: str) -> str:
    """A row of the ledger that was sent; the envelope sender of its mail."""
    with transaction(place.store, write=True) as conn:
        item = NewOutgoing(account.id, UID, "", recipient, "", OLGA, "Olga", "REQUEST", "VEVENT", 0, "d" * 64,
                           "Planning", ("new",), meeting(method="REQUEST"))  # fmt: skip
        outbound.enqueue(conn, item, now_s=NOW_S, settle_s=0, settle_max_s=0)
        (row,) = outbound.claim(conn, holder="test", now_s=NOW_S, lease_s=60, limit=10)
        outbound.sent(conn, row.id, message_id="inv-1@cal.example.com", answer="250 ok", now_s=NOW_S)
        return return_path(row.id, SERVICE, links.make_secret(conn))


def test_an_answer_to_the_guests_own_address_counts_from_anywhere(place: Place, olga: Account) -> None:
    path = _sent_to(place, olga, BOB)
    raw = mail(reply("bobby@home.example"), sender="bobby@home.example", to=path)
    assert place.send(raw, path).outcome == APPLIED
    assert place.answers(olga) == {BOB: "ACCEPTED"}


def test_google_for_a_hosted_domain_counts_with_the_guests_own_address(place: Place, olga: Account) -> None:
    path = _sent_to(place, olga, BOB)
    google = "Authentication-Results: mx.example.com; dkim=pass header.d=google.com; dmarc=fail header.from=example.net"
    raw = mail(reply(), results=None, headers=(google,))
    assert place.send(raw).outcome == KEPT
    raw = mail(reply(stamp="20260201T121500Z"), results=None, headers=(google,))
    assert place.send(raw, path).outcome == APPLIED


def test_a_made_up_address_of_a_guest_is_nobodys(place: Place, olga: Account) -> None:
    path = _sent_to(place, olga, BOB)
    raw = mail(reply("bobby@home.example"), sender="bobby@home.example")
    assert place.send(raw, path.replace("@", "0@")).outcome == KEPT
    assert place.answers(olga) == {}


# --- invitations ------------------------------------------------------------------------------------------------------


def test_an_invitation_of_somebody_unknown_is_kept_and_can_be_taken(place: Place, dave: Account) -> None:
    raw = mail(invitation(), method="REQUEST")
    assert place.send(raw, "dave@example.com").outcome == KEPT
    assert place.body(dave) is None
    other = mail(invitation(uid="2"), method="REQUEST")
    assert place.send(other, "dave@example.com", config=settings(unknown_senders="add")).outcome == APPLIED
    assert place.send(mail(invitation(uid="3"), method="REQUEST"), "dave@example.com",
                      config=settings(unknown_senders="ignore")).outcome == IGNORED  # fmt: skip


def test_an_invitation_of_a_contact_goes_into_the_calendar(place: Place, dave: Account) -> None:
    _add_contact(place, dave, "Bob@Example.net")
    assert place.send(mail(invitation(), method="REQUEST"), "dave@example.com").outcome == APPLIED
    assert b"PARTSTAT=NEEDS-ACTION" in (place.body(dave) or b"")


def test_an_invitation_of_the_same_domain_goes_into_the_calendar_when_it_is_proven(place: Place, dave: Account) -> None:
    raw = mail(invitation("eve@example.com"), sender="eve@example.com", method="REQUEST", results=None)
    assert place.send(raw, "dave@example.com").outcome == KEPT
    raw = mail(invitation("eve@example.com", uid="2"), sender="eve@example.com", method="REQUEST")
    assert place.send(raw, "dave@example.com").outcome == APPLIED


def test_an_invitation_of_somebody_once_written_to_goes_into_the_calendar(place: Place, dave: Account) -> None:
    _sent_to(place, dave, BOB)
    assert place.send(mail(invitation(uid="2"), method="REQUEST"), "dave@example.com").outcome == APPLIED


def test_our_own_people_do_not_invite_by_mail_from_outside(place: Place, dave: Account, olga: Account) -> None:
    raw = mail(invitation(OLGA, uid="2"), sender=OLGA, method="REQUEST", results=None)
    assert place.send(raw, "dave@example.com").outcome == KEPT
    raw = mail(invitation(OLGA, uid="2"), sender="m@evil.example", method="REQUEST")
    assert place.send(raw, "dave@example.com").outcome == KEPT
    assert place.body(dave, "2") is None


def test_a_message_to_the_organizer_in_her_own_name_is_kept(place: Place, olga: Account) -> None:
    cancel = meeting(method="CANCEL", organizer=OLGA, attendees=(BOB,), sequence=1)
    assert place.send(mail(cancel, method="CANCEL")).outcome == KEPT
    stolen = meeting(method="CANCEL", organizer=BOB, attendees=(OLGA,), sequence=1)
    assert place.send(mail(stolen, method="CANCEL")).outcome == KEPT
    assert b"CANCELLED" not in (place.body(olga) or b"")


def test_only_who_sent_the_first_message_changes_a_meeting(place: Place, dave: Account) -> None:
    """A ticket shop sends in the organizer's name: the same domain, proven each time, goes on speaking."""
    adding = settings(unknown_senders="add")
    first = mail(invitation("zed@example.org"), sender="no-reply@zoom.example", method="REQUEST")
    assert place.send(first, "dave@example.com", config=adding).outcome == APPLIED
    later = invitation("zed@example.org", start="DTSTART:20260303T170000Z", sequence=1, stamp="20260202T090000Z")
    for sender, results in (("no-reply@evil.example", "pass"), ("no-reply@zoom.example", None)):
        assert (
            place.send(mail(later, sender=sender, results=results, method="REQUEST"), "dave@example.com").outcome
            == KEPT
        )
    assert b"20260302T170000Z" in (place.body(dave) or b"")
    assert place.send(mail(later, sender="other@zoom.example", method="REQUEST"), "dave@example.com").outcome == APPLIED
    assert b"20260303T170000Z" in (place.body(dave) or b"")


def test_a_cancel_needs_no_dtstart(place: Place, dave: Account) -> None:
    place.hold(dave, meeting(organizer=BOB, attendees=("dave@example.com",)))
    cancel = meeting(
        method="CANCEL", organizer=BOB, attendees=("dave@example.com",), start="STATUS:CANCELLED", sequence=1
    )
    assert place.send(mail(cancel, method="CANCEL"), "dave@example.com").outcome == APPLIED
    assert b"STATUS:CANCELLED" in (place.body(dave) or b"")


def test_a_forged_cancel_is_kept(place: Place, dave: Account) -> None:
    place.hold(dave, meeting(organizer=BOB, attendees=("dave@example.com",)))
    cancel = meeting(method="CANCEL", organizer=BOB, attendees=("dave@example.com",), sequence=1)
    assert place.send(mail(cancel, sender="m@evil.example", method="CANCEL"), "dave@example.com").outcome == KEPT
    assert place.send(mail(cancel, method="CANCEL", results="fail"), "dave@example.com").outcome == KEPT
    assert b"CANCELLED" not in (place.body(dave) or b"")


def test_somebody_writes_for_the_organizer(place: Place, dave: Account) -> None:
    place.hold(dave, meeting(organizer="", more=('ORGANIZER;SENT-BY="mailto:sec@example.net":mailto:boss@example.org',),
                             attendees=("dave@example.com",)))  # fmt: skip
    later = invitation("boss@example.org", start="DTSTART:20260303T170000Z", sequence=1, stamp="20260202T090000Z")
    assert place.send(mail(later, sender="sec@example.net", method="REQUEST"), "dave@example.com").outcome == APPLIED


# --- no loops ---------------------------------------------------------------------------------------------------------


def _mails(place: Place) -> int:
    with transaction(place.store) as conn:
        return len(outbound.list_outgoing(conn, limit=100))


AUTOMATIC = ("Auto-Submitted: auto-replied", "List-Id: <team.example.net>", "Precedence: bulk", "Precedence: list")


def test_a_refresh_is_answered_with_the_invitation(place: Place, olga: Account) -> None:
    assert place.send(mail(reply(method="REFRESH"), method="REFRESH")).outcome == APPLIED
    assert _mails(place) == 1


@pytest.mark.parametrize("header", AUTOMATIC)
def test_a_refresh_that_is_automatic_is_not_answered(place: Place, olga: Account, header: str) -> None:
    assert place.send(mail(reply(method="REFRESH"), method="REFRESH", headers=(header,))).outcome == IGNORED
    assert _mails(place) == 0


@pytest.mark.parametrize("header", AUTOMATIC)
def test_a_room_does_not_answer_what_is_automatic(place: Place, header: str) -> None:
    room = place.account("room", "room@example.com", kind="room")
    adding = settings(unknown_senders="add")
    raw = mail(invitation(BOB, "room@example.com"), method="REQUEST", headers=(header,))
    assert place.send(raw, "room@example.com", config=adding).outcome == KEPT
    assert _mails(place) == 0
    raw = mail(
        invitation(BOB, "room@example.com", uid="2"), method="REQUEST", headers=("Auto-Submitted: auto-generated",)
    )
    assert place.send(raw, "room@example.com", config=adding).outcome == APPLIED
    assert _mails(place) == 1
    assert place.kept(room)


def test_out_of_office_is_of_no_use(place: Place, olga: Account) -> None:
    raw = b"From: bob@example.net\r\nTo: olga@example.com\r\nAuto-Submitted: auto-replied\r\n\r\nI am away.\r\n"
    assert place.send(raw).outcome == IGNORED
    assert place.send(raw.replace(b"Auto-Submitted: auto-replied\r\n", b""), sender="").outcome == IGNORED
    assert place.kept(olga) == []


@pytest.mark.parametrize("method", ["REPLY", "REQUEST", "CANCEL", "COUNTER", "ADD", "DECLINECOUNTER", "PUBLISH"])
def test_no_message_from_outside_makes_mail_by_itself(place: Place, olga: Account, dave: Account, method: str) -> None:
    for sender, calendar in (
        (BOB, reply(method=method)),
        (BOB, invitation().replace(b"METHOD:REQUEST", b"METHOD:" + method.encode())),
    ):
        for to in (OLGA, "dave@example.com"):
            place.send(mail(calendar, sender=sender, method=method), to)
    assert _mails(place) == 0


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_mail_for_nobody_here_is_refused(place: Place) -> None:
    assert place.send(mail(reply()), "nobody@example.com").outcome == UNKNOWN


def test_mail_for_a_disabled_account_is_refused(place: Place, olga: Account) -> None:
    with transaction(place.store, write=True) as conn:
        accounts.set_active(conn, olga.id, False)
    assert place.send(mail(reply())).outcome == UNKNOWN


def test_a_reply_to_the_service_address_is_the_organizers(place: Place, olga: Account) -> None:
    assert place.send(mail(reply(), to=SERVICE), SERVICE).outcome == APPLIED
    assert place.answers(olga) == {BOB: "ACCEPTED"}


def test_a_text_in_answer_to_an_invitation_is_kept_for_the_organizer(place: Place, olga: Account) -> None:
    _sent_to(place, olga, BOB)
    raw = b"From: bob@example.net\r\nIn-Reply-To: <inv-1@cal.example.com>\r\nSubject: Re: Planning\r\n\r\nLater?\r\n"
    assert place.send(raw, SERVICE).outcome == KEPT
    assert place.kept(olga)[0].subject == "Re: Planning"
    assert place.send(raw.replace(b"inv-1", b"inv-2"), SERVICE).outcome == IGNORED


def test_in_a_mailbox_the_headers_tell_whose_it_is_and_ordinary_mail_stays_alone(place: Place, olga: Account) -> None:
    assert place.send(mail(reply()), "", mailbox=True).outcome == APPLIED
    assert place.answers(olga) == {BOB: "ACCEPTED"}
    ordinary = b"From: bob@example.net\r\nTo: olga@example.com\r\n\r\nHello\r\n"
    assert place.send(ordinary, "", mailbox=True).outcome == NOTHING
    assert place.kept(olga) == []


# --- bounds -----------------------------------------------------------------------------------------------------------


def test_too_large_a_mail_is_not_looked_at(place: Place, olga: Account) -> None:
    assert place.send(b"x" * ((1 << 20) + 1)).outcome == TOO_LARGE


def test_kept_mail_of_an_account_is_bounded(place: Place, olga: Account) -> None:
    few = settings(kept_messages=3)
    for number in range(5):
        place.send(mail(reply(uid=f"unknown-{number}")), config=few)
    assert [one.uid for one in place.kept(olga)] == ["unknown-4", "unknown-3", "unknown-2"]


def test_one_sender_cannot_say_too_much_to_one_account(place: Place, olga: Account) -> None:
    few = settings(per_sender_hour=2)
    outcomes = [place.send(mail(reply(uid=f"unknown-{number}")), config=few).outcome for number in range(4)]
    assert outcomes == [KEPT, KEPT, LATER, LATER]
    place.now_s += 3601
    assert place.send(mail(reply(uid="unknown-9")), config=few).outcome == KEPT


@given(raw=st.binary(max_size=600), head=st.sampled_from([b"", b"From: bob@example.net\r\n"]))
@hypothesis_settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_bytes_have_an_outcome(place: Place, raw: bytes, head: bytes) -> None:
    if not place.ready:
        place.account("olga", OLGA)
        place.ready = True
    result = place.send(head + raw, config=settings(per_sender_hour=1_000_000))
    assert result.outcome in (KEPT, IGNORED, NOTHING, APPLIED)


_LINES = st.sampled_from(
    [
        "BEGIN:VEVENT", "END:VEVENT", "BEGIN:VTIMEZONE", "END:VTIMEZONE", f"UID:{UID}", "DTSTAMP:20260201T101500Z",
        "SEQUENCE:99999999999999999999", "RECURRENCE-ID:99999999T999999Z", "RECURRENCE-ID;TZID=Nowhere:20260309T090000",
        "ATTENDEE;PARTSTAT=ACCEPTED:mailto:bob@example.net", "ATTENDEE;PARTSTAT=\x00:mailto:bob@example.net",
        "ATTENDEE:mailto:", "ORGANIZER:mailto:olga@example.com", "ORGANIZER:mailto:bob@example.net",
        "DTSTART:20260302T170000Z", "DTSTART;TZID=X:00010101T000000", "RRULE:FREQ=SECONDLY", "RRULE:FREQ=DAILY;COUNT=9",
        "EXDATE:20260303T170000Z", "RDATE;VALUE=PERIOD:20260302T170000Z/PT1H", "STATUS:CANCELLED", "COMMENT:x",
        "REQUEST-STATUS:2.0;x", "DURATION:-P99999999W", "DTEND:19000101T000000Z", "TZID:X",
    ]
)  # fmt: skip


@given(
    lines=st.lists(_LINES, max_size=25), method=st.sampled_from(sorted(inbound.FROM_ATTENDEE | inbound.FROM_ORGANIZER))
)
@hypothesis_settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_calendars_made_of_broken_lines_have_an_outcome(place: Place, lines: list[str], method: str) -> None:
    if not place.ready:
        place.hold(place.account("olga", OLGA), meeting(more=("RRULE:FREQ=WEEKLY;COUNT=10",)))
        place.account("dave", "dave@example.com")
        place.ready = True
    whole = ["BEGIN:VCALENDAR", "VERSION:2.0", f"METHOD:{method}", "BEGIN:VEVENT", f"UID:{UID}", *lines, "END:VEVENT",
             "END:VCALENDAR", ""]  # fmt: skip
    raw = mail("\r\n".join(whole).encode(), method=method)
    loose = settings(per_sender_hour=1_000_000, unknown_senders="add")
    for to in (OLGA, "dave@example.com"):
        result = place.send(raw, to, config=loose)
        assert not result.reason.endswith("Error"), result


def _add_contact(place: Place, account: Account, email: str) -> None:
    from dav.vcard import check_card, index_card
    from storage import collections, objects

    body = f"BEGIN:VCARD\r\nVERSION:3.0\r\nUID:c\r\nFN:Bob\r\nN:;;;;\r\nEMAIL:{email}\r\nEND:VCARD\r\n".encode()
    with transaction(place.store, write=True) as conn:
        home = collections.home(conn, account.id, "addressbooks")
        book = next(one for one in collections.children(conn, home.id) if one.kind == "addressbook")
        index = index_card(check_card(body, size_max=10_000))
        objects.put_object(conn, book, "c.vcf", body, content_type="text/vcard", etag="e", index=index, now_s=NOW_S)
