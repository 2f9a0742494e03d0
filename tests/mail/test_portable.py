"""The calendar of a mail as other people's programs can hold it."""

from __future__ import annotations

import json
from pathlib import Path
from zoneinfo import available_timezones

import icalendar
import pytest

from dav.ical.lines import read
from dav.ical.recur import TooManyInstances, occurrences
from dav.ical.tz import named_zone, vtimezone_zone
from dav.mail.portable import portable, zone_text
from dav.scheduling.model import read_object
from tests.mail.letters import EVENT, NOW_S, calendar

BOB = "mailto:bob@gmail.example"
DAY_S = 86_400


def made(*events: str, method: str = "REQUEST") -> bytes:
    return portable(read_object(calendar("REQUEST", *events)), method=method, recipient=BOB, now_s=NOW_S)


def starts(body: bytes) -> list[int]:
    return [item.start_s for item in occurrences(read_object(body).obj, None, 4_102_444_800)]


def test_every_zone_is_defined_by_one_pair_of_yearly_rules() -> None:
    body = made(EVENT)
    assert body.count(b"BEGIN:VTIMEZONE") == 1
    assert body.count(b"RRULE:FREQ=YEARLY") == 2
    assert b"RDATE" not in body
    assert body.count(b"BEGIN:STANDARD") == body.count(b"BEGIN:DAYLIGHT") == 1


def test_a_zone_that_gave_up_summer_time_has_no_daylight() -> None:
    # nextcloud/calendar #4429: Outlook goes on with a rule that was abolished in 2019.
    text = zone_text("America/Sao_Paulo", 2026, 2027)
    assert "DAYLIGHT" not in text
    assert text.count("BEGIN:STANDARD") == 1


def test_definitions_agree_with_the_zone_for_three_years() -> None:
    checked = simple = 0
    for key in sorted(available_timezones())[::7]:
        zone = named_zone(key)
        if zone is None or zone.key is None:
            continue
        text = zone_text(zone.key, 2026, 2027)
        simple += text.count("BEGIN:STANDARD") + text.count("BEGIN:DAYLIGHT") <= 2
        defined = vtimezone_zone(read(text.encode()).components[0])
        checked += 1
        for at_s in range(1_767_225_600 + 14 * 3600, 1_767_225_600 + 3 * 365 * DAY_S, 5 * DAY_S + 3600):
            assert defined.to_local(at_s) == zone.to_local(at_s), (key, at_s)
    assert checked > 60
    assert simple > 0.9 * checked


def test_a_definition_of_the_client_is_replaced_where_the_zone_is_known_and_kept_where_not() -> None:
    old = (
        "BEGIN:VTIMEZONE\nTZID:{}\nBEGIN:STANDARD\nDTSTART:16010101T000000\nTZOFFSETFROM:+0500\n"
        "TZOFFSETTO:+0500\nEND:STANDARD\nEND:VTIMEZONE\n"
    )
    for tzid, kept in (("Europe/Berlin", False), ("Our own", True)):
        body = calendar("REQUEST", EVENT.replace("Europe/Berlin", tzid))
        body = body.replace(b"BEGIN:VEVENT", old.format(tzid).replace("\n", "\r\n").encode() + b"BEGIN:VEVENT", 1)
        new = portable(read_object(body), method="REQUEST", recipient=BOB, now_s=NOW_S)
        assert (b"+0500" in new) is kept
        assert new.count(b"BEGIN:VTIMEZONE") == 1


def test_a_windows_name_keeps_its_name_and_gets_its_rules() -> None:
    body = made(EVENT.replace("Europe/Berlin", "Pacific Standard Time"))
    assert b"TZID:Pacific Standard Time\r\n" in body
    assert b"TZOFFSETTO:-0800" in body


def test_the_guest_is_asked_with_all_that_programs_want_for_buttons() -> None:
    (event,) = icalendar.Calendar.from_ical(made(EVENT)).walk("VEVENT")
    bob = next(line for line in event["ATTENDEE"] if "bob" in line)
    assert {key: bob.params[key] for key in ("CUTYPE", "ROLE", "PARTSTAT", "RSVP", "CN")} == {
        "CUTYPE": "INDIVIDUAL",
        "ROLE": "REQ-PARTICIPANT",
        "PARTSTAT": "NEEDS-ACTION",
        "RSVP": "TRUE",
        "CN": "Bob Kaya",
    }
    anna = next(line for line in event["ATTENDEE"] if "anna" in line)
    assert "RSVP" not in anna.params


