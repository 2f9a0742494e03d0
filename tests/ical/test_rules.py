"""What may be stored: RFC 4791 §4.1 and §5.3.2.1, the corpus, and what is overlooked."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dav.errors import DavError
from dav.ical.index import index_calendar
from dav.ical.rules import DATES_MAX, TOLERATED, check_calendar, tolerances
from dav.names import c

from .caltext import NEW_YORK, body, component, event, todo

OK = event("DTSTART:20260302T090000Z")

# Rows of the corpus that say "store" of what RFC 4791 §4.1 forbids: several UIDs or types in one resource.
TWO_TASKS_IN_ONE = {"ics/ical-todo.ics", "ics/icalendar-issue_1050_all_components.ics"}


def refusal(data: bytes, **limits: int | tuple[str, ...]) -> tuple[str, str]:
    """(local name of the precondition, sentence)."""
    with pytest.raises(DavError) as caught:
        check_calendar(data, **limits)  # type: ignore[arg-type]
    assert caught.value.status == 403
    assert caught.value.condition is not None
    assert caught.value.condition.startswith(c("")[:-1])
    return caught.value.condition.rpartition("}")[2], caught.value.detail


def test_every_row_of_the_corpus_is_stored_or_refused_as_its_index_says(shared: Path) -> None:
    counts = {"stored": 0, "refused": 0}
    wrong = []
    with (shared / "corpus/INDEX.tsv").open(encoding="utf-8", newline="") as index:
        rows = [row for row in csv.DictReader(index, delimiter="\t", quoting=csv.QUOTE_NONE) if row["kind"] == "ics"]
    for row in rows:
        try:
            check_calendar((shared / "corpus" / row["file"]).read_bytes())
            outcome = "stored"
        except DavError as error:
            outcome = "refused" if error.condition else "refused without a precondition"
        wanted = "refused" if row["valid"] == "no" or "refuse as one resource" in row["special"] else "stored"
        if row["file"] in TWO_TASKS_IN_ONE:
            wanted = "refused"
        counts[outcome] = counts.get(outcome, 0) + 1
        if outcome != wanted:
            wrong.append((row["file"], row["special"]))
    assert wrong == []
    assert counts["stored"] > 90
    assert counts["refused"] > 40


def test_what_is_accepted_is_not_changed() -> None:
    data = body(OK).replace(b"\r\n", b"\n")
    assert check_calendar(data).calendar.to_bytes() == data


@pytest.mark.parametrize(
    ("data", "condition", "says"),
    [
        (b"", "valid-calendar-data", "VCALENDAR"),
        (b"<html></html>", "valid-calendar-data", "VCALENDAR"),
        (body(OK).decode().encode("utf-16"), "valid-calendar-data", "UTF-16"),
        (body(OK)[:-15], "valid-calendar-data", "never closed"),
        (body(OK).replace(b"END:VEVENT\r\n", b""), "valid-calendar-data", "END:VCALENDAR"),
        (body(OK).replace(b"VERSION:2.0", b"VERSION:1.0"), "valid-calendar-data", "Line 2, VERSION"),
        (body(OK, head="CALSCALE:JULIAN\n"), "valid-calendar-data", "CALSCALE"),
        (body(OK) + b"trailing words\r\n", "valid-calendar-data", "outside"),
        (body(OK) + b"BEGIN:VCARD\r\nEND:VCARD\r\n", "valid-calendar-data", "VCARD"),
        (body(OK) + body(OK), "valid-calendar-object-resource", "second VCALENDAR"),
        (body(event("DTSTART:20260302T090000Z", "no colon here")), "valid-calendar-data", "Line 8"),
        (body(event("DTSTART:20260302T090000Z", "A B:x")), "valid-calendar-data", "property name"),
        (body(), "valid-calendar-object-resource", "VTIMEZONE"),
        (body(NEW_YORK.format(tzid="X")), "valid-calendar-object-resource", "VTIMEZONE"),
        (body(OK, todo()), "valid-calendar-object-resource", "VTODO beside VEVENT"),
        (body(OK, event("DTSTART:20260302T090000Z", uid="two")), "valid-calendar-object-resource", "UID"),
        (body(OK, OK), "valid-calendar-object-resource", "RECURRENCE-ID"),
        (body(component("STANDARD")), "supported-calendar-component", "STANDARD"),
        (body(OK.replace("UID:one@example.com\n", "")), "valid-calendar-data", "no UID"),
        (body(event("DTSTART:20260302T090000Z", uid=" ")), "valid-calendar-data", "no UID"),
        (body(event()), "valid-calendar-data", "no DTSTART"),
        (body(event("DTSTART:2026-03-02")), "valid-calendar-data", "Line 7, DTSTART"),
        (body(event("DTSTART:20260230T090000Z")), "valid-calendar-data", "DTSTART"),
        (body(event("DTSTART;VALUE=DATE:20260302T090000Z")), "valid-calendar-data", "VALUE=DATE"),
        (body(event("DTSTART:20260302T090000Z", "DTSTART:20260303T090000Z")), "valid-calendar-data", "second DTSTART"),
        (body(event("DTSTART;VALUE=DATE:20260302", "DTEND:20260302T090000Z")), "valid-calendar-data", "Line 8, DTEND"),
        (body(event("DTSTART:20260302T090000Z", "DTEND:20260302T080000Z")), "valid-calendar-data", "before DTSTART"),
        (body(event("DTSTART:20260302T090000Z", "DURATION:1 hour")), "valid-calendar-data", "Line 8, DURATION"),
        (body(event("DTSTART:20260302T090000Z", "DURATION:-PT1H")), "valid-calendar-data", "negative"),
        # bug report A12
        (
            body(event("DTSTART:20260302T090000Z", "RRULE:FREQ=YEARLY;BYMONTHDAY=1;BYMONTH=0")),
            "valid-calendar-data",
            "Line 8, RRULE: BYMONTH=0",
        ),
        (
            body(todo("DTSTART:20260302T090000Z", "RRULE:FREQ=DAILY;COUNT=2;UNTIL=20260304")),
            "valid-calendar-data",
            "COUNT and UNTIL",
        ),
        (body(event("DTSTART:20260302T090000Z", "EXRULE:DAILY")), "valid-calendar-data", "EXRULE"),
        (
            body(event("DTSTART:20260302T090000Z", "RRULE:RSCALE=CHINESE;FREQ=YEARLY")),
            "supported-rscale",
            "RSCALE=CHINESE",
        ),
        (body(event("DTSTART:20260302T090000Z", "EXDATE:20260302T0900Z")), "valid-calendar-data", "EXDATE"),
        (body(event("DTSTART:20260302T090000Z", "RDATE;VALUE=PERIOD:20260302/x")), "valid-calendar-data", "RDATE"),
        (body(component("VFREEBUSY", "FREEBUSY:20260302T090000Z")), "valid-calendar-data", "FREEBUSY"),
        (body(event("DTSTART:00000101T000000Z")), "min-date-time", "DTSTART"),
        (body(event("DTSTART;TZID=Asia/Tokyo:00010101T000000")), "min-date-time", "DTSTART"),
        (body(event("DTSTART;TZID=America/New_York:99991231T235959")), "max-date-time", "DTSTART"),
        (body(event("DTSTART:20260302T090000Z", OK.strip())), "valid-calendar-data", "VEVENT stands inside"),
        ((b"BEGIN:VCALENDAR\r\n" + b"BEGIN:X\r\n" * 50), "valid-calendar-data", "nested"),
    ],
)
def test_what_breaks_a_rule_is_refused_with_its_precondition_and_a_sentence(
    data: bytes, condition: str, says: str
) -> None:
    found, sentence = refusal(data)
    assert (found, says in sentence) == (condition, True), sentence
    assert sentence.endswith(".")


def test_the_limits_of_the_collection_hold_and_what_is_at_the_limit_passes() -> None:
    data = body(OK)
    check_calendar(data, resource_bytes_max=len(data))
    assert refusal(data, resource_bytes_max=len(data) - 1)[0] == "max-resource-size"
    guests = body(event("DTSTART:20260302T090000Z", *["ATTENDEE:mailto:a@example.com"] * 5))
    check_calendar(guests, attendees_max=5)
    assert refusal(guests, attendees_max=4)[0] == "max-attendees-per-instance"
    series = body(event("DTSTART:20260302T090000Z", "RRULE:FREQ=DAILY;COUNT=50"))
    check_calendar(series, instances_max=50)
    assert refusal(series, instances_max=49)[0] == "max-instances"
    dates = body(event("DTSTART:20260302T090000Z", "RDATE:" + ",".join(["20260302T090000Z"] * 10)))
    check_calendar(dates, instances_max=10)
    assert refusal(dates, instances_max=9)[0] == "max-instances"
    endless = body(event("DTSTART:20260302T090000Z", "RRULE:FREQ=SECONDLY"))
    check_calendar(endless, instances_max=10)


def test_listed_dates_have_a_bound_of_their_own_that_is_not_announced_as_instances() -> None:
    """RFC 4791 §5.2.8 counts what a resource generates: neither EXDATE nor the dates of a time zone do."""
    for name, lists in (("RDATE", DATES_MAX), ("EXDATE", DATES_MAX)):
        lines = [f"{name}:" + ",".join(["20260302T090000Z"] * lists)]
        check_calendar(body(event("DTSTART:20260302T090000Z", *lines)), instances_max=50_000)
        many = body(event("DTSTART:20260302T090000Z", *lines, f"{name}:20260302T090000Z"))
        condition, sentence = refusal(many, instances_max=50_000)
        assert (condition, "more than 5000 dates" in sentence) == ("valid-calendar-data", True)
    without = body(event("DTSTART:20260302T090000Z", "EXDATE:" + ",".join(["20260302T090000Z"] * 10)))
    check_calendar(without, instances_max=9)


def test_a_collection_takes_only_its_components() -> None:
    assert check_calendar(body(OK), components=("VEVENT", "VTODO")).name == "VEVENT"
    assert refusal(body(OK), components=("VTODO",))[0] == "supported-calendar-component"


def test_the_announced_bounds_are_stored() -> None:
    check_calendar(body(event("DTSTART:00010101T000000Z")))
    check_calendar(body(event("DTSTART:99991231T235959Z")))


# One body for each rule that we overlook, in the order of the table.
OVERLOOKED = [
    body(OK).replace(b"PRODID:-//test//EN\r\n", b""),
    body(OK).replace(b"VERSION:2.0\r\n", b""),
    body(OK).replace(b"DTSTAMP:20260101T000000Z\r\n", b""),
    body(OK, head="METHOD:REQUEST\n"),
    body(event("DTSTART;TZID=Europe/Berlin:20260302T090000")),
    body(event("DTSTART:20260302T090000Z", "SUMMARY:" + "x" * 100)),
    body(OK).replace(b"\r\n", b"\n"),
    body(OK).replace(b"\r\n", b"\r"),
    b"\xef\xbb\xbf" + body(OK),
    body(event("DTSTART:20260302T090000Z", "SUMMARY:caf@")).replace(b"caf@", b"caf\xe9"),
    body(event("DTSTART:20260302T090000Z", "SUMMARY:a\x00b\x0bc\x1b[0m\u2028")),
    body(event("DTSTART:20260302T090000Z", "DTEND:20260302T100000Z", "DURATION:PT1H")),
    body(event("DTSTART:20260302T090000Z", "EXRULE:FREQ=DAILY")),
    body(event("RECURRENCE-ID;VALUE=DATE:20260302", "DTSTART;VALUE=DATE:20260302", "RRULE:FREQ=YEARLY")),
    body(event("DTSTART:20260302T090000Z", "RRULE:FREQ=DAILY", "EXDATE;VALUE=DATE:20260303")),
    body(event("DTSTART;VALUE=DATE:20260302", "DTEND;VALUE=DATE:20260302")),
    body(event("DTSTART;TZID=Europe/Berlin:20260302T090000", "DTEND:20260302T100000")),
    body(event("DTSTART:20260302T090000Z", "DTEND:20260302T100000")),
    body(todo("DTSTART;VALUE=DATE:20260302", "DUE:20260303T090000Z")),
    body(component("VAVAILABILITY", uid="a"), component("VAVAILABILITY", uid="b")),
]


@pytest.mark.parametrize("number", range(len(TOLERATED)))
def test_every_tolerance_of_the_table_is_real(number: int) -> None:
    tolerance, data = TOLERATED[number], OVERLOOKED[number]
    check_calendar(data)
    assert tolerance in tolerances(data), tolerance.rule
    assert tolerance.client


def test_a_dtend_in_another_form_of_time_is_overlooked_where_it_may_still_be_later() -> None:
    rule = next(tolerance for tolerance in TOLERATED if "one floats" in tolerance.rule)
    zoned = ";TZID=Europe/Berlin:20260302T083000"
    for start, end in (
        (":20260302T090000Z", ":20260302T100000"),  # the end is read in DTSTART's zone: UTC
        (":20260302T090000", ":20260302T083000Z"),  # in Berlin that is half past nine
        (":20260302T090000", zoned),
    ):
        data = body(event(f"DTSTART{start}", f"DTEND{end}"))
        assert rule in tolerances(data)
        obj = check_calendar(data)
        index_calendar(obj, now_s=1_795_564_800)
    assert refusal(body(event("DTSTART:20260302T090000Z", "DTEND:20260302T080000")))[0] == "valid-calendar-data"
    for start, end in ((zoned, ":20260302T100000Z"), (zoned, ":20260302T100000"), (":20260302T090000Z", zoned)):
        assert rule not in tolerances(body(event(f"DTSTART{start}", f"DTEND{end}")))


def test_a_good_object_needs_no_tolerance() -> None:
    data = body(
        NEW_YORK.format(tzid="Home"), event("DTSTART;TZID=Home:20260302T090000", "DTEND;TZID=Home:20260302T100000")
    )
    check_calendar(data)
    assert tolerances(data) == []


def test_an_unknown_x_component_beside_the_event_is_kept() -> None:
    data = body("BEGIN:X-OURS\nX-A:1\nEND:X-OURS\n", OK)
    found = check_calendar(data)
    assert (found.name, found.calendar.to_bytes()) == ("VEVENT", data)


MUTATED = st.lists(
    st.sampled_from(
        [
            "BEGIN:VEVENT",
            "END:VEVENT",
            "BEGIN:VCALENDAR",
            "END:VCALENDAR",
            "BEGIN:VTIMEZONE",
            "END:VTIMEZONE",
            "UID:1",
            "RECURRENCE-ID;RANGE=THISANDFUTURE:20260302T090000Z",
            "DTSTART:20260302T090000Z",
            "DTSTART;TZID=X:99991231T235959",
            "DTEND:00010101T000000",
            "DURATION:P999999D",
            "RRULE:FREQ=SECONDLY;UNTIL=99991231",
            "RRULE:FREQ=YEARLY;BYWEEKNO=53;BYDAY=-53MO",
            "RDATE;VALUE=PERIOD:20260302T090000Z/P1D,00010101T000000Z/99991231T235959Z",
            "EXDATE:20260302",
            "TZID:X",
            "VERSION:2.0",
            " folded",
        ]
    ),
    max_size=25,
)


@settings(max_examples=150, deadline=None)
@given(
    st.one_of(MUTATED.map("\r\n".join).map(str.encode), st.binary(max_size=100), st.text(max_size=60).map(str.encode))
)
def test_any_body_is_indexed_or_refused_as_dav_error(data: bytes) -> None:
    wrapped = b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nUID:1\r\n" + data + b"\r\nEND:VEVENT\r\nEND:VCALENDAR\r\n"
    refused = []
    for candidate in (data, wrapped):
        try:
            index_calendar(check_calendar(candidate), now_s=1_795_564_800)
        except DavError as error:
            refused.append(error)
    assert all(error.condition for error in refused)
