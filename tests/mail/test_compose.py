"""Rows of the ledger as mails: form, head, words; and nothing of a calendar that gets out of its place."""

from __future__ import annotations

import email
import re
from dataclasses import replace
from email import policy
from email.message import EmailMessage

import icalendar
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import html

from dav.config import MailConfig
from dav.mail.compose import Actor, CannotCompose, Mail, Reader
from tests.mail.letters import (
    CONFIG,
    EVENT,
    LINKS,
    calendar,
    calendar_of,
    html_of,
    parts,
    row,
    text_of,
    written,
)

SERIES = EVENT.replace("SUMMARY", "RRULE:FREQ=WEEKLY;BYDAY=MO\nEXDATE;TZID=Europe/Berlin:20261221T100000\nSUMMARY")


def read(mail: Mail) -> EmailMessage:
    return email.message_from_bytes(mail.data, policy=policy.default)  # type: ignore[return-value]


def by_guest(partstat: str, *, more: str = "") -> str:
    return EVENT.partition("ORGANIZER")[0] + (
        f"ORGANIZER;CN=Anna Berg:mailto:anna@example.org\nATTENDEE;PARTSTAT={partstat}:mailto:bob@example.org\n{more}"
    )


def reply(partstat: str, *, more: str = "") -> Mail:
    return written(
        row(by_guest(partstat, more=more), method="REPLY", sender="bob@example.org", sender_name="Bob Kaya",
            recipient="anna@gmail.example", recipient_name="Anna Berg", changes=("answer",))
    )  # fmt: skip


# ---- form ----


def test_the_form_is_mixed_of_alternative_with_the_calendar_last_and_a_file() -> None:
    message = read(written(row()))
    assert message.get_content_type() == "multipart/mixed"
    alternative, file = message.iter_parts()
    assert [part.get_content_type() for part in alternative.iter_parts()] == [
        "text/plain", "text/html", "text/calendar",
    ]  # fmt: skip
    inline = list(alternative.iter_parts())[2]
    assert inline.get_param("method") == "REQUEST"
    assert inline.get_param("charset") == "utf-8"
    assert inline["Content-Disposition"] is None
    assert inline.get_param("name") is None
    assert inline["Content-Transfer-Encoding"] == "base64"
    assert (file.get_content_type(), file.get_filename(), file.get_param("name")) == (
        "application/ics", "invite.ics", "invite.ics",
    )  # fmt: skip
    assert file.get_content_disposition() == "attachment"


def test_both_copies_of_the_calendar_are_equal_to_the_byte() -> None:
    found = parts(read(written(row(SERIES))))
    inline, file = (found[kind][0].get_payload(decode=True) for kind in ("text/calendar", "application/ics"))
    assert inline == file
    assert isinstance(inline, bytes)
    assert b"\r\nMETHOD:REQUEST\r\n" in inline
    (event,) = icalendar.Calendar.from_ical(inline).walk("VEVENT")
    assert event["UID"] == "u1@example.org"


@pytest.mark.parametrize("method", ["REQUEST", "CANCEL", "REPLY", "COUNTER", "DECLINECOUNTER", "REFRESH", "ADD"])
def test_the_method_is_the_same_in_the_head_and_in_the_calendar(method: str) -> None:
    mail = written(row(method=method, changes=()))
    part = parts(read(mail))["text/calendar"][0]
    assert part.get_param("method") == method
    assert f"\r\nMETHOD:{method}\r\n".encode() in calendar_of(mail)
    assert mail.message["Subject"]
    assert text_of(mail).strip()


def test_no_line_is_longer_than_998_octets_and_all_end_in_crlf() -> None:
    # sabre-io/Baikal #1315: a long SUMMARY broke the mail.
    long = EVENT.replace("Quarterly planning", "Ä" * 2000).replace("Meeting room 4", "x" * 3000)
    mail = written(row(long + "DESCRIPTION:" + "y" * 20_000 + "\nURL:https://example.org/" + "z" * 1_900 + "\n"))
    lines = mail.data.split(b"\r\n")
    assert max(map(len, lines)) <= 998
    assert b"\n" not in b"".join(lines)
    assert b"\r" not in b"".join(lines)
    assert read(mail)["Subject"].startswith("Invitation: ÄÄ")


# ---- head ----


def test_an_organizer_of_ours_is_the_sender() -> None:
    message = read(written(row()))
    assert message["From"] == "Anna Berg <anna@example.org>"
    assert message["To"] == "Bob Kaya <bob@gmail.example>"
    assert message["Reply-To"] is None
    assert message["Sender"] is None


