"""VAVAILABILITY (RFC 7953) as busy time: its examples, priorities, overrides and hostile input."""

from __future__ import annotations

from datetime import UTC as UTC_ZONE
from datetime import datetime
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from dav.ical import availability
from dav.ical.availability import read_availability, unavailable
from dav.ical.lines import Component
from dav.ical.recur import Limits
from dav.ical.tz import UTC, named_zone
from storage.records import Instance

KINDS = {1: "BUSY", 2: "TENTATIVE", 3: "UNAVAILABLE"}


def at(text: str) -> int:
    return int(datetime.strptime(text, "%Y%m%dT%H%MZ").replace(tzinfo=UTC_ZONE).timestamp())


def calendar(*blocks: str) -> Component:
    text = "BEGIN:VCALENDAR\nVERSION:2.0\nPRODID:-//x//EN\n" + "\n".join(blocks) + "\nEND:VCALENDAR\n"
    found = read_availability(text)
    assert found is not None
    return found


def window(*lines: str) -> str:
    return "\n".join(("BEGIN:VAVAILABILITY", "UID:w", "DTSTAMP:20111005T133225Z", *lines, "END:VAVAILABILITY"))


def available(start: str, end: str, *lines: str, uid: str = "a", zone: str = "America/Montreal") -> str:
    return "\n".join(
        (
            "BEGIN:AVAILABLE", f"UID:{uid}", "DTSTAMP:20111005T133225Z", f"DTSTART;TZID={zone}:{start}",
            f"DTEND;TZID={zone}:{end}", *lines, "END:AVAILABLE",
        )
    )  # fmt: skip


def shown(found: list[Instance]) -> list[str]:
    def text(instant_s: int) -> str:
        return datetime.fromtimestamp(instant_s, UTC_ZONE).strftime("%m%dT%H%MZ")

    return [f"{text(item.start_s)}/{text(item.end_s)} {KINDS[item.busy]}" for item in found]


def busy(calendars: list[Component], start: str, end: str) -> list[str]:
    return shown(unavailable(calendars, at(start), at(end), floating_zone=UTC, limits=Limits()))


WEEKDAYS = "RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH,FR"


def test_working_hours_leave_the_rest_of_the_week_unavailable() -> None:
    # RFC 7953 §3.2, first example: Monday to Friday from 9:00 to 18:00 in Montreal (UTC-4), from 2 October 2011 on.
    hours = calendar(
        window(
            "DTSTART;TZID=America/Montreal:20111002T000000",
            available("20111002T090000", "20111002T180000", WEEKDAYS),
        )
    )
    assert busy([hours], "20111003T0400Z", "20111005T0400Z") == [
        "1003T0400Z/1003T1300Z UNAVAILABLE",
        "1003T2200Z/1004T1300Z UNAVAILABLE",
        "1004T2200Z/1005T0400Z UNAVAILABLE",
    ]


def test_before_its_beginning_an_availability_says_nothing() -> None:
    hours = calendar(window("DTSTART;TZID=America/Montreal:20111002T000000"))
    assert busy([hours], "20110901T0000Z", "20111002T0400Z") == []
    assert busy([hours], "20111002T0000Z", "20111002T0500Z") == ["1002T0400Z/1002T0500Z UNAVAILABLE"]


def test_without_bounds_it_reaches_everywhere() -> None:
    assert busy([calendar(window("SUMMARY:never"))], "19700101T0000Z", "19700102T0000Z") == [
        "0101T0000Z/0102T0000Z UNAVAILABLE"
    ]


def test_hours_may_differ_by_day_of_the_week() -> None:
    # RFC 7953 §3.2, second example: Monday to Thursday 9:00 to 18:00, Friday 9:00 to 12:00.
    hours = calendar(
        window(
            "DTSTART;TZID=America/Montreal:20111002T000000",
            available("20111003T090000", "20111003T180000", "RRULE:FREQ=WEEKLY;BYDAY=MO,TU,WE,TH", uid="a"),
            available("20111007T090000", "20111007T120000", "RRULE:FREQ=WEEKLY", uid="b"),
        )
    )
    assert busy([hours], "20111006T1300Z", "20111008T0400Z") == [
        "1006T2200Z/1007T1300Z UNAVAILABLE",
        "1007T1600Z/1008T0400Z UNAVAILABLE",
    ]


