"""Recurrence: the corpus of rules, and objects with overrides, exceptions and clock changes (RFC 5545 §3.8.5)."""

from __future__ import annotations

import json
import time
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from dateutil.rrule import rrulestr
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.ical.lines import read
from dav.ical.recur import (
    CalendarObject,
    Limits,
    Moment,
    TooManyInstances,
    calendar_object,
    duration,
    moment,
    moments,
    occurrences,
    periods,
    span,
    timeless,
)
from dav.ical.rrule import Budget, RuleError, UnsupportedScale, local_of, parse_rule, wall_of, walls
from dav.ical.tz import UTC
from storage.records import ENDLESS

from .caltext import NEW_YORK, at, body, component, event, obj, starts, todo, utc, zone

NY = "TZID=America/New_York"

# Entries of rrule.json that are not agreed and where we decided otherwise; everything else must come out as expected.
DECIDED_OTHERWISE = {
    # DTSTART is an instance only where the rule makes it; sabre/vobject puts it first.
    "sabre/testWeeklyByDay-21",
    "sabre/testYearlyByYearDayMultiple-58",
    "sabre/testYearlyByDayByWeekNo-65",
    "sabre/testValidByWeekNo-73",
    "sabre/testTwoValidByWeekNo-75",
    "sabre/testMultipleValidByWeekNo-77",
    "sabre/testYearlyStartDateNotOnRRuleList-81",
    "sabre/testYearlyStartDateNotOnRRuleList-82",
    "sabre/testYearlyStartDateNotOnRRuleList-83",
    # sabre counts negative weeks from 53 and day -366 from 31 December, and ignores BYxxx that limit DAILY.
    "sabre/testNegativeValidByWeekNo-74",
    "sabre/testYearlyByYearDayMaxNegative-62",
    "sabre/testIgnoredStuff-89",
    # sabre drops an instance in the gap of the clocks here and moves it in all other entries.
    "sabre/testWeeklyByDayByHourOnDstTransition-26",
    # YEARLY;BYMONTHDAY without BYMONTH keeps DTSTART's month, as an agreed entry has it; dateutil takes every month.
    "dateutil/testToStrYearlyByMonthDay",
    "dateutil/testToStrYearlyBySetPos",
    # BYWEEKNO without BYDAY keeps DTSTART's weekday; dateutil takes every day of the week.
    "dateutil/testToStrYearlyByWeekNo",
}


def rule_event(entry: dict[str, Any]) -> CalendarObject:
    tzid, dtstart = entry.get("tzid"), entry["dtstart"]
    param = f";TZID={tzid}" if tzid else ";VALUE=DATE" if len(dtstart) == 8 else ""
    return obj(event(f"DTSTART{param}:{dtstart}", f"RRULE:{entry['rule']}"))


def instances(entry: dict[str, Any]) -> list[str]:
    home = zone(entry["tzid"]) if "tzid" in entry else UTC

    def instant(text: str) -> int:
        text = text.rstrip("Z")
        return home.to_utc(datetime.strptime(text, "%Y%m%dT%H%M%S" if "T" in text else "%Y%m%d"))

    expected = entry["expected"]
    start_s = instant(entry["from"]) if "from" in entry else None
    # Of an endless rule the listed ones are asked for; where none are listed, a year must be empty.
    end_s = None
    if not entry["complete"]:
        end_s = instant(expected[-1]) + 1 if expected else (start_s or 0) + 366 * 86_400
    found = occurrences(rule_event(entry), start_s, end_s, floating_zone=UTC)
    if "tzid" in entry:  # the wall clock as it is, after a gap
        return [o.start.at(o.start_s, UTC).value for o in found]
    return [o.start.value for o in found]


def test_every_agreed_rule_of_the_corpus_and_every_other_but_the_listed_comes_out_right(shared: Path) -> None:
    entries = json.loads((shared / "corpus/recurrence/rrule.json").read_text())
    wrong, agreed, otherwise = [], 0, set()
    for entry in entries:
        if entry.get("invalid"):
            with pytest.raises(RuleError):
                parse_rule(entry["rule"])
            agreed += entry["agreed"]
        elif "RSCALE" in entry["rule"] and "RSCALE=GREGORIAN" not in entry["rule"]:
            with pytest.raises(UnsupportedScale):
                parse_rule(entry["rule"])
        elif instances(entry) == entry["expected"]:
            agreed += entry["agreed"]
        elif not entry["agreed"] and entry["id"] in DECIDED_OTHERWISE:
            otherwise.add(entry["id"])
        else:
            wrong.append(entry["id"])
    assert wrong == []
    assert agreed == 268
    assert otherwise == DECIDED_OTHERWISE