def test_an_organizer_of_elsewhere_never_is_the_sender() -> None:
    # DMARC: our server cannot sign for gmail.example.
    other = EVENT.replace("anna@example.org", "anna@gmail.example")
    message = read(written(row(other, sender="anna@gmail.example")))
    assert message["From"] == "Anna Berg via Davenport <invites@example.org>"
    assert message["Reply-To"] == "Anna Berg <anna@gmail.example>"


def test_the_domains_of_the_settings_decide_who_is_ours() -> None:
    config = replace(CONFIG, mail=MailConfig(from_address="invites@example.org", domains=("other.example",)))
    message = read(written(row(), config=config))
    assert message["From"] == "Anna Berg via Davenport <invites@example.org>"
    assert message["Reply-To"] == "Anna Berg <anna@example.org>"


PA = Actor("Paul Abel", "pa@example.org")


def test_who_writes_for_somebody_else_is_the_sender_field_where_our_server_signs_for_both() -> None:
    message = read(written(row(), actor=PA))
    assert message["From"] == "Anna Berg <anna@example.org>"
    assert message["Sender"] == "Paul Abel <pa@example.org>"
    away = read(written(row(), actor=Actor("Paul Abel", "pa@gmail.example")))
    assert (away["From"], away["Sender"]) == ("Anna Berg <anna@example.org>", None)
    # Not in the name of a stranger's domain, whoever wrote it (DMARC).
    other = row(EVENT.replace("anna@example.org", "anna@gmail.example"), sender="anna@gmail.example")
    foreign = read(written(other, actor=PA))
    assert foreign["From"] == "Anna Berg via Davenport <invites@example.org>"
    assert (foreign["Reply-To"], foreign["Sender"]) == ("Anna Berg <anna@gmail.example>", None)


def test_who_a_client_names_as_sent_by_does_not_become_the_sender_field() -> None:
    by = EVENT.replace("ORGANIZER;", 'ORGANIZER;SENT-BY="mailto:boss@example.org";')
    assert read(written(row(by)))["Sender"] is None
    both = read(written(row(by), actor=PA))
    assert both["Sender"] == "Paul Abel <pa@example.org>"


def test_the_calendar_of_a_mail_names_who_wrote_it() -> None:
    mail = written(row(), actor=PA)
    unfolded = calendar_of(mail).replace(b"\r\n ", b"").decode()
    assert 'ORGANIZER;CN=Anna Berg;SENT-BY="mailto:pa@example.org":mailto:anna@example.org' in unfolded
    assert unfolded.count("SENT-BY") == 1
    answer = written(
        row(by_guest("ACCEPTED"), method="REPLY", sender="bob@example.org", sender_name="Bob Kaya",
            recipient="anna@example.org", changes=("answer",)), actor=PA,
    )  # fmt: skip
    lines = calendar_of(answer).replace(b"\r\n ", b"").decode().splitlines()
    (attendee,) = [line for line in lines if line.startswith("ATTENDEE")]
    assert 'SENT-BY="mailto:pa@example.org"' in attendee
    assert not any("SENT-BY" in line for line in lines if line.startswith("ORGANIZER"))


@pytest.mark.parametrize(
    ("language", "words"),
    [
        ("en", "Paul Abel on behalf of Anna Berg invites you"),
        ("de", "Paul Abel im Auftrag von Anna Berg lädt Sie ein"),
        ("fr", "Paul Abel (au nom de Anna Berg) vous invite"),
        ("es", "Paul Abel en nombre de Anna Berg le invita"),
    ],
)
def test_a_mail_says_in_words_who_wrote_it_for_whom(language: str, words: str) -> None:
    mail = written(row(), actor=PA, reader=Reader(language=language))
    assert words in text_of(mail)
    assert words in html_of(mail)
    assert "Anna Berg (anna@example.org)" in text_of(mail)


def test_a_delegate_whose_account_is_named_by_his_address_is_called_by_its_local_part() -> None:
    mail = written(row(), actor=Actor("pa@example.org", "pa@example.org"))
    assert "pa on behalf of Anna Berg invites you" in text_of(mail)
    assert read(mail)["Sender"] == "pa@example.org"


def test_a_machine_is_told_not_to_answer_and_bounces_still_come() -> None:
    message = read(written(row()))
    assert message["Auto-Submitted"] == "auto-generated"
    assert message["X-Auto-Response-Suppress"] == "OOF, AutoReply"
    assert message["Precedence"] is None
    assert message["List-Unsubscribe"] is None
    assert len(message.get_all("Date", [])) == len(message.get_all("MIME-Version", [])) == 1


