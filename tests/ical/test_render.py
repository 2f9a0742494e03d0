"""CALDAV:calendar-data (RFC 4791 §9.6): partial, expanded and limited data, and a calendar as one stream."""

from __future__ import annotations

import csv
import os
import time
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from lxml import etree

from dav.errors import DavError
from dav.filters.calendar import matches, parse_filter
from dav.ical.freebusy import busy_of
from dav.ical.lines import Component, LineError, read
from dav.ical.make import utc_seconds, utc_text
from dav.ical.recur import Limits, calendar_object
from dav.ical.render import CalendarData, _Remembered, merge_calendars, parse_calendar_data, render
from dav.ical.tz import UTC, Zone, named_zone
from dav.names import CALDAV, c

ROOT = Path(__file__).parents[2]
RFC = ROOT / "tests" / "data" / "rfc4791"
SHARED = Path(os.environ.get("DAVENPORT_SHARED", ROOT / ".." / "shared"))
LIMITS = Limits()


def data_of(inner: str = "", attributes: str = "") -> CalendarData:
    return parse_calendar_data(
        etree.fromstring(f'<C:calendar-data xmlns:C="{CALDAV}" {attributes}>{inner}</C:calendar-data>')
    )


def span(local: str, start: str, end: str) -> str:
    return f'<C:{local} start="{start}" end="{end}"/>'


def rfc(number: int) -> bytes:
    return (RFC / f"abcd{number}.ics").read_bytes()


def body_of(text: str) -> bytes:
    return text.strip().replace("\n", "\r\n").encode() + b"\r\n"


def event(*lines: str, name: str = "VEVENT") -> bytes:
    return body_of("\n".join(["BEGIN:VCALENDAR", "VERSION:2.0", *component("one", *lines, name=name), "END:VCALENDAR"]))


def component(uid: str, *lines: str, name: str = "VEVENT") -> list[str]:
    return [f"BEGIN:{name}", f"UID:{uid}", *lines, f"END:{name}"]


def show(body: bytes, inner: str, zone: Zone = UTC, limits: Limits = LIMITS) -> str:
    return render(body, data_of(inner), floating_zone=zone, limits=limits).decode()


def expand(body: bytes, start: str, end: str, zone: Zone = UTC, limits: Limits = LIMITS) -> list[list[str]]:
    """The lines of each component of the expanded data, but for BEGIN, END and UID."""
    answer = render(body, data_of(span("expand", start, end)), floating_zone=zone, limits=limits)
    [calendar] = read(answer).components
    return [[line_text(line.raw) for line in item.lines if line.name != "UID"] for item in calendar.components]


def line_text(raw: bytes) -> str:
    assert raw.endswith(b"\r\n")
    return raw.decode().replace("\r\n ", "").rstrip("\r\n")


# ---- the examples of RFC 4791 §7.8 on the objects of its appendix B ----

VEVENT_PROPS = ("SUMMARY", "UID", "DTSTART", "DTEND", "DURATION", "RRULE", "RDATE", "EXRULE", "EXDATE", "RECURRENCE-ID")