def test_every_set_of_rules_and_dates_of_the_corpus_comes_out_right(shared: Path) -> None:
    for entry in json.loads((shared / "corpus/recurrence/rruleset.json").read_text()):
        rules = [("RRULE", r) for r in entry["rrule"]] + [("EXRULE", r) for r in entry["exrule"]]
        start = rules[0][1]["dtstart"] if rules else entry["rdate"][0]
        lines = [f"DTSTART:{start}"] + [f"{name}:{r['rule']}" for name, r in rules]
        lines += [f"RDATE:{value}" for value in entry["rdate"]] + [f"EXDATE:{value}" for value in entry["exdate"]]
        found = occurrences(obj(event(*lines)), None, None, floating_zone=UTC)
        assert [o.start.value for o in found] == entry["expected"], entry["id"]


# ---- the rule engine ----

BY = {
    "BYMONTH": st.integers(1, 12),
    "BYMONTHDAY": st.integers(1, 31) | st.integers(-31, -1),
    "BYDAY": st.sampled_from(["MO", "TU", "WE", "TH", "FR", "SA", "SU"]),
    "BYHOUR": st.integers(0, 23),
    "BYMINUTE": st.integers(0, 59),
}


@st.composite
def rules(draw: st.DrawFn) -> str:
    parts = [f"FREQ={draw(st.sampled_from(['YEARLY', 'MONTHLY', 'WEEKLY', 'DAILY', 'HOURLY']))}"]
    parts.append(f"INTERVAL={draw(st.integers(1, 5))}")
    for name in draw(st.sets(st.sampled_from(sorted(BY)), max_size=3)):
        parts.append(f"{name}=" + ",".join(map(str, draw(st.lists(BY[name], min_size=1, max_size=3)))))
    text = ";".join(parts)
    return text + f";BYMONTH={draw(st.integers(1, 12))}" if "YEARLY" in text and "BYMONTH=" not in text else text


@settings(max_examples=60, deadline=None)
@given(rules(), st.datetimes(datetime(1990, 1, 1), datetime(2020, 1, 1)).map(lambda d: d.replace(microsecond=0)))
def test_dateutil_agrees_on_common_rules(text: str, start: datetime) -> None:
    end = start + timedelta(days=60 if "HOURLY" in text else 400 if "DAILY" in text else 2200)
    try:
        expected = rrulestr(text, dtstart=start).between(start, end, inc=True)
    except ValueError:  # dateutil sees beforehand that BYHOUR and INTERVAL never meet
        expected = []
    found = walls(parse_rule(text), wall_of(start), before=wall_of(end), fallback=False, budget=Budget(500_000))
    assert [local_of(wall) for wall in found] == expected


@settings(max_examples=60, deadline=None)
@given(rules(), st.datetimes(datetime(1970, 1, 1), datetime(2000, 1, 1)), st.integers(0, 20_000))
def test_a_search_that_enters_near_the_window_finds_what_a_full_one_finds(
    text: str, start: datetime, days: int
) -> None:
    rule, first = parse_rule(text), wall_of(start.replace(microsecond=0))
    days = days % 300 if "HOURLY" in text else days
    after = first + days * 86_400
    before = after + 400 * 86_400
    seen = list(walls(rule, first, after=after, before=before, fallback=False, budget=Budget(1_000_000)))
    everything = walls(rule, first, before=before, fallback=False, budget=Budget(10_000_000))
    assert seen == [wall for wall in everything if wall >= after]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "COUNT=1",
        "FREQ=FORTNIGHTLY",
        "FREQ=DAILY;INTERVAL=0",
        "FREQ=DAILY;INTERVAL=-1",
        "FREQ=DAILY;INTERVAL=99999999999999999999",
        "FREQ=DAILY;COUNT=0",
        "FREQ=DAILY;COUNT=1;UNTIL=20260101",
        "FREQ=DAILY;FREQ=DAILY",
        "FREQ=YEARLY;BYMONTH=13",
        "FREQ=YEARLY;BYMONTHDAY=1;BYMONTH=0",
        "FREQ=YEARLY;BYMONTHDAY=32",
        "FREQ=YEARLY;BYHOUR=24",
        "FREQ=YEARLY;BYHOUR=-1",
        "FREQ=YEARLY;BYSETPOS=0",
        "FREQ=YEARLY;BYDAY=XX",
        "FREQ=YEARLY;BYDAY=54MO",
        "FREQ=YEARLY;BYDAY=",
        "FREQ=DAILY;UNTIL=20260230",
        "FREQ=DAILY;UNTIL=tomorrow",
        "FREQ=DAILY;WKST=XX",
        "FREQ=DAILY;BYMONTH=٣",
        "FREQ=DAILY;SKIP=SIDEWAYS",
        "FREQ=DAILY;NONSENSE=1",
        "FREQ=DAILY;BYMONTH=" + "1," * 3000 + "1",
    ],
)
def test_a_rule_out_of_range_is_refused(text: str) -> None:
    with pytest.raises(RuleError):
        parse_rule(text)


