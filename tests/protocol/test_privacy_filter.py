"""dav.privacy as a table: what each view shows of an object, and what becomes of what its reader writes."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dav import privacy
from dav.ical.lines import read
from dav.ical.secrecy import CONFIDENTIAL
from dav.privacy import View, absorb, feed, hides, show, shown_etag

LEVELS = ("busy", "read", "write", "owner")
HEAD = "BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//Test//EN\r\n"
TAIL = "END:VCALENDAR\r\n"


def view(level: str = "read", private: str = "hidden", confidential: str = "busy", *, principal: bool = False) -> View:
    return View(level, private, confidential, 7, principal)


def component(*lines: str, name: str = "VEVENT", uid: str = "u", start: str = "20261201T100000Z") -> str:
    return "".join(
        f"{line}\r\n"
        for line in (
            f"BEGIN:{name}",
            f"UID:{uid}",
            "DTSTAMP:20261101T000000Z",
            f"DTSTART:{start}",
            *lines,
            f"END:{name}",
        )
    )


def alarm(word: str = "mine") -> tuple[str, ...]:
    return "BEGIN:VALARM", "ACTION:DISPLAY", f"DESCRIPTION:{word}", "TRIGGER:-PT5M", "END:VALARM"


def calendar(*components: str, head: str = "") -> bytes:
    return (HEAD + head + "".join(components) + TAIL).encode()


BARE = calendar(component("SUMMARY:Tea", "CLASS:PUBLIC"))


@pytest.mark.parametrize(
    ("classified", "level", "private", "confidential", "shown"),
    [
        ("PUBLIC", "busy", "hidden", "busy", "busy"), ("PUBLIC", "read", "hidden", "busy", "whole"),
        ("PUBLIC", "write", "hidden", "busy", "whole"), ("PUBLIC", "owner", "hidden", "busy", "whole"),
        ("CONFIDENTIAL", "busy", "hidden", "full", "busy"), ("CONFIDENTIAL", "read", "hidden", "busy", "busy"),
        ("CONFIDENTIAL", "read", "hidden", "full", "whole"), ("CONFIDENTIAL", "write", "busy", "busy", "busy"),
        ("CONFIDENTIAL", "owner", "hidden", "busy", "whole"), ("PRIVATE", "busy", "hidden", "busy", "busy"),
        ("PRIVATE", "read", "hidden", "full", "nothing"), ("PRIVATE", "read", "busy", "full", "busy"),
        ("PRIVATE", "write", "hidden", "busy", "nothing"), ("PRIVATE", "owner", "hidden", "busy", "whole"),
        # RFC 5545 §3.8.1.3: what is not known is private.
        ("X-COMPANY", "read", "hidden", "full", "nothing"), ("private", "read", "hidden", "full", "nothing"),
    ],
)  # fmt: skip
def test_a_class_is_shown_by_level_and_settings(
    classified: str, level: str, private: str, confidential: str, shown: str
) -> None:
    body = calendar(component("SUMMARY:secret", f"CLASS:{classified}"))
    found = show(body, view(level, private, confidential))
    if shown == "nothing":
        assert found is None
    elif shown == "whole":
        assert found == body
    else:
        assert found is not None
        assert b"SUMMARY:Busy\r\n" in found
        assert b"secret" not in found


def test_a_busy_time_keeps_its_times_and_nothing_else() -> None:
    zone = (
        "BEGIN:VTIMEZONE\r\nTZID:Europe/Berlin\r\nX-LIC-LOCATION:secret\r\nBEGIN:STANDARD\r\nDTSTART:19701025T030000\r\n"
        "TZOFFSETFROM:+0200\r\nTZOFFSETTO:+0100\r\nCOMMENT:secret\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
    )
    event = (
        "BEGIN;X-P=secret:VEVENT\r\nUID:u\r\nDTSTAMP:20261101T000000Z\r\nDTSTART;X-P=secret;TZID=Europe/Berlin:20261201T100000\r\n"
        "DTEND;TZID=Europe/Berlin:20261201T110000\r\nRRULE:FREQ=DAILY;COUNT=3;X-P=secret\r\nEXDATE;TZID=Europe/Berlin:20261202T100000\r\n"
        "TRANSP:TRANSPARENT\r\nSTATUS:CONFIRMED\r\nCLASS:PRIVATE\r\nSUMMARY:secret\r\nLOCATION:secret\r\n"
        "ATTENDEE;CN=secret:mailto:secret@example.com\r\nORGANIZER:mailto:secret@example.com\r\nX-SECRET:1\r\n"
        "DESC\r\n RIPTION:sec\r\n ret\r\nGEO:1;2\r\nURL:https://secret.example\r\n"
        "BEGIN:VALARM\r\nACTION:DISPLAY\r\nDESCRIPTION:secret\r\nTRIGGER:-PT5M\r\nEND:VALARM\r\nEND:VEVENT\r\n"
    )
    found = show(calendar(zone, event, head="X-WR-CALNAME:secret\r\nMETHOD:secret\r\n"), view("busy"))
    assert found is not None
    assert b"secret" not in found.lower()
    (shown,) = read(found).components
    (one,) = [item for item in shown.components if item.name == "VEVENT"]
    assert {line.name: line.value for line in one.lines} == {
        "UID": "u", "DTSTAMP": "20261101T000000Z", "DTSTART": "20261201T100000", "DTEND": "20261201T110000",
        "RRULE": "FREQ=DAILY;COUNT=3", "EXDATE": "20261202T100000", "TRANSP": "TRANSPARENT", "STATUS": "CONFIRMED",
        "CLASS": "PRIVATE", "SUMMARY": "Busy",
    }  # fmt: skip
    assert {line.param("TZID") for line in one.lines if line.name in ("DTSTART", "DTEND", "EXDATE")} == {
        "Europe/Berlin"
    }


def test_one_private_instance_of_a_public_series_is_a_busy_time() -> None:
    body = calendar(
        component("SUMMARY:Team", "RRULE:FREQ=DAILY"),
        component("SUMMARY:secret", "RECURRENCE-ID:20261202T100000Z", "CLASS:PRIVATE", start="20261202T120000Z"),
    )
    found = show(body, view())
    assert found is not None
    assert b"Team" in found
    assert b"secret" not in found
    assert b"DTSTART:20261202T120000Z" in found
    assert privacy.secrecy_of_body(body) == CONFIDENTIAL


@pytest.mark.parametrize(
    "lines",
    [
        alarm("secret"),
        ("X-MOZ-LASTACK:20261101T000000Z",),
        ("X-MOZ-SNOOZE-TIME-1795000000:20261101T000000Z",),
        ("X-CALENDARSERVER-PRIVATE-COMMENT:secret",),
        ("X-CALENDARSERVER-ATTENDEE-COMMENT;X-CALENDARSERVER-ATTENDEE-REF=x:secret",),
        ("ATTACH;X-PRIVATE=TRUE:https://example.com/secret",),
        ("COMMENT;X-PRIVATE=\"yes\":secret",),
    ],
)  # fmt: skip
def test_what_is_personal_is_the_owners_alone_and_survives_others(lines: tuple[str, ...]) -> None:
    body = calendar(component("SUMMARY:Tea", *lines))
    plain = calendar(component("SUMMARY:Tea"))
    for level in ("read", "write", "owner"):
        assert show(body, view(level)) == plain
    assert show(body, view("write", principal=True)) == body
    assert absorb(plain, body, view("write")) == (body, b"")
    changed, overlay = absorb(plain.replace(b"Tea", b"Coffee"), body, view("write"))
    assert overlay == b""
    assert sorted(changed.splitlines()) == sorted(body.replace(b"Tea", b"Coffee").splitlines())


def test_each_reader_sees_his_own_alarms() -> None:
    stored = calendar(component("SUMMARY:Tea", *alarm("owners")))
    mine = calendar(component("SUMMARY:Tea", *alarm("mine")))
    body, overlay = absorb(mine, stored, view("write"))
    assert body == stored
    assert show(stored, view("write"), overlay) == mine
    assert show(stored, view("write")) == calendar(component("SUMMARY:Tea"))
    assert absorb(calendar(component("SUMMARY:Tea")), stored, view("write")) == (stored, b"")
    assert absorb(mine, None, view("write")) == (calendar(component("SUMMARY:Tea")), overlay)


def test_an_override_that_came_later_has_the_alarms_of_the_series() -> None:
    series = component("SUMMARY:Team", "RRULE:FREQ=DAILY", *alarm("mine"))
    other = component("SUMMARY:Later", "RECURRENCE-ID:20261202T100000Z", start="20261202T120000Z")
    stored, overlay = absorb(calendar(series), None, view("write"))
    with_other = stored.replace(b"END:VCALENDAR", other.encode() + b"END:VCALENDAR")
    shown = show(with_other, view("write"), overlay)
    assert shown is not None
    assert shown.count(b"BEGIN:VALARM") == 2
    # He takes the one of the override away: it stays away.
    without = calendar(series, other)
    again, overlay = absorb(without, with_other, view("write"))
    assert again == with_other
    assert show(with_other, view("write"), overlay) == without


def test_a_new_override_of_a_writer_has_the_owners_alarms() -> None:
    stored = calendar(component("SUMMARY:Team", "RRULE:FREQ=DAILY", *alarm("owners")))
    new = calendar(
        component("SUMMARY:Team", "RRULE:FREQ=DAILY"),
        component("SUMMARY:Later", "RECURRENCE-ID:20261202T100000Z", start="20261202T120000Z"),
    )
    body, _ = absorb(new, stored, view("write"))
    assert body.count(b"DESCRIPTION:owners") == 2


SERIES = component("SUMMARY:Team", "RRULE:FREQ=DAILY")
SECRET = component("SUMMARY:secret", "RECURRENCE-ID:20261202T100000Z", "CLASS:PRIVATE", start="20261202T120000Z")


def test_what_the_writer_does_not_see_stays_whatever_he_writes() -> None:
    stored = calendar(SERIES, SECRET)
    shown = show(stored, view("write"))
    assert shown is not None
    assert absorb(shown, stored, view("write")) == (stored, b"")
    for new in (calendar(SERIES.replace("Team", "Others")), shown.replace(b"Team", b"Others")):
        body, _ = absorb(new, stored, view("write"))
        assert SECRET.encode() in body
        assert b"Others" in body
        assert b"Busy" not in body


@pytest.mark.parametrize(
    "new",
    [
        calendar(SERIES, SECRET.replace("secret", "Busy").replace("T120000Z", "T130000Z")),
        calendar(SERIES, SECRET.replace("secret", "mine")),
        calendar(SERIES.replace("SUMMARY", "CLASS:PRIVATE\r\nSUMMARY")),
        calendar(SERIES, SECRET.replace("20261202", "20261203")),
    ],
)
def test_a_writer_cannot_change_or_make_what_he_would_not_see(new: bytes) -> None:
    with pytest.raises(privacy.Refused):
        absorb(new, calendar(SERIES, SECRET), view("write"))
    if new.count(b"PRIVATE"):
        with pytest.raises(privacy.Refused):
            absorb(new, None, view("write"))


def test_a_zone_that_only_a_hidden_component_needs_stays_with_it() -> None:
    zone = (
        "BEGIN:VTIMEZONE\r\nTZID:Own\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\n"
        "TZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
    )
    hidden = SECRET.replace("DTSTART:20261202T120000Z", "DTSTART;TZID=Own:20261202T120000")
    body, _ = absorb(calendar(SERIES.replace("Team", "Others")), calendar(zone, SERIES, hidden), view("write"))
    assert zone.encode() in body
    assert hidden.encode() in body


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize(
    "body", [b"", b"nonsense", b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:secret\r\n", BARE + BARE]
)
def test_what_cannot_be_read_is_shown_to_nobody(level: str, body: bytes) -> None:
    found = show(body, view(level))
    assert found is None or b"secret" not in found or level != "busy"
    if body != b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nSUMMARY:secret\r\n":
        assert found is None


def test_a_feed_shows_what_somebody_sees_who_may_read_or_busy_times() -> None:
    body = calendar(component("SUMMARY:secret", *alarm("secret")))
    assert feed(body, "whole") == calendar(component("SUMMARY:secret"))
    busy = feed(body, "busy")
    assert busy is not None
    assert b"secret" not in busy
    assert feed(calendar(component("CLASS:PRIVATE")), "whole") is None
    with pytest.raises(KeyError):
        feed(body, "all")


def test_an_entity_tag_is_another_one_in_every_view() -> None:
    views = [
        View(level, private, confidential, 1, principal)
        for level in LEVELS for private in ("hidden", "busy") for confidential in ("busy", "full")
        for principal in (False, True)
    ]  # fmt: skip
    tags = [shown_etag("x", one, digest) for one in views for digest in ("", "d")]
    assert len(set(tags)) == len(tags)
    assert "x" not in tags
    assert shown_etag("x", View("read", "hidden", "busy", 1)) == shown_etag("x", View("read", "hidden", "busy", 2))


@pytest.mark.parametrize(
    ("secrecy", "confidential", "hidden"),
    [(0, "busy", False), (1, "busy", True), (1, "full", False), (2, "full", True)],
)
def test_of_contacts_there_is_no_busy_time_to_show(secrecy: int, confidential: str, hidden: bool) -> None:
    assert hides(view("read", "busy", confidential), secrecy, card=True) is hidden
    assert not hides(view("owner", "hidden", confidential), secrecy, card=True)


# ---- whatever an object holds ----

_WORD = "zqsecretqz"
_names = st.sampled_from(
    ["SUMMARY", "DESCRIPTION", "LOCATION", "X-FOO", "ATTENDEE", "COMMENT", "DTSTART", "RRULE", "EXDATE", "STATUS",
     "TRANSP",
     "RDATE", "DURATION", "CATEGORIES", "x-Bar", "g.SUMMARY", "RECURRENCE-ID", "CLASS", "REQUEST-STATUS", "ATTACH"]
)  # fmt: skip
_values = st.sampled_from([_WORD, f"20261201T100000Z,{_WORD}", f"FREQ=DAILY;X-A={_WORD}", f"a\r\n {_WORD}", ""])
_params = st.sampled_from(
    ["", f";X-P={_WORD}", f';CN="{_WORD}"', ";VALUE=DATE", f';ALTREP="{_WORD}:x"', f";TZ=1;{_WORD}"]
)
_lines = st.lists(st.builds(lambda n, p, v: f"{n}{p}:{v}", _names, _params, _values), max_size=6)
_inside = st.sampled_from([(), alarm(_WORD), ("BEGIN:PARTICIPANT", f"SUMMARY:{_WORD}", "END:PARTICIPANT")])
_components = st.builds(
    lambda lines, inside, cls, name: component(*lines, f"CLASS:{cls}", *inside, name=name),
    _lines, _inside, st.sampled_from(["PRIVATE", "CONFIDENTIAL", "PUBLIC", "X-Y"]),
    st.sampled_from(["VEVENT", "VTODO", "VJOURNAL", "VAVAILABILITY", "X-COMP"]),
)  # fmt: skip
_views = st.builds(
    view, st.sampled_from(LEVELS), st.sampled_from(["hidden", "busy"]), st.sampled_from(["busy", "full"])
)


@given(st.lists(_components, min_size=1, max_size=3))
def test_a_busy_view_never_shows_a_word(components: list[str]) -> None:
    found = show(calendar(*components, head=f"X-WR-CALNAME:{_WORD}\r\n"), view("busy"))
    assert found is not None
    assert _WORD.encode() not in found.replace(b"\r\n ", b"")


@given(st.lists(_components.filter(lambda text: "CLASS:PUBLIC" not in text), min_size=1, max_size=3))
def test_what_is_not_public_never_shows_a_word_to_whoever_reads(components: list[str]) -> None:
    for private in ("hidden", "busy"):
        found = show(calendar(*components), view("read", private))
        assert found is None or _WORD.encode() not in found.replace(b"\r\n ", b"")


@given(st.lists(_components, min_size=1, max_size=3), _views)
def test_writing_back_what_is_shown_changes_nothing(components: list[str], seen: View) -> None:
    body = calendar(*components)
    found = show(body, seen)
    if found is not None:
        assert absorb(found, body, seen) == (body, b"")
        assert show(body, seen) == found


@given(st.lists(_components, min_size=1, max_size=3), _views)
def test_an_overlay_changes_nobody_elses_view(components: list[str], seen: View) -> None:
    body = calendar(*components)
    found = show(body, seen)
    if found is None:
        return
    mine = found.replace(b"END:VEVENT\r\n", "\r\n".join(alarm()).encode() + b"\r\nEND:VEVENT\r\n")
    stored, overlay = absorb(mine, body, seen)
    assert stored == body
    assert (show(body, seen, overlay) or b"").count(b"DESCRIPTION:mine") == mine.count(b"DESCRIPTION:mine")


@given(st.lists(_components, min_size=1, max_size=3), st.lists(_components, min_size=1, max_size=3), _views)
def test_what_is_hidden_survives_every_write_to_the_byte(there: list[str], new: list[str], seen: View) -> None:
    body = calendar(*there)
    try:
        stored, _ = absorb(calendar(*new), body, seen)
    except privacy.Refused:
        return
    whole = View("owner", "busy", "full", 7, True)
    for text in there:
        if not privacy.is_whole(calendar(text), seen):
            assert text.encode() in stored
    shown = show(stored, seen)
    assert shown is None or show(shown, whole) == shown


@given(st.lists(_components, min_size=1, max_size=3))
def test_the_owners_alarms_survive_every_write_that_keeps_their_component(there: list[str]) -> None:
    body = calendar(component("SUMMARY:Tea", *alarm("owners")), *there)
    seen = View("owner", "hidden", "busy", 7)
    new = calendar(component("SUMMARY:Coffee", *alarm("mine")), *there)
    stored, overlay = absorb(new, body, seen)
    assert b"DESCRIPTION:owners" in stored
    assert b"DESCRIPTION:mine" not in stored
    assert b"DESCRIPTION:mine" in overlay


@pytest.mark.parametrize("again", [False, True])
def test_thousands_of_instances_cost_their_number_and_not_its_square(again: bool) -> None:
    def series(count: int) -> bytes:
        parts = ["BEGIN:VCALENDAR", "VERSION:2.0", "PRODID:x", "BEGIN:VEVENT", "UID:u", "DTSTAMP:20260101T000000Z",
                 "DTSTART:20260101T120000Z", "RRULE:FREQ=HOURLY", "SUMMARY:all", "END:VEVENT"]  # fmt: skip
        for number in range(count):
            day, hour = (1, 12) if again else (1 + number // 24, number % 24)
            when = f"{2026 + day // 28}0{1 + day % 9}{1 + day % 28:02d}T{hour:02d}0000Z"
            parts += ["BEGIN:VEVENT", "UID:u", "DTSTAMP:20260101T000000Z", f"RECURRENCE-ID:{when}", f"DTSTART:{when}",
                      "CLASS:CONFIDENTIAL", f"SUMMARY:{number}", "END:VEVENT"]  # fmt: skip
        return "\r\n".join([*parts, "END:VCALENDAR", ""]).encode()

    def takes_s(count: int) -> float:
        stored = series(count)
        started = time.process_time()
        shown = show(stored, view("write"))
        assert shown is not None
        merged, _ = absorb(shown.replace(b"SUMMARY:all", b"SUMMARY:new"), stored, view("write"))
        assert merged == stored.replace(b"SUMMARY:all", b"SUMMARY:new")
        return time.process_time() - started

    few_s = min(takes_s(500), takes_s(500))
    # Eight times as many: eight times the time, where the square would be sixty-four times.
    assert takes_s(4000) < 24 * few_s + 0.2
