"""The time index of an object: bounds, instances, busy codes (storage/records.py, RFC 4791 §7.10, §9.9)."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.errors import DavError
from dav.ical.index import index_calendar
from dav.ical.recur import occurrences
from dav.ical.rules import check_calendar
from dav.ical.tz import UTC
from storage.records import BEGINLESS, ENDLESS, Instance, ObjectIndex

from .caltext import at, body, component, event, obj, todo, utc, zone
from .test_recur import HOSTILE, TODO_ROWS, E, S

NOW = at("20261125")
DAY = 86_400


def index(*components: str, **options: int) -> ObjectIndex:
    return index_calendar(obj(*components), now_s=NOW, **options)


def spans(found: ObjectIndex) -> list[tuple[str, str]]:
    return [(utc(instance.start_s), utc(instance.end_s)) for instance in found.instances]


def test_a_single_event_is_one_exact_instance_for_all_time() -> None:
    found = index(event("DTSTART:19990302T090000Z", "DTEND:19990302T100000Z", r"SUMMARY:Tea\, cake"))
    assert found == ObjectIndex(
        uid="one@example.com",
        component="VEVENT",
        first_s=at("19990302T090000Z"),
        last_s=at("19990302T100000Z"),
        exact=True,
        recurs=False,
        instances=(Instance(at("19990302T090000Z"), at("19990302T100000Z"), False, 1),),
        indexed_from_s=BEGINLESS,
        indexed_to_s=ENDLESS,
        summary="Tea, cake",
    )


def test_an_endless_series_is_indexed_in_the_window_and_exact_without_end() -> None:
    found = index(event("DTSTART;TZID=Europe/Berlin:20180105T090000", "DURATION:PT1H", "RRULE:FREQ=WEEKLY"))
    assert (utc(found.first_s), found.last_s, found.exact, found.recurs) == ("20180105T080000Z", ENDLESS, True, True)
    assert (found.indexed_from_s, found.indexed_to_s) == (NOW - 366 * DAY, NOW + 732 * DAY)
    assert len(found.instances) == 157
    assert {instance.end_s - instance.start_s for instance in found.instances} == {3600}


def test_a_short_finished_series_is_indexed_whole() -> None:
    found = index(event("DTSTART:19990302T090000Z", "RRULE:FREQ=DAILY;COUNT=5"))
    assert len(found.instances) == 5
    assert (found.indexed_from_s, found.indexed_to_s, found.exact) == (BEGINLESS, ENDLESS, True)
    assert utc(found.last_s) == "19990306T090000Z"


def test_a_long_finished_series_outside_the_window_has_bounds_only() -> None:
    found = index(event("DTSTART:19990302T090000Z", "RRULE:FREQ=DAILY;COUNT=500"))
    assert (found.instances, found.exact) == ((), False)
    assert utc(found.first_s) == "19990302T090000Z"
    assert at("20000712") <= found.last_s < at("20000715")


def test_more_instances_than_fit_shorten_the_window() -> None:
    found = index(event("DTSTART:20200101T000000Z", "RRULE:FREQ=HOURLY"), instances_max=100)
    assert 0 < len(found.instances) <= 100
    assert found.indexed_from_s == NOW - 366 * DAY
    assert found.indexed_from_s < found.indexed_to_s < NOW
    expected = occurrences(
        obj(event("DTSTART:20200101T000000Z", "RRULE:FREQ=HOURLY")),
        found.indexed_from_s,
        found.indexed_to_s,
        floating_zone=UTC,
    )
    assert [instance.start_s for instance in found.instances] == [o.start_s for o in expected]


def test_many_overrides_never_hide_that_the_series_is_missing() -> None:
    overrides = [
        event(f"RECURRENCE-ID:202612{day:02d}T090000Z", f"DTSTART:202612{day:02d}T100000Z") for day in range(1, 21)
    ]
    series = event("DTSTART:20261201T090000Z", "RRULE:FREQ=DAILY")
    found = index(series, *overrides, instances_max=10)
    assert (found.instances, found.indexed_to_s) == ((), found.indexed_from_s)


def test_a_rule_that_never_matches_is_its_dtstart() -> None:
    found = index(event("DTSTART:20261125T000000Z", "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"))
    assert len(found.instances) == 1
    assert not found.exact


def test_floating_instances_are_wall_clock_and_bounds_have_a_margin() -> None:
    found = index(event("DTSTART:20261201T090000", "DTEND:20261201T100000"))
    assert found.instances == (Instance(at("20261201T090000Z"), at("20261201T100000Z"), True, 1),)
    assert (found.first_s, found.last_s) == (at("20261130T190000Z"), at("20261202T000000Z"))
    assert not found.exact
    day = index(event("DTSTART;VALUE=DATE:20261201"))
    assert day.instances == (Instance(at("20261201"), at("20261202"), True, 1),)


@pytest.mark.parametrize(
    ("lines", "code"),
    [
        ([], 1),
        (["TRANSP:OPAQUE", "STATUS:CONFIRMED"], 1),
        (["TRANSP:TRANSPARENT", "STATUS:TENTATIVE"], 0),
        (["STATUS:CANCELLED"], 0),
        (["STATUS:TENTATIVE"], 2),
    ],
)
def test_transparency_and_status_say_how_busy_an_event_is(lines: list[str], code: int) -> None:
    assert [i.busy for i in index(event("DTSTART:20261201T090000Z", *lines)).instances] == [code]


def test_an_override_has_its_own_busy_code_and_place() -> None:
    found = index(
        event("DTSTART:20261201T090000Z", "RRULE:FREQ=DAILY;COUNT=3"),
        event("RECURRENCE-ID:20261202T090000Z", "DTSTART:20270601T090000Z", "STATUS:TENTATIVE"),
    )
    assert {(utc(i.start_s), i.busy) for i in found.instances} == {
        ("20261201T090000Z", 1),
        ("20261203T090000Z", 1),
        ("20270601T090000Z", 2),
    }
    assert utc(found.last_s) == "20270601T090000Z"


def test_free_busy_is_its_periods_with_their_type(shared: Path) -> None:
    found = index_calendar(
        check_calendar((shared / "corpus/ics/made-vfreebusy-reply.ics").read_bytes()), now_s=at("20260301")
    )
    assert [(start, i.busy) for (start, _), i in zip(spans(found), found.instances, strict=True)] == [
        ("20260302T090000Z", 1),
        ("20260302T130000Z", 1),
        ("20260302T150000Z", 2),
        ("20260302T000000Z", 0),
    ]


def test_a_task_without_dates_is_always() -> None:
    found = index(todo("SUMMARY:some day"))
    assert (found.first_s, found.last_s, found.instances, found.indexed_from_s) == (BEGINLESS, ENDLESS, (), BEGINLESS)


def test_a_note_without_date_is_never_in_a_range() -> None:
    found = index(component("VJOURNAL", "SUMMARY:note"))
    assert found.first_s > found.last_s
    assert found.readable


def test_an_event_that_cannot_be_placed_is_marked_unreadable() -> None:
    assert not index(event("DTSTART:whenever")).readable


def hit(found: ObjectIndex, start_s: int, end_s: int) -> bool:
    """What the store asks of the instances."""
    return any(i.start_s < end_s and (i.end_s > start_s or i.start_s >= start_s) for i in found.instances)


@pytest.mark.parametrize(("lines", "wanted"), TODO_ROWS)
def test_the_index_of_a_task_never_misses_a_range_that_it_overlaps(lines: list[str], wanted: bool) -> None:
    found = index(todo(*lines))
    assert hit(found, at(S), at(E)) or not wanted
    assert (found.first_s < at(E) and found.last_s > at(S)) or not wanted


LINES = st.lists(
    st.sampled_from(
        [
            "RRULE:FREQ=WEEKLY",
            "RRULE:FREQ=DAILY;COUNT=100",
            "RRULE:FREQ=MONTHLY;BYMONTHDAY=-1;UNTIL=20270601T000000Z",
            "RDATE:20261201T120000Z,20200101T000000Z",
            "EXDATE:20261202T090000Z",
            "EXDATE;VALUE=DATE:20261209",
            "DURATION:P1DT2H",
        ]
    ),
    max_size=4,
    unique=True,
)
STARTS = st.sampled_from(
    ["DTSTART:20261125T090000Z", "DTSTART;TZID=America/New_York:20230308T023000", "DTSTART:20260301T120000"]
)


@settings(max_examples=80, deadline=None)
@given(STARTS, LINES, st.booleans(), st.integers(-300, 600), st.integers(1, 40 * DAY))
def test_inside_its_window_the_index_answers_as_the_object_does(
    start: str, lines: list[str], moved: bool, day: int, length_s: int
) -> None:
    parts = [event(start, *lines)]
    if moved and any(line.startswith("RRULE") for line in lines):
        parts.append(event("RECURRENCE-ID;RANGE=THISANDFUTURE:20261209T090000Z", "DTSTART:20261208T010000Z"))
    thing = obj(*parts)
    found = index_calendar(thing, now_s=NOW)
    start_s = NOW + day * DAY
    truth = occurrences(thing, start_s, start_s + length_s, floating_zone=UTC)
    assert found.indexed_from_s <= start_s
    assert start_s + length_s <= found.indexed_to_s
    assert hit(found, start_s, start_s + length_s) == bool(truth)
    for occurrence in truth:
        assert found.first_s <= occurrence.start_s
        assert occurrence.end_s <= found.last_s


@pytest.mark.parametrize("rule", HOSTILE)
def test_a_hostile_rule_is_indexed_soon(rule: str) -> None:
    started = time.process_time()
    found = index(event("DTSTART;TZID=Asia/Tokyo:19700101T000000", f"RRULE:{rule}"))
    assert len(found.instances) <= 4_000
    assert time.process_time() - started < 1


def test_every_accepted_file_of_the_corpus_is_indexed(shared: Path) -> None:
    checked = 0
    for path in sorted((shared / "corpus/ics").iterdir()):
        try:
            thing = check_calendar(path.read_bytes())
        except DavError:
            continue
        found = index_calendar(thing, now_s=NOW)
        assert found.readable, path.name
        assert found.uid == thing.uid
        for occurrence in (
            occurrences(thing, NOW - 300 * DAY, NOW + 1, floating_zone=zone("UTC"))[:50]
            if ("secondly" not in path.name and "Minutely" not in path.name)
            else []
        ):
            assert found.first_s <= occurrence.start_s, path.name
        checked += 1
    assert checked > 90


def test_the_index_never_raises_for_odd_values() -> None:
    for lines in (["DTSTART:99991231T235959Z", "DURATION:P9999W"], ["DTSTART:00010101T000000Z", "RRULE:FREQ=YEARLY"]):
        thing = check_calendar(body(event(*lines)))
        assert index_calendar(thing, now_s=NOW).uid == "one@example.com"