@pytest.mark.parametrize("text", ["freq=weekly;byday=mo;", "FREQ=DAILY;X-OLD=1", "RSCALE=GREGORIAN;FREQ=DAILY"])
def test_a_rule_in_small_letters_or_with_an_x_part_is_read(text: str) -> None:
    assert parse_rule(text).interval == 1


HOSTILE = [
    "FREQ=MINUTELY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=SECONDLY",
    "FREQ=SECONDLY;COUNT=999999999",
    "FREQ=DAILY;COUNT=999999999",
    "FREQ=SECONDLY;UNTIL=99991231T235959Z",
    "FREQ=YEARLY;BYMONTHDAY=31;BYMONTH=2",
    "FREQ=MONTHLY;BYMONTHDAY=30;BYMONTH=2",
    "FREQ=WEEKLY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=DAILY;BYMONTH=2;BYMONTHDAY=30",
    "FREQ=DAILY;INTERVAL=7;BYDAY=MO,WE",
    "FREQ=MONTHLY;BYDAY=2TU;BYSETPOS=2",
    "FREQ=YEARLY;BYWEEKNO=53;BYMONTH=6",
    "FREQ=MINUTELY;INTERVAL=1440;BYHOUR=5",
    "FREQ=SECONDLY;BYSECOND=59;BYMINUTE=59;BYHOUR=23;BYMONTH=12;BYMONTHDAY=31;BYDAY=MO",
    "FREQ=YEARLY;INTERVAL=999999999",
    "FREQ=YEARLY;BYDAY=53MO;COUNT=100000",
    "FREQ=YEARLY;BYYEARDAY=" + ",".join(map(str, range(1, 367))) + ";BYMONTH=2;BYMONTHDAY=30",
    "FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR="
    + ",".join(map(str, range(24)))
    + ";BYMINUTE="
    + ",".join(map(str, range(60)))
    + ";BYSECOND="
    + ",".join(map(str, range(60))),
]


@pytest.mark.parametrize("text", HOSTILE)
@pytest.mark.parametrize("start", ["00010101T000000Z", "19700101T000000Z", "99991231T235959Z"])
def test_a_hostile_rule_ends_soon(text: str, start: str) -> None:
    hostile = obj(event(f"DTSTART:{start}", f"RRULE:{text}"))
    started = time.process_time()
    for window in ((None, None), (at("20260301"), at("20260401")), (at("20260301"), None), (None, at("20260301"))):
        try:
            found = occurrences(hostile, *window, floating_zone=zone("Asia/Tokyo"))
        except TooManyInstances:
            continue
        assert len(found) <= 10_000
    span(hostile)
    assert time.process_time() - started < 3  # five calls on a busy machine; each takes some 0.1 s


def test_many_hostile_rules_share_one_budget() -> None:
    hostile = obj(event("DTSTART:19700101T000000Z", *["RRULE:FREQ=DAILY;INTERVAL=7;BYDAY=MO"] * 500))
    started = time.process_time()
    with pytest.raises(TooManyInstances):
        occurrences(hostile, None, None, floating_zone=UTC)
    assert time.process_time() - started < 2


def test_more_instances_than_allowed_are_refused() -> None:
    daily = obj(event("DTSTART:20260101T000000Z", "RRULE:FREQ=DAILY;COUNT=11"))
    assert len(occurrences(daily, None, None, floating_zone=UTC, limits=Limits(instances_max=11))) == 11
    with pytest.raises(TooManyInstances):
        occurrences(daily, None, None, floating_zone=UTC, limits=Limits(instances_max=10))


