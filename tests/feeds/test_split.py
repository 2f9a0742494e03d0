"""Taking an outside calendar apart."""

from __future__ import annotations

import random
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.config import Config
from dav.errors import DavError
from dav.feeds.split import NOTES_MAX, NotACalendar, Split, name_of, quiet, split
from dav.methods.put import describe
from tests.feeds.feedtext import ALARM, BERLIN, calendar, club, event

NOW_S = 1_795_000_000


def by_uid(found: Split) -> dict[str, bytes]:
    return {item.uid: item.body for item in found.items}


def test_each_uid_is_one_object_with_its_overrides_and_only_the_zones_that_it_uses() -> None:
    series = ["BEGIN:VEVENT", "UID:series", "DTSTART;TZID=Europe/Berlin:20261201T100000", "RRULE:FREQ=DAILY;COUNT=3",
              "END:VEVENT"]  # fmt: skip
    override = ["BEGIN:VEVENT", "UID:series", "RECURRENCE-ID;TZID=Europe/Berlin:20261202T100000",
                "DTSTART;TZID=Europe/Berlin:20261202T110000", "END:VEVENT"]  # fmt: skip
    found = split(calendar(BERLIN, override, event("alone"), series))
    assert set(by_uid(found)) == {"series", "alone"}
    both = by_uid(found)["series"]
    assert both.count(b"BEGIN:VEVENT") == 2
    assert both.count(b"BEGIN:VTIMEZONE") == 1
    assert both.index(b"RRULE:FREQ=DAILY") < both.index(b"RECURRENCE-ID")
    assert b"VTIMEZONE" not in by_uid(found)["alone"]
    assert found.notes == ()


def test_a_zone_that_is_named_and_not_defined_gets_its_definition() -> None:
    body = by_uid(split(calendar(["BEGIN:VEVENT", "UID:a", "DTSTART;TZID=Europe/Paris:20261201T100000", "END:VEVENT"])))
    assert body["a"].count(b"TZID:Europe/Paris\r\n") == 1


def test_names_and_bytes_do_not_depend_on_the_order_of_the_events() -> None:
    parts = [event(f"u{i}", f"SUMMARY:{i}") for i in range(9)]
    parts += [
        event("", "SUMMARY:none"),
        event("same", start="20260101T000000Z"),
        event("same", start="20260201T000000Z"),
    ]
    first = split(calendar(*parts)).items
    for seed in range(5):
        random.Random(seed).shuffle(parts)
        assert split(calendar(*parts)).items == first
    assert [item.name for item in first] == sorted(name_of(item.uid) for item in first)


def test_an_event_without_uid_keeps_its_name_as_long_as_it_says_the_same() -> None:
    one = split(calendar(event("", "SUMMARY:Fair", stamp="20260101T000000Z"))).items
    later = split(calendar(event("", "SUMMARY:Fair", stamp="20270101T000000Z"), event("other"))).items
    changed = split(calendar(event("", "SUMMARY:Market"))).items
    assert one[0].name in {item.name for item in later}
    assert one[0].name != changed[0].name
    assert f"UID:{one[0].uid}\r\n".encode() in one[0].body


def test_equal_events_without_uid_are_one() -> None:
    assert len(split(calendar(event("", "SUMMARY:Fair"), event("", "SUMMARY:Fair"))).items) == 1


def test_different_events_with_one_uid_are_all_kept_and_the_earliest_keeps_it() -> None:
    found = split(calendar(event("x", "SUMMARY:Two", start="20260202T100000Z"),
                           event("x", "SUMMARY:One", start="20260101T100000Z")))  # fmt: skip
    bodies = by_uid(found)
    assert len(bodies) == 2
    assert b"SUMMARY:One" in bodies["x"]
    (other,) = set(bodies) - {"x"}
    assert f"UID:{other}\r\n".encode() in bodies[other]
    assert any("both are kept" in note for note in found.notes)


def test_of_two_versions_of_one_event_the_newer_is_kept() -> None:
    found = split(calendar(event("x", "SUMMARY:New", "SEQUENCE:2"), event("x", "SUMMARY:Old", "SEQUENCE:1")))
    assert b"SUMMARY:New" in by_uid(found)["x"]
    assert len(found.items) == 1


