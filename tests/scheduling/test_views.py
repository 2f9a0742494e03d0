"""What leaves a calendar: no alarms, nothing private, one form that mail programs read."""

from __future__ import annotations

import re

import pytest

from dav.scheduling.model import MASTER, read_itip, read_object
from dav.scheduling.organizer import view_for
from dav.scheduling.views import for_mail, in_order

from .kit import ALICE, BOB, NOW, NOW_S, obj, put, text_of, values, who

MEETING = f"""
DTSTART:20260110T110000Z
ORGANIZER:{ALICE}
ATTENDEE:{BOB}
"""


def view(*components: str, method: str = "REQUEST", attendee: str = BOB, before: str = "") -> bytes:
    """What bob sees of it."""
    found = view_for(obj(*components, before=before), attendee, who=who(), method=method, now_s=NOW_S)
    assert found is not None
    return found


KEPT = [
    "SUMMARY:Lunch", "DESCRIPTION:With\\, commas\\nand lines", "LOCATION:Room 1", "URL:https://example.org/",
    "ATTACH:https://example.org/a.pdf", "ATTACH;VALUE=BINARY;ENCODING=BASE64:AAAA", "ATTACH:CID:part1@example.org",
    "CATEGORIES:Work", "CLASS:PRIVATE", "STATUS:TENTATIVE", "X-ALT-DESC;FMTTYPE=text/html:<b>x</b>",
    'X-APPLE-STRUCTURED-LOCATION;VALUE=URI;X-TITLE="Home":geo:52.5,13.4', "X-MICROSOFT-CDO-INTENDEDSTATUS:BUSY",
    "CONFERENCE;VALUE=URI:https://meet.example.org/1", "GEO:1.0;2.0", "CREATED:20260101T000000Z",
]  # fmt: skip
DROPPED = [
    "TRANSP:TRANSPARENT", "X-MOZ-LASTACK:20260101T000000Z", "X-APPLE-TRAVEL-ADVISORY-BEHAVIOR:AUTOMATIC",
    "X-APPLE-DEFAULT-ALARM:TRUE", "X-MICROSOFT-CDO-BUSYSTATUS:FREE", "X-EVOLUTION-CALDAV-ETAG:1", "X-LIC-ERROR:x",
    "REQUEST-STATUS:2.0;Success", "ATTACH:file:///home/alice/a.pdf", "ATTACH:http://localhost/a.pdf",
    "ATTACH:https://alice:secret@example.org/a.pdf", "ATTACH:http://192.168.1.5/a", "ATTACH:http://[fd00::1]/a",
    "ATTACH:https://nas.local/a", "ATTACH:/relative/a.pdf", "ATTACH:http://[broken/", "no colon here",
    "COLOR:red", "METHOD:REQUEST",
]  # fmt: skip


@pytest.mark.parametrize("line", KEPT)
def test_what_belongs_to_the_meeting_leaves_as_it_is(line: str) -> None:
    assert f"\r\n{line}\r\n".encode() in view(f"{MEETING}{line}").replace(b"\r\n ", b"")


@pytest.mark.parametrize("line", DROPPED)
def test_what_is_the_organizers_own_does_not_leave(line: str) -> None:
    assert line.encode() not in view(f"{MEETING}{line}").replace(b"\r\n ", b"").replace(b"METHOD:REQUEST", b"", 1)


def test_alarms_do_not_leave() -> None:
    alarm = "BEGIN:VALARM\nACTION:DISPLAY\nTRIGGER:-PT5M\nDESCRIPTION:secret\nEND:VALARM"
    assert b"VALARM" not in view(f"{MEETING}{alarm}")
    assert b"VALARM" not in view(f"{MEETING}{alarm}", method="CANCEL")


def test_the_frame_is_that_of_a_message() -> None:
    found = view(MEETING, before="METHOD:PUBLISH\nX-WR-CALNAME:Private")
    assert found.startswith(
        b"BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Davenport//Davenport//EN\r\nCALSCALE:GREGORIAN\r\n"
        b"METHOD:REQUEST\r\nBEGIN:VEVENT\r\n"
    )
    assert found.endswith(b"END:VEVENT\r\nEND:VCALENDAR\r\n")
    assert found.count(b"DTSTAMP:") == 1
    # No number is 0; by mail it is written out.
    assert f"DTSTAMP:{NOW}\r\nUID".encode() in found
    assert f"DTSTAMP:{NOW}\r\nSEQUENCE:0\r\nUID".encode() in for_mail(found)
    assert for_mail(for_mail(found)) == for_mail(found)
    assert b"X-WR" not in found


def test_whoever_has_not_answered_is_asked_and_a_cancel_asks_nobody() -> None:
    assert f"ATTENDEE;PARTSTAT=NEEDS-ACTION;RSVP=TRUE:{BOB}\r\n".encode() in view(MEETING)
    assert f"ATTENDEE:{BOB}\r\n".encode() in view(MEETING, method="CANCEL")
    answered = MEETING.replace("ATTENDEE", "ATTENDEE;PARTSTAT=DECLINED;RSVP=FALSE")
    assert f"ATTENDEE;PARTSTAT=DECLINED;RSVP=FALSE:{BOB}\r\n".encode() in view(answered)