def test_a_rule_that_never_matches_leaves_the_object_at_its_dtstart() -> None:
    never = obj(event("DTSTART:20260302T090000Z", "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30"))
    assert starts(occurrences(never, None, None, floating_zone=UTC)) == ["20260302T090000Z"]
    assert occurrences(never, at("20260303"), None, floating_zone=UTC) == []


def test_an_old_daily_rule_costs_no_more_than_a_new_one() -> None:
    old = obj(event(f"DTSTART;{NY}:19700101T090000", "RRULE:FREQ=DAILY"))
    limits = Limits(steps_max=50)
    for day in ("20260302", "21000101", "90000101"):
        found = occurrences(old, at(day), at(day) + 86_400, floating_zone=UTC, limits=limits)
        assert len(found) == 1


# ---- values ----


def line(text: str) -> Any:
    return read(f"BEGIN:A\n{text}\nEND:A\n".encode()).components[0].items[0]


def test_a_moment_knows_how_it_was_written() -> None:
    zones = obj(event()).zones
    assert moment(line("DTSTART;VALUE=DATE:20260302"), zones).kind == "date"
    assert moment(line("DTSTART:20260302T090000"), zones).kind == "floating"
    zulu = moment(line("DTSTART;TZID=Europe/Berlin:20260302T090000Z"), zones)
    assert (zulu.kind, zulu.seconds(zone("Asia/Tokyo"))) == ("utc", at("20260302T090000Z"))
    zoned = moment(line("DTSTART;TZID=Europe/Berlin:20260302T090000"), zones)
    assert (zoned.kind, zoned.value, zoned.seconds(UTC)) == ("zoned", "20260302T090000", at("20260302T080000Z"))
    unknown = moment(line("DTSTART;TZID=Nowhere:20260302T090000"), zones)
    assert (unknown.kind, unknown.tzid, unknown.zone) == ("floating", "Nowhere", None)
    assert moment(line("DTSTART:20161231T235960Z"), zones).local.second == 59


@pytest.mark.parametrize(
    "value",
    ["", "2026", "20260230", "20260302T250000", "20260302T0900Z", "2026-03-02", "20260302T090000+0100", "٢٠٢٦٠٣٠٢"],
)
def test_what_is_no_date_is_refused_with_a_sentence(value: str) -> None:
    with pytest.raises(ValueError, match="not a"):
        moment(line(f"DTSTART:{value}"), obj(event()).zones)


def test_lists_and_periods_are_read() -> None:
    zones = obj(event()).zones
    assert [m.value for m in moments(line("EXDATE:20260302T090000Z,,20260303"), zones)] == [
        "20260302T090000Z",
        "20260303",
    ]
    first, second, third = periods(
        line("RDATE;VALUE=PERIOD:20260302T090000Z/PT1H,20260303T090000Z/20260303T093000Z,20260304T090000Z"), zones
    )
    assert first.seconds(UTC) == (at("20260302T090000Z"), at("20260302T100000Z"))
    assert second.seconds(UTC) == (at("20260303T090000Z"), at("20260303T093000Z"))
    assert third.seconds(UTC) == (at("20260304T090000Z"),) * 2


def test_durations_are_nominal_days_and_exact_seconds() -> None:
    assert duration("P1W") == duration("P7D")
    assert (duration("P1DT2H").days, duration("P1DT2H").seconds) == (1, 7200)
    assert duration("-PT15M").seconds == -900
    assert duration("PT0S").seconds == 0
    start = Moment(datetime(2026, 3, 7, 12), "zoned", zone("America/New_York"))
    assert duration("P1D").end_s(start, UTC) - start.seconds(UTC) == 23 * 3600
    assert duration("PT24H").end_s(start, UTC) - start.seconds(UTC) == 24 * 3600
    for text in ("", "1D", "P1", "P1Y", "PT1D", "P99999999999D"):
        with pytest.raises(ValueError, match="not a duration"):
            duration(text)


# ---- objects ----


def test_a_lone_override_is_one_instance_at_its_own_time() -> None:  # bug report A2
    lone = obj(event("RECURRENCE-ID:20260302T090000Z", "DTSTART:20260302T100000Z", "DTEND:20260302T110000Z"))
    (found,) = occurrences(lone, at("20260302"), at("20260303"), floating_zone=UTC)
    assert (utc(found.start_s), found.overridden) == ("20260302T100000Z", True)
    assert found.recurrence_id is not None
    assert found.recurrence_id.value == "20260302T090000Z"


