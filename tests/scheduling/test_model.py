"""A calendar object by instances, and messages as they come."""

from __future__ import annotations

import pytest

from dav.ical.lines import read
from dav.ical.recur import moment
from dav.scheduling.model import (
    MASTER,
    METHODS,
    ItipError,
    address_of,
    agent_of,
    attendees_of,
    key_of,
    key_of_moment,
    number_of,
    organizer_of,
    partstat_of,
    read_itip,
    read_object,
    scheduling_object,
    stamp_of,
    start_of,
)

from .kit import ALICE, BOB, CAROL, obj, text_of

SERIES = f"""
DTSTART;TZID=Europe/Berlin:20260112T100000
RRULE:FREQ=WEEKLY
ORGANIZER:{ALICE}
ATTENDEE:{BOB}
"""
ALL_DAY = "DTSTART;VALUE=DATE:20260112\nRRULE:FREQ=DAILY"
FLOATING = "DTSTART:20260112T100000\nRRULE:FREQ=DAILY"
UTC = "DTSTART:20260112T090000Z\nRRULE:FREQ=DAILY"


# (series, RECURRENCE-ID as written, its key): all spellings of one instance have one key
KEYS = [
    (SERIES, "RECURRENCE-ID;TZID=Europe/Berlin:20260119T100000", "20260119T090000Z"),
    (SERIES, "RECURRENCE-ID:20260119T090000Z", "20260119T090000Z"),
    (SERIES, "RECURRENCE-ID;TZID=W. Europe Standard Time:20260119T100000", "20260119T090000Z"),
    (SERIES, "RECURRENCE-ID;TZID=America/New_York:20260119T040000", "20260119T090000Z"),
    (SERIES, "RECURRENCE-ID:20260119T100000", "20260119T090000Z"),
    (SERIES, "RECURRENCE-ID;VALUE=DATE:20260119", "20260119T090000Z"),
    (SERIES, "RECURRENCE-ID;TZID=Europe/Berlin:20260706T100000", "20260706T080000Z"),
    (UTC, "RECURRENCE-ID:20260119T090000Z", "20260119T090000Z"),
    (UTC, "RECURRENCE-ID;VALUE=DATE:20260119", "20260119T090000Z"),
    (ALL_DAY, "RECURRENCE-ID;VALUE=DATE:20260119", "20260119"),
    (ALL_DAY, "RECURRENCE-ID:20260119T000000Z", "20260119"),
    (ALL_DAY, "RECURRENCE-ID;TZID=Europe/Berlin:20260119T000000", "20260119"),
    (FLOATING, "RECURRENCE-ID:20260119T100000", "20260119T100000"),
    (FLOATING, "RECURRENCE-ID;TZID=Nowhere/Land:20260119T100000", "20260119T100000"),
    (FLOATING, "RECURRENCE-ID;VALUE=DATE:20260119", "20260119T100000"),
    (SERIES, "RECURRENCE-ID:not a time", "not a time"),
]


@pytest.mark.parametrize(("series", "line", "key"), KEYS)
def test_an_instance_has_one_key_however_it_is_named(series: str, line: str, key: str) -> None:
    found = obj(series, f"{line}\nDTSTART:20260101T000000Z")
    assert list(found.parts) == [MASTER, key]


@pytest.mark.parametrize(
    ("line", "key"),
    [
        ("RECURRENCE-ID;TZID=Europe/Berlin:20260119T100000", "20260119T090000Z"),
        ("RECURRENCE-ID:20260119T100000", "20260119T100000"),
        ("RECURRENCE-ID;VALUE=DATE:20260119", "20260119"),
    ],
)
def test_without_a_series_the_key_is_what_is_written(line: str, key: str) -> None:
    found = obj(f"{line}\nDTSTART:20260101T000000Z")
    assert list(found.parts) == [key]
    assert found.master is None
    assert found.start is None


def test_of_two_parts_for_one_instance_the_later_counts_and_of_two_series_the_first() -> None:
    one = "RECURRENCE-ID:20260119T090000Z\nSUMMARY:one"
    found = obj(SERIES, one, one.replace("one", "two"), f"{SERIES}\nSUMMARY:again")
    assert len(found.parts) == 2
    assert found.parts["20260119T090000Z"].value("SUMMARY") == "two"
    assert found.parts[MASTER] is found.obj.components[0]
    assert len(found.obj.components) == 4


def test_what_an_object_says_of_itself() -> None:
    found = obj(
        f"{SERIES}SEQUENCE:2\nEXDATE;TZID=Europe/Berlin:20260126T100000,20260202T100000\nEXDATE:nonsense",
        f"RECURRENCE-ID:20260119T090000Z\nSEQUENCE:5\nATTENDEE:{CAROL}\nATTENDEE;CN=b:{BOB.upper()}",
    )
    assert (found.uid, found.kind, found.organizer, found.sequence) == ("1@example.org", "VEVENT", ALICE, 5)
    assert found.exdates() == {"20260126T090000Z", "20260202T090000Z"}
    assert {address: [key for key, _ in lines] for address, lines in found.all_attendees().items()} == {
        BOB: [MASTER, "20260119T090000Z"], CAROL: ["20260119T090000Z"]
    }  # fmt: skip
    assert found.to_bytes() == found.calendar.to_bytes()
    assert obj("DTSTART:20260101T000000Z").organizer == ""
    assert obj("DTSTART:20260101T000000Z").exdates() == frozenset()