def test_the_same_row_has_the_same_message_id_and_others_have_others() -> None:
    one, again = written(row()), written(row(tries=5, id=7), now_s=1_795_700_000)
    assert one.message_id == again.message_id == one.message["Message-ID"]
    assert re.fullmatch(r"<[0-9a-f]{40}@example\.org>", one.message_id)
    others = [row(key="cd" * 32), row(key="", sequence=1), row(key="", digest="e" * 64), row(key="", method="CANCEL")]
    others += [row(key="", recipient="c@x.example"), row(key="", recurrence="20261207T090000Z")]
    found = {written(other).message_id for other in others}
    assert len(found | {one.message_id}) == len(others) + 1


def test_later_mails_of_an_event_are_one_thread() -> None:
    message = read(written(row(), thread="<first@example.org>"))
    assert message["In-Reply-To"] == message["References"] == "<first@example.org>"
    assert read(written(row()))["In-Reply-To"] is None
    assert read(written(row(), thread="<a@b>\r\nBcc: x@y.example"))["In-Reply-To"] is None


def test_an_address_beyond_ascii_asks_for_smtputf8_and_its_domain_is_an_a_label() -> None:
    mail = written(row(recipient="jörg@bücher.example"))
    assert (mail.utf8, mail.recipient) == (True, "jörg@xn--bcher-kva.example")
    mail = written(row(recipient="joe@bücher.example"))
    assert (mail.utf8, mail.recipient) == (False, "joe@xn--bcher-kva.example")


@pytest.mark.parametrize("address", ["", "nobody", "a b@c.example", "a@b@c.example", "a@b\r\nRCPT TO:<x@y>", "<a@b.c>"])
def test_what_is_no_address_is_refused(address: str) -> None:
    with pytest.raises(CannotCompose):
        written(row(recipient=address))


def test_a_calendar_that_cannot_be_read_is_refused_with_a_reason() -> None:
    for body in (b"", b"BEGIN:VCALENDAR\r\n", b"BEGIN:VCALENDAR\r\nEND:VCALENDAR\r\n"):
        with pytest.raises(CannotCompose, match=r"\w"):
            written(row(calendar=body))


# ---- nothing gets out of its place ----

NASTY = st.lists(
    st.sampled_from(
        ["\\n", "\r", "\x00", "\x0b", "\u2028", "\u202e", "=?utf-8?q?=0D=0ABcc:_x@y.example?=", "<script>", "</title>",
         "&", '"', "'", "<!--", "]]>", "\nBcc: x@y.example\n", "a@b.example", "javascript:alert(1)", "onload=", "{0}",
         "{name}", "%s", "=", "?=", "?", "é", "🎉", "\ud7ff", " ", "\t", ";", ":", ","]
    )
    | st.text(max_size=8),
    max_size=8,
).map("".join)  # fmt: skip


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(NASTY, NASTY, NASTY, NASTY)
def test_nothing_of_a_calendar_becomes_a_header_or_markup(summary: str, place: str, name: str, text: str) -> None:
    def clean(value: str) -> str:
        return value.replace("\n", "\\n").replace("\r", "").encode("utf-8", "replace").decode()

    quoted = clean(name).replace('"', "")
    event = (
        f"DTSTART:20261207T100000Z\nSUMMARY:{clean(summary)}\nLOCATION:{clean(place)}\nDESCRIPTION:{clean(text)}\n"
        f'ORGANIZER;CN="{quoted}":mailto:anna@example.org\nATTENDEE;CN="{quoted}":mailto:bob@gmail.example\n'
    )
    body = calendar("REQUEST", event)
    mail = written(row(calendar=body, sender_name=name, recipient_name=name))
    assert max(map(len, mail.data.split(b"\r\n"))) <= 998
    message = read(mail)
    assert message["Bcc"] is None
    assert sorted(key for key in message if not key.startswith("Content-")) == sorted(
        ["MIME-Version", "Subject", "From", "To", "Date", "Message-ID", "Auto-Submitted", "X-Auto-Response-Suppress"]
    )
    assert message["From"].addresses[0].addr_spec == "anna@example.org"
    assert [address.addr_spec for address in message["To"].addresses] == ["bob@gmail.example"]
    assert not set(str(message["Subject"])) & set("\r\n\x00\u202e\u2028")
    assert not message.defects
    page = html.document_fromstring(html_of(mail))
    assert {element.tag for element in page.iter() if isinstance(element.tag, str)} <= {
        "html", "head", "meta", "title", "style", "body", "div", "h1", "a", "span", "br", "strong", "s",
    }  # fmt: skip
    allowed = {"class", "style", "href", "lang", "name", "content", "charset", "aria-hidden"}
    for element in page.iter():
        if isinstance(element.tag, str):
            assert set(element.attrib) <= allowed
            assert element.get("href", "https://").startswith(("https://", "http://", "tel:"))
        else:
            raise AssertionError("a comment")
    for copy in (parts(message)[kind][0].get_payload(decode=True) for kind in ("text/calendar", "application/ics")):
        assert isinstance(copy, bytes)
        assert copy.count(b"BEGIN:VEVENT") == 1