def test_an_exdate_in_utc_removes_the_instance_at_that_instant() -> None:  # bug report A3
    series = obj(event(f"DTSTART;{NY}:20260302T090000", "RRULE:FREQ=DAILY;COUNT=3", "EXDATE:20260303T140000Z"))
    assert starts(occurrences(series, None, None, floating_zone=UTC)) == ["20260302T140000Z", "20260304T140000Z"]


def test_an_exdate_in_utc_removes_an_instance_in_the_gap_of_the_clocks() -> None:
    series = obj(event(f"DTSTART;{NY}:20260307T023000", "RRULE:FREQ=DAILY;COUNT=3", "EXDATE:20260308T073000Z"))
    assert starts(occurrences(series, None, None, floating_zone=UTC)) == ["20260307T073000Z", "20260309T063000Z"]


@pytest.mark.parametrize("exdate", ["EXDATE;VALUE=DATE:20260303", "EXDATE:20260303T090000"])
def test_an_exdate_of_another_type_names_the_day_or_the_wall_clock(exdate: str) -> None:  # bug report A3
    series = obj(event(f"DTSTART;{NY}:20260302T090000", "RRULE:FREQ=DAILY;COUNT=3", exdate))
    assert starts(occurrences(series, None, None, floating_zone=UTC)) == ["20260302T140000Z", "20260304T140000Z"]


def test_date_times_on_an_all_day_series_count_by_their_day() -> None:  # bug report A3
    series = obj(
        event(
            "DTSTART;VALUE=DATE:20260302",
            "RRULE:FREQ=DAILY;COUNT=3",
            "EXDATE:20260303T000000Z",
            "RDATE:20260310T120000Z",
        )
    )
    found = occurrences(series, None, None, floating_zone=UTC)
    assert [o.start.value for o in found] == ["20260302", "20260304", "20260310"]
    assert all(o.all_day and o.end_s - o.start_s == 86_400 for o in found)


def test_unreadable_dates_are_left_out_and_the_rest_shows() -> None:
    series = obj(event("DTSTART:20260302T090000Z", "RRULE:FREQ=DAILY;COUNT=2", "EXDATE:x,20260302T090000Z", "RDATE:y"))
    assert starts(occurrences(series, None, None, floating_zone=UTC)) == ["20260303T090000Z"]
    found = span(series)
    assert found is not None
    assert not found.certain


@pytest.mark.parametrize("until", ["20260304T090000", "20260304T140000Z", "20260304"])
def test_until_in_any_form_includes_the_last_instance(until: str) -> None:  # bug report A4
    series = obj(event(f"DTSTART;{NY}:20260302T090000", f"RRULE:FREQ=DAILY;UNTIL={until}"))
    assert len(occurrences(series, None, None, floating_zone=UTC)) == 3


@pytest.mark.parametrize("until", ["20260316", "20260316T000000Z", "20260316T235959"])
def test_an_all_day_task_with_until_ends_on_that_day(until: str) -> None:  # bug report A4
    series = obj(todo("DTSTART;VALUE=DATE:20260302", f"RRULE:FREQ=WEEKLY;UNTIL={until}"))
    found = occurrences(series, None, None, floating_zone=UTC)
    assert [o.start.value for o in found] == ["20260302", "20260309", "20260316"]


def test_a_windows_zone_without_definition_is_no_floating_time() -> None:  # bug report A9
    (found,) = occurrences(
        obj(event("DTSTART;TZID=W. Europe Standard Time:20241008T100000")), None, None, floating_zone=UTC
    )
    assert (utc(found.start_s), found.floating) == ("20241008T080000Z", False)


def test_a_rule_in_an_override_is_ignored() -> None:  # bug report A10
    odd = obj(event("RECURRENCE-ID;VALUE=DATE:20260302", "DTSTART;VALUE=DATE:20260302", "RRULE:FREQ=YEARLY"))
    assert len(occurrences(odd, None, None, floating_zone=UTC)) == 1


def test_an_override_of_another_value_type_replaces_the_instance_of_its_day() -> None:  # bug report A11
    series = obj(
        event("DTSTART;VALUE=DATE:20260302", "RRULE:FREQ=DAILY;COUNT=3"),
        event("RECURRENCE-ID:20260303T000000Z", "DTSTART:20260303T150000Z"),
    )
    assert starts(occurrences(series, None, None, floating_zone=UTC)) == [
        "20260302T000000Z",
        "20260303T150000Z",
        "20260304T000000Z",
    ]


