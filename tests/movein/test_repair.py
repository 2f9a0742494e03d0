"""What an item's bytes become: the very bytes where they are good, else one object for each UID, with nothing lost."""

from __future__ import annotations

import re

import pytest

from dav.config import Config
from dav.ical.lines import read
from dav.movein.repair import Parts, made_uid, name_for, parts_of
from tests.movein_wire.kit import NOW_S, card, event

ZONE = (
    "BEGIN:VTIMEZONE\r\nTZID:{0}\r\nBEGIN:STANDARD\r\nDTSTART:19700101T000000\r\nTZOFFSETFROM:+0100\r\n"
    "TZOFFSETTO:+0100\r\nEND:STANDARD\r\nEND:VTIMEZONE\r\n"
)


def tidied(body: bytes | str, kind: str = "event") -> Parts:
    return parts_of(kind, body.encode() if isinstance(body, str) else body, Config(), NOW_S, tidy=True)


def calendar(*inside: str, head: str = "VERSION:2.0\r\nPRODID:-//x//EN\r\n") -> str:
    return "BEGIN:VCALENDAR\r\n" + head + "".join(inside) + "END:VCALENDAR\r\n"


def vevent(uid: str | None = "a", extra: str = "", stamp: str = "DTSTAMP:20260101T000000Z\r\n") -> str:
    named = "" if uid is None else f"UID:{uid}\r\n"
    return f"BEGIN:VEVENT\r\n{named}{stamp}DTSTART:20260301T100000Z\r\n{extra}END:VEVENT\r\n"


@pytest.mark.parametrize("tidy", [True, False])
@pytest.mark.parametrize(("kind", "body"), [("event", event("a")), ("card", card("c"))])
def test_good_bytes_stay_as_they_are(kind: str, body: bytes, tidy: bool) -> None:
    (part,) = parts_of(kind, body, Config(), NOW_S, tidy=tidy).good
    assert (part.key, part.body, part.notes) == ("", body, ())


def test_bytes_that_clients_hold_are_not_touched_where_the_store_takes_them() -> None:
    for body in (calendar(vevent(), head="METHOD:PUBLISH\r\n"), calendar(vevent(stamp=""))):
        (part,) = parts_of("event", body.encode(), Config(), NOW_S, tidy=False).good
        assert part.body == body.encode()
    old = b"BEGIN:VCARD\r\nVERSION:2.1\r\nN:A;B\r\nEND:VCARD\r\n"
    (part,) = parts_of("card", old, Config(), NOW_S, tidy=False).good
    assert part.body == old


def test_several_uids_become_an_object_each_with_the_zones_they_name() -> None:
    body = calendar(
        ZONE.format("Europe/Berlin"), ZONE.format("Own"), vevent("a"),
        vevent("b", "EXDATE;TZID=Own:20260401T100000\r\nBEGIN:VALARM\r\nX;TZID=Europe/Berlin:x\r\nEND:VALARM\r\n"),
        vevent("a", "RECURRENCE-ID:20260301T100000Z\r\n"),
        head="VERSION:2.0\r\nPRODID:-//x//EN\r\nX-WR-CALNAME:Mine\r\nX-OWN:1\r\nMETHOD:PUBLISH\r\n",
    )  # fmt: skip
    parts = tidied(body)
    assert [part.key for part in parts.good] == ["a", "b"]
    first, second = (part.body.decode() for part in parts.good)
    assert first.count("BEGIN:VEVENT") == 2
    assert "VTIMEZONE" not in first
    assert second.count("BEGIN:VTIMEZONE") == 2
    for text in (first, second):
        assert text.startswith("BEGIN:VCALENDAR\r\nVERSION:2.0\r\nPRODID:-//x//EN\r\nX-OWN:1\r\nBEGIN:")
    assert parts.left == []


def test_every_line_of_a_component_comes_along_as_it_is() -> None:
    odd = 'X-ODD;P="a;b":c\\,d\r\nDESCRIPTION:lo\r\n ng\r\nATTACH;ENCODING=BASE64:AAAA\r\n'
    parts = tidied(calendar(vevent("a", odd), vevent("b")))
    assert vevent("a", odd).encode() in parts.good[0].body


