"""Busy time (RFC 4791 §7.10): what counts, how periods join, and the answer."""

from __future__ import annotations

import json
import os
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav.ical.freebusy import busy_of, free_busy_answer, merge_busy
from dav.ical.lines import Component, Line, make_line, read
from dav.ical.make import utc_seconds, utc_text
from dav.ical.recur import CalendarObject, Limits, calendar_object
from dav.ical.tz import UTC, named_zone
from storage.records import Instance

ROOT = Path(__file__).parents[2]
SHARED = Path(os.environ.get("DAVENPORT_SHARED", ROOT / ".." / "shared"))
LIMITS = Limits()

DAY = utc_seconds("20260302T000000Z"), utc_seconds("20260303T000000Z")


def object_of(text: str) -> CalendarObject:
    return calendar_object(read(text.encode()).components[0])


def event(*lines: str, name: str = "VEVENT") -> CalendarObject:
    return object_of("\r\n".join(["BEGIN:VCALENDAR", f"BEGIN:{name}", *lines, f"END:{name}", "END:VCALENDAR", ""]))


def busy(obj: CalendarObject, start_s: int = DAY[0], end_s: int = DAY[1]) -> list[tuple[str, str, str]]:
    instances = busy_of(obj, start_s, end_s, floating_zone=UTC, limits=LIMITS)
    return [(utc_text(a)[9:13], utc_text(b)[9:13], kind) for a, b, kind in merge_busy(instances, start_s, end_s)]


def answer_of(body: bytes) -> Component:
    [calendar] = read(body).components
    assert [item.name for item in calendar.components] == ["VFREEBUSY"]
    return calendar


def periods_of(lines: list[Line]) -> set[tuple[str, str]]:
    """(FBTYPE, period) of FREEBUSY lines; BUSY is the type of a line that names none (RFC 5545 §3.2.9)."""
    return {(line.param("FBTYPE") or "BUSY", period) for line in lines for period in line.value.split(",")}


# ---- vectors of another library ----


def _vectors() -> list[dict[str, Any]]:
    path = SHARED / "corpus" / "recurrence" / "freebusy.json"
    if not path.is_file():
        return []
    return [case for case in json.loads(path.read_text(encoding="utf-8")) if case["vavailability"] is None]


@pytest.mark.parametrize("case", [pytest.param(case, id=case["id"]) for case in _vectors()])
def test_free_busy_vector_gives_the_expected_periods(case: dict[str, Any]) -> None:
    start_s, end_s = utc_seconds(case["start"]), utc_seconds(case["end"])
    zone = named_zone(case["floating_tzid"]) if case["floating_tzid"] else UTC
    assert zone is not None
    obj = object_of(case["input"])
    instances = busy_of(obj, start_s, end_s, floating_zone=zone, limits=LIMITS)
    body = free_busy_answer(merge_busy(instances, start_s, end_s), start_s, end_s, now_s=0)
    expected = read(("BEGIN:X\r\n" + "\r\n".join(case["expected"]) + "\r\nEND:X\r\n").encode()).components[0]
    found = answer_of(body).components[0].all("FREEBUSY")
    assert periods_of(found) == periods_of(expected.all("FREEBUSY"))


# ---- what is busy ----


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        ([], "BUSY"),
        (["TRANSP:OPAQUE"], "BUSY"),
        (["TRANSP:transparent"], None),
        (["STATUS:CONFIRMED"], "BUSY"),
        (["STATUS:TENTATIVE"], "BUSY-TENTATIVE"),
        (["STATUS:CANCELLED"], None),
        (["STATUS:TENTATIVE", "TRANSP:TRANSPARENT"], None),
    ],
)
def test_event_counts_by_transp_and_status(lines: list[str], expected: str | None) -> None:
    obj = event("DTSTART:20260302T100000Z", "DTEND:20260302T110000Z", *lines)
    assert busy(obj) == ([("1000", "1100", expected)] if expected else [])


def test_tasks_journals_and_events_without_length_block_nothing() -> None:
    assert busy(event("DTSTART:20260302T100000Z", "DUE:20260302T110000Z", name="VTODO")) == []
    assert busy(event("DTSTART;VALUE=DATE:20260302", name="VJOURNAL")) == []
    assert busy(event("DTSTART:20260302T100000Z")) == []


def test_override_counts_by_its_own_status() -> None:
    obj = object_of(
        "BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nDTSTART:20260301T100000Z\r\nDURATION:PT1H\r\nRRULE:FREQ=DAILY\r\nEND:VEVENT\r\n"
        "BEGIN:VEVENT\r\nRECURRENCE-ID:20260302T100000Z\r\nDTSTART:20260302T150000Z\r\nDURATION:PT1H\r\nSTATUS:TENTATIVE\r\n"
        "END:VEVENT\r\nEND:VCALENDAR\r\n"
    )
    assert busy(obj) == [("1500", "1600", "BUSY-TENTATIVE")]
    assert len(busy(obj, DAY[0], DAY[1] + 86_400)) == 2