def test_rfc_7_8_1_partial_data_has_the_named_parts_only() -> None:
    props = "".join(f'<C:prop name="{name}"/>' for name in VEVENT_PROPS)
    inner = f"""<C:comp name="VCALENDAR"><C:prop name="VERSION"/>
        <C:comp name="VEVENT">{props}</C:comp><C:comp name="VTIMEZONE"/></C:comp>"""
    original = rfc(3).decode()
    zone = original[original.index("BEGIN:VTIMEZONE") : original.index("BEGIN:VEVENT")]
    assert show(rfc(3), inner) == (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\n" + zone + "BEGIN:VEVENT\r\n"
        "DTSTART;TZID=US/Eastern:20060104T100000\r\nDURATION:PT1H\r\nSUMMARY:Event #3\r\n"
        "UID:DC6C50A017428C5216A2F1CD@example.com\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )


def test_rfc_7_8_2_limited_recurrence_set_keeps_master_and_touching_overrides() -> None:
    answer = show(rfc(2), span("limit-recurrence-set", "20060103T000000Z", "20060105T000000Z"))
    original = rfc(2).decode()
    last = original[original.index("BEGIN:VEVENT", original.index("Event #2 bis\r")) : original.index("END:VCALENDAR")]
    assert "Event #2 bis bis" in last
    assert answer == original.replace(last, "")


def test_rfc_7_8_3_expanded_data_is_the_instances_in_utc() -> None:
    wanted = "20060103T000000Z", "20060105T000000Z"
    assert expand(rfc(2), *wanted) == [
        ["DTSTAMP:20060206T001121Z", "DTSTART:20060103T170000Z", "RECURRENCE-ID:20060103T170000Z", "DURATION:PT1H",
         "SUMMARY:Event #2"],
        ["DTSTAMP:20060206T001121Z", "DTSTART:20060104T190000Z", "DURATION:PT1H", "RECURRENCE-ID:20060104T170000Z",
         "SUMMARY:Event #2 bis"],
    ]  # fmt: skip
    [third] = expand(rfc(3), *wanted)
    assert "DTSTART:20060104T150000Z" in third
    assert not any(line.startswith("RECURRENCE-ID") for line in third), "it does not recur"
    assert expand(rfc(1), *wanted) == []


def test_rfc_7_8_4_limited_freebusy_set_keeps_overlapping_periods() -> None:
    answer = show(rfc(8), span("limit-freebusy-set", "20060102T000000Z", "20060103T000000Z"))
    lines = [line for line in answer.split("\r\n") if line.startswith("FREEBUSY")]
    assert lines == ["FREEBUSY;FBTYPE=BUSY-TENTATIVE:20060102T100000Z/20060102T120000Z"]
    assert "DTEND:20060108T000000Z" in answer


def test_periods_in_one_line_are_limited_one_by_one() -> None:
    first, second, third = "20060101T100000Z/PT1H", "20060102T100000Z/PT1H", "20060103T100000Z/20060103T110000Z"
    body = event(f"FREEBUSY:{first},{second},{third}", name="VFREEBUSY")
    answer = show(body, span("limit-freebusy-set", "20060102T000000Z", "20060104T000000Z"))
    assert f"FREEBUSY:{second},{third}\r\n" in answer


# ---- partial data ----


def test_nothing_asked_gives_the_same_bytes_object() -> None:
    body = rfc(1)
    assert render(body, data_of(), floating_zone=UTC, limits=LIMITS) is body
    whole = data_of(attributes='content-type="text/calendar" version="2.0"')
    assert render(body, whole, floating_zone=UTC, limits=LIMITS) is body


def test_everything_asked_by_name_gives_equal_bytes() -> None:
    inner = '<C:comp name="VCALENDAR"><C:allprop/><C:allcomp/></C:comp>'
    for number in range(1, 9):
        assert show(rfc(number), inner).encode() == rfc(number)


def test_novalue_returns_the_property_without_its_value() -> None:
    inner = """<C:comp name="VCALENDAR"><C:allprop/><C:comp name="VEVENT">
        <C:prop name="ATTENDEE" novalue="yes"/><C:prop name="UID" novalue="no"/></C:comp></C:comp>"""
    answer = show(rfc(3), inner).split("\r\n")
    assert answer[3:7] == [
        "BEGIN:VEVENT",
        "ATTENDEE;PARTSTAT=ACCEPTED;ROLE=CHAIR:",
        "ATTENDEE;PARTSTAT=NEEDS-ACTION:",
        "UID:DC6C50A017428C5216A2F1CD@example.com",
    ]


def test_alarm_is_left_out_unless_it_is_asked_for() -> None:
    without = '<C:comp name="VCALENDAR"><C:comp name="VTODO"><C:allprop/></C:comp></C:comp>'
    some = without.replace("<C:allprop/>", '<C:allprop/><C:comp name="VALARM"><C:prop name="ACTION"/></C:comp>')
    assert "VALARM" not in show(rfc(4), without)
    assert "BEGIN:VALARM\r\nACTION:AUDIO\r\nEND:VALARM" in show(rfc(4), some)


def test_partial_data_may_be_expanded_too() -> None:
    inner = """<C:comp name="VCALENDAR"><C:prop name="VERSION"/><C:comp name="VEVENT"><C:prop name="DTSTART"/></C:comp>
        </C:comp><C:expand start="20060103T000000Z" end="20060104T000000Z"/>"""
    assert show(rfc(2), inner) == (
        "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nBEGIN:VEVENT\r\nDTSTART:20060103T170000Z\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    )


@pytest.mark.parametrize(
    "attributes",
    ['content-type="application/calendar+json"', 'content-type="text/vcard"', 'version="1.0"'],
)
def test_other_forms_of_calendar_data_are_refused(attributes: str) -> None:
    with pytest.raises(DavError) as refused:
        data_of(attributes=attributes)
    assert (refused.value.status, refused.value.condition) == (403, c("supported-calendar-data"))


@pytest.mark.parametrize(
    "inner",
    [
        '<C:expand start="20060103T000000Z"/>',
        span("expand", "20060103T000000Z", "20060103T000000Z"),
        span("expand", "2006-01-03", "2006-01-04"),
        span("expand", "20060103T000000Z", "20060104T000000Z")
        + span("limit-recurrence-set", "20060103T000000Z", "20060104T000000Z"),
        '<C:comp name="VEVENT"/>',
        '<C:comp name="VCALENDAR"><C:comp/></C:comp>',
        '<C:comp name="VCALENDAR">' + '<C:comp name="X">' * 7 + "</C:comp>" * 7 + "</C:comp>",
        '<C:comp name="VCALENDAR">' + '<C:prop name="X"/>' * 501 + "</C:comp>",
    ],
)
def test_calendar_data_that_means_nothing_is_a_bad_request(inner: str) -> None:
    with pytest.raises(DavError) as refused:
        data_of(inner)
    assert refused.value.status == 400


# ---- expand ----


def test_unchanged_lines_keep_their_bytes_when_expanded() -> None:
    lines = [
        "DTSTART;TZID=Europe/Berlin;X-A=1:20260302T100000",
        "RRULE:FREQ=DAILY",
        "DTEND;TZID=Europe/Berlin:20260302T110000",
    ]
    kept = ["SUMMARY;LANGUAGE=de:J\u00f6rg", " \u00dcn\u00ef", 'X-ODD;a="b:c":1\\,2', "attach;VALUE=BINARY:AAAA"]
    body = event(*lines, *kept, "EXDATE;TZID=Europe/Berlin:20260303T100000")
    answer = show(body, span("expand", "20260303T000000Z", "20260305T000000Z"))
    assert answer.split("\r\n")[2:-2] == [
        "BEGIN:VEVENT",
        "UID:one",
        "DTSTART;X-A=1:20260304T090000Z",
        "RECURRENCE-ID:20260304T090000Z",
        "DTEND:20260304T100000Z",
        *kept,
        "END:VEVENT",
    ]


def test_lone_override_expands_to_itself() -> None:  # A2
    body = event("RECURRENCE-ID;TZID=Europe/Berlin:20260302T100000", "DTSTART;TZID=Europe/Berlin:20260302T120000")
    assert expand(body, "20260302T000000Z", "20260303T000000Z") == [
        ["RECURRENCE-ID:20260302T090000Z", "DTSTART:20260302T110000Z"]
    ]


@pytest.mark.parametrize("odd", ["EXDATE;VALUE=DATE:20260303", "EXDATE:20260303T090000Z", "EXDATE:whenever", "RDATE:x"])
def test_odd_exdate_does_not_disturb_the_expansion(odd: str) -> None:  # A3
    body = event("DTSTART;TZID=Europe/Berlin:20260302T100000", "RRULE:FREQ=DAILY;COUNT=3", odd)
    starts = [lines[0] for lines in expand(body, "20260301T000000Z", "20260401T000000Z")]
    assert starts[0] == "DTSTART:20260302T090000Z"
    assert starts[-1] == "DTSTART:20260304T090000Z"


def test_until_without_zone_includes_the_last_instance() -> None:  # A4
    body = event("DTSTART;TZID=Europe/Berlin:20260302T100000", "RRULE:FREQ=DAILY;UNTIL=20260304T100000")
    assert len(expand(body, "20260301T000000Z", "20260401T000000Z")) == 3


def test_windows_zone_without_vtimezone_is_converted() -> None:  # A9
    body = event("DTSTART;TZID=W. Europe Standard Time:20241008T100000", "DURATION:PT1H")
    assert expand(body, "20241008T000000Z", "20241009T000000Z") == [["DTSTART:20241008T080000Z", "DURATION:PT1H"]]


def test_rule_in_an_override_is_dropped() -> None:  # A10
    body = event("DTSTART;VALUE=DATE:20260302", "RECURRENCE-ID;VALUE=DATE:20260302", "RRULE:FREQ=YEARLY")
    assert expand(body, "20260101T000000Z", "20990101T000000Z") == [
        ["DTSTART;VALUE=DATE:20260302", "RECURRENCE-ID;VALUE=DATE:20260302"]
    ]


def test_override_named_by_another_value_type_replaces_its_day() -> None:  # A11
    master = component("d", "DTSTART;VALUE=DATE:20260301", "RRULE:FREQ=DAILY;COUNT=3", "SUMMARY:day")
    override = component("d", "RECURRENCE-ID:20260302T000000Z", "DTSTART;VALUE=DATE:20260302", "SUMMARY:edited")
    body = body_of("\n".join(["BEGIN:VCALENDAR", *master, *override, "END:VCALENDAR"]))
    found = expand(body, "20260301T000000Z", "20260401T000000Z")
    assert [lines[-1] for lines in found] == ["SUMMARY:day", "SUMMARY:edited", "SUMMARY:day"]


def test_all_day_series_with_an_edited_instance_stays_in_days() -> None:  # E1
    master = component("b", "DTSTART;VALUE=DATE:20240411", "DTEND;VALUE=DATE:20240412", "RRULE:FREQ=WEEKLY;INTERVAL=2")
    override = component(
        "b",
        "RECURRENCE-ID;VALUE=DATE:20240425",
        "DTSTART;VALUE=DATE:20240425",
        "DTEND;VALUE=DATE:20240427",
        "SUMMARY:long",
    )
    body = body_of("\n".join(["BEGIN:VCALENDAR", *master, *override, "END:VCALENDAR"]))
    assert expand(body, "20240330T230000Z", "20240503T220000Z") == [
        ["DTSTART;VALUE=DATE:20240411", "RECURRENCE-ID;VALUE=DATE:20240411", "DTEND;VALUE=DATE:20240412"],
        [
            "RECURRENCE-ID;VALUE=DATE:20240425",
            "DTSTART;VALUE=DATE:20240425",
            "DTEND;VALUE=DATE:20240427",
            "SUMMARY:long",
        ],
    ]


def test_window_of_a_second_gives_one_instance() -> None:  # E1
    body = event("DTSTART:20240411T100000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY")
    assert len(expand(body, "20240503T103000Z", "20240503T103001Z")) == 1


def test_instances_follow_the_clocks_of_their_zone() -> None:  # E5
    body = event("DTSTART;TZID=Europe/Berlin:20260301T090000", "DURATION:PT30M", "RRULE:FREQ=DAILY")
    answer = show(body, span("expand", "20260327T000000Z", "20260401T000000Z"))
    starts = [line for line in answer.split("\r\n") if line.startswith("DTSTART")]
    assert starts == [
        f"DTSTART:202603{day}T0{hour}0000Z" for day, hour in ((27, 8), (28, 8), (29, 7), (30, 7), (31, 7))
    ]
    assert "VTIMEZONE" not in answer
    assert "TZID" not in answer
    assert "RRULE" not in answer


def test_nominal_day_over_a_change_of_the_clocks_is_written_as_exact_time() -> None:
    for rule in ([], ["RRULE:FREQ=DAILY;COUNT=2"]):
        body = event("DTSTART;TZID=Europe/Berlin:20260328T120000", *rule, "DURATION:P1D")
        [first, *rest] = expand(body, "20260328T000000Z", "20260401T000000Z")
        assert first[0] == "DTSTART:20260328T110000Z"
        assert first[-1] == "DURATION:PT23H"
        assert [lines[-1] for lines in rest] == ["DURATION:P1D"] * len(rest)


def test_floating_series_stays_floating_and_is_placed_by_the_askers_zone() -> None:
    zone = named_zone("America/New_York")
    assert zone is not None
    body = event("DTSTART:20260302T220000", "DTEND:20260302T230000", "RRULE:FREQ=DAILY;COUNT=2")
    assert expand(body, "20260303T030000Z", "20260303T040000Z", zone) == [
        ["DTSTART:20260302T220000", "RECURRENCE-ID:20260302T220000", "DTEND:20260302T230000"]
    ]


def test_this_and_future_override_describes_what_follows() -> None:
    master = component(
        "f", "DTSTART:20260302T100000Z", "DTEND:20260302T110000Z", "RRULE:FREQ=DAILY;COUNT=4", "SUMMARY:old"
    )
    override = component(
        "f", "RECURRENCE-ID;RANGE=THISANDFUTURE:20260304T100000Z", "DTSTART:20260304T150000Z", "DTEND:20260304T170000Z",
        "SUMMARY:new",
    )  # fmt: skip
    body = body_of("\n".join(["BEGIN:VCALENDAR", *master, *override, "END:VCALENDAR"]))
    found = expand(body, "20260303T000000Z", "20260401T000000Z")
    assert [sorted(lines) for lines in found] == [
        ["DTEND:20260303T110000Z", "DTSTART:20260303T100000Z", "RECURRENCE-ID:20260303T100000Z", "SUMMARY:old"],
        ["DTEND:20260304T170000Z", "DTSTART:20260304T150000Z", "RECURRENCE-ID:20260304T100000Z", "SUMMARY:new"],
        ["DTEND:20260305T170000Z", "DTSTART:20260305T150000Z", "RECURRENCE-ID:20260305T100000Z", "SUMMARY:new"],
    ]


def test_rdate_period_gives_its_instance_its_own_length() -> None:
    period = "RDATE;VALUE=PERIOD:20260310T100000Z/PT3H"
    with_end = event("DTSTART:20260302T100000Z", "DTEND:20260302T110000Z", period)
    with_duration = event("DTSTART:20260302T100000Z", "DURATION:PT1H", period)
    without = event("DTSTART:20260302T100000Z", period)
    wanted = "20260310T000000Z", "20260311T000000Z"
    assert expand(with_end, *wanted)[0][-1] == "DTEND:20260310T130000Z"
    assert expand(with_duration, *wanted)[0][-1] == "DURATION:PT3H"
    assert expand(without, *wanted)[0][-1] == "DTEND:20260310T130000Z"


def test_times_in_alarms_and_unknown_properties_lose_their_zone_too() -> None:
    alarm = [
        "BEGIN:VALARM",
        "TRIGGER;VALUE=DATE-TIME:20260301T000000Z",
        "X-LATER;TZID=Europe/Berlin:20260301T100000",
        "END:VALARM",
    ]
    body = event(
        "DTSTART:20260302T100000Z",
        "X-SEEN;TZID=Europe/Berlin:20260301T100000",
        "X-BAD;TZID=Nowhere:20260301T100000",
        *alarm,
    )
    answer = show(body, span("expand", "20260302T000000Z", "20260303T000000Z"))
    assert "X-SEEN:20260301T090000Z\r\n" in answer
    assert "X-LATER:20260301T090000Z\r\n" in answer
    assert "X-BAD:20260301T100000\r\n" in answer


def test_tasks_expand_by_due_and_undated_ones_are_always_there() -> None:
    series = event("DTSTART:20260302T100000Z", "DUE:20260302T120000Z", "RRULE:FREQ=WEEKLY", name="VTODO")
    assert expand(series, "20260309T110000Z", "20260309T113000Z") == [
        ["DTSTART:20260309T100000Z", "RECURRENCE-ID:20260309T100000Z", "DUE:20260309T120000Z"]
    ]
    undated = event("SUMMARY:some day", name="VTODO")
    assert expand(undated, "20260309T110000Z", "20260309T113000Z") == [["SUMMARY:some day"]]
    due = event("DUE;TZID=Europe/Berlin:20260309T120000", name="VTODO")
    assert expand(due, "20260309T100000Z", "20260309T113000Z") == [["DUE:20260309T110000Z"]]


def test_line_ends_of_the_body_are_used_for_new_lines() -> None:
    body = event("DTSTART;TZID=Europe/Berlin:20260302T100000", "RRULE:FREQ=DAILY").replace(b"\r\n", b"\n")
    answer = show(body, span("expand", "20260303T000000Z", "20260305T000000Z"))
    assert "\r" not in answer
    assert answer.count("\nDTSTART:") == 2


def test_expansion_stops_at_the_limit_of_instances() -> None:
    body = event("DTSTART:20260302T100000Z", "RRULE:FREQ=SECONDLY")
    assert len(expand(body, "20260303T000000Z", "20270303T000000Z", limits=Limits(instances_max=25))) == 25


# ---- what is remembered between two expansions ----

RANGES = [
    ("20260301T000000Z", "20260401T000000Z"), ("20240501T000000Z", "20240601T000000Z"),
    ("20060101T000000Z", "20060108T000000Z"), ("19900101T000000Z", "20300101T000000Z"),
]  # fmt: skip
OWN_ZONE = """
BEGIN:VCALENDAR
BEGIN:VTIMEZONE
TZID:Ours
BEGIN:STANDARD
DTSTART:19700101T000000
TZOFFSETFROM:+0300
TZOFFSETTO:+0300
END:STANDARD
END:VTIMEZONE
BEGIN:VEVENT
UID:ours
DTSTART;TZID=Ours:20260301T090000
DURATION:PT1H
RRULE:FREQ=DAILY
END:VEVENT
END:VCALENDAR
"""
OBJECTS = [
    *(rfc(number) for number in range(1, 9)),
    body_of(OWN_ZONE),
    event("DTSTART;TZID=Europe/Berlin:20260301T090000", "DURATION:P1DT1H", "RRULE:FREQ=DAILY", "BEGIN:VALARM",
          "TRIGGER:-PT15M", "END:VALARM"),
    event("DTSTART;TZID=Europe/Berlin:20260301T090000", "DTEND:20260301T100000", "RRULE:FREQ=WEEKLY;BYDAY=SU,MO"),
    event("DTSTART;VALUE=DATE:20240501", "RRULE:FREQ=DAILY;COUNT=5", "EXDATE;VALUE=DATE:20240503"),
    event("DTSTART:20240501T090000", "DTEND:20240501T100000", "RDATE:20240507T090000,20240509T090000"),
    event("DUE;TZID=Europe/Berlin:20260301T090000", "RRULE:FREQ=DAILY;COUNT=3", name="VTODO"),
    body_of("\n".join([
        "BEGIN:VCALENDAR",
        *component("m", "DTSTART:20260302T100000Z", "DTEND:20260302T110000Z", "RRULE:FREQ=DAILY;COUNT=9"),
        *component("m", "RECURRENCE-ID;RANGE=THISANDFUTURE:20260304T100000Z", "DTSTART:20260304T150000Z", "SUMMARY:n"),
        *component("t", "SUMMARY:undated", name="VTODO"),
        "END:VCALENDAR",
    ])),
]  # fmt: skip


@pytest.fixture
def memory(monkeypatch: pytest.MonkeyPatch) -> _Remembered:
    fresh = _Remembered()
    monkeypatch.setattr("dav.ical.render._remembered", fresh)
    return fresh


@pytest.mark.parametrize("number", range(len(OBJECTS)))
def test_a_remembered_object_is_expanded_as_one_that_is_read_anew(memory: _Remembered, number: int) -> None:
    body, none = OBJECTS[number], Limits(memory_bytes=0)
    for inner in ("", '<C:comp name="VCALENDAR"><C:comp name="VEVENT"><C:prop name="DTSTART"/></C:comp></C:comp>'):
        for zone in (UTC, named_zone("America/New_York")):
            assert zone is not None
            for start, end in (*RANGES, *RANGES):
                wanted = inner + span("expand", start, end)
                anew = show(body, wanted, zone, none)
                assert len(memory) == 0
                first, second = show(body, wanted, zone), show(body, wanted, zone)
                assert first == second == anew
                memory.clear()


def test_a_zone_of_the_objects_own_is_not_remembered(memory: _Remembered) -> None:
    expand(body_of(OWN_ZONE), *RANGES[0])
    assert len(memory) == 0
    expand(rfc(2), *RANGES[2])
    assert len(memory) == 1


def test_memory_of_expansions_is_bounded_and_keeps_what_was_used_last(memory: _Remembered) -> None:
    bodies = [event(f"SUMMARY:{number}", "DTSTART:20260301T090000Z", "RRULE:FREQ=DAILY") for number in range(40)]
    limits = Limits(memory_bytes=50_000)
    for body in bodies:
        expand(bodies[0], *RANGES[0], limits=limits)
        expand(body, *RANGES[0], limits=limits)
        assert memory.weight <= 50_000
    assert 5 < len(memory) < 20
    kept = {key[0] for key in memory.keys()}  # noqa: SIM118
    assert {bodies[0], bodies[-1]} <= kept
    assert bodies[1] not in kept
    large = event("DTSTART:20260301T090000Z", "RRULE:FREQ=DAILY", "DESCRIPTION:" + "x" * 20_000)
    expand(large, "20260301T000000Z", "20260302T000000Z")
    assert large not in {key[0] for key in memory.keys()}  # noqa: SIM118


def test_unreadable_body_is_given_as_it_is() -> None:
    body = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VCALENDAR\r\n"
    wanted = data_of(span("expand", "20260303T000000Z", "20270303T000000Z"))
    assert render(body, wanted, floating_zone=UTC, limits=LIMITS) is body


def test_range_limited_set_keeps_overrides_that_move_in_or_out() -> None:
    master = component("m", "DTSTART:20260302T100000Z", "RRULE:FREQ=DAILY", "SUMMARY:daily")
    moved_in = component("m", "RECURRENCE-ID:20260401T100000Z", "DTSTART:20260310T150000Z", "SUMMARY:in")
    moved_out = component("m", "RECURRENCE-ID:20260310T100000Z", "DTSTART:20260501T100000Z", "SUMMARY:out")
    far = component("m", "RECURRENCE-ID:20260601T100000Z", "DTSTART:20260601T110000Z", "SUMMARY:far")
    future = component(
        "m", "RECURRENCE-ID;RANGE=THISANDFUTURE:20260305T100000Z", "DTSTART:20260305T100000Z", "SUMMARY:future"
    )
    later = component(
        "m", "RECURRENCE-ID;RANGE=THISANDFUTURE:20260701T100000Z", "DTSTART:20260701T100000Z", "SUMMARY:later"
    )
    parts = [*master, *moved_in, *moved_out, *far, *future, *later]
    body = body_of("\n".join(["BEGIN:VCALENDAR", *parts, "END:VCALENDAR"]))
    answer = show(body, span("limit-recurrence-set", "20260310T000000Z", "20260311T000000Z"))
    kept = [line[8:] for line in answer.split("\r\n") if line.startswith("SUMMARY:")]
    assert kept == ["daily", "in", "out", "future"]


# ---- a calendar as one object ----


def merged(*bodies: bytes, name: str | None = None, color: str | None = None) -> Component:
    text = b"".join(merge_calendars(iter(bodies), name=name, color=color))
    document = read(text)
    assert document.stray == []
    [calendar] = document.components
    return calendar


def test_merged_calendar_has_every_component_as_stored_and_each_zone_once() -> None:
    calendar = merged(*(rfc(number) for number in range(1, 9)))
    names = [item.name for item in calendar.components]
    assert names.count("VTIMEZONE") == 1
    assert names.count("VEVENT") == 5
    assert names.count("VTODO") == 4
    stored = [item.to_bytes() for n in range(1, 9) for item in read(rfc(n)).components[0].components]
    assert {item.to_bytes() for item in calendar.components} == set(stored)
    assert [line.value for line in calendar.all("VERSION")] == ["2.0"]
    assert len(calendar.all("PRODID")) == 1


@pytest.mark.parametrize(
    "before",
    ["", "X-NOTE:a line more\r\n", "BEGIN:X-BOX\r\n", "begin:X-BOX\r\n"],
    ids=["plain", "line", "deep", "lower"],
)
@pytest.mark.parametrize("after", ["", " folded\r\n", "X-NOTE:end\r\n"], ids=["plain", "fold", "line"])
def test_a_zone_that_was_written_is_left_out_again_and_nothing_else(before: str, after: str) -> None:
    zone = OWN_ZONE[OWN_ZONE.index("BEGIN:VTIMEZONE") : OWN_ZONE.index("BEGIN:VEVENT")].replace("\n", "\r\n")
    closing = f"END:{before[6:]}" if before[:5] in ("BEGIN", "begin") else ""
    inner = "".join(f"{line}\r\n" for line in component("two", "SUMMARY:x"))
    second = f"BEGIN:VCALENDAR\r\n{before}{zone}{after}{closing}{inner}END:VCALENDAR\r\n".encode()
    alone = [item.to_bytes() for item in merged(second).components if item.name != "VTIMEZONE"]
    together = merged(body_of(OWN_ZONE), second)
    assert [item.to_bytes() for item in together.components][2:] == alone
    assert [item.name for item in together.components].count("VTIMEZONE") == 1


def test_name_and_colour_of_a_merged_calendar_cannot_break_out_of_their_lines() -> None:
    calendar = merged(name="Work; \u00c4\r\nX-EVIL:1", color="#FF0000")
    name = calendar.first("NAME")
    assert name is not None
    assert name.text == "Work; \u00c4\nX-EVIL:1"
    assert calendar.first("X-EVIL") is None
    assert calendar.value("X-APPLE-CALENDAR-COLOR") == "#FF0000"
    assert calendar.first("COLOR") is None, "RFC 7986 takes names only"
    assert merged(color="Crimson").value("COLOR") == "crimson"
    assert merged(color="red\r\nX-EVIL:1").first("X-EVIL") is None


def test_odd_bodies_are_made_portable_and_broken_ones_left_out() -> None:
    plain = event("DTSTART:20260302T100000Z", "SUMMARY:plain")
    line_feeds = plain.replace(b"\r\n", b"\n").replace(b"plain", b"lf")
    unfinished = plain.rstrip(b"\r\n").replace(b"plain", b"open")
    marked = b"\xef\xbb\xbf" + plain.replace(b"plain", b"bom")
    old_mac = plain.replace(b"\r\n", b"\r").replace(b"plain", b"mac")
    latin = plain.replace(b"plain", b"Z\xfcrich")
    folded = plain.replace(b"END:VEVENT", b"END:VEV\r\n ENT").replace(b"plain", b"folded")
    broken = plain.replace(b"END:VEVENT", b"END:VTODO")
    calendar = merged(line_feeds, unfinished, marked, latin, folded, broken, b"", b"\x00\xff", plain)
    summaries = [item.value("SUMMARY") for item in calendar.components]
    assert summaries == ["lf", "open", "bom", "Z\u00fcrich", "folded", "plain"]
    text = b"".join(merge_calendars([line_feeds, latin]))
    assert text.count(b"\n") == text.count(b"\r\n")
    assert "Z\u00fcrich" in text.decode()
    assert [item.value("SUMMARY") for item in merged(old_mac, plain).components] == ["mac", "plain"]


_PIECES = st.sampled_from(
    [
        b"BEGIN:",
        b"END:",
        b"begin:",
        b"VCALENDAR",
        b"VEVENT",
        b"VTIMEZONE",
        b"TZID:Z",
        b"SUMMARY:x",
        b"\r\n",
        b"\n",
        b"\r",
        b" ",
    ]
)


@given(st.lists(_PIECES, max_size=24), st.booleans())
@example([b"\r\n", b" ", b"BEGIN:"], True)
@example([b" ", b"BEGIN:", b"VEVENT", b"\r\n", b"BEGIN:", b"VCALENDAR"], False)
def test_merging_finds_the_components_that_the_reader_finds(pieces: list[bytes], framed: bool) -> None:
    body = b"".join(pieces)
    if framed:
        body = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\n" + body + b"\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    try:
        tops = [item for item in read(body).components if item.name == "VCALENDAR"]
    except LineError:
        tops = []
    wanted = [item for top in tops for item in top.components if item.name != "VTIMEZONE"]
    found = [item for item in merged(body).components if item.name != "VTIMEZONE"]
    assert [item.name for item in found] == [item.name for item in wanted]
    assert [len(item.items) for item in found] == [len(item.items) for item in wanted]


def test_merging_is_lazy() -> None:
    taken: list[int] = []

    def bodies():  # type: ignore[no-untyped-def]
        for number in range(100):
            taken.append(number)
            yield rfc(1)

    stream = merge_calendars(bodies())
    next(stream)
    next(stream)
    assert len(taken) == 1


# ---- real objects ----


def _corpus() -> list[Path]:
    index = SHARED / "corpus" / "INDEX.tsv"
    if not index.is_file():
        return []
    with index.open(encoding="utf-8", newline="") as rows:
        table = csv.DictReader(rows, delimiter="\t", quoting=csv.QUOTE_NONE)
        return [SHARED / "corpus" / row["file"] for row in table if row["kind"] == "ics" and row["valid"] != "no"]


@pytest.mark.skipif(not SHARED.is_dir(), reason="the shared corpus is not here (DAVENPORT_SHARED)")
def test_every_accepted_corpus_object_is_rendered_and_merged_in_bounded_time() -> None:
    wanted = [
        data_of(span("expand", "19900101T000000Z", "20300101T000000Z")),
        data_of(span("limit-recurrence-set", "20200101T000000Z", "20260101T000000Z")),
        data_of(span("limit-freebusy-set", "20200101T000000Z", "20260101T000000Z")),
        data_of('<C:comp name="VCALENDAR"><C:allprop/><C:comp name="VEVENT"><C:prop name="UID"/></C:comp></C:comp>'),
    ]
    bodies = []
    for path in _corpus():
        body = path.read_bytes()
        try:
            read(body)
        except LineError:
            continue
        bodies.append(body)
        for data in wanted:
            began = time.process_time()
            answer = render(body, data, floating_zone=UTC, limits=Limits(instances_max=300))
            assert time.process_time() - began < 2, path.name
            for calendar in read(answer).components:
                assert data.expand is None or not any(
                    line.name in ("RRULE", "RDATE", "EXDATE") or "TZID=" in line.head.upper()
                    for item in calendar.components
                    for line in item.lines
                ), path.name
    assert len(bodies) > 90
    calendar = merged(*bodies)
    expected = [
        item.name
        for body in bodies
        for top in read(body).components
        if top.name == "VCALENDAR"
        for item in top.components
    ]
    assert [item.name for item in calendar.components if item.name != "VTIMEZONE"] == [
        n for n in expected if n != "VTIMEZONE"
    ]
    zones = [item.value("TZID") for item in calendar.components if item.name == "VTIMEZONE"]
    assert len(zones) == len(set(zones))


_VALUES = st.sampled_from(
    [
        "20260302T100000Z", "20260302T100000", "20260302", "00010101T000000", "99991231T235959Z", "99991231", "PT1H",
        "P1D",
        "-P9999999D", "P999999W", "PT0S", "19700101T000000Z/PT1H", "20260302T100000Z/20260301T000000Z", ",", "", "x",
        "20260230", "FREQ=DAILY", "FREQ=YEARLY;COUNT=2", "FREQ=HOURLY;UNTIL=20260303", "FREQ=WEEKLY;BYDAY=MO,-9FR", "5",
    ]
)  # fmt: skip
_HEADS = st.sampled_from(
    [
        "DTSTART", "DTEND", "DUE", "DURATION", "RRULE", "RDATE", "EXDATE", "EXRULE", "RECURRENCE-ID", "COMPLETED",
        "DTSTART;VALUE=DATE", "DTSTART;TZID=Europe/Berlin", "DTEND;TZID=Nowhere", "RECURRENCE-ID;RANGE=THISANDFUTURE",
        "RDATE;VALUE=PERIOD;TZID=Europe/Berlin", "EXDATE;TZID=America/New_York", "FREEBUSY", "TRIGGER",
        "REPEAT", "X-A;TZID=",
    ]
)  # fmt: skip
_LINES = st.lists(st.builds("{}:{}".format, _HEADS, _VALUES), max_size=8)


@given(st.lists(st.tuples(st.sampled_from(["VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY"]), _LINES, _LINES), max_size=3))
def test_no_object_makes_rendering_or_filtering_fail(parts: list[tuple[str, list[str], list[str]]]) -> None:
    text = ["BEGIN:VCALENDAR"]
    for name, lines, alarm in parts:
        text += [f"BEGIN:{name}", *lines, "BEGIN:VALARM", *alarm, "END:VALARM", f"END:{name}"]
    body = body_of("\n".join([*text, "END:VCALENDAR"]))
    limits = Limits(instances_max=50, steps_max=2_000)
    range_ = 'start="20260301T000000Z" end="20260401T000000Z"'
    for local in ("expand", "limit-recurrence-set", "limit-freebusy-set"):
        answer = render(body, data_of(f"<C:{local} {range_}/>"), floating_zone=UTC, limits=limits)
        assert read(answer).stray == []
    obj = calendar_object(read(body).components[0])
    assert isinstance(busy_of(obj, 0, 1 << 32, floating_zone=UTC, limits=limits), list)
    ranged = f"<C:time-range {range_}/>"
    for name in ("VEVENT", "VTODO", "VJOURNAL", "VFREEBUSY"):
        for inner in (ranged, f'<C:comp-filter name="VALARM">{ranged}</C:comp-filter>'):
            comp = f'<C:comp-filter name="{name}">{inner}</C:comp-filter>'
            filter = f'<C:filter xmlns:C="{CALDAV}"><C:comp-filter name="VCALENDAR">{comp}</C:comp-filter></C:filter>'
            wanted = parse_filter(etree.fromstring(filter))
            assert isinstance(matches(wanted, obj, floating_zone=UTC, limits=limits), bool)


def test_utc_text_and_utc_seconds_are_each_others_inverse() -> None:
    for text in ("19700101T000000Z", "20060104T190000Z", "00010101T000000Z", "99991231T235959Z", "20240229T120000Z"):
        assert utc_text(utc_seconds(text)) == text
    assert utc_text(1 << 43) == "99991231T235959Z"
