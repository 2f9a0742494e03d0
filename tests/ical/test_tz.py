"""Time zones: names, clock changes, VTIMEZONE (RFC 5545 §3.3.5, §3.6.5)."""

from __future__ import annotations

import time
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.ical.lines import read
from dav.ical.rrule import local_of, wall_of
from dav.ical.tz import (
    UTC,
    Zone,
    Zones,
    display_zone,
    named_zone,
    vtimezone_for,
    vtimezone_text_zone,
    vtimezone_zone,
)

from .caltext import NEW_YORK, at, body, event, zone


def object_zone(text: str) -> Zone:
    return vtimezone_zone(read(text.encode()).components[0])


@pytest.mark.parametrize(
    ("tzid", "key"),
    [
        ("Europe/Berlin", "Europe/Berlin"),
        ("europe/berlin", "Europe/Berlin"),
        ("Europe/Berlin ", "Europe/Berlin"),
        ('"Europe/Berlin"', "Europe/Berlin"),
        ("W. Europe Standard Time", "Europe/Berlin"),
        ("eastern standard time", "America/New_York"),
        ("/mozilla.org/20050126_1/Europe/Berlin", "Europe/Berlin"),
        ("/softwarestudio.org/Olson_20011030_5/America/Argentina/Ushuaia", "America/Argentina/Ushuaia"),
        ("/freeassociation.sourceforge.net/Asia/Tokyo", "Asia/Tokyo"),
        ("Etc/UTC", "UTC"),
        ("tzone://Microsoft/Utc", "UTC"),
        ("../../etc/passwd", None),
        ("/etc/localtime", None),
        ("Nowhere/Land", None),
        ("x" * 100_000, None),
        ("", None),
        ("\x00", None),
    ],
)
def test_names_of_iana_windows_and_mozilla_are_understood_and_no_file_is_opened(tzid: str, key: str | None) -> None:
    found = named_zone(tzid)
    assert (None if found is None else found.key) == key


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("(UTC-05:00) Eastern Time (US & Canada)", "America/New_York"),
        ("(UTC+01:00) Amsterdam, Berlin, Bern, Rom, Stockholm, Wien", "Europe/Amsterdam"),
        ("(GMT) Dublin, Edinburgh, Lisbon, London", "Europe/Dublin"),
        ("(UTC+05:00) Berlin", None),
        ("(UTC+01:00) Nowhere", None),
    ],
)
def test_names_that_windows_displays_are_a_last_resort(name: str, key: str | None) -> None:
    found = display_zone(name)
    assert (None if found is None else found.key) == key


def test_a_time_in_the_gap_is_read_with_the_offset_before_it() -> None:
    assert zone("America/New_York").to_utc(datetime(2026, 3, 8, 2, 30)) == at("20260308T073000Z")
    assert object_zone(NEW_YORK).to_utc(datetime(2026, 3, 8, 2, 30)) == at("20260308T073000Z")


def test_a_time_that_happens_twice_is_the_first_one() -> None:
    assert zone("America/New_York").to_utc(datetime(2026, 11, 1, 1, 30)) == at("20261101T053000Z")
    assert object_zone(NEW_YORK).to_utc(datetime(2026, 11, 1, 1, 30)) == at("20261101T053000Z")


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Australia/Lord_Howe", "Pacific/Apia", "Africa/Casablanca"]),
    st.datetimes(min_value=datetime(1930, 1, 1), max_value=datetime(2090, 1, 1)),
)
def test_walls_and_datetimes_are_read_alike_and_go_there_and_back(key: str, local: datetime) -> None:
    local = local.replace(microsecond=0)
    found = zone(key)
    assert found.wall_to_utc(wall_of(local)) == found.to_utc(local)
    instant = wall_of(local)
    assert abs(found.to_utc(found.to_local(instant)) - instant) <= 86_400
    again = found.to_local(found.to_utc(found.to_local(instant)))
    assert again == found.to_local(instant)


@pytest.mark.parametrize("wall", [wall_of(datetime(1, 1, 1)), wall_of(datetime(9999, 12, 31)), -(1 << 43), 1 << 43])
@pytest.mark.parametrize("key", ["Asia/Tokyo", "America/New_York", "UTC"])
def test_the_ends_of_time_raise_nothing(key: str, wall: int) -> None:
    for found in (zone(key), object_zone(NEW_YORK)):
        assert isinstance(found.wall_to_utc(wall), int)
        assert isinstance(found.to_local(wall), datetime)
        assert isinstance(found.to_utc(local_of(wall)), int)


def test_a_vtimezone_gives_the_same_times_as_the_iana_zone_it_describes() -> None:
    defined, known = object_zone(NEW_YORK), zone("America/New_York")
    for hours in range(0, 24 * 800, 7):
        local = datetime(2024, 1, 1) + timedelta(hours=hours)
        assert defined.to_utc(local) == known.to_utc(local), local
        assert defined.to_local(wall_of(local)) == known.to_local(wall_of(local)), local


def test_the_iana_name_wins_over_a_wrong_vtimezone_and_nothing_is_remembered_by_name(shared: Path) -> None:
    calendar = read((shared / "corpus/ics/made-vtimezone-wrong-rules.ics").read_bytes()).components[0]
    found = Zones(calendar).zone("America/New_York")
    assert found is not None
    assert found.key == "America/New_York"
    wrong = Zones(read(body(NEW_YORK.format(tzid="Home"), event())).components[0])
    right = Zones(read(body(event())).components[0])
    assert wrong.zone("Home") is not None
    assert right.zone("Home") is None


