"""free-busy-query (RFC 4791 §7.10)."""

from __future__ import annotations

import pytest

from dav.names import d
from tests.dsl import Client, element, event
from tests.protocol.asking import between

HOME = "calendars/alice/"
CALENDAR = HOME + "calendar/"
START, END = "20261201T000000Z", "20261203T000000Z"


def busy(client: Client, path: str = CALENDAR, start: str = START, end: str = END, **fields: str) -> list[str]:
    """The FREEBUSY lines of the answer, unfolded."""
    answer = client.report(path, element("C:free-busy-query", between(start, end)), **fields)
    assert (answer.status, answer.headers["content-type"]) == (200, "text/calendar; charset=utf-8")
    text = answer.text.replace("\r\n ", "")
    assert text.count("BEGIN:VFREEBUSY") == 1
    assert f"DTSTART:{start}\r\nDTEND:{end}\r\n" in text
    return [line for line in text.splitlines() if line.startswith("FREEBUSY")]


def put(client: Client, name: str, body: str, path: str = CALENDAR) -> None:
    assert client.put(path + name, body).status == 201


def test_nothing_busy_is_an_answer_without_periods(alice: Client) -> None:
    assert busy(alice) == []


def test_touching_and_overlapping_events_are_one_period_clipped_to_the_range(alice: Client) -> None:
    put(alice, "a.ics", event("a", start="20261201T100000Z"))
    put(alice, "b.ics", event("b", start="20261201T110000Z"))
    put(alice, "c.ics", event("c", start="20261201T113000Z"))
    put(alice, "d.ics", event("d", start="20261130T233000Z"))
    assert busy(alice) == ["FREEBUSY;FBTYPE=BUSY:20261201T000000Z/20261201T003000Z,20261201T100000Z/20261201T123000Z"]


def test_what_is_free_or_cancelled_is_left_out_and_tentative_is_told_apart(alice: Client) -> None:
    put(alice, "free.ics", event("1", more="TRANSP:TRANSPARENT\r\n"))
    put(alice, "off.ics", event("2", more="STATUS:CANCELLED\r\n"))
    put(alice, "maybe.ics", event("3", more="STATUS:TENTATIVE\r\n"))
    assert busy(alice) == ["FREEBUSY;FBTYPE=BUSY-TENTATIVE:20261201T150000Z/20261201T160000Z"]


def test_series_are_expanded_within_and_beyond_the_indexed_time(alice: Client) -> None:
    put(alice, "series.ics", event("s", start="20200101T080000Z", more="RRULE:FREQ=DAILY\r\n"))
    assert busy(alice) == ["FREEBUSY;FBTYPE=BUSY:20261201T080000Z/20261201T090000Z,20261202T080000Z/20261202T090000Z"]
    far = busy(alice, start="20600101T000000Z", end="20600102T000000Z")
    assert far == ["FREEBUSY;FBTYPE=BUSY:20600101T080000Z/20600101T090000Z"]


def test_floating_times_are_busy_in_the_zone_of_the_calendar(alice: Client) -> None:
    put(alice, "x.ics", event("x", start="20261201T100000"))
    put(alice, "far.ics", event("far", start="20200101T100000", more="RRULE:FREQ=DAILY\r\n"))
    zone = "<C:calendar-timezone-id>America/New_York</C:calendar-timezone-id>"
    alice.proppatch(CALENDAR, f"<D:set><D:prop>{zone}</D:prop></D:set>")
    assert busy(alice, end="20261202T000000Z") == ["FREEBUSY;FBTYPE=BUSY:20261201T150000Z/20261201T160000Z"]
    far = busy(alice, start="20600101T000000Z", end="20600102T000000Z")
    assert far == ["FREEBUSY;FBTYPE=BUSY:20600101T150000Z/20600101T160000Z"]


def test_a_home_answers_for_its_opaque_calendars(alice: Client) -> None:
    alice.mkcalendar(HOME + "other/")
    alice.mkcalendar(HOME + "birthdays/")
    transparent = "<C:schedule-calendar-transp><C:transparent/></C:schedule-calendar-transp>"
    alice.proppatch(HOME + "birthdays/", f"<D:set><D:prop>{transparent}</D:prop></D:set>")
    put(alice, "x.ics", event("x", start="20261201T100000Z"))
    put(alice, "y.ics", event("y", start="20261202T100000Z"), HOME + "other/")
    put(alice, "z.ics", event("z", start="20261202T200000Z"), HOME + "birthdays/")
    assert busy(alice, HOME) == [
        "FREEBUSY;FBTYPE=BUSY:20261201T100000Z/20261201T110000Z,20261202T100000Z/20261202T110000Z"
    ]
    assert busy(alice, HOME + "birthdays/") == []


@pytest.mark.parametrize("fields", [{}, {"depth": "0"}, {"depth": "1"}, {"depth": "infinity"}])
def test_depth_does_not_matter_on_a_calendar(alice: Client, fields: dict[str, str]) -> None:
    put(alice, "x.ics", event("x"))
    assert len(busy(alice, **fields)) == 1


@pytest.mark.parametrize(
    "inner",
    [
        "",
        "<C:time-range start='20261201T000000Z'/>",
        "<C:time-range end='20261201T000000Z'/>",
        "<C:time-range start='20261202T000000Z' end='20261201T000000Z'/>",
        "<C:time-range start='20261201' end='20261202'/>",
        "<C:time-range start='today' end='tomorrow'/>",
    ],
)
def test_a_question_without_a_range_in_utc_is_400(alice: Client, inner: str) -> None:
    answer = alice.report(CALENDAR, element("C:free-busy-query", inner))
    assert (answer.status, answer.condition) == (400, None)


def test_other_collections_do_not_answer_it(alice: Client) -> None:
    answer = alice.report("addressbooks/alice/contacts/", element("C:free-busy-query", between(START, END)))
    assert (answer.status, answer.condition) == (403, d("supported-report"))


def test_nobody_asks_for_the_busy_times_of_others(alice: Client, bob: Client) -> None:
    put(alice, "x.ics", event("x"))
    for path in (CALENDAR, HOME, HOME + "none/"):
        assert bob.report(path, element("C:free-busy-query", between(START, END))).status == 404