def test_an_edited_all_day_instance_shows_once() -> None:  # bug report E1
    series = obj(
        event("DTSTART;VALUE=DATE:20240411", "DTEND;VALUE=DATE:20240412", "RRULE:FREQ=WEEKLY;INTERVAL=2"),
        event("RECURRENCE-ID;VALUE=DATE:20240425", "DTSTART;VALUE=DATE:20240425", "SUMMARY:edited"),
    )
    found = occurrences(series, at("20240330T230000Z"), at("20240503T220000Z"), floating_zone=zone("Europe/Berlin"))
    assert [(o.start.value, o.overridden) for o in found] == [("20240411", False), ("20240425", True)]
    assert [o.recurrence_id.value for o in found if o.recurrence_id] == ["20240411", "20240425"]


def test_a_window_of_one_second_finds_one_instance() -> None:  # bug report E1
    series = obj(event("DTSTART:20240401T100000Z", "DTEND:20240401T110000Z", "RRULE:FREQ=DAILY"))
    moment_s = at("20240420T103000Z")
    assert len(occurrences(series, moment_s, moment_s + 1, floating_zone=UTC)) == 1


def test_two_days_of_duration_are_two_days() -> None:  # bug report E2
    two_days = obj(event("DTSTART:20260301T100000Z", "DURATION:P2D"))
    assert occurrences(two_days, at("20260302T120000Z"), at("20260302T130000Z"), floating_zone=UTC)
    assert not occurrences(two_days, at("20260304T120000Z"), at("20260304T130000Z"), floating_zone=UTC)


def test_a_series_keeps_its_wall_clock_over_a_clock_change() -> None:  # bug report E5
    series = obj(event("DTSTART;TZID=Europe/Berlin:20260327T090000", "RRULE:FREQ=DAILY;COUNT=5"))
    hours = [text[9:11] for text in starts(occurrences(series, None, None, floating_zone=UTC))]
    assert hours == ["08", "08", "07", "07", "07"]


@pytest.mark.parametrize("year", [2035, 2099])
def test_a_series_is_not_lost_years_after_its_start(year: int) -> None:  # bug report E5
    series = obj(event("DTSTART;TZID=Europe/Berlin:20200106T090000", "RRULE:FREQ=WEEKLY"))
    assert len(occurrences(series, at(f"{year}0601"), at(f"{year}0608"), floating_zone=UTC)) == 1