def test_an_abbreviation_means_what_the_object_says() -> None:
    summer = NEW_YORK.format(tzid="EST")
    found = Zones(read(body(summer, event())).components[0]).zone("EST")
    assert found is not None
    assert found.to_utc(datetime(2026, 7, 1, 12)) == at("20260701T160000Z")
    alone = Zones(read(body(event())).components[0]).zone("EST")
    assert alone is not None
    assert alone.to_utc(datetime(2026, 7, 1, 12)) == at("20260701T170000Z")


def test_outlooks_zone_since_1601_is_evaluated() -> None:
    text = NEW_YORK.format(tzid="Customized Time Zone").replace("20070311", "16010101").replace("20071104", "16010101")
    assert object_zone(text).to_utc(datetime(2026, 7, 1, 12)) == at("20260701T160000Z")


def test_a_vtimezone_with_rdates_and_ended_rules_holds_its_last_offset() -> None:
    text = (
        "BEGIN:VTIMEZONE\nTZID:X\nBEGIN:STANDARD\nDTSTART:20000101T000000\nRDATE:20020101T000000,20040101T000000\n"
        "TZOFFSETFROM:+0200\nTZOFFSETTO:+0100\nEND:STANDARD\nBEGIN:DAYLIGHT\nDTSTART:20010101T000000\n"
        "RRULE:FREQ=YEARLY;INTERVAL=2;UNTIL=20041231T225959Z\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nEND:DAYLIGHT\n"
        "END:VTIMEZONE\n"
    )
    found = object_zone(text)
    offsets = [wall_of(datetime(year, 6, 1)) - found.to_utc(datetime(year, 6, 1)) for year in range(1999, 2008)]
    assert offsets == [7200, 3600, 7200, 3600, 7200, 3600, 3600, 3600, 3600]


@pytest.mark.parametrize(
    "block",
    [
        "RRULE:FREQ=SECONDLY",
        "RRULE:FREQ=YEARLY;COUNT=99999999",
        "RRULE:FREQ=YEARLY;BYDAY=MO,TU,WE,TH,FR,SA,SU;BYHOUR=1,2,3;BYMINUTE=1,2,3,4",
        "RRULE:FREQ=YEARLY;INTERVAL=99999999",
        "RRULE:FREQ=YEARLY;BYMONTH=2;BYMONTHDAY=30",
        "RRULE:nonsense",
        "RDATE:" + ",".join(["20200101T000000"] * 50_000),
    ],
)
def test_a_hostile_vtimezone_costs_little(block: str) -> None:
    text = "BEGIN:VTIMEZONE\nTZID:X\n" + (
        f"BEGIN:STANDARD\nDTSTART:19700101T000000\n{block}\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\nEND:STANDARD\n" * 5
    )
    started = time.process_time()
    try:
        found = object_zone(text + "END:VTIMEZONE\n")
    except ValueError:
        found = UTC
    for year in range(1, 9999, 100):
        found.to_utc(datetime(year, 1, 1))
    assert time.process_time() - started < 2


def test_many_hostile_vtimezones_in_one_object_share_one_budget() -> None:
    block = (
        "BEGIN:STANDARD\nDTSTART:00010101T000000\nRRULE:FREQ=YEARLY;COUNT=9000\nTZOFFSETFROM:+0100\nTZOFFSETTO:+0200\n"
    )
    text = "".join(f"BEGIN:VTIMEZONE\nTZID:X{n}\n{block}END:STANDARD\nEND:VTIMEZONE\n" for n in range(500))
    zones = Zones(read(body(text, event())).components[0])
    started = time.process_time()
    known = sum(zones.zone(f"X{n}") is not None for n in range(500))
    assert 0 < known < 100
    assert time.process_time() - started < 2


@pytest.mark.parametrize("text", ["", "BEGIN:STANDARD\nEND:STANDARD\n", "BEGIN:DAYLIGHT\nDTSTART:x\nEND:DAYLIGHT\n"])
def test_a_vtimezone_without_usable_blocks_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="VTIMEZONE"):
        object_zone(f"BEGIN:VTIMEZONE\n{text}END:VTIMEZONE\n")


def test_the_calendar_timezone_property_is_read_by_its_tzid_or_its_rules() -> None:
    named = vtimezone_text_zone(body(NEW_YORK.format(tzid="Europe/Berlin")).decode())
    assert named is not None
    assert named.key == "Europe/Berlin"
    own = vtimezone_text_zone(body(NEW_YORK.format(tzid="Home")).decode())
    assert own is not None
    assert own.to_utc(datetime(2026, 7, 1, 12)) == at("20260701T160000Z")
    assert vtimezone_text_zone("no calendar") is None
    assert vtimezone_text_zone(body(event()).decode()) is None


@pytest.mark.parametrize(
    "key", ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "Australia/Lord_Howe", "Africa/Casablanca", "UTC"]
)
def test_our_own_vtimezone_says_what_the_zone_database_says(key: str) -> None:
    text = vtimezone_for(key, at("20040101"), at("20280101"))
    component = read(text.encode()).components[0]
    assert component.value("TZID") == key
    written, known = vtimezone_zone(component), zone(key)
    for days in range(0, 365 * 24, 5):
        instant = at("20040102") + days * 86_400 + 3_600
        assert written.to_local(instant) == known.to_local(instant), instant


def test_our_own_vtimezone_goes_on_by_a_rule() -> None:
    text = vtimezone_for("Europe/Berlin", at("20260101"), at("20270101"))
    assert "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU" in text
    written = vtimezone_zone(read(text.encode()).components[0])
    assert written.to_local(at("20500701T100000Z")) == datetime(2050, 7, 1, 12)
    with pytest.raises(ValueError, match="unknown"):
        vtimezone_for("Nowhere/Land", 0, 1)