def test_addresses_are_bare_and_what_must_be_quoted_is_quoted() -> None:
    odd = EVENT.replace(
        "ORGANIZER;CN=Anna Berg:mailto:anna@example.org",
        'ORGANIZER;EMAIL=anna@example.org;SENT-BY="mailto:pa@example.org";SCHEDULE-STATUS="1.1":'
        "MAILTO:Anna <anna@example.org>",
    )
    text = made(odd).replace(b"\r\n ", b"").decode()
    assert 'ORGANIZER;EMAIL="anna@example.org";SENT-BY="mailto:pa@example.org":mailto:anna@example.org\r\n' in text
    assert "SCHEDULE-" not in text


def test_lines_are_folded_end_in_crlf_and_none_is_empty() -> None:
    long = EVENT + "DESCRIPTION:" + "ä long text " * 300 + "\n"
    body = made(long)
    assert body.endswith(b"END:VCALENDAR\r\n")
    assert b"\r\n\r\n" not in body
    assert all(len(line) <= 75 for line in body.split(b"\r\n"))
    assert b"\n" not in body.replace(b"\r\n", b"")


# ---- series that Outlook cannot hold ----


def test_dates_without_a_rule_become_a_rule_with_exceptions() -> None:
    event = EVENT.replace("SUMMARY", "RDATE;TZID=Europe/Berlin:20261221T100000,20270118T100000\nSUMMARY")
    body = made(event)
    assert b"RDATE" not in body
    assert b"RRULE:FREQ=WEEKLY;INTERVAL=2;COUNT=4;BYDAY=MO\r\n" in body
    assert starts(body) == starts(calendar("REQUEST", event))


@pytest.mark.parametrize(
    "rule",
    ["FREQ=MONTHLY;BYDAY=1MO,3MO;COUNT=6", "FREQ=MONTHLY;BYDAY=MO,WE;BYSETPOS=2,-1;COUNT=5",
     "FREQ=MONTHLY;BYMONTHDAY=7,21;UNTIL=20270401T000000Z", "FREQ=DAILY;BYMONTH=12;BYDAY=MO;COUNT=3"],
)  # fmt: skip
def test_a_rule_with_an_end_is_written_so_that_outlook_can_hold_it(rule: str) -> None:
    event = EVENT.replace("SUMMARY", f"RRULE:{rule}\nSUMMARY")
    body = made(event)
    assert rule.encode() not in body
    assert starts(body) == starts(calendar("REQUEST", event))


@pytest.mark.parametrize(
    "rule",
    ["FREQ=WEEKLY;BYDAY=MO,TH", "FREQ=MONTHLY;BYDAY=1MO;COUNT=6", "FREQ=MONTHLY;BYDAY=MO,TU,WE,TH,FR;BYSETPOS=-1",
     "FREQ=YEARLY", "FREQ=DAILY;INTERVAL=2;COUNT=9", "FREQ=MONTHLY;BYDAY=1MO,3MO", "FREQ=HOURLY;COUNT=30"],
)  # fmt: skip
def test_what_outlook_holds_and_what_has_no_end_stays_as_it_was_written(rule: str) -> None:
    assert f"RRULE:{rule}\r\n".encode() in made(EVENT.replace("SUMMARY", f"RRULE:{rule}\nSUMMARY"))


def test_no_series_of_the_corpus_has_other_instances_afterwards(shared: Path) -> None:
    changed = 0
    for entry in json.loads((shared / "corpus" / "recurrence" / "rrule.json").read_text()):
        start, tzid = entry["dtstart"], entry.get("tzid")
        form = ";VALUE=DATE" if "T" not in start else f";TZID={tzid}" if tzid and not start.endswith("Z") else ""
        event = f"DTSTART{form}:{start}\nRRULE:{entry['rule']}\n"
        before = calendar("REQUEST", event)
        after = made(event)
        changed += f"RRULE:{entry['rule']}\r\n".encode() not in after.replace(b"\r\n ", b"")
        try:
            assert starts(after) == starts(before), entry["id"]
        except TooManyInstances:
            continue
    assert changed > 50


def test_a_method_in_the_calendar_is_that_of_the_mail() -> None:
    assert b"\r\nMETHOD:CANCEL\r\n" in made(EVENT, method="CANCEL")