def test_the_example_of_three_places_follows_its_traveller(shared: Path) -> None:
    # RFC 7953 §3.2, third example: Montreal, a week in Denver, Montreal again.
    body = (shared / "corpus" / "ics" / "icalendar-rfc_7953_3.ics").read_bytes()
    found = read_availability(body)
    assert found is not None
    assert busy([found], "20111021T1300Z", "20111022T0400Z") == ["1021T2100Z/1022T0400Z UNAVAILABLE"]
    assert busy([found], "20111024T1300Z", "20111025T0600Z") == [
        "1024T1300Z/1024T1500Z UNAVAILABLE",  # 9:00 in Denver is 15:00 UTC
        "1024T2300Z/1025T0600Z UNAVAILABLE",
    ]
    assert busy([found], "20111031T1300Z", "20111101T0400Z") == ["1031T2100Z/1101T0400Z UNAVAILABLE"]


def test_the_more_urgent_priority_decides_where_it_reaches() -> None:
    # RFC 7953 §4: a holiday of priority 1 stands above working hours without one, also over their free times.
    hours = window("DTSTART:20260101T000000Z", available("20260101T080000", "20260101T160000", "RRULE:FREQ=DAILY"))
    holiday = window("PRIORITY:1", "DTSTART:20260105T000000Z", "DTEND:20260106T000000Z", "BUSYTYPE:BUSY")
    assert busy([calendar(hours), calendar(holiday)], "20260104T2100Z", "20260106T1300Z") == [
        "0104T2100Z/0105T0000Z UNAVAILABLE",
        "0105T0000Z/0106T0000Z BUSY",
        "0106T0000Z/0106T1300Z UNAVAILABLE",
    ]


def test_an_urgent_one_also_frees_what_a_lower_one_blocks() -> None:
    night = window("PRIORITY:0", "DTSTART:20260105T000000Z")
    shift = window(
        "PRIORITY:2", "DTSTART:20260105T000000Z", "DTEND:20260105T060000Z",
        available("20260105T010000", "20260105T020000", zone="UTC"),
    )  # fmt: skip
    assert busy([calendar(night, shift)], "20260105T0000Z", "20260105T0800Z") == [
        "0105T0000Z/0105T0100Z UNAVAILABLE",
        "0105T0200Z/0105T0600Z UNAVAILABLE",
        "0105T0600Z/0105T0800Z UNAVAILABLE",
    ]


def test_of_equal_priority_the_stronger_kind_of_busy_counts() -> None:
    both = calendar(
        window("BUSYTYPE:BUSY-TENTATIVE", "DTSTART:20260105T000000Z", "DTEND:20260105T040000Z"),
        window("BUSYTYPE:BUSY", "DTSTART:20260105T020000Z", "DURATION:PT4H"),
    )
    assert busy([both], "20260105T0000Z", "20260106T0000Z") == [
        "0105T0000Z/0105T0200Z TENTATIVE",
        "0105T0200Z/0105T0600Z BUSY",
    ]


def test_one_instance_of_available_time_can_be_moved() -> None:
    moved = "\n".join(
        (
            "BEGIN:AVAILABLE", "UID:a", "DTSTAMP:20111005T133225Z", "RECURRENCE-ID:20260106T080000Z",
            "DTSTART:20260106T120000Z", "DTEND:20260106T130000Z", "END:AVAILABLE",
        )
    )  # fmt: skip
    weekly = available("20260105T080000", "20260105T100000", "RRULE:FREQ=DAILY", zone="UTC")
    assert busy([calendar(window(weekly, moved))], "20260106T0000Z", "20260107T0000Z") == [
        "0106T0000Z/0106T1200Z UNAVAILABLE",
        "0106T1300Z/0107T0000Z UNAVAILABLE",
    ]


