"""Time zones by reference (RFC 7809)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav.ical.by_reference import as_wanted, with_all_zones, without_known_zones
from dav.ical.lines import read
from dav.ical.make import utc_seconds
from dav.ical.recur import calendar_object, iter_occurrences
from dav.ical.rrule import Budget
from dav.ical.tz import UTC, vtimezone_for
from dav.methods.options import DAV_HEADER
from dav.names import c
from tests.dsl import Client, event
from tests.protocol.asking import calendar_multiget, calendar_query, comp, data

CALENDAR = "/dav/calendars/alice/calendar/"
DATA = "<D:prop><C:calendar-data/></D:prop>"
START_S, END_S = utc_seconds("20260101T000000Z"), utc_seconds("20280101T000000Z")


def definition(tzid: str, key: str = "Europe/Berlin") -> str:
    return vtimezone_for(key, START_S, END_S).replace(f"TZID:{key}\r\n", f"TZID:{tzid}\r\n")


def meeting(tzid: str, *definitions: str, uid: str = "m", rule: str = "") -> str:
    body = event(uid, more=rule).replace("DTSTART:20261201T150000Z", f"DTSTART;TZID={tzid}:20261201T150000")
    return body.replace("BEGIN:VEVENT", "".join(definitions) + "BEGIN:VEVENT", 1)


BERLIN = meeting("Europe/Berlin", definition("Europe/Berlin"))
BARE = meeting("Europe/Berlin")


def zones_in(text: str | bytes) -> list[str]:
    body = text if isinstance(text, bytes) else text.encode()
    (calendar,) = read(body).components
    return [str(item.value("TZID")) for item in calendar.components if item.name == "VTIMEZONE"]


def starts(body: bytes) -> list[int]:
    """The first instants of the event, in seconds."""
    found = iter_occurrences(
        calendar_object(read(body).components[0]), START_S, END_S, floating_zone=UTC, budget=Budget(10_000)
    )
    return [one.start_s for one in found][:50]


# ---- the edits ----


def test_only_what_everybody_knows_is_left_out() -> None:
    own = definition("Unser Büro", "Asia/Kolkata")
    body = meeting("Europe/Berlin", definition("Europe/Berlin"), own).encode()
    assert without_known_zones(body) == meeting("Europe/Berlin", own).encode()
    assert without_known_zones(BARE.encode()) == BARE.encode()


@pytest.mark.parametrize(
    "tzid", ["EST", "CET", "europe/berlin", "W. Europe Standard Time", "/mozilla.org/20050126_1/Europe/Berlin"]
)
def test_a_definition_stays_when_its_name_is_no_exact_one_or_the_times_are_read_by_it(tzid: str) -> None:
    body = meeting(tzid, definition(tzid, "America/New_York")).encode()
    assert without_known_zones(body) is body


def test_every_known_name_that_has_no_definition_gets_one() -> None:
    tzids = ["Europe/Berlin", "America/New_York", "W. Europe Standard Time", "/mozilla.org/x/Asia/Tokyo"]
    lines = "".join(f"EXDATE;TZID={tzid}:20270101T150000\r\n" for tzid in tzids[1:])
    body = meeting(tzids[0], rule="RRULE:FREQ=DAILY\r\n" + lines).encode()
    full = with_all_zones(body)
    assert zones_in(full) == tzids
    assert full.replace(full[full.index(b"BEGIN:VTIMEZONE") : full.index(b"BEGIN:VEVENT")], b"") == body
    assert with_all_zones(full) is full


@pytest.mark.parametrize("tzid", ["Nowhere/City", "Europe/Berlin2", '"a;b"'])
def test_a_name_that_nobody_knows_gets_no_definition(tzid: str) -> None:
    body = meeting(tzid).encode()
    assert with_all_zones(body) is body


def test_line_ends_are_those_of_the_object() -> None:
    body = BARE.replace("\r\n", "\n").encode()
    full = with_all_zones(body)
    assert b"\r" not in full
    assert zones_in(full) == ["Europe/Berlin"]
    assert without_known_zones(full) == body


def test_unreadable_bodies_are_left_alone() -> None:
    unclosed = b"BEGIN:VCALENDAR\r\nBEGIN:VTIMEZONE\r\nTZID="
    for body in (b"", unclosed, b"\xff\xfeVTIMEZONE TZID=", b"END:VTIMEZONE;TZID="):
        assert as_wanted(body, True) == as_wanted(body, False) == as_wanted(body, None) == body


def test_an_object_with_very_many_zones_costs_a_bounded_effort() -> None:
    lines = "".join(f"X-{n};TZID={'x' * n}/Europe/Berlin:20270101T150000\r\n" for n in range(1, 300))
    lines += "".join(f"Y-{n};TZID=/x{n}/Europe/Berlin:{n:04}0101T150000\r\n" for n in range(1, 300))
    assert len(zones_in(with_all_zones(meeting("Europe/Berlin", rule=lines).encode()))) <= 50


@given(
    st.sampled_from(["Europe/Berlin", "America/New_York", "Africa/Casablanca", "Pacific/Apia", "Asia/Tehran"]),
    st.sampled_from(["", "RRULE:FREQ=WEEKLY\r\n", "RRULE:FREQ=MONTHLY;BYDAY=-1SU\r\n"]),
    st.booleans(),
)
def test_there_and_back_changes_no_byte_and_no_time(key: str, rule: str, folded: bool) -> None:
    body = meeting(key, rule=rule).encode()
    if folded:
        body = body.replace(b"TZID=", b"T\r\n ZI\r\n\tD=")
    full = with_all_zones(body)
    assert zones_in(full) == [key]
    assert without_known_zones(full) == body
    # The added definition says the same as the name: under a name that is unknown only it counts.
    renamed = full.replace(key.encode(), b"Odd") if not folded else full
    assert starts(renamed) == starts(body)


# ---- on the wire ----


def test_the_capability_is_announced() -> None:
    assert "calendar-no-timezone" in DAV_HEADER.split(", ")


def test_get_gives_what_is_asked_for_with_a_tag_of_its_own(alice: Client) -> None:
    alice.put(CALENDAR + "full.ics", BERLIN)
    alice.put(CALENDAR + "bare.ics", meeting("Europe/Berlin", uid="bare"))
    stored = alice.get(CALENDAR + "full.ics")
    without, with_ = (alice.get(CALENDAR + "full.ics", caldav_timezones=value) for value in ("F", "T"))
    assert (stored.text, without.text, with_.text) == (BERLIN, BARE, BERLIN)
    assert with_.etag == stored.etag  # the same bytes
    assert without.etag != stored.etag
    assert zones_in(alice.get(CALENDAR + "bare.ics", caldav_timezones="T").body) == ["Europe/Berlin"]
    assert zones_in(alice.get(CALENDAR + "bare.ics", caldav_timezones="F").body) == []
    for answer in (stored, without, with_):
        assert "CalDAV-Timezones" in answer.headers["vary"].split(", ")
        assert int(answer.headers["content-length"]) == len(answer.body)
    head = alice.head(CALENDAR + "full.ics", caldav_timezones="F")
    assert (head.etag, head.headers["content-length"]) == (without.etag, without.headers["content-length"])


def test_a_value_that_is_none_asks_for_nothing(alice: Client) -> None:
    alice.put(CALENDAR + "x.ics", BERLIN)
    for value in ("", "yes", "T, F", "X"):
        assert alice.get(CALENDAR + "x.ics", caldav_timezones=value).text == BERLIN
    assert alice.get(CALENDAR + "x.ics", caldav_timezones=" f ").text == BARE


def test_every_tag_of_an_object_is_good_for_its_conditions(alice: Client) -> None:
    etag = alice.put(CALENDAR + "x.ics", BERLIN).etag
    variant = alice.get(CALENDAR + "x.ics", caldav_timezones="F").etag
    assert alice.get(CALENDAR + "x.ics", caldav_timezones="F", if_none_match=variant).status == 304
    assert alice.get(CALENDAR + "x.ics", caldav_timezones="F", if_none_match=etag).status == 200
    assert alice.get(CALENDAR + "x.ics", if_none_match=variant).status == 200
    new = BERLIN.replace("SUMMARY:Tea", "SUMMARY:Cake")
    assert alice.put(CALENDAR + "x.ics", new, if_match=variant).status == 204
    assert alice.put(CALENDAR + "x.ics", BERLIN, if_match=variant).status == 412
    assert alice.delete(CALENDAR + "x.ics", if_match=etag).status == 412


def test_a_put_that_wants_the_result_gets_it_in_the_form_it_asks_for(alice: Client) -> None:
    answer = alice.put(CALENDAR + "x.ics", BERLIN, prefer="return=representation", caldav_timezones="F")
    assert (answer.status, answer.text) == (201, BARE)
    assert answer.etag == alice.get(CALENDAR + "x.ics", caldav_timezones="F").etag
    assert alice.get(CALENDAR + "x.ics").text == BERLIN


def test_a_whole_calendar_comes_in_the_form_that_is_asked_for(alice: Client) -> None:
    alice.put(CALENDAR + "full.ics", BERLIN)
    alice.put(CALENDAR + "bare.ics", meeting("America/New_York", uid="bare"))
    answers = {value: alice.get(CALENDAR, caldav_timezones=value) for value in ("", "F", "T")}
    assert {value: zones_in(answer.body) for value, answer in answers.items()} == {
        "": ["Europe/Berlin"], "F": [], "T": ["America/New_York", "Europe/Berlin"],
    }  # fmt: skip
    assert len({answer.etag for answer in answers.values()}) == 3


def test_reports_and_propfind_give_the_same_form(alice: Client) -> None:
    alice.put(CALENDAR + "full.ics", BERLIN)
    alice.put(CALENDAR + "bare.ics", meeting("Europe/Berlin", uid="bare"))
    for value, expected in (("F", [[], []]), ("T", [["Europe/Berlin"]] * 2), ("", [[], ["Europe/Berlin"]])):
        fields = {"caldav_timezones": value}
        hrefs = (CALENDAR + "bare.ics", CALENDAR + "full.ics")
        shown = data(calendar_multiget(alice, CALENDAR, *hrefs, prop=DATA, **fields))
        assert [zones_in(shown[name]) for name in ("bare.ics", "full.ics")] == expected
        listed = alice.propfind(CALENDAR, [c("calendar-data")], depth=1, **fields)
        assert [zones_in(str(listed[href][c("calendar-data")].text)) for href in hrefs] == expected


def test_a_part_that_leaves_out_the_zones_stays_without_them(alice: Client) -> None:
    alice.put(CALENDAR + "full.ics", BERLIN)
    part = (
        '<D:prop><C:calendar-data><C:comp name="VCALENDAR"><C:allprop/><C:comp name="VEVENT"/></C:comp>'
        "</C:calendar-data></D:prop>"
    )
    assert zones_in(data(calendar_query(alice, CALENDAR, comp("VEVENT"), prop=part))["full.ics"]) == []


def test_there_is_no_service_to_name(alice: Client) -> None:
    for path in ("/dav/calendars/alice/", CALENDAR):
        item = alice.propfind_raw(path, [c("timezone-service-set")]).responses[path]
        assert set(item.by_status[404]) == {c("timezone-service-set")}


def test_queries_see_the_same_times_whatever_form_is_asked_for(alice: Client) -> None:
    odd = meeting("EST", definition("EST", "Asia/Tokyo"))
    assert starts(odd.encode()) == starts(without_known_zones(odd.encode())) == [utc_seconds("20261201T060000Z")]
