"""Faults of other servers that their users reported in public, over HTTP: one test an entry, named by its number."""

from __future__ import annotations

import re
import secrets
import threading
import time

import pytest

from .servers import Server
from .wire import CR, VCF, XMLNS, C, D, Dav, calendar, card, component, event, items, names, unfold, window

BERLIN = (
    "BEGIN:VTIMEZONE", "TZID:Europe/Berlin",
    "BEGIN:DAYLIGHT", "DTSTART:19810329T020000", "TZOFFSETFROM:+0100", "TZOFFSETTO:+0200",
    "RRULE:FREQ=YEARLY;BYMONTH=3;BYDAY=-1SU", "END:DAYLIGHT",
    "BEGIN:STANDARD", "DTSTART:19961027T030000", "TZOFFSETFROM:+0200", "TZOFFSETTO:+0100",
    "RRULE:FREQ=YEARLY;BYMONTH=10;BYDAY=-1SU", "END:STANDARD", "END:VTIMEZONE",
)  # fmt: skip


def store(user: Dav, path: str, body: bytes, media: str = "text/calendar; charset=utf-8") -> None:
    answer = user.put(path, body, media)
    assert answer.status == 201, str(answer)
    assert user.get(path).body == body


def hits(user: Dav, place: str, start: str, end: str, kind: str = "VEVENT") -> set[str]:
    return names(user.query(place, kind, window(start, end)))


def expanded(user: Dav, place: str, start: str, end: str, kind: str = "VEVENT") -> list[str]:
    """The instances of all objects that an expansion gives, as unfolded texts of single components, by DTSTART."""
    found: list[str] = []
    for item in items(user.expand(place, kind, start, end)).values():
        text = unfold(item.text(C + "calendar-data"))
        found += re.findall(rf"BEGIN:{kind}\n.*?END:{kind}", text, re.DOTALL)
    return sorted(found, key=lambda text: (re.search(r"\nDTSTART[^:]*:(\S+)", text) or [text] * 2)[1])


def starts(instances: list[str]) -> list[str]:
    return [re.search(r"\nDTSTART([^\n]*)", text)[1].lstrip(";:") for text in instances]  # type: ignore[index]


# --- A. iCalendar data -----------------------------------------------------------------------------------------------


def test_a2_an_override_without_a_master_is_stored_and_found_at_its_own_time(alice: Dav, box: str) -> None:
    lone = component("VEVENT", "a2", "RECURRENCE-ID:20260310T100000Z", "DTSTART:20260311T140000Z", "DURATION:PT1H")
    store(alice, box + "a.ics", calendar(*lone))
    assert hits(alice, box, "20260311T000000Z", "20260312T000000Z") == {"a.ics"}
    assert hits(alice, box, "20260310T000000Z", "20260311T000000Z") == set()
    assert starts(expanded(alice, box, "20260301T000000Z", "20260401T000000Z")) == ["20260311T140000Z"]
    master = component("VEVENT", "a2", "DTSTART:20260308T100000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=4")
    assert alice.put(box + "a.ics", calendar(*master, *lone)).status in (200, 204)
    assert len(expanded(alice, box, "20260301T000000Z", "20260401T000000Z")) == 4


def test_a3_an_odd_exception_date_spoils_neither_its_series_nor_the_calendar(alice: Dav, box: str) -> None:
    series = ("DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=5")
    store(
        alice,
        box + "utc.ics",
        calendar(
            *BERLIN,
            *component("VEVENT", "u", "DTSTART;TZID=Europe/Berlin:20260302T090000", *series, "EXDATE:20260304T080000Z"),
        ),
    )
    store(alice, box + "date.ics", event("d", "DTSTART:20260302T090000Z", *series, "EXDATE;VALUE=DATE:20260303"))
    store(
        alice,
        box + "day.ics",
        event(
            "y",
            "DTSTART;VALUE=DATE:20260302",
            "RRULE:FREQ=DAILY;COUNT=5",
            "EXDATE:20260305T000000",
            "RDATE:20260320T000000",
        ),
    )
    assert hits(alice, box, "20260304T073000Z", "20260304T083000Z") == {"day.ics"}
    for day in ("02", "06"):
        assert hits(alice, box, f"202603{day}T000000Z", f"202603{day}T230000Z") == {"utc.ics", "date.ics", "day.ics"}
    found = expanded(alice, box, "20260301T000000Z", "20260331T000000Z")
    assert sum("\nUID:u" in text for text in found) == 4
    assert sum("\nUID:d" in text for text in found) in (4, 5)
    assert sum("\nUID:y" in text for text in found) in (4, 5, 6)