def test_stored_free_busy_counts_by_type_and_free_is_free() -> None:
    obj = event(
        "FREEBUSY;FBTYPE=FREE:20260302T080000Z/PT1H",
        "FREEBUSY;FBTYPE=BUSY-UNAVAILABLE:20260302T100000Z/PT1H,20260302T103000Z/20260302T120000Z",
        "FREEBUSY;FBTYPE=X-ODD:20260302T130000Z/PT1H",
        "FREEBUSY:garbage",
        name="VFREEBUSY",
    )
    assert busy(obj) == [("1000", "1200", "BUSY-UNAVAILABLE"), ("1300", "1400", "BUSY")]


def test_endless_rule_of_minutes_is_cut_at_the_limit() -> None:
    obj = event("DTSTART:20200101T000000Z", "DURATION:PT1S", "RRULE:FREQ=MINUTELY")
    assert len(busy_of(obj, *DAY, floating_zone=UTC, limits=Limits(instances_max=50))) == 50
    assert len(busy_of(obj, *DAY, floating_zone=UTC, limits=LIMITS)) == 24 * 60


# ---- merging ----


def test_periods_are_clipped_and_joined_within_their_type() -> None:
    instances = [
        Instance(50, 150, False, 1),
        Instance(150, 180, False, 1),
        Instance(170, 300, False, 2),
        Instance(190, 195, False, 1),
        Instance(10, 100, False, 1),
        Instance(120, 130, False, 0),
        Instance(140, 140, False, 1),
    ]
    assert merge_busy(instances, 100, 200) == [(100, 180, "BUSY"), (170, 200, "BUSY-TENTATIVE"), (190, 195, "BUSY")]


def test_floating_instances_are_settled_in_the_zone() -> None:
    zone = named_zone("America/New_York")
    assert zone is not None
    wall = utc_seconds("20260302T060000Z")
    [(start_s, end_s, kind)] = merge_busy([Instance(wall, wall + 3600, True, 1)], *DAY, floating_zone=zone)
    assert (utc_text(start_s), utc_text(end_s), kind) == ("20260302T110000Z", "20260302T120000Z", "BUSY")


@given(
    st.lists(st.tuples(st.integers(0, 60), st.integers(0, 60), st.integers(0, 3)), max_size=20),
    st.integers(0, 30),
    st.integers(31, 60),
)
def test_merging_covers_exactly_the_busy_seconds_of_each_type(
    periods: list[tuple[int, int, int]], start_s: int, end_s: int
) -> None:
    merged = merge_busy([Instance(a, b, False, kind) for a, b, kind in periods], start_s, end_s)
    for kind, name in ((1, "BUSY"), (2, "BUSY-TENTATIVE"), (3, "BUSY-UNAVAILABLE")):
        wanted = {s for a, b, k in periods if k == kind for s in range(max(a, start_s), min(b, end_s))}
        mine = [(a, b) for a, b, n in merged if n == name]
        assert {s for a, b in mine for s in range(a, b)} == wanted
        assert all(first[1] < second[0] for first, second in pairwise(mine))


# ---- the answer ----


def test_answer_has_one_line_for_each_type_and_is_folded() -> None:
    hours = [(DAY[0] + 7_200 * n, DAY[0] + 7_200 * n + 3_600, "BUSY") for n in range(8)]
    body = free_busy_answer([*hours, (DAY[0], DAY[1], "BUSY-TENTATIVE")], *DAY, now_s=DAY[0])
    assert all(len(line) <= 75 for line in body.split(b"\r\n"))
    calendar = answer_of(body)
    component = calendar.components[0]
    assert [line.param("FBTYPE") for line in component.all("FREEBUSY")] == ["BUSY", "BUSY-TENTATIVE"]
    assert len(periods_of(component.all("FREEBUSY"))) == 9
    assert component.value("DTSTART") == "20260302T000000Z"
    assert component.value("DTEND") == "20260303T000000Z"
    assert component.value("DTSTAMP") == "20260302T000000Z"
    assert component.value("UID")
    assert calendar.first("METHOD") is None


def test_answer_by_itip_repeats_the_lines_of_the_request() -> None:
    attendee = make_line("ATTENDEE", "mailto:b@x.example", (("CN", ('B "the" B; c',)),))
    body = free_busy_answer(
        [], *DAY, now_s=0, organizer="mailto:a@x.example", attendee=attendee, uid="u-1", method="REPLY"
    )
    calendar = answer_of(body)
    component = calendar.components[0]
    assert calendar.value("METHOD") == "REPLY"
    assert component.value("UID") == "u-1"
    assert component.value("ORGANIZER") == "mailto:a@x.example"
    line = component.first("ATTENDEE")
    assert line is not None
    assert (line.value, line.param("CN")) == ("mailto:b@x.example", 'B "the" B; c')
    assert component.first("FREEBUSY") is None


def test_values_from_outside_cannot_add_lines_to_the_answer() -> None:
    body = free_busy_answer(
        [], *DAY, now_s=0, organizer="mailto:a\r\nX-EVIL:1", uid="u\nX-EVIL:1", method="R\rX-EVIL:1"
    )
    calendar = answer_of(body)
    assert calendar.first("X-EVIL") is None
    assert calendar.components[0].first("X-EVIL") is None
