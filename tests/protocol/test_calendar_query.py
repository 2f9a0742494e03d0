"""calendar-query (RFC 4791 §7.8): what the store narrows is what the filter would have found by reading everything."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from lxml import etree

from dav import properties
from dav.config import Limits
from dav.filters.calendar import matches, parse_filter
from dav.ical.lines import read
from dav.ical.make import utc_seconds
from dav.ical.recur import Limits as RecurrenceLimits
from dav.ical.recur import calendar_object
from dav.ical.tz import named_zone
from dav.names import CALDAV, c, d
from storage.engine import Store
from tests.dsl import NOW_S, Client, Server, element, event, task
from tests.protocol.asking import between, calendar_query, comp, cut, data, names, stamp
from tests.protocol.conftest import Serve

ZONE_AND_EVENT = (
    "\nBEGIN:VCALENDAR\nVERSION:2.0\nPRODID:x\nBEGIN:VTIMEZONE\nTZID:Odd\nBEGIN:STANDARD\nDTSTART:19700101T000000\n"
    "TZOFFSETFROM:+0100\nTZOFFSETTO:+0100\nEND:STANDARD\nEND:VTIMEZONE\nBEGIN:VEVENT\nUID:x\nDTSTAMP:20260101T000000Z\n"
    "DTSTART:20260101T000000Z\nEND:VEVENT\nEND:VCALENDAR\n"
)
CALENDAR = "calendars/alice/calendar/"
DATA = "<D:prop><C:calendar-data/></D:prop>"
FILTER = (
    "<C:filter><C:comp-filter name='VCALENDAR'><C:comp-filter name='VEVENT'>{}</C:comp-filter></C:comp-filter>"
    "</C:filter>"
)
DAY_S = 86_400
ZONES = ("Europe/Berlin", "America/New_York", "Pacific/Auckland", "Asia/Kolkata", "UTC")


def put(client: Client, name: str, body: str, path: str = CALENDAR) -> None:
    answer = client.put(path + name, body)
    assert answer.status in (201, 204), (answer.status, answer.body)


def all_day(uid: str, day: str, more: str = "") -> str:
    return event(uid, more=more).replace("DTSTART:20261201T150000Z\r\nDURATION:PT1H", f"DTSTART;VALUE=DATE:{day}")


def floating(uid: str, start: str, more: str = "") -> str:
    return event(uid, start=start, more=more)


def set_zone(client: Client, zone_id: str) -> None:
    inner = f"<C:calendar-timezone-id>{zone_id}</C:calendar-timezone-id>"
    assert client.proppatch(CALENDAR, f"<D:set><D:prop>{inner}</D:prop></D:set>").status == 207


# ---- ranges ----


def test_a_range_finds_what_overlaps_it_and_nothing_that_only_touches_its_ends(alice: Client) -> None:
    put(alice, "one.ics", event("1", start="20261201T150000Z"))

    def hit(start: str, end: str) -> bool:
        return names(calendar_query(alice, CALENDAR, comp("VEVENT", between(start, end)))) == ["one.ics"]

    assert hit("20261201T000000Z", "20261202T000000Z")
    assert hit("20261201T153000Z", "20261201T153001Z")
    assert hit("20261201T155959Z", "20261201T170000Z")
    assert not hit("20261201T160000Z", "20261201T170000Z")
    assert not hit("20261201T140000Z", "20261201T150000Z")


def test_an_open_range_finds_endless_series_that_began_long_ago(alice: Client) -> None:
    put(alice, "series.ics", event("s", start="20100101T090000Z", more="RRULE:FREQ=WEEKLY\r\n"))
    put(alice, "ended.ics", event("e", start="20100101T090000Z", more="RRULE:FREQ=WEEKLY;COUNT=5\r\n"))
    put(alice, "new.ics", event("n", start="20270101T090000Z"))
    assert names(calendar_query(alice, CALENDAR, comp("VEVENT", between("20261025T000000Z")))) == [
        "new.ics", "series.ics",
    ]  # fmt: skip
    assert names(calendar_query(alice, CALENDAR, comp("VEVENT", between(end="20110101T000000Z")))) == [
        "ended.ics", "series.ics",
    ]  # fmt: skip
    # Far outside of the indexed time it is computed.
    assert names(calendar_query(alice, CALENDAR, comp("VEVENT", between("20650105T000000Z", "20650113T000000Z")))) == [
        "series.ics"
    ]


@pytest.mark.parametrize(
    ("body", "start", "end"),
    [
        (floating("f", "20261201T090000"), 9, 10),
        (all_day("a", "20261201"), 0, 24),
        (floating("r", "20260101T090000", "RRULE:FREQ=DAILY\r\n"), 9, 10),
    ],
)
def test_floating_times_are_read_in_the_zone_of_the_calendar_or_of_the_request(
    alice: Client, body: str, start: int, end: int
) -> None:
    put(alice, "x.ics", body)
    midnight = utc_seconds("20261201T000000Z")

    def hit(offset_h: int, more: str = "") -> bool:
        """Whether it is found in its last hour, when the wall clock is offset_h ahead of UTC, and not after it."""
        last = midnight + (end - offset_h) * 3600
        inside = comp("VEVENT", between(stamp(last - 3600), stamp(last)))
        found = names(calendar_query(alice, CALENDAR, inside, more=more))
        before = comp("VEVENT", between(stamp(last - 60), stamp(last - 30)))
        assert names(calendar_query(alice, CALENDAR, before, more=more)) == found
        return found == ["x.ics"]

    zone = "<C:timezone-id>America/New_York</C:timezone-id>"
    text = (
        "<C:timezone>BEGIN:VCALENDAR&#13;\nVERSION:2.0&#13;\nBEGIN:VTIMEZONE&#13;\nTZID:Odd&#13;\nBEGIN:STANDARD&#13;\n"
        "DTSTART:19700101T000000&#13;\nTZOFFSETFROM:-0500&#13;\nTZOFFSETTO:-0500&#13;\nEND:STANDARD&#13;\n"
        "END:VTIMEZONE&#13;\nEND:VCALENDAR&#13;\n</C:timezone>"
    )
    recurs = "RRULE" in body
    assert hit(0)
    assert not hit(-5 + 24 * 30) or recurs
    for more in (zone, text):
        assert hit(-5, more)
    set_zone(alice, "Pacific/Auckland")
    assert hit(13)
    for more in (zone, text):
        assert hit(-5, more)


def test_a_zone_that_nobody_knows_is_refused_with_its_condition(alice: Client) -> None:
    whole = comp("VEVENT", between("20261201T000000Z", "20261202T000000Z"))
    for more, condition in (
        ("<C:timezone-id>Mars/Olympus</C:timezone-id>", c("valid-timezone")),
        ("<C:timezone>no zone</C:timezone>", c("valid-calendar-data")),
        ("<C:timezone/>", c("valid-calendar-data")),
        (f"<C:timezone>{ZONE_AND_EVENT}</C:timezone>", c("valid-calendar-data")),
    ):
        answer = calendar_query(alice, CALENDAR, whole, more=more)
        assert (answer.status, answer.condition) == (403, condition)
    event = ZONE_AND_EVENT[ZONE_AND_EVENT.index("BEGIN:VEVENT") : ZONE_AND_EVENT.index("END:VCALENDAR")]
    zone_alone = f"<C:timezone>{ZONE_AND_EVENT.replace(event, '')}</C:timezone>"
    assert calendar_query(alice, CALENDAR, whole, more=zone_alone).status == 207


# ---- other filters ----


def test_a_search_by_uid_finds_the_object_and_those_that_contain_it(alice: Client) -> None:
    for uid in ("abc", "xabcx", "other", "0123456789abcdef-long"):
        put(alice, f"{uid}.ics", event(uid))

    def found(text: str, attributes: str = "") -> list[str]:
        match = f'<C:prop-filter name="UID"><C:text-match {attributes}>{text}</C:text-match></C:prop-filter>'
        return names(calendar_query(alice, CALENDAR, comp("VEVENT", match)))

    assert found("abc", 'collation="i;octet"') == ["0123456789abcdef-long.ics", "abc.ics", "xabcx.ics"]
    assert found("ABC") == ["0123456789abcdef-long.ics", "abc.ics", "xabcx.ics"]
    assert found("ABC", 'collation="i;octet"') == []
    assert found("0123456789abcdef-long") == ["0123456789abcdef-long.ics"]
    assert found("nobody has this one") == []
    assert found("abc", 'negate-condition="yes"') == ["other.ics"]


def test_components_keep_apart(alice: Client) -> None:
    alice.mkcalendar("calendars/alice/both/")
    put(alice, "e.ics", event("e"), "calendars/alice/both/")
    put(alice, "t.ics", task("t"), "calendars/alice/both/")
    both = "calendars/alice/both/"
    assert names(calendar_query(alice, both, comp("VEVENT"))) == ["e.ics"]
    assert names(calendar_query(alice, both, comp("VTODO"))) == ["t.ics"]
    assert names(calendar_query(alice, both, comp("VJOURNAL"))) == []
    assert names(calendar_query(alice, both)) == ["e.ics", "t.ics"]
    assert names(calendar_query(alice, both, comp("VTODO", "<C:is-not-defined/>"))) == ["e.ics"]
    # RFC 4791 §9.9: a task without any date is in every range.
    assert names(calendar_query(alice, both, comp("VTODO", between("20200101T000000Z", "20200102T000000Z")))) == [
        "t.ics"
    ]


def test_open_tasks_are_found_as_clients_ask_for_them(alice: Client) -> None:
    tasks = "calendars/alice/tasks/"
    put(alice, "open.ics", task("open"), tasks)
    done = task("done").replace("END:VTODO", "STATUS:COMPLETED\r\nCOMPLETED:20261101T000000Z\r\nEND:VTODO")
    put(alice, "done.ics", done, tasks)
    undone = '<C:prop-filter name="COMPLETED"><C:is-not-defined/></C:prop-filter>'
    status = (
        '<C:prop-filter name="STATUS"><C:text-match negate-condition="yes">COMPLETED</C:text-match></C:prop-filter>'
    )
    assert names(calendar_query(alice, tasks, comp("VTODO", undone))) == ["open.ics"]
    assert names(calendar_query(alice, tasks, comp("VTODO", status))) == []  # the other has no STATUS at all


def test_data_can_be_expanded_and_cut_down(alice: Client) -> None:
    put(alice, "x.ics", event("x", more="RRULE:FREQ=DAILY;COUNT=10\r\nLOCATION:Room\r\n"))
    prop = (
        '<D:prop><C:calendar-data><C:comp name="VCALENDAR"><C:comp name="VEVENT"><C:prop name="DTSTART"/></C:comp>'
        '</C:comp><C:expand start="20261202T000000Z" end="20261204T000000Z"/></C:calendar-data></D:prop>'
    )
    answer = calendar_query(alice, CALENDAR, comp("VEVENT", between("20261202T000000Z", "20261204T000000Z")), prop=prop)
    assert [line for line in data(answer)["x.ics"].splitlines() if ":" in line and "BEGIN" not in line][:2] == [
        "DTSTART:20261202T150000Z", "END:VEVENT",
    ]  # fmt: skip
    assert "LOCATION" not in data(answer)["x.ics"]


def test_the_occurrences_of_one_answer_are_bounded(serve: Serve) -> None:
    alice = serve(limits=Limits(expand_instances=100)).account("alice")
    expand = '<C:expand start="20261201T000000Z" end="20270130T000000Z"/>'  # sixty days
    prop = f"<D:prop><C:calendar-data>{expand}</C:calendar-data></D:prop>"
    put(alice, "one.ics", event("one", more="RRULE:FREQ=DAILY\r\n"))
    assert data(calendar_query(alice, CALENDAR, prop=prop))["one.ics"].count("BEGIN:VEVENT") == 60
    put(alice, "two.ics", event("two", more="RRULE:FREQ=DAILY\r\n"))
    answer = calendar_query(alice, CALENDAR, prop=prop)
    assert (answer.status, answer.condition) == (403, d("number-of-matches-within-limits"))
    assert names(calendar_query(alice, CALENDAR)) == ["one.ics", "two.ics"]


def test_floating_times_expand_the_same_in_every_zone(alice: Client) -> None:
    put(alice, "x.ics", floating("x", "20261201T090000", "RRULE:FREQ=DAILY\r\n"))
    expand = '<C:expand start="20261202T000000Z" end="20261203T000000Z"/>'
    prop = f"<D:prop><C:calendar-data>{expand}</C:calendar-data></D:prop>"
    whole = comp("VEVENT", between("20261202T000000Z", "20261203T000000Z"))
    for more in ("", "<C:timezone-id>America/New_York</C:timezone-id>"):
        (text,) = data(calendar_query(alice, CALENDAR, whole, prop=prop, more=more)).values()
        assert "DTSTART:20261202T090000\r\n" in text
        assert text.count("BEGIN:VEVENT") == 1


# ---- two roads ----

ASKED = (
    "<D:prop><D:getetag/></D:prop>",
    DATA,
    "<D:prop><C:calendar-data/><D:getlastmodified/><D:getcontenttype/><x:none xmlns:x='x'/></D:prop>",
    "<D:prop/>",
    "",
)
RANGES = (
    "",
    between("20260827T000000Z"),
    between(end="20261202T000000Z"),
    between("20261201T090000Z", "20261208T090000Z"),
    between("20650105T000000Z", "20650205T000000Z"),
    between("20650105T000000Z"),
    between("20261201T090000Z", "20261208T090000Z")
    + '<C:prop-filter name="SUMMARY"><C:text-match>x</C:text-match></C:prop-filter>',
)


def fill_mixed(alice: Client, path: str) -> None:
    """Certain and uncertain ones, by name in no order of time, and a file in the blob folder."""
    assert alice.mkcalendar(path).status == 201
    put(alice, "m%20&m.ics", event("m"), path)
    put(alice, "long.ics", event("long", start="20261101T000000Z").replace("DURATION:PT1H", "DURATION:P60D"), path)
    put(alice, "a.ics", event("a", start="20100101T090000Z", more="RRULE:FREQ=WEEKLY\r\n"), path)
    put(alice, "z.ics", event("z", start="20261203T090000", more="RRULE:FREQ=DAILY\r\n"), path)
    put(alice, "day.ics", all_day("day", "20261201"), path)
    put(alice, "t%C3%BC.ics", task("t").replace("END:VTODO", "DUE:20261202T000000Z\r\nEND:VTODO"), path)
    put(alice, "open.ics", task("open"), path)
    put(alice, "e.ics", event("e", start="20100101T090000Z", more="RRULE:FREQ=WEEKLY;COUNT=5\r\n"), path)
    assert alice.put("files/alice/blob", event("blob").encode(), content_type="text/calendar").status == 201
    assert alice.request("MOVE", "/dav/files/alice/blob", destination=f"/dav/{path}blob.ics").status == 201


@pytest.mark.parametrize("prop", ASKED)
def test_what_is_woven_from_columns_is_what_the_longer_road_says(
    alice: Client, monkeypatch: pytest.MonkeyPatch, prop: str
) -> None:
    path = "calendars/alice/mixed/"
    fill_mixed(alice, path)
    asked = [comp(name, inside) for name in ("VEVENT", "VTODO") for inside in RANGES] + [""]
    woven = [calendar_query(alice, path, inside, prop=prop).body for inside in asked]
    with monkeypatch.context() as patch:
        patch.setattr(properties, "listing_of", lambda *args, **more: None)
        assert woven == [calendar_query(alice, path, inside, prop=prop).body for inside in asked]
    assert len(set(woven)) > 8


@pytest.mark.parametrize("prop", ASKED[:2])
def test_both_roads_cut_an_answer_at_the_same_place(serve: Serve, monkeypatch: pytest.MonkeyPatch, prop: str) -> None:
    alice = serve(limits=Limits(query_results=3)).account("alice")
    path = "calendars/alice/mixed/"
    fill_mixed(alice, path)
    monkeypatch.setattr("dav.reports.calendar_query._WRITTEN_AT_ONCE", 2)
    for inside in (comp("VEVENT"), comp("VEVENT", RANGES[1]), comp("VEVENT", RANGES[2]), comp("VTODO")):
        woven = calendar_query(alice, path, inside, prop=prop)
        with monkeypatch.context() as patch:
            patch.setattr(properties, "listing_of", lambda *args, **more: None)
            assert calendar_query(alice, path, inside, prop=prop).body == woven.body
        assert len(woven.responses) == (4 if "VEVENT" in inside else 2)


def test_of_a_first_question_for_etags_no_body_is_read(alice: Client, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first request of DAVx5: events from 90 days ago."""
    for number in range(5):
        put(alice, f"{number}.ics", event(str(number), more="RRULE:FREQ=DAILY;COUNT=9\r\n" if number % 2 else ""))
    monkeypatch.setattr("storage.objects.bodies", None)
    monkeypatch.setattr("storage.objects._record", None)
    inside = comp("VEVENT", between("20260827T000000Z"))
    answer = calendar_query(alice, CALENDAR, inside, prop=ASKED[0])
    assert names(answer) == [f"{number}.ics" for number in range(5)]