def test_what_is_missing_is_added_and_said() -> None:
    (part,) = tidied(calendar(vevent(None, stamp=""), head="")).good
    text = part.body.decode()
    assert re.match(r"BEGIN:VCALENDAR\r\nVERSION:2\.0\r\nPRODID:[^\r]*Davenport[^\r]*\r\nBEGIN:VEVENT\r\n", text)
    assert "DTSTAMP:19700101T000000Z\r\n" in text
    assert re.search(r"\r\nUID:[0-9a-f-]{36}\r\n", text)
    assert {note.partition(" ")[0] for note in part.notes} == {"It", "PRODID", "VERSION"}
    (again,) = tidied(calendar(vevent(None, stamp=""), head="")).good
    assert again.body == part.body


def test_dtstamp_comes_from_what_is_known() -> None:
    (part,) = tidied(calendar(vevent("a", "LAST-MODIFIED:20250505T050505Z\r\n", stamp=""))).good
    assert b"DTSTAMP:20250505T050505Z\r\n" in part.body


def test_of_two_masters_the_newer_is_taken_and_the_other_reported() -> None:
    old, new = vevent("a", "SEQUENCE:1\r\nSUMMARY:Old\r\n"), vevent("a", "SEQUENCE:2\r\nSUMMARY:New\r\n")
    parts = tidied(calendar(new, old))
    assert [b"New" in part.body for part in parts.good] == [True]
    assert len(parts.left) == 1
    assert "newer" in parts.left[0][1]
    parts = tidied(calendar(old, old))
    assert (len(parts.good), parts.left) == (1, [])


def test_objects_that_cannot_be_stored_are_named_and_the_others_come() -> None:
    parts = tidied(calendar("BEGIN:VEVENT\r\nUID:bad\r\nEND:VEVENT\r\n", "BEGIN:VFOO\r\nEND:VFOO\r\n", vevent("b")))
    assert [part.described.index.uid for part in parts.good] == ["b"]
    assert sorted(key for key, _ in parts.left) == ["VFOO", "bad"]
    assert "DTSTART" in dict(parts.left)["bad"]


@pytest.mark.parametrize("body", [
    b"", b"nonsense", b"BEGIN:VCALENDAR\r\n", b"BEGIN:VCALENDAR\r\nBEGIN:VEVENT\r\nEND:VCALENDAR\r\n", b"\0" * 100,
    calendar(vevent(), head="VERSION:1.0\r\n").encode(), card("c"),
])  # fmt: skip
def test_what_is_no_calendar_is_left_out_with_a_reason(body: bytes) -> None:
    parts = tidied(body)
    assert parts.good == []
    assert parts.left
    assert all(why for _, why in parts.left)


def test_an_empty_calendar_is_nothing_to_complain_about() -> None:
    assert tidied(calendar()) == Parts()


def test_several_calendars_in_one_file_are_read() -> None:
    parts = tidied(calendar(vevent("a")) + calendar(vevent("b"), vevent("c")))
    assert [part.key for part in parts.good] == ["a", "b", "c"]


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig", "latin-1", "utf-8"])
def test_other_charsets_are_read_and_become_utf_8(encoding: str) -> None:
    (part,) = tidied(calendar(vevent("a", "SUMMARY:Größe\r\n")).encode(encoding)).good
    assert "SUMMARY:Größe\r\n" in part.body.decode()


@pytest.mark.parametrize("end", ["\n", "\r"])
def test_line_ends_are_made_one_kind_where_something_is_put_in_order(end: str) -> None:
    (part,) = tidied(calendar(vevent("a"), head="METHOD:PUBLISH\r\n").replace("\r\n", end)).good
    assert part.body.count(b"\r\n") == part.body.count(b"\n") == part.body.count(b"\r")
    assert b"METHOD" not in part.body


def test_tasks_and_events_of_one_file_are_objects_of_their_own() -> None:
    todo = vevent("t").replace("VEVENT", "VTODO")
    parts = tidied(calendar(vevent("a"), todo))
    assert [part.described.index.component for part in parts.good] == ["VEVENT", "VTODO"]