def test_available_time_outside_its_window_frees_nothing() -> None:
    hours = window(
        "DTSTART:20260105T000000Z", "DTEND:20260106T000000Z",
        available("20260105T220000", "20260106T020000", zone="UTC"),
    )  # fmt: skip
    night = window("PRIORITY:0", "DTSTART:20260106T000000Z", "DTEND:20260107T000000Z")
    assert busy([calendar(hours, night)], "20260105T2000Z", "20260106T0400Z") == [
        "0105T2000Z/0105T2200Z UNAVAILABLE",
        "0106T0000Z/0106T0400Z UNAVAILABLE",
    ]


def test_hours_keep_their_wall_clock_when_the_clocks_change() -> None:
    hours = calendar(
        window(available("20260326T090000", "20260326T170000", "RRULE:FREQ=DAILY", zone="Europe/Berlin"))
    )  # CET until 29 March 2026, CEST afterwards
    assert busy([hours], "20260328T0800Z", "20260329T1500Z") == ["0328T1600Z/0329T0700Z UNAVAILABLE"]


def test_floating_times_are_read_in_the_owners_zone() -> None:
    # CLIENT: RFC 7953 wants zones, some clients write none.
    text = window("BEGIN:AVAILABLE\nUID:a\nDTSTART:20260105T090000\nDTEND:20260105T170000\nEND:AVAILABLE")
    berlin = named_zone("Europe/Berlin")
    assert berlin is not None
    found = unavailable(
        [calendar(text)], at("20260105T0700Z"), at("20260105T1700Z"), floating_zone=berlin, limits=Limits()
    )
    assert shown(found) == ["0105T0700Z/0105T0800Z UNAVAILABLE", "0105T1600Z/0105T1700Z UNAVAILABLE"]


def test_what_is_no_availability_is_not_taken_for_one() -> None:
    event = "BEGIN:VEVENT\nUID:1\nEND:VEVENT\nBEGIN:VAVAILABILITY\nUID:2\nEND:VAVAILABILITY\n"
    event = f"BEGIN:VCALENDAR\n{event}END:VCALENDAR"
    for text in ("", "nonsense", "BEGIN:VCALENDAR\nEND:VCALENDAR", event, "BEGIN:VCARD\nFN:x\nEND:VCARD"):
        assert read_availability(text) is None


def test_what_cannot_be_read_leaves_the_time_unavailable() -> None:
    broken = window("BEGIN:AVAILABLE\nUID:a\nDTSTART:tomorrow\nDTEND:later\nEND:AVAILABLE")
    assert busy([calendar(broken)], "20260105T0000Z", "20260105T0100Z") == ["0105T0000Z/0105T0100Z UNAVAILABLE"]
    assert busy([calendar(window("DTSTART:nonsense"))], "20260105T0000Z", "20260105T0100Z") == []


def test_a_rule_of_seconds_is_stopped_by_the_budget() -> None:
    wild = available("20260101T000000", "20260101T000001", "RRULE:FREQ=SECONDLY;INTERVAL=2", zone="UTC")
    found = unavailable(
        [calendar(window(*[wild] * 50))], at("20260105T0000Z"), at("20270105T0000Z"), floating_zone=UTC,
        limits=Limits(instances_max=1000, steps_max=10_000),
    )  # fmt: skip
    assert len(found) <= 1001


spans = st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60)).map(lambda p: (min(p), max(p) + 1)), max_size=12)


@given(spans, spans)
def test_taking_spans_away_is_set_difference(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    def points(found: list[tuple[int, int]]) -> set[int]:
        return {point for first, last in found for point in range(first, last)}

    whole, taken = availability.joined(one), availability.joined(other)
    assert points(whole) == points(one)
    left = availability._without(whole, taken)
    assert points(left) == points(one) - points(other)
    assert all(a[1] <= b[0] for a, b in pairwise(left))