def test_a4_until_in_an_unexpected_type_is_read_in_the_zone_of_the_start(alice: Dav, box: str) -> None:
    store(
        alice,
        box + "local.ics",
        calendar(
            *BERLIN,
            *component(
                "VEVENT",
                "l",
                "DTSTART;TZID=Europe/Berlin:20260302T090000",
                "DURATION:PT1H",
                "RRULE:FREQ=DAILY;UNTIL=20260305T090000",
            ),
        ),
    )
    store(
        alice,
        box + "todo.ics",
        calendar(
            *component(
                "VTODO",
                "t",
                "DTSTART;VALUE=DATE:20260302",
                "DUE;VALUE=DATE:20260303",
                "RRULE:FREQ=WEEKLY;UNTIL=20260323",
            )
        ),
    )
    assert starts(expanded(alice, box, "20260301T000000Z", "20260401T000000Z")) == [
        f"2026030{day}T080000Z" for day in (2, 3, 4, 5)
    ]
    assert hits(alice, box, "20260323T080000Z", "20260323T090000Z", "VTODO") == {"todo.ics"}
    assert hits(alice, box, "20260330T080000Z", "20260330T090000Z", "VTODO") == set()


def test_a5_a_name_folded_inside_a_character_comes_back_whole(alice: Dav, box: str) -> None:
    name = "Jörg Ünï, 東京"
    line = f'ORGANIZER;CN="{name}":mailto:joerg@example.net'.encode()
    cut = line.index("京".encode()) + 1
    body = event("a5", "DTSTART:20260302T090000Z", "X-HERE:1").replace(b"X-HERE:1", line[:cut] + b"\r\n " + line[cut:])
    store(alice, box + "a.ics", body)
    for answer in (
        alice.query(box, "VEVENT", data="<C:calendar-data/>"),
        alice.expand(box, "VEVENT", "20260301T000000Z", "20260401T000000Z"),
    ):
        (item,) = items(answer).values()
        assert f'CN="{name}"' in unfold(item.text(C + "calendar-data"))


@pytest.mark.parametrize("odd", ["\r", "\x0b", "\u2028", "\x85", "\x0c"], ids=["CR", "VT", "U+2028", "NEL", "FF"])
def test_a7_a_stray_line_end_inside_a_text_is_kept_or_refused_by_name(odd: str, alice: Dav, box: str) -> None:
    body = event("a7", "DTSTART:20260302T090000Z", f"DESCRIPTION:one{odd}\\ntwo", "SUMMARY:after")
    answer = alice.put(box + "a.ics", body)
    if answer.status == 403:
        assert odd in ("\r", "\x0b", "\x0c")
        assert answer.condition() == C + "valid-calendar-data"
        return
    assert answer.status == 201, str(answer)
    assert alice.get(box + "a.ics").body == body
    found = names(
        alice.query(box, "VEVENT", '<C:prop-filter name="SUMMARY"><C:text-match>after</C:text-match></C:prop-filter>')
    )
    assert found == {"a.ics"}
    assert alice.query(box, "VEVENT", data="<C:calendar-data/>").root() is not None


def test_a9_a_windows_zone_name_without_a_vtimezone_means_its_place(alice: Dav, box: str) -> None:
    store(alice, box + "a.ics", event("a9", "DTSTART;TZID=W. Europe Standard Time:20241008T100000", "DURATION:PT1H"))
    assert hits(alice, box, "20241008T080000Z", "20241008T083000Z") == {"a.ics"}
    assert hits(alice, box, "20241008T100000Z", "20241008T103000Z") == set()


def test_a10_a_rule_on_an_override_is_refused_or_ignored(alice: Dav, box: str) -> None:
    body = event("a10", "DTSTART;VALUE=DATE:20260302", "RECURRENCE-ID;VALUE=DATE:20260302", "RRULE:FREQ=YEARLY")
    answers = [alice.put(box + "a.ics", body), alice.request("POST", box, body, {"Content-Type": "text/calendar"})]
    assert answers[0].status in (201, 403), str(answers[0])
    assert answers[1].status in (201, 403, 405, 409), str(answers[1])
    if answers[0].status == 403:
        assert answers[0].condition().startswith(C + "valid-calendar-")
    assert hits(alice, box, "20400302T000000Z", "20400303T000000Z") <= {"a.ics"}
    assert len(expanded(alice, box, "20260101T000000Z", "20360101T000000Z")) <= 10


def test_a11_an_override_of_another_value_type_never_fails_the_report(alice: Dav, box: str) -> None:
    master = component("VEVENT", "a11", "DTSTART;VALUE=DATE:20260302", "RRULE:FREQ=DAILY;COUNT=5", "SUMMARY:plain")
    override = component(
        "VEVENT", "a11", "RECURRENCE-ID:20260304T000000Z", "DTSTART;VALUE=DATE:20260304", "SUMMARY:edited"
    )
    answer = alice.put(box + "a.ics", calendar(*master, *override))
    assert answer.status in (201, 403), str(answer)
    store(alice, box + "other.ics", event("other", "DTSTART:20260303T100000Z", "DURATION:PT1H"))
    found = expanded(alice, box, "20260301T000000Z", "20260331T000000Z")
    assert sum("\nUID:other" in text for text in found) == 1
    if answer.status == 201:
        assert sum("\nUID:a11" in text for text in found) in (5, 6)
    else:
        assert answer.condition().startswith(C + "valid-calendar-")