def test_an_event_and_a_task_with_one_uid_become_two_objects() -> None:
    found = split(calendar(event("x"), ["BEGIN:VTODO", "UID:x", "SUMMARY:Do", "END:VTODO"]))
    assert sorted((item.component, item.uid) for item in found.items) == [("VEVENT", "x"), ("VTODO", "x-vtodo")]


def test_a_broken_item_spoils_no_other() -> None:
    open_one = event("open")[:-1]
    found = split(
        calendar(event("a"), open_one, event("b"), ["BEGIN:VEVENT", "UID:c", "END:VTODO", "END:VEVENT"], event("d"))
    )
    assert set(by_uid(found)) == {"a", "b", "d"}
    assert len(found.notes) == 2
    assert found.closed
    assert not found.cut


def test_a_line_that_is_none_is_left_out_of_its_event() -> None:
    found = split(calendar(event("a", "DESCRIPTION:first", "second line without a fold", "LOCATION:Hall")))
    body = by_uid(found)["a"]
    assert b"second line" not in body
    assert b"LOCATION:Hall" in body
    assert "no content line" in found.notes[0]


@pytest.mark.parametrize(
    ("strip", "kept"),
    [((), {"alarm", "attach", "todo"}), (("alarms",), {"attach", "todo"}), (("attachments",), {"alarm", "todo"}),
     (("todos",), {"alarm", "attach"}), (("alarms", "attachments", "todos"), set())],
)  # fmt: skip
def test_what_is_to_be_left_out_is_left_out_and_nothing_else(strip: tuple[str, ...], kept: set[str]) -> None:
    sound = ["BEGIN:VALARM", "ACTION:AUDIO", "TRIGGER:-PT1M", "END:VALARM"]
    found = split(
        calendar(
            event("e", "ATTACH:https://x.example/a.pdf", *ALARM, *sound, "LOCATION:after"),
            ["BEGIN:VTODO", "UID:t", "END:VTODO"],
        ),
        strip=strip,
    )
    bodies = by_uid(found)
    has = {"alarm": b"VALARM" in bodies["e"], "attach": b"ATTACH" in bodies["e"], "todo": "t" in bodies}
    assert {name for name, there in has.items() if there} == kept
    assert b"LOCATION:after\r\nEND:VEVENT" in bodies["e"]


def test_what_the_calendar_says_of_itself_is_read() -> None:
    head = ("METHOD:PUBLISH", "X-WR-CALNAME:Club\\, Berlin", "X-WR-CALDESC:All\\nof it", "X-WR-TIMEZONE:Europe/Berlin",
            "X-APPLE-CALENDAR-COLOR:#34aadcff", "X-PUBLISHED-TTL:PT12H",
            "REFRESH-INTERVAL;VALUE=DURATION:PT6H")  # fmt: skip
    found = split(calendar(event("a"), head=head))
    assert (found.name, found.description, found.zone_id) == (
        "Club, Berlin",
        "All of it",
        "Europe/Berlin",
    )
    assert (found.colour, found.refresh_s) == ("#34AADC", 6 * 3600)
    assert b"METHOD" not in found.items[0].body


def test_a_calendar_without_its_end_says_so() -> None:
    assert not split(calendar(event("a"), end=False)).closed
    whole = calendar(event("a"), event("b", "SUMMARY:B"))
    cut = split(whole[: whole.index(b"SUMMARY:B")])
    assert cut.cut
    assert set(by_uid(cut)) == {"a"}


@pytest.mark.parametrize(
    "body", [b"", b"<html><body>Sign in</body></html>", b"BEGIN:VCARD\r\nEND:VCARD\r\n", b"\xff\xfeB\x00"]
)
def test_what_is_no_calendar_is_refused(body: bytes) -> None:
    with pytest.raises(NotACalendar):
        split(body)


def test_too_many_items_are_refused() -> None:
    assert len(split(club(20), items_max=20).items) == 20
    with pytest.raises(NotACalendar, match="more than 20"):
        split(club(21), items_max=20)


def test_a_calendar_that_would_grow_without_measure_is_refused() -> None:
    zone = ["BEGIN:VTIMEZONE", "TZID:Big", *(f"X-FILL-{i}:{'x' * 60}" for i in range(15_000)), "END:VTIMEZONE"]
    events = [["BEGIN:VEVENT", f"UID:{i}", "DTSTART;TZID=Big:20261201T100000", "END:VEVENT"] for i in range(50)]
    with pytest.raises(NotACalendar, match="too large"):
        split(calendar(zone, *events))