def test_links_that_are_no_web_addresses_are_not_links() -> None:
    for value in (
        "javascript:alert(1)",
        "data:text/html,x",
        "https://a b",
        'https://x/"onclick="y',
        "ftp://x.example/",
    ):
        mail = written(row(EVENT + f"URL:{value}\n"), links=None)
        assert "<a " not in html_of(mail)
    mail = written(row(EVENT + "CONFERENCE;VALUE=URI:tel:+49-30-1234\n"), links=None)
    assert 'href="tel:+49-30-1234"' in html_of(mail)


def test_a_name_that_looks_like_another_address_is_not_shown_as_the_sender() -> None:
    message = read(written(row(sender_name="boss@bank.example")))
    assert message["From"] == "anna <anna@example.org>"


# ---- words ----


def test_an_invitation_says_all_that_a_guest_needs() -> None:
    more = "CONFERENCE;VALUE=URI:https://meet.example.org/q\nDESCRIPTION:Bring numbers.\\nAnd lunch.\n"
    mail = written(row(SERIES + more))
    text = text_of(mail)
    for words in (
        "Anna Berg invites you", "Quarterly planning", "Monday, December 7, 2026", "Central European Time", "(Berlin)",
        "Repeats: Weekly on Monday", "Not on: Dec 21, 2026", "Where: Meeting room 4, Torstraße 12",
        "https://meet.example.org/q", "From: Anna Berg <anna@example.org>", "Guests: Anna Berg and Bob Kaya",
        "Bring numbers.\nAnd lunch.", LINKS.accept, LINKS.tentative, LINKS.decline,
    ):  # fmt: skip
        assert words in text.replace("\n      ", " "), words
    page = html_of(mail)
    assert f'href="{LINKS.accept}"' in page
    assert mail.message["Subject"] == "Invitation: Quarterly planning"


def test_without_links_the_calendar_program_or_a_reply_answers() -> None:
    mail = written(row(), links=None)
    assert "Answer in your calendar program, or reply to this mail." in text_of(mail)
    assert "dp-btn dp-yes" not in html_of(mail)


def test_an_update_tells_old_and_new() -> None:
    later = EVENT.replace("T100000", "T140000").replace("T113000", "T150000").replace("Meeting room 4", "Room 9")
    later += "ATTENDEE;CN=Dora:mailto:dora@x.example\n"
    mail = written(row(later, changes=("time", "place", "attendees"), sequence=1), previous=row())
    text = " ".join(text_of(mail).split())
    assert mail.message["Subject"] == "Updated invitation: Quarterly planning"
    assert (
        "* When: Monday, December 7, 2026, 2:00 PM – 3:00 PM (was: Monday, December 7, 2026, 10:00 AM – 11:30" in text
    )
    assert "* Where: Room 9, Torstraße 12 (was: Meeting room 4, Torstraße 12)" in text
    assert "* New guests: Dora" in text
    assert "Title" not in text
    assert "<s " in html_of(mail)


def test_what_changed_is_named_when_the_former_mail_is_not_known() -> None:
    mail = written(row(changes=("time", "url", "conference"), sequence=3))
    assert "What has changed:\n* The time and the link" in text_of(mail)


def test_a_date_that_was_taken_out_or_moved_is_said() -> None:
    moved = "RECURRENCE-ID;TZID=Europe/Berlin:20261214T100000\n" + EVENT.replace("20261207", "20261215").replace(
        "Meeting room 4", "Garden"
    )
    before = row(SERIES)
    extra = SERIES.replace("20261221T100000", "20261221T100000,20261228T100000")
    text = " ".join(text_of(written(row(extra, moved, changes=("instance",)), previous=before)).split())
    assert "* No longer on: Dec 28, 2026" in text
    assert "* Different on: Dec 14, 2026: Tuesday, December 15, 2026, 10:00 AM – 11:30 AM" in text
    assert "Garden" in text


