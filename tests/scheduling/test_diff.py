"""The normal form of components and the grades of changes."""

from __future__ import annotations

import pytest

from dav.scheduling.diff import Change, State, change_of, compare, facts_of
from dav.scheduling.model import MASTER

from .kit import ALICE, BOB, CAROL, obj

BASE = f"""
SUMMARY:Lunch
DTSTART:20260112T090000Z
DTEND:20260112T100000Z
ORGANIZER:{ALICE}
ATTENDEE:{BOB}
"""
SERIES = f"{BASE}RRULE:FREQ=WEEKLY;COUNT=5"
THIRD = "20260126T090000Z"


def change(before: str, after: str) -> Change:
    """What changed in the master."""
    found = change_of(State(obj(before)), State(obj(after)), MASTER)
    assert found is not None
    return found


def grade(before: str, after: str) -> tuple[str, str, bool]:
    """(grade, names, moved) of the master's change."""
    found = change(before, after)
    return found.grade, ",".join(sorted(found.names)), found.moved


# Properties that are left out of the comparison
@pytest.mark.parametrize(
    "line",
    [
        "CREATED:20260101T000000Z", "LAST-MODIFIED:20260101T000000Z", "SEQUENCE:7", "X-THING:1", "TRANSP:TRANSPARENT",
        "CATEGORIES:A,B", "COLOR:red", "REQUEST-STATUS:2.0;ok", "ACKNOWLEDGED:20260101T000000Z", "COMMENT:",
        "LOCATION: ", "STATUS:confirmed", "BEGIN:VALARM\nACTION:AUDIO\nTRIGGER:-PT1H\nEND:VALARM",
    ],
)  # fmt: skip
def test_what_is_nobodys_business_is_no_change(line: str) -> None:
    assert grade(BASE, f"{BASE}{line}") == ("none", "", False)
    assert grade(f"{BASE}{line}", BASE) == ("none", "", False)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("DTEND:20260112T100000Z", "DURATION:PT1H"),
        ("DTEND:20260112T100000Z", "DURATION:PT60M"),
        ("DTSTART:20260112T090000Z", "DTSTART;TZID=Europe/Berlin:20260112T100000"),
        ("DTSTART:20260112T090000Z", "DTSTART;VALUE=DATE-TIME:20260112T090000Z"),
        ("SUMMARY:Lunch", "SUMMARY;LANGUAGE=en:Lunch  "),
        (f"ATTENDEE:{BOB}", f"ATTENDEE;CN=Bob;RSVP=TRUE;PARTSTAT=ACCEPTED;SCHEDULE-STATUS=2.0:{BOB.upper()}"),
        (f"ATTENDEE:{BOB}", f"ATTENDEE;ROLE=req-participant:{BOB}"),
        (f"ATTENDEE:{BOB}", f"ATTENDEE:{BOB}\nATTENDEE;ROLE=CHAIR:{BOB}"),
    ],
)
def test_other_spellings_are_no_change(before: str, after: str) -> None:
    assert before in BASE
    assert grade(BASE, BASE.replace(before, after)) == ("none", "", False)


def test_all_day_events_that_end_on_their_day_are_one_day_long() -> None:
    day = f"DTSTART;VALUE=DATE:20260112\nORGANIZER:{ALICE}"
    for end in ("", "\nDTEND;VALUE=DATE:20260112", "\nDTEND;VALUE=DATE:20260113", "\nDURATION:P1D"):
        assert grade(day, day + end) == ("none", "", False)
    assert grade(day, f"{day}\nDTEND;VALUE=DATE:20260114") == ("major", "time", True)


@pytest.mark.parametrize(
    ("after", "expected"),
    [
        ("FREQ=WEEKLY;COUNT=4", ("major", "recurrence", False)),
        ("FREQ=WEEKLY;COUNT=6", ("major", "recurrence", True)),
        ("FREQ=WEEKLY;COUNT=4;INTERVAL=2", ("major", "recurrence", True)),
        ("FREQ=WEEKLY;UNTIL=20260201T000000Z", ("major", "recurrence", True)),
        ("FREQ=WEEKLY", ("major", "recurrence", True)),
        ("COUNT=5;FREQ=WEEKLY;INTERVAL=1", ("none", "", False)),
        ("nonsense", ("major", "recurrence", True)),
    ],
)
def test_rules_are_compared_by_what_they_make(after: str, expected: tuple[str, str, bool]) -> None:
    assert grade(SERIES, SERIES.replace("FREQ=WEEKLY;COUNT=5", after)) == expected