@pytest.mark.parametrize(
    ("line", "leaves"),
    [
        (f"ORGANIZER;CN=Alice:{ALICE}", f"ORGANIZER;CN=Alice:{ALICE}"),
        ("ORGANIZER:MAILTO:alice@example.org", "ORGANIZER:MAILTO:alice@example.org"),
        ("ORGANIZER:mailto:Alice <alice@example.org>", f"ORGANIZER:{ALICE}"),
        ("ORGANIZER:mailto:%61lice@example.org", f"ORGANIZER:{ALICE}"),
        ("ORGANIZER;CN=Alice:/principals/alice/", f"ORGANIZER;CN=Alice:{ALICE}"),
        (f"ORGANIZER;SCHEDULE-AGENT=SERVER;SCHEDULE-STATUS=1.2:{ALICE}", f"ORGANIZER:{ALICE}"),
    ],
)
def test_the_organizer_can_be_answered_to(line: str, leaves: str) -> None:
    assert f"\r\n{leaves}\r\n".encode() in view(MEETING.replace(f"ORGANIZER:{ALICE}", line))
    plan = put(None, obj(MEETING.replace(f"ORGANIZER:{ALICE}", line)))
    assert [message.sender for message in plan.messages] == [ALICE]


def test_an_override_that_names_no_organizer_leaves_with_one() -> None:
    override = f"RECURRENCE-ID:20260111T110000Z\nDTSTART:20260111T120000Z\nATTENDEE:{BOB}"
    found = read_itip(view(f"{MEETING}RRULE:FREQ=DAILY", override)).object
    assert all(values(part, "ORGANIZER") == [ALICE] for part in found.parts.values())


def test_a_time_zone_for_each_name_that_is_used_and_for_no_other() -> None:
    own = """
        BEGIN:VTIMEZONE
        TZID:Here
        BEGIN:STANDARD
        DTSTART:16010101T000000
        TZOFFSETFROM:+0130
        TZOFFSETTO:+0130
        END:STANDARD
        END:VTIMEZONE
        BEGIN:VTIMEZONE
        TZID:Europe/Berlin
        BEGIN:STANDARD
        DTSTART:16010101T000000
        TZOFFSETFROM:+0500
        TZOFFSETTO:+0500
        END:STANDARD
        END:VTIMEZONE
        BEGIN:VTIMEZONE
        TZID:Unused
        BEGIN:STANDARD
        DTSTART:16010101T000000
        TZOFFSETFROM:+0500
        TZOFFSETTO:+0500
        END:STANDARD
        END:VTIMEZONE
    """
    before = "\n".join(line.strip() for line in own.strip().splitlines())
    text = MEETING.replace("DTSTART:20260110T110000Z", "DTSTART;TZID=Here:20260110T110000")
    text += "DTEND;TZID=Europe/Berlin:20260110T130000\nEXDATE;TZID=W. Europe Standard Time:20260110T130000"
    found = view(text, before=before)
    assert set(re.findall(rb"\nTZID:([^\r\n]+)", found)) == {b"Here", b"Europe/Berlin", b"W. Europe Standard Time"}
    # Definitions leave as they were written; for names without one there is ours.
    assert found.count(b"+0500") == 2
    assert b"+0130" in found


def test_lines_are_folded_and_are_utf_8_with_crlf() -> None:
    long = "Ü" * 500
    body = view(f"{MEETING}SUMMARY:{long}")
    assert max(len(line) for line in body.split(b"\r\n")) <= 75
    assert b"\n" not in body.replace(b"\r\n", b"")
    assert read_itip(body).object.parts[MASTER].value("SUMMARY") == long


def test_text_in_latin_1_with_bare_line_feeds_leaves_as_utf_8_with_crlf() -> None:
    body = text_of(f"{MEETING}SUMMARY:Caf\xe9\nLOCATION:a\x07b").replace("\r\n", "\n").encode("latin-1")
    found = view_for(read_object(body), BOB, who=who(), method="REQUEST", now_s=NOW_S)
    assert found is not None
    assert "SUMMARY:Café\r\n".encode() in found
    assert b"LOCATION:ab\r\n" in found
    assert b"\n" not in found.replace(b"\r\n", b"")


def test_all_guests_of_the_same_parts_get_the_same_bytes() -> None:
    guests = "\n".join(f"ATTENDEE:mailto:guest{number}@example.net" for number in range(30))
    plan = put(None, obj(f"{MEETING}{guests}"))
    assert len(plan.messages) == 31
    assert len({id(message.calendar) for message in plan.messages}) == 1


def test_who_is_invited_to_nothing_sees_nothing() -> None:
    for method in ("REQUEST", "CANCEL"):
        assert view_for(obj(MEETING), "mailto:eve@example.org", who=who(), method=method, now_s=NOW_S) is None
    assert view_for(obj(f"{MEETING}STATUS:CANCELLED"), BOB, who=who(), method="REQUEST", now_s=NOW_S) is None


def test_a_sequence_may_be_given() -> None:
    found = view_for(obj(f"{MEETING}SEQUENCE:3"), BOB, who=who(), method="CANCEL", now_s=NOW_S, sequence=8)
    assert found is not None
    itip = read_itip(found)
    assert itip.sequence == 8
    assert values(itip.object.master, "STATUS") == ["CANCELLED"]


def test_names_of_changes_are_in_one_order() -> None:
    assert in_order({"summary", "new", "time"}) == ("new", "time", "summary")