# ---- scope ----


def test_depth_chooses_what_is_searched(alice: Client) -> None:
    alice.mkcalendar("calendars/alice/other/")
    put(alice, "x.ics", event("x"))
    put(alice, "y.ics", event("y"), "calendars/alice/other/")
    assert names(calendar_query(alice, CALENDAR, comp("VEVENT"), depth=None)) == ["x.ics"]
    assert names(calendar_query(alice, CALENDAR, comp("VEVENT"), depth="infinity")) == ["x.ics"]
    assert names(calendar_query(alice, CALENDAR, comp("VEVENT"), depth="0")) == []
    assert names(calendar_query(alice, "calendars/alice/", comp("VEVENT"), depth="1")) == []
    assert names(calendar_query(alice, "calendars/alice/", comp("VEVENT"), depth="infinity")) == ["x.ics", "y.ics"]


def test_a_single_object_can_be_asked(alice: Client) -> None:
    put(alice, "x.ics", event("x"))
    put(alice, "y.ics", event("y"))
    assert names(calendar_query(alice, CALENDAR + "x.ics", comp("VEVENT"), depth="0")) == ["x.ics"]
    assert names(calendar_query(alice, CALENDAR + "x.ics", comp("VTODO"), depth="0")) == []


def test_each_calendar_of_a_home_is_asked_in_its_own_zone(alice: Client) -> None:
    alice.mkcalendar("calendars/alice/other/")
    put(alice, "x.ics", floating("x", "20261201T000000"))
    put(alice, "y.ics", floating("y", "20261201T000000"), "calendars/alice/other/")
    set_zone(alice, "Pacific/Auckland")
    night = comp("VEVENT", between("20261130T110000Z", "20261130T120000Z"))
    assert names(calendar_query(alice, "calendars/alice/", night, depth="infinity")) == ["x.ics"]