def test_cards_of_one_file_become_an_object_each_and_2_1_becomes_3_0() -> None:
    old = (
        b"BEGIN:VCARD\r\nVERSION:2.1\r\nN;CHARSET=ISO-8859-1;ENCODING=QUOTED-PRINTABLE:M=FCller;Hans\r\n"
        b"FN;CHARSET=ISO-8859-1:Hans M\xfcller\r\nTEL;HOME:1\r\n"
        b"ADR;WORK;ENCODING=QUOTED-PRINTABLE:;;Str. 1=0D=0A2;Ort\r\n"
        b"END:VCARD\r\n"
    )
    parts = tidied(old + card("c"), "card")
    first, second = parts.good
    assert second.body == card("c")
    text = first.body.decode()
    assert "VERSION:3.0" in text
    assert "N:Müller;Hans" in text
    assert "QUOTED-PRINTABLE" not in text
    assert re.search(r"\r\nUID:[0-9a-f-]{36}\r\n", text)
    assert parts.left == []


def test_a_card_without_a_uid_keeps_all_its_lines() -> None:
    body = card("c").replace(b"UID:c\r\n", b"item1.X-OWN:1\r\n")
    (part,) = tidied(body, "card").good
    document = read(part.body)
    assert [line.name for line in document.components[0].lines] == ["VERSION", "UID", "X-OWN", "FN", "N"]


def test_contacts_in_a_calendar_file_are_left_out() -> None:
    parts = tidied(calendar(vevent("a")).encode() + card("c"))
    assert len(parts.good) == 1
    assert parts.left


def test_names_come_from_uids_that_can_be_names() -> None:
    assert name_for("abc@x.example", ".ics", b"") == "abc@x.example.ics"
    for uid in ("a/b", "..", "ä", "x" * 300, "", "a b"):
        assert re.fullmatch(r"[0-9a-f]{40}\.ics", name_for(uid, ".ics", b"body"))
    assert name_for(None, ".vcf", b"one") != name_for(None, ".vcf", b"two")
    assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-8[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", made_uid(b"x"))


def test_what_all_objects_share_does_not_make_a_small_file_large() -> None:
    from dataclasses import replace

    from dav.config import ImportsConfig, Limits

    config = replace(Config(), imports=ImportsConfig(file_bytes=1_048_576), limits=Limits(resource_bytes=2_000_000))
    many = [vevent(f"u{number}") for number in range(100)]
    body = calendar(*many, head="VERSION:2.0\r\nPRODID:x\r\nX-LONG:" + "x" * 900_000 + "\r\n")
    parts = parts_of("event", body.encode(), config, NOW_S, tidy=True)
    assert len(parts.good) == 4
    assert len(parts.left) == 96


def test_taking_apart_many_objects_takes_time_by_their_number() -> None:
    import time

    def took(count: int) -> float:
        body = calendar(*(vevent(f"u{number}") for number in range(count)), head="METHOD:PUBLISH\r\n").encode()
        start = time.process_time()
        assert len(tidied(body).good) == count
        return time.process_time() - start

    took(10)
    assert took(2_000) < 30 * took(200)


@pytest.mark.parametrize("tidy", [True, False])
def test_a_time_that_is_called_a_date_is_a_time(tidy: bool) -> None:
    wrong = calendar(vevent().replace("DTSTART:", "DTSTART;X=1;VALUE=DATE;Y=2:"))
    (part,) = parts_of("event", wrong.encode(), Config(), NOW_S, tidy=tidy).good
    assert part.body == wrong.replace(";VALUE=DATE", "").encode()
    assert part.notes == ("VALUE=DATE was taken off the time in DTSTART.",)


def test_a_part_that_is_too_large_is_left_out_alone() -> None:
    from dataclasses import replace

    from dav.config import Limits

    config = replace(Config(), limits=Limits(resource_bytes=20_000))
    body = calendar(vevent("big", "DESCRIPTION:" + "x" * 20_000 + "\r\n"), vevent("small"))
    parts = parts_of("event", body.encode(), config, NOW_S, tidy=True)
    assert [part.key for part in parts.good] == ["small"]
    assert [key for key, _ in parts.left] == ["big"]