@pytest.mark.parametrize("kind", ["VEVENT", "VTODO"])
def test_a12_month_zero_is_refused_and_the_property_is_named(kind: str, alice: Dav, box: str) -> None:
    answer = alice.put(
        box + "a.ics",
        calendar(*component(kind, "a12", "DTSTART;VALUE=DATE:20260101", "RRULE:FREQ=YEARLY;BYMONTHDAY=1;BYMONTH=0")),
    )
    assert answer.status == 403, str(answer)
    assert answer.condition() == C + "valid-calendar-data"
    assert "RRULE" in answer.text or "RRULE" in " ".join(answer.headers.values())
    assert alice.get(box + "a.ics").status == 404


# --- B. vCard data ---------------------------------------------------------------------------------------------------

PHOTO = "iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg=="
APPLE = card(
    "b1", "N:;;;;", "FN:Acme, Inc.", "ORG:Acme\\, Inc.;", "item1.EMAIL;type=INTERNET;type=pref:info@acme.example",
    "item1.X-ABLabel:_$!<Work>!$_", "item2.ADR;type=HOME:;;1 Rue de Rivoli;Paris;;75001;France", "item2.X-ABADR:fr",
    "X-ABShowAs:COMPANY", f"PHOTO;ENCODING=b;TYPE=PNG:{PHOTO}",
)  # fmt: skip


def test_b1_an_apple_card_is_stored_as_sent_and_converted_when_asked(alice: Dav, book: str) -> None:
    store(alice, book + "a.vcf", APPLE, "text/vcard; charset=utf-8")
    plain = alice.get(book + "a.vcf", Accept="text/vcard")
    assert plain.body == APPLE
    four = alice.get(book + "a.vcf", Accept="text/vcard; version=4.0")
    assert four.status == 200
    text = unfold(four.text)
    assert "\nVERSION:4.0" in text
    assert PHOTO in text
    assert "item1.EMAIL" in text
    assert "item1.X-ABLabel:_$!<Work>!$_" in text


def test_b3_a_contact_list_of_another_kind_is_refused(alice: Dav, book: str) -> None:
    store(alice, book + "good.vcf", card("good", "FN:Good", "N:Good;;;;"), VCF)
    answer = alice.put(book + "list.vcf", b"BEGIN:VLIST\r\nVERSION:1.0\r\nUID:v\r\nCARD:x\r\nEND:VLIST\r\n", VCF)
    assert answer.status in (403, 415), str(answer)
    assert answer.condition() in (CR + "valid-address-data", CR + "supported-address-data")
    assert names(alice.card_query(book, '<R:prop-filter name="FN"/>')) == {"good.vcf"}
    assert alice.get(book + "list.vcf").status == 404


def test_b4_a_quoted_printable_card_is_never_garbled(alice: Dav, book: str) -> None:
    body = (
        b"BEGIN:VCARD\r\nVERSION:2.1\r\nUID:b4\r\nN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:M=C3=BCller;J=C3=\r\n=B6rg;;;\r\n"
        b"FN;CHARSET=UTF-8;ENCODING=QUOTED-PRINTABLE:J=C3=B6rg M=C3=BC=\r\nller\r\nEND:VCARD\r\n"
    )
    answer = alice.put(book + "a.vcf", body, VCF)
    if answer.status in (403, 415):
        assert answer.condition() == CR + "supported-address-data", str(answer)
        return
    assert answer.status == 201, str(answer)
    query = '<R:prop-filter name="FN"><R:text-match>jörg müller</R:text-match></R:prop-filter>'
    found = items(alice.card_query(book, query, data='<R:address-data content-type="text/vcard" version="3.0"/>'))
    (item,) = found.values()
    text = unfold(item.text(CR + "address-data"))
    assert "\nFN:Jörg Müller" in text
    assert "\nN:Müller;Jörg" in text
    assert "\nVERSION:3.0" in text
    if alice.get(book + "a.vcf").body != body:
        assert not answer.etag, "what is stored is not what was sent: no ETag may say so (RFC 6352 §6.3.2.3)"


def test_b6_birthdays_without_a_year_come_back_unchanged(alice: Dav, book: str) -> None:
    for number, line in enumerate(
        ("BDAY:--0218", "BDAY;X-APPLE-OMIT-YEAR=1604:1604-02-18", "BDAY:1604-02-18", "BDAY:--0229")
    ):
        store(alice, f"{book}{number}.vcf", card(f"b6-{number}", f"FN:Nobody {number}", "N:Nobody;;;;", line), VCF)
        four = unfold(alice.get(f"{book}{number}.vcf", Accept="text/vcard; version=4.0").text)
        assert re.search(r"\nBDAY[^\n]*:(--|1604-?)02-?(18|29)\n", four), four