def test_only_so_many_notes_are_kept() -> None:
    found = split(calendar(*(["BEGIN:VFREEBUSY", "UID:f", "END:VFREEBUSY"] for _ in range(NOTES_MAX + 7))))
    assert len(found.notes) == NOTES_MAX + 1
    assert found.notes[-1] == "And 7 more."


def test_line_ends_and_encodings_of_all_kinds_give_lines_that_every_program_reads() -> None:
    good = calendar(event("a", "SUMMARY:Größe"))
    wanted = split(good).items
    assert split(good.replace(b"\r\n", b"\n")).items == wanted
    assert split(good.replace(b"\r\n", b"\r")).items == wanted
    assert split(b"\xef\xbb\xbf" + good).items == wanted
    assert split(good.decode().encode("latin-1")).items == wanted
    assert split(good.rstrip()).items == wanted


def test_quiet_bodies_of_one_event_are_equal_whenever_it_was_written() -> None:
    one = split(
        calendar(event("a", "SUMMARY:x", "CREATED:20200101T000000Z", "SEQUENCE:1", stamp="20260101T000000Z"))
    ).items[0]
    two = split(calendar(event("a", "SUMMARY:x", "LAST-MODIFIED:20260202T000000Z", stamp="20260303T000000Z"))).items[0]
    three = split(calendar(event("a", "SUMMARY:y", stamp="20260303T000000Z"))).items[0]
    assert one.body != two.body
    assert quiet(one.body) == quiet(two.body) != quiet(three.body)


def test_every_calendar_of_the_corpus_is_taken_apart_and_what_comes_out_is_stable(shared: Path) -> None:
    config = Config()
    files = sorted((shared / "corpus" / "ics").rglob("*.ics"))
    assert len(files) > 100
    taken = refused = 0
    for file in files:
        try:
            found = split(file.read_bytes())
        except NotACalendar:
            refused += 1
            continue
        for item in found.items:
            assert split(item.body).items == (item,), file.name
            try:
                described = describe("event", item.body, config, NOW_S)
            except DavError:
                continue  # kept out with a note
            taken += 1
            assert described.index.uid == item.uid, file.name
            assert described.index.component == item.component
    assert refused < 15
    assert taken > 300


_WORDS = st.sampled_from(
    ["BEGIN:VCALENDAR", "END:VCALENDAR", "BEGIN:VEVENT", "END:VEVENT", "BEGIN:VALARM", "END:VALARM", "BEGIN:VTIMEZONE",
     "END:VTIMEZONE", "BEGIN:VTODO", "END:VTODO", "UID:a", "UID:b", "UID:", "TZID:Z", "DTSTART;TZID=Z:20260101T000000",
     "DTSTART:20260101T000000Z", "RECURRENCE-ID:20260101T000000Z", "SEQUENCE:9", " folded", "no line", "", ":", ";",
     "X-A;TZID=:", "ATTACH:x", "REFRESH-INTERVAL:PT", "END:X", "BEGIN:"]
)  # fmt: skip


@settings(max_examples=300, deadline=None)
@given(st.lists(_WORDS, max_size=60), st.sampled_from(["\r\n", "\n", "\r"]))
def test_any_lines_give_objects_or_a_refusal(lines: list[str], eol: str) -> None:
    try:
        found = split(eol.join(["BEGIN:VCALENDAR", *lines]).encode(), strip=("alarms",))
    except NotACalendar:
        return
    assert len({item.name for item in found.items}) == len(found.items)
    for item in found.items:
        assert item.body.startswith(b"BEGIN:VCALENDAR\r\n")
        assert b"VALARM" not in item.body
        assert split(item.body).items[0].uid == item.uid


def test_zones_that_nobody_names_cost_nothing_but_their_bytes() -> None:
    zones = [["BEGIN:VTIMEZONE", f"TZID:Zone{number}", "END:VTIMEZONE"] for number in range(20_000)]
    events = [event(f"u{number}") for number in range(2_000)]
    started = time.process_time()
    few = split(calendar(*events))
    plain_s = time.process_time() - started
    started = time.process_time()
    many = split(calendar(*zones, *events))
    assert [item.body for item in many.items] == [item.body for item in few.items]
    # Looked up for each event they would be forty million, and take eight seconds or more.
    assert time.process_time() - started < 3 + 3 * plain_s