def test_dtend_gives_an_exact_length_and_a_day_of_duration_a_nominal_one() -> None:
    def lengths(end: str) -> list[int]:
        series = obj(event(f"DTSTART;{NY}:20260307T120000", end, "RRULE:FREQ=WEEKLY;COUNT=2"))
        return [(o.end_s - o.start_s) // 3600 for o in occurrences(series, None, None, floating_zone=UTC)]

    assert lengths(f"DTEND;{NY}:20260308T120000") == [23, 23]
    assert lengths("DURATION:P1D") == [23, 24]
    assert lengths("DURATION:PT24H") == [24, 24]


def test_an_override_moved_out_of_its_place_is_found_where_it_went(shared: Path) -> None:
    moved = calendar_object(
        read((shared / "corpus/ics/made-exception-moved-out-of-range.ics").read_bytes()).components[0]
    )
    found = occurrences(moved, None, None, floating_zone=UTC)
    (away,) = [o for o in found if o.overridden]
    assert away.recurrence_id is not None
    original = away.recurrence_id.seconds(UTC)
    assert away in occurrences(moved, away.start_s, away.start_s + 1, floating_zone=UTC)
    assert not occurrences(moved, original, original + 60, floating_zone=UTC)


def test_this_and_future_moves_the_rest_of_the_series() -> None:
    series = obj(
        event(f"DTSTART;{NY}:20260303T090000", f"DTEND;{NY}:20260303T100000", "RRULE:FREQ=DAILY;COUNT=8"),
        event(
            f"RECURRENCE-ID;RANGE=THISANDFUTURE;{NY}:20260306T090000",
            f"DTSTART;{NY}:20260306T110000",
            f"DTEND;{NY}:20260306T113000",
        ),
        event(f"RECURRENCE-ID;{NY}:20260309T090000", f"DTSTART;{NY}:20260309T070000"),
    )
    found = occurrences(series, None, None, floating_zone=UTC)
    assert [(o.start.value[6:11], (o.end_s - o.start_s) // 60) for o in found] == [
        ("03T09", 60),
        ("04T09", 60),
        ("05T09", 60),
        ("06T11", 30),
        ("07T11", 30),
        ("08T11", 30),
        ("09T07", 0),
        ("10T11", 30),
    ]
    later = found[4]
    assert later.recurrence_id is not None
    assert (later.recurrence_id.value, later.overridden) == ("20260307T090000", False)
    assert later.component is series.overrides[0]
    assert later.end is not None
    assert later.end.value == "20260307T113000"


def test_the_end_of_an_instance_is_in_the_zone_of_the_components_own_end() -> None:
    flight = obj(
        event(f"DTSTART;{NY}:20260301T180000", "DTEND;TZID=Europe/Berlin:20260302T070000", "RRULE:FREQ=WEEKLY;COUNT=3")
    )
    found = occurrences(flight, None, None, floating_zone=UTC)
    assert [o.end.value for o in found if o.end] == ["20260302T070000", "20260309T060000", "20260316T060000"]


def test_an_end_without_zone_is_in_the_zone_of_the_start() -> None:
    (found,) = occurrences(
        obj(event(f"DTSTART;{NY}:20260302T090000", "DTEND:20260302T100000")), None, None, floating_zone=UTC
    )
    assert found.end_s - found.start_s == 3600
    assert found.end is not None
    assert found.end.tzid == "America/New_York"


def test_a_period_added_by_rdate_has_its_own_length() -> None:
    series = obj(
        event(
            "DTSTART:20260301T130000Z",
            "DURATION:PT1H",
            "RRULE:FREQ=MONTHLY;COUNT=2",
            "RDATE;VALUE=PERIOD:20260304T150000Z/20260304T170000Z,20260305T150000Z/PT3H",
        )
    )
    found = occurrences(series, None, None, floating_zone=UTC)
    assert [(o.end_s - o.start_s) // 3600 for o in found] == [1, 2, 3, 1]
    assert occurrences(series, at("20260305T173000Z"), at("20260305T180000Z"), floating_zone=UTC)


def test_floating_times_and_dates_are_read_in_the_askers_zone() -> None:
    floating = obj(event("DTSTART:20260302T090000", "RRULE:FREQ=DAILY;COUNT=2"))
    day = obj(event("DTSTART;VALUE=DATE:20260302"))
    berlin = zone("Europe/Berlin")
    assert starts(occurrences(floating, None, None, floating_zone=berlin)) == ["20260302T080000Z", "20260303T080000Z"]
    (found,) = occurrences(day, None, None, floating_zone=berlin)
    assert (utc(found.start_s), utc(found.end_s)) == ("20260301T230000Z", "20260302T230000Z")
    assert found.floating


def test_a_utc_recurrence_id_matches_an_instance_with_a_zone() -> None:
    series = obj(
        event(f"DTSTART;{NY}:20260302T090000", "RRULE:FREQ=DAILY;COUNT=2"),
        event("RECURRENCE-ID:20260303T140000Z", f"DTSTART;{NY}:20260303T120000"),
    )
    assert starts(occurrences(series, None, None, floating_zone=UTC)) == ["20260302T140000Z", "20260303T170000Z"]


def test_an_override_of_nothing_is_shown_beside_the_series(shared: Path) -> None:
    odd = calendar_object(read((shared / "corpus/ics/made-recurrence-id-not-in-set.ics").read_bytes()).components[0])
    assert len(occurrences(odd, None, None, floating_zone=UTC)) == 5


def test_the_objects_own_vtimezone_is_used_for_an_unknown_name() -> None:
    own = obj(NEW_YORK.format(tzid="Our Place"), event("DTSTART;TZID=Our Place:20260702T090000"))
    assert starts(occurrences(own, None, None, floating_zone=UTC)) == ["20260702T130000Z"]


# ---- RFC 4791 §9.9, row by row ----

S, E = "20260310T000000Z", "20260311T000000Z"
TODO_ROWS = [
    (["DTSTART:20260309T120000Z", "DURATION:PT12H"], True),  # ends where the range starts
    (["DTSTART:20260309T120000Z", "DURATION:PT11H"], False),
    (["DTSTART:20260311T000000Z", "DURATION:PT0S"], True),
    (["DTSTART:20260311T000000Z", "DURATION:PT1H"], False),
    (["DTSTART:20260309T120000Z", "DUE:20260310T000000Z"], False),
    (["DTSTART:20260310T000000Z", "DUE:20260310T000000Z"], True),
    (["DTSTART:20260301T000000Z", "DUE:20260401T000000Z"], True),
    (["DTSTART:20260310T000000Z"], True),
    (["DTSTART:20260311T000000Z"], False),
    (["DUE:20260310T000000Z"], False),
    (["DUE:20260311T000000Z"], True),
    (["COMPLETED:20260310T000000Z", "CREATED:20260301T000000Z"], True),
    (["COMPLETED:20260309T235959Z", "CREATED:20260301T000000Z"], False),
    (["COMPLETED:20260401T000000Z", "CREATED:20260311T000000Z"], True),
    (["COMPLETED:20260311T000000Z"], True),
    (["COMPLETED:20260311T000001Z"], False),
    (["CREATED:20260310T235959Z"], True),
    (["CREATED:20260101T000000Z"], True),
    (["CREATED:20260311T000000Z"], False),
    # bug report E3: DTSTART and DUE decide, whatever COMPLETED and CREATED say
    (
        ["DTSTART:20260301T000000Z", "DUE:20260303T000000Z", "CREATED:20250101T000000Z", "COMPLETED:20260310T120000Z"],
        False,
    ),
]


@pytest.mark.parametrize(("lines", "hit"), TODO_ROWS)
def test_a_task_overlaps_a_range_by_the_table_of_rfc_4791(lines: list[str], hit: bool) -> None:
    assert bool(occurrences(obj(todo(*lines)), at(S), at(E), floating_zone=UTC)) is hit


EVENT_ROWS = [
    (["DTSTART:20260309T120000Z", "DTEND:20260310T000000Z"], False),
    (["DTSTART:20260309T120000Z", "DTEND:20260310T000001Z"], True),
    (["DTSTART:20260310T235959Z", "DTEND:20260311T120000Z"], True),
    (["DTSTART:20260311T000000Z", "DTEND:20260311T120000Z"], False),
    (["DTSTART:20260310T000000Z"], True),
    (["DTSTART:20260311T000000Z"], False),
    (["DTSTART:20260310T000000Z", "DURATION:PT0S"], True),
    (["DTSTART;VALUE=DATE:20260310"], True),
    (["DTSTART;VALUE=DATE:20260309"], False),
    (["DTSTART;VALUE=DATE:20260309", "DTEND;VALUE=DATE:20260309"], False),
    (["DTSTART;VALUE=DATE:20260310", "DTEND;VALUE=DATE:20260310"], True),
    (["DTSTART;VALUE=DATE:20260309", "DURATION:P2D"], True),
]


@pytest.mark.parametrize(("lines", "hit"), EVENT_ROWS)
def test_an_event_overlaps_a_range_by_the_table_of_rfc_4791(lines: list[str], hit: bool) -> None:
    assert bool(occurrences(obj(event(*lines)), at(S), at(E), floating_zone=UTC)) is hit


@pytest.mark.parametrize(
    ("lines", "hit"), [(["DTSTART:20260310T000000Z"], True), (["DTSTART;VALUE=DATE:20260310"], True), ([], False)]
)
def test_a_note_overlaps_a_range_by_its_start_only(lines: list[str], hit: bool) -> None:
    assert bool(occurrences(obj(component("VJOURNAL", *lines)), at(S), at(E), floating_zone=UTC)) is hit


def test_a_task_without_any_date_is_timeless() -> None:
    assert timeless(obj(todo("SUMMARY:x")))
    assert not timeless(obj(todo("CREATED:20260101T000000Z")))
    assert not timeless(obj(event()))


# ---- bounds ----


@pytest.mark.parametrize(
    ("lines", "first", "last"),
    [
        (["DTSTART:20260302T090000Z", "DTEND:20260302T100000Z"], "20260302T090000Z", "20260302T100000Z"),
        (["DTSTART:20260302T090000Z", "RRULE:FREQ=DAILY;COUNT=3"], "20260302T090000Z", "20260304T090000Z"),
        (["DTSTART:20260302T090000Z", "RRULE:FREQ=DAILY"], "20260302T090000Z", None),
        (["DTSTART:20260302T090000Z", "RDATE:20250101T000000Z"], "20250101T000000Z", "20260302T090000Z"),
    ],
)
def test_the_span_covers_every_instance(lines: list[str], first: str, last: str | None) -> None:
    found = span(obj(event(*lines)))
    assert found is not None
    assert (utc(found.first_s), found.last_s) == (first, ENDLESS if last is None else at(last))


def test_an_object_that_nothing_places_has_no_span() -> None:
    assert span(calendar_object(read(body(event("DTSTART:never"))).components[0])) is None
    assert span(obj(component("VJOURNAL"))) is None