def test_b7_text_matches_on_cards_say_what_they_mean(alice: Dav, book: str) -> None:
    store(
        alice, book + "s.vcf", card("s", "FN:Frank Stevens", "N:Stevens;Frank;;;", "ADR:;;1 Main St;Oslo;;;Norway"), VCF
    )
    store(
        alice,
        book + "p.vcf",
        card("p", "FN:Marie Curie", "N:Curie;Marie;;;", "ADR:;;1 Rue de Rivoli;Paris;;75001;France"),
        VCF,
    )

    def match(name: str, text: str, more: str = "") -> set[str]:
        return names(
            alice.card_query(
                book, f'<R:prop-filter name="{name}"><R:text-match {more}>{text}</R:text-match></R:prop-filter>'
            )
        )

    assert match("FN", "FRANK", 'negate-condition="no"') == {"s.vcf"}
    assert match("FN", "frank", 'negate-condition="yes"') == {"p.vcf"}
    assert match("N", "stevens") == {"s.vcf"}
    assert match("ADR", "paris") == {"p.vcf"}
    assert match("FN", "frank", 'match-type="starts-with"') == {"s.vcf"}
    assert match("FN", "stevens", 'match-type="starts-with"') == set()
    pairs = (("FN", "frank"), ("ADR", "paris"))
    both = "".join(
        f'<R:prop-filter name="{name}"><R:text-match>{text}</R:text-match></R:prop-filter>' for name, text in pairs
    )
    assert names(alice.card_query(book, both, test="anyof")) == {"s.vcf", "p.vcf"}
    assert names(alice.card_query(book, both, test="allof")) == set()


# --- C. HTTP and WebDAV ----------------------------------------------------------------------------------------------


def test_c2_a_chunked_upload_without_a_length_is_stored_whole(alice: Dav, box: str) -> None:
    body = event("c2", "DTSTART:20260302T090000Z", f"DESCRIPTION:{'long ' * 400}")
    head = f"PUT {box}c.ics HTTP/1.1\r\nHost: {alice.host}\r\nAuthorization: {alice.basic()}\r\n"
    head += "Content-Type: text/calendar\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    parts = [body[at : at + 40] for at in range(0, len(body), 40)]
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"
    answer = alice.raw(head.encode() + chunks)
    assert answer.startswith(b"HTTP/1.1 201"), answer
    assert alice.get(box + "c.ics").body == body


def test_c3_a_move_through_a_proxy_never_loses_the_event(alice: Dav, box: str) -> None:
    other = alice.make_calendar(box.rstrip("/") + "-other/")
    store(alice, box + "a.ics", event("a", "DTSTART:20260302T090000Z"))
    foreign = alice.request("MOVE", box + "a.ics", None, {"Destination": f"https://dav.example.org{other}a.ics"})
    assert foreign.status == 502, str(foreign)
    assert alice.get(box + "a.ics").status == 200
    assert alice.get(other + "a.ics").status == 404
    # Our own address is a trusted proxy by default.
    forwarded = {"X-Forwarded-Host": "dav.example.org", "X-Forwarded-Proto": "https"}
    moved = alice.request(
        "MOVE", box + "a.ics", None, {"Destination": f"https://dav.example.org{other}a.ics"} | forwarded
    )
    assert moved.status in (201, 204), str(moved)
    assert alice.get(box + "a.ics").status == 404
    assert alice.get(other + "a.ics").status == 200
    store(alice, box + "b.ics", event("b", "DTSTART:20260302T090000Z"))
    kept = alice.request(
        "MOVE", box + "b.ics", None, {"Destination": f"http://{alice.host}:{alice.port}{other}a.ics", "Overwrite": "F"}
    )
    assert kept.status == 412, str(kept)
    assert b"UID:b" in alice.get(box + "b.ics").body
    assert b"UID:a" in alice.get(other + "a.ics").body


def test_c4_all_spellings_of_a_path_are_one_resource(alice: Dav, box: str) -> None:
    store(alice, box + "x@y.ics", event("c4", "DTSTART:20260302T090000Z"))
    assert alice.get(box + "x%40y.ics").status == 200
    assert alice.put(box + "x%40y.ics", event("c4", "DTSTART:20260302T100000Z")).status in (200, 204)
    listed = [href for href in items(alice.propfind(box, "<D:getetag/>", depth="1")) if not href.endswith("/")]
    assert len(listed) == 1
    for href in (box + "x@y.ics", box + "x%40y.ics", f"http://{alice.host}:{alice.port}{box}x%40y.ics"):
        (item,) = items(alice.multiget(box, [href])).values()
        assert item.text(C + "calendar-data"), href
    store(alice, box + "a%20b%40c.ics", event("c4-2", "DTSTART:20260302T090000Z"))
    moved = alice.request(
        "MOVE", box + "a%20b%40c.ics", None, {"Destination": f"http://{alice.host}:{alice.port}{box}d%20e@f.ics"}
    )
    assert moved.status == 201, str(moved)
    assert alice.get(box + "d%20e%40f.ics").status == 200
    listed = [href for href in items(alice.propfind(box, "<D:getetag/>", depth="1")) if not href.endswith("/")]
    assert all(" " not in href and "@" not in href for href in listed), listed
    assert all(alice.get(href).status == 200 for href in listed)