def test_lines_of_people() -> None:
    found = obj(
        f"ORGANIZER:MAILTO:ALICE@example.org\nATTENDEE;PARTSTAT=accepted:{BOB}\nATTENDEE:{BOB}\nATTENDEE:\n"
        f"ATTENDEE;SCHEDULE-AGENT=client:{CAROL}"
    )
    assert found.master is not None
    assert organizer_of(found.master) == ALICE
    people = attendees_of(found.master)
    assert list(people) == [BOB, CAROL]
    assert (partstat_of(people[BOB]), partstat_of(people[CAROL])) == ("ACCEPTED", "NEEDS-ACTION")
    assert address_of(people[BOB]) == BOB


@pytest.mark.parametrize(
    ("parameter", "agent"),
    [("", "SERVER"), (";SCHEDULE-AGENT=SERVER", "SERVER"), (";SCHEDULE-AGENT=client", "CLIENT"),
     (";SCHEDULE-AGENT=NONE", "NONE"), (";SCHEDULE-AGENT=X-ELSE", "NONE"), (";SCHEDULE-AGENT=", "NONE")],
)  # fmt: skip
def test_an_unknown_agent_is_none(parameter: str, agent: str) -> None:
    found = obj(f"ATTENDEE{parameter}:{BOB}")
    assert found.master is not None
    assert agent_of(found.master.all("ATTENDEE")[0]) == agent


@pytest.mark.parametrize(
    ("text", "number"),
    [("7", 7), (" 7 ", 7), ("-1", 0), ("x", 0), ("", 0), ("²", 0), ("9" * 12, 2**31 - 1), ("9" * 99, 0)],
)
def test_numbers(text: str, number: int) -> None:
    found = obj(f"SEQUENCE:{text}")
    assert found.master is not None
    assert number_of(found.master) == number
    assert number_of(found.master, "PRIORITY") == 0


@pytest.mark.parametrize(
    ("text", "stamp"),
    [("20260104T090000Z", "20260104T090000Z"), ("20260104t090000z", "20260104T090000Z"), ("20260104T090000", ""),
     ("20260104", ""), ("yesterday-at-6Z", ""), ("", "")],
)  # fmt: skip
def test_stamps_are_utc(text: str, stamp: str) -> None:
    found = obj(f"DTSTAMP:{text}")
    assert found.master is not None
    assert stamp_of(found.master) == stamp


def test_starts() -> None:
    task = obj("VTODO\nDUE:20260112T090000Z\nRRULE:FREQ=DAILY", "VTODO\nRECURRENCE-ID:20260113T090000Z")
    assert task.start is not None
    assert task.start.value == "20260112T090000Z"
    assert list(task.parts) == [MASTER, "20260113T090000Z"]
    assert start_of(None, task.zones) is None
    broken = obj("DTSTART:tomorrow")
    assert broken.start is None


def test_keys_of_moments() -> None:
    found = obj(SERIES)
    assert found.master is not None
    line = found.master.all("DTSTART")[0]
    assert key_of(line, found.zones) == "20260112T090000Z"
    assert key_of_moment(moment(line, found.zones), found.start) == "20260112T090000Z"
    with pytest.raises(ValueError, match="not a date"):
        key_of(found.master.all("ORGANIZER")[0], found.zones)


# ---- messages ----


def message(text: str, method: str = "METHOD:REQUEST") -> bytes:
    """A message with one component."""
    return text_of(text, before=method).encode()


@pytest.mark.parametrize("method", sorted(METHODS))
def test_every_method_is_read_in_any_letters(method: str) -> None:
    for inside, outside in ((method, ""), (method.lower(), method), ("", method), (f" {method}", f"{method.lower()} ")):
        found = read_itip(message(SERIES, f"METHOD:{inside}" if inside else ""), method=outside)
        assert found.method == method


def test_what_a_message_says_of_itself() -> None:
    body = text_of(
        f"{SERIES}SEQUENCE:1\nDTSTAMP:20260101T000000Z",
        "RECURRENCE-ID:20260119T090000Z\nSEQUENCE:3\nDTSTAMP:20260102T000000Z",
        before="METHOD:REQUEST",
    )
    found = read_itip(body.encode())
    assert (found.uid, found.sequence, found.dtstamp) == ("1@example.org", 3, "20260102T000000Z")
    assert read_itip(message("DTSTAMP:never")).dtstamp == ""


@pytest.mark.parametrize(
    ("body", "method", "reason"),
    [
        (b"nothing", "", "Exactly one VCALENDAR"),
        (b"BEGIN:VCARD\r\nEND:VCARD\r\n", "", "Exactly one VCALENDAR"),
        (message(SERIES) * 2, "", "Exactly one VCALENDAR"),
        (b"BEGIN:VCALENDAR\r\n", "", "cannot be read"),
        (b"\xff\xfeB\x00", "", "cannot be read"),
        (message(SERIES, ""), "", "no METHOD"),
        (message(SERIES), "CANCEL", "not the same"),
        (message(SERIES, "METHOD:DANCE"), "", "not known"),
        (text_of(before="METHOD:REQUEST").encode(), "", "no component"),
        (message("UID:"), "", "no component with a UID"),
        (text_of(SERIES, "UID:other\nRECURRENCE-ID:20260119T090000Z", before="METHOD:REPLY").encode(), "", "one UID"),
        (message("X:1\n" * 100_001), "", "cannot be read"),
    ],
)
def test_what_is_no_message_is_refused_with_a_sentence(body: bytes, method: str, reason: str) -> None:
    with pytest.raises(ItipError, match=reason) as error:
        read_itip(body, method=method)
    assert str(error.value).endswith(".")


def test_a_stored_object_is_read_as_it_is() -> None:
    body = text_of(SERIES).encode()
    assert read_object(body).to_bytes() == body
    (calendar,) = read(body).components
    assert list(scheduling_object(calendar).parts) == [MASTER]
    with pytest.raises(ItipError):
        read_object(b"")