# ---- bounds and refusals ----


def test_results_over_the_limit_are_cut_and_the_answer_says_so(serve: Serve) -> None:
    server = serve(limits=Limits(query_results=3))
    alice = server.account("alice")
    for number in range(3):
        put(alice, f"{number}.ics", event(str(number)))
    answer = calendar_query(alice, CALENDAR, comp("VEVENT"))
    assert (len(names(answer)), cut(answer)) == (3, {})
    put(alice, "3.ics", event("3"))
    for filters in ([comp("VEVENT")], [], [comp("VEVENT", between("20261101T000000Z", "20270101T000000Z"))]):
        answer = calendar_query(alice, CALENDAR, *filters, prop=DATA)
        assert len(data(answer)) == 3
        assert cut(answer) == {f"/dav/{CALENDAR}": d("number-of-matches-within-limits")}


def test_many_results_come_in_one_answer(alice: Client) -> None:
    for number in range(230):
        put(alice, f"{number:03}.ics", event(str(number)))
    answer = calendar_query(alice, CALENDAR, comp("VEVENT", between("20261101T000000Z", "20270101T000000Z")), prop=DATA)
    assert {name: f"UID:{int(name[:3])}\r\n" in text for name, text in data(answer).items()} == {
        f"{number:03}.ics": True for number in range(230)
    }