@pytest.mark.parametrize("service", ["caldav", "carddav"])
@pytest.mark.parametrize("slash", ["", "/"])
def test_c5_well_known_leads_to_the_root_for_every_method(service: str, slash: str, alice: Dav) -> None:
    for method in ("GET", "HEAD", "PROPFIND", "OPTIONS", "POST", "REPORT"):
        answer = alice.request(method, f"/.well-known/{service}{slash}", None, {"Depth": "0"}, auth=False)
        if answer.status == 401:
            answer = alice.request(method, f"/.well-known/{service}{slash}", None, {"Depth": "0"})
        assert answer.status in (301, 302, 307, 308), (method, str(answer))
        target = answer.headers["location"]
        path = re.sub(r"^https?://[^/]+", "", target)
        found = alice.propfind(path, "<D:current-user-principal/>")
        (item,) = items(found).values()
        assert item.text(D + "current-user-principal"), target


def test_c6_blanks_around_a_href_are_no_part_of_it(alice: Dav, box: str) -> None:
    store(alice, box + "a.ics", event("c6", "DTSTART:20260302T090000Z"))
    (item,) = items(alice.multiget(box, [f"\n      {box}a.ics\n    "])).values()
    assert "UID:c6" in item.text(C + "calendar-data")


def test_c8_a_stale_condition_never_wins(alice: Dav, box: str) -> None:
    path = box + "a.ics"
    first = alice.put(path, event("c8", "DTSTART:20260302T090000Z"), If_None_Match="*")
    assert first.status == 201
    assert first.etag == alice.get(path).etag
    assert not first.etag.startswith("W/")
    assert alice.put(path, event("c8", "DTSTART:20260302T100000Z"), If_None_Match="*").status == 412
    second = alice.put(path, event("c8", "DTSTART:20260302T110000Z"), If_Match=first.etag)
    assert second.status in (200, 204)
    assert second.etag == alice.get(path).etag != first.etag
    assert alice.put(path, event("c8", "DTSTART:20260302T120000Z"), If_Match=first.etag).status == 412
    assert alice.delete(path, If_Match=first.etag).status == 412
    assert alice.put(box + "missing.ics", event("c8-2", "DTSTART:20260302T090000Z"), If_Match="*").status == 412
    assert b"DTSTART:20260302T110000Z" in alice.get(path).body


def test_c10_a_missing_object_is_404_and_an_empty_result_207(alice: Dav, box: str) -> None:
    assert alice.propfind(box + "missing.ics", "<D:getetag/>").status == 404
    assert items(alice.query(box, "VEVENT", window("20260101T000000Z", "20270101T000000Z"))) == {}


def test_c11_a_calendar_is_not_made_twice_and_a_name_like_inbox_is_a_name(alice: Dav) -> None:
    home = alice.home()
    path = f"{home}reminders-{secrets.token_hex(4)}/"
    alice.make_calendar(path, "VTODO")
    for _ in range(2):
        again = alice.request("MKCALENDAR", path)
        assert again.status in (403, 405), str(again)
        if again.status == 403:
            assert again.condition() == D + "resource-must-be-null"
    assert sum(path in href for href in items(alice.propfind(home, "<D:resourcetype/>", depth="1"))) == 1
    tasks = alice.make_calendar(f"{home}inbox-tasks-{secrets.token_hex(4)}/", "VTODO")
    (item,) = items(alice.propfind(tasks, "<D:resourcetype/>")).values()
    assert item.props[D + "resourcetype"].find(C + "calendar") is not None
    assert item.props[D + "resourcetype"].find(C + "schedule-inbox") is None


# --- D. Synchronisation ----------------------------------------------------------------------------------------------


def pages(user: Dav, place: str, token: str, limit: int) -> tuple[list[set[str]], list[set[str]], str]:
    """Follows a limited sync to its end: names of changed and of removed members page by page, and the last token."""
    changed: list[set[str]] = []
    removed: list[set[str]] = []
    for _ in range(50):
        answer = user.sync(place, token, limit)
        found = items(answer)
        token = answer.root().findtext(D + "sync-token") or ""
        cut = any(item.status == 507 for item in found.values())
        gone = {item.href.rsplit("/", 1)[-1] for item in found.values() if item.status == 404}
        changed.append({item.href.rsplit("/", 1)[-1] for item in found.values() if item.status is None})
        removed.append(gone)
        assert token
        if not cut:
            return changed, removed, token
        assert len(changed[-1]) + len(gone) <= limit
    raise AssertionError("never done")