def test_an_endless_series_that_ends_only_lost_instances() -> None:
    endless = SERIES.replace(";COUNT=5", "")
    for end in (";COUNT=5", ";UNTIL=20270101T000000Z"):
        assert grade(endless, endless + end) == ("major", "recurrence", False)
    until = SERIES.replace("COUNT=5", "UNTIL=20260301T000000Z")
    assert grade(until, until.replace("0301", "0215")) == ("major", "recurrence", False)
    assert grade(until, until.replace("0301", "0315")) == ("major", "recurrence", True)


def test_exdates_are_told_by_instance() -> None:
    found = change(SERIES, f"{SERIES}\nEXDATE:{THIRD}")
    assert found.exdates == {THIRD}
    assert (found.grade, found.names, found.moved) == ("major", frozenset(), False)
    # Other spellings name the same instance.
    assert grade(f"{SERIES}\nEXDATE:{THIRD}", f"{SERIES}\nEXDATE;TZID=Europe/Berlin:20260126T100000") == (
        "none", "", False
    )  # fmt: skip
    assert grade(f"{SERIES}\nEXDATE:{THIRD}", SERIES) == ("major", "recurrence", True)


def test_rdates() -> None:
    more = f"{SERIES}\nRDATE:20260401T090000Z"
    assert grade(SERIES, more) == ("major", "recurrence", True)
    assert grade(more, SERIES) == ("major", "recurrence", False)
    assert grade(more, f"{SERIES}\nRDATE;TZID=Europe/Berlin:20260401T110000") == ("none", "", False)
    # One that has a component of its own is told of there.
    before, after = facts_of_master(SERIES), facts_of_master(more)
    assert compare(before, after, restored=frozenset({"20260401T090000Z"})).grade == "none"


def facts_of_master(text: str):  # type: ignore[no-untyped-def]
    found = obj(text)
    assert found.master is not None
    return facts_of(found.master, found.zones, found.start)


def test_guests_that_come_and_go_and_must_come() -> None:
    found = change(BASE, f"{BASE}ATTENDEE:{CAROL}")
    assert (set(found.names), set(found.added), set(found.removed), found.grade) == (
        {"attendees"},
        {CAROL},
        set(),
        "minor",
    )
    found = change(f"{BASE}ATTENDEE:{CAROL}", BASE)
    assert (set(found.names), set(found.added), set(found.removed)) == ({"attendees"}, set(), {CAROL})
    found = change(BASE, BASE.replace("ATTENDEE", "ATTENDEE;ROLE=OPT-PARTICIPANT"))
    assert (set(found.names), found.grade) == ({"attendees"}, "minor")


def test_an_instance_is_compared_with_what_the_series_makes_of_it() -> None:
    override = BASE.replace("DTSTART:20260112", "DTSTART:20260126").replace("DTEND:20260112", "DTEND:20260126")
    plain, moved = (
        obj(SERIES, f"{override.replace('T100000', end)}RECURRENCE-ID:{THIRD}") for end in ("T100000", "T110000")
    )
    series = State(obj(SERIES))
    assert change_of(series, State(plain), THIRD) == Change()
    found = change_of(series, State(moved), THIRD)
    assert found is not None
    assert (set(found.names), found.moved) == ({"time"}, True)
    assert change_of(State(moved), series, THIRD) == found
    # What is no instance is new, or gone.
    assert (
        change_of(series, State(obj(SERIES, f"{override}RECURRENCE-ID:20260127T090000Z")), "20260127T090000Z") is None
    )
    assert change_of(State(None), series, MASTER) is None
    assert change_of(State(obj(f"{SERIES}\nEXDATE:{THIRD}")), State(plain), THIRD) is None


def test_times_that_cannot_be_read_are_compared_as_they_stand() -> None:
    broken = BASE.replace("20260112T090000Z", "tomorrow")
    assert grade(broken, broken) == ("none", "", False)
    assert grade(BASE, broken) == ("major", "time", True)


def test_the_instances_of_a_state_are_made_once() -> None:
    state = State(obj(SERIES))
    made = state.effective(THIRD)
    assert made is not None
    assert state.effective(THIRD) is made
    assert state.effective("20260127T090000Z") is None
    assert state.effective("what?") is None