@pytest.mark.parametrize(
    ("inner", "status", "condition"),
    [
        ("<D:prop/>", 400, None),
        ("<C:filter><C:comp-filter name='VEVENT'/></C:filter>", 403, c("valid-filter")),
        (FILTER.format("<C:time-range start='2026'/>"), 403, c("valid-filter")),
        (
            FILTER.format(
                "<C:prop-filter name='SUMMARY'><C:text-match collation='i;none'>x</C:text-match></C:prop-filter>"
            ),
            403,
            c("supported-collation"),
        ),
        ("<D:prop/><D:allprop/><C:filter><C:comp-filter name='VCALENDAR'/></C:filter>", 400, None),
        ("<D:prop><C:calendar-data version='3.0'/></D:prop><C:filter><C:comp-filter name='VCALENDAR'/></C:filter>",
         403, c("supported-calendar-data")),
    ],
)  # fmt: skip
def test_a_query_that_means_nothing_is_refused_with_its_condition(
    alice: Client, inner: str, status: int, condition: str | None
) -> None:
    answer = alice.report(CALENDAR, element("C:calendar-query", inner), depth=1)
    assert (answer.status, answer.condition) == (status, condition)


def test_an_empty_filter_finds_everything(alice: Client) -> None:
    put(alice, "x.ics", event("x"))
    answer = alice.report(CALENDAR, element("C:calendar-query", "<D:prop><D:getetag/></D:prop><C:filter/>"), depth=1)
    assert names(answer) == ["x.ics"]