def test_d1_a_limited_sync_loses_nothing(alice: Dav, box: str) -> None:
    for number in range(10):
        store(alice, f"{box}{number}.ics", event(f"d1-{number}", "DTSTART:20260302T090000Z"))
    changed, _, token = pages(alice, box, "", 3)
    assert set().union(*changed) == {f"{number}.ics" for number in range(10)}
    # Changes between the pages.
    answer = alice.sync(box, "", 3)
    between = answer.root().findtext(D + "sync-token") or ""
    seen = {item.href.rsplit("/", 1)[-1] for item in items(answer).values() if item.status is None}
    assert alice.delete(f"{box}{min(seen)}").status in (200, 204)
    store(alice, f"{box}new.ics", event("d1-new", "DTSTART:20260302T090000Z"))
    changed, removed, last = pages(alice, box, between, 3)
    have = (seen | set().union(*changed)) - set().union(*removed)
    assert have == names(alice.propfind(box, "<D:getetag/>", depth="1")) - {box.rstrip("/").rsplit("/", 1)[-1]}
    changed, removed, _ = pages(alice, box, token, 3)
    assert set().union(*changed) == {"new.ics"}
    assert set().union(*removed) == {min(seen)}
    assert items(alice.sync(box, last)) == {}


def test_d3_what_goes_is_reported_and_what_came_and_went_does_no_harm(alice: Dav, box: str) -> None:
    other = alice.make_calendar(box.rstrip("/") + "-d3/")
    for name in ("stays", "deleted", "moved"):
        store(alice, f"{box}{name}.ics", event(f"d3-{name}", "DTSTART:20260302T090000Z"))
    answer = alice.sync(box)
    token = answer.root().findtext(D + "sync-token") or ""
    assert alice.delete(box + "deleted.ics").status in (200, 204)
    assert (
        alice.request(
            "MOVE", box + "moved.ics", None, {"Destination": f"http://{alice.host}:{alice.port}{other}moved.ics"}
        ).status
        == 201
    )
    store(alice, box + "brief.ics", event("d3-brief", "DTSTART:20260302T090000Z"))
    assert alice.delete(box + "brief.ics").status in (200, 204)
    answer = alice.sync(box, token)
    found = {item.href.rsplit("/", 1)[-1]: item.status for item in items(answer).values()}
    brief = found.pop("brief.ics", 404)
    assert found == {"deleted.ics": 404, "moved.ics": 404}
    assert brief == 404
    assert (answer.root().findtext(D + "sync-token") or "") != token


def test_d4_reading_twice_changes_no_etag_and_no_token(alice: Dav, box: str) -> None:
    store(alice, box + "a.ics", event("d4", "DTSTART:20260302T090000Z", "RRULE:FREQ=DAILY"))
    props = "<D:getetag/><S:getctag/><D:sync-token/><D:getlastmodified/>"
    home = alice.home()
    for place in (home, box):
        first = alice.propfind(place, props, depth="1")
        alice.expand(box, "VEVENT", "20300101T000000Z", "20310101T000000Z")
        alice.get(box + "a.ics")
        time.sleep(1.1)
        assert alice.propfind(place, props, depth="1").body == first.body


# --- E. Query and expansion ------------------------------------------------------------------------------------------


def test_e1_an_all_day_series_with_an_edited_instance_expands_to_just_that(alice: Dav, box: str) -> None:
    master = component(
        "VEVENT",
        "e1",
        "DTSTART;VALUE=DATE:20240411",
        "DTEND;VALUE=DATE:20240412",
        "RRULE:FREQ=WEEKLY;INTERVAL=2",
        "SUMMARY:plain",
    )
    edited = component(
        "VEVENT",
        "e1",
        "RECURRENCE-ID;VALUE=DATE:20240425",
        "DTSTART;VALUE=DATE:20240426",
        "DTEND;VALUE=DATE:20240427",
        "SUMMARY:edited",
    )
    store(alice, box + "a.ics", calendar(*master, *edited))
    found = expanded(alice, box, "20240330T230000Z", "20240503T220000Z")
    assert len(found) == 2
    assert sum("SUMMARY:edited" in text for text in found) == 1
    assert all("RRULE" not in text for text in found)
    assert all(re.search(r"\nRECURRENCE-ID;VALUE=DATE:202404(11|25)\n", text) for text in found), found
    store(alice, box + "b.ics", event("e1-b", "DTSTART:20240601T100000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY"))
    assert (
        len([text for text in expanded(alice, box, "20240610T103000Z", "20240610T103001Z") if "UID:e1-b" in text]) == 1
    )


def test_e2_a_duration_of_days_is_as_long_as_it_says(alice: Dav, box: str) -> None:
    store(alice, box + "a.ics", event("e2", "DTSTART:20260301T100000Z", "DURATION:P2D"))
    assert hits(alice, box, "20260302T120000Z", "20260302T130000Z") == {"a.ics"}
    assert hits(alice, box, "20260304T120000Z", "20260304T130000Z") == set()
    # Nominal days keep the wall clock over the change to summer time (RFC 5545 §3.3.6); 24 exact hours do not.
    for name, duration in (("day", "P1D"), ("hours", "PT24H")):
        store(
            alice,
            f"{box}{name}.ics",
            calendar(
                *BERLIN,
                *component("VEVENT", name, "DTSTART;TZID=Europe/Berlin:20260328T120000", f"DURATION:{duration}"),
            ),
        )
    assert hits(alice, box, "20260329T093000Z", "20260329T095900Z") == {"day.ics", "hours.ics"}
    assert hits(alice, box, "20260329T103000Z", "20260329T105900Z") == {"hours.ics"}