def test_a_cancel_of_all_one_and_of_an_invitation() -> None:
    mail = written(row(EVENT + "STATUS:CANCELLED\n", method="CANCEL", changes=("cancelled",)), thread="<a@b.example>")
    assert mail.message["Subject"] == "Canceled: Quarterly planning"
    assert "Anna Berg has canceled this event" in text_of(mail)
    assert LINKS.accept not in text_of(mail)
    one = "RECURRENCE-ID;TZID=Europe/Berlin:20261214T100000\n" + EVENT.replace("20261207", "20261214")
    mail = written(row(one, method="CANCEL", recurrence="20261214T090000Z", changes=("cancelled",)))
    assert mail.message["Subject"] == "Canceled: Quarterly planning (Dec 14, 2026)"
    assert "Everything else stays as it is." in text_of(mail)
    mail = written(row(method="CANCEL", changes=("removed",)))
    assert "You are no longer invited by Anna Berg" in text_of(mail)


@pytest.mark.parametrize(
    ("partstat", "subject", "words"),
    [
        ("ACCEPTED", "Accepted: Quarterly planning", "Bob Kaya has accepted"),
        ("DECLINED", "Declined: Quarterly planning", "Bob Kaya has declined"),
        ("TENTATIVE", "Tentatively accepted: Quarterly planning", "Bob Kaya may come"),
        ("DELEGATED", "Delegated: Quarterly planning", "Bob Kaya sends somebody else"),
        ("X-ODD", "Answer: Quarterly planning", "Bob Kaya has answered"),
    ],
)
def test_a_reply_says_who_answers_what(partstat: str, subject: str, words: str) -> None:
    mail = reply(partstat, more="COMMENT:Only until 11.\n")
    assert mail.message["Subject"] == subject
    assert words in text_of(mail)
    assert "Note: Only until 11." in text_of(mail)
    assert mail.message["From"] == "Bob Kaya <bob@example.org>"


def test_a_reply_to_single_dates_lists_them() -> None:
    dates = [
        f"RECURRENCE-ID;TZID=Europe/Berlin:{day}T100000\n" + by_guest(partstat).replace("20261207", day)
        for day, partstat in (("20261214", "ACCEPTED"), ("20261228", "DECLINED"))
    ]
    mail = written(row(*dates, method="REPLY", sender="bob@example.org", sender_name="Bob Kaya", changes=("answer",)))
    assert "Dec 14, 2026: accepted" in text_of(mail)
    assert "Dec 28, 2026: declined" in text_of(mail)
    assert mail.message["Subject"] == "Answer: Quarterly planning"


def test_the_language_is_the_guests_then_the_organizers_then_the_settings() -> None:
    tagged = EVENT.replace("ATTENDEE;CN=Bob Kaya", "ATTENDEE;LANGUAGE=es-MX;CN=Bob Kaya")
    assert written(row(), reader=Reader(language="fr")).message["Subject"].startswith("Invitation : ")
    assert written(row(tagged), reader=Reader(home_language="de")).message["Subject"].startswith("Invitación: ")
    assert written(row(), reader=Reader(home_language="de-CH")).message["Subject"].startswith("Einladung: ")
    spanish = replace(CONFIG, mail=replace(CONFIG.mail, language="es"))
    assert written(row(), config=spanish, reader=Reader(home_language="sv")).message["Subject"].startswith("Invitación")
    assert written(row()).message["Subject"].startswith("Invitation: ")


def test_a_task_has_a_due_date_and_no_question() -> None:
    task = EVENT.replace("DTSTART;TZID=Europe/Berlin:20261207T100000\n", "").replace("DTEND", "DUE")
    text = text_of(written(row(task, kind="VTODO")))
    assert "Anna Berg gives you a task" in text
    assert "Due: due Monday, December 7, 2026, 11:30" in text
    assert "Will you be there?" not in text


def test_many_guests_are_counted() -> None:
    people = "".join(f"ATTENDEE;CN=Guest {n}:mailto:g{n}@x.example\n" for n in range(40))
    text = " ".join(text_of(written(row(EVENT + people))).split())
    assert "Guest 5 and 34 others" in text


def test_who_is_invited_to_single_dates_sees_only_these() -> None:
    dates = [
        f"RECURRENCE-ID;TZID=Europe/Berlin:{d}T100000\n" + EVENT.replace("20261207", d)
        for d in ("20261214", "20261228")
    ]
    text = " ".join(text_of(written(row(*dates))).split())
    assert "Monday, December 14, 2026, 10:00" in text
    assert "Monday, December 28, 2026, 10:00" in text
    assert "December 7" not in text


def test_a_mail_is_under_100_kb_with_the_longest_description() -> None:
    mail = written(row(EVENT + "DESCRIPTION:" + "word " * 6_000 + "\n"))
    assert len(mail.data) < 128 * 1024