def test_an_unreadable_object_is_served_but_spoils_no_query(server: Server, alice: Client) -> None:
    put(alice, "good.ics", event("good"))
    put(alice, "bad.ics", event("bad"))
    put(alice, "odd.ics", event("odd"))
    spoil(server.store, "bad.ics", b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nno end", readable=False)
    spoil(server.store, "odd.ics", b"\xff\xfe not even text", readable=True)
    assert alice.get(CALENDAR + "bad.ics").body.endswith(b"no end")
    assert names(calendar_query(alice, CALENDAR)) == ["good.ics", "odd.ics"]  # nothing was asked that needs reading
    summary = '<C:prop-filter name="SUMMARY"><C:text-match>e</C:text-match></C:prop-filter>'
    for filters in (comp("VEVENT", summary), comp("VEVENT", between("20261101T000000Z", "20270101T000000Z"), summary)):
        assert names(calendar_query(alice, CALENDAR, filters)) == ["good.ics"]
    expand = '<C:expand start="20261101T000000Z" end="20270101T000000Z"/>'
    shown = calendar_query(alice, CALENDAR, prop=f"<D:prop><C:calendar-data>{expand}</C:calendar-data></D:prop>")
    assert "DTSTART:20261201T150000Z" in data(shown)["good.ics"]


def spoil(store: Store, name: str, content: bytes, *, readable: bool) -> None:
    """What an old import or a bug could have left in the store."""
    statements: list[tuple[str, tuple[Any, ...]]] = [
        (
            "UPDATE bodies SET content = {0} WHERE object_id = (SELECT id FROM objects WHERE name = {0})",
            (content, name),
        ),
        ("UPDATE objects SET readable = {0}, size = {0} WHERE name = {0}", (int(readable), len(content), name)),
    ]
    connection = store.engine.raw_connection()
    try:
        cursor = connection.cursor()
        for statement, values in statements:
            cursor.execute(statement.format("?" if store.dialect == "sqlite" else "%s"), values)
        connection.commit()
    finally:
        connection.close()


# ---- the index answers as reading does ----

instants = st.integers(NOW_S - 700 * DAY_S, NOW_S + 1200 * DAY_S).map(lambda s: s // 1800 * 1800)
rules = st.one_of(
    st.just(""),
    st.builds(
        lambda freq, interval, count: f"RRULE:FREQ={freq};INTERVAL={interval}{count}\r\n",
        st.sampled_from(["DAILY", "WEEKLY", "MONTHLY", "YEARLY"]),
        st.integers(1, 5),
        st.sampled_from(["", ";COUNT=1", ";COUNT=7", ";UNTIL=20270101T000000Z"]),
    ),
)


@st.composite
def bodies(draw: st.DrawFn) -> str:
    """An event with or without recurrence, in any form of time."""
    start = stamp(draw(instants))
    form = draw(st.sampled_from(["utc", "zoned", "floating", "date"]))
    rule = draw(rules)
    length = draw(st.sampled_from(["", "DURATION:PT0S", "DURATION:PT30M", "DURATION:PT30H", "DURATION:P3D"]))
    if form == "date":
        line = f"DTSTART;VALUE=DATE:{start[:8]}"
        length = draw(st.sampled_from(["", "DURATION:P1D", "DURATION:P3D"]))
        rule = rule.replace("20270101T000000Z", "20270101")
    elif form == "zoned":
        line = f"DTSTART;TZID={draw(st.sampled_from(ZONES[:4]))}:{start[:-1]}"
    elif form == "floating":
        line = f"DTSTART:{start[:-1]}"
        rule = rule.replace("20270101T000000Z", "20270101T000000")
    else:
        line = f"DTSTART:{start}"
    rule += draw(st.sampled_from(["", "TRANSP:TRANSPARENT\r\n", "STATUS:CANCELLED\r\n"]))
    text = f"{line}\r\n{length}\r\n" if length else f"{line}\r\n"
    return event("UID", more=rule).replace("DTSTART:20261201T150000Z\r\nDURATION:PT1H\r\n", text)


ranges = st.tuples(
    st.one_of(st.none(), instants),
    st.one_of(st.none(), st.sampled_from([1, 1800, DAY_S, 31 * DAY_S, 900 * DAY_S])),
).filter(lambda pair: pair != (None, None))


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    objects=st.lists(bodies(), min_size=1, max_size=8),
    asked=st.lists(ranges, min_size=1, max_size=5),
    zone_id=st.sampled_from(ZONES),
)
def test_a_range_answers_the_same_by_the_index_as_by_reading(
    alice: Client, objects: list[str], asked: list[tuple[int | None, int | None]], zone_id: str
) -> None:
    for href in list(alice.propfind(CALENDAR, [d("getetag")], depth=1))[1:]:
        alice.delete(href)
    set_zone(alice, zone_id)
    for number, body in enumerate(objects):
        put(alice, f"{number}.ics", body.replace("UID:UID", f"UID:{number}"))
    zone = named_zone(zone_id)
    assert zone is not None
    for start_s, length_s in asked:
        start = "" if start_s is None else stamp(start_s)
        end = "" if length_s is None else stamp((start_s or NOW_S) + length_s)
        inner = comp("VEVENT", between(start, end))
        wanted = parse_filter(etree.fromstring(f'<C:filter xmlns:C="{CALDAV}">{comp("VCALENDAR", inner)}</C:filter>'))
        expected = [
            f"{number}.ics"
            for number, body in enumerate(objects)
            if matches(
                wanted,
                calendar_object(read(body.encode()).components[0]),
                floating_zone=zone,
                limits=RecurrenceLimits(),
            )
        ]
        assert names(calendar_query(alice, CALENDAR, inner)) == expected, (start, end)