def test_e3_a_task_is_found_by_its_start_and_due_and_not_by_its_creation(alice: Dav, box: str) -> None:
    store(
        alice,
        box + "t.ics",
        calendar(
            *component(
                "VTODO",
                "e3",
                "CREATED:20250601T000000Z",
                "COMPLETED:20250602T000000Z",
                "DTSTART:20260301T090000Z",
                "DUE:20260303T090000Z",
            )
        ),
    )
    assert hits(alice, box, "20260302T000000Z", "20260303T000000Z", "VTODO") == {"t.ics"}
    assert hits(alice, box, "20260401T000000Z", "20260501T000000Z", "VTODO") == set()
    assert hits(alice, box, "20260101T000000Z", "20260201T000000Z", "VTODO") == set()


def test_e5_a_series_keeps_its_wall_clock_and_never_ends_by_itself(alice: Dav, box: str) -> None:
    store(
        alice,
        box + "daily.ics",
        calendar(
            *BERLIN,
            *component(
                "VEVENT",
                "e5",
                "DTSTART;TZID=Europe/Berlin:20260327T090000",
                "DURATION:PT1H",
                "RRULE:FREQ=DAILY;COUNT=5",
            ),
        ),
    )
    answer = alice.expand(box, "VEVENT", "20260327T000000Z", "20260401T000000Z")
    assert "VTIMEZONE" not in answer.text
    times = starts(expanded(alice, box, "20260327T000000Z", "20260401T000000Z"))
    assert times == ["20260327T080000Z", "20260328T080000Z", "20260329T070000Z", "20260330T070000Z", "20260331T070000Z"]
    store(alice, box + "weekly.ics", event("e5-w", "DTSTART:20200106T100000Z", "DURATION:PT1H", "RRULE:FREQ=WEEKLY"))
    assert hits(alice, box, "20350101T000000Z", "20350109T000000Z") == {"weekly.ics"}
    assert hits(alice, box, "20990101T000000Z", "20990109T000000Z") == {"weekly.ics"}


# --- G. Privacy, sign-in, robustness ---------------------------------------------------------------------------------


def test_g2_a_device_with_an_old_password_locks_nobody_out(alice: Dav, server: Server) -> None:
    """300 wrong sign-ins from one address while the owner works from another; unknown names cost no less."""
    statuses: list[int] = []
    took: dict[str, list[float]] = {alice.user: [], "nobody@example.com": []}
    proxied = {"Depth": "0", "X-Forwarded-Proto": "https"}
    # The owner has been here before.
    here = {**proxied, "X-Forwarded-For": "198.51.100.7"}
    assert alice.request("PROPFIND", "/dav/", None, here).status == 207

    def guess(name: str, count: int) -> None:
        wrong = Dav(server.base, name, "old-password")
        for _ in range(count):
            answer = wrong.request("PROPFIND", "/dav/", None, {**proxied, "X-Forwarded-For": "192.0.2.66"}, timeout=120)
            statuses.append(answer.status)
            took[name].append(answer.seconds)

    threads = [threading.Thread(target=guess, args=(name, 15)) for name in took for _ in range(10)]
    for thread in threads:
        thread.start()
    slowest = 0.0
    while any(thread.is_alive() for thread in threads):
        answer = alice.request("PROPFIND", "/dav/", None, {**proxied, "X-Forwarded-For": "198.51.100.7"})
        assert answer.status == 207, str(answer)
        slowest = max(slowest, answer.seconds)
        time.sleep(0.1)
    for thread in threads:
        thread.join(120)
    assert len(statuses) == 300
    assert set(statuses) <= {401, 429, 503}
    assert slowest < 6
    middle = {name: sorted(times)[len(times) // 2] for name, times in took.items()}
    assert max(middle.values()) < 4 * min(middle.values()) + 0.3, middle


def test_g3_a_deleted_uid_can_be_created_again(alice: Dav, box: str) -> None:
    store(alice, box + "first.ics", event("g3", "DTSTART:20260302T090000Z"))
    assert alice.delete(box + "first.ics").status in (200, 204)
    store(alice, box + "second.ics", event("g3", "DTSTART:20260302T100000Z"))
    assert alice.delete(box + "second.ics").status in (200, 204)
    store(alice, box + "first.ics", event("g3", "DTSTART:20260302T110000Z"))


def test_g4_parallel_writers_and_a_broken_row_fail_nobody(alice: Dav, box: str, server: Server) -> None:
    store(alice, box + "broken.ics", event("broken", "DTSTART:20260302T090000Z"))
    server.spoil(box + "broken.ics", b"\x00garbage")
    statuses: list[int] = []

    def write(number: int) -> None:
        for turn in range(6):
            statuses.append(
                alice.put(f"{box}{number}-{turn}.ics", event(f"g4-{number}-{turn}", "DTSTART:20260302T090000Z")).status
            )

    threads = [threading.Thread(target=write, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    while any(thread.is_alive() for thread in threads):
        for answer in (
            alice.propfind(box, "<D:getetag/>", depth="1"),
            alice.query(box, "VEVENT", window("20260301T000000Z", "20260401T000000Z")),
            alice.sync(box),
        ):
            assert answer.status == 207, str(answer)
    for thread in threads:
        thread.join(60)
    assert sorted(statuses) == [201] * 48
    assert len(hits(alice, box, "20260301T000000Z", "20260401T000000Z") - {"broken.ics"}) == 48
    assert "broken.ics" in names(alice.propfind(box, "<D:getetag/>", depth="1"))


# --- More triggers ---------------------------------------------------------------------------------------------------


def test_more_an_entity_is_refused_and_never_expanded(alice: Dav, box: str) -> None:
    body = '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/hostname">]>'
    body += f"<D:propfind {XMLNS}><D:prop><D:displayname>&e;</D:displayname></D:prop></D:propfind>"
    assert alice.request("PROPFIND", box, body, {"Depth": "0"}).status in (400, 403)


def test_more_a_report_without_a_body_is_400_and_an_unknown_one_is_named(alice: Dav, box: str) -> None:
    assert alice.request("REPORT", box, None, {"Depth": "0"}).status == 400
    unknown = alice.report(box, '<x:nonsense xmlns:x="urn:x"/>')
    assert unknown.status == 403
    assert unknown.condition() == D + "supported-report"


def test_more_sync_collection_is_served_with_the_depth_that_apple_sends(alice: Dav, box: str) -> None:
    """RFC 6578 §3.2 wants Depth: 0; old macOS sends 1. Anything else may be refused, but only as a bad request."""
    store(alice, box + "a.ics", event("depth", "DTSTART:20260302T090000Z"))
    inner = "<D:sync-token/><D:sync-level>1</D:sync-level><D:prop><D:getetag/></D:prop>"
    body = f"<D:sync-collection {XMLNS}>{inner}</D:sync-collection>"
    for depth in ("0", "1"):
        assert names(alice.report(box, body, depth=depth)) == {"a.ics"}
    answer = alice.report(box, body, depth="infinity")
    assert answer.status == 400 or names(answer) == {"a.ics"}, str(answer)


@pytest.mark.parametrize(
    "media", ["application/octet-stream", "text/x-vcard", "application/vcard", "text/directory", "text/vcard"]
)
def test_more_a_card_is_known_by_its_content_whatever_type_it_claims(media: str, alice: Dav, book: str) -> None:
    store(alice, book + "a.vcf", card("media", "FN:X", "N:X;;;;"), media)


def test_more_years_at_the_ends_of_the_calendar_are_answered(alice: Dav, box: str) -> None:
    store(alice, box + "old.ics", event("old", "DTSTART:18990101T000000Z", "DURATION:PT1H", "RRULE:FREQ=YEARLY"))
    assert hits(alice, box, "00010101T000000Z", "99991231T000000Z") == {"old.ics"}
    assert hits(alice, box, "20260101T000000Z", "20260102T000000Z") == {"old.ics"}


def test_more_small_oddities_are_stored_and_found(alice: Dav, box: str) -> None:
    blank = calendar(
        *[line.replace("TZID:Europe/Berlin", "TZID:Europe/Berlin ") for line in BERLIN],
        *component("VEVENT", "blank", "DTSTART;TZID=Europe/Berlin :20260302T090000", "DURATION:PT1H"),
    )
    store(alice, box + "blank.ics", blank)
    tzname = calendar(
        *[line if line != "END:STANDARD" else "TZNAME:Mitteleuropäische Zeit\r\nEND:STANDARD" for line in BERLIN],
        *component("VEVENT", "tzname", "DTSTART;TZID=Europe/Berlin:20260302T090000", "DURATION:PT1H"),
    )
    store(alice, box + "tzname.ics", tzname)
    both = [
        *component("VEVENT", "both", "DTSTART:20260302T080000Z", "DURATION:PT1H", "RRULE:FREQ=DAILY;COUNT=3"),
        *component(
            "VEVENT",
            "both",
            "RECURRENCE-ID:20260303T080000Z",
            "DTSTART:20260303T120000Z",
            "DURATION:PT1H",
            "EXDATE:20260304T080000Z",
        ),
    ]
    store(alice, box + "unlike-its-uid.ics", calendar(*both))
    assert hits(alice, box, "20260302T080000Z", "20260302T083000Z") == {"blank.ics", "tzname.ics", "unlike-its-uid.ics"}
    found = [text for text in expanded(alice, box, "20260301T000000Z", "20260401T000000Z") if "UID:both" in text]
    assert len(found) == 3
    assert all("RRULE" not in text for text in found)
